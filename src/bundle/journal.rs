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
use crate::bundle::form::{Form, VolumeSize};
use crate::bundle::layout::Layout;
use crate::bundle::plain_file;
use crate::oci::Digest;

/// A layer that grows is claimed once in so many bytes. The most that a kill costs of it.
const STEP: u64 = 1024 * 1024;
/// One line of about 90 bytes for each [`STEP`] of a bundle: 64 MiB of lines are a bundle of 700 GB.
const MAX_JOURNAL: u64 = 64 * 1024 * 1024;

/// Appends claims.
pub(crate) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

/// What an earlier run claims: bytes from the start of each layer.
pub(crate) type Claims = BTreeMap<Digest, u64>;

/// The line of a run that has begun to give volumes their names.
const NAMING: &str = "naming";
/// Longer first lines are not ours.
const MAX_FIRST_LINE: u64 = 200;

/// What a journal's first line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Began {
    /// The bundle's id.
    pub(crate) id: Digest,
    /// Its length in bytes.
    pub(crate) length: u64,
    /// What it is written as.
    pub(crate) form: Form,
}

impl Began {
    /// The beginning of a draft.
    pub(crate) fn new(layout: &Layout, form: Form) -> Self {
        Self { id: layout.id(), length: layout.total(), form }
    }

    fn to_line(self) -> String {
        let volumes = match self.form {
            Form::OneFile => String::new(),
            Form::Volumes(size) => format!(" {}", size.bytes()),
        };
        format!("octobundle journal v1 {} {}{volumes}\n", self.id, self.length)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("octobundle journal v1 ")?.split(' ');
        let (id, length) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let form = match words.next() {
            None => Form::OneFile,
            Some(size) => Form::Volumes(VolumeSize::new(size.parse().ok()?)?),
        };
        words.next().is_none().then_some(Self { id, length, form })
    }
}

/// Whether a layer of `size` bytes that grew is to be claimed: at each [`STEP`], and when all of it is there.
pub(crate) fn is_due(before: u64, now: u64, size: u64) -> bool {
    before / STEP < now / STEP || now == size
}

impl Journal {
    /// Begins a journal, forgetting what stood there.
    pub(crate) fn create(path: &Path, began: Began) -> Result<Self, BundleError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let mut file = plain_file::open(&mut options, "create the journal", path)?;
        file.write_all(began.to_line().as_bytes()).map_err(BundleError::io("write the journal", path))?;
        Self::append_to(path)
    }

    /// Continues the journal of an earlier run, if there is one for exactly this bundle in this form.
    pub(crate) fn resume(path: &Path, began: Began) -> Result<Option<(Self, Claims)>, BundleError> {
        let Some(text) = read(path, MAX_JOURNAL)? else {
            return Ok(None);
        };
        let Some(lines) = text.strip_prefix(&began.to_line()) else {
            return Ok(None);
        };
        // A line that a kill cut in half does not parse, or claims less than it should; both are harmless.
        let claims = lines.lines().filter_map(parse_line).collect();
        Ok(Some((Self::append_to(path)?, claims)))
    }

    /// What the journal there was begun for.
    pub(crate) fn began(path: &Path) -> Option<Began> {
        Began::parse(read(path, MAX_FIRST_LINE).ok()??.split_once('\n')?.0)
    }

    /// What the journal there was begun for, if its run has begun to give volumes their names.
    pub(crate) fn naming(path: &Path) -> Option<Began> {
        let text = read(path, MAX_JOURNAL).ok()??;
        text.lines().any(|line| line == NAMING).then(|| Self::began(path)).flatten()
    }

    /// Says that volumes get their names from now on.
    pub(crate) fn names(&self) -> Result<(), BundleError> {
        self.append(&format!("\n{NAMING}\n"))
    }

    fn append_to(path: &Path) -> Result<Self, BundleError> {
        let file = plain_file::open(OpenOptions::new().append(true), "open the journal", path)?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    /// Claims that a layer is on disk up to `position`; the last claim counts.
    pub(crate) fn claim(&self, digest: &Digest, position: u64) -> Result<(), BundleError> {
        // A newline first, so that a torn line of a killed run cannot swallow this one.
        self.append(&format!("\n{} {position}\n", digest.hex()))
    }

    fn append(&self, line: &str) -> Result<(), BundleError> {
        let mut file = self.file.lock().expect("no writer panics while it holds the journal");
        file.write_all(line.as_bytes()).map_err(BundleError::io("write the journal", &self.path))
    }
}

/// The first bytes of a journal, if there is one.
fn read(path: &Path, limit: u64) -> Result<Option<String>, BundleError> {
    let file = match plain_file::open(OpenOptions::new().read(true), "open the journal", path) {
        Err(BundleError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(BundleError::io("read the journal", path))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn parse_line(line: &str) -> Option<(Digest, u64)> {
    let (hex, position) = line.split_once(' ')?;
    Some((format!("sha256:{hex}").parse().ok()?, position.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_claimed_with_each_mebibyte_and_at_its_end() {
        let size = 10 * STEP + 5;
        for (before, now, due) in [
            (0, STEP - 1, false),
            (STEP - 1, STEP, true),
            (STEP, STEP + 1, false),
            (STEP + 1, 3 * STEP, true),
            (10 * STEP + 1, size, true),
        ] {
            assert_eq!(is_due(before, now, size), due, "{before} to {now}");
        }
        assert!(is_due(0, 7, 7));
    }
}
