//! The log: one append-only file behind a mutex, one line per event.
//!
//! A line is a UTC time and `key=value` pairs. It is written in one `write`, so a killed server can
//! tear only the last line. A value that is more than a plain word is quoted, and characters that
//! could end a line, close a quote or control a terminal are escaped: no file name can forge a
//! line. A long value is shortened, so no file name can make a long line either.

use std::convert::Infallible;
use std::io;
use std::mem;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use crate::config::{Rotation, UNAUTHENTICATED_LOG_BURST, UNAUTHENTICATED_LOG_RATE};
use crate::lock::lock;
use crate::streams::MessageQueue;
use crate::time;

mod file;

use file::LogFile;

/// The most bytes of a value in the log. A longer value is written as its first [`HEAD`] bytes, `…`
/// and its last [`TAIL`] bytes. Most paths are shorter.
const VALUE_LIMIT: usize = HEAD + ELLIPSIS.len() + TAIL;
const HEAD: usize = 500;
/// The end of a path is kept because it names the file.
const TAIL: usize = 300;
const ELLIPSIS: &[u8] = "…".as_bytes();
/// The time between two reports of an event that a remote peer can trigger again and again.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The most lines that wait for the reader of standard output, if the log goes there.
const STDOUT_QUEUE: usize = 4096;
/// The most messages that wait for the reader of standard error.
const STDERR_QUEUE: usize = 64;

/// The open log, and standard error.
#[derive(Debug)]
pub struct Log {
    appender: Mutex<Appender>,
    unauthenticated: Mutex<LogRateLimit>,
    /// Standard error, until the log is finished.
    stderr: Mutex<Option<MessageQueue>>,
}

impl Log {
    /// A log in the file at `path`, which is created (mode 0640) if it is missing.
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<Log> {
        let file = LogFile::open(path, rotation)?;
        Ok(Log::to(Sink::File(file), Some(MessageQueue::stderr(STDERR_QUEUE)?)))
    }

    /// A log on standard output. Its lines wait until [`Log::begin`].
    pub fn on_stdout() -> io::Result<Log> {
        let (gate, queue) = MessageQueue::stdout(STDOUT_QUEUE)?;
        Ok(Log::to(Sink::Stdout(Some(gate), queue), Some(MessageQueue::stderr(STDERR_QUEUE)?)))
    }

    /// Lets a log on standard output write, because what comes before it has been printed.
    pub fn begin(&self) {
        if let Sink::Stdout(gate, _) = &mut lock(&self.appender).sink {
            *gate = None;
        }
    }

    /// A log that keeps nothing. The commands of the shell use it: the file is the server's.
    pub fn none() -> Log {
        Log::to(Sink::Nothing, None)
    }

    fn to(sink: Sink, stderr: Option<MessageQueue>) -> Log {
        let complaints = LogRateLimit::default();
        let appender = Mutex::new(Appender { sink, lost: 0, complaints });
        let unauthenticated = Mutex::new(unauthenticated_limit());
        Log { appender, unauthenticated, stderr: Mutex::new(stderr) }
    }

    /// Writes the last line, and waits a moment for the readers of standard output and standard
    /// error. What sessions write later goes nowhere.
    pub fn finish(&self, last: LogLine) {
        let mut appender = lock(&self.appender);
        let complaint = appender.append(last);
        let sink = mem::replace(&mut appender.sink, Sink::Nothing);
        drop(appender);
        complaint.iter().for_each(|text| self.say(text));
        let stderr = lock(&self.stderr).take();
        drop((sink, stderr)); // waits, and no lock is held
    }

    /// Writes one line. If the disk is full, the line is lost, but the command that caused it goes
    /// on: users must be able to delete files then. The loss is reported on standard error, and in
    /// the log when there is room again.
    pub fn write(&self, line: LogLine) {
        let complaint = lock(&self.appender).append(line);
        if let Some(text) = complaint {
            self.say(&text);
        }
    }

