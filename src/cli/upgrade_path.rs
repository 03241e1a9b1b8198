//! `octobundle upgrade-path`.

use std::fmt::Write as _;

use octobundle::failure::Failure;
use octobundle::manifest::{self, UpgradeFact, Version};
use octobundle::plan::{UpgradeStep, upgrade_path};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::exit::Outcome;
use crate::cli::input::usage;

/// List the releases that an upgrade goes through, a bundle each, and what OctoPerf says about each step
#[derive(clap::Args)]
#[command(after_help = "Example:\n  octobundle upgrade-path 13.2.2 16.2.1")]
pub(crate) struct Args {
    /// What runs, as in `13.2.2`
    from: String,
    /// What is wanted
    to: String,
}

#[derive(Serialize)]
struct Report {
    from: String,
    to: String,
    every_step: Vec<FactReport>,
    steps: Vec<StepReport>,
}

#[derive(Serialize)]
struct StepReport {
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<String>,
    facts: Vec<FactReport>,
}

#[derive(Serialize)]
struct FactReport {
    text: String,
    source: String,
}

impl Args {
    /// Lists them.
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let (from, to) = (version(&self.from)?, version(&self.to)?);
        let known: Vec<Version> = manifest::releases().iter().filter_map(|release| version_of(release.name)).collect();
        let steps = upgrade_path(&from, &to, manifest::upgrades(), &known)?;
        let report = Report {
            from: from.to_string(),
            to: to.to_string(),
            every_step: manifest::upgrades().every_step.iter().map(fact).collect(),
            steps: steps.iter().map(|one| step(one, &known)).collect(),
        };
        let text = text(&report);
        context.output.result("upgrade-path", report, &text)?;
        Ok(Outcome::Done)
    }
}

/// A version, or the name of a release.
fn version(text: &str) -> Result<Version, Failure> {
    let plain = text.strip_prefix(NAMED).unwrap_or(text);
    plain.parse().map_err(|error: manifest::BadVersion| {
        usage(error.to_string(), "write versions as in `octobundle upgrade-path 13.2.2 16.2.1`")
    })
}

const NAMED: &str = "octoperf-";

fn version_of(release: &str) -> Option<Version> {
    release.strip_prefix(NAMED)?.parse().ok()
}

fn step(step: &UpgradeStep, known: &[Version]) -> StepReport {
    let exact = (!step.any && known.contains(&step.to)).then_some(&step.to);
    StepReport {
        to: if step.any { format!("{}.x", step.to) } else { step.to.to_string() },
        release: step.newest.as_ref().or(exact).map(|version| format!("{NAMED}{version}")),
        facts: step.why.iter().chain(&step.facts).map(fact).collect(),
    }
}

fn fact(fact: &UpgradeFact) -> FactReport {
    FactReport { text: fact.text.clone(), source: fact.source.clone() }
}

fn text(report: &Report) -> String {
    let count = report.steps.len();
    let bundles = if count == 1 { "one bundle".to_owned() } else { format!("{count} bundles, one after the other") };
    let mut text = format!("from {} to {}: {bundles}\n", report.from, report.to);
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes any text");
    for (place, step) in report.steps.iter().enumerate() {
        let next = match &step.release {
            Some(release) => format!("`octobundle pull {release}`"),
            None => "no manifest of it comes with the tool: write one, `octobundle schema`".to_owned(),
        };
        line(format!("\n{}. {}  {next}", place + 1, step.to));
        for fact in &step.facts {
            line(format!("   - {}\n     {}", fact.text, fact.source));
        }
    }
    line("\neach step".to_owned());
    for fact in &report.every_step {
        line(format!("   - {}\n     {}", fact.text, fact.source));
    }
    text
}
