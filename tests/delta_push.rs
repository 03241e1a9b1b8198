//! Deltas on the closed side: nothing is sent unless the rest is proven to be there, and then all is as if the whole
//! bundle had been pushed.

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::images::{Sample as _, TestImage};
use support::memory_registry::{Fault, MemoryRegistry, Options};
use support::real::{Podman, RealRegistry};
use support::update::Update;

const NOT_FOUND: i32 = 6;

/// The update, and the closed side's registry.
struct Closed {
    update: Update,
    private: MemoryRegistry,
}

impl Closed {
    /// With `old.tar`, `update.tar` and `full.tar` at hand, and nothing pushed yet.
    fn empty() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let update = Update::start();
        update.delta();
        update.full();
        Self { update, private: MemoryRegistry::with(options) }
    }

    fn push(&self, what: &str) -> support::cli::Run {
        self.update.run(&format!("push {what} --registry {}/tools", self.private.host()))
    }

    /// The old release is there.
    fn filled(self) -> Self {
        self.push("old.tar").run().assert_ok();
        self.private.forget_requests();
        self
    }

    /// Everything of the second release is below `tools/`, byte for byte.
    #[track_caller]
    fn assert_is_the_second_release(&self) {
        for image in Update::later() {
            let content = image.content();
            let repository = format!("tools/{}", content.repository);
            assert_eq!(self.private.manifest(&repository, &content.tag).as_ref(), Some(content.root()));
            for (digest, bytes) in &content.blobs {
                let arrived = self.private.blob(&repository, digest);
                assert!(arrived.is_some_and(|arrived| arrived == bytes), "{digest} of {repository}");
            }
        }
    }

    /// Requests that change something.
    fn changes(&self) -> Vec<String> {
        let changes = self.private.requests().into_iter().filter(|request| !matches!(&*request.method, "GET" | "HEAD"));
        changes.map(|request| format!("{} {}", request.method, request.path)).collect()
    }
}

/// Bytes of the blobs of the second release that the first has not.
fn new_bytes() -> u64 {
    let old: BTreeSet<String> = Update::earlier().iter().flat_map(|image| image.content().blobs.into_keys()).collect();
    let new = Update::later().into_iter().flat_map(|image| image.content().blobs);
    let new: std::collections::BTreeMap<String, Vec<u8>> = new.filter(|(digest, _)| !old.contains(digest)).collect();
    new.values().map(|bytes| bytes.len() as u64).sum()
}

#[test]
fn base_and_delta_pushed_equal_the_full_bundle_pushed() {
    let by_delta = Closed::empty().filled();
    let report = by_delta.push("update.tar --json").run().assert_ok().json();
    assert_eq!((&report["complete"], report.get("lacking")), (&true.into(), None));
    by_delta.assert_is_the_second_release();
    assert_eq!(report["sent_bytes"], new_bytes());
    assert_eq!(by_delta.private.blob_bytes_received(), new_bytes(), "each blob travels once");

    let by_full = Closed::empty().filled();
    by_full.push("full.tar").run().assert_ok();
    by_full.assert_is_the_second_release();
    assert_eq!(by_delta.private.blobs(), by_full.private.blobs());
    // The second push of a delta has nothing to prove and nothing to send.
    by_delta.private.forget_requests();
    by_delta.push("update.tar").run().assert_ok();
    assert_eq!(by_delta.changes(), [""; 0]);
}

#[test]
fn a_real_registry_takes_base_and_delta_for_the_whole() {
    let Some(registry) = RealRegistry::start() else { return };
    let closed = Closed::empty();
    let target = format!("{}/tools", registry.host());
    let run = |command: &str| closed.update.run(&format!("{command} {target}"));
    run("push update.tar --registry").run().assert_code(NOT_FOUND);
    run("push old.tar --registry").run().assert_ok();
    run("push update.tar --registry").run().assert_ok();
    run("diff full.tar").run().assert_ok();
    // All of it can be fetched again.
    let names: Vec<String> = Update::later().iter().map(|image| format!("{target}/{}", image.name())).collect();
    closed.update.release.site.write("there.yaml", support::release::manifest(&names));
    closed.update.run("pull there.yaml -o there.tar").run().assert_ok();
    closed.update.run("verify there.tar").run().assert_ok();
}

