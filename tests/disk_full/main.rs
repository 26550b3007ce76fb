//! The disk runs full at every kind of write: 452, nothing half, what was there before is as it
//! was, the session and the server go on, and with space made the same command works.
//!
//! A binary of its own: a process that another test starts holds, for a moment, whatever files this
//! one has open, and with them space and inodes that should be free.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

use std::fs::{self, File};
use std::io::{ErrorKind, PipeReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use support::{Client, Mount, Server, Tree, Way, lengths, noise, read_tree_without};

const PAGE: usize = 4096;

/// A small disk of its own, unmounted when the test ends, however it ends.
struct Disk {
    _mount: Mount,
    dir: tempfile::TempDir,
}

impl Disk {
    fn mount(options: &str) -> Option<Disk> {
        let dir = tempfile::tempdir().unwrap();
        Some(Disk { _mount: Mount::tmpfs(dir.path(), options)?, dir })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Fills it up and leaves `free` pages.
    fn fill(&self, free: usize) {
        let mut filler = File::create(self.path().join("filler")).unwrap();
        let mut length = 0;
        let error = loop {
            match filler.write(&[0; PAGE]) {
                Ok(written) => length += written,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(length > free * PAGE, "full before it was filled");
        filler.set_len((length - free * PAGE) as u64).unwrap();
    }

    /// Takes all inodes and leaves `free` of them. It makes links, because making a file opens it:
    /// see `make_space`.
    fn fill_inodes(&self, free: usize) {
        let fillers = self.path().join("fillers");
        fs::create_dir(&fillers).unwrap();
        let mut made = Vec::new();
        let error = loop {
            let name = fillers.join(made.len().to_string());
            match symlink("nowhere", &name) {
                Ok(()) => made.push(name),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(made.len() >= free);
        made[..free].iter().for_each(|name| fs::remove_file(name).unwrap());
    }

    fn make_space(&self) {
        let filler = self.path().join("filler");
        if filler.exists() {
            // Removing alone would not do: a process that another test is just starting may still
            // have the filler open, from before its exec.
            File::options().write(true).open(&filler).unwrap().set_len(0).unwrap();
            fs::remove_file(&filler).unwrap();
        }
        let fillers = self.path().join("fillers");
        if fillers.exists() {
            fs::remove_dir_all(&fillers).unwrap();
        }
    }
}

/// A text in which `file` stands for a name that the server chose for STOU: `file`, a point and
/// eight digits of chance.
fn without_suffix(text: &str) -> String {
    let Some((before, after)) = text.split_once("/file.") else { return text.to_string() };
    let (suffix, rest) = after.split_at(8);
    assert!(suffix.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text}");
    format!("{before}/file{rest}")
}

/// All that the server keeps, but for its log.
fn everything(server: &Server) -> Tree {
    const OTHERS: [&str; 3] = ["log.txt", "filler", "fillers"];
    let tree = read_tree_without(server.dir(), |path| OTHERS.contains(&path));
    tree.into_iter().map(|(path, content)| (without_suffix(&path), content)).collect()
}

fn same(one: &Tree, other: &Tree, what: &str) {
    assert!(one == other, "{what}:\n{:?}\n{:?}", lengths(one), lengths(other));
}

/// More than is ever left free.
fn content() -> Vec<u8> {
    noise(200_000, 7)
}

fn lines() -> Vec<u8> {
    let line = format!("{}\n", "a line of text ".repeat(20));
    line.repeat(200_000 / line.len()).into_bytes()
}

/// Two pages, and less than a line may have.
fn one_line() -> String {
    "one line ".repeat(890).trim_end().to_string()
}

fn small() -> Vec<u8> {
    noise(2 * PAGE, 1)
}

fn big() -> Vec<u8> {
    noise(100_000, 2)
}

/// What stands in alice's folder before each case.
fn lay_out(server: &Server) {
    let home = server.real("alice");
    for entry in fs::read_dir(&home).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
    }
    fs::write(home.join("small"), small()).unwrap();
    fs::write(home.join("big"), big()).unwrap();
    fs::create_dir_all(home.join("folder/sub")).unwrap();
    fs::write(home.join("folder/a"), big()).unwrap();
    fs::write(home.join("folder/sub/b"), small()).unwrap();
}

/// A data transfer that the server may refuse in the middle; returns the last reply.
fn upload(client: &mut Client, line: &str, content: &[u8]) -> String {
    let mut data = client.data(Way::Epsv).stream();
    let reply = client.ask(line);
    if !reply.starts_with("150 ") {
        return reply;
    }
    // It closes the connection where the disk is full.
    let _ = data.write_all(content);
    drop(data);
    client.reply()
}

/// `write` or `append` of several lines, or anything else that says 150 first.
fn dictate(client: &mut Client, line: &str, text: &[u8]) -> String {
    client.send_line(line);
    client.send(text);
    let reply = client.reply();
    if reply.starts_with("150 ") { client.reply() } else { reply }
}

struct Case {
    what: &'static str,
    run: fn(&mut Client) -> String,
    refusal: &'static str,
    answer: &'static str,
    /// What it changes in alice's folder.
    change: fn(&mut Tree),
}

fn set(tree: &mut Tree, name: &str, content: Vec<u8>) {
    tree.insert(format!("workdir/alice/{name}"), Some(Arc::new(content)));
}

fn copy_of_folder(tree: &mut Tree) {
    tree.insert("workdir/alice/copy".into(), None);
    tree.insert("workdir/alice/copy/sub".into(), None);
    set(tree, "copy/a", big());
    set(tree, "copy/sub/b", small());
}

fn lines_and_end() -> Vec<u8> {
    [&lines()[..], b".\n"].concat()
}

/// Each needs two pages at least, and `large` ones more than there is ever left.
fn cases() -> Vec<(bool, Case)> {
    let case = |what, run, refusal, answer, change| Case { what, run, refusal, answer, change };
    let mut cases = vec![
        (
            true,
            case(
                "put",
                |client| client.put("new", &content()),
                "452 /new: the disk is full.",
                "226 /new stored, 200000 bytes.",
                |tree| set(tree, "new", content()),
            ),
        ),
        (
            true,
            case(
                "put over a file",
                |client| client.put("small", &content()),
                "452 /small: the disk is full.",
                "226 /small replaced, 200000 bytes.",
                |tree| set(tree, "small", content()),
            ),
        ),
        (
            true,
            case(
                "put of lines",
                |client| dictate(client, "put new", &lines_and_end()),
                "452 /new: the disk is full.",
                "226 /new stored, 199864 bytes.",
                |tree| set(tree, "new", lines()),
            ),
        ),
        (
            true,
            case(
                "write of lines over a file",
                |client| dictate(client, "write small", &lines_and_end()),
                "452 /small: the disk is full.",
                "226 /small replaced, 199864 bytes.",
                |tree| set(tree, "small", lines()),
            ),
        ),
        (
            true,
            case(
                "append of lines",
                |client| dictate(client, "append small", &lines_and_end()),
                "452 /small: the disk is full.",
                "226 /small extended by 199864 bytes.",
                |tree| set(tree, "small", [small(), lines()].concat()),
            ),
        ),
        (
            true,
            case(
                "append of lines to a new file",
                |client| dictate(client, "append new", &lines_and_end()),
                "452 /new: the disk is full.",
                "226 /new extended by 199864 bytes.",
                |tree| set(tree, "new", lines()),
            ),
        ),
        (
            true,
            case(
                "STOR",
                |client| upload(client, "STOR new", &content()),
                "452 /new: the disk is full.",
                "226 /new stored, 200000 bytes.",
                |tree| set(tree, "new", content()),
            ),
        ),
        (
            true,
            case(
                "STOR over a file",
                |client| upload(client, "STOR small", &content()),
                "452 /small: the disk is full.",
                "226 /small replaced, 200000 bytes.",
                |tree| set(tree, "small", content()),
            ),
        ),
        (
            true,
            case(
                "STOU",
                |client| without_suffix(&upload(client, "STOU", &content())),
                "452 /file: the disk is full.",
                "226 /file stored, 200000 bytes.",
                |tree| set(tree, "file", content()),
            ),
        ),
        (
            true,
            case(
                "APPE",
                |client| upload(client, "APPE small", &content()),
                "452 /small: the disk is full.",
                "226 /small extended by 200000 bytes.",
                |tree| set(tree, "small", [small(), content()].concat()),
            ),
        ),
        (
            true,
            case(
                "APPE to a new file",
                |client| upload(client, "APPE new", &content()),
                "452 /new: the disk is full.",
                "226 /new extended by 200000 bytes.",
                |tree| set(tree, "new", content()),
            ),
        ),
        (
            true,
            case(
                "REST and STOR, to go on with a file",
                |client| {
                    client.expect("REST 8192", 350);
                    upload(client, "STOR small", &content())
                },
                "452 /small: the disk is full.",
                "226 /small stored, 200000 bytes.",
                |tree| set(tree, "small", [small(), content()].concat()),
            ),
        ),
        (
            true,
            case(
                "cp",
                |client| client.ask("cp big copy"),
                "452 /copy: the disk is full.",
                "250 /big copied to /copy.",
                |tree| set(tree, "copy", big()),
            ),
        ),
        (
            true,
            case(
                "cp over a file",
                |client| client.ask("cp -f big small"),
                "452 /small: the disk is full.",
                "250 /big copied to /small.",
                |tree| set(tree, "small", big()),
            ),
        ),
        (
            true,
            case(
                "cp of a folder",
                |client| client.ask("cp folder copy"),
                "452 /copy: the disk is full.",
                "250 /folder copied to /copy.",
                copy_of_folder,
            ),
        ),
        (
            true,
            case(
                "SITE CPTO over a file",
                |client| {
                    client.expect("SITE CPFR big", 350);
                    client.ask("SITE CPTO small")
                },
                "452 /small: the disk is full.",
                "250 /big copied to /small.",
                |tree| set(tree, "small", big()),
            ),
        ),
    ];
    cases.push((
        false,
        case(
            "write of a line",
            |client| dictate(client, &format!("write new {}", one_line()), b""),
            "452 /new: the disk is full.",
            "226 /new stored, 8010 bytes.",
            |tree| set(tree, "new", format!("{}\n", one_line()).into_bytes()),
        ),
    ));
    cases.push((
        false,
        case(
            "append of a line",
            |client| dictate(client, &format!("append small {}", one_line()), b""),
            "452 /small: the disk is full.",
            "226 /small extended by 8010 bytes.",
            |tree| set(tree, "small", [small(), format!("{}\n", one_line()).into_bytes()].concat()),
        ),
    ));
    cases
}

/// `case` on a full disk, which must leave no trace, and then on one with space.
fn check(disk: &Disk, server: &Server, client: &mut Client, case: &Case, fill: &dyn Fn(&Disk)) {
    let what = case.what;
    lay_out(server);
    let before = everything(server);
    fill(disk);
    for _ in 0..2 {
        assert_eq!((case.run)(client), case.refusal, "{what}");
        same(&before, &everything(server), what);
        // The session goes on, and so does the server.
        assert_eq!(client.get("small").unwrap(), small(), "{what}");
        server.connect().expect("login alice password", 230);
    }
    disk.make_space();
    assert_eq!((case.run)(client), case.answer, "{what}");
    let mut after = before;
    (case.change)(&mut after);
    same(&after, &everything(server), what);
}

/// The users file, long enough that a new version of it does not fit into what is left.
fn lengthen_users(server: &Server) {
    let comments = format!("# {}\n", "a comment of the owner ".repeat(4)).repeat(1100);
    fs::write(server.dir().join("users"), comments + &server.users()).unwrap();
}

fn check_log(log: &str) {
    assert!(log.ends_with('\n'), "a torn end");
    for line in log.lines() {
        let whole = line.starts_with("20")
            && line.get(23..).is_some_and(|rest| rest.starts_with("Z event="));
        assert!(whole && line.matches(" event=").count() == 1, "torn: {line}");
    }
}

/// Lets one test run at a time. The reason is the same as for a binary of its own.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn a_write_of_any_kind_that_finds_the_disk_full_is_452_and_changes_nothing() {
    let _alone = alone();
    let Some(disk) = Disk::mount("size=2m") else { return };
    let server = Server::in_folder(disk.path(), &[]);
    let mut client = server.registered("alice");
    // Full from the first byte on, and in the middle.
    for free in [0, 1, 16] {
        for (_, case) in cases().iter().filter(|(large, _)| *large || free < 2) {
            check(&disk, &server, &mut client, case, &|disk| disk.fill(free));
        }
    }
    check_log(&server.log());
}

#[test]
fn a_restart_in_the_middle_on_a_full_disk_leaves_what_was_before_the_offset() {
    let _alone = alone();
    let Some(disk) = Disk::mount("size=2m") else { return };
    let server = Server::in_folder(disk.path(), &[]);
    let mut client = server.registered("alice");
    lay_out(&server);
    disk.fill(16);
    client.expect("REST 100", 350);
    assert_eq!(upload(&mut client, "STOR small", &content()), "452 /small: the disk is full.");
    // It works in place: what was written over is written over, and the rest is cut off again.
    let new = [&small()[..100], &content()[..small().len() - 100]].concat();
    assert!(client.get("small").unwrap() == new);
    assert_eq!(server.temporaries(), [""; 0]);
}

#[test]
fn accounts_stay_as_they_are_while_the_disk_is_full() {
    let _alone = alone();
    let Some(disk) = Disk::mount("size=2m") else { return };
    let server = Server::in_folder(disk.path(), &[]);
    let mut client = server.registered("alice");
    lengthen_users(&server);
    client.put("small", &small());
    for free in [0, 1, 16] {
        // The last page has room for a part of a new line only.
        let text = server.users();
        let comment = 2 * PAGE - 50 - text.len() % PAGE;
        fs::write(server.dir().join("users"), format!("{text}#{}\n", "-".repeat(comment - 2)))
            .unwrap();
        assert_eq!(server.users().len() % PAGE, PAGE - 50);
        let before = everything(&server);
        disk.fill(free);
        for _ in 0..2 {
            let name = format!("bob{free}");
            if free == 0 {
                assert_eq!(
                    client.ask(&format!("register {name} password")),
                    "452 the disk is full."
                );
                same(&before, &everything(&server), "register");
            }
            assert_eq!(client.ask("passwd password another"), "452 the disk is full.");
            same(&before, &everything(&server), "passwd");
            // No session was logged out, and the same accounts can log in.
            assert_eq!(client.get("small").unwrap(), small());
            server.connect().expect("login alice password", 230);
        }
        server.connect().expect("login alice another", 530);
        server.connect().expect(&format!("login bob{free} password"), 530);
        disk.make_space();
        client.expect("passwd password another", 200);
        server.connect().expect("login alice another", 230);
        client.expect("passwd another password", 200);
        disk.fill(free);
        // A new account takes no more than its line and its folder.
        let code = if free == 0 { 452 } else { 230 };
        server.connect().expect(&format!("register bob{free} password"), code);
        disk.make_space();
        let code = if free == 0 { 230 } else { 553 };
        server.connect().expect(&format!("register bob{free} password"), code);
        server.connect().expect(&format!("login bob{free} password"), 230);
        assert!(server.real(&format!("bob{free}")).is_dir());
    }
    check_log(&server.log());
}

#[test]
fn running_out_of_inodes_is_a_full_disk_too() {
    let _alone = alone();
    let Some(disk) = Disk::mount("size=2m,nr_inodes=64") else { return };
    let server = Server::in_folder(disk.path(), &[]);
    let mut client = server.registered("alice");
    let makes_nothing =
        ["append of lines", "append of a line", "APPE", "REST and STOR, to go on with a file"];
    let needs_many = |case: &Case| case.what == "cp of a folder";
    for (_, case) in cases().iter().filter(|(_, case)| !makes_nothing.contains(&case.what)) {
        for free in 0..if needs_many(case) { 4 } else { 1 } {
            check(&disk, &server, &mut client, case, &|disk| disk.fill_inodes(free));
        }
    }
    let mkdir = Case {
        what: "mkdir",
        run: |client| client.ask("mkdir new"),
        refusal: "452 /new: the disk is full.",
        answer: "257 \"/new\" created.",
        change: |tree| drop(tree.insert("workdir/alice/new".into(), None)),
    };
    let touch = Case {
        what: "touch",
        run: |client| client.ask("touch new"),
        refusal: "452 /new: the disk is full.",
        answer: "250 /new created, empty.",
        change: |tree| set(tree, "new", Vec::new()),
    };
    for case in [mkdir, touch] {
        check(&disk, &server, &mut client, &case, &|disk| disk.fill_inodes(0));
    }
    // What makes nothing works on.
    for (_, case) in cases().iter().filter(|(_, case)| makes_nothing.contains(&case.what)) {
        lay_out(&server);
        disk.fill_inodes(0);
        assert_eq!((case.run)(&mut client), case.answer);
        client.expect("mv small moved", 250);
        client.expect("rm moved", 250);
        disk.make_space();
    }
    // A new account needs its folder, a change of the users file another file.
    let before = everything(&server);
    disk.fill_inodes(0);
    assert_eq!(client.ask("register bob password"), "452 the disk is full.");
    same(&before, &everything(&server), "register");
    assert_eq!(client.ask("passwd password another"), "452 the disk is full.");
    same(&before, &everything(&server), "passwd");
    server.connect().expect("login alice password", 230);
    disk.make_space();
    disk.fill_inodes(1);
    server.connect().expect("register bob password", 230);
    disk.make_space();
    client.expect("passwd password another", 200);
    client.expect("passwd another password", 200);
    check_log(&server.log());
}

/// A server whose standard error goes to a file, which is not on the disk that is full.
fn with_errors_to(file: &Path, dir: &Path) -> Server {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>\"$ERRORS\"", env!("CARGO_BIN_EXE_plainftpd")]);
    command.env("ERRORS", file);
    Server::spawn(command, dir, &[])
}

#[test]
fn a_log_that_finds_the_disk_full_stops_no_session_and_tears_no_line() {
    let _alone = alone();
    let Some(disk) = Disk::mount("size=1m") else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let errors = elsewhere.path().join("errors");
    let mut server = with_errors_to(&errors, disk.path());
    let mut client = server.registered("alice");
    let mut was_cut_off = false;
    for round in 0..5 {
        disk.fill(0);
        let lines = |server: &Server| server.log().lines().count();
        let (before, mut made, mut unlogged) = (lines(&server), 0, 0);
        // Until three lines in a row have found no room; a page holds some forty.
        while unlogged < 3 {
            let logged = lines(&server);
            client.expect(&format!("mkdir {}{round}-{made}", "x".repeat(1 + round * 7)), 257);
            made += 1;
            unlogged = if lines(&server) == logged { unlogged + 1 } else { 0 };
            assert!(made < 200, "the log goes on on a full disk");
        }
        let log = server.log();
        check_log(&log);
        was_cut_off |= !log.len().is_multiple_of(PAGE);
        // Others come, change and go.
        let mut other = server.connect();
        other.expect("login alice password", 230);
        for n in 0..made {
            other.expect(&format!("rmdir {}{round}-{n}", "x".repeat(1 + round * 7)), 250);
        }
        other.expect("quit", 221);
        other.rest();
        let logged = lines(&server) - before;
        disk.make_space();
        client.expect(&format!("mkdir space{round}"), 257);
        let log = server.log();
        assert!(log.contains(&format!("word=mkdir path=/space{round} code=257")));
        // Each line is in the log, whole, or is counted there. A session begins, logs in and ends.
        let happened = made + made + 3;
        let lost = log
            .lines()
            .filter_map(|line| line.split_once(" event=lost lines="))
            .next_back()
            .unwrap()
            .1;
        assert_eq!(logged + lost.parse::<usize>().unwrap(), happened, "round {round}");
        assert!(client.put("f", &content()).starts_with("226 "));
        check_log(&server.log());
    }
    assert!(was_cut_off, "no line was ever cut off in the middle");
    // A message a minute is enough, however many lines are lost.
    let told = loop {
        let told = fs::read_to_string(&errors).unwrap();
        if told.ends_with('\n') {
            break told;
        }
        std::thread::yield_now();
    };
    assert!(
        told.lines().all(|line| line.starts_with("plainftpd: cannot write the log: ")),
        "{told}"
    );
    assert!(told.lines().count() < 20, "{told}");

    // On the full disk it also starts, with a log that a kill tore at the very end of a page.
    server.kill();
    let log = disk.path().join("log.txt");
    let text = fs::read_to_string(&log).unwrap();
    let torn = "2026-11-23T21:03:30.841Z event=command word=torn";
    let lines = "2026-11-23T21:03:30.841Z event=test\n";
    let mut whole = text + &lines.repeat(300);
    whole.truncate(whole.len() / PAGE * PAGE - 200);
    whole.truncate(whole.rfind('\n').unwrap() + 1);
    let gap = PAGE - whole.len() % PAGE;
    whole.push_str(&format!("{torn}{}", "x".repeat(gap - torn.len())));
    assert_eq!(whole.len() % PAGE, 0);
    fs::write(&log, &whole).unwrap();
    disk.fill(0);
    let server = with_errors_to(&errors, disk.path());
    let mut client = server.connect();
    client.expect("login alice password", 230);
    assert_eq!(client.get("f").unwrap(), content());
    disk.make_space();
    client.expect("mkdir last", 257);
    let log = server.log();
    check_log(&log);
    let behind = &log[log.find("word=torn").unwrap()..];
    let (_, behind) = behind.split_once('\n').unwrap();
    assert!(behind.contains("word=mkdir path=/last code=257"), "{behind}");
}

/// A server whose standard error is a pipe that is full and that nothing reads; the pipe's end must
/// be kept open.
fn with_a_pipe_that_nothing_reads(dir: &Path) -> (Server, PipeReader) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut filler = File::options()
        .write(true)
        .custom_flags(O_NONBLOCK)
        .open(format!("/proc/self/fd/{}", writer.as_raw_fd()))
        .unwrap();
    while filler.write(&[b'x'; PAGE]).is_ok() {}
    writer.flush().unwrap();
    let command = Command::new(env!("CARGO_BIN_EXE_plainftpd"));
    (Server::spawn_with_stderr(command, writer.into(), dir, &[]), reader)
}

/// <asm-generic/fcntl.h>
const O_NONBLOCK: i32 = 0o4_000;

#[test]
fn a_full_log_and_a_standard_error_that_nothing_reads_hold_no_session_up() {
    let _alone = alone();
    let Some(disk) = Disk::mount("size=1m") else { return };
    let (server, mut reader) = with_a_pipe_that_nothing_reads(disk.path());
    let mut client = server.registered("alice");
    let log = server.dir().join("log.txt");
    fs::remove_file(&log).unwrap();
    disk.fill(0);
    // More messages on standard error than its queue holds: a broken line of the users file,
    // each time in another place.
    let users = server.users();
    let mut others: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for n in 0..100 {
        client.expect("mkdir d", 257);
        client.expect("rmdir d", 250);
        fs::write(server.dir().join("users"), format!("{users}{}broken\n", "#\n".repeat(n)))
            .unwrap();
        for other in &mut others {
            other.expect("login alice password", 230);
        }
    }
    // When it is read at last, what there was no room for is counted.
    let mut told = Vec::new();
    while !String::from_utf8_lossy(&told).contains(" messages were dropped, ") {
        let mut piece = [0; PAGE];
        let read = reader.read(&mut piece).unwrap();
        assert!(read > 0, "the server has ended");
        told.extend_from_slice(&piece[..read]);
    }
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(told.contains("plainftpd: cannot write the log: "), "{told}");
}
