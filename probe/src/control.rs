//! The control connection: lines out, replies in, and the last lines of the dialogue for reports.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::SendFlags;

use crate::failure::{Result, differs, printable};
use crate::reply::Reply;

/// How many lines of the dialogue a report shows.
const REMEMBERED: usize = 8;
/// The longest line that is read; a server that sends more is not an FTP server.
const LONGEST_LINE: u64 = 64 * 1024;
/// The most lines of one reply.
const MOST_LINES: usize = 20_000;

/// A control connection.
pub struct Control {
    stream: BufReader<TcpStream>,
    dialogue: VecDeque<String>,
}

impl Control {
    /// Connects, without reading the greeting.
    pub fn connect(address: SocketAddr, timeout: Duration) -> io::Result<Control> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Control { stream: BufReader::new(stream), dialogue: VecDeque::new() })
    }

    /// The address of this end, which PORT and EPRT name.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().local_addr()
    }

    /// The address of the server.
    pub fn peer(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().peer_addr()
    }

    /// Sends content, which a report does not show.
    pub fn send_content(&mut self, content: &[u8]) -> Result {
        Ok(self.stream.get_mut().write_all(content)?)
    }

    /// Sends a line.
    pub fn send(&mut self, line: impl AsRef<[u8]>) -> Result {
        self.remember(">", line.as_ref());
        Ok(self.stream.get_mut().write_all(&[line.as_ref(), b"\r\n"].concat())?)
    }

    /// Sends a line and returns the reply, whatever it is.
    pub fn try_ask(&mut self, line: impl AsRef<[u8]>) -> Result<Reply> {
        self.send(line)?;
        self.reply()
    }

    /// Sends a line and expects a reply whose code fits the pattern.
    pub fn ask(&mut self, line: impl AsRef<[u8]>, pattern: &str) -> Result<Reply> {
        let line = line.as_ref();
        self.try_ask(line)?.expect(pattern, &without_secrets(line))
    }

    /// Expects a further reply whose code fits the pattern.
    pub fn expect(&mut self, pattern: &str, after: &str) -> Result<Reply> {
        self.reply()?.expect(pattern, after)
    }

    /// Sends ABOR as BSD clients do: Telnet's IP and Synch as urgent data, then the line.
    pub fn send_urgent_abort(&mut self) -> Result {
        const INTERRUPT_PROCESS: &[u8] = b"\xff\xf4\xff";
        const DATA_MARK: &[u8] = b"\xf2";
        self.remember(">", b"ABOR, with urgent data before it");
        let stream = self.stream.get_mut();
        let sent = rustix::net::send(&*stream, INTERRUPT_PROCESS, SendFlags::OOB);
        sent.map_err(io::Error::from)?;
        Ok(stream.write_all(&[DATA_MARK, b"ABOR\r\n"].concat())?)
    }

    /// Reads one reply.
    pub fn reply(&mut self) -> Result<Reply> {
        let first = self.line()?;
        let code = first.get(..3).and_then(|digits| digits.parse().ok());
        let (Some(code), Some(' ' | '-')) = (code, first.chars().nth(3)) else {
            return differs("a reply that starts with three digits", printable(first.as_bytes()));
        };
        let end = format!("{code:03} ");
        let mut lines = vec![first];
        if lines.first().is_some_and(|first| first.as_bytes().get(3) == Some(&b'-')) {
            while lines.len() == 1 || lines.last().is_some_and(|line| !line.starts_with(&end)) {
                let line = self.line()?;
                lines.push(line);
                if lines.len() > MOST_LINES {
                    return differs("the end of a reply", format!("{MOST_LINES} lines of one"));
                }
            }
        }
        Ok(Reply { code, lines })
    }

    /// Reads bytes that are not a reply, as the content of `get`.
    pub fn read_exact(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        io::Read::by_ref(&mut self.stream).take(length as u64).read_to_end(&mut content)?;
        if content.len() < length {
            return differs(format!("{length} bytes"), format!("only {}", content.len()));
        }
        Ok(content)
    }

    /// Ends the sending direction, as `nc -N` does at the end of its input.
    pub fn half_close(&mut self) -> Result {
        Ok(self.stream.get_ref().shutdown(Shutdown::Write)?)
    }

    /// Checks that the server closes the connection. A reset counts as closing.
    pub fn expect_end(&mut self) -> Result {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
                differs("the end of the connection", error.to_string())
            }
            Ok(1..) => differs("the end of the connection", printable(&rest)),
            _ => Ok(()),
        }
    }

    /// Waits for a further byte. Returns whether the connection has ended instead.
    pub fn is_at_end(&mut self) -> Result<bool> {
        match self.stream.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(true),
            read => Ok(read?.is_empty()),
        }
    }

    /// The last lines of the dialogue, oldest first.
    pub fn dialogue(&self) -> impl Iterator<Item = &str> {
        self.dialogue.iter().map(String::as_str)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        io::Read::by_ref(&mut self.stream).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            let begun = printable(&line);
            return differs("a reply", format!("the end of the connection after \"{begun}\""));
        }
        self.remember("<", &line);
        line.pop_if(|byte| *byte == b'\r');
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn remember(&mut self, sign: &str, line: &[u8]) {
        if self.dialogue.len() == REMEMBERED {
            self.dialogue.pop_front();
        }
        self.dialogue.push_back(format!("{sign} {}", without_secrets(line.trim_ascii_end())));
    }
}

/// A line for a report: short, printable, and without a password.
fn without_secrets(line: &[u8]) -> String {
    const SECRET: [&str; 6] = ["PASS ", "LOGIN ", "REGISTER ", "UNREGISTER ", "PASSWD ", "SITE "];
    const SHOWN: usize = 100;
    let text = printable(line.get(..SHOWN).unwrap_or(line));
    let upper = text.to_ascii_uppercase();
    match SECRET.iter().find(|verb| upper.starts_with(**verb)) {
        Some(verb) => format!("{}…", text.get(..verb.len()).unwrap_or("")),
        None if line.len() > SHOWN => format!("{text}… ({} bytes)", line.len()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_shows_no_password() {
        assert_eq!(without_secrets(b"PASS wonderland"), "PASS …");
        assert_eq!(without_secrets(b"login alice wonderland"), "login …");
        assert_eq!(without_secrets(b"STOR a\0b"), "STOR a\\u{0}b");
    }
}
