//! What a session holds while it idles, beside one that has done nothing: a stranger's commands
//! must not make the server hold memory for as long as the stranger stays.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use crate::support::{Client, Server};

const SESSIONS: u64 = 64;

/// The memory of its own that the server has in use, in bytes.
fn in_use(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// What each of many sessions holds after `work`, in bytes, if the folder of its account was made
/// by `prepare`.
fn held_by_a_session(prepare: impl Fn(&Path), work: impl Fn(&mut Client)) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_plainftpd"));
    // One heap for all threads, which gives back what is free: what is measured is held by
    // sessions.
    for (limit, value) in
        [("ARENA_MAX", "1"), ("TRIM_THRESHOLD_", "65536"), ("MMAP_THRESHOLD_", "65536")]
    {
        command.env(format!("MALLOC_{limit}"), value);
    }
    let server =
        Server::spawn(command, dir.path(), &["--max-clients", "500", "--stall-timeout", "600"]);
    let mut first = server.registered("alice");
    prepare(&server.real("alice"));
    // What is allocated once is no session's.
    work(&mut first);
    let before = in_use(&server);
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let mut client = server.logged_in("alice");
            work(&mut client);
            client
        })
        .collect();
    let held = in_use(&server).saturating_sub(before) / SESSIONS;
    drop(sessions);
    // Deeper than the removal of the temporary folder goes.
    let mut last = server.logged_in("alice");
    for entry in fs::read_dir(server.real("alice")).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            last.expect(&format!("rm -r {}", entry.file_name().display()), 250);
        }
    }
    held
}

/// Makes folders within one another, all with the same name, and a file in the innermost.
fn make_deep(home: &Path, name: &str, levels: usize) {
    // From the innermost outwards, which needs no long paths.
    fs::create_dir(home.join("inner")).unwrap();
    fs::write(home.join("inner/f"), "").unwrap();
    for _ in 1..levels {
        fs::create_dir(home.join("outer")).unwrap();
        fs::rename(home.join("inner"), home.join("outer").join(name)).unwrap();
        fs::rename(home.join("outer"), home.join("inner")).unwrap();
    }
    fs::rename(home.join("inner"), home.join(name)).unwrap();
}

/// Goes down `levels` levels, with as few commands as there are lines to hold the path.
fn descend(client: &mut Client, name: &str, levels: usize) {
    let in_a_line = 8000 / (name.len() + 1);
    let mut left = levels;
    while left > 0 {
        let now = left.min(in_a_line);
        client.expect(&format!("CWD {}", vec![name; now].join("/")), 250);
        left -= now;
    }
}

/// Commands that name paths and leave nothing behind, in a folder with a file `f`.
const FORGOTTEN: [(&str, u16); 7] = [
    ("cp f f", 550),
    ("RNFR f", 350),
    ("NOOP", 200),
    ("RNTO f", 250),
    ("MKD f", 550),
    ("SIZE f", 213),
    ("nothing", 500),
];

fn forget(client: &mut Client) {
    FORGOTTEN.iter().for_each(|(line, code)| drop(client.expect(line, *code)));
}

/// What a session holds that says the same in its top folder, in lines as long. It is measured
/// once for all tests.
fn held_at_the_top() -> u64 {
    static HELD: OnceLock<u64> = OnceLock::new();
    let work = |client: &mut Client| {
        descend(client, ".", 4000);
        forget(client);
    };
    *HELD.get_or_init(|| held_by_a_session(|home| fs::write(home.join("f"), "").unwrap(), work))
}

const KIB: u64 = 1024;
// Beside what is held the heap has holes, whose size depends on the order of allocations: some KiB
// per session are allowed for them.

#[test]
fn a_session_in_a_deep_folder_holds_its_path_and_no_more() {
    let levels = 999; // and a file in the last
    let work = |client: &mut Client| {
        descend(client, "d", levels);
        forget(client);
    };
    let held = held_by_a_session(|home| make_deep(home, "d", levels), work);
    let plain = held_at_the_top();
    assert!(held <= plain + 16 * KIB, "{held} beside {plain}");
}

#[test]
fn a_long_path_is_held_once_and_forgotten_when_the_session_leaves_it() {
    // 64 KiB, the most that a path may have.
    let (name, levels) = ("n".repeat(255), 255);
    let stay = |client: &mut Client| {
        descend(client, &name, levels);
        forget(client);
    };
    let leave = |client: &mut Client| {
        stay(client);
        client.expect("CWD /", 250);
    };
    let prepare = |home: &Path| make_deep(home, &name, levels);
    let plain = held_at_the_top();
    let stayed = held_by_a_session(prepare, stay);
    assert!(stayed <= plain + 64 * KIB + 32 * KIB, "{stayed} beside {plain}");
    let left = held_by_a_session(prepare, leave);
    assert!(left <= plain + 24 * KIB, "{left} beside {plain}");
}

#[test]
fn an_unread_listing_of_long_names_holds_a_bounded_part_of_them() {
    const ENTRIES: usize = 4_000;
    let prepare = |home: &Path| {
        let long = "n".repeat(245);
        (0..ENTRIES)
            .for_each(|n| drop(fs::File::create(home.join(format!("{n:05}{long}"))).unwrap()));
    };
    let work = |client: &mut Client| {
        // More than all buffers on the way take.
        client.send("ls\r\n".repeat(5));
        // When the first bytes are here, all that is sorted is in memory.
        client.stream().peek(&mut [0]).unwrap();
    };
    let held = held_by_a_session(prepare, work);
    let plain = held_at_the_top();
    let names = (ENTRIES * 250) as u64;
    assert!(held <= plain + names / 3, "{held} beside {plain}, of {names}");
}
