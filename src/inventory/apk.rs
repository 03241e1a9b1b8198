//! apk's `installed`: paragraphs of one letter, a colon and a value (apk-tools, `apk_pkg` fields).

use crate::inventory::paragraphs::{Paragraph, paragraphs};
use crate::inventory::{Kind, Package};

/// The packages.
pub(super) fn packages(text: &str, found_in: &str) -> Vec<Package> {
    paragraphs(text).filter_map(|paragraph| package(&paragraph, found_in)).collect()
}

fn package(paragraph: &Paragraph<'_>, found_in: &str) -> Option<Package> {
    let field = |name| paragraph.field(name);
    Some(Package {
        kind: Kind::Apk,
        name: field("P")?,
        version: field("V").unwrap_or_default(),
        architecture: field("A"),
        group: None,
        licence: field("L"),
        found_in: found_in.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_have_name_version_and_licence() {
        let text =
            "C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\nF:lib\nR:ld-musl-x86_64.so.1\n\nP:busybox\nV:1.36.1-r29\n";
        let found = packages(text, "f");
        assert_eq!(found.len(), 2);
        assert_eq!(
            (&*found[0].name, &*found[0].version, found[0].licence.as_deref()),
            ("musl", "1.2.5-r0", Some("MIT"))
        );
        assert_eq!((&*found[1].name, found[1].architecture.as_deref()), ("busybox", None));
    }
}
