//! From the form of a manifest to values that cannot be wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Spanned;

use crate::images::PlatformChoice;
use crate::manifest::error::{ManifestError, Problem, ValueFault};
use crate::manifest::form::{Form, Item, Platforms, Text, Variables};
use crate::manifest::place::{Mark, Source, visible};
use crate::manifest::template::{BadHole, Template, forbidden_in_value, is_variable_name};
use crate::manifest::yaml::shortened;
use crate::manifest::{Entry, Manifest, Variable};
use crate::oci::{BadReference, Digest, ImageRef, Platform};

/// The longest title, in characters.
pub(super) const MAX_TITLE: usize = 200;
/// The longest value of a variable: no reference is longer (255 for the name, 128 for the tag, 71 for the digest).
pub(super) const MAX_VALUE: usize = 512;
/// The longest reference as written, in bytes: one of full length with room for the names of variables.
const MAX_TEMPLATE: usize = 1024;
/// The longest name of a release; names of files are made from it.
const MAX_RELEASE: usize = 100;
/// The longest role or group.
const MAX_WORD: usize = 64;

/// Checks everything that the types do not say.
pub(super) fn manifest(source: Source, digest: Digest, form: Form) -> Result<Manifest, ManifestError> {
    let release = release(&source, form.release)?;
    let title = title(&source, &form.title)?;
    let platforms = platforms(&source, form.platforms)?.unwrap_or_else(linux_amd64);
    let variables = variables(&source, form.variables)?;
    if form.images.value.is_empty() {
        return Err(source.mistake(form.images.referenced.into(), Problem::NoImages));
    }
    let defaults = Variable::defaults(&variables);
    let images = form.images.value.into_iter().map(|image| entry(&source, image, &defaults));
    let images = images.collect::<Result<Vec<_>, _>>()?;
    let manifest = Manifest { source, digest, release, title, variables, platforms, images };
    manifest.check_references()?;
    Ok(manifest)
}

fn linux_amd64() -> PlatformChoice {
    PlatformChoice::Only(BTreeSet::from([Platform::linux_amd64()]))
}

fn release(source: &Source, text: Text) -> Result<String, ManifestError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let led = |text: &str| text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if text.value.len() <= MAX_RELEASE && led(&text.value) && text.value.bytes().all(plain) {
        return Ok(text.value);
    }
    let rule = "up to 100 letters, digits and `.`, `_`, `-`, led by a letter or digit";
    Err(bad_name(source, "release", rule, &text))
}

/// A role or a group.
fn word(source: &Source, kind: &'static str, text: Text) -> Result<String, ManifestError> {
    let small = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let led = text.value.bytes().next().is_some_and(small);
    if led && text.value.len() <= MAX_WORD && text.value.bytes().all(|b| small(b) || b"._-".contains(&b)) {
        return Ok(text.value);
    }
    let rule = "up to 64 lower-case letters, digits and `.`, `_`, `-`, led by a letter or digit";
    Err(bad_name(source, kind, rule, &text))
}

fn bad_name(source: &Source, kind: &'static str, rule: &'static str, text: &Text) -> ManifestError {
    let problem = if text.value.contains("${") {
        Problem::MisplacedVariable
    } else {
        Problem::Name { kind, text: shortened(&text.value), rule }
    };
    source.mistake(text.referenced.into(), problem)
}

fn title(source: &Source, text: &Text) -> Result<String, ManifestError> {
    let mistake = |problem| Err(source.mistake(text.referenced.into(), problem));
    let title = text.value.trim();
    if title.is_empty() || title.chars().count() > MAX_TITLE || title.chars().any(|c| visible(c) != c) {
        return mistake(Problem::Title);
    }
    if title.contains("${") {
        return mistake(Problem::MisplacedVariable);
    }
    Ok(title.to_owned())
}

