//! A release of sample images in a registry of memory: what `resolve` and `pull` start from.

use std::fmt::Write as _;

use super::cli::{Run, Site};
use super::images::Sample;
use super::memory_registry::{MemoryRegistry, Options};

/// A user's folder with `release.yaml`, and the registry that it names.
pub(crate) struct Release {
    pub(crate) site: Site,
    pub(crate) registry: MemoryRegistry,
    names: Vec<String>,
}

impl Release {
    pub(crate) fn of(samples: &[&dyn Sample]) -> Self {
        Self::served_by(Options::default(), samples)
    }

    pub(crate) fn served_by(options: Options, samples: &[&dyn Sample]) -> Self {
        let (site, registry) = (Site::new(), MemoryRegistry::with(options));
        let names: Vec<String> = samples.iter().map(|sample| registry.add(*sample)).collect();
        site.write("release.yaml", manifest(&names));
        Self { site, registry, names }
    }

    /// The image's name in the release: that of the sample with the registry's host.
    pub(crate) fn name(&self, place: usize) -> &str {
        &self.names[place]
    }

    pub(crate) fn resolve(&self) -> Run {
        self.site.octobundle(["resolve", "release.yaml"])
    }

    pub(crate) fn pull(&self, output: &str) -> Run {
        self.site.octobundle(["pull", "release.yaml", "-o", output])
    }

    /// Pulls to `release.tar` and returns its bytes.
    #[track_caller]
    pub(crate) fn bundle(&self) -> Vec<u8> {
        self.pull("release.tar").arg("--quiet").run().assert_ok();
        self.site.read("release.tar")
    }
}

/// A manifest that lists these images; the first is the agent.
pub(crate) fn manifest(names: &[String]) -> String {
    let mut text = "schema: octobundle/v1\nrelease: sample-1\ntitle: A sample release\nimages:\n".to_owned();
    for (place, name) in names.iter().enumerate() {
        let role = if place == 0 { "agent" } else { "infrastructure" };
        writeln!(text, "  - image: {name}\n    role: {role}").expect("a String takes any text");
    }
    text
}
