use proptest::prelude::*;

use super::*;

fn refused(line: &str) -> String {
    String::from_utf8(parse(line.as_bytes()).unwrap_err().encode()).unwrap()
}

fn parsed(line: &str) -> Command {
    parse(line.as_bytes()).unwrap()
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[test]
fn every_spelling_of_the_table_is_parsed() {
    for word in words::WORDS {
        for spelling in word.spellings() {
            // With the example's arguments; the usage reply or the hint would be a 50x.
            let arguments = word.example.split_once(' ').map_or("", |(_, arguments)| arguments);
            let arguments = arguments.strip_prefix(spelling.trim_start_matches("SITE")).unwrap_or(arguments);
            let arguments = spelling
                .strip_prefix("SITE ")
                .and_then(|own| arguments.strip_prefix(own))
                .unwrap_or(arguments);
            for spelling in [spelling.to_ascii_uppercase(), spelling.to_ascii_lowercase()] {
                let line = format!("{spelling} {arguments}");
                match parse(line.as_bytes()) {
                    Ok(command) => assert!(!matches!(command, Command::Discard(..)), "{line}"),
                    Err(reply) => assert_eq!((reply.code, word.is_refused()), (502, true), "{line}"),
                }
            }
        }
    }
}

#[test]
fn hand_words_split_and_ftp_verbs_take_the_rest() {
    assert_eq!(parsed("mkdir 'my docs'"), Command::MakeFolder(bytes("my docs")));
    assert_eq!(parsed("MKD my docs"), Command::MakeFolder(bytes("my docs")));
    assert_eq!(parsed("MKD 'my docs'"), Command::MakeFolder(bytes("'my docs'")));
    assert_eq!(parsed("MKD  two"), Command::MakeFolder(bytes(" two")));
    assert_eq!(parsed("  \tcd\tdocs"), Command::ChangeFolder(bytes("docs")));
    assert_eq!(parsed("cd"), Command::ChangeFolder(bytes("/")));
    assert_eq!(parsed("PASS  a b "), Command::Pass(Password(bytes(" a b "))));
    assert_eq!(parsed("ls -la docs"), Command::List(bytes("docs"), lists::Form::ByHand { odd_flags: false }));
    assert_eq!(parsed("rm -rf docs"), Command::RemoveTree(bytes("docs")));
    assert_eq!(parsed("rm docs"), Command::RemoveFile(bytes("docs")));
    assert_eq!(parsed("rm -f docs"), Command::RemoveFile(bytes("docs")));
    assert_eq!(parsed("md -p 'a b/c'"), Command::MakeFolders(bytes("a b/c")));
    assert_eq!(parsed("MKD -p a"), Command::MakeFolder(bytes("-p a")));
    assert_eq!(parsed("cd.."), Command::ChangeToParent);
    assert_eq!(parsed("help site copy"), Command::Help(Some(bytes("site copy"))));
}

#[test]
fn too_many_or_too_few_words_are_answered_with_the_usage() {
    for (line, reply) in [
        ("mkdir", "501 Usage: mkdir [-p] DIR\r\n"),
        ("mkdir a b", "501 Too many words; quote one that has spaces. Usage: mkdir [-p] DIR\r\n"),
        ("mkdir \"\"", "501 Usage: mkdir [-p] DIR\r\n"),
        ("MKD", "501 Usage: MKD DIR\r\n"),
        ("cp a", "501 Usage: cp [-f] FROM TO\r\n"),
        ("mv a b c", "501 Too many words; quote one that has spaces. Usage: mv [-f] FROM TO\r\n"),
        ("rm -x a", "501 Usage: rm [-r] PATH\r\n"),
        ("register a", "501 Usage: register NAME PASSWORD [CODE]\r\n"),
        ("login a b c", "501 Too many words; quote one that has spaces. Usage: login NAME PASSWORD\r\n"),
        ("quit now", "501 Usage: quit\r\n"),
        // The usage names the word that was typed.
        ("md", "501 Usage: md [-p] DIR\r\n"),
        ("RD", "501 Usage: rd DIR\r\n"),
        ("delete", "501 Usage: delete [-r] PATH\r\n"),
        ("move a", "501 Usage: move [-f] FROM TO\r\n"),
        ("less", "501 Usage: less FILE\r\n"),
        ("df x", "501 Usage: df\r\n"),
        ("cd.. x", "501 Usage: cd..\r\n"),
        ("xmkd", "501 Usage: XMKD DIR\r\n"),
        ("site copy a", "501 Usage: SITE COPY [-f] FROM TO\r\n"),
        ("rm a\x01b", "501 There is a control character that is not in quotes. Nothing was done.\r\n"),
        ("DELE a\0b", "501 NUL cannot be part of that. Nothing was done.\r\n"),
    ] {
        assert_eq!(refused(line), reply, "{line}");
    }
}

#[test]
fn content_follows_a_malformed_line_too() {
    for (line, body) in [
        ("put a b 12", Body::Counted(12)),
        ("put \"a 12", Body::Counted(12)),
        ("put a\x01 12", Body::Counted(12)),
        ("put a b 99999999999999999999999", Body::Counted(u64::MAX)),
        ("put", Body::Lines),
        ("put \"a", Body::Lines),
        ("put a 12x", Body::Unknown),
        ("put a -1", Body::Unknown),
        ("put a b", Body::Unknown),
        ("write", Body::Lines),
        ("append \"a", Body::Lines),
        ("write a\x01 text", Body::Line(Vec::new())),
    ] {
        assert!(matches!(parsed(line), Command::Discard(_, found) if found == body), "{line}");
    }
    assert_eq!(parsed("put a 12"), Command::Store(bytes("a"), Via::Inline(Body::Counted(12))));
    assert_eq!(parsed("put a"), Command::Store(bytes("a"), Via::Inline(Body::Lines)));
    assert_eq!(parsed("write a"), Command::Store(bytes("a"), Via::Inline(Body::Lines)));
    assert_eq!(parsed("append a b c"), Command::Append(bytes("a"), Via::Inline(Body::Line(bytes("b c")))));
}

#[test]
fn a_long_line_of_a_content_word_does_not_let_its_content_be_run() {
    let long = "x".repeat(9000);
    let body = |line: &str| match too_long(line.as_bytes()) {
        Ok(Command::Discard(_, body)) => Some(body),
        _ => None,
    };
    assert_eq!(body(&format!("put {long}")), Some(Body::Unknown));
    assert_eq!(body(&format!("write {long}")), Some(Body::Lines));
    assert_eq!(body(&format!("write a {long}")), None);
    assert_eq!(body(&format!("mkdir {long}")), None);
}

#[test]
fn a_line_with_a_cr_inside_is_refused_whole_and_its_content_thrown_away() {
    let reply = "501 There is a CR inside the line; lines end with CRLF or LF. Nothing was done.\r\n";
    for line in [
        "STOR x\rDELE y",
        "LIST\rDELE y",
        "\rls",
        "ls\r",
        "NOOP \r",
        "mkdir 'a\rb'",
        "write f a\rb",
        "xyzzy\r",
        "\r",
    ] {
        assert_eq!(refused(line), reply, "{line:?}");
    }
    for (line, body) in [
        ("put a\rb 5", Body::Counted(5)),
        ("put 'a\rb' 5", Body::Counted(5)),
        ("put f 5\r", Body::Counted(5)),
        ("put a\rb", Body::Unknown),
        ("put 'a\rb'", Body::Lines),
        ("write 'a\rb'", Body::Lines),
        ("append \"a\r", Body::Lines),
    ] {
        let Command::Discard(found, content) = parsed(line) else { panic!("{line:?}") };
        assert_eq!((String::from_utf8(found.encode()).unwrap().as_str(), content), (reply, body), "{line:?}");
    }
}

#[test]
fn what_a_line_is_to_a_transfer() {
    let long = |start: &str| Input::TooLong(format!("{start}{}", "x".repeat(LINE_LIMIT)).into_bytes());
    let line = |line: &str| Input::Line(bytes(line));
    for (input, kind) in [
        (line("ABOR"), LineKind::Abort),
        (line(" abor x"), LineKind::Abort),
        (line("ABORT"), LineKind::Other),
        (line("STAT"), LineKind::Status),
        (line("stat "), LineKind::Status),
        (line("STAT f"), LineKind::Other),
        (line("QUIT"), LineKind::Quit),
        (line("bye"), LineKind::Quit),
        (line("quit now"), LineKind::Other),
        (line("put f 5"), LineKind::WithContent),
        (line("put f 5x"), LineKind::WithContent),
        (line("put f\rABOR 5"), LineKind::WithContent),
        (line("write f"), LineKind::WithContent),
        (line("append 'f"), LineKind::WithContent),
        (line("write f text"), LineKind::Other),
        (line("STOR f"), LineKind::Other),
        (line(""), LineKind::Other),
        (long("put "), LineKind::WithContent),
        (long("write "), LineKind::WithContent),
        (long("write f "), LineKind::Other),
        (long("ABOR "), LineKind::Other),
    ] {
        assert_eq!(classify(&input), kind, "{input:?}");
    }
}

#[test]
fn a_word_that_needs_an_account_needs_it_with_wrong_arguments_too() {
    for line in ["RETR", "STAT -", "mkdir a b", "MODE B", "EPSV x", "SITE CHMOD x", "CDUP x", "put a -1"] {
        assert!(needs_account(line.as_bytes()), "{line}");
    }
    for line in
        ["USER", "login a", "HELP a b", "FEAT x", "OPTS", "SYST x", "AUTH", "HOST", "quit x", "xyzzy", ""]
    {
        assert!(!needs_account(line.as_bytes()), "{line}");
    }
}

#[test]
fn web_requests_are_told_from_commands() {
    for line in ["GET / HTTP/1.1", "POST /x HTTP/2.0 ", "PUT x HTTP/0.9"] {
        assert!(is_http(line.as_bytes()), "{line}");
    }
    let long = |start: &str| is_http(&[start.as_bytes(), &[b'x'; LINE_LIMIT]].concat()[..LINE_LIMIT]);
    assert!(long("GET /") && !long("get /") && !long("GET x"));
    for line in [
        "",
        "get HTTP",
        "get HTTP/1",
        "HTTP/1.1 x",
        "GET HTTP/x.y",
        "get x HTTP/1.1",
        "append f GET / HTTP/1.1",
    ] {
        assert!(!is_http(line.as_bytes()), "{line}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_parse_panic(line in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse(&line);
        let _ = too_long(&line);
        let _ = is_http(&line);
    }

    #[test]
    fn no_arguments_make_a_known_word_panic(
        index in 0..words::WORDS.len(),
        arguments in "[ \\t\"'\\\\a-c0-9./\\-\\x00\\x01é]{0,24}",
    ) {
        let line = format!("{} {arguments}", words::WORDS[index].name);
        if let Err(reply) = parse(line.as_bytes()) {
            prop_assert!(matches!(reply.code, 500 | 501 | 502 | 504));
        }
        let _ = too_long(line.as_bytes());
    }
}
