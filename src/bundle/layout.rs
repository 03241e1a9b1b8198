//! Where each member of a bundle stands, known before the first layer arrives.
//!
//! Everything but the blobs' content is a function of the lock, so a bundle is read by laying it out again and
//! comparing. `docs/bundle-format.md` says the format in full.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bundle::header::{BLOCK, Block, TRAILER, header, padding};
use crate::bundle::readme::readme;
use crate::bundle::stand_in::stand_in;
use crate::images::{Base, Lock, LockError, LockedContent, LockedImage, LockedPlatform};
use crate::oci::{Digest, MediaType, Platform};

/// The `format` of complete bundles that this version writes and reads.
pub(crate) const FORMAT: &str = "octobundle/bundle/v1";
/// The `format` of bundles without the layers that an older one has. A name of its own, so that a version that knows
/// only complete bundles refuses it.
pub(crate) const DELTA_FORMAT: &str = "octobundle/delta/v1";

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
    /// What a delta builds on; a complete bundle builds on nothing.
    base: Option<Base>,
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
struct Octobundle<L, B> {
    format: String,
    lock: L,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    base: Option<B>,
}

fn none<B>() -> Option<B> {
    None
}

/// What `octobundle.json` says: all else in a bundle but blobs and `README.txt` follows from it.
#[derive(Debug, Clone)]
pub(crate) struct Contents {
    /// The whole set.
    pub(crate) lock: Lock,
    /// What a delta of it builds on.
    pub(crate) base: Option<Base>,
}

impl Layout {
    /// Lays out a bundle of what `lock` names. Documents come before layers and go by digest; layers go by size, the
    /// largest first, so that side-by-side downloads end together, then by digest.
    pub fn new(lock: Lock) -> Result<Self, LockError> {
        Self::of(Contents { lock, base: None })
    }

    /// Lays out what `lock` names without the layers that `base` has.
    pub fn delta(lock: Lock, base: Base) -> Result<Self, LockError> {
        Self::of(Contents { lock, base: Some(base) })
    }

    fn of(contents: Contents) -> Result<Self, LockError> {
        let readme = Bytes::from(readme(&contents));
        Self::with_readme(contents, readme)
    }

