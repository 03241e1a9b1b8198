//! `octobundle key new`, `sign`, and what `verify`, `push` and `render` make of signatures: nothing but enough good ones
//! is ever called trusted.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use octobundle::bundle::Bundle;
use octobundle::trust::{LockedKey, Policy, PublicKey, Signature, Signed};
use support::cli::{Output, Run};
use support::images::TestImage;
use support::memory_registry::MemoryRegistry;
use support::real::need;
use support::release::Release;

const USAGE: i32 = 2;
const INPUT: i32 = 3;
const ACCESS: i32 = 4;
const INTEGRITY: i32 = 7;
const TRUST: i32 = 8;
const BUNDLE: &str = "release.tar";
/// Where the one image goes.
const PUSHED: &str = "x/octoperf/agent";

/// A bundle, and three people with keys without passwords.
struct World {
    release: Release,
}

impl World {
    fn new() -> Self {
        let release = Release::of(&[&TestImage::new("octoperf/agent:1").layer(b"hello").layer(b"world")]);
        release.bundle();
        let world = Self { release };
        for name in ["anna", "ben", "carol"] {
            world.run(&["key", "new", &format!("{name}.key"), "--no-password"]).run().assert_ok();
        }
        world
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.release.site.octobundle(arguments)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.release.site.path(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        self.release.site.read(name)
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        self.release.site.write(name, contents);
    }

    fn sign(&self, name: &str) -> PathBuf {
        self.sign_as(name, &[])
    }

    fn sign_as(&self, name: &str, more: &[&str]) -> PathBuf {
        let key = format!("{name}.key");
        let arguments = [&["sign", BUNDLE, "--key", &key, "--json"][..], more].concat();
        let report = self.run(&arguments).run().assert_ok().json();
        self.path(report["signature"].as_str().expect("it is text"))
    }

    fn public(&self, name: &str) -> PublicKey {
        PublicKey::parse_file(&self.read(&format!("{name}.key.pub"))).expect("it was just written")
    }

    fn signature_name(&self, name: &str) -> String {
        format!("{BUNDLE}.{}.minisig", self.public(name).id())
    }

    /// `2 of [anna, ben, carol]`.
    fn policy(&self, require: &str) -> &'static str {
        let keys: Vec<String> =
            ["anna", "ben", "carol"].iter().map(|name| format!("  {name}: {}\n", self.public(name))).collect();
        self.write(
            "policy.yaml",
            format!("schema: octobundle/policy/v1\nkeys:\n{}require: {require}\n", keys.concat()),
        );
        "policy.yaml"
    }

    fn checksums(&self) -> Vec<u8> {
        Bundle::open(self.path(BUNDLE)).expect("it is sound").checksums().to_vec()
    }

    #[track_caller]
    fn verify(&self, code: i32) -> Output {
        self.run(&["verify", BUNDLE, "--trust", "anna.key.pub"]).run().assert_code(code)
    }
}

fn is_called_trusted(output: &Output) -> bool {
    output.stdout.lines().any(|line| line == "trusted")
}

#[test]
fn sec_65_verify_has_three_outcomes_with_three_exit_codes() {
    let world = World::new();
    let unsigned = world.verify(TRUST);
    assert!(unsigned.stdout.contains("NOT TRUSTED: signed by 0 of the 1"), "{}", unsigned.stdout);
    let before = world.read(BUNDLE);
    let file = world.sign("anna");
    assert_eq!(file, world.path(&world.signature_name("anna")));
    assert!(before == world.read(BUNDLE), "signing leaves the bundle as it was");
    let trusted = world.verify(0);
    assert!(is_called_trusted(&trusted), "{}", trusted.stdout);
    let line = world.public("anna").to_string();
    assert!(is_called_trusted(&world.run(&["verify", BUNDLE, "--trust", &line]).run().assert_ok()));
    let unchecked = world.run(&["verify", BUNDLE]).run().assert_ok();
    assert!(unchecked.stdout.contains("no signature was checked"), "{}", unchecked.stdout);

    let mut damaged = before;
    let last = damaged.len() - 2000;
    damaged[last] ^= 1;
    world.write(BUNDLE, damaged);
    let damaged = world.verify(INTEGRITY);
    assert!(!damaged.stdout.contains("signed by"), "{}", damaged.stdout);
}

