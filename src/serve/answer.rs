//! Answers as values: a status, headers, and what the body is to be made of.

use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::json;

use crate::serve::catalog::Item;

/// What is said to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    headers: Vec<(&'static str, String)>,
    /// The body, of which HEAD gets the length only.
    pub(crate) body: Body,
}

/// What a body is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// Nothing; not even a length of nothing where the status forbids it.
    Nothing,
    /// These bytes.
    Bytes(Bytes),
    /// An index or image manifest, whole.
    Document(Item),
    /// A part of a blob.
    Blob {
        /// Which.
        item: Item,
        /// The first byte's offset.
        start: u64,
        /// How many bytes.
        length: u64,
    },
}

impl Answer {
    /// A status without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Nothing }
    }

    /// Text or other bytes of a media type.
    pub(crate) fn bytes(status: u16, media_type: &str, bytes: impl Into<Bytes>) -> Self {
        Self::with_body(status, Body::Bytes(bytes.into())).header("Content-Type", media_type)
    }

    /// A body of something that a bundle holds.
    pub(crate) fn with_body(status: u16, body: Body) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    /// A refusal in the form of the distribution specification, which lists the codes that a 4xx may have.
    pub(crate) fn refusal(status: u16, code: &str, message: &str) -> Self {
        let errors = json!({ "errors": [{ "code": code, "message": message }] });
        Self::bytes(status, "application/json", errors.to_string()).header("Cache-Control", "no-store")
    }

    /// The same with one more header. Whatever its value was made of, it cannot end its line.
    #[must_use]
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let mut value: String = value.into();
        value.retain(|c| !c.is_control());
        self.headers.push((name, value));
        self
    }

    /// The length of the body that a GET gets.
    pub(crate) fn length(&self) -> u64 {
        match &self.body {
            Body::Nothing => 0,
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Document(item) => item.size,
            Body::Blob { length, .. } => *length,
        }
    }

    /// The bytes before the body.
    pub(crate) fn head(&self, keep_alive: bool) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let mut line = |name: &str, value: &str| {
            write!(text, "{name}: {value}\r\n").expect("a String takes any text");
        };
        for (name, value) in &self.headers {
            line(name, value);
        }
        // A length with these would be that of what is not sent (RFC 9110, 8.6).
        if !matches!(self.status, 204 | 304) {
            line("Content-Length", &self.length().to_string());
        }
        // Docker's engines look for it at their first request.
        line("Docker-Distribution-Api-Version", "registry/2.0");
        line("X-Content-Type-Options", "nosniff");
        line("Connection", if keep_alive { "keep-alive" } else { "close" });
        text.push_str("\r\n");
        text.into_bytes()
    }
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_78_no_value_of_a_header_ends_its_line() {
        let answer = Answer::empty(200).header("Content-Type", "a\r\nX-Injected: 1\r\n\r\nbody\0\u{85}");
        let head = String::from_utf8(answer.head(true)).unwrap();
        assert!(head.lines().any(|line| line == "Content-Type: aX-Injected: 1body"), "{head}");
        assert_eq!(head.matches("\r\n\r\n").count(), 1);
    }
}
