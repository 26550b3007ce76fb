//! `--proxy-from`: the line in which a balancer names its client (PROXY protocol, version 1).
//!
//! The clients of these tests come from 127.0.0.1, which is the balancer, and `nc -s` comes from
//! other addresses.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Client, Peer, Server, Way, connect, has_program, listen, own_address};

const GREETING: &str = "220 plainftpd ready. New here? Type: register NAME PASSWORD. \
                        Type help for the commands.";

/// A server to which 127.0.0.1 is a balancer.
fn server_with(flags: &[&str]) -> Server {
    Server::with(&[&["--proxy-from", "127.0.0.1"], flags].concat())
}

/// A connection of the balancer that begins with this.
fn begun_with(server: &Server, start: &str) -> Client {
    let mut client = Client::to(server.address());
    client.send(start);
    client
}

/// A client at this address behind the balancer, greeted.
fn client_at(server: &Server, address: &str) -> Client {
    let family = if address.contains(':') { "TCP6" } else { "TCP4" };
    let to = if address.contains(':') { "2001:db8::2" } else { "203.0.113.9" };
    let mut client = begun_with(server, &format!("PROXY {family} {address} {to} 5000 21\r\n"));
    assert_eq!(client.reply(), GREETING);
    client
}

/// `nc` from an address of this machine, which has sent this and stays connected.
fn nc_from(source: &str, to: SocketAddr, start: &[u8]) -> Child {
    let mut nc = Command::new("nc")
        .args(["-s", source, "-w", "20", &to.ip().to_string(), &to.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    nc.stdin.as_mut().unwrap().write_all(start).unwrap();
    nc
}

/// The log without its stamps, from the line on that begins with this.
fn log_lines(server: &Server, event: &str) -> Vec<String> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| line.split_once(' ').map(|(_, line)| line));
    lines.filter(|line| line.starts_with(event)).map(str::to_string).collect()
}

#[test]
fn the_client_of_a_balancer_has_its_own_address_everywhere() {
    let server = server_with(&[]);
    client_at(&server, "198.51.100.1").expect("register root password", 230);
    server.edit_account("root", "admin:-");
    let mut alice = client_at(&server, "192.0.2.7");
    alice.expect("login alice wrong", 530);
    alice.expect("register alice password", 230);
    let status = alice.ask("STAT");
    assert!(status.contains("\n from 192.0.2.7:5000\n"), "{status}");
    let mut six = client_at(&server, "2001:db8::7");
    six.expect("register bob password", 230);
    let mut root = client_at(&server, "::ffff:198.51.100.2");
    root.expect("login root password", 230);
    let who = root.ask("who");
    for line in ["2 alice 192.0.2.7:5000 idle", "3 bob [2001:db8::7]:5000 idle"] {
        assert!(who.contains(line), "{who}");
    }
    assert!(who.contains("4 root 198.51.100.2:5000 "), "{who}");
    alice.expect("quit", 221);
    assert_eq!(alice.rest(), "");
    assert_eq!(
        log_lines(&server, "event=connect session=2"),
        ["event=connect session=2 peer=192.0.2.7:5000"]
    );
    assert_eq!(
        log_lines(&server, "event=end session=2"),
        ["event=end session=2 peer=192.0.2.7:5000 user=alice why=quit received=0 sent=0"]
    );
    assert_eq!(log_lines(&server, "event=login-failed session=2 peer=192.0.2.7:5000").len(), 1);
    assert!(!server.log().contains("peer=127.0.0.1"), "{}", server.log());
}

#[test]
fn a_line_may_come_in_single_bytes_and_commands_right_after_it() {
    let server = server_with(&[]);
    let mut client = Client::to(server.address());
    for byte in b"PROXY TCP4 192.0.2.7 203.0.113.9 5000 21\r" {
        client.send([*byte]);
    }
    // Nothing is said before the line is complete.
    client.stream().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let early = client.stream().peek(&mut [0]).unwrap_err();
    assert_eq!(early.kind(), ErrorKind::WouldBlock);
    client.stream().set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(log_lines(&server, "event=connect"), [""; 0]);
    client.send("\n");
    assert_eq!(client.reply(), GREETING);
    // More than the first buffer holds, with bytes that a command line would interpret.
    let many = "NOOP\r\n".repeat(100);
    let start = format!(
        "PROXY UNKNOWN \u{8}\u{8}\r\nregister al\u{8}lice password\r\n{many}put f 3\r\nxyzquit\r\n"
    );
    let mut client = begun_with(&server, &start);
    assert_eq!(client.reply(), GREETING);
    assert!(client.reply().starts_with("230 Account alice created"));
    for _ in 0..100 {
        assert!(client.reply().starts_with("200 "));
    }
    assert_eq!(client.reply(), "150 Send 3 bytes.");
    assert_eq!(client.reply(), "226 /f stored, 3 bytes.");
    assert_eq!(client.rest(), "221 Goodbye.\r\n");
}

