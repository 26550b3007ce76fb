//! Commands on accounts: login, logout, registration, passwords.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::config::Registration;
use crate::reply::Reply;
use crate::server::Server;
use crate::session::{LogShare, Outcome, Pending, Session};
use crate::text;
use crate::users::{Password, Record, Refusal, Role};
use crate::vfs::Vfs;

use super::args::Args;
use super::{Command, Parsed};

/// `register`, SITE REGISTER.
pub fn parse_register(args: Args<'_>) -> Parsed {
    let mut words = args.words()?;
    let code = if words.len() == 3 { words.pop() } else { None };
    let [name, password] = args.expect_number(words)?;
    Ok(Command::Register { name, password: Password(password), code })
}

/// `login NAME PASSWORD`.
pub fn parse_login(args: Args<'_>) -> Parsed {
    args.exactly().map(|[name, password]| Command::Login(name, Password(password)))
}

/// PASS. A guest who presses Enter at the prompt of an FTP program sends no password.
pub fn parse_pass(args: Args<'_>) -> Parsed {
    let is_absent = |refusal| if args.is_empty() { Ok(Vec::new()) } else { Err(refusal) };
    args.rest_of_line().or_else(is_absent).map(|word| Command::Pass(Password(word)))
}

/// `passwd OLD NEW`, SITE PASSWD.
pub fn parse_passwd(args: Args<'_>) -> Parsed {
    args.exactly().map(|[old, new]| Command::ChangePassword(Password(old), Password(new)))
}

/// The reply to a refusal. After too many tries the session ends, because a waiting client occupies
/// a slot.
pub fn refuse(session: &mut Session, refusal: Refusal) -> Reply {
    let code = match &refusal {
        Refusal::Io(error) => return no_accounts(session, error),
        Refusal::FolderInUse(_) => {
            let text = "Another account works in the folder of this one, so this one stays; \
                        ask the owner of this server.";
            return Reply::new(550, text).because(refusal.to_string());
        }
        Refusal::TooManyAttempts => {
            // The server refused it at once, so a client can send many of them.
            session.log_context.failed_login = Some(LogShare::UnauthenticatedOnce);
            session.leaving = true;
            421
        }
        Refusal::WrongCode | Refusal::WrongPassword => {
            // Each is always written, because the owner of the server wants to see it, and each
            // attempt is slower than the one before.
            session.log_context.failed_login = Some(LogShare::Unlimited);
            530
        }
        Refusal::Closed | Refusal::NoCode => 530,
        Refusal::NoAccount => 550,
        Refusal::BadName | Refusal::NameTaken => 553,
        Refusal::Invalid(_) | Refusal::ShortPassword(_) => 501,
    };
    let mut text = format!("{refusal}.");
    text.get_mut(..1).into_iter().for_each(str::make_ascii_uppercase);
    Reply::new(code, text.clone()).because(text)
}

/// USER: logs the client out (RFC 959 §4.1.1). The reply is the same for every name.
pub fn user(session: &mut Session, name: Vec<u8>) -> Outcome {
    session.log_out();
    session.pending = Pending::User(name);
    Ok(Reply::new(331, "Now the password: PASS PASSWORD"))
}

/// PASS, directly after USER (RFC 959 §4.1.1).
pub fn pass(session: &mut Session, password: &Password, pending: Pending) -> Outcome {
    match pending {
        Pending::User(name) => login(session, &name, password),
        _ => Err(Reply::new(503, "First the name: USER NAME").into()),
    }
}

/// `login`. An unknown name and a wrong password get the same reply. The log names only accounts
/// that exist, because a password may have been typed in place of the name.
pub fn login(session: &mut Session, name: &[u8], password: &Password) -> Outcome {
    let was_logged_in = session.account().is_some();
    session.log_out();
    let server = Arc::clone(&session.server);
    let peer = session.peer.ip();
    let logged_in = session.slot.while_authenticating(|| {
        let home = |record: &Record| home_of(&server, record);
        server.users.log_in(name, password, peer, home)
    });
    let (record, home) = logged_in.map_err(|refused| {
        if server.users.query(|users| users.has(users.meant_by(name))).unwrap_or(false) {
            session.log_context.account = Some(String::from_utf8_lossy(name).into_owned());
        }
        login_refused(session, refused, was_logged_in)
    })?;
    session.log_in(&record, home)?;
    let own = if record.folder.is_none() { "your own" } else { "the" };
    let text = format!("Welcome, {}; you are in {own} folder \"/\".", record.name);
    Ok(Reply::new(230, text))
}

/// Opens the files of an account.
fn home_of(server: &Arc<Server>, record: &Record) -> io::Result<Vfs> {
    if record.role != Role::Admin {
        return Vfs::home(&server.workdir, record.top());
    }
    Ok(Vfs::home_of_admin(&server.workdir, Arc::<Server>::clone(server)))
}

