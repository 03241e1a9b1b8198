//! Where a command puts a document that it makes: a file, written whole or not at all, or standard output.

use std::fs;
use std::path::{Path, PathBuf};

use octobundle::content::{Readers, write_whole};
use octobundle::failure::{ErrorClass, Failure};

use crate::cli::Context;
use crate::cli::input::usage;

/// Where the document goes.
#[derive(clap::Args)]
pub(crate) struct DocumentArgs {
    /// Write it to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Put it in the place of a file that is there
    #[arg(long, requires = "output")]
    replace: bool,
}

impl DocumentArgs {
    /// The file, if one was named.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.output.as_deref()
    }

    /// Refuses, before any work, a file that is there and may not be replaced.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let Some(path) = &self.output else { return Ok(()) };
        let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
        let shown = path.display();
        if !metadata.is_file() {
            let help = "name another file with `-o FILE`";
            return Err(usage(format!("`{shown}` is a folder, link, device, pipe or socket"), help));
        }
        if !self.replace {
            let help = "add `--replace`, or name another file with `-o FILE`";
            return Err(usage(format!("`{shown}` exists already"), help));
        }
        Ok(())
    }

    /// Writes the document. To standard output it goes as `text`, or as the command's `--json` result.
    pub(crate) fn write(&self, context: &Context, text: &str) -> Result<(), Failure> {
        let Some(path) = &self.output else { return context.output.verbatim(text) };
        write_whole(path, text.as_bytes(), Readers::Umask).map_err(|error| {
            Failure::new(ErrorClass::Disk, format!("failed to write `{}`: {error}", path.display()))
                .with_help("name another file with `-o FILE`")
        })?;
        context.output.note(&format!("wrote {}\n", path.display()));
        Ok(())
    }
}
