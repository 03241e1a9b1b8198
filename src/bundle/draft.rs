//! A bundle being written: under a partial name, at its final offsets, resumable, sealed by a rename.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;

use crate::bundle::bytes::{BundleBytes, Piece};
use crate::bundle::earlier::Earlier;
use crate::bundle::error::BundleError;
use crate::bundle::files;
use crate::bundle::form::{BundleOutput, Form};
use crate::bundle::header::padding;
use crate::bundle::journal::{self, Began, Claims, Journal};
use crate::bundle::layout::{Layout, Member, MemberPath};
use crate::bundle::names::{check_output, journal_of, name_file, name_pieces, name_volumes, partial_of, take_back};
use crate::bundle::pieces::PieceList;
use crate::bundle::plain_file::{self, beside, forget};
use crate::bundle::running_sum::{Marks, RunningSum};
use crate::bundle::space;
use crate::bundle::verify::verify_bytes;
use crate::bundle::writer::{Disk, Writer, joined};
use crate::content::{BlobContent, ImageSink, ImageSource, Lookup, folder_of};
use crate::failure::{ErrorClass, Failure};
use crate::oci::{Descriptor, Digest, Hasher, MediaType, Repository};
use crate::progress::{Arrival, Event, Phase, Progress};

/// Bytes read at once when what is on disk is hashed.
const READ: usize = 256 * 1024;

/// What to do when the output's name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExistingOutput {
    /// Stop.
    Refuse,
    /// Put the new bundle in its place, in one step, once it is whole.
    Replace,
}

/// What to do with an earlier run's partial file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlierDraft {
    /// Keep what can be proven.
    Continue,
    /// Begin again.
    Discard,
}

/// A sealed bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256, also in the `.sha256` file beside it; none of volumes, which have their own.
    pub sha256: Option<Digest>,
    /// Its volumes; empty if it is one file.
    pub volumes: Vec<SealedVolume>,
}

/// A volume of a sealed bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedVolume {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// The bundle being written. Only one run at a time can have it.
pub struct Draft {
    shared: Arc<Shared>,
    sum: RunningSum,
    /// What a run for other images left, until what can be used of it was taken over.
    earlier: Option<Earlier>,
}

struct Shared {
    output: BundleOutput,
    partial: PathBuf,
    /// The file under the partial name, locked as long as it is open.
    lock: Arc<File>,
    bytes: BundleBytes,
    layout: Layout,
    journal: Journal,
    claims: Claims,
    marks: Arc<Marks>,
    /// Held while a piece is written: a file system lets one writer into a file at a time, and whoever waits there spins.
    turn: Mutex<()>,
    /// Where pieces are handed over to be written.
    disk: Arc<Disk>,
}

impl Draft {
    /// Begins, or continues, the bundle that `layout` describes: takes the space, writes every document and header.
    /// `documents` holds the content of the layout's documents. Where the name is taken by now and `existing` refuses
    /// that, nothing is left behind.
    pub fn open(
        output: &BundleOutput,
        layout: Layout,
        documents: &BTreeMap<Digest, Bytes>,
        (existing, earlier): (ExistingOutput, EarlierDraft),
    ) -> Result<Self, BundleError> {
        let lengths = output.form.lengths(layout.total())?;
        let (partial, aside) = (partial_of(&output.path), beside(&output.path, ".partial.old"));
        let mut lock = open_locked(&partial)?;
        take_back(output)?;
        if let Err(taken) = check_output(output, existing) {
            remove_if_empty(&lock, &partial);
            return Err(taken);
        }
        let began = Began::new(&layout, output.form);
        let resumed = match earlier {
            EarlierDraft::Continue => Journal::resume(&journal_of(&partial), began)?,
            EarlierDraft::Discard => {
                files::remove_all(&aside)?;
                None
            }
        };
        let (journal, claims) = if let Some(resumed) = resumed {
            resumed
        } else {
            let moved = earlier == EarlierDraft::Continue && Earlier::step_aside(&partial, &aside)?;
            // One file takes its lock with it; volumes leave it.
            if moved && !plain_file::is_at(&lock, &partial) {
                lock = open_locked(&partial)?;
            }
            files::remove_volumes(&partial)?;
            lock.set_len(0).map_err(BundleError::io("empty", &partial))?;
            (Journal::create(&journal_of(&partial), began)?, Claims::new())
        };
        let lock = Arc::new(lock);
        let bytes = files::open(&lock, &partial, output.form, &lengths)?;
        let mut earlier = Earlier::open(&aside)?;
        match space::reserve(&bytes, 0) {
            // What the earlier run left takes room too, and is worth less than the bundle.
            Err(BundleError::NoSpace { .. }) if earlier.is_some() => {
                earlier = None;
                files::remove_all(&aside)?;
                space::reserve(&bytes, 0)?;
            }
            reserved => reserved?,
        }
        write_small(&bytes, &layout, documents)?;
        let marks = Arc::new(Marks::new(layout.layers().len()));
        let sum = RunningSum::follow(bytes.clone(), &layout, marks.clone())
            .map_err(BundleError::io("start hashing", &partial))?;
        let output = output.clone();
        let (turn, disk) = (Mutex::default(), Disk::new());
        let shared = Shared { output, partial, lock, bytes, layout, journal, claims, marks, turn, disk };
        Ok(Self { shared: Arc::new(shared), sum, earlier })
    }

