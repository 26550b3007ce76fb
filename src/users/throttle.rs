//! Delays further attempts of a source after failed ones.
//!
//! A source is an IPv4 address, or the 64 bits of an IPv6 network that a customer is given. Each
//! has one budget, as with OpenSSH's PerSourcePenalties: some failures are free, because people
//! mistype, and the same number of attempts may be under way at once. When they are spent, one
//! attempt is made at a time, each later after the last failure than the one before. Few wait for
//! that, and further ones are refused unread, so that many connections guess no quicker than one. A
//! success neither spends the budget nor gives anything back, or a guesser could clear it by an
//! account of its own.
//!
//! The memory for it is bounded. What an attempt leaves behind is only its failure, and of the
//! sources that failed those with the fewest failures are forgotten first: new sources do not push
//! out one that goes on guessing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// A source begins again this long after its last failure.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);
/// The most sources that are remembered without an attempt under way.
const REMEMBERED: usize = 8192;
/// The most attempts of a source that wait when its free failures are spent. Each holds a client's
/// place.
const WAITING: usize = 4;

/// The failed attempts of late, by source.
#[derive(Debug)]
pub struct Throttle {
    sources: Mutex<Sources>,
    changed: Condvar,
}

#[derive(Debug)]
struct Sources {
    /// The number of failures without a delay.
    free: usize,
    known: HashMap<IpAddr, Source>,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    failures: usize,
    /// The time of the last one. Without failures it means nothing.
    failed: Instant,
    under_way: usize,
    waiting: usize,
}

/// When an attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Now,
    In(Duration),
    /// When another attempt has ended.
    Later,
    /// Not at all: too many wait.
    Never,
}

/// What counts as one source: an IPv4 address, or the 64 bits of an IPv6 network.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64)),
    }
}

impl Throttle {
    /// A throttle that knows of no failures, and lets `free` of each source pass without a delay.
    pub fn new(free: usize) -> Throttle {
        let sources = Sources { free, known: HashMap::new() };
        Throttle { sources: Mutex::new(sources), changed: Condvar::new() }
    }

    /// Waits for the turn of an attempt. `None` if too many of this source wait: the attempt must
    /// not be made.
    pub fn begin(&self, from: IpAddr) -> Option<Attempt<'_>> {
        let source = network_of(from);
        let mut sources = self.lock();
        loop {
            // Also those who wait are asked each time: many may have come before the first failure.
            let wait = match sources.turn(source, Instant::now()) {
                Turn::Now => {
                    sources.of(source).under_way += 1;
                    return Some(Attempt { throttle: self, source });
                }
                Turn::Never => {
                    sources.tidy(source);
                    return None;
                }
                Turn::In(wait) => wait,
                Turn::Later => FORGOTTEN_AFTER,
            };
            sources.of(source).waiting += 1;
            let woken = self.changed.wait_timeout(sources, wait);
            sources = woken.unwrap_or_else(PoisonError::into_inner).0;
            sources.of(source).waiting -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt under way. It spends nothing unless it failed.
#[derive(Debug)]
pub struct Attempt<'t> {
    throttle: &'t Throttle,
    source: IpAddr,
}

impl Attempt<'_> {
    /// Records that the attempt failed.
    pub fn failed(self) {
        self.throttle.lock().fail(self.source, Instant::now());
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.throttle.lock().end(self.source);
        self.throttle.changed.notify_all();
    }
}

impl Sources {
    fn turn(&self, source: IpAddr, now: Instant) -> Turn {
        let Some(source) = self.known.get(&source) else { return Turn::Now };
        let failures = source.failures_at(now);
        let left = self.free.saturating_sub(failures);
        let turn = if source.under_way >= left.max(1) {
            Turn::Later
        } else {
            let since = now.saturating_duration_since(source.failed);
            match delay_after(failures.checked_sub(self.free)).saturating_sub(since) {
                Duration::ZERO => Turn::Now,
                wait => Turn::In(wait),
            }
        };
        if turn != Turn::Now && left == 0 && source.waiting >= WAITING { Turn::Never } else { turn }
    }

    /// The entry of a source, made if there is none. [`Sources::tidy`] removes it if nothing of it
    /// needs to be known.
    fn of(&mut self, source: IpAddr) -> &mut Source {
        let new = Source { failures: 0, failed: Instant::now(), under_way: 0, waiting: 0 };
        self.known.entry(source).or_insert(new)
    }

    fn fail(&mut self, address: IpAddr, now: Instant) {
        let source = self.of(address);
        source.failures = source.failures_at(now).saturating_add(1);
        source.failed = now;
        self.make_room(address, now);
    }

