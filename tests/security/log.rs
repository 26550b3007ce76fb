//! What the log says, and that no client makes it say too much.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::support::{Client, Server, Way, has_program, output, transcript, until};

/// The log's lines about one session.
fn lines_of(server: &Server, session: u64) -> Vec<String> {
    let key = format!(" session={session} ");
    server.log().lines().filter(|line| line.contains(&key)).map(str::to_string).collect()
}

/// Sends `script` `times` times, reads all answers, and waits until the session has ended.
fn pour(client: &mut Client, script: &str, times: usize) {
    let mut stream = client.stream().try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            use std::io::Write;
            let _ = stream.write_all(script.repeat(times).as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
        });
        client.rest();
    });
}

#[test]
fn an_unauthenticated_client_fills_no_log_whatever_it_sends() {
    let server = Server::with(&["--max-failures", "1000"]);
    server.registered("alice").expect("quit", 221);
    // NOOP keeps bad lines from being ten in a row.
    let scripts = [
        "AUTH TLS\r\n",
        "logout\r\n",
        "REIN\r\n",
        "PASS x\r\nNOOP\r\n",
        "TYPE E\r\nNOOP\r\n",
        "MODE B\r\nNOOP\r\n",
        "ls\r\nNOOP\r\n",
        "xyzzy\r\nNOOP\r\n",
        "put f 3\r\nabcNOOP\r\n",
        "register .x password\r\n",
        "register alice password\r\n",
        "help a b c d\r\nNOOP\r\n",
        "USER alice\r\nREST x\r\nNOOP\r\n",
    ];
    for (n, script) in scripts.iter().enumerate() {
        let mut client = server.connect();
        pour(&mut client, script, 3000);
        let lines = lines_of(&server, n as u64 + 2);
        let (first, last) = (lines.first().unwrap(), lines.last().unwrap());
        assert!(
            first.contains("event=connect") && last.contains("event=end"),
            "{script}: {first} {last}"
        );
        assert_eq!(lines.len(), 22, "{script}");
        assert!(last.ends_with(" unlogged=2980"), "{script}: {last}");
    }
}

#[test]
fn logging_out_and_in_again_fills_no_budget_up() {
    let server = Server::start();
    let mut client = server.registered("alice");
    pour(
        &mut client,
        "logout\r\nlogout\r\nAUTH TLS\r\nlogin alice password\r\nget nothing\r\n",
        1500,
    );
    let log = server.log();
    // Changes of who it is are always written, and what an account does not get up to a limit.
    assert_eq!(log.matches("word=logout account=alice ").count(), 1500);
    assert_eq!(log.matches("word=login ").count(), 1500);
    assert_eq!(log.matches("word=get ").count(), 1000);
    let strangers = log.matches("word=AUTH ").count() + log.matches("word=logout code=220").count();
    assert_eq!(strangers, 20);
    let end = log.lines().last().unwrap();
    assert!(end.contains("event=end") && end.ends_with(" unlogged=3480"), "{end}");
}

#[test]
fn refusals_to_an_account_are_bounded_and_its_changes_are_not() {
    let server = Server::start();
    let mut client = server.registered("alice");
    let script = "get nothing\r\nxyzzy\r\nTYPE E\r\nmkdir d\r\nrmdir d\r\n";
    pour(&mut client, script, 1000);
    let log = server.log();
    assert_eq!(log.matches("word=mkdir path=/d code=257").count(), 1000);
    assert_eq!(
        log.lines().filter(|line| !line.contains("code=2")).count(),
        1000 + "start connect end".split(' ').count()
    );
    assert!(log.lines().last().unwrap().ends_with(" unlogged=2000"));
}