    /// Writes a line that an unauthenticated client caused, unless all such clients together have
    /// caused too many. Returns whether it was written. A line that is left out counts as one and
    /// the `more` lines that it stands for; the next line is preceded by the number of lines that
    /// were left out.
    pub fn write_unauthenticated(&self, line: LogLine, more: u64) -> bool {
        let left_out = lock(&self.unauthenticated).take(1 + more, Instant::now());
        let Some(left_out) = left_out else { return false };
        if left_out > 0 {
            self.write(LogLine::new("unlogged").number("lines", left_out));
        }
        self.write(line);
        true
    }

    /// Gives back what the lines of a client took of the allowance of unauthenticated clients,
    /// because the client has logged in.
    pub fn give_back(&self, lines: u32) {
        lock(&self.unauthenticated).give_back(lines);
    }

    /// Writes `text` as a warning, to the log and to standard error.
    pub fn warn(&self, text: &str) {
        self.say(&format!("warning: {text}"));
        self.write(LogLine::new("warning").with("text", text));
    }

    /// Writes `text` to standard error, without waiting for its reader.
    pub fn say(&self, text: &str) {
        let mut line = Vec::new();
        escape(text.as_bytes(), |_| false, &mut line);
        if let Some(stderr) = &*lock(&self.stderr) {
            stderr.say(&line);
        }
    }
}

/// Where the lines go.
#[derive(Debug)]
enum Sink {
    File(LogFile),
    /// The gate is dropped before the queue, which waits for its last line.
    Stdout(Option<Sender<Infallible>>, MessageQueue),
    Nothing,
}

/// The sink, and the number of lines that it could not take.
#[derive(Debug)]
struct Appender {
    sink: Sink,
    /// Lines lost since the last one that was written.
    lost: u64,
    complaints: LogRateLimit,
}

impl Appender {
    /// Appends a line. If lines were lost before, a line before it says how many. Returns a
    /// complaint for standard error if one is due.
    fn append(&mut self, line: LogLine) -> Option<String> {
        let mut bytes = line.ended();
        if self.lost > 0 {
            let lost = LogLine::new("lost").number("lines", self.lost).ended();
            bytes = [lost, bytes].concat();
        }
        let mut renewed = Ok(());
        let done = match &mut self.sink {
            Sink::File(file) => {
                renewed = file.renew(bytes.len() as u64);
                file.append(bytes)
            }
            Sink::Stdout(_, queue) if queue.push(bytes) => Ok(()),
            Sink::Stdout(..) => Err(io::Error::other("nothing reads standard output")),
            Sink::Nothing => Ok(()),
        };
        let complaint = match done {
            Ok(()) => {
                self.lost = 0;
                format!("cannot begin a new log file: {}", renewed.err()?)
            }
            Err(error) => {
                self.lost = self.lost.saturating_add(1);
                format!("cannot write the log: {error}")
            }
        };
        self.complaints.report(&complaint)
    }
}

fn unauthenticated_limit() -> LogRateLimit {
    LogRateLimit::new(UNAUTHENTICATED_LOG_BURST, Duration::from_secs(1) / UNAUTHENTICATED_LOG_RATE)
}

/// Rate limit for lines that a remote peer can cause: a burst, and then one per interval. The
/// default is one per minute.
#[derive(Debug)]
pub struct LogRateLimit {
    burst: u32,
    interval: Duration,
    /// How many lines may still be written.
    left: u32,
    /// When lines were last granted for the time that had passed.
    counted: Instant,
    left_out: u64,
}

impl Default for LogRateLimit {
    fn default() -> LogRateLimit {
        LogRateLimit::new(1, WARNING_INTERVAL)
    }
}

impl LogRateLimit {
    fn new(burst: u32, interval: Duration) -> LogRateLimit {
        LogRateLimit { burst, interval, left: burst, counted: Instant::now(), left_out: 0 }
    }