#[test]
fn a_delta_in_volumes_is_used_where_it_lies() {
    let closed = Closed::empty().filled();
    let site = &closed.update.release.site;
    let agent = TestImage::new("octoperf/agent:1").random_layer(1, 400_000).random_layer(9, 200_000);
    let name = closed.update.release.registry.add(&agent);
    site.write("next.yaml", support::release::manifest(&[name]));
    closed.update.run("pull next.yaml --since old.tar --volume-size 65536 -o set/x.tar").run().assert_code(NOT_FOUND);
    std::fs::create_dir(site.path("set")).expect("folders can be made");
    closed.update.run("pull next.yaml --since old.tar --volume-size 65536 -o set/x.tar").run().assert_ok();
    closed.update.run("pull next.yaml --since old.tar -o one.tar").run().assert_ok();
    let volumes: Vec<u8> = (1..=4).flat_map(|number| site.read(&format!("set/x.tar.00{number}"))).collect();
    assert!(volumes == site.read("one.tar"));
    closed.update.run("verify set --base old.tar").run().assert_ok();
    std::fs::rename(site.path("set/x.tar.003"), site.path("aside")).expect("it is there");
    closed.private.forget_requests();
    let refused = closed.push("set").run().assert_code(NOT_FOUND);
    assert!(refused.stderr.contains("volume `x.tar.003` is missing"), "{}", refused.stderr);
    assert_eq!(closed.private.requests().len(), 0);
    std::fs::rename(site.path("aside"), site.path("set/x.tar.003")).expect("it is there");
    closed.push("set").run().assert_ok();
    assert_eq!(closed.private.manifest("tools/octoperf/agent", "1").as_ref(), Some(agent.content().root()));
}

#[test]
fn a_delta_on_an_empty_registry_sends_nothing_and_says_what_lacks() {
    let closed = Closed::empty();
    let refused = closed.push("update.tar --json").run().assert_code(NOT_FOUND);
    assert_eq!(closed.changes(), [""; 0]);
    assert_eq!(closed.private.blob_bytes_received(), 0);
    let report = refused.json();
    assert_eq!((&report["complete"], &report["sent_bytes"]), (&false.into(), &0.into()));
    let [agent, _, come] = Update::later();
    let host = closed.update.release.registry.host();
    let names = |images: &[&str]| images.iter().map(|name| format!("{host}/octoperf/{name}")).collect::<Vec<_>>();
    let expected: Vec<Value> = [
        (Update::layer(&agent, 0), names(&["agent:1", "jmeter:5"])),
        (Update::layer(&come, 1), names(&["come:1"])),
        (Update::layer(&come, 0), names(&["jmeter:5", "come:1"])),
    ]
    .into_iter()
    .map(|(digest, images)| {
        let bytes = Update::earlier().iter().find_map(|image| image.content().blobs.get(&digest).map(Vec::len));
        json!({ "digest": digest, "bytes": bytes, "images": images })
    })
    .collect();
    assert_eq!(report["lacking"], json!(expected), "the largest first");

    let told = closed.push("update.tar").run().assert_code(NOT_FOUND);
    for part in ["lacks 3 of the layers", "nothing was sent", "sample-1", "--base OLD"] {
        assert!(told.stderr.contains(part), "{part}: {}", told.stderr);
    }
    assert!(told.stdout.contains(&Update::layer(&agent, 0)) && told.stdout.contains("needed by"), "{}", told.stdout);
    closed.push("update.tar --dry-run").run().assert_code(NOT_FOUND);
}

#[test]
fn everything_is_asked_for_before_anything_is_sent() {
    let closed = Closed::empty().filled();
    closed.push("update.tar").run().assert_ok();
    let requests = closed.private.requests();
    let first = requests.iter().position(|request| !matches!(&*request.method, "GET" | "HEAD")).expect("it is pushed");
    let [agent, _, come] = Update::later();
    for layer in [Update::layer(&agent, 0), Update::layer(&come, 0), Update::layer(&come, 1)] {
        let found = |request: &&support::memory_registry::Request| {
            request.method == "HEAD" && request.path.ends_with(&layer) && request.status == 200
        };
        let asked = requests[..first].iter().filter(found).count();
        assert!(asked > 0, "{layer} was found before the first change");
    }
}