/// Every refusal that a transcript brings about has a reason in the log.
#[test]
fn every_refusal_says_why() {
    let mut checked = 0;
    for entry in
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")).unwrap()
    {
        let path = entry.unwrap().path();
        let server = Server::start();
        let mut client = Client::to(server.address());
        crate::support::play(&mut client, &transcript(&fs::read_to_string(&path).unwrap()), "\r\n");
        client.half_close();
        client.rest();
        let log = server.log();
        let refused = log
            .lines()
            .filter(|line| [" code=4", " code=5"].iter().any(|code| line.contains(code)));
        for line in refused {
            assert!(line.contains(" why="), "{line}");
            checked += 1;
        }
    }
    assert!(checked > 80, "{checked}");
}

#[test]
fn a_reason_holds_nothing_that_was_typed() {
    let server = Server::start();
    let mut client = server.registered("alice");
    fs::write(server.real("alice/file"), "x").unwrap();
    let words = "Xyzzy-Secret|cd Xyzzy-Secret|get Xyzzy-Secret|rm Xyzzy-Secret|rm -r Xyzzy-Secret|\
        rmdir Xyzzy-Secret|mv Xyzzy-Secret a|mv file Xyzzy-Secret/b|cp Xyzzy-Secret a|\
        cp file Xyzzy-Secret/b|mkdir Xyzzy-Secret/b|info Xyzzy-Secret|hash Xyzzy-Secret|\
        ls Xyzzy-Secret|ls Xyzzy-Secret*|touch Xyzzy-Secret/b|TYPE Xyzzy-Secret|\
        MODE Xyzzy-Secret|STRU Xyzzy-Secret|EPSV Xyzzy-Secret|PORT Xyzzy-Secret|\
        EPRT Xyzzy-Secret|OPTS Xyzzy-Secret|OPTS HASH Xyzzy-Secret|LANG Xyzzy-Secret|\
        HOST Xyzzy-Secret|ACCT Xyzzy-Secret|AUTH Xyzzy-Secret|SITE Xyzzy-Secret|\
        SITE CHMOD Xyzzy-Secret file|SITE CHMOD 600 Xyzzy-Secret|MFMT Xyzzy-Secret file|\
        REST Xyzzy-Secret|ALLO Xyzzy-Secret|help Xyzzy-Secret|RNFR Xyzzy-Secret|\
        RNTO Xyzzy-Secret|RETR Xyzzy-Secret|MLSD Xyzzy-Secret|MLST Xyzzy-Secret|\
        SIZE Xyzzy-Secret|MDTM Xyzzy-Secret|DELE Xyzzy-Secret|CWD Xyzzy-Secret|\
        STOR Xyzzy-Secret/b|APPE Xyzzy-Secret/b|passwd Xyzzy-Secret|passwd Xyzzy-Secret abcd|\
        unregister Xyzzy-Secret|register Xyzzy-Secret abc|\
        register alice Xyzzy-Secret Xyzzy-Secret|login Xyzzy-Secret alice|\
        login alice Xyzzy-Secret|Xyzzy-Secret|cd Xyzzy-Secret|PASS Xyzzy-Secret|get Xyzzy-Secret";
    let mut refused = 0;
    for line in words.split('|').map(str::trim) {
        let reply = client.ask(line);
        refused += usize::from(reply.starts_with(['4', '5']));
    }
    let log = server.log();
    assert!(!log.contains("Xyzzy"), "{log}");
    assert!(refused > 50 && log.matches(" why=").count() == refused, "{refused} {log}");
}

/// The event of its own that a failed login is, whatever failed.
fn failed_logins(server: &Server) -> Vec<String> {
    let log = server.log();
    log.lines()
        .filter_map(|line| line.split_once(" event=login-failed "))
        .map(|(_, rest)| {
            let (rest, _) = rest.split_once(" ms=").unwrap();
            let (session, rest) = rest.split_once(" peer=127.0.0.1:").unwrap();
            assert!(session.starts_with("session="));
            rest.split_once(' ').unwrap().1.to_string()
        })
        .collect()
}