    /// If a line may be written, returns how many were left out since the last one. Otherwise
    /// leaves it out; it counts as `worth` lines.
    fn take(&mut self, worth: u64, now: Instant) -> Option<u64> {
        let passed = now.saturating_duration_since(self.counted);
        if passed >= self.interval || self.left == self.burst {
            let granted = passed.as_millis() / self.interval.as_millis();
            self.give_back(u32::try_from(granted).unwrap_or(u32::MAX));
            self.counted = now;
        }
        let Some(left) = self.left.checked_sub(1) else {
            self.left_out = self.left_out.saturating_add(worth);
            return None;
        };
        self.left = left;
        Some(mem::take(&mut self.left_out))
    }

    fn give_back(&mut self, lines: u32) {
        self.left = self.left.saturating_add(lines).min(self.burst);
    }

    /// If a line about an event may be written, returns how many events were left out since the
    /// last one. Otherwise counts this event as left out.
    pub fn is_due(&mut self) -> Option<u64> {
        self.take(1, Instant::now())
    }

    /// If a report is due, returns `text` with the number of events that were left out.
    pub fn report(&mut self, text: &str) -> Option<String> {
        Some(match self.is_due()? {
            0 => text.to_string(),
            more => format!("{text} ({more} more times since the last message)"),
        })
    }
}

/// A log line that is being built.
#[derive(Debug)]
pub struct LogLine(Vec<u8>);

impl LogLine {
    /// Begins a line with the time and the kind of event.
    pub fn new(event: &str) -> LogLine {
        // Most lines fit, so their buffer need not grow.
        let mut line = Vec::with_capacity(192);
        line.extend_from_slice(&time::log_stamp(SystemTime::now()));
        LogLine(line).with("event", event)
    }

    /// Adds ` key=value`. The value is quoted and escaped if it is more than a plain word. If it is
    /// shortened, ` key_length=N` follows, the number of its bytes.
    pub fn with(mut self, key: &str, value: impl AsRef<[u8]>) -> LogLine {
        let value = value.as_ref();
        self.0.push(b' ');
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(b'=');
        if !quote(value, &mut self.0) {
            self.0.extend_from_slice(format!(" {key}_length={}", value.len()).as_bytes());
        }
        self
    }

    /// Adds ` key=N`.
    pub fn number(self, key: &str, value: u64) -> LogLine {
        self.with(key, value.to_string())
    }

    /// The bytes of the line, with its line end.
    fn ended(mut self) -> Vec<u8> {
        self.0.push(b'\n');
        self.0
    }
}

/// Appends `value`, quoted and escaped if it is more than a plain word. Returns whether it was
/// written as a whole.
fn quote(value: &[u8], out: &mut Vec<u8>) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-/:+@,[]%".contains(byte);
    if !value.is_empty() && value.len() <= VALUE_LIMIT && value.iter().all(plain) {
        out.extend_from_slice(value);
        return true;
    }
    out.push(b'"');
    let is_whole = escape(value, |character| matches!(character, '"' | '\\'), out);
    out.push(b'"');
    is_whole
}

/// Appends `value` without characters that could control a terminal, and with a backslash before
/// each `special` character. If this takes more than [`VALUE_LIMIT`] bytes, the value is shortened.
/// Returns whether it was written as a whole.
fn escape(value: &[u8], special: fn(char) -> bool, out: &mut Vec<u8>) -> bool {
    let mut text = Vec::with_capacity(value.len());
    // The ends of the escaped characters: only there may the value be cut.
    let mut ends = vec![0];
    for_each_escaped(value, special, |piece| {
        text.extend_from_slice(piece);
        ends.push(text.len());
    });
    if text.len() <= VALUE_LIMIT {
        out.extend_from_slice(&text);
        return true;
    }
    let tail = text.len() - TAIL;
    let head = ends.iter().rev().find(|end| **end <= HEAD).copied().unwrap_or(0);
    let tail = ends.iter().find(|end| **end >= tail).copied().unwrap_or(text.len());
    out.extend_from_slice(text.get(..head).unwrap_or_default());
    out.extend_from_slice(ELLIPSIS);
    out.extend_from_slice(text.get(tail..).unwrap_or_default());
    false
}

