//! Bytes from a bundle to a client.
//!
//! On plain http the kernel moves them from the file to the socket. Over TLS they are read in pieces that grow while
//! the client keeps up, so that a thousand slow clients hold little memory.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;

use crate::content::FilePart;
use crate::oci::Digest;
use crate::serve::source::{Opened, Verdict};

/// What is kept back until the whole blob is known to be right.
const LAST_PIECE: u64 = 16 * 1024;
/// Bytes read at once where the kernel cannot move them: at first, and at most.
const FIRST_CHUNK: usize = 16 * 1024;
const MOST_CHUNK: usize = 256 * 1024;
/// What a client that keeps up takes within this time gets larger pieces.
const KEEPS_UP: Duration = Duration::from_millis(500);
/// Bytes given to the kernel by one call; a slow disk holds up one thread for no longer than these take.
const MOST_AT_ONCE: usize = 1024 * 1024;
/// What a client must take in each [`Patience::stall`]: about 1 KiB a second.
const AT_LEAST_TAKEN: usize = 64 * 1024;

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a whole request head, a TLS handshake too.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// For 64 KiB of an answer.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { head: Duration::from_secs(10), idle: Duration::from_secs(60), stall: Duration::from_secs(60) }
    }
}

/// A client's connection.
pub(crate) enum Connection {
    Plain(Arc<TcpStream>),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A part of a blob that is about to be sent.
pub(crate) struct Part {
    pub(crate) opened: Arc<Opened>,
    pub(crate) digest: Digest,
    pub(crate) pieces: Vec<FilePart>,
    pub(crate) verdict: watch::Receiver<Option<Verdict>>,
    /// Bytes that the kernel took so far, in whole pieces.
    pub(crate) sent: u64,
}

impl Connection {
    /// Reads what has arrived, at least a byte; nothing at the end.
    pub(crate) async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        const READ: usize = 4096;
        match self {
            Self::Plain(stream) => loop {
                stream.readable().await?;
                let filled = buffer.len();
                buffer.resize(filled + READ, 0);
                let read = stream.try_read(&mut buffer[filled..]);
                buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
                match read {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => return other,
                }
            },
            Self::Tls(stream) => {
                buffer.reserve(READ);
                stream.read_buf(buffer).await
            }
        }
    }

    /// Writes all of it, with a client's [`Patience::stall`] for each 64 KiB.
    pub(crate) async fn write(&mut self, bytes: &[u8], patience: Patience) -> io::Result<()> {
        for piece in bytes.chunks(AT_LEAST_TAKEN) {
            let all = async {
                match self {
                    Self::Plain(stream) => write_plain(stream, piece).await,
                    Self::Tls(stream) => {
                        stream.write_all(piece).await?;
                        stream.flush().await
                    }
                }
            };
            timeout(patience.stall, all).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        }
        Ok(())
    }

    /// Says that nothing more comes, and gives the client a moment to read what came: closing a socket with unread
    /// input would destroy it.
    pub(crate) async fn close(&mut self) {
        const MOMENT: Duration = Duration::from_secs(2);
        const MOST_UNREAD: usize = 256 * 1024;
        let farewell = async {
            match self {
                Self::Plain(stream) => socket2::SockRef::from(&**stream).shutdown(std::net::Shutdown::Write)?,
                Self::Tls(stream) => stream.shutdown().await?,
            }
            let (mut unread, mut buffer) = (0, Vec::new());
            while unread < MOST_UNREAD {
                match self.read(&mut buffer).await? {
                    0 => break,
                    read => unread += read,
                }
                buffer.clear();
            }
            io::Result::Ok(())
        };
        // The client may have gone already; there is nobody left to tell.
        drop(timeout(MOMENT, farewell).await);
    }

    /// Cuts the connection, so that no client takes what it got for the whole.
    pub(crate) fn cut(self) {
        let stream = match &self {
            Self::Plain(stream) => &**stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        // Without a lingering close the client sees a reset, not an end.
        socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).ok();
    }

