//! The table of words: what HELP prints, what a usage line says, and what a hint may propose.

use crate::reply::Reply;

/// A word of the language.
#[derive(Debug, PartialEq, Eq)]
pub struct Word {
    /// How it is spelled: a hand word in lower case, an FTP verb in upper case.
    pub name: &'static str,
    /// Other spellings.
    pub aliases: &'static [&'static str],
    group: Group,
    /// It with its arguments.
    pub usage: &'static str,
    /// What it does, in a phrase.
    purpose: &'static str,
    /// How it might be typed.
    pub example: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Accounts,
    Folders,
    Files,
    Content,
    Other,
    Ftp,
    Site,
    /// Refused on purpose: known, and in no list.
    Refused,
}

const GROUPS: [(Group, &str); 7] = [
    (Group::Accounts, "Accounts:"),
    (Group::Folders, "Folders:"),
    (Group::Files, "Files and folders:"),
    (Group::Content, "Content, over this connection:"),
    (Group::Other, "Other:"),
    (Group::Ftp, "FTP verbs, which take the rest of the line as one argument:"),
    (Group::Site, "SITE commands:"),
];

const fn word(
    group: Group,
    name: &'static str,
    aliases: &'static [&'static str],
    usage: &'static str,
    purpose: &'static str,
    example: &'static str,
) -> Word {
    Word { name, aliases, group, usage, purpose, example }
}

use Group::{Accounts, Content, Files, Folders, Ftp, Other, Refused, Site};

