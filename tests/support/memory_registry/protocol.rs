//! The distribution protocol: a request with its whole body gives a reply.

use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::images::{Document, digest};
use super::Shared;
use super::access;

/// Registries commonly refuse image manifests above this size.
const LARGEST_DOCUMENT: usize = 4 * 1024 * 1024;

/// What a path means.
pub(super) enum Place {
    Base,
    Token,
    Manifest { repository: String, reference: String },
    Blob { repository: String, digest: String },
    Uploads { repository: String },
    Upload { repository: String, id: String },
    Tags { repository: String },
    Catalog,
    Unknown,
}

impl Place {
    pub(super) fn parse(path: &str) -> Self {
        if path == "/token" {
            return Self::Token;
        }
        let Some(rest) = path.strip_prefix("/v2/") else { return Self::Unknown };
        if rest.is_empty() {
            return Self::Base;
        }
        if rest == "_catalog" {
            return Self::Catalog;
        }
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return Self::Tags { repository: repository.to_owned() };
        }
        let parted = |by: &str| rest.rsplit_once(by).map(|(left, right)| (left.to_owned(), right.to_owned()));
        if let Some((repository, id)) = parted("/blobs/uploads/") {
            return if id.is_empty() { Self::Uploads { repository } } else { Self::Upload { repository, id } };
        }
        if let Some((repository, digest)) = parted("/blobs/") {
            return Self::Blob { repository, digest: digest.replace("%3A", ":") };
        }
        if let Some((repository, reference)) = parted("/manifests/") {
            return Self::Manifest { repository, reference: reference.replace("%3A", ":") };
        }
        Self::Unknown
    }

    pub(super) fn repository(&self) -> Option<&str> {
        match self {
            Self::Manifest { repository, .. }
            | Self::Blob { repository, .. }
            | Self::Uploads { repository }
            | Self::Upload { repository, .. }
            | Self::Tags { repository } => Some(repository),
            Self::Base | Self::Token | Self::Catalog | Self::Unknown => None,
        }
    }
}

/// An answer before it goes on the wire.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn new(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn body(mut self, media_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", media_type)
    }

    pub(super) fn json(self, value: &Value) -> Self {
        self.body("application/json", value.to_string())
    }

    /// The body in which registries explain themselves.
    pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Self {
        Self::new(status).json(&json!({ "errors": [{ "code": code, "message": message, "detail": null }] }))
    }
}

/// The query's names and values, decoded.
pub(super) fn query(parts: &Parts) -> Vec<(String, String)> {
    url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect()
}

fn asked(parts: &Parts, name: &str) -> Option<String> {
    query(parts).into_iter().find(|(given, _)| given == name).map(|(_, value)| value)
}

pub(super) fn reply(shared: &Shared, parts: &Parts, body: Bytes) -> Reply {
    let place = Place::parse(parts.uri.path());
    if matches!(place, Place::Token) {
        return access::token(shared, parts);
    }
    if let Some(refusal) = access::refusal(shared, parts, &place) {
        return refusal;
    }
    let reads = parts.method == Method::GET || parts.method == Method::HEAD;
    match place {
        Place::Base if reads => Reply::new(StatusCode::OK).json(&json!({})),
        Place::Tags { repository } if reads => list_tags(shared, parts, &repository),
        Place::Catalog if reads => list_repositories(shared, parts),
        Place::Manifest { repository, reference } if reads => read_manifest(shared, &repository, &reference),
        Place::Manifest { repository, reference } if parts.method == Method::PUT => {
            put_manifest(shared, parts, &repository, &reference, &body)
        }
        Place::Blob { repository, digest } if reads => read_blob(shared, parts, &repository, &digest),
        Place::Uploads { repository } if parts.method == Method::POST => begin_upload(shared, parts, &repository, body),
        Place::Upload { repository, id } => upload(shared, parts, &repository, &id, &body),
        _ => Reply::error(StatusCode::NOT_FOUND, "UNSUPPORTED", "this registry knows no such thing"),
    }
}

