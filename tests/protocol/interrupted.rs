//! Interrupted transfers, and names that need care: over sockets, and with the real programs.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Client, Server, Way, has_program, listen, noise, with_limit};

/// More than all buffers on the way hold, so that its download stands still if it is not read.
const LARGE: u64 = 1024 * 1024 * 1024;

fn with_large_file() -> (Server, Client) {
    let server = Server::start();
    let client = server.registered("alice");
    fs::File::create(server.real("alice/large")).unwrap().set_len(LARGE).unwrap();
    (server, client)
}

#[track_caller]
fn hears(client: &mut Client, replies: &[&str]) {
    for expected in replies {
        let reply = client.reply();
        assert!(reply.starts_with(expected), "{expected}: {reply}");
    }
}

#[test]
fn every_command_during_a_transfer_has_its_reply() {
    let (_server, mut client) = with_large_file();
    let stalled = client.begin(Way::Epsv, "RETR large");
    client.send("STAT\r\nSTAT\r\n");
    hears(&mut client, &["213 ", "213 "]);
    // A STAT behind a line that waits is answered in its turn, when there is no transfer any more.
    client.send("NOOP\r\nSTAT\r\nABOR x\r\nABOR\r\nSTAT\r\nPWD\r\n");
    hears(&mut client, &["426 ", "226 ", "200 ", "211", "226 ", "211", "257 "]);
    drop(stalled);
}

#[test]
fn an_abor_stops_a_transfer_behind_thousands_of_lines_and_behind_every_synch() {
    let (server, mut client) = with_large_file();
    let stalled = client.begin(Way::Epsv, "RETR large");
    let count = 5000;
    client.send([&b"NOOP\r\n".repeat(count)[..], b"ABOR\r\n"].concat());
    hears(&mut client, &["426 ", "226 "]);
    (0..count).for_each(|_| hears(&mut client, &["200 "]));
    drop(stalled);
    client.expect("PWD", 257);
    let synch = b"\xff\xf4\xff\xf2";
    let stop_behind = |synch: &[u8]| {
        let mut client = server.logged_in("alice");
        for end in ["\r\n", "\n", "\r", "\r\0"] {
            let stalled = client.begin(Way::Epsv, "RETR large");
            client.send([synch, &b"ABOR"[..], end.as_bytes()].concat());
            hears(&mut client, &["426 ", "226 "]);
            drop(stalled);
            // With nothing to stop.
            client.send([synch, &b"ABOR"[..], end.as_bytes()].concat());
            hears(&mut client, &["226 Nothing to stop"]);
        }
        client.expect("PWD", 257);
    };
    // At once, because the server looks for an ABOR some times per second only.
    std::thread::scope(|scope| {
        for lost in 0..=synch.len() {
            let mut left = synch.to_vec();
            if lost < left.len() {
                left.remove(lost);
            }
            scope.spawn(move || stop_behind(&left));
        }
    });
}

#[test]
fn an_abor_is_seen_while_the_server_connects() {
    let (server, mut client) = with_large_file();
    // A port that neither accepts nor refuses: as many wait there as may.
    let listener = listen("127.0.0.1:0");
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(stream);
    }
    // Side by side, because each is stopped only after a second of trying.
    let stopped = ["RETR large", "STOR new", "LIST"].map(|line| {
        let mut client = server.logged_in("alice");
        client.expect(&format!("EPRT |1|127.0.0.1|{}|", address.port()), 200);
        client.send(format!("{line}\r\nABOR\r\nPWD\r\n"));
        client
    });
    for mut client in stopped {
        hears(&mut client, &["426 ", "226 ", "257 "]);
    }
    // Who waits patiently gets the connection when there is room.
    client.expect(&format!("EPRT |1|127.0.0.1|{}|", address.port()), 200);
    client.send("LIST\r\n");
    drop(waiting);
    let accepted = std::thread::spawn(move || {
        // Those that waited have gone, and the one that is alive tells a listing.
        loop {
            let mut listing = Vec::new();
            let (mut stream, _) = listener.accept().unwrap();
            if stream.read_to_end(&mut listing).is_ok() && !listing.is_empty() {
                return listing;
            }
        }
    });
    hears(&mut client, &["150 ", "226 "]);
    assert!(String::from_utf8(accepted.join().unwrap()).unwrap().contains("large"));
}