#[test]
fn anything_else_from_a_balancer_is_closed_without_a_reply() {
    let server = server_with(&[]);
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert_eq!(long.len(), 108);
    let bad = [
        "HELP\r\n",
        "\r\n",
        "\n",
        "GET / HTTP/1.1\r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.9 5000 21\n",
        "PROXY TCP4 192.0.2.07 203.0.113.9 5000 21\r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.9 05000 21\r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.9 5000 65536\r\n",
        "PROXY TCP4 example.org 203.0.113.9 5000 21\r\n",
        "PROXY TCP4 192.0.2.7 203.0.113.9 5000\r\n",
        "PROXY TCP6 192.0.2.7 203.0.113.9 5000 21\r\n",
        "proxy TCP4 192.0.2.7 203.0.113.9 5000 21\r\n",
        "PRO\u{8}OXY TCP4 192.0.2.7 203.0.113.9 5000 21\r\n",
        &long,
        &"x".repeat(107),
        // The header of version 2 begins with these twelve bytes.
        "\r\n\r\n\0\r\nQUIT\n",
    ];
    for (number, start) in bad.iter().enumerate() {
        let mut peer = Peer::to(server.address()).unwrap();
        let from = peer.stream().local_addr().unwrap();
        // A server that reads on would run the rest.
        let sent = peer.send(format!("{start}register alice password\r\n"));
        match sent.and_then(|()| peer.rest()) {
            Ok(said) => assert_eq!(said, b"", "{start:?}"),
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
                "{start:?}: {error}"
            ),
        }
        let session = number + 1;
        let line = format!("event=refused session={session} peer={from} why=\"no PROXY line\"");
        assert_eq!(log_lines(&server, &format!("event=refused session={session} ")), [line]);
    }
    // The end of the input before the end of the line.
    let mut client = begun_with(&server, "PROXY UNKNOWN");
    client.half_close();
    assert_eq!(client.rest(), "");
    assert_eq!(log_lines(&server, "event=refused").len(), bad.len() + 1);
    assert_eq!(log_lines(&server, "event=connect").len(), 0);
    assert_eq!(log_lines(&server, "event=end").len(), 0);
    assert!(server.homes().is_empty());
}

#[test]
fn the_line_and_the_login_together_have_the_time_of_a_login() {
    let server = server_with(&["--login-timeout", "2"]);
    let mut silent = Client::to(server.address());
    let dribbling = std::thread::spawn({
        let mut peer = Peer::to(server.address()).unwrap();
        move || {
            let since = Instant::now();
            while since.elapsed() < Duration::from_secs(60) && peer.send("x").is_ok() {
                std::thread::sleep(Duration::from_millis(400));
            }
            since.elapsed()
        }
    });
    assert_eq!(silent.rest(), "");
    assert!(dribbling.join().unwrap() < Duration::from_secs(30));
    assert_eq!(log_lines(&server, "event=refused").len(), 2);

    let server = server_with(&["--login-timeout", "9"]);
    let since = Instant::now();
    let mut client = Client::to(server.address());
    std::thread::sleep(Duration::from_secs(4));
    client.send("PROXY UNKNOWN\r\n");
    assert_eq!(client.reply(), GREETING);
    assert_eq!(client.rest(), "421 No login in time; closing.\r\n");
    let took = since.elapsed();
    assert!(took < Duration::from_secs(13), "a second time began with the line: {took:?}");
}

