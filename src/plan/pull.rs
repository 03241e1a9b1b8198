//! What a pull has to fetch.

use std::collections::{BTreeMap, BTreeSet};

use crate::images::{Lock, LockedImage};
use crate::oci::{Digest, Repository};
use crate::plan::copy_list::{BlobCopy, CopyList};

/// The layers that are not in the draft yet, in the order in which the bundle has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullPlan {
    /// What to fetch.
    pub copy: CopyList,
    /// Layers that are there already.
    pub reused: usize,
    /// Their bytes.
    pub reused_bytes: u64,
}

impl PullPlan {
    /// Decides. `order` is the bundle's order of layers; each is asked of the first image that has it.
    pub fn new(lock: &Lock, order: &[Digest], present: &BTreeSet<Digest>) -> Self {
        let layers = lock.layers();
        let (places, users) = (first_places(lock), lock.users());
        let (reused, wanted): (Vec<&Digest>, Vec<&Digest>) = order.iter().partition(|digest| present.contains(digest));
        let blobs = wanted.into_iter().filter_map(|digest| {
            let from = places.get(digest)?.clone();
            let images = users.get(digest)?.iter().copied().cloned().collect();
            Some(BlobCopy {
                blob: layers.get(digest)?.descriptor(),
                to: vec![from.clone()],
                from,
                held_by: None,
                images,
            })
        });
        Self {
            copy: CopyList { blobs: blobs.collect(), images: Vec::new() },
            reused_bytes: reused.iter().filter_map(|digest| layers.get(digest)).map(|layer| layer.size).sum(),
            reused: reused.len(),
        }
    }
}

fn first_places(lock: &Lock) -> BTreeMap<Digest, Repository> {
    let mut places = BTreeMap::new();
    for image in &lock.images {
        for layer in LockedImage::layers(image) {
            places.entry(layer.digest).or_insert_with(|| image.name.repository().clone());
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{LOCK_SCHEMA, LockedContent, LockedPlatform};
    use crate::oci::MediaType;

    fn content(name: &str) -> LockedContent {
        LockedContent { media_type: MediaType::from("x"), digest: Digest::of(name.as_bytes()), size: 1 }
    }

    fn image(number: usize) -> LockedImage {
        let name: crate::oci::ImageRef = format!("reg.corp/image{number}:1").parse().unwrap();
        let manifest = content(&format!("manifest {number}"));
        let mut layers = vec![content("shared")];
        layers.extend((0..10).map(|layer| content(&format!("layer {layer} of {number}"))));
        LockedImage {
            source: name.repository().clone(),
            name,
            role: "agent".into(),
            groups: BTreeSet::new(),
            root: manifest.clone(),
            index: None,
            derived: false,
            insecure: false,
            platforms: vec![LockedPlatform { platform: None, config: content("{}"), manifest, layers }],
        }
    }

    /// Looking at every image for every layer would take minutes.
    #[test]
    fn ten_thousand_images_are_planned_at_once() {
        let lock = Lock {
            schema: LOCK_SCHEMA.into(),
            release: "release".into(),
            title: "A release".into(),
            manifest: Digest::of(b""),
            images: (0..10_000).map(image).collect(),
        };
        let order: Vec<Digest> = lock.layers().into_keys().collect();
        let plan = PullPlan::new(&lock, &order, &BTreeSet::new());
        assert_eq!(plan.copy.blobs.len(), 100_001);
        let users = |digest| plan.copy.blobs.iter().find(|copy| copy.blob.digest == digest).map(|copy| &copy.images);
        assert_eq!(users(content("shared").digest).map(Vec::len), Some(10_000));
        assert_eq!(users(content("layer 7 of 77").digest), Some(&vec![lock.images[77].name.clone()]));
    }
}
