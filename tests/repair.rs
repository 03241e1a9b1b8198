//! `octobundle repair`: what is damaged becomes what it was, out of whatever has the good bytes, and never something else.

mod support;

use std::fs;
use std::ops::Range;
use std::path::Path;

use octobundle::bundle::{Bundle, MemberPath};
use serde_json::Value;
use support::cli::{Output, Run, binary};
use support::engine::ScriptedEngine;
use support::images::{TestImage, crc32, digest};
use support::memory_registry::{Fault, MemoryRegistry};
use support::real::{Containerd, Docker, Podman, need};
use support::release::Release;

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 6;
const INTEGRITY: i32 = 7;
const PARTIAL: i32 = 10;
/// A piece of the list beside a bundle.
const PIECE: usize = 4 * 1024 * 1024;
const BUNDLE: &str = "release.tar";
const LIST: &str = "release.pieces.json";

/// A bundle of three pieces, its bytes as they should be, and the places of its layers.
struct World {
    release: Release,
    whole: Vec<u8>,
}

impl World {
    fn new() -> Self {
        Self::of(9_000_000)
    }

    /// With so many bytes in the larger layer.
    fn of(size: usize) -> Self {
        let large = TestImage::new("octoperf/agent:1").random_layer(1, size);
        let small = TestImage::new("octoperf/jmeter:5").random_layer(2, 300_000);
        let release = Release::of(&[&large, &small]);
        let whole = release.bundle();
        Self { release, whole }
    }

    /// The same without a list of pieces.
    fn without_list() -> Self {
        let world = Self::new();
        fs::remove_file(world.release.site.path(LIST)).unwrap();
        world
    }

    /// Where the content of the larger or the smaller layer stands.
    fn layer(&self, place: usize) -> Range<usize> {
        let pristine = self.release.site.write("pristine.tar", &self.whole);
        let bundle = Bundle::open(pristine).unwrap();
        let member = &bundle.layout().layers()[place];
        usize::try_from(member.start()).unwrap()..usize::try_from(member.end()).unwrap()
    }

    /// Writes the bundle under a name, changed.
    fn write(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.whole.clone();
        change(&mut bytes);
        self.release.site.write(name, bytes);
    }

    fn repair(&self, words: &[&str]) -> Run {
        self.release.site.octobundle([&["repair"][..], words].concat())
    }

    /// Repairs `release.tar`, and asserts that it is what it was.
    #[track_caller]
    fn repaired(&self, words: &[&str]) -> Value {
        let report = self.repair(&[&[BUNDLE, "--json"], words].concat()).run().assert_ok().json();
        assert_eq!((&report["sound"], &report["was_sound"]), (&true.into(), &false.into()), "{report}");
        assert!(self.release.site.read(BUNDLE) == self.whole, "every byte is as it was");
        self.release.site.octobundle(["verify", BUNDLE]).run().assert_ok();
        report
    }

    /// Asserts that nothing changed and nothing was left beside it.
    #[track_caller]
    fn assert_untouched(&self, before: &[u8]) {
        assert!(self.release.site.read(BUNDLE) == before, "the damaged bundle is as it was");
        let partial = self.release.site.path("release.tar.partial");
        assert!(!partial.exists(), "nothing was written");
    }
}

fn flip(at: usize) -> impl FnOnce(&mut Vec<u8>) {
    move |bytes| bytes[at] ^= 1
}

