//! Attacks on the protocol, each a test that names its origin: what others' servers were broken by
//! must leave this one as it is.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use support::{Client, Server, Way, snapshot};

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

/// Waits until the log tells of `count` ended sessions.
fn ended(server: &Server, count: usize) {
    while server.log().matches(" event=end ").count() < count {
        std::thread::yield_now();
    }
}

/// A listener that nobody may connect to, at `ip`.
fn victim(ip: &str) -> TcpListener {
    let listener = TcpListener::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// FTP bounce: RFC 2577 §3, CERT CA-1997-27, CVE-1999-0017. The ways round the check are those of
/// parsers that wrap octets, stop early, or know an address by one spelling only.
#[test]
fn no_spelling_of_an_address_makes_the_server_connect_to_a_third_party() {
    let server =
        Server::with(&["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--listen", "[::]:0"]);
    server.registered("alice").put("f", b"secret");
    let (other, six) = (victim("127.0.0.2"), victim("::1"));
    let port = other.local_addr().unwrap().port();
    let port_six = six.local_addr().unwrap().port();
    let (hi, lo) = (port >> 8, port & 255);
    let ones = "1".repeat(4000);
    let lines = [
        (504, format!("PORT 127,0,0,2,{hi},{lo}")),
        (504, format!("PORT 127,0,0,002,{hi},{lo}")),
        (504, format!("PORT 0177,0,0,2,{hi},{lo}")),
        (504, format!("PORT 0,0,0,0,{hi},{lo}")),
        (504, format!("PORT 255,255,255,255,{hi},{lo}")),
        (504, format!("EPRT |1|127.0.0.2|{port}|")),
        (504, format!("EPRT |1|0.0.0.0|{port}|")),
        (504, format!("EPRT |2|::ffff:127.0.0.2|{port}|")),
        (504, format!("EPRT |2|::FFFF:7f00:2|{port}|")),
        (504, format!("EPRT |2|0:0:0:0:0:ffff:7f00:0002|{port}|")),
        // One's own address, but the port of a service.
        (504, "PORT 127,0,0,1,0,0".to_string()),
        (504, "PORT 127,0,0,1,0,22".to_string()),
        (504, "PORT 127,0,0,1,3,255".to_string()),
        (504, "EPRT |1|127.0.0.1|1023|".to_string()),
        (504, "EPRT |2|::ffff:127.0.0.1|25|".to_string()),
        // Octets over 255, which a byte would wrap to 127.0.0.2 and to its port.
        (501, format!("PORT 127,0,0,258,{hi},{lo}")),
        (501, format!("PORT 383,0,0,2,{hi},{lo}")),
        (501, format!("PORT 127,256,256,2,{hi},{lo}")),
        (501, format!("PORT 127,0,0,4294967298,{hi},{lo}")),
        (501, format!("PORT 127,0,0,18446744073709551618,{hi},{lo}")),
        (501, format!("PORT 127,0,0,1,{},{lo}", hi + 256)),
        (501, format!("PORT 127,0,0,1,{hi},{}", lo + 256)),
        (501, format!("PORT 127,0,0,1,0,{port}")),
        (501, format!("PORT 127,0,0,-254,{hi},{lo}")),
        (501, format!("PORT 127,0,0,0x2,{hi},{lo}")),
        // Short, long, empty and huge.
        (501, format!("PORT 127,2,{hi},{lo}")),
        (501, format!("PORT 2130706434,{hi},{lo}")),
        (501, "PORT 127,0,0,2".to_string()),
        (501, "PORT ,,,,,".to_string()),
        (501, format!("PORT 127,0,0,2,{hi},{lo},")),
        (501, format!("PORT ,127,0,0,2,{hi},{lo}")),
        (501, format!("PORT 127,0,0,1,{hi},{lo},127,0,0,2")),
        (501, format!("PORT 127.0.0.2,{hi},{lo}")),
        (501, format!("PORT {ones},0,0,2,{hi},{lo}")),
        (501, format!("PORT 127,0,0,2,{hi},{ones}")),
        (501, format!("PORT 127,0,0,2{}", ",1".repeat(3000))),
        (501, format!("EPRT |1|127.2|{port}|")),
        (501, format!("EPRT |1|2130706434|{port}|")),
        (501, format!("EPRT |1|0x7f.0.0.2|{port}|")),
        (501, format!("EPRT |1|127.0.0.258|{port}|")),
        (501, format!("EPRT |1|127.0.0.1|{}|", u32::from(port) + 65536)),
        (501, format!("EPRT |1|127.0.0.1|{ones}|")),
        (501, format!("EPRT |1|{ones}|{port}|")),
        (501, format!("EPRT |1|localhost|{port}|")),
        (501, format!("EPRT |1|127.0.0.2 127.0.0.1|{port}|")),
        (501, format!("EPRT |1|127.0.0.2|{port}")),
        (501, format!("EPRT |1|::ffff:127.0.0.2|{port}|")),
        (501, format!("EPRT |2|127.0.0.2|{port}|")),
        (501, format!("EPRT {}", "|".repeat(5000))),
        // A family that this connection is not of.
        (522, format!("EPRT |2|::1|{port_six}|")),
        (522, format!("EPRT |2|::|{port_six}|")),
        (522, format!("EPRT |2|::1%lo|{port_six}|")),
        (522, format!("EPRT |2|::127.0.0.2|{port}|")),
        (522, format!("EPRT |2|64:ff9b::7f00:2|{port}|")),
        (522, format!("EPRT |3|127.0.0.2|{port}|")),
    ];
    // The third listener knows its IPv4 clients by their IPv4-mapped addresses.
    let dual = SocketAddr::from(([127, 0, 0, 1], server.addresses[2].port()));
    for address in [server.addresses[0], dual] {
        let mut client = Client::to(address);
        client.reply();
        client.expect("login alice password", 230);
        for (code, line) in &lines {
            client.expect(line, *code);
            let refused = client.ask("RETR f");
            assert!(
                refused.starts_with("425 No data connection: send EPSV or PASV first"),
                "{line}: {refused}"
            );
        }
        // Its own address is reached in the same spellings.
        for own in ["|1|127.0.0.1|", "|2|::ffff:127.0.0.1|", "|2|::ffff:7f00:1|"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            client.expect(&format!("EPRT {own}{}|", listener.local_addr().unwrap().port()), 200);
            client.expect("RETR f", 150);
            let mut content = String::new();
            listener.accept().unwrap().0.read_to_string(&mut content).unwrap();
            assert_eq!((content.as_str(), &client.reply()[..4]), ("secret", "226 "));
        }
    }
    let mut client = Client::to(server.addresses[1]);
    client.reply();
    client.expect("login alice password", 230);
    for line in [
        format!("PORT 127,0,0,2,{hi},{lo}"),
        format!("EPRT |1|127.0.0.2|{port}|"),
        format!("EPRT |2|::ffff:127.0.0.2|{port}|"),
    ] {
        client.expect(&line, 522);
        client.expect("RETR f", 425);
    }
    client.expect(&format!("EPRT |2|::|{port_six}|"), 504);
    client.expect("RETR f", 425);
    for listener in [other, six] {
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "somebody came");
    }
}

/// CVE-2008-4247 (and CVE-2008-4242): a server that reads a long line in pieces of its buffer's
/// size runs the second piece as a command, which a web page can have any browser send.
#[test]
fn a_long_line_is_never_taken_for_two() {
    let server = Server::with(PATIENT);
    let mut client = server.registered("alice");
    client.put("keep", b"keep");
    client.expect("mkdir d", 257);
    let seen = snapshot(&server.real("alice"));
    for size in
        [64, 128, 255, 256, 512, 1000, 1023, 1024, 2048, 4095, 4096, 8191, 8192, 8193, 16384, 65536]
    {
        for command in ["DELE keep", "MKD pwned", "SITE RMDIR d", "RNFR keep"] {
            for (verb, fill) in
                [("CWD ", "/"), ("SIZE ", "x"), ("xyzzy ", " "), ("MLST ", "/."), ("", "\t")]
            {
                // The command stands where the piece would begin, and one off to both sides.
                for off in 0..3 {
                    let fill = fill.repeat(size);
                    let padding =
                        &fill[..(size + off).saturating_sub(verb.len() + 1).min(fill.len())];
                    let line = format!("{verb}{padding}{command}");
                    if verb.is_empty() && line.len() <= 8192 {
                        continue; // blanks before a command mean nothing
                    }
                    let reply = reply_of_line(&mut client, &line);
                    let expected: &[&str] = if line.len() > 8192 {
                        &["500 The line is longer"]
                    } else {
                        &["550 ", "553 ", "500 "]
                    };
                    assert!(
                        expected.iter().any(|start| reply.starts_with(start)),
                        "{size} {verb}: {reply}"
                    );
                    in_step(&mut client);
                }
            }
        }
    }
    assert_eq!(snapshot(&server.real("alice")), seen);
}

