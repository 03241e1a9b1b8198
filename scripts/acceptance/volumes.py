#!/usr/bin/env python3
"""Carries a large bundle in FAT32 volumes through every command, and measures what that needs beside the volumes.

A registry that makes its layers on the spot (tars of zeros, 9 GB in all) is pulled with `--volume-size fat32` by a
process that may write no file above 4 GiB less one byte. Then the medium is read-only: `verify`, `serve`, `push` and,
where asked for, `load` take the volumes in place. strace sees every file that is opened for writing; what lies in TMPDIR and
beside the volumes is counted before and after.

The layers are zeros, so the disk image (btrfs, compressing, in a loop device) takes a few hundred megabytes. Reserving
space is refused to the pull there, since reserved space is not compressed. With --vfat MEGABYTES a smaller bundle goes onto a
FAT32 image that fusefat mounts read-only: kernels without vfat are common on build machines.

With --load a dockerd of its own, whose folder is on the same image, takes the images; what it writes there is its own.

Needs root, mkfs.btrfs, strace, docker-registry, python3; for --vfat dosfstools, mtools and fusefat; for --load dockerd.
"""

import hashlib
import http.server
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from real_parts import Registry, arguments, check_binary, environment, megabytes

FAT32 = 2**32 - 1
CHUNK = bytes(1 << 20)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
# What a command may write without writing a file: its streams, and what is no file on a disk.
HARMLESS = re.compile(r"^(/dev/(null|tty|stderr|stdout)|/proc/|/sys/)")
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC")


class Zeros:
    """A layer: a tar of one file of zeros, made anew each time that it is read."""

    def __init__(self, name, size):
        header = bytearray(512)
        # Above 8 GiB a size would need another form; the files stay below.
        fields = {0: name.encode(), 100: b"0000644\0", 108: b"0000000\0", 116: b"0000000\0", 124: b"%011o\0" % size,
                  136: b"00000000000\0", 148: b" " * 8, 156: b"0", 257: b"ustar\x0000"}
        for place, value in fields.items():
            header[place:place + len(value)] = value
        header[148:156] = b"%06o\0 " % sum(header)
        self.header = bytes(header)
        self.size = 512 + (size + 511) // 512 * 512 + 1024
        whole = hashlib.sha256()
        for piece in self.read(0):
            whole.update(piece)
        self.digest = "sha256:" + whole.hexdigest()

    def read(self, start):
        if start < 512:
            yield self.header[start:]
            start = 512
        while start < self.size:
            piece = CHUNK[:min(len(CHUNK), self.size - start)]
            start += len(piece)
            yield piece


