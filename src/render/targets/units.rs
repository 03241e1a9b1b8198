//! An agent under systemd: a unit that runs docker or podman, or a Quadlet, from which podman makes the unit.

use minijinja::Value;

use crate::render::answers::Answers;
use crate::render::error::RenderError;
use crate::render::images::PrivateImages;
use crate::render::rendered::{FileMode, Rendered, RenderedFile};
use crate::render::targets::{Agent, Runs};
use crate::render::template::{Template, text};
use crate::render::values::{ContainerEngine, EngineSocket, Volume};

const UNIT: Template<'_> = Template { name: "agent.service", text: include_str!("../../../templates/agent.service") };
const QUADLET: Template<'_> =
    Template { name: "agent.container", text: include_str!("../../../templates/agent.container") };

/// A unit that keeps `docker run` or `podman run` in its foreground.
pub(in crate::render) fn systemd(answers: &Answers, images: &PrivateImages) -> Result<Rendered, RenderError> {
    let agent = Agent::new(answers, images)?;
    let arguments = agent.arguments(answers.engine, Runs::Supervised, &agent.env_path())?;
    let mut values = unit_values(&agent, answers.engine);
    values.push(("arguments", arguments.into_iter().collect()));
    let unit = RenderedFile::new(format!("{}.service", agent.name), FileMode::Plain, UNIT.fill(&values)?);
    Ok(rendered(&agent, answers.engine, unit, "/etc/systemd/system"))
}

/// A Quadlet.
pub(in crate::render) fn quadlet(answers: &Answers, images: &PrivateImages) -> Result<Rendered, RenderError> {
    let agent = Agent::new(answers, images)?;
    let engine = ContainerEngine::Podman;
    let mut values = unit_values(&agent, engine);
    values.extend([
        ("image", text(&agent.reference())),
        ("env_file", text(&agent.env_path())),
        ("volumes", agent.volumes(engine).iter().map(Volume::as_str).collect()),
    ]);
    let unit = RenderedFile::new(format!("{}.container", agent.name), FileMode::Plain, QUADLET.fill(&values)?);
    let mut rendered = rendered(&agent, engine, unit, "/etc/containers/systemd");
    rendered.notes.insert(0, "Quadlets need podman 4.4 or newer.".into());
    Ok(rendered)
}

fn unit_values(agent: &Agent<'_>, engine: ContainerEngine) -> Vec<(&'static str, Value)> {
    let needed = match (engine, agent.answers.socket) {
        (ContainerEngine::Docker, _) => "docker.service",
        (ContainerEngine::Podman, EngineSocket::Mounted) => "podman.socket",
        (ContainerEngine::Podman, EngineSocket::Withheld) => "",
    };
    vec![
        ("engine", text(engine.program())),
        ("engine_unit", text(needed)),
        ("name", text(&agent.name.to_string())),
        ("digest", text(&agent.digest())),
    ]
}

fn rendered(agent: &Agent<'_>, engine: ContainerEngine, unit: RenderedFile, folder: &str) -> Rendered {
    let (program, env_path) = (engine.program(), agent.env_path());
    let mut notes = vec![
        format!(
            "Copy `{}` to `{folder}` and `{}.env` to `{env_path}` (mode 0600, owner root).",
            unit.name(),
            agent.name
        ),
        format!("`{env_path}` holds the token and is read at every start. `{program} inspect` shows what it holds."),
    ];
    if agent.answers.auto_update.as_ref().is_none_or(|update| update.enabled) {
        notes.push("The unit starts the image that it names: an agent that upgrades itself leaves the unit, so turn its auto-update off and change the unit instead.".into());
    }
    notes.extend(agent.notes(engine));
    notes.extend(agent.login_note(engine));
    let mut files = vec![unit, agent.env_file()];
    files.extend(agent.authority());
    Rendered { files, arguments: None, agent: Some(agent.reference()), images: vec![agent.reference()], notes }
}
