//! Compares the tables of `docs/json.md` with what the commands print: every field listed occurs, and no other.

#[path = "support/proxy.rs"]
mod proxy;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

use proxy::Proxy;
use serde_json::Value;
use support::authority::Authority;
use support::cli::{Output, Site};
use support::engine::ScriptedEngine;
use support::images::{Sample as _, TestImage, TestIndex};
use support::memory_registry::{Access, Fault, MemoryRegistry, Options};
use support::real::Podman;
use support::served::Served;

/// Field → type, as a table of the document has them.
type Fields = BTreeMap<String, String>;

/// The document's tables, by the heading or the bold words before them.
fn tables() -> BTreeMap<String, Fields> {
    let mut tables: BTreeMap<String, Fields> = BTreeMap::new();
    let mut name = String::new();
    for line in include_str!("../docs/json.md").lines() {
        if let Some(heading) = line.strip_prefix("##") {
            heading.trim_start_matches(['#', ' ']).replace('`', "").clone_into(&mut name);
        } else if let Some(bold) = line.split("**").nth(1) {
            bold.clone_into(&mut name);
        } else if let Some(row) = line.strip_prefix("| `") {
            let mut cells = row.split('|').map(str::trim);
            let field = cells.next().unwrap_or_default().trim_matches('`').to_owned();
            let kind = cells.next().expect("a row has a type").to_owned();
            tables.entry(name.clone()).or_default().insert(field, kind);
        }
    }
    tables
}

/// The fields of a table, with those of shared parts written out.
fn documented(name: &str) -> Fields {
    let tables = tables();
    let table = tables.get(name).unwrap_or_else(|| panic!("no table `{name}`"));
    let mut fields = Fields::new();
    for (field, kind) in table {
        let (inner, outer) = kind.strip_prefix("list of ").map_or((kind.as_str(), ""), |inner| (inner, "[]"));
        match tables.get(inner) {
            Some(part) => {
                let kind = if outer.is_empty() { "object" } else { "list" };
                fields.insert(field.clone(), kind.to_owned());
                fields.extend(part.iter().map(|(name, kind)| (format!("{field}{outer}.{name}"), kind.clone())));
            }
            None => drop(fields.insert(field.clone(), kind.clone())),
        }
    }
    fields
}

/// Notes every field of a value below `prefix`, with its type.
fn note(value: &Value, prefix: &str, seen: &mut Fields) {
    for (key, value) in value.as_object().expect("an object") {
        let name = format!("{prefix}{key}");
        let kind = match value {
            Value::String(_) => "text",
            Value::Number(_) => "number",
            Value::Bool(_) => "true or false",
            Value::Object(_) => "object",
            Value::Array(entries) if entries.iter().any(Value::is_object) => "list",
            Value::Array(entries) if entries.iter().any(Value::is_string) => "list of text",
            Value::Array(_) => "empty",
            Value::Null => "null",
        };
        if value.is_object() {
            note(value, &format!("{name}."), seen);
        }
        for entry in value.as_array().into_iter().flatten().filter(|entry| entry.is_object()) {
            note(entry, &format!("{name}[]."), seen);
        }
        // An empty list says nothing about its type.
        if kind != "empty" || !seen.contains_key(&name) {
            seen.insert(name, kind.to_owned());
        }
    }
}

/// Compares the results of a command with its table.
#[track_caller]
fn assert_documented(table: &str, command: &str, results: &[Value]) {
    let mut seen = Fields::new();
    for result in results {
        assert_eq!((&result["schema_version"], &result["command"]), (&1.into(), &command.into()));
        note(result, "", &mut seen);
    }
    seen.remove("schema_version");
    seen.remove("command");
    seen.remove("error");
    compare(table, &seen);
}

