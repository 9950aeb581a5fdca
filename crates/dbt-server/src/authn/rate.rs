//! How often something may happen: so many times at once, and then one every so often.
//!
//! What is remembered of each is a single time, and of how many is bounded: nobody grows our
//! memory by coming from many places.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits;

/// How often something may happen.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// How many times at once.
    pub at_once: u32,
    /// After how long once more.
    pub every: Duration,
}

/// What happened lately, by whom it was.
#[derive(Debug)]
pub struct Rates<K> {
    rate: Rate,
    /// When nothing of what each did counts any more.
    ends: HashMap<K, Instant>,
}

impl<K: Eq + Hash> Rates<K> {
    /// Nothing has happened yet.
    pub fn new(rate: Rate) -> Self {
        Self { rate, ends: HashMap::new() }
    }

    /// Returns how long it is until somebody may once more.
    pub fn wait(&self, who: &K, now: Instant) -> Duration {
        let owed = self.ends.get(who).map_or(Duration::ZERO, |end| *end - now.min(*end));
        owed.saturating_sub(self.rate.every * self.rate.at_once.saturating_sub(1))
    }

    /// Counts one.
    pub fn take(&mut self, who: K, now: Instant) {
        let every = self.rate.every;
        if let Some(end) = self.ends.get_mut(&who) {
            *end = (*end).max(now) + every;
            return;
        }
        make_room(&mut self.ends, now);
        self.ends.insert(who, now + every);
    }

    /// Counts one if that is possible at once, and says whether it was.
    pub fn take_now(&mut self, who: K, now: Instant) -> bool {
        let may = self.wait(&who, now).is_zero();
        if may {
            self.take(who, now);
        }
        may
    }

    /// Takes one back that was counted.
    pub fn give_back(&mut self, who: &K) {
        if let Some(end) = self.ends.get_mut(who) {
            *end = end.checked_sub(self.rate.every).unwrap_or(*end);
        }
    }

    /// Forgets what somebody did.
    pub fn forget(&mut self, who: &K) {
        self.ends.remove(who);
    }

    /// Returns of how many something is remembered.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.ends.len()
    }
}

/// Forgets what has ended, and of the rest what ends first, if there is no room for one more.
pub(super) fn make_room<K: Eq + Hash>(ends: &mut HashMap<K, Instant>, now: Instant) {
    if ends.len() < limits::REMEMBERED_RATES {
        return;
    }
    ends.retain(|_who, end| *end > now);
    if ends.len() < limits::REMEMBERED_RATES {
        return;
    }
    let mut all: Vec<Instant> = ends.values().copied().collect();
    // A quarter, so that this is not to be done again for the next one.
    let quarter = all.len() / 4;
    let (_earlier, cut, _later) = all.select_nth_unstable(quarter);
    let cut = *cut;
    ends.retain(|_who, end| *end > cut);
}

/// Returns what stands for an address: one machine has all addresses of a small IPv6 network.
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const RATE: Rate = Rate { at_once: 3, every: Duration::from_secs(10) };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn some_are_free_and_then_one_every_so_often_for_each() {
        let mut rates = Rates::new(RATE);
        for _free in 0..3 {
            assert!(rates.take_now("alice", Instant::now()));
        }
        assert!(!rates.take_now("alice", Instant::now()));
        assert_eq!(rates.wait(&"alice", Instant::now()), seconds(10));
        assert!(rates.take_now("bob", Instant::now()), "each has their own");
        advance(seconds(9)).await;
        assert_eq!(rates.wait(&"alice", Instant::now()), seconds(1));
        advance(seconds(1)).await;
        assert!(rates.take_now("alice", Instant::now()));
        assert!(!rates.take_now("alice", Instant::now()));
        rates.give_back(&"alice");
        assert!(rates.take_now("alice", Instant::now()));
        rates.forget(&"alice");
        assert!(rates.take_now("alice", Instant::now()));
        // However long nothing happened, no more than these are free.
        advance(seconds(10_000)).await;
        let free = (0..10).filter(|_| rates.take_now("alice", Instant::now())).count();
        assert_eq!(free, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_who_owes_most_is_remembered_longest() {
        let mut rates = Rates::new(RATE);
        let now = Instant::now();
        for _owed in 0..10 {
            rates.take(usize::MAX, now);
        }
        for who in 0..3 * limits::REMEMBERED_RATES {
            rates.take(who, now);
            assert!(rates.count() <= limits::REMEMBERED_RATES);
        }
        assert!(!rates.wait(&usize::MAX, now).is_zero());
    }

    #[test]
    fn a_network_stands_for_its_addresses() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }
}
