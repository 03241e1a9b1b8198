//! What is rendered is accepted by the programs that will read it.

mod support;

use std::path::Path;

use support::cli::{Output, Site};
use support::images::{Sample, TestImage};
use support::real::need;
use support::release::Release;

const TARGET: &str = "reg.corp:5000/tools";

/// A site with a bundle of everything that a release has.
fn site() -> Release {
    let names = [
        "octoperf/docker-agent:9.0.0",
        "octoperf/jmeter-standard:9.0.1",
        "octoperf/enterprise-edition:14.5.0",
        "octoperf/octoperf-ui:14.5.0",
        "octoperf/enterprise-documentation:14.5.0",
        "library/elasticsearch:8.19.7",
        "library/haproxy:alpine",
    ];
    let images: Vec<TestImage> = names.iter().map(|name| TestImage::new(name).layer(name.as_bytes())).collect();
    let release = Release::of(&images.iter().map(|image| image as &dyn Sample).collect::<Vec<_>>());
    release.bundle();
    release.site.write("token", "t0k$en'\n");
    release
}

fn render_agent(site: &Site, target: &str, out: &str, more: &[&str]) -> Output {
    let run = site.octobundle(["render", "agent", "release.tar", "--registry", TARGET, "--as", target, "--out", out]);
    let about = ["--server-url", "https://octoperf.corp", "--name", "agent-1", "--token-file", "token"];
    run.args(about).args(more).run().assert_ok()
}

/// Answers with everything that has a meaning somewhere.
const HARD: [&str; 8] = [
    "-e",
    "EXTRA.value=a 'b' \"c\" $HOME ${d} $(e) `f` %h %% \\ # é ☃",
    "--java-option=-Da=$b%c",
    "--heap=1g",
    "--debug",
    "--volume=/srv/with blank/$x:/data:ro",
    "--volume=named:/cache",
    "--agent-https-proxy=http://proxy.corp:3128",
];

fn run_in(site: &Site, folder: &str, program: &Path, arguments: &[&str]) -> Output {
    let mut words = vec!["-C".to_owned(), site.path(folder).display().to_string()];
    words.push(program.display().to_string());
    words.extend(arguments.iter().map(|&word| word.to_owned()));
    site.run(Path::new("/usr/bin/env"), words).run()
}

#[test]
fn docker_compose_reads_an_agents_files_as_they_were_meant() {
    let Some(compose) = need("docker-compose") else { return };
    let release = site();
    for (out, more) in [("plain", &[][..]), ("hard", &HARD[..]), ("pinned", &["--pin", "digest", "--no-docker-socket"])]
    {
        render_agent(&release.site, "compose", out, more);
        let read = run_in(&release.site, out, &compose, &["config"]).assert_ok().stdout;
        assert!(read.contains(&format!("{TARGET}/octoperf/docker-agent")), "{read}");
        let read: serde_json::Value = serde_saphyr::from_str(&read).expect("it prints YAML");
        let environment = &read["services"]["agent"]["environment"];
        assert_eq!(
            environment["AGENT_TOKEN"].as_str().map(|token| token.replace("$$", "$")).as_deref(),
            Some("t0k$en'")
        );
        if out == "hard" {
            let extra = HARD[1].split_once('=').expect("it is a variable").1;
            let printed = environment["EXTRA.value"].as_str().expect("it is there");
            assert_eq!(printed.replace("$$", "$"), extra);
        }
    }
}

#[test]
fn docker_compose_haproxy_and_make_accept_the_servers_files() {
    let (Some(compose), Some(haproxy), Some(make)) = (need("docker-compose"), need("haproxy"), need("make")) else {
        return;
    };
    let release = site();
    let run = release.site.octobundle(["render", "infra", "release.tar", "--registry", TARGET, "--as", "compose"]);
    let about = ["--out", "server", "--server-url", "https://octoperf.corp", "--data-path", "/home/octoperf/data"];
    let ports =
        ["--port", "octoperf-ui=80", "--port", "enterprise-documentation=8081", "-e", "server.public.port=8443"];
    run.args(about).args(ports).run().assert_ok();
    let read = run_in(&release.site, "server", &compose, &["config"]).assert_ok().stdout;
    let read: serde_json::Value = serde_saphyr::from_str(&read).expect("it prints YAML");
    let services = read["services"].as_object().expect("it has services");
    let names: Vec<&String> = services.keys().collect();
    for wanted in ["elasticsearch", "enterprise-edition", "octoperf-ui", "enterprise-documentation", "haproxy"] {
        let service = services.get(wanted).unwrap_or_else(|| panic!("{wanted} is not one of {names:?}"));
        assert!(service["image"].as_str().is_some_and(|image| image.starts_with(TARGET)), "{wanted}: {service}");
        assert!(service.get("build").is_none(), "nothing is built on the spot");
    }
    assert_eq!(services["enterprise-edition"]["environment"]["server.public.port"], "8443");
    let published: Vec<&String> =
        services.iter().filter(|(_, service)| service.get("ports").is_some()).map(|(name, _)| name).collect();
    assert_eq!(published, ["haproxy"], "one port for all");
    let accepted = run_in(&release.site, "server", &haproxy, &["-c", "-f", "haproxy/haproxy.cfg"]);
    assert_eq!(accepted.code, Some(0), "{}{}", accepted.stdout, accepted.stderr);
    for target in ["serve", "stop", "clean", "install"] {
        run_in(&release.site, "server", &make, &["-n", "COMPOSE=docker-compose", target]).assert_ok();
    }
    // Elasticsearch dies at once on a host that allows too few maps; `make` says so first.
    let allowed: u64 = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
    let checked = run_in(&release.site, "server", &make, &["check"]);
    assert_eq!(checked.code == Some(0), allowed >= 262_144, "{}", checked.stderr);
    let more = allowed + 1;
    let refused = run_in(&release.site, "server", &make, &["check", &format!("MAP_COUNT={more}")]);
    assert!(refused.code != Some(0) && refused.stderr.contains("make install"), "{}", refused.stderr);
}

