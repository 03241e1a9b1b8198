//! The server's certificate: given, or made once and kept.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::content::{Readers, write_whole};
use crate::oci::Digest;
use crate::registry::certificate_dates;
use crate::serve::error::ServeError;

/// The largest file of certificates or keys.
const MAX_FILE: u64 = 1024 * 1024;
/// The files of a certificate that was made here.
const OWN_CERTIFICATE: &str = "certificate.pem";
const OWN_KEY: &str = "key.pem";
/// Whom a certificate that was made here is for, beside its names; by that it is known again.
const OWN_SUBJECT: &str = "octobundle serve";

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// PEM files that somebody else made.
    Files {
        /// The server's certificate, and those above it.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// One that signs itself, made if the folder has none that is for all the names, and kept there.
    SelfSigned {
        /// Where it is kept.
        folder: PathBuf,
        /// The names and addresses that it is for.
        names: Vec<String>,
    },
}

/// A certificate that is in use.
pub struct Loaded {
    /// What TLS works with.
    pub(crate) config: Arc<ServerConfig>,
    /// The SHA-256 of the server's certificate.
    pub fingerprint: Digest,
    /// From when to when it holds, in seconds since 1970.
    pub dates: Option<(u64, u64)>,
    /// What clients must trust, in PEM: only for a certificate that signs itself.
    pub to_trust: Option<String>,
    /// The file of it.
    pub trust_file: Option<PathBuf>,
    /// Whether it was made just now.
    pub made: bool,
}

impl Identity {
    /// Reads the certificate. One that signs itself is made first where there is none for these names with its key.
    pub(crate) fn prepare(&self) -> Result<Loaded, ServeError> {
        let made = match self {
            Self::SelfSigned { folder, names } if !is_ready(folder, names)? => {
                make(folder, names)?;
                true
            }
            _ => false,
        };
        Ok(Loaded { made, ..self.load()? })
    }

    /// Reads the certificate as it is now, and makes none: clients trust the one that they know.
    pub(crate) fn load(&self) -> Result<Loaded, ServeError> {
        match self {
            Self::Files { certificate, key } => read(certificate, key),
            Self::SelfSigned { folder, .. } => {
                let (certificate, key) = (folder.join(OWN_CERTIFICATE), folder.join(OWN_KEY));
                let mut loaded = read(&certificate, &key)?;
                loaded.to_trust =
                    Some(String::from_utf8_lossy(&super::read_file(&certificate, MAX_FILE)?).into_owned());
                loaded.trust_file = Some(certificate);
                Ok(loaded)
            }
        }
    }
}

/// Whether a name can stand in a certificate, so that clients find it there.
pub fn is_certifiable(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

/// Whether a folder has a certificate for all of these names, with its key. One that octobundle did not make is no
/// business of ours, and what this user may not read cannot be replaced with good conscience.
fn is_ready(folder: &Path, names: &[String]) -> Result<bool, ServeError> {
    let certificate = folder.join(OWN_CERTIFICATE);
    let pem = match super::read_file(&certificate, MAX_FILE) {
        Err(ServeError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        pem => pem?,
    };
    // What a power cut leaves behind.
    if pem.is_empty() {
        return Ok(false);
    }
    let is_own = |der: &CertificateDer<'_>| der.windows(OWN_SUBJECT.len()).any(|bytes| bytes == OWN_SUBJECT.as_bytes());
    let Some(der) = CertificateDer::from_pem_slice(&pem).ok().filter(is_own) else {
        return Err(ServeError::Foreign(certificate));
    };
    match read(&certificate, &folder.join(OWN_KEY)) {
        Ok(_) => Ok(first_unnamed(&der, names).is_none()),
        Err(ServeError::Read { source, path }) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(ServeError::Read { path, source })
        }
        Err(_) => Ok(false),
    }
}

/// The first of these names under which no client would believe the certificate.
fn first_unnamed<'a>(der: &CertificateDer<'_>, names: &'a [String]) -> Option<&'a String> {
    let Ok(parsed) = rustls::server::ParsedCertificate::try_from(der) else { return names.first() };
    names.iter().find(|name| {
        let name = ServerName::try_from(name.as_str());
        !name.is_ok_and(|name| rustls::client::verify_server_name(&parsed, &name).is_ok())
    })
}

/// Reads and checks a certificate with its key.
fn read(certificate: &Path, key: &Path) -> Result<Loaded, ServeError> {
    let unusable = |path: &Path, what: String| ServeError::Certificate { path: path.to_owned(), what };
    let pem = super::read_file(certificate, MAX_FILE)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(certificate, error.to_string()))?;
    let first = chain.first().ok_or_else(|| unusable(certificate, "it holds no certificate in PEM".into()))?;
    let (fingerprint, dates) = (Digest::of(first), certificate_dates(first));
    let secret = zeroize::Zeroizing::new(super::read_file(key, MAX_FILE)?);
    let secret = PrivateKeyDer::from_pem_slice(&secret).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => unusable(key, "it holds no key in PEM".into()),
        other => unusable(key, other.to_string()),
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| unusable(certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Loaded { config: Arc::new(config), fingerprint, dates, to_trust: None, trust_file: None, made: false })
}

