//! The one place where bytes are compared with what was promised.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt, TryStreamExt};

use crate::failure::{ErrorClass, Explain, Failure};
use crate::oci::{Descriptor, Digest, Hasher};
use crate::progress::{Event, Progress};

/// Content as it arrives: it can be named or dropped, but not read.
pub struct Unverified(BoxStream<'static, Result<Bytes, Failure>>);

/// Content that is not what was promised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It ended early.
    #[error("{digest} ended after {got} of {size} bytes")]
    Short {
        /// What was promised.
        digest: Digest,
        /// The promised length.
        size: u64,
        /// The bytes that came.
        got: u64,
    },
    /// It went on after its end.
    #[error("{digest} goes on after its {size} bytes")]
    Long {
        /// What was promised.
        digest: Digest,
        /// The promised length.
        size: u64,
    },
    /// The right length, other bytes.
    #[error("{size} bytes came for {digest}, but they are {got}")]
    Digest {
        /// What was promised.
        digest: Digest,
        /// The promised length.
        size: u64,
        /// What came.
        got: Digest,
    },
}

impl Explain for Mismatch {
    fn class(&self) -> ErrorClass {
        ErrorClass::Integrity
    }

    fn help(&self) -> Option<String> {
        Some("something between here and the source changed the bytes, often a proxy's cache: run the same command again, and if it repeats, ask for an exception for this host".into())
    }
}

impl Unverified {
    /// Wraps what a source delivers.
    pub fn new(chunks: impl Stream<Item = Result<Bytes, Failure>> + Send + 'static) -> Self {
        Self(chunks.boxed())
    }

    /// Content that is in memory.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::new(futures_util::stream::once(async move { Ok(bytes) }))
    }

    /// Its first bytes, at most so many. The rest is not asked for.
    #[must_use]
    pub fn first(self, length: u64) -> Self {
        let rest = (self.0, length);
        Self::new(futures_util::stream::try_unfold(rest, |(mut chunks, left)| async move {
            if left == 0 {
                return Ok(None);
            }
            let Some(mut chunk) = chunks.next().await.transpose()? else { return Ok(None) };
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            let left = left - chunk.len() as u64;
            Ok(Some((chunk, (chunks, left))))
        }))
    }

    /// Parts one after another, as one content.
    pub fn joined(parts: impl Stream<Item = Result<Self, Failure>> + Send + 'static) -> Self {
        Self::new(parts.map_ok(|part| part.0).try_flatten())
    }

    /// The only readable form of it. `seen` has taken the bytes before the first chunk, where reading continues
    /// inside a blob.
    pub fn expecting(self, blob: &Descriptor, seen: Hasher) -> VerifyingReader {
        VerifyingReader { chunks: self.0, digest: blob.digest, size: blob.size, hasher: Some(seen), progress: None }
    }
}

/// Gives out content chunk by chunk. The last chunk comes only after size and digest of the whole agreed and nothing
/// followed, so a consumer that stops at the promised size cannot miss a mismatch.
pub struct VerifyingReader {
    chunks: BoxStream<'static, Result<Bytes, Failure>>,
    digest: Digest,
    size: u64,
    /// Gone once the end was reached or something failed.
    hasher: Option<Hasher>,
    progress: Option<Arc<dyn Progress>>,
}

