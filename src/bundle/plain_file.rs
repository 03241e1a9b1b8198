//! Files beside the output, under names that anyone who may write there can foresee.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::bundle::error::BundleError;

/// The output's name with something behind it.
pub(crate) fn beside(output: &Path, suffix: &str) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Opens a regular file; a link, pipe or device under that name is refused, neither followed nor waited for.
pub(crate) fn open(options: &mut OpenOptions, action: &'static str, path: &Path) -> Result<File, BundleError> {
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        std::os::unix::fs::OpenOptionsExt::custom_flags(options, flags);
    }
    let refused = |what| Err(BundleError::NotAFile { path: path.to_owned(), what });
    let is_link = || fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    let file = match options.open(path) {
        Ok(file) => file,
        Err(_) if is_link() => return refused("a symbolic link"),
        Err(error) => return Err(BundleError::io(action, path)(error)),
    };
    let metadata = file.metadata().map_err(BundleError::io("look at", path))?;
    if metadata.is_file() { Ok(file) } else { refused("a folder, device, pipe or socket") }
}

/// Opens a file for reading, links followed. A pipe is not waited for: opening one blocks until somebody writes.
pub(crate) fn open_at_once(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags);
    }
    options.read(true).open(path)
}

/// Whether the file that was opened is still the one under that name.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        file.metadata().map(place).ok() == fs::symlink_metadata(path).map(place).ok()
    }
    #[cfg(windows)]
    {
        let opened = file.try_clone().and_then(same_file::Handle::from_file);
        let named = same_file::Handle::from_path(path);
        matches!((opened, named), (Ok(opened), Ok(named)) if opened == named)
    }
}

/// Drops what the system remembers of a file that is on the disk, so that reading it asks the disk.
#[cfg(target_os = "linux")]
pub(crate) fn forget(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn forget(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_renamed_or_removed_is_not_at_its_name_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let (partial, output) = (folder.path().join("out.partial"), folder.path().join("out"));
        let file = File::create(&partial).unwrap();
        assert!(is_at(&file, &partial));
        fs::rename(&partial, &output).unwrap();
        assert!(!is_at(&file, &partial));
        // Wine forgets on which disk an open file is when that is renamed.
        assert!(is_at(&file, &output) || cfg!(windows));
        File::create(&partial).unwrap();
        assert!(!is_at(&file, &partial), "a new file of that name is another one");
        fs::remove_file(&output).unwrap();
        // Wine keeps the name of a removed file until nobody has it open.
        assert!(!is_at(&file, &output) || cfg!(windows));
    }
}
