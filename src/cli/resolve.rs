//! `octobundle resolve`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use octobundle::bundle::Layout;
use octobundle::content::{Readers, write_whole};
use octobundle::failure::{ErrorClass, Failure, typed};
use octobundle::images::{Lock, LockError, LockedImage};
use octobundle::workflow;
use serde::Serialize;

use crate::cli::Context;
use crate::cli::access::{Access, Job};
use crate::cli::exit::Outcome;
use crate::cli::input::{ReleaseArgs, read_lock_text, usage};
use crate::cli::registry_args::{RegistryArgs, SourceArgs, TransferArgs};
use octobundle::report::DeltaFacts;
use octobundle::wording::{count, size};

/// Show what would be pulled: digests, platforms, sizes.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  octobundle resolve octoperf-9.2.0 --lock octoperf-9.2.0.lock")]
pub(crate) struct Args {
    #[command(flatten)]
    release: ReleaseArgs,
    /// Write the lock to this file: `octobundle pull --locked FILE` pulls exactly that
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// What a lock holds, as JSON.
#[derive(Serialize)]
pub(crate) struct LockReport<'a> {
    release: &'a str,
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<DeltaFacts>,
    bundle_bytes: u64,
    layer_bytes: u64,
    layers: usize,
    images: Vec<ImageReport<'a>>,
}

#[derive(Serialize)]
struct ImageReport<'a> {
    #[serde(flatten)]
    locked: &'a LockedImage,
    bytes: u64,
}

impl<'a> LockReport<'a> {
    /// Describes a lock and the bundle that it makes.
    pub(crate) fn new(lock: &'a Lock, layout: &Layout) -> Self {
        let layers = lock.layers();
        Self {
            release: &lock.release,
            title: &lock.title,
            delta: layout.base().map(|base| DeltaFacts::new(base, lock)),
            bundle_bytes: layout.total(),
            layer_bytes: layers.values().map(|layer| layer.size).sum(),
            layers: layers.len(),
            images: lock.images.iter().map(|locked| ImageReport { locked, bytes: bytes(locked) }).collect(),
        }
    }

    /// The same for people: a line an image, the total last.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}: {}\n", self.release, self.title);
        if let Some(delta) = &self.delta {
            writeln!(text, "{}", delta.line()).expect("a String takes any text");
        }
        let mut line = |line: String| writeln!(text, "{line}").expect("a String takes any text");
        for image in &self.images {
            let locked = image.locked;
            line(format!("\n{}  ({})", locked.name, locked.role));
            line(format!("  {}  {}", locked.root.digest, size(image.bytes)));
            if locked.derived {
                let from = locked.index.as_ref().map(|index| index.digest.short()).unwrap_or_default();
                line(format!("  an index made of the chosen platforms of {from}"));
            }
            if locked.source != *locked.name.repository() {
                line(format!("  from {}", locked.source));
            }
            if locked.insecure {
                line("  over a connection that anyone on the way could have changed".to_owned());
            }
            for platform in &locked.platforms {
                let name = platform.platform.as_ref().map_or("no platform".to_owned(), ToString::to_string);
                let bytes = platform.layers.iter().map(|layer| layer.size).sum();
                line(format!("  {name:<14} {}, {}", count(platform.layers.len() as u64, "layer"), size(bytes)));
            }
        }
        let shared: u64 = self.images.iter().map(|image| image.bytes).sum::<u64>().saturating_sub(self.layer_bytes);
        line(format!(
            "\n{}, {}, {}; shared layers save {}\nthe bundle: {} ({} bytes)",
            count(self.images.len() as u64, "image"),
            count(self.layers as u64, "layer"),
            size(self.layer_bytes),
            size(shared),
            size(self.bundle_bytes),
            self.bundle_bytes,
        ));
        text
    }
}

/// Bytes of an image's layers, each once.
fn bytes(image: &LockedImage) -> u64 {
    let layers: std::collections::BTreeMap<_, _> = image.layers().map(|layer| (layer.digest, layer.size)).collect();
    layers.values().sum()
}

impl Args {
    /// Resolves and shows.
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let wanted = self.release.image_set()?;
        self.lock.as_deref().map_or(Ok(()), refuse_what_is_no_lock)?;
        let access = Access::new(&self.registry, Some(&self.transfer), Some(&self.source), &context.environment)?;
        let job = Job::fetching(wanted.images.iter().map(|image| &image.name), &self.source);
        let registry = access.registry(context, &job)?;
        let jobs = access.jobs.value.get();
        let resolved = workflow::resolve(&wanted, &registry, jobs, &*context.progress()).await?;
        let layout = Layout::new(resolved.lock.clone())?;
        if let Some(path) = &self.lock {
            write_lock(path, &resolved.lock)?;
        }
        let report = LockReport::new(&resolved.lock, &layout);
        let text = report.text();
        context.output.result("resolve", report, &text)?;
        if let Some(path) = &self.lock {
            let next = format!("octobundle pull --locked {} -o FILE", typed(path));
            context.output.note(&format!("wrote {}; next: {next}\n", path.display()));
        }
        Ok(Outcome::Done)
    }
}

/// Only an older lock gives way to a new one: a manifest, a bundle or a device named by mistake stays what it is.
fn refuse_what_is_no_lock(path: &Path) -> Result<(), Failure> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if metadata.is_file() && (metadata.len() == 0 || is_lock(&read_lock_text(path)?)) {
        return Ok(());
    }
    let what = format!("`{}` exists and is no lock", path.display());
    Err(usage(what, "choose another place with `--lock FILE`, or remove it first"))
}

/// A lock of another version is one too.
fn is_lock(text: &[u8]) -> bool {
    matches!(Lock::parse(text), Ok(_) | Err(LockError::Schema(_)))
}

/// Writes a lock in one step, in place of an older one.
fn write_lock(path: &Path, lock: &Lock) -> Result<(), Failure> {
    write_whole(path, lock.to_text().as_bytes(), Readers::Umask).map_err(|error| {
        Failure::new(ErrorClass::Disk, format!("failed to write the lock `{}`: {error}", path.display()))
            .with_help("choose another place with `--lock FILE`")
    })
}
