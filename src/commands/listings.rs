//! Listings: `ls`, LIST, NLST, MLSD, MLST and STAT with a path.

use std::cell::Cell;
use std::io::{ErrorKind, Read};
use std::time::SystemTime;

use crate::glob;
use crate::listing::{self, Allowed, Lines};
use crate::reply::Reply;
use crate::session::{Failure, Session};
use crate::text;
use crate::users::Role;
use crate::vfs::{Entries, Entry, Kind, VirtualPath};

use super::Command;
use super::args::Args;
use super::files::failure;
use super::permissions::{self, Permission};

/// Which listing, and by which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `ls`: inline; `odd_flags` would do something in a shell.
    ByHand {
        /// `-R`, `-t` and so on.
        odd_flags: bool,
    },
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

/// `ls`. All is listed in the long form anyway, so flags that would do something else are named in
/// the reply.
pub fn parse_ls(args: Args<'_>) -> Result<Command, Reply> {
    let (flags, mut paths) = args.flags()?;
    let odd_flags = flags.iter().any(|flag| !b"alA1".contains(flag));
    match paths.len() {
        0 | 1 => Ok(Command::List(paths.pop().unwrap_or_default(), Form::ByHand { odd_flags })),
        _ => Err(args.too_many()),
    }
}

/// What a path stands for.
enum Found {
    /// A folder.
    Folder,
    /// A file, or what else is no folder.
    One(Entry),
    /// No entry has that name, and it is a pattern for names in the folder above.
    Pattern(Vec<u8>),
}

/// Lists what `argument` stands for, in one of the forms.
pub fn list(session: &mut Session, argument: &[u8], form: Form) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    match form {
        Form::ByHand { odd_flags } => by_hand(session, &path, odd_flags),
        Form::Status => status(session, &path),
        Form::FactsOfOne => facts_of_one(session, &path),
        Form::Facts => facts(session, &path),
        Form::Long => {
            let now = SystemTime::now();
            let entries = entries(session, &path)?;
            send(session, entries, &path, move |line, entry| {
                listing::push_list_line(line, entry, now)
            })
        }
        Form::Names => names(session, argument, &path),
    }
}

fn find(session: &Session, path: &VirtualPath) -> Result<Found, Failure> {
    match session.files()?.entry(path) {
        Ok(entry) if entry.kind == Kind::Folder => Ok(Found::Folder),
        Ok(entry) => Ok(Found::One(entry)),
        Err(error) => match path.name().filter(|name| glob::is_pattern(name)) {
            Some(pattern) if error.kind() == ErrorKind::NotFound => {
                Ok(Found::Pattern(pattern.to_vec()))
            }
            _ => Err(failure(path)(error).into()),
        },
    }
}

/// What a listing of `path` shows. It is opened here, before any data connection is waited for.
fn entries(session: &Session, path: &VirtualPath) -> Result<Entries, Failure> {
    let files = session.files()?;
    match find(session, path)? {
        Found::Folder => Ok(files.sorted_entries(path, |_| true).map_err(failure(path))?),
        Found::One(entry) => Ok(Box::new(std::iter::once(Ok(entry)))),
        Found::Pattern(pattern) => {
            let folder = path.parent();
            let matching = files.sorted_entries(&folder, move |name| glob::matches(&pattern, name));
            let mut matching = matching.map_err(failure(&folder))?;
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

/// NLST. Each line names its entry as the argument named the folder, so that RETR takes it as it
/// stands (RFC 1123 §4.1.2.7); without an argument, the bare name does.
fn names(session: &mut Session, argument: &[u8], path: &VirtualPath) -> Result<Reply, Failure> {
    let found = find(session, path)?;
    let entries = entries(session, path)?;
    if let Found::One(_) = found {
        let name = argument.to_vec();
        return send(session, entries, path, move |line, _| line.extend_from_slice(&name));
    }
    let prefix = prefix_of(argument, matches!(found, Found::Folder));
    send(session, entries, path, move |line, entry| {
        line.extend_from_slice(&prefix);
        line.extend_from_slice(&text::on_one_line(&entry.name));
    })
}

/// What stands before each name: the folder that the argument names, or the folder of its pattern.
fn prefix_of(argument: &[u8], is_folder: bool) -> Vec<u8> {
    match argument {
        b"" => Vec::new(),
        folder if is_folder && folder.ends_with(b"/") => folder.to_vec(),
        folder if is_folder => [folder, b"/"].concat(),
        pattern => {
            let end = pattern.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
            let pattern = pattern.get(..end).unwrap_or_default();
            let folder =
                pattern.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
            pattern.get(..folder).unwrap_or_default().to_vec()
        }
    }
}

/// Lines between the first and the last of a multi-line reply, as they come, without control
/// characters. Returns the last line's text: `end`, or why the lines broke off, because a reply
/// that was begun must be ended by its code.
fn say_lines(
    session: &mut Session,
    entries: Entries,
    mut line: impl FnMut(&mut Vec<u8>, &Entry),
    end: impl FnOnce() -> String,
) -> Result<String, Failure> {
    let mut text = Vec::new();
    let mut lines = Lines::new(entries, |out, entry| {
        text.clear();
        line(&mut text, entry);
        out.push(b' ');
        out.extend_from_slice(&text::sanitized(&text));
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

fn by_hand(session: &mut Session, path: &VirtualPath, odd_flags: bool) -> Result<Reply, Failure> {
    let mut rest = entries(session, path)?;
    let first = rest.next().transpose().map_err(failure(path))?;
    session.say_raw(&[b"212-", path.shown().as_slice(), b":\r\n"].concat())?;
    let now = SystemTime::now();
    let count = Cell::new(0_u64);
    let line = |line: &mut Vec<u8>, entry: &Entry| {
        count.set(count.get() + 1);
        listing::push_ls_line(line, entry, now);
    };
    let end = || {
        let flags = if odd_flags { " Flags are ignored." } else { "" };
        match count.get() {
            0 => format!("Empty.{flags}"),
            1 => format!("1 entry.{flags}"),
            count => format!("{count} entries.{flags}"),
        }
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
        return Err(
            Reply::about(501, "", path.bytes(), ": not a folder; MLST tells about a file").into()
        );
    }
    let entries = files.entries(path).map_err(failure(path))?;
    let (choice, allowed) = (session.settings.facts, allowed(session, path.is_root()));
    send(session, entries, path, move |line, entry| {
        choice.push_line(line, entry, &entry.name, allowed)
    })
}

/// What the account may do with what is listed; `at_top` with what lies in its top folder.
fn allowed(session: &Session, at_top: bool) -> Allowed {
    let role = session.role();
    Allowed {
        read: permissions::allows(role, Permission::Read),
        add: permissions::allows(role, Permission::Add),
        change: permissions::allows(role, Permission::Change),
        // There an administrator has the folders of the accounts.
        rename_folders: !(at_top && role == Some(Role::Admin)),
    }
}

/// MLST (RFC 3659 §7).
fn facts_of_one(session: &mut Session, path: &VirtualPath) -> Result<Reply, Failure> {
    let entry = session.files()?.entry(path).map_err(failure(path))?;
    let mut line = Vec::new();
    let allowed = allowed(session, path.parent().is_root());
    session.settings.facts.push_line(&mut line, &entry, path.bytes(), allowed);
    Ok(Reply::multi(250, "Facts:", vec![line], "End"))
}
