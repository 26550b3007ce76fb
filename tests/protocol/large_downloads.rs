//! Downloads of large files, which the server splices: each byte is right, from any byte on, to a
//! fast reader and to one that stands still, also if the file changes or splice(2) is refused.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::support::{Client, Server, Traced, Way, has_program, noise};

/// More than the buffers of a socket hold.
const SIZE: usize = 32 * 1024 * 1024 + 123;

static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| noise(SIZE, 7));

/// Stores a large file without the server's help, and returns its path and content.
fn large_file(server: &Server, client: &mut Client) -> (PathBuf, &'static [u8]) {
    let path = server.real("alice/large");
    fs::write(&path, &*CONTENT).unwrap();
    client.expect("SIZE large", 213);
    (path, &CONTENT)
}

/// Asks for the status until it stays the same, because the socket is full. The server answers
/// only while it waits for the reader. Returns how many bytes the server has sent.
fn stand_still(client: &mut Client) -> usize {
    let mut before = None;
    loop {
        let status = client.ask("STAT");
        let sent = status.strip_prefix("213 ").and_then(|s| s.strip_suffix(" bytes so far."));
        let sent = sent.unwrap_or_else(|| panic!("{status}")).parse().unwrap();
        if before == Some(sent) {
            return sent;
        }
        before = Some(sent);
    }
}

fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut content = Vec::new();
    stream.read_to_end(&mut content).unwrap();
    content
}

#[track_caller]
fn assert_same(came: &[u8], sent: &[u8], what: &str) {
    assert_eq!(came.len(), sent.len(), "{what}");
    assert!(came == sent, "{what}: {:?} differs", came.iter().zip(sent).position(|(a, b)| a != b));
}

#[test]
fn a_large_download_is_right_from_any_byte_on() {
    let server = Server::start();
    let mut client = server.registered("alice");
    let (_, content) = large_file(&server, &mut client);
    for offset in [0, 1, 4095, 4096, 61_440, 65_536, 12_345_678, SIZE - 300_000, SIZE - 1, SIZE] {
        let stream = client.begin_at(Way::Epsv, offset, "RETR large");
        assert_same(&rest(stream), &content[offset..], &format!("REST {offset}"));
        let count = SIZE - offset;
        let bytes = if count == 1 { "byte" } else { "bytes" };
        assert_eq!(client.reply(), format!("226 /large sent, {count} {bytes}."));
    }
    assert_same(&client.get("large").unwrap(), content, "get");
}

#[test]
fn a_reader_that_stands_still_for_a_while_gets_each_byte_once() {
    let server = Server::start();
    let mut client = server.registered("alice");
    let (_, content) = large_file(&server, &mut client);
    let mut stream = client.begin_at(Way::Epsv, 4321, "RETR large");
    let mut came = Vec::new();
    for _ in 0..2 {
        stand_still(&mut client);
        (&mut stream).take(3_000_001).read_to_end(&mut came).unwrap();
    }
    stream.read_to_end(&mut came).unwrap();
    assert_same(&came, &content[4321..], "REST 4321");
    assert_eq!(client.reply(), format!("226 /large sent, {} bytes.", SIZE - 4321));
}

#[test]
fn a_file_that_shrinks_ends_early_and_one_that_grows_keeps_its_first_size() {
    let server = Server::start();
    let mut client = server.registered("alice");
    let (path, content) = large_file(&server, &mut client);
    let file = OpenOptions::new().append(true).open(path).unwrap();

    let stream = client.begin(Way::Epsv, "RETR large");
    stand_still(&mut client);
    (&file).write_all(b"more").unwrap();
    assert_same(&rest(stream), content, "grown");
    assert_eq!(client.reply(), format!("226 /large sent, {SIZE} bytes."));

    let stream = client.begin(Way::Epsv, "RETR large");
    let shorter = stand_still(&mut client) + 1_000_000;
    assert!(shorter < SIZE, "the buffers hold the whole file");
    file.set_len(shorter as u64).unwrap();
    assert_same(&rest(stream), &content[..shorter], "shrunk");
    assert_eq!(client.reply(), format!("226 /large sent, {shorter} bytes."));

    // By `get`, the number of bytes is promised before, so only the end can tell.
    client.send("get large\r\n");
    assert_eq!(client.reply(), format!("150 {shorter} bytes follow."));
    file.set_len(0).unwrap();
    let mut came = Vec::new();
    client.stream().read_to_end(&mut came).unwrap();
    assert!(came.len() < shorter);
    server.connect().expect("NOOP", 200);
}

