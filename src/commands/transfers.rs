//! Uploads and downloads, over the control connection and over data connections.

use std::io::{self, Read, Seek, SeekFrom};

use crate::control::InlineBody;
use crate::reply::Reply;
use crate::session::{Channel, Failure, Outcome, Outgoing, Pending, Session};
use crate::text;
use crate::transfer::{self, Ascii, LineEnds};
use crate::vfs::{Existing, Upload, VirtualPath, WriteStart, check_restart};

use super::args::{Args, number};
use super::files::failure;
use super::permissions::{self, Permission};
use super::{Command, Parsed};

/// `put FILE SIZE`, `put FILE`.
pub fn parse_put(args: Args<'_>) -> (Parsed, InlineBody) {
    match put_arguments(args) {
        Ok((path, body)) if !args.is_cut => (Ok(Command::Store(path, Channel::Inline)), body),
        Ok(_) => (Err(args.usage()), InlineBody::Unknown),
        Err(reply) => (Err(reply), what_follows_malformed_put(args)),
    }
}

fn put_arguments(args: Args<'_>) -> Result<(Vec<u8>, InlineBody), Reply> {
    let mut words = args.words()?.into_iter();
    let path = words.next().filter(|path| !path.is_empty()).ok_or_else(|| args.usage())?;
    let body = match (words.next(), words.next()) {
        (None, _) => InlineBody::UntilDot,
        (Some(size), None) => InlineBody::Length(number(&size).ok_or_else(|| args.usage())?),
        _ => return Err(args.too_many()),
    };
    Ok((path, body))
}

/// The content that a client sends after a malformed `put`. If the line ends with a number, that is
/// the size.
fn what_follows_malformed_put(args: Args<'_>) -> InlineBody {
    let words: Vec<_> =
        args.bytes.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).collect();
    match words.as_slice() {
        _ if args.is_cut => InlineBody::Unknown,
        [] | [_] => InlineBody::UntilDot,
        [.., last] => number(last).map_or(InlineBody::Unknown, InlineBody::Length),
    }
}

/// `write FILE TEXT`, `write FILE`, and `append` in the same two forms. `command` is the variant of
/// [`Command`].
pub fn parse_text(
    args: Args<'_>,
    command: fn(Vec<u8>, Channel) -> Command,
) -> (Parsed, InlineBody) {
    let (path, text) = args.path_and_text();
    let body = text.map_or(InlineBody::UntilDot, InlineBody::Text);
    (path.map(|path| command(path, Channel::Inline)), body)
}

