//! Getting through: logins, private authorities, client certificates, mirrors and proxies, with the real binary.

#[path = "support/proxy.rs"]
mod proxy;
mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use base64::Engine as _;
use proxy::Proxy;
use support::authority::Authority;
use support::cli::{Run, Site};
use support::discretion::discreetly;
use support::images::{Sample as _, TestImage};
use support::memory_registry::{Access, MemoryRegistry, Options};
use support::real::{RealProxy, RealRegistry, Setup};

const USER: &str = "jo";
const PASSWORD: &str = "CANARY-password";
const PROXY_USER: &str = "px";
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
    TestImage::new("tools/agent:1").layer(b"hello").random_layer(3, 50_000)
}

fn private() -> MemoryRegistry {
    let access = Access::Basic { user: USER.into(), password: PASSWORD.into() };
    let registry = MemoryRegistry::with(Options { access, ..Options::default() });
    registry.add(&image());
    registry
}

/// A folder with a release of one image of this registry.
fn site_for(host: &str) -> Site {
    let site = Site::new();
    site.write(
        "release.yaml",
        format!("schema: octobundle/v1\nrelease: sample-1\ntitle: A sample\nimages:\n  - image: {host}/tools/agent:1\n    role: agent\n"),
    );
    site
}

fn resolve(site: &Site) -> Run {
    site.octobundle(["resolve", "release.yaml", "-vvv", "--retry-for", "1s"])
}

fn pair(user: &str, password: &str) -> String {
    base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"))
}

