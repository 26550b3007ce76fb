//! The log: one append-only file behind a mutex, one line for each thing that happened.
//!
//! A line is a UTC stamp and `key=value` pairs, written in one `write` so that a killed server
//! leaves no torn line before the last. Values that are more than a plain word are quoted, and
//! whatever could end a line, close a quote or drive a terminal is escaped: no name can forge a
//! line. A long value is shortened, so that no name makes a long line either.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::append::append_whole;
use crate::config::{UNAUTHENTICATED_LOG_BURST, UNAUTHENTICATED_LOG_RATE};
use crate::file_size_limit;
use crate::stderr::Stderr;
use crate::time;

/// A value that takes more bytes in the log is written as its first [`HEAD`] bytes, `…` and its
/// last [`TAIL`] bytes. Most paths are shorter.
const VALUE_LIMIT: usize = HEAD + ELLIPSIS.len() + TAIL;
const HEAD: usize = 500;
/// The end of a path says which file it was.
const TAIL: usize = 300;
const ELLIPSIS: &[u8] = "…".as_bytes();
/// How often the log and standard error tell of something that a peer can repeat.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The open log file, and standard error.
#[derive(Debug)]
pub struct Log {
    file: Mutex<Appender>,
    strangers: Mutex<Allowance>,
    stderr: Stderr,
}

impl Log {
    /// Opens `path` for appending and creates it (mode 0640) if it is missing. A last line that
    /// a power failure tore is ended, so that it stays alone.
    pub fn open(path: &Path) -> io::Result<Log> {
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
        end_torn_line(&mut file)?;
        let appender = Appender { file, lost: 0, complaints: LogRateLimit::default() };
        let strangers = Mutex::new(Allowance::full());
        Ok(Log { file: Mutex::new(appender), strangers, stderr: Stderr::start(io::stderr())? })
    }

    /// Writes one line. A log that cannot be written (a full disk) must not keep people from their
    /// files, least of all from deleting some. The loss is reported on standard error, and in the
    /// log when there is room again.
    pub fn write(&self, line: LogLine) {
        let complaint = self.appender().append(line);
        if let Some(text) = complaint {
            self.say(&text);
        }
    }

    /// Writes a line that a client without an account caused, unless all such clients together have
    /// had too many. Returns whether it was written. What was left out is counted, with the `more`
    /// that the line itself counts, and the next line that is written is preceded by the sum.
    pub fn write_unauthenticated(&self, line: LogLine, more: u64) -> bool {
        let left_out = self.strangers().take(1 + more, Instant::now());
        let Some(left_out) = left_out else { return false };
        if left_out > 0 {
            self.write(LogLine::new("unlogged").number("lines", left_out));
        }
        self.write(line);
        true
    }

    /// Gives back what a client's lines took of what strangers may have: it has an account.
    pub fn give_back(&self, lines: u32) {
        self.strangers().give_back(lines);
    }

    fn strangers(&self) -> MutexGuard<'_, Allowance> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes `text` as a warning, to the log and to standard error.
    pub fn warn(&self, text: &str) {
        self.say(&format!("warning: {text}"));
        self.write(LogLine::new("warning").with("text", text));
    }

    /// Says `text` on standard error, without ever waiting for its reader.
    pub fn say(&self, text: &str) {
        let mut line = Vec::new();
        escape(text.as_bytes(), |_| false, &mut line);
        self.stderr.say(&line);
    }

    /// A poisoned lock only means that another thread panicked between two whole lines.
    fn appender(&self) -> MutexGuard<'_, Appender> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file, and what could not be written to it.
#[derive(Debug)]
struct Appender {
    file: File,
    /// Lines since the last one that found room.
    lost: u64,
    complaints: LogRateLimit,
}

impl Appender {
    /// Appends a line, behind one that says how many were lost if some were. Returns a complaint
    /// for standard error if there is one to make.
    fn append(&mut self, line: LogLine) -> Option<String> {
        let tell_of_loss = match self.lost {
            0 => Ok(()),
            lost => self.append_line(LogLine::new("lost").number("lines", lost)),
        };
        if tell_of_loss.is_ok() {
            self.lost = 0;
        }
        let error = tell_of_loss.and_then(|()| self.append_line(line)).err()?;
        self.lost = self.lost.saturating_add(1);
        self.complaints.report(&format!("cannot write the log: {error}"))
    }

