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

const SHOWN: &str = "sudo docker run -d --restart=unless-stopped --name agent-1 \\
  -v /var/run/docker.sock:/var/run/docker.sock \\
  -e AGENT_TOKEN='s3cret-token-of-the-agent' -e SERVER_URL='https://octoperf.corp' -e EXTRA=\"a 'b'\" --memory 2g \\
  NAME
";

/// The command that OctoPerf shows, for an image.
fn shown(image: &str) -> String {
    SHOWN.replace("NAME", image)
}

#[test]
fn a_pasted_command_becomes_the_one_of_the_closed_site() {
    let rendering = Rendering::agent();
    let site = &rendering.0.site;
    site.write("command", shown(rendering.0.name(0)));
    let run =
        || site.octobundle(["render", "agent", "release.tar", "--registry", TARGET, "--replace", "--from-command"]);
    let image = format!("{TARGET}/octoperf/docker-agent:13.0.0");
    let pasted = run().arg("command").run().assert_ok();
    let expected = format!(
        "docker run -d --restart=unless-stopped --name agent-1 -v /var/run/docker.sock:/var/run/docker.sock --env-file agent-1.env --memory=2g {image}\n"
    );
    assert_eq!(pasted.stdout, expected);
    assert!(pasted.stderr.contains("`--memory` is kept"), "{}", pasted.stderr);
    assert!(!format!("{}{}", pasted.stdout, pasted.stderr).contains(TOKEN));
    let written = format!("AGENT_TOKEN={TOKEN}\nSERVER_URL=https://octoperf.corp\nEXTRA=a 'b'\n");
    assert_eq!(rendering.env_file(), written);

    // By standard input, in another form, with flags on top.
    let flags = ["-", "--as", "podman", "--name", "agent-2", "-e", "EXTRA=c", "-e", "MORE=d", "--heap", "1g"];
    let podman = run().args(flags).input(shown(rendering.0.name(0))).run().assert_ok();
    assert!(podman.stdout.starts_with("podman run ") && podman.stdout.contains("--name agent-2"), "{}", podman.stdout);
    let written = String::from_utf8(site.read("agent-2.env")).expect("it is text");
    assert!(written.contains("EXTRA=c\nMORE=d\n") && written.contains("JAVA_OPTS=-Xmx1g\n"), "{written}");

    // OctoPerf shows the private name itself where the provider has a registry.
    site.write("command", shown(&image));
    assert_eq!(run().arg("command").run().assert_ok().stdout, expected);

    // A tag that the bundle does not hold: the error says which it holds.
    site.write("command", shown(&rendering.0.name(0).replace(":13.0.0", ":14.0.0")));
    let missing = run().arg("command").run().assert_code(6);
    assert!(missing.stderr.contains("docker-agent:14.0.0"), "{}", missing.stderr);
    assert!(missing.stderr.contains("docker-agent:13.0.0") && !missing.stderr.contains("jmeter"), "{}", missing.stderr);

    site.write("command", "docker run -e AGENT_TOKEN=$s3cret img:1");
    let refused = run().arg("command").run().assert_code(USAGE);
    assert!(refused.stderr.contains("only") || refused.stderr.contains("variable"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("s3cret"), "{}", refused.stderr);
}

#[test]
fn a_site_file_answers_and_is_checked_by_itself() {
    let rendering = Rendering::agent();
    let site = &rendering.0.site;
    fs::create_dir(site.path("sites")).expect("folders can be made");
    site.write("sites/token", format!("{TOKEN}\n"));
    let text = format!(
        "registry: {TARGET}\nas: docker\nserver-url: https://octoperf.corp\nname: agent-1\ntoken-file: token\nheap: 2g\ndebug: true\nenv:\n  - A=1\n  - 'B=x y'\n"
    );
    site.write("sites/berlin.yaml", &text);
    let sound = site.octobundle(["render", "--check", "sites/berlin.yaml"]).run().assert_ok();
    assert!(sound.stdout.contains("render agent --as docker"), "{}", sound.stdout);
    let rendered = site.octobundle(["render", "agent", "release.tar", "--site", "sites/berlin.yaml"]).run().assert_ok();
    assert!(rendered.stdout.contains(&format!("{TARGET}/octoperf/docker-agent:13.0.0")), "{}", rendered.stdout);
    let env_file = rendering.env_file();
    assert!(env_file.contains(TOKEN) && env_file.contains("A=1\nB=x y\n") && env_file.contains("-Xmx2g"), "{env_file}");
    let flags = ["--site", "sites/berlin.yaml", "--heap", "3g", "-e", "A=2", "--replace"];
    site.octobundle(["render", "agent", "release.tar"]).args(flags).run().assert_ok();
    let env_file = rendering.env_file();
    assert!(env_file.contains("B=x y\nA=2\n") && env_file.contains("-Xmx3g"), "{env_file}");

    for (change, with, place, help) in [
        ("heap: 2g", "heap: 2x", "berlin.yaml:6:7", "--heap 1g"),
        ("heap: 2g", "haep: 2g", "berlin.yaml:6:1", "heap"),
        ("  - A=1", "  - A1", "berlin.yaml:9:5", "NAME=VALUE"),
        ("name: agent-1", "name: [a-1, a-2]", "berlin.yaml:4:7", "name: VALUE"),
        ("name: agent-1\n", "", "needs `name`", "--name"),
        ("as: docker", "as: dokcer", "berlin.yaml:2:5", "did you mean `--as docker`"),
        ("as: docker", "as: compose\nenv-file: x.env", "berlin.yaml:3:11", "leave out `env-file`"),
        ("token-file: token", "token-file: gone", "token-file", "check the path"),
        ("registry: reg.corp", "registry: https://reg.corp", "berlin.yaml:1:11", "write `--registry reg.corp"),
    ] {
        assert!(text.contains(change), "{change}");
        site.write("sites/berlin.yaml", text.replacen(change, with, 1));
        let refused = site.octobundle(["render", "--check", "sites/berlin.yaml"]).run();
        assert!(refused.code != Some(0) && refused.stdout.is_empty(), "{refused:?}");
        assert!(refused.stderr.contains(place) && refused.stderr.contains(help), "{with}: {}", refused.stderr);
    }
}

#[test]
fn a_template_of_ones_own_is_filled_in_and_gets_no_secret() {
    let rendering = Rendering::agent();
    let site = &rendering.0.site;
    site.write(
        "mine.yaml.j2",
        "image: {{ image }}\nserver: {{ server_url }}\nengine: {{ engine | plain }}\nvariables: [{% for name in variable_names %}{{ name }}, {% endfor %}]\nimages:\n{% for one in images %}\n  - {{ one.name }}\n{% endfor %}\n",
    );
    let run = || rendering.run().args(["--replace", "--out", "out", "--template"]);
    run().args(["mine.yaml.j2", "-e", "EXTRA=s3cret"]).run().assert_ok();
    let filled = String::from_utf8(site.read("out/mine.yaml")).expect("it is text");
    let read: serde_json::Value = serde_saphyr::from_str(&filled).expect("it is YAML");
    assert_eq!(read["image"], format!("{TARGET}/octoperf/docker-agent:13.0.0"));
    assert_eq!(read["variables"], serde_json::json!(["AGENT_TOKEN", "SERVER_URL", "EXTRA"]));
    assert_eq!(read["images"].as_array().map(Vec::len), Some(2));
    assert!(!filled.contains("s3cret"), "{filled}");
    assert!(String::from_utf8_lossy(&site.read("out/agent-1.env")).contains(TOKEN));
    for (name, template, message) in [
        ("a.yaml", "{{ token }}", "a.yaml"),
        ("a.yaml", "{{ AGENT_TOKEN }}", "undefined"),
        ("a.yaml", "{% include '/etc/passwd' %}", "a.yaml"),
        ("a.yaml", "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "fuel"),
        ("a.exe", "x", ".yaml"),
        ("agent-1.env", "x", "env-file's"),
        ("a\\b.yaml", "x", "no plain file name"),
    ] {
        site.write(name, template);
        let refused = run().arg(name).run();
        assert_eq!(refused.code, Some(INPUT), "{template}: {refused:?}");
        assert!(
            refused.stderr.contains(message) && !refused.stderr.contains("root:"),
            "{template}: {}",
            refused.stderr
        );
        // The env-file of the first time stays as it is.
        let written = site.path("out").join(name).exists() && site.read(&format!("out/{name}")) == template.as_bytes();
        assert!(!written, "{name}");
    }
}
