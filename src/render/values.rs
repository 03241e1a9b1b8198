//! Single answers as types: what was parsed can be rendered anywhere, quoted for where it lands.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::render::env_file::{EnvName, refuse_control};
use crate::render::error::RenderError;

/// Linux takes no longer path (`PATH_MAX`).
const MAX_PATH: usize = 4096;
/// No grammar limits a container's name; DNS limits the names that engines make of it.
const MAX_CONTAINER_NAME: usize = 253;
const MAX_SERVER_URL: usize = 2048;
/// A chain of some certificates has 10 KiB; a company's whole bundle has 300.
const MAX_CERTIFICATES: usize = 1024 * 1024;

/// The program that runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContainerEngine {
    /// docker.
    #[default]
    Docker,
    /// podman, whose socket is mounted where the agent looks for docker's.
    Podman,
}

impl ContainerEngine {
    /// What is typed to run it.
    pub fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// The folder in which it looks for registries' authorities.
    pub fn certificates(self) -> &'static str {
        match self {
            Self::Docker => "/etc/docker/certs.d",
            Self::Podman => "/etc/containers/certs.d",
        }
    }

    /// The policy by which a container comes back after its own end and its host's. podman's `podman-restart.service`
    /// passes over `unless-stopped`, which means the same to podman otherwise.
    pub fn restart_policy(self) -> &'static str {
        match self {
            Self::Docker => "unless-stopped",
            Self::Podman => "always",
        }
    }

    /// Its socket on the host.
    pub fn socket(self) -> &'static str {
        match self {
            Self::Docker => "/var/run/docker.sock",
            Self::Podman => "/var/run/podman/podman.sock",
        }
    }
}

impl FromStr for ContainerEngine {
    type Err = RenderError;

    fn from_str(text: &str) -> Result<Self, RenderError> {
        one_of(text, "engine", &[("docker", Self::Docker), ("podman", Self::Podman)])
    }
}

/// A name as docker gives it to containers: at least two of `a-zA-Z0-9_.-`, led by a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerName(String);

impl FromStr for ContainerName {
    type Err = RenderError;

    fn from_str(text: &str) -> Result<Self, RenderError> {
        let sound = (2..=MAX_CONTAINER_NAME).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        if sound { Ok(Self(text.to_owned())) } else { Err(RenderError::ContainerName(text.chars().take(40).collect())) }
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the agent finds its server: an `http` or `https` address, kept as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    text: String,
    plain: bool,
}

impl ServerUrl {
    /// Whether it crosses the network unprotected.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// As typed.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for ServerUrl {
    type Err = RenderError;

