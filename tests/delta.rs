//! Deltas: bundles without the layers that an older one has.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use serde_json::{Value, json};
use support::images::{Sample, digest};
use support::memory_registry::Fault;
use support::until;
use support::update::Update;

const INPUT: i32 = 3;
const NOT_FOUND: i32 = 6;
const INTEGRITY: i32 = 7;

/// The members of a tar with their content.
fn members(bundle: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(bundle);
    let entries = archive.entries().expect("it is a tar").map(|entry| {
        let mut entry = entry.expect("entries can be read");
        let name = entry.path().expect("names are text").display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("entries can be read");
        (name, content)
    });
    entries.collect()
}

fn blobs(bundle: &[u8]) -> BTreeSet<String> {
    members(bundle)
        .keys()
        .filter_map(|name| name.strip_prefix("blobs/sha256/"))
        .map(|h| format!("sha256:{h}"))
        .collect()
}

/// Everything of the second release but its layers, with the indexes that stand in for images of Docker's types.
fn documents(full: &[u8]) -> BTreeSet<String> {
    let layers: BTreeSet<String> =
        Update::later().iter().flat_map(|image| [Update::layer(image, 0), Update::layer(image, 1)]).collect();
    blobs(full).difference(&layers).cloned().collect()
}

fn json(bundle: &[u8], member: &str) -> Value {
    serde_json::from_slice(&members(bundle)[member]).expect("it is JSON")
}

#[test]
fn a_delta_is_the_layer_that_changed_and_the_documents() {
    let update = Update::start();
    let (full, delta) = (update.full(), update.delta());
    let [agent, ..] = Update::later();
    let mut expected = documents(&full);
    expected.insert(Update::layer(&agent, 1));
    assert_eq!(blobs(&delta), expected);
    // 512 bytes of header for each member, zeros up to the next block, two blocks at the end: nothing else.
    let members: usize = members(&delta).values().map(|content| 512 + content.len().next_multiple_of(512)).sum();
    assert_eq!(delta.len(), members + 1024);
    assert!(delta.len() < full.len() / 10, "{} of {}", delta.len(), full.len());
}

#[test]
fn a_delta_says_what_it_builds_on_and_what_it_leaves_out() {
    let update = Update::start();
    let report = update.run("pull new.yaml --since old.tar -o update.tar --json").run().assert_ok().json();
    let lock = update.release.site.read("old.lock");
    let [agent, _, come] = Update::later();
    let left_out = [Update::layer(&agent, 0), Update::layer(&come, 0), Update::layer(&come, 1)];
    let bytes: usize = Update::earlier()
        .iter()
        .flat_map(|image| image.content().blobs)
        .collect::<BTreeMap<_, _>>()
        .iter()
        .filter(|(digest, _)| left_out.contains(digest))
        .map(|(_, bytes)| bytes.len())
        .sum();
    let expected = json!({
        "kind": "release", "name": "sample-1", "id": digest(&lock), "left_out_layers": 3, "left_out_bytes": bytes,
    });
    assert_eq!(report["delta"], expected);
    assert_eq!(update.run("inspect update.tar --json").run().assert_ok().json()["delta"], expected);
    assert_eq!(update.run("verify update.tar --json").run().assert_ok().json()["delta"], expected);

    let octobundle = json(&update.release.site.read("update.tar"), "octobundle.json");
    assert_eq!(octobundle["format"], "octobundle/delta/v1");
    assert_eq!(octobundle["base"]["id"], digest(&lock));
    let host = update.release.registry.host();
    let held: BTreeMap<&str, &Value> = octobundle["base"]["left_out"]
        .as_array()
        .expect("it is a list")
        .iter()
        .map(|left| (left["digest"].as_str().expect("it is text"), &left["held_in"]))
        .collect();
    let [agents, gone] = ["agent", "gone"].map(|name| format!("{host}/octoperf/{name}"));
    assert_eq!(held[left_out[0].as_str()], &json!([agents, format!("{host}/octoperf/jmeter")]));
    assert_eq!(held[left_out[2].as_str()], &json!([gone]), "the image has gone, and a registry still has its layer");

    for (command, part) in [
        ("inspect update.tar", "a delta on sample-1: 3 layers"),
        ("verify update.tar", "a delta on sample-1: 3 layers"),
        ("pull new.yaml --since old.lock -o again.tar --dry-run", "a delta on sample-1: 3 layers"),
    ] {
        let told = update.run(command).run().assert_ok().stdout;
        assert!(told.contains(part), "{command}: {told}");
    }
}

#[test]
fn the_same_lock_and_base_give_the_same_bytes() {
    let update = Update::start();
    let delta = update.delta();
    for (number, command) in [
        "pull new.yaml --since old.lock",
        "pull --locked new.lock --since old.tar --jobs 1",
        "pull --locked new.lock --since old.lock --jobs 16",
    ]
    .into_iter()
    .enumerate()
    {
        update.run(&format!("{command} -o {number}.tar")).run().assert_ok();
        assert!(update.release.site.read(&format!("{number}.tar")) == delta, "{command}");
    }
}

