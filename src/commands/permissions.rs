//! Roles and permissions: what each role may do.

use crate::reply::Reply;
use crate::server::Door;
use crate::session::Session;
use crate::users::Role;

/// A permission that a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// None: also clients that are not logged in may run the command.
    Nothing,
    /// The client must be logged in.
    LoggedIn,
    /// The role may see names, sizes, times and content.
    Read,
    /// The role may add files and folders.
    Add,
    /// The role may change and remove files and folders.
    Change,
    /// The role may change the account itself.
    Own,
    /// The role may change the accounts of others, and end their sessions.
    Administer,
    /// Only the owner of the server.
    Owner,
    /// The client has come to the owner's listener.
    OwnerDoor,
}

/// Whether a client of this role (`None`: not logged in) has the permission.
pub fn allows(role: Option<Role>, permission: Permission) -> bool {
    match (permission, role) {
        (Permission::Nothing, _) => true,
        (_, None | Some(Role::Disabled)) => false,
        (Permission::Owner | Permission::OwnerDoor, _) => false,
        (Permission::LoggedIn, _) => true,
        (_, Some(Role::User)) => permission != Permission::Administer,
        // Guests share such an account. None of them may lock the others out.
        (_, Some(Role::ReadOnly)) => permission == Permission::Read,
        (_, Some(Role::Drop)) => permission == Permission::Add,
        // An administrator sees all accounts' folders. Only the owner of the server removes the
        // account.
        (_, Some(Role::Admin)) => permission != Permission::Own,
    }
}

/// The reply to a client without the permission. At the owner's listener, only the owner may do
/// anything, so no client comes around the limits and the throttle of the others.
pub fn check(session: &Session, permission: Permission) -> Result<(), Reply> {
    if session.door == Door::Owner {
        return match permission {
            Permission::OwnerDoor => Ok(()),
            Permission::Administer | Permission::Owner if session.is_owner() => Ok(()),
            _ if session.is_owner() => {
                Err(Reply::new(550, "The owner has no account and no files."))
            }
            _ => Err(Reply::new(530, "First the token: token TOKEN")),
        };
    }
    let role = session.role();
    match role {
        _ if allows(role, permission) => Ok(()),
        None => Err(Reply::new(530, "Log in first: login NAME PASSWORD")),
        Some(_) => Err(Reply::new(550, "This account may not do that.")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse, table::COMMANDS};
    use super::*;

    /// The permission that each word's example needs; `-` if the server refuses the word.
    const NEEDS: &str = "\
        register:nothing login:nothing logout:nothing whoami:nothing help:nothing quit:nothing \
        USER:nothing PASS:nothing REIN:nothing FEAT:nothing OPTS:nothing CLNT:nothing \
        LANG:nothing SYST:nothing NOOP:nothing SITE:nothing SITE_HELP:nothing \
        free:login pwd:login cd:login CWD:login CDUP:login TYPE:login \
        PASV:login EPSV:login PORT:login EPRT:login REST:login ALLO:login ABOR:login MODE:login \
        STRU:login ls:read info:read hash:read get:read SIZE:read MDTM:read XSHA256:read \
        LIST:read NLST:read MLSD:read MLST:read STAT:read RETR:read mkdir:add put:add write:add \
        MKD:add STOR:add STOU:add rmdir:change rm:change touch:change cp:change mv:change \
        append:change RMD:change DELE:change RNFR:change RNTO:change MFMT:change APPE:change \
        SITE_CPFR:change SITE_CPTO:change SITE_RMDIR:change SITE_CHMOD:change \
        passwd:own unregister:own \
        users:administer useradd:administer userdel:administer userpass:administer \
        who:administer kick:administer stop:owner token:door ACCT:- \
        SMNT:- AUTH:- HOST:-";

    /// The permissions of forms that differ from the word's example.
    const FORMS: &[(&str, &str)] = &[
        ("MDTM f", "read"),
        ("MDTM 20200101000000 f", "change"),
        ("STAT", "login"),
        ("STAT f", "read"),
        ("EPSV", "login"),
        ("EPSV ALL", "login"),
        ("OPTS MLST size;", "nothing"),
        ("OPTS HASH", "nothing"),
        ("OPTS HASH SHA-256", "nothing"),
        ("OPTS UTF8 ON", "nothing"),
        ("rm f", "change"),
        ("rm -r d", "change"),
        ("STOU", "add"),
        ("put f", "add"),
        ("write f", "add"),
        ("append f", "change"),
    ];

    fn right_named(name: &str) -> Permission {
        match name {
            "nothing" => Permission::Nothing,
            "login" => Permission::LoggedIn,
            "read" => Permission::Read,
            "add" => Permission::Add,
            "change" => Permission::Change,
            "own" => Permission::Own,
            "administer" => Permission::Administer,
            "owner" => Permission::Owner,
            "door" => Permission::OwnerDoor,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_word_needs_the_permission_that_this_test_lists_and_every_role_has_its_own() {
        let needs: Vec<_> =
            NEEDS.split_whitespace().map(|pair| pair.split_once(':').unwrap()).collect();
        for (name, _) in &needs {
            let is_word = COMMANDS.iter().any(|word| word.name.replace(' ', "_") == *name);
            assert!(is_word, "NEEDS has \"{name}\", but the table has no such row");
            let times = needs.iter().filter(|(other, _)| other == name).count();
            assert_eq!(times, 1, "NEEDS must have \"{name}\" once");
        }
        let examples = COMMANDS.iter().map(|word| {
            let name = word.name.replace(' ', "_");
            let need = needs.iter().find(|(known, _)| *known == name);
            (
                word.example_line(),
                need.unwrap_or_else(|| panic!("NEEDS lacks \"{name}\": add {name}:RIGHT")).1,
            )
        });
        let forms = FORMS.iter().map(|(line, right)| (line.to_string(), *right));
        for (line, right) in examples.chain(forms) {
            let request = parse(line.as_bytes(), false);
            if request.command.is_err() {
                assert_eq!(right, "-", "{line}");
                continue;
            }
            assert_eq!(request.needs(), right_named(right), "{line}");
            for (role, allowed) in [
                (None, "nothing"),
                (Some(Role::Disabled), "nothing"),
                (Some(Role::ReadOnly), "nothing login read"),
                (Some(Role::Drop), "nothing login add"),
                (Some(Role::Admin), "nothing login read add change administer"),
                (Some(Role::User), "nothing login read add change own"),
            ] {
                let expected = allowed.split(' ').any(|allowed| allowed == right);
                assert_eq!(allows(role, request.needs()), expected, "{role:?} {line}");
            }
        }
    }
}
