//! Secrets that are planted, and the search for them afterwards.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

pub(crate) use crate::support::discretion::{CANARY, shows_secret};

/// Writes a credential helper that is a shell script.
#[cfg(unix)]
pub(crate) fn helper(folder: &Path, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let program = folder.join(format!("docker-credential-{name}"));
    // Written by another process: a file that this one has open for writing cannot be run while any thread forks.
    let mut writer = Command::new("tee").arg(&program).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    write!(writer.stdin.take().unwrap(), "#!/bin/sh\n{script}\n").unwrap();
    assert!(writer.wait().unwrap().success());
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Files below `folder` that hold a planted secret, also where it is hidden in base64; those whose path contains one
/// of `planted` hold it rightly.
pub(crate) fn found_in(folder: &Path, planted: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        if path.is_dir() {
            found.extend(found_in(&path, planted));
        } else if !planted.iter().any(|planted| name.contains(planted)) && path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            if shows_secret(&bytes) {
                found.push(name);
            }
        }
    }
    found
}
