//! What makes a release, as far as it can be held to without building one; `scripts/test.sh --all` builds it.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::cli::{Site, binary};
use support::real::need;

/// What names the secret key that signs a release.
const KEY: &str = "OCTOBUNDLE_RELEASE_KEY";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn scripts() -> Vec<PathBuf> {
    let folders = ["scripts", "scripts/dist", "scripts/acceptance"].map(|folder| root().join(folder));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "sh")).collect()
}

#[test]
fn shellcheck_finds_nothing_in_our_own_scripts() {
    let Some(shellcheck) = need("shellcheck") else { return };
    let scripts = scripts();
    assert!(scripts.len() > 8, "{scripts:?}");
    let found = Command::new(shellcheck).args(["-x", "-P", "SCRIPTDIR"]).args(&scripts).output().unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stdout));
}

#[test]
fn workflows_run_our_scripts_and_pinned_actions_only() {
    for entry in fs::read_dir(root().join(".github/workflows")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let values = |key: &str| -> Vec<String> {
            let found = text.lines().filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix(key));
            found.map(|value| value.trim().to_owned()).collect()
        };
        let (uses, runs) = (values("uses:"), values("run:"));
        assert!(!uses.is_empty() && !runs.is_empty(), "{}", path.display());
        for action in uses {
            let pin = action.split(['@', ' ']).nth(1).unwrap_or_default();
            assert!(pin.len() == 40 && pin.bytes().all(|byte| byte.is_ascii_hexdigit()), "{action} is not pinned");
        }
        for command in runs {
            let script = root().join(command.split(' ').next().unwrap());
            let mode = fs::metadata(&script).unwrap_or_else(|error| panic!("{command}: {error}")).permissions().mode();
            assert!(mode & 0o111 != 0, "{command} cannot be run");
        }
    }
}

/// A release folder with this build in it.
fn release(site: &Site) -> PathBuf {
    let folder = site.path("release");
    fs::create_dir_all(folder.join("share/man")).unwrap();
    fs::create_dir(folder.join("share/completions")).unwrap();
    fs::copy(binary(), folder.join("octobundle")).unwrap();
    fs::copy(root().join("scripts/install.sh"), folder.join("install.sh")).unwrap();
    site.run(&binary(), ["man"]).arg(folder.join("share/man")).run().assert_ok();
    for shell in ["bash", "zsh", "fish"] {
        fs::write(folder.join(format!("share/completions/octobundle.{shell}")), shell).unwrap();
    }
    for text in ["LICENSE", "THIRD-PARTY-LICENCES.txt"] {
        fs::write(folder.join("share").join(text), "text").unwrap();
    }
    sums(&folder, None);
    folder
}

/// Makes its checksums as the build does, signed where a key is given.
fn sums(folder: &Path, key: Option<&Path>) {
    let mut command = Command::new(root().join("scripts/dist/sums.sh"));
    command.arg(folder).arg("1.2.3").env_remove(KEY).envs(key.map(|key| (KEY, key)));
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn files_below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn the_installer_works_offline_and_leaves_nothing_when_it_is_undone() {
    let site = Site::new();
    let release = release(&site);
    let prefix = site.path("prefix");
    let install = |more: &[&str]| {
        site.run(Path::new("sh"), [release.join("install.sh")]).arg("--prefix").arg(&prefix).args(more).run()
    };
    install(&[]).assert_ok();
    let installed = files_below(&prefix);
    for wanted in ["bin/octobundle", "share/man/man1/octobundle-pull.1", "share/zsh/site-functions/_octobundle"] {
        assert!(installed.contains(Path::new(wanted)), "{wanted} is not among {installed:?}");
    }
    assert_eq!(fs::metadata(prefix.join("bin/octobundle")).unwrap().permissions().mode() & 0o777, 0o755);
    site.run(&prefix.join("bin/octobundle"), ["--version"]).run().assert_ok();
    // A second time over the first, as an update does.
    install(&[]).assert_ok();
    install(&["--uninstall"]).assert_ok();
    assert_eq!(files_below(&prefix), BTreeSet::new());
}

#[test]
fn the_installer_refuses_a_folder_that_differs_from_its_sums() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 3] = [
        ("changed", |folder| fs::write(folder.join("share/LICENSE"), "other").unwrap()),
        ("missing", |folder| fs::remove_file(folder.join("share/completions/octobundle.zsh")).unwrap()),
        ("no sums", |folder| fs::remove_file(folder.join("SHA256SUMS")).unwrap()),
    ];
    for (name, change) in changes {
        let site = Site::new();
        let release = release(&site);
        change(&release);
        let prefix = site.path("prefix");
        let said = site.run(Path::new("sh"), [release.join("install.sh")]).arg("--prefix").arg(&prefix).run();
        assert!(said.code != Some(0) && said.stderr.contains("error: "), "{name}: {}", said.stderr);
        assert_eq!(files_below(&prefix), BTreeSet::new(), "{name}");
    }
}

