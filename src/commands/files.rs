//! Commands on folders and files, except transfers of content.

use std::io::{self, ErrorKind, Write};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::glob;
use crate::listing;
use crate::reply::Reply;
use crate::session::{Action, Failure, Outcome, Pending, Session};
use crate::time;
use crate::transfer::{self, Ascii, LineEnds};
use crate::vfs::{Entry, Existing, Kind, Vfs, VirtualPath};

use super::args::Args;
use super::{Command, Parsed};

/// The reply to a failure on a path. If the path is a pattern, the reply names the word that takes
/// patterns.
pub fn failure(path: &VirtualPath) -> impl Fn(io::Error) -> Reply {
    move |error| {
        let reply = Reply::failure(path.bytes(), &error);
        let is_missing = error.kind() == ErrorKind::NotFound && error.get_ref().is_none();
        match path.name() {
            Some(name) if is_missing && glob::is_pattern(name) => {
                reply.and(" Patterns work with ls only.")
            }
            _ => reply,
        }
    }
}

/// `mkdir [-p] DIR`.
pub fn parse_mkdir(args: Args<'_>) -> Parsed {
    let (flags, [path]) = args.flags_and_paths(b"p")?;
    Ok(if flags.is_empty() { Command::MakeFolder(path) } else { Command::MakeFolders(path) })
}

/// `rm [-r] PATH`; `-f` has no effect.
pub fn parse_rm(args: Args<'_>) -> Parsed {
    let (flags, [path]) = args.flags_and_paths(b"frR")?;
    let is_file = flags.iter().all(|flag| *flag == b'f');
    Ok(if is_file { Command::RemoveFile(path) } else { Command::RemoveTree(path) })
}

/// `cp [-f] FROM TO`, `mv [-f] FROM TO`, SITE COPY.
pub fn parse_copy_or_rename(args: Args<'_>, action: Action) -> Parsed {
    let (flags, [from, to]) = args.flags_and_paths(b"frR")?;
    let existing = if flags.contains(&b'f') { Existing::Replace } else { Existing::Keep };
    Ok(Command::CopyOrRename { action, from, to, existing })
}

/// `MDTM PATH` asks for a time. `MDTM YYYYMMDDHHMMSS PATH` sets it, as FTP clients of the 1990s do.
pub fn parse_mdtm(args: Args<'_>) -> Parsed {
    match args.time_and_path() {
        Ok((time, path)) => Ok(Command::SetTime(time, path)),
        Err(_) => args.rest_of_line().map(Command::ModificationTime),
    }
}

/// A path in double quotes, inner ones doubled (RFC 959, appendix II).
fn quoted(path: &VirtualPath) -> Vec<u8> {
    let parts: Vec<_> = path.bytes().split(|byte| *byte == b'"').collect();
    [b"\"", &parts.join(&b"\"\""[..])[..], b"\""].concat()
}

/// PWD.
pub fn print_folder(session: &mut Session) -> Outcome {
    Ok(Reply::about(257, "", &quoted(&session.folder), " is the current folder."))
}

/// CWD, `cd`, CDUP. `~` is the top folder, as a shell has it for the home folder.
pub fn change_folder(session: &mut Session, argument: &[u8]) -> Outcome {
    let path = session.resolve(if argument == b"~" { b"/" } else { argument })?;
    session.files()?.check_dir(&path).map_err(failure(&path))?;
    let reply = Reply::about(250, "", path.bytes(), " is the current folder.");
    session.folder = path;
    Ok(reply)
}

/// MKD, `mkdir`.
pub fn make_folder(session: &mut Session, argument: &[u8]) -> Outcome {
    let path = session.resolve(argument)?;
    match session.files()?.make_folder(&path) {
        Ok(()) => Ok(Reply::about(257, "", &quoted(&path), " created.")),
        // Devices that make their folder level by level read the path from this reply, too.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Reply::about(550, "", &quoted(&path), " exists already.").into())
        }
        Err(error) => Err(failure(&path)(error).into()),
    }
}

