use super::*;
use std::net::TcpListener;

use crate::config::LINE_LIMIT;

/// A language of a few words.
const LANGUAGE: Language = Language {
    is_ftp_verb: |verb| verb == b"STOR",
    classify: |input| match input {
        Input::Line(line) => match line.as_slice() {
            b"ABOR" => LineKind::Abort,
            b"QUIT" => LineKind::Quit,
            b"STAT" => LineKind::Status,
            b"put x 5" => LineKind::WithContent,
            _ => LineKind::Other,
        },
        Input::TooLong(start) if start.starts_with(b"put") => LineKind::WithContent,
        _ => LineKind::Other,
    },
};

/// A control connection and its client's end.
fn pair() -> (Control, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    let patience = Duration::from_secs(10);
    (Control::new(Arc::new(server), LANGUAGE, patience, patience).unwrap(), client)
}

/// A control connection that was sent `input` and nothing more.
fn sent(input: &[u8]) -> Control {
    let (control, mut client) = pair();
    client.write_all(input).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    std::mem::forget(client); // stays half open
    control
}

/// Looks at what has come until a line blocks the view.
#[track_caller]
fn look_until_blocked(control: &mut Control, takes: &mut dyn FnMut(LineKind, bool) -> bool) {
    while !control.blocked {
        assert!(!control.ended || !control.unused.is_empty(), "all of it was looked at");
        control.look(takes).unwrap();
    }
}

fn lines(input: &[u8]) -> Vec<Vec<u8>> {
    let mut control = sent(input);
    let mut lines = Vec::new();
    loop {
        match control.read_line().unwrap() {
            Input::Line(line) => lines.push(line),
            Input::TooLong(_) => lines.push(b"<too long>".to_vec()),
            Input::End => return lines,
            Input::Cancel => panic!("nothing is there to cancel"),
        }
    }
}

#[track_caller]
fn reads(input: &[u8], expected: &[&[u8]]) {
    assert_eq!(lines(input), expected);
}

#[test]
fn replies_wait_for_no_acknowledgement() {
    // Without TCP_NODELAY a 226 that follows a 150 waits for the client's delayed acknowledgement:
    // 44 ms a file.
    assert!(pair().0.stream.nodelay().unwrap());
}

#[test]
fn a_last_line_without_an_end_is_not_a_command() {
    reads(b"ls\nrm -r do", &[b"ls"]);
}

#[test]
fn erasing_works_in_words_by_hand_and_not_in_content() {
    reads(b"lz\x08s\nSTOR a\x7fb\r\0DELE c\n", &[b"ls", b"STOR a\x7fb\rDELE c"]);
    let mut control = sent(b"write f\nlz\x08s\n.\n");
    control.read_line().unwrap();
    let mut text = Vec::new();
    control.text().read_to_end(&mut text).unwrap();
    assert_eq!(text, b"lz\x08s\n");
}

#[test]
fn telnet_requests_are_answered_without_any_other_reply() {
    let (mut control, mut client) = pair();
    client.write_all(b"\xff\xf4\xff\xfd\x06").unwrap();
    let reader = std::thread::spawn(move || control.read_line().unwrap());
    let mut answer = [0; 3];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"\xff\xfc\x06");
    client.write_all(b"ls\r\n").unwrap();
    assert_eq!(reader.join().unwrap(), Input::Line(b"ls".to_vec()));
}

#[test]
fn telnet_requests_are_answered_during_a_transfer() {
    let (mut control, mut client) = pair();
    client.write_all(b"NOOP\r\n\xff\xfd\x06").unwrap();
    while control.outbox.is_empty() {
        control.look(&mut take_abort).unwrap();
    }
    control.flush().unwrap();
    let mut answer = [0; 3];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"\xff\xfc\x06");
}

#[test]
fn a_line_of_8_kib_passes_and_a_longer_one_is_thrown_away_whole() {
    let full = vec![b'x'; LINE_LIMIT];
    let long = vec![b'y'; LINE_LIMIT + 1];
    let far = vec![b'z'; 10 * LINE_LIMIT];
    let input = [&full[..], b"\n", &long, b"\n", &far, b"\r\nls\n"].concat();
    reads(&input, &[&full, b"<too long>", b"<too long>", b"ls"]);
}

#[test]
fn counted_content_is_raw_and_exact() {
    let all: Vec<u8> = (0..=255).collect();
    for end in [&b"\n"[..], b"\r\n", b"\r\0"] {
        let mut control = sent(&[b"put f 256", end, &all, b"ls\r\n"].concat());
        assert_eq!(control.read_line().unwrap(), Input::Line(b"put f 256".to_vec()));
        let mut content = Vec::new();
        control.content(256).read_to_end(&mut content).unwrap();
        assert_eq!(content, all);
        assert_eq!(control.read_line().unwrap(), Input::Line(b"ls".to_vec()));
    }
}

