//! One sound bundle out of several that are not: what can be taken from which.
//!
//! Nothing here decides what is right. A blob is good if it is what its digest says; all else in a bundle follows from its
//! lock. The list of pieces only tells where to look, so that two copies which are damaged in different places give one
//! that is whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;

use crate::bundle::bytes::{BundleBytes, Piece};
use crate::bundle::error::BundleError;
use crate::bundle::form::{Form, VolumeSize};
use crate::bundle::header::{BLOCK, TRAILER, padding};
use crate::bundle::layout::{Layout, Member, MemberPath};
use crate::bundle::open::stream;
use crate::bundle::pieces::PieceList;
use crate::bundle::place::BundlePlace;
use crate::bundle::plain_file::beside;
use crate::bundle::verify::Head;
use crate::content::{MAX_DOCUMENT_BYTES, Unverified};
use crate::oci::{Digest, Hasher};
use crate::progress::{Arrival, Event, Phase, Progress};

/// The most members of a foreign archive that are remembered.
const MOST_BLOBS: usize = 1_000_000;
/// Bytes read at once on each thread.
const CHUNK: u64 = 1024 * 1024;

/// A part of a blob, and the copy that has it right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The part, counted from the blob's start.
    pub range: Range<u64>,
    /// Which copy: 0 is the one to be repaired. None has it: it must come from elsewhere.
    pub copy: Option<usize>,
}

/// A blob of which the copy to be repaired has not all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// Which.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Its parts in their order, with where each is had.
    pub segments: Vec<Segment>,
}

impl Mended {
    /// Bytes that other copies have.
    pub fn from_copies(&self) -> u64 {
        self.bytes(|copy| copy.is_some_and(|copy| copy > 0))
    }

    /// Bytes that no copy has.
    pub fn lacking(&self) -> u64 {
        self.bytes(|copy| copy.is_none())
    }

    fn bytes(&self, which: impl Fn(Option<usize>) -> bool) -> u64 {
        let chosen = self.segments.iter().filter(|segment| which(segment.copy));
        chosen.map(|segment| segment.range.end - segment.range.start).sum()
    }
}

/// Several copies of a bundle, each as far as it can be read, and what of them is good.
pub struct Patchwork {
    layout: Layout,
    copies: Vec<Copy>,
    pieces: Option<PieceList>,
    mended: BTreeMap<Digest, Mended>,
    frame_is_sound: bool,
}

struct Copy {
    bytes: BundleBytes,
    /// Where its blobs begin, with their lengths, if it is no copy of this bundle but has some of its blobs too.
    other: Option<BTreeMap<Digest, (u64, u64)>>,
}

impl Copy {
    /// A copy of what `layout` lays out; another bundle, by its own `head`; or an archive that some other program wrote.
    fn new(bytes: BundleBytes, head: Option<Layout>, layout: &Layout) -> Self {
        let other = match head {
            Some(head) if head.id() == layout.id() => None,
            Some(head) => Some(places(&head)),
            None if bytes.length() == layout.total() || resembles(&bytes, layout) => None,
            None => Some(blobs_of_archive(&bytes)),
        };
        Self { bytes, other }
    }
}

