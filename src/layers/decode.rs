//! gzip, zstd or nothing.

use std::io::{BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use crate::layers::LayerError;
use crate::layers::meter::{Meter, Packed, Unpacked};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// zstd frames that hold no data and may come first: the number's lowest four bits are free.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
/// 128 MiB, the most that the zstd command takes without being asked; a frame can demand 2 TiB.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Few calls into the decoders, and little memory.
const BUFFER: usize = 128 * 1024;

/// What a layer unpacks to, counted.
pub(super) fn unpacked<'a, R: Read + 'a>(packed: R, meter: &Meter) -> Result<impl Read + use<'a, R>, LayerError> {
    let mut packed = Packed { inner: packed, meter: meter.clone() };
    let mut head = [0; 4];
    let length = fill(&mut packed, &mut head).map_err(LayerError::from_io)?;
    let whole = BufReader::with_capacity(BUFFER, Cursor::new(head).take(length as u64).chain(packed));
    let decoder: Box<dyn Read + 'a> = if head.starts_with(&GZIP) {
        Box::new(MultiGzDecoder::new(whole))
    } else if head == ZSTD || (head[1..] == ZSTD_SKIPPABLE && head[0] & 0xf0 == 0x50) {
        let mut decoder = zstd::Decoder::with_buffer(whole).map_err(LayerError::Io)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(LayerError::Io)?;
        Box::new(decoder)
    } else {
        Box::new(whole)
    };
    Ok(BufReader::with_capacity(BUFFER, Unpacked { inner: decoder, meter: meter.clone() }))
}

/// Fills a buffer as far as there is something to fill it with.
pub(super) fn fill(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
