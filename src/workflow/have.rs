//! `have`: what a registry has of the sets that are known, for a delta that is pulled elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::failure::Failure;
use crate::images::{Have, HeldBlob, Lock};
use crate::oci::{Descriptor, Digest, Repository};
use crate::plan::{MirrorMap, PushPlan, Target};
use crate::registry::Registry;
use crate::transfer::side_by_side;

/// What `have` was asked for.
#[derive(Debug, Clone)]
pub struct HaveRequest {
    /// The sets whose blobs are asked for.
    pub sets: Vec<Lock>,
    /// Where they may have been pushed to.
    pub target: Target,
    /// Questions at a time.
    pub jobs: usize,
    /// What time it is.
    pub now: jiff::Timestamp,
}

/// What a registry has of some sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaveReport {
    /// What it has.
    pub have: Have,
    /// How many blobs were asked for.
    pub asked: usize,
    /// Bytes of what it has.
    pub bytes: u64,
}

/// Asks for every blob of the sets in the repository that `push` would have put it into.
pub async fn have(request: &HaveRequest, registry: &Arc<Registry>) -> Result<HaveReport, Failure> {
    let mut questions: BTreeMap<(Repository, Digest), Descriptor> = BTreeMap::new();
    for set in &request.sets {
        let names = MirrorMap::of_lock(set, &request.target)?;
        let asked = PushPlan::questions(set, &names, &std::collections::BTreeSet::new());
        questions.extend(asked.into_iter().map(|(place, blob)| ((place, blob.digest), blob)));
    }
    let answers = side_by_side(
        request.jobs,
        questions.into_iter().map(|((place, _), blob)| (place, blob)),
        |(place, blob)| ask(registry.clone(), place, blob),
        |answer: &Result<_, Failure>| answer.is_err(),
    )
    .await;
    let mut found: BTreeMap<Digest, HeldBlob> = BTreeMap::new();
    for answer in answers {
        let (place, blob, there) = answer?;
        let held = found.entry(blob.digest).or_default();
        held.size = blob.size;
        if there {
            held.repositories.insert(place);
        }
    }
    let asked = found.len();
    let have = Have::new(request.target.to_string(), request.now, found);
    let bytes = have.blobs.iter().map(|blob| blob.size).sum();
    Ok(HaveReport { have, asked, bytes })
}

async fn ask(
    registry: Arc<Registry>,
    place: Repository,
    blob: Descriptor,
) -> Result<(Repository, Descriptor, bool), Failure> {
    let there = registry.has_blob(&place, &blob).await;
    let there =
        there.map_err(|failure| failure.within(format!("failed to ask {place} for {}", blob.digest.short())))?;
    Ok((place, blob, there))
}
