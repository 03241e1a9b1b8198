//! `octobundle config`: each value with its origin, and mistakes with their place.

mod support;

use serde_json::{Value, json};
use support::cli::Site;

const FILE: &str = ".config/octobundle/config.toml";
const CANARY: &str = "CANARY-secret";

fn settings(report: &Value, name: &str) -> Vec<(String, Value)> {
    let all = report["settings"].as_array().unwrap().iter().filter(|setting| setting["name"] == name);
    all.map(|setting| (setting["value"].as_str().unwrap().to_owned(), setting["origin"].clone())).collect()
}

#[test]
fn a_flag_comes_before_the_variable_before_the_file_before_the_default() {
    let site = Site::new();
    let file = site.path(FILE);
    let config = |flags: &[&str], variable: Option<&str>| {
        let mut run = site.octobundle(["config", "--json"]).args(flags);
        if let Some(value) = variable {
            run = run.env("OCTOBUNDLE_JOBS", value);
        }
        let report = run.run().assert_ok().json();
        settings(&report, "jobs").remove(0)
    };
    assert_eq!(config(&[], None), ("16".into(), json!({"kind": "default"})));
    site.write(FILE, "[limits]\njobs = 3\n");
    assert_eq!(config(&[], None), ("3".into(), json!({"kind": "file", "path": file, "line": 2})));
    assert_eq!(config(&[], Some("4")), ("4".into(), json!({"kind": "environment", "name": "OCTOBUNDLE_JOBS"})));
    assert_eq!(config(&["--jobs", "5"], Some("4")), ("5".into(), json!({"kind": "flag", "name": "--jobs"})));
}

#[test]
fn every_value_is_listed_with_its_origin() {
    let site = Site::new();
    site.write(
        FILE,
        "[registry.\"reg.corp:5000\"]\nmirror = \"cache.corp/hub\"\nca = \"corp.pem\"\ninsecure-tls = true\n\
         trusted-realms = [\"auth.corp\"]\n[limits]\nmax-wait = \"2h\"\n",
    );
    let output = site
        .octobundle(["config", "--limit-rate", "20M", "--mirror", "docker.io=hub.corp"])
        .env("NO_PROXY", ".corp")
        .env("OCTOBUNDLE_TRUST_REALM", "a.corp,b.corp")
        .run()
        .assert_ok();
    let line = |start: &str, end: &str| {
        let found = output.stdout.lines().any(|line| line.starts_with(start) && line.ends_with(end));
        assert!(found, "{start} … {end}\n{}", output.stdout);
    };
    line("retry-for  ", "default");
    line("max-wait  ", "config.toml:7");
    line("limit-rate  ", "--limit-rate");
    line("no-proxy  ", "NO_PROXY");
    line("trust-realm ", "OCTOBUNDLE_TRUST_REALM");
    line("logins  ", "default");
    line("reg.corp:5000  mirror", "config.toml:2");
    line("reg.corp:5000  ca", "config.toml:3");
    line("reg.corp:5000  insecure-tls", "config.toml:4");
    line("reg.corp:5000  trusted-realms", "config.toml:5");
    line("docker.io  mirror", "--mirror");
}

#[test]
fn sec_60_no_secret_is_shown() {
    let site = Site::new();
    let proxy = format!("http://user:{CANARY}@proxy:3128");
    site.write(FILE, format!("[registry.\"reg.corp\"]\nproxy = \"{proxy}\"\n"));
    for flags in [&["config"][..], &["config", "--json", "-vvv"], &["config", "-vvv"]] {
        let output = site
            .octobundle(flags)
            .env("HTTPS_PROXY", &proxy)
            .env("ALL_PROXY", &proxy)
            .env("DOCKER_AUTH_CONFIG", format!("{{\"auths\": {{\"a\": {{\"auth\": \"{CANARY}\"}}}}}}"))
            .run()
            .assert_ok();
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(!said.contains(CANARY), "{said}");
        assert!(output.stdout.contains("http://proxy:3128"), "{}", output.stdout);
    }
}

#[test]
fn a_mistyped_key_is_refused_with_its_place_and_what_was_meant() {
    let site = Site::new();
    site.write(FILE, "[limits]\n  retry_for = \"10m\"\n");
    let output = site.octobundle(["config"]).run().assert_code(3);
    assert!(output.stderr.contains("config.toml:2:3"), "{}", output.stderr);
    assert!(output.stderr.contains("did you mean `retry-for`?"), "{}", output.stderr);
    // Every command that would use the file says the same.
    let output = site.octobundle(["resolve", "octoperf-9.2.0"]).run().assert_code(3);
    assert!(output.stderr.contains("config.toml:2:3"), "{}", output.stderr);
}

#[test]
fn a_named_configuration_file_has_to_be_there_and_the_usual_one_not() {
    let site = Site::new();
    site.octobundle(["config"]).run().assert_ok();
    let output = site.octobundle(["config", "--config", "missing.toml"]).run().assert_code(6);
    assert!(output.stderr.contains("missing.toml"), "{}", output.stderr);
    site.octobundle(["config"]).env("OCTOBUNDLE_CONFIG", "missing.toml").run().assert_code(6);
    site.write("other.toml", "[limits]\njobs = 2\n");
    let report = site.octobundle(["config", "--json", "--config", "other.toml"]).run().assert_ok().json();
    assert_eq!(report["config_file"], "other.toml");
    assert_eq!(settings(&report, "jobs")[0].0, "2");
}

#[test]
fn a_variable_that_cannot_be_used_is_named() {
    let site = Site::new();
    for (name, value) in [
        ("OCTOBUNDLE_JOBS", "0"),
        ("OCTOBUNDLE_RETRY_FOR", "soon"),
        ("OCTOBUNDLE_LIMIT_RATE", "fast"),
        ("OCTOBUNDLE_PLAIN_HTTP", "http://reg.corp"),
        ("OCTOBUNDLE_MIRROR", "reg.corp"),
    ] {
        let output = site.octobundle(["config"]).env(name, value).run().assert_code(3);
        assert!(output.stderr.contains(name) && output.stderr.contains("help:"), "{}", output.stderr);
    }
    let output = site.octobundle(["config"]).env("HTTPS_PROXY", "htp://proxy").run().assert_code(3);
    assert!(output.stderr.contains("the https proxy has the scheme `htp`"), "{}", output.stderr);
}
