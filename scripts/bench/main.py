"""The comparison behind docs/performance.md; scripts/bench.sh runs it."""

import argparse
import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/acceptance"))

import growth  # noqa: E402
import peers  # noqa: E402
from measure import Job, PeakMemory, compare, measured, table  # noqa: E402
from real_parts import Registry, megabytes  # noqa: E402
from release_set import MANY, ReleaseSet  # noqa: E402

DOCUMENT = ROOT / "docs/performance.md"
# Milliseconds of a round trip.
RTT = 50
PARTS = ["pull", "push", "local", "distance", "growth"]


class Bench:
    """A sample release in registry A, and the variables that the commands of peers.py name."""

    def __init__(self, folder, scale):
        self.folder = Path(folder)
        self.blobs = self._folder("blobs")
        self.release = ReleaseSet(self.blobs, scale)
        self.registry = Registry(self._folder("a"))
        self.release.push(self.registry.host)
        self.set = self._set(self.release.images)

    def _folder(self, name):
        path = self.folder / name
        path.mkdir()
        return path

    def _set(self, images, host=None):
        """Variables for a part of the release, as `host` serves it."""
        host = host or self.registry.host
        name = f"{len(images)}-{host.split(':')[1]}"
        listed, manifest = self.folder / f"{name}.blobs", self.folder / f"{name}.yaml"
        lines, seen = [], set()
        for repository, _, _, _, blobs in images:
            for blob in blobs:
                if blob not in seen:
                    seen.add(blob)
                    lines.append(f"{blob} {(self.blobs / blob.split(':')[1]).stat().st_size} {repository}\n")
        listed.write_text("".join(lines))
        text = ["schema: octobundle/v1", "release: bench", "title: Bench", "images:"]
        for repository, tag, role, _, _ in images:
            text += [f"  - image: {host}/{repository}:{tag}", f"    role: {role}"]
        manifest.write_text("\n".join(text) + "\n")
        out, tmp = self.folder / "out.tar", self.folder / "tmp"
        return {
            # The engine that is emptied and the one that is measured are the same.
            **{name: value for name, value in os.environ.items() if name.startswith("DOCKER_")},
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "TMPDIR": str(self.folder), "WORK": str(self.folder),
            "OCTOBUNDLE": str(ROOT / "target/release/octobundle"), "FLOOR": str(ROOT / "target/release/examples/floor"),
            "A": host, "REFS": " ".join(f"{image[0]}:{image[1]}" for image in images), "LIST": str(listed),
            "MANIFEST": str(manifest), "BLOBS": str(self.blobs), "OUT": str(out), "TMP": str(tmp),
            "IN": str(self.folder / "in.tar"), "BUNDLE": str(self.folder / "bundle.tar"),
        }

    def _clear(self):
        for path in self.folder.glob("out.tar*"):
            path.unlink()
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        (self.folder / "tmp").mkdir()

    @contextlib.contextmanager
    def cleared(self, environment):
        self._clear()
        try:
            yield environment
        finally:
            self._clear()

    def pull(self, runs):
        jobs = compare(peers.PULL, runs, lambda _: self.cleared(self.set))
        size = sum((self.blobs / blob).stat().st_size for blob in os.listdir(self.blobs))
        return f"{megabytes(size)} of blobs.\n\n" + table(jobs, jobs[1])

    def make_bundles(self):
        """What the pushes and the local work begin from."""
        make = '"$OCTOBUNDLE" pull "$MANIFEST" --platform all -o "$BUNDLE" --replace; ' + peers.LAYOUTS
        measured(make, self.set)

    def push(self, runs):
        again = {job.name: Job(job.name, job.command) for job in peers.PUSH}

        @contextlib.contextmanager
        def into_an_empty_registry(job):
            self._clear()
            shutil.rmtree(self.folder / "b", ignore_errors=True)
            with Registry(self._folder("b")) as registry:
                environment = {**self.set, "B": registry.host}
                subprocess.run(f"cat {self.folder}/*.tar {self.blobs}/* > /dev/null", shell=True, check=True)
                yield environment
                if not job.name.startswith("floor"):
                    self._clear()
                    again[job.name].runs.append(measured(job.command, environment))
            shutil.rmtree(self.folder / "b")
            self._clear()

        jobs = compare(peers.PUSH, runs, into_an_empty_registry)
        second = [job for job in again.values() if job.runs]
        for job in second:
            job.runs = job.runs[1:]
        return ("Into an empty registry:\n\n" + table(jobs, jobs[1])
                + "\n\nThe same command again, when all is there:\n\n" + table(second, second[0]))

    def local(self, runs):
        verify = [
            Job("octobundle verify", '"$OCTOBUNDLE" verify "$BUNDLE"'),
            Job("raw SHA-256 of the file, 2 threads", '"$FLOOR" hash "$BUNDLE" 2'),
        ]
        jobs = compare(verify, runs, lambda _: contextlib.nullcontext(self.set))
        text = [table(jobs, jobs[1])]
        if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
            text.append(table(*self._loads(runs)))
        small = [
            Job("octobundle inspect", '"$OCTOBUNDLE" inspect "$BUNDLE"'),
            Job("octobundle --help", '"$OCTOBUNDLE" --help'),
        ]
        jobs = compare(small, runs, lambda _: contextlib.nullcontext(self.set))
        text.append("\n".join(f"- `{job.name}`: {job.median() * 1000:.0f} ms, bash included" for job in jobs))
        text.append(f"- peak memory of `pull --jobs 16`: {self._memory():.1f} MiB")
        return "\n\n".join(text)

    def _loads(self, runs):
        @contextlib.contextmanager
        def into_an_empty_engine(_):
            names = [f"{self.registry.host}/{name}" for name in self.set["REFS"].split()]
            subprocess.run(["docker", "image", "rm", "-f", *names], capture_output=True, check=False)
            yield self.set

        loads = [
            Job("octobundle load", '"$OCTOBUNDLE" load "$BUNDLE" --engine docker'),
            Job("docker load", 'docker load -i "$BUNDLE"'),
        ]
        jobs = compare(loads, min(runs, 3), into_an_empty_engine)
        return jobs, jobs[1]

    def _memory(self):
        with self.cleared(self.set) as environment:
            words = [environment["OCTOBUNDLE"], "pull", environment["MANIFEST"], "-o", environment["OUT"],
                     "--platform", "all", "--jobs", "16"]
            running = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            memory = PeakMemory(running)
            if running.wait() != 0:
                sys.exit("the pull failed")
            memory.join()
        return memory.peak

    def distance(self, runs):
        """50 ms between the tools and registry A: sixty small layers at 1 Gbit/s, and all at 1 Gbit/s and 100 Mbit/s."""
        many = [image for image in self.release.images if f"{image[0]}:{image[1]}" == MANY]
        text = []
        everything = self.release.images
        for title, images, megabits in [("60 small layers, 1 Gbit/s", many, 1000), ("the whole set, 1 Gbit/s", everything, 1000),
                                        ("the whole set, 100 Mbit/s", everything, 100)]:
            with long_line(self.registry.host, megabits) as host:
                text.append(self._across(title, images, megabits, host, runs))
        return "\n\n".join(text)

    def _across(self, title, images, megabits, host, runs):
        environment = self._set(images, host)
        sizes = [int(line.split(" ")[1]) for line in Path(environment["LIST"]).read_text().splitlines()]
        wanted = [Job(job.name, job.command, job.needs) for job in peers.PULL if "one platform" not in job.name]
        jobs = compare(wanted, runs, lambda _: self.cleared(environment))
        least = sum(sizes) * 8 / (megabits * 1e6) + 4 * RTT / 1000
        return (f"{title}, {megabytes(sum(sizes))}; bytes ÷ bandwidth + 4 round trips = {least:.2f} s:\n\n"
                + table(jobs, jobs[1]))

    def growth(self, runs):
        return growth.measure(self.folder, self.set["OCTOBUNDLE"], ROOT / "docs/performance-growth.svg")


