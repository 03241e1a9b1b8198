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
        let places = first_places(lock);
        let (reused, wanted): (Vec<&Digest>, Vec<&Digest>) = order.iter().partition(|digest| present.contains(digest));
        let blobs = wanted.into_iter().filter_map(|digest| {
            let from = places.get(digest)?.clone();
            let images = lock.users_of(digest).into_iter().cloned().collect();
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
