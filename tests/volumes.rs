//! A bundle in volumes is read in place, and whatever is wrong with a volume is named before any work starts.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use octobundle::bundle::Bundle;
use octobundle::oci::Digest;
use support::cli::Output;
use support::images::{Sample, TestImage};
use support::release::Release;

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 6;
const INTEGRITY: i32 = 7;
/// The tests' volumes: a layer of 300,000 bytes lies in several of them.
const SIZE: usize = 100_000;

fn agent() -> TestImage {
    TestImage::new("octoperf/agent:1").random_layer(1, 300_000)
}

fn jmeter() -> TestImage {
    TestImage::new("octoperf/jmeter:5").random_layer(2, 150_000).random_layer(3, 700)
}

/// A bundle cut by hand as `docs/bundle-format.md` says, in the folder `stick`.
struct Cut {
    release: Release,
    whole: Vec<u8>,
    stick: PathBuf,
    count: usize,
}

impl Cut {
    fn new() -> Self {
        Self::of(Release::of(&[&agent(), &jmeter()]), SIZE)
    }

    fn of(release: Release, size: usize) -> Self {
        let whole = release.bundle();
        let stick = release.site.path("stick");
        fs::create_dir(&stick).unwrap();
        let count = cut(&stick, "x.tar", &whole, size);
        describe(&stick, "x", &whole, size, &id_of(&release.site.path("release.tar")));
        Self { release, whole, stick, count }
    }

    /// The same without a description: names and headers are all there is.
    fn undescribed() -> Self {
        let cut = Self::new();
        fs::remove_file(cut.description()).unwrap();
        cut
    }

    fn volume(&self, number: usize) -> PathBuf {
        self.stick.join(format!("x.tar.{number:03}"))
    }

    fn description(&self) -> PathBuf {
        self.stick.join("x.volumes.json")
    }

    fn run(&self, command: &str, words: &[&str]) -> Output {
        self.release.site.octobundle([&[command][..], words].concat()).run()
    }

    /// Asserts that every command that reads a bundle refuses this one in the same words, before it asks anybody.
    #[track_caller]
    fn refused(&self, code: i32, words: &[&str]) -> String {
        let stick = self.stick.to_str().unwrap();
        let mut said = String::new();
        let before = self.release.registry.requests().len();
        for command in [
            &["verify", stick][..],
            &["inspect", stick],
            &["push", stick, "--registry", "127.0.0.1:1/x"],
            &["load", stick],
        ] {
            said = self.release.site.octobundle(command).run().assert_code(code).stderr;
            for word in words {
                assert!(said.contains(word), "{command:?} does not say `{word}`:\n{said}");
            }
        }
        assert_eq!(self.release.registry.requests().len(), before);
        said
    }
}

fn cut(folder: &Path, name: &str, whole: &[u8], size: usize) -> usize {
    let volumes = whole.chunks(size);
    let count = volumes.len();
    for (index, volume) in volumes.enumerate() {
        fs::write(folder.join(format!("{name}.{:03}", index + 1)), volume).unwrap();
    }
    count
}

/// Writes `NAME.volumes.json` by hand.
fn describe(folder: &Path, stem: &str, whole: &[u8], size: usize, id: &str) {
    let mut volumes = Vec::new();
    for (index, volume) in whole.chunks(size).enumerate() {
        let edge = volume.len().min(4096);
        let [digest, begins, ends] = [volume, &volume[..edge], &volume[volume.len() - edge..]].map(Digest::of);
        volumes.push(format!(
            "    {{\n      \"name\": \"{stem}.tar.{:03}\",\n      \"size\": {},\n      \"digest\": \"{digest}\",\n      \"begins\": \"{begins}\",\n      \"ends\": \"{ends}\"\n    }}",
            index + 1,
            volume.len()
        ));
    }
    let mut text = String::new();
    write!(
        text,
        "{{\n  \"format\": \"octobundle/volumes/v1\",\n  \"bundle\": \"{id}\",\n  \"release\": \"sample-1\",\n  \"bytes\": {},\n  \"count\": {},\n  \"volumes\": [\n{}\n  ]\n}}\n",
        whole.len(),
        volumes.len(),
        volumes.join(",\n")
    )
    .unwrap();
    fs::write(folder.join(format!("{stem}.volumes.json")), text).unwrap();
}

fn id_of(bundle: &Path) -> String {
    Bundle::open(bundle).unwrap().layout().id().to_string()
}

