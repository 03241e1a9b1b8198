//! `octobundle pull`: complete or absent, continued where it stopped, the same bytes for the same lock.

mod support;

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Stdio;

#[cfg(unix)]
use rustix::process::Signal;
use support::cli::Run;
use support::images::{Sample as _, TestImage};
use support::memory_registry::{Access, Fault, MemoryRegistry, Options, Request};
#[cfg(unix)]
use support::mounted::Mounted;
use support::release::{Release, manifest};
use support::until;

const USAGE: i32 = 2;
const NETWORK: i32 = 5;
const NOT_FOUND: i32 = 6;
const INTEGRITY: i32 = 7;
#[cfg(unix)]
const DISK: i32 = 9;
const PARTIAL: i32 = 10;
const LOCKED: i32 = 11;

/// Layers of 1.6 MB and less, above and below what is written at once.
fn agent() -> TestImage {
    TestImage::new("octoperf/agent:1").random_layer(1, 1_600_000).random_layer(2, 400_000).layer(b"small")
}

fn jmeter() -> TestImage {
    TestImage::new("octoperf/jmeter:5").docker().random_layer(2, 400_000).random_layer(3, 200_000)
}

fn slow(bytes_per_second: u64) -> Options {
    Options { bytes_per_second: Some(bytes_per_second), ..Options::default() }
}

/// Digest and bytes of an image's largest layer.
fn largest_layer(image: &TestImage) -> (String, Vec<u8>) {
    image.content().blobs.into_iter().max_by_key(|(_, bytes)| bytes.len()).expect("it has blobs")
}

/// Ranges of successful requests for a blob, `None` for all of it.
fn ranges(registry: &MemoryRegistry, digest: &str) -> Vec<Option<String>> {
    let of_blob = |request: &Request| request.reads_blob() && request.path.ends_with(digest);
    registry.requests().iter().filter(|request| of_blob(request)).map(|r| r.range().map(str::to_owned)).collect()
}

/// Bytes of layers that were handed out.
fn layer_bytes_sent(registry: &MemoryRegistry, images: &[&TestImage]) -> u64 {
    let configs: Vec<String> = images.iter().map(|image| image.config_digest()).collect();
    let of_layer = |request: &&Request| {
        request.reads_blob() && !configs.iter().any(|config| request.path.ends_with(config.as_str()))
    };
    registry.requests().iter().filter(of_layer).map(|request| request.bytes_sent).sum()
}

/// Where a layer's bytes begin in a bundle or its partial file.
fn place_of(file: &[u8], layer: &[u8]) -> usize {
    let start = &layer[..64];
    file.windows(64).position(|window| window == start).expect("the layer is in the file")
}

fn partial_size(release: &Release) -> u64 {
    fs::metadata(release.site.path("release.tar.partial")).map_or(0, |metadata| metadata.len())
}

/// Waits until a run has written a part of the image's largest layer, then kills it.
fn kill_in_the_middle(release: &Release, image: &TestImage) {
    let digest = largest_layer(image).0;
    let run = release.pull("release.tar").spawn();
    let journal = release.site.path("release.tar.partial.journal");
    let claim = digest.trim_start_matches("sha256:");
    until("a part has arrived", || fs::read_to_string(&journal).is_ok_and(|lines| lines.contains(claim)));
    let killed = run.kill();
    // Windows has no signals: who ends a process chooses its code.
    assert_eq!(killed.code, if cfg!(unix) { None } else { Some(1) }, "it was still at work: {}", killed.stderr);
    assert!(!release.site.path("release.tar").exists(), "a killed run leaves no final name");
    assert!(!release.site.path("release.tar.sha256").exists());
}

#[track_caller]
fn assert_sound(release: &Release) {
    release.site.octobundle(["verify", "release.tar"]).run().assert_ok();
    assert!(!release.site.path("release.tar.partial").exists(), "nothing is left over");
    assert!(!release.site.path("release.tar.partial.journal").exists(), "nothing is left over");
}

#[test]
#[cfg(unix)] // the program `sha256sum`
fn the_checksum_beside_the_bundle_is_what_sha256sum_reads() {
    let release = Release::of(&[&agent()]);
    let report = release.pull("release.tar").arg("--json").run().assert_ok().json();
    let checked = release.site.run(Path::new("sha256sum"), ["-c", "release.tar.sha256"]).run().assert_ok();
    assert_eq!(checked.stdout, "release.tar: OK\n");
    let text = String::from_utf8(release.site.read("release.tar.sha256")).expect("it is text");
    assert_eq!(text, format!("{}  release.tar\n", report["sha256"].as_str().expect("it is told")));
    assert_eq!(report["bundle_bytes"], release.site.read("release.tar").len());
    let payload: usize = agent().content().blobs.values().map(Vec::len).sum();
    let config = agent().content().blobs[&agent().config_digest()].len();
    assert_eq!(report["fetched_bytes"], payload - config);
    assert_sound(&release);
}

