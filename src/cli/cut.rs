//! `octobundle split` and `octobundle join`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use octobundle::bundle::{BundleOutput, EarlierDraft, ExistingOutput, Form, OtherForm, Sealed, SealedVolume};
use octobundle::failure::Failure;
use octobundle::transfer::CopySettings;
use octobundle::wording::count;
use octobundle::workflow::{self, RecutReport, RecutRequest, WriteRequest};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::amounts::Volume;
use crate::cli::bundle_args::BundleArgs;
use crate::cli::exit::Outcome;
use crate::cli::input::threads;
use crate::cli::output::ImageFailureReport;
use crate::cli::pull::outcome;

/// Cut a bundle into volumes.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  octobundle split octoperf.tar --volume-size fat32 -o /media/stick

Every byte is compared with its digest on the way. A run that was stopped is continued by the same command.")]
pub(crate) struct SplitArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    #[command(flatten)]
    size: VolumeSizeArg,
    /// The new bundle's name, or a folder in which it keeps its own
    #[arg(short, long, value_name = "NAME|FOLDER")]
    output: PathBuf,
    /// Put the new volumes in the place of those that are there, once they are whole
    #[arg(long)]
    replace: bool,
}

/// Write the volumes of a bundle as one file.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  octobundle join /media/stick -o octoperf.tar

Every byte is compared with its digest on the way. Nothing else needs this: verify, push, load and render read volumes
where they are.")]
pub(crate) struct JoinArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    /// The file to write, or a folder in which the bundle keeps its name
    #[arg(short, long, value_name = "FILE|FOLDER")]
    output: PathBuf,
    /// Put the new file in the place of one that is there, once it is whole
    #[arg(long)]
    replace: bool,
}

/// How long volumes are.
#[derive(clap::Args)]
pub(crate) struct VolumeSizeArg {
    /// The length of volumes: fat32, dvd, bd, av, diode, or bytes as in `4G` or `700MiB`
    #[arg(long, value_name = "SIZE")]
    pub(crate) volume_size: Volume,
}

#[derive(Serialize)]
struct Report {
    complete: bool,
    output: String,
    release: String,
    images: usize,
    bundle_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    volumes: Vec<VolumeReport>,
    failures: Vec<ImageFailureReport>,
}

/// A volume in a report.
#[derive(Serialize)]
pub(crate) struct VolumeReport {
    path: String,
    size: u64,
    sha256: String,
}

impl From<&SealedVolume> for VolumeReport {
    fn from(volume: &SealedVolume) -> Self {
        Self { path: volume.path.display().to_string(), size: volume.size, sha256: volume.sha256.hex() }
    }
}

/// The volumes that were written.
pub(crate) fn volumes(sealed: Option<&Sealed>) -> Vec<VolumeReport> {
    sealed.iter().flat_map(|sealed| &sealed.volumes).map(VolumeReport::from).collect()
}

impl SplitArgs {
    /// Splits.
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        recut("split", &self.bundle, &self.output, Form::Volumes(self.size.volume_size.0), self.replace, context).await
    }
}

impl JoinArgs {
    /// Joins.
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        recut("join", &self.bundle, &self.output, Form::OneFile, self.replace, context).await
    }
}

async fn recut(
    command: &'static str,
    bundle: &BundleArgs,
    output: &Path,
    form: Form,
    replace: bool,
    context: &Context,
) -> Result<Outcome, Failure> {
    let request = RecutRequest {
        bundle: bundle.place(),
        write: WriteRequest {
            output: BundleOutput { path: output.to_owned(), form, other_form: OtherForm::Kept },
            existing: if replace { ExistingOutput::Replace } else { ExistingOutput::Refuse },
            earlier: EarlierDraft::Continue,
            // One reader keeps a stick or a disc streaming.
            copy: CopySettings { jobs: 1, large_jobs: 1, fail_fast: false },
            threads: threads(),
            lock_wait: Duration::ZERO,
        },
    };
    let report = workflow::recut(&request, &context.progress()).await?;
    context.finish_progress();
    context.output.failures(&report.failures);
    let names: Vec<_> = report.lock.images.iter().map(|image| &image.name).collect();
    let ended = outcome(&report.failures, &names, &[]);
    context.output.result(command, json(&report, output), &text(&report, output))?;
    Ok(ended)
}

fn json(report: &RecutReport, output: &Path) -> Report {
    let sealed = report.sealed.as_ref();
    Report {
        complete: sealed.is_some(),
        output: sealed.map_or(output, |sealed| sealed.path.as_path()).display().to_string(),
        release: report.lock.release.clone(),
        images: report.lock.images.len(),
        bundle_bytes: report.bundle_bytes,
        sha256: sealed.and_then(|sealed| sealed.sha256).map(|digest| digest.hex()),
        volumes: volumes(sealed),
        failures: report.failures.iter().map(ImageFailureReport::from).collect(),
    }
}

fn text(report: &RecutReport, output: &Path) -> String {
    match &report.sealed {
        None => format!("{} is not complete: the bundle is damaged\n", output.display()),
        Some(sealed) => format!(
            "{}: {}, {}\n{}",
            sealed.path.display(),
            report.lock.release,
            count(report.lock.images.len() as u64, "image"),
            sealed_text(sealed)
        ),
    }
}

/// What was written, a line each.
pub(crate) fn sealed_text(sealed: &Sealed) -> String {
    let mut text = String::new();
    if let Some(sha256) = &sealed.sha256 {
        writeln!(text, "  sha256 {}", sha256.hex()).expect("a String takes any text");
    }
    for volume in &sealed.volumes {
        let name = volume.path.file_name().unwrap_or_default().to_string_lossy();
        writeln!(text, "  {name}  {} bytes, sha256 {}", volume.size, volume.sha256.hex())
            .expect("a String takes any text");
    }
    text
}
