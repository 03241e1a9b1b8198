//! `octobundle copy`: what is under its name on the medium was read back from there, and whoever has only the medium can
//! check and load it.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use support::cli::{Output, Run, binary};
use support::images::{TestImage, digest};
use support::real::{Docker, need};
use support::release::Release;

const USAGE: i32 = 2;
const INTEGRITY: i32 = 7;
const DISK: i32 = 9;
const LOCKED: i32 = 11;
const BUNDLE: &str = "release.tar";

/// A bundle of several of the pieces that are written at once, and an empty medium.
fn world() -> Release {
    let image = TestImage::new("octoperf/agent:1").random_layer(1, 9_000_000).layer(b"world");
    let release = Release::of(&[&image]);
    release.bundle();
    fs::create_dir(release.site.path("stick")).expect("folders can be made");
    release
}

fn copy(release: &Release) -> Run {
    release.site.octobundle(["copy", BUNDLE, "stick"])
}

fn on(release: &Release, name: &str) -> PathBuf {
    release.site.path(&format!("stick/{name}"))
}

/// A folder with the programs that the scripts may use, and an engine that says what it was given.
fn few_programs(release: &Release) -> Option<PathBuf> {
    let busybox = need("busybox")?;
    let folder = release.site.path("few");
    fs::create_dir_all(&folder).expect("folders can be made");
    for name in ["sha256sum", "cat"] {
        symlink(&busybox, folder.join(name)).expect("links can be made");
    }
    let engine = "#!/bin/sh\necho \"$@\" >arguments\ncase $# in 1) /usr/bin/sha256sum >given ;; *) /usr/bin/sha256sum <\"$3\" >given ;; esac\n";
    fs::write(folder.join("docker"), engine).expect("files can be written");
    fs::set_permissions(folder.join("docker"), fs::Permissions::from_mode(0o755)).expect("it is ours");
    Some(folder)
}

/// Runs a script of the medium in every shell that is here.
fn in_shells(release: &Release, few: &Path, script: &str) -> Vec<Output> {
    let shells = [need("dash").map(|dash| (dash, vec![])), need("busybox").map(|busybox| (busybox, vec!["sh"]))];
    let run = |(shell, first): (PathBuf, Vec<&str>)| {
        let script = on(release, script);
        release.site.run(&shell, first).arg(script).env("PATH", few).run()
    };
    shells.into_iter().flatten().map(run).collect()
}

#[test]
fn a_medium_has_all_that_checks_and_loads_it_without_the_tool() {
    let release = world();
    let key = release.site.octobundle(["key", "new", "anna.key", "--no-password"]);
    key.run().assert_ok();
    release.site.octobundle(["sign", BUNDLE, "--key", "anna.key"]).run().assert_ok();
    let told = copy(&release).arg("--with-tool").run().assert_ok();
    assert!(told.stdout.contains("read back and sound"), "{}", told.stdout);
    assert!(fs::read(on(&release, BUNDLE)).expect("it is there") == release.site.read(BUNDLE));
    assert!(fs::read(on(&release, "octobundle")).expect("it is there") == fs::read(binary()).expect("it is there"));
    let names: Vec<String> = fs::read_dir(release.site.path("stick"))
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!names.iter().any(|name| name.contains("partial")), "{names:?}");
    let sums = String::from_utf8(release.site.read("stick/SHA256SUMS")).expect("it is text");
    for name in names.iter().filter(|name| *name != "SHA256SUMS") {
        let content = fs::read(on(&release, name)).expect("it is there");
        let line = format!("{}  {name}", digest(&content).trim_start_matches("sha256:"));
        assert!(sums.lines().any(|found| found == line), "{name}: {sums}");
    }
    assert_eq!(sums.lines().count(), names.len() - 1);
    let trusted = release.site.octobundle(["verify", "stick/release.tar", "--trust", "anna.key.pub"]).run().assert_ok();
    assert!(trusted.stdout.contains("trusted"), "{}", trusted.stdout);

    let Some(few) = few_programs(&release) else { return };
    let outputs = in_shells(&release, &few, "load.sh");
    for output in outputs {
        let output = output.assert_ok();
        assert!(output.stdout.contains("files are whole"), "{}", output.stdout);
        let given = String::from_utf8(release.site.read("stick/given")).expect("it is text");
        assert!(given.starts_with(digest(&release.site.read(BUNDLE)).trim_start_matches("sha256:")), "{given}");
        assert_eq!(release.site.read("stick/arguments"), b"load -i release.tar\n");
    }
}

