//! FTP as programs speak it: data connections, listings, restarts, and all that can go wrong.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use crate::support::{
    Client, Server, Way, connect, copy_program, has_program, is_root, noise, own_address, sha256,
};

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// A client of the listener on `index`: one on IPv4, then ::1.
fn client_at(server: &Server, index: usize, name: &str) -> Client {
    let mut client = Client::to(server.addresses[index]);
    client.reply();
    client.expect(&format!("register {name} password"), 230);
    client
}

fn on_both_families() -> Server {
    Server::with(&["--listen", &format!("{}:0", own_address()), "--listen", "[::1]:0"])
}

#[test]
fn every_transfer_word_works_over_every_way_type_and_family() {
    let server = on_both_families();
    let lines = b"one\ntwo\r\nthree\n";
    let network = b"one\r\ntwo\r\nthree\r\n";
    for (index, ways) in
        [(0, &[Way::Pasv, Way::Epsv, Way::Port, Way::Eprt][..]), (1, &[Way::Epsv, Way::Eprt])]
    {
        for way in ways.iter().copied() {
            for ascii in [false, true] {
                let mut client = client_at(&server, index, &format!("u{index}{way:?}{ascii}"));
                client.expect(if ascii { "TYPE A" } else { "TYPE I" }, 200);
                let kept: &[u8] = if ascii { b"one\ntwo\nthree\n" } else { lines };
                let sent: &[u8] = if ascii { network } else { lines };
                client.upload(way, "STOR f", if ascii { network } else { lines });
                assert_eq!(client.get("f").unwrap(), kept, "{way:?} {ascii}");
                client.put("f", lines);
                assert_eq!(client.download(way, "RETR f"), sent, "{way:?} {ascii}");
                assert_eq!(client.ask("SIZE f"), format!("213 {}", sent.len()));
                client.expect("REST 5", 350);
                assert_eq!(client.download(way, "RETR f"), &sent[5..], "{way:?} {ascii}");
                client.upload(way, "APPE f", b"more\r\n");
                let more: &[u8] = if ascii { b"more\n" } else { b"more\r\n" };
                assert_eq!(client.get("f").unwrap(), [lines, more].concat());
                if !ascii {
                    client.expect("REST 4", 350);
                    client.upload(way, "STOR f", b"TWO");
                    assert_eq!(client.get("f").unwrap(), b"one\nTWO\r\nthree\nmore\r\n");
                }
                let data = client.data(way);
                let first = client.ask("STOU");
                let unique = first.strip_prefix("150 FILE: ").unwrap();
                assert!(unique.starts_with("file."), "{first}");
                data.stream().write_all(b"x").unwrap();
                assert_eq!(client.reply(), format!("226 /{unique} stored, 1 byte."));
                let data = client.data(way);
                let second = client.ask("STOU f");
                data.stream().write_all(b"y").unwrap();
                let name = second.strip_prefix("150 FILE: ").unwrap();
                assert_eq!(client.reply(), format!("226 /{name} stored, 1 byte."));
                assert!(name.starts_with("f."), "{second}");
                assert_eq!(client.get(name).unwrap(), b"y");
                client.expect(&format!("rm {name}"), 250);
                assert!(text(client.download(way, "LIST")).ends_with(&format!(" {unique}\r\n")));
                let mut names: Vec<_> =
                    text(client.download(way, "NLST")).lines().map(str::to_string).collect();
                names.sort();
                assert_eq!(names, ["f", unique]);
                assert_eq!(text(client.download(way, "MLSD")).matches("type=file;").count(), 2);
            }
        }
    }
}

