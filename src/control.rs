//! The control connection: lines in, replies out.
//!
//! Hides how bytes become lines (`decoder.rs`) and content (`content.rs`), which lines wait while a
//! transfer goes on, and when replies really travel: they gather until input runs out, so pipelined
//! commands are answered in few segments.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod decoder;
mod content;

pub use content::{CANCELLED, InlineBody};
pub use decoder::Input;
use decoder::{Decoder, LineUse};

/// Room for what most clients send at once. An idle session holds no more.
const INBOX: usize = 256;
/// Room, in the end, for what fills it again and again: pipelined lines, or lines and content.
const LARGE_INBOX: usize = 16 * 1024;
const OUTBOX: usize = 16 * 1024;
/// This much room for replies stays between commands. A long reply's is given back, because a
/// session may idle for long.
const KEPT: usize = 1024;
/// The most bytes of lines that wait for a transfer to end; further ones are left unread. An ABOR
/// is seen behind that much, which is more than 9,000 NOOPs.
const HELD: usize = 64 * 1024;
/// So often a look at what comes during a transfer reads; who sends without an end must not hold it
/// up.
const FILLS_A_LOOK: usize = 64;
/// How long a connection that we close may take to end, while its client still sends: closing a
/// socket with unread input would reset it, and the last reply could be lost on the way.
const LINGER: Duration = Duration::from_secs(2);

/// What a line is to a transfer that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// ABOR.
    Abort,
    /// STAT, which asks how far the transfer is.
    Status,
    /// QUIT.
    Quit,
    /// Content may follow it, which must not be looked at as lines.
    WithContent,
    /// Another line.
    Other,
}

/// What the control connection must know of the language.
#[derive(Debug, Clone, Copy)]
pub struct Language {
    /// Whether this is an FTP verb, whose argument is bytes to the end of the line.
    pub is_ftp_verb: fn(&[u8]) -> bool,
    /// What this line is to a transfer; of a line over the limit there is only the beginning.
    pub classify: fn(&Input) -> LineKind,
}

/// One client's control connection.
#[derive(Debug)]
pub struct Control {
    stream: Arc<TcpStream>,
    local: Option<SocketAddr>,
    idle: Duration,
    /// Until when a client that has not logged in may go on, whatever it sends or reads meanwhile.
    deadline: Option<Instant>,
    stall: Duration,
    /// The time-outs that the socket has, for reading and for writing.
    timeouts: [Option<Duration>; 2],
    inbox: Vec<u8>,
    /// What of the inbox is not used yet.
    unused: std::ops::Range<usize>,
    /// The last read filled the inbox, and it could be larger.
    was_full: bool,
    decoder: Decoder,
    classify: fn(&Input) -> LineKind,
    outbox: Vec<u8>,
    held: HeldLines,
    /// No line may be looked at before the held ones have had their turn.
    blocked: bool,
    ended: bool,
}

impl Control {
    /// Takes a connection over; `idle` is the longest that the client may be silent, `stall` the
    /// longest that it may leave replies unread.
    pub fn new(
        stream: Arc<TcpStream>,
        language: Language,
        idle: Duration,
        stall: Duration,
    ) -> io::Result<Control> {
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
            decoder: Decoder::new(language.is_ftp_verb),
            classify: language.classify,
            outbox: Vec::new(),
            held: HeldLines::default(),
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

    /// Before each write: sets the time-out. Past the deadline there is still time for the last
    /// reply.
    fn arm_writing(&mut self) -> io::Result<()> {
        let wanted = self.left().map_or(self.stall, |left| left.max(LINGER).min(self.stall));
        let [_, writing] = &mut self.timeouts;
        if differs(*writing, wanted) {
            self.stream.set_write_timeout(Some(wanted))?;
            *writing = Some(wanted);
        }
        Ok(())
    }

    /// The next command line. [`ErrorKind::TimedOut`] where it was not complete in time, however
    /// slowly its bytes drip in.
    pub fn read_line(&mut self) -> io::Result<Input> {
        if let Some(held) = self.held.pop() {
            return Ok(held);
        }
        self.blocked = false;
        self.read_input(LineUse::Command)
    }

    /// The next line of this use, behind those that are held.
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

    /// A line that needs no more reading.
    fn input_at_hand(&mut self, line_use: LineUse) -> Option<Input> {
        let mut bytes = self.inbox.get(self.unused.clone()).unwrap_or_default();
        let input = self.decoder.decode(&mut bytes, line_use);
        self.unused.start = self.unused.end - bytes.len();
        self.outbox.extend(self.decoder.take_answers());
        input
    }

    /// Looks, without waiting, at the lines that have come since. `takes` says of each whether it
    /// was for the transfer; the others wait for their turn. Its second argument says whether none
    /// waits yet. For use during a transfer.
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

    /// Waits for input, `patience` at most. False if there was none in that time, or if lines that
    /// wait keep it from being looked at.
    pub fn wait_for_input(&mut self, patience: Duration) -> bool {
        if self.blocked || self.ended || !self.unused.is_empty() {
            return false;
        }
        let [reading, _] = &mut self.timeouts;
        *reading = Some(patience);
        let read = self.stream.set_read_timeout(Some(patience));
        match read.and_then(|()| read_patiently(&self.stream, &mut self.inbox)) {
            Ok(read) => {
                self.unused = 0..read;
                self.ended = read == 0;
                true
            }
            // Any other trouble is met again at the next look.
            Err(error) => error.kind() != ErrorKind::TimedOut,
        }
    }

    /// Whether the client has sent all that it will send, as far as is known.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the client has ended its input, and no QUIT is among the lines that wait: RFC 959
    /// §4.1.1 has that as an ABOR.
    pub fn has_ended_without_quit(&self) -> bool {
        self.ended && !self.held.holds_quit
    }

    /// Whether a line has begun that has no end yet.
    pub fn is_inside_line(&self) -> bool {
        self.decoder.is_inside_line()
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
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(false)
            }
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

    /// Reads more input, after the replies so far are on their way. False at its end.
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

    /// Sends the replies so far, and sets the time-out for the wait that follows.
    fn flush_before_read(&mut self) -> io::Result<()> {
        self.flush()?;
        self.arm_reading()
    }

    /// Ends the connection of a client that will send no more, as QUIT and the end of input
    /// promise.
    pub fn close(&mut self) -> io::Result<()> {
        self.flush()?;
        if self.unused.is_empty() && !self.fill_without_waiting()? {
            return Ok(());
        }
        self.close_patiently()
    }

    /// Ends the connection of a client that may be sending still, so that it can read the last
    /// reply.
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

/// Lines that wait for a transfer to end, in one piece of memory: a [`Vec`] for each would cost
/// many times what a NOOP has bytes.
#[derive(Debug, Default)]
struct HeldLines {
    /// Each line behind a mark and before a LF.
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
