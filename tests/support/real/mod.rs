//! The real parts: registry and engines as distributions ship them, each in a temporary folder of its own.

#[cfg(unix)]
mod clamd;
#[cfg(unix)]
mod containerd;
#[cfg(unix)]
mod docker;
#[cfg(unix)]
mod podman;
#[cfg(unix)]
mod proxy;
mod registry;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

#[cfg(unix)]
pub(crate) use clamd::Clamd;
#[cfg(unix)]
pub(crate) use containerd::Containerd;
#[cfg(unix)]
pub(crate) use docker::Docker;
#[cfg(unix)]
pub(crate) use podman::{Podman, PodmanService};
#[cfg(unix)]
pub(crate) use proxy::RealProxy;
pub(crate) use registry::{RealRegistry, Setup};

/// Where this program is. If it is missing, says so and gives `None` (the test then returns); in CI it panics.
pub(crate) fn need(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A user's PATH often lacks the folder that daemons are installed in.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    if found.is_none() {
        skipped(&format!("{program} is not installed"));
    }
    found
}

/// Whether this is the superuser, which daemons with a storage of their own want. Else like [`need`].
#[cfg(unix)]
pub(crate) fn need_root(program: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped(&format!("{program} is started by root only"));
    }
    root
}

/// Says that a test cannot run here; in CI it panics.
pub(crate) fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI runs every test, but {why}");
    // Straight to the stream: what `eprintln` writes is hidden when a test passes.
    writeln!(std::io::stderr(), "SKIPPED: {why}").expect("stderr can be written");
}

/// Says that this machine's distribution lacks what a test is about, in CI too: nothing that could be installed brings it.
pub(crate) fn not_here(why: &str) {
    writeln!(std::io::stderr(), "SKIPPED: {why}").expect("stderr can be written");
}

/// Sends a signal to a process that we started and have not waited for.
#[cfg(unix)]
pub(crate) fn signal(child: &std::process::Child, signal: rustix::process::Signal) {
    let id =
        i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("children have positive ids");
    // It may have ended by itself; until it is waited for, its id is nobody else's.
    rustix::process::kill_process(id, signal).ok();
}

/// A temporary folder with a short path, since socket paths end at 108 bytes.
fn folder() -> TempDir {
    tempfile::Builder::new().prefix("ob-").tempdir().expect("a temporary folder can be made")
}

/// A command that sees nothing of the caller's environment but `PATH`, and has its home in `home`.
fn command(program: &PathBuf, home: &TempDir) -> Command {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    let mut command = Command::new(program);
    command.env_clear().env("PATH", path).env("HOME", home.path()).env("TMPDIR", home.path());
    command.current_dir(home.path()).stdin(Stdio::null());
    command
}

/// Runs a command to its end and returns its standard output; panics if it fails.
#[track_caller]
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}