/// The reply to a failed login. Ends the session after too many.
fn login_refused(session: &mut Session, refused: Refusal, was_logged_in: bool) -> Reply {
    let is_wrong = matches!(refused, Refusal::WrongPassword);
    let reply = refuse(session, refused);
    if !is_wrong {
        return reply;
    }
    if session.fails_too_often() {
        session.leaving = true;
        return Reply::new(421, "Wrong name or password; too many failures, closing.");
    }
    let more = if was_logged_in { " You are logged out." } else { "" };
    Reply::new(530, format!("Wrong name or password.{more}")).because("wrong name or password")
}

/// The reply if the users file, or the folder of a new account, cannot be used. The log says why.
pub fn no_accounts(session: &mut Session, error: &io::Error) -> Reply {
    session.log_context.why = Some(format!("the users file: {error}"));
    match error.kind() {
        ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded
        | ErrorKind::FileTooLarge
        | ErrorKind::TimedOut => Reply::trouble(error),
        _ => Reply::new(451, "The accounts cannot be read; tell the owner of this server."),
    }
}

/// `register`. If it is refused, a client that is logged in stays logged in.
pub fn register(
    session: &mut Session,
    name: &[u8],
    password: &Password,
    code: Option<&[u8]>,
) -> Outcome {
    let server = Arc::clone(&session.server);
    if code.is_some() && server.config.registration == Registration::Open {
        // A client that meant a password with spaces would get an account whose password is the
        // first word.
        let text = "This server asks for no code. Quote a password that has spaces: \"two words\".";
        return Err(Reply::new(501, text).into());
    }
    let peer = session.peer.ip();
    let registered = session.slot.while_authenticating(|| {
        server
            .users
            .register(name, password, code, peer, |name| Vfs::create_home(&server.workdir, name))
    });
    let (record, (files, home)) = registered.map_err(|refused| refuse(session, refused))?;
    home.keep();
    session.log_out();
    session.log_in(&record, Ok(files))?;
    let text =
        format!("Account {} created; you are logged in, in your own folder \"/\".", record.name);
    Ok(Reply::new(230, text))
}

pub fn own_name(session: &Session) -> String {
    session.account().map(|account| account.name.clone()).unwrap_or_default()
}

/// `passwd`.
pub fn change_password(session: &mut Session, old: &Password, new: &Password) -> Outcome {
    let name = own_name(session);
    let changed = session.server.users.change_password(&name, old, new, session.peer.ip());
    changed.map_err(|refused| refuse(session, refused))?;
    Ok(Reply::new(200, "Password changed."))
}

/// `unregister`: removes the account, and then detaches its folder before any client of this server
/// can register the name again.
pub fn unregister(session: &mut Session, password: &Password) -> Outcome {
    let name = own_name(session);
    session.log_context.account = Some(name.clone());
    let server = Arc::clone(&session.server);
    let closed = server
        .users
        .unregister(&name, password, session.peer.ip(), |name| server.workdir.detach_home(name))
        .map_err(|refused| refuse(session, refused))?;
    session.log_out();
    let what = match closed {
        None => " is gone; its files stay",
        Some(Ok(remove)) => {
            let _ = remove();
            " and its folder are gone"
        }
        // An administrator needs no folder, and the owner may have removed one.
        Some(Err(error)) if error.kind() == ErrorKind::NotFound => " is gone",
        Some(Err(error)) => {
            server.log.warn(&format!("the folder of {name}, who unregistered, is left: {error}"));
            " is gone; its folder stays for the owner of this server"
        }
    };
    Ok(Reply::new(250, format!("Account {name}{what}.")))
}

/// `logout`, REIN.
pub fn reinitialize(session: &mut Session) -> Outcome {
    session.log_context.account = session.account().map(|account| account.name.clone());
    session.log_out();
    Ok(Reply::new(220, "Logged out. Type: login NAME PASSWORD"))
}

/// `whoami`.
pub fn who_am_i(session: &mut Session) -> Outcome {
    Ok(match session.account() {
        None => {
            Reply::new(211, "Not logged in. Type: login NAME PASSWORD, or register NAME PASSWORD")
        }
        Some(account) => {
            Reply::about(211, &format!("{}, in ", account.name), session.folder.bytes(), "")
        }
    })
}

/// `free`.
pub fn free(session: &mut Session) -> Outcome {
    let (used, quota) = session.files()?.usage().map_err(|error| Reply::trouble(&error))?;
    let text = match quota {
        None => format!("{} used; no limit is set.", text::bytes(used)),
        Some(quota) => {
            format!("{used} of {quota} bytes used; {} left.", quota.saturating_sub(used))
        }
    };
    Ok(Reply::new(211, text))
}
