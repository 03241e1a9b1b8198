//! A blob on its way. What breaks is asked for again from where it broke.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RANGE, TRANSFER_ENCODING};
use http::{HeaderValue, Method, StatusCode};
use tokio::time::Instant;

use crate::content::Unverified;
use crate::failure::Failure;
use crate::oci::Descriptor;
use crate::registry::auth::Access;
use crate::registry::coding::coding_of;
use crate::registry::endpoint::{Endpoint, shown_host};
use crate::registry::error::RegistryError;
use crate::registry::exchange::{Answer, Call, Exchange};
use crate::registry::pace::{Pace, REPLACED};
use crate::registry::pieces::Pieces;
use crate::registry::pull::blob_name;
use crate::registry::range::{Start, Wrong, judge};
use crate::registry::retry::{Budget, is_passing_status};

pub(super) struct Download {
    exchange: Arc<Exchange>,
    endpoint: Endpoint,
    blob: Descriptor,
    what: String,
    /// Bytes given out, counted from the blob's start.
    position: u64,
    /// Where to stop: the blob's end, or that of the part that is wanted.
    end: u64,
    budget: Budget,
    body: Option<Body>,
    /// Whether caches on the way are to be passed by.
    uncached: bool,
    /// False once the server answered a range wrongly: then the whole is asked for and the known part skipped.
    ranges: bool,
    pieces: Pieces,
    replaced: u32,
}

struct Body {
    answer: Answer,
    /// Bytes that come again before the wanted ones.
    skip: u64,
    /// Where in the blob it ends.
    end: u64,
    begun: Instant,
    /// Bytes of it that came.
    came: u64,
    pace: Pace,
}

impl Body {
    fn new(answer: Answer, skip: u64, end: u64) -> Self {
        Self { answer, skip, end, begun: Instant::now(), came: 0, pace: Pace::default() }
    }
}

impl Download {
    pub(super) fn new(
        exchange: Arc<Exchange>,
        endpoint: Endpoint,
        blob: Descriptor,
        from: u64,
        uncached: bool,
    ) -> Self {
        let what = blob_name(&endpoint.repository, blob.digest);
        let budget = exchange.budget();
        let (position, end, body) = (from, blob.size, None);
        let (ranges, pieces, replaced) = (true, Pieces::default(), 0);
        Self { exchange, endpoint, blob, what, position, end, budget, body, uncached, ranges, pieces, replaced }
    }

    /// The same without what lies behind `end`.
    pub(super) fn until(mut self, end: u64) -> Self {
        self.end = end.min(self.blob.size);
        self
    }

    /// The bytes behind the position.
    pub(super) fn into_stream(self) -> Unverified {
        Unverified::new(futures_util::stream::try_unfold(self, |mut download| async move {
            let chunk = download.next().await.map_err(Failure::from)?;
            Ok(chunk.map(|chunk| (chunk, download)))
        }))
    }

    /// Gets an answer whose body begins at the position, or before it.
    pub(super) async fn open(&mut self) -> Result<(), RegistryError> {
        loop {
            match self.ask().await {
                Ok(body) => {
                    self.body = Some(body);
                    return Ok(());
                }
                Err(error) => self.exchange.pause(error, &mut self.budget).await?,
            }
        }
    }

