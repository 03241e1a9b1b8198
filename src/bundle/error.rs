//! What can go wrong with a bundle on disk.

use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{ErrorClass, Explain, typed};
use crate::images::LockError;
use crate::oci::Digest;

/// Why a bundle could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The system refused.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The output is there already.
    #[error("`{}` exists already", .0.display())]
    Exists(PathBuf),
    /// The output's name belongs to something that is no file.
    #[error("`{}` is {what}, not a regular file", path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// Another run writes the same output.
    #[error("another octobundle is writing `{}`", .0.display())]
    InUse(PathBuf),
    /// Too little space.
    #[error("the bundle needs {needed} bytes in `{}`, {free} bytes are free", folder.display())]
    NoSpace {
        /// Where.
        folder: PathBuf,
        /// Bytes still to be allocated.
        needed: u64,
        /// Bytes free for this user.
        free: u64,
    },
    /// The file system, or a limit on this process, holds no file that large.
    #[error("the bundle is {size} bytes, but {holder} holds no file of more than {limit} bytes")]
    TooLarge {
        /// The bundle's length.
        size: u64,
        /// The largest file.
        limit: u64,
        /// What sets the limit.
        holder: String,
    },
    /// Something else than a bundle.
    #[error("`{}` is no octobundle bundle: it looks like {looks_like}", path.display())]
    NotABundle {
        /// Which file.
        path: PathBuf,
        /// What its first bytes say.
        looks_like: String,
    },
    /// The partial file of a pull that has not ended.
    #[error("`{}` is what a pull has so far, not a bundle", .0.display())]
    Unfinished(PathBuf),
    /// A bundle whose parts disagree.
    #[error("`{}` is damaged: {what}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was seen first.
        what: String,
    },
    /// The lock inside cannot be used.
    #[error("`{}` holds a lock that cannot be used", path.display())]
    Lock {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: LockError,
    },
    /// Content that this bundle was not made for.
    #[error("the bundle has no place for {0}")]
    Unknown(Digest),
    /// Sealing was asked for too early.
    #[error("{0} layers are not complete yet")]
    Incomplete(usize),
}

impl BundleError {
    /// Adds what was tried on which file to the system's words.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

impl Explain for BundleError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorClass::NotFound,
            Self::Io { .. } | Self::NoSpace { .. } | Self::TooLarge { .. } => ErrorClass::Disk,
            Self::Exists(_) | Self::NotAFile { .. } => ErrorClass::Usage,
            Self::InUse(_) => ErrorClass::Locked,
            Self::NotABundle { .. } => ErrorClass::Input,
            Self::Damaged { .. } | Self::Unfinished(_) => ErrorClass::Integrity,
            Self::Lock { source, .. } => source.class(),
            Self::Unknown(_) | Self::Incomplete(_) => ErrorClass::Other,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Io { source, path, .. } => match source.kind() {
                io::ErrorKind::NotFound => Some("check the path, or make the folder first".into()),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some("choose a place where you may write and read".into())
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(format!(
                    "make room where `{}` is and run the same command again: it continues",
                    path.display()
                )),
                _ => Some(
                    "what was written is kept; run the same command again, and if it repeats, try another disk".into(),
                ),
            },
            Self::Exists(path) => {
                Some(format!("add `--replace`, or look at it first: `octobundle inspect {}`", typed(path)))
            }
            Self::NotAFile { .. } => Some("name a file instead".into()),
            Self::InUse(_) => Some("wait for it to end, or name another file with `-o FILE`".into()),
            Self::NoSpace { .. } => Some("make room, or name another place with `-o FILE`".into()),
            Self::TooLarge { .. } => Some("write it to ext4, XFS, NTFS or exFAT with `-o FILE`".into()),
            Self::NotABundle { .. } => Some("give the file that `octobundle pull -o` wrote".into()),
            Self::Unfinished(_) => Some("run the same `octobundle pull` again: it continues".into()),
            Self::Damaged { path, .. } => {
                Some(format!("see all that is wrong with `octobundle verify {}`, then copy it again", typed(path)))
            }
            Self::Lock { source, .. } => source.help(),
            Self::Unknown(_) | Self::Incomplete(_) => None,
        }
    }
}
