//! `octobundle doctor agent`: the engine fetches what an agent needs, and each thing in the way has a next step.

mod support;

use std::fmt::Write as _;
use std::path::PathBuf;

use base64::Engine as _;
use serde_json::{Value, json};
use support::authority::Authority;
use support::cli::{Run, Site};
use support::discretion::discreetly;
use support::images::TestImage;
use support::memory_registry::MemoryRegistry;
use support::real::{Docker, Podman, RealRegistry, Setup};
use support::scripted::{Reply, Scripted, Seen};

const USER: &str = "jo";
const PASSWORD: &str = "CANARY-password";

const OTHER: i32 = 1;
const ACCESS: i32 = 4;
const NETWORK: i32 = 5;
const NOT_FOUND: i32 = 6;
const DISK: i32 = 9;

fn agent() -> TestImage {
    TestImage::new("octoperf/docker-agent:9.0.0").docker().layer(b"agent")
}

fn load_generator() -> TestImage {
    TestImage::new("octoperf/jmeter:9.0.1").docker().layer(b"jmeter")
}

/// A bundle with an agent, its load generator, and an image that no agent's host needs.
fn site_with_bundle() -> Site {
    let (vendor, site) = (MemoryRegistry::start(), Site::new());
    let names = [
        vendor.add(&agent()),
        vendor.add(&load_generator()),
        vendor.add(&TestImage::new("octoperf/enterprise-edition:9.2.0").docker().layer(b"server")),
    ];
    let roles = ["agent", "load-generator", "infrastructure"];
    let mut text = "schema: octobundle/v1\nrelease: sample-1\ntitle: A sample\nimages:\n".to_owned();
    for (name, role) in names.iter().zip(roles) {
        writeln!(text, "  - {{image: '{name}', role: {role}}}").expect("a String takes any text");
    }
    site.write("release.yaml", text);
    site.octobundle(["pull", "release.yaml", "-o", "bundle.tar", "--quiet"]).run().assert_ok();
    site.octobundle(["resolve", "release.yaml", "--lock", "release.lock", "--quiet"]).run().assert_ok();
    site
}

#[track_caller]
fn examined(run: Run, code: i32) -> Value {
    let report = discreetly(run.args(["--json", "-vvv"])).assert_code(code).json();
    assert_eq!(report["would_run"], code == 0, "{report:#}");
    report
}

fn problems(report: &Value) -> Vec<String> {
    let all = report["problems"].as_array().unwrap().iter();
    all.map(|problem| format!("{} | {} | {}", problem["class"], problem["messages"], problem["help"])).collect()
}

#[track_caller]
fn assert_said(report: &Value, words: &[&str]) {
    let said = problems(report);
    assert!(said.iter().any(|problem| words.iter().all(|word| problem.contains(word))), "{words:?}: {said:#?}");
}

fn states(report: &Value) -> Vec<(&str, &str)> {
    let images = report["images"].as_array().unwrap().iter();
    images.map(|image| (image["role"].as_str().unwrap(), image["state"].as_str().unwrap())).collect()
}

/// A registry with TLS and a password, the bundle in it, and a login for it.
struct Corp {
    registry: RealRegistry,
    site: Site,
    authority: PathBuf,
}

impl Corp {
    fn new() -> Option<Self> {
        let authority = Authority::new();
        let setup = Setup { login: Some((USER, PASSWORD)), tls: Some(&authority), clients: None };
        let registry = RealRegistry::with(&setup)?;
        let site = site_with_bundle();
        let authority = site.write("ca.pem", authority.certificate());
        let corp = Self { registry, site, authority };
        corp.log_in();
        corp.push("bundle.tar");
        Some(corp)
    }

    /// docker trusts any registry at 127.0.0.1, whatever its certificate; this name of the machine it does not.
    fn host(&self) -> String {
        format!("0.0.0.0:{}", self.registry.port())
    }

    fn log_in(&self) {
        let pair = base64::prelude::BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let auths = json!({"auths": {self.host(): {"auth": pair}}});
        self.site.write(".docker/config.json", auths.to_string());
    }

    fn push(&self, bundle: &str) {
        let target = format!("{}/tools", self.host());
        let push = ["push", bundle, "--registry", &target, "--ca", "ca.pem", "--quiet"];
        self.site.octobundle(push).run().assert_ok();
    }

