//! The command language: [`parse`] turns a line into a [`Command`], and [`run`] runs it.
//!
//! A new word needs a variant of [`Command`]; its arm in [`run`], which the compiler asks for; its
//! row in `commands/table.rs`; and a handler. DESIGN.md lists all steps.

use std::time::{Duration, SystemTime};

use crate::control::{InlineBody, Input, Language, LineKind};
use crate::data::HostPort;
use crate::reply::Reply;
use crate::session::{Action, Channel, Outcome, Pending, Session};
use crate::users::Password;
use crate::vfs::{Existing, Vfs};

// Each of these uses only those above it; `tests/project/layers.rs` checks that.
mod args;
mod permissions;
mod accounts;
mod administration;
mod sessions;
mod files;
mod listings;
mod transfers;
mod data_connection;
mod features;
mod table;
mod help;
mod logging;
mod serve;

use args::Args;
use permissions::Permission;
pub use serve::serve;
use table::{CommandInfo, Parser};

/// What a client can ask for. Paths are still arguments: they are resolved against the current
/// folder when the command runs.
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
    // Accounts of others
    Accounts,
    AddAccount {
        name: String,
        password: Password,
        role: String,
    },
    RemoveAccount(String),
    SetPassword(String, Password),
    // Sessions and the server
    Who,
    Kick(u64),
    Stop(Duration),
    Token(Vec<u8>),
    // Folders
    PrintFolder,
    ChangeFolder(Vec<u8>),
    List(Vec<u8>, listings::Form),
    MakeFolder(Vec<u8>),
    /// Makes a folder, and the folders above it that are missing.
    MakeFolders(Vec<u8>),
    RemoveFolder(Vec<u8>),
    // Files and folders
    RemoveFile(Vec<u8>),
    RemoveTree(Vec<u8>),
    Touch(Vec<u8>),
    /// `cp` and `mv`.
    CopyOrRename {
        action: Action,
        from: Vec<u8>,
        to: Vec<u8>,
        existing: Existing,
    },
    /// RNFR and SITE CPFR.
    Source(Action, Vec<u8>),
    /// RNTO and SITE CPTO.
    Target(Action, Vec<u8>),
    Info(Vec<u8>),
    Size(Vec<u8>),
    ModificationTime(Vec<u8>),
    SetTime(SystemTime, Vec<u8>),
    SetMode(u32, Vec<u8>),
    Hash(Vec<u8>),
    HashOnly(Vec<u8>),
    // Content
    Retrieve(Vec<u8>, Channel),
    Store(Vec<u8>, Channel),
    /// STOU; an empty name lets the server choose one.
    StoreUnique(Vec<u8>),
    Append(Vec<u8>, Channel),
    Allocate(u64),
    Restart(u64),
    Abort,
    // How content travels
    Representation {
        ascii: bool,
    },
    Passive,
    /// EPSV, with the address family.
    ExtendedPassive(Option<u64>),
    /// EPSV ALL.
    ExtendedPassiveOnly,
    Active(HostPort),
    // Other
    Help(Option<Vec<u8>>),
    SiteHelp,
    Features,
    OptionsFacts(Vec<u8>),
    /// STAT without a path.
    Status,
    /// A command that has the same reply each time and changes nothing.
    Answer(u16, &'static str),
    Noop,
    Quit,
}

/// What a parser makes of a command's arguments: the command, or the reply that refuses the line.
type Parsed = Result<Command, Reply>;

/// A line that was read and parsed.
#[derive(Debug)]
struct Request {
    /// The row of the table, if the line begins with a spelling of it.
    info: Option<&'static CommandInfo>,
    command: Parsed,
    /// The content that follows the line.
    body: Option<InlineBody>,
}

/// What the control connection must know about the language.
pub const LANGUAGE: Language = Language { is_ftp_verb: table::is_ftp_verb, classify };

/// Says what a line means to a transfer in progress.
fn classify(input: &Input) -> LineKind {
    let Some(request) = read(input) else { return LineKind::Other };
    match (request.command, request.body) {
        (_, Some(InlineBody::UntilDot | InlineBody::Length(_) | InlineBody::Unknown)) => {
            LineKind::WithContent
        }
        (Ok(Command::Abort), _) => LineKind::Abort,
        (Ok(Command::Status), _) => LineKind::Status,
        (Ok(Command::Quit), _) => LineKind::Quit,
        _ => LineKind::Other,
    }
}

/// Parses the input of the control connection, if it is a line.
fn read(input: &Input) -> Option<Request> {
    match input {
        Input::Line(line) if line.contains(&b'\r') => {
            // Some servers take such a CR for the end of the line. It would be wrong to run a part
            // of the line, and to store a name that such servers cannot fetch.
            let text =
                "There is a CR inside the line; lines end with CRLF or LF. Nothing was done.";
            Some(Request { command: Err(Reply::new(501, text)), ..parse(line, false) })
        }
        Input::Line(line) => Some(parse(line, false)),
        Input::TooLong(start) => {
            let text = "The line is longer than 8 KiB; it was not run.";
            Some(Request { command: Err(Reply::new(500, text)), ..parse(start, true) })
        }
        Input::Cancel | Input::End => None,
    }
}

