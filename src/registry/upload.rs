//! One blob's way into a registry: whole in one request, or in parts where that is refused or keeps breaking.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use url::Url;

use crate::content::{BlobContent, ImageSource};
use crate::failure::Failure;
use crate::progress::Arrival;
use crate::registry::auth::Access;
use crate::registry::body::{Rest, Sending};
use crate::registry::endpoint::{Endpoint, shown_host};
use crate::registry::error::RegistryError;
use crate::registry::exchange::{Answer, Call, Exchange};
use crate::registry::pull::blob_name;
use crate::registry::retry::{Budget, is_passing_status};

/// How often a lost session or a renewed login leads to a new beginning without a pause.
const NEW_BEGINNINGS: u32 = 3;
/// How often a registry that got all bytes is asked for the blob before they are sent again.
const LOOKS: u32 = 4;
/// Parts are not made smaller than this: each costs a round trip.
const LEAST_PART: u64 = 256 * 1024;
/// After so many breaks a blob goes in parts, however far it came in one request.
const BREAKS: u32 = 2;
/// How often an upload's address may change before anything is sent.
const MAX_MOVES: usize = 3;

pub(super) struct Upload<'a, S> {
    pub(super) exchange: &'a Exchange,
    pub(super) endpoint: Endpoint,
    pub(super) content: BlobContent<S>,
    pub(super) what: String,
    pub(super) budget: Budget,
    way: Way,
    /// The size of the next part: less after each break, slowly more while all goes well.
    part: u64,
    /// Requests that broke or stood still.
    breaks: u32,
    /// The most bytes that ever arrived in one go; more than that is progress.
    best: u64,
    beginnings: u32,
}

/// How the bytes travel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In one request, as all registries take them.
    Whole,
    /// In parts, because one request was too large for a proxy in between.
    PartsForSize,
    /// In parts, because a long request broke.
    PartsForBreaks,
    /// In one request after all: this registry takes no parts.
    WholeOnly,
}

/// Why an attempt ended.
pub(super) enum Stop {
    /// The server or the connection.
    Server(RegistryError),
    /// Our own source.
    Source(Failure),
    /// Something has changed for the better: a new login, a lost session that can be replaced.
    BeginAgain(RegistryError),
}

impl From<RegistryError> for Stop {
    fn from(error: RegistryError) -> Self {
        Self::Server(error)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Source(failure)
    }
}

impl<'a, S: ImageSource> Upload<'a, S> {
    pub(super) fn new(exchange: &'a Exchange, endpoint: Endpoint, content: BlobContent<S>) -> Self {
        let what = blob_name(&endpoint.repository, content.blob().digest);
        let budget = exchange.budget();
        let part = exchange.settings.limits.upload_part;
        Self { exchange, endpoint, content, what, budget, way: Way::Whole, part, breaks: 0, best: 0, beginnings: 0 }
    }

    /// Sends the blob until the registry has it.
    pub(super) async fn run(mut self) -> Result<Arrival, Failure> {
        loop {
            let ended = match self.way {
                _ if self.content.blob().size == 0 => self.nothing().await,
                Way::Whole | Way::WholeOnly => self.whole().await,
                Way::PartsForSize | Way::PartsForBreaks => self.parts().await,
            };
            let error = match ended {
                Ok(()) => return Ok(Arrival::Moved),
                Err(Stop::Source(failure)) => return Err(failure),
                Err(Stop::BeginAgain(error)) if self.beginnings >= NEW_BEGINNINGS => return Err(error.into()),
                Err(Stop::BeginAgain(_)) => {
                    self.beginnings += 1;
                    continue;
                }
                Err(Stop::Server(error)) => error,
            };
            if self.changes_way(&error) {
                continue;
            }
            self.exchange.pause(error, &mut self.budget).await?;
            // The answer may have been lost and not the blob.
            if self.arrived().await? {
                return Ok(Arrival::Moved);
            }
        }
    }

