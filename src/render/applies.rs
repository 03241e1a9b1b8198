//! Which setting applies to which target. The table of `docs/render.md` is made from this one.

use crate::render::answers::Answers;
use crate::render::error::RenderError;
use crate::render::setting::Setting;
use crate::render::target::RenderTarget;

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

/// Refuses answers without use, then says what lacks.
pub(super) fn check(target: RenderTarget, answers: &Answers) -> Result<(), RenderError> {
    for &setting in &answers.answered {
        if let Use::Unused(reason) = usage(target, setting) {
            return Err(RenderError::NoUse { target: target.key(), setting, reason });
        }
    }
    let needed = Setting::ALL.into_iter().filter(|&setting| usage(target, setting) == Use::Needed);
    let missing: Vec<Setting> = needed.filter(|setting| !answers.answered.contains(setting)).collect();
    if missing.is_empty() { Ok(()) } else { Err(RenderError::Missing { target: target.key(), missing }) }
}
