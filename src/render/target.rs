//! The forms in which a site can have it.

use crate::manifest::closest;
use crate::render::answers::{Answers, WrongAnswer};
use crate::render::applies;
use crate::render::error::RenderError;
use crate::render::images::PrivateImages;
use crate::render::rendered::Rendered;
use crate::render::targets::{ansible, compose, infra, kubernetes, machine, mirrors, provider, run, script, units};
use crate::render::values::ContainerEngine;

/// What is rendered: what `--as` says, of an agent or of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RenderTarget {
    /// `docker run`, with its env-file.
    Docker,
    /// `podman run`, with its env-file.
    Podman,
    /// A compose file of the agent.
    Compose,
    /// A systemd unit that runs docker or podman.
    Systemd,
    /// A Quadlet, from which podman makes a unit.
    Quadlet,
    /// A script that installs the agent, and takes it away.
    Script,
    /// A `Vagrantfile` for `VirtualBox` and a script for WSL 2, on Windows.
    Vagrant,
    /// User data for a machine that starts an agent when it boots.
    CloudInit,
    /// A playbook for a fleet.
    Ansible,
    /// Manifests for the agent for Kubernetes.
    Kubernetes,
    /// Values for the vendor's charts.
    Helm,
    /// How engines find the private registry.
    Mirrors,
    /// What to enter in OctoPerf.
    Provider,
    /// A compose file of the server, behind one port.
    InfraCompose,
}

/// Of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// One agent.
    Agent,
    /// The server: OctoPerf Enterprise Edition.
    Infra,
}

impl Subject {
    /// Its name behind `render`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Infra => "infra",
        }
    }
}

impl RenderTarget {
    /// All, in the order in which documents list them.
    pub const ALL: [Self; 14] = [
        Self::Docker,
        Self::Podman,
        Self::Compose,
        Self::Systemd,
        Self::Quadlet,
        Self::Script,
        Self::Vagrant,
        Self::CloudInit,
        Self::Ansible,
        Self::Kubernetes,
        Self::Helm,
        Self::Mirrors,
        Self::Provider,
        Self::InfraCompose,
    ];

    /// Its name behind `--as`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Compose | Self::InfraCompose => "compose",
            Self::Systemd => "systemd",
            Self::Quadlet => "quadlet",
            Self::Script => "script",
            Self::Vagrant => "vagrant",
            Self::CloudInit => "cloud-init",
            Self::Ansible => "ansible",
            Self::Kubernetes => "kubernetes",
            Self::Helm => "helm",
            Self::Mirrors => "mirrors",
            Self::Provider => "provider",
        }
    }

    /// Of what.
    pub fn subject(self) -> Subject {
        match self {
            Self::Docker
            | Self::Podman
            | Self::Compose
            | Self::Systemd
            | Self::Quadlet
            | Self::Script
            | Self::Vagrant
            | Self::CloudInit
            | Self::Ansible
            | Self::Kubernetes
            | Self::Helm
            | Self::Mirrors
            | Self::Provider => Subject::Agent,
            Self::InfraCompose => Subject::Infra,
        }
    }

    /// The target of this subject with this name.
    pub fn by_key(subject: Subject, key: &str) -> Result<Self, RenderError> {
        let of_subject = || Self::ALL.into_iter().filter(|target| target.subject() == subject);
        of_subject().find(|target| target.key() == key).ok_or_else(|| {
            let known: Vec<&'static str> = of_subject().map(Self::key).collect();
            let near = closest(key, known.iter().copied()).map(str::to_owned);
            RenderError::NoTarget { subject: subject.key(), given: key.chars().take(40).collect(), near, known }
        })
    }

    /// All that keeps these answers from being rendered so: those without use, what lacks, and those that do not go
    /// together. What the bundle lacks is told when it is rendered.
    pub fn objections(self, answers: &Answers) -> Vec<WrongAnswer> {
        applies::objections(self, answers)
    }

    /// Renders: text to text, no I/O.
    ///
    /// Refuses answers that this target has no use for, and says which ones it lacks.
    pub fn render(self, answers: &Answers, images: &PrivateImages) -> Result<Rendered, RenderError> {
        if let Some(wrong) = self.objections(answers).into_iter().next() {
            return Err(wrong.error);
        }
        match self {
            Self::Docker => run::render(ContainerEngine::Docker, answers, images),
            Self::Podman => run::render(ContainerEngine::Podman, answers, images),
            Self::Compose => compose::render(answers, images),
            Self::Systemd => units::systemd(answers, images),
            Self::Quadlet => units::quadlet(answers, images),
            Self::Script => script::render(answers, images),
            Self::InfraCompose => infra::render(answers, images),
            Self::Vagrant => machine::vagrant(answers, images),
            Self::CloudInit => machine::cloud_init(answers, images),
            Self::Ansible => ansible::render(answers, images),
            Self::Kubernetes => kubernetes::manifests(answers, images),
            Self::Helm => kubernetes::helm(answers, images),
            Self::Mirrors => mirrors::render(answers, images),
            Self::Provider => provider::render(answers, images),
        }
    }
}
