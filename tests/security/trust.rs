//! Roles, quotas, login and places: who may do what, how much, and how often.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Client, Server, Traced, Way, has_program};

/// Changes the line of `name` in the users file, as an editor would.
fn edit(server: &Server, name: &str, fields: &str) {
    server.edit_account(name, fields);
}

fn with_role(server: &Server, name: &str, role: &str) -> Client {
    let mut client = server.registered(name);
    client.put("f", b"content");
    client.expect("mkdir d", 257);
    edit(server, name, &format!("{role}:-"));
    let mut client = server.connect();
    client.expect(&format!("login {name} password"), 230);
    client
}

const REFUSED: &str = "550 This account may not do that.";

#[test]
fn a_readonly_account_looks_and_fetches_and_changes_nothing() {
    let server = Server::start();
    let mut client = with_role(&server, "guest", "readonly");
    assert_eq!(client.get("f").unwrap(), b"content");
    assert_eq!(client.download(Way::Epsv, "RETR f"), b"content");
    client.expect("ls", 212);
    for line in [
        "mkdir x",
        "rm f",
        "rmdir d",
        "rm -r d",
        "mv f g",
        "cp f g",
        "touch f",
        "write f text",
        "append f text",
        "passwd password other",
        "unregister password",
        "RNFR f",
        "DELE f",
        "STOR g",
        "APPE f",
        "STOU",
        "MFMT 20200101000000 f",
        "MDTM 20200101000000 f",
        "SITE CHMOD 777 f",
        "SITE CPFR f",
        "SITE RMDIR d",
    ] {
        assert_eq!(client.ask(line), REFUSED, "{line}");
    }
    // The content of what is refused is consumed all the same.
    client.send("put f 6\r\nrm f\r\nwrite f\r\nrm f\r\n.\r\n");
    assert_eq!(client.reply(), format!("{REFUSED} (Its content is thrown away.)"));
    let lines = " (What you type now is thrown away, up to a line with only \".\".)";
    assert_eq!(client.reply(), format!("{REFUSED}{lines}"));
    assert_eq!(client.get("f").unwrap(), b"content");
}

#[test]
fn a_drop_box_takes_new_files_and_shows_and_changes_none() {
    let server = Server::start();
    let mut client = with_role(&server, "box", "drop");
    for line in [
        "ls",
        "get f",
        "info f",
        "hash f",
        "SIZE f",
        "MDTM f",
        "LIST",
        "NLST",
        "MLSD",
        "MLST f",
        "RETR f",
        "STAT f",
        "rm f",
        "mv f g",
        "cp f g",
        "append f x",
        "touch f",
        "RNFR f",
        "APPE f",
        "DELE f",
    ] {
        assert_eq!(client.ask(line), REFUSED, "{line}");
    }
    assert_eq!(client.put("f", b"other"), "550 /f: exists already.");
    client.data(Way::Epsv);
    client.expect("STOR f", 550);
    client.expect("REST 3", 350);
    client.expect("STOR f", 550);
    client.expect("mkdir e", 257);
    assert!(client.put("e/new", b"new").starts_with("226 "));
    client.upload(Way::Epsv, "STOR newer", b"newer");
    client.upload(Way::Epsv, "STOU", b"unique");
    // Who could not resume what broke off keeps no name taken by it.
    client.abort_after("STOR half", b"half");
    assert!(!server.real("box/half").exists());
    client.upload(Way::Epsv, "STOR half", b"whole");
    for (name, content) in [("f", "content"), ("newer", "newer"), ("half", "whole")] {
        assert_eq!(fs::read_to_string(server.real("box").join(name)).unwrap(), content);
    }
}