#[track_caller]
fn compare(table: &str, seen: &Fields) {
    let documented = documented(table);
    let names = |fields: &Fields| fields.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&documented), names(seen), "left: the table `{table}`, right: what was printed");
    for (field, kind) in &documented {
        let printed = &seen[field];
        assert!(printed == kind || printed == "empty", "`{field}` of `{table}` is {printed}, documented is {kind}");
    }
}

/// A vendor with a release whose lock has every field, and a bundle of it.
struct Sample {
    vendor: MemoryRegistry,
    private: MemoryRegistry,
    site: Site,
    agent: TestImage,
}

impl Sample {
    fn new() -> Self {
        let (vendor, private, site) = (MemoryRegistry::start(), MemoryRegistry::start(), Site::new());
        let agent = TestImage::new("octoperf/docker-agent:1").docker().random_layer(1, 200_000).layer(b"agent");
        let image = |layer: &[u8]| TestImage::new("-:-").layer(layer);
        let many = TestIndex::new("octoperf/many:1")
            .image(image(b"one"))
            .image(image(b"two").platform("linux/arm64"))
            .image(image(b"three").platform("linux/s390x"));
        let tools = TestIndex::new("octoperf/tools:1").image(agent.clone().layer(b"tools")).attested();
        let names = [vendor.add(&agent), vendor.add(&many), vendor.add(&tools)];
        let manifest = format!(
            "schema: octobundle/v1\nrelease: sample-1\ntitle: A sample\nimages:\n\
             \x20 - {{image: '{}', role: agent, groups: [agent]}}\n\
             \x20 - {{image: '{}', role: tool, platforms: [linux/amd64, linux/arm64]}}\n\
             \x20 - {{image: '{}', role: tool, platforms: all}}\n",
            names[0], names[1], names[2]
        );
        site.write("release.yaml", manifest);
        site.write("token", "a-token");
        let sample = Self { vendor, private, site, agent };
        sample.run("pull release.yaml -o bundle.tar").assert_ok();
        sample
    }

    fn run(&self, command: &str) -> Output {
        self.site.octobundle(command.split_whitespace()).run()
    }

    /// Writes `delta.tar`, on `one.tar`, from `one.yaml`, whose one image has changed since.
    fn delta(&self) {
        let name = format!("{}/octoperf/docker-agent:1", self.vendor.host());
        self.site.write("one.yaml", support::release::manifest(&[name]));
        self.run("pull one.yaml -o one.tar").assert_ok();
        self.vendor.add(&self.agent.clone().layer(b"next"));
        self.run("pull one.yaml --since one.tar -o delta.tar").assert_ok();
    }

    fn json(&self, command: &str, code: i32) -> Value {
        self.run(&format!("{command} --json")).assert_code(code).json()
    }

    fn layer_digest(&self) -> String {
        let manifest = self.agent.content().root().json();
        manifest["layers"][0]["digest"].as_str().expect("digests are text").to_owned()
    }
}

#[test]
fn json_of_releases_is_as_documented() {
    let releases = Site::new().octobundle(["releases", "--json"]).run().assert_ok().json();
    assert_documented("releases", "releases", &[releases]);
}

#[test]
fn json_of_resolve_and_inspect_is_as_documented() {
    let sample = Sample::new();
    for command in ["resolve release.yaml", "inspect bundle.tar"] {
        let name = command.split(' ').next().expect("it has a first word");
        assert_documented("resolve and inspect", name, &[sample.json(command, 0)]);
    }
    sample.delta();
    let mut delta = sample.json("inspect delta.tar", 0);
    let one_more = |field: &String| ["schema_version", "command", "delta"].contains(&field.as_str());
    delta.as_object_mut().expect("it is an object").retain(|field, _| one_more(field));
    assert_documented("inspect of a delta", "inspect", &[delta]);
}

