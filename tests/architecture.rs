//! Keeps the arrows of the module map pointing down.

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest layer first. A module may name only modules of lower layers.
const LAYERS: &[&[&str]] = &[
    &["oci", "failure", "wording", "program"],
    &["progress"],
    &["images", "content", "layers"],
    &["manifest"],
    &["plan", "trust"],
    &["registry", "bundle", "engine", "transfer", "render"],
    &["plan"],
    &["registry", "bundle", "engine", "transfer", "render", "report", "inventory", "scanner"],
    &["serve"],
    &["workflow"],
];

/// The map itself and the other crate, the binary.
const OUTSIDE: &[&str] = &["lib.rs", "main.rs", "cli"];

#[test]
fn modules_name_only_lower_layers() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in rust_files(&src) {
        let shown = file.strip_prefix(&src).unwrap().display().to_string();
        let top = shown.split(['/', '\\']).next().unwrap();
        if OUTSIDE.contains(&top) {
            continue;
        }
        let module = top.trim_end_matches(".rs");
        let own = layer_of(module).unwrap_or_else(|| panic!("`{module}` has no layer yet"));
        for used in modules_named_in(&fs::read_to_string(&file).unwrap()) {
            if used != module && layer_of(used.as_str()).is_none_or(|layer| layer >= own) {
                wrong.push(format!("{shown} names crate::{used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// What follows each `crate::`. A group (`crate::{…}`) yields an empty name, which
/// has no layer: imports name their module so that this test can read them.
fn modules_named_in(source: &str) -> Vec<String> {
    let ends_name = |c: char| !c.is_alphanumeric() && c != '_';
    let after = source.split("crate::").skip(1);
    after.map(|rest| rest.split(ends_name).next().unwrap_or_default().to_owned()).collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