#[test]
fn a_signed_release_is_installed_by_its_own_key_alone() {
    let Some(minisign) = need("minisign") else { return };
    let site = Site::new();
    let release = release(&site);
    let (sums_file, signature) = (release.join("SHA256SUMS"), release.join("SHA256SUMS.minisig"));
    let prefix = site.path("prefix");
    let install = |key: &str| {
        let run = site.run(Path::new("sh"), [release.join("install.sh")]).arg("--prefix").arg(&prefix);
        run.arg("--key").arg(site.path(key)).run()
    };
    let refused = |key: &str, expected: &str| {
        let said = install(key);
        assert!(said.code == Some(1) && said.stderr.contains(expected), "{said:?}");
        assert_eq!(files_below(&prefix), BTreeSet::new());
    };
    // One key of ours, one of minisign's.
    site.octobundle(["key", "new", "ours", "--no-password"]).run().assert_ok();
    site.run(&minisign, ["-G", "-W", "-s", "theirs", "-p", "theirs.pub"]).run().assert_ok();
    refused("ours.pub", "no signature");
    for (key, other) in [("ours", "theirs.pub"), ("theirs", "ours.pub")] {
        sums(&release, Some(&site.path(key)));
        let public = format!("{key}.pub");
        let check = site.run(&minisign, ["-V", "-p", &public, "-m"]).arg(&sums_file).run().assert_ok();
        assert!(check.stdout.contains("Trusted comment: octobundle 1.2.3"), "{}", check.stdout);
        refused(other, "not made with that key");
        install(&public).assert_ok();
        site.run(Path::new("sh"), [release.join("install.sh")])
            .arg("--prefix")
            .arg(&prefix)
            .arg("--uninstall")
            .run()
            .assert_ok();
    }
    // Somebody else's file with sums that fit it: the signature is of the sums that were.
    fs::write(release.join("share/LICENSE"), "other").unwrap();
    let good = fs::read(&signature).unwrap();
    sums(&release, None);
    assert!(!signature.exists(), "no signature of other sums is left");
    fs::write(&signature, good).unwrap();
    refused("theirs.pub", "not made with that key");
}

#[test]
fn the_builder_says_what_it_takes() {
    let dist = |words: &[&str]| {
        let mut command = Command::new(root().join("scripts/dist.sh"));
        let done = command.args(words).env(KEY, "").output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let (code, help, _) = dist(&["--help"]);
    assert!(code == Some(0) && help.contains("--for x86_64-linux") && !help.contains("set -e"), "{help}");
    let wrong = [
        &["--std", "other"][..],
        &["--out"],
        &["--only", "packages"],
        &["--fro", "x86_64-linux"],
        // A release has the program that its pages and packages are made with.
        &["--for", "aarch64-linux"],
        // The folder is replaced, and this one holds something else.
        &["--out", "src"],
    ];
    for words in wrong {
        let (code, _, said) = dist(words);
        assert!(code == Some(2) && said.starts_with("error: ") && said.ends_with(&help), "{words:?}: {said}");
    }
    let no_key = Command::new(root().join("scripts/dist.sh")).env(KEY, "no-such-key").output().unwrap();
    let said = String::from_utf8_lossy(&no_key.stderr).into_owned();
    assert!(no_key.status.code() == Some(2) && said.contains("no-such-key"), "{said}");
}

#[test]
fn the_sbom_names_every_crate_of_the_lock_that_is_linked() {
    let Some(python) = need("python3") else { return };
    let site = Site::new();
    let made = |name: &str| {
        let out = site.path(name);
        let mut command = Command::new(&python);
        command.arg(root().join("scripts/dist/crates.py")).args(["sbom", "x86_64-unknown-linux-gnu"]).arg(&out);
        // As the build does, with the cargo that runs this test.
        let done = command.env("SOURCE_DATE_EPOCH", "1").output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        fs::read_to_string(out).unwrap()
    };
    let text = made("first.json");
    assert_eq!(text, made("second.json"), "two runs agree");
    let sbom: Value = serde_json::from_str(&text).unwrap();
    let names: BTreeSet<&str> =
        sbom["components"].as_array().unwrap().iter().filter_map(|component| component["name"].as_str()).collect();
    for wanted in ["reqwest", "rustls", "sha2", "aws-lc-sys"] {
        assert!(names.contains(wanted), "{wanted} is not among {names:?}");
    }
    for test_only in ["proptest", "insta", "criterion", "thiserror-impl"] {
        assert!(!names.contains(test_only), "{test_only} is not in the binary");
    }
    for component in sbom["components"].as_array().unwrap() {
        assert!(component["hashes"][0]["content"].as_str().is_some_and(|sum| sum.len() == 64), "{component}");
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
    }
}
