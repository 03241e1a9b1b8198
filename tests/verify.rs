//! `octobundle verify`: whatever is wrong with a bundle is found and named, and no foreign tar passes for one.

mod support;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use octobundle::bundle::{self, Bundle, Finding, Member, Verdict};
use octobundle::progress::Silent;
use serde_json::Value;
use support::cli::Output;
use support::images::{TestImage, random_bytes};
use support::release::Release;

const INPUT: i32 = 3;
const NOT_FOUND: i32 = 6;
const INTEGRITY: i32 = 7;
const BLOCK: usize = 512;
/// What ends a tar: two empty blocks.
const TRAILER: usize = 1024;

fn agent() -> TestImage {
    TestImage::new("octoperf/agent:1").layer(b"hello").layer(b"world")
}

fn jmeter() -> TestImage {
    TestImage::new("octoperf/jmeter:5").docker().layer(b"world").random_layer(3, 700)
}

/// Two images that share a layer.
fn release() -> Release {
    Release::of(&[&agent(), &jmeter()])
}

/// A copy of a bundle that single bytes are altered in.
struct Copy {
    path: PathBuf,
    sound: Vec<u8>,
    members: Vec<Member>,
}

impl Copy {
    fn new(release: &Release, name: &str, sound: &[u8]) -> Self {
        let path = release.site.write(name, sound);
        let members = Bundle::open(&path).expect("it is sound").layout().members().to_vec();
        Self { path, sound: sound.to_vec(), members }
    }

    /// Turns a bit, looks, and turns it back.
    fn with_flipped(&self, bit: usize) -> Vec<Finding> {
        let (place, original) = (bit / 8, self.sound[bit / 8]);
        let mut file = OpenOptions::new().write(true).open(&self.path).expect("own files can be opened");
        let mut put = |byte: u8| {
            file.seek(SeekFrom::Start(place as u64)).expect("own files have places");
            file.write_all(&[byte]).expect("own files can be written");
        };
        put(original ^ (1 << (bit % 8)));
        let findings = verify(&self.path);
        put(original);
        findings
    }

    /// Whether some finding covers this byte and names the member that it belongs to.
    fn assert_named(&self, bit: usize, findings: &[Finding]) {
        let place = (bit / 8) as u64;
        let owner = self.members.iter().rfind(|member| member.header <= place);
        let end = (self.sound.len() - TRAILER) as u64;
        let owner = owner.filter(|_| place < end).map(|member| member.path);
        let named =
            findings.iter().any(|finding| finding.member == owner && (finding.from..finding.to).contains(&place));
        assert!(named, "bit {bit} of {owner:?}: {findings:?}");
    }
}

/// What the library finds; a file that it does not even look into has one finding without a place.
fn verify(path: &Path) -> Vec<Finding> {
    let Verdict { findings, .. } = bundle::verify(path, 1, &Silent).expect("a damaged bundle is looked into");
    findings
}

/// Turns these bits one by one, on two threads with a copy each.
fn flip_all(release: &Release, bundle: &[u8], bits: &[usize]) {
    let copies = [Copy::new(release, "left.tar", bundle), Copy::new(release, "right.tar", bundle)];
    let halves = bits.split_at(bits.len() / 2);
    std::thread::scope(|scope| {
        for (copy, half) in copies.iter().zip([halves.0, halves.1]) {
            scope.spawn(move || {
                for &bit in half {
                    copy.assert_named(bit, &copy.with_flipped(bit));
                }
            });
        }
    });
}

/// One bit of each of these bytes, chosen by a fixed sequence.
fn a_bit_of_each(bytes: impl Iterator<Item = usize>) -> Vec<usize> {
    let bytes: Vec<usize> = bytes.collect();
    let choice = random_bytes(1, bytes.len());
    bytes.into_iter().zip(choice).map(|(byte, choice)| byte * 8 + usize::from(choice % 8)).collect()
}

