//! The tests' own tools do what the tests believe of them.

mod support;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use support::authority::Authority;
use support::cli::Site;
use support::discretion::{CANARY, shows_secret};
use support::images::{Sample as _, TestImage, TestIndex, append, digest};
use support::memory_registry::{Access, Fault, MemoryRegistry, Options};
use support::real::{Docker, Podman, RealRegistry, Setup, need};

/// Status, headers (lower case, one per line) and body.
struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let line = self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default()
    }
}

/// One request over its own connection.
fn ask(registry: &MemoryRegistry, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut connection = TcpStream::connect(registry.host()).unwrap();
    write!(connection, "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", registry.host()).unwrap();
    for (name, value) in headers {
        write!(connection, "{name}: {value}\r\n").unwrap();
    }
    write!(connection, "content-length: {}\r\n\r\n", body.len()).unwrap();
    connection.write_all(body).unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("the answer has a head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
    let (first, headers) = head.split_once("\r\n").unwrap();
    let status = first.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, headers: headers.to_owned(), body: answer[end + 4..].to_vec() }
}

fn get(registry: &MemoryRegistry, path: &str) -> Answer {
    ask(registry, "GET", path, &[], b"")
}

#[test]
fn samples_have_the_same_digests_on_every_machine() {
    let image = TestImage::new("octoperf/agent:1").layer(b"hello").random_layer(7, 1000);
    assert_eq!(
        image.content().root().digest,
        "sha256:fa27aff00e5579f416f64b10967904d0135b845aeff9dcbc0d9ca032fe740efc"
    );
    let index = TestIndex::new("octoperf/agent:1").image(image.clone()).image(image.docker().platform("linux/arm64"));
    assert_eq!(
        index.attested().content().root().digest,
        "sha256:7a2c009141b859e7d49a77e8f922c1370e0581f9e6c03cf9a2f3825c1542a0d7"
    );
}

#[test]
fn what_was_added_can_be_read_whole_and_in_parts() {
    let registry = MemoryRegistry::start();
    let image = TestImage::new("octoperf/agent:1").layer(b"hello");
    registry.add(&image);
    let content = image.content();
    let answer = get(&registry, "/v2/octoperf/agent/manifests/1");
    assert_eq!((answer.status, &answer.body), (200, &content.root().bytes));
    assert_eq!(answer.header("docker-content-digest"), content.root().digest);
    for (digest, bytes) in &content.blobs {
        let path = format!("/v2/octoperf/agent/blobs/{digest}");
        assert_eq!(&get(&registry, &path).body, bytes);
        let part = ask(&registry, "GET", &path, &[("range", "bytes=3-7")], b"");
        assert_eq!((part.status, &part.body[..]), (206, &bytes[3..8]));
        assert_eq!(part.header("content-range"), format!("bytes 3-7/{}", bytes.len()));
        let beyond = ask(&registry, "GET", &path, &[("range", "bytes=999999-")], b"");
        assert_eq!(beyond.status, 416);
        assert_eq!(ask(&registry, "HEAD", &path, &[], b"").header("content-length"), bytes.len().to_string());
    }
    let whole = content.payload();
    assert_eq!(registry.blob_bytes_sent(), whole + 5 * content.blobs.len() as u64);
    assert_eq!(get(&registry, "/v2/octoperf/other/blobs/sha256:0").status, 404);
}

#[test]
fn uploads_are_checked_and_a_manifest_waits_for_its_blobs() {
    let registry = MemoryRegistry::start();
    let content = TestImage::new("octoperf/agent:1").layer(b"hello").content();
    let manifest = "/v2/octoperf/agent/manifests/1";
    let kind = [("content-type", content.root().media_type.as_str())];
    assert_eq!(ask(&registry, "PUT", manifest, &kind, &content.root().bytes).status, 400);
    for (digest, bytes) in &content.blobs {
        let begun = ask(&registry, "POST", "/v2/octoperf/agent/blobs/uploads/", &[], b"");
        assert_eq!(begun.status, 202);
        let place = begun.header("location").to_owned();
        let (first, second) = bytes.split_at(10);
        assert_eq!(ask(&registry, "PATCH", &place, &[("content-range", "0-9")], first).header("range"), "0-9");
        assert_eq!(ask(&registry, "PATCH", &place, &[("content-range", "0-9")], first).status, 416);
        let finish = format!("{place}&digest={digest}");
        assert_eq!(ask(&registry, "PUT", &finish, &[], second).status, 201);
    }
    let wrong = format!("/v2/octoperf/agent/blobs/uploads/?digest={}", digest(b"right"));
    assert_eq!(ask(&registry, "POST", &wrong, &[], b"wrong").status, 400);
    assert_eq!(ask(&registry, "PUT", manifest, &kind, &content.root().bytes).status, 201);
    assert_eq!(registry.manifest("octoperf/agent", "1").as_ref(), Some(content.root()));
    assert_eq!(registry.tags("octoperf/agent"), ["1"]);
}

