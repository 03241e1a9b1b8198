//! The rendered line, read by real shells.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use super::run::command;
use super::*;
use crate::program::install;

/// A folder with a `docker` and a `podman` that write their arguments, each ended by NUL, program name first.
fn stubs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for program in ["docker", "podman"] {
        let script = format!("#!/bin/sh\nprintf '%s\\0' {program} \"$@\"\n");
        install(&folder.path().join(program), &script);
    }
    folder
}

/// The shells of this machine that the line is meant for; `sh` is on every one.
fn shells() -> Vec<(PathBuf, &'static [&'static str])> {
    let known: [(&str, &[&str]); 4] = [("sh", &[]), ("dash", &[]), ("bash", &[]), ("busybox", &["sh"])];
    let places = ["/bin", "/usr/bin", "/usr/local/bin"];
    let found = known.iter().filter_map(|(name, arguments)| {
        let place = places.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists())?;
        Some((place, *arguments))
    });
    found.collect()
}

fn arguments_seen_by(shell: &(PathBuf, &[&str]), line: &str, stubs: &Path) -> Vec<Vec<u8>> {
    let output =
        Command::new(&shell.0).args(shell.1).args(["-c", line]).env_clear().env("PATH", stubs).output().unwrap();
    assert!(output.status.success(), "{}: {}", shell.0.display(), String::from_utf8_lossy(&output.stderr));
    let mut arguments: Vec<Vec<u8>> = output.stdout.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect();
    assert_eq!(arguments.pop(), Some(Vec::new()), "each argument ends in NUL");
    arguments
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]
    #[test]
    fn sec_54_real_shells_read_back_the_arguments(
        path in "(\\PC|[ '\"$`\\\\!*?{}()<>|&;~#=%^\u{a0}\\[\\]-]){1,24}",
        name in "[a-zA-Z0-9][a-zA-Z0-9_.-]{1,12}",
        podman in any::<bool>(),
    ) {
        // What cannot be seen is refused.
        prop_assume!(path.chars().all(crate::wording::is_harmless));
        let stubs = stubs();
        let target = if podman { RenderTarget::Podman } else { RenderTarget::Docker };
        let wanted = Given::default().overlaid_by(given_with(&[(Setting::EnvFile, &path), (Setting::Name, &name)]));
        let rendered = render(target, &wanted).unwrap();
        let program = target.key();
        let socket = if podman { "/var/run/podman/podman.sock" } else { "/var/run/docker.sock" };
        let mount = format!("{socket}:/var/run/docker.sock");
        let restart = if podman { "--restart=always" } else { "--restart=unless-stopped" };
        let expected = [program, "run", "-d", restart, "--name", &name, "-v", &mount, "--env-file",
            &path, "reg.corp:5000/tools/octoperf/docker-agent:9.0.0"];
        prop_assert_eq!(rendered.arguments.as_ref().unwrap(), &expected);
        let shells = shells();
        prop_assert!(!shells.is_empty());
        for shell in &shells {
            let seen = arguments_seen_by(shell, &command(&rendered), stubs.path());
            let seen: Vec<OsString> = seen.into_iter().map(OsString::from_vec).collect();
            prop_assert_eq!(seen, expected.map(OsString::from), "{}: {}", shell.0.display(), command(&rendered));
        }
    }
}
