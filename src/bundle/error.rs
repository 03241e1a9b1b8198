//! What can go wrong with a bundle on disk.

use std::io;
use std::path::{Path, PathBuf};

use crate::bundle::volume_fault::{VolumeFault, VolumeProblem};
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
    /// Volumes that cannot be used as they are.
    #[error("`{}`: {}", bundle.display(), faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Volumes {
        /// The bundle's name.
        bundle: PathBuf,
        /// What is wrong with which.
        faults: Vec<VolumeFault>,
    },
    /// More volumes than their names can count.
    #[error("the bundle would be cut into {count} volumes, and their names count to 999")]
    TooManyVolumes {
        /// How many.
        count: u64,
        /// The length with which 999 are enough.
        least: u64,
    },
    /// A description of volumes that cannot be used.
    #[error("`{}` does not describe volumes: {why}", path.display())]
    Description {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A description of other volumes than those that are there.
    #[error("`{}` describes bundle {}, but the volumes are {} ({release})", path.display(), described.short(), found.short())]
    OtherDescription {
        /// Which file.
        path: PathBuf,
        /// The bundle that it describes.
        described: Digest,
        /// The bundle that the first volume begins.
        found: Digest,
        /// The release in that bundle.
        release: String,
    },
    /// More than one bundle where one is wanted.
    #[error("`{}` stands for more than one bundle: {}", place.display(), names.join(", "))]
    SeveralBundles {
        /// What was typed.
        place: PathBuf,
        /// What was found.
        names: Vec<String>,
    },
    /// A folder without a bundle.
    #[error("`{}` holds no bundle", .0.display())]
    NothingHere(PathBuf),
    /// Content that this bundle was not made for.
    #[error("the bundle has no place for {0}")]
    Unknown(Digest),
    /// A delta without the bundle that has the rest.
    #[error("{0} is left out of the delta and in none of the bundles given with it")]
    LeftOut(Digest),
    /// A medium that keeps other bytes than it is given.
    #[error("what is in `{}` gives back other bytes than it was given", folder.display())]
    BadMedium {
        /// The folder on it.
        folder: PathBuf,
    },
    /// Where a signature is to be written stands something else.
    #[error("`{}` is there and is no signature", .0.display())]
    NoSignature(PathBuf),
    /// A medium has another file under the name that a copy is to get.
    #[error("`{}` is on the medium already and holds something else", .0.display())]
    TakenOnMedium(PathBuf),
    /// A bundle whose list of contents cannot be read, where no copy has it either.
    #[error("what belongs into `{}` is not known: its `octobundle.json` is damaged, and nothing given with it has it", .0.display())]
    HeadLost(PathBuf),
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

/// The next step for volumes that cannot be used.
fn help_with(bundle: &Path, faults: &[VolumeFault]) -> String {
    let names = |wanted: fn(&VolumeProblem) -> bool| {
        let names: Vec<&str> =
            faults.iter().filter(|fault| wanted(&fault.problem)).map(|fault| fault.name.as_str()).collect();
        names.join(", ")
    };
    if faults.iter().all(|fault| fault.problem.is_name()) {
        return "give the files their names back; where that cannot be, name all volumes one by one in the command, and \
                their names do not matter"
            .into();
    }
    if faults.iter().all(|fault| matches!(fault.problem, VolumeProblem::Extra { .. })) {
        return "move the files away that are too many".into();
    }
    if faults.iter().all(|fault| fault.problem.is_absence()) {
        return format!("bring {}, or say where to look with `--volumes-in FOLDER`", names(VolumeProblem::is_absence));
    }
    format!(
        "copy {} again from where the bundle was made, or mend it with what another place has: `octobundle repair {} \
         --from OTHER`",
        names(|problem| !problem.is_name()),
        typed(bundle)
    )
}

impl Explain for BundleError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorClass::NotFound,
            Self::BadMedium { .. } | Self::Io { .. } | Self::NoSpace { .. } | Self::TooLarge { .. } => ErrorClass::Disk,
            Self::Exists(_)
            | Self::TakenOnMedium(_)
            | Self::NoSignature(_)
            | Self::NotAFile { .. }
            | Self::SeveralBundles { .. }
            | Self::TooManyVolumes { .. } => ErrorClass::Usage,
            Self::InUse(_) => ErrorClass::Locked,
            Self::NotABundle { .. } => ErrorClass::Input,
            Self::Volumes { faults, .. } if faults.iter().all(|fault| fault.problem.is_absence()) => {
                ErrorClass::NotFound
            }
            Self::Damaged { .. }
            | Self::HeadLost(_)
            | Self::Unfinished(_)
            | Self::Volumes { .. }
            | Self::Description { .. }
            | Self::OtherDescription { .. } => ErrorClass::Integrity,
            Self::NothingHere(_) | Self::LeftOut(_) => ErrorClass::NotFound,
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
            Self::NoSignature(_) => Some("name another file with `-o FILE`".into()),
            Self::TakenOnMedium(_) => Some("copy into an empty folder of the medium, or remove that file first".into()),
            Self::NotAFile { .. } => Some("name a file instead".into()),
            Self::InUse(_) => Some("wait for it to end (`--lock-wait 1h`), or name another file with `-o FILE`".into()),
            Self::NoSpace { .. } => Some("make room, or name another place".into()),
            Self::TooLarge { .. } => {
                Some("cut it with `--volume-size fat32`, or write it to ext4, XFS, NTFS or exFAT".into())
            }
            Self::TooManyVolumes { least, .. } => {
                Some(format!("choose a larger `--volume-size`: at least {}MiB", least.div_ceil(1 << 20)))
            }
            Self::BadMedium { .. } => Some("the medium is broken, or smaller than it says: take another one".into()),
            Self::NotABundle { .. } => Some("give the file that `octobundle pull -o` wrote".into()),
            Self::Unfinished(_) => Some("run the same `octobundle pull` again: it continues".into()),
            Self::Damaged { path, .. } => {
                Some(format!("see all that is wrong with `octobundle verify {}`, then copy it again", typed(path)))
            }
            Self::HeadLost(path) => {
                Some(format!("give another copy of the same bundle: `octobundle repair {} --from COPY`", typed(path)))
            }
            Self::Volumes { bundle, faults } => Some(help_with(bundle, faults)),
            Self::Description { .. } | Self::OtherDescription { .. } => {
                Some("bring the description that was written with these volumes, or name the volumes one by one".into())
            }
            Self::SeveralBundles { .. } => Some("name the one that is meant, as in `NAME.tar`".into()),
            Self::NothingHere(_) => {
                Some("name a folder that holds `NAME.tar`, or `NAME.tar.001` and the other volumes".into())
            }
            Self::Lock { source, .. } => source.help(),
            Self::LeftOut(_) => Some("name the bundle that has it with `--base OLD`".into()),
            Self::Unknown(_) | Self::Incomplete(_) => None,
        }
    }
}
