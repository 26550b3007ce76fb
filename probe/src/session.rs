//! A session with the server that the probe tries, and what steps do with it: log in, transfer,
//! remove a tree.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::control::Control;
use crate::data::{Data, Way};
use crate::failure::{Failure, Result, differs, not_offered};
use crate::reply::Reply;

/// The server and the account that the probe uses.
#[derive(Clone)]
pub struct Target {
    /// The address of the server.
    pub address: SocketAddr,
    /// The longest wait for an answer.
    pub timeout: Duration,
    /// The account.
    pub name: String,
    /// The password of the account.
    pub password: String,
    /// The folder in the account in which the steps work; empty before it exists.
    pub folder: String,
    /// The lines of FEAT, in capitals.
    pub features: BTreeSet<String>,
    /// Whether the server has plainftpd's hand words.
    pub by_hand: bool,
}

/// A session with the server.
pub struct Session<'a> {
    /// The control connection.
    pub control: Control,
    /// What it is connected to.
    pub target: &'a Target,
    /// The progress bar, for large files.
    bar: ProgressBar,
}

/// What came of a transfer command.
pub struct Transfer {
    /// The reply to the command: 150 or a refusal.
    pub first: Reply,
    /// What arrived on the data connection.
    pub content: Vec<u8>,
    /// The reply after the content.
    pub last: Option<Reply>,
}

