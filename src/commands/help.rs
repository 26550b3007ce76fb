//! Help and hints, from the table of commands.

use crate::reply::Reply;

use super::table::{Group, Parser, find, spellings};

/// The reply to an unknown word, with a hint if a known one is similar.
pub fn unknown(name: &[u8]) -> Reply {
    const SHOWN: usize = 32;
    let shown = String::from_utf8_lossy(name.get(..SHOWN).unwrap_or(name)).into_owned();
    let hint = match nearest(name) {
        Some(near) => format!("Did you mean \"{near}\"?"),
        None => "Type help for the commands.".to_string(),
    };
    Reply::new(500, format!("Unknown command \"{shown}\". {hint}")).because("unknown command")
}

/// Words that delete, rename or end the session. A hint never names them, because a person may
/// follow a hint without reading further.
const NEVER_HINTED: [&str; 6] = ["unregister", "logout", "rmdir", "rm", "mv", "quit"];

/// The spelling of a hand word that is most similar to `name`, if it is similar enough and a hint
/// may name it. A less similar one would be a wrong guess.
fn nearest(name: &[u8]) -> Option<&'static str> {
    const LONGEST: usize = 16;
    if name.len() > LONGEST {
        return None;
    }
    let name = name.to_ascii_lowercase();
    // One typing error in a short word, two in a longer one.
    let most = if name.len() < 4 { 1 } else { 2 };
    spellings()
        .filter(|(word, _)| word.group == Group::Hand)
        .map(|(word, spelling)| {
            let is_never_hinted = NEVER_HINTED.contains(&word.name);
            (distance(&name, spelling.as_bytes()), is_never_hinted, spelling)
        })
        .filter(|(distance, _, spelling)| *distance <= most && *distance < spelling.len())
        .min_by_key(|(distance, is_never_hinted, _)| (*distance, *is_never_hinted))
        .filter(|(_, is_never_hinted, _)| !is_never_hinted)
        .map(|(_, _, spelling)| spelling)
}

/// The number of bytes to insert, remove or change to turn `a` into `b` (Levenshtein).
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

/// The lines of `help` between its first and its last. The whole reply fits a screen of 24 lines
/// and a student's `recv(1024)`.
const HELP: &[&str] = &[
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
    let closing = "More: help WORD; FTP verbs: help ftp.";
    Reply::multi(214, "Quote names with spaces: \"my file\".", HELP, closing)
}

/// A line for each command of the group, and for each spelling that begins with SITE.
fn lines_of(group: Option<Group>) -> impl Iterator<Item = String> {
    let wanted = spellings().filter(move |(word, name)| {
        let is_main = *name == word.name && !matches!(word.parser, Parser::Refuse);
        name.starts_with("SITE ") || is_main && Some(word.group) == group
    });
    wanted.map(|(word, name)| format!("{:<36} {}", word.usage(name), word.purpose))
}

/// `help ftp`: the FTP verbs.
fn ftp_help() -> Reply {
    let text = "FTP verbs; each takes the rest of the line as one argument:";
    Reply::multi(214, text, lines_of(Some(Group::Ftp)), "help WORD tells more.")
}

/// SITE HELP.
pub fn site_help() -> Reply {
    Reply::multi(214, "SITE commands:", lines_of(None), "End.")
}

/// `help WORD`.
pub fn help_about(name: &[u8]) -> Reply {
    if name.eq_ignore_ascii_case(b"ftp") {
        return ftp_help();
    }
    let Some((info, typed)) = find(name) else {
        let mut reply = unknown(name);
        reply.code = 504;
        return reply;
    };
    let mut lines = vec![info.purpose.to_string(), format!("for example: {}", info.example_line())];
    let others: Vec<_> =
        info.spellings.iter().copied().filter(|spelling| *spelling != typed).collect();
    if !others.is_empty() {
        lines.push(format!("also spelled: {}", others.join(", ")));
    }
    Reply::multi(214, format!("Usage: {}", info.usage(typed)), lines, "End.")
}

#[cfg(test)]
mod tests {
    use super::super::table::COMMANDS;
    use super::*;

    #[test]
    fn help_fits_a_screen_and_one_read_and_shows_every_hand_word() {
        let said = String::from_utf8(help().encode()).unwrap();
        let shown = HELP.iter().flat_map(|line| line.split("  ").next().unwrap().split(", "));
        let shown: Vec<String> = shown.map(str::to_string).collect();
        let by_hand =
            COMMANDS.iter().filter(|word| word.group == Group::Hand && word.name != "help");
        let usages: Vec<_> = by_hand.map(|word| word.usage(word.name).to_string()).collect();
        for usage in &usages {
            let times = shown.iter().filter(|shown| *shown == usage).count();
            assert_eq!(times, 1, "HELP must show \"{usage}\" once, as its row has it");
        }
        for shown in &shown {
            assert!(usages.contains(shown), "HELP shows \"{shown}\", but no row has this usage");
        }
        let count = said.lines().count();
        assert!(
            count <= 22,
            "HELP makes {count} lines: let words share one, as whoami, free and pwd do"
        );
        assert!(said.len() < 1000, "HELP makes {} bytes: shorten a phrase in it", said.len());
        assert!(said.lines().all(|line| line.len() < 80));
    }

    #[test]
    fn help_ftp_shows_every_verb_and_help_itself_has_a_page() {
        let said = String::from_utf8(help_about(b"FTP").encode()).unwrap();
        let is_refused = |parser: Parser| matches!(parser, Parser::Refuse);
        let verbs = COMMANDS.iter().filter(|word| word.group == Group::Ftp);
        for word in verbs.filter(|word| !is_refused(word.parser)) {
            assert!(said.contains(&format!("\n {} ", word.usage(word.name))), "{}", word.name);
        }
        assert!(!said.contains("\n ls"));
        for word in COMMANDS {
            for spelling in word.spellings {
                let said = String::from_utf8(help_about(spelling.as_bytes()).encode()).unwrap();
                assert!(said.starts_with(&format!("214-Usage: {spelling}")), "{said}");
                assert!(
                    said.contains(&format!("\n for example: {}", word.example_line())),
                    "{said}"
                );
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
        let harmless = "register login passwd whoami free pwd cd ls mkdir touch cp info hash get \
            put write append \
            help";
        let harmless: Vec<_> = harmless.split_whitespace().collect();
        let by_hand = || COMMANDS.iter().filter(|word| word.group == Group::Hand);
        for word in by_hand() {
            let places = [harmless.contains(&word.name), NEVER_HINTED.contains(&word.name)];
            let name = word.name;
            assert!(
                places[0] != places[1],
                "may a hint name \"{name}\"? If so, add it to `harmless` in this test, \
                 else to NEVER_HINTED"
            );
        }
        // Every spelling of a word does the same. One in upper case is a verb.
        let words = by_hand().filter(|word| harmless.contains(&word.name));
        let spellings = words.flat_map(|word| word.spellings).copied();
        let is_verb = |spelling: &str| spelling.bytes().any(|byte| byte.is_ascii_uppercase());
        let harmless: Vec<_> = spellings.filter(|spelling| !is_verb(spelling)).collect();
        let mut hints = 0;
        for spelling in COMMANDS.iter().flat_map(|word| word.spellings) {
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
            // A new spelling may be nearer. If it is a good hint, put it here.
            assert_eq!(nearest(name.as_bytes()), hint, "the hint for \"{name}\"");
        }
        assert_eq!(
            unknown(b"lst").encode(),
            b"500 Unknown command \"lst\". Did you mean \"ls\"?\r\n"
        );
    }
}