#[test]
fn sec_71_each_link_from_the_signature_to_the_bytes_that_are_sent_holds() {
    let world = World::new();
    world.sign("anna");
    let sound = world.read(BUNDLE);
    let push = || {
        let registry = MemoryRegistry::start();
        let target = format!("{}/x", registry.host());
        let pushed = world.run(&["push", BUNDLE, "--registry", &target, "--trust", "anna.key.pub"]).run();
        (registry, pushed)
    };
    let (registry, pushed) = push();
    pushed.assert_ok();
    assert_eq!(registry.tags(PUSHED), ["1"]);

    // The signed checksums, by those of another bundle that is sound in itself.
    let other = Release::of(&[&TestImage::new("octoperf/agent:1").layer(b"other")]);
    world.write(BUNDLE, other.bundle());
    let (registry, pushed) = push();
    pushed.assert_code(TRUST);
    assert!(registry.requests().is_empty(), "nothing was even asked");

    // Everything else, one member at a time: README, lock, documents, layers.
    world.write(BUNDLE, &sound);
    let members = Bundle::open(world.path(BUNDLE)).expect("it is sound").layout().members().to_vec();
    for member in members.iter().filter(|member| member.size > 0) {
        let mut changed = sound.clone();
        changed[usize::try_from(member.start()).expect("it is small")] ^= 1;
        world.write(BUNDLE, &changed);
        let (registry, pushed) = push();
        let code = pushed.code.expect("no signal ended it");
        assert!([INPUT, INTEGRITY, TRUST].contains(&code), "{}: {code} {}", member.path, pushed.stderr);
        assert_eq!(registry.tags(PUSHED), [""; 0], "{}: nothing gets a name", member.path);
        let path = member.path.to_string();
        let sent = registry.blobs().into_iter().find(|digest| path.ends_with(digest.trim_start_matches("sha256:")));
        assert_eq!(sent, None, "what was changed does not arrive");
    }
}

#[test]
fn sec_66_what_is_not_one_good_signature_is_never_called_trusted() {
    let world = World::new();
    world.sign("anna");
    let name = world.signature_name("anna");
    let good = world.read(&name);
    let text = String::from_utf8(good.clone()).expect("signatures are text");
    let lines: Vec<&str> = text.lines().collect();
    let elsewhere = Release::of(&[&TestImage::new("octoperf/agent:1").layer(b"other")]);
    fs::write(elsewhere.site.path("anna.key"), world.read("anna.key")).expect("own files can be written");
    elsewhere.bundle();
    let of_another = elsewhere.site.octobundle(["sign", BUNDLE, "--key", "anna.key"]).run().assert_ok();
    assert!(of_another.stdout.contains("all of it read and sound"));
    let of_another = elsewhere.site.read(&name);
    world.sign("ben");
    let by_a_stranger = world.read(&world.signature_name("ben"));
    fs::remove_file(world.path(&world.signature_name("ben"))).expect("it is there");
    let joined = |lines: &[&str]| format!("{}\n", lines.join("\n")).into_bytes();
    // In base64 `ED` begins with `RU`, `Ed` with `RW`.
    assert!(lines[1].starts_with("RU"), "{text}");
    let mut cases: Vec<(String, Vec<u8>)> = vec![
        ("empty".into(), Vec::new()),
        ("blank".into(), b"\n\n\n\n".to_vec()),
        ("doubled".into(), [&good[..], &good].concat()),
        ("another line".into(), [&good[..], b"more\n"].concat()),
        ("of another bundle".into(), of_another.clone()),
        ("by a stranger".into(), by_a_stranger.clone()),
        ("lines in another order".into(), joined(&[lines[2], lines[1], lines[0], lines[3]])),
        ("signatures exchanged".into(), joined(&[lines[0], lines[3], lines[2], lines[1]])),
        ("unknown algorithm".into(), text.replacen("\nRU", "\nRX", 1).into_bytes()),
        ("the other algorithm".into(), text.replacen("\nRU", "\nRW", 1).into_bytes()),
        ("another comment".into(), joined(&[lines[0], lines[1], "trusted comment: timestamp:1", lines[3]])),
        (
            "halves of two".into(),
            [
                joined(&lines[..2]),
                joined(&String::from_utf8(of_another).expect("it is text").lines().skip(2).collect::<Vec<_>>()),
            ]
            .concat(),
        ),
        ("in a long file".into(), [&good[..], &vec![b'\n'; 1 << 20]].concat()),
        ("not text".into(), vec![0xff; 300]),
    ];
    cases.extend((0..good.len() - 1).step_by(7).map(|length| (format!("cut at {length}"), good[..length].to_vec())));
    let minisign = need("minisign");
    world.write("SHA256SUMS", world.checksums());
    let minisign_takes_it = || {
        let minisign = minisign.as_ref()?;
        let verify = ["-V", "-q", "-m", "SHA256SUMS", "-x", &name, "-p", "anna.key.pub"];
        Some(world.release.site.run(minisign, verify).run().code == Some(0))
    };
    // minisign reads four lines and looks at nothing behind them. Here a file is one signature and nothing else.
    let behind_the_end = ["doubled", "another line", "in a long file"];
    for (what, bytes) in cases {
        world.write(&name, &bytes);
        let output = world.run(&["verify", BUNDLE, "--trust", "anna.key.pub"]).run();
        assert_eq!(output.code, Some(TRUST), "{what}: {}{}", output.stdout, output.stderr);
        assert!(!is_called_trusted(&output), "{what}: {}", output.stdout);
        if let Some(takes_it) = minisign_takes_it() {
            assert_eq!(takes_it, behind_the_end.contains(&what.as_str()), "minisign, {what}");
        }
    }
    world.write(&name, &good);
    assert!(minisign_takes_it().unwrap_or(true), "minisign takes what was made here");

    fs::remove_file(world.path(&name)).expect("it is there");
    assert!(!minisign_takes_it().unwrap_or_default(), "where there is none, minisign refuses as well");
    assert!(!is_called_trusted(&world.verify(TRUST)), "nor is it called trusted here");
    let huge = fs::File::create(world.path(&name)).expect("files can be made");
    huge.set_len(1 << 30).expect("it has holes");
    world.verify(TRUST);
    fs::remove_file(world.path(&name)).expect("it is there");
    fs::create_dir(world.path(&name)).expect("folders can be made");
    assert!(!is_called_trusted(&world.verify(USAGE)));
    fs::remove_dir(world.path(&name)).expect("it is there");
    for number in 0..10_000 {
        fs::write(world.path(&format!("{BUNDLE}.{number}.minisig")), &good).expect("files can be written");
    }
    let flood = world.verify(TRUST);
    assert!(flood.stderr.contains("has 10000 signature files"), "{}", flood.stderr);
    let named = ["verify", BUNDLE, "--trust", "anna.key.pub", "--signature", "release.tar.7.minisig"];
    assert!(is_called_trusted(&world.run(&named).run().assert_ok()), "one that is named is enough");
}

