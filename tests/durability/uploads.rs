//! Uploads: at which offset they may begin, and what they keep of the file that they replace.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::support::{Client, Server, Way, has_program, noise};

/// A whole reply to a transfer for which no data connection was set up.
fn without_data(client: &mut Client, offset: u64, line: &str) -> String {
    client.expect(&format!("REST {offset}"), 350);
    client.ask(line)
}

#[test]
fn a_restart_beyond_the_end_is_554_before_a_data_connection_is_needed() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.put("f", b"12345\n");
    client.put("empty", b"");
    let beyond = |path: &str, offset: u64, size: u64| {
        format!("554 {path}: REST {offset} is beyond the end of the file, which has {size} bytes.")
    };
    for line in ["RETR f", "STOR f", "APPE f"] {
        for offset in [7, 1 << 40, u64::MAX] {
            assert_eq!(without_data(&mut client, offset, line), beyond("/f", offset, 6), "{line}");
        }
        // Exactly at the end, and before it, only the data connection is missing.
        for offset in [0, 5, 6] {
            assert!(without_data(&mut client, offset, line).starts_with("425 "), "{line} {offset}");
        }
    }
    for line in ["RETR empty", "STOR empty", "APPE empty"] {
        assert_eq!(without_data(&mut client, 1, line), beyond("/empty", 1, 0), "{line}");
    }
    client.put("one", b"1");
    let one = "554 /one: REST 2 is beyond the end of the file, which has 1 byte.";
    assert_eq!(without_data(&mut client, 2, "RETR one"), one);
    for line in ["STOR missing", "APPE missing"] {
        assert_eq!(without_data(&mut client, 1, line), beyond("/missing", 1, 0), "{line}");
        assert!(!server.real("alice/missing").exists());
    }
    assert!(without_data(&mut client, 1, "RETR missing").starts_with("550 "));
    // In TYPE A the offset is one of what travels, of which a line's end has two bytes.
    client.expect("TYPE A", 200);
    assert_eq!(without_data(&mut client, 8, "RETR f"), beyond("/f", 8, 7));
    assert!(without_data(&mut client, 7, "RETR f").starts_with("425 "));
    client.expect("TYPE I", 200);
    // The words for people know no REST, and it is forgotten after them.
    client.expect("REST 99", 350);
    client.send_line("append f more");
    assert!(client.reply().starts_with("150 ") && client.reply().starts_with("226 "));
    assert_eq!(client.get("f").unwrap(), b"12345\nmore\n");
    // What is allowed works.
    client.expect("REST 11", 350);
    client.upload(Way::Epsv, "STOR f", b"end");
    client.expect("REST 14", 350);
    client.upload(Way::Epsv, "APPE f", b"!");
    client.expect("REST 1", 350);
    client.upload(Way::Epsv, "APPE f", b"?");
    assert_eq!(client.get("f").unwrap(), b"12345\nmore\nend!?");
    client.expect("REST 16", 350);
    assert_eq!(client.download(Way::Epsv, "RETR f"), b"");
}

type Replace = fn(&mut Client, &str);

/// The words that replace a file, each of which stores `new` in it.
fn replacers() -> [(&'static str, Replace); 5] {
    [
        ("STOR", |client, name| client.upload(Way::Epsv, &format!("STOR {name}"), b"new\n")),
        ("put", |client, name| assert!(client.put(name, b"new\n").starts_with("226 "))),
        ("write", |client, name| {
            client.send_line(&format!("write {name} new"));
            assert!(client.reply().starts_with("150 ") && client.reply().starts_with("226 "));
        }),
        ("cp -f", |client, name| drop(client.expect(&format!("cp -f new {name}"), 250))),
        ("SITE CPTO", |client, name| {
            client.expect("SITE CPFR new", 350);
            client.expect(&format!("SITE CPTO {name}"), 250);
        }),
    ]
}

#[test]
fn a_file_that_is_replaced_keeps_its_permissions_whatever_replaces_it() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.put("new", b"new\n");
    let mode = |name: &str| fs::metadata(server.real("alice").join(name)).unwrap().mode() & 0o7777;
    let new = mode("new");
    for (what, replace) in replacers() {
        for bits in [0o600, 0o755, 0o640, 0o666, 0o444] {
            client.put("f", b"old");
            fs::set_permissions(server.real("alice/f"), Permissions::from_mode(bits)).unwrap();
            replace(&mut client, "f");
            assert_eq!(client.get("f").unwrap(), b"new\n");
            assert_eq!(mode("f"), bits, "{what}");
            client.expect("rm f", 250);
        }
        // And a new file is as new files are.
        replace(&mut client, "fresh");
        assert_eq!(mode("fresh"), new, "{what}");
        client.expect("rm fresh", 250);
    }
    // RNTO and mv move the file itself.
    client.put("moved", b"x");
    client.expect("SITE CHMOD 600 moved", 200);
    client.put("f", b"old");
    client.expect("RNFR moved", 350);
    client.expect("RNTO f", 250);
    assert_eq!(mode("f"), 0o600);
}

