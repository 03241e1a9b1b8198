//! One blob's way into a registry: whole in one request, or in parts where that is refused or keeps breaking.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use url::Url;

use crate::content::{BlobContent, ImageSource};
use crate::failure::Failure;
use crate::oci::Hasher;
use crate::progress::Arrival;
use crate::registry::auth::Access;
use crate::registry::body::{Rest, Sending};
use crate::registry::endpoint::{Endpoint, shown_host};
use crate::registry::error::RegistryError;
use crate::registry::exchange::{Answer, Call, Exchange};
use crate::registry::pull::blob_name;
use crate::registry::quirks::takes_parts;
use crate::registry::retry::{Budget, is_passing_status};

/// How often a renewed login leads to a new beginning.
const RENEWALS: u32 = 3;
/// How many uploads may be lost at a host that has taken none yet: it may lead nowhere.
const LOSSES: u32 = 3;
/// How often a registry that got all bytes is asked for the blob before they are sent again.
const LOOKS: u32 = 4;
/// The slowest line that is no fault, 64 kbit/s, in bytes per second: so long the system may hold what we handed to it.
const THIN_LINE: u64 = 8_000;
/// How often an upload's address may change before anything is sent.
const MAX_MOVES: usize = 3;

pub(super) struct Upload<'a, S> {
    pub(super) exchange: &'a Exchange,
    pub(super) endpoint: Endpoint,
    pub(super) content: BlobContent<S>,
    pub(super) what: String,
    pub(super) budget: Budget,
    /// The most bytes that ever arrived in one go; more than that is progress.
    best: u64,
    renewals: u32,
    losses: u32,
    /// An upload whose only request broke: some registries keep what came of it.
    left: Option<Standing>,
}

/// Where an upload stands.
pub(super) struct Standing {
    pub(super) session: Url,
    /// The smallest part that the registry takes.
    pub(super) least: u64,
    /// Bytes that the registry has.
    pub(super) position: u64,
    /// Where our own content can be opened again to go on from there.
    pub(super) mark: Hasher,
}

/// Why an attempt ended.
pub(super) enum Stop {
    /// The server or the connection.
    Server(RegistryError),
    /// Our own source.
    Source(Failure),
    /// The login was refused, and has been renewed by that.
    Renewed(RegistryError),
    /// Other uploads broke meanwhile: this one would hardly have come through, and goes on in parts.
    Hopeless,
    /// The registry does not know the upload any more; another one can be begun.
    Lost(RegistryError),
}

