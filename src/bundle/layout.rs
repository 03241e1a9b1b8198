//! Where each member of a bundle stands, known before the first layer arrives.
//!
//! Everything but the blobs' content is a function of the lock, so a bundle is read by laying it out again and
//! comparing. `docs/bundle-format.md` says the format in full.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bundle::header::{BLOCK, Block, TRAILER, header, padding};
use crate::bundle::stand_in::stand_in;
use crate::images::{Lock, LockError, LockedContent, LockedImage, LockedPlatform};
use crate::oci::{Digest, MediaType, Platform};

/// The `format` of bundles that this version writes and reads.
pub(crate) const FORMAT: &str = "octobundle/bundle/v1";

/// The longest member before the blobs. A bundle of 1,000 images of 60 layers has a lock of about 10 MiB; larger ones are
/// neither written nor read.
pub(crate) const MAX_HEAD_MEMBER: u64 = 64 * 1024 * 1024;

/// A name inside a bundle. There are no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MemberPath {
    /// `oci-layout`, the mark of an OCI image layout.
    OciLayout,
    /// `index.json`, what OCI readers start from.
    Index,
    /// `manifest.json`, what docker and podman start from.
    DockerManifest,
    /// `octobundle.json`, the lock.
    Octobundle,
    /// `SHA256SUMS`, the SHA-256 of every other member.
    Checksums,
    /// `README.txt`, for whoever finds the file without knowing what it is.
    Readme,
    /// `blobs/sha256/<hex>`, a document or layer under its digest.
    Blob(Digest),
}

impl MemberPath {
    /// The members before the blobs, in their order.
    pub(crate) const HEAD: [Self; 6] =
        [Self::OciLayout, Self::Index, Self::DockerManifest, Self::Octobundle, Self::Checksums, Self::Readme];

    /// The member with that name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name.strip_prefix("blobs/sha256/") {
            Some(hex) => format!("sha256:{hex}").parse().ok().map(Self::Blob),
            None => Self::HEAD.into_iter().find(|path| path.to_string() == name),
        }
    }
}

impl fmt::Display for MemberPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OciLayout => f.write_str("oci-layout"),
            Self::Index => f.write_str("index.json"),
            Self::DockerManifest => f.write_str("manifest.json"),
            Self::Octobundle => f.write_str("octobundle.json"),
            Self::Checksums => f.write_str("SHA256SUMS"),
            Self::Readme => f.write_str("README.txt"),
            Self::Blob(digest) => write!(f, "blobs/sha256/{}", digest.hex()),
        }
    }
}

/// A member with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub path: MemberPath,
    /// Where its header begins, in bytes from the start of the file.
    pub header: u64,
    /// Its length in bytes, without header and padding.
    pub size: u64,
}

impl Member {
    /// Where its content begins.
    pub fn start(&self) -> u64 {
        self.header + BLOCK
    }

    /// Where its content ends.
    pub fn end(&self) -> u64 {
        self.start() + self.size
    }

    /// Where the next header begins.
    pub(crate) fn next(&self) -> u64 {
        self.end() + padding(self.size)
    }

    /// The bytes of its header.
    pub(crate) fn header_block(&self) -> Block {
        header(&self.path, self.size)
    }
}

/// The whole file, laid out.
#[derive(Debug, Clone)]
pub struct Layout {
    lock: Lock,
    members: Vec<Member>,
    /// How many of `members` are documents or stand before them; the rest are layers.
    small: usize,
    head: BTreeMap<MemberPath, Bytes>,
    stand_ins: BTreeMap<Digest, Bytes>,
    by_digest: BTreeMap<Digest, usize>,
    total: u64,
}

/// The text of `octobundle.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Octobundle<L> {
    format: String,
    lock: L,
}

impl Layout {
    /// Lays out a bundle of what `lock` names. Documents come before layers and go by digest; layers go by size, the
    /// largest first, so that side-by-side downloads end together, then by digest.
    pub fn new(lock: Lock) -> Result<Self, LockError> {
        let readme = Bytes::from(readme(&lock));
        Self::with_readme(lock, readme)
    }