#[test]
fn an_administrator_sees_all_folders_and_what_it_changes_counts_for_their_owners() {
    let server = Server::start();
    server.registered("alice");
    let mut bob = server.registered("bob");
    bob.put("mine", b"bob's");
    edit(&server, "alice", "user:40K");
    let mut alice = server.connect();
    alice.expect("login alice password", 230);
    alice.put("a", &[1; 10_000]);
    let mut admin = with_role(&server, "root", "admin");
    let listing = admin.ask("ls");
    assert_eq!(listing.lines().count(), 5, "{listing}");
    for name in ["alice/", "bob/", "root/"] {
        assert!(listing.contains(name));
    }
    assert_eq!(admin.get("/bob/mine").unwrap(), b"bob's");
    // No client sees the server's own files.
    fs::write(server.real(".plainftpd-x"), "x").unwrap();
    for line in ["ls .plainftpd-x", "info .plainftpd-x", "rm .plainftpd-x", "get .plainftpd-x"] {
        assert!(admin.ask(line).starts_with("550 "), "{line}");
    }
    assert!(!admin.ask("ls .*").contains("plainftpd"));
    // Alice has 10,000 bytes, three blocks, of ten.
    assert!(admin.put("/alice/from-admin", &[1; 10_000]).starts_with("226 "));
    assert_eq!(alice.ask("ALLO 16384"), "200 No need to allocate; it would fit.");
    alice.expect("ALLO 16385", 552);
    // Nothing moves between accounts. A copy counts in the account that it goes to.
    let between = "nothing moves from one account to another; copy it, then remove it";
    let whole = "the whole folder of an account is not moved; copy it, then remove it";
    for (from, to, why) in [
        ("/bob/mine", "/alice/mine", between),
        ("/bob/mine", "/mine", between),
        ("/bob", "/alice/old", between),
        ("/bob", "/elsewhere", whole),
    ] {
        assert_eq!(admin.ask(&format!("mv {from} {to}")), format!("550 {from}: {why}."));
        admin.expect(&format!("RNFR {from}"), 350);
        assert_eq!(admin.ask(&format!("RNTO {to}")), format!("550 {from}: {why}."));
    }
    admin.expect("cp /bob/mine /alice/mine", 250);
    alice.expect("ALLO 12289", 552);
    assert_eq!(
        admin.put("/alice/more", &[1; 20_000]),
        "552 /alice/more: the quota is used up: 28672 of 40960 bytes are taken."
    );
    admin.expect("cp /alice/a /bob/a", 250);
    admin.expect("rm /alice/a", 250);
    alice.expect("ALLO 24576", 200);
    admin.expect("rm -r /alice/from-admin", 250);
    assert_eq!(alice.ask("free"), "211 4096 of 40960 bytes used; 36864 left.");
    admin.expect("passwd password other", 550);
    admin.expect("unregister password", 550);
}

#[test]
fn a_disabled_account_cannot_log_in() {
    let server = Server::start();
    server.registered("alice");
    edit(&server, "alice", "disabled:-");
    server.connect().expect("login alice password", 530);
}

#[test]
fn the_quota_flag_is_for_every_account_and_the_users_file_for_one() {
    let server = Server::with(&["--quota", "8K"]);
    let mut client = server.registered("alice");
    assert_eq!(client.ask("free"), "211 0 of 8192 bytes used; 8192 left.");
    assert!(client.put("f", &[1; 8192]).starts_with("226 "));
    // Checked before a byte is read.
    assert_eq!(
        client.put("g", &[1; 1]),
        "552 /g: the quota is used up: 8192 of 8192 bytes are taken."
    );
    client.send_line("put g 2000000");
    assert_eq!(
        client.rest(),
        "552 /g: the quota is used up: 8192 of 8192 bytes are taken. \
         (Closing, because more content may follow.)\r\n"
    );
    for (quota, answer) in [
        ("none", "211 8192 bytes used; no limit is set."),
        ("0", "211 8192 of 0 bytes used; 0 left."),
        ("1M", "211 8192 of 1048576 bytes used; 1040384 left."),
    ] {
        edit(&server, "alice", &format!("user:{quota}"));
        let mut client = server.connect();
        client.expect("login alice password", 230);
        assert_eq!(client.ask("free"), answer);
        let stored = client.put("tiny", b"x");
        assert_eq!(stored.starts_with("226 "), quota != "0", "{stored}");
        client.ask("rm tiny");
    }
}

