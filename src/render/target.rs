//! The forms in which a site can have it.

use crate::manifest::closest;
use crate::render::answers::Answers;
use crate::render::applies::check;
use crate::render::error::RenderError;
use crate::render::images::PrivateImages;
use crate::render::rendered::Rendered;
use crate::render::targets;

/// What is rendered: what `--as` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RenderTarget {
    /// `docker run`, with its env-file.
    Docker,
    /// `podman run`, with its env-file.
    Podman,
}

impl RenderTarget {
    /// All, in the order in which documents list them.
    pub const ALL: [Self; 2] = [Self::Docker, Self::Podman];

    /// Its name behind `--as`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// The target with this name.
    pub fn by_key(key: &str) -> Result<Self, RenderError> {
        Self::ALL.into_iter().find(|target| target.key() == key).ok_or_else(|| {
            let known: Vec<&'static str> = Self::ALL.into_iter().map(Self::key).collect();
            RenderError::NoTarget {
                given: key.chars().take(40).collect(),
                near: closest(key, known.iter().copied()).map(str::to_owned),
                known,
            }
        })
    }

    /// Renders: text to text, no I/O.
    ///
    /// Refuses answers that this target has no use for, and says which ones it lacks.
    pub fn render(self, answers: &Answers, images: &PrivateImages) -> Result<Rendered, RenderError> {
        check(self, answers)?;
        match self {
            Self::Docker => targets::run::render(crate::render::ContainerEngine::Docker, answers, images),
            Self::Podman => targets::run::render(crate::render::ContainerEngine::Podman, answers, images),
        }
    }
}
