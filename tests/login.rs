//! `octobundle login` and `logout`: tried once, kept where docker keeps it, never shown.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};
use support::authority::Authority;
use support::cli::{Output, Site};
use support::memory_registry::{Access, MemoryRegistry, Options};
use support::real::{RealRegistry, Setup};

const USER: &str = "jo";
const PASSWORD: &str = "CANARY-password";
const FILE: &str = ".docker/config.json";

fn private() -> MemoryRegistry {
    let access = Access::Basic { user: USER.into(), password: PASSWORD.into() };
    MemoryRegistry::with(Options { access, ..Options::default() })
}

fn login(site: &Site, host: &str, password: &str, more: &[&str]) -> Output {
    let run = site.octobundle(["login", host, "--username", USER, "--password-stdin", "-vvv"]).args(more);
    let output = run.input(format!("{password}\n")).run();
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(!said.contains("CANARY"), "{said}");
    assert!(!said.contains(&encoded(password)), "{said}");
    output
}

fn encoded(password: &str) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(format!("{USER}:{password}"))
}

fn config(site: &Site) -> Value {
    serde_json::from_slice(&site.read(FILE)).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A helper that keeps logins as files below the site's home, as `docker-credential-*` programs do.
fn helper(site: &Site, name: &str) {
    let script = r#"#!/bin/sh
cd "$HOME" && mkdir -p kept
case $1 in
store) cat > kept/login ;;
get) read -r server; if [ -f kept/login ]; then cat kept/login; else echo "credentials not found in native keychain"; exit 1; fi ;;
erase) rm kept/login ;;
esac
"#;
    let path = site.write(&format!("bin/docker-credential-{name}"), script);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn path_with_helpers(site: &Site) -> String {
    format!("{}:/usr/bin:/bin", site.path("bin").display())
}

#[test]
fn sec_63_a_login_is_kept_as_docker_keeps_it() {
    let (registry, site) = (private(), Site::new());
    let output = login(&site, &registry.host(), PASSWORD, &[]).assert_ok();
    assert!(output.stdout.contains("logged in to"), "{}", output.stdout);
    assert!(output.stderr.contains("base64, which is no protection"), "{}", output.stderr);
    let key = registry.host();
    assert_eq!(config(&site), json!({"auths": {key: {"auth": encoded(PASSWORD)}}}));
    assert_eq!(mode(&site.path(FILE)), 0o600);
    assert_eq!(mode(&site.path(".docker")), 0o700);
}

