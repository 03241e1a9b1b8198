//! squid and tinyproxy, as distributions ship them.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{command, folder, need, succeed};

/// A running proxy; it is killed when dropped.
pub(crate) struct RealProxy {
    child: Child,
    address: String,
    folder: TempDir,
}

impl RealProxy {
    /// squid, which sends `registry.test` to this machine. `None` if a program is missing that this needs.
    pub(crate) fn squid(login: Option<(&str, &str)>) -> Option<Self> {
        let program = need("squid")?;
        let folder = readable_folder();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("hosts"), "127.0.0.1 registry.test\n").expect("files can be written");
        let mut text = format!(
            "hosts_file {}\npid_filename none\ncache deny all\naccess_log stdio:{}\ncache_log {}\n\
             shutdown_lifetime 0 seconds\ncoredump_dir {}\nvisible_hostname proxy.test\npinger_enable off\n",
            at("hosts"),
            at("access.log"),
            at("cache.log"),
            folder.path().display(),
        );
        if let Some((user, password)) = login {
            let helper = Path::new("/usr/lib/squid/basic_ncsa_auth");
            let line = succeed(command(&need("htpasswd")?, &folder).args(["-Bbn", user, password]));
            std::fs::write(at("passwords"), line).expect("files can be written");
            write!(
                text,
                "auth_param basic program {} {}\nacl known proxy_auth REQUIRED\nhttp_access allow known\n",
                helper.display(),
                at("passwords")
            )
            .expect("memory takes every byte");
        } else {
            text += "http_access allow all\n";
        }
        text += "http_access deny all\n";
        Some(Self::start(folder, |folder, port| {
            let file = folder.path().join("squid.conf");
            std::fs::write(&file, format!("{text}http_port 127.0.0.1:{port}\n")).expect("files can be written");
            let mut command = command(&program, folder);
            command.args(["-N", "-d", "0", "-f"]).arg(file);
            command
        }))
    }

    /// tinyproxy. `None` if it is missing.
    pub(crate) fn tinyproxy(login: Option<(&str, &str)>) -> Option<Self> {
        let program = need("tinyproxy")?;
        let login = login.map_or_else(String::new, |(user, password)| format!("BasicAuth {user} {password}\n"));
        Some(Self::start(readable_folder(), |folder, port| {
            let file = folder.path().join("tinyproxy.conf");
            let log = folder.path().join("access.log");
            let text = format!("Listen 127.0.0.1\nPort {port}\nTimeout 60\nLogFile \"{}\"\n{login}", log.display());
            std::fs::write(&file, text).expect("files can be written");
            let mut command = command(&program, folder);
            command.arg("-d").arg("-c").arg(file);
            command
        }))
    }

    /// These programs cannot choose a port themselves. One that was free a moment ago is tried, and another if
    /// somebody else took it.
    fn start(folder: TempDir, launch: impl Fn(&TempDir, u16) -> Command) -> Self {
        for _ in 0..5 {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
            let address = free.local_addr().expect("a bound socket has an address");
            drop(free);
            let mut command = launch(&folder, address.port());
            let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
            let mut ended = false;
            super::super::until("the proxy listens", || {
                ended = child.try_wait().expect("a child can be asked").is_some();
                ended || TcpStream::connect(address).is_ok()
            });
            if !ended {
                return Self { child, address: address.to_string(), folder };
            }
        }
        let log = std::fs::read_to_string(folder.path().join("cache.log")).unwrap_or_default();
        panic!("the proxy did not start: {log}");
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn url_with(&self, user: &str, password: &str) -> String {
        format!("http://{user}:{password}@{}", self.address)
    }

    /// What it wrote about its requests so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default()
    }
}

impl Drop for RealProxy {
    fn drop(&mut self) {
        // squid's password helpers end when it closes their pipes.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Started by root, both go on as another user, who must be able to use the folder.
fn readable_folder() -> TempDir {
    let folder = folder();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("the folder is ours");
    folder
}
