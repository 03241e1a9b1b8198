#!/usr/bin/env python3
"""Measures `octobundle serve` under load, side by side with nginx (sendfile on, a plain file) and docker-registry.

1. Parallel pulls of one layer: bytes a second in all, for each server in turn, several rounds.
2. The same once more with octobundle, every byte hashed by the clients.
3. A pull alone, and among clients that send or take a byte a second.
4. The server's peak memory.

The clients share the processors with the servers, so only ratios mean something. Clients of the first measurement let
the kernel drop what arrives (MSG_TRUNC, tcp(7)), so that they cost little beside the server.

Needs: nginx, docker-registry, skopeo, python3, the release binary, and about four times the layer's size in TMPDIR.
"""

import gzip
import hashlib
import json
import multiprocessing
import os
import re
import resource
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from real_parts import Registry, arguments, check_binary, environment, megabytes

MEMORY_LIMIT = 256 * 1024 * 1024
NGINX_RATIO = 0.9
CROWDED_RATIO = 1.5
CHUNK = 1 << 20
CLIENT_PROCESSES = 2


class Nginx:
    """Serves one file with sendfile, from as many workers as there are processors."""

    def __init__(self, folder, file):
        program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") or sys.exit("nginx is not installed")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (folder / "web").mkdir()
        os.link(file, folder / "web/layer")
        (folder / "nginx.conf").write_text(
            f"daemon off; worker_processes {os.cpu_count()}; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n"
            "user root; events { worker_connections 4096; }\n"
            f"http {{ sendfile on; tcp_nopush on; access_log off; client_body_temp_path {folder}/t1;\n"
            f"proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4;\n"
            f"scgi_temp_path {folder}/t5;\n"
            f"server {{ listen 127.0.0.1:{port} backlog=1024; root {folder}/web; }} }}\n"
        )
        self.process = subprocess.Popen([program, "-c", str(folder / "nginx.conf"), "-p", str(folder)])
        self.address = ("127.0.0.1", port)
        wait_for(self.address)


class Octobundle:
    """`octobundle serve` at a free port; the clients of this script are many at one address."""

    def __init__(self, binary, folder, *flags):
        words = [binary, "serve", "release.tar", "--json", "--quiet", "--listen", "127.0.0.1:0",
                 "--max-connections-per-client", "4096", *flags]
        self.process = subprocess.Popen(words, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, text=True)
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line == "}\n":
                break
        else:
            sys.exit("octobundle serve did not start")
        host = json.loads("".join(lines))["urls"][0].split("/")[2]
        self.address = (host.split(":")[0], int(host.split(":")[1]))

    def peak_memory(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024


def wait_for(address):
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(address).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                sys.exit(f"nobody listens at {address}")
            time.sleep(0.01)


def ask(address, path):
    client = socket.create_connection(address)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nConnection: close\r\n\r\n".encode())
    return client


class Pull:
    """One client's answer: its head is read, its body dropped or hashed."""

    def __init__(self, client, hashed):
        self.client = client
        self.head = b""
        self.body = 0
        self.hash = hashlib.sha256() if hashed else None

    def take(self, buffer):
        """Takes what has arrived; false at the end."""
        if b"\r\n\r\n" not in self.head:
            data = self.client.recv(16384)
            self.head += data
            head, end, rest = self.head.partition(b"\r\n\r\n")
            if end:
                if b" 200 " not in head.split(b"\r\n")[0]:
                    sys.exit(f"unexpected answer: {head!r}")
                self.body = len(rest)
                if self.hash:
                    self.hash.update(rest)
            return bool(data)
        if self.hash:
            size = self.client.recv_into(buffer)
            self.hash.update(buffer[:size])
        else:
            size = self.client.recv_into(buffer, CHUNK, socket.MSG_TRUNC)
        self.body += size
        return size > 0


def pulls(address, path, count, hashed, results):
    """Pulls side by side in one process; reports how many bytes each got, and their digests."""
    ready = selectors.DefaultSelector()
    for _ in range(count):
        pull = Pull(ask(address, path), hashed)
        pull.client.setblocking(False)
        ready.register(pull.client, selectors.EVENT_READ, pull)
    buffer, done = memoryview(bytearray(CHUNK)), []
    while ready.get_map():
        for key, _ in ready.select():
            try:
                more = key.data.take(buffer)
            except BlockingIOError:
                continue
            if not more:
                ready.unregister(key.fileobj)
                key.fileobj.close()
                done.append((key.data.body, key.data.hash.hexdigest() if hashed else None))
    results.put(done)


def in_parallel(address, path, clients, hashed=False):
    """Seconds that so many pulls took, with what each got."""
    results = multiprocessing.Queue()
    share = [clients // CLIENT_PROCESSES + (number < clients % CLIENT_PROCESSES) for number in range(CLIENT_PROCESSES)]
    begun = time.monotonic()
    workers = [multiprocessing.Process(target=pulls, args=(address, path, count, hashed, results)) for count in share]
    for worker in workers:
        worker.start()
    got = [entry for _ in workers for entry in results.get()]
    for worker in workers:
        worker.join()
    return time.monotonic() - begun, got


def crowd(address, path, count, stop, settled):
    """Clients of a byte a second: half of them while they send their request, half while they read the answer. Who is
    cut comes again. Each sits at an address of its own network, as many machines would."""
    request = f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n\r\n".encode()

    def join(number):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.bind((f"127.0.{1 + number % 8}.{1 + number // 8 % 250}", 0))
        client.connect(address)
        if number % 2:
            client.sendall(request)
        client.setblocking(False)
        return [client, 0]

    clients = [join(number) for number in range(count)]
    settled.set()
    while not stop.is_set():
        begun = time.monotonic()
        for number, (client, sent) in enumerate(clients):
            try:
                if number % 2:
                    alive = len(client.recv(1)) == 1
                else:
                    alive = client.send(request[sent % len(request):][:1]) == 1
                    clients[number][1] += 1
            except BlockingIOError:
                alive = True
            except OSError:
                alive = False
            if not alive:
                client.close()
                clients[number] = join(number)
        time.sleep(max(0, 1 - (time.monotonic() - begun)))


def single(address, path, size):
    seconds, got = in_parallel(address, path, 1)
    if got[0][0] != size:
        sys.exit(f"a pull got {got[0][0]} of {size} bytes")
    return seconds


def make_bundle(binary, folder, registry, size):
    """One image with one layer of so many bytes, pushed and pulled. Gives the layer's digest and file."""
    layout = folder / "layout"
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)

    def keep(data):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return digest

    # Whoever pushes leaves alone what is packed already, so the digest stays.
    layer = keep(gzip.compress(os.urandom(size), compresslevel=0, mtime=0))
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                         "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]}}).encode()
    kind = "application/vnd.oci.image."
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": kind + "manifest.v1+json",
        "config": {"mediaType": kind + "config.v1+json", "digest": f"sha256:{keep(config)}", "size": len(config)},
        "layers": [{"mediaType": kind + "layer.v1.tar+gzip", "digest": f"sha256:{layer}",
                    "size": (blobs / layer).stat().st_size}],
    }).encode()
    entry = {"mediaType": kind + "manifest.v1+json", "digest": f"sha256:{keep(manifest)}", "size": len(manifest)}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    subprocess.run(["skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false", f"oci:{layout}",
                    f"docker://{registry.host}/load:1"], check=True)
    (folder / "release.yaml").write_text(
        "schema: octobundle/v1\nrelease: load-1\ntitle: A large layer\nimages:\n"
        f"  - {{image: '{registry.host}/load:1', role: agent}}\n")
    subprocess.run([binary, "pull", "release.yaml", "-o", "release.tar", "--quiet"], cwd=folder,
                   env=environment(folder), check=True)
    return layer, blobs / layer