    /// The layers that earlier runs left whole, read and hashed on `threads` threads. What does not agree is
    /// fetched again.
    pub fn prove(&mut self, threads: usize, progress: &dyn Progress) -> Result<Vec<Digest>, BundleError> {
        let mut proven = self.prove_own(threads, progress)?;
        if let Some(earlier) = self.earlier.take() {
            progress.report(Event::Phase(Phase::Rereading));
            for layer in 0..self.shared.layers().len() {
                if self.shared.take_over(&earlier, layer, progress)? {
                    proven.push(self.shared.layer_digest(layer));
                }
            }
            earlier.remove()?;
        }
        Ok(proven)
    }

    /// The layers that a run for the same images left whole.
    fn prove_own(&self, threads: usize, progress: &dyn Progress) -> Result<Vec<Digest>, BundleError> {
        let shared = &*self.shared;
        let claimed: Vec<usize> = (0..shared.layers().len()).filter(|&layer| shared.claims_whole(layer)).collect();
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        progress.report(Event::Phase(Phase::Rereading));
        let next = AtomicUsize::new(0);
        let prove_some = || {
            let mut proven = Vec::new();
            while let Some(&layer) = claimed.get(next.fetch_add(1, Ordering::Relaxed)) {
                if shared.prove_layer(layer, progress)? {
                    proven.push(shared.layer_digest(layer));
                }
            }
            Ok(proven)
        };
        let results: Vec<Result<Vec<Digest>, BundleError>> = thread::scope(|scope| {
            let running: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(prove_some)).collect();
            running.into_iter().map(|thread| thread.join().expect("hashing does not panic")).collect()
        });
        let lists = results.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(lists.into_iter().flatten().collect())
    }

    /// Bytes of layers that an earlier run claims to have begun; they are proven when their layer's turn comes.
    pub fn claimed_bytes(&self) -> u64 {
        self.shared.claims.values().sum()
    }

    /// Reads everything that was written, past what the system remembers of it, and refuses a disk that kept other bytes.
    pub fn read_back(&self, threads: usize, progress: &dyn Progress) -> Result<(), BundleError> {
        for piece in self.shared.bytes.pieces() {
            let file = piece.file()?;
            file.sync_all().and_then(|()| forget(file)).map_err(BundleError::io("read back", &piece.path))?;
        }
        if verify_bytes(&self.shared.bytes, threads, progress)?.findings.is_empty() {
            return Ok(());
        }
        Err(BundleError::BadMedium { folder: folder_of(&self.shared.output.path).to_owned() })
    }

    /// Makes the bundle appear under its name: sync, checksums, renames, sync of the folder.
    pub fn seal(self, existing: ExistingOutput, progress: &dyn Progress) -> Result<Sealed, BundleError> {
        let Self { shared, sum, .. } = self;
        match shared.marks.incomplete() {
            0 => {}
            layers => return Err(BundleError::Incomplete(layers)),
        }
        progress.report(Event::Phase(Phase::Syncing));
        for piece in shared.bytes.pieces() {
            piece.file()?.sync_all().map_err(BundleError::io("write to the disk", &piece.path))?;
        }
        let sums = sum.finish()?;
        check_output(&shared.output, existing)?;
        let (output, bytes, digests) = (&shared.output, &shared.bytes, sums.files);
        name_pieces(output, PieceList::new(&shared.layout, sums.pieces), existing)?;
        let mut sealed = Sealed { path: output.path.clone(), size: bytes.length(), sha256: None, volumes: vec![] };
        if output.form == Form::OneFile {
            name_file(output, &digests[0], existing)?;
            sealed.sha256 = Some(digests[0]);
        } else {
            shared.journal.names()?;
            name_volumes(output, bytes, &shared.layout, &digests, existing)?;
            let volume = |(index, (piece, sha256)): (usize, (&Piece, &Digest))| SealedVolume {
                path: output.form.path(&output.path, index),
                size: piece.length,
                sha256: *sha256,
            };
            sealed.volumes = bytes.pieces().iter().zip(&digests).enumerate().map(volume).collect();
        }
        // From here on the bundle is whole; what cannot be removed is only litter.
        drop(fs::remove_file(journal_of(&shared.partial)));
        if output.form != Form::OneFile {
            drop(fs::remove_file(&shared.partial));
        }
        drop(shared.lock.unlock());
        Ok(sealed)
    }
}

