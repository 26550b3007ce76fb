//! Folders and files, all but their content.

use std::io::{self, ErrorKind, Write};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::glob;
use crate::listing;
use crate::reply::Reply;
use crate::session::{Failure, Pending, Session};
use crate::time;
use crate::transfer::{self, Ascii, LineEnds};
use crate::vfs::{Entry, Existing, Kind, VirtualPath};

use super::Command;
use super::args::Args;

/// What a failure on a path is answered with. The answer to a pattern says which word takes
/// patterns.
pub fn failure(path: &VirtualPath) -> impl Fn(io::Error) -> Reply {
    move |error| {
        let reply = Reply::failure(path.bytes(), &error);
        let is_missing = error.kind() == ErrorKind::NotFound && error.get_ref().is_none();
        match path.name() {
            Some(name) if is_missing && glob::is_pattern(name) => {
                reply.and("; patterns work with ls only")
            }
            _ => reply,
        }
    }
}

/// `mkdir [-p] DIR`.
pub fn parse_mkdir(args: Args<'_>) -> Result<Command, Reply> {
    let (flags, path) = args.flags_and_path(&[b"p"])?;
    Ok(if flags.is_empty() { Command::MakeFolder(path) } else { Command::MakeFolders(path) })
}

/// `rm [-r] PATH`; `-f` has no effect.
pub fn parse_rm(args: Args<'_>) -> Result<Command, Reply> {
    let (flags, path) = args.flags_and_path(&[b"f", b"r", b"R", b"rf", b"fr"])?;
    let is_file = matches!(flags.as_slice(), b"" | b"f");
    Ok(if is_file { Command::RemoveFile(path) } else { Command::RemoveTree(path) })
}

/// `cp [-f] FROM TO`, and the same after SITE.
pub fn parse_copy(args: Args<'_>) -> Result<Command, Reply> {
    let (existing, from, to) = args.two_paths()?;
    Ok(Command::Copy { from, to, existing })
}

/// `mv [-f] FROM TO`.
pub fn parse_rename(args: Args<'_>) -> Result<Command, Reply> {
    let (existing, from, to) = args.two_paths()?;
    Ok(Command::Rename { from, to, existing })
}

/// `MDTM PATH` asks for a time. `MDTM YYYYMMDDHHMMSS PATH` sets it, as FTP clients of the 1990s do.
pub fn parse_mdtm(args: Args<'_>) -> Result<Command, Reply> {
    match args.time_and_path() {
        Ok((time, path)) => Ok(Command::SetTime { time, path, code: 213 }),
        Err(_) => args.rest_of_line().map(Command::ModificationTime),
    }
}

/// A path in double quotes, inner ones doubled (RFC 959, appendix II).
fn quoted(path: &VirtualPath) -> Vec<u8> {
    let mut bytes = vec![b'"'];
    for byte in path.bytes() {
        bytes.extend_from_slice(if *byte == b'"' { b"\"\"" } else { std::slice::from_ref(byte) });
    }
    bytes.push(b'"');
    bytes
}

/// PWD.
pub fn print_folder(session: &mut Session) -> Result<Reply, Failure> {
    Ok(Reply::about(257, "", &quoted(&session.folder), " is the current folder."))
}

/// CWD, `cd`, CDUP. `~` is the top folder, as at home.
pub fn change_folder(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(if argument == b"~" { b"/" } else { argument })?;
    session.files()?.check_dir(&path).map_err(failure(&path))?;
    let reply = Reply::about(250, "", path.bytes(), " is the current folder.");
    session.folder = path;
    Ok(reply)
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

/// `mkdir -p`: also makes the folders above that are missing. It is no error if all are there.
pub fn make_folders(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    let files = session.files()?;
    let mut there = path.clone();
    while !there.is_root() && !files.is_folder(&there) {
        there = there.parent();
    }
    if there == path {
        return Ok(Reply::about(257, "", &quoted(&path), " exists already."));
    }
    let missing = path.names().skip(there.names().count());
    for name in missing {
        there = there.join(name).map_err(failure(&path))?;
        match files.make_folder(&there) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && files.is_folder(&there) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(failure(&there)(ErrorKind::NotADirectory.into()).into());
            }
            made => made.map_err(failure(&there))?,
        }
    }
    Ok(Reply::about(257, "", &quoted(&path), " created."))
}

/// RMD, `rmdir`.
pub fn remove_folder(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    session.files()?.remove_folder(&path).map_err(failure(&path))?;
    Ok(Reply::about(250, "", path.bytes(), " removed."))
}

/// DELE, `rm`.
pub fn remove_file(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    session.files()?.remove_file(&path).map_err(failure(&path))?;
    Ok(Reply::about(250, "", path.bytes(), " removed."))
}

