//! `octobundle completions`.

use clap::CommandFactory as _;
use clap_complete::Shell;
use octobundle::failure::Failure;

use crate::cli::exit::Outcome;
use crate::cli::{Cli, Context};

/// Print completions for a shell.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  octobundle completions bash > /etc/bash_completion.d/octobundle")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

impl Args {
    /// Prints them.
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "octobundle", &mut script);
        context.output.verbatim(&String::from_utf8_lossy(&script))?;
        Ok(Outcome::Done)
    }
}
