//! A server below HTTP: it may answer with any bytes, and with as many as it likes.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

type Answer = dyn Fn(&str, &mut TcpStream) -> io::Result<()> + Send + Sync;

/// A running server; it takes no more connections once it is dropped.
pub(crate) struct Raw {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    ended: Ended,
}

/// Ends the server when dropped.
struct Ended(Arc<AtomicBool>, SocketAddr);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
        // Wakes the one who waits for connections.
        TcpStream::connect(self.1).ok();
    }
}

impl Raw {
    /// Each connection is one request; its head goes to `answer`, and the connection ends with that.
    pub(crate) fn start(answer: impl Fn(&str, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let answer: Arc<Answer> = Arc::new(answer);
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        let serve = move |mut stream: TcpStream| {
            let Some(head) = head(&mut stream) else { return };
            kept.lock().unwrap().push(head.clone());
            // A client that has seen enough goes away.
            answer(&head, &mut stream).ok();
        };
        let Self { address, ended, .. } = Self::run(serve);
        Self { address, heads, ended }
    }

    /// Says this to whoever comes and hangs up.
    pub(crate) fn greeting(text: &'static [u8]) -> Self {
        Self::run(move |mut stream| drop(stream.write_all(text)))
    }

    fn run(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let ended = Arc::new(AtomicBool::new(false));
        let (serve, stop) = (Arc::new(serve), Arc::clone(&ended));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { address, heads: Arc::default(), ended: Ended(ended, address) }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// The heads of all requests.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn head(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    while !read.windows(4).any(|window| window == b"\r\n\r\n") {
        let more = stream.read(&mut piece).ok().filter(|more| *more > 0)?;
        read.extend_from_slice(&piece[..more]);
    }
    Some(String::from_utf8_lossy(&read).into_owned())
}

/// Writes `piece` until `most` bytes are written or the client has gone.
pub(crate) fn flood(stream: &mut TcpStream, piece: &[u8], most: u64) -> io::Result<()> {
    let block: Vec<u8> = piece.iter().copied().cycle().take(64 * 1024 / piece.len() * piece.len()).collect();
    let mut left = most;
    while left > 0 {
        stream.write_all(&block)?;
        left = left.saturating_sub(block.len() as u64);
    }
    Ok(())
}