#[test]
fn one_layer_that_lacks_stops_all() {
    let closed = Closed::empty().filled();
    let [.., come] = Update::later();
    closed.private.remove_blob(&Update::layer(&come, 1));
    let report = closed.push("update.tar --json").run().assert_code(NOT_FOUND).json();
    assert_eq!(closed.changes(), [""; 0]);
    let listed: Vec<&Value> =
        report["lacking"].as_array().expect("it is a list").iter().map(|l| &l["digest"]).collect();
    assert_eq!(listed, [&json!(Update::layer(&come, 1))]);
}

#[test]
fn a_layer_of_an_image_that_has_gone_is_taken_over_from_there() {
    let closed = Closed::empty().filled();
    closed.push("update.tar").run().assert_ok();
    let [.., come] = Update::later();
    let mounts: Vec<String> = closed
        .private
        .requests()
        .into_iter()
        .filter(|request| request.method == "POST" && request.query.contains("mount="))
        .map(|request| request.query.replace("%3A", ":").replace("%2F", "/"))
        .collect();
    let expected = format!("mount={}&from=tools/octoperf/gone", Update::layer(&come, 1));
    assert!(mounts.contains(&expected), "{mounts:?}");
    closed.assert_is_the_second_release();
}

#[test]
fn where_nothing_can_be_taken_over_the_bytes_go_through_this_machine() {
    let closed = Closed::with(Options { mounts: false, ..Options::default() }).filled();
    closed.push("update.tar").run().assert_ok();
    closed.assert_is_the_second_release();
}

#[test]
fn a_repository_that_is_closed_to_this_login_counts_as_one_without() {
    for status in [401, 403] {
        let closed = Closed::empty().filled();
        for method in ["HEAD", "GET"] {
            closed.private.fault(
                Fault::on(method, "/tools/octoperf/gone/")
                    .times(1_000)
                    .answer(status)
                    .header("www-authenticate", "Basic realm=\"closed\""),
            );
        }
        let report = closed.push("update.tar --json").run().assert_code(NOT_FOUND).json();
        let [.., come] = Update::later();
        assert_eq!(report["lacking"][0]["digest"], Update::layer(&come, 1), "{status}");
        assert_eq!(closed.changes(), [""; 0], "{status}");
    }
}

#[test]
fn a_base_at_hand_fills_what_the_registry_lacks() {
    let closed = Closed::empty();
    let planned = closed.push("update.tar --base old.tar --dry-run --json").run().assert_ok().json();
    assert_eq!(closed.changes(), [""; 0]);
    let report = closed.push("update.tar --base old.tar --json").run().assert_ok().json();
    closed.assert_is_the_second_release();
    assert_eq!(planned["sent_bytes"], report["sent_bytes"]);
    let full = Closed::empty();
    full.push("full.tar").run().assert_ok();
    assert_eq!(closed.private.blobs(), full.private.blobs());
    assert_eq!(closed.private.blob_bytes_received(), full.private.blob_bytes_received());
}

#[test]
fn a_base_that_is_damaged_never_reaches_the_registry() {
    let closed = Closed::empty();
    let [agent, ..] = Update::later();
    let layer = &agent.content().blobs[&Update::layer(&agent, 0)];
    let mut old = closed.update.release.site.read("old.tar");
    let at = old.windows(64).position(|window| window == &layer[1000..1064]).expect("it is in the bundle");
    old[at] ^= 1;
    closed.update.release.site.write("old.tar", old);
    let failed = closed.push("update.tar --base old.tar").run();
    // The image without the layer is complete.
    assert_eq!(failed.code, Some(10), "{}", failed.stderr);
    assert!(!closed.private.blobs().contains(&Update::layer(&agent, 0)));
    assert_eq!(closed.private.manifest("tools/octoperf/agent", "1"), None);
}

