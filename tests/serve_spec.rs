//! What the OCI distribution specification 1.1 asks of a registry that is read from, section by section.
//!
//! Each test names its section of `spec.md` (tag v1.1.1 of opencontainers/distribution-spec); what MUST be is asserted,
//! and what SHOULD be too.

mod support;

use std::fmt::Write as _;

use serde_json::{Value, json};
use support::images::{About, Content, Sample, TestImage, TestIndex};
use support::release::Release;
use support::served::{Answer, Served};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Of nothing that any test makes.
const UNKNOWN: &str = "sha256:b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
/// "Error Codes": a JSON body of a 4xx has one of these.
const CODES: [&str; 14] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
];

fn agent() -> TestImage {
    TestImage::new("octoperf/agent:1.0").oci().layer(b"hello").random_layer(1, 200_000)
}

fn proxy() -> TestIndex {
    let image = TestImage::new("octoperf/proxy:1").layer(b"proxy");
    TestIndex::new("octoperf/proxy:1").image(image.clone()).image(image.platform("linux/arm64").layer(b"arm"))
}

/// One repository whose names need care: upper case, a dot, a dash, an underscore, the longest.
fn tags() -> Vec<String> {
    let long = "z".repeat(128);
    ["1.0", "1.0-rc1", "Beta", "_first", "alpha", "beta", "GAMMA"]
        .map(str::to_owned)
        .into_iter()
        .chain([long])
        .collect()
}

struct World {
    release: Release,
    served: Served,
}

impl World {
    fn of(samples: &[&dyn Sample]) -> Self {
        let release = Release::of(samples);
        release.pull("release.tar").args(["--platform", "all", "--quiet"]).run().assert_ok();
        let served = Served::start(&release.site, ["release.tar"]);
        Self { release, served }
    }

    /// What GET answers; HEAD must say the same without the body.
    #[track_caller]
    fn get(&self, target: &str) -> Answer {
        let (got, head) = (self.served.get(target), self.served.ask("HEAD", target, &[]));
        assert!(head.status == got.status && head.headers == got.headers, "{target}: {head:?}\n{:?}", got.headers);
        assert!(head.body.is_empty());
        got
    }
}

fn config(content: &Content) -> String {
    content.root().json()["config"]["digest"].as_str().unwrap().to_owned()
}

/// "Determining Support": `GET /v2/` gives 200.
#[test]
fn determining_support() {
    let world = World::of(&[&agent()]);
    assert_eq!(world.get("/v2/").status, 200);
}

/// "Pulling manifests" and "Checking if content exists in the registry".
#[test]
fn pulling_manifests() {
    let world = World::of(&[&agent(), &proxy()]);
    for content in [agent().content(), proxy().content()] {
        let base = format!("/v2/{}/manifests", content.repository);
        let by_tag = [(content.tag.clone(), content.root())];
        let by_digest = content.documents.iter().map(|document| (document.digest.clone(), document));
        for (reference, document) in by_tag.into_iter().chain(by_digest) {
            let accept = format!("Accept: {}", document.media_type);
            for answer in [
                world.get(&format!("{base}/{reference}")),
                world.served.ask("GET", &format!("{base}/{reference}"), &[&accept]),
            ] {
                assert!(answer.status == 200 && answer.body == document.bytes, "{reference}");
                assert_eq!(answer.header("content-type"), document.media_type, "no parameters, and what was pushed");
                assert_eq!(answer.header("docker-content-digest"), document.digest);
                assert_eq!(answer.header("content-length"), document.bytes.len().to_string());
            }
        }
        for reference in ["2.0", ".INVALID_MANIFEST_NAME", &"a".repeat(129), UNKNOWN] {
            let absent = world.get(&format!("{base}/{reference}"));
            assert_eq!((absent.status, absent.code().as_str()), (404, "MANIFEST_UNKNOWN"), "{reference}");
        }
    }
}

/// "Pulling blobs", "Checking if content exists in the registry", and RFC 9110 for `Range`.
#[test]
fn pulling_blobs() {
    let world = World::of(&[&agent()]);
    let content = agent().content();
    assert!(content.blobs.contains_key(&config(&content)));
    for (digest, bytes) in &content.blobs {
        let target = format!("/v2/octoperf/agent/blobs/{digest}");
        let answer = world.get(&target);
        assert!(answer.status == 200 && answer.body == *bytes, "{digest}");
        assert_eq!(answer.header("docker-content-digest"), digest);
        assert_eq!(answer.header("content-length"), bytes.len().to_string());
        assert_eq!(answer.header("accept-ranges"), "bytes");
        let part = world.served.ask("GET", &target, &["Range: bytes=1-2"]);
        assert!(part.status == 206 && part.body == bytes[1..3]);
        assert_eq!(part.header("content-range"), format!("bytes 1-2/{}", bytes.len()));
    }
    let absent = world.get(&format!("/v2/octoperf/agent/blobs/{UNKNOWN}"));
    assert_eq!((absent.status, absent.code().as_str()), (404, "BLOB_UNKNOWN"));
}

