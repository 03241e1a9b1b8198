//! The files inside of image layers, streamed within bounds. Nothing is written to disk.
//!
//! Layers come from whoever built the image: every number in them is a claim. Reading one ends with a named error when it
//! goes beyond its [`Limits`], whatever its headers say.

mod decode;
mod error;
mod meter;
mod tar;

pub use error::LayerError;
pub(crate) use meter::Unpacked;
pub use meter::{Limits, Meter};
pub use tar::{Content, Entry, Kind};

use std::io::Read;

/// Reads a layer: gzip, zstd or plain tar, told apart by their first bytes as engines do. `visit` is given every entry
/// with its content, of which it may leave what it does not want.
///
/// `packed` is read as far as the archive goes; whoever must know the digest of all of it reads on.
pub fn read_layer<'a, R: Read + 'a>(
    packed: R,
    limits: Limits,
    visit: &mut dyn FnMut(&Entry, &mut Content<'_>) -> Result<(), LayerError>,
) -> Result<(), LayerError> {
    let meter = Meter::new(limits);
    let unpacked = decode::unpacked(packed, &meter)?;
    tar::walk(unpacked, &meter, visit)
}

/// What a layer unpacks to, as one stream.
pub fn unpack<'a, R: Read + 'a>(packed: R, limits: Limits) -> Result<impl Read + use<'a, R>, LayerError> {
    let meter = Meter::new(limits);
    decode::unpacked(packed, &meter)
}
