//! The names that a bundle takes: whether they are free, and how a finished one gets them.
//!
//! Volumes cannot appear in one step. They get their names one by one, and the description comes last, in one step:
//! until then a reader is told that the bundle is not whole. The journal says that this has begun; a run that
//! continues first takes the names back.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::bundle::bytes::BundleBytes;
use crate::bundle::description::{
    DescribedVolume, Description, MOST_VOLUMES, checksums_path, description_path, volume_path,
};
use crate::bundle::draft::ExistingOutput;
use crate::bundle::error::BundleError;
use crate::bundle::form::{BundleOutput, Form, OtherForm};
use crate::bundle::journal::{Began, Journal};
use crate::bundle::layout::Layout;
use crate::bundle::pieces::{PieceList, pieces_path};
use crate::bundle::plain_file::beside;
use crate::content::{Readers, folder_of, write_whole_by};
use crate::oci::Digest;

/// Refuses an output that cannot become a bundle, before anything is fetched for it.
pub fn check_output(output: &BundleOutput, existing: ExistingOutput) -> Result<(), BundleError> {
    let own = match output.form {
        Form::OneFile => vec![output.path.clone()],
        Form::Volumes(_) => names_of_volumes(&output.path),
    };
    let other = match (output.other_form, output.form) {
        (OtherForm::Kept, _) => vec![],
        (OtherForm::Output, Form::OneFile) => vec![volume_path(&output.path, 1), description_path(&output.path)],
        (OtherForm::Output, Form::Volumes(_)) => vec![output.path.clone()],
    };
    let ours = interrupted(output);
    for name in own.iter().chain(&other) {
        let is_ours = || ours.is_some_and(|began| was_given(output, began, name));
        if is_taken(name)? && existing == ExistingOutput::Refuse && !is_ours() {
            return Err(BundleError::Exists(name.clone()));
        }
    }
    // The description names the volumes, and is text.
    if output.form != Form::OneFile && file_name(&output.path).to_str().is_none() {
        return Err(BundleError::NotAFile { path: output.path.clone(), what: "no text, as names of volumes must be" });
    }
    check_folder(&output.path)
}

/// Every name that a bundle in volumes can have.
fn names_of_volumes(output: &Path) -> Vec<PathBuf> {
    let most = usize::try_from(MOST_VOLUMES).expect("it is small");
    let volumes = (1..=most).map(|number| volume_path(output, number));
    [description_path(output), checksums_path(output)].into_iter().chain(volumes).collect()
}

/// Whether a file stands under a name. Anything else there is refused.
fn is_taken(name: &Path) -> Result<bool, BundleError> {
    let kind = match fs::symlink_metadata(name) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(BundleError::io("look at", name)(error)),
    };
    let what = match kind {
        kind if kind.is_file() => return Ok(true),
        kind if kind.is_dir() => "a folder",
        kind if kind.is_symlink() => "a symbolic link",
        _ => "a device, pipe or socket",
    };
    Err(BundleError::NotAFile { path: name.to_owned(), what })
}

fn check_folder(output: &Path) -> Result<(), BundleError> {
    let folder = folder_of(output);
    let metadata = fs::metadata(folder).map_err(BundleError::io("find the folder", folder))?;
    if !metadata.is_dir() || output.file_name().is_none() {
        return Err(BundleError::NotAFile { path: output.to_owned(), what: "no name for a file" });
    }
    #[cfg(unix)]
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK)
        .map_err(|error| BundleError::io("write into", folder)(error.into()))?;
    Ok(())
}

/// Where an output's partial files are, or begin.
pub(crate) fn partial_of(output: &Path) -> PathBuf {
    beside(output, ".partial")
}

/// Where the journal of partial files is.
pub(crate) fn journal_of(partial: &Path) -> PathBuf {
    beside(partial, ".journal")
}

/// What a run was writing that was stopped while it gave volumes their names.
fn interrupted(output: &BundleOutput) -> Option<Began> {
    let began = Journal::naming(&journal_of(&partial_of(&output.path)))?;
    let described = Description::read(&description_path(&output.path)).ok().map(|description| description.bundle);
    (began.form == output.form && described != Some(began.id)).then_some(began)
}

/// Whether a run that was stopped while it gave names has given this one.
fn was_given(output: &BundleOutput, began: Began, name: &Path) -> bool {
    let partial = partial_of(&output.path);
    let count = began.form.lengths(began.length).map_or(0, |lengths| lengths.len());
    let volume = |index| {
        // What was renamed is not under its partial name any more.
        name == began.form.path(&output.path, index) && !began.form.path(&partial, index).exists()
    };
    name == checksums_path(&output.path) || (0..count).any(volume)
}

/// Takes back the names that a run has given which was stopped before it could give the last one.
pub(crate) fn take_back(output: &BundleOutput) -> Result<(), BundleError> {
    let Some(began) = interrupted(output) else {
        return Ok(());
    };
    let partial = partial_of(&output.path);
    for index in 0..began.form.lengths(began.length)?.len() {
        let (name, own) = (began.form.path(&output.path, index), began.form.path(&partial, index));
        if is_taken(&name)? && !is_taken(&own)? {
            rename(&name, &own, ExistingOutput::Refuse)?;
        }
    }
    Ok(())
}

/// Puts the list of pieces beside the bundle that is about to get its name. A bundle of one piece has none.
pub(crate) fn name_pieces(
    output: &BundleOutput,
    list: Option<PieceList>,
    existing: ExistingOutput,
) -> Result<(), BundleError> {
    match (list, existing) {
        (Some(list), _) => write_small(&output.path, &pieces_path(&output.path), list.to_text().as_bytes()),
        (None, ExistingOutput::Replace) => remove(&pieces_path(&output.path)),
        (None, ExistingOutput::Refuse) => Ok(()),
    }
}

