//! README.md, README.ru.md and docs/protocol.md are true: their sessions are replayed over a
//! socket, `nc` and `telnet`, the programs and the picture in README.md match the server, and its
//! flags are those of `--help`.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::support::{Client, Server, Step, has_program, matches, noise, play, play_pipelined};

const README: &str = include_str!("../../README.md");
const RUSSIAN: &str = include_str!("../../README.ru.md");
const PROTOCOL: &str = include_str!("../../docs/protocol.md");

/// The block of `text` that begins with this fence.
fn block<'a>(text: &'a str, fence: &str) -> &'a str {
    text.split(&format!("```{fence}")).nth(1).unwrap().split("```").next().unwrap()
}

/// The session in `text`. A line of the server begins with three digits or a space, or is content
/// that a 150 announced; the client types every other line.
fn session(text: &str) -> Vec<Step> {
    let block = block(text, "session\n");
    let mut steps = Vec::new();
    let mut in_content = false;
    for line in block.lines() {
        let is_reply = line.len() > 3 && line.as_bytes()[..3].iter().all(u8::is_ascii_digit);
        if is_reply || line.starts_with(' ') || in_content {
            steps.push(Step::Answer(line.to_string()));
        } else {
            steps.push(Step::Line(line.to_string()));
        }
        in_content = line.ends_with("bytes follow.") || (in_content && !is_reply);
    }
    steps
}

fn typed() -> String {
    let lines = session(README).into_iter().filter_map(|step| match step {
        Step::Line(line) => Some(line + "\n"),
        _ => None,
    });
    lines.collect()
}

fn answers() -> Vec<String> {
    let answers = session(README).into_iter().filter_map(|step| match step {
        Step::Answer(answer) => Some(answer),
        _ => None,
    });
    answers.collect()
}

#[test]
fn the_session_is_what_the_server_says() {
    assert_eq!(typed().lines().count(), 10);
    for text in [README, RUSSIAN, PROTOCOL] {
        for player in [play, play_pipelined] {
            let server = Server::start();
            let mut client = Client::to(server.address());
            player(&mut client, &session(text), "\n");
            assert_eq!(client.rest(), "");
        }
    }
}

#[test]
fn the_picture_shows_lines_of_the_session() {
    let picture = include_str!("../../docs/session.svg");
    let shown = picture.lines().filter(|line| line.contains("y=\"") && !line.contains("legend"));
    let shown = shown.filter_map(|line| {
        line.split_once("\">")?.1.strip_suffix("</text>").map(|text| text.replace("&lt;", "<"))
    });
    let shown: Vec<_> = shown.collect();
    assert_eq!(shown[0], "$ nc 127.0.0.1 2121");
    assert!(shown.len() > 15, "{shown:?}");
    let mut lines = block(README, "session\n").lines();
    for line in &shown[1..] {
        assert!(
            lines.any(|wanted| matches(wanted, line)),
            "{line} is not in the session, or not there"
        );
    }
}

/// Replaces README's address by that of a server.
fn at(text: &str, server: &Server) -> String {
    let (ip, port) = (server.address().ip(), server.address().port());
    assert!(text.contains("2121"), "{text}");
    text.replace("\"127.0.0.1\", 2121", &format!("\"{ip}\", {port}"))
        .replace("127.0.0.1 2121", &format!("{ip} {port}"))
}

