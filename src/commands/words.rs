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
    /// The word with its arguments.
    usage: &'static str,
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
    word(Accounts, "free", &["quota", "df"], "free", "space used and left", "free"),

    word(Folders, "pwd", &["XPWD"], "pwd", "the current folder", "pwd"),
    word(Folders, "cd", &["chdir"], "cd [DIR]", "go to a folder; without DIR, or with ~, to your top folder", "cd docs"),
    word(Folders, "ls", &["dir"], "ls [DIR or PATTERN]", "list a folder", "ls *.txt"),
    word(Folders, "mkdir", &["md"], "mkdir [-p] DIR", "make a folder; with -p also the folders above it that are missing", "mkdir -p docs/2026"),
    word(Folders, "rmdir", &["rd"], "rmdir DIR", "remove an empty folder", "rmdir docs"),

    word(Files, "rm", &["del", "delete"], "rm [-r] PATH", "remove a file; with -r also a folder with all in it", "rm -r docs"),
    word(Files, "touch", &["create", "mkfile"], "touch FILE", "create an empty file, or set a file's time to now", "touch new.txt"),
    word(Files, "cp", &["copy"], "cp [-f] FROM TO", "copy a file or a folder; -f replaces a file", "cp notes.txt \"copy of notes.txt\""),
    word(Files, "mv", &["move", "rename", "ren"], "mv [-f] FROM TO", "rename or move; -f replaces a file", "mv notes.txt docs/"),
    word(Files, "info", &[], "info PATH", "size, time and kind", "info notes.txt"),
    word(Files, "hash", &[], "hash FILE", "the content's SHA-256", "hash notes.txt"),

    word(Content, "get", &["cat", "download", "more", "less"], "get FILE", "send me a file: a count, then so many bytes", "get notes.txt"),
    word(Content, "put", &["upload", "send"], "put FILE [SIZE]", "store SIZE bytes that follow; without SIZE, what you type, up to a line with only \".\"", "put photo.jpg 48211"),
    word(Content, "write", &[], "write FILE [TEXT]", "store the text; without it, what you type, up to a line with only \".\"", "write notes.txt buy milk"),
    word(Content, "append", &[], "append FILE [TEXT]", "like write, at the end of the file, in place", "append notes.txt and bread"),

    word(Other, "help", &["?"], "help [WORD]", "the list of words; more about WORD; with ftp, the list of FTP verbs", "help put"),
    word(Other, "quit", &["exit", "bye"], "quit", "leave", "quit"),

    word(Ftp, "USER", &[], "USER NAME", "who wants to sign in", "USER alice"),
    word(Ftp, "PASS", &[], "PASS PASSWORD", "the password of USER", "PASS wonderland"),
    word(Ftp, "REIN", &[], "REIN", "sign out, stay connected", "REIN"),
    word(Ftp, "CWD", &["XCWD"], "CWD DIR", "go to a folder", "CWD my docs"),
    word(Ftp, "CDUP", &["XCUP", "cd.."], "CDUP", "go to the folder above", "CDUP"),
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
    word(Ftp, "EPSV", &[], "EPSV [1 or 2 or ALL]", "like PASV, for IPv6 too", "EPSV"),
    word(Ftp, "PORT", &[], "PORT H1,H2,H3,H4,P1,P2", "where the client waits for the data connection", "PORT 127,0,0,1,156,64"),
    word(Ftp, "EPRT", &[], "EPRT |FAMILY|ADDRESS|PORT|", "like PORT, for IPv6 too", "EPRT |2|::1|40000|"),
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
    /// Every spelling, the first is the name.
    pub fn spellings(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Whether people type it by hand.
    fn is_by_hand(&self) -> bool {
        matches!(self.group, Accounts | Folders | Files | Content | Other)
    }

    /// Whether it is known only to be refused.
    #[cfg(test)]
    pub fn is_refused(&self) -> bool {
        self.group == Group::Refused
    }
}

/// A word, and which of its spellings was typed.
#[derive(Debug, Clone, Copy)]
pub struct Typed {
    /// The word.
    pub word: &'static Word,
    spelling: &'static str,
}

impl Typed {
    /// The usage, with the spelling that was typed.
    pub fn usage(&self) -> String {
        let arguments = self.word.usage.strip_prefix(self.word.name).unwrap_or_default();
        format!("{}{arguments}", self.spelling)
    }
}

/// The word that is spelled like this, in any case.
pub fn find(name: &[u8]) -> Option<Typed> {
    let is = |spelling: &&str| spelling.as_bytes().eq_ignore_ascii_case(name);
    WORDS.iter().find_map(|word| word.spellings().find(is).map(|spelling| Typed { word, spelling }))
}

