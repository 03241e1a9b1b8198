//! Where an engine's API is, as `DOCKER_HOST` says it.

use std::fmt;
use std::path::PathBuf;

use url::Url;

use crate::engine::error::EngineError;

/// The API's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ApiAddress {
    /// A unix socket.
    Socket(PathBuf),
    /// Plain HTTP at `http://host:port`.
    Tcp(Url),
}

/// docker's port where no TLS is spoken.
const PLAIN_PORT: u16 = 2375;

impl ApiAddress {
    /// Reads the forms that docker's own command takes; of those `unix://` and `tcp://` are spoken here.
    pub(super) fn parse(text: &str) -> Result<Self, EngineError> {
        let bad = |reason: &str| EngineError::Address { text: shown(text), reason: reason.to_owned() };
        // docker reads an address without a scheme as one of TCP.
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        match scheme {
            "unix" if rest.starts_with('/') && !rest.contains('\0') => Ok(Self::Socket(PathBuf::from(rest))),
            "unix" => Err(bad("a socket is named by its full path, as in `unix:///var/run/docker.sock`")),
            "tcp" | "http" => tcp(rest).ok_or_else(|| bad("expected `tcp://HOST:PORT`")),
            "https" => Err(EngineError::Scheme { scheme: "https", reason: "an engine behind TLS is not spoken to" }),
            "ssh" => Err(EngineError::Scheme { scheme: "ssh", reason: "an engine behind ssh is not spoken to" }),
            "npipe" => {
                Err(EngineError::Scheme { scheme: "npipe", reason: "the named pipes of Windows are not spoken to" })
            }
            "fd" => Err(EngineError::Scheme {
                scheme: "fd",
                reason: "it says where an engine listens, not where it is found",
            }),
            _ => Err(bad("expected `unix:///PATH` or `tcp://HOST:PORT`")),
        }
    }
}

fn tcp(rest: &str) -> Option<ApiAddress> {
    let mut url = Url::parse(&format!("http://{rest}")).ok()?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.path() == "/";
    if !plain || url.fragment().is_some() || url.host_str().is_none_or(str::is_empty) {
        return None;
    }
    // The parser drops `:80`, which is what was meant where it is written.
    let written_80 = rest.trim_end_matches('/').ends_with(":80");
    if url.port().is_none() && !written_80 {
        url.set_port(Some(PLAIN_PORT)).ok()?;
    }
    Some(ApiAddress::Tcp(url))
}

/// Without what may be a password.
fn shown(text: &str) -> String {
    let shown: String = text.chars().take(100).collect();
    if shown.contains('@') { "<address with a user>".to_owned() } else { shown }
}

impl fmt::Display for ApiAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(url) => {
                let port = url.port_or_known_default().unwrap_or(PLAIN_PORT);
                write!(f, "tcp://{}:{port}", url.host_str().unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_host_is_read_as_docker_reads_it() {
        let cases = [
            ("unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
            ("tcp://10.0.0.1:2375", "tcp://10.0.0.1:2375"),
            ("tcp://engine.corp", "tcp://engine.corp:2375"),
            ("tcp://engine.corp:80", "tcp://engine.corp:80"),
            ("http://engine.corp:2375/", "tcp://engine.corp:2375"),
            ("127.0.0.1:2375", "tcp://127.0.0.1:2375"),
            ("tcp://[::1]:2375", "tcp://[::1]:2375"),
        ];
        for (text, expected) in cases {
            assert_eq!(ApiAddress::parse(text).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn an_engine_that_cannot_be_spoken_to_is_refused_with_a_sentence() {
        for text in ["ssh://me@host", "npipe:////./pipe/docker_engine", "https://host:2376", "fd://"] {
            assert!(matches!(ApiAddress::parse(text), Err(EngineError::Scheme { .. })), "{text}");
        }
        for text in ["", "unix://docker.sock", "unix://", "tcp://", "ftp://host", "tcp://host/path", "tcp://h:99999"] {
            assert!(matches!(ApiAddress::parse(text), Err(EngineError::Address { .. })), "{text}");
        }
        let error = ApiAddress::parse("tcp://me:hunter2@host").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}
