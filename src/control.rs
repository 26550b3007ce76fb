//! The control connection: lines in, replies out.
//!
//! `decoder.rs` turns bytes into lines, and `content.rs` reads inline content. This file decides
//! which lines wait during a transfer, and when replies are sent: they stay in a buffer until the
//! input is used up, so pipelined commands are answered in few packets.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod decoder;
mod content;

pub use content::{CANCELLED, InlineBody};
pub use decoder::Input;
use decoder::{Decoder, LineUse};

/// The size of a new input buffer, in bytes: enough for what most clients send at once. An idle
/// session keeps no more.
const INBOX: usize = 256;
/// The size to which the input buffer grows if the client keeps filling it, in bytes.
const LARGE_INBOX: usize = 16 * 1024;
/// The size of the output buffer, in bytes.
const OUTBOX: usize = 16 * 1024;
/// The size of the output buffer that stays allocated between commands, in bytes. A larger one is
/// freed, because a session may be idle for a long time.
const KEPT: usize = 1024;
/// The most bytes of lines that wait for the end of a transfer. Further ones stay unread. So the
/// server sees an ABOR after 64 KiB of other lines, which is more than 9,000 NOOPs.
const HELD: usize = 64 * 1024;
/// The most reads per look at the input during a transfer. A client that sends without end must not
/// stop the transfer.
const FILLS_A_LOOK: usize = 64;
/// How long the server reads from a client after its last reply. If it closed a socket with unread
/// input, the system would reset the connection, and the reply could be lost.
const LINGER: Duration = Duration::from_secs(2);

/// What a line means to a transfer in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    Abort,
    /// STAT: asks for the number of bytes so far.
    Status,
    Quit,
    /// A line that content may follow. The content must not be read as lines.
    WithContent,
    Other,
}

/// What the control connection must know about the language.
#[derive(Debug, Clone, Copy)]
pub struct Language {
    /// Whether a word is an FTP verb, whose argument is all bytes to the end of the line.
    pub is_ftp_verb: fn(&[u8]) -> bool,
    /// What a line means to a transfer. Of a line over the limit there is only the beginning.
    pub classify: fn(&Input) -> LineKind,
}

/// One client's control connection.
#[derive(Debug)]
pub struct Control {
    stream: Arc<TcpStream>,
    local: Option<SocketAddr>,
    idle: Duration,
    /// When the session of a client that is not logged in ends, whatever the client sends or reads.
    pub deadline: Option<Instant>,
    stall: Duration,
    /// The timeout for reading that is set on the socket.
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    inbox: Vec<u8>,
    /// The part of the inbox that is not used yet.
    unused: std::ops::Range<usize>,
    /// The last read filled the inbox, and it could be larger.
    was_full: bool,
    decoder: Decoder,
    classify: fn(&Input) -> LineKind,
    outbox: Vec<u8>,
    held: HeldLines,
    /// No further line may be read before the held ones have been run.
    blocked: bool,
    ended: bool,
}

impl Control {
    /// A control connection over `stream`. `idle` is how long the client may be silent, and `stall`
    /// how long it may leave replies unread.
    pub fn new(
        stream: Arc<TcpStream>,
        language: Language,
        idle: Duration,
        stall: Duration,
    ) -> io::Result<Control> {
        // Otherwise a reply may wait 40 ms for the acknowledgement of the previous one.
        stream.set_nodelay(true)?;
        Ok(Control {
            stream,
            local: None,
            idle,
            deadline: None,
            stall,
            read_timeout: None,
            write_timeout: None,
            inbox: vec![0; INBOX],
            unused: 0..0,
            was_full: false,
            decoder: Decoder::new(language.is_ftp_verb),
            classify: language.classify,
            outbox: Vec::new(),
            held: HeldLines::default(),
            blocked: false,
            ended: false,
        })
    }

