//! Names that forge lines, drive terminals, or make a pattern expensive.

use super::*;

/// CVE-2010-2632, CVE-2011-0418 and CVE-2001-1501: patterns that cost the server exponentially many
/// steps, or expand to more than fits. A matcher that tries every star again would need more than
/// 2^80 steps for one of these names, so that this test returns at all is the proof.
#[test]
fn many_stars_over_long_names_are_answered_all_the_same() {
    let server = Server::with(PATIENT);
    let mut client = server.registered("alice");
    client.expect("mkdir d", 257);
    for n in 0..200 {
        fs::write(server.real(&format!("alice/d/{}{n:03}", "a".repeat(250))), "").unwrap();
    }
    for pattern in [
        "a*".repeat(100) + "b",
        "*a".repeat(100) + "b",
        "*".repeat(254) + "b",
        "?*".repeat(120) + "b",
    ] {
        for verb in ["LIST", "NLST", "STAT", "LIST -R", "ls", "dir"] {
            let reply = client.expect(&format!("{verb} d/{pattern}"), 550);
            assert!(reply.ends_with(": nothing matches."), "{reply}");
        }
        for verb in ["MLSD", "MLST", "CWD", "RETR", "DELE", "RMD", "SIZE", "XSHA256", "SITE RMDIR"]
        {
            client.expect(&format!("{verb} d/{pattern}"), 550);
        }
    }
    let all = ["*".repeat(255), "a*".repeat(100), "?".repeat(253), "*?".repeat(120)];
    for pattern in all {
        let names = lossy(&client.download(Way::Epsv, &format!("NLST d/{pattern}")));
        assert_eq!(names.lines().count(), 200, "{pattern}");
    }
    // What csh and glob(3) expand stands for itself here.
    for pattern in
        ["{a,b}".repeat(40), "~".repeat(100), "[a-z]".repeat(40), "*/../".repeat(500) + "*/x*"]
    {
        client.expect(&format!("LIST d/{pattern}"), 550);
    }
    client.expect("LIST */*", 550);
    in_step(&mut client);
}

/// The values of a log line, read as strictly as it may be written: `stamp key=value key="value"`.
fn log_fields(line: &str) -> Vec<(String, String)> {
    let (stamp, mut rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
    assert_eq!((stamp.len(), stamp.ends_with('Z')), (24, true), "{line}");
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let (key, value) = rest.split_once('=').unwrap_or_else(|| panic!("{line}"));
        assert!(key.bytes().all(|byte| byte.is_ascii_lowercase()), "{line}");
        let end = match value.strip_prefix('"') {
            Some(quoted) => {
                let mut escaped = false;
                let end = quoted.find(|c| match (c, escaped) {
                    ('"', false) => true,
                    (c, was) => {
                        escaped = c == '\\' && !was;
                        false
                    }
                });
                end.unwrap_or_else(|| panic!("an open quote: {line}")) + 2
            }
            None => value.find(' ').unwrap_or(value.len()),
        };
        fields.push((key.to_string(), value[..end].to_string()));
        rest = &value[end..];
        assert!(rest.is_empty() || rest.starts_with(' '), "{line}");
        rest = rest.strip_prefix(' ').unwrap_or(rest);
    }
    fields
}