    /// The registry plays the server too: it answers its first page.
    fn doctor(&self, engine: &str) -> Run {
        let (target, server) = (format!("{}/tools", self.host()), format!("https://{}", self.host()));
        let doctor = ["doctor", "agent", "bundle.tar", "--registry", &target, "--server-url", &server];
        self.site.octobundle(doctor).args(["--ca", "ca.pem", "--engine", engine])
    }
}

#[test]
fn with_docker_everything_that_an_agent_needs_is_fetched() {
    let Some(corp) = Corp::new() else { return };
    let Some(docker) = Docker::believing(Some(&corp.authority)) else { return };
    let doctor = || corp.doctor("docker").env("DOCKER_HOST", docker.host());
    let report = examined(doctor(), 0);
    assert_eq!(states(&report), [("agent", "fetched"), ("load-generator", "fetched")]);
    let name = report["images"][0]["image"].as_str().unwrap();
    let digest = format!("{}/tools/octoperf/docker-agent@sha256:", corp.host());
    assert!(name.starts_with(&digest), "{name}");
    let id = docker.run(&["image", "inspect", "--format", "{{.Id}}", name]);
    assert_eq!(id.trim(), agent().config_digest());
    let engine = &report["engine"];
    assert_eq!((&engine["kind"], &engine["agents"]), (&json!("docker"), &json!([])));
    assert_eq!(engine["data_root"], docker.folder().join("data").to_str().unwrap());
    assert!(engine["memory_bytes"].as_u64().unwrap() > 0 && engine["free_bytes"].as_u64().unwrap() > 0);
    assert_eq!(report["hosts"][0]["login_accepted"], true);
    let server = &report["server"];
    assert_eq!((&server["status"], &server["tls"]["vouched_by"]), (&json!(200), &json!("file")));
    // What is worth knowing is said though an agent would work.
    assert_said(&report, &["null", "do not get the engine's", "--registry-password-property"]);
    assert_said(&report, &["null", "signed by `octobundle tests`", "Java has to know"]);
    // Once more, with everything there: nothing changes.
    let output = discreetly(doctor()).assert_ok();
    assert!(output.stdout.ends_with("\nan agent would work on this host\n"), "{}", output.stdout);
    assert!(output.stdout.contains("\n  agents     none runs\n"), "{}", output.stdout);
}

#[test]
fn with_podman_everything_that_an_agent_needs_is_fetched() {
    let (Some(corp), Some(podman)) = (Corp::new(), Podman::new()) else { return };
    let wrapper = podman.wrapper();
    let folder = wrapper.parent().expect("it stands in a folder").display().to_string();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
    let doctor = || corp.doctor("podman").env("PATH", &path);
    if std::path::Path::new("/run/podman/podman.sock").exists() {
        support::real::skipped("this machine has a podman of its own at /run/podman");
        return;
    }
    let report = examined(doctor(), NETWORK);
    assert_said(&report, &["\"network\"", "x509", "/etc/containers/certs.d/", "ca.crt"]);
    // Everything is fetched, and yet the agent would have no engine to talk to.
    let report = examined(doctor().env("SSL_CERT_FILE", &corp.authority), OTHER);
    assert_said(&report, &["\"other\"", "would not start", "systemctl enable --now podman.socket"]);
    assert_eq!(states(&report), [("agent", "fetched"), ("load-generator", "fetched")]);
    let name = report["images"][0]["image"].as_str().unwrap();
    let id = podman.run(&["image", "inspect", "--format", "{{.Id}}", name]);
    assert_eq!(format!("sha256:{}", id.trim()), agent().config_digest());
    assert_eq!(report["engine"]["data_root"], podman.folder().join("root").to_str().unwrap());
    // Its socket speaks docker's words.
    podman.run(&["rmi", "--all", "--force"]);
    let service = podman.serve_believing(&corp.authority);
    let report = examined(corp.doctor("docker").env("DOCKER_HOST", service.host()), 0);
    assert!(!problems(&report).concat().contains("podman.socket"), "{report:#}");
    assert_eq!(report["engine"]["kind"], "podman");
    assert_eq!(states(&report), [("agent", "fetched"), ("load-generator", "fetched")]);
}

