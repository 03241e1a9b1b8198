//! `repair`: a damaged bundle → the same bundle, sound, out of what other places have of it.
//!
//! What is there is read first, and what is lacking is decided before anything is written. The repaired bundle is
//! written beside the damaged one, compared with its digests on the way, read back, and only then takes its place.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt as _;

use crate::bundle::{
    BundleError, BundleOutput, BundlePlace, EarlierDraft, ExistingOutput, Mended, OtherForm, Patchwork, Sealed,
    Segment, check_output,
};
use crate::content::{Fetched, ImageSource, Lookup, Unverified, folder_of};
use crate::engine::{EngineChoice, EngineSettings};
use crate::failure::{ErrorClass, Failure};
use crate::images::{Lock, LockedImage};
use crate::oci::{Descriptor, Digest, ImageRef, Repository};
use crate::plan::{MirrorMap, Target};
use crate::progress::{Phase, Progress};
use crate::registry::Registry;
use crate::transfer::{CopyFailure, CopySettings};
use crate::workflow::loan::{EngineLoan, borrow};
use crate::workflow::resolve::documents_of;
use crate::workflow::write::{Proof, WriteRequest, write};

/// What `repair` was asked for.
#[derive(Debug, Clone)]
pub struct RepairRequest {
    /// The damaged bundle.
    pub bundle: BundlePlace,
    /// Bundles that may have what it lacks; they may be damaged, too.
    pub others: Vec<BundlePlace>,
    /// Engines on this host that may have it.
    pub engines: Vec<EngineChoice>,
    /// Where engines may be.
    pub engine_settings: EngineSettings,
    /// A registry that may have it.
    pub registry: Option<RegistryPlace>,
    /// Where the repaired bundle is written; in the damaged one's place if nothing is said.
    pub output: Option<PathBuf>,
    /// What to do if that name is taken.
    pub existing: ExistingOutput,
    /// How to copy.
    pub copy: CopySettings,
    /// Threads that read what is on disk.
    pub threads: usize,
}

/// Where registries have the images of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryPlace {
    /// Where they were pulled from.
    Origin,
    /// Where they were pushed to.
    Target(Target),
}

/// What `repair` did.
#[derive(Debug)]
pub struct RepairReport {
    /// What is in the bundle.
    pub lock: Lock,
    /// The bundle that was damaged.
    pub path: PathBuf,
    /// Whether it was sound, so that nothing was done.
    pub was_sound: bool,
    /// Whether what stands around the blobs was damaged: it was written anew.
    pub frame: bool,
    /// Whether bad parts of blobs could be told from good ones.
    pub by_pieces: bool,
    /// The damaged blobs, with the images that they hurt.
    pub damaged: Vec<(Mended, Vec<ImageRef>)>,
    /// What was had from engines. They are asked only for what no copy has.
    pub loans: Vec<EngineLoan>,
    /// The repaired bundle.
    pub sealed: Option<Sealed>,
    /// Damaged blobs that none of the places has.
    pub beyond_repair: BTreeSet<Digest>,
    /// What could not be fetched.
    pub failures: Vec<CopyFailure>,
}

