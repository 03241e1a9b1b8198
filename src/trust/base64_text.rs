//! Base64 as minisign writes it: the usual alphabet, padded, one text for one value.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The bytes that a text stands for, if there are exactly so many.
pub(super) fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// The text of some bytes.
pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