/// `rm -r`.
pub fn remove_tree(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    session.files()?.remove_tree(&path).map_err(failure(&path))?;
    Ok(Reply::about(250, "", path.bytes(), " removed, with all in it."))
}

/// `touch`.
pub fn touch(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    let created = session.files()?.touch(&path).map_err(failure(&path))?;
    let done = if created { " created, empty." } else { " exists; its time is set to now." };
    Ok(Reply::about(250, "", path.bytes(), done))
}

/// The target of `cp` and `mv`: a name in `to` if that is a folder, as in a shell.
fn into(session: &Session, from: &VirtualPath, to: VirtualPath) -> Result<VirtualPath, Failure> {
    match from.name() {
        Some(name) if *from != to && session.files()?.is_folder(&to) => {
            Ok(to.join(name).map_err(failure(&to))?)
        }
        _ => Ok(to),
    }
}

/// What a failure between two paths is answered with. It names the target, unless it can only come
/// from the source.
fn failure_between(from: &VirtualPath, to: &VirtualPath, error: &io::Error) -> Reply {
    match error.kind() {
        ErrorKind::AlreadyExists => Reply::about(550, "", to.bytes(), ": exists already"),
        ErrorKind::InvalidInput => Reply::failure(from.bytes(), error),
        _ => Reply::failure(to.bytes(), error),
    }
}

/// The two paths of `cp` and `mv`, noted for the log; `from` exists.
fn from_to(
    session: &mut Session,
    from: &[u8],
    to: &[u8],
) -> Result<(VirtualPath, VirtualPath), Failure> {
    let to = session.resolve(to)?;
    let from = session.resolve(from)?;
    session.files()?.entry(&from).map_err(failure(&from))?;
    let to = into(session, &from, to)?;
    session.log_context.to = Some(to.clone());
    Ok((from, to))
}

/// `cp`.
pub fn copy(
    session: &mut Session,
    from: &[u8],
    to: &[u8],
    existing: Existing,
) -> Result<Reply, Failure> {
    let (from, to) = from_to(session, from, to)?;
    copy_as(session, &from, &to, existing)
}

fn copy_as(
    session: &mut Session,
    from: &VirtualPath,
    to: &VirtualPath,
    existing: Existing,
) -> Result<Reply, Failure> {
    let copied = session.run_cancellable(|files, stop| files.copy(from, to, existing, stop))?;
    session.log_context.bytes = copied.map_err(|error| failure_between(from, to, &error))?;
    Ok(Reply::about(250, "", &[from.bytes(), to.bytes()].join(&b" copied to "[..]), "."))
}

/// `mv`.
pub fn rename(
    session: &mut Session,
    from: &[u8],
    to: &[u8],
    existing: Existing,
) -> Result<Reply, Failure> {
    let (from, to) = from_to(session, from, to)?;
    move_to(session, &from, &to, existing)
}

fn move_to(
    session: &mut Session,
    from: &VirtualPath,
    to: &VirtualPath,
    existing: Existing,
) -> Result<Reply, Failure> {
    let moved = session.run_cancellable(|files, stop| files.move_to(from, to, existing, stop))?;
    moved.map_err(|error| failure_between(from, to, &error))?;
    Ok(Reply::about(250, "", &[from.bytes(), to.bytes()].join(&b" is now "[..]), "."))
}

/// RNFR.
pub fn rename_from(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    session.files()?.entry(&path).map_err(failure(&path))?;
    let reply = Reply::about(350, "", path.bytes(), " exists; now its new name: RNTO PATH");
    session.pending = Pending::RenameFrom(path);
    Ok(reply)
}

/// SITE CPFR.
pub fn copy_from(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    session.files()?.entry(&path).map_err(failure(&path))?;
    let reply = Reply::about(350, "", path.bytes(), " exists; now the copy's name: SITE CPTO PATH");
    session.pending = Pending::CopyFrom(path);
    Ok(reply)
}

/// SITE CPTO: the very name; a file of that name is replaced, as RNTO does.
pub fn copy_to(session: &mut Session, argument: &[u8], pending: Pending) -> Result<Reply, Failure> {
    let Pending::CopyFrom(from) = pending else {
        return Err(Reply::new(503, "First what to copy: SITE CPFR PATH").into());
    };
    let to = session.resolve(argument)?;
    session.log_context.path = Some(from.clone());
    session.log_context.to = Some(to.clone());
    copy_as(session, &from, &to, Existing::Replace)
}