/// What becomes of `f`, which holds "old", when `interrupt` has ended both connections of an upload
/// of "new".
fn after_upload(line: &str, interrupt: impl FnOnce(&mut Client, TcpStream)) -> (String, Server) {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.put("f", b"old");
    let port = client.epsv_port();
    let mut data = client.connect_to(port);
    client.send(format!("{line}\r\n"));
    data.write_all(b"new").unwrap();
    interrupt(&mut client, data);
    drop(client);
    server.wait_for_ended(1);
    (fs::read_to_string(server.real("alice/f")).unwrap(), server)
}

#[test]
fn a_client_that_dies_in_the_middle_of_an_upload_spares_the_file_that_is_there() {
    let why = "why=\"the control connection ended before the file was replaced\"";
    // It ends; with the 150 unread, it is reset.
    for reads in [true, false] {
        let (content, server) = after_upload("STOR f", |client, data| {
            if reads {
                hears(client, &["150 "]);
            }
            client.stream().shutdown(if reads { Shutdown::Write } else { Shutdown::Both }).unwrap();
            data.shutdown(Shutdown::Write).unwrap();
            if reads {
                hears(client, &["426 /f: the control connection ended before the content did"]);
            }
        });
        assert_eq!(content, "old");
        assert!(server.log().contains(why), "{}", server.log());
        assert_eq!(server.log().matches("code=226").count(), 1, "{}", server.log());
    }
    // A line that waits is no QUIT.
    let (content, _) = after_upload("STOR f\r\nNOOP\r\nQUI", |client, data| {
        client.half_close();
        data.shutdown(Shutdown::Write).unwrap();
        hears(client, &["150 ", "426 ", "200 "]);
    });
    assert_eq!(content, "old");
}

#[test]
fn an_abor_that_comes_with_the_end_of_the_content_spares_the_file_that_is_there() {
    let (content, server) = after_upload("STOR f", |client, data| {
        client.send("ABOR\r\nABOR\r\n");
        data.shutdown(Shutdown::Write).unwrap();
        hears(client, &["150 ", "426 ", "226 ", "226 Nothing to stop"]);
    });
    assert_eq!(content, "old", "{}", server.log());
}

#[test]
fn a_client_that_says_quit_or_stays_replaces_the_file() {
    let (content, _) = after_upload("STOR f\r\nNOOP\r\nQUIT", |client, data| {
        client.half_close();
        data.shutdown(Shutdown::Write).unwrap();
        hears(client, &["150 ", "226 ", "200 ", "221 "]);
    });
    assert_eq!(content, "new");
    let (content, _) = after_upload("STOR f", |client, data| {
        data.shutdown(Shutdown::Write).unwrap();
        hears(client, &["150 ", "226 "]);
    });
    assert_eq!(content, "new");
}

#[test]
fn a_device_that_closes_all_after_the_last_byte_has_its_new_file_stored() {
    let (content, server) = after_upload("STOR new", |client, data| {
        client.stream().shutdown(Shutdown::Both).unwrap();
        data.shutdown(Shutdown::Both).unwrap();
    });
    assert_eq!(content, "old");
    assert_eq!(fs::read(server.real("alice/new")).unwrap(), b"new");
    // Appending replaces nothing.
    let (content, _) = after_upload("APPE f", |client, data| {
        client.half_close();
        data.shutdown(Shutdown::Write).unwrap();
        hears(client, &["150 ", "226 "]);
    });
    assert_eq!(content, "oldnew");
}

