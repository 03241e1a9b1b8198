//! `octobundle serve`: the protocol, byte for byte.

mod support;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use support::images::{About, Content, Document, Sample as _, TestImage, TestIndex, random_bytes};
use support::release::Release;
use support::served::{Answer, Served};
use support::until;

const USAGE: i32 = 2;

fn agent() -> TestImage {
    TestImage::new("octoperf/agent:1").layer(b"shared").random_layer(1, 300_000)
}

fn jmeter() -> TestImage {
    TestImage::new("octoperf/jmeter:5").docker().layer(b"shared").layer(b"jmeter")
}

fn proxy() -> TestIndex {
    let image = TestImage::new("octoperf/proxy:1").layer(b"proxy");
    let other = image.clone().platform("linux/arm64").layer(b"arm");
    TestIndex::new("octoperf/proxy:1").image(image).image(other).attested()
}

/// Two single images and an index, pulled into `release.tar`.
fn release() -> Release {
    let release = Release::of(&[&agent(), &jmeter(), &proxy()]);
    release.pull("release.tar").args(["--platform", "all", "--quiet"]).run().assert_ok();
    release
}

fn serve(release: &Release) -> Served {
    Served::start(&release.site, ["release.tar"])
}

fn layers(content: &Content) -> Vec<&String> {
    content.blobs.keys().collect()
}

/// The blob of these that is largest.
fn largest(content: &Content) -> (&String, &Vec<u8>) {
    content.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).expect("it has blobs")
}

#[track_caller]
fn assert_document(answer: &Answer, document: &Document) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.body == document.bytes, "another document");
    assert_eq!(answer.header("content-type"), document.media_type);
    assert_eq!(answer.header("docker-content-digest"), document.digest);
    assert_eq!(answer.header("etag"), format!("\"{}\"", document.digest));
}

#[test]
fn everything_of_a_bundle_is_served_byte_for_byte_under_the_names_of_a_push() {
    let release = release();
    let served = Served::start(&release.site, ["release.tar", "--prefix", "tools/sub"]);
    let base = served.get("/v2/");
    assert_eq!((base.status, base.text().as_str()), (200, "{}"));
    assert_eq!(base.header("docker-distribution-api-version"), "registry/2.0");
    for content in [agent().content(), jmeter().content(), proxy().content()] {
        let name = format!("/v2/tools/sub/{}", content.repository);
        let by_tag = served.get(&format!("{name}/manifests/{}", content.tag));
        assert_document(&by_tag, content.root());
        assert_eq!(by_tag.header("cache-control"), "no-cache");
        for document in &content.documents {
            let target = format!("{name}/manifests/{}", document.digest);
            assert_document(&served.get(&target), document);
            let head = served.ask("HEAD", &target, &[]);
            assert_eq!((head.status, head.body.len()), (200, 0));
            assert_eq!(head.header("content-length"), document.bytes.len().to_string());
            assert!(head.header("cache-control").contains("immutable"));
        }
        for (digest, bytes) in &content.blobs {
            let target = format!("{name}/blobs/{digest}");
            let answer = served.get(&target);
            assert_eq!(answer.status, 200);
            assert!(answer.body == *bytes, "another blob");
            assert_eq!(answer.header("docker-content-digest"), digest);
            assert_eq!(answer.header("content-type"), "application/octet-stream");
            let head = served.ask("HEAD", &target, &[]);
            assert_eq!((head.status, head.header("content-length")), (200, bytes.len().to_string().as_str()));
        }
    }
    assert_eq!(served.get("/v2/octoperf/agent/manifests/1").status, 404, "only below the prefix");
    let shown: Vec<&str> =
        served.report["images"].as_array().unwrap().iter().map(|image| image["name"].as_str().unwrap()).collect();
    let expected =
        ["agent:1", "jmeter:5", "proxy:1"].map(|name| format!("{}/tools/sub/octoperf/{name}", served.host()));
    assert_eq!(shown, expected);
}

