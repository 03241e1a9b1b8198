# shellcheck shell=bash
# Sourced by test.sh, dist.sh and dist/: looks for programs and installs Debian's where they are missing.

has() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# need PROGRAM PACKAGE: the program, installed if it can be.
need() {
    has "$1" && return
    if has apt-get && { [ "$(id -u)" = 0 ] || has sudo; }; then
        echo "==> installing $2" >&2
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$2" >&2
    fi
    has "$1" || { echo "error: \`$1\` is needed: on Debian and Ubuntu it is in the package \`$2\`" >&2; exit 1; }
}
