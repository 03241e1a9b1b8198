//! `inventory`: what it finds, compared with what the package managers themselves say, and what it does with layers that
//! are made to hurt.

#[path = "faults2/memory.rs"]
mod memory;
mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use memory::measured;
use serde_json::{Value, json};
use support::cli::{Output, Site};
use support::images::{Sample, TestImage, append, gzip};
use support::real::need;
use support::release::Release;

const STATUS: &str = "var/lib/dpkg/status";

/// A tar of these files.
fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        append(&mut archive, path, content);
    }
    archive.into_inner().unwrap()
}

fn release(samples: &[&dyn Sample]) -> Release {
    let release = Release::of(samples);
    release.bundle();
    release
}

fn inventory(site: &Site, arguments: &str) -> Output {
    site.octobundle(["inventory", "release.tar"]).args(arguments.split_whitespace()).run()
}

/// The result for the only image.
fn only_image(release: &Release) -> Value {
    inventory(&release.site, "--json").assert_ok().json()["images"][0].take()
}

/// `name version third` of every package.
fn lines(image: &Value, third: &str) -> BTreeSet<String> {
    let packages = image["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let text = |key: &str| package[key].as_str().unwrap_or("-").to_owned();
            format!("{} {} {}", text("name"), text("version"), text(third))
        })
        .collect()
}

fn lines_of(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

#[test]
fn debian_packages_are_those_of_dpkg_query() {
    if need("dpkg-query").is_none() {
        return;
    }
    let status = std::fs::read("/var/lib/dpkg/status").unwrap();
    let system = std::fs::read("/etc/os-release").unwrap();
    let release = release(&[&TestImage::new("debian:1")
        .tar_layer(tar_of(&[("./var/lib/dpkg/status", &status), ("etc/os-release", &system)]))]);
    // Of a copy: this machine's own list may change meanwhile.
    release.site.write("admin/status", &status);
    let query = release
        .site
        .run(
            &need("dpkg-query").unwrap(),
            ["--admindir=admin", "-W", "-f", "${db:Status-Status} ${Package} ${Version} ${Architecture}\n"],
        )
        .run()
        .assert_ok();
    let installed = query.stdout.lines().filter_map(|line| line.strip_prefix("installed "));
    let expected: BTreeSet<String> = installed.map(str::to_owned).collect();
    let image = only_image(&release);
    assert!(expected.len() > 50, "{expected:?}");
    assert_eq!(lines(&image, "architecture"), expected);
    assert!(String::from_utf8_lossy(&system).contains(image["os"]["id"].as_str().unwrap()));
}

/// Writes archives in archives, one to a stream that cannot go back, and lists with Python's reader what is in them:
/// archive, and group, name and version of every `pom.properties`, or `-`.
const JARS: &str = r##"
import io, os, sys, zipfile
class Stream(io.RawIOBase):  # sizes go behind the content
    def __init__(self, to): self.to = to
    def writable(self): return True
    def write(self, data): return self.to.write(data)
def jar(entries, stream=False, method=zipfile.ZIP_DEFLATED):
    to = io.BytesIO()
    with zipfile.ZipFile(Stream(to) if stream else to, "w", method) as z:
        for name, data in entries: z.writestr(name, data)
    return to.getvalue()
def manifest(title, version): return f"Manifest-Version: 1.0\r\nImplementation-Title: {title}\r\nImplementation-Version: {version}\r\n\r\n"
def pom(g, a, v): return (f"META-INF/maven/{g}/{a}/pom.properties", f"#Generated\nversion={v}\ngroupId={g}\nartifactId={a}\n")
filler = ("com/x/Big.class", os.urandom(200_000))
inner = jar([("META-INF/MANIFEST.MF", manifest("inner", "3.1")), pom("org.inner", "inner", "3.1"), filler], stream=True)
plain = jar([("META-INF/MANIFEST.MF", manifest("A title", "2.0")), ("x/", ""), filler], method=zipfile.ZIP_STORED)
shaded = jar([pom("org.a", "a", "1"), pom("org.b", "b", "2")])
stored = zipfile.ZIP_STORED
app = jar([("META-INF/MANIFEST.MF", manifest("app", "9.0")), ("BOOT-INF/lib/inner-3.1.jar", inner), ("BOOT-INF/lib/plain.jar", plain)], method=stored)
war = jar([("WEB-INF/lib/app.jar", app), ("WEB-INF/lib/shaded.jar", shaded)], stream=True)
files = {"opt/app.jar": app, "opt/site.war": war, "opt/commons-io-2.11.0.jar": plain, "opt/runs.jar": b"#!/bin/sh\nexec java -jar $0\n" + inner, "opt/empty.jar": jar([])}
for path, data in files.items():
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "wb").write(data)
def walk(path, data):
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        poms = [n for n in z.namelist() if n.endswith("/pom.properties")]
        for n in poms:
            p = dict(l.split("=", 1) for l in z.read(n).decode().splitlines() if "=" in l)
            print(p["artifactId"], p["version"], path)
        if not poms:
            m = z.read("META-INF/MANIFEST.MF").decode() if "META-INF/MANIFEST.MF" in z.namelist() else ""
            f = dict(l.split(": ", 1) for l in m.splitlines() if ": " in l)
            file = path.rsplit("/", 1)[1].rsplit(".", 1)[0]
            known = "commons-io" if file == "commons-io-2.11.0" else f.get("Implementation-Title", file)
            print(known, f.get("Implementation-Version", ""), path)
        for n in z.namelist():
            if n.endswith((".jar", ".war")): walk(path + "!/" + n, z.read(n))
