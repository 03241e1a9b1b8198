//! Rendered files on disk: each complete or not at all, with its mode, and never over another file unasked.

use std::fs;
use std::io;
use std::path::Path;

use octobundle::content::{Readers, folder_of, write_whole};
use octobundle::failure::{ErrorClass, Failure};
use octobundle::render::{FileMode, RenderedFile};

use crate::cli::input::{read_limited, usage};

/// What to say to somebody who chose a bad place.
#[derive(Clone, Copy)]
pub(crate) struct Elsewhere(pub(crate) &'static str);

/// Writes files below `folder`, which is made if it is not there. Before the first is written, all places are looked
/// at: a file that says something else is not replaced unless `replace` says so.
pub(crate) fn write_all(folder: &Path, files: &[&RenderedFile], replace: bool) -> Result<(), Failure> {
    let elsewhere = Elsewhere("choose another place with `--out DIR`");
    for file in files {
        may_write(&folder.join(file.name()), file, replace, elsewhere)?;
    }
    for file in files {
        let path = folder.join(file.name());
        make_folder(folder_of(&path)).map_err(|error| failed(&path, &error, elsewhere))?;
        write(&path, file, elsewhere)?;
    }
    Ok(())
}

/// Makes a folder and those above it. Whatever the umask, nobody else can put another script into it that root runs.
fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o755);
    builder.create(path)
}

/// Writes one file to a place of its own.
pub(crate) fn write_one(path: &Path, file: &RenderedFile, replace: bool, elsewhere: Elsewhere) -> Result<(), Failure> {
    may_write(path, file, replace, elsewhere)?;
    write(path, file, elsewhere)
}

fn may_write(path: &Path, file: &RenderedFile, replace: bool, elsewhere: Elsewhere) -> Result<(), Failure> {
    let kind = fs::symlink_metadata(path).map(|metadata| metadata.file_type()).ok();
    if kind.is_some_and(|kind| !kind.is_file() && !kind.is_symlink()) {
        let what = format!("`{}` is a folder, device, pipe or socket", path.display());
        return Err(usage(what, elsewhere.0));
    }
    if !replace && kind.is_some() && !says(path, file.content().as_bytes()) {
        let what = format!("`{}` exists and says something else", path.display());
        return Err(usage(what, &format!("add `--replace`, or {}", elsewhere.0)));
    }
    Ok(())
}

/// Whether a regular file holds exactly this; one that is longer is not read to its end.
fn says(path: &Path, content: &[u8]) -> bool {
    path.is_file() && read_limited(path, content.len() as u64 + 1).is_ok_and(|found| found == content)
}

fn write(path: &Path, file: &RenderedFile, elsewhere: Elsewhere) -> Result<(), Failure> {
    let readers = match file.mode() {
        FileMode::Plain => Readers::Everybody,
        FileMode::Program => Readers::Program,
        FileMode::Secret => Readers::Owner,
        FileMode::SecretProgram => Readers::OwnerProgram,
    };
    write_whole(path, file.content().as_bytes(), readers).map_err(|error| failed(path, &error, elsewhere))
}

fn failed(path: &Path, error: &io::Error, elsewhere: Elsewhere) -> Failure {
    Failure::new(ErrorClass::Disk, format!("failed to write `{}`: {error}", path.display())).with_help(elsewhere.0)
}
