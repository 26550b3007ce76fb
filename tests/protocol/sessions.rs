//! Who is connected, and how the owner of the server ends a session or the server.

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    self, Client, Delayed, Server, Way, connect, finished, has_program, noise, until,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_plainftpd");
const KICKED: &str = "421 An administrator has ended this session.\r\n";
const STOPPED: &str = "421 The server stops; come back later.\r\n";

fn command(dir: &Path, line: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(line.split(' ')).arg("--dir").arg(dir);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = support::output(command);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// What a command of the shell prints that succeeds.
#[track_caller]
fn run(dir: &Path, line: &str) -> String {
    let (code, stdout, stderr) = output(&mut command(dir, line));
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{line}: {stdout}");
    stdout
}

/// The one line that a command prints that fails with exit code 1.
#[track_caller]
fn fails(dir: &Path, line: &str) -> String {
    let (code, stdout, stderr) = output(&mut command(dir, line));
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(1), "", 1), "{line}");
    stderr.trim_end().strip_prefix("plainftpd: ").unwrap().to_string()
}

fn start(dir: &Path, line: &str) -> Child {
    command(dir, line).spawn().unwrap()
}

fn own_address(client: &Client) -> SocketAddr {
    client.stream().local_addr().unwrap()
}

/// A connection to the owner's listener, and the token.
fn owner(server: &Server) -> (TcpStream, String) {
    let control = fs::read_to_string(server.dir().join("control")).unwrap();
    let (address, token) = control.trim_end().split_once(' ').unwrap();
    (connect(address).unwrap(), token.to_string())
}

#[test]
fn who_shows_each_session_with_its_account_its_address_and_what_it_does() {
    let server = Server::start();
    let (mut alice, stranger) = (server.registered("alice"), server.connect());
    server.edit_account("alice", "admin:-");
    alice.expect("login alice password", 230);
    let addresses = [own_address(&alice), own_address(&stranger)];
    let who = alice.expect("who", 211);
    let lines: Vec<_> = who.lines().collect();
    assert_eq!(
        lines,
        [
            "211-Session, account, address, what it does:".to_string(),
            format!(" 1 alice {} who", addresses[0]),
            format!(" 2 - {} idle", addresses[1]),
            "211 End.".to_string(),
        ]
    );
    // A transfer in progress, of a name with control characters.
    let mut bob = server.registered("bob");
    let data = bob.begin(Way::Epsv, "STOR my\tfile");
    let bob_line = format!("3 bob {} STOR /my?file", own_address(&bob));
    let from_shell = format!("1 alice {} idle\n2 - {} idle\n", addresses[0], addresses[1]);
    assert_eq!(run(server.dir(), "who"), format!("{from_shell}{bob_line}\n"));
    assert_eq!(alice.expect("SITE WHO", 211).lines().nth(3).unwrap().trim_start(), bob_line);
    drop(data);
    assert!(bob.reply().starts_with("226 "));
    bob.expect("who", 550);
    bob.expect("kick 1", 550);
    bob.expect("stop", 550);
    alice.expect("stop", 550);
    alice.expect("token 00", 550);
}

#[test]
fn a_kicked_session_gets_the_reason_and_its_transfer_ends_as_a_broken_one_does() {
    let server = Server::start();
    let mut admin = server.registered("admin");
    server.edit_account("admin", "admin:-");
    admin.expect("login admin password", 230);
    // Idle, and idle with a line begun.
    for (name, begun) in [("idle", ""), ("waiting", "pw")] {
        let mut idle = server.registered(name);
        idle.send(begun);
        let number = session_of(&server, &idle);
        let reply = admin.expect(&format!("kick {number}"), 200);
        assert_eq!(reply, format!("200 Session {number} has ended."));
        assert_eq!(idle.rest(), KICKED);
    }
    let content = noise(3_000_000, 1);
    let mut up = server.registered("up");
    let mut data = up.begin(Way::Epsv, "STOR new");
    data.write_all(&content[..1_000_000]).unwrap();
    run(server.dir(), &format!("kick {}", session_of(&server, &up)));
    assert_eq!(up.rest(), KICKED);
    // What came of a new file is kept.
    let kept = fs::read(server.real("up/new")).unwrap();
    assert!(content.starts_with(&kept) && !kept.is_empty());
    assert_eq!(server.temporaries(), [""; 0]);
    // A download ends, too, whose client reads nothing.
    fs::write(server.real("up/large"), vec![b'x'; 64 << 20]).unwrap();
    let mut down = server.logged_in("up");
    let _data = down.begin(Way::Epsv, "RETR large");
    run(server.dir(), &format!("kick {}", session_of(&server, &down)));
    assert_eq!(down.rest(), KICKED);
    // And content over the control connection, of a known length or up to a dot.
    for line in ["put by-hand 100", "put by-hand"] {
        let mut inline = server.logged_in("up");
        inline.send(format!("{line}\r\nabc\r\n"));
        assert!(inline.reply().starts_with("150 "));
        run(server.dir(), &format!("kick {}", session_of(&server, &inline)));
        assert_eq!(inline.rest(), KICKED, "{line}");
        assert!(!server.real("up/by-hand").exists());
    }
    assert_eq!(run(server.dir(), "who").lines().count(), 1, "only the administrator is left");
    admin.expect(&format!("kick {}", session_of(&server, &admin)), 501);
    assert_eq!(admin.expect("kick 999", 550), "550 There is no session 999.");
    admin.expect("kick", 501);
    assert_eq!(fails(server.dir(), "kick 999"), "There is no session 999.");
}

