//! The server: what it offers, whom it lets in, and the loop that accepts.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OnceCell, mpsc, watch};
use tokio::time::timeout;

use crate::bundle::{Bundle, BundlePlace};
use crate::content::FilePart;
use crate::failure::Failure;
use crate::images::LockedContent;
use crate::oci::Host;
use crate::plan::Target;
use crate::serve::access_log::{AccessLog, LogTarget};
use crate::serve::answer::{Answer, Body};
use crate::serve::auth::{Access, Logins};
use crate::serve::catalog::{Catalog, Item, Offered};
use crate::serve::door;
use crate::serve::error::ServeError;
use crate::serve::head::{Head, Method};
use crate::serve::limits::{Crowd, Limits};
use crate::serve::lock;
use crate::serve::metrics::{Gauges, Metrics};
use crate::serve::page::{self, Page, Shown};
use crate::serve::paper::Papers;
use crate::serve::protocol::{self, Offer};
use crate::serve::reading::{RETRY_AFTER, blocking, from_any, read_referrers, refused_by};
use crate::serve::referrers::Referrers;
use crate::serve::route::{Asset, BadRoute, Reference, Route};
use crate::serve::sending::{Part, Patience};
use crate::serve::source::{Judges, Opened, Source, Trouble, Verdict};
use crate::serve::tls::{Identity, Loaded};

/// Blobs up to this size are checked before the first byte of the answer, so that damage gives a clean error.
const CHECKED_FIRST: u64 = 1024 * 1024;
/// How to serve.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The most connections.
    pub limits: Limits,
    /// How long clients may take.
    pub patience: Patience,
    /// Whether every blob is checked before its first byte is sent.
    pub verify: bool,
    /// The only hosts that requests may name; any if there are none.
    pub hosts: Vec<String>,
    /// The server's certificate; plain http without.
    pub identity: Option<Identity>,
    /// The file of logins; everybody may read without.
    pub htpasswd: Option<PathBuf>,
    /// Where requests are noted.
    pub log: LogTarget,
    /// How long answers under way may take when the server stops.
    pub drain: Duration,
    /// Writes the report of a bundle, as one page, with the names that its images have here.
    pub report: fn(&Bundle, &Target) -> Result<String, Failure>,
}

/// What is served, each with the place where it is found again.
pub struct Bundles {
    /// Those whose images are offered.
    pub offered: Vec<(BundlePlace, Bundle)>,
    /// Older ones, which lend what deltas leave out.
    pub bases: Vec<(BundlePlace, Bundle)>,
}

/// Bundles on offer.
pub struct Server {
    settings: Settings,
    catalog: Catalog,
    /// The offered bundles, then the bases.
    sources: Vec<Arc<Source>>,
    shown: Vec<Shown>,
    target: Target,
    papers: Papers,
    referrers: OnceCell<Referrers>,
    logins: Mutex<Option<Arc<Logins>>>,
    tls: Mutex<Option<Arc<Loaded>>>,
    metrics: Metrics,
    log: AccessLog,
    crowd: Arc<Crowd>,
}

/// Tells a server to stop: it accepts no more, finishes the answers under way, and ends.
pub struct Stop(watch::Sender<bool>);

impl Stop {
    /// The teller and what [`Server::run`] listens to.
    pub fn new() -> (Self, watch::Receiver<bool>) {
        let (tell, told) = watch::channel(false);
        (Self(tell), told)
    }