    fn append_line(&mut self, mut line: LogLine) -> io::Result<()> {
        line.0.push(b'\n');
        append_whole(&mut self.file, &line.0, |_| Ok(()))
    }
}

/// Ends a last line that has no end. A full disk has room for that in the place of a byte of the
/// line.
fn end_torn_line(file: &mut File) -> io::Result<()> {
    let end = file.seek(SeekFrom::End(0))?;
    if end == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    let is_torn = last != *b"\n";
    let has_room = |end| file_size_limit::check(end).is_ok();
    if is_torn
        && !(has_room(end.saturating_add(1)) && file.write_all(b"\n").is_ok())
        && has_room(end)
    {
        file.set_len(file.metadata()?.len().saturating_sub(1))?;
        file.write_all(b"\n")?;
    }
    Ok(())
}

/// A limit for what a peer can bring about as often as it likes: it is reported once a minute.
#[derive(Debug, Default)]
pub struct LogRateLimit {
    last: Option<Instant>,
    passed_over: u64,
}

impl LogRateLimit {
    /// How many times it was passed over, if it is time to tell of it again.
    pub fn is_due(&mut self) -> Option<u64> {
        if self.last.is_some_and(|last| last.elapsed() < WARNING_INTERVAL) {
            self.passed_over = self.passed_over.saturating_add(1);
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.passed_over))
    }

    /// `text`, and how many reports were left out before it, if it is time for a report.
    pub fn report(&mut self, text: &str) -> Option<String> {
        Some(match self.is_due()? {
            0 => text.to_string(),
            more => format!("{text} ({more} more times since the last message)"),
        })
    }
}

/// How many lines strangers may still have logged: so many at once, and some per second after that.
#[derive(Debug)]
struct Allowance {
    left: u32,
    /// When the last line was granted for the time that had passed.
    counted: Instant,
    left_out: u64,
}

impl Allowance {
    fn full() -> Allowance {
        Allowance { left: UNAUTHENTICATED_LOG_BURST, counted: Instant::now(), left_out: 0 }
    }

    /// Takes one line; returns how many were left out before it. `None` if it is left out too, and
    /// counted as `worth` lines.
    fn take(&mut self, worth: u64, now: Instant) -> Option<u64> {
        let seconds = now.saturating_duration_since(self.counted).as_secs();
        if seconds > 0 {
            let more =
                u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(UNAUTHENTICATED_LOG_RATE);
            self.give_back(more);
            self.counted = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(std::mem::take(&mut self.left_out))
            }
            None => {
                self.left_out = self.left_out.saturating_add(worth);
                None
            }
        }
    }

    fn give_back(&mut self, lines: u32) {
        self.left = self.left.saturating_add(lines).min(UNAUTHENTICATED_LOG_BURST);
    }
}

/// A line in the making.
#[derive(Debug)]
pub struct LogLine(Vec<u8>);

impl LogLine {
    /// Begins a line: the time and the kind of thing that happened.
    pub fn new(event: &str) -> LogLine {
        // Room for most lines, so that they need not grow.
        let mut line = Vec::with_capacity(192);
        line.extend_from_slice(&time::log_stamp(SystemTime::now()));
        LogLine(line).with("event", event)
    }

    /// Adds ` key=value`, the value quoted and escaped if it is more than a plain word. A value
    /// that is shortened is followed by ` key_length=N`, the number of its bytes.
    pub fn with(mut self, key: &str, value: impl AsRef<[u8]>) -> LogLine {
        let value = value.as_ref();
        self.0.push(b' ');
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(b'=');
        match quote(value, &mut self.0) {
            Written::Whole => self,
            Written::Shortened => {
                self.0.extend_from_slice(format!(" {key}_length={}", value.len()).as_bytes());
                self
            }
        }
    }

