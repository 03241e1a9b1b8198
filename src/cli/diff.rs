//! `octobundle diff`.

use std::fmt::Write as _;

use octobundle::failure::Failure;
use octobundle::plan::{Amount, Difference, SourceHost};
use octobundle::workflow::{self, Side};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::access::{Access, Job};
use crate::cli::exit::Outcome;
use crate::cli::registry_args::{RegistryArgs, TransferArgs};
use crate::cli::side::side;
use octobundle::wording::{count, size};

/// Compare two bundles, locks or registries.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  octobundle diff old.tar new.tar
  octobundle diff octoperf-9.2.0.lock reg.corp:5000/tools

A registry is looked at under the names that `push` gives the other side's images there.
Exit code 0 says that all images are the same, 13 that they differ.")]
pub(crate) struct Args {
    /// A bundle, a lock, or a registry as `push --registry` takes it
    #[arg(value_name = "FROM")]
    first: String,
    /// The same; what is told is what became of the first
    #[arg(value_name = "TO")]
    second: String,
    /// Look for names that keep the source's host as a part of the path
    #[arg(long)]
    keep_host: bool,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Serialize)]
struct Report {
    differ: bool,
    added: Vec<String>,
    removed: Vec<String>,
    moved: Vec<MovedReport>,
    same_images: usize,
    new_blobs: usize,
    new_bytes: u64,
    gone_blobs: usize,
    gone_bytes: u64,
    shared_blobs: usize,
    shared_bytes: u64,
}

#[derive(Serialize)]
struct MovedReport {
    name: String,
    from: String,
    to: String,
    new_bytes: u64,
}

impl Args {
    /// Compares.
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let source_host = if self.keep_host { SourceHost::Keep } else { SourceHost::Drop };
        let (first, second) = (side(&self.first, source_host)?, side(&self.second, source_host)?);
        let access = Access::new(&self.registry, Some(&self.transfer), None, &context.environment)?;
        let named = [&first, &second].into_iter().find_map(|side| match side {
            Side::Registry(target) => Some(target.registry().clone()),
            Side::Set(_) => None,
        });
        let registry = access.registry(context, &Job { named, ..Job::default() })?;
        let jobs = access.jobs.value.get();
        let difference = workflow::diff(first, second, &registry, jobs, &*context.progress()).await?;
        context.finish_progress();
        context.output.result("diff", Report::from(&difference), &text(&difference))?;
        Ok(if difference.is_empty() { Outcome::Done } else { Outcome::Differs })
    }
}

impl From<&Difference> for Report {
    fn from(difference: &Difference) -> Self {
        let Difference { added, removed, moved, same, new, gone, shared } = difference;
        let moved = moved.iter().map(|moved| MovedReport {
            name: moved.name.to_string(),
            from: moved.from.to_string(),
            to: moved.to.to_string(),
            new_bytes: moved.new_bytes,
        });
        Self {
            differ: !difference.is_empty(),
            added: added.iter().map(ToString::to_string).collect(),
            removed: removed.iter().map(ToString::to_string).collect(),
            moved: moved.collect(),
            same_images: *same,
            new_blobs: new.blobs,
            new_bytes: new.bytes,
            gone_blobs: gone.blobs,
            gone_bytes: gone.bytes,
            shared_blobs: shared.blobs,
            shared_bytes: shared.bytes,
        }
    }
}

fn text(difference: &Difference) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes any text");
    for name in &difference.removed {
        line(format!("removed  {name}"));
    }
    for name in &difference.added {
        line(format!("added    {name}"));
    }
    for moved in &difference.moved {
        line(format!("moved    {}", moved.name));
        line(format!("         {} -> {}, {} new", moved.from.short(), moved.to.short(), size(moved.new_bytes)));
    }
    let amount = |amount: &Amount| format!("{} in {}", size(amount.bytes), count(amount.blobs as u64, "blob"));
    line(format!(
        "{} added, {} removed, {} moved, {} the same",
        difference.added.len(),
        difference.removed.len(),
        difference.moved.len(),
        difference.same
    ));
    let Difference { new, gone, shared, .. } = difference;
    line(format!("new: {}; gone: {}; in both: {}", amount(new), amount(gone), amount(shared)));
    text
}