    /// Tells it.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// An answer with what its body is read from.
pub(crate) struct Reply {
    pub(crate) answer: Answer,
    pub(crate) body: Ready,
    pub(crate) user: Option<String>,
    /// What was asked for, for counting.
    pub(crate) kind: &'static str,
}

/// A body that can be sent.
pub(crate) enum Ready {
    Bytes(Bytes),
    Part(Part),
}

impl Server {
    /// Puts bundles on offer under the names that a push to `target` would give them, and reads certificates and logins.
    pub fn new(bundles: Bundles, target: &Target, settings: Settings) -> Result<Arc<Self>, Failure> {
        let catalog = catalog(&bundles, target)?;
        let shown: Vec<Shown> = bundles.offered.iter().map(|(_, bundle)| shown(bundle)).collect();
        let judges = Judges::new();
        let all = bundles.offered.into_iter().chain(bundles.bases);
        let sources = all.map(|(place, bundle)| Source::new(place, bundle, judges.clone()).map(Arc::new));
        let log = AccessLog::open(&settings.log).map_err(|source| {
            let path = if let LogTarget::File(path) = &settings.log { path.clone() } else { PathBuf::new() };
            ServeError::Write { path, source }
        })?;
        let server = Self {
            catalog,
            sources: sources.collect::<Result<_, _>>()?,
            papers: Papers::new(shown.len(), settings.report),
            shown,
            target: target.clone(),
            referrers: OnceCell::new(),
            logins: Mutex::default(),
            tls: Mutex::default(),
            metrics: Metrics::default(),
            log,
            crowd: Crowd::new(settings.limits),
            settings,
        };
        server.reload()?;
        Ok(Arc::new(server))
    }

    /// Reads certificates and logins again and opens the log again. If one of them cannot be used, all stays as it was.
    pub fn reload(&self) -> Result<(), ServeError> {
        let logins = self.settings.htpasswd.as_deref().map(Logins::read).transpose()?;
        let tls = self.settings.identity.as_ref().map(Identity::load).transpose()?;
        *lock(&self.logins) = logins.map(Arc::new);
        *lock(&self.tls) = tls.map(Arc::new);
        self.log.reopen();
        Ok(())
    }

    /// Lets each offered bundle be given out, or not, in their order: what a policy says of it may change.
    pub fn permit(&self, allowed: &[bool]) {
        for (source, &allowed) in self.sources.iter().zip(allowed) {
            source.permit(allowed);
        }
    }

    /// Does something with each offered bundle that can be read now, in their order. Blocks.
    pub fn each_bundle<T>(&self, mut work: impl FnMut(&Bundle) -> T) -> Vec<Option<T>> {
        let offered = self.sources.iter().take(self.shown.len());
        offered.map(|source| source.opened().ok().map(|opened| work(opened.bundle()))).collect()
    }

    /// What is on offer.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The certificate that is in use.
    pub fn certificate(&self) -> Option<Arc<Loaded>> {
        lock(&self.tls).clone()
    }

    /// Serves at these sockets until told to stop.
    pub async fn run(self: &Arc<Self>, listeners: Vec<TcpListener>, stop: watch::Receiver<bool>) -> io::Result<()> {
        // Every connection holds one end; when the last has ended, nothing can be received any more.
        let (alive, mut ended) = mpsc::channel::<()>(1);
        let mut accepting = tokio::task::JoinSet::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            accepting.spawn(door::accept(self.clone(), listener, stop.clone(), alive.clone()));
        }
        drop(alive);
        while accepting.join_next().await.is_some() {}
        drop(timeout(self.settings.drain, ended.recv()).await);
        Ok(())
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn log(&self) -> &AccessLog {
        &self.log
    }

    pub(crate) fn crowd(&self) -> &Arc<Crowd> {
        &self.crowd
    }

    pub(crate) fn is_dense(&self) -> bool {
        self.crowd.is_dense()
    }

    pub(crate) fn tls_config(&self) -> Option<Arc<rustls::ServerConfig>> {
        lock(&self.tls).as_ref().map(|loaded| loaded.config.clone())
    }

    /// The answer to a request, with what it is to be sent from.
    pub(crate) async fn reply(&self, head: &Head, client: IpAddr) -> Reply {
        let route = Route::parse(&head.path, &head.query);
        let kind = route.as_ref().map_or("other", kind);
        let mut user = None;
        let answer = match self.admit(head, client, &route).await {
            Ok(found) => {
                user = found;
                match route {
                    Ok(route) => self.answer(&route, head).await,
                    Err(bad) => protocol::nowhere(bad),
                }
            }
            Err(refusal) => refusal,
        };
        match self.ready(&answer, head.method).await {
            Ok(body) => Reply { answer, body, user, kind },
            Err(refusal) => Reply { body: Ready::Bytes(bytes_of(&refusal)), answer: refusal, user, kind },
        }
    }