#[test]
fn only_what_is_new_is_fetched() {
    let update = Update::start();
    update.release.registry.forget_requests();
    let before = update.release.registry.blob_bytes_sent();
    update.delta();
    let [agent, ..] = Update::later();
    let layer = agent.content().blobs[&Update::layer(&agent, 1)].len() as u64;
    let configs: u64 = Update::later()
        .iter()
        .map(Sample::content)
        .map(|content| content.blobs[&Update::documents(&content)[1]].len() as u64)
        .sum();
    assert_eq!(update.release.registry.blob_bytes_sent() - before, layer + configs);
}

#[test]
fn other_programs_are_shown_only_the_images_that_are_whole() {
    let update = Update::start();
    update.run("pull new.yaml --since old.lock -o none.tar").run().assert_ok();
    let none = update.release.site.read("none.tar");
    assert_eq!((&json(&none, "index.json")["manifests"], &json(&none, "manifest.json")), (&json!([]), &json!([])));

    // Of a release that shares nothing with one of the images, that one is whole.
    let names = [&Update::later()[0], &support::images::TestImage::new("octoperf/own:1").layer(b"own")]
        .map(|image| update.release.registry.add(image));
    update.release.site.write("own.yaml", support::release::manifest(&names));
    update.run("pull own.yaml --since old.lock -o own.tar").run().assert_ok();
    let own = update.release.site.read("own.tar");
    assert_eq!(json(&own, "manifest.json")[0]["RepoTags"], json!([names[1]]));
    assert_eq!(json(&own, "manifest.json").as_array().map(Vec::len), Some(1));
    let listed = &json(&own, "index.json")["manifests"];
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    for layer in json(&own, "manifest.json")[0]["Layers"].as_array().expect("it is a list") {
        assert!(members(&own).contains_key(layer.as_str().expect("it is text")));
    }
}

#[test]
fn c_04_a_killed_delta_is_continued() {
    let update = Update::start();
    let large = support::images::TestImage::new("octoperf/large:1").random_layer(1, 400_000).random_layer(9, 4_000_000);
    let registry = &update.release.registry;
    let name = registry.add(&large);
    update.release.site.write("large.yaml", support::release::manifest(&[name]));
    // Half of the layer comes, and the rest only after the kill.
    let layer = Update::layer(&large, 1);
    registry.fault(Fault::on("GET", &layer).cut(2_500_000));
    registry.fault(Fault::on("GET", &layer).after(1).times(1_000).answer(429).header("Retry-After", "600"));
    let pull = || update.run("pull large.yaml --since old.tar -o update.tar");
    let running = pull().spawn();
    let journal =
        || std::fs::read_to_string(update.release.site.path("update.tar.partial.journal")).unwrap_or_default();
    until("a piece is claimed", || journal().lines().count() > 2);
    running.kill();
    assert!(!update.release.site.path("update.tar").exists());
    registry.heal();
    let before = registry.blob_bytes_sent();
    pull().run().assert_ok();
    assert!(registry.blob_bytes_sent() - before < 4_000_000, "what was on the disk is not fetched again");
    let continued = update.release.site.read("update.tar");
    update.run("pull large.yaml --since old.tar -o once.tar").run().assert_ok();
    assert!(continued == update.release.site.read("once.tar"));
}

#[test]
fn a_delta_on_the_same_release_holds_documents_only() {
    let update = Update::start();
    let full = update.full();
    update.run("pull new.yaml --since full.tar -o same.tar").run().assert_ok();
    assert_eq!(blobs(&update.release.site.read("same.tar")), documents(&full));
    update.run("verify same.tar --base full.tar").run().assert_ok();
}

#[test]
fn verify_says_whether_the_bases_have_the_rest() {
    let update = Update::start();
    update.delta();
    let alone = update.run("verify update.tar --json").run().assert_ok().json();
    assert_eq!((&alone["sound"], alone.get("whole"), alone.get("lacking")), (&true.into(), None, None));

    let whole = update.run("verify update.tar --base old.tar --json").run().assert_ok().json();
    assert_eq!((&whole["sound"], &whole["whole"], &whole["lacking"]), (&true.into(), &true.into(), &json!([])));

    // A base that has one of the three layers.
    let name = update.release.name(2).to_owned();
    update.release.site.write("part.yaml", support::release::manifest(&[name]));
    update.run("pull part.yaml -o part.tar").run().assert_ok();
    let lacks = update.run("verify update.tar --base part.tar --json").run().assert_code(NOT_FOUND).json();
    assert_eq!((&lacks["sound"], &lacks["whole"]), (&true.into(), &false.into()));
    let [agent, _, come] = Update::later();
    let host = update.release.registry.host();
    let names =
        |images: &[&str]| json!(images.iter().map(|name| format!("{host}/octoperf/{name}")).collect::<Vec<_>>());
    let listed: BTreeMap<&str, &Value> = lacks["lacking"]
        .as_array()
        .expect("it is a list")
        .iter()
        .map(|lack| (lack["digest"].as_str().expect("it is text"), &lack["images"]))
        .collect();
    let (large, small) = (Update::layer(&agent, 0), Update::layer(&come, 0));
    let expected = BTreeMap::from([
        (large.as_str(), names(&["agent:1", "jmeter:5"])),
        (small.as_str(), names(&["jmeter:5", "come:1"])),
    ]);
    assert_eq!(listed, expected.iter().map(|(digest, names)| (*digest, names)).collect());
    let text = update.run("verify update.tar --base part.tar").run().assert_code(NOT_FOUND).stdout;
    assert!(text.contains("NOT whole: 2 of these layers lack") && text.contains(&large), "{text}");
}

