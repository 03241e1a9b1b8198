//! Names and documents of the OCI world, parsed into types that cannot be wrong. No I/O.

mod descriptor;
mod digest;
mod document;
mod image_ref;
mod platform;

pub use descriptor::{Descriptor, MediaType};
pub use digest::{BadDigest, Digest, Hasher};
pub use document::{
    Document, DocumentError, ImageConfig, ImageIndex, ImageManifest, ManifestDescriptor, derived_index,
};
pub use image_ref::{BadReference, Host, ImageRef, Repository, RepositoryName, Tag};
pub use platform::{BadPlatform, Platform};
