//! `have`: what a registry has, for a delta that is pulled elsewhere: of sets that are known, or of all that it shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::content::{ImageSource as _, Lookup};
use crate::failure::{ErrorClass, Failure};
use crate::images::{Have, HeldBlob, Lock};
use crate::oci::{Descriptor, Digest, Document, Repository};
use crate::plan::{MirrorMap, PushPlan, Target};
use crate::registry::Registry;
use crate::transfer::side_by_side;

/// What `have` was asked for.
#[derive(Debug, Clone)]
pub struct HaveRequest {
    /// Whose blobs are asked for.
    pub asked: Asked,
    /// The place in the registry.
    pub target: Target,
    /// Questions at a time.
    pub jobs: usize,
    /// What time it is.
    pub now: jiff::Timestamp,
}

/// What a registry is asked about.
#[derive(Debug, Clone)]
pub enum Asked {
    /// What these sets name, in the repositories that `push` would have put it into.
    Sets(Vec<Lock>),
    /// Everything that has a tag in these repositories.
    Repositories(Vec<Repository>),
    /// The same in every repository below the place, as far as the registry lists them.
    Everything,
}

/// What a registry has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaveReport {
    /// What it has.
    pub have: Have,
    /// How many blobs were asked for.
    pub asked: usize,
    /// Bytes of what it has.
    pub bytes: u64,
}

/// A blob with the repository that may have it.
type Questions = BTreeMap<(Repository, Digest), Descriptor>;

/// Asks for every blob itself: what a manifest names may be gone.
pub async fn have(request: &HaveRequest, registry: &Arc<Registry>) -> Result<HaveReport, Failure> {
    let questions = match &request.asked {
        Asked::Sets(sets) => of_sets(sets, &request.target)?,
        Asked::Repositories(repositories) => {
            of_repositories(repositories.clone(), Unknown::Refuse, request.jobs, registry).await?
        }
        Asked::Everything => {
            let listed = listed(&request.target, registry).await?;
            of_repositories(listed, Unknown::Skip, request.jobs, registry).await?
        }
    };
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

fn of_sets(sets: &[Lock], target: &Target) -> Result<Questions, Failure> {
    let mut questions = Questions::new();
    for set in sets {
        let names = MirrorMap::of_lock(set, target)?;
        let asked = PushPlan::questions(set, &names, &std::collections::BTreeSet::new());
        questions.extend(asked.into_iter().map(|(place, blob)| ((place, blob.digest), blob)));
    }
    Ok(questions)
}

/// The repositories below the target, as far as the registry lists them.
async fn listed(target: &Target, registry: &Arc<Registry>) -> Result<Vec<Repository>, Failure> {
    let all = registry.repositories(target.registry()).await.map_err(|failure| {
        failure.with_help(
            "not every registry lists its repositories: name them with `--repository NAME`, or name bundles or locks that \
             were pushed there",
        )
    })?;
    let below = target.prefix().map_or_else(String::new, |prefix| format!("{prefix}/"));
    Ok(all.into_iter().filter(|repository| repository.name.as_str().starts_with(&below)).collect())
}

/// What the tags of these repositories stand for, with all parts.
async fn of_repositories(
    repositories: Vec<Repository>,
    unknown: Unknown,
    jobs: usize,
    registry: &Arc<Registry>,
) -> Result<Questions, Failure> {
    let answers = side_by_side(
        jobs,
        repositories,
        |repository| of_repository(repository, unknown, registry.clone()),
        |answer: &Result<_, Failure>| answer.is_err(),
    )
    .await;
    let mut questions = Questions::new();
    for answer in answers {
        questions.extend(answer?);
    }
    Ok(questions)
}

/// What a repository means that the registry does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    /// A list may name what has been emptied.
    Skip,
    /// A person may have mistyped it.
    Refuse,
}

async fn of_repository(at: Repository, unknown: Unknown, registry: Arc<Registry>) -> Result<Questions, Failure> {
    let mut questions = Questions::new();
    let tags = match registry.tags(&at).await {
        Err(failure) if failure.class() == ErrorClass::NotFound && unknown == Unknown::Skip => Vec::new(),
        other => other?,
    };
    for tag in tags {
        let mut waiting = vec![Lookup::Tag(tag)];
        while let Some(lookup) = waiting.pop() {
            let document = match registry.document(&at, &lookup).await {
                Ok(fetched) => fetched.document,
                // A tag that went meanwhile, an index of which only a part was copied.
                Err(failure) if failure.class() == ErrorClass::NotFound => continue,
                Err(failure) => return Err(failure),
            };
            match document {
                Document::Index(index) if matches!(lookup, Lookup::Tag(_)) => {
                    waiting.extend(index.manifests.iter().map(|entry| Lookup::Digest(entry.descriptor.digest)));
                }
                // An index within an index, which no engine runs.
                Document::Index(_) => {}
                Document::Manifest(manifest) => {
                    let blobs = std::iter::once(&manifest.config).chain(&manifest.layers);
                    questions.extend(blobs.map(|blob| ((at.clone(), blob.digest), blob.clone())));
                }
            }
        }
    }
    Ok(questions)
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