def compare(servers, clients, rounds, size):
    """Bytes a second of each server in each round, one server after the other."""
    rates = {name: [] for name in servers}
    for number in range(rounds):
        for name, (address, path) in servers.items():
            seconds, got = in_parallel(address, path, clients)
            if [body for body, _ in got] != [size] * clients:
                sys.exit(f"{name}: some of {clients} pulls are short")
            rates[name].append(size * clients / seconds)
            print(f"round {number + 1}: {name:<16} {clients} pulls in {seconds:6.2f} s, {megabytes(rates[name][-1])}/s",
                  flush=True)
    return rates


def main():
    parser = arguments(__doc__)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--size", type=int, default=100_000_000, help="bytes of the layer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow", type=int, default=2000, help="clients of a byte a second")
    parser.add_argument("--seconds", type=int, default=30, help="how long pulls are measured among them")
    given = parser.parse_args()
    binary = check_binary(given.binary)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wrong = []
    started = []
    with tempfile.TemporaryDirectory(prefix="octobundle-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        with Registry(folder) as registry:
            try:
                layer, file = make_bundle(binary, folder, registry, given.size)
                given.size = file.stat().st_size
                path = f"/v2/load/blobs/sha256:{layer}"
                own = Octobundle(binary, folder)
                nginx = Nginx(folder, file)
                started += [own.process, nginx.process]
                host, port = registry.host.split(":")
                servers = {"octobundle": (own.address, path), "nginx": (nginx.address, "/layer"),
                           "docker-registry": ((host, int(port)), path)}
                for address, target in servers.values():
                    single(address, target, given.size)
                rates = compare(servers, given.clients, given.rounds, given.size)
                for other in ["nginx", "docker-registry"]:
                    ratios = [ours / theirs for ours, theirs in zip(rates["octobundle"], rates[other])]
                    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
                    print(f"octobundle / {other}: median {statistics.median(ratios):.2f} ({shown})")
                    if other == "nginx" and statistics.median(ratios) < NGINX_RATIO:
                        wrong.append(f"slower than {NGINX_RATIO} of nginx")

                seconds, got = in_parallel(own.address, path, given.clients, hashed=True)
                right = sum(entry == (given.size, layer) for entry in got)
                print(f"{right} of {given.clients} hashed pulls are right ({seconds:.1f} s)")
                if right != given.clients:
                    wrong.append("a pull was wrong")

                alone = [single(own.address, path, given.size) for _ in range(9)]
                stop, settled = multiprocessing.Event(), multiprocessing.Event()
                slow = multiprocessing.Process(target=crowd, args=(own.address, path, given.slow, stop, settled))
                slow.start()
                settled.wait()
                among = []
                end = time.monotonic() + given.seconds
                while time.monotonic() < end:
                    among.append(single(own.address, path, given.size))
                stop.set()
                slow.join()
                ratio = statistics.median(among) / statistics.median(alone)
                print(f"a pull alone {statistics.median(alone):.3f} s, among {given.slow} slow clients "
                      f"{statistics.median(among):.3f} s (worst of {len(among)}: {max(among):.3f} s): {ratio:.2f} times")
                if ratio > CROWDED_RATIO:
                    wrong.append(f"slow clients make a pull {ratio:.2f} times as long")

                peak = own.peak_memory()
                print(f"peak memory {peak / 1024 / 1024:.1f} MiB")
                if peak > MEMORY_LIMIT:
                    wrong.append("peak memory is above 256 MiB")
            finally:
                for process in started:
                    process.terminate()
                    process.wait()
    for line in wrong:
        print(f"FAILED: {line}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
