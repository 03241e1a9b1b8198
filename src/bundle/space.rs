//! Room on the disk: found out and reserved before the first layer arrives.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::bundle::bytes::BundleBytes;
use crate::bundle::error::BundleError;
use crate::content::folder_of;

/// FAT32's largest file, 4 GiB less one byte.
const FAT_LIMIT: u64 = u32::MAX as u64;

/// Makes sure that the files of a draft can grow to their lengths, and takes the space where the file system allows it.
/// All of them are looked at before any takes room.
pub(crate) fn reserve(bytes: &BundleBytes) -> Result<(), BundleError> {
    let mut needed = 0;
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
    rustix::fs::fstatvfs(file).ok().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize))
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
