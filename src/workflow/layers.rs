//! Layers of files, read once each and proven while they are read.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::bundle::Bundle;
use crate::content::{BlockingReader, ImageSource as _};
use crate::failure::{ErrorClass, Failure};
use crate::images::{Lock, LockedContent, LockedPlatform};
use crate::layers::LayerError;
use crate::oci::{Digest, Hasher, Platform, Repository};
use crate::progress::{Arrival, Event, Progress};

/// A layer with one of the images that it is in.
pub(super) struct FileLayer {
    pub(super) content: LockedContent,
    source: Repository,
    image: String,
}

/// Every layer once that holds files of an image, in the order in which images name them.
pub(super) fn file_system_layers(lock: &Lock) -> Vec<FileLayer> {
    let mut seen: BTreeSet<Digest> = BTreeSet::new();
    let mut layers = Vec::new();
    for image in &lock.images {
        let known = |platform: &&LockedPlatform| platform.platform.as_ref().is_some_and(Platform::is_known);
        for layer in image.platforms.iter().filter(known).flat_map(|platform| &platform.layers) {
            // `…layer.v1.tar`, `…diff.tar.gzip`, `…tar+zstd`.
            let files = layer.media_type.as_str().contains(".tar");
            if files && seen.insert(layer.digest) {
                let (source, image) = (image.source.clone(), image.name.to_string());
                layers.push(FileLayer { content: layer.clone(), source, image });
            }
        }
    }
    layers
}

/// Has `read` read a layer on a thread of its own. What it gives comes back only if all of the layer is what it should be.
pub(super) async fn read_verified<T: Send + 'static>(
    bundle: &Arc<Bundle>,
    layer: &FileLayer,
    progress: &Arc<dyn Progress>,
    read: impl FnOnce(&mut BlockingReader) -> Result<T, LayerError> + Send + 'static,
) -> Result<T, Failure> {
    let (digest, size) = (layer.content.digest, layer.content.size);
    let descriptor = layer.content.descriptor();
    progress.report(Event::BlobStarted { digest, size, image: layer.image.clone() });
    let content = bundle.blob(&layer.source, &descriptor, 0).await?.expecting(&descriptor, Hasher::new());
    let mut reader = BlockingReader::new(content.telling(progress.clone()), Handle::current());
    let work = move || match read(&mut reader) {
        Ok(found) => reader.finish().map(|()| found),
        // A layer that cannot be read from the bundle explains what went wrong in it.
        Err(error) => Err(reader.into_failure().unwrap_or_else(|| error.into())),
    };
    let done = tokio::task::spawn_blocking(work).await;
    let found =
        done.map_err(|error| Failure::new(ErrorClass::Other, format!("reading {digest} stopped: {error}")))??;
    progress.report(Event::BlobDone { digest, size, arrival: Arrival::Present });
    Ok(found)
}
