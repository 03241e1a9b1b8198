//! What a message says to do next works when it is typed.

#[path = "support/proxy.rs"]
mod proxy;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use proxy::Proxy;
use support::authority::Authority;
use support::cli::{Run, Site};
use support::images::TestImage;
use support::memory_registry::{Access, Fault, MemoryRegistry, Options};
use support::mounted::Mounted;
use support::pages::{blocks, named};
use support::release::{Release, manifest};

const USER: &str = "jo";
const PASSWORD: &str = "secret";

fn image() -> TestImage {
    TestImage::new("tools/agent:1").random_layer(1, 3_000_000)
}

/// The commands and options that the help of a failed command names, as a shell reads them.
#[track_caller]
fn steps(said: &str) -> Vec<Vec<String>> {
    let help = said.lines().find_map(|line| line.trim().strip_prefix("help: ")).unwrap_or_else(|| panic!("{said}"));
    let named = help.split('`').skip(1).step_by(2).filter(|text| is_step(text));
    named.map(|text| shlex::split(text).unwrap()).collect()
}

fn is_step(text: &str) -> bool {
    text.strip_prefix("--").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
        || text.starts_with("octobundle ")
}

/// The one thing to type.
#[track_caller]
fn step(said: &str) -> Vec<String> {
    let mut steps = steps(said);
    assert_eq!(steps.len(), 1, "{said}");
    steps.remove(0)
}

fn site_for(image: &str) -> Site {
    let site = Site::new();
    site.write("release.yaml", manifest(&[image.to_owned()]));
    site
}

fn resolve(site: &Site) -> Run {
    site.octobundle(["resolve", "release.yaml", "--retry-for", "1s"])
}

fn with_password(user: &str) -> MemoryRegistry {
    let access = Access::Basic { user: user.into(), password: PASSWORD.into() };
    MemoryRegistry::with(Options { access, ..Options::default() })
}