#[test]
fn parallel_uploads_never_go_over_the_quota_together() {
    let server = Server::with(&["--quota", "1M"]);
    server.registered("alice");
    let stored: Vec<bool> = std::thread::scope(|scope| {
        let uploads: Vec<_> = (0..8)
            .map(|n| {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.connect();
                    client.expect("login alice password", 230);
                    let mut stream = client.begin(Way::Epsv, &format!("STOR f{n}"));
                    let written = stream.write_all(&[1; 300_000]);
                    drop(stream);
                    let reply = client.reply();
                    assert!(
                        reply.starts_with("226 ") || reply.starts_with("552 "),
                        "{reply} {written:?}"
                    );
                    reply.starts_with("226 ")
                })
            })
            .collect();
        uploads.into_iter().map(|upload| upload.join().unwrap()).collect()
    });
    let count = stored.iter().filter(|stored| **stored).count();
    assert!((1..=3).contains(&count), "{count}");
    let mut client = server.connect();
    client.expect("login alice password", 230);
    let used = 303_104 * count;
    assert_eq!(
        client.ask("free"),
        format!("211 {used} of 1048576 bytes used; {} left.", 1_048_576 - used)
    );
    assert_eq!(server.temporaries(), [""; 0]);
    // What is left is left to the byte.
    client.expect(&format!("ALLO {}", 1_048_576 - used), 200);
    client.expect(&format!("ALLO {}", 1_048_576 - used + 1), 552);
}

#[test]
fn of_two_uploads_to_one_name_the_last_to_finish_wins_whole() {
    let server = Server::start();
    let (mut first, mut second) = (server.registered("alice"), server.connect());
    second.expect("login alice password", 230);
    let mut slow = first.begin(Way::Epsv, "STOR f");
    slow.write_all(&[b'a'; 100_000]).unwrap();
    second.upload(Way::Epsv, "STOR f", &[b'b'; 50_000]);
    assert_eq!(second.get("f").unwrap(), [b'b'; 50_000]);
    slow.write_all(&[b'a'; 100_000]).unwrap();
    drop(slow);
    assert!(first.reply().starts_with("226 "));
    assert_eq!(second.get("f").unwrap(), vec![b'a'; 200_000]);
}

#[test]
fn a_broken_upload_is_discarded_if_the_owner_wants_that() {
    let server = Server::with(&["--partial-uploads", "discard"]);
    let mut client = server.registered("alice");
    for line in ["STOR new", "APPE new"] {
        client.abort_after(line, b"half");
        client.expect("SIZE new", 550);
    }
    // Of a file that was there before, it drops what came, but for what went into the file itself.
    client.put("old", b"old");
    client.abort_after("STOR old", b"half");
    assert_eq!(client.get("old").unwrap(), b"old");
    client.abort_after("APPE old", b" and half");
    assert_eq!(client.get("old").unwrap(), b"old and half");
    assert_eq!(server.temporaries(), [""; 0]);
}

/// What a line of `strace` says of the disk: a change of names, or what was synced.
fn on_the_disk(line: &str, dir: &Path) -> Option<String> {
    let call = line.split_whitespace().nth(1)?.split('(').next()?;
    if call != "fsync" {
        return ["rename", "mkdir", "rmdir", "unlink"].contains(&call).then(|| call.to_string());
    }
    let path = Path::new(line.split(['<', '>']).nth(1)?).strip_prefix(dir).ok()?;
    let is_reserved = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".plainftpd-");
    let is_staged = !path.ends_with(".plainftpd-server") && path.iter().any(is_reserved);
    let name = match is_staged {
        true => "staged",
        false => path.file_name().map_or(".", |name| name.to_str().unwrap()),
    };
    Some(format!("sync {name}"))
}

