//! `octobundle serve` with volumes, several bundles and deltas: how it reads them, and whether it may give them out.

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use support::cli::Site;
use support::images::{About, Content, Sample as _, TestImage, digest};
use support::release::{Release, manifest};
use support::served::Served;
use support::until;
use support::update::Update;

const NOT_FOUND: i32 = 6;
const TRUST: i32 = 8;

fn agent() -> TestImage {
    TestImage::new("octoperf/agent:1").random_layer(1, 300_000)
}

fn jmeter() -> TestImage {
    TestImage::new("octoperf/jmeter:5").random_layer(2, 150_000).random_layer(3, 700)
}

/// What says something about the agent, beside it.
fn signature() -> About {
    About {
        of: Box::new(TestImage::new("octoperf/agent:signature").layer(b"signature")),
        subject: agent().content().root().clone(),
        artifact_type: Some("application/vnd.example.signature"),
    }
}

/// How many artifacts are said to refer to the agent.
#[track_caller]
fn referrers(served: &Served) -> usize {
    let list = served.get(&format!("/v2/octoperf/agent/referrers/{}", agent().content().root().digest));
    list.expect_status(200);
    list.json()["manifests"].as_array().expect("a list").len()
}

/// Turns a byte of what stands in a file; twice is nothing.
fn flip(path: &Path, bytes: &[u8]) {
    let all = fs::read(path).unwrap();
    let rest = &bytes[33..];
    let at = all.windows(rest.len()).position(|window| window == rest).expect("the file has it") - 1;
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[all[at] ^ 1], at as u64).unwrap();
}

/// Asserts that everything of an image is given out, byte for byte.
#[track_caller]
fn assert_served(served: &Served, content: &Content) {
    let name = format!("/v2/{}", content.repository);
    let by_tag = served.get(&format!("{name}/manifests/{}", content.tag));
    assert!(by_tag.status == 200 && by_tag.body == content.root().bytes, "{}", by_tag.text());
    for document in &content.documents {
        let answer = served.get(&format!("{name}/manifests/{}", document.digest));
        assert!(answer.status == 200 && answer.body == document.bytes, "{}", document.digest);
    }
    for (digest, bytes) in &content.blobs {
        let answer = served.get(&format!("{name}/blobs/{digest}"));
        assert!(answer.status == 200 && answer.body == *bytes, "{digest}: {}", answer.status);
    }
}

/// A bundle in volumes of 100,000 bytes, in two folders.
fn in_volumes() -> Release {
    let release = Release::of(&[&agent(), &jmeter()]);
    release.bundle();
    fs::create_dir(release.site.path("one")).unwrap();
    fs::create_dir(release.site.path("two")).unwrap();
    release.site.octobundle(["split", "release.tar", "--volume-size", "100000", "-o", "one/x.tar"]).run().assert_ok();
    for number in ["002", "004"] {
        let name = format!("x.tar.{number}");
        fs::rename(release.site.path("one").join(&name), release.site.path("two").join(&name)).unwrap();
    }
    fs::remove_file(release.site.path("release.tar")).unwrap();
    release
}

#[test]
fn volumes_are_served_where_they_lie_and_heal_when_one_was_away() {
    let release = in_volumes();
    let served = Served::start(&release.site, ["one", "--volumes-in", "two"]);
    for image in [agent(), jmeter()] {
        assert_served(&served, &image.content());
    }
    // A range that begins in one volume and ends two volumes later.
    let content = agent().content();
    let (digest, bytes) = content.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let target = format!("/v2/octoperf/agent/blobs/{digest}");
    let part = served.ask("GET", &target, &["Range: bytes=10-290000"]);
    assert!(part.status == 206 && part.body == bytes[10..=290_000]);

    let (here, away) = (release.site.path("two/x.tar.002"), release.site.path("away"));
    fs::rename(&here, &away).unwrap();
    assert_eq!(served.get(&target).status, 503);
    assert_eq!(served.get("/healthz").status, 503);
    fs::rename(&away, &here).unwrap();
    assert!(served.get(&target).body == *bytes);

    // A byte of one volume turned, with the volume's times set back to what they were.
    let file = fs::File::options().read(true).write(true).open(&here).unwrap();
    let times = fs::metadata(&here).unwrap().modified().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 50_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 50_000).unwrap();
    file.set_modified(times).unwrap();
    let answer = served.get(&target);
    assert!(answer.status >= 500 && answer.text().contains("damaged"), "{}: {:.200}", answer.status, answer.text());
}

