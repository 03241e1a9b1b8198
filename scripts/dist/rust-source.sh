#!/usr/bin/env bash
# rust-source.sh VERSION FOLDER: the source of the standard library of that compiler, from Debian's backports.
# apt checks Debian's signature; nothing is installed, and the system's list of sources stays as it is.
set -euo pipefail
. "$(dirname "$0")/../programs.sh"
version=$1 folder=$2
readonly suite=trixie-backports

need dpkg-deb dpkg
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
mkdir -p "$made/lists/partial" "$made/cache/archives/partial" "$made/deb"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${DEBIAN_MIRROR:-http://deb.debian.org/debian} $suite main" >"$made/sources.list"
ours=(-o "Dir::Etc::SourceList=$made/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$made/lists"
    -o "Dir::Cache=$made/cache" -o APT::Sandbox::User=root -q)
apt-get "${ours[@]}" update >&2
package=$(apt-cache "${ours[@]}" madison rust-src | awk -v wanted="$version" '$3 ~ "^" wanted "[+]" { print $3; exit }')
[ -n "$package" ] || { echo "error: $suite has no source of Rust $version: use that of rustup, or --std glibc" >&2; exit 1; }
(cd "$made/deb" && apt-get "${ours[@]}" download "rust-src=$package" >&2)
dpkg-deb -x "$made"/deb/*.deb "$made/unpacked"

# Unwinding for the messages of panics, without glibc: LLVM's.
unwind=libunwind-14-dev
[ -e /usr/lib/llvm-14/lib/libunwind.a ] || as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$unwind" >&2
mkdir -p "$folder/link"
mv "$made/unpacked/usr/src/rustc-$version" "$folder/rust"
cp /usr/lib/llvm-14/lib/libunwind.a "$folder/link/libunwind.a"
