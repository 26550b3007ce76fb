//! Limits, and what happens at them.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Client, Server, Way, connect, until};

#[test]
fn a_client_over_the_limit_hears_421_and_a_freed_slot_goes_to_the_next_one() {
    let server = Server::with(&["--max-clients", "2"]);
    let (mut one, two) = (server.connect(), server.connect());
    assert_eq!(Client::to(server.address()).rest(), "421 Too many clients; try again later.\r\n");
    one.expect("quit", 221);
    one.rest();
    drop(two);
    // The places are free once the sessions have ended, which the clients cannot see.
    until("a place is free", || Client::to(server.address()).reply().starts_with("220"));
}

#[test]
fn a_silent_client_and_one_that_sends_single_bytes_hear_421() {
    let server = Server::with(&["--idle-timeout", "1"]);
    let mut silent = server.connect();
    let mut dripping = server.connect();
    let mut stream = dripping.stream().try_clone().unwrap();
    // A byte now and then is no sign of life: only a line is.
    let drip = std::thread::spawn(move || {
        while std::io::Write::write_all(&mut stream, b"x").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
    assert_eq!(silent.rest(), "421 Silent for too long; closing.\r\n");
    assert_eq!(
        dripping.reply(),
        "421 Silent for too long; closing. Your last line has no end; \
         send a newline after each command."
    );
    drip.join().unwrap();
    assert!(server.log().contains("event=end"));
}

#[test]
fn a_line_over_8_kib_is_answered_once_and_never_executed() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.expect("mkdir keep", 257);
    for verb in ["mkdir", "write f", "xyzzy", "USER"] {
        client.send_line(&format!("{verb} {}\trm -r keep", "x".repeat(9000)));
        assert_eq!(client.reply(), "500 The line is longer than 8 KiB; it was not run.");
    }
    client.send(vec![b'x'; 1_000_000]);
    client.send("\nrm -r nothing\n");
    assert_eq!(client.reply(), "500 The line is longer than 8 KiB; it was not run.");
    assert_eq!(client.reply(), "550 /nothing: no such file or folder.");
    client.expect("cd keep", 250);
}

#[test]
fn before_a_login_ten_bad_lines_in_a_row_end_the_session_and_a_good_one_starts_the_count_again() {
    let server = Server::start();
    let mut client = server.connect();
    for round in 0..2 {
        for _ in 0..9 {
            client.expect("xyzzy", 500);
        }
        if round == 0 {
            client.expect("noop", 200);
        }
    }
    client.send_line("ls");
    assert_eq!(client.rest(), "421 Too many lines that are not commands; closing.\r\n");
}

#[test]
fn mistakes_end_no_session_that_is_logged_in() {
    let server = Server::start();
    let mut client = server.registered("alice");
    for _ in 0..30 {
        client.expect("xyzzy", 500);
        client.expect("mkdir", 501);
        client.expect("cp a", 501);
        client.expect("append log GET / HTTP/1.1", 150);
        assert!(client.reply().starts_with("226 "));
        client.expect("POST /x HTTP/1.1", 500);
    }
    // What was counted before counts no more.
    client.expect("logout", 220);
    for _ in 0..9 {
        client.expect("xyzzy", 500);
    }
    client.expect("login alice password", 230);
    client.expect("xyzzy", 500);
    client.expect("pwd", 257);
}

#[test]
fn before_a_login_a_command_that_needs_one_is_530_whatever_its_arguments_are() {
    let server = Server::start();
    for line in [
        "RETR",
        "RETR x",
        "STAT -x",
        "PASV x",
        "TYPE Q",
        "MODE S",
        "MODE B",
        "STRU x",
        "EPSV 9 9",
        "PORT 1,2",
        "mkdir",
        "mkdir a b",
        "rm -x",
        "mv a",
        "get",
        "write",
        "write 'f",
        "put",
        "put a b 0",
        "SITE CHMOD 9 f",
        "SITE COPY a",
        "MFMT x",
        "ABOR x",
        "cd a b",
        "ls a b",
        "DELE x\rDELE y",
    ] {
        let mut client = server.connect();
        let fate = match line {
            "write" | "write 'f" | "put" => {
                " (What you type now is thrown away, up to a line with only \".\".)"
            }
            "put a b 0" => " (Its content is thrown away.)",
            _ => "",
        };
        assert_eq!(
            client.ask(line),
            format!("530 Log in first: login NAME PASSWORD{fate}"),
            "{line}"
        );
        client.send(".\r\n");
    }
    for (line, code) in [
        ("FEAT", 211),
        ("FEAT x", 501),
        ("HELP", 214),
        ("help a b", 504),
        ("SYST", 215),
        ("SYST x", 501),
        ("OPTS UTF8 ON", 200),
        ("OPTS", 501),
        ("NOOP", 200),
        ("CLNT x", 200),
        ("AUTH TLS", 502),
        ("HOST x", 502),
        ("USER", 501),
        ("login a", 501),
        ("xyzzy", 500),
        ("SITE XYZZY", 500),
        ("SITE HELP", 214),
        ("quit x", 501),
    ] {
        server.connect().expect(line, code);
    }
}

#[test]
fn a_client_that_forgets_the_newline_hears_so_in_the_end() {
    let server = Server::with(&["--login-timeout", "1", "--idle-timeout", "2"]);
    let said = "Your last line has no end; send a newline after each command.\r\n";
    let late = format!("421 No login in time; closing. {said}");
    let silent = format!("421 Silent for too long; closing. {said}");
    // What is no line is none without an end.
    let nothing = "530 Log in first: login NAME PASSWORD\r\n421 No login in time; closing.\r\n";
    let mut user = server.registered("alice");
    user.send("ls");
    let waiting = [
        (&b"register bob password"[..], &*late),
        (b"ls\r", &late),
        (b"ls\xff", &late),
        (b"\xff\xfc\x06ABOR\r", nothing),
    ]
    .map(|(line, last)| {
        let mut client = server.connect();
        client.send(line);
        (client, line, last)
    });
    for (mut client, line, last) in waiting {
        assert_eq!(client.rest(), last, "{}", line.escape_ascii());
    }
    assert_eq!(user.rest(), silent);
}

#[test]
fn a_browser_that_posts_commands_is_shown_the_door() {
    let server = Server::start();
    for request in ["GET / HTTP/1.1", "POST /x HTTP/1.0"] {
        let mut client = server.connect();
        client
            .send(format!("{request}\r\nHost: x\r\n\r\nregister mallory password\r\nmkdir x\r\n"));
        assert_eq!(client.rest(), "421 This is not a web server.\r\n");
    }
    assert!(!server.users().contains("mallory"));
}

#[test]
fn a_long_request_line_does_not_hide_the_browser() {
    let server = Server::start();
    let mut client = server.connect();
    let path = "a".repeat(9000);
    client.send(format!("POST /{path} HTTP/1.1\r\nHost: x\r\n\r\nregister mallory password\r\n"));
    assert_eq!(client.rest(), "421 This is not a web server.\r\n");
    assert!(!server.users().contains("mallory"));
}

#[test]
fn a_client_too_many_that_has_sent_something_still_reads_why() {
    let server = Server::with(&["--max-clients", "1"]);
    let _first = server.connect();
    for _ in 0..20 {
        let mut client = Client::to(server.address());
        client.send("USER alice\r\n");
        assert_eq!(client.reply(), "421 Too many clients; try again later.");
    }
}

#[test]
fn silence_within_content_is_answered_with_421_too() {
    let server = Server::with(&["--idle-timeout", "1"]);
    let waiting = [
        ("put f 100", "150 Send 100 bytes.\r\n"),
        (
            "write f",
            "150 What you type now becomes the text of /f. Then type a line with only \".\"; \
             or press Ctrl-C, and nothing is stored.\r\n",
        ),
    ]
    .map(|(line, invitation)| {
        let mut client = server.registered(&format!("u{}", line.len()));
        client.send_line(line);
        (client, invitation)
    });
    for (mut client, invitation) in waiting {
        assert_eq!(
            client.rest(),
            format!("{invitation}421 Silent for too long; closing. Nothing was stored.\r\n")
        );
    }
}

#[test]
fn a_name_of_300_bytes_is_refused_by_name() {
    let server = Server::start();
    let mut client = server.registered("alice");
    let name = "x".repeat(300);
    for word in ["mkdir", "MKD", "touch"] {
        assert_eq!(
            client.ask(&format!("{word} {name}")),
            format!("553 /{name}: the name is too long or not allowed.")
        );
    }
    assert_eq!(
        client.put(&name, b"x"),
        format!("553 /{name}: the name is too long or not allowed.")
    );
}

#[test]
fn sessions_of_one_account_share_the_descriptor_of_its_folder() {
    let server = Server::start();
    let first = server.registered("alice");
    let before = server.descriptors();
    let more: Vec<_> = (0..5).map(|_| server.logged_in("alice")).collect();
    assert_eq!(server.descriptors(), before + more.len());
    drop(first);
}

#[test]
fn running_out_of_descriptors_ends_neither_the_server_nor_its_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_plainftpd")]);
    let server = Server::spawn(command, dir.path(), &[]);
    let mut first = server.registered("alice");
    let before = server.descriptors();
    // More than there are descriptors for; the ones beyond are turned away or wait in the queue.
    let crowd: Vec<_> = (0..60).map(|_| connect(server.address()).unwrap()).collect();
    until("accept fails", || server.log().contains("cannot accept a client"));
    // A session that is there is answered, and its next commands, too; at the latest when the last
    // free descriptor has gone to one of the crowd, some answer says that there is none.
    until("some answer says so", || {
        let mut is_short = false;
        for line in [
            "EPSV", "PASV", "RETR f", "get f", "mkdir d", "touch t", "ls", "cp t u", "hash t",
            "free", "rm -r d",
        ] {
            let reply = first.ask(line);
            assert!("245".contains(&reply[..1]), "{line}: {reply}");
            is_short |= reply.starts_with("451 ") || reply.starts_with("425 No port");
            first.expect("NOOP", 200);
        }
        is_short
    });
    drop(crowd);
    // The queue drains, and everything works again.
    let mut late = server.connect();
    until("a login succeeds", || {
        late = server.connect();
        late.ask("login alice password").starts_with("230 ")
    });
    // The crowd came before it, but their sessions may still be ending. Beside the two sessions,
    // the port of an EPSV may be open.
    until("the crowd's sessions end", || server.descriptors() <= before + 3);
    // Nothing is left of having run out.
    first.expect("mkdir e", 257);
    assert!(first.put("f", b"text").starts_with("226 "));
    assert_eq!(first.download(Way::Epsv, "RETR f"), b"text");
    assert!(late.put("g", b"text").starts_with("226 "));
    // It waited between its tries: hundreds of thousands of lines would be a spin.
    assert!(server.log().lines().filter(|line| line.contains("cannot accept")).count() < 1000);
}

