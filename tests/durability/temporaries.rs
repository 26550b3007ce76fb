//! A temporary file lies beside the name that it will take. No client can see or name it, whether
//! its upload is in progress or a kill has left it, in a plain folder or on a mounted disk.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::support::{Client, Mount, Server, Way, bytes_used};

const QUOTA: u64 = 4 * 1024 * 1024;

/// A server that removes nothing by itself any more: what a test plants stays until a command meets
/// it.
fn swept() -> Server {
    let server = Server::start();
    server.wait_for_sweeper();
    server
}

#[test]
fn reserved_names_do_not_exist_and_cannot_be_created_by_any_word() {
    let server = swept();
    let mut client = server.registered("alice");
    client.put("f", b"x");
    let stale = server.stale_name(7);
    let names = [&*stale, ".plainftpd-", ".PlainFTPD-x", ".plainftpd-server"];
    for name in names {
        fs::create_dir(server.real("alice").join(name)).unwrap();
        fs::write(server.real("alice").join(name).join("x"), "x").unwrap();
    }
    for line in [
        "cd {}",
        "ls {}",
        "info {}",
        "hash {}",
        "get {}",
        "rm {}",
        "rmdir {}",
        "rm -r {}",
        "cp {} new",
        "mv {} new",
        "RETR {}",
        "SIZE {}",
        "MDTM {}",
        "MLST {}",
        "MFMT 20200101000000 {}",
        "XSHA256 {}",
        "SITE CHMOD 600 {}",
        "SITE RMDIR {}",
        "SITE COPY {} new",
        "STAT {}",
        "RNFR {}",
        "SITE CPFR {}",
        "CWD {}",
        "LIST {}",
        "NLST {}",
        "MLSD {}",
        "DELE {}",
        "RMD {}",
        "get {}/x",
        "STOR {}/new",
        "APPE {}/x",
        "STOU {}/x",
        "mkdir {}/new",
        "cp f {}/new",
        "mv f {}/new",
        "touch {}/x",
        "cp {}/x new",
        "mv {}/x new",
        "rm {}/x",
        "cd {}/../{}",
        "STOR {}/{}",
    ] {
        for name in names {
            let line = line.replace("{}", name);
            assert!(client.ask(&line).starts_with("550 "), "{line}");
        }
    }
    for line in [
        "mkdir {}",
        "MKD {}",
        "touch {}",
        "cp f {}",
        "cp -f f {}",
        "mv f {}",
        "mv -f f {}",
        "SITE COPY f {}",
        "STOR {}",
        "STOU {}",
        "APPE {}",
        "RNFR f\r\nRNTO {}",
        "SITE CPFR f\r\nSITE CPTO {}",
        "REST 1\r\nSTOR {}",
        "put {} 0",
        "write {} text",
        "append {} text",
    ] {
        for name in names {
            let line = line.replace("{}", name);
            client.send_line(&line);
            if line.contains('\n') {
                assert!(client.reply().starts_with("350 "), "{line}");
            }
            let own =
                format!("553 /{name}: names that begin with \".plainftpd-\" are the server's own.");
            // The reply to put and its like comes after an invitation, if content was worth
            // reading.
            let reply = client.reply();
            assert_eq!(
                if reply.starts_with("150 ") { client.reply() } else { reply },
                own,
                "{line}"
            );
        }
    }
    assert_eq!(client.ask("ls").lines().count(), 3, "the file, and nothing else");
    assert_eq!(client.ask("ls *").lines().count(), 3);
    for pattern in [".*", ".plainftpd-*", "?plainftpd*"] {
        client.expect(&format!("ls {pattern}"), 550);
    }
    for line in ["LIST", "NLST", "MLSD", "NLST *"] {
        let listed = String::from_utf8(client.download(Way::Epsv, line)).unwrap().to_lowercase();
        assert!(!listed.contains("plainftpd"), "{line}: {listed}");
    }
    for name in names {
        assert_eq!(fs::read_to_string(server.real("alice").join(name).join("x")).unwrap(), "x");
    }
    assert_eq!(client.get("f").unwrap(), b"x");
}

