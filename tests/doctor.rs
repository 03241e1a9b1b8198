//! `octobundle doctor`: names every host, what is on the way to it, and what to do about each problem.

#[path = "support/proxy.rs"]
mod proxy;
mod support;

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use proxy::Proxy;
use serde_json::Value;
use support::authority::Authority;
use support::cli::{Run, Site};
use support::discretion::discreetly;
use support::images::TestImage;
use support::memory_registry::{Access, Fault, MemoryRegistry, Options, Request};
use support::real::{RealProxy, RealRegistry, Setup};

const USER: &str = "jo";
const PASSWORD: &str = "CANARY-password";
const PROXY_PASSWORD: &str = "CANARY-proxy";

/// Where a server of the tests listens.
fn address(host: &str) -> SocketAddr {
    host.parse().unwrap()
}

fn url(proxy: &Proxy) -> String {
    format!("http://{}", proxy.host())
}

fn url_with(proxy: &Proxy, user: &str, password: &str) -> String {
    format!("http://{user}:{password}@{}", proxy.host())
}

fn image() -> TestImage {
    TestImage::new("tools/agent:1").layer(b"hello")
}

fn site_for(hosts: &[&str]) -> Site {
    let site = Site::new();
    let mut text = "schema: octobundle/v1\nrelease: sample-1\ntitle: A sample\nimages:\n".to_owned();
    for host in hosts {
        writeln!(text, "  - image: {host}/tools/agent:1\n    role: infrastructure").unwrap();
    }
    site.write("release.yaml", text);
    site
}

fn login_for(site: &Site, host: &str) {
    let pair = base64::prelude::BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    site.write(".docker/config.json", format!(r#"{{"auths": {{"{host}": {{"auth": "{pair}"}}}}}}"#));
}

fn doctor(site: &Site) -> Run {
    site.octobundle(["doctor", "release.yaml", "-vvv"])
}

#[track_caller]
fn examined(run: Run, code: i32) -> Value {
    discreetly(run.arg("--json")).assert_code(code).json()
}

fn host<'a>(report: &'a Value, name: &str) -> &'a Value {
    let hosts = report["hosts"].as_array().unwrap();
    hosts.iter().find(|host| host["host"] == name).unwrap_or_else(|| panic!("{name}: {report:#}"))
}

fn problems(report: &Value) -> Vec<String> {
    let all = report["problems"].as_array().unwrap().iter();
    all.map(|problem| format!("{} | {} | {}", problem["class"], problem["messages"], problem["help"])).collect()
}

#[test]
fn a_job_that_would_run_is_told_so() {
    let (source, target) = (MemoryRegistry::start(), MemoryRegistry::start());
    source.add(&image());
    let site = site_for(&[&source.host()]);
    let arguments = ["--registry", &target.host(), "-o", "out.tar"];
    let report = examined(doctor(&site).args(arguments), 0);
    assert_eq!(report["would_run"], true);
    assert_eq!(host(&report, &source.host())["roles"], serde_json::json!(["source"]));
    assert_eq!(host(&report, &target.host())["roles"], serde_json::json!(["target"]));
    assert_eq!(host(&report, &source.host())["addresses"], serde_json::json!(["127.0.0.1"]));
    assert_eq!(host(&report, &source.host())["route_reason"], "no proxy is set for http");
    assert_eq!(host(&report, &source.host())["login_accepted"], false);
    assert_eq!(report["images"][0]["state"], "found");
    assert!(report["output"]["free_bytes"].as_u64().unwrap() > 0);
    let output = discreetly(doctor(&site).args(arguments)).assert_ok();
    assert!(output.stdout.ends_with("\nthe job would run\n"), "{}", output.stdout);
    assert!(output.stdout.contains("direct: no proxy is set"), "{}", output.stdout);
    // It looked, and moved nothing.
    let config = image().config_digest();
    let moved = |path: &str| path.contains("/blobs/") && !path.ends_with(&config);
    assert!(source.requests().iter().all(|request| !moved(&request.path) && request.method != "POST"));
    assert!(output.stdout.contains(" needed, "), "{}", output.stdout);
    let asked: Vec<String> = target.requests().iter().map(|request| request.method.clone()).collect();
    assert!(asked.iter().all(|method| ["GET", "POST", "DELETE"].contains(&method.as_str())), "{asked:?}");
    assert!(target.blobs().is_empty(), "nothing arrives");
    assert!(!site.path("out.tar").exists());
    site.octobundle(["pull", "release.yaml", "-o", "out.tar"]).run().assert_ok();
    assert_eq!(report["output"]["needed_bytes"], site.read("out.tar").len());
}