fn list_tags(shared: &Shared, parts: &Parts, repository: &str) -> Reply {
    let all = shared.stored().tags(repository);
    if all.is_empty() {
        return Reply::error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry");
    }
    let last = asked(parts, "last").unwrap_or_default();
    let rest: Vec<String> = all.into_iter().filter(|tag| last.is_empty() || *tag > last).collect();
    let limit = asked(parts, "n").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let page: Vec<String> = rest.iter().take(limit).cloned().collect();
    let reply = Reply::new(StatusCode::OK).json(&json!({ "name": repository, "tags": page }));
    match page.last() {
        Some(last) if page.len() < rest.len() => {
            reply.header("link", format!("</v2/{repository}/tags/list?last={last}&n={limit}>; rel=\"next\""))
        }
        _ => reply,
    }
}

/// Two a page, unless fewer are asked for: whoever reads has to go on.
fn list_repositories(shared: &Shared, parts: &Parts) -> Reply {
    const PAGE: usize = 2;
    let last = asked(parts, "last").unwrap_or_default();
    let rest: Vec<String> = shared.stored().repositories().into_iter().filter(|name| *name > last).collect();
    let page: Vec<String> = rest.iter().take(PAGE).cloned().collect();
    let reply = Reply::new(StatusCode::OK).json(&json!({ "repositories": page }));
    match page.last() {
        Some(last) if page.len() < rest.len() => {
            reply.header("link", format!("</v2/_catalog?last={last}&n={PAGE}>; rel=\"next\""))
        }
        _ => reply,
    }
}

fn with_digest(shared: &Shared, reply: Reply, digest: &str) -> Reply {
    if shared.options.digest_header { reply.header("docker-content-digest", digest) } else { reply }
}

fn read_manifest(shared: &Shared, repository: &str, reference: &str) -> Reply {
    let stored = shared.stored();
    let Some(document) = stored.document(repository, reference) else {
        return Reply::error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown");
    };
    let reply = Reply::new(StatusCode::OK).body(&document.media_type, document.bytes.clone());
    with_digest(shared, reply, &document.digest)
}

