//! `push`: bundle → registry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bundle::{BundlePlace, Stack};
use crate::failure::{ErrorClass, Failure};
use crate::images::{Base, Lock, LockedImage};
use crate::oci::{Digest, ImageRef};
use crate::plan::{Lacking, MirrorMap, Presence, PushPlan, Target};
use crate::progress::{Event, Phase, Progress};
use crate::registry::{Registry, RegistryError};
use crate::transfer::{CopyFailure, CopyOutcome, CopySettings, copy, side_by_side};
use crate::workflow::left_out::{self, Supply};
use crate::workflow::standing::{has_blob, stands_for};
use crate::workflow::trust::{self, TrustSettings, Use};

/// What `push` was asked for.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// The bundle.
    pub bundle: BundlePlace,
    /// Older bundles that have what a delta leaves out.
    pub bases: Vec<BundlePlace>,
    /// Where to.
    pub target: Target,
    /// How to copy.
    pub copy: CopySettings,
    /// Whether to stop once it is known what would be sent.
    pub dry_run: bool,
    /// Who must have signed the bundle.
    pub trust: TrustSettings,
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
    /// What a delta leaves out and neither its bases nor the registry have; then nothing was sent.
    pub lacking: Vec<Lacking>,
    /// What the bundle builds on, if it is a delta.
    pub base: Option<Base>,
    /// What could not be sent.
    pub failures: Vec<CopyFailure>,
}

/// Pushes a bundle's images under the names that the mirror map gives them.
pub async fn push(
    request: &PushRequest,
    registry: &Arc<Registry>,
    progress: &Arc<dyn Progress>,
) -> Result<PushReport, Failure> {
    let stack = Arc::new(tokio::task::block_in_place(|| Stack::open(&request.bundle, &request.bases))?);
    let wanted = if request.dry_run { Use::Look } else { Use::Accept };
    tokio::task::block_in_place(|| trust::check(stack.top(), &request.trust, wanted, &**progress))?;
    let lock = stack.lock();
    let names = MirrorMap::of_lock(lock, &request.target)?;
    let Looked { mut presence, failures } = look(lock, &names, registry, request.copy).await?;
    let askable = without(lock, &failures);
    let asking = (registry, request.copy.jobs);
    let proof = left_out::prove(&stack, &askable, &names, &request.target, &mut presence, asking).await?;
    let plan = PushPlan::new(&askable, &names, &presence);
    if request.dry_run || !proof.lacking.is_empty() {
        let report = report(&stack, &names, &presence, &plan, None);
        return Ok(with_failures(failures, without_base(report, proof.lacking)));
    }
    let source = Arc::new(Supply::new(&stack, registry, &proof));
    announce(&askable, &plan, &**progress);
    let mut outcome = copy(&plan.copy, &source, registry, request.copy, progress).await;
    let lacking = without_parts(&outcome);
    if !lacking.is_empty() && !request.copy.fail_fast {
        progress.report(Event::Warning(format!(
            "the registry said that it has all parts of {} and then missed some: they are sent again",
            lacking.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        )));
        let again = PushPlan::new(&askable, &names, &believing_nothing(&askable, &lacking));
        outcome = with_second(outcome, &lacking, copy(&again.copy, &source, registry, request.copy, progress).await);
    }
    Ok(with_failures(failures, report(&stack, &names, &presence, &plan, Some(outcome))))
}

/// What the registry has, and the images about which it could not be asked.
struct Looked {
    presence: Presence,
    failures: Vec<CopyFailure>,
}

