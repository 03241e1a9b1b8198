//! What a server shows in TLS, and who vouches for it: the facts that `doctor` tells.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::registry::certificate::Facts;
use crate::registry::settings::TrustedCertificates;

/// A certificate chain as a server showed it.
#[derive(Debug, Clone)]
pub struct TlsReport {
    /// The server's own certificate first.
    pub chain: Vec<CertificateReport>,
    /// Who vouches for it.
    pub vouched_by: Vouched,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateReport {
    /// Whose it is: common name or organisation.
    pub subject: Option<String>,
    /// Who signed it.
    pub issuer: Option<String>,
    /// Seconds since 1970.
    pub from: u64,
    /// Seconds since 1970.
    pub until: u64,
}

/// Why a certificate chain is believed, or that it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vouched {
    /// An authority that all browsers know.
    PublicAuthority,
    /// A certificate in this file.
    File(PathBuf),
    /// This machine's store, to which somebody added an authority.
    System,
    /// Nobody is asked: the check is switched off for this host.
    Unchecked,
    /// Nobody; the text is the check's own.
    Nobody(String),
}

/// What one connection showed.
pub(super) type Seen = Arc<Mutex<Option<Shown>>>;

pub(super) struct Shown {
    chain: Vec<CertificateDer<'static>>,
    name: ServerName<'static>,
    now: UnixTime,
    refused: Option<String>,
}

impl Shown {
    /// A chain with the server's own certificate first, and why it was refused, if it was.
    pub(super) fn new(
        chain: Vec<CertificateDer<'static>>,
        name: ServerName<'static>,
        now: UnixTime,
        refused: Option<String>,
    ) -> Self {
        Self { chain, name, now, refused }
    }

    /// Tells it. `files` are those whose certificates count for this host.
    pub(super) fn report(&self, provider: &Arc<CryptoProvider>, files: &[&TrustedCertificates]) -> TlsReport {
        let facts = self.chain.iter().filter_map(|certificate| Facts::of(certificate));
        let chain = facts.map(|facts| CertificateReport {
            subject: facts.subject,
            issuer: facts.issuer,
            from: facts.from,
            until: facts.until,
        });
        TlsReport { chain: chain.collect(), vouched_by: self.vouched_by(provider, files) }
    }

    fn vouched_by(&self, provider: &Arc<CryptoProvider>, files: &[&TrustedCertificates]) -> Vouched {
        if let Some(why) = &self.refused {
            return Vouched::Nobody(why.clone());
        }
        if self.is_signed_below(webpki_root_certs::TLS_SERVER_ROOT_CERTS.to_vec(), provider) {
            return Vouched::PublicAuthority;
        }
        let of_file = files.iter().find(|file| {
            let roots: Vec<_> = CertificateDer::pem_slice_iter(&file.pem).filter_map(Result::ok).collect();
            let holds_itself = self.chain.first().is_some_and(|leaf| roots.contains(leaf));
            holds_itself || self.is_signed_below(roots, provider)
        });
        of_file.map_or(Vouched::System, |file| Vouched::File(file.origin.clone()))
    }

    fn is_signed_below(&self, roots: Vec<CertificateDer<'static>>, provider: &Arc<CryptoProvider>) -> bool {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots);
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone()).build();
        let (Ok(verifier), Some((leaf, intermediates))) = (verifier, self.chain.split_first()) else { return false };
        verifier.verify_server_cert(leaf, intermediates, &self.name, &[], self.now).is_ok()
    }
}