#[test]
fn a_large_file_survives_both_ways_also_as_text() {
    let server = Server::start();
    let mut client = server.registered("alice");
    let content = noise(5_000_000, 1);
    client.upload(Way::Epsv, "STOR f", &content);
    assert_eq!(sha256(&client.download(Way::Epsv, "RETR f")), sha256(&content));
    client.expect("TYPE A", 200);
    let turned = client.download(Way::Epsv, "RETR f");
    let lone = content
        .iter()
        .zip(content.iter().skip(1))
        .filter(|(a, b)| **a != b'\r' && **b == b'\n')
        .count();
    assert_eq!(turned.len(), content.len() + lone + usize::from(content[0] == b'\n'));
    assert_eq!(client.ask("SIZE f"), format!("213 {}", turned.len()));
    client.put("g", &vec![b'\n'; 9_000_000]);
    assert_eq!(
        client.ask("SIZE g"),
        "550 /g: too large to be counted in TYPE A; send TYPE I first."
    );
}

#[test]
fn a_rest_survives_the_set_up_and_nothing_else() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.put("f", b"0123456789");
    client.expect("REST 4", 350);
    for line in ["TYPE I", "NOOP"] {
        client.expect(line, 200);
    }
    for way in [Way::Pasv, Way::Port, Way::Eprt] {
        client.data(way);
    }
    assert_eq!(client.download(Way::Epsv, "RETR f"), b"456789");
    assert_eq!(client.download(Way::Epsv, "RETR f"), b"0123456789");
    client.expect("REST 4", 350);
    client.expect("PWD", 257);
    assert_eq!(client.download(Way::Epsv, "RETR f"), b"0123456789");
    client.expect("REST 10", 350);
    assert_eq!(client.download(Way::Epsv, "RETR f"), b"");
    client.expect("REST x", 501);
    client.expect("REST 99999999999999999999", 501);
}

#[test]
fn listings_swallow_flags_match_patterns_and_may_be_empty() {
    let server = Server::start();
    let mut client = server.registered("alice");
    assert_eq!(client.download(Way::Epsv, "LIST"), b"");
    assert_eq!(client.download(Way::Epsv, "NLST"), b"");
    assert_eq!(client.download(Way::Epsv, "MLSD"), b"");
    client.expect("mkdir sub", 257);
    for name in ["sub/a.x", "sub/b.x", "sub/c.y", "sub/*.z", ".hidden", "with space"] {
        client.put(&format!("'{name}'"), b"x");
    }
    let names = |client: &mut Client, line: &str| {
        let mut names: Vec<_> =
            text(client.download(Way::Epsv, line)).lines().map(str::to_string).collect();
        names.sort();
        names
    };
    for line in ["NLST", "NLST -a", "NLST -la", "nlst -1"] {
        assert_eq!(names(&mut client, line), [".hidden", "sub", "with space"], "{line}");
    }
    assert_eq!(names(&mut client, "NLST -a /"), ["/.hidden", "/sub", "/with space"]);
    assert_eq!(names(&mut client, "NLST sub"), ["sub/*.z", "sub/a.x", "sub/b.x", "sub/c.y"]);
    assert_eq!(names(&mut client, "NLST sub/*.x"), ["sub/a.x", "sub/b.x"]);
    assert_eq!(names(&mut client, "NLST sub/?.y"), ["sub/c.y"]);
    assert_eq!(names(&mut client, "NLST sub/*.z"), ["sub/*.z"]);
    assert_eq!(names(&mut client, "NLST /sub/a.x"), ["/sub/a.x"]);
    assert_eq!(names(&mut client, "NLST with space"), ["with space"]);
    for (line, count) in
        [("list -la", 3), ("LIST -R sub", 4), ("LIST -a -l sub/*.x", 2), ("LIST sub/a.x", 1)]
    {
        assert_eq!(names(&mut client, line).len(), count, "{line}");
    }
    for line in [
        "LIST nothing",
        "NLST nothing",
        "MLSD nothing",
        "MLST nothing",
        "STAT nothing",
        "LIST sub/*.q",
    ] {
        assert!(client.expect(line, 550).len() > 10);
    }
    client.expect("MLSD sub/a.x", 501);
    client.expect("CWD s*", 550);
    assert_eq!(client.expect("STAT sub/*.x", 212).lines().count(), 4);
    assert_eq!(client.expect("STAT sub/a.x", 213).lines().count(), 3);
    let line = text(client.download(Way::Epsv, "LIST sub/a.x"));
    let columns: Vec<_> = line.split_whitespace().collect();
    assert_eq!((columns[0], columns[4], columns[8], columns.len()), ("-rw-r--r--", "1", "a.x", 9));
}