/// Every word that the server knows.
#[rustfmt::skip]
pub const WORDS: &[Word] = &[
    word(Accounts, "register", &[], "register NAME PASSWORD [CODE]", "create an account and sign in", "register alice wonderland"),
    word(Accounts, "login", &[], "login NAME PASSWORD", "sign in", "login alice wonderland"),
    word(Accounts, "logout", &[], "logout", "sign out, stay connected", "logout"),
    word(Accounts, "passwd", &[], "passwd OLD NEW", "change your password", "passwd wonderland looking-glass"),
    word(Accounts, "unregister", &[], "unregister PASSWORD", "delete your account and your folder", "unregister wonderland"),
    word(Accounts, "whoami", &[], "whoami", "who you are and where", "whoami"),
    word(Accounts, "free", &["quota"], "free", "space used and left", "free"),

    word(Folders, "pwd", &["XPWD"], "pwd", "the current folder", "pwd"),
    word(Folders, "cd", &[], "cd [DIR]", "go to a folder; to your top folder without one", "cd docs"),
    word(Folders, "ls", &["dir"], "ls [DIR or PATTERN]", "list a folder", "ls *.txt"),
    word(Folders, "mkdir", &[], "mkdir DIR", "make a folder", "mkdir docs"),
    word(Folders, "rmdir", &[], "rmdir DIR", "remove an empty folder", "rmdir docs"),

    word(Files, "rm", &["del"], "rm [-r] PATH", "remove a file; with -r also a folder with all in it", "rm -r docs"),
    word(Files, "touch", &["create", "mkfile"], "touch FILE", "make an empty file, or give a file the present time", "touch new.txt"),
    word(Files, "cp", &["copy"], "cp [-f] FROM TO", "copy a file or a folder; -f replaces a file", "cp notes.txt \"copy of notes.txt\""),
    word(Files, "mv", &["rename", "ren"], "mv [-f] FROM TO", "rename or move; -f replaces a file", "mv notes.txt docs/"),
    word(Files, "info", &[], "info PATH", "size, time and kind", "info notes.txt"),
    word(Files, "hash", &[], "hash FILE", "the content's SHA-256", "hash notes.txt"),

    word(Content, "get", &["cat", "download"], "get FILE", "send me a file: a count, then so many bytes", "get notes.txt"),
    word(Content, "put", &["upload", "send"], "put FILE [SIZE]", "store SIZE bytes that follow; without SIZE, lines up to one that holds only \".\"", "put photo.jpg 48211"),
    word(Content, "write", &[], "write FILE [TEXT]", "store the text; without it, lines up to one that holds only \".\"", "write notes.txt buy milk"),
    word(Content, "append", &[], "append FILE [TEXT]", "like write, at the end of the file, in place", "append notes.txt and bread"),

    word(Other, "help", &["?"], "help [WORD]", "this list, or more about a word", "help put"),
    word(Other, "quit", &["exit", "bye"], "quit", "leave", "quit"),

    word(Ftp, "USER", &[], "USER NAME", "who wants to sign in", "USER alice"),
    word(Ftp, "PASS", &[], "PASS PASSWORD", "the password of USER", "PASS wonderland"),
    word(Ftp, "REIN", &[], "REIN", "sign out, stay connected", "REIN"),
    word(Ftp, "CWD", &["XCWD"], "CWD DIR", "go to a folder", "CWD my docs"),
    word(Ftp, "CDUP", &["XCUP"], "CDUP", "go to the folder above", "CDUP"),
    word(Ftp, "MKD", &["XMKD"], "MKD DIR", "make a folder", "MKD my docs"),
    word(Ftp, "RMD", &["XRMD"], "RMD DIR", "remove an empty folder", "RMD my docs"),
    word(Ftp, "DELE", &[], "DELE FILE", "remove a file", "DELE my notes.txt"),
    word(Ftp, "RNFR", &[], "RNFR PATH", "what RNTO will rename", "RNFR my notes.txt"),
    word(Ftp, "RNTO", &[], "RNTO PATH", "its new name", "RNTO your notes.txt"),
    word(Ftp, "SIZE", &[], "SIZE FILE", "a file's size in bytes", "SIZE my notes.txt"),
    word(Ftp, "MDTM", &[], "MDTM FILE", "a file's time, YYYYMMDDHHMMSS in UTC", "MDTM my notes.txt"),
    word(Ftp, "MFMT", &[], "MFMT YYYYMMDDHHMMSS PATH", "set a time", "MFMT 20261123201900 my notes.txt"),
    word(Ftp, "XSHA256", &[], "XSHA256 FILE", "the content's SHA-256 alone", "XSHA256 my notes.txt"),
    word(Ftp, "TYPE", &[], "TYPE A or I", "convert line endings (A), or leave all bytes as they are (I)", "TYPE I"),
    word(Ftp, "MODE", &[], "MODE S", "stream mode, the only one", "MODE S"),
    word(Ftp, "STRU", &[], "STRU F", "file structure, the only one", "STRU F"),
    word(Ftp, "PASV", &[], "PASV", "open a port for the next transfer's data connection", "PASV"),
    word(Ftp, "EPSV", &[], "EPSV [1 or 2 or ALL]", "the same, for IPv6 too", "EPSV"),
    word(Ftp, "PORT", &[], "PORT H1,H2,H3,H4,P1,P2", "where the client waits for the data connection", "PORT 127,0,0,1,156,64"),
    word(Ftp, "EPRT", &[], "EPRT |FAMILY|ADDRESS|PORT|", "the same, for IPv6 too", "EPRT |2|::1|40000|"),
    word(Ftp, "LIST", &[], "LIST [PATH or PATTERN]", "a listing with facts, over a data connection", "LIST *.txt"),
    word(Ftp, "NLST", &[], "NLST [PATH or PATTERN]", "names only, over a data connection", "NLST *.txt"),
    word(Ftp, "MLSD", &[], "MLSD [DIR]", "a listing for programs, over a data connection", "MLSD my docs"),
    word(Ftp, "MLST", &[], "MLST [PATH]", "the facts about one file", "MLST my notes.txt"),
    word(Ftp, "STAT", &[], "STAT [PATH]", "how the session stands; or a listing, over this connection", "STAT my docs"),
    word(Ftp, "RETR", &[], "RETR FILE", "send a file, over a data connection", "RETR my notes.txt"),
    word(Ftp, "STOR", &[], "STOR FILE", "store a file, over a data connection", "STOR my notes.txt"),
    word(Ftp, "APPE", &[], "APPE FILE", "append to a file in place, over a data connection", "APPE my notes.txt"),
    word(Ftp, "STOU", &[], "STOU [NAME]", "store a file under a name that is free", "STOU notes"),
    word(Ftp, "REST", &[], "REST OFFSET", "where in the file the next RETR begins, or the next STOR writes in place", "REST 1024"),
    word(Ftp, "ALLO", &[], "ALLO BYTES", "ask whether so much would fit", "ALLO 1048576"),
    word(Ftp, "ABOR", &[], "ABOR", "stop the transfer", "ABOR"),
    word(Ftp, "FEAT", &[], "FEAT", "what this server can do beyond RFC 959", "FEAT"),
    word(Ftp, "OPTS", &[], "OPTS FEATURE [OPTION]", "set how a feature works", "OPTS MLST type;size;"),
    word(Ftp, "CLNT", &[], "CLNT NAME", "which program the client is", "CLNT lftp"),
    word(Ftp, "LANG", &[], "LANG [EN]", "the language of replies, which is English", "LANG EN"),
    word(Ftp, "SITE", &[], "SITE COMMAND", "what FTP has no verb for; SITE HELP lists it", "SITE HELP"),
    word(Ftp, "SYST", &[], "SYST", "what kind of server this is", "SYST"),
    word(Ftp, "NOOP", &[], "NOOP", "nothing but an answer", "NOOP"),

    word(Site, "SITE HELP", &[], "SITE HELP", "this list", "SITE HELP"),
    word(Site, "SITE REGISTER", &[], "SITE REGISTER NAME PASSWORD [CODE]", "create an account and sign in", "SITE REGISTER alice wonderland"),
    word(Site, "SITE PASSWD", &[], "SITE PASSWD OLD NEW", "change your password", "SITE PASSWD wonderland looking-glass"),
    word(Site, "SITE UNREGISTER", &[], "SITE UNREGISTER PASSWORD", "delete your account and your folder", "SITE UNREGISTER wonderland"),
    word(Site, "SITE CPFR", &[], "SITE CPFR PATH", "what SITE CPTO will copy", "SITE CPFR my notes.txt"),
    word(Site, "SITE CPTO", &[], "SITE CPTO PATH", "the copy's name", "SITE CPTO your notes.txt"),
    word(Site, "SITE COPY", &[], "SITE COPY [-f] FROM TO", "copy a file or a folder, names quoted as by hand", "SITE COPY \"my notes.txt\" copy.txt"),
    word(Site, "SITE RMDIR", &[], "SITE RMDIR PATH", "remove a folder with all in it", "SITE RMDIR my docs"),
    word(Site, "SITE CHMOD", &[], "SITE CHMOD MODE PATH", "set the nine permission bits", "SITE CHMOD 640 my notes.txt"),
    word(Site, "SITE UTIME", &[], "SITE UTIME YYYYMMDDHHMM[SS] PATH", "set a time", "SITE UTIME 202611232019 my notes.txt"),

    word(Refused, "ACCT", &[], "ACCT", "refused: there are no accounts within accounts", "ACCT"),
    word(Refused, "SMNT", &[], "SMNT", "refused: there is nothing to mount", "SMNT"),
    word(Refused, "AUTH", &["ADAT", "PBSZ", "PROT", "CCC", "MIC", "CONF", "ENC"], "AUTH", "refused: no encryption here; use a tunnel", "AUTH"),
    word(Refused, "HOST", &[], "HOST", "refused: one host only", "HOST"),
];

