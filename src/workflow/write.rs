//! Fills a draft from a source and seals it: what `pull`, `split` and `join` have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::bundle::{
    BundleError, BundleOutput, Draft, EarlierDraft, ExistingOutput, Layout, Member, MemberPath, Sealed,
};
use crate::content::ImageSource;
use crate::failure::{ErrorClass, Failure};
use crate::images::Lock;
use crate::oci::Digest;
use crate::plan::PullPlan;
use crate::progress::{Event, Phase, Progress};
use crate::transfer::{CopyOutcome, CopySettings, copy};
use crate::workflow::finished::finished_meanwhile;

/// Between two looks whether another run has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How a bundle is written.
#[derive(Debug, Clone)]
pub struct WriteRequest {
    /// Where it is written, and as what.
    pub output: BundleOutput,
    /// What to do if its name is taken.
    pub existing: ExistingOutput,
    /// What to do with an earlier run's partial files.
    pub earlier: EarlierDraft,
    /// How to copy.
    pub copy: CopySettings,
    /// Threads that read what is on disk.
    pub threads: usize,
    /// How long to wait for another run that writes the same output.
    pub lock_wait: Duration,
}

/// When a new bundle is worth its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Every byte was compared on its way to the disk.
    OnTheWay,
    /// All of it was read back and is sound, too: what it replaces may be all that there is.
    ReadBack,
}

/// What was written.
pub(crate) struct Written {
    /// What was decided to be copied.
    pub(crate) plan: PullPlan,
    /// The bundle, once it is whole.
    pub(crate) sealed: Option<Sealed>,
    /// What the copy did; where it failed, the draft is kept.
    pub(crate) outcome: CopyOutcome,
    /// Whether another run wrote it while this one waited.
    pub(crate) by_another_run: bool,
}

enum Opened {
    Draft(Box<Draft>),
    /// By another run; there is nothing left to do.
    Finished(Sealed),
}

/// Writes the bundle that `layout` describes. `documents` holds the content of its documents; layers come from `source`.
pub(crate) async fn write<S: ImageSource>(
    request: &WriteRequest,
    layout: Layout,
    documents: &BTreeMap<Digest, Bytes>,
    source: &Arc<S>,
    (phase, proof): (Phase, Proof),
    progress: &Arc<dyn Progress>,
) -> Result<Written, Failure> {
    let order = order_of(&layout);
    let lock = layout.lock().clone();
    let mut draft = match open(request, &layout, documents, &**progress).await? {
        Opened::Draft(draft) => *draft,
        Opened::Finished(sealed) => {
            let plan = PullPlan::new(&lock, &order, &order.iter().copied().collect());
            return Ok(Written { plan, sealed: Some(sealed), outcome: CopyOutcome::default(), by_another_run: true });
        }
    };
    let present = prove(&mut draft, request.threads, &**progress)?;
    let plan = PullPlan::new(&lock, &order, &present);
    announce(&lock, &order, phase, &**progress);
    let draft = Arc::new(draft);
    let outcome = copy(&plan.copy, source, &draft, request.copy, progress).await;
    if !outcome.failures.is_empty() {
        return Ok(Written { plan, sealed: None, outcome, by_another_run: false });
    }
    if proof == Proof::ReadBack {
        tokio::task::block_in_place(|| draft.read_back(request.threads, &**progress))?;
    }
    let sealed = Some(seal(draft, request.existing, &**progress)?);
    Ok(Written { plan, sealed, outcome, by_another_run: false })
}

/// Opens the draft, as soon as no other run has it. The other run may have ended well by then.
async fn open(
    request: &WriteRequest,
    layout: &Layout,
    documents: &BTreeMap<Digest, Bytes>,
    progress: &dyn Progress,
) -> Result<Opened, Failure> {
    let until = Instant::now() + request.lock_wait;
    let mut waited = false;
    loop {
        let over = (request.existing, request.earlier);
        let open = || Draft::open(&request.output, layout.clone(), documents, over);
        match tokio::task::block_in_place(open) {
            Err(BundleError::InUse(path)) if Instant::now() < until => {
                if !waited {
                    let reason = "another octobundle is writing it".to_owned();
                    let seconds = request.lock_wait.as_secs();
                    progress.report(Event::Waiting { host: path.display().to_string(), reason, seconds });
                }
                waited = true;
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(BundleError::Exists(_)) if waited => {
                let sealed = tokio::task::block_in_place(|| finished_meanwhile(&request.output, layout))?;
                return Ok(Opened::Finished(sealed));
            }
            opened => return Ok(Opened::Draft(Box::new(opened?))),
        }
    }
}

/// The layers in the bundle's order.
pub(crate) fn order_of(layout: &Layout) -> Vec<Digest> {
    let digest = |member: &Member| match member.path {
        MemberPath::Blob(digest) => Some(digest),
        _ => None,
    };
    layout.layers().iter().filter_map(digest).collect()
}

fn prove(draft: &mut Draft, threads: usize, progress: &dyn Progress) -> Result<BTreeSet<Digest>, Failure> {
    // Reading is long work for threads of its own; the runtime's other tasks have nothing to do meanwhile.
    let proven = tokio::task::block_in_place(|| draft.prove(threads, progress))?;
    Ok(proven.into_iter().collect())
}

fn announce(lock: &Lock, order: &[Digest], phase: Phase, progress: &dyn Progress) {
    let layers = lock.layers();
    let bytes = order.iter().filter_map(|digest| layers.get(digest)).map(|layer| layer.size).sum();
    progress.report(Event::Planned { images: lock.images.len(), blobs: order.len(), bytes });
    progress.report(Event::Phase(phase));
}

fn seal(draft: Arc<Draft>, existing: ExistingOutput, progress: &dyn Progress) -> Result<Sealed, Failure> {
    let draft = Arc::try_unwrap(draft)
        .map_err(|_| Failure::new(ErrorClass::Other, "a copy still holds the draft after all copies ended"))?;
    Ok(tokio::task::block_in_place(|| draft.seal(existing, progress))?)
}
