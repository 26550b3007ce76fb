//! The language: a line is parsed to a [`Command`], one `match` runs it.
//!
//! A newcomer adds a word by three neighbouring edits, led by the compiler: the variant, its arm
//! in [`run`], its spelling in [`parse`]; and a line in the table of `commands/words.rs`, from
//! which HELP and the usage replies come.

use std::io::{self, ErrorKind};
use std::time::{Instant, SystemTime};

use crate::config::{BAD_LINES, LINE_LIMIT};
use crate::control::{Body, Input, Language, LineKind};
use crate::data::{self, HostPort};
use crate::reply::Reply;
use crate::session::{Failure, LogShare, Notes, Pending, Session, Via};
use crate::text;
use crate::users::Password;
use crate::vfs::Existing;

mod accounts;
mod content;
mod features;
mod files;
mod lists;
mod note;
mod rest;
mod rights;
mod setup;
mod words;

use note::{Outcome, note};
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
    List(Vec<u8>, lists::Form),
    MakeFolder(Vec<u8>),
    /// A folder, and those above it that are missing.
    MakeFolders(Vec<u8>),
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
    /// MDTM with a time and a path, which may also be the name of a file to ask about.
    TimeOrSetTime {
        time: SystemTime,
        path: Vec<u8>,
        whole: Vec<u8>,
    },
    SetTime {
        time: SystemTime,
        path: Vec<u8>,
        code: u16,
    },
    SetMode(u32, Vec<u8>),
    CopyFrom(Vec<u8>),
    CopyTo(Vec<u8>),
    Hash(Vec<u8>),
    HashOnly(Vec<u8>),
    // Content
    Retrieve(Vec<u8>, Via<()>),
    Store(Vec<u8>, Via<Body>),
    StoreUnique(Option<Vec<u8>>),
    Append(Vec<u8>, Via<Body>),
    Allocate(u64),
    Restart(u64),
    Abort,
    // How content travels
    Representation {
        ascii: bool,
    },
    Passive,
    ExtendedPassive(setup::Family),
    Active(HostPort),
    /// A malformed line of `put`, `write` or `append`: its content follows all the same.
    Discard(Reply, Body),
    // Other
    Help(Option<Vec<u8>>),
    SiteHelp,
    Features,
    OptionsFacts(Vec<u8>),
    Status(Option<Vec<u8>>),
    /// What is so already, or changes nothing.
    Confirm(&'static str),
    /// MODE or STRU with what is so already.
    ConfirmTransferForm(&'static str),
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

/// What the control connection must know of the language.
pub const LANGUAGE: Language = Language { is_ftp_verb: words::is_ftp_verb, classify };

/// What a line is to a transfer that goes on.
fn classify(input: &Input) -> LineKind {
    let parsed = match input {
        Input::Line(line) => parse(line),
        Input::TooLong(start) => too_long(start),
        Input::Cancel | Input::End => return LineKind::Other,
    };
    match parsed {
        Ok(Command::Abort) => LineKind::Abort,
        Ok(Command::Status(None)) => LineKind::Status,
        Ok(Command::Quit) => LineKind::Quit,
        Ok(command) => match command.into_content() {
            Some(Body::Line(_)) | None => LineKind::Other,
            Some(_) => LineKind::WithContent,
        },
        Err(_) => LineKind::Other,
    }
}

/// Reads a line. Pure: a wrong shape is 500 or 501 before anything runs.
#[inline(never)] // or its frame would be part of every handler's stack
fn parse(line: &[u8]) -> Result<Command, Reply> {
    let parsed = parse_words(line);
    if !line.contains(&b'\r') {
        return parsed;
    }
    // Some servers take such a CR for the line's end. To run a part of the line, or to store a name
    // that they cannot fetch, would both be wrong.
    let reply =
        Reply::new(501, "There is a CR inside the line; lines end with CRLF or LF. Nothing was done.");
    match parsed.ok().and_then(Command::into_content) {
        None | Some(Body::Line(_)) => Err(reply),
        Some(body) => Ok(Command::Discard(reply, body)),
    }
}

fn parse_words(line: &[u8]) -> Result<Command, Reply> {
    use Command::*;
    let (verb, rest) = verb_and_rest(line);
    let Some(typed) = words::find(verb) else { return Err(words::unknown(verb)) };
    let rest = Rest::new(rest, typed);
    Ok(match verb.to_ascii_uppercase().as_slice() {
        b"SITE" => return parse_site(rest),
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
        b"FREE" | b"QUOTA" | b"DF" => rest.finish().map(|()| Free)?,

        b"PWD" | b"XPWD" => rest.finish().map(|()| PrintFolder)?,
        b"CWD" | b"XCWD" => ChangeFolder(rest.whole()?),
        b"CD" | b"CHDIR" => ChangeFolder(rest.at_most_one()?.unwrap_or_else(|| b"/".to_vec())),
        b"CDUP" | b"XCUP" | b"CD.." => rest.finish().map(|()| ChangeToParent)?,
        b"LS" | b"DIR" => {
            let (flags, mut paths) = rest.flags()?;
            // All is listed in the long form anyway.
            let odd_flags = flags.iter().any(|flag| !b"alA1".contains(flag));
            match paths.len() {
                0 | 1 => List(paths.pop().unwrap_or_default(), lists::Form::ByHand { odd_flags }),
                _ => return Err(rest.too_many()),
            }
        }
        b"LIST" => List(rest.path_behind_flags()?, lists::Form::Long),
        b"NLST" => List(rest.path_behind_flags()?, lists::Form::Names),
        b"MLSD" => List(rest.path_or_none()?, lists::Form::Facts),
        b"MLST" => List(rest.path_or_none()?, lists::Form::FactsOfOne),
        b"STAT" if text::trim(rest.raw()).is_empty() => Status(None),
        b"STAT" => Status(Some(rest.path_behind_flags()?)),
        b"MKD" | b"XMKD" => MakeFolder(rest.whole()?),
        b"MKDIR" | b"MD" => match rest.flags_and_path(&[b"p"])? {
            (flags, path) if flags.is_empty() => MakeFolder(path),
            (_, path) => MakeFolders(path),
        },
        b"RMD" | b"XRMD" => RemoveFolder(rest.whole()?),
        b"RMDIR" | b"RD" => RemoveFolder(rest.one()?),

        b"DELE" => RemoveFile(rest.whole()?),
        b"RM" | b"DEL" | b"DELETE" => match rest.flags_and_path(&[b"f", b"r", b"R", b"rf", b"fr"])? {
            (flags, path) if matches!(flags.as_slice(), b"" | b"f") => RemoveFile(path),
            (_, path) => RemoveTree(path),
        },
        b"TOUCH" | b"CREATE" | b"MKFILE" => Touch(rest.one()?),
        b"CP" | b"COPY" => {
            let (force, from, to) = rest.two_paths()?;
            Copy { from, to, existing: existing(force) }
        }
        b"MV" | b"MOVE" | b"RENAME" | b"REN" => {
            let (force, from, to) = rest.two_paths()?;
            Rename { from, to, existing: existing(force) }
        }
        b"RNFR" => RenameFrom(rest.whole()?),
        b"RNTO" => RenameTo(rest.whole()?),
        b"INFO" => Info(rest.one()?),
        b"SIZE" => Size(rest.whole()?),
        b"MDTM" => match rest.time_and_path() {
            Ok((time, path)) => TimeOrSetTime { time, path, whole: rest.whole()? },
            Err(_) => ModificationTime(rest.whole()?),
        },
        b"MFMT" => rest.time_and_path().map(|(time, path)| SetTime { time, path, code: 213 })?,
        b"HASH" => Hash(rest.whole_or_quoted()?),
        b"XSHA256" => HashOnly(rest.whole_or_quoted()?),

        b"GET" | b"CAT" | b"DOWNLOAD" | b"MORE" | b"LESS" => Retrieve(rest.one()?, Via::Inline(())),
        b"PUT" | b"UPLOAD" | b"SEND" => content::parse_put(rest),
        b"WRITE" => content::parse_text(rest, Store),
        b"APPEND" => content::parse_text(rest, Append),
        b"RETR" => Retrieve(rest.whole()?, Via::Data),
        b"STOR" => Store(rest.whole()?, Via::Data),
        b"APPE" => Append(rest.whole()?, Via::Data),
        b"STOU" => StoreUnique(Some(rest.path_or_none()?).filter(|name| !name.is_empty())),
        b"ALLO" => Allocate(rest.first_number()?),
        b"REST" => Restart(rest.first_number()?),
        b"ABOR" => Abort,

        b"TYPE" => Representation { ascii: setup::parse_type(rest)? },
        b"MODE" => setup::parse_only(rest, b"S", "MODE is S.")?,
        b"STRU" => setup::parse_only(rest, b"F", "STRU is F.")?,
        b"PASV" => rest.finish().map(|()| Passive)?,
        b"EPSV" => ExtendedPassive(setup::parse_family(rest)?),
        b"PORT" => Active(data::parse_port(&rest.whole()?).ok_or_else(|| rest.usage())?),
        b"EPRT" => Active(data::parse_eprt(&rest.whole()?).ok_or_else(|| rest.usage())?),

        b"HELP" | b"?" => Help(Some(rest.words()?.join(&b' ')).filter(|word| !word.is_empty())),
        b"FEAT" => rest.finish().map(|()| Features)?,
        b"OPTS" => features::parse_options(rest)?,
        b"CLNT" => Confirm("Noted."),
        b"LANG" => features::parse_language(rest)?,
        b"ACCT" | b"SMNT" | b"AUTH" | b"ADAT" | b"PBSZ" | b"PROT" | b"CCC" | b"MIC" | b"CONF" | b"ENC"
        | b"HOST" => {
            return Err(features::refused(verb));
        }
        b"SYST" => rest.finish().map(|()| System)?,
        b"NOOP" => Noop,
        b"QUIT" | b"EXIT" | b"BYE" => rest.finish().map(|()| Quit)?,
        _ => return Err(words::unknown(verb)),
    })
}

/// Reads what follows SITE.
fn parse_site(rest: Rest<'_>) -> Result<Command, Reply> {
    use Command::*;
    let (verb, rest) = verb_and_rest(rest.raw());
    let Some(typed) = words::find_site(verb) else {
        return Err(Reply::new(500, "Unknown SITE command. SITE HELP lists them."));
    };
    let rest = Rest::new(rest, typed);
    Ok(match verb.to_ascii_uppercase().as_slice() {
        b"HELP" => SiteHelp,
        b"REGISTER" => {
            let ((name, password), code) = rest.credentials_and_code()?;
            Register { name, password, code }
        }
        b"PASSWD" => rest.two_passwords().map(|(old, new)| ChangePassword(old, new))?,
        b"UNREGISTER" => Unregister(rest.password()?),
        b"CPFR" => CopyFrom(rest.whole()?),
        b"CPTO" => CopyTo(rest.whole()?),
        b"COPY" => {
            let (force, from, to) = rest.two_paths()?;
            Copy { from, to, existing: existing(force) }
        }
        b"RMDIR" | b"RD" => RemoveTree(rest.whole()?),
        b"CHMOD" => rest.mode_and_path().map(|(mode, path)| SetMode(mode, path))?,
        b"UTIME" => rest.utime().map(|(time, path)| SetTime { time, path, code: 200 })?,
        _ => return Err(words::unknown(verb)),
    })
}

fn existing(force: bool) -> Existing {
    if force { Existing::Replace } else { Existing::Keep }
}

fn sign_in_first() -> Reply {
    Reply::new(530, "Sign in first: login NAME PASSWORD")
}

/// Like [`parse`]. Before a login, what needs one is 530 with wrong arguments, too.
fn parse_for(session: &Session, line: &[u8]) -> Result<Command, Reply> {
    parse(line).map_err(|reply| match session.account() {
        None if needs_account(line) => sign_in_first(),
        _ => reply,
    })
}

/// Whether a line whose arguments are wrong begins with a word that needs an account. What the word's
/// example needs, each form of it does.
fn needs_account(line: &[u8]) -> bool {
    let example = note::word_of(line).map(|word| parse(word.example.as_bytes()));
    example.is_some_and(|parsed| parsed.is_ok_and(|command| !rights::may(None, command.needs())))
}

/// Runs a command. `Ok` is the reply that follows whatever the command has said already.
fn run(session: &mut Session, command: Command, pending: Pending) -> Result<Reply, Failure> {
    use Command::*;
    if !rights::may(session.role(), command.needs()) {
        if let Some(body) = command.into_content() {
            session.will_discard(body);
        }
        return Err(match session.role() {
            None => sign_in_first(),
            Some(_) => Reply::new(550, "This account may not do that."),
        }
        .into());
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
        List(path, form) => lists::list(session, &path, form),
        MakeFolder(path) => files::make_folder(session, &path),
        MakeFolders(path) => files::make_folders(session, &path),
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
        TimeOrSetTime { time, path, whole } => files::time_or_set_time(session, time, &path, &whole),
        SetTime { time, path, code } => files::set_time(session, time, &path, code),
        SetMode(mode, path) => files::set_mode(session, mode, &path),
        CopyFrom(path) => files::copy_from(session, &path),
        CopyTo(path) => files::copy_to(session, &path, pending),
        Hash(path) => files::hash(session, &path),
        HashOnly(path) => files::hash_only(session, &path),

        Retrieve(path, via) => content::retrieve(session, &path, via, pending),
        Store(path, via) => content::store(session, &path, via, pending),
        StoreUnique(name) => content::store_unique(session, name.as_deref()),
        Append(path, via) => content::append(session, &path, via, pending),
        Allocate(bytes) => content::allocate(session, bytes),
        Restart(offset) => content::restart(session, offset),
        Abort => setup::abort(session),
        Discard(reply, body) => content::discard(session, reply, body),

        Representation { ascii } => setup::representation(session, ascii),
        Passive => setup::passive(session),
        ExtendedPassive(family) => setup::extended_passive(session, family),
        Active(place) => setup::active(session, place),

        Features => features::features(session),
        OptionsFacts(facts) => features::options_facts(session, &facts),
        Status(None) => features::status(session),
        Status(Some(path)) => lists::list(session, &path, lists::Form::Status),
        Confirm(text) | ConfirmTransferForm(text) => Ok(Reply::new(200, text)),
        SiteHelp => Ok(words::site_help()),
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
    /// Whether the log tells of it also when it went well: changes and downloads do, and signing
    /// in and out; looking around does not.
    fn is_noted(&self) -> bool {
        use Command::*;
        match self {
            Pass(_) | Login(..) | Register { .. } | ChangePassword(..) | Unregister(_) => true,
            Reinitialize => true,
            MakeFolder(_) | MakeFolders(_) | RemoveFolder(_) | RemoveFile(_) | RemoveTree(_) => true,
            Touch(_) => true,
            Copy { .. } | CopyTo(_) | Rename { .. } | RenameTo(_) | SetTime { .. } | SetMode(..) => true,
            Retrieve(..) | Store(..) | StoreUnique(_) | Append(..) | Discard(..) => true,
            TimeOrSetTime { .. } => true,
            User(_) | WhoAmI | Free | PrintFolder | ChangeFolder(_) | ChangeToParent => false,
            List(..) | RenameFrom(_) | CopyFrom(_) | Info(_) | Size(_) | ModificationTime(_) => false,
            Hash(_) | HashOnly(_) | Allocate(_) | Restart(_) | Abort => false,
            Representation { .. } | Passive | ExtendedPassive(_) | Active(_) => false,
            Help(_) | SiteHelp | Features | OptionsFacts(_) | Status(_) => false,
            Confirm(_) | ConfirmTransferForm(_) | System | Noop | Quit => false,
        }
    }

    /// The content over the control connection that belongs to it.
    fn into_content(self) -> Option<Body> {
        use Command::*;
        match self {
            Store(_, Via::Inline(body)) | Append(_, Via::Inline(body)) | Discard(_, body) => Some(body),
            _ => None,
        }
    }

    /// Whether what RNFR or REST left is there for the command after this one too.
    fn keeps_pending(&self) -> bool {
        use Command::*;
        matches!(self, Noop | Representation { .. } | Passive | ExtendedPassive(_) | Active(_))
    }
}

/// Serves one client: read, parse, run, reply, until QUIT or the end.
pub fn serve(mut session: Box<Session>) -> io::Result<()> {
    session.log_connect();
    let ended = converse(&mut session);
    match &ended {
        Ok(why) => session.log_end(why),
        Err(error) => session.log_end(&format!("lost: {}", error.kind())),
    }
    match ended {
        Ok(QUIT | END_OF_INPUT) | Err(_) => session.control().close(),
        Ok(_) => session.control().close_patiently(),
    }
}

// Why a session ends, where that is the client's wish.
const QUIT: &str = "quit";
const END_OF_INPUT: &str = "end of input";

/// Returns why the session ends.
fn converse(session: &mut Session) -> io::Result<&'static str> {
    session.say(&Reply::new(220, GREETING))?;
    let mut bad_lines = 0;
    loop {
        let input = session.discard_unread().and_then(|()| session.control().read_line());
        let (parsed, line) = match input {
            Ok(Input::Line(line)) if line.iter().all(|byte| matches!(byte, b' ' | b'\t')) => continue,
            Ok(Input::Line(line) | Input::TooLong(line)) if session.account().is_none() && is_http(&line) => {
                let refused = session.line("refused").with("why", "http").number("code", 421);
                session.log(refused, LogShare::StrangerOnce);
                session.say(&Reply::new(421, "This is no web server."))?;
                return Ok("http");
            }
            Ok(Input::Line(line)) => (parse_for(session, &line), line),
            Ok(Input::TooLong(start)) => (too_long(&start), start),
            Ok(Input::End | Input::Cancel) => return Ok(END_OF_INPUT),
            Err(error) if error.kind() == ErrorKind::TimedOut && session.is_overdue() => {
                return overdue(session);
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                say_time_is_up(session, "Silent for too long; closing.")?;
                return Ok("idle");
            }
            Err(error) => return Err(error),
        };
        if session.is_overdue() {
            return overdue(session);
        }
        let answered = answer(session, parsed, &line);
        session.notes = Notes::default();
        drop(line);
        let (reply, bad) = answered?;
        bad_lines = if bad && session.account().is_none() { bad_lines + 1 } else { 0 };
        if bad_lines == BAD_LINES {
            session.say(&Reply::new(421, "Too many lines that were no commands; closing."))?;
            return Ok("bad lines");
        }
        session.say(&reply)?;
        if session.is_leaving() {
            return Ok(match reply.code {
                221 => QUIT,
                421 => "turned out",
                _ => "refused content",
            });
        }
    }
}

/// Strangers have a time-out of their own, whatever they say in it.
fn overdue(session: &mut Session) -> io::Result<&'static str> {
    say_time_is_up(session, "Not signed in in time; closing.")?;
    Ok("not signed in")
}

/// Says that a timeout has passed. A client that sends its lines without their ends waits for an
/// answer, and must hear why there is none.
fn say_time_is_up(session: &mut Session, text: &'static str) -> io::Result<()> {
    let reply = Reply::new(421, text);
    let reply = match session.control().is_inside_line() {
        true => reply.and(" Your last line has no end; send a newline after each command."),
        false => reply,
    };
    session.say(&reply)
}

const GREETING: &str = "plainftpd ready. New here? Type: register NAME PASSWORD. Type help for the commands.";

/// A browser that was tricked into posting to this port must not get far (CVE-2021-3618 and its
/// kin). Only before a login: a browser has none, and a person may write such a line into a file.
fn is_http(line: &[u8]) -> bool {
    const METHODS: [&str; 10] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI"];
    let (method, target) = verb_and_rest(line);
    if !METHODS.iter().any(|known| known.as_bytes() == method) {
        return false;
    }
    if line.len() == LINE_LIMIT {
        // Its end was thrown away; its beginning says enough.
        return target.starts_with(b"/");
    }
    let Some((rest, [major, b'.', minor])) = text::trim(target).split_last_chunk::<3>() else { return false };
    major.is_ascii_digit() && minor.is_ascii_digit() && rest.ends_with(b"HTTP/")
}

/// The answer to a line over the limit. Where it was one of the words that content follows, that
/// content must not be taken for commands.
fn too_long(start: &[u8]) -> Result<Command, Reply> {
    let reply = Reply::new(500, "The line is longer than 8 KiB; nothing of it was done.");
    let (verb, rest) = verb_and_rest(start);
    let Some(typed) = words::find(verb) else { return Err(reply) };
    match typed.word.name {
        "put" => Ok(Command::Discard(reply, Body::Unknown)),
        "write" | "append" => match content::what_follows_text(Rest::new(rest, typed)) {
            Body::Line(_) => Err(reply),
            body => Ok(Command::Discard(reply, body)),
        },
        _ => Err(reply),
    }
}

/// Runs what was parsed and notes it; also says whether it was a bad line.
fn answer(session: &mut Session, parsed: Result<Command, Reply>, line: &[u8]) -> io::Result<(Reply, bool)> {
    let since = Instant::now();
    let had_account = session.account().is_some();
    let command = match parsed {
        Ok(command) => command,
        Err(reply) => {
            session.pending = Pending::Nothing;
            note(session, line, &Outcome { code: reply.code, why: reply.why(), since, had_account });
            let bad = matches!(reply.code, 500 | 501 | 530);
            return Ok((reply, bad));
        }
    };
    let pending = match command.keeps_pending() {
        true => Pending::Nothing,
        false => std::mem::take(&mut session.pending),
    };
    let noted = command.is_noted();
    let reply = match run(session, command, pending) {
        Ok(reply) | Err(Failure::Refused(reply)) => reply,
        // RFC 959 §4.1.3, ABOR: 426 for the transfer, then 226 for ABOR itself.
        Err(Failure::Aborted) => {
            note(session, line, &Outcome { code: 426, why: Some("stopped by ABOR"), since, had_account });
            session.say(&Reply::new(426, "The transfer was stopped."))?;
            return Ok((Reply::new(226, "Stopped."), false));
        }
        Err(Failure::Lost(error)) => {
            let why = format!("the connection was lost: {}", error.kind());
            note(session, line, &Outcome { code: 426, why: Some(&why), since, had_account });
            return Err(error);
        }
    };
    if noted || reply.code >= 400 {
        note(session, line, &Outcome { code: reply.code, why: reply.why(), since, had_account });
    }
    let bad = reply.code == 530 && session.account().is_none();
    Ok((reply, bad))
}

#[cfg(test)]
mod tests;
