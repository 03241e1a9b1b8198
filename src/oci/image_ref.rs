//! Names of images: host, repository, tag and digest.
//!
//! The grammar is that of the distribution project's `reference` package; short names mean Docker Hub, as they do
//! for docker.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::oci::digest::Digest;

/// How names of Docker Hub's hosts are folded; see `docs/facts.md`, "Docker Hub's names".
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_NAMES: [&str; 4] = ["docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];
/// The host that answers the registry API for `docker.io`.
const DOCKER_HUB_API: &str = "registry-1.docker.io";
/// The distribution grammar's limit for host and repository name together.
const MAX_NAME: usize = 255;

/// Text that is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadReference {
    /// Nothing there.
    #[error("the image reference is empty")]
    Empty,
    /// A name without tag and digest would follow whatever `latest` means that day.
    #[error("`{0}` has neither a tag nor a digest; write `{0}:TAG`, as in `{0}:latest` if that is meant")]
    NoTag(String),
    /// The host part is not a name, an IPv4 address or a bracketed IPv6 address, with an optional port.
    #[error("`{0}` is no registry host: expected a name or address, with an optional `:port`")]
    Host(String),
    /// Upper case in the repository name: docker refuses it too.
    #[error("repository names are lower case: `{0}`; did you mean `{lower}`?", lower = .0.to_lowercase())]
    UpperCase(String),
    /// The repository does not follow the grammar.
    #[error("`{0}` is no repository name: parts of `a-z0-9` joined by `.`, `_`, `__` or `-`, separated by `/`")]
    Repository(String),
    /// Host and name together are longer than registries take.
    #[error("the name `{0}…` is longer than {MAX_NAME} characters")]
    TooLong(String),
    /// The tag does not follow the grammar.
    #[error("`{0}` is no tag: up to 128 of `A-Za-z0-9_.-`, not led by `.` or `-`")]
    Tag(String),
    /// The digest does not parse.
    #[error(transparent)]
    Digest(#[from] super::digest::BadDigest),
    /// A web address was given.
    #[error("`{0}` is an address, not an image reference; leave out `{scheme}://`", scheme = .0.split("://").next().unwrap_or_default())]
    Address(String),
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

/// A registry's host and optional port. Docker Hub's many names are one: `docker.io`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(String);

impl Host {
    /// `docker.io`.
    pub fn docker_hub() -> Self {
        Self(DOCKER_HUB.to_owned())
    }

    /// Whether it is Docker Hub.
    pub fn is_docker_hub(&self) -> bool {
        self.0 == DOCKER_HUB
    }

    /// The `host[:port]` that answers the registry API.
    pub fn api(&self) -> &str {
        if self.is_docker_hub() { DOCKER_HUB_API } else { &self.0 }
    }

    /// As written in image names.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name or address without port and without the brackets of IPv6.
    pub fn name(&self) -> &str {
        if let Some(rest) = self.0.strip_prefix('[') {
            return rest.split(']').next().unwrap_or(rest);
        }
        self.0.split(':').next().unwrap_or(&self.0)
    }

    /// The port, if one is written.
    pub fn port(&self) -> Option<u16> {
        let after = self
            .0
            .strip_prefix('[')
            .map_or(self.0.as_str(), |rest| rest.split_once(']').map_or("", |(_, after)| after));
        after.split_once(':').and_then(|(_, port)| port.parse().ok())
    }

    /// Whether it names this very machine: docker speaks plain http to such hosts, and so do we.
    pub fn is_loopback(&self) -> bool {
        let name = self.name();
        name.eq_ignore_ascii_case("localhost")
            || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for Host {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        if text.contains("://") {
            return Err(BadReference::Address(shown(text)));
        }
        let bad = || BadReference::Host(shown(text));
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']').ok_or_else(bad)?;
                address.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
                match after {
                    "" => (None, None),
                    _ => (None, Some(after.strip_prefix(':').ok_or_else(bad)?)),
                }
            }
            None => match text.split_once(':') {
                Some((name, port)) => (Some(name), Some(port)),
                None => (Some(text), None),
            },
        };
        let digits = |port: &str| !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
        if port.is_some_and(|port| !digits(port) || port.parse::<u16>().map_or(true, |port| port == 0)) {
            return Err(bad());
        }
        let plain_part = |part: &str| {
            let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            ends(part.chars().next())
                && ends(part.chars().last())
                && part.len() <= 63
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if name.is_some_and(|name| name.len() > 253 || !name.split('.').all(plain_part)) {
            return Err(bad());
        }
        let lower = text.to_ascii_lowercase();
        let hub = DOCKER_HUB_NAMES.contains(&lower.strip_suffix(":443").unwrap_or(&lower));
        Ok(Self(if hub { DOCKER_HUB.to_owned() } else { lower }))
    }
}

/// A repository's path on its host, as in `octoperf/jmeter`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryName(String);

impl RepositoryName {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `prefix/self`; the prefix may be empty.
    pub fn below(&self, prefix: &str) -> Result<Self, BadReference> {
        if prefix.is_empty() { Ok(self.clone()) } else { format!("{prefix}/{}", self.0).parse() }
    }
}

impl FromStr for RepositoryName {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        if text.len() > MAX_NAME {
            return Err(BadReference::TooLong(text.chars().take(40).collect()));
        }
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(BadReference::UpperCase(shown(text)));
        }
        if text.is_empty() || !text.split('/').all(is_path_component) {
            return Err(BadReference::Repository(shown(text)));
        }
        Ok(Self(text.to_owned()))
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, the distribution grammar's path component.
fn is_path_component(part: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = |b: Option<&u8>| b.is_some_and(|&b| alphanumeric(b));
    if !ends(bytes.first()) || !ends(bytes.last()) {
        return false;
    }
    bytes
        .split(|&b| alphanumeric(b))
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|&b| b == b'-'))
}