#[test]
fn layers_that_images_share_travel_and_are_stored_once() {
    let release = Release::of(&[&agent(), &jmeter()]);
    release.bundle();
    let (agent, jmeter) = (agent().content(), jmeter().content());
    let mut blobs = agent.blobs.clone();
    blobs.extend(jmeter.blobs.clone());
    let payload: usize = blobs.values().map(Vec::len).sum();
    assert!(payload as u64 <= release.registry.blob_bytes_sent());
    for digest in blobs.keys() {
        assert_eq!(ranges(&release.registry, digest), [None], "{digest}");
    }
}

#[test]
fn an_output_that_exists_is_refused_and_replaced_only_on_request() {
    let release = Release::of(&[&agent()]);
    release.site.write("release.tar", "an older bundle");
    let refused = release.pull("release.tar").run().assert_code(USAGE);
    assert!(refused.stderr.contains("--replace"), "{}", refused.stderr);
    assert_eq!(release.registry.requests().len(), 0, "it is said before anything is fetched");
    assert_eq!(release.site.read("release.tar"), b"an older bundle");
    release.pull("release.tar").arg("--replace").run().assert_ok();
    assert_sound(&release);
}

#[test]
fn a_replaced_bundle_stays_until_the_new_one_is_whole() {
    let release = Release::of(&[&agent()]);
    release.site.write("release.tar", "an older bundle");
    release.registry.fault(Fault::on("GET", &largest_layer(&agent()).0).times(u32::MAX).answer(404));
    release.pull("release.tar").arg("--replace").run().assert_code(NOT_FOUND);
    assert_eq!(release.site.read("release.tar"), b"an older bundle");
}

#[test]
fn one_lock_gives_one_file_for_any_number_of_jobs() {
    let release = Release::of(&[&agent(), &jmeter()]);
    let pull = |output: &str, jobs: &str| {
        release.pull(output).args(["--jobs", jobs]).run().assert_ok();
        release.site.read(output)
    };
    let first = pull("a.tar", "1");
    for (output, jobs) in [("b.tar", "16"), ("c.tar", "1"), ("d.tar", "16")] {
        assert!(pull(output, jobs) == first, "--jobs {jobs} gives other bytes");
    }
    // Nothing of the day or the machine is inside.
    let mut archive = tar::Archive::new(&first[..]);
    for entry in archive.entries().expect("it is a tar") {
        let header = entry.expect("it is a tar").header().clone();
        let numbers = [header.mtime(), header.uid(), header.gid(), header.mode().map(u64::from)];
        assert_eq!(numbers.map(|number| number.expect("it is written")), [315_532_800, 0, 0, 0o644]);
    }
}

#[test]
fn c_04_a_killed_pull_is_continued_and_only_the_rest_is_fetched() {
    let image = agent();
    let release = Release::served_by(slow(1_500_000), &[&image]);
    kill_in_the_middle(&release, &image);
    release.registry.forget_requests();
    let report = release.pull("release.tar").arg("--json").run().assert_ok().json();
    assert_sound(&release);
    let (digest, bytes) = largest_layer(&image);
    let asked = ranges(&release.registry, &digest);
    let [Some(range)] = &asked[..] else { panic!("one closed range was expected: {asked:?}") };
    let (first, last) = range.trim_start_matches("bytes=").split_once('-').expect("a range has two ends");
    assert_eq!(last.parse(), Ok(bytes.len() - 1), "the range is closed");
    let first: u64 = first.parse().expect("a range begins with a number");
    // One write is claimed at least: a quarter of a MiB.
    assert!(first >= 256 * 1024, "what was written is not asked for again: {range}");
    let total: u64 = image.content().payload() - image.content().blobs[&image.config_digest()].len() as u64;
    let fetched = layer_bytes_sent(&release.registry, &[&image]);
    assert!(fetched + first <= total, "{fetched} + {first} of {total}");
    let told = report["fetched_bytes"].as_u64().expect("it is told");
    assert!(told <= total, "{told} of {total}");
}

