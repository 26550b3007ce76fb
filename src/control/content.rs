//! Content over the control connection: counted bytes, or lines of text.

use std::io::{self, ErrorKind, Read, Take};

use super::decoder::{Input, LineUse};
use super::{Control, read_patiently};

/// How inline content is delimited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InlineBody {
    /// The content was on the command line: this text and a line end.
    Text(Vec<u8>),
    /// This number of raw bytes follows.
    Length(u64),
    /// Lines follow, up to one that has only `.`.
    UntilDot,
    /// Content follows, and its end is unknown.
    Unknown,
}

/// The error of a [`Text`] that the client cancelled by Ctrl-C. `std` makes no error of this kind.
pub const CANCELLED: ErrorKind = ErrorKind::Other;

impl Control {
    /// The `length` raw bytes that follow. Nothing in them is interpreted.
    pub fn content(&mut self, length: u64) -> Take<&mut Control> {
        self.take(length)
    }

    /// The next line as raw bytes, with its LF, and of a longer line the first `most` bytes. If
    /// there is no LF, the client has ended its input.
    pub fn raw_line(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        while line.len() < most && line.last() != Some(&b'\n') {
            if self.unused.is_empty() && !self.fill()? {
                break;
            }
            line.extend(self.inbox.get(self.unused.start));
            self.unused.start += 1;
        }
        Ok(line)
    }

    /// The lines that follow, up to one that has only `.`.
    pub fn text(&mut self) -> Text<'_> {
        Text { control: self, line: Vec::new(), used: 0, ended: false }
    }

    /// Reads and throws away the content that follows.
    pub fn discard(&mut self, body: &InlineBody) -> io::Result<()> {
        match body {
            InlineBody::Length(length) => exhaust(&mut self.content(*length)),
            InlineBody::UntilDot => self.text().discard(),
            InlineBody::Text(_) | InlineBody::Unknown => Ok(()),
        }
    }
}

/// Reads to the end. `io::copy` would do the same, but it takes 8 KiB of stack in every session,
/// and that would be most of the memory of an idle one.
fn exhaust(source: &mut dyn Read) -> io::Result<()> {
    let mut scrap = vec![0; 4096];
    while source.read(&mut scrap)? > 0 {}
    Ok(())
}

/// The raw bytes that follow, as many as the caller takes. The end means that the connection ended.
impl Read for Control {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unused.is_empty() {
            self.flush_before_read()?;
            return read_patiently(&self.stream, buffer);
        }
        let mut unused = self.inbox.get(self.unused.clone()).unwrap_or_default();
        let read = unused.read(buffer)?;
        self.unused.start += read;
        Ok(read)
    }
}

/// Content in lines, with LF as line end and without doubled dots (RFC 5321 §4.5.2). [`Read`] fails
/// with [`ErrorKind::UnexpectedEof`] if the connection ends before the text does, with
/// [`ErrorKind::InvalidData`] for a line over the limit, after which one may read on, and with
/// [`CANCELLED`] if the client cancels it, after which it has ended.
#[derive(Debug)]
pub struct Text<'c> {
    control: &'c mut Control,
    line: Vec<u8>,
    used: usize,
    ended: bool,
}

impl Text<'_> {
    /// Reads and throws away the text, to its end.
    pub fn discard(&mut self) -> io::Result<()> {
        loop {
            match exhaust(self) {
                Err(error) if error.kind() == ErrorKind::InvalidData => {}
                Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | CANCELLED) => {
                    return Ok(());
                }
                ended => return ended,
            }
        }
    }

    /// Reads the next line into `line`. Returns false at the end of the text.
    fn next_line(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let ended = match self.control.read_input(LineUse::Text)? {
            Input::Line(line) if line != b"." => {
                self.used = usize::from(line.starts_with(b"."));
                self.line = line;
                self.line.push(b'\n');
                return Ok(true);
            }
            Input::TooLong(_) => {
                let text = "a line is longer than 8 KiB; put with a size takes any content";
                return Err(io::Error::new(ErrorKind::InvalidData, text));
            }
            Input::Line(_) => Ok(false),
            Input::Cancel => Err(CANCELLED.into()),
            Input::End => Err(ErrorKind::UnexpectedEof.into()),
        };
        self.ended = true;
        ended
    }
}

impl Read for Text<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.line.len() && !self.next_line()? {
            return Ok(0);
        }
        let read = self.line.get(self.used..).unwrap_or_default().read(buffer)?;
        self.used += read;
        Ok(read)
    }
}
