//! Accounts: who is here, and how one becomes somebody.

use crate::reply::Reply;
use crate::session::{Failure, Session};
use crate::users::{Password, Refusal};

fn refusal(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::Closed => {
            Reply::new(530, "Registration is closed; the owner of this server creates accounts.")
        }
        Refusal::WrongCode => {
            Reply::new(530, "Registering needs the right code: register NAME PASSWORD CODE")
        }
        Refusal::BadName => Reply::new(
            553,
            "A name has 1 to 32 letters, digits, \".\", \"_\" and \"-\", and begins with a letter or digit.",
        ),
        Refusal::NameTaken => Reply::new(553, "That name is taken."),
        Refusal::ShortPassword(least) => {
            Reply::new(501, format!("A password has at least {least} characters."))
        }
        Refusal::WrongPassword => Reply::new(530, "Wrong password."),
        Refusal::Io(error) => Reply::trouble(&error),
    }
}

/// USER: flushes what was known of the client before (RFC 959 §4.1.1). The same answer for every
/// name.
pub fn user(session: &mut Session, name: Vec<u8>) -> Result<Reply, Failure> {
    session.sign_out();
    session.claimed_name = Some(name);
    Ok(Reply::new(331, "Now the password: PASS PASSWORD"))
}

/// PASS.
pub fn pass(session: &mut Session, password: &Password) -> Result<Reply, Failure> {
    let Some(name) = session.claimed_name.take() else {
        return Err(Reply::new(503, "First the name: USER NAME").into());
    };
    login(session, &name, password)
}

/// `login`. One answer for an unknown name and a wrong password; the log names only accounts that
/// exist, because a password may have been typed in the name's place.
pub fn login(session: &mut Session, name: &[u8], password: &Password) -> Result<Reply, Failure> {
    session.sign_out();
    let server = session.server();
    let signed_in = server.users.sign_in(name, password).map_err(|error| Reply::trouble(&error))?;
    let Some(record) = signed_in else {
        if server.users.exists(name).unwrap_or(false) {
            session.notes.account = Some(String::from_utf8_lossy(name).into_owned());
        }
        return Err(Reply::new(530, "Wrong name or password.").into());
    };
    session.enter(&record).map_err(|error| Reply::trouble(&error))?;
    let text = format!("Welcome, {}; you are in your own folder \"/\".", record.name);
    Ok(Reply::new(230, text))
}

/// `register`.
pub fn register(
    session: &mut Session,
    name: &[u8],
    password: &Password,
    code: Option<&[u8]>,
) -> Result<Reply, Failure> {
    session.sign_out();
    let server = session.server();
    let vacant = |name: &str| server.store.is_vacant(name);
    let record = server.users.register(name, password, code, vacant).map_err(refusal)?;
    session.enter(&record).map_err(|error| Reply::trouble(&error))?;
    let text = format!("Account {} created; you are signed in, in your own folder \"/\".", record.name);
    Ok(Reply::new(230, text))
}

fn own_name(session: &Session) -> String {
    session.account().map(|account| account.name.clone()).unwrap_or_default()
}

/// `passwd`.
pub fn change_password(session: &mut Session, old: &Password, new: &Password) -> Result<Reply, Failure> {
    let name = own_name(session);
    session.server().users.change_password(&name, old, new).map_err(refusal)?;
    Ok(Reply::new(200, "Password changed."))
}

/// `unregister`: the account goes first, then its folder, both under the lock of the users file,
/// so that nobody can register the name in between.
pub fn unregister(session: &mut Session, password: &Password) -> Result<Reply, Failure> {
    let name = own_name(session);
    session.notes.account = Some(name.clone());
    let server = session.server();
    let removed =
        server.users.unregister(&name, password, || server.store.remove_home(&name)).map_err(refusal)?;
    session.sign_out();
    match removed {
        Ok(()) => Ok(Reply::new(250, format!("Account {name} and its folder are gone."))),
        Err(error) => {
            server.log.warn(&format!("the folder of {name}, who unregistered, is left: {error}"));
            Ok(Reply::new(250, format!("Account {name} is gone; its folder awaits the owner.")))
        }
    }
}

/// `logout`, REIN.
pub fn reinitialize(session: &mut Session) -> Result<Reply, Failure> {
    session.notes.account = session.account().map(|account| account.name.clone());
    session.sign_out();
    Ok(Reply::new(220, "Signed out. Type: login NAME PASSWORD"))
}

/// `whoami`.
pub fn who_am_i(session: &mut Session) -> Result<Reply, Failure> {
    Ok(match session.account() {
        None => Reply::new(211, "Nobody yet. Type: login NAME PASSWORD, or register NAME PASSWORD"),
        Some(account) => Reply::about(211, &format!("{}, in ", account.name), &session.folder.bytes(), ""),
    })
}

/// `free`.
pub fn free(session: &mut Session) -> Result<Reply, Failure> {
    let (used, quota) = session.files()?.usage().map_err(|error| Reply::trouble(&error))?;
    Ok(Reply::new(
        211,
        match quota {
            None => format!("{used} bytes used; no limit is set."),
            Some(quota) => {
                format!("{used} of {quota} bytes used; {} left.", quota.saturating_sub(used))
            }
        },
    ))
}