#[test]
fn a_chain_of_deltas_is_pushed_one_after_the_other_or_at_once() {
    let closed = Closed::empty();
    let agent = Update::later()[0].clone().random_layer(7, 4_000);
    let name = closed.update.release.registry.add(&agent);
    closed.update.release.site.write("third.yaml", support::release::manifest(&[name]));
    closed.update.run("pull third.yaml --since update.tar -o third.tar").run().assert_ok();
    let assert_arrived = |closed: &Closed, agent: &TestImage| {
        let content = agent.content();
        assert_eq!(closed.private.manifest("tools/octoperf/agent", "1").as_ref(), Some(content.root()));
    };
    closed.push("third.tar --base update.tar").run().assert_code(NOT_FOUND);
    closed.push("third.tar --base update.tar --base old.tar").run().assert_ok();
    assert_arrived(&closed, &agent);

    let stepwise = Closed { private: MemoryRegistry::start(), ..closed }.filled();
    stepwise.push("update.tar").run().assert_ok();
    stepwise.push("third.tar").run().assert_ok();
    assert_arrived(&stepwise, &agent);
}

#[test]
fn what_a_registry_has_is_the_ground_for_a_delta() {
    let closed = Closed::empty().filled();
    let target = format!("{}/tools", closed.private.host());
    let have = |more: &str| closed.update.run(&format!("have old.lock --registry {target} -o have.json {more}"));
    let told = have("--json").run().assert_ok().json();
    let written: Value = serde_json::from_slice(&closed.update.release.site.read("have.json")).expect("it is JSON");
    let blobs: BTreeSet<String> =
        Update::earlier().iter().flat_map(|image| image.content().blobs.into_keys()).collect();
    let listed: BTreeSet<String> = written["blobs"]
        .as_array()
        .expect("it is a list")
        .iter()
        .map(|blob| blob["digest"].as_str().expect("it is text").to_owned())
        .collect();
    assert_eq!(listed, blobs);
    assert_eq!((&told["blobs"], &told["asked_blobs"]), (&blobs.len().into(), &blobs.len().into()));
    assert_eq!((&written["registry"], &written["schema"]), (&target.as_str().into(), &"octobundle/have/v1".into()));
    have("").run().assert_code(2);

    closed.update.run("pull new.yaml --since have.json -o by-have.tar").run().assert_ok();
    let report = closed.update.run("inspect by-have.tar --json").run().assert_ok().json();
    assert_eq!((&report["delta"]["kind"], &report["delta"]["left_out_layers"]), (&"registry".into(), &3.into()));
    closed.push("by-have.tar").run().assert_ok();
    closed.assert_is_the_second_release();
}

#[test]
fn what_a_registry_has_lost_is_not_left_out() {
    let closed = Closed::empty().filled();
    let [agent, ..] = Update::later();
    let lost = Update::layer(&agent, 0);
    closed.private.remove_blob(&lost);
    let target = format!("{}/tools", closed.private.host());
    closed.update.run(&format!("have old.tar --registry {target} -o have.json")).run().assert_ok();
    closed.update.run("pull new.yaml --since have.json -o by-have.tar").run().assert_ok();
    closed.push("update.tar").run().assert_code(NOT_FOUND);
    closed.push("by-have.tar").run().assert_ok();
    closed.assert_is_the_second_release();
}

