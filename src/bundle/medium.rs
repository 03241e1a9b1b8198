//! Puts a bundle onto a medium that is carried away: what is said to be there was read back from there.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bundle::bytes::{BundleBytes, Piece};
use crate::bundle::description::{DescribedVolume, Description, description_path, volume_name};
use crate::bundle::error::BundleError;
use crate::bundle::form::Form;
use crate::bundle::open::Bundle;
use crate::bundle::pieces::{PieceList, PieceSums, pieces_path};
use crate::bundle::plain_file::{self, beside, forget, is_at};
use crate::bundle::space::reserve;
use crate::bundle::verify::verify_bytes;
use crate::content::{folder_of, open_direct, read_exact_at, write_all_at};
use crate::oci::{Digest, Hasher};
use crate::progress::{Arrival, Event, Phase, Progress};

/// Bytes that are read and written at once.
const CHUNK: u64 = 4 * 1024 * 1024;
/// Bytes after which the medium has to have what was written. A stick's own memory is smaller than that.
const SYNC_EVERY: u64 = 16 * 1024 * 1024;
/// The end of a file's name until all of the bundle is there.
const PARTIAL: &str = ".partial";

/// A file on the medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedFile {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub digest: Digest,
}

/// A file that is to be there.
struct Target {
    name: String,
    range: Range<u64>,
    /// Its partial name, or its own one if it has that already.
    path: PathBuf,
    /// Whether an earlier run gave it its name.
    named: bool,
}

impl Target {
    fn new(folder: &Path, name: String, range: Range<u64>) -> Self {
        let own = folder.join(&name);
        let named = own.symlink_metadata().is_ok();
        Self { name, range, path: if named { own } else { beside(&own, PARTIAL) }, named }
    }

    fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn taken(&self) -> BundleError {
        BundleError::TakenOnMedium(self.path.clone())
    }
}

/// How far what was read back is known to come from the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadBack {
    /// The system was passed by: every byte came from the medium.
    Direct,
    /// The system was asked to forget what it remembers, which it need not have done.
    Forgotten,
}

/// A bundle that is on a medium, whole and read back, under partial names yet where no earlier run gave it its own.
pub struct OnMedium {
    folder: PathBuf,
    targets: Vec<Target>,
    files: Vec<CopiedFile>,
    pieces: Option<PieceList>,
    read_back: ReadBack,
    // They hold the locks.
    _open: Vec<File>,
}