class Source:
    """A registry of images with one such layer each."""

    def __init__(self, sizes):
        self.blobs, self.manifests = {}, {}
        for number, size in enumerate(sizes):
            layer = Zeros(f"zeros-{number}", size)
            config = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                                 "rootfs": {"type": "layers", "diff_ids": [layer.digest]}}).encode()
            config_digest = "sha256:" + hashlib.sha256(config).hexdigest()
            entry = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.digest, "size": layer.size}
            manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest,
                "size": len(config)}, "layers": [entry]}).encode()
            self.blobs.update({layer.digest: layer, config_digest: config})
            digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
            self.manifests.update({(f"large/image-{number}", "1"): manifest, (f"large/image-{number}", digest): manifest})
        source = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                source.answer(self, False)

            def do_GET(self):
                source.answer(self, True)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = "127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request, with_body):
        found = re.match(r"/v2/(.+)/(manifests|blobs)/([^/]+)$", request.path)
        if not found:
            return self.send(request, 200, "application/json", b"{}", with_body)
        name, kind, reference = found.groups()
        if kind == "manifests" and (name, reference) in self.manifests:
            return self.send(request, 200, MANIFEST, self.manifests[name, reference], with_body)
        blob = self.blobs.get(reference)
        if kind == "manifests" or blob is None:
            return self.send(request, 404, "application/json", b"{}", with_body)
        if isinstance(blob, bytes):
            return self.send(request, 200, "application/octet-stream", blob, with_body)
        asked = re.match(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(asked.group(1)) if asked else 0
        request.send_response(206 if asked else 200)
        request.send_header("Content-Length", str(blob.size - start))
        if asked:
            request.send_header("Content-Range", f"bytes {start}-{blob.size - 1}/{blob.size}")
        request.end_headers()
        if with_body:
            for piece in blob.read(start):
                request.wfile.write(piece)

    def send(self, request, status, kind, body, with_body):
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Docker-Content-Digest", "sha256:" + hashlib.sha256(body).hexdigest())
        request.end_headers()
        if with_body:
            request.wfile.write(body)

    def manifest(self):
        lines = ["schema: octobundle/v1", "release: large-1", "title: A large release", "images:"]
        names = sorted(name for name, reference in self.manifests if reference == "1")
        lines += [f"  - {{image: '{self.host}/{name}:1', role: agent}}" for name in names]
        return "\n".join(lines) + "\n"


class Disk:
    """A compressing file system in a sparse file, so that zeros take no room."""

    def __init__(self, folder, size):
        self.image, self.at = folder / "disk.img", folder / "disk"
        self.at.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(size)
        run(["mkfs.btrfs", "-q", str(self.image)])
        run(["mount", "-o", "loop,compress-force=zstd:1,noatime", str(self.image), str(self.at)])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", str(self.at)], check=False)


def run(words, **more):
    done = subprocess.run(words, check=False, capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: {done.stderr}")
    return done.stdout


def used(*folders):
    """Bytes in these folders, files counted with their whole length."""
    return sum(path.stat().st_size for folder in folders for path in Path(folder).rglob("*") if path.is_file())


class Trial:
    def __init__(self, binary, work):
        self.binary, self.work = binary, work
        self.work.mkdir()
        self.failed = False

    def traced(self, trace, words, inject=()):
        strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", str(trace), "-e", "trace=open,openat,openat2,creat,fallocate",
                  *inject]
        return [*strace, self.binary, *words]

    def measure(self, what, words, stick, may_write=(), more=None):
        """Runs a command and tells what it left and which files it opened for writing."""
        trace = self.work.parent / "trace"
        before, began = used(self.work, stick), time.monotonic()
        run(self.traced(trace, words), cwd=self.work, env=environment(self.work) | (more or {}))
        self.told(what, time.monotonic() - began, used(self.work, stick) - before, self.written(trace, may_write))

    def told(self, what, seconds, left, written):
        print(f"{what:<10} {seconds:7.1f} s   left behind {left} bytes   files opened for writing: {written or 'none'}",
              flush=True)
        self.failed |= bool(left or written)

    @staticmethod
    def written(trace, may_write=()):
        names = set()
        for line in trace.read_text(errors="replace").splitlines():
            found = re.search(r'open\w*\([^"]*"([^"]*)", ([A-Z_|]+)', line)
            if found and WRITING.search(found.group(2)) and "= -1" not in line and not HARMLESS.match(found.group(1)):
                names.add(found.group(1))
        return sorted(names - set(may_write))


def serve(trial, stick, source, what):
    """Starts `serve` and reads the first layer, which lies in more than one volume, through it."""
    trace = trial.work.parent / "trace"
    before, began = used(trial.work, stick), time.monotonic()
    words = trial.traced(trace, ["serve", str(stick), "--listen", "127.0.0.1:0", "--json"])
    serving = subprocess.Popen(words, cwd=trial.work, env=environment(trial.work), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    try:
        address = None
        lines = []
        for line in serving.stdout:
            lines.append(line)
            found = re.search(r"(127\.0\.0\.1:\d+)", line)
            if found:
                address = found.group(1)
                break
        if not address:
            sys.exit(f"serve did not start: {lines} {serving.stderr.read()}")
        threading.Thread(target=lambda: [None for _ in serving.stdout], daemon=True).start()
        threading.Thread(target=lambda: [None for _ in serving.stderr], daemon=True).start()
        names = json.load(urllib.request.urlopen(f"http://{address}/v2/_catalog"))["repositories"]
        for digest, layer in source.blobs.items():
            if isinstance(layer, Zeros):
                name = next(name for name in names if served(address, name, digest))
                got = hashlib.sha256()
                with urllib.request.urlopen(f"http://{address}/v2/{name}/blobs/{digest}") as answer:
                    while piece := answer.read(1 << 20):
                        got.update(piece)
                if "sha256:" + got.hexdigest() != digest:
                    sys.exit(f"serve sent other bytes for {digest}")
    finally:
        child = run(["pgrep", "-P", str(serving.pid)]).split()
        subprocess.run(["kill", "-TERM", *child], check=False)
        serving.wait()
    trial.told(what, time.monotonic() - began, used(trial.work, stick) - before, trial.written(trace))


def served(address, name, digest):
    try:
        return urllib.request.urlopen(urllib.request.Request(f"http://{address}/v2/{name}/blobs/{digest}", method="HEAD"))
    except urllib.error.HTTPError:
        return False


def pull(trial, source, stick, folder, size):
    (trial.work / "release.yaml").write_text(source.manifest())
    trace = folder / "trace"
    refuse = ["-e", "inject=fallocate:error=EOPNOTSUPP"]
    words = trial.traced(trace, ["pull", "release.yaml", "-o", str(stick / "large.tar"), "--volume-size", size], refuse)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (FAT32, FAT32))
    began = time.monotonic()
    run(words, cwd=trial.work, env=environment(trial.work), preexec_fn=limit)
    opened = Trial.written(trace)
    others = [name for name in opened if not name.startswith(str(stick))]
    if others == opened:
        sys.exit("strace did not see how the volumes were written")
    largest = max(path.stat().st_size for path in stick.iterdir())
    names = sorted(path.name for path in stick.iterdir())
    print(f"pull       {time.monotonic() - began:7.1f} s   {megabytes(used(stick))} in {names}, the largest {largest} bytes; "
          f"files opened for writing elsewhere: {others or 'none'}", flush=True)
    trial.failed |= bool(others) or largest > FAT32


class Docker:
    """A docker daemon with its own folders; it changes nothing on the host."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        (folder / "daemon.json").write_text("{}")
        self.socket = folder / "docker.sock"

    def __enter__(self):
        at = lambda name: str(self.folder / name)
        words = ["dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs",
                 "--config-file", at("daemon.json"), "--pidfile", at("pid"), "--data-root", at("data"),
                 "--exec-root", at("exec"), "--host", f"unix://{self.socket}",
                 "--containerd-namespace", self.folder.parent.name, "--containerd-plugins-namespace", self.folder.parent.name + "-p"]
        log = open(self.folder / "log", "w")
        self.daemon = subprocess.Popen(words, stdout=log, stderr=log)
        while subprocess.run(["docker", "-H", f"unix://{self.socket}", "version"], capture_output=True, check=False).returncode:
            if self.daemon.poll() is not None:
                sys.exit(f"dockerd did not start: {(self.folder / 'log').read_text()}")
            time.sleep(0.2)
        return self

    def __exit__(self, *_):
        self.daemon.terminate()
        self.daemon.wait()


def carry(trial, source, stick, options, label=""):
    trial.measure(f"verify{label}", ["verify", str(stick)], stick)
    trial.measure(f"inspect{label}", ["inspect", str(stick)], stick)
    if "serve" in run([trial.binary, "--help"]):
        serve(trial, stick, source, f"serve{label}")
    store = options.store / f"registry{label}"
    store.mkdir()
    with Registry(store) as registry:
        trial.measure(f"push{label}", ["push", str(stick), "--registry", f"{registry.host}/x"], stick)
    shutil.rmtree(store)
    if options.load:
        with Docker(options.store / f"docker{label}") as docker:
            trial.measure(f"load{label}", ["load", str(stick), "--engine", "docker"], stick,
                          more={"DOCKER_HOST": f"unix://{docker.socket}"})
            names = run(["docker", "-H", f"unix://{docker.socket}", "images", "--format", "{{.Repository}}"]).split()
            wanted = {f"{source.host}/{name}" for name, reference in source.manifests if reference == "1"}
            if set(names) != wanted:
                sys.exit(f"docker has {names} instead of {sorted(wanted)}")
        shutil.rmtree(options.store / f"docker{label}")


def on_vfat(binary, folder, options):
    """The same on a FAT32 image, which fusefat mounts read-only."""
    source = Source([options.vfat * 400_000, options.vfat * 600_000])
    trial, stick, image, at = Trial(binary, folder / "vfat-work"), folder / "set", folder / "fat.img", folder / "fat"
    stick.mkdir()
    at.mkdir()
    pull(trial, source, stick, folder, f"{max(1, options.vfat // 3)}M")
    with open(image, "wb") as file:
        file.truncate(max(64, 2 * options.vfat) * 1_000_000)
    run(["mkfs.vfat", "-F", "32", str(image)])
    run(["mcopy", "-i", str(image), *map(str, sorted(stick.iterdir())), "::"])
    run(["fusefat", "-o", "ro", str(image), str(at)])
    try:
        carry(trial, source, at, options, "-vfat")
    finally:
        run(["fusermount", "-u", str(at)])
    return trial.failed


def main():
    parser = arguments(__doc__)
    parser.add_argument("--gigabytes", type=float, default=9, help="of layers (9)")
    parser.add_argument("--vfat", type=int, default=0, metavar="MEGABYTES", help="also on a FAT32 image of this many")
    parser.add_argument("--load", action="store_true", help="also into a docker of its own")
    options = parser.parse_args()
    binary = check_binary(options.binary)
    whole = int(options.gigabytes * 1e9)
    with tempfile.TemporaryDirectory(prefix="volumes-") as folder, Disk(Path(folder), 8 * whole + 10**9) as disk:
        folder, options.store = Path(folder), disk.at
        # The largest layer lies in several volumes; no file in it needs more than eleven octal digits.
        source = Source([whole * 6 // 10, whole * 3 // 10, whole // 10])
        trial, stick = Trial(binary, folder / "work"), disk.at / "stick"
        stick.mkdir()
        pull(trial, source, stick, folder, "fat32")
        view = folder / "stick"
        view.mkdir()
        run(["mount", "--bind", str(stick), str(view)])
        try:
            run(["mount", "-o", "remount,ro,bind", str(view)])
            carry(trial, source, view, options)
        finally:
            run(["umount", str(view)])
        failed = trial.failed
        if options.vfat:
            failed |= on_vfat(binary, folder, options)
    sys.exit("something was written, see above" if failed else 0)


if __name__ == "__main__":
    main()