#[test]
fn each_feature_that_is_advertised_works() {
    let server = on_both_families();
    let mut client = client_at(&server, 1, "alice");
    client.put("f", b"hello\n");
    let feat = client.expect("FEAT", 211);
    let lines: Vec<_> = feat.lines().collect();
    assert_eq!((lines[0], lines[lines.len() - 1]), ("211-Features:", "211 End"));
    for feature in &lines[1..lines.len() - 1] {
        let feature = feature.strip_prefix(' ').unwrap();
        assert!(!feature.starts_with(' '));
        match feature {
            "EPRT" => assert_eq!(client.download(Way::Eprt, "RETR f"), b"hello\n"),
            "EPSV" => assert_eq!(client.download(Way::Epsv, "RETR f"), b"hello\n"),
            "HASH SHA-256*" => {
                let sum = sha256(b"hello\n");
                assert_eq!(client.ask("HASH f"), format!("213 SHA-256 0-6 {sum} /f"));
                assert_eq!(client.ask("OPTS HASH"), "200 SHA-256");
                assert_eq!(client.ask("opts hash sha-256"), "200 SHA-256");
                for other in ["MD5", "SHA-512"] {
                    client.expect(&format!("OPTS HASH {other}"), 501);
                }
            }
            "LANG EN*" => assert!(client.ask("LANG en").starts_with("200 ")),
            "MDTM" => assert_eq!(client.expect("MDTM f", 213).len(), 18),
            "MFMT" => {
                assert_eq!(client.ask("MFMT 20011231235959 f"), "213 Modify=20011231235959; /f");
                assert_eq!(client.ask("MDTM f"), "213 20011231235959");
            }
            "MLST type*;size*;modify*;perm*;unique*;UNIX.mode*;" => {
                let reply = client.expect("MLST f", 250);
                let line = reply.lines().nth(1).unwrap();
                assert!(
                    line.starts_with(" type=file;size=6;modify=20011231235959;perm=adfrw;unique="),
                    "{line}"
                );
                assert!(line.ends_with(";UNIX.mode=0644; /f"), "{line}");
                assert_eq!(client.ask("OPTS MLST size;type;"), "200 MLST OPTS type;size;");
                assert_eq!(text(client.download(Way::Epsv, "MLSD")), "type=file;size=6; f\r\n");
            }
            "REST STREAM" => {
                client.expect("REST 2", 350);
                assert_eq!(client.download(Way::Epsv, "RETR f"), b"llo\n");
            }
            "SIZE" => assert_eq!(client.ask("SIZE f"), "213 6"),
            "TVFS" => assert!(client.expect("MLST /./x/../f", 250).contains("; /f\n")),
            "UTF8" => {
                assert!(client.ask("OPTS UTF8 ON").starts_with("200 "));
                client.expect("MKD Привет", 257);
                assert!(text(client.download(Way::Epsv, "NLST")).contains("Привет\r\n"));
            }
            "XSHA256" => assert_eq!(client.ask("XSHA256 f"), format!("250 {}", sha256(b"hello\n"))),
            other => panic!("no test for the feature {other}"),
        }
    }
}

