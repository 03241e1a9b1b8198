//! One file a target: answers and images to files.

pub(super) mod ansible;
pub(super) mod compose;
mod host;
pub(super) mod infra;
pub(super) mod kubernetes;
pub(super) mod machine;
pub(super) mod mirrors;
pub(super) mod provider;
pub(super) mod run;
pub(super) mod script;
pub(super) mod units;

use crate::render::answers::Answers;
use crate::render::env_file::{EnvName, EnvValue, env_file_text};
use crate::render::environment::agent_variables;
use crate::render::error::RenderError;
use crate::render::images::{PrivateImage, PrivateImages};
use crate::render::quote::posix_line;
use crate::render::rendered::{FileMode, RenderedFile};
use crate::render::template::{Template, text};
use crate::render::values::{ContainerEngine, ContainerName, EngineSocket, Pin, Volume};

const AGENT: Template<'_> = Template { name: "agent.argv", text: include_str!("../../../templates/agent.argv") };

/// One agent on one host, as every target for a container engine needs it.
pub(super) struct Agent<'a> {
    answers: &'a Answers,
    images: &'a PrivateImages,
    image: &'a PrivateImage,
    name: &'a ContainerName,
    variables: Vec<(EnvName, EnvValue)>,
}

/// Whether an agent's command goes on by itself, or stays in the foreground of what started it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Runs {
    Detached,
    Supervised,
}

impl<'a> Agent<'a> {
    /// The agent of these answers; the table of targets has seen to its name.
    pub(super) fn new(answers: &'a Answers, images: &'a PrivateImages) -> Result<Self, RenderError> {
        Ok(Self {
            answers,
            images,
            image: images.agent(answers.image.as_ref())?,
            name: answers.name.as_ref().expect("targets for an engine need a name"),
            variables: agent_variables(answers, images.target().registry().as_str())?,
        })
    }

    fn reference(&self) -> String {
        self.image.reference(self.answers.pin)
    }

    fn digest(&self) -> String {
        self.image.digest.to_string()
    }

    /// The words of `docker run` or `podman run`.
    fn arguments(&self, engine: ContainerEngine, runs: Runs, env_file: &str) -> Result<Vec<String>, RenderError> {
        AGENT.arguments(&[
            ("engine", text(engine.program())),
            ("detached", (runs == Runs::Detached).into()),
            ("restart", text(engine.restart_policy())),
            ("name", text(&self.name.to_string())),
            ("volumes", self.volumes(engine).iter().map(Volume::as_str).collect()),
            ("env_file", text(env_file)),
            ("run_options", self.answers.run_options.iter().map(String::as_str).collect()),
            ("image", text(&self.reference())),
        ])
    }

    /// The engine's socket on the host, unless it is withheld.
    fn socket(&self, engine: ContainerEngine) -> Option<&'static str> {
        match self.answers.socket {
            EngineSocket::Mounted => Some(engine.socket()),
            EngineSocket::Withheld => None,
        }
    }

    /// The engine's socket unless it is withheld, and what was asked for.
    fn volumes(&self, engine: ContainerEngine) -> Vec<Volume> {
        let socket = self.socket(engine).map(|socket| Volume::of(socket, ContainerEngine::Docker.socket()));
        socket.into_iter().chain(self.answers.volumes.iter().cloned()).collect()
    }

    /// The env-file, which alone holds what may be secret.
    fn env_file(&self) -> RenderedFile {
        RenderedFile::new(format!("{}.env", self.name), FileMode::Secret, env_file_text(&self.variables))
    }

    /// The path of the env-file on the host: as asked, or below `/etc`.
    fn env_path(&self) -> String {
        self.answers.env_file.clone().unwrap_or_else(|| format!("/etc/octobundle/{}.env", self.name))
    }

    /// The registry's authority, where an engine looks for it below its own folder.
    fn authority(&self) -> Option<RenderedFile> {
        let host = self.images.target().registry();
        let authority = self.answers.authority.as_ref()?;
        Some(RenderedFile::new(format!("certs.d/{host}/ca.crt"), FileMode::Plain, authority.as_str().to_owned()))
    }

    /// That somebody has to log in first, where nothing that is rendered does.
    fn login_note(&self, engine: ContainerEngine) -> Option<String> {
        let user = self.answers.registry_login.user.as_ref()?;
        let login = ["login", "--username", user.expose(), self.images.target().registry().as_str()];
        let words: Vec<String> = [engine.program()].into_iter().chain(login).map(str::to_owned).collect();
        Some(format!("Log in once on the host, as the user that starts the agent: `{}`.", posix_line(&words)))
    }

    /// What is true of an agent wherever it runs.
    fn notes(&self, engine: ContainerEngine) -> Vec<String> {
        let answers = self.answers;
        let mut notes = agent_notes(answers);
        if answers.authority.is_some() {
            let (host, folder) = (self.images.target().registry(), engine.certificates());
            notes.push(format!(
                "For {} to trust the registry, put the authority's certificate at `{folder}/{host}/ca.crt`.",
                engine.program()
            ));
        }
        if answers.pin == Pin::Tag {
            notes.push(format!("In the bundle the image is {}; `--pin digest` names it so.", self.image.digest));
        }
        notes
    }
}

/// What brings a container back when its host has started anew.
fn boot_note(engine: ContainerEngine) -> Option<String> {
    (engine == ContainerEngine::Podman).then(|| {
        "When the host starts anew, podman brings the agent back if `systemctl enable podman-restart.service` was run; its socket needs `systemctl enable --now podman.socket`.".to_owned()
    })
}

/// What is true of an agent wherever it runs.
pub(super) fn agent_notes(answers: &Answers) -> Vec<String> {
    let mut notes = vec![
        "One agent a host; its name in OctoPerf, its provider and its region are inside the token.".to_owned(),
        "The agent fetches load generators when a test starts, from the registry that its provider names: push them too, and set Registry in the provider's form.".to_owned(),
    ];
    if answers.auto_update.as_ref().is_none_or(|update| update.enabled) {
        notes.push(
            "The agent upgrades itself unless told otherwise: push the new image before the server is upgraded.".into(),
        );
    }
    if answers.socket == EngineSocket::Withheld {
        notes.push(
            "Without the engine's socket the agent starts no load generators and must be upgraded by hand.".into(),
        );
    }
    if answers.server_url.as_ref().is_some_and(crate::render::ServerUrl::is_plain) {
        notes.push("The server's address is plain http: the token crosses the network unprotected.".to_owned());
    }
    notes
}
