//! One bundle, unchanged, for all who read container images or tars.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use support::cli::{Output, Site};
use support::images::{Content, Document, Sample, TestImage, TestIndex, digest};
use support::memory_registry::MemoryRegistry;
use support::real::{Containerd, Docker, Podman, RealRegistry, need};
use support::release::manifest;

/// Docker's and OCI's media types, shared layers, an index with a statement, many layers.
fn samples() -> Vec<Box<dyn Sample>> {
    let base = TestImage::new("octoperf/docker-agent:13.0.0").random_layer(1, 300_000);
    let agent = base.clone().docker().layer(b"agent");
    let jmeter = base.named("octoperf/jmeter:5.6.3").random_layer(2, 90_000);
    let proxy = TestImage::new("octoperf/proxy:1.27").layer(b"proxy");
    let other = proxy.clone().platform("linux/arm64").layer(b"for another processor");
    let index = TestIndex::new("octoperf/proxy:1.27").image(proxy).image(other).attested();
    let many = (0..60).fold(TestImage::new("tools/many:1"), |image, seed| image.random_layer(100 + seed, 900));
    vec![Box::new(agent), Box::new(jmeter), Box::new(index), Box::new(many)]
}

/// The config that an engine on this platform takes for an image, and with it the image's id.
fn usual_config(content: &Content) -> String {
    let image = content.documents.iter().find(|document| {
        document.json().get("layers").is_some()
            && content.blobs[&config_of(document)].windows(5).any(|five| five == b"amd64")
    });
    config_of(image.expect("each sample has an image for linux/amd64"))
}

fn config_of(document: &Document) -> String {
    document.json()["config"]["digest"].as_str().expect("an image manifest has a config").to_owned()
}

/// The sample set in a real registry, and the bundle pulled from there.
struct Carried {
    site: Site,
    vendor: RealRegistry,
    skopeo: PathBuf,
    contents: Vec<Content>,
    bundle: Vec<u8>,
}

impl Carried {
    fn prepare() -> Option<Self> {
        let (vendor, skopeo) = (RealRegistry::start()?, need("skopeo")?);
        let (site, memory) = (Site::new(), MemoryRegistry::start());
        let samples = samples();
        for sample in &samples {
            let from = format!("docker://{}", memory.add(&**sample));
            let to = from.replace(&memory.host(), vendor.host());
            let copy = ["copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"];
            site.run(&skopeo, copy).args([from, to]).run().assert_ok();
        }
        let contents: Vec<Content> = samples.iter().map(|sample| sample.content()).collect();
        let names: Vec<String> =
            contents.iter().map(|content| format!("{}/{}", vendor.host(), content.name())).collect();
        site.write("release.yaml", manifest(&names));
        site.octobundle(["pull", "release.yaml", "--platform", "all", "-o", "release.tar"]).run().assert_ok();
        let bundle = site.read("release.tar");
        Some(Self { site, vendor, skopeo, contents, bundle })
    }

    fn name(&self, content: &Content) -> String {
        format!("{}/{}", self.vendor.host(), content.name())
    }

    fn file(&self) -> String {
        self.site.path("release.tar").display().to_string()
    }

    fn skopeo(&self, arguments: &[&str]) -> Output {
        self.site.run(&self.skopeo, arguments).run().assert_ok()
    }

