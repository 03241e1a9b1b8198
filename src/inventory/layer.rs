//! What one layer holds of interest, and what several of them make of each other.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::BuildHasher as _;
use std::io::Read;

use crate::inventory::os::Os;
use crate::inventory::{Gap, ImagePackages, Package, apk, dpkg, java, os, rpm, rpm_files};
use crate::layers::{Content, Entry, Kind, LayerError, Limits, Meter, read_layer};
use crate::oci::Digest;

/// A status file of Debian's 60,000 packages is some 60 MiB.
const MAX_LIST: u64 = 64 * 1024 * 1024;
const MAX_OS_RELEASE: u64 = 64 * 1024;
/// The name of a file that takes away another one below it begins with this (OCI image layers, "Whiteouts").
const WHITEOUT: &str = ".wh.";
/// A file of this name takes away all that lower layers have in its folder.
const OPAQUE: &str = ".wh..wh..opq";

/// What a layer holds and what it takes away.
pub struct LayerPackages {
    /// Files of interest, by path.
    files: BTreeMap<String, Found>,
    /// Paths that lower layers no longer have, nor anything below them: removed, or replaced by what is no folder.
    /// Their hashes only: a layer can have millions.
    gone: HashSet<u64>,
    /// Folders whose content in lower layers is gone.
    opaque: BTreeSet<String>,
    hashes: RandomState,
}

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Found {
    packages: Vec<Package>,
    os: Option<Os>,
    /// Path and reason.
    gaps: Vec<(String, String)>,
}

/// Which list a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Dpkg,
    Apk,
    Rpm,
    RpmJournal,
    OsRelease,
    Java,
}

fn list_at(path: &str) -> Option<List> {
    const RPM_FOLDERS: [&str; 2] = ["var/lib/rpm/", "usr/lib/sysimage/rpm/"];
    let rpm = RPM_FOLDERS.iter().find_map(|folder| path.strip_prefix(folder));
    match (path, rpm) {
        ("var/lib/dpkg/status", _) => Some(List::Dpkg),
        ("lib/apk/db/installed" | "usr/lib/apk/db/installed", _) => Some(List::Apk),
        ("etc/os-release" | "usr/lib/os-release", _) => Some(List::OsRelease),
        (_, Some("rpmdb.sqlite" | "Packages" | "Packages.db")) => Some(List::Rpm),
        (_, Some("rpmdb.sqlite-wal")) => Some(List::RpmJournal),
        _ if path.strip_prefix("var/lib/dpkg/status.d/").is_some_and(|name| !name.ends_with(".md5sums")) => {
            Some(List::Dpkg)
        }
        _ if java::is_archive(path) => Some(List::Java),
        _ => None,
    }
}

/// Reads a layer from the bytes that stand in the bundle.
pub fn read_packages(packed: impl Read, limits: Limits) -> Result<LayerPackages, LayerError> {
    let mut layer = LayerPackages {
        files: BTreeMap::new(),
        gone: HashSet::new(),
        opaque: BTreeSet::new(),
        hashes: RandomState::new(),
    };
    read_layer(packed, limits, &mut |entry, content| layer.take(entry, content))?;
    Ok(layer)
}

