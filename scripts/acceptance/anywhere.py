#!/usr/bin/env python3
"""Proves that what scripts/dist.sh made works where nothing else is installed.

    scripts/acceptance/anywhere.py dist

1. The binary alone in a root that holds a CA file and nothing else (no libc, no shell, no /tmp, no /etc): pull over TLS,
   verify, push over TLS, serve, and load into a docker engine.
2. The .deb in the minimal root of an old Debian (--suite, by default bullseye with glibc 2.31; debootstrap makes it from
   --mirror): it installs, runs, and its removal leaves no file behind.
3. The .rpm: the same with rpm's own database.
4. The container image: podman loads and runs it.
5. install.sh: installs, with the tools of busybox alone too, and uninstalls; leaves out a file that SHA256SUMS does not list;
   refuses a changed file, a mangled line of SHA256SUMS, another machine and a program that does not run.
6. The same release signed with a key of this run: minisign and install.sh --key accept it, and refuse other sums.
7. The binary for aarch64 under qemu, and the one for Windows under wine: pull, verify, inspect, push, render; what they
   pull is, byte for byte, what the first binary pulls.
8. The .deb and .rpm for aarch64: dpkg and rpm of this machine put them into a root of that architecture, the program runs
   from there under qemu, and their removal leaves no file behind. (Nothing else of the root would run here.)

Needs root, docker-registry, openssl, dockerd and docker, podman, skopeo, rpm, debootstrap, qemu-user-static,
gcc-mingw-w64-x86-64, wine64, minisign, busybox, python3.
"""

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from real_parts import Registry
from release_set import ReleaseSet

PROGRAMS = ["docker-registry", "openssl", "dockerd", "docker", "podman", "skopeo", "rpm", "debootstrap", "qemu-aarch64-static",
            "x86_64-w64-mingw32-gcc", "minisign", "busybox"]


