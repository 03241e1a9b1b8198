#!/usr/bin/env bash
# Makes the release folder: static binaries, packages, a container image, an SBOM, checksums.
#
#   scripts/dist.sh [--out dist] [--for x86_64-linux,aarch64-linux,x86_64-windows] [--only binary] [--std auto|rustup|source|glibc]
#
# The Linux binaries run on Linux of any age. Where their C library comes from (--std; the first that works by default):
#   source  musl, with the standard library built along from Debian's package of its source: what a release is made with
#   rustup  musl, with the standard library that `rustup target add` brings, where there is no apt-get: larger
#   glibc   glibc, linked statically: a fallback, since it may load the host's name service plugins at run time
# With OCTOBUNDLE_RELEASE_KEY set to a secret key of minisign or `octobundle key new`, SHA256SUMS is signed.
# Two runs give the same bytes, wherever they ran: scripts/dist/twice.sh compares them.
set -euo pipefail
# The key's path is meant from where this was called.
[ -z "${OCTOBUNDLE_RELEASE_KEY-}" ] || OCTOBUNDLE_RELEASE_KEY=$(realpath -m -- "$OCTOBUNDLE_RELEASE_KEY")
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
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    # The time of the commit stands for "now" in everything that is packed.
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
    export SOURCE_DATE_EPOCH
    mkdir -p "$out"
    out=$(cd "$out" && pwd)
    local platform
    for platform in ${platforms//,/ }; do scripts/dist/binary.sh "$platform" "$std" "$out"; done
    [ "$only" != binary ] || return 0
    scripts/dist/assets.sh "$out"
    scripts/dist/packages.sh "$out" "$version"
    scripts/dist/image.sh "$out" "$version"
    scripts/dist/sums.sh "$out" "$version"
    echo "==> the release folder is $out"
    (cd "$out" && ls -l)
}

usage() { sed -n '2,11{ s/^# \{0,1\}//; p }' scripts/dist.sh; }

wrong() {
    echo "error: $1" >&2
    usage >&2
    exit 2
}

main "$@"
