//! Faults that a client of registries has to survive, by the numbers of `docs/faults.md`: logins (A), proxies (P),
//! habits of registries (R) and hostile servers (SEC). Each test begins with the number of its case.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/proxy.rs"]
mod proxy;

mod a;
mod client;
mod memory;
mod p;
mod r;
mod raw;
mod sec;
mod secrets;

use support::scripted;