/// A tag: 1 to 128 of `A-Za-z0-9_.-`, not led by `.` or `-`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

impl Tag {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let sound = text.len() <= 128
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if sound { Ok(Self(text.to_owned())) } else { Err(BadReference::Tag(shown(text))) }
    }
}

/// A repository on a host, as in `docker.io/octoperf/jmeter`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repository {
    /// Where it is.
    pub host: Host,
    /// Its path there.
    pub name: RepositoryName,
}

impl FromStr for Repository {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        if text.is_empty() {
            return Err(BadReference::Empty);
        }
        if text.contains("://") {
            return Err(BadReference::Address(shown(text)));
        }
        let (host, name) = match text.split_once('/') {
            // docker's rule: the first part is a host if nothing else could look like it.
            Some((first, rest))
                if first.contains(['.', ':', '['])
                    || first == "localhost"
                    || first.bytes().any(|b| b.is_ascii_uppercase()) =>
            {
                let looks_like_repository = !first.contains(['.', ':', '[']) && first != "localhost";
                if looks_like_repository {
                    return Err(BadReference::UpperCase(shown(text)));
                }
                (first.parse::<Host>()?, rest)
            }
            _ => (Host::docker_hub(), text),
        };
        let name =
            if host.is_docker_hub() && !name.contains('/') { format!("library/{name}") } else { name.to_owned() };
        if host.as_str().len() + 1 + name.len() > MAX_NAME {
            return Err(BadReference::TooLong(text.chars().take(40).collect()));
        }
        Ok(Self { host, name: name.parse()? })
    }
}

/// An image's full name: repository with a tag, a digest or both.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    repository: Repository,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

impl ImageRef {
    /// A name by tag.
    pub fn tagged(repository: Repository, tag: Tag) -> Self {
        Self { repository, tag: Some(tag), digest: None }
    }

    /// A name by digest.
    pub fn pinned(repository: Repository, digest: Digest) -> Self {
        Self { repository, tag: None, digest: Some(digest) }
    }

    /// Host and path.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag, if it has one.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest, if it has one.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// What a registry is asked for: the digest where there is one, else the tag.
    pub fn lookup(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.as_str().to_owned(),
            (None, None) => unreachable!("a reference is made with a tag or a digest"),
        }
    }

    /// The same image in another repository.
    #[must_use]
    pub fn moved_to(&self, repository: Repository) -> Self {
        Self { repository, ..self.clone() }
    }

    /// The name that engines list: with the tag alone if it has one.
    #[must_use]
    pub fn without_digest(&self) -> Self {
        let digest = if self.tag.is_some() { None } else { self.digest };
        Self { digest, ..self.clone() }
    }
}

impl FromStr for ImageRef {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        if text.contains("://") {
            return Err(BadReference::Address(shown(text)));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        let after_slash = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name[after_slash..].find(':') {
            Some(colon) => (&name[..after_slash + colon], Some(name[after_slash + colon + 1..].parse()?)),
            None => (name, None),
        };
        let repository: Repository = name.parse()?;
        if tag.is_none() && digest.is_none() {
            return Err(BadReference::NoTag(shown(text)));
        }
        Ok(Self { repository, tag, digest })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.name)
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        self.tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))?;
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

