//! Writes a bundle by hand as `docs/bundle-format.md` says, and compares it with what `pull` writes.
//!
//! Nothing of the library's layout code is used here: who reads the document must come to the same bytes.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use support::cli::Site;
use support::images::{Content, Sample, TestImage, TestIndex, crc32, digest};
use support::memory_registry::{MemoryRegistry, Options};
use support::until;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A release with every form that an image can take in a lock.
struct Release {
    host: String,
    manifest: String,
    agent: Content,
    proxy: Content,
    tools: Content,
    many: Content,
    probe: Content,
}

impl Release {
    fn served_by(registry: &MemoryRegistry) -> Self {
        let image = |layer: &[u8]| TestImage::new("-:-").layer(layer);
        let base = TestImage::new("octoperf/docker-agent:13.0.0").random_layer(1, 300_000);
        let agent = base.clone().docker().layer(b"the agent's own files");
        let proxy = TestIndex::new("octoperf/proxy:1.27")
            .image(base.layer(b"a proxy"))
            .image(image(b"for another processor").platform("linux/arm64"))
            .attested();
        let tools = TestIndex::new("octoperf/tools:2").image(image(b"tools")).attested();
        let many = TestIndex::new("octoperf/many:3")
            .image(image(b"one").docker().platform("linux/amd64"))
            .image(image(b"two").docker().platform("linux/s390x"))
            .image(image(b"three").docker().platform("linux/arm/v7"));
        let probe = TestImage::new("octoperf/probe:1").layer(b"a probe");
        registry.add(&agent);
        registry.add(&proxy);
        registry.add(&tools);
        registry.add(&many);
        registry.add(&probe);
        let (host, by_digest) = (registry.host(), probe.content().root().digest.clone());
        let manifest = format!(
            "schema: octobundle/v1\nrelease: sample-1\ntitle: A sample \"release\"\nimages:\n\
             \x20 - {{image: '{host}/octoperf/docker-agent:13.0.0', role: agent, groups: [b, a]}}\n\
             \x20 - {{image: '{host}/octoperf/proxy:1.27', role: infrastructure}}\n\
             \x20 - {{image: '{host}/octoperf/tools:2', role: tool, platforms: all}}\n\
             \x20 - {{image: '{host}/octoperf/many:3', role: tool, platforms: [linux/amd64, linux/arm]}}\n\
             \x20 - {{image: '{host}/octoperf/probe@{by_digest}', role: tool}}\n\
             \x20 - {{image: '{host}/octoperf/probe:1@{by_digest}', role: tool}}\n"
        );
        let (agent, proxy, tools) = (agent.content(), proxy.content(), tools.content());
        Self { host, manifest, agent, proxy, tools, many: many.content(), probe: probe.content() }
    }

    /// "The lock": name, role, groups, source, root, index, derived, insecure, platforms.
    fn lock(&self) -> Value {
        let source = |content: &Content| format!("{}/{}", self.host, content.repository);
        let tagged = |content: &Content| format!("{}/{}", self.host, content.name());
        let derived = self.derived_index();
        let probe = |name: &str| {
            json!({
                "name": format!("{name}@{}", self.probe.root().digest), "role": "tool", "source": source(&self.probe),
                "root": root(&self.probe), "insecure": true,
                "platforms": [platform(&self.probe, Some("linux/amd64"), &self.probe.root().digest)],
            })
        };
        json!({
            "schema": "octobundle/lock/v1",
            "release": "sample-1",
            "title": "A sample \"release\"",
            "manifest": digest(self.manifest.as_bytes()),
            "images": [
                {
                    "name": tagged(&self.agent), "role": "agent", "groups": ["a", "b"], "source": source(&self.agent),
                    "root": root(&self.agent), "insecure": true,
                    "platforms": [platform(&self.agent, Some("linux/amd64"), &self.agent.root().digest)],
                },
                {
                    "name": tagged(&self.proxy), "role": "infrastructure", "source": source(&self.proxy),
                    "root": locked(&entries(&self.proxy)[0]), "index": root(&self.proxy), "insecure": true,
                    "platforms": [platform(&self.proxy, Some("linux/amd64"), &entry_digest(&self.proxy, 0))],
                },
                {
                    "name": tagged(&self.tools), "role": "tool", "source": source(&self.tools),
                    "root": root(&self.tools), "insecure": true,
                    "platforms": [
                        platform(&self.tools, Some("linux/amd64"), &entry_digest(&self.tools, 0)),
                        platform(&self.tools, None, &entry_digest(&self.tools, 1)),
                    ],
                },
                {
                    "name": tagged(&self.many), "role": "tool", "source": source(&self.many),
                    "root": {
                        "media_type": self.many.root().media_type, "digest": digest(&derived), "size": derived.len(),
                    },
                    "index": root(&self.many), "derived": true, "insecure": true,
                    "platforms": [
                        platform(&self.many, Some("linux/amd64"), &entry_digest(&self.many, 0)),
                        platform(&self.many, Some("linux/arm/v7"), &entry_digest(&self.many, 2)),
                    ],
                },
                probe(&source(&self.probe)),
                probe(&tagged(&self.probe)),
            ],
        })
    }

