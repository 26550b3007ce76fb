//! The log: one append-only file behind a mutex, one line for each thing that happened.
//!
//! A line is a UTC stamp and `key=value` pairs, written in one `write` so that a killed server
//! leaves no torn line before the last. Values that are more than a plain word are quoted, and
//! whatever could end a line, close a quote or drive a terminal is escaped: no name can forge a
//! line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::time;

/// The open log file.
#[derive(Debug)]
pub struct Log {
    file: Mutex<File>,
}

impl Log {
    /// Opens `path` for appending and creates it (mode 0640) where it is missing. A last line that
    /// a power failure tore is ended, so that it stays alone.
    pub fn open(path: &Path) -> io::Result<Log> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            let mut last = [0];
            file.read_exact(&mut last)?;
            if last != *b"\n" && file.write_all(b"\n").is_err() {
                // A full disk has room for it in the place of a byte of the torn line.
                file.set_len(file.metadata()?.len().saturating_sub(1))?;
                file.write_all(b"\n")?;
            }
        }
        Ok(Log { file: Mutex::new(file) })
    }

    /// Writes one line. A log that cannot be written (a full disk) must not keep people from
    /// their files, least of all from deleting some, so the trouble goes to standard error.
    pub fn write(&self, line: Line) {
        let mut bytes = line.0;
        bytes.push(b'\n');
        if let Err(error) = append_whole(&mut self.file(), &bytes) {
            let _ = writeln!(io::stderr(), "plainftpd: cannot write the log: {error}");
        }
    }

    /// Writes `text` as a warning, to the log and to standard error.
    pub fn warn(&self, text: &str) {
        let _ = writeln!(io::stderr(), "plainftpd: warning: {text}");
        self.write(Line::new("warning").with("text", text));
    }

    /// A poisoned lock only means that another thread panicked between two whole lines.
    fn file(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One `write`; where the disk takes only a part of the line, that part is cut off again.
fn append_whole(file: &mut File, line: &[u8]) -> io::Result<()> {
    let written = file.write(line)?;
    if written == line.len() {
        return Ok(());
    }
    let length = file.metadata()?.len();
    file.set_len(length.saturating_sub(written as u64))?;
    Err(io::Error::from(io::ErrorKind::StorageFull))
}

/// A line in the making.
#[derive(Debug)]
pub struct Line(Vec<u8>);

impl Line {
    /// Begins a line: the time and the kind of thing that happened.
    pub fn new(event: &str) -> Line {
        // Room for most lines, so that they need not grow.
        let mut line = Vec::with_capacity(192);
        line.extend_from_slice(&time::log_stamp(SystemTime::now()));
        Line(line).with("event", event)
    }

    /// Adds ` key=value`, the value quoted and escaped where it is more than a plain word.
    pub fn with(mut self, key: &str, value: impl AsRef<[u8]>) -> Line {
        self.0.push(b' ');
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(b'=');
        quote(value.as_ref(), &mut self.0);
        self
    }

    /// Adds ` key=N`.
    pub fn number(self, key: &str, value: u64) -> Line {
        self.with(key, value.to_string())
    }
}

fn quote(value: &[u8], out: &mut Vec<u8>) {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-/:+@,[]".contains(byte);
    if !value.is_empty() && value.iter().all(plain) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
                _ if unfit(character) => {
                    out.extend_from_slice(character.escape_unicode().to_string().as_bytes());
                }
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
    }
    out.push(b'"');
}

/// Control characters, line and paragraph separators, and the marks that turn the direction of
/// writing, with which a name could look like another one on the reader's screen.
fn unfit(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn quoted(value: &[u8]) -> String {
        let mut out = Vec::new();
        quote(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn plain_words_stand_bare_and_all_else_is_quoted() {
        assert_eq!(quoted(b"/docs/a.txt"), "/docs/a.txt");
        assert_eq!(quoted(b"[::1]:2121"), "[::1]:2121");
        assert_eq!(quoted(b""), "\"\"");
        assert_eq!(quoted(b"a b"), "\"a b\"");
        assert_eq!(quoted("Привет".as_bytes()), "\"Привет\"");
    }

    #[test]
    fn no_value_can_end_a_line_close_a_quote_or_drive_a_terminal() {
        assert_eq!(quoted(b"x\" user=\"root"), r#""x\" user=\"root""#);
        assert_eq!(quoted(b"x\\"), r#""x\\""#);
        assert_eq!(quoted(b"x\r\ny\x1b[2J"), r#""x\u{d}\u{a}y\u{1b}[2J""#);
        assert_eq!(quoted(b"\xff\xc2"), r#""\xff\xc2""#);
        assert_eq!(quoted("\u{85}\u{2028}\u{202e}".as_bytes()), r#""\u{85}\u{2028}\u{202e}""#);
    }

    #[test]
    fn a_torn_last_line_is_ended_when_the_log_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.txt");
        fs::write(&path, "whole\ntor").unwrap();
        Log::open(&path).unwrap().write(Line::new("start").number("port", 7));
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..2], ["whole", "tor"]);
        assert_eq!(&lines[2][24..], " event=start port=7");
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn lines_of_many_threads_do_not_mix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.txt");
        let log = Log::open(&path).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let log = &log;
                scope.spawn(move || {
                    for n in 0..100 {
                        log.write(Line::new("x").number("thread", thread).number("n", n));
                    }
                });
            }
        });
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 800);
        for line in text.lines() {
            assert!(line.get(23..).is_some_and(|rest| rest.starts_with("Z event=x thread=")), "{line}");
        }
    }
}
