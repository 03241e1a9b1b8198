#!/bin/sh
# A C compiler for aarch64 and musl: Debian's cross compiler with musl's headers instead of glibc's. Atomics are compiled
# in, since libgcc's choose theirs at run time by a function of glibc.
exec aarch64-linux-gnu-gcc -nostdinc -isystem "$MUSL_ROOT/usr/include/aarch64-linux-musl" \
    -isystem "$(aarch64-linux-gnu-gcc -print-file-name=include)" -mno-outline-atomics "$@"
