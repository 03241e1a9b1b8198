//! `NAME.pieces.json`: a checksum of every 4 MiB of a bundle, so that of a damaged one only the bad pieces have to come
//! again.
//!
//! It stands beside the bundle and not in it, so that the bundle's bytes stay a function of its lock, and it is the same
//! for one file and for volumes. It says where damage is and nothing more: what is put together with its help still has
//! to be what the digests in the lock say, so a list that is wrong or hostile costs time and no byte. That is why a
//! CRC-32 is enough. A SHA-256 of each piece, the third of every byte, cost a pull of 2 GB 0.7 s of processor time.

use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zlib_rs::crc32::crc32;

use crate::bundle::description::stem;
use crate::bundle::layout::Layout;
use crate::bundle::plain_file;
use crate::oci::Digest;

/// Bytes of a piece; only the last one may be shorter.
pub(crate) const PIECE: u64 = 4 * 1024 * 1024;
/// The `format` of lists that this version writes and reads.
const FORMAT: &str = "octobundle/pieces/v1";
/// A checksum in its list, with quotes, indent and line end, has less than this.
const LINE: u64 = 20;
/// The least that is read of a list: enough for a bundle of 14 TB, however little is left of it.
const LEAST_LIMIT: u64 = 64 * 1024 * 1024;

/// The text of `NAME.pieces.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PieceList {
    /// [`FORMAT`].
    format: String,
    /// The bundle's id.
    pub(crate) bundle: Digest,
    /// Its length.
    bytes: u64,
    /// [`PIECE`].
    piece: u64,
    /// The checksum of each piece in their order.
    pieces: Vec<Checksum>,
}

/// The CRC-32 of a piece, as `zip`, `gzip` and Ethernet have it; in text eight lowercase digits of base 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Checksum(u32);

impl Checksum {
    fn of(bytes: &[u8]) -> Self {
        Self(crc32(0, bytes))
    }
}

impl From<Checksum> for String {
    fn from(sum: Checksum) -> Self {
        format!("{:08x}", sum.0)
    }
}

impl TryFrom<String> for Checksum {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let sum = u32::from_str_radix(&text, 16).map(Self).ok();
        sum.filter(|sum| String::from(*sum) == text).ok_or_else(|| format!("{text:?} is no checksum of eight digits"))
    }
}

impl PieceList {
    /// The list of a bundle. None for a bundle of one piece: its own checksum says as much.
    pub(crate) fn new(layout: &Layout, pieces: Option<Vec<Checksum>>) -> Option<Self> {
        let (bundle, bytes) = (layout.id(), layout.total());
        Some(Self { format: FORMAT.into(), bundle, bytes, piece: PIECE, pieces: pieces? })
    }

    /// The list that stands beside a bundle of which `length` bytes are there; none if there is none that can be used.
    pub(crate) fn beside(bundle: &Path, length: u64) -> Option<Self> {
        let mut text = Vec::new();
        let most = length.div_ceil(PIECE).saturating_mul(LINE).max(LEAST_LIMIT);
        let file = plain_file::open_at_once(&pieces_path(bundle)).ok()?;
        file.take(most).read_to_end(&mut text).ok()?;
        let list: Self = serde_json::from_slice(&text).ok()?;
        let whole = list.pieces.len() as u64 == list.bytes.div_ceil(PIECE);
        (list.format == FORMAT && list.piece == PIECE && whole).then_some(list)
    }

    /// Whether it is the list of this very bundle.
    pub(crate) fn is_of(&self, layout: &Layout) -> bool {
        self.bundle == layout.id() && self.bytes == layout.total()
    }

    /// The pieces that a range of the bundle lies in.
    pub(crate) fn touching(&self, range: &Range<u64>) -> Range<usize> {
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(self.pieces.len());
        index(range.start / PIECE)..index(range.end.div_ceil(PIECE))
    }