/// Calls `take` with the escaped form of each character of `value`, and of each byte that is not
/// UTF-8.
fn for_each_escaped(value: &[u8], special: fn(char) -> bool, mut take: impl FnMut(&[u8])) {
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                _ if special(character) => take(format!("\\{character}").as_bytes()),
                _ if is_unsafe(character) => {
                    take(character.escape_unicode().to_string().as_bytes())
                }
                _ => take(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            take(format!("\\x{byte:02x}").as_bytes());
        }
    }
}

/// Whether a character could change what a reader sees: control characters, line and paragraph
/// separators, and the marks for the direction of writing, which can make one name look like
/// another.
fn is_unsafe(character: char) -> bool {
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
    fn a_plain_word_is_not_quoted_and_any_other_value_is() {
        assert_eq!(quoted(b"/docs/a.txt"), "/docs/a.txt");
        assert_eq!(quoted(b"[::1]:2121"), "[::1]:2121");
        assert_eq!(quoted(b""), "\"\"");
        assert_eq!(quoted(b"a b"), "\"a b\"");
        assert_eq!(quoted("Привет".as_bytes()), "\"Привет\"");
    }

    #[test]
    fn no_value_can_end_a_line_close_a_quote_or_control_a_terminal() {
        assert_eq!(quoted(b"x\" user=\"root"), r#""x\" user=\"root""#);
        assert_eq!(quoted(b"x\\"), r#""x\\""#);
        assert_eq!(quoted(b"x\r\ny\x1b[2J"), r#""x\u{d}\u{a}y\u{1b}[2J""#);
        assert_eq!(quoted(b"\xff\xc2"), r#""\xff\xc2""#);
        assert_eq!(quoted("\u{85}\u{2028}\u{202e}".as_bytes()), r#""\u{85}\u{2028}\u{202e}""#);
    }

    #[test]
    fn a_long_value_is_shortened_and_keeps_both_ends_and_its_length() {
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
                        assert!(whole.len() > VALUE_LIMIT, "shortened although it would fit");
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
    fn shortening_a_value_splits_no_character() {
        for shift in 0..4 {
            let value = format!("{}{}", "x".repeat(shift), "🦀".repeat(1000));
            let text = quoted(value.as_bytes());
            assert!(!text.contains("\\x") && text.len() < VALUE_LIMIT + 3, "{text}");
        }
    }

    #[test]
    fn an_event_that_peers_can_trigger_is_reported_once_per_minute_with_its_number() {
        let mut limit = LogRateLimit::default();
        let start = limit.counted;
        // The minute begins with the first event.
        for (second, due) in [(59, Some(0)), (60, None), (118, None), (119, Some(2)), (120, None)] {
            assert_eq!(limit.take(1, start + Duration::from_secs(second)), due, "{second}");
        }
    }

    #[test]
    fn unauthenticated_clients_cause_a_burst_of_lines_and_then_some_per_second() {
        let mut allowance = unauthenticated_limit();
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
        // A client that logs in gives its lines back.
        allowance.give_back(2);
        assert_eq!([allowance.take(1, later), allowance.take(1, later)], [Some(1), Some(0)]);
        assert_eq!(allowance.take(1, later), None);
        let much_later = start + Duration::from_secs(u32::MAX.into());
        assert_eq!(allowance.take(1, much_later), Some(1));
        assert_eq!(allowance.left, UNAUTHENTICATED_LOG_BURST - 1);
    }

    #[test]
    fn a_torn_last_line_is_ended_before_the_next_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.txt");
        fs::write(&path, "whole\ntor").unwrap();
        Log::open(&path, Rotation::default())
            .unwrap()
            .write(LogLine::new("start").number("port", 7));
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..2], ["whole", "tor"]);
        assert_eq!(&lines[2][24..], " event=start port=7");
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn no_line_follows_the_last_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.txt");
        let log = Log::open(&path, Rotation::default()).unwrap();
        log.write(LogLine::new("first"));
        log.finish(LogLine::new("stop"));
        log.write(LogLine::new("late"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() == 2 && text.ends_with("Z event=stop\n"), "{text}");
    }

    #[test]
    fn lines_of_many_threads_do_not_mix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.txt");
        let log = Log::open(&path, Rotation::default()).unwrap();
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