#[test]
fn names_with_control_characters_are_shown_with_question_marks_and_forge_no_log_line() {
    let server = Server::start();
    let mut client = server.registered("alice");
    let name = "evil\r\n226 done\x1b[2J\" user=root";
    std::fs::write(server.real("alice").join(name), "x").unwrap();
    symlink("/x", server.real("alice/link")).unwrap();
    let listing = client.ask("ls evil*");
    assert!(listing.contains("  evil??226 done?[2J\" user=root\n"), "{listing}");
    client.expect("mkdir 'x\" user=\"root'", 257);
    let log = server.log();
    let line = log.lines().find(|line| line.contains("word=mkdir")).unwrap();
    assert!(line.contains(r#" path="/x\" user=\"root" code=257 "#), "{line}");
}

#[test]
fn names_that_are_not_utf_8_are_listed_fetched_and_removed() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.send(b"write caf\xe9 latin\n");
    client.reply();
    assert_eq!(client.reply_bytes(), b"226 /caf\xe9 stored, 6 bytes.");
    client.send(b"ls\nget caf\xe9\n");
    assert!(client.reply_bytes().windows(5).any(|bytes| bytes == b" caf\xe9"));
    assert_eq!(client.reply(), "150 6 bytes follow.");
    assert_eq!(client.read_exact(8), b"latin\n\r\n");
    client.reply_bytes();
    client.send(b"rm caf\xe9\n");
    assert_eq!(client.reply_bytes(), b"250 /caf\xe9 removed.");
}

#[test]
fn a_client_that_vanishes_at_any_point_leaves_no_trace_but_its_log_lines() {
    let server = Server::start();
    server.registered("alice");
    for script in [
        "",
        "login alice",
        "login alice password\nput f 1000\nhalf",
        "login alice password\nwrite f\nx\n",
    ] {
        let mut client = server.connect();
        client.send(script);
        drop(client);
    }
    // Half-closed ones are answered before they end, so this one comes last.
    let mut client = server.connect();
    client.expect("login alice password", 230);
    server.wait_for_ended(5);
    assert_eq!(client.ask("ls"), "212-/:\n212 Empty.");
    assert_eq!(server.temporaries(), [""; 0]);
}

#[test]
fn the_disk_full_is_452_and_nothing_half_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(dir.path())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        assert!(std::env::var_os("CI").is_none(), "CI must be able to mount a tmpfs");
        eprintln!("SKIPPED: a tmpfs cannot be mounted here");
        return;
    }
    let server = Server::in_folder(dir.path(), &[]);
    let mut client = server.registered("alice");
    assert!(client.put("small", b"small").starts_with("226 "));
    assert_eq!(client.put("large", &vec![1; 1_000_000]), "226 /large stored, 1000000 bytes.");
    assert_eq!(client.put("more", &vec![1; 500_000]), "452 /more: the disk is full.");
    assert_eq!(client.put("small", &vec![1; 500_000]), "452 /small: the disk is full.");
    client.expect("cp large copy", 452);
    assert_eq!(client.get("small").unwrap(), b"small");
    assert_eq!(client.ask("ls").lines().count(), 4);
    assert_eq!(server.temporaries(), [""; 0]);
    client.expect("rm large", 250);
    assert!(client.put("more", &vec![1; 500_000]).starts_with("226 "));
    let mut log = String::new();
    std::fs::File::open(dir.path().join("log.txt")).unwrap().read_to_string(&mut log).unwrap();
    assert!(
        log.lines().all(|line| line.starts_with("20") && line.contains(" event=")),
        "a torn line"
    );
    drop(server);
    assert!(Command::new("umount").arg("-l").arg(dir.path()).status().unwrap().success());
}