/// CVE-2021-3618 (ALPACA), and Jochen Topf's HTML form protocol attack of 2001: a browser is made
/// to send commands in a request, or to read an answer that quotes what the request held.
#[test]
fn no_http_request_gets_a_command_run_or_anything_quoted() {
    let server = Server::with(PATIENT);
    server.registered("alice");
    let long = format!("/{}", "a".repeat(9000));
    let targets = [
        "/",
        "*",
        "127.0.0.1:25",
        "/<script>alert(1)</script>",
        "/register%20mallory%20password",
        &long,
    ];
    let methods =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI"];
    // What stands before it, too, changes nothing: it need not be the first line.
    let before = [
        ("", 0),
        ("\r\n\r\n", 0),
        ("NOOP\r\n", 1),
        ("USER alice\r\n", 1),
        ("login alice password\r\nlogout\r\n", 2),
    ];
    let body = "Host: <script>\r\nContent-Type: text/plain\r\n\r\nregister mallory password\r\nMKD pwned\r\n";
    for (method, target) in methods.iter().flat_map(|method| targets.map(|target| (method, target)))
    {
        for (start, answers) in before {
            for end in [" HTTP/1.1\r\n", " HTTP/9.9\r\n", " HTTP/2.0\n"] {
                let mut client = server.connect();
                client.send(format!("{start}{method} {target}{end}{body}"));
                client.half_close();
                let said = client.rest();
                let said: Vec<_> = said.lines().skip(answers).collect();
                assert_eq!(said, ["421 This is no web server."], "{start}{method}");
            }
        }
    }
    assert!(!server.users().contains("mallory"));
}

/// Content run as commands: the two ends disagree on where content ends (CWE-444; SMTP smuggling,
/// CVE-2023-51764), mostly after a line that one of them refused.
#[test]
fn content_is_never_run_whatever_became_of_its_line() {
    const EVIL: &str = "MKD pwned\r\nmkdir pwned\r\nregister mallory password\r\nrm -r keep\r\n";
    let server = Server::with(PATIENT);
    let mut alice = server.registered("alice");
    alice.expect("mkdir keep", 257);
    alice.expect("cd keep", 250);
    alice.expect("mkdir in", 257);
    let counted = EVIL.len();
    let long = "x".repeat(300);
    // Counted, so that the session goes on in step.
    for line in [
        format!("put f {counted}"),
        format!("put /keep {counted}"),
        format!("put nowhere/f {counted}"),
        format!("put {long} {counted}"),
        format!("put '' {counted}"),
        format!("put f g {counted}"),
        format!("put f\x01 {counted}"),
        format!("  PUT\t'/' {counted}"),
        format!("upload keep/in/../../.. {counted}"),
    ] {
        for logged_in_too in [true, false] {
            let mut client = server.connect();
            if logged_in_too {
                client.expect("login alice password", 230);
            }
            client.send(format!("{line}\r\n{EVIL}NOOP\r\nquit\r\n"));
            let said = client.rest();
            let tail = "200 Nothing done, as asked.\r\n221 Goodbye.\r\n";
            let before = said.strip_suffix(tail).unwrap_or_else(|| panic!("{line}: {said}"));
            assert!(before.lines().count() <= 2, "{line}: {said}");
            if !logged_in_too {
                assert!(before.starts_with("530 ") || before.starts_with("501 "), "{line}: {said}");
            }
        }
    }
    // Lines, up to the dot.
    for line in [
        "write /",
        "append keep",
        "write nowhere/f",
        "put keep",
        "write 'f",
        "append ''",
        "send f",
        "put",
    ] {
        for logged_in_too in [true, false] {
            let mut client = server.connect();
            if logged_in_too {
                client.expect("login alice password", 230);
            }
            client.send(format!("{line}\r\n{EVIL}.\r\nNOOP\r\nquit\r\n"));
            let said = client.rest();
            assert!(
                said.ends_with("200 Nothing done, as asked.\r\n221 Goodbye.\r\n"),
                "{line}: {said}"
            );
            assert!(said.lines().count() <= 4, "{line}: {said}");
        }
    }
    // Where nobody knows how much follows, the session ends.
    let endless = format!("put {} 100", "x".repeat(9000));
    for line in [
        "put f 12y",
        "put f -1",
        "put f 1 MB",
        "put f 99999999999999999999",
        "put f 2000000 x 3000000",
        &endless,
    ] {
        for logged_in_too in [true, false] {
            let mut client = server.connect();
            if logged_in_too {
                client.expect("login alice password", 230);
            }
            client.send(format!("{line}\r\n{EVIL}"));
            client.half_close();
            let said = client.rest();
            assert!(!said.contains("257 ") && !said.contains("230 Account"), "{line}: {said}");
            assert!(said.lines().count() <= 2, "{line}: {said}");
        }
    }
    // Content on its way over a data connection is not looked at either.
    let mut client = logged_in(&server, "alice");
    client.upload(Way::Epsv, "STOR f", EVIL.as_bytes());
    assert_eq!(client.download(Way::Epsv, "RETR f"), EVIL.as_bytes());
    in_step(&mut client);
    assert!(server.real("alice/keep/in").is_dir() && !server.real("alice/pwned").exists());
    assert!(!server.real("alice/keep/pwned").exists());
    assert!(!server.users().contains("mallory"));
}

/// CVE-2010-4221 and CVE-2019-18217: Telnet escapes that one counts wrongly write past a buffer,
/// and one without its end keeps the server busy for ever.
#[test]
fn telnet_bytes_are_removed_at_the_start_of_a_line_and_are_bytes_inside_it() {
    let server = Server::with(PATIENT);
    let mut client = server.registered("alice");
    client.put("f", b"hello\n");
    let escapes: [&[u8]; 12] = [
        b"\xff\xf1",
        b"\xff\xf4",
        b"\xff\xf2",
        b"\xff\xf0",
        b"\xff\xfc\x03",
        b"\xff\xfe\xff",
        b"\xff\xfa\x18\x00xterm\r\nDELE f\r\n\xff\xf0",
        b"\xff\xfa\xff\xff\xff\xf0",
        // A doubled 0xFF is a byte inside it, and what follows is no command that could end it.
        b"\xff\xfa\x18\xff\xff\r\nDELE f\r\n\xff\xf0",
        b"\xff\xfa\x18\xff\xff\xf0\r\nDELE f\r\n\xff\xf0",
        b"\xff\xf1\xff\xf1\xff\xfe\x01",
        b"\xff\xf4\xff\xff\xf2",
    ];
    for (line, answer) in [
        ("SITE CHMOD 640 f", "200 /f has permissions 0640."),
        ("SITE UTIME 20200102030405 f", "200 Modify=20200102030405; /f"),
        ("SIZE f", "213 6"),
        ("info 'f'", "213-/f:"),
    ] {
        for at in 0..line.len() {
            for escape in escapes {
                let mut bytes = line.as_bytes().to_vec();
                bytes.splice(at..at, escape.iter().copied());
                bytes.extend_from_slice(b"\r\n");
                // Inside a line, where nothing is Telnet, one that holds line ends would be several
                // lines.
                if at > 0 && escape.contains(&b'\n') {
                    continue;
                }
                client.send(&bytes);
                let reply = reply_of(&mut client);
                assert!(
                    reply.starts_with(if at == 0 { answer } else { "5" }),
                    "{line}, {escape:x?} at {at}: {reply}"
                );
            }
            client.send("NOOP\r\n");
            assert_eq!(client.reply(), "200 Nothing done, as asked.", "{line} at {at}");
        }
    }
    // Before a line's end they belong to the name, and none of them hides the end.
    for tail in [&b"\xff"[..], b"\xff\xff", b"\xff\xfb", b"\xff\xfd", b"\xff\xf4\xff", b"\xff\xfa"]
    {
        for line in ["SITE CHMOD 640 f", "SITE CPFR f", "XSHA256 f", "DELE f"] {
            expect_bytes(&mut client, &[line.as_bytes(), tail].concat(), 550);
            in_step(&mut client);
        }
    }
    // Many of them, more than the line limit has room for.
    client.send([&b"\xff\xf1".repeat(100_000), &b"SITE CHMOD 640 f\r\n"[..]].concat());
    assert_eq!(reply_of(&mut client), "200 /f has permissions 0640.");
    client.send([b"SITE CPFR ".as_slice(), &b"\xff\xff".repeat(100_000), b"\r\n"].concat());
    assert_eq!(reply_of(&mut client), "500 The line is longer than 8 KiB; nothing of it was done.");
    client.send(
        [b"\xff\xfa".as_slice(), &b"DELE f\r\n".repeat(100_000), b"\xff\xf0NOOP\r\n"].concat(),
    );
    assert_eq!(reply_of(&mut client), "200 Nothing done, as asked.");
    // The connection ends within a sequence: nothing runs, and the session's thread ends.
    let before = server.log().matches(" event=end ").count();
    let cuts = [
        &b"\xff"[..],
        b"\xff\xfb",
        b"\xff\xfa",
        b"\xff\xfa\xff",
        b"\xff\xfa\x18\r\nDELE f\r\n",
        b"DELE f",
        b"DELE f\xff",
        b"DELE f\r",
    ];
    for bytes in cuts {
        let mut cut = logged_in(&server, "alice");
        cut.send(bytes);
        cut.half_close();
        assert_eq!(cut.rest(), "");
    }
    ended(&server, before + cuts.len());
    assert_eq!(client.get("f").unwrap(), b"hello\n");
}