/// A plain folder, and one on a mounted disk.
fn in_both_kinds_of_folder(check: impl Fn(&Server, &mut Client, &Path)) {
    for is_mounted in [false, true] {
        let server = Server::with(&["--quota", "4M"]);
        server.wait_for_sweeper();
        let mut client = server.registered("alice");
        client.expect("mkdir disk", 257);
        let disk = server.real("alice/disk");
        let mount = if is_mounted { Mount::tmpfs(&disk, "size=16m") } else { None };
        if is_mounted && mount.is_none() {
            return;
        }
        client.expect("cd disk", 250);
        check(&server, &mut client, &disk);
    }
}

/// What a kill leaves: half a file, and a tree that was being copied or removed.
fn leave_stale(server: &Server, folder: &Path) {
    let [file, tree] = [7, 8].map(|number| server.stale_name(number));
    fs::write(folder.join(&file), [1; 100_000]).unwrap();
    let tree = folder.join(tree);
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::write(tree.join("a/b/f"), [1; 100_000]).unwrap();
    fs::write(tree.join("a").join(file), [1; 100_000]).unwrap();
}

/// An upload that has come so far and goes on.
fn begin_upload(server: &Server, name: &str, length: usize) -> (Client, TcpStream) {
    let mut client = server.connect();
    client.expect("login alice password", 230);
    let mut data = client.begin(Way::Epsv, &format!("STOR {name}"));
    data.write_all(&vec![7; length]).unwrap();
    client.wait_for_bytes(length);
    (client, data)
}

/// The room that is left is what the quota leaves beside what is really there and on its way.
#[track_caller]
fn has_room(server: &Server, client: &mut Client, on_its_way: u64) {
    let left = QUOTA - bytes_used(&server.real("alice")) - on_its_way;
    client.expect(&format!("ALLO {left}"), 200);
    client.expect(&format!("ALLO {}", left + 1), 552);
}

#[track_caller]
fn used_by_free(server: &Server, client: &mut Client) {
    let used = bytes_used(&server.real("alice"));
    assert!(client.ask("free").starts_with(&format!("211 {used} of ")), "{used}");
}

#[test]
fn stale_ones_are_no_hindrance_and_count_for_nothing() {
    in_both_kinds_of_folder(|server, client, disk| {
        client.expect("mkdir d", 257);
        client.expect("mkdir d/e", 257);
        client.put("d/f", &[1; 10_000]);
        for folder in ["", "d", "d/e"] {
            leave_stale(server, &disk.join(folder));
        }
        assert_eq!(client.ask("ls d").lines().count(), 4);
        assert_eq!(client.ask("ls d/e"), "212-/disk/d/e:\n212 Empty.");
        has_room(server, client, 0);
        used_by_free(server, client);
        client.expect("cp d copy", 250);
        assert_eq!(fs::read_dir(disk.join("copy")).unwrap().count(), 2);
        assert_eq!(fs::read_dir(disk.join("copy/e")).unwrap().count(), 0);
        client.expect("mv d/e moved", 250);
        client.expect("rmdir moved", 250);
        has_room(server, client, 0);
        client.expect("rmdir d", 550);
        client.expect("rm -r d", 250);
        client.expect("rm -r copy", 250);
        has_room(server, client, 0);
        used_by_free(server, client);
        let left: Vec<_> = fs::read_dir(disk).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "those that lie beside: {left:?}");
    });
}

#[test]
fn rmdir_removes_a_limited_number_of_stale_files_at_once_and_leaves_unknown_ones() {
    let server = swept();
    let mut client = server.registered("alice");
    client.expect("mkdir d", 257);
    for n in 0..1500 {
        fs::write(server.real("alice/d").join(server.stale_name(n)), "x").unwrap();
    }
    let again = "450 /d: what broken transfers left in it is being removed; try again.";
    assert_eq!(client.ask("rmdir d"), again);
    assert_eq!(fs::read_dir(server.real("alice/d")).unwrap().count(), 500);
    client.expect("rmdir d", 250);
    // In one tree of theirs, too.
    let tree = server.real("alice/d").join(server.stale_name(0)).join("a");
    fs::create_dir_all(&tree).unwrap();
    for n in 0..1500 {
        fs::write(tree.join(n.to_string()), "x").unwrap();
    }
    assert_eq!(client.ask("rmdir d"), again);
    assert_eq!(client.ask("rmdir d"), "250 /d removed.");
    // Another server's is not judged, but goes with the folder.
    client.expect("mkdir d", 257);
    fs::write(server.real("alice/d/.plainftpd-1-0-0"), "x").unwrap();
    assert_eq!(
        client.ask("rmdir d"),
        "550 /d: it holds a hidden file that this server did not make."
    );
    client.expect("rm -r d", 250);
    assert!(!server.real("alice/d").exists());
}