/// Asks the registry what it has: names first, then the blobs of what is not there under its name. An image that cannot
/// be asked for is left out; where that would be so for all of them, the first failure ends it.
async fn look(
    lock: &Lock,
    names: &MirrorMap,
    registry: &Arc<Registry>,
    settings: CopySettings,
) -> Result<Looked, Failure> {
    let target = |image: &LockedImage| Some((image.clone(), names.target_of(&image.name)?.clone()));
    let targets: Vec<(LockedImage, ImageRef)> = lock.images.iter().filter_map(target).collect();
    let mut looked = Looked { presence: Presence::default(), failures: Vec::new() };
    let answered = AtomicBool::new(false);
    let ask = |(image, target)| is_there(registry.clone(), image, target);
    for (name, there) in answers(settings, targets, ask, &answered).await? {
        match there {
            Ok(true) => drop(looked.presence.images.insert(name)),
            Ok(false) => {}
            Err(failure) => looked.failures.push(CopyFailure { images: vec![name], failure }),
        }
    }
    let askable = without(lock, &looked.failures);
    let questions = PushPlan::questions(&askable, names, &looked.presence.images);
    let ask = |(repository, blob)| has_blob(registry.clone(), repository, blob);
    let mut told = BTreeSet::new();
    for ((repository, digest), there) in answers(settings, questions, ask, &answered).await? {
        match there {
            Ok(true) => drop(looked.presence.blobs.entry(digest).or_default().insert(repository)),
            // What is wrong with a repository is wrong for each of its blobs.
            Err(failure) if told.insert(repository.clone()) => {
                let hurt = |image: &&LockedImage| {
                    !looked.presence.images.contains(&image.name)
                        && names.target_of(&image.name).is_some_and(|target| *target.repository() == repository)
                };
                let images = askable.images.iter().filter(hurt).map(|image| image.name.clone()).collect();
                looked.failures.push(CopyFailure { images, failure });
            }
            Ok(false) | Err(_) => {}
        }
    }
    Ok(looked)
}

/// Asks many questions side by side. As long as none was `answered`, a failure of the way to the registry is one for all.
async fn answers<Q, S, T, F>(
    settings: CopySettings,
    questions: Vec<Q>,
    ask: impl Fn(Q) -> F,
    answered: &AtomicBool,
) -> Result<Vec<(S, Result<T, Failure>)>, Failure>
where
    F: Future<Output = (S, Result<T, Failure>)> + Send + 'static,
    S: Send + 'static,
    T: Send + 'static,
{
    let ends_all = |failure: &Failure| {
        let of_the_way = matches!(failure.class(), ErrorClass::Network | ErrorClass::RateLimited);
        settings.fail_fast || (of_the_way && !answered.load(Ordering::Relaxed))
    };
    let mut answers = side_by_side(settings.jobs, questions, ask, |(_, answer)| {
        answered.fetch_or(answer.is_ok(), Ordering::Relaxed);
        answer.as_ref().is_err_and(ends_all)
    })
    .await;
    match answers.iter().position(|(_, answer)| answer.as_ref().is_err_and(ends_all)) {
        Some(first) => Err(answers.swap_remove(first).1.err().expect("it was just seen to be one")),
        None => Ok(answers),
    }
}

async fn is_there(registry: Arc<Registry>, image: LockedImage, target: ImageRef) -> (ImageRef, Result<bool, Failure>) {
    let wanted = image.root.digest;
    let (name, found) = stands_for(registry, image, target).await;
    (name, found.map(|found| found == Some(wanted)))
}

/// The lock without the images that failed.
fn without(lock: &Lock, failures: &[CopyFailure]) -> Lock {
    let failed = |image: &LockedImage| failures.iter().any(|failed| failed.images.contains(&image.name));
    Lock { images: lock.images.iter().filter(|image| !failed(image)).cloned().collect(), ..lock.clone() }
}

/// A report that tells of earlier failures too.
fn with_failures(mut failures: Vec<CopyFailure>, mut report: PushReport) -> PushReport {
    failures.append(&mut report.failures);
    PushReport { failures, ..report }
}

/// A report that tells what a delta lacks: then nothing is sent, whatever could be.
fn without_base(report: PushReport, lacking: Vec<Lacking>) -> PushReport {
    if lacking.is_empty() { report } else { PushReport { lacking, sent_bytes: 0, adopted_bytes: 0, ..report } }
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
    stack: &Stack,
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
        images: stack.lock().images.iter().filter_map(image).collect(),
        sent_bytes: outcome.as_ref().map_or(plan.copy.bytes_to_move(), |outcome| outcome.moved_bytes),
        adopted_bytes: outcome.as_ref().map_or(plan.adopted_bytes, |outcome| outcome.adopted_bytes),
        present_bytes: plan.present_bytes,
        lacking: Vec::new(),
        base: stack.top().layout().base().cloned(),
        failures: outcome.map(|outcome| outcome.failures).unwrap_or_default(),
    }
}
