//! Which clients are admitted: slots, shares per address and per account, and eviction.
//!
//! A client without a slot is refused, so clients without a password must not take all slots. They
//! may have seven eighths of the slots, and one address may have its share. If slots are short, the
//! server evicts an unauthenticated client: the oldest one that has had time to log in, or at once
//! one from an address that has many of them.

use std::collections::{BTreeMap, HashSet};
use std::mem;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::lock::lock;
use crate::tally::Tally;
use crate::users::network_of;

/// Gives out the slots of `--max-clients`.
#[derive(Debug)]
pub struct Admission {
    max_clients: usize,
    max_per_address: Option<usize>,
    /// Clients from these addresses are not known before a line that names them.
    balancers: Vec<IpAddr>,
    /// How long a client may take to log in before it can be evicted.
    grace: Duration,
    /// The number of the last session.
    last_session: Arc<AtomicU64>,
    clients: Mutex<Clients>,
}

/// The connected clients.
#[derive(Debug, Default)]
struct Clients {
    /// Clients that hold a slot, by address. `None` stands for the addresses that are not known.
    by_address: Tally<Option<IpAddr>>,
    /// Sessions that are logged in, by account.
    by_account: Tally<String>,
    /// Clients that are not logged in, by session: the oldest is first.
    unauthenticated: BTreeMap<u64, Unauthenticated>,
    /// Sessions that are ending because another client was given their slot.
    evicted: HashSet<u64>,
}

/// A client that is not logged in.
#[derive(Debug)]
struct Unauthenticated {
    since: Instant,
    address: Option<IpAddr>,
    /// The control connection, to end the session from outside.
    stream: Arc<TcpStream>,
    /// The client has sent a password, which the server is verifying.
    is_authenticating: bool,
}

impl Unauthenticated {
    fn new(address: Option<IpAddr>, stream: &Arc<TcpStream>) -> Unauthenticated {
        let stream = Arc::clone(stream);
        Unauthenticated { since: Instant::now(), address, stream, is_authenticating: false }
    }
}

impl Admission {
    /// All slots are free.
    pub fn new(config: &Config) -> Arc<Admission> {
        Arc::new(Admission {
            max_clients: config.max_clients,
            max_per_address: config.max_per_address,
            balancers: config.proxy_from.clone(),
            grace: config.login_timeout / 12,
            last_session: Arc::default(),
            clients: Mutex::default(),
        })
    }

    /// The admission of another listener: its slots are its own, and its sessions are counted with
    /// those of this one.
    pub fn beside(&self, max_clients: usize, login_timeout: Duration) -> Arc<Admission> {
        Arc::new(Admission {
            max_clients,
            max_per_address: None,
            balancers: Vec::new(),
            grace: login_timeout / 12,
            last_session: Arc::clone(&self.last_session),
            clients: Mutex::default(),
        })
    }

    /// Gives a slot to a new client, or says why there is none for it. The client of a balancer has
    /// no address yet.
    pub fn admit(
        self: &Arc<Admission>,
        stream: &Arc<TcpStream>,
        peer: IpAddr,
    ) -> Result<Slot, &'static str> {
        let peer = (!self.balancers.contains(&peer)).then_some(peer);
        let address = peer.map(network_of);
        let mut clients = self.clients();
        let max = self.max_clients;
        let is_full =
            clients.by_address.total() >= max || clients.unauthenticated.len() >= max - max / 8;
        self.make_room(&mut clients, peer, is_full)?;
        let session = self.last_session.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        clients.by_address.add(address);
        clients.unauthenticated.insert(session, Unauthenticated::new(address, stream));
        let (admission, stream) = (Arc::clone(self), Arc::clone(stream));
        Ok(Slot { admission, session, address, stream, account: None })
    }

    /// Evicts a client if the server is full, or if the share of `peer` is. Fails if none can go.
    fn make_room(
        &self,
        clients: &mut Clients,
        peer: Option<IpAddr>,
        is_full: bool,
    ) -> Result<(), &'static str> {
        let address = peer.map(network_of);
        let is_share_full = peer
            .is_some_and(|peer| clients.by_address.count(&address) >= self.max_per_address(peer));
        // The threads of evicted sessions may not have ended yet. They must stay few.
        let may_evict = clients.evicted.len() < self.max_clients.div_ceil(8);
        match (is_share_full, is_full) {
            (false, false) => Ok(()),
            _ if may_evict && clients.evict_for(address, is_share_full, self.grace) => Ok(()),
            (true, _) => Err("Too many clients from your address; try again later."),
            (false, true) => Err("Too many clients; try again later."),
        }
    }

    fn max_per_address(&self, peer: IpAddr) -> usize {
        match self.max_per_address {
            Some(max) => max,
            None if peer.to_canonical().is_loopback() => usize::MAX,
            None => self.max_clients.div_ceil(2),
        }
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        lock(&self.clients)
    }
}

