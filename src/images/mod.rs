//! Sets of images: wanted (by tag, after selection), then locked (by digest).

mod base;
mod have;
mod lock;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::oci::{Digest, ImageRef, Platform};

pub use base::{Base, BaseKind, Held, HeldBlob, LeftOut};
pub use have::{HAVE_SCHEMA, Have, HaveBlob, HaveError, MAX_HAVE_BYTES};
pub use lock::{LOCK_SCHEMA, Lock, LockError, LockedContent, LockedImage, LockedPlatform};

/// Which platforms of an image are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlatformChoice {
    /// The index whole, byte for byte.
    All,
    /// These; at least one.
    Only(BTreeSet<Platform>),
}

/// One image that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedImage {
    /// Its name, with tag, digest or both.
    pub name: ImageRef,
    /// What it does: `agent`, `load-generator`, `infrastructure`, …
    pub role: String,
    /// The groups it belongs to.
    pub groups: BTreeSet<String>,
    /// The platforms to take.
    pub platforms: PlatformChoice,
}

/// The images wanted after selection, in the manifest's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSet {
    /// The release's name, as in `octoperf-9.2.0`.
    pub release: String,
    /// The release in words.
    pub title: String,
    /// The digest of the manifest's text.
    pub manifest: Digest,
    /// What is wanted.
    pub images: Vec<WantedImage>,
}

/// The images pinned, with every document that names their parts.
#[derive(Debug, Clone)]
pub struct ResolvedSet {
    /// What was pinned.
    pub lock: Lock,
    /// Indexes, image manifests and configurations as the bytes received (a derived index as written), by digest.
    pub documents: BTreeMap<Digest, Bytes>,
}
