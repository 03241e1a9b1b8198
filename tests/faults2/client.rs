//! The library's client, quick to lose patience, with all that it is given and tells.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use octobundle::content::{BlobContent, Fetched, ImageSink as _, ImageSource, Lookup, Unverified};
use octobundle::failure::{ErrorClass, Failure};
use octobundle::oci::{Descriptor, Digest, Hasher, MediaType, Repository};
use octobundle::progress::{Arrival, Event, Progress, Silent};
use octobundle::registry::{Credential, CredentialStore, Found, Limits, Registry, RegistrySettings, Secret};

use crate::scripted::{Reply, Scripted, Seen};

pub(crate) const PASSWORD: &str = "CANARY-password";
/// `bob` and the password, as Basic authentication writes them.
pub(crate) const BASIC: &str = "Basic Ym9iOkNBTkFSWS1wYXNzd29yZA==";

/// Knows one login for every host.
pub(crate) struct OneLogin(pub(crate) Credential);

impl CredentialStore for OneLogin {
    fn lookup(&self, _: &Repository) -> Result<Option<Found>, Failure> {
        Ok(Some(Found { credential: self.0.clone(), origin: "the test".into() }))
    }
}

/// Keeps what is reported.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Vec<Event>>);

impl Kept {
    pub(crate) fn text(&self) -> String {
        format!("{:?}", self.0.lock().unwrap())
    }
}

impl Progress for Kept {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// Content in memory.
struct Memory(Bytes);

impl ImageSource for Memory {
    async fn document(&self, _: &Repository, _: &Lookup) -> Result<Fetched, Failure> {
        Err(Failure::new(ErrorClass::NotFound, "there are no documents in memory"))
    }

    async fn blob(&self, _: &Repository, _: &Descriptor, from: u64) -> Result<Unverified, Failure> {
        let rest = self.0.slice(usize::try_from(from).unwrap()..);
        let pieces: Vec<_> = rest.chunks(64 * 1024).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Ok(Unverified::new(futures_util::stream::iter(pieces)))
    }
}

/// Quick pauses, short patience.
pub(crate) fn settings() -> RegistrySettings {
    let limits = Limits {
        // Machines with little time to spare keep connections waiting.
        stall: Duration::from_secs(3),
        headers: Duration::from_secs(60),
        backoff_start: Duration::from_millis(1),
        backoff_most: Duration::from_millis(5),
        first_contact: Duration::from_millis(200),
        fresh_token_pause: Duration::from_millis(1),
        upload_part: 100_000,
        ..Limits::default()
    };
    RegistrySettings { limits, retry_for: Duration::from_secs(5), ..RegistrySettings::default() }
}

pub(crate) fn with(credential: Credential) -> RegistrySettings {
    RegistrySettings { credentials: Arc::new(OneLogin(credential)), ..settings() }
}

pub(crate) fn with_login() -> RegistrySettings {
    with(Credential::Basic { user: "bob".into(), password: Secret::new(PASSWORD) })
}

pub(crate) fn registry(settings: RegistrySettings) -> Registry {
    Registry::new(settings, Arc::new(Silent)).unwrap()
}

pub(crate) fn repository(server: &Scripted) -> Repository {
    format!("{}/a/b", server.host()).parse().unwrap()
}

pub(crate) fn tag() -> Lookup {
    Lookup::Tag("1".parse().unwrap())
}

pub(crate) fn manifest() -> Vec<u8> {
    let config = Digest::of(b"{}");
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[]}}"#,
        MediaType::OCI_MANIFEST
    )
    .into_bytes()
}

pub(crate) fn manifest_reply() -> Reply {
    Reply::new(200).header("Content-Type", MediaType::OCI_MANIFEST).body(manifest())
}

pub(crate) fn content() -> Vec<u8> {
    (0..350_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[..1].to_vec()).collect()
}

pub(crate) fn described(content: &[u8]) -> Descriptor {
    Descriptor::new("application/octet-stream", Digest::of(content), content.len() as u64)
}

/// A reply with the closed range that was asked for, as good servers do.
pub(crate) fn part_of(content: &[u8], seen: &Seen) -> Reply {
    let Some(range) = seen.header("range") else { return Reply::new(200).body(content) };
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().expect("ranges are closed"));
    let shown = format!("bytes {first}-{last}/{}", content.len());
    Reply::new(206).header("Content-Range", shown).body(&content[first..=last])
}

pub(crate) async fn pulled(registry: &Registry, at: &Repository, blob: &Descriptor) -> Result<Bytes, Failure> {
    registry.blob(at, blob, 0).await?.expecting(blob, Hasher::new()).collect().await
}

pub(crate) async fn pushed(registry: &Registry, at: &Repository, content: &[u8]) -> Result<Arrival, Failure> {
    let source = Arc::new(Memory(Bytes::copy_from_slice(content)));
    registry.put_blob(at, BlobContent::new(source, at.clone(), described(content), Arc::new(Silent))).await
}

pub(crate) async fn put(registry: &Registry, at: &Repository) -> Result<(), Failure> {
    registry.put_document(at, &tag(), &MediaType::from(MediaType::OCI_MANIFEST), &manifest()).await
}

/// Answers the requests of a plain upload.
pub(crate) fn takes_uploads(seen: &Seen, location: &str) -> Reply {
    match seen.method.as_str() {
        "POST" => Reply::new(202).header("Location", location),
        "PUT" => Reply::new(201),
        "DELETE" => Reply::new(204),
        _ => Reply::new(404),
    }
}

pub(crate) fn token(text: &str) -> Reply {
    Reply::new(200).body(format!(r#"{{"token":"{text}","expires_in":300}}"#))
}

/// The server's own address, as it sees it.
pub(crate) fn own(seen: &Seen) -> String {
    format!("http://{}", seen.header("host").unwrap())
}

pub(crate) fn bearer(server: &str) -> String {
    format!(r#"Bearer realm="{server}/token",service="reg""#)
}

pub(crate) fn ask_for_token(seen: &Seen) -> Reply {
    Reply::new(401).header("WWW-Authenticate", bearer(&own(seen)))
}

pub(crate) fn ask_for_password() -> Reply {
    Reply::new(401).header("WWW-Authenticate", "Basic realm=\"x\"")
}

/// The body in which registries explain themselves.
pub(crate) fn error(status: u16, code: &str, message: &str) -> Reply {
    let errors = serde_json::json!({ "errors": [{ "code": code, "message": message, "detail": null }] });
    Reply::new(status).header("Content-Type", "application/json").body(errors.to_string())
}

/// Everything a failure says.
pub(crate) fn shown(failure: &Failure) -> String {
    format!("{failure}\n{}", failure.help().unwrap_or_default())
}
