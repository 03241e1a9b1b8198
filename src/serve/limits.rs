//! How many connections there are, in all and from each client.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use crate::serve::lock;

/// The most connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub connections: usize,
    /// From one client, as far as addresses tell: an IPv4 address, or an IPv6 network of 64 bits.
    pub per_client: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4096, per_client: 1024 }
    }
}

/// Whom connections from an address are counted for. A machine has a whole IPv6 network of 64 bits to choose addresses
/// from; and an IPv4 client that comes through an IPv6 socket is the same client.
pub(crate) fn counted_as(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address @ IpAddr::V4(_) => address,
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
        let client = counted_as(client);
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

    #[test]
    fn sec_72_a_client_is_a_whole_ipv6_network() {
        let crowd = Crowd::new(Limits { connections: 9, per_client: 2 });
        let seat = |address: &str| crowd.enter(address.parse().unwrap());
        let _inside = (seat("2001:db8::1").unwrap(), seat("2001:db8::ffff:0:0:2").unwrap());
        assert!(seat("2001:db8::3").is_none(), "another address of the same network");
        let _beside = seat("2001:db8:0:1::1").expect("the network beside it is another client");
        let _mapped = (seat("::ffff:192.0.2.1").unwrap(), seat("::ffff:192.0.2.2").unwrap());
        assert!(seat("192.0.2.3").is_some() && seat("::ffff:192.0.2.4").is_some(), "IPv4 addresses are no network");
    }
}
