//! `octobundle push`.

use std::fmt::Write as _;
use std::path::PathBuf;

use octobundle::failure::{ErrorClass, Failure};
use octobundle::oci::ImageRef;
use octobundle::plan::{Lacking, SourceHost, Target};
use octobundle::workflow::{self, PushReport, PushRequest, PushedImage};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::access::{Access, Job};
use crate::cli::bundle_args::{BaseArgs, BundleArgs};
use crate::cli::exit::Outcome;
use crate::cli::output::ImageFailureReport;
use crate::cli::pull::outcome;
use crate::cli::registry_args::{RegistryArgs, TransferArgs};
use crate::cli::trust_args::TrustArgs;
use octobundle::wording::size;

/// Send a bundle's images to a registry.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  octobundle push octoperf.tar --registry reg.corp:5000/tools --dry-run
  octobundle push octoperf.tar --registry reg.corp:5000/tools
  octobundle push update.tar --registry reg.corp:5000/tools --base octoperf.tar

What the registry has is not sent again, so a run that was stopped is continued by the same command.")]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    #[command(flatten)]
    bases: BaseArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// Show names and what would be sent, send nothing
    #[arg(long)]
    dry_run: bool,
    /// Skopeo's name for `--authfile` where images are sent
    #[arg(long, value_name = "FILE", conflicts_with = "authfile", help_heading = "Reaching registries")]
    dest_authfile: Option<PathBuf>,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Where images go, and under which names.
#[derive(clap::Args)]
pub(crate) struct TargetArgs {
    /// The private registry, with the path below which the images go
    #[arg(long, value_name = "HOST[:PORT][/PATH]")]
    registry: String,
    /// Keep the source's host as a part of the path
    #[arg(long)]
    keep_host: bool,
}

impl TargetArgs {
    /// The target.
    pub(crate) fn parse(&self) -> Result<Target, Failure> {
        target(&self.registry, self.keep_host)
    }
}

/// A target from its flags.
pub(crate) fn target(registry: &str, keep_host: bool) -> Result<Target, Failure> {
    let host = if keep_host { SourceHost::Keep } else { SourceHost::Drop };
    Ok(Target::parse(registry, host)?)
}

#[derive(Serialize)]
struct Report {
    complete: bool,
    dry_run: bool,
    sent_bytes: u64,
    mounted_bytes: u64,
    present_bytes: u64,
    images: Vec<ImageReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lacking: Vec<LackingReport>,
    failures: Vec<ImageFailureReport>,
}

#[derive(Serialize)]
struct LackingReport {
    digest: String,
    bytes: u64,
    images: Vec<String>,
}

#[derive(Serialize)]
struct ImageReport {
    source: String,
    target: String,
    digest: String,
    state: &'static str,
}

impl Args {
    /// Pushes.
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let access = Access::new(&self.registry, Some(&self.transfer), None, &context.environment)?;
        let target = self.target.parse()?;
        let job =
            Job { named: Some(target.registry().clone()), authfile: self.dest_authfile.as_deref(), ..Job::default() };
        let request = PushRequest {
            bundle: self.bundle.place(),
            bases: self.bases.places(),
            target,
            copy: access.copy_settings(&self.transfer),
            dry_run: self.dry_run,
            trust: self.trust.settings(context, self.registry.config.as_deref())?,
        };
        let registry = access.registry(context, &job)?;
        let report = workflow::push(&request, &registry, &context.progress()).await?;
        context.finish_progress();
        let done: Vec<&ImageRef> = report.images.iter().filter(|image| image.done).map(|image| &image.source).collect();
        let outcome = outcome(&report.failures, &[], &done);
        context.output.failures(&report.failures);
        context.output.result("push", self.report(&report), &self.text(&report))?;
        self.lack(&report).map_or(Ok(outcome), Err)
    }

    /// Why nothing was sent, if what a delta leaves out is not all there.
    fn lack(&self, report: &PushReport) -> Option<Failure> {
        let base = report.base.as_ref().filter(|_| !report.lacking.is_empty())?;
        let (file, registry) = (self.bundle.place().typed(), &self.target.registry);
        let bytes = size(report.lacking.iter().map(|lacking| lacking.layer.size).sum());
        let what = format!(
            "`{registry}` lacks {} of the layers that the delta `{}` leaves out ({bytes}): nothing was sent",
            report.lacking.len(),
            self.bundle.place().shown().display()
        );
        let keep = if self.target.keep_host { " --keep-host" } else { "" };
        let help = format!(
            "push the bundle of {} there first, or give it along: `octobundle push {file} --registry {registry}{keep} --base OLD`",
            base.name
        );
        Some(Failure::new(ErrorClass::NotFound, what).with_help(help))
    }

    fn state(&self, image: &PushedImage) -> &'static str {
        match (image.present, image.done) {
            (true, _) => "present",
            (false, true) => "pushed",
            (false, false) if self.dry_run => "to-push",
            (false, false) => "incomplete",
        }
    }

    fn report(&self, report: &PushReport) -> Report {
        let image = |image: &PushedImage| ImageReport {
            source: image.source.to_string(),
            target: image.target.to_string(),
            digest: image.digest.to_string(),
            state: self.state(image),
        };
        Report {
            complete: report.images.iter().all(|image| image.done),
            dry_run: self.dry_run,
            sent_bytes: report.sent_bytes,
            mounted_bytes: report.adopted_bytes,
            present_bytes: report.present_bytes,
            images: report.images.iter().map(image).collect(),
            lacking: report.lacking.iter().map(LackingReport::from).collect(),
            failures: report.failures.iter().map(ImageFailureReport::from).collect(),
        }
    }

    fn text(&self, report: &PushReport) -> String {
        let mut text = String::new();
        for image in &report.images {
            let state = self.state(image);
            writeln!(text, "{state:<10} {} -> {}\n           {}", image.source, image.target, image.digest)
                .expect("a String takes any text");
        }
        for Lacking { layer, images } in &report.lacking {
            let names = images.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            writeln!(text, "lacking    {}, {}\n           needed by {names}", layer.digest, size(layer.size))
                .expect("a String takes any text");
        }
        let (sent, adopted, present) =
            (size(report.sent_bytes), size(report.adopted_bytes), size(report.present_bytes));
        let verb = if self.dry_run { "to send" } else { "sent" };
        writeln!(text, "{sent} of layers {verb}, {adopted} mounted within the registry, {present} there already")
            .expect("a String takes any text");
        text
    }
}

impl From<&Lacking> for LackingReport {
    fn from(lacking: &Lacking) -> Self {
        Self {
            digest: lacking.layer.digest.to_string(),
            bytes: lacking.layer.size,
            images: lacking.images.iter().map(ToString::to_string).collect(),
        }
    }
}