    /// The user, if one is asked for; or why the request goes no further.
    async fn admit(
        &self,
        head: &Head,
        client: IpAddr,
        route: &Result<Route, BadRoute>,
    ) -> Result<Option<String>, Answer> {
        if !self.is_host_right(head) {
            let text = "this server is not known by that name; name it with `--name` where the server is started";
            return Err(Answer::refusal(421, "DENIED", text));
        }
        if matches!(route, Ok(Route::Health)) {
            return protocol::refused_method(head.method).map_or(Ok(None), Err);
        }
        let user = self.user(head, client).await?;
        // What names nothing by any method is told that first; so does the specification's own test of reading.
        if matches!(route, Err(BadRoute::Name | BadRoute::Digest)) {
            return Ok(user);
        }
        if let Some(refusal) = protocol::refused_method(head.method) {
            return Err(refusal);
        }
        if head.has_body {
            return Err(Answer::refusal(400, "UNSUPPORTED", "a request for reading has no body"));
        }
        Ok(user)
    }

    async fn user(&self, head: &Head, client: IpAddr) -> Result<Option<String>, Answer> {
        let Some(logins) = lock(&self.logins).clone() else { return Ok(None) };
        match logins.access(head.header("authorization"), client).await {
            Access::User(user) => Ok(Some(user)),
            Access::Denied => {
                if head.header("authorization").is_some() {
                    self.metrics.denied.add(1);
                }
                let ask = "Basic realm=\"octobundle\", charset=\"UTF-8\"";
                Err(Answer::refusal(401, "UNAUTHORIZED", "log in first").header("WWW-Authenticate", ask))
            }
            Access::Busy => {
                Err(Answer::refusal(429, "TOOMANYREQUESTS", "too many logins at once")
                    .header("Retry-After", RETRY_AFTER))
            }
        }
    }

    /// A page elsewhere that a browser shows can make a name mean this machine; it cannot make it a name of ours.
    fn is_host_right(&self, head: &Head) -> bool {
        let Some(host) = &head.host else { return true };
        let Ok(host) = host.parse::<Host>() else { return false };
        let known = |name: &String| name.eq_ignore_ascii_case(host.name()) || name.eq_ignore_ascii_case(host.as_str());
        self.settings.hosts.is_empty() || host.is_loopback() || self.settings.hosts.iter().any(known)
    }

    async fn answer(&self, route: &Route, head: &Head) -> Answer {
        match route {
            Route::Home => self.home(head),
            Route::Asset(Asset::Style) => page::style(),
            Route::Asset(Asset::Script) => page::script(),
            Route::Asset(Asset::Certificate) => self.trust_file(),
            Route::Asset(Asset::Icon) => Answer::empty(204).header("Cache-Control", "max-age=86400"),
            Route::Report(number) => self.report(*number).await,
            Route::Health => self.health().await,
            Route::Metrics => self.metrics_text().await,
            _ => {
                let none = Referrers::default();
                let referrers = match self.referrers_for(route).await {
                    Ok(known) => known.unwrap_or(&none),
                    Err(trouble) => return refused_by(trouble),
                };
                let offer = Offer { catalog: &self.catalog, referrers };
                protocol::answer(&offer, route, head).unwrap_or_else(|| protocol::nowhere(BadRoute::Nowhere))
            }
        }
    }

    /// What refers to what, for the routes that ask for it. Manifests are read at the first such request.
    async fn referrers_for(&self, route: &Route) -> Result<Option<&Referrers>, Trouble> {
        let wanted = match route {
            Route::Referrers(..) => true,
            Route::Manifest(_, Reference::Tag(tag)) => tag.as_str().starts_with("sha256-"),
            _ => false,
        };
        if !wanted {
            return Ok(None);
        }
        let read = async {
            let (sources, item) = (self.sources.clone(), self.all_manifests());
            blocking(move || read_referrers(&sources, &item)).await
        };
        self.referrers.get_or_try_init(|| read).await.map(Some)
    }

