//! A pull and a push over a line that breaks every two megabytes: the same bytes, and few of them twice.
//! `scripts/acceptance/chaos.py` does it with gigabytes and a real registry.

#[path = "support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use octobundle::bundle::{BundleOutput, EarlierDraft, ExistingOutput};
use octobundle::manifest::{Manifest, Selection};
use octobundle::plan::{SourceHost, Target};
use octobundle::progress::{Progress, Silent};
use octobundle::registry::{Limits, Registry, RegistrySettings, TrustedCertificates};
use octobundle::transfer::CopySettings;
use octobundle::workflow::{self, PullInput, PullRequest, PushRequest, WriteRequest};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use support::authority::Authority;
use support::cli::Site;
use support::images::{Sample as _, TestImage};
use support::memory_registry::{Fault, MemoryRegistry};
use support::release::manifest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// One fault in so many bytes.
const EVERY: u64 = 2_000_000;
/// What stays in flight when a connection breaks; as small as it can be, so that little is lost with each.
const IN_FLIGHT: u32 = 16 * 1024;
/// The segments of the line.
const ETHERNET: u32 = 1448;
const COPY: CopySettings = CopySettings { jobs: 4, large_jobs: 4, fail_fast: false };

/// What happens to a connection.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Reset,
    Truncate,
    Stall,
    Flip,
}

/// The order of troubles and their places; the same on every run.
struct Plan {
    random: u64,
    passed: u64,
    next: u64,
    struck: usize,
}

impl Plan {
    fn new() -> Self {
        Self { random: 1, passed: 0, next: EVERY / 2, struck: 0 }
    }

    /// The trouble that comes with these bytes.
    fn pass(&mut self, bytes: usize) -> Option<Trouble> {
        self.passed += bytes as u64;
        if self.passed < self.next {
            return None;
        }
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.next += EVERY / 2 + (self.random >> 33) % EVERY;
        self.struck += 1;
        let all = [Trouble::Reset, Trouble::Truncate, Trouble::Flip];
        // Each stall takes the client's whole patience.
        Some(if self.struck % 16 == 15 { Trouble::Stall } else { all[self.struck % all.len()] })
    }
}

/// A line to a registry, over TLS, so that what is altered on the way is noticed where it happens.
struct Line {
    host: String,
    trusted: TrustedCertificates,
    bytes: Arc<AtomicU64>,
    broken: Arc<AtomicBool>,
    plan: Arc<Mutex<Plan>>,
}

impl Line {
    async fn to(registry: &MemoryRegistry) -> Self {
        let authority = Authority::new();
        let inner = behind_tls(&authority, registry.host()).await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(IN_FLIGHT).unwrap();
        socket.set_recv_buffer_size(IN_FLIGHT).unwrap();
        // Segments of 64 KiB, as on loopback, let a sender run megabytes ahead of the line.
        socket2::SockRef::from(&socket).set_tcp_mss(ETHERNET).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let line = Self {
            host: listener.local_addr().unwrap().to_string(),
            trusted: TrustedCertificates { origin: "own.pem".into(), pem: authority.certificate().into_bytes() },
            bytes: Arc::default(),
            broken: Arc::default(),
            plan: Arc::new(Mutex::new(Plan::new())),
        };
        let (bytes, broken, plan) = (line.bytes.clone(), line.broken.clone(), line.plan.clone());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let hands = Hands { bytes: bytes.clone(), broken: broken.clone(), plan: plan.clone() };
                tokio::spawn(hands.carry(client, inner));
            }
        });
        line
    }

    /// From now on the line breaks.
    fn rage(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// Bytes that have passed since the last time, in both directions.
    fn take_bytes(&self) -> u64 {
        self.bytes.swap(0, Ordering::SeqCst)
    }

    fn struck(&self) -> usize {
        self.plan.lock().unwrap().struck
    }

    /// A client with short patience.
    fn client(&self) -> Arc<Registry> {
        let limits = Limits {
            stall: Duration::from_secs(5),
            headers: Duration::from_secs(5),
            backoff_start: Duration::from_millis(5),
            backoff_most: Duration::from_millis(50),
            upload_part: 1_000_000,
            least_part: 32 * 1024,
            ..Limits::default()
        };
        let trusted = vec![self.trusted.clone()];
        let mut settings = RegistrySettings { limits, trusted, ..RegistrySettings::default() };
        settings.https.insert(self.host.parse().unwrap());
        Arc::new(Registry::new(settings, Arc::new(Silent)).unwrap())
    }
}

