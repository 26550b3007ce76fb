//! Accounts through the running server: the users file, the policy, and no password on the disk.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::{Client, Delayed, Server, has_program, until};

/// Waits until the users file has, or has not, a line of this name.
fn wait_for_line(server: &Server, name: &str, wanted: bool) {
    let line = format!("\n{name}:");
    until("the line is or is not there", || server.users().contains(&line) == wanted);
}

/// Runs a command of a shell in the server's folder, with `plainftpd` in its path.
fn shell(server: &Server, command: &str) -> std::process::Output {
    let program = Path::new(env!("CARGO_BIN_EXE_plainftpd")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    Command::new("sh")
        .args(["-c", command])
        .env("PATH", path)
        .current_dir(server.dir())
        .output()
        .unwrap()
}

/// The command of docs/operating.md that adds an account by hand.
fn command_of_the_manual() -> String {
    let mut lines = include_str!("../../docs/operating.md").lines().map(str::trim);
    lines.find(|line| line.ends_with(" >> users")).unwrap().to_string()
}

#[test]
fn an_account_is_added_by_hand_as_the_manual_says_without_a_restart() {
    let server = Server::start();
    let mut early = server.connect();
    early.expect("login carol singing", 530);
    fs::write(server.dir().join("users"), server.users() + "# my own\n").unwrap();
    let command = command_of_the_manual().replace("500M", "8K");
    assert!(command.contains("her password"));
    let short = shell(&server, &command.replace("her password", "abc"));
    assert!(!short.status.success());
    assert_eq!(
        String::from_utf8(short.stderr).unwrap(),
        "plainftpd: a password has at least 4 characters\n"
    );
    assert!(server.users().ends_with("# my own\n"), "a part of a line: {}", server.users());
    assert!(shell(&server, &command).status.success());
    early.expect("login carol 'her password'", 230);
    assert_eq!(early.ask("free"), "211 0 of 8192 bytes used; 8192 left.");
    early.expect("mkdir a", 257);
    early.expect("write b text", 150);
    assert!(early.reply().starts_with("226 "));
    assert_eq!(
        early.ask("write c text"),
        "552 /c: the quota is used up: 8192 of 8192 bytes are taken."
    );
    // Another account, and the line and its comment are still there.
    server.registered("dave");
    let (_, own) =
        server.users().split_once("# my own\n").map(|(_, own)| ((), own.to_string())).unwrap();
    let names: Vec<_> = own.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(names, ["carol", "dave"]);
}

#[test]
fn no_line_that_is_added_by_hand_is_lost_while_others_register_and_change_passwords() {
    let server = Server::start();
    let mut alice = server.registered("alice");
    let hash = server.users().lines().last().unwrap().rsplit(':').next().unwrap().to_string();
    let append = command_of_the_manual().split_once("&& ").unwrap().1.replace("carol:", "hand%s:");
    let append = append.replace("\"$hash\"", "$i \"$hash\"");
    let script = format!(
        "i=0; hash='{hash}'; while [ ! -e stop ] && [ $i -lt 3000 ]; do {append}; i=$((i+1)); \
         [ $((i%5)) -gt 0 ] || sleep 0.001; done; echo $i"
    );
    let added = std::thread::scope(|scope| {
        let by_hand = scope.spawn(|| shell(&server, &script));
        for n in 0..40 {
            alice.expect("passwd password password", 200);
            server.registered(&format!("new{n}")).expect("unregister password", 250);
            server.registered(&format!("kept{n}"));
        }
        fs::write(server.dir().join("stop"), "").unwrap();
        String::from_utf8(by_hand.join().unwrap().stdout).unwrap().trim().parse::<usize>().unwrap()
    });
    assert!(added > 100, "{added}");
    let users = server.users();
    let names: std::collections::HashSet<_> = users
        .lines()
        .filter(|line| line.ends_with(&hash))
        .map(|line| line.split(':').next().unwrap())
        .collect();
    let lost: Vec<_> = (0..added).filter(|n| !names.contains(&*format!("hand{n}"))).collect();
    assert!(lost.is_empty(), "{} of {added}, the first is {}", lost.len(), lost[0]);
    for name in ["alice", "kept0", "kept39", "hand0"] {
        server.connect().expect(&format!("login {name} password"), 230);
    }
    assert!(!server.log().contains("event=warning"), "a line is torn");
}

#[test]
fn a_new_account_is_one_line_at_the_end_of_the_same_file() {
    let server = Server::start();
    let inode = || fs::metadata(server.dir().join("users")).unwrap().ino();
    let (before, id) = (server.users(), inode());
    server.registered("alice");
    assert_eq!(inode(), id);
    let users = server.users();
    let added = users.strip_prefix(&before).unwrap();
    assert!(
        added.starts_with("alice:user:-:") && added.ends_with('\n') && added.lines().count() == 1
    );
    // What has no end is ended first: neither of both lines is lost.
    fs::write(server.dir().join("users"), users + "guest:user:-:").unwrap();
    server.registered("bob");
    server.connect().expect("login bob password", 230);
    server.connect().expect("login alice password", 230);
    server.connect().expect("login guest password", 530);
}

#[test]
fn a_lock_of_another_program_delays_changes_and_no_login() {
    let server = Server::start();
    let mut alice = server.registered("alice");
    let foreign = fs::File::open(server.dir().join("users")).unwrap();
    foreign.lock().unwrap();
    let (mut bob, mut carol) = (server.connect(), server.connect());
    bob.send_line("register bob password");
    carol.send_line("register carol password");
    alice.send_line("passwd password wonderland");
    let waiting = || {
        let who = String::from_utf8(shell(&server, "plainftpd who").stdout).unwrap();
        who.lines().filter(|line| line.ends_with(" register") || line.ends_with(" passwd")).count()
    };
    until("three changes wait for the lock", || waiting() == 3);
    server.connect().expect("login alice password", 230);
    server.connect().expect("login alice wrong", 530);
    let busy = "451 another program holds the lock of the accounts; try again.";
    assert_eq!([bob.reply(), carol.reply(), alice.reply()], [busy; 3]);
    assert_eq!(
        server.log().matches("why=\"the users file: another program holds the lock").count(),
        3
    );
    assert!(!server.users().contains("bob") && !server.real("bob").exists());
    foreign.unlock().unwrap();
    bob.expect("register bob password", 230);
    alice.expect("passwd password wonderland", 200);
}

#[test]
fn a_users_link_that_is_pointed_elsewhere_counts_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("one"), "").unwrap();
    symlink("one", at("users")).unwrap();
    let server = Server::in_folder(dir.path(), &[]);
    server.registered("alice");
    server.connect().expect("login alice password", 230);
    fs::write(at("two"), server.users().replace("alice:user:", "alice:disabled:")).unwrap();
    symlink("two", at("new")).unwrap();
    fs::rename(at("new"), at("users")).unwrap();
    server.connect().expect("login alice password", 530);
    server.registered("bob");
    assert!(fs::read_to_string(at("two")).unwrap().contains("\nbob:"));
    assert!(!fs::read_to_string(at("one")).unwrap().contains("bob"));
}

