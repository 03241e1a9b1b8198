//! The command that starts an agent, and the env-file that alone holds what may be secret.
//!
//! Its shape and variables are those of the vendor's documentation; `docs/facts.md` names the pages.

use crate::render::answers::Answers;
use crate::render::env_file::env_file_text;
use crate::render::environment::agent_variables;
use crate::render::error::RenderError;
use crate::render::images::{PrivateImage, PrivateImages};
use crate::render::quote::posix_line;
use crate::render::rendered::{FileMode, Rendered, RenderedFile};
use crate::render::template::{Template, text};
use crate::render::values::{ContainerEngine, EngineSocket, Pin, Volume};

const AGENT: Template = Template { name: "agent.argv", text: include_str!("../../../templates/agent.argv") };

pub(in crate::render) fn render(
    engine: ContainerEngine,
    answers: &Answers,
    images: &PrivateImages,
) -> Result<Rendered, RenderError> {
    let image = images.agent(answers.image.as_ref())?;
    let name = answers.name.as_ref().expect("it was checked that this target has a name");
    let env_file = answers.env_file.clone().unwrap_or_else(|| format!("{name}.env"));
    let arguments = run_arguments(engine, answers, image, &env_file)?;
    let variables = agent_variables(answers, images.target().registry().as_str())?;
    let reference = image.reference(answers.pin);
    Ok(Rendered {
        files: vec![
            RenderedFile::new(format!("start-{name}.sh"), FileMode::Program, start_script(&arguments, image)),
            RenderedFile::new(format!("{name}.env"), FileMode::Secret, env_file_text(&variables)),
        ],
        arguments: Some(arguments),
        agent: Some(reference.clone()),
        images: vec![reference],
        notes: notes(engine, answers, image, &env_file),
    })
}

/// The words of `docker run` or `podman run`.
pub(in crate::render) fn run_arguments(
    engine: ContainerEngine,
    answers: &Answers,
    image: &PrivateImage,
    env_file: &str,
) -> Result<Vec<String>, RenderError> {
    let name = answers.name.as_ref().map(ToString::to_string).unwrap_or_default();
    let volumes: Vec<String> = volumes(engine, answers).iter().map(|volume| volume.as_str().to_owned()).collect();
    AGENT.arguments(&[
        ("engine", text(engine.program())),
        ("name", text(&name)),
        ("volumes", minijinja::Value::from(volumes)),
        ("env_file", text(env_file)),
        ("image", text(&image.reference(answers.pin))),
    ])
}

/// The agent's volumes: the engine's socket unless it is withheld, and what was asked for.
pub(in crate::render) fn volumes(engine: ContainerEngine, answers: &Answers) -> Vec<Volume> {
    let socket = match answers.socket {
        EngineSocket::Mounted => Some(Volume::of(engine.socket(), ContainerEngine::Docker.socket())),
        EngineSocket::Withheld => None,
    };
    socket.into_iter().chain(answers.volumes.iter().cloned()).collect()
}

fn start_script(arguments: &[String], image: &PrivateImage) -> String {
    format!("#!/bin/sh\n# The image is {} in the bundle.\nexec {}\n", image.digest, posix_line(arguments))
}

fn notes(engine: ContainerEngine, answers: &Answers, image: &PrivateImage, env_file: &str) -> Vec<String> {
    let program = engine.program();
    let mut notes = vec![format!(
        "`{env_file}` holds the token: keep it at mode 0600; {program} reads it once, so it can be removed when the agent runs. `{program} inspect` still shows what it held.",
    )];
    notes.extend(agent_notes(answers));
    if answers.pin == Pin::Tag {
        notes.push(format!("In the bundle the image is {}; `--pin digest` names it so.", image.digest));
    }
    notes
}

/// What is true of an agent wherever it runs.
pub(in crate::render) fn agent_notes(answers: &Answers) -> Vec<String> {
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