for path, data in files.items(): walk(path, data)
"##;

#[test]
fn java_archives_are_those_that_another_reader_lists() {
    let Some(python) = need("python3") else { return };
    let site = Site::new();
    let listed = site.run(&python, ["-c", JARS]).run().assert_ok().stdout;
    let names =
        ["app.jar", "site.war", "commons-io-2.11.0.jar", "runs.jar", "empty.jar"].map(|name| format!("opt/{name}"));
    let files: Vec<Vec<u8>> = names.iter().map(|name| site.read(name)).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(files.iter().map(Vec::as_slice)).collect();
    let release = release(&[&TestImage::new("java:1").tar_layer(tar_of(&files))]);
    let expected = lines_of(&listed);
    assert_eq!(expected.len(), 12, "{listed}");
    assert_eq!(lines(&only_image(&release), "found_in"), expected);
}

#[test]
fn alpine_packages_are_listed_in_either_place() {
    let installed =
        "C:Q1a=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n\nP:busybox\nV:1.36.1-r29\nA:x86_64\nL:GPL-2.0-only\n\n";
    for place in ["lib/apk/db/installed", "usr/lib/apk/db/installed"] {
        let os = "ID=alpine\nVERSION_ID=3.20.1\nPRETTY_NAME=\"Alpine Linux v3.20\"\n";
        let files: [(&str, &[u8]); 2] = [(place, installed.as_bytes()), ("etc/os-release", os.as_bytes())];
        let release = release(&[&TestImage::new("alpine:1").tar_layer(tar_of(&files))]);
        let image = only_image(&release);
        assert_eq!(
            lines(&image, "licence"),
            ["musl 1.2.5-r0 MIT", "busybox 1.36.1-r29 GPL-2.0-only"].map(str::to_owned).into()
        );
        assert_eq!(image["os"]["name"], "Alpine Linux v3.20");
        assert!(inventory(&release.site, "").assert_ok().stdout.contains("Alpine Linux v3.20, 2 packages"));
    }
}