#[test]
fn sec_66_every_flipped_bit_of_signature_key_and_checksums_ends_trust_and_minisign_agrees() {
    let world = World::new();
    let file = world.sign("anna");
    let (text, key, sums) = (fs::read(file).expect("it was written"), world.public("anna"), world.checksums());
    world.write("SHA256SUMS", &sums);
    let trusted = |text: &[u8], key: &str, sums: &[u8]| {
        let Ok(key) = key.parse::<PublicKey>() else { return false };
        let policy = Policy::any_of(&[key]).expect("a key is named");
        policy.judge(sums, &[Signed { place: "it".into(), signature: Signature::parse(text) }]).is_trusted()
    };
    let line = key.to_string();
    assert!(trusted(&text, &line, &sums));
    let flipped = |bytes: &[u8], bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    let minisign = need("minisign");
    let agrees = |text: &[u8], key: &str, sums: &[u8]| -> Option<bool> {
        let minisign = minisign.as_ref()?;
        world.write("flipped.minisig", text);
        world.write("FLIPPED", sums);
        let arguments = ["-V", "-q", "-m", "FLIPPED", "-x", "flipped.minisig", "-P", key];
        Some(world.release.site.run(minisign, arguments).run().code == Some(0))
    };
    assert!(agrees(&text, &line, &sums).is_none_or(|agrees| agrees));

    // Of a letter before `=` base64 uses some bits only: minisign passes over the others, octobundle wants them unset.
    let half_used: Vec<usize> = (1..text.len())
        .filter(|&at| text[at] == b'=' && text[at - 1] != b'=')
        .map(|at| at - 1)
        .filter(|&at| at > text.iter().position(|&byte| byte == b'\n').expect("it has lines"))
        .collect();
    assert_eq!(half_used.len(), 2);
    // The untrusted comment behind its prefix is the one part that nobody vouches for.
    let first_line = text.iter().position(|&byte| byte == b'\n').expect("it has lines");
    for bit in 0..text.len() * 8 {
        let changed = flipped(&text, bit);
        let ours = trusted(&changed, &line, &sums);
        let at = bit / 8;
        let is_free = (("untrusted comment: ".len())..first_line).contains(&at);
        assert!(!ours || is_free, "bit {bit}");
        if bit % 8 == at % 8 && !half_used.contains(&at) {
            let theirs = agrees(&changed, &line, &sums);
            assert!(ours || theirs.is_none_or(|theirs| !theirs), "minisign takes bit {bit}, which is refused here");
        }
    }
    for bit in 0..line.len() * 8 {
        let Ok(changed) = String::from_utf8(flipped(line.as_bytes(), bit)) else { continue };
        assert!(!trusted(&text, &changed, &sums), "bit {bit} of the key");
        // No command line holds a NUL.
        if bit % 8 == (bit / 8) % 8 && !changed.contains('\0') {
            assert!(agrees(&text, &changed, &sums).is_none_or(|theirs| !theirs), "minisign takes bit {bit} of the key");
        }
    }
    for bit in 0..sums.len() * 8 {
        assert!(!trusted(&text, &line, &flipped(&sums, bit)), "bit {bit} of the checksums");
    }
    assert!(!agrees(&text, &line, &flipped(&sums, 1)).unwrap_or_default());
}