#[test]
fn a_blob_belongs_to_its_repository_until_it_is_mounted() {
    let registry = MemoryRegistry::start();
    let image = TestImage::new("octoperf/agent:1").layer(b"hello");
    registry.add(&image);
    let content = image.content();
    let layer = content.blobs.keys().next().unwrap();
    let path = format!("/v2/octoperf/other/blobs/{layer}");
    assert_eq!(get(&registry, &path).status, 404);
    let mount = format!("/v2/octoperf/other/blobs/uploads/?mount={layer}&from=octoperf/agent");
    assert_eq!(ask(&registry, "POST", &mount, &[], b"").status, 201);
    assert_eq!(get(&registry, &path).status, 200);
    assert_eq!(registry.blob_bytes_received(), 0);
}

#[test]
fn faults_strike_the_requests_they_are_meant_for() {
    let registry = MemoryRegistry::start();
    let image = TestImage::new("octoperf/agent:1").random_layer(1, 100_000);
    registry.add(&image);
    let content = image.content();
    let (layer, bytes) = content.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let path = format!("/v2/octoperf/agent/blobs/{layer}");
    registry.fault(Fault::on("GET", layer).after(1).answer(503).header("retry-after", "7"));
    registry.fault(Fault::on("GET", layer).after(2).cut(40_000));
    registry.fault(Fault::on("GET", layer).after(3).flip(50));
    assert_eq!(get(&registry, &path).body.len(), bytes.len());
    let refused = get(&registry, &path);
    assert_eq!((refused.status, refused.header("retry-after")), (503, "7"));
    assert_eq!(get(&registry, &path).body.len(), 40_000);
    let altered = get(&registry, &path).body;
    assert_eq!(altered.iter().zip(bytes).filter(|(a, b)| a != b).count(), 1);
    assert_eq!(get(&registry, &path).body, *bytes);
}

#[test]
fn an_upload_that_breaks_leaves_what_arrived() {
    let registry = MemoryRegistry::start();
    registry.fault(Fault::on("PATCH", "/blobs/uploads/").cut(5));
    let begun = ask(&registry, "POST", "/v2/octoperf/agent/blobs/uploads/", &[], b"");
    let place = begun.header("location").to_owned();
    let mut connection = TcpStream::connect(registry.host()).unwrap();
    write!(connection, "PATCH {place} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhello").unwrap();
    let mut answer = String::new();
    // Whether a head came before the break or a reset, the body that it promised did not.
    connection.read_to_string(&mut answer).ok();
    assert!(answer.is_empty() || answer.ends_with("\r\n\r\n"), "{answer}");
    let status = get(&registry, &place);
    assert_eq!((status.status, status.header("range")), (204, "0-4"));
    assert_eq!(registry.blob_bytes_received(), 5);
}

#[test]
fn blobs_are_redirected_slowed_down_and_counted_side_by_side() {
    let storage = MemoryRegistry::with(Options { bytes_per_second: Some(1_000_000), ..Options::default() });
    let elsewhere = Some(storage.url());
    let registry = MemoryRegistry::with(Options { redirect_blobs_to: elsewhere, ..Options::default() });
    let image = TestImage::new("octoperf/agent:1").random_layer(1, 100_000);
    registry.add(&image);
    storage.add(&image);
    let digest = image.content().blobs.into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0;
    let path = format!("/v2/octoperf/agent/blobs/{digest}");
    let redirected = get(&registry, &path);
    assert_eq!((redirected.status, redirected.header("location")), (307, &*format!("{}{path}", storage.url())));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(get(&storage, &path).status, 200));
        }
    });
    assert!(begun.elapsed() >= Duration::from_millis(290), "300 kB at 1 MB/s took {:?}", begun.elapsed());
    assert_eq!(storage.most_transfers_at_once(), 3);
}

