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
cd "$(dirname "$0")/.."
. scripts/programs.sh

out=dist
only=''
std=auto
platforms=x86_64-linux,aarch64-linux,x86_64-windows

main() {
    while [ $# -gt 0 ]; do
        case "$1" in
            --out) out=$2; shift 2 ;;
            --for) platforms=$2; shift 2 ;;
            --only) only=$2; shift 2 ;;
            --std) std=$2; shift 2 ;;
            *) sed -n 's/^# \{0,1\}//; 2,12p' "$0" >&2; exit 2 ;;
        esac
    done
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
    sums
}

sums() {
    (cd "$out" && find . -type f ! -name 'SHA256SUMS*' -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum >SHA256SUMS)
    if [ -n "${OCTOBUNDLE_RELEASE_KEY-}" ]; then
        need minisign minisign
        minisign -S -s "$OCTOBUNDLE_RELEASE_KEY" -m "$out/SHA256SUMS" -t "octobundle $version"
    else
        echo "==> not signed: OCTOBUNDLE_RELEASE_KEY names no key"
    fi
    echo "==> the release folder is $out"
    (cd "$out" && ls -l)
}

main "$@"
