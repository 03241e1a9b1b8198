//! Which setting applies to which target. The table of `docs/render.md` is made from this one.

use std::collections::BTreeSet;

use crate::render::answers::{Answers, WrongAnswer};
use crate::render::environment::JAVA_OPTS;
use crate::render::error::RenderError;
use crate::render::setting::Setting;
use crate::render::target::{RenderTarget, Subject};
use crate::render::values::KubernetesName;

/// What a target makes of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It cannot be rendered without.
    Needed,
    /// It is rendered if it is given.
    Taken,
    /// It has no place there, for this reason.
    Unused(&'static str),
}

/// What a target makes of a setting.
pub fn usage(target: RenderTarget, setting: Setting) -> Use {
    // Where images are and in which form they are wanted is known before a target is asked.
    if matches!(setting, Setting::As | Setting::Registry | Setting::KeepHost) {
        return Use::Taken;
    }
    if let Some(usage) = of_few_targets(target, setting) {
        return usage;
    }
    match target {
        RenderTarget::Docker | RenderTarget::Podman | RenderTarget::Systemd => host_agent(setting),
        RenderTarget::Compose => match setting {
            Setting::EnvFile => Use::Unused("the variables stand in docker-compose.override.yml"),
            Setting::RunOption => Use::Unused("a compose file has other words for it"),
            _ => host_agent(setting),
        },
        RenderTarget::Quadlet => match setting {
            Setting::Engine => Use::Unused("a Quadlet is podman's"),
            Setting::RunOption => Use::Unused("a Quadlet has other words for it"),
            _ => host_agent(setting),
        },
        RenderTarget::Script => match setting {
            Setting::TokenFile => Use::Taken,
            _ => host_agent(setting),
        },
        RenderTarget::InfraCompose => infra(setting),
        RenderTarget::Vagrant | RenderTarget::CloudInit => on_a_host(setting),
        RenderTarget::Ansible => for_a_fleet(setting),
        RenderTarget::Kubernetes => kubernetes(setting),
        RenderTarget::Helm => helm(setting),
        RenderTarget::Mirrors => mirrors(setting),
        RenderTarget::Provider => provider(setting),
    }
}

/// Settings that mean something in one or two forms only.
fn of_few_targets(target: RenderTarget, setting: Setting) -> Option<Use> {
    let (place, reason) = match (setting, target) {
        (Setting::Box, RenderTarget::Vagrant) | (Setting::Namespace, RenderTarget::Kubernetes) => {
            (Some(Use::Needed), "")
        }
        (Setting::PullSecret, RenderTarget::Kubernetes | RenderTarget::Helm)
        | (Setting::PullSecretForm, RenderTarget::Helm) => (Some(Use::Taken), ""),
        (Setting::Box, _) => (None, "only virtual machines of Vagrant's are made of a box"),
        (Setting::Namespace | Setting::PullSecret | Setting::PullSecretForm, _) => {
            (None, "it is about Kubernetes, or about the other of its two forms")
        }
        _ => return None,
    };
    Some(place.unwrap_or(Use::Unused(reason)))
}

fn on_a_host(setting: Setting) -> Use {
    match setting {
        Setting::EnvFile => Use::Unused("it stands beside the script that starts the agent"),
        _ => host_agent(setting),
    }
}

fn for_a_fleet(setting: Setting) -> Use {
    match setting {
        Setting::TokenFile => Use::Unused("each host has a token of its own, in the file that the inventory names"),
        _ => on_a_host(setting),
    }
}

fn kubernetes(setting: Setting) -> Use {
    match setting {
        Setting::ServerUrl | Setting::Name => Use::Needed,
        Setting::EnvFile => Use::Unused("the variables stand in a secret"),
        Setting::Engine | Setting::NoDockerSocket => Use::Unused("pods have no engine's socket"),
        Setting::Volume => Use::Unused("a pod has no volumes of its host"),
        Setting::RunOption => Use::Unused("a pod has other words for it"),
        Setting::CaFile => Use::Unused("the nodes' engines trust the registry: `--as mirrors` gives their files"),
        Setting::TokenFile => Use::Taken,
        _ => host_agent(setting),
    }
}

fn helm(setting: Setting) -> Use {
    match setting {
        Setting::Image => Use::Taken,
        Setting::Pin => Use::Unused("the charts name images by their tags"),
        Setting::CaFile => Use::Unused("the nodes' engines trust the registry: `--as mirrors` gives their files"),
        _ => Use::Unused("it is no matter of images; the chart's README says how it is set"),
    }
}

fn mirrors(setting: Setting) -> Use {
    match setting {
        Setting::CaFile => Use::Taken,
        _ => Use::Unused("it is about an agent, and mirrors are about engines"),
    }
}

fn provider(setting: Setting) -> Use {
    match setting {
        Setting::Pin
        | Setting::RegistryUser
        | Setting::RegistryHostProperty
        | Setting::RegistryUserProperty
        | Setting::RegistryPasswordProperty => Use::Taken,
        Setting::RegistryPasswordFile => Use::Unused("the password is shown nowhere"),
        _ => Use::Unused("it is about one agent, and a provider is about all of them"),
    }
}

