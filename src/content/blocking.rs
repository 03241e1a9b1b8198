//! Work that waits, where waiting is allowed; and verified content for code that reads as it goes: decoders and archives.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use tokio::runtime::Handle;

use crate::content::VerifyingReader;
use crate::failure::Failure;

/// Runs what waits for a disk where waiting is allowed.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The program ends; nobody waits for the answer any more.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Reads content on a thread that may wait. What it gives counts only once [`BlockingReader::finish`] has said so: until
/// the last byte it may still turn out not to be what was promised.
pub struct BlockingReader {
    reader: VerifyingReader,
    runtime: Handle,
    chunk: Bytes,
    failure: Option<Failure>,
}

impl BlockingReader {
    /// Reads by this runtime. Not to be used on one of its own threads.
    pub fn new(reader: VerifyingReader, runtime: Handle) -> Self {
        Self { reader, runtime, chunk: Bytes::new(), failure: None }
    }

    /// Reads on to the end, and says whether all of it was what was promised.
    pub fn finish(mut self) -> Result<(), Failure> {
        while self.failure.is_none() && self.advance()? {}
        self.failure.map_or(Ok(()), Err)
    }

    /// Why reading failed, if it did.
    pub fn into_failure(self) -> Option<Failure> {
        self.failure
    }

    fn advance(&mut self) -> Result<bool, Failure> {
        let next = self.runtime.block_on(self.reader.next())?;
        self.chunk = next.unwrap_or_default();
        Ok(!self.chunk.is_empty())
    }
}

impl Read for BlockingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() && self.failure.is_none() {
            self.failure = self.advance().err();
        }
        if let Some(failure) = &self.failure {
            return Err(io::Error::other(failure.to_string()));
        }
        let length = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Unverified;
    use crate::oci::{Descriptor, Digest, Hasher};

    fn reading(given: &'static [u8], promised: &[u8]) -> (Vec<u8>, Result<(), Failure>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let promised = Descriptor::new("text", Digest::of(promised), promised.len() as u64);
        let chunks = futures_util::stream::iter(given.chunks(3).map(|chunk| Ok(Bytes::from_static(chunk))));
        let reader = Unverified::new(chunks).expecting(&promised, Hasher::new());
        let mut reader = BlockingReader::new(reader, runtime.handle().clone());
        let mut seen = vec![0; 4];
        let read = reader.read(&mut seen).unwrap_or_default();
        seen.truncate(read);
        (seen, reader.finish())
    }

    #[test]
    fn what_was_read_counts_only_if_the_rest_is_right_too() {
        let (seen, ended) = reading(b"content", b"content");
        assert!(seen == b"con" && ended.is_ok());
        for (given, promised) in [(&b"contenx"[..], &b"content"[..]), (b"conte", b"content"), (b"content+", b"content")]
        {
            let (seen, ended) = reading(given, promised);
            assert!(seen == b"con" && ended.is_err(), "{given:?}");
        }
    }
}
