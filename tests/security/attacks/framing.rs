//! The ends of lines and of content.

use super::*;

/// CVE-2008-4247 (and CVE-2008-4242): a server that reads a long line in pieces of its buffer's
/// size runs the second piece as a command, which a web page can have any browser send.
#[test]
fn a_long_line_is_never_taken_for_two() {
    let server = Server::with(PATIENT);
    let mut client = server.registered("alice");
    client.put("keep", b"keep");
    client.expect("mkdir d", 257);
    let seen = snapshot(&server.real("alice"));
    for size in
        [64, 128, 255, 256, 512, 1000, 1023, 1024, 2048, 4095, 4096, 8191, 8192, 8193, 16384, 65536]
    {
        for command in ["DELE keep", "MKD pwned", "SITE RMDIR d", "RNFR keep"] {
            for (verb, fill) in
                [("CWD ", "/"), ("SIZE ", "x"), ("xyzzy ", " "), ("MLST ", "/."), ("", "\t")]
            {
                // The command stands where the piece would begin, and one off to both sides.
                for off in 0..3 {
                    let fill = fill.repeat(size);
                    let padding =
                        &fill[..(size + off).saturating_sub(verb.len() + 1).min(fill.len())];
                    let line = format!("{verb}{padding}{command}");
                    if verb.is_empty() && line.len() <= 8192 {
                        continue; // blanks before a command mean nothing
                    }
                    let reply = reply_of_line(&mut client, &line);
                    let expected: &[&str] = if line.len() > 8192 {
                        &["500 The line is longer"]
                    } else {
                        &["550 ", "553 ", "500 "]
                    };
                    assert!(
                        expected.iter().any(|start| reply.starts_with(start)),
                        "{size} {verb}: {reply}"
                    );
                    in_step(&mut client);
                }
            }
        }
    }
    assert_eq!(snapshot(&server.real("alice")), seen);
}

/// CVE-2021-3618 (ALPACA), and Jochen Topf's HTML form protocol attack of 2001: a browser is made
/// to send commands in a request, or to read an answer that quotes what the request held.
#[test]
fn no_http_request_gets_a_command_run_or_anything_quoted() {
    let server = Server::with(PATIENT);
    server.registered("alice");
    let long = format!("/{}", "a".repeat(9000));
    let targets = [
        "/",
        "*",
        "127.0.0.1:25",
        "/<script>alert(1)</script>",
        "/register%20mallory%20password",
        &long,
    ];
    let methods =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI"];
    // What stands before it, too, changes nothing: it need not be the first line.
    let before = [
        ("", 0),
        ("\r\n\r\n", 0),
        ("NOOP\r\n", 1),
        ("USER alice\r\n", 1),
        ("login alice password\r\nlogout\r\n", 2),
    ];
    let body = "Host: <script>\r\nContent-Type: text/plain\r\n\r\n\
                register mallory password\r\nMKD pwned\r\n";
    for (method, target) in methods.iter().flat_map(|method| targets.map(|target| (method, target)))
    {
        for (start, answers) in before {
            for end in [" HTTP/1.1\r\n", " HTTP/9.9\r\n", " HTTP/2.0\n"] {
                let mut client = server.connect();
                client.send(format!("{start}{method} {target}{end}{body}"));
                client.half_close();
                let said = client.rest();
                let said: Vec<_> = said.lines().skip(answers).collect();
                assert_eq!(said, ["421 This is not a web server."], "{start}{method}");
            }
        }
    }
    assert!(!server.users().contains("mallory"));
}

/// Content run as commands: the two ends disagree on where content ends (CWE-444; SMTP smuggling,
/// CVE-2023-51764), mostly after a line that one of them refused.
#[test]
fn content_is_never_run_whatever_became_of_its_line() {
    const EVIL: &str = "MKD pwned\r\nmkdir pwned\r\nregister mallory password\r\nrm -r keep\r\n";
    let server = Server::with(PATIENT);
    let mut alice = server.registered("alice");
    alice.expect("mkdir keep", 257);
    alice.expect("cd keep", 250);
    alice.expect("mkdir in", 257);
    let counted = EVIL.len();
    let long = "x".repeat(300);
    // Counted, so that the session goes on in step.
    for line in [
        format!("put f {counted}"),
        format!("put /keep {counted}"),
        format!("put nowhere/f {counted}"),
        format!("put {long} {counted}"),
        format!("put '' {counted}"),
        format!("put f g {counted}"),
        format!("put f\x01 {counted}"),
        format!("  PUT\t'/' {counted}"),
        format!("upload keep/in/../../.. {counted}"),
    ] {
        for logged_in_too in [true, false] {
            let mut client = server.connect();
            if logged_in_too {
                client.expect("login alice password", 230);
            }
            client.send(format!("{line}\r\n{EVIL}NOOP\r\nquit\r\n"));
            let said = client.rest();
            let tail = "200 Nothing done, as asked.\r\n221 Goodbye.\r\n";
            let before = said.strip_suffix(tail).unwrap_or_else(|| panic!("{line}: {said}"));
            assert!(before.lines().count() <= 2, "{line}: {said}");
            if !logged_in_too {
                assert!(before.starts_with("530 ") || before.starts_with("501 "), "{line}: {said}");
            }
        }
    }
    // Lines, up to the dot.
    for line in [
        "write /",
        "append keep",
        "write nowhere/f",
        "put keep",
        "write 'f",
        "append ''",
        "send f",
        "put",
    ] {
        for logged_in_too in [true, false] {
            let mut client = server.connect();
            if logged_in_too {
                client.expect("login alice password", 230);
            }
            client.send(format!("{line}\r\n{EVIL}.\r\nNOOP\r\nquit\r\n"));
            let said = client.rest();
            assert!(
                said.ends_with("200 Nothing done, as asked.\r\n221 Goodbye.\r\n"),
                "{line}: {said}"
            );
            assert!(said.lines().count() <= 4, "{line}: {said}");
        }
    }
    // If the server cannot know how much follows, the session ends.
    let endless = format!("put {} 100", "x".repeat(9000));
    for line in [
        "put f 12y",
        "put f -1",
        "put f 1 MB",
        "put f 99999999999999999999",
        "put f 2000000 x 3000000",
        &endless,
    ] {
        for logged_in_too in [true, false] {
            let mut client = server.connect();
            if logged_in_too {
                client.expect("login alice password", 230);
            }
            client.send(format!("{line}\r\n{EVIL}"));
            client.half_close();
            let said = client.rest();
            assert!(!said.contains("257 ") && !said.contains("230 Account"), "{line}: {said}");
            assert!(said.lines().count() <= 2, "{line}: {said}");
        }
    }
    // Content on a data connection is not looked at either.
    let mut client = logged_in(&server, "alice");
    client.upload(Way::Epsv, "STOR f", EVIL.as_bytes());
    assert_eq!(client.download(Way::Epsv, "RETR f"), EVIL.as_bytes());
    in_step(&mut client);
    assert!(server.real("alice/keep/in").is_dir() && !server.real("alice/pwned").exists());
    assert!(!server.real("alice/keep/pwned").exists());
    assert!(!server.users().contains("mallory"));
}

