//! Ways to a server: HTTP and SOCKS5 proxies that know where names really lead, one of which reads TLS, and a TLS end
//! before a server that speaks plain HTTP. Loopback addresses never go through a proxy, so tests use names.
#![allow(dead_code, reason = "each test file that uses this module uses a part of it")]

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use super::support::authority::{Authority, Identity};

/// How a proxy differs from the plain one.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    /// Names with the loopback servers that they stand for, whatever the port.
    pub(crate) hosts: Vec<(&'a str, SocketAddr)>,
    /// The only user and password.
    pub(crate) login: Option<(&'a str, &'a str)>,
    /// How the login is asked for; `Basic realm="proxy"` unless given.
    pub(crate) scheme: Option<&'a str>,
    /// Reads what goes through by certificates of this authority; behind it, servers are spoken to in plain HTTP.
    pub(crate) reads_tls: Option<&'a Authority>,
    /// Ends each connection after so many bytes to the client.
    pub(crate) cuts_after: Option<u64>,
}

/// What a proxy was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `CONNECT` for a tunnel; `SOCKS5` for any of that protocol.
    pub(crate) method: String,
    /// `host:port`, or a whole address.
    pub(crate) target: String,
    /// The whole head as it came.
    pub(crate) head: String,
}

/// A running proxy or TLS end; it stops when dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    hosts: BTreeMap<String, SocketAddr>,
    login: Option<String>,
    scheme: String,
    acceptors: Option<BTreeMap<String, TlsAcceptor>>,
    cuts_after: u64,
    asked: Mutex<Vec<Asked>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Proxy {
    /// An HTTP proxy.
    pub(crate) fn start(setup: &Setup<'_>) -> Self {
        Self::run(setup, |stream, shared| async move { http(stream, shared).await })
    }

    /// A SOCKS5 proxy. Of the setup, it knows hosts and the login.
    pub(crate) fn socks(setup: &Setup<'_>) -> Self {
        Self::run(setup, |stream, shared| async move { socks(stream, shared).await })
    }

    /// Speaks TLS as `identity` and passes on to `server`.
    pub(crate) fn tls_end(identity: &Identity, server: SocketAddr) -> Self {
        let acceptor = acceptor(identity);
        Self::run(&Setup::default(), move |stream, _| {
            let acceptor = acceptor.clone();
            async move {
                let inside = acceptor.accept(stream).await?;
                join(inside, TcpStream::connect(server).await?, u64::MAX).await
            }
        })
    }

    fn run<F>(setup: &Setup<'_>, serve: impl Fn(TcpStream, Arc<Shared>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::new(setup));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("proxy")
            .enable_all()
            .build()
            .expect("a runtime can be started");
        let given = Arc::clone(&shared);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("the runtime takes the socket");
            loop {
                let (stream, _) = listener.accept().await.expect("a listening socket accepts");
                // Either side may go away at any time; the test looks at what arrived.
                tokio::spawn(serve(stream, Arc::clone(&given)));
            }
        });
        Self { address, shared, runtime: Some(runtime) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// What it was asked for, in the order of arrival.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().expect("no test panics while it holds the record").clone()
    }
}

impl Shared {
    fn new(setup: &Setup<'_>) -> Self {
        let ends = |authority: &Authority| {
            setup.hosts.iter().map(|(name, _)| ((*name).to_owned(), acceptor(&authority.server(&[name])))).collect()
        };
        Self {
            hosts: setup.hosts.iter().map(|(name, address)| ((*name).to_owned(), *address)).collect(),
            login: setup.login.map(|(user, password)| basic(user, password)),
            scheme: setup.scheme.unwrap_or("Basic realm=\"proxy\"").to_owned(),
            acceptors: setup.reads_tls.map(ends),
            cuts_after: setup.cuts_after.unwrap_or(u64::MAX),
            asked: Mutex::default(),
        }
    }

    fn note(&self, method: &str, target: &str, head: &str) {
        let asked = Asked { method: method.to_owned(), target: target.to_owned(), head: head.to_owned() };
        self.asked.lock().expect("no test panics while it holds the record").push(asked);
    }

