//! How uploads to each host fare: what one blob learns of the line, the next one need not learn again.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::registry::settings::Limits;
use crate::registry::sync::lock;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// A part is this much smaller than what passes between two breaks, so that a lost one costs little: half a part is
/// lost on average, and each part costs some thousand bytes of heads.
const PARTS_BETWEEN_BREAKS: u64 = 40;
/// How much the last distance between two breaks counts against all before it.
const LATEST: u64 = 4;

/// What was learnt, by host.
#[derive(Default)]
pub(super) struct Weather {
    hosts: Mutex<HashMap<String, Sky>>,
    changed: Notify,
}

#[derive(Default)]
struct Sky {
    /// Bytes sent since the last break, or since the beginning.
    calm: u64,
    /// Bytes between breaks, the later ones counting more. None until there was one.
    distance: Option<u64>,
    /// The smallest body that was too large for the host or a proxy before it.
    too_large: Option<u64>,
    /// Whether parts were refused.
    whole_only: bool,
    /// Whether any blob has arrived.
    took: bool,
    memory: Memory,
}

/// What a registry still has of an upload when one of its requests broke.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Memory {
    #[default]
    Unknown,
    /// At least the parts that it had acknowledged.
    Parts,
    Nothing,
}

impl Weather {
    fn at<T>(&self, host: &str, look: impl FnOnce(&mut Sky) -> T) -> T {
        look(lock(&self.hosts).entry(host.to_owned()).or_default())
    }

    /// Notes bytes that were sent.
    pub(super) fn passed(&self, host: &str, bytes: u64) {
        self.at(host, |sky| sky.calm += bytes);
    }

    /// Notes that a request broke while it was sent.
    pub(super) fn broke(&self, host: &str) {
        self.at(host, |sky| {
            let before = sky.distance.unwrap_or(sky.calm);
            sky.distance = Some((before * (LATEST - 1) + sky.calm) / LATEST);
            sky.calm = 0;
        });
        self.changed.notify_waiters();
    }