#[test]
fn volumes_are_read_in_place_however_they_are_named() {
    let cut = Cut::new();
    assert!(cut.count >= 4, "a layer lies in more than two volumes: {}", cut.count);
    let stick = cut.stick.to_str().unwrap();
    let [name, first, third, described] =
        ["x.tar", "x.tar.001", "x.tar.003", "x.volumes.json"].map(|name| format!("{stick}/{name}"));
    let all: Vec<String> = (1..=cut.count).map(|number| cut.volume(number).to_str().unwrap().to_owned()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for words in [&[&name[..]][..], &[&first], &[&third], &[&described], &[stick], &all, &["--volumes-in", stick]] {
        let told = cut.run("verify", &[&["--json"], words].concat()).assert_ok().json();
        assert_eq!(told["bytes"], cut.whole.len(), "{words:?}");
        cut.run("inspect", words).assert_ok();
    }
    fs::remove_file(cut.description()).unwrap();
    for words in [&[&name[..]][..], &[&first], &[&third], &[stick], &all] {
        cut.run("verify", words).assert_ok();
    }
}

#[test]
fn volumes_lie_in_several_folders() {
    let cut = Cut::new();
    let other = cut.release.site.path("other");
    fs::create_dir(&other).unwrap();
    for number in [2, 4] {
        let name = format!("x.tar.{number:03}");
        fs::rename(cut.volume(number), other.join(name)).unwrap();
    }
    let (stick, other) = (cut.stick.to_str().unwrap(), other.to_str().unwrap());
    let name = format!("{stick}/x.tar");
    cut.run("verify", &[stick]).assert_code(NOT_FOUND);
    for words in [&[stick, other][..], &[&name, "--volumes-in", other], &["--volumes-in", stick, "--volumes-in", other]]
    {
        cut.run("verify", words).assert_ok();
    }
    fs::remove_file(cut.description()).unwrap();
    cut.run("verify", &[&name, "--volumes-in", other]).assert_ok();
}

#[test]
fn what_is_pushed_from_volumes_is_what_is_pushed_from_one_file() {
    let cut = Cut::new();
    let target = support::memory_registry::MemoryRegistry::start();
    let registry = format!("{}/x", target.host());
    cut.run("push", &["stick", "--registry", &registry]).assert_ok();
    let other = support::memory_registry::MemoryRegistry::start();
    let registry = format!("{}/x", other.host());
    cut.run("push", &["release.tar", "--registry", &registry]).assert_ok();
    assert!(!target.blobs().is_empty());
    assert_eq!(target.blobs(), other.blobs());
}

#[test]
fn u_04_a_volume_that_is_missing_is_named_with_the_images_it_hurts() {
    for number in [2, 5] {
        let cut = Cut::new();
        fs::remove_file(cut.volume(number)).unwrap();
        let said = cut.refused(NOT_FOUND, &[&format!("volume `x.tar.{number:03}` is missing"), "--volumes-in"]);
        // The large layer of the one ends in the fourth volume; the other's begins there.
        assert_eq!(said.contains("octoperf/agent:1"), number == 2, "{said}");
        assert_eq!(said.contains("octoperf/jmeter:5"), number == 5, "{said}");
    }
    for number in [1, 2, 5] {
        let cut = Cut::undescribed();
        assert_eq!(cut.count, 5);
        fs::remove_file(cut.volume(number)).unwrap();
        cut.refused(NOT_FOUND, &[&format!("volume `x.tar.{number:03}` is missing"), "--volumes-in"]);
    }
}

#[test]
fn u_04_every_missing_volume_is_listed_at_once() {
    let cut = Cut::new();
    for number in [2, 3, 5] {
        fs::remove_file(cut.volume(number)).unwrap();
    }
    cut.refused(NOT_FOUND, &["bring x.tar.002, x.tar.003, x.tar.005,"]);
}

#[test]
fn u_04_volumes_that_are_swapped_are_named_and_can_be_used_one_by_one() {
    let cut = Cut::new();
    let aside = cut.stick.join("aside");
    fs::rename(cut.volume(2), &aside).unwrap();
    fs::rename(cut.volume(3), cut.volume(2)).unwrap();
    fs::rename(&aside, cut.volume(3)).unwrap();
    let said = cut.refused(INTEGRITY, &["volumes `x.tar.002` and `x.tar.003` are swapped", "octoperf/agent:1"]);
    assert_eq!(said.matches("swapped").count(), 1, "{said}");
    let all: Vec<String> = (1..=cut.count).map(|number| cut.volume(number).to_str().unwrap().to_owned()).collect();
    cut.run("verify", &all.iter().map(String::as_str).collect::<Vec<_>>()).assert_ok();
}

#[test]
fn u_04_a_volume_that_was_renamed_is_found_by_what_is_in_it() {
    let cut = Cut::new();
    let renamed = cut.stick.join("x.tar (1).002");
    fs::rename(cut.volume(2), &renamed).unwrap();
    cut.refused(INTEGRITY, &["volume `x.tar.002` was renamed", "x.tar (1).002", "octoperf/agent:1"]);
    let stick = cut.stick.to_str().unwrap();
    cut.run("verify", &[stick, renamed.to_str().unwrap()]).assert_ok();
}

#[test]
fn u_04_names_in_another_case_are_the_same_names() {
    for undescribed in [false, true] {
        let cut = if undescribed { Cut::undescribed() } else { Cut::new() };
        for number in 1..=cut.count {
            fs::rename(cut.volume(number), cut.stick.join(format!("X.TAR.{number:03}"))).unwrap();
        }
        let stick = cut.stick.to_str().unwrap();
        cut.run("verify", &[stick]).assert_ok();
        cut.run("verify", &[&format!("{stick}/x.tar")]).assert_ok();
    }
}

#[test]
fn u_04_without_a_description_headers_tell_a_stranger() {
    let cut = Cut::undescribed();
    // The fourth volume has a header within: that of the layer behind the large one.
    fs::write(cut.volume(4), vec![7; SIZE]).unwrap();
    cut.refused(INTEGRITY, &["x.tar.004` is not this bundle's", "octoperf/jmeter:5"]);
    let cut = Cut::undescribed();
    fs::copy(cut.volume(1), cut.volume(3)).unwrap();
    cut.refused(INTEGRITY, &["x.tar.003` is stale: it is from another pull of sample-1"]);
    let cut = Cut::undescribed();
    fs::copy(cut.volume(4), cut.volume(6)).unwrap();
    cut.refused(INTEGRITY, &["x.tar.006` is one too many: the bundle has 5 volumes"]);
}

#[test]
fn u_04_without_a_description_volumes_that_are_swapped_are_told_by_their_headers() {
    let images = [10, 11, 12, 13, 14, 15].map(|seed| TestImage::new(&format!("a/b:{seed}")).random_layer(seed, 60_000));
    let cut = Cut::of(Release::of(&images.iter().map(|image| image as &dyn Sample).collect::<Vec<_>>()), SIZE);
    fs::remove_file(cut.description()).unwrap();
    let aside = cut.stick.join("aside");
    fs::rename(cut.volume(2), &aside).unwrap();
    fs::rename(cut.volume(3), cut.volume(2)).unwrap();
    fs::rename(&aside, cut.volume(3)).unwrap();
    cut.refused(INTEGRITY, &["volumes `x.tar.002` and `x.tar.003` are swapped", "give the files their names back"]);
}

#[test]
fn u_04_a_number_far_behind_the_last_one_is_named_and_nothing_else() {
    let cut = Cut::undescribed();
    fs::copy(cut.volume(4), cut.volume(9)).unwrap();
    let said = cut.refused(INTEGRITY, &["x.tar.009` is one too many: the bundle has 5 volumes"]);
    assert!(!said.contains("is missing"), "{said}");
}

#[test]
fn u_04_volumes_too_short_to_be_counted_are_refused_at_once() {
    let cut = Cut::undescribed();
    for number in 2..=5 {
        fs::write(cut.volume(number), "x").unwrap();
    }
    cut.refused(INTEGRITY, &["x.tar.002` is cut short: it has 1 of 100000 bytes"]);
    let head = Bundle::open(cut.release.site.path("release.tar")).unwrap().layout().members()[8].header;
    // A head alone, in volumes of one block: their sum would be reached by volumes without number.
    let head = usize::try_from(head).unwrap();
    for number in 2..=5 {
        fs::remove_file(cut.volume(number)).unwrap();
    }
    for (index, block) in cut.whole[..head].chunks(256).enumerate() {
        fs::write(cut.volume(index + 1), block).unwrap();
    }
    cut.refused(INTEGRITY, &["volumes of 256 bytes are no cut of"]);
}

#[test]
fn u_04_a_volume_of_another_pull_or_bundle_is_named() {
    let changed = TestImage::new("octoperf/agent:1").random_layer(9, 300_000);
    let later = Cut::new();
    let other = Cut::of(Release::of(&[&changed, &jmeter()]), SIZE);
    let cut = Cut::new();
    fs::copy(other.volume(2), cut.volume(2)).unwrap();
    cut.refused(INTEGRITY, &["x.tar.002` is not this bundle's: neither its first bytes", "octoperf/agent:1"]);
    let cut = Cut::new();
    fs::copy(other.volume(1), cut.volume(1)).unwrap();
    cut.refused(INTEGRITY, &["x.tar.001` is stale: it is from another pull of sample-1"]);
    drop(later);

    let cut = Cut::new();
    fs::copy(other.description(), cut.description()).unwrap();
    cut.refused(INTEGRITY, &["x.volumes.json` describes bundle", "name the volumes one by one"]);
    let all: Vec<String> = (1..=cut.count).map(|number| cut.volume(number).to_str().unwrap().to_owned()).collect();
    cut.run("verify", &all.iter().map(String::as_str).collect::<Vec<_>>()).assert_ok();
}

#[test]
fn u_03_a_volume_that_was_cut_or_goes_on_is_named() {
    for undescribed in [false, true] {
        let new = || if undescribed { Cut::undescribed() } else { Cut::new() };
        for length in [0, 1, 4095, 4096, 50_000, SIZE - 1] {
            let cut = new();
            let volume = fs::read(cut.volume(2)).unwrap();
            fs::write(cut.volume(2), &volume[..length]).unwrap();
            cut.refused(INTEGRITY, &[&format!("x.tar.002` is cut short: it has {length} of 100000 bytes"), "agent:1"]);
        }
        let cut = new();
        let mut volume = fs::read(cut.volume(5)).unwrap();
        volume.push(0);
        fs::write(cut.volume(5), &volume).unwrap();
        cut.refused(INTEGRITY, &["x.tar.005` is too long", "jmeter:5"]);
    }
}

#[test]
fn u_01_a_turned_bit_in_a_volume_is_found_and_the_volume_named() {
    let cut = Cut::new();
    let mut volume = fs::read(cut.volume(3)).unwrap();
    volume[60_000] ^= 1;
    fs::write(cut.volume(3), &volume).unwrap();
    let told = cut.run("verify", &["stick", "--json"]).assert_code(INTEGRITY).json();
    let finding = &told["findings"][0];
    assert!(finding["volumes"].to_string().contains("x.tar.003"), "{told}");
    assert!(finding["images"].to_string().contains("octoperf/agent:1"), "{told}");
    let said = cut.run("verify", &["stick"]).assert_code(INTEGRITY);
    assert!(said.stdout.contains("in volume: ") && said.stdout.contains("x.tar.003"), "{}", said.stdout);

    // In the first or last bytes of a volume, by which it is known, the same fault is seen before it is read.
    volume[60_000] ^= 1;
    for place in [5, SIZE - 1] {
        let mut turned = volume.clone();
        turned[place] ^= 1;
        fs::write(cut.volume(3), &turned).unwrap();
        cut.refused(INTEGRITY, &["x.tar.003` is damaged: it is this bundle's", "agent:1", "octobundle repair "]);
    }
}

#[test]
fn u_04_whose_a_volume_beyond_the_first_is_stands_in_it() {
    let later = Release::of(&[&TestImage::new("octoperf/agent:1").random_layer(8, 310_000), &jmeter()]);
    let strange =
        [10, 11, 12, 13, 14, 15].map(|seed| TestImage::new(&format!("a/b:{seed}")).random_layer(seed, 60_000));
    let strange = Release::of(&strange.iter().map(|image| image as &dyn Sample).collect::<Vec<_>>());
    let fourth = |release: &Release| release.bundle().chunks(SIZE).nth(3).expect("it is as long").to_vec();
    let (later, strange) = (fourth(&later), fourth(&strange));
    for new in [Cut::new, Cut::undescribed] {
        let cut = new();
        fs::write(cut.volume(4), &later).unwrap();
        cut.refused(INTEGRITY, &["x.tar.004` is stale: another pull left it, with layers of this bundle", "jmeter:5"]);
        let cut = new();
        fs::write(cut.volume(4), &strange).unwrap();
        cut.refused(INTEGRITY, &["x.tar.004` is of another bundle: it holds layers that this one has not", "jmeter:5"]);
        let cut = new();
        fs::write(cut.volume(4), vec![0; SIZE]).unwrap();
        cut.refused(INTEGRITY, &["x.tar.004` is not this bundle's", "nothing in it tells whose it is"]);
    }
    // Damaged at both ends, it still holds a header where this bundle has one.
    let cut = Cut::new();
    let mut torn = fs::read(cut.volume(4)).unwrap();
    torn[..10].fill(7);
    torn[SIZE - 10..].fill(7);
    fs::write(cut.volume(4), torn).unwrap();
    cut.refused(INTEGRITY, &["x.tar.004` is damaged: it is this bundle's", "jmeter:5"]);
}

#[test]
fn u_04_two_bundles_in_a_folder_are_not_mixed() {
    let one = Cut::undescribed();
    cut(&one.stick, "y.tar", &one.whole, SIZE);
    one.refused(USAGE, &["stands for more than one bundle: `x.tar`, `y.tar`", "name the one that is meant"]);
    one.run("verify", &["stick/y.tar"]).assert_ok();

    let two = Cut::new();
    let changed = TestImage::new("octoperf/agent:1").random_layer(9, 300_000);
    let other = Release::of(&[&changed]);
    let whole = other.bundle();
    cut(&two.stick, "y.tar", &whole, SIZE);
    describe(&two.stick, "y", &whole, SIZE, &id_of(&other.site.path("release.tar")));
    two.refused(USAGE, &["stands for more than one bundle", "x.volumes.json", "y.volumes.json"]);
    two.run("verify", &["stick/x.tar"]).assert_ok();
    two.run("verify", &["stick/y.volumes.json"]).assert_ok();
}

#[test]
fn a_description_that_lies_or_is_damaged_is_named_and_volumes_named_one_by_one_do_without_it() {
    for (from, to, words) in [
        ("\"size\": 100000", "\"size\": 99999", "do not have"),
        (
            "\"begins\": \"sha256:",
            "\"begins\": \"sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "is not text",
        ),
        ("octobundle/volumes/v1", "octobundle/volumes/v9", "its format is `octobundle/volumes/v9`"),
    ] {
        let cut = Cut::new();
        let text = fs::read_to_string(cut.description()).unwrap().replace(from, to);
        fs::write(cut.description(), text).unwrap();
        if words == "is not text" {
            cut.refused(INTEGRITY, &["x.volumes.json` does not describe volumes"]);
        } else {
            cut.refused(INTEGRITY, &["x.volumes.json` does not describe volumes", words]);
        }
        let all: Vec<String> = (1..=cut.count).map(|number| cut.volume(number).to_str().unwrap().to_owned()).collect();
        cut.run("verify", &all.iter().map(String::as_str).collect::<Vec<_>>()).assert_ok();
    }
    // All that it says of the volumes is right, and it speaks of another bundle.
    let cut = Cut::new();
    let text = fs::read_to_string(cut.description()).unwrap();
    let id = id_of(&cut.release.site.path("release.tar"));
    let other = Digest::of(b"another bundle").to_string();
    fs::write(cut.description(), text.replace(&id, &other)).unwrap();
    cut.refused(INTEGRITY, &["x.volumes.json` describes bundle", "name the volumes one by one"]);
    // What it says of the volumes agrees with itself, but not with them.
    let cut = Cut::new();
    describe(&cut.stick, "x", &cut.whole, 99_999, &id_of(&cut.release.site.path("release.tar")));
    cut.refused(INTEGRITY, &["x.volumes.json` does not describe volumes", "which are a whole bundle without it"]);
    cut.run("verify", &["stick/x.tar.001"]).assert_ok();
}

#[test]
fn a_folder_with_one_bundle_in_one_file_names_it_and_an_empty_one_is_refused() {
    let release = Release::of(&[&agent()]);
    release.bundle();
    let site = &release.site;
    site.octobundle(["verify", "."]).run().assert_ok();
    fs::create_dir(site.path("empty")).unwrap();
    let output = site.octobundle(["verify", "empty"]).run().assert_code(NOT_FOUND);
    assert!(output.stderr.contains("`empty` holds no bundle"), "{}", output.stderr);
    let output = site.octobundle(["verify", "empty/x.tar"]).run().assert_code(NOT_FOUND);
    assert!(output.stderr.contains("failed to open `empty/x.tar`"), "{}", output.stderr);
}
