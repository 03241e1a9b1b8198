//! Documents and blobs from a registry.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::content::{Fetched, Lookup, MAX_DOCUMENT_BYTES, Unverified};
use crate::oci::{Descriptor, Digest, Document, DocumentError, MediaType, Repository};
use crate::progress::Event;
use crate::registry::answer::{page, whole_body};
use crate::registry::auth::Access;
use crate::registry::coding::{coding_of, unpacked};
use crate::registry::download::Download;
use crate::registry::endpoint::{Endpoint, shown_host};
use crate::registry::error::RegistryError;
use crate::registry::exchange::{Answer, Call, Exchange};
use crate::registry::pace::REPLACED;
use crate::registry::sync::lock;

pub(super) fn manifest_name(at: &Repository, lookup: &Lookup) -> String {
    format!("manifest `{lookup}` of `{at}`")
}

pub(super) fn blob_name(at: &Repository, digest: Digest) -> String {
    format!("blob {digest} of `{at}`")
}

/// Who is asked first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    MirrorsFirst,
    OwnHostFirst,
}

/// All kinds of documents that we read. Registries convert or refuse what is not listed.
pub(super) fn accepted_documents() -> HeaderValue {
    let kinds =
        [MediaType::OCI_INDEX, MediaType::OCI_MANIFEST, MediaType::DOCKER_LIST, MediaType::DOCKER_MANIFEST].join(", ");
    HeaderValue::from_str(&kinds).expect("media types are plain text")
}

/// Whether headers tell where the body ends.
fn states_length(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING)
}

