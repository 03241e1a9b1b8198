#!/usr/bin/env bash
# binary.sh PLATFORM STD OUT: the binary for x86_64-linux, aarch64-linux or x86_64-windows; dist.sh says what STD is.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/programs.sh
platform=$1 std=$2 out=$3
readonly linked=target/dist-linked/$platform
tools=${XDG_CACHE_HOME:-$HOME/.cache}/octobundle-tools

main() {
    # Compilers take their flags from variables in which a blank ends one.
    case "$PWD$tools${CARGO_TARGET_DIR-}" in *[[:space:]]*) echo "error: there is a blank in $PWD, $tools or ${CARGO_TARGET_DIR-}: build in another folder" >&2; exit 2 ;; esac
    # Neither the folder of this build nor that of its dependencies stands in the binary.
    local cargo_home=${CARGO_HOME:-$HOME/.cargo} rustup_home=${RUSTUP_HOME:-$HOME/.rustup}
    target_folder=$(realpath -m -- "${CARGO_TARGET_DIR:-target}")
    # Of those that fit, the last one counts: the target folder may lie outside of the checkout or inside.
    local map=("$PWD=/octobundle" "$cargo_home=/cargo" "$rustup_home=/rustup" "$tools=/tools" "$target_folder=/octobundle/target") pair
    flags=() c_flags=()
    for pair in "${map[@]}"; do
        flags+=("--remap-path-prefix=$pair")
        c_flags+=("-ffile-prefix-map=$pair")
    done
    mkdir -p "${linked%/*}"
    : >"$linked"
    case "$platform" in
        x86_64-linux) for_linux x86_64 x86_64-linux-musl-gcc musl-tools ;;
        aarch64-linux) for_linux aarch64 aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu ;;
        x86_64-windows) for_windows ;;
        *) echo "error: $platform: x86_64-linux, aarch64-linux and x86_64-windows can be built" >&2; exit 2 ;;
    esac
    "${prefix}strip" --strip-all -o "$made" "$built"
    chmod 0755 "$made"
    local size
    size=$(stat -c %s "$made")
    echo "==> ${made##*/}: $size bytes, $(file -b "$made" | cut -d, -f1,2,4,5)"
    [ "$size" -le 15000000 ] || { echo "error: more than 15 MB" >&2; exit 1; }
}

# for_linux ARCHITECTURE COMPILER PACKAGE
for_linux() {
    local arch=$1 debian=amd64 triple=$1-unknown-linux-musl library
    need "$2" "$3"
    # A panic ends the program at once, so nothing ever unwinds by these tables. (Windows wants them all the same.)
    flags+=("-Cforce-unwind-tables=no")
    # mimalloc would keep blocks of 64 to 512 KiB apart by thread and by length, and each kind as large as it ever was.
    c_flags+=("-DMI_ENABLE_LARGE_PAGES=0")
    # Free memory goes back to the system after 10 ms, not after a second: a third less with 16 jobs, at the same speed.
    # For that mimalloc has a variable of the environment only, so the function that reads it is given another name.
    c_flags+=("-Dmi_arena_purge_delay(a)=mi_delay_##a" "-Dmi_delay_void=mi_usual_delay(void)" "-Dmi_delay_=10")
    made=$out/octobundle prefix=''
    if [ "$arch" = aarch64 ]; then
        made=$out/octobundle-aarch64 prefix=aarch64-linux-gnu- debian=arm64
        [ "$std" != glibc ] || { echo "error: --std glibc is for x86_64 alone" >&2; exit 2; }
        # Where there is no apt-get, MUSL_ROOT says where musl's usr/include/aarch64-linux-musl is.
        if [ -z "${MUSL_ROOT-}" ]; then
            cross_files "$arch" "$debian"
            MUSL_ROOT=$tools/musl-$arch
        fi
        export CC_aarch64_unknown_linux_musl=$PWD/scripts/dist/cc-musl.sh AR_aarch64_unknown_linux_musl=aarch64-linux-gnu-ar
        export MUSL_ROOT
        link_by "$triple" "$2"
    fi
    library=$(standard_library "$triple")
    case "$library" in
        rustup)
            # Only for the texts: rustup brings these two libraries without any.
            if has apt-get; then cross_files "$arch" "$debian"; fi
            is_linked musl "$tools/musl-$arch/usr/share/doc/musl-dev/copyright" "${MUSL_ROOT-}/usr/share/doc/musl-dev/copyright" \
                /usr/share/doc/musl-dev/copyright /usr/share/licenses/musl/COPYRIGHT
            is_linked llvm-libunwind "$tools/musl-$arch/usr/share/doc/libunwind-14-dev/copyright" /usr/share/licenses/llvm-libunwind/LICENSE.TXT
            rustups_library
            build "$triple"
            ;;
        source)
            cross_files "$arch" "$debian"
            is_linked musl "$tools/musl-$arch/usr/share/doc/musl-dev/copyright"
            is_linked llvm-libunwind "$tools/musl-$arch/usr/share/doc/libunwind-14-dev/copyright"
            flags+=("-Clink-self-contained=no" "-Lnative=$tools/musl-$arch/usr/lib/llvm-14/lib")
            export MUSL_LIB=$tools/musl-$arch/usr/lib/$arch-linux-musl MUSL_LINKER=${prefix}gcc
            link_by "$triple" "$PWD/scripts/dist/link-musl.sh"
            with_source "$triple"
            ;;
        glibc)
            is_linked glibc /usr/share/doc/libc6-dev/copyright /usr/share/licenses/glibc/COPYING.LIB
            rustups_library
            flags+=("-Ctarget-feature=+crt-static")
            build x86_64-unknown-linux-gnu
            ;;
    esac
}

