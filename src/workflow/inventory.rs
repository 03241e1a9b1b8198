//! `inventory`: read every layer once, list the packages of every image.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bundle::Bundle;
use crate::failure::Failure;
use crate::images::{LockedContent, LockedImage};
use crate::inventory::{ImagePackages, Inventory, LayerPackages, packages_of, read_packages};
use crate::layers::Limits;
use crate::oci::{Digest, ImageConfig};
use crate::progress::{Event, Phase, Progress};
use crate::workflow::layers::{file_system_layers, read_verified};

/// How far to read, and what the document should say beside the packages.
#[derive(Debug, Clone)]
pub struct InventoryRequest {
    /// How far reading a layer may go.
    pub limits: Limits,
    /// The date that the document bears; without one it is that of the newest image.
    pub dated: Option<String>,
}

/// Lists what is in the images of a bundle. A layer that cannot be read is a gap in what is said of its images; the
/// others are read all the same.
pub async fn inventory(
    bundle: &Arc<Bundle>,
    request: &InventoryRequest,
    progress: &Arc<dyn Progress>,
) -> Result<Inventory, Failure> {
    let mut layers: BTreeMap<Digest, Result<LayerPackages, String>> = BTreeMap::new();
    let wanted = file_system_layers(bundle.lock());
    progress.report(Event::Phase(Phase::Verifying));
    progress.report(Event::Planned {
        images: bundle.lock().images.len(),
        blobs: wanted.len(),
        bytes: wanted.iter().map(|layer| layer.content.size).sum(),
    });
    for layer in wanted {
        let limits = request.limits;
        let read = read_verified(bundle, &layer, progress, move |reader| read_packages(reader, limits)).await;
        layers.insert(layer.content.digest, read.map_err(|failure| failure.to_string()));
    }
    let images = bundle.lock().images.iter().flat_map(|image| describe(image, &layers)).collect();
    Ok(Inventory {
        release: bundle.lock().release.clone(),
        bundle: bundle.layout().id(),
        made_by: concat!("octobundle ", env!("CARGO_PKG_VERSION")).to_owned(),
        created: request.dated.clone().map_or_else(|| newest(bundle), Ok)?,
        images,
    })
}

/// What is in each platform of an image; attestations hold no files.
fn describe(image: &LockedImage, layers: &BTreeMap<Digest, Result<LayerPackages, String>>) -> Vec<ImagePackages> {
    let platforms = image.platforms.iter().filter_map(|locked| Some((locked, locked.platform.as_ref()?)));
    let known = platforms.filter(|(_, platform)| platform.is_known());
    known
        .map(|(locked, platform)| {
            let read = |layer: &LockedContent| match layers.get(&layer.digest) {
                Some(read) => (layer.digest, read.as_ref().map_err(String::as_str)),
                None => (layer.digest, Err("it is no layer of files")),
            };
            let layers: Vec<_> = locked.layers.iter().map(read).collect();
            packages_of(&image.name.to_string(), &platform.to_string(), locked.manifest.digest, &layers)
        })
        .collect()
}

/// When the newest image was built, by its own word: a date that is a function of the bundle.
fn newest(bundle: &Bundle) -> Result<String, Failure> {
    let mut newest = jiff::Timestamp::UNIX_EPOCH;
    for platform in bundle.lock().images.iter().flat_map(|image| &image.platforms) {
        let config = ImageConfig::parse(&bundle.read_document(&platform.config.digest)?);
        let created = config.created.and_then(|created| created.parse().ok());
        newest = created.map_or(newest, |created| newest.max(created));
    }
    Ok(newest.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
