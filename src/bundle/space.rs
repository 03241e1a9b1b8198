//! Room on the disk: found out and reserved before the first layer arrives.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::bundle::bytes::BundleBytes;
use crate::bundle::error::BundleError;
use crate::content::folder_of;

/// FAT32's largest file, 4 GiB less one byte.
#[cfg(target_os = "linux")]
const FAT_LIMIT: u64 = u32::MAX as u64;

/// Makes sure that the files of a draft can grow to their lengths, and takes the space where the file system allows it.
/// All of them are looked at before any takes room. `beside` bytes more must be free for what comes beside them.
pub(crate) fn reserve(bytes: &BundleBytes, beside: u64) -> Result<(), BundleError> {
    let mut needed = beside;
    for piece in bytes.pieces() {
        let file = piece.file()?;
        check_limits(file, piece.length)?;
        let held = held_bytes(file).map_err(BundleError::io("look at", &piece.path))?;
        needed += piece.length.saturating_sub(held);
    }
    let short = |free| BundleError::NoSpace { folder: folder_of(bytes.path()).to_owned(), needed, free };
    let first = bytes.pieces()[0].file()?;
    if let Some(free) = free_bytes(first).filter(|free| *free < needed) {
        return Err(short(free));
    }
    for piece in bytes.pieces() {
        match allocate(piece.file()?, piece.length) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                return Err(short(free_bytes(first).unwrap_or_default()));
            }
            Err(error) => return Err(BundleError::io("reserve space for", &piece.path)(error)),
        }
    }
    Ok(())
}

/// Bytes that are free for this user in `folder`; none where the system does not tell.
pub fn free_space(folder: &Path) -> io::Result<Option<u64>> {
    Ok(free_bytes(&File::open(folder)?))
}

#[cfg(target_os = "linux")]
fn check_limits(file: &File, size: u64) -> Result<(), BundleError> {
    /// `MSDOS_SUPER_MAGIC` of the kernel's `magic.h`: vfat and msdos.
    const FAT: i64 = 0x4d44;
    let too_large = |limit, holder: &str| BundleError::TooLarge { size, limit, holder: holder.to_owned() };
    let kind = rustix::fs::fstatfs(file).map(|stat| stat.f_type);
    if kind.is_ok_and(|kind| kind == FAT) && size > FAT_LIMIT {
        return Err(too_large(FAT_LIMIT, "the FAT file system there"));
    }
    // Beyond this limit the kernel ends the process with a signal instead of giving an error.
    let own = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    match own.filter(|limit| *limit < size) {
        Some(limit) => Err(too_large(limit, "the limit of this process (`ulimit -f`)")),
        None => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
fn check_limits(_: &File, _: u64) -> Result<(), BundleError> {
    Ok(())
}

#[cfg(unix)]
fn held_bytes(file: &File) -> io::Result<u64> {
    Ok(std::os::unix::fs::MetadataExt::blocks(&file.metadata()?) * 512)
}

#[cfg(not(unix))]
fn held_bytes(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
}

#[cfg(unix)]
fn free_bytes(file: &File) -> Option<u64> {
    let stat = rustix::fs::fstatvfs(file).ok()?;
    free_of(stat.f_blocks, stat.f_bavail, stat.f_frsize)
}

/// A file system that says it has no blocks at all, as some of FUSE's do, does not tell what is free.
#[cfg(unix)]
fn free_of(blocks: u64, available: u64, size: u64) -> Option<u64> {
    (blocks > 0).then(|| available.saturating_mul(size))
}

#[cfg(not(unix))]
fn free_bytes(_: &File) -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, size: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags;
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        // Not every file system can (NFS before 4.2, some FUSE): there the writes themselves take the space.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(file: &File, size: u64) -> io::Result<()> {
    file.set_len(size)
}

#[cfg(all(test, unix))] // what Unix tells of a file system
mod tests {
    use super::*;
    use crate::bundle::bytes::Piece;

    #[test]
    fn what_comes_beside_a_bundle_needs_room_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let file = std::sync::Arc::new(File::options().create_new(true).write(true).open(&path).unwrap());
        let bytes = BundleBytes::joined(path.clone(), vec![Piece::new(path, file, 10)], false);
        assert!(reserve(&bytes, 0).is_ok());
        // More than any disk has.
        assert!(matches!(reserve(&bytes, 1 << 60), Err(BundleError::NoSpace { .. })));
    }

    #[test]
    fn what_is_free_is_only_known_where_the_file_system_tells() {
        for (blocks, available, free) in
            [(100, 5, Some(2560)), (100, 0, Some(0)), (0, 0, None), (1, u64::MAX, Some(u64::MAX))]
        {
            assert_eq!(free_of(blocks, available, 512), free);
        }
    }
}
