//! The bundle's images under their names in the private registry: the names that `push` makes, by the same map.

use std::collections::BTreeSet;

use crate::images::Lock;
use crate::oci::{Digest, ImageRef};
use crate::plan::{MapError, MirrorMap, Target};
use crate::render::error::RenderError;
use crate::render::values::Pin;

/// The role that an agent's image has in a release manifest.
pub const AGENT_ROLE: &str = "agent";

/// One image.
#[derive(Debug, Clone)]
pub struct PrivateImage {
    /// Its name in the bundle.
    pub source: ImageRef,
    /// Its name in the private registry, by which `push` puts it there.
    pub name: ImageRef,
    /// What that name stands for in the bundle.
    pub digest: Digest,
    /// What it does.
    pub role: String,
    /// The groups it belongs to.
    pub groups: BTreeSet<String>,
}

impl PrivateImage {
    /// The name by which it is run: always with its host, since podman does not take a short name for one of Docker
    /// Hub.
    pub fn reference(&self, pin: Pin) -> String {
        match pin {
            Pin::Tag => self.name.to_string(),
            Pin::Digest => format!("{}@{}", self.name.repository(), self.digest),
        }
    }
}

/// All images of a bundle.
#[derive(Debug, Clone)]
pub struct PrivateImages {
    target: Target,
    images: Vec<PrivateImage>,
}

impl PrivateImages {
    /// The images of a lock as `push` names them at `target`.
    pub fn new(lock: &Lock, target: &Target) -> Result<Self, MapError> {
        let names = MirrorMap::of_lock(lock, target)?;
        let images = lock.images.iter().map(|image| PrivateImage {
            source: image.name.clone(),
            name: names.target_of(&image.name).expect("the map was made of this lock").clone(),
            digest: image.root.digest,
            role: image.role.clone(),
            groups: image.groups.clone(),
        });
        Ok(Self { target: target.clone(), images: images.collect() })
    }

    /// Where they are.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// All, in the release's order.
    pub fn iter(&self) -> impl Iterator<Item = &PrivateImage> {
        self.images.iter()
    }

    /// Those with a role.
    pub fn of_role<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a PrivateImage> {
        self.images.iter().filter(move |image| image.role == role)
    }

    /// The one whose repository ends in `path`, whatever its host, as in `octoperf/enterprise-edition`.
    pub fn named(&self, path: &str) -> Option<&PrivateImage> {
        self.images.iter().find(|image| image.source.repository().name.as_str() == path)
    }

    /// The agent's: the one that is `wanted` by its name in the bundle, or else the only one with that role.
    pub fn agent(&self, wanted: Option<&ImageRef>) -> Result<&PrivateImage, RenderError> {
        let all = || self.images.iter().map(|image| image.source.clone()).collect::<Vec<_>>();
        if let Some(wanted) = wanted {
            // OctoPerf shows the private name itself where the provider has a registry.
            let found = self.images.iter().find(|image| image.source == *wanted || image.name == *wanted);
            return found.ok_or_else(|| {
                let near = |image: &ImageRef| image.repository().name == wanted.repository().name;
                let tags: Vec<ImageRef> = all().into_iter().filter(near).collect();
                let images = if tags.is_empty() { all() } else { tags };
                RenderError::NotInBundle { wanted: Box::new(wanted.clone()), images }
            });
        }
        let agents: Vec<&PrivateImage> = self.of_role(AGENT_ROLE).collect();
        match agents[..] {
            [] => Err(RenderError::NoAgent { images: all() }),
            [one] => Ok(one),
            _ => Err(RenderError::SeveralAgents { choices: agents.iter().map(|image| image.source.clone()).collect() }),
        }
    }
}