/// The number of a client's session, as `who` says it.
fn session_of(server: &Server, client: &Client) -> u64 {
    let address = own_address(client).to_string();
    let who = run(server.dir(), "who");
    let line = who.lines().find(|line| line.contains(&address));
    let line = line.unwrap_or_else(|| panic!("{address} is not in {who}"));
    line.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_owners_listener_serves_only_the_client_that_has_the_token() {
    let server = Server::start();
    let mode = fs::metadata(server.dir().join("control")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for line in [
        "register eve password",
        "login eve x",
        "USER eve",
        "PASS x",
        "help",
        "who",
        "stop 0",
        "users",
        "kick 1",
        "quit",
        "NOOP",
    ] {
        let (mut stream, _) = owner(&server);
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let mut said = [0; 34];
        stream.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"530 First the token: token TOKEN\r\n", "{line}");
    }
    let (mut stream, token) = owner(&server);
    let other = if token.starts_with('0') { "1" } else { "0" };
    let other = format!("{other}{}", &token[1..]);
    let longer = format!("{token}0");
    for wrong in ["x", &other, &longer, &token[..1], &token[..63], &token[1..]] {
        let mut stream = connect(stream.peer_addr().unwrap()).unwrap();
        stream.write_all(format!("token \"{wrong}\"\r\nwho\r\n").as_bytes()).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        assert_eq!(said, "421 That is not the token in the file control.\r\n", "{wrong}");
    }
    stream.write_all(format!("token {token}\r\nls\r\nlogin a b\r\nstop x\r\n").as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(
        said,
        "230 Welcome, owner of this server.\r\n\
         550 The owner has no account and no files.\r\n\
         550 The owner has no account and no files.\r\n\
         501 Usage: stop [SECONDS]\r\n"
    );
    assert!(!server.log().contains(&token));
    // At the other listeners the token opens nothing.
    let mut client = server.connect();
    client.expect(&format!("token {token}"), 530);
    client.expect("stop", 530);
    // Without an answer for two seconds, a client of the owner's listener has to go.
    let mut said = String::new();
    owner(&server).0.read_to_string(&mut said).unwrap();
    assert_eq!(said, "421 No login in time; closing.\r\n");
}

#[test]
fn a_full_server_can_be_stopped() {
    let mut server = Server::with(&["--max-clients", "2"]);
    let (mut alice, mut bob) = (server.registered("alice"), server.registered("bob"));
    // Neither do strangers at the owner's listener keep the owner out.
    let strangers: Vec<_> = (0..40).map(|_| owner(&server).0).collect();
    run(server.dir(), "stop");
    assert_eq!((alice.rest(), bob.rest()), (STOPPED.to_string(), STOPPED.to_string()));
    drop(strangers);
    assert_eq!(server.exit_code(), Some(0));
    assert!(server.log().ends_with("Z event=stop\n"), "{}", server.log());
    assert!(!server.dir().join("control").exists());
    let none = format!("no server runs here: there is no {}/control", server.dir().display());
    assert_eq!(fails(server.dir(), "stop"), none);
}

#[test]
fn a_stop_under_a_hundred_sessions_loses_nothing_that_was_acknowledged() {
    let mut server = Server::with(&["--max-clients", "250"]);
    let content = noise(300_000, 2);
    let accounts = ["a", "b", "c", "d"];
    accounts.iter().for_each(|name| drop(server.registered(name)));
    fs::write(server.real("a/large"), vec![b'x'; 64 << 20]).unwrap();
    let login = |n: usize| server.logged_in(accounts[n % 4]);
    // Of each kind 20: idle, in an upload that goes on, in one that is complete before the stop, in
    // a download that is not read, and in an upload that ends while the server waits.
    let idle: Vec<_> = (0..20).map(login).collect();
    let upload = |n: usize, name: &str| {
        let mut client = login(n);
        let mut data = client.begin(Way::Epsv, &format!("STOR {name}{n}"));
        data.write_all(&content[..200_000]).unwrap();
        (client, data)
    };
    let broken: Vec<_> = (0..20).map(|n| upload(n, "broken")).collect();
    for n in 0..20 {
        login(n).upload(Way::Epsv, &format!("STOR done{n}"), &content);
    }
    let unread: Vec<_> = (0..20)
        .map(|_| {
            let mut client = server.logged_in("a");
            let data = client.begin(Way::Epsv, "RETR large");
            (client, data)
        })
        .collect();
    let in_time: Vec<_> = (0..20).map(|n| upload(n, "in-time")).collect();
    let stopping = start(server.dir(), "stop --wait 2");
    // The first idle session that hears of the stop shows that it has begun.
    for mut client in idle {
        assert_eq!(client.rest(), STOPPED);
    }
    let mut late = String::new();
    let _ = connect(server.address()).and_then(|mut new| new.read_to_string(&mut late));
    assert!(late.is_empty() || late.ends_with(STOPPED), "{late}");
    for (n, (mut client, mut data)) in in_time.into_iter().enumerate() {
        if n == 0 {
            // The transfer has looked around since the stop began, and goes on.
            assert!(client.ask("STAT").starts_with("213 "));
        }
        data.write_all(&content[200_000..]).unwrap();
        drop(data);
        assert!(client.reply().starts_with("226 "));
        assert_eq!(client.rest(), STOPPED);
    }
    let stopped = finished(stopping);
    assert_eq!((stopped.status.code(), stopped.stderr.len()), (Some(0), 0));
    assert_eq!(server.exit_code(), Some(0));
    for (mut client, _data) in broken.into_iter().chain(unread) {
        assert_eq!(client.rest(), STOPPED);
    }
    for n in 0..20 {
        let stored =
            |name: &str| fs::read(server.real(&format!("{}/{name}{n}", accounts[n % 4]))).unwrap();
        assert_eq!(stored("done"), content);
        assert_eq!(stored("in-time"), content);
        let kept = stored("broken");
        assert!(content.starts_with(&kept) && !kept.is_empty());
    }
    assert_eq!(server.temporaries(), [""; 0]);
    assert!(server.log().ends_with("Z event=stop\n"));
}

#[test]
fn a_stop_returns_when_the_server_has_ended_and_not_before() {
    let mut server = Server::with(&["--log", "-"]);
    let mut client = server.registered("alice");
    // More lines than the pipe takes, which nothing reads: without sessions, the server waits a
    // second for its last lines.
    client.send("touch f\r\n".repeat(2000));
    client.half_close();
    client.rest();
    run(server.dir(), "stop");
    // The folder is free for the next server, which would not start otherwise.
    drop(Server::in_folder(server.dir(), &[]));
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn strangers_that_reconnect_all_the_time_keep_no_owner_out() {
    let mut server = Server::start();
    let address = owner(&server).0.peer_addr().unwrap();
    // If the test fails, the strangers end all the same.
    const MOST: Duration = Duration::from_secs(60);
    let (is_over, since) = (AtomicBool::new(false), Instant::now());
    let said = thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut held = VecDeque::new();
                while !is_over.load(Ordering::Relaxed) && since.elapsed() < MOST {
                    held.extend(connect(address));
                    if held.len() > 300 {
                        held.pop_front();
                    }
                }
            });
        }
        let lines = ["who", "who", "who", "stop --wait 0"];
        let said = lines.map(|line| output(&mut command(server.dir(), line)));
        is_over.store(true, Ordering::Relaxed);
        said
    });
    assert!(said.iter().all(|said| *said == (Some(0), String::new(), String::new())), "{said:?}");
    assert_eq!(server.exit_code(), Some(0));
}