#[test]
fn the_share_of_an_address_is_that_of_the_client() {
    let server = server_with(&["--max-per-address", "1"]);
    // The balancer has no share while its lines have not come.
    let waiting: Vec<_> = (0..6).map(|_| Client::to(server.address())).collect();
    let mut clients = Vec::new();
    for (number, mut client) in waiting.into_iter().enumerate() {
        client.send(format!("PROXY TCP4 192.0.2.{number} 203.0.113.9 5000 21\r\n"));
        assert_eq!(client.reply(), GREETING);
        clients.push(client);
    }
    clients[1].expect("register alice password", 230);
    let refusal = "421 Too many clients from your address; try again later.\r\n";
    let line = "PROXY TCP4 192.0.2.1 203.0.113.9 6000 21\r\n";
    assert_eq!(begun_with(&server, &(line.to_string() + &"NOOP\r\n".repeat(200))).rest(), refusal);
    assert_eq!(
        log_lines(&server, "event=refused"),
        ["event=refused session=7 peer=192.0.2.1:6000 code=421 \
         why=\"Too many clients from your address; try again later.\""]
    );
    // The share is free when the client has left, and a client of the balancer's own is one more.
    clients[1].expect("quit", 221);
    assert_eq!(clients[1].rest(), "");
    while begun_with(&server, line).reply() != GREETING {
        std::thread::yield_now();
    }
    let mut own = begun_with(&server, "PROXY UNKNOWN\r\n");
    assert_eq!(own.reply(), GREETING);
    own.expect("register bob password", 230);
    assert_eq!(begun_with(&server, "PROXY UNKNOWN\r\n").rest(), refusal);
}

#[test]
fn connections_whose_line_has_not_come_have_a_bound_and_give_way_in_time() {
    let server = server_with(&["--max-clients", "8", "--login-timeout", "60"]);
    let waiting: Vec<_> = (0..7).map(|_| Client::to(server.address())).collect();
    let full = "421 Too many clients; try again later.\r\n";
    assert_eq!(Client::to(server.address()).rest(), full);
    // After a twelfth of the time for a login, the oldest one gives its slot to a new client.
    let since = Instant::now();
    let mut client = loop {
        let mut client = begun_with(&server, "PROXY TCP4 192.0.2.7 203.0.113.9 5000 21\r\n");
        let said = client.reply();
        if said == GREETING {
            break client;
        }
        assert!(said.starts_with("421 Too many") && since.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(50));
    };
    client.expect("register alice password", 230);
    drop(waiting);
}

#[test]
fn guesses_of_one_client_delay_no_other_client_of_the_balancer() {
    let server = server_with(&["--max-failures", "1"]);
    client_at(&server, "192.0.2.1").expect("register alice password", 230);
    let mut guesses: Vec<_> = (0..16)
        .map(|_| {
            let mut client = client_at(&server, "192.0.2.66");
            client.send_line("login alice wrong");
            client.stream().set_nonblocking(true).unwrap();
            client
        })
        .collect();
    let too_many = "421 Too many failed tries lately; try again in a minute.";
    let is_refused = |client: &mut Client| {
        client.stream().peek(&mut [0]).is_ok_and(|read| read > 0) && {
            client.stream().set_nonblocking(false).unwrap();
            let said = client.reply();
            client.stream().set_nonblocking(true).unwrap();
            said == too_many
        }
    };
    while !guesses.iter_mut().any(is_refused) {
        std::thread::yield_now();
    }
    client_at(&server, "192.0.2.1").expect("login alice password", 230);
    assert_eq!(client_at(&server, "192.0.2.66").ask("login alice password"), too_many);
}

/// Connects the balancer and then the client to a passive port; returns what each of them gets.
fn fetched(client: &mut Client, to: SocketAddr, own: &str) -> [Vec<u8>; 2] {
    let mut balancer = connect(to).unwrap();
    client.send_line("RETR f");
    let mut stolen = Vec::new();
    let _ = balancer.read_to_end(&mut stolen);
    let own = nc_from(own, to, b"");
    assert!(client.reply().starts_with("150 "));
    let content = own.wait_with_output().unwrap().stdout;
    assert!(client.reply().starts_with("226 "));
    [stolen, content]
}

fn pasv(client: &mut Client) -> SocketAddr {
    let reply = client.expect("PASV", 227);
    let numbers = reply.split(['(', ')']).nth(1).unwrap();
    let numbers: Vec<u8> = numbers.split(',').map(|n| n.parse().unwrap()).collect();
    let [a, b, c, d, high, low] = numbers[..] else { panic!("{reply}") };
    SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])))
}

