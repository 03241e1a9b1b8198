//! Mishaps of operators, and what odd registries and files do: what once went wrong stays right.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use rustix::process::Signal;
use support::cli::{Run, binary};
use support::images::{Content, Sample, TestImage, TestIndex, digest};
use support::memory_registry::Options;
use support::real::{Podman, need, need_root};
use support::release::{Release, manifest};
use support::until;

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 6;
const PARTIAL: i32 = 10;
const INTERRUPTED: i32 = 130;
const NOBODY: u32 = 65_534;

fn agent() -> TestImage {
    TestImage::new("octoperf/agent:1").layer(b"shared").random_layer(1, 100_000)
}

/// A command run by a user without rights, who may enter the release's folder but write nothing there.
fn as_nobody(release: &Release, arguments: &[&str]) -> Option<Run> {
    let setpriv = need("setpriv").filter(|_| need_root("setpriv"))?;
    let program = release.site.path("octobundle");
    // By a process of its own: a descriptor of ours, inherited by another test's child, would keep it from being run.
    let cp = need("cp").expect("it is part of coreutils");
    release.site.run(&cp, [binary(), program.clone()]).run().assert_ok();
    fs::set_permissions(release.site.path("."), fs::Permissions::from_mode(0o755)).expect("own folders can be opened");
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    Some(release.site.run(&setpriv, user).arg(program).args(arguments))
}

fn folder_of_nobody(path: &Path, mode: u32) {
    fs::create_dir(path).expect("folders can be made");
    chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give folders away");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("root may change any folder");
}

#[test]
fn a_bundle_is_made_in_a_folder_that_may_be_written_but_not_read() {
    let release = Release::of(&[&agent()]);
    let Some(pull) = as_nobody(&release, &["pull", "release.yaml", "-o", "drop/out.tar"]) else { return };
    folder_of_nobody(&release.site.path("drop"), 0o300);
    pull.run().assert_ok();
    release.site.octobundle(["verify", "drop/out.tar"]).run().assert_ok();
    assert!(!release.site.path("drop/out.tar.partial.journal").exists());
}

#[test]
fn a_lock_takes_the_place_of_a_lock_only() {
    let release = Release::of(&[&agent()]);
    let site = &release.site;
    let resolve = |lock: &str| release.resolve().args(["--lock", lock]).run();
    let manifest = site.read("release.yaml");
    let refused = resolve("release.yaml").assert_code(USAGE);
    assert!(refused.stderr.contains("`release.yaml` exists and is no lock"), "{}", refused.stderr);
    assert_eq!(site.read("release.yaml"), manifest);
    // What a device would be: anything that is no regular file.
    symlink("/dev/null", site.path("null")).expect("links can be made");
    resolve("null").assert_code(USAGE);
    assert!(fs::symlink_metadata(site.path("null")).is_ok_and(|metadata| metadata.is_symlink()));
    resolve(".").assert_code(USAGE);
    assert!(release.registry.requests().is_empty(), "it is said before anything is fetched");

    resolve("release.lock").assert_ok();
    let lock = site.read("release.lock");
    resolve("release.lock").assert_ok();
    assert_eq!(site.read("release.lock"), lock);
    site.write("release.lock", lock.iter().map(|&b| b as char).collect::<String>().replace("lock/v1", "lock/v9"));
    resolve("release.lock").assert_ok();
    assert_eq!(site.read("release.lock"), lock);
}

#[test]
fn a_pull_under_nohup_outlives_its_terminal() {
    let Some(nohup) = need("nohup") else { return };
    let slow = Options { bytes_per_second: Some(100_000), ..Options::default() };
    let release = Release::served_by(slow, &[&agent()]);
    let program = binary();
    let pull = ["pull", "release.yaml", "-o", "out.tar", "--quiet"];
    let run = release.site.run(&nohup, [program.as_os_str()]).args(pull).spawn();
    until("a layer has begun", || release.site.path("out.tar.partial").exists());
    run.signal(Signal::HUP);
    run.wait().assert_ok();
    assert!(release.site.path("out.tar").exists());
}

#[test]
fn an_env_file_takes_the_place_of_no_folder_and_no_pipe() {
    let release = Release::of(&[&agent()]);
    release.bundle();
    release.site.write("token", "secret");
    let mkfifo = need("mkfifo").expect("it is part of coreutils");
    release.site.run(&mkfifo, ["pipe"]).run().assert_ok();
    fs::create_dir(release.site.path("folder")).expect("folders can be made");
    let render = ["render", "agent", "release.tar", "--registry", "reg.corp:5000", "--server-url", "https://a.b"];
    let more = ["--name", "agent-1", "--token-file", "token", "--replace", "--env-file"];
    for place in ["pipe", "folder"] {
        let refused = release.site.octobundle(render).args(more).arg(place).run().assert_code(USAGE);
        assert!(refused.stderr.contains("device, pipe or socket"), "{}", refused.stderr);
    }
}

/// What tools that are no engines keep in registries: an image in form, with a configuration of another type.
struct Artifact(TestImage);

