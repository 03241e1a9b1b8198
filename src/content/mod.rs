//! Content on its way: unreadable when it arrives, readable once someone says what was promised about it. And files that
//! appear whole.

mod blocking;
mod direct;
mod file_part;
mod positioned;
mod store;
mod verifying;
mod whole_file;

pub use blocking::BlockingReader;
pub(crate) use blocking::blocking;
pub(crate) use direct::{open_direct, read_exact_at_directly};
pub use file_part::FilePart;
pub(crate) use positioned::{read_exact_at, write_all_at};
pub use store::{BlobContent, Fetched, ImageSink, ImageSource, Lookup};
pub use verifying::{Mismatch, Unverified, VerifyingReader};
pub use whole_file::{Readers, folder_of, write_whole, write_whole_by};

/// The distribution specification asks registries to take image manifests of up to 4 MiB and no more; larger
/// documents and configurations are refused.
pub const MAX_DOCUMENT_BYTES: u64 = 4 * 1024 * 1024;
