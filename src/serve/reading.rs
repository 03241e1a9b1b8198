//! All bundles together: content comes from whichever has it sound, and what is said when none can give it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::bundle::Bundle;
use crate::content::blocking;
use crate::oci::Digest;
use crate::serve::answer::Answer;
use crate::serve::catalog::{Item, Stock};
use crate::serve::lock;
use crate::serve::referrers::{Referrer, Referrers};
use crate::serve::sending::{Part, sound};
use crate::serve::source::{Opened, Source, Trouble};

/// Blobs up to this size are checked before the first byte of the answer, so that damage gives a clean error.
const CHECKED_FIRST: u64 = 1024 * 1024;
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

/// Every bundle that is read from.
pub(crate) struct Sources {
    /// The offered bundles, then the bases.
    all: Arc<[Arc<Source>]>,
    offered: usize,
    /// Whether every blob is checked before its first byte is sent.
    verify: bool,
    referrers: Arc<Mutex<Referrers>>,
}

impl Sources {
    /// The first `offered` of these are offered, the others lend.
    pub(crate) fn new(all: Vec<Arc<Source>>, offered: usize, verify: bool) -> Self {
        Self { all: all.into(), offered, verify, referrers: Arc::default() }
    }

    /// The offered bundles, in their order.
    pub(crate) fn offered(&self) -> &[Arc<Source>] {
        &self.all[..self.offered]
    }

    /// Does something with each offered bundle that can be read now, in their order. Blocks.
    pub(crate) fn each_bundle<T>(&self, mut work: impl FnMut(&Bundle) -> T) -> Vec<Option<T>> {
        self.offered().iter().map(|source| source.opened().ok().map(|opened| work(opened.bundle()))).collect()
    }

    /// Whether each bundle can be given out now, in their order, the bases behind the offered ones.
    pub(crate) async fn readable(&self) -> Vec<bool> {
        let all = self.all.clone();
        blocking(move || all.iter().map(|source| source.now().is_ok()).collect()).await
    }

    /// An index or image manifest, whole.
    pub(crate) async fn document(&self, item: &Item) -> Result<Bytes, Trouble> {
        let digest = item.digest;
        self.first_of(item, move |opened| opened.document(&digest)).await
    }

    /// Whether a blob could be given out. Nothing of it is read: a HEAD costs the medium nothing.
    pub(crate) async fn holds(&self, item: &Item) -> Result<(), Trouble> {
        let (digest, size) = (item.digest, item.size);
        self.first_of(item, move |opened| opened.blob(&digest, 0, size).map(drop)).await
    }

    /// A part of a blob, ready to be sent.
    pub(crate) async fn blob(&self, item: &Item, start: u64, length: u64) -> Result<Part, Trouble> {
        self.permitted(item)?;
        let (digest, size) = (item.digest, item.size);
        let mut trouble = Trouble::Withheld;
        for &place in &item.sources {
            let source = self.all[place].clone();
            let found = blocking(move || {
                let opened = source.now()?;
                Ok((opened.blob(&digest, start, length)?, opened))
            });
            let checked = match found.await {
                Ok((pieces, opened)) => {
                    let verdict = opened.judge(&digest, size);
                    self.check_first(size, Part { opened, pieces, verdict, sent: 0 }).await
                }
                Err(found) => Err(found),
            };
            match checked {
                Ok(part) => return Ok(part),
                Err(found) => trouble = trouble.max(found),
            }
        }
        Err(trouble)
    }

    /// Waits for the verdict on a small blob, and on any if that was asked for.
    async fn check_first(&self, size: u64, mut part: Part) -> Result<Part, Trouble> {
        if !self.verify && size > CHECKED_FIRST {
            return Ok(part);
        }
        sound(&mut part.verdict).await?;
        Ok(part)
    }

    /// What this repository has about a subject. Manifests are read when they are first asked about, and again until
    /// they could be; what one says is then known for good. One that is damaged or withheld is not listed.
    pub(crate) async fn referrers(&self, stock: &Stock, subject: &Digest) -> Result<Vec<Referrer>, Trouble> {
        let unread: Vec<Item> = {
            let known = lock(&self.referrers);
            let unread = stock.manifests().filter(|item| !known.has(&item.digest) && self.permitted(item).is_ok());
            unread.cloned().collect()
        };
        if !unread.is_empty() {
            let (all, known) = (self.all.clone(), self.referrers.clone());
            blocking(move || unread.iter().try_for_each(|item| note(&all, &known, item))).await?;
        }
        Ok(lock(&self.referrers).about(stock, subject, |item| self.permitted(item).is_ok()))
    }

    /// Whether one of the bundles that an item belongs to may be given out. Who only lends it has no say.
    fn permitted(&self, item: &Item) -> Result<(), Trouble> {
        let permitted = item.owners.iter().any(|&place| self.all[place].is_allowed());
        if permitted { Ok(()) } else { Err(Trouble::Withheld) }
    }

    async fn first_of<T: Send + 'static>(
        &self,
        item: &Item,
        take: impl Fn(&Opened) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        self.permitted(item)?;
        let (all, item) = (self.all.clone(), item.clone());
        blocking(move || from_any(&all, &item, take)).await
    }
}

/// What the first bundle that can gives. Blocks.
fn from_any<T>(all: &[Arc<Source>], item: &Item, take: impl Fn(&Opened) -> Result<T, Trouble>) -> Result<T, Trouble> {
    let mut trouble = Trouble::Withheld;
    for &place in &item.sources {
        match all[place].now().and_then(|opened| take(&opened)) {
            Ok(taken) => return Ok(taken),
            Err(found) => trouble = trouble.max(found),
        }
    }
    Err(trouble)
}

/// Reads a manifest for what it refers to. Only one that may come back is trouble: a list without it could be taken for
/// the whole. Blocks.
fn note(all: &[Arc<Source>], known: &Mutex<Referrers>, item: &Item) -> Result<(), Trouble> {
    match from_any(all, item, |opened| opened.document(&item.digest)) {
        Ok(raw) => lock(known).note(item.digest, &raw),
        Err(Trouble::Damaged | Trouble::Withheld) => {}
        Err(Trouble::Away) => return Err(Trouble::Away),
    }
    Ok(())
}
