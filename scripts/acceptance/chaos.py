#!/usr/bin/env python3
"""Pulls and pushes through a line that cuts, truncates, stalls, corrupts or answers 5xx once per so many bytes.

The pull must end with a bundle that is byte for byte the calm one, with at most 3 % more bytes on the line. The push
must end with the same digests in the second registry as in the first.

The line carries TLS, so that an altered byte is noticed where it is and costs its connection, not its blob: without
TLS nobody can tell which part of a layer is wrong. Behind the line requests are handed to the registry as they come, or
with `--buffering` whole, as proxies with request buffering do.

What a push needs depends on what the registry keeps of a request that broke; `--ask` shows it. Version 3 of the
distribution registry keeps all that arrived (`--registry PROGRAM`). docker-registry 2.8 forgets an upload as soon as it
holds other bytes than the client's last answer says: a layer of S bytes starts anew with each fault and needs
D * (exp(S / D) - 1) bytes where faults are D apart, a hundred gigabytes for 50 MB and faults every 5 MB. With `--buffering`
it never sees half a request, but still forgets an upload of which an answer was lost. No client can help either; whoever
must push to it over such a line has it behind a buffering proxy, and sees a few layers sent twice.
With `--buffering` each fault costs the part that it strikes, and each part costs its heads, some 1,100 bytes: for faults
every 5 MB no size of parts needs less than 2.5 % more, of which errors that are answered only to a whole part are a quarter.

What counts are the bytes that the line took in from either end. Its segments are Ethernet's: over loopback, with segments
of 64 KiB, the system lets a sender run 4 MB ahead of the receiver, and all of that is lost with a connection.

Needs: docker-registry, openssl, python3, the release binary. Some minutes for 2 GB; each stall takes 30 s.
"""

import http.client
import queue
import random
import socket
import ssl
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

from kill9 import file_hash
from real_parts import Registry, arguments, check_binary, environment, megabytes
from release_set import ReleaseSet, ask, digest

CHUNK = 16 * 1024
ETHERNET = 1448
# Of twenty faults: stalls are few, since each takes the client's whole patience.
KINDS = ["cut"] * 6 + ["truncate"] * 5 + ["flip"] * 4 + ["5xx"] * 4 + ["stall"]
NO_BODY = (204, 304)


class Plan:
    """Which fault comes with which byte; the same for the same seed and the same bytes."""

    def __init__(self, seed, every):
        self.random, self.every = random.Random(seed), every
        self.lock = threading.Lock()
        self.raging = False
        self.bytes = self.passed = self.refusals = 0
        self.struck = dict.fromkeys(KINDS, 0)
        self.due = self.random.uniform(0, every)
        self.window = 0

    def rage(self):
        with self.lock:
            self.raging, self.passed, self.bytes = True, 0, 0

    def count(self, size):
        with self.lock:
            self.bytes += size

    def strike(self, size):
        """The fault that comes with these bytes, if any."""
        with self.lock:
            if not self.raging:
                return None
            self.passed += size
            if self.passed < self.due:
                return None
            self.window += 1
            self.due = self.window * self.every + self.random.uniform(0, self.every)
            kind = self.random.choice(KINDS)
            self.struck[kind] += 1
            if kind == "5xx":
                self.refusals += 1
                return None
            return kind

    def refuses(self):
        """Whether the next request is to be answered with an error."""
        with self.lock:
            if self.refusals == 0:
                return None
            self.refusals -= 1
            return self.random.choice([500, 502, 503, 504])


class Server:
    """A thread for each connection."""

    def __init__(self, buffers=None):
        self.listener = socket.socket()
        if buffers:
            # Small, since all of it is lost with a cut; connections inherit it.
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
            self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, ETHERNET)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.address = self.listener.getsockname()
        self.host = "127.0.0.1:%d" % self.address[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._guarded, args=(client,), daemon=True).start()

    def _guarded(self, client):
        try:
            self.serve(client)
        except (OSError, EOFError, ValueError):
            pass  # Broken on purpose, here or at the other end.
        finally:
            client.close()


