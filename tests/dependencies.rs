//! Keeps versions with known holes out of `Cargo.lock`, also where the advisory database cannot be fetched.

use std::fs;
use std::path::Path;

/// The oldest version of each crate that may be locked, and why.
const OLDEST: &[(&str, [u64; 3], &str)] = &[
    ("tar", [0, 4, 45], "RUSTSEC-2026-0067 and -0068: links and sizes in hostile archives"),
    ("h2", [0, 4, 16], "RUSTSEC-2026-0258: floods of frames"),
    ("reqwest", [0, 13, 4], "credentials that follow a redirect to plain HTTP (its change #3034)"),
    ("rustls-webpki", [0, 103, 16], "RUSTSEC-2026-0104 and -0382: revocation lists, distrusted intermediates"),
    ("bytes", [1, 11, 1], "RUSTSEC-2026-0007: overflow in `reserve`"),
    ("time", [0, 3, 47], "RUSTSEC-2026-0009: stack exhaustion by a date"),
    ("shlex", [1, 3, 0], "RUSTSEC-2024-0006: characters left unquoted"),
];

/// Crates that may not be locked at all, and why.
const NEVER: &[(&str, &str)] = &[
    ("tokio-tar", "abandoned with a hole"),
    ("serde_yaml", "archived"),
    ("serde_yml", "unsound"),
    ("libyml", "unsound"),
    ("ruzstd", "RUSTSEC-2026-0344: gigabytes from a small frame; allow it from the version that mends this"),
    ("openssl-sys", "the binary uses no system library"),
];

#[test]
fn sec_80_no_crate_is_locked_below_its_oldest_sound_version() {
    let locked = locked();
    let too_old = |name: &str, oldest: &[u64; 3]| -> Vec<String> {
        let versions = locked.iter().filter(|(locked, _)| locked == name).map(|(_, version)| version);
        versions.filter(|version| numbers(version) < *oldest).cloned().collect()
    };
    for (name, oldest, why) in OLDEST {
        let found = too_old(name, oldest);
        assert!(found.is_empty(), "{name} {found:?} is locked, but {why}: `cargo update {name}`");
    }
}

#[test]
fn sec_80_crates_that_are_never_wanted_are_not_locked() {
    let locked = locked();
    for (name, why) in NEVER {
        assert!(locked.iter().all(|(locked, _)| locked != name), "{name} is locked, but {why}");
    }
}

#[test]
fn sec_79_the_lock_names_crates_io_and_nothing_else() {
    let lock = lock_text();
    let elsewhere = |line: &&str| line.starts_with("source = ") && !line.ends_with("crates.io-index\"");
    assert_eq!(lock.lines().filter(elsewhere).collect::<Vec<_>>(), [""; 0]);
}

fn lock_text() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap()
}

/// Name and version of every locked package.
fn locked() -> Vec<(String, String)> {
    let lock = lock_text();
    let field = |package: &str, name: &str| {
        let value = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \"")?.strip_suffix('"'));
        value.unwrap_or_else(|| panic!("no {name} in {package}")).to_owned()
    };
    let packages = lock.split("[[package]]").skip(1);
    let found: Vec<_> = packages.map(|package| (field(package, "name"), field(package, "version"))).collect();
    assert!(found.iter().any(|(name, _)| name == "octobundle"), "Cargo.lock has another form than expected");
    found
}

/// Major, minor and patch; a pre-release counts as its release.
fn numbers(version: &str) -> [u64; 3] {
    let release = version.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<u64> = release.split('.').map(|part| part.parse().unwrap()).collect();
    parts.try_into().unwrap_or_else(|_| panic!("{version} has not three numbers"))
}
