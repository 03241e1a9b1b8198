//! Finds the files of a bundle from what a person typed. Looks at names and lengths only.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::bundle::bytes::BundleBytes;
use crate::bundle::description::{Description, ENDING, description_path, parse_volume_name};
use crate::bundle::error::BundleError;
use crate::bundle::open::read_layout;
use crate::bundle::place::BundlePlace;
use crate::content::folder_of;

/// The most names looked at in one folder.
const MOST_ENTRIES: usize = 100_000;

/// What was found.
pub(crate) enum Located {
    /// One file.
    File(PathBuf),
    /// Volumes.
    Set(VolumeSet),
}

/// Files of which some are a bundle's volumes.
pub(crate) struct VolumeSet {
    /// The bundle's name, as if it were one file.
    pub(crate) shown: PathBuf,
    /// The description of the volumes, if there is one, and where.
    pub(crate) description: Option<(PathBuf, Description)>,
    /// Every file that was named or lies in a folder that was.
    pub(crate) files: Vec<Candidate>,
}

/// A file that may be a volume.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) path: PathBuf,
    pub(crate) name: String,
    pub(crate) length: u64,
    /// Whether the person named this very file: then its name does not matter.
    pub(crate) named: bool,
}

impl Candidate {
    /// The bundle's name and the number in the file's name, if it is called as volumes are.
    pub(crate) fn volume_name(&self) -> Option<(&str, usize)> {
        parse_volume_name(&self.name)
    }
}

/// Finds the bundle.
pub(crate) fn locate(place: &BundlePlace) -> Result<Located, BundleError> {
    if let ([path], []) = (place.named(), place.volumes_in())
        && is_one_file(path)?
    {
        return Ok(Located::File(path.clone()));
    }
    let looked = Looked::at(place)?;
    let description = looked.description(place)?;
    let base = match &description {
        Some((_, description)) => description.base().to_owned(),
        None => match looked.only_base(place)? {
            Only::File(path) => return Ok(Located::File(path)),
            Only::Base(base) => base,
        },
    };
    let shown = place.named().iter().find(|path| !path.is_dir()).map_or_else(|| place.shown(), |path| folder_of(path));
    Ok(Located::Set(VolumeSet { shown: shown.join(base), description, files: looked.files }))
}

/// Whether a path is to be read as it is. A file that is called like a volume is one only if it is not a bundle by
/// itself.
fn is_one_file(path: &Path) -> Result<bool, BundleError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(ENDING) || path.is_dir() {
        return Ok(false);
    }
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Ok(metadata) if metadata.is_file() && parse_volume_name(&name).is_some() => {
            let bytes = BundleBytes::of_file(path)?;
            Ok(read_layout(&bytes).is_ok_and(|layout| layout.total() == bytes.length()))
        }
        // What cannot be opened, or is no file, is told by whoever opens it.
        _ => Ok(true),
    }
}

enum Only {
    File(PathBuf),
    Base(String),
}

/// The files in all folders that were named, and the files that were named themselves.
struct Looked {
    files: Vec<Candidate>,
    /// What the person's own words say about the bundle's name; empty if only folders were named.
    bases: Vec<String>,
}

impl Looked {
    fn at(place: &BundlePlace) -> Result<Self, BundleError> {
        let mut looked = Self { files: Vec::new(), bases: Vec::new() };
        let mut folders: Vec<PathBuf> = Vec::new();
        for path in place.named() {
            if path.is_dir() {
                folders.push(path.clone());
                continue;
            }
            looked.name(path)?;
            folders.push(folder_of(path).to_owned());
        }
        folders.extend_from_slice(place.volumes_in());
        let mut seen = Vec::new();
        for folder in folders {
            let real = fs::canonicalize(&folder).map_err(BundleError::io("look into", &folder))?;
            if !seen.contains(&real) {
                looked.scan(&folder)?;
                seen.push(real);
            }
        }
        Ok(looked)
    }

