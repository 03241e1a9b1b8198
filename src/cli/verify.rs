//! `octobundle verify`.

use std::fmt::Write as _;
use std::ops::Range;

use octobundle::bundle::{BundlePlace, Finding, Problem, Verdict};
use octobundle::failure::{ErrorClass, Failure};
use octobundle::workflow::{self, Absent, Trust};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::bundle_args::{BaseArgs, BundleArgs};
use crate::cli::exit::Outcome;
use crate::cli::input::threads;
use crate::cli::trust_args::{TrustArgs, words as words_of_trust};
use octobundle::report::{DeltaFacts, TrustFacts};
use octobundle::wording::{count, size};

/// Read a bundle and report everything that is wrong with it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  octobundle verify octoperf.tar
  octobundle verify octoperf.tar --trust anna.pub
  octobundle verify update.tar --base octoperf.tar

Exit code 7 says that something is wrong with the file, 6 that a delta is not whole with the bundles given, 8 that all is
sound and not signed by whom it must be, 0 that it is sound and, with `--trust` or `--policy`, trusted.")]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    #[command(flatten)]
    bases: BaseArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

#[derive(Serialize)]
struct Report {
    sound: bool,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<String>,
    images: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<DeltaFacts>,
    /// With `--base` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lacking: Option<Vec<AbsentReport>>,
    findings: Vec<FindingReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust: Option<TrustFacts>,
}

#[derive(Serialize)]
struct AbsentReport {
    digest: String,
    bytes: u64,
    damaged: bool,
    message: String,
    images: Vec<String>,
}

/// One thing that is wrong, as JSON.
#[derive(Serialize)]
pub(crate) struct FindingReport {
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
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let (place, progress) = (self.bundle.place(), context.progress());
        let settings = self.trust.settings(context, None)?;
        let read = || workflow::verify(&place, threads(), &settings, &*progress);
        let (verdict, trust) = tokio::task::block_in_place(read)?;
        let sound = verdict.findings.is_empty();
        let bases = self.bases.places();
        let lacking = if sound && !bases.is_empty() {
            Some(workflow::verify_bases(&place, &bases, threads(), &progress).await?)
        } else {
            None
        };
        context.finish_progress();
        let delta = verdict.base.as_ref().zip(verdict.lock.as_ref());
        let report = Report {
            sound,
            bytes: verdict.bytes,
            release: verdict.lock.as_ref().map(|lock| lock.release.clone()),
            images: verdict.lock.as_ref().map_or(0, |lock| lock.images.len()),
            delta: delta.map(|(base, lock)| DeltaFacts::new(base, lock)),
            whole: lacking.as_ref().map(Vec::is_empty),
            lacking: lacking.as_ref().map(|lacking| lacking.iter().map(AbsentReport::from).collect()),
            findings: verdict.findings.iter().map(|finding| FindingReport::new(finding, &verdict)).collect(),
            trust: trust.as_ref().map(TrustFacts::from),
        };
        let text = text(&place, &verdict, &report) + &trust.as_ref().map(words_of_trust).unwrap_or_default();
        context.output.result("verify", report, &text)?;
        Ok(outcome(sound, lacking.as_deref().unwrap_or_default(), trust.as_ref()))
    }
}

/// Damage weighs more than what is not there, and that more than who signed.
fn outcome(sound: bool, lacking: &[Absent], trust: Option<&Trust>) -> Outcome {
    let damaged = !sound || lacking.iter().any(|absent| absent.damage.is_some());
    match trust {
        _ if damaged => Outcome::Ended(ErrorClass::Integrity),
        _ if !lacking.is_empty() => Outcome::Ended(ErrorClass::NotFound),
        Some(Trust::Unchecked | Trust::Trusted { .. }) => Outcome::Done,
        Some(Trust::Untrusted(_) | Trust::Older { .. }) => Outcome::Ended(ErrorClass::Trust),
        None => Outcome::Ended(ErrorClass::Integrity),
    }
}

fn text(place: &BundlePlace, verdict: &Verdict, report: &Report) -> String {
    let file = place.shown().display();
    if let (true, Some(release)) = (report.sound, &report.release) {
        let delta = report.delta.as_ref().map_or_else(String::new, |delta| delta_text(delta, report));
        let images = count(report.images as u64, "image");
        return format!("{file}: sound. {release}, {images}, {} read\n{delta}", size(verdict.bytes));
    }
    let mut text = format!("{file}: DAMAGED, {}\n", count(report.findings.len() as u64, "finding"));
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
    writeln!(
        text,
        "\nDo not use this file. Copy it again from where it was made, pull it again, or repair it with what another \
         place has:\n  octobundle repair {} --from OTHER",
        place.typed()
    )
    .expect("a String takes any text");
    text
}

/// What a delta needs, and whether the bases have it.
fn delta_text(delta: &DeltaFacts, report: &Report) -> String {
    let mut text = format!("{}\n", delta.line());
    let Some(lacking) = &report.lacking else {
        return text + "see whether an older bundle has them: add `--base OLD`\n";
    };
    if lacking.is_empty() {
        return text + "it is whole with the bundles given\n";
    }
    writeln!(text, "it is NOT whole: {} of these layers lack", lacking.len()).expect("a String takes any text");
    for absent in lacking {
        writeln!(text, "\n{}\n  needed by: {}", absent.message, absent.images.join(", "))
            .expect("a String takes any text");
    }
    text += "\nName the bundles that have them with `--base`; a delta among these needs its own base too.\n";
    text
}

impl From<&Absent> for AbsentReport {
    fn from(absent: &Absent) -> Self {
        let Absent { layer, images, damage } = absent;
        let message = match damage {
            Some(damage) => damage.to_string(),
            None => format!("{} ({}) is in none of the bundles given", layer.digest, size(layer.size)),
        };
        Self {
            digest: layer.digest.to_string(),
            bytes: layer.size,
            damaged: damage.is_some(),
            message,
            images: images.iter().map(ToString::to_string).collect(),
        }
    }
}

impl FindingReport {
    /// Where and what, in one sentence.
    pub(crate) fn sentence(&self) -> String {
        let member = self.member.as_deref().unwrap_or("end of file");
        let volumes = if self.volumes.is_empty() { String::new() } else { format!(" ({})", self.volumes.join(", ")) };
        format!("{member}, bytes {} to {}{volumes}: {}", self.from, self.to, self.message)
    }

    /// A finding of this verdict.
    pub(crate) fn new(finding: &Finding, verdict: &Verdict) -> Self {
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
