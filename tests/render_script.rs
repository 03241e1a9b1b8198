//! `install-agent.sh` with engines that only say what they are asked: every turn of it, without starting anything.
//! `tests/render_run.rs` runs it with real engines.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use support::authority::Authority;
use support::cli::{Output, Run, Site};
use support::images::TestImage;
use support::real::need;
use support::release::Release;

const TARGET: &str = "reg.corp:5000/tools";
const TOKEN: &str = "s3cret-token";
const PASSWORD: &str = "pa$s 'w\"ord";

/// An engine that has one container at most, in the files `there` (its image), `state`, `revision` and `log`.
const ENGINE: &str = r#"#!/bin/sh
cd "$HOME" || exit 1
printf '%s\n' "$*" >> asked
case $1 in
    info) case $* in *Root*) echo "$HOME" ;; esac ;;
    login) cat > password ;;
    pull) [ ! -e locked ] || [ -e password ] || { echo 'no basic auth credentials' >&2; exit 1; } ;;
    image) cat image ;;
    ps) cat others 2>/dev/null || true ;;
    logs) cat log 2>/dev/null || true ;;
    rm) rm -f there revision ;;
    run)
        cp image there
        printf '%s' "$3" | sed 's/.*=//' > revision
        while [ "$1" != --env-file ]; do shift; done
        cp -- "$2" started.env
        ;;
    inspect)
        [ -e there ] || exit 1
        case $* in
            *State.Running*) if [ -e state ]; then echo false; else echo true; fi ;;
            *State.Status*) if [ -e state ]; then cat state; else echo running 0; fi ;;
            *RestartCount*) echo 0 ;;
            *revision*) cat revision ;;
            *Config.Image*) echo reg.corp:5000/tools/octoperf/docker-agent:9.0.0 ;;
            *.Image*) cat there ;;
        esac
        ;;
esac
"#;

/// A host with that engine, and with a server that answers.
struct Host(Release);

impl Host {
    fn new() -> Self {
        let release = Release::of(&[&TestImage::new("octoperf/docker-agent:9.0.0").layer(b"agent")]);
        release.bundle();
        let site = &release.site;
        site.write("token", format!("{TOKEN}\n"));
        site.write("pw", PASSWORD);
        site.write("image", "sha256:one\n");
        site.program("bin/docker", ENGINE);
        // What the agent would be told is what the question goes through.
        site.program("bin/curl", "#!/bin/sh\nenv | grep -i _proxy= | sort > \"$HOME/proxies\"\n");
        // Nobody waits for anything here.
        site.program("bin/sleep", "#!/bin/sh\necho >> \"$HOME/slept\"\n");
        Self(release)
    }

    fn site(&self) -> &Site {
        &self.0.site
    }

    fn render(&self, more: &[&str]) {
        let run = self.site().octobundle(["render", "agent", "release.tar", "--registry", TARGET, "--as", "script"]);
        let about = ["--name", "agent-1", "--server-url", "https://octoperf.corp", "--no-docker-socket"];
        run.args(about).args(["--out", "out", "--replace"]).args(more).run().assert_ok();
    }

    fn script(&self, umask: &str, more: &[&str]) -> Run {
        let shell = need("sh").expect("every system has one");
        let path = format!("{}:{}", self.site().path("bin").display(), std::env::var("PATH").unwrap_or_default());
        fs::create_dir_all(self.site().path("tmp")).expect("folders can be made");
        let line = format!("umask {umask}; exec sh out/install-agent.sh \"$@\"");
        let run = self.site().run(&shell, ["-c", &line, "sh"]).args(more).env("PATH", path);
        run.env("OCTOBUNDLE_ROOT", self.site().path("root")).env("TMPDIR", self.site().path("tmp"))
    }

    fn install(&self, more: &[&str]) -> Output {
        let output = self.script("022", more).run();
        let left = fs::read_dir(self.site().path("tmp")).expect("it was made").count();
        assert_eq!(left, 0, "what it works with is taken away: {output:?}");
        assert!(!format!("{output:?}").contains(TOKEN), "{output:?}");
        output
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.site().read(name)).expect("it is text")
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.site().path(name)).expect("it is there").permissions().mode() & 0o777
    }
}

#[test]
fn an_image_that_moved_under_its_tag_is_started() {
    let host = Host::new();
    host.render(&["--token-file", "token"]);
    assert!(host.install(&[]).assert_ok().stdout.contains("started agent-1"));
    assert!(host.install(&[]).assert_ok().stdout.contains("runs already"));
    host.site().write("image", "sha256:two\n");
    assert!(host.install(&[]).assert_ok().stdout.contains("started agent-1"));
    assert_eq!(host.text("there"), "sha256:two\n");
    // So is what differs in the command alone.
    host.render(&["--token-file", "token", "--run-option=--memory=2g"]);
    assert!(host.install(&[]).assert_ok().stdout.contains("started agent-1"));
    assert!(host.install(&[]).assert_ok().stdout.contains("runs already"));
}

