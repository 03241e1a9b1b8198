#!/usr/bin/env bash
# twice.sh FOLDER: clones this commit to another folder, makes the release there too, and compares every file with FOLDER.
set -euo pipefail
cd "$(dirname "$0")/../.."
first=$(cd "$1" && pwd)
shift

made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
git clone -q --no-hardlinks . "$made/another-folder"
(cd "$made/another-folder" && env -u CARGO_TARGET_DIR -u OCTOBUNDLE_RELEASE_KEY scripts/dist.sh --out "$made/second" "$@")
# Signatures carry the time when they were made.
if diff -rq --exclude='*.minisig' "$first" "$made/second"; then
    echo "both builds are the same:"
    (cd "$first" && sha256sum octobundle)
else
    echo "error: the two builds differ" >&2
    exit 1
fi