#[test]
fn volumes_are_copied_as_they_are_and_loaded_without_scratch_space() {
    let release = world();
    let bundle = release.site.read(BUNDLE);
    for (number, volume) in (1..).zip(bundle.chunks(4_000_000)) {
        release.site.write(&format!("cut/{BUNDLE}.{number:03}"), volume);
    }
    let few = few_programs(&release);
    for command in [&["copy", "cut", "stick"][..], &["copy", BUNDLE, "stick", "--volume-size", "4000000"]] {
        release.site.octobundle(command).run().assert_ok();
        assert!(!on(&release, BUNDLE).exists() && on(&release, "release.tar.003").is_file());
        release.site.octobundle(["verify", "stick/release.volumes.json"]).run().assert_ok();
        for output in few.iter().flat_map(|few| in_shells(&release, few, "load.sh")) {
            output.assert_ok();
            let given = String::from_utf8(release.site.read("stick/given")).expect("it is text");
            assert!(given.starts_with(digest(&bundle).trim_start_matches("sha256:")), "{given}");
            assert_eq!(release.site.read("stick/arguments"), b"load\n");
        }
        fs::remove_dir_all(release.site.path("stick")).expect("it is there");
        fs::create_dir(release.site.path("stick")).expect("folders can be made");
    }
}

#[test]
fn the_paper_goes_along_and_speaks_of_what_is_on_the_medium() {
    let release = world();
    let key = release.site.octobundle(["key", "new", "anna.key", "--no-password"]);
    key.run().assert_ok();
    release.site.octobundle(["sign", BUNDLE, "--key", "anna.key"]).run().assert_ok();
    release.site.octobundle(["copy", BUNDLE, "stick", "--volume-size", "4000000"]).run().assert_ok();
    let page = String::from_utf8(release.site.read("stick/report.html")).expect("it is text");
    let length = release.site.read(BUNDLE).len();
    for part in ["<b>Sound</b>", "in 3 volumes", "sha256sum -c SHA256SUMS", ".minisig</bdi></code>, not checked here"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.contains(&format!("{length} bytes")));
    let place = release.site.path("").display().to_string();
    assert!(!page.contains(&place), "SEC-64: the place of the bundle is nobody's business");
    // A copy that was stopped before its names were given writes the same paper again.
    fs::rename(on(&release, "release.tar.001"), on(&release, "release.tar.001.partial")).expect("it is there");
    for number in [2, 3] {
        fs::remove_file(on(&release, &format!("release.tar.00{number}"))).expect("it is there");
    }
    release.site.octobundle(["copy", BUNDLE, "stick", "--volume-size", "4000000"]).run().assert_ok();
    assert!(release.site.read("stick/report.html") == page.as_bytes());
}

/// The agent's update, once with an image of which all is new, on an empty medium.
fn delta_on_a_medium(with_a_new_image: bool) -> Release {
    let old = TestImage::new("octoperf/agent:1").random_layer(1, 50_000).layer(b"old");
    let new = TestImage::new("octoperf/agent:1").random_layer(1, 50_000).layer(b"new");
    let other = TestImage::new("octoperf/other:1").layer(b"all of it is new");
    let release = Release::of(&[&old]);
    release.pull("old.tar").run().assert_ok();
    let mut names = vec![release.registry.add(&new)];
    names.extend(with_a_new_image.then(|| release.registry.add(&other)));
    release.site.write("release.yaml", support::release::manifest(&names));
    release.pull(BUNDLE).args(["--since", "old.tar"]).run().assert_ok();
    fs::create_dir(release.site.path("stick")).expect("folders can be made");
    copy(&release).run().assert_ok();
    release
}

#[test]
fn load_sh_of_a_delta_loads_what_is_whole_and_names_what_needs_the_base() {
    for with_a_new_image in [false, true] {
        let release = delta_on_a_medium(with_a_new_image);
        let Some(few) = few_programs(&release) else { return };
        for output in in_shells(&release, &few, "load.sh") {
            fs::remove_file(on(&release, "given")).ok();
            let said = output.assert_code(1).stderr;
            for part in
                ["is a delta on sample-1", "NOT loaded", "octoperf/agent:1", "octobundle load release.tar --base OLD"]
            {
                assert!(said.contains(part), "{part}: {said}");
            }
            assert!(!said.contains("octoperf/other:1"), "{said}");
        }
        assert_eq!(on(&release, "arguments").exists(), with_a_new_image, "docker is asked only for what is whole");
        let readme = String::from_utf8(release.site.read("stick/README.txt")).expect("it is text");
        assert!(readme.contains("IT IS A DELTA") && !readme.contains("docker load -i"), "{readme}");
        let page = String::from_utf8(release.site.read("stick/report.html")).expect("it is text");
        assert!(page.contains("<b>A delta</b>") && !page.contains("docker load -i"), "the report says it too");
    }
}