#[test]
fn a_delta_is_served_with_its_base_as_if_it_were_whole() {
    let update = Update::start();
    update.delta();
    let site = &update.release.site;
    let alone = site.octobundle(["serve", "update.tar", "--listen", "127.0.0.1:0"]).run().assert_code(NOT_FOUND);
    assert!(
        alone.stderr.contains("which none of the bundles has") && alone.stderr.contains("--base"),
        "{}",
        alone.stderr
    );

    let served = Served::start(site, ["update.tar", "--base", "old.tar"]);
    assert_eq!(served.report["bases"], serde_json::json!(["old.tar"]));
    for image in Update::later() {
        assert_served(&served, &image.content());
    }
    // The base lends layers; its own images are another release's.
    assert_eq!(served.get("/v2/octoperf/gone/tags/list").status, 404);
    let names = served.get("/v2/_catalog").json();
    assert_eq!(names["repositories"], serde_json::json!(["octoperf/agent", "octoperf/come", "octoperf/jmeter"]));

    let lent = format!("/v2/octoperf/jmeter/blobs/{}", Update::layer(&Update::later()[1], 0));
    fs::rename(site.path("old.tar"), site.path("away.tar")).unwrap();
    assert_eq!(served.get(&lent).status, 503);
    assert_eq!(served.get("/healthz").status, 503);
    assert_eq!(served.get("/v2/octoperf/jmeter/manifests/5").status, 200, "the delta has all documents");
    fs::rename(site.path("away.tar"), site.path("old.tar")).unwrap();
    assert_eq!(served.get(&lent).status, 200);
}

#[test]
fn a_damaged_base_lends_nothing_that_ends_as_a_clean_answer() {
    let update = Update::start();
    update.delta();
    let site = &update.release.site;
    let layer = Update::layer(&Update::later()[1], 0);
    let bytes = Update::later()[1].content().blobs[&layer].clone();
    let mut old = site.read("old.tar");
    let at = old.windows(64).position(|window| window == &bytes[..64]).expect("the base has it");
    old[at + 1000] ^= 1;
    site.write("old.tar", old);
    let served = Served::start(site, ["update.tar", "--base", "old.tar"]);
    let answer = served.get(&format!("/v2/octoperf/jmeter/blobs/{layer}"));
    assert_eq!((answer.status, answer.code().as_str()), (500, "UNKNOWN"));
}

#[test]
fn a_start_reads_the_head_of_a_bundle_and_opens_it_for_reading_only() {
    const SIZE: usize = 48 << 20;
    let release = Release::of(&[&TestImage::new("octoperf/large:1").random_layer(9, SIZE)]);
    release.bundle();
    fs::create_dir(release.site.path("cut")).unwrap();
    let split = ["split", "release.tar", "--volume-size", "10000000", "-o", "cut/x.tar"];
    release.site.octobundle(split).run().assert_ok();
    for bundle in ["release.tar", "cut"] {
        let before = listing(&release);
        let served = Served::start(&release.site, [bundle]);
        assert_eq!(served.get("/v2/").status, 200);
        assert_eq!(served.get("/").status, 200);
        let io = fs::read_to_string(format!("/proc/{}/io", served.id())).unwrap();
        let read: u64 = io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap();
        assert!(read < SIZE as u64 / 4, "{read} bytes were read until the first answer");
        let open = open_modes(served.id(), &release.site.path(bundle));
        assert!(!open.is_empty() && open.iter().all(|mode| *mode == 0), "O_RDONLY is 0: {open:?}");
        let content = TestImage::new("octoperf/large:1").random_layer(9, SIZE).content();
        assert_served(&served, &content);
        drop(served);
        assert_eq!(listing(&release), before, "nothing was written");
    }
}