/// Does something, with content where content must follow; returns the last reply.
fn done(client: &mut Client, line: &str) -> String {
    let has_data = ["STOR", "APPE", "STOU"].contains(&line.split(' ').next().unwrap());
    let data = has_data.then(|| client.data(Way::Epsv));
    let first = client.ask(line);
    if let Some(data) = data {
        data.stream().write_all(b"content").unwrap();
    }
    if first.starts_with("150 ") { client.reply() } else { first }
}

/// Checks what a server does to the disk before each reply, in that order. It syncs files if the
/// owner wants that, and it always syncs the users file.
fn is_on_the_disk_before_the_reply(flags: &[&str], steps: &[(&str, u16, &str)]) {
    let temporary = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(temporary.path()).unwrap();
    let calls = "trace=fsync,rename,mkdir,rmdir,unlink,sendto";
    let traced = Traced::start(&dir, &["-y", "-z", "-s", "60", "-e", calls], flags);
    let mut client = traced.server.registered("alice");
    for (line, code, _) in steps {
        let reply = done(&mut client, line);
        assert!(reply.starts_with(&code.to_string()), "{line}: {reply}");
    }
    client.expect("quit", 221);
    client.rest();
    let trace = traced.end();
    let mut lines = trace.lines();
    let before = [
        ("", 220, "sync .plainftpd-server, sync users"),
        ("register", 230, "mkdir, sync workdir, sync users"),
    ];
    for (line, code, wanted) in before.iter().chain(steps) {
        let code = format!("{code} ");
        // Behind the name of the call, because a line begins with the number of a process.
        let sent = |line: &str| line.split_once("sendto(").map(|(_, sent)| sent.contains(&code));
        let is_reply = |line: &&str| sent(line) == Some(true);
        let did = lines.by_ref().take_while(|line| !is_reply(line));
        let did: Vec<_> = did.filter_map(|line| on_the_disk(line, &dir)).collect();
        // What is synced without the flag, too.
        let is_users =
            |step: &&str| step.contains("users") || step.contains("server") || *step == "sync .";
        let wanted = wanted
            .split(", ")
            .filter(|step| !flags.is_empty() || !step.starts_with("sync ") || is_users(step));
        let mut rest = did.iter();
        for step in wanted.filter(|step| !step.is_empty()) {
            assert!(
                rest.any(|did| did == step),
                "{line}: {step} is not where it should be in {did:?}"
            );
        }
        let synced = did
            .iter()
            .map(String::as_str)
            .filter(|step| step.starts_with("sync "))
            .all(|s| is_users(&s));
        assert!(synced || !flags.is_empty(), "{line}: more was synced than is wanted: {did:?}");
    }
}

#[test]
fn with_sync_a_file_and_its_folder_are_on_the_disk_before_226() {
    const NEW_FILE: &str = "sync staged, rename, sync alice";
    if !has_program("strace") {
        return;
    }
    for flags in [&["--sync"][..], &[]] {
        is_on_the_disk_before_the_reply(
            flags,
            &[
                ("put f 4\r\ntext", 226, NEW_FILE),
                ("write f text", 226, NEW_FILE),
                ("append f text", 226, "sync f, sync alice"),
                ("STOR f", 226, NEW_FILE),
                ("APPE f", 226, "sync f, sync alice"),
                ("REST 3", 350, ""),
                ("STOR f", 226, "sync f, sync alice"),
                ("STOU", 226, NEW_FILE),
                ("touch t", 250, NEW_FILE),
                ("mkdir d", 257, "mkdir, sync alice"),
                ("MKD d/e", 257, "mkdir, sync d"),
                ("cp f d/g", 250, "sync staged, rename, sync d"),
                // The file in it, the folder in it, the copy itself.
                ("cp d c", 250, "sync staged, sync staged, sync staged, rename, sync alice"),
                ("mv d/g g", 250, "rename, sync alice, sync d"),
                ("RNFR g", 350, ""),
                ("RNTO d/g", 250, "rename, sync d, sync alice"),
                ("rm t", 250, "unlink, sync alice"),
                ("rm -r d/g", 250, "unlink, sync d"),
                ("rmdir d/e", 250, "rmdir, sync d"),
                ("rm -r c", 250, "rename, sync alice"),
            ],
        );
    }
}