#[test]
fn h_18_a_run_that_lost_some_images_is_finished_by_the_same_command() {
    let release = Release::of(&[&agent(), &jmeter()]);
    let (digest, _) = largest_layer(&agent());
    release.registry.fault(Fault::on("GET", &digest).answer(404));
    let part = release.pull("release.tar").arg("--json").run().assert_code(PARTIAL);
    let report = part.json();
    assert_eq!(report["complete"], false);
    assert_eq!(report["failures"][0]["images"], serde_json::json!([release.name(0)]));
    assert_eq!(report["failures"][0]["class"], "not-found");
    assert!(!release.site.path("release.tar").exists());
    release.registry.forget_requests();
    let text = release.pull("release.tar").run().assert_ok().stdout;
    assert!(text.contains("here already"), "{text}");
    let fetched: Vec<String> =
        release.registry.requests().into_iter().filter(Request::reads_blob).map(|r| r.path).collect();
    for content in [jmeter().content()] {
        for layer in content.root().json()["layers"].as_array().expect("it lists layers") {
            let layer = layer["digest"].as_str().expect("a layer has a digest");
            assert!(!fetched.iter().any(|path| path.ends_with(layer)), "{layer} was here already");
        }
    }
    assert_sound(&release);
}

#[test]
fn one_failed_image_of_one_has_its_own_exit_code() {
    let release = Release::of(&[&agent()]);
    release.registry.fault(Fault::on("GET", &largest_layer(&agent()).0).answer(404));
    let failed = release.pull("release.tar").run().assert_code(NOT_FOUND);
    assert!(failed.stderr.contains(release.name(0)), "{}", failed.stderr);
    assert!(failed.stderr.contains(&largest_layer(&agent()).0), "{}", failed.stderr);
}

#[test]
fn fresh_fetches_everything_again() {
    let image = agent();
    let release = Release::served_by(slow(1_500_000), &[&image]);
    kill_in_the_middle(&release, &image);
    release.registry.forget_requests();
    release.pull("release.tar").arg("--fresh").run().assert_ok();
    assert_sound(&release);
    for digest in image.content().blobs.keys() {
        assert_eq!(ranges(&release.registry, digest), [None]);
    }
}

#[test]
fn h_07_a_server_that_ignores_ranges_gets_a_fresh_request() {
    let image = agent();
    let options = Options { ranges: false, ..slow(1_500_000) };
    let release = Release::served_by(options, &[&image]);
    kill_in_the_middle(&release, &image);
    release.pull("release.tar").run().assert_ok();
    assert_sound(&release);
}

#[test]
fn d_11_a_layer_that_was_whole_and_is_damaged_since_is_fetched_again() {
    let release = Release::of(&[&agent(), &jmeter()]);
    let (missing, _) = largest_layer(&agent());
    release.registry.fault(Fault::on("GET", &missing).answer(404));
    release.pull("release.tar").run().assert_code(PARTIAL);
    let (damaged, bytes) = largest_layer(&jmeter());
    let mut partial = release.site.read("release.tar.partial");
    let place = place_of(&partial, &bytes) + bytes.len() / 2;
    partial[place] ^= 0x10;
    release.site.write("release.tar.partial", partial);
    release.registry.forget_requests();
    let run = release.pull("release.tar").run().assert_ok();
    assert!(run.stderr.contains("damaged on this disk"), "{}", run.stderr);
    assert_eq!(ranges(&release.registry, &damaged), [None]);
    assert_sound(&release);
}

#[test]
fn d_11_a_half_layer_that_is_damaged_is_fetched_again() {
    let image = agent();
    let release = Release::served_by(slow(1_500_000), &[&image]);
    kill_in_the_middle(&release, &image);
    let (digest, bytes) = largest_layer(&image);
    let mut partial = release.site.read("release.tar.partial");
    let place = place_of(&partial, &bytes) + 1000;
    partial[place] ^= 1;
    release.site.write("release.tar.partial", partial);
    release.registry.forget_requests();
    release.pull("release.tar").run().assert_ok();
    assert_eq!(ranges(&release.registry, &digest).last(), Some(&None), "all of it came anew");
    assert_sound(&release);
}

#[test]
fn d_11_a_header_of_the_partial_file_that_is_damaged_is_written_again() {
    let release = Release::of(&[&agent(), &jmeter()]);
    release.registry.fault(Fault::on("GET", &largest_layer(&agent()).0).answer(404));
    release.pull("release.tar").run().assert_code(PARTIAL);
    let mut partial = release.site.read("release.tar.partial");
    for byte in &mut partial[..4096] {
        *byte = 0xff;
    }
    release.site.write("release.tar.partial", partial);
    release.pull("release.tar").run().assert_ok();
    assert_sound(&release);
}

