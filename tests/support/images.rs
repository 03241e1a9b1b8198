//! Sample images, built on the spot and the same on every run and machine.
//!
//! Layers are real `tar.gz` files and configs carry the true `diff_ids`, so every engine accepts them. The gzip
//! form is written here, with stored blocks, since a compressor's output may differ between processors.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What a registry must hold to serve one name.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) repository: String,
    pub(crate) tag: String,
    /// Image manifests and indexes, each after what it refers to; the last one is what the tag names.
    pub(crate) documents: Vec<Document>,
    /// Configs, layers and attestations by digest.
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
}

impl Content {
    pub(crate) fn root(&self) -> &Document {
        self.documents.last().expect("every sample has a document")
    }

    /// `repository:tag`, without a host.
    pub(crate) fn name(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }

    /// Bytes of all blobs, each counted once.
    pub(crate) fn payload(&self) -> u64 {
        self.blobs.values().map(|blob| blob.len() as u64).sum()
    }
}

/// An image manifest or index as its registry serves it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) bytes: Vec<u8>,
}

impl Document {
    /// Indented, so that whoever writes the JSON anew changes the digest.
    fn new(media_type: &str, value: &Value) -> Self {
        let bytes = serde_json::to_vec_pretty(value).expect("a JSON value can be written");
        Self { media_type: media_type.to_owned(), digest: digest(&bytes), bytes }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("documents of samples are JSON")
    }

    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}\n{}", self.media_type, self.digest, String::from_utf8_lossy(&self.bytes))
    }
}

/// Something that can be put into a registry under a name.
pub(crate) trait Sample {
    fn content(&self) -> Content;
}

/// Which family of media types an image uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Oci,
    Docker,
}

impl Family {
    fn manifest(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    fn index(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.index.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    fn layer(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Docker => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        }
    }
}

/// A layer as a registry has it.
#[derive(Clone, Debug)]
struct Layer {
    diff_id: String,
    packed: Vec<u8>,
}

/// One image for one platform: `TestImage::new("octoperf/agent:1").layer(b"hello")`.
#[derive(Clone, Debug)]
pub(crate) struct TestImage {
    name: String,
    platform: String,
    family: Family,
    layers: Vec<Layer>,
    command: String,
    labels: BTreeMap<String, String>,
    created: String,
}

impl TestImage {
    /// An OCI image for `linux/amd64` without layers; `name` is `repository:tag`, without a host.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            platform: "linux/amd64".to_owned(),
            family: Family::Oci,
            layers: Vec::new(),
            command: "/run".to_owned(),
            labels: BTreeMap::new(),
            created: EPOCH.to_owned(),
        }
    }

    /// Adds a label.
    pub(crate) fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// When it says that it was built; any text.
    pub(crate) fn created(self, created: &str) -> Self {
        Self { created: created.to_owned(), ..self }
    }

    /// The same image under another name.
    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// Adds a layer of one file with these bytes. The same bytes give the same layer in every image.
    pub(crate) fn layer(self, bytes: &[u8]) -> Self {
        let name = format!("file-{}", &hex(bytes)[..12]);
        self.layer_file(&name, bytes)
    }

    /// Adds a layer of one file with this name and these bytes.
    pub(crate) fn layer_file(self, name: &str, bytes: &[u8]) -> Self {
        self.tar_layer(tar_of(name, bytes))
    }

    /// Adds a layer of this tar.
    pub(crate) fn tar_layer(mut self, tar: impl AsRef<[u8]>) -> Self {
        self.layers.push(Layer { diff_id: digest(tar.as_ref()), packed: gzip(tar.as_ref()) });
        self
    }

    /// Adds a layer of these bytes as they are, whatever they unpack to. No engine takes the image.
    pub(crate) fn packed_layer(mut self, packed: Vec<u8>) -> Self {
        self.layers.push(Layer { diff_id: digest(&packed), packed });
        self
    }

    /// Adds a layer of one program with this name.
    pub(crate) fn program(self, name: &str, bytes: &[u8]) -> Self {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        archive.append_data(&mut header, name, bytes).expect("memory takes every byte");
        self.tar_layer(archive.into_inner().expect("memory takes every byte"))
    }

    /// Adds a layer of one file of `size` bytes that do not compress. The same seed gives the same bytes.
    pub(crate) fn random_layer(self, seed: u64, size: usize) -> Self {
        self.layer(&random_bytes(seed, size))
    }

    /// `os/architecture` or `os/architecture/variant`.
    pub(crate) fn platform(self, platform: &str) -> Self {
        Self { platform: platform.to_owned(), ..self }
    }

    /// The program that it runs, in place of `/run`.
    pub(crate) fn command(self, program: &str) -> Self {
        Self { command: program.to_owned(), ..self }
    }

    /// Uses the media types of Docker's schema 2.
    pub(crate) fn docker(mut self) -> Self {
        self.family = Family::Docker;
        self
    }

    /// Uses the media types of OCI, which is the default.
    pub(crate) fn oci(mut self) -> Self {
        self.family = Family::Oci;
        self
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The digest of the image's config, which engines call the image's id.
    pub(crate) fn config_digest(&self) -> String {
        digest(&self.config())
    }

    fn config(&self) -> Vec<u8> {
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let history: Vec<Value> = self.layers.iter().map(|_| json!({ "created": EPOCH })).collect();
        let mut config = json!({
            "created": self.created,
            "config": { "Env": ["PATH=/bin"], "Cmd": [self.command] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": history,
        });
        if !self.labels.is_empty() {
            config["config"]["Labels"] = json!(self.labels);
        }
        for (key, value) in platform_json(&self.platform).as_object().expect("platforms are objects") {
            config[key] = value.clone();
        }
        serde_json::to_vec_pretty(&config).expect("a JSON value can be written")
    }
}

impl Sample for TestImage {
    fn content(&self) -> Content {
        let (repository, tag) = split(&self.name);
        let mut blobs = BTreeMap::new();
        let config = keep(&mut blobs, self.family.config(), self.config());
        let layers: Vec<Value> =
            self.layers.iter().map(|layer| keep(&mut blobs, self.family.layer(), layer.packed.clone())).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": self.family.manifest(),
            "config": config,
            "layers": layers,
        });
        Content { repository, tag, documents: vec![Document::new(self.family.manifest(), &manifest)], blobs }
    }
}

