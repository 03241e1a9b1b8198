//! The command that starts an agent, and the env-file that alone holds what may be secret.
//!
//! Its shape and variables are those of the vendor's documentation; `docs/facts.md` names the pages.

use minijinja::Value;

use crate::render::answers::Answers;
use crate::render::error::RenderError;
use crate::render::images::PrivateImages;
use crate::render::quote::posix_line;
use crate::render::rendered::{FileMode, Rendered, RenderedFile};
use crate::render::targets::{Agent, Runs};
use crate::render::template::{Template, text};
use crate::render::values::ContainerEngine;

const START: Template<'_> =
    Template { name: "start-command.sh", text: include_str!("../../../templates/start-command.sh") };

pub(in crate::render) fn render(
    engine: ContainerEngine,
    answers: &Answers,
    images: &PrivateImages,
) -> Result<Rendered, RenderError> {
    let agent = Agent::new(answers, images)?;
    let env_file = answers.env_file.clone().unwrap_or_else(|| format!("{}.env", agent.name));
    let arguments = agent.arguments(engine, Runs::Detached, &env_file)?;
    let start = START.fill(&[
        ("digest", text(&agent.digest())),
        ("beside", Value::from(answers.env_file.is_none())),
        ("command", text(&posix_line(&arguments))),
    ])?;
    let program = engine.program();
    let mut notes = vec![format!(
        "`{env_file}` holds the token: keep it at mode 0600; {program} reads it once, so it can be removed when the agent runs. `{program} inspect` still shows what it held.",
    )];
    notes.extend(agent.notes(engine));
    notes.extend(agent.login_note(engine));
    notes.extend(super::boot_note(engine));
    let mut files =
        vec![RenderedFile::new(format!("start-{}.sh", agent.name), FileMode::Program, start), agent.env_file()];
    files.extend(agent.authority());
    Ok(Rendered {
        files,
        arguments: Some(arguments),
        agent: Some(agent.reference()),
        images: vec![agent.reference()],
        notes,
    })
}
