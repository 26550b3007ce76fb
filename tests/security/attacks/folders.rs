//! Planted links, and folders that are pulled away.

use super::*;

/// CWE-59, as in CVE-2010-0926: a link in a user's folder that leads out of it. Here the
/// owner of the host planted them; no FTP verb may go through one.
#[test]
fn no_ftp_verb_follows_a_planted_link() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir_all(outside.join("folder")).unwrap();
    fs::write(outside.join("secret"), "TOP-SECRET").unwrap();
    fs::write(outside.join("folder/secret"), "TOP-SECRET").unwrap();
    fs::create_dir(dir.path().join("home")).unwrap();
    let server = Server::in_folder(&dir.path().join("home"), &[]);
    server.registered("bob").put("secret", b"TOP-SECRET");
    let mut client = server.registered("alice");
    let alice = server.real("alice");
    let plant = || {
        for entry in fs::read_dir(&alice).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            }
            .unwrap();
        }
        fs::create_dir(alice.join("folder")).unwrap();
        fs::write(alice.join("mine"), "mine").unwrap();
        for (target, name) in [
            (outside.as_path(), "link"),
            (&outside, "folder/link"),
            (&outside.join("secret"), "file"),
            (&outside.join("new"), "dangling"),
            (Path::new("../bob"), "up"),
            (Path::new("../bob/secret"), "relative"),
            (Path::new("mine"), "inner"),
            (Path::new("loop"), "loop"),
        ] {
            symlink(target, alice.join(name)).unwrap();
        }
    };
    let before = (snapshot(&outside), snapshot(&server.real("bob")));
    let through = [
        "link/secret",
        "link/folder/secret",
        "folder/link/secret",
        "up/secret",
        "link/new",
        "loop/x",
        "inner/x",
    ];
    let links = ["link", "folder/link", "file", "dangling", "up", "relative", "inner", "loop"];
    let verbs: &[&[&str]] = &[
        &["RETR {}"],
        &["STOR {}"],
        &["APPE {}"],
        &["STOU {}"],
        &["REST 2", "STOR {}"],
        &["REST 2", "RETR {}"],
        &["LIST {}"],
        &["LIST {}/*"],
        &["NLST {}"],
        &["NLST {}/*"],
        &["MLSD {}"],
        &["MLST {}"],
        &["STAT {}"],
        &["SIZE {}"],
        &["MDTM {}"],
        &["MDTM 20200101000000 {}"],
        &["MFMT 20200101000000 {}"],
        &["SITE CHMOD 777 {}"],
        &["HASH {}"],
        &["XSHA256 {}"],
        &["SITE CPFR {}", "SITE CPTO loot", "RETR loot"],
        &["SITE CPFR mine", "SITE CPTO {}"],
        &["SITE COPY {} loot", "RETR loot"],
        &["RNFR {}", "RNTO folder/loot", "RETR folder/loot"],
        &["RNFR mine", "RNTO {}"],
        &["CWD {}", "LIST", "RETR secret", "CWD /"],
        &["MKD {}"],
        &["RMD {}"],
        &["DELE {}"],
        &["SITE RMDIR {}"],
    ];
    for path in through.iter().chain(&links) {
        for lines in verbs {
            plant();
            for line in *lines {
                let line = line.replace("{}", path);
                let verb = line.split(' ').next().unwrap();
                let is_upload = ["STOR", "APPE", "STOU"].contains(&verb);
                let is_data = is_upload || ["RETR", "LIST", "NLST", "MLSD"].contains(&verb);
                let port = is_data.then(|| client.epsv_port());
                let stream = port.map(|port| client.connect_to(port));
                let mut replies = reply_of_line(&mut client, &line);
                if let Some(mut stream) = stream.filter(|_| replies.starts_with("150 ")) {
                    let mut content = Vec::new();
                    match is_upload {
                        true => stream.write_all(b"PWNED").unwrap(),
                        false => drop(stream.read_to_end(&mut content).unwrap()),
                    }
                    drop(stream);
                    replies = format!("{replies}\n{}\n{}", lossy(&content), reply_of(&mut client));
                }
                assert!(!replies.contains("SECRET"), "{line}: {replies}");
                assert!(!replies.contains("outside"), "{line}: a link's target: {replies}");
                if through.contains(path) && line.contains(path) {
                    assert!(replies.starts_with("55"), "{line}: {replies}");
                }
                if ["RETR", "APPE", "SIZE", "HASH", "XSHA256", "MFMT", "CWD"].contains(&verb)
                    && line.contains(path)
                {
                    assert!(replies.starts_with("550 "), "{line}: {replies}");
                }
                in_step(&mut client);
            }
            // Of the link or of what took its place; never of the target.
            assert_eq!(
                fs::read_link(alice.join("inner"))
                    .map_or(4, |_| fs::read(alice.join("mine")).map_or(4, |mine| mine.len())),
                4,
                "{lines:?} {path}"
            );
        }
        assert!(
            (snapshot(&outside), snapshot(&server.real("bob"))) == before,
            "{path}: something outside changed"
        );
    }
}

