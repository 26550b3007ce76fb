//! Content, over the control connection and over data connections.

use std::io::{self, Read, Seek, SeekFrom};

use crate::control::Body;
use crate::reply::Reply;
use crate::session::{Failure, Pending, Session, Via};
use crate::text;
use crate::transfer::{self, Ascii, LineEnds};
use crate::vfs::{Existing, Place, Upload, VirtualPath, check_restart};

use super::Command;
use super::files::failure;
use super::rest::Rest;
use super::rights::{self, Right};

/// `put FILE SIZE`, `put FILE`. The content of a malformed line follows all the same, so the line
/// is no error here: what follows it must be thrown away.
pub fn parse_put(rest: Rest<'_>) -> Command {
    match well_formed_put(rest) {
        Ok((path, body)) => Command::Store(path, Via::Inline(body)),
        Err(reply) => Command::Discard(reply, what_follows_put(rest.raw())),
    }
}

fn well_formed_put(rest: Rest<'_>) -> Result<(Vec<u8>, Body), Reply> {
    let mut words = rest.words()?.into_iter();
    let path = words.next().filter(|path| !path.is_empty()).ok_or_else(|| rest.usage())?;
    let body = match (words.next(), words.next()) {
        (None, _) => Body::Lines,
        (Some(size), None) => Body::Counted(count(&size).ok_or_else(|| rest.usage())?),
        _ => return Err(rest.too_many()),
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
pub fn parse_text(rest: Rest<'_>, command: fn(Vec<u8>, Via<Body>) -> Command) -> Command {
    match rest.path_and_text() {
        Ok((path, Some(text))) => command(path, Via::Inline(Body::Line(text))),
        Ok((path, None)) => command(path, Via::Inline(Body::Lines)),
        Err(reply) => Command::Discard(reply, what_follows_text(rest)),
    }
}

/// What a client that wrote this malformed line will send next: nothing where the text stood on the
/// line; else, and where a quote left open hides whether it did, lines.
pub fn what_follows_text(rest: Rest<'_>) -> Body {
    if rest.has_text_behind_path() { Body::Line(Vec::new()) } else { Body::Lines }
}

/// Answers a malformed line at once, and says what becomes of its content.
pub fn discard(session: &mut Session, reply: Reply, body: Body) -> Result<Reply, Failure> {
    let note = match body {
        Body::Lines => " (What you type now is thrown away, up to a line with only \".\".)",
        Body::Counted(_) => " (Its content is thrown away.)",
        Body::Unknown => " (Closing, for its content may follow.)",
        Body::Line(_) => "",
    };
    session.will_discard(body);
    Err(reply.and(note).into())
}

/// RETR, `get`.
pub fn retrieve(
    session: &mut Session,
    argument: &[u8],
    via: Via<()>,
    pending: Pending,
) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    let (mut file, size) = session.files()?.open(&path).map_err(failure(&path))?;
    let sent = match via {
        Via::Inline(()) => session.send_inline(file, size)?,
        Via::Data => {
            let offset = offset(pending);
            if session.settings.ascii {
                // The offset is one of what travels (RFC 3659 §5.2), so it is counted there.
                let mut source = Ascii::new(file, LineEnds::ToNetwork);
                let skipped = session.at_length(|_, stop| {
                    let mut before = source.by_ref().take(offset);
                    let skipped = transfer::pump_all(&mut before, &mut io::sink(), stop)?;
                    check_restart(offset, skipped)
                })?;
                skipped.map_err(failure(&path))?;
                session.send_data(&mut source, None, &path, "get")?
            } else {
                check_restart(offset, size).map_err(failure(&path))?;
                if offset > 0 {
                    file.seek(SeekFrom::Start(offset)).map_err(failure(&path))?;
                }
                let left = size.saturating_sub(offset);
                session.send_data(&mut file.take(left), Some(left), &path, "get")?
            }
        }
    };
    Ok(Reply::about(226, "", path.bytes(), &format!(" sent, {}.", text::bytes(sent))))
}

fn offset(pending: Pending) -> u64 {
    match pending {
        Pending::RestartAt(offset) => offset,
        _ => 0,
    }
}

/// STOR, `put`, `write`.
pub fn store(
    session: &mut Session,
    argument: &[u8],
    via: Via<Body>,
    pending: Pending,
) -> Result<Reply, Failure> {
    let path = resolve_before(session, argument, &via)?;
    // A drop-box takes new files only.
    let may_replace = rights::may(session.role(), Right::Change);
    let existing = if may_replace { Existing::Replace } else { Existing::Keep };
    let (replaced, bytes) = match via {
        Via::Inline(body) => {
            let upload = session.files()?.create(&path, existing).map_err(failure(&path));
            let replaced = upload.as_ref().is_ok_and(Upload::replaces);
            let bytes = session.receive_inline(upload, body, &path, "becomes the text of")?;
            (replaced, bytes)
        }
        Via::Data => {
            let offset = offset(pending);
            let upload = match offset {
                0 => session.files()?.create(&path, existing),
                _ if existing == Existing::Keep => {
                    return Err(
                        Reply::new(550, "This account may not write into a file that is there.").into()
                    );
                }
                _ if session.settings.ascii => {
                    return Err(Reply::new(504, "REST before STOR works in TYPE I only.").into());
                }
                _ => session.files()?.write_on(&path, Place::At(offset)),
            };
            let upload = upload.map_err(failure(&path))?;
            (upload.replaces(), session.receive_data(upload, &path, "put")?)
        }
    };
    let done = if replaced { "replaced" } else { "stored" };
    Ok(Reply::about(226, "", path.bytes(), &format!(" {done}, {}.", text::bytes(bytes))))
}

/// STOU (RFC 959 §4.1.3, RFC 1123 §4.1.2.9): a name that is free, told by the 150.
pub fn store_unique(session: &mut Session, name: Option<&[u8]>) -> Result<Reply, Failure> {
    let mut wanted = session.resolve(name.unwrap_or(b"file"))?;
    if wanted.is_root() {
        wanted = session.resolve(b"/file")?;
    }
    let (path, upload) = session.files()?.create_unique(&wanted).map_err(failure(&wanted))?;
    session.notes.path = Some(path.clone());
    // Exactly in this form, so that programs can read it.
    let told = path.name().filter(|_| path.parent() == session.folder).unwrap_or(path.bytes());
    let bytes = session.receive_data_as(upload, &path, &Reply::about(150, "FILE: ", told, ""), "put")?;
    Ok(Reply::about(226, "", path.bytes(), &format!(" stored, {}.", text::bytes(bytes))))
}

/// APPE, `append`: in place.
pub fn append(
    session: &mut Session,
    argument: &[u8],
    via: Via<Body>,
    pending: Pending,
) -> Result<Reply, Failure> {
    let path = resolve_before(session, argument, &via)?;
    let place = match via {
        Via::Inline(_) => Place::End,
        Via::Data => Place::EndFrom(offset(pending)),
    };
    let upload = session.files()?.write_on(&path, place).map_err(failure(&path));
    let bytes = match via {
        Via::Inline(body) => session.receive_inline(upload, body, &path, "is added to")?,
        Via::Data => session.receive_data(upload?, &path, "append")?,
    };
    Ok(Reply::about(226, "", path.bytes(), &format!(" grown by {}.", text::bytes(bytes))))
}

/// The path; where it is none, the content follows all the same.
fn resolve_before(session: &mut Session, argument: &[u8], via: &Via<Body>) -> Result<VirtualPath, Failure> {
    session.resolve(argument).inspect_err(|_| {
        if let Via::Inline(body) = via {
            session.will_discard(body.clone());
        }
    })
}

/// ALLO (RFC 959 §4.1.3): whether it would fit the quota; nothing needs to be held.
pub fn allocate(session: &mut Session, bytes: u64) -> Result<Reply, Failure> {
    session.files()?.check_room(bytes).map_err(|error| Reply::trouble(&error))?;
    Ok(Reply::new(200, "No need to allocate; it would fit."))
}

/// REST (RFC 3659 §5).
pub fn restart(session: &mut Session, offset: u64) -> Result<Reply, Failure> {
    session.pending = Pending::RestartAt(offset);
    Ok(Reply::new(350, format!("The next RETR or STOR begins at {offset}.")))
}