    /// Adds ` key=N`.
    pub fn number(self, key: &str, value: u64) -> LogLine {
        self.with(key, value.to_string())
    }
}

/// How much of a value was written.
#[derive(Debug, PartialEq, Eq)]
enum Written {
    Whole,
    Shortened,
}

fn quote(value: &[u8], out: &mut Vec<u8>) -> Written {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-/:+@,[]%".contains(byte);
    if !value.is_empty() && value.len() <= VALUE_LIMIT && value.iter().all(plain) {
        out.extend_from_slice(value);
        return Written::Whole;
    }
    out.push(b'"');
    let written = escape(value, |character| matches!(character, '"' | '\\'), out);
    out.push(b'"');
    written
}

/// Appends `value` so that it drives no terminal, with a backslash before what `special` names. It
/// is shortened if it would take more than [`VALUE_LIMIT`] bytes, escapes included.
fn escape(value: &[u8], special: fn(char) -> bool, out: &mut Vec<u8>) -> Written {
    let start = out.len();
    // Escaping makes nothing shorter.
    if value.len() <= VALUE_LIMIT {
        for_each_escaped(value, special, |piece| out.extend_from_slice(piece));
        if out.len() - start <= VALUE_LIMIT {
            return Written::Whole;
        }
        out.truncate(start);
    }
    let pieces = |part: &[u8]| {
        let mut pieces = Vec::new();
        for_each_escaped(part, special, |piece| pieces.push(piece.to_vec()));
        pieces
    };
    // Pieces that fit, up to the first one that does not: an escape is written whole or not at all.
    let fits = |mut room: usize| {
        move |piece: &&Vec<u8>| match room.checked_sub(piece.len()) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        }
    };
    let (head, tail) = (pieces(first(value, HEAD)), pieces(last(value, TAIL)));
    head.iter().take_while(fits(HEAD)).for_each(|piece| out.extend_from_slice(piece));
    out.extend_from_slice(ELLIPSIS);
    let left_out = tail.len() - tail.iter().rev().take_while(fits(TAIL)).count();
    tail.iter().skip(left_out).for_each(|piece| out.extend_from_slice(piece));
    Written::Shortened
}

/// Gives `take` each character of `value` as it is written, and each byte that is not UTF-8.
fn for_each_escaped(value: &[u8], special: fn(char) -> bool, mut take: impl FnMut(&[u8])) {
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                _ if special(character) => take(format!("\\{character}").as_bytes()),
                _ if unfit(character) => take(character.escape_unicode().to_string().as_bytes()),
                _ => take(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            take(format!("\\x{byte:02x}").as_bytes());
        }
    }
}

/// At most the first `limit` bytes, without a part of a character at their end.
fn first(value: &[u8], limit: usize) -> &[u8] {
    let is_cut = |end: &usize| value.get(*end).is_some_and(|byte| byte & 0xc0 == 0x80);
    let end = (limit.saturating_sub(3)..=limit).rev().find(|end| !is_cut(end)).unwrap_or(limit);
    value.get(..end).unwrap_or(value)
}