/// A folder with docker's own client and the named tools, and nothing else.
fn docker_and_few_programs(release: &Release) -> Option<PathBuf> {
    let few = few_programs(release)?;
    fs::remove_file(few.join("docker")).expect("it is there");
    symlink(need("docker")?, few.join("docker")).expect("links can be made");
    Some(few)
}

#[test]
fn load_sh_gives_a_real_docker_every_image_in_every_form_and_shell() {
    let image = TestImage::new("octoperf/agent:1").random_layer(1, 200_000).layer(b"world");
    let other = TestImage::new("octoperf/other:2").layer(b"other");
    let release = Release::of(&[&image, &other]);
    release.bundle();
    let (Some(few), Some(docker)) = (docker_and_few_programs(&release), Docker::start()) else { return };
    let names = [release.name(0), release.name(1)];
    for size in [&[][..], &["--volume-size", "65536"]] {
        fs::create_dir(release.site.path("stick")).expect("folders can be made");
        copy(&release).args(size).run().assert_ok();
        for shell in [need("dash").map(|dash| (dash, vec![])), need("busybox").map(|busybox| (busybox, vec!["sh"]))] {
            let Some((shell, first)) = shell else { return };
            let script = |name: &str| {
                let run = release.site.run(&shell, first.clone()).arg(on(&release, name));
                run.env("PATH", &few).env("DOCKER_HOST", docker.host()).run().assert_ok()
            };
            script("verify.sh");
            script("load.sh");
            for (name, sample) in names.iter().zip([&image, &other]) {
                assert_eq!(docker.run(&["inspect", "--format", "{{.Id}}", name]).trim(), sample.config_digest());
            }
            docker.run(&[&["rmi"][..], &names].concat());
        }
        fs::remove_dir_all(release.site.path("stick")).expect("it is there");
    }
}

#[test]
fn u_09_scripts_take_checksums_that_editors_and_other_systems_changed_and_refuse_damage() {
    let release = world();
    copy(&release).run().assert_ok();
    let Some(few) = few_programs(&release) else { return };
    let sums = String::from_utf8(release.site.read("stick/SHA256SUMS")).expect("it is text");
    let upper = |line: &str| format!("{}{}\n", line[..64].to_uppercase(), &line[64..]);
    for changed in [
        sums.replace('\n', "\r\n"),
        format!("\u{feff}{sums}"),
        sums.lines().map(upper).collect(),
        sums.trim_end().to_owned(),
    ] {
        release.site.write("stick/SHA256SUMS", &changed);
        for output in in_shells(&release, &few, "verify.sh") {
            output.assert_ok();
        }
    }
    let bundle = release.site.read(BUNDLE);
    let mut damaged = bundle.clone();
    damaged[5_000_000] ^= 1;
    for (name, content) in [("SHA256SUMS", b"".to_vec()), ("SHA256SUMS", b"what\n".to_vec()), (BUNDLE, damaged)] {
        release.site.write("stick/SHA256SUMS", &sums);
        release.site.write(&format!("stick/{name}"), content);
        for script in ["verify.sh", "load.sh"] {
            for output in in_shells(&release, &few, script) {
                output.assert_code(1);
            }
        }
    }
    assert!(!on(&release, "given").exists(), "nothing was loaded");
}

/// Copies with a system call going wrong on the medium.
fn copy_while(release: &Release, inject: &str) -> Option<Output> {
    let strace = need("strace")?;
    let partial = on(release, "release.tar.partial").display().to_string();
    let stick = release.site.path("stick").display().to_string();
    let under = ["-f", "-qq", "-o", "/dev/null", "-P", &partial, "-e", inject];
    Some(release.site.run(&strace, under).arg(binary()).args(["copy", BUNDLE, &stick]).run())
}

