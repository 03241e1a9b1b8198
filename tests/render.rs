//! `octobundle render agent`: the command that starts an agent, and the file that alone holds its token.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use support::cli::Run;
use support::images::TestImage;
use support::release::Release;

const USAGE: i32 = 2;
const INPUT: i32 = 3;
const TOKEN: &str = "s3cret-token-of-the-agent";
const TARGET: &str = "reg.corp:5000/tools";

struct Rendering(Release);

impl Rendering {
    fn of(samples: &[&TestImage]) -> Self {
        let samples: Vec<&dyn support::images::Sample> = samples.iter().map(|sample| *sample as _).collect();
        let release = Release::of(&samples);
        release.bundle();
        release.site.write("token", format!("{TOKEN}\n"));
        Self(release)
    }

    fn agent() -> Self {
        Self::of(&[
            &TestImage::new("octoperf/docker-agent:13.0.0").layer(b"agent"),
            &TestImage::new("octoperf/jmeter:5").layer(b"j"),
        ])
    }

    fn run(&self) -> Run {
        let run = self.0.site.octobundle(["render", "agent", "release.tar", "--registry", TARGET, "--name", "agent-1"]);
        run.args(["--server-url", "https://octoperf.corp", "--token-file", "token"])
    }

    fn env_file(&self) -> String {
        String::from_utf8(self.0.site.read("agent-1.env")).expect("it is text")
    }
}

#[test]
fn the_command_names_the_private_image_and_not_the_token() {
    let rendering = Rendering::agent();
    for engine in ["docker", "podman"] {
        let run = rendering.run().args(["--engine", engine, "-vv"]).run().assert_ok();
        let image = format!("{TARGET}/octoperf/docker-agent:13.0.0");
        assert!(run.stdout.starts_with(&format!("{engine} run ")), "{}", run.stdout);
        assert!(run.stdout.contains(&image), "{}", run.stdout);
        assert!(run.stdout.contains("--env-file agent-1.env"), "{}", run.stdout);
        assert!(!format!("{}{}", run.stdout, run.stderr).contains(TOKEN));
        let json = rendering.run().args(["--engine", engine, "--json"]).run().assert_ok();
        assert!(!format!("{}{}", json.stdout, json.stderr).contains(TOKEN));
        let words = shlex::split(run.stdout.trim_end()).expect("a shell reads it");
        assert_eq!(json.json()["arguments"], serde_json::json!(words), "the line is what its words say");
    }
    assert!(rendering.env_file().contains(TOKEN));
}

#[test]
fn the_token_is_for_its_owner_alone() {
    let rendering = Rendering::agent();
    rendering.run().run().assert_ok();
    let metadata = fs::metadata(rendering.0.site.path("agent-1.env")).expect("it was written");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let left: Vec<_> = fs::read_dir(rendering.0.site.path(".")).expect("it can be listed").flatten().collect();
    for entry in left.iter().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())) {
        let holds = fs::read(entry.path())
            .expect("own files can be read")
            .windows(TOKEN.len())
            .any(|part| part == TOKEN.as_bytes());
        let may = ["token", "agent-1.env"].iter().any(|name| entry.file_name() == *name);
        assert!(!holds || may, "{:?} holds the token", entry.file_name());
    }
}

