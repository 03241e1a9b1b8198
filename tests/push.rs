//! `octobundle push`: names, and as few bytes as can be; nothing half-done under a name.

mod support;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use serde_json::Value;
use support::cli::{Run, Running};
use support::images::{Content, Sample, TestImage, TestIndex, random_bytes};
use support::memory_registry::{Access, Fault, MemoryRegistry, Options, Request};
use support::release::{Release, manifest};
use support::until;

const USAGE: i32 = 2;
const ACCESS: i32 = 4;
const NETWORK: i32 = 5;
const INTEGRITY: i32 = 7;
const PARTIAL: i32 = 10;

fn agent() -> TestImage {
    TestImage::new("octoperf/agent:1").random_layer(1, 700_000).random_layer(2, 50_000)
}

/// Shares its large layer with the agent.
fn jmeter() -> TestImage {
    TestImage::new("octoperf/jmeter:5").docker().random_layer(1, 700_000).random_layer(3, 20_000)
}

fn proxy() -> TestIndex {
    let image = TestImage::new("octoperf/proxy:1").layer(b"proxy");
    let other = image.clone().platform("linux/arm64").layer(b"arm");
    TestIndex::new("octoperf/proxy:1").image(image).image(other).attested()
}

/// A release that was pulled, and the registry that it is pushed to.
struct Pushed {
    release: Release,
    private: MemoryRegistry,
}

impl Pushed {
    fn of(samples: &[&dyn Sample]) -> Self {
        Self::into(Options::default(), samples)
    }

    fn into(options: Options, samples: &[&dyn Sample]) -> Self {
        let release = Release::of(samples);
        release.pull("release.tar").args(["--platform", "all", "--quiet"]).run().assert_ok();
        Self { release, private: MemoryRegistry::with(options) }
    }

    fn push(&self) -> Run {
        let registry = format!("{}/tools", self.private.host());
        self.release.site.octobundle(["push", "release.tar", "--registry", &registry])
    }

    fn asked(&self, method: &str) -> usize {
        self.private.requests().iter().filter(|request| request.method == method).count()
    }

    /// Everything of a sample is below `tools/`, byte for byte.
    #[track_caller]
    fn assert_arrived(&self, sample: &dyn Sample) {
        let content = sample.content();
        let repository = format!("tools/{}", content.repository);
        assert_eq!(self.private.manifest(&repository, &content.tag).as_ref(), Some(content.root()));
        for document in &content.documents {
            assert_eq!(self.private.manifest(&repository, &document.digest).as_ref(), Some(document));
        }
        for (digest, bytes) in &content.blobs {
            let arrived = self.private.blob(&repository, digest);
            assert!(arrived.is_some_and(|arrived| arrived == bytes), "{digest} of {repository}");
        }
    }
}

fn payload(samples: &[&dyn Sample]) -> u64 {
    let contents: Vec<Content> = samples.iter().map(|sample| sample.content()).collect();
    let blobs: std::collections::BTreeMap<_, _> = contents.iter().flat_map(|content| &content.blobs).collect();
    blobs.values().map(|bytes| bytes.len() as u64).sum()
}

/// Names that a registry was told about, in order.
fn tag_puts(registry: &MemoryRegistry) -> Vec<String> {
    let tags = |request: &Request| request.method == "PUT" && request.path.contains("/manifests/");
    let puts = registry.requests().into_iter().filter(tags).map(|request| request.path);
    puts.filter(|path| !path.contains("sha256:")).collect()
}

#[test]
fn everything_arrives_byte_for_byte_with_tags_last() {
    let pushed = Pushed::of(&[&agent(), &jmeter(), &proxy()]);
    let report = pushed.push().arg("--json").run().assert_ok().json();
    for sample in [&agent() as &dyn Sample, &jmeter(), &proxy()] {
        pushed.assert_arrived(sample);
    }
    assert_eq!(report["complete"], true);
    assert_eq!(report["images"][0]["source"], pushed.release.name(0));
    assert_eq!(report["images"][0]["target"], format!("{}/tools/octoperf/agent:1", pushed.private.host()));
    assert_eq!(report["images"][0]["digest"], agent().content().root().digest);
    assert_eq!(report["images"][0]["state"], "pushed");
    let requests = pushed.private.requests();
    for tag in tag_puts(&pushed.private) {
        let put =
            requests.iter().position(|request| request.path == tag && request.method == "PUT").expect("it was put");
        let repository = tag.split("/manifests/").next().expect("it has a first part");
        let later =
            requests[put + 1..].iter().find(|request| request.path.starts_with(repository) && request.method != "HEAD");
        assert!(later.is_none(), "{tag} was put before {later:?}");
    }
}

