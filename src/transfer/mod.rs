//! The copy: runs a decided list from a source to a sink. `pull` and `push` are both this function.

mod side_by_side;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::content::{BlobContent, ImageSink, ImageSource, Lookup};
use crate::failure::{ErrorClass, Failure};
use crate::oci::{Descriptor, Digest, Document, ImageRef, Repository};
use crate::plan::{BlobCopy, CopyList, DocumentCopy, ImageCopy};
use crate::progress::{Arrival, Event, Progress};

pub use side_by_side::side_by_side;
use side_by_side::with_few_large;

/// A blob that is longer takes more than a round trip on most lines: 256 KiB.
const SMALL: u64 = 256 * 1024;

/// How a copy is run.
#[derive(Debug, Clone, Copy)]
pub struct CopySettings {
    /// Blobs or documents at a time.
    pub jobs: usize,
    /// How many of the blobs may be large. Large ones fill a line and take memory; small ones wait for answers.
    pub large_jobs: usize,
    /// Whether the first failure ends everything; else the other images go on.
    pub fail_fast: bool,
}

/// What a copy did.
#[derive(Debug, Default)]
pub struct CopyOutcome {
    /// Images that are complete under their names. A list without images has none.
    pub done: Vec<ImageRef>,
    /// What failed.
    pub failures: Vec<CopyFailure>,
    /// Bytes of blobs that travelled.
    pub moved_bytes: u64,
    /// Bytes of blobs that the sink took over from its own repositories.
    pub adopted_bytes: u64,
}

/// One thing that failed, with the images that are incomplete because of it.
#[derive(Debug)]
pub struct CopyFailure {
    /// Whose part it was.
    pub images: Vec<ImageRef>,
    /// What was tried, on what, and why it failed.
    pub failure: Failure,
}

/// What became of one blob.
struct BlobResult {
    digest: Digest,
    images: Vec<ImageRef>,
    moved: u64,
    adopted: u64,
    /// The repositories that have it now.
    arrived: Vec<Repository>,
    /// What failed, with the repositories that lack it because of that.
    failures: Vec<(Vec<Repository>, Failure)>,
}

/// Copies the list: blobs side by side, then children, names last. An image is named only if all its parts arrived.
pub async fn copy<S: ImageSource, K: ImageSink>(
    list: &CopyList,
    source: &Arc<S>,
    sink: &Arc<K>,
    settings: CopySettings,
    progress: &Arc<dyn Progress>,
) -> CopyOutcome {
    let mut outcome = CopyOutcome::default();
    let ends_all = |failure: &Failure| settings.fail_fast || ends_everything(failure.class());
    let blobs = with_few_large(
        (settings.jobs, settings.large_jobs),
        list.blobs.iter().cloned(),
        |job| job.blob.size > SMALL,
        |job| copy_blob(job, source.clone(), sink.clone(), progress.clone()),
        |done: &BlobResult| done.failures.iter().any(|(_, failure)| ends_all(failure)),
    )
    .await;
    let mut arrived = BTreeSet::new();
    for blob in blobs {
        outcome.moved_bytes += blob.moved;
        outcome.adopted_bytes += blob.adopted;
        arrived.extend(blob.arrived.into_iter().map(|to| (blob.digest, to)));
        for (places, failure) in blob.failures {
            let images = hurt(list, blob.digest, &places).unwrap_or_else(|| blob.images.clone());
            outcome.failures.push(CopyFailure { images, failure });
        }
    }
    if outcome.failures.iter().any(|failed| ends_all(&failed.failure)) {
        return outcome;
    }
    let targets = list.blobs.iter().flat_map(|copy| copy.to.iter().map(|to| (copy.blob.digest, to.clone())));
    let lacking: BTreeSet<(Digest, Repository)> = targets.filter(|target| !arrived.contains(target)).collect();
    let complete =
        |image: &&ImageCopy| image.blobs.iter().all(|blob| !lacking.contains(&(*blob, image.root.to.clone())));
    let ready: Vec<ImageCopy> = list.images.iter().filter(complete).cloned().collect();
    name_images(ready, source, sink, settings, progress, &mut outcome).await;
    outcome
}

/// The images of the list that lack a blob in these repositories; none where the list names no images.
fn hurt(list: &CopyList, digest: Digest, places: &[Repository]) -> Option<Vec<ImageRef>> {
    let lacks = |image: &&ImageCopy| image.blobs.contains(&digest) && places.contains(&image.root.to);
    let images = list.images.iter().filter(lacks).map(|image| image.name.clone());
    (!list.images.is_empty()).then(|| images.collect())
}

/// Whether going on with other images makes no sense.
fn ends_everything(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::Disk | ErrorClass::Interrupted | ErrorClass::Locked)
}