#[test]
fn what_a_registry_has_is_found_without_any_bundle() {
    let closed = Closed::empty().filled();
    let there = format!("{}/tools", closed.private.host());
    // Something of others beside it, and in the same repository something that no bundle knows.
    closed.private.add(&TestImage::new("others/theirs:1").random_layer(70, 3_000));
    let more = TestImage::new("tools/octoperf/agent:nightly").random_layer(71, 4_000);
    closed.private.add(&more);
    let have = |words: &str, file: &str| closed.update.run(&format!("have {words} --registry {there} -o {file}"));
    have("", "all.json").run().assert_ok();
    have("old.tar", "known.json").run().assert_ok();
    let blobs = |file: &str| {
        let have: Value = serde_json::from_slice(&closed.update.release.site.read(file)).expect("it is JSON");
        let blobs = have["blobs"].as_array().expect("it is a list").clone();
        blobs.iter().map(ToString::to_string).collect::<BTreeSet<_>>()
    };
    let (all, known) = (blobs("all.json"), blobs("known.json"));
    assert!(all.is_superset(&known), "{all:?}\n{known:?}");
    let extra: Vec<&String> = all.difference(&known).collect();
    let new: Vec<String> = more.content().blobs.into_keys().collect();
    assert_eq!(extra.len(), new.len(), "{extra:?}");
    assert!(extra.iter().all(|blob| new.iter().any(|digest| blob.contains(digest.as_str()))), "{extra:?}");
    // The delta is the same as on a bundle's own word.
    closed.update.run("pull --locked new.lock --since all.json -o by-all.tar").run().assert_ok();
    closed.update.run("pull --locked new.lock --since known.json -o by-known.tar").run().assert_ok();
    let bytes = |file: &str| closed.update.release.site.read(file).len();
    assert_eq!(bytes("by-all.tar"), bytes("by-known.tar"));

    have("--repository octoperf/agent", "one.json").run().assert_ok();
    let one = blobs("one.json");
    assert!(one.iter().all(|blob| blob.contains("/tools/octoperf/agent\"]}")), "{one:?}");
    let digests = |blobs: &BTreeSet<String>| -> BTreeSet<String> {
        blobs.iter().map(|blob| blob.split(',').next().unwrap_or_default().to_owned()).collect()
    };
    assert!(digests(&one).is_subset(&digests(&all)) && one.len() < all.len(), "{one:?}");
    let theirs: BTreeSet<String> = Update::earlier()[0].content().blobs.into_keys().chain(new).collect();
    assert_eq!(one.len(), theirs.len(), "the agent's blobs and those of the tag that no bundle knows: {one:?}");
    have("--repository octoperf/nothing", "none.json").run().assert_code(NOT_FOUND);
    have("--repository Octoperf", "none.json").run().assert_code(2);
    // Where the list is closed, or does not exist, repositories are named.
    for status in [403, 404] {
        closed.private.fault(Fault::on("GET", "/v2/_catalog").answer(status));
        let refused = have("", "none.json").run();
        assert!(refused.stderr.contains("name them with `--repository NAME`"), "{}", refused.stderr);
    }
    assert!(!closed.update.release.site.path("none.json").exists());

    closed.push("by-all.tar").run().assert_ok();
    closed.assert_is_the_second_release();
}

#[test]
fn a_damaged_list_of_what_a_registry_has_is_refused() {
    let closed = Closed::empty().filled();
    let target = format!("{}/tools", closed.private.host());
    closed.update.run(&format!("have old.tar --registry {target} -o have.json")).run().assert_ok();
    let text = String::from_utf8(closed.update.release.site.read("have.json")).expect("it is text");
    closed.update.release.site.write("have.json", text.replace("\"size\"", "\"length\""));
    let refused = closed.update.run("pull new.yaml --since have.json -o by-have.tar").run().assert_code(3);
    assert!(refused.stderr.contains("have.json") && refused.stderr.contains("octobundle have"), "{}", refused.stderr);
}

#[test]
fn an_engine_is_loaded_from_delta_and_base_as_from_the_full_bundle() {
    let closed = Closed::empty();
    let Some(podman) = Podman::new() else { return };
    if std::path::Path::new("/run/podman/podman.sock").exists() {
        use std::io::Write as _;
        writeln!(std::io::stderr(), "SKIPPED: podman of this host listens on its socket")
            .expect("stderr can be written");
        return;
    }
    let folder = podman.wrapper().parent().expect("a file is in a folder").to_owned();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display());
    let load = |what: &str| closed.update.run(&format!("load {what} --engine podman --json")).env("PATH", &path);
    let refused = load("update.tar").run().assert_code(NOT_FOUND);
    assert!(refused.stderr.contains("--base OLD") && refused.stderr.contains("sample-1"), "{}", refused.stderr);
    let report = load("update.tar --base old.tar").run().assert_ok().json();
    let ids: Vec<&str> = report["images"].as_array().expect("a list").iter().filter_map(|i| i["id"].as_str()).collect();
    let expected: Vec<String> = Update::later().iter().map(TestImage::config_digest).collect();
    assert_eq!(ids, expected);
}
