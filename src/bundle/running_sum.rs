//! The SHA-256 of the whole file, or of each volume, and the checksum of each piece, taken while it is still being written.
//!
//! A thread follows the writers: it hashes what is complete from the start of the file, and inside the layer it has
//! reached, what is already there. Nothing is left to read when the last layer ends.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use crate::bundle::bytes::BundleBytes;
use crate::bundle::error::BundleError;
use crate::bundle::layout::{Layout, Member};
use crate::bundle::pieces::{Checksum, PieceSums};
use crate::oci::{Digest, Hasher};

/// Bytes read at once; also how far behind the writers the thread may be before it wakes.
const CHUNK: u64 = 256 * 1024;

/// How far a layer has come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mark {
    /// Bytes on disk from its start.
    pub(crate) written: u64,
    /// Whether they are all there and verified.
    pub(crate) complete: bool,
    /// How often it was begun again; bytes read before that are void.
    restarts: u32,
}

/// How far every layer of a draft has come. Shared by the writers and the follower.
pub(crate) struct Marks {
    layers: Mutex<State>,
    changed: Condvar,
}

struct State {
    marks: Vec<Mark>,
    abandoned: bool,
    /// What the follower sleeps for.
    awaited: Option<Awaited>,
}

/// Something behind `at` of a layer, or that it begins again.
#[derive(Clone, Copy)]
struct Awaited {
    layer: usize,
    at: u64,
    restarts: u32,
}

impl State {
    fn has(&self, awaited: Awaited) -> bool {
        let mark = self.marks[awaited.layer];
        let moved = mark.complete || mark.restarts != awaited.restarts || mark.written >= awaited.at + CHUNK;
        self.abandoned || moved
    }
}

impl Marks {
    /// Marks for so many layers, none begun.
    pub(crate) fn new(layers: usize) -> Self {
        let state = State { marks: vec![Mark::default(); layers], abandoned: false, awaited: None };
        Self { layers: Mutex::new(state), changed: Condvar::new() }
    }

    /// Wakes the follower only for what it sleeps for: many layers grow beside the one that it has reached.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.layers.lock().expect("no holder of the marks panics");
        change(&mut state);
        if state.awaited.is_some_and(|awaited| state.has(awaited)) {
            state.awaited = None;
            self.changed.notify_all();
        }
    }

    /// A layer has grown.
    pub(crate) fn grown(&self, layer: usize, written: u64) {
        self.change(|state| state.marks[layer].written = written);
    }

    /// A layer begins again at its start.
    pub(crate) fn restarted(&self, layer: usize) {
        self.change(|state| {
            let mark = &mut state.marks[layer];
            *mark = Mark { restarts: mark.restarts + 1, ..Mark::default() };
        });
    }

    /// A layer is on disk and verified.
    pub(crate) fn completed(&self, layer: usize, size: u64) {
        self.change(|state| {
            state.marks[layer].written = size;
            state.marks[layer].complete = true;
        });
    }

    /// How far a layer is.
    pub(crate) fn of(&self, layer: usize) -> Mark {
        self.layers.lock().expect("no holder of the marks panics").marks[layer]
    }

    /// How many layers are not complete.
    pub(crate) fn incomplete(&self) -> usize {
        let state = self.layers.lock().expect("no holder of the marks panics");
        state.marks.iter().filter(|mark| !mark.complete).count()
    }

    fn abandon(&self) {
        self.change(|state| state.abandoned = true);
    }

    /// Waits until a layer has something behind `at`, is complete, or began again. None when the draft was given up.
    fn wait(&self, layer: usize, at: u64, restarts: u32) -> Option<Mark> {
        let awaited = Awaited { layer, at, restarts };
        let state = self.layers.lock().expect("no holder of the marks panics");
        let idle = |state: &mut State| {
            let idle = !state.has(awaited);
            state.awaited = idle.then_some(awaited);
            idle
        };
        let state = self.changed.wait_while(state, idle).expect("no holder of the marks panics");
        (!state.abandoned).then(|| state.marks[layer])
    }
}

/// What the bytes of a bundle are.
pub(crate) struct Sums {
    /// The digest of each file.
    pub(crate) files: Vec<Digest>,
    /// The checksum of each piece; none if the bundle is one piece.
    pub(crate) pieces: Option<Vec<Checksum>>,
}

/// The thread that follows.
pub(crate) struct RunningSum {
    marks: Arc<Marks>,
    thread: Option<JoinHandle<Result<Option<Sums>, BundleError>>>,
}

impl RunningSum {
    /// Begins to follow. Everything before the first layer's content, and all headers, must be on disk.
    pub(crate) fn follow(bytes: BundleBytes, layout: &Layout, marks: Arc<Marks>) -> io::Result<Self> {
        let layers = layout.layers().to_vec();
        let watched = marks.clone();
        let follow = move || Follower::new(&bytes, &watched).run(&layers);
        let thread = thread::Builder::new().name("running-sum".into()).spawn(follow)?;
        Ok(Self { marks, thread: Some(thread) })
    }

