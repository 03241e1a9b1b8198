//! A template of the user's own, in place of ours.

use minijinja::Value;

use crate::render::answers::Answers;
use crate::render::env_file::env_file_text;
use crate::render::environment::agent_variables;
use crate::render::error::RenderError;
use crate::render::images::{PrivateImage, PrivateImages};
use crate::render::rendered::{FileMode, Rendered, RenderedFile};
use crate::render::targets::agent_notes;
use crate::render::template::{Template, text};

/// Fills in a template that a user brought. Its file's ending says how values are quoted.
///
/// No secret is among its values: of variables it gets the names. What they hold goes into `NAME.env`, which is
/// rendered beside it where a token was given.
pub fn render_template(
    name: &str,
    template: &str,
    answers: &Answers,
    images: &PrivateImages,
) -> Result<Rendered, RenderError> {
    let agent = images.agent(answers.image.as_ref()).ok();
    let variables = agent_variables(answers, images.target().registry().as_str())?;
    let image = |image: &PrivateImage| {
        Value::from_pairs([
            ("name", image.reference(answers.pin)),
            ("source", image.source.to_string()),
            ("digest", image.digest.to_string()),
            ("role", image.role.clone()),
        ])
    };
    let mut values = vec![
        ("registry", text(&images.target().to_string())),
        ("engine", text(answers.engine.program())),
        ("images", images.iter().map(image).collect()),
        ("variable_names", variables.iter().map(|(name, _)| text(name.as_str())).collect()),
        ("volumes", answers.volumes.iter().map(|volume| text(volume.as_str())).collect()),
    ];
    let known = [
        ("name", answers.name.as_ref().map(ToString::to_string)),
        ("server_url", answers.server_url.as_ref().map(ToString::to_string)),
        ("heap", answers.heap.as_ref().map(ToString::to_string)),
        ("env_file", answers.env_file.clone().or(answers.name.as_ref().map(|name| format!("{name}.env")))),
        ("image", agent.map(|agent| agent.reference(answers.pin))),
        ("digest", agent.map(|agent| agent.digest.to_string())),
    ];
    values.extend(known.iter().filter_map(|(key, value)| Some((*key, text(value.as_ref()?)))));
    let filled = Template { name, text: template }.fill(&values)?;
    let file = name.strip_suffix(".j2").unwrap_or(name);
    let env_file = answers.name.as_ref().filter(|_| answers.token.is_some()).map(|name| format!("{name}.env"));
    if file.contains(['/', '\\']) || env_file.as_deref() == Some(file) {
        let reason = "its name is no plain file name, or the env-file's".to_owned();
        return Err(RenderError::Template { name: name.to_owned(), reason });
    }
    let mut files = vec![RenderedFile::new(file, FileMode::Plain, filled)];
    files.extend(env_file.map(|name| RenderedFile::new(name, FileMode::Secret, env_file_text(&variables))));
    Ok(Rendered {
        files,
        arguments: None,
        agent: agent.map(|agent| agent.reference(answers.pin)),
        images: images.iter().map(|image| image.reference(answers.pin)).collect(),
        notes: agent_notes(answers),
    })
}