/// Finds the row of a line, and lets the row's parser read the arguments. Pure: a malformed line is
/// 500 or 501 before anything runs. `is_cut` says that the end of the line is missing.
#[inline(never)] // otherwise its frame would be part of every handler's stack
fn parse(line: &[u8], is_cut: bool) -> Request {
    let Some(((info, spelling), bytes)) = table::find_at_start(line) else {
        let command = Err(help::unknown(args::split_word(line).0));
        return Request { info: None, command, body: None };
    };
    let args = Args { bytes, spelling, expected: info.arguments, is_cut };
    let (command, body) = match info.parser {
        Parser::Alone(command) => (args.expect_none().map(|()| command()), None),
        Parser::RestOfLine(command) => (args.rest_of_line().map(command), None),
        Parser::OneWord(command) => (args.single().map(command), None),
        Parser::Line(parse) => (parse(args), None),
        Parser::WithContent(parse) => {
            let (command, body) = parse(args);
            (command, Some(body))
        }
        Parser::Refuse => {
            let reply = Reply::new(502, format!("{spelling} is {}.", info.purpose));
            (Err(reply.because(info.purpose)), None)
        }
    };
    Request { info: Some(info), command, body }
}

impl Request {
    /// The permission that a client needs to send the line: that of its row, unless the row has
    /// another form which needs another one.
    fn needs(&self) -> Permission {
        match self.command {
            Ok(Command::SetTime(..)) => Permission::Change,
            Ok(Command::List(..)) => Permission::Read,
            _ => self.info.map_or(Permission::Nothing, |info| info.needs),
        }
    }
}

/// Runs a command. Returns its last reply.
fn run(session: &mut Session, command: Command, pending: Pending) -> Outcome {
    use Command::*;
    match command {
        User(name) => accounts::user(session, name),
        Pass(password) => accounts::pass(session, &password, pending),
        Login(name, password) => accounts::login(session, &name, &password),
        Register { name, password, code } => {
            accounts::register(session, &name, &password, code.as_deref())
        }
        ChangePassword(old, new) => accounts::change_password(session, &old, &new),
        Unregister(password) => accounts::unregister(session, &password),
        Reinitialize => accounts::reinitialize(session),
        WhoAmI => accounts::who_am_i(session),
        Free => accounts::free(session),

        Accounts => administration::list(session),
        AddAccount { name, password, role } => administration::add(session, &name, password, &role),
        RemoveAccount(name) => administration::remove(session, &name),
        SetPassword(name, password) => administration::set_password(session, &name, password),

        Who => sessions::who(session),
        Kick(number) => sessions::kick(session, number),
        Stop(wait) => sessions::stop(session, wait),
        Token(token) => sessions::token(session, &token),

        PrintFolder => files::print_folder(session),
        ChangeFolder(path) => files::change_folder(session, &path),
        List(path, form) => listings::list(session, &path, form),
        MakeFolder(path) => files::make_folder(session, &path),
        MakeFolders(path) => files::make_folders(session, &path),
        RemoveFolder(path) => files::remove(session, &path, Vfs::remove_folder, " removed."),

        RemoveFile(path) => files::remove(session, &path, Vfs::remove_file, " removed."),
        RemoveTree(path) => {
            files::remove(session, &path, Vfs::remove_tree, " removed, with everything in it.")
        }
        Touch(path) => files::touch(session, &path),
        CopyOrRename { action, from, to, existing } => {
            files::copy_or_rename(session, action, &from, &to, existing)
        }
        Source(action, path) => files::source(session, action, &path),
        Target(action, path) => files::target(session, action, &path, pending),
        Info(path) => files::info(session, &path),
        Size(path) => files::size(session, &path),
        ModificationTime(path) => files::modification_time(session, &path),
        SetTime(time, path) => files::set_time(session, time, &path),
        SetMode(mode, path) => files::set_mode(session, mode, &path),
        Hash(path) => files::hash(session, &path, false),
        HashOnly(path) => files::hash(session, &path, true),

        Retrieve(path, channel) => transfers::retrieve(session, &path, channel, pending),
        Store(path, channel) => transfers::store(session, &path, channel, pending),
        StoreUnique(name) => transfers::store_unique(session, &name),
        Append(path, channel) => transfers::append(session, &path, channel, pending),
        Allocate(bytes) => transfers::allocate(session, bytes),
        Restart(offset) => transfers::restart(session, offset),
        Abort => data_connection::abort(session),

        Representation { ascii } => data_connection::representation(session, ascii),
        Passive => data_connection::passive(session),
        ExtendedPassive(family) => data_connection::extended_passive(session, family),
        ExtendedPassiveOnly => data_connection::extended_passive_only(session),
        Active(place) => data_connection::active(session, place),

        Features => features::features(session),
        OptionsFacts(facts) => features::options_facts(session, &facts),
        Status => features::status(session),
        Answer(code, text) => Ok(Reply::new(code, text)),
        SiteHelp => Ok(help::site_help()),
        Help(None) => Ok(help::help()),
        Help(Some(word)) => Ok(help::help_about(&word)),
        Noop => Ok(Reply::new(200, "Nothing done, as asked.")),
        Quit => {
            session.leaving = true;
            Ok(Reply::new(221, "Goodbye."))
        }
    }
}

impl Command {
    /// Whether a command that needs this permission is logged if it succeeds. Changes, downloads,
    /// logins and logouts are; listings and questions are not. Failures are always logged.
    fn is_logged(&self, needs: Permission) -> bool {
        use Command::*;
        match self {
            Source(..) => false, // changes nothing yet
            Pass(_) | Login(..) | Register { .. } | Reinitialize | Retrieve(..) => true,
            _ => !matches!(needs, Permission::Nothing | Permission::LoggedIn | Permission::Read),
        }
    }

    /// Whether the command keeps what RNFR or REST has left for the next command.
    fn keeps_pending(&self) -> bool {
        use Command::*;
        matches!(
            self,
            Noop | Representation { .. }
                | Passive
                | ExtendedPassive(_)
                | ExtendedPassiveOnly
                | Active(_)
        )
    }
}

#[cfg(test)]
mod tests;