    fn from_str(text: &str) -> Result<Self, RenderError> {
        let refuse = |reason| Err(RenderError::ServerUrl { reason });
        refuse_control("server address", text)?;
        if text.len() > MAX_SERVER_URL {
            return Err(RenderError::TooLong { what: "server address", limit: MAX_SERVER_URL });
        }
        if text.contains(char::is_whitespace) {
            return refuse("contains a blank");
        }
        // The parser repairs `https:/host` and back slashes; the agent's may not.
        let scheme = ["https://", "http://"].into_iter().find(|scheme| text.starts_with(scheme));
        let (Some(scheme), Ok(url)) = (scheme, Url::parse(text)) else {
            return refuse("does not read `https://HOST` or `http://HOST`");
        };
        if text.contains('\\') || url.host_str().is_none_or(str::is_empty) || text[scheme.len()..].starts_with('/') {
            return refuse("names no host");
        }
        if text.contains('@') {
            return refuse("contains a user or password, which the agent's token replaces");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("has a query or fragment; the plain address of the server is enough");
        }
        Ok(Self { text: text.to_owned(), plain: scheme == "http://" })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The most memory of the agent's Java: a number of at least 2 MiB with `k`, `m` or `g`, as `-Xmx` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heap(String);

impl FromStr for Heap {
    type Err = RenderError;

    fn from_str(text: &str) -> Result<Self, RenderError> {
        let refuse = || RenderError::Heap(text.chars().take(40).collect());
        let unit: u64 = match text.chars().last() {
            Some('k' | 'K') => 1 << 10,
            Some('m' | 'M') => 1 << 20,
            Some('g' | 'G') => 1 << 30,
            _ => return Err(refuse()),
        };
        let digits = &text[..text.len() - 1];
        let whole = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
        let bytes = digits.parse::<u64>().ok().filter(|_| whole).and_then(|number| number.checked_mul(unit));
        // Java takes no heap below 2 MiB; 1 TiB more than any machine that runs an agent.
        match bytes {
            Some(bytes) if (2 << 20..=1 << 40).contains(&bytes) => Ok(Self(text.to_owned())),
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether images are named by tag or by digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pin {
    /// By tag; the digest stands in a comment.
    #[default]
    Tag,
    /// By digest.
    Digest,
}

impl FromStr for Pin {
    type Err = RenderError;

    fn from_str(text: &str) -> Result<Self, RenderError> {
        one_of(text, "pin", &[("tag", Self::Tag), ("digest", Self::Digest)])
    }
}

/// Whether the agent gets its engine's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineSocket {
    /// It is mounted: the agent starts load generators and replaces itself.
    #[default]
    Mounted,
    /// It is not: the agent starts nothing and is replaced by hand.
    Withheld,
}

/// Whether the agent replaces itself when its server has a newer version. The variable's name is nowhere confirmed,
/// so it is always given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoUpdate {
    /// The variable that says so.
    pub variable: EnvName,
    /// What it says.
    pub enabled: bool,
}

/// A path or volume of the host with its place in the container, as `-v` takes it: `SOURCE:/TARGET[:OPTIONS]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume(String);

impl FromStr for Volume {
    type Err = RenderError;

    fn from_str(text: &str) -> Result<Self, RenderError> {
        refuse_control("volume", text)?;
        if text.len() > 2 * MAX_PATH {
            return Err(RenderError::TooLong { what: "volume", limit: 2 * MAX_PATH });
        }
        let mut parts = text.split(':');
        let (source, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let options = parts.next();
        // No shell of ours expands `~`, and a folder that a path could be relative to is known to nobody.
        let sound = (source.starts_with('/') || is_volume_name(source))
            && (target.starts_with('/') && target.len() > 1)
            && options
                .is_none_or(|options| options.bytes().all(|b| b.is_ascii_alphanumeric() || b == b',' || b == b'='))
            && options.is_none_or(|options| !options.is_empty())
            && parts.next().is_none();
        if sound { Ok(Self(text.to_owned())) } else { Err(RenderError::Volume(text.chars().take(80).collect())) }
    }
}

/// docker's grammar of volumes' names, which is that of containers.
fn is_volume_name(text: &str) -> bool {
    text.parse::<ContainerName>().is_ok()
}

impl Volume {
    /// Host side and container side.
    pub(super) fn of(source: &str, target: &str) -> Self {
        Self(format!("{source}:{target}"))
    }

    /// As `-v` takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The volume's name, where its source is no path.
    pub fn named_source(&self) -> Option<&str> {
        self.0.split(':').next().filter(|source| !source.starts_with('/'))
    }

    /// Where it stands in the container.
    pub fn target(&self) -> &str {
        self.0.split(':').nth(1).unwrap_or_default()
    }
}

/// An absolute path in a container, without `:` and `,`, which mounts give a meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsolutePath(String);

impl FromStr for AbsolutePath {
    type Err = RenderError;

    fn from_str(text: &str) -> Result<Self, RenderError> {
        refuse_bad_path("path", text)?;
        let plain = text.starts_with('/') && text.len() > 1 && !text.contains([':', ',']);
        if plain && text.split('/').all(|part| part != "..") {
            return Ok(Self(text.to_owned()));
        }
        Err(RenderError::AbsolutePath(text.chars().take(80).collect()))
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One or several certificates as PEM, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates(String);

impl Certificates {
    /// Takes the certificates out of a PEM file; text between them is left out. A private key is refused.
    pub fn parse(text: &str) -> Result<Self, RenderError> {
        const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
        const END: &str = "-----END CERTIFICATE-----";
        if text.len() > MAX_CERTIFICATES {
            return Err(RenderError::TooLong { what: "certificate file", limit: MAX_CERTIFICATES });
        }
        if text.contains("PRIVATE KEY-----") {
            return Err(RenderError::Certificates("holds a private key, which belongs to its server alone"));
        }
        let mut all = String::new();
        let mut inside = false;
        for line in text.lines().map(str::trim_end) {
            inside |= line == BEGIN;
            if inside {
                let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
                if line != BEGIN && line != END && !line.bytes().all(base64) {
                    return Err(RenderError::Certificates("has a line within a certificate that is no base64"));
                }
                all.push_str(line);
                all.push('\n');
            }
            inside &= line != END;
        }
        match (all.is_empty(), inside) {
            (true, _) => Err(RenderError::Certificates("holds no `-----BEGIN CERTIFICATE-----`: it must be PEM")),
            (_, true) => Err(RenderError::Certificates("ends within a certificate")),
            _ => Ok(Self(all)),
        }
    }

    /// As PEM.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a box of Vagrant's, or its address. It is no image, and no default is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineBox(String);

impl FromStr for MachineBox {
    type Err = RenderError;

    fn from_str(text: &str) -> Result<Self, RenderError> {
        refuse_bad_path("box", text)?;
        Ok(Self(text.to_owned()))
    }
}

impl MachineBox {
    /// As typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name in Kubernetes (RFC 1123).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesName(String);

impl KubernetesName {
    /// The name of a namespace, which is also good for a label: at most 63 of `a-z0-9-`, led and ended by a letter or
    /// digit.
    pub fn label(what: &'static str, text: &str) -> Result<Self, RenderError> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let sound =
            (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-');
        if sound { Ok(Self(text.to_owned())) } else { Err(bad_name(what, text)) }
    }

    /// The name of an object: labels with dots between, at most 253 characters.
    pub fn object(what: &'static str, text: &str) -> Result<Self, RenderError> {
        let sound = text.len() <= 253 && text.split('.').all(|part| Self::label(what, part).is_ok());
        if sound { Ok(Self(text.to_owned())) } else { Err(bad_name(what, text)) }
    }

    /// As typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn bad_name(what: &'static str, text: &str) -> RenderError {
    RenderError::KubernetesName { what, text: text.chars().take(80).collect() }
}

/// How a chart takes pull secrets, which the documents that are known do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullSecretForm {
    /// As a list of names.
    Names,
    /// As a list of maps with a `name` each.
    Maps,
}

impl FromStr for PullSecretForm {
    type Err = RenderError;

    fn from_str(text: &str) -> Result<Self, RenderError> {
        one_of(text, "pull-secret-form", &[("names", Self::Names), ("maps", Self::Maps)])
    }
}

/// Takes a path as a command can name it.
pub(super) fn refuse_bad_path(what: &'static str, path: &str) -> Result<(), RenderError> {
    refuse_control(what, path)?;
    match path.len() {
        0 => Err(RenderError::Empty { what }),
        length if length > MAX_PATH => Err(RenderError::TooLong { what, limit: MAX_PATH }),
        _ => Ok(()),
    }
}

/// The value of one of some words.
pub(super) fn one_of<T: Copy>(text: &str, what: &'static str, words: &[(&'static str, T)]) -> Result<T, RenderError> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| RenderError::Choice {
        what,
        given: text.chars().take(40).collect(),
        choices: words.iter().map(|(word, _)| *word).collect(),
    })
}

/// `true` or `false`, also as `on` and `off`.
pub(super) fn switch(text: &str, what: &'static str) -> Result<bool, RenderError> {
    one_of(text, what, &[("true", true), ("false", false), ("on", true), ("off", false)])
}
