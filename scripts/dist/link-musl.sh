#!/bin/sh
# The linker for a standard library that was built from source: rustup's own copy brings musl's start files, this one
# takes them from Debian's musl-dev. musl-gcc itself cannot link a static executable at a random address.
# MUSL_LIB is musl's folder of libraries, MUSL_LINKER a gcc for the architecture; binary.sh sets them.
exec "$MUSL_LINKER" -nostdlib -nostartfiles -L"$MUSL_LIB" "$MUSL_LIB/rcrt1.o" "$MUSL_LIB/crti.o" "$@" \
    -Wl,--no-dynamic-linker -lgcc -lc "$MUSL_LIB/crtn.o"
