//! Content, over the control connection.

use crate::control::Body;
use crate::reply::Reply;
use crate::session::{Failure, Session};
use crate::text;
use crate::vfs::Existing;

use super::Command;
use super::files::failure;
use super::rest::Rest;

/// `put FILE SIZE`, `put FILE`. The content of a malformed line follows all the same, so the line
/// is no error here: what follows it must be thrown away.
pub fn parse_put(rest: Rest<'_>) -> Command {
    match well_formed_put(rest) {
        Ok((path, body)) => Command::Store(path, body),
        Err(reply) => Command::Discard(reply, what_follows_put(rest.raw())),
    }
}

fn well_formed_put(rest: Rest<'_>) -> Result<(Vec<u8>, Body), Reply> {
    let mut words = rest.words()?.into_iter();
    let path = words.next().filter(|path| !path.is_empty()).ok_or_else(|| rest.usage())?;
    let body = match (words.next(), words.next()) {
        (None, _) => Body::Lines,
        (Some(size), None) => Body::Counted(count(&size).ok_or_else(|| rest.usage())?),
        _ => return Err(rest.usage()),
    };
    Ok((path, body))
}

/// Digits as a number; more than there are numbers for as the largest.
fn count(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(str::from_utf8(digits).ok()?.parse().unwrap_or(u64::MAX))
}

/// What a client that wrote this malformed line will send next: it ends with its size, or has none.
fn what_follows_put(raw: &[u8]) -> Body {
    let words: Vec<_> = raw.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).collect();
    match words.as_slice() {
        [] | [_] => Body::Lines,
        [.., last] => count(last).map_or(Body::Unknown, Body::Counted),
    }
}

/// `write FILE TEXT`, `write FILE`, and the same for `append`.
pub fn parse_text(rest: Rest<'_>, command: fn(Vec<u8>, Body) -> Command) -> Command {
    match rest.path_and_text() {
        Ok((path, Some(text))) => command(path, Body::Line(text)),
        Ok((path, None)) => command(path, Body::Lines),
        Err(reply) => {
            let more = text::trim(rest.raw()).iter().any(u8::is_ascii_whitespace);
            Command::Discard(reply, if more { Body::Line(Vec::new()) } else { Body::Lines })
        }
    }
}

/// Answers a malformed line at once, and says what becomes of its content.
pub fn discard(session: &mut Session, reply: Reply, body: Body) -> Result<Reply, Failure> {
    let note = match body {
        Body::Lines => " (What you type now is thrown away, up to a line that holds only \".\")",
        Body::Counted(_) => " (Its content is thrown away.)",
        Body::Unknown => " (Closing, for its content may follow.)",
        Body::Line(_) => "",
    };
    session.will_discard(body);
    Err(reply.and(note).into())
}

/// `get`.
pub fn retrieve(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    let file = session.files()?.open(&path).map_err(failure(&path))?;
    let sent = session.send_inline(file)?;
    Ok(Reply::about(226, "", &path.bytes(), &format!(" sent, {sent} bytes.")))
}

/// `put`, `write`.
pub fn store(session: &mut Session, argument: &[u8], body: Body) -> Result<Reply, Failure> {
    let path = match session.resolve(argument) {
        Ok(path) => path,
        Err(failure) => return refuse(session, failure, body),
    };
    let upload = session.files()?.create(&path, Existing::Replace).map_err(failure(&path));
    let bytes = session.receive_inline(upload, body, &path)?;
    Ok(Reply::about(226, "", &path.bytes(), &format!(" stored, {bytes} bytes.")))
}

/// `append`.
pub fn append(session: &mut Session, argument: &[u8], body: Body) -> Result<Reply, Failure> {
    let path = match session.resolve(argument) {
        Ok(path) => path,
        Err(failure) => return refuse(session, failure, body),
    };
    let upload = session.files()?.append(&path).map_err(failure(&path));
    let bytes = session.receive_inline(upload, body, &path)?;
    Ok(Reply::about(226, "", &path.bytes(), &format!(" grown by {bytes} bytes.")))
}

/// The path is none at all; its content follows all the same.
fn refuse(session: &mut Session, failure: Failure, body: Body) -> Result<Reply, Failure> {
    session.will_discard(body);
    Err(failure)
}