/// Repairs a bundle. Where something is had nowhere, nothing is written.
pub async fn repair(
    request: &RepairRequest,
    registry: &Arc<Registry>,
    progress: &Arc<dyn Progress>,
) -> Result<RepairReport, Failure> {
    // Reading everything takes long; a name that is taken is told before.
    if let Some(output) = &request.output
        && request.existing == ExistingOutput::Refuse
        && output.symlink_metadata().is_ok()
    {
        return Err(BundleError::Exists(output.clone()).into());
    }
    let survey = || Patchwork::survey(&request.bundle, &request.others, request.threads, &**progress);
    let mut patchwork = tokio::task::block_in_place(survey)?;
    let mut loans = Vec::new();
    for choice in &request.engines {
        if patchwork.mended().any(|blob| blob.lacking() > 0) {
            let folder = folder_of(request.output.as_deref().unwrap_or(patchwork.path())).to_owned();
            loans.push(borrow(&mut patchwork, *choice, &request.engine_settings, &folder).await?);
        }
    }
    let patchwork = Arc::new(patchwork);
    let mut report = report(&patchwork, loans);
    if report.was_sound {
        return Ok(report);
    }
    let places = Arc::new(Places::new(patchwork.clone(), request.registry.as_ref(), registry)?);
    let mut documents = known_documents(&patchwork);
    if places.has_registry() {
        documents.extend(fetched_documents(&places, &documents, &mut report.failures).await);
    } else {
        report.beyond_repair = patchwork.mended().filter(|blob| blob.lacking() > 0).map(|blob| blob.digest).collect();
    }
    if !report.beyond_repair.is_empty() || !report.failures.is_empty() {
        return Ok(report);
    }
    let write_request = how_to_write(request, &patchwork);
    check_output(&write_request.output, write_request.existing)?;
    let mender = Arc::new(Mender { places, begun: Mutex::new(BTreeSet::new()) });
    let how = (Phase::Copying, Proof::ReadBack);
    let written = write(&write_request, patchwork.layout().clone(), &documents, &mender, how, progress).await?;
    report.sealed = written.sealed;
    report.failures = written.outcome.failures;
    Ok(report)
}

fn report(patchwork: &Patchwork, loans: Vec<EngineLoan>) -> RepairReport {
    let lock = patchwork.layout().lock();
    let users = lock.users();
    let names = |digest| users.get(digest).into_iter().flatten().copied().cloned().collect();
    RepairReport {
        path: patchwork.path().to_owned(),
        was_sound: patchwork.is_sound(),
        frame: patchwork.frame_is_damaged(),
        by_pieces: patchwork.knows_pieces(),
        damaged: patchwork.mended().map(|mended| (mended.clone(), names(&mended.digest))).collect(),
        loans,
        sealed: None,
        beyond_repair: BTreeSet::new(),
        failures: Vec::new(),
        lock: lock.clone(),
    }
}

/// In the damaged bundle's place unless another one was named, and in its form.
fn how_to_write(request: &RepairRequest, patchwork: &Patchwork) -> WriteRequest {
    let path = request.output.clone().unwrap_or_else(|| patchwork.path().to_owned());
    let existing = if request.output.is_some() { request.existing } else { ExistingOutput::Replace };
    WriteRequest {
        output: BundleOutput { path, form: patchwork.form(), other_form: OtherForm::Kept },
        existing,
        earlier: EarlierDraft::Continue,
        copy: request.copy,
        threads: request.threads,
        lock_wait: std::time::Duration::ZERO,
    }
}

/// The documents that a copy has.
fn known_documents(patchwork: &Patchwork) -> BTreeMap<Digest, Bytes> {
    let digests = patchwork.layout().lock().documents().into_keys();
    digests.filter_map(|digest| Some((digest, patchwork.document(&digest)?))).collect()
}

/// The documents that only the registry has.
async fn fetched_documents(
    places: &Places,
    known: &BTreeMap<Digest, Bytes>,
    failures: &mut Vec<CopyFailure>,
) -> BTreeMap<Digest, Bytes> {
    let mut fetched = BTreeMap::new();
    for image in &places.patchwork.layout().lock().images {
        let has = |digest: &Digest| known.contains_key(digest) || fetched.contains_key(digest);
        if image.documents().all(|document| has(&document.digest)) {
            continue;
        }
        match documents_of(places.as_it_stands_there(image), &places.registry).await {
            Ok(documents) => fetched.extend(documents),
            Err(failure) => failures.push(CopyFailure { images: vec![image.name.clone()], failure }),
        }
    }
    fetched
}

/// What the copies have, and for the rest the registry.
struct Places {
    patchwork: Arc<Patchwork>,
    registry: Arc<Registry>,
    /// The name of each image at the registry, by its own; empty if no registry was named.
    names: BTreeMap<ImageRef, ImageRef>,
}

