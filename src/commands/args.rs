//! The arguments of a command: each method reads all of them in one form, or returns a 501 reply
//! with the usage.

use std::time::SystemTime;

use crate::reply::Reply;
use crate::text::{self, digits};
use crate::time;

/// How a command is used: its spelling, and the arguments that belong after it.
pub fn usage(spelling: &str, arguments: &str) -> String {
    format!("{spelling} {arguments}").trim_end().to_string()
}

/// Splits a line into its first word and the bytes after the space or tab that ends the word.
pub fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.trim_ascii_start();
    let end = line.iter().position(is_blank).unwrap_or(line.len());
    (line.get(..end).unwrap_or_default(), line.get(end + 1..).unwrap_or_default())
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The arguments of one command: the bytes that follow the verb on its line.
#[derive(Debug, Clone, Copy)]
pub struct Args<'l> {
    /// The bytes, unchanged. They begin after the one space or tab that ends the verb.
    pub bytes: &'l [u8],
    /// The spelling that was typed, as the table has it.
    pub spelling: &'static str,
    /// The arguments that the command takes, as in `[-f] FROM TO`.
    pub expected: &'static str,
    /// The line was too long, so its end is missing.
    pub is_cut: bool,
}

impl<'l> Args<'l> {
    /// The 501 reply with the usage.
    pub fn usage(&self) -> Reply {
        self.refuse("", "not as the usage says")
    }

    /// The 501 reply to more words than arguments. The usual reason is a name or a password with
    /// spaces.
    pub fn too_many(&self) -> Reply {
        self.refuse("Too many words; quote one that has spaces. ", "too many words")
    }

    fn refuse(&self, what: &str, why: &'static str) -> Reply {
        let usage = usage(self.spelling, self.expected);
        Reply::new(501, format!("{what}Usage: {usage}")).because(why)
    }

    /// All bytes as one argument, spaces included: the form of FTP verbs.
    pub fn rest_of_line(&self) -> Result<Vec<u8>, Reply> {
        match self.bytes {
            b"" => Err(self.usage()),
            // Backups contain names with tabs and other control characters. A line has no LF, and
            // lines with a CR were refused before.
            bytes if bytes.contains(&0) => Err(nul()),
            bytes => Ok(bytes.to_vec()),
        }
    }

    /// Checks that there is no argument.
    pub fn expect_none(&self) -> Result<(), Reply> {
        if self.is_empty() { Ok(()) } else { Err(self.usage()) }
    }

    /// Whether there are only blanks.
    pub fn is_empty(&self) -> bool {
        self.bytes.trim_ascii().is_empty()
    }

    /// The words, split as a shell splits them. A control character must be quoted: without quotes
    /// it comes from an arrow key on a terminal without line editing.
    pub fn words(&self) -> Result<Vec<Vec<u8>>, Reply> {
        split(self.bytes).into_iter().map(|word| self.check(word)).collect()
    }

    fn check(&self, word: Split) -> Result<Vec<u8>, Reply> {
        if word.bytes.contains(&0) {
            Err(nul())
        } else if text::has_control(&word.unquoted) {
            Err(control_character())
        } else if word.is_open {
            Err(self.refuse("A quote is not closed. ", "a quote is not closed"))
        } else {
            Ok(word.bytes)
        }
    }

    /// Exactly `N` words.
    pub fn exactly<const N: usize>(&self) -> Result<[Vec<u8>; N], Reply> {
        self.expect_number(self.words()?)
    }

    /// `words` as an array, if there are exactly `N` of them.
    pub fn expect_number<const N: usize>(
        &self,
        words: Vec<Vec<u8>>,
    ) -> Result<[Vec<u8>; N], Reply> {
        words.try_into().map_err(
            |words: Vec<_>| {
                if words.len() > N { self.too_many() } else { self.usage() }
            },
        )
    }

    /// One word, which is not empty.
    pub fn single(&self) -> Result<Vec<u8>, Reply> {
        let [word] = self.exactly()?;
        if word.is_empty() { Err(self.usage()) } else { Ok(word) }
    }

    /// The only one of these words, if there is one.
    pub fn at_most_one(&self, mut words: Vec<Vec<u8>>) -> Result<Option<Vec<u8>>, Reply> {
        let word = words.pop();
        if words.is_empty() { Ok(word) } else { Err(self.too_many()) }
    }

    /// Words of which the first ones may be flags, such as `-la`. Returns the letters of the flags,
    /// and the other words.
    pub fn flags(&self) -> Result<(Vec<u8>, Vec<Vec<u8>>), Reply> {
        let mut words = self.words()?;
        let is_flag = |word: &Vec<u8>| word.len() > 1 && word.starts_with(b"-");
        let count = words.iter().take_while(|word| is_flag(word)).count();
        let others = words.split_off(count);
        let letters = words.iter().flat_map(|word| word.iter().skip(1).copied()).collect();
        Ok((letters, others))
    }

