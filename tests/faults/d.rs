//! D: what disks and machines do. System calls fail, or end the process, where `strace` is told so.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::kit::{DISK, NOT_FOUND, USAGE};
use crate::support::cli::{Run, binary};
use crate::support::images::{Sample as _, TestImage};
use crate::support::memory_registry::{Fault, Options};
use crate::support::mounted::Mounted;
use crate::support::release::Release;
use crate::support::{real, until};

/// Set to try every system call instead of a sample; `scripts/acceptance/every_call.sh` does.
const EXHAUSTIVE: &str = "OCTOBUNDLE_EVERY_CALL";

/// Two layers, above and below what is written at once.
fn mini() -> TestImage {
    TestImage::new("octoperf/agent:1").random_layer(1, 1_200_000).layer(b"small")
}

/// The command under `strace`, on one worker so that the n-th call of a thread is about the same one on each run.
fn traced(release: &Release, options: &[&str], arguments: &[&str]) -> Run {
    release
        .site
        .run(Path::new("strace"), ["-f", "-qq", "-y", "-o", "trace"])
        .args(options)
        .arg(binary())
        .args(arguments)
        .env("TOKIO_WORKER_THREADS", "1")
}

const PULL: &[&str] = &["pull", "release.yaml", "-o", "release.tar"];

fn pull_with(release: &Release, call: &str, inject: &str) -> Run {
    traced(release, &["-e", &format!("trace={call}"), "-e", &format!("inject={call}:{inject}")], PULL)
}

/// What stands in the folder beside what the test put there.
fn left_in(release: &Release) -> BTreeSet<String> {
    let own = ["release.yaml", "trace", "messages"];
    let names = fs::read_dir(release.site.path(".")).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.to_string_lossy().into_owned()).filter(|name| !own.contains(&name.as_str())).collect()
}

fn remove(release: &Release, names: &[&str]) {
    for name in names {
        let _ = fs::remove_file(release.site.path(name));
    }
}

/// Runs the same command to its end and holds the bundle against what it must be.
#[track_caller]
fn assert_completes(release: &Release, expected: &[u8], what: &str) {
    release.pull("release.tar").run().assert_ok();
    assert!(release.site.read("release.tar") == expected, "{what}: the bundle has other bytes");
    let left = left_in(release);
    assert_eq!(left, ["release.tar", "release.tar.sha256"].map(str::to_owned).into(), "{what}");
    remove(release, &["release.tar", "release.tar.sha256"]);
}

/// A release with the bytes of its bundle, which is not there.
fn prepared(image: &TestImage) -> (Release, Vec<u8>) {
    let release = Release::of(&[image]);
    let expected = release.bundle();
    remove(&release, &["release.tar", "release.tar.sha256"]);
    (release, expected)
}

#[test]
fn d_01_a_process_that_is_killed_at_any_call_leaves_the_bundle_whole_or_absent() {
    if real::need("strace").is_none() {
        return;
    }
    let every = std::env::var_os(EXHAUSTIVE).is_some();
    let (release, expected) = prepared(&mini());
    let mut kills = 0;
    for call in ["openat", "write", "pwrite64", "fallocate", "fsync", "ftruncate", "rename", "renameat2", "unlink"] {
        let mut number = 1_u32;
        loop {
            let what = format!("{call} {number}");
            let run = pull_with(&release, call, &format!("signal=KILL:when={number}")).run();
            if run.code.is_some() {
                // No thread makes that many.
                run.assert_ok();
                remove(&release, &["release.tar", "release.tar.sha256"]);
                break;
            }
            kills += 1;
            if release.site.path("release.tar").exists() {
                release.site.octobundle(["verify", "release.tar"]).run().assert_ok();
                assert!(release.site.read("release.tar") == expected, "{what}");
                let left: Vec<_> = left_in(&release).into_iter().filter(|name| name.contains("partial")).collect();
                assert!(left.len() <= 1, "{what}: {left:?}");
                remove(&release, &["release.tar"]);
            }
            assert_completes(&release, &expected, &what);
            number = if every { number + 1 } else { number + number.div_ceil(2) };
        }
    }
    assert!(kills >= 20, "only {kills} calls were met");
}

