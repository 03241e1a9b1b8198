#!/usr/bin/env bash
# image.sh OUT VERSION: a container image of the binary and nothing else, as an OCI archive that `podman load`, `skopeo`
# and a registry take. Trust: mount the site's CA file and name it with --ca or SSL_CERT_FILE.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/programs.sh
out=$1 version=$2

need buildah buildah
store=$(mktemp -d)
# Its own storage, copied files instead of mounts, no network: nothing of this machine's containers is touched.
build=(buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs)
trap '"${build[@]}" rm --all >/dev/null 2>&1; rm -rf "$store"' EXIT
container=$("${build[@]}" from scratch)
"${build[@]}" copy -q --chmod 0755 "$container" "$out/octobundle" /octobundle >/dev/null
"${build[@]}" copy -q --chmod 0644 "$container" target/dist-assets/LICENSE target/dist-assets/THIRD-PARTY-LICENCES.txt /licences/ >/dev/null
"${build[@]}" config --entrypoint '["/octobundle"]' --cmd '' --workingdir /data \
    --label "org.opencontainers.image.title=octobundle" --label "org.opencontainers.image.version=$version" \
    --label "org.opencontainers.image.licenses=Apache-2.0" "$container"
"${build[@]}" commit -q --format oci --timestamp "$SOURCE_DATE_EPOCH" --omit-history "$container" octobundle >/dev/null
rm -f "$out/octobundle-image.tar"
"${build[@]}" push -q --format oci octobundle "oci:$store/image:octobundle:$version" >/dev/null
tar -C "$store/image" --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime "@$SOURCE_DATE_EPOCH" \
    -cf "$out/octobundle-image.tar" .