#[test]
fn json_of_pull_is_as_documented() {
    let sample = Sample::new();
    let whole = sample.json("pull release.yaml -o whole.tar", 0);
    let volumes = sample.json("pull release.yaml -o volumes.tar --volume-size 65536", 0);
    sample.delta();
    let delta = sample.json("pull one.yaml --since one.tar -o again.tar", 0);
    sample.vendor.remove_blob(&sample.layer_digest());
    let partial = sample.json("pull release.yaml -o partial.tar", 10);
    assert_eq!((&whole["complete"], &partial["complete"]), (&true.into(), &false.into()));
    assert_documented("pull", "pull", &[whole, volumes, partial, delta]);
}

#[test]
fn json_of_split_and_join_is_as_documented() {
    let sample = Sample::new();
    let split = sample.json("split bundle.tar --volume-size 65536 -o cut.tar", 0);
    assert_documented("split and join", "split", &[split.clone(), in_a_damaged_bundle(&sample, &split)]);
}

/// The report of `split` in all its forms: with the sum that only `join` has, and with failures.
fn in_a_damaged_bundle(sample: &Sample, split: &Value) -> Value {
    let joined = sample.json("join cut.tar -o joined.tar", 0);
    let layer = sample.layer_digest();
    let bundle = octobundle::bundle::Bundle::open(sample.site.path("bundle.tar")).expect("it is sound");
    let member = bundle.layout().blob(&layer.parse().expect("it is a digest")).expect("it is in the bundle").clone();
    let mut bytes = sample.site.read("bundle.tar");
    bytes[usize::try_from(member.start()).expect("it is small")] ^= 1;
    sample.site.write("damaged.tar", bytes);
    let failed = sample.json("split damaged.tar --volume-size 65536 -o damaged-cut.tar", 10);
    assert_eq!((&split["complete"], &failed["complete"]), (&true.into(), &false.into()));
    let mut all = failed;
    all["sha256"] = joined["sha256"].clone();
    all
}

#[test]
fn json_of_push_is_as_documented() {
    let sample = Sample::new();
    let push = format!("push bundle.tar --registry {}/tools", sample.private.host());
    let states = |report: &Value| {
        let images = report["images"].as_array().expect("it is a list").clone();
        images.iter().map(|image| image["state"].as_str().expect("it is text").to_owned()).collect::<BTreeSet<_>>()
    };
    let planned = sample.json(&format!("{push} --dry-run"), 0);
    sample.private.fault(Fault::on("POST", "/tools/octoperf/many/blobs/uploads/").times(1_000).answer(403));
    let partial = sample.json(&push, 10);
    let again = sample.json(&push, 10);
    let mut seen = states(&planned);
    seen.extend(states(&partial).into_iter().chain(states(&again)));
    assert_eq!(seen, ["to-push", "pushed", "incomplete", "present"].map(str::to_owned).into());
    assert_documented("push", "push", &[planned, partial, again]);
}

#[test]
fn json_of_a_push_that_lacks_its_base_is_as_documented() {
    let sample = Sample::new();
    sample.delta();
    let mut report = sample.json(&format!("push delta.tar --registry {}/tools", sample.private.host()), 6);
    let one_more = |field: &String| ["schema_version", "command", "lacking"].contains(&field.as_str());
    report.as_object_mut().expect("it is an object").retain(|field, _| one_more(field));
    assert_documented("push of a delta", "push", &[report]);
}

#[test]
fn json_of_have_is_as_documented() {
    let sample = Sample::new();
    let registry = format!("{}/tools", sample.private.host());
    sample.run(&format!("push bundle.tar --registry {registry}")).assert_ok();
    assert_documented(
        "have",
        "have",
        &[sample.json(&format!("have bundle.tar --registry {registry} -o have.json"), 0)],
    );
}

