//! Content over the control connection: exact, binary-safe, never run as commands.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::support::{Client, Server, Way, has_program, noise, sha256};

#[test]
fn every_byte_value_and_every_size_around_the_buffers_survive() {
    let server = Server::start();
    let mut client = server.registered("alice");
    let all: Vec<u8> = (0..=255).collect();
    assert!(client.put("all", &all).starts_with("226 "));
    assert_eq!(client.get("all").unwrap(), all);
    for size in
        [0, 1, 4095, 4096, 4097, 16_383, 16_384, 16_385, 262_143, 262_144, 262_145, 1_000_000]
    {
        let content = noise(size, size as u64);
        let (done, bytes) = (
            if size == 0 { "stored" } else { "replaced" },
            if size == 1 { "byte" } else { "bytes" },
        );
        assert_eq!(client.put("f", &content), format!("226 /f {done}, {size} {bytes}."));
        assert_eq!(client.get("f").unwrap(), content);
    }
}

#[test]
fn content_that_comes_byte_by_byte_is_the_same() {
    let server = Server::start();
    let mut client = server.registered("alice");
    for byte in b"put f 11\r\nhello\r\nrm fpwd\r\n" {
        client.send([*byte]);
    }
    for code in ["150 ", "226 ", "257 "] {
        assert!(client.reply().starts_with(code));
    }
    assert_eq!(client.get("f").unwrap(), b"hello\r\nrm f");
}

#[test]
fn a_large_refused_put_is_answered_once_and_the_connection_closed() {
    let server = Server::start();
    let mut client = server.registered("alice");
    // 1 MiB is read and thrown away; a byte more is not.
    let content = vec![b'\n'; 1024 * 1024];
    assert_eq!(client.put("missing/x", &content), "550 /missing/x: no such folder to hold it.");
    client.send_line("put missing/x 1048577\r\npwd\r\nrm -r /");
    assert_eq!(
        client.rest(),
        "550 /missing/x: no such folder to hold it. (Closing, because more content may follow.)\r\n"
    );
    let mut client = server.connect();
    client.send_line("put x 1048577\r\npwd");
    assert_eq!(
        client.rest(),
        "530 Log in first: login NAME PASSWORD (Closing, because more content may follow.)\r\n"
    );
}

#[test]
fn a_put_whose_size_is_none_ends_the_session_for_its_content_may_follow() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.send_line("mkdir d\r\nput x 7bytes\r\nrm -r d");
    assert_eq!(
        client.rest(),
        "257 \"/d\" created.\r\n501 Usage: put FILE [SIZE] \
         (Closing, because more content may follow.)\r\n"
    );
    assert!(server.real("alice/d").is_dir());
}

#[test]
fn a_quote_left_open_lets_no_content_be_run() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.expect("mkdir d", 257);
    for line in ["write \"my file.txt", "write it's mine.txt", "append a\\", "append", "write \"\""]
    {
        client.send_line(&format!("{line}\r\nrm -r d\r\n."));
        assert!(client.reply().starts_with("501 "), "{line}");
    }
    client.send_line(&format!("write \"{}\r\nrm -r d\r\n.", "x y".repeat(3000)));
    assert!(client.reply().starts_with("500 "));
    client.expect("cd d", 250);
}

/// Would change something, or have an answer, if it was run.
const EVIL: &str =
    "mkdir pwned\r\nregister mallory password\r\nrm -r keep\r\nABOR\r\nNOOP\r\nquit\r\n";