    /// The digests of all files and pieces; waits for what is left. Every layer must be complete.
    pub(crate) fn finish(mut self) -> Result<Sums, BundleError> {
        let thread = self.thread.take().expect("it is taken only here and in drop");
        match thread.join() {
            Ok(result) => result.map(|sums| sums.expect("it is given up only in drop")),
            Err(_) => unreachable!("hashing does not panic"),
        }
    }
}

impl Drop for RunningSum {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.marks.abandon();
            // Its result is not wanted any more.
            drop(thread.join());
        }
    }
}

struct Follower<'a> {
    bytes: &'a BundleBytes,
    marks: &'a Marks,
    taken: Taken,
    /// Where each file ends.
    ends: Vec<u64>,
    buffer: Vec<u8>,
}

/// What was hashed so far.
#[derive(Clone)]
struct Taken {
    /// Bytes from the start of the bundle.
    at: u64,
    /// The digests of the files that were passed.
    done: Vec<Digest>,
    /// The file that was reached.
    hasher: Hasher,
    /// The same bytes by pieces.
    pieces: Option<PieceSums>,
}

impl<'a> Follower<'a> {
    fn new(bytes: &'a BundleBytes, marks: &'a Marks) -> Self {
        let ends = bytes.pieces().iter().map(|piece| piece.range().end).collect();
        let buffer = vec![0; usize::try_from(CHUNK).expect("it is small")];
        let pieces = PieceSums::of(bytes.length());
        Self { bytes, marks, taken: Taken { at: 0, done: Vec::new(), hasher: Hasher::new(), pieces }, ends, buffer }
    }

    fn run(mut self, layers: &[Member]) -> Result<Option<Sums>, BundleError> {
        for (index, layer) in layers.iter().enumerate() {
            self.take_until(layer.start())?;
            if !self.take_layer(index, layer)? {
                return Ok(None);
            }
        }
        self.take_until(self.bytes.length())?;
        Ok(Some(Sums { files: self.taken.done, pieces: self.taken.pieces.map(PieceSums::finish) }))
    }

    /// Hashes a layer's content while it grows; false when the draft was given up.
    fn take_layer(&mut self, index: usize, layer: &Member) -> Result<bool, BundleError> {
        let before = self.taken.clone();
        let mut restarts = 0;
        loop {
            let at = self.taken.at - layer.start();
            let Some(mark) = self.marks.wait(index, at, restarts) else {
                return Ok(false);
            };
            if mark.restarts != restarts {
                restarts = mark.restarts;
                self.taken = before.clone();
            } else if at == layer.size && mark.complete {
                return Ok(true);
            } else {
                let end = mark.written.min(at + 8 * CHUNK);
                self.take_until(layer.start() + end)?;
            }
        }
    }

    /// Hashes up to a position in the bundle. Where a file ends its digest is kept and the next one's begins.
    fn take_until(&mut self, position: u64) -> Result<(), BundleError> {
        while self.taken.at < position {
            let end = self.ends[self.taken.done.len()];
            let length = (position.min(end) - self.taken.at).min(CHUNK);
            let piece = &mut self.buffer[..usize::try_from(length).expect("a chunk is small")];
            self.bytes.read_exact_at(piece, self.taken.at)?;
            self.taken.hasher.update(piece);
            if let Some(pieces) = &mut self.taken.pieces {
                pieces.update(piece);
            }
            self.taken.at += length;
            if self.taken.at == end {
                let hasher = std::mem::replace(&mut self.taken.hasher, Hasher::new());
                self.taken.done.push(hasher.digest());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_follower_sleeps_on_while_other_layers_grow() {
        let marks = Arc::new(Marks::new(2));
        let follower = thread::spawn({
            let marks = marks.clone();
            move || marks.wait(0, CHUNK, 0).expect("nothing is given up").written
        });
        let sleeps = || marks.layers.lock().unwrap().awaited.is_some();
        while !sleeps() {
            thread::yield_now();
        }
        marks.grown(1, 10 * CHUNK);
        marks.completed(1, 10 * CHUNK);
        marks.grown(0, 2 * CHUNK - 1);
        assert!(sleeps());
        marks.grown(0, 2 * CHUNK);
        assert!(!sleeps());
        assert_eq!(follower.join().unwrap(), 2 * CHUNK);
        let begun_again = thread::spawn({
            let marks = marks.clone();
            move || marks.wait(0, 2 * CHUNK, 0).map(|mark| mark.restarts)
        });
        while !sleeps() {
            thread::yield_now();
        }
        marks.restarted(0);
        assert_eq!(begun_again.join().unwrap(), Some(1));
        marks.abandon();
        assert!(marks.wait(0, 0, 1).is_none());
    }
}
