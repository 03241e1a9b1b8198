//! How many connections there are, in all and from each client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::serve::lock;

/// The most connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub connections: usize,
    /// From one address.
    pub per_client: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4096, per_client: 1024 }
    }
}

/// Counts connections.
pub(crate) struct Crowd {
    limits: Limits,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// A connection that is counted until this is dropped.
pub(crate) struct Seat {
    crowd: Arc<Crowd>,
    client: IpAddr,
}

impl Crowd {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, inside: Mutex::default() })
    }

    /// A place for one more connection, if there is one.
    pub(crate) fn enter(self: &Arc<Self>, client: IpAddr) -> Option<Seat> {
        // An IPv4 client that comes through an IPv6 socket is the same client.
        let client = client.to_canonical();
        let mut inside = lock(&self.inside);
        if inside.all >= self.limits.connections
            || inside.by_client.get(&client).is_some_and(|&count| count >= self.limits.per_client)
        {
            return None;
        }
        inside.all += 1;
        *inside.by_client.entry(client).or_default() += 1;
        Some(Seat { crowd: self.clone(), client })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        lock(&self.inside).all
    }

    /// Whether so many are inside that those who only wait should leave soon.
    pub(crate) fn is_dense(&self) -> bool {
        self.len() > self.limits.connections / 4 * 3
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inside = lock(&self.crowd.inside);
        inside.all -= 1;
        if let Some(count) = inside.by_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                inside.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_enters_beyond_a_limit_and_whoever_leaves_makes_room() {
        let crowd = Crowd::new(Limits { connections: 3, per_client: 2 });
        let (one, other): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let first = crowd.enter(one).unwrap();
        let _second = crowd.enter("::ffff:10.0.0.1".parse().unwrap()).unwrap();
        assert!(crowd.enter(one).is_none(), "a third of one client");
        let _third = crowd.enter(other).unwrap();
        assert!(crowd.enter(other).is_none(), "a fourth in all");
        drop(first);
        assert!(crowd.enter(one).is_some());
        assert_eq!(crowd.len(), 2);
        assert_eq!(lock(&crowd.inside).by_client.len(), 2);
    }
}
