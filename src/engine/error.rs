//! What goes wrong between us and an engine.

use std::io;
use std::path::PathBuf;

use crate::engine::EngineKind;
use crate::engine::pull::{PullTrouble, is_full_disk};
use crate::failure::{ErrorClass, Explain, typed};
use crate::oci::ImageRef;

/// A place where an engine was looked for, and why it did not do.
#[derive(Debug)]
pub struct Attempt {
    /// The socket, address or command.
    pub place: String,
    /// Why.
    pub why: String,
    class: ErrorClass,
}

impl Attempt {
    pub(super) fn new(place: String, error: EngineError) -> Self {
        let class = error.class();
        // The place is told apart; what is left is the innermost cause.
        let why = match error {
            EngineError::Unreachable { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        Self { place, why, class }
    }
}

/// An engine that cannot be used, or does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No engine where one was looked for.
    #[error("no engine answers: {}", attempts.iter().map(|attempt| format!("{} ({})", attempt.place, attempt.why)).collect::<Vec<_>>().join(", "))]
    NoneAnswers {
        /// Each place and why it did not do.
        attempts: Vec<Attempt>,
    },
    /// `DOCKER_HOST` does not read as an address.
    #[error("`{text}` is no address of an engine: {reason}")]
    Address {
        /// The address, without passwords.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `DOCKER_HOST` names an engine in a way that is not spoken here.
    #[error("`{scheme}://` cannot be used: {reason}")]
    Scheme {
        /// What stands before `://`.
        scheme: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// No connection, or it broke.
    #[error("the engine at {place} cannot be reached")]
    Unreachable {
        /// Where.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// It took too long.
    #[error("the engine at {place} gave no answer to `{request}` within {seconds} s")]
    Silent {
        /// Where.
        place: String,
        /// What was asked.
        request: String,
        /// How long it had.
        seconds: u64,
    },
    /// The engine says no.
    #[error("the engine at {place} refused `{request}` with status {status}: {message}")]
    Refused {
        /// Where.
        place: String,
        /// What was asked.
        request: String,
        /// The HTTP status.
        status: u16,
        /// Its words, cut to a bound.
        message: String,
    },
    /// An answer that is none of an engine's.
    #[error("the answer of {place} to `{request}` is not an engine's: {reason}")]
    Answer {
        /// Who.
        place: String,
        /// What was asked.
        request: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The engine did not take the images.
    #[error("the engine at {place} could not load `{}`: {message}", archive.display())]
    Load {
        /// Where.
        place: String,
        /// The file.
        archive: PathBuf,
        /// Its words, cut to a bound.
        message: String,
    },
    /// The engine did not get an image from its registry.
    #[error("the engine at {place} could not fetch `{image}`: {message}")]
    Pull {
        /// Where.
        place: String,
        /// Which engine.
        kind: EngineKind,
        /// What it was asked for.
        image: Box<ImageRef>,
        /// Its words, cut to a bound.
        message: String,
    },
    /// The file to load cannot be read.
    #[error("failed to read `{}`", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No room for what it saves.
    #[error("failed to keep what the engine at {place} saves")]
    Keep {
        /// Who.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// The command is not on `PATH`.
    #[error("there is no `{program}` on PATH")]
    NoProgram {
        /// What was looked for.
        program: &'static str,
    },
    /// The command does not start.
    #[error("failed to run `{}`", program.display())]
    Start {
        /// What was run.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The command failed.
    #[error("`{command}` failed ({status}): {message}")]
    Command {
        /// What was run.
        command: String,
        /// How it ended.
        status: String,
        /// What it said, cut to a bound.
        message: String,
    },
    /// A name by digest cannot be given.
    #[error("engines give no name by digest: `{name}` has no tag")]
    NoTag {
        /// The name.
        name: Box<ImageRef>,
    },
}

impl Explain for EngineError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoneAnswers { attempts } => {
                let denied = attempts.iter().any(|attempt| attempt.class == ErrorClass::Access);
                if denied { ErrorClass::Access } else { ErrorClass::Network }
            }
            Self::Address { .. } | Self::Scheme { .. } | Self::NoTag { .. } => ErrorClass::Usage,
            Self::Unreachable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => ErrorClass::Access,
            Self::Unreachable { .. } | Self::Silent { .. } => ErrorClass::Network,
            Self::Refused { status: 404, .. } | Self::NoProgram { .. } => ErrorClass::NotFound,
            Self::Refused { status: 401 | 403, .. } => ErrorClass::Access,
            Self::Refused { message, .. } | Self::Load { message, .. } | Self::Command { message, .. } => {
                if is_full_disk(message) {
                    ErrorClass::Disk
                } else {
                    ErrorClass::Other
                }
            }
            Self::Pull { message, .. } => PullTrouble::of(message).class(),
            Self::Archive { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorClass::NotFound,
            Self::Archive { .. } | Self::Keep { .. } => ErrorClass::Disk,
            Self::Answer { .. } | Self::Start { .. } => ErrorClass::Other,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::NoneAnswers { attempts } => Some(how_to_get_an_engine(attempts)),
            Self::Address { .. } => Some("set it as in `DOCKER_HOST=unix:///var/run/docker.sock`, or unset it".into()),
            Self::Scheme { .. } => Some(
                "run octobundle on the engine's host with `DOCKER_HOST` unset, or choose the other engine: `--engine podman`"
                    .into(),
            ),
            Self::Unreachable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run it as a member of the group that owns the socket, or with `sudo`".into())
            }
            Self::Unreachable { source, .. } if was_cut(source) => {
                Some("the engine ended the connection; its log says why: `journalctl -u docker` or `journalctl -u podman`".into())
            }
            Self::Refused { message, .. } | Self::Load { message, .. } | Self::Command { message, .. }
                if is_full_disk(message) =>
            {
                Some("make room where the engine keeps its images (`docker system df`, `podman system df`); podman's socket needs room for the whole file in /var/tmp too".into())
            }
            Self::Pull { kind, image, message, .. } => Some(how_to_fetch(*kind, image, PullTrouble::of(message))),
            Self::Load { archive, .. } => {
                Some(format!("see that the file is sound: `octobundle verify {}`", typed(archive)))
            }
            Self::Keep { .. } => {
                Some("make room where the repaired bundle is written, or write it elsewhere with `-o FILE`".into())
            }
            Self::NoProgram { .. } => Some("install podman, or load into docker with `--engine docker`".into()),
            Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Refused { .. }
            | Self::Answer { .. }
            | Self::Archive { .. }
            | Self::Start { .. }
            | Self::Command { .. }
            | Self::NoTag { .. } => None,
        }
    }
}

fn was_cut(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn how_to_get_an_engine(attempts: &[Attempt]) -> String {
    if attempts.iter().any(|attempt| attempt.class == ErrorClass::Access) {
        return "a socket is there but not open to you: run it as a member of the group that owns it, or with `sudo`"
            .into();
    }
    "start docker (`systemctl start docker`) or install podman; if it listens elsewhere, set `DOCKER_HOST=unix:///PATH`"
        .into()
}

fn how_to_fetch(kind: EngineKind, image: &ImageRef, trouble: PullTrouble) -> String {
    let host = &image.repository().host;
    match (trouble, kind) {
        (PullTrouble::Disk, _) => format!("make room where the engine keeps its images: `{kind} system df`"),
        (PullTrouble::Untrusted, EngineKind::Docker) => format!(
            "put the certificate of the registry's authority at `/etc/docker/certs.d/{host}/ca.crt`; docker reads it at the next pull"
        ),
        (PullTrouble::Untrusted, EngineKind::Podman) => format!(
            "put the certificate of the registry's authority at `/etc/containers/certs.d/{host}/ca.crt`; podman reads it at the next pull"
        ),
        (PullTrouble::PlainHttp, EngineKind::Docker) => format!(
            "give the registry a certificate, or add `{host}` to `insecure-registries` of `/etc/docker/daemon.json` and restart docker"
        ),
        (PullTrouble::PlainHttp, EngineKind::Podman) => format!(
            "give the registry a certificate, or write `insecure = true` for `{host}` into a file of `/etc/containers/registries.conf.d`"
        ),
        (PullTrouble::Login, EngineKind::Docker) => format!("log in first: `docker login {host}`"),
        (PullTrouble::Login, EngineKind::Podman) => format!("log in first: `podman login {host}`"),
        (PullTrouble::Missing, _) => {
            "push the bundle to this registry, under the same path: `octobundle push BUNDLE --registry …`".into()
        }
        (PullTrouble::Platform, _) => {
            "pull the release again with this machine's platform, as in `octobundle pull … --platform linux/arm64`"
                .into()
        }
        (PullTrouble::Other, _) => format!(
            "see that this machine reaches `{host}`; the engine has proxy settings of its own (`{kind} info` shows them)"
        ),
    }
}
