//! What a signer says with a signature, in minisign's trusted comment.

use std::fmt;
use std::str::FromStr;

/// The longest comment that is kept of a statement, in characters.
const MAX_SHOWN: usize = 200;

/// The name that a line of bundles goes by, each newer than the one before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleName(String);

impl BundleName {
    /// The name of a release's bundles where the signer gave none: the release's name without its version.
    pub fn of_release(release: &str) -> Self {
        let version = release
            .char_indices()
            .find(|&(at, c)| c == '-' && release[at + 1..].starts_with(|next: char| next.is_ascii_digit()));
        let name = version.map_or(release, |(at, _)| &release[..at]);
        let kept = |c: char| if is_plain(c) { c.to_ascii_lowercase() } else { '-' };
        let name: String = name.chars().take(100).map(kept).collect();
        Self(if name.is_empty() { "-".to_owned() } else { name })
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

impl fmt::Display for BundleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BundleName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > 100 || !text.chars().all(|c| is_plain(c) && !c.is_ascii_uppercase()) {
            return Err("a bundle's name has 1 to 100 of a-z, 0-9, `.`, `_` and `-`".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

/// A trusted comment, read. Fields are set apart by tabs, as minisign's own are; what is unknown is passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The comment itself, cut to a length that can be shown.
    pub text: String,
    /// When it was signed by the signer's clock, in seconds since 1970.
    pub signed_at: Option<u64>,
    /// The name that the signer gave the bundle.
    pub name: Option<BundleName>,
    /// The number that grows from each bundle of that name to the next; the time of signing where no other was given.
    pub sequence: Option<u64>,
}

impl Statement {
    /// The comment of a signature that is about to be made.
    pub fn to_write(signed_at: u64, name: &BundleName, sequence: Option<u64>) -> String {
        let sequence = sequence.unwrap_or(signed_at);
        format!("timestamp:{signed_at}\tfile:SHA256SUMS\thashed\tbundle:{name}\tsequence:{sequence}")
    }

    pub(super) fn parse(comment: &str) -> Self {
        let field = |name: &str| comment.split('\t').find_map(|field| field.strip_prefix(name)?.strip_prefix(':'));
        let signed_at = field("timestamp").and_then(|text| text.parse().ok());
        let sequence = match field("sequence") {
            Some(text) => text.parse().ok(),
            None => signed_at,
        };
        let name = field("bundle").and_then(|text| text.parse().ok());
        Self { text: comment.chars().take(MAX_SHOWN).collect(), signed_at, name, sequence }
    }
}