impl Sample for Artifact {
    fn content(&self) -> Content {
        let mut content = self.0.content();
        let image = content.documents.last_mut().expect("every sample has a document");
        let text = String::from_utf8(image.bytes.clone()).expect("documents are text");
        image.bytes = text.replace("vnd.oci.image.config.v1+json", "vnd.wasm.config.v0+json").into();
        image.digest = digest(&image.bytes);
        content
    }
}

#[test]
fn what_an_engine_cannot_run_is_left_out_and_an_image_without_tag_is_found() {
    if !need_root("podman") {
        return;
    }
    let Some(podman) = Podman::new() else { return };
    let ours = TestImage::new("octoperf/both:1").layer(b"amd");
    let both = TestIndex::new("octoperf/both:1").image(ours.clone().platform("linux/arm64")).image(ours.clone());
    let artifact = Artifact(TestImage::new("octoperf/plugin:1").layer(b"plugin"));
    let release = Release::of(&[&agent(), &artifact, &both]);
    let pinned = release.name(2).replace(":1", &format!("@{}", both.content().root().digest));
    release.site.write("release.yaml", manifest(&[release.name(0).to_owned(), release.name(1).to_owned(), pinned]));
    release.pull("release.tar").args(["--platform", "all", "--quiet"]).run().assert_ok();
    let folder = podman.wrapper().parent().expect("it stands in a folder").to_owned();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let load = ["load", "release.tar", "--json", "--engine", "podman"];
    let report = release.site.octobundle(load).env("PATH", path).run().assert_ok().json();
    assert_eq!(report["left_out"][0], release.name(1));
    assert_eq!(report["images"][1]["id"], ours.config_digest());
}

#[test]
fn the_checksum_file_names_the_bundle_whatever_its_name_is() {
    let release = Release::of(&[&agent()]);
    let sha256sum = need("sha256sum").expect("it is part of coreutils");
    for name in
        [&b"with space.tar"[..], b"b\xc3\xbcndel.tar", b"no\xfftext.tar", b"two\nli\\nes.tar", b"back\\slash.tar"]
    {
        let name = OsStr::from_bytes(name);
        let mut checksum = name.to_owned();
        checksum.push(".sha256");
        release.site.octobundle(["pull", "release.yaml", "--quiet", "-o"]).arg(name).run().assert_ok();
        release.site.run(&sha256sum, ["--check"]).arg(checksum).run().assert_ok();
    }
}

#[test]
fn a_pipe_in_a_bundles_place_is_refused_and_not_waited_for() {
    let release = Release::of(&[&agent()]);
    let mkfifo = need("mkfifo").expect("it is part of coreutils");
    release.site.run(&mkfifo, ["pipe"]).run().assert_ok();
    for command in ["verify", "inspect"] {
        let mut run = release.site.octobundle([command, "pipe"]).spawn();
        until("it has ended", || run.has_ended());
        let refused = run.wait().assert_code(USAGE);
        assert!(refused.stderr.contains("`pipe` is a device, pipe or socket"), "{}", refused.stderr);
    }
}

#[test]
fn a_next_step_can_be_typed_though_the_path_has_blanks() {
    let release = Release::of(&[&agent()]);
    let pull = || release.site.octobundle(["pull", "release.yaml", "-o", "my bundle.tar"]).run();
    let pulled = pull().assert_ok();
    assert!(pulled.stderr.contains("octobundle push 'my bundle.tar' --registry"), "{}", pulled.stderr);
    let refused = pull().assert_code(USAGE);
    assert!(refused.stderr.contains("`octobundle inspect 'my bundle.tar'`"), "{}", refused.stderr);
    let resolved = release.resolve().args(["--lock", "my lock"]).run().assert_ok();
    assert!(resolved.stderr.contains("--locked 'my lock' -o FILE"), "{}", resolved.stderr);
}

#[test]
fn a_pull_that_fails_fast_ends_with_the_code_of_its_failure() {
    let release = Release::of(&[&agent(), &TestImage::new("octoperf/other:1").layer(b"other")]);
    let largest = agent().content().blobs.into_iter().max_by_key(|(_, bytes)| bytes.len()).expect("it has blobs").0;
    release.registry.remove_blob(&largest);
    release.pull("out.tar").args(["--fail-fast", "--jobs", "1"]).run().assert_code(NOT_FOUND);
    release.pull("out.tar").run().assert_code(PARTIAL);
}

#[test]
fn a_stopped_command_does_not_promise_what_it_cannot_keep() {
    let slow = Options { bytes_per_second: Some(20_000), ..Options::default() };
    let release = Release::served_by(slow, &[&agent()]);
    let stop = |run: Run, asked: usize| {
        let run = run.spawn();
        until("it is at work", || release.registry.requests().len() >= asked);
        run.interrupt();
        run.wait().assert_code(INTERRUPTED).stderr
    };
    assert!(stop(release.pull("out.tar"), 3).contains("the same command continues"));
    release.registry.forget_requests();
    let stopped = stop(release.resolve(), 1);
    assert!(stopped.contains("stopped") && !stopped.contains("continues"), "{stopped}");
}