#[test]
fn tokens_are_good_for_their_scope_and_so_many_requests() {
    let login = Some(("ann".to_owned(), "secret".to_owned()));
    let access = Access::Bearer { login, uses: 2 };
    let registry = MemoryRegistry::with(Options { access, ..Options::default() });
    registry.add(&TestImage::new("octoperf/agent:1").layer(b"hello"));
    let path = "/v2/octoperf/agent/manifests/1";
    let refused = get(&registry, path);
    assert_eq!(refused.status, 401);
    let expected = format!("bearer realm=\"{}/token\",service=\"memory\"", registry.url());
    assert_eq!(refused.header("www-authenticate"), expected + ",scope=\"repository:octoperf/agent:pull\"");
    let token_path = "/token?service=memory&scope=repository%3Aoctoperf%2Fagent%3Apull";
    assert_eq!(get(&registry, token_path).status, 401);
    let answer = ask(&registry, "GET", token_path, &[("authorization", "Basic YW5uOnNlY3JldA==")], b"");
    let token: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
    let with_token = |method, path| ask(&registry, method, path, &[("authorization", bearer.as_str())], b"").status;
    assert_eq!(with_token("GET", "/v2/octoperf/other/tags/list"), 401);
    assert_eq!(with_token("POST", "/v2/octoperf/agent/blobs/uploads/"), 401);
    assert_eq!([(); 3].map(|()| with_token("GET", path)), [200, 200, 401]);
}

#[test]
fn skopeo_copies_into_the_memory_registry_and_out_again() {
    let Some(skopeo) = need("skopeo") else { return };
    let (site, source, target) = (Site::new(), MemoryRegistry::start(), MemoryRegistry::start());
    let index = TestIndex::new("octoperf/platforms:1")
        .image(TestImage::new("-:-").layer(b"one").random_layer(3, 300_000))
        .image(TestImage::new("-:-").layer(b"one").platform("linux/arm64"))
        .attested();
    for (sample, name) in
        [(index.content(), source.add(&index)), (docker_image().content(), source.add(&docker_image()))]
    {
        let (from, to) = (format!("docker://{name}"), format!("docker://{}/{}", target.host(), sample.name()));
        let tls = ["--src-tls-verify=false", "--dest-tls-verify=false"];
        site.run(&skopeo, ["copy", "--all"]).args(tls).args([from, to]).run().assert_ok();
        assert_eq!(target.manifest(&sample.repository, &sample.tag).as_ref(), Some(sample.root()));
    }
    assert_eq!(target.blobs(), source.blobs());
    let folder = format!("dir:{}", site.path("copy").display());
    let name = format!("docker://{}/octoperf/agent:1", target.host());
    site.run(&skopeo, ["copy", "--src-tls-verify=false", &name, &folder]).run().assert_ok();
    assert!(site.path("copy/manifest.json").is_file());
}

#[test]
fn skopeo_logs_in_with_tokens_and_with_a_password() {
    let Some(skopeo) = need("skopeo") else { return };
    let (site, ann) = (Site::new(), || ("ann".to_owned(), "secret".to_owned()));
    let (user, password) = ann();
    for access in [Access::Basic { user, password }, Access::Bearer { login: Some(ann()), uses: 100 }] {
        let registry = MemoryRegistry::with(Options { access, ..Options::default() });
        let name = format!("docker://{}", registry.add(&docker_image()));
        let inspect = |credentials: &str| {
            let arguments = ["inspect", "--raw", "--tls-verify=false", "--creds", credentials, &name];
            site.run(&skopeo, arguments).run()
        };
        assert_ne!(inspect("ann:wrong").code, Some(0));
        let document = inspect("ann:secret").assert_ok().stdout;
        assert_eq!(document.as_bytes(), docker_image().content().root().bytes);
    }
}

