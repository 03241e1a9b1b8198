#!/usr/bin/env python3
"""Kills a pull with SIGKILL at random moments and holds it to its promises.

After each kill: no file under the final name, or one that `verify` accepts. The same command then completes; the
bundle is the same, byte for byte, as one that was never disturbed; and all runs together fetch at most
1.02 times the payload and 4 MiB for every connection that was open at a kill.

Needs: docker-registry, python3, the release binary. Some minutes for 200 kills.
"""

import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from real_parts import CountingProxy, Registry, arguments, blob_bytes, check_binary, environment, megabytes
from release_set import ReleaseSet

LOST_PER_CONNECTION = 4 * 1024 * 1024


class Trials:
    def __init__(self, folder, binary, proxy, seed):
        self.folder, self.binary, self.proxy = folder, binary, proxy
        self.random = random.Random(seed)
        self.kills = self.before_the_end = self.complete_at_kill = 0
        self.worst_excess = 0.0
        self.failures = []

    def command(self, *words):
        return [self.binary, *words]

    def run(self, *words):
        return subprocess.run(
            self.command(*words), cwd=self.folder, env=environment(self.folder), capture_output=True, text=True
        )

    def pull_words(self, output):
        return "pull", "release.yaml", "-o", str(output)

    def reference(self):
        """An undisturbed pull: what it gives, what it holds, how long it takes."""
        output = self.folder / "reference.tar"
        begun = time.monotonic()
        done = self.run(*self.pull_words(output))
        self.duration = time.monotonic() - begun
        if done.returncode != 0:
            sys.exit(f"the undisturbed pull failed: {done.stderr}")
        self.proxy.settle()
        self.payload = blob_bytes(output)
        self.hash = file_hash(output)
        print(f"undisturbed: {megabytes(self.payload)} of blobs, {megabytes(self.proxy.bytes)} fetched, "
              f"{self.duration:.1f} s")

    def trial(self, number, kills):
        place = self.folder / f"trial-{number}"
        place.mkdir()
        output = place / "release.tar"
        before, allowed = self.proxy.bytes, 1.02 * self.payload
        for _ in range(kills):
            connections = self.pull_and_kill(number, output)
            if connections is None:
                break
            allowed += connections * LOST_PER_CONNECTION
        if not output.exists():
            done = self.run(*self.pull_words(output))
            if done.returncode != 0:
                return self.fail(number, f"the rerun ended with {done.returncode}: {done.stderr}")
        self.proxy.settle()
        fetched = self.proxy.bytes - before
        self.worst_excess = max(self.worst_excess, fetched / self.payload)
        if fetched > allowed:
            self.fail(number, f"{fetched} bytes fetched, {allowed:.0f} allowed")
        if file_hash(output) != self.hash:
            self.fail(number, "the bundle differs from the undisturbed one")
        leftovers = sorted(path.name for path in place.iterdir())
        if leftovers != ["release.pieces.json", "release.tar", "release.tar.sha256"]:
            self.fail(number, f"left behind: {leftovers}")
        for path in place.iterdir():
            path.unlink()
        place.rmdir()

    def pull_and_kill(self, number, output):
        """Connections that were open at the kill, or None if the bundle was complete by then."""
        running = subprocess.Popen(
            self.command(*self.pull_words(output)), cwd=self.folder, env=environment(self.folder),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        try:
            _, text = running.communicate(timeout=self.random.uniform(0, self.duration * 1.05))
            if running.returncode != 0:
                self.fail(number, f"the pull ended with {running.returncode}: {text}")
            self.before_the_end += 1
            return None
        except subprocess.TimeoutExpired:
            connections = self.proxy.open
            running.kill()
            running.communicate()
        self.kills += 1
        self.proxy.settle()
        if not output.exists():
            return connections
        self.complete_at_kill += 1
        if self.run("verify", str(output)).returncode != 0:
            self.fail(number, "a file stands under the final name and does not verify")
        return None

    def fail(self, number, what):
        self.failures.append(f"trial {number}: {what}")
        print(self.failures[-1], flush=True)


def file_hash(path):
    with open(path, "rb") as data:
        hashed = hashlib.sha256()
        while chunk := data.read(1 << 20):
            hashed.update(chunk)
    return hashed.hexdigest()


def main():
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1, help="decides the moments")
    parser.add_argument("--rate", type=float, default=40, help="megabytes a second that the registry sends")
    given = parser.parse_args()
    binary = check_binary(given.binary)
    with tempfile.TemporaryDirectory(prefix="octobundle-") as folder:
        folder = Path(folder)
        (folder / "blobs").mkdir()
        with Registry(folder) as registry:
            made = ReleaseSet(folder / "blobs")
            made.push(registry.host)
            proxy = CountingProxy(registry.host, given.rate * 1e6)
            (folder / "release.yaml").write_text(made.manifest(proxy.host))
            trials = Trials(folder, binary, proxy, given.seed)
            trials.reference()
            number = 0
            while trials.kills < given.kills and number < 3 * given.kills:
                number += 1
                trials.trial(number, trials.random.randint(1, 3))
                if number % 20 == 0:
                    print(f"{trials.kills} kills in {number} pulls, {len(trials.failures)} failures", flush=True)
    print(f"{trials.kills} kills in {number} pulls; {trials.complete_at_kill} times the bundle was complete by then, "
          f"{trials.before_the_end} times the pull had ended; at worst {trials.worst_excess:.3f} times the payload was "
          f"fetched; {len(trials.failures)} failures")
    sys.exit(1 if trials.failures or trials.kills < given.kills else 0)


if __name__ == "__main__":
    main()
