//! `pull`: registry → bundle.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::bundle::{
    BundleError, Draft, EarlierDraft, ExistingOutput, Layout, Member, MemberPath, Sealed, check_output,
};
use crate::content::ImageSource;
use crate::failure::{ErrorClass, Failure};
use crate::images::{ImageSet, Lock, ResolvedSet};
use crate::oci::Digest;
use crate::plan::PullPlan;
use crate::progress::{Event, Phase, Progress};
use crate::transfer::{CopyFailure, CopyOutcome, CopySettings, copy};
use crate::workflow::{resolve, resolve_locked};

/// What to pull.
#[derive(Debug, Clone)]
pub enum PullInput {
    /// Images by tag, to be pinned now.
    Wanted(ImageSet),
    /// Images pinned earlier.
    Locked(Lock),
}

/// What `pull` was asked for.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// What to pull.
    pub input: PullInput,
    /// The bundle's name.
    pub output: PathBuf,
    /// What to do if it is taken.
    pub existing: ExistingOutput,
    /// What to do with an earlier run's partial file.
    pub earlier: EarlierDraft,
    /// How to copy.
    pub copy: CopySettings,
    /// Threads that read what is on disk.
    pub threads: usize,
    /// Whether to stop once it is known what would be fetched.
    pub dry_run: bool,
}

/// What `pull` did.
#[derive(Debug)]
pub struct PullReport {
    /// The images, pinned.
    pub lock: Lock,
    /// The bundle's length in bytes.
    pub bundle_bytes: u64,
    /// Bytes of layers that were on disk already.
    pub reused_bytes: u64,
    /// Bytes of layers that were fetched, or would be in a dry run.
    pub fetched_bytes: u64,
    /// The bundle, once it is whole.
    pub sealed: Option<Sealed>,
    /// What could not be fetched; the draft is kept.
    pub failures: Vec<CopyFailure>,
}

/// Pulls a release into one file. What fails for one image does not stop the others; without them there is no bundle
/// yet, and the same request continues.
pub async fn pull<S: ImageSource>(
    request: &PullRequest,
    source: &Arc<S>,
    progress: &Arc<dyn Progress>,
) -> Result<PullReport, Failure> {
    check_output(&request.output, request.existing)?;
    let resolved = match &request.input {
        PullInput::Wanted(wanted) => resolve(wanted, source, request.copy.jobs, &**progress).await?,
        PullInput::Locked(lock) => resolve_locked(lock.clone(), source, request.copy.jobs, &**progress).await?,
    };
    let layout = Layout::new(resolved.lock.clone())?;
    let order: Vec<Digest> = layout.layers().iter().filter_map(layer_digest).collect();
    if request.dry_run {
        let plan = PullPlan::new(&resolved.lock, &order, &BTreeSet::new());
        return Ok(report(resolved.lock, layout.total(), &plan, None, CopyOutcome::default()));
    }
    let total = layout.total();
    let mut draft = open_draft(request, layout, &resolved)?;
    let present = prove(&mut draft, request.threads, &**progress)?;
    let plan = PullPlan::new(&resolved.lock, &order, &present);
    announce(&resolved.lock, &order, &**progress);
    let draft = Arc::new(draft);
    let outcome = copy(&plan.copy, source, &draft, request.copy, progress).await;
    if !outcome.failures.is_empty() {
        return Ok(report(resolved.lock, total, &plan, None, outcome));
    }
    let sealed = seal(draft, request.existing, &**progress)?;
    Ok(report(resolved.lock, total, &plan, Some(sealed), outcome))
}

fn layer_digest(member: &Member) -> Option<Digest> {
    match member.path {
        MemberPath::Blob(digest) => Some(digest),
        _ => None,
    }
}

fn open_draft(request: &PullRequest, layout: Layout, resolved: &ResolvedSet) -> Result<Draft, BundleError> {
    tokio::task::block_in_place(|| Draft::open(&request.output, layout, &resolved.documents, request.earlier))
}

fn prove(draft: &mut Draft, threads: usize, progress: &dyn Progress) -> Result<BTreeSet<Digest>, Failure> {
    // Reading is long work for threads of its own; the runtime's other tasks have nothing to do meanwhile.
    let proven = tokio::task::block_in_place(|| draft.prove(threads, progress))?;
    Ok(proven.into_iter().collect())
}

fn announce(lock: &Lock, order: &[Digest], progress: &dyn Progress) {
    let layers = lock.layers();
    let bytes = order.iter().filter_map(|digest| layers.get(digest)).map(|layer| layer.size).sum();
    progress.report(Event::Planned { images: lock.images.len(), blobs: order.len(), bytes });
    progress.report(Event::Phase(Phase::Downloading));
}

fn seal(draft: Arc<Draft>, existing: ExistingOutput, progress: &dyn Progress) -> Result<Sealed, Failure> {
    let draft = Arc::try_unwrap(draft)
        .map_err(|_| Failure::new(ErrorClass::Other, "a copy still holds the draft after all copies ended"))?;
    Ok(tokio::task::block_in_place(|| draft.seal(existing, progress))?)
}

fn report(lock: Lock, bundle_bytes: u64, plan: &PullPlan, sealed: Option<Sealed>, outcome: CopyOutcome) -> PullReport {
    let nothing_ran = sealed.is_none() && outcome.failures.is_empty();
    PullReport {
        lock,
        bundle_bytes,
        reused_bytes: plan.reused_bytes,
        fetched_bytes: if nothing_ran { plan.copy.bytes_to_move() } else { outcome.moved_bytes },
        sealed,
        failures: outcome.failures,
    }
}
