//! `octobundle inspect`.

use octobundle::bundle::Bundle;
use octobundle::failure::Failure;

use crate::cli::Context;
use crate::cli::bundle_args::BundleArgs;
use crate::cli::exit::Outcome;
use crate::cli::output::plain_json;
use crate::cli::resolve::LockReport;

/// Show what is in a bundle, without reading its layers.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  octobundle inspect octoperf.tar")]
pub(crate) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Print the lock that the bundle was made from
    #[arg(long)]
    lock: bool,
}

impl Args {
    /// Reads the head and shows it.
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let bundle = Bundle::open(self.bundle.place())?;
        if self.lock {
            context.output.verbatim(&plain_json(&bundle.lock().to_text()))?;
            return Ok(Outcome::Done);
        }
        let report = LockReport::new(bundle.lock(), bundle.layout());
        let text = report.text();
        context.output.result("inspect", report, &text)?;
        Ok(Outcome::Done)
    }
}
