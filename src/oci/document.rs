//! Image indexes, image manifests and image configurations, kept as the bytes received.
//!
//! A document is what its `mediaType` says it is; where that is missing, its fields decide. A document that could be
//! read as two things is refused (the CVE-2021-41190 family).

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::oci::descriptor::{Descriptor, MediaType};
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;

/// More children than any real index has; a bound, so that a hostile one cannot keep us busy.
const MAX_CHILDREN: usize = 1_000;
/// Docker's engines stop at 127 layers; other builders go a little further.
const MAX_LAYERS: usize = 2_000;
/// 1 PiB: far beyond any layer, far below where sums of sizes could overflow.
const MAX_BLOB: u64 = 1 << 50;

/// Why a document cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or fields of the wrong type.
    #[error("the document is not valid: {0}")]
    Json(String),
    /// Docker's first manifest format.
    #[error("the image is in Docker's manifest schema 1, which registries stopped accepting")]
    Schema1,
    /// Both index and manifest, or its type and fields disagree.
    #[error("the document can be read as two different things: {0}")]
    Ambiguous(String),
    /// Neither an index nor an image manifest.
    #[error("the document is neither an image index nor an image manifest, but `{0}`")]
    UnknownType(String),
    /// A layer that the registry does not hold.
    #[error("layer {digest} is a foreign layer: its bytes are kept outside the registry, at {}", urls.first().map_or("no stated place", String::as_str))]
    ForeignLayer {
        /// The layer.
        digest: Digest,
        /// Where it says that its bytes are.
        urls: Vec<String>,
    },
    /// Absurd numbers.
    #[error("the document goes beyond limits: {0}")]
    Limits(String),
}

/// An image index or an image manifest.
#[derive(Clone, Debug)]
pub enum Document {
    /// Several platforms under one name.
    Index(ImageIndex),
    /// One image.
    Manifest(ImageManifest),
}

/// Several images under one name, one a platform.
#[derive(Clone, Debug)]
pub struct ImageIndex {
    raw: Bytes,
    media_type: MediaType,
    /// What it lists, in its order.
    pub manifests: Vec<ManifestDescriptor>,
}

/// One entry of an image index.
#[derive(Clone, Debug)]
pub struct ManifestDescriptor {
    /// The image manifest.
    pub descriptor: Descriptor,
    /// Its platform, where the index states one that parses.
    pub platform: Option<Platform>,
    raw: Box<RawValue>,
}

impl ManifestDescriptor {
    /// Whether it is a statement about a build and no image: its platform is `unknown/unknown`.
    pub fn is_attestation(&self) -> bool {
        self.descriptor.annotations.contains_key("vnd.docker.reference.type")
            || self.platform.as_ref().is_some_and(|platform| !platform.is_known())
    }
}

/// One image: its configuration and layers.
#[derive(Clone, Debug)]
pub struct ImageManifest {
    raw: Bytes,
    media_type: MediaType,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
}