/// `mkdir -p`: also makes the folders above that are missing. It succeeds if the folder exists.
pub fn make_folders(session: &mut Session, argument: &[u8]) -> Outcome {
    let path = session.resolve(argument)?;
    let files = session.files()?;
    let mut there = VirtualPath::root();
    let mut done = " exists already.";
    for name in path.names() {
        there = there.join(name).map_err(failure(&path))?;
        if files.is_folder(&there) {
            continue;
        }
        match files.make_folder(&there) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && files.is_folder(&there) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(failure(&there)(ErrorKind::NotADirectory.into()).into());
            }
            made => made.map_err(failure(&there))?,
        }
        done = " created.";
    }
    Ok(Reply::about(257, "", &quoted(&path), done))
}

/// RMD, `rmdir`, DELE, `rm`, `rm -r`. `remove` is the method of [`Vfs`], and `done` what the reply
/// says after the path.
pub fn remove(
    session: &mut Session,
    argument: &[u8],
    remove: fn(&Vfs, &VirtualPath) -> io::Result<()>,
    done: &str,
) -> Outcome {
    let path = session.resolve(argument)?;
    remove(session.files()?, &path).map_err(failure(&path))?;
    Ok(Reply::about(250, "", path.bytes(), done))
}

/// `touch`.
pub fn touch(session: &mut Session, argument: &[u8]) -> Outcome {
    let path = session.resolve(argument)?;
    let created = session.files()?.touch(&path).map_err(failure(&path))?;
    let done = if created { " created, empty." } else { " exists; its time is set to now." };
    Ok(Reply::about(250, "", path.bytes(), done))
}

/// The reply to a failed copy or rename. It names the target, unless only the source can be the
/// reason.
fn failure_between(from: &VirtualPath, to: &VirtualPath, error: &io::Error) -> Reply {
    match error.kind() {
        ErrorKind::AlreadyExists => Reply::about(550, "", to.bytes(), ": exists already."),
        ErrorKind::InvalidInput => Reply::failure(from.bytes(), error),
        _ => Reply::failure(to.bytes(), error),
    }
}

/// `cp` and `mv`. If the target is a folder, the entry goes into it, as in a shell.
pub fn copy_or_rename(
    session: &mut Session,
    action: Action,
    from: &[u8],
    to: &[u8],
    existing: Existing,
) -> Outcome {
    let mut to = session.resolve(to)?;
    let (from, _) = entry(session, from)?;
    if let Some(name) = from.name()
        && from != to
        && session.files()?.is_folder(&to)
    {
        to = to.join(name).map_err(failure(&to))?;
    }
    perform(session, action, from, to, existing)
}

fn perform(
    session: &mut Session,
    action: Action,
    from: VirtualPath,
    to: VirtualPath,
    existing: Existing,
) -> Outcome {
    session.log_context.path = Some(from.clone());
    session.log_context.to = Some(to.clone());
    let done = session.run_cancellable(|files, stop| match action {
        Action::Copy => files.copy(&from, &to, existing, stop),
        Action::Rename => files.move_to(&from, &to, existing, stop).map(|()| None),
    })?;
    session.log_context.bytes = done.map_err(|error| failure_between(&from, &to, &error))?;
    let verb = match action {
        Action::Copy => &b" copied to "[..],
        Action::Rename => b" is now ",
    };
    Ok(Reply::about(250, "", &[from.bytes(), to.bytes()].join(verb), "."))
}

/// RNFR and SITE CPFR: keeps the path of the source for the next command.
pub fn source(session: &mut Session, action: Action, argument: &[u8]) -> Outcome {
    let (path, _) = entry(session, argument)?;
    let next = match action {
        Action::Copy => " exists; now the copy's name: SITE CPTO PATH",
        Action::Rename => " exists; now its new name: RNTO PATH",
    };
    let reply = Reply::about(350, "", path.bytes(), next);
    session.pending = Pending::Source(action, path);
    Ok(reply)
}

/// RNTO and SITE CPTO: the target has exactly this name, even if it is a folder. A file of that
/// name is replaced, as rename(2) does. Programs that upload under a temporary name rely on it.
pub fn target(session: &mut Session, action: Action, argument: &[u8], pending: Pending) -> Outcome {
    let first = match (pending, action) {
        (Pending::Source(known, from), _) if known == action => {
            let to = session.resolve(argument)?;
            return perform(session, action, from, to, Existing::Replace);
        }
        (_, Action::Copy) => "First what to copy: SITE CPFR PATH",
        (_, Action::Rename) => "First what to rename: RNFR PATH",
    };
    Err(Reply::new(503, first).into())
}

