//! What the vendor says about upgrades: `upgrades/octoperf.yaml`, compiled in.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::Deserialize;

/// Versions of a product; three numbers are what OctoPerf has.
const MAX_PARTS: usize = 4;
/// Far above any version; so majors can be counted one by one.
const MAX_NUMBER: u32 = 999;

/// A release's version: `16.2.1`, or `16.2` or `16` for the first of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Version(Vec<u32>);

/// Text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version: numbers below 1000 with dots between, as in `16.2.1`")]
pub struct BadVersion(String);

impl FromStr for Version {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let bad = || BadVersion(text.chars().take(40).collect());
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let number = |part: &str| part.parse().ok().filter(|number| plain(part) && *number <= MAX_NUMBER);
        let parts: Vec<u32> = text.split('.').map(number).collect::<Option<_>>().ok_or_else(bad)?;
        if parts.len() > MAX_PARTS { Err(bad()) } else { Ok(Self(parts)) }
    }
}

impl TryFrom<String> for Version {
    type Error = BadVersion;

    fn try_from(text: String) -> Result<Self, BadVersion> {
        text.parse()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

impl Version {
    /// The first of a major release.
    pub fn of_major(major: u32) -> Self {
        Self(vec![major])
    }

    /// The first number.
    pub fn major(&self) -> u32 {
        self.0[0]
    }

    /// Whether it names one release and no kind of them.
    pub fn is_exact(&self) -> bool {
        self.0.len() >= 3
    }

    /// Whether it is one of `other`'s: 10.6.2 is of 10.6.
    pub fn is_of(&self, other: &Self) -> bool {
        self.0.len() >= other.0.len() && self.0.starts_with(&other.0)
    }
}

/// By number; a part that is not there counts as 0.
impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let part = |version: &Self, place: usize| version.0.get(place).copied().unwrap_or_default();
        (0..MAX_PARTS).map(|place| part(self, place).cmp(&part(other, place))).find(|by| by.is_ne()).unwrap_or_else(
            // Equal in what they mean; told apart, so that the order agrees with equality.
            || self.0.len().cmp(&other.0.len()),
        )
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What the vendor says, and where.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpgradeFact {
    /// The first release that it is about; every release where it is left out.
    pub from: Option<Version>,
    /// The first release that it is no longer about.
    pub until: Option<Version>,
    /// The fact.
    pub text: String,
    /// A web page.
    pub source: String,
}

/// A release that must be run before the next major.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpgradeStop {
    /// That major.
    pub before: Version,
    /// The least that must run.
    pub at_least: Version,
    /// A web page.
    pub source: String,
}

/// All that is known about upgrades.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upgrades {
    /// True of each step.
    pub every_step: Vec<UpgradeFact>,
    /// Releases that cannot be passed over.
    pub stops: Vec<UpgradeStop>,
    /// True of steps that reach certain releases.
    pub facts: Vec<UpgradeFact>,
}

static UPGRADES: LazyLock<Upgrades> = LazyLock::new(|| {
    serde_saphyr::from_str(include_str!("../../upgrades/octoperf.yaml"))
        .expect("a test reads the file that is compiled in")
});

/// What the vendor says about upgrades.
pub fn upgrades() -> &'static Upgrades {
    &UPGRADES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_compared_by_number() {
        let sorted = ["9", "9.2.0", "10.5.9", "10.6", "10.6.0", "10.6.1", "10.10", "11.0.0"];
        assert!(sorted.windows(2).all(|pair| version(pair[0]) < version(pair[1])));
        assert!(version("10.6.2").is_of(&version("10.6")) && !version("10.60").is_of(&version("10.6")));
        assert_eq!(version("16.2.1").to_string(), "16.2.1");
        for text in ["", "x", "16.", ".1", "16.x", "1.2.3.4.5", "1000", "-1", "+1", "16 ", "١"] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_fact_has_a_source_and_facts_are_in_order() {
        let upgrades = upgrades();
        let sources = upgrades.every_step.iter().chain(&upgrades.facts).map(|fact| &fact.source);
        for source in sources.chain(upgrades.stops.iter().map(|stop| &stop.source)) {
            assert!(source.starts_with("https://") && !source.contains(' '), "{source}");
        }
        assert!(upgrades.facts.iter().all(|fact| fact.from.is_some()));
        assert!(upgrades.facts.is_sorted_by_key(|fact| fact.from.clone()));
        let bounded = |fact: &UpgradeFact| fact.until.is_none() || fact.from < fact.until;
        assert!(upgrades.facts.iter().all(bounded));
    }
}
