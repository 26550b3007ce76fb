//! Deep trees, long arguments, and clients that leave things half done.

use super::*;

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
        assert_eq!(client.ask(line), format!("553 {name}: {too_deep}."));
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
    // A session may be in it.
    client.expect(&format!("CWD {copied}"), 250);
    client.expect("rm -r /copy", 250);
    client.expect("LIST", 550);
    client.expect("cd /", 250);
    assert_eq!(client.ask("ls"), "212-/:\n212 Empty.");
    assert_eq!(client.ask("free"), "211 0 bytes used; no limit is set.");
    assert_eq!(server.temporaries(), [""; 0]);
}

/// CVE-2020-14149: an empty or an overlong argument, which one
/// forgot to look for, ends the server.
const OF_ADMINISTRATORS: [&str; 8] =
    ["users", "useradd", "userdel", "userpass", "who", "kick", "stop", "token"];

#[test]
fn every_verb_answers_an_empty_and_a_64_kib_argument_and_the_server_goes_on() {
    let server = Server::with(PATIENT);
    let mut client = server.registered("alice");
    client.expect("mkdir keep", 257);
    client.put("keep/f", b"f");
    let mut verbs = client.spellings();
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
                    // What needs a login or an administrator is refused, however wrong the line is.
                    let is_for_others = OF_ADMINISTRATORS.contains(&word.as_str());
                    let is_refused = match here {
                        false => codes[0] == "530",
                        true => is_for_others && codes[0] == "550",
                    };
                    assert!(is_refused || codes[0] == "500", "{shown}: {rest}");
                }
            }
        }
    }
    assert_eq!(fs::read(server.real("alice/keep/f")).unwrap(), b"f");
    assert!(!server.log().contains("event=panic"));
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
    // A leak in one kind of thing takes at least one page each time. Each kind was there at least
    // this often.
    let rarest = (CLIENTS * ROUNDS / 4) as u64;
    assert!(after.2 < before.2 + rarest, "{} pages, and then {}", before.2, after.2);
    let mut client = logged_in(&server, "alice");
    assert_eq!(client.get("f").unwrap(), b"f");
    assert_eq!(server.temporaries(), [""; 0]);
}
