//! Disks that are mounted in an account, or over it: everything works there as elsewhere.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::{Client, Delayed, Mount, Server, Way, bytes_used, has_program, noise, sha256};

/// An account with a disk at `disk`, another folder of the host at `bound`, and the account `bob`
/// that is on a disk of its own as a whole. `None` if nothing can be mounted here.
struct House {
    server: Server,
    client: Client,
    // Unmounted before their folders go.
    _mounts: Vec<Mount>,
    _elsewhere: tempfile::TempDir,
}

impl House {
    fn new(flags: &[&str]) -> Option<House> {
        let server = Server::with(flags);
        let elsewhere = tempfile::tempdir().unwrap();
        let mut client = server.registered("alice");
        client.expect("mkdir disk", 257);
        client.expect("mkdir bound", 257);
        server.registered("bob");
        let mounts = vec![
            Mount::tmpfs(&server.real("alice/disk"), "size=16m")?,
            Mount::bind(elsewhere.path(), &server.real("alice/bound"))?,
            Mount::tmpfs(&server.real("bob"), "size=16m")?,
        ];
        Some(House { server, client, _mounts: mounts, _elsewhere: elsewhere })
    }

    fn bob(&self) -> Client {
        let mut bob = self.server.connect();
        bob.expect("login bob password", 230);
        bob
    }
}

fn dictated(client: &mut Client, line: &str) {
    client.send_line(line);
    assert!(client.reply().starts_with("150 ") && client.reply().starts_with("226 "), "{line}");
}

/// Every word that stores, moves or removes, in the folder that the client is in.
fn do_everything(client: &mut Client) {
    for line in ["STOR f", "STOR f", "APPE g", "STOU"] {
        client.upload(Way::Epsv, line, b"content");
    }
    client.expect("REST 3", 350);
    client.upload(Way::Epsv, "STOR f", b"TENT");
    assert_eq!(client.get("f").unwrap(), b"conTENT");
    assert!(
        client.put("put", b"x").starts_with("226 ") && client.put("put", b"y").starts_with("226 ")
    );
    dictated(client, "write w text");
    dictated(client, "append w more");
    for line in ["touch t", "cp f copy", "cp -f f g", "mv copy moved", "rm moved"] {
        client.expect(line, 250);
    }
    client.expect("mkdir d", 257);
    client.expect("mkdir d/e", 257);
    client.put("d/e/f", b"deep");
    for line in ["cp d copied", "mv copied moved", "mv f d", "rm -r moved", "rm -r d/e"] {
        client.expect(line, 250);
    }
    client.expect("RNFR put", 350);
    client.expect("RNTO w", 250);
    client.expect("rm d/f", 250);
    client.expect("rmdir d", 250);
    let listed = client.ask("ls");
    let names: Vec<_> =
        listed.lines().filter_map(|line| line.strip_prefix(" -")?.split(' ').next_back()).collect();
    let [unique, others @ ..] = names.as_slice() else { panic!("{listed}") };
    assert!(unique.starts_with("file."), "{unique}");
    assert_eq!(others, ["g", "t", "w"]);
    for name in names {
        client.expect(&format!("rm {name}"), 250);
    }
    assert!(client.ask("ls").ends_with("\n212 Empty."));
}

#[test]
fn every_word_works_on_a_mounted_disk() {
    let Some(mut house) = House::new(&[]) else { return };
    for folder in ["/disk", "/bound"] {
        house.client.expect(&format!("cd {folder}"), 250);
        do_everything(&mut house.client);
    }
    do_everything(&mut house.bob());
    assert!(house.server.temporaries().is_empty());
}

/// Names below a folder, sorted.
fn tree(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![top.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(top).unwrap().display().to_string());
            if path.is_dir() {
                waiting.push(path);
            }
        }
    }
    found.sort();
    found
}

#[track_caller]
fn counts_exactly(server: &Server, client: &mut Client, quota: u64) {
    let left = quota - bytes_used(&server.real("alice"));
    client.expect(&format!("ALLO {left}"), 200);
    client.expect(&format!("ALLO {}", left + 1), 552);
}