#[test]
fn a_registry_that_the_engine_does_not_trust_or_know_a_login_for_is_told() {
    let Some(corp) = Corp::new() else { return };
    let Some(docker) = Docker::start() else { return };
    let doctor = || corp.doctor("docker").env("DOCKER_HOST", docker.host());
    let report = examined(doctor(), NETWORK);
    assert_eq!(states(&report), [("agent", "failed"), ("load-generator", "failed")]);
    assert_said(&report, &["x509", &format!("/etc/docker/certs.d/{}/ca.crt", corp.host())]);
    let Some(docker) = Docker::believing(Some(&corp.authority)) else { return };
    corp.site.write(".docker/config.json", "{}");
    let report = examined(corp.doctor("docker").env("DOCKER_HOST", docker.host()), ACCESS);
    assert_said(&report, &["\"access\"", "could not fetch", &format!("docker login {}", corp.host())]);
    assert_said(&report, &["wants a login for", "octobundle login"]);
}

#[test]
fn an_agent_that_would_come_up_and_fail_at_its_first_test_is_told() {
    let Some(corp) = Corp::new() else { return };
    let Some(docker) = Docker::believing(Some(&corp.authority)) else { return };
    let repository = corp.registry.storage().join("docker/registry/v2/repositories/tools/octoperf/jmeter");
    std::fs::remove_dir_all(repository).expect("it was pushed");
    let report = examined(corp.doctor("docker").env("DOCKER_HOST", docker.host()), NOT_FOUND);
    assert_eq!(states(&report), [("agent", "fetched"), ("load-generator", "failed")]);
    assert_said(&report, &["\"not-found\"", "the first test that needs it would fail", "octobundle push"]);
}

/// An engine of which every answer is written by hand, a registry that is not asked, and a server.
struct Imagined {
    engine: Scripted,
    server: Scripted,
    site: Site,
}

const VERSION: &str = r#"{"Version":"20.10.24","Components":[{"Name":"Engine"}]}"#;
const MACHINE: &str = r#"{"NCPU":8,"MemTotal":16000000000,"DockerRootDir":"/"}"#;

impl Imagined {
    /// `answers` comes first; what it leaves out goes well.
    async fn new(answers: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let engine = Scripted::start(move |seen, _| {
            answers(seen).unwrap_or_else(|| {
                let line = seen.line();
                let body = match line.as_str() {
                    "GET /version" => VERSION.to_owned(),
                    "GET /info" => MACHINE.to_owned(),
                    "GET /containers/json" => "[]".to_owned(),
                    "POST /images/create" => "{\"status\":\"Status: Downloaded\"}\r\n".to_owned(),
                    _ => {
                        let image = if line.contains("jmeter") { load_generator() } else { agent() };
                        format!("{{\"Id\":\"{}\"}}", image.config_digest())
                    }
                };
                Reply::new(200).body(body)
            })
        })
        .await;
        let server = Scripted::start(|_, _| Reply::new(302).header("location", "/ui/")).await;
        Self { engine, server, site: site_with_bundle() }
    }

    async fn good() -> Self {
        Self::new(|_| None).await
    }

    fn doctor(&self, registry: &MemoryRegistry) -> Run {
        self.doctor_of("bundle.tar", registry).args(["--server-url", &self.server.url("")])
    }

    fn doctor_of(&self, bundle: &str, registry: &MemoryRegistry) -> Run {
        let doctor = ["doctor", "agent", bundle, "--registry", &format!("{}/tools", registry.host())];
        self.site.octobundle(doctor).env("DOCKER_HOST", format!("tcp://{}", self.engine.host()))
    }
}

fn when(part: &'static str, reply: Reply) -> impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static {
    move |seen| seen.line().contains(part).then(|| reply.clone())
}

