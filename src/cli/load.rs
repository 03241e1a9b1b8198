//! `octobundle load`.

use std::fmt::Write as _;

use clap::ValueEnum;
use octobundle::engine::EngineChoice;
use octobundle::failure::Failure;
use octobundle::workflow::{self, LoadReport, LoadRequest, LoadedImage};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::bundle_args::{BaseArgs, BundleArgs};
use crate::cli::exit::Outcome;
use crate::cli::input::threads;
use crate::cli::push::target;
use crate::cli::trust_args::TrustArgs;

/// Load a bundle's images into docker or podman on this host.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  octobundle load octoperf.tar
  octobundle load octoperf.tar --engine podman --registry reg.corp:5000/tools
  octobundle load update.tar --base octoperf.tar

Volumes are sent to the engine as one stream. Without its socket, podman first copies such a stream into its own
temporary folder.")]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    #[command(flatten)]
    bases: BaseArgs,
    /// Which engine; `auto` takes the one that answers, docker first
    #[arg(long, value_enum, default_value_t = EngineName::Auto)]
    engine: EngineName,
    /// Give the images the names too that they have in this registry
    #[arg(long, value_name = "HOST[:PORT][/PATH]")]
    registry: Option<String>,
    /// Keep the source's host as a part of the path
    #[arg(long, requires = "registry")]
    keep_host: bool,
    #[command(flatten)]
    trust: TrustArgs,
}

/// An engine by name.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum EngineName {
    Auto,
    Docker,
    Podman,
}

impl EngineName {
    /// For the library.
    pub(crate) fn choice(self) -> EngineChoice {
        match self {
            Self::Auto => EngineChoice::Auto,
            Self::Docker => EngineChoice::Docker,
            Self::Podman => EngineChoice::Podman,
        }
    }
}

#[derive(Serialize)]
struct Report {
    engine: String,
    images: Vec<ImageReport>,
    left_out: Vec<String>,
}

#[derive(Serialize)]
struct ImageReport {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_name: Option<String>,
    id: String,
}

impl Args {
    /// Loads.
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let request = LoadRequest {
            bundle: self.bundle.place(),
            bases: self.bases.places(),
            engine: self.engine.choice(),
            settings: context.environment.engines(),
            target: self.registry.as_ref().map(|registry| target(registry, self.keep_host)).transpose()?,
            threads: threads(),
            trust: self.trust.settings(context, None)?,
        };
        let report = workflow::load(&request, &context.progress()).await?;
        context.finish_progress();
        let text = text(&report);
        context.output.result("load", json(&report), &text)?;
        Ok(Outcome::Done)
    }
}

fn json(report: &LoadReport) -> Report {
    let image = |image: &LoadedImage| ImageReport {
        name: image.name.to_string(),
        private_name: image.private.as_ref().map(ToString::to_string),
        id: image.id.to_string(),
    };
    Report {
        engine: report.engine.clone(),
        images: report.images.iter().map(image).collect(),
        left_out: report.left_out.iter().map(ToString::to_string).collect(),
    }
}

fn text(report: &LoadReport) -> String {
    let mut text = format!("loaded into {}\n", report.engine);
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes any text");
    for image in &report.images {
        line(format!("  {}  {}", image.name, image.id.short()));
        if let Some(private) = &image.private {
            line(format!("    also {private}"));
        }
    }
    for name in &report.left_out {
        line(format!("  left out: {name} is no image that an engine runs"));
    }
    text
}
