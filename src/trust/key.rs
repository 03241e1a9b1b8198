//! Public keys.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

use crate::trust::base64_text::{decode, encode};
use crate::trust::error::KeyError;

/// The mark of Ed25519 in keys.
pub(super) const ED25519_MARK: [u8; 2] = *b"Ed";

/// The number that a key is called by. It is chosen at random with the key and proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 8]);

impl KeyId {
    pub(super) const fn new(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(self) -> [u8; 8] {
        self.0
    }
}

/// Sixteen hexadecimal digits, as minisign shows it.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whom to trust: a key of minisign's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey {
    id: KeyId,
    point: [u8; 32],
}

impl PublicKey {
    pub(super) fn new(id: KeyId, point: [u8; 32]) -> Self {
        Self { id, point }
    }

    /// Reads a key file: a comment and the key, or the key's line alone.
    pub fn parse_file(text: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(text).map_err(|_| KeyError::NotPublic)?;
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        let last = lines.iter().rposition(|line| !line.is_empty()).ok_or(KeyError::NotPublic)?;
        match &lines[..=last] {
            [key] | [_, key] => key.parse(),
            _ => Err(KeyError::NotPublic),
        }
    }

    /// What it is called by.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What tells keys apart: two with different names or numbers may be one.
    pub(crate) fn point(&self) -> &[u8; 32] {
        &self.point
    }

    /// The file that minisign takes with `-p`.
    pub fn to_file(&self) -> String {
        format!("untrusted comment: minisign public key {}\n{self}\n", self.id)
    }

    pub(super) fn accepts(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.point).verify(message, signature).is_ok()
    }
}

/// One line of base64, as minisign takes it with `-P`.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&[&ED25519_MARK[..], &self.id.0, &self.point].concat()))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(line: &str) -> Result<Self, KeyError> {
        let bytes: [u8; 42] = decode(line.as_bytes()).ok_or(KeyError::NotPublic)?;
        let (mark, rest) = bytes.split_first_chunk().expect("it is longer");
        let (id, point) = rest.split_first_chunk().expect("it is longer");
        if *mark != ED25519_MARK {
            return Err(KeyError::Algorithm);
        }
        Ok(Self { id: KeyId(*id), point: point.try_into().expect("2, 8 and 32 are 42") })
    }
}
