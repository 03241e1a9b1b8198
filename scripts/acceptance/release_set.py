#!/usr/bin/env python3
"""Makes a sample release and pushes it to a registry over plain HTTP.

    release_set.py --to 127.0.0.1:5000 --manifest release.yaml

It has what real releases have: Docker's and OCI's media types, layers shared between images, one layer far larger
than the others, an image of sixty small layers, and an index of two platforms with an attestation. Every byte comes
from seeded generators: the digests are the same on every machine with the same zlib.
"""

import argparse
import hashlib
import http.client
import json
import random
import tarfile
import tempfile
import zlib
from pathlib import Path

OCI = {
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "config": "application/vnd.oci.image.config.v1+json",
    "layer": "application/vnd.oci.image.layer.v1.tar+gzip",
}
DOCKER = {
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
EPOCH = "1970-01-01T00:00:00Z"
CHUNK = 1 << 20

# Layers by name, in megabytes at scale 1.
LAYERS = {"base": 8, "runtime": 6, "agent": 3, "jmeter": 6, "search": 15, "small-base": 2, "frontend": 4}
# Name, role, media types, layers.
IMAGES = [
    ("octoperf/docker-agent:13.0.0", "agent", DOCKER, ["base", "runtime", "agent"]),
    ("octoperf/jmeter:5.6.3", "load-generator", DOCKER, ["base", "runtime", "jmeter"]),
    ("octoperf/elasticsearch:8.17.3", "infrastructure", OCI, ["base", "search"]),
    ("octoperf/frontend:13.0.0", "infrastructure", OCI, ["small-base", "frontend"]),
]
INDEX = "octoperf/tools:1.0"
MANY = "octoperf/layers60:1.0"


class ReleaseSet:
    """Blobs in a folder, documents in memory."""

    def __init__(self, folder, scale=1.0):
        self.folder = Path(folder)
        self.scale = scale
        self.layers = {}
        self.images = []  # (repository, tag, role, documents as (media type, bytes), digests of blobs)
        self._make()

    def _make(self):
        for name, role, kind, layers in IMAGES:
            document, blobs = self._image(kind, [self._layer(layer, LAYERS[layer]) for layer in layers])
            self._add(name, role, [(kind["manifest"], document)], blobs)
        many = [self._layer(f"many-{number}", 0.02 + 0.003 * number) for number in range(60)]
        document, blobs = self._image(OCI, many)
        self._add(MANY, "infrastructure", [(OCI["manifest"], document)], blobs)
        self._make_index()

    def _make_index(self):
        documents, blobs, entries, statements = [], [], [], []
        for architecture in ("amd64", "arm64"):
            document, used = self._image(OCI, [self._layer(f"tools-{architecture}", 3)], architecture)
            documents.append((OCI["manifest"], document))
            blobs += used
            platform = {"architecture": architecture, "os": "linux"}
            entries.append({**descriptor(OCI["manifest"], document), "platform": platform})
            statement, used = self._attestation(digest(document))
            documents.append((OCI["manifest"], statement))
            blobs += used
            statements.append({
                **descriptor(OCI["manifest"], statement),
                "annotations": {
                    "vnd.docker.reference.digest": digest(document),
                    "vnd.docker.reference.type": "attestation-manifest",
                },
                "platform": {"architecture": "unknown", "os": "unknown"},
            })
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries + statements}
        documents.append((OCI_INDEX, as_json(index)))
        self._add(INDEX, "infrastructure", documents, blobs)

    def _add(self, name, role, documents, blobs):
        repository, tag = name.split(":")
        self.images.append((repository, tag, role, documents, blobs))

    def _image(self, kind, layers, architecture="amd64"):
        config = as_json({
            "created": EPOCH,
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/run"]},
            "rootfs": {"type": "layers", "diff_ids": [layer["diff_id"] for layer in layers]},
        })
        named = [{"mediaType": kind["layer"], "digest": l["digest"], "size": l["size"]} for l in layers]
        return self._manifest(kind, config, named)

    def _attestation(self, subject):
        statement = as_json({
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": "https://slsa.dev/provenance/v0.2",
            "subject": [{"name": "sample", "digest": {"sha256": subject.split(":")[1]}}],
            "predicate": {},
        })
        self._keep(statement)
        config = as_json({
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(statement)]},
        })
        layer = {
            **descriptor("application/vnd.in-toto+json", statement),
            "annotations": {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"},
        }
        return self._manifest(OCI, config, [layer])

    def _manifest(self, kind, config, layers):
        self._keep(config)
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind["manifest"],
            "config": descriptor(kind["config"], config),
            "layers": layers,
        }
        return as_json(manifest), [digest(config)] + [layer["digest"] for layer in layers]

    def _keep(self, data):
        self._path(digest(data)).write_bytes(data)

    def _path(self, blob):
        return self.folder / blob.split(":")[1]

    def _layer(self, name, megabytes):
        """Writes a tar.gz of one file of bytes that do not compress; nothing large is held in memory."""
        if name in self.layers:
            return self.layers[name]
        size = int(megabytes * self.scale * 1_000_000)
        raw, packed, packed_size = hashlib.sha256(), hashlib.sha256(), 0
        packer = zlib.compressobj(0, zlib.DEFLATED, 31)
        unfinished = self.folder / "unfinished"
        with open(unfinished, "wb") as out:
            for chunk in tar_chunks(name, size):
                raw.update(chunk)
                part = packer.compress(chunk)
                packed.update(part)
                packed_size += out.write(part)
            part = packer.flush()
            packed.update(part)
            packed_size += out.write(part)
        layer = {
            "digest": "sha256:" + packed.hexdigest(),
            "size": packed_size,
            "diff_id": "sha256:" + raw.hexdigest(),
        }
        unfinished.rename(self._path(layer["digest"]))
        self.layers[name] = layer
        return layer

    def push(self, host):
        connection = http.client.HTTPConnection(host, timeout=120, blocksize=CHUNK)
        for repository, tag, _, documents, blobs in self.images:
            for blob in dict.fromkeys(blobs):
                self._push_blob(connection, repository, blob)
            for media_type, document in documents:
                names = [digest(document)] + ([tag] if document is documents[-1][1] else [])
                for name in names:
                    path = f"/v2/{repository}/manifests/{name}"
                    ask(connection, "PUT", path, 201, document, {"Content-Type": media_type})
        connection.close()

    def _push_blob(self, connection, repository, blob):
        started = ask(connection, "POST", f"/v2/{repository}/blobs/uploads/", 202)
        location = started.getheader("Location")
        path = location[location.index("/v2/"):]
        path += ("&" if "?" in path else "?") + "digest=" + blob
        with open(self._path(blob), "rb") as data:
            length = str(self._path(blob).stat().st_size)
            ask(connection, "PUT", path, 201, data, {"Content-Length": length})

    def manifest(self, host):
        """The release manifest with the images as `host` serves them."""
        lines = ["schema: octobundle/v1", "release: sample-1", "title: A sample release", "images:"]
        for repository, tag, role, _, _ in self.images:
            lines += [f"  - image: {host}/{repository}:{tag}", f"    role: {role}"]
        return "\n".join(lines) + "\n"


def tar_chunks(name, size):
    info = tarfile.TarInfo(f"files/{name}")
    info.size = size
    yield info.tobuf(tarfile.USTAR_FORMAT)
    source = random.Random(name)
    left = size
    while left:
        chunk = source.randbytes(min(left, CHUNK))
        left -= len(chunk)
        yield chunk
    yield bytes(-size % 512 + 1024)


def ask(connection, method, path, expected, body=None, headers=None):
    connection.request(method, path, body=body, headers=headers or {})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != expected:
        raise SystemExit(f"{method} {path}: {answer.status} {text[:300]!r}")
    return answer


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(media_type, data):
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def as_json(value):
    return json.dumps(value, indent=2).encode()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--to", required=True, metavar="HOST:PORT")
    arguments.add_argument("--manifest", required=True, type=Path, help="where to write the release manifest")
    arguments.add_argument("--scale", type=float, default=1.0, help="1 is about 57 MB, 40 about 2.3 GB")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="octobundle-") as folder:
        made = ReleaseSet(folder, given.scale)
        made.push(given.to)
        given.manifest.write_text(made.manifest(given.to))


if __name__ == "__main__":
    main()
