//! Folders and files, all but their content.

use std::io::{self, ErrorKind, Write};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::config::CHUNK;
use crate::glob;
use crate::listing;
use crate::reply::Reply;
use crate::session::{Failure, Pending, Session};
use crate::time;
use crate::transfer::{self, End};
use crate::vfs::{Entry, Existing, Kind, VirtualPath};

/// What a failure on a path is answered with.
pub fn failure(path: &VirtualPath) -> impl Fn(io::Error) -> Reply {
    move |error| Reply::failure(&path.bytes(), &error)
}

/// A path in double quotes, inner ones doubled (RFC 959, appendix II).
fn quoted(path: &VirtualPath) -> Vec<u8> {
    let mut bytes = vec![b'"'];
    for byte in path.bytes() {
        bytes.extend_from_slice(if byte == b'"' { b"\"\"" } else { std::slice::from_ref(&byte) });
    }
    bytes.push(b'"');
    bytes
}

/// PWD.
pub fn print_folder(session: &mut Session) -> Result<Reply, Failure> {
    Ok(Reply::about(257, "", &quoted(&session.folder), " is the current folder."))
}

/// CWD, `cd`, CDUP.
pub fn change_folder(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    session.files()?.enter(&path).map_err(failure(&path))?;
    let reply = Reply::about(250, "", &path.bytes(), " is the current folder.");
    session.folder = path;
    Ok(reply)
}

/// `ls`: sorted, a line an entry.
pub fn list(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    let mut entries = matching(session, &path)?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    session.say_raw(&[b"212-", path.shown().as_slice(), b":\r\n"].concat())?;
    let now = SystemTime::now();
    for entry in &entries {
        session.say_raw(&[b" ", listing::ls_line(entry, now).as_slice(), b"\r\n"].concat())?;
    }
    Ok(Reply::new(
        212,
        match entries.len() {
            0 => "Empty.".to_string(),
            1 => "1 entry.".to_string(),
            count => format!("{count} entries."),
        },
    ))
}

/// What a folder holds, or the one file of that name, or, where nothing bears the name, what
/// matches it as a pattern.
fn matching(session: &Session, path: &VirtualPath) -> Result<Vec<Entry>, Failure> {
    let files = session.files()?;
    let all = |folder: &VirtualPath| -> Result<Vec<Entry>, Failure> {
        let entries = files.entries(folder).and_then(Iterator::collect::<io::Result<_>>);
        Ok(entries.map_err(failure(folder))?)
    };
    match files.entry(path) {
        Ok(entry) if entry.kind == Kind::Folder => all(path),
        Ok(entry) => Ok(vec![entry]),
        Err(error) => match path.name().filter(|name| glob::is_pattern(name)) {
            Some(pattern) if error.kind() == ErrorKind::NotFound => {
                let mut entries = all(&path.parent())?;
                entries.retain(|entry| glob::matches(pattern, &entry.name));
                if entries.is_empty() {
                    return Err(Reply::about(550, "", &path.bytes(), ": nothing matches").into());
                }
                Ok(entries)
            }
            _ => Err(failure(path)(error).into()),
        },
    }
}

/// MKD, `mkdir`.
pub fn make_folder(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    match session.files()?.make_folder(&path) {
        Ok(()) => Ok(Reply::about(257, "", &quoted(&path), " created.")),
        // Devices that make their folder level by level read the path here too.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Reply::about(550, "", &quoted(&path), " exists already.").into())
        }
        Err(error) => Err(failure(&path)(error).into()),
    }
}

/// RMD, `rmdir`.
pub fn remove_folder(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    session.files()?.remove_folder(&path).map_err(failure(&path))?;
    Ok(Reply::about(250, "", &path.bytes(), " removed."))
}

/// DELE, `rm`.
pub fn remove_file(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    session.files()?.remove_file(&path).map_err(failure(&path))?;
    Ok(Reply::about(250, "", &path.bytes(), " removed."))
}

/// `rm -r`.
pub fn remove_tree(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    session.files()?.remove_tree(&path).map_err(failure(&path))?;
    Ok(Reply::about(250, "", &path.bytes(), " removed, with all in it."))
}

/// `touch`.
pub fn touch(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    session.files()?.touch(&path).map_err(failure(&path))?;
    Ok(Reply::about(250, "", &path.bytes(), " has the present time."))
}

/// Where something goes that goes to `to` by hand: into it, where that is a folder, as in a shell.
fn into(session: &Session, from: &VirtualPath, to: VirtualPath) -> Result<VirtualPath, Failure> {
    match from.name() {
        Some(name) if *from != to && session.files()?.is_folder(&to) => Ok(to.child(name)),
        _ => Ok(to),
    }
}