    /// Lays out a bundle around a `README.txt` that is there already: its words may change between versions.
    pub(crate) fn with_readme(lock: Lock, readme: Bytes) -> Result<Self, LockError> {
        lock.check()?;
        let mut documents = lock.documents().into_values().map(|content| (content.digest, content.clone())).collect();
        let stand_ins = add_stand_ins(&lock, &mut documents);
        // A layer may be a stand-in of another image: then it is here already.
        let layers = lock.layers().into_values().filter(|layer| !documents.contains_key(&layer.digest));
        let mut layers: Vec<LockedContent> = layers.cloned().collect();
        layers.sort_by(|a, b| b.size.cmp(&a.size).then(a.digest.cmp(&b.digest)));
        let small = MemberPath::HEAD.len() + documents.len();
        let blobs: Vec<LockedContent> = documents.into_values().chain(layers).collect();

        let mut head = BTreeMap::from([
            (MemberPath::OciLayout, Bytes::from_static(br#"{"imageLayoutVersion":"1.0.0"}"#)),
            (MemberPath::Index, index_json(&lock).into()),
            (MemberPath::DockerManifest, docker_manifest(&lock).into()),
            (MemberPath::Octobundle, octobundle_json(&lock).into()),
            (MemberPath::Readme, readme),
        ]);
        head.insert(MemberPath::Checksums, checksums(&head, &blobs).into());

        if head.values().any(|member| member.len() as u64 > MAX_HEAD_MEMBER) {
            return Err(LockError::TooLong);
        }

        let sizes = MemberPath::HEAD.iter().map(|path| (*path, head[path].len() as u64));
        let blobs = blobs.iter().map(|blob| (MemberPath::Blob(blob.digest), blob.size));
        let mut members = Vec::with_capacity(small);
        let mut at = 0;
        for (path, size) in sizes.chain(blobs) {
            let member = Member { path, header: at, size };
            at = member.next();
            members.push(member);
        }
        let by_digest = members
            .iter()
            .enumerate()
            .filter_map(|(index, member)| match member.path {
                MemberPath::Blob(digest) => Some((digest, index)),
                _ => None,
            })
            .collect();
        Ok(Self { lock, members, small, head, stand_ins, by_digest, total: at + TRAILER })
    }

    /// The lock it was made from.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// The length of the file in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Every member in the file's order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The members that hold layers, in the file's order.
    pub fn layers(&self) -> &[Member] {
        &self.members[self.small..]
    }

    /// Where a blob stands.
    pub fn blob(&self, digest: &Digest) -> Option<&Member> {
        self.by_digest.get(digest).map(|&index| &self.members[index])
    }

    /// The content of a member before the blobs.
    pub(crate) fn head(&self, path: MemberPath) -> &Bytes {
        &self.head[&path]
    }

    /// The content of a document that no registry has.
    pub(crate) fn stand_in(&self, digest: &Digest) -> Option<&Bytes> {
        self.stand_ins.get(digest)
    }

    /// A short name for exactly this file: the digest of its checksums, which cover every other member.
    pub fn id(&self) -> Digest {
        Digest::of(self.head(MemberPath::Checksums))
    }
}

/// Reads `octobundle.json`.
pub(crate) fn parse_octobundle(text: &[u8]) -> Result<Lock, LockError> {
    #[derive(Deserialize)]
    struct JustFormat {
        format: String,
    }
    let form = |error: serde_json::Error| LockError::Form(error.to_string());
    let JustFormat { format } = serde_json::from_slice(text).map_err(form)?;
    if format != FORMAT {
        return Err(LockError::Schema(format));
    }
    let Octobundle { lock, .. }: Octobundle<Box<serde_json::value::RawValue>> =
        serde_json::from_slice(text).map_err(form)?;
    Lock::parse(lock.get().as_bytes())
}

fn octobundle_json(lock: &Lock) -> String {
    let document = Octobundle { format: FORMAT.to_owned(), lock };
    serde_json::to_string_pretty(&document).expect("a lock holds only text, numbers and lists") + "\n"
}

/// Adds the indexes that stand in for images in Docker's types, and gives their content.
fn add_stand_ins(lock: &Lock, documents: &mut BTreeMap<Digest, LockedContent>) -> BTreeMap<Digest, Bytes> {
    let mut stand_ins = BTreeMap::new();
    for (content, text) in lock.images.iter().filter_map(stand_in) {
        stand_ins.insert(content.digest, text);
        documents.entry(content.digest).or_insert(content);
    }
    stand_ins
}

/// The lines that `sha256sum -c` reads, in the file's order.
fn checksums(head: &BTreeMap<MemberPath, Bytes>, blobs: &[LockedContent]) -> String {
    let before = MemberPath::HEAD.iter().filter(|path| **path != MemberPath::Checksums);
    let before = before.map(|path| (Digest::of(&head[path]), *path));
    let blobs = blobs.iter().map(|blob| (blob.digest, MemberPath::Blob(blob.digest)));
    let mut lines = String::new();
    for (digest, path) in before.chain(blobs) {
        writeln!(lines, "{}  {path}", digest.hex()).expect("a String takes any text");
    }
    lines
}

/// The OCI index: one entry an image, under its full name as containerd, skopeo and podman look for it.
fn index_json(lock: &Lock) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Index<'a> {
        schema_version: u8,
        media_type: &'a str,
        manifests: Vec<Entry<'a>>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry<'a> {
        media_type: MediaType,
        digest: Digest,
        size: u64,
        annotations: BTreeMap<&'a str, String>,
    }
    let mut manifests = Vec::new();
    for image in &lock.images {
        let name = image.name.without_digest().to_string();
        if let Some((content, _)) = stand_in(image) {
            // Under the image's name containerd would drop it for the image, at times before it has unpacked it.
            let own_name = format!("{}@{}", image.name.repository(), content.digest);
            let annotations = BTreeMap::from([
                ("io.containerd.image.name", own_name),
                ("org.opencontainers.image.ref.name", name.clone()),
            ]);
            manifests.push(Entry {
                media_type: content.media_type,
                digest: content.digest,
                size: content.size,
                annotations,
            });
        }
        manifests.push(Entry {
            media_type: image.root.media_type.clone(),
            digest: image.root.digest,
            size: image.root.size,
            annotations: BTreeMap::from([
                ("io.containerd.image.name", name.clone()),
                ("org.opencontainers.image.ref.name", name),
            ]),
        });
    }
    let index = Index { schema_version: 2, media_type: MediaType::OCI_INDEX, manifests };
    serde_json::to_vec(&index).expect("an index holds only text and numbers")
}

/// The docker-archive index. It can list one platform a name: `linux/amd64` where there is one.
fn docker_manifest(lock: &Lock) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Entry {
        config: String,
        repo_tags: Vec<String>,
        layers: Vec<String>,
    }
    let blob = |content: &LockedContent| MemberPath::Blob(content.digest).to_string();
    let entry = |image: &LockedImage| {
        let chosen = docker_platform(image)?;
        let tagged = image.name.tag().map(|_| image.name.without_digest().to_string());
        Some(Entry {
            config: blob(&chosen.config),
            repo_tags: tagged.into_iter().collect(),
            layers: chosen.layers.iter().map(blob).collect(),
        })
    };
    let entries: Vec<Entry> = lock.images.iter().filter_map(entry).collect();
    serde_json::to_vec(&entries).expect("the list holds only text")
}

