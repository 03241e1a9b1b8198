//! Which images of a manifest are wanted.

use std::collections::BTreeMap;

use crate::images::{ImageSet, PlatformChoice, WantedImage};
use crate::manifest::check::fault_in_value;
use crate::manifest::error::ManifestError;
use crate::manifest::yaml::shortened;
use crate::manifest::{Entry, Manifest, Variable};
use crate::oci::ImageRef;

/// What the user asks of a release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only images of these groups, and those without group; without any group all images.
    pub groups: Vec<String>,
    /// Values for variables, by name.
    pub set: BTreeMap<String, String>,
    /// Platforms for all images, instead of what the manifest says.
    pub platforms: Option<PlatformChoice>,
}

impl Manifest {
    /// The images that `selection` asks for, in the manifest's order, with their variables filled in.
    ///
    /// Values are needed only for the variables of selected images.
    pub fn select(&self, selection: &Selection) -> Result<ImageSet, ManifestError> {
        self.check_groups(&selection.groups)?;
        self.check_values(&selection.set)?;
        let wanted = |entry: &&Entry| {
            let asked_for = |group: &String| entry.groups.contains(group);
            selection.groups.is_empty() || entry.groups.is_empty() || selection.groups.iter().any(asked_for)
        };
        let entries: Vec<&Entry> = self.images.iter().filter(wanted).collect();
        let values = self.values(&selection.set);
        let value = |name: &str| values.get(name).copied().flatten();
        self.check_nothing_unset(&entries, value)?;
        let names = names(&entries, value)?;
        let images = entries.into_iter().zip(names).map(|(entry, name)| WantedImage {
            name,
            role: entry.role.clone(),
            groups: entry.groups.clone(),
            platforms: self.platforms_of(entry, selection).clone(),
        });
        Ok(ImageSet {
            release: self.release.clone(),
            title: self.title.clone(),
            manifest: self.digest,
            images: images.collect(),
        })
    }

    fn platforms_of<'a>(&'a self, entry: &'a Entry, selection: &'a Selection) -> &'a PlatformChoice {
        selection.platforms.as_ref().or(entry.platforms.as_ref()).unwrap_or(&self.platforms)
    }

    fn check_groups(&self, groups: &[String]) -> Result<(), ManifestError> {
        let known = self.groups();
        match groups.iter().find(|group| !known.contains_key(group.as_str())) {
            Some(group) => Err(ManifestError::NoSuchGroup {
                release: self.release.clone(),
                group: shortened(group),
                known: known.into_keys().map(str::to_owned).collect(),
            }),
            None => Ok(()),
        }
    }

    fn check_values(&self, set: &BTreeMap<String, String>) -> Result<(), ManifestError> {
        for (name, value) in set {
            if !self.variables.iter().any(|variable| variable.name == *name) {
                return Err(ManifestError::NoSuchVariable {
                    release: self.release.clone(),
                    name: shortened(name),
                    known: self.variables.iter().map(|variable| variable.name.clone()).collect(),
                });
            }
            if let Some(fault) = fault_in_value(value) {
                return Err(ManifestError::Value { name: name.clone(), fault });
            }
        }
        Ok(())
    }

    /// What each variable stands for.
    fn values<'a>(&'a self, set: &'a BTreeMap<String, String>) -> BTreeMap<&'a str, Option<&'a str>> {
        let mut values = Variable::defaults(&self.variables);
        values.extend(set.iter().map(|(name, value)| (name.as_str(), Some(value.as_str()))));
        values
    }

    /// All that is missing is said at once, so that one more try is enough.
    fn check_nothing_unset<'a>(
        &self,
        entries: &[&Entry],
        value: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<(), ManifestError> {
        let mut names = Vec::new();
        let mut used_in = None;
        for entry in entries {
            for name in entry.image.variables().filter(|name| value(name).is_none()) {
                used_in.get_or_insert_with(|| entry.image.as_str());
                if !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
        }
        match used_in {
            Some(used_in) => {
                Err(ManifestError::Unset { release: self.release.clone(), names, used_in: shortened(used_in) })
            }
            None => Ok(()),
        }
    }
}

/// The references with their values. What the manifest's own text gets wrong was refused when it was parsed:
/// what fails here comes from values that were set.
fn names<'a>(
    entries: &[&Entry],
    value: impl Fn(&str) -> Option<&'a str> + Copy,
) -> Result<Vec<ImageRef>, ManifestError> {
    let mut names = Vec::new();
    let mut seen: BTreeMap<ImageRef, &Entry> = BTreeMap::new();
    for entry in entries {
        let filled = entry.image.filled(value);
        let filled = filled.expect("that every variable has a value was checked before");
        let name = filled.parse::<ImageRef>().map_err(|cause| ManifestError::FilledReference {
            written: shortened(entry.image.as_str()),
            filled: shortened(&filled),
            cause,
        })?;
        let image = name.without_digest();
        if let Some(first) = seen.insert(image.clone(), entry) {
            return Err(ManifestError::FilledTwice {
                first: shortened(first.image.as_str()),
                second: shortened(entry.image.as_str()),
                image: image.to_string(),
            });
        }
        names.push(name);
    }
    Ok(names)
}