#[test]
fn the_client_in_python_works() {
    let program = block(README, "python\n");
    assert!(program.lines().filter(|line| !line.is_empty()).count() <= 15, "{program}");
    if !has_program("python3") {
        return;
    }
    let server = Server::start();
    let output = Command::new("python3").args(["-c", &at(program, &server)]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap().replace('\r', "");
    let said: Vec<_> = said.lines().collect();
    assert_eq!(said.len(), 7, "{said:?} {}", String::from_utf8_lossy(&output.stderr));
    assert!(said[1].starts_with("230 Account bob created"), "{said:?}");
    assert!(said[4].ends_with(" plans/"), "{said:?}");
    assert_eq!(said[6], "221 Goodbye.");
}

#[test]
fn the_pipelines_send_and_fetch_a_file() {
    if !has_program("nc") {
        return;
    }
    let server = Server::start();
    server.connect().expect("register alice wonderland", 230);
    let dir = tempfile::tempdir().unwrap();
    let content = noise(300_001, 4);
    fs::write(dir.path().join("photo.jpg"), &content).unwrap();
    for (fence, file) in [("sh\n(printf", "workdir/alice/photo.jpg"), ("sh\nprintf", "copy.jpg")] {
        let command = fence.trim_start_matches("sh\n").to_string() + block(README, fence);
        let command = at(&command, &server).replace("SIZE", &content.len().to_string());
        let status = Command::new("sh")
            .args(["-c", &command])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{command}");
        let folder = if file.contains('/') { server.dir() } else { dir.path() };
        assert!(fs::read(folder.join(file)).unwrap() == content, "{file} differs");
    }
}

fn check_output(output: &str) {
    let said: Vec<_> =
        output.split_terminator('\n').map(|line| line.trim_end_matches('\r')).collect();
    let wanted = answers();
    assert_eq!(said.len(), wanted.len(), "{output}");
    for (pattern, line) in wanted.iter().zip(said) {
        assert!(matches(pattern, line), "expected {pattern:?}, heard {line:?}");
    }
}

#[test]
fn the_session_works_through_nc() {
    if !has_program("nc") {
        return;
    }
    let server = Server::start();
    let mut nc = Command::new("nc")
        .args(["-N", &server.address().ip().to_string(), &server.address().port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    nc.stdin.take().unwrap().write_all(typed().as_bytes()).unwrap();
    check_output(&String::from_utf8(nc.wait_with_output().unwrap().stdout).unwrap());
}

#[test]
fn the_session_works_through_telnet() {
    if !has_program("telnet") {
        return;
    }
    let server = Server::start();
    let mut telnet = Command::new("telnet")
        .args([server.address().ip().to_string(), server.address().port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Its input stays open: telnet leaves at the end of it, without waiting for answers.
    let mut input = telnet.stdin.take().unwrap();
    input.write_all(typed().as_bytes()).unwrap();
    let mut output = String::new();
    telnet.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    telnet.wait().unwrap();
    let (_, said) = output.split_once("Escape character is '^]'.\n").unwrap();
    check_output(said);
}

#[test]
fn every_flag_is_in_the_table_with_its_default() {
    let help = Command::new(env!("CARGO_BIN_EXE_plainftpd")).arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let flags: Vec<_> = help.split_whitespace().filter(|word| word.starts_with("--")).collect();
    assert!(flags.len() > 9, "{flags:?}");
    for flag in flags {
        let flag = flag.trim_end_matches(',');
        let row = README
            .lines()
            .find(|line| line.starts_with("| `") && line.contains(&format!("`{flag}")));
        assert!(row.is_some(), "{flag} is not in README's table");
    }
    let mut defaults = 0;
    for row in README.lines().filter(|line| line.starts_with("| `--")) {
        let flag = row.trim_start_matches("| `").split([' ', '`']).next().unwrap();
        assert!(help.contains(flag), "{flag} is in README and not in --help");
        let default = row.rsplit('|').nth(1).unwrap().trim().trim_matches('`');
        let line = help.lines().skip_while(|line| !line.starts_with(&format!("  {flag} "))).nth(1);
        if let Some(line) = line.filter(|line| line.ends_with(']')) {
            assert!(line.ends_with(&format!(" [{default}]")), "{row}\n{line}");
            defaults += 1;
        }
    }
    let has_default = |line: &&str| line.starts_with("        ") && line.ends_with(']');
    assert_eq!(defaults, help.lines().filter(has_default).count());
}