/// CVE-2010-4221 and CVE-2019-18217: Telnet escapes that one counts wrongly write past a buffer,
/// and one without its end keeps the server busy for ever.
#[test]
fn telnet_bytes_are_removed_at_the_start_of_a_line_and_are_bytes_inside_it() {
    let server = Server::with(PATIENT);
    let mut client = server.registered("alice");
    client.put("f", b"hello\n");
    let escapes: [&[u8]; 12] = [
        b"\xff\xf1",
        b"\xff\xf4",
        b"\xff\xf2",
        b"\xff\xf0",
        b"\xff\xfc\x03",
        b"\xff\xfe\xff",
        b"\xff\xfa\x18\x00xterm\r\nDELE f\r\n\xff\xf0",
        b"\xff\xfa\xff\xff\xff\xf0",
        // A doubled 0xFF is a byte inside it, and what follows is no command that could end it.
        b"\xff\xfa\x18\xff\xff\r\nDELE f\r\n\xff\xf0",
        b"\xff\xfa\x18\xff\xff\xf0\r\nDELE f\r\n\xff\xf0",
        b"\xff\xf1\xff\xf1\xff\xfe\x01",
        b"\xff\xf4\xff\xff\xf2",
    ];
    for (line, answer) in [
        ("SITE CHMOD 640 f", "200 /f has permissions 0640."),
        ("MFMT 20200102030405 f", "213 Modify=20200102030405; /f"),
        ("SIZE f", "213 6"),
        ("info 'f'", "213-/f:"),
    ] {
        for at in 0..line.len() {
            for escape in escapes {
                let mut bytes = line.as_bytes().to_vec();
                bytes.splice(at..at, escape.iter().copied());
                bytes.extend_from_slice(b"\r\n");
                // Nothing inside a line is Telnet, so one that holds line ends would be several
                // lines.
                if at > 0 && escape.contains(&b'\n') {
                    continue;
                }
                client.send(&bytes);
                let reply = reply_of(&mut client);
                assert!(
                    reply.starts_with(if at == 0 { answer } else { "5" }),
                    "{line}, {escape:x?} at {at}: {reply}"
                );
            }
            client.send("NOOP\r\n");
            assert_eq!(client.reply(), "200 Nothing done, as asked.", "{line} at {at}");
        }
    }
    // Before a line's end they belong to the name, and none of them hides the end.
    for tail in [&b"\xff"[..], b"\xff\xff", b"\xff\xfb", b"\xff\xfd", b"\xff\xf4\xff", b"\xff\xfa"]
    {
        for line in ["SITE CHMOD 640 f", "SITE CPFR f", "XSHA256 f", "DELE f"] {
            expect_bytes(&mut client, &[line.as_bytes(), tail].concat(), 550);
            in_step(&mut client);
        }
    }
    // Many of them, more than the line limit has room for.
    client.send([&b"\xff\xf1".repeat(100_000), &b"SITE CHMOD 640 f\r\n"[..]].concat());
    assert_eq!(reply_of(&mut client), "200 /f has permissions 0640.");
    client.send([b"SITE CPFR ".as_slice(), &b"\xff\xff".repeat(100_000), b"\r\n"].concat());
    assert_eq!(reply_of(&mut client), "500 The line is longer than 8 KiB; it was not run.");
    client.send(
        [b"\xff\xfa".as_slice(), &b"DELE f\r\n".repeat(100_000), b"\xff\xf0NOOP\r\n"].concat(),
    );
    assert_eq!(reply_of(&mut client), "200 Nothing done, as asked.");
    // The connection ends within a sequence: nothing runs, and the session's thread ends.
    let before = server.log().matches(" event=end ").count();
    let cuts = [
        &b"\xff"[..],
        b"\xff\xfb",
        b"\xff\xfa",
        b"\xff\xfa\xff",
        b"\xff\xfa\x18\r\nDELE f\r\n",
        b"DELE f",
        b"DELE f\xff",
        b"DELE f\r",
    ];
    for bytes in cuts {
        let mut cut = logged_in(&server, "alice");
        cut.send(bytes);
        cut.half_close();
        assert_eq!(cut.rest(), "");
    }
    server.wait_for_ended(before + cuts.len());
    assert_eq!(client.get("f").unwrap(), b"hello\n");
}
