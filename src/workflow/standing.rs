//! What stands under the names of a set in a registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::content::Lookup;
use crate::failure::Failure;
use crate::images::{Lock, LockedImage};
use crate::oci::{Digest, ImageRef};
use crate::plan::MirrorMap;
use crate::registry::Registry;
use crate::transfer::side_by_side;

/// For each image of `lock`, by its name there, what its name at the registry stands for today; none where nothing
/// does.
pub(super) async fn standing(
    lock: &Lock,
    names: &MirrorMap,
    registry: &Arc<Registry>,
    jobs: usize,
) -> Result<BTreeMap<ImageRef, Option<Digest>>, Failure> {
    let target = |image: &LockedImage| Some((image.clone(), names.target_of(&image.name)?.clone()));
    let targets: Vec<(LockedImage, ImageRef)> = lock.images.iter().filter_map(target).collect();
    let answers = side_by_side(
        jobs,
        targets,
        |(image, target)| ask(registry.clone(), image, target),
        |answer: &Result<_, Failure>| answer.is_err(),
    )
    .await;
    answers.into_iter().collect()
}

async fn ask(
    registry: Arc<Registry>,
    image: LockedImage,
    target: ImageRef,
) -> Result<(ImageRef, Option<Digest>), Failure> {
    let lookup = target.tag().map_or(Lookup::Digest(image.root.digest), |tag| Lookup::Tag(tag.clone()));
    let found = registry.document_digest(target.repository(), &lookup).await;
    let found = found.map_err(|failure| failure.within(format!("failed to ask for `{target}`")))?;
    Ok((image.name, found))
}
