//! `octobundle resolve`: what a release is today, and the lock that keeps it.

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

use serde_json::{Value, json};
use support::cli::Site;
use support::images::{Sample as _, TestImage, TestIndex, digest};
use support::memory_registry::{MemoryRegistry, Request};
use support::release::{Release, manifest};

const USAGE: i32 = 2;
const INPUT: i32 = 3;
const NETWORK: i32 = 5;
const NOT_FOUND: i32 = 6;
const INTEGRITY: i32 = 7;
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn agent() -> TestImage {
    TestImage::new("octoperf/agent:1").layer(b"for everyone").random_layer(1, 5000)
}

fn three_platforms() -> TestIndex {
    TestIndex::new("octoperf/agent:1")
        .image(agent())
        .image(agent().platform("linux/arm64").layer(b"arm"))
        .image(agent().platform("linux/arm/v7").layer(b"arm 32"))
        .attested()
}

fn locked(release: &Release) -> Value {
    serde_json::from_slice(&release.site.read("release.lock")).expect("a lock is JSON")
}

fn resolve_to_lock(release: &Release, flags: &[&str]) -> Value {
    release.resolve().args(flags).args(["--lock", "release.lock"]).run().assert_ok();
    locked(release)
}

fn digests<'a>(entries: impl IntoIterator<Item = &'a Value>) -> Vec<&'a str> {
    entries.into_iter().map(|entry| entry["digest"].as_str().expect("a descriptor has a digest")).collect()
}

#[test]
fn a_tag_is_pinned_with_everything_it_consists_of() {
    for image in [agent(), agent().docker()] {
        let release = Release::of(&[&image]);
        let content = image.content();
        let lock = resolve_to_lock(&release, &[]);
        let locked = &lock["images"][0];
        assert_eq!(locked["name"], release.name(0));
        assert_eq!(locked["root"]["digest"], content.root().digest);
        assert_eq!(locked["root"]["media_type"], content.root().media_type);
        assert_eq!(locked["root"]["size"], content.root().bytes.len());
        assert_eq!(locked["source"], release.name(0).trim_end_matches(":1"));
        assert_eq!(locked["insecure"], true, "plain http is said to be what it is");
        assert!(locked.get("index").is_none() && locked.get("derived").is_none());
        let platform = &locked["platforms"][0];
        assert_eq!(platform["platform"], "linux/amd64");
        assert_eq!(platform["config"]["digest"], image.config_digest());
        let stated = content.root().json();
        let expected: Vec<Value> = stated["layers"].as_array().expect("it lists layers").clone();
        for (layer, stated) in platform["layers"].as_array().expect("a lock lists layers").iter().zip(&expected) {
            assert_eq!(layer["digest"], stated["digest"]);
            assert_eq!(layer["size"], stated["size"]);
            assert_eq!(layer["media_type"], stated["mediaType"]);
        }
        assert_eq!(platform["layers"].as_array().map(Vec::len), Some(expected.len()));
    }
}

#[test]
fn what_is_shown_is_what_a_pull_would_write() {
    let shared = agent();
    let other = shared.clone().named("octoperf/jmeter:5").random_layer(2, 700);
    let release = Release::of(&[&shared, &other]);
    let shown = release.resolve().arg("--json").run().assert_ok().json();
    assert_eq!(shown["layers"], 3, "two shared layers and one more");
    assert_eq!(shown["images"].as_array().map(Vec::len), Some(2));
    assert_eq!(release.bundle().len() as u64, shown["bundle_bytes"].as_u64().expect("a size is shown"));
    let text = release.resolve().run().assert_ok().stdout;
    let host = release.registry.host();
    insta::assert_snapshot!(text.replace(&host, "registry.test"));
}

#[test]
fn only_documents_are_fetched() {
    let release = Release::of(&[&agent()]);
    release.resolve().run().assert_ok();
    let config = agent().config_digest();
    let blobs: Vec<String> =
        release.registry.requests().into_iter().filter(Request::reads_blob).map(|r| r.path).collect();
    assert_eq!(blobs, [format!("/v2/octoperf/agent/blobs/{config}")]);
}