#[test]
fn an_account_is_on_the_disk_before_it_is_acknowledged_with_sync_or_without() {
    if !has_program("strace") {
        return;
    }
    for flags in [&["--sync"][..], &[]] {
        is_on_the_disk_before_the_reply(
            flags,
            &[
                ("passwd password wonderland", 200, "sync .users.plainftpd-new, rename, sync ."),
                (
                    "unregister wonderland",
                    250,
                    "sync .users.plainftpd-new, rename, sync ., rename, sync workdir",
                ),
            ],
        );
    }
}

#[test]
fn failed_log_ins_end_the_session_and_make_the_next_ones_wait() {
    let server = Server::with(&["--max-failures", "3"]);
    server.registered("alice");
    let mut client = server.connect();
    for _ in 0..2 {
        client.expect("login alice wrong", 530);
    }
    let since = Instant::now();
    assert_eq!(
        client.ask("login alice wrong"),
        "421 Wrong name or password; too many failures, closing."
    );
    assert_eq!(client.rest(), "");
    // Three failures from this address: the next try waits 200 ms after the last, for whatever
    // account it is, and each later one twice as long. A success has to wait, too, and gives
    // nothing back.
    let mut client = server.connect();
    client.expect("login alice password", 230);
    assert!(since.elapsed() >= Duration::from_millis(200));
    client.expect("login bob wrong", 530);
    client.expect("login bob wrong", 530);
    assert!(since.elapsed() >= Duration::from_millis(200 + 400));
}

#[test]
fn guesses_from_many_connections_at_once_are_made_one_after_another_and_few_wait() {
    let server = Server::with(&["--max-failures", "2"]);
    let since = Instant::now();
    let clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    let answers: Vec<String> = std::thread::scope(|scope| {
        let guesses = clients
            .into_iter()
            .map(|mut client| scope.spawn(move || client.ask("login alice wrong")));
        guesses.collect::<Vec<_>>().into_iter().map(|guess| guess.join().unwrap()).collect()
    });
    let made = answers.iter().filter(|answer| answer.starts_with("530 ")).count();
    let refused = "421 Too many failed tries lately; try again in a minute.";
    assert_eq!(
        answers.iter().filter(|answer| *answer == refused).count(),
        20 - made,
        "{answers:?}"
    );
    // Two fail for nothing, the third waits 200 ms, the next 400 ms, and so on.
    let least = (2..made).map(|n| 200 << (n - 2)).sum();
    assert!(since.elapsed() >= Duration::from_millis(least), "{made} in {:?}", since.elapsed());
}

#[test]
fn guesses_from_one_address_delay_no_login_from_another_and_no_registration() {
    let flags = ["--max-failures", "1", "--listen", "127.0.0.1:0", "--listen", "[::1]:0"];
    let server = Server::with(&flags);
    server.registered("alice");
    let from = |address: usize, line: &str| {
        let mut client = Client::to(server.addresses[address]);
        client.reply();
        client.send_line(line);
        client
    };
    // Until the number of those that wait at this address is at its limit and one is refused.
    let mut guesses: Vec<_> = (0..16).map(|_| from(1, "login alice wrong")).collect();
    guesses.iter().for_each(|guess| guess.stream().set_nonblocking(true).unwrap());
    loop {
        assert!(!guesses.is_empty(), "none was refused");
        match guesses.iter().position(|guess| guess.stream().peek(&mut [0]).is_ok()) {
            Some(answered) => {
                let mut guess = guesses.remove(answered);
                guess.stream().set_nonblocking(false).unwrap();
                if guess.reply() == "421 Too many failed tries lately; try again in a minute." {
                    break;
                }
            }
            None => std::thread::yield_now(),
        }
    }
    assert!(from(0, "login alice password").reply().starts_with("230 "));
    assert!(from(1, "register bob password").reply().starts_with("230 "));
}

