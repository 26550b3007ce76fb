//! The language: a line is parsed to a [`Command`], one `match` runs it.
//!
//! A newcomer adds a word by three neighbouring edits, led by the compiler: the variant, its arm
//! in [`run`], its spelling in [`parse`]; and a line in the table of `commands/words.rs`, from
//! which HELP and the usage replies come.

use std::io::{self, ErrorKind};
use std::time::Instant;

use crate::config::BAD_LINES;
use crate::control::{Body, Input};
use crate::reply::Reply;
use crate::session::{Failure, Notes, Pending, Session};
use crate::text;
use crate::users::Password;
use crate::vfs::Existing;

mod accounts;
mod content;
mod files;
mod rest;
mod words;

use rest::Rest;

/// What a client can ask for. Paths are arguments still, to be resolved against the folder that
/// the client is in when the command runs.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    // Accounts
    User(Vec<u8>),
    Pass(Password),
    Login(Vec<u8>, Password),
    Register {
        name: Vec<u8>,
        password: Password,
        code: Option<Vec<u8>>,
    },
    ChangePassword(Password, Password),
    Unregister(Password),
    Reinitialize,
    WhoAmI,
    Free,
    // Folders
    PrintFolder,
    ChangeFolder(Vec<u8>),
    ChangeToParent,
    List(Vec<u8>),
    MakeFolder(Vec<u8>),
    RemoveFolder(Vec<u8>),
    // Files and folders
    RemoveFile(Vec<u8>),
    RemoveTree(Vec<u8>),
    Touch(Vec<u8>),
    Copy {
        from: Vec<u8>,
        to: Vec<u8>,
        existing: Existing,
    },
    Rename {
        from: Vec<u8>,
        to: Vec<u8>,
        existing: Existing,
    },
    RenameFrom(Vec<u8>),
    RenameTo(Vec<u8>),
    Info(Vec<u8>),
    Size(Vec<u8>),
    ModificationTime(Vec<u8>),
    Hash(Vec<u8>),
    // Content
    Retrieve(Vec<u8>),
    Store(Vec<u8>, Body),
    Append(Vec<u8>, Body),
    /// A malformed line of `put`, `write` or `append`: its content follows all the same.
    Discard(Reply, Body),
    // Other
    Help(Option<Vec<u8>>),
    System,
    Noop,
    Quit,
}

/// Splits a line into its verb and what stands behind the space after it.
fn verb_and_rest(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.trim_ascii_start();
    let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    (line.get(..end).unwrap_or_default(), line.get(end + 1..).unwrap_or_default())
}

