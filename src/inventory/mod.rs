//! The packages inside of images: read from the lists that package managers keep and from Java archives.
//!
//! A layer is read once; an image is what its layers make of each other, with what a later one removes left out.

mod apk;
mod cyclonedx;
mod dpkg;
mod java;
mod layer;
mod os;
mod paragraphs;
mod rpm;
mod rpm_files;
mod spdx;
mod text;
mod zip;

use serde::Serialize;

use crate::oci::Digest;

pub use layer::{LayerPackages, packages_of, read_packages};
pub use os::Os;

/// Who keeps the list that a package is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// dpkg: Debian, Ubuntu.
    Deb,
    /// apk: Alpine.
    Apk,
    /// rpm: Red Hat, SUSE.
    Rpm,
    /// A Java archive.
    Java,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Package {
    /// Who keeps the list that it is in.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its version as that list has it; empty where it has none.
    pub version: String,
    /// The processor that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Maven's group of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its licence, as the list has it: any text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// The file that says so; an archive in an archive stands behind `!/`.
    pub found_in: String,
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Gap {
    /// The layer.
    pub layer: Digest,
    /// The file in it; none where the layer itself cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why.
    pub reason: String,
}

/// What is in one image.
#[derive(Debug, Clone, Serialize)]
pub struct ImagePackages {
    /// Its name.
    pub image: String,
    /// Its platform.
    pub platform: String,
    /// Its image manifest.
    pub digest: Digest,
    /// The distribution, where it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<Os>,
    /// Its packages, sorted.
    pub packages: Vec<Package>,
    /// What could not be read; empty means that all of it was.
    pub gaps: Vec<Gap>,
}

/// What is in all images of a bundle.
#[derive(Debug, Clone, Serialize)]
pub struct Inventory {
    /// The release's name.
    pub release: String,
    /// The bundle's id.
    pub bundle: Digest,
    /// The program and version that read it.
    pub made_by: String,
    /// When the newest of the images was built, or the date that was asked for; a document must bear one.
    pub created: String,
    /// The images, in the lock's order.
    pub images: Vec<ImagePackages>,
}

/// A form of the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A line a package.
    Text,
    /// SPDX 2.3 as JSON.
    Spdx,
    /// `CycloneDX` 1.5 as JSON.
    CycloneDx,
}

impl Inventory {
    /// Whether everything could be read.
    pub fn is_complete(&self) -> bool {
        self.images.iter().all(|image| image.gaps.is_empty())
    }

    /// The text of a file in this form. The same bundle gives the same bytes.
    pub fn render(&self, form: Form) -> String {
        match form {
            Form::Text => text::text(self),
            Form::Spdx => spdx::document(self),
            Form::CycloneDx => cyclonedx::document(self),
        }
    }
}

/// A package's address in the package-url form, where there is one for its kind.
fn package_url(package: &Package, os: Option<&Os>) -> Option<String> {
    let vendor = os.map(|os| os.id.as_str()).filter(|id| !id.is_empty());
    let (kind, space) = match package.kind {
        Kind::Deb => ("deb", vendor.unwrap_or("debian")),
        Kind::Apk => ("apk", vendor.unwrap_or("alpine")),
        Kind::Rpm => ("rpm", vendor.unwrap_or("redhat")),
        Kind::Java => ("maven", package.group.as_deref()?),
    };
    let mut url = format!("pkg:{kind}/{}/{}", escaped(space), escaped(&package.name));
    if !package.version.is_empty() {
        url.push('@');
        url.push_str(&escaped(&package.version));
    }
    let distribution = os.filter(|os| package.kind != Kind::Java && !os.version.is_empty());
    let qualifiers = [
        package.architecture.as_ref().map(|value| ("arch", value.clone())),
        distribution.map(|os| ("distro", format!("{}-{}", os.id, os.version))),
    ];
    let qualifiers: Vec<String> =
        qualifiers.into_iter().flatten().map(|(key, value)| format!("{key}={}", escaped(&value))).collect();
    if !qualifiers.is_empty() {
        url.push('?');
        url.push_str(&qualifiers.join("&"));
    }
    Some(url)
}

/// Percent-encoded, as package-url has it: all but letters, digits and `.-_~:`.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls_are_escaped() {
        let package = Package {
            kind: Kind::Deb,
            name: "libstdc++6".into(),
            version: "1:12.2.0-14+deb12u1".into(),
            architecture: Some("amd64".into()),
            group: None,
            licence: None,
            found_in: String::new(),
        };
        let os = Os { id: "debian".into(), version: "12".into(), name: String::new() };
        let url = package_url(&package, Some(&os)).unwrap();
        assert_eq!(url, "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12");
        assert_eq!(package_url(&Package { kind: Kind::Java, ..package }, Some(&os)), None);
    }
}
