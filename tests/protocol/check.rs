//! `--check` finds what is wrong, says it as the server would, and changes nothing.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Server, copy_program, is_root, output, own_address};

const HASH: &str = "pbkdf2-sha256$1$0011223344556677$\
                    abababababababababababababababababababababababababababababababab";
const NOBODY: u32 = 65534;

/// Exit code, and the lines of standard output.
fn outcome(command: &mut Command) -> (Option<i32>, Vec<String>) {
    let output = output(command);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), text.lines().map(str::to_string).collect())
}

fn check(dir: &Path, flags: &[&str]) -> (Option<i32>, Vec<String>) {
    let before = state_of(dir);
    let mut command = Command::new(env!("CARGO_BIN_EXE_plainftpd"));
    let found = outcome(command.arg("--check").arg("--dir").arg(dir).args(flags));
    assert_eq!(state_of(dir), before, "something has changed");
    found
}

/// Names, types, modes, sizes and times of all below a folder.
fn state_of(dir: &Path) -> String {
    let format = "%p %y %m %U %s %T@ %C@\n";
    let output = Command::new("find").arg(dir).args(["-printf", format]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The lines that begin with one of the words, such as `error`.
fn only<'l>(lines: &'l [String], words: &[&str]) -> Vec<&'l str> {
    let is_wanted = |line: &&str| line.split(": ").next().is_some_and(|word| words.contains(&word));
    lines.iter().map(String::as_str).filter(is_wanted).collect()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn planted_mistakes_are_found_each_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let busy = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = busy.local_addr().unwrap().port();
    let conf = format!(
        "# mine\nmax-clients = many\ncolour = blue\npublic-address = nowhere.invalid\nwhat\n\
         listen = 0.0.0.0:{port}\npassive-ports = {port}-{port}\nregistration = code:\n"
    );
    fs::write(at("conf"), conf).unwrap();
    let good = format!("alice:user:-:{HASH}");
    let lines = [
        "# accounts".to_string(),
        good.clone(),
        format!("bob:boss:-:{HASH}"),
        format!("carol:user:lots:{HASH}"),
        "dave:user:-:secret".to_string(),
        good.replace("alice", "ALICE"),
        "guest:drop:-:any".to_string(),
    ];
    fs::write(at("users"), lines.join("\n") + "\n").unwrap();
    set_mode(&at("users"), 0o644);
    fs::write(at("workdir"), "a file").unwrap();
    fs::create_dir(at("log.txt")).unwrap();
    set_mode(dir.path(), 0o777);
    let path = dir.path().canonicalize().unwrap();
    let path = path.to_str().unwrap();

    let (code, found) = check(dir.path(), &["--config", at("conf").to_str().unwrap()]);
    let conf = at("conf").display().to_string();
    assert_eq!(code, Some(1));
    assert_eq!(
        only(&found, &["error", "risk"]),
        [
            &*format!("error: {conf}:5: not of the form name = value"),
            &format!("error: {conf}:2: max-clients needs a number from 1 to 15000, not \"many\""),
            &format!("error: {conf}:3: unknown setting colour; see --help"),
            &format!(
                "error: {conf}:8: registration needs open, closed or code:SECRET, not \"code:\""
            ),
            &format!("error: {path}/workdir: not a folder"),
            "error: users file, line 3: the role is not one of user, readonly, drop, admin, \
             disabled",
            "error: users file, line 4: the quota is not -, none or a size such as 500M",
            "error: users file, line 5: the hash is not of the form \
             pbkdf2-sha256$ITERATIONS$SALT$HASH",
            "error: users file, line 6: another line has the same name; neither can log in",
            &format!("error: {path}/log.txt: Is a directory (os error 21)"),
            &format!(
                "error: cannot listen on 0.0.0.0:{port}: Address already in use (os error 98); \
                 another program listens there"
            ),
            "risk: every client that can reach this server may create an account and fill the \
             disk: set --registration or --quota",
            "risk: passwords of 4 characters are allowed beyond loopback: set --min-password 8",
            "risk: an account accepts every password, so every client that can reach this server \
             may use its folder",
            "risk: other users of this machine may read the users file: chmod 600 it",
            &format!("risk: every user of this machine may write: chmod o-w {path}"),
            "risk: public-address nowhere.invalid has no IPv4 address now: PASV fails for outside \
             clients",
            &format!("risk: the passive ports {port}-{port} include that of 0.0.0.0:{port}"),
            "risk: 1 passive ports are few for 256 clients",
        ]
    );
    assert_eq!(found.last().unwrap(), "errors: 11, risks: 8");
}

