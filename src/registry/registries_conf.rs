//! `registries.conf` of the containers tools (containers-registries.conf(5), version 2), read only: which registry
//! is asked in another's place, which not at all. Short names are not completed from it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::failure::{ErrorClass, Explain};
use crate::oci::{Host, Repository};

/// Far above any real one.
const MAX_FILE: u64 = 1024 * 1024;

/// What the files say, in the order in which they were read.
#[derive(Clone, Debug, Default)]
pub struct RegistriesConf {
    rules: Vec<Rule>,
}

/// One `[[registry]]`.
#[derive(Clone, Debug)]
struct Rule {
    origin: PathBuf,
    prefix: Prefix,
    location: Option<Spot>,
    insecure: bool,
    blocked: bool,
    mirrors: Vec<MirrorRule>,
}

#[derive(Clone, Debug)]
struct MirrorRule {
    location: Spot,
    insecure: bool,
    takes: Takes,
}

/// `host[:port][/path]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spot {
    host: Host,
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Prefix {
    Spot(Spot),
    /// All hosts below this name.
    Below(String),
}

/// Which questions a mirror is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Takes {
    pub(super) tags: bool,
    pub(super) digests: bool,
}

impl Takes {
    pub(super) const ALL: Self = Self { tags: true, digests: true };
}

/// Where a repository is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) mirrors: Vec<(Repository, Takes)>,
    /// The repository itself, or what stands in its place.
    pub(super) own: Repository,
}

/// A file that cannot be used, or a repository that it forbids.
#[derive(Debug, thiserror::Error)]
pub enum RegistriesConfError {
    /// Reading failed.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// As the system says it.
        source: io::Error,
    },
    /// Not of the form.
    #[error("`{}`{} is not as it should be: {why}", path.display(), at(*line))]
    Form {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 where it is not known.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// `blocked = true`.
    #[error("`{repository}` is blocked: `{}` has `blocked = true` for `{prefix}`", path.display())]
    Blocked {
        /// What was asked for.
        repository: Repository,
        /// The rule's prefix.
        prefix: String,
        /// The file.
        path: PathBuf,
    },
}

fn at(line: usize) -> String {
    if line == 0 { String::new() } else { format!(", line {line},") }
}