#[test]
fn times_and_permissions_are_set_in_every_form() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.put("'a b'", b"x");
    for (line, time) in [
        ("MFMT 20200102030405 a b", "20200102030405"),
        ("MDTM 20200102030406 a b", "20200102030406"),
        ("MFMT 19600102030405 a b", "19600102030405"),
    ] {
        assert_eq!(client.ask(line), format!("213 Modify={time}; /a b"));
        assert_eq!(client.ask("MDTM a b"), format!("213 {time}"), "{line}");
    }
    // Most file systems cannot store the last year that four digits can name.
    let answer = client.expect("MFMT 99991231235959 a b", 213);
    let stored = client.expect("MDTM a b", 213);
    assert_eq!(answer, format!("213 Modify={}; /a b", stored.trim_start_matches("213 ")));
    client.expect("mkdir d", 257);
    assert_eq!(client.ask("MFMT 20200102030405 d"), "213 Modify=20200102030405; /d");
    std::os::unix::fs::symlink("a b", server.real("alice/link")).unwrap();
    for (path, why) in [("d", "a folder, not a file"), ("link", "not a regular file")] {
        for verb in ["MDTM", "SIZE"] {
            assert_eq!(client.ask(&format!("{verb} {path}")), format!("550 /{path}: {why}."));
        }
    }
    // A time before the path always sets the time, also if a file has both together as its name.
    client.put("'20200102030405 a b'", b"x");
    assert_eq!(client.ask("MDTM 20200102030405 a b"), "213 Modify=20200102030405; /a b");
    for line in [
        "MFMT 2020 a b",
        "MFMT 20201302030405 a b",
        "MFMT 20200102030405",
        "MFMT x",
        "SITE CHMOD 9 a b",
        "SITE CHMOD 640",
    ] {
        client.expect(line, 501);
    }
    client.expect("MFMT 20200102030405 nothing", 550);
    assert_eq!(client.ask("SITE CHMOD 4077 a b"), "200 /a b has permissions 0677.");
    client.expect("SITE CHMOD 640 nothing", 550);
    assert!(client.expect("info 'a b'", 213).contains("permissions: -rw-rwxrwx"));
}

#[test]
fn a_transfer_without_a_connection_is_425_and_names_the_hand_word() {
    let server = Server::with(&["--stall-timeout", "1"]);
    let mut client = server.registered("alice");
    client.put("f", b"x");
    for (line, word) in [
        ("RETR f", "get"),
        ("STOR g", "put"),
        ("APPE f", "append"),
        ("STOU", "put"),
        ("LIST", "ls"),
        ("NLST", "ls"),
        ("MLSD", "ls"),
    ] {
        let reply = client.ask(line);
        assert_eq!(
            reply,
            format!("425 No data connection: send EPSV or PASV first; by hand, use \"{word}\".")
        );
    }
    let port = client.epsv_port();
    let why = format!("no connection came to port {port} within 1 s; a firewall may block it");
    assert_eq!(client.ask("RETR f"), format!("425 No data connection: {why}."));
    assert!(server.log().contains("code=425 ") && server.log().contains(&format!("why=\"{why}\"")));
    // The passive port is closed, and so is the port that the client named.
    assert!(connect((client.server_ip(), port)).is_err());
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    client.expect(&format!("EPRT |1|127.0.0.1|{closed}|"), 200);
    let reply = client.ask("RETR f");
    assert_eq!(
        reply,
        format!(
            "425 No data connection: your port {closed} could not be reached: connection refused."
        )
    );
}

#[test]
fn port_leads_to_the_clients_own_address_and_high_ports_only() {
    let server = on_both_families();
    let mut client = client_at(&server, 0, "alice");
    for line in [
        "PORT 127,0,0,2,100,0",
        "PORT 10,0,0,1,100,0",
        "PORT 0,0,0,0,100,0",
        "PORT 127,0,0,1,0,25",
        "PORT 127,0,0,1,3,255",
        "EPRT |1|127.0.0.2|40000|",
        "EPRT |1|127.0.0.1|80|",
    ] {
        client.expect(line, 504);
    }
    for line in [
        "PORT 127,0,0,256,100,0",
        "PORT 1,2,3",
        "PORT 127,0,0,1,100",
        "PORT",
        "EPRT x",
        "EPRT |1|127.0.0.1|99999|",
    ] {
        client.expect(line, 501);
    }
    for line in [
        "EPRT |2|::1|40000|",
        "EPRT |9|x|40000|",
        "EPRT |2|::ffff:10.0.0.1|40000|",
        "EPSV 2",
        "EPSV 9",
    ] {
        let reply = client.ask(line);
        assert!(
            reply == "522 Network protocol not supported, use (1)" || reply.starts_with("504 "),
            "{line}: {reply}"
        );
    }
    client.expect("EPSV 1", 229);
    client.expect("EPSV x", 501);
    client.expect("EPSV ALL", 200);
    for line in ["PASV", "PORT 127,0,0,1,100,0", "EPRT |1|127.0.0.1|40000|"] {
        client.expect(line, 501);
    }
    client.expect("EPSV", 229);
    let mut client = client_at(&server, 1, "bob");
    client.expect("PASV", 425);
    assert_eq!(client.ask("EPSV 1"), "522 Network protocol not supported, use (2)");
    assert_eq!(client.ask("PORT 127,0,0,1,100,0"), "522 Network protocol not supported, use (2)");
    client.expect("EPSV 2", 229);
}

