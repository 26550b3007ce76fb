//! The FTP client of the load generator: blocking, with one buffer per connection, and without
//! anything that could be slower than a server. Downloaded bulk content is counted and thrown away
//! in the kernel (`MSG_TRUNC`), and uploads use sendfile(2), so one client is faster than any
//! server on the same machine.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::net::RecvFlags;

/// The name of the account that each server has.
pub const NAME: &str = "ftpbench";
/// The password of the account that each server has.
pub const PASSWORD: &str = "secretpw";

/// The longest wait in a row. If a server hangs, its row ends after this time.
const PATIENCE: Duration = Duration::from_secs(60);

const BULK: usize = 1024 * 1024;

/// A control connection.
pub struct Client {
    address: SocketAddr,
    reader: BufReader<TcpStream>,
    line: Vec<u8>,
    knows_epsv: bool,
}

/// Opens a connection with bounded waits and without Nagle's algorithm.
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

impl Client {
    /// Connects and reads the greeting.
    pub fn greeted(address: SocketAddr) -> Result<Client> {
        Client::over(connect(address)?)
    }

    /// Reads the greeting from a connection that is open already.
    pub fn over(stream: TcpStream) -> Result<Client> {
        let address = stream.peer_addr()?;
        let reader = BufReader::with_capacity(8 * 1024, stream);
        let mut client = Client { address, reader, line: Vec::new(), knows_epsv: true };
        client.expect(220)?;
        Ok(client)
    }

    /// Connects, logs in and sets binary type.
    pub fn logged_in(address: SocketAddr) -> Result<Client> {
        Client::logged_in_as(address, NAME)
    }

    pub fn logged_in_as(address: SocketAddr, name: &str) -> Result<Client> {
        let mut client = Client::greeted(address)?;
        client.log_in(name)?;
        client.ask("TYPE I", 200)?;
        Ok(client)
    }

    pub fn log_in(&mut self, name: &str) -> Result<()> {
        self.ask(&format!("USER {name}"), 331)?;
        self.ask(&format!("PASS {PASSWORD}"), 230)
    }

    /// Says QUIT, and waits until the server closes the connection.
    pub fn quit(mut self) -> Result<()> {
        self.ask("QUIT", 221)?;
        ensure!(self.reader.read(&mut [0])? == 0, "something after the goodbye");
        Ok(())
    }

    /// Sends a line, and fails if the reply has another code.
    pub fn ask(&mut self, line: &str, code: u16) -> Result<()> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.expect(code).with_context(|| format!("after {line}"))
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.reader.get_mut().write_all(bytes)?)
    }

    /// Reads one whole reply, and fails if it has another code.
    pub fn expect(&mut self, code: u16) -> Result<()> {
        let heard = self.reply()?;
        ensure!(
            heard == code,
            "wanted {code}, heard {}",
            String::from_utf8_lossy(&self.line).trim_end()
        );
        Ok(())
    }

    /// Reads one whole reply (RFC 959 §4.2), and leaves its last line in `self.line`.
    fn reply(&mut self) -> Result<u16> {
        self.read_line()?;
        let code = reply_code(&self.line).context("no reply code")?;
        let first_opens_more = self.line.get(3) == Some(&b'-');
        let mut open = first_opens_more;
        while open {
            self.read_line()?;
            open = !(self.line.get(3) == Some(&b' ') && reply_code(&self.line) == Some(code));
        }
        Ok(code)
    }

    fn read_line(&mut self) -> Result<()> {
        self.line.clear();
        ensure!(
            self.reader.read_until(b'\n', &mut self.line)? > 0,
            "the server closed the connection"
        );
        Ok(())
    }

    /// Reads `count` replies that are equal to the last one. It reads many at once, because to wake
    /// up for each would cost the server time too.
    pub fn skip_replies(&mut self, count: usize, buffer: &mut Vec<u8>) -> Result<()> {
        ensure!(self.reader.buffer().is_empty(), "something before the replies");
        buffer.resize(self.line.len() * count, 0);
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            let (_, length) = rustix::net::recv(self.reader.get_ref(), rest, RecvFlags::WAITALL)?;
            ensure!(length > 0, "the server closed the connection");
            read += length;
        }
        let lines = buffer.iter().filter(|byte| **byte == b'\n').count();
        ensure!(lines == count, "{lines} replies to {count} commands");
        Ok(())
    }

    /// Opens a passive data connection by EPSV, or by PASV if the server does not know EPSV.
    pub fn passive(&mut self) -> Result<TcpStream> {
        if self.knows_epsv {
            self.send(b"EPSV\r\n")?;
            if self.reply()? == 229 {
                let port = epsv_port(&self.line).context("a malformed 229")?;
                return connect(SocketAddr::new(self.address.ip(), port));
            }
            self.knows_epsv = false;
        }
        self.ask("PASV", 227)?;
        let port = pasv_port(&self.line).context("a malformed 227")?;
        connect(SocketAddr::new(self.address.ip(), port))
    }

    /// Sends `command`, and opens the data connection for its content.
    fn begin(&mut self, command: &str) -> Result<TcpStream> {
        let data = self.passive()?;
        self.announce(command)?;
        Ok(data)
    }

    /// Sends a command whose content uses the data connection.
    pub fn announce(&mut self, command: &str) -> Result<()> {
        self.send(format!("{command}\r\n").as_bytes())?;
        match self.reply()? {
            125 | 150 => Ok(()),
            _ => bail!("{command}: {}", String::from_utf8_lossy(&self.line).trim_end()),
        }
    }

    /// Reads the reply after the content.
    pub fn end(&mut self) -> Result<()> {
        match self.reply()? {
            226 | 250 => Ok(()),
            _ => bail!("{}", String::from_utf8_lossy(&self.line).trim_end()),
        }
    }

    /// Downloads a file of any size, and counts its bytes.
    pub fn retrieve_bulk(&mut self, name: &str) -> Result<u64> {
        let data = self.begin(&format!("RETR {name}"))?;
        let count = discard(&data)?;
        // ProFTPD waits up to ten seconds for the client to close the data connection.
        drop(data);
        self.end()?;
        Ok(count)
    }

    /// Downloads a file into `content`.
    pub fn retrieve(&mut self, name: &str, content: &mut Vec<u8>) -> Result<()> {
        content.clear();
        self.begin(&format!("RETR {name}"))?.read_to_end(content)?;
        self.end()
    }

    /// Uploads the first `length` bytes of a file.
    pub fn store_bulk(&mut self, name: &str, file: &File, length: u64) -> Result<()> {
        send_file(&self.begin(&format!("STOR {name}"))?, file, length)?;
        self.end()
    }

    /// Uploads bytes.
    pub fn store(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.begin(&format!("STOR {name}"))?.write_all(content)?;
        self.end()
    }

    /// Downloads over the control connection, by plainftpd's `get`.
    pub fn get(&mut self, name: &str, content: &mut Vec<u8>) -> Result<()> {
        self.ask(&format!("get {name}"), 150)?;
        let size = inline_size(&self.line).context("a malformed 150")?;
        content.resize(size + 2, 0);
        self.reader.read_exact(content)?;
        ensure!(content.ends_with(b"\r\n"), "content without its line end");
        content.truncate(size);
        self.expect(226)
    }

    /// Uploads over the control connection, by plainftpd's `put`.
    pub fn put(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let mut bytes = format!("put {name} {}\r\n", content.len()).into_bytes();
        bytes.extend_from_slice(content);
        self.send(&bytes)?;
        self.expect(150)?;
        self.expect(226)
    }
}

