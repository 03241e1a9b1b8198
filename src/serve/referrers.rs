//! Which manifests refer to which: signatures, statements and other artifacts that name their subject.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::oci::{Descriptor, Digest, MediaType, Tag};
use crate::serve::catalog::{Item, Stock};

/// What each manifest that was read says of a subject, if it names one. Content never changes under its digest, so this
/// is true for good.
#[derive(Debug, Default)]
pub(crate) struct Referrers(BTreeMap<Digest, Option<Statement>>);

#[derive(Debug)]
struct Statement {
    subject: Digest,
    artifact_type: Option<String>,
    annotations: BTreeMap<String, String>,
}

/// The entry of one manifest in a list of referrers.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Referrer {
    media_type: MediaType,
    digest: Digest,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// What is read of a manifest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Referrers {
    /// Whether it is known what a manifest says.
    pub(crate) fn has(&self, manifest: &Digest) -> bool {
        self.0.contains_key(manifest)
    }

    /// Notes what a manifest says. Bytes that are no manifest name no subject.
    pub(crate) fn note(&mut self, manifest: Digest, raw: &[u8]) {
        self.0.insert(manifest, serde_json::from_slice(raw).ok().and_then(Wire::statement));
    }

    /// What this repository has about a subject, as far as it may be told.
    pub(crate) fn about(&self, stock: &Stock, subject: &Digest, may: impl Fn(&Item) -> bool) -> Vec<Referrer> {
        let told = stock.manifests().filter(|item| may(item)).filter_map(|item| {
            let statement = self.0.get(&item.digest)?.as_ref().filter(|statement| statement.subject == *subject)?;
            Some(Referrer::of(item, statement))
        });
        told.collect()
    }
}

impl Wire {
    fn statement(self) -> Option<Statement> {
        // The specification's rule: where no type is stated, the configuration's stands in. An index has none.
        let stated = self.artifact_type.filter(|stated| !stated.is_empty());
        let artifact_type = stated.or(self.config.map(|config| config.media_type.to_string()));
        Some(Statement { subject: self.subject?.digest, artifact_type, annotations: self.annotations })
    }
}

impl Referrer {
    fn of(item: &Item, statement: &Statement) -> Self {
        Self {
            media_type: item.media_type.clone(),
            digest: item.digest,
            size: item.size,
            artifact_type: statement.artifact_type.clone(),
            annotations: statement.annotations.clone(),
        }
    }
}

/// The index of these, perhaps of one type only.
pub(crate) fn list(referrers: &[Referrer], wanted: Option<&str>) -> Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct List<'a> {
        schema_version: u8,
        media_type: &'a str,
        manifests: Vec<&'a Referrer>,
    }
    let fits = |referrer: &&Referrer| wanted.is_none() || referrer.artifact_type.as_deref() == wanted;
    let manifests = referrers.iter().filter(fits).collect();
    let list = List { schema_version: 2, media_type: MediaType::OCI_INDEX, manifests };
    serde_json::to_vec(&list).expect("a list holds only text and numbers").into()
}

/// Whose referrers are listed under a tag, `sha256-HEX`, for clients that do not know the API.
pub(crate) fn subject_of(tag: &Tag) -> Option<Digest> {
    format!("sha256:{}", tag.as_str().strip_prefix("sha256-")?).parse().ok()
}
