//! Holds the documents to what is there: their commands run, their tables, links and names are right.
//!
//! The commands of a document's `sh` blocks are run in their order, as a user would type them, with what [`Stage`]
//! puts in the place of sample names.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use support::cli::{Site, binary};
use support::images::TestImage;
use support::memory_registry::MemoryRegistry;
use support::pages::{blocks, named, prose};
use support::real::{Docker, Podman, need};
use support::served::Served;

/// Hosts of the sample release's images.
const SOURCES: [&str; 2] = ["docker.io", "docker.elastic.co"];
/// What the documents call the private registry.
const REGISTRY: &str = "reg.corp:5000";
/// What the documents call the server.
const SERVER: &str = "https://octoperf.corp";
/// Its other names, where a document speaks of one product.
const PRODUCTS: [&str; 4] = ["harbor.corp", "nexus.corp:5000", "artifactory.corp", "gitlab.corp"];
/// Programs that a document may call. Those of this repository and of cargo are tested elsewhere; they have to exist.
const PROGRAMS: [&str; 9] =
    ["octobundle", "sha256sum", "mkdir", "printf", "tar", "docker", "podman", "skopeo", "minisign"];

/// The section of `docs/messages.md` that quotes others, with the tests that bring their situations about.
const OTHER_TOOLS: &str = "## What other tools say there";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// README first, then the rest by name.
fn documents() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| format!("docs/{}", entry.unwrap().file_name().to_string_lossy()))
        .filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "md"))
        .collect();
    names.sort();
    ["README.md".to_owned(), "CHANGELOG.md".to_owned()].into_iter().chain(names).collect()
}