#[test]
fn a_line_end_in_two_packets_is_neither_content_nor_a_line_of_its_own() {
    for end in [b"\r\n", b"\r\0"] {
        for (line, rest) in
            [(&b"put f 3"[..], &b"\nab"[..]), (b"write f", b"\n.\n"), (b"NOOP", b"")]
        {
            let (mut control, mut client) = pair();
            let first = [line, &end[..1]].concat();
            client.write_all(&first).unwrap();
            let mut read = 0;
            while read < first.len() {
                control.fill().unwrap();
                read += control.unused.len();
                assert_eq!(control.input_at_hand(LineUse::Command), None);
            }
            client.write_all(&[&end[1..], rest, b"ls\r\n"].concat()).unwrap();
            let input = control.read_line().unwrap();
            assert_eq!(input, Input::Line(line.to_vec()));
            let mut content = Vec::new();
            match line {
                b"put f 3" => drop(control.content(3).read_to_end(&mut content).unwrap()),
                b"write f" => drop(control.text().read_to_end(&mut content).unwrap()),
                _ => {}
            }
            assert_eq!(content, rest.strip_suffix(b".\n").unwrap_or(rest), "{end:?}");
            assert_eq!(control.read_line().unwrap(), Input::Line(b"ls".to_vec()), "{end:?}");
        }
    }
}

#[test]
fn content_never_leaves_its_line_end_to_the_next_line() {
    let mut control = sent(b"put f 0\r\nls\r\n");
    control.read_line().unwrap();
    assert_eq!(control.content(0).read(&mut [0; 9]).unwrap(), 0);
    assert_eq!(control.read_line().unwrap(), Input::Line(b"ls".to_vec()));
}

#[test]
fn text_ends_at_a_line_with_only_a_dot_and_doubled_dots_become_single() {
    let mut control = sent(b"one\r\n..two\r\n\r\n...\n.x\n.\r\nls\n");
    let mut text = String::new();
    control.text().read_to_string(&mut text).unwrap();
    assert_eq!(text, "one\n.two\n\n..\nx\n");
    assert_eq!(control.read_line().unwrap(), Input::Line(b"ls".to_vec()));
}

#[test]
fn ctrl_c_cancels_a_text_and_the_session_goes_on() {
    for discards in [false, true] {
        let mut control = sent(b"one\n\xff\xf4\xff\xfd\x06ls\n");
        match discards {
            true => control.discard(&InlineBody::UntilDot).unwrap(),
            false => {
                assert!(
                    control.text().read_to_end(&mut Vec::new()).unwrap_err().kind() == CANCELLED
                )
            }
        }
        assert_eq!(control.read_line().unwrap(), Input::Line(b"ls".to_vec()));
        assert_eq!(control.outbox, b"\xff\xfc\x06");
    }
}