    async fn ask(&mut self) -> Result<Body, RegistryError> {
        let asked = self.wanted();
        let answer = match self.request(&asked).await {
            Ok(answer) => answer,
            Err(error) if self.asks_otherwise(&asked, &error) => return Box::pin(self.ask()).await,
            Err(error) => return Err(error),
        };
        let judged = if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            Err(Wrong::Range("it has nothing at the place where the last answer ended".into()))
        } else {
            judge(answer.status(), answer.response.headers(), asked.start, self.blob.size)
        };
        let (host, what) = (shown_host(&answer.url), self.what.clone());
        let end = if answer.status() == StatusCode::PARTIAL_CONTENT { asked.end } else { self.blob.size };
        match judged {
            Ok(Start::AtPosition) => Ok(Body::new(answer, self.position - asked.start, end)),
            Ok(Start::AtBeginning) => Ok(Body::new(answer, self.position, end)),
            Err(Wrong::Range(_)) if self.is_part(&asked) => {
                drop(answer);
                self.ranges = false;
                Box::pin(self.ask()).await
            }
            Err(Wrong::Range(why)) => Err(RegistryError::Answer { host, what, why }),
            Err(Wrong::Length(_)) if is_html(&answer) => Err(answer.refused(&self.what).await),
            Err(Wrong::Length(got)) => {
                let other_length = || RegistryError::OtherLength { host, what, expected: self.blob.size, got };
                Err(compressed(&answer, &self.what).unwrap_or_else(other_length))
            }
        }
    }

    /// The bytes to ask for next.
    fn wanted(&self) -> Range<u64> {
        if !self.ranges {
            return 0..self.blob.size;
        }
        let most = self.pieces.most().unwrap_or(self.blob.size);
        self.position..self.end.min(self.position.saturating_add(most))
    }

    fn is_part(&self, asked: &Range<u64>) -> bool {
        *asked != (0..self.blob.size)
    }

    /// Whether to ask at once in another way: past a proxy's cache, which may remember that something was not there, or
    /// without a range, which some proxies refuse.
    fn asks_otherwise(&mut self, asked: &Range<u64>, error: &RegistryError) -> bool {
        let is_part = self.is_part(asked);
        let url = self.endpoint.blob(self.blob.digest);
        match error.inner() {
            RegistryError::NotFound { .. } if !self.uncached && self.exchange.transport.is_proxied(&url) => {
                self.uncached = true;
                true
            }
            RegistryError::Denied { .. } | RegistryError::Page { status: 403, .. } if is_part => {
                self.ranges = false;
                true
            }
            RegistryError::Status { status, .. } if is_part && !is_passing_status(*status) => {
                self.ranges = false;
                true
            }
            _ => false,
        }
    }

    async fn request(&self, asked: &Range<u64>) -> Result<Answer, RegistryError> {
        let access = Access::pull(&self.endpoint.repository);
        let url = self.endpoint.blob(self.blob.digest);
        let mut call = Call::new(Method::GET, url, &self.endpoint, access, &self.what);
        let is_part = self.is_part(asked);
        if is_part {
            // A closed range: some caches answer an open one from their start.
            let range = format!("bytes={}-{}", asked.start, asked.end - 1);
            call.headers.insert(RANGE, HeaderValue::from_str(&range).expect("digits are plain text"));
        }
        if self.pieces.most().is_some() {
            // Who counts the bytes of a tunnel begins anew with a new one.
            call.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.uncached {
            call.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        let wanted = [StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::RANGE_NOT_SATISFIABLE];
        self.exchange.attempt(&call, if is_part { &wanted } else { &wanted[..2] }).await
    }

    /// The next bytes. One more than promised is passed on, so that whoever checks can see that there are more.
    async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            if self.body.is_none() {
                if self.position >= self.end {
                    return Ok(None);
                }
                self.open().await?;
            }
            match self.read().await {
                Ok(Some(chunk)) => {
                    self.exchange.throttle.pass(chunk.len()).await;
                    return Ok(Some(chunk));
                }
                // A piece of it is complete.
                Ok(None) if self.position < self.end => self.body = None,
                Ok(None) => return Ok(None),
                Err(trouble) => {
                    if let (Some(body), RegistryError::Broken { .. }) = (self.body.take(), trouble.inner()) {
                        self.pieces.cut(body.came, body.begun.elapsed());
                    }
                    // All that was promised is here; how the connection ends does not matter.
                    if self.position >= self.end {
                        return Ok(None);
                    }
                    self.exchange.pause(trouble, &mut self.budget).await?;
                }
            }
        }
    }

    /// Reads from the connection; nothing means that what was asked for is complete.
    async fn read(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let limits = &self.exchange.settings.limits;
        let body = self.body.as_mut().expect("it was opened");
        loop {
            let begun = Instant::now();
            let read = tokio::time::timeout(limits.stall, body.answer.response.chunk()).await;
            let waited = begun.elapsed();
            let host = || shown_host(&body.answer.url);
            let stalled = |time: Duration| RegistryError::Stalled {
                host: host(),
                what: self.what.clone(),
                seconds: time.as_secs(),
            };
            let Ok(read) = read else { return Err(stalled(limits.stall)) };
            let chunk = read.map_err(|error| self.exchange.transport.explain(error, &body.answer.url, &self.what))?;
            let Some(mut chunk) = chunk else {
                return if self.position >= body.end {
                    Ok(None)
                } else if let Some(error) = compressed(&body.answer, &self.what).filter(|_| is_chunked(&body.answer)) {
                    // It did not break off: the body has its end, and is shorter than the blob.
                    Err(error)
                } else {
                    let source = "the body ended early".into();
                    Err(RegistryError::Broken { host: host(), what: self.what.clone(), source })
                };
            };
            body.came += chunk.len() as u64;
            if body.pace.is_too_slow(waited, chunk.len() as u64, limits) && self.replaced < REPLACED {
                self.replaced += 1;
                return Err(stalled(limits.slow_window));
            }
            let skipped = usize::try_from(body.skip).map_or(chunk.len(), |skip| skip.min(chunk.len()));
            body.skip -= skipped as u64;
            let _ = chunk.split_to(skipped);
            let room = self.blob.size.saturating_sub(self.position);
            if room > 0
                && chunk.len() as u64 > room
                && let Some(error) = compressed(&body.answer, &self.what)
            {
                return Err(error);
            }
            if !chunk.is_empty() {
                return Ok(Some(self.take(chunk)));
            }
        }
    }

    fn take(&mut self, mut chunk: Bytes) -> Bytes {
        // Behind a part the blob goes on, which says nothing.
        let beyond = u64::from(self.end == self.blob.size);
        let room = (self.end + beyond).saturating_sub(self.position);
        chunk.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        self.position += chunk.len() as u64;
        self.budget.gained(chunk.len() as u64);
        if self.position >= self.end + beyond {
            self.body = None;
        }
        chunk
    }
}

/// The reason why a body has another length than the blob, where something on the way says that it compressed it. Some
/// stores say so of blobs that were packed before they came there; those have the right length.
fn compressed(answer: &Answer, what: &str) -> Option<RegistryError> {
    let coding = coding_of(answer.response.headers())?;
    Some(RegistryError::Compressed { host: shown_host(&answer.url), what: what.to_owned(), coding })
}

/// Whether the body says itself where it ends.
fn is_chunked(answer: &Answer) -> bool {
    answer.header(TRANSFER_ENCODING.as_str()).is_some()
}

fn is_html(answer: &Answer) -> bool {
    answer.header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"))
}