#[test]
fn the_real_registry_takes_samples_and_asks_for_the_password() {
    let (Some(skopeo), Some(_)) = (need("skopeo"), need("htpasswd")) else { return };
    let (site, memory, authority) = (Site::new(), MemoryRegistry::start(), Authority::new());
    let login = Some(("ann", "secret"));
    site.write("certificates/ca.crt", authority.certificate());
    let name = memory.add(&docker_image());
    for setup in
        [Setup::default(), Setup { login, ..Setup::default() }, Setup { login, tls: Some(&authority), clients: None }]
    {
        let Some(registry) = RealRegistry::with(&setup) else { return };
        let secure = setup.tls.is_some();
        let target = format!("docker://{}/octoperf/agent:1", registry.host());
        let copy = |credentials: &str| {
            let run = site.run(&skopeo, ["copy", "--src-tls-verify=false", "--dest-cert-dir", "certificates"]);
            let run = run.arg(format!("--dest-tls-verify={secure}")).args(["--dest-creds", credentials]);
            run.args([&format!("docker://{name}"), &target]).run()
        };
        assert_eq!(copy("ann:wrong").code == Some(0), setup.login.is_none());
        copy("ann:secret").assert_ok();
        assert!(registry.storage().join("docker/registry/v2/repositories/octoperf/agent").is_dir());
    }
}

#[test]
fn docker_and_podman_load_a_sample() {
    let site = Site::new();
    let archive = site.write("image.tar", docker_archive(&docker_image(), "docker.io/octoperf/agent:1"));
    let archive = archive.to_str().unwrap();
    let id = docker_image().config_digest();
    if let Some(docker) = Docker::start() {
        docker.run(&["load", "-i", archive]);
        let found = docker.run(&["image", "inspect", "--format", "{{.Id}}", "octoperf/agent:1"]);
        assert_eq!(found.trim(), id);
    }
    if let Some(podman) = Podman::new() {
        podman.run(&["load", "-i", archive]);
        let inspect = ["image", "inspect", "--format", "{{.Id}}", "docker.io/octoperf/agent:1"];
        assert_eq!(format!("sha256:{}", podman.run(&inspect).trim()), id);
        let service = podman.serve();
        let images = service.run(&["images", "--format", "{{.Repository}}"]);
        assert_eq!(images.trim(), "docker.io/octoperf/agent");
    }
}

/// A small image with Docker's media types.
fn docker_image() -> TestImage {
    TestImage::new("octoperf/agent:1").docker().layer(b"hello").random_layer(5, 100_000)
}

/// The form of `docker save`, with gzip layers.
fn docker_archive(image: &TestImage, name: &str) -> Vec<u8> {
    let content = image.content();
    let document = content.root().json();
    let file = |descriptor: &serde_json::Value| descriptor["digest"].as_str().unwrap().replace(':', "-");
    let layers: Vec<_> = document["layers"].as_array().unwrap().iter().map(file).collect();
    let listing = [serde_json::json!({ "Config": file(&document["config"]), "RepoTags": [name], "Layers": layers })];
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "manifest.json", &serde_json::to_vec(&listing).unwrap());
    for (digest, bytes) in &content.blobs {
        append(&mut archive, &digest.replace(':', "-"), bytes);
    }
    archive.into_inner().unwrap()
}

#[test]
fn a_command_sees_its_own_folder_and_nothing_of_the_callers_environment() {
    let site = Site::new();
    let output = site.run(Path::new("/usr/bin/env"), [""; 0]).env("GIVEN", "yes").run().assert_ok();
    let names: BTreeSet<_> = output.stdout.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    let own = ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"];
    assert_eq!(names, ["GIVEN", "HOME", "PATH", "TMPDIR"].into_iter().chain(own).collect());
    let shell = |script: &str| site.run(Path::new("/bin/sh"), ["-c", script]);
    assert_eq!(shell("cat; exit 3").input("in").run().assert_code(3).stdout, "in");
    let endless = shell("exec sleep 1000").spawn();
    assert_eq!(endless.kill().code, None);
}

#[test]
fn secrets_are_found_in_each_form() {
    let pair = |user: &str| base64::prelude::BASE64_STANDARD.encode(format!("{user}:{CANARY}-password"));
    for text in [format!("x{CANARY}x"), pair("jo"), pair("bob"), pair("user")] {
        assert!(shows_secret(text.as_bytes()), "{text}");
    }
    assert!(!shows_secret(b"canary"));
}