/// A database of 41 packages that rpm itself makes, in `sqlite/`, and its own list of them.
fn rpm_database(site: &Site) -> Option<String> {
    let (rpm, build) = (need("rpm")?, need("rpmbuild")?);
    let mut spec = "Name: base\nVersion: 1.0\nRelease: 2\nEpoch: 7\nSummary: s\nLicense: MIT\nBuildArch: noarch\n%description\nd\n%files\n".to_owned();
    for number in 0..40 {
        // Some are longer than a page, so that they stand in several.
        let words = "word ".repeat(number * 60);
        write!(spec, "%package p{number}\nSummary: s\n%description p{number}\n{words}\n%files p{number}\n").unwrap();
    }
    site.write("base.spec", spec);
    let top = format!("_topdir {}", site.path("build").display());
    site.run(&build, ["-bb", "--quiet", "--define", &top, "base.spec"]).run().assert_ok();
    let database = site.path("sqlite");
    let common = ["--dbpath", database.to_str().unwrap(), "--define", "_db_backend sqlite"];
    site.run(&rpm, common).args(["--initdb"]).run().assert_ok();
    let made = std::fs::read_dir(site.path("build/RPMS/noarch")).unwrap().map(|entry| entry.unwrap().path());
    site.run(&rpm, common).args(["-i", "--justdb", "--nodeps", "--noscripts"]).args(made).run().assert_ok();
    let form = "%{NAME} %|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE} %{ARCH}\\n";
    let listed = site.run(&rpm, common).args(["-qa", "--qf", form]).run().assert_ok().stdout;
    assert_eq!(listed.lines().count(), 41, "{listed}");
    Some(listed)
}