/// Reads a line. Pure: a wrong shape is 500 or 501 before anything runs.
fn parse(line: &[u8]) -> Result<Command, Reply> {
    use Command::*;
    let (verb, rest) = verb_and_rest(line);
    let Some(word) = words::find(verb) else { return Err(words::unknown(verb)) };
    let rest = Rest::new(rest, word);
    Ok(match verb.to_ascii_uppercase().as_slice() {
        b"USER" => User(rest.whole()?),
        b"PASS" => Pass(Password(rest.whole()?)),
        b"LOGIN" => rest.credentials().map(|(name, password)| Login(name, password))?,
        b"REGISTER" => {
            let ((name, password), code) = rest.credentials_and_code()?;
            Register { name, password, code }
        }
        b"PASSWD" => rest.two_passwords().map(|(old, new)| ChangePassword(old, new))?,
        b"UNREGISTER" => Unregister(rest.password()?),
        b"REIN" | b"LOGOUT" => rest.finish().map(|()| Reinitialize)?,
        b"WHOAMI" => rest.finish().map(|()| WhoAmI)?,
        b"FREE" | b"QUOTA" => rest.finish().map(|()| Free)?,

        b"PWD" | b"XPWD" => rest.finish().map(|()| PrintFolder)?,
        b"CWD" | b"XCWD" => ChangeFolder(rest.whole()?),
        b"CD" => ChangeFolder(rest.at_most_one()?.unwrap_or_else(|| b"/".to_vec())),
        b"CDUP" | b"XCUP" => rest.finish().map(|()| ChangeToParent)?,
        b"LS" | b"DIR" => {
            let (_, mut paths) = rest.flags()?;
            match paths.len() {
                0 | 1 => List(paths.pop().unwrap_or_default()),
                _ => return Err(rest.usage()),
            }
        }
        b"MKD" | b"XMKD" => MakeFolder(rest.whole()?),
        b"MKDIR" => MakeFolder(rest.one()?),
        b"RMD" | b"XRMD" => RemoveFolder(rest.whole()?),
        b"RMDIR" => RemoveFolder(rest.one()?),

        b"DELE" => RemoveFile(rest.whole()?),
        b"RM" | b"DEL" => {
            let (flags, mut paths) = rest.flags()?;
            let path = paths.pop().filter(|path| paths.is_empty() && !path.is_empty());
            match (path, flags.as_slice()) {
                (Some(path), b"") => RemoveFile(path),
                (Some(path), b"r" | b"R" | b"rf" | b"fr") => RemoveTree(path),
                _ => return Err(rest.usage()),
            }
        }
        b"TOUCH" | b"CREATE" | b"MKFILE" => Touch(rest.one()?),
        b"CP" | b"COPY" => {
            let (force, from, to) = rest.two_paths()?;
            Copy { from, to, existing: existing(force) }
        }
        b"MV" | b"RENAME" | b"REN" => {
            let (force, from, to) = rest.two_paths()?;
            Rename { from, to, existing: existing(force) }
        }
        b"RNFR" => RenameFrom(rest.whole()?),
        b"RNTO" => RenameTo(rest.whole()?),
        b"INFO" => Info(rest.one()?),
        b"SIZE" => Size(rest.whole()?),
        b"MDTM" => ModificationTime(rest.whole()?),
        b"HASH" => Hash(rest.one()?),

        b"GET" | b"CAT" | b"DOWNLOAD" => Retrieve(rest.one()?),
        b"PUT" | b"UPLOAD" | b"SEND" => content::parse_put(rest),
        b"WRITE" => content::parse_text(rest, Store),
        b"APPEND" => content::parse_text(rest, Append),

        b"HELP" | b"?" => Help(rest.at_most_one()?),
        b"SYST" => rest.finish().map(|()| System)?,
        b"NOOP" => Noop,
        b"QUIT" | b"EXIT" | b"BYE" => rest.finish().map(|()| Quit)?,
        _ => return Err(words::unknown(verb)),
    })
}

fn existing(force: bool) -> Existing {
    if force { Existing::Replace } else { Existing::Keep }
}

/// Runs a command. `Ok` is the reply that follows whatever the command has said already.
fn run(session: &mut Session, command: Command, pending: Pending) -> Result<Reply, Failure> {
    use Command::*;
    if command.needs_sign_in() && session.account().is_none() {
        if let Store(_, body) | Append(_, body) | Discard(_, body) = command {
            session.will_discard(body);
        }
        return Err(Reply::new(530, "Sign in first: login NAME PASSWORD").into());
    }
    match command {
        User(name) => accounts::user(session, name),
        Pass(password) => accounts::pass(session, &password),
        Login(name, password) => accounts::login(session, &name, &password),
        Register { name, password, code } => accounts::register(session, &name, &password, code.as_deref()),
        ChangePassword(old, new) => accounts::change_password(session, &old, &new),
        Unregister(password) => accounts::unregister(session, &password),
        Reinitialize => accounts::reinitialize(session),
        WhoAmI => accounts::who_am_i(session),
        Free => accounts::free(session),

        PrintFolder => files::print_folder(session),
        ChangeFolder(path) => files::change_folder(session, &path),
        ChangeToParent => files::change_folder(session, b".."),
        List(path) => files::list(session, &path),
        MakeFolder(path) => files::make_folder(session, &path),
        RemoveFolder(path) => files::remove_folder(session, &path),

        RemoveFile(path) => files::remove_file(session, &path),
        RemoveTree(path) => files::remove_tree(session, &path),
        Touch(path) => files::touch(session, &path),
        Copy { from, to, existing } => files::copy(session, &from, &to, existing),
        Rename { from, to, existing } => files::rename(session, &from, &to, existing),
        RenameFrom(path) => files::rename_from(session, &path),
        RenameTo(path) => files::rename_to(session, &path, pending),
        Info(path) => files::info(session, &path),
        Size(path) => files::size(session, &path),
        ModificationTime(path) => files::modification_time(session, &path),
        Hash(path) => files::hash(session, &path),

        Retrieve(path) => content::retrieve(session, &path),
        Store(path, body) => content::store(session, &path, body),
        Append(path, body) => content::append(session, &path, body),
        Discard(reply, body) => content::discard(session, reply, body),

        Help(None) => Ok(words::help()),
        Help(Some(word)) => Ok(words::help_about(&word)),
        System => Ok(Reply::new(215, "UNIX Type: L8")),
        Noop => Ok(Reply::new(200, "Nothing done, as asked.")),
        Quit => {
            session.leave();
            Ok(Reply::new(221, "Goodbye."))
        }
    }
}