#[test]
fn a_good_configuration_is_explained_and_exits_0() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--registration", "code:sesame"];
    let (code, found) = check(dir.path(), &flags);
    let text = found.join("\n");
    assert_eq!(code, Some(0), "{text}");
    for line in [
        "listen = 127.0.0.1:0, [::1]:0",
        "registration = code:(not shown)",
        "max-clients = 256",
        "127.0.0.1:0: open to this machine only; PASV gives 127.0.0.1",
        "[::1]:0: open to this machine only; PASV is refused, because it is for IPv4; EPSV works",
        "firewall: nothing, because only this machine can connect",
        "largest file (ulimit -f): none",
        "nothing is wrong",
    ] {
        assert!(found.iter().any(|found| found == line), "{line} is not in:\n{text}");
    }
    assert!(!text.contains("sesame"));
    // Risks alone are no failure.
    let exposed = [
        "--listen=0.0.0.0:0",
        "--listen=[::]:0",
        "--passive-ports=40000-40999",
        "--public-address=192.0.2.7",
        "--min-password=8",
    ];
    let (code, found) = check(dir.path(), &exposed);
    assert_eq!((code, found.last().unwrap().as_str()), (Some(0), "errors: 0, risks: 1"));
    let pasv = "PASV gives 192.0.2.7 to a client from outside, else the address that it reached";
    for line in [
        format!("0.0.0.0:0: open to every host that reaches this one by IPv4; {pasv}"),
        format!("[::]:0: open to every host that reaches this one by IPv6 or IPv4; {pasv}"),
        "firewall: let in TCP 0, 0 and, for passive data, 40000-40999; let out TCP to the clients \
         (PORT, EPRT)"
            .to_string(),
    ] {
        assert!(found.contains(&line), "{line} is not in:\n{}", found.join("\n"));
    }
}

#[test]
fn what_the_server_refuses_is_an_error_in_the_words_of_the_server() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let (dir, occupied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(occupied.path().join("log.txt")).unwrap();
    let no_folder = tempfile::tempdir().unwrap();
    fs::write(no_folder.path().join("workdir"), "").unwrap();
    for (dir, flags) in [
        (dir.path(), &["--listen", address.as_str()][..]),
        (dir.path(), &["--listen", "192.0.2.1:2121"]),
        (Path::new("/nowhere/at/all"), &["--listen", "127.0.0.1:0"]),
        (occupied.path(), &["--listen", "127.0.0.1:0"]),
        (no_folder.path(), &["--listen", "127.0.0.1:0"]),
    ] {
        let (code, found) = check(dir, flags);
        let mut server = Command::new(env!("CARGO_BIN_EXE_plainftpd"));
        let server = output(server.arg("--dir").arg(dir).args(flags));
        let said = String::from_utf8(server.stderr).unwrap();
        assert_eq!((code, server.status.code()), (Some(1), Some(1)), "{found:?}");
        let said = said.trim_end().replace("plainftpd: ", "error: ");
        assert_eq!(only(&found, &["error"]), [said]);
    }
    // A log on standard output needs no file.
    let (code, found) = check(occupied.path(), &["--listen", "127.0.0.1:0", "--log", "-"]);
    let files = format!("files are in {} (users, workdir/)", occupied.path().display());
    assert!(code == Some(0) && found.contains(&files), "{found:?}");
}

#[test]
fn a_line_that_locks_an_account_is_an_error_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users");
    let check = || check(dir.path(), &["--listen", "127.0.0.1:0"]);
    for (line, why) in [
        (format!("bob:boss:-:{HASH}"), "the role is not one of user, readonly, drop, admin, "),
        ("bob:user:-:any".to_string(), "the hash \"any\" is for the roles readonly and drop only"),
        (format!("bob:user:-:{HASH}:../x"), "the folder is not a path inside workdir, "),
        ("bob".to_string(), "not of the form NAME:ROLE:QUOTA:HASH"),
    ] {
        fs::write(&users, format!("alice:user:-:{HASH}\n{line}\n")).unwrap();
        set_mode(&users, 0o600);
        let (code, found) = check();
        let errors = only(&found, &["error", "risk"]);
        let is_it = errors[0].starts_with(&format!("error: users file, line 2: {why}"));
        assert!(code == Some(1) && errors.len() == 1 && is_it, "{line}: {code:?} {errors:?}");
    }
    fs::write(&users, format!("alice:user:-:{HASH}\nguest:drop:-:any\n")).unwrap();
    assert_eq!(check().0, Some(0), "the same without that line");
}

