//! A closed site a month later: the bundle that it was given, and a release in which little has changed.

use super::cli::Run;
use super::images::{Content, Sample, TestImage};
use super::memory_registry::Options;
use super::release::{Release, manifest};

/// `old.tar` and `old.lock` of the first release; `new.yaml` and `new.lock` are what the second is pulled from.
pub(crate) struct Update {
    pub(crate) release: Release,
}

impl Update {
    /// The images of the first release.
    pub(crate) fn earlier() -> [TestImage; 3] {
        [Self::agent(2), Self::jmeter(), TestImage::new("octoperf/gone:1").docker().random_layer(5, 30_000)]
    }

    /// The images of the second: the agent's small layer is another, one image has gone, and one has come, made of
    /// layers that others had before.
    pub(crate) fn later() -> [TestImage; 3] {
        let come = TestImage::new("octoperf/come:1").random_layer(3, 20_000).random_layer(5, 30_000);
        [Self::agent(4), Self::jmeter(), come]
    }

    /// Its large layer is jmeter's too.
    fn agent(small: u64) -> TestImage {
        TestImage::new("octoperf/agent:1").random_layer(1, 400_000).random_layer(small, 5_000)
    }

    fn jmeter() -> TestImage {
        TestImage::new("octoperf/jmeter:5").docker().random_layer(1, 400_000).random_layer(3, 20_000)
    }

    pub(crate) fn start() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let old = Self::earlier();
        let release = Release::served_by(options, &old.each_ref().map(|image| image as &dyn Sample));
        release.resolve().args(["--lock", "old.lock"]).run().assert_ok();
        release.pull("old.tar").run().assert_ok();
        let names = Self::later().map(|image| release.registry.add(&image));
        release.site.write("new.yaml", manifest(&names).replace("sample-1", "sample-2"));
        release.site.octobundle(["resolve", "new.yaml", "--lock", "new.lock"]).run().assert_ok();
        Self { release }
    }

    pub(crate) fn run(&self, command: &str) -> Run {
        self.release.site.octobundle(command.split_whitespace())
    }

    /// Writes the delta of the second release on the first to `update.tar`.
    #[track_caller]
    pub(crate) fn delta(&self) -> Vec<u8> {
        self.run("pull new.yaml --since old.tar -o update.tar").run().assert_ok();
        self.release.site.read("update.tar")
    }

    /// Writes the second release whole to `full.tar`.
    #[track_caller]
    pub(crate) fn full(&self) -> Vec<u8> {
        self.run("pull new.yaml -o full.tar").run().assert_ok();
        self.release.site.read("full.tar")
    }

    /// The digest of a layer of an image.
    pub(crate) fn layer(image: &TestImage, place: usize) -> String {
        let manifest = image.content().root().json();
        manifest["layers"][place]["digest"].as_str().expect("digests are text").to_owned()
    }

    /// Manifest and configuration of an image, by digest.
    pub(crate) fn documents(content: &Content) -> Vec<String> {
        let config = content.root().json()["config"]["digest"].as_str().expect("digests are text").to_owned();
        content.documents.iter().map(|document| document.digest.clone()).chain([config]).collect()
    }
}