#[test]
fn sec_22_the_chain_and_who_vouches_for_it_are_shown() {
    let authority = Authority::new();
    let setup = Setup { login: Some((USER, PASSWORD)), tls: Some(&authority), clients: None };
    let Some(registry) = RealRegistry::with(&setup) else { return };
    let name = format!("0.0.0.0:{}", registry.port());
    let site = Site::new();
    let ca = site.write("ca.pem", authority.certificate());
    login_for(&site, &name);
    let doctor = || site.octobundle(["doctor", "--registry", &name, "-vvv"]);

    let report = examined(doctor(), 5);
    let tls = &host(&report, &name)["tls"];
    assert_eq!((&tls["vouched_by"], &tls["intercepted"]), (&"nobody".into(), &"no".into()));
    assert_eq!(tls["chain"][0]["issuer"], "octobundle tests");
    assert!(problems(&report)[0].contains("--ca FILE"), "{report:#}");

    let report = examined(doctor().args(["--ca", "ca.pem"]), 0);
    let found = host(&report, &name);
    assert_eq!(found["tls"]["vouched_by"], "file");
    assert_eq!(found["tls"]["file"], fs::canonicalize(&ca).unwrap().to_str().unwrap());
    assert_eq!(found["login_accepted"], true);
    let login = format!("`{}`, entry `{name}`", site.path(".docker/config.json").display());
    assert_eq!(found["login"], login.as_str());

    let report = examined(doctor().env("SSL_CERT_FILE", &ca), 0);
    assert_eq!(host(&report, &name)["tls"]["vouched_by"], "system-store");
    let report = examined(doctor().arg("--tls-verify=false"), 0);
    assert_eq!(host(&report, &name)["tls"]["vouched_by"], "unchecked");
    assert!(problems(&report)[0].starts_with("null | ") && problems(&report)[0].contains("not checked"), "{report:#}");

    let output = discreetly(doctor().args(["--ca", "ca.pem"])).assert_ok();
    assert!(output.stdout.contains("signed by octobundle tests, until 4096-01-01"), "{}", output.stdout);
}

#[test]
fn a_proxy_that_opens_tls_is_named_as_such() {
    // Docker Hub, as the tests' own proxy plays it: nothing leaves this machine.
    let registry = MemoryRegistry::start();
    registry.add(&image());
    let authority = Authority::new();
    let pem = authority.certificate();
    let hosts = vec![("registry-1.docker.io", address(&registry.host()))];
    let proxy = Proxy::start(&proxy::Setup { hosts, reads_tls: Some(&authority), ..proxy::Setup::default() });
    let site = site_for(&["docker.io"]);
    site.write("proxy-ca.pem", pem);
    let run = || doctor(&site).env("HTTPS_PROXY", url_with(&proxy, "px", PROXY_PASSWORD));

    let report = examined(run(), 5);
    assert_eq!(host(&report, "docker.io")["tls"]["intercepted"], "yes");
    let problem = &problems(&report)[0];
    assert!(problem.contains("opens TLS: it signs as `octobundle tests`"), "{problem}");
    assert!(problem.contains(&url(&proxy)) && problem.contains("--ca FILE"), "{problem}");
    assert_eq!(report["images"][0]["state"], "not-asked");

    let report = examined(run().args(["--ca", "proxy-ca.pem"]), 0);
    let found = host(&report, "docker.io");
    assert_eq!((&found["tls"]["intercepted"], &found["tls"]["vouched_by"]), (&"yes".into(), &"file".into()));
    assert_eq!(found["proxy"], url(&proxy));
    assert_eq!(found["addresses"], serde_json::json!([]));
    assert!(problems(&report)[0].contains("reads along"), "{report:#}");
    let output = discreetly(run().args(["--ca", "proxy-ca.pem"])).assert_ok();
    assert!(output.stdout.contains("looked up by the proxy"), "{}", output.stdout);
    assert!(output.stdout.contains("the https proxy is set"), "{}", output.stdout);
}

