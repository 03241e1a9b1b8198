//! What the far side must have before a delta can be pushed.

use std::collections::{BTreeMap, BTreeSet};

use crate::images::{Base, BaseKind, Lock, LockedContent, LockedImage};
use crate::oci::{Descriptor, Digest, ImageRef, Repository};
use crate::plan::mirror_map::{MirrorMap, Target};
use crate::plan::push::Presence;

/// A layer that a delta leaves out, that images wait for, and that is nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// Which.
    pub layer: LockedContent,
    /// The images that need it and are not there yet.
    pub images: Vec<ImageRef>,
}

/// The layers in question: left out, in no bundle at hand, and part of an image that is not there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOutNeeds<'a> {
    lock: &'a Lock,
    needs: BTreeMap<Digest, Lacking>,
}

impl<'a> LeftOutNeeds<'a> {
    /// Of `lacking`, which is in no bundle, what the images that are not `complete` need.
    pub fn new(lock: &'a Lock, lacking: &BTreeMap<Digest, &LockedContent>, complete: &BTreeSet<ImageRef>) -> Self {
        let mut needs: BTreeMap<Digest, Lacking> = BTreeMap::new();
        for image in lock.images.iter().filter(|image| !complete.contains(&image.name)) {
            for layer in LockedImage::layers(image).filter(|layer| lacking.contains_key(&layer.digest)) {
                let new = || Lacking { layer: layer.clone(), images: Vec::new() };
                let need = needs.entry(layer.digest).or_insert_with(new);
                if need.images.last() != Some(&image.name) {
                    need.images.push(image.name.clone());
                }
            }
        }
        Self { lock, needs }
    }

    /// Where to look further for what none of the images that wait for it has in its own repository: in those of the
    /// set's other images, and where the base has it.
    pub fn questions(
        &self,
        base: &Base,
        names: &MirrorMap,
        target: &Target,
        presence: &Presence,
    ) -> Vec<(Repository, Descriptor)> {
        let mut questions = Vec::new();
        for need in self.unfound(presence) {
            let digest = need.layer.digest;
            let users = self.lock.images.iter().filter(|image| image.layers().any(|layer| layer.digest == digest));
            let asked: BTreeSet<&Repository> =
                need.images.iter().filter_map(|name| Some(names.target_of(name)?.repository())).collect();
            let elsewhere = users.filter_map(|image| Some(names.target_of(&image.name)?.repository().clone()));
            let places: BTreeSet<Repository> = elsewhere.chain(held_at(base, &digest, target)).collect();
            let places = places.into_iter().filter(|place| !asked.contains(place));
            questions.extend(places.map(|place| (place, need.layer.descriptor())));
        }
        questions
    }

    /// What is nowhere, the largest first.
    pub fn lacking(&self, presence: &Presence) -> Vec<Lacking> {
        let mut lacking: Vec<Lacking> = self.unfound(presence).cloned().collect();
        lacking.sort_by(|a, b| b.layer.size.cmp(&a.layer.size).then(a.layer.digest.cmp(&b.layer.digest)));
        lacking
    }

    /// A repository that has it, for each layer that was found.
    pub fn held(&self, presence: &Presence) -> BTreeMap<Digest, Repository> {
        let place = |digest: &Digest| presence.blobs.get(digest)?.first().cloned();
        self.needs.keys().filter_map(|digest| Some((*digest, place(digest)?))).collect()
    }

    fn unfound<'b>(&'b self, presence: &'b Presence) -> impl Iterator<Item = &'b Lacking> {
        let found = |digest: &Digest| presence.blobs.get(digest).is_some_and(|places| !places.is_empty());
        self.needs.values().filter(move |need| !found(&need.layer.digest))
    }
}

/// The repositories of the target in which the base has a layer. A release's are those that its images would get there;
/// a registry's are taken as they were found, at the host that is pushed to, since one registry can have several names.
fn held_at(base: &Base, digest: &Digest, target: &Target) -> Vec<Repository> {
    let left = base.left_out.iter().filter(|left| left.digest == *digest);
    let places = left.flat_map(|left| &left.held_in);
    let at_target = |place: &Repository| match base.kind {
        BaseKind::Release => target.repository(place).ok(),
        BaseKind::Registry => Some(Repository { host: target.registry().clone(), name: place.name.clone() }),
    };
    places.filter_map(at_target).collect()
}