/// RNTO: the very name, and a file of that name is replaced, as rename(2) does; programs that
/// upload under another name first rely on it.
pub fn rename_to(
    session: &mut Session,
    argument: &[u8],
    pending: Pending,
) -> Result<Reply, Failure> {
    let Pending::RenameFrom(from) = pending else {
        return Err(Reply::new(503, "First what to rename: RNFR PATH").into());
    };
    let to = session.resolve(argument)?;
    session.log_context.path = Some(from.clone());
    session.log_context.to = Some(to.clone());
    move_to(session, &from, &to, Existing::Replace)
}

fn entry(session: &mut Session, argument: &[u8]) -> Result<(VirtualPath, Entry), Failure> {
    let path = session.resolve(argument)?;
    let entry = session.files()?.entry(&path).map_err(failure(&path))?;
    Ok((path, entry))
}

/// A path and its entry, of a file that RETR would send: SIZE and MDTM tell about nothing else (RFC
/// 3659 §3.1, §4.1), and programs take a 213 for the sign of a file.
fn file_entry(session: &mut Session, argument: &[u8]) -> Result<(VirtualPath, Entry), Failure> {
    let (path, entry) = entry(session, argument)?;
    match entry.kind {
        Kind::File => Ok((path, entry)),
        Kind::Folder => Err(failure(&path)(ErrorKind::IsADirectory.into()).into()),
        Kind::Link | Kind::Other => {
            Err(Reply::about(550, "", path.bytes(), ": not a regular file").into())
        }
    }
}

/// `info`.
pub fn info(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let (path, entry) = entry(session, argument)?;
    Ok(Reply::multi(213, [path.bytes(), b":"].concat(), listing::facts(&entry), "End."))
}

/// Largest file, in bytes, that SIZE reads through to count its lines.
const COUNTED: u64 = 8 * 1024 * 1024;

/// SIZE (RFC 3659 §4): the size that the client would receive, in ASCII type too.
pub fn size(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let (path, entry) = file_entry(session, argument)?;
    if !session.settings.ascii {
        return Ok(Reply::new(213, entry.size.to_string()));
    }
    if entry.size > COUNTED {
        let why = ": too large to be counted in TYPE A; send TYPE I first";
        return Err(Reply::about(550, "", path.bytes(), why).into());
    }
    let (file, _) = session.files()?.open(&path).map_err(failure(&path))?;
    let mut ascii = Ascii::new(file, LineEnds::ToNetwork);
    let size = io::copy(&mut ascii, &mut io::sink()).map_err(failure(&path))?;
    Ok(Reply::new(213, size.to_string()))
}

/// MDTM (RFC 3659 §3).
pub fn modification_time(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let (_, entry) = file_entry(session, argument)?;
    Ok(Reply::new(213, time::time_val(entry.modified).to_vec()))
}

/// MFMT (draft-somers-ftp-mfxx-04 §3), MDTM with a time, and SITE UTIME. The reply has the time that
/// the disk stored: some file systems keep only even seconds, or no year before 1980.
pub fn set_time(
    session: &mut Session,
    time: SystemTime,
    argument: &[u8],
    code: u16,
) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    let stored = session.files()?.set_modified(&path, time).map_err(failure(&path))?;
    Ok(Reply::new(code, [b"Modify=", &time::time_val(stored)[..], b"; ", path.bytes()].concat()))
}

/// SITE CHMOD.
pub fn set_mode(session: &mut Session, mode: u32, argument: &[u8]) -> Result<Reply, Failure> {
    let path = session.resolve(argument)?;
    let mode = session.files()?.set_mode(&path, mode).map_err(failure(&path))?;
    Ok(Reply::about(200, "", path.bytes(), &format!(" has permissions {mode:04o}.")))
}

/// SHA-256 as a sink for content.
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

/// The path, the length and the SHA-256 of a file's content.
fn hash_of(session: &mut Session, argument: &[u8]) -> Result<(VirtualPath, u64, String), Failure> {
    let path = session.resolve(argument)?;
    let hashed = session.run_cancellable(|files, stop| {
        let (mut file, _) = files.open(&path)?;
        let mut hasher = Hasher(Sha256::new());
        let length = transfer::pump_all(&mut file, &mut hasher, stop)?;
        Ok((length, hex::encode(hasher.0.finalize())))
    })?;
    let (length, hash) = hashed.map_err(failure(&path))?;
    Ok((path, length, hash))
}

/// HASH (draft-bryan-ftpext-hash-02 §3): the algorithm, the range of bytes, the hash, the name.
pub fn hash(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let (path, length, hash) = hash_of(session, argument)?;
    Ok(Reply::about(213, &format!("SHA-256 0-{length} {hash} "), path.bytes(), ""))
}

/// XSHA256.
pub fn hash_only(session: &mut Session, argument: &[u8]) -> Result<Reply, Failure> {
    let (_, _, hash) = hash_of(session, argument)?;
    Ok(Reply::new(250, hash))
}