    /// "Derived indexes": three fields without blanks, the entries as they stand at the source.
    fn derived_index(&self) -> Vec<u8> {
        let text = String::from_utf8(self.many.root().bytes.clone()).expect("samples are text");
        let kept: Vec<String> = [0, 2].iter().map(|&index| entry_text(&text, index)).collect();
        let kind = &self.many.root().media_type;
        format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{}]}}"#, kept.join(",")).into_bytes()
    }

    /// Everything that stands under a digest, as it came or was derived.
    fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::from([(digest(&self.derived_index()), self.derived_index())]);
        for image in list(&self.lock()["images"]) {
            all.extend(stand_in(image).map(|text| (digest(text.as_bytes()), text.into_bytes())));
        }
        for content in [&self.agent, &self.proxy, &self.tools, &self.many, &self.probe] {
            all.extend(content.blobs.clone());
            all.extend(content.documents.iter().map(|document| (document.digest.clone(), document.bytes.clone())));
        }
        all
    }

    /// The whole file, member by member.
    fn bundle(&self) -> Vec<u8> {
        let lock = self.lock();
        let octobundle = json!({ "format": "octobundle/bundle/v1", "lock": lock });
        self.file(&lock, &octobundle, &readme(&lock), &BTreeSet::new())
    }

    /// The lock of an older release of two of the images, and "Deltas": the file without the layers of these.
    fn delta(&self) -> (Value, Vec<u8>) {
        let (lock, mut old) = (self.lock(), self.lock());
        old["release"] = json!("sample-0");
        old["images"] = json!([lock["images"][0], lock["images"][5]]);
        // The proxy's first layer is the agent's too. The agent's layers and the probe's stand in several images.
        let [agent, probe] = [&self.agent, &self.probe].map(|content| format!("{}/{}", self.host, content.repository));
        let layers = |image: usize| list(&lock["images"][image]["platforms"][0]["layers"]).iter();
        let held: BTreeMap<&str, &str> = layers(0)
            .map(|layer| (text(&layer["digest"]), agent.as_str()))
            .chain(layers(5).map(|layer| (text(&layer["digest"]), probe.as_str())))
            .collect();
        let left_out: Vec<Value> =
            held.iter().map(|(digest, place)| json!({ "digest": digest, "held_in": [place] })).collect();
        let id = digest((serde_json::to_string_pretty(&old).expect("JSON can be written") + "\n").as_bytes());
        let base = json!({ "kind": "release", "name": "sample-0", "id": id, "left_out": left_out });
        let octobundle = json!({ "format": "octobundle/delta/v1", "lock": lock, "base": base });
        let left_out: BTreeSet<String> = held.keys().map(ToString::to_string).collect();
        let file = self.file(&lock, &octobundle, &delta_readme(&lock, &left_out), &left_out);
        (old, file)
    }

    fn file(&self, lock: &Value, octobundle: &Value, readme: &str, left_out: &BTreeSet<String>) -> Vec<u8> {
        let mut whole = lock.clone();
        let images = whole["images"].as_array_mut().expect("it is a list");
        images.retain(|image| layers_of(image).is_disjoint(left_out));
        let blobs: Vec<String> = blob_order(lock).into_iter().filter(|blob| !left_out.contains(blob)).collect();
        let (contents, index, list) = (self.contents(), index_json(&whole), manifest_json(&whole));
        let octobundle = serde_json::to_string_pretty(octobundle).expect("JSON can be written") + "\n";
        let readme = readme.to_owned();
        let head = [
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json", index.into_bytes()),
            ("manifest.json", list.into_bytes()),
            ("octobundle.json", octobundle.into_bytes()),
            ("README.txt", readme.into_bytes()),
        ];
        let mut sums = String::new();
        let mut line = |digest: &str, name: &str| writeln!(sums, "{}  {name}", hex(digest)).expect("it is memory");
        for (name, bytes) in &head {
            line(&digest(bytes), name);
        }
        for blob in &blobs {
            line(blob, &blob_path(blob));
        }

        let mut file = Vec::new();
        for (name, bytes) in &head[..4] {
            add_member(&mut file, name, bytes);
        }
        add_member(&mut file, "SHA256SUMS", sums.as_bytes());
        add_member(&mut file, "README.txt", &head[4].1);
        for blob in &blobs {
            add_member(&mut file, &blob_path(blob), &contents[blob]);
        }
        file.extend([0; 1024]);
        file
    }
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

