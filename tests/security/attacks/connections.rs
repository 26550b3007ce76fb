//! Data connections: who may connect where, and what a later command changes.

use super::*;

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
            let listener = listen("127.0.0.1:0");
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

/// More than the buffers of a connection hold.
const LARGE: usize = 32 << 20;

/// CVE-2023-24042: LightFTP kept one file name per session, and a later command changed it while
/// the transfer waited for its data connection.
#[test]
fn a_later_command_does_not_change_what_a_waiting_transfer_sends() {
    let server = Server::with(PATIENT);
    server.registered("bob").put("f", b"bob's");
    let mut client = server.registered("alice");
    client.put("g", b"other");
    client.expect("mkdir d", 257);
    let check = |n: usize, later: &str| {
        let mut client = server.logged_in("alice");
        let name = format!("f{n}");
        client.put(&name, b"alice's");
        client.put(&format!("d/{name}"), b"deep");
        let port = client.epsv_port();
        let later = later.replace("{}", &name);
        client.send(format!("RETR {name}\r\n{later}\r\n"));
        is_looked_at(&mut client);
        let mut content = Vec::new();
        client.connect_to(port).read_to_end(&mut content).unwrap();
        assert_eq!(lossy(&content), "alice's", "{later}");
        assert_eq!(client.reply(), format!("150 Sending /{name} (7 bytes)."), "{later}");
        assert_eq!(client.reply(), format!("226 /{name} sent, 7 bytes."), "{later}");
        // Only then is its turn.
        let reply = client.reply();
        assert!(reply.as_bytes()[0] > b'1', "{later}: {reply}");
    };
    let later = [
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
        "DELE {}",
        "QUIT",
    ];
    // At once, because the server looks at a waiting client some times per second only.
    std::thread::scope(|scope| {
        for (n, later) in later.into_iter().enumerate() {
            scope.spawn(move || check(n, later));
        }
    });
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
    // An upload goes to the file that its own command named.
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
        server.wait_for_ended(before + 1);
        let error = connect((server.address().ip(), port)).unwrap_err();
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
        let late = connect((client.server_ip(), port)).unwrap_err();
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
