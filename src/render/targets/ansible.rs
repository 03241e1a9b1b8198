//! A playbook for a fleet: everything but the tokens, which each host has for itself.

use minijinja::Value;

use crate::render::answers::Answers;
use crate::render::error::RenderError;
use crate::render::images::PrivateImages;
use crate::render::rendered::{FileMode, Rendered, RenderedFile};
use crate::render::targets::host::HostFiles;
use crate::render::template::{Template, text};

const PLAYBOOK: Template<'_> =
    Template { name: "ansible-playbook.yaml", text: include_str!("../../../templates/ansible-playbook.yaml") };
const INVENTORY: &str = include_str!("../../../templates/ansible-inventory.yaml");
/// What all agents have in common; a host's token comes to it.
const VARIABLES: &str = "agent-variables.env";

pub(in crate::render) fn render(answers: &Answers, images: &PrivateImages) -> Result<Rendered, RenderError> {
    let files = HostFiles::new(answers, images)?;
    let copied = [&files.script].into_iter().chain(&files.others).map(|file| text(file.name()));
    let playbook = PLAYBOOK.fill(&[
        ("engine", text(answers.engine.program())),
        ("name", text(&files.name())),
        ("script", text(files.script.name())),
        ("variables", text(VARIABLES)),
        ("env_file", text(files.variables.name())),
        ("files", Value::from(copied.collect::<Vec<_>>())),
    ])?;
    let mut all = vec![
        RenderedFile::new("agents.yaml", FileMode::Plain, playbook),
        RenderedFile::new("inventory.yaml", FileMode::Plain, INVENTORY.to_owned()),
        RenderedFile::new(VARIABLES, FileMode::Secret, files.variables.content().to_owned()),
        files.script.clone(),
    ];
    all.extend(files.others.iter().cloned());
    Ok(Rendered {
        files: all,
        arguments: None,
        agent: Some(files.image()),
        images: vec![files.image()],
        notes: files.notes(&[
                "`inventory.yaml` is a sample: give each host a line, and its own token in a file of mode 0600; a token belongs to one agent.",
        ]),
    })
}
