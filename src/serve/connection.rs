//! One client's connection: heads in, answers out, one after the other.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::serve::access_log::Entry;
use crate::serve::answer::Answer;
use crate::serve::head::{BadHead, Head, MAX_HEAD, Method};
use crate::serve::reply::Ready;
use crate::serve::sending::{Connection, Cut};
use crate::serve::server::Server;
use crate::serve::source::Trouble;

/// How long a client that asks for nothing may stay while seats are scarce.
const DENSE_IDLE: std::time::Duration = std::time::Duration::from_secs(5);
/// Bytes of an answer that wait in the kernel unsent: enough to keep a fast line busy.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 256 * 1024;

/// Bodies up to this size leave together with their head; larger ones are not copied, since many clients share them.
const IN_ONE_PIECE: usize = 16 * 1024;

/// What follows an answer.
enum Next {
    Again,
    Close,
    Cut,
}

/// Serves a client until it leaves, misbehaves, or the server stops.
pub(crate) async fn serve(server: Arc<Server>, stream: TcpStream, client: IpAddr, stop: watch::Receiver<bool>) {
    let Some(connection) = open(&server, stream).await else { return };
    let mut talk = Talk { server, connection, client, stop, buffer: Vec::new(), first: true };
    loop {
        match talk.exchange().await {
            Next::Again => talk.first = false,
            Next::Close => return talk.connection.close().await,
            Next::Cut => return talk.connection.cut(),
        }
    }
}

/// Sets the socket up and, where the server has a certificate, shakes hands.
async fn open(server: &Server, stream: TcpStream) -> Option<Connection> {
    let socket = socket2::SockRef::from(&stream);
    // None of these is needed for right answers.
    drop(socket.set_tcp_nodelay(true));
    drop(socket.set_keepalive(true));
    #[cfg(target_os = "linux")]
    drop(socket.set_tcp_notsent_lowat(UNSENT));
    let Some(config) = server.tls_config() else { return Some(Connection::Plain(Arc::new(stream))) };
    let shake = async {
        if !begins_tls(&stream).await? {
            let mut plain = Connection::Plain(Arc::new(stream));
            let answer = Answer::bytes(400, "text/plain", "this server speaks TLS: use https://\n");
            plain.write(&whole(&answer), server.settings().patience).await?;
            plain.close().await;
            return std::io::Result::Ok(None);
        }
        let stream = tokio_rustls::TlsAcceptor::from(config).accept(stream).await?;
        Ok(Some(Connection::Tls(Box::new(stream))))
    };
    timeout(server.settings().patience.head, shake).await.ok()?.ok()?
}

async fn begins_tls(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0];
    Ok(stream.peek(&mut first).await? == 1 && first[0] == 22)
}

/// The answer's head and its bytes, as the last of a connection.
fn whole(answer: &Answer) -> Vec<u8> {
    let mut bytes = answer.head(false);
    if let crate::serve::answer::Body::Bytes(body) = &answer.body {
        bytes.extend_from_slice(body);
    }
    bytes
}

struct Talk {
    server: Arc<Server>,
    connection: Connection,
    client: IpAddr,
    stop: watch::Receiver<bool>,
    /// What has arrived and was not read as a head yet.
    buffer: Vec<u8>,
    first: bool,
}

impl Talk {
    async fn exchange(&mut self) -> Next {
        match self.next_head().await {
            Ok(Some(head)) => self.respond(&head).await,
            Ok(None) => Next::Close,
            Err(bad) => {
                let answer = Answer::refusal(400, "UNSUPPORTED", &bad.to_string());
                self.note(None, None, &answer, answer.length());
                match self.connection.write(&whole(&answer), self.server.settings().patience).await {
                    Ok(()) => Next::Close,
                    Err(_) => Next::Cut,
                }
            }
        }
    }

    /// The next request's head; none if the client leaves, takes too long, or the server stops.
    async fn next_head(&mut self) -> Result<Option<Head>, BadHead> {
        if self.buffer.is_empty() && !self.first_bytes().await {
            return Ok(None);
        }
        let deadline = Instant::now() + self.server.settings().patience.head;
        loop {
            if let Some((head, length)) = Head::parse(&self.buffer)? {
                self.buffer.drain(..length);
                return Ok(Some(head));
            }
            match timeout_at(deadline, self.read_on()).await {
                Ok(Ok(true)) => {}
                _ => return Ok(None),
            }
        }
    }

    /// Reads until another line has ended, or the head is too long; false at the end. Looking at a head again for each
    /// byte that trickles in would cost more than sending it.
    async fn read_on(&mut self) -> std::io::Result<bool> {
        loop {
            let before = self.buffer.len();
            if self.connection.read(&mut self.buffer).await? == 0 {
                return Ok(false);
            }
            if self.buffer.len() >= MAX_HEAD || self.buffer[before..].contains(&b'\n') {
                return Ok(true);
            }
        }
    }

    /// Waits for a request to begin.
    async fn first_bytes(&mut self) -> bool {
        // An idle connection holds no memory but its own.
        self.buffer = Vec::new();
        let patience = self.server.settings().patience;
        let idle = match (self.first, self.server.is_dense()) {
            (true, _) => patience.head,
            (false, true) => patience.idle.min(DENSE_IDLE),
            (false, false) => patience.idle,
        };
        tokio::select! {
            biased;
            read = timeout(idle, self.connection.read(&mut self.buffer)) => matches!(read, Ok(Ok(1..))),
            _ = self.stop.wait_for(|stop| *stop) => false,
        }
    }

    async fn respond(&mut self, head: &Head) -> Next {
        let reply = self.server.reply(head, self.client).await;
        let keep_alive = head.keep_alive && !head.has_body && !*self.stop.borrow();
        let mut bytes = reply.answer.head(keep_alive);
        let (mut part, mut rest, mut sent) = (None, Bytes::new(), 0);
        match reply.body {
            _ if head.method == Method::Head => {}
            Ready::Bytes(body) => {
                sent = body.len() as u64;
                if body.len() <= IN_ONE_PIECE { bytes.extend_from_slice(&body) } else { rest = body }
            }
            Ready::Part(found) => part = Some(found),
        }
        let patience = self.server.settings().patience;
        let mut done = self.connection.write(&bytes, patience).await.map_err(Cut::from);
        if done.is_ok() {
            done = self.connection.write(&rest, patience).await.map_err(Cut::from);
        }
        if let (Ok(()), Some(part)) = (&done, &mut part) {
            done = self.connection.send(part, patience).await;
            sent = part.sent;
        }
        self.note(Some(head), reply.user.as_deref(), &reply.answer, sent);
        self.server.metrics().answered(reply.kind, reply.answer.status);
        match done {
            Ok(()) if keep_alive => Next::Again,
            Ok(()) => Next::Close,
            Err(cut) => {
                self.server.metrics().cut.add(1);
                self.server.metrics().damaged.add(u64::from(cut == Cut::Bundle(Trouble::Damaged)));
                Next::Cut
            }
        }
    }

    fn note(&self, head: Option<&Head>, user: Option<&str>, answer: &Answer, sent: u64) {
        let request = head
            .map(|head| format!("{} {} {}", head.verb, head.target, if head.old { "HTTP/1.0" } else { "HTTP/1.1" }));
        self.server.metrics().sent.add(sent);
        self.server.log().note(&Entry {
            client: self.client,
            user,
            request: request.as_deref().unwrap_or("-"),
            status: answer.status,
            sent,
            referer: head.and_then(|head| head.header("referer")),
            agent: head.and_then(|head| head.header("user-agent")),
        });
    }
}
