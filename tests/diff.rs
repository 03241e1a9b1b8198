//! `octobundle diff`: bundles, locks and registries compared.

mod support;

use serde_json::Value;
use support::cli::Run;
use support::images::{Sample, TestImage, TestIndex};
use support::memory_registry::MemoryRegistry;
use support::release::{Release, manifest};

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 6;
const DIFFERS: i32 = 13;

fn kept() -> TestImage {
    TestImage::new("octoperf/kept:1").layer(b"kept")
}

fn gone() -> TestImage {
    TestImage::new("octoperf/gone:1").layer(b"gone")
}

fn new() -> TestImage {
    TestImage::new("octoperf/new:1").layer(b"new")
}

/// Two layers; in the later release the small one is another.
fn changing(seed: u64) -> TestImage {
    TestImage::new("octoperf/changing:1").random_layer(1, 100_000).random_layer(seed, 3_000)
}

/// The bundles `old.tar` and `new.tar` of two releases, and their locks.
fn two_releases() -> Release {
    let release = Release::of(&[&kept(), &gone(), &changing(2)]);
    release.resolve().args(["--lock", "old.lock"]).run().assert_ok();
    release.pull("old.tar").run().assert_ok();
    let names = [&kept() as &dyn Sample, &changing(3), &new()].map(|sample| release.registry.add(sample));
    release.site.write("release.yaml", manifest(&names));
    release.resolve().args(["--lock", "new.lock"]).run().assert_ok();
    release.pull("new.tar").run().assert_ok();
    release
}

fn diff(release: &Release, first: &str, second: &str) -> Run {
    release.site.octobundle(["diff", first, second, "--json"])
}

/// Bytes of everything that an image is made of.
fn bytes(sample: &dyn Sample, counts: impl Fn(&str) -> bool) -> u64 {
    let content = sample.content();
    let documents = content.documents.iter().map(|document| (document.digest.clone(), document.bytes.len()));
    let blobs = content.blobs.iter().map(|(digest, bytes)| (digest.clone(), bytes.len()));
    documents.chain(blobs).filter(|(digest, _)| counts(digest)).map(|(_, bytes)| bytes as u64).sum()
}

#[track_caller]
fn assert_is_the_difference(release: &Release, report: &Value) {
    let host = release.registry.host();
    assert_eq!(report["differ"], true);
    assert_eq!(report["added"], serde_json::json!([format!("{host}/octoperf/new:1")]));
    assert_eq!(report["removed"], serde_json::json!([format!("{host}/octoperf/gone:1")]));
    assert_eq!(report["same_images"], 1);
    assert_eq!(report["moved"][0]["name"], format!("{host}/octoperf/changing:1"));
    assert_eq!(report["moved"][0]["from"], changing(2).content().root().digest);
    assert_eq!(report["moved"][0]["to"], changing(3).content().root().digest);
    let shared = |digest: &str| changing(2).content().blobs.contains_key(digest);
    let moved = bytes(&changing(3), |digest| !shared(digest));
    assert_eq!(report["moved"][0]["new_bytes"], moved);
    assert_eq!(report["new_bytes"], moved + bytes(&new(), |_| true));
    let stays = |digest: &str| changing(3).content().blobs.contains_key(digest);
    assert_eq!(report["gone_bytes"], bytes(&changing(2), |digest| !stays(digest)) + bytes(&gone(), |_| true));
    assert_eq!(report["shared_bytes"], bytes(&kept(), |_| true) + bytes(&changing(3), shared));
    // Manifest, configuration and one layer of each of two images.
    assert_eq!((&report["new_blobs"], &report["gone_blobs"]), (&6.into(), &6.into()));
}