    /// Where a piece stands in the bundle.
    pub(crate) fn range(&self, piece: usize) -> Range<u64> {
        let from = piece as u64 * PIECE;
        from..(from + PIECE).min(self.bytes)
    }

    /// Whether these bytes are a piece's.
    pub(crate) fn agrees(&self, piece: usize, bytes: &[u8]) -> bool {
        self.pieces.get(piece) == Some(&Checksum::of(bytes))
    }

    /// The text of the file.
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("a list holds only text and numbers") + "\n"
    }
}

/// Where a bundle's list of pieces is: not behind its whole name, so that `cat NAME.tar.*` takes volumes alone.
pub(crate) fn pieces_path(bundle: &Path) -> PathBuf {
    plain_file::beside(&stem(bundle), ".pieces.json")
}

/// Takes a bundle's bytes in their order and gives the checksums of its pieces.
#[derive(Clone)]
pub(crate) struct PieceSums {
    done: Vec<Checksum>,
    /// Bytes of the piece that was begun, and their CRC-32.
    begun: (u64, u32),
}

impl PieceSums {
    /// For a bundle of so many bytes; none if it is one piece.
    pub(crate) fn of(total: u64) -> Option<Self> {
        (total > PIECE).then(|| Self { done: Vec::new(), begun: (0, 0) })
    }

    /// Takes the next bytes.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (length, sum) = self.begun;
            let room = usize::try_from(PIECE - length).expect("a piece is small");
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.begun = (length + now.len() as u64, crc32(sum, now));
            if self.begun.0 == PIECE {
                self.end_piece();
            }
            bytes = later;
        }
    }

    /// The checksums, once all bytes were taken.
    pub(crate) fn finish(mut self) -> Vec<Checksum> {
        if self.begun.0 > 0 {
            self.end_piece();
        }
        self.done
    }

    fn end_piece(&mut self) {
        let (_, sum) = std::mem::take(&mut self.begun);
        self.done.push(Checksum(sum));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_same_however_the_bytes_come() {
        let size = usize::try_from(PIECE).unwrap();
        let bytes: Vec<u8> = (0..2 * size + 7).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let expected: Vec<Checksum> = bytes.chunks(size).map(Checksum::of).collect();
        for step in [1_000_003, size, size + 1, bytes.len()] {
            let mut sums = PieceSums::of(bytes.len() as u64).unwrap();
            bytes.chunks(step).for_each(|chunk| sums.update(chunk));
            assert_eq!(sums.finish(), expected, "{step}");
        }
        let mut whole = PieceSums::of(PIECE + 1).unwrap();
        whole.update(&bytes[..size]);
        assert_eq!(whole.finish(), expected[..1], "no empty piece comes last");
        assert!(PieceSums::of(PIECE).is_none());
    }

    #[test]
    fn a_checksum_is_the_usual_one_in_eight_digits() {
        // The check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
        assert_eq!(String::from(Checksum::of(b"123456789")), "cbf43926");
        assert_eq!(String::from(Checksum(10)), "0000000a");
        assert_eq!(Checksum::try_from("0000000a".to_owned()), Ok(Checksum(10)));
        for text in ["", "a", "0000000A", "+000000a", "00000000a", "0000000g"] {
            Checksum::try_from(text.to_owned()).expect_err(text);
        }
    }

    #[test]
    fn a_range_lies_in_all_pieces_that_it_touches() {
        let pieces = vec![Checksum::of(b""); 3];
        let list =
            PieceList { format: FORMAT.into(), bundle: Digest::of(b"x"), bytes: 2 * PIECE + 1, piece: PIECE, pieces };
        for (range, touched) in [
            (0..1, 0..1),
            (PIECE - 1..PIECE, 0..1),
            (PIECE - 1..PIECE + 1, 0..2),
            (PIECE..2 * PIECE, 1..2),
            (1..u64::MAX, 0..3),
        ] {
            assert_eq!(list.touching(&range), touched, "{range:?}");
        }
        assert_eq!(list.range(2), 2 * PIECE..2 * PIECE + 1);
    }
}
