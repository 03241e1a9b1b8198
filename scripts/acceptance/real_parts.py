"""A real registry in a folder of its own, a proxy that counts, and the binary: what the acceptance scripts share."""

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Registry:
    """`docker-registry serve` on a free loopback port; `program` may be another version of it."""

    def __init__(self, folder, program="docker-registry"):
        program = shutil.which(program) or sys.exit(f"{program} is not installed: scripts/test.sh does it")
        folder = Path(folder)
        config = folder / "registry.yml"
        config.write_text(
            "version: 0.1\n"
            "log: {level: info, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder / 'registry'}}}}}\n"
            "http: {addr: 127.0.0.1:0}\n"
        )
        # Version 3 would look for somebody who takes its traces.
        surroundings = os.environ | {"OTEL_TRACES_EXPORTER": "none"}
        command = [program, "serve", str(config)]
        self.process = subprocess.Popen(command, env=surroundings, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            found = re.search(r"listening on (127\.0\.0\.1:\d+)", line)
            if found:
                self.host = found.group(1)
                break
        else:
            sys.exit("docker-registry did not start")
        # A full pipe would stop it.
        threading.Thread(target=lambda: [None for _ in self.process.stderr], daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class CountingProxy:
    """Hands TCP connections on, counts what the server sends, and lets it pass no faster than `rate` bytes a second."""

    CHUNK = 64 * 1024

    def __init__(self, upstream, rate=None):
        host, port = upstream.split(":")
        self.upstream = (host, int(port))
        self.rate = rate
        self.bytes = 0
        self.open = 0
        self.lock = threading.Lock()
        self.free_at = time.monotonic()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with self.lock:
            self.open += 1
        try:
            with client, socket.create_connection(self.upstream) as server:
                for end in (client, server):
                    # Small answers would wait for an acknowledgement that the other side delays.
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                upward = threading.Thread(target=self._hand_on, args=(client, server, False), daemon=True)
                upward.start()
                self._hand_on(server, client, True)
                upward.join()
        finally:
            with self.lock:
                self.open -= 1

    def _hand_on(self, source, target, counted):
        try:
            while data := source.recv(self.CHUNK):
                if counted:
                    self._wait_turn(len(data))
                target.sendall(data)
                if counted:
                    with self.lock:
                        self.bytes += len(data)
        except OSError:
            pass
        # The other direction may be waiting for bytes that can no longer be of use.
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _wait_turn(self, size):
        if not self.rate:
            return
        with self.lock:
            self.free_at = max(self.free_at, time.monotonic()) + size / self.rate
            until = self.free_at
        time.sleep(max(0, until - time.monotonic()))

    def settle(self):
        """Waits until every connection is closed, so that the count is final."""
        deadline = time.monotonic() + 30
        while self.open:
            if time.monotonic() > deadline:
                sys.exit("connections stay open although the client has ended")
            time.sleep(0.002)


def arguments(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("OCTOBUNDLE", ROOT / "target/release/octobundle"))
    parser.add_argument("--binary", type=Path, default=default, help="default: the release build")
    return parser


def check_binary(binary):
    if not binary.is_file():
        sys.exit(f"{binary} is missing: `cargo build --release --locked` makes it")
    return str(binary.resolve())


def environment(folder):
    """Nothing of the caller's settings: no proxy, no credentials."""
    return {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "TMPDIR": str(folder)}


def blob_bytes(bundle):
    """Bytes of all members below blobs/, as any tar reader sees them."""
    with tarfile.open(bundle) as members:
        return sum(member.size for member in members if member.name.startswith("blobs/"))


def megabytes(size):
    return f"{size / 1e6:.1f} MB"