    /// Whether the deadline has passed.
    pub fn is_overdue(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Sets the timeout for the next write. After the deadline there is still time for the last
    /// reply.
    fn arm_writing(&mut self) -> io::Result<()> {
        let wanted = self.left().map_or(self.stall, |left| left.max(LINGER).min(self.stall));
        if differs(self.write_timeout, wanted) {
            self.stream.set_write_timeout(Some(wanted))?;
            self.write_timeout = Some(wanted);
        }
        Ok(())
    }

    /// Reads the next command line. Fails with [`ErrorKind::TimedOut`] if it is not complete in
    /// time, even if single bytes keep coming.
    pub fn read_line(&mut self) -> io::Result<Input> {
        if let Some(held) = self.held.pop() {
            return Ok(held);
        }
        self.blocked = false;
        self.read_input(LineUse::Command)
    }

    /// Reads the next line after those that are held.
    fn read_input(&mut self, line_use: LineUse) -> io::Result<Input> {
        let mut since = None;
        loop {
            if let Some(input) = self.input_at_hand(line_use) {
                return Ok(input);
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

    /// Decodes a line from the inbox, if it has a complete one.
    fn input_at_hand(&mut self, line_use: LineUse) -> Option<Input> {
        let mut bytes = self.inbox.get(self.unused.clone()).unwrap_or_default();
        let input = self.decoder.decode(&mut bytes, line_use);
        self.unused.start = self.unused.end - bytes.len();
        self.outbox.extend(self.decoder.take_answers());
        input
    }

    /// Looks at the lines that came during a transfer, without waiting. `takes` says of each line
    /// whether the transfer has used it up; the others are held until the transfer ends. The second
    /// argument of `takes` says that no line is held yet.
    pub fn look(&mut self, takes: &mut dyn FnMut(LineKind, bool) -> bool) -> io::Result<()> {
        let mut fills = 0;
        while !self.blocked && fills <= FILLS_A_LOOK {
            match self.input_at_hand(LineUse::Command) {
                Some(input) => {
                    let kind = (self.classify)(&input);
                    if !takes(kind, self.held.is_empty()) {
                        self.held.push(&input, kind);
                        self.blocked = self.held.len() >= HELD || kind == LineKind::WithContent;
                    }
                }
                None if !self.fill_without_waiting()? => break,
                None => fills += 1,
            }
        }
        Ok(())
    }

    /// Waits up to `patience` for input. Returns false if none came, or if held lines keep the
    /// server from reading it.
    pub fn wait_for_input(&mut self, patience: Duration) -> bool {
        if self.blocked || self.ended || !self.unused.is_empty() {
            return false;
        }
        self.read_timeout = Some(patience);
        let read = self.stream.set_read_timeout(Some(patience));
        match read.and_then(|()| read_patiently(&self.stream, &mut self.inbox)) {
            Ok(read) => {
                self.unused = 0..read;
                self.ended = read == 0;
                true
            }
            // The next look meets any other error again.
            Err(error) => error.kind() != ErrorKind::TimedOut,
        }
    }

    /// Whether the server knows that the client has ended its input.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the client has ended its input without a QUIT among the held lines. RFC 959 §4.1.1
    /// takes that as an ABOR.
    pub fn has_ended_without_quit(&self) -> bool {
        self.ended && !self.held.holds_quit
    }

    /// Whether a line has begun and has no end yet.
    pub fn is_inside_line(&self) -> bool {
        self.decoder.is_inside_line()
    }

    /// Reads the input that has come. Returns false if there is none.
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
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The server's address on this connection.
    pub fn local(&mut self) -> io::Result<SocketAddr> {
        match self.local {
            Some(local) => Ok(local),
            None => Ok(*self.local.insert(self.stream.local_addr()?)),
        }
    }

    /// Sends the buffered replies and reads more input. Returns false at the end of the input.
    fn fill(&mut self) -> io::Result<bool> {
        self.flush_before_read()?;
        if self.was_full {
            self.inbox = vec![0; (4 * self.inbox.len()).min(LARGE_INBOX)];
        }
        let read = read_patiently(&self.stream, &mut self.inbox)?;
        self.was_full = read == self.inbox.len() && read < LARGE_INBOX;
        self.unused = 0..read;
        Ok(read > 0)
    }

    /// Sends the buffered replies. Sets the timeout for the next read, unless the socket has it.
    fn flush_before_read(&mut self) -> io::Result<()> {
        self.flush()?;
        let wanted = self.left().map_or(self.idle, |left| left.min(self.idle));
        if wanted.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        if differs(self.read_timeout, wanted) {
            self.stream.set_read_timeout(Some(wanted))?;
            self.read_timeout = Some(wanted);
        }
        Ok(())
    }

    /// Sends the buffered replies. Returns the socket, with its write timeout, for content.
    pub fn socket_for_content(&mut self) -> io::Result<&TcpStream> {
        self.flush()?;
        self.arm_writing()?;
        Ok(&self.stream)
    }

    /// Closes the connection of a client that will send no more, as after QUIT or the end of input.
    pub fn close(&mut self) -> io::Result<()> {
        self.flush()?;
        if self.unused.is_empty() && !self.fill_without_waiting()? {
            return Ok(());
        }
        self.close_patiently()
    }

    /// Closes the connection of a client that may still send. Reads on for a while, so that the
    /// client gets the last reply.
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

/// Whether a timeout must be set again. It may be up to a second too long.
fn differs(set: Option<Duration>, wanted: Duration) -> bool {
    set.is_none_or(|set| set < wanted || set > wanted + Duration::from_secs(1))
}

/// Reads; retries after a signal. A timeout is an error of kind [`ErrorKind::TimedOut`].
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
    /// Buffers small pieces. Sends a large one directly.
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
        // After an error it is unknown how much was sent. Nothing must be sent twice.
        self.outbox.clear();
        if self.outbox.capacity() > KEPT {
            self.outbox = Vec::new(); // a shrunk one would leave a hole in the heap
        }
        sent
    }
}

impl Control {
    /// Sends the outbox. The deadline ends it for a client that reads only a few bytes at a time.
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

/// Lines that are held until a transfer ends, in one block of memory: a [`Vec`] per line would cost
/// many times the bytes of a NOOP.
#[derive(Debug, Default)]
struct HeldLines {
    /// For each line: a mark, the line, and a LF.
    bytes: Vec<u8>,
    used: usize,
    holds_quit: bool,
}

const COMPLETE: u8 = b'=';
const TOO_LONG: u8 = b'>';

impl HeldLines {
    fn len(&self) -> usize {
        self.bytes.len() - self.used
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&mut self, input: &Input, kind: LineKind) {
        let (mark, line) = match input {
            Input::Line(line) => (COMPLETE, line),
            Input::TooLong(start) => (TOO_LONG, start),
            Input::Cancel | Input::End => return,
        };
        self.holds_quit |= kind == LineKind::Quit;
        self.bytes.drain(..std::mem::take(&mut self.used));
        self.bytes.push(mark);
        self.bytes.extend_from_slice(line);
        self.bytes.push(b'\n');
    }

    fn pop(&mut self) -> Option<Input> {
        let mut rest = self.bytes.get(self.used..)?.splitn(2, |byte| *byte == b'\n');
        let (mark, line) = rest.next()?.split_first()?;
        let (mark, line) = (*mark, line.to_vec());
        self.used += line.len() + 2;
        if self.is_empty() {
            *self = HeldLines::default();
        }
        Some(if mark == TOO_LONG { Input::TooLong(line) } else { Input::Line(line) })
    }
}

#[cfg(test)]
mod tests;
