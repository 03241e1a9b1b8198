//! Digests, documents and references: SEC-25 to SEC-33.

use octobundle::content::{ImageSource as _, Lookup};
use octobundle::failure::ErrorClass;
use octobundle::oci::{Digest, ImageRef, MediaType};
use serde_json::{Value, json};

use crate::client::{described, manifest, registry, repository, settings, shown, tag};
use crate::memory::measured;
use crate::scripted::{Reply, Scripted};
use crate::support::images::{self, Sample as _, TestImage, TestIndex};
use crate::support::memory_registry::{Fault, MemoryRegistry};
use crate::support::release::Release;

const INTEGRITY: i32 = 7;

#[test]
fn sec_25_a_digest_has_one_spelling() {
    let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let mut wrong = Vec::new();
    for at in [0, 1, 31, 62, 63] {
        for byte in [
            "G", "g", "E", " ", "/", ".", "%", "-", "_", ":", "\0", "\n", "é", "٣", "", "00", "..", "%2f", "\u{200b}",
            "０",
        ] {
            let (left, right) = (&hex[..at], &hex[at + 1..]);
            wrong.push(format!("sha256:{left}{byte}{right}"));
        }
    }
    for length in (0..64).chain(65..130) {
        wrong.push(format!("sha256:{}", "a".repeat(length)));
    }
    for algorithm in
        ["", "SHA256", "sha-256", "sha256 ", "sha512", "sha1", "md5", "sha256+b64", "sha256:sha256", "../sha256"]
    {
        wrong.push(format!("{algorithm}:{hex}"));
    }
    wrong.extend([hex.to_owned(), format!("sha256{hex}"), "sha256:".into(), ":".into(), String::new()]);
    assert!(wrong.len() > 200);
    for text in wrong {
        assert!(text.parse::<Digest>().is_err(), "{text:?}");
        assert!(format!("a/b@{text}").parse::<ImageRef>().is_err(), "{text:?}");
    }
}

#[test]
fn sec_26_a_registry_that_gives_one_image_for_all_names_gets_nothing_believed() {
    let (wanted, evil) = (
        TestImage::new("octoperf/agent:1").random_layer(1, 5_000),
        TestImage::new("octoperf/agent:1").random_layer(2, 5_000),
    );
    let (content, other) = (wanted.content(), evil.content());
    let swapped = |digest: &str| {
        let release = Release::of(&[&wanted]);
        let mut bytes = other.blobs.values().max_by_key(|blob| blob.len()).unwrap().clone();
        bytes.resize(content.blobs[digest].len(), 0);
        release.registry.replace_blob(digest, &bytes);
        release
    };
    // Config and layer in turn.
    for digest in content.blobs.keys() {
        let release = swapped(digest);
        let failed = release.pull("release.tar").run().assert_code(INTEGRITY);
        assert!(failed.stderr.contains(&digest[..15]), "{}", failed.stderr);
        assert!(!release.site.path("release.tar").exists());
    }
    // A manifest under the digest of another, by name and by lock.
    let release = Release::of(&[&wanted]);
    release.resolve().args(["--lock", "lock.json"]).run().assert_ok();
    let digest = &content.root().digest;
    release.registry.replace_manifest("octoperf/agent", digest, &other.root().media_type, &other.root().bytes);
    let pinned = format!("{}@{digest}", release.name(0));
    release.site.write("release.yaml", crate::support::release::manifest(&[pinned]));
    for run in [release.resolve(), release.pull("release.tar")] {
        run.run().assert_code(INTEGRITY);
    }
}

#[tokio::test]
async fn sec_27_the_digest_header_decides_nothing() {
    let (right, wrong) = (Digest::of(&manifest()), Digest::of(b"another"));
    // Right header and wrong body, wrong header and right body, no header.
    for (wanted, header, taken) in [(wrong, Some(wrong), false), (right, Some(wrong), true), (right, None, true)] {
        let server = Scripted::start(move |_, _| {
            let reply = crate::client::manifest_reply();
            header.map_or_else(
                || reply.clone(),
                |digest| reply.clone().header("Docker-Content-Digest", digest.to_string()),
            )
        })
        .await;
        let fetched = registry(settings()).document(&repository(&server), &Lookup::Digest(wanted)).await;
        assert_eq!(fetched.is_ok(), taken, "{header:?}");
    }
}

