#!/usr/bin/env python3
"""Measures two promises of a pull: its peak memory with 16 jobs, and that layer bytes are written once.

Memory: the kernel's own high-water mark (VmHWM) of a pull of about 2.3 GB stays below 48 MiB.
Writes: strace sees each byte of the bundle written once, and no other file of any size.
With --layer-gigabytes 20, only this: the pull of one layer of that size, whose bytes the registry makes as they are sent.

Needs: docker-registry, strace, python3, the release binary, and three times the set's size on the disk of TMPDIR; for
one layer its size.
"""

import hashlib
import http.server
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from real_parts import Registry, arguments, check_binary, environment, megabytes
from release_set import OCI, ReleaseSet, as_json, descriptor, digest

MEMORY_LIMIT = 48 * 1024 * 1024
# Members before the blobs are written as they become known.
OTHER_WRITES = 4 * 1024 * 1024
# All files together: the bundle, its checksums, its list of pieces, the journal.
MOST_WRITTEN = 1.005
# Large enough for the small files to be within that.
TRACED_SCALE = 8.0
WRITING = "write,writev,pwrite64,pwritev,pwritev2,copy_file_range,sendfile,splice,mmap"


def peak_memory(binary, folder, jobs):
    """High-water mark of resident memory in bytes. It never falls, so the last sample before the end is the peak."""
    words = [binary, "pull", "release.yaml", "-o", "memory.tar", "--jobs", str(jobs)]
    running = subprocess.Popen(words, cwd=folder, env=environment(folder), stderr=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, text=True)
    peak = 0
    status = Path(f"/proc/{running.pid}/status")
    while running.poll() is None:
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            peak = int(found.group(1)) * 1024
        time.sleep(0.005)
    if running.returncode != 0:
        sys.exit(f"the pull failed: {running.stderr.read()}")
    return peak


class Writes:
    """What a trace says was written, by file."""

    # pwrite64(9</tmp/x/release.tar.partial>, "..."..., 65536, 1024) = 65536
    CALL = re.compile(r"(\w+)\((\d+)<([^>]*)>.*?(?:, (\d+))?\) += (\d+)$")
    SHARED = re.compile(r"mmap\(.*MAP_SHARED.*<(/[^>]*)>")

    def __init__(self, trace):
        self.by_file = {}
        self.places = {}
        self.mapped = set()
        for line in trace:
            self._take(line.rstrip())

    def _take(self, line):
        shared = self.SHARED.search(line)
        if shared and "PROT_WRITE" in line:
            self.mapped.add(shared.group(1))
        found = self.CALL.search(line)
        if not found or found.group(1) == "mmap" or not found.group(3).startswith("/"):
            return
        call, path, offset, size = found.group(1), found.group(3), found.group(4), int(found.group(5))
        if path.startswith("/dev/"):
            return
        self.by_file[path] = self.by_file.get(path, 0) + size
        if call == "pwrite64":
            self.places.setdefault(path, []).append((int(offset), size))

    def written_twice(self):
        """Bytes of places that two positioned writes meet, over all files."""
        twice = 0
        for writes in self.places.values():
            end = 0
            for begin, size in sorted(writes):
                twice += max(0, min(end, begin + size) - begin)
                end = max(end, begin + size)
        return twice


def traced_pull(binary, folder):
    trace = folder / "trace"
    # -ff gives each thread a file of its own: lines of one call are never torn apart.
    words = ["strace", "-ff", "-qq", "-y", "-s", "0", "-e", f"trace={WRITING}", "-o", str(trace)]
    words += [binary, "pull", "release.yaml", "-o", "traced.tar", "--jobs", "16"]
    done = subprocess.run(words, cwd=folder, env=environment(folder), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"the traced pull failed: {done.stderr}")
    lines = []
    for part in folder.glob("trace.*"):
        lines += part.read_text(errors="replace").splitlines()
    return Writes(lines)


def check_memory(binary, scale, jobs):
    with release(scale) as folder:
        peak = peak_memory(binary, folder, jobs)
        size = (folder / "memory.tar").stat().st_size
    print(f"peak memory with {jobs} jobs: {peak / 1024 / 1024:.1f} MiB for a bundle of {megabytes(size)}")
    return [] if peak < MEMORY_LIMIT else [f"peak memory is above {MEMORY_LIMIT / 1024 / 1024:.0f} MiB"]


def check_writes(binary):
    with release(TRACED_SCALE) as folder:
        writes = traced_pull(binary, folder)
        size = (folder / "traced.tar").stat().st_size
    total, twice = sum(writes.by_file.values()), writes.written_twice()
    print(f"bundle of {megabytes(size)}: {megabytes(total)} written in all, {twice} bytes written twice")
    for path, count in sorted(writes.by_file.items(), key=lambda item: -item[1])[:5]:
        print(f"    {count:>12} {Path(path).name}")
    wrong = []
    # Padding need not be written where the file system gives zeros.
    if total < size - OTHER_WRITES:
        wrong.append("fewer bytes were seen than the bundle has: the trace is blind to something")
    if total > size * MOST_WRITTEN:
        wrong.append(f"more than {MOST_WRITTEN} times the bundle was written")
    if twice > OTHER_WRITES:
        wrong.append("places of the bundle were written twice")
    if writes.mapped:
        wrong.append(f"files are written through memory, which the trace cannot count: {sorted(writes.mapped)}")
    return wrong