#[test]
fn d_11_a_journal_in_any_state_never_makes_a_wrong_bundle() {
    let release = Release::of(&[&agent(), &jmeter()]);
    let expected = release.bundle();
    let (missing, _) = largest_layer(&agent());
    release.registry.fault(Fault::on("GET", &missing).answer(404));
    release.pull("sound.tar").run().assert_code(PARTIAL);
    let partial = release.site.read("sound.tar.partial");
    let journal = String::from_utf8(release.site.read("sound.tar.partial.journal")).expect("it is text");
    let (first, claims) = journal.split_once('\n').expect("it has lines");
    let whole = |digest: &str, size: usize| format!("{} {size}", digest.trim_start_matches("sha256:"));
    let broken = [
        String::new(),
        "garbage\0\u{1}\n".to_owned(),
        first.to_owned(),
        journal[..journal.len() - 3].to_owned(),
        journal[..journal.len() / 2].to_owned(),
        format!("octobundle journal v9 x 1\n{claims}"),
        format!("{first}\nnothing like a claim\n{claims}"),
        format!("{first}\n{}\n", whole(&missing, largest_layer(&agent()).1.len())),
        format!("{journal}\n{}\n", whole(&missing, largest_layer(&agent()).1.len())),
        format!("{journal}\n{}\n", whole(&missing, 700_000)),
        format!("{journal}\n{}\n", whole(&missing, usize::MAX)),
        format!("{journal}\n{} 18446744073709551616\n", whole(&missing, 1).split(' ').next().expect("it is there")),
        format!("{journal}\n{}\n", whole(&support::images::digest(b"no layer of this"), 10)),
        claims.repeat(200) + &journal,
    ];
    for text in broken {
        release.site.write("again.tar.partial", &partial);
        release.site.write("again.tar.partial.journal", &text);
        release.pull("again.tar").arg("--replace").run().assert_ok();
        assert!(release.site.read("again.tar") == expected, "{text:?}");
    }
}

#[test]
fn a_partial_file_of_another_release_is_not_continued() {
    let release = Release::of(&[&agent()]);
    release.registry.fault(Fault::on("GET", &largest_layer(&agent()).0).answer(404));
    release.pull("release.tar").run().assert_code(NOT_FOUND);
    let other = release.registry.add(&jmeter());
    release.site.write("release.yaml", manifest(&[other]));
    release.pull("release.tar").run().assert_ok();
    assert_sound(&release);
    let inspected = release.site.octobundle(["inspect", "release.tar"]).run().assert_ok().stdout;
    assert!(inspected.contains("octoperf/jmeter:5") && !inspected.contains("octoperf/agent"), "{inspected}");
}

#[test]
fn h_04_bytes_that_are_wrong_once_are_fetched_again() {
    let image = agent();
    let release = Release::of(&[&image]);
    let (digest, bytes) = largest_layer(&image);
    for place in [0, bytes.len() / 2, bytes.len() - 1] {
        release.registry.fault(Fault::on("GET", &digest).flip(place));
        let run = release.pull("release.tar").arg("--replace").run().assert_ok();
        assert!(run.stderr.contains("fetched again"), "{}", run.stderr);
        assert_sound(&release);
    }
}

#[test]
fn h_04_bytes_that_are_always_wrong_never_become_a_bundle() {
    let image = agent();
    let (digest, bytes) = largest_layer(&image);
    let mut other = bytes.clone();
    other[700_000] ^= 1;
    let longer = [&bytes[..], b"more"].concat();
    let altered = [other, longer, bytes[..bytes.len() - 1].to_vec(), Vec::new()];
    for served in altered {
        let release = Release::of(&[&image]);
        release.registry.replace_blob(&digest, &served);
        let failed = release.pull("release.tar").args(["--retry-for", "0"]).run();
        assert!(failed.stderr.contains(&digest), "{}", failed.stderr);
        let expected: &[i32] = if served.len() == bytes.len() { &[INTEGRITY] } else { &[INTEGRITY, NETWORK] };
        assert!(expected.contains(&failed.code.expect("it ends by itself")), "{} bytes: {failed:?}", served.len());
        assert!(!release.site.path("release.tar").exists());
        assert!(!release.site.path("release.tar.sha256").exists());
        // Put right, the same command finishes.
        release.registry.replace_blob(&digest, &bytes);
        release.pull("release.tar").run().assert_ok();
        assert_sound(&release);
    }
}

