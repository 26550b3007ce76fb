//! What all sessions share: the settings, the log, the accounts, the working directory, and who is
//! connected.
//!
//! Places are few, and whoever has not logged in is a stranger: strangers cannot take all places,
//! one address cannot take more than its share, and when places are short the stranger who has been
//! idling longest gives way, or at once one of those from an address that has many, so that nobody
//! who has a password can be locked out by others who have none.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::{Config, Registration};
use crate::data::PassivePorts;
use crate::file_size_limit;
use crate::log::Log;
use crate::users::{QuotaSetting, Users, network_of};
use crate::vfs::{self, UploadPolicy, Workdir};

/// The state that lives as long as the server does.
#[derive(Debug)]
pub struct Server {
    /// What the owner set.
    pub config: Config,
    /// The log.
    pub log: Arc<Log>,
    /// The accounts.
    pub users: Users,
    /// The users' folders.
    pub workdir: Arc<Workdir>,
    /// The ports for passive data connections.
    pub passive_ports: Arc<PassivePorts>,
    /// Where all of it is, for the owner's eyes.
    pub dir: PathBuf,
    clients: Mutex<Clients>,
}

/// Who is connected.
#[derive(Debug, Default)]
struct Clients {
    last_session: u64,
    count: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Sessions that are logged in, by account.
    by_account: HashMap<String, usize>,
    /// Those who have not logged in, oldest first.
    unauthenticated: BTreeMap<u64, Unauthenticated>,
    /// Sessions whose place was given to another while they end.
    evicted: HashSet<u64>,
}

#[derive(Debug)]
struct Unauthenticated {
    since: Instant,
    address: IpAddr,
    /// The session's own, to end it from outside.
    stream: Arc<TcpStream>,
    /// It has given a password, and waits for what becomes of it.
    is_authenticating: bool,
}

impl Unauthenticated {
    fn new(address: IpAddr, stream: Arc<TcpStream>) -> Unauthenticated {
        Unauthenticated { since: Instant::now(), address, stream, is_authenticating: false }
    }
}

/// Why the server cannot start, in one line for its owner.
#[derive(Debug)]
pub struct CannotStart(String);

impl fmt::Display for CannotStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl CannotStart {
    /// `what` failed with `error`.
    pub fn new(what: impl fmt::Display, error: &io::Error) -> CannotStart {
        CannotStart(format!("{what}: {error}"))
    }
}

impl Server {
    /// Opens everything in the configured folder, which must exist.
    pub fn open(config: Config) -> Result<Server, CannotStart> {
        let dir = fs::canonicalize(&config.dir).map_err(|error| {
            CannotStart::new(format!("the folder {}", config.dir.display()), &error)
        })?;
        let at = |name: &str| dir.join(name);
        let failed = |name: &str| {
            let place = at(name).display().to_string();
            move |error: io::Error| match error.kind() {
                ErrorKind::ResourceBusy => {
                    CannotStart(format!("{place}: another plainftpd uses it"))
                }
                _ => CannotStart::new(place, &error),
            }
        };
        let log = Arc::new(Log::open(&at("log.txt")).map_err(failed("log.txt"))?);
        vfs::check_proc_fd().map_err(|error| {
            CannotStart::new(
                "/proc must be mounted here, because files are opened through /proc/self/fd",
                &error,
            )
        })?;
        let policy = UploadPolicy { sync: config.sync, partial: config.keep_partial };
        let workdir =
            Workdir::open(&at("workdir"), policy, Arc::clone(&log)).map_err(failed("workdir"))?;
        let users =
            Users::open(&at("users"), &config, Arc::clone(&log)).map_err(failed("users"))?;
        let workdir = Arc::new(workdir);
        let passive_ports = PassivePorts::new(config.passive_ports.clone());
        Ok(Server { config, log, users, workdir, passive_ports, dir, clients: Mutex::default() })
    }

    /// What the owner should know about these settings, a line each.
    pub fn warnings(&self) -> Vec<String> {
        let config = &self.config;
        let is_open = config.registration == Registration::Open;
        let is_exposed =
            config.listen.iter().any(|address| !address.ip().to_canonical().is_loopback());
        let mut warnings = Vec::new();
        if let Some(limit) = file_size_limit::limit() {
            warnings.push(format!(
                "files may have {limit} bytes at most, by the limit of this process (ulimit -f)"
            ));
        }
        if is_exposed && is_open && config.quota.is_none() {
            warnings.push(
                "anybody who can reach this server may create an account and fill the disk: set --registration or --quota"
                    .to_string(),
            );
        }
        if is_exposed && config.min_password < 8 {
            let least = config.min_password;
            warnings.push(format!(
                "passwords of {least} characters are allowed beyond loopback: set --min-password 8"
            ));
        }
        let mode = fs::metadata(self.dir.join("users"))
            .map_or(0, |metadata| metadata.permissions().mode());
        if mode & 0o077 != 0 {
            warnings
                .push("others on this machine may read the users file: chmod 600 it".to_string());
        }
        warnings
    }