#[test]
fn sec_66_minisign_agrees_with_signatures_made_here_and_its_own_are_taken() {
    let Some(minisign) = need("minisign") else { return };
    let world = World::new();
    let site = &world.release.site;
    let file = world.sign("anna");
    site.run(Path::new("/bin/tar"), ["-xf", BUNDLE, "SHA256SUMS"]).run().assert_ok();
    let file = file.to_str().expect("it is text");
    let verified = ["-V", "-H", "-m", "SHA256SUMS", "-x", file, "-p", "anna.key.pub"];
    let verified = site.run(&minisign, verified).run().assert_ok();
    assert!(verified.stdout.contains("bundle:sample"), "{}", verified.stdout);
    site.run(&minisign, ["-V", "-m", "SHA256SUMS", "-x", file, "-p", "ben.key.pub"]).run().assert_code(1);

    fs::remove_file(file).expect("it was written");
    for legacy in [&[][..], &["-l"]] {
        for comment in [&[][..], &["-t", " words with blanks "], &["-t", ""]] {
            let sign = ["-S", "-W", "-s", "anna.key", "-m", "SHA256SUMS", "-x", "release.tar.minisig"];
            site.run(&minisign, sign).args(legacy).args(comment).run().assert_ok();
            let trusted = world.verify(0);
            assert!(is_called_trusted(&trusted), "{legacy:?} {comment:?}: {}", trusted.stdout);
        }
    }
    // A text file from another system.
    let text = String::from_utf8(world.read("release.tar.minisig")).expect("it is text");
    world.write("release.tar.minisig", text.replace('\n', "\r\n"));
    assert!(is_called_trusted(&world.verify(0)));
    let taken = ["-V", "-m", "SHA256SUMS", "-x", "release.tar.minisig", "-p", "anna.key.pub"];
    site.run(&minisign, taken).run().assert_ok();
}

#[test]
fn keys_with_passwords_are_those_of_minisign() {
    let Some(minisign) = need("minisign") else { return };
    let world = World::new();
    let site = &world.release.site;
    let written = world.run(&["key", "new", "dora.key", "--password-stdin"]).input("a pass phrase\n").run().assert_ok();
    let mode = |name: &str| fs::metadata(world.path(name)).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode("dora.key"), 0o600);
    assert!(!written.stdout.contains("phrase"));
    world.write("SHA256SUMS", world.checksums());
    let sign = ["-S", "-s", "dora.key", "-m", "SHA256SUMS", "-x", "release.tar.minisig"];
    site.run(&minisign, sign).input("a pass phrase\n").run().assert_ok();
    world.run(&["verify", BUNDLE, "--trust", "dora.key.pub"]).run().assert_ok();

    let make = ["-G", "-s", "emil.key", "-p", "emil.pub"];
    site.run(&minisign, make).input("other words\nother words\n").run().assert_ok();
    let sign = ["sign", BUNDLE, "--key", "emil.key", "--password-stdin"];
    let wrong = world.run(&sign).input("wrong words\n").run().assert_code(ACCESS);
    assert!(
        wrong.stderr.contains("the password is wrong") && !wrong.stderr.contains("wrong words"),
        "{}",
        wrong.stderr
    );
    world.run(&sign).input("other words\n").run().assert_ok();
    world.run(&["verify", BUNDLE, "--trust", "emil.pub"]).run().assert_ok();
}

#[test]
fn key_new_replaces_nothing_and_wants_a_password() {
    let world = World::new();
    let before = world.read("anna.key");
    let again = world.run(&["key", "new", "anna.key", "--no-password"]).run().assert_code(USAGE);
    assert!(again.stderr.contains("a key is never replaced"), "{}", again.stderr);
    world.write("x.key.pub", "somebody's");
    world.run(&["key", "new", "x.key", "--no-password"]).run().assert_code(USAGE);
    assert!(!world.path("x.key").exists());
    symlink("elsewhere", world.path("y.key")).expect("links can be made");
    world.run(&["key", "new", "y.key", "--no-password"]).run().assert_code(USAGE);
    assert!(!world.path("elsewhere").exists() && before == world.read("anna.key"));
    for input in ["", "\n"] {
        world.run(&["key", "new", "z.key", "--password-stdin"]).input(input).run().assert_code(USAGE);
    }
    world.run(&["key", "new", "z.key"]).run().assert_code(USAGE);
    assert!(!world.path("z.key").exists());
}

#[test]
fn volumes_are_signed_under_the_name_that_they_have_in_common() {
    let world = World::new();
    world.sign("anna");
    let signature = world.read(&world.signature_name("anna"));
    let bundle = world.read(BUNDLE);
    for (number, volume) in (1..).zip(bundle.chunks(bundle.len() / 3 + 1)) {
        world.write(&format!("stick/{BUNDLE}.{number:03}"), volume);
    }
    let verify =
        |code: i32| world.run(&["verify", "stick/release.tar.001", "--trust", "anna.key.pub"]).run().assert_code(code);
    verify(TRUST);
    world.write(&format!("stick/{}", world.signature_name("anna")), &signature);
    assert!(is_called_trusted(&verify(0)));
    world.run(&["sign", "stick", "--key", "ben.key"]).run().assert_ok();
    let path = world.path(&format!("stick/{}", world.signature_name("ben")));
    assert!(path.is_file(), "{}", path.display());
}