/// Gives one file its name, with its checksum beside it.
pub(crate) fn name_file(output: &BundleOutput, sha256: &Digest, existing: ExistingOutput) -> Result<(), BundleError> {
    let (checksum, partial) = (beside(&output.path, ".sha256"), beside(&output.path, ".sha256.partial"));
    let line = checksum_line(sha256, file_name(&output.path));
    write_whole_by(&partial, &checksum, &line, Readers::Umask).map_err(BundleError::io("write", &checksum))?;
    rename(&partial_of(&output.path), &output.path, existing)?;
    if output.other_form == OtherForm::Output && existing == ExistingOutput::Replace {
        remove_volumes(&output.path, 0)?;
    }
    sync_folder(&output.path)
}

/// Gives volumes their names, then writes their checksums, then what describes them.
pub(crate) fn name_volumes(
    output: &BundleOutput,
    bytes: &BundleBytes,
    layout: &Layout,
    digests: &[Digest],
    existing: ExistingOutput,
) -> Result<(), BundleError> {
    let partial = partial_of(&output.path);
    let description = describe(output, bytes, layout, digests)?;
    for index in 0..bytes.pieces().len() {
        rename(&output.form.path(&partial, index), &output.form.path(&output.path, index), existing)?;
    }
    if existing == ExistingOutput::Replace {
        remove_behind(&output.path, bytes.pieces().len())?;
    }
    let lines: Vec<u8> = (0..)
        .zip(digests)
        .flat_map(|(index, digest)| checksum_line(digest, file_name(&output.form.path(&output.path, index))))
        .collect();
    write_small(&output.path, &checksums_path(&output.path), &lines)?;
    // From here on the bundle is there.
    write_small(&output.path, &description_path(&output.path), description.to_text().as_bytes())?;
    if output.other_form == OtherForm::Output && existing == ExistingOutput::Replace {
        let checksum = beside(&output.path, ".sha256");
        // Without `.tar` in the bundle's name it is the very file written above.
        if checksum != checksums_path(&output.path) {
            remove(&checksum)?;
        }
        remove(&output.path)?;
    }
    sync_folder(&output.path)
}

fn write_small(output: &Path, path: &Path, text: &[u8]) -> Result<(), BundleError> {
    let partial = beside(output, ".partial.text");
    write_whole_by(&partial, path, text, Readers::Umask).map_err(BundleError::io("write", path))
}

fn describe(
    output: &BundleOutput,
    bytes: &BundleBytes,
    layout: &Layout,
    digests: &[Digest],
) -> Result<Description, BundleError> {
    let mut volumes = Vec::new();
    for (index, (piece, digest)) in bytes.pieces().iter().zip(digests).enumerate() {
        let path = output.form.path(&output.path, index);
        let name = file_name(&path).to_string_lossy().into_owned();
        volumes.push(DescribedVolume::of(name, *digest, bytes, piece.range())?);
    }
    Ok(Description::new(layout.id(), layout.lock().release.clone(), volumes))
}

/// Takes away all that a bundle in volumes has, the description first.
fn remove_volumes(output: &Path, from: usize) -> Result<(), BundleError> {
    remove(&description_path(output))?;
    remove_behind(output, from)?;
    let checksums = checksums_path(output);
    // Without `.tar` in its name a single file's checksum has the same name.
    if checksums == beside(output, ".sha256") { Ok(()) } else { remove(&checksums) }
}

/// Takes away the volumes with higher numbers, which an earlier bundle left.
fn remove_behind(output: &Path, count: usize) -> Result<(), BundleError> {
    let most = usize::try_from(MOST_VOLUMES).expect("it is small");
    (count + 1..=most).try_for_each(|number| remove(&volume_path(output, number)))
}

/// Takes a file away, if it is there.
pub(crate) fn remove(file: &Path) -> Result<(), BundleError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BundleError::io("remove", file)(error)),
        _ => Ok(()),
    }
}

fn file_name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

/// Names are bytes, which need not be text. One with a line break is written in escapes behind a backslash, as
/// `sha256sum` writes and reads it.
fn checksum_line(sha256: &Digest, name: &OsStr) -> Vec<u8> {
    let name = name.as_encoded_bytes();
    let escaped = name.contains(&b'\n');
    let mut line = format!("{}{}  ", if escaped { "\\" } else { "" }, sha256.hex()).into_bytes();
    for &byte in name {
        match byte {
            b'\n' => line.extend(br"\n"),
            b'\\' if escaped => line.extend(br"\\"),
            other => line.push(other),
        }
    }
    line.push(b'\n');
    line
}

fn rename(partial: &Path, output: &Path, existing: ExistingOutput) -> Result<(), BundleError> {
    #[cfg(target_os = "linux")]
    if existing == ExistingOutput::Refuse {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, partial, CWD, output, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::EXIST) => return Err(BundleError::Exists(output.to_owned())),
            // File systems that do not know the flag; the name was looked at just before.
            Err(_) => {}
        }
    }
    let _ = existing;
    fs::rename(partial, output).map_err(BundleError::io("rename to", output))
}

/// Makes the new name survive a power cut, where that can be asked for: a folder that may be written but not read cannot
/// be opened, and some file systems of USB sticks and shares sync no folders. The bundle is whole all the same.
fn sync_folder(output: &Path) -> Result<(), BundleError> {
    #[cfg(unix)]
    {
        let folder = folder_of(output);
        match fs::File::open(folder).and_then(|folder| folder.sync_all()) {
            Err(error) if !cannot_be_asked(error.kind()) => return Err(BundleError::io("sync", folder)(error)),
            _ => {}
        }
    }
    let _ = output;
    Ok(())
}

#[cfg(unix)]
fn cannot_be_asked(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}
