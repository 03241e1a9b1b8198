//! Values as they must be written where they land: one file a destination.
//!
//! Values are free of control characters by their types; certificates alone have line breaks.

mod cmd;
mod powershell;
mod ruby;
mod sh;
mod systemd;
mod toml;
mod yaml;

use std::borrow::Cow;

use crate::render::error::RenderError;

pub(super) use sh::posix_line;

/// By whose rules a value is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quoting {
    /// As it is: for arguments that are quoted afterwards, and for prose.
    Plain,
    /// One word of a POSIX shell.
    Sh,
    /// One string of PowerShell, which expands nothing in it.
    PowerShell,
    /// One argument in a batch file of cmd.
    Cmd,
    /// One word of a command line in a systemd unit.
    Systemd,
    /// Text in a systemd unit that is no command line, such as a description.
    SystemdText,
    /// A value of a Quadlet: as it is, and refused if podman or systemd would read anything into it.
    Quadlet,
    /// One scalar of YAML.
    Yaml,
    /// One scalar of a compose file, where `$` begins a variable.
    Compose,
    /// One scalar of YAML in which Kubernetes would expand `$(NAME)`: variables, commands and arguments.
    KubernetesEnv,
    /// The value of a line of an env-file.
    EnvFile,
    /// One string of TOML.
    Toml,
    /// One string of JSON.
    Json,
    /// One string of Ruby, which expands nothing in it.
    Ruby,
}

impl Quoting {
    /// All.
    pub const ALL: [Self; 14] = [
        Self::Plain,
        Self::Sh,
        Self::PowerShell,
        Self::Cmd,
        Self::Systemd,
        Self::SystemdText,
        Self::Quadlet,
        Self::Yaml,
        Self::Compose,
        Self::KubernetesEnv,
        Self::EnvFile,
        Self::Toml,
        Self::Json,
        Self::Ruby,
    ];

    /// Its name as a filter of templates.
    pub fn key(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Sh => "sh",
            Self::PowerShell => "powershell",
            Self::Cmd => "cmd",
            Self::Systemd => "systemd",
            Self::SystemdText => "systemd_text",
            Self::Quadlet => "quadlet",
            Self::Yaml => "yaml",
            Self::Compose => "compose",
            Self::KubernetesEnv => "kubernetes_env",
            Self::EnvFile => "env_file",
            Self::Toml => "toml",
            Self::Json => "json",
            Self::Ruby => "ruby",
        }
    }

    /// The rules of a file, by the ending of its name; `.j2` behind it is left out.
    pub fn of_file(name: &str) -> Option<Self> {
        let name = name.strip_suffix(".j2").unwrap_or(name);
        let name = name.rsplit('/').next().unwrap_or(name);
        if name == "Vagrantfile" {
            return Some(Self::Ruby);
        }
        let (stem, ending) = name.rsplit_once('.')?;
        Some(match ending {
            "argv" | "txt" | "md" | "cfg" | "ini" => Self::Plain,
            "sh" => Self::Sh,
            "ps1" => Self::PowerShell,
            "cmd" | "bat" => Self::Cmd,
            "service" => Self::Systemd,
            "container" => Self::Quadlet,
            "yaml" | "yml" if stem.contains("compose") => Self::Compose,
            "yaml" | "yml" => Self::Yaml,
            "env" => Self::EnvFile,
            "toml" | "conf" => Self::Toml,
            "json" => Self::Json,
            "rb" => Self::Ruby,
            _ => return None,
        })
    }

    /// What to say of a file whose rules are not known.
    pub(super) fn unknown_ending() -> String {
        "its ending does not say how values are quoted: one of `.sh`, `.ps1`, `.cmd`, `.service`, `.container`, `.yaml`, `.env`, `.toml`, `.json`, `.rb`, or `.txt` for no quoting".into()
    }

    /// The value as it is written by these rules.
    pub fn quoted(self, text: &str) -> Result<String, RenderError> {
        Ok(match self {
            Self::Plain => text.to_owned(),
            Self::Sh => sh::quoted(text)?.into_owned(),
            Self::PowerShell => powershell::quoted(text),
            Self::Cmd => cmd::quoted(text)?,
            Self::Systemd => systemd::word(text),
            Self::SystemdText => systemd::text(text)?,
            Self::Quadlet => systemd::quadlet(text)?,
            Self::Yaml => yaml::scalar(text),
            Self::Compose | Self::KubernetesEnv => yaml::scalar(&doubled_dollars(text)),
            Self::EnvFile => env_file(text)?,
            Self::Toml => toml::string(text),
            Self::Json => serde_json::Value::from(text).to_string(),
            Self::Ruby => ruby::string(text),
        })
    }
}

/// Compose reads `$$` as `$`; so does Kubernetes, in a variable's value too.
fn doubled_dollars(text: &str) -> Cow<'_, str> {
    if text.contains('$') { text.replace('$', "$$").into() } else { text.into() }
}

fn env_file(text: &str) -> Result<String, RenderError> {
    crate::render::env_file::EnvValue::parse("value", text).map(|value| value.expose().to_owned())
}

fn refuse(file: &'static str, fault: &'static str) -> RenderError {
    RenderError::Unquotable { file, fault }
}