#[test]
fn an_unknown_name_is_answered_like_a_wrong_password() {
    let server = Server::start();
    server.registered("alice");
    for login in [["login alice wrong"].as_slice(), &["USER alice", "PASS wrong"]] {
        let answers = |name: &str| {
            let mut client = server.connect();
            login.iter().map(|line| client.ask(&line.replace("alice", name))).collect::<Vec<_>>()
        };
        assert_eq!(answers("alice"), answers("nobody"));
        assert_eq!(answers("nobody").last().unwrap(), "530 Wrong name or password.");
    }
}

#[test]
fn one_address_has_its_share_of_places() {
    let server = Server::with(&["--max-clients", "4", "--max-per-address", "2"]);
    let _two = [server.connect(), server.connect()];
    assert_eq!(
        Client::to(server.address()).rest(),
        "421 Too many clients from your address; try again later.\r\n"
    );
    // Another address has its own.
    if has_program("nc") {
        let (ip, port) = (server.address().ip().to_string(), server.address().port().to_string());
        let mut nc = Command::new("nc");
        nc.args(["-N", "-s", "127.0.0.2", &ip, &port]).stdin(Stdio::null());
        let said = String::from_utf8(nc.output().unwrap().stdout).unwrap();
        assert!(said.starts_with("220 "), "{said}");
    }
}

