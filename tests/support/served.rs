//! `octobundle serve` under way, and a client that sends what it is told, byte for byte.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::cli::{Run, Site};

/// Far above what an answer takes; only a real standstill meets it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; it is killed when dropped.
pub(crate) struct Served {
    child: Child,
    /// What it printed as JSON when it was ready.
    pub(crate) report: Value,
    stderr: Arc<Mutex<String>>,
}

impl Served {
    /// Serves with these arguments at a port that the system chooses.
    pub(crate) fn start<A: AsRef<OsStr>>(site: &Site, arguments: impl IntoIterator<Item = A>) -> Self {
        Self::from(site.octobundle(["serve", "--json", "--listen", "127.0.0.1:0"]).args(arguments))
    }

    /// A server that is started in another way.
    pub(crate) fn from(run: Run) -> Self {
        let mut child = run.with_streams(Stdio::null(), Stdio::piped(), Stdio::piped());
        let stderr = Arc::new(Mutex::new(String::new()));
        let (lines, kept) = (BufReader::new(child.stderr.take().expect("it was asked for")).lines(), stderr.clone());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut kept = kept.lock().expect("no reader panics");
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let stdout = child.stdout.take().expect("it was asked for");
        let report = serde_json::Deserializer::from_reader(stdout).into_iter().next();
        let Some(Ok(report)) = report else {
            child.wait().expect("a child can be waited for");
            panic!("the server did not start: {}", stderr.lock().expect("no reader panics"));
        };
        Self { child, report, stderr }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        let url = self.report["urls"][0].as_str().expect("it listens somewhere");
        url.split('/').nth(2).expect("an address has a host").to_owned()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stderr so far: the access log, among others.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().expect("no reader panics").clone()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.host()).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket has a timeout");
        stream
    }

    /// Sends a request of these lines as the only one of its connection, and reads the answer.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, target: &str, headers: &[&str]) -> Answer {
        let mut stream = self.connect();
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.host());
        for line in headers {
            write!(text, "{line}\r\n").expect("a String takes any text");
        }
        stream.write_all((text + "\r\n").as_bytes()).expect("the server reads");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap_or_else(|error| panic!("{method} {target}: {error}"));
        Answer::parse(&bytes, method)
    }

    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &[])
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        super::real::signal(&self.child, signal);
    }

    /// Waits for it to end by itself; gives its exit code.
    pub(crate) fn wait(mut self) -> Option<i32> {
        self.child.wait().expect("a child can be waited for").code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Reads one answer that ends with its connection; its length must be the one that it states.
    #[track_caller]
    pub(crate) fn parse(bytes: &[u8], method: &str) -> Self {
        let (answer, rest) = Self::first(bytes, method).expect("a whole answer");
        assert!(rest.is_empty(), "bytes behind the answer: {:?}", String::from_utf8_lossy(rest));
        answer
    }

    /// The first answer of several, and what stands behind it; none if it is not whole.
    pub(crate) fn first<'a>(bytes: &'a [u8], method: &str) -> Option<(Self, &'a [u8])> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).expect("a head is text");
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status is a number");
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let headers: BTreeMap<String, String> = lines.filter_map(header).collect();
        let body = &bytes[end + 4..];
        let length = match headers.get("content-length") {
            Some(length) if method != "HEAD" && status != 304 => length.parse().expect("a length is a number"),
            _ => 0,
        };
        if body.len() < length {
            return None;
        }
        Some((Self { status, headers, body: body[..length].to_vec() }, &body[length..]))
    }

    #[track_caller]
    pub(crate) fn expect_status(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text());
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header `{name}` in {:?}", self.headers))
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code of a refusal.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().expect("a refusal has a code").to_owned()
    }
}