#[test]
fn an_env_file_that_says_something_else_is_replaced_only_on_request() {
    let rendering = Rendering::agent();
    rendering.run().run().assert_ok();
    rendering.run().run().assert_ok();
    rendering.0.site.write("agent-1.env", "precious");
    let refused = rendering.run().run().assert_code(USAGE);
    assert!(refused.stderr.contains("--replace") && refused.stdout.is_empty(), "{}", refused.stderr);
    assert_eq!(rendering.env_file(), "precious");
    rendering.run().arg("--replace").run().assert_ok();
    assert!(rendering.env_file().contains(TOKEN));
    let mode = fs::metadata(rendering.0.site.path("agent-1.env")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the old file's mode does not stay");
}

#[test]
fn a_link_under_the_env_files_name_is_not_followed() {
    let rendering = Rendering::agent();
    rendering.0.site.write("target", "precious");
    symlink("target", rendering.0.site.path("agent-1.env")).expect("links can be made");
    rendering.run().run().assert_code(USAGE);
    rendering.run().arg("--replace").run().assert_ok();
    assert_eq!(rendering.0.site.read("target"), b"precious");
    assert!(rendering.env_file().contains(TOKEN));
}

#[test]
fn an_env_file_stands_where_it_is_asked_for() {
    let rendering = Rendering::agent();
    fs::create_dir(rendering.0.site.path("my folder")).expect("folders can be made");
    let run = rendering.run().args(["--env-file", "my folder/a b.env"]).run().assert_ok();
    let words = shlex::split(&run.stdout).expect("a shell reads it");
    assert!(words.contains(&"my folder/a b.env".to_owned()), "{}", run.stdout);
    assert!(!rendering.0.site.path("agent-1.env").exists());
    let failed = rendering.run().args(["--env-file", "missing/x.env"]).run();
    assert!(failed.stderr.contains("missing/x.env") && !failed.stderr.contains(TOKEN), "{}", failed.stderr);
    assert_ne!(failed.code, Some(0));
}

#[test]
fn the_image_must_be_in_the_bundle_and_be_the_agents() {
    let rendering = Rendering::agent();
    let other = rendering.run().args(["--image", "reg.test/octoperf/docker-agent:14"]).run();
    assert!(other.stderr.contains("reg.test/octoperf/docker-agent:14"), "{}", other.stderr);
    assert_ne!(other.code, Some(0));
    assert!(!rendering.0.site.path("agent-1.env").exists(), "no token is written for nothing");
    let named = rendering.run().args(["--image", rendering.0.name(0)]).run().assert_ok();
    assert!(named.stdout.contains("docker-agent:13.0.0"), "{}", named.stdout);
    let kept = rendering.run().args(["--keep-host", "--image", rendering.0.name(0)]).run().assert_ok();
    let host = rendering.0.registry.host().replace(':', "_");
    assert!(kept.stdout.contains(&format!("{TARGET}/{host}/octoperf/docker-agent:13.0.0")), "{}", kept.stdout);
}

#[test]
fn what_a_user_gives_stays_one_word_of_the_command() {
    let rendering = Rendering::agent();
    let hostile =
        ["a;touch evil", "$(touch evil)", "`touch evil`", "a b", "--privileged", "", "a'b", "a\nb", "\u{1b}[2J", ".."];
    for name in hostile {
        let run = rendering.0.site.octobundle(["render", "agent", "release.tar", "--registry", TARGET]);
        let given = format!("--name={name}");
        let run = run.args([&given, "--server-url", "https://octoperf.corp", "--token-file", "token"]).run();
        assert!([Some(USAGE), Some(INPUT)].contains(&run.code), "{name:?}: {run:?}");
        assert!(!run.stderr.contains('\u{1b}'), "{name:?}: {}", run.stderr);
        let url = format!("https://octoperf.corp/{name} x");
        let run = rendering.run().args(["--server-url", &url]).run();
        assert_ne!(run.code, Some(0), "a flag twice or a broken address: {url:?}");
    }
    let run = rendering
        .run()
        .args(["-e", "EXTRA=$(touch evil) 'x", "--java-option=-Dx=$(touch${IFS}evil)"])
        .run()
        .assert_ok();
    let script = run.stdout.replacen("docker run", "printf '%s\\n'", 1);
    rendering.0.site.run(std::path::Path::new("sh"), ["-c", &script]).run().assert_ok();
    assert!(!rendering.0.site.path("evil").exists());
}

#[test]
fn a_token_file_without_a_token_is_refused_without_showing_it() {
    let rendering = Rendering::agent();
    for token in [&b""[..], b"\n", b"two\nlines", b"nul\0", b"\xff\xfe"] {
        rendering.0.site.write("token", token);
        let failed = rendering.run().run();
        assert!([Some(USAGE), Some(INPUT)].contains(&failed.code), "{token:?}: {failed:?}");
        assert!(!failed.stderr.contains("two"), "{}", failed.stderr);
        assert!(!rendering.0.site.path("agent-1.env").exists());
    }
}