#[test]
fn an_agent_that_does_not_stay_up_is_told_with_what_it_said() {
    let host = Host::new();
    host.render(&["--token-file", "token"]);
    host.site().write("log", "fine\nERROR \u{1b}[2J\u{7}PKIX path building failed\n");
    for (state, looks) in [("exited 0\n", 1), ("running 3\n", 1), ("created 0\n", 60)] {
        host.site().write("state", state);
        host.site().write("slept", "");
        let told = host.install(&[]).assert_code(1);
        assert!(told.stderr.contains("agent-1 does not stay up") && told.stderr.contains("docker logs agent-1"));
        assert!(told.stderr.contains("PKIX") && told.stderr.contains("Java does not trust"), "{told:?}");
        assert!(!told.stderr.contains(['\u{1b}', '\u{7}']) && !told.stderr.contains("fine"), "{told:?}");
        assert!(!told.stdout.contains("is up"), "{told:?}");
        assert_eq!(host.text("slept").lines().count(), looks, "what has ended is waited for no longer: {state}");
    }
    // What ends within its first seconds is not up.
    fs::remove_file(host.site().path("state")).expect("it was written");
    host.site().write("slept", "");
    let ends = "#!/bin/sh\ncd \"$HOME\"; echo >> slept; [ \"$(wc -l < slept)\" -lt 4 ] || echo exited 1 > state\n";
    host.site().program("bin/sleep", ends);
    assert!(host.install(&[]).assert_code(1).stderr.contains("does not stay up"));
    assert_eq!(host.text("slept").lines().count(), 4);
}

#[test]
fn the_token_that_is_given_last_counts_and_stands_in_a_file_of_its_owners() {
    let host = Host::new();
    host.render(&["--token-file", "token", "-e", "EXTRA=1"]);
    // A file that a killed run left behind, open to everybody.
    let open = host.site().write("root/etc/octobundle/agent-1.env.new", "");
    fs::set_permissions(open, fs::Permissions::from_mode(0o666)).expect("it is ours");
    host.script("000", &[]).run().assert_ok();
    assert_eq!(host.mode("root/etc/octobundle/agent-1.env"), 0o600);
    assert_eq!(host.text("started.env"), format!("AGENT_TOKEN={TOKEN}\nSERVER_URL=https://octoperf.corp\nEXTRA=1\n"));
    host.site().write("other", "another\r\n");
    host.install(&["--token-file", "other"]).assert_ok();
    assert_eq!(host.text("started.env"), "AGENT_TOKEN=another\nSERVER_URL=https://octoperf.corp\nEXTRA=1\n");
    // A folder that it makes is closed too.
    fs::remove_dir_all(host.site().path("root")).expect("it was made");
    host.script("000", &[]).run().assert_ok();
    assert_eq!(host.mode("root/etc/octobundle"), 0o700);
    host.install(&["--uninstall"]).assert_ok();
    assert!(!host.site().path("root/etc/octobundle").exists() && !host.site().path("there").exists());
}

#[test]
fn a_script_without_token_keeps_the_installed_one() {
    let host = Host::new();
    host.render(&[]);
    host.install(&["--token-file", "token"]).assert_ok();
    assert!(host.install(&[]).assert_ok().stdout.contains("runs already"));
    host.render(&["-e", "EXTRA=1"]);
    host.install(&[]).assert_ok();
    assert_eq!(host.text("started.env"), format!("AGENT_TOKEN={TOKEN}\nSERVER_URL=https://octoperf.corp\nEXTRA=1\n"));
}

#[test]
fn a_password_reaches_the_engine_as_it_is_and_no_command_line() {
    let host = Host::new();
    host.site().write("locked", "");
    host.render(&["--token-file", "token"]);
    let refused = host.install(&[]).assert_code(1);
    assert!(refused.stderr.contains("wants a login") && refused.stderr.contains("--registry-user"), "{refused:?}");
    host.site().write("windows", format!("{PASSWORD}\r\n"));
    host.install(&["--registry-user", "jo $x", "--password-file", "windows"]).assert_ok();
    assert_eq!(host.text("password"), PASSWORD);
    assert!(host.text("asked").contains("login --username jo $x --password-stdin reg.corp:5000\n"));
    fs::remove_file(host.site().path("password")).expect("it was written");
    host.render(&["--token-file", "token", "--registry-user", "jo", "--registry-password-file", "pw"]);
    host.install(&[]).assert_ok();
    assert_eq!(host.text("password"), PASSWORD);
    let asked = host.text("asked");
    assert!(!asked.contains(PASSWORD) && !asked.contains(TOKEN), "{asked}");
}