/// TLS in front of a registry.
async fn behind_tls(authority: &Authority, registry: String) -> SocketAddr {
    let identity = authority.server(&["127.0.0.1"]);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, registry) = (acceptor.clone(), registry.clone());
            tokio::spawn(async move {
                // What breaks here was broken on purpose.
                let mut stream = acceptor.accept(stream).await.ok()?;
                let mut upstream = TcpStream::connect(&registry).await.ok()?;
                tokio::io::copy_bidirectional(&mut stream, &mut upstream).await.ok()
            });
        }
    });
    address
}

#[derive(Clone)]
struct Hands {
    bytes: Arc<AtomicU64>,
    broken: Arc<AtomicBool>,
    plan: Arc<Mutex<Plan>>,
}

impl Hands {
    /// One connection, until it ends or meets trouble.
    async fn carry(self, mut client: TcpStream, to: SocketAddr) -> Option<()> {
        let mut server = TcpStream::connect(to).await.ok()?;
        client.set_nodelay(true).ok()?;
        server.set_nodelay(true).ok()?;
        let ends = (client.peer_addr().ok()?, client.local_addr().ok()?);
        let (mut up, mut down) = (vec![0; IN_FLIGHT as usize], vec![0; IN_FLIGHT as usize]);
        let mut flipped = false;
        loop {
            if flipped {
                // Who notices leaves, and should not be sent more meanwhile because this machine is busy.
                until_read(ends).await;
            }
            let trouble = tokio::select! {
                read = client.read(&mut up) => self.hand_on(&mut up[..read.ok()?], &mut server).await?,
                read = server.read(&mut down) => self.hand_on(&mut down[..read.ok()?], &mut client).await?,
            };
            match trouble {
                None => {}
                Some(Trouble::Flip) => flipped = true,
                Some(Trouble::Truncate) => return None,
                Some(Trouble::Reset) => {
                    until_read(ends).await;
                    return client.set_zero_linger().ok();
                }
                Some(Trouble::Stall) => {
                    // Until the client leaves.
                    while client.read(&mut up).await.ok()? > 0 {}
                    return None;
                }
            }
        }
    }

    /// Hands bytes on, unless trouble is due; nothing at the end of the connection.
    async fn hand_on(&self, bytes: &mut [u8], to: &mut TcpStream) -> Option<Option<Trouble>> {
        if bytes.is_empty() {
            return None;
        }
        let raging = self.broken.load(Ordering::SeqCst);
        let trouble = if raging { self.plan.lock().unwrap().pass(bytes.len()) } else { None };
        let half = bytes.len() / 2;
        let handed = match trouble {
            None => bytes,
            Some(Trouble::Flip) => {
                bytes[half] ^= 0x10;
                bytes
            }
            Some(_) => &mut bytes[..half],
        };
        self.bytes.fetch_add(handed.len() as u64, Ordering::SeqCst);
        to.write_all(handed).await.ok()?;
        Some(trouble)
    }
}