#[test]
fn content_is_never_run_whichever_client_sent_it_and_whatever_refused_it() {
    let server = Server::start();
    for (name, rights) in [("alice", "user:-"), ("guest", "readonly:-"), ("small", "user:64K")] {
        server.registered(name).expect("mkdir keep", 257);
        server.edit_account(name, rights);
    }
    // Deeper than a path may be, a longer line than there may be, and more than the quota holds.
    let (deep, long, large) = ("d/".repeat(1001), "x".repeat(9000), "a line\r\n".repeat(20_000));
    let cases = [
        ("guest", "f", "", 550),
        ("alice", &deep, "", 553),
        ("alice", "f\rx", "", 501),
        ("alice", &long, "", 500),
        ("alice", "f", &long, 500),
        ("small", "f", &large, 552),
    ];
    for (name, path, before, code) in cases {
        let content = format!("{before}\r\n{EVIL}");
        let lines =
            ["put", "upload", "write", "append"].map(|word| (format!("{word} {path}"), ".\r\n"));
        let counted = (format!("put {path} {}", content.len()), "");
        for (line, end) in lines.into_iter().chain([counted]) {
            let is_counted = end.is_empty();
            // Where `put` does not tell how much follows, the session ends.
            let ends = line.starts_with(['p', 'u'])
                && (path == long || path.contains('\r') && !is_counted);
            // Counted content has lines of any length.
            if ends || is_counted && before == long {
                continue;
            }
            let mut client = server.logged_in(name);
            client.send(format!("{line}\r\n{content}{end}NOOP\r\nquit\r\n"));
            let said = client.rest();
            let replies: Vec<_> = said.lines().filter(|reply| !reply.starts_with("150 ")).collect();
            let shown = &line[..line.len().min(20)];
            assert!(
                replies.len() == 3 && replies[0].starts_with(&code.to_string()),
                "{name} {shown}: {said}"
            );
            assert_eq!(
                replies[1..],
                ["200 Nothing done, as asked.", "221 Goodbye."],
                "{name} {shown}"
            );
        }
    }
    for name in ["alice", "guest", "small"] {
        assert!(
            server.real(name).join("keep").is_dir() && !server.real(name).join("pwned").exists()
        );
    }
    assert!(!server.users().contains("mallory"));
}

#[test]
fn content_that_comes_too_late_is_not_run() {
    let server = Server::with(&["--idle-timeout", "1"]);
    server.registered("alice").expect("mkdir keep", 257);
    let waiting = ["put f 1000", "put f", "write f", "append f"].map(|line| {
        let mut client = server.logged_in("alice");
        client.send(format!("{line}\r\npart\r\n"));
        (client, line)
    });
    for (mut client, line) in waiting {
        assert!(client.reply().starts_with("150 "), "{line}");
        assert_eq!(
            client.reply(),
            "421 Silent for too long; closing. Nothing was stored.",
            "{line}"
        );
        client.send(EVIL);
        client.half_close();
        assert_eq!(client.rest(), "", "{line}");
    }
    assert!(server.real("alice/keep").is_dir() && !server.real("alice/pwned").exists());
}

#[test]
fn an_append_that_breaks_off_leaves_the_file_as_it_was() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.put("f", b"old\n");
    client.send_line(&format!("append f\r\none\r\n{}\r\n.", "x".repeat(9000)));
    client.reply();
    assert!(client.reply().starts_with("500 "));
    client.send("append f\r\none\r\n");
    client.half_close();
    assert!(
        client
            .rest()
            .ends_with("426 The connection ended before the content did. Nothing was stored.\r\n")
    );
    assert_eq!(std::fs::read(server.real("alice/f")).unwrap(), b"old\n");
}

#[test]
fn content_cut_off_by_the_end_of_the_connection_is_not_stored() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.put("old", b"old content");
    for broken in ["put old 100\r\nhalf", "write old\r\nhalf\r\n", "put new 5\r\n"] {
        let mut client = server.connect();
        client.expect("login alice password", 230);
        client.send(broken);
        client.half_close();
        let rest = client.rest();
        let last = "426 The connection ended before the content did. Nothing was stored.\r\n";
        assert!(rest.starts_with("150 ") && rest.ends_with(last), "{rest}");
    }
    assert_eq!(client.get("old").unwrap(), b"old content");
    assert_eq!(client.ask("ls").lines().count(), 3);
}

#[test]
fn a_text_line_over_the_limit_refuses_the_text_and_consumes_it() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.send_line(&format!("write f\r\none\r\n{}\r\nrm x\r\n.", "x".repeat(9000)));
    assert!(client.reply().starts_with("150 "));
    assert_eq!(
        client.reply(),
        "500 a line is longer than 8 KiB; put with a size takes any content. Nothing was stored."
    );
    assert_eq!(client.ask("ls"), "212-/:\n212 Empty.");
}

#[test]
fn a_client_that_falls_silent_within_refused_content_hears_why_it_was_refused() {
    let server = Server::with(&["--quota", "8K", "--idle-timeout", "1"]);
    let mut client = server.registered("alice");
    client.send(format!("write f\n{}", "a line\n".repeat(3000)));
    assert_eq!(
        client.reply(),
        "150 What you type now becomes the text of /f. Then type a line with only \".\"; \
         or press Ctrl-C, and nothing is stored."
    );
    let rest = client.rest();
    assert!(rest.starts_with("552 ") && rest.lines().count() == 1, "{rest:?}");
}

