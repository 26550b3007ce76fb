//! How long somebody must wait who has failed to sign in.
//!
//! Failures are counted by the peer's address and by the name it tried, across connections, and
//! for names that do not exist too. Tries stand in a queue for each address and each name, so that
//! many at once are no quicker than one after another: as long as few have failed, so many may be
//! under way as may still fail for nothing; then one at a time, each later after the last failure.
//! Where the queue is long, a further try is refused unread.
//!
//! A name that was signed in to from an address before has a count of its own there: who guesses at
//! it from elsewhere cannot keep its owner out. What is remembered is bounded, so that nobody can
//! fill the memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);
const REMEMBERED: usize = 8192;
/// So many may wait for failures to be waited out. Each holds a client's place meanwhile.
const WAITING: u32 = 4;

/// Who failed lately, and how often.
#[derive(Debug)]
pub struct Throttle {
    /// So many failures cost nothing: people mistype.
    free: u32,
    /// Names are kept as keyed hashes: a password may have been typed in a name's place.
    hasher: RandomState,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queues: HashMap<Key, Queue>,
    /// Addresses with the names that were signed in to from there, and when.
    trusted: HashMap<u64, Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    Name(u64),
    /// A trusted address with its name.
    Pair(u64),
}

/// The tries of one address, or for one name.
#[derive(Debug)]
struct Queue {
    failures: u32,
    /// When something last happened to it.
    last: Instant,
    /// Nobody's turn is before this.
    next: Instant,
    under_way: u32,
    waiting: u32,
}

/// When a try may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Now,
    In(Duration),
    /// When another try has ended.
    Later,
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
        Throttle { free, hasher: RandomState::new(), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits for the turn of a try of this peer for this name. `None` where too many wait already:
    /// the try must not be made.
    pub fn begin(&self, from: IpAddr, name: &[u8]) -> Option<Try<'_>> {
        let pair = self.pair(from, name);
        let name = self.hasher.hash_one(name.to_ascii_lowercase());
        let address = Key::Address(network_of(from));
        let mut state = self.lock();
        loop {
            let is_trusted = state.trusted.contains_key(&pair);
            let keys = if is_trusted { vec![Key::Pair(pair)] } else { vec![address, Key::Name(name)] };
            let now = Instant::now();
            match keys.iter().map(|key| state.turn(key, now, self.free)).max() {
                Some(Turn::Now) | None => {
                    keys.iter().for_each(|key| state.queue(*key, now).under_way += 1);
                    return Some(Try { throttle: self, keys, address, pair });
                }
                // Also of those who wait already: many may have come before the first one failed.
                Some(_) if keys.iter().any(|key| state.is_full(key, self.free)) => return None,
                Some(turn) => {
                    keys.iter().for_each(|key| state.queue(*key, now).waiting += 1);
                    let wait = if let Turn::In(wait) = turn { wait } else { FORGOTTEN_AFTER };
                    let woken = self.changed.wait_timeout(state, wait);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                    keys.iter().for_each(|key| state.update(key, |queue| queue.waiting -= 1));
                }
            }
        }
    }

    /// The owner of a name was at this address without a try, as when the account was created.
    pub fn trust(&self, from: IpAddr, name: &[u8]) {
        self.lock().trust(self.pair(from, name), Instant::now());
    }

    fn pair(&self, from: IpAddr, name: &[u8]) -> u64 {
        self.hasher.hash_one((network_of(from), name.to_ascii_lowercase()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A try under way.
#[derive(Debug)]
pub struct Try<'t> {
    throttle: &'t Throttle,
    keys: Vec<Key>,
    address: Key,
    pair: u64,
}

impl Try<'_> {
    /// It failed: the next ones wait.
    pub fn failed(self) {
        let (mut state, now) = (self.throttle.lock(), Instant::now());
        // Of a trusted address, too, the failures count for whoever else is there.
        let elsewhere = (!self.keys.contains(&self.address)).then_some(&self.address);
        for key in self.keys.iter().chain(elsewhere) {
            state.queue(*key, now).fail(now, self.throttle.free);
        }
    }

    /// The name's owner is here: its failures were others'. Those of the address stay, or an
    /// attacker could clear them by an account of its own.
    pub fn succeeded(self) {
        let (mut state, now) = (self.throttle.lock(), Instant::now());
        for key in self.keys.iter().filter(|key| !matches!(key, Key::Address(_))) {
            let queue = state.queue(*key, now);
            queue.failures = 0;
            queue.next = now;
        }
        state.trust(self.pair, now);
    }
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        let mut state = self.throttle.lock();
        self.keys.iter().for_each(|key| state.update(key, |queue| queue.under_way -= 1));
        drop(state);
        self.throttle.changed.notify_all();
    }
}

