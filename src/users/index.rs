//! The text of the users file as a map from names to records.

use std::collections::HashMap;
use std::io::{self, ErrorKind};

use crate::tally::Tally;

use super::hash::PasswordHash;
use super::record::{QuotaSetting, Record};

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The accounts by name, in lower case.
#[derive(Debug, Default)]
pub struct Index {
    /// `None` for an account that is locked: its line is malformed, or it has two lines.
    records: HashMap<String, Option<Record>>,
    /// How many hashes have each number of iterations.
    iterations: Tally<usize>,
    /// By the first name in FOLDER, in lower case: the accounts whose lines have it.
    guests: HashMap<String, Vec<String>>,
    /// A warning for each line that locks an account.
    pub locked: Vec<String>,
}

impl Index {
    /// Reads the text of the file. An error says why the text as a whole is unreadable: its lines
    /// are not found then, so a name would seem free although a line has it.
    pub fn parse(text: &[u8]) -> io::Result<Index> {
        if let Some(why) = why_unreadable(text) {
            return Err(io::Error::new(ErrorKind::InvalidData, why));
        }
        let mut index = Index::default();
        for (number, line) in without_mark(text).split(|byte| *byte == b'\n').enumerate() {
            if let Err(why) = index.add(line) {
                index.locked.push(format!("users file, line {}: {why}", number + 1));
            }
        }
        Ok(index)
    }

    /// Adds a line, which is given without its line end. If the line locks an account, fails and
    /// says why.
    pub fn add(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let Some(name) = Record::user_name(line) else { return Ok(()) };
        if let Some(top) = Record::top_folder(line) {
            self.guests.entry(top).or_default().push(name.clone());
        }
        let record = match Record::parse(line.strip_suffix(b"\r").unwrap_or(line)) {
            _ if self.records.contains_key(&name) => {
                Err("another line has the same name; neither can log in")
            }
            parsed => parsed,
        };
        let iterations = record.as_ref().ok().and_then(|record| record.hash.iterations());
        iterations.into_iter().for_each(|number| self.iterations.add(number));
        let why = record.as_ref().err().copied();
        self.records.insert(name, record.ok());
        why.map_or(Ok(()), Err)
    }

    /// The record of an account that is not locked.
    pub fn find(&self, name: &[u8]) -> Option<&Record> {
        self.records.get(&key(name))?.as_ref()
    }

    /// Whether there is an account of this name, locked or not.
    pub fn has(&self, name: &[u8]) -> bool {
        self.records.contains_key(&key(name))
    }

    /// The account that a client means by a name: `ftp` is `anonymous`, unless it is an account.
    pub fn meant_by<'n>(&self, name: &'n [u8]) -> &'n [u8] {
        let is_alias = name.eq_ignore_ascii_case(b"ftp") && !self.has(name);
        if is_alias { b"anonymous" } else { name }
    }

    /// Another account whose folder lies in the folder of this name, locked or not.
    pub fn guest_of(&self, name: &[u8]) -> Option<&str> {
        let name = key(name);
        let guests = self.guests.get(&name)?;
        guests.iter().find(|guest| **guest != name).map(String::as_str)
    }

    /// The record with the first name of its folder spelled as the account of that name, because
    /// names are compared without case.
    pub fn spelled(&self, mut record: Record) -> Record {
        let top = record.top();
        if let Some(owner) = self.find(top.as_bytes()).filter(|owner| owner.name != top) {
            let below = record.home().get(top.len()..).unwrap_or_default();
            record.folder = Some(format!("{}{below}", owner.name).into());
        }
        record
    }

    /// The quotas that limit the folder of this name in the working directory: that of the account
    /// of this name, or else those of the accounts whose folders lie in it. A locked account has
    /// the usual quota.
    pub fn quotas_of(&self, folder: &[u8]) -> Vec<QuotaSetting> {
        let of = |name: &str| self.find(name.as_bytes()).map_or(QuotaSetting::Usual, |it| it.quota);
        match self.find(folder) {
            // The index ignores case, but a folder's name does not.
            Some(owner) if owner.name.as_bytes() != folder => Vec::new(),
            None if !self.has(folder) => {
                self.guests.get(&key(folder)).into_iter().flatten().map(|name| of(name)).collect()
            }
            owner => vec![owner.map_or(QuotaSetting::Usual, |owner| owner.quota)],
        }
    }

    /// The accounts by name, one line each, and then the warnings about lines.
    pub fn list(&self) -> Vec<String> {
        let mut records: Vec<_> = self.records.iter().collect();
        records.sort_unstable_by_key(|(name, _)| *name);
        let records = records.into_iter().filter_map(|(_, record)| record.as_ref());
        records.map(Record::summary).chain(self.locked.iter().cloned()).collect()
    }

    /// Whether an account that may log in accepts every password.
    pub fn has_open_account(&self) -> bool {
        self.records.values().flatten().any(|record| record.hash == PasswordHash::Any)
    }

    /// The number of iterations that most hashes have, or the largest if there are several. A login
    /// with an unknown name must cost as much.
    pub fn iterations(&self) -> Option<usize> {
        self.iterations
            .keys()
            .copied()
            .max_by_key(|number| (self.iterations.count(number), *number))
    }
}