#[test]
fn n_02_a_body_that_is_cut_is_continued_where_it_stopped() {
    let image = agent();
    let release = Release::of(&[&image]);
    let (digest, bytes) = largest_layer(&image);
    release.registry.fault(Fault::on("GET", &digest).cut(700_000));
    release.pull("release.tar").run().assert_ok();
    assert_sound(&release);
    let asked = ranges(&release.registry, &digest);
    assert_eq!(asked.len(), 2, "{asked:?}");
    let range = asked[1].as_deref().expect("the second asks for the rest");
    assert!(range.ends_with(&format!("-{}", bytes.len() - 1)) && !range.starts_with("bytes=0-"), "{range}");
    let sent =
        release.registry.requests().iter().filter(|r| r.path.ends_with(&digest)).map(|r| r.bytes_sent).sum::<u64>();
    assert!(sent <= bytes.len() as u64 + 64 * 1024, "{sent} of {}", bytes.len());
}

#[test]
fn h_01_a_server_in_trouble_is_tried_again() {
    let release = Release::of(&[&agent()]);
    release.registry.fault(Fault::on("GET", "/manifests/").answer(503));
    release.registry.fault(Fault::on("GET", "/blobs/").answer(502));
    release.pull("release.tar").run().assert_ok();
    assert_sound(&release);
}

#[test]
fn c_01_two_runs_do_not_write_one_output() {
    let release = Release::served_by(slow(1_000_000), &[&agent()]);
    let first = release.pull("release.tar").spawn();
    until("the first run has begun", || partial_size(&release) > 0);
    let second = release.pull("release.tar").run().assert_code(LOCKED);
    assert!(second.stderr.contains("release.tar"), "{}", second.stderr);
    first.wait().assert_ok();
    assert_sound(&release);
}

#[test]
fn c_01_and_04_who_waits_for_another_run_goes_on_where_it_was_killed() {
    let release = Release::served_by(slow(1_000_000), &[&agent()]);
    let first = release.pull("release.tar").spawn();
    until("the first run has begun", || partial_size(&release) > 0);
    let said = release.site.path("said");
    let waiting = release.pull("release.tar").args(["--lock-wait", "1h", "--progress", "plain"]);
    let stderr = fs::File::create(&said).expect("files can be made");
    let mut second = waiting.with_streams(Stdio::null(), Stdio::null(), stderr.into());
    let text = || fs::read_to_string(&said).unwrap_or_default();
    until("the second waits", || text().contains("another octobundle is writing it"));
    first.kill();
    release.registry.lift_pace();
    assert!(second.wait().expect("it can be waited for").success(), "{}", text());
    assert_sound(&release);
    // An output that was there from the start is no less safe than without the option.
    let late = release.pull("release.tar").args(["--lock-wait", "1h"]).run().assert_code(USAGE);
    assert!(late.stderr.contains("exists already"), "{}", late.stderr);
}

/// Starts `first` and, while it holds the output, `second`, which waits for it; both go on to their ends. What the second
/// said, its exit code before it.
fn while_the_first_works(release: &Release, first: Run, second: Run) -> (Option<i32>, String, String) {
    let first = first.spawn();
    until("the first run has begun", || release.site.path("release.tar.partial.journal").exists());
    let [stdout, stderr] = ["stdout", "stderr"].map(|name| release.site.path(name));
    let [out, err] = [&stdout, &stderr].map(|path| Stdio::from(fs::File::create(path).expect("files can be made")));
    let second = second.args(["--lock-wait", "1h", "--progress", "plain"]);
    let mut second = second.with_streams(Stdio::null(), out, err);
    let text = |path: &Path| fs::read_to_string(path).expect("it was made above");
    until("the second waits", || text(&stderr).contains("another octobundle is writing it"));
    release.registry.lift_pace();
    first.wait().assert_ok();
    let code = second.wait().expect("it can be waited for").code();
    (code, text(&stdout), text(&stderr))
}

