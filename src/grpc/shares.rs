//! Places of which there are so many in all, and so many for each who takes them: nobody can take those of all others.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub struct Shares<K: Eq + Hash> {
    all: usize,
    each: usize,
    taken: Mutex<Taken<K>>,
}

struct Taken<K> {
    all: usize,
    by: HashMap<K, usize>,
}

/// One of them; given back when it is dropped.
pub struct Share<K: Eq + Hash> {
    shares: Arc<Shares<K>>,
    /// `None`: nobody knows whose.
    by: Option<K>,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    pub fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { all, each, taken: Mutex::new(Taken { all: 0, by: HashMap::new() }) })
    }

    /// `None`: there is none left, in all or for this one.
    pub fn take(self: &Arc<Self>, by: Option<K>) -> Option<Share<K>> {
        let mut taken = self.taken();
        if taken.all >= self.all {
            return None;
        }
        if let Some(by) = &by {
            let of_one = taken.by.entry(by.clone()).or_default();
            if *of_one >= self.each {
                return None;
            }
            *of_one += 1;
        }
        taken.all += 1;
        drop(taken);
        Some(Share { shares: Arc::clone(self), by })
    }
}

impl<K: Eq + Hash> Shares<K> {
    /// Nothing in here can end halfway, so that a panic elsewhere leaves the counts right.
    fn taken(&self) -> MutexGuard<'_, Taken<K>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        taken.all -= 1;
        let Some(by) = &self.by else { return };
        if let Some(count) = taken.by.get_mut(by) {
            *count -= 1;
            if *count == 0 {
                taken.by.remove(by);
            }
        }
    }
}

/// What counts as one address: who has one of IPv6 has 2^64 of them.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_its_share_gets_no_more_and_others_still_get_theirs() {
        let shares = Shares::new(5, 2);
        let first = shares.take(Some("a")).expect("there is room");
        let second = shares.take(Some("a")).expect("there is room");
        assert!(shares.take(Some("a")).is_none(), "it has its share");
        let other = shares.take(Some("b")).expect("others have theirs");
        drop(first);
        let third = shares.take(Some("a")).expect("one was given back");
        let unknown = (shares.take(None).expect("there is room"), shares.take(None).expect("there is room"));
        assert!(shares.take(Some("c")).is_none() && shares.take(None).is_none(), "five are taken");
        drop((second, third, other, unknown));
        assert!(shares.taken().by.is_empty() && shares.taken().all == 0);
    }

    #[test]
    fn an_address_of_ipv6_is_its_network() {
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
