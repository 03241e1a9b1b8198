//! The rendered line.

use super::*;
use crate::failure::{ErrorClass, Explain};
use crate::render::{AgentToken, ContainerName, EnvName, Pin, ServerUrl};

fn env_file(rendered: &Rendered) -> &str {
    rendered.files.iter().find(|file| file.mode().is_secret()).unwrap().content()
}

pub(super) fn command(rendered: &Rendered) -> String {
    rendered.command_line().unwrap()
}

#[test]
fn the_line_is_the_documented_one_with_the_private_image() {
    let docker = render(RenderTarget::Docker, &given()).unwrap();
    assert_eq!(
        command(&docker),
        "docker run -d --restart=unless-stopped --name agent-1 -v /var/run/docker.sock:/var/run/docker.sock \
         --env-file agent-1.env reg.corp:5000/tools/octoperf/docker-agent:9.0.0"
    );
    let podman = render(RenderTarget::Podman, &given()).unwrap();
    assert_eq!(
        command(&podman),
        "podman run -d --restart=always --name agent-1 \
         -v /var/run/podman/podman.sock:/var/run/docker.sock --env-file agent-1.env \
         reg.corp:5000/tools/octoperf/docker-agent:9.0.0"
    );
    assert_eq!(env_file(&docker), "AGENT_TOKEN=t0ken+/=\nSERVER_URL=https://octoperf.corp\n");
    assert_eq!(env_file(&docker), env_file(&podman));
}

#[test]
fn who_has_to_log_in_or_to_switch_something_on_is_told_how() {
    let notes =
        |target: RenderTarget, more: &[(Setting, &str)]| render(target, &given_with(more)).unwrap().notes.join("\n");
    let login = [(Setting::RegistryUser, "ro bot$"), (Setting::RegistryPasswordFile, "s3cret")];
    for target in [RenderTarget::Docker, RenderTarget::Compose, RenderTarget::Systemd] {
        let told = notes(target, &login);
        assert!(told.contains("`docker login --username 'ro bot$' reg.corp:5000`"), "{target:?}: {told}");
        assert!(!notes(target, &[]).contains(" login ") && !told.contains("s3cret"), "{target:?}");
    }
    for target in [RenderTarget::Podman, RenderTarget::Quadlet] {
        assert!(notes(target, &login).contains("`podman login --username 'ro bot$' reg.corp:5000`"), "{target:?}");
    }
    assert!(!notes(RenderTarget::Script, &login).contains(" login "), "it logs in itself");
    let podman = [(Setting::Engine, "podman")];
    for (target, more) in [(RenderTarget::Podman, &[][..]), (RenderTarget::Compose, &podman)] {
        assert!(notes(target, more).contains("systemctl enable podman-restart.service"), "{target:?}");
    }
    assert!(!notes(RenderTarget::Docker, &[]).contains("podman"));
}

#[test]
fn what_stands_between_the_servers_address_and_its_port_is_told() {
    let notes = |more: &[(Setting, &str)]| {
        let mut given = super::all::answers_for(RenderTarget::InfraCompose, false);
        for (setting, text) in more {
            given.add(*setting, *text);
        }
        let images = images(&super::all::everything());
        RenderTarget::InfraCompose.render(&Answers::new(&given).unwrap(), &images).unwrap().notes.join("\n")
    };
    assert!(notes(&[]).contains("plain http at port 80: what has the certificate for `https://octoperf.corp/`"));
    let address = (Setting::ServerUrl, "http://octoperf.corp:8080");
    let told = notes(&[address]);
    assert!(told.contains("port 8080 of") && told.contains("add `--published-port 8080`"), "{told}");
    for sound in [&[address, (Setting::PublishedPort, "8080")][..], &[(Setting::ServerUrl, "http://octoperf.corp")]] {
        assert!(!notes(sound).contains("published"), "{sound:?}");
    }
}

#[test]
fn java_options_become_one_variable() {
    let lines = |more: &[(Setting, &str)]| -> Vec<String> {
        let rendered = render(RenderTarget::Docker, &given_with(more)).unwrap();
        env_file(&rendered).lines().skip(2).map(str::to_owned).collect()
    };
    let asked = [
        (Setting::JavaOption, "-Xms1g"),
        (Setting::JavaOption, "-Da=b"),
        (Setting::Env, "server.hostname=a b # \"c\""),
    ];
    assert_eq!(lines(&asked), ["JAVA_OPTS=-Xms1g -Da=b", "server.hostname=a b # \"c\""]);
    let debug = "-Dorg.slf4j.simpleLogger.defaultLogLevel=debug";
    let all = [
        (Setting::Env, "JAVA_OPTS=-Xmx256m  -Dc=d"),
        (Setting::Heap, "1g"),
        (Setting::Debug, "true"),
        (Setting::RegistryUserProperty, "registry.user"),
        (Setting::RegistryUser, "corp"),
        (Setting::RegistryPasswordProperty, "registry.password"),
        (Setting::RegistryPasswordFile, "pa$$\n"),
        (Setting::RegistryHostProperty, "registry.host"),
    ];
    let same = format!("JAVA_OPTS=-Da=b {debug}");
    assert_eq!(lines(&[(Setting::Env, &same), (Setting::Debug, "true")]), [same.as_str()], "it is asked for once");
    let login = "-Dregistry.user=corp -Dregistry.password=pa$$ -Dregistry.host=reg.corp:5000";
    assert_eq!(lines(&all), [format!("JAVA_OPTS=-Dc=d -Xmx1g {debug} {login}")]);
}

