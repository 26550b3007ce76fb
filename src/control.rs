//! The control connection: lines in, replies out.
//!
//! Hides how a line is told from the next (LF, CRLF, CR), Telnet commands (RFC 854, as RFC 959
//! §2.3 and RFC 1123 §4.1.2.12 have them in FTP), erased characters, the line limit, and when
//! replies really travel: they gather until input runs out, so pipelined commands are answered in
//! few segments.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::LINE_LIMIT;

/// Room for what most clients send at once. An idle session holds no more.
const INBOX: usize = 256;
/// Room, in the end, for what fills it again and again: pipelined lines, or lines and content.
const LARGE_INBOX: usize = 16 * 1024;
const OUTBOX: usize = 16 * 1024;
/// This much room for replies stays between commands. A long reply's is given back, because a session
/// may idle for long.
const KEPT: usize = 1024;
/// So many lines may wait for a transfer to end; further ones are left unread.
const HELD: usize = 64;
/// So often a look at what comes during a transfer reads; who sends without an end must not hold it up.
const FILLS_A_LOOK: usize = 64;
/// How long a connection that we close may take to end, while its client still sends: closing a
/// socket with unread input would reset it, and the last reply could be lost on the way.
const LINGER: Duration = Duration::from_secs(2);

const IAC: u8 = 0xff;
const SB: u8 = 0xfa;
const SE: u8 = 0xf0;

/// What came next.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// A line, without its end.
    Line(Vec<u8>),
    /// The first bytes of a line over the limit, whose rest was thrown away.
    TooLong(Vec<u8>),
    /// The client has sent all that it will send. A last line without an end is not a command: it
    /// may be the half of one.
    End,
}

/// How inline content is delimited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// It stood on the command line: this text and a line end.
    Line(Vec<u8>),
    /// So many raw bytes follow.
    Counted(u64),
    /// Lines follow, up to one that holds only `.`.
    Lines,
    /// Something follows, and nobody can say where it ends.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telnet {
    Data,
    Command,
    Option,
    Subnegotiation,
    SubnegotiationCommand,
}

/// One client's control connection.
#[derive(Debug)]
pub struct Control {
    stream: Arc<TcpStream>,
    local: Option<SocketAddr>,
    idle: Duration,
    /// Until when a client that has not signed in may go on, whatever it sends or reads meanwhile.
    deadline: Option<Instant>,
    stall: Duration,
    /// The time-outs that the socket has, for reading and for writing.
    timeouts: [Option<Duration>; 2],
    inbox: Vec<u8>,
    /// What of the inbox is not used yet.
    unused: std::ops::Range<usize>,
    /// The last read filled the inbox, and it could be larger.
    was_full: bool,
    line: Vec<u8>,
    too_long: bool,
    telnet: Telnet,
    /// A CR ended the last line, so that a LF straight after it belongs to the same end.
    after_cr: bool,
    outbox: Vec<u8>,
    /// Lines that came during a transfer and wait for their turn.
    held: VecDeque<Input>,
    /// No line may be looked at before the held ones have had their turn.
    blocked: bool,
    ended: bool,
}

/// What becomes of a line that comes during a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was for the transfer.
    Taken,
    /// It waits for its turn.
    Wait,
    /// It waits, and what follows it may be content, which must not be looked at as lines.
    WaitWithContent,
}

impl Control {
    /// Takes a connection over; `idle` is the longest that the client may be silent, `stall` the
    /// longest that it may leave replies unread.
    pub fn new(stream: Arc<TcpStream>, idle: Duration, stall: Duration) -> io::Result<Control> {
        // Without this a reply may wait 40 ms for the acknowledgement of the one before.
        stream.set_nodelay(true)?;
        Ok(Control {
            stream,
            local: None,
            idle,
            deadline: None,
            stall,
            timeouts: [None; 2],
            inbox: vec![0; INBOX],
            unused: 0..0,
            was_full: false,
            line: Vec::new(),
            too_long: false,
            telnet: Telnet::Data,
            after_cr: false,
            outbox: Vec::new(),
            held: VecDeque::new(),
            blocked: false,
            ended: false,
        })
    }