#[test]
fn lists_come_sorted_and_in_pages() {
    let images: Vec<TestImage> = ["a/b:2", "a/b:10", "a/b:1", "z:latest", "m/n:1"]
        .iter()
        .map(|name| TestImage::new(name).layer(name.as_bytes()))
        .collect();
    let samples: Vec<&dyn support::images::Sample> = images.iter().map(|image| image as _).collect();
    let release = Release::of(&samples);
    release.bundle();
    let served = serve(&release);
    assert_eq!(served.get("/v2/_catalog").json()["repositories"], serde_json::json!(["a/b", "m/n", "z"]));
    let tags = served.get("/v2/a/b/tags/list");
    assert_eq!(tags.json(), serde_json::json!({ "name": "a/b", "tags": ["1", "10", "2"] }));
    assert!(!tags.headers.contains_key("link"));
    // Pages are followed as a client does it, by the address in `Link`.
    for (first, most, list) in [("/v2/a/b/tags/list", 1, "tags"), ("/v2/_catalog", 2, "repositories")] {
        let (mut all, mut next, mut pages) = (Vec::new(), Some(format!("{first}?n={most}")), 0);
        while let Some(target) = next {
            let page = served.get(&target);
            let entries = page.json()[list].as_array().unwrap().clone();
            assert!(entries.len() <= most && pages < 10, "{target}: {entries:?}");
            all.extend(entries);
            pages += 1;
            next = page.headers.get("link").map(|link| {
                let (target, rel) = link.split_once("; ").expect("a link has a relation");
                assert_eq!(rel, "rel=\"next\"");
                target.trim_matches(['<', '>']).to_owned()
            });
        }
        assert_eq!(serde_json::Value::from(all), served.get(first).json()[list], "{first}");
        assert_eq!(pages, 3_usize.div_ceil(most));
    }
    assert_eq!(served.get("/v2/a/b/tags/list?n=0").json()["tags"], serde_json::json!([]));
    assert_eq!(served.get("/v2/a/b/tags/list?last=10").json()["tags"], serde_json::json!(["2"]));
    assert_eq!(served.get("/v2/a/b/tags/list?n=x").status, 400);
}

#[test]
fn sec_73_and_conditions_follow_the_rfc_over_the_wire() {
    let release = release();
    let served = serve(&release);
    let content = agent().content();
    let (digest, bytes) = largest(&content);
    let target = format!("/v2/octoperf/agent/blobs/{digest}");
    let tag = format!("\"{digest}\"");
    let size = bytes.len();
    for (range, start, end) in [
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=100-".into(), 100, size),
        ("bytes=-100".into(), size - 100, size),
        (format!("bytes=5-{size}"), 5, size),
    ] {
        let part = served.ask("GET", &target, &[&format!("Range: {range}")]);
        assert_eq!(part.status, 206, "{range}");
        assert!(part.body == bytes[start..end], "{range}");
        assert_eq!(part.header("content-range"), format!("bytes {start}-{}/{size}", end - 1));
    }
    for range in ["bytes=0-1,5-6", "bytes=5-2", "bytes=x-", "lines=1-2"] {
        let whole = served.ask("GET", &target, &[&format!("Range: {range}")]);
        assert_eq!((whole.status, whole.body.len()), (200, size), "{range}");
    }
    let outside = served.ask("GET", &target, &[&format!("Range: bytes={size}-")]);
    assert_eq!((outside.status, outside.header("content-range")), (416, format!("bytes */{size}").as_str()));
    assert_eq!(served.ask("HEAD", &target, &["Range: bytes=0-0"]).status, 200, "ranges are for GET");
    let statuses = [
        (vec!["Range: bytes=0-0".to_owned(), format!("If-Range: {tag}")], 206),
        (vec!["Range: bytes=0-0".into(), "If-Range: \"other\"".into()], 200),
        (vec!["Range: bytes=0-0".into(), format!("If-Range: W/{tag}")], 200),
        (vec![format!("If-None-Match: {tag}")], 304),
        (vec![format!("If-None-Match: \"x\", W/{tag}")], 304),
        (vec!["If-None-Match: *".into()], 304),
        (vec!["If-None-Match: \"x\"".into()], 200),
        (vec![format!("If-Match: {tag}")], 200),
        (vec!["If-Match: \"x\"".into()], 412),
    ];
    for (headers, status) in statuses {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let answer = served.ask("GET", &target, &headers);
        assert_eq!(answer.status, status, "{headers:?}");
        if status == 304 {
            assert_eq!((answer.body.len(), answer.header("etag")), (0, tag.as_str()));
        }
    }
    let manifest = served.ask(
        "GET",
        "/v2/octoperf/agent/manifests/1",
        &[&format!("If-None-Match: \"{}\"", content.root().digest)],
    );
    assert_eq!(manifest.status, 304);
}

