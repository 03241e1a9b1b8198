//! What is rendered, run for real: by docker and podman, from a registry with TLS and a password, with an agent that
//! prints its environment.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use support::authority::Authority;
use support::cli::{Output, Run, Running};
use support::images::random_bytes;
use support::real::{Docker, Podman, RealRegistry, Setup, need, skipped};
use support::release::Release;
use support::stand_in::{stand_in_agent, variables_in};
use support::until;

const USER: &str = "puller";
const PASSWORD: &str = "pa$s 'w\"ord";
const TOKEN: &str = "t0k$en'%h`\"==";

/// A private registry that has the bundle's images, and an engine to run them.
struct Scene {
    release: Release,
    registry: RealRegistry,
    engine: Engine,
}

enum Engine {
    Docker(Docker),
    Podman(Podman),
}

impl Scene {
    fn docker() -> Option<Self> {
        let engine = Engine::Docker(Docker::start()?);
        Self::with(engine)
    }

    fn podman() -> Option<Self> {
        let engine = Engine::Podman(Podman::new()?);
        Self::with(engine)
    }

    fn with(engine: Engine) -> Option<Self> {
        let authority = Authority::new();
        let setup = Setup { login: Some((USER, PASSWORD)), tls: Some(&authority), clients: None };
        let registry = RealRegistry::with(&setup)?;
        let release = Release::of(&[&stand_in_agent("octoperf/docker-agent:9.0.0")?]);
        release.bundle();
        let site = &release.site;
        site.write("token", format!("{TOKEN}\n"));
        site.write("password", format!("{PASSWORD}\n"));
        site.write("ca.pem", authority.certificate());
        // docker trusts every registry of this machine; podman looks here.
        site.write(&format!(".config/containers/certs.d/{}/ca.crt", registry.host()), authority.certificate());
        // What podman sets by itself is more than a host allows that is a container.
        let limits = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\nnetns = \"host\"\n";
        site.write("containers.conf", limits);
        fs::create_dir(site.path(".runtime")).expect("folders can be made");
        let scene = Self { release, registry, engine };
        scene.log_in();
        let push = ["push", "release.tar", "--registry", &scene.target(), "--ca", "ca.pem"];
        scene.release.site.octobundle(push).run().assert_ok();
        Some(scene)
    }

    fn log_in(&self) {
        let login = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let logins = serde_json::json!({ "auths": { self.registry.host(): { "auth": login } } });
        self.release.site.write(".docker/config.json", logins.to_string());
    }

    fn target(&self) -> String {
        format!("{}/tools", self.registry.host())
    }

    fn program(&self) -> &'static str {
        match self.engine {
            Engine::Docker(_) => "docker",
            Engine::Podman(_) => "podman",
        }
    }

    /// `render agent` with what every form needs. The socket stays away: an engine would make a folder of that name on
    /// this machine.
    fn render(&self, form: &str) -> Run {
        let run = self.release.site.octobundle(["render", "agent", "release.tar", "--registry", &self.target()]);
        run.args(["--as", form, "--name", "agent-1", "--token-file", "token", "--no-docker-socket", "--replace"])
    }

    /// A program that finds the engine on its `PATH`.
    fn run(&self, program: &Path, arguments: &[&str]) -> Run {
        let run = self.release.site.run(program, arguments).env("OCTOBUNDLE_ROOT", self.release.site.path("root"));
        match &self.engine {
            Engine::Docker(docker) => run.env("DOCKER_HOST", docker.host()),
            Engine::Podman(podman) => {
                let mut folders = vec![podman.wrapper().parent().expect("it is in a folder").to_owned()];
                folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
                let path = std::env::join_paths(folders).expect("folders have no colon");
                run.env("PATH", path).env("CONTAINERS_CONF", self.release.site.path("containers.conf"))
            }
        }
    }

    fn engine(&self, arguments: &[&str]) -> Output {
        let program = need(self.program()).expect("it was started");
        match &self.engine {
            Engine::Docker(_) => self.run(&program, arguments).run(),
            Engine::Podman(podman) => self.run(&podman.wrapper(), arguments).run(),
        }
    }

    fn container(&self, format: &str) -> Output {
        self.engine(&["inspect", "--type", "container", "--format", format, "agent-1"])
    }

    /// What the agent says that it was started with, but for what engines and images add.
    fn variables(&self) -> BTreeMap<String, String> {
        let mut variables = None;
        until("the agent tells its environment", || {
            variables = variables_in(&self.engine(&["logs", "agent-1"]).stdout);
            variables.is_some()
        });
        let mut variables = variables.expect("it was waited for");
        for added in ["PATH", "HOME", "HOSTNAME", "TERM", "container"] {
            variables.remove(added);
        }
        variables
    }
}

