//! A pull continues what an earlier one left, even when the set of images has changed in between.

mod support;

use support::cli::Site;
use support::images::{Sample as _, TestImage};
use support::memory_registry::{Fault, MemoryRegistry};

fn manifest(images: &[String]) -> String {
    let entry = |name: &String| format!("  - image: {name}\n    role: agent\n");
    let images = images.iter().map(entry).collect::<Vec<_>>().concat();
    format!("schema: octobundle/v1\nrelease: sample-1\ntitle: Sample\nimages:\n{images}")
}

#[test]
fn a_tag_that_moved_since_the_last_run_costs_only_what_is_new() {
    let registry = MemoryRegistry::start();
    let base = TestImage::new("octoperf/agent:1").random_layer(1, 3_000_000);
    let old = base.clone().random_layer(2, 200_000);
    let names = [registry.add(&old), registry.add(&TestImage::new("octoperf/other:1").random_layer(3, 100_000))];
    let site = Site::new();
    site.write("release.yaml", manifest(&names));

    lose_layer(&registry, &TestImage::new("octoperf/other:1").random_layer(3, 100_000));
    site.octobundle(["pull", "release.yaml", "-o", "out.tar"]).run().assert_code(10);
    assert!(!site.path("out.tar").exists(), "a bundle that lacks something has no final name");
    assert!(site.path("out.tar.partial").exists(), "what came is kept");

    let moved = base.random_layer(4, 150_000);
    registry.add(&moved);
    site.write("release.yaml", manifest(&names[..1]));
    registry.forget_requests();
    let before = registry.blob_bytes_sent();
    site.octobundle(["pull", "release.yaml", "-o", "out.tar"]).run().assert_ok();
    let sent = registry.blob_bytes_sent() - before;
    assert!(sent < 400_000, "only the new layer and documents travel, {sent} bytes did");
    site.octobundle(["verify", "out.tar"]).run().assert_ok();
    assert_eq!(files_of(&site), ["out.tar", "out.tar.sha256"]);
}

#[test]
fn a_fresh_pull_takes_nothing_over() {
    let registry = MemoryRegistry::start();
    let image = TestImage::new("octoperf/agent:1").random_layer(1, 1_000_000);
    let names = [registry.add(&image), registry.add(&TestImage::new("octoperf/other:1").random_layer(2, 50_000))];
    let site = Site::new();
    site.write("release.yaml", manifest(&names));
    lose_layer(&registry, &TestImage::new("octoperf/other:1").random_layer(2, 50_000));
    site.octobundle(["pull", "release.yaml", "-o", "out.tar"]).run().assert_code(10);

    site.write("release.yaml", manifest(&names[..1]));
    let before = registry.blob_bytes_sent();
    site.octobundle(["pull", "release.yaml", "-o", "out.tar", "--fresh"]).run().assert_ok();
    assert!(registry.blob_bytes_sent() - before > 1_000_000, "everything travels again");
    assert_eq!(files_of(&site), ["out.tar", "out.tar.sha256"], "nothing is left of the run before");
}

/// The registry says that the image's one layer is not there.
fn lose_layer(registry: &MemoryRegistry, image: &TestImage) {
    let content = image.content();
    let layer = content.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).expect("it has blobs").0;
    registry.fault(Fault::on("GET", &format!("/blobs/{layer}")).times(100).answer(404));
}

/// What the pulls of `out.tar` left in the folder.
fn files_of(site: &Site) -> Vec<String> {
    let entries = std::fs::read_dir(site.path(".")).expect("the folder is there");
    let names = entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("out.tar")).collect();
    names.sort();
    names
}