/// Every file of the site with its length and time of change.
fn listing(release: &Release) -> Vec<(String, u64, std::time::SystemTime)> {
    fn walk(folder: &Path, all: &mut Vec<(String, u64, std::time::SystemTime)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                walk(&entry.path(), all);
            } else {
                all.push((entry.path().display().to_string(), metadata.len(), metadata.modified().unwrap()));
            }
        }
    }
    let mut all = Vec::new();
    walk(&release.site.path("."), &mut all);
    all.sort();
    all
}

/// The access modes of the files at or below `place` that a process has open.
fn open_modes(process: u32, place: &Path) -> Vec<u32> {
    let place = place.canonicalize().unwrap();
    let mut modes = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd")).unwrap() {
        let path = entry.unwrap().path();
        if fs::read_link(&path).is_ok_and(|target| target.starts_with(&place)) {
            let number = path.file_name().unwrap().to_string_lossy().into_owned();
            let told = fs::read_to_string(format!("/proc/{process}/fdinfo/{number}")).unwrap();
            let flags = told.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
            modes.push(u32::from_str_radix(flags, 8).unwrap() & 3);
        }
    }
    modes
}

fn public(site: &Site, name: &str) -> String {
    let text = String::from_utf8(site.read(&format!("{name}.key.pub"))).unwrap();
    text.lines().last().unwrap().to_owned()
}

/// Makes `policy.yaml` trust this one alone.
fn policy(site: &Site, name: &str) {
    let key = public(site, name);
    let text = format!("schema: octobundle/policy/v1\nkeys:\n  {name}: {key}\nrequire: 1 of [{name}]\n");
    site.write("policy.yaml", text);
}

/// Two bundles and one in volumes, a key, and whoever signs with it.
struct Signed {
    release: Release,
}

impl Signed {
    fn new() -> Self {
        let release = Release::of(&[&agent(), &signature()]);
        release.bundle();
        release.site.write("second.yaml", manifest(&[release.registry.add(&jmeter())]).replace("sample-1", "other-1"));
        let signed = Self { release };
        for arguments in [
            "pull second.yaml -o second.tar --quiet",
            "split release.tar --volume-size 100000 -o cut.tar",
            "key new anna.key --no-password",
            "key new eve.key --no-password",
        ] {
            signed.run(arguments);
        }
        signed
    }

    fn run(&self, arguments: &str) {
        self.release.site.octobundle(arguments.split_whitespace()).run().assert_ok();
    }

    fn public(&self, name: &str) -> String {
        public(&self.release.site, name)
    }

    fn policy(&self, name: &str) {
        policy(&self.release.site, name);
    }
}

