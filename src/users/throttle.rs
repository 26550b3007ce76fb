//! How long somebody must wait who has failed to sign in.
//!
//! Failures are counted by the peer's address and by the name it tried, across connections, and
//! for names that do not exist too. The count is forgotten some time after the last failure; how
//! many are remembered is bounded, so that nobody can fill the memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);
const REMEMBERED: usize = 8192;

/// Who failed lately, and how often.
#[derive(Debug)]
pub struct Throttle {
    /// So many failures cost nothing: people mistype.
    free: u32,
    /// Names are kept as keyed hashes: a password may have been typed in a name's place.
    keys: RandomState,
    failures: Mutex<HashMap<Key, Failures>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    Name(u64),
}

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

/// What counts as one address: of IPv6, where a customer is given a whole network, its 64 bits.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64)),
    }
}

impl Throttle {
    /// Knows of no failures, and lets `free` of them pass without a wait.
    pub fn new(free: u32) -> Throttle {
        Throttle { free, keys: RandomState::new(), failures: Mutex::default() }
    }

    fn keys(&self, from: IpAddr, name: &[u8]) -> [Key; 2] {
        let name = self.keys.hash_one(name.to_ascii_lowercase());
        [Key::Address(network_of(from)), Key::Name(name)]
    }

    /// How long the next try of this peer for this name must wait.
    pub fn delay(&self, from: IpAddr, name: &[u8]) -> Duration {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |key: Key| match failures.get(&key) {
            Some(failures) if failures.last.elapsed() < FORGOTTEN_AFTER => failures.count,
            _ => 0,
        };
        let worst = self.keys(from, name).into_iter().map(count).max().unwrap_or(0);
        delay_after(worst.checked_sub(self.free))
    }

    /// Notes a failure.
    pub fn failed(&self, from: IpAddr, name: &[u8]) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for key in self.keys(from, name) {
            if failures.len() >= REMEMBERED && !failures.contains_key(&key) {
                failures.retain(|_, failures| failures.last.elapsed() < FORGOTTEN_AFTER);
                let oldest = failures.iter().min_by_key(|(_, failures)| failures.last).map(|(key, _)| *key);
                if let Some(oldest) = oldest.filter(|_| failures.len() >= REMEMBERED) {
                    failures.remove(&oldest);
                }
            }
            let entry = failures.entry(key).or_insert(Failures { count: 0, last: Instant::now() });
            if entry.last.elapsed() >= FORGOTTEN_AFTER {
                entry.count = 0;
            }
            *entry = Failures { count: entry.count.saturating_add(1), last: Instant::now() };
        }
    }

    /// The name's owner is here: its failures were others'. Those of the address stay, or an
    /// attacker could clear them by an account of its own.
    pub fn succeeded(&self, from: IpAddr, name: &[u8]) {
        let [_, name] = self.keys(from, name);
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
    }
}

/// Nothing for the free ones, then twice as long each time, up to the longest.
fn delay_after(beyond_free: Option<u32>) -> Duration {
    match beyond_free {
        None => Duration::ZERO,
        Some(more) => FIRST_DELAY.saturating_mul(1 << more.min(16)).min(LONGEST_DELAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn delays_grow_and_stop_growing() {
        let milliseconds: Vec<_> =
            (0..14_u32).map(|count| delay_after(count.checked_sub(5)).as_millis()).collect();
        assert_eq!(milliseconds, [0, 0, 0, 0, 0, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
        assert_eq!(delay_after(Some(u32::MAX)), LONGEST_DELAY);
    }

    #[test]
    fn failures_count_by_address_and_by_name_across_connections() {
        let throttle = Throttle::new(5);
        let (here, there) = (address("10.0.0.1"), address("10.0.0.2"));
        for _ in 0..6 {
            throttle.failed(here, b"alice");
        }
        let slow = delay_after(Some(1));
        assert_eq!(throttle.delay(here, b"bob"), slow);
        assert_eq!(throttle.delay(address("::ffff:10.0.0.1"), b"bob"), slow);
        assert_eq!(throttle.delay(there, b"ALICE"), slow);
        assert_eq!(throttle.delay(there, b"bob"), Duration::ZERO);
        throttle.succeeded(there, b"alice");
        assert_eq!(throttle.delay(there, b"alice"), Duration::ZERO);
        assert_eq!(throttle.delay(here, b"alice"), slow, "the address has not become better");
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        assert_eq!(network_of(address("2001:db8:1:2:3:4:5:6")), address("2001:db8:1:2::"));
        assert_eq!(network_of(address("::ffff:10.0.0.1")), address("10.0.0.1"));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let throttle = Throttle::new(5);
        for n in 0..20_000_u32 {
            throttle.failed(IpAddr::V4(n.into()), &n.to_be_bytes());
        }
        let failures = throttle.failures.lock().unwrap();
        assert_eq!(failures.len(), REMEMBERED);
        assert!(failures.contains_key(&Key::Address(IpAddr::V4(19_999.into()))));
        assert!(!failures.contains_key(&Key::Address(IpAddr::V4(1.into()))));
    }
}