/// Commands of an `sh` block; a backslash joins lines, `#` begins a remark.
fn commands(block: &str) -> Vec<String> {
    let joined = block.replace("\\\n", " ");
    let lines = joined.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// The world that documents speak of: a vendor, a private registry, engines, a user's folder.
struct Stage {
    vendor: MemoryRegistry,
    private: MemoryRegistry,
    docker: Option<Docker>,
    podman: Option<Podman>,
    site: Site,
}

impl Stage {
    fn new() -> Self {
        let (vendor, private, site) = (MemoryRegistry::start(), MemoryRegistry::start(), Site::new());
        for name in [
            "octoperf/docker-agent:9.0.0",
            "octoperf/jmeter-standard:9.0.1",
            "octoperf/jmeter-webdriver:9.0.1",
            "octoperf/enterprise-edition:9.1.0",
            "octoperf/enterprise-ui:9.1.0",
            "octoperf/enterprise-documentation:9.1.0",
            "elasticsearch/elasticsearch-oss:6.3.0",
            "octoperf/enterprise-edition:9.2.0",
            "octoperf/enterprise-ui:9.2.0",
            "octoperf/enterprise-documentation:9.2.0",
            "elasticsearch/elasticsearch-oss:6.3.1",
        ] {
            vendor.add(&TestImage::new(name).docker().random_layer(1, 50_000).layer(name.as_bytes()));
        }
        vendor.add(&TestImage::new("library/haproxy:alpine").random_layer(1, 50_000));
        site.write("token", "a-token");
        let (docker, podman) = (Docker::start(), Podman::new());
        let stage = Self { vendor, private, docker, podman, site };
        stage.link("octobundle", &binary());
        if let Some(podman) = &stage.podman {
            stage.link("podman", &podman.wrapper());
        }
        stage
    }

    /// A folder of programs that comes first in `PATH`.
    fn link(&self, name: &str, program: &Path) {
        fs::create_dir_all(self.site.path("bin")).unwrap();
        std::os::unix::fs::symlink(program, self.site.path("bin").join(name)).unwrap();
    }

    /// What is really run in the place of a command.
    fn real(&self, command: &str) -> String {
        let mirrors: Vec<String> =
            SOURCES.iter().map(|source| format!("--mirror {source}={}", self.vendor.host())).collect();
        let mirrors = mirrors.join(" ");
        let command = command
            .replace("octobundle resolve", &format!("octobundle resolve {mirrors}"))
            .replace("octobundle pull", &format!("octobundle pull {mirrors}"))
            .replace("skopeo copy", "skopeo copy --dest-tls-verify=false");
        // Any server will do; the registry's first page is one.
        let server = if command.contains(" doctor agent ") { self.private.url() } else { SERVER.to_owned() };
        let hosts = PRODUCTS.into_iter().chain([REGISTRY]);
        hosts.fold(command.replace(SERVER, &server), |command, host| command.replace(host, &self.private.host()))
    }

    /// Whether what a command needs is there; says so by name if not.
    fn can_run(&self, command: &str) -> bool {
        let engine = if command.contains("podman") { "podman" } else { "docker" };
        match command.split([' ', '(']).find(|word| !word.is_empty()).unwrap_or_default() {
            program @ ("skopeo" | "minisign") => need(program).is_some(),
            "docker" => self.docker.is_some(),
            "podman" => self.podman.is_some(),
            // octobundle asks podman's socket before its command, and that would be the host's own.
            "octobundle" if command.contains(" load ") && engine == "podman" => {
                self.podman.is_some() && !Path::new("/run/podman/podman.sock").exists()
            }
            "octobundle" if command.contains(" load ") || command.contains(" doctor agent ") => self.docker.is_some(),
            _ => true,
        }
    }

    /// A server goes on until it is stopped: it is started at a port that is free, asked whether it is well, and
    /// stopped.
    fn serve(&self, command: &str) {
        let words = command.split(' ').skip_while(|word| *word != "serve").skip(1);
        Served::start(&self.site, words.collect::<Vec<_>>()).get("/healthz").expect_status(200);
    }

    /// Runs a command in a shell; gives its standard output with the sample names in it.
    fn run(&self, document: &str, command: &str) -> String {
        if command.starts_with("octobundle serve ") && !command.contains("--systemd") {
            self.serve(command);
            return String::new();
        }
        let path = std::env::join_paths([self.site.path("bin"), "/usr/sbin".into(), "/usr/bin".into(), "/bin".into()]);
        // Never the host's own engine.
        let host = self.docker.as_ref().map_or("unix:///nowhere".to_owned(), Docker::host);
        let shell = self.site.run(Path::new("/bin/sh"), ["-euc", &self.real(command)]);
        let mut shell = shell.env("PATH", path.unwrap()).env("DOCKER_HOST", host);
        if command.starts_with("docker ") {
            // Its own place may be another one than those above.
            let client = need("docker").expect("the daemon was started with it");
            let folder = client.parent().unwrap().display().to_string();
            shell = shell.env("PATH", format!("{folder}:/usr/bin:/bin"));
        }
        let output = shell.run();
        // What the pages compare is not the same.
        let expected = if command.starts_with("octobundle diff ") { 13 } else { 0 };
        assert_eq!(output.code, Some(expected), "{document}: {command}\n{}\n{}", output.stdout, output.stderr);
        output.stdout.replace(&self.private.host(), REGISTRY)
    }
}

fn is_tested_elsewhere(command: &str) -> bool {
    let program = command.split(' ').next().unwrap_or_default();
    if program.starts_with("scripts/") {
        let executable = |path: &Path| fs::metadata(path).is_ok_and(|file| is_executable(&file));
        assert!(executable(&root().join(program)), "{program} is no program");
    }
    program.starts_with("scripts/") || program == "cargo"
}

fn is_executable(file: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.is_file() && file.permissions().mode() & 0o111 != 0
}

#[test]
fn every_command_in_the_documents_runs() {
    let stage = Stage::new();
    let mut ran = BTreeSet::new();
    for document in documents() {
        let mut printed = String::new();
        for block in blocks(&read(&document)) {
            if block.language == "text" && !printed.is_empty() && block.text.starts_with("docker run") {
                assert_eq!(block.text, printed, "{document} shows what the command before it prints");
            }
            if block.language != "sh" {
                continue;
            }
            for command in commands(&block.text) {
                let program = command.split([' ', '(']).find(|word| !word.is_empty()).unwrap_or_default().to_owned();
                if is_tested_elsewhere(&command) {
                    continue;
                }
                assert!(PROGRAMS.contains(&program.as_str()) || program == "cd", "{document}: {command}");
                if stage.can_run(&command) {
                    printed = stage.run(&document, &command);
                    ran.insert(program);
                } else {
                    // Straight to the stream: what `println` writes is hidden when a test passes.
                    writeln!(std::io::stderr(), "SKIPPED: {document}: {command}").expect("stderr can be written");
                }
            }
        }
    }
    assert!(ran.contains("octobundle") && ran.contains("tar"), "{ran:?}");
    for (name, tag) in [("octoperf/jmeter-standard", "9.0.1"), ("library/haproxy", "alpine")] {
        let pushed = stage.private.manifest(&format!("tools/{name}"), tag);
        assert_eq!(pushed, stage.vendor.manifest(name, tag), "{name} keeps its digest");
    }
}

#[test]
fn links_lead_somewhere() {
    for document in documents() {
        let text = prose(&read(&document));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("https://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let here = Path::new(&document).parent().unwrap().join(file);
            let there = if file.is_empty() { document.clone() } else { here.display().to_string() };
            assert!(root().join(&there).exists(), "{document} links to {target}");
            if !heading.is_empty() {
                assert!(headings(&read(&there)).contains(heading), "{document} links to {target}");
            }
        }
    }
}

/// Headings as they stand in links.
fn headings(document: &str) -> BTreeSet<String> {
    let lines = prose(document);
    let titles = lines.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let plain = |title: &str| {
        let kept = title.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    titles.map(plain).collect()
}

#[test]
fn files_that_are_named_exist() {
    let folders = ["src/", "tests/", "docs/", "scripts/", "templates/", "manifests/", "examples/"];
    for document in documents() {
        for name in named(&read(&document)) {
            let is_path = folders.iter().any(|folder| name.starts_with(folder)) && !name.contains(' ');
            // Capitals stand for a name to choose.
            let is_form = name.contains("COMMAND") || name.contains("NAME") || name.contains("VERSION");
            assert!(!is_path || is_form || root().join(&name).exists(), "{document} names {name}");
        }
    }
    for (path, source) in sources() {
        for named in source.split("docs/").skip(1) {
            let name: String = named.chars().take_while(|c| c.is_ascii_lowercase() || "-.".contains(*c)).collect();
            let Some(name) = name.trim_end_matches('.').strip_suffix(".md") else { continue };
            let document = format!("docs/{name}.md");
            assert!(root().join(&document).exists(), "{path} names {document}");
            let section = named.strip_prefix("facts.md`, \"").and_then(|rest| rest.split('"').next());
            if let Some(section) = section {
                assert!(read("docs/facts.md").contains(&format!("\n## {section}\n")), "{path} names {section}");
            }
        }
    }
}

/// Every Rust file of the library and the binary.
fn sources() -> Vec<(String, String)> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { below(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    below(&root().join("src"), &mut found);
    let shown = |path: PathBuf| (path.display().to_string(), fs::read_to_string(&path).unwrap());
    found.into_iter().map(shown).collect()
}

#[test]
fn tests_that_hold_a_promise_exist() {
    let sections = [("README.md", "## What is promised"), ("docs/messages.md", OTHER_TOOLS)];
    for (document, heading) in sections {
        let text = read(document);
        assert_tests_exist(text.split(heading).nth(1).unwrap().split("\n## ").next().unwrap());
    }
}

/// Every name of a test in a document's section is one of ours.
fn assert_tests_exist(section: &str) {
    let mut code: String = sources().into_iter().map(|(_, source)| source).collect();
    for folder in ["tests", "tests/faults", "tests/faults2", "tests/faults2/sec"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && path.extension().is_some_and(|ending| ending == "rs") {
                code += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let tests: Vec<String> = named(section)
        .into_iter()
        .filter(|name| {
            name.contains('_') && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
        .collect();
    assert!(tests.len() > 10, "{tests:?}");
    for test in tests {
        assert!(code.contains(&format!("fn {test}(")), "there is no test `{test}`");
    }
}

#[test]
fn the_map_has_every_folder_and_module() {
    let readme = read("README.md");
    let map = blocks(&readme).into_iter().find(|block| block.text.starts_with("octobundle/")).unwrap().text;
    let entry = |line: &str| line.split("── ").nth(1).map(|rest| rest.split(' ').next().unwrap_or_default().to_owned());
    let (top, source): (Vec<&str>, Vec<&str>) = map.lines().partition(|line| !line.starts_with(' '));
    let top: BTreeSet<String> = top.into_iter().filter_map(entry).collect();
    let source: BTreeSet<String> = source.into_iter().filter_map(entry).collect();
    let is_ours = |name: &str| !["target/", ".git/", "dist/", "book/"].contains(&name);
    let folders: BTreeSet<String> =
        names_in(&root()).into_iter().filter(|name| name.ends_with('/') && is_ours(name)).collect();
    assert_eq!(folders, top.iter().filter(|name| name.ends_with('/')).cloned().collect());
    assert_eq!(names_in(&root().join("src")), source);
    for file in top {
        assert!(root().join(&file).exists(), "the map names {file}");
    }
}

/// Names in a folder; those of folders end in `/`.
fn names_in(folder: &Path) -> BTreeSet<String> {
    let name = |entry: fs::DirEntry| {
        let ending = if entry.path().is_dir() { "/" } else { "" };
        format!("{}{ending}", entry.file_name().to_string_lossy())
    };
    fs::read_dir(folder).unwrap().map(|entry| name(entry.unwrap())).collect()
}

#[test]
fn the_layers_are_those_of_the_code() {
    let code = read("src/lib.rs");
    let drawing = code.split("//! ```text\n").nth(1).and_then(|rest| rest.split("//! ```").next());
    let lines = drawing.expect("src/lib.rs draws the layers").lines();
    let lines: Vec<&str> = lines.map(|line| line.trim_start_matches("//! ")).collect();
    let drawing = lines.join("\n");
    assert!(read("README.md").contains(&drawing), "README draws:\n{drawing}");
}

#[test]
fn when_not_to_use_it_is_the_same_in_both_places() {
    let list = |path: &str, heading: &str| -> Vec<String> {
        let text = read(path);
        let section = text.split(heading).nth(1).unwrap_or_else(|| panic!("{path} has {heading}"));
        let section = section.split("\n## ").next().unwrap_or_default();
        section.lines().filter(|line| line.starts_with("- ")).map(str::to_owned).collect()
    };
    let readme = list("README.md", "\n## When not to use it\n");
    assert!(readme.len() > 5, "{readme:?}");
    assert_eq!(readme, list("docs/comparison.md", "\n## When not to use octobundle\n"));
}

#[test]
fn exit_codes_are_the_same_everywhere() {
    let table = |path: &str| -> Vec<(String, String)> {
        let text = read(path);
        let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
        let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>());
        let codes = cells.filter(|cells| cells[0].parse::<u8>().is_ok());
        codes.map(|cells| (cells[0].clone(), cells[1].clone())).collect()
    };
    let readme = table("README.md");
    assert_eq!(readme, table("docs/exit-codes.md"));
    assert!(readme.len() > 10);
    let help = Site::new().octobundle(["--help"]).run().assert_ok().stdout;
    let mut listed: Vec<(String, String)> = Vec::new();
    for word in help.split("Exit codes:").nth(1).expect("help lists them").split_whitespace() {
        match listed.last_mut() {
            _ if word.parse::<u8>().is_ok() => listed.push((word.to_owned(), String::new())),
            Some((_, meaning)) if meaning.is_empty() => word.clone_into(meaning),
            Some((_, meaning)) => *meaning = format!("{meaning} {word}"),
            None => panic!("the list begins with {word}"),
        }
    }
    assert_eq!(readme, listed);
}

#[test]
fn class_names_of_exit_codes_are_those_of_the_code() {
    let code = read("src/cli/exit.rs");
    let document = read("docs/exit-codes.md");
    for line in code.lines().filter(|line| line.contains("ErrorClass::") && line.contains("=> \"")) {
        let class = line.split("ErrorClass::").nth(1).unwrap().split(' ').next().unwrap();
        let name = line.split('"').nth(1).unwrap();
        let number = code.split(&format!("ErrorClass::{class} => ")).nth(1).unwrap().split(',').next().unwrap();
        let row =
            document.lines().find(|row| row.contains(&format!("| `{name}` |"))).unwrap_or_else(|| panic!("{name}"));
        assert!(row.starts_with(&format!("| {number} |")), "{row}");
    }
}

#[test]
fn messages_and_helps_are_those_of_the_code() {
    let code: String = sources().into_iter().map(|(_, source)| source.replace("\\\"", "\"")).collect();
    let document = read("docs/messages.md");
    let (before, others) = document.split_once(OTHER_TOOLS).expect("the section is there");
    let after = others.split_once("\n## ").expect("sections follow").1;
    let document = format!("{before}{after}");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| ")).filter(|row| !row.starts_with("message "));
    let mut seen = 0;
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for text in [cells[0], cells[3]] {
            for piece in
                text.split('…').map(|piece| piece.trim_matches([' ', ':', '`'])).filter(|piece| piece.len() > 3)
            {
                assert!(code.contains(piece), "no message has {piece:?}");
                seen += 1;
            }
        }
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn no_file_names_the_machine_that_it_was_written_on() {
    let home = std::env::var("HOME").unwrap_or_default();
    let here = root().parent().unwrap().display().to_string();
    let mut files: Vec<PathBuf> = sources().into_iter().map(|(path, _)| path.into()).collect();
    for folder in ["docs", "tests", "scripts", "scripts/acceptance", "examples", "manifests", "templates", ".ci"] {
        files.extend(names_in(&root().join(folder)).into_iter().map(|name| root().join(folder).join(name)));
    }
    files.extend(["README.md", "CHANGELOG.md", "Cargo.toml"].map(|name| root().join(name)));
    for file in files.into_iter().filter(|file| file.is_file()) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        for place in [&home, &here].into_iter().filter(|place| place.len() > 3) {
            // Inside of a longer path it is not this place.
            let inside = |before: &str| before.ends_with(|c: char| c.is_alphanumeric());
            let named = text.match_indices(&format!("{place}/")).any(|(at, _)| !inside(&text[..at]));
            assert!(!named, "{} names {place}", file.display());
        }
    }
}
