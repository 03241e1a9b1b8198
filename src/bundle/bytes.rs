//! The bytes of a bundle at positions, over one file or many volumes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::bundle::error::BundleError;
use crate::bundle::header::{BLOCK, Block, parse};
use crate::bundle::identify::looks_like;
use crate::bundle::layout::MemberPath;
use crate::bundle::plain_file;
use crate::content::{FilePart, read_exact_at, read_exact_at_directly, write_all_at};

/// The bytes of a bundle at positions, in one file or cut into volumes. Nobody above knows which.
///
/// The files are open, so what is read later comes from them, whatever happens to their names. Clones share them and
/// read side by side.
#[derive(Debug, Clone)]
pub struct BundleBytes {
    shown: PathBuf,
    pieces: Arc<[Piece]>,
    length: u64,
    in_volumes: bool,
}

/// One file of a bundle.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) path: PathBuf,
    /// None for a volume that is not there.
    pub(crate) file: Option<Arc<File>>,
    pub(crate) length: u64,
    from: u64,
    /// Whether it was opened to be read past the system.
    direct: bool,
}

impl Piece {
    /// A file of so many bytes.
    pub(crate) fn new(path: PathBuf, file: Arc<File>, length: u64) -> Self {
        Self { path, file: Some(file), length, from: 0, direct: false }
    }

    /// A file of so many bytes that was opened to be read past the system.
    pub(crate) fn direct(path: PathBuf, file: Arc<File>, length: u64) -> Self {
        Self { direct: true, ..Self::new(path, file, length) }
    }

    /// The place of a volume that is not there.
    pub(crate) fn absent(path: PathBuf, length: u64) -> Self {
        Self { path, file: None, length, from: 0, direct: false }
    }

    /// The same file as if it had this length: beyond its end reading fails.
    pub(crate) fn of_length(self, length: u64) -> Self {
        Self { length, ..self }
    }

    /// Opens a regular file, read-only.
    pub(crate) fn open(path: &Path) -> Result<Self, BundleError> {
        let file = plain_file::open_at_once(path).map_err(BundleError::io("open", path))?;
        let metadata = file.metadata().map_err(BundleError::io("look at", path))?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "a folder" } else { "a device, pipe or socket" };
            return Err(BundleError::NotAFile { path: path.to_owned(), what });
        }
        Ok(Self::new(path.to_owned(), Arc::new(file), metadata.len()))
    }

    /// Where it begins in the bundle and ends.
    pub(crate) fn range(&self) -> Range<u64> {
        self.from..self.from + self.length
    }

    /// The open file; an error if the volume is not there.
    pub(crate) fn file(&self) -> Result<&Arc<File>, BundleError> {
        self.file.as_ref().ok_or_else(|| BundleError::io("open", &self.path)(io::ErrorKind::NotFound.into()))
    }
}

impl BundleBytes {
    /// One file, read-only.
    pub(crate) fn of_file(path: &Path) -> Result<Self, BundleError> {
        Ok(Self::joined(path.to_owned(), vec![Piece::open(path)?], false))
    }

    /// Pieces in their order. `shown` names them all in messages.
    pub(crate) fn joined(shown: PathBuf, mut pieces: Vec<Piece>, in_volumes: bool) -> Self {
        let mut length = 0;
        for piece in &mut pieces {
            piece.from = length;
            length += piece.length;
        }
        Self { shown, pieces: pieces.into(), length, in_volumes }
    }

    /// The bundle's name for messages: the file, or what the volumes have in common.
    pub fn path(&self) -> &Path {
        &self.shown
    }

    /// Its length in bytes, as it was when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The volumes with their places in the bundle; empty if it is one file.
    pub fn volumes(&self) -> Vec<(&Path, Range<u64>)> {
        if self.in_volumes { self.pieces.iter().map(|piece| (&*piece.path, piece.range())).collect() } else { vec![] }
    }

    /// The files that hold a range, in order, for whoever sends them on: `sendfile`, a request's body, a pipe. The
    /// range must end where the bundle does, or before.
    pub fn parts(&self, range: Range<u64>) -> Result<Vec<FilePart>, BundleError> {
        self.touched(range)
            .map(|(piece, within)| {
                let file = piece.file()?.clone();
                Ok(FilePart { path: piece.path.clone(), file, at: within.start, length: within.end - within.start })
            })
            .collect()
    }

    /// Whether a byte of a part can be read by opening its file again, whatever came of the file that is open.
    pub fn is_readable_anew(part: &FilePart, from: u64) -> bool {
        let again = plain_file::open_at_once(&part.path);
        again.is_ok_and(|file| read_exact_at(&file, &mut [0], part.at + from).is_ok())
    }