/// An upload of which the server has `content`.
fn upload(client: &mut Client, line: &str, content: &[u8]) -> TcpStream {
    let mut data = client.begin(Way::Epsv, line);
    data.write_all(content).unwrap();
    client.wait_for_bytes(content.len());
    data
}

/// A file of more bytes than all buffers on the way hold.
fn large_file(server: &Server, name: &str) {
    fs::File::create(server.real(name)).unwrap().set_len(1 << 30).unwrap();
}

#[test]
fn a_kick_between_the_content_and_the_new_name_says_its_reason() {
    if !has_program("strace") {
        return;
    }
    let server = Server::start();
    let mut client = server.registered("alice");
    client.put("f", b"old");
    // The new file gets the permissions of the old one just before it takes the name.
    let options = ["-e", "trace=fchmod", "-e", "inject=fchmod:delay_enter=500000"];
    let _slowed = Delayed::last_thread(&server, &options);
    drop(upload(&mut client, "STOR f", b"new"));
    server.wait_until_it_stands_still();
    run(server.dir(), "kick 1");
    assert_eq!(client.rest(), KICKED);
    assert_eq!(fs::read(server.real("alice/f")).unwrap(), b"old");
}

#[test]
fn a_kick_spares_the_old_file_and_ends_waits_and_long_work() {
    let server = Server::start();
    drop(server.registered("alice"));
    large_file(&server, "alice/large");
    fs::write(server.real("alice/old"), "old").unwrap();
    let kicked = |work: &mut dyn FnMut(&mut Client) -> Option<TcpStream>| {
        let mut client = server.logged_in("alice");
        let data = work(&mut client);
        run(server.dir(), &format!("kick {}", session_of(&server, &client)));
        assert_eq!(client.rest(), KICKED);
        drop(data);
    };
    kicked(&mut |client| Some(upload(client, "STOR old", b"some")));
    assert_eq!(fs::read(server.real("alice/old")).unwrap(), b"old");
    kicked(&mut |client| Some(upload(client, "APPE old", b"some")));
    assert_eq!(fs::read(server.real("alice/old")).unwrap(), b"oldsome");
    // A session that throws away the content of a refused command.
    kicked(&mut |client| {
        client.expect("logout", 220);
        client.send("put f 100\r\nabc");
        assert!(client.reply().starts_with("530 "));
        None
    });
    // A session that waits for its data connection, and one that computes.
    for line in ["RETR large", "hash large"] {
        kicked(&mut |client| {
            client.epsv_port();
            client.send_line(line);
            let shown = format!(" {} /large\n", line.split(' ').next().unwrap());
            until("it is at work", || run(server.dir(), "who").contains(&shown));
            None
        });
    }
    assert_eq!(server.temporaries(), [""; 0]);
    let log = server.log();
    let ended = ["STOR", "APPE", "RETR", "hash"].map(|word| (word, 421));
    for (word, code) in ended.into_iter().chain([("kick", 200)]) {
        let is_it = |line: &&str| line.contains(&format!(" word={word} "));
        let line = log.lines().find(is_it).unwrap_or_else(|| panic!("{word}: {log}"));
        assert!(line.contains(&format!(" code={code} ")), "{line}");
        let why = "why=\"An administrator has ended this session.\"";
        assert!(line.contains(if word == "kick" { "role=owner" } else { why }), "{line}");
    }
}