/// Waits until the server has read all that was sent: a Telnet request is answered when its turn to
/// be read comes, also while a transfer waits.
#[track_caller]
fn is_looked_at(client: &mut Client) {
    client.send(b"\xff\xfd\x06");
    assert_eq!(client.read_exact(3), b"\xff\xfc\x06");
}

/// More than the buffers of a connection hold.
const LARGE: usize = 32 << 20;

/// CVE-2023-24042: LightFTP kept one file name a session, and a later command changed it while the
/// transfer waited for its data connection.
#[test]
fn a_later_command_does_not_change_what_a_waiting_transfer_sends() {
    let server = Server::with(PATIENT);
    server.registered("bob").put("f", b"bob's");
    let mut client = server.registered("alice");
    client.put("f", b"alice's");
    client.put("g", b"other");
    client.expect("mkdir d", 257);
    client.put("d/f", b"deep");
    for later in [
        "USER bob",
        "USER /etc/passwd",
        "login bob password",
        "CWD d",
        "CWD /etc",
        "PASV",
        "EPSV",
        "PORT 127,0,0,1,200,1",
        "REIN",
        "TYPE A",
        "REST 3",
        "RNFR g",
        "RETR g",
        "SIZE g",
        "MLST g",
        "LIST /d",
        "DELE f",
        "QUIT",
    ] {
        let mut client = logged_in(&server, "alice");
        client.put("f", b"alice's");
        let port = client.epsv_port();
        client.send(format!("RETR f\r\n{later}\r\n"));
        is_looked_at(&mut client);
        let mut content = Vec::new();
        client.connect_to(port).read_to_end(&mut content).unwrap();
        assert_eq!(lossy(&content), "alice's", "{later}");
        assert_eq!(client.reply(), "150 Sending /f (7 bytes).", "{later}");
        assert_eq!(client.reply(), "226 /f sent, 7 bytes.", "{later}");
        // Only then is its turn.
        let reply = client.reply();
        assert!(reply.as_bytes()[0] > b'1', "{later}: {reply}");
    }
    // All of them at once, while a transfer is in its midst.
    let mut client = logged_in(&server, "alice");
    let large: Vec<u8> = (0..LARGE).map(|n| (n >> 8) as u8).collect();
    fs::write(server.real("alice/large"), &large).unwrap();
    let later =
        "CWD d\r\nTYPE A\r\nEPSV\r\nREST 3\r\nRNFR /g\r\nDELE {}\r\nUSER bob\r\nPASS password\r\n";
    let mut stream = client.begin(Way::Epsv, "RETR large");
    let mut content = vec![0; 65536];
    stream.read_exact(&mut content).unwrap();
    client.send(later.replace("{}", "/large"));
    is_looked_at(&mut client);
    stream.read_to_end(&mut content).unwrap();
    assert!(content == large, "{} bytes", content.len());
    for code in ["226", "250", "200", "229", "350", "350", "250", "331", "230"] {
        assert!(client.reply().starts_with(code));
    }
    let mut client = logged_in(&server, "alice");
    let mut stream = client.begin(Way::Epsv, "STOR large");
    stream.write_all(&large[..65536]).unwrap();
    client.send(later.replace("{}", "/g"));
    is_looked_at(&mut client);
    stream.write_all(&large[65536..]).unwrap();
    drop(stream);
    for code in ["226", "250", "200", "229", "350", "350", "250", "331", "230"] {
        assert!(client.reply().starts_with(code));
    }
    assert!(fs::read(server.real("alice/large")).unwrap() == large);
    assert_eq!(fs::read_dir(server.real("bob")).unwrap().count(), 1);
    // An upload goes where it was to go.
    let mut client = logged_in(&server, "alice");
    let port = client.epsv_port();
    client.send("STOR up\r\nCWD d\r\nPASV\r\n");
    is_looked_at(&mut client);
    client.connect_to(port).write_all(b"up").unwrap();
    for code in ["150 ", "226 ", "250 ", "227 "] {
        assert!(client.reply().starts_with(code));
    }
    assert_eq!(fs::read(server.real("alice/up")).unwrap(), b"up");
    assert!(!server.real("alice/d/up").exists());
    // The name is another file's by the time that the data connection comes, or leads out.
    client.expect("cd /", 250);
    for swap in ["other", "link"] {
        client.put("f", b"alice's");
        let port = client.epsv_port();
        client.send("RETR f\r\n");
        assert_eq!(client.ask("STAT"), "213 0 bytes so far.");
        fs::remove_file(server.real("alice/f")).unwrap();
        match swap {
            "link" => symlink(server.real("bob/f"), server.real("alice/f")).unwrap(),
            _ => fs::write(server.real("alice/f"), "another").unwrap(),
        }
        let mut content = Vec::new();
        client.connect_to(port).read_to_end(&mut content).unwrap();
        assert_eq!(lossy(&content), "alice's", "{swap}");
        assert!(client.reply().starts_with("150 ") && client.reply().starts_with("226 "));
        fs::remove_file(server.real("alice/f")).unwrap();
    }
    // A close before the data connection: its port goes with the session.
    client.put("f", b"alice's");
    for farewell in ["", "QUIT\r\n", "USER bob\r\n", "CWD d\r\nPASV\r\nQUIT\r\n"] {
        let before = server.log().matches(" event=end ").count();
        let mut gone = logged_in(&server, "alice");
        let port = gone.epsv_port();
        gone.send(format!("RETR f\r\n{farewell}"));
        drop(gone);
        ended(&server, before + 1);
        let error = TcpStream::connect((server.address().ip(), port)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{farewell}");
    }
}

/// "Pizza thief" (RFC 2577 §5, J. Gilbert 1999): who connects to a passive port before the client
/// does. From another address it gets nothing, however often it comes. At the client's own address
/// nothing tells the two apart: the first one gets the transfer, but the client learns that it was
/// another's.
#[test]
fn a_thief_gets_a_transfer_at_the_clients_own_address_only_and_the_client_learns_of_it() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.put("f", b"secret");
    let mut thief_of = |way: &str, line: &str| {
        let port = match way {
            "EPSV" => client.epsv_port(),
            _ => {
                let reply = client.expect("PASV", 227);
                let numbers: Vec<u16> =
                    reply.split([',', ')']).filter_map(|n| n.parse().ok()).collect();
                let [.., high, low] = numbers[..] else { panic!("{reply}") };
                high * 256 + low
            }
        };
        let mut thief = client.connect_to(port);
        client.expect(line, 150);
        if line == "RETR f" {
            let mut content = Vec::new();
            thief.read_to_end(&mut content).unwrap();
            assert_eq!(content, b"secret");
        }
        // The port is closed as soon as one has come, so that there are never two.
        let late = TcpStream::connect((client.server_ip(), port)).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::ConnectionRefused);
        drop(thief);
        assert!(client.reply().starts_with("226 "));
    };
    for way in ["PASV", "EPSV"] {
        for line in ["RETR f", "STOR g"] {
            thief_of(way, line);
        }
    }
}

/// CVE-2015-3306 and CVE-2019-12815: SITE CPFR and CPTO of ProFTPD's mod_copy asked nobody whether
/// they were allowed to. What one account named is nothing to the next one.
#[test]
fn what_was_named_for_a_rename_or_a_copy_is_forgotten_with_its_account() {
    let server = Server::with(PATIENT);
    let mut bob = server.registered("bob");
    bob.put("secret", b"bob's");
    server.registered("alice").put("secret", b"alice's");
    for pair in [("RNFR", "RNTO"), ("SITE CPFR", "SITE CPTO")] {
        // Logged out, or not logged in yet.
        let mut client = server.connect();
        for path in ["/etc/passwd", "secret", "/proc/self/cmdline"] {
            client.expect(&format!("{} {path}", pair.0), 530);
            client.expect(&format!("{} loot", pair.1), 530);
            client.expect("USER alice", 331);
            client.expect(&format!("{} {path}", pair.0), 530);
            client.expect(&format!("{} loot", pair.1), 530);
            in_step(&mut client);
        }
        for (n, between) in [
            &["REIN"][..],
            &["USER bob", "PASS password"],
            &["REIN", "USER bob", "PASS password"],
            &["login bob password"],
            &["logout", "login bob password"],
            &["login bob wrong", "login bob password"],
            &["NOOP", "TYPE I", "EPSV", "login bob password"],
            &["register {}"],
            &["SITE REGISTER {}"],
        ]
        .into_iter()
        .enumerate()
        {
            let mut client = logged_in(&server, "alice");
            client.expect(&format!("{} secret", pair.0), 350);
            for line in between {
                let verb = pair.0.split(' ').next_back().unwrap();
                client.ask(&line.replace("{}", &format!("{verb}{n} password")));
            }
            let code = if between == ["REIN"] { 530 } else { 503 };
            client.expect(&format!("{} loot", pair.1), code);
            // Not kept for the way back either.
            client.expect("login alice password", 230);
            client.expect(&format!("{} loot", pair.1), 503);
        }
        // One is not the other's.
        let mut client = logged_in(&server, "alice");
        let other = if pair.0 == "RNFR" { "SITE CPTO loot" } else { "RNTO loot" };
        client.expect(&format!("{} secret", pair.0), 350);
        client.expect(other, 503);
        client.expect(&format!("{} loot", pair.1), 503);
    }
    // Nor does a REST survive, which would cut another's file.
    let mut client = logged_in(&server, "alice");
    client.expect("REST 3", 350);
    client.expect("login bob password", 230);
    assert_eq!(client.download(Way::Epsv, "RETR secret"), b"bob's");
    for (name, content) in [("alice", "alice's"), ("bob", "bob's")] {
        let home = server.real(name);
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1, "{name}");
        assert_eq!(fs::read_to_string(home.join("secret")).unwrap(), content);
    }
}

