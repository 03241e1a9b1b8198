//! Counting what goes in and what comes out, so that a bomb ends early.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use crate::layers::LayerError;

/// What comes out before the ratio is looked at. Small layers of many like files compress better than any ratio that
/// large ones reach.
const FREE: u64 = 256 * 1024 * 1024;

/// How far reading one layer may go.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes that it may unpack to, archives inside of it included.
    pub unpacked: u64,
    /// How many times its own size it may unpack to, beyond the first 256 MiB.
    pub ratio: u64,
    /// Entries that it may have, those of archives inside of it included.
    pub entries: u64,
    /// Bytes that may be remembered of it.
    pub memory: u64,
}

impl Default for Limits {
    /// 64 GiB, 200 times, 2 million entries, 64 MiB: beyond any image that was seen, within what a host has.
    fn default() -> Self {
        Self { unpacked: 64 << 30, ratio: 200, entries: 2_000_000, memory: 64 << 20 }
    }
}

/// What one layer has used of its limits; all readers of the layer share it.
#[derive(Clone)]
pub struct Meter(Rc<Used>);

struct Used {
    limits: Limits,
    packed: Cell<u64>,
    unpacked: Cell<u64>,
    entries: Cell<u64>,
    memory: Cell<u64>,
}

impl Meter {
    /// Nothing used yet.
    pub fn new(limits: Limits) -> Self {
        let none = || Cell::new(0);
        Self(Rc::new(Used { limits, packed: none(), unpacked: none(), entries: none(), memory: none() }))
    }

    /// Counts bytes that were unpacked.
    pub fn unpacked(&self, bytes: usize) -> Result<(), LayerError> {
        let Limits { unpacked: limit, ratio, .. } = self.0.limits;
        let unpacked = add(&self.0.unpacked, bytes as u64);
        if unpacked > limit {
            return Err(LayerError::Unpacked { limit });
        }
        if unpacked > FREE.saturating_add(self.0.packed.get().saturating_mul(ratio)) {
            return Err(LayerError::Ratio { ratio });
        }
        Ok(())
    }

    /// Counts an entry of an archive.
    pub fn entry(&self) -> Result<(), LayerError> {
        let limit = self.0.limits.entries;
        if add(&self.0.entries, 1) > limit { Err(LayerError::Entries { limit }) } else { Ok(()) }
    }

    /// Counts bytes that are kept.
    pub fn keep(&self, bytes: usize) -> Result<(), LayerError> {
        let limit = self.0.limits.memory;
        if add(&self.0.memory, bytes as u64) > limit { Err(LayerError::Memory { limit }) } else { Ok(()) }
    }
}

fn add(to: &Cell<u64>, amount: u64) -> u64 {
    to.set(to.get().saturating_add(amount));
    to.get()
}

/// Counts what is read of the layer as it stands in the bundle.
pub(super) struct Packed<R> {
    pub(super) inner: R,
    pub(super) meter: Meter,
}

impl<R: Read> Read for Packed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        add(&self.meter.0.packed, read as u64);
        Ok(read)
    }
}

/// Counts what comes out, and fails where it becomes too much.
pub(crate) struct Unpacked<R> {
    pub(crate) inner: R,
    pub(crate) meter: Meter,
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.meter.unpacked(read)?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_met_at_their_number_and_not_before() {
        let limits = Limits { unpacked: 10, ratio: 1, entries: 1, memory: 3 };
        let meter = Meter::new(limits);
        assert!(meter.unpacked(10).is_ok());
        assert!(matches!(meter.unpacked(1), Err(LayerError::Unpacked { limit: 10 })));
        assert!(meter.entry().is_ok() && matches!(meter.entry(), Err(LayerError::Entries { limit: 1 })));
        assert!(meter.keep(3).is_ok() && matches!(meter.keep(1), Err(LayerError::Memory { limit: 3 })));
        let wide = Meter::new(Limits { unpacked: u64::MAX, ..limits });
        let free = usize::try_from(FREE).unwrap();
        assert!(wide.unpacked(free).is_ok());
        assert!(matches!(wide.unpacked(1), Err(LayerError::Ratio { ratio: 1 })));
    }
}
