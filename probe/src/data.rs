//! Data connections, passive and active, over IPv4 and IPv6.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::control::Control;
use crate::failure::{Result, differs, not_offered};

/// The command that sets up a data connection.
#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    /// The client connects to the address of a 227 reply.
    Pasv,
    /// The client connects to the port of a 229 reply (RFC 2428).
    Epsv,
    /// The server connects to this client, IPv4 only.
    Port,
    /// The server connects to this client (RFC 2428).
    Eprt,
}

/// A data connection that is open or that the server will open.
pub enum Data {
    /// Connected by this client.
    Open(TcpStream),
    /// The server connects after the transfer command.
    Awaited(TcpListener),
}

impl Data {
    /// Sets up a data connection.
    pub fn prepare(control: &mut Control, way: Way, timeout: Duration) -> Result<Data> {
        match way {
            Way::Pasv | Way::Epsv => {
                let mut address = control.peer()?;
                address.set_port(match way {
                    Way::Pasv => passive_address(control)?.port(),
                    _ => extended_port(control)?,
                });
                let stream = TcpStream::connect_timeout(&address, timeout);
                let stream = stream.or_else(|error| {
                    differs(format!("a data connection to {address}"), error.to_string())
                })?;
                Ok(Data::Open(stream))
            }
            Way::Port | Way::Eprt => {
                let listener = TcpListener::bind((control.local()?.ip(), 0))?;
                let command = active_command(way, listener.local_addr()?)?;
                let reply = control.try_ask(&command)?;
                if reply.fits("5xx") {
                    return not_offered(format!("active: {reply}"));
                }
                reply.expect("200", &command)?;
                Ok(Data::Awaited(listener))
            }
        }
    }

    /// The stream of the data connection. If the server must connect, it has the timeout for that.
    pub fn stream(self, timeout: Duration) -> Result<TcpStream> {
        let stream = match self {
            Data::Open(stream) => stream,
            Data::Awaited(listener) => accept(&listener, timeout)?,
        };
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(stream)
    }
}

/// Sends PASV and returns the address of the 227 reply.
pub fn passive_address(control: &mut Control) -> Result<SocketAddr> {
    if control.peer()?.is_ipv6() {
        return not_offered("PASV is for IPv4");
    }
    let reply = control.ask("PASV", "227")?;
    let numbers = reply.text().split(|c: char| !c.is_ascii_digit());
    let numbers: Vec<u8> = numbers.filter_map(|number| number.parse().ok()).collect();
    match numbers.as_slice() {
        &[a, b, c, d, high, low] => {
            Ok(SocketAddr::new(IpAddr::from([a, b, c, d]), u16::from_be_bytes([high, low])))
        }
        _ => differs("227 with six numbers", reply.to_string()),
    }
}

fn extended_port(control: &mut Control) -> Result<u16> {
    let reply = control.ask("EPSV", "229")?;
    let port = reply.first().split_once("(|||").and_then(|(_, rest)| rest.split('|').next());
    match port.and_then(|port| port.parse().ok()) {
        Some(port) => Ok(port),
        None => differs("229 with (|||PORT|)", reply.to_string()),
    }
}

/// PORT or EPRT for an address.
pub fn active_command(way: Way, address: SocketAddr) -> Result<String> {
    let port = address.port();
    match (way, address.ip()) {
        (Way::Port, IpAddr::V4(ip)) => {
            let [high, low] = port.to_be_bytes();
            Ok(format!("PORT {},{high},{low}", ip.to_string().replace('.', ",")))
        }
        (Way::Port, IpAddr::V6(_)) => not_offered("PORT is for IPv4"),
        (_, IpAddr::V4(ip)) => Ok(format!("EPRT |1|{ip}|{port}|")),
        (_, IpAddr::V6(ip)) => Ok(format!("EPRT |2|{ip}|{port}|")),
    }
}

fn accept(listener: &TcpListener, timeout: Duration) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let began = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if is_waiting(&error) && began.elapsed() < timeout => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) if is_waiting(&error) => {
                return differs("a data connection from the server", "none came");
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_waiting(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