#[test]
fn a_users_file_in_utf_16_or_with_bare_crs_logs_no_client_in_and_frees_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::in_folder(dir.path(), &[]);
    let mut alice = server.registered("alice");
    let text = server.users();
    let utf_16 = text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let unreadable = "451 The accounts cannot be read; tell the owner of this server.";
    for bytes in [utf_16, text.replace('\n', "\r").into_bytes()] {
        fs::write(dir.path().join("users"), &bytes).unwrap();
        for name in ["alice", "bob"] {
            assert_eq!(server.connect().ask(&format!("login {name} password")), unreadable);
            assert_eq!(server.connect().ask(&format!("register {name} password")), unreadable);
        }
        assert_eq!(alice.ask("passwd password wonderland"), unreadable);
        assert_eq!(alice.ask("unregister password"), unreadable);
        assert_eq!(fs::read(dir.path().join("users")).unwrap(), bytes);
    }
    let log = server.log();
    let warnings: Vec<_> =
        log.lines().filter_map(|line| line.split_once("event=warning text=")).collect();
    assert_eq!(warnings.len(), 2, "{log}");
    assert!(log.contains("why=\"the users file: it is in UTF-16; save it as UTF-8\""));
    drop((server, alice));
    // So it is from the start, too.
    let server = Server::in_folder(dir.path(), &[]);
    assert_eq!(server.connect().ask("login alice password"), unreadable);
    fs::write(dir.path().join("users"), text).unwrap();
    server.connect().expect("login alice password", 230);
}

