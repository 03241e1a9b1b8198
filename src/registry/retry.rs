//! When to try again: a budget of time without progress, and the pauses in it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use tokio::time::Instant;

use crate::registry::error::RegistryError;
use crate::registry::settings::Limits;
use crate::registry::sync::lock;

/// So many bytes in one go are progress: a server that gives a few bytes per connection must not hold us for ever.
const PROGRESS: u64 = 1024 * 1024;

/// A doubtful failure, such as a portal's page, is tried again so often and no more.
const FEW: u32 = 4;

/// What trying again may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chance {
    /// Nothing.
    None,
    /// It has been known to help, but mostly it does not.
    Small,
    /// Such failures pass.
    Good,
}

/// How long failures in a row may take. The clock starts at the first failure after progress, so that slow is not
/// the same as broken.
pub(super) struct Budget {
    allowed: Duration,
    start: Duration,
    most: Duration,
    since: Option<Instant>,
    failures: u32,
    doubtful: u32,
    waited: Duration,
    gained: u64,
}

impl Budget {
    pub(super) fn new(allowed: Duration, limits: &Limits) -> Self {
        let (start, most) = (limits.backoff_start, limits.backoff_most);
        Self { allowed, start, most, since: None, failures: 0, doubtful: 0, waited: Duration::ZERO, gained: 0 }
    }

    /// Notes bytes that came; enough of them fill the budget up again.
    pub(super) fn gained(&mut self, bytes: u64) {
        self.gained += bytes;
        if self.gained >= PROGRESS {
            *self = Self { since: None, failures: 0, doubtful: 0, waited: Duration::ZERO, gained: 0, ..*self };
        }
    }

    /// Notes that the failure which comes next took so long by itself: time in which nothing moved.
    pub(super) fn stood_still(&mut self, time: Duration) {
        let now = Instant::now();
        self.since.get_or_insert_with(|| now.checked_sub(time).unwrap_or(now));
    }

    /// The pause before the next try, or none if there should be none. Each failure in a row doubles the longest
    /// possible pause; the real one is random, so that many clients do not come back at once. `allowed` may be less
    /// than the budget's own time.
    pub(super) fn next_pause(&mut self, chance: Chance, allowed: Option<Duration>) -> Option<Duration> {
        let allowed = allowed.map_or(self.allowed, |allowed| allowed.min(self.allowed));
        self.doubtful += u32::from(chance == Chance::Small);
        let spent = self.since.get_or_insert_with(Instant::now).elapsed();
        if chance == Chance::None || self.doubtful > FEW || spent >= allowed {
            return None;
        }
        let most = self.start.saturating_mul(1 << self.failures.min(16)).min(self.most);
        self.failures += 1;
        let pause = self.start.min(most) + most.saturating_sub(self.start).mul_f64(random());
        // A last try at the very end of the time is worth more than giving up early.
        Some(pause.min(allowed.saturating_sub(spent)))
    }

    /// Whether a pause that the server asked for may be made: all of them without progress in between may take `most`.
    /// They are no failures, and their time does not count as such.
    pub(super) fn may_wait(&mut self, pause: Duration, most: Duration) -> bool {
        self.waited += pause;
        if let Some(since) = &mut self.since {
            *since += pause;
        }
        self.waited <= most
    }
}

/// From 0 to 1. Only spreads pauses, so the seed of the standard library's hash maps is random enough.
fn random() -> f64 {
    let bits = u32::try_from(RandomState::new().hash_one(0_u8) >> 32).expect("32 bits remain");
    f64::from(bits) / f64::from(u32::MAX)
}