/// CVE-2010-2632, CVE-2011-0418 and CVE-2001-1501: patterns that cost the server exponentially many
/// steps, or expand to more than fits. A matcher that tries every star anew would need more than
/// 2^80 steps for one of these names, so that this test returns at all is the proof.
#[test]
fn many_stars_over_long_names_are_answered_all_the_same() {
    let server = Server::with(PATIENT);
    let mut client = server.registered("alice");
    client.expect("mkdir d", 257);
    for n in 0..200 {
        fs::write(server.real(&format!("alice/d/{}{n:03}", "a".repeat(250))), "").unwrap();
    }
    for pattern in [
        "a*".repeat(100) + "b",
        "*a".repeat(100) + "b",
        "*".repeat(254) + "b",
        "?*".repeat(120) + "b",
    ] {
        for verb in ["LIST", "NLST", "STAT", "LIST -R", "ls", "dir"] {
            let reply = client.expect(&format!("{verb} d/{pattern}"), 550);
            assert!(reply.ends_with(": nothing matches"), "{reply}");
        }
        for verb in ["MLSD", "MLST", "CWD", "RETR", "DELE", "RMD", "SIZE", "XSHA256", "SITE RMDIR"]
        {
            client.expect(&format!("{verb} d/{pattern}"), 550);
        }
    }
    let all = ["*".repeat(255), "a*".repeat(100), "?".repeat(253), "*?".repeat(120)];
    for pattern in all {
        let names = lossy(&client.download(Way::Epsv, &format!("NLST d/{pattern}")));
        assert_eq!(names.lines().count(), 200, "{pattern}");
    }
    // What csh and glob(3) expand stands for itself here.
    for pattern in
        ["{a,b}".repeat(40), "~".repeat(100), "[a-z]".repeat(40), "*/../".repeat(500) + "*/x*"]
    {
        client.expect(&format!("LIST d/{pattern}"), 550);
    }
    client.expect("LIST */*", 550);
    in_step(&mut client);
}

/// CVE-2019-20176: a stack that a client's deep tree used up, by recursion in a listing. Here a
/// client makes a tree of 3,000 levels by moves, deeper than its paths may be. Every walk must go
/// down there and up again.
#[test]
fn a_tree_of_3000_levels_is_listed_copied_and_removed() {
    let server = Server::with(PATIENT);
    let mut client = server.registered("alice");
    const CHAINS: usize = 15;
    const LEVELS: usize = 200;
    for chain in 0..CHAINS {
        let mut lines = format!("CWD /\r\nMKD c{chain}\r\nCWD c{chain}\r\n");
        lines.push_str(&"MKD d\r\nCWD d\r\n".repeat(LEVELS - 1));
        client.send(lines);
        for n in 0..LEVELS {
            let codes = if n == 0 { &["250", "257", "250"][..] } else { &["257", "250"] };
            for code in codes {
                assert!(client.reply().starts_with(code));
            }
        }
    }
    // Each chain goes under the one before, so that no step but the last walks far.
    let under = |top: &str| format!("{top}{}", "/d".repeat(LEVELS - 1));
    for chain in (1..CHAINS).rev() {
        client.expect(&format!("RNFR /c{chain}"), 350);
        client.expect(&format!("RNTO {}/d", under(&format!("/c{}", chain - 1))), 250);
    }
    // A path has 1,000 levels at most.
    const DEEPEST: usize = 1000;
    let bottom = format!("/c0{}", "/d".repeat(DEEPEST - 1));
    client.expect(&format!("CWD {bottom}"), 250);
    let too_deep = "the path is too deep; it may have 1000 levels";
    for line in ["CWD d", "MKD e", "RETR d/f", "LIST d", "ls d", "rm -r d", "STOU d/f", "RNFR d"] {
        let name = line.rsplit(' ').next().unwrap();
        assert_eq!(client.ask(line), format!("553 {name}: {too_deep}"));
    }
    client.expect("CWD ..", 250);
    client.upload(Way::Epsv, "STOR f", b"deep");
    client.expect("mv f d", 553);
    for line in ["LIST", "LIST -R", "LIST .", "MLSD"] {
        assert_eq!(lossy(&client.download(Way::Epsv, line)).lines().count(), 2, "{line}");
    }
    for line in ["LIST -R /", "LIST -lR /c0", "NLST /*"] {
        assert_eq!(lossy(&client.download(Way::Epsv, line)).lines().count(), 1, "{line}");
    }
    let bottom = bottom.strip_suffix("/d").unwrap();
    assert!(client.expect("STAT", 211).contains(bottom));
    client.expect("free", 211);
    client.expect("cd /", 250);
    client.expect("cp c0 copy", 250);
    let copied = bottom.replacen("/c0", "/copy", 1);
    assert_eq!(client.get(&format!("{copied}/f")).unwrap(), b"deep");
    client.expect("SITE CPFR copy", 350);
    client.expect("SITE CPTO another", 250);
    client.expect("mv c0 moved", 250);
    client.expect("RMD moved", 550);
    client.expect("rm -r moved", 250);
    client.expect("SITE RMDIR another", 250);
    // Somebody may be in it.
    client.expect(&format!("CWD {copied}"), 250);
    client.expect("rm -r /copy", 250);
    client.expect("LIST", 550);
    client.expect("cd /", 250);
    assert_eq!(client.ask("ls"), "212-/:\n212 Empty.");
    assert_eq!(client.ask("free"), "211 0 bytes used; no limit is set.");
    assert_eq!(server.temporaries(), [""; 0]);
}

/// Every spelling that the server's own help tells of.
fn verbs(client: &mut Client) -> Vec<String> {
    let mut verbs = Vec::new();
    for page in ["help", "help ftp"] {
        let help = client.expect(page, 214);
        let usages = help.lines().filter_map(|line| line.strip_prefix(' ')?.split("  ").next());
        for usage in usages.flat_map(|usages| usages.split(", ")) {
            let words: Vec<_> = usage.split_whitespace().collect();
            match words[..] {
                ["SITE", command, ..] if command != "COMMAND" => {
                    verbs.push(format!("SITE {command}"))
                }
                _ => verbs.push(words[0].to_string()),
            }
        }
    }
    let listed = verbs.clone();
    for verb in listed.iter().filter(|verb| !verb.contains(' ')) {
        let about = client.expect(&format!("help {verb}"), 214);
        let aliases = about.lines().find_map(|line| line.strip_prefix(" also spelled: "));
        verbs.extend(aliases.into_iter().flat_map(|line| line.split(", ")).map(str::to_string));
    }
    assert!(verbs.len() > 90, "{} verbs", verbs.len());
    verbs
}

