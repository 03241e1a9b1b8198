"""Does time and memory per image stay flat? Releases of 10, 100 and 1,000 images with shared layers, and a plot."""

import subprocess
import sys
import time
from pathlib import Path

from measure import PeakMemory
from real_parts import Registry
from release_set import OCI, ReleaseSet

COUNTS = [10, 100, 1000]


class ManyImages(ReleaseSet):
    """Images of four small layers: one shared by all, one by ten of them, two of their own."""

    def __init__(self, folder, count):
        self.count = count
        super().__init__(folder, 1.0)

    def _make(self):
        for number in range(self.count):
            names = ["all", f"ten-{number // 10}", f"own-{number}", f"more-{number}"]
            document, blobs = self._image(OCI, [self._layer(name, 0.01) for name in names])
            self._add(f"many/image-{number}:1.0", "load-generator", [(OCI["manifest"], document)], blobs)


def one(folder, octobundle, count):
    """Seconds and MiB of a pull of so many images."""
    home = Path(folder) / f"growth-{count}"
    (home / "blobs").mkdir(parents=True)
    images = ManyImages(home / "blobs", count)
    with Registry(home) as registry:
        images.push(registry.host)
        manifest, out = home / "many.yaml", home / "many.tar"
        manifest.write_text(images.manifest(registry.host))
        begun = time.monotonic()
        words = [octobundle, "pull", str(manifest), "-o", str(out)]
        running = subprocess.Popen(words, env={"HOME": str(home)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        memory = PeakMemory(running)
        if running.wait() != 0:
            sys.exit(f"the pull of {count} images failed")
        seconds = time.monotonic() - begun
        memory.join()
    print(f"  {count} images: {seconds:.2f} s, {memory.peak:.1f} MiB", file=sys.stderr)
    return seconds, memory.peak


def measure(folder, octobundle, plot):
    rows = [(count, *one(folder, octobundle, count)) for count in COUNTS]
    lines = ["| images | s | ms an image | peak MiB | KiB an image beyond the first row |", "|---|---|---|---|---|"]
    base = rows[0]
    for count, seconds, peak in rows:
        more = (peak - base[2]) * 1024 / (count - base[0]) if count > base[0] else 0.0
        lines.append(f"| {count:,} | {seconds:.2f} | {seconds * 1000 / count:.1f} | {peak:.1f} | {more:.1f} |")
    plot.write_text(svg([(count, seconds * 1000 / count) for count, seconds, _ in rows]))
    return "\n".join(lines) + f"\n\n![milliseconds per image]({plot.name})"


def svg(points):
    """Milliseconds per image over the number of images, by powers of ten."""
    width, height, top = 480, 240, max(value for _, value in points) * 1.2
    placed = [(60 + 180 * index, 200 - 170 * value / top) for index, (_, value) in enumerate(points)]
    line = " ".join(f"{x:.0f},{y:.1f}" for x, y in placed)
    marks = "".join(
        f'<circle cx="{x:.0f}" cy="{y:.1f}" r="4" fill="#2563eb"/><text x="{x:.0f}" y="{y - 10:.1f}">{value:.1f} ms</text>'
        f'<text x="{x:.0f}" y="222">{count:,} images</text>'
        for (x, y), (count, value) in zip(placed, points)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" '
        f'text-anchor="middle"><rect width="{width}" height="{height}" fill="#fff"/>'
        f'<path d="M30 200H{width - 20}" stroke="#999"/><polyline points="{line}" fill="none" stroke="#2563eb" '
        f'stroke-width="2"/>{marks}</svg>\n'
    )