#[test]
fn what_replaces_a_file_is_never_more_open_than_the_file_itself() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.put("key", b"old");
    client.expect("SITE CHMOD 600 key", 200);
    let mut data = client.begin(Way::Epsv, "STOR key");
    data.write_all(b"secret").unwrap();
    client.wait_for_bytes(6);
    let mut modes = Vec::new();
    let mut waiting = vec![server.real("")];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            match metadata.is_dir() {
                true => waiting.push(entry.path()),
                false if metadata.len() == 6 => modes.push(metadata.mode() & 0o777),
                false => {}
            }
        }
    }
    assert_eq!(modes, [0o600]);
    // It is made what the file is by then.
    server.connect().expect("login alice password", 230);
    let mut other = server.connect();
    other.expect("login alice password", 230);
    other.expect("SITE CHMOD 640 key", 200);
    drop(data);
    assert!(client.reply().starts_with("226 "));
    assert_eq!(fs::metadata(server.real("alice/key")).unwrap().mode() & 0o777, 0o640);
}

/// A server whose files may have `limit` bytes at most.
fn with_file_size_limit(dir: &Path, limit: u64) -> Server {
    let mut command = Command::new("prlimit");
    command.arg(format!("--fsize={limit}")).arg("--").arg(env!("CARGO_BIN_EXE_plainftpd"));
    Server::spawn(command, dir, &[])
}

#[test]
fn a_limit_on_the_size_of_files_refuses_uploads_and_ends_nothing() {
    const LIMIT: usize = 256 * 1024;
    if !has_program("prlimit") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = with_file_size_limit(dir.path(), LIMIT as u64);
    let warning = format!(
        "text=\"files may have {LIMIT} bytes at most, by the limit of this process (ulimit -f)\""
    );
    assert!(server.log().contains(&warning));
    let mut client = server.registered("alice");
    client.expect("mkdir d", 257);
    fs::write(server.real("alice/d/large"), vec![1; LIMIT + 1]).unwrap();
    let full = noise(LIMIT, 1);
    assert!(client.put("full", &full).starts_with("226 "), "exactly the limit");
    client.put("f", b"old");
    let refusal =
        |path: &str| format!("552 {path}: too large: a file may have {LIMIT} bytes at most here.");
    let too_large = noise(LIMIT + 1, 2);
    for line in ["STOR f", "STOR new", "APPE f", "STOU"] {
        let data = client.data(Way::Epsv);
        let first = client.ask(line);
        let path = first.strip_prefix("150 FILE: ").unwrap_or(line.get(5..).unwrap_or_default());
        let _ = data.stream().write_all(&too_large);
        assert_eq!(client.reply(), refusal(&format!("/{path}")), "{line}");
    }
    client.expect("REST 3", 350);
    let mut data = client.begin(Way::Epsv, "STOR f");
    let _ = data.write_all(&too_large);
    drop(data);
    assert_eq!(client.reply(), refusal("/f"));
    assert_eq!(client.put("new", &too_large), refusal("/new"));
    client.send_line("write new");
    client.send(format!("{}\n", "x".repeat(999)).repeat(300) + ".\n");
    assert!(client.reply().starts_with("150 "));
    assert_eq!(client.reply(), refusal("/new"));
    assert_eq!(client.ask("cp d/large copy"), refusal("/copy"));
    assert_eq!(client.ask("cp d copy"), refusal("/copy"));
    client.send_line("append full x");
    let reply = client.reply();
    assert_eq!(if reply.starts_with("150 ") { client.reply() } else { reply }, refusal("/full"));
    assert!(client.get("full").unwrap() == full && client.get("f").unwrap() == b"old");
    assert_eq!(client.ask("ls").lines().count(), 5, "d, f, full");
    // A move within the disk writes nothing.
    client.expect("mv d/large large", 250);
    assert!(server.temporaries().is_empty());
}