    /// The server behind `host[:port]`.
    async fn connect(&self, authority: &str) -> io::Result<TcpStream> {
        let name = authority.rsplit_once(':').map_or(authority, |(name, _)| name);
        let address = self.hosts.get(name).ok_or_else(|| io::Error::other("a name that nobody knows"))?;
        TcpStream::connect(address).await
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

fn acceptor(identity: &Identity) -> TlsAcceptor {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("the key is PEM");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites")
        .with_no_client_auth()
        .with_single_cert(chain.expect("the certificate is PEM"), key)
        .expect("the key is the certificate's");
    TlsAcceptor::from(Arc::new(config))
}

async fn http(mut stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    shared.note(&method, &target, &head);
    let given = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().starts_with("proxy-authorization:").then(|| line[20..].trim()));
    if shared.login.is_some() && shared.login.as_deref() != given {
        let refusal = format!(
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            shared.scheme
        );
        stream.write_all(refusal.as_bytes()).await?;
        return stream.shutdown().await;
    }
    if method == "CONNECT" {
        let server = shared.connect(&target).await?;
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        let name = target.rsplit_once(':').map_or(&*target, |(name, _)| name);
        return match shared.acceptors.as_ref().and_then(|acceptors| acceptors.get(name)) {
            Some(acceptor) => join(acceptor.accept(stream).await?, server, shared.cuts_after).await,
            None => join(stream, server, shared.cuts_after).await,
        };
    }
    forward(stream, &head, &read[end..], &target, &shared).await
}

/// One request in plain HTTP, as its server wants to see it.
async fn forward(stream: TcpStream, head: &str, body: &[u8], target: &str, shared: &Shared) -> io::Result<()> {
    let (authority, path) = target
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(|| io::Error::other("proxies are asked for whole addresses"))?;
    let mut server = shared.connect(authority).await?;
    let mut sent = head.replacen(target, &format!("/{path}"), 1);
    let kept = |line: &&str| {
        let lower = line.to_ascii_lowercase();
        !lower.starts_with("proxy-") && !lower.starts_with("connection:")
    };
    sent = sent.trim_end().lines().filter(kept).collect::<Vec<_>>().join("\r\n") + "\r\nConnection: close\r\n\r\n";
    server.write_all(sent.as_bytes()).await?;
    server.write_all(body).await?;
    join(stream, server, shared.cuts_after).await
}

async fn socks(mut stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting).await?;
    let mut methods = vec![0; usize::from(greeting[1])];
    stream.read_exact(&mut methods).await?;
    let wanted = if shared.login.is_some() { 2 } else { 0 };
    if !methods.contains(&wanted) {
        stream.write_all(&[5, 0xff]).await?;
        return stream.shutdown().await;
    }
    stream.write_all(&[5, wanted]).await?;
    if let Some(login) = &shared.login {
        stream.read_u8().await?;
        let mut words = Vec::new();
        for _ in 0..2 {
            let mut word = vec![0; usize::from(stream.read_u8().await?)];
            stream.read_exact(&mut word).await?;
            words.push(String::from_utf8_lossy(&word).into_owned());
        }
        let is_right = *login == basic(&words[0], &words[1]);
        stream.write_all(&[1, u8::from(!is_right)]).await?;
        if !is_right {
            return stream.shutdown().await;
        }
    }
    let mut request = [0; 4];
    stream.read_exact(&mut request).await?;
    let name = match request[3] {
        1 => {
            let mut address = [0; 4];
            stream.read_exact(&mut address).await?;
            Ipv4Addr::from(address).to_string()
        }
        3 => {
            let mut name = vec![0; usize::from(stream.read_u8().await?)];
            stream.read_exact(&mut name).await?;
            String::from_utf8_lossy(&name).into_owned()
        }
        _ => return Err(io::Error::other("no such kind of address is tested")),
    };
    let port = stream.read_u16().await?;
    shared.note("SOCKS5", &format!("{name}:{port}"), "");
    let server = shared.connect(&format!("{name}:{port}")).await?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    join(stream, server, shared.cuts_after).await
}

/// Passes bytes on in both directions, no more than `most` of them to the client.
async fn join(client: impl AsyncRead + AsyncWrite + Unpin, server: TcpStream, most: u64) -> io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (from_server, mut to_server) = server.into_split();
    let up = async {
        tokio::io::copy(&mut from_client, &mut to_server).await?;
        to_server.shutdown().await?;
        // The client may have said all and still be waiting for the answer.
        std::future::pending::<io::Result<()>>().await
    };
    let down = async {
        tokio::io::copy(&mut from_server.take(most), &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}