/// CVE-2020-14149: an empty or an overlong argument, which one
/// forgot to look for, ends the server.
#[test]
fn every_verb_answers_an_empty_and_a_64_kib_argument_and_the_server_goes_on() {
    let server = Server::with(PATIENT);
    let mut client = server.registered("alice");
    client.expect("mkdir keep", 257);
    client.put("keep/f", b"f");
    let mut verbs = verbs(&mut client);
    verbs.extend(
        ["AUTH", "HOST", "ACCT", "SMNT", "PBSZ", "XYZZY", "SITE", "SITE XYZZY", ""]
            .map(str::to_string),
    );
    let a64k = "a".repeat(65536);
    let arguments = [
        String::new(),
        " ".to_string(),
        "  \t ".to_string(),
        a64k.clone(),
        "/".repeat(65536),
        format!("{} x", "%n%s".repeat(16384)),
        // More than a name may have, and what a path may have and one more.
        "a".repeat(256),
        "a/".repeat(2047) + "a",
        "a/".repeat(2048),
        // The longest that is looked at.
        "a".repeat(8100),
        "/".repeat(8100),
        "a/".repeat(4050),
        "9".repeat(8100),
        "'".repeat(8101),
        "\"\\".repeat(4050),
        "-".repeat(8100),
        "a ".repeat(4050),
        "*".repeat(8100),
        "|".repeat(8100),
        "é".repeat(4050),
        // The same behind an argument that is right, and words of no bytes.
        format!("x {}", "a".repeat(8000)),
        format!("640 {}", "a".repeat(8000)),
        format!("20200101000000 {}", "a".repeat(8000)),
        "''".to_string(),
        "-r ''".to_string(),
        "x ''".to_string(),
        "'' x".to_string(),
    ];
    for verb in &verbs {
        // The last that is a line, and the first that is too long.
        let limits = [8191, 8192].map(|length| "a".repeat(length - verb.len()));
        for argument in arguments.iter().chain(&limits) {
            for here in [true, false] {
                let mut client = server.connect();
                if here {
                    client.expect("login alice password", 230);
                    client.expect("CWD keep", 250);
                }
                let line =
                    if argument.is_empty() { verb.clone() } else { format!("{verb} {argument}") };
                let shown = &line[..line.floor_char_boundary(40)];
                // The dot ends what the words take that content follows. In one go, for after QUIT
                // it would be late.
                client.send(format!("{line}\r\n.\r\nNOOP\r\n"));
                client.half_close();
                let mut codes = Vec::new();
                let rest = client.rest();
                let mut lines = rest.lines();
                while let Some(first) = lines.next() {
                    let code = &first[..3];
                    assert!(code.bytes().all(|b| b.is_ascii_digit()), "{shown}: {first}");
                    if first.as_bytes()[3] == b'-' {
                        let last = format!("{code} ");
                        assert!(lines.any(|line| line.starts_with(&last)), "{shown}: {rest}");
                    }
                    codes.push(code.to_string());
                }
                assert!(rest.is_empty() || rest.ends_with("\r\n"), "{shown}: {rest}");
                // Nothing, an empty line, is no command and has no answer.
                let is_blank = line.trim_ascii().is_empty();
                assert!(is_blank || !codes.is_empty(), "{shown}: no answer");
                let word = verb.split(' ').next_back().unwrap().to_ascii_lowercase();
                let quits = ["quit", "exit", "bye"].contains(&word.as_str()) && codes == ["221"];
                let closes = ["put", "upload", "send"].contains(&word.as_str())
                    && codes.len() == 1
                    && codes[0].starts_with('5');
                let goes_on = rest.ends_with("\r\n200 Nothing done, as asked.\r\n")
                    || rest == "200 Nothing done, as asked.\r\n";
                assert!(goes_on || quits || closes, "{shown} ({}): {rest}", line.len());
                if line.len() > 8192 && !is_blank {
                    // What needs a login is refused before a login, however wrong the line is.
                    let is_refused = !here && codes[0] == "530";
                    assert!(is_refused || codes[0] == "500", "{shown}: {rest}");
                }
            }
        }
    }
    assert_eq!(fs::read(server.real("alice/keep/f")).unwrap(), b"f");
    assert!(!server.log().contains("event=panic"));
}

/// CWE-532: a password that is typed where another word's place is, which the log then quotes.
#[test]
fn a_password_typed_in_any_place_is_in_no_file_of_the_server() {
    const SECRET: &str = "Xyzzy-Secret2";
    let server = Server::with(PATIENT);
    let mut carol = server.connect();
    carol.expect(&format!("register carol {SECRET}"), 230);
    carol.expect(&format!("login carol {SECRET}"), 230);
    carol.expect("USER carol", 331);
    carol.expect(&format!("PASS {SECRET}"), 230);
    carol.expect(&format!("passwd {SECRET} {SECRET}3"), 200);
    let mut verbs = verbs(&mut carol);
    carol.put("mine", b"mine");
    verbs.extend(["XYZZY", "SITE", "SITE XYZZY", "HOST", "AUTH", "ACCT", ""].map(str::to_string));
    for verb in &verbs {
        for arguments in [
            "S",
            "x S",
            "S x",
            "x S x",
            "-r S",
            "nowhere/S",
            "nowhere/S x",
            "mine nowhere/S",
            "'S",
            "20200101000000 S",
            "777 S",
            "x\r\nS",
        ] {
            // What makes a thing of that name succeeds for an account that may, and is then in the
            // log by right.
            for here in [false, arguments.contains("nowhere")] {
                let mut client = server.connect();
                if here {
                    client.expect(&format!("login carol {SECRET}3"), 230);
                }
                let line = format!("{verb} {arguments}")
                    .replace('S', SECRET)
                    .replace(&format!("{SECRET}ITE"), "SITE");
                client.send(format!("{line}\r\n.\r\n"));
                client.half_close();
                client.rest();
            }
        }
    }
    drop(carol);
    server.settle();
    let files = snapshot(server.dir()).concat();
    assert!(!files.to_lowercase().contains("xyzzy"), "a name");
    for text in [server.log(), server.users()] {
        let line = text.lines().find(|line| line.to_lowercase().contains("xyzzy"));
        assert_eq!(line, None);
    }
}

/// The values of a log line, read as strictly as it may be written: `stamp key=value key="value"`.
fn log_fields(line: &str) -> Vec<(String, String)> {
    let (stamp, mut rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
    assert_eq!((stamp.len(), stamp.ends_with('Z')), (24, true), "{line}");
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let (key, value) = rest.split_once('=').unwrap_or_else(|| panic!("{line}"));
        assert!(key.bytes().all(|byte| byte.is_ascii_lowercase()), "{line}");
        let end = match value.strip_prefix('"') {
            Some(quoted) => {
                let mut escaped = false;
                let end = quoted.find(|c| match (c, escaped) {
                    ('"', false) => true,
                    (c, was) => {
                        escaped = c == '\\' && !was;
                        false
                    }
                });
                end.unwrap_or_else(|| panic!("an open quote: {line}")) + 2
            }
            None => value.find(' ').unwrap_or(value.len()),
        };
        fields.push((key.to_string(), value[..end].to_string()));
        rest = &value[end..];
        assert!(rest.is_empty() || rest.starts_with(' '), "{line}");
        rest = rest.strip_prefix(' ').unwrap_or(rest);
    }
    fields
}

/// CWE-117 and CWE-93: names that hold what separates records make new ones. The users file is
/// lines of fields with `:`, the log is lines of `key=value`.
#[test]
fn no_name_forges_a_line_of_the_users_file_or_of_the_log() {
    let server = Server::with(PATIENT);
    let mut alice = server.registered("alice");
    let users = server.users();
    let names: [&[u8]; 26] = [
        b"mallory:user:-:x",
        b"'mallory:user'",
        b"alice:",
        b":alice",
        b"#alice",
        b"' alice'",
        b"'alice '",
        b"\"alice\tx\"",
        b"alice\\\\",
        b"''",
        b".",
        b"..",
        b".plainftpd-x",
        b"../mallory",
        b"a/b",
        b"-alice",
        b"_alice",
        b"mallory\xe2\x80\xa8x",
        b"mallory\xc2\x85x",
        b"mallory\xe2\x80\xaex",
        b"mallory\xff\xff",
        b"mallory\x00x",
        b"mallory\x0bx",
        b"mallory\x1b[2J",
        b"\xef\xbb\xbfmallory",
        b"a2345678901234567890123456789012x",
    ];
    for verb in [&b"register "[..], b"SITE REGISTER "] {
        for name in names {
            let mut client = server.connect();
            client.send([verb, name, b" password\r\nwhoami\r\n"].concat());
            let reply = reply_of(&mut client);
            assert!(
                reply.starts_with("553 ") || reply.starts_with("501 "),
                "{}: {reply}",
                lossy(name)
            );
            assert!(reply_of(&mut client).starts_with("211 Nobody yet."), "{}", lossy(name));
        }
        // A line's end within the name ends the command.
        for end in ["\n", "\r\n", "\r\0"] {
            let mut client = server.connect();
            client.send(
                [verb, b"mal", end.as_bytes(), b"mallory:user:-:x password\r\nwhoami\r\n"].concat(),
            );
            assert!(reply_of(&mut client).starts_with("501 "));
            // In an FTP verb's argument CR NUL ends no line.
            if !(verb.starts_with(b"SITE") && end == "\r\0") {
                assert!(reply_of(&mut client).starts_with("500 "));
            }
            assert!(reply_of(&mut client).starts_with("211 Nobody yet."));
        }
    }
    assert_eq!(server.users(), users);
    assert_eq!(server.homes().len(), 1);
    // Passwords are hashed, so that nothing of theirs is in a line.
    alice.expect("passwd password 'x:user:-:y $z #'", 200);
    let changed = server.users();
    assert_eq!(
        (changed.lines().count(), changed.matches("alice").count()),
        (users.lines().count(), 1)
    );
    alice.expect("login alice 'x:user:-:y $z #'", 230);
    // Names of files, and all that else is logged.
    let forged = [
        "x\" user=\"root\" code=230",
        "x\\\" event=\"end",
        "x\\",
        "\"",
        "x event=login user=root",
        "x=y",
        "2026-01-01T00:00:00.000Z event=login user=root",
        "x\u{2028}2026-01-01T00:00:00.000Z event=login user=root",
        "\u{202e}toor=resu",
        "\u{feff}x",
        "é \" é",
    ];
    for name in forged {
        alice.expect(&format!("MKD {name}"), 257);
        alice.expect(&format!("RNFR {name}"), 350);
        alice.expect(&format!("RNTO {name} 2"), 250);
        alice.expect(&format!("SITE CPFR {name} 2"), 350);
        alice.expect(&format!("SITE CPTO {name} \""), 250);
        alice.expect(&format!("RMD {name} 2"), 250);
        alice.upload(Way::Epsv, &format!("STOR {name} f"), b"x");
        alice.download(Way::Epsv, &format!("RETR {name} f"));
        alice.expect(&format!("DELE {name} nothing"), 550);
        let mut client = server.connect();
        client.expect(&format!("USER {name}"), 331);
        client.expect(&format!("PASS {name}"), 530);
        for line in ["xyzzy", "CLNT", "HOST", "AUTH", "OPTS", "SITE", "help"] {
            client.ask(&format!("{line} {name}"));
        }
    }
    expect_bytes(&mut alice, b"MKD \xe9\" user=\"root", 257);
    for line in server.log().lines() {
        for (key, value) in log_fields(line) {
            let known = [
                "event", "session", "peer", "user", "word", "path", "to", "bytes", "code", "ms",
                "why", "listen", "text", "account", "received", "sent",
            ];
            assert!(known.contains(&key.as_str()), "{key}: {line}");
            match key.as_str() {
                "user" | "account" => assert_eq!(value, "alice", "{line}"),
                "event" => {
                    assert!(
                        ["start", "connect", "command", "login-failed", "end"]
                            .contains(&value.as_str()),
                        "{line}"
                    )
                }
                _ => {}
            }
            let unfit = |c: char| c.is_control() || "\u{2028}\u{2029}\u{202e}\u{feff}".contains(c);
            assert!(!value.contains(unfit), "{line:?}");
        }
    }
}

