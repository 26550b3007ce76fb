//! The data connection: PASV and PORT (RFC 959 §4.1.2), EPSV and EPRT (RFC 2428).
//!
//! The server connects only to the client's own address, and accepts connections only from it (RFC
//! 2577). It drops a connection from elsewhere and waits on, so an attacker cannot use up the port
//! of a transfer.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::config::TICK;
use crate::lock::lock;
use crate::tally::Tally;
use crate::text;

/// The data connection that is prepared for the next transfer.
#[derive(Debug, Default)]
pub enum DataSetup {
    /// None is prepared.
    #[default]
    Unset,
    /// The client will connect to this listener.
    Passive(TcpListener, HeldPort),
    /// The client waits for a connection at this address.
    Active(SocketAddr),
}

/// Why there is no data connection.
#[derive(Debug)]
pub enum NoData {
    /// The client sent neither PASV nor PORT.
    Unset,
    /// The caller asked to stop.
    Stopped,
    /// There is none for this reason, which the client may know.
    Failed(String),
}

impl From<io::Error> for NoData {
    fn from(error: io::Error) -> NoData {
        NoData::Failed(format!("a failure of the server: {}", error.kind()))
    }
}

/// The direction of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// To the client.
    Out,
    /// From the client.
    In,
}

/// The dynamic ports, for short use (RFC 6335 §6).
pub const DYNAMIC_PORTS: RangeInclusive<u16> = 49_152..=65_535;

/// The ports for passive data connections. One account may hold at most half of them, so that it
/// cannot lock out the others.
#[derive(Debug)]
pub struct PassivePorts {
    range: Option<RangeInclusive<u16>>,
    held: Mutex<Tally<String>>,
}

impl PassivePorts {
    /// The ports of `range`; without one, random ports from 49152 up.
    pub fn new(range: Option<RangeInclusive<u16>>) -> Arc<PassivePorts> {
        Arc::new(PassivePorts { range, held: Mutex::default() })
    }

    /// Listens for a client of `account` on a random port of `local`, the server's address on the
    /// control connection. Returns `None` if the account holds half of all ports.
    pub fn listen(
        self: &Arc<PassivePorts>,
        local: SocketAddr,
        account: &str,
    ) -> io::Result<Option<(DataSetup, u16)>> {
        let most = (self.range.as_ref().unwrap_or(&DYNAMIC_PORTS).len() / 2).max(1);
        let mut of_all = lock(&self.held);
        if of_all.count(account) >= most {
            return Ok(None);
        }
        of_all.add(account.to_string());
        drop(of_all);
        let held = HeldPort { ports: Arc::clone(self), account: account.to_string() };
        let listener = match &self.range {
            Some(ports) => listen_in(local, ports),
            // The system could choose a free port, but it skips those that old connections keep in
            // TIME_WAIT. After some thousands of small files that search takes long.
            None => {
                listen_in(local, &DYNAMIC_PORTS).or_else(|_| TcpListener::bind(at_port(local, 0)))
            }
        };
        let listener = listener?;
        let port = listener.local_addr()?.port();
        Ok(Some((DataSetup::Passive(listener, held), port)))
    }
}

/// A passive port that an account holds. Dropping this releases it.
#[derive(Debug)]
pub struct HeldPort {
    ports: Arc<PassivePorts>,
    account: String,
}

impl Drop for HeldPort {
    fn drop(&mut self) {
        lock(&self.ports.held).remove(&self.account);
    }
}

