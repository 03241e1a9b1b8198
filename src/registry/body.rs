//! Verified content as the body of a request.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::content::VerifyingReader;
use crate::failure::Failure;
use crate::oci::Hasher;
use crate::registry::sync::lock;
use crate::registry::throttle::Throttle;

/// What can be known about a body while it is sent.
#[derive(Clone)]
pub(super) struct Sending(Arc<Mutex<State>>);

struct State {
    /// When bytes were last taken or asked for; never before the connection asked for the first.
    moved: Option<Instant>,
    /// Whether the next bytes are awaited from our own side.
    reading: bool,
    /// Bytes taken.
    sent: u64,
    /// Bytes in all.
    length: u64,
    failure: Option<Failure>,
    /// The content, given back when a part of it has been sent.
    rest: Option<Rest>,
}

/// The content behind what has been sent.
pub(super) struct Rest {
    reader: BoxStream<'static, Result<(Hasher, Bytes), Failure>>,
    /// Read but not yet sent.
    ahead: Bytes,
    /// What the reader had taken before the chunk whose rest is `ahead`: from there the content can be opened again.
    mark: Hasher,
}

impl Rest {
    /// All of a reader's content, no faster than `throttle` lets it pass.
    pub(super) fn of(reader: VerifyingReader, throttle: Arc<Throttle>) -> Self {
        let mark = reader.seen();
        let reader = futures_util::stream::try_unfold((reader, throttle), |(mut reader, throttle)| async move {
            let before = reader.seen();
            let Some(chunk) = reader.next().await? else { return Ok(None) };
            throttle.pass(chunk.len()).await;
            Ok(Some(((before, chunk), (reader, throttle))))
        });
        Self { reader: reader.boxed(), ahead: Bytes::new(), mark }
    }

    /// Content behind the first `position` bytes of the blob, which have arrived already. What the reader gives of them
    /// is read again, since only that proves the rest.
    pub(super) async fn behind(
        mut reader: VerifyingReader,
        position: u64,
        throttle: Arc<Throttle>,
    ) -> Result<Self, Failure> {
        let (mut ahead, mut mark) = (Bytes::new(), reader.seen());
        let mut bytes = position.saturating_sub(mark.length());
        while bytes > 0 {
            mark = reader.seen();
            let Some(chunk) = reader.next().await? else { break };
            ahead = chunk;
            let passed = usize::try_from(bytes).map_or(ahead.len(), |bytes| bytes.min(ahead.len()));
            let _ = ahead.split_to(passed);
            bytes -= passed as u64;
        }
        Ok(Self { ahead, mark, ..Self::of(reader, throttle) })
    }

    /// Where the content can be opened again, at or before the first byte that is left.
    pub(super) fn mark(&self) -> Hasher {
        self.mark.clone()
    }

    /// A body of the next `length` bytes. When it has been sent, what is left can be had from [`Sending::rest`].
    pub(super) fn body(self, length: u64) -> (reqwest::Body, Sending) {
        let state = State { moved: None, reading: false, sent: 0, length, failure: None, rest: None };
        let sending = Sending(Arc::new(Mutex::new(state)));
        let body = Upload { rest: Mutex::new(Some(self)), left: length, sending: sending.clone() };
        (reqwest::Body::wrap(body), sending)
    }
}

impl Sending {
    /// For how long the connection has taken nothing. Before it is there, and while we wait for our own content or for
    /// our own limit on the rate, it is not the connection that idles.
    pub(super) fn idle(&self) -> Duration {
        self.with(|state| match state.moved {
            Some(moved) if !state.reading => moved.elapsed(),
            _ => Duration::ZERO,
        })
    }

    /// Whether all has been taken.
    pub(super) fn is_sent(&self) -> bool {
        self.with(|state| state.sent == state.length)
    }

    /// Why the content could not be read, if that ended the body.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.with(|state| state.failure.take())
    }

    /// Bytes taken so far.
    pub(super) fn sent(&self) -> u64 {
        self.with(|state| state.sent)
    }

    /// Bytes in all.
    pub(super) fn length(&self) -> u64 {
        self.with(|state| state.length)
    }

    /// What is left of the content, once the body was taken whole.
    pub(super) fn rest(&self) -> Option<Rest> {
        self.with(|state| state.rest.take())
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut lock(&self.0))
    }
}

/// A body of known length: the HTTP client sends it as `Content-Length`, and a body that fails ends the connection
/// before that length, so that no server can take it for complete.
struct Upload {
    /// Locked by nobody: the client asks bodies to be shareable, though it alone uses them.
    rest: Mutex<Option<Rest>>,
    left: u64,
    sending: Sending,
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let slot = this.rest.get_mut().expect("no code panics while it holds this lock");
        let Some(rest) = slot else { return Poll::Ready(None) };
        if this.left == 0 {
            let rest = slot.take();
            this.sending.with(|state| state.rest = rest);
            return Poll::Ready(None);
        }
        if rest.ahead.is_empty() {
            let polled = rest.reader.poll_next_unpin(cx);
            this.sending.with(|state| {
                state.reading = polled.is_pending();
                state.moved = Some(Instant::now());
            });
            match std::task::ready!(polled) {
                Some(Ok((mark, chunk))) => (rest.mark, rest.ahead) = (mark, chunk),
                Some(Err(failure)) => {
                    this.sending.with(|state| state.failure = Some(failure));
                    return Poll::Ready(Some(Err(io::Error::other("the content could not be read"))));
                }
                None => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            }
        }
        let take = usize::try_from(this.left).map_or(rest.ahead.len(), |left| left.min(rest.ahead.len()));
        let chunk = rest.ahead.split_to(take);
        this.left -= chunk.len() as u64;
        this.sending.with(|state| {
            state.moved = Some(Instant::now());
            state.sent += chunk.len() as u64;
        });
        if this.left == 0 {
            // The client stops polling at the length it was told.
            let rest = slot.take();
            this.sending.with(|state| state.rest = rest);
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::content::Unverified;
    use crate::oci::{Descriptor, Digest};

    #[tokio::test(start_paused = true)]
    async fn uploads_side_by_side_keep_to_one_rate() {
        let content = Bytes::from(vec![7; 5_000_000]);
        let blob = Descriptor::new("application/octet-stream", Digest::of(&content), content.len() as u64);
        let throttle = Arc::new(Throttle::new(Some(1_000_000)));
        let begun = Instant::now();
        let upload = async || {
            let pieces: Vec<_> = content.chunks(64 * 1024).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            let reader = Unverified::new(futures_util::stream::iter(pieces)).expecting(&blob, Hasher::new());
            let (mut body, sending) = Rest::of(reader, throttle.clone()).body(blob.size);
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                frame.unwrap();
            }
            sending.sent()
        };
        let (one, other) = futures_util::future::join(upload(), upload()).await;
        assert_eq!((one, other), (blob.size, blob.size));
        let seconds = begun.elapsed().as_secs_f64();
        assert!((9.5..10.5).contains(&seconds), "10 MB at 1 MB/s took {seconds} s");
    }
}