#[test]
fn sec_63_what_docker_wrote_stays_and_the_mode_is_tightened() {
    let (registry, site) = (private(), Site::new());
    let path = site.write(FILE, r#"{"psFormat": "x", "auths": {"other.corp": {"auth": "eDp5"}}, "future": [1]}"#);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    login(&site, &registry.host(), PASSWORD, &[]).assert_ok();
    let kept = config(&site);
    assert_eq!((&kept["psFormat"], &kept["future"]), (&json!("x"), &json!([1])));
    assert_eq!(kept["auths"]["other.corp"]["auth"], "eDp5");
    assert_eq!(kept["auths"][registry.host()]["auth"], encoded(PASSWORD));
    assert_eq!(mode(&path), 0o600);
    let output = site.octobundle(["logout", &registry.host()]).run().assert_ok();
    assert!(output.stdout.contains("is forgotten"), "{}", output.stdout);
    assert_eq!(config(&site)["auths"], json!({"other.corp": {"auth": "eDp5"}}));
    let output = site.octobundle(["logout", &registry.host()]).run().assert_ok();
    assert!(output.stdout.contains("there was no login"), "{}", output.stdout);
}

#[test]
fn a_06_a_wrong_password_is_tried_once_and_not_kept() {
    let (registry, site) = (private(), Site::new());
    let output = login(&site, &registry.host(), "CANARY-wrong", &[]).assert_code(4);
    assert!(output.stderr.contains("refused the login from standard input"), "{}", output.stderr);
    assert!(
        output.stderr.contains(&format!("octobundle login {} --username jo", registry.host())),
        "{}",
        output.stderr
    );
    assert_eq!(registry.requests().iter().filter(|request| request.authorized()).count(), 1);
    assert!(!site.path(FILE).exists());
}

#[test]
fn a_token_servers_refusal_is_final_too() {
    let login_pair = Some((USER.to_owned(), PASSWORD.to_owned()));
    let access = Access::Bearer { login: login_pair, uses: u32::MAX };
    let (registry, site) = (MemoryRegistry::with(Options { access, ..Options::default() }), Site::new());
    login(&site, &registry.host(), "CANARY-wrong", &[]).assert_code(4);
    let asked = registry.requests().iter().filter(|request| request.path == "/token").count();
    assert_eq!(asked, 1);
    let report = login(&site, &registry.host(), PASSWORD, &["--json"]).assert_ok().json();
    assert_eq!(report["tried"], true);
}

#[test]
fn a_registry_that_asks_nobody_cannot_prove_a_login() {
    let (registry, site) = (MemoryRegistry::start(), Site::new());
    let output = login(&site, &registry.host(), PASSWORD, &[]).assert_ok();
    assert!(output.stderr.contains("nobody knows whether this one is right"), "{}", output.stderr);
}

#[test]
fn a_login_goes_to_the_helper_that_is_configured() {
    let (registry, site) = (private(), Site::new());
    helper(&site, "test");
    site.write(FILE, r#"{"credsStore": "test"}"#);
    let run = |arguments: &[&str], input: &str| {
        site.octobundle(arguments).env("PATH", path_with_helpers(&site)).input(input).run()
    };
    let host = registry.host();
    let output = run(&["login", &host, "--username", USER, "--password-stdin"], PASSWORD).assert_ok();
    assert!(output.stdout.contains("the credential helper `test`"), "{}", output.stdout);
    assert!(!output.stderr.contains("base64"), "{}", output.stderr);
    assert_eq!(config(&site), json!({"credsStore": "test", "auths": {host.clone(): {}}}));
    let kept: Value = serde_json::from_slice(&site.read("kept/login")).unwrap();
    assert_eq!(kept, json!({"ServerURL": host, "Username": USER, "Secret": PASSWORD}));
    run(&["logout", &host], "").assert_ok();
    assert!(!site.path("kept/login").exists());
    assert_eq!(config(&site)["auths"], json!({}));
}

#[test]
fn sec_14_a_helper_that_is_missing_keeps_the_login_out_of_the_file() {
    let (registry, site) = (private(), Site::new());
    site.write(FILE, r#"{"credsStore": "absent"}"#);
    let output = login(&site, &registry.host(), PASSWORD, &[]).assert_code(4);
    assert!(output.stderr.contains("docker-credential-absent"), "{}", output.stderr);
    assert_eq!(config(&site), json!({"credsStore": "absent"}));
}

#[test]
fn sec_62_a_password_is_no_argument() {
    let site = Site::new();
    for arguments in [&["login", "reg.corp", "--password", "x"][..], &["login", "reg.corp", "-p", "x"]] {
        site.octobundle(arguments).run().assert_code(2);
    }
    let output = site.octobundle(["login", "reg.corp", "--username", USER]).run().assert_code(2);
    assert!(output.stderr.contains("--password-stdin"), "{}", output.stderr);
}

#[test]
fn another_file_gets_the_login_if_it_is_named() {
    let (registry, site) = (private(), Site::new());
    login(&site, &registry.host(), PASSWORD, &["--authfile", "own/auth.json"]).assert_ok();
    assert!(!site.path(FILE).exists());
    assert_eq!(mode(&site.path("own/auth.json")), 0o600);
}

#[test]
fn a_login_that_another_file_hides_is_told() {
    let (registry, site) = (private(), Site::new());
    let other = format!(r#"{{"auths": {{"{}": {{"auth": "eDp5"}}}}}}"#, registry.host());
    let output = site
        .octobundle(["login", &registry.host(), "--username", USER, "--password-stdin"])
        .env("DOCKER_AUTH_CONFIG", other)
        .input(PASSWORD)
        .run()
        .assert_ok();
    assert!(output.stderr.contains("comes first: `DOCKER_AUTH_CONFIG`"), "{}", output.stderr);
}

/// A terminal for a command: what is typed goes in at one end, what is shown comes out there too.
#[test]
fn a_password_typed_at_a_terminal_is_not_shown() {
    let (registry, site) = (private(), Site::new());
    let mut terminal = support::terminal::Terminal::open();
    let mut child = terminal.run(&site, &["login", &registry.host()]);
    terminal.wait_for("user name: ");
    terminal.type_in("jo\n");
    terminal.wait_for("(not shown): ");
    // A slip, corrected.
    terminal.type_in(&format!("{PASSWORD}x\u{7f}\n"));
    terminal.wait_for("logged in to");
    assert!(child.wait().unwrap().success(), "{}", terminal.shown());
    assert!(!terminal.shown().contains("CANARY"), "{}", terminal.shown());
    assert!(terminal.echoes(), "the terminal was left silent");
    assert_eq!(config(&site)["auths"][registry.host()]["auth"], encoded(PASSWORD));
}

#[test]
fn ctrl_c_at_the_password_leaves_a_working_terminal() {
    let (registry, site) = (private(), Site::new());
    let mut terminal = support::terminal::Terminal::open();
    let mut child = terminal.run(&site, &["login", &registry.host(), "--username", USER]);
    terminal.wait_for("(not shown): ");
    terminal.type_in("secr\u{3}");
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", terminal.shown());
    assert!(terminal.echoes(), "the terminal was left silent");
    assert!(!site.path(FILE).exists());
}

#[test]
fn a_real_registry_with_tls_takes_the_login() {
    let authority = Authority::new();
    let setup = Setup { login: Some((USER, PASSWORD)), tls: Some(&authority), ..Setup::default() };
    let Some(registry) = RealRegistry::with(&setup) else { return };
    let site = Site::new();
    let ca = site.write("ca.pem", authority.certificate());
    site.write(
        ".config/octobundle/config.toml",
        format!("[registry.\"{}\"]\nca = \"{}\"\n", registry.host(), ca.display()),
    );
    login(&site, registry.host(), "CANARY-wrong", &[]).assert_code(4);
    login(&site, registry.host(), PASSWORD, &[]).assert_ok();
    assert_eq!(config(&site)["auths"][registry.host()]["auth"], encoded(PASSWORD));
}
