//! An engine that fetches an image: what it is shown, what it says on the way, and what its refusals mean.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::engine::answer::cut;
use crate::failure::ErrorClass;

/// One line of an answer is some hundred bytes.
const MAX_LINE: usize = 1024 * 1024;
/// Far above the layers that an image can have (docker takes 127).
const MAX_LAYERS: usize = 10_000;

/// A login that an engine shows to a registry, in the form of docker's API. It cannot be printed.
#[derive(Clone)]
pub struct EngineLogin(Zeroizing<String>);

impl fmt::Debug for EngineLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl EngineLogin {
    /// User and password.
    pub fn password(user: &str, password: &str) -> Self {
        #[derive(Serialize)]
        struct Pair<'a> {
            username: &'a str,
            password: &'a str,
        }
        Self::of(&Pair { username: user, password })
    }

    /// A refresh token.
    pub fn identity_token(token: &str) -> Self {
        #[derive(Serialize)]
        struct Token<'a> {
            identitytoken: &'a str,
        }
        Self::of(&Token { identitytoken: token })
    }

    fn of(login: &impl Serialize) -> Self {
        let json = Zeroizing::new(serde_json::to_vec(login).expect("text becomes JSON"));
        Self(Zeroizing::new(base64::prelude::BASE64_URL_SAFE.encode(&*json)))
    }

    /// The value of `X-Registry-Auth`.
    pub(super) fn header(&self) -> HeaderValue {
        let mut value = HeaderValue::from_str(&self.0).expect("base64 is plain text");
        value.set_sensitive(true);
        value
    }
}

/// Reads the answer to `POST /images/create` while it comes: objects in lines, status 200 even where one is an error.
#[derive(Default)]
pub(super) struct PullAnswer {
    line: Vec<u8>,
    layers: BTreeMap<String, u64>,
    error: Option<String>,
}

impl PullAnswer {
    /// Takes the next bytes; gives the bytes of layers that have arrived so far.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<u64, String> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.len() > MAX_LINE {
                return Err(format!("a line is longer than {MAX_LINE} bytes"));
            }
            if part.ends_with(b"\n") {
                self.end_line()?;
            }
        }
        Ok(self.layers.values().sum())
    }

    /// Whether it went well; else what the engine says.
    pub(super) fn end(mut self) -> Result<Result<(), String>, String> {
        self.end_line()?;
        Ok(self.error.map_or(Ok(()), Err))
    }

    fn end_line(&mut self) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Detail {
            message: Option<String>,
        }
        #[derive(Deserialize, Default)]
        struct Amount {
            #[serde(default)]
            current: u64,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Line {
            id: Option<String>,
            status: Option<String>,
            progress_detail: Option<Amount>,
            error: Option<String>,
            error_detail: Option<Detail>,
        }
        let line = std::mem::take(&mut self.line);
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let line: Line = serde_json::from_slice(&line).map_err(|error| error.to_string())?;
        if let Some(error) = line.error.or(line.error_detail.and_then(|detail| detail.message)) {
            self.error = Some(cut(&error));
        }
        let arrives = line.status.as_deref() == Some("Downloading");
        if let (Some(layer), Some(amount)) = (line.id, line.progress_detail.filter(|_| arrives))
            && (self.layers.len() < MAX_LAYERS || self.layers.contains_key(&layer))
        {
            self.layers.insert(layer, amount.current);
        }
        Ok(())
    }
}

/// Why an engine could not fetch an image, by the words of Go's programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullTrouble {
    /// Its disk is full.
    Disk,
    /// It does not trust the registry's certificate.
    Untrusted,
    /// It speaks TLS, the registry does not.
    PlainHttp,
    /// The registry wants a login, or a better one.
    Login,
    /// The registry does not have the image.
    Missing,
    /// The image is not made for this machine.
    Platform,
    /// Something else, most likely the way to the registry.
    Other,
}

impl PullTrouble {
    /// What the engine's words mean.
    pub(super) fn of(message: &str) -> Self {
        let message = message.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
        if is_full_disk(&message) {
            Self::Disk
        } else if says(&["x509:", "certificate signed by unknown authority", "tls: failed to verify certificate"]) {
            Self::Untrusted
        } else if says(&["server gave http response to https client"]) {
            Self::PlainHttp
        } else if says(&["no matching manifest", "no image found in image index", "no image found in manifest list"]) {
            Self::Platform
        } else if says(&["manifest unknown", "name unknown", "not found: manifest", "repository name not known"]) {
            Self::Missing
        } else if says(&["unauthorized", "authentication required", "no basic auth credentials", "denied", "forbidden"])
        {
            Self::Login
        } else if says(&["not found"]) {
            Self::Missing
        } else {
            Self::Other
        }
    }