#[test]
fn json_of_verify_is_as_documented() {
    let sample = Sample::new();
    let mut bytes = sample.site.read("bundle.tar");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes.push(0);
    sample.site.write("damaged.tar", bytes);
    sample.delta();
    sample
        .site
        .write("other.yaml", support::release::manifest(&[sample.vendor.add(&TestImage::new("octoperf/other:1"))]));
    sample.run("pull other.yaml -o other.tar").assert_ok();
    let lacking = sample.json("verify delta.tar --base other.tar", 6);
    sample.site.write(
        "policy.yaml",
        "schema: octobundle/policy/v1\nkeys:\n  anna: RWTKmQpluUmQvVb6knDSN6534xCqF+AyKFaadxC+SsFEatYlAyeg5VNb\nrequire: 1 of [anna]\n",
    );
    let made = sample.json("key new anna.key --no-password", 0);
    assert_documented("key new", "key new", std::slice::from_ref(&made));
    std::fs::create_dir(sample.site.path("stick")).expect("folders can be made");
    assert_documented("copy", "copy", &[sample.json("copy bundle.tar stick", 0)]);
    assert_documented("sign", "sign", &[sample.json("sign bundle.tar --key anna.key", 0)]);
    let untrusted = sample.json("verify bundle.tar --policy policy.yaml", 8);
    let line = made["line"].as_str().expect("it is text");
    let policy = "schema: octobundle/policy/v1\nkeys:\n  anna: ";
    sample.site.write("policy.yaml", format!("{policy}{line}\nrequire: 1 of [anna]\n"));
    let trusted = sample.json("verify bundle.tar --policy policy.yaml", 0);
    let (sound, damaged) = (sample.json("verify bundle.tar", 0), sample.json("verify damaged.tar", 7));
    let results = [sound, damaged, lacking, untrusted, trusted];
    assert_documented("verify", "verify", &results);
}

#[test]
fn json_of_diff_is_as_documented() {
    let sample = Sample::new();
    let names =
        [&sample.agent.clone().layer(b"moved") as &dyn support::images::Sample, &TestImage::new("octoperf/added:1")];
    let names = names.map(|image| sample.vendor.add(image));
    sample.site.write("next.yaml", support::release::manifest(&names));
    sample.run("resolve next.yaml --lock next.lock").assert_ok();
    assert_documented("diff", "diff", &[sample.json("diff bundle.tar next.lock", 13)]);
}

#[test]
fn json_of_render_is_as_documented() {
    let sample = Sample::new();
    let about = "--registry reg.corp/x --server-url https://octoperf.corp --name agent-1 --token-file token";
    let report = sample.json(&format!("render agent bundle.tar {about}"), 0);
    assert_documented("render agent", "render agent", &[report]);
}

#[test]
fn json_of_inventory_and_scan_is_as_documented() {
    let (site, vendor) = (Site::new(), MemoryRegistry::start());
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in [
        ("etc/os-release", "ID=debian\nVERSION_ID=12\nPRETTY_NAME=Debian\n"),
        ("lib/apk/db/installed", "P:musl\nV:1\nA:x86_64\nL:MIT\n"),
        ("opt/broken.jar", "no archive"),
    ] {
        support::images::append(&mut archive, path, content.as_bytes());
    }
    let (name, text) = ("META-INF/maven/g/a/pom.properties", "groupId=g\nartifactId=a\nversion=1\n");
    let length = |text: &str| u32::try_from(text.len()).expect("it is short").to_le_bytes();
    let mut jar = b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    jar.extend([length(text), length(text), length(name)].concat());
    jar.extend([name, text, "PK\x05\x06"].concat().bytes());
    support::images::append(&mut archive, "opt/a.jar", &jar);
    let good = TestImage::new("one:1").tar_layer(archive.into_inner().expect("memory takes every byte"));
    let bad = TestImage::new("two:1").packed_layer(b"\x1f\x8b no gzip".to_vec());
    site.write("release.yaml", support::release::manifest(&[vendor.add(&good), vendor.add(&bad)]));
    let run = |command: &str| site.octobundle(command.split_whitespace()).run();
    run("pull release.yaml -o bundle.tar").assert_ok();
    assert_documented("inventory", "inventory", &[run("inventory bundle.tar --json").assert_code(10).json()]);
    site.write("scanner", "if grep -q musl; then echo found; exit 1; fi; if [ -e deaf ]; then kill -9 $$; fi");
    let scan = |each: &str| {
        let flags = ["scan", "bundle.tar", "--no-self-test", "--json", "--replace", "-o", "scan.json", "--each", each];
        site.octobundle(flags).args(["--with", "sh scanner"]).run().assert_code(8).json()
    };
    let found = [scan("layer"), scan("file")];
    assert_documented("scan", "scan", &found);
    site.write("deaf", "");
    scan("file");
    let report = run("report bundle.tar --scan scan.json --json").assert_ok().json();
    let mut seen = Fields::new();
    for finding in [&report["scan"]["found"], &report["scan"]["failed"]] {
        finding.as_array().expect("it is a list").iter().for_each(|finding| note(finding, "", &mut seen));
    }
    compare("scan finding", &seen);
}