impl Clients {
    /// Evicts one unauthenticated client, and returns whether there was one to evict: the oldest
    /// one that has had `grace` to log in, or whose address has more of them than the address of
    /// the new client. With `same_address`, only a client from the new client's address helps. A
    /// client whose password is being verified is never evicted.
    fn evict_for(&mut self, address: Option<IpAddr>, same_address: bool, grace: Duration) -> bool {
        let mut per_address = Tally::default();
        self.unauthenticated.values().for_each(|client| per_address.add(client.address));
        let mut fair_share = per_address.count(&address) + 1;
        if address.is_none() {
            // The new client may be one of those that have the most, so only they make room.
            let most = per_address.keys().map(|address| per_address.count(address)).max();
            fair_share = fair_share.max(most.unwrap_or(0).saturating_sub(1));
        }
        let may_go = |client: &Unauthenticated| {
            (client.address == address || !same_address)
                && !client.is_authenticating
                && (per_address.count(&client.address) > fair_share
                    || client.since.elapsed() >= grace)
        };
        let oldest = self.unauthenticated.iter().find(|(_, client)| may_go(client));
        let Some(session) = oldest.map(|(session, _)| *session) else { return false };
        if let Some(client) = self.unauthenticated.remove(&session) {
            // The client's thread sees the end of the connection and ends the session.
            let _ = client.stream.shutdown(Shutdown::Both);
            self.by_address.remove(&client.address);
        }
        self.evicted.insert(session);
        true
    }
}

/// A client's slot among `--max-clients`. Dropping it frees the slot.
#[derive(Debug)]
pub struct Slot {
    /// The number of the session in the log.
    pub session: u64,
    admission: Arc<Admission>,
    address: Option<IpAddr>,
    stream: Arc<TcpStream>,
    /// The account that the session counts for.
    account: Option<String>,
}

impl Slot {
    /// Whether a balancer must still name the client's address.
    pub fn needs_address(&self) -> bool {
        self.address.is_none()
    }