/// Waits until the client has read what the system took in for it: that would be lost with a reset, and be the more the
/// less time the client gets.
async fn until_read((client, line): (SocketAddr, SocketAddr)) {
    while has_unread(client, line) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Whether bytes wait at the client's end of a connection, as the system tells it.
fn has_unread(client: SocketAddr, line: SocketAddr) -> bool {
    let shown = |address: SocketAddr| match address {
        SocketAddr::V4(four) => format!("{:08X}:{:04X}", u32::from_ne_bytes(four.ip().octets()), four.port()),
        SocketAddr::V6(_) => unreachable!("the tests speak IPv4"),
    };
    let (local, remote) = (shown(client), shown(line));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut of_client = row.filter(|row| row.get(1) == Some(&&*local) && row.get(2) == Some(&&*remote));
    of_client.any(|row| !row[4].ends_with(":00000000"))
}

/// 60 MB: one layer far larger than the others, some shared, many small.
fn images() -> Vec<TestImage> {
    let base = TestImage::new("octoperf/agent:1").random_layer(1, 25_000_000).random_layer(2, 5_000_000);
    let jmeter = base.clone().named("octoperf/jmeter:5").random_layer(3, 15_000_000);
    let many = (10..40).fold(TestImage::new("octoperf/many:1").random_layer(4, 10_000_000), |image, seed| {
        image.random_layer(seed, 150_000)
    });
    vec![base, jmeter, many]
}

async fn pulled(names: &[String], line: &Line, output: &Path) {
    let manifest = Manifest::parse("release.yaml", manifest(names).as_bytes()).unwrap();
    let request = PullRequest {
        input: PullInput::Wanted(manifest.select(&Selection::default()).unwrap()),
        since: None,
        write: WriteRequest {
            output: BundleOutput::one_file(output),
            existing: ExistingOutput::Refuse,
            earlier: EarlierDraft::Continue,
            copy: COPY,
            threads: 2,
            lock_wait: Duration::ZERO,
        },
        dry_run: false,
    };
    let silent: Arc<dyn Progress> = Arc::new(Silent);
    let report = workflow::pull(&request, &line.client(), &silent).await.unwrap();
    assert!(report.failures.is_empty() && report.sealed.is_some(), "{:?}", report.failures);
}

/// A registry that also has its own bad moments.
fn answering_502(registry: &MemoryRegistry, method: &str) {
    for number in 1..8 {
        registry.fault(Fault::on(method, "/blobs/").after(number * 7).answer(502));
    }
}

/// At most `per_cent` more bytes than on a calm line.
fn assert_few_twice(calm: u64, broken: u64, per_cent: u64) {
    assert!(broken * 100 <= calm * (100 + per_cent), "{broken} bytes instead of {calm}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_on_the_line_changes_no_byte_of_a_bundle() {
    let (registry, site) = (MemoryRegistry::start(), Site::new());
    let line = Line::to(&registry).await;
    let names: Vec<String> =
        images().iter().map(|image| registry.add(image).replace(&registry.host(), &line.host)).collect();
    pulled(&names, &line, &site.path("calm.tar")).await;
    let calm = line.take_bytes();
    line.rage();
    answering_502(&registry, "GET");
    pulled(&names, &line, &site.path("broken.tar")).await;
    let broken = line.take_bytes();
    assert!(site.read("calm.tar") == site.read("broken.tar"), "the bundles differ");
    assert!(line.struck() >= 25, "only {} faults", line.struck());
    assert_few_twice(calm, broken, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_on_the_line_changes_nothing_that_is_pushed() {
    let (source, site) = (MemoryRegistry::start(), Site::new());
    let from = Line::to(&source).await;
    let names: Vec<String> =
        images().iter().map(|image| source.add(image).replace(&source.host(), &from.host)).collect();
    pulled(&names, &from, &site.path("release.tar")).await;
    let mut passed = Vec::new();
    for raging in [false, true] {
        let sink = MemoryRegistry::start();
        let line = Line::to(&sink).await;
        if raging {
            line.rage();
            answering_502(&sink, "PUT");
        }
        let request = PushRequest {
            bundle: site.path("release.tar").into(),
            bases: vec![],
            target: Target::parse(&line.host, SourceHost::Drop).unwrap(),
            copy: COPY,
            dry_run: false,
            trust: octobundle::workflow::TrustSettings::default(),
        };
        let silent: Arc<dyn Progress> = Arc::new(Silent);
        let report = workflow::push(&request, &line.client(), &silent).await.unwrap();
        assert!(report.failures.is_empty() && report.images.iter().all(|image| image.done), "{:?}", report.failures);
        assert_eq!(sink.blobs(), source.blobs());
        for image in images() {
            let content = image.content();
            let root = sink.manifest(&content.repository, &content.tag).unwrap();
            assert_eq!(root, *content.root());
        }
        assert!(!raging || line.struck() >= 25, "only {} faults", line.struck());
        passed.push(line.take_bytes());
    }
    // Two per cent, with room for machines that notice a break later.
    assert_few_twice(passed[0], passed[1], 4);
}