#[test]
fn a_bundle_of_more_than_one_piece_has_its_list_beside_it_in_every_form() {
    let world = World::new();
    let site = &world.release.site;
    let list: Value = serde_json::from_slice(&site.read(LIST)).unwrap();
    let expected: Vec<String> = world.whole.chunks(PIECE).map(crc32).collect();
    assert_eq!((&list["format"], &list["piece"]), (&"octobundle/pieces/v1".into(), &PIECE.into()));
    assert_eq!((&list["bytes"], &list["pieces"]), (&world.whole.len().into(), &expected.into()));
    let id = Bundle::open(site.path(BUNDLE)).unwrap().layout().id().to_string();
    assert_eq!(list["bundle"], id.as_str());

    world.release.pull("cut.tar").args(["--volume-size", "3000000"]).run().assert_ok();
    site.octobundle(["join", "cut.tar", "-o", "joined.tar"]).run().assert_ok();
    fs::create_dir(site.path("stick")).unwrap();
    site.octobundle(["copy", BUNDLE, "stick"]).run().assert_ok();
    for name in ["cut.pieces.json", "joined.pieces.json", "stick/release.pieces.json"] {
        assert!(site.read(name) == site.read(LIST), "{name}");
    }
    // A bundle of one piece has none, and leaves none of another bundle in its place.
    let small = Release::of(&[&TestImage::new("octoperf/agent:1").layer(b"small")]);
    small.site.write(LIST, "an older bundle's");
    small.pull(BUNDLE).arg("--replace").run().assert_ok();
    assert!(!small.site.path(LIST).exists());
}

#[test]
fn u_11_two_copies_that_are_damaged_in_different_places_give_one_that_is_sound() {
    let world = World::new();
    let layer = world.layer(0);
    world.write(BUNDLE, |bytes| bytes[layer.start + 100..layer.start + 5000].fill(0));
    world.write("stick/release.tar", flip(PIECE + 1000));
    let report = world.repaired(&["--from", "stick/release.tar"]);
    assert_eq!((&report["by_pieces"], &report["frame_damaged"]), (&true.into(), &false.into()));
    let damaged = report["damaged"].as_array().unwrap();
    assert_eq!(damaged.len(), 1, "{report}");
    let copied = damaged[0]["copied_bytes"].as_u64().unwrap();
    assert_eq!(copied, (PIECE - layer.start) as u64, "what lies in the bad piece, and no more");
    assert_eq!((&damaged[0]["fetched_bytes"], &damaged[0]["repaired"]), (&0.into(), &true.into()));
    assert!(damaged[0]["images"][0].as_str().unwrap().ends_with("octoperf/agent:1"), "{report}");
}

#[test]
fn u_11_without_a_list_of_pieces_whole_blobs_are_taken() {
    let world = World::without_list();
    let (large, small) = (world.layer(0), world.layer(1));
    world.write(BUNDLE, flip(large.start));
    world.write("copy.tar", flip(small.start));
    let report = world.repaired(&["--from", "copy.tar"]);
    assert_eq!(report["by_pieces"], false);
    assert_eq!(report["damaged"][0]["copied_bytes"], large.len());

    // One blob that is damaged in both is beyond repair without a list: nothing is touched, and all is named.
    fs::remove_file(world.release.site.path(LIST)).unwrap();
    world.write(BUNDLE, flip(large.start));
    world.write("copy.tar", flip(large.start + 2 * PIECE));
    let before = world.release.site.read(BUNDLE);
    let refused = world.repair(&[BUNDLE, "--from", "copy.tar"]).run().assert_code(INTEGRITY);
    for word in ["LOST", "octoperf/agent:1", "is NOT repaired and stays as it was"] {
        assert!(refused.stdout.contains(word), "{}", refused.stdout);
    }
    let next = "octobundle repair release.tar --from copy.tar --from OTHER";
    assert!(refused.stderr.contains(next), "{}", refused.stderr);
    world.assert_untouched(&before);
}