#[test]
fn a_log_at_the_limit_of_file_sizes_stops_no_session() {
    const LIMIT: usize = 64 * 1024;
    if !has_program("prlimit") {
        return;
    }
    for (length, end) in
        [(LIMIT - 50, "\n"), (LIMIT - 50, "x"), (LIMIT, "\n"), (LIMIT, "x"), (LIMIT + 9, "x")]
    {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log.txt");
        fs::write(&log, "y".repeat(length - 1) + end).unwrap();
        let server = with_file_size_limit(dir.path(), LIMIT as u64);
        let mut client = server.registered("alice");
        for n in 0..20 {
            client.expect(&format!("mkdir {n}"), 257);
        }
        assert!(fs::metadata(&log).unwrap().len() <= LIMIT.max(length) as u64);
        assert!(client.put("f", b"x").starts_with("226 "));
    }
}

#[test]
fn a_users_file_at_the_limit_of_file_sizes_takes_no_account_and_loses_none() {
    const LIMIT: u64 = 64 * 1024;
    if !has_program("prlimit") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = with_file_size_limit(dir.path(), LIMIT);
    server.registered("alice");
    let comments = "#\n".repeat((LIMIT as usize - server.users().len() - 40) / 2);
    fs::write(dir.path().join("users"), server.users() + &comments).unwrap();
    let before = server.users();
    let mut client = server.connect();
    client.expect("register bob password", 552);
    assert!(server.users() == before && !server.real("bob").exists());
    client.expect("login alice password", 230);
}

#[test]
fn standard_streams_that_are_files_at_the_limit_kill_nothing() {
    if !has_program("prlimit") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let full = |name: &str| {
        let path = dir.path().join(name);
        fs::write(&path, [b'x'; 300]).unwrap();
        fs::OpenOptions::new().append(true).open(path).unwrap()
    };
    let mut help = Command::new("prlimit");
    help.args(["--fsize=300", "--", env!("CARGO_BIN_EXE_plainftpd")]);
    assert!(help.arg("--help").stdout(full("out")).status().unwrap().success());
    let mut wrong = Command::new("prlimit");
    wrong.args(["--fsize=300", "--", env!("CARGO_BIN_EXE_plainftpd"), "--nonsense"]);
    assert_eq!(wrong.stderr(full("usage")).status().unwrap().code(), Some(2));
    let mut command = Command::new("prlimit");
    command.args(["--fsize=300", "--", env!("CARGO_BIN_EXE_plainftpd")]);
    fs::write(dir.path().join("users"), "").unwrap();
    let server = Server::spawn_with_stderr(command, full("err").into(), dir.path(), &[]);
    // Each of these would have a warning on standard error, because the log is at its limit, too.
    (0..20).for_each(|_| drop(server.connect().expect("HELP", 214)));
    assert_eq!(fs::read(dir.path().join("err")).unwrap(), [b'x'; 300]);
}

#[test]
fn a_file_size_limit_below_what_a_first_start_writes_is_an_error_and_no_kill() {
    if !has_program("prlimit") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("prlimit");
    command.args([
        "--fsize=10",
        "--",
        env!("CARGO_BIN_EXE_plainftpd"),
        "--listen",
        "127.0.0.1:0",
        "--dir",
    ]);
    let first = command.arg(dir.path()).output().unwrap();
    let said = String::from_utf8(first.stderr).unwrap();
    assert_eq!(first.status.code(), Some(1), "{said}");
    assert!(said.ends_with("users: too large: a file may have 10 bytes at most here\n"), "{said}");
    // What is there can be looked at.
    fs::write(dir.path().join("users"), "").unwrap();
    with_file_size_limit(dir.path(), 10).connect().expect("HELP", 214);
}