impl DataSetup {
    /// Opens the data connection. `peer` is the client's address on the control connection. Calls
    /// `stop` now and then while it waits. Reads or writes in the direction of `flow` time out
    /// every [`TICK`].
    pub fn open(
        self,
        peer: SocketAddr,
        flow: Flow,
        patience: Duration,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<TcpStream, NoData> {
        let stream = match self {
            DataSetup::Unset => return Err(NoData::Unset),
            DataSetup::Passive(listener, _held) => accept(listener, peer, patience, stop)?,
            DataSetup::Active(address) => connect(address, patience, stop)?,
        };
        // After each such timeout the copy loop looks at the clock and for ABOR.
        match flow {
            Flow::Out => stream.set_write_timeout(Some(TICK))?,
            Flow::In => stream.set_read_timeout(Some(TICK))?,
        }
        Ok(stream)
    }
}

/// How long one attempt to connect may take. `std` can do nothing else while it connects, so `stop`
/// is called between attempts. The first attempt is short, because an ABOR should not wait. The
/// others leave three seconds for the answer over a satellite.
const FIRST_ATTEMPT: Duration = Duration::from_secs(1);
const LATER_ATTEMPT: Duration = Duration::from_secs(3);

/// Connects to the client. A thread for this could be stopped sooner, but a client could leave
/// thousands of such threads behind by repeating PORT, RETR and ABOR.
fn connect(
    address: SocketAddr,
    patience: Duration,
    stop: &mut dyn FnMut() -> bool,
) -> Result<TcpStream, NoData> {
    let since = Instant::now();
    let mut limit = FIRST_ATTEMPT;
    loop {
        let left = patience.saturating_sub(since.elapsed()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, limit.min(left)) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() != ErrorKind::TimedOut || since.elapsed() >= patience => {
                let (port, why) = (address.port(), error.kind());
                return Err(NoData::Failed(format!(
                    "your port {port} could not be reached: {why}"
                )));
            }
            Err(_) if stop() => return Err(NoData::Stopped),
            Err(_) => limit = LATER_ATTEMPT,
        }
    }
}

/// Sets a timeout for `accept`. SO_RCVTIMEO works for accept(2) too, but `std` offers it only for
/// streams.
fn with_timeout(listener: TcpListener) -> io::Result<TcpListener> {
    let socket = TcpStream::from(OwnedFd::from(listener));
    socket.set_read_timeout(Some(TICK))?;
    Ok(TcpListener::from(OwnedFd::from(socket)))
}

/// `address` with another port. The scope of an IPv6 link-local address stays.
fn at_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

/// An IPv4 address in IPv6 form becomes a plain IPv4 address. Any other address stays.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        IpAddr::V6(_) => address,
    }
}

/// Whether both addresses are of the same host. A link-local IPv6 address names a host only
/// together with its interface (RFC 4007 §6).
fn is_same_host(one: SocketAddr, other: SocketAddr) -> bool {
    at_port(canonical(one), 0) == at_port(canonical(other), 0)
}

fn listen_in(local: SocketAddr, ports: &RangeInclusive<u16>) -> io::Result<TcpListener> {
    let count = u64::from(ports.end().saturating_sub(*ports.start())) + 1;
    let start = RandomState::new().hash_one(0) % count;
    let candidates = (0..count).filter_map(|n| {
        let offset = u16::try_from((start + n) % count).ok()?;
        ports.start().checked_add(offset)
    });
    for port in candidates {
        match TcpListener::bind(at_port(local, port)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
    Err(io::Error::new(ErrorKind::AddrInUse, "all passive ports are taken"))
}

fn accept(
    listener: TcpListener,
    peer: SocketAddr,
    patience: Duration,
    stop: &mut dyn FnMut() -> bool,
) -> Result<TcpStream, NoData> {
    let listener = with_timeout(listener)?;
    let since = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, from)) if is_same_host(from, peer) => return Ok(stream),
            Ok(_) => {} // from another host; dropped
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
                _ => return Err(error.into()),
            },
        }
        if stop() {
            return Err(NoData::Stopped);
        }
        if since.elapsed() >= patience {
            let (port, seconds) = (listener.local_addr()?.port(), patience.as_secs());
            return Err(NoData::Failed(format!(
                "no connection came to port {port} within {seconds} s; a firewall may block it"
            )));
        }
    }
}

/// The address at which the client waits for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPort {
    /// An address and a port.
    At(SocketAddr),
    /// An address of an unknown family (RFC 2428 §2: 522).
    UnknownFamily,
}