class Line(Server):
    """Hands bytes on below TLS, and does to them what the plan says."""

    def __init__(self, upstream, plan):
        self.upstream, self.plan = upstream, plan
        super().__init__(buffers=CHUNK)

    def serve(self, client):
        with socket.create_connection(self.upstream) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ended = queue.SimpleQueue()
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._hand_on, args=(source, target, ended), daemon=True).start()
            kind = ended.get()
            if kind == "stall":
                ended.get()  # The client leaves.
            if kind == "cut":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif kind != "stall":
                self._shut(client)
            self._shut(server)

    def _hand_on(self, source, target, ended):
        kind = None
        try:
            while data := source.recv(CHUNK):
                self.plan.count(len(data))
                kind = self.plan.strike(len(data))
                if kind == "flip":
                    altered = bytearray(data)
                    altered[len(data) // 2] ^= 0x10
                    data, kind = bytes(altered), None
                elif kind:
                    data = data[: len(data) // 2]
                target.sendall(data)
                if kind == "stall":
                    ended.put(kind)
                    while source.recv(CHUNK):
                        pass
                    return ended.put(None)
                if kind:
                    break
        except OSError:
            pass
        ended.put(kind)

    @staticmethod
    def _shut(end):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Gateway(Server):
    """TLS and HTTP in front of a registry: hands whole requests on, or answers 5xx in its place."""

    def __init__(self, upstream, context, plan, buffering):
        host, port = upstream.split(":")
        self.upstream, self.context, self.plan, self.buffering = (host, int(port)), context, plan, buffering
        super().__init__()

    def serve(self, client):
        client = self.context.wrap_socket(client, server_side=True)
        reader = client.makefile("rb")
        with client, socket.create_connection(self.upstream) as server:
            answers = server.makefile("rb")
            while True:
                head = read_head(reader)
                status = self.plan.refuses()
                if not self.buffering and not status:
                    server.sendall(head)
                    copy(reader, server.makefile("wb", buffering=0), length_of(head))
                else:
                    with tempfile.TemporaryFile() as body:
                        copy(reader, body, length_of(head))
                        if status:
                            client.sendall(b"HTTP/1.1 %d Chaos\r\nContent-Length: 0\r\n\r\n" % status)
                            continue
                        server.sendall(head)
                        body.seek(0)
                        while chunk := body.read(CHUNK):
                            server.sendall(chunk)
                self._answer(client, answers, head.startswith(b"HEAD "))

    @staticmethod
    def _answer(client, answers, headless):
        head = read_head(answers)
        client.sendall(head)
        if headless or int(head.split(b" ")[1]) in NO_BODY:
            return
        if b"transfer-encoding: chunked" in head.lower():
            size = -1
            while size:
                line = answers.readline()
                size = int(line.split(b";")[0], 16)
                client.sendall(line + answers.read(size + 2))
            return
        left = length_of(head)
        while left:
            chunk = answers.read(min(left, CHUNK))
            if not chunk:
                raise EOFError
            client.sendall(chunk)
            left -= len(chunk)


def read_head(reader):
    lines = [reader.readline()]
    while lines[-1] not in (b"\r\n", b""):
        lines.append(reader.readline())
    if lines[-1] == b"":
        raise EOFError
    return b"".join(lines)


def length_of(head):
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def copy(reader, target, left):
    while left:
        chunk = reader.read(min(left, CHUNK))
        if not chunk:
            raise EOFError
        target.write(chunk)
        left -= len(chunk)


def certificate(folder):
    """A key and a certificate of its own for 127.0.0.1."""
    key, pem = folder / "own.key", folder / "own.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=chaos", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", pem],
        check=True, capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    return context


class Chaos:
    def __init__(self, folder, binary, given):
        self.folder, self.binary, self.given = folder, binary, given
        self.context = certificate(folder)
        self.failures = []

    def line(self, registry):
        plan = Plan(self.given.seed, self.given.every * 1e6)
        return Line(Gateway(registry.host, self.context, plan, self.given.buffering).address, plan), plan

    def run(self, what, line, *words):
        begun = time.monotonic()
        # With this flag a loopback host is spoken to over TLS.
        done = subprocess.run(
            [self.binary, *words, "--insecure-tls", line.host, "--retry-for", str(self.given.patience)],
            cwd=self.folder, env=environment(self.folder), capture_output=True, text=True,
        )
        seconds = time.monotonic() - begun
        if done.returncode != 0:
            self.failures.append(f"{what} ended with {done.returncode}: {done.stderr[-2000:]}")
        print(f"{what}: {megabytes(line.plan.bytes)} on the line, {seconds:.0f} s", flush=True)
        return line.plan.bytes

    def hold(self, what, calm, broken, allowed):
        extra = (broken / calm - 1) * 100
        print(f"{what}: {extra:.2f} % more bytes than on the calm line")
        if extra > allowed:
            self.failures.append(f"{what}: {extra:.2f} % more bytes, {allowed} % allowed")

    def pull(self, registry, made):
        line, plan = self.line(registry)
        (self.folder / "release.yaml").write_text(made.manifest(line.host))
        calm = self.run("calm pull", line, "pull", "release.yaml", "-o", "calm.tar")
        plan.rage()
        broken = self.run("pull in chaos", line, "pull", "release.yaml", "-o", "broken.tar")
        print(f"faults: {plan.struck}")
        hashes = [file_hash(self.folder / name) for name in ("calm.tar", "broken.tar") if (self.folder / name).exists()]
        if len(set(hashes)) != 1 or len(hashes) != 2:
            self.failures.append("the bundles differ")
        self.hold("pull", calm, broken, 3)

    def push(self, made):
        measured = []
        for raging in (False, True):
            place = self.folder / f"sink-{raging}"
            place.mkdir()
            with Registry(place, self.given.registry) as sink:
                line, plan = self.line(sink)
                if raging:
                    plan.rage()
                measured.append(self.run("push in chaos" if raging else "calm push", line, "push", "calm.tar",
                                         "--registry", line.host))
                if raging:
                    print(f"faults: {plan.struck}")
                try:
                    self.compare(sink, made)
                except SystemExit as missing:
                    self.failures.append(f"the second registry is not like the first: {missing}")
        self.hold("push", *measured, self.given.push_extra)

    def compare(self, sink, made):
        """Every document and blob that the bundle holds, as the second registry has it; names as in the first."""
        connection = http.client.HTTPConnection(sink.host, timeout=60)
        with tarfile.open(self.folder / "calm.tar") as members:
            held = {"sha256:" + Path(member.name).name for member in members}
        for repository, tag, _, documents, blobs in made.images:
            for kind, document in documents:
                if digest(document) not in held:
                    continue
                names = [digest(document)] + ([tag] if document is documents[-1][1] else [])
                for name in names:
                    answer = ask(connection, "HEAD", f"/v2/{repository}/manifests/{name}", 200, None, {"Accept": kind})
                    if answer.getheader("Docker-Content-Digest") != digest(document):
                        self.failures.append(f"{repository}:{name} has another digest")
            for blob in held.intersection(blobs):
                ask(connection, "HEAD", f"/v2/{repository}/blobs/{blob}", 200)


def show_memory(program):
    """What a registry still has of an upload of which one part arrived and the next one broke."""
    part = random.Random(1).randbytes(1_000_000)
    with tempfile.TemporaryDirectory(prefix="octobundle-") as folder, Registry(folder, program) as registry:
        connection = http.client.HTTPConnection(registry.host, timeout=60)
        begun = ask(connection, "POST", "/v2/a/b/blobs/uploads/", 202, b"")
        first = ask(connection, "PATCH", begun.getheader("Location"), 202, part, {"Content-Range": "0-999999"})
        where = first.getheader("Location")
        print("after the first part:", first.getheader("Range"))
        host, port = registry.host.split(":")
        with socket.create_connection((host, int(port))) as line:
            path = where.split(registry.host)[-1]
            head = f"PATCH {path} HTTP/1.1\r\nHost: {registry.host}\r\nContent-Length: 1000000\r\n"
            line.sendall(f"{head}Content-Range: 1000000-1999999\r\n\r\n".encode() + part[:500_000])
            time.sleep(1)
        deadline = time.monotonic() + 10
        while True:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read().decode(errors="replace").strip()
            print("after half of the second and a break:", answer.status, answer.getheader("Range"), body[:200])
            if time.monotonic() > deadline:
                return
            time.sleep(5)


def main():
    parser = arguments(__doc__)
    parser.add_argument("--size", type=float, default=2.0, help="gigabytes of the release")
    parser.add_argument("--every", type=float, default=5, help="megabytes between two faults")
    parser.add_argument("--seed", type=int, default=1, help="decides the places and kinds")
    parser.add_argument("--patience", type=int, default=600, help="`--retry-for` of the commands, seconds")
    parser.add_argument("--push-extra", type=float, default=3, help="per cent of extra bytes that a push may need")
    parser.add_argument("--registry", default="docker-registry", help="the program that is pushed to")
    parser.add_argument("--buffering", action="store_true", help="requests reach the registry whole, not as they come")
    parser.add_argument("--ask", action="store_true", help="shows what the registry keeps of a part that broke, and ends")
    parser.add_argument("--only", choices=["pull", "push"], help="one of the two")
    given = parser.parse_args()
    if given.ask:
        return show_memory(given.registry)
    binary = check_binary(given.binary)
    with tempfile.TemporaryDirectory(prefix="octobundle-") as folder:
        folder = Path(folder)
        (folder / "blobs").mkdir()
        with Registry(folder) as registry:
            made = ReleaseSet(folder / "blobs", given.size * 1000 / 57)
            made.push(registry.host)
            chaos = Chaos(folder, binary, given)
            if given.only != "push":
                chaos.pull(registry, made)
            else:
                line, _ = chaos.line(registry)
                (folder / "release.yaml").write_text(made.manifest(line.host))
                chaos.run("calm pull", line, "pull", "release.yaml", "-o", "calm.tar")
        if given.only != "pull" and (folder / "calm.tar").exists():
            chaos.push(made)
    for failure in chaos.failures:
        print("FAILED:", failure)
    sys.exit(1 if chaos.failures else 0)


if __name__ == "__main__":
    main()
