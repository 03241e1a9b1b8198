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
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;

use crate::content::{FilePart, blocking};
use crate::serve::source::{Opened, Trouble, Verdict};

/// What is kept back until the whole blob is known to be right.
const LAST_PIECE: u64 = 16 * 1024;
/// Bytes read at once where the kernel cannot move them: at first, and at most.
const FIRST_CHUNK: usize = 16 * 1024;
const MOST_CHUNK: usize = 256 * 1024;
/// What a client that keeps up takes within this time gets larger pieces.
const KEEPS_UP: Duration = Duration::from_millis(500);
/// Bytes given to the kernel by one call; a slow disk holds up one thread for no longer than these take.
#[cfg(target_os = "linux")]
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
    pub(crate) pieces: Vec<FilePart>,
    pub(crate) verdict: watch::Receiver<Option<Verdict>>,
    /// Bytes that the kernel took so far, in whole pieces.
    pub(crate) sent: u64,
}

/// Why an answer did not reach its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The client left, or was too slow.
    Client,
    /// The bundle gave no more: its medium is gone, or somebody changed it meanwhile.
    Bundle(Trouble),
}

impl From<Trouble> for Cut {
    fn from(trouble: Trouble) -> Self {
        Self::Bundle(trouble)
    }
}

impl From<io::Error> for Cut {
    /// What fails beside the bundle's files is the connection.
    fn from(_: io::Error) -> Self {
        Self::Client
    }
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
    pub(crate) async fn send(&mut self, part: &mut Part, patience: Patience) -> Result<(), Cut> {
        let total: u64 = part.pieces.iter().map(|piece| piece.length).sum();
        let (early, last) = split(&part.pieces, total.saturating_sub(LAST_PIECE));
        for piece in &early {
            match self {
                #[cfg(target_os = "linux")]
                Self::Plain(stream) => send_file(stream, &part.opened, piece, patience).await?,
                _ => self.copy(&part.opened, piece, patience).await?,
            }
            part.sent += piece.length;
        }
        sound(&mut part.verdict).await?;
        let mut bytes = Vec::new();
        for piece in last {
            bytes.extend(read(&part.opened, &piece, 0, piece.length).await?);
        }
        let opened = part.opened.clone();
        if !blocking(move || opened.is_unchanged()).await {
            return Err(Trouble::Away.into());
        }
        self.write(&bytes, patience).await?;
        part.sent = total;
        Ok(())
    }

    async fn copy(&mut self, opened: &Arc<Opened>, piece: &FilePart, patience: Patience) -> Result<(), Cut> {
        let (mut done, mut chunk) = (0, FIRST_CHUNK);
        while done < piece.length {
            let length = (piece.length - done).min(chunk as u64);
            let bytes = read(opened, piece, done, length).await?;
            let begun = Instant::now();
            self.write(&bytes, patience).await?;
            chunk = if begun.elapsed() < KEEPS_UP { (chunk * 2).min(MOST_CHUNK) } else { FIRST_CHUNK };
            done += length;
        }
        Ok(())
    }
}

/// Waits for the verdict on a blob. Only damage that was seen is called so; what could not be read may come back.
pub(crate) async fn sound(verdict: &mut watch::Receiver<Option<Verdict>>) -> Result<(), Trouble> {
    let verdict = verdict.wait_for(Option::is_some).await.map(|verdict| *verdict);
    match verdict.ok().flatten() {
        Some(Verdict::Sound) => Ok(()),
        Some(Verdict::Damaged) => Err(Trouble::Damaged),
        Some(Verdict::Unreadable) | None => Err(Trouble::Away),
    }
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

async fn read(opened: &Arc<Opened>, piece: &FilePart, from: u64, length: u64) -> Result<Vec<u8>, Trouble> {
    let (opened, piece) = (opened.clone(), piece.clone());
    let length = usize::try_from(length).expect("pieces are read in small parts");
    blocking(move || {
        let mut bytes = vec![0; length];
        opened.read(&piece, from, &mut bytes)?;
        Ok(bytes)
    })
    .await
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
async fn send_file(
    stream: &Arc<TcpStream>,
    opened: &Arc<Opened>,
    piece: &FilePart,
    patience: Patience,
) -> Result<(), Cut> {
    let (mut done, mut deadline, mut taken) = (0, Instant::now() + patience.stall, 0);
    while done < piece.length {
        tokio::time::timeout_at(deadline, stream.writable()).await.map_err(|_| Cut::Client)??;
        let sent = send_some(stream, opened, piece, done).await?;
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
async fn send_some(stream: &Arc<TcpStream>, opened: &Arc<Opened>, piece: &FilePart, done: u64) -> Result<u64, Cut> {
    use tokio::io::Interest;
    let (stream, opened, piece) = (stream.clone(), opened.clone(), piece.clone());
    blocking(move || {
        let mut offset = piece.at + done;
        let length = usize::try_from(piece.length - done).unwrap_or(MOST_AT_ONCE).min(MOST_AT_ONCE);
        let sent = stream.try_io(Interest::WRITABLE, || {
            Ok(rustix::fs::sendfile(&*stream, &*piece.file, Some(&mut offset), length)?)
        });
        match sent {
            Ok(sent @ 1..) => Ok(sent as u64),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            // The one call can fail for the file and for the socket; reading tells which it was.
            Ok(0) | Err(_) => {
                opened.read(&piece, done, &mut [0])?;
                Err(Cut::Client)
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::source::tests::bundle;

    /// How many bytes come until the connection ends, in whatever way.
    async fn taken(mut client: TcpStream) -> usize {
        let (mut taken, mut buffer) = (0, vec![0; 64 * 1024]);
        while let Ok(read @ 1..) = client.read(&mut buffer).await {
            taken += read;
        }
        taken
    }

    #[tokio::test]
    async fn s_01_a_medium_that_goes_in_the_middle_of_an_answer_is_away_and_not_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.tar");
        let (source, digest) = bundle(&path, &vec![7; 400_000]);
        let opened = source.opened().unwrap();
        let pieces = opened.blob(&digest, 0, 400_000).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let part = |verdict| {
            let (_, verdict) = watch::channel(Some(verdict));
            Part { opened: opened.clone(), pieces: pieces.clone(), verdict, sent: 0 }
        };
        let send = async |mut part: Part| {
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let mut connection = Connection::Plain(Arc::new(listener.accept().await.unwrap().0));
            let reading = tokio::spawn(taken(client));
            let sent = connection.send(&mut part, Patience::default()).await;
            if sent.is_ok() {
                connection.close().await;
            } else {
                connection.cut();
            }
            (sent, reading.await.unwrap())
        };
        assert_eq!(send(part(Verdict::Sound)).await, (Ok(()), 400_000));
        for (verdict, trouble) in [(Verdict::Damaged, Trouble::Damaged), (Verdict::Unreadable, Trouble::Away)] {
            let (cut, got) = send(part(verdict)).await;
            assert!(cut == Err(Cut::Bundle(trouble)) && got < 400_000, "{cut:?} after {got}");
        }
        // Cut behind the blob's begin: the kernel has no more to send.
        std::fs::File::options().write(true).open(&path).unwrap().set_len(pieces[0].at + 100_000).unwrap();
        let (cut, got) = send(part(Verdict::Sound)).await;
        assert!(cut == Err(Cut::Bundle(Trouble::Away)) && got <= 100_000, "{cut:?} after {got}");
    }
}
