//! Signature files beside a bundle. They are looked for and read here; what they are worth is decided in `trust`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::bundle::error::BundleError;
use crate::bundle::plain_file::{beside, open_at_once};
use crate::content::{Readers, folder_of, write_whole};
use crate::trust::{KeyId, MAX_SIGNATURE_BYTES, Signature};

const ENDING: &str = ".minisig";

/// Where the signature with this key stands.
pub fn signature_path(bundle: &Path, key: KeyId) -> PathBuf {
    beside(bundle, &format!(".{key}{ENDING}"))
}

/// The signature files of a bundle: `BUNDLE.minisig` and `BUNDLE.….minisig` in its folder, by name.
pub fn signature_files(bundle: &Path) -> Result<Vec<PathBuf>, BundleError> {
    let folder = folder_of(bundle);
    let Some(name) = bundle.file_name() else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(BundleError::io("look into", folder))? {
        let entry = entry.map_err(BundleError::io("look into", folder))?.file_name();
        if is_signature_of(&entry, name) {
            found.push(folder.join(entry));
        }
    }
    found.sort();
    Ok(found)
}

fn is_signature_of(file: &OsStr, bundle: &OsStr) -> bool {
    let (file, bundle) = (file.as_encoded_bytes(), bundle.as_encoded_bytes());
    let rest = file.strip_prefix(bundle).and_then(|rest| rest.strip_suffix(ENDING.as_bytes()));
    rest.is_some_and(|middle| middle.is_empty() || middle.starts_with(b"."))
}

/// Reads a signature file; one that is longer than any signature is read no further than that.
pub fn read_signature(path: &Path) -> Result<Vec<u8>, BundleError> {
    let file: File = open_at_once(path).map_err(BundleError::io("open", path))?;
    let metadata = file.metadata().map_err(BundleError::io("look at", path))?;
    if !metadata.is_file() {
        return Err(BundleError::NotAFile { path: path.to_owned(), what: "a folder, device, pipe or socket" });
    }
    let mut bytes = Vec::new();
    file.take(MAX_SIGNATURE_BYTES + 1).read_to_end(&mut bytes).map_err(BundleError::io("read", path))?;
    Ok(bytes)
}

/// Refuses a name under which something stands that is no signature.
pub fn check_signature_path(path: &Path) -> Result<(), BundleError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BundleError::io("look at", path)(error)),
        // One that is cut or damaged may be made anew.
        Ok(metadata) if metadata.is_file() && path.extension() == Some(OsStr::new("minisig")) => Ok(()),
        Ok(metadata) if metadata.is_file() && Signature::parse(&read_signature(path)?).is_ok() => Ok(()),
        Ok(_) => Err(BundleError::NoSignature(path.to_owned())),
    }
}

/// Writes a signature file in one step, in the place of an earlier one, and of nothing else.
pub fn write_signature(path: &Path, bytes: &[u8]) -> Result<(), BundleError> {
    check_signature_path(path)?;
    write_whole(path, bytes, Readers::Umask).map_err(BundleError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_told_from_other_files_by_name() {
        for (file, is) in [
            ("a.tar.minisig", true),
            ("a.tar.0011223344556677.minisig", true),
            ("a.tar.anna.minisig", true),
            ("a.tarx.minisig", false),
            ("b.a.tar.minisig", false),
            ("a.tar.minisig.old", false),
            ("a.tar", false),
        ] {
            assert_eq!(is_signature_of(OsStr::new(file), OsStr::new("a.tar")), is, "{file}");
        }
    }
}
