//! What every command owes to terminals, scripts and those who read the help.

mod support;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::cli::{Output, Site, binary};
use support::images::TestImage;
use support::memory_registry::{Fault, MemoryRegistry};
use support::release::{Release, manifest};

const USAGE: i32 = 2;
const INPUT: i32 = 3;
const NOT_FOUND: i32 = 6;
const INTEGRITY: i32 = 7;
const DISK: i32 = 9;

const COMMANDS: [&str; 11] =
    ["releases", "resolve", "pull", "inspect", "verify", "push", "load", "render", "schema", "completions", "man"];

fn agent() -> TestImage {
    TestImage::new("octoperf/agent:1").layer(b"hello")
}

fn carried() -> Release {
    let release = Release::of(&[&agent()]);
    release.bundle();
    release.site.write("token", "secret");
    release
}

/// A command line of each command that gives JSON, in an order in which they work.
fn lines(release: &Release) -> Vec<Vec<String>> {
    let push = format!("push release.tar --registry {}/tools", release.registry.host());
    let render = "render agent release.tar --registry reg.corp:5000 --server-url https://o.corp --name agent-1 --token-file token";
    [
        "releases",
        "resolve release.yaml",
        "pull release.yaml -o again.tar",
        "pull release.yaml -o dry.tar --dry-run",
        "inspect release.tar",
        "verify release.tar",
        &format!("{push} --dry-run"),
        &push,
        render,
    ]
    .map(|line| line.split(' ').map(str::to_owned).collect())
    .to_vec()
}

#[test]
fn json_is_all_that_stands_on_stdout() {
    let release = carried();
    for line in lines(&release) {
        let output = release.site.octobundle(&line).arg("--json").run().assert_ok();
        assert_eq!(output.json()["schema_version"], 1, "{line:?}");
        let command = output.json()["command"].as_str().expect("it names its command").to_owned();
        assert!(line.join(" ").starts_with(&command), "{command}: {line:?}");
    }
}

#[test]
fn an_error_is_json_on_stderr_and_nothing_on_stdout() {
    let site = Site::new();
    site.write("broken.yaml", "schema: x\n");
    for (line, code, class) in [
        ("resolve broken.yaml --json", INPUT, "input"),
        ("inspect nowhere.tar --json", NOT_FOUND, "not-found"),
        ("pull nothing-1 -o out.tar --json", USAGE, "usage"),
        ("push broken.yaml --registry 127.0.0.1:1 --json", INPUT, "input"),
    ] {
        let output = site.octobundle(line.split(' ')).run().assert_code(code);
        assert_eq!(output.stdout, "", "{line}");
        let error: Value = serde_json::from_str(output.stderr.trim_end()).expect("the error is one JSON value");
        assert_eq!((&error["schema_version"], &error["error"]["class"]), (&1.into(), &class.into()), "{line}");
        assert_eq!(error["error"]["exit_code"], code);
        assert!(error["error"]["messages"][0].is_string() && error["error"]["help"].is_string(), "{error}");
    }
}

#[test]
fn the_result_is_on_stdout_and_everything_else_on_stderr() {
    let release = carried();
    let pulled = release.pull("other.tar").run().assert_ok();
    assert!(pulled.stdout.contains("sha256") && !pulled.stdout.contains("next:"), "{}", pulled.stdout);
    assert!(pulled.stderr.contains("next: octobundle push other.tar"), "{}", pulled.stderr);
    let render = lines(&release).pop().expect("it is the last");
    let rendered = release.site.octobundle(&render).run().assert_ok();
    assert_eq!(rendered.stdout.lines().count(), 1, "a line that can be piped into a shell: {}", rendered.stdout);
    assert!(rendered.stderr.contains("note:"), "{}", rendered.stderr);
}

#[test]
fn quiet_success_says_nothing_but_the_result() {
    let release = carried();
    for mut line in lines(&release) {
        if line[0] == "pull" {
            line.push("--replace".to_owned());
        }
        let output = release.site.octobundle(&line).arg("-q").run().assert_ok();
        assert_eq!(output.stderr, "", "{line:?}");
    }
    let failed = release.pull("release.tar").arg("-q").run().assert_code(USAGE);
    assert!(failed.stderr.starts_with("error:"), "{}", failed.stderr);
}

