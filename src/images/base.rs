//! What a delta builds on: which older set the far side has, and which layers were left out because of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::images::lock::{Lock, LockError, LockedContent, LockedImage};
use crate::oci::{Digest, Repository};

/// What a delta says about the set that it builds on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// What kind of set.
    pub kind: BaseKind,
    /// Its name for people: a release's, or a place in a registry.
    pub name: String,
    /// Exactly which: the digest of the lock's text, or of the text of what the registry was found to have.
    pub id: Digest,
    /// The layers of the lock that are not in the bundle, in the order of their digests.
    pub left_out: Vec<LeftOut>,
}

/// What kind of set a delta builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BaseKind {
    /// An older release, complete: a bundle, its lock, or a delta together with what that builds on.
    Release,
    /// What a registry was found to have.
    Registry,
}

/// A layer that is not in a delta.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Which.
    pub digest: Digest,
    /// The repositories in which the base has it, in their order: where a registry can take it over from.
    pub held_in: BTreeSet<Repository>,
}

/// The longest name of a base in bytes: host, port and path of a registry have fewer than 600.
const MAX_NAME: usize = 1024;

impl Base {
    /// Refuses a base that leaves out what is no layer of `lock`, or is not in the one order that it can be in.
    pub fn check(&self, lock: &Lock) -> Result<(), LockError> {
        if self.name.is_empty() || self.name.len() > MAX_NAME || self.name.contains(char::is_control) {
            return Err(LockError::BaseName);
        }
        let layers = lock.layers();
        let mut last = None;
        for left in &self.left_out {
            if last >= Some(left.digest) || !layers.contains_key(&left.digest) {
                return Err(LockError::LeftOut(left.digest));
            }
            last = Some(left.digest);
        }
        Ok(())
    }

    /// Whether a layer is left out.
    pub fn leaves_out(&self, digest: &Digest) -> bool {
        self.left_out.binary_search_by_key(digest, |left| left.digest).is_ok()
    }

    /// Whether something of an image is left out.
    pub fn cuts(&self, image: &LockedImage) -> bool {
        image.layers().any(|layer| self.leaves_out(&layer.digest))
    }
}

/// What the far side has: the ground for a delta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What kind of set.
    pub kind: BaseKind,
    /// Its name for people.
    pub name: String,
    /// Exactly which.
    pub id: Digest,
    /// What registries call blobs, with size and repositories.
    pub blobs: BTreeMap<Digest, HeldBlob>,
}

/// One blob that the far side has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeldBlob {
    /// Its length in bytes.
    pub size: u64,
    /// The repositories that have it.
    pub repositories: BTreeSet<Repository>,
}

impl Held {
    /// Everything that a lock names. Where a delta was made from the lock, this counts on its base too: who pushed
    /// the delta had to have that.
    pub fn of_lock(lock: &Lock) -> Self {
        let mut blobs: BTreeMap<Digest, HeldBlob> = BTreeMap::new();
        for image in &lock.images {
            for content in image.blobs() {
                let blob = blobs.entry(content.digest).or_default();
                blob.size = content.size;
                blob.repositories.insert(image.name.repository().clone());
            }
        }
        Self { kind: BaseKind::Release, name: lock.release.clone(), id: lock.id(), blobs }
    }

    /// What a bundle of `lock` can do without where this is there. Documents stay in every bundle: they are small, and
    /// the far side then knows the whole set.
    pub fn base_for(&self, lock: &Lock) -> Base {
        let left_out = |(digest, layer): (Digest, &LockedContent)| {
            let blob = self.blobs.get(&digest).filter(|blob| blob.size == layer.size)?;
            Some(LeftOut { digest, held_in: blob.repositories.clone() })
        };
        let left_out = lock.layers().into_iter().filter_map(left_out).collect();
        Base { kind: self.kind, name: self.name.clone(), id: self.id, left_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_layers_of_the_same_length_are_left_out() {
        let content = |name: &str, size: u64| serde_json::json!({"media_type": "x/y", "digest": Digest::of(name.as_bytes()), "size": size});
        let lock = serde_json::json!({
            "schema": crate::images::LOCK_SCHEMA, "release": "s", "title": "t", "manifest": Digest::of(b"release"),
            "images": [{
                "name": "a:1", "role": "r", "source": "a", "root": content("manifest", 1),
                "platforms": [{"manifest": content("manifest", 1), "config": content("config", 1),
                    "layers": [content("one", 10), content("two", 20), content("three", 30)]}],
            }],
        });
        let lock = Lock::parse(lock.to_string().as_bytes()).unwrap();
        let held = |name: &str, size: u64| {
            (Digest::of(name.as_bytes()), HeldBlob { size, repositories: ["a".parse().unwrap()].into() })
        };
        // Who says that a blob has another length has another blob, whatever its name.
        let blobs = [held("one", 10), held("two", 21), held("config", 1)].into();
        let base = Held { kind: BaseKind::Registry, name: "a".into(), id: Digest::of(b"have"), blobs }.base_for(&lock);
        let left_out: Vec<Digest> = base.left_out.iter().map(|left| left.digest).collect();
        assert_eq!(left_out, [Digest::of(b"one")]);
        base.check(&lock).unwrap();
    }
}
