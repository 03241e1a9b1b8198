//! `verify`: read everything, hand back every finding.

use std::path::Path;

use crate::bundle::{self, Verdict};
use crate::failure::Failure;
use crate::progress::Progress;

/// Reads a whole bundle on `threads` threads.
pub fn verify(path: &Path, threads: usize, progress: &dyn Progress) -> Result<Verdict, Failure> {
    Ok(bundle::verify(path, threads, progress)?)
}
