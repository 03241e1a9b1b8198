//! What can be wrong with signatures, keys and policies.

use crate::failure::{ErrorClass, Explain};
use crate::trust::key::KeyId;

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// Nothing is in the file.
    #[error("it is empty")]
    Empty,
    /// Lines lack.
    #[error("it ends too early")]
    Truncated,
    /// The file is longer than any signature.
    #[error("it is longer than a signature")]
    TooLong,
    /// Something stands behind the signature.
    #[error("something stands behind its four lines")]
    Trailing,
    /// It is no signature of minisign's form.
    #[error("it has not the form of a minisign signature")]
    Form,
    /// Made by a program that knows more than this one, or by nobody.
    #[error("its algorithm is not known")]
    Algorithm,
    /// Its key is not among those that are trusted.
    #[error("its key {0} is not trusted")]
    Stranger(KeyId),
    /// It was made with another key than the one it is compared with.
    #[error("it was made with another key")]
    OtherKey,
    /// It signs something else, or nothing.
    #[error("it does not sign this bundle's SHA256SUMS")]
    OtherContent,
    /// What is said with it was not said by the signer.
    #[error("its trusted comment was changed")]
    OtherComment,
}

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No public key.
    #[error("it is no public key of minisign's form")]
    NotPublic,
    /// No secret key.
    #[error("it is no secret key of minisign's form")]
    NotSecret,
    /// A key for something else.
    #[error("its algorithms are not those of minisign")]
    Algorithm,
    /// The password does not open it.
    #[error("the password is wrong")]
    Password,
    /// Its parts do not belong together.
    #[error("the key is damaged")]
    Damaged,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

/// Why a policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The file is not right.
    #[error("the policy is not right at {place}: {what}")]
    Form {
        /// File and line.
        place: String,
        /// What is wrong there.
        what: String,
    },
    /// Nobody is trusted.
    #[error("no key is named to trust")]
    NoKeys,
}

/// Why what was accepted before is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Not what was written.
    #[error("it cannot be read: {0}")]
    Form(String),
    /// Written by another version.
    #[error("its schema is `{0}`")]
    Schema(String),
}

impl Explain for KeyError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NotPublic | Self::NotSecret | Self::Algorithm | Self::Damaged => ErrorClass::Input,
            Self::Password => ErrorClass::Access,
            Self::NoRandomness => ErrorClass::Other,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::NotPublic => Some(
                "give a file that `octobundle key new` or `minisign -G` wrote as FILE.pub, or the line of base64 in it"
                    .into(),
            ),
            Self::NotSecret => Some("give the file that `octobundle key new` or `minisign -G` wrote".into()),
            Self::Algorithm => Some("use a key that `octobundle key new` or `minisign -G` wrote".into()),
            Self::Password => Some("run the same command again and type the password of this key".into()),
            Self::Damaged => Some("take the key's copy, or make a new key: `octobundle key new FILE`".into()),
            Self::NoRandomness => None,
        }
    }
}

impl Explain for PolicyError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Form { .. } => ErrorClass::Input,
            Self::NoKeys => ErrorClass::Usage,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Form { .. } => {
                Some("docs/trust.md shows a policy; a file that is not understood trusts nobody".into())
            }
            Self::NoKeys => Some("name a key: `--trust FILE.pub`".into()),
        }
    }
}

impl Explain for StateError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Trust
    }

    fn help(&self) -> Option<String> {
        let words = "it says which bundles were accepted, so nothing is accepted without it; put its copy back, or remove it if you know that this bundle is the newest";
        Some(words.to_owned())
    }
}