#[test]
fn sec_75_a_blob_is_given_out_only_through_a_repository_that_has_it() {
    let release = release();
    let served = serve(&release);
    let (agent, jmeter) = (agent().content(), jmeter().content());
    let shared: Vec<&String> = layers(&agent).into_iter().filter(|digest| jmeter.blobs.contains_key(*digest)).collect();
    assert_eq!(shared.len(), 1, "one layer is in both images");
    for digest in agent.blobs.keys() {
        let there = served.get(&format!("/v2/octoperf/jmeter/blobs/{digest}"));
        let expected = if shared.contains(&digest) { 200 } else { 404 };
        assert_eq!(there.status, expected, "{digest}");
    }
    let foreign = served.get(&format!("/v2/octoperf/jmeter/manifests/{}", agent.root().digest));
    assert_eq!((foreign.status, foreign.code().as_str()), (404, "MANIFEST_UNKNOWN"));
    let document = served.get(&format!("/v2/octoperf/agent/blobs/{}", agent.root().digest));
    assert_eq!((document.status, document.code().as_str()), (404, "BLOB_UNKNOWN"));
    let nowhere = served.get(&format!("/v2/octoperf/none/blobs/{}", shared[0]));
    assert_eq!((nowhere.status, nowhere.code().as_str()), (404, "NAME_UNKNOWN"));
}

#[test]
fn a_mirror_answers_for_the_registry_that_is_named_and_for_no_other() {
    let release = Release::of(&[&agent(), &TestImage::new("octoperf/agent:2").layer(b"second")]);
    release.bundle();
    let served = Served::start(&release.site, ["release.tar", "--prefix", "tools"]);
    let source = release.registry.host();
    let content = agent().content();
    let blob = content.blobs.keys().next().unwrap();
    for target in ["manifests/1".to_owned(), format!("manifests/{}", content.root().digest), format!("blobs/{blob}")] {
        let asked = |ns: &str| served.get(&format!("/v2/octoperf/agent/{target}?ns={ns}")).status;
        assert_eq!(asked(&source), 200, "{target}");
        assert_eq!(asked("docker.io"), 404, "{target}: another registry's image of that name");
        assert_eq!(asked("not%20a%20host"), 404, "{target}");
        assert_eq!(asked(&served.host()), 404, "{target}: its own name means its own names");
    }
    let own = served.get(&format!("/v2/tools/octoperf/agent/manifests/1?ns={}", served.host()));
    assert_document(&own, content.root());
    assert_document(&served.get("/v2/tools/octoperf/agent/manifests/1?ns="), content.root());
    // The next page of a list is the same registry's.
    let tags = served.get(&format!("/v2/octoperf/agent/tags/list?n=1&ns={source}"));
    let next = tags.header("link").split(['<', '>']).nth(1).unwrap().to_owned();
    assert_eq!((tags.json()["tags"][0].as_str(), served.get(&next).json()["tags"][0].as_str()), (Some("1"), Some("2")));
}

#[test]
fn sec_74_nothing_but_reading_is_answered_and_nothing_changes() {
    let release = release();
    let before = std::fs::metadata(release.site.path("release.tar")).unwrap();
    let bytes = release.site.read("release.tar");
    let served = serve(&release);
    let digest = agent().content().root().digest.clone();
    for (method, target) in [
        ("POST", "/v2/octoperf/agent/blobs/uploads/".to_owned()),
        ("PUT", "/v2/octoperf/agent/manifests/1".into()),
        ("PATCH", "/v2/octoperf/agent/blobs/uploads/1".into()),
        ("DELETE", format!("/v2/octoperf/agent/manifests/{digest}")),
        ("TRACE", "/v2/".into()),
        ("PROPFIND", "/".into()),
    ] {
        let answer = served.ask(method, &target, &["Content-Length: 0"]);
        assert_eq!((answer.status, answer.code().as_str()), (405, "UNSUPPORTED"), "{method}");
        assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS");
    }
    assert_eq!(served.ask("OPTIONS", "/v2/", &[]).status, 204);
    drop(served);
    let after = std::fs::metadata(release.site.path("release.tar")).unwrap();
    assert_eq!((before.mode(), before.mtime(), before.ino()), (after.mode(), after.mtime(), after.ino()));
    assert!(release.site.read("release.tar") == bytes);
}