#[test]
fn rm_r_empties_a_disk_that_is_mounted_below_and_says_that_it_stays() {
    const QUOTA: u64 = 4 * 1024 * 1024;
    let Some(House { server, mut client, _mounts, _elsewhere }) = House::new(&["--quota", "4M"])
    else {
        return;
    };
    let fill = |top: &str| {
        for folder in ["a/b/c", "a/d", "e"] {
            fs::create_dir_all(server.real(top).join(folder)).unwrap();
            fs::write(server.real(top).join(folder).join("f"), [1; 5_000]).unwrap();
        }
        fs::write(server.real(top).join("f"), [1; 5_000]).unwrap();
    };
    // The disk itself.
    fill("alice/disk");
    client.expect("free", 211);
    let stays = "550 /disk: a disk is mounted there, which stays; all in it is removed.";
    assert_eq!(client.ask("rm -r disk"), stays);
    assert_eq!(tree(&server.real("alice")), ["bound", "disk"]);
    counts_exactly(&server, &mut client, QUOTA);
    assert_eq!(client.ask("rmdir disk"), "550 /disk: a disk is mounted there, which stays.");
    client.expect("mv disk other", 550);

    // A folder that holds it, with all else in it; and a disk in that disk.
    client.expect("mkdir top", 257);
    client.expect("mkdir top/in", 257);
    client.expect("mkdir top/in/disk", 257);
    let disk = Mount::tmpfs(&server.real("alice/top/in/disk"), "size=4m").unwrap();
    fill("alice/top/in/disk");
    fs::create_dir_all(server.real("alice/top/in/disk/a/b/inner")).unwrap();
    let inner = Mount::tmpfs(&server.real("alice/top/in/disk/a/b/inner"), "size=4m").unwrap();
    for folder in ["alice/top", "alice/top/in", "alice/top/in/disk/a/b/inner"] {
        fill(folder);
    }
    client.expect("free", 211);
    counts_exactly(&server, &mut client, QUOTA);
    let reply = client.ask("rm -r top");
    assert!(reply.starts_with("550 /top: a disk is mounted at \""), "{reply}");
    assert!(reply.ends_with("in it, which stays; what could not be removed is left."), "{reply}");
    // Only the way to the disks is left, and it is there to be seen.
    let left = tree(&server.real("alice/top"));
    assert!(left.iter().all(|path| server.real("alice/top").join(path).is_dir()), "{left:?}");
    assert!(left.len() <= 5, "{left:?}");
    counts_exactly(&server, &mut client, QUOTA);
    drop(inner);
    drop(disk);
    client.expect("free", 211); // what the owner took away is not counted any more
    client.expect("rm -r top", 250);
    counts_exactly(&server, &mut client, QUOTA);
    assert!(server.temporaries().is_empty());
}

#[test]
fn curl_and_lftp_upload_list_move_and_remove_on_a_mounted_disk() {
    if !has_program("curl") || !has_program("lftp") {
        return;
    }
    let Some(mut house) = House::new(&[]) else { return };
    let local = tempfile::tempdir().unwrap();
    let content = noise(300_000, 1);
    fs::write(local.path().join("photo"), &content).unwrap();
    fs::create_dir_all(local.path().join("tree/sub")).unwrap();
    fs::write(local.path().join("tree/a"), "a").unwrap();
    fs::write(local.path().join("tree/sub/b"), &content).unwrap();
    let url = format!("ftp://alice:password@{}", house.server.address());
    let curl = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "60"]).args(arguments).current_dir(local.path());
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    };
    for folder in ["disk", "bound"] {
        let at = |name: &str| format!("{url}/{folder}/{name}");
        // Twice: a new file, and over it.
        for _ in 0..2 {
            curl(&["-T", "photo", &at("new/photo"), "--ftp-create-dirs"]);
        }
        assert!(curl(&[&at("new/photo")]) == content);
        assert_eq!(curl(&["-l", &at("new/")]), b"photo\n");
        let quote = |commands: &[&str]| {
            let mut arguments = vec!["-l".to_string(), at("")];
            for command in commands {
                arguments.extend(["-Q".to_string(), format!("-{command}")]);
            }
            curl(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        };
        quote(&["RNFR new/photo", "RNTO moved", "RMD new"]);
        assert!(
            fs::read(house.server.real("alice").join(folder).join("moved")).unwrap() == content
        );
        quote(&["DELE moved"]);

        let (host, port) = (house.server.address().ip(), house.server.address().port());
        let script = format!(
            "set cmd:fail-exit yes; set ftp:ssl-allow no; set net:max-retries 1; \
             mirror -R tree {folder}/tree; put photo -o {folder}/photo; \
             mv {folder}/photo {folder}/other; mirror {folder}/tree {folder}; \
             rm {folder}/other; rm -r {folder}/tree; cls {folder}"
        );
        let output = Command::new("lftp")
            .args(["-u", "alice,password", "-p", &port.to_string(), &host.to_string(), "-e"])
            .arg(format!("{script}; bye"))
            .current_dir(local.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(fs::read(local.path().join(folder).join("sub/b")).unwrap() == content);
        assert_eq!(tree(&house.server.real("alice").join(folder)), [""; 0]);
    }
    house.client.expect("NOOP", 200);
}

type Facts = (String, u32, i64, i64);

/// What a move must keep: content, permissions, and the time to the nanosecond.
fn facts(path: &Path) -> Facts {
    let metadata = fs::symlink_metadata(path).unwrap();
    let content = match metadata.is_symlink() {
        true => fs::read_link(path).unwrap().into_os_string().into_encoded_bytes(),
        false if metadata.is_dir() => Vec::new(),
        false => fs::read(path).unwrap(),
    };
    (sha256(&content), metadata.mode() & 0o7777, metadata.mtime(), metadata.mtime_nsec())
}

fn facts_of_tree(top: &Path) -> Vec<(String, Facts)> {
    let inside = tree(top).into_iter().map(|name| (name.clone(), facts(&top.join(name))));
    inside.chain([(String::new(), facts(top))]).collect()
}

fn age(path: &Path) {
    let file = fs::File::open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789)).unwrap();
}