#[test]
fn data_connections_are_those_of_the_client_and_not_of_the_balancer() {
    if !has_program("nc") {
        return;
    }
    let server = server_with(&[]);
    let mut client = client_at(&server, "127.0.0.5");
    client.expect("register alice password", 230);
    client.put("f", b"secret");
    let to = pasv(&mut client);
    assert_eq!(to.ip(), server.address().ip());
    assert_eq!(fetched(&mut client, to, "127.0.0.5"), [b"".to_vec(), b"secret".to_vec()]);
    let to = SocketAddr::new(server.address().ip(), client.epsv_port());
    assert_eq!(fetched(&mut client, to, "127.0.0.5"), [b"".to_vec(), b"secret".to_vec()]);
    for line in ["PORT 127,0,0,1,200,0", "EPRT |1|127.0.0.1|51200|"] {
        client.expect(line, 504);
    }
    let listener = listen("127.0.0.5:0");
    let port = listener.local_addr().unwrap().port();
    client.expect(&format!("PORT 127,0,0,5,{},{}", port >> 8, port & 255), 200);
    client.expect("RETR f", 150);
    let mut content = String::new();
    listener.accept().unwrap().0.read_to_string(&mut content).unwrap();
    assert_eq!(content, "secret");
    assert!(client.reply().starts_with("226 "));
    // A client that the balancer does not know has the balancer's address.
    let mut unknown = begun_with(&server, "PROXY UNKNOWN\r\n");
    assert_eq!(unknown.reply(), GREETING);
    unknown.expect("login alice password", 230);
    unknown.expect("PORT 127,0,0,5,200,0", 504);
    assert_eq!(unknown.download(Way::Port, "RETR f"), b"secret");
    assert_eq!(unknown.download(Way::Pasv, "RETR f"), b"secret");
}

#[test]
fn data_goes_to_the_public_address_past_the_balancer() {
    if !has_program("nc") {
        return;
    }
    let six = "[::1]:0";
    let own = format!("{}:0", own_address());
    let flags = ["--public-address", "127.0.0.77", "--listen", &own, "--listen", six];
    let server = server_with(&[&flags[..], &["--proxy-from", "::1"]].concat());
    let mut client = client_at(&server, "127.0.0.5");
    client.expect("register alice password", 230);
    client.put("f", b"secret");
    let to = pasv(&mut client);
    assert_eq!(to.ip().to_string(), "127.0.0.77");
    assert_eq!(fetched(&mut client, to, "127.0.0.5"), [b"".to_vec(), b"secret".to_vec()]);
    let refused = "502 EPSV would lead you to the balancer; send PASV.";
    assert_eq!(client.ask("EPSV"), refused);
    assert_eq!(client.ask("EPSV 1"), refused);
    let mut six = client_at(&server, "2001:db8::7");
    six.expect("login alice password", 230);
    six.expect("EPSV", 229);
    six.expect("PASV", 425);
    six.expect("EPRT |2|2001:db8::7|51200|", 200);
    six.expect("EPRT |2|::1|51200|", 504);
    // The balancer comes by IPv6, and its client by IPv4.
    let mut mixed = Client::to(server.addresses[1]);
    mixed.send("PROXY TCP4 127.0.0.6 203.0.113.9 5000 21\r\n");
    assert_eq!(mixed.reply(), GREETING);
    mixed.expect("login alice password", 230);
    let to = pasv(&mut mixed);
    assert_eq!(fetched(&mut mixed, to, "127.0.0.6"), [b"".to_vec(), b"secret".to_vec()]);
}

