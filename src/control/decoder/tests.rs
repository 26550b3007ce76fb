use proptest::prelude::*;

use super::*;

/// What `pieces` become, and what is answered to Telnet requests.
fn decoded<'p>(
    pieces: impl IntoIterator<Item = &'p [u8]>,
    line_use: LineUse,
) -> (Vec<Input>, Vec<u8>) {
    decoded_as(pieces, line_use, line_use)
}

/// Like `decoded`, with another use for the lines after the first Ctrl-C.
fn decoded_as<'p>(
    pieces: impl IntoIterator<Item = &'p [u8]>,
    mut line_use: LineUse,
    after_cancel: LineUse,
) -> (Vec<Input>, Vec<u8>) {
    let mut decoder = Decoder::new(is_stor);
    let mut inputs = Vec::new();
    let mut answers = Vec::new();
    for mut piece in pieces {
        while let Some(input) = decoder.decode(&mut piece, line_use) {
            if input == Input::Cancel {
                line_use = after_cancel;
            }
            inputs.push(input);
        }
        assert!(piece.is_empty(), "what ends no line is taken, too");
        answers.extend(decoder.take_answers());
    }
    (inputs, answers)
}

/// Checks it whole, byte by byte, and for every cut into two and every cut into three.
#[track_caller]
fn reads_as(input: &[u8], line_use: LineUse, expected: &[Input], answers: &[u8]) {
    let whole = decoded([input], line_use);
    assert_eq!(whole.0, expected, "{}", input.escape_ascii());
    assert_eq!(whole.1, answers, "{}", input.escape_ascii());
    assert_eq!(decoded(input.chunks(1), line_use), whole, "byte by byte: {}", input.escape_ascii());
    for first in 0..=input.len() {
        for second in first..=input.len() {
            let pieces = [&input[..first], &input[first..second], &input[second..]];
            assert_eq!(
                decoded(pieces, line_use),
                whole,
                "{first}, {second}: {}",
                input.escape_ascii()
            );
        }
    }
}

fn line(bytes: &[u8]) -> Input {
    Input::Line(bytes.to_vec())
}

#[track_caller]
fn commands(input: &[u8], expected: &[&[u8]]) {
    let expected: Vec<_> = expected.iter().map(|expected| line(expected)).collect();
    reads_as(input, LineUse::Command, &expected, b"");
}

#[test]
fn a_line_without_an_end_takes_at_most_the_memory_of_the_longest_line() {
    let mut decoder = Decoder::new(is_stor);
    for _ in 0..100 {
        assert_eq!(decoder.decode(&mut [b'x'; LINE_LIMIT].as_slice(), LineUse::Command), None);
    }
    assert!(decoder.line.capacity() <= 2 * LINE_LIMIT, "{}", decoder.line.capacity());
}

#[test]
fn lf_crlf_and_cr_nul_each_end_one_line() {
    commands(b"a\nb\r\nc\r\0d\n\n\r\n\r\0", &[b"a", b"b", b"c", b"d", b"", b"", b""]);
}

#[test]
fn any_other_cr_is_part_of_the_line() {
    commands(b"STOR x\rDELE y\r\nls\n", &[b"STOR x\rDELE y", b"ls"]);
    commands(b"a\r\r\nb\r\r\0c\r\r\r\n", &[b"a\r", b"b\r", b"c\r\r"]);
    commands(b"\rls\r\n\n\r\n", &[b"\rls", b"", b""]);
    commands(b"ls\r", &[]);
    commands(b"x\r\xff\xff\r\n", &[b"x\r\xff"]);
}

#[test]
fn in_an_ftp_verbs_argument_cr_nul_is_a_cr_and_not_a_line_end() {
    commands(b"STOR x\r\0DELE y\r\nls\n", &[b"STOR x\rDELE y", b"ls"]);
    commands(b" storx\x08\tx\r\0\r\0\nls\r\0", &[b" stor\tx\r\r", b"ls"]);
    commands(b"STOR \r\0\r\n", &[b"STOR \r"]);
    // What was erased is no part of the line, and hides no verb.
    commands(b"STO \x7fR x\r\0DELE y\r\nls\n", &[b"STOR x\rDELE y", b"ls"]);
    commands(b"ls\x08\x7fSTOR x\r\0DELE y\r\n", &[b"STOR x\rDELE y"]);
    commands(b"STOR \x7fx\r\0DELE y\r\n", &[b"STOR \x7fx\rDELE y"]);
    // No argument has begun.
    commands(b"STOR\r\0 STOR\r\0ls STOR x\r\0ls\n", &[b"STOR", b" STOR", b"ls STOR x", b"ls"]);
}