    /// How many bytes an account may store whose quota is this.
    pub fn limit(&self, quota: QuotaSetting) -> Option<u64> {
        match quota {
            QuotaSetting::Usual => self.config.quota,
            QuotaSetting::Unlimited => None,
            QuotaSetting::Bytes(bytes) => Some(bytes),
        }
    }

    /// How many bytes the account may store whose folder has this name. A folder without an account
    /// has no limit.
    pub fn limit_of(&self, folder: &[u8]) -> io::Result<Option<u64>> {
        let unreadable = |_| io::Error::other("the accounts cannot be read");
        let quota = self.users.quota_of(folder).map_err(unreadable)?;
        Ok(quota.and_then(|quota| self.limit(quota)))
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more client, or why there is none.
    pub fn admit(
        self: &Arc<Server>,
        stream: &Arc<TcpStream>,
        peer: IpAddr,
    ) -> Result<Slot, &'static str> {
        let address = network_of(peer);
        let mut clients = self.clients();
        let most = self.most_per_address(peer);
        let cap = self.config.max_clients;
        let short = if clients.by_address.get(&address).is_some_and(|count| *count >= most) {
            Some(Shortage::PerAddress)
        } else if clients.count >= cap || clients.unauthenticated.len() >= cap - cap / 8 {
            Some(Shortage::Slots)
        } else {
            None
        };
        if let Some(short) = short {
            // ThreadPool of sessions that gave way may still be about to end; they are few beside
            // the cap.
            let is_ending = clients.evicted.len() >= cap.div_ceil(8);
            let grace = self.config.login_timeout / 12;
            if is_ending || !clients.evict_for(address, short, grace) {
                return Err(match short {
                    Shortage::PerAddress => "Too many clients from your address; try again later.",
                    Shortage::Slots => "Too many clients; try again later.",
                });
            }
        }
        clients.count += 1;
        clients.last_session += 1;
        *clients.by_address.entry(address).or_default() += 1;
        let session = clients.last_session;
        let stream = Arc::clone(stream);
        clients.unauthenticated.insert(session, Unauthenticated::new(address, Arc::clone(&stream)));
        Ok(Slot { server: Arc::clone(self), session, address, stream, account: None })
    }

    /// One account has at most half of the places, so that it cannot keep all others out.
    fn most_per_account(&self) -> usize {
        (self.config.max_clients / 2).max(1)
    }

    fn most_per_address(&self, peer: IpAddr) -> usize {
        match self.config.max_per_address {
            Some(most) => most,
            None if peer.to_canonical().is_loopback() => usize::MAX,
            None => self.config.max_clients.div_ceil(2),
        }
    }
}

/// What there is too little of for a newcomer.
#[derive(Debug, Clone, Copy)]
enum Shortage {
    /// Of what its address may have.
    PerAddress,
    /// Of places for all, or for strangers.
    Slots,
}

impl Clients {
    /// The oldest stranger gives way that has had `grace` to log in, or whose address has more
    /// strangers than the newcomer's would; for a share, one of the same address. Who is about to
    /// have logged in gives way to nobody.
    fn evict_for(&mut self, newcomer: IpAddr, short: Shortage, grace: Duration) -> bool {
        let mut per_address: HashMap<IpAddr, usize> = HashMap::new();
        for stranger in self.unauthenticated.values() {
            *per_address.entry(stranger.address).or_default() += 1;
        }
        let count_of = |address| per_address.get(&address).copied().unwrap_or(0);
        let may_go = |stranger: &Unauthenticated| {
            let is_many = count_of(stranger.address) > count_of(newcomer) + 1;
            let would_help = match short {
                Shortage::PerAddress => stranger.address == newcomer,
                Shortage::Slots => true,
            };
            would_help
                && !stranger.is_authenticating
                && (is_many || stranger.since.elapsed() >= grace)
        };
        let oldest = self
            .unauthenticated
            .iter()
            .find(|(_, stranger)| may_go(stranger))
            .map(|(session, _)| *session);
        let Some((session, stranger)) =
            oldest.and_then(|session| self.unauthenticated.remove_entry(&session))
        else {
            return false;
        };
        // Its thread sees the end of the connection, and goes.
        let _ = stranger.stream.shutdown(Shutdown::Both);
        self.release_slot(stranger.address);
        self.evicted.insert(session);
        true
    }

