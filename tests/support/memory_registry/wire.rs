//! Bytes on their way in and out: counted, slowed down, cut or altered.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::StatusCode;
use tokio::time::Instant;

use super::Shared;
use super::faults::Effect;
use super::journal::{Entry, Transfer};
use super::protocol::{self, Reply};

/// Small enough that a cut or a slow line is met inside of even a small blob.
const CHUNK: usize = 16 * 1024;

/// One line for all bodies: each waits for its turn.
pub(super) struct Pace {
    /// 0 is as fast as it goes.
    bytes_per_second: AtomicU64,
    free_at: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second: AtomicU64::new(bytes_per_second.unwrap_or(0)), free_at: Mutex::new(None) }
    }

    pub(super) fn lift(&self) {
        self.bytes_per_second.store(0, Ordering::SeqCst);
    }

    async fn pass(&self, bytes: usize) {
        let micros = bytes as u64 * 1_000_000;
        let Some(takes) = micros.checked_div(self.bytes_per_second.load(Ordering::SeqCst)) else { return };
        let takes = Duration::from_micros(takes);
        let until = {
            let mut free_at = self.free_at.lock().expect("a clock is never held across a panic");
            let until = free_at.map_or_else(Instant::now, |at| at.max(Instant::now())) + takes;
            *free_at = Some(until);
            until
        };
        tokio::time::sleep_until(until).await;
    }
}

pub(super) async fn answer(State(shared): State<Arc<Shared>>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let entry = shared.journal.begin(&parts);
    let effect = shared.faults.lock().expect("no request panics while it holds the faults").strike(&entry.request);
    let transfer = entry.request.path.contains("/blobs/").then(|| shared.journal.transfer());
    let arrived = receive(&shared, &entry, body, effect.cut).await;
    tokio::time::sleep(shared.options.latency).await;
    let reply = match (&effect.answer, arrived) {
        (Some((status, headers)), _) => given(*status, headers),
        (None, Ok(body)) => protocol::reply(&shared, &parts, body),
        (None, Err(part)) => {
            protocol::keep_part(&shared, &parts, &part);
            return broken();
        }
    };
    entry.answered(reply.status.as_u16());
    send(shared, entry, transfer, reply, &effect)
}

/// The whole body, or as `Err` the part of it that came before the connection broke or was cut.
async fn receive(shared: &Shared, entry: &Entry, body: Body, cut: Option<u64>) -> Result<Bytes, Bytes> {
    let mut arrived = Vec::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk) = chunk else { return Err(arrived.into()) };
        shared.pace.pass(chunk.len()).await;
        entry.received.fetch_add(chunk.len() as u64, Ordering::SeqCst);
        arrived.extend_from_slice(&chunk);
        if cut.is_some_and(|cut| arrived.len() as u64 >= cut) {
            return Err(arrived.into());
        }
    }
    Ok(arrived.into())
}

fn given(status: u16, headers: &[(String, String)]) -> Reply {
    let status = StatusCode::from_u16(status).expect("tests give real status codes");
    let mut reply = Reply::error(status, "UNKNOWN", "this answer was asked for");
    for (name, value) in headers {
        let name: &'static str = name.clone().leak();
        reply = reply.header(name, value);
    }
    reply
}

/// An answer that ends before it has begun.
fn broken() -> Response {
    let body = stream::once(async { Err::<Bytes, _>(io::Error::other("cut")) });
    Response::builder().header("content-length", 1).body(Body::from_stream(body)).expect("the headers are sound")
}

fn send(shared: Arc<Shared>, entry: Arc<Entry>, transfer: Option<Transfer>, reply: Reply, effect: &Effect) -> Response {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    if reply.status != StatusCode::NO_CONTENT {
        response = response.header("content-length", reply.body.len());
    }
    let rest = altered(reply.body, effect.flip);
    let outgoing = Outgoing { shared, entry, _transfer: transfer, rest, left: effect.cut };
    let body = stream::unfold(outgoing, |mut outgoing| async move {
        let chunk = outgoing.next().await?;
        Some((chunk, outgoing))
    });
    response.body(Body::from_stream(body)).expect("the headers are sound")
}

fn altered(body: Bytes, flip: Option<usize>) -> Bytes {
    let Some(place) = flip.filter(|place| *place < body.len()) else { return body };
    let mut bytes = body.to_vec();
    bytes[place] ^= 1;
    bytes.into()
}

/// The body of an answer.
struct Outgoing {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    _transfer: Option<Transfer>,
    rest: Bytes,
    /// How many bytes may still pass before the cut.
    left: Option<u64>,
}

impl Outgoing {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        // Hyper writes out what it has when a body lets it wait; a cut would else take earlier chunks along.
        tokio::task::yield_now().await;
        if self.left == Some(0) {
            return Some(Err(io::Error::other("cut")));
        }
        if self.rest.is_empty() {
            return None;
        }
        let allowed = self.left.map_or(CHUNK, |left| usize::try_from(left).unwrap_or(CHUNK).min(CHUNK));
        let chunk = self.rest.split_to(allowed.min(self.rest.len()));
        self.left = self.left.map(|left| left - chunk.len() as u64);
        self.shared.pace.pass(chunk.len()).await;
        self.entry.sent.fetch_add(chunk.len() as u64, Ordering::SeqCst);
        Some(Ok(chunk))
    }
}