/// H. D. Moore, "Terminal Emulator Security Issues" (2003; CVE-2003-0063): a name on the
/// disk, planted by somebody else, drives the terminal of who lists it, or ends a reply early.
#[test]
fn control_characters_in_names_on_the_disk_are_shown_as_question_marks() {
    let server = Server::with(PATIENT);
    let mut client = server.registered("alice");
    let names: [(&[u8], &str); 8] = [
        (b"a\x1b]0;evil\x07", "a?]0;evil?"),
        (b"b\r\n226 done\r\n", "b??226 done??"),
        (b"c\n250 End", "c?250 End"),
        (b"d\x7f\x08\x08", "d???"),
        (b"e\xc2\x9b2J", "e?2J"),
        (b"f\x1b[2J\x1b[1;1H", "f?[2J?[1;1H"),
        (b"g\tx", "g?x"),
        (b"h\x01\x02\x1f", "h???"),
    ];
    let plant = |folder: &str| {
        for (name, _) in names {
            let path = server.real(folder).join(std::ffi::OsStr::from_bytes(name));
            match name[0] {
                b'a' => fs::create_dir(path).unwrap(),
                b'b' => symlink("\x1b[2J/target", path).unwrap(),
                _ => fs::write(path, "x").unwrap(),
            }
        }
    };
    plant("alice");
    client.expect("mkdir d", 257);
    plant("alice/d");
    let shown: BTreeSet<String> = names.iter().map(|(_, shown)| shown.to_string()).collect();
    // Programs ask for files by the names that a data connection brings, so these are whole but for
    // CR and LF.
    let on_a_line: BTreeSet<String> =
        names.iter().map(|(name, _)| lossy(name).replace(['\r', '\n'], "?")).collect();
    let check = |text: &str, line: &str, names: &BTreeSet<String>| {
        assert!(!text.contains("target"), "{line}: a link's target");
        for name in names {
            assert!(text.contains(name), "{line}: {name} in {text}");
        }
    };
    // A program needs the name itself, and one entry a line.
    for line in ["LIST d", "NLST d", "MLSD d", "LIST d/*", "NLST d/*", "LIST -la d"] {
        let listing = lossy(&client.download(Way::Epsv, line));
        check(&listing, line, &on_a_line);
        assert_eq!(listing.split("\r\n").count(), names.len() + 1, "{line}: {listing}");
        assert!(listing.split("\r\n").all(|line| !line.contains(['\r', '\n'])), "{listing:?}");
    }
    let listing = lossy(&client.download(Way::Epsv, "NLST d"));
    let with_folder = on_a_line.iter().map(|name| format!("d/{name}"));
    assert_eq!(listing.lines().map(str::to_string).collect::<BTreeSet<_>>(), with_folder.collect());
    for line in ["ls d", "dir d", "STAT d", "ls d/*"] {
        let listing = reply_of_line(&mut client, line);
        assert!(
            !listing.chars().any(|c| c.is_control() && !"\r\n".contains(c)),
            "{line}: {listing:?}"
        );
        check(&listing, line, &shown);
        assert_eq!(listing.lines().count(), names.len() + 2, "{line}: {listing}");
        assert!(
            listing.lines().skip(1).take(names.len()).all(|line| line.starts_with(' ')),
            "{listing}"
        );
    }
    // A reply about something in a tree, which cannot be named by typing.
    let reply = client.expect("cp d copy", 550);
    assert!(reply.contains("\"b??226 done??\" in it cannot be copied"), "{reply}");
    // By hand such a name must be quoted, and no reply shows it as it is.
    for name in
        [&b"x\x1b[2J"[..], b"x\xc2\x9b2J", b"x\xff\xf1\x1b", b"x\x00", b"x\x0c", b"x\xc2\x85"]
    {
        for verb in ["mkdir", "cd", "rm", "get", "info"] {
            expect_bytes(&mut client, &[verb.as_bytes(), b" ", name].concat(), 501);
            in_step(&mut client);
        }
        let code = if name.contains(&0) { 501 } else { 550 };
        for verb in ["CWD", "RNFR", "RETR", "SITE CPFR", "XSHA256", "MLST", "MLSD", "DELE"] {
            expect_bytes(&mut client, &[verb.as_bytes(), b" ", name].concat(), code);
            in_step(&mut client);
        }
        for verb in [&b"info '"[..], b"cd \"", b"MLST '"] {
            let quote = verb.last().filter(|last| b"'\"".contains(last)).unwrap();
            expect_bytes(&mut client, &[verb, name, &[*quote]].concat(), code);
        }
    }
    // What is no UTF-8 is no control character; what is doubled is a quote, not PWD's end.
    expect_bytes(&mut client, b"MKD q\" \xe9", 257);
    client.send(b"CWD q\" \xe9\r\nPWD\r\n");
    client.reply_bytes();
    assert_eq!(client.reply_bytes(), b"257 \"/q\"\" \xe9\" is the current folder.");
    client.expect("rm -r /d", 250);
    for line in ["SITE RMDIR /d", "ls /d"] {
        client.expect(line, 550);
    }
}

