//! The rendered line, read by real shells.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::failure::{ErrorClass, Explain};
use crate::images::{LOCK_SCHEMA, LockedContent, LockedImage, LockedPlatform};
use crate::oci::Digest;
use crate::plan::{SourceHost, Target};

fn request(engine: ContainerEngine) -> AgentRequest {
    AgentRequest {
        engine,
        image: "reg.corp:5000/tools/octoperf/docker-agent:9.0.0".parse().unwrap(),
        name: "agent-1".parse().unwrap(),
        server_url: "https://octoperf.corp".parse().unwrap(),
        token: AgentToken::from_file("t0ken+/=\n").unwrap(),
        env_file: "agent-1.env".into(),
        java_options: Vec::new(),
        variables: Vec::new(),
    }
}

fn value(text: &str) -> EnvValue {
    EnvValue::parse("value", text).unwrap()
}

#[test]
fn the_line_is_the_documented_one_with_the_private_image() {
    let docker = request(ContainerEngine::Docker).render().unwrap();
    assert_eq!(
        docker.command,
        "docker run -d --restart=unless-stopped --name agent-1 -v /var/run/docker.sock:/var/run/docker.sock \
         --env-file agent-1.env reg.corp:5000/tools/octoperf/docker-agent:9.0.0"
    );
    let podman = request(ContainerEngine::Podman).render().unwrap();
    assert_eq!(
        podman.command,
        "podman run -d --restart=unless-stopped --name agent-1 \
         -v /var/run/podman/podman.sock:/var/run/docker.sock --env-file agent-1.env \
         reg.corp:5000/tools/octoperf/docker-agent:9.0.0"
    );
    assert_eq!(docker.env_file.as_bytes(), b"AGENT_TOKEN=t0ken+/=\nSERVER_URL=https://octoperf.corp\n");
    assert_eq!(docker.env_file, podman.env_file);
}

#[test]
fn java_options_become_one_variable() {
    let mut wanted = request(ContainerEngine::Docker);
    wanted.java_options = vec![value("-Xmx1g"), value("-Da=b")];
    wanted.variables = vec![(EnvName::parse("server.hostname").unwrap(), value("a b # \"c\""))];
    let env_file = wanted.render().unwrap().env_file;
    let lines: Vec<&str> = std::str::from_utf8(env_file.as_bytes()).unwrap().lines().skip(2).collect();
    assert_eq!(lines, ["JAVA_OPTS=-Xmx1g -Da=b", "server.hostname=a b # \"c\""]);
}

#[test]
fn the_token_is_nowhere_but_in_the_env_file() {
    let wanted = request(ContainerEngine::Docker);
    assert!(!format!("{wanted:?}").contains("t0ken"));
    let rendered = wanted.render().unwrap();
    assert!(!format!("{rendered:?}").contains("t0ken"));
    assert!(!rendered.command.contains("t0ken") && !rendered.notes.concat().contains("t0ken"));
}

#[test]
fn a_token_that_an_env_file_cannot_carry_is_refused_without_showing_it() {
    for content in [
        "",
        "\n",
        "\r\n",
        "sec\nret",
        "secret\n\n",
        "\rsecret",
        "sec\x1b[31mret",
        "sec\0ret",
        "sec\u{9b}ret",
        " secret",
        "secret\t",
        "secret \n",
        "\"secret\"",
        "'secret",
        "`secret`",
        "\u{a0}secret",
    ] {
        let error = AgentToken::from_file(content).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Usage, "{content:?}");
        let shown = format!("{error} {error:?} {:?}", error.help());
        assert!(!shown.contains("secret") && !shown.chars().any(char::is_control), "{shown}");
    }
    assert!(AgentToken::from_file(&"s".repeat(40_000)).is_err());
    assert_eq!(AgentToken::from_file("a=b #c\r\n"), AgentToken::from_file("a=b #c"));
}