/// An agent that docker or podman runs on one host.
fn host_agent(setting: Setting) -> Use {
    match setting {
        Setting::ServerUrl | Setting::Name | Setting::TokenFile => Use::Needed,
        Setting::Port | Setting::PublishedPort | Setting::DataPath => Use::Unused(OF_THE_SERVER),
        _ => Use::Taken,
    }
}

const OF_THE_SERVER: &str = "it is the server's, not an agent's";

fn infra(setting: Setting) -> Use {
    match setting {
        Setting::ServerUrl | Setting::DataPath => Use::Needed,
        Setting::Pin | Setting::Env | Setting::Volume | Setting::Port | Setting::PublishedPort => Use::Taken,
        _ => Use::Unused("it is an agent's, not the server's"),
    }
}

/// All that keeps answers from being rendered so: those without use, what lacks, and those that do not go together.
pub(super) fn objections(target: RenderTarget, answers: &Answers) -> Vec<WrongAnswer> {
    let mut all = Vec::new();
    for &setting in &answers.answered {
        if let Use::Unused(reason) = usage(target, setting) {
            let error = RenderError::NoUse { target: target.key(), setting, reason };
            all.push(WrongAnswer { setting, nth: 0, error });
        }
    }
    let needed = Setting::ALL.into_iter().filter(|&setting| usage(target, setting) == Use::Needed);
    let missing: Vec<Setting> = needed.filter(|setting| !answers.answered.contains(setting)).collect();
    if !missing.is_empty() {
        let error = RenderError::Missing { target: target.key(), missing };
        all.push(WrongAnswer { setting: Setting::As, nth: 0, error });
    }
    all.extend(of_this_target(target, answers));
    if usage(target, Setting::Env) == Use::Taken {
        all.extend(twice(target, answers));
    }
    if usage(target, Setting::RegistryPasswordFile) == Use::Taken {
        all.extend(without_value(answers));
    }
    all
}

/// What one of the targets alone cannot take.
fn of_this_target(target: RenderTarget, answers: &Answers) -> Option<WrongAnswer> {
    let wrong = |setting, error| Some(WrongAnswer { setting, nth: 0, error });
    match target {
        RenderTarget::Docker | RenderTarget::Podman
            if answers.answered.contains(&Setting::Engine) && answers.engine.program() != target.key() =>
        {
            let reason = "it names another engine than the command";
            wrong(Setting::Engine, RenderError::NoUse { target: target.key(), setting: Setting::Engine, reason })
        }
        RenderTarget::Systemd | RenderTarget::Quadlet | RenderTarget::Script => {
            // What is read by no shell has no folder that a path could be relative to.
            let relative = answers.env_file.as_ref().filter(|path| !path.starts_with('/'))?;
            wrong(Setting::EnvFile, RenderError::AbsolutePath(relative.chars().take(80).collect()))
        }
        RenderTarget::Kubernetes => {
            let name = answers.name.as_ref()?.to_string();
            KubernetesName::label("name", &name).err().and_then(|error| wrong(Setting::Name, error))
        }
        _ => None,
    }
}

/// Variables that are set twice, or by an option of their own.
fn twice(target: RenderTarget, answers: &Answers) -> Vec<WrongAnswer> {
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    if target.subject() == Subject::Agent {
        let proxy = &answers.proxy;
        taken.extend(["AGENT_TOKEN", "SERVER_URL"]);
        taken.extend(proxy.http.as_ref().map(|_| "HTTP_PROXY"));
        taken.extend(proxy.https.as_ref().map(|_| "HTTPS_PROXY"));
        taken.extend(proxy.no_proxy.as_ref().map(|_| "NO_PROXY"));
        taken.extend(answers.auto_update.as_ref().map(|update| update.variable.as_str()));
    }
    let merged = |name: &str| target.subject() == Subject::Agent && name == JAVA_OPTS;
    let names = answers.variables.iter().map(|(name, _)| name.as_str()).enumerate();
    let repeated = names.filter(|(_, name)| !merged(name) && !taken.insert(name));
    let wrong = |(nth, name): (usize, &str)| WrongAnswer {
        setting: Setting::Env,
        nth,
        error: RenderError::EnvTwice(name.to_owned()),
    };
    repeated.map(wrong).collect()
}

/// Java properties without what they should carry.
fn without_value(answers: &Answers) -> Vec<WrongAnswer> {
    let login = &answers.registry_login;
    let properties = [
        (Setting::RegistryUserProperty, "registry-user", &login.user_property, &login.user),
        (Setting::RegistryPasswordProperty, "registry-password", &login.password_property, &login.password),
    ];
    let lonely = properties.into_iter().filter(|(_, _, property, value)| property.is_some() && value.is_none());
    let wrong =
        |(setting, what, _, _)| WrongAnswer { setting, nth: 0, error: RenderError::PropertyWithoutValue { what } };
    lonely.map(wrong).collect()
}
