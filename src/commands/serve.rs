//! The session loop: greet, read a line, parse it, run it, reply, log.

use std::io::{self, ErrorKind};
use std::time::Instant;

use crate::config::{BAD_LINES, LINE_LIMIT, Registration};
use crate::control::Input;
use crate::reply::Reply;
use crate::server::Door;
use crate::session::{Failure, LogContext, LogShare, Pending, Session};

use super::args::split_word;
use super::logging::log_command;
use super::{Request, permissions, read, run};

/// Serves one client until the session ends.
pub fn serve(mut session: Box<Session>) -> io::Result<()> {
    session.log(session.line("connect"), LogShare::UnauthenticatedOnce);
    let ended = converse(&mut session);
    match &ended {
        Ok(why) => session.log_end(why),
        Err(error) => session.log_end(&format!("lost: {}", error.kind())),
    }
    match ended {
        Ok(QUIT | END_OF_INPUT) | Err(_) => session.control.close(),
        Ok(_) => session.control.close_patiently(),
    }
}

// The reasons of an end that the client asked for.
const QUIT: &str = "quit";
const END_OF_INPUT: &str = "end of input";

/// Reads, parses, runs and answers lines. Returns why the session ends.
fn converse(session: &mut Session) -> io::Result<&'static str> {
    if session.door == Door::Public {
        session.say(&greeting(&session.server.config.registration))?;
    }
    let mut bad_lines = 0;
    loop {
        if let Some(why) = session.presence.finish() {
            return end_by_server(session, why);
        }
        let input = session.discard_body().and_then(|()| session.control.read_line());
        // The deadline ends a read as a timeout does, and may also pass while lines keep coming.
        if session.control.is_overdue() {
            say_time_is_up(session, "No login in time; closing.")?;
            return Ok("not logged in");
        }
        let request = match input {
            Ok(Input::Line(line)) if line.iter().all(|byte| matches!(byte, b' ' | b'\t')) => {
                continue;
            }
            Ok(Input::Line(line) | Input::TooLong(line))
                if session.account().is_none() && is_http(&line) =>
            {
                return refuse_http(session);
            }
            Ok(input) => match read(&input) {
                Some(request) => request,
                None => match session.presence.why_ending() {
                    Some(why) => return end_by_server(session, why),
                    None => return Ok(END_OF_INPUT),
                },
            },
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                say_time_is_up(session, "Silent for too long; closing.")?;
                return Ok("idle");
            }
            Err(error) => return Err(error),
        };
        let word = request.info.map_or("unknown", |info| info.name);
        if let Err(why) = session.presence.begin(word) {
            return end_by_server(session, why);
        }
        let answered = answer(session, request);
        session.log_context = LogContext::default();
        let (reply, bad) = answered?;
        bad_lines = if bad && session.account().is_none() { bad_lines + 1 } else { 0 };
        if bad_lines == BAD_LINES {
            session.say(&Reply::new(421, "Too many lines that are not commands; closing."))?;
            return Ok("bad lines");
        }
        session.say(&reply)?;
        if session.leaving {
            return Ok(match reply.code {
                221 => QUIT,
                421 => "turned out",
                _ => "refused content",
            });
        }
    }
}

fn refuse_http(session: &mut Session) -> io::Result<&'static str> {
    let refused = session.line("refused").with("why", "http").number("code", 421);
    session.log(refused, LogShare::UnauthenticatedOnce);
    session.say(&Reply::new(421, "This is not a web server."))?;
    Ok("http")
}

