//! A blob on its way. What breaks is asked for again from where it broke.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RANGE};
use http::{HeaderValue, Method, StatusCode};
use tokio::time::Instant;

use crate::content::Unverified;
use crate::failure::Failure;
use crate::oci::Descriptor;
use crate::registry::auth::Access;
use crate::registry::endpoint::{Endpoint, shown_host};
use crate::registry::error::RegistryError;
use crate::registry::exchange::{Answer, Call, Exchange};
use crate::registry::pace::{Pace, REPLACED};
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
    budget: Budget,
    body: Option<Body>,
    /// Whether caches on the way are to be passed by.
    uncached: bool,
    /// False once the server answered a range wrongly: then the whole is asked for and the known part skipped.
    ranges: bool,
    replaced: u32,
}

struct Body {
    answer: Answer,
    /// Bytes that come again before the wanted ones.
    skip: u64,
    pace: Pace,
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
        let (position, body) = (from, None);
        Self { exchange, endpoint, blob, what, position, budget, body, uncached, ranges: true, replaced: 0 }
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
        let from = if self.ranges { self.position } else { 0 };
        let answer = match self.request(from).await {
            Ok(answer) => answer,
            Err(error) if self.asks_otherwise(from, &error) => return Box::pin(self.ask()).await,
            Err(error) => return Err(error),
        };
        let judged = if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            Err(Wrong::Range("it has nothing at the place where the last answer ended".into()))
        } else {
            judge(answer.status(), answer.response.headers(), from, self.blob.size)
        };
        let (host, what) = (shown_host(&answer.url), self.what.clone());
        match judged {
            Ok(Start::AtPosition) => Ok(Body { answer, skip: self.position - from, pace: Pace::default() }),
            Ok(Start::AtBeginning) => Ok(Body { answer, skip: self.position, pace: Pace::default() }),
            Err(Wrong::Range(_)) if from > 0 => {
                drop(answer);
                self.ranges = false;
                Box::pin(self.ask()).await
            }
            Err(Wrong::Range(why)) => Err(RegistryError::Answer { host, what, why }),
            Err(Wrong::Length(_)) if is_html(&answer) => Err(answer.refused(&self.what).await),
            Err(Wrong::Length(got)) => Err(RegistryError::OtherLength { host, what, expected: self.blob.size, got }),
        }
    }

    /// Whether to ask at once in another way: past a proxy's cache, which may remember that something was not there, or
    /// without a range, which some proxies refuse.
    fn asks_otherwise(&mut self, from: u64, error: &RegistryError) -> bool {
        let url = self.endpoint.blob(self.blob.digest);
        match error.inner() {
            RegistryError::NotFound { .. } if !self.uncached && self.exchange.transport.is_proxied(&url) => {
                self.uncached = true;
                true
            }
            RegistryError::Denied { .. } | RegistryError::Page { status: 403, .. } if from > 0 => {
                self.ranges = false;
                true
            }
            RegistryError::Status { status, .. } if from > 0 && !is_passing_status(*status) => {
                self.ranges = false;
                true
            }
            _ => false,
        }
    }

    async fn request(&self, from: u64) -> Result<Answer, RegistryError> {
        let access = Access::pull(&self.endpoint.repository);
        let url = self.endpoint.blob(self.blob.digest);
        let mut call = Call::new(Method::GET, url, &self.endpoint, access, &self.what);
        if from > 0 {
            // A closed range: some caches answer an open one from their start.
            let range = format!("bytes={from}-{}", self.blob.size - 1);
            call.headers.insert(RANGE, HeaderValue::from_str(&range).expect("digits are plain text"));
        }
        if self.uncached {
            call.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        let wanted = [StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::RANGE_NOT_SATISFIABLE];
        self.exchange.attempt(&call, if from > 0 { &wanted } else { &wanted[..2] }).await
    }

    /// The next bytes. One more than promised is passed on, so that whoever checks can see that there are more.
    async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            if self.body.is_none() {
                if self.position >= self.blob.size {
                    return Ok(None);
                }
                self.open().await?;
            }
            match self.read().await {
                Ok(Some(chunk)) => {
                    self.exchange.throttle.pass(chunk.len()).await;
                    return Ok(Some(chunk));
                }
                Ok(None) => return Ok(None),
                Err(trouble) => {
                    self.body = None;
                    // All that was promised is here; how the connection ends does not matter.
                    if self.position >= self.blob.size {
                        return Ok(None);
                    }
                    self.exchange.pause(trouble, &mut self.budget).await?;
                }
            }
        }
    }

    /// Reads from the connection; nothing means that the blob is complete.
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
                return if self.position >= self.blob.size {
                    Ok(None)
                } else {
                    let source = "the body ended early".into();
                    Err(RegistryError::Broken { host: host(), what: self.what.clone(), source })
                };
            };
            if body.pace.is_too_slow(waited, chunk.len() as u64, limits) && self.replaced < REPLACED {
                self.replaced += 1;
                return Err(stalled(limits.slow_window));
            }
            let skipped = usize::try_from(body.skip).map_or(chunk.len(), |skip| skip.min(chunk.len()));
            body.skip -= skipped as u64;
            let _ = chunk.split_to(skipped);
            if !chunk.is_empty() {
                return Ok(Some(self.take(chunk)));
            }
        }
    }

    fn take(&mut self, mut chunk: Bytes) -> Bytes {
        let room = (self.blob.size + 1).saturating_sub(self.position);
        chunk.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        self.position += chunk.len() as u64;
        self.budget.gained(chunk.len() as u64);
        if self.position > self.blob.size {
            self.body = None;
        }
        chunk
    }
}

fn is_html(answer: &Answer) -> bool {
    answer.header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"))
}
