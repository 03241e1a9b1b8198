//! `ClamAV`'s daemon with a database and a socket of its own.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::super::until;
use super::{command, folder, need, signal};

/// A running daemon that looks at files of up to 2 MiB; it ends when dropped.
pub(crate) struct Clamd {
    child: Child,
    client: PathBuf,
    folder: TempDir,
}

impl Clamd {
    /// `None` if a program is missing that this needs.
    pub(crate) fn start(database: &Path) -> Option<Self> {
        let (program, client) = (need("clamd")?, need("clamdscan")?);
        let folder = folder();
        let socket = folder.path().join("socket");
        let configuration = format!(
            "DatabaseDirectory {}\nLocalSocket {}\nForeground yes\nMaxFileSize 2M\n",
            database.display(),
            socket.display()
        );
        let file = folder.path().join("clamd.conf");
        std::fs::write(&file, configuration).expect("files can be written");
        let child = command(&program, &folder)
            .arg(format!("--config-file={}", file.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("clamd can be started");
        let mut clamd = Self { child, client, folder };
        until("clamd answers on its socket", || {
            assert!(clamd.child.try_wait().expect("a child can be asked").is_none(), "clamd did not start");
            UnixStream::connect(&socket).is_ok()
        });
        Some(clamd)
    }

    /// Its client, as words of a command.
    pub(crate) fn client(&self) -> String {
        let configuration = self.folder.path().join("clamd.conf");
        format!("{} --no-summary --config-file={}", self.client.display(), configuration.display())
    }
}

impl Drop for Clamd {
    fn drop(&mut self) {
        signal(&self.child, Signal::TERM);
        self.child.wait().ok();
    }
}
