//! `NAME.volumes.json`: which volumes a bundle was cut into, and how each of them can be known.

use std::ffi::OsStr;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bundle::bytes::BundleBytes;
use crate::bundle::error::BundleError;
use crate::bundle::plain_file;
use crate::oci::Digest;

/// The `format` of descriptions that this version writes and reads.
pub(crate) const FORMAT: &str = "octobundle/volumes/v1";
/// The most volumes: their names end in three digits.
pub(crate) const MOST_VOLUMES: u64 = 999;
/// The first and the last bytes of a volume, by which it is known without reading it whole. Layers are compressed, so no
/// two volumes begin or end alike.
pub(crate) const EDGE: u64 = 4096;
/// The end of a description's name.
pub(crate) const ENDING: &str = ".volumes.json";
/// 999 volumes with names of 255 characters take less than half of this.
const MAX_BYTES: u64 = 1024 * 1024;

/// The text of `NAME.volumes.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    /// [`FORMAT`].
    format: String,
    /// The bundle's id.
    pub(crate) bundle: Digest,
    /// The release in it.
    pub(crate) release: String,
    /// The length of all volumes together.
    pub(crate) bytes: u64,
    /// How many volumes there are.
    pub(crate) count: usize,
    /// The volumes in their order.
    pub(crate) volumes: Vec<DescribedVolume>,
}

/// A volume in a description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DescribedVolume {
    /// Its file's name.
    pub(crate) name: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// Its SHA-256.
    pub(crate) digest: Digest,
    /// The SHA-256 of its first [`EDGE`] bytes, or of all if it is shorter.
    pub(crate) begins: Digest,
    /// The SHA-256 of its last [`EDGE`] bytes, or of all if it is shorter.
    pub(crate) ends: Digest,
}

impl DescribedVolume {
    /// Describes the volume that holds this range of a bundle.
    pub(crate) fn of(
        name: String,
        digest: Digest,
        bytes: &BundleBytes,
        range: Range<u64>,
    ) -> Result<Self, BundleError> {
        let size = range.end - range.start;
        let edge = size.min(EDGE);
        let begins = Digest::of(&bytes.read(range.start, edge)?);
        let ends = Digest::of(&bytes.read(range.end - edge, edge)?);
        Ok(Self { name, size, digest, begins, ends })
    }
}

impl Description {
    /// A description of these volumes.
    pub(crate) fn new(bundle: Digest, release: String, volumes: Vec<DescribedVolume>) -> Self {
        let bytes = volumes.iter().map(|volume| volume.size).sum();
        Self { format: FORMAT.into(), bundle, release, bytes, count: volumes.len(), volumes }
    }

    /// Reads a description. What does not agree with itself is refused.
    pub(crate) fn read(path: &Path) -> Result<Self, BundleError> {
        let unusable = |why: String| BundleError::Description { path: path.to_owned(), why };
        let mut text = Vec::new();
        let file = plain_file::open_at_once(path).map_err(BundleError::io("open", path))?;
        file.take(MAX_BYTES).read_to_end(&mut text).map_err(BundleError::io("read", path))?;
        Self::parse(&text).map_err(unusable)
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct JustFormat {
            format: String,
        }
        let JustFormat { format } = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if format != FORMAT {
            return Err(format!("its format is `{format}`, and this version reads `{FORMAT}`"));
        }
        let description: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        description.check()?;
        Ok(description)
    }

    fn check(&self) -> Result<(), String> {
        if self.volumes.len() != self.count || self.volumes.is_empty() || self.count as u64 > MOST_VOLUMES {
            return Err(format!("it counts {} volumes and lists {}", self.count, self.volumes.len()));
        }
        let sum = self.volumes.iter().try_fold(0_u64, |sum, volume| sum.checked_add(volume.size));
        if sum != Some(self.bytes) {
            return Err(format!("its volumes do not have {} bytes together", self.bytes));
        }
        let base = self.base();
        let wrong = (1..).zip(&self.volumes).find(|(number, volume)| volume.name != volume_name(base, *number));
        match wrong {
            Some((number, volume)) => Err(format!("its volume {number} is called `{}`", volume.name)),
            None if ["", ".", ".."].contains(&base) || base.contains(['/', '\\', '\0']) => {
                Err("its volumes have no plain names".into())
            }
            None => Ok(()),
        }
    }