for_windows() {
    local triple=x86_64-pc-windows-gnu library
    need x86_64-w64-mingw32-gcc gcc-mingw-w64-x86-64
    made=$out/octobundle.exe prefix=x86_64-w64-mingw32-
    # No time stands in the file.
    flags+=("-Clink-arg=-Wl,--no-insert-timestamp")
    # The assembler's objects that the crate brings: Debian's nasm is not asked for.
    export AWS_LC_SYS_PREBUILT_NASM=1
    LINK_FOLDERS=$(printf '%s\n' target "$target_folder" tools "$tools" cargo "$cargo_home" rustup "$rustup_home" here "$PWD")
    export LINK_FOLDERS
    link_by "$triple" "$PWD/scripts/dist/link-windows.sh"
    is_linked mingw-w64 /usr/share/doc/mingw-w64-x86-64-dev/copyright /usr/share/doc/mingw-w64-common/copyright
    library=$(standard_library "$triple")
    if [ "$library" = rustup ]; then
        rustups_library
        build "$triple"
    else
        flags+=("-Clink-self-contained=no")
        with_source "$triple"
    fi
}

# build TRIPLE [ARGUMENT…]: one release build; `built` names the binary.
build() {
    local triple=$1 folder=$target_folder/dist
    shift
    echo "==> building for $triple"
    CFLAGS="${c_flags[*]}" RUSTFLAGS=${flags[*]} cargo build --release --locked --bin octobundle --target "$triple" --target-dir "$folder" "$@"
    built=$folder/$triple/release/octobundle
    [ "$platform" != x86_64-windows ] || built=$built.exe
}

# link_by TRIPLE LINKER
link_by() {
    local variable
    variable=CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$1")_LINKER
    export "$variable=$2"
}

# with_source TRIPLE: the same, with a standard library that is built along with it.
with_source() {
    local triple=$1
    std_source
    export RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT="$std_folder/library"
    build "$triple" -Z build-std=std,panic_abort
}

# standard_library TRIPLE
standard_library() {
    if [ "$std" != auto ]; then
        echo "$std"
    elif has apt-get; then
        # The one that rustup brings has unwind tables, and with it the tables of all else stay: 1.6 MB.
        echo source
    elif [ -d "$(rustc --print sysroot)/lib/rustlib/$1" ] || rustup target add "$1" >&2; then
        echo rustup
    elif [ "$1" = x86_64-unknown-linux-musl ]; then
        echo glibc
    else
        echo "error: there is no apt-get to fetch the library's source with, and \`rustup target add $1\` failed" >&2
        exit 1
    fi
}

# The standard library's source of exactly this compiler: from Debian's backports, or from rustup, which has newer ones.
std_source() {
    local release code=0
    release=$(rustc --version | cut -d ' ' -f 2)
    std_folder=$tools/rust-src-$release/usr/src/rustc-$release
    if [ ! -d "$std_folder/library" ]; then
        scripts/dist/debian.sh trixie-backports amd64 "$tools/rust-src-$release" "rust-src=$release+*" || code=$?
    fi
    case $code in
        0) is_linked rust-standard-library "$tools/rust-src-$release/usr/share/doc/rust-src/copyright" ;;
        3)
            rustups_library
            echo "==> rustup's source is taken instead"
            rustup component add rust-src
            std_folder=$(rustc --print sysroot)/lib/rustlib/src/rust
            ;;
        # A network that fails must not decide what the release is made of.
        *) exit 1 ;;
    esac
    # After the folders that it lies in, since the last one that fits counts.
    flags+=("--remap-path-prefix=$std_folder=/rust")
}

# is_linked NAME PLACE…: notes, for assets.sh, what is in the binary that is no crate, and the place where its licence
# text is. libgcc is not among them: its exception asks for nothing.
is_linked() {
    local name=$1 place
    for place in "${@:2}" "$tools/licences/$name"; do [ ! -f "$place" ] || break; done
    # Where there is none at all, the last place is what assets.sh asks for.
    echo "$name=$place" >>"$linked"
}

rustups_library() {
    local texts
    texts=$(rustc --print sysroot)/share/doc/rust
    is_linked rust-standard-library "$texts/COPYRIGHT-library.html" "$texts/COPYRIGHT" /usr/share/doc/libstd-rust-dev/copyright
    is_linked rust-standard-library-MIT "$texts/licenses/MIT.txt" "$texts/LICENSE-MIT"
}

# cross_files ARCHITECTURE DEBIAN_ARCHITECTURE: musl, and LLVM's unwinder, which a panic's message needs without glibc.
cross_files() {
    [ ! -d "$tools/musl-$1" ] || return 0
    has apt-get || { echo "error: musl for $1 comes from Debian, and there is no apt-get: set MUSL_ROOT, with --std rustup" >&2; exit 1; }
    scripts/dist/debian.sh bookworm "$2" "$tools/musl-$1" musl-dev libunwind-14-dev
}

main