#[test]
fn the_host_goes_or_stays_as_asked() {
    let pushed = Pushed::of(&[&agent()]);
    let host = pushed.private.host();
    let source = pushed.release.registry.host().replace(':', "_");
    for (target, flag, repository) in [
        (host.clone(), None, "octoperf/agent".to_owned()),
        (format!("{host}/a/b"), None, "a/b/octoperf/agent".to_owned()),
        (format!("{host}/tools"), Some("--keep-host"), format!("tools/{source}/octoperf/agent")),
    ] {
        let push = pushed.release.site.octobundle(["push", "release.tar", "--registry", &target]);
        push.args(flag).run().assert_ok();
        assert_eq!(pushed.private.tags(&repository), ["1"], "{target} {flag:?}");
    }
}

#[test]
fn two_images_with_one_name_are_refused_before_anything_is_sent() {
    let (first, second) = (MemoryRegistry::start(), MemoryRegistry::start());
    let names = [first.add(&agent()), second.add(&agent().layer(b"another"))];
    let pushed = Pushed::of(&[&agent()]);
    pushed.release.site.write("release.yaml", manifest(&names));
    pushed.release.pull("release.tar").arg("--replace").run().assert_ok();
    let refused = pushed.push().run().assert_code(USAGE);
    for part in [names[0].as_str(), &names[1], "--keep-host"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    assert_eq!(pushed.private.requests().len(), 0);
    pushed.push().arg("--keep-host").run().assert_ok();
    let kept = |registry: &MemoryRegistry| format!("tools/{}/octoperf/agent", registry.host().replace(':', "_"));
    assert_eq!(pushed.private.tags(&kept(&first)), ["1"]);
    assert_eq!(pushed.private.tags(&kept(&second)), ["1"]);
}

#[test]
fn a_target_that_is_none_is_refused_before_anything_is_sent() {
    let pushed = Pushed::of(&[&agent()]);
    let host = pushed.private.host();
    for target in [
        format!("http://{host}"),
        format!("{host}/Tools"),
        format!("{host}/a:1"),
        format!("{host}//a"),
        String::new(),
        "me:secret@reg.corp".to_owned(),
        "tools".to_owned(),
    ] {
        let refused = pushed.release.site.octobundle(["push", "release.tar", "--registry", &target]).run();
        assert!(!refused.stderr.contains("secret"), "{}", refused.stderr);
        refused.assert_code(USAGE);
    }
    assert_eq!(pushed.private.requests().len(), 0);
}

#[test]
fn a_dry_run_shows_names_and_bytes_and_sends_nothing() {
    let pushed = Pushed::of(&[&agent(), &jmeter()]);
    let run = pushed.push().args(["--dry-run", "--json"]).run().assert_ok().json();
    assert_eq!(run["sent_bytes"], payload(&[&agent(), &jmeter()]));
    assert_eq!((&run["images"][0]["state"], &run["dry_run"]), (&"to-push".into(), &true.into()));
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        assert_eq!(pushed.asked(method), 0, "{method}");
    }
    let text = pushed.push().arg("--dry-run").run().assert_ok().stdout;
    let target = format!("{} -> {}/tools/octoperf/agent:1", pushed.release.name(0), pushed.private.host());
    assert!(text.contains(&target) && text.contains("to send"), "{text}");
    pushed.push().run().assert_ok();
    let run = pushed.push().args(["--dry-run", "--json"]).run().assert_ok().json();
    assert_eq!((&run["sent_bytes"], &run["present_bytes"]), (&0.into(), &payload(&[&agent(), &jmeter()]).into()));
    assert_eq!(run["images"][0]["state"], "present");
}

