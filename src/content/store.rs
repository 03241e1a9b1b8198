//! Where images come from and where they go.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::content::verifying::{Unverified, VerifyingReader};
use crate::failure::Failure;
use crate::oci::{Descriptor, Digest, Document, Hasher, MediaType, Repository, Tag};
use crate::progress::{Arrival, Event, Progress};

/// How a document is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// By the name it has today.
    Tag(Tag),
    /// By what it is.
    Digest(Digest),
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// A document with the place its bytes came from.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The index or image manifest, as received. Asked for by digest, it has that digest.
    pub document: Document,
    /// The repository that answered: a mirror's, where one was used.
    pub answered_by: Repository,
    /// Whether anyone on the way could have changed it: plain http, or TLS unchecked.
    pub insecure: bool,
}

/// Where images come from: a registry or an opened bundle.
pub trait ImageSource: Send + Sync + 'static {
    /// An index or image manifest of at most [`MAX_DOCUMENT_BYTES`](crate::content::MAX_DOCUMENT_BYTES).
    fn document(&self, at: &Repository, lookup: &Lookup) -> impl Future<Output = Result<Fetched, Failure>> + Send;

    /// A blob's bytes from the offset `from` to its end. What was cut on the way is asked for again by the source.
    fn blob(
        &self,
        at: &Repository,
        blob: &Descriptor,
        from: u64,
    ) -> impl Future<Output = Result<Unverified, Failure>> + Send;
}

/// Where images go: a bundle's draft or a registry.
pub trait ImageSink: Send + Sync + 'static {
    /// Takes a blob. The sink opens the content itself, so that it can continue inside it or begin again.
    fn put_blob<S: ImageSource>(
        &self,
        at: &Repository,
        content: BlobContent<S>,
    ) -> impl Future<Output = Result<Arrival, Failure>> + Send;

    /// Takes over a blob that another of its repositories has, without its bytes travelling. False where the sink
    /// would rather have the bytes.
    fn adopt(
        &self,
        at: &Repository,
        from: &Repository,
        blob: &Descriptor,
    ) -> impl Future<Output = Result<bool, Failure>> + Send;

    /// Takes an index or image manifest, all of whose parts it has, under a tag or its digest.
    fn put_document(
        &self,
        at: &Repository,
        lookup: &Lookup,
        media_type: &MediaType,
        raw: &[u8],
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A blob that can be opened more than once, readable in verified form only.
pub struct BlobContent<S> {
    source: Arc<S>,
    at: Repository,
    blob: Descriptor,
    progress: Arc<dyn Progress>,
}

impl<S: ImageSource> BlobContent<S> {
    /// The blob that `source` holds in the repository `at`.
    pub fn new(source: Arc<S>, at: Repository, blob: Descriptor, progress: Arc<dyn Progress>) -> Self {
        Self { source, at, blob, progress }
    }

    /// What was promised about it.
    pub fn blob(&self) -> &Descriptor {
        &self.blob
    }

    /// Opens it at its start.
    pub async fn open(&self) -> Result<VerifyingReader, Failure> {
        self.after(Hasher::new()).await
    }

    /// Opens it behind the bytes that `seen` has taken.
    pub async fn after(&self, seen: Hasher) -> Result<VerifyingReader, Failure> {
        let position = seen.length();
        self.progress.report(Event::BlobAt { digest: self.blob.digest, position });
        let content = self.source.blob(&self.at, &self.blob, position).await?;
        Ok(content.expecting(&self.blob, seen).telling(self.progress.clone()))
    }

    /// Tells whoever listens, in the middle of work on it.
    pub fn warn(&self, text: impl Into<String>) {
        self.progress.report(Event::Warning(text.into()));
    }
}
