//! `octobundle pull`.

use std::path::PathBuf;

use octobundle::bundle::{BundleOutput, EarlierDraft, ExistingOutput, Form, OtherForm};
use octobundle::failure::{ErrorClass, Failure, typed};
use octobundle::oci::ImageRef;
use octobundle::transfer::CopyFailure;
use octobundle::workflow::{self, PullInput, PullReport, PullRequest, WriteRequest};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::access::{Access, Job};
use crate::cli::amounts::{Span, Volume};
use crate::cli::cut::{VolumeReport, sealed_text, volumes};
use crate::cli::exit::Outcome;
use crate::cli::input::{ReleaseArgs, read_lock, threads, usage};
use crate::cli::output::ImageFailureReport;
use crate::cli::registry_args::{RegistryArgs, SourceArgs, TransferArgs};
use crate::cli::side::held;
use octobundle::report::DeltaFacts;
use octobundle::wording::{count, size};

/// Fetch a release into one file.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  octobundle pull octoperf-9.2.0 -o octoperf.tar
  octobundle pull release.yaml --group agent --platform linux/amd64 -o agents.tar
  octobundle pull --locked octoperf.lock -o octoperf.tar
  octobundle pull octoperf-9.2.0 --since octoperf-9.1.0.tar -o update.tar
  octobundle pull octoperf-9.2.0 --volume-size fat32 -o octoperf.tar

A run that was stopped is continued by the same command: it fetches only what is not proven to be on the disk.")]
pub(crate) struct Args {
    #[command(flatten)]
    release: ReleaseArgs,
    /// Pull exactly what this lock names instead of resolving tags
    #[arg(long, value_name = "FILE")]
    locked: Option<PathBuf>,
    /// Leave out the layers that the far side has: a bundle or lock that it was given, or what `have` wrote there
    #[arg(long, value_name = "OLD")]
    since: Option<PathBuf>,
    /// The bundle to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Write volumes of this length: fat32, dvd, bd, av, diode, or bytes as in `4G` or `700MiB`
    #[arg(long, value_name = "SIZE")]
    volume_size: Option<Volume>,
    /// Put the new bundle in the place of one that is there, once it is whole
    #[arg(long)]
    replace: bool,
    /// Do not continue an earlier run, fetch everything
    #[arg(long)]
    fresh: bool,
    /// Wait so long for another run that writes the same file
    #[arg(long, value_name = "TIME", default_value = "0")]
    lock_wait: Span,
    /// Show what would be fetched, fetch no layer and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Serialize)]
struct Report {
    complete: bool,
    dry_run: bool,
    output: String,
    release: String,
    images: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<DeltaFacts>,
    bundle_bytes: u64,
    fetched_bytes: u64,
    reused_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    by_another_run: bool,
    volumes: Vec<VolumeReport>,
    failures: Vec<ImageFailureReport>,
}

impl Args {
    /// Pulls.
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let access = Access::new(&self.registry, Some(&self.transfer), Some(&self.source), &context.environment)?;
        let request = self.request(&access)?;
        let registry = access.registry(context, &self.job(&request.input))?;
        let report = workflow::pull(&request, &registry, &context.progress()).await?;
        context.finish_progress();
        // After `--fail-fast` the images without a failure are not complete either: most were not begun.
        let others = report.lock.images.iter().filter(|_| !self.transfer.fail_fast);
        let images: Vec<&ImageRef> = others.map(|image| &image.name).collect();
        let outcome = outcome(&report.failures, &images, &[]);
        context.output.failures(&report.failures);
        let text = self.text(&report);
        context.output.result("pull", self.report(&report), &text)?;
        if report.sealed.is_some() {
            let file = typed(&self.output);
            let base = if report.base.is_some() { " --base OLD" } else { "" };
            context.output.note(&format!(
                "next: octobundle push {file} --registry HOST:PORT/PATH   (or: octobundle load {file}{base})\n"
            ));
        }
        Ok(outcome)
    }

