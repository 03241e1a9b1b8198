//! `octobundle render agent`: the command that starts an agent, and the file that alone holds its token.

mod support;

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::{PermissionsExt as _, symlink};

use octobundle::render::{RenderTarget, Setting, Subject, Use, usage};
use support::cli::Run;
use support::images::TestImage;
#[cfg(unix)]
use support::real::need;
use support::release::Release;
#[cfg(unix)]
use support::terminal::Terminal;

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
#[cfg(unix)] // modes of files
fn sec_55_the_token_is_for_its_owner_alone() {
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
    #[cfg(unix)]
    {
        let mode = fs::metadata(rendering.0.site.path("agent-1.env")).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "the old file's mode does not stay");
    }
}

#[test]
#[cfg(unix)] // symbolic links
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
    let readers = if cfg!(unix) { "(mode 0600)" } else { "(as open to others as its folder)" };
    assert!(run.stderr.contains(readers), "{}", run.stderr);
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
fn sec_53_what_a_user_gives_stays_one_word_of_the_command() {
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
    if cfg!(unix) {
        rendering.0.site.run(std::path::Path::new("sh"), ["-c", &script]).run().assert_ok();
    }
    assert!(!rendering.0.site.path("evil").exists());
}

#[test]
fn sec_53_nothing_of_an_image_but_its_name_and_digest_is_rendered() {
    let evil = "EVIL $(touch evil) `touch evil` %h {{ x }}\n";
    let agent = TestImage::new("octoperf/docker-agent:13.0.0").layer(b"agent").command("/EVIL;touch evil");
    let labels = ["org.opencontainers.image.title", "octobundle.revision", "EVIL", "AGENT_TOKEN"];
    let agent = labels.iter().fold(agent, |image, label| image.label(label, evil)).created("EVIL");
    let rendering = Rendering::of(&[&agent]);
    let site = &rendering.0.site;
    for target in RenderTarget::ALL.into_iter().filter(|target| target.subject() == Subject::Agent) {
        let run = site.octobundle(["render", "agent", "release.tar", "--registry", TARGET, "--out", target.key()]);
        let given = [
            (Setting::ServerUrl, "https://octoperf.corp"),
            (Setting::Name, "agent-1"),
            (Setting::TokenFile, "token"),
            (Setting::Box, "box"),
            (Setting::Namespace, "load-tests"),
        ];
        let wanted = given.iter().filter(|(setting, _)| usage(target, *setting) == Use::Needed);
        let flags: Vec<String> = wanted.map(|(setting, value)| format!("--{}={value}", setting.key())).collect();
        let image = [format!("--image={}", rendering.0.name(0))];
        let kubernetes = target == RenderTarget::Kubernetes || target == RenderTarget::Helm;
        let run = run.args(["--as", target.key()]).args(flags).args(kubernetes.then_some(&image).into_iter().flatten());
        let output = run.arg("--json").run().assert_ok();
        assert!(!format!("{}{}", output.stdout, output.stderr).contains("EVIL"), "{output:?}");
        let written = output.json()["files"].as_array().expect("it is a list").clone();
        assert!(!written.is_empty());
        for file in &written {
            let path = file["path"].as_str().expect("it is text");
            let text = String::from_utf8(site.read(path)).expect("it is text");
            assert!(!text.contains("EVIL"), "{path}: {text}");
        }
    }
}