#[test]
fn a_failed_login_is_an_event_of_its_own_on_every_path() {
    let server = Server::with(&["--registration", "code:sesame", "--max-failures", "3"]);
    for name in ["alice", "bob"] {
        server.connect().expect(&format!("register {name} password sesame"), 230);
    }
    let users = server.users().replace("bob:user", "bob:disabled");
    fs::write(server.dir().join("users"), users).unwrap();
    let mut client = server.connect();
    client.expect("login alice wrong", 530);
    client.expect("login nobody wrong", 530);
    client.expect("USER bob", 331);
    client.expect("PASS password", 421);
    let mut client = server.connect();
    client.expect("login alice password", 230);
    client.expect("passwd wrong another", 530);
    client.expect("unregister wrong", 530);
    let mut client = server.connect();
    client.expect("register carol password wrong", 530);
    client.expect("register carol password", 530);
    client.expect("PASS password", 503);
    let why = "why=\"wrong name or password\" code=530";
    let code = "why=\"Registering needs the right code: register NAME PASSWORD CODE \
                (quote a password that has spaces).\" code=530";
    assert_eq!(
        failed_logins(&server),
        [
            format!("user=alice word=login {why}"),
            format!("word=login {why}"),
            "user=bob word=PASS why=\"Wrong name or password; \
             too many failures, closing.\" code=421"
                .to_string(),
            "user=alice word=passwd why=\"Wrong password.\" code=530".to_string(),
            "user=alice word=unregister why=\"Wrong password.\" code=530".to_string(),
            format!("word=register {code}"),
        ]
    );
}

