//! Whether what an engine holds is what the bundle held.

use crate::images::LockedImage;
use crate::oci::Digest;

/// What an image's id in an engine turned out to be the digest of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdCheck {
    /// A configuration of the image: docker's classic store, and podman.
    Config,
    /// An image manifest or the index of the image: docker with containerd's store.
    Manifest,
    /// Neither: the engine's image is another one.
    Differs,
}

impl IdCheck {
    /// Compares an engine's id with all that the image may be called by. Of an image with several platforms, any of
    /// them will do: an engine takes the one it can run.
    pub fn of(id: &Digest, image: &LockedImage) -> Self {
        if image.platforms.iter().any(|platform| platform.config.digest == *id) {
            return Self::Config;
        }
        if image.root.digest == *id || image.platforms.iter().any(|platform| platform.manifest.digest == *id) {
            return Self::Manifest;
        }
        Self::Differs
    }

    /// Whether the engine's image is the bundle's.
    pub fn is_same(self) -> bool {
        match self {
            Self::Config | Self::Manifest => true,
            Self::Differs => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{LockedContent, LockedPlatform};

    fn content(name: &str) -> LockedContent {
        LockedContent { media_type: "application/x".into(), digest: Digest::of(name.as_bytes()), size: 1 }
    }

    fn platform(name: &str) -> LockedPlatform {
        LockedPlatform {
            platform: None,
            manifest: content(&format!("manifest {name}")),
            config: content(&format!("config {name}")),
            layers: vec![content("layer")],
        }
    }

    #[test]
    fn an_id_is_a_config_a_manifest_or_another_images() {
        let name: crate::oci::ImageRef = "octoperf/a:1".parse().unwrap();
        let image = LockedImage {
            source: name.repository().clone(),
            name,
            role: "agent".into(),
            groups: std::collections::BTreeSet::new(),
            root: content("index"),
            index: None,
            derived: false,
            insecure: false,
            platforms: vec![platform("amd64"), platform("arm64")],
        };
        let cases = [
            ("config amd64", IdCheck::Config),
            ("config arm64", IdCheck::Config),
            ("manifest arm64", IdCheck::Manifest),
            ("index", IdCheck::Manifest),
            ("layer", IdCheck::Differs),
            ("other", IdCheck::Differs),
        ];
        for (id, expected) in cases {
            assert_eq!(IdCheck::of(&Digest::of(id.as_bytes()), &image), expected, "{id}");
        }
        assert!(!IdCheck::Differs.is_same());
    }
}