#[test]
fn u_11_damage_of_every_kind_and_at_every_member_is_repaired_from_a_copy() {
    let world = World::of(500_000);
    world.write("copy.tar", |_| {});
    let bundle = Bundle::open(world.release.site.path("copy.tar")).unwrap();
    let mut places: Vec<usize> = Vec::new();
    for member in bundle.layout().members() {
        let [header, start, end] = [member.header, member.start(), member.end()].map(|at| usize::try_from(at).unwrap());
        places.extend([header, start, end]);
    }
    places.push(world.whole.len() - 1);
    for place in places {
        world.write(BUNDLE, flip(place));
        world.repaired(&["--from", "copy.tar"]);
    }
    let length = world.whole.len();
    for size in [400_000, length - 1025, length - 1] {
        world.write(BUNDLE, |bytes| bytes.truncate(size));
        world.repaired(&["--from", "copy.tar"]);
    }
    world.write(BUNDLE, |bytes| bytes.extend(b"more"));
    world.repaired(&["--from", "copy.tar"]);
    world.write(BUNDLE, |bytes| bytes[300_000..].fill(0));
    world.repaired(&["--from", "copy.tar"]);
    // Where hardly anything is left, the copy of a small bundle may as well be another bundle.
    world.write(BUNDLE, |bytes| bytes.truncate(5000));
    let before = world.release.site.read(BUNDLE);
    let refused = world.repair(&[BUNDLE, "--from", "copy.tar"]).run().assert_code(INTEGRITY);
    assert!(refused.stderr.contains("is not known: its `octobundle.json` is damaged"), "{}", refused.stderr);
    world.assert_untouched(&before);
}

#[test]
fn u_11_a_bundle_of_which_hardly_anything_is_left_is_known_by_its_list() {
    let world = World::new();
    world.write("copy.tar", |_| {});
    for size in [0, 5000, PIECE] {
        world.write(BUNDLE, |bytes| bytes.truncate(size));
        world.repaired(&["--from", "copy.tar"]);
    }
    world.write(BUNDLE, |bytes| bytes[..100_000].fill(0));
    world.repaired(&["--from", "copy.tar"]);
}

#[test]
fn u_11_what_follows_from_the_list_of_images_needs_no_other_place() {
    let world = World::of(500_000);
    let bundle = Bundle::open(world.release.site.path(BUNDLE)).unwrap();
    let members = bundle.layout().members().to_vec();
    // Another copy has to be named, but it is not needed: it is somebody's picture.
    world.release.site.write("copy.tar", vec![7; 10_000]);
    for member in &members {
        let [header, start, end] = [member.header, member.start(), member.end()].map(|at| usize::try_from(at).unwrap());
        let follows = !matches!(member.path, MemberPath::Blob(_) | MemberPath::Octobundle);
        for place in [Some(header), follows.then_some(start), Some(end)].into_iter().flatten() {
            // The header of the list of images says where it is; without it only a copy tells.
            if world.whole[place] == 0 && place == end && (end == start) {
                continue;
            }
            if member.path == MemberPath::Octobundle && place == header {
                continue;
            }
            world.write(BUNDLE, flip(place));
            world.repaired(&["--from", "copy.tar"]);
        }
    }
}

#[test]
fn u_11_a_bundle_whose_list_is_lost_is_known_by_what_stands_beside_it() {
    let world = World::new();
    let list = usize::try_from(Bundle::open(world.release.site.path(BUNDLE)).unwrap().layout().members()[3].start());
    let list = list.unwrap();
    // Another pull of the same release, with one image changed, has most of the same members.
    let other = Release::of(&[&TestImage::new("octoperf/agent:1").random_layer(7, 9_000_000)]);
    world.release.site.write("other.tar", other.bundle());
    world.write(BUNDLE, flip(list));
    let before = world.release.site.read(BUNDLE);
    let refused = world.repair(&[BUNDLE, "--from", "other.tar"]).run().assert_code(INTEGRITY);
    assert!(refused.stderr.contains("what belongs into `release.tar` is not known"), "{}", refused.stderr);
    world.assert_untouched(&before);
    world.write("copy.tar", |_| {});
    world.repaired(&["--from", "other.tar", "--from", "copy.tar"]);
    fs::remove_file(world.release.site.path(LIST)).unwrap();
    world.write(BUNDLE, flip(list));
    world.repaired(&["--from", "copy.tar"]);
}

