//! `octobundle verify`.

use std::fmt::Write as _;
use std::ops::Range;

use octobundle::bundle::{BundlePlace, Finding, Problem, Verdict};
use octobundle::failure::{ErrorClass, Failure};
use octobundle::workflow;
use serde::Serialize;

use crate::cli::Context;
use crate::cli::bundle_args::BundleArgs;
use crate::cli::exit::Outcome;
use crate::cli::input::threads;
use octobundle::wording::size;

/// Read a bundle and report everything that is wrong with it.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  octobundle verify octoperf.tar\n\nExit code 7 says that something is wrong.")]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
}

#[derive(Serialize)]
struct Report {
    sound: bool,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<String>,
    images: usize,
    findings: Vec<FindingReport>,
}

#[derive(Serialize)]
struct FindingReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<String>,
    from: u64,
    to: u64,
    problem: &'static str,
    message: String,
    images: Vec<String>,
    /// The volumes that it is in; none if the bundle is one file.
    volumes: Vec<String>,
}

impl Args {
    /// Verifies.
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let (place, progress) = (self.bundle.place(), context.progress());
        let verdict = tokio::task::block_in_place(|| workflow::verify(&place, threads(), &*progress))?;
        context.finish_progress();
        let report = Report {
            sound: verdict.findings.is_empty(),
            bytes: verdict.bytes,
            release: verdict.lock.as_ref().map(|lock| lock.release.clone()),
            images: verdict.lock.as_ref().map_or(0, |lock| lock.images.len()),
            findings: verdict.findings.iter().map(|finding| FindingReport::new(finding, &verdict)).collect(),
        };
        let text = text(&place, &verdict, &report);
        let sound = report.sound;
        context.output.result("verify", report, &text)?;
        Ok(if sound { Outcome::Done } else { Outcome::Ended(ErrorClass::Integrity) })
    }
}

fn text(place: &BundlePlace, verdict: &Verdict, report: &Report) -> String {
    let file = place.shown().display();
    if let (true, Some(release)) = (report.sound, &report.release) {
        return format!("{file}: sound. {release}, {} images, {} read\n", report.images, size(verdict.bytes));
    }
    let mut text = format!("{file}: DAMAGED, {} findings\n", report.findings.len());
    for finding in &report.findings {
        let member = finding.member.as_deref().unwrap_or("end of file");
        writeln!(text, "\n{member}, bytes {} to {}\n  {}", finding.from, finding.to, finding.message)
            .expect("a String takes any text");
        if !finding.volumes.is_empty() {
            writeln!(text, "  in volume: {}", finding.volumes.join(", ")).expect("a String takes any text");
        }
        if !finding.images.is_empty() {
            writeln!(text, "  hurts: {}", finding.images.join(", ")).expect("a String takes any text");
        }
    }
    text += "\nDo not use this file. Copy it again from where it was made, or pull it again.\n";
    text
}

impl FindingReport {
    fn new(finding: &Finding, verdict: &Verdict) -> Self {
        let touched = |range: &Range<u64>| finding.from < range.end && range.start < finding.to;
        let volumes = verdict.volumes.iter().filter(|(_, range)| touched(range));
        let (problem, message) = words(&finding.problem);
        Self {
            member: finding.member.map(|member| member.to_string()),
            from: finding.from,
            to: finding.to,
            problem,
            message,
            images: finding.images.iter().map(ToString::to_string).collect(),
            volumes: volumes.map(|(path, _)| path.display().to_string()).collect(),
        }
    }
}

/// A problem's name in JSON, and the sentence for people.
fn words(problem: &Problem) -> (&'static str, String) {
    match problem {
        Problem::Content { expected, got } => ("content", format!("the bytes are {got} instead of {expected}")),
        Problem::Header => ("header", "the tar header is not the one that belongs here".into()),
        Problem::Padding => ("padding", "the bytes behind the content are not all zero".into()),
        Problem::End => ("end", "the two empty blocks at the end are not empty".into()),
        Problem::CutOff { expected, got } => {
            ("cut-off", format!("the file ends at byte {got}; it should be at least {expected} bytes long"))
        }
        Problem::Trailing => ("trailing", "the file goes on after its end".into()),
        Problem::Disagrees => ("disagrees", "it does not agree with the other parts of the bundle".into()),
        Problem::LockUnreadable(why) => ("lock-unreadable", why.clone()),
    }
}
