//! `pull`: registry → bundle.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::bundle::{Layout, Sealed, check_output};
use crate::content::ImageSource;
use crate::failure::Failure;
use crate::images::{Base, Held, ImageSet, Lock, LockError};
use crate::plan::PullPlan;
use crate::progress::{Phase, Progress};
use crate::transfer::{CopyFailure, CopyOutcome};
use crate::workflow::write::{Proof, WriteRequest, Written, order_of, write};
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
    /// What the far side has: its layers are left out.
    pub since: Option<Held>,
    /// How the bundle is written.
    pub write: WriteRequest,
    /// Whether to stop once it is known what would be fetched.
    pub dry_run: bool,
}

/// What `pull` did.
#[derive(Debug)]
pub struct PullReport {
    /// The images, pinned.
    pub lock: Lock,
    /// What the bundle builds on, if it is a delta.
    pub base: Option<Base>,
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
    /// Whether another run wrote the bundle while this one waited for it.
    pub by_another_run: bool,
}

/// Pulls a release into a bundle. What fails for one image does not stop the others; without them there is no bundle
/// yet, and the same request continues.
pub async fn pull<S: ImageSource>(
    request: &PullRequest,
    source: &Arc<S>,
    progress: &Arc<dyn Progress>,
) -> Result<PullReport, Failure> {
    let copy = request.write.copy;
    check_output(&request.write.output, request.write.existing)?;
    let resolved = match &request.input {
        PullInput::Wanted(wanted) => resolve(wanted, source, copy.jobs, &**progress).await?,
        PullInput::Locked(lock) => resolve_locked(lock.clone(), source, copy.jobs, &**progress).await?,
    };
    let layout = lay_out(request, &resolved.lock)?;
    request.write.output.form.lengths(layout.total())?;
    let (base, total) = (layout.base().cloned(), layout.total());
    if request.dry_run {
        let plan = PullPlan::new(&resolved.lock, &order_of(&layout), &BTreeSet::new());
        let written = Written { plan, sealed: None, outcome: CopyOutcome::default(), by_another_run: false };
        return Ok(report(resolved.lock, base, total, written));
    }
    let written =
        write(&request.write, layout, &resolved.documents, source, (Phase::Downloading, Proof::OnTheWay), progress)
            .await?;
    Ok(report(resolved.lock, base, total, written))
}

/// A complete bundle, or a delta on what the far side has.
fn lay_out(request: &PullRequest, lock: &Lock) -> Result<Layout, LockError> {
    match &request.since {
        None => Layout::new(lock.clone()),
        Some(held) => Layout::delta(lock.clone(), held.base_for(lock)),
    }
}

fn report(lock: Lock, base: Option<Base>, bundle_bytes: u64, written: Written) -> PullReport {
    let Written { plan, sealed, outcome, by_another_run } = written;
    let nothing_ran = sealed.is_none() && outcome.failures.is_empty();
    PullReport {
        lock,
        base,
        bundle_bytes,
        reused_bytes: plan.reused_bytes,
        fetched_bytes: if nothing_ran { plan.copy.bytes_to_move() } else { outcome.moved_bytes },
        sealed,
        failures: outcome.failures,
        by_another_run,
    }
}
