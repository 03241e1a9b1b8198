//! The release manifests that come with the tool.

use std::sync::LazyLock;

use crate::manifest::error::ManifestError;
use crate::manifest::yaml::shortened;
use crate::manifest::{Manifest, closest};

/// A release manifest that comes with the tool.
#[derive(Debug)]
pub struct Release {
    /// Its name, as in `octoperf-9.2.0`.
    pub name: &'static str,
    /// The text of its manifest.
    pub text: &'static str,
    /// What the text says.
    pub manifest: Manifest,
}

/// Name and text of `manifests/<name>.yaml`.
macro_rules! texts {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../manifests/", $name, ".yaml")))),*]
    };
}

/// Every file of `manifests/`, oldest release first; `tests/data.rs` compares the list with the folder.
const TEXTS: &[(&str, &str)] = texts![
    "octoperf-9.1.0",
    "octoperf-9.2.0",
    "octoperf-11.0.0",
    "octoperf-11.0.1",
    "octoperf-11.1.0",
    "octoperf-11.2.0",
    "octoperf-11.3.1",
    "octoperf-11.4.1",
    "octoperf-11.6.0",
    "octoperf-11.7.1",
    "octoperf-11.8.0",
    "octoperf-11.9.0",
    "octoperf-11.9.1",
    "octoperf-11.9.2",
    "octoperf-11.9.4",
    "octoperf-12.8.0",
    "octoperf-12.9.1",
    "octoperf-12.10.0",
    "octoperf-12.12.0",
    "octoperf-12.12.1",
    "octoperf-12.12.3",
    "octoperf-13.0.0",
    "octoperf-13.0.1",
    "octoperf-13.1.0",
    "octoperf-13.2.0",
    "octoperf-13.2.2",
    "octoperf-14.0.0",
    "octoperf-14.1.0",
    "octoperf-14.2.0",
    "octoperf-14.3.0",
    "octoperf-14.4.0",
    "octoperf-14.4.1",
    "octoperf-14.5.0",
    "octoperf-14.5.1",
    "octoperf-15.0.0",
    "octoperf-15.1.0",
    "octoperf-15.2.0",
    "octoperf-15.2.1",
    "octoperf-15.2.2",
    "octoperf-15.3.0",
    "octoperf-15.4.0",
    "octoperf-15.4.1",
    "octoperf-16.0.0",
    "octoperf-16.1.0",
    "octoperf-16.1.1",
    "octoperf-16.1.2",
    "octoperf-16.2.1",
];

static RELEASES: LazyLock<Vec<Release>> = LazyLock::new(|| {
    let release = |&(name, text): &(&'static str, &'static str)| {
        let manifest = Manifest::parse(&format!("{name}.yaml"), text.as_bytes());
        Release { name, text, manifest: manifest.expect("tests parse every manifest that is compiled in") }
    };
    TEXTS.iter().map(release).collect()
});

/// The releases that come with the tool, oldest first.
pub fn releases() -> &'static [Release] {
    &RELEASES
}

/// The release of that name.
pub fn find_release(name: &str) -> Result<&'static Release, ManifestError> {
    releases().iter().find(|release| release.name == name).ok_or_else(|| ManifestError::NoSuchRelease {
        name: shortened(name),
        near: closest(name, releases().iter().map(|release| release.name)),
    })
}
