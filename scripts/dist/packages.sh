#!/usr/bin/env bash
# packages.sh OUT VERSION: the .deb and the .rpm, from what assets.sh has laid out; Cargo.toml says what goes where.
set -euo pipefail
cd "$(dirname "$0")/../.."
. scripts/dist/programs.sh
out=$1

need dpkg-deb dpkg
cargo_tool cargo-deb 3.8.0
cargo_tool cargo-generate-rpm 0.21.1
rm -f "$out"/*.deb "$out"/*.rpm
cargo deb --no-build --no-strip --locked --output "$out/octobundle_$2_amd64.deb"
cargo generate-rpm --arch x86_64 --auto-req disabled --source-date "$SOURCE_DATE_EPOCH" --output "$out/octobundle-$2.x86_64.rpm"
