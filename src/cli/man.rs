//! `octobundle man`.

use std::path::PathBuf;

use clap::CommandFactory as _;
use octobundle::failure::{ErrorClass, Failure};

use crate::cli::exit::Outcome;
use crate::cli::{Cli, Context};

/// Write man pages, one a command.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  octobundle man /usr/local/share/man/man1")]
pub(crate) struct Args {
    /// An existing folder for them
    folder: PathBuf,
}

impl Args {
    /// Writes them.
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        clap_mangen::generate_to(Cli::command(), &self.folder).map_err(|error| {
            Failure::new(
                ErrorClass::Disk,
                format!("failed to write man pages into `{}`: {error}", self.folder.display()),
            )
            .with_help("make the folder first, or choose another")
        })?;
        context.output.note(&format!("wrote man pages into {}\n", self.folder.display()));
        Ok(Outcome::Done)
    }
}