/// The part of an image configuration that we read.
#[derive(Clone, Debug)]
pub struct ImageConfig {
    /// What the image runs on, where it is stated.
    pub platform: Option<Platform>,
    /// When it was built, as written.
    pub created: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    schema_version: Option<u64>,
    media_type: Option<String>,
    #[serde(borrow)]
    manifests: Option<Vec<&'a RawValue>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct WirePlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

#[derive(Deserialize)]
struct WireEntry {
    #[serde(flatten)]
    descriptor: Descriptor,
    platform: Option<WirePlatform>,
}

impl Document {
    /// Reads what a registry sent. `content_type` is its header, used only to refuse a document that says otherwise.
    pub fn parse(raw: impl Into<Bytes>, content_type: Option<&str>) -> Result<Self, DocumentError> {
        let raw = raw.into();
        refuse_repeated_keys(&raw)?;
        let wire: Wire<'_> = serde_json::from_slice(&raw).map_err(|error| DocumentError::Json(error.to_string()))?;
        let header = content_type.map(MediaType::from);
        let stated = wire.media_type.as_deref().map(MediaType::from);
        let schema_1 = |kind: &Option<MediaType>| kind.as_ref().is_some_and(MediaType::is_schema_1);
        if wire.schema_version == Some(1) || wire.fs_layers.is_some() || schema_1(&stated) || schema_1(&header) {
            return Err(DocumentError::Schema1);
        }
        let has_index_fields = wire.manifests.is_some();
        let has_manifest_fields = wire.config.is_some() || wire.layers.is_some();
        if has_index_fields && has_manifest_fields {
            return Err(DocumentError::Ambiguous("it has `manifests` and `config` or `layers`".into()));
        }
        let fields = if has_index_fields { MediaType::OCI_INDEX } else { MediaType::OCI_MANIFEST };
        // Servers that send no useful header are common; one that names another kind of document is not believed.
        let header = header.filter(|header| header.is_index() || header.is_image_manifest());
        let media_type = match (&stated, &header) {
            (Some(stated), _) => stated.clone(),
            (None, Some(header)) => header.clone(),
            (None, None) => MediaType::from(fields),
        };
        if let (Some(stated), Some(header)) = (&stated, &header)
            && stated != header
        {
            return Err(DocumentError::Ambiguous(format!("it says `{stated}`, the server says `{header}`")));
        }
        if media_type.is_index() != has_index_fields || media_type.is_image_manifest() != has_manifest_fields {
            return Err(if media_type.is_index() || media_type.is_image_manifest() {
                DocumentError::Ambiguous(format!("it says `{media_type}`, its fields say otherwise"))
            } else {
                DocumentError::UnknownType(media_type.to_string())
            });
        }
        if let Some(entries) = wire.manifests {
            let manifests = index_entries(&entries)?;
            return Ok(Self::Index(ImageIndex { raw, media_type, manifests }));
        }
        let (Some(config), Some(layers)) = (wire.config, wire.layers) else {
            return Err(DocumentError::Json("an image manifest has `config` and `layers`".into()));
        };
        check_layers(&config, &layers)?;
        Ok(Self::Manifest(ImageManifest { raw, media_type, config, layers }))
    }

    /// The bytes received.
    pub fn raw(&self) -> &Bytes {
        match self {
            Self::Index(index) => &index.raw,
            Self::Manifest(manifest) => &manifest.raw,
        }
    }

    /// What it is.
    pub fn media_type(&self) -> &MediaType {
        match self {
            Self::Index(index) => &index.media_type,
            Self::Manifest(manifest) => &manifest.media_type,
        }
    }

    /// Media type, digest and size of the bytes received.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type().as_str(), Digest::of(self.raw()), self.raw().len() as u64)
    }
}

impl ImageIndex {
    /// What it is, in OCI's or Docker's words.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The bytes received.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }
}

impl ImageManifest {
    /// What it is, in OCI's or Docker's words.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The bytes received.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The configuration and the layers, each once.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}

impl ImageConfig {
    /// Reads an image configuration; artifacts that carry other JSON, or none, give an empty one.
    pub fn parse(raw: &[u8]) -> Self {
        #[derive(Deserialize, Default)]
        struct Inner {
            #[serde(rename = "Labels")]
            labels: Option<BTreeMap<String, String>>,
        }
        #[derive(Deserialize, Default)]
        struct Outer {
            #[serde(default)]
            os: String,
            #[serde(default)]
            architecture: String,
            variant: Option<String>,
            created: Option<String>,
            config: Option<Inner>,
        }
        let outer: Outer = serde_json::from_slice(raw).unwrap_or_default();
        Self {
            platform: Platform::new(&outer.os, &outer.architecture, outer.variant.as_deref()).ok(),
            created: outer.created,
            labels: outer.config.and_then(|inner| inner.labels).unwrap_or_default(),
        }
    }
}

fn index_entries(entries: &[&RawValue]) -> Result<Vec<ManifestDescriptor>, DocumentError> {
    if entries.len() > MAX_CHILDREN {
        return Err(DocumentError::Limits(format!(
            "{} entries in an index, {MAX_CHILDREN} are the most",
            entries.len()
        )));
    }
    entries
        .iter()
        .map(|raw| {
            let entry: WireEntry =
                serde_json::from_str(raw.get()).map_err(|error| DocumentError::Json(error.to_string()))?;
            check_size(&entry.descriptor)?;
            let platform = entry
                .platform
                .and_then(|wire| Platform::new(&wire.os, &wire.architecture, wire.variant.as_deref()).ok());
            Ok(ManifestDescriptor { descriptor: entry.descriptor, platform, raw: (*raw).to_owned() })
        })
        .collect()
}

fn check_layers(config: &Descriptor, layers: &[Descriptor]) -> Result<(), DocumentError> {
    if layers.len() > MAX_LAYERS {
        return Err(DocumentError::Limits(format!("{} layers, {MAX_LAYERS} are the most", layers.len())));
    }
    check_size(config)?;
    for layer in layers {
        check_size(layer)?;
        if layer.media_type.is_foreign() || !layer.urls.is_empty() {
            return Err(DocumentError::ForeignLayer { digest: layer.digest, urls: layer.urls.clone() });
        }
    }
    Ok(())
}

fn check_size(descriptor: &Descriptor) -> Result<(), DocumentError> {
    if descriptor.size > MAX_BLOB {
        return Err(DocumentError::Limits(format!("{} claims {} bytes", descriptor.digest, descriptor.size)));
    }
    Ok(())
}

/// An image index of some of another's entries, in its order and word for word.
pub fn derived_index(
    from: &ImageIndex,
    keep: impl Fn(&ManifestDescriptor) -> bool,
) -> Result<ImageIndex, DocumentError> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Derived<'a> {
        schema_version: u8,
        media_type: &'a str,
        manifests: Vec<&'a RawValue>,
    }
    let manifests = from.manifests.iter().filter(|entry| keep(entry)).map(|entry| &*entry.raw).collect();
    let derived = Derived { schema_version: 2, media_type: from.media_type.as_str(), manifests };
    let raw = serde_json::to_vec(&derived).expect("text and raw JSON are always written");
    match Document::parse(raw, None)? {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => unreachable!("it was written with `manifests`"),
    }
}

