//! The table of commands: every spelling once, with the permission that it needs, its usage, its
//! example and its parser.
//!
//! Help, usage replies, hints and the log's word come from the table.

use crate::control::InlineBody;
use crate::data;
use crate::reply::Reply;
use crate::session::{Action, Channel};
use crate::users::Password;

use super::Command::{self, *};
use super::Parsed;
use super::args::{self, Args, split_word};
use super::listings::Form;
use super::permissions::Permission::{
    self, Add, Administer, Change, LoggedIn, Nothing, Own, Owner, OwnerDoor, Read,
};
use super::{
    accounts, administration, data_connection, features, files, listings, sessions, transfers,
};

/// One command: how it is spelled, explained and parsed.
#[derive(Debug)]
pub struct CommandInfo {
    pub group: Group,
    pub needs: Permission,
    /// The main spelling: in lower case for words typed by hand, in upper case for FTP verbs.
    pub name: &'static str,
    /// All spellings, the main one first.
    pub spellings: &'static [&'static str],
    /// The arguments, as a usage reply shows them.
    pub arguments: &'static str,
    /// The arguments of an example.
    example: &'static str,
    /// A phrase that says what the command does.
    pub purpose: &'static str,
    pub parser: Parser,
}

/// The parser of a command's arguments. Content follows the line only with [`Parser::WithContent`].
#[derive(Debug, Clone, Copy)]
pub enum Parser {
    /// The command has no arguments.
    Alone(fn() -> Command),
    /// Its one argument is the rest of the line, byte for byte.
    RestOfLine(fn(Vec<u8>) -> Command),
    /// Its one argument is a word, quoted as by hand.
    OneWord(fn(Vec<u8>) -> Command),
    /// The command has other arguments.
    Line(fn(Args<'_>) -> Parsed),
    /// Content follows on the control connection. A client sends it after a malformed line too, so
    /// the parser always returns which content that is.
    WithContent(fn(Args<'_>) -> (Parsed, InlineBody)),
    /// This server refuses the verb. The row's purpose says why, and no list shows it.
    Refuse,
}

/// The part of the help that shows a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Words that people type by hand.
    Hand,
    Ftp,
    /// Words that only administrators may use. `help ftp` shows them, as commands of SITE.
    Administrator,
}

const fn row(
    group: Group,
    needs: Permission,
    spellings: &'static [&'static str],
    arguments: &'static str,
    example: &'static str,
    purpose: &'static str,
    parser: Parser,
) -> CommandInfo {
    let name = match spellings {
        [name, ..] => name,
        [] => "",
    };
    CommandInfo { group, needs, name, spellings, arguments, example, purpose, parser }
}

use Group::{Administrator, Ftp, Hand};
use Parser::{Alone, Line, OneWord, Refuse, RestOfLine, WithContent};

/// Every command that the server knows: group, permission, spellings, arguments, example, purpose,
/// parser.
#[rustfmt::skip]
pub const COMMANDS: &[CommandInfo] = &[
    row(Hand, Nothing, &["register", "SITE REGISTER"], "NAME PASSWORD [CODE]", "alice wonderland",
        "create an account and log in", Line(accounts::parse_register)),
    row(Hand, Nothing, &["login"], "NAME PASSWORD", "alice wonderland",
        "log in", Line(accounts::parse_login)),
    row(Hand, Nothing, &["logout"], "", "",
        "log out, stay connected", Alone(|| Reinitialize)),
    row(Hand, Own, &["passwd", "SITE PASSWD"], "OLD NEW", "wonderland looking-glass",
        "change your password", Line(accounts::parse_passwd)),
    row(Hand, Own, &["unregister", "SITE UNREGISTER"], "PASSWORD", "wonderland",
        "delete your account and your folder", OneWord(|word| Unregister(Password(word)))),
    row(Hand, Nothing, &["whoami"], "", "",
        "who you are and where", Alone(|| WhoAmI)),
    row(Hand, LoggedIn, &["free", "quota", "df"], "", "",
        "space used and left", Alone(|| Free)),

    row(Hand, LoggedIn, &["pwd", "XPWD"], "", "",
        "the current folder", Alone(|| PrintFolder)),
    row(Hand, LoggedIn, &["cd", "chdir"], "[DIR]", "docs",
        "go to a folder; without DIR, or with ~, to your top folder",
        Line(|args| Ok(ChangeFolder(args.at_most_one(args.words()?)?.unwrap_or(b"/".to_vec()))))),
    row(Hand, Read, &["ls", "dir"], "[DIR or PATTERN]", "*.txt",
        "list a folder", Line(listings::parse_ls)),
    row(Hand, Add, &["mkdir", "md"], "[-p] DIR", "-p docs/2026",
        "make a folder; with -p also the folders above it that are missing",
        Line(files::parse_mkdir)),
    row(Hand, Change, &["rmdir", "rd"], "DIR", "docs",
        "remove an empty folder", OneWord(RemoveFolder)),

    row(Hand, Change, &["rm", "del", "delete"], "[-r] PATH", "-r docs",
        "remove a file; with -r also a folder with everything in it", Line(files::parse_rm)),
    row(Hand, Change, &["touch", "create", "mkfile"], "FILE", "new.txt",
        "create an empty file, or set a file's time to now", OneWord(Touch)),
    row(Hand, Change, &["cp", "copy", "SITE COPY"], "[-f] FROM TO",
        "notes.txt \"copy of notes.txt\"",
        "copy a file or a folder; -f replaces a file",
        Line(|args| files::parse_copy_or_rename(args, Action::Copy))),
    row(Hand, Change, &["mv", "move", "rename", "ren"], "[-f] FROM TO", "notes.txt docs/",
        "rename or move; -f replaces a file",
        Line(|args| files::parse_copy_or_rename(args, Action::Rename))),
    row(Hand, Read, &["info"], "PATH", "notes.txt",
        "size, time and kind", OneWord(Info)),
    row(Hand, Read, &["hash"], "FILE", "notes.txt",
        "the content's SHA-256", Line(|args| args.rest_of_line_or_quoted().map(Hash))),

    row(Hand, Read, &["get", "cat", "download", "more", "less"], "FILE", "notes.txt",
        "show or fetch a file: a line with its size in bytes, then the bytes",
        OneWord(|path| Retrieve(path, Channel::Inline))),
    row(Hand, Add, &["put", "upload", "send"], "FILE [SIZE]", "photo.jpg 48211",
        "store SIZE bytes that follow; without SIZE, what you type, up to a line with only \".\"",
        WithContent(transfers::parse_put)),
    row(Hand, Add, &["write"], "FILE [TEXT]", "notes.txt buy milk",
        "store the text; without it, what you type, up to a line with only \".\"",
        WithContent(|args| transfers::parse_text(args, Store))),
    row(Hand, Change, &["append"], "FILE [TEXT]", "notes.txt and bread",
        "add text at the end of a file, in place; otherwise like write",
        WithContent(|args| transfers::parse_text(args, Append))),

    row(Hand, Nothing, &["help", "?"], "[WORD]", "put",
        "the list of words; more about WORD; with ftp, the list of FTP verbs",
        Line(features::parse_help)),
    row(Hand, Nothing, &["quit", "exit", "bye"], "", "",
        "leave", Alone(|| Quit)),

    row(Administrator, Administer, &["users", "SITE USERS"], "", "",
        "for administrators: the accounts", Alone(|| Accounts)),
    row(Administrator, Administer, &["useradd", "SITE USERADD"], "NAME PASSWORD [ROLE]",
        "bob wonderland readonly",
        "for administrators: add an account, with the files that the folder NAME has",
        Line(administration::parse_add)),
    row(Administrator, Administer, &["userdel", "SITE USERDEL"], "NAME", "bob",
        "for administrators: remove an account; its files stay",
        OneWord(|word| RemoveAccount(administration::text(word)))),
    row(Administrator, Administer, &["userpass", "SITE USERPASS"], "NAME PASSWORD",
        "bob looking-glass",
        "for administrators: give an account another password",
        Line(administration::parse_password)),
    row(Administrator, Administer, &["who", "SITE WHO"], "", "",
        "for administrators: each session, its account, its address and what it does",
        Alone(|| Who)),
    row(Administrator, Administer, &["kick", "SITE KICK"], "SESSION", "7",
        "for administrators: end a session", Line(sessions::parse_kick)),
    row(Administrator, Owner, &["stop"], "[SECONDS]", "10",
        "for the owner: stop the server; transfers may go on for SECONDS",
        Line(sessions::parse_stop)),
    row(Administrator, OwnerDoor, &["token"], "TOKEN", "00ff",
        "for the owner: log in with the token of the file control", OneWord(Token)),

    row(Ftp, Nothing, &["USER"], "NAME", "alice",
        "the name for a login; PASS follows", RestOfLine(User)),
    row(Ftp, Nothing, &["PASS"], "PASSWORD", "wonderland",
        "the password of USER", Line(accounts::parse_pass)),
    row(Ftp, Nothing, &["REIN"], "", "",
        "log out, stay connected", Alone(|| Reinitialize)),
    row(Ftp, LoggedIn, &["CWD", "XCWD"], "DIR", "my docs",
        "go to a folder", RestOfLine(ChangeFolder)),
    row(Ftp, LoggedIn, &["CDUP", "XCUP", "cd.."], "", "",
        "go to the folder above", Alone(|| ChangeFolder(b"..".to_vec()))),
    row(Ftp, Add, &["MKD", "XMKD"], "DIR", "my docs",
        "make a folder", RestOfLine(MakeFolder)),
    row(Ftp, Change, &["RMD", "XRMD"], "DIR", "my docs",
        "remove an empty folder", RestOfLine(RemoveFolder)),
    row(Ftp, Change, &["DELE"], "FILE", "my notes.txt",
        "remove a file", RestOfLine(RemoveFile)),
    row(Ftp, Change, &["RNFR"], "PATH", "my notes.txt",
        "what RNTO will rename", RestOfLine(|path| Source(Action::Rename, path))),
    row(Ftp, Change, &["RNTO"], "PATH", "your notes.txt",
        "its new name", RestOfLine(|path| Target(Action::Rename, path))),
    row(Ftp, Read, &["SIZE"], "FILE", "my notes.txt",
        "a file's size in bytes", RestOfLine(Size)),
    row(Ftp, Read, &["MDTM"], "[YYYYMMDDHHMMSS] FILE", "my notes.txt",
        "a file's time in UTC; with a time before FILE, sets it", Line(files::parse_mdtm)),
    row(Ftp, Change, &["MFMT"], "YYYYMMDDHHMMSS PATH", "20261123201900 my notes.txt",
        "set a time", Line(|args| args.time_and_path().map(|(time, path)| SetTime(time, path)))),
    row(Ftp, Read, &["XSHA256"], "FILE", "my notes.txt",
        "the content's SHA-256 alone", Line(|args| args.rest_of_line_or_quoted().map(HashOnly))),
    row(Ftp, LoggedIn, &["TYPE"], "A or I", "I",
        "convert line endings (A), or leave all bytes as they are (I)",
        Line(data_connection::parse_type)),
    row(Ftp, LoggedIn, &["MODE"], "S", "S",
        "stream mode, the only one",
        Line(|args| data_connection::parse_only(args, b"S", "MODE is S."))),
    row(Ftp, LoggedIn, &["STRU"], "F", "F",
        "file structure, the only one",
        Line(|args| data_connection::parse_only(args, b"F", "STRU is F."))),
    row(Ftp, LoggedIn, &["PASV"], "", "",
        "open a port for the next transfer's data connection", Alone(|| Passive)),
    row(Ftp, LoggedIn, &["EPSV"], "[1 or 2 or ALL]", "",
        "like PASV, for IPv6 too", Line(data_connection::parse_epsv)),
    row(Ftp, LoggedIn, &["PORT"], "H1,H2,H3,H4,P1,P2", "127,0,0,1,156,64",
        "where the client waits for the data connection",
        Line(|args| data_connection::parse_active(args, data::parse_port))),
    row(Ftp, LoggedIn, &["EPRT"], "|FAMILY|ADDRESS|PORT|", "|2|::1|40000|",
        "like PORT, for IPv6 too",
        Line(|args| data_connection::parse_active(args, data::parse_eprt))),
    row(Ftp, Read, &["LIST"], "[PATH or PATTERN]", "*.txt",
        "a listing with facts, over a data connection",
        Line(|args| Ok(List(args.path_behind_flags()?, Form::Long)))),
    row(Ftp, Read, &["NLST"], "[PATH or PATTERN]", "*.txt",
        "names only, over a data connection",
        Line(|args| Ok(List(args.path_behind_flags()?, Form::Names)))),
    row(Ftp, Read, &["MLSD"], "[DIR]", "my docs",
        "a listing for programs, over a data connection",
        Line(|args| Ok(List(args.path_or_none()?, Form::Facts)))),
    row(Ftp, Read, &["MLST"], "[PATH]", "my notes.txt",
        "the facts about one file", Line(|args| Ok(List(args.path_or_none()?, Form::FactsOfOne)))),
    row(Ftp, LoggedIn, &["STAT"], "[PATH]", "my docs",
        "the state of the session; or a listing, over this connection", Line(features::parse_stat)),
    row(Ftp, Read, &["RETR"], "FILE", "my notes.txt",
        "send a file, over a data connection", RestOfLine(|path| Retrieve(path, Channel::Data))),
    row(Ftp, Add, &["STOR"], "FILE", "my notes.txt",
        "store a file, over a data connection", RestOfLine(|path| Store(path, Channel::Data))),
    row(Ftp, Change, &["APPE"], "FILE", "my notes.txt",
        "append to a file in place, over a data connection",
        RestOfLine(|path| Append(path, Channel::Data))),
    row(Ftp, Add, &["STOU"], "[NAME]", "photo.jpg",
        "store a file under a free name", Line(|args| args.path_or_none().map(StoreUnique))),
    row(Ftp, LoggedIn, &["REST"], "OFFSET", "1024",
        "where in the file the next RETR begins, or the next STOR writes in place",
        Line(|args| args.first_number().map(Restart))),
    row(Ftp, LoggedIn, &["ALLO"], "BYTES", "1048576",
        "ask whether that many bytes fit under the quota",
        Line(|args| args.first_number().map(Allocate))),
    row(Ftp, LoggedIn, &["ABOR"], "", "",
        "stop the transfer", Line(|_| Ok(Abort))),
    row(Ftp, Nothing, &["FEAT"], "", "",
        "what this server can do beyond RFC 959", Alone(|| Features)),
    row(Ftp, Nothing, &["OPTS"], "FEATURE [OPTION]", "MLST type;size;",
        "set how a feature works", Line(features::parse_options)),
    row(Ftp, Nothing, &["CLNT"], "NAME", "lftp",
        "which program the client is", Line(|_| Ok(Answer(200, "Noted.")))),
    row(Ftp, Nothing, &["LANG"], "[EN]", "EN",
        "the language of replies, which is English", Line(features::parse_language)),
    row(Ftp, Nothing, &["SITE"], "COMMAND", "HELP",
        "commands that FTP has no verb for; SITE HELP lists them",
        Line(|_| Err(Reply::new(500, "Unknown SITE command. SITE HELP lists them.")))),
    row(Ftp, Nothing, &["SYST"], "", "",
        "what kind of server this is", Alone(|| Answer(215, "UNIX Type: L8"))),
    row(Ftp, Nothing, &["NOOP"], "", "",
        "do nothing but answer", Line(|_| Ok(Noop))),

    row(Ftp, Nothing, &["SITE HELP"], "", "",
        "this list", Line(|_| Ok(SiteHelp))),
    row(Ftp, Change, &["SITE CPFR"], "PATH", "my notes.txt",
        "what SITE CPTO will copy", RestOfLine(|path| Source(Action::Copy, path))),
    row(Ftp, Change, &["SITE CPTO"], "PATH", "your notes.txt",
        "the copy's name", RestOfLine(|path| Target(Action::Copy, path))),
    row(Ftp, Change, &["SITE RMDIR"], "PATH", "my docs",
        "remove a folder with everything in it", RestOfLine(RemoveTree)),
    row(Ftp, Change, &["SITE CHMOD"], "MODE PATH", "640 my notes.txt",
        "set the nine permission bits",
        Line(|args| args.mode_and_path().map(|(mode, path)| SetMode(mode, path)))),
    row(Ftp, Nothing, &["ACCT"], "", "",
        "refused: there are no accounts within accounts", Refuse),
    row(Ftp, Nothing, &["SMNT"], "", "",
        "refused: there is nothing to mount", Refuse),
    row(Ftp, Nothing, &["AUTH", "ADAT", "PBSZ", "PROT", "CCC", "MIC", "CONF", "ENC"], "", "",
        "refused: no encryption here; use an ssh or TLS tunnel", Refuse),
    row(Ftp, Nothing, &["HOST"], "", "",
        "refused: one host only", Refuse),
];

impl CommandInfo {
    /// The example: a line that a client could send.
    pub fn example_line(&self) -> String {
        args::usage(self.name, self.example)
    }

    /// How the command is used, if typed in this spelling.
    pub fn usage(&self, spelling: &str) -> String {
        args::usage(spelling, self.arguments)
    }
}

/// A command and one of its spellings, as the table has it.
pub type Found = (&'static CommandInfo, &'static str);

/// All spellings of all commands.
pub fn spellings() -> impl Iterator<Item = Found> {
    COMMANDS.iter().flat_map(|info| info.spellings.iter().map(move |spelling| (info, *spelling)))
}

/// Finds the command with this spelling, in upper or lower case.
pub fn find(name: &[u8]) -> Option<Found> {
    spellings().find(|(_, spelling)| spelling.as_bytes().eq_ignore_ascii_case(name))
}

/// Finds the command at the start of a line; also returns the bytes after it. A command of SITE is
/// two words.
pub fn find_at_start(line: &[u8]) -> Option<(Found, &[u8])> {
    let (verb, rest) = split_word(line);
    let found = find(verb)?;
    if found.1 == "SITE" {
        let (word, rest) = split_word(rest);
        if let Some(found) = find(&[b"SITE ", word].concat()) {
            return Some((found, rest));
        }
    }
    Some((found, rest))
}

/// Whether `name` is an FTP verb, which takes the rest of the line as one argument, byte for byte.
pub fn is_ftp_verb(name: &[u8]) -> bool {
    // HASH is both, and programs send it with names of any bytes.
    find(name).is_some_and(|(info, _)| info.group == Ftp || info.name == "hash")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_occurs_twice() {
        let mut spellings: Vec<String> = COMMANDS
            .iter()
            .flat_map(|info| info.spellings)
            .map(|name| name.to_ascii_lowercase())
            .collect();
        let count = spellings.len();
        spellings.sort();
        spellings.dedup();
        assert_eq!(spellings.len(), count);
    }
}
