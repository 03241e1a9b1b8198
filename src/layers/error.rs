//! Why a layer cannot be read.

use std::io;

use crate::failure::{ErrorClass, Explain};

/// A layer, or an archive in it, that cannot be read or goes beyond its limits.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// More bytes than may be unpacked.
    #[error("it unpacks to more than {limit} bytes")]
    Unpacked {
        /// The most that may be.
        limit: u64,
    },
    /// A small piece that becomes a large one.
    #[error("it unpacks to more than {ratio} times its size: a decompression bomb, or files of zeros")]
    Ratio {
        /// The most times that may be.
        ratio: u64,
    },
    /// More entries than any image has.
    #[error("it has more than {limit} entries")]
    Entries {
        /// The most that may be.
        limit: u64,
    },
    /// Names and findings that would fill the memory.
    #[error("what is to be remembered of it takes more than {limit} bytes")]
    Memory {
        /// The most that may be.
        limit: u64,
    },
    /// An entry that no archiver writes.
    #[error("its archive is damaged or hostile: {0}")]
    Archive(String),
    /// Bytes that do not decompress, or that could not be read.
    #[error("it cannot be unpacked: {0}")]
    Io(io::Error),
}

impl LayerError {
    /// The error that a reader passed through `io::Error`, or that error itself.
    pub(crate) fn from_io(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(ours) => ours,
            Err(other) => Self::Io(other),
        }
    }

    /// Whether a limit was met: reading on elsewhere in the layer would not end either.
    pub fn is_limit(&self) -> bool {
        match self {
            Self::Unpacked { .. } | Self::Ratio { .. } | Self::Entries { .. } | Self::Memory { .. } => true,
            Self::Archive(_) | Self::Io(_) => false,
        }
    }
}

impl From<LayerError> for io::Error {
    fn from(error: LayerError) -> Self {
        Self::other(error)
    }
}

impl Explain for LayerError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Io(_) => ErrorClass::Other,
            _ => ErrorClass::Input,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Unpacked { .. } => Some("if the image is known to be that large, raise `--max-unpacked SIZE`".into()),
            Self::Ratio { .. } => Some("if the image is known to hold files of zeros, raise `--max-ratio N`".into()),
            Self::Entries { .. } | Self::Memory { .. } | Self::Archive(_) | Self::Io(_) => None,
        }
    }
}
