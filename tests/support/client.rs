//! A client that types at the server: [`Peer`], whose every step may fail, because its server may
//! end at any moment, and [`Client`], with which the first such failure fails the test.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;

use super::{PATIENCE, until};

/// How a data connection is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Pasv,
    Epsv,
    Port,
    Eprt,
}

/// A data connection that was set up, and is or will be open.
pub enum Data {
    Open(TcpStream),
    Waiting(TcpListener),
}

impl Data {
    /// The connection. With PORT and EPRT it is there after the 150.
    pub fn open(self) -> io::Result<TcpStream> {
        patient(match self {
            Data::Open(stream) => stream,
            Data::Waiting(listener) => listener.accept().map_err(gone)?.0,
        })
    }

    /// Like [`Data::open`]; a failure fails the test.
    pub fn stream(self) -> TcpStream {
        self.open().unwrap()
    }
}

/// The end of a connection. A timeout is none, and fails the test.
#[track_caller]
pub fn gone(error: io::Error) -> io::Error {
    let is_timeout = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    assert!(!is_timeout, "nothing for {PATIENCE:?}: the server hangs");
    error
}

/// A connection that fails if the server is silent for too long.
fn patient(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A connection that fails if its peer is silent for too long. Every test gets its connections
/// here.
pub fn connect(address: impl ToSocketAddrs) -> io::Result<TcpStream> {
    patient(TcpStream::connect(address)?)
}

/// A listener whose `accept` fails if no peer connects for too long.
pub fn listen(address: impl ToSocketAddrs) -> TcpListener {
    let listener = TcpListener::bind(address).unwrap();
    // The limit is one of the socket, which both descriptors have.
    patient(TcpStream::from(OwnedFd::from(listener.try_clone().unwrap()))).unwrap();
    listener
}

/// A client whose server may end at any moment. A reply with another code than the expected one
/// fails the test; the end of the connection is an error.
pub struct Peer {
    stream: BufReader<TcpStream>,
}

impl Peer {
    pub fn to(address: SocketAddr) -> io::Result<Peer> {
        let stream = connect(address).map_err(gone)?;
        stream.set_nodelay(true)?;
        Ok(Peer { stream: BufReader::new(stream) })
    }

    /// A client that has read its greeting.
    pub fn connect(address: SocketAddr) -> io::Result<Peer> {
        let mut peer = Peer::to(address)?;
        peer.hear(220, "a greeting")?;
        Ok(peer)
    }

    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// The address by which this client reached its server.
    pub fn server_ip(&self) -> io::Result<IpAddr> {
        Ok(self.stream().peer_addr().map_err(gone)?.ip())
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref()).map_err(gone)
    }

    pub fn send_line(&mut self, line: &str) -> io::Result<()> {
        self.send(format!("{line}\r\n"))
    }

    /// A line with its end, however it ends.
    pub fn read_piece(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).map_err(gone)?;
        Ok(line)
    }

    /// A line that must end in CRLF, without it.
    pub fn read_line(&mut self) -> io::Result<Vec<u8>> {
        let line = self.read_piece()?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(line.to_vec()),
            None => {
                let text = format!("no CRLF: {:?}", String::from_utf8_lossy(&line));
                Err(io::Error::new(ErrorKind::UnexpectedEof, text))
            }
        }
    }

    /// One whole reply (RFC 959 §4.2), its CRLFs as LFs, the last one dropped.
    pub fn reply_bytes(&mut self) -> io::Result<Vec<u8>> {
        let first = self.read_line()?;
        let mut reply = first.clone();
        if first.get(3) == Some(&b'-') {
            loop {
                let line = self.read_line()?;
                reply.push(b'\n');
                reply.extend_from_slice(&line);
                if line.starts_with(&first[..3]) && line.get(3) == Some(&b' ') {
                    break;
                }
            }
        }
        Ok(reply)
    }

    pub fn reply(&mut self) -> io::Result<String> {
        Ok(String::from_utf8(self.reply_bytes()?).unwrap())
    }

    pub fn ask(&mut self, line: &str) -> io::Result<String> {
        self.send_line(line)?;
        self.reply()
    }

    /// Reads a reply and checks its code.
    #[track_caller]
    pub fn hear(&mut self, code: u16, why: &str) -> io::Result<String> {
        let reply = self.reply()?;
        assert!(reply.starts_with(&format!("{code}")), "{why}: wanted {code}, heard {reply}");
        Ok(reply)
    }

    /// Sends a line and checks the code of the reply.
    #[track_caller]
    pub fn expect(&mut self, line: &str, code: u16) -> io::Result<String> {
        self.send_line(line)?;
        self.hear(code, line)
    }

    pub fn read_exact(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).map_err(gone)?;
        Ok(bytes)
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).map_err(gone)?;
        Ok(bytes)
    }

    pub fn half_close(&mut self) -> io::Result<()> {
        self.stream().shutdown(Shutdown::Write).map_err(gone)
    }

    /// `get`: the content, or the reply that refuses it.
    pub fn try_get(&mut self, path: &str) -> io::Result<Result<Vec<u8>, String>> {
        let first = self.ask(&format!("get {path}"))?;
        let count = first.strip_prefix("150 ").and_then(|rest| rest.strip_suffix(" bytes follow."));
        let Some(count) = count else { return Ok(Err(first)) };
        let content = self.read_exact(count.parse().unwrap())?;
        assert_eq!(self.read_exact(2)?, b"\r\n");
        self.hear(226, "get")?;
        Ok(Ok(content))
    }

    /// `get`, which must not be refused.
    pub fn get(&mut self, path: &str) -> io::Result<Vec<u8>> {
        Ok(self.try_get(path)?.unwrap_or_else(|reply| panic!("get {path}: {reply}")))
    }

    /// `put`, which must not be refused.
    pub fn put(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.send_line(&format!("put {path} {}", content.len()))?;
        self.send(content)?;
        self.hear(150, "put")?;
        self.hear(226, "put").map(drop)
    }

    /// The port that EPSV opens.
    pub fn epsv_port(&mut self) -> io::Result<u16> {
        let reply = self.expect("EPSV", 229)?;
        Ok(reply.split('|').nth(3).unwrap().parse().unwrap())
    }

    /// Connects to a passive port.
    pub fn connect_to(&self, port: u16) -> io::Result<TcpStream> {
        connect((self.server_ip()?, port)).map_err(gone)
    }

    pub fn data(&mut self, way: Way) -> io::Result<Data> {
        let port = match way {
            Way::Pasv => {
                let reply = self.expect("PASV", 227)?;
                let numbers = reply.split(['(', ')']).nth(1).unwrap();
                let numbers: Vec<u16> = numbers.split(',').map(|n| n.parse().unwrap()).collect();
                let ip = numbers[..4].iter().map(u16::to_string).collect::<Vec<_>>().join(".");
                assert_eq!(ip, self.server_ip()?.to_string());
                numbers[4] * 256 + numbers[5]
            }
            Way::Epsv => self.epsv_port()?,
            Way::Port | Way::Eprt => {
                let ip = self.stream().local_addr().map_err(gone)?.ip();
                let listener = listen((ip, 0));
                let port = listener.local_addr().unwrap().port();
                let octets = ip.to_string().replace('.', ",");
                let line = match way {
                    Way::Port => format!("PORT {octets},{},{}", port >> 8, port & 255),
                    _ => format!("EPRT |{}|{ip}|{port}|", if ip.is_ipv4() { 1 } else { 2 }),
                };
                self.expect(&line, 200)?;
                return Ok(Data::Waiting(listener));
            }
        };
        self.connect_to(port).map(Data::Open)
    }

    /// Sets up a data connection, sends `REST` if there is an offset, and `line`, and reads the
    /// 150.
    #[track_caller]
    pub fn begin(&mut self, way: Way, rest: usize, line: &str) -> io::Result<TcpStream> {
        let data = self.data(way)?;
        if rest > 0 {
            self.expect(&format!("REST {rest}"), 350)?;
        }
        self.expect(line, 150)?;
        data.open()
    }

    /// A whole upload.
    #[track_caller]
    pub fn upload(&mut self, way: Way, rest: usize, line: &str, content: &[u8]) -> io::Result<()> {
        let mut stream = self.begin(way, rest, line)?;
        stream.write_all(content).map_err(gone)?;
        drop(stream);
        self.hear(226, line).map(drop)
    }

    /// A whole download or listing.
    #[track_caller]
    pub fn download(&mut self, way: Way, rest: usize, line: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.begin(way, rest, line)?.read_to_end(&mut content).map_err(gone)?;
        self.hear(226, line)?;
        Ok(content)
    }

    /// ABOR during a transfer.
    #[track_caller]
    pub fn abort(&mut self) -> io::Result<()> {
        self.send_line("ABOR")?;
        self.hear(426, "the transfer")?;
        self.hear(226, "ABOR").map(drop)
    }
}

