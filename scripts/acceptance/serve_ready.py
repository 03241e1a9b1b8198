#!/usr/bin/env python3
"""Measures how soon `octobundle serve` answers on a large bundle, as one file and in FAT32 volumes, and that it only reads.

The bundle (9 GB of zeros, made on the spot) lies on a compressing file system that is mounted read-only. For each form:

1. From the start of the process to the first 200 of `/v2/`, many times; with the bundle in the system's cache, and without.
2. Once under strace: every file of the bundle is opened for reading only; the open descriptors say the same.
3. Every layer is fetched and hashed. Afterwards `du`, lengths, modes and times of everything are what they were.

Fails if a median is not below 100 ms, or if anything was written or opened for writing.

Needs root, mkfs.btrfs, strace, python3 and the release binary. It takes some minutes, most of them for making the bundle.
"""

import hashlib
import http.client
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from real_parts import arguments, check_binary, environment
from volumes import Disk, Source, Trial, Zeros, pull, run

READY = 0.1
DEADLINE = 60


class Serving:
    """A server at a free port; `seconds` is what it took until the first answer."""

    def __init__(self, words, work):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.address = ("127.0.0.1", port)
        request = f"GET /v2/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
        began = time.monotonic()
        self.process = subprocess.Popen([*words, "--listen", f"127.0.0.1:{port}", "--quiet"], cwd=work,
                                        env=environment(work), stdout=subprocess.DEVNULL)
        while not self._answers(request):
            if self.process.poll() is not None or time.monotonic() - began > DEADLINE:
                sys.exit("serve did not answer")
        self.seconds = time.monotonic() - began

    def _answers(self, request):
        try:
            with socket.create_connection(self.address) as client:
                client.sendall(request)
                return client.recv(4096).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False

    def end(self, process=None):
        os.kill(process or self.process.pid, signal.SIGTERM)
        if self.process.wait():
            sys.exit(f"serve ended with {self.process.returncode}")


def forget(folder):
    """Lets the system drop what it has cached of a folder's files."""
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def state(*folders):
    """What `du` says, and length, mode and times of every file."""
    blocks = run(["du", "-s", "-B1", *map(str, folders)])
    files = {}
    for folder in folders:
        for path in [folder, *sorted(folder.rglob("*"))]:
            told = path.stat()
            files[str(path)] = (told.st_size, told.st_mode, told.st_mtime_ns, told.st_ctime_ns, told.st_blocks)
    return blocks, files


def modes(process, place):
    """The access modes of the files at or below a place that a process has open; 0 is for reading only."""
    found = []
    for link in Path(f"/proc/{process}/fd").iterdir():
        if str(link.readlink()).startswith(str(place)):
            flags = re.search(r"flags:\s+(\d+)", Path(f"/proc/{process}/fdinfo/{link.name}").read_text())
            found.append(int(flags.group(1), 8) & os.O_ACCMODE)
    return found


def fetch_all(address, source):
    """Fetches every layer and compares it with its digest."""
    for name, reference in source.manifests:
        if reference != "1":
            continue
        number = int(name.rsplit("-", 1)[1])
        layer = [blob for blob in source.blobs.values() if isinstance(blob, Zeros)][number]
        client = http.client.HTTPConnection(*address)
        client.request("GET", f"/v2/{name}/blobs/{layer.digest}")
        answer = client.getresponse()
        got = hashlib.sha256()
        while piece := answer.read(1 << 20):
            got.update(piece)
        if "sha256:" + got.hexdigest() != layer.digest:
            sys.exit(f"serve sent other bytes for {layer.digest}")


def times(trial, place, count, cold):
    found = []
    for _ in range(count):
        if cold:
            forget(place.parent)
        serving = Serving([trial.binary, "serve", str(place)], trial.work)
        found.append(serving.seconds)
        serving.end()
    return found


def look(trial, what, place, source, options):
    wrong = []
    before = state(place.parent, trial.work)
    for kind, cold in [("warm", False), ("cold", True)]:
        found = times(trial, place, options.starts, cold)
        median = statistics.median(found)
        print(f"{what:<8} ready, {kind}: median {median * 1000:.1f} ms, worst {max(found) * 1000:.1f} ms of {len(found)}",
              flush=True)
        if median >= READY:
            wrong.append(f"{what}: {kind} start takes {median * 1000:.1f} ms")
    trace = trial.work.parent / "trace"
    serving = Serving(trial.traced(trace, ["serve", str(place)]), trial.work)
    child = int(run(["pgrep", "-P", str(serving.process.pid)]).split()[0])
    read = int(re.search(r"rchar: (\d+)", Path(f"/proc/{child}/io").read_text()).group(1))
    open_modes = modes(child, place.parent)
    fetch_all(serving.address, source)
    open_modes += modes(child, place.parent)
    serving.end(child)
    written = Trial.written(trace)
    print(f"{what:<8} {read} bytes read until the first answer; {len(open_modes)} looks at open files, "
          f"access modes {sorted(set(open_modes))}; files opened for writing: {written or 'none'}", flush=True)
    if written or not open_modes or set(open_modes) != {os.O_RDONLY}:
        wrong.append(f"{what}: a file was opened for writing")
    after = state(place.parent, trial.work)
    changed = sorted(name for name in {**before[1], **after[1]} if before[1].get(name) != after[1].get(name))
    print(f"{what:<8} du afterwards: {'unchanged' if before[0] == after[0] else after[0]}; files changed: {changed or 'none'}")
    if before != after:
        wrong.append(f"{what}: something was left behind")
    return wrong


def main():
    parser = arguments(__doc__)
    parser.add_argument("--gigabytes", type=float, default=9, help="of layers (9)")
    parser.add_argument("--starts", type=int, default=21, help="how often each is started")
    options = parser.parse_args()
    binary = check_binary(options.binary)
    whole = int(options.gigabytes * 1e9)
    with tempfile.TemporaryDirectory(prefix="ready-") as folder, Disk(Path(folder), 8 * whole + 10**9) as disk:
        folder = Path(folder)
        source = Source([whole * 6 // 10, whole * 3 // 10, whole // 10])
        trial, stick, one = Trial(binary, folder / "work"), disk.at / "stick", disk.at / "one"
        stick.mkdir()
        one.mkdir()
        pull(trial, source, stick, folder, "fat32")
        with open(one / "large.tar", "wb") as joined:
            subprocess.run(["cat", *map(str, sorted(stick.glob("large.tar.[0-9]*")))], stdout=joined, check=True)
        run(["mount", "-o", "remount,ro", str(disk.at)])
        wrong = look(trial, "one file", one / "large.tar", source, options)
        wrong += look(trial, "volumes", stick / "large.tar.001", source, options)
    for line in wrong:
        print(f"FAILED: {line}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
