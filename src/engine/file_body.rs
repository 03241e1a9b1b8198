//! Open files, one behind the other, as a request body of exactly known length.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::content::FilePart;

/// How much of a file is read at once.
const CHUNK: u64 = 256 * 1024;

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

/// What parts of files hold, piece by piece. Each is read at its place, so others may read the same files meanwhile.
pub(super) struct Pieces {
    parts: VecDeque<FilePart>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Pieces {
    pub(super) fn new(parts: Vec<FilePart>) -> Self {
        Self { parts: parts.into_iter().filter(|part| part.length > 0).collect(), reading: None }
    }

    /// The next piece; none at the end.
    pub(super) async fn next(&mut self) -> Option<io::Result<Bytes>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.reading.is_none() {
            let Some(piece) = self.take_piece() else {
                return Poll::Ready(None);
            };
            self.reading = Some(tokio::task::spawn_blocking(move || read(&piece)));
        }
        let reading = self.reading.as_mut().expect("it was begun above");
        let read = ready!(reading.poll_unpin(context));
        self.reading = None;
        Poll::Ready(Some(read.unwrap_or_else(|error| Err(io::Error::other(error)))))
    }

    fn take_piece(&mut self) -> Option<FilePart> {
        let part = self.parts.front_mut()?;
        let piece = FilePart { length: part.length.min(CHUNK), ..part.clone() };
        part.at += piece.length;
        part.length -= piece.length;
        if part.length == 0 {
            self.parts.pop_front();
        }
        Some(piece)
    }
}

fn read(piece: &FilePart) -> io::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(piece.length).expect("a piece is small")];
    match piece.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(bytes.into()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let end = piece.at + piece.length;
            let had = piece.file.metadata().map_or(0, |about| about.len());
            let short = format!("`{}` ends after {had} bytes, at least {end} were expected", piece.path.display());
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, short))
        }
        Err(error) => Err(error),
    }
}

/// Open files as a request's body.
pub(super) struct FileBody<F> {
    pieces: Pieces,
    length: u64,
    sent: u64,
    fault: ReadFault,
    tell: F,
}

impl<F: Fn(u64)> FileBody<F> {
    /// A body of these parts; `tell` hears how many bytes have been handed to the connection.
    pub(super) fn new(parts: Vec<FilePart>, tell: F) -> Self {
        let length = parts.iter().map(|part| part.length).sum();
        Self { pieces: Pieces::new(parts), length, sent: 0, fault: ReadFault::default(), tell }
    }

    /// Where a failure to read will be found.
    pub(super) fn fault(&self) -> ReadFault {
        self.fault.clone()
    }
}

impl<F: Fn(u64) + Unpin> http_body::Body for FileBody<F> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let body = self.get_mut();
        let Some(chunk) = ready!(body.pieces.poll_next(context)) else {
            return Poll::Ready(None);
        };
        if let Ok(bytes) = &chunk {
            body.sent += bytes.len() as u64;
            (body.tell)(body.sent);
        }
        Poll::Ready(Some(chunk.map(Frame::data).map_err(|error| body.fault.keep(error))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.length
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length - self.sent)
    }
}
