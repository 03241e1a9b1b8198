//! The file that `docker run --env-file` reads: one `NAME=value` a line, without any quoting.
//!
//! docker takes a value as it stands; podman from 4.7 on gives a leading quote and blanks at the ends a meaning of
//! their own (podman issue 18724 and pull request 19096). What not all of them read alike is refused.

use std::fmt;

use zeroize::Zeroizing;

use crate::render::error::{AGENT_TOKEN, RenderError};
use crate::wording::is_harmless;

/// Both engines read lines of at most 64 KiB (Go's `bufio.Scanner`); half of it leaves room for the name.
const MAX_VALUE: usize = 32 * 1024;
const MAX_NAME: usize = 256;

/// A value of a variable, which may be a secret: it cannot be shown, and leaves memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvValue(Zeroizing<String>);

impl EnvValue {
    /// Takes text that every engine reads back as it is. `what` names the value in errors, which never repeat it.
    pub fn parse(what: &str, text: &str) -> Result<Self, RenderError> {
        refuse_control("value of a variable", text)?;
        if text.len() > MAX_VALUE {
            return Err(RenderError::TooLong { what: "value of a variable", limit: MAX_VALUE });
        }
        let fault = if text.trim() != text {
            Some("starts or ends with a blank")
        } else if text.starts_with(['"', '\'', '`']) {
            Some("starts with a quote")
        } else {
            None
        };
        match fault {
            Some(fault) => Err(RenderError::EnvValue { what: what.to_owned(), fault }),
            None => Ok(Self(Zeroizing::new(text.to_owned()))),
        }
    }
}

impl EnvValue {
    /// The text, for what is a secret itself.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the text begins so.
    pub(super) fn starts_with(&self, prefix: &str) -> bool {
        self.0.starts_with(prefix)
    }

    /// Whether it is this text.
    pub(super) fn is(&self, text: &str) -> bool {
        *self.0 == text
    }

    /// Whether a blank is in it.
    pub(super) fn has_blank(&self) -> bool {
        self.0.contains(char::is_whitespace)
    }

    /// Its parts between blanks.
    pub(super) fn words(&self) -> Result<Vec<Self>, RenderError> {
        self.0.split_whitespace().map(|word| Self::parse("part of a variable", word)).collect()
    }

    /// Several values as one, with blanks between; none of them may contain a blank.
    pub(super) fn joined(values: &[Self]) -> Result<Self, RenderError> {
        if values.iter().any(Self::has_blank) {
            return Err(RenderError::JavaOption);
        }
        let mut all = Zeroizing::new(String::with_capacity(values.iter().map(|value| value.0.len() + 1).sum()));
        for value in values {
            if !all.is_empty() {
                all.push(' ');
            }
            all.push_str(&value.0);
        }
        Self::parse("JAVA_OPTS", &all)
    }
}

impl fmt::Debug for EnvValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// The token of one agent, as the server made it. Opaque; cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentToken(EnvValue);

impl AgentToken {
    /// Takes a token as it stands in a file: one line break at the end belongs to the file and not to the token.
    pub fn from_file(content: &str) -> Result<Self, RenderError> {
        let text = content.strip_suffix('\n').unwrap_or(content);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err(RenderError::Empty { what: "agent token" });
        }
        refuse_control("agent token", text)?;
        EnvValue::parse(AGENT_TOKEN, text).map(Self)
    }

    pub(super) fn into_value(self) -> EnvValue {
        self.0
    }
}

/// The name of a variable. Dots are allowed: they work in an env-file, and OctoPerf has used them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EnvName(String);

impl EnvName {
    /// Letters, digits, `_` and `.`, not led by a digit or a dot.
    pub fn parse(text: &str) -> Result<Self, RenderError> {
        let leads = |c: char| c.is_ascii_alphabetic() || c == '_';
        let sound = text.len() <= MAX_NAME
            && text.starts_with(leads)
            && text.chars().all(|c| leads(c) || c.is_ascii_digit() || c == '.');
        if sound { Ok(Self(text.to_owned())) } else { Err(RenderError::EnvName(text.chars().take(40).collect())) }
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The content of an env-file, in the order given. Holds secrets.
pub(super) fn env_file_text(variables: &[(EnvName, EnvValue)]) -> Zeroizing<String> {
    // Room for all from the start: text that grows leaves copies of itself in memory.
    let room = variables.iter().map(|(name, value)| name.0.len() + value.0.len() + 2).sum();
    let mut content = Zeroizing::new(String::with_capacity(room));
    for (name, value) in variables {
        for part in [name.as_str(), "=", value.0.as_str(), "\n"] {
            content.push_str(part);
        }
    }
    content
}

/// Refuses C0, DEL and C1: NUL ends arguments, line breaks end lines, ESC and its kin drive terminals; and what cannot
/// be seen, by which a line reads otherwise than it is.
pub(super) fn refuse_control(what: &'static str, text: &str) -> Result<(), RenderError> {
    match text.chars().find(|&c| c.is_control() || !is_harmless(c)) {
        Some(found) => Err(RenderError::Control { what, character: found.escape_unicode().to_string() }),
        None => Ok(()),
    }
}
