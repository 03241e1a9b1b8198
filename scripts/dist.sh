#!/usr/bin/env bash
# Makes the release folder: one static binary, packages, a container image, an SBOM, checksums.
#
#   scripts/dist.sh [--out dist] [--only binary] [--std auto|rustup|source|glibc]
#
# The binary is for x86_64 Linux of any age. Where its C library comes from (--std; the first that works by default):
#   rustup  musl, with the standard library that `rustup target add` brings: what a release is made with
#   source  musl, with the standard library built from Debian's package of its source, where rustup's server is out of reach
#   glibc   glibc, linked statically: a fallback, since it may load the host's name service plugins at run time
# With OCTOBUNDLE_RELEASE_KEY set to a secret key of minisign or `octobundle key new`, SHA256SUMS is signed.
# Two runs give the same bytes, wherever they ran: scripts/dist/twice.sh compares them.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/programs.sh

readonly target=x86_64-unknown-linux-musl
out=dist
only=''
std=auto

main() {
    while [ $# -gt 0 ]; do
        case "$1" in
            --out) out=$2; shift 2 ;;
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
    build_binary
    [ "$only" != binary ] || return 0
    scripts/dist/assets.sh "$out"
    scripts/dist/packages.sh "$out" "$version"
    scripts/dist/image.sh "$out" "$version"
    sums
}

build_binary() {
    need x86_64-linux-musl-gcc musl-tools
    # Neither the folder of this build nor that of its dependencies stands in the binary.
    local cargo_home=${CARGO_HOME:-$HOME/.cargo} rustup_home=${RUSTUP_HOME:-$HOME/.rustup}
    local map=("$PWD=/octobundle" "$cargo_home=/cargo" "$rustup_home=/rustup") flags=() c_flags=() pair
    for pair in "${map[@]}"; do
        flags+=("--remap-path-prefix=$pair")
        c_flags+=("-ffile-prefix-map=$pair")
    done
    export CFLAGS="${c_flags[*]}"
    # A panic ends the program at once, so nothing ever unwinds by these tables.
    flags+=("-Cforce-unwind-tables=no")
    local target_folder=${CARGO_TARGET_DIR:-target}/dist
    case "$(standard_library)" in
        rustup) build "$target" "${flags[*]}" ;;
        source)
            std_source
            flags+=("--remap-path-prefix=$std_folder=/rust" "-Clink-self-contained=no" "-Lnative=$std_folder/link")
            export RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT="$std_folder/rust/library"
            export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER="$PWD/scripts/dist/link-musl.sh"
            build "$target" "${flags[*]}" -Z build-std=std,panic_abort
            ;;
        glibc) build x86_64-unknown-linux-gnu "${flags[*]} -Ctarget-feature=+crt-static" ;;
    esac
    strip --strip-all -o "$out/octobundle" "$built"
    chmod 0755 "$out/octobundle"
    local size
    size=$(stat -c %s "$out/octobundle")
    echo "==> $out/octobundle: $size bytes, $(file -b "$out/octobundle" | cut -d, -f1,4,5)"
    [ "$size" -le 15000000 ] || { echo "error: more than 15 MB" >&2; exit 1; }
}

# build TRIPLE FLAGS [ARGUMENT…]: one release build; `built` names the binary.
build() {
    local triple=$1 rust_flags=$2
    shift 2
    echo "==> building for $triple"
    RUSTFLAGS=$rust_flags cargo build --release --locked --bin octobundle --target "$triple" --target-dir "$target_folder" "$@"
    built=$target_folder/$triple/release/octobundle
}

standard_library() {
    if [ "$std" != auto ]; then
        echo "$std"
    elif [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || rustup target add "$target" >&2; then
        echo rustup
    elif has apt-get; then
        echo source
    else
        echo glibc
    fi
}

# The standard library's source of exactly this compiler, from Debian's backports, checked by apt.
std_source() {
    local release
    release=$(rustc --version | cut -d ' ' -f 2)
    std_folder=${XDG_CACHE_HOME:-$HOME/.cache}/octobundle-tools/rust-src-$release
    need dpkg dpkg
    if [ ! -e "$std_folder/link/libunwind.a" ]; then
        rm -rf "$std_folder"
        scripts/dist/rust-source.sh "$release" "$std_folder"
    fi
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
