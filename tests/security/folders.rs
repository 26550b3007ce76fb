//! Accounts whose folder has another name, and accounts that accept every password.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Server, snapshot};

#[test]
fn a_link_or_a_file_where_a_folder_should_be_refuses_the_login_and_the_log_says_why() {
    let server = Server::start();
    server.registered("bob").put("secret", b"TOP-SECRET");
    let mut alice = server.registered("alice");
    alice.expect("mkdir /real", 257);
    alice.put("/real/f", b"in");
    alice.put("/file", b"");
    symlink("../bob", server.real("alice/link")).unwrap();
    symlink("real", server.real("alice/inside")).unwrap();
    symlink("nowhere", server.real("alice/dangling")).unwrap();
    symlink("bob", server.real("public")).unwrap();
    server.add_account("zero:user:-:HASH:alice/real");
    server.logged_in("zero").expect("get f", 150);
    let before = snapshot(&server.real(""));
    for folder in
        ["alice/link", "alice/link/new", "alice/inside", "alice/dangling/new", "alice/file/new"]
            .iter()
            .chain(&["public", "public/new", "alice/file"])
    {
        server.remove_account("one");
        server.add_account(&format!("one:user:-:HASH:{folder}"));
        let mut client = server.connect();
        assert_eq!(
            client.ask("login one password"),
            "451 Your folder cannot be opened; tell the owner of this server.",
            "{folder}"
        );
        client.expect("ls", 530);
        let log = server.log();
        let line = log.lines().rfind(|line| line.contains("account=one")).unwrap();
        assert!(
            line.contains(&format!("why=\"the account's folder {folder}: Not a dir")),
            "{line}"
        );
    }
    assert_eq!(snapshot(&server.real("")), before, "nothing was made through a link");
}

#[test]
fn a_drop_box_in_an_account_sees_nothing_and_replaces_nothing() {
    let server = Server::start();
    let mut alice = server.registered("alice");
    alice.expect("mkdir /scans", 257);
    alice.put("/scans/letter", b"private");
    server.add_account("scanner:drop:-:HASH:alice/scans");
    let mut scanner = server.logged_in("scanner");
    let refused = "550 This account may not do that.";
    for line in [
        "ls",
        "ls letter",
        "get letter",
        "info letter",
        "hash letter",
        "SIZE letter",
        "STAT letter",
    ]
    .iter()
    .chain(&["rm letter", "mv letter x", "cp letter x", "append letter x", "rm -r /"])
    {
        assert_eq!(scanner.ask(line), refused, "{line}");
    }
    scanner.expect("PASV", 227);
    for line in ["LIST", "MLSD", "NLST", "RETR letter"] {
        assert_eq!(scanner.ask(line), refused, "{line}");
    }
    assert!(scanner.put("letter", b"forged").starts_with("55"));
    assert!(scanner.put("../above", b"new").starts_with("226 "), "`..` of the top is the top");
    assert_eq!(fs::read(server.real("alice/scans/letter")).unwrap(), b"private");
    assert_eq!(fs::read(server.real("alice/scans/above")).unwrap(), b"new");
    assert!(!server.real("alice/above").exists());
}

#[test]
fn a_stranger_cannot_register_a_name_whose_folder_an_account_uses() {
    let server = Server::start();
    for (line, name) in [
        ("scanner:drop:-:HASH:ghost/scans", "ghost"),
        ("scanner:drop:-:HASH:ghost/scans", "GHOST"),
        ("scanner:drop:-:HASH:Ghost", "ghost"),
        // A locked line may be mended.
        ("scanner:drop:-:no hash:ghost/scans", "ghost"),
        ("scanner:disabled:-:HASH:ghost/scans", "ghost"),
        ("scanner:drop:-:HASH:/ghost/scans", "ghost"),
        ("scanner:drop:-:HASH:ghost\nscanner:drop:-:HASH", "ghost"),
        ("anonymous:readonly:-:any:ghost", "ghost"),
        ("anonymous:readonly:-:any:public", "ftp"),
    ] {
        server.add_account(line);
        let mut stranger = server.connect();
        let reply = stranger.ask(&format!("register {name} password"));
        assert_eq!(reply, "553 That name is taken.", "{line}");
        server.remove_account("scanner");
        server.remove_account("anonymous");
    }
    assert_eq!(server.homes(), [""; 0]);
    server.registered("ghost");
    server.registered("ftp");
}

#[test]
fn an_account_whose_folder_another_account_uses_cannot_be_unregistered() {
    let server = Server::start();
    let mut alice = server.registered("Alice");
    for line in ["scanner:drop:-:HASH:alice/scans", "scanner:drop:-:broken:ALICE"] {
        server.add_account(line);
        assert_eq!(
            alice.ask("unregister password"),
            "550 Another account works in the folder of this one, so this one stays; \
             ask the owner of this server.",
            "{line}"
        );
        let log = server.log();
        let line = log.lines().last().unwrap();
        assert!(line.contains(" why=\"the folder of scanner lies in its folder\""), "{line}");
        server.remove_account("scanner");
    }
    server.logged_in("alice");
    // Neither a line that points elsewhere nor the account's own line keeps it.
    server.add_account("other:user:-:HASH:bob/files");
    assert_eq!(alice.ask("unregister password"), "250 Account Alice and its folder are gone.");
    server.add_account("carol:user:-:HASH:carol/files");
    let mut carol = server.logged_in("carol");
    carol.put("f", b"kept");
    assert_eq!(carol.ask("unregister password"), "250 Account carol is gone; its files stay.");
    assert_eq!(fs::read(server.real("carol/files/f")).unwrap(), b"kept");
    assert_eq!(server.connect().ask("register carol password"), "553 That name is taken.");
}