impl Stop {
    /// Whether a request ended before all of it had arrived.
    fn is_a_break(&self) -> bool {
        matches!(self, Self::Hopeless | Self::Server(RegistryError::Broken { .. } | RegistryError::Stalled { .. }))
    }
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
        Self { exchange, endpoint, content, what, budget, best: 0, renewals: 0, losses: 0, left: None }
    }

    /// Sends the blob until the registry has it.
    pub(super) async fn run(mut self) -> Result<Arrival, Failure> {
        let ended = self.until_there().await;
        self.drop_left().await;
        ended
    }

    async fn until_there(&mut self) -> Result<Arrival, Failure> {
        loop {
            let part = self.part();
            let ended = match part {
                _ if self.content.blob().size == 0 => self.nothing().await,
                None => self.whole().await,
                Some(_) => self.parts().await,
            };
            let error = match ended {
                Ok(()) => {
                    self.exchange.weather.took(&self.host());
                    return Ok(Arrival::Moved);
                }
                Err(Stop::Source(failure)) => return Err(failure),
                Err(Stop::Hopeless) => {
                    // The registry notices the end of the request, and keeps its bytes, a little later than we do.
                    tokio::time::sleep(self.exchange.settings.limits.backoff_start).await;
                    continue;
                }
                Err(Stop::Renewed(error)) if self.renewals >= RENEWALS => return Err(error.into()),
                Err(Stop::Renewed(_)) => {
                    self.renewals += 1;
                    continue;
                }
                Err(Stop::Lost(error)) => {
                    self.losses += 1;
                    if self.losses > LOSSES && !self.exchange.weather.took_something(&self.host()) {
                        return Err(error.into());
                    }
                    if self.losses == 1 {
                        continue;
                    }
                    self.as_broken(&error, "the registry does not know the upload any more")
                }
                Err(Stop::Server(error)) => error,
            };
            if self.has_another_way(&error, part) {
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
    pub(super) async fn arrived(&self) -> Result<bool, RegistryError> {
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

    /// Whether to go on at once in another way than in parts of the size `part`, or than whole.
    fn has_another_way(&self, error: &RegistryError, part: Option<u64>) -> bool {
        match error {
            // Smaller, unless it was as small as it gets.
            _ if is_too_large(error) => self.part().is_some_and(|smaller| part.is_none_or(|part| smaller < part)),
            RegistryError::Status { status, .. } if part.is_some() && !is_passing_status(*status) => {
                self.exchange.weather.refused_parts(&self.host())
            }
            _ => false,
        }
    }

    fn host(&self) -> String {
        self.endpoint.host().to_string()
    }

    /// The size of the parts in which this blob goes; none if it goes in one request.
    fn part(&self) -> Option<u64> {
        if !takes_parts(self.endpoint.host()) {
            return None;
        }
        let part = self.exchange.weather.part(&self.host(), &self.exchange.settings.limits)?;
        (part < self.content.blob().size).then(|| part.min(self.exchange.settings.limits.upload_part))
    }

    /// The size of the next part; `least` is the registry's own limit.
    pub(super) fn next_part(&self, least: u64) -> u64 {
        self.part().unwrap_or(self.exchange.settings.limits.upload_part).max(least).max(1)
    }

    /// An upload that is gone or out of step is like one that broke: the line or the registry may do better later.
    pub(super) fn as_broken(&self, error: &RegistryError, why: &'static str) -> RegistryError {
        RegistryError::Broken { host: error.host(), what: self.what.clone(), source: why.into() }
    }

    /// Keeps for the host's other blobs that an upload went on after a break.
    pub(super) fn outlived_a_break(&self) {
        self.exchange.weather.remembered(&self.host());
    }

    /// Keeps for the host's other blobs that an upload was gone after a break.
    pub(super) fn lost_by_a_break(&self) {
        self.exchange.weather.forgot(&self.host());
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

    /// Opens an upload.
    async fn begin(&self) -> Result<Standing, RegistryError> {
        let call = self.call(Method::POST, self.endpoint.uploads());
        let answer = self.exchange.send(&call, &[StatusCode::ACCEPTED]).await?;
        let least = answer.header("oci-chunk-min-length").and_then(|least| least.trim().parse().ok()).unwrap_or(0);
        let session = self.exchange.upload_address(&answer, &self.what)?;
        Ok(Standing { session, least, position: 0, mark: Hasher::new() })
    }

    pub(super) async fn abandon(&self, upload: Standing) {
        self.exchange.abandon(&self.endpoint, upload.session, &self.what).await;
    }

    async fn drop_left(&mut self) {
        if let Some(left) = self.left.take() {
            self.abandon(left).await;
        }
    }

    /// The upload in which the blob goes on in parts: what a broken request left behind, else a new one.
    pub(super) async fn go_on(&mut self) -> Result<Standing, Stop> {
        if let Some(mut left) = self.left.take() {
            if self.ask_standing(&mut left).await.is_ok() {
                if left.position > 0 {
                    self.outlived_a_break();
                }
                return Ok(left);
            }
            // Forgotten, or a registry that cannot be asked: a new upload may do all the same.
            self.abandon(left).await;
        }
        Ok(self.begin().await?)
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
        let begun = self.begin().await?;
        let call = self.call(Method::PUT, self.completing(&begun.session));
        self.exchange.attempt(&call, &[StatusCode::CREATED]).await?;
        Ok(())
    }

    /// The whole blob in one request.
    async fn whole(&mut self) -> Result<(), Stop> {
        self.drop_left().await;
        let begun = self.begin().await?;
        let sent = self.put_whole(self.completing(&begun.session)).await;
        match &sent {
            Ok(()) => {}
            Err(stop) if stop.is_a_break() && self.part().is_some() => self.left = Some(begun),
            Err(_) => self.abandon(begun).await,
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
            StatusCode::UNAUTHORIZED => Stop::Renewed(error),
            StatusCode::NOT_FOUND => Stop::Lost(error),
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
            let change = self.exchange.weather.change();
            tokio::select! {
                ended = &mut answer => break ended,
                () = change => if self.is_hopeless(sending) { return Err(Stop::Hopeless) },
                () = tokio::time::sleep(look) => {}
            }
            let patience = self.patience(sending);
            if sending.idle() > patience {
                let (host, what) = (shown_host(&call.url), self.what.clone());
                break Err(RegistryError::Stalled { host, what, seconds: patience.as_secs() });
            }
        };
        if let Some(failure) = sending.failure() {
            return Err(Stop::Source(failure));
        }
        self.learn(sending, &ended);
        ended.map_err(Stop::Server)
    }

    /// How long nothing may move. The last bytes of a blob are followed by the server's own work: hashing, copying to
    /// its store. Those of a part are not.
    fn patience(&self, sending: &Sending) -> Duration {
        let limits = &self.exchange.settings.limits;
        let on_the_line = Duration::from_secs(sending.length() / THIN_LINE);
        match sending.length() {
            _ if !sending.is_sent() => limits.stall,
            length if length == self.content.blob().size => limits.headers,
            _ => limits.headers.min(limits.stall + on_the_line),
        }
    }

    /// Whether a blob that goes in one request had better go in parts.
    fn is_hopeless(&self, sending: &Sending) -> bool {
        let (size, sent) = (self.content.blob().size, sending.sent());
        let whole = sending.length() == size && self.part().is_some();
        whole && self.exchange.weather.is_hopeless(&self.host(), sent, size - sent)
    }

    /// Keeps for the host's other blobs how this body fared.
    fn learn(&self, sending: &Sending, ended: &Result<Answer, RegistryError>) {
        let (weather, host) = (&self.exchange.weather, self.host());
        weather.passed(&host, sending.sent());
        match ended {
            Ok(answer) if answer.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                weather.too_large(&host, sending.length());
            }
            // Gateways that give up on a long request say so in words.
            Ok(answer) if !answer.status().is_server_error() || !is_passing_status(answer.status().as_u16()) => {}
            Err(RegistryError::Broken { .. } | RegistryError::Stalled { .. }) | Ok(_) if sending.sent() > 0 => {
                weather.broke(&host);
            }
            _ => {}
        }
    }
}

fn is_too_large(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Status { status: 413, .. } | RegistryError::Page { status: 413, .. })
}