#[test]
fn help_fits_a_hundred_columns_and_shows_an_example() {
    let site = Site::new();
    for command in COMMANDS {
        for flag in ["--help", "-h"] {
            let help = site.octobundle([command, flag]).env("COLUMNS", "200").run().assert_ok().stdout;
            let longest = help.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(100), "{command}: {longest:?}\n{help}");
            assert!(!help.contains('\u{1b}'), "{command}");
        }
        let command: &[&str] = if command == "render" { &["render", "agent"] } else { &[command] };
        let help = site.octobundle(command).arg("--help").run().assert_ok().stdout;
        assert!(help.contains("Example"), "{command:?}\n{help}");
    }
    let help = site.octobundle(["--help"]).run().assert_ok().stdout;
    for code in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 130, 143] {
        assert!(help.contains(&format!("{code} ")), "exit code {code}\n{help}");
    }
    assert!(COMMANDS.iter().all(|command| help.contains(command)), "{help}");
}

#[test]
fn exit_codes_are_those_of_the_table() {
    let release = carried();
    let mut bundle = release.site.read("release.tar");
    let last = bundle.len() - 1600;
    bundle[last] ^= 1;
    release.site.write("damaged.tar", bundle);
    for (line, code) in [
        ("releases", 0),
        ("--version", 0),
        ("nonsense", USAGE),
        ("", USAGE),
        ("pull", USAGE),
        ("pull release.yaml", USAGE),
        ("pull release.yaml -o x.tar --jobs 0", USAGE),
        ("verify release.tar -q -v", USAGE),
        ("inspect release.yaml", INPUT),
        ("inspect nowhere.tar", NOT_FOUND),
        ("verify release.tar", 0),
        ("verify damaged.tar", INTEGRITY),
        ("man nowhere/at/all", DISK),
    ] {
        release.site.octobundle(line.split_whitespace()).run().assert_code(code);
    }
}

#[test]
fn every_shell_gets_completions_and_man_gets_pages() {
    let site = Site::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = site.octobundle(["completions", shell]).run().assert_ok().stdout;
        assert!(script.contains("octobundle") && script.contains("keep-host"), "{shell}");
    }
    let script = site.octobundle(["completions", "bash"]).run().assert_ok().stdout;
    site.write("completions", script);
    site.run(Path::new("sh"), ["-c", "bash -n completions"]).run().assert_ok();
    fs::create_dir(site.path("man1")).expect("folders can be made");
    site.octobundle(["man", "man1"]).run().assert_ok();
    for page in ["octobundle.1", "octobundle-pull.1", "octobundle-render-agent.1"] {
        let text = String::from_utf8(site.read(&format!("man1/{page}"))).expect("a page is text");
        assert!(text.contains(".SH NAME") && text.contains(".SH OPTIONS"), "{page}");
    }
}

#[test]
fn the_schema_is_json_schema() {
    let schema = Site::new().octobundle(["schema"]).run().assert_ok().json();
    assert!(schema["$schema"].as_str().is_some_and(|schema| schema.contains("json-schema.org")), "{schema}");
    assert!(schema["properties"]["images"].is_object());
}

/// Runs with these streams, which no helper can make.
fn with_streams(site: &Site, line: &[String], stdout: Stdio, stderr: Stdio) -> Option<i32> {
    let mut command = Command::new(binary());
    command.args(line).current_dir(site.path(".")).env_clear().env("HOME", site.path("."));
    let mut child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().expect("it can be started");
    child.wait().expect("it can be waited for").code()
}

#[test]
fn a_stdout_that_is_full_is_an_error_and_one_that_is_closed_is_not() {
    let release = carried();
    let full = || File::options().write(true).open("/dev/full").expect("Linux has it");
    let mut quick: Vec<Vec<String>> = lines(&release);
    quick.retain(|line| ["releases", "resolve", "inspect", "verify"].contains(&line[0].as_str()));
    quick.extend(
        [["schema"].as_slice(), &["completions", "bash"]]
            .map(|line| line.iter().map(|&word| word.to_owned()).collect()),
    );
    for line in &quick {
        let told = File::create(release.site.path("stderr")).expect("files can be written");
        assert_eq!(with_streams(&release.site, line, full().into(), told.into()), Some(DISK), "{line:?}");
        let told = String::from_utf8(release.site.read("stderr")).expect("it is text");
        assert!(told.contains("stdout") && !told.contains("panicked"), "{line:?}: {told}");

        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        drop(reader);
        let told = File::create(release.site.path("stderr")).expect("files can be written");
        let code = with_streams(&release.site, line, writer.into(), told.into());
        let told = String::from_utf8(release.site.read("stderr")).expect("it is text");
        assert_eq!(code, Some(0), "{line:?}: {told}");
        assert!(!told.contains("panicked"), "{line:?}: {told}");
    }
    // Without anybody to tell, the exit code still says it.
    let missing = ["inspect".to_owned(), "nowhere.tar".to_owned()];
    assert_eq!(with_streams(&release.site, &missing, full().into(), full().into()), Some(NOT_FOUND));
    let help = ["--help".to_owned()];
    assert!(with_streams(&release.site, &help, full().into(), full().into()).is_some(), "no signal ended it");
    let script = format!("exec '{}' verify release.tar >&- 2>&-", binary().display());
    release.site.run(Path::new("sh"), ["-c", &script]).run().assert_ok();
}