    /// Sends a part of a blob. Its last piece goes out only when the whole blob is right and its file unchanged; else
    /// this fails and the connection must be cut.
    pub(crate) async fn send(&mut self, part: &mut Part, patience: Patience) -> io::Result<()> {
        let total: u64 = part.pieces.iter().map(|piece| piece.length).sum();
        let (early, last) = split(&part.pieces, total.saturating_sub(LAST_PIECE));
        for piece in &early {
            match self {
                #[cfg(target_os = "linux")]
                Self::Plain(stream) => send_file(stream, piece, patience).await?,
                _ => self.copy(piece, patience).await?,
            }
            part.sent += piece.length;
        }
        let verdict = *part.verdict.wait_for(Option::is_some).await.map_err(|_| damaged())?;
        if verdict != Some(Verdict::Sound) {
            return Err(damaged());
        }
        let mut bytes = Vec::new();
        for piece in last {
            bytes.extend(read(&piece, 0, piece.length).await?);
        }
        let opened = part.opened.clone();
        if !tokio::task::spawn_blocking(move || opened.is_unchanged()).await? {
            return Err(damaged());
        }
        self.write(&bytes, patience).await?;
        part.sent = total;
        Ok(())
    }

    async fn copy(&mut self, piece: &FilePart, patience: Patience) -> io::Result<()> {
        let (mut done, mut chunk) = (0, FIRST_CHUNK);
        while done < piece.length {
            let length = (piece.length - done).min(chunk as u64);
            let bytes = read(piece, done, length).await?;
            let begun = Instant::now();
            self.write(&bytes, patience).await?;
            chunk = if begun.elapsed() < KEEPS_UP { (chunk * 2).min(MOST_CHUNK) } else { FIRST_CHUNK };
            done += length;
        }
        Ok(())
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the blob in the bundle is damaged, or changed while it was sent")
}

/// The pieces before a place, and those behind it.
fn split(pieces: &[FilePart], mut place: u64) -> (Vec<FilePart>, Vec<FilePart>) {
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    for piece in pieces {
        let first = piece.length.min(place);
        place -= first;
        if first > 0 {
            before.push(FilePart { length: first, ..piece.clone() });
        }
        if first < piece.length {
            behind.push(FilePart { at: piece.at + first, length: piece.length - first, ..piece.clone() });
        }
    }
    (before, behind)
}

async fn read(piece: &FilePart, from: u64, length: u64) -> io::Result<Vec<u8>> {
    let piece = piece.clone();
    let length = usize::try_from(length).expect("pieces are read in small parts");
    tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; length];
        piece.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    })
    .await?
}

async fn write_plain(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Lets the kernel move a piece. The call may wait for a disk, so it runs on a thread that may.
#[cfg(target_os = "linux")]
async fn send_file(stream: &Arc<TcpStream>, piece: &FilePart, patience: Patience) -> io::Result<()> {
    let (mut done, mut deadline, mut taken) = (0, Instant::now() + patience.stall, 0);
    while done < piece.length {
        timeout_at(deadline, stream.writable()).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let sent = send_some(stream, piece, done).await?;
        done += sent;
        taken += sent;
        if taken >= AT_LEAST_TAKEN as u64 {
            (deadline, taken) = (Instant::now() + patience.stall, 0);
        }
    }
    Ok(())
}

/// Hands the kernel as much as it takes now: 0 if the socket is full.
#[cfg(target_os = "linux")]
async fn send_some(stream: &Arc<TcpStream>, piece: &FilePart, done: u64) -> io::Result<u64> {
    use tokio::io::Interest;
    let (stream, piece) = (stream.clone(), piece.clone());
    let call = move || {
        let mut offset = piece.at + done;
        let length = usize::try_from(piece.length - done).unwrap_or(MOST_AT_ONCE).min(MOST_AT_ONCE);
        stream
            .try_io(Interest::WRITABLE, || Ok(rustix::fs::sendfile(&*stream, &*piece.file, Some(&mut offset), length)?))
    };
    match tokio::task::spawn_blocking(call).await? {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(sent) => Ok(sent as u64),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error),
    }
}
