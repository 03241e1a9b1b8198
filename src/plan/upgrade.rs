//! Which releases an upgrade goes through: majors one at a time, a bundle each.

use crate::failure::{ErrorClass, Explain};
use crate::manifest::{UpgradeFact, Upgrades, Version};

/// One release to install, which needs a bundle of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeStep {
    /// The release, or `16` where any release of 16 will do.
    pub to: Version,
    /// Whether `to` stands for any release that begins so.
    pub any: bool,
    /// The newest release that fits, of those that are known.
    pub newest: Option<Version>,
    /// Why it cannot be passed over.
    pub why: Option<UpgradeFact>,
    /// What the vendor says about the releases that this step enters.
    pub facts: Vec<UpgradeFact>,
}

/// A way that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// Backwards.
    #[error("there is no way back from {from} to {to}")]
    Downgrade {
        /// What runs.
        from: Version,
        /// What is wanted.
        to: Version,
    },
    /// Nothing to do.
    #[error("{0} runs already")]
    Same(Version),
}

impl Explain for UpgradeError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Usage
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Downgrade { .. } => {
                "OctoPerf does not support downgrades: restore the backup that was made before the upgrade".into()
            }
            Self::Same(_) => {
                "name what runs first and what is wanted last: `octobundle upgrade-path 14.5.1 16.2.1`".into()
            }
        })
    }
}

/// The steps from one release to another, in order. `known` are the releases of which there is a manifest.
pub fn upgrade_path(
    from: &Version,
    to: &Version,
    upgrades: &Upgrades,
    known: &[Version],
) -> Result<Vec<UpgradeStep>, UpgradeError> {
    if from == to {
        return Err(UpgradeError::Same(from.clone()));
    }
    if from > to {
        return Err(UpgradeError::Downgrade { from: from.clone(), to: to.clone() });
    }
    let mut steps: Vec<UpgradeStep> = Vec::new();
    let mut at = from.clone();
    let mut go = |at: &mut Version, next: &Version, any: bool, why: Option<UpgradeFact>| {
        let newest = if any { known.iter().filter(|one| one.is_of(next)).max().cloned() } else { None };
        let reached = newest.clone().unwrap_or_else(|| next.clone());
        let facts = upgrades.facts.iter().filter(|fact| is_about(fact, at, &reached)).cloned().collect();
        *at = reached;
        steps.push(UpgradeStep { to: next.clone(), any, newest, why, facts });
    };
    for major in from.major() + 1..=to.major() {
        let stop = upgrades.stops.iter().find(|stop| stop.before.major() == major && at < stop.at_least);
        if let Some(stop) = stop.filter(|stop| at.major() == stop.at_least.major()) {
            let text = format!("{} cannot follow before {} runs", stop.before, stop.at_least);
            let why = UpgradeFact { from: None, until: None, text, source: stop.source.clone() };
            go(&mut at, &stop.at_least, true, Some(why));
        }
        if major == to.major() {
            break;
        }
        // Where a release of this major must run later anyway, that one is gone to at once.
        let later = upgrades.stops.iter().find(|stop| stop.at_least.major() == major);
        let why = later.map(|stop| UpgradeFact {
            from: None,
            until: None,
            text: format!("{} cannot follow before {} runs", stop.before, stop.at_least),
            source: stop.source.clone(),
        });
        let next = later.map_or_else(|| Version::of_major(major), |stop| stop.at_least.clone());
        go(&mut at, &next, true, why);
    }
    go(&mut at, to, !to.is_exact(), None);
    Ok(steps)
}

/// Whether a step from one release to another enters what the fact is about.
fn is_about(fact: &UpgradeFact, from: &Version, to: &Version) -> bool {
    let begins = fact.from.as_ref().is_none_or(|begin| from < begin && begin <= to);
    // A step that passes over all releases that it is about never meets it.
    begins && fact.until.as_ref().is_none_or(|end| to < end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::upgrades;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn path(from: &str, to: &str) -> Vec<UpgradeStep> {
        let known = ["9.2.0", "11.9.4", "12.8.0", "12.12.3", "13.2.2", "14.5.1", "15.4.1", "16.2.1"].map(version);
        upgrade_path(&version(from), &version(to), upgrades(), &known).unwrap()
    }

    fn stops(from: &str, to: &str) -> Vec<String> {
        let shown = |step: &UpgradeStep| match (&step.newest, step.any) {
            (Some(newest), _) => newest.to_string(),
            (None, true) => format!("{}.x", step.to),
            (None, false) => step.to.to_string(),
        };
        path(from, to).iter().map(shown).collect()
    }

    #[test]
    fn majors_come_one_at_a_time() {
        for (from, to, expected) in [
            ("16.0.0", "16.2.1", &["16.2.1"][..]),
            ("15.4.1", "16.2.1", &["16.2.1"]),
            ("13.2.2", "16.2.1", &["14.5.1", "15.4.1", "16.2.1"]),
            ("16.2.1", "18.0.0", &["17.x", "18.0.0"]),
            ("9.2.0", "12.12.3", &["10.6.x", "11.9.4", "12.12.3"]),
            ("10.2.0", "11.9.4", &["10.6.x", "11.9.4"]),
            ("10.6.1", "11.9.4", &["11.9.4"]),
            ("10.2.0", "10.6.3", &["10.6.3"]),
            ("7.5.2", "9.2.0", &["8.x", "9.2.0"]),
            ("15.4.1", "16", &["16.2.1"]),
        ] {
            assert_eq!(stops(from, to), expected, "{from} to {to}");
        }
    }

    #[test]
    fn each_step_tells_what_it_enters() {
        let texts = |from: &str, to: &str| -> Vec<String> {
            path(from, to).iter().flat_map(|step| &step.facts).map(|fact| fact.text.clone()).collect()
        };
        let says = |all: &[String], word: &str| all.iter().any(|text| text.contains(word));
        let long = texts("10.2.0", "12.8.0");
        assert!(says(&long, "Kibana") && says(&long, "Elasticsearch is 7") && says(&long, "use PostgreSQL"));
        let over = texts("11.9.4", "12.12.3");
        assert!(!says(&over, "use PostgreSQL") && says(&over, "no longer used"));
        assert_eq!(texts("16.2.0", "16.2.1"), Vec::<String>::new());
        let stop = &path("9.2.0", "11.9.4")[0];
        assert!(stop.why.as_ref().unwrap().text.contains("11 cannot follow before 10.6 runs"));
    }

    #[test]
    fn there_is_no_way_back() {
        let way = |from, to| upgrade_path(&version(from), &version(to), upgrades(), &[]).unwrap_err();
        assert!(matches!(way("16.2.1", "15.4.1"), UpgradeError::Downgrade { .. }));
        assert!(matches!(way("16.2.1", "16.2.1"), UpgradeError::Same(_)));
    }
}