#[test]
fn sec_71_serve_asks_who_signed_however_it_is_started() {
    let Some(python) = support::real::need("python3") else { return };
    let signed = Signed::new();
    let site = &signed.release.site;
    signed.run("sign second.tar --key anna.key");
    // As systemd does it: the socket is descriptor 3, and the process is told so by its id.
    let script = "import os, socket, sys\n\
        s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); os.dup2(s.fileno(), 3); os.set_inheritable(3, True)\n\
        os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.argv[1], sys.argv[1:])";
    site.write("activate.py", script);
    signed.policy("anna");
    let binary = support::cli::binary();
    let ways: [(&str, &[&str]); 4] = [
        ("one bundle", &["release.tar", "--trust", "anna.key.pub"]),
        ("volumes", &["cut.tar.001", "--policy", "policy.yaml"]),
        ("several, the second not signed", &["second.tar", "release.tar", "--trust", "anna.key.pub"]),
        ("keys of a variable", &["release.tar"]),
    ];
    let key = signed.public("anna");
    let start = |arguments: &[&str]| {
        let run = site.octobundle(["serve", "--json", "--listen", "127.0.0.1:0"]).args(arguments);
        if arguments.len() == 1 { run.env("OCTOBUNDLE_TRUST", &key) } else { run }
    };
    let activated = || {
        site.run(&python, ["activate.py"]).arg(&binary).args([
            "serve",
            "release.tar",
            "--json",
            "--policy",
            "policy.yaml",
        ])
    };
    for (way, arguments) in ways {
        let refused = start(arguments).run();
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(TRUST), ""), "{way}: {}", refused.stderr);
        assert!(refused.stderr.contains("is not trusted"), "{way}: {}", refused.stderr);
    }
    activated().run().assert_code(TRUST);
    // The signature of somebody else does not help.
    signed.run("sign release.tar --key eve.key");
    start(ways[0].1).run().assert_code(TRUST);

    signed.run("sign release.tar --key anna.key");
    signed.run("sign cut.tar.001 --key anna.key");
    for (way, arguments) in ways {
        let served = Served::from(start(arguments));
        assert_eq!(served.get("/v2/octoperf/agent/manifests/1").status, 200, "{way}");
    }
    assert_eq!(Served::from(activated()).get("/v2/octoperf/agent/manifests/1").status, 200);
}

#[test]
fn sec_71_a_hangup_asks_again_who_signed() {
    let signed = Signed::new();
    let site = &signed.release.site;
    for bundle in ["release.tar", "second.tar"] {
        signed.run(&format!("sign {bundle} --key anna.key"));
    }
    signed.run("sign second.tar --key eve.key");
    signed.policy("anna");
    let served = Served::start(site, ["release.tar", "second.tar", "--policy", "policy.yaml"]);
    assert_eq!(referrers(&served), 1);
    let agent = agent().content();
    let blob = format!("/v2/octoperf/agent/blobs/{}", agent.blobs.keys().next().unwrap());
    let asked = || {
        ["/v2/octoperf/agent/manifests/1", &blob, "/v2/octoperf/jmeter/manifests/5", "/report/1"]
            .map(|target| served.get(target).status)
    };
    assert_eq!(asked(), [200, 200, 200, 200]);
    // Anna's key is no longer trusted; only the second bundle has another signature that counts.
    signed.policy("eve");
    served.signal(rustix::process::Signal::HUP);
    until("the first bundle is withheld", || served.get(&blob).status == 403);
    assert_eq!(asked(), [403, 403, 200, 403]);
    assert_eq!(served.get(&blob).code(), "DENIED");
    assert_eq!(referrers(&served), 0, "what is not given out is not listed");
    until("it is said", || served.stderr().contains("a bundle is not served any more"));
    assert!(served.stderr().contains("is not trusted"), "{}", served.stderr());

    // A policy that cannot be read changes nothing.
    site.write("policy.yaml", "nonsense");
    served.signal(rustix::process::Signal::HUP);
    until("it is said", || served.stderr().contains("who is trusted stays as it was"));
    assert_eq!(asked(), [403, 403, 200, 403]);
    signed.policy("anna");
    served.signal(rustix::process::Signal::HUP);
    until("both are given out again", || asked() == [200; 4]);
    assert_eq!(referrers(&served), 1);
}

