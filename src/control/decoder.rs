//! Bytes in, lines out: line ends, Telnet (RFC 854; RFC 959 §2.3 and RFC 1123 §4.1.2.12 on its use
//! in FTP), bytes that erase others, and the line limit. Pure: no socket here.

use crate::config::LINE_LIMIT;

const EOT: u8 = 0x04;
const BS: u8 = 0x08;
const DEL: u8 = 0x7f;
/// Interpret As Command: begins a Telnet command.
const IAC: u8 = 0xff;
const DONT: u8 = 0xfe;
const DO: u8 = 0xfd;
const WONT: u8 = 0xfc;
const WILL: u8 = 0xfb;
/// Begins a sub-negotiation, up to IAC SE.
const SB: u8 = 0xfa;
/// Interrupt Process: Ctrl-C.
const IP: u8 = 0xf4;
/// Data Mark: marks the place of Telnet's Synch in the stream.
const DM: u8 = 0xf2;
const SE: u8 = 0xf0;

/// The most Telnet requests that are answered until the answers are sent. A client that sends
/// requests without end and reads no answer cannot make the answers pile up.
const ANSWERS: usize = 32;

/// The next input.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// A line, without its end.
    Line(Vec<u8>),
    /// The first bytes of a line over the limit. The rest was thrown away.
    TooLong(Vec<u8>),
    /// Ctrl-C at the start of a line of inline text.
    Cancel,
    /// The client has ended its input. A last line without an end is not a command, because it may
    /// be half of one. The decoder never returns this.
    End,
}

/// How the next line is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineUse {
    Command,
    /// Inline text: all of it is content, except Telnet at the start of a line.
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Before the first ordinary byte of a line.
    #[default]
    Start,
    /// After the IAC of a Telnet command, at the start of a line.
    TelnetCommand,
    /// After this request, before its option.
    Option(u8),
    Subnegotiation,
    SubnegotiationCommand,
    Inside,
    /// After a CR, which ends the line if LF or NUL follows.
    AfterCr,
    /// After a byte 0xFF in a command line. A second one belongs to it.
    AfterIac,
}

/// Splits a stream of bytes into lines, in whatever pieces the stream comes.
///
/// LF, CRLF and CR NUL end a line, and any other CR is part of it. There are two exceptions. In the
/// argument of an FTP verb CR NUL stands for a CR (RFC 2640 §3.1): lftp sends a name with a CR in
/// it like this, and what follows must not be run. `ABOR` and a CR are complete at once, because
/// clients send them as TCP urgent data, whose last byte comes separately.
#[derive(Debug)]
pub struct Decoder {
    is_ftp_verb: fn(&[u8]) -> bool,
    /// The line so far, without erased characters.
    line: Vec<u8>,
    /// The line has reached the argument of an FTP verb, in which nothing is erased.
    in_ftp_argument: bool,
    too_long: bool,
    state: State,
    /// A CR has completed an ABOR: a LF that follows belongs to it.
    takes_late_lf: bool,
    /// Ctrl-C has come at the start of a line of text.
    cancels: bool,
    answers: Vec<u8>,
}

impl Decoder {
    /// A decoder at the start of a line. `is_ftp_verb` knows the verbs whose argument is the rest
    /// of the line, byte for byte.
    pub fn new(is_ftp_verb: fn(&[u8]) -> bool) -> Decoder {
        Decoder {
            is_ftp_verb,
            line: Vec::new(),
            in_ftp_argument: false,
            too_long: false,
            state: State::Start,
            takes_late_lf: false,
            cancels: false,
            answers: Vec::new(),
        }
    }

    /// Takes bytes from the front of `bytes`: up to the end of the next line, or all of them.
    pub fn decode(&mut self, bytes: &mut &[u8], line_use: LineUse) -> Option<Input> {
        while let Some((byte, rest)) = bytes.split_first() {
            // After Ctrl-C a terminal may show nothing until its next request is answered. So the
            // reply to the Ctrl-C must come after that answer.
            let is_telnet = match self.state {
                State::Start => *byte == IAC,
                State::TelnetCommand => (SE..=DONT).contains(byte),
                _ => true,
            };
            if !is_telnet && std::mem::take(&mut self.cancels) {
                return Some(Input::Cancel);
            }
            *bytes = rest;
            let input = self.take(*byte, line_use);
            if input.is_some() {
                return input;
            }
        }
        std::mem::take(&mut self.cancels).then_some(Input::Cancel)
    }