    /// Whether the registry has the blob after all. Where all was sent, it may still be busy with it, and waiting a
    /// little is cheaper than sending all again.
    async fn arrived(&self) -> Result<bool, RegistryError> {
        let looks = if self.best >= self.content.blob().size { LOOKS } else { 1 };
        for look in 0..looks {
            if look > 0 {
                tokio::time::sleep(self.exchange.settings.limits.backoff_start * look * 2).await;
            }
            if self.is_there().await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether to go on at once in another way.
    fn changes_way(&mut self, error: &RegistryError) -> bool {
        let broke = matches!(error, RegistryError::Broken { .. } | RegistryError::Stalled { .. });
        self.breaks += u32::from(broke);
        let in_parts = self.content.blob().size > LEAST_PART && (self.best > self.part || self.breaks >= BREAKS);
        let (from, to, at_once) = match (self.way, error) {
            (Way::Whole, RegistryError::Status { status: 413, .. } | RegistryError::Page { status: 413, .. }) => {
                (Way::Whole, Way::PartsForSize, true)
            }
            (Way::Whole, _) if broke && in_parts => (Way::Whole, Way::PartsForBreaks, false),
            (Way::PartsForBreaks, RegistryError::Status { status, .. }) if !is_passing_status(*status) => {
                (Way::PartsForBreaks, Way::WholeOnly, true)
            }
            (way, _) => (way, way, false),
        };
        self.way = to;
        from != to && at_once
    }

    /// The size of the next part; `least` is the registry's own limit.
    pub(super) fn next_part(&self, least: u64) -> u64 {
        self.part.max(least).max(1)
    }

    /// A part that broke is lost: the next ones are smaller, so that less is lost with each.
    pub(super) fn part_broke(&mut self) {
        self.part = (self.part / 2).max(LEAST_PART.min(self.part));
    }

    /// Parts grow again, slowly, since a line that broke often will break again.
    pub(super) fn part_arrived(&mut self) {
        self.part = (self.part + self.part / 32).min(self.exchange.settings.limits.upload_part);
    }

    /// Notes how far an attempt came.
    pub(super) fn came_to(&mut self, bytes: u64) {
        self.budget.gained(bytes.saturating_sub(self.best));
        self.best = self.best.max(bytes);
    }

    pub(super) async fn is_there(&self) -> Result<bool, RegistryError> {
        self.exchange.has_blob(&self.endpoint.repository, self.content.blob()).await
    }

    pub(super) fn call(&self, method: Method, url: Url) -> Call<'_> {
        let mut call = Call::new(method, url, &self.endpoint, Access::push(&self.endpoint.repository), &self.what);
        if matches!(call.method, Method::PUT | Method::PATCH) {
            call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        }
        call
    }

    /// Opens an upload: its address, and the smallest part that the registry takes.
    pub(super) async fn begin(&self) -> Result<(Url, u64), RegistryError> {
        let call = self.call(Method::POST, self.endpoint.uploads());
        let answer = self.exchange.send(&call, &[StatusCode::ACCEPTED]).await?;
        let least = answer.header("oci-chunk-min-length").and_then(|least| least.trim().parse().ok()).unwrap_or(0);
        Ok((self.exchange.upload_address(&answer, &self.what)?, least))
    }

    /// The address that completes an upload.
    pub(super) fn completing(&self, session: &Url) -> Url {
        let mut url = session.clone();
        url.query_pairs_mut().append_pair("digest", &self.content.blob().digest.to_string());
        url
    }

    /// A blob without bytes.
    async fn nothing(&self) -> Result<(), Stop> {
        self.content.open().await?.collect().await?;
        let (session, _) = self.begin().await?;
        let call = self.call(Method::PUT, self.completing(&session));
        self.exchange.attempt(&call, &[StatusCode::CREATED]).await?;
        Ok(())
    }

    /// The whole blob in one request.
    async fn whole(&mut self) -> Result<(), Stop> {
        let (session, _) = self.begin().await?;
        let sent = self.put_whole(self.completing(&session)).await;
        if sent.is_err() {
            self.exchange.abandon(&self.endpoint, session, &self.what).await;
        }
        sent
    }

    async fn put_whole(&mut self, mut url: Url) -> Result<(), Stop> {
        let size = self.content.blob().size;
        for _ in 0..MAX_MOVES {
            let content = Rest::of(self.content.open().await?, self.exchange.throttle.clone());
            let (body, sending) = content.body(size);
            let answer = self.watched(&self.call(Method::PUT, url), body, &sending).await;
            self.came_to(sending.sent());
            let answer = answer?;
            match answer.status() {
                StatusCode::CREATED => return Ok(()),
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
                    url = self.exchange.upload_address(&answer, &self.what)?;
                }
                _ => return Err(self.stop(answer).await),
            }
        }
        let (host, what) = (self.endpoint.host().to_string(), self.what.clone());
        Err(RegistryError::Answer { host, what, why: "it moves the upload from address to address".into() }.into())
    }

    /// What an answer to a streamed body means.
    pub(super) async fn stop(&self, answer: Answer) -> Stop {
        let status = answer.status();
        let error = answer.refused(&self.what).await;
        match status {
            // The login was renewed when the answer came; the session may be lost with the registry's memory of it.
            StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => Stop::BeginAgain(error),
            _ => Stop::Server(error),
        }
    }

    /// Sends a body and ends the attempt when nothing moves any more.
    pub(super) async fn watched(
        &self,
        call: &Call<'_>,
        body: reqwest::Body,
        sending: &Sending,
    ) -> Result<Answer, Stop> {
        let limits = &self.exchange.settings.limits;
        let look = Duration::from_millis(250).min(limits.stall);
        let mut answer = std::pin::pin!(self.exchange.stream(call, body));
        let ended = loop {
            if let Ok(ended) = tokio::time::timeout(look, &mut answer).await {
                break ended;
            }
            // The last bytes are followed by the server's own work: hashing, copying to its store.
            let patience = if sending.is_sent() { limits.headers } else { limits.stall };
            if sending.idle() > patience {
                let (host, what) = (shown_host(&call.url), self.what.clone());
                break Err(RegistryError::Stalled { host, what, seconds: patience.as_secs() });
            }
        };
        match sending.failure() {
            Some(failure) => Err(Stop::Source(failure)),
            None => ended.map_err(Stop::Server),
        }
    }
}