#[test]
fn what_is_given_out_has_the_digest_that_was_asked_for_whichever_bundle_has_it() {
    // Both bundles have the shared layer; the first one's copy goes away with its bundle.
    let shared = TestImage::new("octoperf/one:1").random_layer(7, 200_000);
    let other = TestImage::new("octoperf/two:1").random_layer(7, 200_000).layer(b"two");
    let release = Release::of(&[&shared]);
    release.bundle();
    release.site.write("second.yaml", manifest(&[release.registry.add(&other)]));
    release.site.octobundle(["pull", "second.yaml", "-o", "second.tar", "--quiet"]).run().assert_ok();
    let served = Served::start(&release.site, ["release.tar", "second.tar"]);
    let content = shared.content();
    let (layer, bytes) = content.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let target = format!("/v2/octoperf/one/blobs/{layer}");
    assert_eq!(&digest(&served.get(&target).body), layer);
    fs::rename(release.site.path("release.tar"), release.site.path("away.tar")).unwrap();
    assert!(served.get(&target).body == *bytes, "the other bundle has it too");
    assert_eq!(served.get("/v2/octoperf/one/manifests/1").status, 503, "only the first has this");
    let metrics = served.get("/metrics").text();
    for line in ["octobundle_bundle_readable{bundle=\"1\"} 0", "octobundle_bundle_readable{bundle=\"2\"} 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
}

#[test]
fn servers_with_the_same_bundle_answer_alike() {
    let release = Release::of(&[&agent(), &jmeter()]);
    release.bundle();
    release.site.octobundle(["split", "release.tar", "--volume-size", "100000", "-o", "cut.tar"]).run().assert_ok();
    let servers = [Served::start(&release.site, ["release.tar"]), Served::start(&release.site, ["cut.tar.001"])];
    let content = agent().content();
    let blob = content.blobs.keys().next().unwrap();
    for target in [
        "/v2/".to_owned(),
        "/v2/_catalog?n=1".into(),
        "/v2/octoperf/agent/tags/list".into(),
        "/v2/octoperf/agent/manifests/1".into(),
        format!("/v2/octoperf/agent/manifests/{}", content.root().digest),
        format!("/v2/octoperf/agent/blobs/{blob}"),
        format!("/v2/octoperf/agent/referrers/{}", content.root().digest),
        "/v2/octoperf/none/manifests/1".into(),
    ] {
        let [one, other] = servers.each_ref().map(|served| served.get(&target));
        assert_eq!(one, other, "{target}");
    }
    // A part from one and the rest from the other are the whole, as a load balancer may have it.
    let (layer, bytes) = content.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let target = format!("/v2/octoperf/agent/blobs/{layer}");
    let first = servers[0].ask("GET", &target, &["Range: bytes=0-99999"]);
    let condition = format!("If-Range: {}", first.header("etag"));
    let rest = servers[1].ask("GET", &target, &["Range: bytes=100000-", &condition]);
    assert_eq!((first.status, rest.status), (206, 206));
    assert!([first.body, rest.body].concat() == *bytes);
}

#[test]
fn a_base_lends_nothing_for_a_delta_that_is_withheld() {
    let update = Update::start();
    update.delta();
    let site = &update.release.site;
    for command in ["key new anna.key --no-password", "sign update.tar --key anna.key"] {
        update.run(command).run().assert_ok();
    }
    policy(site, "anna");
    let served = Served::start(site, ["update.tar", "--base", "old.tar", "--policy", "policy.yaml"]);
    let lent = format!("/v2/octoperf/jmeter/blobs/{}", Update::layer(&Update::later()[1], 0));
    let asked = || [&lent, "/v2/octoperf/jmeter/manifests/5"].map(|target| served.get(target).status);
    assert_eq!(asked(), [200, 200]);
    update.run("key new eve.key --no-password").run().assert_ok();
    policy(site, "eve");
    served.signal(rustix::process::Signal::HUP);
    until("nothing of the delta is given out", || asked() == [403, 403]);
}

#[test]
fn a_damaged_copy_in_one_bundle_does_not_hide_the_sound_one_in_another() {
    let image = TestImage::new("octoperf/one:1").random_layer(7, 200_000).random_layer(8, 3 << 20);
    let release = Release::of(&[&image]);
    release.bundle();
    let first = release.site.path("release.tar");
    fs::copy(&first, release.site.path("second.tar")).unwrap();
    let content = image.content();
    let mut blobs: Vec<(&String, &Vec<u8>)> = content.blobs.iter().collect();
    blobs.sort_by_key(|(_, bytes)| bytes.len());
    let [.., (small, small_bytes), (large, large_bytes)] = blobs[..] else { panic!("two layers and more") };
    for bytes in [small_bytes, large_bytes, &content.root().bytes] {
        flip(&first, bytes);
    }
    let target = |digest: &str| format!("/v2/octoperf/one/blobs/{digest}");
    let served = Served::start(&release.site, ["release.tar", "second.tar"]);
    let answer = served.get("/v2/octoperf/one/manifests/1");
    assert!(answer.status == 200 && answer.body == content.root().bytes, "{}", answer.status);
    let answer = served.get(&target(small));
    assert!(answer.status == 200 && answer.body == *small_bytes, "{}", answer.status);
    // What is not checked first is begun from the first bundle, and cut; then its damage is known.
    let mut stream = served.connect();
    write!(stream, "GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", target(large), served.host()).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).ok();
    assert!(got.len() < large_bytes.len(), "{} bytes came", got.len());
    for range in ["Range: bytes=0-", "Range: bytes=3000000-"] {
        let from = if range.ends_with("=0-") { 0 } else { 3_000_000 };
        let answer = served.ask("GET", &target(large), &[range]);
        assert!(answer.status == 206 && answer.body == large_bytes[from..], "{range}: {}", answer.status);
    }
    until("the operator is told", || {
        served.stderr().contains(large.as_str()) && served.stderr().contains(small.as_str())
    });
    assert!(served.stderr().contains("octobundle verify release.tar"), "{}", served.stderr());
    // With everything checked first, nobody notices.
    let served = Served::start(&release.site, ["release.tar", "second.tar", "--verify"]);
    assert!(served.get(&target(large)).body == *large_bytes);
    // Where no other copy is, the damage is told, to a HEAD too.
    let served = Served::start(&release.site, ["release.tar"]);
    for method in ["GET", "HEAD"] {
        assert_eq!(served.ask(method, &target(small), &[]).status, 500, "{method}");
    }
}

