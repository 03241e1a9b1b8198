//! What differs between two locks, in the words of a report.

use crate::images::Lock;
use crate::oci::ImageRef;
use crate::plan::Difference;
use crate::report::{Changes, Moved};

/// What `new` has and `old` has not, and the other way round.
pub(super) fn changes(old: &Lock, new: &Lock) -> Changes {
    let Difference { added, removed, moved, same, new, shared, .. } = Difference::between(old, new);
    let names = |images: &[ImageRef]| images.iter().map(ToString::to_string).collect();
    let moved = moved.into_iter().map(|moved| Moved {
        name: moved.name.to_string(),
        from: moved.from,
        to: moved.to,
        new_bytes: moved.new_bytes,
    });
    Changes {
        since: old.release.clone(),
        added: names(&added),
        removed: names(&removed),
        moved: moved.collect(),
        unchanged: same,
        new_blobs: new.blobs,
        new_bytes: new.bytes,
        kept_bytes: shared.bytes,
    }
}