/// Whether it is an FTP verb, which takes the rest of the line as one argument, byte for byte.
pub fn is_ftp_verb(name: &[u8]) -> bool {
    // HASH is both, and programs send it with whatever names there are.
    find(name).is_some_and(|typed| matches!(typed.word.group, Ftp | Refused) || typed.word.name == "hash")
}

/// The word of SITE that is spelled like this, in any case.
pub fn find_site(name: &[u8]) -> Option<Typed> {
    find(&[b"SITE ", name].concat())
}

/// The answer to an unknown word, with a hint if a known one is near.
pub fn unknown(name: &[u8]) -> Reply {
    const SHOWN: usize = 32;
    let shown = String::from_utf8_lossy(name.get(..SHOWN).unwrap_or(name)).into_owned();
    let hint = match nearest(name) {
        Some(near) => format!("Did you mean \"{near}\"?"),
        None => "Type help for the commands.".to_string(),
    };
    Reply::new(500, format!("Unknown command \"{shown}\". {hint}")).because("unknown command")
}

/// Words that delete, rename or end the session. A hint names none of them, because a person may do as it
/// says without reading on.
const NEVER_HINTED: [&str; 6] = ["unregister", "logout", "rmdir", "rm", "mv", "quit"];

/// The spelling of a hand word that is nearest to `name`, if it is near enough and may be hinted at. A
/// farther one would be a wrong guess.
fn nearest(name: &[u8]) -> Option<&'static str> {
    const LONGEST: usize = 16;
    if name.len() > LONGEST {
        return None;
    }
    let name = name.to_ascii_lowercase();
    // One slip in a short word, two in a longer one.
    let most = if name.len() < 4 { 1 } else { 2 };
    let by_hand = WORDS.iter().filter(|word| word.is_by_hand());
    by_hand
        .flat_map(|word| word.spellings().map(move |spelling| (word, spelling)))
        .map(|(word, spelling)| {
            let is_kept_back = NEVER_HINTED.contains(&word.name);
            (distance(&name, spelling.as_bytes()), is_kept_back, spelling)
        })
        .filter(|(distance, _, spelling)| *distance <= most && *distance < spelling.len())
        .min_by_key(|(distance, is_kept_back, _)| (*distance, *is_kept_back))
        .filter(|(_, is_kept_back, _)| !is_kept_back)
        .map(|(_, _, spelling)| spelling)
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

/// What `help` says between its first and its last line: the hand words and `help` itself fit a screen of 24
/// lines and a student's `recv(1024)`.
const HELP: [&str; 20] = [
    "register NAME PASSWORD [CODE]  create an account",
    "login NAME PASSWORD, logout    log in, log out",
    "passwd OLD NEW       change your password",
    "unregister PASSWORD  delete your account and files",
    "whoami, free, pwd    account, space, folder",
    "cd [DIR]             go to a folder",
    "ls [DIR or PATTERN]  list a folder",
    "mkdir [-p] DIR       make a folder",
    "rmdir DIR            remove an empty folder",
    "rm [-r] PATH         remove; -r: a whole folder",
    "touch FILE           create an empty file",
    "cp [-f] FROM TO      copy; -f: replace a file",
    "mv [-f] FROM TO      rename or move",
    "info PATH            size, time and kind",
    "hash FILE            SHA-256 of the content",
    "get FILE             show or fetch a file",
    "put FILE [SIZE]      store SIZE bytes that follow",
    "write FILE [TEXT]    store a text",
    "append FILE [TEXT]   add a text at the end",
    "quit                 leave",
];

/// `help`: the hand words.
pub fn help() -> Reply {
    let lines = HELP.iter().map(|line| line.as_bytes().to_vec()).collect();
    Reply::multi(214, "Quote names with spaces: \"my file\".", lines, "More: help WORD; FTP verbs: help ftp.")
}

fn lines_of(group: Group) -> impl Iterator<Item = Vec<u8>> {
    let words = WORDS.iter().filter(move |word| word.group == group);
    words.map(|word| format!("{:<36} {}", word.usage, word.purpose).into_bytes())
}

/// `help ftp`: the FTP verbs.
fn ftp_help() -> Reply {
    let lines = lines_of(Group::Ftp).chain(lines_of(Group::Site)).collect();
    Reply::multi(
        214,
        "FTP verbs; each takes the rest of the line as one argument:",
        lines,
        "help WORD tells more.",
    )
}

/// SITE HELP.
pub fn site_help() -> Reply {
    Reply::multi(214, "SITE commands:", lines_of(Group::Site).collect(), "End.")
}

