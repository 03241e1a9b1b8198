//! `os-release`: which distribution an image is made of.

use serde::Serialize;

/// A distribution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Os {
    /// `debian`, `alpine`.
    pub id: String,
    /// `12`, `3.20.1`; empty where there is none.
    pub version: String,
    /// For people.
    pub name: String,
}

/// Longer values are none.
const LONGEST: usize = 200;

/// Reads `KEY=value` lines, values perhaps in quotes (os-release(5)).
pub(super) fn parse(text: &str) -> Option<Os> {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        let value = line.trim().trim_matches(['"', '\'']);
        (value.len() <= LONGEST).then(|| value.to_owned())
    };
    let id = value("ID").filter(|id| !id.is_empty())?;
    Some(Os { id, version: value("VERSION_ID").unwrap_or_default(), name: value("PRETTY_NAME").unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_left_out_and_a_file_without_id_is_none() {
        let os = parse("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID='12'\nID=debian\n").unwrap();
        assert_eq!((&*os.id, &*os.version, &*os.name), ("debian", "12", "Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(parse("NAME=x\n"), None);
    }
}
