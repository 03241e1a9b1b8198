//! What a push has to send.

use std::collections::{BTreeMap, BTreeSet};

use crate::content::Lookup;
use crate::images::{Lock, LockedContent, LockedImage};
use crate::oci::{Descriptor, Digest, ImageRef, Repository};
use crate::plan::copy_list::{BlobCopy, CopyList, DocumentCopy, ImageCopy};
use crate::plan::mirror_map::MirrorMap;

/// What the registry has of what a push would bring.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Presence {
    /// Images that stand under their new names already, by their old names.
    pub images: BTreeSet<ImageRef>,
    /// Blobs of the other images, with the repositories that have them.
    pub blobs: BTreeMap<Digest, BTreeSet<Repository>>,
}

/// What to send where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushPlan {
    /// The work.
    pub copy: CopyList,
    /// Bytes of blobs that are there already, each counted once.
    pub present_bytes: u64,
    /// Bytes of blobs that the registry is asked to take over from its own repositories.
    pub adopted_bytes: u64,
}

impl PushPlan {
    /// Decides. A blob goes up once; the other repositories that need it adopt it.
    pub fn new(lock: &Lock, names: &MirrorMap, presence: &Presence) -> Self {
        let pending: Vec<(&LockedImage, &ImageRef)> = lock
            .images
            .iter()
            .filter(|image| !presence.images.contains(&image.name))
            .filter_map(|image| Some((image, names.target_of(&image.name)?)))
            .collect();
        let mut blobs: BTreeMap<Digest, BlobCopy> = BTreeMap::new();
        for (image, target) in &pending {
            for content in image.blobs() {
                note(&mut blobs, image, target.repository(), content);
            }
        }
        let mut plan = Self {
            copy: CopyList {
                blobs: Vec::new(),
                images: pending.iter().map(|(image, target)| image_copy(image, target)).collect(),
            },
            present_bytes: complete_images_bytes(lock, presence, &blobs),
            adopted_bytes: 0,
        };
        for mut copy in blobs.into_values() {
            let there = presence.blobs.get(&copy.blob.digest).cloned().unwrap_or_default();
            copy.to.retain(|repository| !there.contains(repository));
            copy.held_by = there.into_iter().next();
            match (copy.to.is_empty(), &copy.held_by) {
                (true, _) => plan.present_bytes += copy.blob.size,
                (false, Some(_)) => plan.adopted_bytes += copy.blob.size,
                (false, None) => {}
            }
            if !copy.to.is_empty() {
                plan.copy.blobs.push(copy);
            }
        }
        // The largest first, so that uploads side by side end together.
        plan.copy.blobs.sort_by(|a, b| b.blob.size.cmp(&a.blob.size).then(a.blob.digest.cmp(&b.blob.digest)));
        plan
    }

    /// The blobs and repositories that must be asked for before deciding.
    pub fn questions(lock: &Lock, names: &MirrorMap, complete: &BTreeSet<ImageRef>) -> Vec<(Repository, Descriptor)> {
        let pending = lock.images.iter().filter(|image| !complete.contains(&image.name));
        let asked: BTreeMap<(Repository, Digest), Descriptor> = pending
            .filter_map(|image| Some((image, names.target_of(&image.name)?.repository())))
            .flat_map(|(image, to)| image.blobs().map(|blob| ((to.clone(), blob.digest), blob.descriptor())))
            .collect();
        asked.into_iter().map(|((repository, _), blob)| (repository, blob)).collect()
    }
}

fn note(blobs: &mut BTreeMap<Digest, BlobCopy>, image: &LockedImage, to: &Repository, content: &LockedContent) {
    let copy = blobs.entry(content.digest).or_insert_with(|| BlobCopy {
        blob: content.descriptor(),
        from: image.name.repository().clone(),
        to: Vec::new(),
        held_by: None,
        images: Vec::new(),
    });
    if !copy.to.contains(to) {
        copy.to.push(to.clone());
    }
    if !copy.images.contains(&image.name) {
        copy.images.push(image.name.clone());
    }
}

fn image_copy(image: &LockedImage, target: &ImageRef) -> ImageCopy {
    let to = target.repository();
    let document = |content: &LockedContent, lookup| DocumentCopy {
        media_type: content.media_type.clone(),
        digest: content.digest,
        to: to.clone(),
        lookup,
    };
    let mut seen = BTreeSet::from([image.root.digest]);
    let children = image.platforms.iter().map(|platform| &platform.manifest);
    let children = children.filter(|manifest| seen.insert(manifest.digest));
    let name = target.tag().map_or(Lookup::Digest(image.root.digest), |tag| Lookup::Tag(tag.clone()));
    ImageCopy {
        name: image.name.clone(),
        blobs: image.blobs().map(|blob| blob.digest).collect(),
        children: children.map(|manifest| document(manifest, Lookup::Digest(manifest.digest))).collect(),
        root: document(&image.root, name),
    }
}

/// Bytes of the images that are there whole, less what other images need too and is counted there.
fn complete_images_bytes(lock: &Lock, presence: &Presence, counted: &BTreeMap<Digest, BlobCopy>) -> u64 {
    let complete = lock.images.iter().filter(|image| presence.images.contains(&image.name));
    let blobs: BTreeMap<Digest, u64> =
        complete.flat_map(LockedImage::blobs).map(|blob| (blob.digest, blob.size)).collect();
    blobs.iter().filter(|(digest, _)| !counted.contains_key(digest)).map(|(_, size)| size).sum()
}