class OneLayer:
    """A registry of one image with one layer of `size` bytes, which are nowhere but on the line."""

    # Its length has no common factor with what is written or hashed at once.
    BLOCK = bytes(range(251)) * 4099

    def __init__(self, size):
        self.size = size
        whole = hashlib.sha256()
        for part in self._parts(0):
            whole.update(part)
        self.layer = {"mediaType": OCI["layer"], "digest": "sha256:" + whole.hexdigest(), "size": size}
        config = as_json({"architecture": "amd64", "os": "linux", "config": {},
                          "rootfs": {"type": "layers", "diff_ids": [self.layer["digest"]]}})
        manifest = as_json({"schemaVersion": 2, "mediaType": OCI["manifest"],
                            "config": descriptor(OCI["config"], config), "layers": [self.layer]})
        self.documents = {"manifests/1.0": (OCI["manifest"], manifest),
                          f"manifests/{digest(manifest)}": (OCI["manifest"], manifest),
                          f"blobs/{digest(config)}": ("application/octet-stream", config)}

    def _parts(self, at):
        while at < self.size:
            part = self.BLOCK[at % len(self.BLOCK):][:self.size - at]
            at += len(part)
            yield part

    def __enter__(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                name = self.path.removeprefix("/v2/octoperf/one/")
                if name == "blobs/" + outer.layer["digest"]:
                    self._layer()
                elif name in outer.documents:
                    kind, content = outer.documents[name]
                    self._head(200, len(content), {"Content-Type": kind})
                    self.wfile.write(content)
                else:
                    self._head(404, 0, {})

            def _layer(self):
                asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
                at = int(asked.group(1)) if asked else 0
                more = {"Content-Range": f"bytes {at}-{outer.size - 1}/{outer.size}"} if asked else {}
                self._head(206 if asked else 200, outer.size - at, more)
                for part in outer._parts(at):
                    self.wfile.write(part)

            def _head(self, status, length, more):
                self.send_response(status)
                for name, value in {"Content-Length": length, **more}.items():
                    self.send_header(name, str(value))
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.host = "127.0.0.1:%d" % self.server.server_address[1]
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def check_one_layer(binary, gigabytes, jobs):
    size = int(gigabytes * 1e9)
    with tempfile.TemporaryDirectory(prefix="octobundle-") as folder, OneLayer(size) as registry:
        folder = Path(folder)
        if shutil.disk_usage(folder).free < size * 1.02:
            sys.exit(f"{megabytes(size)} are needed in the temporary folder: set TMPDIR, or give a smaller layer")
        image = f"{registry.host}/octoperf/one:1.0"
        (folder / "release.yaml").write_text(
            f"schema: octobundle/v1\nrelease: one-layer\ntitle: One layer\nimages:\n  - image: {image}\n    role: agent\n")
        begun = time.monotonic()
        peak = peak_memory(binary, folder, jobs)
        took = time.monotonic() - begun
        written = (folder / "memory.tar").stat().st_size
    print(f"peak memory with {jobs} jobs: {peak / 1024 / 1024:.1f} MiB for one layer of {megabytes(size)} in {took:.0f} s")
    wrong = [] if peak < MEMORY_LIMIT else [f"peak memory is above {MEMORY_LIMIT / 1024 / 1024:.0f} MiB"]
    if not size < written < size * 1.005:
        wrong.append(f"a bundle of {written} bytes for a layer of {size}")
    return wrong


class release:
    """A folder with the release manifest, and the registry that it names."""

    def __init__(self, scale):
        self.scale = scale

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="octobundle-")
        folder = Path(self.temporary.name)
        needed = int(3 * 57e6 * self.scale)
        if shutil.disk_usage(folder).free < needed:
            sys.exit(f"{megabytes(needed)} are needed in the temporary folder: set TMPDIR, or give a smaller --scale")
        self.registry = Registry(folder)
        (folder / "blobs").mkdir()
        made = ReleaseSet(folder / "blobs", self.scale)
        made.push(self.registry.host)
        (folder / "release.yaml").write_text(made.manifest(self.registry.host))
        return folder

    def __exit__(self, *_):
        self.registry.__exit__()
        self.temporary.cleanup()


def main():
    parser = arguments(__doc__)
    parser.add_argument("--scale", type=float, default=40, help="size of the set for the memory: 40 is about 2.3 GB")
    parser.add_argument("--jobs", type=int, default=16)
    parser.add_argument("--layer-gigabytes", type=float, help="pull one layer of this size instead, 20 for example")
    given = parser.parse_args()
    binary = check_binary(given.binary)
    if given.layer_gigabytes:
        ended(check_one_layer(binary, given.layer_gigabytes, given.jobs))
    if not shutil.which("strace"):
        sys.exit("strace is not installed: scripts/test.sh does it")
    ended(check_writes(binary) + check_memory(binary, given.scale, given.jobs))


def ended(wrong):
    for line in wrong:
        print(f"FAILED: {line}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
