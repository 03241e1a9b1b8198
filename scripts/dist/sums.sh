#!/usr/bin/env bash
# sums.sh OUT VERSION: SHA256SUMS of every file in OUT, and its signature where OCTOBUNDLE_RELEASE_KEY names a secret key.
set -euo pipefail
. "$(dirname "$0")/../programs.sh"
out=$1 version=$2

cd "$out"
# A signature of what was here before would be a false one.
rm -f SHA256SUMS SHA256SUMS.minisig
find . -type f ! -name 'SHA256SUMS*' -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum >SHA256SUMS
if [ -n "${OCTOBUNDLE_RELEASE_KEY-}" ]; then
    need minisign minisign
    minisign -S -s "$OCTOBUNDLE_RELEASE_KEY" -m SHA256SUMS -t "octobundle $version"
    echo "==> SHA256SUMS is signed"
else
    echo "==> not signed: OCTOBUNDLE_RELEASE_KEY names no key"
fi
