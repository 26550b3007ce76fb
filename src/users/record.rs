//! One line of the users file: `NAME:ROLE:QUOTA:HASH`, or `NAME:ROLE:QUOTA:HASH:FOLDER`.

use std::fmt;

use crate::config::{RESERVED_PREFIX, parse_size};

use super::hash::PasswordHash;

/// The longest account name in bytes.
const NAME_LIMIT: usize = 32;

/// The places of fields in a line.
pub const ROLE: usize = 1;
pub const QUOTA: usize = 2;

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// May do everything in its own folder.
    User,
    /// May list and download, and may change nothing.
    ReadOnly,
    /// May upload new files and create folders, but neither see nor change existing ones.
    Drop,
    /// May do everything in the folders of all accounts.
    Admin,
    /// May not log in.
    Disabled,
}

const ROLES: [(&str, Role); 5] = [
    ("user", Role::User),
    ("readonly", Role::ReadOnly),
    ("drop", Role::Drop),
    ("admin", Role::Admin),
    ("disabled", Role::Disabled),
];

/// How many bytes an account may store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaSetting {
    /// As many as `--quota` allows.
    Usual,
    /// As many as fit on the disk.
    Unlimited,
    /// At most this number.
    Bytes(u64),
}

/// An account of the users file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The name in the spelling of the users file, which is also the name of its folder, unless
    /// `folder` is set.
    pub name: String,
    pub role: Role,
    pub quota: QuotaSetting,
    pub hash: PasswordHash,
    /// The path of the account's folder inside the working directory, if it is not the name.
    pub folder: Option<Box<str>>,
}

/// Whether an account may have this name: up to 32 ASCII letters, digits, `.`, `_` and `-`, with a
/// letter or digit first. Such a name is one path component that no system treats as special.
pub fn is_valid_name(name: &[u8]) -> bool {
    name.len() <= NAME_LIMIT
        && name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

/// Reads FOLDER, such as `public` or `alice/scans`. An error says in one phrase what is wrong.
fn parse_folder(text: &str) -> Result<Box<str>, &'static str> {
    let is_plain = |name: &str| {
        let start = name.get(..RESERVED_PREFIX.len());
        !matches!(name, "" | "." | "..")
            && name.trim() == name
            && !name.chars().any(char::is_control)
            && !start.is_some_and(|start| start.eq_ignore_ascii_case(RESERVED_PREFIX))
    };
    let path = text.split('/').all(is_plain).then(|| text.into());
    path.ok_or("the folder is not a path inside workdir, such as alice/scans")
}

