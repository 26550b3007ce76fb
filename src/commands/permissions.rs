//! What each command needs, and what each role may: one table, asked in one place.

use crate::users::Role;

/// What a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Nothing: it is for strangers too.
    Nothing,
    /// To be logged in.
    LoggedIn,
    /// To see what is there: names, sizes, times, content.
    Read,
    /// To put new things there.
    Add,
    /// To change or remove what is there.
    Change,
    /// To be the one person whose account it is.
    Own,
}

/// Rows are roles, columns what they may beside being logged in.
const MAY: [(Role, &[Permission]); 5] = [
    (Role::User, &[Permission::Read, Permission::Add, Permission::Change, Permission::Own]),
    // An account for guests: whoever has it must not lock the others out.
    (Role::ReadOnly, &[Permission::Read]),
    (Role::Drop, &[Permission::Add]),
    // Its folder is everybody's; the account itself is the owner's to remove.
    (Role::Admin, &[Permission::Read, Permission::Add, Permission::Change]),
    (Role::Disabled, &[]),
];

/// Whether a role, or a stranger, may do what needs this right.
pub fn allows(role: Option<Role>, right: Permission) -> bool {
    match (role, right) {
        (_, Permission::Nothing) => true,
        (None, _) => false,
        (Some(role), Permission::LoggedIn) => role != Role::Disabled,
        (Some(role), right) => {
            MAY.iter().any(|(row, permissions)| *row == role && permissions.contains(&right))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse, table::COMMANDS};
    use super::*;

    /// Every word's example, with what it needs; `-` for what is refused to everybody.
    const NEEDS: &str = "\
        register:nothing login:nothing logout:nothing whoami:nothing help:nothing quit:nothing \
        USER:nothing PASS:nothing REIN:nothing FEAT:nothing OPTS:nothing CLNT:nothing LANG:nothing SYST:nothing \
        NOOP:nothing SITE:nothing SITE_HELP:nothing SITE_REGISTER:nothing \
        free:login pwd:login cd:login CWD:login CDUP:login TYPE:login PASV:login EPSV:login PORT:login \
        EPRT:login REST:login ALLO:login ABOR:login MODE:login STRU:login \
        ls:read info:read hash:read get:read SIZE:read MDTM:read XSHA256:read LIST:read NLST:read MLSD:read \
        MLST:read STAT:read RETR:read \
        mkdir:add put:add write:add MKD:add STOR:add STOU:add \
        rmdir:change rm:change touch:change cp:change mv:change append:change RMD:change DELE:change RNFR:change \
        RNTO:change MFMT:change APPE:change SITE_CPFR:change SITE_CPTO:change SITE_COPY:change SITE_RMDIR:change \
        SITE_CHMOD:change SITE_UTIME:change \
        passwd:own unregister:own SITE_PASSWD:own SITE_UNREGISTER:own \
        ACCT:- SMNT:- AUTH:- HOST:-";

    /// What the forms of a word need that its example has not, or that need something else.
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
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_word_needs_what_is_written_here_and_every_role_may_what_it_should() {
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
            let Ok(command) = parse(line.as_bytes(), false).command else {
                assert_eq!(right, "-", "{line}");
                continue;
            };
            assert_eq!(command.needs(), right_named(right), "{line}");
            for (role, allowed) in [
                (None, "nothing"),
                (Some(Role::Disabled), "nothing"),
                (Some(Role::ReadOnly), "nothing login read"),
                (Some(Role::Drop), "nothing login add"),
                (Some(Role::Admin), "nothing login read add change"),
                (Some(Role::User), "nothing login read add change own"),
            ] {
                let expected = allowed.split(' ').any(|allowed| allowed == right);
                assert_eq!(allows(role, command.needs()), expected, "{role:?} {line}");
            }
        }
    }
}