/// CWE-636, "not failing securely": an account whose line is damaged must
/// be locked, not open to all.
#[test]
fn a_damaged_line_of_the_users_file_lets_nobody_in() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::in_folder(dir.path(), PATIENT);
    server.registered("model");
    let users = server.users();
    drop(server);
    let hash = users.lines().last().unwrap().strip_prefix("model:user:-:").unwrap();
    let fields: Vec<_> = hash.split('$').collect();
    let (salt, sum) = (fields[2], fields[3]);
    assert_eq!(fields[1], "1");
    let damaged = [
        ("missing1", "missing1".to_string()),
        ("missing2", "missing2:user".to_string()),
        ("missing3", "missing3:user:-".to_string()),
        ("missing4", format!("missing4:{hash}")),
        ("missing5", format!("missing5:user:{hash}")),
        ("empty1", "empty1:::".to_string()),
        ("empty2", "empty2:user:-:".to_string()),
        ("empty3", format!("empty3::-:{hash}")),
        ("empty4", format!("empty4:user::{hash}")),
        ("empty5", format!("empty5:user:-:pbkdf2-sha256$1${salt}$")),
        ("empty6", format!("empty6:user:-:pbkdf2-sha256$1$${sum}")),
        ("empty7", format!("empty7:user:-:pbkdf2-sha256$${salt}${sum}")),
        ("empty8", "empty8:user:-:pbkdf2-sha256$$$".to_string()),
        ("plain", "plain:user:-:password".to_string()),
        ("star", "star:user:-:*".to_string()),
        ("scheme", format!("scheme:user:-:plain$1${salt}${sum}")),
        ("zero", format!("zero:user:-:pbkdf2-sha256$0${salt}${sum}")),
        ("minus", format!("minus:user:-:pbkdf2-sha256$-1${salt}${sum}")),
        ("huge1", format!("huge1:user:-:pbkdf2-sha256$100000001${salt}${sum}")),
        ("huge2", format!("huge2:user:-:pbkdf2-sha256$4294967297${salt}${sum}")),
        ("huge3", format!("huge3:user:-:pbkdf2-sha256$18446744073709551617${salt}${sum}")),
        ("short1", format!("short1:user:-:pbkdf2-sha256$1${salt}${}", &sum[..62])),
        ("short2", format!("short2:user:-:pbkdf2-sha256$1${}${sum}", &salt[..14])),
        ("long1", format!("long1:user:-:{hash}00")),
        ("long2", format!("long2:user:-:{hash}:")),
        ("long3", format!("long3:user:-:{hash} ")),
        ("role", format!("role:root:-:{hash}")),
        ("upper", format!("upper:USER:-:{hash}")),
        ("off", format!("off:disabled:-:{hash}")),
        ("quota1", format!("quota1:user:-1:{hash}")),
        ("quota2", format!("quota2:user:99999999T:{hash}")),
        ("quota3", format!("quota3:user:1.5G:{hash}")),
        ("quota4", format!("quota4:user:unlimited:{hash}")),
        ("blank1", format!(" blank1:user:-:{hash}")),
        ("blank2", format!("blank2 :user:-:{hash}")),
        ("blank3", format!("blank3:user:- :{hash}")),
        ("twice", format!("twice:user:-:{hash}\nTWICE:user:-:{hash}")),
        ("thrice", format!("thrice:user:-:{hash}\nthrice:user:-:{hash}\nthrice:user:-:{hash}")),
        ("nul1", format!("nul1:user:-:{hash}\0")),
        ("nul2", format!("nul2:user\0:-:{hash}")),
        ("nul3", format!("nul3:user:\0:{hash}")),
        ("cut", format!("cut:user:-:{}\r", &hash[..hash.len() - 1])),
        ("crcr", format!("crcr:user:-:{hash}\r\r")),
    ];
    let not_names = [
        ("nul4", format!("nul4\0:user:-:{hash}")),
        ("nul5", format!("\0nul5:user:-:{hash}")),
        ("latin", format!("latin\u{fffd}:user:-:{hash}")),
        ("comment", format!("#comment:user:-:{hash}")),
        ("..", format!("..:user:-:{hash}")),
        (".plainftpd-x", format!(".plainftpd-x:user:-:{hash}")),
        ("../out", format!("../out:user:-:{hash}")),
        ("''", format!(":user:-:{hash}")),
    ];
    let good = [
        ("crlf", format!("crlf:user:-:{hash}\r")),
        ("case", format!("Case:user:-:{hash}")),
        ("quoted", format!("quoted:user:500M:{hash}")),
        ("last", format!("last:user:-:{hash}")),
    ];
    let lines = [&damaged[..], &not_names, &good].concat();
    let text: Vec<_> = lines.iter().map(|(_, line)| line.as_str()).collect();
    fs::write(dir.path().join("users"), format!("\u{feff}{}", text.join("\n"))).unwrap();
    let server = Server::in_folder(dir.path(), PATIENT);
    let before = server.users();
    for (name, line) in damaged.iter().chain(&not_names) {
        // What stands in place of the hash is no password either.
        let field = line.rsplit(':').next().unwrap_or_default();
        let mut client = server.connect();
        for password in ["password", "''", "'*'", field] {
            let reply = reply_of_line(&mut client, &format!("login {name} {password}"));
            assert!(
                reply.starts_with("530 ") || reply.starts_with("501 "),
                "{line:?} {password:?}: {reply}"
            );
            client.expect("USER x", 331);
        }
        client.expect(&format!("USER {name}"), 331);
        client.expect("PASS password", 530);
        client.expect("PWD", 530);
    }
    for (name, line) in &damaged {
        let reply = server.connect().ask(&format!("register {name} password"));
        assert_eq!(reply, "553 That name is taken.", "{line:?}");
    }
    for (name, _) in &good {
        let mut client = server.connect();
        client.expect(&format!("login {name} password"), 230);
        client.expect("PWD", 257);
    }
    assert_eq!(server.users(), before, "somebody rewrote it");
    // A change of one leaves the damaged ones damaged.
    let mut client = logged_in(&server, "crlf");
    client.expect("passwd password password2", 200);
    for (name, _) in &damaged {
        server.connect().expect(&format!("login {name} password"), 530);
    }
    assert!(!server.dir().join("out").exists());
}

/// CWE-22 by a partial path: a check of a path by its first bytes takes `/home/al2`
/// for a part of `/home/al`.
#[test]
fn an_account_whose_name_begins_anothers_reaches_nothing_of_it_by_any_ftp_verb() {
    let server = Server::with(PATIENT);
    let mut al2 = server.registered("al2");
    al2.put("secret", b"TOP-SECRET");
    al2.expect("mkdir d", 257);
    server.registered("al.x");
    server.registered("al-2").put("secret", b"TOP-SECRET");
    let mut al = server.registered("al");
    al.put("mine", b"mine");
    let others = ["al2", "al.x", "al-2"];
    let before = others.map(|name| snapshot(&server.real(name)));
    for other in others {
        let up = format!("../{other}");
        let host = server.real(other).display().to_string();
        for folder in [
            up.as_str(),
            &format!("/{up}"),
            &format!("../al/{up}"),
            &format!("./{up}"),
            &format!("./{}", &other[2..]),
            &host,
        ] {
            for name in ["secret", "", "d", "new"] {
                let path = format!("{folder}/{name}");
                for line in [
                    "RETR {}",
                    "SIZE {}",
                    "MDTM {}",
                    "MLST {}",
                    "CWD {}",
                    "STAT {}",
                    "LIST {}",
                    "NLST {}",
                    "MLSD {}",
                    "HASH {}",
                    "XSHA256 {}",
                    "DELE {}",
                    "RMD {}",
                    "RNFR {}",
                    "SITE CPFR {}",
                    "SITE RMDIR {}",
                    "SITE CHMOD 777 {}",
                    "SITE UTIME 20200101000000 {}",
                    "MFMT 20200101000000 {}",
                ] {
                    let reply = al.expect(&line.replace("{}", &path), 550);
                    assert!(reply.contains("no such f"), "{line} {path}: {reply}");
                }
                for line in ["MKD {}/x", "STOR {}/x", "APPE {}/x", "STOU {}/x"] {
                    al.expect(&line.replace("{}", &path), 550);
                }
                for pair in [("RNFR mine", "RNTO"), ("SITE CPFR mine", "SITE CPTO")] {
                    al.expect(pair.0, 350);
                    al.expect(&format!("{} {path}/x", pair.1), 550);
                }
            }
        }
    }
    assert_eq!(others.map(|name| snapshot(&server.real(name))), before);
    assert_eq!(al.ask("ls").lines().count(), 3);
}

/// CWE-59, as in CVE-2010-0926: a link in a user's folder that leads out of it. Here the
/// owner of the host planted them; no FTP verb may go through one.
#[test]
fn no_ftp_verb_follows_a_planted_link() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir_all(outside.join("folder")).unwrap();
    fs::write(outside.join("secret"), "TOP-SECRET").unwrap();
    fs::write(outside.join("folder/secret"), "TOP-SECRET").unwrap();
    fs::create_dir(dir.path().join("home")).unwrap();
    let server = Server::in_folder(&dir.path().join("home"), &[]);
    server.registered("bob").put("secret", b"TOP-SECRET");
    let mut client = server.registered("alice");
    let alice = server.real("alice");
    let plant = || {
        for entry in fs::read_dir(&alice).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            }
            .unwrap();
        }
        fs::create_dir(alice.join("folder")).unwrap();
        fs::write(alice.join("mine"), "mine").unwrap();
        for (target, name) in [
            (outside.as_path(), "link"),
            (&outside, "folder/link"),
            (&outside.join("secret"), "file"),
            (&outside.join("new"), "dangling"),
            (Path::new("../bob"), "up"),
            (Path::new("../bob/secret"), "relative"),
            (Path::new("mine"), "inner"),
            (Path::new("loop"), "loop"),
        ] {
            symlink(target, alice.join(name)).unwrap();
        }
    };
    let before = (snapshot(&outside), snapshot(&server.real("bob")));
    let through = [
        "link/secret",
        "link/folder/secret",
        "folder/link/secret",
        "up/secret",
        "link/new",
        "loop/x",
        "inner/x",
    ];
    let links = ["link", "folder/link", "file", "dangling", "up", "relative", "inner", "loop"];
    let verbs: &[&[&str]] = &[
        &["RETR {}"],
        &["STOR {}"],
        &["APPE {}"],
        &["STOU {}"],
        &["REST 2", "STOR {}"],
        &["REST 2", "RETR {}"],
        &["LIST {}"],
        &["LIST {}/*"],
        &["NLST {}"],
        &["NLST {}/*"],
        &["MLSD {}"],
        &["MLST {}"],
        &["STAT {}"],
        &["SIZE {}"],
        &["MDTM {}"],
        &["MDTM 20200101000000 {}"],
        &["MFMT 20200101000000 {}"],
        &["SITE CHMOD 777 {}"],
        &["SITE UTIME 20200101000000 {}"],
        &["SITE UTIME {} 20200101000000 20200101000000 20200101000000 UTC"],
        &["HASH {}"],
        &["XSHA256 {}"],
        &["SITE CPFR {}", "SITE CPTO loot", "RETR loot"],
        &["SITE CPFR mine", "SITE CPTO {}"],
        &["SITE COPY {} loot", "RETR loot"],
        &["RNFR {}", "RNTO folder/loot", "RETR folder/loot"],
        &["RNFR mine", "RNTO {}"],
        &["CWD {}", "LIST", "RETR secret", "CWD /"],
        &["MKD {}"],
        &["RMD {}"],
        &["DELE {}"],
        &["SITE RMDIR {}"],
    ];
    for path in through.iter().chain(&links) {
        for lines in verbs {
            plant();
            for line in *lines {
                let line = line.replace("{}", path);
                let verb = line.split(' ').next().unwrap();
                let is_upload = ["STOR", "APPE", "STOU"].contains(&verb);
                let is_data = is_upload || ["RETR", "LIST", "NLST", "MLSD"].contains(&verb);
                let port = is_data.then(|| client.epsv_port());
                let stream = port.map(|port| client.connect_to(port));
                let mut replies = reply_of_line(&mut client, &line);
                if let Some(mut stream) = stream.filter(|_| replies.starts_with("150 ")) {
                    let mut content = Vec::new();
                    match is_upload {
                        true => stream.write_all(b"PWNED").unwrap(),
                        false => drop(stream.read_to_end(&mut content).unwrap()),
                    }
                    drop(stream);
                    replies = format!("{replies}\n{}\n{}", lossy(&content), reply_of(&mut client));
                }
                assert!(!replies.contains("SECRET"), "{line}: {replies}");
                assert!(!replies.contains("outside"), "{line}: a link's target: {replies}");
                if through.contains(path) && line.contains(path) {
                    assert!(replies.starts_with("55"), "{line}: {replies}");
                }
                if ["RETR", "APPE", "SIZE", "HASH", "XSHA256", "MFMT", "CWD"].contains(&verb)
                    && line.contains(path)
                {
                    assert!(replies.starts_with("550 "), "{line}: {replies}");
                }
                in_step(&mut client);
            }
            // Of the link or of what took its place; never of the target.
            assert_eq!(
                fs::read_link(alice.join("inner"))
                    .map_or(4, |_| fs::read(alice.join("mine")).map_or(4, |mine| mine.len())),
                4,
                "{lines:?} {path}"
            );
        }
        assert!(
            (snapshot(&outside), snapshot(&server.real("bob"))) == before,
            "{path}: something outside changed"
        );
    }
}

