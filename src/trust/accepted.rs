//! What a site has accepted before: the highest sequence of each bundle name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::oci::Digest;
use crate::trust::error::StateError;

/// The `schema` of the state that this version writes and reads.
const SCHEMA: &str = "octobundle/accepted/v1";
/// Exceptions that are kept for each name; the oldest go first.
const MAX_EXCEPTIONS: usize = 100;

/// The highest sequence of each bundle name that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    schema: String,
    bundles: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    sequence: u64,
    release: String,
    /// The digest of its `SHA256SUMS`.
    bundle: Digest,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    older_allowed: Vec<Exception>,
}

/// An older bundle that was let in, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    sequence: Option<u64>,
    release: String,
    bundle: Digest,
    /// Seconds since 1970 by this machine's clock.
    at: u64,
    reason: String,
}

/// What an older bundle is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Older {
    /// Its own sequence, if it has one.
    pub sequence: Option<u64>,
    /// The sequence that was accepted before.
    pub accepted: u64,
    /// The release that had it.
    pub release: String,
}

impl Default for Accepted {
    fn default() -> Self {
        Self { schema: SCHEMA.to_owned(), bundles: BTreeMap::new() }
    }
}

impl Accepted {
    /// Reads the state.
    pub fn parse(text: &[u8]) -> Result<Self, StateError> {
        let state: Self = serde_json::from_slice(text).map_err(|error| StateError::Form(error.to_string()))?;
        if state.schema == SCHEMA { Ok(state) } else { Err(StateError::Schema(state.schema)) }
    }

    /// The state's text.
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("it holds only text and numbers") + "\n"
    }

    /// What was accepted before and is newer than this bundle. A bundle without a sequence is older than any with one.
    pub fn newer_than(&self, name: &str, sequence: Option<u64>, bundle: &Digest) -> Option<Older> {
        let entry = self.bundles.get(name)?;
        let known = entry.bundle == *bundle;
        let older = sequence.is_none_or(|sequence| sequence < entry.sequence) && !known;
        older.then(|| Older { sequence, accepted: entry.sequence, release: entry.release.clone() })
    }

    /// Remembers an accepted bundle; false if nothing had to be changed.
    pub fn accept(&mut self, name: &str, sequence: Option<u64>, release: &str, bundle: &Digest) -> bool {
        let Some(sequence) = sequence else { return false };
        let older_allowed = match self.bundles.get(name) {
            Some(entry) if entry.sequence >= sequence => return false,
            Some(entry) => entry.older_allowed.clone(),
            None => Vec::new(),
        };
        let entry = Entry { sequence, release: release.to_owned(), bundle: *bundle, older_allowed };
        self.bundles.insert(name.to_owned(), entry);
        true
    }

    /// Records that an older bundle was let in, when and why.
    pub fn allow_older(&mut self, name: &str, older: &Older, release: &str, bundle: &Digest, at: u64, reason: &str) {
        let Some(entry) = self.bundles.get_mut(name) else { return };
        if entry.older_allowed.len() >= MAX_EXCEPTIONS {
            entry.older_allowed.remove(0);
        }
        let (release, reason) = (release.to_owned(), reason.to_owned());
        entry.older_allowed.push(Exception { sequence: older.sequence, release, bundle: *bundle, at, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_69_what_was_accepted_is_never_lowered_and_a_bundle_is_not_older_than_itself() {
        let (first, second) = (Digest::of(b"first"), Digest::of(b"second"));
        let mut accepted = Accepted::default();
        assert!(accepted.accept("x", Some(10), "x-1", &first));
        // The same bundle by an older signature of it.
        assert_eq!(accepted.newer_than("x", Some(5), &first), None);
        assert!(!accepted.accept("x", Some(5), "x-1", &first));
        for lower in [None, Some(7), Some(9)] {
            let older = accepted.newer_than("x", lower, &second).expect("it is older");
            assert_eq!((older.sequence, older.accepted), (lower, 10));
        }
        assert_eq!(accepted.newer_than("x", Some(10), &second), None);
        assert_eq!(accepted.newer_than("y", None, &second), None, "another name is another line");
        assert!(accepted.accept("x", Some(11), "x-2", &second));
        assert!(accepted.newer_than("x", Some(10), &first).is_some());
    }
}
