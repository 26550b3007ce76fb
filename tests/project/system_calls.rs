//! How many system calls a command costs, so that they cannot creep: a small file's time is theirs.
//! What memory costs (`mmap`, `futex` and their like) differs from run to run and is not counted,
//! nor are the looks at a descriptor (`fcntl`) that std takes before it closes one in a build for
//! tests.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{Client, Traced, Way, has_program};

/// For a name that is new each time.
static NEXT: AtomicU32 = AtomicU32::new(0);
const CONTENT: [u8; 4096] = [b'x'; 4096];
/// Large enough to be spliced.
const LARGE: usize = 5 * 1024 * 1024;

/// The names of the calls between two marks, which are commands of their own. Only calls of the
/// thread that serves the client count: one that ends just then (the sweeper's after a start) has
/// calls of its own.
fn between(trace: &str, from: &str, to: &str) -> Vec<String> {
    let mark = |mark: &str| {
        let lines = trace.lines().enumerate();
        lines.filter(|(_, line)| line.contains(&format!("\"{mark}\\r\\n\""))).last().unwrap().0
    };
    let lines: Vec<_> = trace.lines().collect();
    let thread = |line: &str| line.split_once(' ').unwrap().0.to_string();
    let session = thread(lines[mark(from)]);
    let lines =
        lines[mark(from) + 1..mark(to)].iter().copied().filter(|line| thread(line) == session);
    // The server ignores signals.
    let lines = lines.filter(|line| !line.contains(" --- SIG"));
    // Twice per second at most, the log looks whether its file was moved away.
    let mut is_look = false;
    let lines = lines.filter(|line| {
        let was_look = std::mem::take(&mut is_look);
        is_look = line.contains("/log.txt\"") && line.ends_with("<unfinished ...>");
        !was_look && !line.contains("/log.txt\"")
    });
    // A call that another thread's interrupts has two lines, of which the second tells that it is
    // done.
    let done = lines.filter(|line| !line.ends_with("<unfinished ...>"));
    let name = |line: &str| {
        let call = line.split_once(' ').unwrap().1.trim_start();
        let call = call.strip_prefix("<... ").unwrap_or(call);
        call.split(['(', ' ']).next().unwrap().to_string()
    };
    let names = done.map(name).filter(|name| {
        !["mmap", "munmap", "mprotect", "madvise", "brk", "futex", "fcntl"].contains(&name.as_str())
    });
    // The reply to the first mark, and the reading of the second.
    let mut names: Vec<_> = names.collect();
    assert_eq!(names.remove(0), "sendto");
    names
}

#[track_caller]
fn calls(work: impl Fn(&mut Client), expected: &str) {
    if !has_program("strace") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let traced = Traced::start(dir.path(), &["-s", "20"], &[]);
    let mut client = traced.server.registered("alice");
    client.put("small", &CONTENT);
    // For what is done once, and until the inbox has grown to what this client sends.
    (0..4).for_each(|_| work(&mut client));
    client.expect("ALLO 1", 200);
    work(&mut client);
    client.expect("ALLO 2", 200);
    let calls = between(&traced.end(), "ALLO 1", "ALLO 2").join(" ");
    // The server picks a passive port at random. If it is taken, it tries another.
    assert_eq!(calls.replace("socket setsockopt bind close ", ""), expected);
}

#[test]
fn a_noop_is_read_and_answered() {
    calls(|client| drop(client.expect("NOOP", 200)), "recvfrom sendto");
}

#[test]
fn commands_in_one_packet_are_read_and_answered_at_once() {
    calls(
        |client| {
            client.send("NOOP\r\n".repeat(100));
            (0..100).for_each(|_| assert!(client.reply().starts_with("200 ")));
        },
        "recvfrom sendto",
    );
}

#[test]
fn a_small_file_by_get_costs_seven() {
    calls(
        |client| drop(client.get("small").unwrap()),
        "recvfrom openat statx read close write sendto",
    );
}