/// The plain habits of a text type: shown as written, parsed where it is read.
macro_rules! text_type {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl TryFrom<String> for $name {
            type Error = BadReference;
            fn try_from(text: String) -> Result<Self, BadReference> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}
text_type!(Host, RepositoryName, Tag, Repository, ImageRef);

/// Shown as the text they hold.
macro_rules! shown_as_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
shown_as_text!(Host, RepositoryName, Tag);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_and_docker_hubs_names_become_one() {
        let digest = Digest::of(b"x");
        let cases = [
            ("redis:7".to_owned(), "docker.io/library/redis:7".to_owned()),
            ("octoperf/jmeter:5.6.3".into(), "docker.io/octoperf/jmeter:5.6.3".into()),
            ("docker.io/octoperf/jmeter:5.6.3".into(), "docker.io/octoperf/jmeter:5.6.3".into()),
            ("index.docker.io/redis:7".into(), "docker.io/library/redis:7".into()),
            ("registry.hub.docker.com/octoperf/a:1".into(), "docker.io/octoperf/a:1".into()),
            ("registry-1.docker.io/octoperf/a:1".into(), "docker.io/octoperf/a:1".into()),
            ("localhost/a:1".into(), "localhost/a:1".into()),
            ("localhost:5000/a:1".into(), "localhost:5000/a:1".into()),
            ("reg.corp/a:1".into(), "reg.corp/a:1".into()),
            ("REG.corp:5000/a/b:1".into(), "reg.corp:5000/a/b:1".into()),
            ("[::1]:5000/a:1".into(), "[::1]:5000/a:1".into()),
            ("127.0.0.1:5000/a:1".into(), "127.0.0.1:5000/a:1".into()),
            ("a__b/c--d/e.f:1".into(), "docker.io/a__b/c--d/e.f:1".into()),
            (format!("a:{}", "t".repeat(128)), format!("docker.io/library/a:{}", "t".repeat(128))),
            (format!("a@{digest}"), format!("docker.io/library/a@{digest}")),
            (format!("a:1@{digest}"), format!("docker.io/library/a:1@{digest}")),
        ];
        for (text, canonical) in cases {
            let parsed: ImageRef = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(parsed.to_string(), canonical);
            assert_eq!(canonical.parse::<ImageRef>().unwrap(), parsed, "canonical form parses to itself");
        }
    }

    #[test]
    fn sec_32_what_docker_refuses_is_refused() {
        let digest = Digest::of(b"x");
        for text in [
            "",
            "a",
            "reg.corp:5000/a",
            "a:",
            "a:.b",
            "a:-b",
            ":1",
            "/a:1",
            "a/:1",
            "a//b:1",
            "A:1",
            "Foo/bar:1",
            "reg.corp/A:1",
            "a_:1",
            "a___b:1",
            "a..b:1",
            "-a:1",
            "a-:1",
            "a b:1",
            "a:1 ",
            "a:b:c",
            "https://reg.corp/a:1",
            "reg.corp:0/a:1",
            "reg.corp:99999/a:1",
            "reg.corp:/a:1",
            "reg.corp:5x/a:1",
            "[::1/a:1",
            "[zz]:5/a:1",
            "rég.corp/a:1",
            "reg..corp/a:1",
            "-reg.corp/a:1",
            "a@sha256:abc",
            "a:1@",
            "../a:1",
            "a/../b:1",
            "a\n:1",
            "a\0:1",
            "reg.corp/a:1\r",
        ] {
            assert!(text.parse::<ImageRef>().is_err(), "{text:?}");
        }
        assert!(format!("a:{}", "t".repeat(129)).parse::<ImageRef>().is_err());
        assert!(format!("{}:1", "a".repeat(256)).parse::<ImageRef>().is_err());
        assert!(format!("a@{}", digest.to_string().to_uppercase()).parse::<ImageRef>().is_err());
    }

    #[test]
    fn a_host_knows_its_parts() {
        let host = |text: &str| text.parse::<Host>().unwrap();
        assert_eq!((host("[::1]:5000").name(), host("[::1]:5000").port()), ("::1", Some(5000)));
        assert_eq!((host("reg.corp").name(), host("reg.corp").port()), ("reg.corp", None));
        assert_eq!(host("docker.io").api(), "registry-1.docker.io");
        for (text, loopback) in [
            ("localhost:5000", true),
            ("127.8.0.1", true),
            ("[::1]", true),
            ("10.0.0.1", false),
            ("localhost.corp", false),
        ] {
            assert_eq!(host(text).is_loopback(), loopback, "{text}");
        }
    }
}
