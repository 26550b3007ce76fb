//! Accounts whose folder lies in that of another account, and reading without an account.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use crate::support::{Mount, Server, Way, bytes_used, has_program};

#[test]
fn a_scanner_drops_what_the_family_reads() {
    let server = Server::start();
    server.add_account("alice:user:-:HASH");
    server.add_account("scanner:drop:-:HASH:alice/scans/new");
    // Before the first login of alice. A login makes what is missing.
    let mut scanner = server.connect();
    assert_eq!(
        scanner.ask("login scanner password"),
        "230 Welcome, scanner; you are in the folder \"/\"."
    );
    assert_eq!(server.homes(), ["alice"]);
    for folder in ["alice", "alice/scans", "alice/scans/new"] {
        let mode = server.real(folder).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "{folder}");
    }
    assert_eq!(scanner.ask("whoami"), "211 scanner, in /");
    scanner.upload(Way::Pasv, "STOR one.pdf", b"first page");
    assert!(scanner.put("two.pdf", b"second page").starts_with("226 "));
    let mut alice = server.logged_in("alice");
    assert_eq!(alice.get("scans/new/one.pdf").unwrap(), b"first page");
    assert_eq!(alice.download(Way::Epsv, "RETR scans/new/two.pdf"), b"second page");
    alice.expect("mv scans/new/one.pdf letter.pdf", 250);
    assert!(server.log().contains(" user=scanner word=STOR path=/one.pdf bytes=10 code=226 "));
    // The owner of the folder may move and remove it. The next login makes it again.
    alice.expect("mv scans/new old", 250);
    assert!(scanner.put("three.pdf", b"third page").starts_with("226 "));
    assert_eq!(
        alice.get("old/three.pdf").unwrap(),
        b"third page",
        "the session stays in its folder"
    );
    alice.expect("rm -r scans", 250);
    server.logged_in("scanner");
    assert!(server.real("alice/scans/new").is_dir());
}

#[test]
fn what_a_scanner_stores_counts_for_the_account_that_owns_the_top_folder() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::in_folder(folder.path(), &[]);
    server.add_account("alice:user:40K:HASH");
    server.add_account("scanner:drop:none:HASH:alice/scans");
    let mut alice = server.logged_in("alice");
    alice.put("f", &[1; 8192]);
    let mut scanner = server.logged_in("scanner");
    scanner.put("g", &[1; 8192]);
    // The folder that the login has made counts, too.
    assert_eq!(
        scanner.put("h", &[1; 20_481]),
        "552 /h: the quota is used up: 20480 of 40960 bytes are taken."
    );
    let used = "211 20480 of 40960 bytes used; 20480 left.";
    assert_eq!((alice.ask("free"), scanner.ask("free")), (used.to_string(), used.to_string()));
    assert_eq!(bytes_used(&server.real("alice")), 20480);
    alice.put("i", &[1; 12_288]);
    assert_eq!(
        scanner.put("h", &[1; 8_193]),
        "552 /h: the quota is used up: 32768 of 40960 bytes are taken."
    );
    alice.expect("rm i", 250);
    assert!(scanner.put("h", &[1; 8_193]).starts_with("226 "));
    drop(server);
    // Since this start alice has not logged in, and what lies beside the scanner's folder counts.
    let server = Server::in_folder(folder.path(), &[]);
    let mut scanner = server.logged_in("scanner");
    assert_eq!(
        scanner.put("i", &[1; 8_193]),
        "552 /i: the quota is used up: 32768 of 40960 bytes are taken."
    );
    // A login makes a missing folder even in an account that is full.
    assert!(scanner.put("i", &[1; 8_192]).starts_with("226 "));
    server.add_account("fax:drop:none:HASH:alice/fax");
    server.logged_in("fax").expect("mkdir x", 552);
    assert_eq!(bytes_used(&server.real("alice")), 45056);
    assert_eq!(server.logged_in("alice").ask("free"), "211 45056 of 40960 bytes used; 0 left.");
}

#[test]
fn logins_at_once_make_a_missing_folder_once_and_count_it_once() {
    let server = Server::start();
    server.add_account("alice:user:40K:HASH");
    server.add_account("scanner:drop:-:HASH:alice/a/b/c/d");
    let mut alice = server.logged_in("alice");
    for _ in 0..60 {
        let mut scanners: Vec<_> = (0..8).map(|_| server.connect()).collect();
        scanners.iter_mut().for_each(|scanner| scanner.send_line("login scanner password"));
        for scanner in &mut scanners {
            let reply = scanner.reply();
            assert!(reply.starts_with("230 "), "{reply}");
        }
        // This is what the server has counted up to now. It does not count again.
        let refused = "552 /x: the quota is used up: 16384 of 40960 bytes are taken.";
        assert_eq!(alice.put("x", &[1; 30_000]), refused);
        alice.expect("rm -r a", 250);
    }
}