/// Says why the server ends the session.
fn end_by_server(session: &mut Session, why: &'static str) -> io::Result<&'static str> {
    session.say(&Reply::new(421, why))?;
    Ok("ended by the server")
}

/// Says that a timeout has passed. A client that sent a line without its end waits for a reply, so
/// this says why there was none.
fn say_time_is_up(session: &mut Session, text: &'static str) -> io::Result<()> {
    let reply = Reply::new(421, text);
    let is_inside_line = session.control.is_inside_line();
    let hint = " Your last line has no end; send a newline after each command.";
    session.say(&if is_inside_line { reply.and(hint) } else { reply })
}

fn greeting(registration: &Registration) -> Reply {
    let text = match registration {
        Registration::Closed => "plainftpd ready. Type help for the commands.",
        _ => "plainftpd ready. New here? Type: register NAME PASSWORD. Type help for the commands.",
    };
    Reply::new(220, text)
}

/// Whether a line is the start of an HTTP request. A browser that was tricked into posting to this
/// port must not run commands (CVE-2021-3618 and similar). This holds only before a login, because
/// a browser does not log in, and a person may write such a line into a file.
fn is_http(line: &[u8]) -> bool {
    const METHODS: [&str; 10] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI"];
    let (method, target) = split_word(line);
    if !METHODS.iter().any(|known| known.as_bytes() == method) {
        return false;
    }
    if line.len() == LINE_LIMIT {
        // The end of the line was thrown away, so its beginning must decide.
        return target.starts_with(b"/");
    }
    let Some((rest, [major, b'.', minor])) = target.trim_ascii().split_last_chunk::<3>() else {
        return false;
    };
    major.is_ascii_digit() && minor.is_ascii_digit() && rest.ends_with(b"HTTP/")
}

/// Runs a request and logs it. Returns the reply, and whether the line counts as a bad line.
fn answer(session: &mut Session, request: Request) -> io::Result<(Reply, bool)> {
    let since = Instant::now();
    let had_account = session.account().is_some();
    let needs = request.needs();
    let Request { info, command, body } = request;
    session.body = body;
    let log = |session: &mut Session, reply: &Reply| {
        log_command(session, info, reply, since, had_account);
    };
    let command = match permissions::check(session, needs).and(command) {
        Ok(command) => command,
        Err(reply) => {
            session.pending = Pending::Nothing;
            log(session, &reply);
            let is_bad = matches!(reply.code, 500 | 501 | 530);
            return Ok((reply.and(session.refuse_body()), is_bad));
        }
    };
    let pending = if command.keeps_pending() {
        Pending::Nothing
    } else {
        std::mem::take(&mut session.pending)
    };
    let is_logged = command.is_logged(needs);
    let reply = match run(session, command, pending) {
        Ok(reply) | Err(Failure::Refused(reply)) => reply,
        // RFC 959 §4.1.3, ABOR: 426 for the transfer, then 226 for ABOR itself.
        Err(Failure::Aborted) => {
            let stopped = Reply::new(426, "The transfer was stopped.").because("stopped by ABOR");
            log(session, &stopped);
            session.say(&stopped)?;
            return Ok((Reply::new(226, "Stopped."), false));
        }
        Err(Failure::Lost(error)) => {
            if let Some(why) = session.presence.why_ending() {
                session.leaving = true;
                let reply = Reply::new(421, why);
                log(session, &reply);
                return Ok((reply, false));
            }
            let why = format!("the connection was lost: {}", error.kind());
            log(session, &Reply::new(426, "").because(why));
            return Err(error);
        }
    };
    if is_logged || reply.code >= 400 {
        log(session, &reply);
    }
    let is_bad = reply.code == 530 && session.account().is_none();
    Ok((reply.and(session.refuse_body()), is_bad))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn web_requests_differ_from_commands() {
        for line in ["GET / HTTP/1.1", "POST /x HTTP/2.0 ", "PUT x HTTP/0.9"] {
            assert!(is_http(line.as_bytes()), "{line}");
        }
        let long =
            |start: &str| is_http(&[start.as_bytes(), &[b'x'; LINE_LIMIT]].concat()[..LINE_LIMIT]);
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
        fn no_bytes_make_the_check_for_web_requests_panic(
            line in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let _ = is_http(&line);
        }
    }
}
