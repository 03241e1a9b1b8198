//! octobundle carries the container images of a release into a site without internet.
//!
//! At the heart is one copy between a source and a sink: `pull` copies registry → bundle, `push` copies
//! bundle → registry. What to copy is decided first, without I/O, as a value that `--dry-run` prints. Bytes
//! cannot be read without being verified. The outside world is touched by four edges only: [`registry`],
//! [`bundle`], [`engine`] and [`serve`]. Each command is told from top to bottom in one file of [`workflow`].
//!
//! # The map
//!
//! A module names modules of lower lines only; `tests/architecture.rs` holds that.
//!
//! ```text
//!  binary      main ─► cli                                  words, environment, exit codes
//!  ════════════════════╪═════════ below it nothing prints, exits or reads the environment
//!  stories          workflow
//!  server           serve                                   (reads bundles)
//!  edges, work      registry · bundle · engine · transfer · render · report · inventory · scanner
//!  decisions        plan · trust
//!  our input        manifest
//!  ground           images · content · layers · progress
//!  words            oci · failure · wording
//! ```
//!
//! # The words
//!
//! | word | means | not |
//! |---|---|---|
//! | manifest | our list of what a release ships (`manifests/*.yaml`) | OCI's; those are *image manifest* and *image index* |
//! | image set | the images wanted after selection, still by tag | |
//! | lock | the same images pinned: digests, platforms, blobs | |
//! | plan | what will be transferred, decided | a list that changes while running |
//! | layout | where each member stands in the bundle, known before the first layer arrives | |
//! | draft | the bundle being written under its partial name; can be resumed | cache, staging folder |
//! | bundle | one sealed, checksummed file | archive, tarball (those are its form) |
//! | source / sink | where a copy reads / writes | |
//! | mirror map | old image name → name in the private registry | |
//! | report | what a command did, as data | log |
//! | finding | one thing `verify` saw | error |
#![warn(clippy::print_stdout, clippy::print_stderr, clippy::exit, clippy::unwrap_used)]
#![warn(clippy::disallowed_methods)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may stop where it stands"))]

pub mod bundle;
pub mod content;
pub mod engine;
pub mod failure;
pub mod images;
pub mod inventory;
pub mod layers;
pub mod manifest;
pub mod oci;
pub mod plan;
pub mod progress;
pub mod registry;
pub mod render;
pub mod report;
pub mod scanner;
pub mod serve;
pub mod transfer;
pub mod trust;
pub mod wording;
pub mod workflow;

// Stand-ins that tests of several modules write.
#[cfg(all(test, unix))]
#[path = "../tests/support/program.rs"]
mod program;
