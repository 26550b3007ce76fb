//! What one account may take of what all share, and what the server says when the system has no
//! more.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Client, Server, copy_program, has_program, is_root, output, until};

#[test]
fn an_account_at_half_of_the_slots_is_refused_and_others_log_in() {
    let server = Server::with(&["--max-clients", "6"]);
    let mut sessions: Vec<_> = ["register", "login", "login"]
        .iter()
        .map(|word| {
            let mut client = server.connect();
            client.expect(&format!("{word} alice password"), 230);
            client
        })
        .collect();
    let mut further = server.connect();
    further.send("login alice password\r\n");
    let refusal = "421 Your account has half of all sessions already; end another one first.\r\n";
    assert_eq!(further.rest(), refusal);
    let log = server.log();
    assert!(
        log.contains(
            " word=login account=alice why=\"Your account has half of all sessions already; "
        ),
        "{log}"
    );
    assert!(!log.contains("login-failed"), "the password was right");
    server.connect().expect("register bob password", 230);
    // Logging out is enough, also as a step to logging in again.
    sessions[0].expect("logout", 220);
    let mut further = server.connect();
    further.expect("login alice password", 230);
    sessions[1].expect("login alice password", 230);
    sessions[0].send("login alice password\r\n");
    assert_eq!(sessions[0].rest(), refusal);
}

/// The first and the last of `count` ports in a row that are free now.
fn free_ports(count: u16) -> (u16, u16) {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let Some(last) = first.checked_add(count - 1) else { continue };
        let bound: Result<Vec<_>, _> =
            (first..=last).map(|port| TcpListener::bind(("127.0.0.1", port))).collect();
        if bound.is_ok() {
            return (first, last);
        }
    }
}

#[test]
fn an_account_at_half_of_the_passive_ports_hears_425_and_others_transfer() {
    let (first, last) = free_ports(4);
    let server = Server::with(&["--passive-ports", &format!("{first}-{last}")]);
    let mut sessions = vec![server.registered("alice")];
    for _ in 0..3 {
        let mut client = server.connect();
        client.expect("login alice password", 230);
        sessions.push(client);
    }
    let refusal = "425 Your account holds half of the passive ports already; \
                   wait until a transfer of another session ends.";
    // One session holds one port, however often it asks.
    for _ in 0..3 {
        sessions[0].expect("PASV", 227);
        sessions[1].expect("EPSV", 229);
    }
    assert_eq!(sessions[2].ask("PASV"), refusal);
    assert_eq!(sessions[3].ask("EPSV"), refusal);
    let mut bob = server.registered("bob");
    bob.expect("EPSV", 229);
    bob.expect("ABOR", 226);
    sessions[0].expect("ABOR", 226);
    sessions[2].expect("EPSV", 229);
    // A port is free again when the session ends, or its transfer begins.
    sessions.remove(1).expect("quit", 221);
    until("the port is free", || sessions[2].ask("EPSV") != refusal);
}

#[test]
fn a_client_that_the_system_has_no_thread_for_hears_421_and_the_log_says_it_once() {
    if !has_program("prlimit") {
        return;
    }
    // As a user of its own, because the limit counts all threads of a user and does not hold for
    // root. One per process, because what another run of the tests starts would count, too.
    let user = 100_000 + std::process::id();
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("plainftpd");
    if !is_root() {
        return;
    }
    chown(dir.path(), Some(user), Some(user)).unwrap();
    copy_program(&program);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("prlimit");
    command.args(["--nproc=8:8", "--"]).arg(&program).uid(user).gid(user);
    let server = Server::spawn(command, dir.path(), &[]);
    let mut clients = Vec::new();
    let mut refused = 0;
    for _ in 0..40 {
        let mut client = Client::to(server.address());
        match client.reply().split(' ').next().unwrap() {
            "220" => clients.push(client),
            "421" => refused += 1,
            code => panic!("{code}"),
        }
    }
    assert!(refused >= 32 && !clients.is_empty(), "{refused} of 40 were refused");
    assert_eq!(server.log().matches("cannot start a thread").count(), 1);
    assert_eq!(server.log().matches("no thread for you").count(), 1);
    // Those who are there are served, and a place is free again.
    clients[0].expect("register alice password", 230);
    assert!(clients[0].put("f", b"text").starts_with("226 "));
    drop(clients);
    until("a place is free", || Client::to(server.address()).reply().starts_with("220 "));
}

/// Starts a server that must fail, and returns what it says on standard error.
fn failed_start(mut command: Command, dir: &Path) -> String {
    command.arg("--dir").arg(dir).args(["--listen", "127.0.0.1:0"]);
    let output = output(&mut command);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_start_without_proc_says_what_is_missing() {
    if !has_program("unshare") {
        return;
    }
    let can_mount =
        Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/proc"]).status();
    if !can_mount.unwrap().success() {
        assert!(std::env::var_os("CI").is_none(), "CI must be able to hide /proc");
        eprintln!("SKIPPED: /proc cannot be hidden here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
    command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_plainftpd")]);
    assert_eq!(
        failed_start(command, dir.path()),
        "plainftpd: /proc must be mounted here, because files are opened through /proc/self/fd: \
         No such file or directory (os error 2)\n"
    );
}

#[test]
fn a_start_that_fails_still_shows_the_warnings_before() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("users"), "broken\n").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_plainftpd"));
    command.args(["--listen", &format!("127.0.0.1:{port}")]);
    let said = failed_start(command, dir.path());
    assert!(said.contains("plainftpd: warning: users file, line 1: "), "{said}");
    assert!(said.contains(&format!("plainftpd: cannot listen on 127.0.0.1:{port}: ")), "{said}");
}

#[test]
fn a_hangup_ends_the_server_and_under_nohup_it_does_not() {
    if !has_program("nohup") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let start = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).arg("--dir").arg(dir.path()).args(["--listen", "127.0.0.1:0"]);
        let mut child = command
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It has started when it says something.
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        child
    };
    let hang_up = |child: &std::process::Child| {
        assert!(
            Command::new("kill")
                .args(["-HUP", &child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    };
    let mut plain = start(env!("CARGO_BIN_EXE_plainftpd"), &[]);
    hang_up(&plain);
    assert_eq!(plain.wait().unwrap().signal(), Some(1));
    let mut kept = start("nohup", &[env!("CARGO_BIN_EXE_plainftpd")]);
    hang_up(&kept);
    let status = fs::read_to_string(format!("/proc/{}/status", kept.id())).unwrap();
    assert!(status.contains("Name:\tplainftpd") && !status.contains("State:\tZ"), "{status}");
    kept.kill().unwrap();
    assert_eq!(kept.wait().unwrap().signal(), Some(9));
}