/// JSON readers differ on which of two equal keys they believe; a document that has them is refused.
fn refuse_repeated_keys(raw: &[u8]) -> Result<(), DocumentError> {
    struct NoRepeats {
        /// Whether the keys are the user's own, as those of annotations, and no names of fields.
        own_keys: bool,
    }
    impl<'de> serde::de::Visitor<'de> for NoRepeats {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("JSON")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            let mut seen = std::collections::BTreeSet::new();
            while let Some(key) = map.next_key::<String>()? {
                // Go's reader, which registries and engines use, takes the names of fields whatever their case. Where
                // keys are the user's own, case counts for it too.
                let lower = key.to_lowercase();
                let own = lower == "annotations";
                if !seen.insert(if self.own_keys { key.clone() } else { lower }) {
                    return Err(serde::de::Error::custom(format!("key `{key}` stands twice")));
                }
                map.next_value_seed(NoRepeats { own_keys: own && !self.own_keys })?;
            }
            Ok(())
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
            while seq.next_element_seed(NoRepeats { own_keys: false })?.is_some() {}
            Ok(())
        }
        fn visit_bool<E>(self, _: bool) -> Result<(), E> {
            Ok(())
        }
        fn visit_i64<E>(self, _: i64) -> Result<(), E> {
            Ok(())
        }
        fn visit_u64<E>(self, _: u64) -> Result<(), E> {
            Ok(())
        }
        fn visit_f64<E>(self, _: f64) -> Result<(), E> {
            Ok(())
        }
        fn visit_str<E>(self, _: &str) -> Result<(), E> {
            Ok(())
        }
        fn visit_unit<E>(self) -> Result<(), E> {
            Ok(())
        }
    }
    impl<'de> serde::de::DeserializeSeed<'de> for NoRepeats {
        type Value = ();
        fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_any(self)
        }
    }
    let mut reader = serde_json::Deserializer::from_slice(raw);
    let looked = serde::de::DeserializeSeed::deserialize(NoRepeats { own_keys: false }, &mut reader);
    looked.and_then(|()| reader.end()).map_err(|error| DocumentError::Json(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(kind: &str) -> String {
        format!(r#"{{"mediaType":"{kind}","digest":"{}","size":5}}"#, Digest::of(b"layer"))
    }

    fn manifest_with(layer: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{layer}]}}"#,
            MediaType::OCI_MANIFEST,
            descriptor("c")
        )
    }

    #[test]
    fn sec_28_a_document_that_could_be_two_things_is_refused() {
        let entry = descriptor(MediaType::OCI_MANIFEST);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
        let sound = manifest_with(&descriptor("l"));
        assert!(matches!(Document::parse(sound.clone(), None), Ok(Document::Manifest(_))));
        assert!(matches!(Document::parse(index.clone(), Some("application/json")), Ok(Document::Index(_))));
        assert!(matches!(Document::parse(index.clone(), Some(MediaType::DOCKER_LIST)), Ok(Document::Index(_))));
        let config = descriptor("c");
        let bad = [
            (format!(r#"{{"manifests":[{entry}],"config":{config},"layers":[]}}"#), None),
            (format!(r#"{{"mediaType":"{}","config":{config},"layers":[]}}"#, MediaType::OCI_INDEX), None),
            (format!(r#"{{"mediaType":"application/x","config":{config},"layers":[]}}"#), None),
            (format!(r#"{{"layers":[],"layers":[],"config":{config}}}"#), None),
            (format!(r#"{{"layers":[],"Layers":[],"config":{config}}}"#), None),
            (format!(r#"{{"config":{config}}}"#), None),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), None),
            ("{}".to_owned(), None),
            (String::new(), None),
            (format!("{sound}x"), None),
            (format!("\u{feff}{sound}"), None),
            (sound.clone(), Some(MediaType::DOCKER_MANIFEST)),
            (index, Some(MediaType::OCI_MANIFEST)),
            (format!(r#"{{"manifests":[{}]}}"#, vec![entry.as_str(); 1001].join(",")), None),
        ];
        for (text, header) in bad {
            assert!(Document::parse(text.clone(), header).is_err(), "{text}");
        }
    }

    #[test]
    fn names_of_fields_may_not_repeat_in_any_case_and_keys_of_annotations_may_differ_in_it() {
        let annotated = |annotations: &str| {
            let entry = descriptor("l").replace('}', &format!(r#","annotations":{annotations}}}"#));
            [
                manifest_with(&entry),
                manifest_with(&descriptor("l"))
                    .replace("{\"schema", &format!(r#"{{"annotations":{annotations},"schema"#)),
            ]
        };
        for (annotations, sound) in [
            (r#"{"Org.Corp.a":"1","org.corp.a":"2"}"#, true),
            (r#"{"annotations":"1","Annotations":"2"}"#, true),
            (r#"{"a":"1","a":"2"}"#, false),
        ] {
            for text in annotated(annotations) {
                assert_eq!(Document::parse(text.clone(), None).is_ok(), sound, "{text}");
            }
        }
        let twice = manifest_with(&descriptor("l").replace("size", r#"annotations":{},"Annotations":{},"size"#));
        assert!(Document::parse(twice, None).is_err(), "the field itself is still one");
    }

    #[test]
    fn sec_30_sizes_and_foreign_layers_are_checked() {
        let digest = Digest::of(b"layer");
        for layer in [
            format!(r#"{{"mediaType":"l","digest":"{digest}","size":-1}}"#),
            format!(r#"{{"mediaType":"l","digest":"{digest}","size":9223372036854775808}}"#),
            format!(r#"{{"mediaType":"l","digest":"{digest}","size":1.5}}"#),
            r#"{"mediaType":"l","digest":"sha256:../../x","size":1}"#.to_string(),
            format!(r#"{{"mediaType":"l","digest":"{digest}","size":5,"urls":["https://elsewhere/x"]}}"#),
            descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
        ] {
            assert!(Document::parse(manifest_with(&layer), None).is_err(), "{layer}");
        }
    }

    #[test]
    fn a_derived_index_keeps_entries_word_for_word() {
        let amd = format!(
            r#"{{ "platform":{{"os":"linux","architecture":"amd64"}}, "mediaType":"{}","digest":"{}","size":5,"x-own":true}}"#,
            MediaType::OCI_MANIFEST,
            Digest::of(b"a")
        );
        let arm = amd.replace("amd64", "arm64");
        let text = format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{amd},{arm}]}}"#, MediaType::OCI_INDEX);
        let Ok(Document::Index(index)) = Document::parse(text, None) else { panic!("an index") };
        let wanted: Platform = "linux/arm64".parse().unwrap();
        let derived =
            derived_index(&index, |entry| entry.platform.as_ref().is_some_and(|p| wanted.accepts(p))).unwrap();
        assert_eq!(derived.manifests.len(), 1);
        assert!(std::str::from_utf8(derived.raw()).unwrap().contains(&arm));
    }
}
