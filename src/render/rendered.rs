//! What was rendered: files with their modes, and what the person who uses them should know.

use std::fmt;

use zeroize::Zeroizing;

use crate::render::quote::posix_line;

/// Who may read and run a file. A secret is readable for its owner alone, whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMode {
    /// 0644.
    Plain,
    /// 0755.
    Program,
    /// 0600: holds a secret, or what may be one.
    Secret,
    /// 0700: a program that holds a secret, or what may be one.
    SecretProgram,
}

impl FileMode {
    /// The permission bits.
    pub fn bits(self) -> u32 {
        match self {
            Self::Plain => 0o644,
            Self::Program => 0o755,
            Self::Secret => 0o600,
            Self::SecretProgram => 0o700,
        }
    }

    /// Whether its content must not be shown.
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::SecretProgram)
    }
}

/// One file.
#[derive(Clone, PartialEq, Eq)]
pub struct RenderedFile {
    name: String,
    mode: FileMode,
    content: Zeroizing<String>,
}

impl RenderedFile {
    /// A file of this name, which may be below folders (`haproxy/haproxy.cfg`).
    ///
    /// Panics if the name could lead out of the folder it is written to: names are made of ours and of parts whose
    /// grammar knows no slash.
    pub(super) fn new(name: impl Into<String>, mode: FileMode, content: impl Into<Zeroizing<String>>) -> Self {
        let name = name.into();
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        assert!(name.split('/').all(plain) && !name.contains(['\\', '\0']), "`{name}` is a relative path");
        Self { name, mode, content: content.into() }
    }

    /// Its path below the output folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its mode.
    pub fn mode(&self) -> FileMode {
        self.mode
    }

    /// Its text. Of a secret file it must not be shown.
    pub fn content(&self) -> &str {
        &self.content
    }
}

impl fmt::Debug for RenderedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:o}, {} bytes)", self.name, self.mode.bits(), self.content.len())
    }
}

/// All that one target gives.
#[derive(Debug, Clone, Default)]
pub struct Rendered {
    /// The files; the first one is what was asked for, the others are what it needs.
    pub files: Vec<RenderedFile>,
    /// The command's arguments, where the target is a command.
    pub arguments: Option<Vec<String>>,
    /// The agent's image, where there is one.
    pub agent: Option<String>,
    /// The images that are named in it, as references that engines read.
    pub images: Vec<String>,
    /// What the person who uses it should know, a sentence each.
    pub notes: Vec<String>,
}

impl Rendered {
    /// The command as a line for a POSIX shell, where the target is a command. Holds no secret.
    pub fn command_line(&self) -> Option<String> {
        self.arguments.as_deref().map(posix_line)
    }
}