/// CWE-117 and CWE-93: names that hold what separates records make new ones. The users file is
/// lines of fields with `:`, the log is lines of `key=value`.
#[test]
fn no_name_forges_a_line_of_the_users_file_or_of_the_log() {
    let server = Server::with(PATIENT);
    let mut alice = server.registered("alice");
    let users = server.users();
    let names: [&[u8]; 26] = [
        b"mallory:user:-:x",
        b"'mallory:user'",
        b"alice:",
        b":alice",
        b"#alice",
        b"' alice'",
        b"'alice '",
        b"\"alice\tx\"",
        b"alice\\\\",
        b"''",
        b".",
        b"..",
        b".plainftpd-x",
        b"../mallory",
        b"a/b",
        b"-alice",
        b"_alice",
        b"mallory\xe2\x80\xa8x",
        b"mallory\xc2\x85x",
        b"mallory\xe2\x80\xaex",
        b"mallory\xff\xff",
        b"mallory\x00x",
        b"mallory\x0bx",
        b"mallory\x1b[2J",
        b"\xef\xbb\xbfmallory",
        b"a2345678901234567890123456789012x",
    ];
    for verb in [&b"register "[..], b"SITE REGISTER "] {
        for name in names {
            let mut client = server.connect();
            client.send([verb, name, b" password\r\nwhoami\r\n"].concat());
            let reply = reply_of(&mut client);
            assert!(
                reply.starts_with("553 ") || reply.starts_with("501 "),
                "{}: {reply}",
                lossy(name)
            );
            assert!(reply_of(&mut client).starts_with("211 Not logged in."), "{}", lossy(name));
        }
        // A line's end within the name ends the command.
        for end in ["\n", "\r\n", "\r\0"] {
            let mut client = server.connect();
            client.send(
                [verb, b"mal", end.as_bytes(), b"mallory:user:-:x password\r\nwhoami\r\n"].concat(),
            );
            assert!(reply_of(&mut client).starts_with("501 "));
            // In an FTP verb's argument CR NUL ends no line.
            if !(verb.starts_with(b"SITE") && end == "\r\0") {
                assert!(reply_of(&mut client).starts_with("500 "));
            }
            assert!(reply_of(&mut client).starts_with("211 Not logged in."));
        }
    }
    assert_eq!(server.users(), users);
    assert_eq!(server.homes().len(), 1);
    // Passwords are hashed, so that nothing of theirs is in a line.
    alice.expect("passwd password 'x:user:-:y $z #'", 200);
    let changed = server.users();
    assert_eq!(
        (changed.lines().count(), changed.matches("alice").count()),
        (users.lines().count(), 1)
    );
    alice.expect("login alice 'x:user:-:y $z #'", 230);
    // Names of files, and all that else is logged.
    let forged = [
        "x\" user=\"root\" code=230",
        "x\\\" event=\"end",
        "x\\",
        "\"",
        "x event=login user=root",
        "x=y",
        "2026-01-01T00:00:00.000Z event=login user=root",
        "x\u{2028}2026-01-01T00:00:00.000Z event=login user=root",
        "\u{202e}toor=resu",
        "\u{feff}x",
        "é \" é",
    ];
    for name in forged {
        alice.expect(&format!("MKD {name}"), 257);
        alice.expect(&format!("RNFR {name}"), 350);
        alice.expect(&format!("RNTO {name} 2"), 250);
        alice.expect(&format!("SITE CPFR {name} 2"), 350);
        alice.expect(&format!("SITE CPTO {name} \""), 250);
        alice.expect(&format!("RMD {name} 2"), 250);
        alice.upload(Way::Epsv, &format!("STOR {name} f"), b"x");
        alice.download(Way::Epsv, &format!("RETR {name} f"));
        alice.expect(&format!("DELE {name} nothing"), 550);
        let mut client = server.connect();
        client.expect(&format!("USER {name}"), 331);
        client.expect(&format!("PASS {name}"), 530);
        for line in ["xyzzy", "CLNT", "HOST", "AUTH", "OPTS", "SITE", "help"] {
            client.ask(&format!("{line} {name}"));
        }
    }
    expect_bytes(&mut alice, b"MKD \xe9\" user=\"root", 257);
    for line in server.log().lines() {
        for (key, value) in log_fields(line) {
            let known = [
                "event", "session", "peer", "user", "word", "path", "to", "bytes", "code", "ms",
                "why", "listen", "text", "account", "received", "sent",
            ];
            assert!(known.contains(&key.as_str()), "{key}: {line}");
            match key.as_str() {
                "user" | "account" => assert_eq!(value, "alice", "{line}"),
                "event" => {
                    assert!(
                        ["start", "connect", "command", "login-failed", "end"]
                            .contains(&value.as_str()),
                        "{line}"
                    )
                }
                _ => {}
            }
            let unfit = |c: char| c.is_control() || "\u{2028}\u{2029}\u{202e}\u{feff}".contains(c);
            assert!(!value.contains(unfit), "{line:?}");
        }
    }
}

