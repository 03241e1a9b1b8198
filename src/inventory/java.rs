//! Java archives: what Maven wrote into them, or else what their manifest and file name say.

use std::io::{BufRead, BufReader, Read};

use crate::inventory::{Kind, Package, zip};
use crate::layers::{LayerError, Meter};

/// Manifests list a digest a class in signed archives: some hundred kilobytes.
const MAX_MANIFEST: u64 = 4 * 1024 * 1024;
const MAX_PROPERTIES: u64 = 64 * 1024;
/// An application's archive holds libraries, which may hold others.
const MAX_DEPTH: usize = 4;
/// Names and versions are some dozen characters.
const LONGEST: usize = 500;

/// What was found in an archive, and what could not be read of it: a path and the reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Archives {
    pub(super) packages: Vec<Package>,
    pub(super) gaps: Vec<(String, String)>,
}

/// Whether a name is that of a Java archive.
pub(super) fn is_archive(path: &str) -> bool {
    let ending = path.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    matches!(ending.as_deref(), Some("jar" | "war" | "ear"))
}

/// Reads an archive and those in it. Only a limit ends it with an error; an archive that cannot be read is a gap.
pub(super) fn read(content: &mut dyn Read, path: &str, meter: &Meter) -> Result<Archives, LayerError> {
    let mut found = Archives::default();
    archive(&mut BufReader::new(content), path, 1, meter, &mut found)?;
    Ok(found)
}

/// What one archive says of itself.
#[derive(Default)]
struct Told {
    manifest: Vec<(String, String)>,
    maven: Vec<Package>,
}

fn archive(
    from: &mut dyn BufRead,
    path: &str,
    depth: usize,
    meter: &Meter,
    found: &mut Archives,
) -> Result<(), LayerError> {
    let mut told = Told::default();
    let ended = zip::members(from, meter, &mut |name, content| {
        if name == "META-INF/MANIFEST.MF" {
            told.manifest = attributes(&text(content, MAX_MANIFEST)?);
        } else if name.starts_with("META-INF/maven/") && name.ends_with("/pom.properties") {
            told.maven.extend(maven(&text(content, MAX_PROPERTIES)?, path));
        } else if is_archive(name) {
            let inner = format!("{path}!/{}", shortened(name));
            if depth == MAX_DEPTH {
                found.gaps.push((inner, format!("it stands in {MAX_DEPTH} archives, one in another")));
            } else {
                archive(content, &inner, depth + 1, meter, found)?;
            }
        }
        Ok(())
    });
    match ended {
        Err(error) if error.is_limit() => return Err(error),
        Err(error) => found.gaps.push((path.to_owned(), error.to_string())),
        Ok(()) => {}
    }
    let packages = if told.maven.is_empty() { vec![by_manifest(&told.manifest, path)] } else { told.maven };
    for package in packages {
        meter.keep(package.name.len() + package.version.len() + package.found_in.len())?;
        found.packages.push(package);
    }
    Ok(())
}

/// At most `limit` bytes of a member, as text.
fn text(content: &mut dyn BufRead, limit: u64) -> Result<String, LayerError> {
    let mut bytes = Vec::new();
    content.take(limit).read_to_end(&mut bytes).map_err(LayerError::from_io)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first section of a manifest; lines that begin with a blank go on with the one before.
fn attributes(text: &str) -> Vec<(String, String)> {
    let mut attributes: Vec<(String, String)> = Vec::new();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        match (line.strip_prefix(' '), attributes.last_mut(), line.split_once(": ")) {
            (Some(more), Some((_, value)), _) => value.push_str(more),
            (None, _, Some((name, value))) => attributes.push((name.to_owned(), value.to_owned())),
            _ => {}
        }
    }
    attributes
}

/// What Maven noted: `groupId`, `artifactId` and `version`.
fn maven(text: &str, path: &str) -> Option<Package> {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='));
        line.map(|value| shortened(value.trim()).to_owned()).filter(|value| !value.is_empty())
    };
    Some(Package {
        kind: Kind::Java,
        name: value("artifactId")?,
        version: value("version").unwrap_or_default(),
        architecture: None,
        group: value("groupId"),
        licence: None,
        found_in: path.to_owned(),
    })
}

fn by_manifest(manifest: &[(String, String)], path: &str) -> Package {
    let value = |names: &[&str]| {
        let found = names.iter().find_map(|name| manifest.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)));
        found.map(|(_, value)| shortened(value.trim()).to_owned()).filter(|value| !value.is_empty())
    };
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let (by_file, version_of_file) = name_and_version(stem);
    // A file with a version in its name is named by the build; titles are for people.
    let name = match version_of_file {
        Some(_) => by_file.to_owned(),
        None => value(&["Bundle-SymbolicName", "Implementation-Title"])
            .map_or(stem.to_owned(), |name| name.split(';').next().unwrap_or_default().trim().to_owned()),
    };
    let version = value(&["Implementation-Version", "Bundle-Version", "Specification-Version"]);
    Package {
        kind: Kind::Java,
        name,
        version: version.or(version_of_file.map(str::to_owned)).unwrap_or_default(),
        architecture: None,
        group: None,
        licence: None,
        found_in: path.to_owned(),
    }
}

/// `commons-io` and `2.11.0` of `commons-io-2.11.0`.
fn name_and_version(stem: &str) -> (&str, Option<&str>) {
    let cut = stem.match_indices('-').find(|(at, _)| stem[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    match cut {
        Some((at, _)) if at > 0 => (&stem[..at], Some(&stem[at + 1..])),
        _ => (stem, None),
    }
}

fn shortened(text: &str) -> &str {
    text.char_indices().nth(LONGEST).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_cut_from_names_of_files() {
        assert_eq!(name_and_version("commons-io-2.11.0"), ("commons-io", Some("2.11.0")));
        assert_eq!(name_and_version("log4j-1.2-api-2.17.1"), ("log4j", Some("1.2-api-2.17.1")));
        assert_eq!(name_and_version("ApacheJMeter_core"), ("ApacheJMeter_core", None));
    }

    #[test]
    fn manifests_go_on_in_lines_led_by_a_blank_and_end_at_the_first_section() {
        let manifest = "Manifest-Version: 1.0\r\nImplementation-Title: a lo\r\n ng name\r\nBundle-Version: 3\r\n\r\nName: x\r\nImplementation-Title: no\r\n";
        let found = by_manifest(&attributes(manifest), "opt/app.jar");
        assert_eq!((&*found.name, &*found.version), ("a long name", "3"));
    }
}