#[test]
fn a_private_authority_behind_a_proxy_may_be_the_proxys() {
    let registry = MemoryRegistry::start();
    registry.add(&image());
    let authority = Authority::new();
    let pem = authority.certificate();
    let hosts = vec![("registry.test", address(&registry.host()))];
    let proxy = Proxy::start(&proxy::Setup { hosts, reads_tls: Some(&authority), ..proxy::Setup::default() });
    let site = site_for(&["registry.test"]);
    site.write("ca.pem", pem);
    let report = examined(doctor(&site).args(["--ca", "ca.pem", "--proxy", &url(&proxy)]), 0);
    assert_eq!(host(&report, "registry.test")["tls"]["intercepted"], "possibly");
}

/// Looks at a real registry with TLS and password, called `name` by the proxy, through that. Without the proxy's password
/// the look ends with one of `refused`.
fn looked_at_through(proxy: &RealProxy, name: &str, login: Option<(&str, &str)>, refused: &[i32]) {
    let authority = Authority::new();
    let setup = Setup { login: Some((USER, PASSWORD)), tls: Some(&authority), clients: None };
    let Some(registry) = RealRegistry::with(&setup) else { return };
    let name = format!("{name}:{}", registry.port());
    let site = Site::new();
    site.write("ca.pem", authority.certificate());
    login_for(&site, &name);
    let doctor =
        |url: &str| site.octobundle(["doctor", "--registry", &name, "--ca", "ca.pem", "-vvv"]).env("HTTPS_PROXY", url);
    let url = login.map_or_else(|| proxy.url(), |(user, password)| proxy.url_with(user, password));
    let report = examined(doctor(&url), 0);
    let found = host(&report, &name);
    assert_eq!((&found["proxy"], &found["route_reason"]), (&proxy.url().into(), &"the https proxy is set".into()));
    assert_eq!((&found["login_accepted"], &found["tls"]["vouched_by"]), (&true.into(), &"file".into()));
    assert_eq!(found["tls"]["chain"][0]["issuer"], "octobundle tests");
    assert_eq!(found["tls"]["intercepted"], "possibly", "nobody but the authority's owner can tell");
    let output = discreetly(doctor(&url)).assert_ok();
    assert!(output.stdout.contains(&format!("through the proxy {}: the https proxy is set", proxy.url())));
    if let Some((user, _)) = login {
        for url in [proxy.url(), proxy.url_with(user, "CANARY-wrong")] {
            let run = discreetly(doctor(&url).arg("--json"));
            assert!(refused.contains(&run.code.unwrap()), "{run:?}");
            let problem = &problems(&run.json())[0];
            assert!(problem.contains(&proxy.url()) && problem.contains("user"), "{problem}");
        }
    }
    assert!(proxy.log().contains(&name), "{}", proxy.log());
}

#[test]
fn squid_is_named_and_its_refusal_explained() {
    let login = Some(("px", PROXY_PASSWORD));
    if let Some(proxy) = RealProxy::squid(None) {
        looked_at_through(&proxy, "registry.test", None, &[]);
    }
    if let Some(proxy) = RealProxy::squid(login) {
        looked_at_through(&proxy, "registry.test", login, &[4]);
    }
}

#[test]
fn tinyproxy_is_named_and_its_refusal_explained() {
    let login = Some(("px", PROXY_PASSWORD));
    // It asks the system for names, which knows this one for this machine.
    if let Some(proxy) = RealProxy::tinyproxy(None) {
        looked_at_through(&proxy, "0.0.0.0", None, &[]);
    }
    if let Some(proxy) = RealProxy::tinyproxy(login) {
        // It says 401 to a wrong password, which our HTTP library passes on as "unsuccessful".
        looked_at_through(&proxy, "0.0.0.0", login, &[4, 5]);
    }
}