impl State {
    /// When a try may be made, as far as this key is concerned.
    fn turn(&self, key: &Key, now: Instant, free: u32) -> Turn {
        let Some(queue) = self.queues.get(key).filter(|queue| !queue.is_forgotten(now)) else {
            return Turn::Now;
        };
        match queue.next.saturating_duration_since(now) {
            _ if queue.under_way >= free.saturating_sub(queue.failures).max(1) => Turn::Later,
            Duration::ZERO => Turn::Now,
            wait => Turn::In(wait),
        }
    }

    /// Whether so many others wait for failures to be waited out that nobody else may.
    fn is_full(&self, key: &Key, free: u32) -> bool {
        self.queues.get(key).is_some_and(|queue| queue.failures >= free && queue.waiting >= WAITING)
    }

    /// The queue of a key, which is made where there is none.
    fn queue(&mut self, key: Key, now: Instant) -> &mut Queue {
        if !self.queues.contains_key(&key) {
            make_room(&mut self.queues, |queue| (!queue.is_in_use()).then_some(queue.last), now);
        }
        let new = Queue { failures: 0, last: now, next: now, under_way: 0, waiting: 0 };
        let queue = self.queues.entry(key).or_insert(new);
        if queue.is_forgotten(now) {
            queue.failures = 0;
        }
        queue.last = now;
        queue
    }

    /// Changes a queue, and forgets it where nothing of it is left.
    fn update(&mut self, key: &Key, change: impl FnOnce(&mut Queue)) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        change(queue);
        if queue.failures == 0 && !queue.is_in_use() {
            self.queues.remove(key);
        }
    }

    fn trust(&mut self, pair: u64, now: Instant) {
        if !self.trusted.contains_key(&pair) {
            make_room(&mut self.trusted, |since| Some(*since), now);
        }
        self.trusted.insert(pair, now);
    }
}

impl Queue {
    fn fail(&mut self, now: Instant, free: u32) {
        self.failures = self.failures.saturating_add(1);
        self.next = now + delay_after(self.failures.checked_sub(free));
    }

    fn is_in_use(&self) -> bool {
        self.under_way > 0 || self.waiting > 0
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        !self.is_in_use() && now.saturating_duration_since(self.last) >= FORGOTTEN_AFTER
    }
}