impl Patchwork {
    /// Opens a damaged bundle and others that may have what it lacks: copies of it, themselves damaged or not, or other
    /// bundles with some of its blobs. All blobs are read then, on `threads` threads.
    pub fn survey(
        damaged: &BundlePlace,
        others: &[BundlePlace],
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<Self, BundleError> {
        let first = BundleBytes::salvage(damaged)?;
        if beside(first.path(), ".journal").is_file() {
            return Err(BundleError::Unfinished(first.path().to_owned()));
        }
        let others = others.iter().map(BundleBytes::salvage).collect::<Result<Vec<_>, _>>()?;
        let listed = PieceList::beside(first.path(), first.length());
        let known = listed.as_ref().map(|list| list.bundle).or_else(|| BundleBytes::described_id(damaged));
        let heads: Vec<Option<Layout>> = others.iter().map(|other| head(other, known.as_ref())).collect();
        let own = head(&first, known.as_ref());
        let is_its = |layout: &&Layout| known.map_or_else(|| resembles(&first, layout), |id| id == layout.id());
        let Some(layout) = own.or_else(|| heads.iter().flatten().find(is_its).cloned()) else {
            return Err(BundleError::HeadLost(first.path().to_owned()));
        };
        let elsewhere = others.iter().filter_map(|other| PieceList::beside(other.path(), layout.total()));
        let pieces = listed.into_iter().chain(elsewhere).find(|list| list.is_of(&layout));
        let others = others.into_iter().zip(heads).map(|(bytes, head)| Copy::new(bytes, head, &layout));
        let copies = std::iter::once(Copy { bytes: first, other: None }).chain(others).collect();
        let mut patchwork = Self { layout, copies, pieces, mended: BTreeMap::new(), frame_is_sound: false };
        patchwork.frame_is_sound = patchwork.frame_is_sound();
        patchwork.mended = patchwork.read_all(threads, progress);
        Ok(patchwork)
    }

    /// The bundle as it should be.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where the copy to be repaired is.
    pub fn path(&self) -> &Path {
        self.copies[0].bytes.path()
    }

    /// What it is written as.
    pub fn form(&self) -> Form {
        let volumes = self.copies[0].bytes.volumes();
        let size = volumes.first().map(|(_, range)| range.end - range.start);
        size.map_or(Form::OneFile, |size| Form::Volumes(VolumeSize::new(size).unwrap_or(VolumeSize::LEAST)))
    }

    /// Whether the copy to be repaired needs no repair.
    pub fn is_sound(&self) -> bool {
        self.frame_is_sound && self.mended.is_empty()
    }

    /// Whether the damage is in what stands around the blobs, and so hurts all images.
    pub fn frame_is_damaged(&self) -> bool {
        !self.frame_is_sound
    }

    /// Whether it was known where the pieces begin, so that parts of blobs can be told apart.
    pub fn knows_pieces(&self) -> bool {
        self.pieces.is_some()
    }

    /// The blobs that the copy to be repaired has not whole, by digest.
    pub fn mended(&self) -> impl Iterator<Item = &Mended> {
        self.mended.values()
    }

    /// Takes from an archive what it has whole of the blobs that no copy has, and tells how many these are. `shown` names
    /// it in messages.
    pub fn borrow_from(&mut self, shown: &Path, archive: File) -> Result<usize, BundleError> {
        let length = archive.metadata().map_err(BundleError::io("look at", shown))?.len();
        let piece = Piece::new(shown.to_owned(), Arc::new(archive), length);
        let bytes = BundleBytes::joined(shown.to_owned(), vec![piece], false);
        let other = Some(blobs_of_archive(&bytes));
        let copy = self.copies.len();
        self.copies.push(Copy { bytes, other });
        let whole = |size| vec![Segment { range: 0..size, copy: Some(copy) }];
        let lacking = self.mended.values().filter(|blob| blob.lacking() > 0);
        let lent = lacking.filter(|blob| self.is_good(&blob.digest, blob.size, &whole(blob.size)));
        let lent: Vec<Digest> = lent.map(|blob| blob.digest).collect();
        for digest in &lent {
            self.mended.entry(*digest).and_modify(|blob| blob.segments = whole(blob.size));
        }
        if lent.is_empty() {
            self.copies.pop();
        }
        Ok(lent.len())
    }

    /// Where each part of a blob is had.
    pub fn segments(&self, digest: &Digest) -> Vec<Segment> {
        let whole = |member: &Member| vec![Segment { range: 0..member.size, copy: Some(0) }];
        let mended = self.mended.get(digest).map(|mended| mended.segments.clone());
        mended.or_else(|| self.layout.blob(digest).map(whole)).unwrap_or_default()
    }

    /// A part of a blob from the copy that has it.
    pub fn part(&self, digest: &Digest, copy: usize, range: &Range<u64>) -> Result<Unverified, BundleError> {
        let start = self.start(digest, copy).ok_or(BundleError::Unknown(*digest))?;
        Ok(stream(&self.copies[copy].bytes, start + range.start..start + range.end))
    }

    /// A document, compared with its digest; none if no copy has it.
    pub fn document(&self, digest: &Digest) -> Option<Bytes> {
        let member = self.layout.blob(digest).filter(|member| member.size <= MAX_DOCUMENT_BYTES)?;
        let segments = self.segments(digest);
        let [Segment { copy: Some(copy), .. }] = segments[..] else {
            // A document lies in two pieces at most; in which case it is put together.
            return self.gather(digest, &segments);
        };
        let bytes = self.copies[copy].bytes.read(self.start(digest, copy)?, member.size).ok()?;
        (Digest::of(&bytes) == *digest).then_some(bytes)
    }

    fn gather(&self, digest: &Digest, segments: &[Segment]) -> Option<Bytes> {
        let mut gathered = Vec::new();
        for segment in segments {
            let (copy, length) = (segment.copy?, segment.range.end - segment.range.start);
            let at = self.start(digest, copy)? + segment.range.start;
            gathered.extend_from_slice(&self.copies[copy].bytes.read(at, length).ok()?);
        }
        (Digest::of(&gathered) == *digest).then(|| gathered.into())
    }

    /// Where a copy has a blob, or should have it.
    fn start(&self, digest: &Digest, copy: usize) -> Option<u64> {
        let member = self.layout.blob(digest)?;
        match &self.copies[copy].other {
            None => Some(member.start()),
            Some(other) => other.get(digest).filter(|(_, size)| *size == member.size).map(|(start, _)| *start),
        }
    }

    /// Everything that stands around the blobs, in the copy to be repaired.
    fn frame_is_sound(&self) -> bool {
        let bytes = &self.copies[0].bytes;
        let is = |at: u64, expected: &[u8]| bytes.read(at, expected.len() as u64).is_ok_and(|found| found == expected);
        let zeros = [0; 1024];
        let pad = |member: &Member| usize::try_from(padding(member.size)).expect("padding is below 512 bytes");
        let end = self.layout.total() - TRAILER;
        bytes.length() == self.layout.total()
            && is(end, &zeros)
            && self.layout.members().iter().all(|member| {
                self.implied(member).is_none_or(|content| is(member.start(), content))
                    && is(member.header, &member.header_block())
                    && is(member.end(), &zeros[..pad(member)])
            })
    }

    /// A member's content, if it follows from the lock.
    fn implied(&self, member: &Member) -> Option<&Bytes> {
        match &member.path {
            MemberPath::Blob(digest) => self.layout.stand_in(digest),
            path => Some(self.layout.head(*path)),
        }
    }

    /// Looks for a good copy of every blob, the largest first, so that threads end together.
    fn read_all(&self, threads: usize, progress: &dyn Progress) -> BTreeMap<Digest, Mended> {
        let mut blobs: Vec<(Digest, &Member)> = Vec::new();
        for member in self.layout.members() {
            if let (MemberPath::Blob(digest), None) = (member.path, self.implied(member)) {
                blobs.push((digest, member));
            }
        }
        blobs.sort_by_key(|(_, member)| std::cmp::Reverse(member.size));
        let bytes = blobs.iter().map(|(_, member)| member.size).sum();
        progress.report(Event::Phase(Phase::Verifying));
        progress.report(Event::Planned { images: self.layout.lock().images.len(), blobs: blobs.len(), bytes });
        let (next, mended) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        let work = || {
            while let Some(&(digest, member)) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let size = member.size;
                progress.report(Event::BlobStarted { digest, size, image: String::new() });
                if !self.is_good(&digest, size, &[Segment { range: 0..size, copy: Some(0) }]) {
                    let segments = self.mend(&digest, member);
                    let mut mended = mended.lock().expect("no thread panics while it holds the blobs");
                    mended.insert(digest, Mended { digest, size, segments });
                }
                progress.report(Event::BlobDone { digest, size, arrival: Arrival::Present });
            }
        };
        thread::scope(|scope| {
            (0..threads.max(1)).for_each(|_| drop(scope.spawn(work)));
        });
        mended.into_inner().expect("no thread panicked while it held the blobs")
    }