#[test]
fn sec_55_the_token_is_nowhere_but_in_the_env_file() {
    let answers = Answers::new(&given()).unwrap();
    assert!(!format!("{answers:?}").contains("t0ken"));
    let rendered = render(RenderTarget::Docker, &given()).unwrap();
    assert!(!format!("{rendered:?}").contains("t0ken"));
    assert!(!command(&rendered).contains("t0ken") && !rendered.notes.concat().contains("t0ken"));
    let holding = rendered.files.iter().filter(|file| file.content().contains("t0ken"));
    assert!(holding.clone().count() == 1 && holding.clone().all(|file| file.mode().is_secret()));
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
    let mut plain = given();
    plain.add(Setting::ServerUrl, "http://10.0.0.1");
    let rendered = render(RenderTarget::Docker, &plain).unwrap();
    assert!(rendered.notes.iter().any(|note| note.contains("plain http")));
}

#[test]
fn a_variable_that_is_set_twice_or_falls_apart_is_refused() {
    let refused = |setting, text| render(RenderTarget::Docker, &given_with(&[(setting, text)])).unwrap_err();
    assert_eq!(refused(Setting::Env, "AGENT_TOKEN=x"), RenderError::EnvTwice("AGENT_TOKEN".into()));
    assert_eq!(refused(Setting::JavaOption, "-Da=b c"), RenderError::JavaOption);
    assert_eq!(refused(Setting::Env, "A"), RenderError::NoEquals);
    assert_eq!(refused(Setting::AutoUpdate, "off"), RenderError::NoAutoUpdateVariable);
}

#[test]
fn a_path_that_is_no_argument_is_refused() {
    for path in ["", "a\nb", "a\rb", "a\0b", "a\x1b]0;x\x07", "a\u{202e}b", &"a".repeat(5000)] {
        let wanted = given_with(&[(Setting::EnvFile, path)]);
        assert!(render(RenderTarget::Docker, &wanted).is_err(), "{path:?}");
    }
}

#[test]
fn what_no_shell_reads_needs_an_absolute_path_of_its_env_file() {
    let relative = given_with(&[(Setting::EnvFile, "agent.env")]);
    for target in [RenderTarget::Systemd, RenderTarget::Quadlet, RenderTarget::Script] {
        let error = render(target, &relative).unwrap_err();
        assert_eq!(error, RenderError::AbsolutePath("agent.env".into()), "{target:?}");
    }
    assert!(render(RenderTarget::Docker, &relative).is_ok());
}

#[test]
fn a_text_that_reads_like_a_switch_is_an_answer_all_the_same() {
    let mut named = given();
    named.add(Setting::Name, "false");
    assert!(command(&render(RenderTarget::Docker, &named).unwrap()).contains("--name false "));
}

#[test]
fn the_agent_is_the_image_with_that_role_under_its_private_name() {
    let one = images(&lock(&[("octoperf/jmeter:1", "load-generator"), ("octoperf/docker-agent:2", "agent")]));
    let agent = one.agent(None).unwrap();
    assert_eq!(agent.name.to_string(), "reg.corp:5000/tools/octoperf/docker-agent:2");
    let digest = Digest::of(b"docker.io/octoperf/docker-agent:2");
    assert_eq!(agent.reference(Pin::Digest), format!("reg.corp:5000/tools/octoperf/docker-agent@{digest}"));
}

#[test]
fn without_one_clear_agent_the_choices_are_listed() {
    let several = images(&lock(&[("octoperf/a:1", "agent"), ("octoperf/b:1", "agent"), ("octoperf/c:1", "other")]));
    let error = several.agent(None).unwrap_err();
    assert!(error.to_string().contains("octoperf/a:1") && error.to_string().contains("octoperf/b:1"), "{error}");
    assert!(!error.to_string().contains("octoperf/c:1"), "{error}");
    assert_eq!(error.help().unwrap(), "choose one: `--image docker.io/octoperf/a:1`");
    let wanted = "octoperf/b:1".parse().unwrap();
    assert_eq!(several.agent(Some(&wanted)).unwrap().name.to_string(), "reg.corp:5000/tools/octoperf/b:1");
    let missing = "octoperf/d:1".parse().unwrap();
    let error = several.agent(Some(&missing)).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound);
    assert!(error.to_string().contains("octoperf/c:1"), "{error}");
    let none = images(&lock(&[("octoperf/c:1", "other")]));
    let error = none.agent(None).unwrap_err();
    assert!(matches!(error, RenderError::NoAgent { .. }) && error.help().unwrap().contains("octoperf/c:1"));
}
