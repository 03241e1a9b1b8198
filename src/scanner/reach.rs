//! How large a file may be for a scanner that calls clean what it does not look at.
//!
//! It is asked: about a tar as long as the file, of zeros and with the test file behind them. Who objects has looked at all
//! of it.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};

/// No scanner has a lower limit.
const SURELY: u64 = 1024 * 1024;
const BLOCK: u64 = 512;

/// What is known of a scanner's limits, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// It looks at files up to this size.
    seen: u64,
    /// It does not look at files from this size on.
    unseen: u64,
}

impl Default for Reach {
    fn default() -> Self {
        Self { seen: SURELY, unseen: u64::MAX }
    }
}

impl Reach {
    /// Whether it looks at files of this size. `sees` asks it; that is done once for each power of two, and below its
    /// limit for each size that is larger than those before.
    pub(super) fn covers<E>(&mut self, size: u64, mut sees: impl FnMut(u64) -> Result<bool, E>) -> Result<bool, E> {
        if size <= self.seen || size >= self.unseen {
            return Ok(size <= self.seen);
        }
        for size in [size.next_power_of_two(), size] {
            if size >= self.unseen {
                continue;
            }
            if sees(size)? {
                self.seen = size;
                return Ok(true);
            }
            self.unseen = size;
        }
        Ok(false)
    }
}

/// Writes a tar of at least `size` bytes, its zeros as a hole, and the test file last.
pub(super) fn write_test(file: &File, size: u64, test: &[u8]) -> io::Result<()> {
    let zeros = size.next_multiple_of(BLOCK);
    let mut file = file;
    file.write_all(&header("zeros", zeros)?)?;
    file.seek(SeekFrom::Current(i64::try_from(zeros).map_err(io::Error::other)?))?;
    file.write_all(&header("test", test.len() as u64)?)?;
    file.write_all(test)?;
    let end = file.stream_position()?.next_multiple_of(BLOCK) + 2 * BLOCK;
    file.set_len(end)
}

fn header(name: &str, size: u64) -> io::Result<[u8; 512]> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    Ok(*header.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn few_questions_tell_what_is_looked_at() {
        const LIMIT: u64 = 100 << 20;
        let mut asked = Vec::new();
        let mut reach = Reach::default();
        let mut covers = |size: u64| {
            let sees = |size| {
                asked.push(size);
                Ok::<_, Infallible>(size <= LIMIT)
            };
            reach.covers(size, sees).unwrap()
        };
        let sizes = [1, 1 << 20, 1_500_000, 2_000_000, 60 << 20, 70 << 20, 99 << 20, 98 << 20, 101 << 20, 4 << 30];
        for size in sizes {
            assert_eq!(covers(size), size <= LIMIT, "{size}");
        }
        assert_eq!(asked, [2 << 20, 64 << 20, 128 << 20, 70 << 20, 99 << 20, 101 << 20]);
    }

    #[test]
    fn the_test_file_stands_behind_as_many_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write_test(file.as_file(), 3_000_001, b"the test").unwrap();
        let mut archive = tar::Archive::new(file.reopen().unwrap());
        let sizes: Vec<u64> = archive.entries().unwrap().map(|entry| entry.unwrap().size()).collect();
        assert_eq!(sizes, [3_000_320, 8]);
        assert!(std::fs::read(file.path()).unwrap().windows(8).any(|window| window == b"the test"));
    }
}