#[tokio::test]
async fn sec_28_a_document_that_two_readers_read_differently_is_refused() {
    let sound = String::from_utf8(manifest()).unwrap();
    let config = &sound[sound.find("\"config\"").unwrap()..sound.find(",\"layers\"").unwrap()];
    let entry = format!(r#"{{"mediaType":"{}","digest":"{}","size":5}}"#, MediaType::OCI_MANIFEST, Digest::of(b"x"));
    let index = |entries: &str| {
        format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{entries}]}}"#, MediaType::OCI_INDEX)
    };
    let cases = [
        (
            "both",
            sound.replacen('{', &format!(r#"{{"manifests":[{entry}],"#), 1),
            MediaType::OCI_MANIFEST,
            "two different things",
        ),
        ("index that is called image", index(&entry), MediaType::OCI_MANIFEST, "two different things"),
        ("image that is called index", sound.clone(), MediaType::OCI_INDEX, "two different things"),
        ("image of the other family", sound.clone(), MediaType::DOCKER_MANIFEST, "two different things"),
        ("the same key twice", sound.replacen('{', r#"{"layers":[],"#, 1), MediaType::OCI_MANIFEST, "stands twice"),
        (
            "the same key in other case",
            sound.replacen('{', r#"{"Layers":[],"#, 1),
            MediaType::OCI_MANIFEST,
            "stands twice",
        ),
        (
            "a key twice far inside",
            sound.replacen("\"size\":2", "\"size\":2,\"Size\":3", 1),
            MediaType::OCI_MANIFEST,
            "stands twice",
        ),
        ("byte order mark", format!("\u{feff}{sound}"), MediaType::OCI_MANIFEST, "not valid"),
        ("trailing text", format!("{sound}{{}}"), MediaType::OCI_MANIFEST, "not valid"),
        ("two documents", format!("{sound}\n{sound}"), MediaType::OCI_MANIFEST, "not valid"),
        ("10000 entries", index(&vec![entry.as_str(); 10_000].join(",")), MediaType::OCI_INDEX, "limits"),
        (
            "very deep",
            format!("{{\"a\":{}{}", "[".repeat(100_000), "]".repeat(100_000)),
            MediaType::OCI_MANIFEST,
            "not valid",
        ),
        ("no layers", format!("{{{config}}}"), MediaType::OCI_MANIFEST, "not valid"),
        (
            "schema 1",
            r#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#.into(),
            "application/vnd.docker.distribution.manifest.v1+json",
            "schema 1",
        ),
    ];
    for (case, text, kind, why) in cases {
        let server = Scripted::start(move |_, _| Reply::new(200).header("Content-Type", kind).body(text.clone())).await;
        let failure =
            registry(settings()).document(&repository(&server), &tag()).await.err().unwrap_or_else(|| panic!("{case}"));
        assert!(matches!(failure.class(), ErrorClass::Integrity | ErrorClass::Input), "{case}: {failure}");
        assert!(shown(&failure).contains(why), "{case}: {failure}");
    }
}

#[test]
fn sec_28_an_index_within_an_index_is_refused() {
    let release = Release::of(&[&TestIndex::new("octoperf/agent:1").image(TestImage::new("x:1").layer(b"x"))]);
    let inner = release.registry.manifest("octoperf/agent", "1").unwrap();
    let outer = json!({ "schemaVersion": 2, "mediaType": inner.media_type, "manifests": [
        { "mediaType": inner.media_type, "digest": inner.digest, "size": inner.bytes.len(),
          "platform": { "os": "linux", "architecture": "amd64" } }
    ] });
    release.registry.replace_manifest("octoperf/agent", "1", &inner.media_type, outer.to_string().as_bytes());
    let failed = release.resolve().args(["--platform", "all"]).run().assert_code(3);
    assert!(failed.stderr.contains("index within an index"), "{}", failed.stderr);
}

#[test]
fn sec_29_documents_arrive_byte_for_byte() {
    let image = TestImage::new("octoperf/agent:1").layer(b"agent");
    let index = TestIndex::new("octoperf/agent:1").image(image.clone()).image(image.platform("linux/arm64")).attested();
    let release = Release::of(&[&index]);
    // As no writer of JSON would put it.
    let root = index.content();
    let odd = String::from_utf8(root.root().bytes.clone()).unwrap().replacen(
        '{',
        "{\n\t\"x-own\" : [1.50, \"\\u0041\\/\"],",
        1,
    ) + "\n\n";
    release.registry.replace_manifest("octoperf/agent", "1", &root.root().media_type, odd.as_bytes());
    release.pull("release.tar").args(["--platform", "all"]).run().assert_ok();
    let private = MemoryRegistry::start();
    release.site.octobundle(["push", "release.tar", "--registry", &private.host()]).run().assert_ok();
    assert_eq!(private.manifest("octoperf/agent", "1").unwrap().bytes, odd.as_bytes());
    for document in &root.documents[..root.documents.len() - 1] {
        assert_eq!(private.manifest("octoperf/agent", &document.digest).as_ref(), Some(document));
    }
}

/// A release whose manifest promises something else than the registry has.
fn promising(change: impl FnOnce(&mut Value)) -> Release {
    let image = TestImage::new("octoperf/agent:1").random_layer(1, 200_000);
    let release = Release::of(&[&image]);
    let mut manifest = image.content().root().json();
    change(&mut manifest["layers"][0]);
    let kind = manifest["mediaType"].as_str().unwrap().to_owned();
    release.registry.replace_manifest("octoperf/agent", "1", &kind, manifest.to_string().as_bytes());
    release
}

#[test]
fn sec_30_a_size_that_is_not_true_is_refused_without_memory() {
    let sizes = [
        json!(0),
        json!(-1),
        json!(1_u64 << 63),
        json!(u64::MAX),
        json!(1_u64 << 50),
        json!(1e30),
        json!("200000"),
        json!(199_999),
        json!(1_u64 << 40),
    ];
    for size in sizes {
        let release = promising(|layer| layer["size"] = size.clone());
        let run = measured(release.pull("release.tar").args(["--retry-for", "0"]));
        assert!(matches!(run.output.code, Some(3 | 7 | 9)), "{size}: {:?}", run.output);
        assert!(run.peak < 64, "{size}: {} MiB", run.peak);
        assert!(!release.site.path("release.tar").exists(), "{size}");
    }
}

#[test]
fn sec_31_content_inside_a_descriptor_is_not_believed() {
    let lie = "Q0FOQVJZ";
    let release = promising(|layer| layer["data"] = json!(lie));
    release.pull("release.tar").run().assert_ok();
    release.site.octobundle(["verify", "release.tar"]).run().assert_ok();
    let true_bytes = TestImage::new("octoperf/agent:1").random_layer(1, 200_000).content();
    let layer = true_bytes.blobs.values().max_by_key(|blob| blob.len()).unwrap();
    let bundle = release.site.read("release.tar");
    assert!(
        bundle.windows(layer.len()).any(|window| window == &layer[..]),
        "the registry's own bytes are in the bundle"
    );

    // What the registry does not have is not taken from there either.
    let release = promising(|layer| layer["data"] = json!(lie));
    release.registry.remove_blob(&images::digest(layer));
    release.pull("release.tar").run().assert_code(6);
}

#[test]
fn sec_32_references_mean_what_docker_means() {
    let sound = [
        ("redis:7", "docker.io/library/redis:7"),
        ("index.docker.io/library/redis:7", "docker.io/library/redis:7"),
        ("localhost/redis:7", "localhost/redis:7"),
        ("local/redis:7", "docker.io/local/redis:7"),
        ("host:5000/redis:7", "host:5000/redis:7"),
        ("HOST.corp/redis:7", "host.corp/redis:7"),
        ("a.b/c:5000", "a.b/c:5000"),
        ("xn--80ak6aa92e.com/a:1", "xn--80ak6aa92e.com/a:1"),
        ("a/b:_1", "docker.io/a/b:_1"),
        ("a/b:A.B-c_d", "docker.io/a/b:A.B-c_d"),
    ];
    for (text, canonical) in sound {
        assert_eq!(text.parse::<ImageRef>().unwrap().to_string(), canonical);
    }
    // Letters that look like others, hosts that are none, and what the grammar of distribution refuses.
    for text in [
        "dосker.io/library/redis:7",
        "docker。io/library/redis:7",
        "ｄocker.io/library/redis:7",
        "docker.io\u{200b}/library/redis:7",
        "docker.io/library/rеdis:7",
        "docker.io/Library/redis:7",
        "docker.io//redis:7",
        "docker.io/redis:7:8",
        "docker.io/redis@7",
        "user@docker.io/redis:7",
        "user:pw@docker.io/redis:7",
        "docker.io:port/redis:7",
        "docker.io/redis:７",
        "docker.io/redis:7\u{0}",
        "docker.io/./redis:7",
        "docker.io/a/../redis:7",
        "docker.io/redis%2f..:7",
        "http://docker.io/redis:7",
    ] {
        assert!(text.parse::<ImageRef>().is_err(), "{text:?}");
    }
    assert!(format!("a:{}", "x".repeat(128)).parse::<ImageRef>().is_ok());
    assert!(format!("a:{}", "x".repeat(129)).parse::<ImageRef>().is_err());
}

#[test]
fn sec_33_a_push_compares_what_the_registry_says_to_have_stored() {
    let release = Release::of(&[&TestImage::new("octoperf/agent:1").layer(b"agent")]);
    release.bundle();
    let private = MemoryRegistry::start();
    let other = described(b"another").digest.to_string();
    private.fault(Fault::on("PUT", "/manifests/1").times(9).answer(201).header("docker-content-digest", &other));
    let push = || release.site.octobundle(["push", "release.tar", "--registry", &private.host()]).run();
    let failed = push().assert_code(INTEGRITY);
    assert!(failed.stderr.contains(&other), "{}", failed.stderr);
}