/// Volumes get several names, one after the other: a run that is stopped in between is continued like any other.
#[test]
fn d_01_a_pull_that_is_killed_while_volumes_get_their_names_leaves_the_set_whole_or_refused() {
    const VOLUMES: &[&str] = &["pull", "release.yaml", "-o", "set/release.tar", "--volume-size", "400000"];
    if real::need("strace").is_none() {
        return;
    }
    let every = std::env::var_os(EXHAUSTIVE).is_some();
    let (release, expected) = prepared(&mini());
    let set = release.site.path("set");
    let bytes = || {
        let volume = |number| fs::read(set.join(format!("release.tar.{number:03}"))).unwrap_or_default();
        (1..=4).flat_map(volume).collect::<Vec<u8>>()
    };
    let names = || {
        let names = fs::read_dir(&set).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<BTreeSet<String>>()
    };
    let whole = ["001", "002", "003", "004"].map(|number| format!("release.tar.{number}"));
    let whole: BTreeSet<String> =
        whole.into_iter().chain(["release.sha256", "release.volumes.json"].map(str::to_owned)).collect();
    let mut between = 0;
    for call in ["fsync", "rename", "renameat2", "unlink"] {
        for number in 1_u32.. {
            let what = format!("{call} {number}");
            drop(fs::remove_dir_all(&set));
            fs::create_dir(&set).unwrap();
            let inject = format!("inject={call}:signal=KILL:when={number}");
            let run = traced(&release, &["-e", &format!("trace={call}"), "-e", &inject], VOLUMES).run();
            let ended = run.code.is_some();
            let there = names();
            if there.contains("release.volumes.json") {
                release.site.octobundle(["verify", "set/release.tar"]).run().assert_ok();
            } else {
                between += usize::from(there.contains("release.tar.001"));
                let looked = release.site.octobundle(["verify", "set"]).run();
                // All volumes without their description are the bundle too.
                let sound = looked.code == Some(0);
                assert!(
                    looked.code.is_some() && (!sound || bytes() == expected),
                    "{what}: {there:?} passes for a bundle"
                );
                release.site.octobundle(VOLUMES).run().assert_ok();
                assert_eq!(names(), whole, "{what}");
            }
            assert!(bytes() == expected, "{what}: the volumes have other bytes");
            // No thread makes that many.
            if ended {
                run.assert_ok();
                break;
            }
            if !every && number >= 12 {
                break;
            }
        }
    }
    assert!(between > 0, "no run was stopped between the names");
}

#[test]
fn d_02_the_bundle_is_on_the_disk_before_it_has_its_name_and_the_name_before_the_end() {
    if real::need("strace").is_none() {
        return;
    }
    let (release, _) = prepared(&mini());
    traced(&release, &["-e", "trace=pwrite64,fsync,fdatasync,renameat2,rename"], PULL).run().assert_ok();
    let trace = String::from_utf8(release.site.read("trace")).unwrap();
    let lines: Vec<&str> = trace.lines().collect();
    let last = |part: &[&str]| {
        lines
            .iter()
            .rposition(|line| part.iter().all(|part| line.contains(part)))
            .unwrap_or_else(|| panic!("{part:?}\n{trace}"))
    };
    let written = last(&["pwrite64(", "release.tar.partial>"]);
    let synced = last(&["sync(", "release.tar.partial>"]);
    let named = last(&["rename", "release.tar.partial\"", "release.tar\""]);
    let folder = release.site.path("").canonicalize().unwrap();
    let folder = format!("{}>", folder.display());
    let folder_synced = last(&["fsync(", &folder]);
    assert!(written < synced && synced < named && named < folder_synced, "{trace}");
}

#[test]
fn d_03_a_disk_that_fills_up_at_any_step_is_named_and_the_rerun_finishes() {
    if real::need("strace").is_none() {
        return;
    }
    let (release, expected) = prepared(&mini());
    for (call, inject) in [
        ("fallocate", "error=ENOSPC"),
        ("pwrite64", "error=ENOSPC"),
        ("pwrite64", "error=ENOSPC:when=2+"),
        ("pwrite64", "error=EDQUOT:when=2+"),
        ("fsync", "error=ENOSPC"),
        ("renameat2,rename", "error=ENOSPC"),
    ] {
        let what = format!("{call} {inject}");
        let failed = pull_with(&release, call, inject).run();
        assert_eq!(failed.code, Some(DISK), "{what}: {}", failed.stderr);
        let named = failed.stderr.contains("release.tar") || failed.stderr.contains("bytes are free");
        assert!(named && failed.stderr.contains("help:"), "{what}: {}", failed.stderr);
        assert!(!release.site.path("release.tar").exists(), "{what}");
        assert_completes(&release, &expected, &what);
    }
}