/// Escapes, a clipboard write, a bidirectional override, a carriage return, C1, a zero-width space.
const HOSTILE: &str = "x\u{1b}[2J\u{1b}]52;c;aGk=\u{7}\u{202e}y\rz\u{9b}31m\u{200b}\u{8}";

#[track_caller]
fn assert_harmless(output: &Output) {
    for text in [&output.stdout, &output.stderr] {
        let found = text.chars().find(|c| (c.is_control() && *c != '\n') || "\u{202e}\u{200b}".contains(*c));
        assert_eq!(found, None, "{text:?}");
    }
}

#[test]
fn sec_57_what_servers_say_does_nothing_to_a_terminal() {
    let registry = MemoryRegistry::start();
    let name = registry.add(&agent());
    let site = Site::new();
    site.write("release.yaml", manifest(&[name]));
    let oci = "application/vnd.oci.image.manifest.v1+json";
    for flags in [&[][..], &["-v"], &["-vv"], &["--color", "never"]] {
        registry.replace_manifest("octoperf/agent", "1", oci, HOSTILE.as_bytes());
        let broken = site.octobundle(["resolve", "release.yaml", "--retry-for", "0"]).args(flags).run();
        assert_ne!(broken.code, Some(0));
        assert_harmless(&broken);
        let media_type = serde_json::json!({"schemaVersion": 2, "mediaType": HOSTILE, "config": {}, "layers": []});
        registry.replace_manifest("octoperf/agent", "1", oci, media_type.to_string().as_bytes());
        let broken = site.octobundle(["resolve", "release.yaml", "--retry-for", "0"]).args(flags).run();
        assert_ne!(broken.code, Some(0));
        assert_harmless(&broken);
    }
}

#[test]
fn sec_57_an_error_page_of_a_server_does_nothing_to_a_terminal() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    let host = listener.local_addr().expect("it is bound").to_string();
    let server = std::thread::spawn(move || {
        // Two commands, each of which asks once.
        for connection in listener.incoming().take(2) {
            let mut connection = connection.expect("a client connects");
            let head = BufReader::new(connection.try_clone().expect("a socket can be cloned"));
            let lines = head.lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            assert!(lines.count() > 0);
            let body =
                serde_json::json!({"errors": [{"code": HOSTILE, "message": HOSTILE, "detail": HOSTILE}]}).to_string();
            let head = "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\nconnection: close";
            write!(connection, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).expect("it can be answered");
        }
    });
    let site = Site::new();
    site.write("release.yaml", manifest(&[format!("{host}/octoperf/agent:1")]));
    for flags in [&[][..], &["--json"]] {
        let failed = site.octobundle(["resolve", "release.yaml", "--retry-for", "0"]).args(flags).run();
        assert!(failed.stderr.contains("403") || failed.code == Some(4), "{}", failed.stderr);
        assert_harmless(&failed);
    }
    server.join().expect("both commands asked");
}

#[test]
fn sec_57_titles_and_file_names_do_nothing_to_a_terminal() {
    let release = Release::of(&[&agent()]);
    let title = "x\\e[2J\\e]52;c;aGk=\\a\\u202Ey\\rz\\u200B";
    let text = manifest(&[release.name(0).to_owned()]).replace("A sample release", &format!("\"{title}\""));
    release.site.write("release.yaml", text);
    let resolved = release.resolve().run();
    assert_harmless(&resolved);
    if resolved.code == Some(0) {
        for line in [
            "pull release.yaml -o release.tar",
            "inspect release.tar",
            "inspect release.tar --json",
            "inspect release.tar --lock",
            "verify release.tar",
        ] {
            assert_harmless(&release.site.octobundle(line.split(' ')).run().assert_ok());
        }
    }
    for line in [["inspect", HOSTILE], ["verify", HOSTILE], ["resolve", HOSTILE]] {
        let failed = release.site.octobundle(line).run();
        assert_ne!(failed.code, Some(0));
        assert_harmless(&failed);
    }
}