#[test]
fn u_11_volumes_are_repaired_as_volumes_from_a_copy_in_any_form() {
    type Damage = (&'static str, fn(&Path));
    let world = World::new();
    let site = &world.release.site;
    let pull = || world.release.pull("cut.tar").args(["--volume-size", "3000000", "--replace"]).run().assert_ok();
    pull();
    let volumes: Vec<Vec<u8>> = (1..=4).map(|number| site.read(&format!("cut.tar.{number:03}"))).collect();
    let described = site.read("cut.volumes.json");
    let damages: [Damage; 5] = [
        ("missing", |volume| fs::remove_file(volume).unwrap()),
        ("cut", |volume| fs::File::options().write(true).open(volume).unwrap().set_len(5).unwrap()),
        ("empty", |volume| fs::write(volume, "").unwrap()),
        ("zeros", |volume| fs::write(volume, vec![0; 3_000_000]).unwrap()),
        ("long", |volume| fs::write(volume, vec![7; 3_000_001]).unwrap()),
    ];
    for (kind, damage) in damages {
        for number in 1..=3 {
            damage(&site.path(&format!("cut.tar.{number:03}")));
            site.octobundle(["verify", "cut.tar"]).run().code.filter(|code| *code != 0).expect("it is damaged");
            world.repair(&["cut.tar", "--from", BUNDLE]).run().assert_ok();
            for (number, volume) in (1..).zip(&volumes) {
                assert!(site.read(&format!("cut.tar.{number:03}")) == *volume, "{kind}: {number}");
            }
            assert!(site.read("cut.volumes.json") == described, "{kind}");
            site.octobundle(["verify", "cut.tar"]).run().assert_ok();
        }
    }
    // And the other way round: one file out of volumes, of which one lacks.
    fs::remove_file(site.path("cut.tar.004")).unwrap();
    world.write(BUNDLE, flip(world.layer(0).start));
    world.repaired(&["--from", "cut.tar"]);
}

#[test]
fn u_11_a_registry_is_asked_for_the_bad_pieces_only() {
    let world = World::new();
    let private = MemoryRegistry::start();
    let there = format!("{}/tools", private.host());
    world.release.site.octobundle(["push", BUNDLE, "--registry", &there]).run().assert_ok();
    let layer = world.layer(0);
    let lies = |piece: usize| {
        let end = ((piece + 1) * PIECE).min(layer.end) - layer.start;
        (piece * PIECE).saturating_sub(layer.start)..end
    };
    for (registry, from) in [(&private, there.as_str()), (&world.release.registry, "origin")] {
        for piece in [0, 1, 2] {
            let range = lies(piece);
            world.write(BUNDLE, flip(layer.start + range.start + 10));
            registry.forget_requests();
            let report = world.repaired(&["--from", from]);
            assert_eq!(report["damaged"][0]["fetched_bytes"], range.len(), "{report}");
            let asked: Vec<String> = registry
                .requests()
                .iter()
                .filter(|request| request.reads_blob())
                .map(|request| request.range().unwrap_or("all").to_owned())
                .collect();
            assert_eq!(asked, [format!("bytes={}-{}", range.start, range.end - 1)], "{from}");
            assert_eq!(registry.blob_bytes_sent(), range.len() as u64, "{from}");
        }
    }
    // Without a list the blob comes whole; documents come by their digests.
    fs::remove_file(world.release.site.path(LIST)).unwrap();
    let bundle = Bundle::open(world.release.site.path(BUNDLE)).unwrap();
    let documents: Vec<usize> = bundle.layout().members()[6..]
        .iter()
        .filter(|member| bundle.layout().layers().iter().all(|layer| layer.path != member.path))
        .map(|member| usize::try_from(member.start()).unwrap())
        .collect();
    assert!(documents.len() >= 4, "manifests and configurations of two images");
    for from in [there.as_str(), "origin"] {
        for place in [layer.start].iter().chain(&documents) {
            world.write(BUNDLE, flip(*place));
            world.repaired(&["--from", from]);
        }
    }
}

#[test]
fn u_11_a_registry_that_lacks_what_is_damaged_changes_nothing() {
    let world = World::new();
    let layer = world.layer(0);
    let bytes = world.whole[layer.clone()].to_vec();
    world.write(BUNDLE, flip(layer.start));
    let before = world.release.site.read(BUNDLE);
    world.release.registry.remove_blob(&digest(&bytes));
    let refused = world.repair(&[BUNDLE, "--from", "origin"]).run();
    assert!([Some(NOT_FOUND), Some(PARTIAL)].contains(&refused.code), "{refused:?}");
    assert!(refused.stdout.contains("is NOT repaired and stays as it was"), "{}", refused.stdout);
    assert!(refused.stderr.contains("octoperf/agent:1"), "{}", refused.stderr);
    assert!(world.release.site.read(BUNDLE) == before);
    // What was written is continued once there is a place that has the rest.
    world.write("copy.tar", |_| {});
    world.repaired(&["--from", "origin", "--from", "copy.tar"]);
    assert!(!world.release.site.path("release.tar.partial").exists());
}

#[test]
fn u_11_a_list_of_pieces_that_lies_costs_time_and_no_byte() {
    let world = World::new();
    let layer = world.layer(0);
    world.write(BUNDLE, flip(layer.start));
    // The list calls the damaged piece good, and the next one bad.
    let mut list: Value = serde_json::from_slice(&world.release.site.read(LIST)).unwrap();
    list["pieces"][0] = crc32(&world.release.site.read(BUNDLE)[..PIECE]).into();
    list["pieces"][1] = crc32(b"something else").into();
    let lie = serde_json::to_vec(&list).unwrap();
    let damaged = world.release.site.read(BUNDLE);
    for from in ["copy.tar", "origin"] {
        world.write("copy.tar", |_| {});
        world.release.site.write(BUNDLE, &damaged);
        world.release.site.write(LIST, &lie);
        world.repaired(&["--from", from]);
        let mended: Value = serde_json::from_slice(&world.release.site.read(LIST)).unwrap();
        assert_eq!(mended["pieces"][0], crc32(&world.whole[..PIECE]), "the list is written anew");
    }
    for nonsense in ["", "{}", "[]", &"[".repeat(100_000), &String::from_utf8(lie).unwrap().replace(":1", ":99999999")]
    {
        world.release.site.write(BUNDLE, &damaged);
        world.release.site.write(LIST, nonsense);
        world.repaired(&["--from", "copy.tar"]);
    }
}

#[test]
fn u_11_a_registry_that_sends_wrong_bytes_never_gets_them_into_a_bundle() {
    let world = World::new();
    let layer = world.layer(0);
    world.write(BUNDLE, flip(layer.start + PIECE));
    let before = world.release.site.read(BUNDLE);
    world.release.registry.fault(Fault::on("GET", "/blobs/").times(1_000).flip(5));
    let refused = world.repair(&[BUNDLE, "--from", "origin"]).run();
    assert!([Some(INTEGRITY), Some(PARTIAL)].contains(&refused.code), "{refused:?}");
    assert!(world.release.site.read(BUNDLE) == before);
    world.release.registry.heal();
    world.repaired(&["--from", "origin"]);
}

#[test]
fn another_bundle_lends_the_blobs_that_it_has() {
    let world = World::without_list();
    let agent = TestImage::new("octoperf/agent:1").random_layer(1, 9_000_000);
    let next = TestImage::new("octoperf/next:1").random_layer(3, 100_000);
    let other = Release::of(&[&agent, &next]);
    world.release.site.write("next.tar", other.bundle());
    world.write(BUNDLE, flip(world.layer(0).start));
    world.repaired(&["--from", "next.tar"]);
}

#[test]
fn an_archive_of_another_program_lends_the_blobs_that_it_has() {
    let world = World::without_list();
    let layer = world.layer(0);
    let mut archive = tar::Builder::new(Vec::new());
    support::images::append(&mut archive, "oci-layout", b"{}");
    support::images::append(&mut archive, "blobs/sha256/not-a-digest", &[7; 3000]);
    let named = |bytes: &[u8]| format!("blobs/sha256/{}", digest(bytes).trim_start_matches("sha256:"));
    let content = &world.whole[layer.clone()];
    support::images::append(&mut archive, &named(content), content);
    let honest = archive.into_inner().unwrap();
    let mut lying = honest.clone();
    let place = lying.len() - content.len();
    lying[place] ^= 1;
    world.release.site.write("lying.tar", &lying);
    world.release.site.write("honest.tar", &honest);
    world.write(BUNDLE, flip(layer.start));
    let before = world.release.site.read(BUNDLE);
    world.repair(&[BUNDLE, "--from", "lying.tar"]).run().assert_code(INTEGRITY);
    world.assert_untouched(&before);
    world.repaired(&["--from", "lying.tar", "--from", "honest.tar"]);

    // What skopeo copies out of a registry are the registry's bytes.
    let Some(skopeo) = need("skopeo") else { return };
    let image = format!("docker://{}", world.release.name(0));
    let copy = ["copy", "--src-tls-verify=false", &image, "oci-archive:saved.tar:agent:1"];
    world.release.site.run(&skopeo, ["--insecure-policy"]).args(copy).run().assert_ok();
    world.release.site.write(BUNDLE, &before);
    fs::remove_file(world.release.site.path(LIST)).ok();
    world.repaired(&["--from", "saved.tar"]);
}

#[test]
fn an_engine_that_keeps_what_it_was_given_lends_it_and_one_that_packs_anew_does_not() {
    let world = World::without_list();
    world.write(BUNDLE, flip(world.layer(0).start));
    let before = world.release.site.read(BUNDLE);
    let sound = world.release.site.path("pristine.tar").display().to_string();
    let saved = world.release.site.path("saved.tar").display().to_string();
    if let Some(containerd) = Containerd::start() {
        containerd.run(&["image", "import", &sound]);
        containerd.run(&["image", "export", &saved, world.release.name(0)]);
        world.repaired(&["--from", "saved.tar"]);
        fs::remove_file(&saved).expect("it was written");
    }
    let Some(podman) = Podman::new() else { return };
    podman.run(&["load", "-i", &sound]);
    podman.run(&["save", "--format", "oci-archive", "-o", &saved, world.release.name(0)]);
    fs::remove_file(world.release.site.path(LIST)).ok();
    world.release.site.write(BUNDLE, &before);
    let refused = world.repair(&[BUNDLE, "--from", "saved.tar"]).run().assert_code(INTEGRITY);
    assert!(refused.stdout.contains("LOST"), "{}", refused.stdout);
    world.assert_untouched(&before);
}

/// Answers like docker with containerd's store: it has the agent alone, and saves it as an archive of what it was given.
fn engine_that_keeps(world: &World, archive: Vec<u8>) -> String {
    let lock = Bundle::open(world.release.site.path("pristine.tar")).unwrap().lock().clone();
    let (name, id) = (&lock.images[0].name, lock.images[0].root.digest);
    let about = format!("{{\"Id\":\"{id}\"}}").into_bytes();
    let answers = vec![(format!("/images/{name}/json"), about), (format!("/images/{id}/get"), archive)];
    ScriptedEngine::start(answers).host()
}

#[test]
fn an_engine_is_asked_itself_for_what_no_copy_has() {
    let world = World::without_list();
    let (large, small) = (world.layer(0), world.layer(1));
    let named = |bytes: &[u8]| format!("blobs/sha256/{}", digest(bytes).trim_start_matches("sha256:"));
    let archive = |content: &[u8]| {
        let mut archive = tar::Builder::new(Vec::new());
        support::images::append(&mut archive, &named(&world.whole[large.clone()]), content);
        archive.into_inner().unwrap()
    };
    let host = engine_that_keeps(&world, archive(&world.whole[large.clone()]));
    world.write(BUNDLE, flip(large.start));
    world.write("copy.tar", flip(small.start));
    // What a copy has is not asked for: this engine is nowhere.
    let run = world.repair(&[BUNDLE, "--from", "docker", "--from", "copy.tar", "-o", "sound.tar"]);
    run.env("DOCKER_HOST", "tcp://127.0.0.1:1").run().assert_ok();
    let run = world.repair(&[BUNDLE, "--from", "docker", "--json"]).env("DOCKER_HOST", &host);
    let report = run.run().assert_ok().json();
    assert!(world.release.site.read(BUNDLE) == world.whole);
    assert_eq!(
        (&report["engines"][0]["blobs"], &report["damaged"][0]["copied_bytes"]),
        (&1.into(), &large.len().into())
    );
    assert_eq!(report["engines"][0]["images"], serde_json::json!([world.release.name(0)]));

    // The other image is not there, and bytes that are not those of the digest are no repair.
    let lying = archive(&vec![7; large.len()]);
    let lying = engine_that_keeps(&world, lying);
    for (place, host, words) in [
        (small.start, &host, "docker has none of these images"),
        (large.start, &lying, "docker unpacks layers and packs them anew when it saves"),
    ] {
        fs::remove_file(world.release.site.path(LIST)).ok();
        world.write(BUNDLE, flip(place));
        let before = world.release.site.read(BUNDLE);
        let refused = world.repair(&[BUNDLE, "--from", "docker"]).env("DOCKER_HOST", host).run().assert_code(INTEGRITY);
        assert!(refused.stderr.contains(words) && refused.stdout.contains("LOST"), "{refused:?}");
        world.assert_untouched(&before);
    }
    let nowhere = world.repair(&[BUNDLE, "--from", "docker"]).env("DOCKER_HOST", "tcp://127.0.0.1:1").run();
    assert!(nowhere.assert_code(5).stderr.contains("no engine answers"));
}

#[test]
fn engines_that_unpack_layers_are_asked_and_say_why_they_cannot_help() {
    let world = World::without_list();
    world.layer(0);
    let sound = world.release.site.path("pristine.tar").display().to_string();
    world.write(BUNDLE, flip(world.layer(0).start));
    let before = world.release.site.read(BUNDLE);
    let refused = |output: Output, kind: &str| {
        let refused = output.assert_code(INTEGRITY);
        let why = format!("{kind} unpacks layers and packs them anew when it saves");
        assert!(refused.stderr.contains(&why) && refused.stdout.contains("gave 0 blobs"), "{refused:?}");
        world.assert_untouched(&before);
    };
    if let Some(docker) = Docker::start() {
        docker.run(&["load", "-i", &sound]);
        refused(world.repair(&[BUNDLE, "--from", "docker"]).env("DOCKER_HOST", docker.host()).run(), "docker");
    }
    let Some(podman) = Podman::new() else { return };
    podman.run(&["load", "-i", &sound]);
    let path = podman.wrapper().parent().unwrap().display().to_string();
    refused(world.repair(&[BUNDLE, "--from", "podman"]).env("PATH", path).run(), "podman");
}

#[test]
fn a_delta_is_repaired_as_a_delta() {
    let update = support::update::Update::start();
    let whole = update.delta();
    let mut damaged = whole.clone();
    let bundle = Bundle::open(update.release.site.path("update.tar")).unwrap();
    let place = usize::try_from(bundle.layout().layers()[0].start()).unwrap();
    damaged[place] ^= 1;
    update.release.site.write("update.tar", damaged);
    update.full();
    update.run("repair update.tar --from full.tar").run().assert_ok();
    assert!(update.release.site.read("update.tar") == whole);
}

/// Repairs with a system call going wrong on the new file.
fn repair_while(world: &World, inject: &str) -> Option<Output> {
    let strace = need("strace")?;
    let partial = world.release.site.path("release.tar.partial").display().to_string();
    let under = ["-f", "-qq", "-o", "/dev/null", "-P", &partial, "-e", inject];
    let bundle = world.release.site.path(BUNDLE);
    let run = world.release.site.run(&strace, under).arg(binary()).arg("repair").arg(bundle);
    Some(run.args(["--from", "copy.tar"]).run())
}

#[test]
fn u_11_the_damaged_bundle_stays_until_the_repaired_one_is_proved() {
    let world = World::new();
    world.write("copy.tar", |_| {});
    world.write(BUNDLE, flip(world.layer(0).start));
    let before = world.release.site.read(BUNDLE);
    for inject in [
        "inject=pwrite64:error=ENOSPC:when=5",
        "inject=pwrite64:error=EIO:when=7",
        // The disk says that it has written, and has not.
        "inject=pwrite64:retval=524288:when=8",
        "inject=fsync:error=EIO:when=1",
        "inject=pwrite64:signal=KILL:when=9",
    ] {
        for left in ["release.tar.partial", "release.tar.partial.journal"] {
            fs::remove_file(world.release.site.path(left)).ok();
        }
        let Some(output) = repair_while(&world, inject) else { return };
        assert!(output.code != Some(0), "{inject}: {output:?}");
        assert!(world.release.site.read(BUNDLE) == before, "{inject}");
        world.release.site.octobundle(["verify", BUNDLE]).run().assert_code(INTEGRITY);
    }
    world.repaired(&["--from", "copy.tar"]);
    assert!(!world.release.site.path("release.tar.partial").exists());
}

#[test]
fn u_13_what_lies_on_a_read_only_medium_is_repaired_elsewhere() {
    let world = World::new();
    let site = &world.release.site;
    world.write("dvd/release.tar", flip(world.layer(0).start));
    world.write("copy.tar", |_| {});
    let dvd = site.path("dvd");
    let mut locked = fs::metadata(&dvd).unwrap().permissions();
    locked.set_readonly(true);
    fs::set_permissions(&dvd, locked).unwrap();
    let damaged = site.read("dvd/release.tar");
    world.repair(&["dvd/release.tar", "--from", "copy.tar", "-o", "sound.tar"]).run().assert_ok();
    assert!(site.read("sound.tar") == world.whole && site.read("dvd/release.tar") == damaged);
    assert_eq!(fs::read_dir(&dvd).unwrap().count(), 1);
    let taken = world.repair(&["dvd/release.tar", "--from", "copy.tar", "-o", "sound.tar"]).run().assert_code(USAGE);
    assert!(taken.stderr.contains("exists already"), "{}", taken.stderr);
    world.repair(&["dvd/release.tar", "--from", "copy.tar", "-o", "sound.tar", "--replace"]).run().assert_ok();
    fs::set_permissions(&dvd, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn a_sound_bundle_is_left_alone_and_wrong_words_are_told() {
    let world = World::new();
    world.write("copy.tar", flip(100));
    let time = fs::metadata(world.release.site.path(BUNDLE)).unwrap().modified().unwrap();
    let told = world.repair(&[BUNDLE, "--from", "copy.tar"]).run().assert_ok();
    assert!(told.stdout.contains("sound, there is nothing to repair"), "{}", told.stdout);
    assert_eq!(fs::metadata(world.release.site.path(BUNDLE)).unwrap().modified().unwrap(), time);
    world.repair(&[BUNDLE]).run().assert_code(USAGE);
    world.repair(&[BUNDLE, "--from", "nowhere.tar"]).run().assert_code(NOT_FOUND);
    world.repair(&["nowhere.tar", "--from", "copy.tar"]).run().assert_code(NOT_FOUND);
    world.repair(&[BUNDLE, "--from", "no such thing"]).run().assert_code(USAGE);
    world.repair(&[BUNDLE, "--from", "a.corp/x", "--from", "origin"]).run().assert_code(USAGE);
}
