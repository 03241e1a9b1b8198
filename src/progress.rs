//! What the library tells while it works. It never prints; whoever listens decides what is shown.

use crate::oci::Digest;

/// What a run is doing; shown as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Tags become digests, documents are fetched.
    Resolving,
    /// What an earlier run left on disk is read and proven.
    Rereading,
    /// Layers arrive.
    Downloading,
    /// A bundle is copied into another form, or onto a medium.
    Copying,
    /// Layers leave.
    Uploading,
    /// A bundle is read and compared with its digests.
    Verifying,
    /// An engine takes the images.
    Loading,
    /// Written bytes are forced onto the disk.
    Syncing,
}

/// How a blob came to be where it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Its bytes were moved.
    Moved,
    /// It was there already.
    Present,
    /// The registry took it over from another of its repositories.
    Mounted,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Another part of the work began.
    Phase(Phase),
    /// What lies ahead is known.
    Planned {
        /// Images in all.
        images: usize,
        /// Blobs in all.
        blobs: usize,
        /// Their bytes, those that are there already included.
        bytes: u64,
    },
    /// A blob's turn came.
    BlobStarted {
        /// Which.
        digest: Digest,
        /// Its length in bytes.
        size: u64,
        /// The image that is named with it.
        image: String,
    },
    /// So many bytes of a blob are done, counted from its start; less than before when it had to start over.
    BlobAt {
        /// Which.
        digest: Digest,
        /// Bytes from its start.
        position: u64,
    },
    /// A blob is complete.
    BlobDone {
        /// Which.
        digest: Digest,
        /// Its length in bytes.
        size: u64,
        /// How it came.
        arrival: Arrival,
    },
    /// An image is complete under its name.
    ImageDone {
        /// Its name.
        image: String,
    },
    /// Work waits: a rate limit, a back-off.
    Waiting {
        /// For whom.
        host: String,
        /// Why.
        reason: String,
        /// How long, in seconds.
        seconds: u64,
    },
    /// Something a person should know though the run goes on.
    Warning(String),
}

/// Someone who listens. Called from many tasks; must be quick.
pub trait Progress: Send + Sync {
    /// Takes one event.
    fn report(&self, event: Event);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn report(&self, _: Event) {}
}
