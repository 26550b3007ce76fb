//! Listings: names that can be used as they stand, their order, and what they promise.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{Client, Server, Way};

fn lines(client: &mut Client, line: &str) -> Vec<String> {
    let listing = String::from_utf8(client.download(Way::Epsv, line)).unwrap();
    assert!(listing.is_empty() || listing.ends_with("\r\n"), "{line}: {listing:?}");
    listing.split_terminator("\r\n").map(str::to_string).collect()
}

#[test]
fn every_line_of_nlst_is_an_argument_of_retr() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.expect("mkdir -p base/out/sub", 257);
    for name in
        ["base/a.txt", "base/out/a.txt", "base/out/b b.txt", "base/out/.c", "base/out/sub/d"]
    {
        client.put(&format!("'{name}'"), name.as_bytes());
    }
    client.expect("cd base", 250);
    for (argument, expected) in [
        ("", &["a.txt", "out"][..]),
        (" out", &["out/.c", "out/a.txt", "out/b b.txt", "out/sub"]),
        (" out/", &["out/.c", "out/a.txt", "out/b b.txt", "out/sub"]),
        (" -la out", &["out/.c", "out/a.txt", "out/b b.txt", "out/sub"]),
        (" out/sub", &["out/sub/d"]),
        (" /base/out/sub/", &["/base/out/sub/d"]),
        (" ./out/sub", &["./out/sub/d"]),
        (" out/../out/sub", &["out/../out/sub/d"]),
        (" .", &["./a.txt", "./out"]),
        (" ..", &["../base"]),
        (" /", &["/base"]),
        (" *.txt", &["a.txt"]),
        (" out/*.txt", &["out/a.txt", "out/b b.txt"]),
        (" /base/out/*.txt", &["/base/out/a.txt", "/base/out/b b.txt"]),
        (" out/s*/", &["out/sub"]),
        (" out/a.txt", &["out/a.txt"]),
        (" out/b b.txt", &["out/b b.txt"]),
        (" out/sub/./d", &["out/sub/./d"]),
    ] {
        let names = lines(&mut client, &format!("NLST{argument}"));
        assert_eq!(names, expected, "NLST{argument}");
        for name in names.iter().filter(|name| !name.ends_with("out") && !name.ends_with("sub")) {
            if name.ends_with("base") {
                client.expect(&format!("MLST {name}"), 250);
                continue;
            }
            let content = client.download(Way::Epsv, &format!("RETR {name}"));
            let file_name = name.rsplit('/').next().unwrap();
            assert!(content.ends_with(file_name.as_bytes()), "{name}: {content:?}");
        }
    }
}

#[test]
fn listings_are_sorted_by_name() {
    let server = Server::start();
    let mut client = server.registered("alice");
    for name in ["b", "2", "B", "10", "a", "-", "c.x", "C.x"] {
        fs::write(server.real(&format!("alice/{name}")), "").unwrap();
    }
    let sorted = ["-", "10", "2", "B", "C.x", "a", "b", "c.x"];
    assert_eq!(lines(&mut client, "NLST"), sorted);
    let last_column = |line: &str| line.rsplit(' ').next().unwrap().to_string();
    let listed: Vec<_> = lines(&mut client, "LIST").iter().map(|line| last_column(line)).collect();
    assert_eq!(listed, sorted);
    for word in ["ls", "STAT /", "dir /"] {
        let reply = client.expect(word, 212);
        let named: Vec<_> =
            reply.lines().filter(|line| line.starts_with(' ')).map(last_column).collect();
        assert_eq!(named, sorted, "{word}");
    }
    assert_eq!(lines(&mut client, "NLST *.x"), ["C.x", "c.x"]);
    let unsorted: BTreeSet<_> =
        lines(&mut client, "MLSD").iter().map(|line| last_column(line)).collect();
    assert_eq!(unsorted.len(), sorted.len());
}

#[test]
fn what_is_too_much_to_be_sorted_follows_and_nothing_is_missing_or_doubled() {
    let server = Server::start();
    let mut client = server.registered("alice");
    // By number, and by bytes.
    for (folder, count, width, sorted) in [("many", 10_300, 0, 10_000), ("long", 1_300, 250, 1_048)]
    {
        client.expect(&format!("mkdir /{folder}"), 257);
        for n in 0..count {
            fs::write(server.real(&format!("alice/{folder}/{n:0>width$}")), "").unwrap();
        }
        client.expect(&format!("cd /{folder}"), 250);
        let names = lines(&mut client, "NLST");
        assert!(names[..sorted].is_sorted(), "{folder}");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), count, "{folder}");
        assert_eq!(names.len(), count, "{folder}");
        assert_eq!(lines(&mut client, "LIST").len(), count, "{folder}");
        let reply = client.expect("ls", 212);
        assert!(reply.ends_with(&format!("\n212 {count} entries.")), "{folder}");
    }
}

