//! Signatures as minisign writes them.

use blake2::{Blake2b512, Digest as _};

use crate::trust::base64_text::{decode, encode};
use crate::trust::error::SignatureFault;
use crate::trust::key::{KeyId, PublicKey};
use crate::trust::statement::Statement;

const COMMENT: &[u8] = b"untrusted comment: ";
const TRUSTED_COMMENT: &[u8] = b"trusted comment: ";
/// minisign's own limits, with its prefixes and the line's end.
const MAX_COMMENT: usize = 1024;
const MAX_TRUSTED_COMMENT: usize = 8192;

/// What is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    /// The content itself.
    Plain,
    /// The content's BLAKE2b-512: what minisign has written since 0.10, and what is written here.
    Prehashed,
}

impl Algorithm {
    const ALL: [Self; 2] = [Self::Plain, Self::Prehashed];

    fn mark(self) -> [u8; 2] {
        match self {
            Self::Plain => *b"Ed",
            Self::Prehashed => *b"ED",
        }
    }
}

/// A signature as it stands in a file. What it says is not to be had without [`Self::verify`].
#[derive(Clone)]
pub struct Signature {
    algorithm: Algorithm,
    key: KeyId,
    of_content: [u8; 64],
    comment: Vec<u8>,
    of_comment: [u8; 64],
}

impl Signature {
    /// Reads a signature file: four lines and nothing else.
    pub fn parse(text: &[u8]) -> Result<Self, SignatureFault> {
        if text.is_empty() {
            return Err(SignatureFault::Empty);
        }
        let mut rest = text;
        let mut line = |limit| next_line(&mut rest, limit);
        let untrusted = line(MAX_COMMENT)?;
        let signature = line(128)?;
        let comment = line(MAX_TRUSTED_COMMENT)?;
        let of_comment = line(128)?;
        if !rest.is_empty() {
            return Err(SignatureFault::Trailing);
        }
        if !untrusted.starts_with(COMMENT) {
            return Err(SignatureFault::Form);
        }
        let comment = comment.strip_prefix(TRUSTED_COMMENT).ok_or(SignatureFault::Form)?.to_vec();
        let bytes: [u8; 74] = decode(signature).ok_or(SignatureFault::Form)?;
        let of_comment = decode(of_comment).ok_or(SignatureFault::Form)?;
        let (mark, bytes) = bytes.split_first_chunk::<2>().expect("it is longer");
        let (key, of_content) = bytes.split_first_chunk().expect("it is longer");
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.mark() == *mark);
        Ok(Self {
            algorithm: algorithm.ok_or(SignatureFault::Algorithm)?,
            key: KeyId::new(*key),
            of_content: of_content.try_into().expect("2, 8 and 64 are 74"),
            comment,
            of_comment,
        })
    }

    /// Signs content with what the signer says about it. `sign` is the secret key's.
    pub(super) fn make(key: KeyId, content: &[u8], statement: &str, sign: impl Fn(&[u8]) -> [u8; 64]) -> Self {
        let of_content = sign(&Blake2b512::digest(content));
        let comment = statement.as_bytes().to_vec();
        let of_comment = sign(&[&of_content[..], &comment].concat());
        Self { algorithm: Algorithm::Prehashed, key, of_content, comment, of_comment }
    }

    /// The number of the key that it says it was made with.
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// What the signer said, if this key's owner signed exactly this content and said it.
    pub fn verify(&self, key: &PublicKey, content: &[u8]) -> Result<Statement, SignatureFault> {
        if key.id() != self.key {
            return Err(SignatureFault::OtherKey);
        }
        let of_content = match self.algorithm {
            Algorithm::Plain => key.accepts(content, &self.of_content),
            Algorithm::Prehashed => key.accepts(&Blake2b512::digest(content), &self.of_content),
        };
        if !of_content {
            return Err(SignatureFault::OtherContent);
        }
        if !key.accepts(&[&self.of_content[..], &self.comment].concat(), &self.of_comment) {
            return Err(SignatureFault::OtherComment);
        }
        Ok(Statement::parse(&String::from_utf8_lossy(&self.comment)))
    }

    /// The file that minisign takes with `-x`. `comment` is shown by minisign and signed by nobody; one line.
    pub fn to_file(&self, comment: &str) -> Vec<u8> {
        let signature = encode(&[&self.algorithm.mark()[..], &self.key.bytes(), &self.of_content].concat());
        let of_comment = encode(&self.of_comment);
        let lines = [COMMENT, comment.as_bytes(), b"\n", signature.as_bytes(), b"\n"];
        let trusted = [TRUSTED_COMMENT, &self.comment, b"\n", of_comment.as_bytes(), b"\n"];
        [lines.concat(), trusted.concat()].concat()
    }
}

/// The next line without its end, as minisign reads it: at most `limit` bytes, cut at a carriage return.
fn next_line<'a>(rest: &mut &'a [u8], limit: usize) -> Result<&'a [u8], SignatureFault> {
    let end = rest.iter().position(|&byte| byte == b'\n');
    let (line, after) = match end {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        None => (*rest, &[][..]),
    };
    if line.len() >= limit || line.contains(&0) {
        return Err(SignatureFault::Form);
    }
    if line.is_empty() && end.is_none() {
        return Err(SignatureFault::Truncated);
    }
    *rest = after;
    Ok(line.split(|&byte| byte == b'\r').next().unwrap_or_default())
}
