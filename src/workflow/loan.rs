//! What an engine on this host has of a damaged bundle.

use std::path::Path;

use crate::bundle::Patchwork;
use crate::engine::{Engine, EngineChoice, EngineKind, EngineSettings, IdCheck, ImageKey};
use crate::failure::{ErrorClass, Failure};
use crate::images::LockedImage;
use crate::oci::{Digest, ImageRef};

/// What an engine was asked for, and what it gave.
#[derive(Debug)]
pub struct EngineLoan {
    /// What it is.
    pub kind: EngineKind,
    /// The engine, with its version and where it was found.
    pub engine: String,
    /// Images that it has.
    pub asked: Vec<ImageRef>,
    /// Images that it has not.
    pub absent: Vec<ImageRef>,
    /// Damaged blobs that were good in what it gave.
    pub blobs: usize,
}

/// Has an engine save the images of which something is lacking, one after the other, and takes from them what is good.
/// An archive is kept in `folder`, without a name, as long as something of it is needed.
pub(super) async fn borrow(
    patchwork: &mut Patchwork,
    choice: EngineChoice,
    settings: &EngineSettings,
    folder: &Path,
) -> Result<EngineLoan, Failure> {
    let engine = Engine::find(choice, settings).await?;
    let mut loan = EngineLoan {
        kind: engine.kind(),
        engine: format!("{} {} at {}", engine.kind(), engine.version(), engine.place()),
        asked: Vec::new(),
        absent: Vec::new(),
        blobs: 0,
    };
    for image in patchwork.layout().lock().images.clone() {
        if !lacks_something(patchwork, &image) {
            continue;
        }
        let Some(id) = id_of(&engine, &image).await? else {
            loan.absent.push(image.name);
            continue;
        };
        let archive = tempfile::tempfile_in(folder).map_err(|error| {
            Failure::new(ErrorClass::Disk, format!("failed to write into `{}`: {error}", folder.display()))
                .with_help("write the repaired bundle elsewhere with `-o FILE`")
        })?;
        let saving = format!("failed to have {} save `{}`", loan.engine, image.name);
        engine.save(ImageKey::Id(&id), &archive).await.map_err(|error| Failure::from(error).within(saving))?;
        let shown = Path::new(&loan.engine);
        loan.blobs += tokio::task::block_in_place(|| patchwork.borrow_from(shown, archive))?;
        loan.asked.push(image.name);
    }
    Ok(loan)
}

fn lacks_something(patchwork: &Patchwork, image: &LockedImage) -> bool {
    let lacking = |digest: &Digest| patchwork.mended().any(|blob| blob.digest == *digest && blob.lacking() > 0);
    image.documents().chain(image.layers()).any(|content| lacking(&content.digest))
}

/// The engine's id of this very image, by its name or by any of its digests; an image that only has the same name is
/// another one.
async fn id_of(engine: &Engine, image: &LockedImage) -> Result<Option<Digest>, Failure> {
    let name = image.name.without_digest();
    let by_name = name.tag().map(|_| ImageKey::Name(&name));
    let platforms = || image.platforms.iter();
    let configs = platforms().map(|platform| &platform.config.digest);
    let manifests = platforms().map(|platform| &platform.manifest.digest);
    let ids = configs.chain([&image.root.digest]).chain(manifests).map(ImageKey::Id);
    for key in by_name.into_iter().chain(ids) {
        if let Some(id) = engine.image_id(key).await?.filter(|id| IdCheck::of(id, image).is_same()) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}