#[test]
fn a_thief_at_the_passive_port_gets_nothing_and_uses_nothing_up() {
    if !has_program("nc") {
        return;
    }
    let server = Server::start();
    let mut client = server.registered("alice");
    client.put("f", b"secret");
    for line in ["RETR f", "STOR g"] {
        let port = client.epsv_port();
        let mut thief = Command::new("nc")
            .args([
                "-s",
                "127.0.0.2",
                "-w",
                "20",
                &client.server_ip().to_string(),
                &port.to_string(),
            ])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        thief.stdin.as_mut().unwrap().write_all(b"forged").unwrap();
        client.send_line(line);
        // The thief has been dropped when it ends; only then does the client come.
        let stolen = thief.wait_with_output().unwrap().stdout;
        assert_eq!(stolen, b"", "{line}");
        let mut stream = client.connect_to(port);
        assert!(client.reply().starts_with("150 "));
        if line == "RETR f" {
            let mut content = Vec::new();
            stream.read_to_end(&mut content).unwrap();
            assert_eq!(content, b"secret");
        } else {
            stream.write_all(b"mine").unwrap();
        }
        drop(stream);
        assert!(client.reply().starts_with("226 "));
    }
    assert_eq!(client.get("g").unwrap(), b"mine");
}

/// Against a thief at the client's own address there is only a port that it cannot foresee.
#[test]
fn passive_ports_follow_no_order() {
    let server = Server::with(&[]);
    let narrow = Server::with(&["--passive-ports", "49152-65535"]);
    for server in [server, narrow] {
        let mut client = server.registered("alice");
        let ports: Vec<_> = (0..40).map(|_| client.epsv_port()).collect();
        let distinct: std::collections::BTreeSet<_> = ports.iter().collect();
        assert!(distinct.len() > 30 && ports.iter().all(|port| *port >= 49_152), "{ports:?}");
        // By chance, one of 10^12 has fewer steps in one direction than this, or equal ones.
        let up = ports.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((5..=34).contains(&up), "{ports:?}");
        let steps: std::collections::BTreeSet<_> =
            ports.windows(2).map(|pair| pair[0].abs_diff(pair[1])).collect();
        assert!(steps.len() > 25, "{ports:?}");
    }
}

/// A file that no socket's buffers hold.
const LARGE: usize = 64 * 1024 * 1024;

fn large_file(server: &Server, client: &mut Client) {
    fs::File::create(server.real("alice/large")).unwrap().set_len(LARGE as u64).unwrap();
    client.expect("SIZE large", 213);
}

#[test]
fn abor_stops_a_transfer_with_426_then_226_and_is_226_alone_otherwise() {
    let server = Server::start();
    let mut client = server.registered("alice");
    large_file(&server, &mut client);
    assert_eq!(client.ask("ABOR"), "226 Nothing to stop.");
    for abort in [&b"ABOR\r\n"[..], b"\xff\xf4\xff\xf2ABOR\r\n", b"\xff\xf4\xffABOR\r", b"abor\n"] {
        let stream = client.begin(Way::Epsv, "RETR large");
        client.send(abort);
        assert_eq!(client.reply(), "426 The transfer was stopped.");
        assert_eq!(client.reply(), "226 Stopped.");
        drop(stream);
        client.expect("NOOP", 200);
    }
    // While the data connection is waited for, and in an upload.
    client.epsv_port();
    client.send("RETR large\r\n");
    client.send("ABOR\r\n");
    assert_eq!(client.reply(), "426 The transfer was stopped.");
    assert_eq!(client.reply(), "226 Stopped.");
    client.abort_after("STOR new", b"half");
    assert_eq!(client.get("new").unwrap(), b"half");
}