    /// Sets until when the client may go on, if there is an end to it.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Whether the deadline has passed.
    pub fn is_overdue(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Before each wait for what the client sends: sets the time-out, unless it is that already.
    fn arm_reading(&mut self) -> io::Result<()> {
        let wanted = self.left().map_or(self.idle, |left| left.min(self.idle));
        if wanted.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        let [reading, _] = &mut self.timeouts;
        if differs(*reading, wanted) {
            self.stream.set_read_timeout(Some(wanted))?;
            *reading = Some(wanted);
        }
        Ok(())
    }

    /// The same for what it takes. It may still be told that its time is up.
    fn arm_writing(&mut self) -> io::Result<()> {
        let wanted = self.left().map_or(self.stall, |left| left.max(LINGER).min(self.stall));
        let [_, writing] = &mut self.timeouts;
        if differs(*writing, wanted) {
            self.stream.set_write_timeout(Some(wanted))?;
            *writing = Some(wanted);
        }
        Ok(())
    }

    /// The next line. [`ErrorKind::TimedOut`] where it was not complete in time, however slowly
    /// its bytes drip in.
    pub fn read_line(&mut self) -> io::Result<Input> {
        if let Some(held) = self.held.pop_front() {
            return Ok(held);
        }
        self.blocked = false;
        let mut since = None;
        loop {
            if let Some(line) = self.line_at_hand() {
                return Ok(line);
            }
            let since = *since.get_or_insert_with(Instant::now);
            if !self.fill()? {
                return Ok(Input::End);
            }
            if since.elapsed() >= self.idle {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }

    /// A line that needs no more reading.
    fn line_at_hand(&mut self) -> Option<Input> {
        while let Some(byte) = self.next_byte() {
            if self.ends_line(byte) {
                let line = std::mem::take(&mut self.line);
                let too_long = std::mem::take(&mut self.too_long);
                return Some(if too_long { Input::TooLong(line) } else { Input::Line(line) });
            }
        }
        None
    }

    /// Looks, without waiting, at the lines that have come since; `judge` says what becomes of
    /// each. For use during a transfer.
    pub fn look(&mut self, judge: &mut dyn FnMut(&[u8]) -> Verdict) -> io::Result<()> {
        let mut fills = 0;
        while !self.blocked && fills <= FILLS_A_LOOK {
            match self.line_at_hand() {
                Some(Input::Line(line)) => match judge(&line) {
                    Verdict::Taken => {}
                    verdict => {
                        self.held.push_back(Input::Line(line));
                        let full = self.held.len() >= HELD;
                        self.blocked = full || verdict == Verdict::WaitWithContent;
                    }
                },
                Some(input) => {
                    self.held.push_back(input);
                    self.blocked = true;
                }
                None if !self.fill_without_waiting()? => break,
                None => fills += 1,
            }
        }
        Ok(())
    }

    /// Whether the client has sent all that it will send, as far as is known.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Reads what is there. False where nothing is.
    fn fill_without_waiting(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        self.stream.set_nonblocking(true)?;
        let read = (&*self.stream).read(&mut self.inbox);
        self.stream.set_nonblocking(false)?;
        match read {
            Ok(read) => {
                self.unused = 0..read;
                self.ended = read == 0;
                Ok(read > 0)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The address by which the client reached us.
    pub fn local(&mut self) -> io::Result<SocketAddr> {
        match self.local {
            Some(local) => Ok(local),
            None => Ok(*self.local.insert(self.stream.local_addr()?)),
        }
    }

    fn next_byte(&mut self) -> Option<u8> {
        let index = self.unused.next()?;
        self.inbox.get(index).copied()
    }

    /// Reads more input, after the replies so far are on their way. False at its end.
    fn fill(&mut self) -> io::Result<bool> {
        self.flush()?;
        self.arm_reading()?;
        if self.was_full {
            self.inbox = vec![0; (4 * self.inbox.len()).min(LARGE_INBOX)];
        }
        let read = read_patiently(&self.stream, &mut self.inbox)?;
        self.was_full = read == self.inbox.len() && read < LARGE_INBOX;
        self.unused = 0..read;
        Ok(read > 0)
    }

    /// Takes one byte; true where it ends a line.
    fn ends_line(&mut self, byte: u8) -> bool {
        match self.telnet {
            Telnet::Data => return self.data(byte),
            Telnet::Command => {
                self.telnet = match byte {
                    SB => Telnet::Subnegotiation,
                    0xfb..=0xfe => Telnet::Option,
                    _ => Telnet::Data,
                };
                match byte {
                    IAC => self.push(IAC),
                    // No command: the IAC before it stood alone, because the urgent DATA MARK that
                    // should follow travels out of band.
                    0x00..SE => return self.data(byte),
                    _ => {}
                }
            }
            Telnet::Option => self.telnet = Telnet::Data,
            Telnet::Subnegotiation if byte == IAC => self.telnet = Telnet::SubnegotiationCommand,
            Telnet::Subnegotiation => {}
            Telnet::SubnegotiationCommand if byte == SE => self.telnet = Telnet::Data,
            Telnet::SubnegotiationCommand => self.telnet = Telnet::Subnegotiation,
        }
        false
    }

    fn data(&mut self, byte: u8) -> bool {
        if byte == IAC {
            self.telnet = Telnet::Command;
            return false;
        }
        // Telnet's bare CR is CR NUL (RFC 854).
        let completes_end = std::mem::take(&mut self.after_cr) && matches!(byte, b'\n' | 0);
        match byte {
            _ if completes_end => {}
            b'\n' => return true,
            b'\r' => {
                self.after_cr = true;
                return true;
            }
            0x08 | 0x7f => self.erase(),
            _ => self.push(byte),
        }
        false
    }

    /// Takes the LF of a CRLF, whose CR has ended the last line. False where it may be still to come.
    fn complete_line_end(&mut self) -> bool {
        if std::mem::take(&mut self.after_cr) {
            match self.inbox.get(self.unused.clone()).and_then(<[u8]>::first) {
                Some(b'\n') => self.unused.start += 1,
                Some(_) => {}
                None => return false,
            }
        }
        true
    }

    fn push(&mut self, byte: u8) {
        if self.line.len() < LINE_LIMIT {
            self.line.push(byte);
        } else {
            self.too_long = true;
        }
    }

    /// Takes the last character back, a whole one in UTF-8.
    fn erase(&mut self) {
        while self.line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
    }

    /// The `length` raw bytes that follow, in which nothing is interpreted.
    pub fn content(&mut self, length: u64) -> Content<'_> {
        Content { control: self, left: length }
    }

    /// The lines that follow, up to one that holds only `.`.
    pub fn text(&mut self) -> Text<'_> {
        Text { control: self, line: Vec::new(), used: 0, ended: false }
    }

    /// Throws away the content that follows.
    pub fn discard(&mut self, body: &Body) -> io::Result<()> {
        match body {
            Body::Counted(length) => self.content(*length).discard(),
            Body::Lines => self.text().discard(),
            Body::Line(_) | Body::Unknown => Ok(()),
        }
    }

    /// Ends the connection of a client that will send no more, as QUIT and the end of input promise.
    pub fn close(&mut self) -> io::Result<()> {
        self.flush()?;
        let awaits_lf = !self.complete_line_end();
        if !awaits_lf && self.unused.is_empty() && !self.fill_without_waiting()? {
            return Ok(());
        }
        self.close_patiently()
    }

    /// Ends the connection of a client that may be sending still, so that it can read the last reply.
    pub fn close_patiently(&mut self) -> io::Result<()> {
        self.flush()?;
        self.stream.shutdown(Shutdown::Write)?;
        let since = Instant::now();
        while let Some(left) = LINGER.checked_sub(since.elapsed()).filter(|left| !left.is_zero()) {
            self.stream.set_read_timeout(Some(left))?;
            if read_patiently(&self.stream, &mut self.inbox)? == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Reads up to the end. `io::copy` would do, but its 8 KiB of stack, where every session passes by,
/// would be most of what an idle one holds.
fn exhaust(source: &mut dyn Read) -> io::Result<()> {
    let mut scrap = vec![0; 4096];
    while source.read(&mut scrap)? > 0 {}
    Ok(())
}

/// Whether a time-out must be set anew: to the second it need not be right.
fn differs(set: Option<Duration>, wanted: Duration) -> bool {
    set.is_none_or(|set| set < wanted || set > wanted + Duration::from_secs(1))
}

/// A read that a signal does not end, and whose time-out bears its proper name.
fn read_patiently(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(ErrorKind::TimedOut.into());
            }
            read => return read,
        }
    }
}

impl Write for Control {
    /// Gathers small pieces; sends a large one straight on.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.outbox.len() + bytes.len() > OUTBOX {
            self.flush()?;
        }
        if bytes.len() >= OUTBOX {
            self.arm_writing()?;
            return (&*self.stream).write(bytes);
        }
        self.outbox.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        let sent = self.send_all();
        // After an error nobody knows how much of it went, so nothing is ever sent twice.
        self.outbox.clear();
        if self.outbox.capacity() > KEPT {
            self.outbox = Vec::new(); // cut short, it would leave a hole in the heap
        }
        sent
    }
}

impl Control {
    /// Sends the outbox. A stranger that takes it by drops is cut off at its deadline.
    fn send_all(&mut self) -> io::Result<()> {
        self.arm_writing()?;
        let mut rest = self.outbox.as_slice();
        while !rest.is_empty() {
            match (&*self.stream).write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if !rest.is_empty() && self.is_overdue() {
                return Err(ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    }
}

/// Counted content; [`Read`] ends early only where the connection does.
#[derive(Debug)]
pub struct Content<'c> {
    control: &'c mut Control,
    left: u64,
}

impl Content<'_> {
    /// How many bytes are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Reads the rest and forgets it.
    pub fn discard(&mut self) -> io::Result<()> {
        exhaust(self)
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        let control = &mut *self.control;
        if control.after_cr {
            if control.unused.is_empty() && !control.fill()? {
                return Ok(0);
            }
            control.complete_line_end();
        }
        let read = if control.unused.is_empty() {
            control.flush()?;
            control.arm_reading()?;
            read_patiently(&control.stream, buffer)?
        } else {
            let mut unused = control.inbox.get(control.unused.clone()).unwrap_or_default();
            let read = unused.read(buffer)?;
            control.unused.start += read;
            read
        };
        self.left -= read as u64;
        Ok(read)
    }
}

/// Content in lines, with LF ends and the doubled dots undone (RFC 5321 §4.5.2). [`Read`] fails
/// with [`ErrorKind::UnexpectedEof`] where the connection ends before the text does, and with
/// [`ErrorKind::InvalidData`] for a line over the limit, after which one may read on.
#[derive(Debug)]
pub struct Text<'c> {
    control: &'c mut Control,
    line: Vec<u8>,
    used: usize,
    ended: bool,
}

impl Text<'_> {
    /// Reads up to the end of the text and forgets it.
    pub fn discard(&mut self) -> io::Result<()> {
        loop {
            match exhaust(self) {
                Err(error) if error.kind() == ErrorKind::InvalidData => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                ended => return ended,
            }
        }
    }
}

impl Read for Text<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.line.len() {
            if self.ended {
                return Ok(0);
            }
            match self.control.read_line()? {
                Input::Line(line) if line == b"." => {
                    self.ended = true;
                    return Ok(0);
                }
                Input::Line(line) => {
                    self.used = usize::from(line.starts_with(b"."));
                    self.line = line;
                    self.line.push(b'\n');
                }
                Input::TooLong(_) => {
                    return Err(io::Error::new(
                        ErrorKind::InvalidData,
                        "a line is longer than 8 KiB; put with a size takes any content",
                    ));
                }
                Input::End => {
                    self.ended = true;
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
        }
        let read = self.line.get(self.used..).unwrap_or_default().read(buffer)?;
        self.used += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
