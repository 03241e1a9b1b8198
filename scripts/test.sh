#!/usr/bin/env bash
# Installs what the tests need and is missing (Debian, Ubuntu), then runs every check: `scripts/test.sh`.
# With --quick nothing is installed: tests of missing programs say SKIPPED. With --all the tests of what the program for
# Windows does are run by wine, and the release folder is made, twice, its memory measured, and tried in roots where
# nothing else is installed; that needs root and takes three quarters of an hour more.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/programs.sh

# Programs that the tests start, each with the package that brings it.
programs="
    docker-registry docker-registry
    skopeo          skopeo
    podman          podman
    dockerd         docker.io
    docker          docker.io
    docker          docker-cli
    squid           squid
    tinyproxy       tinyproxy
    htpasswd        apache2-utils
    busybox         busybox
    strace          strace
    python3         python3
    chromium        chromium
    rpm             rpm
    rpmbuild        rpm
    db5.3_load      db5.3-util
    git             git
    curl            curl
    docker-compose  docker-compose
    haproxy         haproxy
    make            make
    shellcheck      shellcheck
    systemd-analyze systemd
    ansible-playbook ansible-core
    cloud-init      cloud-init
    ruby            ruby
    minisign        minisign
    bsdtar          libarchive-tools
    7zz             7zip
    ip              iproute2
    clamscan        clamav
    clamd           clamav-daemon
    clamdscan       clamdscan
"
# What only the release needs.
readonly release_programs="
    x86_64-linux-musl-gcc musl-tools
    aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
    x86_64-w64-mingw32-gcc gcc-mingw-w64-x86-64
    qemu-aarch64-static qemu-user-static
    /usr/lib/wine/wine64 wine64
    buildah         buildah
    debootstrap     debootstrap
    openssl         openssl
    file            file
"
# The version whose findings the settings in .deny.toml were written for.
readonly cargo_deny_version=0.20.2

# Daemons stand in folders that a user's PATH often lacks.
PATH="$PATH:/usr/sbin:/sbin"

main() {
    case "${1-}" in
        --quick) need_compilers ;;
        "")
            need_compilers
            install_programs
            install_cargo_deny
            ;;
        --all)
            # The trial of the release makes roots of its own. Better said now than after all the rest.
            if [ "$(id -u)" != 0 ]; then
                echo "error: --all needs root: sudo env \"PATH=\$PATH\" \"CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}\" \"RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}\" scripts/test.sh --all" >&2
                exit 2
            fi
            need_compilers
            programs+=$release_programs
            install_programs
            install_cargo_deny
            scripts/check.sh
            scripts/acceptance/wine_tests.sh
            scripts/dist.sh --out dist
            scripts/dist/twice.sh dist
            scripts/acceptance/memory.py --binary dist/octobundle
            exec scripts/acceptance/anywhere.py dist
            ;;
        *)
            echo "usage: scripts/test.sh [--quick|--all]" >&2
            exit 2
            ;;
    esac
    exec scripts/check.sh
}

need_compilers() {
    # rustup puts cargo where only a new login shell looks.
    has cargo || PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    if ! has cargo; then
        echo "error: Rust is needed, at least the version that Cargo.toml names: see https://rustup.rs" >&2
        exit 1
    fi
    if ! has cc && ! has gcc && ! has clang; then
        echo "error: a C compiler is needed: on Debian and Ubuntu \`apt-get install gcc libc6-dev\`" >&2
        exit 1
    fi
    local component
    for component in rustfmt clippy; do
        cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$component"
    done
}

missing_packages() {
    local program package
    while read -r program package; do
        if [ -n "$program" ] && ! has "$program"; then echo "$package"; fi
    done <<<"$programs" | sort -u
}

install_programs() {
    local missing package
    missing=$(missing_packages)
    [ -n "$missing" ] || return 0
    if ! has apt-get || { [ "$(id -u)" != 0 ] && ! has sudo; }; then
        echo "This script installs on Debian and Ubuntu only, as root or with sudo. Elsewhere install what your system"
        echo "calls these packages of Debian; the tests of missing ones say SKIPPED: ${missing//$'\n'/ }"
        return 0
    fi
    echo "==> installing: ${missing//$'\n'/ }"
    as_root apt-get update -q
    for package in $missing; do
        # Not every release has every package: the docker client is either in docker.io or in docker-cli.
        if apt-cache show "$package" >/dev/null 2>&1; then
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$package"
        fi
    done
    missing=$(missing_packages | grep -v docker-cli || true)
    [ -z "$missing" ] || echo "still missing: ${missing//$'\n'/ }"
}

install_cargo_deny() {
    local tools="${XDG_CACHE_HOME:-$HOME/.cache}/octobundle-tools"
    export PATH="$PATH:$tools/bin"
    has cargo-deny && return 0
    echo "==> installing cargo-deny $cargo_deny_version (some minutes)"
    cargo install --locked --root "$tools" "cargo-deny@$cargo_deny_version"
}

main "$@"
