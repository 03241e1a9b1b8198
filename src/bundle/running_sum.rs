//! The SHA-256 of the whole file, taken while it is still being written.
//!
//! A thread follows the writers: it hashes what is complete from the start of the file, and inside the layer it has
//! reached, what is already there. Nothing is left to read when the last layer ends.

use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use crate::bundle::layout::{Layout, Member};
use crate::content::read_exact_at;
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
}

impl Marks {
    /// Marks for so many layers, none begun.
    pub(crate) fn new(layers: usize) -> Self {
        let state = State { marks: vec![Mark::default(); layers], abandoned: false };
        Self { layers: Mutex::new(state), changed: Condvar::new() }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.layers.lock().expect("no holder of the marks panics"));
        self.changed.notify_all();
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
        let state = self.layers.lock().expect("no holder of the marks panics");
        let idle = |state: &mut State| {
            let mark = state.marks[layer];
            let moved = mark.complete || mark.restarts != restarts || mark.written >= at + CHUNK;
            !state.abandoned && !moved
        };
        let state = self.changed.wait_while(state, idle).expect("no holder of the marks panics");
        (!state.abandoned).then(|| state.marks[layer])
    }
}

/// The thread that follows.
pub(crate) struct RunningSum {
    marks: Arc<Marks>,
    thread: Option<JoinHandle<io::Result<Option<Digest>>>>,
}

impl RunningSum {
    /// Begins to follow. Everything before the first layer's content, and all headers, must be on disk.
    pub(crate) fn follow(file: Arc<File>, layout: &Layout, marks: Arc<Marks>) -> io::Result<Self> {
        let layers = layout.layers().to_vec();
        let total = layout.total();
        let watched = marks.clone();
        let follow = move || Follower::new(&file, &watched).run(&layers, total);
        let thread = thread::Builder::new().name("running-sum".into()).spawn(follow)?;
        Ok(Self { marks, thread: Some(thread) })
    }

    /// The digest of the whole file; waits for what is left of it. Every layer must be complete.
    pub(crate) fn finish(mut self) -> io::Result<Digest> {
        let thread = self.thread.take().expect("it is taken only here and in drop");
        match thread.join() {
            Ok(result) => result.map(|digest| digest.expect("it is given up only in drop")),
            Err(_) => Err(io::Error::other("the thread that hashes the file panicked")),
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
    file: &'a File,
    marks: &'a Marks,
    hasher: Hasher,
    buffer: Vec<u8>,
}

impl<'a> Follower<'a> {
    fn new(file: &'a File, marks: &'a Marks) -> Self {
        Self { file, marks, hasher: Hasher::new(), buffer: vec![0; usize::try_from(CHUNK).expect("it is small")] }
    }

    fn run(mut self, layers: &[Member], total: u64) -> io::Result<Option<Digest>> {
        for (index, layer) in layers.iter().enumerate() {
            self.take_until(layer.start())?;
            if !self.take_layer(index, layer)? {
                return Ok(None);
            }
        }
        self.take_until(total)?;
        Ok(Some(self.hasher.digest()))
    }

    /// Hashes a layer's content while it grows; false when the draft was given up.
    fn take_layer(&mut self, index: usize, layer: &Member) -> io::Result<bool> {
        let before = self.hasher.clone();
        let mut restarts = 0;
        loop {
            let at = self.hasher.length() - layer.start();
            let Some(mark) = self.marks.wait(index, at, restarts) else {
                return Ok(false);
            };
            if mark.restarts != restarts {
                restarts = mark.restarts;
                self.hasher = before.clone();
            } else if at == layer.size && mark.complete {
                return Ok(true);
            } else {
                let end = mark.written.min(at + 8 * CHUNK);
                self.take_until(layer.start() + end)?;
            }
        }
    }

    /// Hashes up to a position in the file.
    fn take_until(&mut self, position: u64) -> io::Result<()> {
        while self.hasher.length() < position {
            let at = self.hasher.length();
            let length = usize::try_from((position - at).min(CHUNK)).expect("a chunk is small");
            read_exact_at(self.file, &mut self.buffer[..length], at)?;
            self.hasher.update(&self.buffer[..length]);
        }
        Ok(())
    }
}