/// The same headers in the other two forms, which Debian's rpm does not write: a file of slots (rpm's ndb), and what
/// Berkeley DB's own loader reads.
const OTHER_FORMS: &str = r#"
import sqlite3, struct
rows = list(sqlite3.connect("sqlite/rpmdb.sqlite").execute("select hnum, blob from Packages"))
slots, blobs, at = b"", b"", 4096
for number, blob in rows:
    whole = b"BlbS" + struct.pack("<III", number, 1, len(blob)) + blob
    whole += b"\0" * (-len(whole) % 16)
    slots += b"Slot" + struct.pack("<III", number, at // 16, len(whole) // 16)
    blobs, at = blobs + whole, at + len(whole)
empty = (b"Slot" + bytes(12)) * (254 - len(rows))
open("Packages.db", "wb").write(b"RpmP" + struct.pack("<III", 0, 1, 1) + bytes(16) + slots + empty + blobs)
print("VERSION=3\nformat=bytevalue\ntype=hash\nHEADER=END")
for number, blob in [(0, struct.pack("<I", 99))] + rows:
    print(" " + struct.pack("<I", number).hex() + "\n " + blob.hex())
print("DATA=END")
"#;

#[test]
fn rpm_packages_are_those_of_rpm_in_each_form_of_its_database() {
    let site = Site::new();
    let (Some(listed), Some(load), Some(python)) = (rpm_database(&site), need("db5.3_load"), need("python3")) else {
        return;
    };
    let dump = site.run(&python, ["-c", OTHER_FORMS]).run().assert_ok().stdout;
    site.run(&load, ["Packages"]).input(dump).run().assert_ok();
    for (path, file) in [
        ("var/lib/rpm/rpmdb.sqlite", "sqlite/rpmdb.sqlite"),
        ("usr/lib/sysimage/rpm/Packages.db", "Packages.db"),
        ("var/lib/rpm/Packages", "Packages"),
    ] {
        let release = release(&[&TestImage::new("rpm:1").tar_layer(tar_of(&[(path, &site.read(file))]))]);
        assert_eq!(lines(&only_image(&release), "architecture"), lines_of(&listed), "{path}");
    }
}

#[test]
fn a_database_that_cannot_be_read_is_said_and_the_rest_is_read() {
    let files: [(&str, &[u8]); 4] = [
        ("var/lib/rpm/Packages", b"something else"),
        ("var/lib/rpm/rpmdb.sqlite-wal", b"changes"),
        ("opt/broken.jar", b"PK\x03\x04 and no more"),
        (STATUS, b"Package: one\nVersion: 1\n"),
    ];
    let release = release(&[&TestImage::new("odd:1").tar_layer(tar_of(&files))]);
    let run = inventory(&release.site, "--json").assert_code(10);
    let image = &run.json()["images"][0];
    let gaps: BTreeSet<&str> =
        image["gaps"].as_array().unwrap().iter().map(|gap| gap["path"].as_str().unwrap()).collect();
    assert_eq!(gaps, ["opt/broken.jar", "var/lib/rpm/Packages", "var/lib/rpm/rpmdb.sqlite-wal"].into());
    assert!(image["packages"].as_array().unwrap().iter().any(|package| package["name"] == "one"));
    assert!(inventory(&release.site, "").assert_code(10).stdout.contains("NOT READ: layer sha256:"));
    assert!(inventory(&release.site, "--as spdx").assert_code(10).stdout.contains("not read: layer sha256:"));
    assert!(inventory(&release.site, "--as cyclonedx").assert_code(10).stdout.contains("octobundle:not-read"));
}

#[test]
fn layers_make_an_image_together_in_gzip_zstd_and_plain() {
    let base = tar_of(&[
        (STATUS, b"Package: old\nVersion: 1\n"),
        ("lib/apk/db/installed", b"P:kept\nV:1\n"),
        ("opt/a/gone.jar", b"PK\x05\x06aaaaaaaaaaaaaaaaaa"),
    ]);
    let above = tar_of(&[(STATUS, b"Package: new\nVersion: 2\n"), ("opt/.wh.a", b"")]);
    for form in ["gzip", "zstd", "plain"] {
        let pack = |tar: &[u8]| match form {
            "gzip" => gzip(tar),
            "zstd" => zstd::encode_all(tar, 1).unwrap(),
            _ => tar.to_vec(),
        };
        let image = TestImage::new("mixed:1").packed_layer(pack(&base)).packed_layer(pack(&above));
        let release = release(&[&image]);
        let expected = ["kept 1 -", "new 2 -"].map(str::to_owned).into();
        assert_eq!(lines(&only_image(&release), "architecture"), expected, "{form}");
    }
}

fn zeros(gibibytes: f64) -> impl std::io::Read {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few times 2^30")]
    let length = (gibibytes * f64::from(1 << 30)) as u64;
    std::io::Read::take(std::io::repeat(0), length)
}

/// A tar header of a file so long.
fn header(path: &str, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(path).unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn gzip_small(mut from: impl std::io::Read) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    std::io::copy(&mut from, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

fn gzip_bomb() -> Vec<u8> {
    use std::io::Read as _;
    gzip_small(header("zeros", 1 << 40).chain(zeros(0.5)))
}

#[test]
fn sec_45_and_46_bombs_end_with_a_named_error_and_the_other_images_are_read() {
    use std::io::Read as _;
    let good = || TestImage::new("good:1").tar_layer(tar_of(&[(STATUS, b"Package: one\nVersion: 1\n")]));
    let jar = {
        // A member that inflates to zeros, and says nothing of its size.
        let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), Compression::best());
        std::io::copy(&mut zeros(0.5), &mut packed).unwrap();
        let mut jar = b"PK\x03\x04\x14\x00\x08\x00\x08\x00".to_vec();
        jar.extend([0; 16]);
        jar.extend([8, 0, 0, 0]);
        jar.extend(b"META-INF");
        jar.extend(packed.finish().unwrap());
        jar
    };
    // RFC 8878: a window of 2^41 bytes is asked for by one byte.
    let window = |byte: u8| [0x28, 0xb5, 0x2f, 0xfd, 0x00, byte, 0x01, 0, 0].to_vec();
    let members =
        gzip_small(&header("zeros", 1 << 40)[..]).into_iter().chain(gzip_small(zeros(0.1)).repeat(5)).collect();
    let zstandard = zstd::encode_all(header("zeros", 1 << 40).chain(zeros(0.5)), 1).unwrap();
    let bombs: [(&str, Vec<u8>, &str); 7] = [
        ("gzip", gzip_bomb(), "a decompression bomb"),
        ("members", members, "a decompression bomb"),
        ("zstd", zstandard, "a decompression bomb"),
        ("window", window(0xf8), "cannot be unpacked"),
        // The first one above 128 MiB.
        ("window-28", window(0x90), "cannot be unpacked"),
        ("jar", gzip(&tar_of(&[("opt/bomb.jar", &jar)])), "a decompression bomb"),
        // What is stated is not asked for as memory.
        ("size", gzip(&header(STATUS, 1 << 60)), "it ends inside of a file"),
    ];
    let images: Vec<TestImage> = bombs
        .iter()
        .map(|(name, bytes, _)| TestImage::new(&format!("bomb/{name}:1")).packed_layer(bytes.clone()))
        .collect();
    let good = good();
    let samples: Vec<&dyn Sample> =
        images.iter().map(|image| image as &dyn Sample).chain([&good as &dyn Sample]).collect();
    let release = release(&samples);
    let run = measured(release.site.octobundle(["inventory", "release.tar", "--json"]));
    assert!(run.peak < 256, "{} MiB after {:?}: {}", run.peak, run.worked, run.command_line);
    let result = run.output.assert_code(10).json();
    for (place, (name, _, reason)) in bombs.iter().enumerate() {
        let gaps = result["images"][place]["gaps"].to_string();
        assert!(gaps.contains(reason), "{name}: {gaps}");
    }
    let last = &result["images"][bombs.len()];
    assert_eq!((&last["gaps"], &last["packages"][0]["name"]), (&json!([]), &json!("one")));
}

/// A zip archive with one member, stored as it is.
fn stored(name: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    let size = u32::try_from(content.len()).unwrap().to_le_bytes();
    archive.extend([size, size].concat());
    archive.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
    archive.extend([0, 0]);
    archive.extend(name.as_bytes());
    archive.extend(content);
    archive.extend(b"PK\x01\x02");
    archive
}

#[test]
fn sec_45_archives_in_archives_and_lists_of_any_length_are_read_to_a_bound() {
    let deep = (0..5).fold(stored("x", b"x"), |inner, number| stored(&format!("in-{number}.jar"), &inner));
    let long = vec![b'\n'; (64 << 20) + 1];
    let one = TestImage::new("deep:1").tar_layer(tar_of(&[("opt/deep.jar", &deep)]));
    let other = TestImage::new("long:1").packed_layer(gzip(&tar_of(&[(STATUS, &long)])));
    let release = release(&[&one, &other]);
    let result = inventory(&release.site, "--json").assert_code(10).json();
    for (place, reason) in [(0, "it stands in 4 archives"), (1, "lists of more than 67108864 are not read")] {
        let gaps = &result["images"][place]["gaps"];
        assert!(gaps.as_array().is_some_and(|gaps| gaps.len() == 1) && gaps.to_string().contains(reason), "{gaps}");
    }
}

#[test]
fn what_stands_behind_a_layers_files_has_to_be_right_too() {
    let files = [tar_of(&[(STATUS, b"Package: one\nVersion: 1\n")]), vec![0; 1_000_000]].concat();
    let release = release(&[&TestImage::new("debian:1").packed_layer(files)]);
    let mut bytes = release.site.read("release.tar");
    let place = bytes.windows(12).rposition(|window| window == b"Package: one").unwrap();
    bytes[place + 900_000] = 1;
    release.site.write("release.tar", bytes);
    let image = inventory(&release.site, "--json").assert_code(10).json()["images"][0].take();
    assert_eq!((&image["packages"], image["gaps"].as_array().unwrap().len()), (&json!([]), 1));
}

#[test]
fn sec_46_streams_that_bring_nothing_end() {
    let empty = gzip_small(&b""[..]).repeat(20_000);
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0_u8].repeat(20_000);
    let images = [empty, skippable].map(|bytes| TestImage::new("nothing:1").packed_layer(bytes));
    for image in images {
        let image = only_image(&release(&[&image]));
        assert_eq!((&image["packages"], &image["gaps"]), (&json!([]), &json!([])));
    }
}

