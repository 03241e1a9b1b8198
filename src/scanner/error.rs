//! Why a scanner cannot be used.

use std::io;

use crate::failure::{ErrorClass, Explain};

/// A scanner that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScannerError {
    /// No command.
    #[error("`{0}` is no command: it is empty, or a quote is not closed")]
    Command(String),
    /// Not there, or not allowed.
    #[error("failed to start the scanner `{program}`")]
    Start {
        /// What was started.
        program: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// It answered something else than "found" for the test file.
    #[error("the scanner does not object to the EICAR test file, so it does not see what it is given: {answer}")]
    Blind {
        /// What it answered.
        answer: String,
    },
    /// No place for what it is to look at.
    #[error("failed to keep a file for the scanner")]
    Folder(#[source] io::Error),
    /// The content itself could not be read.
    #[error("failed to read what the scanner is to look at")]
    Content(#[source] io::Error),
}

impl Explain for ScannerError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Command(_) => ErrorClass::Usage,
            Self::Start { .. } => ErrorClass::NotFound,
            Self::Blind { .. } | Self::Content(_) => ErrorClass::Other,
            Self::Folder(_) => ErrorClass::Disk,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Command(_) => Some("write it as in `--with 'clamdscan --stream -'`".into()),
            Self::Start { .. } => Some("check that it is installed and that its name is right".into()),
            Self::Blind { .. } => Some(
                "have it read standard input, or a file by `{}` as in `--with 'scanner --file {}'`; for a program that looks for other things add `--no-self-test`".into(),
            ),
            Self::Folder(_) => Some("make room, or set TMPDIR to a place with more".into()),
            Self::Content(_) => None,
        }
    }
}