#[test]
fn a_malformed_line_locks_its_account_with_one_warning() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("users"), "mallory:user:-:\n").unwrap();
    let server = Server::in_folder(dir.path(), &[]);
    let mut client = server.connect();
    client.expect("login mallory x", 530);
    client.expect("USER mallory", 331);
    client.expect("PASS  ", 530);
    client.expect("register mallory wonderland", 553);
    client.expect("login mallory wonderland", 530);
    let log = server.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("users file, line")).collect();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].ends_with(
        "text=\"users file, line 1: the hash is not of the form \
         pbkdf2-sha256$ITERATIONS$SALT$HASH\""
    ));
}

#[test]
fn no_password_is_on_the_disk_or_in_the_log_however_it_was_mistyped() {
    let server = Server::start();
    let mut client = server.connect();
    client.expect("register alice Xyzzy-Secret", 230);
    client.expect("passwd Xyzzy-Secret Xyzzy-Secret2", 200);
    for line in [
        "logout",
        "login alice Xyzzy-Secret2",
        "whoami Xyzzy-Secret2",
        "passwd Xyzzy-Secret2",
        "Xyzzy-Secret2",
        "logout",
    ] {
        client.ask(line);
    }
    // Before a login, as a user in a hurry may type it.
    for line in [
        "Xyzzy-Secret2",
        "login Xyzzy-Secret2 alice",
        "login Xyzzy-Secret2",
        "user Xyzzy-Secret2",
        "pass Xyzzy-Secret2",
        "login alice alice Xyzzy-Secret2",
        "register Xyzzy-Secret2 abc",
    ] {
        client.ask(line);
    }
    let mut client = server.connect();
    for line in [
        "register alice Xyzzy-Secret2",
        "register .Xyzzy-Secret2 Xyzzy-Secret2",
        "unregister Xyzzy-Secret2",
        "help Xyzzy-Secret2",
        "cd Xyzzy-Secret2",
        "put Xyzzy-Secret2 7",
    ] {
        client.send_line(line);
    }
    client.send("1234567");
    client.expect("noop", 553);
    client.half_close();
    client.rest();
    let log = server.log();
    assert!(log.contains("event=end"));
    for text in [log, server.users()] {
        assert!(!text.to_lowercase().contains("xyzzy"), "{text}");
    }
}

#[test]
fn registration_can_be_closed_or_need_a_code() {
    let server = Server::with(&["--registration", "closed"]);
    let mut client = Client::to(server.address());
    assert_eq!(client.reply(), "220 plainftpd ready. Type help for the commands.");
    let reply = server.connect().expect("register alice wonderland", 530);
    assert_eq!(reply, "530 Registration is closed; the owner of this server creates accounts.");
    let server = Server::with(&["--registration", "code:sesame"]);
    let mut client = server.connect();
    client.expect("register alice wonderland", 530);
    client.expect("register alice wonderland Sesame", 530);
    client.expect("register alice wonderland sesame", 230);
}

#[test]
fn a_folder_of_a_former_account_is_not_given_to_a_new_one() {
    let server = Server::start();
    fs::create_dir_all(server.real("alice")).unwrap();
    fs::write(server.real("alice/diary"), "dear diary").unwrap();
    let mut client = server.connect();
    client.expect("register alice wonderland", 553);
    fs::remove_file(server.real("alice/diary")).unwrap();
    client.expect("register alice wonderland", 230);
}

#[test]
fn a_session_whose_account_an_editor_removed_never_sees_the_successor() {
    let server = Server::start();
    let mut first = server.registered("alice");
    fs::write(server.dir().join("users"), "").unwrap();
    let mut heir = server.registered("alice");
    heir.put("secret", b"mine");
    assert!(first.get("secret").is_err());
    assert!(!first.put("trap", b"x").starts_with("226 "));
    assert_eq!(heir.ask("ls").lines().count(), 3);
}

#[test]
fn a_missing_users_file_is_the_servers_trouble_and_is_logged() {
    let server = Server::start();
    let mut client = server.connect();
    fs::remove_file(server.dir().join("users")).unwrap();
    let reply = client.expect("login alice password", 451);
    assert_eq!(reply, "451 The accounts cannot be read; tell the owner of this server.");
    assert!(server.log().contains("why=\"the users file: "));
}

