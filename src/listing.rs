//! An [`Entry`] as a line of text, and entries as a stream of lines. Pure.
//!
//! Programs ask for files by the names that they read here. So a line has the bytes of the name,
//! with `?` only for CR and LF. Lines for the control connection also pass `text::sanitized`.
//!
//! `LIST` has the form of `ls -l`, which every client parses although no RFC defines it. `NLST` is
//! RFC 959 §4.1.3. The facts of `MLSD` and `MLST` are RFC 3659 §7.

use std::io::{self, Read};
use std::time::SystemTime;

use crate::text;
use crate::time;
use crate::vfs::{Entries, Entry, Kind};

/// Appends a line of `ls`: permissions, size, time and name, with a `/` after a folder's name.
pub fn push_ls_line(line: &mut Vec<u8>, entry: &Entry, now: SystemTime) {
    line.extend_from_slice(&permissions(entry));
    line.push(b' ');
    text::push_number(line, entry.size, 12);
    line.push(b' ');
    line.extend_from_slice(&time::ls_date(entry.modified, now));
    line.extend_from_slice(b"  ");
    line.extend_from_slice(&text::on_one_line(&entry.name));
    if entry.kind == Kind::Folder && !entry.name.ends_with(b"/") {
        line.push(b'/');
    }
}

/// Appends a line of `LIST`: the nine columns of `ls -l`.
pub fn push_list_line(line: &mut Vec<u8>, entry: &Entry, now: SystemTime) {
    line.extend_from_slice(&permissions(entry));
    line.push(b' ');
    text::push_number(line, entry.links, 3);
    line.extend_from_slice(b" ftp      ftp      ");
    text::push_number(line, entry.size, 12);
    line.push(b' ');
    line.extend_from_slice(&time::ls_date(entry.modified, now));
    line.push(b' ');
    line.extend_from_slice(&text::on_one_line(&entry.name));
}

/// The facts of MLSD and MLST (RFC 3659 §7.5), in their order on a line.
pub const FACTS: [&str; 6] = ["type", "size", "modify", "perm", "unique", "UNIX.mode"];

/// Appends the value of the fact `perm`: what the account may do with the entry.
pub type Perm<'p> = &'p dyn Fn(&mut Vec<u8>, &Entry);

/// The facts that a client wants: all, unless OPTS MLST chose some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FactChoice([bool; FACTS.len()]);

impl Default for FactChoice {
    fn default() -> FactChoice {
        FactChoice([true; FACTS.len()])
    }
}

impl FactChoice {
    /// The facts in `list`, separated by `;`. Unknown names are ignored (RFC 3659 §7.9).
    pub fn named(list: &[u8]) -> FactChoice {
        let wants = |fact: &str| {
            list.split(|byte| *byte == b';')
                .any(|name| name.trim_ascii().eq_ignore_ascii_case(fact.as_bytes()))
        };
        FactChoice(FACTS.map(wants))
    }

    /// The names of the chosen facts, as in `type;size;`.
    pub fn names(&self) -> String {
        self.marked("", false)
    }

    /// The names of all facts, with a `*` after each chosen one, for FEAT (RFC 3659 §7.8).
    pub fn feature(&self) -> String {
        self.marked("*", true)
    }

    fn marked(&self, mark: &str, all: bool) -> String {
        let mut names = String::new();
        for (fact, chosen) in FACTS.iter().zip(self.0) {
            if chosen || all {
                names.push_str(&format!("{fact}{};", if chosen { mark } else { "" }));
            }
        }
        names
    }

    /// Appends the chosen facts of the entry and `name`, as in `type=file;size=11; name`.
    pub fn push_line(&self, line: &mut Vec<u8>, entry: &Entry, name: &[u8], perm: Perm<'_>) {
        for (fact, chosen) in FACTS.iter().zip(self.0) {
            if chosen {
                push_fact(line, entry, fact, perm);
            }
        }
        line.push(b' ');
        line.extend_from_slice(&text::on_one_line(name));
    }
}

/// Appends `fact=value;`, if the entry has the fact.
fn push_fact(line: &mut Vec<u8>, entry: &Entry, fact: &str, perm: Perm<'_>) {
    if fact == "size" && entry.kind != Kind::File {
        return;
    }
    line.extend_from_slice(fact.as_bytes());
    line.push(b'=');
    match (fact, entry.kind) {
        ("type", Kind::File) => line.extend_from_slice(b"file"),
        ("type", Kind::Folder) => line.extend_from_slice(b"dir"),
        ("type", Kind::Link) => line.extend_from_slice(b"OS.unix=slink"),
        ("type", Kind::Other) => line.extend_from_slice(b"OS.unix=special"),
        ("size", _) => text::push_number(line, entry.size, 0),
        ("modify", _) => line.extend_from_slice(&time::time_val(entry.modified)),
        ("perm", _) => perm(line, entry),
        ("unique", _) => {
            line.extend_from_slice(format!("{:x}g{:x}", entry.id.0, entry.id.1).as_bytes());
        }
        // The remaining fact is UNIX.mode.
        _ => line.extend([9, 6, 3, 0].map(|shift| b'0' | (entry.mode >> shift & 7) as u8)),
    }
    line.push(b';');
}

/// A listing as a source of bytes. Each entry becomes a line with CRLF only when it is read, so a
/// listing of any size takes the memory of one chunk.
pub struct Lines<F> {
    entries: Entries,
    line: F,
    ready: Vec<u8>,
    used: usize,
}

const LINES_CHUNK: usize = 16 * 1024;