/// "Listing Tags".
#[test]
fn listing_tags() {
    let images: Vec<TestImage> = tags().iter().map(|tag| agent().named(&format!("octoperf/agent:{tag}"))).collect();
    let world = World::of(&images.iter().map(|image| image as &dyn Sample).collect::<Vec<_>>());
    let address = "/v2/octoperf/agent/tags/list";
    // "lexical order (i.e. case-insensitive alphanumeric order)".
    let mut expected = tags();
    expected.sort_by_key(|tag| (tag.to_lowercase(), tag.clone()));
    let all = world.get(address);
    assert_eq!((all.status, all.json()), (200, json!({ "name": "octoperf/agent", "tags": expected })));
    assert!(!all.headers.contains_key("link"), "nothing is left");

    for most in 1..=expected.len() + 1 {
        let page = world.get(&format!("{address}?n={most}"));
        assert_eq!(page.json()["tags"], json!(expected[..most.min(expected.len())]));
        assert_eq!(page.headers.contains_key("link"), most < expected.len(), "n={most}");
    }
    let none = world.get(&format!("{address}?n=0"));
    assert_eq!((none.status, &none.json()["tags"], none.headers.contains_key("link")), (200, &json!([]), false));
    for (place, last) in expected.iter().enumerate() {
        let behind = world.get(&format!("{address}?last={last}"));
        assert_eq!(behind.json()["tags"], json!(expected[place + 1..]), "`n` is optional");
        let next = world.get(&format!("{address}?n=2&last={last}"));
        assert_eq!(next.json()["tags"], json!(expected[place + 1..expected.len().min(place + 3)]));
    }
    // RFC 5988: the address of the next page, relation `next`.
    let (mut followed, mut address) = (Vec::new(), Some(format!("{address}?n=3")));
    while let Some(target) = address.take() {
        let page = world.get(&target);
        followed.extend(page.json()["tags"].as_array().unwrap().clone());
        address = page.headers.get("link").map(|link| {
            let target = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
            target.unwrap_or_else(|| panic!("{link}")).to_owned()
        });
        assert!(followed.len() <= expected.len());
    }
    assert_eq!(Value::from(followed), json!(expected));
    let unknown = world.get("/v2/octoperf/none/tags/list");
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "NAME_UNKNOWN"));
}