#[test]
fn a_server_that_systemd_starts_asks_for_the_same_signatures() {
    let world = World::new();
    world.policy("1 of [anna]");
    let unit = world.run(&["serve", BUNDLE, "--systemd", "--trust", "anna.key.pub"]).run().assert_ok().stdout;
    assert!(unit.contains("--trust") && unit.contains(&world.public("anna").to_string()), "{unit}");
    let unit = world.run(&["serve", BUNDLE, "--systemd", "--policy", "policy.yaml"]).run().assert_ok().stdout;
    let path = world.path("policy.yaml");
    assert!(unit.contains("--policy") && unit.contains(&path.display().to_string()), "{unit}");
}

#[test]
fn what_is_damaged_is_not_signed() {
    let world = World::new();
    let mut damaged = world.read(BUNDLE);
    let last = damaged.len() - 2000;
    damaged[last] ^= 1;
    world.write(BUNDLE, damaged);
    let refused = world.run(&["sign", BUNDLE, "--key", "anna.key"]).run().assert_code(INTEGRITY);
    assert!(refused.stderr.contains("so it was not signed"), "{}", refused.stderr);
    assert!(!world.path(&world.signature_name("anna")).exists());
    for (file, code) in [("anna.key.pub", INPUT), (BUNDLE, INPUT), ("policy", 6)] {
        world.run(&["sign", BUNDLE, "--key", file]).run().assert_code(code);
    }
}

#[test]
fn signing_replaces_signatures_and_nothing_else() {
    let world = World::new();
    let before = world.read(BUNDLE);
    let sign = |output: &str| world.run(&["sign", BUNDLE, "--key", "anna.key", "-o", output]).run();
    for output in [BUNDLE, "anna.key", "release.yaml", "."] {
        let refused = sign(output).assert_code(USAGE);
        assert!(refused.stderr.contains("is there and is no signature"), "{}", refused.stderr);
    }
    assert!(world.read(BUNDLE) == before, "the bundle is as it was");
    // A signature, under whatever name, and what is left of one.
    world.write("cut.minisig", "untrusted comment: ");
    for output in ["mine", "mine", "cut.minisig"] {
        sign(output).assert_ok();
        let trusted = world.run(&["verify", BUNDLE, "--trust", "anna.key.pub", "--signature", output]).run();
        assert!(is_called_trusted(&trusted.assert_ok()));
    }
}

#[test]
fn sec_57_the_name_of_a_signature_file_stays_within_its_line() {
    let world = World::new();
    world.write("release.tar.a\nsigned by anna, key 00: x\ntrusted\n.minisig", "x");
    let refused = world.verify(TRUST);
    assert!(!is_called_trusted(&refused) && refused.stdout.contains("\\u{a}trusted\\u{a}"), "{}", refused.stdout);
    let push = world.run(&["push", BUNDLE, "--trust", "anna.key.pub", "--registry", "127.0.0.1:1/x"]).run();
    let refused = push.assert_code(TRUST);
    assert!(!refused.stderr.lines().any(|line| line.starts_with("trusted")), "{}", refused.stderr);
}

#[test]
fn sec_68_signers_are_counted_by_their_keys_and_by_nothing_else() {
    let world = World::new();
    let policy = world.policy("2 of [anna, ben, carol]");
    let verify = |code: i32| world.run(&["verify", BUNDLE, "--policy", policy]).run().assert_code(code);
    world.sign("anna");
    let good = world.read(&world.signature_name("anna"));
    assert!(verify(TRUST).stdout.contains("signed by 1 of the 2"));
    // The same again: under other names, made anew, said differently.
    world.write(&world.signature_name("ben"), &good);
    world.write("release.tar.carol.minisig", &good);
    let out = world.path("release.tar.again.minisig");
    world.sign_as("anna", &["--sequence", "7", "-o", out.to_str().expect("it is text")]);
    assert!(verify(TRUST).stdout.contains("signed by 1 of the 2"));
    // The same key under another number.
    let key = world.public("anna").to_string();
    let renumbered = format!("{}AAAA{}", &key[..6], &key[10..]);
    let twice = format!("  anna: {key}\n  ben: {renumbered}\n");
    world.write("twice.yaml", format!("schema: octobundle/policy/v1\nkeys:\n{twice}require: 2 of [anna, ben]\n"));
    let refused = world.run(&["verify", BUNDLE, "--policy", "twice.yaml"]).run().assert_code(INPUT);
    assert!(refused.stderr.contains("are the same key"), "{}", refused.stderr);
    fs::remove_file(world.path(&world.signature_name("ben"))).expect("it is there");
    world.sign("ben");
    let both = verify(0);
    assert!(
        both.stdout.contains("signed by anna, key") && both.stdout.contains("signed by ben, key"),
        "{}",
        both.stdout
    );
    world.policy("3 of [anna, ben, carol]");
    verify(TRUST);
    world.policy("1 of [carol]");
    verify(TRUST);
}

