#!/usr/bin/env bash
# wine_tests.sh: the project's own tests of the library and of manifest, resolve, pull, inspect, verify, push and render, built
# for Windows and run by Debian's wine. It ends with the test runner's own lines and with what was left out, and why.
# Needs gcc-mingw-w64-x86-64, wine64, and what `rustup target add x86_64-pc-windows-gnu` brings.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/programs.sh
readonly target=x86_64-pc-windows-gnu output=target/wine-tests.txt
# The files of tests that are about these commands.
readonly files=(resolve pull verify push render render_table data)

main() {
    need x86_64-w64-mingw32-gcc gcc-mingw-w64-x86-64
    [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || rustup target add "$target"
    prefix=$(mktemp -d)
    trap 'rm -rf "$prefix"' EXIT
    local wine name arguments=(--lib)
    wine=$(scripts/acceptance/wine_prefix.sh "$prefix")
    for name in "${files[@]}"; do arguments+=(--test "$name"); done
    # The assembler's objects that the crate brings: Debian's nasm is not asked for.
    export AWS_LC_SYS_PREBUILT_NASM=1 WINEPREFIX=$prefix WINEDEBUG=-all CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=$wine
    local passed=yes
    cargo test --locked --no-fail-fast --target "$target" "${arguments[@]}" 2>&1 | tee "$output" || passed=no
    summary
    [ "$passed" = yes ]
}

summary() {
    echo "==> by wine"
    grep -E '^ +Running |^test result: ' "$output"
    echo "==> left out: what is a fact of Unix, or needs what only Unix has"
    # A test, or a module of tests, that is not compiled there says why behind the condition.
    local paths=("${files[@]/#/tests/}")
    grep -r -A1 -Hn --include='*.rs' '^ *#\[cfg(\(all(test, \)\?unix)\+\] // ' src "${paths[@]/%/.rs}" | left_out
}

left_out() {
    awk '/#\[cfg/ { sub(/.*\/\/ /, ""); why = $0; next }
        /-[0-9]+-/ { place = $0; sub(/-[0-9]+-.*/, "", place); sub(/.*-[0-9]+- */, "")
            sub(/^(async )?(fn|mod) /, ""); sub(/[(;{ ].*/, ""); print place ": " $0 ": " why }'
}

main