#[test]
fn what_refers_to_an_image_is_listed_as_soon_as_it_can_be_read() {
    let release = Release::of(&[&agent(), &signature()]);
    release.bundle();
    let path = release.site.path("release.tar");
    let signed = signature().content().root().clone();
    flip(&path, &signed.bytes);
    let served = Served::start(&release.site, ["release.tar"]);
    assert_eq!(referrers(&served), 0, "what is damaged is not listed");
    assert_eq!(served.get(&format!("/v2/octoperf/agent/manifests/{}", signed.digest)).status, 500);
    flip(&path, &signed.bytes);
    assert_eq!(referrers(&served), 1, "and is when it was mended");
}

#[test]
fn a_bundle_that_is_away_leaves_the_referrers_of_the_others() {
    let release = Release::of(&[&agent(), &signature()]);
    release.bundle();
    release.site.write("second.yaml", manifest(&[release.registry.add(&jmeter())]));
    release.site.octobundle(["pull", "second.yaml", "-o", "second.tar", "--quiet"]).run().assert_ok();
    let (here, away) = (release.site.path("second.tar"), release.site.path("away.tar"));
    let of_jmeter = format!("/v2/octoperf/jmeter/referrers/{}", jmeter().content().root().digest);
    let served = Served::start(&release.site, ["release.tar", "second.tar"]);
    fs::rename(&here, &away).unwrap();
    assert_eq!(referrers(&served), 1);
    assert_eq!(served.get(&of_jmeter).status, 503, "an empty list could be taken for the whole");
    until("the operator is told", || served.stderr().contains("a bundle is away"));
    assert!(served.stderr().contains("put it back where it was"), "{}", served.stderr());
    fs::rename(&away, &here).unwrap();
    assert_eq!(served.get(&of_jmeter).status, 200);
    fs::rename(&here, &away).unwrap();
    assert_eq!(served.get(&of_jmeter).status, 200, "what was read once is known for good");
}