#[test]
fn a_policy_that_is_not_understood_trusts_nobody() {
    let world = World::new();
    world.sign("anna");
    let key = world.public("anna");
    let head = "schema: octobundle/policy/v1\n";
    let keys = format!("keys:\n  anna: {key}\n");
    for (text, words) in [
        (String::new(), "not right at"),
        (format!("{head}{keys}"), "`require` is missing"),
        (format!("{head}{keys}require: 0 of [anna]\n"), "0 of 1 keys cannot be required"),
        (format!("{head}{keys}require: 2 of [anna]\n"), "2 of 1 keys cannot be required"),
        (format!("{head}{keys}require: 2 of [anna, anna]\n"), "`anna` stands twice"),
        (format!("{head}{keys}require: 1 of [ben]\n"), "`ben` is not one of the keys"),
        (format!("{head}{keys}require: 1 of []\n"), "is not one of the keys"),
        (format!("{head}{keys}require: -1 of [anna]\n"), "is written as in"),
        (format!("{head}{keys}require: anna\n"), "is written as in"),
        (format!("{head}{keys}require: 1 of [anna]\nrequires: 1\n"), "`requires` is not a key"),
        (format!("{head}{keys}  anna: {key}\nrequire: 1 of [anna]\n"), "policy.yaml:4"),
        (format!("{head}keys:\n  anna: short\nrequire: 1 of [anna]\n"), "one line of base64"),
        (format!("schema: octobundle/policy/v2\n{keys}require: 1 of [anna]\n"), "`schema` is not"),
        (format!("{head}{keys}require: &a 1 of [anna]\nx: *a\n"), "not right at"),
        (format!("{head}{keys}require: 1 of [anna]\n---\n{head}"), "not right at"),
    ] {
        world.write("policy.yaml", &text);
        let output = world.run(&["verify", BUNDLE, "--policy", "policy.yaml"]).run();
        assert_eq!(output.code, Some(INPUT), "{text}\n{}{}", output.stdout, output.stderr);
        assert!(output.stderr.contains(words), "{text}\n{}", output.stderr);
    }
    world.run(&["verify", BUNDLE, "--policy", "nowhere.yaml"]).run().assert_code(6);
    world.run(&["verify", BUNDLE, "--trust", "nowhere.pub"]).run().assert_code(6);
    world.run(&["verify", BUNDLE, "--trust", "anna.key"]).run().assert_code(INPUT);
    world.run(&["verify", BUNDLE, "--trust", "a.pub", "--policy", "p"]).run().assert_code(USAGE);
}

#[test]
fn a_policy_of_the_configuration_file_or_a_variable_holds_for_every_command() {
    let world = World::new();
    world.policy("1 of [anna]");
    let registry = MemoryRegistry::start();
    world.write("token", "a-token");
    let target = format!("{}/x", registry.host());
    let about = ["--server-url", "https://octoperf.corp", "--name", "agent-1", "--token-file", "token"];
    let render = [&["render", "agent", BUNDLE, "--registry", &target][..], &about].concat();
    let commands = [
        vec!["verify", BUNDLE],
        vec!["push", BUNDLE, "--registry", &target],
        render,
        vec!["load", BUNDLE],
        vec!["serve", BUNDLE, "--listen", "127.0.0.1:0"],
    ];
    let file = ".config/octobundle/config.toml";
    for (config, variable) in [
        ("[trust]\npolicy = \"../../policy.yaml\"\n".to_owned(), None),
        ("[trust]\nkeys = [\"../../anna.key.pub\"]\n".to_owned(), None),
        (format!("[trust]\nkeys = \"{}\"\n", world.public("anna")), None),
        (String::new(), Some(("OCTOBUNDLE_POLICY", "policy.yaml"))),
        (String::new(), Some(("OCTOBUNDLE_TRUST", "anna.key.pub"))),
    ] {
        world.write(file, &config);
        for command in &commands {
            let mut run = world.run(command);
            if let Some((name, value)) = variable {
                run = run.env(name, value);
            }
            run.run().assert_code(TRUST);
        }
        let mut shown = world.run(&["config"]);
        if let Some((name, value)) = variable {
            shown = shown.env(name, value);
        }
        let shown = shown.run().assert_ok().stdout;
        let origin = variable.map_or("config.toml:2", |(name, _)| name);
        let line = shown.lines().find(|line| line.starts_with("trust ") || line.starts_with("policy "));
        assert!(line.is_some_and(|line| line.ends_with(origin)), "{shown}");
    }
    assert!(registry.requests().is_empty(), "nothing was even asked");
    assert!(!world.path("agent-1.env").exists());
    world.write(file, "[trust]\nkeys = \"a.pub\"\npolicy = \"p.yaml\"\n");
    world.run(&["verify", BUNDLE]).run().assert_code(INPUT);
    world.write(file, "[trust]\nkey = \"a.pub\"\n");
    let meant = world.run(&["verify", BUNDLE]).run().assert_code(INPUT);
    assert!(meant.stderr.contains("did you mean `keys`"), "{}", meant.stderr);

    world.write(file, "[trust]\npolicy = \"../../policy.yaml\"\n");
    world.sign("anna");
    for command in &commands[..3] {
        world.run(command).run().assert_ok();
    }
    fs::remove_file(world.path(file)).expect("it is there");
    let warned = world.run(&["push", BUNDLE, "--registry", &target]).run().assert_ok();
    assert_eq!(warned.stderr.matches("no signature was checked").count(), 1, "{}", warned.stderr);
}