#[test]
fn a_base_that_is_damaged_where_it_is_needed_is_told() {
    let update = Update::start();
    update.delta();
    let mut old = update.release.site.read("old.tar");
    let [agent, ..] = Update::later();
    let layer = &agent.content().blobs[&Update::layer(&agent, 0)];
    let at = old.windows(64).position(|window| window == &layer[1000..1064]).expect("it is in the bundle");
    old[at] ^= 1;
    update.release.site.write("old.tar", &old);
    let report = update.run("verify update.tar --base old.tar --json").run().assert_code(INTEGRITY).json();
    assert_eq!((&report["sound"], &report["whole"]), (&true.into(), &false.into()));
    assert_eq!(report["lacking"][0]["damaged"], true);
    assert_eq!(report["lacking"][0]["digest"], Update::layer(&agent, 0));
    assert!(report["lacking"][0]["message"].as_str().expect("it is text").contains("old.tar"), "{report}");
}

#[test]
fn a_delta_on_a_delta_counts_on_the_whole_chain() {
    let update = Update::start();
    update.delta();
    // A third release: of the agent a small layer has changed once more.
    let agent = Update::later()[0].clone().random_layer(7, 4_000);
    let names = [&agent, &Update::later()[1]].map(|image| update.release.registry.add(image));
    update.release.site.write("third.yaml", support::release::manifest(&names).replace("sample-1", "sample-3"));
    update.run("pull third.yaml --since update.tar -o third.tar").run().assert_ok();
    let third = update.release.site.read("third.tar");
    assert_eq!(json(&third, "octobundle.json")["base"]["name"], "sample-2");
    assert_eq!(json(&third, "octobundle.json")["base"]["id"], digest(&update.release.site.read("new.lock")));
    let layers: BTreeSet<String> = (0..3).map(|place| Update::layer(&agent, place)).collect();
    assert_eq!(blobs(&third).intersection(&layers).collect::<Vec<_>>(), [&Update::layer(&agent, 2)]);

    update.run("verify third.tar --base update.tar --base old.tar").run().assert_ok();
    let lacks = update.run("verify third.tar --base update.tar").run().assert_code(NOT_FOUND).stdout;
    assert!(lacks.contains("a delta among these needs its own base too"), "{lacks}");
}

#[test]
fn what_is_no_older_set_is_refused_before_anything_is_fetched() {
    let update = Update::start();
    update.release.site.write("other.json", "{\"schema\": \"something/else\"}");
    update.release.registry.forget_requests();
    for (since, code, part) in [
        ("missing.tar", NOT_FOUND, "missing.tar"),
        ("new.yaml", INPUT, "release manifest"),
        ("other.json", INPUT, "a JSON file"),
    ] {
        let refused = update.run(&format!("pull new.yaml -o update.tar --since {since}")).run().assert_code(code);
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    assert_eq!(update.release.registry.requests().len(), 0);
}

#[test]
fn a_delta_that_was_edited_is_damaged() {
    let update = Update::start();
    let delta = update.delta();
    let [agent, ..] = Update::later();
    let (held, not) = (Update::layer(&agent, 0), Update::layer(&agent, 1));
    let octobundle = String::from_utf8(members(&delta)["octobundle.json"].clone()).expect("it is text");
    let (_, base) = octobundle.split_once("\"base\":").expect("it is a delta");
    for (from, to) in [(held.as_str(), not.as_str()), ("\"sample-1\"", "\"sample-9\"")] {
        let edited = octobundle.replace(base, &base.replace(from, to));
        assert!(edited != octobundle && edited.len() == octobundle.len(), "{from}");
        let place = delta.windows(octobundle.len()).position(|window| window == octobundle.as_bytes()).expect("it is");
        let mut bundle = delta.clone();
        bundle[place..place + edited.len()].copy_from_slice(edited.as_bytes());
        update.release.site.write("edited.tar", &bundle);
        update.run("verify edited.tar").run().assert_code(INTEGRITY);
        assert_ne!(update.run("inspect edited.tar").run().code, Some(0), "{from} -> {to}");
    }
}