#[test]
fn a_client_whose_registration_takes_long_can_be_kicked() {
    let server = Server::with(&["--hash-iterations", "80000000"]);
    let mut client = server.connect();
    client.send_line("register alice password");
    until("it registers", || run(server.dir(), "who").ends_with(" register\n"));
    server.add_account("root:admin:-:HASH");
    let mut root = server.logged_in("root");
    let number = session_of(&server, &client);
    let said = root.expect(&format!("kick {number}"), 200);
    let ended = format!("200 Session {number} is disconnected, and ends when its command does.");
    assert_eq!(said, ended);
    assert_eq!(client.rest(), "", "no reply to a command that the kick has ended");
}

#[test]
fn the_control_file_is_new_at_each_start_and_is_removed_at_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::in_folder(dir.path(), &[]);
    let path = dir.path().join("control");
    let first = fs::read_to_string(&path).unwrap();
    server.kill();
    assert_eq!(fails(dir.path(), "who"), "no server runs here; the last one was killed");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let mut server = Server::in_folder(dir.path(), &[]);
    let second = fs::read_to_string(&path).unwrap();
    assert_ne!(first.split(' ').next_back(), second.split(' ').next_back());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    run(dir.path(), "stop --wait 0");
    assert_eq!((server.exit_code(), path.exists()), (Some(0), false));
    let none = format!("no server runs here: there is no {}", path.display());
    for line in ["who", "kick 1", "stop --wait 0"] {
        assert_eq!(fails(dir.path(), line), none, "{line}");
    }
}

