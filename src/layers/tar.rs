//! Entries of a tar, block by block.
//!
//! By hand, because the usual reader keeps whatever length a header claims for a name in memory. Rules where headers
//! disagree are those of Go's reader, which engines use.

use std::io::{self, Read};

use crate::layers::LayerError;
use crate::layers::decode::fill;
use crate::layers::meter::Meter;

const BLOCK: usize = 512;
/// `PATH_MAX`: no engine can make a longer path.
const MAX_PATH: usize = 4096;
/// Names and attributes of one entry; Linux keeps attributes of 64 KiB.
const MAX_EXTENSION: u64 = 1024 * 1024;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file with content.
    File,
    /// A folder.
    Directory,
    /// Another name of the file at this path.
    HardLink(String),
    /// A symbolic link, device or pipe; or a file with holes, whose content is not read.
    Other,
}

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it belongs: relative, of plain parts; what is no UTF-8 is replaced. For looking up and showing only.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Bytes of its content.
    pub size: u64,
}

/// An entry's content.
pub struct Content<'a> {
    from: &'a mut dyn Read,
    left: u64,
    meter: &'a Meter,
}

impl Content<'_> {
    /// What counts the layer's use, for archives in this file.
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// All of it, unless it is longer than `limit` bytes. It counts as remembered only while it is used.
    pub fn whole(&mut self, limit: u64) -> Result<Option<Vec<u8>>, LayerError> {
        if self.left > limit {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(LayerError::from_io)?;
        Ok(Some(bytes))
    }

    fn skip(mut self) -> Result<(), LayerError> {
        io::copy(&mut self, &mut io::sink()).map(drop).map_err(LayerError::from_io)
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let read = self.from.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(LayerError::Archive("it ends inside of a file".into()).into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// What headers before an entry say about it.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

/// Visits every entry up to the end of the archive.
pub(super) fn walk(
    mut from: impl Read,
    meter: &Meter,
    visit: &mut dyn FnMut(&Entry, &mut Content<'_>) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    let mut extension = Extension::default();
    while let Some(header) = next_header(&mut from)? {
        meter.entry()?;
        let kind = header.entry_type();
        let stated = header.entry_size();
        if kind.is_gnu_longname() {
            extension.path = Some(text(&mut from, stated, meter)?);
        } else if kind.is_gnu_longlink() {
            extension.link = Some(text(&mut from, stated, meter)?);
        } else if kind.is_pax_local_extensions() {
            attributes(&text(&mut from, stated, meter)?, &mut extension)?;
        } else {
            one(&mut from, &header, std::mem::take(&mut extension), meter, visit)?;
        }
    }
    Ok(())
}

/// The next header, unless the archive ends here: by an empty block, or by having no more bytes.
fn next_header(from: &mut impl Read) -> Result<Option<tar::Header>, LayerError> {
    let mut block = [0; BLOCK];
    let length = fill(from, &mut block).map_err(LayerError::from_io)?;
    if length == 0 || (length == BLOCK && block.iter().all(|&byte| byte == 0)) {
        return Ok(None);
    }
    if length < BLOCK {
        return Err(LayerError::Archive("it ends inside of a header".into()));
    }
    let header = tar::Header::from_byte_slice(&block).clone();
    // The checksum's own field counts as blanks.
    let sum: u32 =
        block.iter().enumerate().map(|(at, &byte)| if (148..156).contains(&at) { 32 } else { u32::from(byte) }).sum();
    if header.cksum().ok() != Some(sum) {
        return Err(LayerError::Archive("a header's checksum is wrong".into()));
    }
    Ok(Some(header))
}

fn one(
    from: &mut impl Read,
    header: &tar::Header,
    extension: Extension,
    meter: &Meter,
    visit: &mut dyn FnMut(&Entry, &mut Content<'_>) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    let kind = header.entry_type();
    if kind.is_gnu_sparse() {
        skip_sparse_map(from, header)?;
    }
    let has_content = kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() || kind.is_pax_global_extensions();
    let size = match (header.entry_size(), extension.size) {
        _ if !has_content && (kind.is_dir() || kind.is_symlink() || kind.is_hard_link() || is_device(kind)) => 0,
        (Ok(size), None) | (Ok(0) | Err(_), Some(size)) => size,
        (Ok(one), Some(other)) if one == other => one,
        (Ok(_), Some(_)) => return Err(LayerError::Archive("an entry has two sizes".into())),
        (Err(error), None) => return Err(LayerError::Archive(error.to_string())),
    };
    let content = &mut Content { from, left: size, meter };
    if !kind.is_pax_global_extensions() {
        let sparse = extension.sparse || kind.is_gnu_sparse();
        let kind = match kind {
            _ if sparse => Kind::Other,
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_hard_link() => {
                let link = extension.link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
                Kind::HardLink(plain_path(&link)?)
            }
            kind if kind.is_file() || kind.is_contiguous() => Kind::File,
            _ => Kind::Other,
        };
        let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
        // An old form of a folder: a file whose name ends in a slash.
        let kind = if kind == Kind::File && path.ends_with(b"/") { Kind::Directory } else { kind };
        visit(&Entry { path: plain_path(&path)?, kind, size }, content)?;
    }
    let left = content.left;
    Content { from, left, meter }.skip()?;
    skip_padding(from, size)
}

fn is_device(kind: tar::EntryType) -> bool {
    kind.is_character_special() || kind.is_block_special() || kind.is_fifo()
}

/// The maps of a file with many holes stand in blocks of their own behind the header.
fn skip_sparse_map(from: &mut impl Read, header: &tar::Header) -> Result<(), LayerError> {
    /// Where a header, and where a further block, says that another one follows.
    const IN_HEADER: usize = 482;
    const IN_BLOCK: usize = 504;
    let mut more = header.as_bytes()[IN_HEADER] != 0;
    while more {
        let mut block = [0; BLOCK];
        from.read_exact(&mut block).map_err(LayerError::from_io)?;
        more = block[IN_BLOCK] != 0;
    }
    Ok(())
}

/// The content of an extension, without the zero that ends it.
fn text(from: &mut impl Read, stated: io::Result<u64>, meter: &Meter) -> Result<Vec<u8>, LayerError> {
    let size = stated.map_err(|error| LayerError::Archive(error.to_string()))?;
    if size > MAX_EXTENSION {
        return Err(LayerError::Archive(format!("a name or its attributes are {size} bytes long")));
    }
    let mut bytes = Vec::new();
    Content { from, left: size, meter }.read_to_end(&mut bytes).map_err(LayerError::from_io)?;
    skip_padding(from, size)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

fn skip_padding(from: &mut impl Read, size: u64) -> Result<(), LayerError> {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    if over == 0 {
        return Ok(());
    }
    from.read_exact(&mut vec![0; BLOCK - over]).map_err(LayerError::from_io)
}

/// The records of a pax header: `LENGTH KEY=VALUE\n`, the length counting all of it.
fn attributes(mut records: &[u8], extension: &mut Extension) -> Result<(), LayerError> {
    let wrong = || LayerError::Archive("a pax header cannot be read".into());
    while !records.is_empty() {
        let blank = records.iter().position(|&byte| byte == b' ').ok_or_else(wrong)?;
        let length: usize =
            str::from_utf8(&records[..blank]).ok().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
        let record = records.get(blank + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(wrong)?;
        let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(wrong)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            b"path" => extension.path = Some(value.to_vec()),
            b"linkpath" => extension.link = Some(value.to_vec()),
            b"size" => {
                let size = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                extension.size = Some(size.ok_or_else(wrong)?);
            }
            key if key.starts_with(b"GNU.sparse.") => extension.sparse = true,
            _ => {}
        }
        records = &records[length..];
    }
    Ok(())
}

/// A path of plain parts, as engines make it of a name; a name that leads elsewhere is refused.
fn plain_path(name: &[u8]) -> Result<String, LayerError> {
    if name.len() > MAX_PATH {
        return Err(LayerError::Archive(format!("a path is {} bytes long", name.len())));
    }
    let name = String::from_utf8_lossy(name);
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(LayerError::Archive("a path leads out of the image".into()));
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests;
