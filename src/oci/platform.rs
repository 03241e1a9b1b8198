//! Operating system and processor of an image.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `os/architecture[/variant]`, as image indexes name it, with the usual second names folded
/// (`x86_64` is `amd64`, `aarch64` is `arm64`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// Text that is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no platform: expected `os/architecture` or `os/architecture/variant`, as in `linux/amd64`")]
pub struct BadPlatform(String);

impl Platform {
    /// A platform from its parts, as an image index or a configuration has them.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Result<Self, BadPlatform> {
        let shown = || BadPlatform(format!("{os}/{architecture}").chars().take(100).collect());
        let plain = |part: &str| {
            part.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
                && part.len() <= 64
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        let variant = variant.filter(|variant| !variant.is_empty());
        if !plain(os) || !plain(architecture) || !variant.is_none_or(plain) {
            return Err(shown());
        }
        let (architecture, variant) = folded(architecture.to_lowercase(), variant.map(str::to_lowercase));
        Ok(Self { os: os.to_lowercase(), architecture, variant })
    }

    /// `linux/amd64`, where OctoPerf's hosts run.
    pub fn linux_amd64() -> Self {
        Self { os: "linux".into(), architecture: "amd64".into(), variant: None }
    }

    /// Whether an image made for `offered` is what this platform asks for. Without a variant any one will do.
    pub fn accepts(&self, offered: &Self) -> bool {
        self.os == offered.os
            && self.architecture == offered.architecture
            && (self.variant.is_none() || self.variant == offered.variant)
    }

    /// Whether it names a real machine: build attestations stand in indexes as `unknown/unknown`.
    pub fn is_known(&self) -> bool {
        self.os != "unknown"
    }

    /// The processor, as in `amd64`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The processor's variant, as in `v7`, where one is stated.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// The operating system, as in `linux`.
    pub fn os(&self) -> &str {
        &self.os
    }
}

/// The second names that uname and Docker use for the same processors; 64-bit arm is v8 unless it says more.
fn folded(architecture: String, variant: Option<String>) -> (String, Option<String>) {
    match (architecture.as_str(), variant.as_deref()) {
        ("x86_64" | "x86-64", _) => ("amd64".into(), variant),
        ("aarch64" | "arm64", None | Some("v8" | "8")) => ("arm64".into(), None),
        ("aarch64", _) => ("arm64".into(), variant),
        ("armhf", None) => ("arm".into(), Some("v7".into())),
        ("armel", None) => ("arm".into(), Some("v6".into())),
        ("i386" | "i686", _) => ("386".into(), variant),
        _ => (architecture, variant),
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Platform {
    type Err = BadPlatform;

    fn from_str(text: &str) -> Result<Self, BadPlatform> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [os, architecture] => Self::new(os, architecture, None),
            [os, architecture, variant] if !variant.is_empty() => Self::new(os, architecture, Some(variant)),
            _ => Err(BadPlatform(text.chars().take(100).collect())),
        }
    }
}

impl TryFrom<String> for Platform {
    type Error = BadPlatform;
    fn try_from(text: String) -> Result<Self, BadPlatform> {
        text.parse()
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_names_are_folded_and_nonsense_is_refused() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("Linux/AMD64", "linux/amd64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), shown, "{text}");
        }
        for text in ["", "linux", "linux/", "/amd64", "linux/arm/", "linux/arm/v7/x", "linux amd64", "../amd64/x"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_wish_without_variant_takes_any_and_one_with_variant_only_that() {
        let parse = |text: &str| text.parse::<Platform>().unwrap();
        assert!(parse("linux/arm").accepts(&parse("linux/arm/v7")));
        assert!(!parse("linux/arm/v6").accepts(&parse("linux/arm/v7")));
        assert!(parse("linux/arm64/v8").accepts(&parse("linux/arm64")));
        assert!(!parse("linux/amd64").accepts(&parse("windows/amd64")));
    }
}
