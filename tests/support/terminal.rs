//! A pseudo-terminal: a command that runs in it believes that a person sits there.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use super::cli::Site;

pub(crate) struct Terminal {
    ours: File,
    theirs: File,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal can be made");
        grantpt(&ours).expect("it is ours");
        unlockpt(&ours).expect("it is ours");
        let name = ptsname(&ours, Vec::new()).expect("it has a name");
        let theirs = rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty());
        let (ours, theirs) = (File::from(ours), File::from(theirs.expect("it can be opened")));
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut reader, seen) = (ours.try_clone().expect("files can be cloned"), shown.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            // Ends when nobody holds the other end any more.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                seen.lock().expect("nobody panics with it").push_str(&text);
            }
        });
        Self { ours, theirs, shown }
    }

    /// Starts the binary with all three streams here.
    pub(crate) fn run(&self, site: &Site, arguments: &[&str]) -> Child {
        let stream = || Stdio::from(self.theirs.try_clone().expect("files can be cloned"));
        site.octobundle(arguments).with_streams(stream(), stream(), stream())
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.ours.write_all(text.as_bytes()).expect("a terminal takes what is typed");
    }

    /// Waits until `text` was shown.
    pub(crate) fn wait_for(&self, text: &str) {
        super::until(&format!("the terminal shows `{text}`"), || self.shown().contains(text));
    }

    pub(crate) fn shown(&self) -> String {
        self.shown.lock().expect("nobody panics with it").clone()
    }

    /// Whether it shows what is typed.
    pub(crate) fn echoes(&self) -> bool {
        tcgetattr(&self.theirs).expect("it is a terminal").local_modes.contains(LocalModes::ECHO)
    }
}
