//! What the cases share: the library's client with short limits, and content to move.
#![allow(dead_code, reason = "kept for all cases together")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use octobundle::content::{BlobContent, Fetched, ImageSink as _, ImageSource, Lookup, Unverified};
use octobundle::failure::{ErrorClass, Failure};
use octobundle::oci::{Descriptor, Digest, Hasher, MediaType, Repository};
use octobundle::progress::{Arrival, Event, Progress, Silent};
use octobundle::registry::{Limits, Registry, RegistrySettings};

use crate::support::scripted::{Reply, Seen};

/// Exit codes that more than one case expects.
pub(crate) const USAGE: i32 = 2;
pub(crate) const NETWORK: i32 = 5;
pub(crate) const NOT_FOUND: i32 = 6;
pub(crate) const INTEGRITY: i32 = 7;
pub(crate) const DISK: i32 = 9;
pub(crate) const PARTIAL: i32 = 10;

/// Keeps what is reported.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Vec<Event>>);

impl Progress for Kept {
    fn report(&self, event: Event) {
        self.0.lock().expect("it is held for one line").push(event);
    }
}

impl Kept {
    pub(crate) fn warnings(&self) -> Vec<String> {
        let text = |event: &Event| if let Event::Warning(text) = event { Some(text.clone()) } else { None };
        self.0.lock().expect("it is held for one line").iter().filter_map(text).collect()
    }
}

/// Content in memory.
pub(crate) struct Memory(pub(crate) Bytes);

impl ImageSource for Memory {
    async fn document(&self, _: &Repository, _: &Lookup) -> Result<Fetched, Failure> {
        Err(Failure::new(ErrorClass::NotFound, "there are no documents in memory"))
    }

    async fn blob(&self, _: &Repository, _: &Descriptor, from: u64) -> Result<Unverified, Failure> {
        let rest = self.0.slice(usize::try_from(from).expect("it is in memory")..);
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
        first_contact: Duration::from_millis(500),
        fresh_token_pause: Duration::from_millis(1),
        upload_part: 100_000,
        ..Limits::default()
    };
    RegistrySettings { limits, retry_for: Duration::from_secs(10), ..RegistrySettings::default() }
}

/// The same with some limits changed.
pub(crate) fn with_limits(change: impl FnOnce(&mut Limits)) -> RegistrySettings {
    let mut settings = settings();
    change(&mut settings.limits);
    settings
}

pub(crate) fn registry(settings: RegistrySettings) -> Registry {
    Registry::new(settings, Arc::new(Silent)).expect("the settings are sound")
}

/// `a/b` at a host.
pub(crate) fn repository(host: &str) -> Repository {
    format!("{host}/a/b").parse().expect("hosts of tests are sound")
}

pub(crate) fn tag() -> Lookup {
    Lookup::Tag("1".parse().expect("it is a tag"))
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

/// Bytes that differ from place to place.
pub(crate) fn content(length: u32) -> Vec<u8> {
    (0..length).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

pub(crate) fn described(content: &[u8]) -> Descriptor {
    Descriptor::new("application/octet-stream", Digest::of(content), content.len() as u64)
}

/// First and last place of the closed range that was asked for.
pub(crate) fn range_of(seen: &Seen) -> Option<(usize, usize)> {
    let (first, last) = seen.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().expect("a range begins with a number"), last.parse().expect("ranges are closed")))
}

/// A reply with the range that was asked for, as good servers give it.
pub(crate) fn part_of(content: &[u8], seen: &Seen) -> Reply {
    let Some((first, last)) = range_of(seen) else { return Reply::new(200).body(content) };
    let shown = format!("bytes {first}-{last}/{}", content.len());
    Reply::new(206).header("Content-Range", shown).body(&content[first..=last])
}

/// Answers the requests of a plain upload.
pub(crate) fn takes_uploads(seen: &Seen) -> Reply {
    match seen.method.as_str() {
        "POST" => Reply::new(202).header("Location", "/u/1"),
        "PUT" => Reply::new(201),
        "DELETE" => Reply::new(204),
        _ => Reply::new(404),
    }
}

pub(crate) async fn pulled(registry: &Registry, at: &Repository, blob: &Descriptor) -> Result<Bytes, Failure> {
    registry.blob(at, blob, 0).await?.expecting(blob, Hasher::new()).collect().await
}

/// The same, counting in `read` what has come.
pub(crate) async fn pulled_counting(
    registry: &Registry,
    at: &Repository,
    blob: &Descriptor,
    read: &Arc<AtomicU64>,
) -> Result<Vec<u8>, Failure> {
    let mut reader = registry.blob(at, blob, 0).await?.expecting(blob, Hasher::new());
    let mut all = Vec::new();
    while let Some(chunk) = reader.next().await? {
        all.extend_from_slice(&chunk);
        read.store(all.len() as u64, Ordering::SeqCst);
    }
    Ok(all)
}

pub(crate) async fn pushed(registry: &Registry, at: &Repository, content: &[u8]) -> Result<Arrival, Failure> {
    let source = Arc::new(Memory(Bytes::copy_from_slice(content)));
    registry.put_blob(at, BlobContent::new(source, at.clone(), described(content), Arc::new(Silent))).await
}