#[test]
fn json_of_report_is_as_documented() {
    let sample = Sample::new();
    let labelled = sample.agent.clone().label("license", "MIT").layer(b"new").random_layer(9, 100);
    sample.vendor.add(&labelled);
    let older = "--since bundle.tar --verify --registry reg.corp/x --dated";
    sample.run("pull release.yaml -o new.tar").assert_ok();
    let mut bytes = sample.site.read("new.tar");
    let end = bytes.len() - 1;
    bytes[end] = 1;
    sample.site.write("damaged.tar", bytes);
    let one = format!(
        "schema: octobundle/v1\nrelease: one-1\ntitle: One\nimages:\n  - {{image: '{}/octoperf/tools:1', role: agent}}\n",
        sample.vendor.host()
    );
    sample.site.write("one.yaml", one);
    sample.run("pull one.yaml -o one.tar").assert_ok();
    let whole = sample.site.read("new.tar");
    let with = ["scan", "new.tar", "--no-self-test", "--with", "false", "-o", "scan.json"];
    sample.site.octobundle(with).run().assert_code(8);
    let mut record: Value = serde_json::from_slice(&sample.site.read("scan.json")).expect("it is JSON");
    record["layers"][0]["answers"][0]["verdict"] = "failed".into();
    sample.site.write("scan.json", record.to_string());
    sample.site.write("volumes/new.tar.001", &whole[..150_000]);
    sample.site.write("volumes/new.tar.002", &whole[150_000..]);
    let reports = [
        sample.json("report volumes/new.tar.001", 0),
        sample.json("report new.tar --scan scan.json", 0),
        sample.json(&format!("report new.tar {older}"), 0),
        sample.json("report damaged.tar --verify", 7),
        sample.json("report one.tar --since new.tar", 0),
        sample.json("report new.tar --since one.tar", 0),
        signed_delta(&sample),
    ];
    assert_documented("report", "report", &reports);
}

/// The report of a delta that one signed who is trusted and one who is not.
fn signed_delta(sample: &Sample) -> Value {
    std::fs::remove_file(sample.site.path("one.tar")).expect("it is there");
    sample.delta();
    for name in ["anna", "eve"] {
        sample.run(&format!("key new {name}.key --no-password")).assert_ok();
        sample.run(&format!("sign delta.tar --key {name}.key")).assert_ok();
    }
    let line = String::from_utf8(sample.site.read("anna.key.pub")).expect("it is text");
    let line = line.lines().nth(1).expect("the key is the second line");
    let policy = format!("schema: octobundle/policy/v1\nkeys:\n  anna: {line}\nrequire: 1 of [anna]\n");
    sample.site.write("policy.yaml", policy);
    sample.json("report delta.tar --policy policy.yaml", 0)
}