impl<'a> Session<'a> {
    /// Connects and reads the greeting.
    pub fn connect(target: &'a Target) -> Result<Session<'a>> {
        let mut control = Control::connect(target.address, target.timeout)?;
        control.expect("220", "connecting")?;
        Ok(Session { control, target, bar: ProgressBar::hidden() })
    }

    /// Connects, logs in by USER and PASS, selects TYPE I and goes to the folder of the probe.
    pub fn log_in(target: &'a Target) -> Result<Session<'a>> {
        let mut session = Session::connect(target)?;
        let reply = session.ask(format!("USER {}", target.name), "331|230")?;
        if reply.code == 331 {
            session.ask(format!("PASS {}", target.password), "230|202")?;
        }
        session.ask("TYPE I", "200")?;
        if !target.folder.is_empty() {
            session.ask(format!("CWD {}", target.folder), "250")?;
        }
        Ok(session)
    }

    /// The last lines of the dialogue.
    pub fn dialogue(&self) -> Vec<String> {
        self.control.dialogue().map(str::to_string).collect()
    }

    /// Another session that is not logged in.
    pub fn stranger(&self) -> Result<Session<'a>> {
        Session::connect(self.target)
    }

    /// Sends a line and expects a reply whose code fits the pattern.
    pub fn ask(&mut self, line: impl AsRef<[u8]>, pattern: &str) -> Result<Reply> {
        self.control.ask(line, pattern)
    }

    /// Sends a line and returns the reply, whatever it is.
    pub fn try_ask(&mut self, line: impl AsRef<[u8]>) -> Result<Reply> {
        self.control.try_ask(line)
    }

    /// Fails as "not offered" if FEAT does not list the feature.
    pub fn needs(&self, feature: &str) -> Result {
        let mut lines = self.target.features.iter();
        let is_offered = |line: &String| line.split(' ').next() == Some(feature);
        if lines.any(is_offered) { Ok(()) } else { not_offered(format!("FEAT has no {feature}")) }
    }

    /// The kind of data connection that is used if a step is not about that.
    fn usual_way(&self) -> Way {
        if self.target.address.is_ipv4() { Way::Pasv } else { Way::Epsv }
    }

    /// Prepares a data connection of the usual kind.
    pub fn prepare(&mut self) -> Result<Data> {
        let way = self.usual_way();
        Data::prepare(&mut self.control, way, self.target.timeout)
    }

    /// Sends a command that may receive content, and reads what comes of it.
    pub fn try_fetch(&mut self, way: Way, command: &[u8]) -> Result<Transfer> {
        let data = Data::prepare(&mut self.control, way, self.target.timeout)?;
        let first = self.try_ask(command)?;
        if !first.fits("1xx") {
            return Ok(Transfer { first, content: Vec::new(), last: None });
        }
        let mut stream = data.stream(self.target.timeout)?;
        let content = self.receive(&mut stream)?;
        drop(stream);
        let last = Some(self.control.reply()?);
        Ok(Transfer { first, content, last })
    }

    /// Fetches content by a command, over a data connection of the given kind.
    pub fn fetch_by(&mut self, way: Way, command: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let command = command.as_ref();
        let shown = String::from_utf8_lossy(command).into_owned();
        let transfer = self.try_fetch(way, command)?;
        let Some(last) = transfer.last else {
            transfer.first.expect("1xx", &shown)?;
            return Ok(transfer.content);
        };
        last.expect("226|250", &format!("the content of {shown}"))?;
        Ok(transfer.content)
    }

    /// Fetches content by a command.
    pub fn fetch(&mut self, command: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        self.fetch_by(self.usual_way(), command)
    }

    /// Sends content by a command, over a data connection of the given kind.
    pub fn store_by(&mut self, way: Way, command: impl AsRef<[u8]>, content: &[u8]) -> Result {
        let data = Data::prepare(&mut self.control, way, self.target.timeout)?;
        self.ask(&command, "1xx")?;
        let mut stream = data.stream(self.target.timeout)?;
        self.transmit(&mut stream, content)?;
        stream.shutdown(Shutdown::Write)?;
        drop(stream);
        let shown = String::from_utf8_lossy(command.as_ref()).into_owned();
        self.control.expect("226|250", &format!("the content of {shown}"))?;
        Ok(())
    }

    /// Sends content by a command.
    pub fn store(&mut self, command: impl AsRef<[u8]>, content: &[u8]) -> Result {
        self.store_by(self.usual_way(), command, content)
    }

    /// The lines of a listing, as text without line ends.
    pub fn lines(&mut self, command: impl AsRef<[u8]>) -> Result<Vec<String>> {
        let listing = self.fetch(command)?;
        let text = String::from_utf8_lossy(&listing).into_owned();
        Ok(text.lines().map(str::to_string).collect())
    }

    /// The size of a file, in TYPE I.
    pub fn size(&mut self, name: &str) -> Result<u64> {
        let reply = self.ask(format!("SIZE {name}"), "213")?;
        let size = reply.text().parse();
        size.or_else(|_| differs("213 and a number", reply.to_string()))
    }

    /// Shows a progress bar for the next `length` bytes, on a terminal only.
    pub fn show_progress(&mut self, length: u64) {
        let style = ProgressStyle::with_template("     {bar:40} {bytes}/{total_bytes}");
        self.bar = ProgressBar::new(length);
        if let Ok(style) = style {
            self.bar.set_style(style);
        }
    }

    /// Moves the progress bar, if one is shown. A full bar disappears.
    pub fn advance(&self, bytes: usize) {
        self.bar.inc(bytes as u64);
        if self.bar.length().is_some_and(|length| self.bar.position() >= length) {
            self.bar.finish_and_clear();
        }
    }

    fn transmit(&self, stream: &mut TcpStream, content: &[u8]) -> io::Result<()> {
        for piece in content.chunks(64 * 1024) {
            stream.write_all(piece)?;
            self.advance(piece.len());
        }
        Ok(())
    }

    fn receive(&self, stream: &mut TcpStream) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let length = io::Read::by_ref(stream).take(64 * 1024).read_to_end(&mut content)?;
            self.advance(length);
            if length == 0 {
                return Ok(content);
            }
        }
    }

    /// Removes a folder of the current folder with everything in it, by FTP alone.
    pub fn remove_tree(&mut self, folder: &str, depth: usize) -> Result {
        const DEEPEST: usize = 40;
        if depth > DEEPEST {
            return differs("a tree", format!("more than {DEEPEST} folders in each other"));
        }
        self.ask(format!("CWD {folder}"), "250")?;
        for name in self.entries()? {
            if !self.try_ask(format!("DELE {name}"))?.fits("2xx") {
                self.remove_tree(&name, depth + 1)?;
            }
        }
        self.ask("CDUP", "2xx")?;
        self.ask(format!("RMD {folder}"), "2xx")?;
        Ok(())
    }

    /// The names in the current folder, those with a dot at the start included.
    fn entries(&mut self) -> Result<Vec<String>> {
        let mut names = match self.needs("MLST") {
            Ok(()) => {
                let lines = self.lines("MLSD")?;
                let names = lines.iter().filter_map(|line| line.split_once("; "));
                names.map(|(_, name)| name.to_string()).collect()
            }
            Err(_) => match self.lines("NLST -a") {
                Ok(names) => names,
                // An empty folder has a 550 on some servers.
                Err(Failure::Differs { got, .. }) if got.starts_with("550") => Vec::new(),
                Err(failure) => return Err(failure),
            },
        };
        names.retain(|name| !matches!(name.as_str(), "." | ".."));
        Ok(names)
    }
}
