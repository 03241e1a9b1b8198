//! Proxies that cut every transfer at the same mark: after so many bytes, or after so much time. Who asks for smaller
//! pieces is not cut any more.

use std::time::Duration;

/// Cuts before this are the line's, not a mark.
const LEAST_BYTES: u64 = 1024 * 1024;
const LEAST_TIME: Duration = Duration::from_secs(60);
/// Two marks that differ by less than one part in so many are one.
const ALIKE: u32 = 50;

/// What the cuts of a transfer have shown.
#[derive(Default)]
pub(super) struct Pieces {
    last: Option<Cut>,
    most: Option<u64>,
}

#[derive(Clone, Copy)]
struct Cut {
    bytes: u64,
    lasted: Duration,
}

impl Pieces {
    /// Notes that an answer broke after so many bytes and so much time.
    pub(super) fn cut(&mut self, bytes: u64, lasted: Duration) {
        let cut = Cut { bytes, lasted };
        if let Some(last) = self.last.replace(cut)
            && cut.is_at_the_mark_of(last)
        {
            self.most = Some((bytes.min(last.bytes) / 10 * 9).max(LEAST_BYTES / 2));
        }
    }

    /// How many bytes to ask for at most; none while all that is left may be asked for.
    pub(super) fn most(&self) -> Option<u64> {
        self.most
    }
}

impl Cut {
    fn is_at_the_mark_of(self, other: Self) -> bool {
        let (bytes, lasted) = (self.bytes.min(other.bytes), self.lasted.min(other.lasted));
        let same_bytes = self.bytes.abs_diff(other.bytes) <= bytes / u64::from(ALIKE);
        let same_time = self.lasted.abs_diff(other.lasted) <= lasted / ALIKE;
        (bytes >= LEAST_BYTES && same_bytes) || (bytes > 0 && lasted >= LEAST_TIME && same_time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn after(cuts: &[(u64, u64)]) -> Option<u64> {
        let mut pieces = Pieces::default();
        for (bytes, seconds) in cuts {
            pieces.cut(*bytes, Duration::from_secs(*seconds));
        }
        pieces.most()
    }

    #[test]
    fn p_05_two_cuts_at_one_mark_lead_to_smaller_pieces() {
        assert_eq!(after(&[(2048 * MIB, 300)]), None, "once is chance");
        assert_eq!(after(&[(2048 * MIB, 300), (2048 * MIB, 500)]), Some(2048 * MIB / 10 * 9));
        assert_eq!(after(&[(900 * MIB, 900), (500 * MIB, 901)]), Some(500 * MIB / 10 * 9), "a quarter of an hour");
        assert_eq!(after(&[(100 * MIB, 10), (30 * MIB, 3), (60 * MIB, 6)]), None, "a line that breaks by chance");
        assert_eq!(after(&[(0, 0), (0, 0)]), None);
        assert_eq!(after(&[(1000, 1), (1000, 1)]), None, "a line that hardly works");
        let twice = [(100 * MIB, 1), (100 * MIB, 1), (50 * MIB, 1), (50 * MIB, 1)];
        assert_eq!(after(&twice), Some(50 * MIB / 10 * 9), "the mark may move");
    }
}