#[test]
fn a_running_server_is_a_note_and_goes_on() {
    let server = Server::start();
    server.registered("alice");
    server.settle(); // the log has the last line of that session
    let address = server.address().to_string();
    let (code, found) = check(server.dir(), &["--listen", &address]);
    assert_eq!(code, Some(0), "{found:?}");
    let dir = server.dir().display();
    let notes = only(&found, &["note"]);
    assert!(notes.contains(&&*format!("note: {dir}/workdir: another plainftpd uses it")));
    assert!(notes.iter().any(|note| note.starts_with("note: cannot listen on ")), "{notes:?}");
    server.logged_in("alice").expect("mkdir x", 257);
}

#[test]
fn rights_that_the_server_does_not_have_are_found() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0o755);
    let program = dir.path().join("plainftpd");
    copy_program(&program);
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    set_mode(&data, 0o755);
    let path = data.canonicalize().unwrap().display().to_string();
    let as_nobody = |address: &str, flags: &[&str]| {
        let mut command = Command::new(&program);
        command.uid(NOBODY).gid(NOBODY).args(["--listen", address, "--dir"]);
        output(command.arg(&data).args(flags))
    };
    let check = |address: &str| {
        let output = as_nobody(address, &["--check"]);
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text.lines().map(str::to_string).collect::<Vec<_>>())
    };
    let (code, found) = check("127.0.0.1:0");
    let denied = |name| format!("error: {path}/{name}: Permission denied (os error 13)");
    assert_eq!(code, Some(1));
    assert_eq!(only(&found, &["error", "note"]), ["workdir", "users", "log.txt"].map(denied));
    // What is there and can be used needs no right to create.
    fs::create_dir(data.join("workdir")).unwrap();
    set_mode(&data.join("workdir"), 0o755);
    fs::write(data.join("users"), "").unwrap();
    set_mode(&data.join("users"), 0o600);
    fs::write(data.join("log.txt"), "").unwrap();
    for name in ["users", "log.txt"] {
        chown(data.join(name), Some(NOBODY), None).unwrap();
    }
    let (code, found) = check("127.0.0.1:0");
    let risks = [
        format!("risk: {path}: no password, control file or log can be replaced: "),
        format!("risk: {path}/workdir: no account can get a folder: "),
    ]
    .map(|risk| risk + "Permission denied (os error 13)");
    assert_eq!(
        (code, only(&found, &["risk"])),
        (Some(0), risks.each_ref().map(|it| &**it).to_vec())
    );
    // A port below 1024: both say what to do.
    let ports = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if ports.trim().parse::<u16>().unwrap() > 21 {
        let address = format!("{}:21", own_address());
        let hint = format!(
            "cannot listen on {address}: Permission denied (os error 13); a port below 1024 needs \
             root or the capability CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities; else: \
             setcap cap_net_bind_service=+ep plainftpd)"
        );
        let (code, found) = check(&address);
        assert_eq!((code, only(&found, &["error"])), (Some(1), vec![&*format!("error: {hint}")]));
        let server = as_nobody(&address, &[]);
        let said = String::from_utf8(server.stderr).unwrap();
        assert_eq!((server.status.code(), said), (Some(1), format!("plainftpd: {hint}\n")));
    }
}

#[test]
fn balancers_are_named_with_who_can_speak_for_them_and_count_as_the_outside() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--listen=127.0.0.1:0", "--proxy-from=::ffff:127.0.0.1", "--proxy-from=10.0.0.1"];
    let (code, found) = check(dir.path(), &flags);
    let any = "every program there can name any client";
    for line in [
        "proxy-from = 127.0.0.1, 10.0.0.1".to_string(),
        "127.0.0.1:0: open to this machine only; PASV gives 127.0.0.1".to_string(),
        format!("balancer 127.0.0.1: {any}; PASV gives the address that the balancer reached"),
        format!("balancer 10.0.0.1: {any}; PASV gives the address that the balancer reached"),
        "risk: every client that can reach this server may create an account and fill the disk: \
         set --registration or --quota"
            .to_string(),
    ] {
        assert!(found.contains(&line), "{line} is not in:\n{}", found.join("\n"));
    }
    let firewall = "firewall: let in TCP for passive data, 49152-65535; let out";
    assert!(found.iter().any(|line| line.starts_with(firewall)), "{found:?}");
    assert_eq!(code, Some(0));
    let public = [&flags[..2], &["--public-address=192.0.2.7", "--registration=closed"]].concat();
    let line = format!("balancer 127.0.0.1: {any}; PASV gives 192.0.2.7, and EPSV is refused");
    assert!(check(dir.path(), &public).1.contains(&line));
}