#[test]
fn live_ones_count_once_keep_rmdir_away_and_go_with_rm() {
    in_both_kinds_of_folder(|server, client, disk| {
        client.expect("mkdir d", 257);
        client.expect("mkdir d/e", 257);
        let (mut uploader, data) = begin_upload(server, "disk/d/e/new", 50_000);
        assert_eq!(server.temporaries().len(), 1);
        assert!(server.temporaries()[0].starts_with("alice/disk/d/e/.plainftpd-"));
        assert_eq!(client.ask("ls d/e"), "212-/disk/d/e:\n212 Empty.");
        has_room(server, client, 53_248);
        used_by_free(server, client);
        has_room(server, client, 53_248);
        assert_eq!(
            client.ask("rmdir d/e"),
            "450 /disk/d/e: an upload into it is in progress; try again."
        );
        client.expect("cp d copy", 250);
        assert_eq!(fs::read_dir(disk.join("copy/e")).unwrap().count(), 0);
        client.expect("rm -r copy", 250);
        // A folder that is moved takes it along.
        client.expect("mv d moved", 250);
        drop(data);
        assert!(uploader.reply().starts_with("226 "));
        assert_eq!(client.get("moved/e/new").unwrap(), [7; 50_000]);
        has_room(server, client, 0);

        let (mut uploader, data) = begin_upload(server, "disk/moved/e/more", 50_000);
        client.expect("rm -r moved", 250);
        assert_eq!(fs::read_dir(disk).unwrap().count(), 0);
        drop(data);
        assert!(uploader.reply().starts_with("550 "), "there is no such folder any more");
        has_room(server, client, 0);
        used_by_free(server, client);
        assert!(server.temporaries().is_empty());
    });
}

#[test]
fn what_is_made_belongs_to_the_group_that_its_folder_gives() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.expect("mkdir shared", 257);
    client.put("f", b"x");
    client.expect("mkdir d", 257);
    client.put("d/f", b"x");
    let shared = server.real("alice/shared");
    let group = 12_345;
    if std::os::unix::fs::chown(&shared, None, Some(group)).is_err() {
        assert!(std::env::var_os("CI").is_none(), "CI must be able to give a folder to a group");
        eprintln!("SKIPPED: a folder cannot be given to another group here");
        return;
    }
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o2775)).unwrap();
    client.upload(Way::Epsv, "STOR shared/stor", b"x");
    client.put("shared/put", b"x");
    client.send_line("write shared/write text");
    assert!(client.reply().starts_with("150 ") && client.reply().starts_with("226 "));
    for line in ["touch shared/touch", "cp f shared/cp", "cp d shared/copied"] {
        client.expect(line, 250);
    }
    client.expect("mkdir shared/mkdir", 257);
    client.upload(Way::Epsv, "STOR shared/put", b"replaced");
    for name in ["stor", "put", "write", "touch", "cp", "copied", "copied/f", "mkdir"] {
        assert_eq!(fs::metadata(shared.join(name)).unwrap().gid(), group, "{name}");
    }
}

#[test]
fn uploads_need_no_folder_of_the_servers_own() {
    let server = Server::start();
    let mut client = server.registered("alice");
    assert_eq!(server.homes(), ["alice"]);
    client.upload(Way::Epsv, "STOR f", b"x");
    assert_eq!(server.homes(), ["alice"]);
}

#[test]
fn what_a_kill_left_is_gone_soon_after_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::in_folder(dir.path(), &[]);
    let mut client = server.registered("alice");
    client.expect("mkdir d", 257);
    let (_uploader, _data) = begin_upload(&server, "d/new", 50_000);
    server.kill();
    assert_eq!(server.temporaries().len(), 1);
    leave_stale(&server, &server.real("alice/d"));
    let server = Server::in_folder(dir.path(), &[]);
    server.wait_until_swept();
    let mut client = server.connect();
    client.expect("login alice password", 230);
    client.expect("rmdir d", 250);
    while !server.log().contains(" event=swept files=3\n") {
        std::thread::yield_now();
    }
}
