//! Attacks on the protocol, each a test that names its origin: what others' servers were broken by
//! must leave this one as it is.

mod accounts;
mod connections;
mod exhaustion;
mod folders;
mod framing;
mod names;

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::{Client, Server, Way, connect, listen, snapshot};

/// These tests fail to log in on purpose, far more often than a server would let pass without a
/// wait.
const PATIENT: &[&str] = &["--max-failures", "1000"];

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One whole reply, well-formed by RFC 959 §4.2, whatever bytes a name in it has.
#[track_caller]
fn reply_of(client: &mut Client) -> String {
    let bytes = client.reply_bytes();
    let reply = lossy(&bytes);
    let is_code = bytes.len() >= 4
        && (b'1'..=b'5').contains(&bytes[0])
        && bytes[1..3].iter().all(u8::is_ascii_digit)
        && matches!(bytes[3], b' ' | b'-');
    assert!(is_code, "no reply: {reply:?}");
    assert!(!reply.chars().any(|c| c.is_control() && c != '\n'), "a control character: {reply:?}");
    reply
}

/// Sends bytes as a line and holds the answer against `code`.
#[track_caller]
fn expect_bytes(client: &mut Client, line: &[u8], code: u16) -> String {
    client.send([line, b"\r\n"].concat());
    let reply = reply_of(client);
    assert!(reply.starts_with(&code.to_string()), "{:?}: {reply}", lossy(line));
    reply
}

/// The server is there, and the session owes no further answer.
#[track_caller]
fn in_step(client: &mut Client) {
    assert_eq!(reply_of_line(client, "NOOP"), "200 Nothing done, as asked.");
}

#[track_caller]
fn reply_of_line(client: &mut Client, line: &str) -> String {
    client.send_line(line);
    reply_of(client)
}

fn logged_in(server: &Server, name: &str) -> Client {
    let mut client = server.connect();
    client.expect(&format!("login {name} password"), 230);
    client
}

/// A listener at `ip` that must get no connection.
fn victim(ip: &str) -> TcpListener {
    let listener = TcpListener::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Waits until the server has read all that was sent: a Telnet request is answered when its turn to
/// be read comes, also while a transfer waits.
#[track_caller]
fn is_looked_at(client: &mut Client) {
    client.send(b"\xff\xfd\x06");
    assert_eq!(client.read_exact(3), b"\xff\xfc\x06");
}
