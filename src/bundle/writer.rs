//! Content on its way to the disk: gathered into pieces, of which few wait at a time.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::bundle::error::BundleError;
use crate::failure::{ErrorClass, Failure};

/// Bytes gathered before one write, where they come in smaller chunks.
const WRITE: usize = 256 * 1024;
/// Pieces handed over at a time: one is written, the next is there when that has ended.
const HANDED_OVER: usize = 2;

/// Where all layers of a draft hand over their pieces. Who has a further one reads nothing more until there is room, so
/// that what waits in memory does not grow with the number of layers.
pub(crate) struct Disk {
    room: Arc<Semaphore>,
    /// Memory of pieces that were written, for the next ones. Blocks that one thread takes and another gives back are
    /// what allocators keep.
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Disk {
    /// A disk on which nothing is written yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { room: Arc::new(Semaphore::new(HANDED_OVER)), spare: Mutex::default() })
    }

    /// Empty, with room for a piece.
    fn memory(&self) -> Vec<u8> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Vec::with_capacity(WRITE))
    }

    fn give_back(&self, mut memory: Vec<u8>) {
        memory.clear();
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        // Many layers that end together leave more than those that go on will need.
        if spare.len() < HANDED_OVER {
            spare.push(memory);
        }
    }
}

/// Writes content behind a position, each piece while the next one is read.
pub(crate) struct Writer<W> {
    write: Arc<W>,
    disk: Arc<Disk>,
    at: u64,
    gathered: Vec<u8>,
    writing: Option<JoinHandle<Result<Option<Bytes>, BundleError>>>,
}

/// What is written at once.
enum Piece {
    Gathered(Vec<u8>),
    AsItCame(Bytes),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Gathered(bytes) => bytes,
            Self::AsItCame(bytes) => bytes,
        }
    }
}

impl<W: Fn(&[u8], u64) -> Result<(), BundleError> + Send + Sync + 'static> Writer<W> {
    /// Calls `write` with each piece and its position, the first one `at`, on a thread that may wait.
    pub(crate) fn new(write: W, disk: &Arc<Disk>, at: u64) -> Self {
        Self { write: Arc::new(write), disk: disk.clone(), at, gathered: Vec::new(), writing: None }
    }

    /// Takes what comes next. Small chunks are gathered, large ones are written as they came.
    pub(crate) async fn take(&mut self, mut chunk: Bytes) -> Result<(), Failure> {
        while !chunk.is_empty() {
            if self.gathered.is_empty() && chunk.len() >= WRITE {
                return self.begin(Piece::AsItCame(chunk)).await;
            }
            if self.gathered.is_empty() {
                self.gathered = self.disk.memory();
            }
            let room = WRITE - self.gathered.len();
            self.gathered.extend_from_slice(&chunk.split_to(room.min(chunk.len())));
            if self.gathered.len() == WRITE {
                let piece = Piece::Gathered(mem::take(&mut self.gathered));
                self.begin(piece).await?;
            }
        }
        Ok(())
    }

    /// Waits until all that was taken is written.
    pub(crate) async fn finish(mut self) -> Result<(), Failure> {
        if !self.gathered.is_empty() {
            let last = Piece::Gathered(mem::take(&mut self.gathered));
            self.begin(last).await?;
        }
        self.written().await
    }

    /// Begins to write a piece, once the one before it is written and there is room for it.
    async fn begin(&mut self, piece: Piece) -> Result<(), Failure> {
        self.written().await?;
        let room = self.disk.room.clone().acquire_owned().await.expect("it is never closed");
        let (write, disk, at) = (self.write.clone(), self.disk.clone(), self.at);
        self.at += piece.bytes().len() as u64;
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let written = write(piece.bytes(), at);
            drop(room);
            let came = match piece {
                Piece::Gathered(memory) => {
                    disk.give_back(memory);
                    None
                }
                // It goes back to the thread that made it, which can use its memory again.
                Piece::AsItCame(bytes) => Some(bytes),
            };
            written.map(|()| came)
        }));
        Ok(())
    }

    async fn written(&mut self) -> Result<(), Failure> {
        match self.writing.take() {
            Some(writing) => joined(writing).await.map(drop),
            None => Ok(()),
        }
    }
}

/// What disk work came to.
pub(crate) async fn joined<T>(work: JoinHandle<Result<T, BundleError>>) -> Result<T, Failure> {
    match work.await {
        Ok(done) => Ok(done?),
        Err(error) => Err(Failure::new(ErrorClass::Other, format!("a disk task stopped: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    type Written = Arc<Mutex<Vec<(u64, Vec<u8>)>>>;

    fn noting(written: &Written) -> impl Fn(&[u8], u64) -> Result<(), BundleError> + Send + Sync + 'static {
        let written = written.clone();
        move |piece, at| {
            written.lock().unwrap().push((at, piece.to_vec()));
            Ok(())
        }
    }

    #[tokio::test]
    async fn chunks_of_any_length_are_written_once_in_their_order_in_large_pieces() {
        let content: Vec<u8> = (0..5 * WRITE + 123).map(|at| u8::try_from(at % 251).unwrap()).collect();
        for lengths in [vec![1000], vec![WRITE], vec![WRITE - 1, WRITE + 1], vec![7, 3 * WRITE], vec![content.len()]] {
            let written = Written::default();
            let mut writer = Writer::new(noting(&written), &Disk::new(), 10);
            let (mut rest, mut lengths) = (Bytes::from(content.clone()), lengths.into_iter().cycle());
            while !rest.is_empty() {
                writer.take(rest.split_to(lengths.next().unwrap().min(rest.len()))).await.unwrap();
            }
            writer.finish().await.unwrap();
            let written = written.lock().unwrap();
            let (mut at, mut all) = (10, Vec::new());
            for (index, (begin, piece)) in written.iter().enumerate() {
                assert_eq!(*begin, at);
                assert!(piece.len() >= WRITE || index + 1 == written.len(), "{} bytes at {at}", piece.len());
                at += piece.len() as u64;
                all.extend_from_slice(piece);
            }
            assert!(all == content);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn while_the_disk_is_slow_few_pieces_are_taken_however_many_layers_there_are() {
        let (disk, open) = (Disk::new(), Arc::new((Mutex::new(false), Condvar::new())));
        let mut writers: Vec<_> = (0..8)
            .map(|_| {
                let open = open.clone();
                let write = move |_: &[u8], _| {
                    drop(open.1.wait_while(open.0.lock().unwrap(), |open| !*open).unwrap());
                    Ok(())
                };
                Writer::new(write, &disk, 0)
            })
            .collect();
        let piece = Bytes::from(vec![0; WRITE]);
        // A task that goes on is ready when it is polled: nothing but the disk is waited for.
        let mut taken = 0;
        for writer in &mut writers {
            let take = writer.take(piece.clone());
            taken += usize::from(futures_util::FutureExt::now_or_never(take).is_some());
        }
        *open.0.lock().unwrap() = true;
        open.1.notify_all();
        assert_eq!(taken, HANDED_OVER);
        for writer in writers {
            writer.finish().await.unwrap();
        }
    }
}
