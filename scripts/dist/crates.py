#!/usr/bin/env python3
"""What the binaries are made of: crates.py sbom TARGET OUT, crates.py licences TARGET,… OUT

sbom      a CycloneDX 1.5 document of every crate that is linked into the binary for TARGET
licences  the licence texts of the crates for all of the targets, in one file

Both are functions of Cargo.lock and SOURCE_DATE_EPOCH alone, so that two runs give the same bytes.
"""

import json
import os
import subprocess
import sys
import time
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The files that crates keep their licences in.
NAMES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE", "COPYRIGHT")


def linked(target):
    """The crates that end up in the binary: normal dependencies for the target, without what only builds or tests need."""
    words = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    metadata = json.loads(subprocess.run(words, cwd=ROOT, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    edges = {node["id"]: [dep["pkg"] for dep in node["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
             for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    seen, waiting = set(), [root]
    while waiting:
        package = waiting.pop()
        if package not in seen and not is_macro(packages[package]):
            seen.add(package)
            waiting += edges[package]
    order = sorted(seen - {root}, key=lambda package: (packages[package]["name"], packages[package]["version"]))
    return packages[root], [packages[package] for package in order], edges, packages


def is_macro(package):
    """Macros run in the compiler; nothing of them is in the binary."""
    return any("proc-macro" in target["kind"] for target in package["targets"])


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def checksums():
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))
    return {(package["name"], package["version"]): package.get("checksum") for package in lock["package"]}


def sbom(target):
    own, crates, edges, packages = linked(target)
    sums = checksums()
    known = {package["id"] for package in crates} | {own["id"]}

    def component(package, kind):
        described = {"type": kind, "bom-ref": purl(package), "name": package["name"], "version": package["version"],
                     "purl": purl(package)}
        if package["description"]:
            described["description"] = " ".join(package["description"].split())
        if package["license"]:
            # Older crates write `MIT/Apache-2.0` for a choice.
            described["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        if checksum := sums.get((package["name"], package["version"])):
            described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        if package["repository"]:
            described["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
        return described

    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"])))
    document = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"timestamp": made, "component": component(own, "application")},
        "components": [component(package, "library") for package in crates],
        "dependencies": [
            {"ref": purl(package), "dependsOn": sorted({purl(packages[to]) for to in edges[package["id"]] if to in known})}
            for package in [own, *crates]
        ],
    }
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True)).urn
    return json.dumps(document, indent=2) + "\n"


def licences(targets):
    crates = {}
    for target in targets.split(","):
        own, found, _, _ = linked(target)
        crates |= {(package["name"], package["version"]): package for package in found}
    crates = [crates[key] for key in sorted(crates)]
    parts = [f"{own['name']} {own['version']} is licensed under {own['license']}. It contains these crates.\n"]
    without = []
    for package in crates:
        folder = Path(package["manifest_path"]).parent
        files = sorted(path for path in folder.iterdir() if path.is_file() and path.name.upper().startswith(NAMES))
        parts.append(f"{'=' * 100}\n{package['name']} {package['version']}: {package['license']}\n")
        parts += [path.read_text(encoding="utf-8", errors="replace").strip() + "\n" for path in files]
        if not files:
            without.append(f"{package['name']} {package['version']}: {package['license']}")
            parts.append("(The crate carries no file of its licence; the licence is named above.)\n")
    print(f"{len(crates)} crates, {len(without)} of them without a file of their licence", file=sys.stderr)
    return "\n".join(parts)


def main():
    what, target, out = sys.argv[1:]
    Path(out).write_text({"sbom": sbom, "licences": licences}[what](target), encoding="utf-8")


if __name__ == "__main__":
    main()
