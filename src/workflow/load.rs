//! `load`: bundle → docker or podman on this host.

use std::sync::Arc;

use crate::bundle::{BundleError, BundlePlace, Stack, docker_platform};
use crate::engine::{Archive, Engine, EngineChoice, EngineSettings, IdCheck, ImageKey};
use crate::failure::{ErrorClass, Failure};
use crate::images::LockedImage;
use crate::oci::{Digest, ImageRef};
use crate::plan::{MirrorMap, Target};
use crate::progress::{Arrival, Event, Phase, Progress};
use crate::workflow::trust::{self, TrustSettings, Use};
use crate::workflow::verify::absent;

/// What `load` was asked for.
#[derive(Debug, Clone)]
pub struct LoadRequest {
    /// The bundle.
    pub bundle: BundlePlace,
    /// Older bundles that have what a delta leaves out.
    pub bases: Vec<BundlePlace>,
    /// Which engine.
    pub engine: EngineChoice,
    /// Where engines may be.
    pub settings: EngineSettings,
    /// The registry whose names the images get too.
    pub target: Option<Target>,
    /// Threads that check the bundle before it is handed over.
    pub threads: usize,
    /// Who must have signed the bundle.
    pub trust: TrustSettings,
}

/// One image in the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// Its name in the bundle and in the engine.
    pub name: ImageRef,
    /// Its private name in the engine, if one was asked for.
    pub private: Option<ImageRef>,
    /// The engine's id of it.
    pub id: Digest,
}

/// What `load` did.
#[derive(Debug)]
pub struct LoadReport {
    /// The engine, with its version and where it was found.
    pub engine: String,
    /// What it has now.
    pub images: Vec<LoadedImage>,
    /// Images that no engine loads from a bundle: artifacts without a configuration that can run.
    pub left_out: Vec<ImageRef>,
}

/// Checks the whole bundle, hands it to the engine, and compares what the engine has with what was in it.
pub async fn load(request: &LoadRequest, progress: &Arc<dyn Progress>) -> Result<LoadReport, Failure> {
    let stack = Arc::new(tokio::task::block_in_place(|| sound_bundle(request, &**progress))?);
    check_bases(request, &stack, progress).await?;
    let lock = stack.lock();
    let names = request.target.as_ref().map(|target| MirrorMap::of_lock(lock, target)).transpose()?;
    let engine = Engine::find(request.engine, &request.settings).await?;
    hand_over(&stack, &engine, progress).await?;
    let (loadable, others): (Vec<&LockedImage>, Vec<&LockedImage>) =
        lock.images.iter().partition(|image| docker_platform(image).is_some());
    let mut images = Vec::new();
    for image in loadable {
        let id = check(image, &engine).await?;
        let private = match names.as_ref().and_then(|names| names.target_of(&image.name)) {
            // Engines give a name to a tag only; an image without one has no private name here.
            Some(private) if private.tag().is_some() => Some(private.without_digest()),
            _ => None,
        };
        if let Some(private) = &private {
            engine.tag(ImageKey::Id(&id), private).await?;
        }
        progress.report(Event::ImageDone { image: image.name.to_string() });
        images.push(LoadedImage { name: image.name.clone(), private, id });
    }
    Ok(LoadReport {
        engine: format!("{} {} at {}", engine.kind(), engine.version(), engine.place()),
        images,
        left_out: others.into_iter().map(|image| image.name.clone()).collect(),
    })
}

/// An engine believes what it is given, so the bundle is read whole before.
fn sound_bundle(request: &LoadRequest, progress: &dyn Progress) -> Result<Stack, Failure> {
    let stack = Stack::open(&request.bundle, &request.bases)?;
    let bundle = stack.top();
    trust::check(bundle, &request.trust, Use::Accept, progress)?;
    let verdict = bundle.verify(request.threads, progress)?;
    if verdict.findings.is_empty() {
        return Ok(stack);
    }
    let what = format!("{} things are wrong with it", verdict.findings.len());
    Err(BundleError::Damaged { path: bundle.path().to_owned(), what }.into())
}

/// What a delta leaves out is read from its bases before too; without all of it, an engine would stop in the middle.
async fn check_bases(request: &LoadRequest, stack: &Arc<Stack>, progress: &Arc<dyn Progress>) -> Result<(), Failure> {
    let Some(base) = stack.top().layout().base() else {
        return Ok(());
    };
    let mut absent = absent(stack, request.threads, progress).await?;
    if let Some(damaged) = absent.iter().position(|absent| absent.damage.is_some()) {
        let damage = absent.swap_remove(damaged).damage.expect("it was looked for");
        return Err(damage.within("a base of the delta cannot be used: nothing was loaded"));
    }
    let Some(first) = absent.first() else {
        return Ok(());
    };
    let (file, names) = (request.bundle.typed(), &first.images);
    let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let text = format!(
        "`{}` is a delta: {} layers are neither in it nor in the bundles given with it, as {} of {names}",
        stack.top().path().display(),
        absent.len(),
        first.layer.digest
    );
    let help = format!("give the bundle of {} along: `octobundle load {file} --base OLD`", base.name);
    Err(Failure::new(ErrorClass::NotFound, text).with_help(help))
}

async fn hand_over(stack: &Stack, engine: &Engine, progress: &Arc<dyn Progress>) -> Result<(), Failure> {
    let bundle = stack.top();
    let (parts, length) = tokio::task::block_in_place(|| stack.whole())?;
    let digest = bundle.layout().id();
    let images = bundle.lock().images.len();
    progress.report(Event::Planned { images, blobs: 1, bytes: length });
    progress.report(Event::Phase(Phase::Loading));
    let image = bundle.path().display().to_string();
    progress.report(Event::BlobStarted { digest, size: length, image });
    let teller = progress.clone();
    let tell = move |position| teller.report(Event::BlobAt { digest, position });
    engine.load(Archive { name: bundle.path(), parts: &parts }, tell).await?;
    progress.report(Event::BlobDone { digest, size: length, arrival: Arrival::Moved });
    Ok(())
}

/// The engine's id of an image, which must be one of the bundle's digests for it.
async fn check(image: &LockedImage, engine: &Engine) -> Result<Digest, Failure> {
    let name = image.name.without_digest();
    let config = docker_platform(image).map(|platform| platform.config.digest);
    let key = match (name.tag(), &config) {
        (None, Some(config)) => ImageKey::Id(config),
        _ => ImageKey::Name(&name),
    };
    let Some(id) = engine.image_id(key).await? else {
        let text = format!("{} took the bundle but does not have `{name}`", engine.place());
        return Err(Failure::new(ErrorClass::Integrity, text)
            .with_help("look at the engine's own log, then run the same command again"));
    };
    if IdCheck::of(&id, image).is_same() {
        return Ok(id);
    }
    let text = format!("`{name}` in {} is {id}, which is not in the bundle", engine.place());
    Err(Failure::new(ErrorClass::Integrity, text)
        .with_help("something else gave the engine an image of that name meanwhile; run the same command again"))
}
