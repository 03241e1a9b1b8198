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
    match target {
        RenderTarget::Docker | RenderTarget::Podman | RenderTarget::Systemd => host_agent(setting),
        RenderTarget::Compose => match setting {
            Setting::EnvFile => Use::Unused("the variables stand in docker-compose.override.yml"),
            _ => host_agent(setting),
        },
        RenderTarget::Quadlet => match setting {
            Setting::Engine => Use::Unused("a Quadlet is podman's"),
            _ => host_agent(setting),
        },
        RenderTarget::Script => match setting {
            Setting::TokenFile => Use::Taken,
            _ => host_agent(setting),
        },
        RenderTarget::InfraCompose => infra(setting),
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
