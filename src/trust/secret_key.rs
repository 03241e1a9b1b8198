//! Secret keys as minisign keeps them.

use aws_lc_rs::rand;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest as _};
use zeroize::Zeroizing;

use crate::trust::base64_text::{decode, encode};
use crate::trust::error::KeyError;
use crate::trust::key::{ED25519_MARK, KeyId, PublicKey};
use crate::trust::signature::Signature;

const CHECKSUM_MARK: [u8; 2] = *b"B2";
const SCRYPT_MARK: [u8; 2] = *b"Sc";
const NO_PASSWORD_MARK: [u8; 2] = [0, 0];
/// minisign's own: libsodium's `OPSLIMIT_SENSITIVE` and `MEMLIMIT_SENSITIVE`. Deriving takes 1 GiB and some seconds.
const OPERATIONS: u64 = 33_554_432;
const MEMORY: u64 = 1_073_741_824;

/// How a new secret key is kept.
pub enum Protection<'a> {
    /// Behind this password.
    Password(&'a str),
    /// Whoever has the file can sign.
    None,
}

/// A key that can sign.
pub struct SecretKey {
    id: KeyId,
    pair: Ed25519KeyPair,
    /// Seed and public key, one behind the other.
    bytes: Zeroizing<[u8; 64]>,
}

/// A key file, read; its password may still be wanted.
pub struct LockedKey {
    kdf: [u8; 2],
    salt: [u8; 32],
    operations: u64,
    memory: u64,
    /// Number, key and checksum; behind the password unless there is none.
    sealed: Zeroizing<[u8; 104]>,
}

impl SecretKey {
    /// A new key.
    pub fn generate() -> Result<Self, KeyError> {
        let (mut id, mut seed) = ([0; 8], Zeroizing::new([0; 32]));
        rand::fill(&mut id).and_then(|()| rand::fill(&mut *seed)).map_err(|_| KeyError::NoRandomness)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| KeyError::Damaged)?;
        let mut bytes = Zeroizing::new([0; 64]);
        bytes[..32].copy_from_slice(&*seed);
        bytes[32..].copy_from_slice(pair.public_key().as_ref());
        Ok(Self { id: KeyId::new(id), pair, bytes })
    }

    /// Whom others have to trust.
    pub fn public(&self) -> PublicKey {
        PublicKey::new(self.id, self.bytes[32..].try_into().expect("it has 64 bytes"))
    }

    /// Signs content; `statement` is signed with it and is one line.
    pub fn sign(&self, content: &[u8], statement: &str) -> Signature {
        let sign = |message: &[u8]| {
            let signature = self.pair.sign(message);
            signature.as_ref().try_into().expect("Ed25519 signatures have 64 bytes")
        };
        Signature::make(self.id, content, statement, sign)
    }

    /// The file that minisign takes with `-s`.
    pub fn to_file(&self, protection: &Protection<'_>) -> Result<Zeroizing<String>, KeyError> {
        let mut sealed = self.unsealed();
        let mut salt = [0; 32];
        let (kdf, operations, memory, kind) = match protection {
            Protection::None => (NO_PASSWORD_MARK, 0, 0, "unencrypted"),
            Protection::Password(password) => {
                rand::fill(&mut salt).map_err(|_| KeyError::NoRandomness)?;
                mix(&mut sealed, password, &salt, OPERATIONS, MEMORY)?;
                (SCRYPT_MARK, OPERATIONS, MEMORY, "encrypted")
            }
        };
        let parts = [
            &ED25519_MARK[..],
            &kdf,
            &CHECKSUM_MARK,
            &salt,
            &operations.to_le_bytes(),
            &memory.to_le_bytes(),
            &sealed[..],
        ];
        let bytes = Zeroizing::new(parts.concat());
        let text = Zeroizing::new(encode(&bytes));
        Ok(Zeroizing::new(format!("untrusted comment: minisign {kind} secret key\n{}\n", *text)))
    }

    fn unsealed(&self) -> Zeroizing<[u8; 104]> {
        let mut unsealed = Zeroizing::new([0; 104]);
        unsealed[..8].copy_from_slice(&self.id.bytes());
        unsealed[8..72].copy_from_slice(&*self.bytes);
        let checksum = checksum(&unsealed);
        unsealed[72..].copy_from_slice(&checksum);
        unsealed
    }
}