    /// The name that the volumes have in common: the bundle's.
    pub(crate) fn base(&self) -> &str {
        let first = &self.volumes[0].name;
        first.strip_suffix(".001").unwrap_or_default()
    }

    /// The text of the file.
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("a description holds only text, numbers and lists") + "\n"
    }
}

/// The name of a bundle's volume: `.001` and so on behind the bundle's own.
pub(crate) fn volume_name(base: &str, number: usize) -> String {
    format!("{base}.{number:03}")
}

/// The same as a path.
pub(crate) fn volume_path(output: &Path, number: usize) -> PathBuf {
    plain_file::beside(output, &format!(".{number:03}"))
}

/// The bundle's name and the number that a volume's file name is made of.
pub(crate) fn parse_volume_name(name: &str) -> Option<(&str, usize)> {
    let (base, digits) = name.rsplit_once('.')?;
    let number: usize =
        (digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())??;
    (number > 0 && !base.is_empty()).then_some((base, number))
}

/// A bundle's name without `.tar`, which stands before what describes its volumes and pieces.
pub(crate) fn stem(output: &Path) -> PathBuf {
    if output.extension() == Some(OsStr::new("tar")) { output.with_extension("") } else { output.to_owned() }
}

/// Where the description of a bundle's volumes is.
pub(crate) fn description_path(output: &Path) -> PathBuf {
    plain_file::beside(&stem(output), ENDING)
}

/// Where the checksums of a bundle's volumes are.
pub(crate) fn checksums_path(output: &Path) -> PathBuf {
    plain_file::beside(&stem(output), ".sha256")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        let volume = |number| DescribedVolume {
            name: volume_name("x.tar", number),
            size: 10,
            digest: Digest::of(b"whole"),
            begins: Digest::of(b"begins"),
            ends: Digest::of(b"ends"),
        };
        Description::new(Digest::of(b"bundle"), "r-1".into(), vec![volume(1), volume(2)])
    }

    #[test]
    fn a_description_reads_as_it_was_written() {
        let description = description();
        assert_eq!(Description::parse(description.to_text().as_bytes()).unwrap(), description);
        assert_eq!(description.base(), "x.tar");
    }

    #[test]
    fn what_does_not_agree_with_itself_is_refused() {
        let text = description().to_text();
        for (from, to, why) in [
            ("\"count\": 2", "\"count\": 3", "counts 3 volumes and lists 2"),
            ("\"bytes\": 20", "\"bytes\": 21", "do not have 21 bytes"),
            ("x.tar.002", "x.tar.003", "volume 2 is called `x.tar.003`"),
            ("x.tar.002", "../x.tar.002", "volume 2 is called"),
            ("x.tar", "../x.tar", "no plain names"),
            ("x.tar", "a\\\\x.tar", "no plain names"),
            ("x.tar", "", "no plain names"),
            ("x.tar", "..", "no plain names"),
            ("volumes/v1", "volumes/v2", "this version reads"),
            ("\"release\"", "\"other\"", "unknown field `other`"),
            ("\"size\": 10", "\"size\": 18446744073709551615", "bytes together"),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "{from}");
            let refusal = Description::parse(changed.as_bytes()).unwrap_err();
            assert!(refusal.contains(why), "{from} -> {to}: {refusal}");
        }
        assert!(Description::parse(text.replace("\"count\": 2", "\"count\": 0").as_bytes()).is_err());
    }

    #[test]
    fn names_of_volumes_and_of_what_describes_them() {
        assert_eq!(parse_volume_name("x.tar.001"), Some(("x.tar", 1)));
        for other in ["x.tar", "x.tar.000", "x.tar.01", "x.tar.0001", ".001", "x.tar.00a", "x.tar.+01", "001"] {
            assert_eq!(parse_volume_name(other), None, "{other}");
        }
        assert_eq!(description_path(Path::new("a/x.tar")), Path::new("a/x.volumes.json"));
        assert_eq!(description_path(Path::new("x")), Path::new("x.volumes.json"));
        assert_eq!(checksums_path(Path::new("x-9.2.0.tar")), Path::new("x-9.2.0.sha256"));
    }
}
