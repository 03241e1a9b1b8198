//! What two sets of images have apart from each other.

use std::collections::BTreeMap;

use crate::images::{Lock, LockedImage};
use crate::oci::{Digest, ImageRef};

/// From one set to another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// Images of the second set that the first does not name, in their order there.
    pub added: Vec<ImageRef>,
    /// Images of the first set that the second does not name, in their order there.
    pub removed: Vec<ImageRef>,
    /// Images that both name, but for other content.
    pub moved: Vec<Moved>,
    /// Images that are the same in both.
    pub same: usize,
    /// What the second set has and the first has not.
    pub new: Amount,
    /// What the first set has and the second has not.
    pub gone: Amount,
    /// What both have.
    pub shared: Amount,
}

/// One name for two contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The name.
    pub name: ImageRef,
    /// What it stands for in the first set.
    pub from: Digest,
    /// What it stands for in the second set.
    pub to: Digest,
    /// Bytes of it that are nowhere in the first set.
    pub new_bytes: u64,
}

/// Blobs, each counted once, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// How many.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Difference {
    /// Compares two sets by name and digest.
    pub fn between(first: &Lock, second: &Lock) -> Self {
        let (had, has) = (contents(&first.images), contents(&second.images));
        let before: BTreeMap<&ImageRef, &LockedImage> = first.images.iter().map(|image| (&image.name, image)).collect();
        let after: BTreeMap<&ImageRef, &LockedImage> = second.images.iter().map(|image| (&image.name, image)).collect();
        let mut difference = Self {
            removed: first.images.iter().map(|image| &image.name).filter(|n| !after.contains_key(n)).cloned().collect(),
            new: Amount::of(has.iter().filter(|(digest, _)| !had.contains_key(digest))),
            gone: Amount::of(had.iter().filter(|(digest, _)| !has.contains_key(digest))),
            shared: Amount::of(has.iter().filter(|(digest, _)| had.contains_key(digest))),
            ..Self::default()
        };
        for image in &second.images {
            match before.get(&image.name) {
                None => difference.added.push(image.name.clone()),
                Some(old) if old.root.digest == image.root.digest => difference.same += 1,
                Some(old) => difference.moved.push(Moved {
                    name: image.name.clone(),
                    from: old.root.digest,
                    to: image.root.digest,
                    new_bytes: contents([image]).iter().filter(|(d, _)| !had.contains_key(d)).map(|(_, n)| n).sum(),
                }),
            }
        }
        difference
    }

    /// Whether every name stands for the same in both sets.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.moved.is_empty()
    }
}

impl Amount {
    fn of<'a>(blobs: impl Iterator<Item = (&'a Digest, &'a u64)>) -> Self {
        blobs.fold(Self::default(), |sum, (_, bytes)| Self { blobs: sum.blobs + 1, bytes: sum.bytes + bytes })
    }
}

/// Everything that images are made of, with sizes.
fn contents<'a>(images: impl IntoIterator<Item = &'a LockedImage>) -> BTreeMap<Digest, u64> {
    let all = images.into_iter().flat_map(|image| image.documents().chain(image.layers()));
    all.map(|content| (content.digest, content.size)).collect()
}
