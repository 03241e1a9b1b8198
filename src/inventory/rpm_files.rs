//! The three forms of rpm's database: `SQLite` (since 4.16), rpm's own ndb (SUSE), and Berkeley DB's hash (before).
//!
//! Only what lists all headers is read: one table, one file of slots, one hash. Every offset is looked up within the
//! bytes that are there, and no page is visited more often than there are pages.

use std::collections::BTreeSet;

/// Every header in a database, or what kept it from being read.
pub(super) fn headers(database: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    if database.is_empty() {
        return Ok(Vec::new());
    }
    if database.starts_with(b"SQLite format 3\0") {
        return Sqlite::new(database).and_then(|file| file.headers()).ok_or_else(|| wrong("SQLite"));
    }
    if database.starts_with(b"RpmP") {
        return ndb(database).ok_or_else(|| wrong("ndb"));
    }
    if little(database, 12) == Some(BDB_HASH) {
        return berkeley(database).ok_or_else(|| wrong("Berkeley DB"));
    }
    Err("it is in none of the forms that rpm has".to_owned())
}

fn wrong(form: &str) -> String {
    format!("it looks like {form}, but cannot be read")
}

fn little(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn little_short(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?).into())
}

fn big(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?)).ok()
}

fn big_short(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?).into())
}

/// A file in `SQLite`'s format (<https://www.sqlite.org/fileformat2.html>).
struct Sqlite<'a> {
    bytes: &'a [u8],
    page: usize,
    /// Bytes of a page that hold content.
    usable: usize,
}

/// A number that a record may hold, or bytes.
enum Value<'a> {
    Number(usize),
    Bytes(&'a [u8]),
}

impl<'a> Sqlite<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let page = match big_short(bytes, 16)? {
            1 => 65_536,
            page if page >= 512 && page.is_power_of_two() => page,
            _ => return None,
        };
        let usable = page - usize::from(*bytes.get(20)?);
        (usable >= 480).then_some(Self { bytes, page, usable })
    }

    /// The blobs of the table `Packages`.
    fn headers(&self) -> Option<Vec<Vec<u8>>> {
        let schema = self.rows(1)?;
        let root = schema.iter().find_map(|row| match &values(row)?[..] {
            [Value::Bytes(b"table"), Value::Bytes(b"Packages"), _, Value::Number(root), ..] => Some(*root),
            _ => None,
        })?;
        let mut headers = Vec::new();
        for row in self.rows(root)? {
            match values(&row)?.get(1)? {
                Value::Bytes(blob) => headers.push(blob.to_vec()),
                Value::Number(_) => return None,
            }
        }
        Some(headers)
    }

    /// The records of a table, its pages from left to right.
    fn rows(&self, root: usize) -> Option<Vec<Vec<u8>>> {
        const INTERIOR: u8 = 5;
        const LEAF: u8 = 13;
        let (mut rows, mut seen, mut stack) = (Vec::new(), BTreeSet::new(), vec![root]);
        while let Some(number) = stack.pop() {
            if !seen.insert(number) {
                return None;
            }
            let page = self.page(number)?;
            let start = if number == 1 { 100 } else { 0 };
            let cells = big_short(page, start + 3)?;
            match *page.get(start)? {
                LEAF => {
                    for place in 0..cells {
                        rows.push(self.record(page, big_short(page, start + 8 + place * 2)?)?);
                    }
                }
                INTERIOR => {
                    stack.push(big(page, start + 8)?);
                    for place in (0..cells).rev() {
                        stack.push(big(page, big_short(page, start + 12 + place * 2)?)?);
                    }
                }
                _ => return None,
            }
        }
        Some(rows)
    }

    fn page(&self, number: usize) -> Option<&'a [u8]> {
        let start = number.checked_sub(1)?.checked_mul(self.page)?;
        self.bytes.get(start..start.checked_add(self.page)?)
    }

    /// A leaf's cell: its record, from the pages behind it too where it is long.
    fn record(&self, page: &[u8], at: usize) -> Option<Vec<u8>> {
        let mut cell = page.get(at..)?;
        let length = varint(&mut cell)?;
        varint(&mut cell)?;
        if length > self.bytes.len() {
            return None;
        }
        let local = self.local(length);
        let mut record = cell.get(..local)?.to_vec();
        let mut next = if local < length { big(cell, local)? } else { 0 };
        while record.len() < length {
            let page = self.page(next)?;
            let piece = (length - record.len()).min(self.usable - 4);
            record.extend_from_slice(page.get(4..4 + piece)?);
            next = big(page, 0)?;
        }
        Some(record)
    }

    /// How much of a record stands in its leaf.
    fn local(&self, length: usize) -> usize {
        let most = self.usable - 35;
        if length <= most {
            return length;
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let fitting = least + (length - least) % (self.usable - 4);
        if fitting <= most { fitting } else { least }
    }
}

/// The columns of a record.
fn values(record: &[u8]) -> Option<Vec<Value<'_>>> {
    let mut head = record;
    let length = varint(&mut head)?;
    let mut body = record.get(length..)?;
    let mut types = record.get(record.len() - head.len()..length)?;
    let mut values = Vec::new();
    while !types.is_empty() {
        let kind = varint(&mut types)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            kind => (kind - 12) / 2,
        };
        let (bytes, rest) = body.split_at_checked(length)?;
        body = rest;
        values.push(match kind {
            0..=11 if kind == 9 => Value::Number(1),
            0..=11 => Value::Number(bytes.iter().fold(0, |number: usize, &byte| number << 8 | usize::from(byte))),
            _ => Value::Bytes(bytes),
        });
    }
    Some(values)
}

