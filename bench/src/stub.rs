//! The physical limits, each in a process of its own: senders and receivers without a protocol, and
//! a server that only answers FTP commands with fixed replies, with one thread per client.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

/// The size of the reads and writes of most servers.
const BUFFER: usize = 256 * 1024;
/// The stack of a thread, which is that of plainftpd's sessions.
const STACK: usize = 128 * 1024;
/// The buffer of a session, so small that its thread takes most of its memory.
const LINES: usize = 512;
/// The length of the file that the fixed `RETR` sends.
pub const SMALL: usize = 4096;

/// What a stub does with each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Sends a file by sendfile(2).
    Sendfile,
    /// Sends a file by read and write.
    Copy,
    /// Writes the received bytes into a file.
    Receive,
    /// Answers FTP commands.
    Ftp,
}

/// The arguments of `plainftpd-bench stub KIND`.
#[derive(Debug, Args)]
pub struct Stub {
    kind: Kind,
    #[arg(long)]
    port: u16,
    /// The file that is sent. The client says how many bytes of it.
    #[arg(long)]
    file: PathBuf,
    /// The folder for received files.
    #[arg(long)]
    dir: PathBuf,
}

impl Stub {
    /// Serves until it is killed.
    pub fn run(self) -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))?;
        let stub = Arc::new(self);
        for stream in listener.incoming() {
            let (stream, stub) = (stream?, Arc::clone(&stub));
            // If one client disconnects, the others go on.
            thread::Builder::new().stack_size(STACK).spawn(move || drop(stub.serve(&stream)))?;
        }
        Ok(())
    }

    fn serve(&self, stream: &TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        match self.kind {
            Kind::Sendfile => {
                crate::client::send_file(stream, &File::open(&self.file)?, wanted(stream)?)
            }
            Kind::Copy => copy(File::open(&self.file)?.take(wanted(stream)?), stream),
            Kind::Receive => receive(stream, &self.dir),
            Kind::Ftp => Session { stream }.serve(),
        }
    }
}

/// Reads the number of bytes that the client asks for, which it sends in eight bytes.
fn wanted(mut stream: &TcpStream) -> Result<u64> {
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    Ok(u64::from_le_bytes(length))
}

fn copy(mut source: impl Read, mut sink: impl Write) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(()),
            count => sink.write_all(buffer.get(..count).context("read more than asked for")?)?,
        }
    }
}

/// Writes the received bytes into a file, answers with one byte, and removes the file.
fn receive(mut stream: &TcpStream, dir: &Path) -> Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let path = dir.join(format!("received-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    copy(stream, File::create(&path)?)?;
    stream.write_all(b".")?;
    Ok(std::fs::remove_file(path)?)
}

/// The content of `RETR`. It is shared, because a copy per session would add to its memory.
static CONTENT: [u8; SMALL] = [b'x'; SMALL];

/// Serves one client with fixed replies.
struct Session<'a> {
    stream: &'a TcpStream,
}

impl Session<'_> {
    fn serve(&self) -> Result<()> {
        let mut stream = self.stream;
        stream.write_all(b"220 Ready.\r\n")?;
        let mut reader = BufReader::with_capacity(LINES, self.stream);
        let (mut line, mut replies) = (Vec::new(), Vec::new());
        let mut passive = None;
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            match line.get(..4).unwrap_or_default() {
                b"USER" => replies.extend_from_slice(b"331 Password?\r\n"),
                b"PASS" => replies.extend_from_slice(b"230 Logged in.\r\n"),
                b"CWD " => replies.extend_from_slice(b"250 Well.\r\n"),
                b"QUIT" => return Ok(stream.write_all(b"221 Goodbye.\r\n")?),
                b"EPSV" => {
                    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                    let port = listener.local_addr().map(|address: SocketAddr| address.port())?;
                    write!(replies, "229 Extended passive mode (|||{port}|)\r\n")?;
                    passive = Some(listener);
                }
                b"RETR" => self
                    .transfer(passive.take(), &mut replies, |mut data| data.write_all(&CONTENT))?,
                b"STOR" => self.transfer(passive.take(), &mut replies, |mut data| {
                    io::copy(&mut data, &mut io::sink()).map(drop)
                })?,
                _ => replies.extend_from_slice(b"200 Well.\r\n"),
            }
            // Pipelined commands are answered in as few segments as they arrived in.
            if reader.buffer().is_empty() {
                stream.write_all(&replies)?;
                replies.clear();
            }
        }
    }

    fn transfer(
        &self,
        passive: Option<TcpListener>,
        replies: &mut Vec<u8>,
        content: impl FnOnce(&TcpStream) -> io::Result<()>,
    ) -> Result<()> {
        let (data, _) = passive.context("no EPSV before")?.accept()?;
        replies.extend_from_slice(b"150 Here.\r\n");
        let mut stream = self.stream;
        stream.write_all(replies)?;
        replies.clear();
        content(&data)?;
        replies.extend_from_slice(b"226 Done.\r\n");
        Ok(())
    }
}
