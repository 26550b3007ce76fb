//! What the owner of the server does with accounts in the shell (`plainftpd user …`), and what
//! administrators do over the wire.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::interrupted::Terminal;
use crate::support::{Server, copy_program, finished, has_program, is_root, output};

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
    finished(child)
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
         root             admin    -             /\n\
         scanner          drop     -             alice/scans\n"
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
        ("user role alice user --role admin", 2, "unknown flag --role; see --help"),
        ("user add bob --with-files", 2, "unknown flag --with-files; see --help"),
        ("user remove alice --with-files --wait 5", 2, "unknown flag --wait; see --help"),
        ("user role alice user --quota 5M", 2, "unknown flag --quota; see --help"),
        ("user list --folder x", 2, "unknown flag --folder; see --help"),
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

#[test]
fn a_terminal_asks_twice_without_echo_and_ctrl_c_leaves_it_as_it_was() {
    if !has_program("python3") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut shell = Terminal::start(dir.path(), &["sh"]);
    let user = |words: &str| format!("{PROGRAM} user {words} --hash-iterations 1; echo code $?\n");
    shell.types(&user("add alice"));
    for (asked, typed) in [("Password: ", "won der\\land\n"), ("Again: ", "won der\\land\n")] {
        shell.shows(asked);
        shell.types(typed);
    }
    // What is shown between is the end of the line that was typed, and no password.
    shell.shows_only("\r\ncode 0\r\n");
    shell.types(&user("passwd alice"));
    for (asked, typed) in [("Password: ", "one\n"), ("Again: ", "two\n")] {
        shell.shows(asked);
        shell.types(typed);
    }
    shell.shows("plainftpd: the two passwords differ\r\ncode 1\r\n");
    for typed in [&["\x03"][..], &["one\n", "\x03"]] {
        shell.types(&user("passwd alice"));
        for (asked, typed) in ["Password: ", "Again: "].iter().zip(typed) {
            shell.shows(asked);
            shell.types(typed);
        }
        shell.shows("code 130\r\n");
        shell.types("stty -a | grep -c -e ' -echo '; echo end\n");
        shell.shows("0\r\nend\r\n");
    }
    // A mistake is reported before the password is asked for.
    shell.types(&user("add ALICE"));
    shell.shows("plainftpd: that name is taken\r\ncode 1\r\n");
    shell.types("exit\n");
    let server = Server::in_folder(dir.path(), &[]);
    server.connect().expect("login alice \"won der\\\\land\"", 230);
}

#[test]
fn removing_an_account_with_its_files_follows_no_link_and_frees_the_name() {
    let server = Server::start();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("kept"), "x").unwrap();
    let mut alice = server.registered("Alice");
    alice.put("a.txt", b"a");
    symlink(outside.path(), server.real("Alice/link")).unwrap();
    server.registered("bob");
    fs::remove_dir(server.real("bob")).unwrap();
    symlink(outside.path(), server.real("bob")).unwrap();
    assert_eq!(run(server.dir(), "user remove alice --with-files"), "");
    assert!(!server.real("Alice").exists() && outside.path().join("kept").exists());
    assert!(alice.ask("write b.txt b").starts_with("550 "), "the session reaches no file");
    server.registered("Alice").expect("free", 211);
    let (code, why) = fails(server.dir(), "user remove bob --with-files", "");
    let said = "the account is removed, but its files are left: ";
    assert!(code == 1 && why.starts_with(said), "{why}");
    assert!(outside.path().join("kept").exists());
    // A locked line may have any name.
    let users = server.users() + "../outside:user\n";
    fs::write(server.dir().join("users"), users).unwrap();
    fs::create_dir(server.dir().join("outside")).unwrap();
    let stay = "its files stay, because its line names another folder or is malformed\n";
    assert_eq!(run(server.dir(), "user remove ../outside --with-files"), stay);
    assert!(server.dir().join("outside").exists());
    // A malformed line may name a folder that the server cannot read from it.
    fs::create_dir(server.real("dave")).unwrap();
    fs::write(server.dir().join("users"), server.users() + "dave:user:many:x:shared\n").unwrap();
    assert_eq!(run(server.dir(), "user remove dave --with-files"), stay);
    assert!(server.real("dave").exists());
    // What is in another account's folder is another's, and the name of the account is no folder.
    for folder in ["Alice", "Alice/scans"] {
        server.add_account(&format!("carol:user:-:HASH:{folder}"));
        server.logged_in("carol").put("kept", b"x");
        fs::create_dir_all(server.real("carol")).unwrap();
        assert_eq!(run(server.dir(), "user remove carol --with-files"), stay);
        assert!(server.real(folder).join("kept").exists() && server.real("carol").exists());
        server.connect().expect("login carol password", 530);
    }
    assert_eq!(server.temporaries(), Vec::<String>::new());
}