#[test]
fn abor_and_a_cr_are_complete_at_once_and_a_late_lf_belongs_to_them() {
    commands(b"ABOR\r", &[b"ABOR"]);
    commands(b"abor\rNOOP\r\n", &[b"abor", b"NOOP"]);
    commands(b"ABOR\r\nNOOP\r\n\n", &[b"ABOR", b"NOOP", b""]);
    commands(b"ABOR\r\0NOOP\n", &[b"ABOR", b"NOOP"]);
    commands(b" ABOR \r\n\n", &[b" ABOR ", b""]);
    commands(b"ABOR\n\n", &[b"ABOR", b""]);
    commands(b"ABORT\rx\n", &[b"ABORT\rx"]);
    commands(b"ABOR x\ry\n", &[b"ABOR x\ry"]);
    commands(b"\xf2ABOR\r\xff\xf2NOOP\n", &[b"ABOR", b"NOOP"]);
    commands(b"ABOX\x7fR\rNOOP\n", &[b"ABOR", b"NOOP"]);
}

#[test]
fn an_abor_is_recognised_whichever_byte_of_a_synch_was_urgent() {
    let synch = b"\xff\xf4\xff\xf2";
    for lost in 0..=synch.len() {
        let mut left = synch.to_vec();
        if lost < left.len() {
            left.remove(lost);
        }
        for end in [&b"\r\n"[..], b"\n", b"\r\0"] {
            commands(&[&left, &b"ABOR"[..], end, b"ls\n"].concat(), &[b"ABOR", b"ls"]);
            commands(&[&left, &b"abor x"[..], end, b"ls\n"].concat(), &[b"abor x", b"ls"]);
        }
        commands(&[&left, &b"ABOR\r"[..]].concat(), &[b"ABOR"]);
    }
    // Before anything else a Data Mark is a byte.
    commands(
        b"\xf2ABORT\n\xf2ls\n\xf2\n\xf4\xf2\n",
        &[b"\xf2ABORT", b"\xf2ls", b"\xf2", b"\xf4\xf2"],
    );
}

#[test]
fn telnet_at_the_start_of_a_line_is_removed() {
    for telnet in [
        &b"\xff\xf0"[..],
        b"\xff\xf1",
        b"\xff\xf4",
        b"\xff\xf9",
        b"\xff\xfc\x01",
        b"\xff\xfe\xff",
        b"\xff\xfe\n",
        b"\xff\xfa\x18\x00xterm\r\nDELE f\r\n\xff\xff\xff\xf0",
        b"\xff\xfa\xff\xf0",
        b"\xff\xf4\xff\xff\xfc\x06",
        b"\xff\xf1\xff\xf1\xff\xfe\x01\xff\xf4\xff\xf2",
    ] {
        commands(&[telnet, b"ls\r\n", telnet, b"\n"].concat(), &[b"ls", b""]);
    }
}

#[test]
fn inside_a_line_a_doubled_0xff_is_one_and_any_other_is_data() {
    commands(b"STOR stat\xff.txt\r\n", &[b"STOR stat\xff.txt"]);
    commands(b"STOR n\xff\r\nrm n\xff\nrm n\xff\r\0", &[b"STOR n\xff", b"rm n\xff", b"rm n\xff"]);
    commands(b"a\xff\xffb\xff\xff\xffc\xff\xff\xff\xff\n", &[b"a\xffb\xff\xffc\xff\xff"]);
    commands(b"l\xff\xf1s\xff\xfd\x06\n \xff\xf4\n", &[b"l\xff\xf1s\xff\xfd\x06", b" \xff\xf4"]);
    // What no Telnet command begins with is data at the start, too.
    commands(b"\xffabc\n\xff\n\xff\r\n", &[b"\xffabc", b"\xff", b"\xff"]);
}

