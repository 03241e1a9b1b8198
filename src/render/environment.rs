//! The variables that an agent is started with.

use zeroize::Zeroizing;

use crate::render::answers::{Answers, RegistryLogin};
use crate::render::env_file::{EnvName, EnvValue};
use crate::render::error::{AGENT_TOKEN, RenderError};

const SERVER_URL: &str = "SERVER_URL";
pub(super) const JAVA_OPTS: &str = "JAVA_OPTS";
const DEBUG: &str = "-Dorg.slf4j.simpleLogger.defaultLogLevel=debug";

/// The variables, each once: token and server first, `JAVA_OPTS` merged into one, further ones in the order given.
/// Without a token its variable is left out. Any value may be a secret.
pub(super) fn agent_variables(answers: &Answers, registry: &str) -> Result<Vec<(EnvName, EnvValue)>, RenderError> {
    let named = |name: &str, value: EnvValue| Ok((EnvName::parse(name)?, value));
    let mut variables = Vec::new();
    if let Some(token) = &answers.token {
        variables.push(named(AGENT_TOKEN, token.clone().into_value())?);
    }
    if let Some(url) = &answers.server_url {
        variables.push(named(SERVER_URL, EnvValue::parse(SERVER_URL, url.as_str())?)?);
    }
    if let Some(options) = java_options(answers, registry)? {
        variables.push(named(JAVA_OPTS, options)?);
    }
    let proxy = &answers.proxy;
    for (name, value) in [("HTTP_PROXY", &proxy.http), ("HTTPS_PROXY", &proxy.https), ("NO_PROXY", &proxy.no_proxy)] {
        if let Some(value) = value {
            variables.push(named(name, value.clone())?);
        }
    }
    if let Some(update) = &answers.auto_update {
        let value = if update.enabled { "true" } else { "false" };
        variables.push((update.variable.clone(), EnvValue::parse("auto-update", value)?));
    }
    variables.extend(answers.variables.iter().filter(|(name, _)| name.as_str() != JAVA_OPTS).cloned());
    each_once(variables)
}

/// The variables that were given, each once, for what is no agent.
pub(super) fn given_variables(answers: &Answers) -> Result<Vec<(EnvName, EnvValue)>, RenderError> {
    each_once(answers.variables.clone())
}

fn each_once(variables: Vec<(EnvName, EnvValue)>) -> Result<Vec<(EnvName, EnvValue)>, RenderError> {
    for (place, (name, _)) in variables.iter().enumerate() {
        if variables[..place].iter().any(|(earlier, _)| earlier == name) {
            return Err(RenderError::EnvTwice(name.as_str().to_owned()));
        }
    }
    Ok(variables)
}

/// One `JAVA_OPTS` of everything that goes into it; a variable of that name comes first, so that what was asked for
/// by an option of its own wins.
fn java_options(answers: &Answers, registry: &str) -> Result<Option<EnvValue>, RenderError> {
    let mut all: Vec<EnvValue> = Vec::new();
    let given = answers.variables.iter().filter(|(name, _)| name.as_str() == JAVA_OPTS);
    for (_, value) in given {
        all.extend(value.words()?);
    }
    all.extend(answers.java_options.iter().cloned());
    if let Some(heap) = &answers.heap {
        // Java takes the last of several, but a person who reads two does not know which.
        all.retain(|option| !option.starts_with("-Xmx"));
        all.push(EnvValue::parse("heap", &format!("-Xmx{heap}"))?);
    }
    if answers.debug && !all.iter().any(|option| option.is(DEBUG)) {
        all.push(EnvValue::parse("debug", DEBUG)?);
    }
    all.extend(login_properties(&answers.registry_login, registry)?);
    if all.is_empty() { Ok(None) } else { EnvValue::joined(&all).map(Some) }
}

/// The login of the load generators' registry as options of the agent's Java.
fn login_properties(login: &RegistryLogin, registry: &str) -> Result<Vec<EnvValue>, RenderError> {
    let registry = EnvValue::parse("registry", registry)?;
    let pairs = [
        ("registry-user", &login.user_property, login.user.as_ref()),
        ("registry-password", &login.password_property, login.password.as_ref()),
        ("registry-host", &login.host_property, login.host_property.as_ref().map(|_| &registry)),
    ];
    let mut options = Vec::new();
    for (what, property, value) in pairs {
        // A user and a password without properties are for the engine's own login.
        let Some(property) = property else { continue };
        let value = value.ok_or(RenderError::PropertyWithoutValue { what })?;
        let option = Zeroizing::new(format!("-D{}={}", property.as_str(), value.expose()));
        options.push(EnvValue::parse(what, &option)?);
    }
    Ok(options)
}
