//! `docker-registry` (CNCF distribution) with its storage in a temporary folder.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use tempfile::TempDir;

use super::super::authority::Authority;
use super::{command, folder, need, succeed};

/// How a registry differs from the plain one.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    /// The only user and password.
    pub(crate) login: Option<(&'a str, &'a str)>,
    /// Who signs its certificate; without one it speaks plain HTTP.
    pub(crate) tls: Option<&'a Authority>,
    /// Who signs the certificates that clients have to show; needs `tls`.
    pub(crate) clients: Option<&'a Authority>,
}

/// A running registry; it is killed when dropped.
pub(crate) struct RealRegistry {
    child: Child,
    host: String,
    folder: TempDir,
}

impl RealRegistry {
    pub(crate) fn start() -> Option<Self> {
        Self::with(&Setup::default())
    }

    /// `None` if a program is missing that this needs.
    pub(crate) fn with(setup: &Setup) -> Option<Self> {
        let program = need("docker-registry")?;
        let folder = folder();
        let config = folder.path().join("config.yml");
        std::fs::write(&config, configuration(&folder, setup)?).expect("files can be written");
        let mut child = command(&program, &folder)
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry can be started");
        let mut log = BufReader::new(child.stderr.take().expect("it was asked for")).lines();
        let mut seen = String::new();
        let host = loop {
            let Some(Ok(line)) = log.next() else { panic!("docker-registry did not start: {seen}") };
            if let Some(address) = address_in(&line) {
                break address;
            }
            seen += &line;
        };
        // A full pipe would stop the registry.
        std::thread::spawn(move || log.for_each(drop));
        Some(Self { child, host, folder })
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Its port, for names that stand for this machine.
    pub(crate) fn port(&self) -> &str {
        self.host.rsplit(':').next().expect("it has a port")
    }

    /// Where it stores everything: `docker/registry/v2/…` below it.
    pub(crate) fn storage(&self) -> std::path::PathBuf {
        self.folder.path().join("storage")
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn configuration(folder: &TempDir, setup: &Setup) -> Option<String> {
    let at = |name: &str| folder.path().join(name).display().to_string();
    let mut text = format!(
        "version: 0.1\n\
         log: {{level: info}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
         http:\n  addr: 127.0.0.1:0\n",
        at("storage")
    );
    if let Some(authority) = setup.tls {
        let identity = authority.server(&["127.0.0.1", "0.0.0.0", "localhost", "registry.test"]);
        std::fs::write(at("server.pem"), identity.certificate).expect("files can be written");
        std::fs::write(at("server.key"), identity.key).expect("files can be written");
        let (certificate, key) = (at("server.pem"), at("server.key"));
        let clients = setup.clients.map_or_else(String::new, |clients| {
            std::fs::write(at("clients.pem"), clients.certificate()).expect("files can be written");
            format!(", clientcas: [{}]", at("clients.pem"))
        });
        writeln!(text, "  tls: {{certificate: {certificate}, key: {key}{clients}}}").expect("memory takes every byte");
    }
    if let Some((user, password)) = setup.login {
        let line = succeed(command(&need("htpasswd")?, folder).args(["-Bbn", user, password]));
        std::fs::write(at("htpasswd"), line).expect("files can be written");
        let file = at("htpasswd");
        writeln!(text, "auth: {{htpasswd: {{realm: test, path: {file}}}}}").expect("memory takes every byte");
    }
    Some(text)
}

/// The address in the line that says that it listens.
fn address_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listening on ")?;
    let address: String = rest.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
    Some(address)
}
