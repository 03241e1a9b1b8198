//! A bundle offered as a read-only registry, in place: nothing is unpacked and nothing is written.
//!
//! What is said is decided without I/O: [`catalog`] is what is offered, `route` what is asked for, `protocol` the
//! answer as a value. The rest carries it out: `door` lets clients in, `connection` speaks HTTP, `reply` answers,
//! `reading` finds the bundle that can give, `source` reads it and vouches for its bytes, `sending` moves them.
//!
//! HTTP/1.1 is spoken by this module itself, with hyper's parser of heads: to move a blob from the file to the socket
//! without a copy in memory, whoever speaks HTTP must own the socket. It is GET and HEAD without bodies only.

mod access_log;
mod answer;
mod auth;
pub mod catalog;
mod connection;
mod door;
mod error;
mod file_identity;
mod head;
mod limits;
mod metrics;
mod notices;
mod page;
mod paper;
mod protocol;
mod range;
mod reading;
mod referrers;
mod reply;
mod route;
mod sending;
mod server;
mod sockets;
mod source;
mod tls;
mod unit;

use std::io::Read as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use access_log::LogTarget;
pub use error::ServeError;
pub use limits::Limits;
pub use notices::{Notice, Notices};
pub use sending::Patience;
pub use server::{Bundles, Server, Settings, Stop};
pub use sockets::{listen_addresses, open_sockets};
pub use tls::{Identity, Loaded, is_certifiable, own_names, spaced};
pub use unit::Units;

/// Takes a lock.
///
/// The released program ends at a panic, whoever caused it: nothing of a state that nobody foresaw is given out, and
/// what started the server starts it again. Only tests unwind; there a lock that a panic left behind would hide the
/// panic itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a small file whole.
fn read_file(path: &Path, most: u64) -> Result<Vec<u8>, ServeError> {
    let failed = |source| ServeError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}
