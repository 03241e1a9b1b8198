#!/usr/bin/env bash
# wine_prefix.sh FOLDER: makes a place in FOLDER where Debian's wine runs programs of Rust (a "prefix"), and prints the
# path of wine. Use it with WINEPREFIX=FOLDER.
set -euo pipefail
mkdir -p "$1"
prefix=$(cd "$1" && pwd)

main() {
    local wine library
    wine=$(find_wine)
    export WINEPREFIX=$prefix WINEDEBUG=-all
    "$wine" wineboot --init >/dev/null 2>&1
    # Wine before 9 lacks the library that programs of Rust take random bytes from; Windows has it since version 7.
    library=$prefix/drive_c/windows/system32/bcryptprimitives.dll
    [ -e "$library" ] || random_bytes "$library"
    echo "$wine"
}

# Debian keeps the program out of PATH unless its larger package is installed.
find_wine() {
    local name
    for name in wine64 wine /usr/lib/wine/wine64; do
        if command -v "$name"; then return; fi
    done
    echo "error: wine is needed: on Debian and Ubuntu it is in the package \`wine64\`" >&2
    exit 1
}

random_bytes() {
    local source=$prefix/random_bytes.c
    cat >"$source" <<'END'
#include <windows.h>
#include <ntsecapi.h>
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size) { return RtlGenRandom(data, (ULONG)size); }
END
    x86_64-w64-mingw32-gcc -shared -o "$1" "$source" -ladvapi32
}

main