/// 500 variables of everything that has a meaning to a shell, a file or an engine.
fn hard_variables() -> BTreeMap<String, String> {
    const PIECES: [&str; 40] = [
        "'", "\"", "$", "%", "`", " ", "\\", "!", "*", "?", "{", "}", "(", ")", "<", ">", "|", "&", ";", "~", "#", "=",
        "^", ":", ",", "@", "[", "]", "$HOME", "${HOME}", "$(id)", "%h", "%%", "$$", "a", "Z", "é", "☃", "漢", "𝄞",
    ];
    let bytes = random_bytes(500, 500 * 16);
    let value = |bytes: &[u8]| {
        let text: String = bytes.iter().map(|&byte| PIECES[usize::from(byte) % PIECES.len()]).collect();
        // What engines read in different ways at a value's ends is refused, and tested elsewhere.
        text.trim().trim_start_matches(['\'', '"', '`', ' ']).to_owned()
    };
    bytes.chunks(16).enumerate().map(|(nth, bytes)| (format!("HARD_{nth}.value"), value(bytes))).collect()
}

fn shells() -> Vec<(PathBuf, Vec<&'static str>)> {
    let known: [(&str, &[&str]); 3] = [("dash", &[]), ("bash", &[]), ("busybox", &["sh"])];
    known.iter().filter_map(|(name, first)| Some((need(name)?, first.to_vec()))).collect()
}

fn the_agent_gets_what_was_asked_for(scene: &Scene) {
    let hard = hard_variables();
    assert_eq!(hard.len(), 500);
    let mut expected = hard.clone();
    expected.insert("AGENT_TOKEN".into(), TOKEN.into());
    expected.insert("SERVER_URL".into(), "https://octoperf.corp/a$b'c%d".into());
    expected.insert("JAVA_OPTS".into(), "-Da=$b'%c -Xmx1g".into());
    let flags: Vec<String> = hard.iter().map(|(name, value)| format!("-e{name}={value}")).collect();
    let about = ["--server-url", "https://octoperf.corp/a$b'c%d", "--java-option=-Da=$b'%c", "--heap", "1g"];
    let env_file = "a $(touch evil) 'b.env";
    let run = scene.render(scene.program()).args(&flags).args(about).args(["--env-file", env_file]).run().assert_ok();
    for pinned in [false, true] {
        let line = if pinned {
            let run = scene.render(scene.program()).args(&flags).args(about).args(["--env-file", env_file]);
            run.args(["--pin", "digest"]).run().assert_ok().stdout
        } else {
            run.stdout.clone()
        };
        for (shell, first) in shells() {
            let mut words = first.clone();
            words.extend(["-c", &line]);
            scene.run(&shell, &words).run().assert_ok();
            assert_eq!(scene.variables(), expected, "{} under {}", scene.program(), shell.display());
            scene.engine(&["rm", "-f", "agent-1"]).assert_ok();
        }
    }
    assert!(!scene.release.site.path("evil").exists());
}

#[test]
fn sec_54_an_agent_that_docker_starts_gets_500_values_as_they_were_asked_for_under_every_shell() {
    let Some(scene) = Scene::docker() else { return };
    the_agent_gets_what_was_asked_for(&scene);
}

#[test]
fn sec_54_an_agent_that_podman_starts_gets_500_values_as_they_were_asked_for_under_every_shell() {
    let Some(scene) = Scene::podman() else { return };
    the_agent_gets_what_was_asked_for(&scene);
}

/// Answers with 500 hard variables for an agent that is not started by a shell, and what it should see.
fn hard_answers() -> (Vec<String>, BTreeMap<String, String>) {
    let mut expected = hard_variables();
    let mut flags: Vec<String> = expected.iter().map(|(name, value)| format!("-e{name}={value}")).collect();
    flags.extend(["--server-url=https://octoperf.corp".to_owned(), "--heap=1g".to_owned()]);
    expected.insert("AGENT_TOKEN".into(), TOKEN.into());
    expected.insert("SERVER_URL".into(), "https://octoperf.corp".into());
    expected.insert("JAVA_OPTS".into(), "-Xmx1g".into());
    (flags, expected)
}