/// What a failure between two paths is answered with: it names the one that it comes from.
fn failure_between(from: &VirtualPath, to: &VirtualPath, error: &io::Error) -> Reply {
    match error.kind() {
        ErrorKind::AlreadyExists => Reply::about(550, "", &to.bytes(), ": exists already"),
        ErrorKind::InvalidInput => Reply::failure(&from.bytes(), error),
        _ => Reply::failure(&to.bytes(), error),
    }
}

/// The two paths of `cp` and `mv`, noted for the log; `from` exists.
fn from_to(session: &mut Session, from: &[u8], to: &[u8]) -> Result<(VirtualPath, VirtualPath), Failure> {
    let to = session.resolve(to)?;
    let from = session.resolve(from)?;
    session.files()?.entry(&from).map_err(failure(&from))?;
    let to = into(session, &from, to)?;
    session.notes.to = Some(to.clone());
    Ok((from, to))
}

/// `cp`.
pub fn copy(session: &mut Session, from: &[u8], to: &[u8], existing: Existing) -> Result<Reply, Failure> {
    let (from, to) = from_to(session, from, to)?;
    let copied = session.files()?.copy(&from, &to, existing);
    session.notes.bytes = copied.map_err(|error| failure_between(&from, &to, &error))?;
    Ok(Reply::about(250, "", &[from.bytes(), to.bytes()].join(&b" copied to "[..]), "."))
}

/// `mv`.
pub fn rename(session: &mut Session, from: &[u8], to: &[u8], existing: Existing) -> Result<Reply, Failure> {
    let (from, to) = from_to(session, from, to)?;
    move_to(session, &from, &to, existing)
}

fn move_to(
    session: &Session,
    from: &VirtualPath,
    to: &VirtualPath,
    existing: Existing,
) -> Result<Reply, Failure> {
    let moved = session.files()?.rename(from, to, existing);
    moved.map_err(|error| failure_between(from, to, &error))?;
    Ok(Reply::about(250, "", &[from.bytes(), to.bytes()].join(&b" is now "[..]), "."))
}

/// RNFR.
pub fn rename_from(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    session.files()?.entry(&path).map_err(failure(&path))?;
    let reply = Reply::about(350, "", &path.bytes(), " exists; now its new name: RNTO PATH");
    session.pending = Pending::RenameFrom(path);
    Ok(reply)
}

/// RNTO: the very name, and a file of that name is replaced, as rename(2) does; programs that
/// upload under another name first rely on it.
pub fn rename_to(session: &mut Session, argument: &[u8], pending: Pending) -> Result<Reply, Failure> {
    let Pending::RenameFrom(from) = pending else {
        return Err(Reply::new(503, "First what to rename: RNFR PATH").into());
    };
    let to = session.resolve(argument)?;
    session.notes.path = Some(from.clone());
    session.notes.to = Some(to.clone());
    move_to(session, &from, &to, Existing::Replace)
}

fn entry(session: &mut Session, argument: &[u8]) -> Result<(VirtualPath, Entry), Failure> {
    let path = session.resolve(argument)?;
    let entry = session.files()?.entry(&path).map_err(failure(&path))?;
    Ok((path, entry))
}

/// `info`.
pub fn info(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let (path, entry) = entry(session, argument)?;
    Ok(Reply::multi(213, [path.bytes(), b":".to_vec()].concat(), listing::facts(&entry), "End."))
}

/// SIZE (RFC 3659 §4).
pub fn size(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let (path, entry) = entry(session, argument)?;
    match entry.kind {
        Kind::File => Ok(Reply::new(213, entry.size.to_string())),
        Kind::Folder => Err(failure(&path)(ErrorKind::IsADirectory.into()).into()),
        _ => Err(Reply::about(550, "", &path.bytes(), ": not a regular file").into()),
    }
}

/// MDTM (RFC 3659 §3).
pub fn modification_time(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let (_, entry) = entry(session, argument)?;
    Ok(Reply::new(213, time::time_val(entry.modified)))
}

/// HASH (draft-bryan-ftpext-hash-02): the algorithm, the range of bytes, the hash, the name.
pub fn hash(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    struct Hasher(Sha256);
    impl Write for Hasher {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let path = session.resolve(argument)?;
    let mut file = session.files()?.open(&path).map_err(failure(&path))?;
    let mut hasher = Hasher(Sha256::new());
    match transfer::pump(&mut file, &mut hasher, CHUNK, Duration::ZERO, &mut || false) {
        End::Complete(length) => {
            let hash = hex::encode(hasher.0.finalize());
            Ok(Reply::about(213, &format!("SHA-256 0-{length} {hash} "), &path.bytes(), ""))
        }
        End::SourceFailed(error) | End::SinkFailed(error) => Err(failure(&path)(error).into()),
        End::Aborted | End::TimedOut => Err(failure(&path)(ErrorKind::TimedOut.into()).into()),
    }
}