impl OnMedium {
    /// Copies a bundle into `folder`, in this form, or cut as it is. What an earlier run wrote is compared and kept; a file
    /// of the bundle's name with other content is left alone and ends the copy. Bytes are told once they are on the medium.
    /// Then all of it is read back, past what the system remembers of it. Where there is no room for it and for `beside`
    /// bytes more, nothing is written.
    pub fn copy(
        bundle: &Bundle,
        name: &str,
        folder: &Path,
        form: Option<Form>,
        beside: u64,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<Self, BundleError> {
        let targets = targets(bundle, name, folder, form)?;
        let open = targets.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        take_room(&targets, &open, beside)?;
        let (id, total) = (bundle.layout().id(), bundle.layout().total());
        progress.report(Event::Planned { images: bundle.lock().images.len(), blobs: 1, bytes: total });
        progress.report(Event::Phase(Phase::Copying));
        progress.report(Event::BlobStarted { digest: id, size: total, image: name.to_owned() });
        let (mut files, mut pieces) = (Vec::new(), PieceSums::of(total));
        for (target, file) in targets.iter().zip(&open) {
            let tell = |at: u64| progress.report(Event::BlobAt { digest: id, position: target.range.start + at });
            let digest = write(bundle.bytes(), target, file, &mut pieces, &tell)?;
            files.push(CopiedFile { name: target.name.clone(), size: target.size(), digest });
        }
        progress.report(Event::BlobDone { digest: id, size: total, arrival: Arrival::Moved });
        let read_back = read_back(bundle, &targets, &open, threads, progress)?;
        let pieces = PieceList::new(bundle.layout(), pieces.map(PieceSums::finish));
        Ok(Self { folder: folder.to_owned(), targets, files, pieces, read_back, _open: open })
    }

    /// How it was read back.
    pub fn read_back(&self) -> ReadBack {
        self.read_back
    }

    /// The list of its pieces, with its name; none for a bundle of one piece.
    pub fn pieces(&self, name: &str) -> Option<(String, String)> {
        let file = pieces_path(Path::new(name)).to_string_lossy().into_owned();
        self.pieces.as_ref().map(|pieces| (file, pieces.to_text()))
    }

    /// What describes the volumes, with its name; none if the bundle is one file there.
    pub fn description(&self, bundle: &Bundle, name: &str) -> Result<Option<(String, String)>, BundleError> {
        if self.files.iter().any(|file| file.name == name) {
            return Ok(None);
        }
        let describe = |(target, file): (&Target, &CopiedFile)| {
            DescribedVolume::of(file.name.clone(), file.digest, bundle.bytes(), target.range.clone())
        };
        let volumes = self.targets.iter().zip(&self.files).map(describe).collect::<Result<Vec<_>, BundleError>>()?;
        let description = Description::new(bundle.layout().id(), bundle.lock().release.clone(), volumes);
        let file = description_path(Path::new(name));
        Ok(Some((file.to_string_lossy().into_owned(), description.to_text())))
    }

    /// The bundle's files.
    pub fn files(&self) -> &[CopiedFile] {
        &self.files
    }

    /// Gives the files their names. When this returns, the medium knows all of them.
    pub fn finish(self) -> Result<(), BundleError> {
        for target in self.targets.iter().filter(|target| !target.named) {
            let path = self.folder.join(&target.name);
            fs::rename(&target.path, &path).map_err(BundleError::io("give its final name to", &path))?;
        }
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(BundleError::io("write", &self.folder))
    }
}

/// The files that the bundle will be in.
fn targets(bundle: &Bundle, name: &str, folder: &Path, form: Option<Form>) -> Result<Vec<Target>, BundleError> {
    let target = |name: String, range| Target::new(folder, name, range);
    let total = bundle.layout().total();
    let volumes = bundle.bytes().volumes();
    let lengths = match form {
        None if volumes.is_empty() => return Ok(vec![target(name.to_owned(), 0..total)]),
        None => volumes.into_iter().map(|(_, range)| range.end - range.start).collect(),
        Some(form) => form.lengths(total)?,
    };
    if form == Some(Form::OneFile) {
        return Ok(vec![target(name.to_owned(), 0..total)]);
    }
    let mut from = 0;
    let volume = |(number, length)| {
        from += length;
        target(volume_name(name, number), from - length..from)
    };
    Ok((1..).zip(lengths).map(volume).collect())
}

/// Takes the room of what is not there yet.
fn take_room(targets: &[Target], files: &[File], beside: u64) -> Result<(), BundleError> {
    let fresh: Vec<_> = targets.iter().zip(files).filter(|(target, _)| !target.named).collect();
    if fresh.is_empty() { Ok(()) } else { reserve(&joined(&fresh)?, beside) }
}

/// Files on the medium as one.
fn joined(files: &[(&Target, &File)]) -> Result<BundleBytes, BundleError> {
    let piece = |(target, file): &(&Target, &File)| {
        let file = file.try_clone().map_err(BundleError::io("open", &target.path))?;
        Ok(Piece::new(target.path.clone(), Arc::new(file), target.size()))
    };
    let pieces = files.iter().map(piece).collect::<Result<Vec<_>, BundleError>>()?;
    Ok(BundleBytes::joined(files[0].0.path.clone(), pieces, files.len() > 1))
}

/// The same, read past the system; none where a file system cannot do that.
fn joined_directly(files: &[(&Target, &File)]) -> Option<BundleBytes> {
    let piece = |(target, file): &(&Target, &File)| {
        let direct = open_direct(&target.path).filter(|_| is_at(file, &target.path))?;
        Some(Piece::direct(target.path.clone(), direct.into(), target.size()))
    };
    let pieces = files.iter().map(piece).collect::<Option<Vec<_>>>()?;
    Some(BundleBytes::joined(files[0].0.path.clone(), pieces, files.len() > 1))
}

fn open(target: &Target) -> Result<File, BundleError> {
    let (mut options, path) = (OpenOptions::new(), &target.path);
    options.read(true);
    if target.named {
        let file = plain_file::open(&mut options, "open", path)?;
        let length = file.metadata().map_err(BundleError::io("look at", path))?.len();
        return if length == target.size() { Ok(file) } else { Err(target.taken()) };
    }
    let file = plain_file::open(options.write(true).create(true).truncate(false), "write", path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BundleError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(BundleError::io("lock", path)(error)),
    }
}

/// Writes what is not there yet and gives the digest of all of it. `tell` hears how much the medium has.
fn write(
    from: &BundleBytes,
    target: &Target,
    file: &File,
    pieces: &mut Option<PieceSums>,
    tell: &dyn Fn(u64),
) -> Result<Digest, BundleError> {
    let size = target.size();
    let mut hasher = Hasher::new();
    let mut comparing = true;
    let mut synced = 0;
    while hasher.length() < size {
        let at = hasher.length();
        let length = (size - at).min(CHUNK);
        let chunk = from.read(target.range.start + at, length)?;
        comparing = comparing && holds(file, &chunk, at);
        match (comparing, target.named) {
            (true, _) => {}
            (false, true) => return Err(target.taken()),
            (false, false) => write_all_at(file, &chunk, at).map_err(BundleError::io("write", &target.path))?,
        }
        hasher.update(&chunk);
        if let Some(pieces) = pieces {
            pieces.update(&chunk);
        }
        if hasher.length() - synced >= SYNC_EVERY || hasher.length() == size {
            file.sync_data().map_err(BundleError::io("write", &target.path))?;
            synced = hasher.length();
            tell(synced);
        }
    }
    if !target.named {
        end_at(file, size).and_then(|()| file.sync_all()).map_err(BundleError::io("write", &target.path))?;
    }
    Ok(hasher.digest())
}

/// Cuts off what an earlier run wrote beyond the end. Some file systems refuse to be asked where nothing is to be cut.
fn end_at(file: &File, size: u64) -> io::Result<()> {
    if file.metadata()?.len() == size { Ok(()) } else { file.set_len(size) }
}

/// Whether an earlier run wrote this already. What cannot be read is written again.
fn holds(file: &File, chunk: &[u8], at: u64) -> bool {
    let mut found = vec![0; chunk.len()];
    read_exact_at(file, &mut found, at).is_ok() && found == chunk
}

/// Reads the whole bundle from the medium: past the system where that can be, else after it was told to forget.
fn read_back(
    bundle: &Bundle,
    targets: &[Target],
    files: &[File],
    threads: usize,
    progress: &dyn Progress,
) -> Result<ReadBack, BundleError> {
    for (target, file) in targets.iter().zip(files) {
        forget(file).map_err(BundleError::io("read back", &target.path))?;
    }
    let all: Vec<_> = targets.iter().zip(files).collect();
    let (copy, how) = match joined_directly(&all) {
        Some(copy) => (copy, ReadBack::Direct),
        None => (joined(&all)?, ReadBack::Forgotten),
    };
    let verdict = verify_bytes(&copy, threads, progress)?;
    if verdict.findings.is_empty() && verdict.checksums.as_ref() == Some(bundle.checksums()) {
        return Ok(how);
    }
    // Either the source was damaged, or the medium keeps other bytes than it was given. Both are begun anew.
    for target in targets.iter().filter(|target| !target.named) {
        fs::remove_file(&target.path).map_err(BundleError::io("remove", &target.path))?;
    }
    let source = bundle.verify(threads, progress)?;
    if source.findings.is_empty() {
        return Err(BundleError::BadMedium { folder: folder_of(copy.path()).to_owned() });
    }
    Err(bundle.bytes().damaged(format!("{} things are wrong with it", source.findings.len())))
}