#[test]
fn who_leaves_takes_no_files_of_the_account_that_owns_the_folder() {
    let server = Server::start();
    server.registered("alice").put("f", b"hers");
    for folder in ["alice", "alice/in"] {
        server.add_account(&format!("guest:user:-:HASH:{folder}"));
        let mut guest = server.logged_in("guest");
        guest.put("g", b"kept");
        assert_eq!(guest.ask("unregister password"), "250 Account guest is gone; its files stay.");
        assert_eq!(fs::read(server.real(folder).join("g")).unwrap(), b"kept");
    }
    assert_eq!(server.logged_in("alice").get("f").unwrap(), b"hers");
    assert!(!server.users().contains("guest:"));
}

#[test]
fn an_account_without_a_password_reads_and_changes_nothing() {
    let server = Server::start();
    server.add_account("anonymous:readonly:none:any:public");
    let mut reader = server.connect();
    reader.expect("login anonymous x", 230);
    fs::write(server.real("public/f"), "for all").unwrap();
    fs::create_dir(server.real("public/d")).unwrap();
    let before = (snapshot(&server.real("")), server.users());
    assert_eq!(reader.get("f").unwrap(), b"for all");
    for line in [
        "mkdir x",
        "rm f",
        "rm -r d",
        "rmdir d",
        "mv f g",
        "cp f g",
        "touch f",
        "append f x",
        "write g x",
        "MFMT 20200101000000 f",
        "SITE CHMOD 777 f",
        "SITE RMDIR d",
        "passwd x secret",
        "unregister x",
    ] {
        assert_eq!(reader.ask(line), "550 This account may not do that.", "{line}");
    }
    for line in ["STOR g", "APPE f", "STOU"] {
        reader.expect("PASV", 227);
        assert_eq!(reader.ask(line), "550 This account may not do that.", "{line}");
    }
    assert_eq!((snapshot(&server.real("")), server.users()), before);
}

#[test]
fn a_session_changes_nothing_of_an_account_that_has_come_to_accept_every_password() {
    let server = Server::start();
    let mut alice = server.registered("alice");
    server.remove_account("alice");
    server.add_account("alice:readonly:-:any");
    let users = server.users();
    alice.expect("unregister whatever", 530);
    server.logged_in("alice");
    assert_eq!(server.users(), users);
    let mut bob = server.registered("bob");
    server.remove_account("bob");
    server.add_account("bob:drop:-:any");
    bob.expect("passwd whatever secret", 530);
    server.connect().expect("login bob anything", 230);
}

#[test]
fn only_a_reader_or_a_drop_box_may_accept_every_password() {
    let server = Server::start();
    for role in ["user", "admin", "disabled"] {
        server.add_account(&format!("{role}:{role}:-:any"));
        server.connect().expect(&format!("login {role} any"), 530);
    }
    let log = server.log();
    assert_eq!(
        log.matches("the hash \\\"any\\\" is for the roles readonly and drop only").count(),
        3
    );
}

#[test]
fn sessions_without_a_password_cannot_fill_the_log() {
    let server = Server::start();
    server.add_account("anonymous:readonly:none:any:public");
    fs::create_dir(server.real("public")).unwrap();
    fs::write(server.real("public/f"), "for all").unwrap();
    let mut stranger = server.connect();
    let (rounds, script) = (8_000, "login anonymous x\r\nget f\r\nget g\r\nlogout\r\n");
    std::thread::scope(|scope| {
        let mut typing = stranger.stream().try_clone().unwrap();
        scope.spawn(move || {
            use std::io::Write;
            for _ in 0..rounds / 100 {
                typing.write_all(script.repeat(100).as_bytes()).unwrap();
            }
            typing.write_all(b"quit\r\n").unwrap();
        });
        assert!(stranger.rest().ends_with("221 Goodbye.\r\n"));
    });
    let log = server.log();
    assert!(log.contains(" user=anonymous word=login code=230 "), "{log}");
    let lines = log.lines().count();
    // What all clients without an account may cause, and a few lines per second.
    assert!((15_000..21_000).contains(&lines), "{lines}");
}

#[test]
fn the_owner_is_warned_of_an_account_without_a_password_beyond_loopback() {
    let warning = "an account accepts every password, so every client that can reach this server \
                   may use its folder";
    let folder = tempfile::tempdir().unwrap();
    drop(Server::in_folder(folder.path(), &[]));
    let warnings = |flags: &[&str]| {
        let server = Server::in_folder(folder.path(), flags);
        let log = server.log();
        let last = log.rsplit("event=start").next().unwrap();
        last.matches(warning).count()
    };
    assert_eq!(warnings(&["--listen", "0.0.0.0:0"]), 0);
    let users = fs::read_to_string(folder.path().join("users")).unwrap();
    let open = format!("{users}anonymous:readonly:none:any:public\n");
    fs::write(folder.path().join("users"), open).unwrap();
    assert_eq!(warnings(&["--listen", "127.0.0.1:0"]), 0);
    assert_eq!(warnings(&["--listen", "0.0.0.0:0"]), 1);
    let locked = format!("{users}anonymous:user:none:any:public\n");
    fs::write(folder.path().join("users"), locked).unwrap();
    assert_eq!(warnings(&["--listen", "0.0.0.0:0"]), 0, "it cannot log in");
}
