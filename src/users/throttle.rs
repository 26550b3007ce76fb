//! Delays login attempts from a source that has failed before.
//!
//! A source is an IPv4 address, or an IPv6 network of 64 bits, because a customer gets that many.
//! Each source has one budget, as in OpenSSH's PerSourcePenalties:
//!
//! - Some failures are free, because people mistype. The same number of attempts may run at once.
//! - After the free failures, one attempt runs at a time, and each failure makes the next delay
//!   twice as long. Only a few attempts may wait; the others are refused before their password is
//!   checked. Therefore many connections cannot guess faster than one.
//! - A success does not change the budget. Otherwise an attacker could clear it by logging in to an
//!   account of their own.
//!
//! The memory for this is bounded. Only sources that have failed are remembered, and those with the
//! fewest failures are forgotten first: new sources do not push out one that goes on guessing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::lock::lock;

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// The failures of a source are forgotten this long after the last one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);
/// The most sources that are remembered, unless more of them have attempts under way.
const REMEMBERED: usize = 8192;
/// The most attempts of a source that may wait when its free failures are spent. Each of them holds
/// a client's slot.
const WAITING: usize = 4;

/// The recent failures of each source.
#[derive(Debug)]
pub struct Throttle {
    sources: Mutex<Sources>,
    changed: Condvar,
}

#[derive(Debug)]
struct Sources {
    /// How many failures of a source bring no delay.
    free: usize,
    known: HashMap<IpAddr, Source>,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    failures: usize,
    /// The time of the last failure, if `failures` is not 0.
    failed: Instant,
    /// Attempts that are running now.
    under_way: usize,
    /// Attempts that wait for their turn.
    waiting: usize,
}

/// The source that an address belongs to: an IPv4 address itself, or the first 64 bits of an IPv6
/// address.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64)),
    }
}

impl Throttle {
    /// No source has failed yet. The first `free` failures of each will bring no delay.
    pub fn new(free: usize) -> Throttle {
        let sources = Sources { free, known: HashMap::new() };
        Throttle { sources: Mutex::new(sources), changed: Condvar::new() }
    }

    /// Waits until an attempt from this address may run. Returns `None` if too many attempts of its
    /// source wait already: then the attempt must not run.
    pub fn begin(&self, from: IpAddr) -> Option<Attempt<'_>> {
        let source = network_of(from);
        let mut sources = lock(&self.sources);
        loop {
            // A waiting attempt can get `None` too: many may have come before the first failure.
            let wait = sources.turn(source, Instant::now())?;
            if wait.is_zero() {
                sources.of(source).under_way += 1;
                return Some(Attempt { throttle: self, source });
            }
            sources.of(source).waiting += 1;
            let woken = self.changed.wait_timeout(sources, wait);
            sources = woken.unwrap_or_else(PoisonError::into_inner).0;
            sources.of(source).waiting -= 1;
        }
    }
}

/// An attempt under way. Dropping it ends it; it counts as a failure only after
/// [`Attempt::failed`].
#[derive(Debug)]
pub struct Attempt<'t> {
    throttle: &'t Throttle,
    source: IpAddr,
}

impl Attempt<'_> {
    /// Records that the attempt failed.
    pub fn failed(self) {
        lock(&self.throttle.sources).fail(self.source, Instant::now());
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        lock(&self.throttle.sources).end(self.source);
        self.throttle.changed.notify_all();
    }
}

impl Sources {
    /// How long an attempt must wait, unless another one ends before; zero if it may run now.
    /// `None` if it may not run at all, because too many attempts wait.
    fn turn(&self, source: IpAddr, now: Instant) -> Option<Duration> {
        let Some(source) = self.known.get(&source) else { return Some(Duration::ZERO) };
        let failures = source.failures_at(now);
        let left = self.free.saturating_sub(failures);
        let wait = if source.under_way >= left.max(1) {
            FORGOTTEN_AFTER
        } else {
            let since = now.saturating_duration_since(source.failed);
            delay_after(failures.checked_sub(self.free)).saturating_sub(since)
        };
        let may_wait = left > 0 || source.waiting < WAITING;
        (wait.is_zero() || may_wait).then_some(wait)
    }