#[test]
fn a_second_push_sends_no_blob_and_asks_little() {
    let pushed = Pushed::of(&[&agent(), &jmeter(), &proxy()]);
    pushed.push().run().assert_ok();
    pushed.private.forget_requests();
    let text = pushed.push().run().assert_ok().stdout;
    assert!(text.contains("present"), "{text}");
    assert_eq!(pushed.private.blob_bytes_received(), 0);
    assert_eq!((pushed.asked("POST"), pushed.asked("PUT"), pushed.asked("PATCH")), (0, 0, 0));
    let requests = pushed.private.requests();
    let asked = |kind: &str| requests.iter().filter(|request| request.path.contains(kind)).count();
    assert!(asked("/manifests/") <= 2 * 3, "{requests:?}");
    assert_eq!(asked("/blobs/"), 0, "what a name stands for is complete: {requests:?}");
}

#[test]
fn each_blob_travels_once_and_is_mounted_where_it_is_needed_too() {
    let pushed = Pushed::of(&[&agent(), &jmeter()]);
    let report = pushed.push().arg("--json").run().assert_ok().json();
    assert_eq!(pushed.private.blob_bytes_received(), payload(&[&agent(), &jmeter()]));
    let mounts: Vec<String> = pushed
        .private
        .requests()
        .into_iter()
        .filter(|request| request.query.contains("mount="))
        .map(|r| r.query)
        .collect();
    assert_eq!(mounts.len(), 1, "one layer is shared: {mounts:?}");
    assert!(mounts[0].contains("from=tools%2Foctoperf%2F"), "{mounts:?}");
    assert_eq!(report["sent_bytes"], payload(&[&agent(), &jmeter()]));
    assert!(report["mounted_bytes"].as_u64() > Some(700_000), "{report}");
}

#[test]
fn a_registry_without_mounts_gets_the_blob_again() {
    let pushed = Pushed::into(Options { mounts: false, ..Options::default() }, &[&agent(), &jmeter()]);
    pushed.push().run().assert_ok();
    pushed.assert_arrived(&agent());
    pushed.assert_arrived(&jmeter());
    let shared = 700_000;
    let received = pushed.private.blob_bytes_received();
    let expected = payload(&[&agent(), &jmeter()]);
    assert!((expected + shared..expected + shared + 10_000).contains(&received), "{received}");
}

#[test]
fn blobs_that_the_registry_has_are_not_sent() {
    let pushed = Pushed::of(&[&agent(), &jmeter()]);
    pushed.private.add(&agent().named("tools/octoperf/agent:0"));
    let report = pushed.push().arg("--json").run().assert_ok().json();
    let missing = payload(&[&agent(), &jmeter()]) - payload(&[&agent()]);
    assert_eq!(pushed.private.blob_bytes_received(), missing);
    assert_eq!(report["sent_bytes"], missing);
    pushed.assert_arrived(&agent());
    pushed.assert_arrived(&jmeter());
}

#[test]
fn a_name_that_stands_for_something_else_is_moved() {
    let pushed = Pushed::of(&[&agent()]);
    pushed.private.add(&TestImage::new("tools/octoperf/agent:1").layer(b"an older build"));
    pushed.push().run().assert_ok();
    pushed.assert_arrived(&agent());
}

#[test]
fn a_push_that_is_cut_leaves_no_name_and_is_finished_by_the_same_command() {
    let pushed = Pushed::of(&[&agent()]);
    pushed.private.fault(Fault::on("PUT", "/blobs/uploads/").times(u32::MAX).answer(403));
    let failed = pushed.push().run().assert_code(ACCESS);
    assert!(failed.stderr.contains(&pushed.private.host()), "{}", failed.stderr);
    assert_eq!(tag_puts(&pushed.private), Vec::<String>::new());
    assert_eq!(pushed.private.tags("tools/octoperf/agent"), Vec::<String>::new());

    let cut = Pushed::of(&[&agent()]);
    cut.private.fault(Fault::on("PUT", "/blobs/uploads/").after(1).times(u32::MAX).cut(10_000));
    cut.push().args(["--retry-for", "0", "--jobs", "1"]).run().assert_code(NETWORK);
    assert_eq!(tag_puts(&cut.private), Vec::<String>::new());

    let again = Pushed { release: cut.release, private: MemoryRegistry::start() };
    let slow = Options { bytes_per_second: Some(500_000), ..Options::default() };
    let again = Pushed { private: MemoryRegistry::with(slow), ..again };
    let run = again.push().spawn();
    until("a blob is on its way", || again.private.blob_bytes_received() > 100_000);
    run.kill();
    assert_eq!(tag_puts(&again.private), Vec::<String>::new());
    again.push().run().assert_ok();
    again.assert_arrived(&agent());
}

