//! From tags to digests: every document of a release, fetched once and kept as received.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::content::{ImageSource, Lookup, MAX_DOCUMENT_BYTES};
use crate::failure::{ErrorClass, Failure};
use crate::images::{
    ImageSet, LOCK_SCHEMA, Lock, LockedContent, LockedImage, LockedPlatform, PlatformChoice, ResolvedSet, WantedImage,
};
use crate::oci::{
    Descriptor, Digest, Document, Hasher, ImageConfig, ImageIndex, ImageManifest, ManifestDescriptor, MediaType,
    Platform, Repository, derived_index,
};
use crate::progress::{Event, Phase, Progress};
use crate::transfer::side_by_side;

/// Image manifests of one index fetched at a time.
const ENTRIES_AT_ONCE: usize = 16;
/// The documents of one image, held in memory. Real images have some hundred kilobytes; a hostile index could list a
/// thousand manifests of the largest size.
const MAX_IMAGE_DOCUMENTS: u64 = 64 * 1024 * 1024;

/// Documents by digest, as received.
pub(super) type Documents = BTreeMap<Digest, Bytes>;

/// One image resolved, with its documents.
struct Resolved {
    image: LockedImage,
    documents: Documents,
}

/// Pins every image of `wanted`. The first image that cannot be resolved ends it: a release is whole or it is not.
pub async fn resolve<S: ImageSource>(
    wanted: &ImageSet,
    source: &Arc<S>,
    jobs: usize,
    progress: &dyn Progress,
) -> Result<ResolvedSet, Failure> {
    progress.report(Event::Phase(Phase::Resolving));
    let images = side_by_side(
        jobs,
        wanted.images.iter().cloned(),
        |image| resolve_image(image, source.clone()),
        |result: &Result<Resolved, Failure>| result.is_err(),
    )
    .await;
    let lock = Lock {
        schema: LOCK_SCHEMA.to_owned(),
        release: wanted.release.clone(),
        title: wanted.title.clone(),
        manifest: wanted.manifest,
        images: Vec::new(),
    };
    let resolved = collect(lock, images)?;
    resolved.lock.check()?;
    Ok(resolved)
}

/// Fetches exactly what a lock names. Anything that is gone, or is not what the lock says, ends it.
pub async fn resolve_locked<S: ImageSource>(
    lock: Lock,
    source: &Arc<S>,
    jobs: usize,
    progress: &dyn Progress,
) -> Result<ResolvedSet, Failure> {
    progress.report(Event::Phase(Phase::Resolving));
    let documents = side_by_side(
        jobs,
        lock.images.iter().cloned(),
        |image| fetch_locked(image, source.clone()),
        |result: &Result<Resolved, Failure>| result.is_err(),
    )
    .await;
    let without_images = Lock { images: Vec::new(), ..lock };
    collect(without_images, documents)
}

fn collect(mut lock: Lock, images: Vec<Result<Resolved, Failure>>) -> Result<ResolvedSet, Failure> {
    let mut documents = Documents::new();
    // A failure that ended the others stands among their results; it is told whatever its place.
    let (images, failures): (Vec<_>, Vec<_>) = images.into_iter().partition(Result::is_ok);
    if let Some(Err(failure)) = failures.into_iter().next() {
        return Err(failure);
    }
    for resolved in images.into_iter().flatten() {
        lock.images.push(resolved.image);
        documents.extend(resolved.documents);
    }
    Ok(ResolvedSet { lock, documents })
}

async fn resolve_image<S: ImageSource>(wanted: WantedImage, source: Arc<S>) -> Result<Resolved, Failure> {
    let tried = format!("failed to resolve `{}`", wanted.name);
    resolve_steps(wanted, &source).await.map_err(|failure| failure.within(tried))
}

