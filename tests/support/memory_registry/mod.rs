//! A registry in memory on a free loopback port: reads, writes, records every request, fails on demand.
//!
//! It checks what a real one checks (digests, missing blobs, scopes of tokens) and keeps blobs by repository, so a
//! blob of another repository is absent until it is mounted or sent.

mod access;
mod faults;
mod journal;
mod protocol;
mod stored;
mod wire;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::images::{Document, Sample};

pub(crate) use access::Access;
pub(crate) use faults::Fault;
pub(crate) use journal::Request;

/// How a registry differs from the plain one.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of real registries, on its own")]
pub(crate) struct Options {
    /// Whether `Range` is honoured; a registry that ignores it answers 200 with everything.
    pub(crate) ranges: bool,
    /// Whether a blob can be mounted from another repository; else the request begins an upload.
    pub(crate) mounts: bool,
    /// Whether answers carry `Docker-Content-Digest`.
    pub(crate) digest_header: bool,
    /// Whether `Location` of uploads is a whole URL instead of a path.
    pub(crate) absolute_locations: bool,
    pub(crate) access: Access,
    /// Bodies of all connections together move no faster than this, in both directions.
    pub(crate) bytes_per_second: Option<u64>,
    /// How long every answer is held back.
    pub(crate) latency: Duration,
    /// `http://host:port` to which `GET` of a blob is redirected, path kept.
    pub(crate) redirect_blobs_to: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ranges: true,
            mounts: true,
            digest_header: true,
            absolute_locations: false,
            access: Access::Open,
            bytes_per_second: None,
            latency: Duration::ZERO,
            redirect_blobs_to: None,
        }
    }
}

/// A running registry; it stops when dropped.
pub(crate) struct MemoryRegistry {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

/// What the handle and the connections both see.
struct Shared {
    host: String,
    options: Options,
    stored: Mutex<stored::Stored>,
    tokens: Mutex<access::Tokens>,
    faults: Mutex<faults::Faults>,
    journal: journal::Journal,
    pace: wire::Pace,
}

impl Shared {
    fn stored(&self) -> MutexGuard<'_, stored::Stored> {
        self.stored.lock().expect("no request panics while it holds the contents")
    }
}

impl MemoryRegistry {
    pub(crate) fn start() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            host: address.to_string(),
            stored: Mutex::default(),
            tokens: Mutex::default(),
            faults: Mutex::default(),
            journal: journal::Journal::default(),
            pace: wire::Pace::new(options.bytes_per_second),
            options,
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("memory-registry")
            .enable_all()
            .build()
            .expect("a runtime can be started");
        let app = axum::Router::new().fallback(wire::answer).with_state(Arc::clone(&shared));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("the runtime takes the socket");
            axum::serve(listener, app).await.expect("serving ends only with the runtime");
        });
        Self { address, shared, runtime: Some(runtime) }
    }

    /// `127.0.0.1:port`, as it stands in image names.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes in all of a sample's blobs and documents, and its name. Returns the name with this registry's host.
    pub(crate) fn add(&self, sample: &(impl Sample + ?Sized)) -> String {
        let content = sample.content();
        let name = format!("{}/{}", self.host(), content.name());
        self.shared.stored().add(content);
        name
    }

    /// What `reference` (a tag or a digest) names in `repository`.
    pub(crate) fn manifest(&self, repository: &str, reference: &str) -> Option<Document> {
        self.shared.stored().document(repository, reference).cloned()
    }

    /// Tags of a repository, sorted.
    pub(crate) fn tags(&self, repository: &str) -> Vec<String> {
        self.shared.stored().tags(repository)
    }

    /// Digests of all blobs, of every repository.
    pub(crate) fn blobs(&self) -> BTreeSet<String> {
        self.shared.stored().blobs()
    }

    pub(crate) fn blob(&self, repository: &str, digest: &str) -> Option<bytes::Bytes> {
        self.shared.stored().blob(repository, digest)
    }

    /// Puts other bytes in the place of a blob, in every repository, without a word.
    pub(crate) fn replace_blob(&self, digest: &str, bytes: &[u8]) {
        self.shared.stored().replace_blob(digest, bytes);
    }

    pub(crate) fn remove_blob(&self, digest: &str) {
        self.shared.stored().remove_blob(digest);
    }

    /// Puts any bytes where `reference` points, whatever they are.
    pub(crate) fn replace_manifest(&self, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) {
        self.shared.stored().replace_document(repository, reference, media_type, bytes);
    }

    /// Lets the next requests that match go wrong.
    pub(crate) fn fault(&self, fault: Fault) {
        self.shared.faults.lock().expect("no request panics while it holds the faults").add(fault);
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn heal(&self) {
        *self.shared.faults.lock().expect("no request panics while it holds the faults") = faults::Faults::default();
    }

    /// All requests so far, in the order of arrival.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.journal.requests()
    }

    /// Starts the record and its counters anew.
    pub(crate) fn forget_requests(&self) {
        self.shared.journal.clear();
    }

    /// Bytes of all answers' bodies.
    pub(crate) fn bytes_sent(&self) -> u64 {
        self.requests().iter().map(|request| request.bytes_sent).sum()
    }

    /// Bytes of blobs that were handed to connections.
    pub(crate) fn blob_bytes_sent(&self) -> u64 {
        self.requests().iter().filter(|request| request.reads_blob()).map(|request| request.bytes_sent).sum()
    }

    /// Bytes of blobs that arrived, also those of uploads that failed.
    pub(crate) fn blob_bytes_received(&self) -> u64 {
        self.requests().iter().filter(|request| request.is_upload()).map(|request| request.bytes_received).sum()
    }

    /// From now on bodies move as fast as they can.
    pub(crate) fn lift_pace(&self) {
        self.shared.pace.lift();
    }

    /// The largest number of blob bodies that moved at the same time.
    pub(crate) fn most_transfers_at_once(&self) -> usize {
        self.shared.journal.most_transfers_at_once()
    }
}

impl Drop for MemoryRegistry {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
