//! What to enter in OctoPerf itself.

use minijinja::Value;

use crate::render::answers::Answers;
use crate::render::error::RenderError;
use crate::render::images::PrivateImages;
use crate::render::rendered::{FileMode, Rendered, RenderedFile};
use crate::render::template::{Template, text};

const PROVIDER: Template<'_> = Template { name: "provider.txt", text: include_str!("../../../templates/provider.txt") };

pub(in crate::render) fn render(answers: &Answers, images: &PrivateImages) -> Result<Rendered, RenderError> {
    let names: Vec<String> = images
        .iter()
        .filter(|image| matches!(image.role.as_str(), "agent" | "load-generator" | "kubernetes-agent"))
        .map(|image| image.reference(answers.pin))
        .collect();
    let login = &answers.registry_login;
    let user = login.user.as_ref().map_or("USER", |user| user.expose());
    let options = [
        (&login.host_property, images.target().registry().as_str()),
        (&login.user_property, user),
        // Never the password itself: this text is read on screens.
        (&login.password_property, "PASSWORD"),
    ];
    let options = options.into_iter().filter_map(|(property, value)| Some((property.as_ref()?, value)));
    let options: Vec<Value> =
        options.map(|(property, value)| text(&format!("-D{}={value}", property.as_str()))).collect();
    let filled = PROVIDER.fill(&[
        ("place", text(&images.target().to_string())),
        ("images", Value::from(names.iter().map(|name| text(name)).collect::<Vec<_>>())),
        ("options", Value::from(options)),
    ])?;
    Ok(Rendered {
        files: vec![RenderedFile::new("provider.txt", FileMode::Plain, filled)],
        arguments: None,
        agent: None,
        images: names,
        notes: Vec::new(),
    })
}