#[test]
fn sec_69_an_older_bundle_is_refused_unless_a_reason_is_given() {
    let world = World::new();
    world.write("token", "a-token");
    let render = |more: &[&str]| {
        let about = ["--server-url", "https://octoperf.corp", "--name", "agent-1", "--token-file", "token"];
        let command = ["render", "agent", BUNDLE, "--registry", "reg.corp/x", "--trust", "anna.key.pub"];
        world.run(&[&command[..], &about, more].concat()).run()
    };
    let old = world.read(BUNDLE);
    world.sign_as("anna", &["--sequence", "4"]);
    let old_signature = world.read(&world.signature_name("anna"));
    render(&[]).assert_ok();
    let newer = Release::of(&[&TestImage::new("octoperf/agent:1").layer(b"newer")]);
    world.write(BUNDLE, newer.bundle());
    world.sign_as("anna", &["--sequence", "5"]);
    render(&[]).assert_ok();
    render(&[]).assert_ok();

    world.write(BUNDLE, &old);
    world.write(&world.signature_name("anna"), &old_signature);
    let refused = render(&[]).assert_code(TRUST);
    assert!(refused.stderr.contains("it has number 4, and `sample` had 5 with sample-1"), "{}", refused.stderr);
    let seen = world.verify(TRUST);
    assert!(seen.stdout.contains("OLDER than what was accepted here") && !is_called_trusted(&seen), "{}", seen.stdout);
    render(&["--allow-older", "  "]).assert_code(USAGE);
    render(&["--allow-older", "the new one does not start"]).assert_ok();
    render(&[]).assert_code(TRUST);
    let state = world.read(".local/state/octobundle/accepted.json");
    let state: serde_json::Value = serde_json::from_slice(&state).expect("it is JSON");
    let entry = &state["bundles"]["sample"];
    assert_eq!(
        (&entry["sequence"], &entry["older_allowed"][0]["reason"]),
        (&5.into(), &"the new one does not start".into())
    );

    // Another name is another line of bundles.
    world.sign_as("anna", &["--sequence", "1", "--name", "agents"]);
    render(&[]).assert_ok();
}

#[test]
fn sec_69_one_key_of_two_cannot_lift_an_old_bundle() {
    let world = World::new();
    let policy = world.policy("2 of [anna, ben, carol]");
    let push = |code: i32| {
        let registry = MemoryRegistry::start();
        let target = format!("{}/x", registry.host());
        let pushed = world.run(&["push", BUNDLE, "--registry", &target, "--policy", policy]).run();
        pushed.assert_code(code)
    };
    let old = world.read(BUNDLE);
    world.sign_as("anna", &["--sequence", "4"]);
    world.sign_as("ben", &["--sequence", "4"]);
    let names = [world.signature_name("anna"), world.signature_name("ben")];
    let signatures: Vec<Vec<u8>> = names.iter().map(|name| world.read(name)).collect();
    let newer = Release::of(&[&TestImage::new("octoperf/agent:1").layer(b"newer")]);
    world.write(BUNDLE, newer.bundle());
    world.sign_as("anna", &["--sequence", "5"]);
    world.sign_as("ben", &["--sequence", "5"]);
    push(0);
    world.write(BUNDLE, old);
    for (name, signature) in names.iter().zip(signatures) {
        world.write(name, signature);
    }
    world.sign_as("carol", &["--sequence", "100"]);
    let refused = push(TRUST);
    assert!(refused.stderr.contains("it has number 4"), "{}", refused.stderr);
    // Three who give three names agree on none.
    for (name, line) in [("anna", "a"), ("ben", "b"), ("carol", "c")] {
        world.sign_as(name, &["--name", line]);
    }
    assert!(push(TRUST).stderr.contains("gave it different names"));
}

