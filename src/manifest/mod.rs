//! Our release manifest: what one release ships, read from YAML, checked, and selected from.
//!
//! Text becomes a [`Manifest`] in three steps: `yaml` refuses what this format leaves out of YAML, `form` gives
//! the text its types, and `check` turns them into values that cannot be wrong. Every mistake is shown where it
//! stands. Nothing is fetched here. The format is described in `docs/manifest.md`.

mod check;
mod error;
mod form;
mod place;
mod releases;
mod select;
mod sheet;
mod suggest;
mod template;
mod upgrades;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use crate::images::PlatformChoice;
use crate::manifest::place::{Mark, Source};
use crate::manifest::template::Template;
use crate::oci::Digest;

pub use error::{LeftOut, ManifestError, Mistake, Problem, Syntax, ValueFault};
pub use form::{MANIFEST_SCHEMA, schema};
pub use place::Place;
pub use releases::{Release, find_release, releases};
pub use select::Selection;
pub use sheet::{Sheet, SheetEntry, SheetMistake};
pub use suggest::closest;
pub use upgrades::{BadVersion, UpgradeFact, UpgradeStop, Upgrades, Version, upgrades};
pub(crate) use yaml::strict_yaml;

/// The largest manifest that is read, in bytes. Ours have 2 KiB.
pub const MAX_MANIFEST_BYTES: usize = 1024 * 1024;

/// What one release ships; sound by construction.
#[derive(Debug, Clone)]
pub struct Manifest {
    source: Source,
    digest: Digest,
    release: String,
    title: String,
    variables: Vec<Variable>,
    platforms: PlatformChoice,
    images: Vec<Entry>,
}

/// A name that stands for text in the images' references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// As in `${name}`.
    pub name: String,
    /// Its text where the user sets none; without one the user must set it.
    pub default: Option<String>,
}

impl Variable {
    /// Every variable's default by its name.
    fn defaults(variables: &[Self]) -> BTreeMap<&str, Option<&str>> {
        variables.iter().map(|variable| (variable.name.as_str(), variable.default.as_deref())).collect()
    }
}

/// One image of the list, before its variables are filled in.
#[derive(Debug, Clone)]
struct Entry {
    image: Template,
    mark: Mark,
    role: String,
    groups: BTreeSet<String>,
    platforms: Option<PlatformChoice>,
}

impl Manifest {
    /// Reads and checks a manifest. `name` is what messages call it, as in the name of its file.
    ///
    /// At most [`MAX_MANIFEST_BYTES`] are taken.
    pub fn parse(name: &str, text: &[u8]) -> Result<Self, ManifestError> {
        let source = Source::new(name, text)?;
        let outline = yaml::outline(&source)?;
        let form = yaml::read(&source, &outline)?;
        check::manifest(source, Digest::of(text), form)
    }

    /// The release's name, as in `octoperf-9.2.0`.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The release in words.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The digest of the manifest's text.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// All variables, in the manifest's order.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// The names of the variables that the user must set to take every image.
    pub fn required_variables(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().filter(|variable| variable.default.is_none()).map(|variable| variable.name.as_str())
    }

    /// The platforms of images that do not say their own.
    pub fn platforms(&self) -> &PlatformChoice {
        &self.platforms
    }

    /// How many images there are, whatever their group.
    pub fn image_count(&self) -> usize {
        self.images.len()
    }

    /// The groups with the number of images in each; images without group are in none and always taken.
    pub fn groups(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for group in self.images.iter().flat_map(|image| &image.groups) {
            *counts.entry(group.as_str()).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests;