    /// Where each part of a blob can be had that the first copy has not whole.
    fn mend(&self, digest: &Digest, member: &Member) -> Vec<Segment> {
        let size = member.size;
        let by_pieces = self.by_pieces(member);
        if self.is_good(digest, size, &by_pieces) {
            return by_pieces;
        }
        let whole = |copy| vec![Segment { range: 0..size, copy: Some(copy) }];
        let good = (1..self.copies.len()).map(whole).find(|segments| self.is_good(digest, size, segments));
        good.unwrap_or(by_pieces)
    }

    /// The copy that has each piece of a blob right, by the list of pieces. Without one nothing is known.
    fn by_pieces(&self, member: &Member) -> Vec<Segment> {
        let Some(list) = &self.pieces else {
            return vec![Segment { range: 0..member.size, copy: None }];
        };
        let mut segments: Vec<Segment> = Vec::new();
        for piece in list.touching(&(member.start()..member.end())) {
            let range = list.range(piece);
            let has = |copy: &usize| {
                let found = &self.copies[*copy];
                found.other.is_none() && self.framed(found, &range).is_some_and(|bytes| list.agrees(piece, &bytes))
            };
            let copy = (0..self.copies.len()).find(has);
            let within = range.start.max(member.start()) - member.start()..range.end.min(member.end()) - member.start();
            match segments.last_mut().filter(|before| before.copy == copy) {
                Some(before) => before.range.end = within.end,
                None => segments.push(Segment { range: within, copy }),
            }
        }
        segments
    }

