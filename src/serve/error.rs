//! Why a server cannot start, or take over new settings.

use std::io;
use std::path::PathBuf;

use crate::failure::{ErrorClass, Explain};

/// Why bundles cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, not this machine's, or not allowed.
    #[error("failed to listen on `{address}`")]
    Listen {
        /// What was asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file of certificates, keys or logins cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be written: the log, or the certificate that was made.
    #[error("failed to write `{}`", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate or key that cannot be used.
    #[error("`{}` cannot be used for TLS: {what}", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A file where a certificate of our own would be kept, which somebody else made.
    #[error("`{}` was not made by octobundle, which will not replace it", .0.display())]
    Foreign(PathBuf),
    /// A name of the server that no certificate can hold.
    #[error("`{0}` cannot stand in a certificate")]
    Name(String),
    /// A path that systemd would not read as it is meant.
    #[error("`{}` cannot stand in a unit of systemd: {what}", path.display())]
    Unit {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A line of the htpasswd file that is no login, or not by bcrypt.
    #[error("`{}` line {line}: {what}", path.display())]
    Htpasswd {
        /// Which file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// An htpasswd file that lets nobody in.
    #[error("`{}` has no logins", .0.display())]
    NoLogins(PathBuf),
    /// Nowhere to listen.
    #[error("systemd passed no socket that can be listened on")]
    NoSockets,
}

impl Explain for ServeError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => ErrorClass::Locked,
            Self::Listen { .. } => ErrorClass::Network,
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorClass::NotFound,
            Self::Read { .. } | Self::Write { .. } => ErrorClass::Disk,
            Self::Certificate { .. } | Self::Foreign(_) | Self::Htpasswd { .. } | Self::NoLogins(_) => {
                ErrorClass::Input
            }
            Self::NoSockets | Self::Name(_) | Self::Unit { .. } => ErrorClass::Usage,
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Listen { source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => {
                    "another program listens there; choose another port: `--listen 127.0.0.1:5001`".into()
                }
                io::ErrorKind::AddrNotAvailable => {
                    "name an address of this machine, or all of them: `--listen 0.0.0.0:5000`".into()
                }
                io::ErrorKind::PermissionDenied => "ports below 1024 are for root; choose one above".into(),
                _ => "name an address and a port: `--listen 127.0.0.1:5000`".into(),
            },
            Self::Read { .. } => "check the path, and that this user may read it".into(),
            Self::Write { .. } => "choose a place where this user may write".into(),
            Self::Certificate { .. } => {
                "give PEM files: `--cert` with the server's certificate and those above it, `--key` with its key".into()
            }
            Self::Foreign(_) => {
                "use it with `--cert` and `--key` instead of `--self-signed`, or choose another `--tls-folder`".into()
            }
            Self::Name(_) => {
                "call this machine by another `--name`, or give a certificate of your own: `--cert FILE --key FILE`"
                    .into()
            }
            Self::Unit { .. } => "give the file another name, or reach it by a link that has one".into(),
            Self::Htpasswd { .. } | Self::NoLogins(_) => "write it with `htpasswd -B FILE USER`".into(),
            Self::NoSockets => "start it by its socket unit, see `octobundle serve --systemd`".into(),
        })
    }
}