/// As in CVE-2004-0148, in which an unusable home opened the host's root: a client that removes or
/// renames its current folder, or its root, may be in another folder afterwards.
#[test]
fn the_root_of_an_account_stays_and_its_current_folder_may_go_without_harm() {
    let server = Server::with(PATIENT);
    let mut client = server.registered("alice");
    client.expect("mkdir d", 257);
    client.put("d/keep", b"keep");
    client.put("f", b"f");
    for spelling in
        ["/", ".", "..", "/.", "/..", "//", "d/..", "d/../../..", "/d/../.", "../alice/.."]
    {
        for line in [
            "RMD {}",
            "XRMD {}",
            "rmdir {}",
            "DELE {}",
            "rm {}",
            "del {}",
            "rm -r {}",
            "rm -rf {}",
            "SITE RMDIR {}",
            "RNFR {}|RNTO x",
            "RNFR d|RNTO {}",
            "RNFR f|RNTO {}",
            "mv {} x",
            "mv -f {} x",
            "ren {} d",
            "cp {} x",
            "cp {} d",
            "cp -f {} d/x",
            "SITE COPY {} x",
            "SITE CPFR {}|SITE CPTO x",
            "SITE CPFR d|SITE CPTO {}",
            "SITE CPFR f|SITE CPTO {}",
            "MKD {}",
            "mkdir {}",
            "STOR {}",
            "APPE {}",
            "RETR {}",
        ] {
            let mut replies = Vec::new();
            for line in line.split('|') {
                replies.push(client.ask(&line.replace("{}", spelling)));
            }
            let last = replies.last().unwrap();
            assert!(last.starts_with("550 "), "{line} with {spelling}: {last}");
        }
        // The root's own bits and time may change; one can always come in again.
        client.expect(&format!("SITE CHMOD 000 {spelling}"), 200);
        client.expect(&format!("MFMT 20200101000000 {spelling}"), 213);
        assert_eq!(client.ask("ls").lines().count(), 4, "{spelling}");
    }
    assert_eq!(client.get("d/keep").unwrap(), b"keep");
    // The current folder, and one above it.
    for removal in [
        "rm -r .",
        "rm -r /a",
        "SITE RMDIR .",
        "SITE RMDIR ..",
        "rm -r ../../a",
        "RNFR .|RNTO /gone",
        "RNFR /a|RNTO /gone",
        "mv . /gone",
        "mv /a /gone",
    ] {
        for line in ["MKD /a", "MKD /a/b", "CWD /a/b"] {
            client.ask(line);
        }
        for line in removal.split('|') {
            let reply = client.ask(line);
            assert!(reply.starts_with("250 ") || reply.starts_with("350 "), "{line}: {reply}");
        }
        assert_eq!(client.ask("PWD"), "257 \"/a/b\" is the current folder.", "{removal}");
        for line in [
            "LIST",
            "NLST",
            "MLSD",
            "MLST",
            "MKD x",
            "STOR x",
            "APPE x",
            "STOU x",
            "RETR keep",
            "RMD .",
            "rm -r .",
            "RNFR .",
            "CWD .",
            "CWD x",
            "SITE CHMOD 777 .",
        ] {
            client.expect(line, 550);
        }
        assert!(
            client.ask("put x 1\r\nx").starts_with("150") && client.reply().starts_with("550 ")
        );
        client.expect("CWD /", 250);
        client.ask("rm -r /a");
        client.ask("rm -r /gone");
        assert_eq!(client.ask("ls").lines().count(), 4, "{removal}");
    }
    // By another session, which then gives the name to a file.
    client.expect("MKD /a", 257);
    client.expect("CWD /a", 250);
    let mut other = logged_in(&server, "alice");
    other.expect("RMD a", 250);
    other.put("a", b"file");
    for line in ["STOR x", "MKD x", "RETR x", "CWD x", "DELE x", "RNFR x"] {
        client.expect(line, 550);
    }
    client.expect("CDUP", 250);
    assert_eq!(client.ask("PWD"), "257 \"/\" is the current folder.");
    assert_eq!(server.homes().len(), 1);
}
