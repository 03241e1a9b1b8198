//! Indexes that stand in for images in Docker's media types.
//!
//! Readers of OCI layouts built on containers/image (skopeo, podman) look for a name only among entries that are OCI
//! manifests or OCI indexes; containerd takes every entry. So an image in Docker's types is listed twice: under an OCI
//! index that points to its very manifests, which containerd knows by its digest, and then as itself.

use bytes::Bytes;
use serde::Serialize;

use crate::images::{LockedContent, LockedImage, LockedPlatform};
use crate::oci::{Digest, MediaType, Platform};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u8,
    media_type: &'static str,
    manifests: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    media_type: &'a MediaType,
    digest: Digest,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<EntryPlatform<'a>>,
}

#[derive(Serialize)]
struct EntryPlatform<'a> {
    architecture: &'a str,
    os: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
}

/// The index that stands in for an image, where it needs one.
pub(crate) fn stand_in(image: &LockedImage) -> Option<(LockedContent, Bytes)> {
    if matches!(image.root.media_type.as_str(), MediaType::OCI_INDEX | MediaType::OCI_MANIFEST) {
        return None;
    }
    let manifests = image.platforms.iter().map(entry).collect();
    let index = Index { schema_version: 2, media_type: MediaType::OCI_INDEX, manifests };
    let text = serde_json::to_vec(&index).expect("an index holds only text and numbers");
    let content =
        LockedContent { media_type: MediaType::OCI_INDEX.into(), digest: Digest::of(&text), size: text.len() as u64 };
    Some((content, text.into()))
}

fn entry(platform: &LockedPlatform) -> Entry<'_> {
    let manifest = &platform.manifest;
    Entry {
        media_type: &manifest.media_type,
        digest: manifest.digest,
        size: manifest.size,
        platform: platform.platform.as_ref().map(entry_platform),
    }
}

fn entry_platform(platform: &Platform) -> EntryPlatform<'_> {
    EntryPlatform { architecture: platform.architecture(), os: platform.os(), variant: platform.variant() }
}
