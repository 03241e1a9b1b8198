//! Images that stand in for the vendor's: an agent that prints the environment that it was started with, a part of the
//! server that says its name, and a balancer that is a real one. They are made of this host's programs.

use std::path::Path;
use std::process::Command;

use super::images::TestImage;
use super::real::need;

/// What the agent runs. The environment is what the engine gave to the first process: a shell would drop names with
/// dots.
const RUN: &str = "#!/bin/busybox sh
printf '{\"environ\":\"%s\"}\\n' \"$(/bin/busybox base64 /proc/1/environ | /bin/busybox tr -d '\\n')\"
[ -z \"$SAY\" ] || printf '%s\\n' \"$SAY\"
trap 'exit 0' TERM
while :; do /bin/busybox sleep 1 & wait $!; done
";

/// The agent under this name. `None` if busybox is missing.
pub(crate) fn stand_in_agent(name: &str) -> Option<TestImage> {
    // Engines have a folder of their own at `/run`.
    Some(with_busybox(name)?.program("bin/agent", RUN.as_bytes()).command("/bin/agent"))
}

/// A part of the server: at this port it answers every path that is asked for in `paths` with its own name. `None` if
/// busybox is missing.
pub(crate) fn stand_in_part(name: &str, port: u16, paths: &[&str]) -> Option<TestImage> {
    let run = format!("#!/bin/busybox sh\nexec /bin/busybox httpd -f -p {port} -h /www\n");
    let image = with_busybox(name)?.program("bin/part", run.as_bytes()).command("/bin/part");
    Some(paths.iter().fold(image, |image, path| image.program(&format!("www/{path}index.html"), name.as_bytes())))
}

/// haproxy, which reads the file that the vendor's image reads. `None` if it or busybox is missing.
pub(crate) fn stand_in_haproxy(name: &str) -> Option<TestImage> {
    let haproxy = need("haproxy")?;
    let run = "#!/bin/busybox sh\nexec /usr/sbin/haproxy -W -db -f /usr/local/etc/haproxy/haproxy.cfg\n";
    let image = with_program(with_busybox(name)?, "usr/sbin/haproxy", &haproxy);
    Some(image.program("bin/balancer", run.as_bytes()).command("/bin/balancer"))
}

fn with_busybox(name: &str) -> Option<TestImage> {
    Some(with_program(TestImage::new(name), "bin/busybox", &need("busybox")?))
}

/// The image with a program of this host, and with the libraries that it is linked to.
fn with_program(image: TestImage, place: &str, program: &Path) -> TestImage {
    let read = |path: &Path| std::fs::read(path).expect("programs can be read");
    let told = Command::new("ldd").arg(program).output().expect("ldd is part of libc");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let libraries = told.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    libraries.fold(image.program(place, &read(program)), |image, library| {
        image.program(library.trim_start_matches('/'), &read(Path::new(library)))
    })
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
