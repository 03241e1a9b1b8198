//! A server whose answers are written by hand: request in, reply out, every request kept.
#![allow(dead_code, reason = "each test file compiles this module for itself and uses a part of it")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub method: String,
    /// Path and query; a whole address where we are asked as a proxy.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub at: Instant,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Method and path, without query.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target.split('?').next().unwrap())
    }
}

/// What to send back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    length: Length,
    /// Sent in the place of status line and headers.
    head: Option<Vec<u8>>,
    /// Sent behind the body.
    behind: Vec<u8>,
    end: End,
}

/// What the headers say of the body's length.
#[derive(Clone, Copy, Debug, Default)]
enum Length {
    #[default]
    True,
    Stated(u64),
    /// The end of the connection is the end of the body.
    Untold,
}

#[derive(Clone, Debug, Default)]
enum End {
    #[default]
    Whole,
    /// The connection is reset after so many bytes of the body, once the client has read as many in all.
    Reset { bytes: usize, read: Arc<AtomicU64>, wanted: u64 },
    /// The body comes in pieces of this size with pauses of this length.
    Trickle(usize, Duration),
    /// Not a byte is sent, the connection stays.
    Mute,
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// Nothing more comes after so many bytes of the body.
    Silent(usize),
    /// The connection ends without an answer.
    Lost,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// The request was taken, the answer never arrives.
    pub(crate) fn lost() -> Self {
        Self { end: End::Lost, ..Self::default() }
    }

    /// The request was taken, nothing comes back, the connection stays.
    pub(crate) fn mute() -> Self {
        Self { end: End::Mute, ..Self::default() }
    }

    /// These bytes as they are.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { head: Some(bytes.into()), ..Self::default() }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// States another length than the body has.
    pub(crate) fn stating(mut self, length: u64) -> Self {
        self.length = Length::Stated(length);
        self
    }

    /// States no length: the connection's end is the body's.
    pub(crate) fn without_length(mut self) -> Self {
        self.length = Length::Untold;
        self
    }

    /// Sends these bytes behind the body, which belong to no answer.
    pub(crate) fn then(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.behind = bytes.into();
        self
    }

    /// Resets the connection after `bytes` of the body; before that it waits until `read`, which the test counts, has
    /// come to `wanted`, since a reset would take along what is on its way.
    pub(crate) fn reset_after(mut self, bytes: usize, read: &Arc<AtomicU64>, wanted: u64) -> Self {
        self.end = End::Reset { bytes, read: read.clone(), wanted };
        self
    }

    pub(crate) fn trickle(mut self, piece: usize, pause: Duration) -> Self {
        self.end = End::Trickle(piece, pause);
        self
    }

    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self.end = End::Cut(bytes);
        self
    }

    pub(crate) fn silent_after(mut self, bytes: usize) -> Self {
        self.end = End::Silent(bytes);
        self
    }
}

type Answers = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

/// A running server; it ends with the test.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    /// Answers each request by `answers`, which gets the request and how many came before it.
    pub(crate) async fn start(answers: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answers, kept): (Arc<Answers>, _) = (Arc::new(answers), seen.clone());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // Else each body waits for the client's system to say that it has the head.
                let _ = stream.set_nodelay(true);
                // A client may go away at any time; the test looks at what arrived.
                tokio::spawn(serve(stream, answers.clone(), kept.clone()));
            }
        });
        Self { address, seen, task }
    }

    /// `host:port` as image names write it.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Method and path of each request.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    /// How many requests have this method and a path that contains this text.
    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.method == method && seen.target.contains(part)).count()
    }
}

async fn serve(mut stream: TcpStream, answers: Arc<Answers>, kept: Arc<Mutex<Vec<Seen>>>) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let request = read_request(&mut stream, &mut buffer).await?;
        let before = {
            let mut kept = kept.lock().unwrap();
            kept.push(request.clone());
            kept.len() - 1
        };
        let reply = answers(&request, before);
        write_reply(&mut stream, &request, reply).await?;
        if request.header("connection") == Some("close") {
            return None;
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect();
    let mut seen = Seen { method, target, headers, body: Vec::new(), at: Instant::now() };
    let length: usize = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < head_end + length {
        more(stream, buffer).await?;
    }
    seen.body = buffer[head_end..head_end + length].to_vec();
    buffer.drain(..head_end + length);
    Some(seen)
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut piece = vec![0; 64 * 1024];
    let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
    buffer.extend_from_slice(&piece[..read]);
    Some(())
}

async fn write_reply(stream: &mut TcpStream, request: &Seen, reply: Reply) -> Option<()> {
    match reply.end {
        End::Lost => return None,
        End::Mute => return until_client_leaves(stream).await,
        _ => {}
    }
    stream.write_all(&head_of(&reply)).await.ok()?;
    let body = if request.method == "HEAD" { &[][..] } else { &reply.body[..] };
    match reply.end {
        End::Whole => {
            stream.write_all(body).await.ok()?;
            stream.write_all(&reply.behind).await.ok()?;
            matches!(reply.length, Length::True | Length::Stated(_)).then_some(())
        }
        End::Cut(bytes) => {
            stream.write_all(&body[..bytes.min(body.len())]).await.ok()?;
            stream.shutdown().await.ok()?;
            None
        }
        End::Reset { bytes, read, wanted } => {
            stream.write_all(&body[..bytes.min(body.len())]).await.ok()?;
            while read.load(Ordering::SeqCst) < wanted {
                tokio::task::yield_now().await;
            }
            stream.set_zero_linger().ok()?;
            None
        }
        End::Trickle(piece, pause) => {
            for piece in body.chunks(piece) {
                stream.write_all(piece).await.ok()?;
                tokio::time::sleep(pause).await;
            }
            Some(())
        }
        End::Silent(bytes) => {
            stream.write_all(&body[..bytes.min(body.len())]).await.ok()?;
            until_client_leaves(stream).await
        }
        End::Lost | End::Mute => unreachable!("they were dealt with first"),
    }
}

fn head_of(reply: &Reply) -> Vec<u8> {
    if let Some(head) = &reply.head {
        return head.clone();
    }
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    let length = match reply.length {
        Length::True => Some(reply.body.len() as u64),
        Length::Stated(length) => Some(length),
        Length::Untold => None,
    };
    if let Some(length) = length.filter(|_| !matches!(reply.status, 204 | 304)) {
        head.extend(["Content-Length: ", &length.to_string(), "\r\n"]);
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// Until the client gives up.
async fn until_client_leaves(stream: &mut TcpStream) -> Option<()> {
    let _ = tokio::time::timeout(Duration::from_secs(60), more(stream, &mut Vec::new())).await;
    None
}
