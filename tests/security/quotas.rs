//! Quotas: when they begin, and what they count.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Server, Way};

#[test]
fn a_quota_holds_for_an_administrator_before_the_account_has_logged_in() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::in_folder(folder.path(), &[]);
    for name in ["alice", "bob", "root"] {
        server.registered(name);
    }
    server.edit_account("bob", "user:12K");
    server.edit_account("root", "admin:-");
    drop(server);
    // Since this start only the administrator has logged in.
    let server = Server::in_folder(folder.path(), &["--quota", "8K"]);
    let mut admin = server.logged_in("root");
    assert_eq!(
        admin.put("/alice/f", &[1; 8193]),
        "552 /alice/f: the quota is used up: 0 of 8192 bytes are taken."
    );
    assert!(admin.put("/bob/f", &[1; 8193]).starts_with("226 "));
    assert_eq!(
        admin.put("/bob/g", &[1; 1]),
        "552 /bob/g: the quota is used up: 12288 of 12288 bytes are taken."
    );
    let mut stream = admin.begin(Way::Epsv, "STOR /alice/f");
    // The server may close it before all is sent.
    let _ = stream.write_all(&[1; 100_000]);
    drop(stream);
    assert!(admin.reply().starts_with("552 "));
    admin.expect("cp /bob/f /alice/f", 552);
    assert_eq!(server.logged_in("alice").ask("free"), "211 0 of 8192 bytes used; 8192 left.");
    // A file beside the accounts' folders, and a folder of no account, have no quota.
    assert!(admin.put("/beside", &[1; 20_000]).starts_with("226 "));
    admin.expect("mkdir /other", 257);
    assert!(admin.put("/other/f", &[1; 20_000]).starts_with("226 "));
    // A change of the quota counts for an administrator at once.
    server.edit_account("alice", "user:16K");
    admin.expect("cp /bob/f /alice/f", 250);
    server.edit_account("alice", "user:none");
    assert!(admin.put("/alice/g", &[1; 20_000]).starts_with("226 "));
}

#[test]
fn a_login_under_a_new_quota_succeeds_while_a_file_is_appended_to() {
    let server = Server::start();
    let mut first = server.registered("alice");
    first.put("f", &[1; 5_000]);
    first.put("g", &[1; 5_000]);
    let mut append = first.begin(Way::Epsv, "APPE f");
    append.write_all(&[1; 10_000]).unwrap();
    first.wait_for_bytes(10_000);
    server.edit_account("alice", "user:40K");
    let mut second = server.logged_in("alice");
    // 16,384 bytes are stored, and 8,192 held by the append.
    second.expect("ALLO 16384", 200);
    second.expect("ALLO 16385", 552);
    drop(append);
    assert!(first.reply().starts_with("226 "));
    second.expect("ALLO 16384", 200);
    second.expect("ALLO 16385", 552);
    assert_eq!(second.ask("free"), "211 24576 of 40960 bytes used; 16384 left.");
}

#[test]
fn what_the_server_cannot_read_counts_as_nothing_and_stops_no_login() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::without_rights(folder.path(), &[]);
    let mut alice = server.registered("alice");
    for line in [
        "mkdir a",
        "mkdir a/lost+found",
        "mkdir a/z",
        "mkdir m",
        "mkdir m/listed",
        "mkdir m/listed/d",
    ] {
        alice.expect(line, 257);
    }
    for file in ["a/f", "a/lost+found/f", "a/z/f", "m/listed/f", "m/listed/d/f", "m/f", "z"] {
        alice.put(file, &[1; 5_000]);
    }
    drop((alice, server));
    // One that cannot be read, and one that can be read but not entered.
    let set_mode = |name: &str, mode: u32| {
        fs::set_permissions(
            folder.path().join("workdir/alice").join(name),
            Permissions::from_mode(mode),
        )
    };
    set_mode("a/lost+found", 0o000).unwrap();
    set_mode("m/listed", 0o444).unwrap();

    let server = Server::without_rights(folder.path(), &["--quota", "100K"]);
    let mut alice = server.logged_in("alice");
    // Five folders (the two among them, not what they hold) and four files of two blocks.
    assert_eq!(alice.ask("free"), "211 53248 of 102400 bytes used; 49152 left.");
    alice.expect("ALLO 49152", 200);
    alice.expect("ALLO 49153", 552);
    alice.expect("ls a", 212);
    alice.expect("ls a/lost+found", 550);
    assert!(alice.put("a/z/new", &[1; 40_000]).starts_with("226 "));
    assert!(alice.put("a/z/more", &[1; 10_000]).starts_with("552 "));
    assert_eq!(server.logged_in("alice").ask("free"), "211 94208 of 102400 bytes used; 8192 left.");
    let log = server.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("cannot be read")).collect();
    let [warning] = warnings.as_slice() else { panic!("{log}") };
    let text = "/a/lost+found in the folder of alice cannot be read and counts as nothing";
    assert!(warning.contains(text) && warning.contains("Permission denied"), "{warning}");
    assert!(warning.contains("so do 2 more"), "{warning}");
    for name in ["a/lost+found", "m/listed"] {
        set_mode(name, 0o755).unwrap();
    }
    assert_eq!(alice.ask("free"), "211 122880 of 102400 bytes used; 0 left.");
}

#[test]
fn an_account_stays_one_after_an_administrator_could_not_remove_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::without_rights(folder.path(), &["--quota", "40K"]);
    server.registered("root");
    server.edit_account("root", "admin:-");
    let mut alice = server.registered("alice");
    alice.expect("mkdir kept", 257);
    for file in ["f", "kept/g"] {
        assert!(alice.put(file, &[1; 5_000]).starts_with("226 "));
    }
    fs::set_permissions(server.real("alice/kept"), Permissions::from_mode(0o555)).unwrap();
    server.logged_in("root").expect("rm -r alice", 550);
    assert!(!server.real("alice/f").exists() && server.real("alice/kept/g").exists());
    // 12,288 bytes are left, and both sessions count together.
    let mut second = server.logged_in("alice");
    assert!(alice.put("new", &[1; 16_384]).starts_with("226 "));
    for session in [&mut alice, &mut second] {
        session.expect("ALLO 12288", 200);
        session.expect("ALLO 12289", 552);
    }
    fs::set_permissions(server.real("alice/kept"), Permissions::from_mode(0o755)).unwrap();
}
