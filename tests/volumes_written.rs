//! A bundle is written in volumes directly, and an existing one cut and joined.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use octobundle::bundle::Bundle;
use octobundle::oci::Digest;
use serde_json::{Value, json};
use support::cli::Run;
use support::images::{Sample as _, TestImage};
use support::memory_registry::Fault;
use support::release::Release;

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 6;
const INTEGRITY: i32 = 7;
const DISK: i32 = 9;
const PARTIAL: i32 = 10;
/// The tests' volumes: a layer of 300,000 bytes lies in several of them.
const SIZE: usize = 100_000;

fn agent() -> TestImage {
    TestImage::new("octoperf/agent:1").random_layer(1, 300_000)
}

fn jmeter() -> TestImage {
    TestImage::new("octoperf/jmeter:5").random_layer(2, 150_000).random_layer(3, 700)
}

fn release() -> Release {
    let release = Release::of(&[&agent(), &jmeter()]);
    fs::create_dir(release.site.path("set")).unwrap();
    release
}

fn pull(release: &Release, size: usize, output: &str) -> Run {
    release.site.octobundle(["pull", "release.yaml", "-o", output, "--volume-size", &size.to_string()])
}

fn names_in(release: &Release, folder: &str) -> BTreeSet<String> {
    let names = fs::read_dir(release.site.path(folder)).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn set_of(stem: &str, count: usize) -> BTreeSet<String> {
    let volumes = (1..=count).map(|number| format!("{stem}.tar.{number:03}"));
    volumes.chain([format!("{stem}.volumes.json"), format!("{stem}.sha256")]).collect()
}

/// Asserts that a folder holds exactly these bytes as a set of volumes, described as `docs/bundle-format.md` says.
#[track_caller]
fn assert_set(release: &Release, folder: &str, whole: &[u8], size: usize) {
    let count = whole.len().div_ceil(size);
    assert_eq!(names_in(release, folder), set_of("x", count));
    let mut volumes = Vec::new();
    for (index, expected) in whole.chunks(size).enumerate() {
        let name = format!("x.tar.{:03}", index + 1);
        assert!(release.site.read(&format!("{folder}/{name}")) == expected, "{name} has other bytes");
        let edge = expected.len().min(4096);
        let begins = Digest::of(&expected[..edge]).to_string();
        let ends = Digest::of(&expected[expected.len() - edge..]).to_string();
        let digest = Digest::of(expected).to_string();
        volumes.push(json!({"name": name, "size": expected.len(), "digest": digest, "begins": begins, "ends": ends}));
    }
    let description: Value = serde_json::from_slice(&release.site.read(&format!("{folder}/x.volumes.json"))).unwrap();
    let id = Bundle::open(release.site.path(folder)).unwrap().layout().id().to_string();
    let expected = json!({
        "format": "octobundle/volumes/v1", "bundle": id, "release": "sample-1", "bytes": whole.len(), "count": count,
        "volumes": volumes,
    });
    assert_eq!(description, expected);
    let checked = Command::new("sha256sum").args(["-c", "x.sha256"]).current_dir(release.site.path(folder)).output();
    let checked = checked.expect("sha256sum is there");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert_eq!(String::from_utf8_lossy(&checked.stdout).lines().count(), count);
}

#[test]
fn a_pull_in_volumes_writes_the_one_file_cut() {
    let release = release();
    let whole = release.bundle();
    for jobs in ["1", "8"] {
        pull(&release, SIZE, "set/x.tar").args(["--replace", "--jobs", jobs]).run().assert_ok();
        assert_set(&release, "set", &whole, SIZE);
        release.site.octobundle(["verify", "set"]).run().assert_ok();
    }
    let joined = release.site.run(Path::new("sh"), ["-c", "cat set/x.tar.* > joined.tar"]);
    joined.run().assert_ok();
    assert!(release.site.read("joined.tar") == whole);
}

#[test]
fn what_a_pull_in_volumes_reports_are_the_volumes() {
    let release = release();
    let told = pull(&release, SIZE, "set/x.tar").arg("--json").run().assert_ok().json();
    let volumes = told["volumes"].as_array().unwrap();
    assert_eq!(volumes.len(), 5);
    assert!(told.get("sha256").is_none(), "{told}");
    let second = release.site.read("set/x.tar.002");
    assert_eq!(volumes[1], json!({"path": "set/x.tar.002", "size": SIZE, "sha256": Digest::of(&second).hex()}));
}

/// Makes a run fail after the first image, so that it leaves something to continue.
fn stop_half_way(release: &Release, size: usize) {
    let small = Digest::of(&jmeter().content().blobs.values().max_by_key(|bytes| bytes.len()).unwrap()[..]);
    release.registry.fault(Fault::on("GET", &format!("/blobs/{small}")).times(100).answer(404));
    pull(release, size, "set/x.tar").run().assert_code(PARTIAL);
    release.registry.heal();
    let names = names_in(release, "set");
    assert!(!names.contains("x.tar.001") && !names.contains("x.volumes.json"), "{names:?}");
}

#[test]
fn a_pull_in_volumes_that_was_stopped_is_continued() {
    let release = release();
    let whole = release.bundle();
    stop_half_way(&release, SIZE);
    for place in ["set/x.tar", "set"] {
        let refused = release.site.octobundle(["verify", place]).run().assert_code(INTEGRITY);
        assert!(refused.stderr.contains("is what a pull has so far, not a bundle"), "{}", refused.stderr);
    }
    let before = release.registry.blob_bytes_sent();
    pull(&release, SIZE, "set/x.tar").run().assert_ok();
    let sent = release.registry.blob_bytes_sent() - before;
    assert!(sent < 200_000, "the large layer was here, {sent} bytes travelled");
    assert_set(&release, "set", &whole, SIZE);
}

#[test]
fn what_was_fetched_is_taken_over_into_volumes_of_another_length_or_into_one_file() {
    let release = release();
    let whole = release.bundle();
    stop_half_way(&release, SIZE);
    let before = release.registry.blob_bytes_sent();
    pull(&release, 70_000, "set/x.tar").run().assert_ok();
    let sent = release.registry.blob_bytes_sent() - before;
    assert!(sent < 200_000, "the large layer was here, {sent} bytes travelled");
    assert_set(&release, "set", &whole, 70_000);
    for name in names_in(&release, "set") {
        fs::remove_file(release.site.path(&format!("set/{name}"))).unwrap();
    }

    stop_half_way(&release, SIZE);
    let before = release.registry.blob_bytes_sent();
    release.pull("set/x.tar").run().assert_ok();
    let sent = release.registry.blob_bytes_sent() - before;
    assert!(sent < 200_000, "the large layer was here, {sent} bytes travelled");
    assert_eq!(names_in(&release, "set"), ["x.tar", "x.tar.sha256"].map(str::to_owned).into());
    assert!(release.site.read("set/x.tar") == whole);
}

#[test]
fn volumes_that_exist_are_refused_and_replaced_only_on_request() {
    let release = release();
    let whole = release.bundle();
    for name in ["x.volumes.json", "x.sha256", "x.tar.001", "x.tar.900", "x.tar"] {
        release.site.write(&format!("set/{name}"), "mine");
        let before = release.registry.requests().len();
        let refused = pull(&release, SIZE, "set/x.tar").run().assert_code(USAGE);
        assert!(refused.stderr.contains(&format!("set/{name}` exists already")), "{}", refused.stderr);
        assert_eq!(release.registry.requests().len(), before, "nothing was asked for it");
        assert_eq!(release.site.read(&format!("set/{name}")), b"mine");
        pull(&release, SIZE, "set/x.tar").arg("--replace").run().assert_ok();
        assert_set(&release, "set", &whole, SIZE);
        for name in names_in(&release, "set") {
            fs::remove_file(release.site.path(&format!("set/{name}"))).unwrap();
        }
    }
}

#[test]
fn no_volume_of_a_longer_set_and_no_other_form_stays_behind_a_new_bundle() {
    let release = release();
    let whole = release.bundle();
    pull(&release, SIZE, "set/x.tar").run().assert_ok();
    pull(&release, 200_000, "set/x.tar").run().assert_code(USAGE);
    pull(&release, 200_000, "set/x.tar").arg("--replace").run().assert_ok();
    assert_set(&release, "set", &whole, 200_000);
    release.pull("set/x.tar").run().assert_code(USAGE);
    release.pull("set/x.tar").arg("--replace").run().assert_ok();
    assert_eq!(names_in(&release, "set"), ["x.tar", "x.tar.sha256"].map(str::to_owned).into());
    pull(&release, SIZE, "set/x.tar").run().assert_code(USAGE);
    pull(&release, SIZE, "set/x.tar").arg("--replace").run().assert_ok();
    assert_set(&release, "set", &whole, SIZE);
}

#[test]
fn d_05_volumes_are_written_where_a_file_of_their_length_may_be_and_refused_where_not() {
    let release = release();
    let run = |size: &str| {
        // Blocks of 512 bytes: files of 102,400 bytes at most.
        let pull = format!("pull release.yaml -o set/x.tar --volume-size {size}");
        let script = format!("ulimit -f 200; exec '{}' {pull}", support::cli::binary().display());
        release.site.run(Path::new("dash"), ["-c", &script]).run()
    };
    let refused = run("102401").assert_code(DISK);
    assert!(refused.stderr.contains("ulimit -f"), "{}", refused.stderr);
    assert_eq!(release.registry.blob_bytes_sent() / 100_000, 0, "no layer was fetched for it");
    run("102400").assert_ok();
    release.site.octobundle(["verify", "set"]).run().assert_ok();
}

#[test]
fn u_12_every_volume_checks_by_itself_and_those_that_did_not_arrive_are_listed() {
    let release = release();
    pull(&release, SIZE, "set/x.tar").run().assert_ok();
    let sums = String::from_utf8(release.site.read("set/x.sha256")).unwrap();
    for (index, line) in sums.lines().enumerate() {
        let name = format!("x.tar.{:03}", index + 1);
        let expected = Digest::of(&release.site.read(&format!("set/{name}"))).hex();
        assert_eq!(line, format!("{expected}  {name}"));
    }
    for name in ["x.tar.002", "x.tar.004"] {
        fs::remove_file(release.site.path(&format!("set/{name}"))).unwrap();
    }
    let lacking = release.site.octobundle(["verify", "set"]).run().assert_code(NOT_FOUND);
    assert!(lacking.stderr.contains("bring x.tar.002, x.tar.004,"), "{}", lacking.stderr);
}

#[test]
fn u_05_a_medium_that_goes_away_while_it_is_read_is_named() {
    if support::real::need("strace").is_none() {
        return;
    }
    let release = release();
    pull(&release, SIZE, "set/x.tar").run().assert_ok();
    for command in ["verify set", "split set --volume-size 65536 -o again.tar"] {
        for error in ["EIO", "ENODEV"] {
            let inject = format!("inject=pread64:error={error}:when=8+");
            let strace = release.site.run(Path::new("strace"), ["-f", "-qq", "-o", "trace", "-e", &inject]);
            let failed = strace.arg(support::cli::binary()).args(command.split(' ')).run();
            assert!(matches!(failed.code, Some(DISK | PARTIAL)), "{command}: {failed:?}");
            assert!(failed.stderr.contains("failed to read `set/x.tar.00"), "{command}: {}", failed.stderr);
            assert!(!release.site.path("again.tar.001").exists());
        }
    }
}

#[test]
fn a_bundle_is_split_and_joined_without_a_bit_changed() {
    let release = release();
    let whole = release.bundle();
    release.site.octobundle(["split", "release.tar", "--volume-size", "100000", "-o", "set/x.tar"]).run().assert_ok();
    assert_set(&release, "set", &whole, SIZE);
    // Volumes are cut anew as well, and a folder keeps the name.
    fs::create_dir(release.site.path("other")).unwrap();
    release.site.octobundle(["split", "set", "--volume-size", "70000", "-o", "other"]).run().assert_ok();
    assert_set(&release, "other", &whole, 70_000);
    let told = release.site.octobundle(["join", "other", "-o", "back.tar", "--json"]).run().assert_ok().json();
    assert!(release.site.read("back.tar") == whole);
    assert_eq!(told["sha256"], Digest::of(&whole).hex());
    // In the same folder both forms may stand: they are one bundle.
    release.site.octobundle(["join", "other", "-o", "other"]).run().assert_ok();
    assert!(release.site.read("other/x.tar") == whole);
    release.site.octobundle(["split", "other/x.tar", "--volume-size", "70000", "-o", "other"]).run().assert_code(USAGE);
}

#[test]
fn a_hidden_name_from_a_description_is_not_taken_into_a_folder() {
    let release = release();
    pull(&release, SIZE, "set/x.tar").run().assert_ok();
    let text = String::from_utf8(release.site.read("set/x.volumes.json")).unwrap();
    for name in names_in(&release, "set").iter().filter(|name| name.starts_with("x.tar")) {
        let hidden = name.replace("x.tar", ".profile");
        fs::rename(release.site.path(&format!("set/{name}")), release.site.path(&format!("set/{hidden}"))).unwrap();
    }
    release.site.write("set/x.volumes.json", text.replace("x.tar", ".profile"));
    let refused = release.site.octobundle(["join", "set", "-o", "."]).run().assert_code(USAGE);
    assert!(refused.stderr.contains("name a file instead"), "{}", refused.stderr);
    release.site.octobundle(["join", "set", "-o", "y.tar"]).run().assert_ok();
}

#[test]
fn a_damaged_bundle_is_neither_split_nor_joined() {
    let release = release();
    let mut whole = release.bundle();
    let layer = Bundle::open(release.site.path("release.tar")).unwrap().layout().layers()[0].clone();
    let place = usize::try_from(layer.start() + 250_000).unwrap();
    release.site.octobundle(["split", "release.tar", "--volume-size", "100000", "-o", "set/x.tar"]).run().assert_ok();
    let name = format!("set/x.tar.{:03}", place / SIZE + 1);
    let mut volume = release.site.read(&name);
    volume[place % SIZE] ^= 1;
    release.site.write(&name, volume);
    whole[place] ^= 1;
    release.site.write("release.tar", whole);
    for (command, from, output) in [("split", "release.tar", "cut.tar"), ("join", "set", "joined.tar")] {
        let mut words = vec![command, from, "-o", output];
        words.extend(if command == "split" { &["--volume-size", "100000"][..] } else { &[] });
        let failed = release.site.octobundle(words).run();
        assert!(matches!(failed.code, Some(INTEGRITY | PARTIAL)), "{failed:?}");
        assert!(failed.stderr.contains("octoperf/agent:1"), "{}", failed.stderr);
        let named = names_in(&release, ".");
        let named: Vec<_> = named.iter().filter(|name| name.starts_with("cut") || name.starts_with("joined")).collect();
        assert!(named.iter().all(|name| name.contains(".partial")), "{named:?}");
    }
}