#[test]
fn the_filter_for_fail2ban_finds_every_failed_login_and_nothing_else() {
    if !has_program("fail2ban-regex") {
        return;
    }
    let server = Server::with(&[
        "--listen",
        "[::]:0",
        "--max-failures",
        "3",
        "--registration",
        "code:SECRET",
    ]);
    let port = server.address().port();
    let address = |host: &str| -> SocketAddr { format!("{host}:{port}").parse().unwrap() };
    let mut client = Client::to(address("127.0.0.1"));
    client.reply();
    client.expect("register alice password SECRET", 230);
    client.expect("mkdir 'event=login-failed session=1 peer=192.0.2.1:1 '", 257);
    client.expect("get nothing", 550);
    client.expect("touch 'x\" event=login-failed session=1 peer=192.0.2.2:1 '", 250);
    client.expect("passwd wrong another", 530);
    client.expect("unregister wrong", 530);
    let mut stranger = Client::to(address("127.0.0.1"));
    stranger.reply();
    stranger.expect("register bob password WRONG", 530);
    // From now on, the address has to wait for each try.
    let attack = "'event=login-failed session=1 peer=192.0.2.3:1 '";
    stranger.expect(&format!("login {attack} x"), 530);
    for host in ["127.0.0.1", "[::1]"] {
        let mut client = Client::to(address(host));
        client.reply();
        client.expect("login alice wrong", 530);
        client.expect("login nobody wrong", 530);
        client.expect("login alice wrong", 421);
    }
    // Of five more tries at once one is refused and not made, which is a failed login, too.
    let guess = || {
        let mut client = Client::to(address("127.0.0.1"));
        client.reply();
        client.send("login alice wrong\r\n");
        client
    };
    let guesses = [(); 5].map(|()| guess());
    until("one is refused", || server.log().contains("Too many failed tries"));
    let text = server.log();
    drop(guesses);
    let dir = tempfile::tempdir().unwrap();
    let filter =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/fail2ban/filter.d/plainftpd.conf");
    let log = dir.path().join("log.txt");
    // From a link-local address, which the log has with its scope, there is no client here.
    let local = text.replace("peer=[::1]:", "peer=[fe80::1%2]:");
    let is_local = |line: &&str| line.contains("login-failed session=") && line.contains("fe80");
    let local = local.lines().rfind(is_local).unwrap();
    // In the journal, the host and the program stand before the lines; a path cannot.
    let in_journal = local.replace("fe80::1%2", "2001:db8::7");
    let (stamp, event) = in_journal.split_once(' ').unwrap();
    let forged = event.replace("2001:db8::7", "2001:db8::8");
    let forged = format!("event=command path=\"x plainftpd[1]: {forged}\"");
    let more = format!(
        "{local}\nhost plainftpd[1]: {in_journal}\n{stamp} {forged}\n\
         host plainftpd[1]: {stamp} {forged}\n"
    );
    fs::write(&log, text + &more).unwrap();
    let mut command = Command::new("fail2ban-regex");
    let found = output(command.arg("--out=ip").args([&log, &filter]));
    let found = String::from_utf8(found.stdout).unwrap();
    let expected =
        [vec!["127.0.0.1"; 7], vec!["::1"; 3], vec!["127.0.0.1", "fe80::1", "2001:db8::7"]]
            .concat();
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn an_ipv4_client_of_an_ipv6_socket_has_its_plain_address_in_the_log_and_in_replies() {
    let server = Server::with(&["--listen", "[::]:0"]);
    let mut client = Client::to(format!("127.0.0.1:{}", server.address().port()).parse().unwrap());
    client.reply();
    client.expect("register alice password", 230);
    let own = client.stream().local_addr().unwrap();
    assert!(client.ask("STAT").contains(&format!(" from {own}\n")));
    for way in [Way::Pasv, Way::Epsv, Way::Port, Way::Eprt] {
        client.upload(way, "STOR f", b"text");
    }
    let log = server.log();
    let of_it: Vec<_> = log.lines().filter(|line| line.contains(" session=1 ")).collect();
    assert!(
        of_it.len() == 6 && of_it.iter().all(|line| line.contains(&format!(" peer={own}"))),
        "{log}"
    );
    assert!(!log.contains("ffff"), "{log}");
}

#[test]
fn no_command_makes_a_long_line_however_deep_and_odd_its_paths_are() {
    let server = Server::start();
    let mut client = server.registered("alice");
    // Each byte of these names takes four in the log.
    let name = |byte: u8| vec![byte; 250];
    for byte in 0xc0..=0xef {
        client.send([b"MKD ", &name(byte)[..], b"\r\nCWD ", &name(byte), b"\r\n"].concat());
        assert!(
            client.reply_bytes().starts_with(b"257 ") && client.reply_bytes().starts_with(b"250 ")
        );
    }
    client.send(
        "MKD x\r\nRNFR x\r\nRNTO y\r\nRMD y\r\nDELE z\r\n\
         write f x\r\ncp f g\r\nget f\r\nrm f\r\nQUIT\r\n",
    );
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut client.stream(), &mut rest).unwrap();
    let log = server.log();
    assert!(
        log.lines().all(|line| line.len() < 2500),
        "{}",
        log.lines().map(str::len).max().unwrap()
    );
    // Both ends of a path are there, and its length.
    let length = 48 * 251 + 2;
    let line = log.lines().find(|line| line.contains("word=RMD")).unwrap();
    assert!(line.contains(" path=\"/\\xc0\\xc0") && line.contains("\\xef\\xef/y\" "), "{line}");
    assert!(line.contains(&format!(" path_length={length} ")), "{line}");
}

/// The names of the files that `event=command word=touch` lines have, in their order.
fn touched(log: &str) -> Vec<String> {
    let path = |line: &str| {
        let (_, rest) = line.split_once(" word=touch path=/")?;
        Some(rest.split(' ').next().unwrap().to_string())
    };
    log.lines().filter_map(path).collect()
}

