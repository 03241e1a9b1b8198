//! `docs/faults.md` says which fault is tested where. It is made from the names of tests, so it cannot promise a test
//! that is not there. `UPDATE_DOCS=1 cargo test --test faults_table` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// How many faults each family has.
const FAMILIES: [(&str, usize); 11] = [
    ("N", 13),
    ("H", 20),
    ("A", 11),
    ("P", 9),
    ("R", 20),
    ("D", 14),
    ("U", 13),
    ("T", 3),
    ("C", 5),
    ("S", 3),
    ("SEC", 82),
];

/// The reason that is none for ever.
const LATER: &str = "not tested yet";

/// A fault of the list, or a heading between.
enum Line {
    Heading(String),
    Fault { id: String, fault: String, note: Option<String> },
}

/// A test with the file that it is in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    file: String,
    name: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn list() -> Vec<Line> {
    let text = fs::read_to_string(root().join("tests/faults/list.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(parse).collect()
}

fn parse(line: &str) -> Line {
    if let Some(heading) = line.strip_prefix("= ") {
        return Line::Heading(heading.to_owned());
    }
    let mut parts = line.split(" | ").map(str::to_owned);
    let (Some(id), Some(fault)) = (parts.next(), parts.next()) else { panic!("`{line}` has no fault") };
    let note = parts.next();
    assert!(parts.next().is_none(), "`{line}` has too many parts");
    Line::Fault { id, fault, note }
}

/// All tests that carry ids, by id.
fn tests() -> BTreeMap<String, Vec<Test>> {
    let mut found: BTreeMap<String, Vec<Test>> = BTreeMap::new();
    for file in rust_files() {
        let shown = file.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        for name in tests_in(&fs::read_to_string(&file).unwrap()) {
            for id in ids_of(&name) {
                found.entry(id).or_default().push(Test { file: shown.clone(), name: name.clone() });
            }
        }
    }
    for tests in found.values_mut() {
        tests.sort();
    }
    found
}

fn rust_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// Names of functions that `#[test]` or its like stands before.
fn tests_in(source: &str) -> Vec<String> {
    let (mut names, mut is_test) = (Vec::new(), false);
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else if let Some(rest) = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")) {
            if is_test {
                names.extend(rest.split('(').next().map(str::to_owned));
            }
            is_test = false;
        }
    }
    names
}

/// The ids in a name: `n_01_…`, `sec_03_and_04_…`.
fn ids_of(name: &str) -> Vec<String> {
    let mut parts = name.split('_');
    let family = parts.next().unwrap_or_default().to_uppercase();
    if !FAMILIES.iter().any(|(known, _)| *known == family) {
        return Vec::new();
    }
    let is_number = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut ids = Vec::new();
    while let Some(part) = parts.next().filter(|part| is_number(part)) {
        ids.push(format!("{family}-{part}"));
        if parts.clone().next() == Some("and") {
            parts.next();
        }
    }
    ids
}

/// What a name says: its words behind the ids.
fn words_of(name: &str) -> String {
    let is_id = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit()) || *part == "and";
    name.split('_').skip(1).skip_while(is_id).collect::<Vec<_>>().join(" ")
}

/// The whole document.
fn document(list: &[Line], tests: &BTreeMap<String, Vec<Test>>) -> String {
    let mut rows = String::new();
    let mut counts = [[0; 3]; 2];
    for line in list {
        match line {
            Line::Heading(heading) => {
                write!(rows, "\n## {heading}\n\n| id | fault | tests |\n|---|---|---|\n").unwrap();
            }
            Line::Fault { id, fault, note } => {
                let tests = tests.get(id).map_or(&[][..], Vec::as_slice);
                let note = note.as_deref().filter(|note| tests.is_empty() || *note != LATER);
                let kind = match note {
                    _ if !tests.is_empty() => 0,
                    Some(LATER) => 2,
                    _ => 1,
                };
                counts[usize::from(id.starts_with("SEC"))][kind] += 1;
                writeln!(rows, "| {id} | {fault} | {} |", cell(tests, note)).unwrap();
            }
        }
    }
    let [faults, attacks] = counts;
    format!(
        "# Faults and attacks, and the tests that they are survived\n\
         \n\
         Made from the names of tests by `tests/faults_table.rs`: `UPDATE_DOCS=1 cargo test --test faults_table` writes it\n\
         anew. What each fault is stands in `tests/faults/list.txt`.\n\
         \n\
         | | in all | tested | with a reason why not | not tested yet |\n\
         |---|---|---|---|---|\n\
         | faults | {} | {} | {} | {} |\n\
         | attacks | {} | {} | {} | {} |\n\
         {rows}",
        faults.iter().sum::<usize>(),
        faults[0],
        faults[1],
        faults[2],
        attacks.iter().sum::<usize>(),
        attacks[0],
        attacks[1],
        attacks[2],
    )
}

fn cell(tests: &[Test], note: Option<&str>) -> String {
    let shown = tests.iter().map(|test| format!("[{}](../{})", words_of(&test.name), test.file));
    let note = note.map(|note| format!("*{note}*"));
    shown.chain(note).collect::<Vec<_>>().join("<br>")
}

#[test]
fn the_table_of_faults_is_that_of_the_tests() {
    let path = root().join("docs/faults.md");
    let expected = document(&list(), &tests());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let differing = expected.lines().zip(written.lines()).find(|(expected, written)| expected != written);
    assert!(
        expected == written,
        "docs/faults.md is not what the tests say; `UPDATE_DOCS=1 cargo test --test faults_table` writes it: {differing:?}"
    );
}

#[test]
fn every_fault_has_a_test_or_a_reason() {
    let tests = tests();
    let listed: Vec<(String, Option<String>)> = list()
        .into_iter()
        .filter_map(|line| if let Line::Fault { id, note, .. } = line { Some((id, note)) } else { None })
        .collect();
    let all =
        FAMILIES.iter().flat_map(|(family, count)| (1..=*count).map(move |number| format!("{family}-{number:02}")));
    assert_eq!(listed.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), all.collect::<Vec<_>>());
    let bare: Vec<_> = listed.iter().filter(|(id, note)| note.is_none() && !tests.contains_key(id)).collect();
    assert!(bare.is_empty(), "neither tests nor reasons: {bare:?}");
}

#[test]
fn ids_are_read_from_names_of_tests_only() {
    let source = "#[test]\nfn n_01_a() {\n}\nfn n_02_b() {}\n#[tokio::test(start_paused = true)]\n#[cfg(unix)]\nasync fn sec_03_and_04_c() {}\n";
    assert_eq!(tests_in(source), ["n_01_a", "sec_03_and_04_c"]);
    assert_eq!(ids_of("sec_03_and_04_c"), ["SEC-03", "SEC-04"]);
    assert_eq!(ids_of("a_body_that_is_cut"), Vec::<String>::new());
    assert_eq!(words_of("sec_03_and_04_bad_targets"), "bad targets");
    assert_eq!(words_of("n_01_a_body_of_10_bytes"), "a body of 10 bytes");
}