#[test]
fn other_commands_wait_their_turn_and_stat_is_answered_at_once() {
    let server = Server::start();
    let mut client = server.registered("alice");
    large_file(&server, &mut client);
    let mut stream = client.begin(Way::Epsv, "RETR large");
    client.send("PWD\r\nput x 6\r\nABOR\r\nSTAT\r\nQUIT\r\n");
    let mut content = Vec::new();
    stream.read_to_end(&mut content).unwrap();
    assert_eq!(content.len(), LARGE);
    for code in ["226 ", "257 ", "150 ", "226 "] {
        assert!(client.reply().starts_with(code));
    }
    assert_eq!(fs::read(server.real("alice/x")).unwrap(), b"ABOR\r\n");
    assert!(client.reply().starts_with("211-"));
    assert_eq!(client.rest(), "221 Goodbye.\r\n");
    let mut client = server.connect();
    client.expect("login alice password", 230);
    let mut stream = client.begin(Way::Epsv, "RETR large");
    client.send("STAT\r\n");
    let status = client.reply();
    assert!(status.starts_with("213 ") && status.ends_with(" bytes so far."), "{status}");
    stream.read_to_end(&mut content).unwrap();
    assert!(client.reply().starts_with("226 "));
}

#[test]
fn no_word_lets_its_content_be_taken_for_commands_during_a_transfer() {
    let server = Server::start();
    // A spelling that is added to one of these words is found by its help page.
    let mut asking = server.connect();
    asking.send("help put\r\nhelp write\r\nhelp append\r\n");
    asking.half_close();
    let pages = asking.rest();
    let others = pages.lines().filter_map(|line| line.strip_prefix(" also spelled: "));
    let words = others.flat_map(|others| others.split(", ")).chain(["put", "write", "append"]);
    let spellings: Vec<_> = words.map(str::to_string).collect();
    assert_eq!(spellings.len(), 5, "{spellings:?}");
    let begin = |word: String| {
        let mut client = server.registered(&word);
        let stream = client.begin(Way::Epsv, "STOR other");
        let (size, end, stored) = match word.as_str() {
            "write" | "append" => ("", ".\r\n", "ABOR\n"),
            _ => (" 6", "", "ABOR\r\n"),
        };
        client.send(format!("STAT\r\n{word} f{size}\r\nABOR\r\n{end}"));
        (word, client, stream, stored)
    };
    let waiting: Vec<_> = spellings.into_iter().map(begin).collect();
    for (word, mut client, stream, stored) in waiting {
        // The server has read all of it, because it came in one piece.
        assert_eq!(client.reply(), "213 0 bytes so far.", "{word}");
        drop(stream);
        assert_eq!(client.reply(), "226 /other stored, 0 bytes.", "{word}");
        assert!(client.reply().starts_with("150 "), "{word}");
        assert!(client.reply().starts_with("226 /f "), "{word}");
        assert_eq!(fs::read_to_string(server.real(&word).join("f")).unwrap(), stored, "{word}");
    }
}

