//! Programs that tests write: stand-ins for engines, helpers and scanners.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes a program in a process of its own: a descriptor of ours, inherited by another test's child, would keep the
/// program from being run ("text file busy").
pub(crate) fn install(path: &Path, text: &str) {
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
}
