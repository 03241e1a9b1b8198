//! `verify`: read everything, hand back every finding, and say who signed what is sound.

use std::sync::Arc;

use bytes::Bytes;

use crate::bundle::{self, BundlePlace, Stack, Verdict};
use crate::content::ImageSource as _;
use crate::failure::{ErrorClass, Failure};
use crate::images::{Lock, LockedContent};
use crate::oci::{Hasher, ImageRef};
use crate::progress::{Arrival, Event, Progress};
use crate::transfer::side_by_side;
use crate::workflow::trust::{self, Trust, TrustSettings, Use};

/// A layer that a delta leaves out and that its bases do not give.
#[derive(Debug)]
pub struct Absent {
    /// Which.
    pub layer: LockedContent,
    /// The images that need it.
    pub images: Vec<ImageRef>,
    /// What is wrong with it in the base that has it; none where no base has it.
    pub damage: Option<Failure>,
}

/// Reads a whole bundle on `threads` threads. Signatures of one that is not sound are not looked at.
pub fn verify(
    place: &BundlePlace,
    threads: usize,
    settings: &TrustSettings,
    progress: &dyn Progress,
) -> Result<(Verdict, Option<Trust>), Failure> {
    let verdict = bundle::verify(place, threads, progress)?;
    let sound = verdict.checksums.as_ref().zip(verdict.lock.as_ref());
    let look = |(checksums, lock): (&Bytes, &Lock)| {
        trust::look(&verdict.path, checksums, &lock.release, settings, Use::Look, progress)
    };
    let trust = sound.map(look).transpose()?;
    Ok((verdict, trust))
}

/// Reads the layers that a sound delta leaves out from its bases, and gives those that are not there or not sound.
/// Nothing given back means: with its bases it is whole.
pub async fn verify_bases(
    place: &BundlePlace,
    bases: &[BundlePlace],
    threads: usize,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Absent>, Failure> {
    let stack = Arc::new(tokio::task::block_in_place(|| Stack::open(place, bases))?);
    absent(&stack, threads, progress).await
}

/// The same for bundles that are open.
pub(super) async fn absent(
    stack: &Arc<Stack>,
    threads: usize,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Absent>, Failure> {
    let users = stack.lock().users();
    let layers: Vec<(LockedContent, Vec<ImageRef>)> = stack
        .left_out()
        .into_values()
        .map(|layer| (layer.clone(), users.get(&layer.digest).into_iter().flatten().copied().cloned().collect()))
        .collect();
    let bytes = layers.iter().map(|(layer, _)| layer.size).sum();
    progress.report(Event::Planned { images: stack.lock().images.len(), blobs: layers.len(), bytes });
    let read = side_by_side(
        threads,
        layers,
        |(layer, images)| read_one(stack.clone(), layer, images, progress.clone()),
        |result: &Result<_, Failure>| result.is_err(),
    )
    .await;
    let absent: Vec<Option<Absent>> = read.into_iter().collect::<Result<_, _>>()?;
    Ok(absent.into_iter().flatten().collect())
}

/// Only failing to read the disk is an error: what is found is a result.
async fn read_one(
    stack: Arc<Stack>,
    layer: LockedContent,
    images: Vec<ImageRef>,
    progress: Arc<dyn Progress>,
) -> Result<Option<Absent>, Failure> {
    let Some(holder) = stack.holder(&layer.digest, layer.size) else {
        return Ok(Some(Absent { layer, images, damage: None }));
    };
    let (digest, size) = (layer.digest, layer.size);
    let first = images.first().expect("a layer is left out of some image");
    progress.report(Event::BlobStarted { digest, size, image: first.to_string() });
    let blob = layer.descriptor();
    let content = stack.blob(first.repository(), &blob, 0).await?;
    let mut reader = content.expecting(&blob, Hasher::new()).telling(progress.clone());
    loop {
        match reader.next().await {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(failure) if failure.class() == ErrorClass::Integrity => {
                let damage = Some(failure.within(format!("`{}` is damaged", holder.path().display())));
                return Ok(Some(Absent { layer, images, damage }));
            }
            Err(failure) => return Err(failure),
        }
    }
    progress.report(Event::BlobDone { digest, size, arrival: Arrival::Present });
    Ok(None)
}