#[test]
fn json_of_repair_is_as_documented() {
    let sample = Sample::new();
    let layer: octobundle::oci::Digest = sample.layer_digest().parse().expect("it is a digest");
    let bundle = octobundle::bundle::Bundle::open(sample.site.path("bundle.tar")).expect("it is sound");
    let place =
        usize::try_from(bundle.layout().blob(&layer).expect("it is in the bundle").start()).expect("it is small");
    let whole = sample.site.read("bundle.tar");
    let mut bytes = whole.clone();
    bytes[place] ^= 1;
    sample.site.write("damaged.tar", &bytes);
    sample.run("split bundle.tar --volume-size 65536 -o cut.tar").assert_ok();
    std::fs::remove_file(sample.site.path("cut.tar.002")).expect("it is there");
    let volumes = sample.json("repair cut.tar --from bundle.tar", 0);
    sample.vendor.remove_blob(&sample.layer_digest());
    let failed = sample.json("repair damaged.tar --from origin", 10);
    let repaired = sample.json("repair damaged.tar --from bundle.tar", 0);
    sample.site.write("damaged.tar", &bytes);
    let engine = ScriptedEngine::start(Vec::new());
    let asked = sample.site.octobundle(["repair", "damaged.tar", "--from", "docker", "--json"]);
    let asked = asked.env("DOCKER_HOST", engine.host()).run().assert_code(7).json();
    assert_documented("repair", "repair", &[volumes, failed, repaired, asked]);
}

#[test]
fn json_of_load_is_as_documented() {
    let Some(podman) = Podman::new() else { return };
    let sample = Sample::new();
    // octobundle asks this socket before the command, and it would be the host's own.
    if Path::new("/run/podman/podman.sock").exists() {
        writeln!(std::io::stderr(), "SKIPPED: podman of this host listens on its socket")
            .expect("stderr can be written");
        return;
    }
    let folder = podman.wrapper().parent().expect("a file is in a folder").to_owned();
    let load = "load bundle.tar --engine podman --registry reg.corp:5000/tools --json";
    let run = sample
        .site
        .octobundle(load.split(' '))
        .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display()));
    assert_documented("load", "load", &[run.run().assert_ok().json()]);
}

#[test]
fn json_of_serve_is_as_documented() {
    let sample = Sample::new();
    let plain = Served::start(&sample.site, ["bundle.tar"]);
    let own = Served::start(&sample.site, ["bundle.tar", "--self-signed", "--base", "bundle.tar"]);
    let dated = |from: i32, until: i32| {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(until, 1, 1));
        let key = rcgen::KeyPair::generate().unwrap();
        sample.site.write("server.pem", params.self_signed(&key).unwrap().pem());
        sample.site.write("server.key", key.serialize_pem());
        Served::start(&sample.site, ["bundle.tar", "--cert", "server.pem", "--key", "server.key"]).report.clone()
    };
    let (ended, to_come) = (dated(2001, 2002), dated(2090, 2091));
    assert_documented("serve", "serve", &[plain.report.clone(), own.report.clone(), ended, to_come]);
}

