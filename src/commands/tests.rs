use proptest::prelude::*;

use crate::config::LINE_LIMIT;

use super::table::COMMANDS;
use super::*;

/// What is read of a line.
fn line(line: &str) -> Request {
    read(&Input::Line(line.into())).unwrap()
}

/// What is read of a line that is too long.
fn long_line(line: &str) -> Request {
    read(&Input::TooLong(line.into())).unwrap()
}

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.encode()).unwrap()
}

fn refused(refused: &str) -> String {
    text(&line(refused).command.unwrap_err())
}

fn parsed(parsed: &str) -> Command {
    line(parsed).command.unwrap()
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[test]
fn every_spelling_of_the_table_is_parsed_in_any_case() {
    for info in COMMANDS {
        let is_refused = matches!(info.parser, Parser::Refuse);
        for spelling in info.spellings {
            let example = info.example_line().replacen(info.name, spelling, 1);
            let (_, arguments) = example.split_at(spelling.len());
            for spelling in [spelling.to_ascii_uppercase(), spelling.to_ascii_lowercase()] {
                let request = line(&format!("{spelling}{arguments}"));
                // SITE alone is no command; its example is one of SITE's.
                let expected = if info.name == "SITE" { "SITE HELP" } else { info.name };
                assert_eq!(request.info.map(|info| info.name), Some(expected), "{example}");
                match request.command {
                    Ok(_) => assert!(!is_refused, "{example}"),
                    Err(reply) => {
                        assert_eq!((reply.code, is_refused), (502, true), "{example}")
                    }
                }
            }
        }
    }
}

/// A command that takes content from the control connection needs a parser that says which.
#[test]
fn every_spelling_whose_command_takes_content_says_that_it_follows() {
    let mut spellings = Vec::new();
    for info in COMMANDS {
        let takes_content = matches!(
            line(&info.example_line()).command,
            Ok(Command::Store(_, Channel::Inline) | Command::Append(_, Channel::Inline))
        );
        let kind =
            if takes_content { "WithContent, because content follows its line" } else { "Line" };
        let is_with_content = matches!(info.parser, Parser::WithContent(_));
        assert_eq!(
            is_with_content, takes_content,
            "the parser of \"{}\" must be a {kind}",
            info.name
        );
        if takes_content {
            spellings.extend(info.spellings);
        }
    }
    for known in ["put", "upload", "send", "write", "append"] {
        assert!(
            spellings.contains(&known),
            "the content after \"{known}\" would be run as commands"
        );
    }
    for spelling in spellings {
        for arguments in ["f", "'f", "", "f\rABOR"] {
            let line = Input::Line(format!("{spelling} {arguments}").into());
            assert_eq!(classify(&line), LineKind::WithContent, "{line:?}");
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
    assert_eq!(parsed("PASS  "), Command::Pass(Password(bytes(" "))));
    assert_eq!(parsed("PASS "), Command::Pass(Password(Vec::new())));
    assert_eq!(parsed("PASS"), Command::Pass(Password(Vec::new())));
    let form = listings::Form::ByHand { odd_flags: false };
    assert_eq!(parsed("ls -la docs"), Command::List(bytes("docs"), form));
    assert_eq!(parsed("rm -rf docs"), Command::RemoveTree(bytes("docs")));
    assert_eq!(parsed("rm docs"), Command::RemoveFile(bytes("docs")));
    assert_eq!(parsed("rm -f docs"), Command::RemoveFile(bytes("docs")));
    assert_eq!(parsed("md -p 'a b/c'"), Command::MakeFolders(bytes("a b/c")));
    assert_eq!(parsed("MKD -p a"), Command::MakeFolder(bytes("-p a")));
    assert_eq!(parsed("cd.."), Command::ChangeFolder(bytes("..")));
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
        (
            "login a b c",
            "501 Too many words; quote one that has spaces. Usage: login NAME PASSWORD\r\n",
        ),
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
        ("rm a\x01b", "501 There is a control character outside quotes. Nothing was done.\r\n"),
        ("DELE a\0b", "501 A name or password cannot contain NUL. Nothing was done.\r\n"),
    ] {
        assert_eq!(refused(line), reply, "{line}");
    }
}

#[test]
fn content_follows_a_malformed_line_too() {
    for (malformed, body) in [
        ("put a b 12", InlineBody::Length(12)),
        ("put \"a 12", InlineBody::Length(12)),
        ("put a\x01 12", InlineBody::Length(12)),
        ("put a b 99999999999999999999999", InlineBody::Length(u64::MAX)),
        ("put", InlineBody::UntilDot),
        ("put \"a", InlineBody::UntilDot),
        ("put a 12x", InlineBody::Unknown),
        ("put a -1", InlineBody::Unknown),
        ("put a b", InlineBody::Unknown),
        ("write", InlineBody::UntilDot),
        ("append \"a", InlineBody::UntilDot),
        ("write a\x01 text", InlineBody::Text(b"text".to_vec())),
    ] {
        let request = line(malformed);
        assert!(request.command.is_err(), "{malformed}");
        assert_eq!(request.body, Some(body), "{malformed}");
    }
    for (well_formed, body) in [
        ("put a 12", InlineBody::Length(12)),
        ("put 'a 12'", InlineBody::UntilDot),
        ("put a", InlineBody::UntilDot),
        ("write a", InlineBody::UntilDot),
        ("append a b c", InlineBody::Text(bytes("b c"))),
    ] {
        let request = line(well_formed);
        assert!(request.command.is_ok(), "{well_formed}");
        assert_eq!(request.body, Some(body), "{well_formed}");
    }
}

#[test]
fn a_long_line_of_a_content_word_does_not_let_its_content_be_run() {
    let x = "x".repeat(9000);
    for (long, body) in [
        (format!("put {x}"), Some(InlineBody::Unknown)),
        (format!("put {x} 12"), Some(InlineBody::Unknown)),
        (format!("put a '{x}' 12"), Some(InlineBody::Unknown)),
        (format!("write {x}"), Some(InlineBody::UntilDot)),
        (format!("write a {x}"), Some(InlineBody::Text(bytes(&x)))),
        (format!("mkdir {x}"), None),
    ] {
        let request = long_line(&long);
        assert_eq!(
            text(&request.command.unwrap_err()),
            "500 The line is longer than 8 KiB; it was not run.\r\n"
        );
        assert_eq!(request.body, body);
    }
}

#[test]
fn a_line_with_a_cr_inside_is_refused_whole_and_its_content_thrown_away() {
    let reply =
        "501 There is a CR inside the line; lines end with CRLF or LF. Nothing was done.\r\n";
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
    for (broken, body) in [
        ("put a\rb 5", InlineBody::Length(5)),
        ("put 'a\rb' 5", InlineBody::Length(5)),
        ("put f 5\r", InlineBody::Length(5)),
        ("put a\rb", InlineBody::Unknown),
        ("put 'a\rb'", InlineBody::UntilDot),
        ("write 'a\rb'", InlineBody::UntilDot),
        ("append \"a\r", InlineBody::UntilDot),
    ] {
        assert_eq!(refused(broken), reply, "{broken:?}");
        assert_eq!(line(broken).body, Some(body), "{broken:?}");
    }
}

#[test]
fn every_line_has_its_kind_for_a_transfer() {
    let long =
        |start: &str| Input::TooLong(format!("{start}{}", "x".repeat(LINE_LIMIT)).into_bytes());
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
fn a_word_that_needs_a_login_needs_it_with_wrong_arguments_too() {
    for line in
        ["RETR", "STAT -", "mkdir a b", "MODE B", "EPSV x", "SITE CHMOD x", "CDUP x", "put a -1"]
    {
        assert_ne!(super::tests::line(line).needs(), Permission::Nothing, "{line}");
    }
    for line in [
        "USER", "login a", "HELP a b", "FEAT x", "OPTS", "SYST x", "AUTH", "HOST", "quit x",
        "xyzzy", "",
    ] {
        assert_eq!(super::tests::line(line).needs(), Permission::Nothing, "{line}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_parse_panic(line in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse(&line, false);
        let _ = parse(&line, true);
    }

    #[test]
    fn no_arguments_make_a_known_word_panic(
        index in 0..COMMANDS.len(),
        arguments in "[ \\t\"'\\\\a-c0-9./\\-\\x00\\x01é]{0,24}",
    ) {
        let line = format!("{} {arguments}", COMMANDS[index].name);
        if let Err(reply) = parse(line.as_bytes(), false).command {
            prop_assert!(matches!(reply.code, 500 | 501 | 502 | 504));
        }
        let _ = parse(line.as_bytes(), true);
    }
}
