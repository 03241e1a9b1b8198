//! From a lock and its configurations to the facts of a report.

use std::collections::{BTreeMap, BTreeSet};

use crate::images::{Lock, LockedImage, LockedPlatform};
use crate::oci::{Digest, ImageConfig};
use crate::plan::{MirrorMap, Target};
use crate::report::changes::changes;
use crate::report::commands::commands;
use crate::report::{
    BundleFacts, DeltaFacts, ImageFacts, Label, LayerFacts, PlatformFacts, REPORT_SCHEMA, Report, ScanFacts, Totals,
    TrustFacts, Verification,
};

/// Labels in which builders write the licence; the first is OCI's, the others are older habits.
const LICENCE_LABELS: [&str; 4] =
    ["org.opencontainers.image.licenses", "org.label-schema.license", "license", "licenses"];

/// What a report is made of.
pub struct Subject<'a> {
    /// What the bundle holds.
    pub lock: &'a Lock,
    /// Its configurations, by digest.
    pub configs: &'a BTreeMap<Digest, ImageConfig>,
    /// The file.
    pub bundle: BundleFacts,
    /// The private registry and the names in it.
    pub private: Option<(&'a Target, &'a MirrorMap)>,
    /// An earlier release to compare with.
    pub since: Option<&'a Lock>,
    /// What it builds on, if it is a delta.
    pub delta: Option<DeltaFacts>,
    /// Whether the bytes were read.
    pub verification: Verification,
    /// The signature files beside it, by name.
    pub signature_files: Vec<String>,
    /// What they are worth.
    pub trust: TrustFacts,
    /// What a scanner said.
    pub scan: Option<ScanFacts>,
    /// When the report is made, where it should say so.
    pub dated: Option<String>,
}

/// Describes a bundle.
pub fn describe(subject: Subject<'_>) -> Report {
    let lock = subject.lock;
    let layers = layers(lock);
    let shared: BTreeSet<Digest> =
        layers.iter().filter(|layer| layer.images.len() > 1).map(|layer| layer.digest).collect();
    let describer = Describer { configs: subject.configs, names: subject.private.map(|(_, names)| names), shared };
    let images: Vec<ImageFacts> = lock.images.iter().map(|image| describer.image(image)).collect();
    Report {
        schema: REPORT_SCHEMA,
        made_by: concat!("octobundle ", env!("CARGO_PKG_VERSION")).to_owned(),
        dated: subject.dated,
        release: lock.release.clone(),
        title: lock.title.clone(),
        commands: commands(lock, &subject.bundle, subject.delta.as_ref(), subject.private),
        bundle: subject.bundle,
        delta: subject.delta,
        totals: totals(&images, &layers),
        changes: subject.since.map(|old| changes(old, lock)),
        images,
        layers,
        verification: subject.verification,
        signature_files: subject.signature_files,
        trust: subject.trust,
        scan: subject.scan,
    }
}

/// Every layer once with the images that use it, the largest first.
fn layers(lock: &Lock) -> Vec<LayerFacts> {
    let mut users: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    for image in &lock.images {
        for digest in image.layers().map(|layer| layer.digest).collect::<BTreeSet<_>>() {
            users.entry(digest).or_default().push(image.name.to_string());
        }
    }
    let mut layers: Vec<LayerFacts> = lock
        .layers()
        .into_values()
        .map(|layer| LayerFacts {
            digest: layer.digest,
            bytes: layer.size,
            media_type: layer.media_type.to_string(),
            images: users.remove(&layer.digest).unwrap_or_default(),
        })
        .collect();
    layers.sort_by(|a, b| b.bytes.cmp(&a.bytes).then(a.digest.cmp(&b.digest)));
    layers
}

fn totals(images: &[ImageFacts], layers: &[LayerFacts]) -> Totals {
    let layer_bytes = layers.iter().map(|layer| layer.bytes).sum();
    let shared = layers.iter().filter(|layer| layer.images.len() > 1);
    let every_copy: u64 = images.iter().map(|image| image.bytes).fold(0, u64::saturating_add);
    Totals {
        images: images.len(),
        layers: layers.len(),
        layer_bytes,
        shared_bytes: shared.map(|layer| layer.bytes).sum(),
        saved_bytes: every_copy.saturating_sub(layer_bytes),
    }
}

struct Describer<'a> {
    configs: &'a BTreeMap<Digest, ImageConfig>,
    names: Option<&'a MirrorMap>,
    shared: BTreeSet<Digest>,
}

impl Describer<'_> {
    fn image(&self, image: &LockedImage) -> ImageFacts {
        let layers: BTreeMap<Digest, u64> = image.layers().map(|layer| (layer.digest, layer.size)).collect();
        let own = layers.iter().filter(|(digest, _)| !self.shared.contains(digest)).map(|(_, size)| size);
        let platforms: Vec<PlatformFacts> = image.platforms.iter().map(|platform| self.platform(platform)).collect();
        ImageFacts {
            name: image.name.to_string(),
            private_name: self.names.and_then(|names| names.target_of(&image.name)).map(ToString::to_string),
            role: image.role.clone(),
            groups: image.groups.iter().cloned().collect(),
            source: image.source.to_string(),
            digest: image.root.digest,
            media_type: image.root.media_type.to_string(),
            index: image.index.as_ref().map(|index| index.digest),
            insecure: image.insecure,
            bytes: layers.values().sum(),
            own_bytes: own.sum(),
            licences: licences(&platforms),
            platforms,
        }
    }

    fn platform(&self, platform: &LockedPlatform) -> PlatformFacts {
        let config = self.configs.get(&platform.config.digest);
        let labels = config.into_iter().flat_map(|config| &config.labels);
        PlatformFacts {
            platform: platform.platform.as_ref().filter(|platform| platform.is_known()).map(ToString::to_string),
            digest: platform.manifest.digest,
            config: platform.config.digest,
            created: config.and_then(|config| config.created.clone()),
            bytes: platform
                .layers
                .iter()
                .map(|layer| (layer.digest, layer.size))
                .collect::<BTreeMap<_, _>>()
                .values()
                .sum(),
            layers: platform.layers.iter().map(|layer| layer.digest).collect(),
            labels: labels.map(|(name, value)| Label { name: name.clone(), value: value.clone() }).collect(),
        }
    }
}

/// What the labels of all platforms say, each thing once.
fn licences(platforms: &[PlatformFacts]) -> Vec<String> {
    let labels = platforms.iter().flat_map(|platform| &platform.labels);
    let found = labels.filter(|label| LICENCE_LABELS.contains(&label.name.as_str()) && !label.value.trim().is_empty());
    found.map(|label| label.value.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}