#[test]
fn d_04_an_error_of_the_disk_is_never_taken_for_success() {
    if real::need("strace").is_none() {
        return;
    }
    let (release, expected) = prepared(&mini());
    for (call, inject) in [
        ("pwrite64", "error=EIO:when=2+"),
        ("pread64", "error=EIO"),
        ("fsync", "error=EIO"),
        // Only once: a second call would succeed though the bytes are lost.
        ("fsync", "error=EIO:when=1"),
    ] {
        let what = format!("{call} {inject}");
        // Only on this file: whoever starts a process reads libraries by the same call.
        let inject = format!("inject={call}:{inject}");
        let partial = release.site.path("").canonicalize().unwrap().join("release.tar.partial").display().to_string();
        let options = ["-P", &partial, "-e", &format!("trace={call}"), "-e", &inject];
        let failed = traced(&release, &options, PULL).run();
        assert_eq!(failed.code, Some(DISK), "{what}: {}", failed.stderr);
        assert!(failed.stderr.contains("release.tar"), "{what}: {}", failed.stderr);
        assert!(!release.site.path("release.tar").exists(), "{what}");
        assert_completes(&release, &expected, &what);
    }
    release.pull("release.tar").run().assert_ok();
    let options = ["-P", "release.tar", "-e", "trace=pread64,read", "-e", "inject=pread64,read:error=EIO"];
    let failed = traced(&release, &options, &["verify", "release.tar"]).run().assert_code(DISK);
    assert!(failed.stderr.contains("release.tar"), "{}", failed.stderr);
}

#[test]
fn d_03_a_medium_without_room_for_what_comes_beside_a_bundle_is_told_before_anything_is_written() {
    if !real::need_root("a small file system") {
        return;
    }
    let release = Release::of(&[&mini()]);
    let room = release.bundle().len() / 1024 + 100;
    let Some(small) = Mounted::tmpfs(release.site.path("small"), &format!("size={room}k")) else { return };
    let refused = release.site.octobundle(["copy", "release.tar", "small"]).run().assert_code(DISK);
    assert!(refused.stderr.contains("bytes are free"), "{}", refused.stderr);
    let written = fs::metadata(small.0.join("release.tar.partial")).map_or(0, |file| file.len());
    assert_eq!(written, 0);
}

#[test]
fn d_03_a_disk_that_others_fill_meanwhile_has_the_space_reserved() {
    let image = mini();
    let release = Release::served_by(Options { bytes_per_second: Some(1_500_000), ..Options::default() }, &[&image]);
    let Some(small) = Mounted::tmpfs(release.site.path("small"), "size=3m") else { return };
    let run = release.pull("small/release.tar").spawn();
    until("the space is taken", || fs::metadata(small.0.join("release.tar.partial")).is_ok_and(|file| file.len() > 0));
    until("layers arrive", || release.registry.blob_bytes_sent() > 100_000);
    let filled = fs::write(small.0.join("filler"), vec![0; 4_000_000]);
    assert!(filled.is_err(), "the disk is full now");
    // Somewhat later a few bytes are wanted for journal and checksum.
    fs::remove_file(small.0.join("filler")).unwrap();
    run.wait().assert_ok();
    release.site.octobundle(["verify", "small/release.tar"]).run().assert_ok();
}

#[test]
fn d_06_a_folder_that_takes_no_files_is_refused_before_any_request() {
    let release = Release::of(&[&mini()]);
    let Some(_mounted) = Mounted::tmpfs(release.site.path("sealed"), "ro,size=1m") else { return };
    let failed = release.pull("sealed/release.tar").run().assert_code(DISK);
    assert!(failed.stderr.contains("sealed") && failed.stderr.contains("Read-only"), "{}", failed.stderr);
    assert!(failed.stderr.contains("help:"), "{}", failed.stderr);
    assert_eq!(release.registry.requests().len(), 0);
}

#[test]
fn d_06_a_file_that_may_not_be_opened_is_named() {
    if real::need("strace").is_none() {
        return;
    }
    let (release, expected) = prepared(&mini());
    for error in ["EACCES", "EROFS", "EPERM"] {
        let inject = format!("inject=openat:error={error}");
        let options = ["-P", "release.tar.partial", "-e", "trace=openat", "-e", &inject];
        let failed = traced(&release, &options, PULL).run().assert_code(DISK);
        assert!(failed.stderr.contains("release.tar.partial"), "{}", failed.stderr);
        assert_completes(&release, &expected, error);
    }
}