    /// What a registry serves under a name, byte for byte.
    fn raw(&self, name: &str) -> String {
        self.skopeo(&["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]).stdout
    }

    #[track_caller]
    fn assert_unchanged(&self) {
        assert!(self.site.read("release.tar") == self.bundle, "whoever read the file has changed it");
        self.site.octobundle(["verify", "release.tar"]).run().assert_ok();
    }
}

#[test]
fn sec_43_tar_unpacks_it_and_sha256sum_agrees() {
    let Some(carried) = Carried::prepare() else { return };
    let script = "mkdir unpacked && tar -xf release.tar -C unpacked && cd unpacked && sha256sum -c --strict SHA256SUMS";
    let checked = carried.site.run(Path::new("sh"), ["-c", script]).run().assert_ok();
    let members = tar::Archive::new(&carried.bundle[..]).entries().expect("it is a tar").count();
    assert_eq!(checked.stdout.lines().filter(|line| line.ends_with(": OK")).count(), members - 1, "all but SHA256SUMS");
    assert_eq!(checked.stderr, "");
    carried.assert_unchanged();
}

#[test]
fn sec_43_every_reader_of_tar_sees_the_same_members_with_the_same_bytes() {
    let Some(carried) = Carried::prepare() else { return };
    let expected: BTreeMap<String, String> = tar::Archive::new(&carried.bundle[..])
        .entries()
        .expect("it is a tar")
        .map(|entry| {
            let mut entry = entry.expect("it can be read");
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).expect("it can be read");
            (entry.path().expect("it is text").display().to_string(), support::images::digest(&content))
        })
        .collect();
    let python = "import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])";
    let readers: [(&str, &[&str]); 5] = [
        ("tar", &["-xf", "FILE", "-C", "FOLDER"]),
        ("bsdtar", &["-xf", "FILE", "-C", "FOLDER"]),
        ("busybox", &["tar", "-xf", "FILE", "-C", "FOLDER"]),
        ("python3", &["-c", python, "FILE", "FOLDER"]),
        ("7zz", &["x", "-bd", "FILE", "-oFOLDER"]),
    ];
    for (program, arguments) in readers {
        let Some(reader) = need(program) else { continue };
        let folder = carried.site.path(program);
        std::fs::create_dir(&folder).expect("folders can be made");
        let place = folder.display().to_string();
        let arguments = arguments.iter().map(|word| word.replace("FILE", "release.tar").replace("FOLDER", &place));
        carried.site.run(&reader, arguments.collect::<Vec<_>>()).run().assert_ok();
        let (mut seen, mut open) = (BTreeMap::new(), vec![folder.clone()]);
        while let Some(inner) = open.pop() {
            for entry in std::fs::read_dir(&inner).expect("it can be listed").flatten() {
                if entry.path().is_dir() {
                    open.push(entry.path());
                    continue;
                }
                let name = entry.path().strip_prefix(&folder).expect("it is below").display().to_string();
                seen.insert(name, support::images::digest(&std::fs::read(entry.path()).expect("it can be read")));
            }
        }
        assert_eq!(seen, expected, "{program}");
    }
    carried.assert_unchanged();
}

#[test]
fn sec_43_docker_and_podman_load_it() {
    let Some(carried) = Carried::prepare() else { return };
    if let Some(docker) = Docker::start() {
        docker.run(&["load", "-i", &carried.file()]);
        for content in &carried.contents {
            let id = docker.run(&["image", "inspect", "--format", "{{.Id}}", &carried.name(content)]);
            assert_eq!(id.trim(), usual_config(content), "{}", content.name());
        }
    }
    if let Some(podman) = Podman::new() {
        podman.run(&["load", "-i", &carried.file()]);
        for content in &carried.contents {
            let id = podman.run(&["image", "inspect", "--format", "{{.Id}}", &carried.name(content)]);
            assert_eq!(format!("sha256:{}", id.trim()), usual_config(content), "{}", content.name());
        }
    }
    carried.assert_unchanged();
}

#[test]
fn skopeo_reads_it_in_both_forms() {
    let Some(carried) = Carried::prepare() else { return };
    for content in &carried.contents {
        let (file, name) = (carried.file(), carried.name(content));
        let folder = carried.site.path("copy").display().to_string();
        // Whether it is an index is the image's own affair: all of an index, or the image of this platform.
        let all = content.root().json().get("manifests").map(|_| "--all");
        let oci = [format!("oci-archive:{file}:{name}"), format!("dir:{folder}")];
        carried.site.run(&carried.skopeo, ["copy"]).args(all).args(oci).run().assert_ok();
        assert_eq!(digest(&carried.site.read("copy/manifest.json")), content.root().digest, "{name}");
        std::fs::remove_dir_all(&folder).expect("own folders can be removed");

        let docker = format!("docker-archive:{file}:{name}");
        carried.skopeo(&["copy", &docker, &format!("dir:{folder}")]);
        let copied = carried.site.read(&format!("copy/{}", usual_config(content).trim_start_matches("sha256:")));
        assert_eq!(digest(&copied), usual_config(content), "{name}");
        std::fs::remove_dir_all(&folder).expect("own folders can be removed");
    }
    carried.assert_unchanged();
}

#[test]
fn containerd_imports_it() {
    let Some(carried) = Carried::prepare() else { return };
    let Some(containerd) = Containerd::start() else { return };
    containerd.run(&["images", "import", "--all-platforms", "--snapshotter", "native", &carried.file()]);
    let listed = containerd.run(&["images", "list"]);
    for content in &carried.contents {
        let line = listed.lines().find(|line| line.starts_with(&carried.name(content)));
        let line = line.unwrap_or_else(|| panic!("{} is missing:\n{listed}", content.name()));
        assert!(line.contains(&content.root().digest), "{line}");
    }
    carried.assert_unchanged();
}

/// Every file below a folder with the time of its last change.
fn changes(folder: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("own folders can be listed").flatten() {
        let metadata = entry.metadata().expect("own files can be looked at");
        if metadata.is_dir() {
            found.extend(changes(&entry.path()));
        } else {
            found.insert(entry.path(), metadata.modified().expect("files have times"));
        }
    }
    found
}

#[test]
fn a_real_registry_gets_the_same_digests_and_a_second_push_sends_nothing() {
    let Some(carried) = Carried::prepare() else { return };
    let Some(private) = RealRegistry::start() else { return };
    let target = format!("{}/tools", private.host());
    let push = || {
        let run = carried.site.octobundle(["push", "release.tar", "--registry", &target, "--json"]).run();
        run.assert_ok().json()
    };
    let blobs: BTreeMap<&String, &Vec<u8>> = carried.contents.iter().flat_map(|content| &content.blobs).collect();
    let payload: usize = blobs.values().map(|bytes| bytes.len()).sum();
    assert_eq!(push()["sent_bytes"], payload);
    for content in &carried.contents {
        let there = format!("{target}/{}", content.name());
        assert_eq!(carried.raw(&there), carried.raw(&carried.name(content)));
        for document in &content.documents {
            let raw = carried.raw(&format!("{target}/{}@{}", content.repository, document.digest));
            assert_eq!(raw.as_bytes(), document.bytes);
        }
        let all = ["copy", "--all", "--src-tls-verify=false", &format!("docker://{there}"), "dir:fetched"];
        carried.skopeo(&all);
    }
    let stored = changes(&private.storage());
    let again = push();
    assert_eq!((&again["sent_bytes"], &again["mounted_bytes"]), (&0.into(), &0.into()));
    assert_eq!(changes(&private.storage()), stored, "nothing was written");
    carried.assert_unchanged();
}