/// `h1,h2,h3,h4,p1,p2`: six decimal bytes.
pub fn parse_port(argument: &[u8]) -> Option<HostPort> {
    let numbers = argument.trim_ascii().split(|byte| *byte == b',').map(decimal::<u8>);
    let numbers: Vec<u8> = numbers.collect::<Option<_>>()?;
    let [a, b, c, d, high, low] = numbers.try_into().ok()?;
    let port = u16::from_be_bytes([high, low]);
    Some(HostPort::At(SocketAddr::from((Ipv4Addr::new(a, b, c, d), port))))
}

/// `|1|132.235.1.2|6275|`, `|2|1080::8:800:200C:417A|5282|`, with any delimiter from 33 to 126.
pub fn parse_eprt(argument: &[u8]) -> Option<HostPort> {
    let argument = argument.trim_ascii();
    let delimiter = *argument.first().filter(|byte| byte.is_ascii_graphic())?;
    let fields: Vec<&[u8]> = argument.split(|byte| *byte == delimiter).collect();
    let [b"", family, address, port, b""] = fields.as_slice() else { return None };
    let address = str::from_utf8(address).ok()?;
    let port = decimal::<u16>(port)?;
    let address = match *family {
        b"1" => IpAddr::V4(address.parse::<Ipv4Addr>().ok()?),
        // A scope names an interface of the client, which means nothing here.
        b"2" => IpAddr::V6(address.split('%').next()?.parse::<Ipv6Addr>().ok()?),
        family => return decimal::<u32>(family).map(|_| HostPort::UnknownFamily),
    };
    Some(HostPort::At(SocketAddr::new(address, port)))
}

/// Parses digits only. `parse` alone would accept a sign.
fn decimal<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    text::digits(digits.trim_ascii())?.parse().ok()
}

/// The address to connect to, if the client asks for its own one and for a port from 1024 up.
/// Services listen below 1024, and a client could have the server talk to them (RFC 2577 §3, §4).
pub fn own_address(peer: SocketAddr, asked: SocketAddr) -> Option<SocketAddr> {
    let is_own = peer.ip().to_canonical() == asked.ip().to_canonical();
    // The peer's form of the address has the scope of an IPv6 link-local one.
    (is_own && asked.port() >= 1024).then(|| at_port(peer, asked.port()))
}