    /// Takes the answers to Telnet requests, which must be sent.
    pub fn take_answers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answers)
    }

    /// Whether a line has begun and has no end yet.
    pub fn is_inside_line(&self) -> bool {
        matches!(self.state, State::Inside | State::AfterCr | State::AfterIac)
    }

    fn take(&mut self, byte: u8, line_use: LineUse) -> Option<Input> {
        if std::mem::take(&mut self.takes_late_lf) && matches!(byte, b'\n' | 0) {
            return None;
        }
        match self.state {
            State::Start if byte == IAC => self.state = State::TelnetCommand,
            State::Start if byte == EOT && line_use == LineUse::Command => {
                return Some(Input::Line(b"quit".to_vec()));
            }
            State::Start | State::Inside => return self.take_ordinary(byte, line_use),
            State::AfterCr if byte == b'\n' => return Some(self.end_line(line_use)),
            State::AfterCr if byte == 0 && self.in_ftp_argument => self.push(b'\r'),
            State::AfterCr if byte == 0 => return Some(self.end_line(line_use)),
            State::AfterCr => {
                self.push(b'\r');
                return self.take_ordinary(byte, line_use);
            }
            State::AfterIac if byte == IAC => self.state = State::Inside,
            State::AfterIac => return self.take_ordinary(byte, line_use),
            State::TelnetCommand => return self.take_telnet_command(byte, line_use),
            State::Option(request) => {
                self.answer(request, byte);
                self.state = State::Start;
            }
            State::Subnegotiation if byte == IAC => self.state = State::SubnegotiationCommand,
            State::Subnegotiation => {}
            State::SubnegotiationCommand if byte == SE => self.state = State::Start,
            State::SubnegotiationCommand => self.state = State::Subnegotiation,
        }
        None
    }

    fn take_ordinary(&mut self, byte: u8, line_use: LineUse) -> Option<Input> {
        match byte {
            b'\n' => return Some(self.end_line(line_use)),
            b'\r' if line_use == LineUse::Command && is_abort(&self.line) => {
                self.takes_late_lf = true;
                return Some(self.end_line(line_use));
            }
            b'\r' => self.state = State::AfterCr,
            IAC if line_use == LineUse::Command => {
                self.push(IAC);
                self.state = State::AfterIac;
            }
            BS | DEL if line_use == LineUse::Command && !self.in_ftp_argument => self.erase(),
            b' ' | b'\t' if line_use == LineUse::Command => {
                self.in_ftp_argument |= self.ends_ftp_verb();
                self.push(byte);
            }
            _ => self.push(byte),
        }
        None
    }

    /// Whether the line so far is an FTP verb.
    fn ends_ftp_verb(&self) -> bool {
        let ends_word =
            !self.too_long && self.line.last().is_some_and(|last| !matches!(last, b' ' | b'\t'));
        ends_word && (self.is_ftp_verb)(self.line.trim_ascii_start())
    }

    /// Erases the last character, for terminals without line editing. In UTF-8 it may have several
    /// bytes. Nothing is erased in a line over the limit, because its end was not kept.
    fn erase(&mut self) {
        self.state = State::Inside;
        while !self.too_long && self.line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
    }

    fn take_telnet_command(&mut self, byte: u8, line_use: LineUse) -> Option<Input> {
        match (byte, line_use) {
            (SB, _) => self.state = State::Subnegotiation,
            (WILL..=DONT, _) => self.state = State::Option(byte),
            (SE..SB, _) => {
                self.state = State::Start;
                self.cancels |= byte == IP && line_use == LineUse::Text;
            }
            // Of `IAC DM IAC DO x` the DM may come out of band. The IAC before it is then alone.
            (IAC, LineUse::Command) => {}
            _ => {
                self.push(IAC);
                return self.take_ordinary(byte, line_use);
            }
        }
        None
    }

    /// Refuses every option. A refused peer must not ask again (RFC 854), so two peers cannot keep
    /// each other busy.
    fn answer(&mut self, request: u8, option: u8) {
        let refusal = match request {
            DO => WONT,
            WILL => DONT,
            _ => return,
        };
        if self.answers.len() < ANSWERS * 3 {
            self.answers.extend([IAC, refusal, option]);
        }
    }

    fn push(&mut self, byte: u8) {
        self.state = State::Inside;
        if self.line.len() < LINE_LIMIT {
            self.line.push(byte);
        } else {
            self.too_long = true;
        }
    }

    fn end_line(&mut self, line_use: LineUse) -> Input {
        self.state = State::Start;
        self.in_ftp_argument = false;
        let mut line = std::mem::take(&mut self.line);
        if line_use == LineUse::Command {
            let synch = line.len() - without_synch(&line).len();
            line.drain(..synch);
        }
        if std::mem::take(&mut self.too_long) { Input::TooLong(line) } else { Input::Line(line) }
    }
}

/// A line without the rest of a Telnet Synch before an ABOR. Clients send `IAC IP IAC DM ABOR`, and
/// any one of the first four bytes may be the urgent one, which comes out of band: BSD's ftp and
/// Perl's Net::FTP lose the second IAC, others the DM.
fn without_synch(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|byte| !matches!(*byte, IAC | IP | DM)).unwrap_or(0);
    let rest = line.get(start..).unwrap_or_default();
    let verb = rest.split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
    if verb.eq_ignore_ascii_case(b"ABOR") { rest } else { line }
}

fn is_abort(line: &[u8]) -> bool {
    without_synch(line).trim_ascii().eq_ignore_ascii_case(b"ABOR")
}

#[cfg(test)]
mod tests;
