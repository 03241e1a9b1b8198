//! `serve`: bundles offered as a read-only registry.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::bundle::{Bundle, BundlePlace};
use crate::failure::{ErrorClass, Failure};
use crate::oci::Host;
use crate::plan::{SourceHost, Target};
use crate::progress::{Progress, Silent};
use crate::report::{Form, Verification};
use crate::serve::{
    Bundles, Identity, Limits, Loaded, LogTarget, Notice, Notices, Patience, ServeError, Server, Settings, Stop,
    is_certifiable, listen_addresses, open_sockets, own_names,
};
use crate::workflow::report::{ReportRequest, report};
use crate::workflow::trust::{self, TrustSettings, Use};

/// Files that are open beside connections: bundles, the log, the runtime's own.
#[cfg(unix)]
const OTHER_FILES: u64 = 64;
/// How long answers under way may take when the server is told to stop.
const DRAIN: Duration = Duration::from_secs(30);

/// What `serve` was asked for.
#[derive(Debug)]
pub struct ServeRequest {
    /// The bundles.
    pub bundles: Vec<BundlePlace>,
    /// Older bundles, which lend what deltas leave out. Their own images are not offered.
    pub bases: Vec<BundlePlace>,
    /// Addresses to listen on, as in `127.0.0.1:5000`.
    pub listen: Vec<String>,
    /// Sockets that listen already.
    pub sockets: Vec<TcpListener>,
    /// The path below which every image is, as `push` would put it.
    pub prefix: Option<String>,
    /// Whether names keep the host that their images came from.
    pub source_host: SourceHost,
    /// How clients call this machine, without port.
    pub names: Vec<Host>,
    /// The server's certificate.
    pub certificate: CertificateChoice,
    /// The file of logins.
    pub htpasswd: Option<PathBuf>,
    /// Whether every blob is checked before its first byte is sent.
    pub verify: bool,
    /// Where requests are noted.
    pub log: LogTarget,
    /// The most connections.
    pub limits: Limits,
    /// Who must have signed the bundles.
    pub trust: TrustSettings,
}

/// What proves to clients that this is the right server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateChoice {
    /// Nothing: plain http.
    None,
    /// PEM files.
    Files {
        /// The server's certificate, and those above it.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// A certificate that signs itself, kept in this folder.
    SelfSigned {
        /// Where.
        folder: PathBuf,
    },
}

/// A server that is ready: its sockets listen already.
pub struct Serving {
    server: Arc<Server>,
    listeners: Vec<TcpListener>,
    /// What the operator should hear of while it runs.
    pub notices: mpsc::Receiver<Notice>,
    /// What it is.
    pub report: ServeReport,
}

/// What is served, and how it is reached.
#[derive(Debug, Clone)]
pub struct ServeReport {
    /// The bundles.
    pub bundles: Vec<ServedBundle>,
    /// The bundles that lend what the others leave out.
    pub bases: Vec<PathBuf>,
    /// The addresses that are listened on.
    pub addresses: Vec<SocketAddr>,
    /// The host and port of image names, as clients of this network would write it.
    pub host: String,
    /// Every image's name here, without the host, with its digest.
    pub images: Vec<(String, crate::oci::Digest)>,
    /// The certificate.
    pub certificate: Option<ServedCertificate>,
    /// Whether a login is asked for.
    pub login: bool,
}

/// One bundle.
#[derive(Debug, Clone)]
pub struct ServedBundle {
    /// Where it is.
    pub path: PathBuf,
    /// Its release's name.
    pub release: String,
    /// How many images it has.
    pub images: usize,
}

/// The certificate that clients see.
#[derive(Debug, Clone)]
pub struct ServedCertificate {
    /// Its SHA-256.
    pub fingerprint: crate::oci::Digest,
    /// What clients must trust, where it signs itself.
    pub trust_file: Option<PathBuf>,
    /// Whether it was made just now.
    pub made: bool,
    /// Why clients refuse it today, if they do.
    pub not_now: Option<NotNow>,
    /// This machine's own name, where it cannot stand in the certificate that was made here.
    pub left_out: Option<String>,
}

/// Why clients refuse a certificate today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotNow {
    /// It begins at this second since 1970.
    Begins(u64),
    /// It ended then.
    Ended(u64),
}

