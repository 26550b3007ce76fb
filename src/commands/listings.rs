//! Listings: `ls`, LIST, NLST, MLSD, MLST and STAT with a path.

use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use crate::glob;
use crate::listing::{self, Lines};
use crate::reply::Reply;
use crate::session::{Failure, Outcome, Outgoing, Session};
use crate::text;
use crate::transfer::{self, End};
use crate::users::Role;
use crate::vfs::{Entries, Entry, Kind, VirtualPath};

use super::args::Args;
use super::files::failure;
use super::permissions::{self, Permission};
use super::{Command, Parsed};

/// The form of a listing, and the connection on which it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `ls`: over the control connection.
    ByHand {
        /// The client gave flags that would do something in a shell, such as `-R` or `-t`.
        odd_flags: bool,
    },
    /// STAT with a path: over the control connection.
    Status,
    /// LIST: over a data connection.
    Long,
    /// NLST: over a data connection.
    Names,
    /// MLSD: over a data connection.
    Facts,
    /// MLST: one entry, over the control connection.
    FactsOfOne,
}

/// `ls`. It always shows all entries with their facts, as `ls -la` does. The reply says that other
/// flags are ignored.
pub fn parse_ls(args: Args<'_>) -> Parsed {
    let (flags, paths) = args.flags()?;
    let odd_flags = flags.iter().any(|flag| !b"alA1".contains(flag));
    let path = args.at_most_one(paths)?.unwrap_or_default();
    Ok(Command::List(path, Form::ByHand { odd_flags }))
}

/// What the path of a listing stands for.
enum Found {
    /// A folder, whose entries are listed.
    Folder,
    /// A file, or another entry that is not a folder.
    One,
    /// No entry has that name, and it is a pattern for names in the folder above.
    Pattern,
}

/// Lists what `argument` stands for.
pub fn list(session: &mut Session, argument: &[u8], form: Form) -> Outcome {
    let path = session.resolve(argument)?;
    match form {
        Form::ByHand { odd_flags } => {
            let note = if odd_flags { " Flags are ignored." } else { "" };
            let (_, mut entries) = open(session, &path)?;
            // If the first entry cannot be read, the reply is one line, and a failure.
            let first = entries.next().transpose().map_err(failure(&path))?;
            let entries = Box::new(first.into_iter().map(Ok).chain(entries));
            inline(session, 212, &path, entries, listing::push_ls_line, note)
        }
        Form::Status => {
            let (found, entries) = open(session, &path)?;
            let code = if matches!(found, Found::One) { 213 } else { 212 };
            inline(session, code, &path, entries, listing::push_list_line, "")
        }
        Form::FactsOfOne => facts_of_one(session, &path),
        Form::Facts => facts(session, &path),
        Form::Long => {
            let now = SystemTime::now();
            let (_, entries) = open(session, &path)?;
            send(session, entries, &path, move |line, entry| {
                listing::push_list_line(line, entry, now)
            })
        }
        Form::Names => names(session, argument, &path),
    }
}

/// Opens what a listing of `path` shows, before the server waits for any data connection.
fn open(session: &Session, path: &VirtualPath) -> Result<(Found, Entries), Failure> {
    let files = session.files()?;
    let error = match files.entry(path) {
        Ok(entry) if entry.kind == Kind::Folder => {
            let entries = files.sorted_entries(path, |_| true).map_err(failure(path))?;
            return Ok((Found::Folder, entries));
        }
        Ok(entry) => return Ok((Found::One, Box::new(std::iter::once(Ok(entry))))),
        Err(error) => error,
    };
    let pattern = path.name().filter(|name| glob::is_pattern(name));
    let Some(pattern) = pattern.filter(|_| error.kind() == ErrorKind::NotFound) else {
        return Err(failure(path)(error).into());
    };
    let (folder, pattern) = (path.parent(), pattern.to_vec());
    let matching = files.sorted_entries(&folder, move |name| glob::matches(&pattern, name));
    let mut matching = matching.map_err(failure(&folder))?;
    match matching.next() {
        Some(first) => Ok((Found::Pattern, Box::new(std::iter::once(first).chain(matching)))),
        None => Err(Reply::about(550, "", path.bytes(), ": nothing matches.").into()),
    }
}

fn send(
    session: &mut Session,
    entries: Entries,
    path: &VirtualPath,
    line: impl FnMut(&mut Vec<u8>, &Entry),
) -> Outcome {
    session.send_data(Outgoing::Stream(&mut Lines::new(entries, line)), path, "ls")?;
    Ok(Reply::about(226, "", path.bytes(), " listed."))
}

/// NLST. Each line names its entry as the argument named the folder, so that RETR takes the line
/// unchanged (RFC 1123 §4.1.2.7). Without an argument the line is the bare name.
fn names(session: &mut Session, argument: &[u8], path: &VirtualPath) -> Outcome {
    let (found, entries) = open(session, path)?;
    let prefix = match found {
        Found::One => {
            let name = argument.to_vec();
            return send(session, entries, path, move |line, _| line.extend_from_slice(&name));
        }
        Found::Folder if argument.is_empty() || argument.ends_with(b"/") => argument.to_vec(),
        Found::Folder => [argument, b"/"].concat(),
        Found::Pattern => folder_of(argument).to_vec(),
    };
    send(session, entries, path, move |line, entry| {
        line.extend_from_slice(&prefix);
        line.extend_from_slice(&text::on_one_line(&entry.name));
    })
}

/// The part of a pattern before its last component, with the slash.
fn folder_of(pattern: &[u8]) -> &[u8] {
    let end = pattern.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let pattern = pattern.get(..end).unwrap_or_default();
    let folder = pattern.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    pattern.get(..folder).unwrap_or_default()
}

