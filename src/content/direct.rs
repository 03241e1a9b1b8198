//! Reads that ask the medium and not what the system remembers of it.

use std::fs::File;
use std::io;
use std::path::Path;

/// Positions, lengths and places in memory of such reads are multiples of this: the largest block that media have.
#[cfg(unix)]
const BLOCK: u64 = 4096;

/// Opens a file for such reads; none where the file system does not offer them.
#[cfg(target_os = "linux")]
pub(crate) fn open_direct(path: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    use rustix::fs::OFlags;
    let flags = (OFlags::DIRECT | OFlags::NOFOLLOW).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
    // Some file systems find out only when they are asked to read.
    let first = usize::try_from(file.metadata().ok()?.len().min(1)).ok()?;
    read_exact_at_directly(&file, &mut [0; 1][..first], 0).ok()?;
    Some(file)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn open_direct(_: &Path) -> Option<File> {
    None
}

/// Fills `buffer` from `offset` of a file that [`open_direct`] gave; an end of file before that is an error.
#[cfg(unix)]
pub(crate) fn read_exact_at_directly(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let size = |bytes: u64| usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory));
    let from = offset - offset % BLOCK;
    let skip = size(offset - from)?;
    let wanted = skip + buffer.len();
    let mut room = vec![0; wanted.next_multiple_of(size(BLOCK)?) + size(BLOCK)?];
    let start = room.as_ptr().align_offset(size(BLOCK)?);
    let room = &mut room[start..start + wanted.next_multiple_of(size(BLOCK)?)];
    let mut got = 0;
    while got < wanted {
        match std::os::unix::fs::FileExt::read_at(file, &mut room[got..], from + got as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => got += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.copy_from_slice(&room[skip..wanted]);
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn read_exact_at_directly(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    crate::content::read_exact_at(file, buffer, offset)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn every_range_reads_as_it_does_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..20_001_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
        std::fs::write(&path, &content).unwrap();
        // Where the file system offers no such reads, the same code reads an ordinary file.
        let file = open_direct(&path).unwrap_or_else(|| File::open(&path).unwrap());
        for from in [0_usize, 1, 511, 4095, 4096, 4097, 12_288, 20_000, 20_001] {
            for length in [0, 1, 4096, 5000, 8192] {
                let mut read = vec![0; length];
                let done = read_exact_at_directly(&file, &mut read, from as u64);
                match content.get(from..from + length) {
                    Some(expected) => assert!(done.is_ok() && read == expected, "{from} {length}"),
                    None => assert!(done.is_err(), "{from} {length}"),
                }
            }
        }
    }
}
