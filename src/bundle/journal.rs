//! How far each layer of a draft has come, so that a killed run continues.
//!
//! The journal only claims: whatever it says is on disk is read and hashed again before it counts. So it needs no sync
//! of its own, and a power cut that keeps the journal but loses data costs time, never a wrong byte.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::bundle::error::BundleError;
use crate::bundle::layout::Layout;
use crate::bundle::plain_file;
use crate::oci::Digest;

/// One line of about 90 bytes for each MiB of a bundle: 64 MiB of lines are a bundle of 700 GB.
const MAX_JOURNAL: u64 = 64 * 1024 * 1024;

/// Appends claims.
pub(crate) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

/// What an earlier run claims: bytes from the start of each layer.
pub(crate) type Claims = BTreeMap<Digest, u64>;

fn first_line(layout: &Layout) -> String {
    format!("octobundle journal v1 {} {}\n", layout.id(), layout.total())
}

impl Journal {
    /// Begins a journal for `layout`, forgetting what stood there.
    pub(crate) fn create(path: &Path, layout: &Layout) -> Result<Self, BundleError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let mut file = plain_file::open(&mut options, "create the journal", path)?;
        file.write_all(first_line(layout).as_bytes()).map_err(BundleError::io("write the journal", path))?;
        Self::append_to(path)
    }

    /// Continues the journal of an earlier run, if there is one for exactly this layout.
    pub(crate) fn resume(path: &Path, layout: &Layout) -> Result<Option<(Self, Claims)>, BundleError> {
        let file = match plain_file::open(OpenOptions::new().read(true), "open the journal", path) {
            Err(BundleError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_JOURNAL).read_to_end(&mut bytes).map_err(BundleError::io("read the journal", path))?;
        let text = String::from_utf8_lossy(&bytes);
        let Some(lines) = text.strip_prefix(&first_line(layout)) else {
            return Ok(None);
        };
        // A line that a kill cut in half does not parse, or claims less than it should; both are harmless.
        let claims = lines.lines().filter_map(parse_line).collect();
        Ok(Some((Self::append_to(path)?, claims)))
    }

    fn append_to(path: &Path) -> Result<Self, BundleError> {
        let file = plain_file::open(OpenOptions::new().append(true), "open the journal", path)?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    /// Claims that a layer is on disk up to `position`; the last claim counts.
    pub(crate) fn claim(&self, digest: &Digest, position: u64) -> Result<(), BundleError> {
        let mut file = self.file.lock().expect("no writer panics while it holds the journal");
        // A newline first, so that a torn line of a killed run cannot swallow this one.
        let line = format!("\n{} {position}\n", digest.hex());
        file.write_all(line.as_bytes()).map_err(BundleError::io("write the journal", &self.path))
    }
}

fn parse_line(line: &str) -> Option<(Digest, u64)> {
    let (hex, position) = line.split_once(' ')?;
    Some((format!("sha256:{hex}").parse().ok()?, position.parse().ok()?))
}