/// "Listing Referrers" and "Referrers Tag Schema".
#[test]
fn listing_referrers() {
    let subject = agent().content().root().clone();
    let absent = TestImage::new("octoperf/agent:never").layer(b"never pushed").content().root().clone();
    let about = |tag: &str, subject: &support::images::Document, artifact_type| {
        let name = format!("octoperf/agent:{tag}");
        About { of: Box::new(TestImage::new(&name).layer(tag.as_bytes())), subject: subject.clone(), artifact_type }
    };
    let index = |tag: &str, artifact_type| {
        let image = TestImage::new("-:-").layer(tag.as_bytes());
        let of = TestIndex::new(&format!("octoperf/agent:{tag}")).image(image);
        About { of: Box::new(of), subject: subject.clone(), artifact_type }
    };
    let (signature, config_stands_in) =
        ("application/vnd.example.signature.v1", "application/vnd.oci.image.config.v1+json");
    let referrers = [
        (about("signed", &subject, Some(signature)), Some(signature)),
        (about("stated", &subject, None), Some(config_stands_in)),
        (about("empty", &subject, Some("")), Some(config_stands_in)),
        (index("list", Some(signature)), Some(signature)),
        (index("untyped", None), None),
    ];
    let orphan = about("orphan", &absent, Some(signature));
    let agent = agent();
    let mut samples: Vec<&dyn Sample> = vec![&agent, &orphan];
    samples.extend(referrers.iter().map(|(sample, _)| sample as &dyn Sample));
    let world = World::of(&samples);
    let address = format!("/v2/octoperf/agent/referrers/{}", subject.digest);
    let all = world.get(&address);
    assert_eq!((all.status, all.header("content-type")), (200, INDEX));
    let list = all.json();
    assert_eq!((&list["schemaVersion"], &list["mediaType"]), (&json!(2), &json!(INDEX)));
    let entries = list["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), referrers.len());
    for (sample, artifact_type) in &referrers {
        let content = sample.content();
        let root = content.root();
        let mut expected = json!({
            "mediaType": root.media_type, "digest": root.digest, "size": root.bytes.len(),
            "annotations": { "org.example.note": "about" },
        });
        if let Some(artifact_type) = artifact_type {
            expected["artifactType"] = json!(artifact_type);
        }
        assert!(entries.contains(&expected), "{expected:#}\n{list:#}");
    }
    for (wanted, count) in [(signature, 2), (config_stands_in, 2), ("application/vnd.example.other", 0)] {
        let encoded = wanted.replace('/', "%2F").replace('+', "%2B");
        let filtered = world.get(&format!("{address}?artifactType={encoded}"));
        assert_eq!((filtered.status, filtered.header("oci-filters-applied")), (200, "artifactType"));
        let found = filtered.json()["manifests"].as_array().unwrap().clone();
        assert!(
            found.len() == count && found.iter().all(|entry| entry["artifactType"] == wanted),
            "{wanted}: {found:?}"
        );
    }
    assert!(!all.headers.contains_key("oci-filters-applied"));
    // A subject that is not here has referrers all the same; what nobody speaks about has an empty list.
    let orphans = world.get(&format!("/v2/octoperf/agent/referrers/{}", absent.digest)).json();
    assert_eq!(orphans["manifests"][0]["digest"], orphan.content().root().digest);
    let nothing = world.get(&format!("/v2/octoperf/agent/referrers/{UNKNOWN}"));
    assert_eq!((nothing.status, nothing.header("content-type")), (200, INDEX));
    assert_eq!(nothing.json()["manifests"], json!([]));
    for invalid in ["latest", "sha256:", "sha256:xyz"] {
        let answer = world.get(&format!("/v2/octoperf/agent/referrers/{invalid}"));
        assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"), "{invalid}");
    }
    let tag = subject.digest.replace(':', "-");
    let schema = world.get(&format!("/v2/octoperf/agent/manifests/{tag}"));
    assert_eq!((schema.status, schema.header("content-type")), (200, INDEX));
    assert_eq!(schema.body, all.body);
}

/// "Error Codes", and what the other workflows get from a registry that is only read from: 405 is among the answers
/// that "Endpoints" has for deleting, and "Push" may be refused.
#[test]
fn error_codes() {
    let world = World::of(&[&agent()]);
    let content = agent().content();
    let blob = format!("/v2/octoperf/agent/blobs/{}", config(&content));
    for (method, target, headers, status) in [
        ("GET", "/v2/octoperf/agent/nothing/x".to_owned(), vec![], 404),
        ("GET", "/v2/octoperf/none/manifests/1".into(), vec![], 404),
        ("GET", "/v2/UPPER/manifests/1".into(), vec![], 400),
        ("GET", "/v2/octoperf/agent/manifests/sha256:totallywrong".into(), vec![], 400),
        ("GET", "/v2/octoperf/agent/blobs/sha256:totallywrong".into(), vec![], 400),
        ("GET", "/v2/octoperf/agent/tags/list?n=x".into(), vec![], 400),
        ("GET", blob.clone(), vec!["Range: bytes=9999999-"], 416),
        ("GET", blob.clone(), vec!["If-Match: \"other\""], 412),
        ("GET", blob.clone(), vec!["Content-Length: 5"], 400),
        ("PUT", "/v2/octoperf/agent/manifests/sha256:totallywrong".into(), vec!["Content-Length: 0"], 400),
        ("PUT", "/v2/octoperf/agent/manifests/1".into(), vec!["Content-Length: 0"], 405),
        ("POST", "/v2/octoperf/agent/blobs/uploads/".into(), vec!["Content-Length: 0"], 405),
        ("DELETE", blob, vec![], 405),
        ("GET", "/v2/octoperf/agent/blobs/uploads/1".into(), vec![], 404),
    ] {
        let answer = world.served.ask(method, &target, &headers);
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/json");
        let code = answer.code();
        assert!(CODES.contains(&code.as_str()), "{method} {target}: `{code}` is not in the specification");
        assert!(answer.json()["errors"][0]["message"].is_string());
    }
}

/// "Pulling manifests", the grammar of `<name>`; and "Historical Context", the header that old engines look for.
#[test]
fn names_of_the_grammar_are_served() {
    let names = ["a", "a0/b__c/d--e/f.g", "library/x-y_z", &format!("{}/{}", "a".repeat(100), "b".repeat(80))]
        .map(str::to_owned);
    let images: Vec<TestImage> = names.iter().map(|name| agent().named(&format!("{name}:1"))).collect();
    let world = World::of(&images.iter().map(|image| image as &dyn Sample).collect::<Vec<_>>());
    for name in &names {
        assert_eq!(world.get(&format!("/v2/{name}/manifests/1")).status, 200, "{name}");
        assert_eq!(world.get(&format!("/v2/{name}/tags/list")).json()["name"], json!(name));
    }
    let mut sorted = names.to_vec();
    sorted.sort();
    assert_eq!(world.get("/v2/_catalog").json()["repositories"], json!(sorted));
    assert_eq!(world.get("/v2/").header("docker-distribution-api-version"), "registry/2.0");
    let mut listed = String::new();
    for image in world.served.report["images"].as_array().unwrap() {
        writeln!(listed, "{}", image["name"].as_str().unwrap()).unwrap();
    }
    assert_eq!(listed.lines().count(), names.len());
    assert!(world.release.site.path("release.tar").exists());
}