impl Command {
    /// Whether it is only for somebody who has signed in.
    fn needs_sign_in(&self) -> bool {
        use Command::*;
        match self {
            User(_) | Pass(_) | Login(..) | Register { .. } | Reinitialize | WhoAmI => false,
            Help(_) | System | Noop | Quit => false,
            ChangePassword(..) | Unregister(_) | Free => true,
            PrintFolder | ChangeFolder(_) | ChangeToParent | List(_) => true,
            MakeFolder(_) | RemoveFolder(_) | RemoveFile(_) | RemoveTree(_) | Touch(_) => true,
            Copy { .. } | Rename { .. } | RenameFrom(_) | RenameTo(_) => true,
            Info(_) | Size(_) | ModificationTime(_) | Hash(_) => true,
            Retrieve(_) | Store(..) | Append(..) | Discard(..) => true,
        }
    }

    /// Whether the log tells of it also when it went well: changes and downloads do, and signing
    /// in and out; looking around does not.
    fn is_noted(&self) -> bool {
        use Command::*;
        match self {
            Pass(_) | Login(..) | Register { .. } | ChangePassword(..) | Unregister(_) => true,
            Reinitialize => true,
            MakeFolder(_) | RemoveFolder(_) | RemoveFile(_) | RemoveTree(_) | Touch(_) => true,
            Copy { .. } | Rename { .. } | RenameTo(_) => true,
            Retrieve(_) | Store(..) | Append(..) | Discard(..) => true,
            User(_) | WhoAmI | Free | PrintFolder | ChangeFolder(_) | ChangeToParent => false,
            List(_) | RenameFrom(_) | Info(_) | Size(_) | ModificationTime(_) | Hash(_) => false,
            Help(_) | System | Noop | Quit => false,
        }
    }

    /// Whether what RNFR left is there for the command after this one too.
    fn keeps_pending(&self) -> bool {
        matches!(self, Command::Noop)
    }
}

/// Serves one client: read, parse, run, reply, until QUIT or the end.
pub fn serve(mut session: Session) -> io::Result<()> {
    session.log(session.line("connect"));
    let why = match converse(&mut session) {
        Ok(why) => why.to_string(),
        Err(error) => format!("lost: {}", error.kind()),
    };
    session.log_end(&why);
    session.control().close()
}