#[test]
fn a_credential_helper_is_named_as_the_source_of_the_login() {
    let access = Access::Basic { user: USER.into(), password: PASSWORD.into() };
    let registry = MemoryRegistry::with(Options { access, ..Options::default() });
    registry.add(&image());
    let site = site_for(&[&registry.host()]);
    let script = format!("#!/bin/sh\ncat >/dev/null\necho '{{\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'\n");
    let helper = site.write("bin/docker-credential-test", script);
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    site.write(".docker/config.json", r#"{"credsStore": "test"}"#);
    let path = format!("{}:/usr/bin:/bin", site.path("bin").display());
    let report = examined(doctor(&site).env("PATH", &path), 0);
    let login = host(&report, &registry.host())["login"].as_str().unwrap().to_owned();
    assert!(login.starts_with("the credential helper `test` named in"), "{login}");
    // One that does not work is a problem with a way to try it by hand.
    site.write("bin/docker-credential-test", "#!/bin/sh\nexit 3\n");
    let report = examined(doctor(&site).env("PATH", &path), 4);
    assert!(problems(&report)[0].contains("docker-credential-test get"), "{report:#}");
}

#[test]
fn a_missing_and_a_wrong_login_are_told_apart() {
    let access = Access::Basic { user: USER.into(), password: PASSWORD.into() };
    let registry = MemoryRegistry::with(Options { access, ..Options::default() });
    registry.add(&image());
    let site = site_for(&[&registry.host()]);
    let report = examined(doctor(&site), 4);
    assert!(problems(&report)[0].contains("wants a login"), "{report:#}");
    assert!(problems(&report)[0].contains(&format!("octobundle login {}", registry.host())), "{report:#}");
    let pair = base64::prelude::BASE64_STANDARD.encode("jo:CANARY-wrong");
    let auths = format!(r#"{{"auths": {{"{}": {{"auth": "{pair}"}}}}}}"#, registry.host());
    site.write(".docker/config.json", auths);
    registry.forget_requests();
    let report = examined(doctor(&site), 4);
    assert!(problems(&report)[0].contains("refused the login from"), "{report:#}");
    let tried = registry.requests().iter().filter(|request| request.authorized()).count();
    assert_eq!(tried, 1, "registries lock accounts");
}

#[test]
fn an_image_that_is_not_there_is_found_out_before_the_job() {
    let registry = MemoryRegistry::start();
    let site = site_for(&[&registry.host()]);
    let report = examined(doctor(&site), 6);
    assert_eq!(report["images"][0]["state"], "failed");
    assert!(problems(&report)[0].contains("does not have manifest"), "{report:#}");
    let output = discreetly(doctor(&site)).assert_code(6);
    assert!(output.stdout.ends_with("the job would not run: not-found (exit code 6)\n"), "{}", output.stdout);
}

#[test]
fn a_mirror_that_fails_is_no_obstacle_while_another_place_has_the_image() {
    let (empty, own) = (MemoryRegistry::start(), MemoryRegistry::start());
    own.add(&image());
    let site = site_for(&[&own.host()]);
    let mirror = format!("{}={}", own.host(), empty.host());
    let report = examined(doctor(&site).args(["--mirror", &mirror]), 0);
    assert_eq!(host(&report, &empty.host())["roles"], serde_json::json!(["mirror"]));
    assert_eq!(report["images"][0]["from"], format!("{}/tools/agent", own.host()));
    // A dead one neither; it is told.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let report = examined(doctor(&site).args(["--mirror", &format!("{}={nobody}", own.host())]), 0);
    let problem = &problems(&report)[0];
    assert!(problem.starts_with("null | ") && problem.contains("no connection to"), "{problem}");
}

#[test]
fn docker_hubs_rate_limit_is_read_and_weighed() {
    let registry = MemoryRegistry::start();
    registry.add(&image());
    let site = site_for(&[&registry.host()]);
    let said = |remaining: &str| {
        registry.fault(
            Fault::on("HEAD", "/manifests/")
                .answer(200)
                .header("ratelimit-limit", "100;w=21600")
                .header("ratelimit-remaining", &format!("{remaining};w=21600")),
        );
    };
    said("76");
    let report = examined(doctor(&site), 0);
    let limit = &host(&report, &registry.host())["rate_limit"];
    assert_eq!(limit, &serde_json::json!({"limit": 100, "remaining": 76, "window_seconds": 21_600}));
    said("0");
    let report = examined(doctor(&site), 12);
    let problem = &problems(&report)[0];
    assert!(problem.contains("0 of 100 images") && problem.contains("--max-wait"), "{problem}");
}

#[test]
fn t_01_a_clock_that_is_wrong_is_told() {
    let registry = MemoryRegistry::start();
    registry.add(&image());
    registry.fault(Fault::on("GET", "/v2/").answer(200).header("date", "Tue, 14 Nov 2023 22:13:20 GMT"));
    let site = site_for(&[&registry.host()]);
    let report = examined(doctor(&site), 0);
    assert!(problems(&report)[0].contains("clock is"), "{report:#}");
    assert!(host(&report, &registry.host())["clock_difference_seconds"].as_i64().unwrap() < -300);
}

#[test]
fn a_place_that_cannot_take_the_bundle_is_told() {
    let registry = MemoryRegistry::start();
    registry.add(&image());
    let site = site_for(&[&registry.host()]);
    site.write("there.tar", "an older one");
    for (output, code) in [("there.tar", 9), ("missing/out.tar", 9)] {
        let run = doctor(&site).args(["-o", output, "--json"]).run();
        let report = run.json();
        assert_eq!(report["would_run"], false, "{report:#}");
        assert!(problems(&report)[0].contains(output.split('/').next().unwrap()), "{report:#}");
        assert_ne!(report["problems"][0]["help"], Value::Null, "{report:#}");
        assert_ne!(run.code, Some(0), "{code}");
    }
}

#[test]
fn settings_that_cannot_be_used_end_it_at_once() {
    let site = site_for(&["reg.corp"]);
    let conf = site.write("blocked.conf", "[[registry]]\nlocation = \"reg.corp\"\nblocked = true\n");
    let output = discreetly(doctor(&site).env("CONTAINERS_REGISTRIES_CONF", conf)).assert_code(3);
    assert!(output.stderr.contains("blocked.conf"), "{}", output.stderr);
    let output = discreetly(site.octobundle(["doctor"])).assert_code(2);
    assert!(output.stderr.contains("octobundle doctor octoperf"), "{}", output.stderr);
}

#[test]
fn the_right_to_push_is_tried_in_each_repository_and_taken_back() {
    let (source, target) = (MemoryRegistry::start(), MemoryRegistry::start());
    source.add(&image());
    let site = site_for(&[&source.host()]);
    let registry = format!("{}/inside", target.host());
    let run = || doctor(&site).args(["--registry", &registry]);
    let repository = format!("{registry}/tools/agent");

    let output = discreetly(run()).assert_ok();
    assert!(
        output.stderr.contains("an upload is begun") && output.stderr.contains(&target.host()),
        "{}",
        output.stderr
    );
    assert!(output.stdout.contains(&format!("\nwritable  {repository}\n")), "{}", output.stdout);
    let uploads: Vec<_> = target.requests().into_iter().filter(Request::is_upload).collect();
    let told: Vec<_> = uploads.iter().map(|request| (request.method.as_str(), request.status)).collect();
    assert_eq!(told, [("POST", 202), ("DELETE", 204)], "begun and taken back");
    assert!(uploads.iter().all(|request| request.path.starts_with("/v2/inside/tools/agent/")), "{uploads:?}");

    // Who may only read finds out before anything is sent.
    target.fault(Fault::on("POST", "/blobs/uploads/").answer(403));
    let report = examined(run(), 4);
    assert_eq!(report["uploads"], serde_json::json!([{"repository": repository, "state": "failed"}]));
    let problem = &problems(&report)[0];
    assert!(problem.contains(&format!("does not allow an upload to `{repository}`")), "{problem}");

    // A registry that is not there is not asked.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let report = examined(doctor(&site).args(["--registry", &nobody]), 5);
    assert_eq!(report["uploads"][0]["state"], "not-asked");

    // Without a release nobody knows the names; below a path one is tried.
    target.forget_requests();
    discreetly(site.octobundle(["doctor", "--registry", &target.host()])).assert_ok();
    assert!(!target.requests().iter().any(Request::is_upload), "names of their own are asked for only below a path");
    let report = examined(site.octobundle(["doctor", "--registry", &registry]), 0);
    assert_eq!(report["uploads"][0]["repository"], format!("{registry}/octobundle-doctor"));
}

#[test]
fn r_04_a_project_that_does_not_take_images_is_found_out_before_the_push() {
    // GitLab's token server gives a token without the right, and its registry then says one word.
    let source = MemoryRegistry::start();
    source.add(&image());
    let access = Access::Bearer { login: Some((USER.into(), PASSWORD.into())), uses: u32::MAX };
    let gitlab = MemoryRegistry::with(Options { access, ..Options::default() });
    let challenge = format!(
        "Bearer realm=\"{}/token\",service=\"memory\",scope=\"repository:group/tools/agent:pull,push\",error=\"insufficient_scope\"",
        gitlab.url()
    );
    gitlab.fault(Fault::on("POST", "/blobs/uploads/").times(9).answer(401).header("www-authenticate", &challenge));
    let site = site_for(&[&source.host()]);
    login_for(&site, &gitlab.host());
    let report = examined(doctor(&site).args(["--registry", &format!("{}/group", gitlab.host())]), 4);
    let problem = &problems(&report)[0];
    assert!(problem.contains("group/tools/agent") && problem.contains("GROUP/PROJECT"), "{problem}");
    assert_eq!(host(&report, &gitlab.host())["login_accepted"], true, "the login itself is good");
}

#[test]
fn servers_of_tokens_and_blobs_are_looked_at_like_registries() {
    // Docker Hub with its token server and its store, as the tests' own proxy plays them.
    let tokens = MemoryRegistry::with(Options { access: Access::anonymous_tokens(), ..Options::default() });
    let (store, authority) = (MemoryRegistry::start(), Authority::new());
    let redirect_blobs_to = Some("https://blobs_1.test/signed?X-Signature=CANARY".to_owned());
    let hub = MemoryRegistry::with(Options { redirect_blobs_to, ..Options::default() });
    hub.add(&image());
    let challenge = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\"";
    let ask = || hub.fault(Fault::on("GET", "/v2/").times(2).answer(401).header("www-authenticate", challenge));
    let known = [("registry-1.docker.io", &hub), ("auth.docker.io", &tokens), ("blobs_1.test", &store)];
    let site = site_for(&["docker.io"]);
    site.write("proxy-ca.pem", authority.certificate());
    let examined_through = |proxy: &Proxy, code| {
        ask();
        hub.forget_requests();
        examined(doctor(&site).args(["--ca", "proxy-ca.pem", "--proxy", &url(proxy)]), code)
    };
    let through = |count: usize| {
        let hosts = known[..count].iter().map(|(name, registry)| (*name, address(&registry.host()))).collect();
        Proxy::start(&proxy::Setup { hosts, reads_tls: Some(&authority), ..proxy::Setup::default() })
    };

    let report = examined_through(&through(3), 0);
    let servers = report["servers"].as_array().unwrap();
    let told: Vec<_> = servers.iter().map(|one| (&one["host"], &one["tokens_of"], &one["blobs_of"])).collect();
    let (hub_name, nothing) = (serde_json::json!(["docker.io"]), Value::Null);
    let expected = [("auth.docker.io", &hub_name, &nothing), ("blobs_1.test", &nothing, &hub_name)];
    assert_eq!(told.len(), expected.len(), "{report:#}");
    for (told, expected) in told.iter().zip(expected) {
        assert_eq!((told.0.as_str().unwrap(), told.1, told.2), expected);
    }
    for server in servers {
        assert_eq!(server["tls"]["intercepted"], "yes", "{server:#}");
        assert_eq!(server["proxy"], report["hosts"][0]["proxy"]);
        assert_eq!(server["address"], format!("https://{}/", server["host"].as_str().unwrap()), "no more of it");
        assert!(server["status"].as_u64().is_some() && server["clock_difference_seconds"].as_i64().is_some());
    }
    assert_eq!(problems(&report).len(), 1, "that somebody reads along is said once: {report:#}");
    assert_eq!(store.blob_bytes_sent() + hub.blob_bytes_sent(), 0, "no blob is fetched");

    // A store that this machine may not reach is in the way, though the registry answers well.
    let report = examined_through(&through(2), 5);
    let problem = problems(&report).into_iter().find(|problem| problem.contains("`blobs_1.test`")).unwrap();
    assert!(problem.starts_with("\"network\""), "{problem}");
    assert_eq!(report["images"][0]["state"], "found");
    // A token server that is not there is said once, as what the registry's own answer is about.
    let report = examined_through(&through(1), 5);
    let said: Vec<_> = problems(&report).into_iter().filter(|problem| problem.contains("`auth.docker.io`")).collect();
    assert_eq!(said.len(), 1, "{report:#}");
}