async fn copy_blob<S: ImageSource, K: ImageSink>(
    job: BlobCopy,
    source: Arc<S>,
    sink: Arc<K>,
    progress: Arc<dyn Progress>,
) -> BlobResult {
    let (digest, size) = (job.blob.digest, job.blob.size);
    let image = job.images.first().map(ToString::to_string).unwrap_or_default();
    progress.report(Event::BlobStarted { digest, size, image: image.clone() });
    let mut moved = 0;
    let mut adopted = 0;
    let mut held_by = job.held_by.clone();
    let (mut arrived, mut failures) = (Vec::new(), Vec::new());
    for (place, to) in job.to.iter().enumerate() {
        match bring(&job, to, held_by.as_ref(), &source, &sink, &progress).await {
            Ok(Arrival::Moved) => moved += size,
            Ok(Arrival::Mounted) => adopted += size,
            Ok(Arrival::Present) => {}
            Err(failure) => {
                // Rights differ from repository to repository; anything else would fail for the others too.
                let alone = failure.class() == ErrorClass::Access;
                let lack = if alone { &job.to[place..=place] } else { &job.to[place..] };
                let tried = format!("failed to copy {} of `{image}`", digest.short());
                failures.push((lack.to_vec(), failure.within(tried)));
                if alone {
                    continue;
                }
                break;
            }
        }
        arrived.push(to.clone());
        held_by.get_or_insert_with(|| to.clone());
    }
    if failures.is_empty() {
        let arrival = match (moved, adopted) {
            (0, 0) => Arrival::Present,
            (0, _) => Arrival::Mounted,
            _ => Arrival::Moved,
        };
        progress.report(Event::BlobDone { digest, size, arrival });
    }
    BlobResult { digest, images: job.images, moved, adopted, arrived, failures }
}

async fn bring<S: ImageSource, K: ImageSink>(
    job: &BlobCopy,
    to: &Repository,
    held_by: Option<&Repository>,
    source: &Arc<S>,
    sink: &Arc<K>,
    progress: &Arc<dyn Progress>,
) -> Result<Arrival, Failure> {
    if let Some(from) = held_by
        && adopt(sink, to, from, &job.blob).await?
    {
        return Ok(Arrival::Mounted);
    }
    let content = BlobContent::new(source.clone(), job.from.clone(), job.blob.clone(), progress.clone());
    sink.put_blob(to, content).await
}

async fn adopt<K: ImageSink>(
    sink: &Arc<K>,
    to: &Repository,
    from: &Repository,
    blob: &Descriptor,
) -> Result<bool, Failure> {
    if to == from { Ok(false) } else { sink.adopt(to, from, blob).await }
}

/// Puts documents: all children of all images, then the names.
async fn name_images<S: ImageSource, K: ImageSink>(
    images: Vec<ImageCopy>,
    source: &Arc<S>,
    sink: &Arc<K>,
    settings: CopySettings,
    progress: &Arc<dyn Progress>,
    outcome: &mut CopyOutcome,
) {
    let children = side_by_side(
        settings.jobs,
        images,
        |image| put_children(image, source.clone(), sink.clone()),
        |done: &(ImageCopy, Result<(), Failure>)| done.1.is_err() && settings.fail_fast,
    )
    .await;
    let (mut whole, mut stopped) = (Vec::new(), false);
    for (image, result) in children {
        match result {
            Ok(()) => whole.push(image),
            Err(failure) => {
                stopped |= settings.fail_fast;
                outcome.failures.push(CopyFailure { images: vec![image.name], failure });
            }
        }
    }
    if stopped {
        return;
    }
    let named = side_by_side(
        settings.jobs,
        whole,
        |image| put_name(image, source.clone(), sink.clone()),
        |done: &(ImageRef, Result<(), Failure>)| done.1.is_err() && settings.fail_fast,
    )
    .await;
    for (name, result) in named {
        match result {
            Ok(()) => {
                progress.report(Event::ImageDone { image: name.to_string() });
                outcome.done.push(name);
            }
            Err(failure) => outcome.failures.push(CopyFailure { images: vec![name], failure }),
        }
    }
}

async fn put_children<S: ImageSource, K: ImageSink>(
    image: ImageCopy,
    source: Arc<S>,
    sink: Arc<K>,
) -> (ImageCopy, Result<(), Failure>) {
    for child in &image.children {
        if let Err(failure) = put(child, &image.name, &*source, &*sink).await {
            return (image, Err(failure));
        }
    }
    (image, Ok(()))
}

async fn put_name<S: ImageSource, K: ImageSink>(
    image: ImageCopy,
    source: Arc<S>,
    sink: Arc<K>,
) -> (ImageRef, Result<(), Failure>) {
    let result = put(&image.root, &image.name, &*source, &*sink).await;
    (image.name, result)
}

async fn put<S: ImageSource, K: ImageSink>(
    copy: &DocumentCopy,
    image: &ImageRef,
    source: &S,
    sink: &K,
) -> Result<(), Failure> {
    let put = async {
        let fetched = source.document(image.repository(), &Lookup::Digest(copy.digest)).await?;
        let document: &Document = &fetched.document;
        sink.put_document(&copy.to, &copy.lookup, &copy.media_type, document.raw()).await
    };
    put.await.map_err(|failure| failure.within(format!("failed to put the manifest of `{image}` into {}", copy.to)))
}
