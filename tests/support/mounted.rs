//! Small file systems in memory.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::real::{need_root, skipped};

/// A file system that is taken away when dropped.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Mounted {
    /// `None` where nothing can be mounted.
    pub(crate) fn tmpfs(at: PathBuf, options: &str) -> Option<Self> {
        if !need_root("a file system of its own") {
            return None;
        }
        fs::create_dir_all(&at).expect("folders can be made");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            skipped("this machine lets nothing be mounted");
            return None;
        }
        Some(Self(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0).status().expect("what was mounted can be unmounted");
    }
}