async fn resolve_steps<S: ImageSource>(wanted: WantedImage, source: &Arc<S>) -> Result<Resolved, Failure> {
    let at = wanted.name.repository();
    let lookup = match (wanted.name.digest(), wanted.name.tag()) {
        (Some(digest), _) => Lookup::Digest(digest),
        (None, Some(tag)) => Lookup::Tag(tag.clone()),
        (None, None) => unreachable!("a reference has a tag or a digest"),
    };
    let fetched = source.document(at, &lookup).await?;
    let mut image = LockedImage {
        root: LockedContent::from(&fetched.document.descriptor()),
        name: wanted.name.clone(),
        role: wanted.role.clone(),
        groups: wanted.groups.clone(),
        source: fetched.answered_by,
        index: None,
        derived: false,
        insecure: fetched.insecure,
        platforms: Vec::new(),
    };
    let mut documents = Documents::new();
    match fetched.document {
        Document::Manifest(manifest) => {
            let platform = add_manifest(source, at, &manifest, None, &mut documents).await?;
            check_single(&wanted.platforms, platform.platform.as_ref())?;
            image.platforms.push(platform);
        }
        Document::Index(index) if index.manifests.is_empty() => {
            return Err(Failure::new(ErrorClass::NotFound, format!("the index {} lists no image", image.root.digest))
                .with_help("ask whoever publishes it, or name another tag"));
        }
        Document::Index(index) => {
            let choice = choose(&index, &wanted.platforms)?;
            let index_content = image.root.clone();
            match &choice {
                Choice::Whole => drop(documents.insert(index_content.digest, index.raw().clone())),
                Choice::One(entry) => {
                    image.root = LockedContent::from(&entry.descriptor);
                    image.index = Some(index_content);
                }
                Choice::Several(derived) => {
                    let root = Descriptor::new(
                        index_content.media_type.as_str(),
                        Digest::of(derived.raw()),
                        derived.raw().len() as u64,
                    );
                    documents.insert(root.digest, derived.raw().clone());
                    image.root = LockedContent::from(&root);
                    image.index = Some(index_content);
                    image.derived = true;
                }
            }
            let entries = match choice {
                Choice::Whole => index.manifests,
                Choice::One(entry) => vec![*entry],
                Choice::Several(derived) => derived.manifests,
            };
            image.platforms = add_entries(source, at, entries, &mut documents).await?;
        }
    }
    Ok(Resolved { image, documents })
}

/// What is taken of an index.
enum Choice {
    /// All, byte for byte.
    Whole,
    /// One platform's image, without the index.
    One(Box<ManifestDescriptor>),
    /// Several, under an index of our own.
    Several(ImageIndex),
}

fn choose(index: &ImageIndex, wanted: &PlatformChoice) -> Result<Choice, Failure> {
    let PlatformChoice::Only(platforms) = wanted else {
        return Ok(Choice::Whole);
    };
    let mut chosen: Vec<&ManifestDescriptor> = Vec::new();
    for platform in platforms {
        let entry = best_entry(index, platform).ok_or_else(|| no_platform(platform, &offered(index)))?;
        if !chosen.iter().any(|other| other.descriptor.digest == entry.descriptor.digest) {
            chosen.push(entry);
        }
    }
    if let [one] = chosen[..] {
        return Ok(Choice::One(Box::new(one.clone())));
    }
    let digests: BTreeSet<Digest> = chosen.iter().map(|entry| entry.descriptor.digest).collect();
    let keep = |entry: &ManifestDescriptor| digests.contains(&entry.descriptor.digest);
    if index.manifests.iter().all(keep) {
        return Ok(Choice::Whole);
    }
    let derived = derived_index(index, keep).map_err(|error| Failure::new(ErrorClass::Other, error.to_string()))?;
    Ok(Choice::Several(derived))
}

/// The entry made for exactly this platform, else the first that it accepts.
fn best_entry<'a>(index: &'a ImageIndex, platform: &Platform) -> Option<&'a ManifestDescriptor> {
    let images = || index.manifests.iter().filter(|entry| !entry.is_attestation());
    let exact = images().find(|entry| entry.platform.as_ref() == Some(platform));
    exact.or_else(|| images().find(|entry| entry.platform.as_ref().is_some_and(|offered| platform.accepts(offered))))
}

fn offered(index: &ImageIndex) -> Vec<String> {
    let images = index.manifests.iter().filter(|entry| !entry.is_attestation());
    images.filter_map(|entry| entry.platform.as_ref()).map(ToString::to_string).collect()
}

fn no_platform(wanted: &Platform, offered: &[String]) -> Failure {
    let offered = if offered.is_empty() { "none that it names".to_owned() } else { offered.join(", ") };
    Failure::new(ErrorClass::NotFound, format!("there is no image for {wanted}; there are: {offered}"))
        .with_help("choose with `--platform os/architecture`, take all with `--platform all`, or give this image its own `platforms` in the manifest")
}

fn check_single(wanted: &PlatformChoice, platform: Option<&Platform>) -> Result<(), Failure> {
    let (PlatformChoice::Only(wanted), Some(platform)) = (wanted, platform) else {
        return Ok(());
    };
    match wanted.iter().find(|wanted| !wanted.accepts(platform)) {
        Some(missing) => Err(no_platform(missing, &[platform.to_string()])),
        None => Ok(()),
    }
}