    fn all_manifests(&self) -> Vec<Item> {
        let stocks = self.catalog.names().filter_map(|name| self.catalog.named(name));
        let mut all: Vec<Item> = stocks.flat_map(|stock| stock.manifests().cloned()).collect();
        all.sort_by_key(|item| item.digest);
        all.dedup_by_key(|item| item.digest);
        all
    }

    /// Reads what the answer is made of, or finds where to send it from.
    async fn ready(&self, answer: &Answer, method: Method) -> Result<Ready, Answer> {
        match &answer.body {
            Body::Nothing => Ok(Ready::Bytes(Bytes::new())),
            Body::Bytes(bytes) => Ok(Ready::Bytes(bytes.clone())),
            Body::Document(item) => {
                let (sources, item) = (self.sources.clone(), item.clone());
                let read = blocking(move || from_any(&sources, &item, |opened| opened.document(&item.digest))).await;
                read.map(Ready::Bytes).map_err(|trouble| self.trouble(trouble))
            }
            Body::Blob { item, start, length } => {
                let (opened, pieces) =
                    self.find(item, *start, *length).await.map_err(|trouble| self.trouble(trouble))?;
                if method == Method::Head {
                    return Ok(Ready::Bytes(Bytes::new()));
                }
                let verdict = opened.judge(&item.digest, item.size);
                let part = Part { opened, digest: item.digest, pieces, verdict, sent: 0 };
                self.check_first(item, part).await.map(Ready::Part).map_err(|trouble| self.trouble(trouble))
            }
        }
    }

    /// Where a part of a blob lies. Nothing of it is read: a HEAD costs the medium nothing.
    async fn find(&self, item: &Item, start: u64, length: u64) -> Result<(Arc<Opened>, Vec<FilePart>), Trouble> {
        let (sources, item) = (self.sources.clone(), item.clone());
        blocking(move || {
            from_any(&sources, &item, |opened| {
                let pieces = opened.parts(&item.digest, start, length).ok_or(Trouble::Away)?;
                Ok((opened.clone(), pieces))
            })
        })
        .await
    }

    /// Waits for the verdict on a small blob, and on any if that was asked for. What is known to be damaged is refused at
    /// once: sent again, it would only end in another broken connection.
    async fn check_first(&self, item: &Item, mut part: Part) -> Result<Part, Trouble> {
        let is_damaged = *part.verdict.borrow() == Some(Verdict::Damaged);
        if !is_damaged && !self.settings.verify && item.size > CHECKED_FIRST {
            return Ok(part);
        }
        let verdict = part.verdict.wait_for(Option::is_some).await.map(|verdict| *verdict);
        match verdict.ok().flatten() {
            Some(Verdict::Sound) => Ok(part),
            Some(Verdict::Damaged) => Err(Trouble::Damaged),
            Some(Verdict::Unreadable) | None => Err(Trouble::Away),
        }
    }

    fn trouble(&self, trouble: Trouble) -> Answer {
        if trouble == Trouble::Damaged {
            self.metrics.damaged.add(1);
        }
        refused_by(trouble)
    }

    fn home(&self, head: &Head) -> Answer {
        let certificate = self.certificate();
        page::home(&Page {
            target: &self.target_for(head),
            bundles: &self.shown,
            images: self.catalog.images(),
            fingerprint: certificate.as_ref().map(|loaded| loaded.fingerprint),
            self_signed: certificate.is_some_and(|loaded| loaded.to_trust.is_some()),
            login: self.settings.htpasswd.is_some(),
        })
    }

