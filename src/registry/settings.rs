//! How registries are spoken to; made by the caller, who alone reads environment and files of the person.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::oci::{Host, Repository};
use crate::registry::credentials::{Anonymous, CredentialStore};
use crate::registry::endpoint::Endpoint;
use crate::registry::proxy::ProxyRules;
use crate::registry::registries_conf::RegistriesConf;
use crate::registry::secret::Secret;

/// Everything that decides how a registry is reached. The default speaks https, directly, anonymously.
#[derive(Clone)]
pub struct RegistrySettings {
    /// Which connections go through which proxy.
    pub proxy: ProxyRules,
    /// Certificates trusted beside the system's, as PEM. A server's own self-signed certificate may stand here too.
    pub trusted: Vec<TrustedCertificates>,
    /// Certificates trusted for one host only, and for the token servers that may see its login.
    pub trusted_for: BTreeMap<Host, Vec<TrustedCertificates>>,
    /// Certificates shown to hosts that ask for one.
    pub client_certificates: BTreeMap<Host, ClientCertificate>,
    /// Hosts whose certificate is not checked. They are still spoken to over https, loopback hosts too.
    pub insecure_tls: BTreeSet<Host>,
    /// Hosts spoken to in plain http. Loopback hosts are so by default.
    pub plain_http: BTreeSet<Host>,
    /// Loopback hosts that do speak https. Wins over `plain_http` and over the default for loopback; so do an entry
    /// in `insecure_tls` and a client certificate, which make no sense without TLS.
    pub https: BTreeSet<Host>,
    /// Where a host's images are asked for first, in this order.
    pub mirrors: Vec<Mirror>,
    /// What containers' `registries.conf` says; its mirrors count for hosts that `mirrors` does not name.
    pub registries: RegistriesConf,
    /// Where logins come from.
    pub credentials: Arc<dyn CredentialStore>,
    /// Hosts, with or without port, that may ask for any registry's login (`realm` of a bearer challenge).
    pub trusted_realms: BTreeSet<Host>,
    /// How long one blob or request may go without progress before it is given up.
    pub retry_for: Duration,
    /// The longest `Retry-After` that is waited for; a longer one ends the run with the time to come back.
    pub max_wait: Duration,
    /// Bytes per second in both directions together; none means as fast as it goes.
    pub limit_rate: Option<u64>,
    /// The most requests that one host is asked at once. Fewer are used when it answers 429 or 503.
    pub connections: usize,
    /// What we call ourselves.
    pub user_agent: String,
    /// Times and sizes; tests shorten them.
    pub limits: Limits,
}

/// PEM text with the name of the file it came from.
#[derive(Clone)]
pub struct TrustedCertificates {
    /// The file, for messages.
    pub origin: PathBuf,
    /// Its content: one certificate or more.
    pub pem: Vec<u8>,
}

/// A certificate with its key, as PEM.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The file, for messages.
    pub origin: PathBuf,
    /// The certificate and its intermediates, leaf first.
    pub certificates: Vec<u8>,
    /// The unencrypted key in PKCS#8, PKCS#1 or SEC1 form.
    pub key: Secret,
}

/// A registry that has another host's images under the same names, below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Whose images.
    pub from: Host,
    /// The host that has them.
    pub to: Host,
    /// The path before their names; may be empty.
    pub prefix: String,
}

impl Mirror {
    /// `repository` as the mirror calls it, where this mirror is for it.
    pub fn rename(&self, repository: &Repository) -> Option<Repository> {
        if repository.host != self.from {
            return None;
        }
        // A name that becomes too long below the prefix is not at the mirror either.
        let name = repository.name.below(&self.prefix).ok()?;
        Some(Repository { host: self.to.clone(), name })
    }
}

/// Times and sizes. The defaults leave room for proxies that scan a file before they pass it on, and for slow lines.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Name resolution, connection, proxy tunnel and TLS handshake together.
    pub connect: Duration,
    /// From the request to the answer's headers; proxies that scan a file keep us waiting.
    pub headers: Duration,
    /// No byte in either direction for so long means the connection is dead.
    pub stall: Duration,
    /// Over this time at least `slow_bytes` have to come, else the connection is replaced.
    pub slow_window: Duration,
    /// See `slow_window`.
    pub slow_bytes: u64,
    /// The first pause after a failure; each next one may be twice as long.
    pub backoff_start: Duration,
    /// The longest pause after a failure.
    pub backoff_most: Duration,
    /// How long a host that never answered in this run is tried: a wrong name should not take `retry_for`.
    pub first_contact: Duration,
    /// The pause before a fresh token that was refused is tried once more: servers' clocks differ.
    pub fresh_token_pause: Duration,
    /// The largest part when a blob is uploaded in parts.
    pub upload_part: u64,
    /// The smallest, unless the registry refuses that size: each costs a round trip.
    pub least_part: u64,
}

impl RegistrySettings {
    /// Where `repository` is asked for, in this order: its mirrors, then its own host or what stands in its place.
    /// Empty where it is blocked or cannot be an address.
    pub fn places_of(&self, repository: &Repository) -> Vec<Repository> {
        let endpoints = Endpoint::all_of(repository, self).unwrap_or_default();
        endpoints.into_iter().map(|endpoint| endpoint.repository).collect()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            headers: Duration::from_secs(120),
            stall: Duration::from_secs(30),
            slow_window: Duration::from_secs(60),
            slow_bytes: 60 * 1024,
            backoff_start: Duration::from_secs(1),
            backoff_most: Duration::from_secs(60),
            first_contact: Duration::from_secs(30),
            fresh_token_pause: Duration::from_secs(2),
            upload_part: 8 * 1024 * 1024,
            least_part: 64 * 1024,
        }
    }
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            proxy: ProxyRules::direct(),
            trusted: Vec::new(),
            trusted_for: BTreeMap::new(),
            client_certificates: BTreeMap::new(),
            insecure_tls: BTreeSet::new(),
            plain_http: BTreeSet::new(),
            https: BTreeSet::new(),
            mirrors: Vec::new(),
            registries: RegistriesConf::default(),
            credentials: Arc::new(Anonymous),
            trusted_realms: BTreeSet::new(),
            retry_for: Duration::from_secs(600),
            max_wait: Duration::from_secs(900),
            limit_rate: None,
            connections: 16,
            user_agent: concat!("octobundle/", env!("CARGO_PKG_VERSION")).to_owned(),
            limits: Limits::default(),
        }
    }
}
