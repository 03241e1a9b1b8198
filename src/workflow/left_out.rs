//! What a delta leaves out, on its way to a registry: proven to be there, or had from elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bundle::Stack;
use crate::content::{Fetched, ImageSource, Lookup, Unverified};
use crate::failure::{ErrorClass, Failure};
use crate::images::Lock;
use crate::oci::{Descriptor, Digest, Repository};
use crate::plan::{Lacking, LeftOutNeeds, MirrorMap, Presence, Target};
use crate::registry::Registry;
use crate::transfer::side_by_side;
use crate::workflow::standing::has_blob;

/// What became of the layers that a delta leaves out and that no bundle at hand has.
#[derive(Default)]
pub(super) struct Proof {
    /// Those that are nowhere.
    pub(super) lacking: Vec<Lacking>,
    /// A repository of the registry for each of the others.
    held: BTreeMap<Digest, Repository>,
}

/// Asks for what the bundles cannot give wherever the registry may have it, and notes in `presence` what was found.
/// `pending` are the images that are pushed, with those that are there already.
pub(super) async fn prove(
    stack: &Stack,
    pending: &Lock,
    names: &MirrorMap,
    target: &Target,
    presence: &mut Presence,
    (registry, jobs): (&Arc<Registry>, usize),
) -> Result<Proof, Failure> {
    let Some(base) = stack.top().layout().base() else {
        return Ok(Proof::default());
    };
    let needs = LeftOutNeeds::new(pending, &stack.lacking(), &presence.images);
    let found = side_by_side(
        jobs,
        needs.questions(base, names, target, presence),
        |(place, blob)| has(registry.clone(), place, blob),
        |answer: &Result<_, Failure>| answer.is_err(),
    )
    .await;
    for answer in found {
        if let Some((digest, place)) = answer? {
            presence.blobs.entry(digest).or_default().insert(place);
        }
    }
    Ok(Proof { lacking: needs.lacking(presence), held: needs.held(presence) })
}

/// Repositories that are not pushed to may be closed to this login: then they are of no use.
async fn has(
    registry: Arc<Registry>,
    place: Repository,
    blob: Descriptor,
) -> Result<Option<(Digest, Repository)>, Failure> {
    match has_blob(registry, place, blob).await {
        ((place, digest), Ok(there)) => Ok(there.then_some((digest, place))),
        (_, Err(failure)) if failure.class() == ErrorClass::Access => Ok(None),
        (_, Err(failure)) => Err(failure),
    }
}

/// The bundles; and for what they leave out, the registry itself: where it does not take a layer over from its own
/// repository, the bytes take the way through this machine.
pub(super) struct Supply {
    stack: Arc<Stack>,
    registry: Arc<Registry>,
    held: BTreeMap<Digest, Repository>,
}

impl Supply {
    /// Everything that a push may have to send.
    pub(super) fn new(stack: &Arc<Stack>, registry: &Arc<Registry>, proof: &Proof) -> Self {
        Self { stack: stack.clone(), registry: registry.clone(), held: proof.held.clone() }
    }
}

impl ImageSource for Supply {
    async fn document(&self, at: &Repository, lookup: &Lookup) -> Result<Fetched, Failure> {
        self.stack.document(at, lookup).await
    }

    async fn blob(&self, at: &Repository, blob: &Descriptor, from: u64) -> Result<Unverified, Failure> {
        match self.held.get(&blob.digest) {
            Some(place) => self.registry.blob(place, blob, from).await,
            None => self.stack.blob(at, blob, from).await,
        }
    }
}
