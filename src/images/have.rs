//! What a registry was found to have: the ground for a delta, carried out of a closed site as a small text.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::failure::{ErrorClass, Explain};
use crate::images::base::{BaseKind, Held, HeldBlob};
use crate::oci::{Digest, Repository};

/// The `schema` of these texts that this version writes and reads.
pub const HAVE_SCHEMA: &str = "octobundle/have/v1";

/// The most text that is read: a blob takes some 200 bytes, so these are 300,000 blobs.
pub const MAX_HAVE_BYTES: u64 = 64 * 1024 * 1024;

/// What a registry was found to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Have {
    /// [`HAVE_SCHEMA`].
    pub schema: String,
    /// The place in the registry that was looked at, as in `reg.corp:5000/tools`.
    pub registry: String,
    /// When, in UTC.
    #[serde(with = "as_text")]
    pub seen: jiff::Timestamp,
    /// What was found, in the order of digests.
    pub blobs: Vec<HaveBlob>,
}

/// A time as RFC 3339 writes it.
mod as_text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &jiff::Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<jiff::Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One blob that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HaveBlob {
    /// Which.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// The repositories that have it.
    pub held_in: BTreeSet<Repository>,
}

/// A text that does not say what a registry has.
#[derive(Debug, thiserror::Error)]
pub enum HaveError {
    /// Not JSON of this form.
    #[error("what the registry has cannot be read: {0}")]
    Form(String),
    /// Written by a newer version.
    #[error("what the registry has is written as `{0}`; this version reads `{HAVE_SCHEMA}`")]
    Schema(String),
    /// Out of order, twice, or nowhere.
    #[error(
        "what the registry has does not agree with itself at {0}: it stands out of order, twice, or in no repository"
    )]
    Order(Digest),
    /// More text than any registry's list has.
    #[error("what the registry has is more than {MAX_HAVE_BYTES} bytes of text")]
    TooLong,
}

impl Explain for HaveError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Input
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Schema(_) => "use a version of octobundle as new as the one that wrote it".into(),
            Self::Form(_) | Self::Order(_) | Self::TooLong => {
                "write it anew where the registry is: `octobundle have OLD.lock --registry REGISTRY -o have.json`"
                    .into()
            }
        })
    }
}

impl Have {
    /// What was found at a place in a registry.
    pub fn new(registry: String, seen: jiff::Timestamp, found: BTreeMap<Digest, HeldBlob>) -> Self {
        let blob =
            |(digest, held): (Digest, HeldBlob)| HaveBlob { digest, size: held.size, held_in: held.repositories };
        let blobs = found.into_iter().filter(|(_, held)| !held.repositories.is_empty()).map(blob).collect();
        Self { schema: HAVE_SCHEMA.to_owned(), registry, seen, blobs }
    }

    /// Reads a text and checks that it agrees with itself.
    pub fn parse(text: &[u8]) -> Result<Self, HaveError> {
        #[derive(Deserialize)]
        struct JustSchema {
            schema: String,
        }
        if text.len() as u64 > MAX_HAVE_BYTES {
            return Err(HaveError::TooLong);
        }
        let form = |error: serde_json::Error| HaveError::Form(error.to_string());
        let JustSchema { schema } = serde_json::from_slice(text).map_err(form)?;
        if schema != HAVE_SCHEMA {
            return Err(HaveError::Schema(schema));
        }
        let have: Self = serde_json::from_slice(text).map_err(form)?;
        let in_order = have.blobs.windows(2).find(|pair| pair[0].digest >= pair[1].digest).map(|pair| pair[1].digest);
        let nowhere = have.blobs.iter().find(|blob| blob.held_in.is_empty()).map(|blob| blob.digest);
        in_order.or(nowhere).map_or(Ok(have), |digest| Err(HaveError::Order(digest)))
    }

    /// The text: JSON, one line a field, ending in a newline.
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("it holds only text, numbers and lists") + "\n"
    }
}

impl Held {
    /// What a registry was found to have. It is named by the digest of the text.
    pub fn of_have(have: &Have) -> Self {
        let blob = |blob: &HaveBlob| (blob.digest, HeldBlob { size: blob.size, repositories: blob.held_in.clone() });
        let id = Digest::of(have.to_text().as_bytes());
        let blobs = have.blobs.iter().map(blob).collect();
        Self { kind: BaseKind::Registry, name: have.registry.clone(), id, blobs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn have() -> Have {
        let held = |place: &str, size| HeldBlob { size, repositories: [place.parse().unwrap()].into() };
        let found = [(Digest::of(b"a"), held("reg.corp/a", 1)), (Digest::of(b"b"), held("reg.corp/b", 2))];
        Have::new("reg.corp/tools".into(), "2026-01-02T03:04:05Z".parse().unwrap(), found.into())
    }

    #[test]
    fn what_was_written_is_read() {
        let text = have().to_text();
        assert_eq!(Have::parse(text.as_bytes()).unwrap(), have());
        assert!(text.contains("\"seen\": \"2026-01-02T03:04:05Z\""), "{text}");
        let held = Held::of_have(&have());
        assert_eq!((held.kind, held.id), (BaseKind::Registry, Digest::of(text.as_bytes())));
        assert_eq!(held.blobs.len(), 2);
    }

    #[test]
    fn what_does_not_agree_with_itself_is_refused() {
        let text = have().to_text();
        let mut turned = have();
        turned.blobs.reverse();
        let mut nowhere = have();
        nowhere.blobs[0].held_in.clear();
        for wrong in [turned.to_text(), nowhere.to_text()] {
            assert!(matches!(Have::parse(wrong.as_bytes()), Err(HaveError::Order(_))), "{wrong}");
        }
        for (from, to) in [
            ("\"seen\"", "\"when\""),
            ("2026-01-02T03:04:05Z", "yesterday"),
            ("\"size\": 1", "\"size\": -1"),
            ("sha256:", "sha512:"),
            ("reg.corp/a", "https://reg.corp/a"),
            ("}\n  ]", "}\n  ], \"more\": 1"),
        ] {
            let wrong = text.replacen(from, to, 1);
            assert!(wrong != text && matches!(Have::parse(wrong.as_bytes()), Err(HaveError::Form(_))), "{from}");
        }
        let newer = text.replace("have/v1", "have/v2");
        assert!(matches!(Have::parse(newer.as_bytes()), Err(HaveError::Schema(_))));
    }
}
