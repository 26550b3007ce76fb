//! Listings: `ls`, LIST, NLST, MLSD, MLST and STAT with a path.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read};
use std::time::SystemTime;

use crate::glob;
use crate::listing::{self, Lines};
use crate::reply::Reply;
use crate::session::{Failure, Session};
use crate::text;
use crate::vfs::{Entry, Kind, VirtualPath};

use super::files::failure;

/// Which listing, and by which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `ls`: inline and sorted.
    ByHand,
    /// STAT with a path: inline.
    Status,
    /// LIST: data.
    Long,
    /// NLST: data.
    Names,
    /// MLSD: data.
    Facts,
    /// MLST: one entry, inline.
    FactsOfOne,
}

/// What a path stands for.
enum Found {
    /// A folder.
    Folder,
    /// A file, or what else is no folder.
    One(Entry),
    /// Nothing bears the name, and it is a pattern for names in the folder above.
    Pattern(Vec<u8>),
}

type Entries = Box<dyn Iterator<Item = io::Result<Entry>>>;

/// Lists what `argument` stands for, in one of the forms.
pub fn list(session: &mut Session, argument: &[u8], form: Form) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    match form {
        Form::ByHand => by_hand(session, &path),
        Form::Status => status(session, &path),
        Form::FactsOfOne => facts_of_one(session, &path),
        Form::Facts => facts(session, &path),
        Form::Long => {
            let now = SystemTime::now();
            let entries = entries(session, &path)?;
            send(session, entries, &path, move |line, entry| listing::push_list_line(line, entry, now))
        }
        Form::Names => {
            // The folder of a pattern is part of the answer: `sub/*.x` is answered by `sub/a.x`.
            let is_one = !matches!(find(session, &path)?, Found::Folder);
            let folder = argument.iter().rposition(|byte| *byte == b'/').filter(|_| is_one);
            let prefix = argument.get(..folder.map_or(0, |slash| slash + 1)).unwrap_or_default().to_vec();
            let entries = entries(session, &path)?;
            send(session, entries, &path, move |line, entry| {
                line.extend_from_slice(&prefix);
                line.extend_from_slice(&text::shown(&entry.name));
            })
        }
    }
}

fn find(session: &Session, path: &VirtualPath) -> Result<Found, Failure> {
    match session.files()?.entry(path) {
        Ok(entry) if entry.kind == Kind::Folder => Ok(Found::Folder),
        Ok(entry) => Ok(Found::One(entry)),
        Err(error) => match path.name().filter(|name| glob::is_pattern(name)) {
            Some(pattern) if error.kind() == ErrorKind::NotFound => Ok(Found::Pattern(pattern.to_vec())),
            _ => Err(failure(path)(error).into()),
        },
    }
}

/// What a listing of `path` shows. It is opened here, before any data connection is waited for.
fn entries(session: &Session, path: &VirtualPath) -> Result<Entries, Failure> {
    let files = session.files()?;
    match find(session, path)? {
        Found::Folder => Ok(Box::new(files.entries(path).map_err(failure(path))?)),
        Found::One(entry) => Ok(Box::new(std::iter::once(Ok(entry)))),
        Found::Pattern(pattern) => {
            let folder = path.parent();
            let all = files.entries(&folder).map_err(failure(&folder))?;
            let mut matching = all.filter(move |entry| {
                entry.as_ref().map_or(true, |entry| glob::matches(&pattern, &entry.name))
            });
            match matching.next() {
                Some(first) => Ok(Box::new(std::iter::once(first).chain(matching))),
                None => Err(Reply::about(550, "", path.bytes(), ": nothing matches").into()),
            }
        }
    }
}

fn send(
    session: &mut Session,
    entries: Entries,
    path: &VirtualPath,
    line: impl FnMut(&mut Vec<u8>, &Entry),
) -> Result<Reply, Failure> {
    session.send_data(&mut Lines::new(entries, line), None, path, "ls")?;
    Ok(Reply::about(226, "", path.bytes(), " listed."))
}

/// Lines between the first and the last of a multi-line reply, as they come. Returns the last line's
/// text: `end`, or why the lines broke off, for a reply that was begun must be ended by its code.
fn say_lines(
    session: &mut Session,
    entries: Entries,
    mut line: impl FnMut(&mut Vec<u8>, &Entry),
    end: impl FnOnce() -> String,
) -> Result<String, Failure> {
    let mut lines = Lines::new(entries, |out, entry| {
        out.push(b' ');
        line(out, entry);
    });
    let mut chunk = vec![0; 4096];
    loop {
        match lines.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => session.say_raw(chunk.get(..read).unwrap_or_default())?,
            Err(error) => return Ok(format!("The listing broke off: {}.", error.kind())),
        }
    }
    drop(lines);
    Ok(end())
}

/// So many entries are sorted for a person; those of a larger folder follow as they come, so that no
/// folder is too large for a session's memory.
const SORTED: usize = 10_000;

fn by_hand(session: &mut Session, path: &VirtualPath) -> Result<Reply, Failure> {
    let mut rest = entries(session, path)?;
    let first = rest.by_ref().take(SORTED).collect::<io::Result<Vec<_>>>();
    let mut first = first.map_err(failure(path))?;
    first.sort_by(|a, b| a.name.cmp(&b.name));
    session.say_raw(&[b"212-", path.shown().as_slice(), b":\r\n"].concat())?;
    let now = SystemTime::now();
    let count = Cell::new(0_u64);
    let line = |line: &mut Vec<u8>, entry: &Entry| {
        count.set(count.get() + 1);
        listing::push_ls_line(line, entry, now);
    };
    let end = || match count.get() {
        0 => "Empty.".to_string(),
        1 => "1 entry.".to_string(),
        count => format!("{count} entries."),
    };
    let end = say_lines(session, Box::new(first.into_iter().map(Ok).chain(rest)), line, end)?;
    Ok(Reply::new(212, end))
}

/// STAT PATH (RFC 959 §4.1.3): 212 for a folder, 213 for a file.
fn status(session: &mut Session, path: &VirtualPath) -> Result<Reply, Failure> {
    let code = if matches!(find(session, path)?, Found::One(_)) { 213 } else { 212 };
    let entries = entries(session, path)?;
    session.say_raw(&[format!("{code}-").as_bytes(), &path.shown(), b":\r\n"].concat())?;
    let now = SystemTime::now();
    let line = |line: &mut Vec<u8>, entry: &Entry| listing::push_list_line(line, entry, now);
    let end = say_lines(session, entries, line, || "End".to_string())?;
    Ok(Reply::new(code, end))
}

/// MLSD (RFC 3659 §7): of a folder only.
fn facts(session: &mut Session, path: &VirtualPath) -> Result<Reply, Failure> {
    let files = session.files()?;
    if files.entry(path).map_err(failure(path))?.kind != Kind::Folder {
        return Err(Reply::about(501, "", path.bytes(), ": not a folder; MLST tells about a file").into());
    }
    let entries = Box::new(files.entries(path).map_err(failure(path))?);
    let choice = session.settings.facts;
    send(session, entries, path, move |line, entry| choice.push_line(line, entry, &entry.name))
}

/// MLST (RFC 3659 §7).
fn facts_of_one(session: &mut Session, path: &VirtualPath) -> Result<Reply, Failure> {
    let entry = session.files()?.entry(path).map_err(failure(path))?;
    let mut line = Vec::new();
    session.settings.facts.push_line(&mut line, &entry, path.bytes());
    Ok(Reply::multi(250, "Facts:", vec![line], "End"))
}