/// What the server answers to `lines` of a client that comes from 127.0.0.2.
fn answers_from_elsewhere(server: &Server, lines: &str) -> String {
    let (ip, port) = (server.address().ip().to_string(), server.address().port().to_string());
    let mut nc = Command::new("nc");
    nc.args(["-N", "-s", "127.0.0.2", &ip, &port]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut nc = nc.spawn().unwrap();
    nc.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    String::from_utf8(nc.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn a_stranger_cannot_claim_an_address() {
    if !has_program("nc") {
        return;
    }
    let flags = ["--proxy-from", "127.0.0.1", "--proxy-from", "::1", "--max-failures", "1"];
    let server = Server::with(&flags);
    let claim = "PROXY TCP4 192.0.2.7 203.0.113.9 5000 21\r\n";
    // A client that comes without a balancer, with the line as its first one.
    let lines = format!("{claim}register alice password\r\nSTAT\r\nPORT 192,0,2,7,200,0\r\n");
    let said = answers_from_elsewhere(&server, &lines);
    let codes: Vec<_> = said.lines().filter_map(|line| line.split_once(' ')).collect();
    let codes: Vec<_> =
        codes.into_iter().map(|(code, _)| code).filter(|it| it.len() == 3).collect();
    assert_eq!(codes, ["220", "500", "230", "211", "504"], "{said}");
    assert!(said.contains("\r\n from 127.0.0.2:"), "{said}");
    // The client of a balancer, with a line of its own after the balancer's.
    let mut client = Client::to(server.address());
    client.send("PROXY TCP4 192.0.2.66 203.0.113.9 6000 21\r\n");
    client.send(claim);
    assert!(client.reply().starts_with("220 "));
    assert!(client.reply().starts_with("500 "));
    client.expect("login alice password", 230);
    assert!(client.ask("STAT").contains("\n from 192.0.2.66:6000\n"));
    client.expect("REIN", 220);
    client.expect(claim.trim_end(), 500);
    assert!(!server.log().contains("peer=192.0.2.7:"), "{}", server.log());
    // Without the flag the line is no command at all, wherever it comes from.
    let server = Server::start();
    server.connect().expect(claim.trim_end(), 500);
}

#[test]
fn an_unauthenticated_client_has_its_own_timeout_whatever_it_sends() {
    let server = Server::with(&["--login-timeout", "1"]);
    let (mut silent, mut chatty) = (server.connect(), server.connect());
    // From the first moment on, or it would be silent, too.
    let chat = std::thread::spawn(move || {
        // Only a test that fails gets to the end.
        for said in 0..600 {
            let reply = chatty.ask("NOOP");
            if !reply.starts_with("200 ") {
                return (said, reply);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("it may go on for ever");
    });
    let mut user = server.registered("alice");
    assert_eq!(silent.rest(), "421 No login in time; closing.\r\n");
    let (said, last) = chat.join().unwrap();
    assert_eq!(last, "421 No login in time; closing.");
    assert!(said > 1, "it was silent, too");
    user.expect("ls", 212);
}

#[test]
fn idle_unauthenticated_clients_cannot_lock_out_a_client_with_a_password() {
    // Strangers have a twelfth of this to log in before they may have to give way.
    let server = Server::with(&["--max-clients", "8", "--login-timeout", "12"]);
    server.registered("alice");
    let mut strangers: Vec<_> = (0..8).map(|_| Client::to(server.address())).collect();
    let since = Instant::now();
    let mut alice = loop {
        let mut client = Client::to(server.address());
        if client.reply().starts_with("220 ") {
            break client;
        }
        assert!(since.elapsed() < Duration::from_secs(10), "locked out");
        std::thread::sleep(Duration::from_millis(50));
    };
    alice.expect("login alice password", 230);
    let mut rest = Vec::new();
    // The oldest gave way: its connection ends, although its time is not up.
    let oldest = strangers.iter_mut().any(|stranger| {
        let mut stream = stranger.stream();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        stream.read_to_end(&mut rest).is_ok()
    });
    assert!(oldest);
    // A session that has logged in is never evicted, although all others are younger in the end.
    let mut crowd = Vec::new();
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(2) {
        crowd.push(Client::to(server.address()));
        std::thread::sleep(Duration::from_millis(10));
    }
    alice.expect("NOOP", 200);
}

#[test]
fn the_owner_is_warned_at_start_a_line_each() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("users"), "").unwrap();
    fs::set_permissions(dir.path().join("users"), fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = |flags: &[&str]| {
        let _ = fs::remove_file(dir.path().join("log.txt"));
        let server = Server::in_folder(dir.path(), flags);
        let log = server.log();
        log.lines()
            .filter_map(|line| line.split_once("event=warning text="))
            .map(|(_, text)| text.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        warnings(&["--listen", "0.0.0.0:0"]),
        [
            "\"every client that can reach this server may create an account and fill the disk: \
             set --registration or --quota\"",
            "\"passwords of 4 characters are allowed beyond loopback: set --min-password 8\"",
            "\"other users of this machine may read the users file: chmod 600 it\"",
        ]
    );
    fs::set_permissions(dir.path().join("users"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        warnings(&["--listen", "0.0.0.0:0", "--quota", "1G", "--min-password", "8"]),
        [""; 0]
    );
    for registration in ["closed", "code:sesame"] {
        let flags =
            ["--listen", "0.0.0.0:0", "--registration", registration, "--min-password", "8"];
        assert_eq!(warnings(&flags), [""; 0], "{registration}");
    }
    assert_eq!(warnings(&["--listen", "127.0.0.1:0"]), [""; 0]);
}

#[test]
fn other_users_of_the_machine_read_neither_log_nor_users_file_whatever_the_umask() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_plainftpd")]);
    let server = Server::spawn(command, dir.path(), &[]);
    server.registered("alice");
    let mode =
        |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("log.txt"), mode("users")), (0o640, 0o600));
}

#[test]
fn who_logs_out_has_to_log_in_again_in_time() {
    let server = Server::with(&["--login-timeout", "1"]);
    server.registered("alice");
    let waiting = ["logout", "REIN", "USER alice"].map(|word| {
        let mut client = server.logged_in("alice");
        client.ask(word);
        (client, word)
    });
    for (mut client, word) in waiting {
        let rest = client.rest();
        assert!(rest.starts_with("421 No login in time"), "{word}: {rest}");
    }
}
