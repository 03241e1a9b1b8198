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

use crate::oci::Host;
use crate::registry::certificate::Facts;
use crate::registry::error::RegistryError;
use crate::registry::settings::{ClientCertificate, TrustedCertificates};
use crate::registry::sync::lock;
use crate::registry::tls_report::{Seen, Shown};

/// Who signed the certificates that were refused, by server name; errors of the TLS library do not say.
pub(super) type Issuers = Arc<Mutex<HashMap<String, String>>>;

/// Checks certificates against the system's store and the given ones.
pub(super) struct Trust {
    provider: Arc<CryptoProvider>,
    authorities: Arc<Authorities>,
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
        let system = Verifier::new(provider.clone()).ok();
        let without_store = system.is_none();
        let platform = match system {
            Some(system) if ours.is_empty() => system,
            _ => with_roots(&ours, without_store, &provider)?,
        };
        Ok(Self { provider, authorities: Arc::new(Authorities { platform, ours }), issuers, without_store })
    }

    /// Connections whose certificates are checked.
    pub(super) fn checked(&self, shown: Option<&ClientCertificate>) -> Result<ClientConfig, RegistryError> {
        self.config(None, None, shown)
    }

    /// Connections on which the certificate of `host` is not checked. That of a proxy on the way to it is.
    pub(super) fn unchecked(
        &self,
        host: &Host,
        shown: Option<&ClientCertificate>,
    ) -> Result<ClientConfig, RegistryError> {
        self.config(Some(host), None, shown)
    }

    /// Connections that keep in `seen` what the server shows last, which is the one behind any proxy.
    pub(super) fn recording(
        &self,
        seen: Seen,
        unchecked: Option<&Host>,
        shown: Option<&ClientCertificate>,
    ) -> Result<ClientConfig, RegistryError> {
        self.config(unchecked, Some(seen), shown)
    }

    pub(super) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    fn config(
        &self,
        unchecked: Option<&Host>,
        seen: Option<Seen>,
        shown: Option<&ClientCertificate>,
    ) -> Result<ClientConfig, RegistryError> {
        let server = |host: &Host| if host.is_docker_hub() { host.api().to_owned() } else { host.name().to_owned() };
        let judge = Judge {
            authorities: self.authorities.clone(),
            unchecked: unchecked.map(server),
            provider: self.provider.clone(),
            issuers: self.issuers.clone(),
            seen,
        };
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(judge));
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

/// What the system trusts, or instead of it the roots that are built in, and `ours`.
fn with_roots(
    ours: &[CertificateDer<'static>],
    without_store: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Verifier, RegistryError> {
    let built_in = if without_store { webpki_root_certs::TLS_SERVER_ROOT_CERTS } else { &[] };
    let roots = ours.iter().chain(built_in).cloned();
    Verifier::new_with_extra_roots(roots, provider.clone())
        .map_err(|error| RegistryError::Setting { what: format!("the trusted certificates cannot be used: {error}") })
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

/// Whom to believe: the platform's check with one exception, a server's own certificate that the user trusts by file.
/// Such are often made with `CA:TRUE`, which the check refuses for servers though docker and curl take them.
struct Authorities {
    platform: Verifier,
    ours: Vec<CertificateDer<'static>>,
}

impl Authorities {
    fn check(&self, shown: &Chain<'_>, ocsp: &[u8]) -> Result<(), rustls::Error> {
        let Chain { leaf, intermediates, name, now } = *shown;
        match self.platform.verify_server_cert(leaf, intermediates, name, ocsp, now) {
            Err(error) if is_ca_as_server(&error) && self.trust_it_itself(shown) => Ok(()),
            checked => checked.map(|_| ()),
        }
    }

    fn trust_it_itself(&self, shown: &Chain<'_>) -> bool {
        let Chain { leaf, name, now, .. } = *shown;
        self.ours.contains(leaf)
            && Facts::of(leaf).is_some_and(|facts| facts.hold_at(now))
            && ParsedCertificate::try_from(leaf).is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
    }
}

/// What a server shows, and when.
struct Chain<'a> {
    leaf: &'a CertificateDer<'a>,
    intermediates: &'a [CertificateDer<'a>],
    name: &'a ServerName<'a>,
    now: UnixTime,
}

/// The one that decides about every certificate of every connection. Whatever it thinks of the certificate, its key must
/// have signed this very connection.
struct Judge {
    authorities: Arc<Authorities>,
    /// The name of the one server that is believed whatever it shows.
    unchecked: Option<String>,
    provider: Arc<CryptoProvider>,
    issuers: Issuers,
    /// Where what was shown is kept, for whoever wants to tell it.
    seen: Option<Seen>,
}

impl Judge {
    fn check(&self, shown: &Chain<'_>, ocsp: &[u8]) -> Result<(), rustls::Error> {
        let is_believed = |name: &String| name.eq_ignore_ascii_case(&shown.name.to_str());
        if self.unchecked.as_ref().is_some_and(is_believed) { Ok(()) } else { self.authorities.check(shown, ocsp) }
    }

    fn note_issuer(&self, shown: &Chain<'_>) {
        let chain_end = shown.intermediates.last().unwrap_or(shown.leaf);
        let Some(issuer) = Facts::of(chain_end).and_then(|facts| facts.issuer) else { return };
        lock(&self.issuers).insert(shown.name.to_str().into_owned(), issuer);
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = Chain { leaf, intermediates, name, now };
        let checked = self.check(&shown, ocsp);
        if checked.is_err() {
            self.note_issuer(&shown);
        }
        if let Some(seen) = &self.seen {
            let chain = std::iter::once(leaf).chain(intermediates).map(|certificate| certificate.clone().into_owned());
            let refused = checked.as_ref().err().map(ToString::to_string);
            *lock(seen) = Some(Shown::new(chain.collect(), name.to_owned(), now, refused));
        }
        checked.map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judge")
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

#[cfg(all(test, unix))] // wine's store of certificates takes no further roots
mod tests {
    use std::time::Duration;

    use super::*;

    /// The check before it looks at the dates too, which is its own affair.
    #[test]
    fn t_01_the_exception_for_a_servers_own_certificate_looks_at_its_dates_itself() {
        let mut params = rcgen::CertificateParams::new(["reg.corp".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let own = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let trusted = TrustedCertificates { origin: "own.pem".into(), pem: own.pem().into_bytes() };
        let authorities = Trust::new(&[trusted]).unwrap().authorities;
        let name = ServerName::try_from("reg.corp").unwrap();
        // The first days of 2019, 2025 and 2031.
        for (seconds, trusts) in [(1_546_300_800, false), (1_735_689_600, true), (1_924_992_000, false)] {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            let shown = Chain { leaf: own.der(), intermediates: &[], name: &name, now };
            assert_eq!(authorities.trust_it_itself(&shown), trusts, "{seconds}");
            assert_eq!(authorities.check(&shown, &[]).is_ok(), trusts, "{seconds}");
        }
    }
}
