//! The queue for hashing passwords.
//!
//! Hashing takes much processor time, so at most one hash per processor runs at once: more would
//! not be faster, and would slow down the transfers. Logins go before registrations, and each
//! source has at most one registration under way, so that many people who register at once hardly
//! delay a login. After eight logins in a row one registration goes first: otherwise attackers who
//! guess passwords from many sources could keep all registrations waiting, and their slots taken.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::lock::lock;
use crate::tally::Tally;

/// How many logins in a row may go before a waiting registration.
const LOGINS_IN_A_ROW: u32 = 8;

/// Limits how many hashes run at once, and says which goes next.
#[derive(Debug)]
pub struct HashQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    free: usize,
    waiting_logins: usize,
    /// How many registrations wait, by source.
    waiting_registrations: Tally<IpAddr>,
    /// The sources that have a registration under way.
    registering: HashSet<IpAddr>,
    /// How many logins have gone first while a registration was waiting.
    logins_in_a_row: u32,
}

impl State {
    /// Whether a registration goes next even if a login waits.
    fn is_registrations_turn(&self) -> bool {
        let may_enter = |source| !self.registering.contains(source);
        self.logins_in_a_row >= LOGINS_IN_A_ROW && self.waiting_registrations.keys().any(may_enter)
    }
}

/// Permission to run one hash. Dropping it lets the next hash run.
#[derive(Debug)]
pub struct HashSlot<'g> {
    hash_queue: &'g HashQueue,
    registering: Option<IpAddr>,
}

impl HashQueue {
    /// A queue that lets this number of hashes run at once.
    pub fn new(at_once: usize) -> HashQueue {
        HashQueue {
            state: Mutex::new(State { free: at_once, ..State::default() }),
            changed: Condvar::new(),
        }
    }

    /// Waits until a login, or a change by a user who is logged in, may hash.
    pub fn acquire(&self) -> HashSlot<'_> {
        let mut state = lock(&self.state);
        state.waiting_logins += 1;
        let must_wait = |state: &mut State| state.free == 0 || state.is_registrations_turn();
        let waited = self.changed.wait_while(state, must_wait);
        state = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting_logins -= 1;
        let is_first = state.waiting_registrations.total() > 0;
        state.logins_in_a_row = if is_first { state.logins_in_a_row.saturating_add(1) } else { 0 };
        self.start(state, None)
    }

    /// Waits until a registration from this source may hash.
    pub fn acquire_for_registration(&self, source: IpAddr) -> HashSlot<'_> {
        let mut state = lock(&self.state);
        state.waiting_registrations.add(source);
        let must_wait = |state: &mut State| {
            let login_first = state.waiting_logins > 0 && !state.is_registrations_turn();
            state.free == 0 || login_first || state.registering.contains(&source)
        };
        let waited = self.changed.wait_while(state, must_wait);
        state = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting_registrations.remove(&source);
        state.registering.insert(source);
        state.logins_in_a_row = 0;
        self.start(state, Some(source))
    }

    fn start(&self, mut state: MutexGuard<'_, State>, registering: Option<IpAddr>) -> HashSlot<'_> {
        state.free -= 1;
        self.changed.notify_all(); // a registration may have waited for this login to begin
        HashSlot { hash_queue: self, registering }
    }
}

impl Drop for HashSlot<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.hash_queue.state);
        state.free += 1;
        if let Some(source) = self.registering {
            state.registering.remove(&source);
        }
        self.hash_queue.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::wait_until;
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    impl HashQueue {
        /// Takes all slots: every other hash waits.
        pub fn close(&self) -> Vec<HashSlot<'_>> {
            let free = lock(&self.state).free;
            (0..free).map(|_| self.acquire()).collect()
        }

        /// Waits until these numbers of logins and registrations wait.
        pub fn wait_for(&self, logins: usize, registrations: usize) {
            wait_until(|| {
                let state = lock(&self.state);
                (state.waiting_logins, state.waiting_registrations.total())
                    == (logins, registrations)
            });
        }
    }

    fn source(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn no_more_hashes_run_at_once_than_the_queue_allows() {
        let hash_queue = HashQueue::new(2);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for n in 0..8 {
                let (hash_queue, inside, most) = (&hash_queue, &inside, &most);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let _slot = if n % 2 == 0 {
                            hash_queue.acquire()
                        } else {
                            hash_queue.acquire_for_registration(source(n))
                        };
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 2);
        let state = hash_queue.state.into_inner().unwrap();
        assert_eq!((state.free, state.waiting_logins, state.registering.len()), (2, 0, 0));
    }

    #[test]
    fn a_waiting_login_goes_before_registrations_that_have_waited_longer() {
        let hash_queue = HashQueue::new(1);
        let order = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let slots = hash_queue.close();
            for n in 0..20 {
                let (hash_queue, order) = (&hash_queue, &order);
                scope.spawn(move || {
                    let _slot = hash_queue.acquire_for_registration(source(n));
                    order.lock().unwrap().push("registration");
                });
            }
            hash_queue.wait_for(0, 20);
            scope.spawn(|| {
                let _slot = hash_queue.acquire();
                order.lock().unwrap().push("login");
            });
            hash_queue.wait_for(1, 20);
            drop(slots);
        });
        let order = order.into_inner().unwrap();
        assert_eq!((order.len(), order[0]), (21, "login"));
    }

    #[test]
    fn one_registration_goes_first_after_eight_logins_in_a_row() {
        let hash_queue = HashQueue::new(1);
        let order = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let slots = hash_queue.close();
            for n in 0..2 {
                let (hash_queue, order) = (&hash_queue, &order);
                scope.spawn(move || {
                    let _slot = hash_queue.acquire_for_registration(source(n));
                    order.lock().unwrap().push("registration");
                });
            }
            for _ in 0..20 {
                scope.spawn(|| {
                    let _slot = hash_queue.acquire();
                    order.lock().unwrap().push("login");
                });
            }
            hash_queue.wait_for(20, 2);
            drop(slots);
        });
        let mut expected = vec!["login"; 22];
        expected[8] = "registration";
        expected[17] = "registration";
        assert_eq!(order.into_inner().unwrap(), expected);
    }

    #[test]
    fn a_source_hashes_one_registration_at_a_time_and_delays_no_other_source() {
        let hash_queue = HashQueue::new(3);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            let first = hash_queue.acquire_for_registration(source(1));
            for _ in 0..30 {
                scope.spawn(|| {
                    let _slot = hash_queue.acquire_for_registration(source(1));
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
            hash_queue.wait_for(0, 30);
            // Neither another source nor a login waits for these registrations.
            let others = (hash_queue.acquire_for_registration(source(2)), hash_queue.acquire());
            hash_queue.wait_for(0, 30);
            drop((first, others));
        });
        assert_eq!(most.into_inner(), 1);
    }
}
