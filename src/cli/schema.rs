//! `octobundle schema`.

use octobundle::failure::{ErrorClass, Failure};
use octobundle::manifest::schema;

use crate::cli::Context;
use crate::cli::exit::Outcome;

/// Print the JSON Schema of release manifests.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  octobundle schema > octobundle.schema.json")]
pub(crate) struct Args {}

impl Args {
    /// Prints it.
    pub(crate) fn run(context: &Context) -> Result<Outcome, Failure> {
        let text = serde_json::to_string_pretty(&schema())
            .map_err(|error| Failure::new(ErrorClass::Other, format!("failed to write the schema: {error}")))?;
        context.output.verbatim(&format!("{text}\n"))?;
        Ok(Outcome::Done)
    }
}