    /// A piece of a copy, with all that is not a blob's as it should be.
    fn framed(&self, copy: &Copy, range: &Range<u64>) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).expect("a piece is small")];
        copy.bytes.read_exact_at(&mut bytes, range.start).ok()?;
        let mut put = |at: u64, known: &[u8]| {
            let (from, to) = (at.max(range.start), (at + known.len() as u64).min(range.end));
            if from < to {
                let place = |at: u64, base: u64| usize::try_from(at - base).expect("a piece is small");
                let known = &known[place(from, at)..place(to, at)];
                bytes[place(from, range.start)..place(to, range.start)].copy_from_slice(known);
            }
        };
        let members = self.layout.members();
        let first = members.partition_point(|member| member.next() <= range.start);
        let zeros = [0; 1024];
        for member in members[first..].iter().take_while(|member| member.header < range.end) {
            put(member.header, &member.header_block());
            put(
                member.end(),
                &zeros[..usize::try_from(member.next() - member.end()).expect("padding is below 512 bytes")],
            );
            if let Some(content) = self.implied(member) {
                put(member.start(), content);
            }
        }
        put(self.layout.total() - TRAILER, &zeros);
        Some(bytes)
    }

    /// Whether these parts give the blob that its digest names.
    fn is_good(&self, digest: &Digest, size: u64, segments: &[Segment]) -> bool {
        let mut hasher = Hasher::new();
        for segment in segments {
            let Some((copy, start)) = segment.copy.and_then(|copy| Some((copy, self.start(digest, copy)?))) else {
                return false;
            };
            let mut at = segment.range.start;
            while at < segment.range.end {
                let length = (segment.range.end - at).min(CHUNK);
                let Ok(bytes) = self.copies[copy].bytes.read(start + at, length) else { return false };
                hasher.update(&bytes);
                at += length;
            }
        }
        hasher.length() == size && hasher.digest() == *digest
    }
}

/// The layout that a copy was written by, if enough of it can be read.
fn head(copy: &BundleBytes, known: Option<&Digest>) -> Option<Layout> {
    Head::read(copy).ok()?.salvaged(known)
}

/// Where the blobs of a bundle begin, with their lengths.
fn places(layout: &Layout) -> BTreeMap<Digest, (u64, u64)> {
    let place = |member: &Member| match member.path {
        MemberPath::Blob(digest) => Some((digest, (member.start(), member.size))),
        _ => None,
    };
    layout.members().iter().filter_map(place).collect()
}

/// The same of an OCI archive, as `docker save` and `skopeo copy` write them: every member that is called as a blob is.
/// Names and lengths are only believed as far as to look there.
fn blobs_of_archive(bytes: &BundleBytes) -> BTreeMap<Digest, (u64, u64)> {
    let (mut found, mut at) = (BTreeMap::new(), 0);
    while at + BLOCK <= bytes.length() && found.len() < MOST_BLOBS {
        let mut block = [0; 512];
        // An empty block ends an archive.
        if bytes.read_exact_at(&mut block, at).is_err() || block == [0; 512] {
            break;
        }
        let header = tar::Header::from_byte_slice(&block);
        let Some(size) = header.entry_size().ok().filter(|size| *size <= bytes.length()) else { break };
        let name = header.path_bytes();
        if let Some(MemberPath::Blob(digest)) = std::str::from_utf8(&name).ok().and_then(MemberPath::parse) {
            found.insert(digest, (at + BLOCK, size));
        }
        at += BLOCK + size + padding(size);
    }
    found
}

/// Whether most blobs of a layout have their headers where a file has them: then it is, or was, this bundle.
fn resembles(copy: &BundleBytes, layout: &Layout) -> bool {
    let blobs = &layout.members()[MemberPath::HEAD.len()..];
    let stands = |member: &&Member| {
        copy.length() >= member.header + BLOCK
            && matches!(copy.header_at(member.header), Ok(Some(found)) if found == (member.path, member.size))
    };
    2 * blobs.iter().filter(stands).count() > blobs.len()
}