#[test]
fn text_that_ends_with_the_connection_is_an_error() {
    let mut control = sent(b"one\ntwo\n");
    let error = control.text().read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn discarded_text_ends_at_its_dot_also_after_a_long_line() {
    let mut control = sent(&[&[b'x'; 9000][..], b"\nrm all\n.\nls\n"].concat());
    control.discard(&InlineBody::UntilDot).unwrap();
    assert_eq!(control.read_line().unwrap(), Input::Line(b"ls".to_vec()));
}

#[test]
fn replies_stay_in_the_buffer_until_the_input_is_used_up() {
    let (mut control, mut client) = pair();
    client.write_all(b"a\nb\n").unwrap();
    control.read_line().unwrap();
    control.write_all(b"200 a\r\n").unwrap();
    control.read_line().unwrap();
    control.write_all(b"200 b\r\n").unwrap();
    client.set_nonblocking(true).unwrap();
    assert_eq!(client.read(&mut [0; 99]).unwrap_err().kind(), ErrorKind::WouldBlock);
    client.set_nonblocking(false).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(control.read_line().unwrap(), Input::End);
    let mut replies = [0; 99];
    let length = client.read(&mut replies).unwrap();
    assert_eq!(&replies[..length], b"200 a\r\n200 b\r\n");
}

fn take_abort(kind: LineKind, _: bool) -> bool {
    kind == LineKind::Abort
}

#[test]
fn lines_during_a_transfer_are_taken_or_held() {
    let mut control = sent(b"NOOP\r\nABOR\r\nNOOP 2\r\nhalf");
    while !control.has_ended() {
        control.look(&mut take_abort).unwrap();
    }
    assert_eq!(control.read_line().unwrap(), Input::Line(b"NOOP".to_vec()));
    assert_eq!(control.read_line().unwrap(), Input::Line(b"NOOP 2".to_vec()));
    assert_eq!(control.read_line().unwrap(), Input::End);
}

#[test]
fn content_after_a_held_line_is_not_read_as_lines() {
    let mut control = sent(b"put x 5\r\nABOR\nABOR\n");
    look_until_blocked(&mut control, &mut take_abort);
    for _ in 0..100 {
        control.look(&mut take_abort).unwrap();
    }
    assert_eq!(control.read_line().unwrap(), Input::Line(b"put x 5".to_vec()));
    let mut content = [0; 5];
    control.content(5).read_exact(&mut content).unwrap();
    assert_eq!(&content, b"ABOR\n");
    assert_eq!(control.read_line().unwrap(), Input::Line(b"ABOR".to_vec()));
}

#[test]
fn lines_after_a_long_line_are_read_unless_content_may_follow_it() {
    let long = [b'x'; LINE_LIMIT + 1];
    let mut control = sent(&[&long[..], b"\nABOR\nput ", &long, b"\nABOR\n"].concat());
    let mut aborts = 0;
    look_until_blocked(&mut control, &mut |kind, _| {
        aborts += usize::from(kind == LineKind::Abort);
        kind == LineKind::Abort
    });
    assert_eq!(aborts, 1);
    assert_eq!(control.read_line().unwrap(), Input::TooLong(long[..LINE_LIMIT].to_vec()));
    let second = [&b"put "[..], &long[..LINE_LIMIT - 4]].concat();
    assert_eq!(control.read_line().unwrap(), Input::TooLong(second));
    assert_eq!(control.read_line().unwrap(), Input::Line(b"ABOR".to_vec()));
}

#[test]
fn an_abor_is_seen_after_thousands_of_lines() {
    let mut control = sent(&[&b"NOOP\r\n".repeat(10_000)[..], b"ABOR\r\n"].concat());
    let mut aborted = false;
    while !aborted && !control.has_ended() {
        control
            .look(&mut |kind, _| {
                aborted |= kind == LineKind::Abort;
                kind == LineKind::Abort
            })
            .unwrap();
    }
    assert!(aborted);
    for _ in 0..10_000 {
        assert_eq!(control.read_line().unwrap(), Input::Line(b"NOOP".to_vec()));
    }
    assert_eq!(control.read_line().unwrap(), Input::End);
}

#[test]
fn held_lines_have_a_limit_and_the_rest_stays_unread() {
    const COUNT: usize = 30_000;
    let mut control = sent(&b"NOOP\n".repeat(COUNT));
    look_until_blocked(&mut control, &mut take_abort);
    let held = control.held.len();
    control.look(&mut take_abort).unwrap();
    assert!(control.held.len() == held && (HELD..HELD + LINE_LIMIT).contains(&held), "{held}");
    for _ in 0..COUNT {
        assert_eq!(control.read_line().unwrap(), Input::Line(b"NOOP".to_vec()));
    }
    assert_eq!(control.read_line().unwrap(), Input::End);
    assert_eq!(control.held.bytes.capacity(), 0, "an idle session holds nothing for them");
}

#[test]
fn the_room_for_input_grows_up_to_a_limit() {
    let mut control = sent(&b"NOOP\n".repeat(30_000));
    while control.read_line().unwrap() != Input::End {}
    assert_eq!(control.inbox.len(), LARGE_INBOX);
}

#[test]
fn held_lines_that_have_been_run_take_no_memory() {
    let mut held = HeldLines::default();
    let noop = || Input::Line(b"NOOP".to_vec());
    held.push(&noop(), LineKind::Other);
    for _ in 0..10_000 {
        held.push(&noop(), LineKind::Other);
        assert_eq!(held.pop(), Some(noop()));
    }
    assert_eq!((held.pop(), held.pop()), (Some(noop()), None));
    assert!(held.bytes.capacity() <= 64);
}

#[test]
fn a_client_that_sent_quit_has_not_died() {
    for (input, died) in
        [(&b"NOOP\n"[..], true), (b"NOOP\nQUIT\n", false), (b"QUI", true), (b"", true)]
    {
        let mut control = sent(input);
        while !control.has_ended() {
            assert!(!control.has_ended_without_quit());
            control.look(&mut take_abort).unwrap();
        }
        assert_eq!(control.has_ended_without_quit(), died, "{}", input.escape_ascii());
    }
}

#[test]
fn a_session_without_unread_input_ends_at_once() {
    for line in [&b"QUIT\n"[..], b"QUIT\r\n"] {
        let (mut control, mut client) = pair();
        client.write_all(line).unwrap();
        assert_eq!(control.read_line().unwrap(), Input::Line(b"QUIT".to_vec()));
        let before = control.stream.read_timeout().unwrap();
        control.close().unwrap();
        // To wait, it would have set LINGER.
        assert_eq!(control.stream.read_timeout().unwrap(), before, "{line:?}");
    }
}

#[test]
fn a_look_ends_even_if_the_client_sends_without_end() {
    let (mut control, mut client) = pair();
    client.write_all(&b"STAT\r\n".repeat(10_000)).unwrap();
    let mut seen = 0;
    control
        .look(&mut |_, _| {
            seen += 1;
            true
        })
        .unwrap();
    let most = (FILLS_A_LOOK + 1) * INBOX / b"STAT\r\n".len();
    assert!(seen > 0 && seen <= most, "{seen}");
}
