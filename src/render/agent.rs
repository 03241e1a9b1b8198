//! The command that starts an OctoPerf agent.
//!
//! Its shape and variables are those of the vendor's documentation; `docs/facts.md` names the pages.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::images::Lock;
use crate::oci::ImageRef;
use crate::plan::MirrorMap;
use crate::render::env_file::{AgentToken, EnvFile, EnvName, EnvValue, refuse_control};
use crate::render::error::{AGENT_TOKEN, RenderError};
use crate::render::shell::posix_line;
use crate::render::template::Template;

const AGENT: Template = Template { name: "agent.argv", text: include_str!("../../templates/agent.argv") };
/// The role that an agent's image has in a release manifest.
const AGENT_ROLE: &str = "agent";
const SERVER_URL: &str = "SERVER_URL";
const JAVA_OPTS: &str = "JAVA_OPTS";
/// Linux takes no longer path (`PATH_MAX`).
const MAX_PATH: usize = 4096;
/// No grammar limits a container's name; DNS limits the names that engines make of it.
const MAX_CONTAINER_NAME: usize = 253;
const MAX_SERVER_URL: usize = 2048;

/// Which engine's command line is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerEngine {
    /// `docker run`.
    Docker,
    /// `podman run`, which mounts podman's socket where the agent looks for docker's.
    Podman,
}

impl ContainerEngine {
    fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// A name as docker gives it to containers: at least two of `a-zA-Z0-9_.-`, led by a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerName(String);

impl FromStr for ContainerName {
    type Err = RenderError;

    fn from_str(text: &str) -> Result<Self, RenderError> {
        let sound = (2..=MAX_CONTAINER_NAME).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        if sound { Ok(Self(text.to_owned())) } else { Err(RenderError::ContainerName(text.chars().take(40).collect())) }
    }
}

/// Where the agent finds its server: an `http` or `https` address, kept as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    text: String,
    plain: bool,
}

impl FromStr for ServerUrl {
    type Err = RenderError;

    fn from_str(text: &str) -> Result<Self, RenderError> {
        let refuse = |reason| Err(RenderError::ServerUrl { reason });
        refuse_control("server address", text)?;
        if text.len() > MAX_SERVER_URL {
            return Err(RenderError::TooLong { what: "server address", limit: MAX_SERVER_URL });
        }
        if text.contains(char::is_whitespace) {
            return refuse("contains a blank");
        }
        // The parser repairs `https:/host` and back slashes; the agent's may not.
        let scheme = ["https://", "http://"].into_iter().find(|scheme| text.starts_with(scheme));
        let (Some(scheme), Ok(url)) = (scheme, Url::parse(text)) else {
            return refuse("does not read `https://HOST` or `http://HOST`");
        };
        if text.contains('\\') || url.host_str().is_none_or(str::is_empty) || text[scheme.len()..].starts_with('/') {
            return refuse("names no host");
        }
        if text.contains('@') {
            return refuse("contains a user or password, which the agent's token replaces");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("has a query or fragment; the plain address of the server is enough");
        }
        Ok(Self { text: text.to_owned(), plain: scheme == "http://" })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What an agent is started with.
#[derive(Debug, Clone)]
pub struct AgentRequest {
    /// Whose command line.
    pub engine: ContainerEngine,
    /// The image under its private name, from [`agent_image`].
    pub image: ImageRef,
    /// The container's name.
    pub name: ContainerName,
    /// The server.
    pub server_url: ServerUrl,
    /// The agent's token.
    pub token: AgentToken,
    /// Where the env-file will stand, as the command should name it.
    pub env_file: String,
    /// Options for the agent's Java, merged into one `JAVA_OPTS`. May hold secrets: OctoPerf takes the credentials of
    /// a private registry this way.
    pub java_options: Vec<EnvValue>,
    /// More variables.
    pub variables: Vec<(EnvName, EnvValue)>,
}

/// A command, and the file that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentCommand {
    /// The command's arguments, program first.
    pub arguments: Vec<String>,
    /// The same as a line for a POSIX shell. Holds no secret.
    pub command: String,
    /// What has to stand in the env-file, with mode 0600. Holds the token.
    pub env_file: EnvFile,
    /// What the person who runs it should know, a sentence each.
    pub notes: Vec<String>,
}

impl AgentRequest {
    /// The command and its env-file.
    pub fn render(self) -> Result<AgentCommand, RenderError> {
        refuse_bad_path(&self.env_file)?;
        let image = self.image.to_string();
        let values = [
            ("engine", self.engine.program()),
            ("name", &self.name.0),
            ("env_file", &self.env_file),
            // Always with its host: podman does not take a short name for one of Docker Hub.
            ("image", &image),
        ];
        let arguments = AGENT.arguments(&values)?;
        let command = posix_line(&arguments);
        let notes = self.notes();
        Ok(AgentCommand { arguments, command, env_file: self.into_env_file()?, notes })
    }