    /// Takes a file that was named itself, or a bundle's name without a number.
    fn name(&mut self, path: &Path) -> Result<(), BundleError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let base = parse_volume_name(&name).map(|(base, _)| base.to_owned());
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => {
                if base.is_some() || !name.ends_with(ENDING) {
                    self.files.push(Candidate { path: path.to_owned(), name, length: metadata.len(), named: true });
                }
                self.bases.extend(base);
            }
            Ok(_) => return Err(BundleError::NotAFile { path: path.to_owned(), what: "a device, pipe or socket" }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !name.ends_with(ENDING) {
                    self.bases.push(base.unwrap_or(name));
                }
            }
            Err(error) => return Err(BundleError::io("look at", path)(error)),
        }
        Ok(())
    }

    /// Takes every plain file of a folder.
    fn scan(&mut self, folder: &Path) -> Result<(), BundleError> {
        let unreadable = |error| BundleError::io("look into", folder)(error);
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)?.take(MOST_ENTRIES) {
            let entry = entry.map_err(unreadable)?;
            // Names that are no text are not ours, and what cannot be looked at is no volume.
            let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), fs::metadata(entry.path())) else {
                continue;
            };
            let path = if folder == Path::new(".") { PathBuf::from(&name) } else { entry.path() };
            let named = self.files.iter().any(|file| file.path == path);
            // What a pull has so far has numbers behind its name, too.
            if parse_volume_name(&name)
                .is_some_and(|(base, _)| base.ends_with(".partial") || base.ends_with(".partial.old"))
            {
                continue;
            }
            if metadata.is_file() && !named {
                found.push(Candidate { path, name, length: metadata.len(), named: false });
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        self.files.extend(found);
        Ok(())
    }

    fn is_wanted(&self, base: &str) -> bool {
        self.bases.is_empty() || self.bases.iter().any(|wanted| wanted.eq_ignore_ascii_case(base))
    }

    /// The description that the person named, or the one in the folders that fits what was named.
    fn description(&self, place: &BundlePlace) -> Result<Option<(PathBuf, Description)>, BundleError> {
        let is_description =
            |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ENDING));
        let named: Vec<&PathBuf> = place.named().iter().filter(|path| is_description(path)).collect();
        let mut found: Vec<(PathBuf, Description)> = Vec::new();
        for path in &named {
            found.push(((*path).clone(), Description::read(path)?));
        }
        if named.is_empty() {
            for file in self.files.iter().filter(|file| is_description(&file.path)) {
                match Description::read(&file.path) {
                    Ok(description) => found.push((file.path.clone(), description)),
                    Err(error) if self.is_needed(file) => return Err(error),
                    Err(_) => {}
                }
            }
            // A folder that was named beside a renamed volume says more than that volume's name.
            let any_fits = found.iter().any(|(_, description)| self.is_wanted(description.base()));
            let folder_was_named = place.named().iter().chain(place.volumes_in()).any(|path| path.is_dir());
            found.retain(|(_, description)| {
                self.is_wanted(description.base())
                    || (!any_fits && folder_was_named && self.files.iter().any(|file| file.named))
            });
        }
        // The same description may lie in every folder that has some of the volumes.
        found.dedup_by(|a, b| a.1 == b.1);
        if found.len() > 1 {
            let all = found.iter().map(|(path, found)| format!("`{}` ({})", path.display(), found.release)).collect();
            return Err(BundleError::SeveralBundles { place: place.shown().to_owned(), names: all });
        }
        Ok(found.pop())
    }

    /// Whether a description that cannot be read is the one to go by. Volumes that were named one by one say by
    /// themselves which they are.
    fn is_needed(&self, file: &Candidate) -> bool {
        let fits = |base: &String| description_path(Path::new(base)).as_os_str().eq_ignore_ascii_case(&file.name);
        let named_volumes = self.files.iter().any(|file| file.named);
        !named_volumes && (self.bases.is_empty() || self.bases.iter().any(fits))
    }

    /// The one bundle that the names of files speak of, where no description does.
    fn only_base(&self, place: &BundlePlace) -> Result<Only, BundleError> {
        let mut found: BTreeMap<String, Only> = BTreeMap::new();
        for file in &self.files {
            if let Some((base, _)) = file.volume_name().filter(|(base, _)| self.is_wanted(base)) {
                found.entry(base.to_lowercase()).or_insert_with(|| Only::Base(base.to_owned()));
            }
        }
        if self.bases.is_empty() {
            for file in self.files.iter().filter(|file| file.named || file.name.to_lowercase().ends_with(".tar")) {
                found.insert(file.name.to_lowercase(), Only::File(file.path.clone()));
            }
        }
        if found.len() > 1 {
            let names = found.keys().map(|name| format!("`{name}`")).collect();
            return Err(BundleError::SeveralBundles { place: place.shown().to_owned(), names });
        }
        let begun = self.files.iter().find_map(|file| {
            let base = file.name.strip_suffix(".partial.journal")?;
            self.is_wanted(base).then(|| file.path.with_file_name(base))
        });
        match (found.into_values().next(), begun) {
            (Some(only), _) => Ok(only),
            (None, Some(output)) => Err(BundleError::Unfinished(output)),
            (None, None) if place.shown().is_dir() => Err(BundleError::NothingHere(place.shown().to_owned())),
            (None, None) => Err(BundleError::io("open", place.shown())(io::ErrorKind::NotFound.into())),
        }
    }
}