/// H. D. Moore, "Terminal Emulator Security Issues" (2003; CVE-2003-0063): a name on the
/// disk that an attacker planted drives the terminal of the user who lists it, or ends a reply
/// early.
#[test]
fn control_characters_in_names_on_the_disk_are_shown_as_question_marks() {
    let server = Server::with(PATIENT);
    let mut client = server.registered("alice");
    let names: [(&[u8], &str); 8] = [
        (b"a\x1b]0;evil\x07", "a?]0;evil?"),
        (b"b\r\n226 done\r\n", "b??226 done??"),
        (b"c\n250 End", "c?250 End"),
        (b"d\x7f\x08\x08", "d???"),
        (b"e\xc2\x9b2J", "e?2J"),
        (b"f\x1b[2J\x1b[1;1H", "f?[2J?[1;1H"),
        (b"g\tx", "g?x"),
        (b"h\x01\x02\x1f", "h???"),
    ];
    let plant = |folder: &str| {
        for (name, _) in names {
            let path = server.real(folder).join(std::ffi::OsStr::from_bytes(name));
            match name[0] {
                b'a' => fs::create_dir(path).unwrap(),
                b'b' => symlink("\x1b[2J/target", path).unwrap(),
                _ => fs::write(path, "x").unwrap(),
            }
        }
    };
    plant("alice");
    client.expect("mkdir d", 257);
    plant("alice/d");
    let shown: BTreeSet<String> = names.iter().map(|(_, shown)| shown.to_string()).collect();
    // Programs ask for files by the names that a data connection brings, so these are whole but for
    // CR and LF.
    let on_a_line: BTreeSet<String> =
        names.iter().map(|(name, _)| lossy(name).replace(['\r', '\n'], "?")).collect();
    let check = |text: &str, line: &str, names: &BTreeSet<String>| {
        assert!(!text.contains("target"), "{line}: a link's target");
        for name in names {
            assert!(text.contains(name), "{line}: {name} in {text}");
        }
    };
    // A program needs the name itself, and one entry per line.
    for line in ["LIST d", "NLST d", "MLSD d", "LIST d/*", "NLST d/*", "LIST -la d"] {
        let listing = lossy(&client.download(Way::Epsv, line));
        check(&listing, line, &on_a_line);
        assert_eq!(listing.split("\r\n").count(), names.len() + 1, "{line}: {listing}");
        assert!(listing.split("\r\n").all(|line| !line.contains(['\r', '\n'])), "{listing:?}");
    }
    let listing = lossy(&client.download(Way::Epsv, "NLST d"));
    let with_folder = on_a_line.iter().map(|name| format!("d/{name}"));
    assert_eq!(listing.lines().map(str::to_string).collect::<BTreeSet<_>>(), with_folder.collect());
    for line in ["ls d", "dir d", "STAT d", "ls d/*"] {
        let listing = reply_of_line(&mut client, line);
        assert!(
            !listing.chars().any(|c| c.is_control() && !"\r\n".contains(c)),
            "{line}: {listing:?}"
        );
        check(&listing, line, &shown);
        assert_eq!(listing.lines().count(), names.len() + 2, "{line}: {listing}");
        assert!(
            listing.lines().skip(1).take(names.len()).all(|line| line.starts_with(' ')),
            "{listing}"
        );
    }
    // A reply about something in a tree, which cannot be named by typing.
    let reply = client.expect("cp d copy", 550);
    assert!(reply.contains("\"b??226 done??\" in it cannot be copied"), "{reply}");
    // By hand such a name must be quoted, and no reply shows it as it is.
    for name in
        [&b"x\x1b[2J"[..], b"x\xc2\x9b2J", b"x\xff\xf1\x1b", b"x\x00", b"x\x0c", b"x\xc2\x85"]
    {
        for verb in ["mkdir", "cd", "rm", "get", "info"] {
            expect_bytes(&mut client, &[verb.as_bytes(), b" ", name].concat(), 501);
            in_step(&mut client);
        }
        let code = if name.contains(&0) { 501 } else { 550 };
        for verb in ["CWD", "RNFR", "RETR", "SITE CPFR", "XSHA256", "MLST", "MLSD", "DELE"] {
            expect_bytes(&mut client, &[verb.as_bytes(), b" ", name].concat(), code);
            in_step(&mut client);
        }
        for verb in [&b"info '"[..], b"cd \"", b"MLST '"] {
            let quote = verb.last().filter(|last| b"'\"".contains(last)).unwrap();
            expect_bytes(&mut client, &[verb, name, &[*quote]].concat(), code);
        }
    }
    // What is no UTF-8 is no control character; what is doubled is a quote, not PWD's end.
    expect_bytes(&mut client, b"MKD q\" \xe9", 257);
    client.send(b"CWD q\" \xe9\r\nPWD\r\n");
    client.reply_bytes();
    assert_eq!(client.reply_bytes(), b"257 \"/q\"\" \xe9\" is the current folder.");
    client.expect("rm -r /d", 250);
    for line in ["SITE RMDIR /d", "ls /d"] {
        client.expect(line, 550);
    }
}