#[test]
fn every_byte_but_nul_cr_lf_and_slash_is_kept_in_names() {
    let server = Server::start();
    let mut client = server.registered("alice");
    let ask = |client: &mut Client, verb: &str, name: &[u8]| {
        client.send([verb.as_bytes(), b" ", name, b"\r\n"].concat());
        String::from_utf8_lossy(&client.reply_bytes()).into_owned()
    };
    let bytes = (1..=255_u8).filter(|byte| !b"\r\n/".contains(byte));
    let names: Vec<_> = bytes.flat_map(|byte| [vec![b'a', byte, b'z'], vec![b'y', byte]]).collect();
    for name in &names {
        let port = client.epsv_port();
        let mut data = client.connect_to(port);
        data.write_all(name).unwrap();
        drop(data);
        assert!(ask(&mut client, "STOR", name).starts_with("150 "), "{}", name.escape_ascii());
        hears_bytes(&mut client, "226 ");
        assert_eq!(fs::read(server.real("alice").join(OsStr::from_bytes(name))).unwrap(), *name);
    }
    let listing = client.download(Way::Epsv, "NLST");
    for name in &names {
        let line = [name, &b"\r\n"[..]].concat();
        assert!(listing.windows(line.len()).any(|found| found == line), "{}", name.escape_ascii());
        let port = client.epsv_port();
        let mut data = client.connect_to(port);
        assert!(ask(&mut client, "RETR", name).starts_with("150 "), "{}", name.escape_ascii());
        hears_bytes(&mut client, "226 ");
        let mut content = Vec::new();
        data.read_to_end(&mut content).unwrap();
        assert_eq!(content, *name);
        // By hand in quotes. BS and DEL cannot be typed, because they erase.
        let by_hand = !name.iter().any(|byte| b"\x08\x7f'".contains(byte));
        let reply = match by_hand {
            true => ask(&mut client, "rm", &[b"'", name.as_slice(), b"'"].concat()),
            false => ask(&mut client, "DELE", name),
        };
        assert!(reply.starts_with("250 "), "{}: {reply}", name.escape_ascii());
    }
    assert_eq!(fs::read_dir(server.real("alice")).unwrap().count(), 0);
    // Doubled, as RFC 854 has it, it is one byte.
    assert!(ask(&mut client, "MKD", b"x\xff\xffy").starts_with("257 "));
    assert!(server.real("alice").join(OsStr::from_bytes(b"x\xffy")).exists());
}

#[track_caller]
fn hears_bytes(client: &mut Client, expected: &str) {
    let reply = client.reply_bytes();
    assert!(reply.starts_with(expected.as_bytes()), "{}", reply.escape_ascii());
}

// The real programs.

/// The server's address and port.
fn place(server: &Server) -> [String; 2] {
    [server.address().ip().to_string(), server.address().port().to_string()]
}

/// A program, ended after a while if nothing else does.
fn program(here: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--foreground", "120"]).args(args).current_dir(here).env("HOME", here);
    command
}

/// A program on a terminal of its own.
pub struct Terminal {
    child: Child,
    shown: Vec<u8>,
}

impl Terminal {
    pub fn start(here: &Path, args: &[&str]) -> Terminal {
        let on_pty = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/on_pty.py");
        // Not by `timeout`: if it is killed, its child stays. If this process is killed, the
        // programs on the terminal get a hang-up.
        let mut command = Command::new("python3");
        command.arg(on_pty).args(args).current_dir(here).env("HOME", here);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Terminal { child, shown: Vec::new() }
    }

    pub fn types(&mut self, typed: &str) {
        self.child.stdin.as_mut().unwrap().write_all(typed.as_bytes()).unwrap();
    }

    /// Waits until the terminal shows `text`, and fails if it shows anything before that.
    #[track_caller]
    pub fn shows_only(&mut self, text: &str) {
        let before = self.shows(text);
        assert!(before.is_empty(), "{:?}", String::from_utf8_lossy(&before));
    }

    /// Waits until the terminal shows `text`, behind what was waited for before. Returns what it
    /// shows before that.
    #[track_caller]
    pub fn shows(&mut self, text: &str) -> Vec<u8> {
        let (pid, mut chunk) = (self.child.id(), [0; 4096]);
        loop {
            let found = self.shown.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = found {
                let before = self.shown[..at].to_vec();
                self.shown.drain(..at + text.len());
                return before;
            }
            let stdout = self.child.stdout.as_mut().unwrap();
            let read = with_limit(pid, || stdout.read(&mut chunk).unwrap());
            assert!(read > 0, "no {text:?} in {:?}", String::from_utf8_lossy(&self.shown));
            self.shown.extend_from_slice(&chunk[..read]);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the terminal shows {:?}", String::from_utf8_lossy(&self.shown));
            let _ = self.child.kill();
        }
        drop(self.child.stdin.take());
        drop(self.child.stdout.take());
        let _ = with_limit(self.child.id(), || self.child.wait());
    }
}

