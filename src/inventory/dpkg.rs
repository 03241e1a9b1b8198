//! dpkg's `status`: paragraphs of `Field: value` (deb-control(5)).

use crate::inventory::paragraphs::{Paragraph, paragraphs};
use crate::inventory::{Kind, Package};

/// The packages that are installed; those that were removed and left their configuration are not.
pub(super) fn packages(text: &str, found_in: &str) -> Vec<Package> {
    paragraphs(text).filter_map(|paragraph| package(&paragraph, found_in)).collect()
}

fn package(paragraph: &Paragraph<'_>, found_in: &str) -> Option<Package> {
    let field = |name| paragraph.field(name);
    // Images without dpkg have a paragraph a file, and no word on its state.
    let installed = field("Status").is_none_or(|status| status.split(' ').next_back() == Some("installed"));
    installed.then_some(())?;
    Some(Package {
        kind: Kind::Deb,
        name: field("Package")?,
        version: field("Version").unwrap_or_default(),
        architecture: field("Architecture"),
        group: None,
        licence: None,
        found_in: found_in.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_are_listed_and_others_not() {
        let text = "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1\nDescription: a shell\n Package: not-this\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                    Package: broken\nStatus: install ok half-installed\nVersion: 1\n\n\
                    Package: base-files\nVersion: 12\n";
        let found: Vec<(String, String)> = packages(text, "f").into_iter().map(|one| (one.name, one.version)).collect();
        assert_eq!(found, [("bash".into(), "5.2-1".into()), ("base-files".into(), "12".into())]);
    }
}