#[test]
fn one_platform_of_an_index_is_its_image() {
    let index = three_platforms();
    let release = Release::of(&[&index]);
    let content = index.content();
    let lock = resolve_to_lock(&release, &[]);
    let image = &lock["images"][0];
    assert_eq!(image["root"]["digest"], agent().content().root().digest);
    assert_eq!(image["index"]["digest"], content.root().digest);
    assert!(image.get("derived").is_none());
    assert_eq!(image["platforms"].as_array().map(Vec::len), Some(1));
    let lock = resolve_to_lock(&release, &["--platform", "linux/arm/v7"]);
    assert_eq!(lock["images"][0]["platforms"][0]["platform"], "linux/arm/v7");
}

#[test]
fn several_platforms_give_a_new_index_that_says_so() {
    let index = three_platforms();
    let release = Release::of(&[&index]);
    let flags = ["--platform", "linux/amd64", "--platform", "linux/arm64"];
    let lock = resolve_to_lock(&release, &flags);
    let image = &lock["images"][0];
    assert_eq!(image["derived"], true);
    assert_eq!(image["index"]["digest"], index.content().root().digest);
    assert_ne!(image["root"]["digest"], image["index"]["digest"]);
    assert_eq!(image["platforms"].as_array().map(Vec::len), Some(2));
    let shown = release.resolve().args(flags).run().assert_ok().stdout;
    assert!(shown.contains("an index made of the chosen platforms of"), "{shown}");

    release.pull("release.tar").args(flags).run().assert_ok();
    let bundle = release.site.read("release.tar");
    let root = member(&bundle, image["root"]["digest"].as_str().expect("it has one"));
    assert_eq!(digest(&root), image["root"]["digest"]);
    let root: Value = serde_json::from_slice(&root).expect("an index is JSON");
    let original = index.content().root().json();
    let entries = root["manifests"].as_array().expect("an index has entries");
    assert_eq!(entries[..], original["manifests"].as_array().expect("an index has entries")[..2]);
    assert_eq!(resolve_to_lock(&release, &flags)["images"][0], *image, "the same choice gives the same index");
}

/// A blob of a bundle, found by a tar reader that is not ours.
fn member(bundle: &[u8], digest: &str) -> Vec<u8> {
    let name = format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"));
    let mut archive = tar::Archive::new(bundle);
    let mut entries = archive.entries().expect("it is a tar");
    let mut entry = entries
        .find_map(|entry| entry.ok().filter(|entry| entry.path().is_ok_and(|path| path.as_os_str() == &*name)))
        .expect("the bundle has it");
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut entry, &mut bytes).expect("it can be read");
    bytes
}

#[test]
fn all_platforms_keep_the_index_byte_for_byte() {
    let index = three_platforms();
    let release = Release::of(&[&index]);
    let content = index.content();
    let lock = resolve_to_lock(&release, &["--platform", "all"]);
    let image = &lock["images"][0];
    assert_eq!(image["root"]["digest"], content.root().digest);
    assert!(image.get("index").is_none() && image.get("derived").is_none());
    assert_eq!(image["platforms"].as_array().map(Vec::len), Some(6), "three images and what is said about each");
    release.pull("release.tar").args(["--platform", "all"]).run().assert_ok();
    let bundle = release.site.read("release.tar");
    for document in &content.documents {
        assert_eq!(member(&bundle, &document.digest), document.bytes);
    }
    for (digest, bytes) in &content.blobs {
        assert_eq!(member(&bundle, digest), *bytes);
    }
}

#[test]
fn all_of_several_chosen_platforms_need_no_new_index() {
    let index = TestIndex::new("octoperf/agent:1").image(agent()).image(agent().platform("linux/arm64").layer(b"arm"));
    let release = Release::of(&[&index]);
    let lock = resolve_to_lock(&release, &["--platform", "linux/arm64", "--platform", "linux/amd64"]);
    assert_eq!(lock["images"][0]["root"]["digest"], index.content().root().digest);
    assert!(lock["images"][0].get("derived").is_none());
}