#[test]
fn ctrl_c_in_telnet_cancels_a_text_and_blinds_no_session() {
    if !has_program("telnet") || !has_program("python3") {
        return;
    }
    let server = Server::start();
    server.registered("alice");
    let here = tempfile::tempdir().unwrap();
    let [ip, port] = place(&server);
    let mut telnet = Terminal::start(here.path(), &["telnet", &ip, &port]);
    telnet.shows("220 ");
    telnet.types("login alice password\n");
    telnet.shows("230 ");
    telnet.types("\x03");
    telnet.types("pwd\n");
    telnet.shows("257 ");
    telnet.types("write f\n");
    telnet.shows("150 ");
    telnet.types("a line that is never stored\n\x03");
    telnet.shows("426 Cancelled. Nothing was stored.");
    telnet.types("ls\n");
    telnet.shows("212 Empty.");
    telnet.types("\x04");
    telnet.shows("221 Goodbye.");
    server.wait_for_ended(2);
    assert!(!server.real("alice/f").exists());
}

#[test]
fn ctrl_c_in_tnftp_stops_a_download_and_the_session_goes_on() {
    if !has_program("tnftp") || !has_program("python3") {
        return;
    }
    let (server, mut client) = with_large_file();
    client.put("small", b"small");
    let here = tempfile::tempdir().unwrap();
    let [ip, port] = place(&server);
    let mut tnftp = Terminal::start(here.path(), &["tnftp", "-n"]);
    tnftp.shows("ftp> ");
    tnftp.types(&format!("open {ip} {port}\n"));
    tnftp.shows("220 ");
    tnftp.types("user alice password\n");
    tnftp.shows("230 ");
    // So slow that it does not end by itself.
    tnftp.types("rate get 100000\nget large\n");
    tnftp.shows("150 ");
    tnftp.shows("ETA");
    tnftp.types("\x03");
    tnftp.shows("426 The transfer was stopped.");
    tnftp.shows("226 Stopped.");
    tnftp.types("get small\n");
    tnftp.shows("226 ");
    tnftp.types("bye\n");
    tnftp.shows("221 ");
    server.wait_for_ended(1);
    assert_eq!(fs::read(here.path().join("small")).unwrap(), b"small");
}

#[test]
fn net_ftp_aborts_and_lwp_asks_for_the_head() {
    if !has_program("perl") || !has_program("lwp-request") {
        return;
    }
    let (server, _client) = with_large_file();
    let here = tempfile::tempdir().unwrap();
    let [ip, port] = place(&server);
    let script = "use Net::FTP; my $ftp = Net::FTP->new($ARGV[0], Port => $ARGV[1], Timeout => 60) \
        or die; \
        $ftp->login('alice', 'password') or die; $ftp->binary; \
        my $data = $ftp->retr('large') or die; my $piece; $data->read($piece, 10000); \
        $ftp->abort; print $ftp->code, ' ', $ftp->pwd, ' ', $ftp->size('large'); \
        $ftp->abort; print ' ', $ftp->code, ' ', $ftp->pwd; $ftp->quit or die;";
    let output = program(here.path(), &["perl", "-e", script, &ip, &port]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, format!("226 / {LARGE} 226 /"), "{}", String::from_utf8_lossy(&output.stderr));
    let url = format!("ftp://alice:password@{ip}:{port}/large");
    let output = program(here.path(), &["lwp-request", "-m", "HEAD", &url]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.starts_with("200 OK\n") && said.contains(&format!("Content-Length: {LARGE}\n")),
        "{said}"
    );
}