#[test]
fn an_account_that_cannot_be_written_to_the_end_is_not_added_and_the_command_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, users) = (dir.path(), dir.path().join("users"));
    // In units of 512 bytes. One line more is too much.
    let text = format!("#{}\n", "x".repeat(1000));
    fs::write(&users, &text).unwrap();
    let mut shell = Command::new("sh");
    let line = format!("echo password | {PROGRAM} user add alice --hash-iterations 1");
    let output = output(shell.args(["-c", &format!("ulimit -f 2; {line}")]).current_dir(dir));
    let error = String::from_utf8(output.stderr).unwrap();
    let why = "plainftpd: the users file: too large: a file may have 1024 bytes at most here\n";
    assert_eq!((output.status.code(), error.as_str()), (Some(1), why));
    assert_eq!(fs::read_to_string(&users).unwrap(), text);
}

const NOBODY: u32 = 65534;

#[test]
fn owner_group_and_mode_of_the_users_file_stay_if_root_runs_a_command() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (dir, users) = (dir.path(), dir.path().join("users"));
    chown(dir, Some(NOBODY), Some(NOBODY)).unwrap();
    run(dir, "user add alice");
    let facts = || {
        let facts = fs::metadata(&users).unwrap();
        (facts.uid(), facts.gid(), facts.permissions().mode() & 0o7777)
    };
    assert_eq!(facts(), (NOBODY, NOBODY, 0o600), "a new file is of the folder's owner");
    chown(&users, Some(NOBODY), Some(1)).unwrap();
    fs::set_permissions(&users, fs::Permissions::from_mode(0o640)).unwrap();
    for line in ["add bob", "passwd bob", "role bob drop", "quota bob 5M", "remove bob"] {
        run(dir, &format!("user {line}"));
        assert_eq!(facts(), (NOBODY, 1, 0o640), "{line}");
    }
}

#[test]
fn a_command_without_the_right_to_change_the_file_says_so_and_changes_nothing() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (dir, users) = (dir.path(), dir.path().join("users"));
    run(dir, "user add alice");
    let program = dir.join("plainftpd");
    copy_program(&program);
    chown(&users, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(&users, fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o555)).unwrap();
    let text = fs::read(&users).unwrap();
    for line in ["add bob", "passwd alice", "role alice drop", "remove alice"] {
        let mut command = Command::new(&program);
        command.arg("user").args(line.split(' ')).current_dir(dir).stdin(Stdio::piped());
        let mut child = command
            .args(["--hash-iterations", "1"])
            .uid(NOBODY)
            .gid(NOBODY)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(b"password\n");
        let output = finished(child);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert_eq!(error, "plainftpd: the users file: Permission denied (os error 13)\n");
        assert_eq!(fs::read(&users).unwrap(), text, "{line}");
    }
    assert_eq!(fs::read_dir(dir).unwrap().count(), 2);
}

