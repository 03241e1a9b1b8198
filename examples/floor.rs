//! The floor: what this machine can do at best for the work of `pull`, `push` and `verify`. The same blobs over plain
//! HTTP, hashed once, written or sent once, and nothing else: no retry, no proxy, no journal, no documents.
//!
//! ```text
//! floor pull HOST LIST CONNECTIONS OUT     fetch, check, write to one file, and the SHA-256 of that file beside it
//! floor push HOST LIST CONNECTIONS FOLDER  one POST and one PUT a blob, from files named by their digest
//! floor hash FILE THREADS                  SHA-256 of that many equal parts of a file side by side
//! ```
//!
//! LIST has a line `sha256:HEX SIZE REPOSITORY` for each blob. `scripts/bench.sh` builds and runs it.

use std::collections::HashMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Bytes read, hashed and written at once.
const PIECE: usize = 256 * 1024;

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["pull", host, list, connections, out] => pull(host, &blobs(list)?, connections.parse()?, out),
        ["push", host, list, connections, folder] => push(host, &blobs(list)?, connections.parse()?, folder),
        ["hash", file, threads] => hash(file, threads.parse()?),
        _ => Err("usage: floor pull|push HOST LIST CONNECTIONS OUT|FOLDER, or floor hash FILE THREADS".into()),
    }
}

struct Blob {
    digest: String,
    size: u64,
    repository: String,
    /// Where it begins in the output.
    at: u64,
    /// Bytes of it that are written.
    written: AtomicU64,
}

/// The largest first, so that the last connection to end is not alone with a large one.
fn blobs(list: &str) -> Outcome<Vec<Blob>> {
    let mut blobs = Vec::new();
    for line in fs::read_to_string(list)?.lines() {
        let [digest, size, repository] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("no blob: {line}").into());
        };
        let (digest, repository) = (digest.to_owned(), repository.to_owned());
        blobs.push(Blob { digest, size: size.parse()?, repository, at: 0, written: AtomicU64::new(0) });
    }
    blobs.sort_by_key(|blob| std::cmp::Reverse(blob.size));
    let mut end = 0;
    for blob in &mut blobs {
        blob.at = end;
        end += blob.size;
    }
    Ok(blobs)
}

/// Runs `work` on every blob, on so many connections at a time.
fn on_each(
    host: &str,
    blobs: &[Blob],
    connections: usize,
    work: impl Fn(&mut Connection, &Blob) -> Outcome<()> + Sync,
) -> Outcome<()> {
    let next = AtomicUsize::new(0);
    let one = || -> Outcome<()> {
        let mut connection = Connection::open(host)?;
        while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(&mut connection, blob)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..connections).map(|_| scope.spawn(one)).collect();
        running.into_iter().try_for_each(|thread| thread.join().expect("it says what went wrong"))
    })
}

fn pull(host: &str, blobs: &[Blob], connections: usize, out: &str) -> Outcome<()> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(out)?;
    file.set_len(blobs.iter().map(|blob| blob.size).sum())?;
    let sum = thread::scope(|scope| -> Outcome<String> {
        let sum = scope.spawn(|| follow(&file, blobs));
        on_each(host, blobs, connections, |connection, blob| fetch(connection, blob, &file))?;
        Ok(sum.join().expect("it says what went wrong")?)
    })?;
    file.sync_all()?;
    Ok(fs::write(format!("{out}.sha256"), format!("{sum}  {out}\n"))?)
}

fn fetch(connection: &mut Connection, blob: &Blob, file: &File) -> Outcome<()> {
    connection.send("GET", &format!("/v2/{}/blobs/{}", blob.repository, blob.digest), 0)?;
    let (status, _) = connection.answer()?;
    if status != 200 {
        return Err(format!("{}: {status}", blob.digest).into());
    }
    let (mut hasher, mut piece, mut done) = (Sha256::new(), vec![0; PIECE], 0);
    while done < blob.size {
        let wanted = usize::try_from(blob.size - done)?.min(PIECE);
        let read = connection.stream.read(&mut piece[..wanted])?;
        if read == 0 {
            return Err(format!("{} ended after {done} bytes", blob.digest).into());
        }
        hasher.update(&piece[..read]);
        file.write_all_at(&piece[..read], blob.at + done)?;
        done += read as u64;
        blob.written.store(done, Ordering::Release);
    }
    agrees(hasher, &blob.digest)
}