impl VerifyingReader {
    /// Reports each chunk's end as the blob's position.
    #[must_use]
    pub fn telling(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// What has taken all bytes that came so far: reading can continue behind them. Once all came, nothing can follow,
    /// and it has seen nothing.
    pub fn seen(&self) -> Hasher {
        self.hasher.clone().unwrap_or_default()
    }

    /// The next chunk, never an empty one; nothing after the last. After an error there is nothing more either.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(mut hasher) = self.hasher.take() else {
            return Ok(None);
        };
        let Some(chunk) = self.next_filled().await? else {
            return self.check_end(hasher, None);
        };
        hasher.update(&chunk);
        if let Some(progress) = &self.progress {
            progress.report(Event::BlobAt { digest: self.digest, position: hasher.length().min(self.size) });
        }
        if hasher.length() < self.size {
            self.hasher = Some(hasher);
            return Ok(Some(chunk));
        }
        if hasher.length() > self.size || self.next_filled().await?.is_some() {
            return Err(Mismatch::Long { digest: self.digest, size: self.size }.into());
        }
        self.check_end(hasher, Some(chunk))
    }

    /// The whole content, for documents that were checked to be small.
    pub async fn collect(mut self) -> Result<Bytes, Failure> {
        let Some(first) = self.next().await? else {
            return Ok(Bytes::new());
        };
        let Some(second) = self.next().await? else {
            return Ok(first);
        };
        let mut all = first.to_vec();
        all.extend_from_slice(&second);
        while let Some(chunk) = self.next().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.into())
    }

    async fn next_filled(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match self.chunks.next().await.transpose()? {
                Some(chunk) if chunk.is_empty() => {}
                other => return Ok(other),
            }
        }
    }

    fn check_end(&self, hasher: Hasher, last: Option<Bytes>) -> Result<Option<Bytes>, Failure> {
        let (digest, size) = (self.digest, self.size);
        if hasher.length() < size {
            return Err(Mismatch::Short { digest, size, got: hasher.length() }.into());
        }
        let got = hasher.digest();
        if got == digest { Ok(last) } else { Err(Mismatch::Digest { digest, size, got }.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promised(content: &[u8]) -> Descriptor {
        Descriptor::new("application/octet-stream", Digest::of(content), content.len() as u64)
    }

    fn served(content: &[u8], chunk: usize) -> Unverified {
        let chunks: Vec<_> = content.chunks(chunk).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        Unverified::new(futures_util::stream::iter(chunks))
    }

    /// What a consumer gets that stops at the promised size, as HTTP clients do.
    async fn read_to_size(mut reader: VerifyingReader, size: u64) -> Result<Vec<u8>, Failure> {
        let mut out = Vec::new();
        while (out.len() as u64) < size {
            match reader.next().await? {
                Some(chunk) => out.extend_from_slice(&chunk),
                None => break,
            }
        }
        Ok(out)
    }

    #[tokio::test]
    async fn only_the_promised_content_is_given_out_whole() {
        let cases = [(&b"layer"[..], true), (b"laxer", false), (b"lay", false), (b"layer+", false), (b"", false)];
        for (content, sound) in cases {
            for chunk in [1, 2, 5, 6] {
                let read = served(content, chunk).expecting(&promised(b"layer"), Hasher::new()).collect().await;
                assert_eq!(read.is_ok(), sound, "{content:?} in pieces of {chunk}");
                let reader = served(content, chunk).expecting(&promised(b"layer"), Hasher::new());
                let stopped = read_to_size(reader, 5).await;
                assert_eq!(
                    stopped.is_ok_and(|bytes| bytes.len() == 5),
                    sound,
                    "{content:?} in pieces of {chunk}, stopped at the size"
                );
            }
        }
    }

    #[tokio::test]
    async fn parts_make_one_content_that_is_checked_as_a_whole() {
        let parts = |last: &'static [u8]| {
            let parts = [served(b"layxx", 2).first(3), served(last, 1), served(b"never", 1).first(0)];
            Unverified::joined(futures_util::stream::iter(parts.map(Ok)))
        };
        for (last, sound) in [(&b"er"[..], true), (b"ex", false), (b"e", false), (b"er+", false)] {
            let read = parts(last).expecting(&promised(b"layer"), Hasher::new()).collect().await;
            assert_eq!(read.is_ok(), sound, "{last:?}");
        }
    }

    #[tokio::test]
    async fn nothing_comes_after_an_error() {
        let mut reader = served(b"laxer", 1).expecting(&promised(b"layer"), Hasher::new());
        let mut failed = 0;
        let mut given = 0;
        for _ in 0..10 {
            match reader.next().await {
                Err(_) => failed += 1,
                Ok(chunk) => given += chunk.map_or(0, |chunk| chunk.len()),
            }
        }
        assert_eq!((failed, given), (1, 4));
    }

    #[tokio::test]
    async fn reading_continues_after_what_was_seen() {
        let mut seen = Hasher::new();
        seen.update(b"lay");
        assert_eq!(served(b"er", 1).expecting(&promised(b"layer"), seen.clone()).collect().await.unwrap(), "er");
        assert!(served(b"ex", 1).expecting(&promised(b"layer"), seen).collect().await.is_err());
    }

    #[tokio::test]
    async fn empty_content_is_checked_too() {
        assert_eq!(served(b"", 1).expecting(&promised(b""), Hasher::new()).collect().await.unwrap(), "");
        assert!(served(b"x", 1).expecting(&promised(b""), Hasher::new()).collect().await.is_err());
    }
}