#[test]
fn added_removed_and_moved_images_are_told_with_their_bytes() {
    let release = two_releases();
    for (first, second) in [("old.tar", "new.tar"), ("old.lock", "new.lock"), ("old.tar", "new.lock")] {
        let report = diff(&release, first, second).run().assert_code(DIFFERS).json();
        assert_is_the_difference(&release, &report);
    }
    let text = release.site.octobundle(["diff", "old.tar", "new.tar"]).run().assert_code(DIFFERS).stdout;
    for line in ["removed  ", "added    ", "moved    ", "1 added, 1 removed, 1 moved, 1 the same"] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn what_is_the_same_ends_with_0() {
    let release = two_releases();
    for (first, second) in [("old.tar", "old.lock"), ("new.lock", "new.lock")] {
        let report = diff(&release, first, second).run().assert_ok().json();
        assert_eq!(
            (&report["differ"], &report["new_bytes"], &report["gone_bytes"]),
            (&false.into(), &0.into(), &0.into())
        );
        assert_eq!(report["same_images"], 3);
    }
}

#[test]
fn a_registry_is_seen_through_the_names_that_push_gives() {
    let release = two_releases();
    let private = MemoryRegistry::start();
    let target = format!("{}/tools", private.host());
    let empty = diff(&release, "old.lock", &target).run().assert_code(DIFFERS).json();
    assert_eq!(empty["removed"].as_array().map(Vec::len), Some(3));
    release.site.octobundle(["push", "old.tar", "--registry", &target]).run().assert_ok();
    diff(&release, "old.tar", &target).run().assert_ok();
    diff(&release, &target, "old.lock").run().assert_ok();

    // The registry has `gone` too, but the new release does not ask for it.
    let report = diff(&release, &target, "new.lock").run().assert_code(DIFFERS).json();
    let host = release.registry.host();
    assert_eq!(report["added"], serde_json::json!([format!("{host}/octoperf/new:1")]));
    assert_eq!((&report["removed"], &report["same_images"]), (&serde_json::json!([]), &1.into()));
    assert_eq!(report["moved"][0]["from"], changing(2).content().root().digest);
    let had = |digest: &str| changing(2).content().blobs.contains_key(digest);
    assert_eq!(report["moved"][0]["new_bytes"], bytes(&changing(3), |digest| !had(digest)));
    assert_eq!(
        private.requests().iter().filter(|request| request.reads_blob()).count(),
        1,
        "one configuration is read"
    );
}

#[test]
fn two_names_that_moved_to_one_image_are_compared() {
    let two = |seed| [1, 2].map(|tag| changing(seed).named(&format!("octoperf/two:{tag}")));
    let [first, second] = two(2);
    let release = Release::of(&[&first, &second]);
    release.resolve().args(["--lock", "old.lock"]).run().assert_ok();
    let private = MemoryRegistry::start();
    for image in two(3) {
        private.add(&image);
    }
    let report = diff(&release, "old.lock", &private.host()).run().assert_code(DIFFERS).json();
    assert_eq!(report["moved"].as_array().map(Vec::len), Some(2));
}

#[test]
fn an_index_of_a_registry_is_compared_with_all_that_it_lists() {
    let image = |layer: &[u8]| TestImage::new("-:-").layer(layer);
    let index = |layer: &[u8]| TestIndex::new("octoperf/many:1").image(image(layer)).attested();
    let release = Release::of(&[&index(b"one")]);
    release.site.octobundle(["resolve", "release.yaml", "--platform", "all", "--lock", "old.lock"]).run().assert_ok();
    let private = MemoryRegistry::start();
    private.add(&index(b"two"));
    let report = diff(&release, "old.lock", &private.host()).run().assert_code(DIFFERS).json();
    assert_eq!(report["moved"][0]["to"], index(b"two").content().root().digest);
    let old = index(b"one").content();
    let had =
        |digest: &str| old.blobs.contains_key(digest) || old.documents.iter().any(|document| document.digest == digest);
    assert_eq!(report["new_bytes"], bytes(&index(b"two"), |digest| !had(digest)));
}

#[test]
fn what_cannot_be_compared_is_said() {
    let release = two_releases();
    for (first, second, code, part) in [
        ("old.tar", "missing.tar", NOT_FOUND, "missing.tar"),
        ("old.tar", "nowhere", USAGE, "no file, and no place in a registry"),
        ("reg.test/a", "reg.test/b", USAGE, "both registries"),
        ("old.tar", "release.yaml", 3, "release manifest"),
    ] {
        let refused = release.site.octobundle(["diff", first, second]).run().assert_code(code);
        assert!(refused.stderr.contains(part) && refused.stderr.contains("help:"), "{}", refused.stderr);
        assert_eq!(refused.stdout, "");
    }
}