/// The name in lower case, because names are compared without case.
fn key(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

/// The text without a byte order mark, which some editors put at the start of a file.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

fn why_unreadable(text: &[u8]) -> Option<&'static str> {
    let is_utf_16 =
        |bytes: &[u8]| matches!(bytes, [a, 0, b, 0] | [0, a, 0, b] if *a != 0 && *b != 0);
    if text.starts_with(b"\xff\xfe")
        || text.starts_with(b"\xfe\xff")
        || text.windows(4).any(is_utf_16)
    {
        return Some("it is in UTF-16; save it as UTF-8");
    }
    let is_end = |bytes: &[u8]| matches!(bytes, [b'\r', next] if *next != b'\r' && *next != b'\n');
    if text.windows(2).any(is_end) {
        return Some("a line ends with CR alone; end each with LF");
    }
    None
}

/// Whether the last line has an end or is no account. If not, another program may be about to write
/// the rest, such as FOLDER.
pub fn is_complete(text: &[u8]) -> bool {
    let last = without_mark(text).rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    Record::user_name(last).is_none()
}

/// The text with `record` in place of the line of `name`, or without that line.
pub fn with_line_replaced(text: &[u8], name: &str, record: Option<&Record>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for line in without_mark(text).split_inclusive(|byte| *byte == b'\n') {
        if Record::user_name(line) != Some(key(name.as_bytes())) {
            out.extend_from_slice(line);
        } else if let Some(record) = record {
            out.extend_from_slice(format!("{record}\n").as_bytes());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, iterations: usize) -> String {
        format!("{name}:user:-:pbkdf2-sha256${iterations}$0011223344556677${}\n", "ab".repeat(32))
    }

    #[test]
    fn the_iterations_are_those_that_most_hashes_have_also_after_lines_are_added() {
        let text = line("a", 2) + &line("b", 2) + &line("c", 7);
        let mut index = Index::parse(text.as_bytes()).unwrap();
        assert_eq!((index.iterations(), index.locked.len()), (Some(2), 0));
        index.add(line("d", 7).trim_end().as_bytes()).unwrap();
        assert_eq!(index.iterations(), Some(7), "of several, the largest");
        index.add(line("e", 2).trim_end().as_bytes()).unwrap();
        assert_eq!(index.iterations(), Some(2));
        assert_eq!(Index::default().iterations(), None);
    }

    #[test]
    fn a_text_in_utf_16_or_with_cr_for_line_ends_is_unreadable() {
        let text = "# accounts\n".to_string() + &line("alice", 1) + &line("bob", 1);
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for (unreadable, why) in [
            (little.clone(), "UTF-16"),
            (big.clone(), "UTF-16"),
            ([b"\xff\xfe", &little[..]].concat(), "UTF-16"),
            ([b"\xfe\xff", &big[..]].concat(), "UTF-16"),
            ([text.as_bytes(), &little].concat(), "UTF-16"),
            ("a:\n".encode_utf16().flat_map(u16::to_le_bytes).collect(), "UTF-16"),
            (text.replace('\n', "\r").into_bytes(), "CR"),
            (text.replace("\nbob", "\rbob").into_bytes(), "CR"),
        ] {
            let said = why_unreadable(&unreadable);
            assert!(said.is_some_and(|said| said.contains(why)), "{}", unreadable.escape_ascii());
        }
        for readable in [
            String::new(),
            text.clone(),
            text.replace('\n', "\r\n"),
            text.replace('\n', "\r\r\n"),
            format!("\u{feff}{text}"),
            // A damaged line locks its own account only.
            text.replace("user", "us\0er"),
            text + "\0\0\0\0",
        ] {
            assert_eq!(why_unreadable(readable.as_bytes()), None, "{readable:?}");
        }
    }

    #[test]
    fn an_account_in_the_last_line_is_complete_if_the_line_has_an_end() {
        let whole = line("alice", 1);
        for complete in ["", "\n", "# comment", &whole] {
            assert!(is_complete(complete.as_bytes()), "{complete:?}");
        }
        for part in ["a", "guest:user:-:", whole.trim_end(), "guest:drop:-:any:pub"] {
            assert!(!is_complete(part.as_bytes()), "{part:?}");
        }
    }
}