/// The SHA-256 of the file, by a thread that follows the writers.
fn follow(file: &File, blobs: &[Blob]) -> io::Result<String> {
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE]);
    for blob in blobs {
        let mut done = 0;
        while done < blob.size {
            let ready = blob.written.load(Ordering::Acquire) - done;
            if ready < (PIECE as u64).min(blob.size - done) {
                thread::sleep(Duration::from_micros(200));
                continue;
            }
            let length = usize::try_from(ready).map_or(PIECE, |ready| ready.min(PIECE));
            file.read_exact_at(&mut piece[..length], blob.at + done)?;
            hasher.update(&piece[..length]);
            done += length as u64;
        }
    }
    Ok(hex(hasher))
}

fn push(host: &str, blobs: &[Blob], connections: usize, folder: &str) -> Outcome<()> {
    on_each(host, blobs, connections, |connection, blob| {
        connection.send("POST", &format!("/v2/{}/blobs/uploads/", blob.repository), 0)?;
        let (_, headers) = connection.answer()?;
        let location = headers.get("location").ok_or("no Location")?;
        let path = &location[location.find("/v2/").ok_or("an odd Location")?..];
        let separator = if path.contains('?') { '&' } else { '?' };
        connection.send("PUT", &format!("{path}{separator}digest={}", blob.digest), blob.size)?;
        let mut file = File::open(format!("{folder}/{}", blob.digest.replace("sha256:", "")))?;
        let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE]);
        loop {
            let read = file.read(&mut piece)?;
            if read == 0 {
                break;
            }
            hasher.update(&piece[..read]);
            connection.stream.get_mut().write_all(&piece[..read])?;
        }
        agrees(hasher, &blob.digest)?;
        match connection.answer()? {
            (201, _) => Ok(()),
            (status, _) => Err(format!("PUT of {}: {status}", blob.digest).into()),
        }
    })
}

fn hash(file: &str, threads: u64) -> Outcome<()> {
    let file = File::open(file)?;
    let size = file.metadata()?.len();
    let part = |number: u64| -> io::Result<String> {
        let (mut at, end) = (size * number / threads, size * (number + 1) / threads);
        let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE]);
        while at < end {
            let length = usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE));
            file.read_exact_at(&mut piece[..length], at)?;
            hasher.update(&piece[..length]);
            at += length as u64;
        }
        Ok(hex(hasher))
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|number| scope.spawn(move || part(number))).collect();
        for thread in running {
            println!("{}", thread.join().expect("it says what went wrong")?);
        }
        Ok(())
    })
}

fn agrees(hasher: Sha256, digest: &str) -> Outcome<()> {
    let got = hex(hasher);
    if digest.ends_with(&got) { Ok(()) } else { Err(format!("{digest} came as {got}").into()) }
}

fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// HTTP/1.1 in its smallest form, kept open.
struct Connection {
    host: String,
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn open(host: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        // Small, so that bodies are read past it.
        Ok(Self { host: host.to_owned(), stream: BufReader::with_capacity(4096, stream) })
    }

    fn send(&mut self, method: &str, path: &str, length: u64) -> io::Result<()> {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n\r\n", self.host);
        self.stream.get_mut().write_all(head.as_bytes())
    }

    /// Status and headers; the body of anything but a blob is read over.
    fn answer(&mut self) -> Outcome<(u16, HashMap<String, String>)> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status: u16 = line.split(' ').nth(1).ok_or("no status")?.parse()?;
        let mut headers = HashMap::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        if status != 200 {
            let length = headers.get("content-length").map_or(Ok(0), |length| length.parse())?;
            io::copy(&mut self.stream.by_ref().take(length), &mut io::sink())?;
        }
        Ok((status, headers))
    }
}