fn auths(host: &str, password: &str) -> String {
    format!(r#"{{"auths": {{"{host}": {{"auth": "{}"}}}}}}"#, pair(USER, password))
}

// Logins

#[test]
fn logins_are_looked_for_in_the_order_of_the_manual() {
    let registry = private();
    let host = registry.host();
    // Each place in its order; the variable that names it, where there is one.
    let places: [(&str, Option<&str>); 6] = [
        ("named.json", Some("OCTOBUNDLE_AUTHFILE")),
        ("podmans.json", Some("REGISTRY_AUTH_FILE")),
        ("", Some("DOCKER_AUTH_CONFIG")),
        (".docker/config.json", None),
        (".runtime/containers/auth.json", None),
        (".config/containers/auth.json", None),
    ];
    for right in 0..places.len() {
        let site = site_for(&host);
        let mut run = resolve(&site);
        for (place, (file, variable)) in places.iter().enumerate() {
            // Files before the right one know other hosts, files after it a wrong password.
            let content = match place {
                _ if place < right => auths("other.corp", "CANARY-other"),
                _ if place == right => auths(&host, PASSWORD),
                _ => auths(&host, "CANARY-wrong"),
            };
            run = match (file.is_empty(), variable) {
                (true, Some(variable)) => run.env(variable, content),
                (_, variable) => {
                    let path = site.write(file, content);
                    match variable {
                        Some(variable) => run.env(variable, path),
                        None => run,
                    }
                }
            };
        }
        let output = discreetly(run).assert_ok();
        assert!(output.stderr.contains("login for"), "{}", output.stderr);
    }
}

#[test]
fn a_named_login_file_is_the_only_one() {
    let registry = private();
    let site = site_for(&registry.host());
    site.write(".docker/config.json", auths(&registry.host(), PASSWORD));
    site.write("empty.json", "{}");
    site.write("right.json", auths(&registry.host(), PASSWORD));
    let output = discreetly(resolve(&site).args(["--authfile", "empty.json"])).assert_code(4);
    assert!(output.stderr.contains(&format!("octobundle login {}", registry.host())), "{}", output.stderr);
    discreetly(resolve(&site).args(["--authfile", "right.json"])).assert_ok();
    discreetly(resolve(&site).args(["--src-authfile", "right.json"])).assert_ok();
    let output = discreetly(resolve(&site).args(["--authfile", "missing.json"])).assert_code(3);
    assert!(output.stderr.contains("missing.json") && output.stderr.contains("help:"), "{}", output.stderr);
}

#[test]
fn source_and_destination_may_have_different_logins() {
    let (source, target) = (private(), private());
    let site = site_for(&source.host());
    site.write("source.json", auths(&source.host(), PASSWORD));
    site.write("target.json", auths(&target.host(), PASSWORD));
    let pull = site.octobundle(["pull", "release.yaml", "-o", "a.tar", "--src-authfile", "source.json", "-vvv"]);
    discreetly(pull).assert_ok();
    let push = ["push", "a.tar", "--registry", &target.host(), "-vvv", "--dest-authfile"];
    discreetly(site.octobundle(push).arg("source.json")).assert_code(4);
    discreetly(site.octobundle(push).arg("target.json")).assert_ok();
    assert_eq!(target.manifest("tools/agent", "1").as_ref(), Some(image().content().root()));
}

#[test]
fn vv_tells_every_request_with_its_answer() {
    let registry = private();
    let site = site_for(&registry.host());
    site.write("login.json", auths(&registry.host(), PASSWORD));
    let pull = site.octobundle(["pull", "release.yaml", "-o", "a.tar", "--authfile", "login.json", "-vv"]);
    let told = discreetly(pull).assert_ok().stderr;
    for request in registry.requests() {
        let line = format!("GET http://{}{}: {}", registry.host(), request.path, request.status);
        assert!(told.contains(&line), "`{line}` is not told: {told}");
    }
    let quiet = site.octobundle(["pull", "release.yaml", "-o", "b.tar", "--authfile", "login.json", "-v"]);
    assert!(!discreetly(quiet).assert_ok().stderr.contains("GET http"), "once tells what is decided");
}

#[test]
fn a_06_a_wrong_password_is_tried_once_however_many_images_want_it() {
    let registry = private();
    let site = site_for(&registry.host());
    site.write(".docker/config.json", auths(&registry.host(), "CANARY-wrong"));
    let output = discreetly(resolve(&site)).assert_code(4);
    assert!(output.stderr.contains(".docker/config.json"), "{}", output.stderr);
    assert_eq!(registry.requests().iter().filter(|request| request.authorized()).count(), 1);
}

#[test]
fn a_credential_helper_gives_the_login() {
    let registry = private();
    let site = site_for(&registry.host());
    let script = format!(
        "#!/bin/sh\nread -r server\n[ \"$1 $server\" = \"get {}\" ] || {{ echo CANARY; exit 1; }}\n\
         echo '{{\"ServerURL\":\"\",\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'\n",
        registry.host()
    );
    let helper = site.write("bin/docker-credential-test", script);
    fs::set_permissions(helper, fs::Permissions::from_mode(0o755)).unwrap();
    site.write(".docker/config.json", format!(r#"{{"credHelpers": {{"{}": "test"}}}}"#, registry.host()));
    let path = format!("{}:/usr/bin:/bin", site.path("bin").display());
    let output = discreetly(resolve(&site).env("PATH", path)).assert_ok();
    assert!(output.stderr.contains("credential helper `test`"), "{}", output.stderr);
}

#[test]
fn sec_60_a_broken_login_file_is_named_and_not_shown() {
    let registry = private();
    let site = site_for(&registry.host());
    for content in [r#"{"auths": {"a": "CANARY"}}"#, "CANARY", r#"{"auths": {"a": {"auth": "CANARY"#] {
        site.write(".docker/config.json", content);
        let output = discreetly(resolve(&site)).assert_code(3);
        assert!(output.stderr.contains(".docker/config.json"), "{}", output.stderr);
    }
}

// TLS. `0.0.0.0` reaches this machine and is no loopback name, so that nothing is taken for granted.

struct Secured {
    registry: RealRegistry,
    authority: Authority,
    site: Site,
    host: String,
}

impl Secured {
    /// A real registry with TLS by a private authority and a password, and its image.
    fn start(clients: Option<&Authority>) -> Option<Self> {
        let authority = Authority::new();
        let setup = Setup { login: Some((USER, PASSWORD)), tls: Some(&authority), clients };
        let registry = RealRegistry::with(&setup)?;
        let host = format!("0.0.0.0:{}", registry.port());
        let site = site_for(&host);
        site.write("ca.pem", authority.certificate());
        site.write(".docker/config.json", auths(&host, PASSWORD));
        Some(Self { registry, authority, site, host })
    }

    fn with_image() -> Option<Self> {
        let this = Self::start(None)?;
        this.bundle();
        this.push().args(["--ca", "ca.pem"]).run().assert_ok();
        Some(this)
    }

    /// Makes `release.tar`, whose image is `tools/agent:1`.
    fn bundle(&self) {
        let vendor = MemoryRegistry::start();
        vendor.add(&image());
        let manifest = String::from_utf8(self.site.read("release.yaml")).unwrap();
        self.site.write("vendor.yaml", manifest.replace(&self.host, &vendor.host()));
        self.site.octobundle(["pull", "vendor.yaml", "-o", "release.tar", "--replace"]).run().assert_ok();
    }

    fn push(&self) -> Run {
        self.site.octobundle(["push", "release.tar", "--registry", &self.host, "-vvv", "--retry-for", "1s"])
    }
}

#[test]
fn an_unknown_authority_is_refused_with_its_name_and_the_way_to_trust_it() {
    let Some(this) = Secured::with_image() else { return };
    let output = discreetly(resolve(&this.site)).assert_code(5);
    assert!(output.stderr.contains("octobundle tests"), "{}", output.stderr);
    assert!(output.stderr.contains("--ca FILE"), "{}", output.stderr);
}

#[test]
fn a_private_authority_is_trusted_in_every_place_of_the_manual() {
    let Some(this) = Secured::with_image() else { return };
    let (site, pem) = (&this.site, this.authority.certificate());
    let ca = site.path("ca.pem");
    discreetly(resolve(site).args(["--ca", "ca.pem"])).assert_ok();
    discreetly(resolve(site).env("OCTOBUNDLE_CA", &ca)).assert_ok();
    discreetly(resolve(site).env("SSL_CERT_FILE", &ca)).assert_ok();
    let config = format!("[registry.\"{}\"]\nca = \"{}\"\n", this.host, ca.display());
    site.write(".config/octobundle/config.toml", config);
    discreetly(resolve(site)).assert_ok();
    fs::remove_file(site.path(".config/octobundle/config.toml")).unwrap();
    for folder in [".config/docker/certs.d", ".docker/certs.d", ".config/containers/certs.d"] {
        let file = site.write(&format!("{folder}/{}/ca.crt", this.host), &pem);
        let output = discreetly(resolve(site)).assert_ok();
        assert!(output.stderr.contains(&format!("{folder}/{}/ca.crt` is trusted", this.host)), "{}", output.stderr);
        fs::remove_file(file).unwrap();
    }
    discreetly(resolve(site)).assert_code(5);
}

#[test]
fn a_folder_of_certificates_takes_the_place_of_the_systems() {
    let Some(this) = Secured::with_image() else { return };
    let Some(openssl) = support::real::need("openssl") else { return };
    this.site.write("store/ca.pem", this.authority.certificate());
    this.site.run(&openssl, ["rehash", "store"]).run().assert_ok();
    discreetly(resolve(&this.site).env("SSL_CERT_DIR", this.site.path("store"))).assert_ok();
}

#[test]
fn an_authority_of_one_host_is_not_believed_for_another() {
    let Some(this) = Secured::with_image() else { return };
    let (site, other) = (&this.site, format!("localhost:{}", this.registry.port()));
    site.write(&format!(".config/containers/certs.d/{other}/ca.crt"), this.authority.certificate());
    let manifest = String::from_utf8(site.read("release.yaml")).unwrap();
    let login = site.write("other.json", auths(&other, PASSWORD));
    site.write("other.yaml", manifest.replace(&this.host, &other));
    let resolve = |file: &str| site.octobundle(["resolve", file, "-vvv"]).env("REGISTRY_AUTH_FILE", &login);
    discreetly(resolve("other.yaml")).assert_ok();
    let also = format!("  - image: {other}/tools/agent:1\n    role: infrastructure\n");
    site.write("both.yaml", format!("{manifest}{also}"));
    let output = discreetly(resolve("both.yaml")).assert_code(5);
    assert!(output.stderr.contains(&format!("the certificate of `{}` is signed by", this.host)), "{}", output.stderr);
}

#[test]
fn sec_23_an_unchecked_certificate_is_for_a_named_host_and_said_each_time() {
    let Some(this) = Secured::with_image() else { return };
    let output = discreetly(resolve(&this.site).args(["--insecure-tls", &this.host, "--lock", "a.lock"])).assert_ok();
    assert!(output.stderr.contains(&format!("the certificate of `{}` is not checked", this.host)), "{}", output.stderr);
    let lock = String::from_utf8(this.site.read("a.lock")).unwrap();
    assert!(lock.contains("insecure"), "{lock}");
    // A command that speaks to several hosts has to be told which; a push has one.
    let output = discreetly(resolve(&this.site).arg("--tls-verify=false")).assert_code(2);
    assert!(output.stderr.contains("--insecure-tls HOST"), "{}", output.stderr);
    discreetly(this.push().arg("--tls-verify=false")).assert_ok();
    discreetly(this.push()).assert_code(5);
}

#[test]
fn a_client_certificate_is_shown_to_its_host() {
    let clients = Authority::new();
    let Some(this) = Secured::start(Some(&clients)) else { return };
    this.bundle();
    let identity = clients.client("jo");
    let site = &this.site;
    site.write("me.pem", &identity.certificate);
    site.write("me.key", &identity.key);
    let output = discreetly(this.push().args(["--ca", "ca.pem"])).assert_code(5);
    assert!(output.stderr.contains("client certificate"), "{}", output.stderr);
    discreetly(this.push().args(["--ca", "ca.pem", "--cert", "me.pem", "--key", "me.key"])).assert_ok();
    // A command that speaks to several hosts has to be told to which.
    let resolve = || resolve(site).args(["--ca", "ca.pem", "--key", "me.key", "--cert"]);
    discreetly(resolve().arg("me.pem")).assert_code(2);
    discreetly(resolve().arg(format!("{}=me.pem", this.host))).assert_ok();
    let config = "ca = \"../../ca.pem\"\ncert = \"../../me.pem\"\nkey = \"../../me.key\"";
    site.write(".config/octobundle/config.toml", format!("[registry.\"{}\"]\n{config}\n", this.host));
    discreetly(self::resolve(site)).assert_ok();
    fs::remove_file(site.path(".config/octobundle/config.toml")).unwrap();
    let folder = format!(".config/containers/certs.d/{}", this.host);
    site.write(&format!("{folder}/ca.crt"), this.authority.certificate());
    site.write(&format!("{folder}/me.cert"), &identity.certificate);
    let output = discreetly(self::resolve(site)).assert_code(3);
    assert!(output.stderr.contains("me.key"), "{}", output.stderr);
    site.write(&format!("{folder}/me.key"), &identity.key);
    discreetly(self::resolve(site)).assert_ok();
}

#[test]
fn sec_21_plain_http_is_no_fall_back() {
    let registry = MemoryRegistry::start();
    registry.add(&image());
    let host = registry.host().replace("127.0.0.1", "0.0.0.0");
    let site = site_for(&host);
    let output = discreetly(resolve(&site)).assert_code(5);
    assert!(output.stderr.contains(&format!("--plain-http {host}")), "{}", output.stderr);
    assert!(registry.requests().is_empty());
    let output = discreetly(resolve(&site).args(["--plain-http", &host])).assert_ok();
    assert!(output.stderr.contains("plain http: anyone on the way"), "{}", output.stderr);
    discreetly(resolve(&site).env("OCTOBUNDLE_PLAIN_HTTP", &host)).assert_ok();
    site.write(".config/octobundle/config.toml", format!("[registry.\"{host}\"]\nplain-http = true\n"));
    discreetly(resolve(&site)).assert_ok();
}

// Mirrors

/// A registry that has the image below `hub/`, as a mirror of `docs.corp`.
fn mirror() -> (MemoryRegistry, Site) {
    let registry = MemoryRegistry::start();
    registry.add(&image().named("hub/tools/agent:1"));
    (registry, site_for("docs.corp"))
}

#[test]
fn images_come_from_the_mirror_that_flag_variable_or_file_names() {
    let (registry, site) = mirror();
    let to = format!("{}/hub", registry.host());
    let runs = [
        resolve(&site).args(["--mirror", &format!("docs.corp={to}")]),
        resolve(&site).env("OCTOBUNDLE_MIRROR", format!("docs.corp={to}")),
        {
            site.write("mirror.toml", format!("[registry.\"docs.corp\"]\nmirror = \"{to}\"\n"));
            resolve(&site).args(["--config", "mirror.toml"])
        },
        {
            let conf = format!("[[registry]]\nlocation = \"docs.corp\"\n[[registry.mirror]]\nlocation = \"{to}\"\n");
            let conf = site.write("mirrors.conf", conf);
            resolve(&site).env("CONTAINERS_REGISTRIES_CONF", conf)
        },
        {
            let conf = site.write("moved.conf", format!("[[registry]]\nprefix = \"docs.corp\"\nlocation = \"{to}\"\n"));
            resolve(&site).env("CONTAINERS_REGISTRIES_CONF", conf)
        },
        {
            let conf = format!("[[registry]]\nprefix = \"docs.corp/tools\"\nlocation = \"{to}/tools\"\n");
            site.write(".config/containers/registries.conf.d/10-own.conf", conf);
            resolve(&site)
        },
    ];
    for run in runs {
        registry.forget_requests();
        let output = discreetly(run).assert_ok();
        assert!(output.stdout.contains("docs.corp/tools/agent:1"), "the name stays: {}", output.stdout);
        assert!(output.stdout.contains(&format!("from {to}/tools/agent")), "{}", output.stdout);
        assert!(!registry.requests().is_empty());
    }
}

#[test]
fn what_registries_conf_blocks_is_not_fetched() {
    let (registry, site) = mirror();
    let to = format!("{}/hub", registry.host());
    let conf =
        format!("[[registry]]\nlocation = \"docs.corp\"\nblocked = true\n[[registry.mirror]]\nlocation = \"{to}\"\n");
    let conf = site.write("blocked.conf", conf);
    let run = || resolve(&site).env("CONTAINERS_REGISTRIES_CONF", &conf);
    let output = discreetly(run()).assert_code(3);
    assert!(output.stderr.contains("is blocked") && output.stderr.contains("blocked.conf"), "{}", output.stderr);
    assert!(output.stderr.contains("--mirror docs.corp="), "{}", output.stderr);
    assert!(registry.requests().is_empty());
}

#[test]
fn a_mirror_for_digests_alone_is_not_asked_for_tags() {
    let (registry, site) = mirror();
    let own = MemoryRegistry::start();
    own.add(&image());
    let conf = format!(
        "[[registry]]\nprefix = \"docs.corp\"\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}/hub\"\npull-from-mirror = \"digest-only\"\n",
        own.host(),
        registry.host()
    );
    let conf = site.write("digests.conf", conf);
    discreetly(resolve(&site).env("CONTAINERS_REGISTRIES_CONF", conf)).assert_ok();
    assert!(registry.requests().iter().all(|request| !request.path.ends_with("/manifests/1")));
    assert!(own.requests().iter().any(|request| request.path.ends_with("/manifests/1")));
}

// Proxies

/// A registry behind the name `registry.test`, which only proxies know.
fn behind_a_name(options: Options) -> (MemoryRegistry, String) {
    let registry = MemoryRegistry::with(options);
    registry.add(&image());
    let host = format!("registry.test:{}", registry.host().rsplit(':').next().unwrap());
    (registry, host)
}

#[test]
fn sec_18_a_proxys_password_reaches_the_proxy_alone_and_the_registrys_only_the_registry() {
    let access = Access::Basic { user: USER.into(), password: PASSWORD.into() };
    let (registry, host) = behind_a_name(Options { access, ..Options::default() });
    let hosts = vec![("registry.test", address(&registry.host()))];
    let login = Some((PROXY_USER, PROXY_PASSWORD));
    let proxy = Proxy::start(&proxy::Setup { hosts, login, ..proxy::Setup::default() });
    let site = site_for(&host);
    site.write(".docker/config.json", auths(&host, PASSWORD));
    let run = || resolve(&site).args(["--plain-http", &host]);
    discreetly(run().env("HTTP_PROXY", url_with(&proxy, PROXY_USER, PROXY_PASSWORD))).assert_ok();
    assert!(!proxy.asked().is_empty());
    for request in registry.requests() {
        assert!(request.header("proxy-authorization").is_none(), "{request:?}");
    }
    let output = discreetly(run().env("HTTP_PROXY", url_with(&proxy, PROXY_USER, "CANARY-wrong"))).assert_code(4);
    assert!(
        output.stderr.contains("407") && output.stderr.contains("http://user:password@proxy:3128"),
        "{}",
        output.stderr
    );
}

#[test]
fn p_01_a_tunnel_through_a_proxy_with_password_carries_tls_untouched() {
    let Some(this) = Secured::with_image() else { return };
    let hosts = vec![("0.0.0.0", address(this.registry.host()))];
    let login = Some((PROXY_USER, PROXY_PASSWORD));
    let proxy = Proxy::start(&proxy::Setup { hosts, login, ..proxy::Setup::default() });
    let run = |password: &str| {
        let url = url_with(&proxy, PROXY_USER, password);
        resolve(&this.site).args(["--ca", "ca.pem"]).env("https_proxy", url)
    };
    discreetly(run(PROXY_PASSWORD)).assert_ok();
    let heads: Vec<String> = proxy.asked().iter().map(|asked| asked.head.to_lowercase()).collect();
    assert!(heads.iter().all(|head| head.starts_with(&format!("connect {}", this.host))), "{heads:?}");
    let logins = heads.iter().filter(|head| head.contains("\r\nauthorization:")).count();
    assert_eq!(logins, 0, "the registry's login does not go to the proxy");
    let output = discreetly(run("CANARY-wrong")).assert_code(4);
    assert!(output.stderr.contains(&url(&proxy)), "{}", output.stderr);
}

#[test]
fn which_proxy_is_used_is_decided_by_flag_environment_file_and_exemptions() {
    // A name that is this machine's and not known as such: it is reached directly too, without asking a name server.
    let registry = MemoryRegistry::start();
    registry.add(&image());
    let host = registry.host().replace("127.0.0.1", "0.0.0.0");
    let start = || {
        let hosts = vec![("0.0.0.0", address(&registry.host()))];
        Proxy::start(&proxy::Setup { hosts, ..proxy::Setup::default() })
    };
    let (one, other) = (start(), start());
    let site = site_for(&host);
    let run = || resolve(&site).args(["--plain-http", &host]);
    let used = |run: Run| -> (bool, bool) {
        let before = (one.asked().len(), other.asked().len());
        discreetly(run).assert_ok();
        (one.asked().len() > before.0, other.asked().len() > before.1)
    };
    assert_eq!(used(run().env("http_proxy", url(&one)).env("HTTP_PROXY", url(&other))), (true, false));
    assert_eq!(used(run().env("ALL_PROXY", url(&other))), (false, true));
    assert_eq!(used(run().env("HTTP_PROXY", url(&one)).args(["--proxy", &url(&other)])), (false, true));
    assert_eq!(used(run().env("HTTP_PROXY", url(&one)).arg("--no-proxy-env")), (false, false));
    assert_eq!(used(run().env("HTTP_PROXY", url(&one)).env("NO_PROXY", "0.0.0.0")), (false, false));
    // A header of a web server's request is no setting.
    assert_eq!(used(run().env("HTTP_PROXY", url(&one)).env("REQUEST_METHOD", "GET")), (false, false));
    let config = format!("[registry.\"{host}\"]\nproxy = \"{}\"\n", url(&other));
    site.write(".config/octobundle/config.toml", config);
    assert_eq!(used(run().env("HTTP_PROXY", url(&one))), (false, true));
    assert_eq!(used(run().args(["--proxy", &url(&one)])), (true, false));
    site.write(".config/octobundle/config.toml", format!("[registry.\"{host}\"]\nproxy = \"none\"\n"));
    assert_eq!(used(run().env("HTTP_PROXY", url(&one))), (false, false));
}

#[test]
fn p_02_a_proxy_that_opens_tls_is_named_by_its_authority_and_trusted_by_file() {
    let registry = private();
    let authority = Authority::new();
    let pem = authority.certificate();
    let hosts = vec![("registry.test", address(&registry.host()))];
    let proxy = Proxy::start(&proxy::Setup { hosts, reads_tls: Some(&authority), ..proxy::Setup::default() });
    let site = site_for("registry.test");
    site.write(".docker/config.json", auths("registry.test", PASSWORD));
    let ca: PathBuf = site.write("proxy-ca.pem", pem);
    let run = || resolve(&site).env("HTTPS_PROXY", url(&proxy));
    let output = discreetly(run()).assert_code(5);
    assert!(output.stderr.contains("octobundle tests") && output.stderr.contains("--ca FILE"), "{}", output.stderr);
    assert!(registry.requests().is_empty());
    discreetly(run().args(["--ca", "proxy-ca.pem"])).assert_ok();
    discreetly(run().env("SSL_CERT_FILE", &ca)).assert_ok();
    assert!(registry.requests().iter().any(support::memory_registry::Request::authorized));
}

/// Pushes to and pulls from a real registry with TLS and password, through a real proxy.
fn there_and_back(proxy: &RealProxy, name: &str, login: Option<(&str, &str)>) {
    let authority = Authority::new();
    let setup = Setup { login: Some((USER, PASSWORD)), tls: Some(&authority), clients: None };
    let Some(registry) = RealRegistry::with(&setup) else { return };
    let host = format!("{name}:{}", registry.port());
    let site = site_for(&host);
    site.write("ca.pem", authority.certificate());
    site.write(".docker/config.json", auths(&host, PASSWORD));
    let vendor = MemoryRegistry::start();
    vendor.add(&image());
    let manifest = String::from_utf8(site.read("release.yaml")).unwrap().replace(&host, &vendor.host());
    site.write("vendor.yaml", manifest);
    site.octobundle(["pull", "vendor.yaml", "-o", "vendor.tar"]).run().assert_ok();
    let url = login.map_or_else(|| proxy.url(), |(user, password)| proxy.url_with(user, password));
    let through = |run: Run| run.args(["--ca", "ca.pem", "-vvv", "--retry-for", "2s"]).env("HTTPS_PROXY", &url);
    discreetly(through(site.octobundle(["push", "vendor.tar", "--registry", &host]))).assert_ok();
    discreetly(through(site.octobundle(["pull", "release.yaml", "-o", "back.tar"]))).assert_ok();
    assert!(proxy.log().contains(&host), "{}", proxy.log());
    if login.is_some() {
        for url in [proxy.url(), proxy.url_with(PROXY_USER, "CANARY-wrong")] {
            let run =
                site.octobundle(["pull", "release.yaml", "-o", "x.tar", "--ca", "ca.pem", "-vvv", "--retry-for", "1s"]);
            let output = discreetly(run.env("HTTPS_PROXY", url));
            // tinyproxy says 401 to a wrong password, which our HTTP library passes on as "unsuccessful".
            assert!(matches!(output.code, Some(4 | 5)), "{output:?}");
            assert!(output.stderr.contains(&proxy.url()), "{}", output.stderr);
            assert!(output.stderr.contains("help:") && output.stderr.contains("user"), "{}", output.stderr);
        }
    }
}

#[test]
fn p_01_push_and_pull_go_through_squid() {
    if let Some(proxy) = RealProxy::squid(None) {
        there_and_back(&proxy, "registry.test", None);
    }
}

#[test]
fn p_01_push_and_pull_go_through_squid_with_a_password() {
    let login = Some((PROXY_USER, PROXY_PASSWORD));
    if let Some(proxy) = RealProxy::squid(login) {
        there_and_back(&proxy, "registry.test", login);
    }
}

#[test]
fn p_01_push_and_pull_go_through_tinyproxy() {
    if let Some(proxy) = RealProxy::tinyproxy(None) {
        there_and_back(&proxy, "0.0.0.0", None);
    }
}

#[test]
fn p_01_push_and_pull_go_through_tinyproxy_with_a_password() {
    let login = Some((PROXY_USER, PROXY_PASSWORD));
    if let Some(proxy) = RealProxy::tinyproxy(login) {
        there_and_back(&proxy, "0.0.0.0", login);
    }
}