#[test]
fn a_session_of_a_removed_account_never_sees_its_successor() {
    let server = Server::start();
    let mut first = server.registered("alice");
    let mut second = server.connect();
    second.expect("login alice password", 230);
    second.expect("unregister password", 250);
    let mut heir = server.registered("alice");
    heir.expect("mkdir secret", 257);
    assert_eq!(first.ask("ls"), "212-/:\n212 Empty.");
    first.expect("cd secret", 550);
    first.expect("mkdir mine", 550);
    assert_eq!(heir.ask("ls").lines().count(), 3);
}

#[test]
fn a_session_whose_folder_opens_slowly_never_gets_the_next_accounts_folder() {
    if !has_program("strace") {
        return;
    }
    let server = Server::start();
    let mut first = server.connect();
    // Every way to open "alice" in this thread: the descriptor of the folder above may be any.
    let names = (0..40).flat_map(|fd| ["-P".to_string(), format!("{fd}/alice")]);
    let options =
        ["-e", "trace=openat", "-e", "inject=openat:delay_enter=1000000"].map(String::from);
    let options: Vec<_> = options.into_iter().chain(names).collect();
    let slowed =
        Delayed::last_thread(&server, &options.iter().map(String::as_str).collect::<Vec<_>>());
    first.send_line("register alice password");
    wait_for_line(&server, "alice", true);
    // As soon as the account is there, its owner removes it from elsewhere, and another has the
    // name.
    let mut second = server.connect();
    second.expect("login alice password", 230);
    second.expect("unregister password", 250);
    let mut heir = server.registered("alice");
    heir.put("secret", b"mine");
    assert!(first.reply().starts_with("230 "));
    drop(slowed);
    assert!(first.get("secret").is_err(), "it has the successor's folder");
    assert!(!first.put("trap", b"x").starts_with("226 "));
    assert_eq!(heir.ask("ls").lines().count(), 3);
}

#[test]
fn a_folder_that_closes_slowly_is_the_former_owners_and_never_a_successors() {
    if !has_program("strace") {
        return;
    }
    let server = Server::start();
    let mut first = server.registered("alice");
    let options = ["-e", "trace=rename", "-e", "inject=rename:delay_enter=1000000:when=2"];
    let slowed = Delayed::last_thread(&server, &options);
    // The first rename replaces the users file, the second takes the folder out of sight.
    first.send_line("unregister password");
    wait_for_line(&server, "alice", false);
    let mut heir = server.registered("alice");
    assert!(heir.put("kept", b"mine").starts_with("226 "));
    assert!(first.reply().starts_with("250 "));
    drop(slowed);
    assert_eq!(heir.get("kept").unwrap(), b"mine");
    assert!(server.real("alice/kept").exists());
}

#[test]
fn two_accounts_never_meet_even_if_one_name_begins_the_other() {
    let server = Server::start();
    let mut al = server.registered("al");
    let mut al2 = server.registered("al2");
    assert!(al2.put("mine", b"al2").starts_with("226 "));
    for path in ["mine", "/mine", "../al2/mine", "/../al2/mine", "2/mine", "../al2"] {
        assert!(al.get(path).is_err(), "{path}");
    }
    assert_eq!(al2.get("mine").unwrap(), b"al2");
}

#[test]
fn signing_in_as_another_leaves_the_first_ones_folder() {
    let server = Server::start();
    server.registered("bob");
    let mut client: Client = server.registered("alice");
    client.expect("mkdir d", 257);
    client.expect("cd d", 250);
    client.expect("login bob wrong", 530);
    client.expect("ls", 530);
    client.expect("login bob password", 230);
    assert_eq!(client.ask("pwd"), "257 \"/\" is the current folder.");
    assert_eq!(client.ask("ls"), "212-/:\n212 Empty.");
}

#[test]
fn unregister_without_a_folder_does_not_speak_of_one() {
    let server = Server::start();
    let mut client = server.registered("alice");
    fs::remove_dir(server.real("alice")).unwrap();
    assert_eq!(client.ask("unregister password"), "250 Account alice is gone.");
    assert!(!server.log().contains("event=warning"));
}
