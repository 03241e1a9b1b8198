#!/usr/bin/env bash
# Compares octobundle with the floor of this machine and with the peers that are installed, and writes the tables of
# docs/performance.md:   scripts/bench.sh [--runs 5] [--scale 35] [--only pull,push,local,distance,growth]
# Needs docker-registry, skopeo, python3 (scripts/test.sh installs them), openssl, GNU time, 12 GB of disk, and a quiet
# machine. With an engine at DOCKER_HOST or its usual place, `load` is compared too: it keeps the images of the sample.
# Peers that are used when they are in PATH: crane, regctl, oras, docker.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked --bins --example floor --example line
exec python3 scripts/bench/main.py "$@"
