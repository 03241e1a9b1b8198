//! Where a bundle is, as a person says it: a file, a volume, a folder, or several of these.

use std::path::{Path, PathBuf};

use crate::failure::typed;

/// What was typed to name a bundle: its file, its name without the volumes' numbers, any of its volumes, its
/// description, a folder that holds it, or several of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundlePlace {
    /// The words in their order; at least one.
    named: Vec<PathBuf>,
    /// Further folders in which volumes may be.
    volumes_in: Vec<PathBuf>,
}

impl BundlePlace {
    /// A place from the words that name it and the folders in which further volumes may be. Without words the folders
    /// name it.
    pub fn new(named: Vec<PathBuf>, volumes_in: Vec<PathBuf>) -> Self {
        if named.is_empty() { Self { named: volumes_in, volumes_in: vec![] } } else { Self { named, volumes_in } }
    }

    /// The same bundle with further folders to look in.
    #[must_use]
    pub fn also_in(mut self, folders: &[PathBuf]) -> Self {
        self.volumes_in.extend_from_slice(folders);
        self
    }

    /// The first word, for messages.
    pub fn shown(&self) -> &Path {
        self.named.first().map_or(Path::new("."), PathBuf::as_path)
    }

    /// The words as they can be typed again in a command.
    pub fn typed(&self) -> String {
        let folders = self.volumes_in.iter().map(|folder| format!("--volumes-in {}", typed(folder)));
        self.named.iter().map(|named| typed(named)).chain(folders).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn named(&self) -> &[PathBuf] {
        &self.named
    }

    pub(crate) fn volumes_in(&self) -> &[PathBuf] {
        &self.volumes_in
    }
}

impl From<PathBuf> for BundlePlace {
    fn from(path: PathBuf) -> Self {
        Self { named: vec![path], volumes_in: vec![] }
    }
}

impl From<&Path> for BundlePlace {
    fn from(path: &Path) -> Self {
        path.to_owned().into()
    }
}

impl From<&PathBuf> for BundlePlace {
    fn from(path: &PathBuf) -> Self {
        path.clone().into()
    }
}

impl From<&Self> for BundlePlace {
    fn from(place: &Self) -> Self {
        place.clone()
    }
}