    fn request(&self, access: &Access<'_>) -> Result<PullRequest, Failure> {
        let input = match &self.locked {
            Some(_) if !self.release.is_empty() => {
                return Err(usage(
                    "`--locked` stands beside a release or its choices",
                    "a lock names its images itself: leave out the rest",
                ));
            }
            Some(path) => PullInput::Locked(read_lock(path)?),
            None => PullInput::Wanted(self.release.image_set()?),
        };
        Ok(PullRequest {
            input,
            since: self.since.as_deref().map(held).transpose()?,
            write: WriteRequest {
                output: BundleOutput { path: self.output.clone(), form: self.form(), other_form: OtherForm::Output },
                existing: if self.replace { ExistingOutput::Replace } else { ExistingOutput::Refuse },
                earlier: if self.fresh { EarlierDraft::Discard } else { EarlierDraft::Continue },
                copy: access.copy_settings(&self.transfer),
                threads: threads(),
                lock_wait: self.lock_wait.0,
            },
            dry_run: self.dry_run,
        })
    }

    fn form(&self) -> Form {
        self.volume_size.map_or(Form::OneFile, |size| Form::Volumes(size.0))
    }

    fn job(&self, input: &PullInput) -> Job<'_> {
        match input {
            PullInput::Wanted(wanted) => Job::fetching(wanted.images.iter().map(|image| &image.name), &self.source),
            PullInput::Locked(lock) => Job::fetching(lock.images.iter().map(|image| &image.name), &self.source),
        }
    }

    fn report(&self, report: &PullReport) -> Report {
        Report {
            complete: report.sealed.is_some(),
            dry_run: self.dry_run,
            output: self.output.display().to_string(),
            release: report.lock.release.clone(),
            images: report.lock.images.len(),
            delta: report.base.as_ref().map(|base| DeltaFacts::new(base, &report.lock)),
            bundle_bytes: report.bundle_bytes,
            fetched_bytes: report.fetched_bytes,
            reused_bytes: report.reused_bytes,
            sha256: report.sealed.as_ref().and_then(|sealed| sealed.sha256).map(|digest| digest.hex()),
            by_another_run: report.by_another_run,
            volumes: volumes(report.sealed.as_ref()),
            failures: report.failures.iter().map(ImageFailureReport::from).collect(),
        }
    }

    fn text(&self, report: &PullReport) -> String {
        let (images, file) = (count(report.lock.images.len() as u64, "image"), self.output.display());
        let (whole, fetched, reused) =
            (size(report.bundle_bytes), size(report.fetched_bytes), size(report.reused_bytes));
        let release = &report.lock.release;
        let delta = report.base.as_ref().map(|base| DeltaFacts::new(base, &report.lock).line());
        let delta = delta.map_or_else(String::new, |line| format!("  {line}\n"));
        match &report.sealed {
            Some(sealed) if report.by_another_run => format!(
                "{file}: {release}, {images}, {whole}\n{delta}{}  another run wrote it meanwhile, nothing was left to do\n",
                sealed_text(sealed)
            ),
            Some(sealed) => format!(
                "{file}: {release}, {images}, {whole}\n{delta}{}  {fetched} fetched, {reused} were here already\n",
                sealed_text(sealed)
            ),
            None if self.dry_run => {
                format!("{release}: {images}; {file} would be {whole}, {fetched} of layers would be fetched\n{delta}")
            }
            None => format!("{file} is not complete; {fetched} fetched are kept, the same command continues\n"),
        }
    }
}

/// How a copy ended: partial if some images are complete and some are not.
pub(crate) fn outcome(failures: &[CopyFailure], images: &[&ImageRef], done_before: &[&ImageRef]) -> Outcome {
    let Some(first) = failures.first() else {
        return Outcome::Done;
    };
    let failed = |image: &&&ImageRef| failures.iter().any(|failed| failed.images.contains(image));
    let some_done = images.iter().filter(|image| !failed(image)).count() > 0 || !done_before.is_empty();
    let class = first.failure.class();
    let ends_all = matches!(class, ErrorClass::Disk | ErrorClass::Locked);
    Outcome::Ended(if some_done && !ends_all { ErrorClass::Partial } else { class })
}