#[test]
fn the_owner_can_look_on_while_the_server_stops_and_a_second_stop_shortens_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::in_folder(dir.path(), &[]);
    let clients = ["alice", "bob", "carol", "dave"].map(|name| server.registered(name));
    let [mut alice, mut bob, mut carol, mut dave] = clients;
    fs::write(server.real("bob/f"), "old").unwrap();
    large_file(&server, "carol/large");
    let data = [
        upload(&mut alice, "STOR f", b"part"),
        upload(&mut bob, "STOR f", b"part"),
        carol.begin(Way::Epsv, "RETR large"),
    ];
    dave.send("put f 10\r\npart");
    assert!(dave.reply().starts_with("150 "));
    let mut idle = server.connect();
    let first = start(dir.path(), "stop --wait 3600");
    assert_eq!(idle.rest(), STOPPED);
    until("the idle one ends", || run(dir.path(), "who").lines().count() <= 4);
    let second = start(dir.path(), "stop --wait 3600"); // cannot make it longer
    until("both have begun", || server.log().matches(" word=stop ").count() == 2);
    run(dir.path(), "stop --wait 0");
    assert_eq!(server.exit_code(), Some(0));
    for stop in [first, second] {
        assert_eq!(finished(stop).status.code(), Some(0));
    }
    for client in [&mut alice, &mut bob, &mut carol] {
        assert_eq!(client.rest(), STOPPED);
    }
    drop(data);
    assert_eq!(fs::read(server.real("alice/f")).unwrap(), b"part");
    assert_eq!(fs::read(server.real("bob/f")).unwrap(), b"old");
    assert!(!server.real("dave/f").exists());
    assert_eq!(server.temporaries(), [""; 0]);
    assert!(server.log().ends_with("Z event=stop\n"));
    // The folder is free for the next server.
    Server::in_folder(dir.path(), &[]).logged_in("alice").expect("info f", 213);
}

#[test]
fn the_owner_has_a_few_sessions_at_once() {
    let server = Server::start();
    let mut said = Vec::new();
    let sessions: Vec<_> = (0..9)
        .map(|_| {
            let (mut stream, token) = owner(&server);
            stream.write_all(format!("token {token}\r\n").as_bytes()).unwrap();
            let mut code = [0; 3];
            stream.read_exact(&mut code).unwrap();
            said.push(String::from_utf8(code.to_vec()).unwrap());
            stream
        })
        .collect();
    assert_eq!(said, [vec!["230"; 8], vec!["421"]].concat());
    drop(sessions);
}

#[test]
fn the_end_of_standard_input_stops_the_server_if_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut program = Command::new(PROGRAM);
    program.stdin(reader);
    let mut server = Server::spawn(program, dir.path(), &["--stop-with-stdin"]);
    let mut client = server.connect();
    (&writer).write_all(b"what is written means nothing\n").unwrap();
    client.expect("NOOP", 200);
    drop(writer);
    assert_eq!(client.rest(), STOPPED);
    assert_eq!(server.exit_code(), Some(0));
    assert!(server.log().ends_with("Z event=stop\n"));
}

#[test]
fn a_supervisor_can_pass_the_listening_socket_as_standard_input() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    // A client that comes before the server is served, too.
    let early = connect(address).unwrap();
    let mut program = Command::new(PROGRAM);
    program.stdin(OwnedFd::from(listener));
    let server = Server::spawn(program, dir.path(), &["--listen", "stdin"]);
    assert_eq!(server.addresses, [address]);
    let mut greeting = [0; 4];
    (&early).read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ");
    let mut client = server.registered("alice");
    client.upload(Way::Epsv, "STOR f", b"content");
    run(dir.path(), "stop");
    for (flags, why) in [
        ("--listen stdin", "standard input is not a listening socket: "),
        ("--listen stdin --stop-with-stdin", "--listen stdin and --stop-with-stdin both need"),
    ] {
        let mut refused = command(dir.path(), flags);
        let (code, stdout, stderr) = output(refused.stdin(Stdio::null()));
        assert!(code.is_some_and(|code| code > 0) && stdout.is_empty());
        assert!(stderr.starts_with(&format!("plainftpd: {why}")), "{stderr}");
        assert_eq!(stderr.lines().count(), 1);
    }
    // Sockets that do not listen.
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let connected = connect(other.local_addr().unwrap()).unwrap();
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for socket in [OwnedFd::from(connected), datagrams.into()] {
        let (code, _, stderr) = output(command(dir.path(), "--listen stdin").stdin(socket));
        let why = "plainftpd: standard input is not a listening socket: ";
        assert!(code == Some(1) && stderr.starts_with(why), "{code:?} {stderr}");
    }
}
