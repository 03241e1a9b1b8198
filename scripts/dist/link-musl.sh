#!/bin/sh
# The linker for a standard library that was built from source: rustup's own copy brings musl's start files, this one
# takes them from Debian's musl-dev. musl-gcc itself cannot link a static executable at a random address.
lib=/usr/lib/x86_64-linux-musl
exec gcc -nostdlib -nostartfiles -L"$lib" "$lib/rcrt1.o" "$lib/crti.o" "$@" -Wl,--no-dynamic-linker -lgcc -lc "$lib/crtn.o"
