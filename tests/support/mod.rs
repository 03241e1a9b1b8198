//! What the tests and the demonstration share: sample images, registries, engines and a way to run the binary.
//!
//! Nothing here uses the library: a client tested against its own words would share its mistakes.
#![allow(dead_code, unused_imports, reason = "each test file compiles this module for itself and uses a part of it")]

pub(crate) mod authority;
#[cfg(unix)]
pub(crate) mod browser;
pub(crate) mod cli;
pub(crate) mod discretion;
pub(crate) mod engine;
pub(crate) mod images;
pub(crate) mod memory_registry;
#[cfg(unix)]
pub(crate) mod mounted;
pub(crate) mod pages;
#[cfg(unix)]
pub(crate) mod program;
pub(crate) mod real;
pub(crate) mod release;
pub(crate) mod scripted;
pub(crate) mod served;
#[cfg(unix)]
pub(crate) mod stand_in;
#[cfg(unix)]
pub(crate) mod terminal;
pub(crate) mod update;

use std::time::{Duration, Instant};

/// Far above what anything here takes, so that only a real standstill meets it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that happens in another process or thread, and panics when it does not come.
pub(crate) fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
