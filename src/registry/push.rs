//! Blobs and documents to a registry.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use url::Url;

use crate::content::{BlobContent, ImageSource, Lookup};
use crate::failure::Failure;
use crate::oci::{Descriptor, Digest, MediaType, Repository};
use crate::progress::{Arrival, Event};
use crate::registry::auth::Access;
use crate::registry::endpoint::{Endpoint, shown_host, shown_url};
use crate::registry::error::RegistryError;
use crate::registry::exchange::{Answer, Call, Exchange};
use crate::registry::location;
use crate::registry::pull::{accepted_documents, blob_name, manifest_name};
use crate::registry::retry::is_passing_status;
use crate::registry::sync::lock;
use crate::registry::upload::Upload;

/// The digest that a registry computed; a hint in general, a check where we sent the bytes ourselves.
const CONTENT_DIGEST: &str = "docker-content-digest";

impl Exchange {
    /// Whether the registry holds a blob, whole.
    pub(super) async fn has_blob(&self, at: &Repository, blob: &Descriptor) -> Result<bool, RegistryError> {
        let endpoint = Endpoint::of(at, &self.settings)?;
        let access = Access::push(at);
        let what = blob_name(at, blob.digest);
        let call = Call::new(Method::HEAD, endpoint.blob(blob.digest), &endpoint, access, &what);
        match self.send(&call, &[StatusCode::OK]).await {
            // A registry that lost half of a blob says so by its length.
            Ok(answer) => {
                let length = answer.header(CONTENT_LENGTH.as_str()).and_then(|length| length.parse::<u64>().ok());
                Ok(length.is_none_or(|length| length == blob.size))
            }
            // A store's signed address may be good for GET alone; the worst of a false "no" is an upload too many.
            Err(RegistryError::NotFound { .. } | RegistryError::StoreRefused { .. }) => Ok(false),
            Err(error) if refuses_head(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The digest that a tag or digest has at the registry today; none if it is not there.
    pub(super) async fn document_digest(
        &self,
        at: &Repository,
        lookup: &Lookup,
    ) -> Result<Option<Digest>, RegistryError> {
        let endpoint = Endpoint::of(at, &self.settings)?;
        let what = manifest_name(at, lookup);
        let mut call = Call::new(Method::HEAD, endpoint.manifest(lookup), &endpoint, Access::pull(at), &what);
        call.headers.insert(http::header::ACCEPT, accepted_documents());
        match self.send(&call, &[StatusCode::OK]).await {
            Ok(answer) => {
                if let Some(digest) = answer.header(CONTENT_DIGEST).and_then(|text| text.parse().ok()) {
                    return Ok(Some(digest));
                }
            }
            Err(RegistryError::NotFound { .. }) => return Ok(None),
            // Some servers and proxies know no HEAD; the body tells the digest too.
            Err(error) if refuses_head(&error) => {}
            Err(error) => return Err(error),
        }
        match self.document(at, lookup).await {
            Ok(fetched) => Ok(Some(Digest::of(fetched.document.raw()))),
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks the registry to take a blob over from another of its repositories; false if it does not.
    pub(super) async fn mount(
        &self,
        to: &Repository,
        from: &Repository,
        blob: &Descriptor,
    ) -> Result<bool, RegistryError> {
        let endpoint = Endpoint::of(to, &self.settings)?;
        let what = format!("{} taken over from `{from}`", blob_name(to, blob.digest));
        let mut url = endpoint.uploads();
        url.query_pairs_mut().append_pair("mount", &blob.digest.to_string()).append_pair("from", from.name.as_str());
        let call = Call::new(Method::POST, url, &endpoint, Access::mount(to, from), &what);
        let mut budget = self.budget();
        let asked = loop {
            match self.attempt(&call, &[StatusCode::CREATED, StatusCode::ACCEPTED]).await {
                // A registry that cannot mount says so in many ways; asking again would not teach it.
                Err(error @ RegistryError::Status { .. }) => break Err(error),
                Err(error) => {
                    if let Err(error) = self.pause(error, &mut budget).await {
                        break Err(error);
                    }
                }
                answered => break answered,
            }
        };
        match asked {
            // Some say "created" without having it.
            Ok(answer) if answer.status() == StatusCode::CREATED => {
                drop(answer);
                self.has_blob(to, blob).await
            }
            Ok(answer) => {
                let session = self.upload_address(&answer, &what);
                drop(answer);
                if let Ok(session) = session {
                    self.abandon(&endpoint, session, &what).await;
                }
                Ok(false)
            }
            // Not allowed to read there, or not able to mount: the blob can still be uploaded.
            Err(error) => match error.inner() {
                RegistryError::Denied { .. }
                | RegistryError::LoginMissing { .. }
                | RegistryError::LoginRefused { .. }
                | RegistryError::NotFound { .. }
                | RegistryError::Status { status: 400..=501, .. } => Ok(false),
                _ => Err(error),
            },
        }
    }

    pub(super) async fn put_blob<S: ImageSource>(
        &self,
        at: &Repository,
        content: BlobContent<S>,
    ) -> Result<Arrival, Failure> {
        let endpoint = Endpoint::of(at, &self.settings)?;
        Upload::new(self, endpoint, content).run().await
    }

    pub(super) async fn put_document(
        &self,
        at: &Repository,
        lookup: &Lookup,
        media_type: &MediaType,
        raw: &[u8],
    ) -> Result<(), RegistryError> {
        let endpoint = Endpoint::of(at, &self.settings)?;
        let what = manifest_name(at, lookup);
        let mut call = Call::new(Method::PUT, endpoint.manifest(lookup), &endpoint, Access::push(at), &what);
        let kind = HeaderValue::from_str(media_type.as_str())
            .map_err(|_| RegistryError::Setting { what: format!("{what} has a media type that no header takes") })?;
        call.headers.insert(CONTENT_TYPE, kind);
        call.body = bytes::Bytes::copy_from_slice(raw);
        let answer = self.send(&call, &[StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED]).await?;
        let expected = Digest::of(raw);
        match answer.header(CONTENT_DIGEST) {
            Some(got) if got.trim() != expected.to_string() => {
                let got = got.chars().take(100).collect();
                Err(RegistryError::OtherContent { host: shown_host(&answer.url), what, expected, got })
            }
            _ => Ok(()),
        }
    }

    /// The address in an answer to which the next bytes go.
    pub(super) fn upload_address(&self, answer: &Answer, what: &str) -> Result<Url, RegistryError> {
        let host = shown_host(&answer.url);
        if answer.elsewhere {
            let (target, why) = (shown_url(&answer.url), "the registry was redirected to another server to answer");
            return Err(RegistryError::LocationRefused { host, what: what.to_owned(), target, why });
        }
        let Some(named) = answer.header("location") else {
            let why = "it does not say where the bytes go (`Location`)".into();
            return Err(RegistryError::Answer { host, what: what.to_owned(), why });
        };
        let target = location::resolve(&answer.url, named).map_err(|why| {
            let target = answer.url.join(named).map_or_else(|_| "an unreadable address".into(), |url| shown_url(&url));
            RegistryError::LocationRefused { host: host.clone(), what: what.to_owned(), target, why }
        })?;
        if let Some(repaired) = target.repaired
            && lock(&self.warned).insert(host.clone())
        {
            let text = format!(
                "`{host}` gives {repaired} for uploads; its proxy should pass `X-Forwarded-Proto` and `Host`, or the registry should send relative addresses"
            );
            self.progress.report(Event::Warning(text));
        }
        Ok(target.url)
    }

    /// Tells the registry that an upload will not go on; left-over ones fill its disk.
    pub(super) async fn abandon(&self, endpoint: &Endpoint, session: Url, what: &str) {
        let access = Access::push(&endpoint.repository);
        let call = Call::new(Method::DELETE, session, endpoint, access, what);
        // Whether it could: the registry clears up by itself in the end.
        let _ = self.attempt(&call, &[StatusCode::NO_CONTENT]).await;
    }
}

/// Whether an answer to HEAD may be about the method: proxies that do not let it pass say so in many ways.
fn refuses_head(error: &RegistryError) -> bool {
    match error {
        RegistryError::Denied { .. } => true,
        RegistryError::Status { status, .. } | RegistryError::Page { status, .. } => {
            matches!(status, 400..=499 | 501) && !is_passing_status(*status)
        }
        _ => false,
    }
}