/// Fetches the image manifests of an index, side by side.
async fn add_entries<S: ImageSource>(
    source: &Arc<S>,
    at: &Repository,
    entries: Vec<ManifestDescriptor>,
    documents: &mut Documents,
) -> Result<Vec<LockedPlatform>, Failure> {
    let held = Arc::new(AtomicU64::new(0));
    let fetched = side_by_side(
        ENTRIES_AT_ONCE,
        entries,
        |entry| fetch_entry(source.clone(), at.clone(), entry, held.clone()),
        |result: &Result<_, Failure>| result.is_err(),
    )
    .await;
    let mut platforms = Vec::new();
    for entry in fetched {
        let (platform, theirs): (LockedPlatform, Documents) = entry?;
        documents.extend(theirs);
        platforms.push(platform);
    }
    Ok(platforms)
}

async fn fetch_entry<S: ImageSource>(
    source: Arc<S>,
    at: Repository,
    entry: ManifestDescriptor,
    held: Arc<AtomicU64>,
) -> Result<(LockedPlatform, Documents), Failure> {
    let mut documents = Documents::new();
    let manifest = fetch_manifest(&source, &at, &entry.descriptor).await?;
    let platform = add_manifest(&source, &at, &manifest, Some(&entry), &mut documents).await?;
    let bytes: u64 = documents.values().map(|document| document.len() as u64).sum();
    if held.fetch_add(bytes, Ordering::Relaxed) + bytes > MAX_IMAGE_DOCUMENTS {
        let text =
            format!("its image manifests and configurations have more than {MAX_IMAGE_DOCUMENTS} bytes together");
        return Err(Failure::new(ErrorClass::Input, text).with_help("choose with `--platform os/architecture`"));
    }
    Ok((platform, documents))
}

async fn fetch_manifest<S: ImageSource>(
    source: &Arc<S>,
    at: &Repository,
    descriptor: &Descriptor,
) -> Result<ImageManifest, Failure> {
    let fetched = source.document(at, &Lookup::Digest(descriptor.digest)).await?;
    match fetched.document {
        Document::Manifest(manifest) if manifest.raw().len() as u64 == descriptor.size => Ok(manifest),
        Document::Manifest(manifest) => Err(Failure::new(
            ErrorClass::Integrity,
            format!("{} is {} bytes long, the index says {}", descriptor.digest, manifest.raw().len(), descriptor.size),
        )),
        Document::Index(_) => Err(Failure::new(
            ErrorClass::Input,
            format!("{} is an index within an index, which no engine runs", descriptor.digest),
        )),
    }
}

/// Keeps an image manifest and fetches its configuration.
async fn add_manifest<S: ImageSource>(
    source: &Arc<S>,
    at: &Repository,
    manifest: &ImageManifest,
    entry: Option<&ManifestDescriptor>,
    documents: &mut Documents,
) -> Result<LockedPlatform, Failure> {
    let config = fetch_small(source, at, &manifest.config).await?;
    let stated = match entry {
        Some(entry) if entry.is_attestation() => None,
        Some(entry) => entry.platform.clone().or_else(|| ImageConfig::parse(&config).platform),
        None => ImageConfig::parse(&config).platform,
    };
    let own = Descriptor::new(
        Document::Manifest(manifest.clone()).media_type().as_str(),
        Digest::of(manifest.raw()),
        manifest.raw().len() as u64,
    );
    documents.insert(own.digest, manifest.raw().clone());
    documents.insert(manifest.config.digest, config);
    Ok(LockedPlatform {
        platform: stated.filter(Platform::is_known),
        manifest: LockedContent::from(&own),
        config: LockedContent::from(&manifest.config),
        layers: manifest.layers.iter().map(LockedContent::from).collect(),
    })
}

/// A configuration: a blob that must be small.
async fn fetch_small<S: ImageSource>(source: &Arc<S>, at: &Repository, blob: &Descriptor) -> Result<Bytes, Failure> {
    if blob.size > MAX_DOCUMENT_BYTES {
        let text =
            format!("the configuration {} is {} bytes long, {MAX_DOCUMENT_BYTES} are the most", blob.digest, blob.size);
        return Err(Failure::new(ErrorClass::Input, text));
    }
    source.blob(at, blob, 0).await?.expecting(blob, Hasher::new()).collect().await
}

