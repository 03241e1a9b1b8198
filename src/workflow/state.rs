//! The file that remembers which bundles were accepted.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::content::{Readers, folder_of, write_whole};
use crate::failure::{ErrorClass, Failure};
use crate::trust::Accepted;
use crate::workflow::trust::Use;

/// Thousands of names fit in.
const MAX_STATE: u64 = 16 * 1024 * 1024;

/// What was accepted, read; nobody else changes it meanwhile if it is to be saved.
pub(super) struct State {
    path: PathBuf,
    pub(super) accepted: Accepted,
    before: Accepted,
    lock: Option<File>,
}

impl State {
    /// Reads the file; without one nothing was accepted yet. Waits for another run that changes it.
    pub(super) fn open(path: &Path, wanted: Use) -> Result<Self, Failure> {
        let lock = match wanted {
            Use::Accept => Some(locked(path)?),
            Use::Look => None,
        };
        let accepted = match read(path) {
            Ok(Some(text)) => Accepted::parse(&text)
                .map_err(|error| Failure::from(error).within(format!("`{}` cannot be used", path.display())))?,
            Ok(None) => Accepted::default(),
            Err(error) => return Err(unusable("read", path, &error)),
        };
        Ok(Self { path: path.to_owned(), before: accepted.clone(), accepted, lock })
    }

    /// Writes what was changed, in one step; does nothing for a look.
    pub(super) fn save(self) -> Result<(), Failure> {
        if self.lock.is_none() || self.accepted == self.before {
            return Ok(());
        }
        let text = self.accepted.to_text();
        write_whole(&self.path, text.as_bytes(), Readers::Owner).map_err(|error| unusable("write", &self.path, &error))
    }
}

/// The folder, made if need be for its owner alone, and in it a file that is locked as long as it is open.
fn locked(path: &Path) -> Result<File, Failure> {
    let folder = folder_of(path);
    let mut maker = DirBuilder::new();
    maker.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut maker, 0o700);
    maker.create(folder).map_err(|error| unusable("make the folder of", path, &error))?;
    let name = path.with_extension("lock");
    let lock = open_own(OpenOptions::new().create(true).truncate(false).write(true), &name);
    let lock = lock.and_then(|lock| lock.lock().map(|()| lock));
    lock.map_err(|error| unusable("lock", &name, &error))
}

/// A file of this user's, and no link to another.
fn open_own(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = options.mode(0o600).custom_flags(flags.bits().cast_signed()).open(path)?;
        let metadata = file.metadata()?;
        let owner = rustix::process::geteuid().as_raw();
        if !metadata.is_file() || metadata.uid() != owner || metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other("it is not a file that only this user can write"));
        }
        Ok(file)
    }
    #[cfg(not(unix))]
    options.open(path)
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match open_own(OpenOptions::new().read(true), path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(MAX_STATE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_STATE { Err(io::Error::other("it is longer than 16 MiB")) } else { Ok(Some(text)) }
}

fn unusable(action: &str, path: &Path, error: &io::Error) -> Failure {
    let text = format!("failed to {action} `{}`, which says what bundles were accepted: {error}", path.display());
    Failure::new(ErrorClass::Trust, text)
        .with_help("make it a file that this user alone can write; nothing is accepted without it")
}
