//! Small files that appear under their name whole or not at all.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use tempfile::Builder;

/// Who may read a new file, and run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Its owner alone: mode 0600, from the file's first moment.
    Owner,
    /// Whoever the process's umask lets.
    Umask,
    /// Everybody, whatever the umask: mode 0644.
    Everybody,
    /// Its owner alone may read and run it: mode 0700.
    OwnerProgram,
    /// Everybody may read and run it, whatever the umask: mode 0755.
    Program,
}

impl Readers {
    /// The mode that a new file is made with. The umask takes bits away from it.
    fn mode(self) -> u32 {
        match self {
            Self::Umask => 0o666,
            Self::Owner | Self::Everybody => 0o600,
            Self::OwnerProgram | Self::Program => 0o700,
        }
    }

    /// The mode that it gets afterwards, past the umask.
    fn exact_mode(self) -> Option<u32> {
        match self {
            Self::Everybody => Some(0o644),
            Self::Program => Some(0o755),
            Self::Owner | Self::Umask | Self::OwnerProgram => None,
        }
    }
}

/// The folder that a file stands in; the current one for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes `path` in one step, in place of what stands there; a link is replaced, not followed. It is written under a
/// name that nobody can foresee, synced, then renamed.
pub fn write_whole(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    write_by(&mut Builder::new(), path, content, readers)
}

/// The same by way of `partial`, a name in the same folder: what a killed run left under it is taken away, so that runs
/// that exclude each other leave no litter.
pub fn write_whole_by(partial: &Path, path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    match fs::remove_file(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let name = partial.file_name().unwrap_or_default();
    write_by(Builder::new().prefix(name).rand_bytes(0), path, content, readers)
}

fn write_by(builder: &mut Builder<'_, '_>, path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(readers.mode()));
    #[cfg(not(unix))]
    let _ = (readers.mode(), readers.exact_mode());
    let mut file = builder.tempfile_in(folder_of(path))?;
    file.write_all(content)?;
    #[cfg(unix)]
    if let Some(mode) = readers.exact_mode() {
        file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let partial = folder.path().join("file.partial");
        write_whole(&path, b"a longer first text", Readers::Umask).unwrap();
        fs::write(&partial, b"what a killed run left, which is longer still").unwrap();
        write_whole_by(&partial, &path, b"second", Readers::Umask).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the file itself stays");
    }

    #[test]
    fn where_nothing_can_be_written_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir_all(path.join("inner")).unwrap();
        assert!(write_whole(&path, b"text", Readers::Owner).is_err(), "a folder is not replaced");
        assert!(write_whole_by(&path, &folder.path().join("new"), b"text", Readers::Owner).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn sec_47_and_48_the_readers_are_as_said_and_planted_links_are_not_followed() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (path, partial, victim) =
            (folder.path().join("file"), folder.path().join("file.partial"), folder.path().join("victim"));
        fs::write(&victim, b"untouched").unwrap();
        symlink(&victim, &path).unwrap();
        symlink(&victim, &partial).unwrap();
        write_whole_by(&partial, &path, b"open", Readers::Umask).unwrap();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), mode(&victim), "as any file that this process makes");
        write_whole(&path, b"mine", Readers::Owner).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read(&victim).unwrap(), b"untouched");
    }

    #[test]
    fn a_bare_name_stands_in_the_current_folder() {
        assert_eq!(folder_of(Path::new("file")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/file")), Path::new("a"));
        assert_eq!(folder_of(Path::new("/file")), Path::new("/"));
    }
}
