//! Reading from whichever bundle has it, and what is said when none can.

use std::sync::Arc;

use crate::serve::answer::Answer;
use crate::serve::catalog::Item;
use crate::serve::referrers::Referrers;
use crate::serve::source::{Opened, Source, Trouble};

/// What a client is told to wait when a bundle is away or logins are many.
pub(crate) const RETRY_AFTER: &str = "5";

/// The answer where a bundle gives nothing.
pub(crate) fn refused_by(trouble: Trouble) -> Answer {
    match trouble {
        Trouble::Away => Answer::refusal(503, "UNAVAILABLE", "the bundle cannot be read now: its medium may be gone")
            .header("Retry-After", RETRY_AFTER),
        Trouble::Withheld => Answer::refusal(403, "DENIED", "this bundle is not signed by those who are trusted here"),
        Trouble::Damaged => {
            Answer::refusal(500, "UNKNOWN", "this content is damaged in the bundle; `octobundle verify` tells where")
        }
    }
}

/// What the first bundle that can gives.
pub(crate) fn from_any<T>(
    sources: &[Arc<Source>],
    item: &Item,
    mut take: impl FnMut(&Arc<Opened>) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let mut trouble = Trouble::Away;
    for &place in &item.sources {
        match sources[place].now().and_then(|opened| take(&opened)) {
            Ok(taken) => return Ok(taken),
            Err(found) => trouble = found,
        }
    }
    Err(trouble)
}

/// What refers to what, from every manifest that can be read.
pub(crate) fn read_referrers(sources: &[Arc<Source>], all: &[Item]) -> Result<Referrers, Trouble> {
    let mut referrers = Referrers::default();
    for item in all {
        match from_any(sources, item, |opened| opened.document(&item.digest)) {
            Ok(raw) => referrers.note(item, &raw),
            // A damaged manifest is told to whoever asks for it.
            Err(Trouble::Damaged) => {}
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(referrers)
}

/// Runs what waits for a disk where waiting is allowed.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The program ends; nobody waits for the answer any more.
            Err(_) => std::future::pending().await,
        },
    }
}