/// A stranger that keeps sending `drop`, or reading drops, until the server ends it; how long it
/// took.
fn stays(server: &Server, first: &[u8], drop: &[u8]) -> Duration {
    let mut client = server.connect();
    let mut stream = client.stream().try_clone().unwrap();
    client.send(first);
    let since = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while stream.write_all(drop).is_ok() && since.elapsed() < Duration::from_secs(30) {
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        client.rest();
        since.elapsed()
    })
}

#[test]
fn an_unauthenticated_client_is_timed_out_in_the_middle_of_its_content() {
    let server = Server::with(&["--login-timeout", "2"]);
    let check = |first: &str, drop: &str| {
        let stayed = stays(&server, first.as_bytes(), drop.as_bytes());
        assert!(stayed < Duration::from_secs(20), "{first} {stayed:?}");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| check("put x 1000000\r\n", "x"));
        scope.spawn(|| check("write x\r\n", "a line\r\n"));
        scope.spawn(|| check("", "x"));
    });
}

#[test]
fn an_unauthenticated_client_that_reads_slowly_is_timed_out() {
    let server = Server::with(&["--login-timeout", "2"]);
    let client = server.connect();
    // More help than all buffers between hold, and a reader that takes a little now and then.
    let mut stream = client.stream().try_clone().unwrap();
    let writer =
        std::thread::spawn(move || while stream.write_all(&b"help\r\n".repeat(1000)).is_ok() {});
    let mut stream = client.stream();
    let since = Instant::now();
    while !server.log().contains("event=end session=1 ") {
        assert!(since.elapsed() < Duration::from_secs(20), "it is still there");
        let _ = stream.read(&mut [0; 2000]);
        std::thread::sleep(Duration::from_millis(50));
    }
    stream.shutdown(Shutdown::Both).unwrap();
    writer.join().unwrap();
}