impl LockedKey {
    /// Reads a key file.
    pub fn parse(text: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(text).map_err(|_| KeyError::NotSecret)?;
        let line = text.lines().nth(1).ok_or(KeyError::NotSecret)?;
        let bytes: Zeroizing<[u8; 158]> =
            decode(line.trim_end().as_bytes()).map(Zeroizing::new).ok_or(KeyError::NotSecret)?;
        let field = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("it has eight bytes"));
        let kdf = bytes[2..4].try_into().expect("it has two bytes");
        if bytes[..2] != ED25519_MARK || bytes[4..6] != CHECKSUM_MARK || ![SCRYPT_MARK, NO_PASSWORD_MARK].contains(&kdf)
        {
            return Err(KeyError::Algorithm);
        }
        let mut sealed = Zeroizing::new([0; 104]);
        sealed.copy_from_slice(&bytes[54..]);
        let salt = bytes[6..38].try_into().expect("it has 32 bytes");
        Ok(Self { kdf, salt, operations: field(38), memory: field(46), sealed })
    }

    /// Whether it wants a password.
    pub fn wants_password(&self) -> bool {
        self.kdf == SCRYPT_MARK
    }

    /// The key. A password for a key without one is not looked at. Takes up to 1 GiB and some seconds.
    pub fn open(mut self, password: &str) -> Result<SecretKey, KeyError> {
        let locked = self.wants_password();
        if locked {
            mix(&mut self.sealed, password, &self.salt, self.operations, self.memory)?;
        }
        if self.sealed[72..] != checksum(&self.sealed) {
            return Err(if locked { KeyError::Password } else { KeyError::Damaged });
        }
        let id = KeyId::new(self.sealed[..8].try_into().expect("it has eight bytes"));
        let mut bytes = Zeroizing::new([0; 64]);
        bytes.copy_from_slice(&self.sealed[8..72]);
        let pair = Ed25519KeyPair::from_seed_and_public_key(&bytes[..32], &bytes[32..]);
        Ok(SecretKey { id, pair: pair.map_err(|_| KeyError::Damaged)?, bytes })
    }
}

/// The checksum that tells a wrong password: over the mark, the number and the key.
fn checksum(unsealed: &[u8; 104]) -> [u8; 32] {
    Blake2b::<U32>::new().chain_update(ED25519_MARK).chain_update(&unsealed[..72]).finalize().into()
}

/// Closes or opens what stands behind a password: both are the same.
fn mix(sealed: &mut [u8; 104], password: &str, salt: &[u8; 32], operations: u64, memory: u64) -> Result<(), KeyError> {
    let mut stream = Zeroizing::new([0; 104]);
    let parameters = scrypt_parameters(operations, memory).ok_or(KeyError::Algorithm)?;
    scrypt::scrypt(password.as_bytes(), salt, &parameters, &mut *stream).map_err(|_| KeyError::Algorithm)?;
    for (byte, other) in sealed.iter_mut().zip(stream.iter()) {
        *byte ^= other;
    }
    Ok(())
}

/// How libsodium reads its two limits. A file may not ask for more than minisign itself would.
fn scrypt_parameters(operations: u64, memory: u64) -> Option<scrypt::Params> {
    const BLOCK: u64 = 8;
    if operations > OPERATIONS || memory > MEMORY {
        return None;
    }
    let operations = operations.max(32_768);
    let by_memory = operations >= memory / 32;
    let largest = if by_memory { memory / (BLOCK * 128) } else { operations / (BLOCK * 4) };
    let log_n = (1..63).find(|log| 1_u64 << log > largest / 2)?;
    let lanes = if by_memory { (operations / 4) / (1 << log_n) / BLOCK } else { 1 };
    scrypt::Params::new(log_n, 8, u32::try_from(lanes).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_keys_take_what_minisign_takes_to_open() {
        let parameters = scrypt_parameters(OPERATIONS, MEMORY).unwrap();
        assert_eq!(parameters, scrypt::Params::new(20, 8, 1).unwrap());
    }

    #[test]
    fn a_file_that_asks_for_more_memory_than_minisign_does_is_refused() {
        assert!(scrypt_parameters(OPERATIONS + 1, MEMORY).is_none());
        assert!(scrypt_parameters(OPERATIONS, MEMORY + 1).is_none());
    }

    #[test]
    fn a_key_is_read_as_it_was_written_and_no_bit_of_it_may_differ() {
        let key = SecretKey::generate().unwrap();
        let file = key.to_file(&Protection::None).unwrap();
        let read = LockedKey::parse(file.as_bytes()).unwrap();
        assert!(!read.wants_password());
        assert_eq!(read.open("").unwrap().public(), key.public());
        let start = file.find('\n').unwrap() + 1;
        for bit in start * 8..(file.len() - 1) * 8 {
            let mut damaged = file.as_bytes().to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let same = LockedKey::parse(&damaged).and_then(|key| key.open("")).map(|read| read.public());
            // Salt and limits say nothing in a file without password.
            let at = (bit / 8 - start) * 6 / 8;
            assert!(same.is_err() || ((5..55).contains(&at) && same.unwrap() == key.public()), "bit {bit}");
        }
    }
}
