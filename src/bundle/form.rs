//! What a bundle is written as: one file, or volumes of a length.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::bundle::description::{MOST_VOLUMES, volume_path};
use crate::bundle::error::BundleError;

/// The length of volumes in bytes; only the last one may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeSize(u64);

impl VolumeSize {
    /// The largest file of FAT32: 4 GiB less one byte.
    pub const FAT32: Self = Self(u32::MAX as u64);
    /// A DVD of one layer holds 4.7 GB, but a file of ISO 9660 has at most 4 GiB less one byte in one extent: whole
    /// sectors of 2,048 bytes below that.
    pub const DVD: Self = Self((1 << 32) - 2048);
    /// A BD-R of one layer holds 25,025,314,816 bytes; the rest is for the file system.
    pub const BD: Self = Self(25_000_000_000);
    /// The virus scanner `clamscan` looks at no single file above 2 GiB: 1.9 GiB stay below it.
    pub const AV: Self = Self(1_945 * (1 << 20));
    /// Lines that go one way only lose a file as a whole: 1 GiB is little to send again.
    pub const DIODE: Self = Self(1 << 30);
    /// Less is a slip of the unit.
    pub const LEAST: Self = Self(64 * 1024);

    /// A length; none below [`VolumeSize::LEAST`].
    pub fn new(bytes: u64) -> Option<Self> {
        (bytes >= Self::LEAST.0).then_some(Self(bytes))
    }

    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

/// One file, or volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One file.
    OneFile,
    /// Volumes of this length.
    Volumes(VolumeSize),
}

impl Form {
    /// The lengths of the files that hold `total` bytes.
    pub fn lengths(self, total: u64) -> Result<Vec<u64>, BundleError> {
        let Self::Volumes(VolumeSize(size)) = self else {
            return Ok(vec![total]);
        };
        let count = total.div_ceil(size);
        if count > MOST_VOLUMES {
            return Err(BundleError::TooManyVolumes { count, least: total.div_ceil(MOST_VOLUMES) });
        }
        Ok((0..count).map(|index| size.min(total - index * size)).collect())
    }

    /// Where the file with that index lies, for a bundle called `output`.
    pub(crate) fn path(self, output: &Path, index: usize) -> PathBuf {
        match self {
            Self::OneFile => output.to_owned(),
            Self::Volumes(_) => volume_path(output, index + 1),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneFile => f.write_str("one file"),
            Self::Volumes(size) => write!(f, "volumes of {} bytes", size.0),
        }
    }
}

/// What becomes of the same bundle's files in the other form when a new one gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherForm {
    /// They count as the output: refused, or replaced.
    Output,
    /// They are left: they are what the new one is made from.
    Kept,
}

/// Where a bundle is written, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleOutput {
    /// The bundle's name. Volumes get their numbers behind it.
    pub path: PathBuf,
    /// One file, or volumes.
    pub form: Form,
    /// What becomes of files in the other form.
    pub other_form: OtherForm,
}

impl BundleOutput {
    /// One file under its name.
    pub fn one_file(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), form: Form::OneFile, other_form: OtherForm::Output }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_add_up_and_only_the_last_is_shorter() {
        let size = VolumeSize::LEAST;
        for total in [1, size.0 - 1, size.0, size.0 + 1, 3 * size.0, 999 * size.0] {
            let lengths = Form::Volumes(size).lengths(total).unwrap();
            assert_eq!(lengths.iter().sum::<u64>(), total);
            assert!(lengths[..lengths.len() - 1].iter().all(|length| *length == size.0));
            assert!(lengths.iter().all(|length| *length > 0));
        }
        assert_eq!(Form::OneFile.lengths(5).unwrap(), [5]);
    }

    #[test]
    fn more_volumes_than_three_digits_count_are_refused_with_the_length_that_does() {
        let total = 999 * VolumeSize::LEAST.0 + 1;
        let refusal = Form::Volumes(VolumeSize::LEAST).lengths(total).unwrap_err();
        let BundleError::TooManyVolumes { count: 1000, least } = refusal else { panic!("{refusal}") };
        assert_eq!(Form::Volumes(VolumeSize::new(least).unwrap()).lengths(total).unwrap().len(), 999);
    }

    #[test]
    fn no_length_is_above_what_its_medium_holds() {
        assert_eq!(VolumeSize::FAT32.bytes(), 4_294_967_295);
        assert!(VolumeSize::DVD.bytes() < 4_700_372_992 && VolumeSize::DVD.bytes().is_multiple_of(2048));
        assert!(VolumeSize::BD.bytes() < 25_025_314_816);
        assert!(VolumeSize::AV.bytes() < 2 << 30);
        assert_eq!(VolumeSize::new(65_535), None);
    }
}