#[test]
fn every_request_is_refused_and_no_refusal_is_answered() {
    let request = b"\xff\xf4\xff\xfd\x06ls\r\n\xff\xfb\x18\xff\xfc\x18\xff\xfe\x06\n";
    reads_as(request, LineUse::Command, &[line(b"ls"), line(b"")], b"\xff\xfc\x06\xff\xfe\x18");
    // Debian's telnet after Ctrl-C, and with its Synch before, of which the DM is lost.
    reads_as(b"\xff\xf4\xff\xff\xfd\x06", LineUse::Command, &[], b"\xff\xfc\x06");
    reads_as(b"\xff\xf4\xff\xf2\xff\xfd\x06", LineUse::Command, &[], b"\xff\xfc\x06");
    // Inside a line there is no Telnet, so nothing is answered.
    reads_as(b"x\xff\xfd\x06\n", LineUse::Command, &[line(b"x\xff\xfd\x06")], b"");
}

#[test]
fn requests_without_an_end_do_not_make_answers_pile_up() {
    let (_, answers) = decoded([&b"\xff\xfd\x01".repeat(100_000)[..]], LineUse::Command);
    assert_eq!(answers, b"\xff\xfc\x01".repeat(ANSWERS));
}

#[test]
fn ctrl_d_at_the_start_of_a_line_means_quit_and_elsewhere_nothing() {
    commands(b"\x04", &[b"quit"]);
    commands(b"ls\r\n\xff\xf1\x04", &[b"ls", b"quit"]);
    commands(b"STOR a\x04b\n \x04\n", &[b"STOR a\x04b", b" \x04"]);
    reads_as(b"\x04\n", LineUse::Text, &[line(b"\x04")], b"");
}

#[test]
fn in_text_only_telnet_at_the_start_of_a_line_is_removed() {
    let text = |input: &[u8], expected: &[&[u8]]| {
        let expected: Vec<_> = expected.iter().map(|expected| line(expected)).collect();
        reads_as(input, LineUse::Text, &expected, b"");
    };
    text(b"a\r\nb\nc\r\0.\n", &[b"a", b"b", b"c", b"."]);
    text(b"a\rb\r\r\n\r\r\n", &[b"a\rb\r", b"\r"]);
    text(b"x\xff\xf4\xff\xff\xff\n", &[b"x\xff\xf4\xff\xff\xff"]);
    text(
        b"\xff\xff\n\xff\xff\xf4\n\xffabc\n\xff\n",
        &[b"\xff\xff", b"\xff\xff\xf4", b"\xffabc", b"\xff"],
    );
    text(b"\xff\xef\n\xf2ABOR\n", &[b"\xff\xef", b"\xf2ABOR"]);
    text(b"\xff\xf1a\n\xff\xfc\x01\xff\xfa\x18\n\xff\xf0b\n", &[b"a", b"b"]);
    text(b"ABOR\rx\nABOR\r\n\n", &[b"ABOR\rx", b"ABOR", b""]);
    text(b"lz\x08\x7fs\n", &[b"lz\x08\x7fs"]);
    reads_as(b"\xff\xfd\x06a\n", LineUse::Text, &[line(b"a")], b"\xff\xfc\x06");
}

#[test]
fn ctrl_c_at_the_start_of_a_line_cancels_a_text() {
    let expected = [line(b"a"), Input::Cancel];
    reads_as(b"a\n\xff\xf4\xff\xfd\x06", LineUse::Text, &expected, b"\xff\xfc\x06");
    reads_as(b"\xff\xf4.\n", LineUse::Text, &[Input::Cancel, line(b".")], b"");
    let expected = [Input::Cancel, line(b"\xffabc"), Input::Cancel, line(b"\xff\xff")];
    reads_as(b"\xff\xf4\xffabc\n\xff\xf4\xff\xff\n", LineUse::Text, &expected, b"");
    // The request behind it is answered before.
    let mut decoder = Decoder::new(is_stor);
    let mut bytes = &b"\xff\xf4\xff\xfd\x06ls\n"[..];
    assert_eq!(decoder.decode(&mut bytes, LineUse::Text), Some(Input::Cancel));
    assert_eq!((decoder.take_answers().as_slice(), bytes), (&b"\xff\xfc\x06"[..], &b"ls\n"[..]));
    // A command line has nothing to cancel.
    commands(b"\xff\xf4ls\n", &[b"ls"]);
}