#[test]
fn u_01_a_turned_bit_is_found_wherever_it_is_and_its_member_named() {
    let release = Release::of(&[&agent()]);
    let bundle = release.bundle();
    let mut bits = a_bit_of_each((0..bundle.len()).step_by(7));
    let layer = Copy::new(&release, "copy.tar", &bundle).members.last().expect("it has members").clone();
    let header = usize::try_from(layer.header).expect("it is small");
    bits.extend((header * 8..(header + BLOCK) * 8).step_by(3));
    flip_all(&release, &bundle, &bits);
}

#[test]
#[ignore = "takes twenty minutes without optimisation; `cargo test --release --test verify -- --ignored`"]
fn u_01_every_bit_of_64_kib_is_found_when_it_is_turned() {
    let image = TestImage::new("octoperf/agent:1").random_layer(1, 20_000).random_layer(2, 27_600);
    let release = Release::of(&[&image]);
    let bundle = release.bundle();
    assert!((63 * 1024..=65 * 1024).contains(&bundle.len()), "{} bytes", bundle.len());
    flip_all(&release, &bundle, &(0..bundle.len() * 8).collect::<Vec<_>>());
}

#[test]
fn u_03_every_cut_is_found_and_said_where_it_is() {
    let release = release();
    let bundle = release.bundle();
    let copy = Copy::new(&release, "copy.tar", &bundle);
    let boundaries = (0..=bundle.len()).step_by(BLOCK);
    let lengths = boundaries.flat_map(|at| [at.saturating_sub(1), at, at + 1]).filter(|&length| length < bundle.len());
    for length in lengths {
        fs::write(&copy.path, &bundle[..length]).expect("own files can be written");
        let Ok(Verdict { findings, .. }) = bundle::verify(&copy.path, 1, &Silent) else {
            assert!(length < BLOCK, "{length} bytes are looked into");
            continue;
        };
        let last = copy.members.iter().rfind(|member| member.header < length as u64).map(|member| member.path);
        let cut = |finding: &Finding| {
            matches!(finding.problem, bundle::Problem::CutOff { got, .. } if got == length as u64)
                || (finding.from..=finding.to).contains(&(length as u64))
        };
        let found: Vec<&Finding> = findings.iter().filter(|finding| cut(finding)).collect();
        assert!(!found.is_empty(), "{length}: {findings:?}");
        // A cut between two members hurts the one behind it, a cut inside of one hurts that one.
        let next = copy.members.iter().find(|member| member.header >= length as u64).map(|member| member.path);
        let named = found.iter().any(|finding| [last, next, None].contains(&finding.member));
        assert!(named, "{length}: {last:?} or {next:?}: {found:?}");
    }
}

#[test]
fn u_01_added_bytes_are_found() {
    let release = release();
    let bundle = release.bundle();
    for added in [&[0_u8][..], &[0; 512], &[0; 10_240], b"x", &bundle[..1024], b"\n"] {
        let path = release.site.write("longer.tar", [&bundle[..], added].concat());
        let findings = verify(&path);
        let end = bundle.len() as u64;
        assert!(
            findings.iter().any(|found| (found.from, found.to) == (end, end + added.len() as u64)),
            "{} bytes: {findings:?}",
            added.len()
        );
        for command in [&["inspect", "longer.tar"][..], &["push", "longer.tar", "--registry", "127.0.0.1:1"]] {
            release.site.octobundle(command).run().assert_code(INTEGRITY);
        }
    }
}

/// A bundle as a list of headers with their contents, to be put together differently.
struct Parts(Vec<(Vec<u8>, Vec<u8>)>);

impl Parts {
    fn of(bundle: &[u8]) -> Self {
        let (mut parts, mut at) = (Vec::new(), 0);
        while bundle[at] != 0 {
            let header = bundle[at..at + BLOCK].to_vec();
            let digits = std::str::from_utf8(&header[124..135]).expect("small sizes are octal");
            let size = usize::from_str_radix(digits, 8).expect("small sizes are octal").next_multiple_of(BLOCK);
            parts.push((header, bundle[at + BLOCK..at + BLOCK + size].to_vec()));
            at += BLOCK + size;
        }
        Self(parts)
    }

