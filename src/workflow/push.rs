//! `push`: bundle → registry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::bundle::{Bundle, BundlePlace};
use crate::content::Lookup;
use crate::failure::Failure;
use crate::images::{Lock, LockedImage};
use crate::oci::{Descriptor, Digest, ImageRef, Repository};
use crate::plan::{MirrorMap, Presence, PushPlan, Target};
use crate::progress::{Event, Phase, Progress};
use crate::registry::{Registry, RegistryError};
use crate::transfer::{CopyFailure, CopyOutcome, CopySettings, copy, side_by_side};

/// What `push` was asked for.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// The bundle.
    pub bundle: BundlePlace,
    /// Where to.
    pub target: Target,
    /// How to copy.
    pub copy: CopySettings,
    /// Whether to stop once it is known what would be sent.
    pub dry_run: bool,
}

/// One image of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedImage {
    /// Its name in the bundle.
    pub source: ImageRef,
    /// Its name in the registry.
    pub target: ImageRef,
    /// What both names stand for.
    pub digest: Digest,
    /// Whether it was there, whole, before.
    pub present: bool,
    /// Whether it is there now.
    pub done: bool,
}

/// What `push` did.
#[derive(Debug)]
pub struct PushReport {
    /// Every image of the bundle.
    pub images: Vec<PushedImage>,
    /// Bytes of blobs that were sent, or would be in a dry run.
    pub sent_bytes: u64,
    /// Bytes of blobs that the registry took over from its own repositories, or would be asked to.
    pub adopted_bytes: u64,
    /// Bytes of blobs that were there.
    pub present_bytes: u64,
    /// What could not be sent.
    pub failures: Vec<CopyFailure>,
}

/// Pushes a bundle's images under the names that the mirror map gives them.
pub async fn push(
    request: &PushRequest,
    registry: &Arc<Registry>,
    progress: &Arc<dyn Progress>,
) -> Result<PushReport, Failure> {
    let bundle = Arc::new(tokio::task::block_in_place(|| Bundle::open(&request.bundle))?);
    let lock = bundle.lock();
    let names = MirrorMap::of_lock(lock, &request.target)?;
    let presence = look(lock, &names, registry, request.copy.jobs).await?;
    let plan = PushPlan::new(lock, &names, &presence);
    if request.dry_run {
        return Ok(report(lock, &names, &presence, &plan, None));
    }
    announce(lock, &plan, &**progress);
    let mut outcome = copy(&plan.copy, &bundle, registry, request.copy, progress).await;
    let lacking = without_parts(&outcome);
    if !lacking.is_empty() && !request.copy.fail_fast {
        progress.report(Event::Warning(format!(
            "the registry said that it has all parts of {} and then missed some: they are sent again",
            lacking.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        )));
        let again = PushPlan::new(lock, &names, &believing_nothing(lock, &lacking));
        outcome = with_second(outcome, &lacking, copy(&again.copy, &bundle, registry, request.copy, progress).await);
    }
    Ok(report(lock, &names, &presence, &plan, Some(outcome)))
}

/// Asks the registry what it has: names first, then the blobs of what is not there under its name.
async fn look(lock: &Lock, names: &MirrorMap, registry: &Arc<Registry>, jobs: usize) -> Result<Presence, Failure> {
    let target = |image: &LockedImage| Some((image.clone(), names.target_of(&image.name)?.clone()));
    let targets: Vec<(LockedImage, ImageRef)> = lock.images.iter().filter_map(target).collect();
    let answers = side_by_side(
        jobs,
        targets,
        |(image, target)| is_there(registry.clone(), image, target),
        |answer: &Result<_, Failure>| answer.is_err(),
    )
    .await;
    let mut presence = Presence::default();
    for answer in answers {
        let (name, there) = answer?;
        if there {
            presence.images.insert(name);
        }
    }
    let questions = PushPlan::questions(lock, names, &presence.images);
    presence.blobs = find_blobs(questions, registry, jobs).await?;
    Ok(presence)
}