impl Shared {
    fn layers(&self) -> &[Member] {
        self.layout.layers()
    }

    fn layer_digest(&self, layer: usize) -> Digest {
        match self.layers()[layer].path {
            MemberPath::Blob(digest) => digest,
            _ => unreachable!("layers are blobs"),
        }
    }

    fn layer_of(&self, digest: &Digest) -> Option<usize> {
        let member = self.layout.blob(digest)?;
        // Layers are in the order of their place in the file.
        self.layers().binary_search_by_key(&member.header, |layer| layer.header).ok()
    }

    fn claims_whole(&self, layer: usize) -> bool {
        self.claims.get(&self.layer_digest(layer)) == Some(&self.layers()[layer].size)
    }

    /// Whether a layer that was claimed to be whole is.
    fn prove_layer(&self, layer: usize, progress: &dyn Progress) -> Result<bool, BundleError> {
        let member = &self.layers()[layer];
        let digest = self.layer_digest(layer);
        if self.hash_prefix(layer, member.size)?.digest() == digest {
            self.marks.completed(layer, member.size);
            progress.report(Event::BlobDone { digest, size: member.size, arrival: Arrival::Present });
            return Ok(true);
        }
        let text = format!("{} was damaged on this disk since the last run and is fetched again", digest.short());
        progress.report(Event::Warning(text));
        self.journal.claim(&digest, 0)?;
        Ok(false)
    }

    /// Takes a layer over from a run for other images, if it is whole there.
    fn take_over(&self, earlier: &Earlier, layer: usize, progress: &dyn Progress) -> Result<bool, BundleError> {
        if self.marks.of(layer).complete {
            return Ok(false);
        }
        let (digest, size) = (self.layer_digest(layer), self.layers()[layer].size);
        if earlier.copy(&digest, |bytes, at| self.write(layer, bytes, at))? {
            self.marks.completed(layer, size);
            progress.report(Event::BlobDone { digest, size, arrival: Arrival::Present });
            return Ok(true);
        }
        if self.marks.of(layer).written > 0 {
            self.restart(layer)?;
        }
        Ok(false)
    }

    /// Takes the first bytes of a layer, as they are on disk.
    fn hash_prefix(&self, layer: usize, length: u64) -> Result<Hasher, BundleError> {
        let start = self.layers()[layer].start();
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; READ];
        while hasher.length() < length {
            let wanted = usize::try_from(length - hasher.length()).unwrap_or(READ).min(READ);
            self.bytes.read_exact_at(&mut buffer[..wanted], start + hasher.length())?;
            hasher.update(&buffer[..wanted]);
        }
        Ok(hasher)
    }

    /// Writes a piece of a layer, then claims it.
    fn write(&self, layer: usize, bytes: &[u8], at: u64) -> Result<(), BundleError> {
        let start = self.layers()[layer].start();
        {
            let _turn = self.turn.lock().expect("writing does not panic");
            self.bytes.write_all_at(bytes, start + at)?;
        }
        let written = at + bytes.len() as u64;
        if journal::is_due(at, written, self.layers()[layer].size) {
            self.journal.claim(&self.layer_digest(layer), written)?;
        }
        self.marks.grown(layer, written);
        Ok(())
    }

    fn restart(&self, layer: usize) -> Result<(), BundleError> {
        self.marks.restarted(layer);
        self.journal.claim(&self.layer_digest(layer), 0)
    }
}

impl ImageSink for Draft {
    async fn put_blob<S: ImageSource>(&self, _: &Repository, content: BlobContent<S>) -> Result<Arrival, Failure> {
        let blob = content.blob().clone();
        let Some(layer) = self.shared.layer_of(&blob.digest) else {
            return Err(BundleError::Unknown(blob.digest).into());
        };
        if self.shared.marks.of(layer).complete {
            return Ok(Arrival::Present);
        }
        let seen = self.prove_prefix(layer, &blob).await?;
        let resumed = seen.length() > 0;
        let filled = match self.fill(layer, &content, seen).await {
            Err(failure) if failure.class() == ErrorClass::Integrity => {
                let whose = if resumed { "what an earlier run left of it" } else { "the bytes that came" };
                content.warn(format!("{} is fetched again: {whose} did not agree", blob.digest.short()));
                self.shared.restart(layer)?;
                self.fill(layer, &content, Hasher::new()).await
            }
            other => other,
        };
        filled?;
        self.shared.marks.completed(layer, blob.size);
        Ok(Arrival::Moved)
    }

    async fn adopt(&self, _: &Repository, _: &Repository, _: &Descriptor) -> Result<bool, Failure> {
        // A bundle holds each blob once, for all repositories.
        Ok(false)
    }