/// `SQLite`'s number of one to nine bytes, taken from the front.
fn varint(bytes: &mut &[u8]) -> Option<usize> {
    let mut number = 0_u64;
    for place in 0..9 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if place == 8 {
            number = number << 8 | u64::from(byte);
            break;
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            break;
        }
    }
    usize::try_from(number).ok()
}

/// rpm's own file: pages of slots, each the place of a header (rpm, `lib/backend/ndb/rpmpkg.c`).
fn ndb(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    const PAGE: usize = 4096;
    const SLOT: usize = 16;
    const UNIT: usize = 16;
    let slots = usize::try_from(little(bytes, 12)?).ok()?.checked_mul(PAGE)?;
    let mut headers = Vec::new();
    // The first two slots' place is the file's own head.
    for slot in bytes.get(2 * SLOT..slots)?.chunks_exact(SLOT) {
        if !slot.starts_with(b"Slot") {
            return None;
        }
        let (index, place) = (little(slot, 4)?, usize::try_from(little(slot, 8)?).ok()?.checked_mul(UNIT)?);
        if index == 0 || place == 0 {
            continue;
        }
        let blob = bytes.get(place..)?;
        if !blob.starts_with(b"BlbS") || little(blob, 4)? != index {
            return None;
        }
        let length = usize::try_from(little(blob, 12)?).ok()?;
        headers.push(blob.get(16..16_usize.checked_add(length)?)?.to_vec());
    }
    Some(headers)
}

const BDB_HASH: u32 = 0x0006_1561;

/// Berkeley DB's hash: pages of pairs, long values in chains of further pages (Berkeley DB, `dbinc/db_page.h`).
fn berkeley(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    const SORTED: u8 = 13;
    const UNSORTED: u8 = 2;
    let size = usize::try_from(little(bytes, 20)?).ok()?;
    if !(512..=65_536).contains(&size) || !size.is_power_of_two() {
        return None;
    }
    let mut headers = Vec::new();
    for page in bytes.chunks_exact(size).skip(1).filter(|page| [SORTED, UNSORTED].contains(&page[25])) {
        let items = little_short(page, 20)?;
        for pair in 0..items / 2 {
            let (key, value) = (item(page, size, pair * 2)?, item(page, size, pair * 2 + 1)?);
            // Number 0 is not a package but the next free number.
            if key.get(1..)?.iter().any(|&byte| byte != 0) {
                headers.push(berkeley_value(bytes, size, value)?);
            }
        }
    }
    Some(headers)
}

/// An item of a hash page: it reaches to where the one before it begins.
fn item(page: &[u8], size: usize, place: usize) -> Option<&[u8]> {
    const ITEMS: usize = 26;
    let start = little_short(page, ITEMS + place * 2)?;
    let end = if place == 0 { size } else { little_short(page, ITEMS + (place - 1) * 2)? };
    page.get(start..end).filter(|item| !item.is_empty())
}

fn berkeley_value(bytes: &[u8], size: usize, item: &[u8]) -> Option<Vec<u8>> {
    const IN_PAGE: u8 = 1;
    const ELSEWHERE: u8 = 3;
    match item[0] {
        IN_PAGE => Some(item[1..].to_vec()),
        ELSEWHERE => {
            let (mut number, length) = (little(item, 4)?, usize::try_from(little(item, 8)?).ok()?);
            let mut value = Vec::new();
            while value.len() < length {
                let start = usize::try_from(number).ok()?.checked_mul(size)?;
                let page = bytes.get(start..start.checked_add(size)?)?;
                let piece = page.get(26..26_usize.checked_add(little_short(page, 22)?)?)?;
                if piece.is_empty() || length > bytes.len() {
                    return None;
                }
                value.extend_from_slice(piece);
                number = little(page, 16)?;
            }
            value.truncate(length);
            Some(value)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_sqlite_are_read() {
        for (bytes, number) in [(&[5][..], 5), (&[0x81, 0], 128), (&[0xff, 0x7f], 16_383)] {
            assert_eq!(varint(&mut &*bytes), Some(number));
        }
        assert_eq!(varint(&mut &[0x80][..]), None);
    }

    #[test]
    fn files_that_only_begin_like_a_database_are_refused() {
        let sqlite = [&b"SQLite format 3\0\x10\x00"[..], &[0; 4096]].concat();
        let ndb = [&b"RpmP"[..], &[0; 8], &[1, 0, 0, 0], &[0; 4096]].concat();
        let mut berkeley = vec![0; 4096];
        berkeley[12..16].copy_from_slice(&BDB_HASH.to_le_bytes());
        for (file, form) in [(sqlite, "SQLite"), (ndb, "ndb"), (berkeley, "Berkeley")] {
            assert!(headers(&file).unwrap_err().contains(form), "{form}");
        }
        assert!(headers(b"something").is_err() && headers(b"").unwrap().is_empty());
    }
}