/// Whether the same request may do better later.
pub(super) fn chance(error: &RegistryError) -> Chance {
    match error.inner() {
        RegistryError::Shared(_) => unreachable!("what is inside was looked at"),
        RegistryError::Status { status, .. } if is_passing_status(*status) => Chance::Good,
        // A page with an error status is a gateway's; one with 200 can be a scanner's "please wait".
        RegistryError::Page { status, .. } if is_passing_status(*status) => Chance::Good,
        RegistryError::Page { status: 200, .. }
        | RegistryError::StoreRefused { .. }
        | RegistryError::Garbled { .. } => Chance::Small,
        RegistryError::Unresolved { .. }
        | RegistryError::Unreachable { .. }
        | RegistryError::ProxyRefused { .. }
        | RegistryError::Stalled { .. }
        | RegistryError::Broken { .. } => Chance::Good,
        RegistryError::Setting { .. }
        | RegistryError::Credentials(_)
        | RegistryError::LoginMissing { .. }
        | RegistryError::LoginRefused { .. }
        | RegistryError::Denied { .. }
        | RegistryError::NotFound { .. }
        | RegistryError::RateLimited { .. }
        | RegistryError::Status { .. }
        | RegistryError::Page { .. }
        | RegistryError::ProxyLogin { .. }
        | RegistryError::UnknownAuthority { .. }
        | RegistryError::Certificate { .. }
        | RegistryError::NotTls { .. }
        | RegistryError::Tls { .. }
        | RegistryError::RedirectRefused { .. }
        | RegistryError::RealmRefused { .. }
        | RegistryError::LocationRefused { .. }
        | RegistryError::Answer { .. }
        | RegistryError::TooLarge { .. }
        | RegistryError::Document { .. }
        | RegistryError::OtherContent { .. }
        | RegistryError::Compressed { .. }
        | RegistryError::OtherLength { .. } => Chance::None,
    }
}

/// 499 is nginx's and 522 Cloudflare's word for a connection that broke behind them.
pub(super) fn is_passing_status(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 499 | 500..=599) && !matches!(status, 501 | 505)
}

/// The time that a server asks to wait, in its `Retry-After`: seconds or a date. A date is compared with the
/// server's own clock where it tells it. What cannot be understood counts as absent.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        // A year stands for "very long"; larger numbers would overflow a clock.
        return Some(Duration::from_secs(seconds.min(31_536_000)));
    }
    let at = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp().as_second());
    let then = at(text)?;
    let servers_now = headers.get(DATE).and_then(|date| date.to_str().ok()).and_then(at);
    let ours = || now.duration_since(SystemTime::UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok());
    let now = servers_now.or_else(ours)?;
    Some(Duration::from_secs(u64::try_from(then.saturating_sub(now)).unwrap_or(0).min(31_536_000)))
}

/// Until when which host wants to be left alone.
#[derive(Default)]
pub(super) struct Pauses(Mutex<HashMap<String, Instant>>);

impl Pauses {
    /// Nobody asks `host` before `pause` is over.
    pub(super) fn hold(&self, host: &str, pause: Duration) {
        let until = Instant::now() + pause;
        let mut held = lock(&self.0);
        let entry = held.entry(host.to_owned()).or_insert(until);
        *entry = until.max(*entry);
    }

    /// Waits until `host` may be asked again.
    pub(super) async fn wait(&self, host: &str) {
        while let Some(left) = self.left(host) {
            tokio::time::sleep(left).await;
        }
    }