#[test]
fn an_upload_that_breaks_once_is_made_again() {
    let pushed = Pushed::of(&[&agent()]);
    pushed.private.fault(Fault::on("PUT", "/blobs/uploads/").cut(10_000));
    pushed.private.fault(Fault::on("PUT", "/manifests/").answer(503));
    pushed.push().run().assert_ok();
    pushed.assert_arrived(&agent());
}

#[test]
fn images_that_can_be_sent_are_sent_when_another_cannot() {
    let pushed = Pushed::of(&[&agent(), &proxy()]);
    pushed.private.fault(Fault::on("PUT", "tools/octoperf/agent/manifests/").times(u32::MAX).answer(403));
    let part = pushed.push().arg("--json").run().assert_code(PARTIAL).json();
    assert_eq!(part["images"][0]["state"], "incomplete");
    assert_eq!(part["images"][1]["state"], "pushed");
    assert_eq!(part["failures"][0]["images"], serde_json::json!([pushed.release.name(0)]));
    pushed.assert_arrived(&proxy());
    assert_eq!(pushed.private.tags("tools/octoperf/agent"), Vec::<String>::new());
}

#[test]
fn an_image_that_cannot_be_asked_for_keeps_no_other_from_being_sent() {
    for (what, code) in [("manifests/", 403), ("manifests/", 500), ("blobs/sha256", 500)] {
        let pushed = Pushed::of(&[&proxy(), &agent()]);
        for method in ["HEAD", "GET"] {
            let path = format!("tools/octoperf/agent/{what}");
            pushed.private.fault(Fault::on(method, &path).times(u32::MAX).answer(code));
        }
        let push = || pushed.push().args(["--retry-for", "0", "--jobs", "1"]);
        let dry = push().args(["--dry-run", "--json"]).run().json();
        assert_eq!(dry["failures"][0]["images"], serde_json::json!([pushed.release.name(1)]), "{dry}");
        push().arg("--fail-fast").run().assert_code(if code == 403 { ACCESS } else { NETWORK });
        assert_eq!(tag_puts(&pushed.private), Vec::<String>::new());
        let part = push().arg("--json").run().assert_code(PARTIAL).json();
        assert_eq!(part["images"][0]["state"], "pushed", "{part}");
        assert_eq!(part["images"][1]["state"], "incomplete", "{part}");
        assert_eq!(part["failures"].as_array().map(Vec::len), Some(1), "{part}");
        pushed.assert_arrived(&proxy());
        assert_eq!(pushed.private.tags("tools/octoperf/agent"), Vec::<String>::new());
    }
}

#[test]
fn a_registry_that_answers_nothing_is_not_asked_for_every_image() {
    let pushed = Pushed::of(&[&proxy(), &agent(), &jmeter()]);
    pushed.private.fault(Fault::on("HEAD", "/v2/tools/").times(u32::MAX).answer(500));
    pushed.push().args(["--retry-for", "0", "--jobs", "1"]).run().assert_code(NETWORK);
    let asked = pushed.private.requests().iter().filter(|request| request.path.contains("/tools/")).count();
    assert_eq!(asked, 1);
}

#[test]
fn an_image_that_shares_a_layer_with_one_that_is_refused_is_sent() {
    for (refused, sent) in [(0, 1), (1, 0)] {
        let pushed = Pushed::of(&[&agent(), &jmeter()]);
        let samples = [agent(), jmeter()];
        let uploads = format!("tools/{}/blobs/uploads/", samples[refused].content().repository);
        pushed.private.fault(Fault::on("POST", &uploads).times(u32::MAX).answer(403));
        let part = pushed.push().arg("--json").run().assert_code(PARTIAL).json();
        assert_eq!(part["images"][sent]["state"], "pushed", "{part}");
        assert_eq!(part["images"][refused]["state"], "incomplete", "{part}");
        for failure in part["failures"].as_array().expect("a list") {
            assert_eq!(failure["images"], serde_json::json!([pushed.release.name(refused)]), "{failure}");
        }
        pushed.assert_arrived(&samples[sent]);
        assert_eq!(pushed.private.tags(&format!("tools/{}", samples[refused].content().repository)), [""; 0]);
    }
}