    pub(super) fn class(self) -> ErrorClass {
        match self {
            Self::Disk => ErrorClass::Disk,
            Self::Login => ErrorClass::Access,
            Self::Missing | Self::Platform => ErrorClass::NotFound,
            Self::Untrusted | Self::PlainHttp | Self::Other => ErrorClass::Network,
        }
    }
}

/// The words of Linux and of Go for a full disk and a used-up quota.
pub(super) fn is_full_disk(message: &str) -> bool {
    ["no space left on device", "disk quota exceeded"].iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(pieces: &[&[u8]]) -> (Vec<u64>, Result<Result<(), String>, String>) {
        let mut answer = PullAnswer::default();
        let arrived = pieces.iter().map(|piece| answer.take(piece).unwrap()).collect();
        (arrived, answer.end())
    }

    #[test]
    fn an_answer_is_read_while_it_comes() {
        let docker = b"{\"status\":\"Pulling from a\",\"id\":\"1\"}\r\n{\"status\":\"Downloading\",\"progressDetail\":{\"current\":10,\"total\":30},\"id\":\"ab\"}\r\n{\"status\":\"Downloading\",\"progressDetail\":{\"current\":5},\"id\":\"cd\"}\r\n{\"status\":\"Extracting\",\"progressDetail\":{\"current\":3},\"id\":\"ab\"}\r\n{\"status\":\"Status: Downloaded\"}";
        for cut in 0..docker.len() {
            let (arrived, ended) = answer(&[&docker[..cut], &docker[cut..]]);
            assert_eq!((arrived[1], ended), (15, Ok(Ok(()))), "cut at {cut}");
        }
    }

    #[test]
    fn an_error_in_an_answer_is_found_wherever_it_stands() {
        let said = |text: &[u8]| answer(&[text]).1;
        assert_eq!(said(b"{\"errorDetail\":{\"message\":\"no\"},\"error\":\"no\"}\r\n"), Ok(Err("no".into())));
        assert_eq!(said(b"{\"error\":\"no\"}\n{\"status\":\"Status: Downloaded\"}"), Ok(Err("no".into())));
        assert_eq!(said(b"{\"errorDetail\":{\"message\":\"no\"}}"), Ok(Err("no".into())));
        assert!(said(b"{\"status\":\"Pulli").is_err());
        assert!(PullAnswer::default().take(b"<html>\n").is_err());
        assert!(PullAnswer::default().take(&vec![b' '; MAX_LINE + 1]).is_err());
    }

    #[test]
    fn an_engines_words_are_understood() {
        for (words, trouble) in [
            ("write /x: no space left on device", PullTrouble::Disk),
            ("Get \"https://reg/v2/\": x509: certificate signed by unknown authority", PullTrouble::Untrusted),
            ("Get \"https://reg/v2/\": http: server gave HTTP response to HTTPS client", PullTrouble::PlainHttp),
            ("Get \"https://reg/v2/a/manifests/1\": no basic auth credentials", PullTrouble::Login),
            ("unable to retrieve auth token: invalid username/password: unauthorized: x", PullTrouble::Login),
            ("pull access denied for a, repository does not exist or may require 'docker login'", PullTrouble::Login),
            ("manifest for reg/a:1 not found: manifest unknown: manifest unknown", PullTrouble::Missing),
            ("no matching manifest for linux/arm64 in the manifest list entries", PullTrouble::Platform),
            ("no image found in image index for architecture amd64", PullTrouble::Platform),
            ("dial tcp 10.0.0.1:5000: connect: connection refused", PullTrouble::Other),
        ] {
            assert_eq!(PullTrouble::of(words), trouble, "{words}");
        }
    }

    #[test]
    fn a_login_is_what_dockers_api_wants_and_is_not_shown() {
        let login = EngineLogin::password("jo", "CANARY\"ß");
        let json = base64::prelude::BASE64_URL_SAFE.decode(login.header().as_bytes()).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(read, serde_json::json!({"username": "jo", "password": "CANARY\"ß"}));
        assert_eq!(format!("{login:?} {:?}", login.header()), "<redacted> Sensitive");
    }
}