#[test]
fn a_peer_that_stands_still_is_426_after_the_stall_timeout() {
    let server = Server::with(&["--stall-timeout", "1"]);
    let mut client = server.registered("alice");
    large_file(&server, &mut client);
    let mut uploader = server.logged_in("alice");
    let mut slow = server.logged_in("alice");
    let download = client.begin(Way::Epsv, "RETR large");
    let mut upload = uploader.begin(Way::Epsv, "STOR new");
    upload.write_all(b"half").unwrap();
    // Slow but moving is fine, for longer than the time-out.
    let mut stream = slow.begin(Way::Epsv, "STOR slow");
    for _ in 0..5 {
        stream.write_all(b"x").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(400));
    }
    drop(stream);
    assert!(slow.reply().starts_with("226 "));
    assert_eq!(client.reply(), "426 Nothing moved for 1 s; the transfer was ended.");
    assert_eq!(
        uploader.reply(),
        "426 Nothing moved for 1 s; the transfer was ended. \
         The part that arrived is kept; it can be resumed."
    );
    drop((download, upload));
}

#[test]
fn a_broken_upload_can_be_resumed_and_spares_an_existing_file() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.put("old", b"old");
    let content = noise(1_000_000, 3);
    for (name, kept) in [("new", true), ("old", false)] {
        let stream = client.begin(Way::Epsv, &format!("STOR {name}"));
        (&stream).write_all(&content[..400_000]).unwrap();
        client.send("ABOR\r\n");
        client.reply();
        client.reply();
        let size = client.ask(&format!("SIZE {name}"));
        assert_eq!(size == "213 3", !kept, "{size}");
    }
    assert_eq!(client.get("old").unwrap(), b"old");
    let size: usize = client.expect("SIZE new", 213)[4..].parse().unwrap();
    assert!(size <= 400_000);
    client.expect(&format!("REST {size}"), 350);
    client.upload(Way::Pasv, "STOR new", &content[size..]);
    assert_eq!(sha256(&client.get("new").unwrap()), sha256(&content));
}

#[test]
fn a_failed_retr_leaves_the_data_connection_as_it_was() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.put("f", b"x");
    let port = client.epsv_port();
    let mut stream = client.connect_to(port);
    client.expect("RETR nothing", 550);
    stream.set_nonblocking(true).unwrap();
    assert_eq!(
        stream.read(&mut [0]).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock,
        "it was reset"
    );
    stream.set_nonblocking(false).unwrap();
    client.expect("RETR f", 150);
    let mut content = Vec::new();
    stream.read_to_end(&mut content).unwrap();
    assert_eq!(content, b"x");
}

#[test]
fn a_camera_that_says_all_at_once_is_answered_completely_before_closing() {
    let server = Server::start();
    server.registered("cam");
    for exists in [false, true] {
        // Without waiting for the greeting.
        let mut client = Client::to(server.address());
        client.send("USER cam\r\nPASS password\r\n\r\nmkd //2026\r\nquit\r\n");
        let made = if exists { "550 \"/2026\" exists already." } else { "257 \"/2026\" created." };
        let rest = client.rest();
        let lines: Vec<_> = rest.lines().collect();
        assert_eq!((lines.len(), lines[3], lines[4]), (5, made, "221 Goodbye."));
    }
}

#[test]
fn allo_asks_the_quota_and_a_stor_beyond_it_is_552() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::in_folder(dir.path(), &[]);
    server.registered("alice");
    let users = server.users().replace("alice:user:-:", "alice:user:16K:");
    fs::write(dir.path().join("users"), users).unwrap();
    let mut client = server.connect();
    client.expect("login alice password", 230);
    client.expect("ALLO 16384", 200);
    assert_eq!(client.ask("ALLO 16385"), "552 the quota is used up: 0 of 16384 bytes are taken.");
    client.expect("ALLO 1000", 200);
    client.upload(Way::Epsv, "STOR small", &[1; 1000]);
    // Whether the data connection is reset before all is written is a matter of timing.
    let _ = client.begin(Way::Epsv, "STOR large").write_all(&[1; 1_000_000]);
    assert!(client.reply().starts_with("552 /large: the quota is used up: "));
    assert_eq!(client.ask("free"), "211 4096 of 16384 bytes used; 12288 left.");
    client.upload(Way::Epsv, "STOR exact", &[1; 12_288]);
}

