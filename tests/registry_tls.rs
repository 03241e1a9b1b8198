//! Certificates good and bad, and what is said about them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use octobundle::content::{ImageSource as _, Lookup};
use octobundle::failure::{ErrorClass, Failure};
use octobundle::oci::MediaType;
use octobundle::progress::Silent;
use octobundle::registry::{ClientCertificate, Limits, Registry, RegistrySettings, Secret, TrustedCertificates};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A server's or client's certificate chain with its key, as PEM.
struct Identity {
    chain: String,
    key: String,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "Corp Test CA");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for this name, signed by the authority, changed as the test wants it.
fn signed(by: &CertifiedIssuer<'_, KeyPair>, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Identity { chain: params.signed_by(&key, by).unwrap().pem(), key: key.serialize_pem() }
}

/// The recipe `openssl req -x509 -addext subjectAltName=…`: a certificate that is its own authority.
fn self_signed(name: &str) -> Identity {
    self_signed_as(name, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
}

fn self_signed_as(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Identity { chain: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// A registry with one image behind TLS. It ends with the test's runtime.
async fn serve(identity: &Identity, clients: Option<&str>) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = CertificateDer::pem_slice_iter(identity.chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that refuses us goes away in the middle of the handshake.
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(&answer()).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    address
}

fn answer() -> Vec<u8> {
    let digest = octobundle::oci::Digest::of(b"{}");
    let kind = MediaType::OCI_MANIFEST;
    let body = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":2}},"layers":[]}}"#
    );
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn settings() -> RegistrySettings {
    let limits = Limits {
        first_contact: Duration::from_millis(100),
        backoff_start: Duration::from_millis(1),
        backoff_most: Duration::from_millis(5),
        ..Limits::default()
    };
    RegistrySettings { limits, retry_for: Duration::from_millis(100), ..RegistrySettings::default() }
}

fn trusting(pem: &str) -> RegistrySettings {
    let trusted = vec![TrustedCertificates { origin: "corp.pem".into(), pem: pem.as_bytes().to_vec() }];
    RegistrySettings { trusted, ..settings() }
}

/// Asks the server over TLS; loopback hosts speak plain http otherwise.
async fn ask(address: SocketAddr, mut settings: RegistrySettings) -> Result<bool, Failure> {
    settings.https.insert(address.to_string().parse().unwrap());
    let registry = Registry::new(settings, Arc::new(Silent))?;
    let at = format!("{address}/a/b").parse().unwrap();
    registry.document(&at, &Lookup::Tag("1".parse().unwrap())).await.map(|fetched| fetched.insecure)
}

#[tokio::test]
async fn p_02_a_private_authority_is_trusted_by_file_and_named_without() {
    let authority = authority();
    let address = serve(&signed(&authority, "127.0.0.1", |_| ()), None).await;
    assert!(!ask(address, trusting(&authority.pem())).await.unwrap());
    let failure = ask(address, settings()).await.err().unwrap();
    assert_eq!(failure.class(), ErrorClass::Network);
    assert!(failure.to_string().contains("Corp Test CA"), "{failure}");
    assert!(failure.help().unwrap().contains("--ca FILE"), "{:?}", failure.help());
}

#[tokio::test]
async fn a_servers_own_certificate_is_trusted_by_file_as_docker_does() {
    let identity = self_signed("127.0.0.1");
    let address = serve(&identity, None).await;
    assert!(!ask(address, trusting(&identity.chain)).await.unwrap());
    let failure = ask(address, settings()).await.err().unwrap();
    assert!(failure.help().unwrap().contains("--ca FILE"), "{failure} {:?}", failure.help());
    assert!(ask(address, trusting(&self_signed("127.0.0.1").chain)).await.is_err(), "another one of the same name");
    let named = self_signed("reg.corp");
    let address = serve(&named, None).await;
    assert!(ask(address, trusting(&named.chain)).await.is_err(), "trusted, but for another name");
}

#[tokio::test]
async fn t_01_a_servers_own_certificate_is_trusted_for_its_time_only() {
    for is_ca in [IsCa::Ca(BasicConstraints::Unconstrained), IsCa::NoCa] {
        for (from, until, said) in [(2000, 2001, "expired"), (4000, 4001, "not valid yet")] {
            let identity = self_signed_as("127.0.0.1", |params| {
                params.is_ca = is_ca;
                params.not_before = rcgen::date_time_ymd(from, 1, 1);
                params.not_after = rcgen::date_time_ymd(until, 1, 1);
            });
            let failure = ask(serve(&identity, None).await, trusting(&identity.chain)).await.err().unwrap();
            assert!(failure.to_string().contains(said), "{said}: {failure}");
        }
    }
}

#[tokio::test]
async fn t_01_and_02_a_certificate_of_another_time_is_refused_and_the_clock_is_looked_at_first() {
    let authority = authority();
    let year = |year: i32| rcgen::date_time_ymd(year, 1, 1);
    for identity in [
        signed(&authority, "127.0.0.1", |params| params.not_after = year(2001)),
        signed(&authority, "127.0.0.1", |params| params.not_before = year(4000)),
    ] {
        let failure = ask(serve(&identity, None).await, trusting(&authority.pem())).await.err().unwrap();
        assert_eq!(failure.class(), ErrorClass::Network);
        assert!(failure.help().unwrap().contains("check this machine's clock"), "{:?}", failure.help());
    }
}

#[tokio::test]
async fn sec_22_bad_certificates_are_refused_though_their_authority_is_trusted() {
    let authority = authority();
    let of = |year: i32| rcgen::date_time_ymd(year, 1, 1);
    for (identity, said) in [
        (signed(&authority, "reg.corp", |_| ()), "not valid for"),
        (signed(&authority, "127.0.0.1", |params| params.not_after = of(2001)), "expired"),
        (signed(&authority, "127.0.0.1", |params| params.not_before = of(4000)), "not valid yet"),
    ] {
        let address = serve(&identity, None).await;
        let failure = ask(address, trusting(&authority.pem())).await.err().unwrap();
        assert_eq!(failure.class(), ErrorClass::Network);
        assert!(failure.to_string().contains(said), "{said}: {failure}");
    }
}

#[tokio::test]
async fn sec_23_an_unchecked_certificate_is_for_one_host_and_noted() {
    let (one, other) = (serve(&self_signed("x"), None).await, serve(&self_signed("x"), None).await);
    let mut settings = settings();
    settings.insecure_tls.insert(one.to_string().parse().unwrap());
    assert!(ask(one, settings.clone()).await.unwrap(), "it is noted as insecure");
    assert!(ask(other, settings).await.is_err(), "another port is another host");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_its_host() {
    let authority = authority();
    let address = serve(&signed(&authority, "127.0.0.1", |_| ()), Some(&authority.pem())).await;
    let client = signed(&authority, "client", |_| ());
    let mut settings = trusting(&authority.pem());
    assert!(ask(address, settings.clone()).await.is_err());
    let shown = ClientCertificate {
        origin: "client.cert".into(),
        certificates: client.chain.into_bytes(),
        key: Secret::new(client.key),
    };
    settings.client_certificates.insert(address.to_string().parse().unwrap(), shown);
    assert!(!ask(address, settings).await.unwrap());
}

#[tokio::test]
async fn a_file_that_holds_no_certificate_is_named() {
    for pem in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let failure = ask("127.0.0.1:1".parse().unwrap(), trusting(pem)).await.err().unwrap();
        assert_eq!(failure.class(), ErrorClass::Input);
        assert!(failure.to_string().contains("certificate"), "{failure}");
    }
}