    fn end(&mut self, source: IpAddr) {
        let entry = self.of(source);
        entry.under_way = entry.under_way.saturating_sub(1);
        self.tidy(source);
    }

    fn tidy(&mut self, source: IpAddr) {
        if self.known.get(&source).is_some_and(|source| source.failures == 0 && !source.is_in_use())
        {
            self.known.remove(&source);
        }
    }

    /// Forgets a source if too many are remembered: one that has no attempt under way, of these one
    /// with the fewest failures, of these the one whose last failure is longest ago. Not the one
    /// that has just failed, or with the memory full its failures would never add up.
    fn make_room(&mut self, failed: IpAddr, now: Instant) {
        if self.known.len() <= REMEMBERED {
            return;
        }
        let others = self.known.iter().filter(|(address, _)| **address != failed);
        let idle: Vec<_> = others.filter(|(_, source)| !source.is_in_use()).collect();
        if idle.len() >= REMEMBERED {
            let least =
                idle.iter().min_by_key(|(_, source)| (source.failures_at(now), source.failed));
            if let Some(address) = least.map(|(address, _)| **address) {
                self.known.remove(&address);
            }
        }
    }
}

impl Source {
    fn failures_at(&self, now: Instant) -> usize {
        let is_forgotten = now.saturating_duration_since(self.failed) >= FORGOTTEN_AFTER;
        if is_forgotten { 0 } else { self.failures }
    }

    fn is_in_use(&self) -> bool {
        self.under_way > 0 || self.waiting > 0
    }
}

/// Nothing after a free failure, then twice as long each time, up to the longest.
fn delay_after(beyond_free: Option<usize>) -> Duration {
    match beyond_free {
        None => Duration::ZERO,
        Some(more) => FIRST_DELAY.saturating_mul(1 << more.min(16)).min(LONGEST_DELAY),
    }
}

#[cfg(test)]
impl Throttle {
    /// The number of sources that anything is known of.
    pub fn known(&self) -> usize {
        self.lock().known.len()
    }

    /// How many attempts of a source wait.
    pub fn waiting(&self, from: IpAddr) -> usize {
        self.lock().known.get(&network_of(from)).map_or(0, |source| source.waiting)
    }