    fn joined(&self) -> Vec<u8> {
        let members = self.0.iter().flat_map(|(header, content)| header.iter().chain(content));
        members.copied().chain([0; TRAILER]).collect()
    }

    fn name(&self, place: usize) -> String {
        let name = self.0[place].0.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8(name.to_vec()).expect("our names are text")
    }

    /// The members that are neither head nor document: layers, the largest first.
    fn layers(&self, count: usize) -> std::ops::Range<usize> {
        self.0.len() - count..self.0.len()
    }
}

fn json_findings(output: &Output) -> Vec<Value> {
    output.json()["findings"].as_array().expect("a verdict lists findings").clone()
}

#[test]
fn u_02_exchanged_and_missing_members_are_named_with_the_images_they_hurt() {
    let release = release();
    let bundle = release.bundle();
    let sound = || Parts::of(&bundle);
    let layers: Vec<usize> = sound().layers(3).collect();
    let same_size = layers.iter().rev().take(2).copied().collect::<Vec<_>>();
    let names: Vec<String> = same_size.iter().map(|&place| sound().name(place)).collect();

    let mut contents = sound();
    let (first, second) = (contents.0[same_size[0]].1.clone(), contents.0[same_size[1]].1.clone());
    assert_eq!(first.len(), second.len());
    (contents.0[same_size[0]].1, contents.0[same_size[1]].1) = (second, first);
    let mut whole = sound();
    whole.0.swap(same_size[0], same_size[1]);
    for swapped in [contents, whole] {
        release.site.write("swapped.tar", swapped.joined());
        let verdict = release.site.octobundle(["verify", "swapped.tar", "--json"]).run().assert_code(INTEGRITY);
        for name in &names {
            assert!(json_findings(&verdict).iter().any(|found| found["member"] == name.as_str()), "{}", verdict.stdout);
        }
    }

    for place in 0..sound().0.len() {
        let mut parts = sound();
        let name = parts.name(place);
        parts.0.remove(place);
        release.site.write("dropped.tar", parts.joined());
        let verdict = release.site.octobundle(["verify", "dropped.tar", "--json"]).run();
        if verdict.code == Some(INPUT) {
            assert_eq!(place, 0, "only without its first member it is no bundle: {}", verdict.stderr);
            continue;
        }
        assert!(
            json_findings(&verdict).iter().any(|found| found["member"] == name.as_str()),
            "{name}: {}",
            verdict.stdout
        );
        verdict.assert_code(INTEGRITY);
    }
}

