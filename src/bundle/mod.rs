//! A bundle on disk: lay out, draft, seal, open, verify. Knows nothing of registries.
//!
//! The format is written down in `docs/bundle-format.md`. All of a bundle but the content of its blobs is a function
//! of its lock, so reading is laying out again and comparing.

mod draft;
mod earlier;
mod error;
mod header;
mod identify;
mod journal;
mod layout;
mod open;
mod plain_file;
mod positioned;
mod running_sum;
mod space;
mod stand_in;
mod verify;

pub use draft::{Draft, EarlierDraft, ExistingOutput, Sealed, check_output};
pub use error::BundleError;
pub use layout::{Layout, Member, MemberPath, docker_platform};
pub use open::Bundle;
pub use space::free_space;
pub use verify::{Finding, Problem, Verdict, verify};