async fn is_there(registry: Arc<Registry>, image: LockedImage, target: ImageRef) -> Result<(ImageRef, bool), Failure> {
    let lookup = target.tag().map_or(Lookup::Digest(image.root.digest), |tag| Lookup::Tag(tag.clone()));
    let found = registry.document_digest(target.repository(), &lookup).await;
    let found = found.map_err(|failure| failure.within(format!("failed to ask for `{target}`")))?;
    Ok((image.name, found == Some(image.root.digest)))
}

async fn find_blobs(
    questions: Vec<(Repository, Descriptor)>,
    registry: &Arc<Registry>,
    jobs: usize,
) -> Result<BTreeMap<Digest, BTreeSet<Repository>>, Failure> {
    let answers = side_by_side(
        jobs,
        questions,
        |(repository, blob)| has_blob(registry.clone(), repository, blob),
        |answer: &Result<_, Failure>| answer.is_err(),
    )
    .await;
    let mut found: BTreeMap<Digest, BTreeSet<Repository>> = BTreeMap::new();
    for answer in answers {
        if let Some((digest, repository)) = answer? {
            found.entry(digest).or_default().insert(repository);
        }
    }
    Ok(found)
}

async fn has_blob(
    registry: Arc<Registry>,
    at: Repository,
    blob: Descriptor,
) -> Result<Option<(Digest, Repository)>, Failure> {
    let there = registry.has_blob(&at, &blob).await;
    let there = there.map_err(|failure| failure.within(format!("failed to ask {at} for {}", blob.digest.short())))?;
    Ok(there.then_some((blob.digest, at)))
}

/// Images whose manifest was refused for parts that were there when they were asked for: registries with several
/// stores, or with a cache before one, answer so.
fn without_parts(outcome: &CopyOutcome) -> BTreeSet<ImageRef> {
    let refused = |failed: &&CopyFailure| failed.failure.cause().is_some_and(RegistryError::lacks_parts);
    outcome.failures.iter().filter(refused).flat_map(|failed| failed.images.clone()).collect()
}

/// As if of these images nothing were there, and of all others nothing were wanted.
fn believing_nothing(lock: &Lock, lacking: &BTreeSet<ImageRef>) -> Presence {
    let others = lock.images.iter().map(|image| image.name.clone()).filter(|name| !lacking.contains(name));
    Presence { images: others.collect(), blobs: BTreeMap::new() }
}

fn with_second(first: CopyOutcome, lacking: &BTreeSet<ImageRef>, second: CopyOutcome) -> CopyOutcome {
    let others = first.failures.into_iter().filter(|failed| !failed.images.iter().all(|name| lacking.contains(name)));
    CopyOutcome {
        done: first.done.into_iter().chain(second.done).collect(),
        failures: others.chain(second.failures).collect(),
        moved_bytes: first.moved_bytes + second.moved_bytes,
        adopted_bytes: first.adopted_bytes + second.adopted_bytes,
    }
}

fn announce(lock: &Lock, plan: &PushPlan, progress: &dyn Progress) {
    let bytes = plan.copy.blobs.iter().map(|copy| copy.blob.size).sum();
    progress.report(Event::Planned { images: lock.images.len(), blobs: plan.copy.blobs.len(), bytes });
    progress.report(Event::Phase(Phase::Uploading));
}

fn report(
    lock: &Lock,
    names: &MirrorMap,
    presence: &Presence,
    plan: &PushPlan,
    outcome: Option<CopyOutcome>,
) -> PushReport {
    let done: BTreeSet<&ImageRef> = outcome.iter().flat_map(|outcome| &outcome.done).collect();
    let image = |image: &LockedImage| {
        let present = presence.images.contains(&image.name);
        Some(PushedImage {
            source: image.name.clone(),
            target: names.target_of(&image.name)?.clone(),
            digest: image.root.digest,
            present,
            done: present || done.contains(&image.name),
        })
    };
    PushReport {
        images: lock.images.iter().filter_map(image).collect(),
        sent_bytes: outcome.as_ref().map_or(plan.copy.bytes_to_move(), |outcome| outcome.moved_bytes),
        adopted_bytes: outcome.as_ref().map_or(plan.adopted_bytes, |outcome| outcome.adopted_bytes),
        present_bytes: plan.present_bytes,
        failures: outcome.map(|outcome| outcome.failures).unwrap_or_default(),
    }
}
