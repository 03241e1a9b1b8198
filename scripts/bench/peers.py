"""The same work by other tools, in the shortest way that each of them documents.

Each gives what octobundle gives: one tar and its SHA-256. `openssl sha256` makes the sum, since coreutils 9.1 hashes
without the processor's SHA instructions. Variables of the commands: A and B (registries), REFS (names in A without the
host), OUT (the tar), TMP (an empty folder on the same disk), LIST and BLOBS (for the floor), MANIFEST.
"""

from measure import Job

NAME = "name() { echo \"$1\" | tr '/:' '__'; }; "
TAR = 'tar -C "$TMP" -cf "$OUT" layout; openssl sha256 -r "$OUT" > "$OUT.sha256"'
CLEAN = 'rm -rf "$TMP" "$OUT" "$OUT".*; mkdir "$TMP"'

PULL = [
    Job("octobundle pull", '"$OCTOBUNDLE" pull "$MANIFEST" --platform all -o "$OUT"'),
    Job("floor, 2 connections", '"$FLOOR" pull "$A" "$LIST" 2 "$OUT"'),
    Job(
        "crane pull (tarball, one platform) + openssl",
        'crane --insecure pull --platform linux/amd64 $(for r in $REFS; do echo "$A/$r"; done) "$OUT";'
        ' openssl sha256 -r "$OUT" > "$OUT.sha256"',
        needs=("crane",),
    ),
    Job(
        "crane pull (OCI layout) + tar + openssl",
        'crane --insecure pull --format oci --annotate-ref $(for r in $REFS; do echo "$A/$r"; done) "$TMP/layout"; ' + TAR,
        needs=("crane",),
    ),
    Job(
        "skopeo copy (OCI layout) + tar + openssl",
        NAME + 'for r in $REFS; do skopeo copy -q --all --src-tls-verify=false "docker://$A/$r"'
        ' "oci:$TMP/layout:$(name "$r")"; done; ' + TAR,
        needs=("skopeo",),
    ),
    Job(
        "regctl image copy (ocidir) + tar + openssl",
        NAME + 'export HOME=$TMP; regctl registry set --tls disabled "$A"; for r in $REFS; do'
        ' regctl image copy "$A/$r" "ocidir://$TMP/layout:$(name "$r")"; done; ' + TAR,
        needs=("regctl",),
    ),
    Job(
        "oras cp (OCI layout) + tar + openssl",
        'for r in $REFS; do oras cp --no-tty --from-plain-http --to-oci-layout "$A/$r" "$TMP/layout:${r##*:}-${r%%:*}"'
        " > /dev/null; done; ".replace("${r##*:}-${r%%:*}", "$(echo \"$r\" | tr '/:' '__')") + TAR,
        needs=("oras",),
    ),
]

# Each unpacks its tar first, where it cannot read it: that belongs to the way from one tar to a registry.
UNPACK = 'tar -C "$TMP" -xf "$IN"; '
PUSH = [
    Job("octobundle push", '"$OCTOBUNDLE" push "$BUNDLE" --registry "$B"'),
    Job("floor, 2 connections", '"$FLOOR" push "$B" "$LIST" 2 "$BLOBS"'),
    Job(
        "untar + crane push",
        UNPACK + NAME + 'for r in $REFS; do crane --insecure push "$TMP/$(name "$r")" "$B/$r"; done',
        needs=("crane",),
    ),
    Job(
        "untar + skopeo copy",
        UNPACK + NAME + 'for r in $REFS; do skopeo copy -q --all --dest-tls-verify=false "oci:$TMP/$(name "$r")"'
        ' "docker://$B/$r"; done',
        needs=("skopeo",),
    ),
    Job(
        "untar + regctl image copy",
        UNPACK + NAME + 'export HOME=$TMP; regctl registry set --tls disabled "$B"; for r in $REFS; do'
        ' regctl image copy "ocidir://$TMP/$(name "$r")" "$B/$r"; done',
        needs=("regctl",),
    ),
]
# One OCI layout an image, in one tar: what the peers' pushes begin from. skopeo makes it.
LAYOUTS = (
    NAME + 'rm -rf "$TMP"; mkdir "$TMP"; for r in $REFS; do skopeo copy -q --all --src-tls-verify=false'
    ' "docker://$A/$r" "oci:$TMP/$(name "$r"):latest"; done; tar -C "$TMP" -cf "$IN" .; rm -rf "$TMP"; mkdir "$TMP"'
)