def run(*words, **options):
    """A command that must succeed; its output."""
    done = subprocess.run([str(word) for word in words], text=True, capture_output=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"failed with {done.returncode}: {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
    return done.stdout


def said(what):
    print(f"ok: {what}", flush=True)


def expect(holds, what):
    if not holds:
        sys.exit(f"does not hold: {what}")
    said(what)


class Authority:
    """A CA of this run and a certificate for 127.0.0.1."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.ca, self.cert, self.key = (self.folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        run("openssl", "req", "-x509", *new_key, "-keyout", self.folder / "ca.key", "-out", self.ca, "-days", "2",
            "-subj", "/CN=octobundle acceptance CA", "-addext", "keyUsage=critical,keyCertSign")
        run("openssl", "req", *new_key, "-keyout", self.key, "-out", self.folder / "request.pem", "-subj", "/CN=127.0.0.1")
        names = self.folder / "names"
        names.write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
        run("openssl", "x509", "-req", "-in", self.folder / "request.pem", "-CA", self.ca, "-CAkey", self.folder / "ca.key",
            "-CAcreateserial", "-out", self.cert, "-days", "1", "-extfile", names)


class TlsRegistry:
    """`docker-registry serve` with a certificate, over the storage of `folder`."""

    def __init__(self, folder, authority):
        config = Path(folder) / "tls.yml"
        config.write_text(
            "version: 0.1\nlog: {level: info, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {Path(folder) / 'registry'}}}}}\n"
            f"http: {{addr: '127.0.0.1:0', tls: {{certificate: {authority.cert}, key: {authority.key}}}}}\n")
        self.process = subprocess.Popen(["docker-registry", "serve", str(config)], stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if found := re.search(r"listening on (127\.0\.0\.1:\d+)", line):
                self.host = found.group(1)
                break
        else:
            sys.exit("docker-registry did not start")
        threading.Thread(target=lambda: [None for _ in self.process.stderr], daemon=True).start()

    def end(self):
        self.process.terminate()
        self.process.wait()


@contextlib.contextmanager
def docker_engine(folder, socket):
    """An engine of this run that listens on `socket`."""
    folder.mkdir()
    (folder / "daemon.json").write_text("{}")
    log = (folder / "log").open("w")
    words = ["dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs",
             "--config-file", folder / "daemon.json", "--pidfile", folder / "pid", "--data-root", folder / "data",
             "--exec-root", folder / "exec", "--host", f"unix://{socket}"]
    engine = subprocess.Popen([str(word) for word in words], stdout=log, stderr=log)
    try:
        docker = ["docker", "--host", f"unix://{socket}"]
        deadline = time.monotonic() + 60
        while subprocess.run([*docker, "version"], capture_output=True, check=False).returncode != 0:
            if engine.poll() is not None or time.monotonic() > deadline:
                sys.exit("dockerd did not start:\n" + (folder / "log").read_text()[-2000:])
            time.sleep(0.1)
        yield docker
    finally:
        engine.terminate()
        engine.wait()


def alone(binary, folder):
    """The binary in a root of its own."""
    shape = run("file", "-b", binary)
    expect("statically linked" in shape or "static-pie linked" in shape, "the binary is linked statically")
    authority = Authority(folder)
    source, target = folder / "source", folder / "target"
    for place in (source, target, folder / "blobs"):
        place.mkdir()
    with Registry(source) as plain:
        release = ReleaseSet(folder / "blobs", 0.2)
        release.push(plain.host)
    encrypted, private = TlsRegistry(source, authority), TlsRegistry(target, authority)
    root = folder / "root"
    for place in ("data", "run"):
        (root / place).mkdir(parents=True)
    shutil.copy2(binary, root / "octobundle")
    shutil.copy(authority.ca, root / "ca.pem")
    images = "".join(f"  - image: {encrypted.host}/{image[0]}:{image[1]}\n    role: {image[2]}\n" for image in release.images)
    (root / "data/release.yaml").write_text(f"schema: octobundle/v1\nrelease: anywhere\ntitle: Anywhere\nimages:\n{images}")
    (root / "data/octobundle").mkdir()
    # Loopback speaks plain http by default; a CA file of its own is what says otherwise.
    (root / "data/octobundle/config.toml").write_text(
        "".join(f"[registry.\"{registry.host}\"]\nca = \"/ca.pem\"\n" for registry in (encrypted, private)))
    variables = {"XDG_CONFIG_HOME": "/data"}
    inside = [shutil.which("chroot"), root, "/octobundle"]
    try:
        run(*inside, "pull", "/data/release.yaml", "-o", "/data/release.tar", env={**os.environ, **variables}, cwd="/")
        said("pull over TLS in an empty root, trusting the only CA file")
        run(*inside, "verify", "/data/release.tar", env=variables)
        said("verify")
        run(*inside, "push", "/data/release.tar", "--registry", private.host, env=variables)
        manifests = list((target / "registry").rglob("_manifests/tags/*/current/link"))
        expect(len(manifests) == len(release.images), f"push over TLS: {len(manifests)} images are in the other registry")
        with docker_engine(folder / "engine", root / "run/docker.sock") as docker:
            run(*inside, "load", "/data/release.tar", "--engine", "docker",
                env={**variables, "DOCKER_HOST": "unix:///run/docker.sock"})
            loaded = run(*docker, "image", "ls", "-q").split()
            expect(len(set(loaded)) == len(release.images), f"load: docker has {len(set(loaded))} images")
        serves(root, inside, variables, release)
    finally:
        encrypted.end()
        private.end()


def serves(root, inside, variables, release):
    """`serve` on loopback, in plain HTTP as it does there, asked for a manifest."""
    words = [*map(str, inside), "serve", "/data/release.tar", "--listen", "127.0.0.1:0", "--json"]
    server = subprocess.Popen(words, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = "".join(iter_until(server.stdout, "}"))
        found = re.search(r"127\.0\.0\.1:\d+", line) or sys.exit(f"serve did not say where it listens: {line}")
        repository, tag = release.images[0][0], release.images[0][1]
        with urllib.request.urlopen(f"http://{found.group(0)}/v2/{repository}/manifests/{tag}") as answer:
            expect(answer.status == 200 and answer.headers["Docker-Content-Digest"].startswith("sha256:"), "serve")
    finally:
        server.terminate()
        server.wait()


def iter_until(stream, end):
    """Lines up to the one that is `end` and nothing else, or that holds a whole object."""
    for line in stream:
        yield line
        if line.rstrip() == end or (line.startswith("{") and line.rstrip().endswith(end)):
            return


def files_of(root):
    """Every path below a root, without what package managers and caches keep for themselves."""
    kept = ("var/lib/dpkg", "var/cache", "var/log", "var/lib/rpm", "root/.rpmdb", "usr/lib/sysimage", "dev", "proc", "sys")
    found = set()
    for folder, names, files in os.walk(root):
        inside = os.path.relpath(folder, root)
        if inside.startswith(kept):
            names.clear()
            continue
        found |= {os.path.join(inside, name) for name in names + files}
    return found


def debian(dist, folder, suite, mirror):
    package, = dist.glob("*_amd64.deb")
    root = folder / suite
    run("debootstrap", "--variant=minbase", suite, root, mirror)
    said(f"a root of {suite}: {run('chroot', root, '/usr/bin/ldd', '--version').splitlines()[0]}")
    before = files_of(root)
    shutil.copy(package, root / "package.deb")
    run("chroot", root, "dpkg", "-i", "/package.deb")
    (root / "package.deb").unlink()
    version = run("chroot", root, "octobundle", "--version").strip()
    said(f"the .deb installs, and says `{version}`")
    run("chroot", root, "octobundle", "resolve", "--help")
    run("chroot", root, "octobundle", "releases")
    expect((root / "usr/share/bash-completion/completions/octobundle").is_file(), "completions are there")
    # Minimal roots are told to leave manual pages out; the list of the package says that they are in it.
    listed = run("dpkg-deb", "-c", package).replace("./", "/")
    expect("/usr/share/man/man1/octobundle-pull.1.gz" in listed, "man pages are in it")
    expect("/usr/share/doc/octobundle/docs/trust.md" in listed, "the pages that messages name are in it")
    run("chroot", root, "dpkg", "--purge", "octobundle")
    left = files_of(root) - before
    expect(not left, f"its removal leaves nothing behind {sorted(left) or ''}".strip())


def rpm(dist, folder):
    package, = dist.glob("*.x86_64.rpm")
    root = folder / "rpm"
    root.mkdir()
    before = files_of(root)
    run("rpm", "--root", root, "--install", package)
    said(f"the .rpm installs, and says `{run('chroot', root, '/usr/bin/octobundle', '--version').strip()}`")
    run("rpm", "--root", root, "--erase", "octobundle")
    left = {path for path in files_of(root) - before if not (root / path).is_dir()}
    expect(not left, f"its removal leaves no file behind {sorted(left) or ''}".strip())


def packages_for_arm(dist, folder):
    """What is installed comes from the binary that was tried, and goes again."""
    binary = (dist / "octobundle-aarch64").read_bytes()
    deb, = dist.glob("*_arm64.deb")
    package, = dist.glob("*.aarch64.rpm")
    expect(run("dpkg-deb", "-f", deb, "Architecture").strip() == "arm64", "the .deb is for arm64")
    root = folder / "arm64"
    for place in ("info", "updates", "triggers"):
        (root / "var/lib/dpkg" / place).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "var/lib/dpkg/arch").write_text("arm64\n")
    dpkg = ["dpkg", "--root", root, "--force-script-chrootless"]
    installs(root, [*dpkg, "--install", deb], [*dpkg, "--purge", "octobundle:arm64"], ".deb for arm64", binary)
    about = run("rpm", "-q", "--queryformat", "%{ARCH} %{OS}", "-p", package)
    expect(about == "aarch64 linux", f"the .rpm is for {about}")
    root = folder / "aarch64-rpm"
    root.mkdir()
    rpm_there = ["rpm", "--root", root, "--ignorearch"]
    installs(root, [*rpm_there, "--install", package], ["rpm", "--root", root, "--erase", "octobundle"], ".rpm for aarch64", binary)


def installs(root, install, remove, what, binary):
    """A package's files are there, its program runs, and all of it goes again."""
    before = files_of(root)
    run(*install)
    program = root / "usr/bin/octobundle"
    expect(program.read_bytes() == binary, f"the {what} brings the program that was built")
    said(f"it says `{run('qemu-aarch64-static', program, '--version').strip()}`")
    for path in ("usr/share/man/man1/octobundle-pull.1.gz", "usr/share/bash-completion/completions/octobundle",
                 "usr/share/doc/octobundle/docs/trust.md"):
        expect((root / path).is_file(), f"{path} is there")
    run(*remove)
    left = {path for path in files_of(root) - before if not (root / path).is_dir()}
    expect(not left, f"its removal leaves no file behind {sorted(left) or ''}".strip())


def signature(dist, folder):
    """The release, signed with a key of this run."""
    signed, sums = folder / "signed", Path(__file__).parent.parent / "dist/sums.sh"
    shutil.copytree(dist, signed)
    run(dist / "octobundle", "key", "new", folder / "release.key", "--no-password")
    key = folder / "release.key.pub"
    run(sums, signed, "of this run", env={**os.environ, "OCTOBUNDLE_RELEASE_KEY": str(folder / "release.key")})
    expect("octobundle of this run" in run("minisign", "-Vm", signed / "SHA256SUMS", "-p", key), "minisign accepts the signature")
    run("sh", signed / "install.sh", "--prefix", folder / "by-key", "--key", key)
    said(f"install.sh --key: `{run(folder / 'by-key/bin/octobundle', '--version').strip()}`")
    leaves_out_what_is_not_listed(signed, folder / "listed", "--key", key)
    # A changed file whose sum is changed with it.
    with (signed / "share/LICENSE").open("a") as text:
        text.write("and more")
    kept = (signed / "SHA256SUMS.minisig").read_bytes()
    run(sums, signed, "of somebody else", env={name: value for name, value in os.environ.items() if name != "OCTOBUNDLE_RELEASE_KEY"})
    (signed / "SHA256SUMS.minisig").write_bytes(kept)
    run("sh", signed / "install.sh", "--prefix", folder / "unasked")
    refused = subprocess.run(["sh", signed / "install.sh", "--prefix", folder / "refused", "--key", key], capture_output=True,
                             text=True, check=False)
    expect("not made with that key" in refused.stderr and not (folder / "refused").exists(), "install.sh --key refuses other sums")


def image(dist, folder):
    archive = dist / "octobundle-image.tar"
    engine = ["podman", "--root", folder / "podman", "--runroot", folder / "podman-run", "--storage-driver", "vfs",
              "--events-backend", "none", "--cgroup-manager", "cgroupfs", "--tmpdir", folder / "podman-tmp"]
    loaded = run(*engine, "load", "-i", archive)
    name = loaded.strip().rsplit(" ", 1)[-1]
    said(f"podman runs {name}: `{run(*engine, 'run', '--rm', '--network=none', '--ulimit=nofile=1024:1024', '--ulimit=nproc=1024:1024', name, '--version').strip()}`")
    run(*engine, "rmi", "--all", "--force")


def installer(dist, folder):
    copy, prefix = folder / "release", folder / "prefix"
    shutil.copytree(dist, copy)
    run("sh", copy / "install.sh", "--prefix", prefix)
    said(f"install.sh: `{run(prefix / 'bin/octobundle', '--version').strip()}`")
    run("sh", copy / "install.sh", "--prefix", prefix, "--uninstall")
    expect(not files_below(prefix), "--uninstall leaves no file behind")
    leaves_out_what_is_not_listed(copy, folder / "listed-unsigned")
    installs_by_busybox(copy, folder)
    refuses_other_machines(copy, folder)
    sums = (copy / "SHA256SUMS").read_text()
    first, *others = sums.splitlines(keepends=True)
    zeros = "0" * 64
    for mangled in (first + "".join(f"?{line}" for line in others), f"{sums}{zeros}  ../other\n", f"{sums}{zeros}  /other\n", sums + "\n"):
        (copy / "SHA256SUMS").write_text(mangled)
        refuses(copy, folder / "mangled", "no checksum of a file")
    said("install.sh refuses lines of SHA256SUMS that are none")
    (copy / "SHA256SUMS").write_text(sums)
    with (copy / "octobundle").open("r+b") as binary:
        binary.seek(1000)
        byte = binary.read(1)[0]
        binary.seek(1000)
        binary.write(bytes([byte ^ 1]))
    refuses(copy, prefix, "octobundle: FAILED")
    said("install.sh refuses a changed file")
    does_not_replace_by_what_does_not_run(copy, folder / "runs")


def files_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def refuses(release, prefix, why, **options):
    """install.sh says why, and leaves what is installed as it is."""
    before = files_below(prefix)
    refused = subprocess.run(["sh", release / "install.sh", "--prefix", prefix], capture_output=True, text=True, check=False, **options)
    if refused.returncode != 1 or why not in refused.stderr or files_below(prefix) != before:
        sys.exit(f"install.sh did not refuse with `{why}`:\n{refused.stdout}{refused.stderr}")


def leaves_out_what_is_not_listed(release, prefix, *words):
    """Files that nobody made a checksum of are not installed beside those that have one."""
    added = [release / "share" / name for name in ("man/octobundle-added.1.gz", "man/sudo.1.gz", "doc/added.md", "doc/docs/added.md")]
    for path in added:
        path.write_text("added")
    run("sh", release / "install.sh", "--prefix", prefix, *words)
    wrong = [path for path in files_below(prefix) if "added" in path or "sudo" in path]
    expect(not wrong and "bin/octobundle" in files_below(prefix), "install.sh leaves out files that SHA256SUMS does not list")
    for path in added:
        path.unlink()


def installs_by_busybox(release, folder):
    """Its tools know fewer options; and a strict umask does not shut others out."""
    tools, prefix = folder / "busybox", folder / "by-busybox"
    tools.mkdir()
    run("busybox", "--install", "-s", tools)
    run("busybox", "sh", release / "install.sh", "--prefix", prefix, env={"PATH": str(tools)}, umask=0o077)
    expect(files_below(prefix) == files_below(folder / "listed-unsigned"), "install.sh installs the same with the tools of busybox alone")
    shut = [path for path in (prefix, *prefix.rglob("*")) if path.stat().st_mode & 0o044 != 0o044]
    expect(not shut, "all of it can be read by others")
    run("busybox", "sh", release / "install.sh", "--prefix", prefix, "--uninstall", env={"PATH": str(tools)})
    expect(not files_below(prefix), "and removes it")


def refuses_other_machines(release, folder):
    """A machine that none of the programs is for."""
    tools = folder / "machine"
    tools.mkdir()
    uname = tools / "uname"
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    for system, machine in (("Linux", "armv7l"), ("Linux", "i686"), ("Darwin", "arm64")):
        uname.write_text(f"#!/bin/sh\n[ \"$1\" = -s ] && echo {system} || echo {machine}\n")
        uname.chmod(0o755)
        refuses(release, folder / "other-machine", f"this machine is {system} {machine}", env=environment)
    said("install.sh refuses machines that the release has no program for")


def does_not_replace_by_what_does_not_run(release, prefix):
    """Sums that fit a program which is none, over one that works."""
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin/octobundle").write_text("the old one")
    (release / "octobundle").write_bytes(b"\x7fELF and no more")
    run(Path(__file__).parent.parent / "dist/sums.sh", release, "of this run",
        env={name: value for name, value in os.environ.items() if name != "OCTOBUNDLE_RELEASE_KEY"})
    refuses(release, prefix, "does not run")
    expect((prefix / "bin/octobundle").read_text() == "the old one", "install.sh keeps the old program where the new one does not run")


def elsewhere(binary, words, native, folder, environment):
    """A binary for another machine does the main job, and makes the same bytes as the one for this machine."""
    folder.mkdir()
    (folder / "blobs").mkdir()
    (folder / "source").mkdir()
    (folder / "target").mkdir()
    with Registry(folder / "source") as source, Registry(folder / "target") as target:
        release = ReleaseSet(folder / "blobs", 0.2)
        release.push(source.host)
        images = "".join(f"  - image: {source.host}/{image[0]}:{image[1]}\n    role: {image[2]}\n" for image in release.images)
        (folder / "release.yaml").write_text(f"schema: octobundle/v1\nrelease: elsewhere\ntitle: Elsewhere\nimages:\n{images}")
        there = {"cwd": folder, "env": {**os.environ, **environment}}
        tool = [*words, binary]
        said(f"`{run(*tool, '--version', **there).strip()}` by {' '.join(map(str, words))}")
        run(native, "resolve", "release.yaml", "--platform", "all", "--lock", "release.lock.json", cwd=folder)
        run(native, "pull", "--locked", "release.lock.json", "-o", "native.tar", cwd=folder)
        run(*tool, "resolve", "release.yaml", "--platform", "all", "--lock", "other.lock.json", **there)
        expect(run("cmp", "release.lock.json", "other.lock.json", cwd=folder) == "", "resolve: the lock is the same")
        run(*tool, "pull", "--locked", "release.lock.json", "-o", "other.tar", **there)
        same = run("cmp", "native.tar", "other.tar", cwd=folder) == ""
        expect(same, "pull: the bundle is that of the other binary, byte for byte")
        run(*tool, "verify", "other.tar", **there)
        expect("elsewhere" in run(*tool, "inspect", "other.tar", **there), "verify, inspect")
        run(*tool, "push", "other.tar", "--registry", target.host, **there)
        manifests = list((folder / "target/registry").rglob("_manifests/tags/*/current/link"))
        expect(len(manifests) == len(release.images), f"push: {len(manifests)} images are in the other registry")
        run(*tool, "render", "agent", "other.tar", "--registry", target.host, "--as", "mirrors", "--out", "made", **there)
        conf = (folder / "made/containers/registries.conf.d/octoperf.conf").read_text()
        expect(target.host in conf, "render")


def windows(dist, folder):
    """The binary for Windows, under wine."""
    place = folder / "program"
    place.mkdir()
    shutil.copy(dist / "octobundle.exe", place)
    wine = run(Path(__file__).with_name("wine_prefix.sh"), folder / "wine").strip()
    environment = {"WINEPREFIX": str(folder / "wine"), "WINEDEBUG": "-all"}
    elsewhere(place / "octobundle.exe", [wine], dist / "octobundle", folder / "windows", environment)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dist", type=Path, help="the folder that scripts/dist.sh made")
    parser.add_argument("--suite", default="bullseye", help="an old Debian")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian", help="where debootstrap takes it from")
    parser.add_argument("--only", default="alone,debian,rpm,image,installer,signature,aarch64,windows,arm-packages", help="parts, separated by commas")
    given = parser.parse_args()
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}; scripts/test.sh --all installs them")
    if os.geteuid() != 0:
        sys.exit("chroot needs root")
    dist = given.dist.resolve()
    with tempfile.TemporaryDirectory(prefix="octobundle-anywhere-") as folder:
        folder = Path(folder)
        parts = {
            "alone": lambda: alone(dist / "octobundle", folder),
            "debian": lambda: debian(dist, folder, given.suite, given.mirror),
            "rpm": lambda: rpm(dist, folder),
            "image": lambda: image(dist, folder),
            "installer": lambda: installer(dist, folder),
            "aarch64": lambda: elsewhere(
                dist / "octobundle-aarch64", ["qemu-aarch64-static"], dist / "octobundle", folder / "aarch64", {}),
            "signature": lambda: signature(dist, folder),
            "windows": lambda: windows(dist, folder),
            "arm-packages": lambda: packages_for_arm(dist, folder),
        }
        for part in given.only.split(","):
            print(f"==> {part}", flush=True)
            parts[part]()
    print("all of it holds")


if __name__ == "__main__":
    main()
