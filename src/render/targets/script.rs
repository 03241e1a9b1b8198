//! One shell script that installs an agent on a host, changes it, and takes it away again.

use minijinja::Value;

use crate::oci::Digest;
use crate::render::answers::Answers;
use crate::render::env_file::{EnvValue, env_file_text};
use crate::render::error::{AGENT_TOKEN, RenderError};
use crate::render::images::PrivateImages;
use crate::render::quote::posix_line;
use crate::render::rendered::{FileMode, Rendered, RenderedFile};
use crate::render::targets::{Agent, Runs};
use crate::render::template::{Template, text};
use crate::render::values::Certificates;

const SCRIPT: Template<'_> =
    Template { name: "install-agent.sh", text: include_str!("../../../templates/install-agent.sh") };
const SERVER_URL: &str = "SERVER_URL";
const PROXIES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

/// The script. It is for its owner alone where it holds the token, a password, or a variable that may be a secret.
pub(in crate::render) fn render(answers: &Answers, images: &PrivateImages) -> Result<Rendered, RenderError> {
    let agent = Agent::new(answers, images)?;
    let env_path = agent.env_path();
    let engine = answers.engine;
    let arguments = agent.arguments(engine, Runs::Detached, &env_path)?;
    let revision = Digest::of(posix_line(&arguments).as_bytes());
    let login = &answers.registry_login;
    let password = login.password.as_ref().map(|password| password.expose().to_owned());
    let secret = password.is_some() || agent.variables.iter().any(|(name, _)| name.as_str() != SERVER_URL);
    let proxies = agent.variables.iter().filter(|(name, _)| PROXIES.contains(&name.as_str()));
    let proxies = proxies.map(|(name, value)| Value::from(vec![proxy_name(name.as_str()), value.expose().to_owned()]));
    let script = SCRIPT.fill(&[
        ("engine", text(engine.program())),
        ("name", text(&agent.name.to_string())),
        ("image", text(&agent.reference())),
        ("digest", text(&agent.digest())),
        ("registry", text(images.target().registry().as_str())),
        ("server_url", text(answers.server_url.as_ref().expect("the table of targets has seen to it").as_str())),
        ("revision", text(&revision.to_string())),
        ("registry_user", text(login.user.as_ref().map(EnvValue::expose).unwrap_or_default())),
        ("env_file", text(&env_path)),
        ("socket", text(agent.socket(engine).unwrap_or_default())),
        ("certificates", text(engine.certificates())),
        ("authority", text(answers.authority.as_ref().map(Certificates::as_str).unwrap_or_default())),
        ("variables", text(&env_file_text(&agent.variables))),
        ("proxies", proxies.collect()),
        ("password", text(password.as_deref().unwrap_or_default())),
        ("arguments", arguments.into_iter().collect()),
    ])?;
    let mode = if secret { FileMode::SecretProgram } else { FileMode::Program };
    let mut notes = Vec::new();
    if answers.token.is_none() {
        notes.push(format!("The script holds no token: it asks for `{AGENT_TOKEN}`, or takes `--token-file FILE`."));
    }
    if secret {
        notes.push(
            "The script holds what may be a secret: it is for its owner alone, and so must its copies be.".into(),
        );
    }
    notes.push(format!("On the host: `sh install-agent.sh`; `sh install-agent.sh --uninstall` takes away what it made. It writes `{env_path}` with mode 0600."));
    notes.extend(agent.notes(engine));
    Ok(Rendered {
        files: vec![RenderedFile::new("install-agent.sh", mode, script)],
        arguments: None,
        agent: Some(agent.reference()),
        images: vec![agent.reference()],
        notes,
    })
}

/// curl and wget read these in lower case.
fn proxy_name(variable: &str) -> String {
    variable.to_ascii_lowercase()
}
