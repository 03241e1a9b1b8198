//! A limit on bytes per second, shared by all that is under way, in both directions.

use std::sync::Mutex;
use std::time::Duration;

use crate::registry::sync::lock;
use tokio::time::Instant;

/// Time in which nothing passed is saved up so far and no further: pauses of a busy machine are made good, an idle
/// line does not become a burst. Without it 20 MB/s were a quarter too slow on a machine with other work.
const SAVED: Duration = Duration::from_millis(250);

/// Lets bytes pass at a rate, or at once where there is none.
pub(super) struct Throttle(Option<Limit>);

struct Limit {
    bytes_per_second: u64,
    /// When all that was let pass so far is paid for.
    paid_until: Mutex<Instant>,
}

impl Throttle {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        Self(
            bytes_per_second
                .map(|rate| Limit { bytes_per_second: rate.max(1), paid_until: Mutex::new(Instant::now()) }),
        )
    }

    /// Waits until `bytes` may pass.
    pub(super) async fn pass(&self, bytes: usize) {
        let Some(limit) = &self.0 else { return };
        tokio::time::sleep_until(limit.turn(bytes)).await;
    }

    /// When all that was let pass so far is paid for.
    #[cfg(test)]
    fn paid_until(&self) -> Option<Instant> {
        self.0.as_ref().map(|limit| *lock(&limit.paid_until))
    }
}

impl Limit {
    /// When the bytes may pass: behind all that came before.
    fn turn(&self, bytes: usize) -> Instant {
        let nanoseconds = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let mut paid_until = lock(&self.paid_until);
        let now = Instant::now();
        *paid_until = (*paid_until).max(now.checked_sub(SAVED).unwrap_or(now)) + cost;
        *paid_until
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::Arc;

    use super::*;
    use crate::content::{BlobContent, ImageSink as _, ImageSource as _};
    use crate::oci::{Descriptor, Digest, Hasher, Repository};
    use crate::progress::Silent;
    use crate::registry::{Registry, RegistrySettings};

    const BLOB: usize = 5_000_000;

    /// A registry that has one blob and takes any other.
    fn registry_with(blob: Vec<u8>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map(Result::unwrap) {
                let blob = blob.clone();
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(&stream);
                    while answer(&mut reader, &blob).is_some() {}
                });
            }
        });
        address
    }

    /// One request and its answer; none at the end of the connection.
    fn answer(reader: &mut BufReader<&TcpStream>, blob: &[u8]) -> Option<()> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let lower = head.to_ascii_lowercase();
        let body = lower.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        std::io::copy(&mut reader.take(body.unwrap_or(0)), &mut std::io::sink()).ok()?;
        let (status, length) = match head.split(' ').next()? {
            "GET" => ("200 OK", blob.len()),
            "POST" => ("202 Accepted\r\nLocation: /upload", 0),
            "PUT" => ("201 Created", 0),
            _ => ("404 Not Found", 0),
        };
        let mut stream = *reader.get_ref();
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n").ok()?;
        stream.write_all(&blob[..length]).ok()
    }

    /// The clock moves only to where the limiter lets the next bytes pass, so that neither this machine's speed nor that
    /// of its network counts.
    #[tokio::test(start_paused = true)]
    async fn what_registries_send_and_get_keeps_to_the_rate() {
        let content: Vec<u8> = (0..BLOB).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let blob = Descriptor::new("application/octet-stream", Digest::of(&content), content.len() as u64);
        let address = registry_with(content);
        let (from, to): (Repository, Repository) =
            (format!("{address}/a").parse().unwrap(), format!("{address}/b").parse().unwrap());
        let settings = RegistrySettings { limit_rate: Some(1_000_000), ..RegistrySettings::default() };
        let registry = Registry::new(settings, Arc::new(Silent)).unwrap();
        let throttle = registry.0.throttle.clone();
        let begun = Instant::now();
        let down = tokio::spawn({
            let (registry, from, blob) = (registry.clone(), from.clone(), blob.clone());
            async move {
                let content = registry.blob(&from, &blob, 0).await.unwrap();
                content.expecting(&blob, Hasher::new()).collect().await.unwrap().len()
            }
        });
        let through = tokio::spawn(async move {
            let content = BlobContent::new(Arc::new(registry.clone()), from, blob, Arc::new(Silent));
            registry.put_blob(&to, content).await.unwrap()
        });
        while !(down.is_finished() && through.is_finished()) {
            match throttle.paid_until().unwrap().checked_duration_since(Instant::now()) {
                // Timers count whole milliseconds.
                Some(left) if !left.is_zero() => tokio::time::advance(left + Duration::from_millis(1)).await,
                // Bytes are on their way, in the time of the world.
                _ => tokio::task::yield_now().await,
            }
        }
        assert_eq!(down.await.unwrap(), BLOB);
        through.await.unwrap();
        let seconds = begun.elapsed().as_secs_f64();
        assert!((14.25..=15.75).contains(&seconds), "5 MB down, 5 MB down and up, at 1 MB/s took {seconds} s");
    }

    #[tokio::test(start_paused = true)]
    async fn all_together_keep_to_the_rate() {
        let throttle = Throttle::new(Some(1_000_000));
        let start = Instant::now();
        let one = async {
            for _ in 0..50 {
                throttle.pass(100_000).await;
            }
        };
        let other = async {
            for _ in 0..500 {
                throttle.pass(10_000).await;
            }
        };
        futures_util::future::join(one, other).await;
        let seconds = start.elapsed().as_secs_f64();
        assert!((9.5..10.5).contains(&seconds), "10 MB at 1 MB/s took {seconds} s");
    }

    #[tokio::test(start_paused = true)]
    async fn short_pauses_are_made_good_and_long_ones_are_no_burst() {
        let throttle = Throttle::new(Some(1_000_000));
        let start = Instant::now();
        for _ in 0..100 {
            throttle.pass(100_000).await;
            // Somebody else had the processor.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let seconds = start.elapsed().as_secs_f64();
        assert!((9.5..10.5).contains(&seconds), "10 MB at 1 MB/s with pauses took {seconds} s");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        throttle.pass(1_000_000).await;
        assert!(start.elapsed() >= Duration::from_millis(750), "a minute without work gave {:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits() {
        let start = Instant::now();
        Throttle::new(None).pass(1 << 40).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
