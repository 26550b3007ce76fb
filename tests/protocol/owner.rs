//! What the owner of the server does with accounts: `plainftpd user …` in the shell.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::Server;

const PROGRAM: &str = env!("CARGO_BIN_EXE_plainftpd");

/// Runs a command of the shell, which gets `input` on its standard input.
fn run_with_input(dir: &Path, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(PROGRAM)
        .args(args)
        .arg("--dir")
        .arg(dir)
        .args(["--hash-iterations", "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that asks for no password may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// What a command prints that succeeds.
#[track_caller]
fn run(dir: &Path, line: &str) -> String {
    let args: Vec<_> = line.split_whitespace().collect();
    let output = run_with_input(dir, &args, "password\n");
    let said = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), error.as_str()), (Some(0), ""), "{line}: {said}");
    said
}

/// The exit code of a command that fails, and the one line that it prints.
#[track_caller]
fn fails(dir: &Path, line: &str, input: &str) -> (i32, String) {
    let args: Vec<_> = line.split_whitespace().collect();
    let output = run_with_input(dir, &args, input);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.stdout.is_empty() && error.ends_with('\n'), "{line}: {error}");
    let error = error.strip_prefix("plainftpd: ").unwrap().trim_end();
    assert_eq!(error.lines().count(), 1, "{line}: {error}");
    (output.status.code().unwrap(), error.to_string())
}

#[test]
fn the_owner_adds_changes_lists_and_removes_accounts_while_the_server_runs() {
    let server = Server::start();
    let dir = server.dir();
    fs::create_dir_all(server.real("bob")).unwrap();
    fs::write(server.real("bob/old.txt"), "mine").unwrap();
    assert_eq!(run(dir, "user add alice"), "");
    run(dir, "user add --role readonly bob --quota=5M");
    run(dir, "user add scanner --role drop --folder alice/scans");
    run(dir, "user add root --role admin");
    assert_eq!(
        run(dir, "user list"),
        "alice            user     -             alice\n\
         bob              readonly 5242880       bob\n\
         scanner          drop     -             alice/scans\n\
         root             admin    -             /\n"
    );
    let mut bob = server.logged_in("bob");
    assert_eq!(bob.get("old.txt").unwrap(), b"mine");
    server.logged_in("scanner").put("a.txt", b"x");
    assert_eq!(fs::read(server.real("alice/scans/a.txt")).unwrap(), b"x");
    // Names are compared without case, and keep their spelling.
    run(dir, "user role BOB user");
    run(dir, "user quota bob 3");
    bob.expect("login bob password", 230);
    assert!(bob.ask("write new.txt more than three bytes").starts_with("552 "));
    run_with_input(dir, &["user", "passwd", "bob"], "looking-glass\r\nmore\n");
    server.connect().expect("login bob password", 530);
    server.connect().expect("login bob looking-glass", 230);
    let scans = fails(dir, "user remove alice", "");
    assert_eq!(scans, (1, "the folder of scanner lies in its folder".to_string()));
    run(dir, "user remove bob");
    server.connect().expect("login bob looking-glass", 530);
    assert!(server.real("bob/old.txt").exists());
    server.connect().expect("register bob password", 553);
    assert!(!server.log().contains("warning"), "{}", server.log());
}

#[test]
fn a_command_that_fails_prints_one_line_and_leaves_the_users_file_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, users) = (dir.path(), dir.path().join("users"));
    run(dir, "user add alice");
    run(dir, "user add guest --role drop");
    let hash = fs::read_to_string(&users).unwrap().lines().last().unwrap().to_string();
    let lines = [hash.replace("guest:", "any:").rsplit_once(':').unwrap().0, "any"].join(":");
    let text = fs::read_to_string(&users).unwrap() + &lines + "\nlocked:user:many:x\n# the end";
    fs::write(&users, &text).unwrap();
    let text = text.into_bytes();
    for (line, code, why) in [
        ("user add -x", 2, "the name is not of 1 to 32 letters"),
        ("user add a:b", 2, "a field cannot have a colon"),
        ("user add ../x", 2, "the name is not of 1 to 32 letters"),
        ("user add ALICE", 1, "that name is taken"),
        ("user add locked", 1, "that name is taken"),
        ("user add bob --role boss", 2, "the role is not one of"),
        ("user add bob --quota lots", 2, "the quota is not"),
        ("user add bob --folder ../x", 2, "the folder is not a path inside workdir"),
        ("user add bob --folder a:b", 2, "a field cannot have a colon"),
        ("user add bob --role admin --folder x", 2, "an administrator has all folders"),
        ("user add bob --min-password 9", 1, "a password has at least 9 characters"),
        ("user passwd alice --min-password 9", 1, "a password has at least 9 characters"),
        ("user passwd bob", 1, "there is no such account"),
        ("user passwd locked", 1, "there is no such account, or its line is malformed"),
        ("user role locked user", 1, "there is no such account, or its line is malformed"),
        ("user role any user", 2, "the hash \"any\" is for the roles readonly and drop only"),
        ("user role alice boss", 2, "the role is not one of"),
        ("user role alice user:none", 2, "a field cannot have a colon"),
        ("user quota alice lots", 2, "the quota is not"),
        ("user quota bob 5M", 1, "there is no such account"),
        ("user remove bob", 1, "there is no such account"),
        ("user add", 2, "not a command with its arguments; see --help"),
        ("user passwd alice secret", 2, "not a command with its arguments; see --help"),
        ("user list alice", 2, "not a command with its arguments; see --help"),
        ("user role alice user --role admin", 2, "not a command with its arguments"),
        ("user", 2, "not a command with its arguments; see --help"),
        ("users", 2, "unknown argument \"users\"; see --help"),
    ] {
        let (was, said) = fails(dir, line, "password\n");
        assert_eq!((was, said.starts_with(why)), (code, true), "{line}: {said}");
        assert_eq!(fs::read(&users).unwrap(), text, "{line}");
    }
    assert_eq!(fails(dir, "user add bob", "").1, "a password has at least 4 characters");
    let lock = fs::File::open(&users).unwrap();
    lock.lock().unwrap();
    for line in ["user add bob", "user remove alice"] {
        let why = "the users file: another program holds the lock of the accounts; try again";
        assert_eq!(fails(dir, line, "password\n"), (1, why.to_string()), "{line}");
        assert_eq!(fs::read(&users).unwrap(), text, "{line}");
    }
    drop(lock);
    let why = "users: No such file or directory (os error 2)";
    assert!(fails(&dir.join("missing"), "user list", "").1.ends_with(why));
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(entries.collect::<Vec<_>>(), ["users"], "nothing else is made or left");
    // A locked line can be removed, and its number is in the list.
    let number = text.iter().filter(|byte| **byte == b'\n').count();
    let locked =
        format!("\nusers file, line {number}: the quota is not -, none or a size such as 500M\n");
    let list = run(dir, "user list");
    assert!(list.ends_with(&locked), "{list}");
    run(dir, "user remove locked");
    let expected = String::from_utf8(text).unwrap().replace("locked:user:many:x\n", "");
    assert_eq!(fs::read_to_string(&users).unwrap(), expected);
}
