#!/bin/sh
# Installs octobundle from the folder of a release, without a network:   ./install.sh [--prefix /usr/local] [--key PUBLIC_KEY]
# Checks SHA256SUMS first, with --key its signature before that. `--uninstall` removes what was installed.
set -eu
umask 022
# Ranges like a-f, and the OK of sha256sum, differ between languages.
export LC_ALL=C

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
sums=$here/SHA256SUMS
prefix=/usr/local key='' uninstall='' new=''

fail() { echo "error: $1" >&2; exit 1; }

while [ $# -gt 0 ]; do
    case $1 in
        --prefix) [ $# -ge 2 ] || fail "--prefix needs a folder"; prefix=$2; shift 2 ;;
        --key) [ $# -ge 2 ] || fail "--key needs a public key's file"; key=$2; shift 2 ;;
        --uninstall) uninstall=yes; shift ;;
        *) fail "unknown option $1: see the first lines of $0" ;;
    esac
done

# By name and not by SHA256SUMS, so that it also removes what another release has installed.
take_away() {
    rm -f "$prefix/bin/octobundle" \
        "$prefix"/share/man/man1/octobundle[.-]* \
        "$prefix/share/bash-completion/completions/octobundle" \
        "$prefix/share/zsh/site-functions/_octobundle" \
        "$prefix/share/fish/vendor_completions.d/octobundle.fish" &&
        rm -rf "$prefix/share/doc/octobundle"
}

choose_program() {
    machine="$(uname -s) $(uname -m)"
    case $machine in
        "Linux x86_64" | "Linux amd64") program=octobundle ;;
        "Linux aarch64" | "Linux arm64") program=octobundle-aarch64 ;;
        *) fail "this machine is $machine: install.sh has programs for Linux on x86_64 and on aarch64 (64-bit Arm)" ;;
    esac
}

check_signature() {
    [ -f "$key" ] || fail "$key is no file"
    [ -f "$sums.minisig" ] || fail "SHA256SUMS has no signature"
    command -v minisign >/dev/null || fail "--key needs the program minisign"
    # Not quiet: the trusted comment names the version, and an older release is signed as well.
    minisign -Vm "$sums" -p "$key" || fail "the signature of SHA256SUMS was not made with that key"
}

check_sums() {
    # sha256sum only warns of lines that it cannot read. Names must be plain, since they become paths.
    if grep -Eqv '^[0-9a-f]{64}  [A-Za-z0-9][A-Za-z0-9_.+~/-]*$' "$sums" || grep -Fq .. "$sums"; then
        fail "SHA256SUMS has a line that is no checksum of a file: copy the folder again, from where it was downloaded"
    fi
    found=$(cd "$here" && sha256sum -c SHA256SUMS 2>&1) || {
        echo "$found" | grep -v ': OK$' >&2 || true
        fail "the files differ from SHA256SUMS: copy the folder again, from where it was downloaded"
    }
    grep -q "  $program\$" "$sums" || fail "the release has no $program, the program for this machine ($machine)"
}

# stage MODE NAME TARGET: beside the target, so that a running program is not written over.
stage() {
    mkdir -p "$(dirname "$3")"
    new=$3.new
    cp "$here/$2" "$new"
    chmod "$1" "$new"
}

put() {
    stage 0644 "$1" "$prefix/$2"
    mv -f "$new" "$prefix/$2"
}

put_program() {
    stage 0755 "$program" "$prefix/bin/octobundle"
    version=$("$new" --version) ||
        fail "$program does not run in $prefix/bin and was not installed: if that folder is mounted noexec, choose another --prefix"
    mv -f "$new" "$prefix/bin/octobundle"
}

# What SHA256SUMS does not list was not checked, and stays where it is.
put_pages() {
    while read -r _ name || [ -n "$name" ]; do
        case $name in
            share/man/octobundle[.-]*) put "$name" "share/man/man1/${name##*/}" ;;
            share/completions/octobundle.bash) put "$name" share/bash-completion/completions/octobundle ;;
            share/completions/octobundle.zsh) put "$name" share/zsh/site-functions/_octobundle ;;
            share/completions/octobundle.fish) put "$name" share/fish/vendor_completions.d/octobundle.fish ;;
            share/doc/*) put "$name" "share/doc/octobundle/${name#share/doc/}" ;;
            share/LICENSE | share/THIRD-PARTY-LICENCES.txt) put "$name" "share/doc/octobundle/${name#share/}" ;;
        esac
    done <"$sums"
}

if [ -n "$uninstall" ]; then
    take_away || fail "$prefix cannot be written: use sudo, or the --prefix it was installed with"
    echo "octobundle was removed from $prefix"
    exit 0
fi
choose_program
[ -f "$sums" ] || fail "$here has no SHA256SUMS: copy the whole folder of the release"
[ -z "$key" ] || check_signature
check_sums
{ mkdir -p "$prefix/bin" && [ -w "$prefix/bin" ]; } || fail "$prefix cannot be written: use sudo, or --prefix \"\$HOME/.local\""
trap 'rm -f "$new"' EXIT
put_program
put_pages
echo "$version is installed in $prefix/bin"