#[test]
fn c_01_who_waits_for_a_run_that_ends_well_has_nothing_left_to_do() {
    for volumes in [false, true] {
        let release = Release::served_by(slow(1_000_000), &[&agent()]);
        let run = || {
            if volumes {
                release.pull("release.tar").args(["--volume-size", "1M"])
            } else {
                release.pull("release.tar")
            }
        };
        let (code, stdout, stderr) = while_the_first_works(&release, run(), run().arg("--json"));
        assert_eq!(code, Some(0), "{stderr}");
        let report: serde_json::Value = serde_json::from_str(&stdout).expect("it is JSON");
        assert_eq!((&report["complete"], &report["by_another_run"]), (&true.into(), &true.into()), "{report:#}");
        assert_eq!(report["fetched_bytes"], 0);
        let told: Vec<(&serde_json::Value, &str)> = if volumes {
            let names = ["release.tar.001", "release.tar.002", "release.tar.003"];
            report["volumes"].as_array().expect("it is a list").iter().map(|one| &one["sha256"]).zip(names).collect()
        } else {
            vec![(&report["sha256"], "release.tar")]
        };
        assert_eq!(told.len(), if volumes { 3 } else { 1 }, "{report:#}");
        for (sha256, name) in told {
            let line = format!("{}  {name}\n", sha256.as_str().expect("it is text"));
            if cfg!(unix) {
                let real = release.site.run(Path::new("sha256sum"), [name]).run().assert_ok();
                assert_eq!(real.stdout, line);
            }
        }
        assert_sound(&release);
    }
}

#[test]
fn c_01_who_waits_for_a_run_that_makes_something_else_is_told_what_differs() {
    let extra = TestImage::new("octoperf/extra:1").layer(b"extra");
    let release = Release::served_by(slow(1_000_000), &[&agent()]);
    let names = [release.name(0).to_owned(), release.registry.add(&extra)];
    release.site.write("other.yaml", manifest(&names));
    let other = release.site.octobundle(["pull", "other.yaml", "-o", "release.tar"]);
    let (code, _, stderr) = while_the_first_works(&release, release.pull("release.tar"), other);
    assert_eq!(code, Some(USAGE), "{stderr}");
    let said =
        format!("another run finished `release.tar` meanwhile, and it is another bundle: `{}` is not in it", names[1]);
    assert!(stderr.contains(&said), "{stderr}");
    assert_sound(&release);
}

#[test]
fn c_01_who_waits_for_volumes_and_gets_one_file_is_told() {
    let release = Release::served_by(slow(1_000_000), &[&agent()]);
    let cut = release.pull("release.tar").args(["--volume-size", "1M"]);
    let (code, _, stderr) = while_the_first_works(&release, release.pull("release.tar"), cut);
    assert_eq!(code, Some(USAGE), "{stderr}");
    assert!(stderr.contains("it is one file, not volumes of 1000000 bytes"), "{stderr}");
}

#[test]
#[cfg(unix)] // symbolic links and devices
fn d_06_an_output_that_cannot_be_a_file_is_refused_before_any_request() {
    let release = Release::of(&[&agent()]);
    fs::create_dir(release.site.path("folder")).expect("folders can be made");
    release.site.write("target", "");
    symlink("target", release.site.path("link.tar")).expect("links can be made");
    symlink("nowhere", release.site.path("dangling.tar")).expect("links can be made");
    for (output, code, expected) in [
        ("folder", USAGE, "a folder"),
        ("link.tar", USAGE, "a symbolic link"),
        ("dangling.tar", USAGE, "a symbolic link"),
        ("/dev/null", USAGE, "a device"),
        ("missing/release.tar", NOT_FOUND, "missing"),
        ("target/release.tar", DISK, "target"),
    ] {
        for flags in [&[][..], &["--replace"]] {
            let failed = release.pull(output).args(flags).run();
            assert!(failed.stderr.contains(expected) && failed.stderr.contains("help:"), "{output}: {}", failed.stderr);
            failed.assert_code(code);
        }
    }
    assert_eq!(release.registry.requests().len(), 0);
    assert!(!release.site.path("nowhere").exists());
}

#[test]
#[cfg(unix)] // symbolic links and pipes with a name
fn d_06_a_link_or_pipe_planted_under_the_partial_name_is_refused() {
    for planted in ["release.tar.partial", "release.tar.partial.journal"] {
        let release = Release::of(&[&agent()]);
        release.site.write("precious", "do not touch");
        symlink("precious", release.site.path(planted)).expect("links can be made");
        let refused = release.pull("release.tar").run().assert_code(USAGE);
        assert!(refused.stderr.contains(planted), "{}", refused.stderr);
        assert_eq!(release.site.read("precious"), b"do not touch", "{planted}");
        fs::remove_file(release.site.path(planted)).expect("own links can be removed");
        release.site.run(Path::new("mkfifo"), [planted]).run().assert_ok();
        release.pull("release.tar").run().assert_code(USAGE);
    }
}