/// `help WORD`.
pub fn help_about(name: &[u8]) -> Reply {
    if name.eq_ignore_ascii_case(b"ftp") {
        return ftp_help();
    }
    let Some(typed) = find(name) else {
        return unknown(name).with_code(504);
    };
    let word = typed.word;
    let mut lines = vec![word.purpose.to_string(), format!("for example: {}", word.example)];
    let others: Vec<_> = word.spellings().filter(|spelling| *spelling != typed.spelling).collect();
    if !others.is_empty() {
        lines.push(format!("also spelled: {}", others.join(", ")));
    }
    let lines = lines.into_iter().map(String::into_bytes).collect();
    Reply::multi(214, format!("Usage: {}", typed.usage()), lines, "End.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_there_once() {
        let mut spellings: Vec<String> =
            WORDS.iter().flat_map(Word::spellings).map(str::to_ascii_lowercase).collect();
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
    fn help_fits_a_screen_and_one_read_and_shows_every_hand_word() {
        let said = String::from_utf8(help().encode()).unwrap();
        assert!(said.lines().count() <= 22, "{} lines", said.lines().count());
        assert!(said.len() < 1000, "{} bytes", said.len());
        assert!(said.lines().all(|line| line.len() < 80));
        let shown = HELP.iter().flat_map(|line| line.split("  ").next().unwrap().split(", "));
        let by_hand = WORDS.iter().filter(|word| word.is_by_hand() && word.name != "help");
        let mut shown: Vec<_> = shown.collect();
        let mut usages: Vec<_> = by_hand.map(|word| word.usage).collect();
        shown.sort_unstable();
        usages.sort_unstable();
        assert_eq!(shown, usages);
    }

    #[test]
    fn help_ftp_shows_every_verb_and_help_itself_has_a_page() {
        let said = String::from_utf8(help_about(b"FTP").encode()).unwrap();
        for word in WORDS.iter().filter(|word| matches!(word.group, Ftp | Site)) {
            assert!(said.contains(&format!("\n {} ", word.usage)), "{}", word.name);
        }
        assert!(!said.contains("\n ls"));
        for word in WORDS {
            for spelling in word.spellings() {
                let said = String::from_utf8(help_about(spelling.as_bytes()).encode()).unwrap();
                assert!(said.starts_with(&format!("214-Usage: {spelling}")), "{said}");
                assert!(said.contains(&format!("\n for example: {}", word.example)), "{said}");
            }
        }
    }

    /// Everything that one slip of a finger makes of a word.
    fn slips(word: &str) -> Vec<String> {
        let letters: Vec<char> = ('a'..='z').chain(['.', '?', '-']).collect();
        let mut slips = Vec::new();
        for at in 0..=word.len() {
            let (head, tail) = word.split_at(at);
            let rest = tail.get(1..).unwrap_or_default();
            slips.extend(letters.iter().map(|letter| format!("{head}{letter}{tail}")));
            if !tail.is_empty() {
                slips.push(format!("{head}{rest}"));
                slips.extend(letters.iter().map(|letter| format!("{head}{letter}{rest}")));
            }
        }
        slips
    }

    #[test]
    fn no_hint_names_a_word_that_deletes_renames_or_leaves_nor_a_verb() {
        let harmless = "register login passwd whoami free quota df pwd cd chdir ls dir mkdir md touch create \
            mkfile cp copy info hash get cat download more less put upload send write append help ?";
        let harmless: Vec<_> = harmless.split_whitespace().collect();
        let mut hints = 0;
        for spelling in WORDS.iter().flat_map(Word::spellings) {
            for slip in slips(&spelling.to_ascii_lowercase()) {
                let hint = nearest(slip.as_bytes());
                assert!(hint.is_none_or(|hint| harmless.contains(&hint)), "{slip}: {hint:?}");
                hints += usize::from(hint.is_some());
            }
        }
        assert!(hints > 1000, "{hints}");
        // A word that is one slip away from a harmless one is hinted at, if no other is as near.
        for word in harmless.iter().filter(|word| word.len() > 4) {
            let slip = format!("{word}x");
            assert_eq!(nearest(slip.as_bytes()), Some(*word), "{slip}");
        }
    }

    #[test]
    fn near_words_are_hinted_and_far_ones_not() {
        for (name, hint) in [
            ("lst", Some("ls")),
            ("mkdr", Some("mkdir")),
            ("regsiter", Some("register")),
            ("QQQ", None),
            ("edit", None),
            ("open", None),
            ("delte", None),
            ("renam", None),
            ("STRO", None),
            ("sned", Some("send")),
            ("xyzzy", None),
            ("a-very-long-word-indeed", None),
        ] {
            assert_eq!(nearest(name.as_bytes()), hint, "{name}");
        }
        assert_eq!(unknown(b"lst").encode(), b"500 Unknown command \"lst\". Did you mean \"ls\"?\r\n");
    }
}
