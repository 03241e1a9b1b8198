//! A range of bytes in an open file: what one side reads and another sends, without opening the file again.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::content::positioned::read_exact_at;

/// A range of bytes in a file that is open for reading. Reading moves no cursor, so clones may read side by side.
#[derive(Debug, Clone)]
pub struct FilePart {
    /// The file's name, for messages.
    pub path: PathBuf,
    /// The file.
    pub file: Arc<File>,
    /// Where the range begins in the file.
    pub at: u64,
    /// Its length in bytes.
    pub length: u64,
}

impl FilePart {
    /// Fills `buffer` from `offset` bytes into the range; an end of file before that is an error.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        read_exact_at(&self.file, buffer, self.at + offset)
    }
}