#[test]
fn u_07_and_08_what_the_medium_did_not_keep_is_found_before_it_has_a_name() {
    let release = world();
    // The medium says that it has written, and has not.
    let Some(output) = copy_while(&release, "inject=pwrite64:retval=4194304:when=2") else { return };
    let output = output.assert_code(DISK);
    assert!(output.stderr.contains("gives back other bytes than it was given"), "{}", output.stderr);
    assert!(!on(&release, BUNDLE).exists() && !on(&release, "release.tar.partial").exists());
    copy(&release).run().assert_ok();
}

#[test]
fn u_05_a_medium_that_is_pulled_out_is_told_and_the_copy_continues() {
    let release = world();
    for error in ["ENODEV", "EIO", "ENOSPC"] {
        fs::remove_file(on(&release, "release.tar.partial")).ok();
        let Some(output) = copy_while(&release, &format!("inject=pwrite64:error={error}:when=3")) else { return };
        output.assert_code(DISK);
        assert!(!on(&release, BUNDLE).exists() && on(&release, "release.tar.partial").is_file());
    }
    let Some(output) = copy_while(&release, "inject=fdatasync,fsync:error=EIO:when=1") else { return };
    output.assert_code(DISK);
    assert!(!on(&release, BUNDLE).exists());
    copy(&release).run().assert_ok();
    assert!(fs::read(on(&release, BUNDLE)).expect("it is there") == release.site.read(BUNDLE));
}

#[test]
fn a_medium_that_sets_no_lengths_is_written_all_the_same() {
    let release = world();
    let Some(output) = copy_while(&release, "inject=ftruncate:error=EPERM") else { return };
    output.assert_ok();
    assert!(fs::read(on(&release, BUNDLE)).expect("it is there") == release.site.read(BUNDLE));
}

#[test]
fn an_earlier_copy_of_any_kind_is_continued_to_the_right_bytes() {
    let release = world();
    let bundle = release.site.read(BUNDLE);
    let mut other = bundle.clone();
    other[6_000_000] ^= 1;
    for earlier in [&bundle[..5_000_000], &other[..8_000_000], &[&bundle[..], b"more"].concat(), b"", &[7; 100]] {
        release.site.write("stick/release.tar.partial", earlier);
        copy(&release).run().assert_ok();
        assert!(fs::read(on(&release, BUNDLE)).expect("it is there") == bundle);
        fs::remove_file(on(&release, BUNDLE)).expect("it is there");
    }
    let held = fs::File::create(on(&release, "release.tar.partial")).expect("files can be made");
    held.lock().expect("nobody else has it");
    copy(&release).run().assert_code(LOCKED);
    drop(held);
    copy(&release).run().assert_ok();
    copy(&release).run().assert_ok();
    // A file of the bundle's name that is not this bundle is left alone.
    for length in [bundle.len(), bundle.len() - 1] {
        release.site.write("stick/release.tar", &other[..length]);
        let refused = copy(&release).arg("--replace").run().assert_code(USAGE);
        assert!(refused.stderr.contains("is on the medium already and holds something else"), "{}", refused.stderr);
        assert!(fs::read(on(&release, BUNDLE)).expect("it is there") == other[..length]);
    }
}

#[test]
fn a_copy_that_was_killed_while_volumes_got_their_names_is_continued() {
    let release = world();
    let cut = || release.site.octobundle(["copy", BUNDLE, "stick", "--volume-size", "4000000"]);
    cut().run().assert_ok();
    let volumes: Vec<Vec<u8>> = release.site.read(BUNDLE).chunks(4_000_000).map(<[u8]>::to_vec).collect();
    for named in 0..volumes.len() {
        for number in named + 1..=volumes.len() {
            let volume = on(&release, &format!("release.tar.{number:03}"));
            fs::rename(&volume, volume.with_extension(format!("{number:03}.partial"))).expect("it is there");
        }
        cut().run().assert_ok();
        for (number, volume) in (1..).zip(&volumes) {
            assert!(fs::read(on(&release, &format!("release.tar.{number:03}"))).expect("it is there") == *volume);
        }
        release.site.octobundle(["verify", "stick"]).run().assert_ok();
    }
    let left: Vec<_> = fs::read_dir(release.site.path("stick")).expect("it is there").collect();
    let partial = left.iter().flatten().any(|entry| entry.file_name().to_string_lossy().contains("partial"));
    assert!(!partial, "{left:?}");
}