/// As in CVE-2004-0148, where a home made unusable opened the host's root: who removes or renames
/// the folder that the session stands on, or its root, may stand elsewhere afterwards.
#[test]
fn ones_own_root_stays_and_ones_own_folder_may_go_without_harm() {
    let server = Server::with(PATIENT);
    let mut client = server.registered("alice");
    client.expect("mkdir d", 257);
    client.put("d/keep", b"keep");
    client.put("f", b"f");
    for spelling in
        ["/", ".", "..", "/.", "/..", "//", "d/..", "d/../../..", "/d/../.", "../alice/.."]
    {
        for line in [
            "RMD {}",
            "XRMD {}",
            "rmdir {}",
            "DELE {}",
            "rm {}",
            "del {}",
            "rm -r {}",
            "rm -rf {}",
            "SITE RMDIR {}",
            "RNFR {}|RNTO x",
            "RNFR d|RNTO {}",
            "RNFR f|RNTO {}",
            "mv {} x",
            "mv -f {} x",
            "ren {} d",
            "cp {} x",
            "cp {} d",
            "cp -f {} d/x",
            "SITE COPY {} x",
            "SITE CPFR {}|SITE CPTO x",
            "SITE CPFR d|SITE CPTO {}",
            "SITE CPFR f|SITE CPTO {}",
            "MKD {}",
            "mkdir {}",
            "STOR {}",
            "APPE {}",
            "RETR {}",
        ] {
            let mut replies = Vec::new();
            for line in line.split('|') {
                replies.push(client.ask(&line.replace("{}", spelling)));
            }
            let last = replies.last().unwrap();
            assert!(last.starts_with("550 "), "{line} with {spelling}: {last}");
        }
        // The root's own bits and time may change; one can always come in again.
        client.expect(&format!("SITE CHMOD 000 {spelling}"), 200);
        client.expect(&format!("MFMT 20200101000000 {spelling}"), 213);
        assert_eq!(client.ask("ls").lines().count(), 4, "{spelling}");
    }
    assert_eq!(client.get("d/keep").unwrap(), b"keep");
    // The current folder, and one above it.
    for removal in [
        "rm -r .",
        "rm -r /a",
        "SITE RMDIR .",
        "SITE RMDIR ..",
        "rm -r ../../a",
        "RNFR .|RNTO /gone",
        "RNFR /a|RNTO /gone",
        "mv . /gone",
        "mv /a /gone",
    ] {
        for line in ["MKD /a", "MKD /a/b", "CWD /a/b"] {
            client.ask(line);
        }
        for line in removal.split('|') {
            let reply = client.ask(line);
            assert!(reply.starts_with("250 ") || reply.starts_with("350 "), "{line}: {reply}");
        }
        assert_eq!(client.ask("PWD"), "257 \"/a/b\" is the current folder.", "{removal}");
        for line in [
            "LIST",
            "NLST",
            "MLSD",
            "MLST",
            "MKD x",
            "STOR x",
            "APPE x",
            "STOU x",
            "RETR keep",
            "RMD .",
            "rm -r .",
            "RNFR .",
            "CWD .",
            "CWD x",
            "SITE CHMOD 777 .",
        ] {
            client.expect(line, 550);
        }
        assert!(
            client.ask("put x 1\r\nx").starts_with("150") && client.reply().starts_with("550 ")
        );
        client.expect("CWD /", 250);
        client.ask("rm -r /a");
        client.ask("rm -r /gone");
        assert_eq!(client.ask("ls").lines().count(), 4, "{removal}");
    }
    // By another session, which then gives the name to a file.
    client.expect("MKD /a", 257);
    client.expect("CWD /a", 250);
    let mut other = logged_in(&server, "alice");
    other.expect("RMD a", 250);
    other.put("a", b"file");
    for line in ["STOR x", "MKD x", "RETR x", "CWD x", "DELE x", "RNFR x"] {
        client.expect(line, 550);
    }
    client.expect("CDUP", 250);
    assert_eq!(client.ask("PWD"), "257 \"/\" is the current folder.");
    assert_eq!(server.homes().len(), 1);
}

/// One of many clients that behave badly; returns how many cycles that were.
fn misbehave(server: &Server, rounds: usize) -> usize {
    let mut cycles = 0;
    for round in 0..rounds {
        let mut client = logged_in(server, "alice");
        for _ in 0..8 {
            client.expect("PASV", 227);
            client.expect("ABOR", 226);
            client.epsv_port();
            client.epsv_port();
            client.expect("RNFR f", 350);
            client.expect("SITE CPFR f", 350);
            cycles += 5;
        }
        // Waiting for a data connection, in a transfer, or neither, when it is aborted or vanishes.
        match round % 4 {
            0 => {
                let stream = client.begin(Way::Pasv, "RETR large");
                client.send("ABOR\r\n");
                assert_eq!(client.reply(), "426 The transfer was stopped.");
                assert_eq!(client.reply(), "226 Stopped.");
                drop(stream);
            }
            1 => {
                client.expect("PASV", 227);
                client.send("RETR large\r\n");
            }
            2 => drop(client.begin(Way::Pasv, "RETR large")),
            _ => drop(client.data(Way::Pasv)),
        }
        drop(client);
        for greeted in [false, true] {
            let mut client = Client::to(server.address());
            if greeted {
                client.reply();
                client.send("USER alice\r\nPA");
            }
        }
        cycles += 3;
    }
    cycles
}

/// CWE-772 and CWE-400: what a client leaves half done is never given
/// back, until the server has none left.
#[test]
fn ten_thousand_half_done_things_leave_no_descriptor_thread_or_memory_behind() {
    const CLIENTS: usize = 24;
    const ROUNDS: usize = 10;
    let server = Server::with_exact_memory(PATIENT);
    let mut client = server.registered("alice");
    client.put("f", b"f");
    fs::File::create(server.real("alice/large")).unwrap().set_len(1 << 30).unwrap();
    drop(client);
    let bout = |rounds| -> usize {
        let cycles = std::thread::scope(|scope| {
            let clients: Vec<_> =
                (0..CLIENTS).map(|_| scope.spawn(|| misbehave(&server, rounds))).collect();
            clients.into_iter().map(|client| client.join().unwrap()).sum()
        });
        server.settle();
        cycles
    };
    let held = || (server.descriptors(), server.threads(), server.pages());
    // Each kind of thing once by each client, after which all is there that is made once.
    bout(4);
    let before = held();
    let cycles = bout(ROUNDS);
    assert!(cycles >= 10_000, "{cycles} cycles");
    let after = held();
    assert_eq!((after.0, after.1), (before.0, before.1), "descriptors and threads");
    // What is lost once for each thing of a kind is one page each at least, and so often each kind
    // was there.
    let rarest = (CLIENTS * ROUNDS / 4) as u64;
    assert!(after.2 < before.2 + rarest, "{} pages, and then {}", before.2, after.2);
    let mut client = logged_in(&server, "alice");
    assert_eq!(client.get("f").unwrap(), b"f");
    assert_eq!(server.temporaries(), [""; 0]);
}
