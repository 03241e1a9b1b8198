//! Words that name a bundle, the same in every command that reads one.

use std::path::PathBuf;

use octobundle::bundle::BundlePlace;

/// Where the bundle is.
#[derive(clap::Args)]
pub(crate) struct BundleArgs {
    /// The bundle: NAME.tar, its volumes (any of them, or all), NAME.volumes.json, or a folder that holds it
    #[arg(required_unless_present = "volumes_in", value_name = "BUNDLE")]
    bundle: Vec<PathBuf>,
    /// A further folder that holds volumes of the bundle; may be given several times
    #[arg(long, value_name = "FOLDER")]
    volumes_in: Vec<PathBuf>,
}

impl BundleArgs {
    /// The place.
    pub(crate) fn place(&self) -> BundlePlace {
        BundlePlace::new(self.bundle.clone(), self.volumes_in.clone())
    }
}

/// The older bundles that a delta builds on.
#[derive(clap::Args)]
pub(crate) struct BaseArgs {
    /// An older bundle that has what a delta leaves out, named as BUNDLE is; may be given several times
    #[arg(long = "base", value_name = "OLD")]
    bases: Vec<PathBuf>,
}

impl BaseArgs {
    /// As they were typed.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.bases
    }

    /// Their places.
    pub(crate) fn places(&self) -> Vec<BundlePlace> {
        self.bases.iter().map(BundlePlace::from).collect()
    }
}