    /// Where the images are as this client reached them, if their names can begin so.
    fn target_for(&self, head: &Head) -> Target {
        let host = head.host.as_deref().and_then(|host| host.parse::<Host>().ok());
        let own = self.target.prefix().map_or_else(String::new, |prefix| format!("/{prefix}"));
        let named = host.map(|host| Target::parse(&format!("{host}{own}"), self.target.source_host()));
        named.and_then(Result::ok).unwrap_or_else(|| self.target.clone())
    }

    /// The report of a bundle, counted from 1.
    async fn report(&self, number: usize) -> Answer {
        let Some(source) = number.checked_sub(1).filter(|&place| place < self.shown.len()) else {
            return protocol::nowhere(BadRoute::Nowhere);
        };
        let (papers, source, target) = (self.papers.clone(), self.sources[source].clone(), self.target.clone());
        let written = blocking(move || {
            let opened = source.now()?;
            papers.page(number - 1, opened.bundle(), &target)
        });
        written.await.map_or_else(|trouble| self.trouble(trouble), page::report)
    }

    fn trust_file(&self) -> Answer {
        match self.certificate().and_then(|loaded| loaded.to_trust.clone()) {
            Some(pem) => Answer::bytes(200, "application/x-pem-file", pem),
            None => protocol::nowhere(BadRoute::Nowhere),
        }
    }

    async fn readable(&self) -> Vec<bool> {
        let sources = self.sources.clone();
        blocking(move || sources.iter().map(|source| source.now().is_ok()).collect()).await
    }

    async fn health(&self) -> Answer {
        match self.readable().await.iter().position(|readable| !readable) {
            None => Answer::bytes(200, "text/plain; charset=utf-8", "ok\n"),
            Some(place) => {
                let text = format!("bundle {} cannot be read\n", place + 1);
                Answer::bytes(503, "text/plain; charset=utf-8", text).header("Retry-After", RETRY_AFTER)
            }
        }
        .header("Cache-Control", "no-store")
    }

    async fn metrics_text(&self) -> Answer {
        let gauges = Gauges {
            connections: self.crowd.len(),
            bundles: self.readable().await,
            log_lines_dropped: self.log.dropped(),
        };
        Answer::bytes(200, "text/plain; version=0.0.4; charset=utf-8", self.metrics.text(&gauges))
            .header("Cache-Control", "no-store")
    }
}

fn catalog(bundles: &Bundles, target: &Target) -> Result<Catalog, Failure> {
    let all: Vec<&Bundle> = bundles.offered.iter().chain(&bundles.bases).map(|(_, bundle)| bundle).collect();
    let has = |bundle: &Bundle, wanted: &LockedContent| {
        bundle.layout().blob(&wanted.digest).is_some_and(|member| member.size == wanted.size)
    };
    let has: Vec<_> = all.iter().map(|bundle| move |wanted: &LockedContent| has(bundle, wanted)).collect();
    let images = |place: usize| (place < bundles.offered.len()).then(|| all[place].lock());
    let offered = has.iter().enumerate().map(|(place, has)| Offered { images: images(place), has });
    Ok(Catalog::new(&offered.collect::<Vec<_>>(), target)?)
}

fn shown(bundle: &Bundle) -> Shown {
    let file = bundle.path().file_name().unwrap_or(bundle.path().as_os_str());
    Shown { file: file.to_string_lossy().into_owned(), lock: bundle.lock().clone() }
}

fn kind(route: &Route) -> &'static str {
    match route {
        Route::Base => "base",
        Route::Catalog(_) => "catalog",
        Route::Tags(..) => "tags",
        Route::Manifest(..) => "manifest",
        Route::Blob(..) => "blob",
        Route::Referrers(..) => "referrers",
        Route::Home | Route::Asset(_) | Route::Report(_) => "page",
        Route::Health => "health",
        Route::Metrics => "metrics",
    }
}

fn bytes_of(answer: &Answer) -> Bytes {
    match &answer.body {
        Body::Bytes(bytes) => bytes.clone(),
        Body::Nothing | Body::Document(_) | Body::Blob { .. } => Bytes::new(),
    }
}
