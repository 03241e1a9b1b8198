//! An image that stands in for the agent: it prints the environment that it was started with, and stays.

use std::path::Path;
use std::process::Command;

use super::images::TestImage;
use super::real::need;

/// What it runs. The environment is what the engine gave to the first process: a shell would drop names with dots.
const RUN: &str = "#!/bin/busybox sh
printf '{\"environ\":\"%s\"}\\n' \"$(/bin/busybox base64 /proc/1/environ | /bin/busybox tr -d '\\n')\"
[ -z \"$SAY\" ] || printf '%s\\n' \"$SAY\"
trap 'exit 0' TERM
while :; do /bin/busybox sleep 1 & wait $!; done
";

/// The image under this name, made of this host's busybox. `None` if it is missing.
pub(crate) fn stand_in_agent(name: &str) -> Option<TestImage> {
    let busybox = need("busybox")?;
    let read = |path: &Path| std::fs::read(path).expect("programs can be read");
    let mut image = TestImage::new(name).program("bin/busybox", &read(&busybox));
    // Some distributions link it to libraries; what it needs comes along.
    let told = Command::new("ldd").arg(&busybox).output().expect("ldd is part of libc");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    for library in told.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':')) {
        image = image.program(library.trim_start_matches('/'), &read(Path::new(library)));
    }
    // Engines have a folder of their own at `/run`.
    Some(image.program("bin/agent", RUN.as_bytes()).command("/bin/agent"))
}

/// The variables in what it printed. `None` if it has not printed yet.
pub(crate) fn variables_in(log: &str) -> Option<std::collections::BTreeMap<String, String>> {
    use base64::Engine as _;
    let line = log.lines().find(|line| line.starts_with("{\"environ\""))?;
    let printed: serde_json::Value = serde_json::from_str(line).expect("it prints JSON");
    let environ = printed["environ"].as_str().expect("it is text");
    let bytes = base64::engine::general_purpose::STANDARD.decode(environ).expect("it is base64");
    let text = String::from_utf8(bytes).expect("what was given was text");
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    Some(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