/// Every file below a folder, with its content.
fn files(dir: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().as_os_str().as_bytes().to_vec();
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn lftp_mirrors_hostile_names_and_touches_nothing_else() {
    if !has_program("lftp") {
        return;
    }
    let server = Server::start();
    server.registered("alice");
    let here = tempfile::tempdir().unwrap();
    let plant = |folder: &str, names: &[&[u8]]| {
        for name in names {
            let path = here.path().join(folder).join(OsStr::from_bytes(name));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
    };
    let good: [&[u8]; 13] = [
        b"plain",
        b"tab\tin it",
        b"bell\x07esc\x1b[2J",
        b"ya\xff",
        b"\xff",
        b"two\xff\xfff",
        b"trailing  ",
        b" leading",
        b"del\x7fbs\x08x",
        b"\x04eot",
        b"c1\xc2\x9b",
        b"sub\xff/inner\xff\t ",
        b"\x01 ",
    ];
    let with_cr: [&[u8]; 4] = [b"cr\rDELE precious", b"x\rDELE up/precious\r", b"y\r", b"dir\rx/f"];
    plant("out", &good);
    plant("out", &with_cr);
    let precious = [server.real("alice/precious"), server.real("alice/up/precious")];
    fs::create_dir(server.real("alice/up")).unwrap();
    precious.iter().for_each(|path| fs::write(path, "precious").unwrap());
    let lftp = |commands: &str| {
        let [ip, port] = place(&server);
        let set = "set net:max-retries 1; set net:timeout 60; set ftp:ssl-allow no";
        let line = format!("{set}; open -u alice,password {ip} -p {port}; {commands}");
        program(here.path(), &["lftp", "-c", &line]).output().unwrap()
    };
    // The names with a CR are refused, which lftp tells by its exit code.
    let output = lftp("mirror -R out up");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && told.contains("501 There is a CR inside the line"),
        "{told}"
    );
    for path in &precious {
        assert_eq!(fs::read(path).unwrap(), b"precious");
    }
    fs::remove_file(&precious[1]).unwrap();
    let mut expected: Vec<_> = good.iter().map(|name| (name.to_vec(), name.to_vec())).collect();
    expected.sort();
    assert_eq!(files(&server.real("alice/up")), expected);
    // And back.
    let output = lftp("mirror up in");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(files(&here.path().join("in")), expected);
}

/// How many bytes of uploads lie in alice's folder, under whatever names they come.
fn arriving(server: &Server) -> usize {
    let entries = fs::read_dir(server.real("alice")).unwrap().map_while(Result::ok);
    let others = entries.filter(|entry| entry.file_name() != "victim");
    // A temporary file may be removed between the listing and the look at its length.
    others.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len() as usize).sum()
}

#[test]
fn curl_and_lftp_killed_half_way_replace_nothing() {
    if !has_program("curl") || !has_program("lftp") {
        return;
    }
    std::thread::scope(|scope| {
        for program in ["curl", "lftp"] {
            for signal in ["-KILL", "-INT"] {
                scope.spawn(move || kill_during_an_upload(program, signal));
            }
        }
    });
}

/// Kills a program in the middle of an upload that would replace a file.
fn kill_during_an_upload(program: &str, signal: &str) {
    const SENT: usize = 4_000_000;
    let server = Server::start();
    server.registered("alice");
    let here = tempfile::tempdir().unwrap();
    fs::write(here.path().join("local"), noise(SENT, 1)).unwrap();
    let victim = server.real("alice/victim");
    fs::write(&victim, "old").unwrap();
    let [ip, port] = place(&server);
    let url = format!("ftp://alice:password@{ip}:{port}/victim");
    let commands = format!(
        "set net:limit-rate 400000; set ftp:ssl-allow no; open -u alice,password {ip} -p {port}; \
         put local -o victim"
    );
    // What a script starts in the background ignores SIGINT, and so would the program.
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", program]);
    match program {
        "curl" => command.args(["-sS", "--limit-rate", "400k", "-T", "local", &url]),
        _ => command.args(["-c", &commands]),
    };
    command.current_dir(here.path()).env("HOME", here.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    server.wait_for_ended(1);
    let mut client = command.spawn().unwrap();
    // A megabyte more than the first burst, which no limit holds back: after more than two seconds
    // the server waits longest for the end of the other connection.
    while arriving(&server) < 2_500_000 {
        assert!(client.try_wait().unwrap().is_none(), "{program} ended");
        // Four of these loops run at once, and must not take the processor from the programs.
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let pid = client.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    client.wait().unwrap();
    server.wait_for_ended(2);
    assert_eq!(fs::read(&victim).unwrap(), b"old", "{program} {signal}: {}", server.log());
    assert_eq!(arriving(&server), 0, "{program} {signal}");
}