#[test]
#[cfg(unix)] // a shell's `ulimit`
fn d_05_a_file_larger_than_this_process_may_write_is_refused_first() {
    let release = Release::of(&[&agent()]);
    let script = format!("ulimit -f 100; exec '{}' pull release.yaml -o release.tar", support::cli::binary().display());
    let failed = release.site.run(Path::new("sh"), ["-c", &script]).run().assert_code(DISK);
    assert!(failed.stderr.contains("ulimit -f"), "{}", failed.stderr);
    assert_eq!(layer_bytes_sent(&release.registry, &[&agent()]), 0, "no layer was fetched for it");
    assert!(!release.site.path("release.tar").exists());
}

#[test]
#[cfg(unix)] // a mounted file system
fn d_03_a_disk_that_is_too_small_is_named_with_what_is_needed_and_free() {
    let release = Release::of(&[&agent()]);
    let Some(small) = Mounted::tmpfs(release.site.path("small"), "size=1m") else { return };
    let failed = release.pull("small/release.tar").run().assert_code(DISK);
    let needed = release.resolve().arg("--json").run().json()["bundle_bytes"].to_string();
    assert!(failed.stderr.contains(&needed) && failed.stderr.contains("are free"), "{needed}: {}", failed.stderr);
    assert_eq!(layer_bytes_sent(&release.registry, &[&agent()]), 0, "no layer was fetched for it");
    drop(small);
}

#[test]
#[cfg(unix)] // a mounted file system
fn u_13_a_bundle_is_used_from_media_that_nothing_can_write_to() {
    let release = Release::of(&[&agent()]);
    let Some(stick) = Mounted::tmpfs(release.site.path("stick"), "size=32m") else { return };
    release.pull("stick/release.tar").run().assert_ok();
    release.pull("stick/cut.tar").args(["--volume-size", "70000"]).run().assert_ok();
    assert!(stick.0.join("cut.tar.002").exists());
    let read_only = std::process::Command::new("mount").args(["-o", "remount,ro"]).arg(&stick.0).status();
    assert!(read_only.is_ok_and(|status| status.success()), "the stick is read-only now");
    assert!(std::fs::write(stick.0.join("mark"), "").is_err(), "nothing can be written there");
    release.site.write("token", "secret");
    let private = MemoryRegistry::start();
    let registry = format!("{}/tools", private.host());
    for bundle in ["stick/release.tar", "stick/cut.tar"] {
        for words in [
            vec!["verify", bundle],
            vec!["inspect", bundle],
            vec!["push", bundle, "--registry", &registry],
            vec!["render", "agent", bundle, "--registry", &registry, "--server-url", "https://octoperf.corp"]
                .into_iter()
                .chain(["--name", "agent-1", "--token-file", "token", "--replace"])
                .collect(),
        ] {
            release.site.octobundle(words).run().assert_ok();
        }
    }
    drop(stick);
}

#[test]
#[cfg(unix)] // signals
fn d_08_an_interrupted_run_ends_at_once_and_can_be_continued() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let release = Release::served_by(slow(700_000), &[&agent()]);
        let run = release.pull("release.tar").spawn();
        until("layers arrive", || release.registry.blob_bytes_sent() > 100_000 && partial_size(&release) > 0);
        run.signal(signal);
        let stopped = run.wait().assert_code(code);
        assert!(stopped.stderr.contains("the same command continues"), "{}", stopped.stderr);
        // It did not wait for the layers.
        assert!(!release.site.path("release.tar").exists());
        release.pull("release.tar").run().assert_ok();
        assert_sound(&release);
    }
}

#[test]
#[cfg(unix)] // signals
fn a_stop_is_told_in_json_where_errors_are() {
    let release = Release::served_by(slow(200_000), &[&agent()]);
    let run = release.pull("release.tar").args(["--json", "--progress", "none"]).spawn();
    until("layers arrive", || release.registry.blob_bytes_sent() > 50_000);
    run.signal(Signal::TERM);
    let stopped = run.wait().assert_code(143);
    assert_eq!(stopped.stdout, "");
    let told: serde_json::Value = serde_json::from_str(&stopped.stderr).expect("one line of JSON");
    assert_eq!((&told["command"], &told["error"]["class"]), (&"error".into(), &"interrupted".into()));
    assert_eq!(told["error"]["exit_code"], 143);
    assert!(told["error"]["help"].as_str().expect("it can be continued").contains("same command"), "{told}");
}

