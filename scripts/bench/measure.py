"""Runs shell commands and says what they cost."""

import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Run:
    """One run: seconds, seconds of processor time, and megabytes of the largest process."""

    wall: float
    cpu: float
    peak: float


@dataclass
class Job:
    """A command that is compared. The first word of what it needs beyond octobundle, where it needs something."""

    name: str
    command: str
    needs: tuple = ()
    runs: list = field(default_factory=list)

    def median(self, what="wall"):
        return statistics.median(getattr(run, what) for run in self.runs)

    def is_possible(self):
        return all(shutil.which(program) for program in self.needs)


def measured(command, environment):
    """A command's wall clock, processor time and largest process, its children included."""
    # Between this process and the command, since a child begins with its parent's memory and keeps that as its peak.
    figures, output = (os.path.join(environment["WORK"], name) for name in ("figures", "output"))
    words = ["time", "-f", "%U %S %M", "-o", figures, "bash", "-euo", "pipefail", "-c", command]
    with open(output, "w", encoding="utf-8") as said:
        begun = time.monotonic()
        code = subprocess.run(words, env=environment, stdout=said, stderr=said, check=False).returncode
        wall = time.monotonic() - begun
    if code != 0:
        with open(output, encoding="utf-8") as said:
            sys.exit(f"failed with {code}: {command}\n{said.read()[-2000:]}")
    with open(figures, encoding="ascii") as written:
        user, system, peak = written.read().split()
    return Run(wall, float(user) + float(system), float(peak) / 1024)


def compare(jobs, runs, around):
    """Every job once to warm up, then `runs` times by turns, so that what else the machine does meets all of them.

    `around(job)` is a context manager that gives the environment of one run and tidies up after it.
    """
    jobs = [job for job in jobs if job.is_possible()]
    for turn in range(runs + 1):
        for job in jobs:
            with around(job) as environment:
                subprocess.run(["sync"], check=True)
                run = measured(job.command, environment)
            if turn > 0:
                job.runs.append(run)
            print(f"  {job.name}: {run.wall:.2f} s", file=sys.stderr, flush=True)
    return jobs


def table(jobs, floor, first="tool"):
    """Markdown: medians, the spread, and the ratio to the floor of the same run."""
    lines = [f"| {first} | s, median (min–max) | processor s | largest process MiB | ÷ floor |", "|---|---|---|---|---|"]
    for job in jobs:
        walls = [run.wall for run in job.runs]
        lines.append(
            f"| {job.name} | {job.median():.2f} ({min(walls):.2f}–{max(walls):.2f}) | {job.median('cpu'):.2f} "
            f"| {job.median('peak'):.0f} | {job.median() / floor.median():.2f} |"
        )
    return "\n".join(lines)


class PeakMemory(threading.Thread):
    """High-water mark of a process's resident memory, in MiB."""

    def __init__(self, process):
        super().__init__(daemon=True)
        self.process, self.peak = process, 0.0
        self.start()

    def run(self):
        while self.process.poll() is None:
            try:
                with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
                    found = [line for line in status if line.startswith("VmHWM")]
            except OSError:
                return
            if found:
                self.peak = int(found[0].split()[1]) / 1024
            time.sleep(0.005)