@contextlib.contextmanager
def long_line(upstream, megabits):
    """A line of RTT to `upstream` (examples/line.rs); gives where to connect."""
    line = subprocess.Popen([ROOT / "target/release/examples/line", upstream, str(RTT), str(megabits)],
                            stdout=subprocess.PIPE, text=True)
    try:
        yield line.stdout.readline().strip()
    finally:
        line.terminate()
        line.wait()


def machine():
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    instructions = " with SHA instructions" if " sha_ni" in Path("/proc/cpuinfo").read_text() else ""
    versions = []
    for words in (["crane", "version"], ["regctl", "version", "--format", "{{.VCSTag}}"], ["oras", "version"],
                  ["skopeo", "--version"], ["docker", "version", "--format", "{{.Client.Version}}, engine {{.Server.Version}}"], ["docker-registry", "--version"]):
        if shutil.which(words[0]):
            said = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip().splitlines()
            versions.append(f"{words[0]}: {said[0] if said else 'unknown version'}")
    return (f"{os.cpu_count()} × {cpu.group(1) if cpu else platform.machine()}{instructions}, "
            f"{platform.freedesktop_os_release()['PRETTY_NAME']}. Registry and tools on the same machine, plain HTTP over "
            f"loopback.\n\n" + "\n".join(f"- {version}" for version in versions))


def write(part, text):
    """Puts a table between its two marks, with the day of its run: parts can be run one by one."""
    text = f"Run of {time.strftime('%Y-%m-%d')}.\n\n{text}"
    old = DOCUMENT.read_text()
    marks = f"<!-- {part} -->", f"<!-- end of {part} -->"
    new = re.sub(f"(?s){marks[0]}.*{marks[1]}", lambda _: f"{marks[0]}\n\n{text}\n\n{marks[1]}", old)
    if marks[0] not in old:
        sys.exit(f"{DOCUMENT} has no place for `{part}`")
    DOCUMENT.write_text(new)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each command, after one to warm up")
    parser.add_argument("--scale", type=float, default=35.0, help="size of the set; 1 is about 57 MB, 35 about 2 GB")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--work", help="folder for everything that is made (default: the system's)")
    given = parser.parse_args()
    write("machine", machine())
    for part in given.only.split(","):
        # Distance needs few bytes and many requests.
        scale = 1.0 if part in ("distance", "growth") else given.scale
        with tempfile.TemporaryDirectory(prefix="octobundle-bench-", dir=given.work) as folder:
            bench = Bench(folder, scale)
            try:
                if part in ("push", "local"):
                    bench.make_bundles()
                print(f"==> {part}", file=sys.stderr)
                write(part, getattr(bench, part)(given.runs))
            finally:
                bench.registry.__exit__()


if __name__ == "__main__":
    main()