#[test]
fn a_folder_that_no_account_owns_has_the_smallest_quota_of_those_who_use_it() {
    let server = Server::with(&["--quota", "40K"]);
    server.add_account("anonymous:readonly:none:any:public");
    server.add_account("teacher:user:20K:HASH:public");
    server.add_account("pupil:drop:-:HASH:public/in");
    server.add_account("root:admin:-:HASH");
    for order in [["teacher", "pupil", "anonymous"], ["anonymous", "pupil", "teacher"]] {
        let mut clients = order.map(|name| server.logged_in(name));
        for client in &mut clients {
            assert_eq!(client.ask("free"), "211 4096 of 20480 bytes used; 16384 left.");
        }
    }
    let mut admin = server.logged_in("root");
    assert_eq!(
        admin.put("/public/f", &[1; 16_385]),
        "552 /public/f: the quota is used up: 4096 of 20480 bytes are taken."
    );
    // An account of that name decides from now on.
    server.add_account("public:user:none:HASH");
    assert!(admin.put("/public/f", &[1; 16_385]).starts_with("226 "));
    let free = server.logged_in("teacher").ask("free");
    assert!(free.ends_with(" used; no limit is set."), "{free}");
}

#[test]
fn the_first_name_of_a_folder_is_that_of_an_account_in_any_case() {
    let server = Server::start();
    server.registered("Alice").put("f", b"hers");
    server.edit_account("Alice", "user:40K");
    server.add_account("guest:readonly:-:HASH:aLICE");
    server.add_account("scanner:drop:-:HASH:ALICE/Scans");
    let mut guest = server.logged_in("guest");
    assert_eq!(guest.get("f").unwrap(), b"hers");
    assert_eq!(guest.ask("free"), "211 4096 of 40960 bytes used; 36864 left.");
    server.logged_in("scanner");
    assert!(server.real("Alice/Scans").is_dir());
    assert_eq!(server.homes(), ["Alice"]);
}

#[test]
fn the_line_of_an_account_keeps_its_folder_when_the_server_changes_it() {
    let server = Server::start();
    server.add_account("guest:user:1M:HASH:alice/shared folder");
    let mut guest = server.logged_in("guest");
    guest.expect("passwd password secret", 200);
    let line = server.users().lines().last().unwrap().to_string();
    assert!(line.starts_with("guest:user:1048576:pbkdf2-sha256$1$"), "{line}");
    assert!(line.ends_with(":alice/shared folder"), "{line}");
    server.connect().expect("login guest secret", 230);
}

#[test]
fn a_disk_that_is_read_only_refuses_a_login_only_if_the_folder_is_missing() {
    let server = Server::start();
    server.registered("alice");
    let Some(_mount) = Mount::tmpfs(&server.real("alice"), "size=1M") else { return };
    fs::create_dir(server.real("alice/here")).unwrap();
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(server.real("alice"))
        .status()
        .unwrap();
    assert!(remounted.success());
    server.add_account("one:readonly:-:HASH:alice/here");
    server.add_account("two:readonly:-:HASH:alice/gone");
    server.logged_in("one").expect("ls", 212);
    server.connect().expect("login two password", 451);
    let log = server.log();
    assert!(log.contains(" why=\"the account's folder alice/gone: Read-only file system"), "{log}");
}

#[test]
fn curl_reads_without_an_account() {
    if !has_program("curl") {
        return;
    }
    let server = Server::start();
    server.add_account("anonymous:readonly:none:any:public");
    fs::create_dir(server.real("public")).unwrap();
    fs::write(server.real("public/f"), "for all").unwrap();
    let curl = |arguments: &[&str], path: &str| {
        let url = format!("ftp://{}/{path}", server.address());
        let output = Command::new("curl").args(["-sS"]).args(arguments).arg(url).output().unwrap();
        String::from_utf8(if output.status.success() { output.stdout } else { output.stderr })
    };
    assert_eq!(curl(&[], "f").unwrap(), "for all");
    assert_eq!(curl(&["-l"], "").unwrap().trim_end(), "f");
    assert_eq!(curl(&["-u", "ftp:me@example.org"], "f").unwrap(), "for all");
    let refused = curl(&["-T", "Cargo.toml"], "g").unwrap();
    assert!(refused.contains("550"), "{refused}");
    assert_eq!(fs::read_dir(server.real("public")).unwrap().count(), 1);
    assert!(server.log().contains(" user=anonymous word=PASS code=230 "));
}

#[test]
fn the_name_ftp_means_anonymous_unless_it_is_an_account() {
    let server = Server::start();
    let mut client = server.connect();
    let unknown = client.ask("login ftp x");
    assert_eq!(unknown, "530 Wrong name or password.");
    server.add_account("anonymous:readonly:none:any:public");
    for name in ["ftp", "FTP", "Anonymous"] {
        client.expect(&format!("USER {name}"), 331);
        assert_eq!(
            client.ask("PASS me@example.org"),
            "230 Welcome, anonymous; you are in the folder \"/\"."
        );
    }
    // A guest may press Enter at the prompt for the password.
    client.expect("USER ftp", 331);
    client.expect("PASS ", 230);
    client.expect("login ftp ''", 230);
    assert_eq!(client.ask("whoami"), "211 anonymous, in /");
    server.add_account("ftp:user:-:HASH");
    client.expect("login ftp me@example.org", 530);
    client.expect("login ftp password", 230);
    assert_eq!(client.ask("whoami"), "211 ftp, in /");
    assert_eq!(server.homes(), ["ftp", "public"]);
    assert_eq!(server.real("public").metadata().unwrap().nlink(), 2);
}