#[test]
fn json_of_doctor_is_as_documented() {
    // Docker Hub, as the tests' own proxy plays it: nothing leaves this machine.
    let sample = Sample::new();
    let (store, authority) = (MemoryRegistry::start(), Authority::new());
    let tokens = MemoryRegistry::with(Options { access: Access::anonymous_tokens(), ..Options::default() });
    let redirect_blobs_to = Some("https://blobs.test".to_owned());
    let hub = MemoryRegistry::with(Options { redirect_blobs_to, ..Options::default() });
    hub.add(&TestImage::new("tools/agent:1").layer(b"agent"));
    let at = |registry: &MemoryRegistry| registry.host().parse().expect("it is an address");
    let hosts = vec![("registry-1.docker.io", at(&hub)), ("auth.docker.io", at(&tokens)), ("blobs.test", at(&store))];
    let proxy = Proxy::start(&proxy::Setup { hosts, reads_tls: Some(&authority), ..proxy::Setup::default() });
    let images = "images:\n  - {image: 'docker.io/tools/agent:1', role: agent}\n";
    sample.site.write("hub.yaml", format!("schema: octobundle/v1\nrelease: hub-1\ntitle: Hub\n{images}"));
    sample.site.write("ca.pem", authority.certificate());
    let auths = r#"{"auths": {"docker.io": {"auth": "am86cHc="}}}"#;
    sample.site.write(".docker/config.json", auths);
    let limit = Fault::on("HEAD", "/manifests/").answer(200).header("ratelimit-limit", "100;w=21600");
    let digest = format!("sha256:{}", "0".repeat(64));
    hub.fault(limit.header("ratelimit-remaining", "0;w=21600").header("docker-content-digest", &digest));
    let (private, proxy) = (sample.private.host(), proxy.host());
    let doctor = format!("doctor hub.yaml --registry {private} -o out.tar --proxy {proxy} --ca ca.pem");
    let sound = sample.json("doctor release.yaml -o out.tar", 0);
    let limited = sample.json(&doctor, 12);
    sample.site.write(".docker/config.json", "{}");
    let challenge = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\"";
    hub.fault(Fault::on("GET", "/v2/").times(2).answer(401).header("www-authenticate", challenge));
    let beyond = sample.json(&doctor.replace(" -o out.tar", ""), 0);
    assert_documented("doctor", "doctor", &[limited, sound, beyond]);
}