fn converse(session: &mut Session) -> io::Result<&'static str> {
    session.say(&Reply::new(220, GREETING))?;
    let mut bad_lines = 0;
    loop {
        let input = session.discard_unread().and_then(|()| session.control().read_line());
        let (parsed, line) = match input {
            Ok(Input::Line(line)) if text::trim(&line).is_empty() => continue,
            Ok(Input::Line(line)) if is_http(&line) => {
                session.log(session.line("refused").with("why", "http").number("code", 421));
                session.say(&Reply::new(421, "This is no web server."))?;
                return Ok("http");
            }
            Ok(Input::Line(line)) => (parse(&line), line),
            Ok(Input::TooLong(start)) => (too_long(&start), start),
            Ok(Input::End) => return Ok("end of input"),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                session.say(&Reply::new(421, "Silent for too long; closing."))?;
                return Ok("idle");
            }
            Err(error) => return Err(error),
        };
        let (reply, bad) = answer(session, parsed, &line)?;
        bad_lines = if bad { bad_lines + 1 } else { 0 };
        if bad_lines == BAD_LINES {
            session.say(&Reply::new(421, "Too many lines that were no commands; closing."))?;
            return Ok("bad lines");
        }
        session.say(&reply)?;
        if session.is_leaving() {
            return Ok(if reply.code == 221 { "quit" } else { "refused content" });
        }
    }
}

const GREETING: &str = "plainftpd ready. New here? Type: register NAME PASSWORD. Type help for the commands.";

/// A browser that was tricked into posting to this port must not get far (CVE-2021-3618 and its
/// kin).
fn is_http(line: &[u8]) -> bool {
    let line = text::trim(line);
    let Some((rest, [major, b'.', minor])) = line.split_last_chunk::<3>() else { return false };
    major.is_ascii_digit() && minor.is_ascii_digit() && rest.to_ascii_uppercase().ends_with(b"HTTP/")
}

/// The answer to a line over the limit. Where it was one of the words that content follows, that
/// content must not be taken for commands.
fn too_long(start: &[u8]) -> Result<Command, Reply> {
    let reply = Reply::new(500, "The line is longer than 8 KiB; nothing of it was done.");
    let (verb, rest) = verb_and_rest(start);
    match verb.to_ascii_uppercase().as_slice() {
        b"PUT" | b"UPLOAD" | b"SEND" => Ok(Command::Discard(reply, Body::Unknown)),
        b"WRITE" | b"APPEND" if !text::trim(rest).iter().any(u8::is_ascii_whitespace) => {
            Ok(Command::Discard(reply, Body::Lines))
        }
        _ => Err(reply),
    }
}

/// Runs what was parsed and notes it; also says whether it was a bad line.
fn answer(session: &mut Session, parsed: Result<Command, Reply>, line: &[u8]) -> io::Result<(Reply, bool)> {
    let since = Instant::now();
    session.notes = Notes::default();
    let command = match parsed {
        Ok(command) => command,
        Err(reply) => {
            session.pending = Pending::Nothing;
            note(session, line, reply.code, since);
            return Ok((reply, true));
        }
    };
    let pending = match command.keeps_pending() {
        true => Pending::Nothing,
        false => std::mem::take(&mut session.pending),
    };
    let noted = command.is_noted();
    let reply = match run(session, command, pending) {
        Ok(reply) | Err(Failure::Refused(reply)) => reply,
        Err(Failure::Lost(error)) => {
            note(session, line, 426, since);
            return Err(error);
        }
    };
    if noted || reply.code >= 400 {
        note(session, line, reply.code, since);
    }
    let bad = reply.code == 530 && session.account().is_none();
    Ok((reply, bad))
}

/// One line of the log for one command.
fn note(session: &Session, typed: &[u8], code: u16, since: Instant) {
    // Of what was typed only a known word: the rest may be a password in another word's place.
    let word = words::find(verb_and_rest(typed).0).map_or("unknown", |word| word.name);
    let mut line = session.line("command").with("word", word);
    if let Some(account) = &session.notes.account {
        line = line.with("account", account);
    }
    if let Some(path) = &session.notes.path {
        line = line.with("path", path.bytes());
    }
    if let Some(to) = &session.notes.to {
        line = line.with("to", to.bytes());
    }
    if let Some(bytes) = session.notes.bytes {
        line = line.number("bytes", bytes);
    }
    let milliseconds = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    session.log(line.number("code", code.into()).number("ms", milliseconds));
}

#[cfg(test)]
mod tests;