/// At most the last `limit` bytes, without a part of a character at their beginning.
fn last(value: &[u8], limit: usize) -> &[u8] {
    let Some(start) = value.len().checked_sub(limit) else { return value };
    let is_cut = |start: &usize| value.get(*start).is_some_and(|byte| byte & 0xc0 == 0x80);
    let start = (start..=start + 3).find(|start| !is_cut(start)).unwrap_or(start);
    value.get(start..).unwrap_or_default()
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
    fn a_value_of_any_bytes_is_bounded_as_it_is_written_and_keeps_both_ends_and_its_length() {
        for unit in ["a", "я", "\u{202e}", "\"", "\u{1}", "€", "🦀"]
            .map(str::as_bytes)
            .into_iter()
            .chain([&b"\xff"[..]])
        {
            for count in [0, 1, 100, 101, 266, 267, 268, 400, 800, 803, 804, 65_536] {
                let value = [b"/", &unit.repeat(count)[..], b"/end"].concat();
                let line = LogLine(Vec::new()).with("path", &value).0;
                let text = String::from_utf8(line).unwrap();
                let (written, length) = match text.split_once(" path_length=") {
                    Some((written, length)) => (written, Some(length.parse::<usize>().unwrap())),
                    None => (&*text, None),
                };
                let written = written.strip_prefix(" path=").unwrap();
                assert!(written.len() <= VALUE_LIMIT + 2, "{} bytes", written.len());
                let whole = quoted_without_limit(&value);
                match length {
                    None => assert_eq!(written.trim_matches('"'), whole),
                    Some(length) => {
                        assert_eq!(length, value.len());
                        assert!(whole.len() > VALUE_LIMIT, "shortened without need");
                        let (head, tail) = written.trim_matches('"').split_once('…').unwrap();
                        assert!(whole.starts_with(head) && whole.ends_with(tail));
                        assert!(head.len() > HEAD - 12 && tail.len() > TAIL - 12, "{head} {tail}");
                    }
                }
            }
        }
    }

    fn quoted_without_limit(value: &[u8]) -> String {
        let mut out = Vec::new();
        let special = |character| matches!(character, '"' | '\\');
        for_each_escaped(value, special, |piece| out.extend_from_slice(piece));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_cuts_of_a_shortened_value_split_no_character() {
        for shift in 0..4 {
            let value = format!("{}{}", "x".repeat(shift), "🦀".repeat(1000));
            let text = quoted(value.as_bytes());
            assert!(!text.contains("\\x") && text.len() < VALUE_LIMIT + 3, "{text}");
        }
    }

    #[test]
    fn what_peers_can_repeat_is_told_once_a_minute_with_the_number() {
        let mut seldom = LogRateLimit::default();
        assert_eq!([seldom.is_due(), seldom.is_due(), seldom.is_due()], [Some(0), None, None]);
        seldom.last = Instant::now().checked_sub(WARNING_INTERVAL);
        assert_eq!([seldom.is_due(), seldom.is_due()], [Some(2), None]);
    }

    #[test]
    fn strangers_have_a_burst_of_lines_then_some_per_second_and_what_is_left_out_is_counted() {
        let mut allowance = Allowance::full();
        let start = allowance.counted;
        for _ in 0..UNAUTHENTICATED_LOG_BURST {
            assert_eq!(allowance.take(1, start), Some(0));
        }
        assert_eq!([allowance.take(1, start), allowance.take(7, start)], [None, None]);
        let later = start + Duration::from_secs(1);
        assert_eq!(allowance.take(1, later), Some(8));
        for _ in 1..UNAUTHENTICATED_LOG_RATE {
            assert_eq!(allowance.take(1, later), Some(0));
        }
        assert_eq!(allowance.take(1, later), None);
        // Who turns out to have an account is no stranger.
        allowance.give_back(2);
        assert_eq!([allowance.take(1, later), allowance.take(1, later)], [Some(1), Some(0)]);
        assert_eq!(allowance.take(1, later), None);
        let much_later = start + Duration::from_secs(u32::MAX.into());
        assert_eq!(allowance.take(1, much_later), Some(1));
        assert_eq!(allowance.left, UNAUTHENTICATED_LOG_BURST - 1);
    }

    #[test]
    fn a_torn_last_line_is_ended_when_the_log_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.txt");
        fs::write(&path, "whole\ntor").unwrap();
        Log::open(&path).unwrap().write(LogLine::new("start").number("port", 7));
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
                        log.write(LogLine::new("x").number("thread", thread).number("n", n));
                    }
                });
            }
        });
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 800);
        for line in text.lines() {
            assert!(
                line.get(23..).is_some_and(|rest| rest.starts_with("Z event=x thread=")),
                "{line}"
            );
        }
    }
}