#[test]
fn json_of_doctor_agent_is_as_documented() {
    let sample = Sample::new();
    let (server, authority) = (MemoryRegistry::start(), Authority::new());
    let at = |registry: &MemoryRegistry| registry.host().parse().expect("it is an address");
    let hosts = vec![("registry.test", at(&sample.private)), ("octoperf.test", at(&server))];
    let proxy = Proxy::start(&proxy::Setup { hosts, reads_tls: Some(&authority), ..proxy::Setup::default() });
    sample.site.write("ca.pem", authority.certificate());
    sample.site.write(".docker/config.json", r#"{"auths": {"registry.test": {"auth": "am86cHc="}}}"#);
    let date = |registry: &MemoryRegistry| {
        registry.fault(Fault::on("GET", "/").answer(200).times(9).header("date", "Tue, 14 Nov 2023 22:13:20 GMT"));
    };
    date(&sample.private);
    date(&server);
    let id = sample.agent.config_digest();
    let folder = sample.site.path("").display().to_string();
    let script = format!(
        "#!/bin/sh\ncase \"$1 $2\" in\n'version --format') echo 4.3.1 ;;\n\
         'info --format') echo '{{\"host\":{{\"cpus\":1,\"memTotal\":1}},\"store\":{{\"graphRoot\":\"{folder}\"}}}}' ;;\n\
         'ps --format') echo '[{{\"Names\":[\"a\"],\"Image\":\"x\",\"ImageID\":\"{id}\"}}]' ;;\n\
         *) exit 1 ;;\nesac\n"
    );
    let podman = sample.site.write("bin/podman", script);
    std::fs::set_permissions(podman, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it is ours");
    let doctor = format!(
        "doctor agent bundle.tar --engine podman --registry registry.test/tools --server-url https://octoperf.test \
         --ca ca.pem --proxy {0} --agent-https-proxy {0} --json",
        proxy.host()
    );
    let path = format!("{}:/usr/bin:/bin", sample.site.path("bin").display());
    let report = sample.site.octobundle(doctor.split_whitespace()).env("PATH", path).run().assert_code(5).json();
    // An address of a name is found only without a proxy.
    let direct = format!(
        "doctor agent bundle.tar --engine docker --registry {0} --server-url http://{0}",
        sample.private.host()
    );
    let nowhere = sample.site.octobundle(direct.split_whitespace()).arg("--json");
    let nowhere = nowhere.env("DOCKER_HOST", "unix:///nowhere/docker.sock").run().assert_code(5).json();
    assert_documented("doctor agent", "doctor agent", &[report, nowhere]);
}

#[test]
fn json_of_upgrade_path_is_as_documented() {
    let path = Site::new().octobundle(["upgrade-path", "9.2.0", "16.2.1", "--json"]).run().assert_ok().json();
    assert_documented("upgrade-path", "upgrade-path", &[path]);
}

#[test]
fn json_of_config_is_as_documented() {
    let sample = Sample::new();
    sample.site.write("own.toml", "[registry.\"reg.corp\"]\nplain-http = true\n");
    assert_documented("config", "config", &[sample.json("config --config own.toml --jobs 3", 0)]);
}

#[test]
fn json_of_login_and_logout_is_as_documented() {
    let sample = Sample::new();
    let helper = sample.site.write("bin/docker-credential-x", "#!/bin/sh\ncat >/dev/null\n");
    std::fs::set_permissions(helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it is ours");
    sample.site.write("kept.json", r#"{"credsStore": "x"}"#);
    let host = sample.private.host();
    let login = ["login", &host, "--username", "jo", "--password-stdin", "--json", "--authfile", "kept.json"];
    let path = format!("{}:/usr/bin:/bin", sample.site.path("bin").display());
    let login = sample.site.octobundle(login).env("PATH", path).input("secret").run().assert_ok().json();
    assert_documented("login", "login", &[login]);
    assert_documented("logout", "logout", &[sample.json(&format!("logout {host}"), 0)]);
}

#[test]
fn errors_are_as_documented() {
    let sample = Sample::new();
    let line = |command: &str, code| {
        let output = sample.run(&format!("{command} --json --progress none")).assert_code(code);
        assert_eq!(output.stdout, "");
        serde_json::from_str::<Value>(&output.stderr).unwrap_or_else(|error| panic!("{error}: {}", output.stderr))
    };
    assert_documented("Errors", "error", &[line("verify missing.tar", 6), line("verify release.yaml", 3)]);
}

#[test]
fn progress_events_are_as_documented() {
    let sample = Sample::new();
    let mut seen: BTreeMap<String, Fields> = BTreeMap::new();
    let mut listen = |command: &str| {
        let stderr = sample.run(&format!("{command} --progress json")).assert_ok().stderr;
        for line in stderr.lines().filter(|line| line.contains("\"event\"")) {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            note(&event, "", seen.entry(event["event"].as_str().expect("it is text").to_owned()).or_default());
        }
    };
    sample.vendor.fault(Fault::on("GET", "/manifests/").answer(429).header("Retry-After", "1"));
    let layer = sample.layer_digest();
    sample.vendor.fault(Fault::on("GET", &layer).flip(100));
    listen("pull release.yaml -o again.tar");
    listen(&format!("push bundle.tar --registry {}/tools", sample.private.host()));

    let events = ["phase", "planned", "blob-started", "blob-done", "image-done", "waiting", "warning"];
    assert_eq!(seen.keys().map(String::as_str).collect::<BTreeSet<_>>(), events.into());
    for (event, mut fields) in seen {
        fields.remove("event");
        compare(&event, &fields);
    }
}

#[test]
fn every_table_of_the_document_is_compared() {
    let tables: BTreeSet<String> = tables().into_keys().collect();
    let results =
        ["releases", "resolve and inspect", "pull", "push", "verify", "load", "serve", "render agent", "Errors"];
    let results = results.into_iter().chain(["doctor", "doctor agent", "upgrade-path", "config", "login", "logout"]);
    let deltas = ["diff", "inspect of a delta", "push of a delta", "have", "split and join", "repair"];
    let results = results.chain(deltas).chain(["sign", "key new", "copy", "report", "inventory", "scan"]);
    let events = ["phase", "planned", "blob-started", "blob-done", "image-done", "waiting", "warning"];
    let compared = results.chain(events).chain([
        "content",
        "delta",
        "trust",
        "upgrade fact",
        "scan finding",
        "image failure",
        "TLS",
        "problem",
    ]);
    assert_eq!(tables, compared.map(str::to_owned).collect());
}
