//! How fast a body comes.

use std::time::Duration;

use crate::registry::settings::Limits;

/// A slow connection is replaced so often; after that the line is believed to be slow.
pub(super) const REPLACED: u32 = 3;

/// How fast a connection is, in time that we spent waiting for it.
#[derive(Default)]
pub(super) struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Notes bytes; true if they came too slowly for too long.
    pub(super) fn is_too_slow(&mut self, waited: Duration, bytes: u64, limits: &Limits) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < limits.slow_window {
            return false;
        }
        let slow = self.bytes < limits.slow_bytes;
        *self = Self::default();
        slow
    }
}
