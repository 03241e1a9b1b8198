# shellcheck shell=bash
# Sourced by the scripts of this folder: looks for programs and installs Debian's where they are missing.

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

# cargo_tool NAME VERSION: a cargo subcommand of exactly that version, installed beside the tests' tools.
cargo_tool() {
    local root=${XDG_CACHE_HOME:-$HOME/.cache}/octobundle-tools
    PATH=$root/bin:$PATH
    export PATH
    case "$(cargo "${1#cargo-}" --version 2>/dev/null || "$1" --version 2>/dev/null || true)" in
        *"$2"*) return ;;
    esac
    echo "==> installing $1 $2 (some minutes)" >&2
    env -u RUSTFLAGS -u CFLAGS cargo install --locked --root "$root" "$1@$2" >&2
}