    /// How often a source failed of late.
    pub fn failures(&self, from: IpAddr) -> usize {
        let sources = self.lock();
        sources.known.get(&network_of(from)).map_or(0, |source| source.failures_at(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash_queue::wait_until;
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn number(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn sources(free: usize) -> Sources {
        Sources { free, known: HashMap::new() }
    }

    /// An attempt that begins and ends at one moment.
    fn attempt(sources: &mut Sources, from: IpAddr, now: Instant, fails: bool) {
        sources.of(from).under_way += 1;
        if fails {
            sources.fail(from, now);
        }
        sources.end(from);
    }

    #[test]
    fn delays_grow_and_stop_growing() {
        let milliseconds: Vec<_> =
            (0..14_usize).map(|count| delay_after(count.checked_sub(5)).as_millis()).collect();
        assert_eq!(
            milliseconds,
            [0, 0, 0, 0, 0, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]
        );
        assert_eq!(delay_after(Some(usize::MAX)), LONGEST_DELAY);
    }

    #[test]
    fn failures_add_up_by_source_are_not_cleared_by_a_success_and_are_forgotten() {
        let (mut sources, now) = (sources(5), Instant::now());
        let (guesser, other) = (number(1), number(2));
        for _ in 0..4 {
            attempt(&mut sources, guesser, now, true);
            assert_eq!(sources.turn(guesser, now), Turn::Now);
        }
        attempt(&mut sources, guesser, now, true);
        assert_eq!(sources.turn(guesser, now), Turn::In(Duration::from_millis(200)));
        attempt(&mut sources, guesser, now + Duration::from_millis(200), true);
        let now = now + Duration::from_millis(300);
        assert_eq!(sources.turn(guesser, now), Turn::In(Duration::from_millis(300)));
        attempt(&mut sources, guesser, now, false);
        assert_eq!(
            sources.turn(guesser, now),
            Turn::In(Duration::from_millis(300)),
            "a success changes nothing"
        );
        assert_eq!(sources.turn(other, now), Turn::Now);
        let last = now - Duration::from_millis(100);
        assert_eq!(sources.turn(guesser, last + FORGOTTEN_AFTER), Turn::Now);
        // Whole again: the first failure counts as the first.
        attempt(&mut sources, guesser, last + FORGOTTEN_AFTER, true);
        assert_eq!(sources.known[&guesser].failures, 1);
    }

    #[test]
    fn attempts_at_one_moment_are_no_quicker_than_one_after_another() {
        let (mut sources, now, guesser) = (sources(2), Instant::now(), number(1));
        sources.of(guesser).under_way = 1;
        assert_eq!(sources.turn(guesser, now), Turn::Now, "two may fail for nothing");
        sources.of(guesser).under_way = 2;
        assert_eq!(sources.turn(guesser, now), Turn::Later);
        sources.fail(guesser, now);
        sources.end(guesser);
        assert_eq!(sources.turn(guesser, now), Turn::Later, "one may");
        sources.fail(guesser, now);
        sources.end(guesser);
        assert_eq!(sources.turn(guesser, now), Turn::In(FIRST_DELAY), "too many have failed");
        let now = now + FIRST_DELAY;
        assert_eq!(sources.turn(guesser, now), Turn::Now);
        sources.of(guesser).under_way = 1;
        assert_eq!(sources.turn(guesser, now), Turn::Later, "one at a time");
    }

    #[test]
    fn few_wait_when_the_free_failures_are_spent_and_any_number_before() {
        let (mut sources, now, from) = (sources(1), Instant::now(), number(1));
        sources.of(from).under_way = 1;
        sources.of(from).waiting = 100;
        assert_eq!(sources.turn(from, now), Turn::Later);
        sources.fail(from, now);
        assert_eq!(sources.turn(from, now), Turn::Never);
        sources.of(from).waiting = WAITING - 1;
        assert_eq!(sources.turn(from, now), Turn::Later);
        sources.end(from);
        assert_eq!(sources.turn(from, now), Turn::In(FIRST_DELAY));
        sources.of(from).waiting = WAITING;
        assert_eq!(sources.turn(from, now), Turn::Never);
        assert_eq!(sources.turn(from, now + FIRST_DELAY), Turn::Now, "its turn has come");
    }

    #[test]
    fn an_attempt_goes_on_when_the_one_before_it_ends_and_leaves_nothing_behind() {
        let throttle = Throttle::new(1);
        let first = throttle.begin(number(1)).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| throttle.begin(number(1)).is_some());
            drop(first);
            assert!(second.join().unwrap());
        });
        assert_eq!(throttle.known(), 0);
    }

    #[test]
    fn of_many_that_came_at_once_few_wait_when_the_first_ones_have_failed() {
        let throttle = Throttle::new(2);
        let begin = || throttle.begin(number(1));
        let under_way = [begin().unwrap(), begin().unwrap()];
        std::thread::scope(|scope| {
            let crowd: Vec<_> = (0..20).map(|_| scope.spawn(|| begin().is_some())).collect();
            wait_until(|| throttle.lock().known[&number(1)].waiting == 20);
            under_way.into_iter().for_each(Attempt::failed);
            let made = crowd.into_iter().map(|one| usize::from(one.join().unwrap())).sum::<usize>();
            assert_eq!(made, WAITING);
        });
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_source() {
        assert_eq!(network_of(address("2001:db8:1:2:3:4:5:6")), address("2001:db8:1:2::"));
        assert_eq!(network_of(address("::ffff:10.0.0.1")), address("10.0.0.1"));
    }

    #[test]
    fn a_flood_of_sources_is_bounded_in_memory_and_pushes_out_no_guesser() {
        let (mut sources, now) = (sources(5), Instant::now());
        let guesser = number(1);
        for _ in 0..6 {
            attempt(&mut sources, guesser, now, true);
        }
        let mut later = now;
        for n in 0..20_000 {
            later += Duration::from_millis(1);
            attempt(&mut sources, number(1000 + n), later, true);
            attempt(&mut sources, number(1_000_000 + n), later, false);
        }
        assert!(sources.known.len() <= REMEMBERED + 1, "{}", sources.known.len());
        assert_eq!(sources.known[&guesser].failures, 6);
        assert!(sources.known.contains_key(&number(20_999)), "of equal ones the newest stay");
        assert!(!sources.known.contains_key(&number(1000)));
        // In a memory full of worse ones a new guesser's failures still add up.
        sources.known.values_mut().for_each(|source| source.failures = 100);
        let new = number(2);
        for failures in 1..=5 {
            attempt(&mut sources, new, later, true);
            assert_eq!(sources.known[&new].failures, failures);
        }
        // What is forgotten goes before what is not.
        let past = later + FORGOTTEN_AFTER;
        sources.known.get_mut(&new).unwrap().failed = past;
        attempt(&mut sources, number(3), past, true);
        assert!(sources.known.contains_key(&new));
    }
}
