//! What a copy has to do, in the order in which it is done: blobs, then documents, names last.

use std::collections::BTreeSet;

use crate::content::Lookup;
use crate::oci::{Descriptor, Digest, ImageRef, MediaType, Repository};

/// A decided copy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CopyList {
    /// Blobs to move or to adopt; each stands here once.
    pub blobs: Vec<BlobCopy>,
    /// Images to name once their blobs are there.
    pub images: Vec<ImageCopy>,
}

/// One blob's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobCopy {
    /// Which.
    pub blob: Descriptor,
    /// The repository it is read from.
    pub from: Repository,
    /// The repositories that lack it, at least one.
    pub to: Vec<Repository>,
    /// A repository of the same sink that has it already.
    pub held_by: Option<Repository>,
    /// The images that need it.
    pub images: Vec<ImageRef>,
}

/// One image's way, once its blobs are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageCopy {
    /// Its name at the source.
    pub name: ImageRef,
    /// The blobs of the list that it needs.
    pub blobs: BTreeSet<Digest>,
    /// The image manifests that its index lists.
    pub children: Vec<DocumentCopy>,
    /// Its own document, under its name.
    pub root: DocumentCopy,
}

/// One document's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentCopy {
    /// What it is.
    pub media_type: MediaType,
    /// Which.
    pub digest: Digest,
    /// The repository it goes to.
    pub to: Repository,
    /// The tag or digest it is put under.
    pub lookup: Lookup,
}

impl CopyList {
    /// The bytes of blobs whose content has to travel.
    pub fn bytes_to_move(&self) -> u64 {
        self.blobs.iter().filter(|copy| copy.held_by.is_none()).map(|copy| copy.blob.size).sum()
    }
}
