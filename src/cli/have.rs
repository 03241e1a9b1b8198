//! `octobundle have`.

use std::path::PathBuf;

use octobundle::content::{Readers, write_whole};
use octobundle::failure::{ErrorClass, Failure, typed};
use octobundle::plan::Target;
use octobundle::wording::size;
use octobundle::workflow::{self, Asked, HaveReport, HaveRequest};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::access::{Access, Job};
use crate::cli::exit::Outcome;
use crate::cli::input::usage;
use crate::cli::push::TargetArgs;
use crate::cli::registry_args::{RegistryArgs, TransferArgs};
use crate::cli::side::locked_set;

/// Write down what a registry has of some bundles, so that the next pull can leave it out.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  octobundle have --registry reg.corp:5000/tools -o have.json
  octobundle have octoperf.tar --registry reg.corp:5000/tools -o have.json
  octobundle pull octoperf-9.2.0 --since have.json -o update.tar   # on the connected side

Without a bundle or lock it asks for everything that has a tag: in the repositories that are named, or in all below the
registry's path, where the registry lists them. The file holds names, digests and sizes, and nothing secret.")]
pub(crate) struct Args {
    /// Bundles or locks whose layers are asked for
    #[arg(value_name = "SET", conflicts_with = "repositories")]
    sets: Vec<PathBuf>,
    /// Ask for everything that has a tag in this repository below the registry's path; may be given several times
    #[arg(long = "repository", value_name = "NAME")]
    repositories: Vec<String>,
    #[command(flatten)]
    target: TargetArgs,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Put it in the place of a file that is there
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Serialize)]
struct Report {
    output: String,
    registry: String,
    seen: String,
    blobs: usize,
    bytes: u64,
    asked_blobs: usize,
}

impl Args {
    /// Asks and writes.
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        if !self.replace && self.output.symlink_metadata().is_ok() {
            let what = format!("`{}` exists already", self.output.display());
            return Err(Failure::new(ErrorClass::Usage, what).with_help("add `--replace`, or name another file"));
        }
        let access = Access::new(&self.registry, Some(&self.transfer), None, &context.environment)?;
        let target = self.target.parse()?;
        let job = Job { named: Some(target.registry().clone()), ..Job::default() };
        let asked = self.asked(&target)?;
        let request = HaveRequest { asked, target, jobs: access.jobs.value.get(), now: now() };
        let registry = access.registry(context, &job)?;
        let report = workflow::have(&request, &registry).await?;
        let failed = |error| {
            Failure::new(ErrorClass::Disk, format!("failed to write `{}`: {error}", self.output.display()))
                .with_help("choose another place with `-o FILE`")
        };
        write_whole(&self.output, report.have.to_text().as_bytes(), Readers::Umask).map_err(failed)?;
        context.finish_progress();
        context.output.result("have", self.report(&report), &self.text(&report))?;
        let next =
            format!("next, on the connected side: octobundle pull RELEASE --since {} -o FILE\n", typed(&self.output));
        context.output.note(&next);
        Ok(Outcome::Done)
    }

    fn asked(&self, target: &Target) -> Result<Asked, Failure> {
        if !self.sets.is_empty() {
            return Ok(Asked::Sets(self.sets.iter().map(|path| locked_set(path)).collect::<Result<_, _>>()?));
        }
        if self.repositories.is_empty() {
            return Ok(Asked::Everything);
        }
        let named = self.repositories.iter().map(|name| {
            let place = format!("{target}/{name}").parse();
            place.map_err(|error| {
                usage(format!("`{name}` is no repository: {error}"), "write it as in `octoperf/jmeter`")
            })
        });
        Ok(Asked::Repositories(named.collect::<Result<_, _>>()?))
    }

    fn report(&self, report: &HaveReport) -> Report {
        Report {
            output: self.output.display().to_string(),
            registry: report.have.registry.clone(),
            seen: report.have.seen.to_string(),
            blobs: report.have.blobs.len(),
            bytes: report.bytes,
            asked_blobs: report.asked,
        }
    }

    fn text(&self, report: &HaveReport) -> String {
        let HaveReport { have, asked, bytes } = report;
        let (file, found) = (self.output.display(), have.blobs.len());
        format!("{file}: {} has {found} of {asked} blobs, {}\n", have.registry, size(*bytes))
    }
}

/// To the second: more would tell nothing.
fn now() -> jiff::Timestamp {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now)
}