    /// Fills `buffer` from the position `at`; the end of a file before that is an error, which names the file.
    pub fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> Result<(), BundleError> {
        if at + buffer.len() as u64 > self.length {
            return Err(BundleError::io("read", &self.shown)(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut rest = buffer;
        for (piece, within) in self.touched(at..at + rest.len() as u64) {
            let (now, later) = rest.split_at_mut(size(within.end - within.start));
            let read = if piece.direct { read_exact_at_directly } else { read_exact_at };
            read(piece.file()?, now, within.start).map_err(BundleError::io("read", &piece.path))?;
            rest = later;
        }
        Ok(())
    }

    /// Writes all of `bytes` at the position `at`, which must leave them within the length.
    pub(crate) fn write_all_at(&self, bytes: &[u8], at: u64) -> Result<(), BundleError> {
        let mut rest = bytes;
        for (piece, within) in self.touched(at..at + bytes.len() as u64) {
            let (now, later) = rest.split_at(size(within.end - within.start));
            write_all_at(piece.file()?, now, within.start).map_err(BundleError::io("write", &piece.path))?;
            rest = later;
        }
        debug_assert!(rest.is_empty(), "what is written lies within the bundle");
        Ok(())
    }

    /// The pieces in their order.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Reads a range that is known to be within the bundle and small enough for memory.
    pub(crate) fn read(&self, at: u64, length: u64) -> Result<Bytes, BundleError> {
        let mut bytes = vec![0; size(length)];
        self.read_exact_at(&mut bytes, at)?;
        Ok(bytes.into())
    }

    /// The header at a place, if one of ours stands there whole.
    pub(crate) fn header_at(&self, at: u64) -> Result<Option<(MemberPath, u64)>, BundleError> {
        if at + BLOCK > self.length {
            return Ok(None);
        }
        let mut block: Block = [0; 512];
        self.read_exact_at(&mut block, at)?;
        Ok(parse(&block))
    }

    /// The refusal of something that is no bundle.
    pub(crate) fn not_a_bundle(&self) -> BundleError {
        match self.read(0, self.length.min(BLOCK)) {
            Ok(start) => {
                BundleError::NotABundle { path: self.shown.clone(), looks_like: looks_like(&start, self.length).into() }
            }
            Err(error) => error,
        }
    }

    /// The refusal of a bundle whose parts disagree.
    pub(crate) fn damaged(&self, what: impl Into<String>) -> BundleError {
        BundleError::Damaged { path: self.shown.clone(), what: what.into() }
    }

    /// The pieces that a range lies in, each with the part of it in the piece's own positions.
    fn touched(&self, range: Range<u64>) -> impl Iterator<Item = (&Piece, Range<u64>)> {
        let first = self.pieces.partition_point(|piece| piece.from + piece.length <= range.start);
        let touched = self.pieces[first..].iter().take_while({
            let end = range.end;
            move |piece| piece.from < end
        });
        touched.filter(|piece| piece.length > 0).map(move |piece| {
            let from = range.start.max(piece.from) - piece.from;
            let to = range.end.min(piece.from + piece.length) - piece.from;
            (piece, from..to)
        })
    }
}

fn size(length: u64) -> usize {
    usize::try_from(length).expect("pieces are limited before they are read")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(parts: &[&[u8]]) -> (tempfile::TempDir, BundleBytes) {
        let folder = tempfile::tempdir().unwrap();
        let pieces = parts.iter().enumerate().map(|(index, part)| {
            let path = folder.path().join(format!("x.{index:03}"));
            std::fs::write(&path, part).unwrap();
            Piece::open(&path).unwrap()
        });
        let bytes = BundleBytes::joined(folder.path().join("x"), pieces.collect(), true);
        (folder, bytes)
    }

    #[test]
    fn every_range_reads_as_if_the_volumes_were_one_file() {
        let whole = b"0123456789";
        let (_folder, bytes) = over(&[b"012", b"3", b"", b"45678", b"9"]);
        assert_eq!(bytes.length(), 10);
        for from in 0..=10_u64 {
            for to in from..=10 {
                let expected = &whole[size(from)..size(to)];
                assert_eq!(bytes.read(from, to - from).unwrap(), expected);
                let mut sent = Vec::new();
                for part in bytes.parts(from..to).unwrap() {
                    let mut buffer = vec![0; size(part.length)];
                    part.read_exact_at(&mut buffer, 0).unwrap();
                    sent.extend(buffer);
                }
                assert_eq!(sent, expected);
            }
        }
        assert!(bytes.read(5, 6).is_err(), "nothing is read beyond the end");
    }

    #[test]
    fn what_is_lacking_is_named_only_where_it_is_needed() {
        let (folder, bytes) = over(&[b"012", b"345"]);
        let mut pieces = bytes.pieces().to_vec();
        pieces[1] = Piece::absent(folder.path().join("x.001"), 3);
        let bytes = BundleBytes::joined(folder.path().join("x"), pieces, true);
        assert_eq!(bytes.read(0, 3).unwrap(), &b"012"[..]);
        assert!(bytes.read(2, 2).unwrap_err().to_string().contains("x.001"));
        assert!(bytes.parts(2..4).unwrap_err().to_string().contains("x.001"));
    }
}