/// A file that is large and takes no room on the disk.
fn sparse(path: std::path::PathBuf) {
    let file = std::fs::File::create(path).unwrap();
    file.set_len(1 << 42).unwrap();
}

#[test]
fn hashing_and_copying_end_with_an_abor_and_when_the_client_is_gone() {
    let server = Server::with(&["--stall-timeout", "1"]);
    server.registered("alice");
    sparse(server.real("alice/large"));
    std::fs::create_dir(server.real("alice/d")).unwrap();
    sparse(server.real("alice/d/large"));
    let check = |line: &str| {
        let mut client = server.logged_in("alice");
        client.send_line(line);
        client.send("ABOR\r\n");
        assert_eq!(client.reply(), "426 The transfer was stopped.", "{line}");
        assert_eq!(client.reply(), "226 Stopped.", "{line}");
        client.send_line(line);
        client.half_close();
        assert_eq!(client.rest(), "426 Client disconnected; operation cancelled.\r\n", "{line}");
    };
    std::thread::scope(|scope| {
        for line in ["hash large", "XSHA256 large", "cp large copy", "cp d e"] {
            scope.spawn(move || check(line));
        }
    });
    assert_eq!(server.temporaries(), [""; 0]);
    assert_eq!(std::fs::read_dir(server.real("alice")).unwrap().count(), 2);
}

#[test]
fn active_connections_can_be_switched_off() {
    let server = Server::with(&["--active", "off"]);
    let mut client = server.registered("alice");
    for line in ["PORT 127,0,0,1,200,0", "EPRT |1|127.0.0.1|51200|"] {
        assert_eq!(
            client.ask(line),
            "502 The owner of this server has switched active connections off; send EPSV or PASV."
        );
    }
    assert!(!client.ask("FEAT").contains("EPRT"));
}

#[test]
fn refusals_that_a_peer_repeats_do_not_fill_the_log() {
    let server = Server::with(&["--max-clients", "1"]);
    let mut only = server.registered("alice");
    for _ in 0..50 {
        assert!(Client::to(server.address()).rest().starts_with("421 "));
    }
    only.expect("quit", 221);
    assert_eq!(server.log().matches("event=refused").count(), 1);
}