    /// Returns the entry of a source, and adds one if there is none. [`Sources::end`] removes it
    /// again if it has no failures.
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
        if entry.failures == 0 && !entry.is_in_use() {
            self.known.remove(&source);
        }
    }

    /// Forgets one source if too many are remembered. It chooses, among those without an attempt,
    /// the one with the fewest failures; if there are several, the one that failed longest ago. It
    /// keeps the source that has just failed: otherwise, with the memory full, the failures of a
    /// new source would never add up.
    fn make_room(&mut self, failed: IpAddr, now: Instant) {
        if self.known.len() <= REMEMBERED {
            return;
        }
        let others = self.known.iter().filter(|(address, _)| **address != failed);
        let idle = others.filter(|(_, source)| !source.is_in_use());
        let least = idle.min_by_key(|(_, source)| (source.failures_at(now), source.failed));
        if let Some(address) = least.map(|(address, _)| *address) {
            self.known.remove(&address);
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

/// The delay after a failure: none after a free one, then twice as long each time, up to
/// [`LONGEST_DELAY`].
fn delay_after(beyond_free: Option<usize>) -> Duration {
    let delay = |more: usize| FIRST_DELAY.saturating_mul(1 << more.min(16)).min(LONGEST_DELAY);
    beyond_free.map_or(Duration::ZERO, delay)
}

#[cfg(test)]
mod tests {
    use super::super::tests::wait_until;
    use super::*;

    const NOW: Option<Duration> = Some(Duration::ZERO);
    const LATER: Option<Duration> = Some(FORGOTTEN_AFTER);

    impl Throttle {
        /// How many sources are remembered.
        pub fn known(&self) -> usize {
            lock(&self.sources).known.len()
        }

        /// How many attempts from this source wait.
        pub fn waiting(&self, from: IpAddr) -> usize {
            lock(&self.sources).known.get(&network_of(from)).map_or(0, |source| source.waiting)
        }

        /// How many recent failures this source has.
        pub fn failures(&self, from: IpAddr) -> usize {
            let sources = lock(&self.sources);
            sources
                .known
                .get(&network_of(from))
                .map_or(0, |source| source.failures_at(Instant::now()))
        }
    }

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
    fn failures_add_up_per_source_are_not_cleared_by_a_success_and_are_forgotten_in_time() {
        let (mut sources, now) = (sources(5), Instant::now());
        let (guesser, other) = (number(1), number(2));
        for _ in 0..4 {
            attempt(&mut sources, guesser, now, true);
            assert_eq!(sources.turn(guesser, now), NOW);
        }
        attempt(&mut sources, guesser, now, true);
        assert_eq!(sources.turn(guesser, now), Some(Duration::from_millis(200)));
        attempt(&mut sources, guesser, now + Duration::from_millis(200), true);
        let now = now + Duration::from_millis(300);
        assert_eq!(sources.turn(guesser, now), Some(Duration::from_millis(300)));
        attempt(&mut sources, guesser, now, false);
        assert_eq!(
            sources.turn(guesser, now),
            Some(Duration::from_millis(300)),
            "a success changes nothing"
        );
        assert_eq!(sources.turn(other, now), NOW);
        let last = now - Duration::from_millis(100);
        assert_eq!(sources.turn(guesser, last + FORGOTTEN_AFTER), NOW);
        // All is forgotten, so this failure counts as the first one.
        attempt(&mut sources, guesser, last + FORGOTTEN_AFTER, true);
        assert_eq!(sources.known[&guesser].failures, 1);
    }

    #[test]
    fn attempts_at_the_same_time_are_no_faster_than_one_after_another() {
        let (mut sources, now, guesser) = (sources(2), Instant::now(), number(1));
        sources.of(guesser).under_way = 1;
        assert_eq!(sources.turn(guesser, now), NOW, "two failures are free");
        sources.of(guesser).under_way = 2;
        assert_eq!(sources.turn(guesser, now), LATER);
        sources.fail(guesser, now);
        sources.end(guesser);
        assert_eq!(
            sources.turn(guesser, now),
            LATER,
            "one free failure is left, and one attempt is under way"
        );
        sources.fail(guesser, now);
        sources.end(guesser);
        assert_eq!(sources.turn(guesser, now), Some(FIRST_DELAY), "both free failures are spent");
        let now = now + FIRST_DELAY;
        assert_eq!(sources.turn(guesser, now), NOW);
        sources.of(guesser).under_way = 1;
        assert_eq!(sources.turn(guesser, now), LATER, "one at a time");
    }

    #[test]
    fn few_attempts_may_wait_after_the_free_failures_and_any_number_before() {
        let (mut sources, now, from) = (sources(1), Instant::now(), number(1));
        sources.of(from).under_way = 1;
        sources.of(from).waiting = 100;
        assert_eq!(sources.turn(from, now), LATER);
        sources.fail(from, now);
        assert_eq!(sources.turn(from, now), None);
        sources.of(from).waiting = WAITING - 1;
        assert_eq!(sources.turn(from, now), LATER);
        sources.end(from);
        assert_eq!(sources.turn(from, now), Some(FIRST_DELAY));
        sources.of(from).waiting = WAITING;
        assert_eq!(sources.turn(from, now), None);
        assert_eq!(sources.turn(from, now + FIRST_DELAY), NOW, "its turn has come");
    }

    #[test]
    fn a_waiting_attempt_runs_when_the_one_before_it_ends_and_leaves_no_entry() {
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
    fn of_many_attempts_at_once_few_may_wait_after_the_first_have_failed() {
        let throttle = Throttle::new(2);
        let begin = || throttle.begin(number(1));
        let under_way = [begin().unwrap(), begin().unwrap()];
        std::thread::scope(|scope| {
            let crowd: Vec<_> = (0..20).map(|_| scope.spawn(|| begin().is_some())).collect();
            wait_until(|| lock(&throttle.sources).known[&number(1)].waiting == 20);
            under_way.into_iter().for_each(Attempt::failed);
            let made = crowd.into_iter().map(|one| usize::from(one.join().unwrap())).sum::<usize>();
            assert_eq!(made, WAITING);
        });
    }

    #[test]
    fn an_ipv6_network_counts_as_one_source() {
        assert_eq!(network_of(address("2001:db8:1:2:3:4:5:6")), address("2001:db8:1:2::"));
        assert_eq!(network_of(address("::ffff:10.0.0.1")), address("10.0.0.1"));
    }

    #[test]
    fn a_flood_of_sources_takes_bounded_memory_and_pushes_out_no_guesser() {
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
        assert!(
            sources.known.contains_key(&number(20_999)),
            "of sources with equally many failures the newest stay"
        );
        assert!(!sources.known.contains_key(&number(1000)));
        // In a memory full of sources with more failures, a new guesser's failures still add up.
        sources.known.values_mut().for_each(|source| source.failures = 100);
        let new = number(2);
        for failures in 1..=5 {
            attempt(&mut sources, new, later, true);
            assert_eq!(sources.known[&new].failures, failures);
        }
        // A source whose failures are too old is forgotten first.
        let past = later + FORGOTTEN_AFTER;
        sources.known.get_mut(&new).unwrap().failed = past;
        attempt(&mut sources, number(3), past, true);
        assert!(sources.known.contains_key(&new));
    }
}
