//! An agent as a compose file, for docker-compose 1.27 and newer as for `docker compose`.
//!
//! Variables stand in `docker-compose.override.yml`, which is read by itself: an `env_file:` would be read in another
//! way by every version of compose, by quotes, `$` and comments of its own.

use minijinja::Value;

use crate::render::answers::Answers;
use crate::render::env_file::{EnvName, EnvValue};
use crate::render::error::RenderError;
use crate::render::images::PrivateImages;
use crate::render::rendered::{FileMode, Rendered, RenderedFile};
use crate::render::targets::Agent;
use crate::render::template::{Template, text};
use crate::render::values::Volume;

const COMPOSE: Template<'_> =
    Template { name: "agent-compose.yml", text: include_str!("../../../templates/agent-compose.yml") };
const VARIABLES: Template<'_> =
    Template { name: "variables-compose.yml", text: include_str!("../../../templates/variables-compose.yml") };

/// The compose file, and its override with the variables.
pub(in crate::render) fn render(answers: &Answers, images: &PrivateImages) -> Result<Rendered, RenderError> {
    let agent = Agent::new(answers, images)?;
    let volumes = agent.volumes(answers.engine);
    let compose = COMPOSE.fill(&[
        ("image", text(&agent.reference())),
        ("name", text(&agent.name.to_string())),
        ("digest", text(&agent.digest())),
        ("restart", text(answers.engine.restart_policy())),
        ("volumes", volumes.iter().map(Volume::as_str).collect()),
        ("named_volumes", named(&volumes)),
    ])?;
    let mut files = vec![
        RenderedFile::new("docker-compose.yml", FileMode::Plain, compose),
        variables_file("agent", &agent.variables)?,
    ];
    files.extend(agent.authority());
    let mut notes = vec![
        "`docker-compose.override.yml` holds the token: keep it at mode 0600. `docker-compose up -d` in this folder reads both files.".into(),
    ];
    notes.extend(agent.notes(answers.engine));
    notes.extend(agent.login_note(answers.engine));
    notes.extend(super::boot_note(answers.engine));
    Ok(Rendered { files, arguments: None, agent: Some(agent.reference()), images: vec![agent.reference()], notes })
}

/// The override that gives a service its variables.
pub(super) fn variables_file(service: &str, variables: &[(EnvName, EnvValue)]) -> Result<RenderedFile, RenderError> {
    let pairs = variables.iter().map(|(name, value)| Value::from(vec![text(name.as_str()), text(value.expose())]));
    let content = VARIABLES.fill(&[("service", text(service)), ("variables", pairs.collect())])?;
    Ok(RenderedFile::new("docker-compose.override.yml", FileMode::Secret, content))
}

/// The volumes that have a name and are no path, which compose wants to have declared.
pub(super) fn named(volumes: &[Volume]) -> Value {
    volumes.iter().filter_map(Volume::named_source).collect()
}
