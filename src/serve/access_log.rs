//! One line a request, in the combined log format that web servers share.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

/// Lines that wait for a slow disk; more are dropped and counted, so that no log ever stops the serving.
const WAITING: usize = 4096;

/// Where the lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard error.
    Stderr,
    /// To the end of a file, which is opened anew on a reload.
    File(PathBuf),
}

/// One request, answered.
pub(crate) struct Entry<'a> {
    pub(crate) client: IpAddr,
    pub(crate) user: Option<&'a str>,
    pub(crate) request: &'a str,
    pub(crate) status: u16,
    pub(crate) sent: u64,
    pub(crate) referer: Option<&'a str>,
    pub(crate) agent: Option<&'a str>,
}

enum Message {
    Line(String),
    Reopen,
}

/// Takes lines and never waits.
pub(crate) struct AccessLog {
    lines: Option<SyncSender<Message>>,
    dropped: AtomicU64,
}

impl AccessLog {
    /// Opens the target; a thread of its own writes.
    pub(crate) fn open(target: &LogTarget) -> io::Result<Self> {
        let path = match target {
            LogTarget::Off => return Ok(Self { lines: None, dropped: AtomicU64::new(0) }),
            LogTarget::Stderr => None,
            LogTarget::File(path) => Some(path.clone()),
        };
        let mut output = writer(path.as_deref())?;
        let (give, take) = sync_channel(WAITING);
        std::thread::Builder::new().name("access-log".into()).spawn(move || {
            for message in take {
                match message {
                    // A full disk loses lines; the next one may fit again.
                    Message::Line(line) => drop(output.write_all(line.as_bytes())),
                    Message::Reopen => {
                        if let Ok(fresh) = writer(path.as_deref()) {
                            output = fresh;
                        }
                    }
                }
            }
        })?;
        Ok(Self { lines: Some(give), dropped: AtomicU64::new(0) })
    }

    pub(crate) fn note(&self, entry: &Entry<'_>) {
        let Some(lines) = &self.lines else { return };
        if let Err(TrySendError::Full(_)) = lines.try_send(Message::Line(line(entry, jiff::Timestamp::now()))) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Opens the file again, after whoever rotates logs has moved it.
    pub(crate) fn reopen(&self) {
        if let Some(lines) = &self.lines {
            // A log that is this far behind is opened again at the next reload.
            drop(lines.try_send(Message::Reopen));
        }
    }

    /// Lines that were lost because the target was too slow.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn writer(path: Option<&Path>) -> io::Result<Box<dyn Write + Send>> {
    let open = |path| OpenOptions::new().append(true).create(true).open(path);
    Ok(match path {
        Some(path) => Box::new(open(path)?) as Box<dyn Write + Send>,
        None => Box::new(io::stderr()),
    })
}

fn line(entry: &Entry<'_>, at: jiff::Timestamp) -> String {
    format!(
        "{} - {} [{}] \"{}\" {} {} \"{}\" \"{}\"\n",
        entry.client.to_canonical(),
        entry.user.map_or_else(|| "-".into(), word),
        at.strftime("%d/%b/%Y:%H:%M:%S +0000"),
        quoted(entry.request),
        entry.status,
        entry.sent,
        entry.referer.map_or_else(|| "-".into(), quoted),
        entry.agent.map_or_else(|| "-".into(), quoted),
    )
}

/// Foreign text between quotes: what could end the quotes, the line or a terminal's good manners is written as `\xNN`.
fn quoted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        match byte {
            b' ' | b'!' | b'#'..=b'[' | b']'..=b'~' => shown.push(char::from(byte)),
            _ => write!(shown, "\\x{byte:02x}").expect("a String takes any text"),
        }
    }
    shown
}

/// The same without blanks, which separate fields.
fn word(text: &str) -> String {
    quoted(text).replace(' ', "\\x20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_combined_format_and_foreign_text_cannot_leave_its_field() {
        let entry = Entry {
            client: "::ffff:192.0.2.7".parse().unwrap(),
            user: Some("a b\"\n"),
            request: "GET /v2/\x1b[2J\" HTTP/1.1",
            status: 200,
            sent: 12,
            referer: None,
            agent: Some("docker/20 \\ é"),
        };
        let at = jiff::Timestamp::from_second(1_600_000_000).unwrap();
        let expected = "192.0.2.7 - a\\x20b\\x22\\x0a [13/Sep/2020:12:26:40 +0000] \
            \"GET /v2/\\x1b[2J\\x22 HTTP/1.1\" 200 12 \"-\" \"docker/20 \\x5c \\xc3\\xa9\"\n";
        assert_eq!(line(&entry, at), expected);
    }
}