/// REST with STOR writes in place, so no reader gets one version only. Spliced pages show the new
/// bytes even after they were sent.
#[test]
fn a_file_written_in_place_while_it_is_sent_has_the_old_or_the_new_byte_at_each_place() {
    let server = Server::start();
    let mut client = server.registered("alice");
    let (_, old) = large_file(&server, &mut client);
    let new: Vec<u8> = old.iter().map(|byte| !byte).collect();
    let stream = client.begin(Way::Epsv, "RETR large");
    stand_still(&mut client);
    let mut writer = server.logged_in("alice");
    let mut upload = writer.begin_at(Way::Epsv, 1, "STOR large");
    upload.write_all(&new[1..]).unwrap();
    drop(upload);
    assert_eq!(writer.reply(), format!("226 /large stored, {} bytes.", SIZE - 1));
    let came = rest(stream);
    assert_eq!(came.len(), SIZE);
    let wrong = came.iter().zip(old).position(|(byte, old)| byte != old && *byte != !old);
    assert_eq!(wrong, None, "the first byte that is neither");
    assert_eq!(came.last(), new.last());
}

#[test]
fn a_reader_that_vanishes_ends_its_transfer_only() {
    let server = Server::start();
    let mut client = server.registered("alice");
    large_file(&server, &mut client);
    let descriptors = server.descriptors();
    let stream = client.begin(Way::Epsv, "RETR large");
    stand_still(&mut client);
    drop(stream); // with bytes that were not read, so it is a reset
    let reply = client.reply();
    assert!(reply.starts_with("426 The data connection broke: "), "{reply}");
    client.expect("NOOP", 200);
    assert_eq!(server.descriptors(), descriptors);
}

#[test]
fn a_lack_of_file_descriptors_breaks_no_download_that_goes_on() {
    if !has_program("prlimit") {
        return;
    }
    let server = Server::start();
    let mut client = server.registered("alice");
    let (_, content) = large_file(&server, &mut client);
    let stream = client.begin(Way::Epsv, "RETR large");
    stand_still(&mut client);
    let pid = server.pid().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, "--nofile=3"]).status().unwrap();
    assert!(status.success());
    stand_still(&mut client);
    assert_same(&rest(stream), content, "RETR");
    assert_eq!(client.reply(), format!("226 /large sent, {SIZE} bytes."));
}

/// Lets splice(2) fail in a server; the test then fetches the large file.
fn with_failing_splices(failure: &str, test: impl FnOnce(&mut Client, &[u8])) {
    if !has_program("strace") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let failure = format!("inject=splice:error={failure}");
    let traced = Traced::start(dir.path(), &["-e", "trace=splice", "-e", &failure], &[]);
    let mut client = traced.server.registered("alice");
    let (_, content) = large_file(&traced.server, &mut client);
    test(&mut client, content);
    assert!(traced.end().contains("(INJECTED)"), "splice was not tried");
}

#[test]
fn a_large_download_is_right_if_splice_is_refused() {
    with_failing_splices("EPERM", |client, content| {
        let stream = client.begin_at(Way::Epsv, 4321, "RETR large");
        stand_still(client);
        assert_same(&rest(stream), &content[4321..], "RETR");
        assert_eq!(client.reply(), format!("226 /large sent, {} bytes.", SIZE - 4321));
        assert_same(&client.get("large").unwrap(), content, "get");
    });
}

/// EAGAIN means "the pipe is full" or "the socket is full", depending on the call.
#[test]
fn a_large_download_is_right_if_a_pipe_has_too_little_room() {
    with_failing_splices("EAGAIN:when=6+7", |client, content| {
        for offset in [0, 1, 4096, 54_321] {
            let stream = client.begin_at(Way::Epsv, offset, "RETR large");
            assert_same(&rest(stream), &content[offset..], &format!("REST {offset}"));
            client.reply();
        }
        assert_same(&client.get("large").unwrap(), content, "get");
    });
}

/// `std` then copies through a buffer, and loses what is in it if the socket is full.
#[test]
fn a_splice_that_is_refused_half_way_never_gives_226_for_wrong_bytes() {
    with_failing_splices("EINVAL:when=10+", |client, content| {
        let stream = client.begin(Way::Epsv, "RETR large");
        let reply = client.reply();
        assert!(reply.starts_with("426 The data connection broke: "), "{reply}");
        let came = rest(stream);
        assert_same(&came, &content[..came.len()], "what came");
    });
}