#[test]
fn names_that_docker_refuses_are_refused() {
    for name in ["", "a", "-a", ".a", "_a", "a b", "a/b", "a;b", "é1", "a\n", "$(id)", &"a".repeat(300)] {
        assert!(matches!(name.parse::<ContainerName>(), Err(RenderError::ContainerName(_))), "{name:?}");
    }
    for name in ["ab", "Agent_1.x-y", "0a"] {
        assert!(name.parse::<ContainerName>().is_ok(), "{name}");
    }
    for name in ["", "1A", "A-B", "A=B", "A B", ".A", "A\n"] {
        assert!(matches!(EnvName::parse(name), Err(RenderError::EnvName(_))), "{name:?}");
    }
}

#[test]
fn an_address_that_the_agent_could_not_use_is_refused() {
    for address in [
        "",
        "octoperf.corp",
        "ftp://a",
        "https:/a",
        "https://",
        "https:///a",
        "http://a b",
        "https://a\nb",
        "https://me:hunter2@a",
        "https://a/?x=1",
        "https://a/#x",
        "https://a\\b",
        "https://[::1",
        "https://a\x1b",
    ] {
        let error = address.parse::<ServerUrl>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        assert_eq!(error.class(), ErrorClass::Usage, "{address}");
    }
    for address in ["https://api.octoperf.com", "http://10.0.0.1:8090", "https://[::1]:443/ui/"] {
        assert_eq!(address.parse::<ServerUrl>().unwrap().to_string(), address);
    }
    let mut plain = request(ContainerEngine::Docker);
    plain.server_url = "http://10.0.0.1".parse().unwrap();
    assert!(plain.render().unwrap().notes.iter().any(|note| note.contains("plain http")));
}

#[test]
fn a_variable_that_is_set_twice_or_falls_apart_is_refused() {
    let mut twice = request(ContainerEngine::Docker);
    twice.variables = vec![(EnvName::parse("AGENT_TOKEN").unwrap(), value("x"))];
    assert_eq!(twice.render().unwrap_err(), RenderError::EnvTwice("AGENT_TOKEN".into()));
    let mut apart = request(ContainerEngine::Docker);
    apart.java_options = vec![value("-Da=b c")];
    assert_eq!(apart.render().unwrap_err(), RenderError::JavaOption);
}

#[test]
fn a_path_that_is_no_argument_is_refused() {
    for path in ["", "a\nb", "a\rb", "a\0b", "a\x1b]0;x\x07", &"a".repeat(5000)] {
        let mut wanted = request(ContainerEngine::Docker);
        wanted.env_file = path.to_owned();
        assert!(wanted.render().is_err(), "{path:?}");
    }
}

fn lock(images: &[(&str, &str)]) -> Lock {
    let content = LockedContent { media_type: "application/x".into(), digest: Digest::of(b"x"), size: 1 };
    let images = images.iter().map(|(name, role)| {
        let name: ImageRef = name.parse().unwrap();
        let platform =
            LockedPlatform { platform: None, manifest: content.clone(), config: content.clone(), layers: Vec::new() };
        LockedImage {
            source: name.repository().clone(),
            name,
            role: (*role).to_owned(),
            groups: std::collections::BTreeSet::new(),
            root: content.clone(),
            index: None,
            derived: false,
            insecure: false,
            platforms: vec![platform],
        }
    });
    Lock {
        schema: LOCK_SCHEMA.into(),
        release: "r".into(),
        title: "R".into(),
        manifest: Digest::of(b"m"),
        images: images.collect(),
    }
}

fn names(lock: &Lock) -> MirrorMap {
    MirrorMap::of_lock(lock, &Target::parse("reg.corp/tools", SourceHost::Drop).unwrap()).unwrap()
}

#[test]
fn the_agent_is_the_image_with_that_role_under_its_private_name() {
    let one = lock(&[("octoperf/jmeter:1", "load-generator"), ("octoperf/docker-agent:2", "agent")]);
    let map = names(&one);
    assert_eq!(agent_image(&one, &map, None).unwrap().to_string(), "reg.corp/tools/octoperf/docker-agent:2");
}