#[test]
fn mv_and_rnto_move_between_disks_and_keep_times_permissions_and_the_account_of_space() {
    const QUOTA: u64 = 1024 * 1024;
    let Some(House { server, mut client, _mounts, _elsewhere }) = House::new(&["--quota", "1M"])
    else {
        return;
    };
    let real = |name: &str| server.real("alice").join(name);
    // More than half of the quota: it is not stored twice.
    client.put("f", &noise(700_000, 1));
    fs::set_permissions(real("f"), fs::Permissions::from_mode(0o750)).unwrap();
    age(&real("f"));
    let before = facts(&real("f"));
    let moves: [fn(&mut Client, &str, &str); 2] = [
        |client, from, to| drop(client.expect(&format!("mv {from} {to}"), 250)),
        |client, from, to| {
            client.expect(&format!("RNFR {from}"), 350);
            client.expect(&format!("RNTO {to}"), 250);
        },
    ];
    let mut at = "f";
    for (to, step) in [("disk/f", 0), ("bound/g", 1), ("f", 0), ("disk/h", 1), ("f", 0)] {
        moves[step](&mut client, at, to);
        assert!(!real(at).exists() && facts(&real(to)) == before, "{to}");
        counts_exactly(&server, &mut client, QUOTA);
        at = to;
    }
    // Into a folder, as in a shell; and over another file only when told to.
    client.put("disk/taken", b"old");
    assert_eq!(client.ask("mv f disk/taken"), "550 /disk/taken: exists already.");
    client.expect("mv f disk", 250);
    client.expect("mv disk/f f", 250);
    client.expect("mv -f f disk/taken", 250);
    assert_eq!(facts(&real("disk/taken")), before);
    counts_exactly(&server, &mut client, QUOTA);
    client.expect("rm disk/taken", 250);

    // A folder with all in it, a link among it.
    fs::create_dir_all(real("d/e/empty")).unwrap();
    for (name, bits) in [("d/a", 0o600), ("d/e/b", 0o444)] {
        fs::write(real(name), noise(5_000, 2)).unwrap();
        fs::set_permissions(real(name), fs::Permissions::from_mode(bits)).unwrap();
        age(&real(name));
    }
    std::os::unix::fs::symlink("../a", real("d/e/link")).unwrap();
    for (name, bits) in [("d/e/empty", 0o700), ("d/e", 0o755), ("d", 0o750)] {
        fs::set_permissions(real(name), fs::Permissions::from_mode(bits)).unwrap();
        age(&real(name));
    }
    server.wait_for_sweeper();
    let stale = server.stale_name(0);
    fs::write(real("d").join(&stale), "stale").unwrap();
    age(&real("d"));
    client.expect("free", 211);
    fs::rename(real("d").join(&stale), real("stale")).unwrap();
    age(&real("d"));
    // A link's own time cannot be set, and the disk gives it the present one.
    let timeless = |mut tree: Vec<(String, Facts)>| {
        for (name, facts) in &mut tree {
            if name == "e/link" {
                (facts.2, facts.3) = (0, 0);
            }
        }
        tree
    };
    let before = timeless(facts_of_tree(&real("d")));
    fs::rename(real("stale"), real("d").join(&stale)).unwrap();
    age(&real("d"));
    client.expect("mv d disk/moved", 250);
    assert!(!real("d").exists());
    assert_eq!(timeless(facts_of_tree(&real("disk/moved"))), before);
    counts_exactly(&server, &mut client, QUOTA);
    client.expect("mv disk/moved bound", 250);
    client.expect("mv bound/moved/e/link l", 250);
    assert_eq!(fs::read_link(real("l")).unwrap(), Path::new("../a"));
    counts_exactly(&server, &mut client, QUOTA);
    assert!(server.temporaries().is_empty());
}

