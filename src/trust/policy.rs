//! Whom to trust, and how many of them it takes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::trust::error::{PolicyError, SignatureFault};
use crate::trust::key::{KeyId, PublicKey};
use crate::trust::signature::Signature;
use crate::trust::statement::{BundleName, Statement};

/// The `schema` of policies that this version reads.
const SCHEMA: &str = "octobundle/policy/v1";

/// So many of these must have signed. Every key is there once, whatever it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    required: usize,
    trusted: Vec<Trusted>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Trusted {
    name: Option<String>,
    key: PublicKey,
}

/// A signature that was found, as far as it could be read, and where.
pub struct Signed {
    /// The file's name.
    pub place: String,
    /// What is in it.
    pub signature: Result<Signature, SignatureFault>,
}

/// Somebody who is trusted and has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// What the policy calls the key.
    pub name: Option<String>,
    /// The key's number.
    pub key: KeyId,
    /// What was said with the signature.
    pub statement: Statement,
}

/// What signatures are worth under a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Those who are trusted and have signed, each once.
    pub signers: Vec<Signer>,
    /// Signatures that do not count, each with the reason.
    pub refused: Vec<(String, SignatureFault)>,
    /// How many signers it takes.
    pub required: usize,
    /// How many could sign.
    pub trusted: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    schema: Spanned<String>,
    keys: BTreeMap<String, Spanned<String>>,
    require: Spanned<String>,
}

impl Policy {
    /// Any one of these keys is enough.
    pub fn any_of(keys: &[PublicKey]) -> Result<Self, PolicyError> {
        let mut trusted: Vec<Trusted> = Vec::new();
        for key in keys {
            if !trusted.iter().any(|other| other.key.point() == key.point()) {
                trusted.push(Trusted { name: None, key: *key });
            }
        }
        if trusted.is_empty() { Err(PolicyError::NoKeys) } else { Ok(Self { required: 1, trusted }) }
    }

    /// Reads a policy file; `name` is what messages call it.
    pub fn parse(name: &str, text: &[u8]) -> Result<Self, PolicyError> {
        let wrong = |line: u64, what: String| PolicyError::Form { place: format!("{name}:{line}"), what };
        let text = std::str::from_utf8(text).map_err(|_| wrong(1, "it is not UTF-8 text".into()))?;
        let form: Form = crate::manifest::strict_yaml(text).map_err(|(line, what)| wrong(line, what))?;
        let at = |text: &Spanned<String>| text.referenced.line();
        if form.schema.value != SCHEMA {
            return Err(wrong(at(&form.schema), format!("`schema` is not `{SCHEMA}`")));
        }
        let mut keys: BTreeMap<&str, PublicKey> = BTreeMap::new();
        for (owner, line) in &form.keys {
            let key: PublicKey = line.value.trim().parse().map_err(|_| {
                wrong(
                    at(line),
                    "a key is one line of base64 with 56 characters, the second line of a `.pub` file".into(),
                )
            })?;
            if let Some((other, _)) = keys.iter().find(|(_, other)| other.point() == key.point()) {
                return Err(wrong(at(line), format!("`{owner}` and `{other}` are the same key")));
            }
            keys.insert(owner, key);
        }
        let (required, names) = requirement(&form.require.value).map_err(|what| wrong(at(&form.require), what))?;
        let mut trusted: Vec<Trusted> = Vec::new();
        for name in names {
            let Some(key) = keys.get(name.as_str()) else {
                return Err(wrong(at(&form.require), format!("`{name}` is not one of the keys")));
            };
            if trusted.iter().any(|other| other.key.point() == key.point()) {
                return Err(wrong(at(&form.require), format!("`{name}` stands twice")));
            }
            trusted.push(Trusted { name: Some(name), key: *key });
        }
        if required == 0 || required > trusted.len() {
            let what = format!("{required} of {} keys cannot be required", trusted.len());
            return Err(wrong(at(&form.require), what));
        }
        Ok(Self { required, trusted })
    }

    /// What these signatures of `content` are worth.
    pub fn judge(&self, content: &[u8], signatures: &[Signed]) -> Judgement {
        let mut found: BTreeMap<usize, Signer> = BTreeMap::new();
        let mut refused = Vec::new();
        for Signed { place, signature } in signatures {
            match signature.as_ref().map_err(Clone::clone).and_then(|signature| self.signer(content, signature)) {
                Ok((index, signer)) => {
                    // Of several signatures with one key the one that says the highest number counts.
                    let newer =
                        found.get(&index).is_none_or(|other| other.statement.sequence < signer.statement.sequence);
                    if newer {
                        found.insert(index, signer);
                    }
                }
                Err(fault) => refused.push((place.clone(), fault)),
            }
        }
        Judgement {
            signers: found.into_values().collect(),
            refused,
            required: self.required,
            trusted: self.trusted.len(),
        }
    }

    fn signer(&self, content: &[u8], signature: &Signature) -> Result<(usize, Signer), SignatureFault> {
        let mut fault = SignatureFault::Stranger(signature.key());
        for (index, Trusted { name, key }) in self.trusted.iter().enumerate() {
            match signature.verify(key, content) {
                Ok(statement) => return Ok((index, Signer { name: name.clone(), key: key.id(), statement })),
                Err(SignatureFault::OtherKey) => {}
                Err(other) => fault = other,
            }
        }
        Err(fault)
    }
}

impl Judgement {
    /// Whether it is enough.
    pub fn is_trusted(&self) -> bool {
        self.signers.len() >= self.required
    }

    /// The highest number that enough signers vouch for, under each name that enough signers gave. A single key
    /// cannot lift an old bundle above newer ones where two are required.
    pub fn sequences(&self, release: &str) -> BTreeMap<BundleName, Option<u64>> {
        let mut by_name: BTreeMap<BundleName, Vec<Option<u64>>> = BTreeMap::new();
        for Signer { statement, .. } in &self.signers {
            let name = statement.name.clone().unwrap_or_else(|| BundleName::of_release(release));
            by_name.entry(name).or_default().push(statement.sequence);
        }
        let vouched = |(name, mut sequences): (BundleName, Vec<Option<u64>>)| {
            sequences.sort_unstable_by(|a, b| b.cmp(a));
            Some((name, *sequences.get(self.required - 1)?))
        };
        by_name.into_iter().filter_map(vouched).collect()
    }
}

/// Reads `2 of [a, b, c]`.
fn requirement(text: &str) -> Result<(usize, Vec<String>), String> {
    let wrong = || "`require` is written as in `2 of [anna, ben, carol]`".to_owned();
    let (count, names) = text.split_once(" of ").ok_or_else(wrong)?;
    let names = names.trim().strip_prefix('[').and_then(|names| names.strip_suffix(']')).ok_or_else(wrong)?;
    let is_number = count.len() <= 4 && count.bytes().all(|byte| byte.is_ascii_digit());
    let count = is_number.then(|| count.parse().ok()).flatten().ok_or_else(wrong)?;
    Ok((count, names.split(',').map(|name| name.trim().to_owned()).collect()))
}