#[test]
fn a_missing_platform_is_answered_with_those_that_are_there() {
    let release = Release::of(&[&three_platforms()]);
    let failed = release.resolve().args(["--platform", "linux/s390x"]).run().assert_code(NOT_FOUND);
    for part in ["linux/s390x", "linux/amd64, linux/arm64, linux/arm/v7", "help:", release.name(0)] {
        assert!(failed.stderr.contains(part), "{part}: {}", failed.stderr);
    }
    assert!(!failed.stderr.contains("unknown/unknown"), "an attestation is no platform: {}", failed.stderr);
    let single = Release::of(&[&agent()]);
    let failed = single.resolve().args(["--platform", "linux/arm64"]).run().assert_code(NOT_FOUND);
    assert!(failed.stderr.contains("linux/amd64"), "{}", failed.stderr);
}

#[test]
fn images_that_cannot_be_carried_are_refused_with_the_reason() {
    let image = agent();
    let stated = image.content().root().json();
    let foreign = json!({
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": digest(b"windows"),
        "size": 7,
        "urls": ["https://mcr.microsoft.com/v2/windows/layer"],
    });
    let mut with_foreign = stated.clone();
    with_foreign["layers"][0] = foreign;
    let index = three_platforms();
    let mut nested = index.content().root().json();
    nested["manifests"][0]["mediaType"] = json!(INDEX);
    nested["manifests"][0]["digest"] = json!(index.content().root().digest);
    nested["manifests"][0]["size"] = json!(index.content().root().bytes.len());
    let oci = "application/vnd.oci.image.manifest.v1+json";
    let schema_1 = json!({"schemaVersion": 1, "name": "octoperf/agent", "tag": "1", "fsLayers": [], "history": []});
    let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let cases = [
        (signed, schema_1.to_string(), "schema 1"),
        ("application/json", schema_1.to_string(), "schema 1"),
        (oci, with_foreign.to_string(), "foreign layer"),
        (oci, with_foreign.to_string(), "https://mcr.microsoft.com/v2/windows/layer"),
        (INDEX, nested.to_string(), "an index within an index"),
    ];
    for (media_type, text, expected) in cases {
        let release = Release::of(&[&image]);
        release.registry.add(&index);
        release.registry.replace_manifest("octoperf/agent", "1", media_type, text.as_bytes());
        let failed = release.pull("release.tar").run();
        assert!(failed.stderr.contains(expected), "{expected}: {}", failed.stderr);
        assert!(!failed.stderr.contains("panicked"), "{}", failed.stderr);
        failed.assert_code(INPUT);
        assert!(!release.site.path("release.tar.partial").exists(), "nothing is begun for it");
    }
}

#[test]
fn what_is_no_image_manifest_is_refused_and_what_sent_it_is_named() {
    let oci = "application/vnd.oci.image.manifest.v1+json";
    for text in ["", "{", "[]", "{\"schemaVersion\":2}", "<html>please log in</html>"] {
        let release = Release::of(&[&agent()]);
        release.registry.replace_manifest("octoperf/agent", "1", oci, text.as_bytes());
        let failed = release.resolve().args(["--retry-for", "0"]).run();
        assert!(failed.stderr.contains(release.name(0)), "{text}: {}", failed.stderr);
        assert!([INPUT, NETWORK, INTEGRITY].contains(&failed.code.expect("it ends by itself")), "{text}: {failed:?}");
    }
}

#[test]
fn a_locked_pull_fetches_what_was_resolved_though_the_tag_has_moved() {
    let release = Release::of(&[&agent()]);
    let lock = resolve_to_lock(&release, &[]);
    let moved = agent().layer(b"a newer build");
    release.registry.add(&moved);
    let pull = |output: &str| release.site.octobundle(["pull", "--locked", "release.lock", "-o", output]);
    pull("locked.tar").run().assert_ok();
    let inside = release.site.octobundle(["inspect", "locked.tar", "--lock"]).run().assert_ok();
    assert_eq!(inside.json(), lock);
    assert_eq!(inside.stdout.as_bytes(), release.site.read("release.lock"));
    let tags = release.registry.requests().iter().filter(|request| request.path.ends_with("/manifests/1")).count();
    assert_eq!(tags, 1, "the tag was asked for by `resolve` only");
    assert_ne!(resolve_to_lock(&release, &[]), lock, "the tag did move");
}

