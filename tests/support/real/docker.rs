//! A Docker daemon with its own storage, sockets and containerd.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::super::until;
use super::{command, folder, need, need_root, signal, succeed};

/// Where a daemon's containers are reached.
#[derive(Clone, Copy)]
enum Network {
    OfThisMachine,
    Own,
}

/// A running daemon; it ends when dropped.
pub(crate) struct Docker {
    child: Child,
    client: PathBuf,
    folder: TempDir,
}

impl Docker {
    /// `None` if a program is missing that this needs.
    pub(crate) fn start() -> Option<Self> {
        Self::believing(None)
    }

    /// One that believes the certificates in this file, and no others.
    pub(crate) fn believing(authorities: Option<&Path>) -> Option<Self> {
        Self::at(Network::OfThisMachine, authorities)
    }

    /// One in a network of its own: bridges and published ports are nowhere else, and no registry of this machine is
    /// in reach.
    pub(crate) fn apart() -> Option<Self> {
        for program in ["unshare", "nsenter", "ip"] {
            need(program)?;
        }
        Self::at(Network::Own, None)
    }

    fn at(network: Network, authorities: Option<&Path>) -> Option<Self> {
        let (program, client) = (need("dockerd")?, need("docker")?);
        if !need_root("dockerd") {
            return None;
        }
        let folder = folder();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("daemon.json"), "{}").expect("files can be written");
        let log = File::create(at("log")).expect("files can be written");
        let namespace = folder.path().file_name().expect("it was made with a name").to_string_lossy().replace('.', "");
        let mut command = match network {
            Network::OfThisMachine => command(&program, &folder),
            Network::Own => {
                let mut command = command(&need("unshare")?, &folder);
                // Each gives its process to the next: the child is the daemon in the end.
                command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""]).arg(&program);
                command
            }
        };
        if let Some(file) = authorities {
            command.env("SSL_CERT_FILE", file).env("SSL_CERT_DIR", folder.path());
        }
        let child = command
            // Without bridge and packet filter it changes nothing on the host; vfs needs no support of the kernel.
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs"])
            .args(["--config-file", &at("daemon.json"), "--pidfile", &at("pid")])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec")])
            .args(["--host", &format!("unix://{}", at("docker.sock"))])
            // A containerd of the host, if it has one, is shared with others.
            .args(["--containerd-namespace", &namespace, "--containerd-plugins-namespace", &format!("{namespace}-p")])
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(Stdio::from(log))
            .spawn()
            .expect("dockerd can be started");
        let mut docker = Self { child, client, folder };
        until("dockerd answers", || docker.answers());
        Some(docker)
    }

    fn answers(&mut self) -> bool {
        let ended = self.child.try_wait().expect("a child can be asked");
        assert!(ended.is_none(), "dockerd did not start:\n{}", self.log());
        let Ok(mut connection) = UnixStream::connect(self.socket()) else { return false };
        let mut answer = String::new();
        connection.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").is_ok()
            && connection.read_to_string(&mut answer).is_ok()
            && answer.contains(" 200 ")
    }

    /// Runs a program in the daemon's network.
    pub(crate) fn inside(&self, program: &Path, arguments: &[&str]) -> std::process::Output {
        let nsenter = need("nsenter").expect("it was found before");
        let mut command = command(&nsenter, &self.folder);
        command.args(["--target", &self.child.id().to_string(), "--net"]).arg(program).args(arguments);
        command.output().expect("it was found before")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// As `DOCKER_HOST` wants it.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A folder that lives as long as the daemon.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs the client with these arguments and returns what it prints; panics if it fails.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        succeed(command(&self.client, &self.folder).env("DOCKER_HOST", self.host()).args(arguments))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // Killed at once it would leave its containerd running and its storage mounted.
        signal(&self.child, Signal::TERM);
        self.child.wait().ok();
    }
}
