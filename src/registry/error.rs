//! What can go wrong with a registry, and what to do about it.

use std::error::Error;
use std::sync::Arc;

use crate::failure::Failure;
use crate::oci::{Digest, DocumentError};

type Cause = Box<dyn Error + Send + Sync>;

/// A registry did not do what it was asked. `host` is the registry or whoever answered in its place, `what` the
/// thing asked for, as in "manifest `7` of `docker.io/library/redis`". Addresses are shown without query.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A setting that cannot be used.
    #[error("{what}")]
    Setting {
        /// Which, and why.
        what: String,
    },
    /// What another request met that this one waited for: all who need one token share its fetching.
    #[error("{0}")]
    Shared(Arc<RegistryError>),
    /// Looking for a login failed.
    #[error("{0}")]
    Credentials(Failure),
    /// 401 and there is no login.
    #[error("`{host}` wants a login for {what} (HTTP 401){}", quoted(said))]
    LoginMissing {
        /// Who.
        host: String,
        /// For what.
        what: String,
        /// What the server said.
        said: String,
    },
    /// 401 with the login that was found.
    #[error("`{host}` refused the login from {origin} for {what} (HTTP 401){}", quoted(said))]
    LoginRefused {
        /// Who.
        host: String,
        /// For what.
        what: String,
        /// Where the login came from.
        origin: String,
        /// What the server said.
        said: String,
    },
    /// 403.
    #[error("`{host}` does not allow {what} (HTTP 403){}", quoted(said))]
    Denied {
        /// Who.
        host: String,
        /// What.
        what: String,
        /// What the server said.
        said: String,
    },
    /// 404.
    #[error("`{host}` does not have {what} (HTTP 404){}", quoted(said))]
    NotFound {
        /// Who.
        host: String,
        /// What.
        what: String,
        /// What the server said.
        said: String,
    },
    /// 429, or 503 with a time: come back later than we may wait.
    #[error("`{host}` allows no more requests for now (HTTP {status}), asked for {what}{}{}", later(*seconds), quoted(said))]
    RateLimited {
        /// Who.
        host: String,
        /// For what.
        what: String,
        /// 429 or 503.
        status: u16,
        /// When to come back, in seconds from now, if it was said.
        seconds: Option<u64>,
        /// What the server said.
        said: String,
    },
    /// Any other answer that is not the one asked for.
    #[error("`{host}` answered HTTP {status} to {what}{}", quoted(said))]
    Status {
        /// Who.
        host: String,
        /// To what.
        what: String,
        /// The status.
        status: u16,
        /// What the server said.
        said: String,
    },
    /// A web page where none can be: a captive portal, a firewall's notice.
    #[error("a web page titled `{title}` answered instead of `{host}` (HTTP {status}{}), asked for {what}", by(server))]
    Page {
        /// Who was asked.
        host: String,
        /// For what.
        what: String,
        /// The status.
        status: u16,
        /// The page's title.
        title: String,
        /// The `Server` header.
        server: String,
    },
    /// The proxy wants a login.
    #[error("the proxy {proxy} wants another login or none that we can give (HTTP 407), asked for `{host}`")]
    ProxyLogin {
        /// Who was to be reached.
        host: String,
        /// The proxy, without its login.
        proxy: String,
    },
    /// The proxy answers but makes no connection.
    #[error("the proxy {proxy} makes no connection to `{host}`")]
    ProxyRefused {
        /// Who was to be reached.
        host: String,
        /// The proxy, without its login.
        proxy: String,
        /// As the HTTP library says it.
        #[source]
        source: Cause,
    },
    /// The certificate is signed by nobody we trust.
    #[error("the certificate of `{host}` is signed by an authority that is not trusted{}", issued_by(issuer.as_deref()))]
    UnknownAuthority {
        /// Whose certificate.
        host: String,
        /// The signer's name, where it is known.
        issuer: Option<String>,
    },
    /// The certificate is wrong in another way.
    #[error("the certificate of `{host}` is not acceptable: {why}")]
    Certificate {
        /// Whose certificate.
        host: String,
        /// Expired, for another name, ….
        why: String,
    },
    /// TLS was spoken to a server that does not speak it.
    #[error("`{host}` does not speak TLS on this port")]
    NotTls {
        /// Who.
        host: String,
        /// As the TLS library says it.
        #[source]
        source: Cause,
    },
    /// TLS could not be agreed upon.
    #[error("no TLS connection to `{host}` can be agreed upon")]
    Tls {
        /// With whom.
        host: String,
        /// As the TLS library says it.
        #[source]
        source: Cause,
    },
    /// The name has no address.
    #[error("the name of `{host}` cannot be resolved{}", through(proxy.as_deref()))]
    Unresolved {
        /// Whose name.
        host: String,
        /// The proxy on the way, if any.
        proxy: Option<String>,
        /// As the resolver says it.
        #[source]
        source: Cause,
    },
    /// No connection.
    #[error("no connection to `{host}`{}", through(proxy.as_deref()))]
    Unreachable {
        /// To whom.
        host: String,
        /// The proxy on the way, if any.
        proxy: Option<String>,
        /// As the system says it.
        #[source]
        source: Cause,
    },
    /// Silence.
    #[error("`{host}` sent nothing for {seconds} s, asked for {what}")]
    Stalled {
        /// Who.
        host: String,
        /// What was asked.
        what: String,
        /// For how long.
        seconds: u64,
    },
    /// The connection ended too soon.
    #[error("the connection to `{host}` broke, asked for {what}")]
    Broken {
        /// To whom.
        host: String,
        /// What was asked.
        what: String,
        /// As the HTTP library says it.
        #[source]
        source: Cause,
    },
    /// The server that a registry redirected to does not give what was asked for. Its addresses expire.
    #[error("`{host}`, to which the registry redirects, answered HTTP {status} to {what}{}", quoted(said))]
    StoreRefused {
        /// Who.
        host: String,
        /// To what.
        what: String,
        /// The status.
        status: u16,
        /// What it said.
        said: String,
    },
    /// An answer that is no HTTP.
    #[error("`{host}` answered something that is no sound HTTP to {what}")]
    Garbled {
        /// Who.
        host: String,
        /// To what.
        what: String,
        /// As the HTTP library says it.
        #[source]
        source: Cause,
    },
    /// A redirect that is not followed.
    #[error("`{host}` redirects {what} to `{target}`, which is not followed: {why}")]
    RedirectRefused {
        /// Who.
        host: String,
        /// What was asked.
        what: String,
        /// Where to.
        target: String,
        /// Why not.
        why: &'static str,
    },
    /// A token server that must not see the login.
    #[error("`{host}` asks to send its login to `{realm}`, which is not done: {why}")]
    RealmRefused {
        /// Who.
        host: String,
        /// The token server's address.
        realm: String,
        /// Its host, as the setting takes it; none where no setting helps.
        trust: Option<String>,
        /// Why not.
        why: &'static str,
    },
    /// An upload address that is not used.
    #[error("`{host}` wants {what} sent to `{target}`, which is not done: {why}")]
    LocationRefused {
        /// Who.
        host: String,
        /// What was to be sent.
        what: String,
        /// The address.
        target: String,
        /// Why not.
        why: &'static str,
    },
    /// An answer that breaks the rules of the protocol.
    #[error("`{host}` answered wrongly to {what}: {why}")]
    Answer {
        /// Who.
        host: String,
        /// To what.
        what: String,
        /// Which rule.
        why: String,
    },
    /// More than we read.
    #[error("`{host}` sent more than {limit} bytes for {what}")]
    TooLarge {
        /// Who.
        host: String,
        /// For what.
        what: String,
        /// The most that is read.
        limit: u64,
    },
    /// A document that cannot be used.
    #[error("{what} from `{host}` cannot be used")]
    Document {
        /// Who sent it.
        host: String,
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// Another length than promised.
    #[error("`{host}` has {got} bytes for {what}, {expected} were promised")]
    OtherLength {
        /// Who sent it.
        host: String,
        /// Which.
        what: String,
        /// The promised length.
        expected: u64,
        /// What it would send.
        got: u64,
    },
    /// The bytes of a blob were compressed on the way.
    #[error("`{host}` sends {what} compressed ({coding}), though it was asked not to")]
    Compressed {
        /// Who sent it.
        host: String,
        /// Which.
        what: String,
        /// As it calls it.
        coding: String,
    },
    /// Other content than the name says.
    #[error("`{host}` sent other content for {what}: expected {expected}, got {got}")]
    OtherContent {
        /// Who.
        host: String,
        /// Which.
        what: String,
        /// The digest asked for.
        expected: Digest,
        /// What came.
        got: String,
    },
}