    async fn put_document(&self, _: &Repository, _: &Lookup, _: &MediaType, raw: &[u8]) -> Result<(), Failure> {
        let digest = Digest::of(raw);
        match self.shared.layout.blob(&digest) {
            // Every document was written when the draft was opened.
            Some(_) => Ok(()),
            None => Err(BundleError::Unknown(digest).into()),
        }
    }
}

impl Draft {
    /// Reads the part of a layer that an earlier run claims to have written.
    async fn prove_prefix(&self, layer: usize, blob: &Descriptor) -> Result<Hasher, Failure> {
        let claimed = self.shared.claims.get(&blob.digest).copied().unwrap_or_default();
        // A layer that was claimed whole and is not complete by now was found damaged.
        if claimed == 0 || claimed >= blob.size {
            return Ok(Hasher::new());
        }
        let shared = self.shared.clone();
        let seen = blocking(move || shared.hash_prefix(layer, claimed)).await?;
        self.shared.marks.grown(layer, claimed);
        Ok(seen)
    }

    /// Writes the rest of a layer, reading on while a piece is written. Small chunks are gathered, large ones are written
    /// as they came.
    async fn fill<S: ImageSource>(&self, layer: usize, content: &BlobContent<S>, seen: Hasher) -> Result<(), Failure> {
        let shared = self.shared.clone();
        let write = move |piece: &[u8], at| shared.write(layer, piece, at);
        let mut writer = Writer::new(write, &self.shared.disk, seen.length());
        let mut reader = content.after(seen).await?;
        let mut ended = Ok(());
        loop {
            match reader.next().await {
                Ok(Some(chunk)) => writer.take(chunk).await?,
                Ok(None) => break,
                Err(failure) => {
                    ended = Err(failure);
                    break;
                }
            }
        }
        // What came before it broke is kept for the next run.
        writer.finish().await?;
        if ended.is_err() {
            let shared = &self.shared;
            shared.journal.claim(&shared.layer_digest(layer), shared.marks.of(layer).written)?;
        }
        ended
    }
}

/// Runs disk work beside the tasks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BundleError> + Send + 'static,
) -> Result<T, Failure> {
    joined(tokio::task::spawn_blocking(work)).await
}

/// Opens the partial file for this run alone. A link planted under its name is not followed.
fn open_locked(partial: &Path) -> Result<File, BundleError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = plain_file::open(&mut options, "open", partial)?;
    match file.try_lock() {
        // Another run may have sealed its bundle between the two calls: then this is that bundle, under its final name.
        Ok(()) if plain_file::is_at(&file, partial) => Ok(file),
        Ok(()) | Err(fs::TryLockError::WouldBlock) => Err(BundleError::InUse(partial.to_owned())),
        // File systems without locks (some network ones) leave the choice of one run at a time to the user.
        Err(fs::TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
        Err(fs::TryLockError::Error(error)) => Err(BundleError::io("lock", partial)(error)),
    }
}

/// Takes away a partial file that was only opened. Whoever waits for its lock sees that it has gone.
fn remove_if_empty(lock: &File, partial: &Path) {
    if lock.metadata().is_ok_and(|metadata| metadata.len() == 0) && !journal_of(partial).exists() {
        // What cannot be removed is only litter.
        drop(fs::remove_file(partial));
    }
}

/// Writes all that is known before the first layer: head, documents, every header, every padding, the end.
fn write_small(bytes: &BundleBytes, layout: &Layout, documents: &BTreeMap<Digest, Bytes>) -> Result<(), BundleError> {
    let mut front = Vec::new();
    for member in &layout.members()[..layout.members().len() - layout.layers().len()] {
        let content = match member.path {
            MemberPath::Blob(digest) => {
                let document = documents.get(&digest).or_else(|| layout.stand_in(&digest));
                document.expect("a resolved set has its documents, and the layout has the others")
            }
            path => layout.head(path),
        };
        front.extend_from_slice(&member.header_block());
        front.extend_from_slice(content);
        front.resize(front.len().next_multiple_of(512), 0);
    }
    bytes.write_all_at(&front, 0)?;
    for layer in layout.layers() {
        bytes.write_all_at(&layer.header_block(), layer.header)?;
        let pad = usize::try_from(padding(layer.size)).expect("padding is below 512 bytes");
        bytes.write_all_at(&[0; 512][..pad], layer.end())?;
    }
    let end = layout.members().last().map_or(0, Member::next);
    bytes.write_all_at(&[0; 1024], end)?;
    // A longer file of an earlier format would keep its tail.
    for piece in bytes.pieces() {
        piece.file()?.set_len(piece.length).map_err(BundleError::io("write", &piece.path))?;
    }
    Ok(())
}