fn shell(release: &Release, script: &str) -> Run {
    release.site.run(Path::new("sh"), ["-c", script, "sh"]).arg(binary())
}

#[test]
fn d_07_a_closed_or_full_output_is_an_error_and_no_panic() {
    let release = Release::of(&[&mini()]);
    release.bundle();
    for command in
        ["releases", "schema", "inspect release.tar", "resolve release.yaml --json", "completions bash", "--help"]
    {
        for broken in [">/dev/full", ">&-", ">/dev/full 2>&1", "2>&-", "2>/dev/full", ">&- 2>&-"] {
            let run = shell(&release, &format!("\"$1\" {command} {broken}")).run();
            let code = run.code.expect("it ends by itself");
            assert!(!run.stderr.contains("panicked") && code != 101 && code != 134, "{command} {broken}: {run:?}");
            if broken.starts_with(">/dev/full") {
                assert_ne!(code, 0, "{command} {broken}: what was asked for did not arrive");
            }
            if broken.starts_with('2') {
                assert_eq!(code, 0, "{command} {broken}: {run:?}");
            }
        }
    }
}

#[test]
fn d_08_a_reader_that_goes_away_ends_the_command_quietly() {
    let release = Release::of(&[&mini()]);
    let run = shell(&release, "\"$1\" schema | head -c 10 >/dev/null; \"$1\" releases | true").run().assert_ok();
    assert_eq!(run.stderr, "");
}

#[test]
fn d_08_hanging_up_and_asking_twice_end_it_too() {
    // A minute for the whole, so that it is not over before the signal on any machine.
    let slow = Options { bytes_per_second: Some(10_000), ..Options::default() };
    for (signals, codes) in [
        (&[Signal::HUP][..], &[Some(129)][..]),
        (&[Signal::INT, Signal::INT], &[Some(130), None]),
        (&[Signal::TERM, Signal::INT, Signal::TERM], &[Some(143), Some(130), None]),
    ] {
        let release = Release::served_by(slow.clone(), &[&mini()]);
        let run = release.pull("release.tar").spawn();
        until("layers arrive", || release.registry.blob_bytes_sent() > 10_000);
        let begun = Instant::now();
        for signal in signals {
            run.signal(*signal);
        }
        let ended = run.wait();
        assert!(begun.elapsed() < Duration::from_secs(20), "{signals:?}: {:?}", begun.elapsed());
        assert!(codes.contains(&ended.code), "{signals:?}: {ended:?}");
        assert!(!release.site.path("release.tar").exists());
    }
}

#[test]
fn d_09_few_file_descriptors_are_enough() {
    let many = (0..40).fold(TestImage::new("octoperf/many:1"), |image, seed| image.random_layer(seed, 20_000));
    let release = Release::of(&[&many]);
    let script = "ulimit -n 64; exec \"$1\" pull release.yaml -o release.tar --jobs 16";
    shell(&release, script).run().assert_ok();
    shell(&release, "ulimit -n 64; exec \"$1\" verify release.tar").run().assert_ok();
}

#[test]
fn d_09_when_there_are_too_few_it_is_said_and_nothing_is_lost() {
    let many = (0..40).fold(TestImage::new("octoperf/many:1"), |image, seed| image.random_layer(seed, 20_000));
    let release = Release::of(&[&many]);
    for limit in [8, 12, 16, 20, 24] {
        let script = format!("ulimit -n {limit}; exec \"$1\" pull release.yaml -o release.tar --jobs 16 --retry-for 1");
        let run = shell(&release, &script).run();
        assert!(!run.stderr.contains("panicked"), "{limit}: {}", run.stderr);
        assert_eq!(run.code == Some(0), release.site.path("release.tar").exists(), "{limit}: {run:?}");
        remove(&release, &["release.tar", "release.tar.sha256"]);
    }
    release.pull("release.tar").run().assert_ok();
    release.site.octobundle(["verify", "release.tar"]).run().assert_ok();
}

