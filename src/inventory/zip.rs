//! Members of a zip archive in the order in which they stand, without its directory: a layer is a stream, and the
//! directory stands at the end. Whoever makes the two disagree can hide a member from us; what is found is no proof
//! against the archive's author.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::DeflateDecoder;

use crate::layers::{LayerError, Meter, Unpacked};

const LOCAL: [u8; 4] = *b"PK\x03\x04";
const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";
/// What may follow the last member: the directory, its end, in the longer form too, or an archive's extra data.
const AFTER: [[u8; 4]; 4] = [*b"PK\x01\x02", *b"PK\x05\x06", *b"PK\x06\x06", *b"PK\x06\x08"];
/// Programs that stand before an archive that runs by itself are some kilobytes long.
const MAX_PRELUDE: usize = 1024 * 1024;

/// A member's header.
struct Local {
    name: String,
    method: u16,
    encrypted: bool,
    /// The sizes stand behind the content.
    described: bool,
    packed: u64,
    long: bool,
}

fn damaged(what: &str) -> LayerError {
    LayerError::Archive(what.to_owned())
}

/// Visits every member with its content, which may be left unread.
pub(super) fn members(
    from: &mut dyn BufRead,
    meter: &Meter,
    visit: &mut dyn FnMut(&str, &mut dyn BufRead) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    let mut signature = first_signature(from)?;
    while signature == LOCAL {
        meter.entry()?;
        let local = header(from)?;
        content(from, &local, meter, visit)?;
        if local.described {
            skip_descriptor(from, local.long)?;
        }
        signature = read(from)?;
    }
    if AFTER.contains(&signature) { Ok(()) } else { Err(damaged("a member of unknown length")) }
}

/// Skips a program that stands before the archive.
fn first_signature(from: &mut dyn BufRead) -> Result<[u8; 4], LayerError> {
    let mut window: [u8; 4] = read(from)?;
    if window == LOCAL || AFTER.contains(&window) {
        return Ok(window);
    }
    for _ in 0..MAX_PRELUDE {
        let [next]: [u8; 1] = read(from)?;
        window = [window[1], window[2], window[3], next];
        if window == LOCAL {
            return Ok(window);
        }
    }
    Err(damaged("no zip archive"))
}

fn header(from: &mut dyn BufRead) -> Result<Local, LayerError> {
    let fixed: [u8; 26] = read(from)?;
    let short = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
    let word = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let (flags, method) = (short(2), short(4));
    let mut name = vec![0; short(22).into()];
    let mut extra = vec![0; short(24).into()];
    from.read_exact(&mut name).and_then(|()| from.read_exact(&mut extra)).map_err(unexpected)?;
    let long = long_sizes(&extra);
    // The longer form has the unpacked size first.
    let packed = match (word(14), long) {
        (u32::MAX, Some(sizes)) => {
            sizes.get(8..16).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()))
        }
        (packed, _) => packed.into(),
    };
    Ok(Local {
        name: String::from_utf8_lossy(&name).into_owned(),
        method,
        encrypted: flags & 1 != 0,
        described: flags & 8 != 0,
        packed,
        long: long.is_some(),
    })
}

/// The extra field with sizes of 64 bits: number 1.
fn long_sizes(mut extra: &[u8]) -> Option<&[u8]> {
    while let [id_low, id_high, low, high, rest @ ..] = extra {
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let (field, after) = rest.split_at_checked(length)?;
        if u16::from_le_bytes([*id_low, *id_high]) == 1 {
            return Some(field);
        }
        extra = after;
    }
    None
}

fn content(
    from: &mut dyn BufRead,
    local: &Local,
    meter: &Meter,
    visit: &mut dyn FnMut(&str, &mut dyn BufRead) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    const STORED: u16 = 0;
    const DEFLATED: u16 = 8;
    // With the sizes behind it, only content that knows its own end can be passed.
    let open_ended = local.described && local.packed == 0;
    match local.method {
        DEFLATED if open_ended && !local.encrypted => {
            let mut inflated = inflated(&mut *from, meter);
            visit(&local.name, &mut inflated)?;
            drain(&mut inflated)
        }
        _ if open_ended && local.method != STORED => Err(damaged("a member that cannot be read as a stream")),
        method => {
            let mut packed = (&mut *from).take(local.packed);
            if method == DEFLATED && !local.encrypted {
                visit(&local.name, &mut inflated(&mut packed, meter))?;
            } else if method == STORED && !local.encrypted {
                visit(&local.name, &mut packed)?;
            }
            drain(&mut packed)
        }
    }
}

fn inflated<'a, R: BufRead + 'a>(packed: R, meter: &Meter) -> BufReader<Unpacked<DeflateDecoder<R>>> {
    BufReader::new(Unpacked { inner: DeflateDecoder::new(packed), meter: meter.clone() })
}

fn drain(from: &mut dyn Read) -> Result<(), LayerError> {
    io::copy(from, &mut io::sink()).map(drop).map_err(LayerError::from_io)
}

/// Checksum and sizes, with or without the mark before them.
fn skip_descriptor(from: &mut dyn BufRead, long: bool) -> Result<(), LayerError> {
    let first: [u8; 4] = read(from)?;
    if first == DESCRIPTOR {
        let _checksum: [u8; 4] = read(from)?;
    }
    if long {
        let _sizes: [u8; 16] = read(from)?;
    } else {
        let _sizes: [u8; 8] = read(from)?;
    }
    Ok(())
}

fn read<const N: usize>(from: &mut dyn BufRead) -> Result<[u8; N], LayerError> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map_err(unexpected)?;
    Ok(bytes)
}

fn unexpected(error: io::Error) -> LayerError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("the archive is cut"),
        _ => LayerError::from_io(error),
    }
}