    /// How long `host` still wants to be left alone.
    pub(super) fn left(&self, host: &str) -> Option<Duration> {
        let held = lock(&self.0);
        let left = held.get(host)?.saturating_duration_since(Instant::now());
        if left.is_zero() { None } else { Some(left) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn h_02_retry_after_is_seconds_or_a_date() {
        // 2026-01-01 00:00:00
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        for (pairs, seconds) in [
            (&[("retry-after", "7")][..], Some(7)),
            (&[("retry-after", " 0 ")], Some(0)),
            (&[("retry-after", "21600")], Some(21_600)),
            (&[("retry-after", "99999999999999999")], Some(31_536_000)),
            (&[("retry-after", "Thu, 01 Jan 2026 00:00:42 GMT")], Some(42)),
            (&[("retry-after", "Wed, 31 Dec 2025 23:59:00 GMT")], Some(0)),
            // The server's clock is a day ahead of ours: its own date tells how long it means.
            (&[("retry-after", "Fri, 02 Jan 2026 00:00:09 GMT"), ("date", "Fri, 02 Jan 2026 00:00:04 GMT")], Some(5)),
            (&[("retry-after", "-5")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "99999999999999999999999")], None),
            (&[], None),
        ] {
            let pause = retry_after(&headers(pairs), now);
            assert_eq!(pause, seconds.map(Duration::from_secs), "{pairs:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_without_progress_use_the_time_up_and_progress_fills_it() {
        let mut budget = Budget::new(Duration::from_secs(600), &Limits::default());
        let mut pauses = Vec::new();
        while let Some(pause) = budget.next_pause(Chance::Good, None) {
            tokio::time::sleep(pause).await;
            pauses.push(pause);
        }
        let all: Duration = pauses.iter().sum();
        assert!(all.abs_diff(Duration::from_secs(600)) < Duration::from_secs(1), "the last try is at the end: {all:?}");
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(60)), "{pauses:?}");
        budget.gained(PROGRESS - 1);
        assert_eq!(budget.next_pause(Chance::Good, None), None);
        budget.gained(1);
        assert!(budget.next_pause(Chance::Good, None).is_some());
    }

    #[test]
    fn statuses_that_pass_are_told_from_those_that_do_not() {
        for (status, passes) in [
            (408, true),
            (425, true),
            (429, true),
            (499, true),
            (500, true),
            (503, true),
            (522, true),
            (501, false),
            (505, false),
            (400, false),
            (404, false),
            (416, false),
        ] {
            assert_eq!(is_passing_status(status), passes, "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn h_02_a_shorter_pause_does_not_end_a_longer_one() {
        let pauses = Pauses::default();
        pauses.hold("reg.corp", Duration::from_secs(60));
        pauses.hold("reg.corp", Duration::from_secs(1));
        assert_eq!(pauses.left("reg.corp"), Some(Duration::from_secs(60)));
        assert_eq!(pauses.left("other.corp"), None);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(pauses.left("reg.corp"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nothing_moved_counts() {
        tokio::time::advance(Duration::from_secs(60)).await;
        let mut budget = Budget::new(Duration::from_secs(3), &Limits::default());
        budget.stood_still(Duration::from_secs(30));
        assert_eq!(budget.next_pause(Chance::Good, None), None);
        let mut budget = Budget::new(Duration::from_secs(31), &Limits::default());
        budget.stood_still(Duration::from_secs(30));
        assert!(budget.next_pause(Chance::Good, None).is_some_and(|pause| pause <= Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn being_slow_is_no_failure() {
        let mut budget = Budget::new(Duration::from_secs(600), &Limits::default());
        tokio::time::sleep(Duration::from_secs(7_200)).await;
        assert!(budget.next_pause(Chance::Good, None).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn doubtful_failures_are_tried_a_few_times_and_hopeless_ones_not() {
        let mut budget = Budget::new(Duration::from_secs(600), &Limits::default());
        assert_eq!(budget.next_pause(Chance::None, None), None);
        let tried = (0..100).take_while(|_| budget.next_pause(Chance::Small, None).is_some()).count();
        assert_eq!(tried, 4);
    }

    #[test]
    fn pauses_that_were_asked_for_have_their_own_limit() {
        let mut budget = Budget::new(Duration::from_secs(600), &Limits::default());
        let most = Duration::from_secs(900);
        assert!(budget.may_wait(Duration::from_secs(600), most));
        assert!(!budget.may_wait(Duration::from_secs(301), most));
        budget.gained(PROGRESS);
        assert!(budget.may_wait(Duration::from_secs(301), most));
    }
}
