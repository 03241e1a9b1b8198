#!/usr/bin/env bash
# Shows the main job on this machine alone: resolve, pull, inspect, verify, push, push again, render.
# Needs Rust and a C compiler; touches nothing outside of a temporary folder.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --locked --quiet
exec cargo run --locked --quiet --example demo