/// Makes room for one more among those remembered: what is long past goes, else the oldest. `since`
/// says since when something may go, if it may.
fn make_room<K: Copy + Eq + Hash, V>(
    map: &mut HashMap<K, V>,
    since: impl Fn(&V) -> Option<Instant>,
    now: Instant,
) {
    if map.len() < REMEMBERED {
        return;
    }
    let is_past = |since: Instant| now.saturating_duration_since(since) >= FORGOTTEN_AFTER;
    map.retain(|_, value| !since(value).is_some_and(is_past));
    let candidates = map.iter().filter_map(|(key, value)| Some((since(value)?, *key)));
    if let Some((_, oldest)) = candidates.min_by_key(|(since, _)| *since).filter(|_| map.len() >= REMEMBERED)
    {
        map.remove(&oldest);
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

    /// What a peer's next try for a name would be told, were it a stranger's.
    fn turn(throttle: &Throttle, from: &str, name: &str, now: Instant) -> Turn {
        let keys = [
            Key::Address(network_of(address(from))),
            Key::Name(throttle.hasher.hash_one(name.to_ascii_lowercase().into_bytes())),
        ];
        let state = throttle.lock();
        keys.iter().map(|key| state.turn(key, now, throttle.free)).max().unwrap()
    }

    fn fail(throttle: &Throttle, from: &str, name: &str, times: u32) {
        for _ in 0..times {
            throttle.begin(address(from), name.as_bytes()).unwrap().failed();
        }
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
        fail(&throttle, "10.0.0.1", "alice", 6);
        let now = Instant::now();
        for (from, name) in [("10.0.0.1", "bob"), ("::ffff:10.0.0.1", "bob"), ("10.0.0.2", "ALICE")] {
            let Turn::In(wait) = turn(&throttle, from, name, now) else { panic!("{from} {name}") };
            assert!(wait <= delay_after(Some(1)) && wait > delay_after(Some(0)), "{wait:?}");
        }
        assert_eq!(turn(&throttle, "10.0.0.2", "bob", now), Turn::Now);
        assert_eq!(turn(&throttle, "10.0.0.1", "bob", now + FORGOTTEN_AFTER), Turn::Now);
        throttle.begin(address("10.0.0.2"), b"alice").unwrap().succeeded();
        assert_eq!(turn(&throttle, "10.0.0.3", "alice", now), Turn::Now);
        assert_ne!(turn(&throttle, "10.0.0.1", "alice", now), Turn::Now, "the address has not become better");
    }

    #[test]
    fn tries_at_one_moment_are_no_quicker_than_one_after_another() {
        let throttle = Throttle::new(2);
        let begin = || throttle.begin(address("10.0.0.1"), b"alice").unwrap();
        let (one, two) = (begin(), begin());
        let now = Instant::now();
        assert_eq!(turn(&throttle, "10.0.0.1", "alice", now), Turn::Later, "two may fail for nothing");
        one.failed();
        assert_eq!(turn(&throttle, "10.0.0.1", "alice", now), Turn::Later, "one may");
        two.failed();
        let Turn::In(_) = turn(&throttle, "10.0.0.1", "alice", now) else { panic!("too many have failed") };
        let three = begin();
        assert!(now.elapsed() >= FIRST_DELAY);
        assert_eq!(turn(&throttle, "10.0.0.1", "alice", Instant::now()), Turn::Later);
        three.failed();
        let Turn::In(wait) = turn(&throttle, "10.0.0.1", "alice", Instant::now()) else { panic!() };
        assert!(wait > FIRST_DELAY, "{wait:?}");
    }

    #[test]
    fn a_try_goes_on_when_the_one_before_it_ends_well() {
        let throttle = Throttle::new(1);
        let first = throttle.begin(address("10.0.0.1"), b"alice").unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| throttle.begin(address("10.0.0.1"), b"alice").is_some());
            first.succeeded();
            assert!(second.join().unwrap());
        });
        assert!(throttle.lock().queues.is_empty(), "nothing is left of what went well");
    }

    #[test]
    fn few_wait_for_failures_to_be_waited_out_and_more_are_refused() {
        let throttle = Throttle::new(1);
        fail(&throttle, "10.0.0.1", "alice", 1);
        let now = Instant::now();
        let key = Key::Name(throttle.hasher.hash_one(b"alice".to_vec()));
        throttle.lock().queue(key, now).waiting = WAITING;
        throttle.lock().queue(key, now).next = now + LONGEST_DELAY;
        assert!(throttle.begin(address("10.0.0.2"), b"alice").is_none());
        assert!(throttle.begin(address("10.0.0.2"), b"bob").is_some());
    }

    #[test]
    fn of_many_that_came_at_once_few_wait_when_the_first_ones_have_failed() {
        let throttle = Throttle::new(2);
        let begin = || throttle.begin(address("10.0.0.1"), b"alice");
        let under_way = [begin().unwrap(), begin().unwrap()];
        std::thread::scope(|scope| {
            let crowd: Vec<_> = (0..20).map(|_| scope.spawn(|| begin().is_some())).collect();
            let key = Key::Name(throttle.hasher.hash_one(b"alice".to_vec()));
            while throttle.lock().queues[&key].waiting < 20 {
                std::thread::yield_now();
            }
            under_way.into_iter().for_each(Try::failed);
            let made = crowd.into_iter().map(|one| u32::from(one.join().unwrap())).sum::<u32>();
            assert_eq!(made, WAITING);
        });
    }

    #[test]
    fn who_was_right_from_an_address_is_not_kept_out_by_guesses_from_elsewhere() {
        let throttle = Throttle::new(1);
        throttle.begin(address("10.0.0.1"), b"Alice").unwrap().succeeded();
        fail(&throttle, "10.0.0.2", "alice", 2);
        let key = Key::Name(throttle.hasher.hash_one(b"alice".to_vec()));
        throttle.lock().queue(key, Instant::now()).waiting = WAITING;
        assert!(throttle.begin(address("10.0.0.2"), b"alice").is_none());
        let owner = throttle.begin(address("10.0.0.1"), b"alice").unwrap();
        // But guesses from that very address count.
        owner.failed();
        let pair = throttle.pair(address("10.0.0.1"), b"alice");
        assert_ne!(throttle.lock().turn(&Key::Pair(pair), Instant::now(), 1), Turn::Now);
        assert_ne!(turn(&throttle, "10.0.0.1", "bob", Instant::now()), Turn::Now);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        assert_eq!(network_of(address("2001:db8:1:2:3:4:5:6")), address("2001:db8:1:2::"));
        assert_eq!(network_of(address("::ffff:10.0.0.1")), address("10.0.0.1"));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let throttle = Throttle::new(5);
        for n in 0..9000_u32 {
            let from = IpAddr::V4(n.into());
            throttle.begin(from, &n.to_be_bytes()).unwrap().failed();
            throttle.trust(from, &n.to_be_bytes());
        }
        let state = throttle.lock();
        assert_eq!((state.queues.len(), state.trusted.len()), (REMEMBERED, REMEMBERED));
        assert!(state.queues.contains_key(&Key::Address(IpAddr::V4(8999.into()))));
        assert!(!state.queues.contains_key(&Key::Address(IpAddr::V4(1.into()))));
    }
}
