//! Steps by FTP: login, replies, order, and transfers that end early.

use std::io::{Read, Write};

use super::files::noise;
use crate::control::Control;
use crate::failure::{Failure, Result, check, differs, not_offered};
use crate::session::Session;

/// Larger than what the kernel's buffers of a connection hold.
const LARGE: usize = 12 << 20;

pub fn login(session: &mut Session) -> Result {
    let target = session.target;
    let mut stranger = session.stranger()?;
    stranger.ask(format!("user {}", target.name), "331")?;
    stranger.ask(format!("pass {}", target.password), "230")?;
    stranger.ask("pwd", "257")?;
    Ok(())
}

pub fn before_login(session: &mut Session) -> Result {
    let mut stranger = session.stranger()?;
    for command in ["PWD", "LIST", "RETR x", "DELE x", "MKD x"] {
        stranger.ask(command, "530|503")?;
    }
    Ok(())
}

pub fn small_talk(session: &mut Session) -> Result {
    session.ask("SYST", "215")?;
    session.ask("NOOP", "2xx")?;
    session.ask("STAT", "211")?;
    Ok(())
}

pub fn unknown_verb(session: &mut Session) -> Result {
    session.ask("XYZZY", "500|502|501")?;
    session.ask("NOOP", "2xx")?;
    Ok(())
}

pub fn feat(session: &mut Session) -> Result {
    let reply = session.try_ask("FEAT")?;
    if reply.fits("5xx") && reply.lines.len() == 1 {
        return not_offered("FEAT");
    }
    let reply = reply.expect("211", "FEAT")?;
    let inner = reply.lines.get(1..reply.lines.len().saturating_sub(1)).unwrap_or_default();
    let is_feature = |line: &String| line.starts_with(' ') && !line.starts_with("  ");
    check(inner.iter().all(is_feature), "one space before each feature", &reply)
}

pub fn utf8(session: &mut Session) -> Result {
    session.needs("UTF8")?;
    let reply = session.try_ask("OPTS UTF8 ON")?;
    // No RFC asks for it (RFC 2640 says that UTF-8 is always on), but many clients send it.
    if reply.fits("5xx") {
        return not_offered(reply.to_string());
    }
    reply.expect("2xx", "OPTS UTF8 ON")?;
    Ok(())
}

pub fn pipelined(session: &mut Session) -> Result {
    session.control.send("NOOP\r\nMKD piped\r\nRMD piped\r\nPWD")?;
    for (command, code) in [("NOOP", "2xx"), ("MKD", "257"), ("RMD", "250"), ("PWD", "257")] {
        session.control.expect(code, command)?;
    }
    Ok(())
}

/// Reads replies up to that of a NOOP that is sent now. At most three others may be left.
fn back_to_normal(session: &mut Session) -> Result {
    let mut reply = session.try_ask("NOOP")?;
    for _ in 0..3 {
        if reply.fits("200") {
            return Ok(());
        }
        reply = session.control.reply()?;
    }
    reply.expect("200", "NOOP")?;
    Ok(())
}

pub fn abort_download(session: &mut Session) -> Result {
    session.store("STOR abort-download", &noise(LARGE))?;
    let data = session.prepare()?;
    session.ask("RETR abort-download", "1xx")?;
    let mut stream = data.stream(session.target.timeout)?;
    stream.read_exact(&mut [0; 1000])?;
    session.control.send("ABOR")?;
    // What is left ends, or breaks with a reset.
    let _ = stream.read_to_end(&mut Vec::new());
    drop(stream);
    session.control.expect("426|451|226|225", "ABOR")?;
    session.control.expect("226|225", "ABOR, second reply")?;
    session.ask("NOOP", "200")?;
    session.ask("SIZE abort-download", "213")?;
    Ok(())
}

pub fn abort_upload(session: &mut Session) -> Result {
    abort_upload_by(session, |control| control.send("ABOR"))
}

pub fn abort_urgently(session: &mut Session) -> Result {
    abort_upload_by(session, Control::send_urgent_abort)
}

fn abort_upload_by(session: &mut Session, abort: fn(&mut Control) -> Result) -> Result {
    let data = session.prepare()?;
    session.ask("STOR abort-upload", "1xx")?;
    let mut stream = data.stream(session.target.timeout)?;
    stream.write_all(&[b'x'; 10_000])?;
    abort(&mut session.control)?;
    let answer = session.control.reply();
    drop(stream);
    match answer {
        Ok(reply) => reply.expect("426|451|226|225", "ABOR")?,
        Err(Failure::Differs { got, .. }) => {
            return differs("426 or 226 after ABOR, while the data connection is open", got);
        }
        Err(failure) => return Err(failure),
    };
    back_to_normal(session)
}

pub fn abort_nothing(session: &mut Session) -> Result {
    session.ask("ABOR", "225|226")?;
    session.ask("NOOP", "200")?;
    Ok(())
}

pub fn broken_download(session: &mut Session) -> Result {
    session.store("STOR broken", &noise(LARGE))?;
    let data = session.prepare()?;
    session.ask("RETR broken", "1xx")?;
    let mut stream = data.stream(session.target.timeout)?;
    stream.read_exact(&mut [0; 1000])?;
    drop(stream);
    session.control.expect("426|451|450|550|551", "a download that broke")?;
    session.ask("NOOP", "200")?;
    Ok(())
}

pub fn no_data_connection(session: &mut Session) -> Result {
    Session::log_in(session.target)?.store("STOR unreachable", b"x")?;
    let mut reply = session.try_ask("RETR unreachable")?;
    if reply.fits("1xx") {
        reply = session.control.reply()?;
    }
    reply.expect("425|503|426", "RETR without a data connection")?;
    Ok(())
}

pub fn quit(session: &mut Session) -> Result {
    session.ask("QUIT", "221")?;
    session.control.expect_end()
}