/// Makes a certificate for these names, and a key where there is none. It can sign nothing but itself, so whoever gets
/// the key can pose as this server and as no other.
fn make(folder: &Path, names: &[String]) -> Result<(), ServeError> {
    let unmade = |error: rcgen::Error| ServeError::Certificate {
        path: folder.join(OWN_CERTIFICATE),
        what: format!("it cannot be made: {error}"),
    };
    if let Some(name) = names.iter().find(|name| !is_certifiable(name)) {
        return Err(ServeError::Name(name.clone()));
    }
    let mut params = rcgen::CertificateParams::new(names.to_vec()).map_err(unmade)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, OWN_SUBJECT);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    // Machines on closed sites have wrong clocks: it began long ago, and ends beyond the life of the site.
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(2099, 1, 1);
    let kept = kept_key(&folder.join(OWN_KEY))?;
    let key = match &kept {
        Some(key) => rcgen::KeyPair::from_pem(key),
        None => rcgen::KeyPair::generate(),
    };
    let key = key.map_err(unmade)?;
    let certificate = params.self_signed(&key).map_err(unmade)?;
    // It would be made anew at every start.
    if let Some(name) = first_unnamed(certificate.der(), names) {
        return Err(ServeError::Name(name.clone()));
    }
    create_private_folder(folder)?;
    // The certificate last: a stop in between leaves a key alone, which is used at the next start.
    if kept.is_none() {
        write(&folder.join(OWN_KEY), zeroize::Zeroizing::new(key.serialize_pem()).as_bytes())?;
    }
    write(&folder.join(OWN_CERTIFICATE), certificate.pem().as_bytes())
}

/// The key that is there. It is never replaced: it may be more than ours.
fn kept_key(path: &Path) -> Result<Option<zeroize::Zeroizing<String>>, ServeError> {
    let pem = match super::read_file(path, MAX_FILE) {
        Err(ServeError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        pem => zeroize::Zeroizing::new(pem?),
    };
    match std::str::from_utf8(&pem) {
        Ok("") => Ok(None),
        Ok(text) if PrivateKeyDer::from_pem_slice(&pem).is_ok() => Ok(Some(zeroize::Zeroizing::new(text.to_owned()))),
        _ => Err(ServeError::Foreign(path.to_owned())),
    }
}

fn create_private_folder(folder: &Path) -> Result<(), ServeError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|source| ServeError::Write { path: folder.to_owned(), source })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ServeError> {
    let failed = |source| ServeError::Write { path: path.to_owned(), source };
    write_whole(path, bytes, Readers::Owner).map_err(failed)
}

/// The SHA-256 as browsers and engines show it: pairs of digits with colons.
pub fn spaced(fingerprint: &Digest) -> String {
    let hex = fingerprint.hex().to_uppercase();
    hex.as_bytes().chunks(2).map(String::from_utf8_lossy).collect::<Vec<_>>().join(":")
}