#[test]
#[cfg(unix)] // modes of files
fn files_are_written_with_the_modes_that_their_content_needs() {
    let rendering = Rendering::agent();
    let mode =
        |name: &str| fs::metadata(rendering.0.site.path(name)).expect("it is there").permissions().mode() & 0o777;
    for (target, modes) in [
        ("docker", &[("start-agent-1.sh", 0o755), ("agent-1.env", 0o600)][..]),
        ("compose", &[("docker-compose.yml", 0o644), ("docker-compose.override.yml", 0o600)]),
        ("systemd", &[("agent-1.service", 0o644), ("agent-1.env", 0o600)]),
        ("quadlet", &[("agent-1.container", 0o644), ("agent-1.env", 0o600)]),
        ("script", &[("install-agent.sh", 0o700)]),
        ("cloud-init", &[("user-data-agent-1.yaml", 0o600)]),
    ] {
        rendering.run().args(["--as", target, "--out", target]).run().assert_ok();
        let written = fs::read_dir(rendering.0.site.path(target)).expect("it was made").count();
        assert_eq!(written, modes.len(), "{target}");
        for (name, expected) in modes {
            let found = mode(&format!("{target}/{name}"));
            assert_eq!(found, *expected, "{target}/{name} has {found:o}");
            let holds = String::from_utf8(rendering.0.site.read(&format!("{target}/{name}"))).expect("it is text");
            assert!(!holds.contains(TOKEN) || expected.trailing_zeros() >= 6, "{target}/{name}");
        }
    }
}

#[test]
#[cfg(unix)] // modes of files
fn a_script_is_for_its_owner_alone_as_soon_as_something_in_it_may_be_secret() {
    let rendering = Rendering::agent();
    let site = &rendering.0.site;
    let password = ["--registry-user=u", "--registry-password-file=token"];
    for (out, more, expected) in [
        ("none", &[][..], 0o755),
        ("variable", &["--env=EXTRA=1"], 0o700),
        ("heap", &["--heap=1g"], 0o700),
        ("password", &password, 0o700),
        ("token", &["--token-file=token"], 0o700),
    ] {
        let run = site.octobundle(["render", "agent", "release.tar", "--registry", TARGET, "--as", "script"]);
        let about = ["--name", "agent-1", "--server-url", "https://octoperf.corp", "--out", &format!("of-{out}")];
        run.args(about).args(more).run().assert_ok();
        let written = site.path(&format!("of-{out}")).join("install-agent.sh");
        let found = fs::metadata(written).expect("it was written").permissions().mode();
        assert_eq!(found & 0o777, expected, "{out}");
        // What nobody else may read is not printed either.
        let run = site.octobundle(["render", "agent", "release.tar", "--registry", TARGET, "--as", "script"]);
        let printed = run.args(&about[..4]).args(more).run();
        assert_eq!(printed.code == Some(0), expected == 0o755, "{out}: {}", printed.stderr);
    }
}