#[test]
fn sec_45_limits_can_be_set() {
    let release = release(&[&TestImage::new("bomb:1").packed_layer(gzip_bomb())]);
    let gaps =
        |arguments: &str| inventory(&release.site, arguments).assert_code(10).json()["images"][0]["gaps"].to_string();
    assert!(gaps("--json --max-unpacked 1MiB").contains("it unpacks to more than 1048576 bytes"));
    assert!(gaps("--json --max-ratio 1000000").contains("it ends inside of a file"), "it was read to its end");
}

#[test]
fn bytes_that_are_not_what_was_promised_are_no_inventory() {
    let release = release(&[&TestImage::new("debian:1").tar_layer(tar_of(&[(STATUS, b"Package: one\nVersion: 1\n")]))]);
    let mut bytes = release.site.read("release.tar");
    let place = bytes.windows(12).rposition(|window| window == b"Package: one").unwrap();
    bytes[place + 9] = b'O';
    release.site.write("release.tar", bytes);
    let image = inventory(&release.site, "--json").assert_code(10).json()["images"][0].take();
    assert_eq!(image["packages"], json!([]));
    assert_eq!(image["gaps"].as_array().unwrap().len(), 1);
}

fn hostile_release() -> Release {
    let status = "Package: <script>alert(1)</script>\u{202e}\nVersion: 1\"\\\u{1b}[31m\n\nPackage: two\nVersion: 2\nArchitecture: amd64\n";
    let jar = "opt/a b/=x.jar";
    let files: [(&str, &[u8]); 3] = [
        (STATUS, status.as_bytes()),
        (jar, b"PK\x05\x06aaaaaaaaaaaaaaaaaa"),
        ("lib/apk/db/installed", b"P:apk\nV:1\nL:MIT OR <x>\n"),
    ];
    release(&[&TestImage::new("debian:1").tar_layer(tar_of(&files)).created("2024-05-01T10:11:12Z")])
}

