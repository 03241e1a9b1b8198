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
    use super::*;

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