/// The names that a certificate made here is for: this machine as it calls itself, and what was named.
pub fn own_names(listen: impl IntoIterator<Item = IpAddr>, named: &[String]) -> Vec<String> {
    let addresses = listen.into_iter().filter(|address| !address.is_unspecified()).map(|address| address.to_string());
    let mut all: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    all.extend(addresses.chain(named.iter().cloned()));
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_again_only_for_a_name_that_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let load = |named: &[&str]| {
            let asked: Vec<String> = named.iter().map(|&name| name.to_owned()).collect();
            let names = own_names(["10.1.2.3".parse().unwrap(), "0.0.0.0".parse().unwrap()], &asked);
            Identity::SelfSigned { folder: folder.path().join("kept"), names }.prepare().unwrap()
        };
        let first = load(&["reg.site"]);
        let again = load(&["reg.site"]);
        assert!(first.made && !again.made);
        assert_eq!(first.fingerprint, again.fingerprint);
        assert_eq!(load(&[]).fingerprint, first.fingerprint, "it is for more names than are asked for");
        let renamed = load(&["other.site"]);
        assert!(renamed.made && renamed.fingerprint != first.fingerprint);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(folder.path().join("kept")), 0o700);
            assert_eq!(mode(folder.path().join("kept").join(OWN_KEY)), 0o600);
        }
        assert_eq!(spaced(&Digest::of(b"")).len(), 64 + 31);
    }

    #[test]
    fn files_that_hold_no_certificate_or_no_key_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let made = Identity::SelfSigned { folder: folder.path().to_owned(), names: vec!["localhost".into()] };
        made.prepare().unwrap();
        let (certificate, key) = (folder.path().join(OWN_CERTIFICATE), folder.path().join(OWN_KEY));
        let load = |certificate: &Path, key: &Path| {
            let files = Identity::Files { certificate: certificate.to_owned(), key: key.to_owned() };
            files.load().map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(load(&certificate, &key), Ok(()));
        assert!(load(&key, &key).unwrap_err().ends_with("it holds no certificate in PEM"));
        assert!(load(&certificate, &certificate).unwrap_err().ends_with("it holds no key in PEM"));
        assert!(load(&certificate, &folder.path().join("none")).unwrap_err().contains("none"));
        let other = tempfile::tempdir().unwrap();
        Identity::SelfSigned { folder: other.path().to_owned(), names: vec!["localhost".into()] }.prepare().unwrap();
        assert!(load(&certificate, &other.path().join(OWN_KEY)).is_err(), "the key of another certificate");
    }

    fn own(folder: &Path, names: &[&str]) -> Identity {
        Identity::SelfSigned { folder: folder.to_owned(), names: names.iter().map(|&name| name.to_owned()).collect() }
    }

    #[test]
    fn a_pair_that_does_not_fit_is_mended_with_the_key_that_is_there() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let identity = own(folder.path(), &["localhost"]);
        let first = identity.prepare().unwrap().fingerprint;
        own(other.path(), &["localhost"]).prepare().unwrap();
        let key = folder.path().join(OWN_KEY);
        fs::copy(other.path().join(OWN_KEY), &key).unwrap();
        let foreign = fs::read(&key).unwrap();
        let mended = identity.prepare().unwrap();
        assert!(mended.made && mended.fingerprint != first);
        assert_eq!(fs::read(&key).unwrap(), foreign);
        assert!(!identity.prepare().unwrap().made, "and stays mended");
        // What a power cut leaves behind.
        for name in [OWN_KEY, OWN_CERTIFICATE] {
            fs::write(folder.path().join(name), "").unwrap();
            assert!(identity.prepare().unwrap().made && !identity.prepare().unwrap().made, "{name}");
        }
    }

    #[test]
    fn a_certificate_that_somebody_else_made_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let pair = rcgen::generate_simple_self_signed(vec!["reg.site".to_owned()]).unwrap();
        fs::write(folder.path().join(OWN_CERTIFICATE), pair.cert.pem()).unwrap();
        fs::write(folder.path().join(OWN_KEY), pair.signing_key.serialize_pem()).unwrap();
        let refused = || own(folder.path(), &["localhost"]).prepare().err().unwrap();
        assert!(matches!(refused(), ServeError::Foreign(path) if path.ends_with(OWN_CERTIFICATE)));
        assert_eq!(fs::read_to_string(folder.path().join(OWN_CERTIFICATE)).unwrap(), pair.cert.pem());
        // A key alone, under a password.
        fs::remove_file(folder.path().join(OWN_CERTIFICATE)).unwrap();
        let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
        fs::write(folder.path().join(OWN_KEY), locked).unwrap();
        assert!(matches!(refused(), ServeError::Foreign(path) if path.ends_with(OWN_KEY)));
        assert_eq!(fs::read_to_string(folder.path().join(OWN_KEY)).unwrap(), locked);
    }

    #[test]
    fn a_name_that_no_client_would_find_in_a_certificate_is_refused_and_a_reload_makes_none() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("kept");
        for name in ["node.01", "reg..site", "a b", "-"] {
            let refused = own(&place, &["localhost", name]).prepare().err().unwrap();
            assert!(matches!(&refused, ServeError::Name(found) if found == name), "{refused}");
            assert!(!place.exists());
        }
        assert!(own(&place, &["localhost"]).load().is_err() && !place.exists());
        let first = own(&place, &["localhost"]).prepare().unwrap().fingerprint;
        assert_eq!(own(&place, &["other.site"]).load().unwrap().fingerprint, first);
    }
}