#[test]
fn sec_76_odd_paths_are_refused_and_never_lead_elsewhere() {
    let release = release();
    let served = serve(&release);
    let digest = agent().content().root().digest.clone();
    let long = format!("/v2/{}/tags/list", "a".repeat(64 * 1024));
    for (target, status) in [
        ("//".to_owned(), 404),
        ("/v2//tags/list".into(), 400),
        ("/v2/../../etc/passwd".into(), 404),
        ("/v2/a/../b/tags/list".into(), 400),
        ("/v2/%2e%2e/tags/list".into(), 400),
        ("/v2/octoperf%2fagent/tags/list".into(), 400),
        ("/v2/octoperf\\agent/tags/list".into(), 400),
        ("/v2/Octoperf/agent/tags/list".into(), 400),
        (format!("/v2/octoperf/agent/manifests/{}", digest.to_uppercase()), 400),
        (format!("/v2/octoperf/agent/blobs/{}", digest.replace("sha256", "sha512")), 404),
        ("/v2/octoperf/agent/manifests/..".into(), 404),
        ("/release.tar".into(), 404),
        ("/debug/pprof/".into(), 404),
        (long, 400),
    ] {
        let answer = served.get(&target);
        assert_eq!(answer.status, status, "{target:.80}: {}", answer.text());
        assert!(!answer.headers.contains_key("location") && !answer.code().is_empty());
    }
    for raw in ["GET /v2/\0 HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\0\0", "hello\r\n\r\n"]
    {
        let mut stream = served.connect();
        stream.write_all(raw.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        assert_eq!(Answer::parse(&bytes, "GET").status, 400, "{raw:?}");
    }
}

#[test]
fn sec_78_requests_one_behind_the_other_are_answered_in_their_order() {
    let release = release();
    let served = serve(&release);
    let content = agent().content();
    let (digest, bytes) = largest(&content);
    let line = |method: &str, target: &str| format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n\r\n", served.host());
    let blob = format!("/v2/octoperf/agent/blobs/{digest}");
    let mut stream = served.connect();
    let all = line("GET", "/v2/") + &line("HEAD", &blob) + &line("GET", &blob) + &line("GET", "/v2/none/tags/list");
    stream.write_all(all.as_bytes()).unwrap();
    stream.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n").unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    let mut rest = &got[..];
    for (method, status, length) in
        [("GET", 200, 2), ("HEAD", 200, 0), ("GET", 200, bytes.len()), ("GET", 404, 0), ("GET", 200, 2)]
    {
        let (answer, behind) = Answer::first(rest, method).expect("a whole answer");
        assert_eq!(answer.status, status);
        assert!(length == 0 || answer.body.len() == length);
        rest = behind;
    }
    assert!(rest.is_empty());
    // A body could hide a second request; whoever sends one is answered once.
    let mut stream = served.connect();
    let hidden = format!("GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n{}", line("GET", "/healthz"));
    stream.write_all(hidden.replace("Host: a", &format!("Host: {}", served.host())).as_bytes()).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert_eq!(Answer::parse(&got, "GET").status, 400);
}

#[test]
fn sec_77_a_server_of_this_machine_is_not_reached_under_a_foreign_name() {
    let release = release();
    let served = Served::start(&release.site, ["release.tar", "--name", "reg.site"]);
    let asked = |host: &str| {
        let mut stream = served.connect();
        stream.write_all(format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Answer::parse(&bytes, "GET").status
    };
    for (host, status) in [
        (served.host().as_str(), 200),
        ("localhost", 200),
        ("[::1]:5000", 200),
        ("reg.site:5000", 200),
        ("REG.SITE", 200),
        ("evil.example", 421),
        ("reg.site.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("a b", 421),
    ] {
        assert_eq!(asked(host), status, "{host}");
    }
}

#[test]
fn two_bundles_are_one_registry_unless_a_name_means_two_things() {
    let first = Release::of(&[&agent(), &jmeter()]);
    first.bundle();
    let other = TestImage::new("octoperf/agent:2").layer(b"second");
    let names: Vec<String> = [&agent(), &other].iter().map(|image| first.registry.add(*image)).collect();
    first.site.write("second.yaml", support::release::manifest(&names));
    first.site.octobundle(["pull", "second.yaml", "-o", "second.tar", "--quiet"]).run().assert_ok();
    let served = Served::start(&first.site, ["release.tar", "second.tar"]);
    assert_eq!(served.get("/v2/octoperf/agent/tags/list").json()["tags"], serde_json::json!(["1", "2"]));
    assert_document(&served.get("/v2/octoperf/agent/manifests/2"), other.content().root());
    drop(served);

    let changed = agent().layer(b"more");
    let names = [first.registry.add(&changed)];
    first.site.write("third.yaml", support::release::manifest(&names));
    first.site.octobundle(["pull", "third.yaml", "-o", "third.tar", "--quiet"]).run().assert_ok();
    let refused = first.site.octobundle(["serve", "release.tar", "third.tar", "--listen", "127.0.0.1:0"]).run();
    let refused = refused.assert_code(USAGE);
    assert!(
        refused.stderr.contains("bundles 1 and 2 have different images for `octoperf/agent:1`"),
        "{}",
        refused.stderr
    );
}

#[test]
fn the_page_health_and_metrics_are_there() {
    let release = release();
    let served = serve(&release);
    let page = served.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none';"));
    let words = page.text().replace("<span>", "").replace("</span>", "");
    for name in ["octoperf/agent:1", "octoperf/jmeter:5", "octoperf/proxy:1"] {
        assert!(words.contains(&format!("docker pull {}/{name}", served.host())), "{name}");
    }
    assert_eq!(served.get("/healthz").text(), "ok\n");
    served.get("/v2/octoperf/none/tags/list");
    let metrics = served.get("/metrics").text();
    for line in [
        "octobundle_answers_total{kind=\"page\",code=\"200\"} 1",
        "octobundle_answers_total{kind=\"tags\",code=\"404\"} 1",
        "octobundle_bundle_readable{bundle=\"1\"} 1",
        "# TYPE octobundle_sent_bytes_total counter",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    until("the access log has the request", || {
        served.stderr().contains("\"GET /v2/octoperf/none/tags/list HTTP/1.1\" 404")
    });
}

/// A release with one layer that is larger than what sockets hold.
fn large(bytes: usize) -> (Release, TestImage) {
    let image = TestImage::new("octoperf/large:1").random_layer(9, bytes);
    let release = Release::of(&[&image]);
    release.bundle();
    (release, image)
}

/// Where some bytes stand in the bundle.
fn place(release: &Release, needle: &[u8]) -> u64 {
    let bundle = release.site.read("release.tar");
    bundle.windows(64).position(|window| window == &needle[..64]).expect("the bundle has it") as u64
}

fn flip(release: &Release, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(release.site.path("release.tar")).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Reads an answer to its end, however that comes; whether it was whole, and its body.
fn read_out(stream: &mut std::net::TcpStream, mut got: Vec<u8>) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        if let Some((answer, _)) = Answer::first(&got, "GET") {
            return Some(answer.body);
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(read) => got.extend_from_slice(&buffer[..read]),
        }
    }
}

#[test]
fn damaged_blobs_never_end_as_a_clean_answer() {
    let (release, image) = large(4 << 20);
    let content = image.content();
    let (digest, bytes) = largest(&content);
    flip(&release, place(&release, bytes) + 1_000_000);
    let target = format!("/v2/octoperf/large/blobs/{digest}");
    let request = |served: &Served| format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", served.host());
    for (arguments, clean) in [(vec!["release.tar"], false), (vec!["release.tar", "--verify"], true)] {
        let served = Served::start(&release.site, arguments);
        for (known, range) in [(false, ""), (true, "Range: bytes=3000000-\r\n")] {
            let mut stream = served.connect();
            let text = request(&served).replace("\r\n\r\n", &format!("\r\n{range}\r\n"));
            stream.write_all(text.as_bytes()).unwrap();
            let body = read_out(&mut stream, Vec::new());
            // What the first answer has shown to be damaged is not sent again.
            if clean || known {
                assert!(String::from_utf8_lossy(&body.expect("a refusal")).contains("damaged"));
            } else {
                assert_eq!(body, None, "the answer looked whole");
            }
        }
        let metrics = served.get("/metrics").text();
        assert!(metrics.contains("octobundle_blobs_damaged_total 2"), "{metrics}");
        assert_eq!(served.get("/v2/octoperf/large/manifests/1").status, 200, "the rest is served");
    }
}

#[test]
fn a_head_reads_nothing_of_a_blob() {
    let (release, image) = large(4 << 20);
    let content = image.content();
    let (digest, bytes) = largest(&content);
    let served = serve(&release);
    let read = || -> u64 {
        let counted = std::fs::read_to_string(format!("/proc/{}/io", served.id())).unwrap();
        counted.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    };
    let before = read();
    let answer = served.ask("HEAD", &format!("/v2/octoperf/large/blobs/{digest}"), &[]);
    assert_eq!((answer.status, answer.header("content-length")), (200, bytes.len().to_string().as_str()));
    assert!(read() - before < 1 << 20, "{} bytes were read", read() - before);
    assert!(served.get(&format!("/v2/octoperf/large/blobs/{digest}")).body == *bytes);
    assert!(read() - before > 4 << 20, "what is sent is read");
}

#[test]
fn sec_51_a_bundle_that_is_edited_while_a_client_reads_cuts_the_answer() {
    // More than sockets hold on any system: what is edited has not been sent.
    const SIZE: usize = 96 << 20;
    let (release, image) = large(SIZE);
    let content = image.content();
    let (digest, bytes) = largest(&content);
    let served = serve(&release);
    let target = format!("/v2/octoperf/large/blobs/{digest}");
    // Once whole, so that the verdict on the blob is known before the edit.
    assert!(served.get(&target).body == *bytes);
    let mut stream = served.connect();
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", served.host()).as_bytes()).unwrap();
    let mut begun = vec![0; 4096];
    stream.read_exact(&mut begun).unwrap();
    flip(&release, place(&release, bytes) + SIZE as u64 - 1000);
    assert_eq!(read_out(&mut stream, begun), None, "the answer looked whole");
    let again = served.connect();
    let mut again = again;
    again.write_all(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", served.host()).as_bytes()).unwrap();
    assert_eq!(read_out(&mut again, Vec::new()), None, "the old verdict is not believed any more");
}

#[test]
fn s_01_a_bundle_that_goes_away_gives_503_and_is_served_again_when_it_is_back() {
    let release = release();
    let served = serve(&release);
    let content = agent().content();
    let target = format!("/v2/octoperf/agent/blobs/{}", largest(&content).0);
    assert_eq!(served.get(&target).status, 200);
    let (here, away) = (release.site.path("release.tar"), release.site.path("away.tar"));

    std::fs::rename(&here, &away).unwrap();
    for target in [&target, "/v2/octoperf/agent/manifests/1", "/healthz"] {
        let answer = served.get(target);
        assert_eq!((answer.status, answer.header("retry-after")), (503, "5"), "{target}");
    }
    assert_eq!(served.get("/v2/").status, 200, "the server itself is well");
    assert_eq!(served.get("/v2/octoperf/agent/tags/list").status, 200, "names are known");
    let open = std::fs::read_dir(format!("/proc/{}/fd", served.id())).unwrap();
    let files: Vec<_> = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok()).collect();
    assert!(!files.contains(&away), "the file is let go, so that its medium can be taken out");

    // Something else in its place is not served.
    std::fs::write(&here, random_bytes(1, 100_000)).unwrap();
    assert_eq!(served.get(&target).status, 503);
    let other = Release::of(&[&TestImage::new("octoperf/agent:1").layer(b"another release")]);
    other.bundle();
    std::fs::copy(other.site.path("release.tar"), &here).unwrap();
    assert_eq!(served.get(&target).status, 503);

    // A copy of the same bundle is: sticks are copied.
    std::fs::copy(&away, &here).unwrap();
    assert!(served.get(&target).body == *largest(&content).1);
    assert_eq!(served.get("/healthz").status, 200);
    // A draft of it is not.
    std::fs::File::options().write(true).open(&here).unwrap().set_len(5_000).unwrap();
    assert_eq!(served.get(&target).status, 503);
}

/// How many clients are connected, the one that asks among them.
fn connections(served: &Served) -> u32 {
    let metrics = served.get("/metrics").text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("octobundle_connections "));
    line.expect("it is a metric").parse().expect("it is a number")
}

#[test]
fn s_02_clients_that_stall_or_leave_hold_up_nobody() {
    let (release, image) = large(24 << 20);
    let content = image.content();
    let (digest, bytes) = largest(&content);
    let served = serve(&release);
    let request = format!("GET /v2/octoperf/large/blobs/{digest} HTTP/1.1\r\nHost: {}\r\n\r\n", served.host());
    let ask = |text: &str| {
        let mut stream = served.connect();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    let halves: Vec<_> = (0..40).map(|_| ask("GET /v2/ HT")).collect();
    let deaf: Vec<_> = (0..40).map(|_| ask(&request)).collect();
    for _ in 0..20 {
        // Leaves in the middle of the answer.
        let mut stream = ask(&request);
        stream.read_exact(&mut [0; 1000]).unwrap();
    }
    assert!(served.get(&format!("/v2/octoperf/large/blobs/{digest}")).body == *bytes);
    until("those who left are gone", || connections(&served) == 81);
    drop((halves, deaf));
    until("nobody is left", || connections(&served) == 1);
    let files = std::fs::read_dir(format!("/proc/{}/fd", served.id())).unwrap().count();
    assert!(files < 30, "{files} files are open");
}

#[test]
fn a_client_takes_no_more_connections_than_it_may() {
    let release = release();
    let served = Served::start(&release.site, ["release.tar", "--max-connections-per-client", "3"]);
    let seats: Vec<_> = (0..3).map(|_| served.connect()).collect();
    until("all three are inside", || {
        let mut stream = served.connect();
        let mut got = Vec::new();
        // What is refused is told so and closed; a reset may come before it is read.
        stream.read_to_end(&mut got).is_err() || String::from_utf8_lossy(&got).starts_with("HTTP/1.1 503 ")
    });
    drop(seats);
    until("there is room again", || {
        let mut stream = served.connect();
        let asked = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", served.host());
        let mut got = Vec::new();
        stream.write_all(asked.as_bytes()).is_ok()
            && stream.read_to_end(&mut got).is_ok()
            && String::from_utf8_lossy(&got).starts_with("HTTP/1.1 200 ")
    });
}

#[test]
fn a_server_that_is_asked_to_stop_finishes_what_it_has_begun() {
    let (release, image) = large(24 << 20);
    let content = image.content();
    let (digest, bytes) = largest(&content);
    let served = serve(&release);
    let idle = served.connect();
    let mut stream = served.connect();
    let target = format!("/v2/octoperf/large/blobs/{digest}");
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", served.host()).as_bytes()).unwrap();
    let mut begun = vec![0; 4096];
    stream.read_exact(&mut begun).unwrap();
    served.signal(rustix::process::Signal::TERM);
    until("nobody is let in any more", || std::net::TcpStream::connect(served.host()).is_err());
    assert!(read_out(&mut stream, begun).expect("a whole answer") == *bytes);
    let mut idle = idle;
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "who asked for nothing is let go");
    assert_eq!(served.wait(), Some(0));
}

#[test]
fn logins_are_asked_for_and_read_again_on_a_hangup() {
    let Some(htpasswd) = support::real::need("htpasswd") else { return };
    let release = release();
    let write = |arguments: &[&str]| release.site.run(&htpasswd, arguments).run().assert_ok();
    write(&["-Bbc", "logins", "ann", "first"]);
    let served = Served::start(&release.site, ["release.tar", "--htpasswd", "logins", "--access-log", "log"]);
    let login = |login: &str| {
        use base64::Engine as _;
        format!("Authorization: Basic {}", base64::engine::general_purpose::STANDARD.encode(login))
    };
    let status = |target: &str, text: &str| served.ask("GET", target, &[&login(text)]).status;
    for target in ["/v2/", "/v2/_catalog", "/v2/octoperf/agent/manifests/1", "/", "/metrics", "/nothing"] {
        let refused = served.get(target);
        assert_eq!((refused.status, refused.code().as_str()), (401, "UNAUTHORIZED"), "{target}");
        assert!(refused.header("www-authenticate").starts_with("Basic realm="));
        assert_eq!(status(target, "ann:wrong"), 401, "{target}");
        assert_ne!(status(target, "ann:first"), 401, "{target}");
    }
    assert_eq!(served.get("/healthz").status, 200, "a load balancer has no login");
    until("the log names the user", || release_log(&release).contains("127.0.0.1 - ann ["));
    assert!(!release_log(&release).contains("first") && !served.stderr().contains("first"));

    std::fs::rename(release.site.path("log"), release.site.path("log.1")).unwrap();
    write(&["-Bb", "logins", "ann", "second"]);
    served.signal(rustix::process::Signal::HUP);
    until("the new password is right", || status("/v2/", "ann:second") == 200);
    assert_eq!(status("/v2/", "ann:first"), 401, "what was right before is forgotten");
    until("the log is a new file", || release_log(&release).contains("GET /v2/"));
    release.site.write("logins", "ann:{SHA}abc\n");
    served.signal(rustix::process::Signal::HUP);
    until("it is said", || served.stderr().contains("stay as they were"));
    assert_eq!(status("/v2/", "ann:second"), 200);
}

fn release_log(release: &Release) -> String {
    std::fs::read_to_string(release.site.path("log")).unwrap_or_default()
}

#[test]
fn the_units_for_systemd_name_this_server_with_absolute_paths() {
    let release = release();
    let arguments =
        ["serve", "release.tar", "--systemd", "--listen", "0.0.0.0:5000", "--self-signed", "--htpasswd", "my logins"];
    let text = release.site.octobundle(arguments).run().assert_ok().stdout;
    let at = |name: &str| release.site.path(name).display().to_string();
    for line in [
        "ListenStream=0.0.0.0:5000".to_owned(),
        "StartLimitIntervalSec=0".into(),
        format!("RequiresMountsFor={}", at("release.tar")),
        format!("LoadCredential=htpasswd:{}", at("my logins")),
        "DynamicUser=yes".into(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let start = text.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
    assert!(start.ends_with(&format!("serve {} --self-signed --htpasswd %d/htpasswd", at("release.tar"))), "{start}");
    let Some(analyze) = support::real::need("systemd-analyze") else { return };
    let (socket, service) = text.split_once("# /etc/systemd/system/octobundle.service").unwrap();
    let socket = release.site.write("octobundle.socket", socket);
    let service = release.site.write("octobundle.service", service);
    let checked = release.site.run(&analyze, ["verify", "--man=no"]).args([socket, service.clone()]).run();
    assert_eq!((checked.code, checked.stderr.replace('\n', "")), (Some(0), String::new()));
    // What systemd takes for more than text in other places: it says nothing, so each path was one and was found.
    let folder = "my $HOME 100%d; x";
    let program = release.site.write(&format!("{folder}/octobundle"), "");
    std::fs::remove_file(&program).unwrap();
    if std::fs::hard_link(support::cli::binary(), &program).is_err() {
        std::fs::copy(support::cli::binary(), &program).unwrap();
    }
    let bundle = format!("{folder}/../{folder}/release.tar");
    std::fs::rename(release.site.path("release.tar"), release.site.path(&bundle)).unwrap();
    let logins = release.site.write(&format!("{folder}/my logins"), "");
    let arguments = ["serve", &bundle, "--systemd", "--htpasswd", &format!("{folder}/../{folder}/my logins")];
    let text = release.site.run(&program, arguments).run().assert_ok().stdout;
    let credential = format!("LoadCredential=htpasswd:{}", logins.display()).replace('%', "%%");
    assert!(text.lines().any(|line| line == credential), "{credential}\n{text}");
    let (_, unit) = text.split_once("# /etc/systemd/system/octobundle.service").unwrap();
    let awkward = release.site.write("awkward.service", unit.replace(" octobundle.socket", " "));
    let checked = release.site.run(&analyze, ["verify", "--man=no"]).arg(awkward).run();
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
    // From 0.0 (locked up) to 10.0; what it has beyond is the network, the host's files, and its own limit of files.
    let exposed = ["security", "--offline=true", "--no-pager", "--threshold=20"];
    release.site.run(&analyze, exposed).arg(service).run().assert_ok();
}

#[test]
fn a_socket_that_somebody_else_opened_is_served() {
    let Some(python) = support::real::need("python3") else { return };
    let release = release();
    // What systemd does: the socket is descriptor 3, and the process is told so by its id.
    let script = "import os, socket, sys\n\
        s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); os.dup2(s.fileno(), 3); os.set_inheritable(3, True)\n\
        os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.argv[1], sys.argv[1:])";
    release.site.write("activate.py", script);
    let binary = support::cli::binary();
    let run = release.site.run(&python, ["activate.py"]).arg(&binary).args(["serve", "release.tar", "--json"]);
    let served = Served::from(run);
    assert_eq!(served.get("/v2/octoperf/agent/tags/list").status, 200);
}

#[test]
fn what_speaks_about_an_image_is_listed_with_it() {
    let subject = agent().content().root().clone();
    let about = |name: &str, artifact_type| About {
        of: Box::new(TestImage::new(name).layer(name.as_bytes())),
        subject: subject.clone(),
        artifact_type,
    };
    let signature = about("octoperf/agent:signature", Some("application/vnd.example.signature"));
    let statement = about("octoperf/agent:statement", None);
    let elsewhere = about("octoperf/other:1", Some("application/vnd.example.signature"));
    let release = Release::of(&[&agent(), &signature, &statement, &elsewhere]);
    release.bundle();
    let served = serve(&release);
    let list = |target: &str| served.get(target);
    let all = list(&format!("/v2/octoperf/agent/referrers/{}", subject.digest));
    assert_eq!((all.status, all.header("content-type")), (200, "application/vnd.oci.image.index.v1+json"));
    let entries = all.json()["manifests"].as_array().unwrap().clone();
    let found =
        |entries: &[serde_json::Value], digest: &str| entries.iter().find(|entry| entry["digest"] == digest).cloned();
    assert_eq!(entries.len(), 2, "{entries:?}");
    let signed = signature.content().root().clone();
    let entry = found(&entries, &signed.digest).expect("the signature is listed");
    assert_eq!(entry["artifactType"], "application/vnd.example.signature");
    assert_eq!((&entry["mediaType"], &entry["size"]), (&signed.media_type.clone().into(), &signed.bytes.len().into()));
    assert_eq!(entry["annotations"]["org.example.note"], "about");
    let stated = found(&entries, &statement.content().root().digest).expect("the statement is listed");
    assert_eq!(stated["artifactType"], "application/vnd.oci.image.config.v1+json", "the config's type stands in");

    let filter = "artifactType=application%2Fvnd.example.signature";
    let filtered = list(&format!("/v2/octoperf/agent/referrers/{}?{filter}", subject.digest));
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    let entries = filtered.json()["manifests"].as_array().unwrap().clone();
    assert!(entries.len() == 1 && found(&entries, &signed.digest).is_some(), "{entries:?}");
    // Older clients look under a tag.
    let tag = subject.digest.replace(':', "-");
    assert_eq!(list(&format!("/v2/octoperf/agent/manifests/{tag}")).body, all.body);
    let nothing = list(&format!("/v2/octoperf/agent/referrers/{}", signed.digest));
    assert_eq!((nothing.status, nothing.json()["manifests"].as_array().unwrap().len()), (200, 0));
    assert_eq!(list(&format!("/v2/octoperf/agent/manifests/{}", signed.digest.replace(':', "-"))).status, 404);
    assert_eq!(list("/v2/octoperf/agent/referrers/latest").status, 400);
    assert_document(&list(&format!("/v2/octoperf/agent/manifests/{}", signed.digest)), &signed);
}