fn quoted(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

fn by(server: &str) -> String {
    if server.is_empty() { String::new() } else { format!(" from `{server}`") }
}

fn issued_by(issuer: Option<&str>) -> String {
    issuer.map_or_else(String::new, |name| format!(": `{name}`"))
}

fn through(proxy: Option<&str>) -> String {
    proxy.map_or_else(String::new, |proxy| format!(" through the proxy {proxy}"))
}

fn later(seconds: Option<u64>) -> String {
    seconds.map_or_else(String::new, |seconds| format!(", come back in {}", span(seconds)))
}

pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

impl RegistryError {
    /// The error itself, where several requests share it.
    pub(super) fn inner(&self) -> &Self {
        match self {
            Self::Shared(error) => error.inner(),
            other => other,
        }
    }

    /// Whether a manifest was refused for parts that the registry says it does not have.
    pub(crate) fn lacks_parts(&self) -> bool {
        match self.inner() {
            Self::Status { status: 400..=499, said, .. } | Self::NotFound { said, .. } => {
                said.contains("MANIFEST_BLOB_UNKNOWN") || said.contains("BLOB_UNKNOWN")
            }
            _ => false,
        }
    }

    /// Who answered or should have.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Setting { .. } | Self::Credentials(_) => String::new(),
            Self::Shared(error) => error.host(),
            Self::LoginMissing { host, .. }
            | Self::LoginRefused { host, .. }
            | Self::Denied { host, .. }
            | Self::NotFound { host, .. }
            | Self::RateLimited { host, .. }
            | Self::Status { host, .. }
            | Self::Page { host, .. }
            | Self::ProxyLogin { host, .. }
            | Self::ProxyRefused { host, .. }
            | Self::UnknownAuthority { host, .. }
            | Self::Certificate { host, .. }
            | Self::NotTls { host, .. }
            | Self::Tls { host, .. }
            | Self::StoreRefused { host, .. }
            | Self::Unresolved { host, .. }
            | Self::Unreachable { host, .. }
            | Self::Stalled { host, .. }
            | Self::Broken { host, .. }
            | Self::Garbled { host, .. }
            | Self::RedirectRefused { host, .. }
            | Self::RealmRefused { host, .. }
            | Self::LocationRefused { host, .. }
            | Self::Answer { host, .. }
            | Self::TooLarge { host, .. }
            | Self::Document { host, .. }
            | Self::OtherContent { host, .. }
            | Self::Compressed { host, .. }
            | Self::OtherLength { host, .. } => host.clone(),
        }
    }
}
