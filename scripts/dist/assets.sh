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
octobundle=$out/octobundle
"$octobundle" man "$staged/man"
# -n: no name and no time in the file.
gzip -9n "$staged"/man/*
for shell in bash zsh fish; do "$octobundle" completions "$shell" >"$staged/completions/octobundle.$shell"; done
# The crates of the two Linux binaries are the same; those of the one for Windows are not.
scripts/dist/crates.py sbom x86_64-unknown-linux-musl "$out/octobundle.cdx.json"
targets=x86_64-unknown-linux-musl
if [ -e "$out/octobundle.exe" ]; then
    scripts/dist/crates.py sbom x86_64-pc-windows-gnu "$out/octobundle.exe.cdx.json"
    targets+=,x86_64-pc-windows-gnu
fi
# What binary.sh has noted, the same library of two platforms twice.
mapfile -t linked < <(cat target/dist-linked/* | LC_ALL=C sort -u)
scripts/dist/crates.py licences "$targets" "$staged/THIRD-PARTY-LICENCES.txt" "${linked[@]}"
install -m 0644 LICENSE "$staged/LICENSE"
# Messages name pages, and where they are read there may be no network.
mkdir -p "$staged/doc/docs"
cp README.md CHANGELOG.md "$staged/doc/"
cp docs/*.md docs/*.svg "$staged/doc/docs/"
rm -rf "$out/share"
mkdir -p "$out/share"
cp -r "$staged/man" "$staged/completions" "$staged/doc" "$staged/LICENSE" "$staged/THIRD-PARTY-LICENCES.txt" "$out/share/"
# Files of a checkout have the modes that its owner's umask gave them.
chmod -R u=rwX,go=rX "$out/share"
install -m 0755 scripts/install.sh "$out/install.sh"