#[test]
fn without_one_clear_agent_the_choices_are_listed() {
    let several = lock(&[("octoperf/a:1", "agent"), ("octoperf/b:1", "agent"), ("octoperf/c:1", "other")]);
    let map = names(&several);
    let error = agent_image(&several, &map, None).unwrap_err();
    assert!(error.to_string().contains("octoperf/a:1") && error.to_string().contains("octoperf/b:1"), "{error}");
    assert!(!error.to_string().contains("octoperf/c:1"), "{error}");
    assert_eq!(error.help().unwrap(), "choose one: `--image docker.io/octoperf/a:1`");
    let wanted = "octoperf/b:1".parse().unwrap();
    assert_eq!(agent_image(&several, &map, Some(&wanted)).unwrap().to_string(), "reg.corp/tools/octoperf/b:1");
    let missing = "octoperf/d:1".parse().unwrap();
    let error = agent_image(&several, &map, Some(&missing)).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound);
    assert!(error.to_string().contains("octoperf/c:1"), "{error}");
    let none = lock(&[("octoperf/c:1", "other")]);
    let error = agent_image(&none, &names(&none), None).unwrap_err();
    assert!(matches!(error, RenderError::NoAgent { .. }) && error.help().unwrap().contains("octoperf/c:1"));
}

/// A folder with a `docker` and a `podman` that write their arguments, each ended by NUL, program name first.
fn stubs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for program in ["docker", "podman"] {
        let script = format!("#!/bin/sh\nprintf '%s\\0' {program} \"$@\"\n");
        install(&folder.path().join(program), &script);
    }
    folder
}

/// Writes a program in a process of its own: a descriptor of ours, inherited by another test's child, would keep the
/// program from being run ("text file busy").
fn install(path: &Path, text: &str) {
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut writer.stdin.take().unwrap(), text.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
}

/// The shells of this machine that the line is meant for; `sh` is on every one.
fn shells() -> Vec<(PathBuf, &'static [&'static str])> {
    let known: [(&str, &[&str]); 4] = [("sh", &[]), ("dash", &[]), ("bash", &[]), ("busybox", &["sh"])];
    let places = ["/bin", "/usr/bin", "/usr/local/bin"];
    let found = known.iter().filter_map(|(name, arguments)| {
        let place = places.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists())?;
        Some((place, *arguments))
    });
    found.collect()
}

fn arguments_seen_by(shell: &(PathBuf, &[&str]), line: &str, stubs: &Path) -> Vec<Vec<u8>> {
    let output =
        Command::new(&shell.0).args(shell.1).args(["-c", line]).env_clear().env("PATH", stubs).output().unwrap();
    assert!(output.status.success(), "{}: {}", shell.0.display(), String::from_utf8_lossy(&output.stderr));
    let mut arguments: Vec<Vec<u8>> = output.stdout.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect();
    assert_eq!(arguments.pop(), Some(Vec::new()), "each argument ends in NUL");
    arguments
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]
    #[test]
    fn real_shells_read_back_the_arguments(
        path in "(\\PC|[ '\"$`\\\\!*?{}()<>|&;~#=%^\u{a0}\\[\\]-]){1,24}",
        name in "[a-zA-Z0-9][a-zA-Z0-9_.-]{1,12}",
        podman in any::<bool>(),
    ) {
        let stubs = stubs();
        let engine = if podman { ContainerEngine::Podman } else { ContainerEngine::Docker };
        let mut wanted = request(engine);
        wanted.env_file = path.clone();
        wanted.name = name.parse().unwrap();
        let rendered = wanted.render().unwrap();
        let program = engine.program();
        let socket = if podman { "/var/run/podman/podman.sock" } else { "/var/run/docker.sock" };
        let mount = format!("{socket}:/var/run/docker.sock");
        let expected = [program, "run", "-d", "--restart=unless-stopped", "--name", &name, "-v", &mount, "--env-file",
            &path, "reg.corp:5000/tools/octoperf/docker-agent:9.0.0"];
        prop_assert_eq!(&rendered.arguments, &expected);
        let shells = shells();
        prop_assert!(!shells.is_empty());
        for shell in &shells {
            let seen = arguments_seen_by(shell, &rendered.command, stubs.path());
            let seen: Vec<OsString> = seen.into_iter().map(OsString::from_vec).collect();
            prop_assert_eq!(seen, expected.map(OsString::from), "{}: {}", shell.0.display(), rendered.command);
        }
    }
}
