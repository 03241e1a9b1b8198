//! Request heads: the text before a body, read strictly. Bodies are never read; a request that has one is the last of
//! its connection, so nothing behind it can be taken for a request.

/// The longest request line and headers together.
pub(crate) const MAX_HEAD: usize = 16 * 1024;
/// More headers than any client or proxy sends.
const MAX_HEADERS: usize = 100;

/// What may be asked for, and the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// `GET`.
    Get,
    /// `HEAD`.
    Head,
    /// `OPTIONS`.
    Options,
    /// Any other: nothing here changes anything.
    Other,
}

/// A request's head.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// What to do.
    pub(crate) method: Method,
    /// The method as sent.
    pub(crate) verb: String,
    /// The target as sent.
    pub(crate) target: String,
    /// The path, as sent, without host and query.
    pub(crate) path: String,
    /// What stands behind `?`.
    pub(crate) query: String,
    /// The host that the client wants to talk to, with its port.
    pub(crate) host: Option<String>,
    /// Whether it speaks HTTP/1.0.
    pub(crate) old: bool,
    /// Whether the connection may be used again.
    pub(crate) keep_alive: bool,
    /// Whether a body follows.
    pub(crate) has_body: bool,
    /// Names in lower case.
    headers: Vec<(String, String)>,
}

/// A head that cannot be understood; the connection ends with the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadHead {
    /// Longer than anyone needs.
    #[error("the request's head is longer than 16 KiB")]
    TooLong,
    /// Not HTTP/1.
    #[error("the request is not HTTP/1.0 or HTTP/1.1")]
    Grammar,
    /// The first bytes of TLS.
    #[error("this server speaks plain http, the client speaks TLS")]
    Tls,
    /// None, or several.
    #[error("a request names exactly one host")]
    Host,
    /// No path.
    #[error("the request's target is no path")]
    Target,
}

impl Head {
    /// Reads a head from the start of `bytes`, with its length; none while its end is still to come.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, BadHead> {
        // The first byte of a TLS handshake (RFC 8446, 5.1).
        if bytes.first() == Some(&22) {
            return Err(BadHead::Tls);
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(&bytes[..bytes.len().min(MAX_HEAD)]) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(BadHead::TooLong),
            Err(_) => return Err(BadHead::Grammar),
        };
        Self::of(&request).map(|head| Some((head, length)))
    }

    fn of(request: &httparse::Request<'_, '_>) -> Result<Self, BadHead> {
        let (Some(verb), Some(target), Some(version)) = (request.method, request.path, request.version) else {
            return Err(BadHead::Grammar);
        };
        let text = |header: &httparse::Header<'_>| {
            (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).trim().to_owned())
        };
        let headers: Vec<(String, String)> = request.headers.iter().map(text).collect();
        let (authority, path, query) = parts(target)?;
        let mut head = Self {
            method: match verb {
                "GET" => Method::Get,
                "HEAD" => Method::Head,
                "OPTIONS" => Method::Options,
                _ => Method::Other,
            },
            verb: verb.to_owned(),
            target: target.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            host: None,
            old: version == 0,
            keep_alive: false,
            has_body: false,
            headers,
        };
        head.host = head.host_of(authority)?;
        head.keep_alive = head.asks_to_stay();
        head.has_body = head.announces_body();
        Ok(head)
    }

    /// A header's value; the first one where it stands twice.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every value of a header.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    fn host_of(&self, authority: Option<&str>) -> Result<Option<String>, BadHead> {
        let mut hosts = self.all("host");
        match (hosts.next(), hosts.next()) {
            (_, Some(_)) => Err(BadHead::Host),
            (None, None) if !self.old => Err(BadHead::Host),
            (host, None) => Ok(authority.or(host).map(str::to_owned)),
        }
    }

    fn asks_to_stay(&self) -> bool {
        let says = |word: &str| {
            let mut words = self.all("connection").flat_map(|value| value.split(','));
            words.any(|found| found.trim().eq_ignore_ascii_case(word))
        };
        if self.old { says("keep-alive") && !says("close") } else { !says("close") }
    }

    fn announces_body(&self) -> bool {
        self.header("transfer-encoding").is_some() || self.all("content-length").any(|length| length != "0")
    }
}

/// Host, path and query of a target: `/path?query`, `http://host/path?query`, or `*`.
fn parts(target: &str) -> Result<(Option<&str>, &str, &str), BadHead> {
    let (authority, rest) = match target.strip_prefix("http://").or_else(|| target.strip_prefix("https://")) {
        Some(rest) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            (Some(&rest[..end]), if end == rest.len() { "/" } else { &rest[end..] })
        }
        None => (None, target),
    };
    if rest.contains('#') || !(rest.starts_with('/') || rest == "*") {
        return Err(BadHead::Target);
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Ok((authority, path, query))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        Head::parse(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn a_head_is_read_with_its_length_and_pieces_wait_for_the_rest() {
        let text = "GET /v2/?n=1 HTTP/1.1\r\nHost: a:5000\r\nRange: bytes=0-1\r\n\r\nGET /next";
        let (head, length) = Head::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!((head.path.as_str(), head.query.as_str(), head.host.as_deref()), ("/v2/", "n=1", Some("a:5000")));
        assert_eq!((head.header("range"), &text[length..]), (Some("bytes=0-1"), "GET /next"));
        assert!(head.keep_alive && !head.has_body && head.method == Method::Get);
        for end in 0..length {
            assert!(Head::parse(&text.as_bytes()[..end]).unwrap().is_none(), "{end}");
        }
    }

    #[test]
    fn sec_78_connections_stay_as_each_version_of_http_has_it() {
        let stays = |text: &str| head(text).keep_alive;
        assert!(stays("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(!stays("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n"));
        assert!(!stays("GET / HTTP/1.0\r\n\r\n"));
        assert!(stays("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
        assert_eq!(head("GET http://b:1/x?y HTTP/1.1\r\nHost: a\r\n\r\n").host.as_deref(), Some("b:1"));
    }

    #[test]
    fn requests_that_could_be_read_in_two_ways_are_refused() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(MAX_HEAD));
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS));
        for (text, expected) in [
            ("GET / HTTP/1.1\r\n\r\n", BadHead::Host),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", BadHead::Host),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", BadHead::Grammar),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", BadHead::Grammar),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", BadHead::Grammar),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", BadHead::Grammar),
            ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", BadHead::Grammar),
            ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", BadHead::Target),
            ("GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", BadHead::Target),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", BadHead::Target),
            ("\x16\x03\x01\x02\0\x01", BadHead::Tls),
            (&long, BadHead::TooLong),
            (&many, BadHead::TooLong),
        ] {
            assert_eq!(Head::parse(text.as_bytes()).map(|_| ()), Err(expected), "{text:.60}");
        }
        for body in ["Content-Length: 5", "Content-Length: 0, 5", "Transfer-Encoding: chunked", "Content-Length: +0"] {
            assert!(head(&format!("GET / HTTP/1.1\r\nHost: a\r\n{body}\r\n\r\n")).has_body, "{body}");
        }
        assert!(!head("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").has_body);
    }
}
