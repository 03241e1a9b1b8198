//! `octobundle load` into the real engines.

mod support;

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;
use support::cli::Run;
use support::images::{Sample as _, TestImage, TestIndex};
use support::real::{Docker, Podman, need_root, skipped};
use support::release::Release;
use support::update::Update;

const NETWORK: i32 = 5;
const NOT_FOUND: i32 = 6;
const INTEGRITY: i32 = 7;
const PRIVATE: &str = "reg.corp:5000/tools";

fn agent() -> TestImage {
    TestImage::new("octoperf/agent:1").layer(b"shared").random_layer(1, 100_000)
}

fn jmeter() -> TestImage {
    TestImage::new("octoperf/jmeter:5").docker().layer(b"shared").layer(b"jmeter")
}

fn proxy() -> TestImage {
    TestImage::new("octoperf/proxy:1").layer(b"proxy")
}

/// Two single images, and one of which two platforms are in the bundle.
fn release() -> Release {
    let other = proxy().platform("linux/arm64").layer(b"arm");
    let release =
        Release::of(&[&agent(), &jmeter(), &TestIndex::new("octoperf/proxy:1").image(proxy()).image(other).attested()]);
    release.pull("release.tar").args(["--platform", "all", "--quiet"]).run().assert_ok();
    release
}

fn load(release: &Release, engine: &str) -> Run {
    release.site.octobundle(["load", "release.tar", "--json", "--engine", engine, "--registry", PRIVATE])
}

/// Checks the report and gives each image's names with its id.
fn names(release: &Release, report: &Value) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for (place, sample) in [agent(), jmeter(), proxy()].into_iter().enumerate() {
        let told = &report["images"][place];
        let private = format!("{PRIVATE}/{}", sample.name());
        assert_eq!(told["name"], release.name(place));
        assert_eq!(told["private_name"], private.as_str());
        assert!(told["id"].as_str().is_some_and(|id| id.starts_with("sha256:")), "{told}");
        names.push((release.name(place).to_owned(), sample.config_digest()));
        names.push((private, sample.config_digest()));
    }
    names
}

#[test]
fn docker_has_every_image_under_both_names() {
    let Some(docker) = Docker::start() else { return };
    let release = release();
    for engine in ["docker", "auto"] {
        let report = load(&release, engine).env("DOCKER_HOST", docker.host()).run().assert_ok().json();
        for (name, id) in names(&release, &report) {
            let found = docker.run(&["image", "inspect", "--format", "{{.Id}}", &name]);
            assert_eq!(found.trim(), id, "{name}");
        }
        assert!(report["engine"].as_str().is_some_and(|engine| engine.starts_with("docker ")), "{report}");
    }
}

#[test]
fn docker_has_every_image_of_a_delta_whose_base_is_given_and_none_without_it() {
    let Some(docker) = Docker::start() else { return };
    let update = Update::start();
    let delta = update.delta();
    update.run("split update.tar --volume-size 65536 -o cut.tar").run().assert_ok();
    let load =
        |words: &str| update.run(&format!("load {words} --engine docker --json")).env("DOCKER_HOST", docker.host());
    let refused = load("update.tar").run().assert_code(NOT_FOUND);
    assert!(refused.stderr.contains("is a delta") && refused.stderr.contains("--base OLD"), "{}", refused.stderr);
    // A base that is damaged where the delta needs it.
    let mut base = update.release.site.read("old.tar");
    let place =
        octobundle::bundle::Bundle::open(update.release.site.path("old.tar")).expect("it is sound").layout().layers()
            [0]
        .start();
    base[usize::try_from(place).expect("it is small")] ^= 1;
    update.release.site.write("damaged.tar", base);
    load("update.tar --base damaged.tar").run().assert_code(INTEGRITY);
    assert_eq!(docker.run(&["image", "ls", "--quiet"]), "", "nothing was loaded");
    for bundle in ["update.tar", "cut.tar"] {
        let report = load(&format!("{bundle} --base old.tar")).run().assert_ok().json();
        for (place, image) in Update::later().into_iter().enumerate() {
            let name = report["images"][place]["name"].as_str().expect("it is told").to_owned();
            let found = docker.run(&["image", "inspect", "--format", "{{.Id}}", &name]);
            assert_eq!(found.trim(), image.config_digest(), "{name}");
            docker.run(&["rmi", &name]);
        }
    }
    assert!(update.release.site.read("update.tar") == delta);
}

#[test]
fn podman_has_every_image_under_both_names() {
    let Some(podman) = Podman::new() else { return };
    let release = release();
    let service = podman.serve();
    let found =
        |name: &str| format!("sha256:{}", podman.run(&["image", "inspect", "--format", "{{.Id}}", name]).trim());

    if Path::new("/run/podman/podman.sock").exists() {
        skipped("this machine has a podman of its own at /run/podman");
        return;
    }
    std::fs::create_dir_all(release.site.path(".runtime/podman")).expect("folders can be made");
    let socket = release.site.path(".runtime/podman/podman.sock");
    symlink(service.socket(), &socket).expect("links can be made");
    let report = load(&release, "podman").run().assert_ok().json();
    assert!(report["engine"].as_str().is_some_and(|engine| engine.contains(".runtime/podman")), "{report}");
    for (name, id) in names(&release, &report) {
        assert_eq!(found(&name), id, "{name}");
    }
    drop(service);
    std::fs::remove_file(&socket).expect("own links can be removed");

    // Without a socket the command serves.
    podman.run(&["rmi", "--all", "--force"]);
    let wrapper = podman.wrapper();
    let folder = wrapper.parent().expect("it stands in a folder").to_owned();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let report = load(&release, "podman").env("PATH", path).run().assert_ok().json();
    for (name, id) in names(&release, &report) {
        assert_eq!(found(&name), id, "{name}");
    }
}

#[test]
fn nothing_of_a_damaged_bundle_reaches_an_engine() {
    if !need_root("podman") {
        return;
    }
    let Some(podman) = Podman::new() else { return };
    let release = release();
    let mut bundle = release.site.read("release.tar");
    let layer = agent().content().blobs.into_values().max_by_key(Vec::len).expect("it has blobs");
    let place = bundle.windows(64).position(|window| window == &layer[..64]).expect("the bundle has it");
    bundle[place + 70_000] ^= 1;
    release.site.write("release.tar", bundle);
    let folder = podman.wrapper().parent().expect("it stands in a folder").to_owned();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    load(&release, "podman").env("PATH", path).run().assert_code(INTEGRITY);
    assert_eq!(podman.run(&["images", "--quiet"]), "");
}

#[test]
fn an_engine_that_does_not_answer_is_named() {
    let release = release();
    let nowhere = format!("unix://{}", release.site.path("nowhere.sock").display());
    let failed =
        release.site.octobundle(["load", "release.tar", "--engine", "docker"]).env("DOCKER_HOST", &nowhere).run();
    assert!(failed.stderr.contains("nowhere.sock") && failed.stderr.contains("help:"), "{}", failed.stderr);
    assert!([Some(NETWORK), Some(6)].contains(&failed.code), "{failed:?}");
}