impl Explain for RegistriesConfError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { .. } => ErrorClass::Disk,
            Self::Form { .. } | Self::Blocked { .. } => ErrorClass::Input,
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Read { path, .. } => format!("look at it: `ls -l {}`", path.display()),
            Self::Form { .. } => "correct it, or leave it out of this run: `--no-registries-conf`".into(),
            Self::Blocked { repository, .. } => format!(
                "whoever runs this machine forbids it; take the images from a registry that is allowed, as in `--mirror {}=reg.corp/path`",
                repository.host
            ),
        })
    }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    registry: Vec<toml::Spanned<RuleWire>>,
    /// The table of version 1, which newer tools refuse too.
    registries: Option<toml::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RuleWire {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror: Vec<MirrorWire>,
    #[serde(default)]
    mirror_by_digest_only: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorWire {
    location: String,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<String>,
}

impl RegistriesConf {
    /// Reads files in their order; those that are not there are passed over. A later rule for the same prefix takes
    /// the place of an earlier one.
    pub fn read(files: &[PathBuf]) -> Result<Self, RegistriesConfError> {
        let mut all = Self::default();
        for path in files {
            let mut text = String::new();
            match File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text)) {
                // Half a file could lack the very rule that forbids something.
                Ok(length) if length as u64 > MAX_FILE => {
                    let why = format!("it is larger than {MAX_FILE} bytes");
                    return Err(RegistriesConfError::Form { path: path.clone(), line: 0, why });
                }
                Ok(_) => all.add(path, &text)?,
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(source) => return Err(RegistriesConfError::Read { path: path.clone(), source }),
            }
        }
        Ok(all)
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<(), RegistriesConfError> {
        let line_at = |offset: usize| text.get(..offset).unwrap_or(text).matches('\n').count() + 1;
        let wrong = |line, why: String| RegistriesConfError::Form { path: path.into(), line, why };
        let wire: Wire = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| line_at(span.start));
            wrong(line, error.message().chars().take(200).collect())
        })?;
        if wire.registries.is_some() {
            return Err(wrong(0, "it has the form of version 1; write `[[registry]]` tables".into()));
        }
        for rule in wire.registry {
            let line = line_at(rule.span().start);
            let rule = Rule::new(path, rule.get_ref()).map_err(|why| wrong(line, why))?;
            self.rules.retain(|known| known.prefix != rule.prefix);
            self.rules.push(rule);
        }
        Ok(())
    }

    /// Whether any file said anything.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The file whose rule decides about a repository.
    pub fn origin_for(&self, repository: &Repository) -> Option<&Path> {
        self.rule_for(repository).map(|rule| rule.origin.as_path())
    }

    /// Refuses a repository that is blocked.
    pub fn check(&self, repository: &Repository) -> Result<(), RegistriesConfError> {
        match self.rule_for(repository) {
            Some(rule) if rule.blocked => Err(RegistriesConfError::Blocked {
                repository: repository.clone(),
                prefix: rule.prefix.to_string(),
                path: rule.origin.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Hosts whose certificates need not be right when `repository` is asked for.
    pub fn insecure_hosts(&self, repository: &Repository) -> Vec<Host> {
        let Some(rule) = self.rule_for(repository) else { return Vec::new() };
        let own = rule.insecure.then(|| rule.own(repository).host);
        let mirrors = rule.mirrors.iter().filter(|mirror| mirror.insecure).map(|mirror| mirror.location.host.clone());
        mirrors.chain(own).collect()
    }

    pub(super) fn places(&self, repository: &Repository) -> Result<Places, RegistriesConfError> {
        self.check(repository)?;
        let Some(rule) = self.rule_for(repository) else {
            return Ok(Places { mirrors: Vec::new(), own: repository.clone() });
        };
        let mirrors = rule.mirrors.iter().filter_map(|mirror| {
            // A name that becomes too long there is not there either.
            Some((rule.prefix.moved(repository, &mirror.location)?, mirror.takes))
        });
        Ok(Places { mirrors: mirrors.collect(), own: rule.own(repository) })
    }

    /// The rule with the longest prefix.
    fn rule_for(&self, repository: &Repository) -> Option<&Rule> {
        let matching = self.rules.iter().filter(|rule| rule.prefix.rest(repository).is_some());
        matching.max_by_key(|rule| rule.prefix.to_string().len())
    }
}

impl Rule {
    fn new(origin: &Path, wire: &RuleWire) -> Result<Self, String> {
        let location = wire.location.as_deref().map(Spot::parse).transpose()?;
        let prefix = match (wire.prefix.as_deref(), &location) {
            (Some(text), _) => match text.strip_prefix("*.") {
                Some(name) => Prefix::Below(name.to_ascii_lowercase()),
                None => Prefix::Spot(Spot::parse(text)?),
            },
            (None, Some(location)) => Prefix::Spot(location.clone()),
            (None, None) => return Err("a `[[registry]]` has neither `prefix` nor `location`".into()),
        };
        let mirrors = wire.mirror.iter().map(|mirror| MirrorRule::new(mirror, wire.mirror_by_digest_only));
        Ok(Self {
            origin: origin.into(),
            prefix,
            location,
            insecure: wire.insecure,
            blocked: wire.blocked,
            mirrors: mirrors.collect::<Result<_, _>>()?,
        })
    }

    fn own(&self, repository: &Repository) -> Repository {
        let moved = self.location.as_ref().and_then(|location| self.prefix.moved(repository, location));
        moved.unwrap_or_else(|| repository.clone())
    }
}

impl MirrorRule {
    fn new(wire: &MirrorWire, digest_only: bool) -> Result<Self, String> {
        let takes = match wire.pull_from_mirror.as_deref() {
            None | Some("all") if digest_only => Takes { tags: false, digests: true },
            None | Some("all") => Takes::ALL,
            Some("digest-only") => Takes { tags: false, digests: true },
            Some("tag-only") => Takes { tags: true, digests: false },
            Some(other) => {
                let other: String = other.chars().take(40).collect();
                return Err(format!("`pull-from-mirror = \"{other}\"` is none of all, digest-only and tag-only"));
            }
        };
        Ok(Self { location: Spot::parse(&wire.location)?, insecure: wire.insecure, takes })
    }
}

impl Spot {
    fn parse(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Err("a registry is named without `http://` or `https://`".into());
        }
        let (host, path) = text.trim_end_matches('/').split_once('/').unwrap_or((text.trim_end_matches('/'), ""));
        let host: Host = host.parse().map_err(|error| format!("{error}"))?;
        if !path.is_empty() {
            format!("{host}/{path}").parse::<Repository>().map_err(|error| format!("{error}"))?;
        }
        Ok(Self { host, path: path.to_owned() })
    }
}

impl Prefix {
    /// What of a repository's name is left behind the prefix; none where it does not begin with it.
    fn rest<'a>(&self, repository: &'a Repository) -> Option<&'a str> {
        let name = repository.name.as_str();
        match self {
            Self::Below(domain) => {
                let above = repository.host.name().strip_suffix(domain.as_str())?;
                above.ends_with('.').then_some(name)
            }
            Self::Spot(spot) if spot.host != repository.host => None,
            Self::Spot(spot) if spot.path.is_empty() => Some(name),
            Self::Spot(spot) => match name.strip_prefix(spot.path.as_str())? {
                "" => Some(""),
                rest => rest.strip_prefix('/'),
            },
        }
    }

    /// `repository` with `to` in the place of this prefix.
    fn moved(&self, repository: &Repository, to: &Spot) -> Option<Repository> {
        let rest = self.rest(repository)?;
        let name = [to.path.as_str(), rest].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        Some(Repository { host: to.host.clone(), name: name.parse().ok()? })
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Spot(spot) if spot.path.is_empty() => write!(f, "{}", spot.host),
            Self::Spot(spot) => write!(f, "{}/{}", spot.host, spot.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> RegistriesConf {
        let mut conf = RegistriesConf::default();
        conf.add(Path::new("test.conf"), text).unwrap();
        conf
    }

    fn places(text: &str, repository: &str) -> Vec<String> {
        let places = conf(text).places(&repository.parse().unwrap()).unwrap();
        let mirrors = places.mirrors.iter().map(|(repository, _)| repository.to_string());
        mirrors.chain([places.own.to_string()]).collect()
    }

    const EXAMPLE: &str = r#"
        unqualified-search-registries = ["docker.io"]
        [[registry]]
        prefix = "docker.io"
        location = "proxy.corp/hub"
        [[registry.mirror]]
        location = "cache.corp:5000"
        [[registry]]
        prefix = "docker.io/library"
        location = "proxy.corp/official"
        [[registry]]
        prefix = "*.example.com"
        location = "inside.corp/example"
        [[registry]]
        location = "bad.corp"
        blocked = true
    "#;

    #[test]
    fn the_longest_prefix_decides_and_is_replaced() {
        for (repository, expected) in [
            ("octoperf/agent", vec!["cache.corp:5000/octoperf/agent", "proxy.corp/hub/octoperf/agent"]),
            ("redis", vec!["proxy.corp/official/redis"]),
            ("a.example.com/x/y", vec!["inside.corp/example/x/y"]),
            ("example.com/x/y", vec!["example.com/x/y"]),
            ("notexample.com/x", vec!["notexample.com/x"]),
            ("quay.io/a/b", vec!["quay.io/a/b"]),
        ] {
            assert_eq!(places(EXAMPLE, repository), expected, "{repository}");
        }
    }

    #[test]
    fn a_path_is_a_prefix_at_slashes_only() {
        let text = "[[registry]]\nprefix = \"reg.corp/a\"\nlocation = \"b.corp/z\"";
        assert_eq!(places(text, "reg.corp/a"), ["b.corp/z"]);
        assert_eq!(places(text, "reg.corp/a/b"), ["b.corp/z/b"]);
        assert_eq!(places(text, "reg.corp/ab"), ["reg.corp/ab"]);
    }

    #[test]
    fn what_is_blocked_is_refused_with_the_file_that_says_so() {
        let error = conf(EXAMPLE).check(&"bad.corp/a".parse().unwrap()).err().unwrap();
        assert!(error.to_string().contains("`test.conf`") && error.help().is_some(), "{error}");
        assert!(conf(EXAMPLE).check(&"bad.corp:5000/a".parse().unwrap()).is_ok());
    }

    #[test]
    fn mirrors_may_be_for_tags_or_digests_alone() {
        let text = r#"
            [[registry]]
            location = "a.corp"
            [[registry.mirror]]
            location = "m1.corp"
            pull-from-mirror = "digest-only"
            [[registry.mirror]]
            location = "m2.corp"
            pull-from-mirror = "tag-only"
            [[registry]]
            location = "b.corp"
            mirror-by-digest-only = true
            [[registry.mirror]]
            location = "m3.corp"
        "#;
        let takes = |repository: &str| -> Vec<Takes> {
            let places = conf(text).places(&repository.parse().unwrap()).unwrap();
            places.mirrors.iter().map(|(_, takes)| *takes).collect()
        };
        assert_eq!(takes("a.corp/x"), [Takes { tags: false, digests: true }, Takes { tags: true, digests: false }]);
        assert_eq!(takes("b.corp/x"), [Takes { tags: false, digests: true }]);
    }

    #[test]
    fn a_later_rule_takes_the_place_of_an_earlier_one() {
        let mut conf = conf(EXAMPLE);
        conf.add(Path::new("later.conf"), "[[registry]]\nlocation = \"bad.corp\"").unwrap();
        assert!(conf.check(&"bad.corp/a".parse().unwrap()).is_ok());
    }

    #[test]
    fn a_file_of_absurd_length_is_refused_and_not_read_in_part() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let rule = "[[registry]]\nlocation = \"bad.corp\"\nblocked = true\n";
        let line = "# one of many lines\n";
        let before = usize::try_from(MAX_FILE).unwrap() / line.len();
        std::fs::write(file.path(), line.repeat(before) + rule).unwrap();
        let error = RegistriesConf::read(&[file.path().to_owned()]).err().unwrap();
        assert!(error.to_string().contains("larger than"), "{error}");
        std::fs::write(file.path(), line.repeat(before / 2) + rule).unwrap();
        let read = RegistriesConf::read(&[file.path().to_owned()]).unwrap();
        assert!(read.check(&"bad.corp/a".parse().unwrap()).is_err());
    }

    #[test]
    fn a_broken_file_is_named_with_the_line() {
        for (text, why) in [
            ("[[registry]]\n", "neither"),
            ("\n[[registry]]\nlocation = 5\n", "line 3"),
            ("[[registry]]\nlocation = \"http://x\"", "without"),
            ("[registries.search]\nregistries = []", "version 1"),
            (
                "[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\nlocation = \"b\"\npull-from-mirror = \"x\"",
                "none of",
            ),
        ] {
            let mut conf = RegistriesConf::default();
            let error = conf.add(Path::new("test.conf"), text).err().unwrap();
            assert!(error.to_string().contains(why) && error.to_string().contains("test.conf"), "{error}");
        }
    }
}