    /// Ends with the next break.
    pub(super) fn change(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Whether a request that has sent some bytes and has others left had better be given up, since it will hardly come
    /// through and loses more the longer it lasts.
    pub(super) fn is_hopeless(&self, host: &str, sent: u64, left: u64) -> bool {
        let distance = self.at(host, |sky| sky.distance.map(|distance| distance.max(sky.calm).max(1)));
        let Some(distance) = distance else { return false };
        let (sent, left, distance) = (as_float(sent), as_float(left), as_float(distance));
        // Breaks come by chance, so this is how likely one comes before the end, against how likely none does.
        let odds = (left / distance).exp_m1();
        sent < odds * distance.min(left / 2.0)
    }

    /// Notes that a body of `size` bytes was refused for its size.
    pub(super) fn too_large(&self, host: &str, size: u64) {
        self.at(host, |sky| sky.too_large = Some(sky.too_large.map_or(size, |least| least.min(size))));
    }

    /// Notes that the host takes no parts. False where it takes no whole either, so that there is no way left.
    pub(super) fn refused_parts(&self, host: &str) -> bool {
        self.at(host, |sky| {
            sky.whole_only = sky.too_large.is_none();
            sky.whole_only
        })
    }

    /// Notes that an upload outlived a part that broke.
    pub(super) fn remembered(&self, host: &str) {
        self.at(host, |sky| sky.memory = Memory::Parts);
    }

    /// Notes that an upload was gone after it broke. Where none has ever survived, parts save nothing.
    pub(super) fn forgot(&self, host: &str) {
        self.at(host, |sky| {
            if sky.memory == Memory::Unknown {
                sky.memory = Memory::Nothing;
            }
        });
    }

    /// Notes that a blob has arrived.
    pub(super) fn took(&self, host: &str) {
        self.at(host, |sky| sky.took = true);
    }

    /// Whether any blob has arrived in this run.
    pub(super) fn took_something(&self, host: &str) -> bool {
        self.at(host, |sky| sky.took)
    }

    /// The size of the parts in which blobs should go to this host; none while one request is better.
    pub(super) fn part(&self, host: &str, limits: &Limits) -> Option<u64> {
        self.at(host, |sky| {
            if sky.whole_only {
                return None;
            }
            let for_size = sky.too_large.map(|size| limits.upload_part.min(size / 2));
            // A line that has been calm for longer than it used to be is better than it was.
            let distance = sky.distance.map(|distance| distance.max(sky.calm));
            let for_breaks = match sky.memory {
                Memory::Nothing => None,
                Memory::Parts | Memory::Unknown => distance.map(|distance| distance / PARTS_BETWEEN_BREAKS),
            };
            let part = for_size.into_iter().chain(for_breaks).min()?;
            Some(part.max(limits.least_part.min(limits.upload_part)))
        })
    }
}

/// Estimates need no more than this holds.
#[expect(clippy::cast_precision_loss, reason = "a blob's length is far below 2^53")]
fn as_float(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    fn part(weather: &Weather) -> Option<u64> {
        weather.part("reg.corp", &Limits::default())
    }

    #[test]
    fn parts_follow_the_distance_between_breaks_and_grow_when_it_is_calm() {
        let weather = Weather::default();
        weather.passed("reg.corp", 500 * MB);
        assert_eq!(part(&weather), None, "no break, no parts");
        weather.broke("other.corp");
        assert_eq!(part(&weather), None, "what breaks elsewhere does not matter");
        weather.broke("reg.corp");
        assert_eq!(part(&weather), Some(500 * MB / 40));
        for _ in 0..40 {
            weather.passed("reg.corp", 10 * MB);
            weather.broke("reg.corp");
        }
        let small = part(&weather).unwrap();
        assert!((250_000..260_000).contains(&small), "{small}");
        weather.broke("reg.corp");
        weather.broke("reg.corp");
        for _ in 0..100 {
            weather.broke("reg.corp");
        }
        assert_eq!(part(&weather), Some(Limits::default().least_part), "there is a least part");
        weather.passed("reg.corp", 1_000 * MB);
        assert_eq!(part(&weather), Some(25 * MB), "calm makes them grow");
    }

    #[test]
    fn a_request_is_given_up_where_it_hardly_comes_through_and_little_is_lost() {
        let weather = Weather::default();
        assert!(!weather.is_hopeless("reg.corp", 0, u64::MAX), "nothing has broken yet");
        weather.passed("reg.corp", 5 * MB);
        weather.broke("reg.corp");
        for (sent, left, hopeless) in
            [(MB, 500 * MB, true), (90 * MB, 10 * MB, false), (30 * MB, 20 * MB, true), (MB, MB, false), (0, 1, true)]
        {
            assert_eq!(weather.is_hopeless("reg.corp", sent, left), hopeless, "{sent} {left}");
        }
        weather.passed("reg.corp", 1_000 * MB);
        assert!(!weather.is_hopeless("reg.corp", 50 * MB, 50 * MB), "one break on a good line is no reason");
    }

    #[test]
    fn what_is_too_large_goes_in_smaller_parts_for_all() {
        let weather = Weather::default();
        weather.too_large("reg.corp", 300 * MB);
        assert_eq!(part(&weather), Some(Limits::default().upload_part));
        weather.too_large("reg.corp", 8 * MB);
        weather.too_large("reg.corp", 300 * MB);
        assert_eq!(part(&weather), Some(4 * MB));
        assert!(!weather.refused_parts("reg.corp"), "neither whole nor in parts");
        assert_eq!(part(&weather), Some(4 * MB));
    }

    #[test]
    fn hosts_that_take_no_parts_or_forget_what_broke_get_the_whole() {
        let weather = Weather::default();
        weather.broke("reg.corp");
        assert!(part(&weather).is_some());
        weather.forgot("reg.corp");
        assert_eq!(part(&weather), None);
        let weather = Weather::default();
        weather.broke("reg.corp");
        weather.remembered("reg.corp");
        weather.forgot("reg.corp");
        assert_eq!(part(&weather), Some(Limits::default().least_part), "one lost upload is no habit");
        assert!(weather.refused_parts("reg.corp"));
        assert_eq!(part(&weather), None);
    }
}