/// The platform of an image that `docker load` and `podman load` take: attestations and other artifacts are not images
/// to them (moby issue 45600).
pub fn docker_platform(image: &LockedImage) -> Option<&LockedPlatform> {
    let runnable = |platform: &&LockedPlatform| {
        let kind = platform.config.media_type.as_str();
        let image = matches!(
            kind,
            "application/vnd.oci.image.config.v1+json" | "application/vnd.docker.container.image.v1+json"
        );
        image && platform.platform.as_ref().is_some_and(Platform::is_known)
    };
    let usual = Platform::linux_amd64();
    let mut runnable = image.platforms.iter().filter(runnable);
    let first = runnable.clone().next();
    runnable.find(|platform| platform.platform.as_ref() == Some(&usual)).or(first)
}

fn readme(lock: &Lock) -> String {
    let mut names = String::new();
    for image in &lock.images {
        writeln!(names, "  {}", image.name).expect("a String takes any text");
    }
    format!(
        "\
{title}

This tar holds the container images of {release}. It was made by octobundle.

Images:
{names}
With octobundle (FILE is this tar):
  octobundle verify FILE
  octobundle push FILE --registry HOST:PORT/PATH
  octobundle load FILE

Without it:
  mkdir FOLDER && tar -xf FILE -C FOLDER && cd FOLDER && sha256sum -c SHA256SUMS
  docker load -i FILE
  podman load -i FILE
  skopeo copy oci-archive:FILE:NAME docker://HOST:PORT/PATH:TAG
",
        title = lock.title,
        release = lock.release,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::LOCK_SCHEMA;

    fn lock() -> Lock {
        let content =
            |kind: &str, seed: &[u8]| serde_json::json!({"media_type": kind, "digest": Digest::of(seed), "size": 1});
        let manifest = content(MediaType::DOCKER_MANIFEST, b"manifest");
        let lock = serde_json::json!({
            "schema": LOCK_SCHEMA, "release": "r-1", "title": "T", "manifest": Digest::of(b"release"),
            "images": [{
                "name": "reg.test/a:1", "role": "agent", "source": "reg.test/a", "root": manifest,
                "platforms": [{ "platform": "linux/amd64", "manifest": manifest, "config": content("c", b"config"),
                    "layers": [content("l", b"layer")] }],
            }],
        });
        Lock::parse(lock.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_bundle_that_could_not_be_read_again_is_not_laid_out() {
        let mut lock = lock();
        assert!(Layout::new(lock.clone()).is_ok());
        lock.title = "x".repeat(usize::try_from(MAX_HEAD_MEMBER).unwrap());
        assert!(matches!(Layout::new(lock), Err(LockError::TooLong)));
    }

    #[test]
    fn no_member_stands_twice_though_a_layer_is_another_images_stand_in() {
        let mut lock = lock();
        let (content, _) = stand_in(&lock.images[0]).unwrap();
        let mut other = lock.images[0].clone();
        other.name = "reg.test/b:1".parse().unwrap();
        other.platforms[0].layers.push(content.clone());
        lock.images.push(other);
        let layout = Layout::new(lock).unwrap();
        let mut paths: Vec<MemberPath> = layout.members().iter().map(|member| member.path).collect();
        paths.sort();
        assert!(paths.windows(2).all(|pair| pair[0] != pair[1]), "{paths:?}");
        assert!(layout.stand_in(&content.digest).is_some());
    }
}