#[test]
fn names_travel_as_bytes_over_a_data_connection_and_harmless_over_the_control_connection() {
    use std::os::unix::ffi::OsStrExt;
    let server = Server::start();
    let mut client = server.registered("alice");
    let name = b"\xff\xe9 t\tb\x1b[2J\x7f\r\n\xc2\x85.";
    fs::write(server.real("alice").join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
    let on_a_line = b"\xff\xe9 t\tb\x1b[2J\x7f??\xc2\x85.\r\n";
    for line in ["LIST", "NLST", "MLSD"] {
        let listing = client.download(Way::Epsv, line);
        assert!(listing.ends_with(on_a_line), "{line}: {listing:?}");
    }
    for word in ["ls", "STAT /"] {
        client.send_line(word);
        let reply = client.reply_bytes();
        let shown = b"\xff\xe9 t?b?[2J????.\n212 ";
        let is_shown = reply.windows(shown.len()).any(|window| window == shown);
        assert!(is_shown, "{word}: {}", String::from_utf8_lossy(&reply));
    }
}

#[test]
fn ls_says_that_flags_which_would_do_something_elsewhere_are_ignored() {
    let server = Server::start();
    let mut client = server.registered("alice");
    assert_eq!(client.ask("ls -R"), "212-/:\n212 Empty. Flags are ignored.");
    client.expect("touch a", 250);
    assert!(client.ask("ls -lt /").ends_with("\n212 1 entry. Flags are ignored."));
    client.expect("touch b", 250);
    assert!(client.ask("dir -R").ends_with("\n212 2 entries. Flags are ignored."));
    for flags in ["-l", "-la", "-a", "-A", "-1"] {
        assert!(client.ask(&format!("ls {flags}")).ends_with("\n212 2 entries."), "{flags}");
    }
}

/// Gives an account another role, as the owner does by an editor.
fn set_role(server: &Server, name: &str, role: &str) {
    let users = server.users().replace(&format!("\n{name}:user:"), &format!("\n{name}:{role}:"));
    fs::write(server.dir().join("users"), users).unwrap();
}

#[test]
fn perm_promises_what_the_account_may_do() {
    let server = Server::start();
    for (name, role) in [("alice", "user"), ("guest", "readonly"), ("root", "admin")] {
        let mut client = server.registered(name);
        client.put("f", b"x");
        client.expect("mkdir d", 257);
        std::os::unix::fs::symlink("f", server.real(&format!("{name}/link"))).unwrap();
        set_role(&server, name, role);
    }
    let perms = |client: &mut Client, line: &str, name: &str| {
        let facts = match line.starts_with("MLSD") {
            true => lines(client, line),
            false => client.expect(line, 250).lines().map(str::to_string).collect(),
        };
        let line = facts.iter().find(|line| line.ends_with(&format!("; {name}"))).unwrap();
        line.split(';').find_map(|fact| fact.trim().strip_prefix("perm=")).unwrap().to_string()
    };
    for (account, file, folder, link, top) in
        [("alice", "adfrw", "cdeflmp", "df", "celmp"), ("guest", "r", "el", "", "el")]
    {
        let mut client = server.connect();
        client.expect(&format!("login {account} password"), 230);
        for (name, expected) in [("f", file), ("d", folder), ("link", link)] {
            assert_eq!(perms(&mut client, "MLSD", name), expected, "{account}: {name}");
            let line = format!("MLST {name}");
            assert_eq!(
                perms(&mut client, &line, &format!("/{name}")),
                expected,
                "{account}: {name}"
            );
        }
        assert_eq!(perms(&mut client, "MLST", "/"), top, "{account}");
    }
    let mut admin = server.connect();
    admin.expect("login root password", 230);
    admin.put("beside", b"x");
    assert_eq!(perms(&mut admin, "MLST", "/"), "celmp");
    assert_eq!(perms(&mut admin, "MLSD", "alice"), "cdelmp");
    assert_eq!(perms(&mut admin, "MLST alice", "/alice"), "cdelmp");
    assert_eq!(perms(&mut admin, "MLSD", "beside"), "adfrw");
    assert_eq!(perms(&mut admin, "MLSD alice", "d"), "cdeflmp");
    assert_eq!(perms(&mut admin, "MLST alice/d", "/alice/d"), "cdeflmp");
    assert_eq!(perms(&mut admin, "MLSD alice", "f"), "adfrw");
    admin.expect("mv alice carol", 550);
    admin.expect("RMD alice/d", 250);
}