#[test]
#[cfg(unix)] // a shell's `umask`
fn sec_47_files_are_as_readable_as_the_user_wants_new_files_to_be() {
    for (mask, mode) in [("000", 0o666), ("022", 0o644), ("077", 0o600), ("002", 0o664)] {
        let release = Release::of(&[&agent()]);
        let binary = support::cli::binary();
        let script = format!(
            "umask {mask}; '{0}' resolve release.yaml --lock release.lock && exec '{0}' pull release.yaml -o release.tar",
            binary.display()
        );
        release.site.run(Path::new("sh"), ["-c", &script]).run().assert_ok();
        for name in ["release.tar", "release.tar.sha256", "release.lock"] {
            let metadata = fs::metadata(release.site.path(name)).expect("it was written");
            assert_eq!(metadata.permissions().mode() & 0o777, mode, "{name} with umask {mask}");
        }
    }
}

#[test]
fn sec_64_a_bundle_tells_nothing_of_the_machine_that_made_it() {
    const USER: &str = "canary-user";
    const PASSWORD: &str = "canary-password";
    let login = Access::Basic { user: USER.into(), password: PASSWORD.into() };
    // Above one piece, so that everything that can stand beside a bundle does.
    let large = TestImage::new("octoperf/agent:1").random_layer(1, 4_300_000);
    let release = Release::served_by(Options { access: login, ..Options::default() }, &[&large]);
    let host = release.registry.host();
    let word = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("{USER}:{PASSWORD}"));
    let config = serde_json::json!({ "auths": { &host: { "auth": word } } }).to_string();
    release.site.write(".docker/config.json", config);
    let pull = |output: &str| {
        let run = release.pull(output).env("NO_PROXY", "127.0.0.1");
        run.env("HTTPS_PROXY", "http://canary-proxy-user:canary-proxy@canary-proxy.corp:3128").env("USER", USER)
    };
    pull("release.tar").run().assert_ok();
    pull("cut.tar").args(["--volume-size", "3000000"]).run().assert_ok();
    release.site.octobundle(["key", "new", "site.key", "--no-password"]).run().assert_ok();
    release.site.octobundle(["sign", "release.tar", "--key", "site.key"]).env("USER", USER).run().assert_ok();
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    let place = release.site.path("").display().to_string();
    let place = place.trim_end_matches('/');
    let folder = place.rsplit('/').next().expect("it has a name");
    let mut seen = 0;
    for entry in fs::read_dir(release.site.path("")).expect("it can be listed").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("release.tar") && !name.starts_with("release.pieces") && !name.starts_with("cut") {
            continue;
        }
        seen += 1;
        let content = fs::read(entry.path()).expect("it can be read");
        for secret in ["canary", &word, place, folder, &machine].into_iter().filter(|secret| secret.len() > 3) {
            let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{name} tells `{secret}`");
        }
    }
    // Bundle, checksum, list of pieces, signature; two volumes, their checksums, description and list of pieces.
    assert_eq!(seen, 9);
}

#[test]
fn a_dry_run_writes_nothing_and_fetches_no_layer() {
    let release = Release::of(&[&agent()]);
    let report = release.pull("release.tar").args(["--dry-run", "--json"]).run().assert_ok().json();
    assert_eq!((&report["complete"], &report["dry_run"]), (&false.into(), &true.into()));
    assert_eq!(layer_bytes_sent(&release.registry, &[&agent()]), 0);
    let names: Vec<_> = fs::read_dir(release.site.path(".")).expect("it can be listed").flatten().collect();
    assert_eq!(names.len(), 1, "only the manifest is there: {names:?}");
    let expected = release.bundle().len();
    assert_eq!(report["bundle_bytes"], expected);
}

#[test]
fn no_more_blobs_travel_at_a_time_than_asked_for() {
    let many = (0..12).fold(TestImage::new("octoperf/many:1"), |image, seed| image.random_layer(seed, 50_000));
    for jobs in [1, 3] {
        let release = Release::served_by(slow(2_000_000), &[&many]);
        release.pull("release.tar").args(["--jobs", &jobs.to_string()]).run().assert_ok();
        assert_eq!(release.registry.most_transfers_at_once(), jobs);
    }
    Release::of(&[&many]).pull("release.tar").args(["--jobs", "0"]).run().assert_code(USAGE);
}