/// Counts the bytes until the end of the connection.
pub fn discard(stream: &TcpStream) -> Result<u64> {
    let mut buffer = vec![0; BULK];
    let mut count = 0;
    loop {
        match rustix::net::recv(stream, &mut buffer[..], RecvFlags::TRUNC)? {
            (_, 0) => return Ok(count),
            (_, length) => count += length as u64,
        }
    }
}

/// Sends the first `length` bytes of a file, and ends the connection.
pub fn send_file(stream: &TcpStream, file: &File, length: u64) -> Result<()> {
    let mut offset = 0;
    while offset < length {
        let chunk = usize::try_from(length - offset).unwrap_or(usize::MAX).min(1 << 30);
        ensure!(
            rustix::fs::sendfile(stream, file, Some(&mut offset), chunk)? > 0,
            "the file is too short"
        );
    }
    Ok(stream.shutdown(Shutdown::Write)?)
}

fn reply_code(line: &[u8]) -> Option<u16> {
    str::from_utf8(line.get(..3)?).ok()?.parse().ok()
}

/// The port of `229 Entering Extended Passive Mode (|||PORT|)` (RFC 2428 §3).
fn epsv_port(line: &[u8]) -> Option<u16> {
    str::from_utf8(line).ok()?.split('|').nth(3)?.parse().ok()
}

/// The port of `227 Entering Passive Mode (h1,h2,h3,h4,p1,p2)`. Some servers leave the brackets
/// out.
fn pasv_port(line: &[u8]) -> Option<u16> {
    let text = str::from_utf8(line.get(4..)?).ok()?;
    let numbers = text.trim_matches(|c: char| !c.is_ascii_digit());
    let mut last = numbers.rsplit(',').map(|number| number.parse::<u8>());
    let (low, high) = (last.next()?.ok()?, last.next()?.ok()?);
    Some(u16::from_be_bytes([high, low]))
}

/// The size of `150 SIZE bytes follow.`
fn inline_size(line: &[u8]) -> Option<usize> {
    str::from_utf8(line).ok()?.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_the_replies_that_servers_give() {
        assert_eq!(epsv_port(b"229 Extended passive mode OK (|||32808|)\r\n"), Some(32808));
        assert_eq!(epsv_port(b"229 nothing\r\n"), None);
        assert_eq!(
            pasv_port(b"227 Entering Passive Mode (127,0,0,1,128,40).\r\n"),
            Some(128 * 256 + 40)
        );
        assert_eq!(pasv_port(b"227 =127,0,0,1,4,1\r\n"), Some(1025));
        assert_eq!(pasv_port(b"227 (127,0,0,1,4,256)\r\n"), None);
    }

    #[test]
    fn a_reply_begins_with_its_code() {
        assert_eq!(reply_code(b"220-hello\r\n"), Some(220));
        assert_eq!(reply_code(b"ab"), None);
        assert_eq!(inline_size(b"150 4096 bytes follow.\r\n"), Some(4096));
    }
}
