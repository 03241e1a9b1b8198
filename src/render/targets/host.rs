//! What a host needs to start an agent by itself: a script and the files beside it. Virtual machines, cloud images and
//! fleets carry these in ways of their own.

use minijinja::Value;

use crate::render::answers::Answers;
use crate::render::env_file::EnvValue;
use crate::render::error::RenderError;
use crate::render::images::PrivateImages;
use crate::render::quote::posix_line;
use crate::render::rendered::{FileMode, RenderedFile};
use crate::render::targets::{Agent, Runs};
use crate::render::template::{Template, text};

const START: Template<'_> =
    Template { name: "start-on-host.sh", text: include_str!("../../../templates/start-on-host.sh") };
/// The names that the script knows its files by.
const AUTHORITY: &str = "registry-ca.crt";
const PASSWORD: &str = "registry-password";
/// Where the files stand on a host; readable for root alone.
pub(super) const FOLDER: &str = "/etc/octoperf-agent";

/// The files, and the agent that they are about.
pub(super) struct HostFiles<'a> {
    /// The script that starts the agent from the other files, which stand beside it.
    pub(super) script: RenderedFile,
    /// The agent's variables. May hold secrets.
    pub(super) variables: RenderedFile,
    /// The registry's certificate authority and the password of the registry's user, if they were given.
    pub(super) others: Vec<RenderedFile>,
    agent: Agent<'a>,
}

impl<'a> HostFiles<'a> {
    /// The files for one agent, whose variables hold the token if it was given.
    pub(super) fn new(answers: &'a Answers, images: &'a PrivateImages) -> Result<Self, RenderError> {
        let agent = Agent::new(answers, images)?;
        let variables = agent.env_file();
        let command = agent.arguments(answers.engine, Runs::Detached, variables.name())?;
        let script = script(&agent, &posix_line(&command))?;
        Ok(Self {
            script: RenderedFile::new(format!("start-{}.sh", agent.name), FileMode::Program, script),
            variables,
            others: beside(answers),
            agent,
        })
    }

    /// All files, the script first.
    pub(super) fn all(&self) -> impl Iterator<Item = &RenderedFile> {
        [&self.script, &self.variables].into_iter().chain(&self.others)
    }

    /// The container's name.
    pub(super) fn name(&self) -> String {
        self.agent.name.to_string()
    }

    /// The image as it is named in the script.
    pub(super) fn image(&self) -> String {
        self.agent.reference()
    }

    /// What the person should know: `more`, and what is true of an agent on a host that starts it by itself.
    pub(super) fn notes(&self, more: &[&str]) -> Vec<String> {
        let answers = self.agent.answers;
        let mut notes: Vec<String> = more.iter().map(|&note| note.to_owned()).collect();
        notes.push(format!(
            "{} has to be on the machine: what installs it from the internet does not work on a closed site.",
            answers.engine.program()
        ));
        notes.extend(super::agent_notes(answers));
        notes
    }
}

/// The engine's own login and trust.
fn beside(answers: &Answers) -> Vec<RenderedFile> {
    let authority = answers.authority.as_ref();
    let authority = authority.map(|pem| RenderedFile::new(AUTHORITY, FileMode::Plain, pem.as_str().to_owned()));
    let login = answers.registry_login.user.as_ref().and(answers.registry_login.password.as_ref());
    let password = login.map(|word| RenderedFile::new(PASSWORD, FileMode::Secret, word.expose().to_owned()));
    authority.into_iter().chain(password).collect()
}

fn script(agent: &Agent<'_>, command: &str) -> Result<String, RenderError> {
    let (answers, registry) = (agent.answers, agent.images.target().registry());
    let login = &answers.registry_login;
    let user = login.user.as_ref().filter(|_| login.password.is_some());
    START.fill(&[
        ("engine", text(answers.engine.program())),
        ("name", text(&agent.name.to_string())),
        ("image", text(&agent.reference())),
        ("digest", text(&agent.digest())),
        ("command", text(command)),
        ("registry", text(registry.as_str())),
        ("authority", Value::from(answers.authority.is_some())),
        ("socket", text(agent.socket(answers.engine).unwrap_or_default())),
        ("trust", text(&format!("{}/{registry}", answers.engine.certificates()))),
        ("login", Value::from(user.is_some())),
        ("user", text(user.map(EnvValue::expose).unwrap_or_default())),
    ])
}
