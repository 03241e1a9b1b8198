//! rpm's headers, as its databases hold them: an index of numbered fields, then their values.

use crate::inventory::{Kind, Package};

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const LICENCE: u32 = 1014;
const ARCHITECTURE: u32 = 1022;
const NUMBER: u32 = 4;
/// One text, and a text with translations, of which the first is taken.
const TEXTS: [u32; 2] = [6, 9];
/// Names, versions and licences are shorter.
const LONGEST: usize = 2_000;

/// The package of a header; none if the bytes are no header.
pub(super) fn package(header: &[u8], found_in: &str) -> Option<Package> {
    let fields = usize::try_from(word(header, 0)?).ok()?;
    let length = usize::try_from(word(header, 4)?).ok()?;
    let values = header.get(fields.checked_mul(16)?.checked_add(8)?..)?;
    let values = values.get(..length)?;
    let field = |tag: u32| {
        let entry = (0..fields).map(|place| 8 + place * 16).find(|&at| word(header, at) == Some(tag))?;
        let value = values.get(usize::try_from(word(header, entry + 8)?).ok()?..)?;
        Some((word(header, entry + 4)?, value))
    };
    let text = |tag: u32| {
        let (_, value) = field(tag).filter(|(kind, _)| TEXTS.contains(kind))?;
        let end = value.iter().take(LONGEST).position(|&byte| byte == 0)?;
        Some(String::from_utf8_lossy(&value[..end]).into_owned()).filter(|text| !text.is_empty())
    };
    let epoch = field(EPOCH).filter(|(kind, _)| *kind == NUMBER).and_then(|(_, value)| word(value, 0));
    let epoch = epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
    Some(Package {
        kind: Kind::Rpm,
        name: text(NAME)?,
        version: format!("{epoch}{}-{}", text(VERSION)?, text(RELEASE)?),
        architecture: text(ARCHITECTURE),
        group: None,
        licence: text(LICENCE),
        found_in: found_in.to_owned(),
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with these fields.
    fn header(fields: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let mut values = Vec::new();
        let mut index = Vec::new();
        for (tag, kind, value) in fields {
            for number in [*tag, *kind, u32::try_from(values.len()).unwrap(), 1] {
                index.extend(number.to_be_bytes());
            }
            values.extend_from_slice(value);
        }
        let counts = [fields.len(), values.len()].map(|count| u32::try_from(count).unwrap().to_be_bytes());
        [counts.concat(), index, values].concat()
    }

    #[test]
    fn a_package_has_epoch_version_and_release() {
        let fields: [(u32, u32, &[u8]); 6] = [
            (NAME, 6, b"bash\0"),
            (VERSION, 6, b"5.1\0"),
            (RELEASE, 6, b"2.el9\0"),
            (LICENCE, 6, b"GPLv3+\0"),
            (ARCHITECTURE, 6, b"x86_64\0"),
            (EPOCH, 4, &[0, 0, 0, 3]),
        ];
        let found = package(&header(&fields), "f").unwrap();
        assert_eq!(
            (&*found.name, &*found.version, found.architecture.as_deref()),
            ("bash", "3:5.1-2.el9", Some("x86_64"))
        );
        assert_eq!(package(&header(&fields[..5]), "f").unwrap().version, "5.1-2.el9");
    }

    #[test]
    fn bytes_that_are_no_header_are_no_package() {
        let whole = header(&[(NAME, 6, b"bash\0"), (VERSION, 6, b"1\0"), (RELEASE, 6, b"2\0")]);
        for length in 0..whole.len() {
            assert_eq!(package(&whole[..length], "f"), None, "cut at {length}");
        }
        let mut far = whole.clone();
        far[8 + 8..8 + 12].copy_from_slice(&[255; 4]);
        assert_eq!(package(&far, "f"), None);
        assert_eq!(package(&[255; 64], "f"), None);
    }
}
