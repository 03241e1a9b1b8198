//! `octobundle copy`.

use std::path::PathBuf;

use octobundle::bundle::{Form, ReadBack};
use octobundle::failure::{ErrorClass, Failure, typed};
use octobundle::wording::size;
use octobundle::workflow::{self, CopyRequest};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::amounts::Volume;
use crate::cli::exit::Outcome;
use crate::cli::input::{threads, usage};

/// Copy a bundle onto a medium that is carried away.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  octobundle copy octoperf.tar /media/stick
  octobundle copy octoperf.tar /media/stick --volume-size fat32 --with-tool

Progress counts what the medium has, not what waits in memory. The copy is read back before it gets its name. A copy that
was stopped is continued by the same command. Beside the bundle come its signatures, README.txt, verify.sh, verify.ps1,
load.sh, report.html, and SHA256SUMS of everything.")]
pub(crate) struct Args {
    /// The bundle: NAME.tar, a volume of it, or a folder that holds it
    bundle: PathBuf,
    /// The medium's folder
    folder: PathBuf,
    /// Cut it into volumes of this length: fat32, dvd, bd, av, diode, or bytes as in `4G` or `700MiB`
    #[arg(long, value_name = "SIZE")]
    volume_size: Option<Volume>,
    /// Put this program beside it
    #[arg(long)]
    with_tool: bool,
    /// Replace files beside the bundle that say something else
    #[arg(long)]
    replace: bool,
}

#[derive(Serialize)]
struct Report {
    folder: String,
    bytes: u64,
    read_back: &'static str,
    files: Vec<FileReport>,
}

#[derive(Serialize)]
struct FileReport {
    name: String,
    size: u64,
    digest: String,
}

impl Args {
    /// Copies.
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        if !self.folder.is_dir() {
            let text = format!("`{}` is no folder", self.folder.display());
            return Err(usage(text, "mount the medium, and name the folder that it is mounted at"));
        }
        let tool =
            self.with_tool.then(std::env::current_exe).transpose().map_err(|error| {
                Failure::new(ErrorClass::Other, format!("failed to find this program's file: {error}"))
            })?;
        let request = CopyRequest {
            bundle: self.bundle.clone().into(),
            folder: self.folder.clone(),
            form: self.volume_size.map(|size| Form::Volumes(size.0)),
            replace: self.replace,
            threads: threads(),
            tool,
        };
        let progress = context.progress();
        let copied = tokio::task::block_in_place(|| workflow::copy_bundle(&request, &*progress))?;
        context.finish_progress();
        let text = format!(
            "{} files, {}, in {}: on the medium, read back and sound. It may be pulled out once it is unmounted.\n",
            copied.files.len() + 1,
            size(copied.bytes),
            self.folder.display()
        );
        let file = |file: octobundle::bundle::CopiedFile| FileReport {
            name: file.name,
            size: file.size,
            digest: file.digest.to_string(),
        };
        let report = Report {
            folder: self.folder.display().to_string(),
            bytes: copied.bytes,
            read_back: match copied.read_back {
                ReadBack::Direct => "direct",
                ReadBack::Forgotten => "forgotten",
            },
            files: copied.files.into_iter().map(file).collect(),
        };
        context.output.result("copy", report, &text)?;
        if copied.read_back == ReadBack::Forgotten {
            context.output.note(&format!(
                "the system may have answered from its memory: to be sure of the medium itself, put it in again and run \
                 `octobundle verify {}`\n",
                typed(&self.folder)
            ));
        }
        Ok(Outcome::Done)
    }
}
