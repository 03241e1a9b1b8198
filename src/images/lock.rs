//! The lock: every tag pinned to a digest, every blob with its size. Reviewable text, and part of every bundle.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::failure::{ErrorClass, Explain};
use crate::oci::{Descriptor, Digest, ImageRef, MediaType, Platform, Repository};

/// The `schema` of locks that this version writes and reads.
pub const LOCK_SCHEMA: &str = "octobundle/lock/v1";

/// The most bytes that a lock may name, each content counted once: 16 TiB, the largest file of ext4 with blocks of 4 KiB
/// (`Documentation/filesystems/ext4`). Every sum over a lock that can be read then fits into 64 bits.
const MAX_BYTES: u64 = 1 << 44;
/// The most characters of a name, title, role or group; release manifests have 200 at most.
const MAX_TEXT: usize = 500;

/// What a release was when it was resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// [`LOCK_SCHEMA`].
    pub schema: String,
    /// The release's name.
    pub release: String,
    /// The release in words.
    pub title: String,
    /// The digest of the manifest it was resolved from.
    pub manifest: Digest,
    /// The images, in the manifest's order.
    pub images: Vec<LockedImage>,
}

/// One image, pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedImage {
    /// The name that was asked for.
    pub name: ImageRef,
    /// What it does.
    pub role: String,
    /// The groups it belongs to.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// The repository its bytes came from: a mirror's, where one was used.
    pub source: Repository,
    /// What the name stands for in the bundle: an image manifest or an index.
    pub root: LockedContent,
    /// The index that the name stands for at the source, where `root` is one of its images or was derived from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<LockedContent>,
    /// Whether `root` is an index that was written anew with some of the entries of `index`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub derived: bool,
    /// Whether its bytes came over a connection that anyone could have changed: plain http, or TLS unchecked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// Its images, in the index's order.
    pub platforms: Vec<LockedPlatform>,
}

/// One platform's image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPlatform {
    /// What it runs on; none for attestations and for images that do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The image manifest.
    pub manifest: LockedContent,
    /// The configuration.
    pub config: LockedContent,
    /// The layers, lowest first.
    pub layers: Vec<LockedContent>,
}

/// Media type, digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedContent {
    /// What it is.
    pub media_type: MediaType,
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// A lock that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Not JSON of this form.
    #[error("the lock cannot be read: {0}")]
    Form(String),
    /// Written by a newer version.
    #[error("the lock has schema `{0}`; this version reads `{LOCK_SCHEMA}`")]
    Schema(String),
    /// One digest with two sizes.
    #[error("the lock gives {digest} two sizes, {first} and {second} bytes")]
    TwoSizes {
        /// The content.
        digest: Digest,
        /// One size.
        first: u64,
        /// Another.
        second: u64,
    },
    /// More than a file can hold.
    #[error("the lock names more than {MAX_BYTES} bytes, which no bundle holds")]
    TooLarge,
    /// More text than a bundle's head can hold.
    #[error("the lock names so many images and layers that their list is longer than a bundle can hold (64 MiB)")]
    TooLong,
    /// One name for two images.
    #[error("the lock has `{0}` twice")]
    TwoImages(String),
    /// An image without anything in it.
    #[error("the lock lists no image manifest for `{0}`")]
    Empty(String),
    /// A name or title that nobody can read, or that could be taken for more than one line.
    #[error("the lock's {0} is longer than {MAX_TEXT} characters, or goes on in another line")]
    Text(&'static str),
    /// A delta leaves out what is no layer of its lock, or not in the order of digests.
    #[error("the delta leaves out {0}, which is no layer of its lock or stands out of order")]
    LeftOut(Digest),
    /// A delta whose base has no name, or one that nobody can read.
    #[error("the delta's base has no name, or one that cannot be shown")]
    BaseName,
}

impl Explain for LockError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Input
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Schema(_) => "use a version of octobundle as new as the one that wrote it".into(),
            Self::TooLarge | Self::TooLong => "choose fewer images with `--group` or `--platform`".into(),
            Self::Form(_) | Self::TwoSizes { .. } | Self::TwoImages(_) | Self::Empty(_) | Self::Text(_) => {
                "write it anew: `octobundle resolve RELEASE --lock FILE`".into()
            }
            Self::LeftOut(_) | Self::BaseName => {
                "pull the delta again: `octobundle pull RELEASE --since OLD -o FILE`".into()
            }
        })
    }
}

impl Lock {
    /// Reads a lock and checks that it agrees with itself.
    pub fn parse(text: &[u8]) -> Result<Self, LockError> {
        #[derive(Deserialize)]
        struct JustSchema {
            schema: String,
        }
        let form = |error: serde_json::Error| LockError::Form(error.to_string());
        let JustSchema { schema } = serde_json::from_slice(text).map_err(form)?;
        if schema != LOCK_SCHEMA {
            return Err(LockError::Schema(schema));
        }
        let lock: Self = serde_json::from_slice(text).map_err(form)?;
        lock.check()?;
        Ok(lock)
    }

