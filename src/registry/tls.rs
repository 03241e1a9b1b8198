//! Whom we believe over TLS.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme};
use rustls_platform_verifier::Verifier;

use crate::registry::certificate::Facts;
use crate::registry::error::RegistryError;
use crate::registry::settings::{ClientCertificate, TrustedCertificates};
use crate::registry::sync::lock;
use crate::registry::tls_report::{Recording, Seen, SeenCell};

/// Who signed the certificates that were refused, by server name; errors of the TLS library do not say.
pub(super) type Issuers = Arc<Mutex<HashMap<String, String>>>;

/// Checks certificates against the system's store and the given ones.
pub(super) struct Trust {
    provider: Arc<CryptoProvider>,
    checked: Arc<dyn ServerCertVerifier>,
    pub(super) issuers: Issuers,
    /// No store was found on this machine; the public roots in this program are used.
    pub(super) without_store: bool,
}

impl Trust {
    pub(super) fn new(trusted: &[TrustedCertificates]) -> Result<Self, RegistryError> {
        Self::noting(trusted, Issuers::default())
    }

    /// The same with more authorities; refused ones are noted in one place.
    pub(super) fn with(
        &self,
        all: &[TrustedCertificates],
        more: &[TrustedCertificates],
    ) -> Result<Self, RegistryError> {
        Self::noting(&[all, more].concat(), self.issuers.clone())
    }

    fn noting(trusted: &[TrustedCertificates], issuers: Issuers) -> Result<Self, RegistryError> {
        let mut ours = Vec::new();
        for file in trusted {
            ours.extend(certificates(file)?);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = ours.clone();
        let without_store = Verifier::new(provider.clone()).is_err();
        if without_store {
            roots.extend(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
        }
        let inner = Verifier::new_with_extra_roots(roots, provider.clone()).map_err(|error| {
            RegistryError::Setting { what: format!("the trusted certificates cannot be used: {error}") }
        })?;
        let checked = Arc::new(Checked { inner, ours, issuers: issuers.clone() });
        Ok(Self { provider, checked, issuers, without_store })
    }

    /// Connections whose certificate is checked.
    pub(super) fn checked(&self, shown: Option<&ClientCertificate>) -> Result<ClientConfig, RegistryError> {
        self.config(self.checked.clone(), shown)
    }

    /// Connections whose certificate is not checked.
    pub(super) fn unchecked(&self, shown: Option<&ClientCertificate>) -> Result<ClientConfig, RegistryError> {
        self.config(Arc::new(Unchecked(self.provider.clone())), shown)
    }

    /// Connections that keep in `seen` what the server shows.
    pub(super) fn recording(
        &self,
        seen: Seen,
        unchecked: bool,
        shown: Option<&ClientCertificate>,
    ) -> Result<ClientConfig, RegistryError> {
        let inner = if unchecked { Arc::new(Unchecked(self.provider.clone())) } else { self.checked.clone() };
        self.config(Arc::new(Recording { inner, seen: SeenCell(seen) }), shown)
    }

    pub(super) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    fn config(
        &self,
        verifier: Arc<dyn ServerCertVerifier>,
        shown: Option<&ClientCertificate>,
    ) -> Result<ClientConfig, RegistryError> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let Some(shown) = shown else {
            return Ok(builder.with_no_client_auth());
        };
        let bad = |error: &dyn fmt::Display| RegistryError::Setting {
            what: format!("the client certificate `{}` cannot be used: {error}", shown.origin.display()),
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&shown.certificates).collect();
        let key = PrivateKeyDer::from_pem_slice(shown.key.reveal().as_bytes()).map_err(|error| bad(&error))?;
        builder.with_client_auth_cert(chain.map_err(|error| bad(&error))?, key).map_err(|error| bad(&error))
    }
}

fn certificates(file: &TrustedCertificates) -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    let bad = |why: String| RegistryError::Setting { what: format!("`{}` {why}", file.origin.display()) };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file.pem).collect();
    let all = all.map_err(|error| bad(format!("is no PEM file: {error}")))?;
    if all.is_empty() {
        return Err(bad("holds no certificate in PEM form".into()));
    }
    Ok(all)
}

/// The platform's check with one exception: a server's own certificate that the user trusts by file. Such are often
/// made with `CA:TRUE`, which the check refuses for servers though docker and curl take them.
struct Checked {
    inner: Verifier,
    ours: Vec<CertificateDer<'static>>,
    issuers: Issuers,
}

impl Checked {
    fn is_trusted_itself(&self, leaf: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> bool {
        self.ours.contains(leaf)
            && Facts::of(leaf).is_some_and(|facts| facts.hold_at(now))
            && ParsedCertificate::try_from(leaf).is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
    }

    fn note_issuer(&self, chain_end: &CertificateDer<'_>, name: &ServerName<'_>) {
        let Some(issuer) = Facts::of(chain_end).and_then(|facts| facts.issuer) else { return };
        let mut issuers = lock(&self.issuers);
        issuers.insert(name.to_str().into_owned(), issuer);
    }
}

impl ServerCertVerifier for Checked {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let checked = self.inner.verify_server_cert(leaf, intermediates, name, ocsp, now);
        let Err(error) = checked else { return checked };
        if is_ca_as_server(&error) && self.is_trusted_itself(leaf, name, now) {
            return Ok(ServerCertVerified::assertion());
        }
        self.note_issuer(intermediates.last().unwrap_or(leaf), name);
        Err(error)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checked")
    }
}

/// Whether a certificate was refused because nobody we trust stands behind it. One that is its own authority and not
/// among the trusted ones is such, though the check stumbles over something else first.
pub(super) fn is_unknown(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) || is_ca_as_server(error)
}

/// The TLS library has no name of its own for this refusal; it passes on that of its parser.
fn is_ca_as_server(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) = error else {
        return false;
    };
    inner.to_string().contains("CaUsedAsEndEntity")
}

/// Takes any certificate, but its key must have signed this very connection.
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unchecked")
    }
}