#[test]
fn an_agent_that_docker_compose_starts_gets_500_values_as_they_were_asked_for() {
    let (Some(compose), Some(scene)) = (need("docker-compose"), Scene::docker()) else { return };
    let (flags, expected) = hard_answers();
    scene.render("compose").args(&flags).args(["--out", "out"]).run().assert_ok();
    // The test's daemon makes no networks on this machine.
    scene.release.site.write("out/network.yml", "services: {agent: {network_mode: host}}\n");
    let files = ["docker-compose.yml", "docker-compose.override.yml", "network.yml"];
    let up = |words: &[&str]| {
        let mut all = vec!["-C".to_owned(), "out".to_owned(), compose.display().to_string()];
        all.extend(files.iter().flat_map(|file| ["-f".to_owned(), (*file).to_owned()]));
        all.extend(words.iter().map(|&word| word.to_owned()));
        let words: Vec<&str> = all.iter().map(String::as_str).collect();
        scene.run(Path::new("/usr/bin/env"), &words).run().assert_ok()
    };
    up(&["up", "-d"]);
    assert_eq!(scene.variables(), expected);
    let told = scene.container("{{.HostConfig.RestartPolicy.Name}} {{.Config.Image}}").stdout;
    assert_eq!(told.trim_end(), format!("unless-stopped {}/octoperf/docker-agent:9.0.0", scene.target()));
    up(&["down"]);
    assert_ne!(scene.container("{{.Id}}").code, Some(0), "nothing is left");
}

/// Where distributions have systemd itself, which is on no `PATH`.
fn systemd() -> Option<PathBuf> {
    need("systemd-analyze")?;
    ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"].iter().map(PathBuf::from).find(|path| path.is_file())
}

/// A manager of its own that believes this machine was booted by systemd, as it wants it, with one unit.
fn manager(scene: &Scene, systemd: &Path, unshare: &Path, unit: &str) -> Running {
    let start = format!(
        "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec {} --user --unit={unit} --log-target=console",
        systemd.display()
    );
    let run = scene.run(unshare, &["--mount", "sh", "-c", &start]);
    let units = format!("{}:", scene.release.site.path("units").display());
    run.env("SYSTEMD_UNIT_PATH", units).spawn()
}

/// Whether such a manager starts anything on this machine; where it may not, that is no fault of a unit of ours.
fn systemd_starts(scene: &Scene, systemd: &Path, unshare: &Path) -> bool {
    let started = scene.release.site.path("started");
    let unit = format!("[Service]\nType=oneshot\nExecStart=/bin/touch {}\n", started.display());
    scene.release.site.write("units/probe.service", unit);
    let mut manager = manager(scene, systemd, unshare, "probe.service");
    until("systemd starts a unit or ends", || started.exists() || manager.has_ended());
    manager.signal(rustix::process::Signal::TERM);
    let told = manager.wait();
    if !started.exists() {
        let last = told.stderr.lines().last().unwrap_or_default().to_owned();
        skipped(&format!("`systemd --user` starts nothing here: {last}"));
    }
    started.exists()
}

#[test]
fn an_agent_that_systemd_keeps_gets_500_values_as_they_were_asked_for() {
    let (Some(systemd), Some(unshare), Some(scene)) = (systemd(), need("unshare"), Scene::docker()) else { return };
    if !systemd_starts(&scene, &systemd, &unshare) {
        return;
    }
    let (flags, expected) = hard_answers();
    let site = &scene.release.site;
    // The path stands in the unit, where all of this has a meaning.
    let folder = "unit $HOME %h 'q\" ${x}";
    let env_file = site.path(folder).join("agent-1.env").display().to_string();
    scene.render("systemd").args(&flags).args(["--out", folder, "--env-file", &env_file]).run().assert_ok();
    let unit = site.read(&format!("{folder}/agent-1.service"));
    site.write("units/agent-1.service", unit);
    // The test has started docker already.
    site.write("units/docker.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n");
    let mut manager = manager(&scene, &systemd, &unshare, "agent-1.service");
    until("systemd starts the agent or ends", || scene.container("{{.Id}}").code == Some(0) || manager.has_ended());
    assert!(!manager.has_ended(), "{:?}", manager.wait());
    assert_eq!(scene.variables(), expected);
    assert_eq!(scene.container("{{.HostConfig.AutoRemove}}").stdout, "true\n");
    // Stopped, it takes the agent away.
    manager.signal(rustix::process::Signal::TERM);
    until("the agent is gone", || scene.container("{{.Id}}").code != Some(0));
    manager.wait();
}