    /// The text of a lock file: JSON, one line a field, ending in a newline.
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("a lock holds only text, numbers and lists") + "\n"
    }

    /// What the lock is called where it must be told from others: the digest of its text.
    pub fn id(&self) -> Digest {
        Digest::of(self.to_text().as_bytes())
    }

    /// Refuses a lock that gives one digest two sizes, one name two images, or an image nothing, one that names more
    /// bytes than a bundle holds, and one whose texts could be taken for lines of what shows them.
    pub fn check(&self) -> Result<(), LockError> {
        let texts = [("release", &self.release), ("title", &self.title)];
        let roles = self.images.iter().map(|image| ("role", &image.role));
        let groups = self.images.iter().flat_map(|image| &image.groups).map(|group| ("group", group));
        if let Some((kind, _)) = texts.into_iter().chain(roles).chain(groups).find(|(_, text)| !is_one_line(text)) {
            return Err(LockError::Text(kind));
        }
        let mut sizes: BTreeMap<Digest, u64> = BTreeMap::new();
        let mut names = BTreeSet::new();
        for image in &self.images {
            if !names.insert(&image.name) {
                return Err(LockError::TwoImages(image.name.to_string()));
            }
            if image.platforms.is_empty() {
                return Err(LockError::Empty(image.name.to_string()));
            }
            for content in image.documents().chain(image.layers()) {
                let first = *sizes.entry(content.digest).or_insert(content.size);
                if first != content.size {
                    return Err(LockError::TwoSizes { digest: content.digest, first, second: content.size });
                }
            }
        }
        let total = sizes.values().try_fold(0_u64, |total, size| total.checked_add(*size));
        if total.is_none_or(|total| total > MAX_BYTES) {
            return Err(LockError::TooLarge);
        }
        Ok(())
    }

    /// Every document of the set once: roots, image manifests, configurations.
    pub fn documents(&self) -> BTreeMap<Digest, &LockedContent> {
        self.images.iter().flat_map(LockedImage::documents).map(|content| (content.digest, content)).collect()
    }

    /// Every layer of the set once; content that is also a document is left out.
    pub fn layers(&self) -> BTreeMap<Digest, &LockedContent> {
        let documents = self.documents();
        let layers = self.images.iter().flat_map(LockedImage::layers);
        layers.filter(|layer| !documents.contains_key(&layer.digest)).map(|layer| (layer.digest, layer)).collect()
    }

    /// For each content, the names of the images that need it, in the lock's order.
    pub fn users(&self) -> BTreeMap<Digest, Vec<&ImageRef>> {
        let mut users: BTreeMap<Digest, Vec<&ImageRef>> = BTreeMap::new();
        for image in &self.images {
            for content in image.documents().chain(image.layers()) {
                let names = users.entry(content.digest).or_default();
                // Images come one after the other, so that only the last can be the same.
                if names.last() != Some(&&image.name) {
                    names.push(&image.name);
                }
            }
        }
        users
    }
}

/// Whether a text is short enough to be shown, and ends where its line does.
fn is_one_line(text: &str) -> bool {
    text.chars().take(MAX_TEXT + 1).count() <= MAX_TEXT
        && !text.contains(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'])
}

impl LockedImage {
    /// Its root, image manifests and configurations.
    pub fn documents(&self) -> impl Iterator<Item = &LockedContent> {
        let parts = self.platforms.iter().flat_map(|platform| [&platform.manifest, &platform.config]);
        std::iter::once(&self.root).chain(parts)
    }

    /// Its layers, those that several of its platforms share several times.
    pub fn layers(&self) -> impl Iterator<Item = &LockedContent> {
        self.platforms.iter().flat_map(|platform| &platform.layers)
    }

    /// What a registry calls blobs: configurations and layers.
    pub fn blobs(&self) -> impl Iterator<Item = &LockedContent> {
        self.platforms.iter().flat_map(|platform| std::iter::once(&platform.config).chain(&platform.layers))
    }
}

impl LockedContent {
    /// As a registry's descriptor.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.as_str(), self.digest, self.size)
    }
}

impl From<&Descriptor> for LockedContent {
    fn from(descriptor: &Descriptor) -> Self {
        Self { media_type: descriptor.media_type.clone(), digest: descriptor.digest, size: descriptor.size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(release: &str, title: &str, role: &str, group: &str) -> Result<Lock, LockError> {
        let content = serde_json::json!({"media_type": "x/y", "digest": Digest::of(b"x"), "size": 1});
        let lock = serde_json::json!({
            "schema": LOCK_SCHEMA, "release": release, "title": title, "manifest": Digest::of(b"release"),
            "images": [{
                "name": "a:1", "role": role, "groups": [group], "source": "a", "root": content,
                "platforms": [{"manifest": content, "config": content, "layers": []}],
            }],
        });
        Lock::parse(lock.to_string().as_bytes())
    }

    #[test]
    fn sec_57_texts_of_a_lock_are_one_line_of_a_length_that_can_be_shown() {
        let longest = "ä".repeat(MAX_TEXT);
        parsed(&longest, &longest, &longest, &longest).unwrap();
        for wrong in ["a\ntrusted", "a\rb", "a\u{2028}b", "a\u{85}b", &(longest + "x")] {
            let kinds = [
                ("release", parsed(wrong, "t", "r", "g")),
                ("title", parsed("s", wrong, "r", "g")),
                ("role", parsed("s", "t", wrong, "g")),
                ("group", parsed("s", "t", "r", wrong)),
            ];
            for (kind, refused) in kinds {
                assert!(matches!(refused, Err(LockError::Text(found)) if found == kind), "{kind}: {wrong:?}");
            }
        }
    }
}