#[test]
fn u_02_pages_of_zeros_and_exchanged_pages_are_found_where_they_are() {
    const PAGE: usize = 4096;
    let release = Release::of(&[&TestImage::new("octoperf/agent:1").random_layer(1, 200_000)]);
    let whole = release.bundle();
    let verdict = |changed: &[u8]| {
        let path = release.site.write("pages.tar", changed);
        bundle::verify(path.as_path(), 2, &Silent)
    };
    let mut tried = 0;
    for at in (0..whole.len() - 2 * PAGE).step_by(PAGE).step_by(3) {
        let (mut zeroed, mut exchanged) = (whole.clone(), whole.clone());
        zeroed[at..at + PAGE].fill(0);
        exchanged[at..at + 2 * PAGE].rotate_left(PAGE);
        for (what, changed) in [("zeros", zeroed), ("exchanged", exchanged)] {
            if changed == whole {
                continue;
            }
            tried += 1;
            let Ok(verdict) = verdict(&changed) else {
                assert_eq!(at, 0, "{what}: only without its first page it is no bundle");
                continue;
            };
            let touches = |found: &Finding| found.from < (at + 2 * PAGE) as u64 && found.to > at as u64;
            assert!(verdict.findings.iter().any(touches), "{what} at {at}: {:?}", verdict.findings);
        }
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn a_damaged_layer_hurts_the_images_that_use_it_and_no_others() {
    let release = release();
    let bundle = release.bundle();
    let mut parts = Parts::of(&bundle);
    let layers = parts.layers(3);
    for place in layers {
        let digest = parts.name(place).replace("blobs/sha256/", "sha256:");
        parts.0[place].1[20] ^= 1;
        release.site.write("damaged.tar", parts.joined());
        parts.0[place].1[20] ^= 1;
        let verdict = release.site.octobundle(["verify", "damaged.tar", "--json"]).run().assert_code(INTEGRITY);
        let findings = json_findings(&verdict);
        assert_eq!(findings.len(), 1, "{}", verdict.stdout);
        let uses = |image: &TestImage| support::images::Sample::content(image).blobs.contains_key(&digest);
        let expected: Vec<&str> = [(0, uses(&agent())), (1, uses(&jmeter()))]
            .iter()
            .filter(|(_, uses)| *uses)
            .map(|(image, _)| release.name(*image))
            .collect();
        assert_eq!(findings[0]["images"], serde_json::json!(expected));
        assert_eq!(findings[0]["problem"], "content");
    }
}

#[test]
fn everything_that_is_wrong_is_told_and_not_only_the_first() {
    let release = release();
    let bundle = release.bundle();
    let mut parts = Parts::of(&bundle);
    let layers: Vec<usize> = parts.layers(3).collect();
    let damaged: BTreeMap<String, usize> = layers.iter().map(|&place| (parts.name(place), place)).collect();
    for &place in &layers {
        parts.0[place].1[0] ^= 0x80;
    }
    release.site.write("damaged.tar", parts.joined());
    let verdict = release.site.octobundle(["verify", "damaged.tar"]).run().assert_code(INTEGRITY);
    for name in damaged.keys() {
        assert!(verdict.stdout.contains(name), "{}", verdict.stdout);
    }
    assert!(verdict.stdout.contains("DAMAGED, 3 findings"), "{}", verdict.stdout);
    let host = release.registry.host();
    let shown: String =
        verdict.stdout.lines().filter(|line| line.contains("hurts:") || line.contains("Do not")).collect();
    assert_eq!(shown.matches(&host).count(), 4, "two images, one layer shared: {shown}");
}

/// A header with these raw bytes as its name.
fn header(name: &[u8], kind: u8, size: usize) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(315_532_800);
    header.set_size(size as u64);
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn linking(name: &[u8], kind: u8, target: &[u8]) -> Vec<u8> {
    let mut block = header(name, kind, 0);
    block[157..157 + target.len()].copy_from_slice(target);
    summed(&block)
}

/// The same header with the checksum that it should have.
fn summed(block: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::from_byte_slice(block).clone();
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn padded(content: &[u8]) -> Vec<u8> {
    let mut content = content.to_vec();
    content.resize(content.len().next_multiple_of(BLOCK), 0);
    content
}

type Extra = Vec<(Vec<u8>, Vec<u8>)>;

fn file(name: &[u8]) -> Extra {
    vec![(header(name, b'0', 4), padded(b"evil"))]
}

/// A PAX record that says something about the next member.
fn extended(kind: u8, record: &str) -> Extra {
    let length = record.len() + 4;
    let record = format!("{length} {record}\n");
    let mut extra = vec![(header(b"PaxHeaders/x", kind, record.len()), padded(record.as_bytes()))];
    extra.extend(file(b"octobundle-evil"));
    extra
}

/// Members that have no place in a bundle.
fn strangers(existing: &str) -> Vec<(String, Extra)> {
    let upper = existing.to_uppercase();
    let names: [&[u8]; 26] = [
        b"/tmp/octobundle-evil",
        b"../octobundle-evil",
        b"a/../../octobundle-evil",
        b"blobs/sha256/../../../octobundle-evil",
        b"..\\octobundle-evil",
        b"\\octobundle-evil",
        b"C:\\octobundle-evil",
        b"C:octobundle-evil",
        b"\\\\host\\share\\x",
        b"./README.txt",
        b"README.txt",
        b"readme.txt",
        b"README.TXT",
        b"README.txt/",
        b"README.txt.",
        b"README.txt ",
        b"blobs//sha256/x",
        b"blobs/sha256/",
        b"",
        b".",
        b"..",
        b"oci-layout\0hidden",
        b"CON",
        b"\x1b[2Jx",
        b"\xff\xfe",
        "\u{202e}txt.EMDAER".as_bytes(),
    ];
    let mut strangers: Vec<(String, Extra)> =
        names.iter().map(|name| (format!("file {}", name.escape_ascii()), file(name))).collect();
    strangers.push(("a blob twice".to_owned(), file(existing.as_bytes())));
    strangers.push(("a blob in capitals".to_owned(), file(upper.as_bytes())));
    for kind in *b"34567DMNSVAXx\0" {
        strangers
            .push((format!("type {:?}", char::from(kind)), vec![(header(b"octobundle-evil", kind, 0), Vec::new())]));
    }
    for (kind, what) in [(b'2', "symbolic link"), (b'1', "hard link")] {
        for target in [&b"/etc/passwd"[..], b"../octobundle-evil", b"README.txt", b""] {
            let what = format!("{what} to {}", target.escape_ascii());
            strangers.push((what, vec![(linking(b"octobundle-evil", kind, target), Vec::new())]));
        }
    }
    let mut through = vec![(linking(b"evil", b'2', b".."), Vec::new())];
    through.extend(file(b"evil/octobundle-evil"));
    strangers.push(("a file through a link".to_owned(), through));
    let folder = vec![(header(b"blobs/", b'5', 0), Vec::new())];
    strangers.push(("a folder".to_owned(), folder));
    for (kind, record) in [
        (b'x', "path=../octobundle-evil"),
        (b'g', "path=../octobundle-evil"),
        (b'x', "size=1"),
        (b'x', "size=99999999999"),
        (b'x', "linkpath=/etc/passwd"),
        (b'g', "comment=hello"),
        (b'x', "GNU.sparse.size=10"),
        (b'x', "mtime=1"),
    ] {
        strangers.push((format!("PAX {} {record}", char::from(kind)), extended(kind, record)));
    }
    for kind in [b'L', b'K'] {
        let mut long = vec![(header(b"././@LongLink", kind, 18), padded(b"../octobundle-evil"))];
        long.extend(file(b"short"));
        strangers.push((format!("GNU {}", char::from(kind)), long));
    }
    strangers
}

type Bend = fn(&mut Vec<u8>);

/// What a tar reader might see in a header, or in none, though the bundle means nothing by it.
fn bent_headers() -> Vec<(&'static str, Bend)> {
    vec![
        ("symbolic link", |block| block[156] = b'2'),
        ("hard link", |block| block[156] = b'1'),
        ("device", |block| block[156] = b'3'),
        ("pipe", |block| block[156] = b'6'),
        ("folder", |block| block[156] = b'5'),
        ("contiguous", |block| block[156] = b'7'),
        ("extension", |block| block[156] = b'x'),
        ("sparse", |block| block[156] = b'S'),
        ("old regular", |block| block[156] = 0),
        ("setuid", |block| block[100..108].copy_from_slice(b"0004755\0")),
        ("an owner", |block| block[108..116].copy_from_slice(b"0001750\0")),
        ("a time", |block| block[136..148].copy_from_slice(b"14000000000\0")),
        ("an owner's name", |block| block[265..269].copy_from_slice(b"root")),
        ("a prefix", |block| block[345..347].copy_from_slice(b"..")),
        ("a link's target", |block| block[157..160].copy_from_slice(b"/x\0")),
        ("GNU's form", |block| block[257..265].copy_from_slice(b"ustar  \0")),
        ("no form", |block| block[257..265].fill(0)),
        ("a device number", |block| block[329..337].copy_from_slice(b"0000001\0")),
        ("bytes behind", |block| block[511] = 1),
        ("a name behind the name", |block| block[99] = b'x'),
        ("spaces before the size", |block| block[124..126].copy_from_slice(b"  ")),
        ("a size in base 256", |block| {
            let digits = String::from_utf8(block[124..135].to_vec()).expect("small sizes are octal");
            let size = u32::from_str_radix(&digits, 8).expect("small sizes are octal");
            block[124..136].fill(0);
            block[124] = 0x80;
            block[132..136].copy_from_slice(&size.to_be_bytes());
        }),
        ("a negative size", |block| block[124..136].fill(0xff)),
        ("a huge size", |block| block[124..136].copy_from_slice(b"77777777777\0")),
        ("one byte less", |block| block[134] ^= 1),
    ]
}

/// Every path below a folder.
fn listing(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("own folders can be listed").flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// Whether some command that a user would give it to refuses this file, in words and without a trace.
#[track_caller]
fn assert_refused(release: &Release, what: &str, tar: &[u8], commands: &[&[&str]]) {
    release.site.write("evil.tar", tar);
    let before = listing(&release.site.path("."));
    for command in commands {
        let output = release.site.octobundle(*command).run();
        assert!([Some(INPUT), Some(INTEGRITY)].contains(&output.code), "{what}: {output:?}");
        let told = format!("{}{}", output.stdout, output.stderr);
        assert!(!told.contains("panicked") && !told.contains(['\u{1b}', '\u{202e}']), "{what}: {told:?}");
    }
    assert_eq!(listing(&release.site.path(".")), before, "{what} left something");
    let outside = [release.site.path("../octobundle-evil"), "/tmp/octobundle-evil".into()];
    assert!(outside.iter().all(|path| !path.exists()), "{what} left something outside");
}

const VERIFY: &[&str] = &["verify", "evil.tar"];
const LOAD: &[&str] = &["load", "evil.tar"];
const INSPECT: &[&str] = &["inspect", "evil.tar"];
const PUSH: &[&str] = &["push", "evil.tar", "--registry", "127.0.0.1:1/x", "--dry-run"];

#[test]
fn sec_39_tars_with_members_of_others_are_refused_by_every_command() {
    let release = release();
    let bundle = release.bundle();
    let existing = Parts::of(&bundle).name(6);
    let strangers = strangers(&existing);
    assert!(strangers.len() >= 60, "{} kinds", strangers.len());
    for (number, (what, extra)) in strangers.iter().enumerate() {
        let places = [0, 3, 6, Parts::of(&bundle).0.len()];
        for place in places {
            let mut parts = Parts::of(&bundle);
            parts.0.splice(place..place, extra.iter().cloned());
            let path = release.site.write("evil.tar", parts.joined());
            let refused = bundle::verify(&path, 1, &Silent).map_or(true, |verdict| !verdict.findings.is_empty());
            assert!(refused && Bundle::open(&path).is_err(), "{what} at {place}");
        }
        let mut parts = Parts::of(&bundle);
        let place = places[number % places.len()];
        parts.0.splice(place..place, extra.iter().cloned());
        assert_refused(&release, what, &parts.joined(), &[VERIFY, LOAD, INSPECT, PUSH]);
    }
}

#[test]
fn sec_42_headers_that_say_more_than_name_and_size_are_refused() {
    let release = release();
    let bundle = release.bundle();
    for (what, bend) in bent_headers() {
        for (place, commands) in [
            (5, &[VERIFY, LOAD, INSPECT, PUSH][..]),
            // Headers of blobs are not read by who does not read blobs: the lock alone says where they are.
            (Parts::of(&bundle).0.len() - 1, &[VERIFY, LOAD]),
        ] {
            let mut parts = Parts::of(&bundle);
            let block = &mut parts.0[place].0;
            bend(block);
            *block = summed(block);
            assert_refused(&release, what, &parts.joined(), commands);
        }
    }
    let mut parts = Parts::of(&bundle);
    parts.0[5].0[148] ^= 1;
    assert_refused(&release, "a wrong checksum", &parts.joined(), &[VERIFY, LOAD, INSPECT, PUSH]);
}

#[test]
fn locks_that_point_elsewhere_are_refused() {
    let release = release();
    let bundle = release.bundle();
    let sound = Parts::of(&bundle);
    let size = |text: &[u8]| text.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let text = String::from_utf8(sound.0[3].1[..size(&sound.0[3].1)].to_vec()).expect("it is JSON");
    let last = sound.name(sound.0.len() - 1).replace("blobs/sha256/", "");
    for (what, altered) in [
        ("a path as digest", text.replace(&last, "../../../../etc/passwd")),
        ("another digest", text.replace(&last, &"0".repeat(64))),
        ("another name", text.replace("octoperf/jmeter", "octoperf/evil")),
        ("an unknown field", text.replacen('{', "{\"extra\": 1,", 1)),
        ("another format", text.replace("octobundle/bundle/v1", "octobundle/bundle/v9")),
        ("no JSON", "x".to_owned()),
        ("deep nesting", "[".repeat(100_000)),
        ("a huge size", text.replacen("\"size\": ", "\"size\": 999999999", 1)),
        ("the largest size", text.replacen("\"size\": ", "\"size\": 18446744073709551615, \"x\": ", 1)),
        ("sizes beyond counting", with_sizes(&text, u64::MAX)),
        ("sizes whose sum is beyond counting", with_sizes(&text, u64::MAX / 2)),
    ] {
        let mut parts = Parts::of(&bundle);
        parts.0[3] = (header(b"octobundle.json", b'0', altered.len()), padded(altered.as_bytes()));
        assert_refused(&release, what, &parts.joined(), &[VERIFY, LOAD, INSPECT, PUSH]);
    }
}

/// The lock with every layer's size replaced.
fn with_sizes(lock: &str, size: u64) -> String {
    let mut lock: Value = serde_json::from_str(lock).expect("it is JSON");
    for image in lock["lock"]["images"].as_array_mut().expect("it lists images") {
        for platform in image["platforms"].as_array_mut().expect("it lists platforms") {
            for layer in platform["layers"].as_array_mut().expect("it lists layers") {
                layer["size"] = size.into();
            }
        }
    }
    lock.to_string()
}

fn tar_with(names: &[&str]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for name in names {
        support::images::append(&mut archive, name, b"{}");
    }
    archive.into_inner().expect("memory takes every byte")
}

#[test]
fn a_file_of_another_kind_is_told_apart() {
    let release = release();
    release.resolve().args(["--lock", "release.lock"]).run().assert_ok();
    let lock = release.site.read("release.lock");
    let bundle = release.bundle();
    let cases: [(&str, Vec<u8>, &str); 13] = [
        ("docker archive", tar_with(&["manifest.json", "x.json"]), "docker save"),
        ("OCI archive", tar_with(&["index.json", "blobs/sha256/x"]), "OCI image archive"),
        ("OCI archive, marked", tar_with(&["oci-layout", "index.json"]), "OCI image archive"),
        ("any tar", tar_with(&["hello"]), "another tool"),
        ("gzip", support::images::gzip(&bundle), "gunzip"),
        ("zstd", b"\x28\xb5\x2f\xfd rest".to_vec(), "unzstd"),
        ("zip", b"PK\x03\x04rest".to_vec(), "zip"),
        ("html", b"<!DOCTYPE html><title>Log in</title>".to_vec(), "web page"),
        ("empty", Vec::new(), "an empty file"),
        ("zeros", vec![0; 4096], "zeros"),
        ("lock", lock, "--locked"),
        ("manifest", release.site.read("release.yaml"), "release manifest"),
        ("text", b"hello".to_vec(), "unknown kind"),
    ];
    for (what, content, expected) in cases {
        release.site.write("evil.tar", content);
        for command in [VERIFY, LOAD, INSPECT, PUSH] {
            let refused = release.site.octobundle(command).run();
            assert!(refused.stderr.contains(expected), "{what}: {command:?}: {}", refused.stderr);
            assert!(refused.stderr.contains("evil.tar") && refused.stderr.contains("help:"), "{}", refused.stderr);
            refused.assert_code(INPUT);
        }
    }
    fs::create_dir(release.site.path("folder")).expect("folders can be made");
    let folder = release.site.octobundle(["verify", "folder"]).run();
    assert!(folder.stderr.contains("a folder"), "{}", folder.stderr);
    if cfg!(unix) {
        let device = release.site.octobundle(["verify", "/dev/null"]).run();
        assert!(device.stderr.contains("a device"), "{}", device.stderr);
    }
    release.site.octobundle(["verify", "nowhere.tar"]).run().assert_code(NOT_FOUND);
}

#[test]
fn a_partial_file_is_not_sound() {
    let release = release();
    let largest = release.bundle().len();
    let parts = Parts::of(&release.site.read("release.tar"));
    let digest = parts.name(parts.layers(3).start).replace("blobs/sha256/", "sha256:");
    release.registry.remove_blob(&digest);
    let part = release.pull("part.tar").run();
    assert_ne!(part.code, Some(0), "{part:?}");
    let partial = fs::read(release.site.path("part.tar.partial")).expect("what came is kept");
    assert_eq!(partial.len(), largest, "it has its final length from the start");
    let verdict = release.site.octobundle(["verify", "part.tar.partial", "--json"]).run().assert_code(INTEGRITY);
    let member = digest.replace("sha256:", "blobs/sha256/");
    assert!(json_findings(&verdict).iter().any(|found| found["member"] == member.as_str()), "{}", verdict.stdout);
    let looked = release.site.octobundle(["inspect", "part.tar.partial"]).run().assert_code(INTEGRITY);
    assert!(looked.stderr.contains("the same `octobundle pull` again"), "{}", looked.stderr);
    release.site.octobundle(["load", "part.tar.partial"]).run().assert_code(INTEGRITY);
}

#[test]
fn a_sound_bundle_is_called_sound_with_what_it_holds() {
    let release = release();
    let bundle = release.bundle();
    let verdict = release.site.octobundle(["verify", "release.tar", "--json"]).run().assert_ok().json();
    assert_eq!((&verdict["sound"], &verdict["images"]), (&true.into(), &2.into()));
    assert_eq!(verdict["bytes"], bundle.len());
    assert_eq!(verdict["findings"], serde_json::json!([]));
    let text = release.site.octobundle(["verify", "release.tar"]).run().assert_ok().stdout;
    assert!(text.starts_with("release.tar: sound. sample-1, 2 images"), "{text}");
}

#[test]
fn one_image_one_layer_and_one_finding_are_no_plurals() {
    let release = Release::of(&[&TestImage::new("octoperf/agent:1").layer(b"hello")]);
    let resolved = release.resolve().run().assert_ok().stdout;
    let pulled = release.pull("one.tar").run().assert_ok().stdout;
    let verified = release.site.octobundle(["verify", "one.tar"]).run().assert_ok().stdout;
    let said = [resolved, pulled, verified].concat();
    assert_eq!(said.matches("1 image,").count(), 3, "{said}");
    assert!(said.contains("1 layer,") && !said.contains("1 images") && !said.contains("1 layers"), "{said}");
    let tar = release.site.path("one.tar");
    let mut bytes = fs::read(&tar).unwrap();
    let at = bytes.windows(5).rposition(|window| window == b"hello").unwrap();
    bytes[at] = b'j';
    fs::write(&tar, bytes).unwrap();
    let damaged = release.site.octobundle(["verify", "one.tar"]).run().assert_code(INTEGRITY);
    assert!(damaged.stdout.contains("DAMAGED, 1 finding\n"), "{damaged:?}");
}
