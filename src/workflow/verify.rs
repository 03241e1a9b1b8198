//! `verify`: read everything, hand back every finding.

use crate::bundle::{self, BundlePlace, Verdict};
use crate::failure::Failure;
use crate::progress::Progress;

/// Reads a whole bundle on `threads` threads.
pub fn verify(place: &BundlePlace, threads: usize, progress: &dyn Progress) -> Result<Verdict, Failure> {
    Ok(bundle::verify(place, threads, progress)?)
}