#[test]
fn a_locked_pull_gives_the_same_file_as_the_pull_it_was_made_for() {
    for flags in [&["--platform", "all"][..], &["--platform", "linux/amd64", "--platform", "linux/arm64"], &[]] {
        let release = Release::of(&[&three_platforms(), &agent().named("octoperf/jmeter:5")]);
        release.site.write("release.yaml", manifest(&[release.name(0).to_owned()]));
        resolve_to_lock(&release, flags);
        release.site.octobundle(["pull", "--locked", "release.lock", "-o", "locked.tar"]).run().assert_ok();
        release.pull("release.tar").args(flags).run().assert_ok();
        assert!(release.site.read("locked.tar") == release.site.read("release.tar"), "{flags:?}");
    }
}

#[test]
fn a_locked_pull_fails_when_something_of_it_is_gone() {
    let image = agent();
    let release = Release::of(&[&image]);
    resolve_to_lock(&release, &[]);
    let layer = image.content().root().json()["layers"][1]["digest"].as_str().expect("it has two").to_owned();
    release.registry.remove_blob(&layer);
    let pull = ["pull", "--locked", "release.lock", "-o", "release.tar"];
    let failed = release.site.octobundle(pull).run().assert_code(NOT_FOUND);
    assert!(failed.stderr.contains(&layer[7..19]), "{}", failed.stderr);
    assert!(!release.site.path("release.tar").exists());

    let empty = MemoryRegistry::start();
    let text = String::from_utf8(release.site.read("release.lock")).expect("a lock is text");
    release.site.write("release.lock", text.replace(&release.registry.host(), &empty.host()));
    let failed = release.site.octobundle(pull).run().assert_code(NOT_FOUND);
    let digest = image.content().root().digest.clone();
    assert!(failed.stderr.contains(&digest), "{}", failed.stderr);
}

#[test]
fn a_lock_whose_types_or_lists_were_edited_is_refused() {
    let release = Release::of(&[&three_platforms()]);
    let pull = || release.site.octobundle(["pull", "--locked", "release.lock", "-o", "release.tar"]).run();
    let resolved = |flags: &[&str]| {
        let resolved = release.resolve().args(flags).args(["--lock", "fresh.lock"]).run().assert_ok();
        drop(resolved);
        serde_json::from_slice::<Value>(&release.site.read("fresh.lock")).expect("a lock is JSON")
    };
    for (flags, place, kind) in [
        (&["--platform", "all"][..], "/images/0/root/media_type", "manifest.list"),
        (&["--platform", "all"], "/images/0/platforms/0/manifest/media_type", "manifest"),
        (&["--platform", "linux/amd64", "--platform", "linux/arm64"], "/images/0/root/media_type", "manifest.list"),
        (&[], "/images/0/platforms/0/manifest/media_type", "manifest"),
        (&[], "/images/0/root/media_type", "manifest"),
    ] {
        let mut lock = resolved(flags);
        let other = format!("application/vnd.docker.distribution.{kind}.v2+json");
        let stated = lock.pointer_mut(place).expect("locks have it");
        assert_ne!(*stated, other, "nothing would be edited");
        *stated = other.into();
        release.site.write("release.lock", lock.to_string());
        let failed = pull().assert_code(INPUT);
        assert!(failed.stderr.contains("does not agree with itself"), "{flags:?} {place}: {}", failed.stderr);
    }
    // An image manifest less than the index lists.
    let mut lock = resolved(&["--platform", "all"]);
    lock["images"][0]["platforms"].as_array_mut().expect("it is a list").remove(1);
    release.site.write("release.lock", lock.to_string());
    let failed = pull().assert_code(INPUT);
    assert!(failed.stderr.contains("lists other image manifests"), "{}", failed.stderr);
    assert!(!release.site.path("release.tar").exists());
}

