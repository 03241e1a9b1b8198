//! `octobundle releases`.

use std::fmt::Write as _;

use octobundle::failure::Failure;
use octobundle::manifest::{Manifest, releases};
use octobundle::wording::count;
use serde::Serialize;

use crate::cli::Context;
use crate::cli::exit::Outcome;

/// List the release manifests that come with the tool.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  octobundle releases")]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Report {
    releases: Vec<ReleaseReport>,
}

#[derive(Serialize)]
struct ReleaseReport {
    name: &'static str,
    title: String,
    images: usize,
    groups: Vec<GroupReport>,
    must_set: Vec<String>,
    defaults: Vec<DefaultReport>,
}

#[derive(Serialize)]
struct GroupReport {
    name: String,
    images: usize,
}

#[derive(Serialize)]
struct DefaultReport {
    name: String,
    value: String,
}

impl Args {
    /// Lists them.
    pub(crate) fn run(context: &Context) -> Result<Outcome, Failure> {
        let report =
            Report { releases: releases().iter().map(|release| describe(release.name, &release.manifest)).collect() };
        let text = text(&report);
        context.output.result("releases", report, &text)?;
        Ok(Outcome::Done)
    }
}

fn describe(name: &'static str, manifest: &Manifest) -> ReleaseReport {
    let group = |(name, images): (&str, usize)| GroupReport { name: name.to_owned(), images };
    let default = |variable: &octobundle::manifest::Variable| {
        Some(DefaultReport { name: variable.name.clone(), value: variable.default.clone()? })
    };
    ReleaseReport {
        name,
        title: manifest.title().to_owned(),
        images: manifest.image_count(),
        groups: manifest.groups().into_iter().map(group).collect(),
        must_set: manifest.required_variables().map(str::to_owned).collect(),
        defaults: manifest.variables().iter().filter_map(default).collect(),
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes any text");
    for release in &report.releases {
        line(format!("{:<18} {}", release.name, release.title));
        let groups: Vec<String> =
            release.groups.iter().map(|group| format!("{} ({})", group.name, group.images)).collect();
        let images = count(release.images as u64, "image");
        line(format!("{:<18}   {images}; groups: {}", "", groups.join(", ")));
        if !release.must_set.is_empty() {
            line(format!("{:<18}   must be set for them: {}", "", release.must_set.join(", ")));
        }
        for default in &release.defaults {
            line(format!("{:<18}   --set {}={} unless you say otherwise", "", default.name, default.value));
        }
    }
    text
}