fn platforms(source: &Source, platforms: Option<Spanned<Platforms>>) -> Result<Option<PlatformChoice>, ManifestError> {
    let Some(platforms) = platforms else { return Ok(None) };
    let mark = Mark::from(platforms.referenced);
    let texts = match platforms.value {
        Platforms::Unsaid => return Ok(None),
        Platforms::Word(word) if word == "all" => return Ok(Some(PlatformChoice::All)),
        Platforms::Word(word) => return Err(source.mistake(mark, Problem::PlatformWord(shortened(&word)))),
        Platforms::Only(texts) if texts.is_empty() => return Err(source.mistake(mark, Problem::NoPlatforms)),
        Platforms::Only(texts) => texts,
    };
    let platform = |text: Text| {
        let mistake = |bad| source.mistake(text.referenced.into(), Problem::Platform(bad));
        let shown: String = text.value.chars().map(visible).collect();
        shown.parse::<Platform>().map_err(mistake)
    };
    Ok(Some(PlatformChoice::Only(texts.into_iter().map(platform).collect::<Result<_, _>>()?)))
}

fn variables(source: &Source, variables: Variables) -> Result<Vec<Variable>, ManifestError> {
    let mut checked = Vec::new();
    for (name, value) in variables.0 {
        if !is_variable_name(&name.value) {
            let rule = "up to 64 letters, digits and `_`, not led by a digit";
            return Err(bad_name(source, "variable", rule, &name));
        }
        if let Some(fault) = value.value.as_deref().and_then(fault_in_value) {
            let problem = Problem::Value { name: name.value, fault };
            return Err(source.mistake(value.referenced.into(), problem));
        }
        checked.push(Variable { name: name.value, default: value.value });
    }
    Ok(checked)
}

/// What keeps a value from being part of a reference.
pub(super) fn fault_in_value(value: &str) -> Option<ValueFault> {
    if value.is_empty() {
        return Some(ValueFault::Empty);
    }
    if value.len() > MAX_VALUE {
        return Some(ValueFault::TooLong);
    }
    forbidden_in_value(value).map(ValueFault::Character)
}

fn entry(source: &Source, image: Item, variables: &BTreeMap<&str, Option<&str>>) -> Result<Entry, ManifestError> {
    let mark = Mark::from(image.image.referenced);
    let template = template(source, &image.image, variables)?;
    let groups = image.groups.into_iter().map(|group| word(source, "group", group));
    Ok(Entry {
        image: template,
        mark,
        role: word(source, "role", image.role)?,
        groups: groups.collect::<Result<_, _>>()?,
        platforms: platforms(source, image.platforms)?,
    })
}

fn template(source: &Source, text: &Text, variables: &BTreeMap<&str, Option<&str>>) -> Result<Template, ManifestError> {
    let mark = Mark::from(text.referenced);
    if text.value.len() > MAX_TEMPLATE {
        let cause = BadReference::TooLong(text.value.chars().take(40).map(visible).collect());
        return Err(source.mistake(mark, Problem::Reference { cause, filled: None }));
    }
    let template = Template::parse(&text.value)
        .map_err(|BadHole(part)| source.mistake(source.mark_of(&part, mark), Problem::Hole(shortened(&part))))?;
    if let Some(name) = template.variables().find(|name| !variables.contains_key(name)) {
        let known = variables.keys().copied().map(str::to_owned).collect();
        let problem = Problem::UndefinedVariable { name: name.to_owned(), known };
        return Err(source.mistake(source.mark_of(&format!("${{{name}}}"), mark), problem));
    }
    Ok(template)
}

impl Manifest {
    /// Refuses references that are not sound, and names that stand for two images, as far as defaults tell.
    fn check_references(&self) -> Result<(), ManifestError> {
        let defaults = Variable::defaults(&self.variables);
        let default = |name: &str| defaults.get(name).copied().flatten();
        let mut first_lines: BTreeMap<ImageRef, usize> = BTreeMap::new();
        for entry in &self.images {
            let mistake = |problem| self.source.mistake(entry.mark, problem);
            let written = entry.image.filled(|name| default(name).or(Some(""))).unwrap_or_default();
            if let Some(character) = forbidden_in_value(&written) {
                return Err(mistake(Problem::ReferenceCharacter(character)));
            }
            let Some(filled) = entry.image.filled(default) else { continue };
            let reference = filled.parse::<ImageRef>().map_err(|cause| {
                let has_variables = entry.image.variables().next().is_some();
                mistake(Problem::Reference { cause, filled: has_variables.then(|| shortened(&filled)) })
            })?;
            let image = reference.without_digest();
            if let Some(first_line) = first_lines.insert(image.clone(), entry.mark.line) {
                return Err(mistake(Problem::ImageTwice { image: image.to_string(), first_line }));
            }
        }
        Ok(())
    }
}