#[test]
fn an_index_without_images_is_named_as_such() {
    for flags in [&["--platform", "all"][..], &[]] {
        let release = Release::of(&[&TestIndex::new("octoperf/agent:1")]);
        let failed = release.resolve().args(flags).run().assert_code(NOT_FOUND);
        assert!(failed.stderr.contains("lists no image"), "{}", failed.stderr);
        assert!(!failed.stderr.contains("--lock"), "it is no question of a lock: {}", failed.stderr);
    }
}

#[test]
fn other_bytes_than_the_locked_ones_are_refused() {
    let image = agent();
    let release = Release::of(&[&image]);
    resolve_to_lock(&release, &[]);
    let root = image.content().root().clone();
    let other = image.layer(b"not what was locked").content();
    release.registry.replace_manifest("octoperf/agent", &root.digest, &root.media_type, &other.root().bytes);
    let pull = ["pull", "--locked", "release.lock", "-o", "release.tar"];
    release.site.octobundle(pull).run().assert_code(INTEGRITY);
    assert!(!release.site.path("release.tar").exists());
}

#[test]
fn a_lock_that_disagrees_with_itself_is_refused() {
    let release = Release::of(&[&agent()]);
    let lock = resolve_to_lock(&release, &[]);
    let mut two_sizes = lock.clone();
    two_sizes["images"][0]["platforms"][0]["layers"][0]["size"] = json!(1);
    let mut twice = lock.clone();
    twice["images"] = json!([lock["images"][0], lock["images"][0]]);
    let mut newer = lock.clone();
    newer["schema"] = json!("octobundle/lock/v9");
    let mut unknown = lock.clone();
    unknown["images"][0]["size"] = json!(1);
    let mut no_digest = lock.clone();
    no_digest["images"][0]["root"]["digest"] = json!("sha256:../../x");
    for (broken, expected) in [
        (two_sizes.to_string(), "the lock"),
        (twice.to_string(), "twice"),
        (newer.to_string(), "octobundle/lock/v9"),
        (unknown.to_string(), "size"),
        (no_digest.to_string(), "the lock"),
        (String::new(), "the lock"),
        ("schema: octobundle/v1".to_owned(), "the lock"),
    ] {
        release.site.write("broken.lock", &broken);
        let pull = ["pull", "--locked", "broken.lock", "-o", "release.tar"];
        let failed = release.site.octobundle(pull).run().assert_code(INPUT);
        assert!(failed.stderr.contains(expected) && failed.stderr.contains("help:"), "{expected}: {}", failed.stderr);
    }
    let both = ["pull", "release.yaml", "--locked", "release.lock", "-o", "release.tar"];
    release.site.octobundle(both).run().assert_code(USAGE);
}

#[test]
fn a_lock_is_replaced_in_one_step_and_names_what_could_not_be_written() {
    let release = Release::of(&[&agent()]);
    let older = resolve_to_lock(&release, &[]);
    release.registry.add(&agent().layer(b"newer"));
    let lock = resolve_to_lock(&release, &[]);
    assert_ne!(lock["images"], older["images"], "the newer one stands in its place");
    assert_eq!(lock["schema"], "octobundle/lock/v1");
    let failed = release.resolve().args(["--lock", "missing/release.lock"]).run();
    assert!(failed.stderr.contains("missing/release.lock"), "{}", failed.stderr);
    assert_ne!(failed.code, Some(0));
}

#[test]
fn a_mirror_is_asked_instead_and_names_stay() {
    let mirror = MemoryRegistry::start();
    mirror.add(&TestImage::new("hub/library/redis:7").layer(b"redis"));
    mirror.add(&TestImage::new("hub/octoperf/jmeter:5.6.3").layer(b"jmeter"));
    let site = Site::new();
    let names = ["redis:7", "index.docker.io/octoperf/jmeter:5.6.3"].map(str::to_owned);
    site.write("release.yaml", manifest(&names));
    let flag = format!("docker.io={}/hub", mirror.host());
    let resolve = ["resolve", "release.yaml", "--mirror", &flag, "--lock", "release.lock"];
    site.octobundle(resolve).run().assert_ok();
    let lock: Value = serde_json::from_slice(&site.read("release.lock")).expect("a lock is JSON");
    let images = lock["images"].as_array().expect("it lists images");
    assert_eq!(images[0]["name"], "docker.io/library/redis:7");
    assert_eq!(images[1]["name"], "docker.io/octoperf/jmeter:5.6.3");
    assert_eq!(images[0]["source"], format!("{}/hub/library/redis", mirror.host()), "the lock says who was asked");
    let asked: Vec<String> = mirror.requests().iter().map(|request| request.path.clone()).collect();
    assert!(asked.contains(&"/v2/hub/library/redis/manifests/7".to_owned()), "{asked:?}");
    assert_eq!(digests(images.iter().map(|image| &image["root"])).len(), 2);
}

