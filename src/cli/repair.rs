//! `octobundle repair`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use octobundle::bundle::{BundlePlace, ExistingOutput, Mended};
use octobundle::engine::EngineChoice;
use octobundle::failure::{ErrorClass, Failure, typed};
use octobundle::oci::ImageRef;
use octobundle::plan::{SourceHost, Target};
use octobundle::transfer::CopySettings;
use octobundle::wording::{count, size};
use octobundle::workflow::{self, EngineLoan, RegistryPlace, RepairReport, RepairRequest};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::access::{Access, Job};
use crate::cli::bundle_args::BundleArgs;
use crate::cli::cut::{VolumeReport, sealed_text, volumes};
use crate::cli::exit::Outcome;
use crate::cli::input::{threads, usage};
use crate::cli::output::ImageFailureReport;
use crate::cli::pull::outcome;
use crate::cli::registry_args::{RegistryArgs, SourceArgs, TransferArgs};

/// Where the images were pulled from, in place of a registry's name.
const ORIGIN: &str = "origin";
/// Engines on this host, in place of a file's name.
const ENGINES: [(&str, EngineChoice); 2] = [("docker", EngineChoice::Docker), ("podman", EngineChoice::Podman)];

/// Make a damaged bundle sound again, with what another place has of it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  octobundle repair octoperf.tar --from /media/stick/octoperf.tar
  octobundle repair /media/stick --from /media/other-stick -o octoperf.tar
  octobundle repair octoperf.tar --from reg.corp:5000/tools
  octobundle repair octoperf.tar --from origin
  octobundle repair octoperf.tar --from docker

A copy may be damaged too, in other places. The repaired bundle is written beside the damaged one, which stays until the
new one was read back and is sound.")]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    /// What has the good bytes: a copy of the bundle (its file, a volume of it, a folder), a registry that the images
    /// were pushed to (HOST[:PORT][/PATH]), `origin`, where they were pulled from, or `docker` or `podman` on this host;
    /// may be given several times
    #[arg(long = "from", value_name = "OTHER", required = true)]
    from: Vec<String>,
    /// Of a registry that the images were pushed to: the source's host is a part of the path
    #[arg(long)]
    keep_host: bool,
    /// Write the repaired bundle here, and leave the damaged one
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Put it in the place of a bundle that is there, once it is whole
    #[arg(long, requires = "output")]
    replace: bool,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the JSON")]
struct Report {
    /// Whether there is a sound bundle now.
    sound: bool,
    /// Whether it was there before.
    was_sound: bool,
    output: String,
    release: String,
    /// Whether anything but blobs was damaged.
    frame_damaged: bool,
    by_pieces: bool,
    damaged: Vec<DamagedReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    volumes: Vec<VolumeReport>,
    /// Left out where no engine was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    engines: Vec<EngineReport>,
    failures: Vec<ImageFailureReport>,
}

/// What an engine gave.
#[derive(Serialize)]
struct EngineReport {
    engine: String,
    blobs: usize,
    images: Vec<String>,
    absent: Vec<String>,
}

#[derive(Serialize)]
struct DamagedReport {
    digest: String,
    bytes: u64,
    /// Bytes that were taken from other copies.
    copied_bytes: u64,
    /// Bytes that were, or would have to be, fetched from a registry.
    fetched_bytes: u64,
    repaired: bool,
    images: Vec<String>,
}

impl Args {
    /// Repairs.
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let access = Access::new(&self.registry, Some(&self.transfer), Some(&self.source), &context.environment)?;
        let Places { bundles, engines, registry: place } = self.places()?;
        let request = RepairRequest {
            bundle: self.bundle.place(),
            others: bundles,
            engines,
            engine_settings: context.environment.engines(),
            registry: place,
            output: self.output.clone(),
            existing: if self.replace { ExistingOutput::Replace } else { ExistingOutput::Refuse },
            copy: self.copy_settings(&access),
            threads: threads(),
        };
        let named = match &request.registry {
            Some(RegistryPlace::Target(target)) => Some(target.registry().clone()),
            _ => None,
        };
        let job = Job { named, authfile: self.source.src_authfile.as_deref(), ..Job::default() };
        let registry = access.registry(context, &job)?;
        let report = workflow::repair(&request, &registry, &context.progress()).await?;
        context.finish_progress();
        context.output.failures(&report.failures);
        context.output.result("repair", json(&report), &text(&report))?;
        if let Some(failure) = self.beyond_repair(&report) {
            return Err(failure);
        }
        let whole: Vec<&ImageRef> = report.lock.images.iter().map(|image| &image.name).collect();
        Ok(outcome(&report.failures, &whole, &[]))
    }

    /// One reader keeps a stick or a disc streaming; a registry is asked for several things at a time.
    fn copy_settings(&self, access: &Access<'_>) -> CopySettings {
        let settings = access.copy_settings(&self.transfer);
        let only_files = self.from.iter().all(|from| Path::new(from).exists());
        if only_files { CopySettings { jobs: 1, ..settings } } else { settings }
    }

    /// All that may have what lacks.
    fn places(&self) -> Result<Places, Failure> {
        let (mut bundles, mut engines, mut registries) = (Vec::new(), Vec::new(), Vec::new());
        for from in &self.from {
            if let Some((_, engine)) = ENGINES.iter().find(|(name, _)| name == from) {
                engines.push(*engine);
                continue;
            }
            match self.registry_place(from)? {
                Some(place) => registries.push(place),
                None => bundles.push(PathBuf::from(from).into()),
            }
        }
        if registries.len() > 1 {
            return Err(usage(
                "`--from` names more than one registry",
                "name one, and repair again with the other one",
            ));
        }
        Ok(Places { bundles, engines, registry: registries.pop() })
    }

    /// What is a file or looks like one is a bundle.
    fn registry_place(&self, from: &str) -> Result<Option<RegistryPlace>, Failure> {
        let path = Path::new(from);
        if from == ORIGIN {
            return Ok(Some(RegistryPlace::Origin));
        }
        let is_path = path.exists() || from.starts_with(['/', '.']) || path.extension().is_some_and(|end| end == "tar");
        if is_path {
            return Ok(None);
        }
        let host = if self.keep_host { SourceHost::Keep } else { SourceHost::Drop };
        match Target::parse(from, host) {
            Ok(target) => Ok(Some(RegistryPlace::Target(target))),
            Err(error) => Err(Failure::from(error).within(format!("`{from}` is no file, and no place in a registry"))),
        }
    }

    /// Why nothing was repaired, if something is had nowhere.
    fn beyond_repair(&self, report: &RepairReport) -> Option<Failure> {
        let lost = report.beyond_repair.len();
        let what = format!(
            "`{}` was not repaired: {lost} of its blobs are good in none of the places given; nothing was written",
            report.path.display()
        );
        let from =
            self.from.iter().map(|from| format!("--from {}", typed(Path::new(from)))).collect::<Vec<_>>().join(" ");
        let bundle = self.bundle.place().typed();
        let why = report.loans.iter().map(why_not).collect::<String>();
        let help = format!("{why}name one more place that has them: `octobundle repair {bundle} {from} --from OTHER`");
        (lost > 0).then(|| Failure::new(ErrorClass::Integrity, what).with_help(help))
    }
}

