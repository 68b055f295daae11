//! How many connections there are, in all, from one address, and of those that have not begun to speak HTTP.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Bounds,
    refused::{Refused, Why},
};
use crate::grpc::shares::network;

/// Of the connections that have not begun, one address has an eighth, or so many if that is less.
const LEAST_SHARE: usize = 16;

pub struct Places {
    bounds: Bounds,
    refused: Arc<Refused>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    opening: usize,
    by_address: HashMap<IpAddr, Of>,
}

/// What one address has.
#[derive(Default)]
struct Of {
    all: usize,
    opening: usize,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    Connections,
    Address,
    Handshakes,
    /// Of its address.
    AddressHandshakes,
}

/// That of one connection; given back when it is dropped.
pub struct Place {
    places: Arc<Places>,
    address: IpAddr,
    opening: bool,
}

impl Places {
    pub fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, refused: Arc::default(), taken: Mutex::default() })
    }

    /// Those that got none, and those that lost theirs before they were served.
    pub fn refused(&self) -> &Arc<Refused> {
        &self.refused
    }

    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        self.try_take(address).inspect_err(|full| {
            self.refused.count(match full {
                Full::Connections => Why::Connections,
                Full::Address => Why::Address,
                Full::Handshakes | Full::AddressHandshakes => Why::Handshakes,
            });
        })
    }

    fn try_take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let address = network(address);
        let mut taken = self.taken();
        if taken.all >= self.bounds.connections {
            return Err(Full::Connections);
        }
        if let Some(of) = taken.by_address.get(&address) {
            if of.all >= self.bounds.per_address {
                return Err(Full::Address);
            }
            // Asked before the bound of all: who fills its own share has not filled that of others.
            if of.opening >= opening_share(&self.bounds) {
                return Err(Full::AddressHandshakes);
            }
        }
        if taken.opening >= self.bounds.handshakes {
            return Err(Full::Handshakes);
        }
        taken.all += 1;
        taken.opening += 1;
        let of = taken.by_address.entry(address).or_default();
        of.all += 1;
        of.opening += 1;
        drop(taken);
        Ok(Place { places: Arc::clone(self), address, opening: true })
    }

    /// Nothing in here can end halfway, so that a panic elsewhere leaves the counts right.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// It is ended before it has begun.
    pub fn refused(&self, why: Why) {
        self.places.refused.count(why);
    }

    /// It has begun to speak HTTP.
    pub fn opened(&mut self) {
        if std::mem::take(&mut self.opening) {
            let mut taken = self.places.taken();
            taken.opening -= 1;
            if let Some(of) = taken.by_address.get_mut(&self.address) {
                of.opening -= 1;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.opened();
        let mut taken = self.places.taken();
        taken.all -= 1;
        if let Some(of) = taken.by_address.get_mut(&self.address) {
            of.all -= 1;
            if of.all == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// Connections of one address that have not begun.
pub fn opening_share(bounds: &Bounds) -> usize {
    (bounds.handshakes / 8).max(LEAST_SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const BOUNDS: Bounds =
        Bounds { connections: 4, per_address: 2, handshakes: 3, handshake: Duration::ZERO, stall: Duration::ZERO, credential: None };

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn places_are_bounded_in_all_by_address_and_while_they_open_and_come_back() {
        let places = Places::new(BOUNDS);
        let take = |from: &str| places.take(address(from));
        let mut first = take("192.0.2.1").expect("there is room");
        let second = take("::ffff:192.0.2.1").expect("there is room");
        assert_eq!(take("192.0.2.1").err(), Some(Full::Address));
        let third = take("2001:db8::1").expect("there is room");
        assert_eq!(take("192.0.2.9").err(), Some(Full::Handshakes), "three have not begun");
        first.opened();
        first.opened();
        let fourth = take("2001:db8::2").expect("one has begun, once");
        drop(second);
        let mut fifth = take("192.0.2.9").expect("one has ended");
        fifth.opened();
        assert_eq!(take("192.0.2.3").err(), Some(Full::Connections));
        drop(fifth);
        assert_eq!(take("2001:db8::3").err(), Some(Full::Address), "the same network");
        drop((first, third, fourth));
        let taken = places.taken();
        assert_eq!((taken.all, taken.opening, taken.by_address.len()), (0, 0, 0));
    }
    #[test]
    fn one_address_that_opens_and_never_begins_leaves_room_for_others() {
        let bounds = Bounds { connections: 1_000, per_address: 1_000, handshakes: 200, ..BOUNDS };
        let places = Places::new(bounds);
        let take = |from: &str| places.take(address(from));
        let mut held: Vec<Place> = std::iter::from_fn(|| take("192.0.2.1").ok()).take(1_000).collect();
        assert_eq!((held.len(), take("192.0.2.1").err()), (25, Some(Full::AddressHandshakes)));
        let other = take("192.0.2.2").expect("another address has its own share");
        // Those that have begun are no longer of it.
        held.iter_mut().take(10).for_each(Place::opened);
        held.extend(std::iter::from_fn(|| take("192.0.2.1").ok()).take(1_000));
        assert_eq!(held.len(), 35);
        drop((held, other));
        let taken = places.taken();
        assert_eq!((taken.all, taken.opening, taken.by_address.len()), (0, 0, 0));
    }
}