/// Several images under one name, one for each platform.
#[derive(Clone, Debug)]
pub(crate) struct TestIndex {
    name: String,
    images: Vec<TestImage>,
    attested: bool,
}

impl TestIndex {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), images: Vec::new(), attested: false }
    }

    /// Adds an image; its own name is not used, its platform is.
    pub(crate) fn image(mut self, image: TestImage) -> Self {
        self.images.push(image);
        self
    }

    /// Adds what buildx adds: an in-toto statement for each image, as an entry for platform `unknown/unknown`.
    pub(crate) fn attested(mut self) -> Self {
        self.attested = true;
        self
    }

    /// A Docker manifest list if all images are Docker's and nothing is attested, else an OCI index.
    fn family(&self) -> Family {
        let only_docker = !self.images.is_empty() && self.images.iter().all(|image| image.family == Family::Docker);
        if only_docker && !self.attested { Family::Docker } else { Family::Oci }
    }
}

impl Sample for TestIndex {
    fn content(&self) -> Content {
        let (repository, tag) = split(&self.name);
        let (mut documents, mut blobs) = (Vec::new(), BTreeMap::new());
        let (mut entries, mut attestations) = (Vec::new(), Vec::new());
        for image in &self.images {
            let content = image.content();
            let mut entry = content.root().descriptor();
            entry["platform"] = platform_json(&image.platform);
            entries.push(entry);
            if self.attested {
                let statement = attestation(content.root(), &mut blobs);
                attestations.push(attestation_entry(&statement, content.root()));
                documents.push(statement);
            }
            documents.extend(content.documents);
            blobs.extend(content.blobs);
        }
        entries.extend(attestations);
        let index = json!({ "schemaVersion": 2, "mediaType": self.family().index(), "manifests": entries });
        documents.push(Document::new(self.family().index(), &index));
        Content { repository, tag, documents, blobs }
    }
}

const EPOCH: &str = "1970-01-01T00:00:00Z";

/// A sample that says about which manifest it speaks, as signatures and statements do.
pub(crate) struct About {
    pub(crate) of: Box<dyn Sample>,
    pub(crate) subject: Document,
    pub(crate) artifact_type: Option<&'static str>,
}

