//! A long line on loopback, for kernels without traffic control: `line HOST:PORT ROUND_TRIP_MS MBIT_PER_S`.
//!
//! It prints the address to connect to, and forwards to HOST:PORT until it is ended. Bytes leave in each direction at
//! the rate, all connections together, and arrive half a round trip later; opening a connection costs one round trip.
//! There is no loss and no slow start: what is seen is the number of waits for answers. `scripts/bench.sh` uses it.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

const CHUNK: usize = 64 * 1024;

/// One direction: when it is free again, and what it costs.
#[derive(Clone)]
struct Direction {
    free: Arc<Mutex<Instant>>,
    delay: Duration,
    bytes_a_second: u64,
    /// Chunks on the way: four round trips at the full rate. More would hide that a reader is slow.
    window: usize,
}

impl Direction {
    fn new(round_trip: Duration, bytes_a_second: u64) -> Self {
        let window = round_trip.as_millis() * 4 * u128::from(bytes_a_second) / 1000 / CHUNK as u128;
        Self {
            free: Arc::new(Mutex::new(Instant::now())),
            delay: round_trip / 2,
            bytes_a_second,
            window: usize::try_from(window).unwrap_or(1024) + 4,
        }
    }

    /// When bytes that are there now, but not before `first`, have arrived.
    fn due(&self, bytes: usize, first: Instant) -> Instant {
        let nanoseconds = bytes as u64 * 1_000_000_000 / self.bytes_a_second;
        let mut free = self.free.lock().expect("nothing panics with it");
        *free = (*free).max(Instant::now()).max(first) + Duration::from_nanos(nanoseconds);
        *free + self.delay
    }

    async fn carry(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, first: Instant) {
        let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(self.window);
        let taking = tokio::spawn(async move {
            loop {
                let mut chunk = vec![0; CHUNK];
                let read = from.read(&mut chunk).await.unwrap_or(0);
                chunk.truncate(read);
                if sender.send((self.due(read, first), chunk)).await.is_err() || read == 0 {
                    break;
                }
            }
        });
        while let Some((due, chunk)) = receiver.recv().await {
            sleep_until(due).await;
            // An empty chunk is the end, and so is a reader that went away.
            if chunk.is_empty() || to.write_all(&chunk).await.is_err() {
                break;
            }
        }
        to.shutdown().await.ok();
        drop(receiver);
        taking.await.ok();
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let [_, upstream, round_trip, rate] = words.as_slice() else {
        return Err(io::Error::other("usage: line HOST:PORT ROUND_TRIP_MS MBIT_PER_S"));
    };
    let round_trip = Duration::from_millis(round_trip.parse().map_err(io::Error::other)?);
    let rate = rate.parse::<u64>().map_err(io::Error::other)?.max(1) * 1_000_000 / 8;
    let (up, down) = (Direction::new(round_trip, rate), Direction::new(round_trip, rate));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (client, _) = listener.accept().await?;
        // The client's first byte could not have left before its connection was answered.
        let opened = Instant::now() + round_trip;
        let server = TcpStream::connect(upstream).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::spawn(up.clone().carry(from_client, to_server, opened));
        tokio::spawn(down.clone().carry(from_server, to_client, Instant::now()));
    }
}