/// Where a blob's bytes stand in the bundle.
fn place_in_bundle(pushed: &Pushed, blob: &[u8]) -> u64 {
    let bundle = pushed.release.site.read("release.tar");
    bundle.windows(64).position(|window| window == &blob[..64]).expect("the bundle has it") as u64
}

fn flip(pushed: &Pushed, place: u64) {
    let file = OpenOptions::new().read(true).write(true).open(pushed.release.site.path("release.tar"));
    let mut file = file.expect("own files can be opened");
    let mut byte = [0];
    file.seek(SeekFrom::Start(place)).expect("own files have places");
    file.read_exact(&mut byte).expect("own files can be read");
    file.seek(SeekFrom::Start(place)).expect("own files have places");
    file.write_all(&[byte[0] ^ 1]).expect("own files can be written");
}

fn largest(sample: &dyn Sample) -> (String, Vec<u8>) {
    sample.content().blobs.into_iter().max_by_key(|(_, bytes)| bytes.len()).expect("it has blobs")
}

#[test]
fn a_bundle_with_other_bytes_never_gets_a_name() {
    let (digest, bytes) = largest(&agent());
    for place in [0, bytes.len() as u64 / 2, bytes.len() as u64 - 1] {
        let pushed = Pushed::of(&[&agent()]);
        flip(&pushed, place_in_bundle(&pushed, &bytes) + place);
        let failed = pushed.push().run().assert_code(INTEGRITY);
        assert!(failed.stderr.contains(&digest), "{}", failed.stderr);
        assert!(!pushed.private.blobs().contains(&digest), "the registry has no such blob");
        assert_eq!(pushed.private.tags("tools/octoperf/agent"), Vec::<String>::new());
        assert!(pushed.private.blob_bytes_received() <= payload(&[&agent()]), "a damaged file is not sent again");
    }
    let pushed = Pushed::of(&[&agent()]);
    flip(&pushed, place_in_bundle(&pushed, &agent().content().root().bytes) + 3);
    pushed.push().run().assert_code(INTEGRITY);
    assert_eq!(tag_puts(&pushed.private), Vec::<String>::new());
}

/// A push that is in the middle of a layer, with the layer's digest and its end in the bundle.
fn begun_on_a_large_layer() -> (Pushed, Running, String, u64) {
    let slow = Options { bytes_per_second: Some(400_000), ..Options::default() };
    // The last bytes must be unread yet when they change: more than both sides' sockets hold.
    let image = TestImage::new("octoperf/agent:1").random_layer(1, 700_000).random_layer(2, 24_000_000);
    let pushed = Pushed::into(slow, &[&image]);
    let (digest, bytes) = largest(&image);
    let end = place_in_bundle(&pushed, &bytes) + bytes.len() as u64;
    let run = pushed.push().args(["--jobs", "1"]).spawn();
    until("it is being sent", || pushed.private.blob_bytes_received() > 100_000);
    (pushed, run, digest, end)
}

#[test]
fn sec_50_a_bundle_that_changes_while_it_is_sent_never_gets_a_name() {
    let (pushed, run, digest, end) = begun_on_a_large_layer();
    flip(&pushed, end - 10);
    pushed.private.lift_pace();
    run.wait().assert_code(INTEGRITY);
    assert!(!pushed.private.blobs().contains(&digest));
    assert_eq!(tag_puts(&pushed.private), Vec::<String>::new());
}

#[test]
fn sec_50_a_bundle_that_is_cut_while_it_is_sent_never_gets_a_name() {
    let (pushed, run, digest, end) = begun_on_a_large_layer();
    let file = std::fs::File::options().write(true).open(pushed.release.site.path("release.tar")).expect("own files");
    file.set_len(end - 10).expect("own files can be cut");
    pushed.private.lift_pace();
    let ended = run.wait();
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    assert!(!pushed.private.blobs().contains(&digest));
    assert_eq!(tag_puts(&pushed.private), Vec::<String>::new());
}

#[test]
#[cfg(unix)] // a file that is open is replaced
fn sec_50_a_bundle_that_is_replaced_while_it_is_sent_is_sent_as_it_was_opened() {
    let slow = Options { bytes_per_second: Some(400_000), ..Options::default() };
    let pushed = Pushed::into(slow, &[&agent()]);
    let run = pushed.push().spawn();
    until("it is being sent", || pushed.private.blob_bytes_received() > 10_000);
    pushed.release.site.write("other.tar", random_bytes(9, 10_000));
    std::fs::rename(pushed.release.site.path("other.tar"), pushed.release.site.path("release.tar")).expect("own files");
    run.wait().assert_ok();
    pushed.assert_arrived(&agent());
}