#[test]
fn no_line_is_lost_by_200_commands_beside_registrations_and_an_administrator() {
    let server = Server::start();
    let dir = server.dir();
    run(dir, "user add root --role admin");
    let mut expected = vec!["root:admin".to_string()];
    let registered = |prefix: &str| -> Vec<String> {
        let register = |at| {
            server.connect().expect(&format!("register {prefix}{at} password"), 230);
            format!("{prefix}{at}:user")
        };
        (0..60).map(register).collect()
    };
    let administered = || -> Vec<String> {
        let mut root = server.logged_in("root");
        let mut add = |at| {
            root.expect(&format!("useradd w{at} password drop"), 250);
            root.expect(&format!("userpass w{at} wonderland"), 250);
            if at % 2 == 0 {
                return format!("w{at}:drop");
            }
            root.expect(&format!("userdel w{at}"), 250);
            String::new()
        };
        (0..30).map(&mut add).collect()
    };
    let commanded = || -> Vec<String> {
        let mut left = Vec::new();
        for at in 0..50 {
            run(dir, &format!("user add c{at}"));
            run(dir, &format!("user role c{at} readonly"));
            run(dir, &format!("user passwd c{at}"));
            if at % 2 == 0 {
                run(dir, &format!("user remove c{at}"));
            } else {
                run(dir, &format!("user quota c{at} 5M"));
                left.push(format!("c{at}:readonly"));
            }
        }
        left
    };
    thread::scope(|scope| {
        let threads = [
            scope.spawn(|| registered("a")),
            scope.spawn(|| registered("b")),
            scope.spawn(administered),
        ];
        expected.extend(commanded());
        expected.extend(threads.into_iter().flat_map(|thread| thread.join().unwrap()));
    });
    expected.retain(|line| !line.is_empty());
    expected.sort();
    let users = server.users();
    let lines = users.lines().filter(|line| !line.starts_with('#'));
    let mut found: Vec<String> =
        lines.map(|line| line.split(':').take(2).collect::<Vec<_>>().join(":")).collect();
    found.sort();
    assert_eq!(found, expected);
    server.logged_in("a59").expect("logout", 220);
    server.connect().expect("login w28 wonderland", 230);
    assert!(!server.log().contains("warning"), "{}", server.log());
}

#[test]
fn an_administrator_cares_for_accounts_over_the_wire_and_nothing_else_may() {
    let server = Server::start();
    run(server.dir(), "user add root --role admin");
    let mut alice = server.registered("alice");
    let words = ["users", "useradd bob secret-1", "userdel alice", "userpass alice secret-2"];
    for word in words.iter().flat_map(|word| [word.to_string(), format!("SITE {word}")]) {
        server.connect().expect(&word, 530);
        assert_eq!(alice.ask(&word), "550 This account may not do that.", "{word}");
    }
    let mut root = server.logged_in("root");
    assert_eq!(root.ask("useradd bob secret-1 readonly"), "250 Account bob added.");
    assert_eq!(root.ask("SITE USERADD carol secret-1"), "250 Account carol added.");
    assert_eq!(
        root.ask("users"),
        "211-Accounts: name, role, quota, folder.\n \
         alice            user     -             alice\n \
         bob              readonly -             bob\n \
         carol            user     -             carol\n \
         root             admin    -             /\n\
         211 End."
    );
    server.connect().expect("login bob secret-1", 230);
    assert_eq!(root.ask("userpass alice secret-2"), "250 Account alice has the new password.");
    alice.put("a.txt", b"a");
    server.connect().expect("login alice password", 530);
    assert_eq!(root.ask("SITE USERDEL ALICE"), "250 Account ALICE removed; its files stay.");
    // A session goes on until it ends, as after an edit of the file.
    alice.put("b.txt", b"b");
    server.connect().expect("login alice secret-2", 530);
    assert!(server.real("alice/a.txt").exists());
    for (line, reply) in [
        ("userdel root", "550 You are logged in to that account; another may remove it."),
        ("userdel ROOT", "550 You are logged in to that account; another may remove it."),
        ("userdel alice", "550 There is no such account, or its line is malformed."),
        ("userpass dave secret-3", "550 There is no such account, or its line is malformed."),
        ("userpass bob abc", "501 A password has at least 4 characters."),
        ("useradd BOB secret-3", "553 That name is taken."),
        ("useradd dave secret-3 boss", "501 The role is not one of user, …"),
        ("useradd ../x secret-3", "501 The name is not of 1 to 32 letters, …"),
        ("useradd dave", "501 Usage: useradd NAME PASSWORD [ROLE]"),
        ("userdel", "501 Usage: userdel NAME"),
    ] {
        let said = root.ask(line);
        let is_right =
            reply.strip_suffix('…').map_or(said == reply, |start| said.starts_with(start));
        assert!(is_right, "{line}: {said}");
    }
    let log = server.log();
    for line in [
        "user=root word=useradd account=bob code=250 ",
        "user=root word=useradd account=carol code=250 ",
        "user=root word=users code=211 ",
        "user=root word=userpass account=alice code=250 ",
        "user=root word=userdel account=ALICE code=250 ",
        "user=root word=useradd why=\"That name is taken.\" code=553 ",
    ] {
        assert!(log.contains(line), "{line} is not in {log}");
    }
    assert!(!log.contains("secret") && !log.contains("dave"), "{log}");
}