#[test]
fn a_damaged_bundle_is_not_carried_and_what_is_on_a_medium_is_not_replaced_unasked() {
    let release = world();
    release.site.write("stick/README.txt", "somebody's");
    let refused = copy(&release).run().assert_code(USAGE);
    assert!(refused.stderr.contains("exists and says something else"), "{}", refused.stderr);
    copy(&release).arg("--replace").run().assert_ok();
    fs::remove_file(on(&release, BUNDLE)).expect("it is there");
    let mut damaged = release.site.read(BUNDLE);
    damaged[5_000_000] ^= 1;
    release.site.write(BUNDLE, damaged);
    copy(&release).run().assert_code(INTEGRITY);
    assert!(!on(&release, BUNDLE).exists());
    release.site.octobundle(["copy", BUNDLE, "nowhere"]).run().assert_code(USAGE);
}

#[test]
fn sec_41_names_on_a_medium_are_plain_whatever_the_bundle_is_called() {
    let release = world();
    let name = "-a b;$(touch hit)'\".tar";
    fs::rename(release.site.path(BUNDLE), release.site.path(name)).expect("it is there");
    release.site.octobundle(["copy", &format!("./{name}"), "stick"]).run().assert_ok();
    for entry in fs::read_dir(release.site.path("stick")).expect("it is there") {
        let name = entry.expect("it can be read").file_name().to_string_lossy().into_owned();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "{name}");
        assert!(!name.starts_with('-'), "{name}");
    }
    let Some(few) = few_programs(&release) else { return };
    for output in in_shells(&release, &few, "load.sh") {
        output.assert_ok();
    }
    assert!(!on(&release, "hit").exists() && !release.site.path("hit").exists());
}

#[test]
fn scripts_of_a_medium_are_sound_to_shellcheck() {
    let Some(shellcheck) = need("shellcheck") else { return };
    let release = world();
    copy(&release).run().assert_ok();
    for script in ["verify.sh", "load.sh"] {
        release.site.run(&shellcheck, ["--shell=sh"]).arg(on(&release, script)).run().assert_ok();
    }
}

#[test]
fn u_06_what_was_written_is_synced_and_forgotten_before_it_is_read_back_and_named() {
    let Some(strace) = need("strace") else { return };
    let release = world();
    let (partial, trace) = (on(&release, "release.tar.partial"), release.site.path("trace"));
    let stick = release.site.path("stick");
    let calls = "trace=openat,pwrite64,fdatasync,fsync,fadvise64,pread64,rename,renameat,renameat2";
    let run = release.site.run(&strace, ["-f", "-qq", "-e", calls, "-o"]).arg(&trace).arg("-P").arg(&partial);
    let told = run.arg(binary()).args(["copy", BUNDLE, "--json"]).arg(&stick).run().assert_ok().json();
    let trace = fs::read_to_string(trace).expect("it was written");
    let place = |call: &str| trace.find(&format!(" {call}(")).unwrap_or_else(|| panic!("no {call}: {trace}"));
    let last = |call: &str| trace.rfind(&format!(" {call}(")).unwrap_or_else(|| panic!("no {call}: {trace}"));
    assert!(last("pwrite64") < last("fdatasync") && last("fdatasync") < place("fsync"), "{trace}");
    assert!(place("fsync") < place("fadvise64") && place("fadvise64") < last("pread64"), "{trace}");
    assert!(trace.rfind("rename").expect("it gets its name") > last("pread64"), "{trace}");
    // What is said of the reading back is what was done.
    let direct = trace.lines().any(|line| line.contains("O_DIRECT") && !line.contains("= -1"));
    assert_eq!(told["read_back"], if direct { "direct" } else { "forgotten" }, "{trace}");
    let asked = trace.find("O_DIRECT").expect("the medium is asked for it");
    assert!(place("fsync") < asked && asked < last("pread64"), "{trace}");
}

#[test]
fn u_07_where_the_system_cannot_be_passed_by_it_is_told_to_forget_and_that_is_said() {
    let release = world();
    let Some(strace) = need("strace") else { return };
    let (stick, partial) = (release.site.path("stick"), on(&release, "release.tar.partial"));
    // The partial file is opened twice: to be written, and to be read back.
    let run =
        release.site.run(&strace, ["-f", "-qq", "-o", "/dev/null", "-e", "inject=openat:error=EINVAL:when=2", "-P"]);
    let output = run.arg(&partial).arg(binary()).args(["copy", BUNDLE]).arg(&stick).run().assert_ok();
    assert!(output.stderr.contains("put it in again and run `octobundle verify"), "{}", output.stderr);
    assert!(fs::read(on(&release, BUNDLE)).expect("it is there") == release.site.read(BUNDLE));
}
