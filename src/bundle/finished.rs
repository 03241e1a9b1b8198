//! A bundle that has its name already, told as whoever sealed it told it.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use crate::bundle::description::{Description, description_path};
use crate::bundle::draft::{Sealed, SealedVolume};
use crate::bundle::error::BundleError;
use crate::bundle::form::{BundleOutput, Form};
use crate::bundle::open::Bundle;
use crate::bundle::plain_file::beside;
use crate::oci::Digest;

/// A backslash, the digest, two spaces, and a name of at most 255 bytes, each perhaps escaped.
const MAX_CHECKSUM_LINE: u64 = 1024;

impl Sealed {
    /// `bundle` as it stands under the name of `output`, in that form, by the checksums beside it; no layer is read.
    pub(crate) fn standing(bundle: &Bundle, output: &BundleOutput) -> Result<Self, BundleError> {
        let (path, size) = (output.path.clone(), bundle.layout().total());
        if output.form == Form::OneFile {
            let sha256 = stated_checksum(&beside(&output.path, ".sha256"));
            return Ok(Self { path, size, sha256, volumes: vec![] });
        }
        let described = Description::read(&description_path(&output.path))?.volumes;
        let volumes = described.into_iter().enumerate().map(|(index, volume)| SealedVolume {
            path: output.form.path(&output.path, index),
            size: volume.size,
            sha256: volume.digest,
        });
        Ok(Self { path, size, sha256: None, volumes: volumes.collect() })
    }
}

/// The digest in a file of one line as `sha256sum` writes it; none where there is no such file.
fn stated_checksum(path: &Path) -> Option<Digest> {
    let mut line = String::new();
    fs::File::open(path).ok()?.take(MAX_CHECKSUM_LINE).read_to_string(&mut line).ok()?;
    let hex = line.trim_start_matches('\\').split(' ').next()?;
    format!("sha256:{hex}").parse().ok()
}