    /// The letters of optional flags, which must be among `known`, and the `N` paths after them.
    pub fn flags_and_paths<const N: usize>(
        &self,
        known: &[u8],
    ) -> Result<(Vec<u8>, [Vec<u8>; N]), Reply> {
        let (flags, paths) = self.flags()?;
        let paths: [_; N] = self.expect_number(paths)?;
        if paths.iter().any(Vec::is_empty) || !flags.iter().all(|flag| known.contains(flag)) {
            return Err(self.usage());
        }
        Ok((flags, paths))
    }

    /// All bytes as one path, or an empty path if there is none.
    pub fn path_or_none(&self) -> Result<Vec<u8>, Reply> {
        if self.is_empty() { Ok(Vec::new()) } else { self.rest_of_line() }
    }

    /// All bytes after flags such as `-la` as one path, or an empty path. The flags have no effect.
    pub fn path_behind_flags(&self) -> Result<Vec<u8>, Reply> {
        let mut path = self.bytes;
        while path.starts_with(b"-") {
            let end = path.iter().position(is_blank).unwrap_or(path.len());
            path = path.get(end..).unwrap_or_default().trim_ascii_start();
        }
        Args { bytes: path, ..*self }.path_or_none()
    }

    /// One path: quoted, as typed by hand, or all bytes. For words that both people and programs
    /// use.
    pub fn rest_of_line_or_quoted(&self) -> Result<Vec<u8>, Reply> {
        if self.bytes.starts_with(b"\"") || self.bytes.starts_with(b"'") {
            self.single()
        } else {
            self.rest_of_line()
        }
    }

    /// The first word as a number. Other words have no effect (`ALLO 100 R 10`).
    pub fn first_number(&self) -> Result<u64, Reply> {
        let number = digits(self.split_word().0).and_then(|digits| digits.parse().ok());
        number.ok_or_else(|| self.usage())
    }

    /// The first word, and the arguments after it.
    pub fn split_word(&self) -> (&'l [u8], Args<'l>) {
        let (word, rest) = split_word(self.bytes);
        (word, Args { bytes: rest, ..*self })
    }

    /// `YYYYMMDDHHMMSS PATH`.
    pub fn time_and_path(&self) -> Result<(SystemTime, Vec<u8>), Reply> {
        let (word, rest) = self.split_word();
        let time = time::parse_time_val(word).ok_or_else(|| self.usage())?;
        Ok((time, rest.rest_of_line()?))
    }

    /// `640 PATH`: an octal number, of which the nine permission bits count.
    pub fn mode_and_path(&self) -> Result<(u32, Vec<u8>), Reply> {
        let (word, rest) = self.split_word();
        let digits = digits(word).filter(|digits| matches!(digits.len(), 3 | 4));
        let mode = digits.and_then(|digits| u32::from_str_radix(digits, 8).ok());
        Ok((mode.ok_or_else(|| self.usage())? & 0o777, rest.rest_of_line()?))
    }

    /// A path and the text after it, for `write FILE TEXT`. The text begins after the blanks that
    /// follow the path, and is kept as it was typed. It follows a refused path, too, except one
    /// with an open quote, because then it cannot be known where the path ends.
    pub fn path_and_text(&self) -> (Result<Vec<u8>, Reply>, Option<Vec<u8>>) {
        let first = split(self.bytes).into_iter().next().unwrap_or_default();
        let text = self.bytes.get(first.end..).unwrap_or_default().trim_ascii_start();
        let path = match self.check(first) {
            Ok(path) if path.is_empty() => Err(self.usage()),
            // A tab is fine in a text.
            Ok(_) if text.split(|byte| *byte == b'\t').any(text::has_control) => {
                Err(control_character())
            }
            checked => checked,
        };
        (path, Some(text.to_vec()).filter(|text| !text.is_empty()))
    }
}

/// Parses digits. A number that is too large becomes the largest one.
pub fn number(word: &[u8]) -> Option<u64> {
    Some(digits(word)?.parse().unwrap_or(u64::MAX))
}

fn control_character() -> Reply {
    Reply::new(501, "There is a control character outside quotes. Nothing was done.")
}

fn nul() -> Reply {
    Reply::new(501, "A name or password cannot contain NUL. Nothing was done.")
}

/// A word, and the index in the line at which it ends.
#[derive(Default)]
struct Split {
    bytes: Vec<u8>,
    /// The bytes of the word that are not quoted and have no backslash before them.
    unquoted: Vec<u8>,
    end: usize,
    /// A quote is not closed, or the line ends with a backslash.
    is_open: bool,
}

/// Splits at spaces and tabs. Quotes and backslashes keep them, as in a POSIX shell (XCU §2.2).
fn split(bytes: &[u8]) -> Vec<Split> {
    let mut words = Vec::new();
    let mut word: Option<Split> = None;
    let mut state = Quote::None;
    for (index, byte) in bytes.iter().enumerate() {
        if state == Quote::None && is_blank(byte) {
            words.extend(word.take().map(|word| Split { end: index, ..word }));
            continue;
        }
        let word = word.get_or_insert_default();
        if state == Quote::None {
            word.unquoted.push(*byte);
        }
        let (next, kept) = state.step(*byte);
        word.bytes.extend(kept.into_iter().flatten());
        state = next;
    }
    let is_open = state != Quote::None;
    words.extend(word.map(|word| Split { end: bytes.len(), is_open, ..word }));
    words
}

