//! Which manifests refer to which: signatures, statements and other artifacts that name their subject.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::oci::{Descriptor, Digest, MediaType, Tag};
use crate::serve::catalog::{Item, Stock};

/// Every manifest that names a subject, by that subject.
#[derive(Debug, Default)]
pub(crate) struct Referrers(BTreeMap<Digest, Vec<Referrer>>);

/// The entry of one manifest in a list of referrers.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Referrer {
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
    /// Notes a manifest's subject, if it names one. Bytes that are no manifest name none.
    pub(crate) fn note(&mut self, item: &Item, raw: &[u8]) {
        let Ok(wire) = serde_json::from_slice::<Wire>(raw) else { return };
        let Some(subject) = wire.subject else { return };
        // The specification's rule: where no type is stated, the configuration's stands in. An index has none.
        let stated = wire.artifact_type.filter(|stated| !stated.is_empty());
        let artifact_type = stated.or(wire.config.map(|config| config.media_type.to_string()));
        let (media_type, digest, size) = (item.media_type.clone(), item.digest, item.size);
        let entry = Referrer { media_type, digest, size, artifact_type, annotations: wire.annotations };
        let known = self.0.entry(subject.digest).or_default();
        if known.iter().all(|referrer| referrer.digest != digest) {
            known.push(entry);
        }
    }

    /// The index of what this repository has about a subject, perhaps of one type only.
    pub(crate) fn list(&self, stock: &Stock, subject: &Digest, wanted: Option<&str>) -> Bytes {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct List<'a> {
            schema_version: u8,
            media_type: &'a str,
            manifests: Vec<&'a Referrer>,
        }
        let fits = |referrer: &&Referrer| wanted.is_none() || referrer.artifact_type.as_deref() == wanted;
        let manifests = self.of(stock, subject).filter(fits).collect();
        let list = List { schema_version: 2, media_type: MediaType::OCI_INDEX, manifests };
        serde_json::to_vec(&list).expect("a list holds only text and numbers").into()
    }

    /// The same list for clients that look for it under the tag `sha256-HEX`, where there is something to list.
    pub(crate) fn fallback(&self, stock: &Stock, tag: &Tag) -> Option<Bytes> {
        let subject: Digest = format!("sha256:{}", tag.as_str().strip_prefix("sha256-")?).parse().ok()?;
        self.of(stock, &subject).next()?;
        Some(self.list(stock, &subject, None))
    }

    fn of<'a>(&'a self, stock: &'a Stock, subject: &Digest) -> impl Iterator<Item = &'a Referrer> {
        let known = self.0.get(subject).into_iter().flatten();
        known.filter(|referrer| stock.manifest(&referrer.digest).is_some())
    }
}
