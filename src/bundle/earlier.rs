//! What an earlier run left for another set of images: a tag has moved since, or a group was added.
//!
//! The earlier partial file steps aside under a name of its own. Layers that both bundles have are read from it, proven
//! and written at their new places; then it goes. A run that is killed in between finds it again.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bundle::bytes::BundleBytes;
use crate::bundle::description::volume_path;
use crate::bundle::error::BundleError;
use crate::bundle::files;
use crate::bundle::journal::{Began, Claims, Journal};
use crate::bundle::layout::Layout;
use crate::bundle::names::journal_of;
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
}

impl Earlier {
    /// Moves the partial files and their journal aside, if they belong to another set of images, or are in another
    /// form, and hold something. True if they were moved.
    pub(crate) fn step_aside(partial: &Path, aside: &Path) -> Result<bool, BundleError> {
        let Some(earlier) = Self::open(partial)? else {
            return Ok(false);
        };
        if earlier.whole_layers().next().is_none() {
            return Ok(false);
        }
        files::remove_all(aside)?;
        // The journal first: without it the partial files mean nothing and would be begun anew.
        move_file(&journal_of(partial), &journal_of(aside))?;
        for (index, piece) in earlier.bytes.pieces().iter().enumerate() {
            let name =
                if earlier.bytes.volumes().is_empty() { aside.to_owned() } else { volume_path(aside, index + 1) };
            move_file(&piece.path, &name)?;
        }
        Ok(true)
    }

    /// Opens an earlier run's files, if they are there and agree with each other.
    pub(crate) fn open(partial: &Path) -> Result<Option<Self>, BundleError> {
        let journal = journal_of(partial);
        let Some(began) = Journal::began(&journal) else {
            return Ok(None);
        };
        let Some(bytes) = files::reopen(partial, began)? else {
            return Ok(None);
        };
        // A head that cannot be read is that of a file in which nothing can be found any more.
        let Ok(layout) = read_layout(&bytes) else {
            return Ok(None);
        };
        if Began::new(&layout, began.form) != began {
            return Ok(None);
        }
        let Some((_, claims)) = Journal::resume(&journal, began)? else {
            return Ok(None);
        };
        Ok(Some(Self { bytes, layout, claims, partial: partial.to_owned() }))
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
        files::remove_all(&self.partial)
    }
}

fn move_file(from: &Path, to: &Path) -> Result<(), BundleError> {
    fs::rename(from, to).map_err(BundleError::io("rename", from))
}
