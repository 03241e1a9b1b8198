#!/usr/bin/env bash
# Kills a small pull at every single system call that writes, and holds what it leaves to its promises (fault D-01).
# `cargo test` tries a sample. Needs strace. Some minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
OCTOBUNDLE_EVERY_CALL=1 cargo test --locked --test faults d_01 -- --nocapture
