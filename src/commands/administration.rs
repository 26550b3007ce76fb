//! Commands for administrators: the accounts of others.

use crate::reply::Reply;
use crate::session::{Outcome, Session};
use crate::users::{Index, Password, Refusal};

use super::accounts::{no_accounts, own_name, refuse};
use super::args::Args;
use super::{Command, Parsed};

/// `useradd NAME PASSWORD [ROLE]`, SITE USERADD.
pub fn parse_add(args: Args<'_>) -> Parsed {
    let mut words = args.words()?;
    let role = if words.len() == 3 { words.pop() } else { None };
    let [name, password] = args.expect_number(words)?;
    let role = role.map_or("user".to_string(), text);
    Ok(Command::AddAccount { name: text(name), password: Password(password), role })
}

/// `userpass NAME PASSWORD`, SITE USERPASS.
pub fn parse_password(args: Args<'_>) -> Parsed {
    args.exactly().map(|[name, password]| Command::SetPassword(text(name), Password(password)))
}

/// A name or a role. One that is not UTF-8 is none of an account.
pub fn text(word: Vec<u8>) -> String {
    String::from_utf8_lossy(&word).into_owned()
}

/// `users`.
pub fn list(session: &mut Session) -> Outcome {
    let lines = session.server.users.query(Index::list);
    let lines = lines.map_err(|error| no_accounts(session, &error))?;
    Ok(Reply::multi(211, "Accounts: name, role, quota, folder.", lines, "End."))
}

/// `useradd`.
pub fn add(session: &mut Session, name: &str, password: Password, role: &str) -> Outcome {
    let done = session.server.users.add([name, role, "-"], None, || Ok(password));
    report(session, name, done, "added")
}

/// `userpass`.
pub fn set_password(session: &mut Session, name: &str, password: Password) -> Outcome {
    let done = session.server.users.set_password(name, || Ok(password));
    report(session, name, done, "has the new password")
}

/// `userdel`. The files stay, and so do sessions of the account until they log out.
pub fn remove(session: &mut Session, name: &str) -> Outcome {
    if own_name(session).eq_ignore_ascii_case(name) {
        return Err(
            Reply::new(550, "You are logged in to that account; another may remove it.").into()
        );
    }
    let done = session.server.users.remove(name, None, |_| ()).map(drop);
    report(session, name, done, "removed; its files stay")
}

fn report(session: &mut Session, name: &str, done: Result<(), Refusal>, what: &str) -> Outcome {
    done.map_err(|refusal| refuse(session, refusal))?;
    session.log_context.account = Some(name.to_string());
    Ok(Reply::new(250, format!("Account {name} {what}.")))
}