#[test]
fn a_balancer_may_be_named_in_ipv6_form_and_the_owner_needs_no_line() {
    let flags = ["--proxy-from", "::1", "--proxy-from", "::ffff:127.0.0.1"];
    let server =
        Server::with(&[&flags[..], &["--listen", "[::1]:0", "--listen", "127.0.0.1:0"]].concat());
    for address in &server.addresses {
        let mut client = Client::to(*address);
        client.send("PROXY TCP6 2001:db8::7 2001:db8::2 5000 21\r\n");
        assert_eq!(client.reply(), GREETING);
        let lines = log_lines(&server, "event=connect");
        assert!(lines.iter().all(|line| line.ends_with(" peer=[2001:db8::7]:5000")), "{lines:?}");
    }
    let mut who = Command::new(env!("CARGO_BIN_EXE_plainftpd"));
    let output = who.arg("who").arg("--dir").arg(server.dir()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// A program that runs until the end of the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a balancer with the path of its configuration, and waits until it listens.
fn balancer(program: &str, arguments: &[&str], configuration: &str, at: SocketAddr) -> Running {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), configuration).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).arg(file.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(command.spawn().unwrap());
    let since = Instant::now();
    while connect(at).is_err() {
        assert!(since.elapsed() < Duration::from_secs(60), "{program} does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    running
}

#[test]
fn haproxy_names_its_clients_and_their_data_goes_past_it() {
    if !["haproxy", "nc", "curl", "lftp"].into_iter().all(has_program) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let own = own_address().to_string();
    let flags = ["--proxy-from", "127.0.0.1", "--public-address", &own];
    let server =
        Server::in_folder(dir.path(), &[&flags[..], &["--listen", &format!("{own}:0")]].concat());
    let (at, port) = (own_address(), 2121);
    let configuration = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n\
         listen ftp\n bind {at}:{port}\n server node {} send-proxy source 127.0.0.1\n",
        server.address()
    );
    let _haproxy = balancer("haproxy", &["-db", "-f"], &configuration, (at, port).into());
    let nc =
        nc_from("127.0.0.5", (at, port).into(), b"register alice password\r\nSTAT\r\nquit\r\n");
    let said = String::from_utf8(nc.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains("\r\n from 127.0.0.5:") && said.ends_with("221 Goodbye.\r\n"), "{said}");
    let here = tempfile::tempdir().unwrap();
    fs::write(here.path().join("f"), "content").unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new("timeout");
        command.args(["60", program]).args(arguments).current_dir(here.path());
        let output = command.env("HOME", here.path()).output().unwrap();
        assert!(output.status.success(), "{program}: {output:?}\n{}", server.log());
    };
    let url = |name: &str| format!("ftp://alice:password@{at}:{port}/{name}");
    let common = ["-sS", "--interface", "127.0.0.5", "-T", "f"];
    run("curl", &[&common[..], &["--no-ftp-skip-pasv-ip", &url("passive")]].concat());
    run("curl", &[&common[..], &["--ftp-port", "-", &url("active")]].concat());
    let script = format!(
        "set net:socket-bind-ipv4 127.0.0.5; set ftp:ssl-allow no; set net:max-retries 1; \
         open {}; put f -o lftp",
        url("")
    );
    run("lftp", &["-c", &script]);
    for name in ["passive", "active", "lftp"] {
        assert_eq!(fs::read(server.real("alice").join(name)).unwrap(), b"content", "{name}");
    }
    let lines = log_lines(&server, "event=command");
    let is_its = |line: &String| line.contains(" peer=127.0.0.5:");
    assert!(lines.iter().all(is_its), "{}", server.log());
}

#[test]
fn stunnel_names_its_clients() {
    if !["stunnel", "openssl"].into_iter().all(has_program) {
        return;
    }
    let server = server_with(&[]);
    let here = tempfile::tempdir().unwrap();
    let (cert, key) = (here.path().join("cert.pem"), here.path().join("key.pem"));
    let request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=box -keyout";
    let mut openssl = Command::new("openssl");
    openssl.args(request.split(' ')).arg(&key).arg("-out").arg(&cert).stderr(Stdio::null());
    assert!(openssl.status().unwrap().success());
    let at = SocketAddr::from((own_address(), 2122));
    let configuration = format!(
        "foreground = yes\npid =\n[plainftpd]\naccept = {at}\nconnect = {}\nprotocol = proxy\n\
         cert = {}\nkey = {}\n",
        server.address(),
        cert.display(),
        key.display()
    );
    let _stunnel = balancer("stunnel", &[], &configuration, at);
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_return_error", "-bind", "127.0.0.5:0", "-CAfile"])
        .arg(&cert)
        .args(["-connect", &at.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = b"register alice password\nSTAT\nquit\n";
    client.stdin.as_mut().unwrap().write_all(lines).unwrap();
    let said = String::from_utf8(client.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains("\r\n from 127.0.0.5:") && said.ends_with("221 Goodbye.\r\n"), "{said}");
}