/// Takes one connection for itself, refuses what is asked, and gives the first line of it.
fn refusing_proxy() -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    let first = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a client connects");
        let mut line = String::new();
        BufReader::new(&connection).read_line(&mut line).expect("a client speaks");
        // A client that has gone already is told nothing.
        connection.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok();
        line.trim_end().to_owned()
    });
    (address, first)
}

#[test]
fn every_spelling_of_docker_hub_asks_its_api_host() {
    for name in ["redis:7", "docker.io/redis:7", "registry.hub.docker.com/octoperf/jmeter:1", "index.docker.io/a/b:1"] {
        let site = Site::new();
        site.write("release.yaml", manifest(&[name.to_owned()]));
        let (proxy, asked) = refusing_proxy();
        let failed = site.octobundle(["resolve", "release.yaml", "--retry-for", "0", "--proxy", &proxy]).run();
        assert_eq!(asked.join().expect("it takes one connection"), "CONNECT registry-1.docker.io:443 HTTP/1.1");
        assert!(failed.stderr.contains("docker.io"), "{}", failed.stderr);
        assert!([Some(NETWORK), Some(4)].contains(&failed.code), "{failed:?}");
    }
}

#[test]
fn nothing_is_fetched_before_the_manifest_is_sound() {
    let release = Release::of(&[&agent()]);
    let good = manifest(&[release.name(0).to_owned()]);
    let broken = [
        good.replace("title:", "titel:"),
        good.replace("role:", "rolle:"),
        good.replace("schema: octobundle/v1", "schema: octobundle/v9"),
        good.replace("agent:1", "Agent:1"),
        good.replace("agent:1", "agent:${tag}"),
        good.clone() + "release: twice\n",
        good.clone() + "platforms: [1.10]\n",
        good.clone() + "images: [\n",
        format!("{good}  - image: {}\n", release.name(0)),
        good.replace("images:", "images: &a [*a]\nother:"),
        good.replace("A sample release", "!!binary x"),
        format!("{good}#{}", "x".repeat(1024 * 1024)),
        String::new(),
    ];
    for text in broken {
        release.site.write("release.yaml", &text);
        for command in [&["resolve", "release.yaml"][..], &["pull", "release.yaml", "-o", "release.tar"]] {
            let failed = release.site.octobundle(command).run();
            assert!(failed.stderr.contains("error:"), "{}", failed.stderr);
            failed.assert_code(INPUT);
        }
    }
    assert_eq!(release.registry.requests().len(), 0);
    assert!(!release.site.path("release.tar.partial").exists());
}

#[test]
fn a_mistake_is_shown_where_it_stands() {
    let release = Release::of(&[&agent()]);
    let text = manifest(&[release.name(0).to_owned()]).replace("role:", "rolle:");
    release.site.write("release.yaml", &text);
    let failed = release.resolve().run().assert_code(INPUT);
    for part in ["release.yaml:6:5", "rolle", "`role`"] {
        assert!(failed.stderr.contains(part), "{part}: {}", failed.stderr);
    }
}