/// What is open at a place in a line: a quote, a backslash, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
    Escape,
    EscapeInDouble,
}

impl Quote {
    /// The state after `byte`, and the bytes that it adds to the word.
    fn step(self, byte: u8) -> (Quote, [Option<u8>; 2]) {
        let (next, kept) = match (self, byte) {
            (Quote::None, b'\'') => (Quote::Single, None),
            (Quote::None, b'"') => (Quote::Double, None),
            (Quote::None, b'\\') => (Quote::Escape, None),
            (Quote::Single, b'\'') | (Quote::Double, b'"') => (Quote::None, None),
            (Quote::Double, b'\\') => (Quote::EscapeInDouble, None),
            (Quote::Escape, _) => (Quote::None, Some(byte)),
            // In double quotes a backslash before most characters is an ordinary character.
            (Quote::EscapeInDouble, b'"' | b'\\') => (Quote::Double, Some(byte)),
            (Quote::EscapeInDouble, _) => return (Quote::Double, [Some(b'\\'), Some(byte)]),
            (state, _) => (state, Some(byte)),
        };
        (next, [kept, None])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args<'_> {
        Args { bytes: line.as_bytes(), spelling: "mkdir", expected: "[-p] DIR", is_cut: false }
    }

    #[test]
    fn words_split_as_in_a_shell() {
        for (line, expected) in [
            ("", &[][..]),
            (" \t ", &[]),
            ("a  b\tc ", &["a", "b", "c"]),
            (r#""my file.txt" 'copy of it'"#, &["my file.txt", "copy of it"]),
            (r"my\ file a\\b \'", &["my file", r"a\b", "'"]),
            (r#"a"b c"d'e f'"#, &["ab cde f"]),
            (r#""" ''"#, &["", ""]),
            (r#""a\"b\\c\d" 'e\f'"#, &[r#"a"b\c\d"#, r"e\f"]),
        ] {
            let words = args(line).words().unwrap();
            let words: Vec<_> = words.iter().map(|word| str::from_utf8(word).unwrap()).collect();
            assert_eq!(words, expected, "{line}");
        }
    }

    #[test]
    fn open_quotes_and_unquoted_control_characters_are_refused() {
        let reply = |line| args(line).single().unwrap_err().encode();
        assert_eq!(reply("\"a b"), b"501 A quote is not closed. Usage: mkdir [-p] DIR\r\n");
        assert_eq!(reply("a\\"), b"501 A quote is not closed. Usage: mkdir [-p] DIR\r\n");
        let unquoted = b"501 There is a control character outside quotes. Nothing was done.\r\n";
        for line in ["a\x01b", "\x1b[A", "'a\tb'\x01", "\"a b\"\u{85}", "\x7f"] {
            assert_eq!(reply(line), unquoted, "{line:?}");
        }
        for line in ["a\0b", "'a\0b'", "a\\\0"] {
            assert_eq!(
                reply(line),
                b"501 A name or password cannot contain NUL. Nothing was done.\r\n",
                "{line:?}"
            );
        }
    }

    #[test]
    fn a_quoted_name_holds_any_byte_but_nul() {
        for (line, name) in
            [("'a\tb\x1b'", "a\tb\x1b"), ("\"\x01\\\"\u{9b}\"", "\x01\"\u{9b}"), ("a\\\tb", "a\tb")]
        {
            assert_eq!(args(line).single().unwrap(), name.as_bytes(), "{line:?}");
            assert_eq!(args(line).path_and_text().0.unwrap(), name.as_bytes(), "{line:?}");
        }
    }

    #[test]
    fn an_ftp_verbs_argument_holds_any_byte_but_nul() {
        for name in ["a\tb ", "\x01\x08\x7f\x1b", " ", "\u{85}"] {
            assert_eq!(args(name).rest_of_line().unwrap(), name.as_bytes(), "{name:?}");
        }
        assert!(args("a\0b").rest_of_line().is_err());
    }

    #[test]
    fn the_text_of_write_is_kept_as_it_was_typed() {
        for (line, path, text) in [
            ("a.txt", "a.txt", None),
            ("a.txt  ", "a.txt", None),
            ("a.txt it's  \"mine\" ", "a.txt", Some("it's  \"mine\" ")),
            ("\"my file\"  x\ty", "my file", Some("x\ty")),
        ] {
            let (found, rest) = args(line).path_and_text();
            let found = found.unwrap();
            assert_eq!(found, path.as_bytes(), "{line}");
            assert_eq!(rest.as_deref(), text.map(str::as_bytes), "{line}");
        }
        assert!(args("\"a").path_and_text().0.is_err());
        assert!(args("  ").path_and_text().0.is_err());
        assert!(args("a\x01 text").path_and_text().0.is_err());
    }
}