impl LayerPackages {
    fn take(&mut self, entry: &Entry, content: &mut Content<'_>) -> Result<(), LayerError> {
        let meter = content.meter();
        let (folder, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
        if name == OPAQUE {
            meter.keep(folder.len())?;
            self.opaque.insert(folder.to_owned());
            return Ok(());
        }
        if let Some(name) = name.strip_prefix(WHITEOUT) {
            let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            return self.remove(&path, &meter);
        }
        if entry.kind == Kind::Directory {
            return Ok(());
        }
        self.remove(&entry.path, &meter)?;
        // Archives may name a path twice; the last one stays.
        self.files.remove(&entry.path);
        let Some(list) = list_at(&entry.path) else { return Ok(()) };
        let found = match &entry.kind {
            Kind::File => read_list(list, entry, content)?,
            // Its content is that of another file, which is found under its own name where that is of interest.
            Kind::HardLink(to) if self.files.contains_key(to) => self.files[to].clone(),
            Kind::HardLink(to) => Found::gap(&entry.path, format!("it is another name of `{to}`, which is not read")),
            Kind::Directory | Kind::Other => return Ok(()),
        };
        meter.keep(
            entry.path.len() + found.gaps.iter().map(|(path, reason)| path.len() + reason.len()).sum::<usize>(),
        )?;
        self.files.insert(entry.path.clone(), found);
        Ok(())
    }

    fn remove(&mut self, path: &str, meter: &Meter) -> Result<(), LayerError> {
        if self.gone.insert(self.hashes.hash_one(path)) {
            meter.keep(size_of::<u64>())?;
        }
        Ok(())
    }

    /// Whether a path of a lower layer is still there above this one.
    fn leaves(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let hidden = ends.clone().any(|end| self.gone.contains(&self.hashes.hash_one(&path[..end])));
        let cleared =
            self.opaque.contains("") || ends.clone().any(|end| end < path.len() && self.opaque.contains(&path[..end]));
        !hidden && !cleared
    }
}

impl Found {
    fn gap(path: &str, reason: impl Into<String>) -> Self {
        Self { gaps: vec![(path.to_owned(), reason.into())], ..Self::default() }
    }
}

fn read_list(list: List, entry: &Entry, content: &mut Content<'_>) -> Result<Found, LayerError> {
    let meter = content.meter();
    let limit = if list == List::OsRelease { MAX_OS_RELEASE } else { MAX_LIST };
    if list == List::Java {
        let found = java::read(content, &entry.path, &meter)?;
        return Ok(Found { packages: found.packages, os: None, gaps: found.gaps });
    }
    if list == List::RpmJournal {
        let reason = "it holds changes of the rpm database that are not read";
        return Ok(if entry.size == 0 { Found::default() } else { Found::gap(&entry.path, reason) });
    }
    let Some(bytes) = content.whole(limit)? else {
        return Ok(Found::gap(
            &entry.path,
            format!("it is {} bytes long; lists of more than {limit} are not read", entry.size),
        ));
    };
    let text = || String::from_utf8_lossy(&bytes);
    let packages = match list {
        List::Dpkg => dpkg::packages(&text(), &entry.path),
        List::Apk => apk::packages(&text(), &entry.path),
        List::OsRelease => return Ok(Found { os: os::parse(&text()), ..Found::default() }),
        List::Rpm => match rpm_files::headers(&bytes) {
            Ok(headers) => return of_rpm(&headers, &entry.path, &meter),
            Err(reason) => return Ok(Found::gap(&entry.path, reason)),
        },
        List::Java | List::RpmJournal => unreachable!("they were read above"),
    };
    keep_all(&packages, &meter)?;
    Ok(Found { packages, ..Found::default() })
}

fn of_rpm(headers: &[Vec<u8>], path: &str, meter: &Meter) -> Result<Found, LayerError> {
    let packages: Vec<Package> = headers.iter().filter_map(|header| rpm::package(header, path)).collect();
    keep_all(&packages, meter)?;
    let lost = headers.len() - packages.len();
    let gaps =
        if lost == 0 { Vec::new() } else { vec![(path.to_owned(), format!("{lost} of its headers cannot be read"))] };
    Ok(Found { packages, os: None, gaps })
}

fn keep_all(packages: &[Package], meter: &Meter) -> Result<(), LayerError> {
    let size = |package: &Package| {
        let optional = [&package.architecture, &package.group, &package.licence];
        let optional: usize = optional.into_iter().flatten().map(String::len).sum();
        size_of::<Package>() + package.name.len() + package.version.len() + package.found_in.len() + optional
    };
    meter.keep(packages.iter().map(size).sum())
}

/// What is in an image of these layers, the lowest first; a layer that could not be read comes with the reason.
pub fn packages_of(
    image: &str,
    platform: &str,
    digest: Digest,
    layers: &[(Digest, Result<&LayerPackages, &str>)],
) -> ImagePackages {
    let mut present: BTreeMap<&str, (Digest, &Found)> = BTreeMap::new();
    let mut gaps = BTreeSet::new();
    for (digest, layer) in layers {
        match layer {
            Ok(layer) => {
                present.retain(|path, _| layer.leaves(path));
                present.extend(layer.files.iter().map(|(path, found)| (path.as_str(), (*digest, found))));
            }
            Err(reason) => drop(gaps.insert(Gap { layer: *digest, path: None, reason: (*reason).to_owned() })),
        }
    }
    for (layer, found) in present.values() {
        gaps.extend(found.gaps.iter().map(|(path, reason)| Gap {
            layer: *layer,
            path: Some(path.clone()),
            reason: reason.clone(),
        }));
    }
    let os = ["etc/os-release", "usr/lib/os-release"].iter().find_map(|path| present.get(path)?.1.os.clone());
    let packages: BTreeSet<Package> = present.values().flat_map(|(_, found)| found.packages.iter().cloned()).collect();
    ImagePackages {
        image: image.to_owned(),
        platform: platform.to_owned(),
        digest,
        os,
        packages: packages.into_iter().collect(),
        gaps: gaps.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(files: &[(&str, &str)]) -> LayerPackages {
        let mut archive = ::tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = ::tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        read_packages(&archive.into_inner().unwrap()[..], Limits::default()).unwrap()
    }

    fn names(layers: &[&LayerPackages]) -> Vec<String> {
        let digest = Digest::of(b"layer");
        let layers: Vec<_> = layers.iter().map(|layer| (digest, Ok(*layer))).collect();
        packages_of("image", "linux/amd64", digest, &layers).packages.into_iter().map(|package| package.name).collect()
    }

    #[test]
    fn a_later_layer_replaces_and_removes() {
        const STATUS: &str = "var/lib/dpkg/status";
        const APK: &str = "lib/apk/db/installed";
        let base = layer(&[(STATUS, "Package: one\nVersion: 1\n"), (APK, "P:musl\nV:1\n")]);
        let other = layer(&[(STATUS, "Package: two\nVersion: 1\n")]);
        assert_eq!(names(&[&base]), ["one", "musl"]);
        assert_eq!(names(&[&base, &other]), ["two", "musl"]);
        for (removing, left) in [
            ("var/lib/dpkg/.wh.status", &["musl"][..]),
            ("var/lib/.wh.dpkg", &["musl"]),
            (".wh.var", &["musl"]),
            ("var/lib/dpkg/.wh..wh..opq", &["musl"]),
            ("var/.wh..wh..opq", &["musl"]),
            (".wh..wh..opq", &[]),
            // A file in the place of a folder.
            ("var/lib", &["musl"]),
            // Only the same name is taken away.
            ("var/lib/dpkg/.wh.status-old", &["one", "musl"]),
            ("var/li", &["one", "musl"]),
        ] {
            assert_eq!(names(&[&base, &layer(&[(removing, "")])]), left, "{removing}");
        }
        // What a layer brings is not taken away by its own mark, wherever that stands.
        let both = layer(&[(STATUS, "Package: new\n"), ("var/lib/dpkg/.wh..wh..opq", "")]);
        assert_eq!(names(&[&base, &both]), ["new", "musl"]);
    }

    #[test]
    fn images_without_dpkg_have_a_file_a_package() {
        let files = [
            ("var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2\n"),
            ("var/lib/dpkg/status.d/tzdata.md5sums", "Package: no\n"),
        ];
        assert_eq!(names(&[&layer(&files)]), ["tzdata"]);
    }

    #[test]
    fn a_layer_that_cannot_be_read_is_a_gap_of_the_image() {
        let digest = Digest::of(b"layer");
        let image = packages_of("image", "linux/amd64", digest, &[(digest, Err("it is damaged"))]);
        assert_eq!(image.gaps, [Gap { layer: digest, path: None, reason: "it is damaged".into() }]);
    }
}