impl<F: FnMut(&mut Vec<u8>, &Entry)> Lines<F> {
    /// The lines of `entries`. `line` appends the line of one entry.
    pub fn new(entries: Entries, line: F) -> Lines<F> {
        Lines { entries, line, ready: Vec::new(), used: 0 }
    }
}

impl<F: FnMut(&mut Vec<u8>, &Entry)> Read for Lines<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.ready.len() {
            self.ready.clear();
            self.used = 0;
            while self.ready.len() < LINES_CHUNK {
                let Some(entry) = self.entries.next() else { break };
                (self.line)(&mut self.ready, &entry?);
                self.ready.extend_from_slice(b"\r\n");
            }
        }
        let read = self.ready.get(self.used..).unwrap_or_default().read(buffer)?;
        self.used += read;
        Ok(read)
    }
}

/// The facts that `info` shows, one per line.
pub fn facts(entry: &Entry) -> Vec<Vec<u8>> {
    let kind = match entry.kind {
        Kind::File => "kind: file",
        Kind::Folder => "kind: folder",
        Kind::Link => "kind: symbolic link",
        Kind::Other => "kind: special file",
    };
    let mut lines = vec![kind.as_bytes().to_vec()];
    if entry.kind == Kind::File {
        lines.push(format!("size: {}", text::bytes(entry.size)).into_bytes());
    }
    lines.push([b"modified: ", &time::readable(entry.modified)[..], b" UTC"].concat());
    lines.push([b"permissions: ", &permissions(entry)[..]].concat());
    lines
}

/// The type and the permissions, as in the first ten characters of `ls -l`.
fn permissions(entry: &Entry) -> [u8; 10] {
    let mut text = *b"-rwxrwxrwx";
    for (bit, letter) in text.iter_mut().rev().take(9).enumerate() {
        if entry.mode >> bit & 1 == 0 {
            *letter = b'-';
        }
    }
    let [kind, ..] = &mut text;
    *kind = match entry.kind {
        Kind::File => b'-',
        Kind::Folder => b'd',
        Kind::Link => b'l',
        Kind::Other => b's',
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn entry(name: &[u8], kind: Kind) -> Entry {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_465_140);
        Entry {
            name: name.to_vec(),
            kind,
            size: 11,
            modified,
            mode: 0o754,
            links: 2,
            id: (0x801, 0x2a),
        }
    }

    fn line(entry: &Entry) -> String {
        let mut line = Vec::new();
        push_ls_line(&mut line, entry, entry.modified);
        String::from_utf8(line).unwrap()
    }

    fn facts_line(choice: &FactChoice, entry: &Entry, name: &str) -> String {
        let mut line = Vec::new();
        choice.push_line(&mut line, entry, name.as_bytes(), &|line, _| line.extend(b"adfrw"));
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn ls_lines_show_kind_size_time_and_name() {
        assert_eq!(
            line(&entry(b"a b.txt", Kind::File)),
            "-rwxr-xr--           11 Nov 23 20:19  a b.txt"
        );
        assert_eq!(
            line(&entry(b"docs", Kind::Folder)),
            "drwxr-xr--           11 Nov 23 20:19  docs/"
        );
        assert_eq!(line(&entry(b"l", Kind::Link)), "lrwxr-xr--           11 Nov 23 20:19  l");
    }

    #[test]
    fn list_lines_have_the_nine_columns_of_ls() {
        let entry = entry(b"a b.txt", Kind::File);
        let mut line = Vec::new();
        push_list_line(&mut line, &entry, entry.modified);
        assert_eq!(line, b"-rwxr-xr--   2 ftp      ftp                11 Nov 23 20:19 a b.txt");
    }

    #[test]
    fn a_line_has_the_chosen_facts() {
        let entry = entry(b"a b.txt", Kind::File);
        let all = FactChoice::default();
        assert_eq!(
            facts_line(&all, &entry, "/d/a b.txt"),
            "type=file;size=11;modify=20261123201900;perm=adfrw;unique=801g2a;UNIX.mode=0754; \
             /d/a b.txt"
        );
        assert_eq!(all.feature(), "type*;size*;modify*;perm*;unique*;UNIX.mode*;");
        let some = FactChoice::named(b"SIZE;unix.mode;nonsense;");
        assert_eq!(facts_line(&some, &entry, "x"), "size=11;UNIX.mode=0754; x");
        assert_eq!(some.names(), "size;UNIX.mode;");
        assert_eq!(some.feature(), "type;size*;modify;perm;unique;UNIX.mode*;");
        assert_eq!(facts_line(&FactChoice::named(b""), &entry, "x"), " x");
    }

    #[test]
    fn a_stream_of_lines_takes_the_memory_of_one_chunk() {
        let entries = (0..100_000).map(|_| Ok(entry(b"name", Kind::File)));
        let mut lines =
            Lines::new(Box::new(entries), |line, entry| line.extend_from_slice(&entry.name));
        let (mut total, mut most) = (0, 0);
        let mut buffer = [0; 1000];
        loop {
            match lines.read(&mut buffer).unwrap() {
                0 => break,
                read => total += read,
            }
            most = most.max(lines.ready.capacity());
        }
        assert_eq!(total, 600_000);
        assert!(most <= 4 * LINES_CHUNK, "{most}");
    }

    #[test]
    fn no_name_breaks_its_line_and_its_other_bytes_are_kept() {
        assert!(line(&entry(b"x\r\n226 \x1b[2J", Kind::File)).ends_with("  x??226 \x1b[2J"));
    }
}