    fn into_env_file(self) -> Result<EnvFile, RenderError> {
        let mut variables = vec![
            (EnvName::parse(AGENT_TOKEN)?, self.token.into_value()),
            (EnvName::parse(SERVER_URL)?, EnvValue::parse(SERVER_URL, &self.server_url.text)?),
        ];
        if !self.java_options.is_empty() {
            variables.push((EnvName::parse(JAVA_OPTS)?, EnvValue::joined(&self.java_options)?));
        }
        variables.extend(self.variables);
        EnvFile::new(&variables)
    }

    fn notes(&self) -> Vec<String> {
        let program = self.engine.program();
        let mut notes = vec![
            format!(
                "`{}` holds the token: keep it at mode 0600; {program} reads it once, so it can be removed when the agent runs. `{program} inspect` still shows what it held.",
                self.env_file
            ),
            "One agent a host; its name in OctoPerf, its provider and its region are inside the token.".to_owned(),
            "The agent fetches load generators when a test starts, from the registry that its provider names: push them too, and set Registry in the provider's form.".to_owned(),
            "The agent upgrades itself unless told otherwise: push the new image before the server is upgraded.".to_owned(),
        ];
        if self.server_url.plain {
            notes.push("The server's address is plain http: the token crosses the network unprotected.".to_owned());
        }
        notes
    }
}

fn refuse_bad_path(path: &str) -> Result<(), RenderError> {
    let what = "path of the env-file";
    refuse_control(what, path)?;
    match path.len() {
        0 => Err(RenderError::Empty { what }),
        length if length > MAX_PATH => Err(RenderError::TooLong { what, limit: MAX_PATH }),
        _ => Ok(()),
    }
}

/// The agent's image under its private name: the one with the role `agent`, or the one that is `wanted` by the name it
/// has in the release.
pub fn agent_image<'a>(
    lock: &Lock,
    names: &'a MirrorMap,
    wanted: Option<&ImageRef>,
) -> Result<&'a ImageRef, RenderError> {
    let all = || lock.images.iter().map(|image| image.name.clone()).collect::<Vec<_>>();
    let image = if let Some(wanted) = wanted {
        let found = lock.images.iter().find(|image| image.name == *wanted);
        &found.ok_or_else(|| RenderError::NotInBundle { wanted: Box::new(wanted.clone()), images: all() })?.name
    } else {
        let agents: Vec<&ImageRef> =
            lock.images.iter().filter(|image| image.role == AGENT_ROLE).map(|image| &image.name).collect();
        match agents[..] {
            [] => return Err(RenderError::NoAgent { images: all() }),
            [one] => one,
            _ => return Err(RenderError::SeveralAgents { choices: agents.into_iter().cloned().collect() }),
        }
    };
    names.target_of(image).ok_or_else(|| RenderError::NotMapped(image.clone()))
}

#[cfg(test)]
mod tests;
