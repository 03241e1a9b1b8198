//! `diff`: what two sets of images have apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::failure::{ErrorClass, Failure};
use crate::images::{ImageSet, Lock, LockedImage, PlatformChoice, WantedImage};
use crate::oci::{Digest, ImageRef};
use crate::plan::{Difference, MirrorMap, Target};
use crate::progress::Progress;
use crate::registry::Registry;
use crate::workflow::resolve;
use crate::workflow::standing::standing;

/// One side of a comparison.
#[derive(Debug, Clone)]
pub enum Side {
    /// What a bundle or a lock names.
    Set(Box<Lock>),
    /// What a registry has under the names that the other side's images would get there.
    Registry(Target),
}

/// Compares two sides; at most one of them can be a registry.
pub async fn diff(
    first: Side,
    second: Side,
    registry: &Arc<Registry>,
    jobs: usize,
    progress: &dyn Progress,
) -> Result<Difference, Failure> {
    match (first, second) {
        (Side::Set(first), Side::Set(second)) => Ok(Difference::between(&first, &second)),
        (Side::Set(set), Side::Registry(target)) => {
            let there = seen_at(&set, &target, registry, jobs, progress).await?;
            Ok(Difference::between(&set, &there))
        }
        (Side::Registry(target), Side::Set(set)) => {
            let there = seen_at(&set, &target, registry, jobs, progress).await?;
            Ok(Difference::between(&there, &set))
        }
        (Side::Registry(first), Side::Registry(second)) => {
            let what = format!("`{first}` and `{second}` are both registries, and neither says which images are meant");
            Err(Failure::new(ErrorClass::Usage, what)
                .with_help("name the bundle or the lock on one side, and compare it with each registry"))
        }
    }
}

/// The set under its own names, as it stands in the registry today: what is not there is not in it, and what stands
/// there for something else is resolved there.
async fn seen_at(
    set: &Lock,
    target: &Target,
    registry: &Arc<Registry>,
    jobs: usize,
    progress: &dyn Progress,
) -> Result<Lock, Failure> {
    let names = MirrorMap::of_lock(set, target)?;
    let roots = standing(set, &names, registry, jobs).await?;
    let others = resolve(&others(set, &names, &roots), registry, jobs, progress).await?;
    let by_target: BTreeMap<ImageRef, LockedImage> =
        others.lock.images.into_iter().map(|image| (image.name.clone(), image)).collect();
    let image = |image: &LockedImage| {
        let root = (*roots.get(&image.name)?)?;
        if root == image.root.digest {
            return Some(image.clone());
        }
        let found = by_target.get(&pinned(&names, image, root)?)?.clone();
        Some(LockedImage { name: image.name.clone(), ..found })
    };
    let images = set.images.iter().filter_map(image).collect();
    Ok(Lock { images, ..set.clone() })
}

/// The images that stand for something else there, by digest, so that they cannot move once more meanwhile. Two tags
/// can stand for one.
fn others(set: &Lock, names: &MirrorMap, roots: &BTreeMap<ImageRef, Option<Digest>>) -> ImageSet {
    let other = |image: &LockedImage| {
        let root = (*roots.get(&image.name)?)?;
        let name = pinned(names, image, root)?;
        let (role, groups) = (image.role.clone(), image.groups.clone());
        (root != image.root.digest).then_some(WantedImage { name, role, groups, platforms: PlatformChoice::All })
    };
    let images: BTreeMap<ImageRef, WantedImage> =
        set.images.iter().filter_map(other).map(|image| (image.name.clone(), image)).collect();
    let images = images.into_values().collect();
    ImageSet { release: set.release.clone(), title: set.title.clone(), manifest: set.manifest, images }
}

fn pinned(names: &MirrorMap, image: &LockedImage, root: Digest) -> Option<ImageRef> {
    Some(ImageRef::pinned(names.target_of(&image.name)?.repository().clone(), root))
}