#[test]
fn documents_are_the_same_each_time_and_do_nothing_to_a_terminal() {
    let release = hostile_release();
    for form in ["text", "spdx", "cyclonedx"] {
        let first = inventory(&release.site, &format!("--as {form}")).assert_ok().stdout;
        inventory(&release.site, &format!("--as {form} -o again.{form}")).assert_ok();
        assert_eq!(first.as_bytes(), release.site.read(&format!("again.{form}")));
        assert!(first.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}')), "{first}");
    }
    for (name, key) in [("sbom.spdx.json", "spdxVersion"), ("sbom.cdx.json", "bomFormat")] {
        inventory(&release.site, &format!("-o {name}")).assert_ok();
        let document: Value = serde_json::from_slice(&release.site.read(name)).unwrap();
        assert!(document[key].is_string(), "{name}");
    }
    assert!(inventory(&release.site, "-o sbom.cdx.json").assert_code(2).stderr.contains("exists already"));
}

/// The rules of SPDX 2.3's schema that a document of this kind can break.
#[test]
fn spdx_documents_are_sound() {
    let document = inventory(&hostile_release().site, "--as spdx").assert_ok().json();
    assert_eq!(document["creationInfo"]["created"], "2024-05-01T10:11:12Z");
    let packages = document["packages"].as_array().unwrap();
    let identifier = |id: &str| {
        let rest = id.strip_prefix("SPDXRef-").unwrap_or_default();
        !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c))
    };
    let mut ids: BTreeSet<&str> = ["SPDXRef-DOCUMENT"].into();
    for package in packages {
        let id = package["SPDXID"].as_str().unwrap();
        assert!(identifier(id) && ids.insert(id), "{id} once");
        assert!(package["name"].is_string() && package["downloadLocation"] == "NOASSERTION");
        for reference in package["externalRefs"].as_array().into_iter().flatten() {
            let locator = reference["referenceLocator"].as_str().unwrap();
            assert!(
                locator.starts_with("pkg:") && locator.is_ascii() && !locator.contains([' ', '<', '"']),
                "{locator}"
            );
        }
    }
    let relationships = document["relationships"].as_array().unwrap();
    assert_eq!(relationships.len(), packages.len(), "each stands in one other");
    for relationship in relationships {
        for end in ["spdxElementId", "relatedSpdxElement"] {
            assert!(ids.contains(relationship[end].as_str().unwrap()), "{relationship}");
        }
    }
}

/// The rules of `CycloneDX` 1.5's schema that a document of this kind can break.
#[test]
fn cyclonedx_documents_are_sound() {
    let document = inventory(&hostile_release().site, "--as cyclonedx").assert_ok().json();
    let serial = document["serialNumber"].as_str().unwrap();
    let lengths: Vec<usize> = serial.strip_prefix("urn:uuid:").unwrap().split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12], "{serial}");
    let mut references = BTreeSet::new();
    let image = &document["components"][0];
    let inner = image["components"].as_array().unwrap();
    assert_eq!(inner.len(), 4);
    for component in inner.iter().chain([image]) {
        assert!(references.insert(component["bom-ref"].as_str().unwrap()), "{component}");
        assert!(["library", "container"].contains(&component["type"].as_str().unwrap()));
        assert!(component["name"].is_string() && component["version"].is_string());
    }
    let hash = image["hashes"][0]["content"].as_str().unwrap();
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
}