/// Appends the line of an entry. The time is that of the listing.
type LineOf = fn(&mut Vec<u8>, &Entry, SystemTime);

/// `ls`, and STAT with a path (RFC 959 §4.1.3): a multi-line reply with one line per entry, without
/// control characters. If the listing breaks off, the last line says why, because a reply that has
/// begun must end with its code. `note` follows the number of entries.
fn inline(
    session: &mut Session,
    code: u16,
    path: &VirtualPath,
    entries: Entries,
    line_of: LineOf,
    note: &str,
) -> Outcome {
    session.say_raw(&[format!("{code}-").as_bytes(), &path.shown(), b":\r\n"].concat())?;
    let (mut text, mut count) = (Vec::new(), 0_u64);
    let now = SystemTime::now();
    let mut lines = Lines::new(entries, |out, entry| {
        count += 1;
        text.clear();
        line_of(&mut text, entry, now);
        out.push(b' ');
        out.extend_from_slice(&text::sanitized(&text));
    });
    let end =
        transfer::pump(&mut lines, &mut session.control, 4096, Duration::ZERO, &mut |_| false);
    let last = match (end, count) {
        (End::Complete(_), 0) => format!("Empty.{note}"),
        (End::Complete(_), 1) => format!("1 entry.{note}"),
        (End::Complete(_), count) => format!("{count} entries.{note}"),
        (End::SourceFailed(error), _) => format!("The listing broke off: {}.", error.kind()),
        (End::SinkFailed(error), _) => return Err(Failure::Lost(error)),
        (End::TimedOut | End::Aborted, _) => {
            return Err(Failure::Lost(ErrorKind::TimedOut.into()));
        }
    };
    Ok(Reply::new(code, last))
}

/// MLSD (RFC 3659 §7): lists a folder only.
fn facts(session: &mut Session, path: &VirtualPath) -> Outcome {
    let files = session.files()?;
    if files.entry(path).map_err(failure(path))?.kind != Kind::Folder {
        return Err(
            Reply::about(501, "", path.bytes(), ": not a folder; use MLST for a file.").into()
        );
    }
    let entries = files.entries(path).map_err(failure(path))?;
    let (choice, role, at_top) = (session.settings.facts, session.role(), path.is_root());
    let perm = move |line: &mut Vec<u8>, entry: &Entry| push_perm(line, entry, role, at_top);
    send(session, entries, path, move |line, entry| {
        choice.push_line(line, entry, &entry.name, &perm)
    })
}

/// Appends what a role may do with an entry, in the letters of RFC 3659 §7.5.5. Files: append,
/// delete, rename, retrieve, write. Folders: create, delete, enter, rename, list, make, purge.
/// `at_top` says that the entry is in the top folder.
fn push_perm(line: &mut Vec<u8>, entry: &Entry, role: Option<Role>, at_top: bool) {
    let may = |permission| permissions::allows(role, permission);
    let (read, change) = (may(Permission::Read), may(Permission::Change));
    let add = may(Permission::Add);
    let is_root = entry.name == b"/";
    // The top folder of an administrator has the folders of the accounts.
    let is_home = at_top && role == Some(Role::Admin);
    let letters: &[(u8, bool)] = match entry.kind {
        Kind::File => {
            &[(b'a', change), (b'd', change), (b'f', change), (b'r', read), (b'w', change)]
        }
        Kind::Folder => &[
            (b'c', add),
            (b'd', change && !is_root),
            (b'e', true),
            (b'f', change && !is_home && !is_root),
            (b'l', read),
            (b'm', add),
            (b'p', change),
        ],
        Kind::Link | Kind::Other => &[(b'd', change), (b'f', change)],
    };
    line.extend(letters.iter().filter(|(_, may)| *may).map(|(letter, _)| letter));
}

/// MLST (RFC 3659 §7).
fn facts_of_one(session: &mut Session, path: &VirtualPath) -> Outcome {
    let entry = session.files()?.entry(path).map_err(failure(path))?;
    let mut line = Vec::new();
    let (role, at_top) = (session.role(), path.parent().is_root());
    session.settings.facts.push_line(&mut line, &entry, path.bytes(), &|line, entry| {
        push_perm(line, entry, role, at_top)
    });
    Ok(Reply::multi(250, "Facts:", [line], "End."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perm_shows_what_the_account_may_do() {
        let perm = |kind, name: &[u8], role, at_top| {
            let name = name.to_vec();
            let modified = SystemTime::UNIX_EPOCH;
            let entry = Entry { name, kind, size: 0, modified, mode: 0, links: 1, id: (0, 0) };
            let mut line = Vec::new();
            push_perm(&mut line, &entry, Some(role), at_top);
            String::from_utf8(line).unwrap()
        };
        for (role, at_top, file, folder, link, root) in [
            (Role::User, false, "adfrw", "cdeflmp", "df", "celmp"),
            (Role::User, true, "adfrw", "cdeflmp", "df", "celmp"),
            (Role::ReadOnly, false, "r", "el", "", "el"),
            (Role::Drop, false, "", "cem", "", "cem"),
            (Role::Admin, false, "adfrw", "cdeflmp", "df", "celmp"),
            (Role::Admin, true, "adfrw", "cdelmp", "df", "celmp"),
        ] {
            assert_eq!(perm(Kind::File, b"x", role, at_top), file, "{role:?}");
            assert_eq!(perm(Kind::Folder, b"x", role, at_top), folder, "{role:?}");
            assert_eq!(perm(Kind::Link, b"x", role, at_top), link, "{role:?}");
            assert_eq!(perm(Kind::Other, b"x", role, at_top), link, "{role:?}");
            assert_eq!(perm(Kind::Folder, b"/", role, at_top), root, "{role:?}");
        }
    }
}