fn the_script_installs_changes_and_takes_away(scene: &Scene) {
    let site = &scene.release.site;
    // The script itself has to log in.
    fs::remove_file(site.path(".docker/config.json")).expect("it was written");
    let server = format!("http://{}/", scene.release.registry.host());
    let render = |more: &[&str]| {
        let run = scene.render("script").args(["--engine", scene.program(), "--server-url", &server]);
        let login = ["--out", "out", "--registry-user", USER, "--registry-password-file", "password"];
        run.args(login).args(more).run().assert_ok();
    };
    let install = |shell: &str, more: &[&str]| {
        let mut words = if shell == "busybox" { vec!["sh"] } else { Vec::new() };
        words.push("out/install-agent.sh");
        words.extend(more);
        scene.run(&need(shell).expect("it was found before"), &words).run()
    };
    let env_file = site.path("root/etc/octobundle/agent-1.env");
    let mut expected: BTreeMap<String, String> =
        [("AGENT_TOKEN", TOKEN), ("SERVER_URL", &server), ("EXTRA", "a 'b' $c %d")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();

    render(&["-e", "EXTRA=a 'b' $c %d"]);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&site.path("out/install-agent.sh")), 0o700, "it holds the token");
    let first = install("dash", &[]).assert_ok();
    assert!(first.stdout.contains("started agent-1") && first.stdout.contains("agent-1 is up"), "{first:?}");
    assert!(!format!("{}{}", first.stdout, first.stderr).contains(TOKEN), "{first:?}");
    assert_eq!(scene.variables(), expected);
    assert_eq!(mode(&env_file), 0o600);
    let id = scene.container("{{.Id}}").stdout;

    let second = install("bash", &[]).assert_ok();
    assert!(second.stdout.contains("runs already") && second.stdout.contains("is up"), "{second:?}");
    assert_eq!(scene.container("{{.Id}}").stdout, id, "what is as it should be is not touched");

    // What is stopped is started again.
    scene.engine(&["stop", "agent-1"]).assert_ok();
    assert!(install("dash", &[]).assert_ok().stdout.contains("started agent-1"));

    // What differs is changed, and what the agent says is shown with what helps.
    let said = "java.net.UnknownHostException: octoperf.corp";
    render(&["-e", &format!("SAY={said}")]);
    let changed = install("busybox", &[]).assert_ok();
    assert!(changed.stdout.contains("started agent-1"), "{changed:?}");
    assert!(changed.stderr.contains(said) && changed.stderr.contains("check DNS"), "{changed:?}");
    expected.remove("EXTRA");
    expected.insert("SAY".into(), said.into());
    assert_eq!(scene.variables(), expected);
    assert_ne!(scene.container("{{.Id}}").stdout, id);

    for what in ["removed the container agent-1", "agent-1 is not on this host"] {
        let gone = install("dash", &["--uninstall"]).assert_ok();
        assert!(gone.stdout.contains(what), "{gone:?}");
        assert!(gone.stdout.contains(&format!("{} logout {}", scene.program(), scene.registry.host())), "{gone:?}");
        assert_ne!(scene.container("{{.Id}}").code, Some(0), "{gone:?}");
        assert!(!env_file.exists() && !site.path("root/etc/octobundle").exists());
    }
}

#[test]
fn the_script_installs_changes_and_takes_away_under_docker() {
    let Some(scene) = Scene::docker() else { return };
    the_script_installs_changes_and_takes_away(&scene);
}

#[test]
fn the_script_installs_changes_and_takes_away_under_podman() {
    let Some(scene) = Scene::podman() else { return };
    the_script_installs_changes_and_takes_away(&scene);
}