/// The documents of one image, exactly as locked.
pub(super) async fn documents_of<S: ImageSource>(image: LockedImage, source: &Arc<S>) -> Result<Documents, Failure> {
    Ok(fetch_locked(image, source.clone()).await?.documents)
}

async fn fetch_locked<S: ImageSource>(image: LockedImage, source: Arc<S>) -> Result<Resolved, Failure> {
    let tried = format!("failed to fetch `{}` as locked", image.name);
    locked_steps(image, &source).await.map_err(|failure| failure.within(tried))
}

async fn locked_steps<S: ImageSource>(image: LockedImage, source: &Arc<S>) -> Result<Resolved, Failure> {
    let at = image.name.repository();
    let mut documents = Documents::new();
    if image.derived {
        let derived = derive_again(source, at, &image).await?;
        documents.insert(image.root.digest, derived);
    } else if image.platforms.iter().all(|platform| platform.manifest.digest != image.root.digest) {
        documents.insert(image.root.digest, locked_root(source, at, &image).await?);
    }
    for platform in &image.platforms {
        let manifest = fetch_manifest(source, at, &platform.manifest.descriptor()).await?;
        let layers: Vec<LockedContent> = manifest.layers.iter().map(LockedContent::from).collect();
        if layers != platform.layers || LockedContent::from(&manifest.config) != platform.config {
            return Err(not_as_locked(&format!("{} lists other parts", platform.manifest.digest)));
        }
        if *manifest.media_type() != platform.manifest.media_type {
            return Err(other_type(&platform.manifest, manifest.media_type()));
        }
        documents.insert(manifest.config.digest, fetch_small(source, at, &manifest.config).await?);
        documents.insert(platform.manifest.digest, manifest.raw().clone());
    }
    match documents.get(&image.root.digest) {
        Some(root) if root.len() as u64 == image.root.size => {
            match image.platforms.iter().find(|platform| platform.manifest.digest == image.root.digest) {
                Some(own) if own.manifest.media_type != image.root.media_type => {
                    Err(other_type(&image.root, &own.manifest.media_type))
                }
                _ => Ok(Resolved { image, documents }),
            }
        }
        _ => Err(not_as_locked("its root document has another size")),
    }
}

/// An index that lists the lock's image manifests, no other ones and in this order.
async fn locked_root<S: ImageSource>(source: &Arc<S>, at: &Repository, image: &LockedImage) -> Result<Bytes, Failure> {
    let document = source.document(at, &Lookup::Digest(image.root.digest)).await?.document;
    if *document.media_type() != image.root.media_type {
        return Err(other_type(&image.root, document.media_type()));
    }
    let Document::Index(index) = document else {
        return Err(not_as_locked(&format!("{} is an image manifest that it does not list", image.root.digest)));
    };
    let listed = index.manifests.iter().map(|entry| entry.descriptor.digest);
    if listed.eq(image.platforms.iter().map(|platform| platform.manifest.digest)) {
        Ok(index.raw().clone())
    } else {
        Err(not_as_locked(&format!("the index {} lists other image manifests", image.root.digest)))
    }
}

fn other_type(locked: &LockedContent, got: &MediaType) -> Failure {
    not_as_locked(&format!("{} is no `{}` but `{got}`", locked.digest, locked.media_type))
}

async fn derive_again<S: ImageSource>(source: &Arc<S>, at: &Repository, image: &LockedImage) -> Result<Bytes, Failure> {
    let from = image.index.as_ref().ok_or_else(|| not_as_locked("it is derived, but not said from what"))?;
    let fetched = source.document(at, &Lookup::Digest(from.digest)).await?;
    let Document::Index(index) = fetched.document else {
        return Err(not_as_locked("what it is derived from is no index"));
    };
    let kept: BTreeSet<Digest> = image.platforms.iter().map(|platform| platform.manifest.digest).collect();
    let derived = derived_index(&index, |entry| kept.contains(&entry.descriptor.digest))
        .map_err(|error| Failure::new(ErrorClass::Input, error.to_string()))?;
    if *derived.media_type() != image.root.media_type {
        Err(other_type(&image.root, derived.media_type()))
    } else if Digest::of(derived.raw()) == image.root.digest {
        Ok(derived.raw().clone())
    } else {
        Err(not_as_locked("the index derived from it has another digest"))
    }
}

fn not_as_locked(what: &str) -> Failure {
    Failure::new(ErrorClass::Input, format!("the lock does not agree with itself: {what}"))
        .with_help("write it anew: `octobundle resolve RELEASE --lock FILE`")
}