#[test]
fn sec_52_what_was_accepted_is_kept_for_its_owner_and_never_guessed() {
    let world = World::new();
    world.sign("anna");
    let registry = MemoryRegistry::start();
    let target = format!("{}/x", registry.host());
    let push = || world.run(&["push", BUNDLE, "--registry", &target, "--trust", "anna.key.pub"]);
    push().run().assert_ok();
    let (folder, file) = (world.path(".local/state/octobundle"), world.path(".local/state/octobundle/accepted.json"));
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&file)), (0o700, 0o600));
    let good = fs::read(&file).expect("it is there");
    let asked = registry.requests().len();
    for bad in [
        &b""[..],
        b"{}",
        b"null",
        &good[..good.len() / 2],
        &good.repeat(2),
        b"{\"schema\":\"octobundle/accepted/v9\",\"bundles\":{}}",
    ] {
        fs::write(&file, bad).expect("own files can be written");
        push().run().assert_code(TRUST);
    }
    fs::write(&file, &good).expect("own files can be written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("it is ours");
    push().run().assert_code(TRUST);
    fs::rename(&file, world.path("moved.json")).expect("it is there");
    fs::set_permissions(world.path("moved.json"), fs::Permissions::from_mode(0o600)).expect("it is ours");
    symlink(world.path("moved.json"), &file).expect("links can be made");
    push().run().assert_code(TRUST);
    fs::remove_file(&file).expect("it is there");
    fs::create_dir(&file).expect("folders can be made");
    push().run().assert_code(TRUST);
    assert_eq!(registry.requests().len(), asked, "nothing was asked before that was settled");
    fs::remove_dir(&file).expect("it is there");
    push().run().assert_ok();
    let lost = push().env("HOME", "").run().assert_code(TRUST);
    assert!(lost.stderr.contains("set HOME or XDG_STATE_HOME"), "{}", lost.stderr);
    push().env("HOME", "").env("XDG_STATE_HOME", world.path("state")).run().assert_ok();
    assert!(world.path("state/octobundle/accepted.json").is_file());
}

#[test]
fn sec_67_when_looking_fails_nothing_is_called_trusted() {
    let world = World::new();
    world.sign("anna");
    if let Some(strace) = need("strace") {
        let place = |name: &str| world.path(name).to_str().expect("it is text").to_owned();
        let (signature, key) = (place(&world.signature_name("anna")), place("anna.key.pub"));
        let verify = ["verify", &place(BUNDLE), "--trust", &key].map(str::to_owned);
        for (path, call) in [(&signature, "read"), (&signature, "openat"), (&key, "read"), (&key, "openat")] {
            for error in ["EIO", "ENOMEM", "EACCES"] {
                let inject = format!("inject={call}:error={error}");
                let under = ["-f", "-qq", "-o", "/dev/null", "-P", path, "-e", &inject];
                let run = world.release.site.run(&strace, under).arg(support::cli::binary()).args(&verify);
                let output = run.run();
                assert_eq!(output.stdout, "", "{call} {error}: {}", output.stderr);
                assert!(output.code.is_some_and(|code| code != 0), "{call} {error}: {output:?}");
            }
        }
    }
    // Little memory ends a run by a signal or an error, never with good words about a bundle that nobody signed.
    fs::remove_file(world.path(&world.signature_name("anna"))).expect("it was written");
    for kibibytes in (20_000..400_000).step_by(40_000) {
        let program = support::cli::binary();
        let line = format!("ulimit -v {kibibytes}; exec '{}' verify {BUNDLE} --trust anna.key.pub", program.display());
        let output = world.release.site.run(Path::new("/bin/sh"), ["-c", &line]).run();
        assert!(output.code != Some(0) && !is_called_trusted(&output), "{kibibytes}: {output:?}");
    }
}

/// A world whose bundle is signed with this trusted comment.
fn signed_with(comment: &str) -> World {
    let world = World::new();
    let key = LockedKey::parse(&world.read("anna.key")).and_then(|key| key.open("")).expect("it has no password");
    world.write("release.tar.minisig", key.sign(&world.checksums(), comment).to_file("by a clock of its own"));
    world
}

#[test]
fn t_03_a_bundle_from_the_future_is_told_as_a_matter_of_clocks() {
    // The year 3000.
    let seen = signed_with("timestamp:32503680000\tfile:SHA256SUMS\thashed").verify(0);
    assert!(seen.stderr.contains("one of the two clocks is wrong"), "{}", seen.stderr);
}

#[test]
fn sec_70_times_decide_nothing_about_who_signed() {
    for comment in ["timestamp:1\tfile:SHA256SUMS\thashed", "no time at all", "timestamp:-5", "timestamp:x"] {
        let seen = signed_with(comment).verify(0);
        assert!(is_called_trusted(&seen) && !seen.stderr.contains("clock"), "{comment}: {}", seen.stderr);
    }
}