impl Exchange {
    /// Asks the mirrors of `at` and its own host in this order, or its own host first, until one has what `ask` asks for.
    async fn first_of<T, F>(
        &self,
        at: &Repository,
        order: Order,
        ask: impl Fn(Endpoint) -> F,
    ) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, RegistryError>>,
    {
        let mut mirrors = Endpoint::all_of(at, &self.settings)?;
        let own = mirrors.pop().expect("the repository's own host is the last");
        let mut refused = None;
        if order == Order::OwnHostFirst && !mirrors.is_empty() {
            match ask(own.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => refused = Some(error),
            }
        }
        for mirror in mirrors {
            let host = mirror.host().to_string();
            if lock(&self.left_out).contains(&host) {
                continue;
            }
            match ask(mirror).await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.leave_out(&host, &error),
            }
        }
        match refused {
            Some(error) => Err(error),
            None => ask(own).await,
        }
    }

    /// A mirror that does not have or give one image may have the next; one that does not work costs its time only
    /// once.
    fn leave_out(&self, host: &str, error: &RegistryError) {
        let about_this_image = matches!(
            error.inner(),
            RegistryError::NotFound { .. } | RegistryError::Denied { .. } | RegistryError::LoginMissing { .. }
        );
        if !about_this_image && lock(&self.left_out).insert(host.to_owned()) {
            self.progress.report(Event::Warning(format!("the mirror `{host}` is left out from now on: {error}")));
        }
    }

    pub(super) async fn document(&self, at: &Repository, lookup: &Lookup) -> Result<Fetched, RegistryError> {
        self.first_of(at, Order::MirrorsFirst, |endpoint| async move { self.document_from(&endpoint, lookup).await })
            .await
    }

    async fn document_from(&self, endpoint: &Endpoint, lookup: &Lookup) -> Result<Fetched, RegistryError> {
        let what = manifest_name(&endpoint.repository, lookup);
        if !endpoint.takes(lookup) {
            return Err(RegistryError::NotFound { host: endpoint.host().to_string(), what, said: String::new() });
        }
        let access = Access::pull(&endpoint.repository);
        let mut call = Call::new(Method::GET, endpoint.manifest(lookup), endpoint, access, &what);
        call.headers.insert(ACCEPT, accepted_documents());
        let (mut budget, mut stalls) = (self.budget(), 0);
        loop {
            let error = match self.whole_document(&call, lookup, stalls < REPLACED).await {
                Ok(document) => {
                    let answered_by = endpoint.repository.clone();
                    return Ok(Fetched { document, answered_by, insecure: endpoint.insecure });
                }
                Err(error) => error,
            };
            stalls += u32::from(matches!(error.inner(), RegistryError::Stalled { .. }));
            // A cache on the way may hold something stale; once it is asked to look again.
            let first = !call.headers.contains_key(CACHE_CONTROL);
            let doubtful = match error.inner() {
                RegistryError::OtherContent { .. } => true,
                RegistryError::NotFound { .. } => self.transport.is_proxied(&call.url),
                _ => false,
            };
            if first && doubtful {
                call.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            } else {
                self.pause(error, &mut budget).await?;
            }
        }
    }

    pub(super) async fn whole_document(
        &self,
        call: &Call<'_>,
        lookup: &Lookup,
        replaceable: bool,
    ) -> Result<Document, RegistryError> {
        let Answer { response, url, .. } = self.attempt(call, &[StatusCode::OK]).await?;
        let (host, what) = (shown_host(&url), &call.what);
        let (status, headers) = (response.status(), response.headers().clone());
        let explain = |error| self.transport.explain(error, &url, what);
        let limits = &self.settings.limits;
        let body = whole_body(response, MAX_DOCUMENT_BYTES, limits, replaceable, explain, &host, what).await?;
        let body = self.as_it_was(body, lookup, &headers, &host);
        if let Lookup::Digest(expected) = lookup {
            let got = Digest::of(&body);
            if got != *expected {
                if let Some(page) = page(status, &headers, &body, &host, what) {
                    return Err(page);
                }
                let (what, got) = (what.clone(), got.to_string());
                return Err(RegistryError::OtherContent { host, what, expected: *expected, got });
            }
        } else if let Some(page) = page(status, &headers, &body, &host, what) {
            return Err(page);
        }
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        Document::parse(body, kind).map_err(|source| {
            let what = what.clone();
            match source {
                // The end of the connection was the only sign that it had ended.
                DocumentError::Json(why) if !states_length(&headers) => {
                    RegistryError::Broken { host, what, source: why.into() }
                }
                source => RegistryError::Document { host, what, source },
            }
        })
    }

    /// A document as the registry has it, where something on the way compressed it and the digest or its form shows that.
    fn as_it_was(&self, body: Vec<u8>, lookup: &Lookup, headers: &HeaderMap, host: &str) -> Vec<u8> {
        let is_right = |body: &[u8]| match lookup {
            Lookup::Digest(expected) => Digest::of(body) == *expected,
            // No JSON begins as gzip does, so what can be unpacked was packed.
            Lookup::Tag(_) => !body.starts_with(&[0x1f, 0x8b]),
        };
        let Some(coding) = coding_of(headers).filter(|_| !is_right(&body)) else { return body };
        let Some(plain) = unpacked(&body, MAX_DOCUMENT_BYTES).filter(|plain| is_right(plain)) else { return body };
        let text =
            format!("`{host}` sends documents compressed ({coding}), though it is asked not to; they are unpacked");
        if lock(&self.notices).insert(text.clone()) {
            self.progress.report(Event::Warning(text));
        }
        plain
    }

    /// The blob's bytes in a range, whose end may lie behind the blob's.
    pub(super) async fn blob(
        self: &Arc<Self>,
        at: &Repository,
        blob: &Descriptor,
        range: Range<u64>,
    ) -> Result<Unverified, RegistryError> {
        let Range { start: from, end } = range;
        if from > 0 && from >= blob.size.min(end) {
            return Ok(Unverified::from_bytes(Bytes::new()));
        }
        // Asked for from its start again, what came before was not what was promised: no cache should answer, and a mirror
        // is one.
        let again = from == 0 && end >= blob.size && !lock(&self.begun).insert(blob.digest);
        let order = if again { Order::OwnHostFirst } else { Order::MirrorsFirst };
        let download = self.first_of(at, order, |endpoint| async move {
            let mut download = Download::new(self.clone(), endpoint, blob.clone(), from, again).until(end);
            download.open().await?;
            Ok(download)
        });
        Ok(download.await?.into_stream())
    }
}