#[test]
fn a_move_between_disks_that_fails_leaves_its_source_whole() {
    const QUOTA: u64 = 64 * 1024 * 1024;
    let Some(House { server, mut client, _mounts, _elsewhere }) = House::new(&["--quota", "64M"])
    else {
        return;
    };
    client.expect("mkdir d", 257);
    client.put("d/large", &noise(20_000_000, 1));
    client.put("small", b"small");
    // A folder's own time tells that a temporary came and went.
    let files = || {
        let mut facts = facts_of_tree(&server.real("alice"));
        facts.retain(|(name, _)| ["d/large", "small"].contains(&name.as_str()));
        (tree(&server.real("alice")), facts)
    };
    let before = files();
    let check = |client: &mut Client, what: &str| {
        assert_eq!(files(), before, "{what}");
        counts_exactly(&server, client, QUOTA);
        assert!(server.temporaries().is_empty(), "{what}");
    };
    // The disk has 16 MiB.
    for line in ["mv d disk/d", "mv d/large disk", "mv -f d/large disk/large"] {
        assert!(client.expect(line, 452).ends_with(": the disk is full."));
        check(&mut client, line);
    }
    // What is written to stays until that has ended, and an upload into it is not lost.
    let mut other = server.connect();
    other.expect("login alice password", 230);
    let data = other.begin(Way::Epsv, "APPE small");
    let busy = "it is being changed while it moves to another disk; try again";
    assert_eq!(client.ask("mv small disk"), format!("450 /disk/small: {busy}."));
    drop(data);
    assert!(other.reply().starts_with("226 "));
    check(&mut client, "an append");
    let data = other.begin(Way::Epsv, "STOR d/new");
    let awaited = "an upload into that folder is in progress; try again";
    assert_eq!(client.ask("mv d bound/d"), format!("450 /bound/d: {awaited}."));
    drop(data);
    assert!(other.reply().starts_with("226 "));
    client.expect("rm d/new", 250);
    check(&mut client, "an upload");
    // A folder that holds what no disk but its own can hold.
    let fifo = server.real("alice/d/fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let refusal = client.expect("mv d bound/d", 550);
    assert!(refusal.contains("\"fifo\" in it cannot be copied: not a regular file"), "{refusal}");
    fs::remove_file(fifo).unwrap();
    check(&mut client, "a FIFO");
    // A disk does not move, nor goes what is on one that is read-only.
    assert_eq!(
        client.ask("mv disk bound/disk"),
        "550 /disk: a disk is mounted there, which stays."
    );
    client.put("bound/f", b"x");
    let remount = |how: &str| {
        let bound = server.real("alice/bound");
        let status =
            Command::new("mount").args(["-o", &format!("remount,bind,{how}")]).arg(bound).status();
        assert!(status.unwrap().success());
    };
    remount("ro");
    assert_eq!(client.ask("mv bound/f f"), "550 /f: the disk is read-only.");
    assert!(!server.real("alice/f").exists());
    assert_eq!(client.ask("mv small bound/small"), "550 /bound/small: the disk is read-only.");
    remount("rw");
    client.expect("mv bound/f f", 250);
    assert!(server.temporaries().is_empty());
}

#[test]
fn what_moves_to_the_folder_that_it_is_in_by_another_mount_is_not_lost() {
    let Some(House { server, mut client, _mounts, _elsewhere }) = House::new(&[]) else { return };
    for folder in ["d", "d/e", "twin", "twin-of-e"] {
        client.expect(&format!("mkdir {folder}"), 257);
    }
    let _twins = [("d", "twin"), ("d/e", "twin-of-e")].map(|(of, at)| {
        Mount::bind(&server.real(&format!("alice/{of}")), &server.real(&format!("alice/{at}")))
    });
    for name in ["d/f", "d/e/g"] {
        client.put(name, b"content");
    }
    // Onto itself: as rename(2) has it, nothing is done.
    client.expect("mv -f d/f twin/f", 250);
    client.expect("RNFR d/e/g", 350);
    client.expect("RNTO twin-of-e/g", 250);
    for name in ["d/f", "d/e/g"] {
        assert_eq!(client.get(name).unwrap(), b"content", "{name}");
    }
    client.expect("mv d/f twin/other", 250);
    assert_eq!(client.get("d/other").unwrap(), b"content");
    // A folder into itself.
    let before = tree(&server.real("alice"));
    for (from, to) in
        [("d", "twin/x"), ("d", "twin/e/x"), ("d", "twin-of-e/x"), ("d/e", "twin-of-e/x")]
    {
        for word in ["mv", "cp"] {
            let reply = client.ask(&format!("{word} {from} {to}"));
            assert_eq!(
                reply,
                format!("550 /{from}: a folder cannot go into itself."),
                "{word} {to}"
            );
            assert_eq!(tree(&server.real("alice")), before, "{word} {from} {to}");
        }
    }
    assert!(server.temporaries().is_empty());
}

#[test]
fn a_move_over_a_file_whose_source_cannot_go_says_that_both_are_there() {
    if !has_program("strace") {
        return;
    }
    let server = Server::with(&["--quota", "64M"]);
    let mut client = server.registered("alice");
    client.expect("mkdir disk", 257);
    let Some(_disk) = Mount::tmpfs(&server.real("alice/disk"), "size=16m") else { return };
    client.put("f", b"new");
    client.put("disk/f", b"old");
    let failing =
        Delayed::last_thread(&server, &["-e", "trace=unlink", "-e", "inject=unlink:error=EIO"]);
    let refusal = client.ask("mv -f f disk/f");
    drop(failing);
    let expected = "/disk/f: it is copied there, but its source could not be removed: ";
    assert!(refusal.contains(expected), "{refusal}");
    assert_eq!(
        (client.get("f").unwrap(), client.get("disk/f").unwrap()),
        (b"new".to_vec(), b"new".to_vec())
    );
    counts_exactly(&server, &mut client, 64 * 1024 * 1024);
    assert!(server.temporaries().is_empty());
}

#[test]
fn abor_stops_a_move_between_disks() {
    let Some(House { server, mut client, _mounts, _elsewhere }) = House::new(&[]) else { return };
    // A sparse file, too long for any test to wait for its end.
    let large = fs::File::create(server.real("alice/large")).unwrap();
    large.set_len(1 << 40).unwrap();
    let big = tempfile::tempdir().unwrap();
    let _mount = Mount::tmpfs(big.path(), "size=1g").unwrap();
    client.expect("mkdir big", 257);
    let _bound = Mount::bind(big.path(), &server.real("alice/big")).unwrap();
    client.send_line("mv large big");
    while server.temporaries().is_empty() {}
    client.send("ABOR\r\n");
    assert_eq!(client.reply(), "426 The transfer was stopped.");
    assert_eq!(client.reply(), "226 Stopped.");
    assert_eq!(fs::metadata(server.real("alice/large")).unwrap().len(), 1 << 40);
    assert!(server.temporaries().is_empty() && tree(&server.real("alice/big")).is_empty());
}

#[test]
fn two_servers_that_share_a_disk_leave_the_temporary_files_of_the_other() {
    let (mine, yours, disk) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, mut two) =
        (Server::in_folder(mine.path(), &[]), Server::in_folder(yours.path(), &[]));
    let (mut alice, mut bob) = (one.registered("alice"), two.registered("bob"));
    alice.expect("mkdir disk", 257);
    bob.expect("mkdir disk", 257);
    let mounts =
        [one.real("alice/disk"), two.real("bob/disk")].map(|at| Mount::bind(disk.path(), &at));
    if mounts.iter().any(Option::is_none) {
        return;
    }
    alice.expect("mkdir disk/d", 257);
    let mut data = alice.begin(Way::Epsv, "STOR disk/d/f");
    data.write_all(b"half").unwrap();
    alice.wait_for_bytes(4);
    let refusal = "550 /disk/d: it holds a hidden file that this server did not make.";
    assert_eq!(bob.ask("rmdir disk/d"), refusal);
    // The sweep at the start goes through the shared disk, too.
    two.kill();
    let two = Server::in_folder(yours.path(), &[]);
    two.wait_for_sweeper();
    assert_eq!(one.temporaries().len(), 1);
    data.write_all(b" and half").unwrap();
    drop(data);
    assert!(alice.reply().starts_with("226 "));
    assert_eq!(alice.get("disk/d/f").unwrap(), b"half and half");
    // A server removes its own leftovers.
    drop(two);
    let two = Server::in_folder(yours.path(), &[]);
    two.wait_for_sweeper();
    fs::write(disk.path().join("d").join(two.stale_name(1)), "half").unwrap();
    drop(two);
    Server::in_folder(yours.path(), &[]).wait_until_swept();
}
