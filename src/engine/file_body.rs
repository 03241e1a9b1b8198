//! A file as a request body of exactly known length.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, ReadBuf};

/// How much of the file is read at once.
const CHUNK: usize = 256 * 1024;

/// Why the file could not be sent; kept here, since an HTTP client tells only that the request failed.
#[derive(Clone, Default)]
pub(super) struct ReadFault(Arc<Mutex<Option<io::Error>>>);

impl ReadFault {
    /// The error, once.
    pub(super) fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, error: io::Error) -> io::Error {
        let told = io::Error::new(error.kind(), error.to_string());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        told
    }
}

/// The first `length` bytes of a file.
pub(super) struct FileBody<F> {
    file: tokio::fs::File,
    buffer: Box<[u8]>,
    length: u64,
    sent: u64,
    fault: ReadFault,
    tell: F,
}

impl<F: Fn(u64)> FileBody<F> {
    /// Opens the file; `tell` hears how many bytes have been handed to the connection.
    pub(super) async fn open(path: &Path, length: u64, tell: F) -> io::Result<Self> {
        let mut file = tokio::fs::File::open(path).await?;
        file.set_max_buf_size(CHUNK);
        let buffer = vec![0; CHUNK].into_boxed_slice();
        Ok(Self { file, buffer, length, sent: 0, fault: ReadFault::default(), tell })
    }

    /// Where a failure to read will be found.
    pub(super) fn fault(&self) -> ReadFault {
        self.fault.clone()
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let left = usize::try_from(self.length - self.sent).unwrap_or(CHUNK).min(CHUNK);
        let mut buffer = ReadBuf::new(&mut self.buffer[..left]);
        ready!(Pin::new(&mut self.file).poll_read(context, &mut buffer))?;
        let chunk = Bytes::copy_from_slice(buffer.filled());
        if chunk.is_empty() {
            let short = format!("it ends after {} bytes, {} were expected", self.sent, self.length);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, short)));
        }
        self.sent += chunk.len() as u64;
        (self.tell)(self.sent);
        Poll::Ready(Ok(chunk))
    }
}

impl<F: Fn(u64) + Unpin> http_body::Body for FileBody<F> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let body = self.get_mut();
        if body.sent == body.length {
            return Poll::Ready(None);
        }
        let chunk = ready!(body.poll_chunk(context));
        Poll::Ready(Some(chunk.map(Frame::data).map_err(|error| body.fault.keep(error))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.length
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length - self.sent)
    }
}