#[test]
fn an_image_with_a_digest_only_keeps_it() {
    let pushed = Pushed::of(&[&agent()]);
    let digest = agent().content().root().digest.clone();
    let name = format!("{}/octoperf/agent@{digest}", pushed.release.registry.host());
    pushed.release.site.write("release.yaml", manifest(&[name]));
    pushed.release.pull("release.tar").arg("--replace").run().assert_ok();
    let report = pushed.push().arg("--json").run().assert_ok().json();
    assert_eq!(report["images"][0]["target"], format!("{}/tools/octoperf/agent@{digest}", pushed.private.host()));
    assert_eq!(pushed.private.manifest("tools/octoperf/agent", &digest).as_ref(), Some(agent().content().root()));
    assert_eq!(pushed.private.tags("tools/octoperf/agent"), Vec::<String>::new());
    pushed.private.forget_requests();
    pushed.push().run().assert_ok();
    assert_eq!((pushed.asked("PUT"), pushed.asked("POST")), (0, 0));
}

#[test]
fn one_platform_of_an_index_stands_under_its_name() {
    let pushed = Pushed::of(&[&proxy()]);
    pushed.release.pull("release.tar").arg("--replace").run().assert_ok();
    pushed.push().run().assert_ok();
    let content = proxy().content();
    let image = TestImage::new("octoperf/proxy:1").layer(b"proxy").content();
    assert_eq!(pushed.private.manifest("tools/octoperf/proxy", "1").as_ref(), Some(image.root()));
    assert!(pushed.private.manifest("tools/octoperf/proxy", &content.root().digest).is_none());
}

#[test]
fn registries_with_other_habits_get_the_same() {
    for options in [
        Options { absolute_locations: true, ..Options::default() },
        Options { digest_header: false, ..Options::default() },
        Options { access: Access::anonymous_tokens(), ..Options::default() },
        Options { access: Access::Bearer { login: None, uses: 3 }, ..Options::default() },
    ] {
        let what = format!("{options:?}");
        let pushed = Pushed::into(options, &[&agent(), &jmeter()]);
        // One at a time: side by side, requests would use up each other's short-lived tokens.
        let run = pushed.push().args(["--jobs", "1"]).run();
        assert_eq!(run.code, Some(0), "{what}: {}", run.stderr);
        pushed.assert_arrived(&agent());
        pushed.assert_arrived(&jmeter());
    }
}

#[test]
fn sec_33_a_registry_that_says_it_took_other_bytes_is_not_believed() {
    let pushed = Pushed::of(&[&agent()]);
    let other = support::images::digest(b"something else");
    pushed
        .private
        .fault(Fault::on("PUT", "/manifests/1").times(u32::MAX).answer(201).header("docker-content-digest", &other));
    let failed = pushed.push().run().assert_code(INTEGRITY);
    assert!(failed.stderr.contains(&other), "{}", failed.stderr);
}

#[test]
fn many_layers_go_side_by_side_but_no_more_than_asked_for() {
    let many = (0..20).fold(TestImage::new("octoperf/many:1"), |image, seed| image.random_layer(seed, 20_000));
    let slow = Options { bytes_per_second: Some(1_000_000), ..Options::default() };
    let pushed = Pushed::into(slow, &[&many]);
    pushed.push().args(["--jobs", "3"]).run().assert_ok();
    pushed.assert_arrived(&many);
    assert!((2..=3).contains(&pushed.private.most_transfers_at_once()));
    let uploaded: BTreeSet<String> = pushed.private.blobs();
    assert_eq!(uploaded.len(), 21);
    let report: Value = pushed.push().arg("--json").run().assert_ok().json();
    assert_eq!(report["sent_bytes"], 0);
}

#[test]
fn c_05_two_pushes_to_one_tag_both_end_well() {
    let pushed = Pushed::of(&[&agent(), &jmeter()]);
    let (first, second) = (pushed.push().spawn(), pushed.push().spawn());
    first.wait().assert_ok();
    second.wait().assert_ok();
    for sample in [&agent() as &dyn Sample, &jmeter()] {
        pushed.assert_arrived(sample);
    }
}