#[test]
fn an_upload_that_is_stopped_gives_back_the_room_that_it_held() {
    let is_used = |client: &mut Client, used: u64| {
        let left = 65_536 - used;
        assert_eq!(client.ask(&format!("ALLO {left}")), "200 No need to allocate; it would fit.");
        let full = format!("552 the quota is used up: {used} of 65536 bytes are taken.");
        assert_eq!(client.ask(&format!("ALLO {}", left + 1)), full);
    };
    for (keeps, used) in [("keep", 8192), ("discard", 0)] {
        let server = Server::with(&["--quota", "64K", "--partial-uploads", keeps]);
        let mut client = server.registered("alice");
        client.abort_after("STOR new", &[1; 5000]);
        is_used(&mut client, used);
        if keeps == "keep" {
            client.upload(Way::Epsv, "STOR old", b"old");
            client.abort_after("STOR old", &[1; 5000]);
            is_used(&mut client, used + 4096);
            // In place it is there as far as it came.
            client.abort_after("APPE old", &[1; 5000]);
            let old = fs::metadata(server.real("alice/old")).unwrap().len();
            is_used(&mut client, used + old.next_multiple_of(4096));
        }
    }
}

#[test]
fn passive_ports_come_from_the_range_and_are_free_at_once() {
    // Two neighbours that are free now.
    let (first, last) = loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            break (port, port + 1);
        }
    };
    // At an address of the server's own, so that no other takes them.
    let server = Server::with(&["--passive-ports", &format!("{first}-{last}")]);
    let mut clients: Vec<_> = (0..3).map(|n| server.registered(&format!("u{n}"))).collect();
    let ports = [clients[0].epsv_port(), clients[1].epsv_port()];
    assert!(ports.contains(&first) && ports.contains(&last));
    clients[2].expect("PASV", 425);
    assert_eq!(clients[0].epsv_port(), ports[0], "a new PASV takes the place of the one before");
    clients[0].expect("ABOR", 226);
    assert_eq!(clients[2].epsv_port(), ports[0]);
    clients[1].expect("REIN", 220);
    assert_eq!(clients[0].epsv_port(), ports[1]);
}

#[test]
fn one_hundred_thousand_files_are_listed_in_flat_memory() {
    let server = Server::start();
    let mut client = server.registered("alice");
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap().to_string();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    for n in 0..100_000 {
        fs::File::create(server.real(&format!("alice/file-{n}"))).unwrap();
    }
    let before = resident();
    for line in ["LIST", "NLST", "MLSD", "LIST *", "NLST f*"] {
        let listing = client.download(Way::Epsv, line);
        assert_eq!(listing.iter().filter(|byte| **byte == b'\n').count(), 100_000, "{line}");
    }
    assert_eq!(client.expect("STAT /", 212).lines().count(), 100_002);
    let grown = resident() - before;
    assert!(grown < 1024, "{grown} KiB more");
    assert_eq!(client.expect("ls", 212).lines().count(), 100_002);
    let grown = resident() - before;
    assert!(grown < 1024, "{grown} KiB more");
}

#[test]
fn a_listing_that_breaks_off_is_ended_by_its_code_all_the_same() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    // Root can read every folder, so the server must run as another user.
    const NOBODY: u32 = 65_534;
    let dir = tempfile::tempdir().unwrap();
    if !is_root() {
        return;
    }
    chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    // In a folder from which the other user may run it.
    let program = dir.path().join("plainftpd");
    copy_program(&program);
    let mut command = Command::new(&program);
    command.uid(NOBODY).gid(NOBODY);
    let server = Server::spawn(command, dir.path(), &[]);
    let mut client = server.registered("alice");
    client.expect("mkdir d", 257);
    client.expect("touch d/f", 250);
    // It can be read, and nothing in it can be looked at.
    fs::set_permissions(server.real("alice/d"), fs::Permissions::from_mode(0o444)).unwrap();
    assert_eq!(client.ask("STAT d"), "212-/d:\n212 The listing broke off: permission denied.");
    client.expect("NOOP", 200);
    client.expect("ls d", 550);
}