impl Word {
    /// Whether it is known only to be refused.
    #[cfg(test)]
    pub fn is_refused(&self) -> bool {
        self.group == Group::Refused
    }
}

/// The word that is spelled like this, in any case.
pub fn find(name: &[u8]) -> Option<&'static Word> {
    let is = |spelling: &str| spelling.as_bytes().eq_ignore_ascii_case(name);
    WORDS.iter().find(|word| is(word.name) || word.aliases.iter().any(|alias| is(alias)))
}

/// The word of SITE that is spelled like this, in any case.
pub fn find_site(name: &[u8]) -> Option<&'static Word> {
    let is = |word: &&Word| {
        word.name.strip_prefix("SITE ").is_some_and(|own| own.as_bytes().eq_ignore_ascii_case(name))
    };
    WORDS.iter().find(is)
}

/// The answer to a word that nobody knows, with a hint where a known one is near.
pub fn unknown(name: &[u8]) -> Reply {
    const SHOWN: usize = 32;
    let shown = String::from_utf8_lossy(name.get(..SHOWN).unwrap_or(name)).into_owned();
    let hint = match nearest(name) {
        Some(near) => format!("Did you mean \"{near}\"?"),
        None => "Type help for the commands.".to_string(),
    };
    Reply::new(500, format!("Unknown command \"{shown}\". {hint}"))
}

