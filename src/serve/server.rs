//! The server: what it offers, with which certificate and logins, and the sockets that it serves at.

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::bundle::{Bundle, BundlePlace};
use crate::failure::Failure;
use crate::images::LockedContent;
use crate::plan::Target;
use crate::serve::access_log::{AccessLog, LogTarget};
use crate::serve::auth::Logins;
use crate::serve::catalog::{Catalog, Offered};
use crate::serve::door;
use crate::serve::error::ServeError;
use crate::serve::limits::{Crowd, Limits};
use crate::serve::lock;
use crate::serve::metrics::Metrics;
use crate::serve::notices::Notices;
use crate::serve::page::Shown;
use crate::serve::paper::Papers;
use crate::serve::reading::Sources;
use crate::serve::sending::Patience;
use crate::serve::source::{Judges, Source};
use crate::serve::tls::{Identity, Loaded};

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
    /// Takes what the operator should hear of.
    pub notices: Notices,
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
    sources: Sources,
    shown: Vec<Shown>,
    target: Target,
    papers: Papers,
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

impl Server {
    /// Puts bundles on offer under the names that a push to `target` would give them, and reads certificates and logins.
    pub fn new(bundles: Bundles, target: &Target, settings: Settings) -> Result<Arc<Self>, Failure> {
        let catalog = catalog(&bundles, target)?;
        let shown: Vec<Shown> = bundles.offered.iter().map(|(_, bundle)| shown(bundle)).collect();
        let (judges, notices) = (Judges::new(), &settings.notices);
        let all = bundles.offered.into_iter().chain(bundles.bases);
        let all = all.map(|(place, bundle)| Source::new(place, bundle, judges.clone(), notices.clone()).map(Arc::new));
        let sources = Sources::new(all.collect::<Result<_, _>>()?, shown.len(), settings.verify);
        let log = AccessLog::open(&settings.log).map_err(|source| {
            let path = if let LogTarget::File(path) = &settings.log { path.clone() } else { PathBuf::new() };
            ServeError::Write { path, source }
        })?;
        Ok(Arc::new(Self {
            catalog,
            sources,
            papers: Papers::new(shown.len(), settings.report),
            shown,
            target: target.clone(),
            logins: Mutex::new(read_logins(&settings)?),
            tls: Mutex::new(settings.identity.as_ref().map(Identity::prepare).transpose()?.map(Arc::new)),
            metrics: Metrics::default(),
            log,
            crowd: Crowd::new(settings.limits),
            settings,
        }))
    }

    /// Reads certificates and logins again and opens the log again. If one of them cannot be used, all stays as it was.
    pub fn reload(&self) -> Result<(), ServeError> {
        let logins = read_logins(&self.settings)?;
        let tls = self.settings.identity.as_ref().map(Identity::load).transpose()?;
        *lock(&self.logins) = logins;
        *lock(&self.tls) = tls.map(Arc::new);
        self.log.reopen();
        Ok(())
    }

    /// Lets each offered bundle be given out, or not, in their order: what a policy says of it may change.
    pub fn permit(&self, allowed: &[bool]) {
        for (source, &allowed) in self.sources.offered().iter().zip(allowed) {
            source.permit(allowed);
        }
    }

    /// Does something with each offered bundle that can be read now, in their order. Blocks.
    pub fn each_bundle<T>(&self, work: impl FnMut(&Bundle) -> T) -> Vec<Option<T>> {
        self.sources.each_bundle(work)
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

    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The offered bundles for people, in their order.
    pub(crate) fn shown(&self) -> &[Shown] {
        &self.shown
    }

    /// Where the images are, as whoever knows nothing of the client would say.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) fn papers(&self) -> &Papers {
        &self.papers
    }

    pub(crate) fn logins(&self) -> Option<Arc<Logins>> {
        lock(&self.logins).clone()
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
}

fn read_logins(settings: &Settings) -> Result<Option<Arc<Logins>>, ServeError> {
    Ok(settings.htpasswd.as_deref().map(Logins::read).transpose()?.map(Arc::new))
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