#[test]
#[cfg(unix)] // a shell's `umask`
fn the_umask_neither_opens_nor_closes_what_is_rendered() {
    let rendering = Rendering::agent();
    let site = &rendering.0.site;
    let sh = need("sh").expect("every system has one");
    let mode = |path: &str| fs::metadata(site.path(path)).expect("it is there").permissions().mode() & 0o777;
    for (umask, folder) in [("000", 0o755), ("027", 0o750), ("077", 0o700)] {
        let script = format!(
            "umask {umask} && exec '{}' render agent release.tar --registry {TARGET} --as vagrant --box b --out {umask} \
             --name agent-1 --server-url https://octoperf.corp --token-file token",
            support::cli::binary().display()
        );
        site.run(&sh, ["-c", &script]).run().assert_ok();
        assert_eq!(mode(umask), folder, "umask {umask}");
        for (name, expected) in
            [("Vagrantfile", 0o644), ("wsl.ps1", 0o644), ("start-agent-1.sh", 0o755), ("agent-1.env", 0o600)]
        {
            let found = mode(&format!("{umask}/{name}"));
            assert_eq!(found, expected, "{name} has {found:o} with umask {umask}");
        }
    }
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

/// An engine that shows the env-file that it was given.
#[cfg(unix)]
const SHOWS: &str = "#!/bin/sh\nwhile [ \"$1\" != --env-file ]; do shift; done\nexec cat -- \"$2\"\n";

#[test]
#[cfg(unix)] // a shell
fn the_start_script_finds_the_env_file_from_wherever_it_is_called() {
    let rendering = Rendering::agent();
    let site = &rendering.0.site;
    let sh = need("sh").expect("every system has one");
    site.program("bin/docker", SHOWS);
    let path = format!("{}:{}", site.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    let start = || site.run(&sh, ["out/start-agent-1.sh"]).env("PATH", &path).run().assert_ok().stdout;
    rendering.run().args(["--out", "out"]).run().assert_ok();
    assert!(start().contains(TOKEN));
    // Where it stands elsewhere, the operator is told to put it there.
    let told = rendering.run().args(["--out", "out", "--env-file", "else/where.env", "--replace"]).run().assert_ok();
    assert!(told.stderr.contains("put `agent-1.env` at `else/where.env`"), "{}", told.stderr);
    site.write("else/where.env", "PUT=there\n");
    assert_eq!(start(), "PUT=there\n");
}

#[test]
fn files_that_were_written_on_windows_are_taken() {
    let rendering = Rendering::agent();
    let site = &rendering.0.site;
    site.write("token", format!("\u{feff}{TOKEN}\r\n"));
    site.write("command", format!("\u{feff}{}", shown(rendering.0.name(0)).replace('\n', "\r\n")));
    rendering.run().run().assert_ok();
    assert!(rendering.env_file().starts_with(&format!("AGENT_TOKEN={TOKEN}\n")), "no mark and no second line end");
    let run = site.octobundle(["render", "agent", "release.tar", "--registry", TARGET, "--replace", "--from-command"]);
    run.arg("command").run().assert_ok();
    let run = site.octobundle(["render", "agent", "release.tar", "--registry", TARGET, "--replace", "--from-command"]);
    run.arg("-").input(site.read("command")).run().assert_ok();
    // PowerShell 5 writes UTF-16 where somebody redirects into a file.
    let wide: Vec<u8> = TOKEN.encode_utf16().flat_map(u16::to_le_bytes).collect();
    site.write("token", [&b"\xff\xfe"[..], &wide].concat());
    let refused = rendering.run().arg("--replace").run().assert_code(INPUT);
    assert!(refused.stderr.contains("save it as UTF-8"), "{}", refused.stderr);
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

    // What a form has no place for is left out and mentioned: nobody can take it out of OctoPerf's command.
    for (form, left_out) in [("compose", &["run-option"][..]), ("quadlet", &["run-option"]), ("docker", &[])] {
        let told = run().args(["command", "--as", form, "--out", form]).run().assert_ok().stderr;
        let notes: Vec<&str> = told.lines().filter(|line| line.contains("of the command is left out: ")).collect();
        assert_eq!(notes.len(), left_out.len(), "{form}: {told}");
        assert!(left_out.iter().zip(&notes).all(|(key, note)| note.contains(&format!("`{key}`"))), "{form}: {told}");
    }
    // The same by a flag was asked for, and is refused.
    let asked = ["command", "--as", "compose", "--out", "x", "--run-option=--memory=1g"];
    assert!(run().args(asked).run().assert_code(USAGE).stderr.contains("leave out `run-option`"));

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
    site.write("token", "of-another-place");
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
        ("heap: 2g", "haep: 2g", "berlin.yaml:6:1", "did you mean `heap`"),
        ("  - A=1", "  - A1", "berlin.yaml:9:5", "NAME=VALUE"),
        ("  - A=1", "  - A: 1", "berlin.yaml:9:5", "`env: VALUE`, or below it one `- VALUE` a line"),
        ("  - A=1", "  - B=1", "berlin.yaml:10:5", "leave out one of the two"),
        ("  - A=1", "  - AGENT_TOKEN=s3cret", "berlin.yaml:9:5", "--token-file FILE"),
        ("  - A=1", "  - SERVER_URL=s3cret", "berlin.yaml:9:5", "--server-url URL"),
        ("env:\n  - A=1", "agent-no-proxy: x\nenv:\n  - NO_PROXY=s3cret", "berlin.yaml:10:5", "--agent-no-proxy HOSTS"),
        ("name: agent-1", "name: [a-1, a-2]", "berlin.yaml:4:7", "name: VALUE"),
        ("name: agent-1", "name: []", "berlin.yaml:4:7", "name: VALUE"),
        ("name: agent-1", "name:", "berlin.yaml:4:", "name: VALUE"),
        ("name: agent-1\n", "", "needs `name`", "`--name NAME`"),
        ("as: docker", "as: dokcer", "berlin.yaml:2:5", "did you mean `--as docker`"),
        ("as: docker", "as: compose\nenv-file: x.env", "berlin.yaml:3:11", "leave out `env-file`"),
        ("as: docker", "as: script\nenv-file: x.env", "berlin.yaml:3:11", "write the whole path"),
        ("as: docker", "as: podman\nengine: docker", "berlin.yaml:3:9", "leave out `engine`"),
        ("heap: 2g", "keep-host: maybe", "berlin.yaml:6:12", "--keep-host"),
        ("token-file: token", "token-file: gone", "berlin.yaml:5:13", "check the path"),
        ("registry: reg.corp", "registry: https://reg.corp", "berlin.yaml:1:11", "write `--registry reg.corp"),
    ] {
        assert!(text.contains(change), "{change}");
        site.write("sites/berlin.yaml", text.replacen(change, with, 1));
        let refused = site.octobundle(["render", "--check", "sites/berlin.yaml"]).run().assert_code(INPUT);
        let shown = &refused.stdout;
        assert!(shown.contains(place) && shown.contains(help) && shown.ends_with("\n1 mistake\n"), "{with}: {shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
        let rendered = site.octobundle(["render", "agent", "release.tar", "--site", "sites/berlin.yaml", "--replace"]);
        assert_ne!(rendered.run().code, Some(0), "{with}");
    }
}

#[test]
fn a_check_tells_every_mistake_of_a_site_file_with_its_line() {
    let site = support::cli::Site::new();
    let text = "registry: https://reg.corp\nas: systemd\nserver-url: octoperf.corp\nname: a b\nhaep: 1g\nheap: 1\n\
        debug: maybe\ntoken-file: gone\nenv-file: rel.env\nbox: b\nnamespace: n\npin: {a: b}\nauto-update: off\n\
        java-option:\n  - -Da=b\n  - -Dc=d e\nenv:\n  - A=1\n  - B\n  - 9=1\n  - A=2\nvolume: ./x:/y\n\
        run-option: --name=x\nregistry-user-property: u.p\npublished-port: 080\n";
    site.write("site.yaml", text);
    let told = site.octobundle(["render", "--check", "site.yaml", "--json"]).run().assert_code(INPUT).json();
    let mistakes = told["mistakes"].as_array().expect("it is a list");
    let lines: Vec<u64> = mistakes.iter().map(|mistake| mistake["line"].as_u64().expect("it is a number")).collect();
    let expected = [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 19, 20, 21, 22, 23, 24, 25];
    assert_eq!(lines, expected, "{told:#}");
    for mistake in mistakes {
        let message = mistake["message"].as_str().expect("it is text");
        assert!(message.starts_with(&format!("site.yaml:{}:", mistake["line"])), "{message}");
        assert!(mistake["help"].is_string(), "{message} has no next step");
    }
    assert_eq!((&told["sound"], &told["says"]), (&serde_json::json!(false), &serde_json::Value::Null));
    let shown = site.octobundle(["render", "--check", "site.yaml"]).run().assert_code(INPUT);
    assert!(shown.stdout.ends_with("\n20 mistakes\n") && shown.stderr.is_empty(), "{shown:?}");

    // What is right is said to be, and a token that lacks is no mistake: it is asked for.
    site.write("site.yaml", "as: systemd\nserver-url: https://octoperf.corp\nname: agent-1\n");
    let told = site.octobundle(["render", "--check", "site.yaml", "--json"]).run().assert_ok().json();
    assert_eq!((&told["sound"], &told["mistakes"]), (&serde_json::json!(true), &serde_json::json!([])));
    assert!(told["says"].as_str().expect("it is text").contains("but the token"), "{told}");
    // `compose` is a form of the server too.
    let server = "as: compose\nserver-url: https://octoperf.corp\ndata-path: /data\n";
    site.write("site.yaml", server);
    let told = site.octobundle(["render", "--check", "site.yaml"]).run().assert_ok();
    assert!(told.stdout.contains("`render infra --as compose` has all it needs\n"), "{}", told.stdout);
    site.write("site.yaml", server.replace("data-path: /data\n", "port: x\n"));
    let told = site.octobundle(["render", "--check", "site.yaml"]).run().assert_code(INPUT);
    assert!(told.stdout.contains("needs `data-path`") && told.stdout.contains("site.yaml:3:7"), "{}", told.stdout);
}

#[test]
#[cfg(unix)] // a terminal of Unix
fn a_token_is_asked_for_in_a_terminal_and_not_shown() {
    let rendering = Rendering::agent();
    let site = &rendering.0.site;
    let about = ["render", "agent", "release.tar", "--registry", TARGET, "--name", "agent-1"];
    let server = ["--server-url", "https://octoperf.corp"];
    // Nobody is there to be asked.
    let alone = site.octobundle(about).args(server).run().assert_code(USAGE);
    assert!(alone.stderr.contains("--token-file FILE"), "{}", alone.stderr);

    let mut terminal = Terminal::open();
    let mut child = terminal.run(site, &[&about[..], &server].concat());
    terminal.wait_for("(not shown): ");
    terminal.type_in(&format!("{TOKEN}x\u{7f}\n"));
    terminal.wait_for("docker run -d");
    assert!(child.wait().expect("it can be waited for").success(), "{}", terminal.shown());
    assert!(!terminal.shown().contains("s3cret") && terminal.echoes(), "{}", terminal.shown());
    assert_eq!(rendering.env_file(), format!("AGENT_TOKEN={TOKEN}\nSERVER_URL=https://octoperf.corp\n"));

    // What else is wrong is said before somebody types a token for nothing.
    let terminal = Terminal::open();
    let mut child = terminal.run(site, &about);
    assert_eq!(child.wait().expect("it can be waited for").code(), Some(USAGE));
    terminal.wait_for("--server-url URL");
    assert!(!terminal.shown().contains("(not shown)"), "{}", terminal.shown());

    // What is no token is refused, and Ctrl-C leaves a terminal that shows what is typed.
    fs::remove_file(site.path("agent-1.env")).expect("it was written");
    for (typed, code) in [("\n", USAGE), ("'s3cret'\n", USAGE), ("s3cr\u{3}", 130)] {
        let mut terminal = Terminal::open();
        let mut child = terminal.run(site, &[&about[..], &server].concat());
        terminal.wait_for("(not shown): ");
        terminal.type_in(typed);
        assert_eq!(child.wait().expect("it can be waited for").code(), Some(code), "{typed:?}");
        assert!(terminal.echoes() && !terminal.shown().contains("s3cr"), "{}", terminal.shown());
        assert!(!site.path("agent-1.env").exists(), "{typed:?}");
    }
}

#[test]
fn sec_56_a_template_of_ones_own_reads_nothing_and_gets_no_secret() {
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
        // On Windows that is a file in a folder.
        ("a\\b.yaml", "x", "no plain file name"),
    ] {
        if cfg!(windows) && name.contains('\\') {
            continue;
        }
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

/// Runs a script at a terminal of its own, types half a token and Ctrl-C; prints how the script ended, and whether the
/// terminal showed what is typed while it was asked for and afterwards.
#[cfg(unix)]
const AT_A_TERMINAL: &str = "import json, os, pty, signal, sys, termios
child, terminal = pty.fork()
if child == 0:
    # Who started all this may be deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
def shows():
    return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)
shown = b''
while b'Add Agent' not in shown:
    shown += os.read(terminal, 1000)
asking = shows()
os.write(terminal, b's3cr\\x03')
_, status = os.waitpid(child, 0)
json.dump([os.waitstatus_to_exitcode(status), asking, shows()], sys.stdout)
";

#[test]
#[cfg(unix)] // a shell
fn the_script_wants_the_engines_socket_before_it_changes_anything() {
    let (rendering, Some(_)) = (Rendering::agent(), need("curl")) else { return };
    let site = &rendering.0.site;
    let sh = need("sh").expect("every system has one");
    let path = format!("{}:{}", site.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    // systemd tells of a service that is off.
    site.program("bin/systemctl", "#!/bin/sh\nexit 1\n");
    for (engine, socket, help) in [
        ("docker", "/var/run/docker.sock", "systemctl enable --now docker"),
        ("podman", "/var/run/podman/podman.sock", "systemctl enable --now podman.socket"),
    ] {
        site.program(&format!("bin/{engine}"), ENGINE);
        let about = ["--registry", TARGET, "--name", "agent-1", "--server-url", "http://127.0.0.1:1"];
        let form = ["--as", "script", "--engine", engine, "--out", engine];
        site.octobundle(["render", "agent", "release.tar"]).args(about).args(form).run().assert_ok();
        let script = String::from_utf8(site.read(&format!("{engine}/install-agent.sh"))).expect("it is text");
        // Another place than that of this machine's own engine.
        let own = site.path("engine.sock");
        site.write("install.sh", script.replace(socket, &own.display().to_string()));
        let run = || site.run(&sh, ["install.sh"]).env("PATH", &path).env("OCTOBUNDLE_ROOT", site.path("root")).run();
        let told = run().assert_code(1);
        assert!(told.stderr.contains("socket is not at") && told.stderr.contains(help), "{told:?}");
        let listening = std::os::unix::net::UnixListener::bind(&own).expect("its name is short");
        let told = run().assert_code(1);
        assert!(!told.stderr.contains("socket is not at") && told.stderr.contains("does not answer"), "{told:?}");
        assert_eq!(told.stderr.contains("systemctl enable podman-restart.service"), engine == "podman", "{told:?}");
        drop(listening);
        fs::remove_file(own).expect("it was made");
        assert!(!site.path("root").exists(), "nothing was written");
    }
}

/// An engine that has nothing and does everything.
#[cfg(unix)]
const ENGINE: &str = "#!/bin/sh\n[ \"$1\" != inspect ]\n";

#[test]
#[cfg(unix)] // a shell
fn the_script_asks_for_the_token_unseen_and_leaves_a_terminal_that_shows_what_is_typed() {
    let (rendering, Some(python)) = (Rendering::agent(), need("python3")) else { return };
    let site = &rendering.0.site;
    let about = ["--registry", TARGET, "--name", "agent-1", "--server-url", "http://127.0.0.1:1", "--as", "script"];
    site.octobundle(["render", "agent", "release.tar", "--out", "out"]).args(about).run().assert_ok();
    site.write("terminal.py", AT_A_TERMINAL);
    site.program("bin/docker", ENGINE);
    let path = format!("{}:{}", site.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    for (shell, first) in [("dash", None), ("bash", None), ("busybox", Some("sh"))] {
        let Some(program) = need(shell) else { continue };
        let run = site.run(&python, ["terminal.py"]).arg(program).args(first);
        let run = run.args(["out/install-agent.sh", "--force"]).env("PATH", &path);
        let told = run.env("OCTOBUNDLE_ROOT", site.path("root")).run().assert_ok().json();
        assert_eq!(told, serde_json::json!([130, false, true]), "{shell}");
        assert!(!site.path("root").exists(), "nothing was written");
    }
}