/// Opens the bundles and the sockets. From here on clients can connect; they are answered once [`Serving::run`] runs.
pub fn serve(request: &mut ServeRequest, progress: &dyn Progress) -> Result<Serving, Failure> {
    let bundles = Bundles {
        offered: request
            .bundles
            .iter()
            .map(|place| open(place, &request.trust, progress))
            .collect::<Result<_, Failure>>()?,
        // What they lend is compared with the digests in the bundles that were judged, byte for byte.
        bases: request
            .bases
            .iter()
            .map(|place| Ok((place.clone(), Bundle::open(place)?)))
            .collect::<Result<_, Failure>>()?,
    };
    check_log(&request.log, &bundles)?;
    let listeners = listen(request)?;
    let addresses: Vec<SocketAddr> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let host = shown_host(&request.names, &addresses);
    let place = request.prefix.as_ref().map_or_else(|| host.clone(), |prefix| format!("{host}/{prefix}"));
    let target = Target::parse(&place, request.source_host)?;
    let told = bundles.offered.iter().map(|(_, bundle)| ServedBundle {
        path: bundle.path().to_owned(),
        release: bundle.lock().release.clone(),
        images: bundle.lock().images.len(),
    });
    let told = told.collect();
    let bases = bundles.bases.iter().map(|(_, bundle)| bundle.path().to_owned()).collect();
    let (tell, notices) = Notices::new();
    let server = Server::new(bundles, &target, settings(request, &addresses, tell))?;
    let images = server.catalog().images().iter().map(|image| {
        let name = image.name.to_string();
        let short = name.split_once('/').map_or(name.as_str(), |(_, short)| short);
        (short.to_owned(), image.digest)
    });
    let report = ServeReport {
        bundles: told,
        bases,
        addresses,
        host,
        images: images.collect(),
        certificate: server.certificate().as_deref().map(|loaded| certificate(loaded, request.trust.now)),
        login: request.htpasswd.is_some(),
    };
    Ok(Serving { server, listeners, notices, report })
}

impl Serving {
    /// Reads certificates and logins again; gives the certificate that is used from now on, by this clock.
    pub fn reload(&self, now: u64) -> Result<Option<ServedCertificate>, ServeError> {
        self.server.reload()?;
        Ok(self.server.certificate().as_deref().map(|loaded| certificate(loaded, now)))
    }

    /// Asks again who signed the bundles. What the policy does not let pass is not given out until it does; gives the
    /// reasons. Under a policy that includes a bundle whose signatures cannot be read because it is away.
    pub fn judge(&self, trust: &TrustSettings, progress: &dyn Progress) -> Vec<Failure> {
        let judged = self.server.each_bundle(|bundle| trust::check(bundle, trust, Use::Accept, progress).map(|_| ()));
        let paths = self.report.bundles.iter().map(|bundle| &bundle.path);
        let judged: Vec<Result<(), Failure>> = judged
            .into_iter()
            .zip(paths)
            .map(|(judged, path)| match judged {
                Some(judged) => judged,
                None if trust.policy.is_none() => Ok(()),
                None => Err(Failure::new(
                    ErrorClass::Trust,
                    format!("`{}` is away, and so are its signatures", path.display()),
                )
                .with_help("put it back, then ask again with SIGHUP")),
            })
            .collect();
        self.server.permit(&judged.iter().map(Result::is_ok).collect::<Vec<_>>());
        judged.into_iter().filter_map(Result::err).collect()
    }

    /// What tells it to stop, and the run itself. It ends when it was told to and the last answer is out.
    pub fn run(&mut self) -> (Stop, impl Future<Output = Result<(), Failure>> + use<>) {
        let (stop, told): (Stop, watch::Receiver<bool>) = Stop::new();
        let (server, listeners) = (self.server.clone(), std::mem::take(&mut self.listeners));
        let run = async move {
            let ended = server.run(listeners, told).await;
            ended.map_err(|error| Failure::new(ErrorClass::Network, format!("failed to serve: {error}")))
        };
        (stop, run)
    }
}

impl ServeReport {
    /// Whether only programs of this machine can connect.
    pub fn is_local(&self) -> bool {
        self.addresses.iter().all(|address| address.ip().is_loopback())
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.certificate.is_some() { "https" } else { "http" }
    }
}

/// Opens a bundle that may be given out.
fn open(place: &BundlePlace, trust: &TrustSettings, progress: &dyn Progress) -> Result<(BundlePlace, Bundle), Failure> {
    let bundle = Bundle::open(place)?;
    trust::check(&bundle, trust, Use::Accept, progress)?;
    Ok((place.clone(), bundle))
}

fn certificate(loaded: &Loaded, now: u64) -> ServedCertificate {
    let not_now = loaded.dates.and_then(|(from, until)| match now {
        early if early < from => Some(NotNow::Begins(from)),
        late if late > until => Some(NotNow::Ended(until)),
        _ => None,
    });
    let (fingerprint, trust_file) = (loaded.fingerprint, loaded.trust_file.clone());
    let left_out = machine_name().filter(|name| trust_file.is_some() && !is_certifiable(name));
    ServedCertificate { fingerprint, trust_file, made: loaded.made, not_now, left_out }
}