#[test]
fn colour_comes_only_where_it_is_wanted() {
    let site = Site::new();
    let run = |flags: &[&str]| site.octobundle(["inspect", "nowhere.tar"]).args(flags);
    assert!(!run(&[]).run().stderr.contains('\u{1b}'), "a file is no terminal");
    assert!(run(&["--color", "always"]).run().stderr.contains('\u{1b}'));
    assert!(!run(&["--color", "never"]).run().stderr.contains('\u{1b}'));
    let plain = run(&["--color", "always"]).run().stderr.replace(['\u{1b}'], "");
    assert!(plain.contains("error:"), "colour is never all that says it");
}

/// Runs a command on a terminal of its own and returns what the terminal is sent.
fn on_a_terminal(release: &Release, command: &str, environment: &[(&str, &str)]) -> Option<String> {
    let python = support::real::need("python3")?;
    let script = "import os, pty, sys\nstatus = pty.spawn(['sh', '-c', sys.argv[1]])\nsys.exit(os.waitstatus_to_exitcode(status))";
    let mut run = release.site.run(&python, ["-c", script, command]).env("TERM", "xterm");
    for (name, value) in environment {
        run = run.env(name, value);
    }
    Some(run.run().stdout)
}

#[test]
fn a_terminal_gets_colour_unless_no_color_is_set() {
    let release = carried();
    let command = format!("'{}' inspect nowhere.tar", binary().display());
    let Some(coloured) = on_a_terminal(&release, &command, &[]) else { return };
    assert!(coloured.contains("\u{1b}["), "{coloured:?}");
    let plain = on_a_terminal(&release, &command, &[("NO_COLOR", "1")]).expect("it was there before");
    assert!(plain.contains("error:") && !plain.contains("\u{1b}["), "{plain:?}");
}

#[test]
fn progress_is_drawn_on_terminals_and_told_in_lines_elsewhere() {
    let release = carried();
    let piped = release.pull("piped.tar").run().assert_ok();
    assert!(!piped.stderr.contains(['\r', '\u{1b}']), "{:?}", piped.stderr);
    assert!(piped.stderr.contains("downloading\n"), "{}", piped.stderr);
    let silent = release.pull("silent.tar").args(["--progress", "none"]).run().assert_ok();
    assert!(!silent.stderr.contains("downloading"), "{}", silent.stderr);
    let events = release.pull("events.tar").args(["--progress", "json"]).run().assert_ok();
    let first: Value =
        serde_json::from_str(events.stderr.lines().next().expect("it tells events")).expect("each is JSON");
    assert_eq!((&first["event"], &first["phase"]), (&"phase".into(), &"resolving".into()));
    let command = format!("'{}' pull release.yaml -o drawn.tar", binary().display());
    let Some(drawn) = on_a_terminal(&release, &command, &[]) else { return };
    assert!(drawn.contains("drawn.tar: sample-1") && !drawn.contains("panicked"), "{drawn:?}");
}

#[test]
fn sec_60_passwords_are_in_no_stream_whatever_is_logged() {
    let release = carried();
    release.registry.fault(
        Fault::on("GET", "/manifests/").times(u32::MAX).answer(401).header("www-authenticate", "Basic realm=\"x\""),
    );
    for flags in [&["-vvv"][..], &["--json"], &[]] {
        let proxied = release.site.octobundle(["resolve", "release.yaml", "--retry-for", "0"]).args(flags);
        let proxied = proxied
            .env("HTTPS_PROXY", "http://me:hunter2@127.0.0.1:1")
            .env("HTTP_PROXY", "http://me:hunter2@127.0.0.1:1");
        let failed = proxied.run();
        assert_ne!(failed.code, Some(0));
        assert!(!format!("{}{}", failed.stdout, failed.stderr).contains("hunter2"), "{}", failed.stderr);
    }
}

#[test]
fn a_closed_standard_input_does_not_matter() {
    let release = carried();
    let script = format!("exec '{}' verify release.tar <&-", binary().display());
    release.site.run(Path::new("sh"), ["-c", &script]).run().assert_ok();
}
