//! What one account, password or line of the users file means to another.

use super::*;

/// CVE-2015-3306 and CVE-2019-12815: SITE CPFR and CPTO of ProFTPD's mod_copy checked no
/// permissions. What one account named is forgotten before the next one logs in.
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
    let mut verbs = carol.spellings();
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

/// CWE-636, "not failing securely": an account whose line is damaged must
/// be locked, not open to all.
#[test]
fn a_damaged_line_of_the_users_file_logs_no_client_in() {
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