fn blob_path(digest: &str) -> String {
    format!("blobs/sha256/{}", hex(digest))
}

fn root(content: &Content) -> Value {
    let root = content.root();
    json!({ "media_type": root.media_type, "digest": root.digest, "size": root.bytes.len() })
}

/// A registry's descriptor in the words of a lock.
fn locked(descriptor: &Value) -> Value {
    json!({ "media_type": descriptor["mediaType"], "digest": descriptor["digest"], "size": descriptor["size"] })
}

fn entries(index: &Content) -> Vec<Value> {
    index.root().json()["manifests"].as_array().expect("it is an index").clone()
}

fn entry_digest(index: &Content, entry: usize) -> String {
    entries(index)[entry]["digest"].as_str().expect("digests are text").to_owned()
}

/// The text of an entry of an indented index, from brace to brace.
fn entry_text(index: &str, entry: usize) -> String {
    let entries = index.split("\"manifests\": [").nth(1).expect("it is an index");
    let mut found = entries.split("\n    {").skip(1).map(|entry| entry.split("\n    }").next().unwrap_or_default());
    format!("{{{}\n    }}", found.nth(entry).expect("it has that entry"))
}

fn platform(content: &Content, name: Option<&str>, manifest: &str) -> Value {
    let document = content.documents.iter().find(|document| document.digest == manifest).expect("it is there");
    let value = document.json();
    let layers: Vec<Value> = value["layers"].as_array().expect("it is an image").iter().map(locked).collect();
    let own = json!({ "media_type": document.media_type, "digest": document.digest, "size": document.bytes.len() });
    let mut platform = json!({});
    if let Some(name) = name {
        platform["platform"] = json!(name);
    }
    platform["manifest"] = own;
    platform["config"] = locked(&value["config"]);
    platform["layers"] = json!(layers);
    platform
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("it is a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("it is text")
}

/// The name; of one with tag and digest, without the digest.
fn short_name(image: &Value) -> &str {
    let name = text(&image["name"]);
    name.split_once('@').filter(|(before, _)| is_tagged(before)).map_or(name, |(before, _)| before)
}

fn is_tagged(name: &str) -> bool {
    name.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

/// "Order": documents by digest, then layers, the largest first, then by digest.
fn blob_order(lock: &Value) -> Vec<String> {
    let (mut documents, mut layers) = (BTreeSet::new(), BTreeSet::new());
    for image in list(&lock["images"]) {
        documents.insert(text(&image["root"]["digest"]).to_owned());
        documents.extend(stand_in(image).map(|text| digest(text.as_bytes())));
        for platform in list(&image["platforms"]) {
            documents.insert(text(&platform["manifest"]["digest"]).to_owned());
            documents.insert(text(&platform["config"]["digest"]).to_owned());
            for layer in list(&platform["layers"]) {
                let size = layer["size"].as_u64().expect("sizes are numbers");
                layers.insert((std::cmp::Reverse(size), text(&layer["digest"]).to_owned()));
            }
        }
    }
    documents.into_iter().chain(layers.into_iter().map(|(_, digest)| digest)).collect()
}

fn index_json(lock: &Value) -> String {
    let entry = |image: &Value| {
        let (root, name) = (&image["root"], short_name(image));
        let before = stand_in(image).map_or(String::new(), |text| {
            let (digest, size) = (digest(text.as_bytes()), text.len());
            let (repository, _) = name.rsplit_once(['@', ':']).expect("a name has a tag or a digest");
            let repository = repository.strip_suffix("@sha256").unwrap_or(repository);
            format!(
                r#"{{"mediaType":"{OCI_INDEX}","digest":"{digest}","size":{size},"annotations":{{"io.containerd.image.name":"{repository}@{digest}","org.opencontainers.image.ref.name":"{name}"}}}},"#
            )
        });
        let own = format!(
            r#"{{"mediaType":{},"digest":{},"size":{},"annotations":{{"io.containerd.image.name":"{name}","org.opencontainers.image.ref.name":"{name}"}}}}"#,
            root["media_type"], root["digest"], root["size"]
        );
        before + &own
    };
    let entries: Vec<String> = list(&lock["images"]).iter().map(entry).collect();
    format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#, entries.join(","))
}

/// "A stand-in", for an image of Docker's media types.
fn stand_in(image: &Value) -> Option<String> {
    if !text(&image["root"]["media_type"]).starts_with("application/vnd.docker.") {
        return None;
    }
    let entry = |platform: &Value| {
        let manifest = &platform["manifest"];
        let runs_on = platform["platform"].as_str().map_or(String::new(), |name| {
            let parts: Vec<&str> = name.split('/').collect();
            let variant = parts.get(2).map_or(String::new(), |variant| format!(r#","variant":"{variant}""#));
            format!(r#","platform":{{"architecture":"{}","os":"{}"{variant}}}"#, parts[1], parts[0])
        });
        format!(
            r#"{{"mediaType":{},"digest":{},"size":{}{runs_on}}}"#,
            manifest["media_type"], manifest["digest"], manifest["size"]
        )
    };
    let entries: Vec<String> = list(&image["platforms"]).iter().map(entry).collect();
    Some(format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#, entries.join(",")))
}

fn manifest_json(lock: &Value) -> String {
    let entry = |image: &Value| {
        let platforms = list(&image["platforms"]);
        let usual = platforms.iter().find(|platform| platform["platform"] == "linux/amd64");
        let chosen = usual.expect("every sample has it");
        let layers: Vec<String> =
            list(&chosen["layers"]).iter().map(|layer| format!("\"{}\"", blob_path(text(&layer["digest"])))).collect();
        let name = short_name(image);
        let tags = if name.contains('@') { String::new() } else { format!("\"{name}\"") };
        let config = blob_path(text(&chosen["config"]["digest"]));
        format!(r#"{{"Config":"{config}","RepoTags":[{tags}],"Layers":[{}]}}"#, layers.join(","))
    };
    let entries: Vec<String> = list(&lock["images"]).iter().map(entry).collect();
    format!("[{}]", entries.join(","))
}

fn layers_of(image: &Value) -> BTreeSet<String> {
    let layers = list(&image["platforms"]).iter().flat_map(|platform| list(&platform["layers"]));
    layers.map(|layer| text(&layer["digest"]).to_owned()).collect()
}

fn delta_readme(lock: &Value, left_out: &BTreeSet<String>) -> String {
    let mark = |image: &Value| if layers_of(image).is_disjoint(left_out) { "" } else { " *" };
    let names: String = list(&lock["images"])
        .iter()
        .fold(String::new(), |names, image| format!("{names}  {}{}\n", text(&image["name"]), mark(image)));
    format!(
        "A sample \"release\"\n\nThis tar is a delta: it holds what is new in the container images of sample-1, and not \
         the {} layers\nthat the release sample-0 has. It was made by octobundle, and octobundle is needed to use it.\n\n\
         Images (* not whole without the older layers):\n{names}\n\
         FILE is this tar, OLD is a bundle with the older layers:\n\
         \x20 octobundle verify FILE --base OLD\n\
         \x20 octobundle push FILE --registry HOST:PORT/PATH\n\
         \x20 octobundle push FILE --registry HOST:PORT/PATH --base OLD\n\
         \x20 octobundle load FILE --base OLD\n\n\
         Other programs see only the images without *. The parts that are here can be checked without octobundle:\n\
         \x20 mkdir FOLDER && tar -xf FILE -C FOLDER && cd FOLDER && sha256sum -c SHA256SUMS\n",
        left_out.len()
    )
}

fn readme(lock: &Value) -> String {
    let names: String =
        list(&lock["images"]).iter().fold(String::new(), |names, image| format!("{names}  {}\n", text(&image["name"])));
    format!(
        "A sample \"release\"\n\nThis tar holds the container images of sample-1. It was made by octobundle.\n\n\
         Images:\n{names}\n\
         With octobundle (FILE is this tar):\n\
         \x20 octobundle verify FILE\n\
         \x20 octobundle push FILE --registry HOST:PORT/PATH\n\
         \x20 octobundle load FILE\n\n\
         Without it:\n\
         \x20 mkdir FOLDER && tar -xf FILE -C FOLDER && cd FOLDER && sha256sum -c SHA256SUMS\n\
         \x20 docker load -i FILE\n\
         \x20 podman load -i FILE\n\
         \x20 skopeo copy oci-archive:FILE:NAME docker://HOST:PORT/PATH:TAG\n"
    )
}

/// "A member": header, content, zeros.
fn add_member(file: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    file.extend(header(name, bytes.len()));
    file.extend(bytes);
    file.resize(file.len().next_multiple_of(512), 0);
}

/// "The header", field by field.
fn header(name: &str, size: usize) -> [u8; 512] {
    let mut header = [0; 512];
    let mut field = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    field(0, name.as_bytes());
    field(100, b"0000644\0");
    field(108, b"0000000\0");
    field(116, b"0000000\0");
    field(124, format!("{size:011o}\0").as_bytes());
    field(136, b"02263523000\0");
    field(148, b"        ");
    field(156, b"0");
    field(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
    header
}

fn assert_same(written: &[u8], expected: &[u8]) {
    let differs = written.iter().zip(expected).position(|(a, b)| a != b);
    if let Some(at) = differs {
        let around = |bytes: &[u8]| {
            String::from_utf8_lossy(&bytes[at.saturating_sub(80)..bytes.len().min(at + 80)]).into_owned()
        };
        panic!("byte {at} differs\nwritten:  {}\nexpected: {}", around(written), around(expected));
    }
    assert_eq!(written.len(), expected.len(), "one is longer");
}

fn files_of(folder: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(folder).expect("folders can be read");
    names.map(|entry| entry.expect("entries can be read").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_bundle_is_what_the_document_says_byte_for_byte() {
    let (registry, site) = (MemoryRegistry::start(), Site::new());
    let release = Release::served_by(&registry);
    site.write("release.yaml", &release.manifest);
    site.octobundle(["pull", "release.yaml", "-o", "out.tar"]).run().assert_ok();
    let (written, expected) = (site.read("out.tar"), release.bundle());
    assert_same(&written, &expected);

    let sum = format!("{}  out.tar\n", hex(&digest(&expected)));
    assert_eq!(String::from_utf8_lossy(&site.read("out.tar.sha256")), sum);
    let names = ["out.tar", "out.tar.sha256", "release.yaml"];
    assert_eq!(files_of(&site.path(".")), names.map(str::to_owned).into(), "nothing else is left");
}

#[test]
fn a_bundle_that_another_program_wrote_by_the_document_is_read() {
    let (registry, site) = (MemoryRegistry::start(), Site::new());
    let release = Release::served_by(&registry);
    site.write("by-hand.tar", release.bundle());
    site.octobundle(["verify", "by-hand.tar"]).run().assert_ok();
    let lock = site.octobundle(["inspect", "by-hand.tar", "--lock"]).run().assert_ok().stdout;
    assert_eq!(lock, serde_json::to_string_pretty(&release.lock()).expect("JSON can be written") + "\n");
}

#[test]
fn a_delta_is_what_the_document_says_byte_for_byte() {
    let (registry, site) = (MemoryRegistry::start(), Site::new());
    let release = Release::served_by(&registry);
    let (old, expected) = release.delta();
    site.write("release.yaml", &release.manifest);
    site.write("old.lock", serde_json::to_string_pretty(&old).expect("JSON can be written"));
    site.octobundle(["pull", "release.yaml", "--since", "old.lock", "-o", "out.tar"]).run().assert_ok();
    assert_same(&site.read("out.tar"), &expected);
    site.write("by-hand.tar", expected);
    site.octobundle(["verify", "by-hand.tar"]).run().assert_ok();
}

#[test]
fn the_number_of_jobs_leaves_no_trace() {
    let (registry, site) = (MemoryRegistry::start(), Site::new());
    let release = Release::served_by(&registry);
    site.write("release.yaml", &release.manifest);
    let bundle = |jobs: &str| {
        let output = format!("{jobs}.tar");
        site.octobundle(["pull", "release.yaml", "-o", &output, "--jobs", jobs]).run().assert_ok();
        site.read(&output)
    };
    assert_same(&bundle("1"), &bundle("16"));
}

#[test]
fn a_killed_run_leaves_what_the_document_says_and_the_next_one_ends_it() {
    let slow = Options { bytes_per_second: Some(3_000_000), ..Options::default() };
    let (registry, site) = (MemoryRegistry::with(slow), Site::new());
    let agent = TestImage::new("octoperf/docker-agent:1").random_layer(1, 4_000_000).random_layer(2, 3_000_000);
    let name = registry.add(&agent);
    let layers: BTreeSet<String> =
        list(&agent.content().root().json()["layers"]).iter().map(|layer| text(&layer["digest"]).to_owned()).collect();
    site.write(
        "release.yaml",
        format!("schema: octobundle/v1\nrelease: r\ntitle: T\nimages: [{{image: '{name}', role: agent}}]\n"),
    );
    let pull = || site.octobundle(["pull", "release.yaml", "-o", "out.tar", "--jobs", "1"]);
    let running = pull().spawn();
    let journal = || std::fs::read_to_string(site.path("out.tar.partial.journal")).unwrap_or_default();
    until("a piece is claimed", || journal().lines().count() > 2);
    running.kill();

    let names = ["out.tar.partial", "out.tar.partial.journal", "release.yaml"];
    assert_eq!(files_of(&site.path(".")), names.map(str::to_owned).into());
    let (partial, journal) = (site.read("out.tar.partial"), journal());
    let sums = member(&partial, "SHA256SUMS");
    let first = format!("octobundle journal v1 {} {}", digest(&sums), partial.len());
    assert_eq!(journal.lines().next(), Some(first.as_str()));
    let claim = journal.lines().skip(1).find(|line| !line.is_empty()).expect("one was waited for");
    let (layer, position) = claim.split_once(' ').expect("digest and position");
    assert!(layers.contains(&format!("sha256:{layer}")), "{claim}");
    assert!(position.parse::<usize>().is_ok_and(|position| position > 0), "{claim}");

    registry.forget_requests();
    pull().run().assert_ok();
    assert!(registry.blob_bytes_sent() < 7_000_000, "what is proven to be on disk is not fetched again");
    site.octobundle(["verify", "out.tar"]).run().assert_ok();
    let names = ["out.pieces.json", "out.tar", "out.tar.sha256", "release.yaml"];
    assert_eq!(files_of(&site.path(".")), names.map(str::to_owned).into());
    let whole = site.read("out.tar");
    let pieces: Vec<String> = whole.chunks(4_194_304).map(crc32).collect();
    let written: Value = serde_json::from_slice(&site.read("out.pieces.json")).expect("it is JSON");
    let expected = json!({
        "format": "octobundle/pieces/v1", "bundle": digest(&sums), "bytes": whole.len(), "piece": 4_194_304,
        "pieces": pieces,
    });
    assert_eq!(written, expected);
}

/// A member's content, found by walking from header to header.
fn member(file: &[u8], wanted: &str) -> Vec<u8> {
    let mut at = 0;
    loop {
        let header = &file[at..at + 512];
        let name = header[..100].split(|&byte| byte == 0).next().unwrap_or_default();
        let size = std::str::from_utf8(&header[124..135]).expect("sizes are octal");
        let size = usize::from_str_radix(size, 8).expect("sizes are octal");
        if name == wanted.as_bytes() {
            return file[at + 512..at + 512 + size].to_vec();
        }
        at += 512 + size.next_multiple_of(512);
    }
}