/// The most memory that a process has held so far, in bytes.
fn peak_memory(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

#[test]
fn d_10_memory_does_not_grow_with_the_bundle() {
    let large = TestImage::new("octoperf/large:1").random_layer(1, 90_000_000).random_layer(2, 90_000_000);
    let release = Release::of(&[&large]);
    let mut peak = 0;
    for arguments in [PULL, &["verify", "release.tar"]] {
        let mut run = release.site.octobundle(arguments).spawn();
        until("it has ended", || {
            peak = peak.max(peak_memory(run.id()).unwrap_or(0));
            run.has_ended()
        });
        run.wait().assert_ok();
    }
    assert!(fs::metadata(release.site.path("release.tar")).unwrap().len() > 180_000_000);
    // 64 MiB and 2 MiB for each of 8 streams.
    assert!(peak > 0 && peak < 80 * 1024 * 1024, "{peak}");
}

#[test]
fn d_12_a_partial_file_that_is_taken_away_becomes_no_bundle() {
    let slow = Options { bytes_per_second: Some(1_000_000), ..Options::default() };
    for taken in [
        &["release.tar.partial"][..],
        &["release.tar.partial.journal"],
        &["release.tar.partial", "release.tar.partial.journal"],
    ] {
        let release = Release::served_by(slow.clone(), &[&mini()]);
        let run = release.pull("release.tar").spawn();
        until("layers arrive", || release.registry.blob_bytes_sent() > 100_000);
        remove(&release, taken);
        let ended = run.wait();
        if ended.code == Some(0) {
            assert_eq!(taken, ["release.tar.partial.journal"], "only the journal can be done without");
        } else {
            assert!([Some(DISK), Some(NOT_FOUND)].contains(&ended.code), "{taken:?}: {ended:?}");
            assert!(!release.site.path("release.tar").exists(), "{taken:?}");
            release.pull("release.tar").run().assert_ok();
        }
        release.site.octobundle(["verify", "release.tar"]).run().assert_ok();
        assert_eq!(left_in(&release).len(), 2, "{taken:?}: {:?}", left_in(&release));
    }
}

#[test]
fn d_13_a_process_that_slept_goes_on_where_it_was() {
    let image = mini();
    let release = Release::served_by(Options { bytes_per_second: Some(800_000), ..Options::default() }, &[&image]);
    let largest = image.content().blobs.into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0;
    // What was on its way when the machine fell asleep is gone when it wakes up.
    release.registry.fault(Fault::on("GET", &largest).cut(600_000));
    let run = release.pull("release.tar").spawn();
    until("layers arrive", || release.registry.blob_bytes_sent() > 100_000);
    run.signal(Signal::STOP);
    until("the line is cut meanwhile", || {
        release.registry.requests().iter().any(|seen| seen.path.ends_with(&largest) && seen.bytes_sent >= 600_000)
    });
    run.signal(Signal::CONT);
    run.wait().assert_ok();
    let asked = release.registry.requests().iter().filter(|seen| seen.path.ends_with(&largest)).count();
    assert_eq!(asked, 2, "once before and once after");
    release.site.octobundle(["verify", "release.tar"]).run().assert_ok();
}

#[test]
fn d_14_every_name_of_a_file_works_or_is_refused_cleanly() {
    let release = Release::of(&[&TestImage::new("octoperf/agent:1").layer(b"small")]);
    let not_utf8 = OsString::from_vec(b"not-\xff-text.tar".to_vec());
    let works: [&OsStr; 6] = [
        "with spaces and 'quotes\".tar".as_ref(),
        "📦.tar".as_ref(),
        "новый.tar".as_ref(),
        "-v".as_ref(),
        "new\nline.tar".as_ref(),
        &not_utf8,
    ];
    for name in works {
        let path = Path::new(".").join(name);
        release
            .site
            .octobundle([OsStr::new("pull"), "release.yaml".as_ref(), "-o".as_ref(), path.as_ref()])
            .run()
            .assert_ok();
        release.site.octobundle([OsStr::new("verify"), path.as_ref()]).run().assert_ok();
        release.site.octobundle([OsStr::new("inspect"), path.as_ref(), "--json".as_ref()]).run().assert_ok();
    }
    let long = "x".repeat(255);
    let deep = "d/".repeat(2_100) + "release.tar";
    for name in [long.as_str(), &deep, &"y".repeat(250)] {
        let refused = release.site.octobundle(["pull", "release.yaml", "-o", name]).run();
        assert!(
            [Some(USAGE), Some(DISK), Some(NOT_FOUND)].contains(&refused.code),
            "{}: {}",
            name.len(),
            refused.stderr
        );
        assert!(refused.stderr.contains("error:") && !refused.stderr.contains("panicked"), "{}", refused.stderr);
    }
    assert!(
        fs::read_dir(release.site.path(".")).unwrap().all(|entry| entry.unwrap().file_name().as_bytes().len() < 200)
    );
}