/// The address in the reply to PASV: the server's address on the control connection, or `public`,
/// the configured one, for a peer from outside and for one behind a balancer (`None`). `None` if
/// that is not an IPv4 address.
pub fn announced(local: IpAddr, peer: Option<IpAddr>, public: Option<&str>) -> Option<Ipv4Addr> {
    let IpAddr::V4(local) = local.to_canonical() else { return None };
    let is_near = peer.is_some_and(|peer| match peer.to_canonical() {
        IpAddr::V4(peer) => peer.is_loopback() || peer.is_private() || peer.is_link_local(),
        IpAddr::V6(_) => true,
    });
    match public {
        // Resolved each time, because the owner may have given the name of a dynamic address.
        Some(public) if !is_near => {
            (public, 0).to_socket_addrs().ok()?.find_map(|address| match address {
                SocketAddr::V4(address) => Some(*address.ip()),
                SocketAddr::V6(_) => None,
            })
        }
        _ => Some(local),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn at(text: &str) -> HostPort {
        HostPort::At(text.parse().unwrap())
    }

    #[test]
    fn port_takes_six_bytes_and_nothing_else() {
        assert_eq!(parse_port(b"127,0,0,1,7,208"), Some(at("127.0.0.1:2000")));
        assert_eq!(parse_port(b" 10,0,0,255,0,1 "), Some(at("10.0.0.255:1")));
        for bad in [
            "",
            "127,0,0,1,7",
            "127,0,0,1,7,208,1",
            "127,0,0,256,7,208",
            "127,0,0,1,7,4096",
            "127,0,0,-1,7,208",
            "127,0,0,+1,7,208",
            "127,,0,1,7,208",
            "127.0.0.1,7,208",
            "127,0,0,1,7,99999999999999999999",
        ] {
            assert_eq!(parse_port(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn eprt_takes_both_families_and_any_delimiter() {
        assert_eq!(parse_eprt(b"|1|132.235.1.2|6275|"), Some(at("132.235.1.2:6275")));
        assert_eq!(
            parse_eprt(b"|2|1080::8:800:200C:417A|5282|"),
            Some(at("[1080::8:800:200c:417a]:5282"))
        );
        assert_eq!(parse_eprt(b"|2|fe80::1%eth0|2000|"), Some(at("[fe80::1]:2000")));
        assert_eq!(parse_eprt(b"!1!127.0.0.1!2000!"), Some(at("127.0.0.1:2000")));
        assert_eq!(parse_eprt(b"|3|x|1|"), Some(HostPort::UnknownFamily));
        for bad in [
            "",
            "|",
            "|1|127.0.0.1|2000",
            "|1|127.0.0.1|65536|",
            "|1|127.0.0.1|-1|",
            "|1|127.0.0.1|2000||",
            "|1|::1|2000|",
            "|1|127.0.0.1%1|2000|",
            "|2|%eth0|2000|",
            "|2|127.0.0.1|2000|",
            "|x|127.0.0.1|2000|",
            "1|127.0.0.1|2000|",
        ] {
            assert_eq!(parse_eprt(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn only_the_clients_own_address_and_high_ports_are_connected_to() {
        let peer: SocketAddr = "[::ffff:10.0.0.1]:5000".parse().unwrap();
        let own = |asked: &str| own_address(peer, asked.parse().unwrap());
        assert_eq!(own("10.0.0.1:1024"), Some("[::ffff:10.0.0.1]:1024".parse().unwrap()));
        assert_eq!(own("[::ffff:10.0.0.1]:2000"), Some("[::ffff:10.0.0.1]:2000".parse().unwrap()));
        for other in
            ["10.0.0.2:2000", "10.0.0.1:1023", "127.0.0.1:2000", "0.0.0.0:2000", "[::1]:2000"]
        {
            assert_eq!(own(other), None, "{other}");
        }
    }

    #[test]
    fn a_link_local_host_is_the_same_only_behind_the_same_interface() {
        let same =
            |one: &str, other: &str| is_same_host(one.parse().unwrap(), other.parse().unwrap());
        assert!(same("[fe80::1%2]:5", "[fe80::1%2]:6") && !same("[fe80::1%2]:5", "[fe80::1%3]:5"));
        assert!(same("[::1]:5", "[::1]:6") && same("10.0.0.1:5", "[::ffff:10.0.0.1]:5"));
        assert!(!same("[fe80::1%2]:5", "[fe80::2%2]:5") && !same("10.0.0.1:5", "10.0.0.2:5"));
        let peer = "[fe80::1%2]:5".parse().unwrap();
        let own = own_address(peer, "[fe80::1]:2000".parse().unwrap());
        assert_eq!(own, Some("[fe80::1%2]:2000".parse().unwrap()));
        // The address to listen on keeps its scope, too.
        assert_eq!(at_port(peer, 7), "[fe80::1%2]:7".parse().unwrap());
        assert_eq!(canonical(peer), peer);
        assert_eq!(
            canonical("[::ffff:10.0.0.1]:5".parse().unwrap()),
            "10.0.0.1:5".parse().unwrap()
        );
    }

    /// A passive port of an account, on an address of this host.
    fn listen(local: &str) -> (DataSetup, u16) {
        let local = SocketAddr::new(local.parse().unwrap(), 0);
        PassivePorts::new(None).listen(local, "alice").unwrap().unwrap()
    }

    #[test]
    fn one_account_holds_at_most_half_of_the_ports_and_releases_them() {
        let local = "127.0.0.1:0".parse().unwrap();
        for (first, last, most) in
            [(61_000_u16, 61_000, 1), (61_010, 61_011, 1), (61_020, 61_024, 2)]
        {
            let ports = PassivePorts::new(Some(first..=last));
            let mut setups: Vec<_> =
                (0..most).map(|_| ports.listen(local, "alice").unwrap().unwrap()).collect();
            assert!(matches!(ports.listen(local, "alice"), Ok(None)), "{first}");
            if first != last {
                assert!(ports.listen(local, "bob").unwrap().is_some());
            }
            setups.pop();
            setups.push(ports.listen(local, "alice").unwrap().unwrap());
            assert!(matches!(ports.listen(local, "alice"), Ok(None)), "{first}");
            setups.clear();
            assert!(ports.held.lock().unwrap().total() == 0);
        }
    }

    #[test]
    fn only_peers_from_outside_get_the_public_address() {
        let announced = |local: &str, peer: &str, public| {
            announced(local.parse().unwrap(), peer.parse().ok(), public)
                .map(|address| address.to_string())
        };
        let public = Some("198.51.100.7");
        assert_eq!(announced("192.168.1.2", "8.8.8.8", None).as_deref(), Some("192.168.1.2"));
        assert_eq!(announced("192.168.1.2", "8.8.8.8", public).as_deref(), public);
        for near in
            ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.9", "169.254.1.1", "::ffff:10.0.0.1"]
        {
            assert_eq!(
                announced("192.168.1.2", near, public).as_deref(),
                Some("192.168.1.2"),
                "{near}"
            );
        }
        assert_eq!(announced("192.168.1.2", "behind a balancer", public).as_deref(), public);
        assert_eq!(announced("192.168.1.2", "", None).as_deref(), Some("192.168.1.2"));
        assert_eq!(announced("::1", "::1", public), None);
        assert_eq!(
            announced("192.168.1.2", "8.8.8.8", Some("localhost")).as_deref(),
            Some("127.0.0.1")
        );
    }

    #[test]
    fn a_connection_from_another_host_is_dropped_and_the_wait_goes_on() {
        let (setup, port) = listen("0.0.0.0");
        let wrong = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut asked = 0;
        // The wrong connection is dropped, and none comes from 127.0.0.2.
        let stopped = setup.open("127.0.0.2:9".parse().unwrap(), Flow::In, PATIENCE, &mut || {
            asked += 1;
            asked == 2
        });
        assert!(matches!(stopped, Err(NoData::Stopped)), "{stopped:?}");
        drop(wrong);
    }

    #[test]
    fn an_accepted_connection_ticks() {
        let (setup, port) = listen("127.0.0.1");
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let peer = client.local_addr().unwrap();
        let stream = setup.open(peer, Flow::Out, PATIENCE, &mut || false).unwrap();
        // The system may round it up to its own ticks.
        let is_tick =
            |timeout: Option<Duration>| timeout.is_some_and(|t| t >= TICK && t < TICK * 2);
        assert!(is_tick(stream.write_timeout().unwrap()));
        let (setup, port) = listen("127.0.0.1");
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let stream = setup.open(peer, Flow::In, PATIENCE, &mut || false).unwrap();
        assert!(is_tick(stream.read_timeout().unwrap()));
    }

    #[test]
    fn a_port_without_a_connection_is_named() {
        let (setup, port) = listen("127.0.0.1");
        let opened =
            setup.open("127.0.0.1:9".parse().unwrap(), Flow::In, Duration::ZERO, &mut || false);
        let why = format!("no connection came to port {port} within 0 s; a firewall may block it");
        assert!(matches!(&opened, Err(NoData::Failed(said)) if *said == why), "{opened:?}");
    }

    #[test]
    fn passive_ports_stay_in_their_range_and_run_out_with_an_error() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ports = PassivePorts::new(Some(free..=free));
        let local = "127.0.0.1:0".parse().unwrap();
        let (setup, port) = ports.listen(local, "alice").unwrap().unwrap();
        assert_eq!(port, free);
        let taken = ports.listen(local, "bob");
        assert!(matches!(taken, Err(error) if error.kind() == ErrorKind::AddrInUse));
        drop(setup);
        assert!(ports.listen(local, "bob").unwrap().is_some());
    }
}
