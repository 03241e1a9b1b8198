//! Who signed a bundle, and whether that is enough.
//!
//! Signatures, public keys and secret keys have minisign's form. A signature is parsed to a [`Signature`], which says
//! nothing yet; only [`Signature::verify`] gives what the signer said. A [`Policy`] counts signers by their keys, and
//! what was accepted before is in [`Accepted`]. No file is opened here. `docs/trust.md` says all of it for users.

mod accepted;
mod base64_text;
mod error;
mod key;
mod policy;
mod secret_key;
mod signature;
mod statement;

pub use accepted::{Accepted, Older};
pub use error::{KeyError, PolicyError, SignatureFault, StateError};
pub use key::{KeyId, PublicKey};
pub use policy::{Judgement, Policy, Signed, Signer};
pub use secret_key::{LockedKey, Protection, SecretKey};
pub use signature::Signature;
pub use statement::{BundleName, Statement};

/// The largest signature that is read, in bytes. minisign's own have some hundred; its comments end at 9 KiB.
pub const MAX_SIGNATURE_BYTES: u64 = 64 * 1024;
/// The largest key file that is read, in bytes.
pub const MAX_KEY_BYTES: u64 = 64 * 1024;
/// The largest policy that is read, in bytes.
pub const MAX_POLICY_BYTES: u64 = 1024 * 1024;
/// The most signatures that are looked at for one bundle.
pub const MAX_SIGNATURES: usize = 64;
