#!/bin/sh
# Installs octobundle from the folder of a release, without a network:   ./install.sh [--prefix /usr/local] [--key PUBLIC_KEY]
# Checks SHA256SUMS first, and with --key its signature. `--uninstall` removes what was installed.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
prefix=/usr/local key='' uninstall='' binary=octobundle
[ "$(uname -m)" != aarch64 ] || binary=octobundle-aarch64

fail() { echo "error: $1" >&2; exit 1; }

while [ $# -gt 0 ]; do
    case $1 in
        --prefix) [ $# -ge 2 ] || fail "--prefix needs a folder"; prefix=$2; shift 2 ;;
        --key) [ $# -ge 2 ] || fail "--key needs a public key's file"; key=$2; shift 2 ;;
        --uninstall) uninstall=yes; shift ;;
        *) fail "unknown option $1: see the first lines of $0" ;;
    esac
done

check() {
    [ -f "$here/SHA256SUMS" ] || fail "$here has no SHA256SUMS: copy the whole folder of the release"
    [ -f "$here/$binary" ] || fail "the release has no $binary for this machine ($(uname -m)): copy the whole folder of the release"
    (cd "$here" && sha256sum -c --quiet SHA256SUMS) ||
        fail "the files differ from SHA256SUMS: copy the folder again, from where it was downloaded"
    [ -n "$key" ] || return 0
    [ -f "$key" ] || fail "$key is no file"
    [ -f "$here/SHA256SUMS.minisig" ] || fail "SHA256SUMS has no signature"
    command -v minisign >/dev/null || fail "--key needs the program minisign"
    minisign -Vqm "$here/SHA256SUMS" -p "$key" || fail "the signature of SHA256SUMS was not made with that key"
}

# put MODE SOURCE TARGET: under another name first, so that a running program is not written over.
put() {
    mkdir -p "$(dirname "$3")"
    cp "$2" "$3.new"
    chmod "$1" "$3.new"
    mv -f "$3.new" "$3"
}

each() {
    "$1" 0755 "$here/$binary" "$prefix/bin/octobundle"
    for page in "$here"/share/man/*; do "$1" 0644 "$page" "$prefix/share/man/man1/${page##*/}"; done
    "$1" 0644 "$here/share/completions/octobundle.bash" "$prefix/share/bash-completion/completions/octobundle"
    "$1" 0644 "$here/share/completions/octobundle.zsh" "$prefix/share/zsh/site-functions/_octobundle"
    "$1" 0644 "$here/share/completions/octobundle.fish" "$prefix/share/fish/vendor_completions.d/octobundle.fish"
    for page in "$here"/share/doc/*.md; do "$1" 0644 "$page" "$prefix/share/doc/octobundle/${page##*/}"; done
    for page in "$here"/share/doc/docs/*; do "$1" 0644 "$page" "$prefix/share/doc/octobundle/docs/${page##*/}"; done
    for text in LICENSE THIRD-PARTY-LICENCES.txt; do "$1" 0644 "$here/share/$text" "$prefix/share/doc/octobundle/$text"; done
}

take_away() { rm -f "$3"; }

if [ -n "$uninstall" ]; then
    each take_away
    rmdir "$prefix/share/doc/octobundle/docs" "$prefix/share/doc/octobundle" 2>/dev/null || true
    echo "octobundle was removed from $prefix"
    exit 0
fi
check
{ mkdir -p "$prefix/bin" && [ -w "$prefix/bin" ]; } || fail "$prefix cannot be written: use sudo, or --prefix \"\$HOME/.local\""
each put
echo "$("$prefix/bin/octobundle" --version) is installed in $prefix/bin"