fn running(containers: &Value) -> Reply {
    Reply::new(200).body(containers.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_does_in_the_place_of_its_bundle_and_names_do_without_one() {
    let (registry, imagined) = (MemoryRegistry::start(), Imagined::good().await);
    let server = imagined.server.url("");
    let report = examined(imagined.doctor_of("release.lock", &registry).args(["--server-url", &server]), 0);
    assert_eq!(states(&report), [("agent", "fetched"), ("load-generator", "fetched")]);
    assert_eq!(report["server"]["status"], 302);
    // What another machine's engine says of its folders says nothing about this one.
    assert_eq!(report["engine"]["free_bytes"], Value::Null);
    let image = format!("{}/tools/octoperf/docker-agent:9.0.0", registry.host());
    let doctor = || {
        let doctor = ["doctor", "agent", "--registry", &registry.host(), "--server-url", &server];
        imagined.site.octobundle(doctor).env("DOCKER_HOST", format!("tcp://{}", imagined.engine.host()))
    };
    let report = examined(doctor().args(["--image", &image]), 0);
    assert_eq!(report["images"], json!([{"image": image, "role": "agent", "state": "fetched"}]));
    discreetly(doctor()).assert_code(2);
    let elsewhere = discreetly(doctor().args(["--image", "octoperf/docker-agent:9.0.0"])).assert_code(2);
    assert!(elsewhere.stderr.contains("is not in the registry"), "{}", elsewhere.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_agent_a_host() {
    let registry = MemoryRegistry::start();
    let name = |name: &str, image: &str| json!({"Names": [format!("/{name}")], "Image": image, "ImageID": "x"});
    let moved = json!({"Names": ["/moved"], "Image": "sha256:0", "ImageID": agent().config_digest()});
    let other = name("web", "nginx:1");
    let mine = name("agent-1", "old.corp/octoperf/docker-agent:8.0.0");
    let near = name("near", "old.corp/myoctoperf/docker-agent:8.0.0");

    let imagined = Imagined::new(when("/containers/json", running(&json!([other, near, mine])))).await;
    let report = examined(imagined.doctor(&registry), 0);
    assert_eq!(report["engine"]["agents"], json!(["agent-1"]));
    assert_said(&report, &["null", "runs on this host already", "docker rm -f agent-1"]);

    let imagined = Imagined::new(when("/containers/json", running(&json!([moved, mine])))).await;
    let report = examined(imagined.doctor(&registry), OTHER);
    assert_said(&report, &["\"other\"", "2 agents run on this host: `moved`, `agent-1`", "docker rm -f moved"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_too_small_is_told() {
    let registry = MemoryRegistry::start();
    let small = Reply::new(200).body(r#"{"NCPU":2,"MemTotal":2000000000}"#);
    let imagined = Imagined::new(when("/info", small)).await;
    let report = examined(imagined.doctor(&registry), 0);
    assert_said(&report, &["null", "2 processors; OctoPerf asks for 4"]);
    assert_said(&report, &["null", "2.0 GB of memory; OctoPerf asks for 8 GB"]);
}

#[test]
fn images_that_do_not_fit_are_not_fetched() {
    let Some(docker) = Docker::start() else { return };
    let (registry, server, site) = (MemoryRegistry::start(), MemoryRegistry::start(), site_with_bundle());
    let mut lock: Value = serde_json::from_slice(&site.read("release.lock")).unwrap();
    // 8 TiB, more than a machine of the tests has free.
    lock["images"][0]["platforms"][0]["layers"][0]["size"] = json!(1_u64 << 43);
    site.write("large.lock", lock.to_string());
    let doctor = ["doctor", "agent", "large.lock", "--registry", &registry.host(), "--server-url", &server.url()];
    let report = examined(site.octobundle(doctor).env("DOCKER_HOST", docker.host()), DISK);
    assert_said(&report, &["\"disk\"", "are free where docker keeps its images", "docker system df"]);
    assert_eq!(states(&report), [("agent", "not-asked"), ("load-generator", "not-asked")]);
    assert_eq!(docker.run(&["images", "--quiet"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_engine_says_while_it_fetches_is_understood() {
    let registry = MemoryRegistry::start();
    for (said, code, help) in [
        ("no space left on device", DISK, "docker system df"),
        ("dial tcp: connect: connection refused", NETWORK, "docker info"),
        ("http: server gave HTTP response to HTTPS client", NETWORK, "insecure-registries"),
        ("no matching manifest for linux/arm64 in the manifest list entries", NOT_FOUND, "--platform linux/arm64"),
    ] {
        let error = format!("{{\"status\":\"Pulling\"}}\r\n{{\"error\":{}}}\r\n", json!(said));
        let imagined = Imagined::new(when("/images/create", Reply::new(200).body(error))).await;
        assert_said(&examined(imagined.doctor(&registry), code), &[said, help]);
        // The same before anything else was said.
        let error = json!({"message": said}).to_string();
        let imagined = Imagined::new(when("/images/create", Reply::new(500).body(error))).await;
        assert_said(&examined(imagined.doctor(&registry), code), &[said, help]);
    }
    let other = Reply::new(200).body(json!({"Id": format!("sha256:{}", "0".repeat(64))}).to_string());
    let imagined = Imagined::new(when("docker-agent@", other)).await;
    assert_said(&examined(imagined.doctor(&registry), 7), &["\"integrity\"", "not in the bundle"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_engine_the_rest_is_looked_at() {
    let (registry, imagined) = (MemoryRegistry::start(), Imagined::good().await);
    let doctor = imagined.doctor(&registry).args(["--engine", "docker"]);
    let report = examined(doctor.env("DOCKER_HOST", "unix:///nowhere/docker.sock"), NETWORK);
    assert_said(&report, &["no engine answers", "systemctl start docker"]);
    assert_eq!((&report["engine"], &report["server"]["status"]), (&Value::Null, &json!(302)));
    assert_eq!(states(&report), [("agent", "not-asked"), ("load-generator", "not-asked")]);
    assert_eq!(report["hosts"][0]["reachable"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_agents_would_not_reach_is_told() {
    let (registry, imagined) = (MemoryRegistry::start(), Imagined::good().await);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let at = |url: String| imagined.doctor_of("bundle.tar", &registry).args(["--server-url", &url]);
    let report = examined(at(format!("http://{nobody}")), NETWORK);
    assert_said(&report, &["would not reach its server", "no connection to"]);
    let down = Scripted::start(|_, _| Reply::new(503)).await;
    assert_said(&examined(at(down.url("")), NETWORK), &["answers HTTP 503", "the server runs"]);
    let late = Scripted::start(|_, _| Reply::new(200).header("date", "Tue, 14 Nov 2023 22:13:20 GMT")).await;
    let report = examined(at(late.url("")), 0);
    assert_said(&report, &["null", "ahead of that of the server", "set the clock"]);
    assert!(!problems(&report).concat().contains("plain http"), "nobody listens on the way to this machine itself");
    assert!(report["server"]["clock_difference_seconds"].as_i64().unwrap() < -300);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_reached_through_the_agents_proxy_and_no_other() {
    let (registry, imagined) = (MemoryRegistry::start(), Imagined::good().await);
    let proxy = Scripted::start(|_, _| Reply::new(200)).await;
    let strange = Scripted::start(|_, _| Reply::new(407)).await;
    let address = format!("http://px:CANARY-proxy@{}", proxy.host());
    // A name of this machine that is not taken for it, so that proxies are used.
    let server = format!("http://0.0.0.0:{}", imagined.server.address.port());
    // octobundle's own proxy is not the agent's.
    let doctor = || {
        let run = imagined.doctor_of("bundle.tar", &registry).args(["--server-url", &server]);
        run.env("HTTP_PROXY", strange.url(""))
    };
    let report = examined(doctor().args(["--agent-http-proxy", &address]), 0);
    assert_eq!((&report["server"]["proxy"], &report["server"]["status"]), (&json!(proxy.url("")), &json!(200)));
    assert_eq!(proxy.seen().last().expect("it was asked").target, format!("{server}/"));
    assert!(imagined.server.seen().is_empty() && strange.seen().is_empty());
    assert_said(&report, &["null", "plain http", "use its https address"]);
    let report = examined(doctor().args(["--agent-http-proxy", &strange.url("")]), ACCESS);
    assert_said(&report, &["HTTP 407", "the agent's proxy address"]);
    let report = examined(doctor().args(["--agent-http-proxy", &address, "--agent-no-proxy", "0.0.0.0"]), 0);
    assert_eq!(report["server"]["route_reason"], "`0.0.0.0` is in the list of hosts without proxy");
    assert_eq!((report["server"]["status"].as_u64(), imagined.server.seen().len()), (Some(302), 1));
    let wrong = discreetly(doctor().args(["--agent-http-proxy", "htp://CANARY"]));
    assert!(wrong.assert_code(2).stderr.contains("--agent-http-proxy"));
}

#[test]
fn a_server_whose_certificate_is_not_trusted_is_told() {
    let Some(corp) = Corp::new() else { return };
    let nowhere = "unix:///nowhere/docker.sock";
    let (target, server) = (format!("{}/tools", corp.host()), format!("https://{}", corp.host()));
    let doctor = ["doctor", "agent", "bundle.tar", "--registry", &target, "--server-url", &server];
    let report = examined(corp.site.octobundle(doctor).env("DOCKER_HOST", nowhere), NETWORK);
    assert_said(&report, &["would not reach its server", "authority that is not trusted", "--ca"]);
    assert_eq!(report["server"]["tls"]["vouched_by"], "nobody");
    assert_eq!(report["server"]["tls"]["chain"][0]["issuer"], "octobundle tests");
}