    /// Lays out a bundle around a `README.txt` that is there already: its words may change between versions.
    pub(crate) fn with_readme(contents: Contents, readme: Bytes) -> Result<Self, LockError> {
        let Contents { lock, base } = &contents;
        lock.check()?;
        base.as_ref().map_or(Ok(()), |base| base.check(lock))?;
        let mut documents = lock.documents().into_values().map(|content| (content.digest, content.clone())).collect();
        let stand_ins = add_stand_ins(lock, &mut documents);
        // A layer may be a stand-in of another image: then it is here already.
        let layers = lock.layers().into_values().filter(|layer| !documents.contains_key(&layer.digest));
        let kept = layers.filter(|layer| !base.as_ref().is_some_and(|base| base.leaves_out(&layer.digest)));
        let mut layers: Vec<LockedContent> = kept.cloned().collect();
        layers.sort_by(|a, b| b.size.cmp(&a.size).then(a.digest.cmp(&b.digest)));
        let small = MemberPath::HEAD.len() + documents.len();
        let blobs: Vec<LockedContent> = documents.into_values().chain(layers).collect();

        let whole: Vec<&LockedImage> = whole_images(&contents).collect();
        let mut head = BTreeMap::from([
            (MemberPath::OciLayout, Bytes::from_static(br#"{"imageLayoutVersion":"1.0.0"}"#)),
            (MemberPath::Index, index_json(&whole).into()),
            (MemberPath::DockerManifest, docker_manifest(&whole).into()),
            (MemberPath::Octobundle, octobundle_json(&contents).into()),
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
        let Contents { lock, base } = contents;
        Ok(Self { lock, base, members, small, head, stand_ins, by_digest, total: at + TRAILER })
    }

    /// The lock it was made from.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// What it builds on, if it is a delta.
    pub fn base(&self) -> Option<&Base> {
        self.base.as_ref()
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
pub(crate) fn parse_octobundle(text: &[u8]) -> Result<Contents, LockError> {
    #[derive(Deserialize)]
    struct JustFormat {
        format: String,
    }
    let form = |error: serde_json::Error| LockError::Form(error.to_string());
    let JustFormat { format } = serde_json::from_slice(text).map_err(form)?;
    if format != FORMAT && format != DELTA_FORMAT {
        return Err(LockError::Schema(format));
    }
    let Octobundle { lock, base, .. }: Octobundle<Box<serde_json::value::RawValue>, Base> =
        serde_json::from_slice(text).map_err(form)?;
    if base.is_some() != (format == DELTA_FORMAT) {
        return Err(LockError::Form(format!("`base` and the format `{format}` do not go together")));
    }
    Ok(Contents { lock: Lock::parse(lock.get().as_bytes())?, base })
}

fn octobundle_json(contents: &Contents) -> String {
    let Contents { lock, base } = contents;
    let format = if base.is_some() { DELTA_FORMAT } else { FORMAT }.to_owned();
    let document = Octobundle { format, lock, base: base.as_ref() };
    serde_json::to_string_pretty(&document).expect("a lock holds only text, numbers and lists") + "\n"
}

/// The images that programs which know nothing of deltas may be shown: those of which nothing is left out. Of a list
/// with others they would load some and then stop in the middle.
fn whole_images(contents: &Contents) -> impl Iterator<Item = &LockedImage> {
    let cut = |image: &LockedImage| contents.base.as_ref().is_some_and(|base| base.cuts(image));
    contents.lock.images.iter().filter(move |image| !cut(image))
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
fn index_json(images: &[&LockedImage]) -> Vec<u8> {
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
    for image in images {
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
fn docker_manifest(images: &[&LockedImage]) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Entry {
        config: String,
        repo_tags: Vec<String>,
        layers: Vec<String>,
    }
    let blob = |content: &LockedContent| MemberPath::Blob(content.digest).to_string();
    let entry = |image: &&LockedImage| {
        let chosen = docker_platform(image)?;
        let tagged = image.name.tag().map(|_| image.name.without_digest().to_string());
        Some(Entry {
            config: blob(&chosen.config),
            repo_tags: tagged.into_iter().collect(),
            layers: chosen.layers.iter().map(blob).collect(),
        })
    };
    let entries: Vec<Entry> = images.iter().filter_map(entry).collect();
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::images::{Held, LOCK_SCHEMA, LeftOut};

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
        lock.images[0].root.media_type = "x".repeat(usize::try_from(MAX_HEAD_MEMBER).unwrap()).into();
        assert!(matches!(Layout::new(lock), Err(LockError::TooLong)));
    }

    #[test]
    fn a_format_and_a_base_that_do_not_go_together_are_refused() {
        let lock = lock();
        let base = Held::of_lock(&lock).base_for(&lock);
        let text = |contents: &Contents| octobundle_json(contents);
        let complete = text(&Contents { lock: lock.clone(), base: None });
        let delta = text(&Contents { lock: lock.clone(), base: Some(base.clone()) });
        assert!(parse_octobundle(complete.as_bytes()).unwrap().base.is_none());
        assert_eq!(parse_octobundle(delta.as_bytes()).unwrap().base, Some(base));
        for (text, format, other) in [(complete, FORMAT, DELTA_FORMAT), (delta, DELTA_FORMAT, FORMAT)] {
            let error = parse_octobundle(text.replace(format, other).as_bytes()).unwrap_err();
            assert!(matches!(&error, LockError::Form(text) if text.contains("do not go together")), "{error}");
        }
    }

    #[test]
    fn a_base_that_leaves_out_anything_but_layers_in_order_is_refused() {
        let mut lock = lock();
        let second = LockedContent { digest: Digest::of(b"second"), ..lock.images[0].platforms[0].layers[0].clone() };
        lock.images[0].platforms[0].layers.push(second);
        let base = Held::of_lock(&lock).base_for(&lock);
        let left_out = base.left_out.clone();
        assert_eq!(left_out.len(), 2);
        let config = LeftOut { digest: Digest::of(b"config"), held_in: BTreeSet::new() };
        let [first, second] = [left_out[0].clone(), left_out[1].clone()];
        for wrong in [vec![second.clone(), first.clone()], vec![first.clone(), first], vec![config]] {
            let laid_out = Layout::delta(lock.clone(), Base { left_out: wrong.clone(), ..base.clone() });
            assert!(matches!(laid_out, Err(LockError::LeftOut(_))), "{wrong:?}");
        }
        for name in [String::new(), "a\nb".into(), "x".repeat(1025)] {
            let laid_out = Layout::delta(lock.clone(), Base { name: name.clone(), ..base.clone() });
            assert!(matches!(laid_out, Err(LockError::BaseName)), "{name:?}");
        }
        assert!(Layout::delta(lock, base).is_ok());
    }

    /// A set of images, each made of layers from one pool, so that they share some.
    fn locks() -> impl Strategy<Value = Lock> {
        let layers = || proptest::collection::btree_set(0..8u8, 0..5);
        proptest::collection::btree_map(0..5u8, layers(), 0..4).prop_map(|images| {
            let template = lock();
            let image = |(name, layers): (u8, BTreeSet<u8>)| {
                let mut image = template.images[0].clone();
                let content = |seed: &[u8]| {
                    let (media_type, digest) = ("c".into(), Digest::of(seed));
                    LockedContent { media_type, digest, size: u64::from(seed[0]) * 600 }
                };
                let made_of: Vec<u8> = std::iter::once(name).chain(layers.iter().copied()).collect();
                image.name = format!("reg.test/{name}:1").parse().unwrap();
                let platform = &mut image.platforms[0];
                platform.config = content(&[&[100], made_of.as_slice()].concat());
                platform.manifest = content(&[&[101], made_of.as_slice()].concat());
                platform.layers = layers.iter().map(|layer| content(&[*layer])).collect();
                image.root = platform.manifest.clone();
                image
            };
            let images = images.into_iter().map(image).collect();
            Lock { images, ..template.clone() }
        })
    }

    fn blobs(layout: &Layout) -> BTreeSet<MemberPath> {
        layout.members()[MemberPath::HEAD.len()..].iter().map(|member| member.path).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_delta_is_the_full_bundle_less_the_layers_of_its_base(old in locks(), new in locks()) {
            let (base, full) = (Layout::new(old.clone()).unwrap(), Layout::new(new.clone()).unwrap());
            let delta = Layout::delta(new.clone(), Held::of_lock(&old).base_for(&new)).unwrap();
            let both: BTreeSet<MemberPath> = blobs(&delta).union(&blobs(&base)).copied().collect();
            prop_assert!(both.is_superset(&blobs(&full)));
            let had = blobs(&base);
            let layers = |layout: &Layout| layout.layers().iter().map(|layer| layer.path).collect::<BTreeSet<_>>();
            let left: BTreeSet<MemberPath> = layers(&full).difference(&had).copied().collect();
            prop_assert_eq!(layers(&delta), left);
            let documents = |layout: &Layout| &blobs(layout) - &layers(layout);
            prop_assert_eq!(documents(&delta), documents(&full));
        }
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