/// RETR, `get`.
pub fn retrieve(
    session: &mut Session,
    argument: &[u8],
    channel: Channel,
    pending: Pending,
) -> Outcome {
    let path = session.resolve(argument)?;
    let (mut file, size) = session.files()?.open(&path).map_err(failure(&path))?;
    let sent = match channel {
        Channel::Inline => session.send_inline(file, size)?,
        Channel::Data => {
            let offset = offset(pending);
            if session.settings.ascii {
                // The offset counts the bytes that are sent (RFC 3659 §5.2), not those of the file.
                let mut source = Ascii::new(file, LineEnds::ToNetwork);
                let skipped = session.run_cancellable(|_, stop| {
                    let mut before = source.by_ref().take(offset);
                    let skipped = transfer::pump_all(&mut before, &mut io::sink(), stop)?;
                    check_restart(offset, skipped)
                })?;
                skipped.map_err(failure(&path))?;
                session.send_data(Outgoing::Stream(&mut source), &path, "get")?
            } else {
                check_restart(offset, size).map_err(failure(&path))?;
                if offset > 0 {
                    file.seek(SeekFrom::Start(offset)).map_err(failure(&path))?;
                }
                let left = size.saturating_sub(offset);
                session.send_data(Outgoing::File(file, left), &path, "get")?
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
    channel: Channel,
    pending: Pending,
) -> Outcome {
    let path = session.resolve(argument)?;
    // A drop-box accepts new files only.
    let may_replace = permissions::allows(session.role(), Permission::Change);
    let existing = if may_replace { Existing::Replace } else { Existing::Keep };
    let upload = match (channel, offset(pending)) {
        (Channel::Inline, _) | (Channel::Data, 0) => session.files()?.create(&path, existing),
        _ if !may_replace => {
            let text = "This account may not write into an existing file.";
            return Err(Reply::new(550, text).into());
        }
        _ if session.settings.ascii => {
            return Err(Reply::new(504, "REST before STOR works in TYPE I only.").into());
        }
        (Channel::Data, offset) => session.files()?.write_on(&path, WriteStart::Offset(offset)),
    };
    let replaces = upload.as_ref().is_ok_and(Upload::replaces);
    let bytes = receive(session, channel, upload, &path, "becomes the text of", "put")?;
    let done = if replaces { "replaced" } else { "stored" };
    Ok(Reply::about(226, "", path.bytes(), &format!(" {done}, {}.", text::bytes(bytes))))
}

/// Receives the content of an upload. `does` is what the 150 reply says that typed lines do, and
/// `instead` a word that does the same without a data connection.
fn receive(
    session: &mut Session,
    channel: Channel,
    upload: io::Result<Upload>,
    path: &VirtualPath,
    does: &str,
    instead: &str,
) -> Result<u64, Failure> {
    let upload = upload.map_err(failure(path));
    match channel {
        Channel::Inline => session.receive_inline(upload, path, does),
        Channel::Data => {
            let invitation = Reply::about(150, "Send ", path.bytes(), ".");
            session.receive_data(upload?, path, &invitation, instead)
        }
    }
}

/// STOU (RFC 959 §4.1.3, RFC 1123 §4.1.2.9): stores under a free name, which the 150 reply names.
pub fn store_unique(session: &mut Session, name: &[u8]) -> Outcome {
    let mut wanted = session.resolve(if name.is_empty() { b"file" } else { name })?;
    if wanted.is_root() {
        wanted = session.resolve(b"/file")?;
    }
    let (path, upload) = session.files()?.create_unique(&wanted).map_err(failure(&wanted))?;
    session.log_context.path = Some(path.clone());
    // Programs parse exactly this form.
    let name = path.name().filter(|_| path.parent() == session.folder).unwrap_or(path.bytes());
    let invitation = Reply::about(150, "FILE: ", name, "");
    let bytes = session.receive_data(upload, &path, &invitation, "put")?;
    Ok(Reply::about(226, "", path.bytes(), &format!(" stored, {}.", text::bytes(bytes))))
}

/// APPE, `append`: writes at the end of the file itself, not into a temporary file.
pub fn append(
    session: &mut Session,
    argument: &[u8],
    channel: Channel,
    pending: Pending,
) -> Outcome {
    let path = session.resolve(argument)?;
    let place = match channel {
        Channel::Inline => WriteStart::End,
        Channel::Data => WriteStart::EndAtLeast(offset(pending)),
    };
    let upload = session.files()?.write_on(&path, place);
    let bytes = receive(session, channel, upload, &path, "is added to", "append")?;
    Ok(Reply::about(226, "", path.bytes(), &format!(" extended by {}.", text::bytes(bytes))))
}

/// ALLO (RFC 959 §4.1.3): checks the quota. Reserves nothing.
pub fn allocate(session: &mut Session, bytes: u64) -> Outcome {
    session.files()?.check_room(bytes).map_err(|error| Reply::trouble(&error))?;
    Ok(Reply::new(200, "No need to allocate; it would fit."))
}

/// REST (RFC 3659 §5).
pub fn restart(session: &mut Session, offset: u64) -> Outcome {
    session.pending = Pending::RestartAt(offset);
    Ok(Reply::new(350, format!("The next RETR or STOR begins at {offset}.")))
}