#[test]
fn a_line_of_8_kib_passes_and_a_longer_one_is_thrown_away_whole() {
    let full = vec![b'x'; LINE_LIMIT];
    let input = [&full[..], b"\n", &full, b"y\r\n", &full, &full, b"\rDELE x\r\nls\n"].concat();
    let expected = [
        Input::Line(full.clone()),
        Input::TooLong(full.clone()),
        Input::TooLong(full),
        line(b"ls"),
    ];
    for size in [1, 7, LINE_LIMIT, input.len()] {
        assert_eq!(decoded(input.chunks(size), LineUse::Command).0, expected, "{size}");
    }
}

#[test]
fn the_decoder_knows_that_a_line_has_no_end_yet() {
    for (input, expected) in [
        (&b""[..], false),
        (b"ls\n", false),
        (b"\xff\xfd\x06", false),
        (b"\xff", false),
        (b"ABOR\r", false),
        (b"l", true),
        (b"ls\r", true),
        (b"ls\n\r", true),
        (b"ls\xff", true),
    ] {
        let mut decoder = Decoder::new(is_stor);
        let mut bytes = input;
        while decoder.decode(&mut bytes, LineUse::Command).is_some() {}
        assert_eq!(decoder.is_inside_line(), expected, "{}", input.escape_ascii());
    }
}

fn is_stor(verb: &[u8]) -> bool {
    verb.eq_ignore_ascii_case(b"STOR")
}

#[test]
fn backspace_and_delete_erase_whole_characters_in_verbs_and_by_hand() {
    for (typed, line) in [
        ("lz\x08s", "ls"),
        ("ré\x7f\x08\x08\x08ls", "ls"),
        ("rm nots\x08\x08tes", "rm notes"),
        ("rm x\x7f\x7f\x7f\x7f\x7f\x7fls", "ls"),
        ("STORE\x08 x", "STOR x"),
        ("STORE\x08 a\x7fb\x08\x08", "STOR a\x7fb\x08\x08"),
        (" stor\ta\x7fb", " stor\ta\x7fb"),
        ("STOR\x08\x08\x08\x08ls", "ls"),
        ("rm STOR a\x7fb", "rm STOR b"),
        ("write f a\x7fb", "write f b"),
        ("\x08\x08ls", "ls"),
        ("STO \x7fR a\x7fb", "STOR a\x7fb"),
        (" \x08STOR a\x7fb", "STOR a\x7fb"),
        ("STORE \x7f\x7f \x08\ta\x7fb", "STOR \x08\ta\x7fb"),
        ("STO\x7f \x08R a\x7fb", "STR b"),
        ("", ""),
    ] {
        commands(&[typed.as_bytes(), b"\n"].concat(), &[line.as_bytes()]);
    }
}

#[test]
fn a_second_ctrl_c_has_no_effect_in_whatever_pieces_it_comes() {
    let input = b"\xff\xf4\xff\xf4NOOP\n";
    for size in 1..=input.len() {
        let (inputs, _) = decoded_as(input.chunks(size), LineUse::Text, LineUse::Command);
        assert_eq!(inputs, [Input::Cancel, line(b"NOOP")], "in pieces of {size}");
    }
}

proptest! {
    #[test]
    fn lines_are_the_same_in_whatever_pieces_they_come(
        input in prop::collection::vec(
            prop::sample::select(
                b"aABOR \r\n\0\x04.\x08\x7f\xff\xf0\xf2\xf4\xfa\xfb\xfd\xfe\x06".to_vec(),
            ),
            0..64,
        ),
        sizes in prop::collection::vec(1..9_usize, 64),
    ) {
        for line_use in [LineUse::Command, LineUse::Text] {
            let mut rest = input.as_slice();
            let mut pieces = Vec::new();
            for size in &sizes {
                let (piece, others) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece);
                rest = others;
            }
            // Ctrl-C ends a text, and commands follow.
            let decoded = |pieces| decoded_as(pieces, line_use, LineUse::Command);
            prop_assert_eq!(decoded(pieces), decoded(vec![&input[..]]));
        }
    }
}
