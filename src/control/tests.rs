use super::*;
use std::net::TcpListener;

/// A control connection and its client's end.
fn pair() -> (Control, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (Control::new(Arc::new(server), Duration::from_secs(10), Duration::from_secs(10)).unwrap(), client)
}

/// A control connection that was sent `input` and nothing more.
fn sent(input: &[u8]) -> Control {
    let (control, mut client) = pair();
    client.write_all(input).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    std::mem::forget(client); // stays half open
    control
}

fn lines(input: &[u8]) -> Vec<Vec<u8>> {
    let mut control = sent(input);
    let mut lines = Vec::new();
    loop {
        match control.read_line().unwrap() {
            Input::Line(line) => lines.push(line),
            Input::TooLong(_) => lines.push(b"<too long>".to_vec()),
            Input::End => return lines,
        }
    }
}

#[track_caller]
fn reads(input: &[u8], expected: &[&[u8]]) {
    assert_eq!(lines(input), expected);
}

#[test]
fn replies_wait_for_no_acknowledgement() {
    // Without TCP_NODELAY a 226 that follows a 150 waits for the client's delayed acknowledgement: 44 ms a file.
    assert!(pair().0.stream.nodelay().unwrap());
}

#[test]
fn lf_crlf_cr_and_cr_nul_each_end_one_line() {
    reads(b"a\nb\r\nc\rd\r\0e\n\n", &[b"a", b"b", b"c", b"d", b"e", b""]);
    reads(b"a\r\rb\r\n\r\n", &[b"a", b"", b"b", b""]);
}

#[test]
fn a_last_line_without_an_end_is_no_command() {
    reads(b"ls\nrm -r do", &[b"ls"]);
}

#[test]
fn telnet_commands_vanish_wherever_they_stand() {
    reads(b"\xff\xfd\x01l\xff\xf1s\xff\xfa\x18\x00xterm\n\xff\xff\xf0y\xff\xf0\r\n", &[b"ls"]);
    // A doubled IAC is one byte; one before anything else is dropped alone (the urgent DM is lost).
    reads(b"a\xff\xffb\n\xff\xf4\xffABOR\r\n", &[b"a\xffb", b"ABOR"]);
    reads(b"a\xff\nb\n", &[b"a", b"b"]);
    for at in 0..4 {
        for command in [&b"\xff\xfb\x03"[..], b"\xff\xf6", b"\xff\xfa\x01\xff\xf0"] {
            let mut input = b"ls\r\n".to_vec();
            input.splice(at..at, command.iter().copied());
            reads(&input, &[b"ls"]);
        }
    }
}