fn entry(session: &mut Session, argument: &[u8]) -> Result<(VirtualPath, Entry), Failure> {
    let path = session.resolve(argument)?;
    let entry = session.files()?.entry(&path).map_err(failure(&path))?;
    Ok((path, entry))
}

/// A path and its entry, if RETR would send it. SIZE and MDTM answer about nothing else (RFC 3659
/// §3.1, §4.1), because programs take a 213 as the sign of a file.
fn file_entry(session: &mut Session, argument: &[u8]) -> Result<(VirtualPath, Entry), Failure> {
    let (path, entry) = entry(session, argument)?;
    match entry.kind {
        Kind::File => Ok((path, entry)),
        Kind::Folder => Err(failure(&path)(ErrorKind::IsADirectory.into()).into()),
        Kind::Link | Kind::Other => {
            Err(Reply::about(550, "", path.bytes(), ": not a regular file.").into())
        }
    }
}

/// `info`.
pub fn info(session: &mut Session, argument: &[u8]) -> Outcome {
    let (path, entry) = entry(session, argument)?;
    Ok(Reply::multi(213, [path.bytes(), b":"].concat(), listing::facts(&entry), "End."))
}

/// The largest file, in bytes, that SIZE reads in TYPE A to count its lines.
const COUNTED: u64 = 8 * 1024 * 1024;

/// SIZE (RFC 3659 §4): the size that the client would receive, in ASCII type too.
pub fn size(session: &mut Session, argument: &[u8]) -> Outcome {
    let (path, entry) = file_entry(session, argument)?;
    if !session.settings.ascii {
        return Ok(Reply::new(213, entry.size.to_string()));
    }
    if entry.size > COUNTED {
        let why = ": too large to be counted in TYPE A; send TYPE I first.";
        return Err(Reply::about(550, "", path.bytes(), why).into());
    }
    let (file, _) = session.files()?.open(&path).map_err(failure(&path))?;
    let mut ascii = Ascii::new(file, LineEnds::ToNetwork);
    let size =
        transfer::pump_all(&mut ascii, &mut io::sink(), &mut |_| false).map_err(failure(&path))?;
    Ok(Reply::new(213, size.to_string()))
}

/// MDTM (RFC 3659 §3).
pub fn modification_time(session: &mut Session, argument: &[u8]) -> Outcome {
    let (_, entry) = file_entry(session, argument)?;
    Ok(Reply::new(213, time::time_val(entry.modified).to_vec()))
}

/// MFMT (draft-somers-ftp-mfxx-04 §3) and MDTM with a time. The reply has the time
/// that the disk stored: some file systems keep only even seconds, or no year before 1980.
pub fn set_time(session: &mut Session, time: SystemTime, argument: &[u8]) -> Outcome {
    let path = session.resolve(argument)?;
    let stored = session.files()?.set_modified(&path, time).map_err(failure(&path))?;
    Ok(Reply::new(213, [b"Modify=", &time::time_val(stored)[..], b"; ", path.bytes()].concat()))
}

/// SITE CHMOD.
pub fn set_mode(session: &mut Session, mode: u32, argument: &[u8]) -> Outcome {
    let path = session.resolve(argument)?;
    let mode = session.files()?.set_mode(&path, mode).map_err(failure(&path))?;
    Ok(Reply::about(200, "", path.bytes(), &format!(" has permissions {mode:04o}.")))
}

/// A sink that computes the SHA-256 of what is written to it.
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

/// `hash` answers the algorithm, the range of bytes, the hash and the path
/// (draft-bryan-ftpext-hash-02 §3). XSHA256 answers the hash only.
pub fn hash(session: &mut Session, argument: &[u8], hash_only: bool) -> Outcome {
    let path = session.resolve(argument)?;
    let hashed = session.run_cancellable(|files, stop| {
        let (mut file, _) = files.open(&path)?;
        let mut hasher = Hasher(Sha256::new());
        let length = transfer::pump_all(&mut file, &mut hasher, stop)?;
        Ok((length, hex::encode(hasher.0.finalize())))
    })?;
    let (length, hash) = hashed.map_err(failure(&path))?;
    if hash_only {
        return Ok(Reply::new(250, hash));
    }
    Ok(Reply::about(213, &format!("SHA-256 0-{length} {hash} "), path.bytes(), ""))
}
