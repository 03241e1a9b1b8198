#!/usr/bin/env bash
# assets.sh OUT: what the packages carry beside the binary, the SBOM, and the installer.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/programs.sh
out=$1
readonly staged=target/dist-assets

need python3 python3
need gzip gzip
rm -rf "$staged"
mkdir -p "$staged/man" "$staged/completions"
install -m 0755 "$out/octobundle" "$staged/octobundle"
"$staged/octobundle" man "$staged/man"
# -n: no name and no time in the file.
gzip -9n "$staged"/man/*
for shell in bash zsh fish; do "$staged/octobundle" completions "$shell" >"$staged/completions/octobundle.$shell"; done
scripts/dist/crates.py licences x86_64-unknown-linux-musl "$staged/THIRD-PARTY-LICENCES.txt"
scripts/dist/crates.py sbom x86_64-unknown-linux-musl "$out/octobundle.cdx.json"
cp LICENSE "$staged/LICENSE"
rm -rf "$out/share"
mkdir -p "$out/share"
cp -r "$staged/man" "$staged/completions" "$staged/LICENSE" "$staged/THIRD-PARTY-LICENCES.txt" "$out/share/"
install -m 0755 scripts/install.sh "$out/install.sh"
