//! What an earlier run left for another set of images: a tag has moved since, or a group was added.
//!
//! The earlier partial file steps aside under a name of its own. Layers that both bundles have are read from it, proven
//! and written at their new places; then it goes. A run that is killed in between finds it again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::bundle::bytes::BundleBytes;
use crate::bundle::error::BundleError;
use crate::bundle::journal::{Claims, Journal};
use crate::bundle::layout::Layout;
use crate::bundle::open::read_layout;
use crate::oci::{Digest, Hasher};

/// Bytes read at once.
const READ: usize = 1024 * 1024;

/// The files of an earlier run.
pub(crate) struct Earlier {
    bytes: BundleBytes,
    layout: Layout,
    claims: Claims,
    partial: PathBuf,
    journal: PathBuf,
}

impl Earlier {
    /// Moves the partial file and its journal aside, if they belong to another set of images and hold something.
    /// True if they were moved.
    pub(crate) fn step_aside(
        partial: &Path,
        journal: &Path,
        aside: &Path,
        aside_journal: &Path,
    ) -> Result<bool, BundleError> {
        let Some(earlier) = Self::open(partial, journal)? else {
            return Ok(false);
        };
        if earlier.whole_layers().next().is_none() {
            return Ok(false);
        }
        // The journal first: without it the partial file means nothing and would be begun anew.
        fs::rename(journal, aside_journal).map_err(BundleError::io("rename", journal))?;
        fs::rename(partial, aside).map_err(BundleError::io("rename", partial))?;
        Ok(true)
    }

    /// Opens an earlier run's files, if they are there and agree with each other.
    pub(crate) fn open(partial: &Path, journal: &Path) -> Result<Option<Self>, BundleError> {
        match fs::symlink_metadata(partial) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BundleError::io("look at", partial)(error)),
        }
        let bytes = BundleBytes::of_file(partial)?;
        // A head that cannot be read is that of a file in which nothing can be found any more.
        let Ok(layout) = read_layout(&bytes) else {
            return Ok(None);
        };
        let Some((_, claims)) = Journal::resume(journal, &layout)? else {
            return Ok(None);
        };
        let (partial, journal) = (partial.to_owned(), journal.to_owned());
        Ok(Some(Self { bytes, layout, claims, partial, journal }))
    }

    fn whole_layers(&self) -> impl Iterator<Item = (&Digest, u64)> {
        self.claims.iter().filter_map(|(digest, &claimed)| {
            let member = self.layout.blob(digest)?;
            (member.size == claimed).then_some((digest, claimed))
        })
    }

    /// Hands the content of a layer to `write`, piece by piece with its place in the layer. False if it is not here
    /// whole, or is not what its name says; what was handed out is then void.
    pub(crate) fn copy(
        &self,
        digest: &Digest,
        mut write: impl FnMut(&[u8], u64) -> Result<(), BundleError>,
    ) -> Result<bool, BundleError> {
        let Some(member) = self.layout.blob(digest).filter(|member| self.claims.get(digest) == Some(&member.size))
        else {
            return Ok(false);
        };
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; READ];
        while hasher.length() < member.size {
            let wanted = usize::try_from(member.size - hasher.length()).unwrap_or(READ).min(READ);
            let at = hasher.length();
            self.bytes.read_exact_at(&mut buffer[..wanted], member.start() + at)?;
            hasher.update(&buffer[..wanted]);
            write(&buffer[..wanted], at)?;
        }
        Ok(hasher.digest() == *digest)
    }

    /// Takes the files away.
    pub(crate) fn remove(self) -> Result<(), BundleError> {
        fs::remove_file(&self.partial).map_err(BundleError::io("remove", &self.partial))?;
        fs::remove_file(&self.journal).map_err(BundleError::io("remove", &self.journal))
    }
}