#[test]
fn variables_and_groups_are_chosen_on_the_command_line() {
    let release = Release::of(&[&agent(), &agent().named("octoperf/jmeter:5")]);
    let host = release.registry.host();
    release.site.write(
        "release.yaml",
        format!(
            "schema: octobundle/v1\nrelease: sample-1\ntitle: t\nvariables:\n  tag:\nimages:\n  \
             - image: {host}/octoperf/agent:${{tag}}\n    role: agent\n    groups: [agent]\n  \
             - image: {host}/octoperf/jmeter:5\n    role: load-generator\n    groups: [infra]\n"
        ),
    );
    let run = |flags: &[&str]| release.resolve().args(flags).arg("--json").run();
    let unset = release.resolve().run();
    assert!(unset.stderr.contains("--set tag=") && unset.stderr.contains("sample-1"), "{}", unset.stderr);
    unset.assert_code(USAGE);
    let both = run(&["--set", "tag=1"]).assert_ok().json();
    assert_eq!(both["images"].as_array().map(Vec::len), Some(2));
    let one = run(&["--set", "tag=1", "--group", "agent"]).assert_ok().json();
    assert_eq!(one["images"][0]["name"], format!("{host}/octoperf/agent:1"));
    assert_eq!(one["images"].as_array().map(Vec::len), Some(1));
    run(&["--group", "infra"]).assert_ok();
    let nothing_asked = release.registry.requests().len();
    for (flags, expected) in [
        (&["--set", "tag=1", "--group", "infar"][..], "infra"),
        (&["--set", "tga=1"], "tag"),
        (&["--set", "tag"], "--set"),
        (&["--set", "tag=1", "--set", "tag=2"], "twice"),
        (&["--set", "tag=a b"], "tag"),
        (&["--set", "tag=1", "--platform", "amd64"], "linux/amd64"),
        (&["--set", "tag=1", "--platform", "all", "--platform", "linux/amd64"], "all"),
    ] {
        let failed = release.resolve().args(flags).run();
        assert!(failed.stderr.contains(expected), "{flags:?}: {}", failed.stderr);
        failed.assert_code(USAGE);
    }
    assert_eq!(release.registry.requests().len(), nothing_asked, "nothing is fetched for a wrong command line");
}

#[test]
fn an_image_that_is_not_there_is_named() {
    let release = Release::of(&[&agent()]);
    let absent = format!("{}/octoperf/agent:2", release.registry.host());
    release.site.write("release.yaml", manifest(&[release.name(0).to_owned(), absent.clone()]));
    let failed = release.resolve().args(["--lock", "release.lock"]).run().assert_code(NOT_FOUND);
    assert!(failed.stderr.contains(&absent), "{}", failed.stderr);
    assert!(!release.site.path("release.lock").exists());
    let unknown = release.site.octobundle(["resolve", "octoperf-9.2.1"]).run();
    assert!(unknown.stderr.contains("octoperf-9.2.0"), "a near name is suggested: {}", unknown.stderr);
    unknown.assert_code(USAGE);
}

#[test]
fn an_index_of_endless_documents_is_refused_before_it_fills_the_memory() {
    let registry = MemoryRegistry::start();
    // Blanks are JSON too: forty manifests of two megabytes each.
    let images = (0..40).map(|number| TestImage::new("octoperf/agent:1").layer(format!("layer {number}").as_bytes()));
    let index = images.fold(TestIndex::new("octoperf/agent:1"), TestIndex::image);
    let name = registry.add(&index);
    let content = index.content();
    let mut root = content.root().json();
    for entry in root["manifests"].as_array_mut().expect("it is an index") {
        let digest = entry["digest"].as_str().expect("digests are text").to_owned();
        let document = content.documents.iter().find(|document| document.digest == digest).expect("it is there");
        let mut large = document.bytes.clone();
        large.resize(2_000_000, b' ');
        entry["digest"] = support::images::digest(&large).into();
        entry["size"] = large.len().into();
        let reference = entry["digest"].as_str().expect("it was just written");
        registry.replace_manifest("octoperf/agent", reference, &document.media_type, &large);
    }
    let kind = &content.root().media_type;
    registry.replace_manifest("octoperf/agent", "1", kind, root.to_string().as_bytes());
    let site = Site::new();
    site.write("release.yaml", manifest(&[name]));
    let refused = site.octobundle(["resolve", "release.yaml", "--platform", "all"]).run().assert_code(3);
    assert!(refused.stderr.contains("67108864 bytes"), "{}", refused.stderr);
}
