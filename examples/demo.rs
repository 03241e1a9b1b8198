//! The main job from beginning to end, on this machine alone: two small registries in memory, a sample release
//! made on the spot, and the real binary. Prints every command with what it says; any surprise ends it.
//!
//! `scripts/demo.sh` builds and runs it.

#[path = "../tests/support/mod.rs"]
mod support;

use support::cli::{Output, Site};
use support::images::{Sample as _, TestImage, TestIndex};
use support::memory_registry::MemoryRegistry;

/// What `verify` answers when bytes are not what they should be.
const INTEGRITY: i32 = 7;
const TOKEN: &str = "sample-token-that-stays-in-its-file";

pub(crate) fn main() {
    let demonstration = Demonstration::prepare();
    demonstration.outside();
    demonstration.carried();
    demonstration.inside();
    say("\nAll as promised: one file came in, every byte was checked, and the agent's command names what was pushed.");
}

/// The two sides of the closed site's door, and a folder for the user's files.
struct Demonstration {
    vendor: MemoryRegistry,
    private: MemoryRegistry,
    site: Site,
    agent: TestImage,
    generator: TestImage,
    platforms: TestIndex,
}

impl Demonstration {
    fn prepare() -> Self {
        let (vendor, private, site) = (MemoryRegistry::start(), MemoryRegistry::start(), Site::new());
        let base = TestImage::new("octoperf/docker-agent:13.0.0").random_layer(1, 2_000_000);
        let agent = base.clone().docker().layer(b"the agent's own files");
        let generator = base.named("octoperf/jmeter:5.6.3").docker().random_layer(2, 1_000_000);
        let proxy = TestImage::new("octoperf/proxy:1.27").layer(b"a proxy");
        let platforms = TestIndex::new("octoperf/proxy:1.27")
            .image(proxy.clone())
            .image(proxy.platform("linux/arm64").layer(b"for another processor"))
            .attested();
        vendor.add(&agent);
        vendor.add(&generator);
        vendor.add(&platforms);
        site.write("release.yaml", manifest(&vendor.host()));
        site.write("token", TOKEN);
        let demonstration = Self { vendor, private, site, agent, generator, platforms };
        demonstration.introduce();
        demonstration
    }

    fn introduce(&self) {
        say(&format!("The vendor's registry is {}, the private one {}.", self.vendor.host(), self.private.host()));
        say("release.yaml says what the release ships:\n");
        say(&String::from_utf8_lossy(&self.site.read("release.yaml")));
    }

    /// Where there is internet.
    fn outside(&self) {
        say("== Outside: from the manifest to one file");
        let resolved = self.run(&["resolve", "release.yaml"]).assert_ok();
        let digest = self.agent.content().root().digest.clone();
        assert!(resolved.stdout.contains(&digest[.."sha256:".len() + 12]), "resolve shows digests");
        self.run(&["pull", "release.yaml", "-o", "release.tar"]).assert_ok();
        assert!(self.site.path("release.tar").is_file(), "the bundle has its final name");
        assert!(self.site.path("release.tar.sha256").is_file(), "its checksum stands beside it");
    }

    /// After the way on a disk.
    fn carried(&self) {
        say("== Carried: what is in it, and is it whole?");
        let inspected = self.run(&["inspect", "release.tar"]).assert_ok();
        for name in ["octoperf/docker-agent:13.0.0", "octoperf/jmeter:5.6.3", "octoperf/proxy:1.27"] {
            assert!(inspected.stdout.contains(name), "inspect lists {name}");
        }
        self.run(&["verify", "release.tar"]).assert_ok();
        let mut damaged = self.site.read("release.tar");
        let place = damaged.len() / 2;
        damaged[place] ^= 1;
        self.site.write("damaged.tar", damaged);
        say("One bit of a copy was turned:");
        self.run(&["verify", "damaged.tar"]).assert_code(INTEGRITY);
    }

    /// Where there is no internet.
    fn inside(&self) {
        say("== Inside: into the private registry, and on to the agents");
        let registry = format!("{}/tools", self.private.host());
        let push = ["push", "release.tar", "--registry", &registry];
        self.run(&push).assert_ok();
        self.assert_pushed();
        self.private.forget_requests();
        self.run(&push).assert_ok();
        assert_eq!(self.private.blob_bytes_received(), 0, "a second push sends no layer");

        let render = ["render", "agent", "release.tar", "--registry", &registry];
        let about = ["--server-url", "https://octoperf.corp", "--name", "agent-1", "--token-file", "token"];
        let rendered = self.run(&[&render[..], &about[..]].concat()).assert_ok();
        let image = format!("{registry}/octoperf/docker-agent:13.0.0");
        assert!(rendered.stdout.contains(&image), "the command names the image that was pushed");
        let variables = String::from_utf8_lossy(&self.site.read("agent-1.env")).into_owned();
        assert!(variables.contains("SERVER_URL=https://octoperf.corp"), "the env-file names the server");
        assert!(!format!("{}{}", rendered.stdout, rendered.stderr).contains(TOKEN), "the token stays in its file");
    }

    fn assert_pushed(&self) {
        for image in [&self.agent, &self.generator] {
            let content = image.content();
            let pushed = self.private.manifest(&format!("tools/{}", content.repository), &content.tag);
            assert_eq!(pushed.as_ref(), Some(content.root()), "the digest is the vendor's");
        }
        // One platform was asked for, so its image stands under the name of the index.
        let pushed = self.private.manifest("tools/octoperf/proxy", "1.27").expect("the proxy was pushed");
        let documents = self.platforms.content().documents;
        assert!(documents.contains(&pushed), "the digest is the vendor's");
    }

    fn run(&self, arguments: &[&str]) -> Output {
        say(&format!("\n$ octobundle {}", arguments.join(" ")));
        let output = self.site.octobundle(arguments).run();
        say(output.stdout.trim_end());
        say(output.stderr.trim_end());
        output
    }
}

fn manifest(host: &str) -> String {
    format!(
        "schema: octobundle/v1\n\
         release: demo-1\n\
         title: A sample release\n\
         images:\n\
         \x20 - image: {host}/octoperf/docker-agent:13.0.0\n\
         \x20   role: agent\n\
         \x20 - image: {host}/octoperf/jmeter:5.6.3\n\
         \x20   role: load-generator\n\
         \x20 - image: {host}/octoperf/proxy:1.27\n\
         \x20   role: infrastructure\n"
    )
}

fn say(text: &str) {
    if !text.is_empty() {
        println!("{text}");
    }
}
