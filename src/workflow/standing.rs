//! What a registry has: under the names of a set, and of blobs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::content::Lookup;
use crate::failure::Failure;
use crate::images::{Lock, LockedImage};
use crate::oci::{Descriptor, Digest, ImageRef, Repository};
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
        |(image, target)| stands_for(registry.clone(), image, target),
        |(_, answer)| answer.is_err(),
    )
    .await;
    answers.into_iter().map(|(name, answer)| Ok((name, answer?))).collect()
}

/// What the name `target` of an image stands for at the registry.
pub(super) async fn stands_for(
    registry: Arc<Registry>,
    image: LockedImage,
    target: ImageRef,
) -> (ImageRef, Result<Option<Digest>, Failure>) {
    let lookup = target.tag().map_or(Lookup::Digest(image.root.digest), |tag| Lookup::Tag(tag.clone()));
    let found = registry.document_digest(target.repository(), &lookup).await;
    (image.name, found.map_err(|failure| failure.within(format!("failed to ask for `{target}`"))))
}

/// Whether a repository of the registry has a blob.
pub(super) async fn has_blob(
    registry: Arc<Registry>,
    at: Repository,
    blob: Descriptor,
) -> ((Repository, Digest), Result<bool, Failure>) {
    let there = registry.has_blob(&at, &blob).await;
    let there = there.map_err(|failure| failure.within(format!("failed to ask {at} for {}", blob.digest.short())));
    ((at, blob.digest), there)
}