#[test]
fn systemd_accepts_the_unit() {
    let Some(analyze) = need("systemd-analyze") else { return };
    let release = site();
    for (out, more) in [("plain", &[][..]), ("hard", &HARD[..]), ("podman", &["--engine", "podman", "--pin", "digest"])]
    {
        render_agent(&release.site, "systemd", out, more);
        // What the unit needs is made up here: only the unit itself is looked at.
        for needed in ["docker.service", "podman.socket"] {
            let text = if needed.ends_with("socket") {
                "[Socket]\nListenStream=/run/x\nAccept=yes\n"
            } else {
                "[Service]\nExecStart=/bin/true\n"
            };
            release.site.write(&format!("{out}/{needed}"), text);
        }
        release.site.write(&format!("{out}/podman@.service"), "[Service]\nExecStart=/bin/true\n");
        let told = run_in(&release.site, out, &analyze, &["verify", "--man=no", "./agent-1.service"]);
        assert_eq!(told.code, Some(0), "{}", told.stderr);
        let ours: Vec<&str> = told.stderr.lines().filter(|line| line.contains("agent-1")).collect();
        assert!(ours.is_empty(), "{ours:?}");
    }
    // It does look: a unit that is wrong is told.
    release.site.write("plain/broken.service", "[Service]\nExecStart=/no/such/program\nNonsense=1\n");
    let told = run_in(&release.site, "plain", &analyze, &["verify", "--man=no", "./broken.service"]);
    assert!(told.code != Some(0) && told.stderr.contains("Nonsense"), "{}", told.stderr);
}

#[test]
fn a_quadlet_has_the_keys_of_podmans_manual_and_nothing_that_is_read_twice() {
    let release = site();
    render_agent(&release.site, "quadlet", "out", &["--volume=named:/cache"]);
    let text = String::from_utf8(release.site.read("out/agent-1.container")).expect("it is text");
    let mut section = "";
    let mut keys = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line:?} is no setting"));
        assert!(!value.is_empty() && !value.contains(['%', '$', '"', '\'', '\\']), "{line}");
        keys.push(format!("{section}.{key}"));
    }
    let expected = [
        "Unit.Description",
        "Unit.Wants",
        "Unit.After",
        "Unit.Requires",
        "Container.Image",
        "Container.ContainerName",
        "Container.EnvironmentFile",
        "Container.Volume",
        "Container.Volume",
        "Service.Restart",
        "Service.RestartSec",
        "Service.TimeoutStartSec",
        "Install.WantedBy",
    ];
    assert_eq!(keys, expected);
    assert!(text.contains("Volume=/var/run/podman/podman.sock:/var/run/docker.sock\n"), "{text}");
    let run = release.site.octobundle([
        "render",
        "agent",
        "release.tar",
        "--registry",
        TARGET,
        "--as",
        "quadlet",
        "--out",
        "x",
    ]);
    let about = ["--server-url", "https://o.corp", "--name", "agent-1", "--token-file", "token", "--volume=/a%b:/c"];
    let refused = run.args(about).run().assert_code(2);
    assert!(refused.stderr.contains("Quadlet"), "{}", refused.stderr);
}

#[test]
fn shellcheck_finds_nothing_in_the_scripts() {
    let Some(shellcheck) = need("shellcheck") else { return };
    let release = site();
    release.site.write("ca.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    release.site.write("password", "pa's$\n");
    let login = ["--ca-file", "ca.pem", "--registry-user", "puller", "--registry-password-file", "password"];
    let everything: Vec<&str> = HARD.iter().chain(&login).copied().collect();
    for (out, more) in [("plain", &[][..]), ("podman", &["--engine", "podman"]), ("hard", &everything)] {
        render_agent(&release.site, "script", out, more);
        let told = run_in(&release.site, out, &shellcheck, &["install-agent.sh"]);
        assert!(told.code == Some(0) && told.stdout.is_empty(), "{}", told.stdout);
        render_agent(&release.site, if out == "podman" { "podman" } else { "docker" }, out, more);
        run_in(&release.site, out, &shellcheck, &["start-agent-1.sh"]).assert_ok();
    }
}
