#!/usr/bin/env python3
"""What the binaries are made of: crates.py sbom TARGET OUT, crates.py licences TARGET,… OUT [NAME=FILE]…

sbom      a CycloneDX 1.5 document of every crate that is linked into the binary for TARGET
licences  the licence texts of the crates for all of the targets, in one file, after those FILEs of libraries that are no crates

Both are functions of Cargo.lock, SOURCE_DATE_EPOCH and the FILEs alone, so that two runs give the same bytes.
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
# Code may have such a name too.
SOURCES = {".rs", ".c", ".h", ".py", ".sh"}
# What lies there is in no binary.
TESTS = {"test", "tests", "testdata", "test_data", "test-data", "fixtures", "benches", "examples", "fuzz"}
# Crates without a licence text, and why that does.
WITHOUT = {
    "winapi-x86_64-pc-windows-gnu": "It is a part of winapi, of the same author and under the same licence: see there.",
}


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


def texts(package):
    """The licence texts of a crate, those of code that it brings along too: their names and what is in them."""
    folder = Path(package["manifest_path"]).parent
    names = [path.relative_to(folder) for path in folder.rglob("*")
             if path.is_file() and path.name.upper().startswith(NAMES) and path.suffix not in SOURCES]
    if package["license_file"]:
        names.append(Path(package["license_file"]))
    names = {name for name in names if TESTS.isdisjoint(name.parts[:-1])}
    return [(str(name), read(folder / name)) for name in sorted(names, key=lambda name: (len(name.parts), name.parts))]


def read(path):
    return path.read_text(encoding="utf-8", errors="replace").strip()


def licences(targets, *others):
    crates = {}
    for target in targets.split(","):
        own, found, _, _ = linked(target)
        crates |= {(package["name"], package["version"]): package for package in found}
    crates = [(crates[key], texts(crates[key])) for key in sorted(crates)]
    without = [package["name"] for package, found in crates if not found]
    if unknown := [name for name in without if name not in WITHOUT]:
        sys.exit(f"error: no licence text in {', '.join(unknown)}: put it on the list WITHOUT in {__file__}, with the reason")
    entries = []
    # The same library of two platforms comes twice, mostly with the same text.
    libraries = {}
    for name, file in (other.split("=", 1) for other in others):
        if not Path(file).is_file():
            sys.exit(f"error: the binary contains {name}, and its licence text is not there: put it into {file}")
        libraries.setdefault(name, {})[read(Path(file))] = Path(file).name
    for name in sorted(libraries):
        entries.append((name, "", sorted((file, text) for text, file in libraries[name].items())))
    for package, found in crates:
        found = found or [("no text", WITHOUT[package["name"]])]
        entries.append((f"{package['name']} {package['version']}", f": {package['license']}", found))

    parts = [f"{own['name']} {own['version']} is licensed under {own['license']}. It contains these libraries and crates.\n"]
    first = {}
    for name, licence, found in entries:
        parts.append(f"{'=' * 100}\n{name}{licence}\n")
        for file, text in found:
            if text in first:
                parts.append(f"--- {file}: the same text as {first[text]}\n")
            else:
                first[text] = f"{file} of {name}"
                parts.append(f"--- {file}:\n\n{text}\n")
    print(f"{len(libraries)} libraries and {len(crates)} crates, {len(without)} of them without a licence text of its own", file=sys.stderr)
    return "\n".join(parts)


def main():
    what, target, out, *others = sys.argv[1:]
    Path(out).write_text({"sbom": sbom, "licences": licences}[what](target, *others), encoding="utf-8")


if __name__ == "__main__":
    main()
