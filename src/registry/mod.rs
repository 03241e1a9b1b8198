//! A registry over HTTP.
//!
//! | file | says |
//! |---|---|
//! | `settings`, `proxy`, `certs_d`, `registries_conf` | what the caller decides, and other tools' files about it |
//! | `credentials`, `auth_file`, `auth_store`, `helper`, `secret` | where logins come from and are kept |
//! | `endpoint` | where a repository is really asked for: mirrors, schemes, addresses |
//! | `transport`, `tls`, `certificate` | connections, and what their errors mean |
//! | `challenge`, `realm`, `token`, `auth` | logging in, and to whom a login is shown |
//! | `redirect`, `retry`, `exchange`, `answer`, `notice` | one request: login, redirects, pauses, tries |
//! | `crowd`, `throttle` | how much at once |
//! | `pull`, `download`, `range`, `pieces`, `pace`, `coding` | documents and blobs from it |
//! | `lists` | the repositories and tags that it shows |
//! | `push`, `upload`, `parts`, `body`, `location`, `weather` | documents and blobs to it |
//! | `probe`, `beyond`, `tls_report` | looks at a registry and what belongs to it, for `doctor` and `login` |
//! | `error`, `explain`, `quirks` | what can go wrong, and what to do |

mod answer;
mod auth;
mod auth_file;
mod auth_store;
mod beyond;
mod body;
mod certificate;
mod certs_d;
mod challenge;
mod coding;
mod credentials;
mod crowd;
mod download;
mod endpoint;
mod error;
mod exchange;
mod explain;
mod helper;
mod lists;
mod location;
mod notice;
mod pace;
mod parts;
mod pieces;
mod probe;
mod proxy;
mod pull;
mod push;
mod quirks;
mod range;
mod realm;
mod redirect;
mod registries_conf;
mod retry;
mod secret;
mod settings;
mod sync;
mod throttle;
mod tls;
mod tls_report;
mod token;
mod transport;
mod upload;
mod weather;

use std::ops::Range;
use std::sync::Arc;

use crate::content::{BlobContent, Fetched, ImageSink, ImageSource, Lookup, Unverified};
use crate::failure::Failure;
use crate::oci::{Descriptor, Digest, Host, MediaType, Repository, Tag};
use crate::progress::{Arrival, Event, Progress};
use crate::registry::exchange::Exchange;

pub use auth_store::{Kept, LoginFile};
pub use certificate::certificate_dates;
pub use certs_d::{CertsError, HostCertificates};
pub use credentials::{Anonymous, AuthFile, AuthFiles, Credential, CredentialStore, Found};
pub use error::RegistryError;
pub use probe::{ApiAnswer, HostReport, LoginAnswer, PlaceReport, RateLimit, Reach, Resolved, ServerReport};
pub use proxy::{BadProxy, Decision, ProxyRules, ProxyTexts, ProxyUrl};
pub use registries_conf::{RegistriesConf, RegistriesConfError};
pub use secret::Secret;
pub use settings::{ClientCertificate, Limits, Mirror, RegistrySettings, TrustedCertificates};
pub use tls_report::{CertificateReport, TlsReport, Vouched};

/// All registries of a run: connections, tokens and pauses are shared by all copies of it.
#[derive(Clone)]
pub struct Registry(Arc<Exchange>);

impl Registry {
    /// Registries spoken to as `settings` say. Nothing is connected yet; certificates and keys are read and checked.
    pub fn new(settings: RegistrySettings, progress: Arc<dyn Progress>) -> Result<Self, RegistryError> {
        let exchange = Exchange::new(settings, progress)?;
        if exchange.transport.without_store {
            let text =
                "this machine has no certificate store; the public authorities that come with octobundle are trusted";
            exchange.progress.report(Event::Warning(text.into()));
        }
        for host in &exchange.settings.insecure_tls {
            let text = format!(
                "the certificate of `{host}` is not checked: anyone on the way can read and change what is sent"
            );
            exchange.progress.report(Event::Warning(text));
        }
        Ok(Self(Arc::new(exchange)))
    }

    /// Whether a registry holds a blob. One of another length than promised counts as absent.
    pub async fn has_blob(&self, at: &Repository, blob: &Descriptor) -> Result<bool, Failure> {
        Ok(self.0.has_blob(at, blob).await?)
    }

    /// The digest that a tag (or digest) has at the registry today; none if it is not there.
    pub async fn document_digest(&self, at: &Repository, lookup: &Lookup) -> Result<Option<Digest>, Failure> {
        Ok(self.0.document_digest(at, lookup).await?)
    }

    /// The repositories that a registry shows to this login. Not all registries show them.
    pub async fn repositories(&self, host: &Host) -> Result<Vec<Repository>, Failure> {
        Ok(self.0.repositories(host).await?)
    }

    /// The tags of a repository.
    pub async fn tags(&self, at: &Repository) -> Result<Vec<Tag>, Failure> {
        Ok(self.0.tags(at).await?)
    }

    /// A part of a blob. Its digest says nothing about it: whoever asks puts it together with the rest.
    pub async fn blob_part(
        &self,
        at: &Repository,
        blob: &Descriptor,
        range: Range<u64>,
    ) -> Result<Unverified, Failure> {
        Ok(self.0.blob(at, blob, range).await?)
    }

    /// Asks the registry to take `blob` over from another of its repositories. False if it does not: then the blob has
    /// to be uploaded.
    pub async fn mount(&self, to: &Repository, from: &Repository, blob: &Descriptor) -> Result<bool, Failure> {
        Ok(self.0.mount(to, from, blob).await?)
    }
}

impl ImageSource for Registry {
    async fn document(&self, at: &Repository, lookup: &Lookup) -> Result<Fetched, Failure> {
        Ok(self.0.document(at, lookup).await?)
    }

    async fn blob(&self, at: &Repository, blob: &Descriptor, from: u64) -> Result<Unverified, Failure> {
        Ok(self.0.blob(at, blob, from..blob.size).await?)
    }
}

impl ImageSink for Registry {
    async fn put_blob<S: ImageSource>(&self, at: &Repository, content: BlobContent<S>) -> Result<Arrival, Failure> {
        self.0.put_blob(at, content).await
    }

    async fn adopt(&self, at: &Repository, from: &Repository, blob: &Descriptor) -> Result<bool, Failure> {
        self.mount(at, from, blob).await
    }

    async fn put_document(
        &self,
        at: &Repository,
        lookup: &Lookup,
        media_type: &MediaType,
        raw: &[u8],
    ) -> Result<(), Failure> {
        Ok(self.0.put_document(at, lookup, media_type, raw).await?)
    }
}