    /// Counts the client of a balancer for its address. Says why if the address has its share of
    /// the slots already.
    pub fn set_address(&mut self, peer: IpAddr) -> Result<(), &'static str> {
        let mut clients = self.admission.clients();
        self.admission.make_room(&mut clients, Some(peer), false)?;
        // The slot of an evicted session belongs to another client already.
        if let Some(client) = clients.unauthenticated.get_mut(&self.session) {
            client.address = Some(network_of(peer));
            let earlier = mem::replace(&mut self.address, client.address);
            clients.by_address.remove(&earlier);
            clients.by_address.add(self.address);
        }
        Ok(())
    }

    /// Does `work`, during which the client cannot be evicted.
    pub fn while_authenticating<T>(&self, work: impl FnOnce() -> T) -> T {
        let mark = |is_authenticating| {
            if let Some(client) = self.admission.clients().unauthenticated.get_mut(&self.session) {
                client.is_authenticating = is_authenticating;
            }
        };
        mark(true);
        let done = work();
        mark(false);
        done
    }

    /// Counts the session for an account. From now on the client cannot be evicted. Returns false
    /// if the account has half of all slots already.
    pub fn log_in(&mut self, account: &str) -> bool {
        self.log_out();
        let mut clients = self.admission.clients();
        // One account must not keep all others out.
        let max_per_account = (self.admission.max_clients / 2).max(1);
        if clients.by_account.count(account) >= max_per_account {
            return false;
        }
        clients.by_account.add(account.to_string());
        clients.unauthenticated.remove(&self.session);
        drop(clients);
        self.account = Some(account.to_string());
        true
    }

    /// Counts the session for no account any more. From now on the client can be evicted.
    pub fn log_out(&mut self) {
        let Some(account) = self.account.take() else { return };
        let mut clients = self.admission.clients();
        clients.by_account.remove(&account);
        // The slot of an evicted session belongs to another client already.
        if !clients.evicted.contains(&self.session) {
            let client = Unauthenticated::new(self.address, &self.stream);
            clients.unauthenticated.insert(self.session, client);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut clients = self.admission.clients();
        clients.unauthenticated.remove(&self.session);
        if let Some(account) = &self.account {
            clients.by_account.remove(account);
        }
        if !clients.evicted.remove(&self.session) {
            clients.by_address.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// An admission without clients, and a connection that stands for the connection of any client.
    struct House {
        admission: Arc<Admission>,
        stream: Arc<TcpStream>,
    }

    impl House {
        fn new(max_clients: usize, login_timeout: Duration) -> House {
            let config = Config { max_clients, login_timeout, ..Config::default() };
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let stream = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            House { admission: Admission::new(&config), stream }
        }

        fn admit(&self, from: &str) -> Option<Slot> {
            self.admission.admit(&self.stream, from.parse().unwrap()).ok()
        }

        /// An admission to which 10.0.0.1 is a balancer.
        fn behind_balancer(max_clients: usize, grace: Duration) -> House {
            let mut house = House::new(max_clients, grace * 12);
            let admission = Arc::get_mut(&mut house.admission).unwrap();
            admission.balancers.push("10.0.0.1".parse().unwrap());
            house
        }

        fn is_unauthenticated(&self, slot: &Slot) -> bool {
            self.admission.clients().unauthenticated.contains_key(&slot.session)
        }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn an_address_has_half_of_the_slots_and_loopback_all_unless_the_owner_sets_a_number() {
        let most = |max_clients, max_per_address, address: &str| {
            let config = Config { max_clients, max_per_address, ..Config::default() };
            Admission::new(&config).max_per_address(address.parse().unwrap())
        };
        for address in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
            assert_eq!(most(Config::default().max_clients, None, address), 128);
            assert_eq!((most(7, None, address), most(7, Some(3), address)), (4, 3));
        }
        for address in ["127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1", "::1"] {
            assert_eq!(
                (most(7, None, address), most(7, Some(3), address)),
                (usize::MAX, 3),
                "{address}"
            );
        }
    }

    #[test]
    fn an_unauthenticated_client_is_evicted_unless_it_is_logging_in() {
        let house = House::new(2, Duration::ZERO);
        let admit = || house.admit("127.0.0.1");
        let (first, second) = (admit().unwrap(), admit().unwrap());
        let third = first.while_authenticating(|| {
            second.while_authenticating(|| {
                assert!(admit().is_none(), "both are being authenticated")
            });
            admit().unwrap()
        });
        let stayed = [&first, &second, &third].map(|slot| house.is_unauthenticated(slot));
        assert_eq!(
            stayed,
            [true, false, true],
            "of the clients that are not authenticating, the oldest is evicted"
        );
    }

    #[test]
    fn a_new_client_is_evicted_only_if_its_address_has_many_that_are_not_logged_in() {
        let house = House::new(16, LONG);
        let mut many: Vec<_> = (0..13).map(|_| house.admit("127.0.0.1").unwrap()).collect();
        let other = house.admit("10.0.0.2").unwrap();
        // Unauthenticated clients may have 14 of the 16 slots.
        assert!(house.admit("127.0.0.1").is_none(), "all clients of its own address are as new");
        many.push(house.admit("10.0.0.2").unwrap());
        many.push(house.admit("10.0.0.3").unwrap());
        assert!(
            !house.is_unauthenticated(&many[0])
                && !house.is_unauthenticated(&many[1])
                && house.is_unauthenticated(&other)
        );
        assert_eq!(house.admission.clients().unauthenticated.len(), 14);
    }

    #[test]
    fn if_the_share_of_an_address_is_full_one_of_its_own_clients_is_evicted() {
        let house = House::new(16, Duration::ZERO);
        let other = house.admit("10.0.0.2").unwrap();
        let mut slots: Vec<_> = (0..8).map(|_| house.admit("10.0.0.1").unwrap()).collect();
        slots.push(house.admit("10.0.0.1").unwrap());
        assert!(!house.is_unauthenticated(&slots[0]) && house.is_unauthenticated(&other));
        // The slot of an evicted session is freed once, also when the session ends later.
        drop(slots.remove(0));
        assert_eq!(house.admission.clients().by_address.count(&"10.0.0.1".parse().ok()), 8);
        for (n, slot) in slots.iter_mut().enumerate() {
            assert!(slot.log_in(&format!("user{n}")));
        }
        assert!(house.admit("10.0.0.1").is_none(), "all of them are logged in");
        let house = House::new(16, LONG);
        let _slots: Vec<_> = (0..8).map(|_| house.admit("10.0.0.1").unwrap()).collect();
        assert!(house.admit("10.0.0.1").is_none(), "none has had the time to log in");
    }

    #[test]
    fn one_account_has_at_most_half_of_the_slots() {
        for (max_clients, most) in [(1, 1), (2, 1), (5, 2), (8, 4)] {
            let house = House::new(max_clients, LONG);
            let mut slots = Vec::new();
            for _ in 0..most {
                let mut slot = house.admit("10.0.0.1").unwrap();
                assert!(slot.log_in("alice"), "{max_clients}");
                slots.push(slot);
            }
            let Some(mut further) = house.admit("10.0.0.2") else {
                assert_eq!(max_clients, 1);
                continue;
            };
            assert!(!further.log_in("alice") && house.is_unauthenticated(&further));
            assert!(further.log_in("bob"));
            // A session that has logged out or ended makes room.
            let mut first = slots.remove(0);
            first.log_out();
            assert!(
                house.is_unauthenticated(&first)
                    && further.log_in("alice")
                    && !first.log_in("alice")
            );
            drop((first, further, slots));
            let clients = house.admission.clients();
            assert!(
                clients.by_account.total() == 0
                    && clients.unauthenticated.is_empty()
                    && clients.by_address.total() == 0
            );
        }
    }

    #[test]
    fn the_client_of_a_balancer_counts_for_its_address_once_that_is_known() {
        let house = House::behind_balancer(16, LONG);
        let address = |text: &str| text.parse().unwrap();
        let count =
            |text: Option<&str>| house.admission.clients().by_address.count(&text.map(address));
        let mut slots: Vec<_> = (0..12).map(|_| house.admit("10.0.0.1").unwrap()).collect();
        assert_eq!((count(None), count(Some("10.0.0.1"))), (12, 0), "beyond any share");
        for slot in &mut slots[..8] {
            assert!(slot.needs_address() && slot.set_address(address("192.0.2.1")).is_ok());
        }
        assert_eq!((count(None), count(Some("192.0.2.1"))), (4, 8));
        let refused = slots[8].set_address(address("192.0.2.1")).unwrap_err();
        assert_eq!(refused, "Too many clients from your address; try again later.");
        assert!(house.admit("192.0.2.1").is_none(), "the share is one, also without a balancer");
        // The balancer's own clients have a share as others have.
        assert!(slots[8].set_address(address("10.0.0.1")).is_ok());
        assert!(slots[9].set_address(address("2001:db8::1:2:3:4")).is_ok());
        assert_eq!((count(Some("10.0.0.1")), count(Some("2001:db8::"))), (1, 1));
        assert!(slots[0].log_in("alice"));
        slots[0].log_out();
        // One that is evicted later counts for its address no longer.
        drop((slots.pop(), slots.pop()));
        let others: Vec<_> = (0..5).filter_map(|_| house.admit("192.0.2.9")).collect();
        assert_eq!((others.len(), count(Some("192.0.2.1"))), (5, 7));
        drop((slots, others));
        assert_eq!(house.admission.clients().by_address.total(), 0);
    }

    #[test]
    fn an_evicted_client_of_a_balancer_counts_nowhere_when_its_address_comes() {
        let house = House::behind_balancer(2, Duration::ZERO);
        let mut slots: Vec<_> = (0..2).map(|_| house.admit("10.0.0.1").unwrap()).collect();
        let third = house.admit("10.0.0.1").unwrap();
        assert!(!house.is_unauthenticated(&slots[0]));
        assert!(slots[0].set_address("192.0.2.1".parse().unwrap()).is_ok());
        assert_eq!(house.admission.clients().by_address.total(), 2);
        drop((slots, third));
        assert_eq!(house.admission.clients().by_address.total(), 0);
    }

    #[test]
    fn a_client_whose_address_is_not_known_evicts_only_one_of_the_largest_crowd() {
        let house = House::behind_balancer(16, LONG);
        let pair: Vec<_> = (0..2).map(|_| house.admit("192.0.2.1").unwrap()).collect();
        let crowd: Vec<_> = (0..8).map(|_| house.admit("192.0.2.2").unwrap()).collect();
        let others: Vec<_> = (0..4).map(|_| house.admit("192.0.2.3").unwrap()).collect();
        // Unauthenticated clients may have 14 of the 16 slots.
        let new = [house.admit("10.0.0.1").unwrap(), house.admit("10.0.0.1").unwrap()];
        let evicted: Vec<_> = crowd.iter().map(|slot| !house.is_unauthenticated(slot)).collect();
        assert_eq!(evicted, [true, true, false, false, false, false, false, false]);
        assert!(pair.iter().chain(&others).chain(&new).all(|it| house.is_unauthenticated(it)));
        drop(crowd);
        let waiting: Vec<_> = (0..6).map(|_| house.admit("10.0.0.1").unwrap()).collect();
        assert!(house.admit("10.0.0.1").is_none(), "those that wait are the largest crowd");
        assert_eq!(waiting.len(), 6);
    }

    #[test]
    fn a_client_that_has_logged_out_can_be_evicted() {
        let house = House::new(2, Duration::ZERO);
        let (mut first, mut second) =
            (house.admit("10.0.0.1").unwrap(), house.admit("10.0.0.2").unwrap());
        assert!(first.log_in("alice") && second.log_in("bob"));
        assert!(house.admit("10.0.0.3").is_none());
        first.log_out();
        let third = house.admit("10.0.0.3").unwrap();
        assert!(!house.is_unauthenticated(&first) && house.is_unauthenticated(&third));
        // The thread of the evicted session has not ended, and may still log in.
        assert!(first.log_in("alice"));
        first.log_out();
        assert!(!house.is_unauthenticated(&first));
        drop((first, second, third));
        assert_eq!(house.admission.clients().by_address.total(), 0);
    }

    #[test]
    fn few_evicted_sessions_can_be_waiting_for_their_end() {
        let house = House::new(16, Duration::ZERO);
        let mut slots: Vec<_> = (0..14).map(|_| house.admit("127.0.0.1").unwrap()).collect();
        slots.extend([house.admit("127.0.0.1").unwrap(), house.admit("127.0.0.1").unwrap()]);
        assert!(
            house.admit("127.0.0.1").is_none(),
            "the threads of two evicted sessions have not ended"
        );
        drop(slots.remove(0));
        assert!(house.admit("127.0.0.1").is_some());
    }
}