#[test]
fn a_client_that_still_sends_after_the_end_of_its_session_is_not_reset() {
    // A reset may overtake the reply that tells why.
    let server = Server::start();
    let mut client = server.registered("alice");
    client.send("put x 12y\n");
    assert_eq!(
        client.rest(),
        "501 Usage: put FILE [SIZE] \
         (Closing, because more content may follow.)\r\n"
    );
    client.send([b'x'; 100_000]);
    client.half_close();
    assert_eq!(client.rest(), "");
}

#[test]
fn a_reader_sees_the_old_file_or_the_new_one() {
    let server = Server::start();
    let mut client = server.registered("alice");
    client.put("f", &[b'a'; 100_000]);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut writer = server.connect();
            writer.expect("login alice password", 230);
            for round in 0..200 {
                let content = vec![b"abc"[round % 3]; 100_000 + round];
                match round % 4 {
                    0 => assert!(writer.put("f", &content).starts_with("226 ")),
                    1 => writer.upload(Way::Epsv, "STOR f", &content),
                    n => {
                        assert!(writer.put("g", &content).starts_with("226 "));
                        let words = if n == 2 { &["cp -f g f"][..] } else { &["RNFR g", "RNTO f"] };
                        words
                            .iter()
                            .for_each(|word| assert!(writer.ask(word).starts_with(['2', '3'])));
                    }
                }
            }
        });
        let mut by_hand = true;
        while !writer.is_finished() {
            let content = match by_hand {
                true => client.get("f").unwrap(),
                false => client.download(Way::Epsv, "RETR f"),
            };
            by_hand = !by_hand;
            assert!(content.iter().all(|byte| *byte == content[0]), "a mixed file");
            assert!(content.len() >= 100_000, "half a file");
        }
    });
}

#[test]
fn pipelined_commands_are_answered_in_order_and_the_end_of_input_is_a_quit() {
    let server = Server::start();
    let mut client = Client::to(server.address());
    let mut script = "register alice password\n".to_string();
    for n in 0..500 {
        script.push_str(&format!("write f{n} text {n}\nSIZE f{n}\n"));
    }
    client.send(script);
    client.half_close();
    let rest = client.rest();
    let sizes: Vec<_> = rest.lines().filter_map(|line| line.strip_prefix("213 ")).collect();
    let expected: Vec<_> = (0..500).map(|n| format!("text {n}\n").len().to_string()).collect();
    assert_eq!(sizes, expected);
    assert!(rest.ends_with(&format!("213 {}\r\n", expected[499])));
}

#[test]
fn a_100_mb_random_file_goes_in_and_out_by_a_plain_nc_pipeline() {
    if !has_program("nc") {
        return;
    }
    const SIZE: usize = 100_000_000;
    let server = Server::start();
    let address = server.address();
    let dir = tempfile::tempdir().unwrap();
    let content = noise(SIZE, 7);
    let file = dir.path().join("random");
    File::create(&file).unwrap().write_all(&content).unwrap();
    // Pipelines like those of README.md, with 100 MB.
    let run = |script: &str| {
        let output = Command::new("sh")
            .args(["-c", script])
            .env("HOST", address.ip().to_string())
            .env("PORT", address.port().to_string())
            .current_dir(dir.path())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success());
        output.stdout
    };
    let said = run(
        "(printf 'register alice password\nput random %s\n' $(stat -c %s random); cat random) \
         | nc -N $HOST $PORT",
    );
    let said = String::from_utf8(said).unwrap();
    assert!(said.ends_with("226 /random stored, 100000000 bytes.\r\n"), "{said}");
    let mut stored = Vec::new();
    File::open(server.real("alice/random")).unwrap().read_to_end(&mut stored).unwrap();
    assert_eq!(sha256(&stored), sha256(&content));
    drop(stored);
    let received = run("printf 'login alice password\nget random\n' | nc -N $HOST $PORT");
    let head = String::from_utf8_lossy(&received[..400]).into_owned();
    let start = head.find(" bytes follow.\r\n").unwrap() + " bytes follow.\r\n".len();
    assert_eq!(sha256(&received[start..start + SIZE]), sha256(&content));
    assert_eq!(&received[start + SIZE..], b"\r\n226 /random sent, 100000000 bytes.\r\n");
}