impl Record {
    /// Reads a line. An error says in one phrase what is wrong with the line. It quotes nothing
    /// from the line, because the line may hold a secret.
    pub fn parse(line: &[u8]) -> Result<Record, &'static str> {
        let line = str::from_utf8(line).map_err(|_| "not UTF-8")?;
        let fields: Vec<_> = line.split(':').collect();
        let (name, role, quota, hash, folder) = match *fields.as_slice() {
            [name, role, quota, hash] => (name, role, quota, hash, None),
            [name, role, quota, hash, folder] => (name, role, quota, hash, Some(folder)),
            _ => return Err("not of the form NAME:ROLE:QUOTA:HASH or NAME:ROLE:QUOTA:HASH:FOLDER"),
        };
        if !is_valid_name(name.as_bytes()) {
            return Err("the name is not of 1 to 32 letters, digits, \".\", \"_\" and \"-\"");
        }
        let role = ROLES.iter().find(|(word, _)| *word == role).map(|(_, role)| *role);
        let role = role.ok_or("the role is not one of user, readonly, drop, admin, disabled")?;
        let quota = match quota {
            "-" => QuotaSetting::Usual,
            "none" => QuotaSetting::Unlimited,
            _ => QuotaSetting::Bytes(
                parse_size(quota).ok_or("the quota is not -, none or a size such as 500M")?,
            ),
        };
        let hash = PasswordHash::parse(hash)?;
        if hash == PasswordHash::Any && !matches!(role, Role::ReadOnly | Role::Drop) {
            return Err("the hash \"any\" is for the roles readonly and drop only");
        }
        let folder = folder.map(parse_folder).transpose()?;
        if folder.is_some() && role == Role::Admin {
            return Err("an administrator has all folders, and so no folder of its own");
        }
        Ok(Record { name: name.to_string(), role, quota, hash, folder })
    }

    /// Makes a record of the fields of a line.
    pub fn of(fields: &[&str]) -> Result<Record, &'static str> {
        let has_colon = fields.iter().any(|field| field.contains(':'));
        let line = fields.join(":");
        if has_colon { Err("a field cannot have a colon") } else { Record::parse(line.as_bytes()) }
    }

    /// The account for a list: name, role, quota and folder, which is `/` for an administrator.
    pub fn summary(&self) -> String {
        let home = if self.role == Role::Admin { "/" } else { self.home() };
        let line = self.to_string();
        let mut fields = line.split(':');
        let mut field = || fields.next().unwrap_or_default();
        format!("{:<16} {:<8} {:<13} {home}", field(), field(), field())
    }

    /// The path of the account's folder inside the working directory.
    pub fn home(&self) -> &str {
        self.folder.as_deref().unwrap_or(&self.name)
    }

    /// The folder in the working directory that the account's folder is or lies in.
    pub fn top(&self) -> &str {
        self.home().split('/').next().unwrap_or_default()
    }

    /// The account name of a line, in lower case, even if the rest of the line is malformed. Such
    /// an account exists: its name cannot be registered, and no client can log in to it.
    pub fn user_name(line: &[u8]) -> Option<String> {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            return None;
        }
        let is_end = |byte: &u8| *byte == b':' || *byte == b' ' || byte.is_ascii_control();
        let name = line.split(is_end).next()?;
        Some(String::from_utf8_lossy(name).to_ascii_lowercase())
    }

    /// The first name in FOLDER of a line, in lower case, even if the line is malformed.
    pub fn top_folder(line: &[u8]) -> Option<String> {
        let folder = line.trim_ascii().split(|byte| *byte == b':').nth(4)?;
        let top = folder.split(|byte| *byte == b'/').find(|name| !name.is_empty())?;
        Some(String::from_utf8_lossy(top).to_ascii_lowercase())
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role =
            ROLES.iter().find(|(_, role)| *role == self.role).map_or("disabled", |(word, _)| word);
        let quota = match self.quota {
            QuotaSetting::Usual => "-".to_string(),
            QuotaSetting::Unlimited => "none".to_string(),
            QuotaSetting::Bytes(bytes) => bytes.to_string(),
        };
        write!(f, "{}:{role}:{quota}:{}", self.name, self.hash)?;
        self.folder.iter().try_for_each(|folder| write!(f, ":{folder}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "pbkdf2-sha256$1$0011223344556677$\
                        abababababababababababababababababababababababababababababababab";

    #[test]
    fn a_record_survives_its_text_form() {
        for line in [
            format!("alice:user:-:{HASH}"),
            format!("Bob.2_x-y:disabled:4096:{HASH}"),
            format!("c:readonly:none:{HASH}"),
            format!("d:drop:0:{HASH}"),
            format!("e:admin:-:{HASH}"),
            format!("scanner:drop:-:{HASH}:alice/scans"),
            format!("f:user:-:{HASH}:Общая папка/.b-2/..."),
            "anonymous:readonly:none:any:public".to_string(),
            "inbox:drop:5:any".to_string(),
        ] {
            assert_eq!(Record::parse(line.as_bytes()).unwrap().to_string(), line);
        }
        let record = Record::parse(format!("a:user:3M:{HASH}").as_bytes()).unwrap();
        assert_eq!(record.quota, QuotaSetting::Bytes(3 * 1024 * 1024));
    }

    #[test]
    fn names_are_plain_words_of_up_to_32_characters() {
        for name in ["a", "7", "a.b", "a-b_c", &"x".repeat(32)] {
            assert!(is_valid_name(name.as_bytes()), "{name}");
        }
        for name in ["", ".", "..", ".a", "-a", "_a", "a/b", "a b", "a:b", "é", &"x".repeat(33)] {
            assert!(!is_valid_name(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_malformed_line_is_no_record_but_its_name_is_taken() {
        for (line, name) in [
            ("alice".to_string(), "alice"),
            ("Alice:user:-".to_string(), "alice"),
            (format!("alice:user:-:{HASH}:"), "alice"),
            (format!("alice:root:-:{HASH}"), "alice"),
            (format!("alice::-:{HASH}"), "alice"),
            (format!("alice:user::{HASH}"), "alice"),
            (format!("alice:user:many:{HASH}"), "alice"),
            (format!("alice:user:+1:{HASH}"), "alice"),
            (format!("alice:user:99999999T:{HASH}"), "alice"),
            ("alice:user:-:".to_string(), "alice"),
            ("alice:user:-:wonderland".to_string(), "alice"),
            (format!(" alice:user:-:{HASH}"), "alice"),
            (format!("alice :user:-:{HASH}"), "alice"),
            (format!("alice\0:user:-:{HASH}"), "alice"),
            (format!("../x:user:-:{HASH}"), "../x"),
            (format!("alice:admin:-:{HASH}:public"), "alice"),
            ("alice:user:-:any".to_string(), "alice"),
            ("alice:admin:-:any".to_string(), "alice"),
            ("alice:disabled:-:any".to_string(), "alice"),
            ("alice:readonly:-:Any".to_string(), "alice"),
            ("alice:readonly:-:any:".to_string(), "alice"),
            ("alice:readonly:-:any:public:more".to_string(), "alice"),
        ] {
            assert!(Record::parse(line.as_bytes()).is_err(), "{line}");
            assert_eq!(Record::user_name(line.as_bytes()).as_deref(), Some(name), "{line}");
        }
        for folder in [
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "a/./b",
            "..",
            "a/..",
            "a/../../b",
            "a\0b",
            "a/b\tc",
            ".plainftpd-server",
            "a/.PLAINFTPD-x",
            " a",
            "a/b ",
        ] {
            let line = format!("alice:drop:-:{HASH}:{folder}");
            assert!(Record::parse(line.as_bytes()).is_err(), "{line}");
        }
        for line in ["", "   ", "# alice", "  # x"] {
            assert_eq!(Record::user_name(line.as_bytes()), None);
        }
    }
}
