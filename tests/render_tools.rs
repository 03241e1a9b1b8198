//! What is rendered is accepted by the programs that will read it.

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use octobundle::render::Quoting;
use support::cli::{Output, Site};
use support::images::{Sample, TestImage, random_bytes};
use support::real::{need, not_here};
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

/// Reads YAML as many programs do, by YAML 1.1, and writes each file's documents as JSON.
const READ: &str = "import json, sys, yaml
json.dump([list(yaml.safe_load_all(open(name, encoding='utf-8'))) for name in sys.argv[1:]], sys.stdout)
";

/// Debian's own Python, which has the modules of Debian's programs.
fn python_of_debian() -> Option<std::path::PathBuf> {
    need("docker-compose")?;
    Some("/usr/bin/python3".into()).filter(|path: &std::path::PathBuf| path.is_file()).or_else(|| need("python3"))
}

#[test]
fn another_reader_of_yaml_sees_the_same_in_every_file() {
    let Some(python) = python_of_debian() else { return };
    let release = site();
    let image = format!("--image={}", release.name(0));
    let kubernetes = [&HARD[..4], &[image.as_str(), "--namespace=load-tests", "--pull-secret=s"]].concat();
    let mut files = Vec::new();
    for (target, more) in [("compose", &HARD[..]), ("kubernetes", &kubernetes), ("cloud-init", &HARD)] {
        let told = render_agent(&release.site, target, target, &[more, &["--json"]].concat()).json();
        let written = told["files"].as_array().expect("it is a list").iter();
        files.extend(written.map(|file| file["path"].as_str().expect("it is text").to_owned()));
    }
    files.retain(|file| file.ends_with("ml"));
    assert_eq!(files.len(), 5, "{files:?}");
    release.site.write("read.py", READ);
    let words: Vec<&str> = std::iter::once("read.py").chain(files.iter().map(String::as_str)).collect();
    let read: Vec<Vec<serde_json::Value>> =
        serde_json::from_str(&release.site.run(&python, words).run().assert_ok().stdout).expect("it prints JSON");
    let mut extra = 0;
    for (file, documents) in files.iter().zip(read) {
        let text = String::from_utf8(release.site.read(file)).expect("it is text");
        let ours: Vec<serde_json::Value> =
            text.split("\n---\n").map(|part| serde_saphyr::from_str(part).expect("it is YAML")).collect();
        assert_eq!(documents, ours, "{file}");
        let hard = HARD[1].split_once('=').expect("it is a variable").1;
        let all = serde_json::Value::from(documents).to_string().replace("$$", "$");
        extra += usize::from(all.contains(serde_json::Value::from(hard).to_string().trim_matches('"')));
    }
    assert_eq!(extra, 3, "the hard value stands in one file of each form");
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
    // With SELinux a container reads no file that is not labelled for it.
    let balancer = services["haproxy"]["volumes"].to_string();
    assert!(balancer.contains("haproxy.cfg:ro,z") || balancer.contains("\"selinux\":\"z\""), "{balancer}");
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

/// 500 texts of everything that has a meaning to systemd.
fn hard_words() -> Vec<String> {
    const PIECES: [&str; 32] = [
        "'", "\"", "$", "%", "`", " ", "\\", "!", "*", ";", "{", "}", "(", ")", "|", "&", "#", "=", ":", "@", "-",
        "$HOME", "${HOME}", "%h", "%%", "$$", "\\n", "\\x41", "a", "é", "☃", "𝄞",
    ];
    let bytes = random_bytes(53, 500 * 8);
    let word = |bytes: &[u8]| bytes.iter().map(|&byte| PIECES[usize::from(byte) % PIECES.len()]).collect();
    bytes.chunks(8).map(word).collect()
}

/// The words of a command line as systemd prints them: in double quotes where a shell would see something in them, but
/// for a `#`.
fn printed_words(line: &str) -> Vec<String> {
    let (mut words, mut rest) = (Vec::new(), line.chars().peekable());
    while let Some(first) = rest.next() {
        let mut word = String::new();
        if first == '"' {
            while let Some(c) = rest.next().filter(|&c| c != '"') {
                word.extend(if c == '\\' { rest.next() } else { Some(c) });
            }
        } else {
            word.push(first);
            word.extend(std::iter::from_fn(|| rest.next_if(|&c| c != ' ')));
        }
        words.push(word);
        rest.next_if_eq(&' ');
    }
    words
}

#[test]
fn sec_54_systemd_reads_every_word_of_a_unit_as_it_was() {
    let (Some(_), Some(setpriv)) = (need("systemd-analyze"), need("setpriv")) else { return };
    let places = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"].map(Path::new);
    let systemd = places.into_iter().find(|path| path.is_file()).expect("systemd-analyze comes with systemd");
    let (site, words) = (Site::new(), hard_words());
    let quoted = |word: &String| Quoting::Systemd.quoted(word).expect("it can be seen");
    let line = |words: &[String]| {
        let words: Vec<String> = words.iter().map(quoted).collect();
        format!("ExecStart=/usr/bin/env {}\n", words.join(" "))
    };
    let unit: Vec<String> = words.chunks(50).map(line).collect();
    let unit = format!("[Service]\nType=oneshot\n{}", unit.concat());
    site.write("units/words.service", unit);
    // It tests nothing as root; whoever else it is has to read the unit, and to own the two folders.
    std::fs::set_permissions(site.path("."), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    for folder in ["home", "run"] {
        std::fs::create_dir(site.path(folder)).expect("folders can be made");
    }
    let root = rustix::process::geteuid().is_root();
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let mut arguments: Vec<&str> = if root { nobody.to_vec() } else { Vec::new() };
    if root {
        let own = |folder: &str| std::os::unix::fs::chown(site.path(folder), Some(65534), Some(65534));
        own("home").and_then(|()| own("run")).expect("root may");
    }
    let place = systemd.display().to_string();
    arguments.extend([place.as_str(), "--test", "--user", "--unit=words.service", "--log-target=console"]);
    let run = site.run(&setpriv, arguments).env("HOME", site.path("home")).env("XDG_RUNTIME_DIR", site.path("run"));
    let told = run.env("SYSTEMD_UNIT_PATH", format!("{}:", site.path("units").display())).run();
    let told = format!("{}{}", told.stdout, told.stderr);
    let ours = told.split("-> Unit ").find(|unit| unit.starts_with("words.service:"));
    let lines = ours.unwrap_or_else(|| panic!("{told}")).lines();
    let lines: Vec<&str> = lines.filter_map(|line| line.trim_start().strip_prefix("Command Line: ")).collect();
    assert_eq!(lines.len(), 10, "{ours:?}");
    for (line, words) in lines.iter().zip(words.chunks(50)) {
        // `$$` is read when the command is run.
        let read: Vec<String> = printed_words(line).iter().skip(1).map(|word| word.replace("$$", "$")).collect();
        assert_eq!(read, words, "{line}");
    }
}

#[test]
fn podmans_generator_makes_a_unit_of_the_quadlet() {
    // Podman has it from 4.4 on; an older one is no fault of this machine.
    let place = std::env::var_os("QUADLET").map(std::path::PathBuf::from);
    let known = ["/usr/libexec/podman/quadlet", "/usr/lib/podman/quadlet"].map(std::path::PathBuf::from);
    let Some(quadlet) = place.into_iter().chain(known).find(|path| path.is_file()) else {
        return not_here("this podman is older than Quadlets, which came with 4.4");
    };
    let release = site();
    release.site.write("ca.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    for (out, more) in
        [("plain", &[][..]), ("more", &["--volume=named:/cache", "--volume=/srv/a-b:/c:ro", "--pin=digest"])]
    {
        render_agent(&release.site, "quadlet", out, more);
        let run = release.site.run(&quadlet, ["-dryrun", "-no-kmsg-log"]);
        let read = run.env("QUADLET_UNIT_DIRS", release.site.path(out)).run().assert_ok();
        let line =
            read.stdout.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap_or_else(|| panic!("{read:?}"));
        let words = shlex::split(line).expect("it is quoted as for a shell");
        let has = |pair: &[&str]| words.windows(pair.len()).any(|some| some == pair);
        let image = words.last().expect("it names the image");
        assert!(image.starts_with(&format!("{TARGET}/octoperf/docker-agent")), "{line}");
        assert!(has(&["--name", "agent-1"]) || has(&["--name=agent-1"]), "{line}");
        assert!(has(&["--env-file", "/etc/octobundle/agent-1.env"]), "{line}");
        assert!(has(&["-v", "/var/run/podman/podman.sock:/var/run/docker.sock"]), "{line}");
        if out == "more" {
            assert!(
                has(&["-v", "named:/cache"]) && has(&["-v", "/srv/a-b:/c:ro"]) && image.contains("@sha256:"),
                "{line}"
            );
        }
    }
    // It does look.
    release.site.write("wrong/x.container", "[Container]\nNonsense=1\n");
    let run = release.site.run(&quadlet, ["-dryrun", "-no-kmsg-log"]);
    assert_ne!(run.env("QUADLET_UNIT_DIRS", release.site.path("wrong")).run().code, Some(0));
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
        let own = format!("{out}-host");
        render_agent(&release.site, "vagrant", &own, &[more, &["--box=corp/box"]].concat());
        run_in(&release.site, &own, &shellcheck, &["start-agent-1.sh"]).assert_ok();
    }
}
