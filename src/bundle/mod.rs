//! A bundle on disk: lay out, draft, seal, open, verify. Knows nothing of registries.
//!
//! The format is written down in `docs/bundle-format.md`. All of a bundle but the content of its blobs is a function
//! of its lock, so reading is laying out again and comparing.
//!
//! A bundle is one file or many volumes. Who reads one says where it is with a [`BundlePlace`] (a path is one), opens
//! it with [`Bundle::open`], and reads its [`BundleBytes`] at positions, or takes the open files that hold a range with
//! [`BundleBytes::parts`]. Opening writes nothing anywhere, so media may be read-only.

mod bytes;
mod description;
mod draft;
mod earlier;
mod error;
mod files;
mod finished;
mod form;
mod header;
mod identify;
mod journal;
mod layout;
mod locate;
mod medium;
mod names;
mod open;
mod patchwork;
mod pieces;
mod place;
mod plain_file;
mod readme;
mod running_sum;
mod signatures;
mod space;
mod stack;
mod stand_in;
mod verify;
mod volume_fault;
mod volumes;
mod writer;

pub use bytes::BundleBytes;
pub use draft::{Draft, EarlierDraft, ExistingOutput, Sealed, SealedVolume};
pub use error::BundleError;
pub use form::{BundleOutput, Form, OtherForm, VolumeSize};
pub use layout::{Layout, Member, MemberPath, docker_platform};
pub use medium::{CopiedFile, OnMedium, ReadBack};
pub use names::check_output;
pub use open::Bundle;
pub use patchwork::{Mended, Patchwork, Segment};
pub use place::BundlePlace;
pub use signatures::{check_signature_path, read_signature, signature_files, signature_path, write_signature};
pub use space::free_space;
pub use stack::Stack;
pub use verify::{Finding, Problem, Verdict, verify};
pub use volume_fault::{VolumeFault, VolumeProblem};
