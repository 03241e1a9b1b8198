//! `docs/cli.md` is the help of every command, and `docs/SUMMARY.md` has every page.
//! `UPDATE_DOCS=1 cargo test --test reference` writes the help anew.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use support::cli::Site;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// What a command says of itself, and the commands below it.
fn help(site: &Site, words: &[String]) -> (String, Vec<String>) {
    let words = words.iter().map(String::as_str).chain(["--help"]);
    let text = site.octobundle(words).env("COLUMNS", "100").run().assert_ok().stdout;
    let listed = text.split("\nCommands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    let names = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let below = names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect();
    (text, below)
}

fn describe(site: &Site, words: &[String], page: &mut String) {
    let (text, below) = help(site, words);
    let name = ["octobundle".to_owned()].into_iter().chain(words.iter().cloned()).collect::<Vec<_>>().join(" ");
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    write!(page, "\n## {name}\n\n```text\n{}\n```\n", lines.join("\n")).expect("a string takes everything");
    for command in below {
        describe(site, &[words, &[command]].concat(), page);
    }
}

#[test]
fn the_page_of_commands_is_their_help() {
    let mut page = "# Commands\n\nEach command's `--help`, written here by `tests/reference.rs`.\n".to_owned();
    describe(&Site::new(), &[], &mut page);
    assert!(page.contains("\n## octobundle pull\n") && page.contains("--jobs"), "the walk reaches the commands");
    let path = docs().join("cli.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).expect("the document can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/cli.md is not what the commands say: UPDATE_DOCS=1 cargo test --test reference");
}

#[test]
fn the_summary_has_every_page_once() {
    let summary = fs::read_to_string(docs().join("SUMMARY.md")).expect("it is there");
    let listed: Vec<&str> = summary.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    let names = fs::read_dir(docs()).expect("it is a folder").map(|entry| entry.expect("it can be read").file_name());
    let pages: BTreeSet<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    let pages = pages
        .into_iter()
        .filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "md") && name != "SUMMARY.md");
    assert_eq!(listed.len(), listed.iter().collect::<BTreeSet<_>>().len(), "none is listed twice");
    assert_eq!(pages.collect::<BTreeSet<_>>(), listed.into_iter().map(str::to_owned).collect());
}