#[test]
fn the_registrys_authority_is_put_where_the_engine_looks_and_taken_away_again() {
    let host = Host::new();
    host.site().write("ca.pem", Authority::new().certificate());
    host.render(&["--token-file", "token", "--ca-file", "ca.pem"]);
    let place = "root/etc/docker/certs.d/reg.corp:5000/ca.crt";
    host.script("077", &[]).run().assert_ok();
    assert_eq!(host.text(place), host.text("ca.pem"));
    // Whoever uses the engine reads it.
    assert_eq!((host.mode(place), host.mode("root/etc/docker/certs.d/reg.corp:5000")), (0o644, 0o755));
    fs::set_permissions(host.site().path(place), fs::Permissions::from_mode(0o600)).expect("it is ours");
    host.site().write(place, "older");
    host.install(&[]).assert_ok();
    assert_eq!((host.text(place), host.mode(place)), (host.text("ca.pem"), 0o644));
    assert!(host.install(&["--uninstall"]).assert_ok().stdout.contains("ca.crt"));
    assert!(!host.site().path("root/etc/docker/certs.d/reg.corp:5000").exists());
    // What somebody else put there stays.
    host.site().write(place, "another");
    host.install(&["--uninstall"]).assert_ok();
    assert_eq!(host.text(place), "another");
}

#[test]
fn the_server_is_asked_through_the_agents_proxies() {
    let host = Host::new();
    let proxies = ["--agent-https-proxy", "http://u:p$'w@px:3128", "--agent-no-proxy", ".corp,localhost"];
    host.render(&[&["--token-file", "token"], &proxies[..]].concat());
    host.install(&[]).assert_ok();
    assert_eq!(host.text("proxies"), "https_proxy=http://u:p$'w@px:3128\nno_proxy=.corp,localhost\n");
    host.site().program("bin/curl", "#!/bin/sh\necho 'Could not resolve host' >&2\nexit 6\n");
    let told = host.install(&[]).assert_code(1);
    assert!(told.stderr.contains("https://octoperf.corp does not answer: Could not resolve host"), "{told:?}");
    let forced = host.install(&["--force"]).assert_ok();
    assert!(forced.stderr.contains("--force goes on") && forced.stdout.contains("is up"), "{forced:?}");
}

#[test]
fn a_host_that_is_too_small_is_warned_of() {
    let host = Host::new();
    host.render(&["--token-file", "token"]);
    let real = |name: &str| need(name).expect("every system has it").display().to_string();
    let small = |name: &str, file: &str, says: &str| {
        let text = format!(
            "#!/bin/sh\nfor last; do :; done\ncase $last in {file}) echo {says} ;; *) exec {} \"$@\" ;; esac\n",
            real(name)
        );
        host.site().program(&format!("bin/{name}"), &text);
    };
    small("sed", "/proc/meminfo", "4000000");
    small("grep", "/proc/cpuinfo", "2");
    host.site().program("bin/df", "#!/bin/sh\nprintf 'head\\nx 1 1 9000000 1%% /\\n'\n");
    let told = host.install(&[]).assert_ok().stderr;
    for said in ["3906 MiB of memory", "2 processors", "8789 MiB free"] {
        assert!(told.contains(said), "{said}: {told}");
    }
    small("sed", "/proc/meminfo", "7900000");
    small("grep", "/proc/cpuinfo", "4");
    host.site().program("bin/df", "#!/bin/sh\nprintf 'head\\nx 1 1 17000000 1%% /\\n'\n");
    assert_eq!(host.install(&[]).assert_ok().stderr, "");
}

#[test]
fn one_agent_a_host_and_nobody_elses_container() {
    let host = Host::new();
    host.render(&["--token-file", "token"]);
    for image in ["docker.io/octoperf/docker-agent:1", "x/docker-agent@sha256:0", "x/y/docker-agent"] {
        host.site().write("others", format!("web nginx:1\nagent-1 {image}\nold {image}\n"));
        let told = host.install(&[]).assert_code(1);
        assert!(told.stderr.contains("`old` is on this host") && told.stderr.contains("docker rm -f old"), "{told:?}");
        assert!(!host.site().path("there").exists());
    }
    host.site().write("others", "agent-1 x/docker-agent:1\nweb nginx:1\n");
    host.install(&[]).assert_ok();
    // A container that is no agent is neither replaced nor taken away.
    let engine = ENGINE.replace("reg.corp:5000/tools/octoperf/docker-agent:9.0.0", "corp/precious:1");
    host.site().program("bin/docker", &engine);
    host.site().write("revision", "");
    for more in [&[][..], &["--uninstall"]] {
        let told = host.install(more).assert_code(1);
        assert!(told.stderr.contains("is no agent"), "{told:?}");
        assert!(host.site().path("there").exists());
    }
}