/// A client whose server stays: what fails fails the test.
pub struct Client(Peer);

impl Client {
    pub fn to(address: SocketAddr) -> Client {
        Client(Peer::to(address).unwrap())
    }

    pub fn stream(&self) -> &TcpStream {
        self.0.stream()
    }

    /// The address by which this client reached its server.
    pub fn server_ip(&self) -> IpAddr {
        self.0.server_ip().unwrap()
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.send(bytes).unwrap();
    }

    #[track_caller]
    pub fn send_line(&mut self, line: &str) {
        self.0.send_line(line).unwrap();
    }

    /// A line with its end, however it ends.
    #[track_caller]
    pub fn read_piece(&mut self) -> Vec<u8> {
        self.0.read_piece().unwrap()
    }

    /// A line that must end in CRLF, without it.
    #[track_caller]
    pub fn read_line(&mut self) -> Vec<u8> {
        self.0.read_line().unwrap()
    }

    /// One whole reply (RFC 959 §4.2), its CRLFs as LFs, the last one dropped.
    #[track_caller]
    pub fn reply(&mut self) -> String {
        self.0.reply().unwrap()
    }

    #[track_caller]
    pub fn reply_bytes(&mut self) -> Vec<u8> {
        self.0.reply_bytes().unwrap()
    }

    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.0.ask(line).unwrap()
    }

    /// Sends a line and checks the code of the reply.
    #[track_caller]
    pub fn expect(&mut self, line: &str, code: u16) -> String {
        self.0.expect(line, code).unwrap()
    }

    #[track_caller]
    pub fn read_exact(&mut self, count: usize) -> Vec<u8> {
        self.0.read_exact(count).unwrap()
    }

    /// Everything up to the end of the connection.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        String::from_utf8(self.0.rest().unwrap()).unwrap()
    }

    pub fn half_close(&mut self) {
        self.0.half_close().unwrap();
    }

    /// `put`: sends the content without waiting; returns the last reply.
    #[track_caller]
    pub fn put(&mut self, name: &str, content: &[u8]) -> String {
        self.send_line(&format!("put {name} {}", content.len()));
        self.send(content);
        let first = self.reply();
        if first.starts_with("150 ") { self.reply() } else { first }
    }

    /// `get`: the content, or the reply that refuses it.
    #[track_caller]
    pub fn get(&mut self, name: &str) -> Result<Vec<u8>, String> {
        self.0.try_get(name).unwrap()
    }

    /// The port that EPSV opens.
    pub fn epsv_port(&mut self) -> u16 {
        self.0.epsv_port().unwrap()
    }

    /// Connects to a passive port.
    pub fn connect_to(&self, port: u16) -> TcpStream {
        self.0.connect_to(port).unwrap()
    }

    #[track_caller]
    pub fn data(&mut self, way: Way) -> Data {
        self.0.data(way).unwrap()
    }

    /// Sends `line`, reads the 150 and gives the data connection.
    #[track_caller]
    pub fn begin(&mut self, way: Way, line: &str) -> TcpStream {
        self.begin_at(way, 0, line)
    }

    /// Like [`Client::begin`], after `REST` if there is an offset.
    #[track_caller]
    pub fn begin_at(&mut self, way: Way, offset: usize, line: &str) -> TcpStream {
        self.0.begin(way, offset, line).unwrap()
    }

    /// A whole download or listing.
    #[track_caller]
    pub fn download(&mut self, way: Way, line: &str) -> Vec<u8> {
        self.0.download(way, 0, line).unwrap()
    }

    /// A whole upload.
    #[track_caller]
    pub fn upload(&mut self, way: Way, line: &str, content: &[u8]) {
        self.0.upload(way, 0, line, content).unwrap();
    }

    /// Waits until the server has this many bytes of the transfer in progress.
    #[track_caller]
    pub fn wait_for_bytes(&mut self, count: usize) {
        until("the bytes come", || self.ask("STAT") == format!("213 {count} bytes so far."));
    }

    /// An upload that is stopped when all of `content` has come.
    #[track_caller]
    pub fn abort_after(&mut self, line: &str, content: &[u8]) {
        let mut stream = self.begin(Way::Epsv, line);
        stream.write_all(content).unwrap();
        self.wait_for_bytes(content.len());
        self.send("ABOR\r\n");
        assert_eq!(self.reply(), "426 The transfer was stopped.");
        assert_eq!(self.reply(), "226 Stopped.");
    }

    /// Every spelling of a command that the server's own help knows.
    pub fn spellings(&mut self) -> Vec<String> {
        let mut verbs = Vec::new();
        for page in ["help", "help ftp"] {
            let help = self.expect(page, 214);
            let usages = help.lines().filter_map(|line| line.strip_prefix(' ')?.split("  ").next());
            for usage in usages.flat_map(|usages| usages.split(", ")) {
                let words: Vec<_> = usage.split_whitespace().collect();
                match words[..] {
                    ["SITE", command, ..] if command != "COMMAND" => {
                        verbs.push(format!("SITE {command}"))
                    }
                    _ => verbs.push(words[0].to_string()),
                }
            }
        }
        let listed = verbs.clone();
        for verb in listed.iter().filter(|verb| !verb.contains(' ')) {
            let about = self.expect(&format!("help {verb}"), 214);
            let aliases = about.lines().find_map(|line| line.strip_prefix(" also spelled: "));
            verbs.extend(aliases.into_iter().flat_map(|line| line.split(", ")).map(str::to_string));
        }
        assert!(verbs.len() > 90, "{} verbs", verbs.len());
        verbs
    }
}