impl Sample for About {
    fn content(&self) -> Content {
        let mut content = self.of.content();
        let mut manifest = content.root().json();
        manifest["subject"] = json!({
            "mediaType": self.subject.media_type, "digest": self.subject.digest, "size": self.subject.bytes.len(),
        });
        manifest["annotations"] = json!({ "org.example.note": "about" });
        if let Some(artifact_type) = self.artifact_type {
            manifest["artifactType"] = artifact_type.into();
        }
        let bytes = serde_json::to_vec(&manifest).expect("JSON can be written");
        let media_type = content.root().media_type.clone();
        *content.documents.last_mut().expect("it has a root") = Document { media_type, digest: digest(&bytes), bytes };
        content
    }
}

/// An image manifest whose only layer is a statement about `image`.
fn attestation(image: &Document, blobs: &mut BTreeMap<String, Vec<u8>>) -> Document {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{ "name": "sample", "digest": { "sha256": image.digest.trim_start_matches("sha256:") } }],
        "predicate": {},
    });
    let statement = serde_json::to_vec(&statement).expect("a JSON value can be written");
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": [digest(&statement)] },
    });
    let config = serde_json::to_vec(&config).expect("a JSON value can be written");
    let config = keep(blobs, Family::Oci.config(), config);
    let mut layer = keep(blobs, "application/vnd.in-toto+json", statement);
    layer["annotations"] = json!({ "in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2" });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": Family::Oci.manifest(),
        "config": config,
        "layers": [layer],
    });
    Document::new(Family::Oci.manifest(), &manifest)
}

fn attestation_entry(statement: &Document, image: &Document) -> Value {
    let mut entry = statement.descriptor();
    entry["annotations"] = json!({
        "vnd.docker.reference.digest": image.digest,
        "vnd.docker.reference.type": "attestation-manifest",
    });
    entry["platform"] = json!({ "architecture": "unknown", "os": "unknown" });
    entry
}

/// Stores a blob and returns its descriptor.
fn keep(blobs: &mut BTreeMap<String, Vec<u8>>, media_type: &str, bytes: Vec<u8>) -> Value {
    let digest = digest(&bytes);
    let descriptor = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
    blobs.insert(digest, bytes);
    descriptor
}

fn split(name: &str) -> (String, String) {
    let (repository, tag) = name.rsplit_once(':').expect("a sample is named `repository:tag`");
    (repository.to_owned(), tag.to_owned())
}

fn platform_json(platform: &str) -> Value {
    let mut parts = platform.split('/');
    let os = parts.next().expect("split yields at least one part");
    let architecture = parts.next().expect("a platform is `os/architecture`");
    let mut value = json!({ "architecture": architecture, "os": os });
    if let Some(variant) = parts.next() {
        value["variant"] = json!(variant);
    }
    value
}

/// The CRC-32 of bytes in eight digits, from its definition and not from a library.
pub(crate) fn crc32(bytes: &[u8]) -> String {
    let step = |value: u32| (0..8).fold(value, |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 });
    let table: Vec<u32> = (0..256).map(step).collect();
    let sum = bytes.iter().fold(!0, |sum: u32, byte| table[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ sum >> 8);
    format!("{:08x}", !sum)
}

/// `sha256:` and the hex form of the bytes' hash.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// The first `size` bytes of a sequence that `seed` decides (`SplitMix64`).
pub(crate) fn random_bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// A tar of one regular file, with fixed owner and time.
pub(crate) fn tar_of(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, name, bytes);
    archive.into_inner().expect("memory takes every byte")
}

/// Adds one regular file with fixed owner and time.
pub(crate) fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, bytes).expect("memory takes every byte");
}

/// The gzip form of these bytes, not made smaller (RFC 1951 3.2.4, RFC 1952).
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    const LONGEST_BLOCK: usize = 65_535;
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut out = HEADER.to_vec();
    let blocks = bytes.chunks(LONGEST_BLOCK).count();
    for (number, block) in bytes.chunks(LONGEST_BLOCK).enumerate() {
        let length = u16::try_from(block.len()).expect("blocks are cut to fit");
        out.push(u8::from(number + 1 == blocks));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    let mut checksum = flate2::Crc::new();
    checksum.update(bytes);
    out.extend_from_slice(&checksum.sum().to_le_bytes());
    out.extend_from_slice(&checksum.amount().to_le_bytes());
    out
}