fn keep_login(site: &Site, host: &str, password: &str) {
    let pair = base64::prelude::BASE64_STANDARD.encode(format!("{USER}:{password}"));
    site.write(".docker/config.json", format!(r#"{{"auths": {{"{host}": {{"auth": "{pair}"}}}}}}"#));
}

#[test]
fn a_login_that_is_missing_or_wrong_is_mended_by_the_command_that_is_named() {
    for kept in [None, Some("wrong")] {
        let registry = with_password(USER);
        let site = site_for(&registry.add(&image()));
        if let Some(password) = kept {
            keep_login(&site, &registry.host(), password);
        }
        let failed = resolve(&site).run().assert_code(4);
        let login = step(&failed.stderr);
        assert_eq!(login[..2], ["octobundle", "login"]);
        let login = site.octobundle(&login[1..]).args(["--username", USER, "--password-stdin"]).input(PASSWORD);
        login.run().assert_ok();
        resolve(&site).run().assert_ok();
    }
}

#[test]
fn a_robot_keeps_its_dollar_sign_in_single_quotes() {
    let registry = with_password("robot$ci");
    let site = Site::new();
    let login = |user: &str| {
        let typed = format!("\"$0\" login {} --username {user} --password-stdin", registry.host());
        let program = support::cli::binary().display().to_string();
        site.run(Path::new("/bin/sh"), ["-c", &typed, &program]).input(PASSWORD).run()
    };
    assert_eq!(login("robot$ci").code, Some(4), "the shell takes it away");
    login("'robot$ci'").assert_ok();
}

#[test]
fn an_authority_that_is_unknown_is_trusted_by_the_option_that_is_named() {
    let (registry, authority) = (MemoryRegistry::start(), Authority::new());
    registry.add(&image());
    let hosts = vec![("registry.test", registry.host().parse().unwrap())];
    let proxy = Proxy::start(&proxy::Setup { hosts, reads_tls: Some(&authority), ..proxy::Setup::default() });
    let site = site_for("registry.test/tools/agent:1");
    let file = site.write("corp.pem", authority.certificate());
    let run = || resolve(&site).env("HTTPS_PROXY", format!("http://{}", proxy.host()));
    let failed = run().run().assert_code(5);
    let ca = steps(&failed.stderr).into_iter().find(|words| words[0] == "--ca").unwrap();
    assert_eq!(ca, ["--ca", "FILE"]);
    run().arg("--ca").arg(&file).run().assert_ok();
    // The other ways that it names.
    assert!(failed.stderr.contains("SSL_CERT_FILE"), "{}", failed.stderr);
    run().env("SSL_CERT_FILE", &file).run().assert_ok();
}

#[test]
fn a_registry_in_plain_http_is_reached_by_the_option_that_is_named() {
    let registry = MemoryRegistry::start();
    // Reaches this machine and is no loopback name, so that nothing is taken for granted.
    let site = site_for(&registry.add(&image()).replace("127.0.0.1", "0.0.0.0"));
    let failed = resolve(&site).run().assert_code(5);
    resolve(&site).args(step(&failed.stderr)).run().assert_ok();
}

#[test]
fn a_token_server_of_others_is_trusted_by_the_option_that_is_named() {
    let access = Access::Bearer { login: Some((USER.into(), PASSWORD.into())), uses: u32::MAX };
    let (registry, tokens) = (MemoryRegistry::start(), MemoryRegistry::with(Options { access, ..Options::default() }));
    let site = site_for(&registry.add(&image()));
    keep_login(&site, &registry.host(), PASSWORD);
    let challenge = format!("Bearer realm=\"{}/token\",service=\"x\"", tokens.url());
    registry.fault(Fault::on("GET", "/manifests/").times(2).answer(401).header("www-authenticate", &challenge));
    let failed = resolve(&site).run().assert_code(4);
    assert!(tokens.requests().is_empty(), "it is asked first");
    resolve(&site).args(step(&failed.stderr)).run().assert_ok();
}

#[test]
fn a_limit_and_a_line_that_broke_are_over_with_the_same_command() {
    let release = Release::of(&[&image()]);
    let pull = || release.pull("release.tar").args(["--retry-for", "0"]);
    release.registry.fault(Fault::on("GET", "/manifests/").answer(429).header("retry-after", "7200"));
    let limited = pull().run().assert_code(12);
    assert!(limited.stderr.contains("run the same command again in 2 h"), "{}", limited.stderr);
    release.registry.fault(Fault::on("GET", "/blobs/").after(1).cut(2_500_000));
    let broken = pull().run();
    assert_ne!(broken.code, Some(0));
    assert!(broken.stderr.contains("run the same command again"), "{}", broken.stderr);
    release.registry.forget_requests();
    pull().run().assert_ok();
    let sent = release.registry.blob_bytes_sent();
    assert!(sent < 1_500_000, "it continues where it stopped, and does not begin anew: {sent}");
}

#[test]
fn a_disk_without_room_is_left_or_cleared_as_told() {
    let release = Release::of(&[&image()]);
    let Some(small) = Mounted::tmpfs(release.site.path("small"), "size=4m") else { return };
    let filler = small.0.join("filler");
    fs::write(&filler, vec![0; 2_000_000]).unwrap();
    let pull = || release.pull("small/release.tar").run();
    let failed = pull().assert_code(9);
    assert!(failed.stderr.contains("help: make room, or name another place"), "{}", failed.stderr);
    release.pull("release.tar").run().assert_ok();
    fs::remove_file(filler).unwrap();
    pull().assert_ok();
}

#[test]
fn what_the_command_line_lacks_is_added_as_told() {
    let release = Release::of(&[&image()]);
    release.bundle();
    let push = |words: &[String]| release.site.octobundle(["push", "release.tar", "--dry-run"]).args(words).run();
    let failed = release.pull("release.tar").run().assert_code(2);
    let [replace, inspect] = &steps(&failed.stderr)[..] else { panic!("{}", failed.stderr) };
    release.site.octobundle(&inspect[1..]).run().assert_ok();
    release.pull("release.tar").args(replace).run().assert_ok();
    let private = MemoryRegistry::start();
    for wrong in [private.url(), format!("{}//a", private.host()), format!("{}/a:1", private.host())] {
        let failed = push(&["--registry".into(), wrong]).assert_code(2);
        push(&step(&failed.stderr)).assert_ok();
    }
}

#[test]
fn two_images_with_one_name_are_told_apart_by_the_option_that_is_named() {
    let (one, other) = (MemoryRegistry::start(), MemoryRegistry::start());
    let names = [one.add(&image()), other.add(&TestImage::new("tools/agent:1").layer(b"other"))];
    let site = Site::new();
    site.write("release.yaml", manifest(&names));
    site.octobundle(["pull", "release.yaml", "-o", "release.tar"]).run().assert_ok();
    let push = || site.octobundle(["push", "release.tar", "--registry", "reg.corp", "--dry-run"]);
    let failed = push().run().assert_code(2);
    let registry = MemoryRegistry::start();
    let there = site.octobundle(["push", "release.tar", "--registry", &registry.host()]);
    there.args(step(&failed.stderr)).run().assert_ok();
}

#[test]
fn a_damaged_bundle_is_looked_at_by_the_command_that_is_named() {
    let release = Release::of(&[&image()]);
    let mut bytes = release.bundle();
    bytes.truncate(bytes.len() / 2);
    release.site.write("release.tar", bytes);
    let registry = MemoryRegistry::start();
    let failed = release.site.octobundle(["push", "release.tar", "--registry", &registry.host()]).run().assert_code(7);
    let verify = step(&failed.stderr);
    assert_eq!(verify[..2], ["octobundle", "verify"]);
    release.site.octobundle(&verify[1..]).run().assert_code(7);
}

/// Commands with the options that they have, as the help says.
fn commands() -> Vec<(String, BTreeSet<String>)> {
    let mut all: Vec<(String, BTreeSet<String>)> = Vec::new();
    for line in include_str!("../docs/cli.md").lines() {
        if let Some(command) = line.strip_prefix("## ") {
            all.push((command.to_owned(), BTreeSet::new()));
        } else if let Some((_, options)) = all.last_mut() {
            options.extend(options_in(line.split_whitespace()));
        }
    }
    all
}

/// `--name` of each word that is an option.
fn options_in<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let name = |word: &str| -> Option<String> {
        let name: String =
            word.strip_prefix("--")?.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        (!name.is_empty()).then(|| format!("--{name}"))
    };
    words.filter_map(|word| name(word.trim_start_matches(['[', '(']))).collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// Whatever words stand in backticks in a line of code, not of a comment.
fn quoted_in(line: &str) -> Vec<&str> {
    if line.trim_start().starts_with("//") {
        return Vec::new();
    }
    line.split('`').skip(1).step_by(2).filter(|text| is_step(text)).collect()
}

/// Whether a command has the options that it is given, or an option alone is one of any command.
fn exists(quoted: &str, commands: &[(String, BTreeSet<String>)]) -> bool {
    let options = options_in(quoted.split_whitespace());
    if !quoted.starts_with("octobundle ") {
        return options.iter().all(|option| commands.iter().any(|(_, known)| known.contains(option)));
    }
    let of_longest_name = commands.iter().filter(|(name, _)| quoted.starts_with(name.as_str()));
    let (name, known) = of_longest_name.max_by_key(|(name, _)| name.len()).unwrap();
    let holes = quoted.starts_with("octobundle {");
    holes || (name != "octobundle" && options.iter().all(|option| known.contains(option)))
}

#[test]
fn every_command_and_option_that_a_message_names_exists() {
    let commands = commands();
    let (mut looked_at, mut wrong) = (0, Vec::new());
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        for quoted in text.lines().flat_map(quoted_in) {
            looked_at += 1;
            if !exists(quoted, &commands) {
                wrong.push(format!("{}: `{quoted}`", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(looked_at > 60, "only {looked_at} were found");
}

#[test]
fn every_command_that_a_page_shows_and_no_test_runs_exists() {
    let (commands, root) = (commands(), Path::new(env!("CARGO_MANIFEST_DIR")));
    let pages = sources(&root.join("docs")).into_iter().chain([root.join("README.md")]);
    let (mut looked_at, mut wrong) = (0, Vec::new());
    for page in pages.filter(|page| page.extension().is_some_and(|ending| ending == "md")) {
        let text = fs::read_to_string(&page).unwrap();
        // Blocks that show and are not run, and words between backticks.
        let shown = blocks(&text).into_iter().filter(|block| block.language == "text");
        let (shown, words): (String, _) = (shown.map(|block| block.text).collect(), named(&text));
        let all = shown.lines().chain(words.iter().map(String::as_str));
        for command in all.filter(|words| words.starts_with("octobundle ")) {
            looked_at += 1;
            let command = command.split(" #").next().unwrap_or_default();
            let is_general = ["octobundle --help", "octobundle --version"].contains(&command);
            // The first line of a journal, which is no command.
            let is_other = is_general || command.starts_with("octobundle journal v1 ");
            if !is_other && !command.contains("COMMAND") && !exists(command, &commands) {
                wrong.push(format!("{}: `{command}`", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(looked_at > 60, "only {looked_at} were found");
}
