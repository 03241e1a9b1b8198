//! What an operator should hear of while a server runs.

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::oci::Digest;

/// Notices that wait to be shown; more are dropped, since nobody reads them all.
const WAITING: usize = 64;

/// Something that clients are told with every answer, and an operator once.
#[derive(Debug)]
pub enum Notice {
    /// A bundle cannot be read any more.
    Away(Failure),
    /// A bundle that was away can be read again.
    Back(PathBuf),
    /// Content of a bundle is not what its digest says.
    Damaged {
        /// The bundle.
        path: PathBuf,
        /// The content.
        digest: Digest,
    },
}

impl Notice {
    pub(crate) fn damaged(path: &Path, digest: &Digest) -> Self {
        Self::Damaged { path: path.to_owned(), digest: *digest }
    }
}

/// Takes notices and never waits.
#[derive(Debug, Clone)]
pub struct Notices(mpsc::Sender<Notice>);

impl Notices {
    /// The taker, and where the notices come out.
    pub fn new() -> (Self, mpsc::Receiver<Notice>) {
        let (give, take) = mpsc::channel(WAITING);
        (Self(give), take)
    }

    pub(crate) fn tell(&self, notice: Notice) {
        // Nobody listens, or too slowly: the answers say it too.
        drop(self.0.try_send(notice));
    }
}