impl Places {
    fn new(
        patchwork: Arc<Patchwork>,
        place: Option<&RegistryPlace>,
        registry: &Arc<Registry>,
    ) -> Result<Self, Failure> {
        let lock = patchwork.layout().lock();
        let own = |image: &LockedImage| (image.name.clone(), image.name.clone());
        let names = match place {
            None => BTreeMap::new(),
            Some(RegistryPlace::Origin) => lock.images.iter().map(own).collect(),
            Some(RegistryPlace::Target(target)) => {
                let map = MirrorMap::of_lock(lock, target)?;
                let there = |image: &LockedImage| Some((image.name.clone(), map.target_of(&image.name)?.clone()));
                lock.images.iter().filter_map(there).collect()
            }
        };
        Ok(Self { patchwork, registry: registry.clone(), names })
    }

    fn has_registry(&self) -> bool {
        !self.names.is_empty()
    }

    /// An image by the name that it has at the registry. A private one has what was pushed to it, also where that was
    /// derived from something else.
    fn as_it_stands_there(&self, image: &LockedImage) -> LockedImage {
        let name = self.names.get(&image.name).unwrap_or(&image.name).clone();
        let derived = image.derived && name == image.name;
        LockedImage { name, derived, ..image.clone() }
    }

    /// The repositories that may have a blob.
    fn repositories(&self, digest: &Digest) -> BTreeSet<Repository> {
        let uses = |image: &&LockedImage| image.blobs().any(|blob| blob.digest == *digest);
        let images = self.patchwork.layout().lock().images.iter().filter(uses);
        images.filter_map(|image| Some(self.names.get(&image.name)?.repository().clone())).collect()
    }

    async fn part(&self, blob: &Descriptor, segment: &Segment) -> Result<Unverified, Failure> {
        match segment.copy {
            Some(copy) => Ok(self.patchwork.part(&blob.digest, copy, &segment.range)?),
            None => self.fetch(blob, &segment.range).await,
        }
    }

    /// Asks one repository after the other.
    async fn fetch(&self, blob: &Descriptor, range: &Range<u64>) -> Result<Unverified, Failure> {
        let mut why = Failure::new(ErrorClass::NotFound, format!("no place was named that may have {}", blob.digest));
        for at in self.repositories(&blob.digest) {
            match self.registry.blob_part(&at, blob, range.clone()).await {
                Ok(content) => return Ok(content),
                Err(failure) => why = failure,
            }
        }
        Err(why)
    }
}

/// Gives every blob out of the parts that are good.
struct Mender {
    places: Arc<Places>,
    /// Blobs that were put together once. Asked for again from its start, one was not what it should be.
    begun: Mutex<BTreeSet<Digest>>,
}

impl ImageSource for Mender {
    async fn document(&self, _: &Repository, lookup: &Lookup) -> Result<Fetched, Failure> {
        Err(Failure::new(ErrorClass::Other, format!("a bundle being repaired is asked for layers, not for `{lookup}`")))
    }

    async fn blob(&self, _: &Repository, blob: &Descriptor, from: u64) -> Result<Unverified, Failure> {
        let first = self.begun.lock().expect("no holder of the list panics").insert(blob.digest);
        let whole_again = from == 0 && !first && self.places.has_registry();
        let segments = if whole_again {
            vec![Segment { range: 0..blob.size, copy: None }]
        } else {
            behind(self.places.patchwork.segments(&blob.digest), from)
        };
        let (places, blob) = (self.places.clone(), blob.clone());
        let parts = futures_util::stream::iter(segments).then(move |segment| {
            let (places, blob) = (places.clone(), blob.clone());
            async move { places.part(&blob, &segment).await }
        });
        Ok(Unverified::joined(parts))
    }
}

/// What of these parts lies behind a place in the blob.
fn behind(segments: Vec<Segment>, from: u64) -> Vec<Segment> {
    let cut = |segment: Segment| {
        let range = segment.range.start.max(from)..segment.range.end;
        (range.start < range.end).then_some(Segment { range, ..segment })
    };
    segments.into_iter().filter_map(cut).collect()
}