fn put_manifest(shared: &Shared, parts: &Parts, repository: &str, reference: &str, body: &[u8]) -> Reply {
    if body.len() > LARGEST_DOCUMENT {
        return Reply::error(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", "manifest is too large");
    }
    let digest = digest(body);
    if reference.contains(':') && reference != digest {
        return Reply::error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "provided digest did not match");
    }
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Reply::error(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", "manifest is no JSON");
    };
    let media_type = parts.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if value.get("mediaType").is_some_and(|named| named != media_type) {
        return Reply::error(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", "media type differs from the content type");
    }
    let mut stored = shared.stored();
    let missing = stored.missing(repository, &value);
    if !missing.is_empty() {
        let message = format!("blob unknown to registry: {}", missing.join(", "));
        return Reply::error(StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", &message);
    }
    let document = Document { media_type: media_type.to_owned(), digest: digest.clone(), bytes: body.to_vec() };
    stored.put_document(repository, reference, document);
    let reply = Reply::new(StatusCode::CREATED).header("location", format!("/v2/{repository}/manifests/{digest}"));
    with_digest(shared, reply, &digest)
}

fn read_blob(shared: &Shared, parts: &Parts, repository: &str, digest: &str) -> Reply {
    let Some(bytes) = shared.stored().blob(repository, digest) else {
        return Reply::error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry");
    };
    if let Some(elsewhere) = &shared.options.redirect_blobs_to
        && parts.method == Method::GET
    {
        return Reply::new(StatusCode::TEMPORARY_REDIRECT).header("location", format!("{elsewhere}{}", parts.uri));
    }
    let whole = || with_digest(shared, Reply::new(StatusCode::OK), digest).header("accept-ranges", "bytes");
    let Some(range) = parts.headers.get("range").filter(|_| shared.options.ranges) else {
        return whole().body("application/octet-stream", bytes);
    };
    let size = bytes.len();
    let Some((first, last)) = range.to_str().ok().and_then(|range| closed_range(range, size)) else {
        return Reply::new(StatusCode::RANGE_NOT_SATISFIABLE).header("content-range", format!("bytes */{size}"));
    };
    with_digest(shared, Reply::new(StatusCode::PARTIAL_CONTENT), digest)
        .header("content-range", format!("bytes {first}-{last}/{size}"))
        .body("application/octet-stream", bytes.slice(first..=last))
}

/// First and last place of `bytes=first-last` or `bytes=first-` that can be had from `size` bytes.
fn closed_range(range: &str, size: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first: usize = first.parse().ok()?;
    let end = size.checked_sub(1)?;
    let last = if last.is_empty() { end } else { last.parse::<usize>().ok()?.min(end) };
    (first <= last).then_some((first, last))
}

fn begin_upload(shared: &Shared, parts: &Parts, repository: &str, body: Bytes) -> Reply {
    if let Some(digest) = asked(parts, "digest") {
        return finish_upload(shared, repository, &digest, body);
    }
    let mut stored = shared.stored();
    if let (Some(mount), Some(from)) = (asked(parts, "mount"), asked(parts, "from"))
        && shared.options.mounts
        && stored.mount(repository, &from, &mount)
    {
        return created(shared, repository, &mount);
    }
    let id = stored.begin_upload(repository);
    accepted(shared, repository, &id, 0)
}

fn upload(shared: &Shared, parts: &Parts, repository: &str, id: &str, body: &[u8]) -> Reply {
    let mut stored = shared.stored();
    let Some(received) = stored.upload(repository, id) else {
        return Reply::error(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
    };
    let begins_at = parts.headers.get("content-range").and_then(|range| range.to_str().ok()?.split('-').next());
    if begins_at.is_some_and(|begin| begin.parse() != Ok(received.len())) {
        let reply = Reply::error(StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID", "chunk is out of order");
        return reply.header("range", received_range(received.len()));
    }
    match parts.method.as_str() {
        "GET" => accepted(shared, repository, id, received.len()).status(StatusCode::NO_CONTENT),
        "PATCH" => {
            received.extend_from_slice(body);
            accepted(shared, repository, id, received.len())
        }
        "DELETE" => {
            stored.end_upload(repository, id);
            Reply::new(StatusCode::NO_CONTENT)
        }
        "PUT" => {
            received.extend_from_slice(body);
            let bytes = stored.end_upload(repository, id).expect("it was there a line above");
            drop(stored);
            let Some(digest) = asked(parts, "digest") else {
                return Reply::error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "no digest was given");
            };
            finish_upload(shared, repository, &digest, bytes.into())
        }
        _ => Reply::new(StatusCode::METHOD_NOT_ALLOWED),
    }
}

impl Reply {
    fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

/// Keeps what came of an upload whose connection broke, as real registries do.
pub(super) fn keep_part(shared: &Shared, parts: &Parts, body: &[u8]) {
    if let Place::Upload { repository, id } = Place::parse(parts.uri.path())
        && let Some(received) = shared.stored().upload(&repository, &id)
    {
        received.extend_from_slice(body);
    }
}

fn finish_upload(shared: &Shared, repository: &str, promised: &str, bytes: Bytes) -> Reply {
    if digest(&bytes) != promised {
        return Reply::error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "provided digest did not match");
    }
    shared.stored().put_blob(repository, promised, bytes);
    created(shared, repository, promised)
}

fn created(shared: &Shared, repository: &str, digest: &str) -> Reply {
    let reply = Reply::new(StatusCode::CREATED).header("location", format!("/v2/{repository}/blobs/{digest}"));
    with_digest(shared, reply, digest)
}

/// Where to send the next part. The query must survive when a client adds `digest`.
fn accepted(shared: &Shared, repository: &str, id: &str, received: usize) -> Reply {
    let host = if shared.options.absolute_locations { format!("http://{}", shared.host) } else { String::new() };
    Reply::new(StatusCode::ACCEPTED)
        .header("location", format!("{host}/v2/{repository}/blobs/uploads/{id}?_state=opaque"))
        .header("docker-upload-uuid", id)
        .header("range", received_range(received))
}

/// Distribution answers `0-0` for an upload that holds nothing, too.
fn received_range(received: usize) -> String {
    format!("0-{}", received.saturating_sub(1))
}