#[test]
fn the_script_says_what_is_wrong_with_a_host_and_what_helps() {
    // docker tries a registry of this machine by plain HTTP too, and then tells that this failed, not that a login lacks.
    let (Some(_), Some(scene)) = (need("curl"), Scene::podman()) else { return };
    let site = &scene.release.site;
    let server = format!("http://{}/", scene.release.registry.host());
    let sh = need("sh").expect("every system has one");
    let render = |server: &str, more: &[&str]| {
        let run = site.octobundle(["render", "agent", "release.tar", "--as", "script", "--out", "out", "--replace"]);
        let about = ["--name", "agent-1", "--no-docker-socket", "--engine", "podman", "--server-url", server];
        run.args(about).args(more).run().assert_ok();
    };
    let told = |arguments: &[&str], message: &str, help: &str| {
        let mut words = vec!["out/install-agent.sh"];
        words.extend(arguments);
        let output = scene.run(&sh, &words).run();
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stderr.contains(message) && output.stderr.contains(help), "{message}: {}", output.stderr);
        assert_ne!(scene.container("{{.Id}}").code, Some(0), "nothing was started");
        assert!(!output.stderr.contains(PASSWORD) && !output.stderr.contains(TOKEN), "{}", output.stderr);
    };

    let target = scene.target();
    render(&server, &["--registry", &target]);
    assert_eq!(fs::metadata(site.path("out/install-agent.sh")).unwrap().permissions().mode() & 0o777, 0o755);
    told(&[], "token is missing", "--token-file");
    site.write("empty", "");
    told(&["--token-file", "empty"], "token is empty", "Add Agent");
    site.write("two", "one\ntwo\n");
    told(&["--token-file", "two"], "more than one line", "Add Agent");
    told(&["--token-file", "missing"], "cannot be read", "check the path");

    fs::remove_file(site.path(".docker/config.json")).expect("it was written");
    told(&["--token-file", "token"], "wants a login", "--registry-user");
    site.write("wrong", "wrong\n");
    let login = ["--token-file", "token", "--registry-user", USER, "--password-file"];
    told(&[&login[..], &["wrong"]].concat(), "refuses the login", "check user and password");

    // A server that is not there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let nobody = format!("http://{}/", closed.local_addr().expect("it has one"));
    drop(closed);
    render(&nobody, &["--registry", &target]);
    told(&["--token-file", "token"], "does not answer", "check the address");

    // An image that was not pushed there.
    scene.log_in();
    render(&server, &["--registry", &format!("{}/elsewhere", scene.registry.host())]);
    told(&["--token-file", "token"], "does not have", "octobundle push");

    // A second agent on one host.
    render(&server, &["--registry", &target]);
    let image = format!("{target}/octoperf/docker-agent:9.0.0");
    scene.engine(&["create", "--name", "other", &image]).assert_ok();
    told(&["--token-file", "token"], "`other` is on this host already", "podman rm -f other");
    scene.engine(&["rm", "-f", "other"]).assert_ok();

    // What somebody else runs under the agent's name is not touched.
    scene.engine(&["tag", &image, "localhost/precious:1"]).assert_ok();
    scene.engine(&["create", "--name", "agent-1", "localhost/precious:1"]).assert_ok();
    for arguments in [&["--token-file", "token"][..], &["--uninstall"]] {
        let mut words = vec!["out/install-agent.sh"];
        words.extend(arguments);
        let output = scene.run(&sh, &words).run().assert_code(1);
        assert!(output.stderr.contains("is no agent") && output.stderr.contains("rename"), "{output:?}");
        scene.container("{{.Id}}").assert_ok();
    }
    scene.engine(&["rm", "-f", "agent-1"]).assert_ok();

    // With all that in order it starts, and keeps its token when it is run again without.
    site.write("windows", format!("{TOKEN}\r\n"));
    scene.run(&sh, &["out/install-agent.sh", "--token-file", "windows"]).run().assert_ok();
    assert_eq!(scene.variables()["AGENT_TOKEN"], TOKEN);
    let again = scene.run(&sh, &["out/install-agent.sh"]).run().assert_ok();
    assert!(again.stdout.contains("runs already"), "{again:?}");
    scene.run(&sh, &["out/install-agent.sh", "--uninstall"]).run().assert_ok();
}
