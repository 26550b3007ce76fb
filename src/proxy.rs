//! The line in which a balancer names its client: version 1 of the PROXY protocol (HAProxy's
//! proxy-protocol.txt, §2.1). Pure: no socket here.

use std::net::{IpAddr, SocketAddr};

use crate::data::canonical;

/// The most bytes of the line, with its CRLF.
pub const LONGEST: usize = 107;

/// Returns the client's address. That is the address of `balancer` itself if the line does not say
/// another one. `None` means that this is not such a line.
pub fn parse(line: &[u8], balancer: SocketAddr) -> Option<SocketAddr> {
    let line = line.strip_suffix(b"\r\n")?.strip_prefix(b"PROXY ")?;
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Some(balancer);
    }
    let fields: Vec<&str> = str::from_utf8(line).ok()?.split(' ').collect();
    let [family, from, to, from_port, to_port] = fields.try_into().ok()?;
    let ip = |text: &str| match family {
        "TCP4" => text.parse().ok().map(IpAddr::V4),
        "TCP6" => text.parse().ok().map(IpAddr::V6),
        _ => None,
    };
    // `parse` alone would accept a sign and leading zeros.
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| port.to_string() == text);
    ip(to).zip(port(to_port))?;
    let client = canonical(SocketAddr::new(ip(from)?, port(from_port)?));
    match client.ip() {
        // To connect to such an address would mean this machine, or many machines.
        ip if ip.is_unspecified() || ip.is_multicast() => None,
        // The balancer's loopback is not the server's: with PORT, a client of it could reach the
        // services of this machine.
        ip if ip.is_loopback() && !balancer.ip().is_loopback() => Some(balancer),
        _ => Some(client),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(line: &str, balancer: &str) -> Option<String> {
        let balancer = SocketAddr::new(balancer.parse().unwrap(), 4000);
        parse(line.as_bytes(), balancer).map(|client| client.to_string())
    }

    fn from_outside(line: &str) -> Option<String> {
        parsed(line, "10.0.0.1")
    }

    #[test]
    fn a_line_names_the_client_or_means_the_balancer() {
        for (line, client) in [
            ("PROXY TCP4 192.0.2.7 10.0.0.2 5000 21\r\n", "192.0.2.7:5000"),
            ("PROXY TCP4 255.255.255.254 255.255.255.255 65535 0\r\n", "255.255.255.254:65535"),
            ("PROXY TCP6 2001:db8::7 2001:DB8::2 5000 21\r\n", "[2001:db8::7]:5000"),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:10.0.0.2 0 21\r\n", "192.0.2.7:0"),
            ("PROXY UNKNOWN\r\n", "10.0.0.1:4000"),
            ("PROXY UNKNOWN ::1 what ever\r\n", "10.0.0.1:4000"),
            ("PROXY TCP4 127.0.0.1 10.0.0.2 5000 21\r\n", "10.0.0.1:4000"),
            ("PROXY TCP6 ::1 ::1 5000 21\r\n", "10.0.0.1:4000"),
            ("PROXY TCP6 ::ffff:127.9.9.9 ::1 5000 21\r\n", "10.0.0.1:4000"),
        ] {
            assert_eq!(from_outside(line).as_deref(), Some(client), "{line}");
        }
        let near = "PROXY TCP4 127.0.0.9 127.0.0.1 5000 21\r\n";
        assert_eq!(parsed(near, "127.0.0.1").as_deref(), Some("127.0.0.9:5000"));
        assert_eq!(parsed(near, "::1").as_deref(), Some("127.0.0.9:5000"));
    }

    #[test]
    fn the_longest_lines_of_the_specification_fit() {
        let address = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe";
        let line = format!("PROXY TCP6 {address} {address} 65535 65535\r\n");
        assert!(line.len() <= LONGEST && from_outside(&line).is_none(), "it is multicast");
        let unknown = format!("PROXY UNKNOWN {address} {address} 65535 65535\r\n");
        assert!(unknown.len() == LONGEST && from_outside(&unknown).is_some());
    }

    #[test]
    fn every_other_line_is_refused() {
        for line in [
            "",
            "\r\n",
            "PROXY",
            "PROXY \r\n",
            "PROXY UNKNOWN",
            "PROXY UNKNOWN\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY unknown\r\n",
            "proxy TCP4 192.0.2.7 10.0.0.2 5000 21\r\n",
            " PROXY TCP4 192.0.2.7 10.0.0.2 5000 21\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.2 5000 21\n",
            "PROXY TCP4 192.0.2.7 10.0.0.2 5000 21\r",
            "PROXY TCP4 192.0.2.7 10.0.0.2 5000 21\r\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.2 5000 21 \r\n",
            "PROXY  TCP4 192.0.2.7 10.0.0.2 5000 21\r\n",
            "PROXY TCP4  192.0.2.7 10.0.0.2 5000 21\r\n",
            "PROXY TCP4\t192.0.2.7 10.0.0.2 5000 21\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.2 5000\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.2 5000 21 1\r\n",
            "PROXY TCP4 192.0.2.07 10.0.0.2 5000 21\r\n",
            "PROXY TCP4 192.0.2 10.0.0.2 5000 21\r\n",
            "PROXY TCP4 192.0.2.256 10.0.0.2 5000 21\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.02 5000 21\r\n",
            "PROXY TCP4 192.0.2.7 ::1 5000 21\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::2 5000 21\r\n",
            "PROXY TCP6 192.0.2.7 10.0.0.2 5000 21\r\n",
            "PROXY TCP6 fe80::1%2 2001:db8::2 5000 21\r\n",
            "PROXY TCP6 [2001:db8::7] 2001:db8::2 5000 21\r\n",
            "PROXY UDP4 192.0.2.7 10.0.0.2 5000 21\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.2 65536 21\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.2 05000 21\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.2 +5000 21\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.2 -1 21\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.2  21\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.2 5000 021\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.2 5000 65536\r\n",
            "PROXY TCP4 0.0.0.0 10.0.0.2 5000 21\r\n",
            "PROXY TCP4 224.0.0.1 10.0.0.2 5000 21\r\n",
            "PROXY TCP6 :: 2001:db8::2 5000 21\r\n",
            "PROXY TCP6 ff02::1 2001:db8::2 5000 21\r\n",
            "\r\n\r\n\0\r\nQUIT\n",
        ] {
            assert_eq!(from_outside(line), None, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(line in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&line, SocketAddr::from(([10, 0, 0, 1], 1)));
        }

        #[test]
        fn every_address_and_port_is_read_back(ip: IpAddr, to: IpAddr, port: u16) {
            let (family, to) = match ip {
                IpAddr::V4(_) => ("TCP4", "10.0.0.2".to_string()),
                IpAddr::V6(_) => ("TCP6", to.to_string()),
            };
            let to = if family == "TCP6" && !to.contains(':') { "::1".to_string() } else { to };
            let line = format!("PROXY {family} {ip} {to} {port} 21\r\n");
            let is_host = !ip.to_canonical().is_unspecified() && !ip.to_canonical().is_multicast();
            let read = parse(line.as_bytes(), SocketAddr::from(([127, 0, 0, 1], 1)));
            prop_assert_eq!(read, is_host.then(|| SocketAddr::new(ip.to_canonical(), port)));
            prop_assert!(line.len() <= LONGEST);
        }
    }
}