fn settings(request: &ServeRequest, addresses: &[SocketAddr], notices: Notices) -> Settings {
    let names: Vec<String> = request.names.iter().map(|name| name.name().to_owned()).collect();
    let local = addresses.iter().all(|address| address.ip().is_loopback());
    // A page of another site can make a browser ask this machine under that site's name; what listens for the whole
    // network anyway has nothing to lose by that.
    let hosts = if local { own_names([], &names) } else { Vec::new() };
    Settings {
        limits: limits(request.limits),
        patience: Patience::default(),
        verify: request.verify,
        hosts,
        identity: identity(request, addresses, &names),
        htpasswd: request.htpasswd.clone(),
        log: request.log.clone(),
        drain: DRAIN,
        report: paper,
        notices,
    }
}

/// The report as `octobundle report` writes it, for the names that the images have here.
fn paper(bundle: &Bundle, target: &Target) -> Result<String, Failure> {
    let asked = ReportRequest {
        private: Some(target.clone()),
        shown: None,
        since: None,
        verification: Verification::NotChecked,
        trust: TrustSettings::default(),
        scan: None,
        dated: None,
    };
    Ok(report(bundle, &asked, &Silent)?.render(Form::Html)?)
}

fn identity(request: &ServeRequest, addresses: &[SocketAddr], names: &[String]) -> Option<Identity> {
    match &request.certificate {
        CertificateChoice::None => None,
        CertificateChoice::Files { certificate, key } => {
            Some(Identity::Files { certificate: certificate.clone(), key: key.clone() })
        }
        CertificateChoice::SelfSigned { folder } => {
            // A name that was given must stand in it; this machine's own may be one that cannot.
            let own = machine_name().filter(|name| is_certifiable(name));
            let all: Vec<String> = names.iter().cloned().chain(own).collect();
            let names = own_names(addresses.iter().map(SocketAddr::ip), &all);
            Some(Identity::SelfSigned { folder: folder.clone(), names })
        }
    }
}

/// Every connection needs a descriptor, so the process takes as many as it may, and promises no more than it has.
fn limits(wanted: Limits) -> Limits {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let now = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: now.maximum, maximum: now.maximum };
        // Then there are fewer, and fewer connections are taken below.
        let _ = setrlimit(Resource::Nofile, raised);
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).saturating_sub(OTHER_FILES);
        let most = usize::try_from(most).unwrap_or(usize::MAX).max(1);
        Limits { connections: wanted.connections.min(most), ..wanted }
    }
    #[cfg(not(unix))]
    wanted
}

fn listen(request: &mut ServeRequest) -> Result<Vec<TcpListener>, Failure> {
    let mut listeners = std::mem::take(&mut request.sockets);
    listeners.extend(open_sockets(&listen_addresses(&request.listen)?)?);
    if listeners.is_empty() {
        return Err(ServeError::NoSockets.into());
    }
    Ok(listeners)
}

/// Refuses a log that would be written into what is served.
fn check_log(log: &LogTarget, bundles: &Bundles) -> Result<(), Failure> {
    let LogTarget::File(log) = log else { return Ok(()) };
    // What is not there yet is nothing that is served.
    let Ok(log) = log.canonicalize() else { return Ok(()) };
    for (_, bundle) in bundles.offered.iter().chain(&bundles.bases) {
        let files = bundle.bytes().parts(0..bundle.bytes().length())?;
        if files.iter().any(|part| part.path.canonicalize().is_ok_and(|path| path == log)) {
            let text = format!("`{}` is served, and no file for the access log", log.display());
            return Err(Failure::new(ErrorClass::Usage, text).with_help("name another file: `--access-log access.log`"));
        }
    }
    Ok(())
}

/// What stands before an image's name: the name that was given, or the address, with the port.
fn shown_host(names: &[Host], addresses: &[SocketAddr]) -> String {
    let first = addresses.first().copied().unwrap_or(SocketAddr::from(([127, 0, 0, 1], 5000)));
    let name = match names.first() {
        Some(name) => Some(name.as_str().to_owned()),
        None if first.ip().is_unspecified() => machine_name(),
        None => None,
    };
    name.map_or_else(|| first.to_string(), |name| format!("{name}:{}", first.port()))
}

/// How this machine calls itself, if that can be a name of the network.
fn machine_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let host: Host = name.trim().parse().ok()?;
    host.port().is_none().then(|| host.name().to_owned())
}
