//! `scan`: every file is given to the scanner, and what it answers is kept and shown.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};
use support::cli::{Output, Site};
use support::images::{TestImage, append, gzip};
use support::real::{Clamd, need};
use support::release::Release;

/// A scanner as they are: it objects to a mark in its standard input, or in the file that it is given, and says so.
const SCANNER: &str = r#"#!/bin/sh
if [ -n "$1" ] && [ "$1" != - ]; then exec < "$1"; fi
if grep -q -e A-MARK -e EICAR-STANDARD; then echo "stream: Found-It FOUND"; exit 1; fi
if [ -e fail ]; then echo "no database" >&2; exit 2; fi
"#;

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        append(&mut archive, path, content);
    }
    archive.into_inner().unwrap()
}

/// A release with a clean image and one with a mark in a file, and a layer that both have.
fn release(marked: &str) -> Release {
    let shared = tar_of(&[("etc/motd", b"hello"), ("etc/empty", b"")]);
    let files = tar_of(&[("opt/good", b"good"), ("opt/a b/tool", marked.as_bytes()), ("opt/after", b"good")]);
    let clean = TestImage::new("clean:1").tar_layer(shared.clone());
    let other = TestImage::new("other:1").tar_layer(shared).tar_layer(files);
    let release = Release::of(&[&clean, &other]);
    release.bundle();
    for name in ["scanner", "clamdscan"] {
        let path = release.site.write(&format!("bin/{name}"), SCANNER);
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    release
}

fn scan(site: &Site, with: &str, arguments: &str) -> Output {
    let path = format!("{}:/usr/bin:/bin", site.path("bin").display());
    let run = site.octobundle(["scan", "release.tar", "--with", with]).args(arguments.split_whitespace());
    run.env("PATH", path).run()
}

fn answers(record: &Value) -> Vec<(String, i64)> {
    let layers = record["layers"].as_array().unwrap();
    let all = layers.iter().flat_map(|layer| layer["answers"].as_array().unwrap());
    all.map(|one| (one["path"].as_str().unwrap_or("-").to_owned(), one["exit_code"].as_i64().unwrap_or(-1))).collect()
}

#[test]
fn a_mark_is_found_whichever_way_the_scanner_reads() {
    let release = release("with A-MARK in it");
    // clamdscan is told to read its standard input; without that it would look at the folder that it stands in.
    for with in ["scanner", "scanner {}", "clamdscan", "sh -c 'exec scanner \"$@\"' sh {}"] {
        let record = scan(&release.site, with, "--json").assert_code(8).json();
        let expected = [("etc/motd", 0), ("opt/good", 0), ("opt/a b/tool", 1), ("opt/after", 0)];
        assert_eq!(answers(&record), expected.map(|(path, code)| (path.to_owned(), code)), "{with}");
        let found = &record["layers"][1]["answers"][1];
        assert_eq!((&found["verdict"], &found["said"]), (&json!("found"), &json!("stream: Found-It FOUND\n")));
        assert_eq!(record["layers"][0]["images"], json!([release.name(0), release.name(1)]));
    }
    let text = scan(&release.site, "scanner", "").assert_code(8).stdout;
    assert!(text.contains("FOUND: opt/a b/tool: exit code 1, stream: Found-It FOUND"), "{text}");
    assert!(text.ends_with("4 files looked at, 30 B: 1 found, 0 failed, 0 layers not read\n"), "{text}");
}

#[test]
fn a_clean_bundle_is_clean_and_nothing_stays_behind() {
    let release = release("harmless");
    let record = scan(&release.site, "scanner {}", "-o scan.json --json").assert_ok().json();
    let written: Value = serde_json::from_slice(&release.site.read("scan.json")).unwrap();
    assert_eq!((&written["bundle"], &written["layers"]), (&record["bundle"], &record["layers"]));
    let left: Vec<String> = std::fs::read_dir(release.site.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(left.iter().all(|name| !name.starts_with("octobundle-scan")), "{left:?}");
}

#[test]
fn layers_can_be_given_whole() {
    let release = release("with A-MARK in it");
    let record = scan(&release.site, "scanner", "--each layer --json").assert_code(8).json();
    assert_eq!(answers(&record), [("-".to_owned(), 0), ("-".to_owned(), 1)]);
    assert_eq!(record["each"], "layer");
}

#[test]
fn a_scanner_that_does_not_look_is_refused() {
    let release = release("with A-MARK in it");
    let blind = scan(&release.site, "true", "").assert_code(1);
    assert!(blind.stderr.contains("does not object to the EICAR test file") && blind.stderr.contains("--no-self-test"));
    assert_eq!(blind.stdout, "");
    scan(&release.site, "true", "--no-self-test").assert_ok();
    let missing = scan(&release.site, "no-such-scanner", "").assert_code(6);
    assert!(missing.stderr.contains("failed to start the scanner `no-such-scanner`"), "{}", missing.stderr);
    assert!(scan(&release.site, "scanner 'open", "").assert_code(2).stderr.contains("is no command"));
}

#[test]
fn a_scanner_that_fails_makes_the_scan_not_complete() {
    let release = release("harmless");
    // It knows the test file, and then nothing any more.
    release.site.write("fail", "");
    let record = scan(&release.site, "scanner", "--json").assert_code(10).json();
    assert!(answers(&record).iter().all(|(_, code)| *code == 2));
    assert_eq!(record["layers"][0]["answers"][0]["said"], "no database\n");
}

#[test]
fn sec_45_what_was_found_before_a_bomb_is_not_lost() {
    let mut layer = tar_of(&[("opt/tool", b"with A-MARK in it")]);
    layer.truncate(1024);
    let mut header = tar::Header::new_gnu();
    header.set_path("opt/long").unwrap();
    header.set_size(1 << 40);
    header.set_cksum();
    layer.extend_from_slice(header.as_bytes());
    let image = TestImage::new("bomb:1").packed_layer(gzip(&layer));
    let release_of_bomb = Release::of(&[&image]);
    release_of_bomb.bundle();
    let path = release_of_bomb.site.write("bin/scanner", SCANNER);
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    let record = scan(&release_of_bomb.site, "scanner", "--json").assert_code(8).json();
    assert_eq!(answers(&record), [("opt/tool".to_owned(), 1)]);
    assert!(record["layers"][0]["failure"].as_str().unwrap().contains("it ends inside of a file"));
}

/// What a real `ClamAV` knows in these tests: the test file, and a mark of ours.
fn clamav_database(site: &Site) -> PathBuf {
    site.write("db/own.hdb", "44d88612fea8a8f36de82e1278abb02f:68:Own.Eicar\n");
    // `OWN-MARK` in hexadecimal digits.
    site.write("db/own.ndb", "Own.Mark:0:*:4f574e2d4d41524b\n");
    site.path("db")
}

#[test]
fn a_real_clamav_looks_at_every_file_and_what_is_beyond_its_limits_is_not_called_clean() {
    let Some(clamscan) = need("clamscan") else { return };
    let large = [&b"OWN-MARK"[..], &vec![0; 3_000_000]].concat();
    let files = [("opt/small", &b"good"[..]), ("opt/marked", b"an OWN-MARK"), ("opt/large", &large), ("opt/one", b"x")];
    let release = Release::of(&[&TestImage::new("some:1").tar_layer(tar_of(&files))]);
    release.bundle();
    let database = clamav_database(&release.site);
    let clamd = Clamd::start(&database);
    let by_client = clamd.iter().flat_map(|clamd| ["--stream", "--fdpass {}"].map(|how| clamd.client() + " " + how));
    let (clamscan, database) = (clamscan.display(), database.display());
    let limited = format!("{clamscan} --no-summary -d {database} --max-filesize=2M");
    let usual = [limited.clone(), format!("{limited} --alert-exceeds-max=yes"), format!("{limited} {{}}")];
    for with in usual.into_iter().chain(by_client) {
        let record = scan(&release.site, &with, "--json").assert_code(8).json();
        let seen: Vec<Value> = record["layers"][0]["answers"].as_array().unwrap().clone();
        let verdicts: Vec<&Value> = seen.iter().map(|answer| &answer["verdict"]).collect();
        assert_eq!(verdicts, ["clean", "found", "failed", "clean"], "{with}: {record}");
        assert!(seen[1]["said"].as_str().unwrap().contains("Own.Mark.UNOFFICIAL FOUND"), "{with}: {record}");
        assert!(seen[2]["said"].as_str().unwrap().contains("beyond its limits"), "{with}: {record}");
    }
    let wide = scan(&release.site, &format!("{clamscan} --no-summary -d {database}"), "--json").assert_code(8).json();
    assert_eq!(wide["layers"][0]["answers"][2]["verdict"], "found", "{wide}");
}

#[test]
fn the_report_shows_the_scan_of_this_bundle_and_of_no_other() {
    let release = release("with A-MARK in it");
    scan(&release.site, "scanner", "-o scan.json").assert_code(8);
    let report = |arguments: &str| release.site.octobundle(["report", "release.tar"]).args(arguments.split(' ')).run();
    let facts = report("--scan scan.json --json").assert_ok().json();
    assert_eq!((&facts["scan"]["scanned"], &facts["scan"]["complete"]), (&json!(4), &json!(true)));
    assert_eq!(facts["scan"]["found"][0]["path"], "opt/a b/tool");
    let page = report("--scan scan.json --as html").assert_ok().stdout;
    assert!(page.contains("Scanner: found") && page.contains("It objects to 1 of 4 files."));
    assert!(report("--scan scan.json").assert_ok().stdout.contains("scanned    4 files, 30 B, by `scanner`: 1 found"));
    let mut record: Value = serde_json::from_slice(&release.site.read("scan.json")).unwrap();
    record["bundle"] = json!(format!("sha256:{}", "0".repeat(64)));
    release.site.write("other.json", record.to_string());
    assert!(report("--scan other.json").assert_code(3).stderr.contains("the scan is of another bundle"));
    release.site.write("none.json", "{}");
    assert!(report("--scan none.json").assert_code(3).stderr.contains("the record of the scan cannot be read"));
}
