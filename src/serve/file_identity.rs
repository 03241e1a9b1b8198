//! What tells a file from another, and from itself after a change.

use std::fs::Metadata;
use std::time::{Duration, SystemTime};

/// How far apart two changes of a file may be and still carry one time: FAT counts by two seconds, kernels by their
/// clock's tick.
const COARSE_TICK: Duration = Duration::from_secs(2);
const FINE_TICK: Duration = Duration::from_millis(20);

/// What tells a file from another, and from itself after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
    length: u64,
    modified: Option<SystemTime>,
    changed: (i64, i64),
}

impl FileIdentity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let (device, inode, changed) = {
            use std::os::unix::fs::MetadataExt as _;
            (metadata.dev(), metadata.ino(), (metadata.ctime(), metadata.ctime_nsec()))
        };
        #[cfg(not(unix))]
        let (device, inode, changed) = (0, 0, (0, 0));
        Self { device, inode, length: metadata.len(), modified: metadata.modified().ok(), changed }
    }

    /// How long to wait until another change would give the file another time.
    pub(crate) fn unsettled(&self) -> Duration {
        let (seconds, nanos) = self.changed;
        let tick = if nanos == 0 { COARSE_TICK } else { FINE_TICK };
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else { return Duration::ZERO };
        let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        // A time to come is no time that a change now would give.
        let age = SystemTime::now().duration_since(changed).unwrap_or(tick);
        tick.saturating_sub(age)
    }
}