#[test]
fn backspace_and_delete_erase_whole_characters() {
    reads("lz\x08s\nré\x7f\x08\x08\x08ls\n".as_bytes(), &[b"ls", b"ls"]);
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
fn lines_are_the_same_in_whatever_pieces_they_come() {
    let input = b"one\r\ntwo\rthree\n\xff\xfd\x01four\xff\xff\r\n";
    for cut in 0..=input.len() {
        let (mut control, mut client) = pair();
        let (first, second) = input.split_at(cut);
        client.write_all(first).unwrap();
        let writer = std::thread::spawn({
            let second = second.to_vec();
            move || {
                client.write_all(&second).unwrap();
                client
            }
        });
        for expected in [&b"one"[..], b"two", b"three", b"four\xff"] {
            assert_eq!(control.read_line().unwrap(), Input::Line(expected.to_vec()));
        }
        drop(writer.join().unwrap());
    }
}

#[test]
fn counted_content_is_raw_and_exact() {
    let all: Vec<u8> = (0..=255).collect();
    for end in [&b"\n"[..], b"\r\n", b"\r"] {
        let mut control = sent(&[b"put f 256", end, &all, b"ls\r\n"].concat());
        assert_eq!(control.read_line().unwrap(), Input::Line(b"put f 256".to_vec()));
        let mut content = Vec::new();
        control.content(256).read_to_end(&mut content).unwrap();
        assert_eq!(content, all);
        assert_eq!(control.read_line().unwrap(), Input::Line(b"ls".to_vec()));
    }
}

#[test]
fn no_content_leaves_the_line_end_to_the_next_line() {
    let mut control = sent(b"put f 0\r\nls\r\n");
    control.read_line().unwrap();
    assert_eq!(control.content(0).read(&mut [0; 9]).unwrap(), 0);
    assert_eq!(control.read_line().unwrap(), Input::Line(b"ls".to_vec()));
}

#[test]
fn text_ends_at_a_lone_dot_and_doubled_dots_are_undone() {
    let mut control = sent(b"one\r\n..two\r\n\r\n...\n.x\n.\r\nls\n");
    let mut text = String::new();
    control.text().read_to_string(&mut text).unwrap();
    assert_eq!(text, "one\n.two\n\n..\nx\n");
    assert_eq!(control.read_line().unwrap(), Input::Line(b"ls".to_vec()));
}

#[test]
fn text_that_ends_with_the_connection_is_an_error() {
    let mut control = sent(b"one\ntwo\n");
    let error = control.text().read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn discarded_text_ends_at_its_dot_also_behind_a_long_line() {
    let mut control = sent(&[&[b'x'; 9000][..], b"\nrm all\n.\nls\n"].concat());
    control.discard(&Body::Lines).unwrap();
    assert_eq!(control.read_line().unwrap(), Input::Line(b"ls".to_vec()));
}

#[test]
fn replies_gather_until_input_runs_out() {
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

fn kinds(line: &[u8]) -> Verdict {
    match line {
        b"ABOR" => Verdict::Taken,
        b"put x 5" => Verdict::WaitWithContent,
        _ => Verdict::Wait,
    }
}

#[test]
fn lines_during_a_transfer_are_taken_or_wait_for_their_turn() {
    let mut control = sent(b"NOOP\r\nABOR\r\nNOOP 2\r\nhalf");
    while !control.has_ended() {
        control.look(&mut kinds).unwrap();
    }
    assert_eq!(control.read_line().unwrap(), Input::Line(b"NOOP".to_vec()));
    assert_eq!(control.read_line().unwrap(), Input::Line(b"NOOP 2".to_vec()));
    assert_eq!(control.read_line().unwrap(), Input::End);
}

#[test]
fn content_behind_a_waiting_line_is_not_looked_at() {
    let mut control = sent(b"put x 5\r\nABOR\nABOR\n");
    for _ in 0..100 {
        control.look(&mut kinds).unwrap();
    }
    assert_eq!(control.read_line().unwrap(), Input::Line(b"put x 5".to_vec()));
    let mut content = [0; 5];
    control.content(5).read_exact(&mut content).unwrap();
    assert_eq!(&content, b"ABOR\n");
    assert_eq!(control.read_line().unwrap(), Input::Line(b"ABOR".to_vec()));
}

#[test]
fn only_so_many_lines_wait_and_the_rest_stays_unread() {
    let mut control = sent(&b"NOOP\n".repeat(10_000));
    for _ in 0..1000 {
        control.look(&mut kinds).unwrap();
    }
    assert_eq!(control.held.len(), HELD);
    for _ in 0..10_000 {
        assert_eq!(control.read_line().unwrap(), Input::Line(b"NOOP".to_vec()));
    }
    assert_eq!(control.read_line().unwrap(), Input::End);
}

#[test]
fn the_end_of_a_session_with_nothing_unread_waits_for_nobody() {
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
fn the_end_of_a_session_waits_for_the_lf_that_a_cr_may_have() {
    let (mut control, mut client) = pair();
    client.write_all(b"QUIT\r").unwrap();
    assert_eq!(control.read_line().unwrap(), Input::Line(b"QUIT".to_vec()));
    client.shutdown(Shutdown::Write).unwrap();
    control.close().unwrap();
    assert!(control.stream.read_timeout().unwrap().unwrap() <= LINGER);
}

#[test]
fn a_look_ends_though_the_client_sends_without_an_end() {
    let (mut control, mut client) = pair();
    client.write_all(&b"STAT\r\n".repeat(10_000)).unwrap();
    let mut seen = 0;
    control
        .look(&mut |_| {
            seen += 1;
            Verdict::Taken
        })
        .unwrap();
    let most = (FILLS_A_LOOK + 1) * INBOX / b"STAT\r\n".len();
    assert!(seen > 0 && seen <= most, "{seen}");
}