    /// One session of this account has ended, or logged out.
    fn leave_account(&mut self, account: &str) {
        if let Some(count) = self.by_account.get_mut(account) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_account.remove(account);
            }
        }
    }

    /// One client of this address has no place any more.
    fn release_slot(&mut self, address: IpAddr) {
        self.count = self.count.saturating_sub(1);
        if let Some(count) = self.by_address.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

/// A client's place among `--max-clients`, free again when dropped.
#[derive(Debug)]
pub struct Slot {
    /// The server that it is a place at.
    pub server: Arc<Server>,
    /// The number that the log knows this session by.
    pub session: u64,
    address: IpAddr,
    stream: Arc<TcpStream>,
    /// The account that the session counts for.
    account: Option<String>,
}

impl Slot {
    /// Does `work`, during which the stranger gives way to nobody.
    pub fn while_authenticating<T>(&self, work: impl FnOnce() -> T) -> T {
        let mark = |is_authenticating| {
            if let Some(stranger) = self.server.clients().unauthenticated.get_mut(&self.session) {
                stranger.is_authenticating = is_authenticating;
            }
        };
        mark(true);
        let done = work();
        mark(false);
        done
    }

    /// The client logs in: its session is not ended for the sake of others any more. False if the
    /// account has half of all places already.
    pub fn log_in(&mut self, account: &str) -> bool {
        self.log_out();
        let mut clients = self.server.clients();
        let count = clients.by_account.entry(account.to_string()).or_default();
        if *count >= self.server.most_per_account() {
            return false;
        }
        *count += 1;
        clients.unauthenticated.remove(&self.session);
        drop(clients);
        self.account = Some(account.to_string());
        true
    }

    /// The client has no account any more, and is ended for the sake of others as any such client.
    pub fn log_out(&mut self) {
        let Some(account) = self.account.take() else { return };
        let mut clients = self.server.clients();
        clients.leave_account(&account);
        // A place that was given to another one already is not to be given again.
        if !clients.evicted.contains(&self.session) {
            let stranger = Unauthenticated::new(self.address, Arc::clone(&self.stream));
            clients.unauthenticated.insert(self.session, stranger);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut clients = self.server.clients();
        clients.unauthenticated.remove(&self.session);
        if let Some(account) = &self.account {
            clients.leave_account(account);
        }
        if !clients.evicted.remove(&self.session) {
            clients.release_slot(self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that nobody is connected to, and a connection that stands for any.
    struct House {
        server: Arc<Server>,
        stream: Arc<TcpStream>,
        _dir: tempfile::TempDir,
    }

    impl House {
        fn new(max_clients: usize, login_timeout: Duration) -> House {
            let dir = tempfile::tempdir().unwrap();
            let config = Config {
                dir: dir.path().to_path_buf(),
                max_clients,
                login_timeout,
                ..Config::default()
            };
            let server = Arc::new(Server::open(config).unwrap());
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let stream = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            House { server, stream, _dir: dir }
        }

        fn admit(&self, from: &str) -> Option<Slot> {
            self.server.admit(&self.stream, from.parse().unwrap()).ok()
        }

        fn is_stranger(&self, place: &Slot) -> bool {
            self.server.clients().unauthenticated.contains_key(&place.session)
        }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn an_address_has_half_the_places_and_loopback_all_of_them_unless_the_owner_says_how_many() {
        let most = |max_clients, max_per_address, address: &str| {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path().to_path_buf();
            let config = Config { dir, max_clients, max_per_address, ..Config::default() };
            Server::open(config).unwrap().most_per_address(address.parse().unwrap())
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
    fn a_stranger_gives_way_unless_it_is_logging_in() {
        let house = House::new(2, Duration::ZERO);
        let admit = || house.admit("127.0.0.1");
        let (first, second) = (admit().unwrap(), admit().unwrap());
        let third = first.while_authenticating(|| {
            second.while_authenticating(|| {
                assert!(admit().is_none(), "both are about to have logged in")
            });
            admit().unwrap()
        });
        let stayed = [&first, &second, &third].map(|place| house.is_stranger(place));
        assert_eq!(stayed, [true, false, true], "the older one that was idle went");
    }

    #[test]
    fn strangers_that_are_young_give_way_only_where_their_address_has_many() {
        let house = House::new(16, LONG);
        let mut crowd: Vec<_> = (0..13).map(|_| house.admit("127.0.0.1").unwrap()).collect();
        let other = house.admit("10.0.0.2").unwrap();
        // 14 of 16 places is what strangers may have.
        assert!(house.admit("127.0.0.1").is_none(), "of one's own crowd all are as young");
        crowd.push(house.admit("10.0.0.2").unwrap());
        crowd.push(house.admit("10.0.0.3").unwrap());
        assert!(
            !house.is_stranger(&crowd[0])
                && !house.is_stranger(&crowd[1])
                && house.is_stranger(&other)
        );
        assert_eq!(house.server.clients().unauthenticated.len(), 14);
    }

    #[test]
    fn in_a_full_share_the_idle_of_the_same_address_give_way() {
        let house = House::new(16, Duration::ZERO);
        let other = house.admit("10.0.0.2").unwrap();
        let mut places: Vec<_> = (0..8).map(|_| house.admit("10.0.0.1").unwrap()).collect();
        places.push(house.admit("10.0.0.1").unwrap());
        assert!(!house.is_stranger(&places[0]) && house.is_stranger(&other));
        // It is given back once, however it ends.
        drop(places.remove(0));
        assert_eq!(house.server.clients().by_address[&"10.0.0.1".parse::<IpAddr>().unwrap()], 8);
        for (n, place) in places.iter_mut().enumerate() {
            assert!(place.log_in(&format!("user{n}")));
        }
        assert!(house.admit("10.0.0.1").is_none(), "nobody of them is a stranger");
        let house = House::new(16, LONG);
        let _places: Vec<_> = (0..8).map(|_| house.admit("10.0.0.1").unwrap()).collect();
        assert!(house.admit("10.0.0.1").is_none(), "all are young");
    }

    #[test]
    fn one_account_has_at_most_half_of_the_places() {
        for (max_clients, most) in [(1, 1), (2, 1), (5, 2), (8, 4)] {
            let house = House::new(max_clients, LONG);
            let mut places = Vec::new();
            for _ in 0..most {
                let mut place = house.admit("10.0.0.1").unwrap();
                assert!(place.log_in("alice"), "{max_clients}");
                places.push(place);
            }
            let Some(mut further) = house.admit("10.0.0.2") else {
                assert_eq!(max_clients, 1);
                continue;
            };
            assert!(!further.log_in("alice") && house.is_stranger(&further));
            assert!(further.log_in("bob"));
            // What is logged out or gone leaves room.
            let mut first = places.remove(0);
            first.log_out();
            assert!(house.is_stranger(&first) && further.log_in("alice") && !first.log_in("alice"));
            drop((first, further, places));
            let clients = house.server.clients();
            assert!(
                clients.by_account.is_empty()
                    && clients.unauthenticated.is_empty()
                    && clients.count == 0
            );
        }
    }

    #[test]
    fn who_has_logged_out_gives_way_like_any_other_stranger() {
        let house = House::new(2, Duration::ZERO);
        let (mut first, mut second) =
            (house.admit("10.0.0.1").unwrap(), house.admit("10.0.0.2").unwrap());
        assert!(first.log_in("alice") && second.log_in("bob"));
        assert!(house.admit("10.0.0.3").is_none());
        first.log_out();
        let third = house.admit("10.0.0.3").unwrap();
        assert!(!house.is_stranger(&first) && house.is_stranger(&third));
        // Its thread has not ended, and it may still do as if.
        assert!(first.log_in("alice"));
        first.log_out();
        assert!(!house.is_stranger(&first));
        drop((first, second, third));
        assert_eq!(house.server.clients().count, 0);
    }

    #[test]
    fn sessions_that_gave_way_and_have_not_ended_are_few() {
        let house = House::new(16, Duration::ZERO);
        let mut places: Vec<_> = (0..14).map(|_| house.admit("127.0.0.1").unwrap()).collect();
        places.extend([house.admit("127.0.0.1").unwrap(), house.admit("127.0.0.1").unwrap()]);
        assert!(house.admit("127.0.0.1").is_none(), "their threads are still there");
        drop(places.remove(0));
        assert!(house.admit("127.0.0.1").is_some());
    }
}
