//! Tar headers of a bundle: one form, fully decided by name and size.
//!
//! Because nothing in a header is free, reading one is writing it again and comparing all 512 bytes. Long names,
//! links, extension records and second sizes, on which tar readers differ, cannot pass.

use crate::bundle::layout::MemberPath;

/// Tar works in blocks of 512 bytes; so do headers.
pub(crate) const BLOCK: u64 = 512;
/// Two empty blocks end a tar.
pub(crate) const TRAILER: u64 = 2 * BLOCK;
/// 1980-01-01: the same on every day, and a time that FAT can hold and GNU tar does not call implausible.
const MODIFIED: u64 = 315_532_800;

/// One header, as it stands in the file.
pub(crate) type Block = [u8; 512];

/// The header of a regular file, owned by root, readable by all. Sizes from 8 GiB are written in base 256.
pub(crate) fn header(path: &MemberPath, size: u64) -> Block {
    let mut header = tar::Header::new_ustar();
    header.set_path(path.to_string()).expect("a member path is plain and shorter than 100 bytes");
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MODIFIED);
    header.set_size(size);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    *header.as_bytes()
}

/// What a header says, if it is one of ours to the last bit.
pub(crate) fn parse(block: &Block) -> Option<(MemberPath, u64)> {
    let name = block[..100].split(|&byte| byte == 0).next()?;
    let path = MemberPath::parse(std::str::from_utf8(name).ok()?)?;
    let size = tar::Header::from_byte_slice(block).entry_size().ok()?;
    (header(&path, size) == *block).then_some((path, size))
}

/// The bytes up to the next block boundary.
pub(crate) fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK) - size
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    #[test]
    fn a_header_parses_to_what_it_was_made_of_and_no_other_bit_may_differ() {
        for size in [0, 1, 8_589_934_591, 8_589_934_592, 1 << 50] {
            let path = MemberPath::Blob(Digest::of(b"x"));
            let block = header(&path, size);
            assert_eq!(parse(&block), Some((path, size)));
            for bit in 0..block.len() * 8 {
                let mut damaged = block;
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(parse(&damaged).is_none_or(|read| read != (path, size)), "bit {bit}");
            }
        }
    }

    #[test]
    fn sizes_from_8_gib_are_written_in_base_256() {
        let size = |size| header(&MemberPath::Readme, size)[124..136].to_vec();
        assert_eq!(size(8_589_934_591), b"77777777777\0");
        assert_eq!(size(8_589_934_592), [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
    }

    #[test]
    fn foreign_members_are_refused() {
        let mut block = header(&MemberPath::Readme, 5);
        block[156] = b'x';
        tar::Header::from_byte_slice(&block);
        assert_eq!(parse(&block), None);
        for name in ["../x", "/etc/passwd", "blobs/sha256/", "./README.txt", "README.txt/", "blobs/sha256/../x"] {
            assert!(MemberPath::parse(name).is_none(), "{name}");
        }
    }
}