#[test]
fn a_log_is_rotated_by_size_and_no_line_is_lost_torn_or_there_twice() {
    let server = Server::with(&["--log-size", "2K", "--log-keep", "1000"]);
    let clients = ["a", "b", "c", "d"];
    std::thread::scope(|scope| {
        for client in clients {
            let mut session = server.registered(client);
            scope.spawn(move || {
                names_of(client).for_each(|name| {
                    session.expect(&format!("touch {name}"), 250);
                })
            });
        }
    });
    let files: Vec<_> = (1..)
        .map(|n| server.dir().join(format!("log.txt.{n}")))
        .map_while(|path| fs::read_to_string(path).ok())
        .collect();
    assert!(
        files.len() > 10 && files.iter().all(|file| file.len() <= 2048 && file.ends_with('\n'))
    );
    let whole: String = files.into_iter().rev().chain([server.log()]).collect();
    let logged = touched(&whole);
    assert_eq!(logged.len(), 400);
    for client in clients {
        let own: Vec<_> = logged.iter().filter(|name| name.starts_with(client)).cloned().collect();
        assert_eq!(own, names_of(client).collect::<Vec<_>>());
    }
}

#[test]
fn as_many_old_logs_stay_as_the_owner_wants() {
    let server = Server::with(&["--log-size", "1K", "--log-keep", "2"]);
    let mut client = server.registered("alice");
    for n in 0..50 {
        client.expect(&format!("touch {n}"), 250);
    }
    let is_there = |name: &str| server.dir().join(name).exists();
    assert_eq!(
        ["log.txt", "log.txt.1", "log.txt.2", "log.txt.3"].map(is_there),
        [true, true, true, false]
    );
}

fn names_of(client: &str) -> impl Iterator<Item = String> {
    (0..100).map(move |n| format!("{client}{n}"))
}

#[test]
fn a_log_that_was_moved_away_is_begun_again_and_no_line_is_lost() {
    let server = Server::start();
    let mut client = server.registered("alice");
    let moved = server.dir().join("old");
    fs::rename(server.dir().join("log.txt"), &moved).unwrap();
    let mut count = 0;
    until("the log is begun again", || {
        client.expect(&format!("touch {count}"), 250);
        count += 1;
        server.dir().join("log.txt").exists()
    });
    let whole = fs::read_to_string(&moved).unwrap() + &server.log();
    assert_eq!(touched(&whole), (0..count).map(|n| n.to_string()).collect::<Vec<_>>());
    // logrotate's copytruncate: the next line is the first one.
    fs::write(server.dir().join("log.txt"), "").unwrap();
    client.expect("touch last", 250);
    assert_eq!(touched(&server.log()), ["last"]);
    assert!(server.log().starts_with("20"), "no bytes are left out: {}", server.log());
}

#[test]
fn a_log_on_standard_output_begins_after_the_address_and_holds_no_session_up() {
    // A warning while the server starts is a line before it listens.
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("users"), "locked\n").unwrap();
    let mut server = Server::in_folder(dir.path(), &["--log", "-"]);
    let files = format!("files are in {} (users, workdir/)\n", server.dir().display());
    assert_eq!(server.next_line_of_output(), files);
    for begin in ["Z event=warning text=\"users file, line 1: ", "Z event=start listen="] {
        let line = server.next_line_of_output();
        assert!(line.contains(begin), "{line}");
    }
    assert!(!server.dir().join("log.txt").exists());
    // More lines than the pipe and the queue take, while nothing reads them.
    const COUNT: usize = 12_000;
    let mut client = server.registered("alice");
    pour(&mut client, "touch f\r\n", COUNT);
    let mut client = server.logged_in("alice");
    let (mut read, mut written, mut lost, mut sent) = (0, 0, 0, COUNT);
    // The next line for which there is room says how many were lost before it.
    while written + lost < sent {
        if read % 500 == 0 {
            client.expect("touch g", 250);
            sent += 1;
        }
        read += 1;
        let line = server.next_line_of_output();
        match line.split_once(" event=lost lines=") {
            Some((_, number)) => lost += number.trim_end().parse::<usize>().unwrap(),
            None => written += usize::from(line.contains(" word=touch ")),
        }
    }
    assert!(lost > 0 && written > 4000, "{written} written, {lost} lost");
}
