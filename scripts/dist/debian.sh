#!/usr/bin/env bash
# debian.sh SUITE ARCHITECTURE FOLDER PACKAGE[=VERSION]…: unpacks packages of a Debian suite into a new folder. A `*` in
# a version stands for anything. apt checks Debian's signature; nothing is installed, and the system's list of sources
# and of architectures stay as they are. It ends with 3 where the suite has no such version, and only then.
set -euo pipefail
. "$(dirname "$0")/../programs.sh"
suite=$1 architecture=$2 folder=$3
shift 3

need dpkg-deb dpkg
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keyring" ] || as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends debian-archive-keyring >&2
# Beside its place, so that it gets there in one step: half a folder would be taken for a whole one by every later build.
mkdir -p "$(dirname "$folder")"
made=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$made"' EXIT
mkdir -p "$made/lists/partial" "$made/cache/archives/partial" "$made/deb" "$made/unpacked"
# The state of the system's own packages says nothing about these.
: >"$made/status"
echo "deb [signed-by=$keyring] ${DEBIAN_MIRROR:-http://deb.debian.org/debian} $suite main" >"$made/sources.list"
ours=(-o "Dir::Etc::SourceList=$made/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$made/lists"
    -o "Dir::State::status=$made/status" -o "Dir::Cache=$made/cache" -o APT::Sandbox::User=root
    -o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture" -q)
# Without this mode a mirror that is out of reach is a warning, and the suite would seem to have nothing.
apt-get "${ours[@]}" -o APT::Update::Error-Mode=any update >&2
for package in "$@"; do
    name=${package%%=*} version=${package#"$name"}
    if [ -n "$version" ]; then
        # The pattern is meant as one.
        # shellcheck disable=SC2053
        version=$(apt-cache "${ours[@]}" madison "$name" | while read -r _ _ found _; do [[ $found != ${version#=} ]] || echo "$found"; done)
        [ -n "$version" ] || { echo "error: Debian's $suite has no $package" >&2; exit 3; }
        version="=${version%%$'\n'*}"
    fi
    (cd "$made/deb" && apt-get "${ours[@]}" download "$name$version" >&2)
done
for deb in "$made"/deb/*.deb; do dpkg-deb -x "$deb" "$made/unpacked"; done
rm -rf "$folder"
mv -T "$made/unpacked" "$folder"