fn nearest(name: &[u8]) -> Option<&'static str> {
    const LONGEST: usize = 16;
    if name.len() > LONGEST {
        return None;
    }
    let name = name.to_ascii_lowercase();
    // One slip in a short word, two in a longer one.
    let most = if name.len() < 4 { 1 } else { 2 };
    WORDS
        .iter()
        .flat_map(|word| std::iter::once(word.name).chain(word.aliases.iter().copied()))
        .filter(|known| !known.contains(' '))
        .map(|known| (distance(&name, known.to_ascii_lowercase().as_bytes()), known))
        .filter(|(distance, known)| *distance <= most && *distance < known.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// How many bytes must be put in, taken out or changed to make one of the other (Levenshtein).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (above, to) in row.iter().skip(1).zip(b) {
            left = (diagonal + usize::from(from != to)).min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// `help`: every word, grouped, a line a word.
pub fn help() -> Reply {
    let mut lines = Vec::new();
    for (group, title) in GROUPS {
        lines.push(title.as_bytes().to_vec());
        for word in WORDS.iter().filter(|word| word.group == group) {
            lines.push(format!("  {:<31} {}", word.usage, word.purpose).into_bytes());
        }
    }
    Reply::multi(214, "The commands; by hand, quote names with spaces:", lines, "help WORD tells more.")
}

/// SITE HELP.
pub fn site_help() -> Reply {
    let site = WORDS.iter().filter(|word| word.group == Group::Site);
    let lines = site.map(|word| format!("{:<36} {}", word.usage, word.purpose).into_bytes()).collect();
    Reply::multi(214, "SITE commands:", lines, "End.")
}

/// `help WORD`.
pub fn help_about(name: &[u8]) -> Reply {
    let Some(word) = find(name) else {
        return unknown(name).with_code(504);
    };
    let mut lines = vec![word.purpose.to_string(), format!("for example: {}", word.example)];
    if !word.aliases.is_empty() {
        lines.push(format!("also spelled: {}", word.aliases.join(", ")));
    }
    let lines = lines.into_iter().map(String::into_bytes).collect();
    Reply::multi(214, format!("Usage: {}", word.usage), lines, "End.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_there_once() {
        let mut spellings: Vec<String> = WORDS
            .iter()
            .flat_map(|word| std::iter::once(word.name).chain(word.aliases.iter().copied()))
            .map(str::to_ascii_lowercase)
            .collect();
        let count = spellings.len();
        spellings.sort();
        spellings.dedup();
        assert_eq!(spellings.len(), count);
    }

    #[test]
    fn every_usage_and_example_begins_with_the_word() {
        for word in WORDS {
            for text in [word.usage, word.example] {
                assert!(text == word.name || text.starts_with(&format!("{} ", word.name)), "{text}");
            }
        }
    }

    #[test]
    fn near_words_are_hinted_and_far_ones_not() {
        for (name, hint) in [
            ("lst", Some("ls")),
            ("mkdr", Some("mkdir")),
            ("regsiter", Some("register")),
            ("QQQ", None),
            ("xyzzy", None),
            ("a-very-long-word-indeed", None),
        ] {
            assert_eq!(nearest(name.as_bytes()), hint, "{name}");
        }
        assert_eq!(unknown(b"lst").encode(), b"500 Unknown command \"lst\". Did you mean \"ls\"?\r\n");
    }
}
