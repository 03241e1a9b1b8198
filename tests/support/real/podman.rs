//! Podman with its own storage, as commands or as a service on a socket.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::super::until;
use super::{command, folder, need, need_root, signal, succeed};

/// A storage and the program that works on it.
pub(crate) struct Podman {
    program: PathBuf,
    folder: TempDir,
}

impl Podman {
    /// `None` if podman is missing or this is not root.
    pub(crate) fn new() -> Option<Self> {
        let program = need("podman")?;
        need_root("podman").then(|| Self { program, folder: folder() })
    }

    fn command(&self) -> Command {
        let mut command = command(&self.program, &self.folder);
        command.args(self.storage_arguments());
        command
    }

    /// What makes any podman work on this storage and no other.
    pub(crate) fn storage_arguments(&self) -> Vec<String> {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let mut arguments = Vec::new();
        for (flag, value) in [
            ("--root", at("root")),
            ("--runroot", at("run")),
            ("--tmpdir", at("tmp")),
            ("--storage-driver", "vfs".to_owned()),
            ("--events-backend", "none".to_owned()),
            ("--cgroup-manager", "cgroupfs".to_owned()),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        arguments
    }

    /// A folder that lives as long as the storage.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs podman with these arguments and returns what it prints; panics if it fails.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        succeed(self.command().args(arguments))
    }

    /// A shell script that is podman on this storage, for programs that call `podman` from `PATH`.
    pub(crate) fn wrapper(&self) -> PathBuf {
        let bin = self.folder.path().join("bin");
        std::fs::create_dir_all(&bin).expect("folders can be made");
        let words: Vec<String> = self.storage_arguments().iter().map(|word| format!("'{word}'")).collect();
        let script = format!("#!/bin/sh\nexec '{}' {} \"$@\"\n", self.program.display(), words.join(" "));
        let file = bin.join("podman");
        std::fs::write(&file, script).expect("files can be written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&file, mode).expect("own files can be changed");
        file
    }

    /// Offers the storage over a socket that speaks Docker's API as well as its own.
    pub(crate) fn serve(&self) -> PodmanService {
        self.serve_by(self.command())
    }

    /// The same, believing the certificates in this file, and no others.
    pub(crate) fn serve_believing(&self, authorities: &Path) -> PodmanService {
        let mut command = self.command();
        command.env("SSL_CERT_FILE", authorities).env("SSL_CERT_DIR", self.folder.path());
        self.serve_by(command)
    }

    fn serve_by(&self, mut command: Command) -> PodmanService {
        let socket = self.folder.path().join("podman.sock");
        let address = format!("unix://{}", socket.display());
        let child = command
            .args(["system", "service", "--time=0", &address])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("podman can be started");
        let mut service = PodmanService { child, socket, program: self.program.clone(), home: folder() };
        until("podman answers on its socket", || {
            assert!(service.child.try_wait().expect("a child can be asked").is_none(), "podman did not start");
            UnixStream::connect(&service.socket).is_ok()
        });
        service
    }
}

/// A running service; it ends when dropped.
pub(crate) struct PodmanService {
    child: Child,
    socket: PathBuf,
    program: PathBuf,
    home: TempDir,
}

impl PodmanService {
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Runs podman as a client of the service and returns what it prints; panics if it fails.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        succeed(command(&self.program, &self.home).args(["--remote", "--url", &self.host()]).args(arguments))
    }

    /// As `DOCKER_HOST` and `CONTAINER_HOST` want it.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

impl Drop for PodmanService {
    fn drop(&mut self) {
        signal(&self.child, Signal::TERM);
        self.child.wait().ok();
    }
}
