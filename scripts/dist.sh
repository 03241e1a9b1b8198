#!/usr/bin/env bash
# Makes the release folder: static binaries, packages, a container image, an SBOM, checksums.
#
#   scripts/dist.sh [--out dist] [--for x86_64-linux,aarch64-linux,x86_64-windows] [--only binary] [--std auto|rustup|source|glibc]
#
# The Linux binaries run on Linux of any age. Where their C library comes from (--std; the first that works by default):
#   source  musl, with the standard library built along from Debian's package of its source: what a release is made with
#           (from rustup's where Debian has none of this compiler)
#   rustup  musl, with the standard library that `rustup target add` brings, where there is no apt-get: larger
#   glibc   glibc, linked statically: a fallback, since it may load the host's name service plugins at run time
# With OCTOBUNDLE_RELEASE_KEY set to a secret key of minisign or `octobundle key new`, SHA256SUMS is signed; then
# everything must be committed. What an earlier run left in the folder goes away, but not with --only binary.
# Two runs on one machine give the same bytes, in whatever checkout: scripts/dist/twice.sh compares them. The standard
# library's source must lie in the same folder, since cargo makes symbols' names of it; no name of a folder gets in.
set -euo pipefail
# The key's path is meant from where this was called.
[ -z "${OCTOBUNDLE_RELEASE_KEY-}" ] || OCTOBUNDLE_RELEASE_KEY=$(realpath -m -- "$OCTOBUNDLE_RELEASE_KEY")
# All may read what is handed on, whoever makes it.
umask 022
cd "$(dirname "$0")/.."
. scripts/programs.sh

out=dist
only=''
std=auto
platforms=x86_64-linux,aarch64-linux,x86_64-windows

main() {
    while [ $# -gt 0 ]; do
        case "$1" in
            -h | --help) usage; exit 0 ;;
            --out | --for | --only | --std) [ $# -ge 2 ] || wrong "$1 needs a value" ;;
            *) wrong "there is no option $1" ;;
        esac
        case "$1" in
            --out) out=$2 ;;
            --for) platforms=$2 ;;
            --only) only=$2 ;;
            --std) std=$2 ;;
        esac
        shift 2
    done
    case "$only" in "" | binary) ;; *) wrong "--only takes binary" ;; esac
    case "$std" in auto | rustup | source | glibc) ;; *) wrong "--std takes auto, rustup, source or glibc" ;; esac
    [ -z "${OCTOBUNDLE_RELEASE_KEY-}" ] || [ -f "$OCTOBUNDLE_RELEASE_KEY" ] || wrong "OCTOBUNDLE_RELEASE_KEY names no file: $OCTOBUNDLE_RELEASE_KEY"
    out=$(realpath -m -- "$out")
    if [ "$only" != binary ]; then
        case ",$platforms," in *,x86_64-linux,*) ;; *) wrong "a release has x86_64-linux at least; --only binary makes the others alone" ;; esac
        only_a_release "$out"
    fi
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    # The time of the commit stands for "now" in everything that is packed.
    if [ -z "${SOURCE_DATE_EPOCH-}" ]; then
        SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) || fail "git does not tell the time of the commit: mend that, or set SOURCE_DATE_EPOCH"
    fi
    export SOURCE_DATE_EPOCH
    if [ "$only" = binary ]; then
        mkdir -p "$out"
        binaries "$out"
    else
        whole
    fi
}

binaries() {
    local platform
    for platform in ${platforms//,/ }; do scripts/dist/binary.sh "$platform" "$std" "$1"; done
}

# All of it in a new folder, which takes the place of the old one at the end: nothing of an earlier release is in it.
whole() {
    local changed
    if [ -n "${OCTOBUNDLE_RELEASE_KEY-}" ]; then
        changed=$(git status --porcelain) || fail "git does not tell whether everything is committed"
        [ -z "$changed" ] || fail "a release is signed only if everything is committed, and this is not:"$'\n'"$changed"
    fi
    mkdir -p "$(dirname "$out")"
    made=$(mktemp -d "$out.XXXXXX")
    trap 'rm -rf "$made"' EXIT
    # Which mktemp makes for its owner alone.
    chmod 0755 "$made"
    # What the binaries are linked with: each notes it there, and the licence texts are taken from it.
    rm -rf target/dist-linked
    binaries "$made"
    scripts/dist/assets.sh "$made"
    scripts/dist/packages.sh "$made" "$version"
    scripts/dist/image.sh "$made" "$version"
    scripts/dist/sums.sh "$made" "$version"
    rm -rf "$out"
    mv -T "$made" "$out"
    echo "==> the release folder is $out"
    (cd "$out" && ls -l)
}

# only_a_release FOLDER: it will be replaced, so there must be nothing in it that this script has not made.
only_a_release() {
    [ -e "$1" ] || return 0
    [ -d "$1" ] || wrong "$1 is no folder"
    local file
    while read -r file; do
        case "$file" in
            octobundle* | SHA256SUMS* | install.sh | share) ;;
            *) wrong "$1 will be replaced, and $file in it is of no release: name another folder" ;;
        esac
    done < <(ls -A -- "$1")
}

usage() { sed -n '2,14{ s/^# \{0,1\}//; p }' scripts/dist.sh; }

fail() {
    echo "error: $1" >&2
    exit 1
}

wrong() {
    echo "error: $1" >&2
    usage >&2
    exit 2
}

main "$@"
