//! What differs between two locks.

use std::collections::BTreeMap;

use crate::images::{Lock, LockedImage};
use crate::report::{Changes, Moved};

/// What `new` has and `old` has not, and the other way round.
pub(super) fn changes(old: &Lock, new: &Lock) -> Changes {
    let before: BTreeMap<_, &LockedImage> = old.images.iter().map(|image| (&image.name, image)).collect();
    let after: BTreeMap<_, &LockedImage> = new.images.iter().map(|image| (&image.name, image)).collect();
    let (old_layers, new_layers) = (old.layers(), new.layers());
    let fresh = new_layers.values().filter(|layer| !old_layers.contains_key(&layer.digest));
    let (count, bytes) = fresh.fold((0, 0), |(count, bytes), layer| (count + 1, bytes + layer.size));
    let both = new.images.iter().filter_map(|image| Some((image, *before.get(&image.name)?)));
    let moved: Vec<Moved> = both
        .clone()
        .filter(|(image, earlier)| image.root.digest != earlier.root.digest)
        .map(|(image, earlier)| {
            let layers: BTreeMap<_, u64> = image.layers().map(|layer| (layer.digest, layer.size)).collect();
            let new_bytes = layers.iter().filter(|(digest, _)| !old_layers.contains_key(digest)).map(|(_, size)| size);
            Moved {
                name: image.name.to_string(),
                from: earlier.root.digest,
                to: image.root.digest,
                new_bytes: new_bytes.sum(),
            }
        })
        .collect();
    let missing_in = |images: &[LockedImage], others: &BTreeMap<_, &LockedImage>| {
        let lacking = images.iter().filter(|image| !others.contains_key(&image.name));
        lacking.map(|image| image.name.to_string()).collect()
    };
    Changes {
        since: old.release.clone(),
        added: missing_in(&new.images, &before),
        removed: missing_in(&old.images, &after),
        unchanged: both.count() - moved.len(),
        moved,
        new_layers: count,
        new_bytes: bytes,
        kept_bytes: new_layers.values().map(|layer| layer.size).sum::<u64>() - bytes,
    }
}
