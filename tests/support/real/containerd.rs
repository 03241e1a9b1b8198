//! containerd with its own storage and socket, as Kubernetes nodes run it.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::super::until;
use super::{command, folder, need, need_root, signal, succeed};

/// A running containerd; it ends when dropped.
pub(crate) struct Containerd {
    child: Child,
    client: PathBuf,
    folder: TempDir,
}

impl Containerd {
    /// `None` if a program is missing that this needs.
    pub(crate) fn start() -> Option<Self> {
        let (program, client) = (need("containerd")?, need("ctr")?);
        if !need_root("containerd") {
            return None;
        }
        let folder = folder();
        let at = |name: &str| folder.path().join(name).display().to_string();
        // Kubernetes' interface wants a network; images need none of it.
        let configuration = format!(
            "version = 2\nroot = '{}'\nstate = '{}'\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n\
             [grpc]\naddress = '{}'\n[plugins.'io.containerd.internal.v1.opt']\npath = '{}'\n",
            at("root"),
            at("state"),
            at("socket"),
            at("opt"),
        );
        std::fs::write(at("config.toml"), configuration).expect("files can be written");
        let child = command(&program, &folder)
            .args(["--config", &at("config.toml")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("containerd can be started");
        let mut containerd = Self { child, client, folder };
        until("containerd answers on its socket", || {
            let ended = containerd.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "containerd did not start");
            UnixStream::connect(containerd.folder.path().join("socket")).is_ok()
        });
        Some(containerd)
    }

    /// Runs `ctr` with these arguments and returns what it prints; panics if it fails.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let socket = self.folder.path().join("socket");
        succeed(command(&self.client, &self.folder).arg("--address").arg(socket).args(arguments))
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        signal(&self.child, Signal::TERM);
        self.child.wait().ok();
    }
}