#[test]
fn a_small_file_by_put_costs_nine() {
    calls(
        |client| {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            client.send([format!("put new{n} 4096\r\n").as_bytes(), &CONTENT].concat());
            assert!(client.reply().starts_with("150 ") && client.reply().starts_with("226 "));
        },
        "recvfrom statx openat write statx rename close write sendto",
    );
}

#[test]
fn a_small_file_by_put_over_another_costs_its_permissions_too() {
    calls(
        |client| {
            client.send([&b"put small 4096\r\n"[..], &CONTENT].concat());
            assert!(client.reply().starts_with("150 ") && client.reply().starts_with("226 "));
        },
        "recvfrom statx openat write fchmod statx rename close write sendto",
    );
}

#[test]
fn a_line_that_is_appended_costs_eight() {
    calls(
        |client| {
            client.send("append small x\r\n");
            assert!(client.reply().starts_with("150 ") && client.reply().starts_with("226 "));
        },
        "recvfrom openat statx write statx close write sendto",
    );
}

#[test]
fn a_small_download_costs_twenty() {
    calls(
        |client| assert_eq!(client.download(Way::Epsv, "RETR small"), CONTENT),
        "recvfrom socket setsockopt bind listen getsockname sendto recvfrom openat statx \
         setsockopt accept4 close setsockopt read sendto close close write sendto",
    );
}

#[test]
fn a_small_upload_costs_twenty_four() {
    calls(
        |client| {
            client.upload(
                Way::Epsv,
                &format!("STOR new{}", NEXT.fetch_add(1, Ordering::Relaxed)),
                &CONTENT,
            )
        },
        "recvfrom socket setsockopt bind listen getsockname sendto recvfrom statx openat \
         setsockopt accept4 close setsockopt sendto recvfrom write recvfrom statx rename close \
         close write sendto",
    );
}

#[test]
fn a_small_upload_over_another_costs_the_permissions_and_a_look_too() {
    calls(
        |client| client.upload(Way::Epsv, "STOR small", &CONTENT),
        "recvfrom socket setsockopt bind listen getsockname sendto recvfrom statx openat \
         setsockopt accept4 close setsockopt sendto recvfrom write recvfrom fchmod statx ioctl \
         recvfrom ioctl rename close close write sendto",
    );
}

/// The content moves by splice(2) alone, from the first byte on. A piece of 15 pages takes two
/// calls, or more if the socket is full.
#[track_caller]
fn large_download_calls(fetch: fn(&mut Client), expected: &str) {
    if !has_program("strace") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let traced = Traced::start(dir.path(), &["-s", "20"], &[]);
    let mut client = traced.server.registered("alice");
    client.put("large", &vec![b'x'; LARGE]);
    fetch(&mut client);
    client.expect("ALLO 1", 200);
    fetch(&mut client);
    client.expect("ALLO 2", 200);
    let mut calls = between(&traced.end(), "ALLO 1", "ALLO 2");
    let splices = calls.iter().filter(|call| *call == "splice").count();
    assert!(splices >= 2 * LARGE.div_ceil(15 * 4096), "{splices}");
    calls.dedup_by(|one, other| one == "splice" && other == "splice");
    // Looks at the control connection come as time passes.
    let calls = calls.join(" ").replace("splice ioctl recvfrom ioctl ", "");
    assert_eq!(calls.replace("socket setsockopt bind close ", ""), expected);
}

#[test]
fn a_large_file_by_get_is_spliced() {
    large_download_calls(
        |client| assert_eq!(client.get("large").unwrap().len(), LARGE),
        "recvfrom openat statx sendto lseek pipe2 ioctl splice setsockopt splice \
         close close close write sendto",
    );
}

#[test]
fn a_large_download_is_spliced() {
    large_download_calls(
        |client| {
            client.expect("REST 1", 350);
            assert_eq!(client.download(Way::Epsv, "RETR large").len(), LARGE - 1);
        },
        "recvfrom sendto recvfrom socket setsockopt bind listen getsockname sendto recvfrom \
         openat statx lseek setsockopt accept4 close setsockopt sendto lseek pipe2 ioctl splice \
         setsockopt splice close close close close write sendto",
    );
}