/// The places that were named.
struct Places {
    bundles: Vec<BundlePlace>,
    engines: Vec<EngineChoice>,
    registry: Option<RegistryPlace>,
}

/// Why an engine did not have all that lacks, as it is mostly.
fn why_not(loan: &EngineLoan) -> String {
    if loan.asked.is_empty() {
        return format!("{} has none of these images; ", loan.kind);
    }
    format!(
        "{} unpacks layers and packs them anew when it saves, unless it keeps what the registry sent (docker with the \
         containerd image store); ",
        loan.kind
    )
}

fn json(report: &RepairReport) -> Report {
    let sealed = report.sealed.as_ref();
    let damaged = |(blob, images): &(Mended, Vec<ImageRef>)| DamagedReport {
        digest: blob.digest.to_string(),
        bytes: blob.size,
        copied_bytes: blob.from_copies(),
        fetched_bytes: blob.lacking(),
        repaired: sealed.is_some(),
        images: images.iter().map(ToString::to_string).collect(),
    };
    Report {
        sound: report.was_sound || sealed.is_some(),
        was_sound: report.was_sound,
        output: sealed.map_or(report.path.as_path(), |sealed| sealed.path.as_path()).display().to_string(),
        release: report.lock.release.clone(),
        frame_damaged: report.frame,
        by_pieces: report.by_pieces,
        damaged: report.damaged.iter().map(damaged).collect(),
        sha256: sealed.and_then(|sealed| sealed.sha256).map(|digest| digest.hex()),
        volumes: volumes(sealed),
        engines: report.loans.iter().map(EngineReport::from).collect(),
        failures: report.failures.iter().map(ImageFailureReport::from).collect(),
    }
}

impl From<&EngineLoan> for EngineReport {
    fn from(loan: &EngineLoan) -> Self {
        let names = |images: &[ImageRef]| images.iter().map(ToString::to_string).collect();
        Self { engine: loan.engine.clone(), blobs: loan.blobs, images: names(&loan.asked), absent: names(&loan.absent) }
    }
}

fn text(report: &RepairReport) -> String {
    let path = report.path.display();
    if report.was_sound {
        return format!("{path}: sound, there is nothing to repair\n");
    }
    let mut text = String::new();
    for (blob, images) in &report.damaged {
        text += &line(blob, report, images);
    }
    for loan in &report.loans {
        let gave = count(loan.blobs as u64, "blob");
        writeln!(text, "{} gave {gave}", loan.engine).expect("a String takes any text");
        for absent in &loan.absent {
            writeln!(text, "           it does not have {absent}").expect("a String takes any text");
        }
    }
    if report.frame {
        text += "what stands around the blobs was damaged, and follows from the list of images\n";
    }
    match &report.sealed {
        Some(sealed) => {
            let parts = report.damaged.iter().map(|(blob, _)| (blob.from_copies(), blob.lacking()));
            let (copied, fetched) = parts.fold((0, 0), |(a, b), (copied, fetched)| (a + copied, b + fetched));
            let pieces = if report.by_pieces { "" } else { " (whole blobs: no list of pieces was found)" };
            writeln!(
                text,
                "{}: repaired, read back and sound. {} from other copies, {} fetched{pieces}",
                sealed.path.display(),
                size(copied),
                size(fetched)
            )
            .expect("a String takes any text");
            text += &sealed_text(sealed);
        }
        None => writeln!(text, "{path} is NOT repaired and stays as it was").expect("a String takes any text"),
    }
    text
}

/// A damaged blob, and what became of it.
fn line(blob: &Mended, report: &RepairReport, images: &[ImageRef]) -> String {
    let state = match (&report.sealed, report.beyond_repair.contains(&blob.digest)) {
        (Some(_), _) => "repaired",
        (None, true) => "LOST    ",
        (None, false) => "damaged ",
    };
    let names = images.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let bad = size(blob.from_copies() + blob.lacking());
    format!("{state}   {}, {bad} of {}\n           hurts {names}\n", blob.digest, size(blob.size))
}
