//! A seeded generator of command streams against a live server.
//!
//! `PLAINFTPD_FUZZ_SECONDS=600 cargo test --release --test durability fuzz:: -- --nocapture` is the
//! long form. A failure prints the `PLAINFTPD_FUZZ_SEED` with which its streams come first.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::support::{Dice, Server, Way, noise, sha256};

const SEED: u64 = 959;
/// For each client, whose account it uses: two share one.
const CLIENTS: [usize; 4] = [0, 0, 1, 2];
/// Only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Each copy may double a tree.
const MOST_COPIES: usize = 6;

/// Makes the stream of one client.
struct Generator<'v> {
    /// Every spelling that the server knows.
    verbs: &'v [&'v str],
    dice: Dice,
    name: String,
    /// The port of a listener that accepts data connections.
    sink: u16,
    copies: usize,
    stream: Vec<u8>,
}

impl Generator<'_> {
    fn stream(mut self) -> Vec<u8> {
        if !self.dice.once_in(10) {
            self.sign_in();
        }
        for _ in 0..self.dice.below(60) + 10 {
            if self.dice.once_in(12) {
                self.sign_in();
            }
            match self.dice.below(30) {
                0 => self.raw(),
                1 => self.overlong(),
                2..8 => self.transfer(),
                _ => self.command(),
            }
        }
        self.stream
    }

    fn end_of_line(&mut self) {
        let end: &[u8] = self.dice.pick(&[b"\r\n", b"\r\n", b"\r\n", b"\n", b"\n", b"\r", b"\r\0"]);
        self.stream.extend_from_slice(end);
    }

    fn say(&mut self, line: &str) {
        self.stream.extend_from_slice(line.as_bytes());
        self.end_of_line();
    }

    fn sign_in(&mut self) {
        let name = self.name.clone();
        match self.dice.below(3) {
            0 => {
                self.say(&format!("USER {name}"));
                self.say("PASS password");
            }
            _ => self.say(&format!("login {name} password")),
        }
    }

    fn raw(&mut self) {
        let mut bytes = self.dice.bytes(400);
        if self.dice.once_in(2) {
            bytes.retain(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n'));
        }
        self.stream.extend(bytes);
        self.end_of_line();
    }

    fn overlong(&mut self) {
        let verb = self.dice.pick(self.verbs);
        let length = self.dice.pick(&[4000, 8185, 8191, 8192, 8193, 9000]);
        let filler = self.dice.pick(&["x", "/x", "a ", "*", "\"", "../", "é"]);
        let line = format!("{verb} {}", filler.repeat(length / filler.len()));
        // What is refused together with its line must be of a known length.
        if !["put", "upload", "send"].contains(&verb) || self.dice.once_in(4) {
            self.say(&line);
        }
    }

    /// A transfer that may succeed: with a data connection that is accepted.
    fn transfer(&mut self) {
        if self.dice.once_in(3) {
            let offset = self.dice_number();
            self.say(&format!("REST {offset}"));
        }
        let sink = self.sink;
        match self.dice.below(4) {
            0 => self.say("PASV"),
            1 => self.say("EPSV"),
            2 => self.say(&format!("PORT 127,0,0,1,{},{}", sink >> 8, sink & 255)),
            _ => self.say(&format!("EPRT |1|127.0.0.1|{sink}|")),
        }
        let verb = self
            .dice
            .pick(&["RETR", "STOR", "APPE", "STOU", "LIST", "NLST", "MLSD", "STOR", "RETR"]);
        let path = self.path();
        self.say(&format!("{verb} {path}"));
        if self.dice.once_in(6) {
            let line = self.dice.pick(&["ABOR", "STAT", "\u{0}ABOR", "NOOP", "QUIT "]);
            self.say(line);
        }
    }

    fn path(&mut self) -> String {
        const NAMES: &[&str] = &[
            "a",
            "b",
            "c",
            "d",
            "e.txt",
            "f g",
            "é",
            "link",
            "out",
            "*",
            "?",
            "[a-z]*",
            "a*b*c*d*e*",
            "-la",
            "-",
            "~",
            "%2e%2e",
            "\\",
            "$(x)",
            "CON",
            "a'b",
            "\"",
            "x\"y",
            ".plainftpd-0-0-0",
            "users",
            "neighbour",
            "canary",
            "secret",
        ];
        let mut path = self
            .dice
            .pick(&["", "", "", "/", "./", "../", "../../", "/../", "//", "d/../", "link/", "out/"])
            .to_string();
        for n in 0..self.dice.below(3) + 1 {
            if n > 0 {
                path.push('/');
            }
            path.push_str(self.dice.pick(NAMES));
        }
        if self.dice.once_in(60) {
            path.push_str(&"/d".repeat(self.dice.pick(&[10, 300, 2000])));
        }
        if self.dice.once_in(60) {
            path.push_str(&"n".repeat(self.dice.pick(&[200, 255, 256, 1000])));
        }
        path
    }

    /// A path for a hand command. Most paths that need quotes get them.
    fn hand_path(&mut self) -> String {
        let path = self.path();
        match self.dice.below(8) {
            0 => path,
            1 => format!("'{path}'"),
            2 => format!("\"{path}\""),
            3 => path.replace(' ', "\\ "),
            _ if path.contains(|c: char| c.is_whitespace() || "'\"\\".contains(c)) => {
                "a".to_string()
            }
            _ => path,
        }
    }

    fn dice_number(&mut self) -> u64 {
        self.dice.pick(&[0, 1, 5, 1000, 100_000, 1 << 20, i64::MAX as u64, 1 << 63, u64::MAX])
    }

    fn user(&mut self) -> String {
        let name = self.name.clone();
        match self.dice.below(8) {
            0..5 => name,
            5 => format!("{name}b"),
            6 => self.path(),
            _ => self
                .dice
                .pick(&["..", ".plainftpd-x", "neighbour", "NEIGHBOUR", "a:b", "-", "root", ""])
                .to_string(),
        }
    }

    fn password(&mut self) -> &'static str {
        self.dice.pick(&[
            "password",
            "password",
            "password",
            "wrong",
            "\"pass word\"",
            "x",
            "",
            ":$:",
            "päss wörd",
        ])
    }

    fn time(&mut self) -> &'static str {
        self.dice.pick(&[
            "20261123201900",
            "19700101000000",
            "00000000000000",
            "99991231235960",
            "2026",
            "20260230010101",
            "202611232019",
        ])
    }

    fn arguments(&mut self, verb: &str) -> String {
        match verb {
            "register" | "login" | "SITE REGISTER" => {
                let code = self.dice.pick(&["", "", "", " code"]);
                format!("{} {}{code}", self.user(), self.password())
            }
            "passwd" | "SITE PASSWD" => format!("{} {}", self.password(), self.password()),
            "unregister" | "SITE UNREGISTER" | "PASS" => self.password().to_string(),
            "USER" => self.user(),
            "rm" | "del" => {
                format!("{}{}", self.dice.pick(&["", "-r ", "-rf ", "-x "]), self.hand_path())
            }
            "cp" | "copy" | "mv" | "rename" | "ren" | "SITE COPY" => {
                let flag = self.dice.pick(&["", "", "-f ", "-r ", "-q "]);
                format!("{flag}{} {}", self.hand_path(), self.hand_path())
            }
            "cd" | "ls" | "dir" | "mkdir" | "rmdir" | "touch" | "create" | "mkfile" | "info"
            | "get" | "cat" | "download" | "hash" => self.hand_path(),
            "MFMT" | "MDTM" => format!("{} {}", self.time(), self.path()),
            "SITE CHMOD" => {
                format!(
                    "{} {}",
                    self.dice.pick(&["644", "0755", "777", "7777", "999", "u+x"]),
                    self.path()
                )
            }
            "TYPE" => self.dice.pick(&["A", "I", "A N", "L 8", "E", "L 7", "a", "i"]).to_string(),
            "MODE" => self.dice.pick(&["S", "B", "C", "s"]).to_string(),
            "STRU" => self.dice.pick(&["F", "R", "P", "f"]).to_string(),
            "EPSV" => {
                self.dice.pick(&["", "1", "2", "3", "99999999999999999999", "x", "ALL"]).to_string()
            }
            // Only to our own sink, and to what must be refused.
            "PORT" => self
                .dice
                .pick(&[
                    "10,0,0,1,200,1",
                    "127,0,0,1,0,21",
                    "127,0,0,2,200,1",
                    "256,0,0,1,1,1",
                    "1,2,3",
                    "127,0,0,1,0,0",
                    ",,,,,",
                    "127,0,0,1,-1,5",
                ])
                .to_string(),
            "EPRT" => self
                .dice
                .pick(&[
                    "|1|10.0.0.1|2000|",
                    "|2|::1|2000|",
                    "|1|127.0.0.1|21|",
                    "|3|x|1|",
                    "||||",
                    "|1|127.0.0.1|99999|",
                    "|2|::ffff:10.0.0.1|2000|",
                ])
                .to_string(),
            "REST" | "ALLO" => self.dice_number().to_string(),
            "OPTS" => self
                .dice
                .pick(&[
                    "UTF8 ON",
                    "UTF8 OFF",
                    "MLST type;size;",
                    "MLST ;;;",
                    "MLST",
                    "HASH SHA-256",
                    "HASH MD5",
                    "X",
                ])
                .to_string(),
            "help" | "?" => self.dice.pick(self.verbs).to_string(),
            "STAT" | "LIST" | "NLST" if self.dice.once_in(3) => format!("-la {}", self.path()),
            "pwd" | "XPWD" | "CDUP" | "XCUP" | "free" | "quota" | "df" | "cd.." | "whoami"
            | "PASV" | "FEAT" | "SYST" | "NOOP" | "ABOR" | "quit" | "exit" | "bye" | "REIN"
            | "logout" => String::new(),
            _ => self.path(),
        }
    }

    fn command(&mut self) {
        let verb = self.dice.pick(self.verbs);
        // What ends a session early must not hide what could come after it.
        let ends = [
            "quit",
            "exit",
            "bye",
            "unregister",
            "SITE UNREGISTER",
            "REIN",
            "logout",
            "passwd",
            "SITE PASSWD",
            "USER",
        ];
        if ends.contains(&verb) && !self.dice.once_in(10) {
            return;
        }
        let is_copy = ["cp", "copy", "SITE CPTO", "SITE COPY"].contains(&verb);
        if is_copy {
            self.copies += 1;
            if self.copies > MOST_COPIES {
                return;
            }
        }
        if ["put", "upload", "send", "write", "append"].contains(&verb) {
            return self.content(verb);
        }
        let arguments = match self.dice.below(20) {
            0 => String::new(),
            1 if !["PORT", "EPRT", "REST", "ALLO"].contains(&verb) => self.hand_path(),
            2 => format!("{} {}", self.arguments(verb), self.path()),
            _ => self.arguments(verb),
        };
        let arguments =
            if matches!(verb, "PORT" | "EPRT" | "REST") { self.arguments(verb) } else { arguments };
        let verb = match self.dice.below(4) {
            0 => verb.to_ascii_lowercase(),
            1 => verb.to_ascii_uppercase(),
            _ => verb.to_string(),
        };
        let line = if arguments.is_empty() { verb.clone() } else { format!("{verb} {arguments}") };
        let mut line = line.into_bytes();
        // A number that is turned into a large one makes a file that takes hours to read, and a
        // port may belong to another program.
        let may_change =
            !["PORT", "EPRT", "REST"].contains(&verb.to_ascii_uppercase().as_str()) && !is_copy;
        if may_change && self.dice.once_in(8) {
            self.mutate(&mut line);
        }
        self.stream.extend(line);
        self.end_of_line();
    }

    fn mutate(&mut self, line: &mut Vec<u8>) {
        for _ in 0..self.dice.below(4) + 1 {
            let at = self.dice.below(line.len() + 1);
            match self.dice.below(5) {
                0 if at < line.len() => line[at] = self.dice.next() as u8,
                1 if at < line.len() => drop(line.remove(at)),
                2 => line.truncate(at.max(1)),
                3 => {
                    // Telnet: commands, options, a whole subnegotiation, a doubled IAC; erasing.
                    let telnet: &[u8] = self.dice.pick(&[
                        b"\xff\xf4\xff\xf2",
                        b"\xff\xf2",
                        b"\xff\xfd\x01",
                        b"\xff\xfa\x18\x01\xff\xf0",
                        b"\xff\xff",
                        b"\xff",
                        b"\x08",
                        b"\x7f\x7f",
                    ]);
                    line.splice(at..at, telnet.iter().copied());
                }
                _ => {
                    let byte = self.dice.pick(&[
                        0, b' ', b'\t', b'"', b'\'', b'\\', b'/', b'*', 0x1b, 0x85, 0xc3, 0xff,
                    ]);
                    line.insert(at, byte);
                }
            }
        }
    }

    /// Inline content, which may look like commands, or be of another length than was said.
    fn content(&mut self, verb: &str) {
        let mut content = match self.dice.below(3) {
            0 => b"rm -r /\r\nQUIT\r\n.\r\nput x 3\r\n226 done\r\n".to_vec(),
            1 => self.dice.bytes(9000),
            _ => self.dice.bytes(60),
        };
        let path = self.hand_path();
        if verb.starts_with("write") || verb.starts_with("append") {
            if self.dice.once_in(2) {
                return self.say(&format!("{verb} {path} some text"));
            }
        } else if !self.dice.once_in(4) {
            let said = match self.dice.below(12) {
                0 => content.len() + 3,
                1 => content.len().saturating_sub(3),
                _ => content.len(),
            };
            let said = match self.dice.below(40) {
                0 => "12y".to_string(),
                1 => u64::MAX.to_string(),
                2 => "99999999999999999999999".to_string(),
                3 => "-1".to_string(),
                _ => said.to_string(),
            };
            self.stream.extend_from_slice(format!("{verb} {path} {said}\n").as_bytes());
            return self.stream.append(&mut content);
        }
        self.say(&format!("{verb} {path}"));
        self.stream.append(&mut content);
        self.stream.extend_from_slice(b"\r\n.\r\n");
    }
}

/// Takes the other end of any data connection: sends something, then takes all that comes.
fn serve_data(mut stream: TcpStream, seed: u64) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let content = Dice::new(seed).bytes(20_000);
    let _ = stream.write_all(&content);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

fn line_of(replies: &mut impl BufRead) -> Result<Option<Vec<u8>>, String> {
    let mut line = Vec::new();
    replies.read_until(b'\n', &mut line).map_err(|error| format!("reading replies: {error}"))?;
    if line.is_empty() {
        return Ok(None);
    }
    let whole =
        line.strip_suffix(b"\r\n").ok_or_else(|| format!("no CRLF: {}", line.escape_ascii()))?;
    match whole.iter().find(|byte| byte.is_ascii_control()) {
        Some(_) => Err(format!("a control character: {}", line.escape_ascii())),
        None => Ok(Some(whole.to_vec())),
    }
}

/// Reads replies up to the end of the connection and holds them against RFC 959 §4.2; goes to the
/// ports of `server` that they name. Returns how many there were.
fn read_replies<'s>(
    stream: TcpStream,
    server: IpAddr,
    seed: u64,
    scope: &'s Scope<'s, '_>,
) -> Result<usize, String> {
    let IpAddr::V4(ip) = server else { return Err(format!("no IPv4: {server}")) };
    let here = ip.octets().map(u16::from);
    let mut replies = BufReader::new(stream);
    for count in 0.. {
        let Some(first) = line_of(&mut replies)? else { return Ok(count) };
        let told = || format!("no reply: {}", first.escape_ascii());
        let is_form =
            matches!(first.as_slice(), [b'1'..=b'5', b'0'..=b'5', b'0'..=b'9', b' ' | b'-', _, ..]);
        if !is_form {
            return Err(told());
        }
        if first[3] == b'-' {
            loop {
                let line = line_of(&mut replies)?
                    .ok_or_else(|| format!("never closed: {}", first.escape_ascii()))?;
                if line.starts_with(&first[..3]) && line.get(3) == Some(&b' ') {
                    break;
                }
                // Then a client that looks at the first digits of each line is not misled either.
                if !line.starts_with(b" ") {
                    return Err(format!(
                        "within {}: {}",
                        first.escape_ascii(),
                        line.escape_ascii()
                    ));
                }
            }
        }
        let text = str::from_utf8(&first).unwrap_or_default();
        if let Some(length) =
            text.strip_prefix("150 ").and_then(|rest| rest.strip_suffix(" bytes follow."))
        {
            let length = length.parse::<u64>().map_err(|_| told())?;
            let copied = std::io::copy(&mut replies.by_ref().take(length), &mut std::io::sink());
            let copied = copied.map_err(|error| format!("content: {error}"))?;
            if copied != length || line_of(&mut replies)? != Some(Vec::new()) {
                return Err(format!(
                    "content of {length} bytes: {copied}, and no empty line's end"
                ));
            }
        }
        let port = if text.starts_with("229 ") {
            let port = text.split('|').nth(3).and_then(|port| port.parse().ok());
            Some(port.ok_or_else(told)?)
        } else if text.starts_with("227 ") {
            let numbers = text.split(['(', ')']).nth(1).ok_or_else(told)?.split(',');
            let numbers: Vec<u16> = numbers.filter_map(|number| number.parse().ok()).collect();
            match numbers.as_slice() {
                [a, b, c, d, high @ 0..=255, low @ 0..=255] if [*a, *b, *c, *d] == here => {
                    Some(high * 256 + low)
                }
                _ => return Err(told()),
            }
        } else {
            None
        };
        if let Some(Ok(stream)) = port.map(|port: u16| TcpStream::connect((server, port))) {
            scope.spawn(move || serve_data(stream, seed + count as u64));
        }
    }
    unreachable!()
}

/// Sends `bytes` in random pieces, and reads all that is answered.
fn converse<'s>(
    address: SocketAddr,
    bytes: &[u8],
    seed: u64,
    scope: &'s Scope<'s, '_>,
) -> Result<usize, String> {
    let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let replies = stream.try_clone().unwrap();
    // The reader may start when both sides have ended, and then the socket knows no peer any more.
    let reader = scope.spawn(move || read_replies(replies, address.ip(), seed, scope));
    let mut dice = Dice::new(seed);
    let largest = dice.pick(&[1, 3, 20, 200, 5000, 100_000]);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(rest.len().min(dice.below(largest) + 1));
        // The server may have ended the session with a 421.
        if stream.write_all(piece).is_err() {
            break;
        }
        rest = more;
    }
    let _ = stream.shutdown(Shutdown::Write);
    reader.join().unwrap_or_else(|_| Err("the reader panicked".to_string()))
}

/// Everything about a tree that can be seen from outside, times of access excepted.
fn snapshot(path: &Path, told: &mut String) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let (mode, size, time) =
        (metadata.mode(), metadata.size(), (metadata.mtime(), metadata.mtime_nsec()));
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    write!(told, "{} {} {mode:o} {size} {time:?} {changed:?}", path.display(), metadata.ino())
        .unwrap();
    if metadata.is_file() {
        writeln!(told, " {}", sha256(&fs::read(path).unwrap())).unwrap();
    } else if metadata.is_dir() {
        told.push('\n');
        let mut names: Vec<_> =
            fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names.iter().for_each(|path| snapshot(path, told));
    } else {
        writeln!(told, " -> {}", fs::read_link(path).unwrap().display()).unwrap();
    }
}

fn plant(path: &Path) {
    fs::create_dir_all(path.join("d/e")).unwrap();
    fs::write(path.join("secret"), "secret\n").unwrap();
    fs::write(path.join("a"), "").unwrap();
    fs::write(path.join("d/e.txt"), noise(5000, 1)).unwrap();
    symlink("../secret", path.join("d/link")).unwrap();
}

/// A server with things around it that no client may touch.
struct Arena {
    server: Server,
    dir: tempfile::TempDir,
    password: String,
    untouched: String,
    descriptors: usize,
}

/// Two threads that accept, one of them for the owner, and one that waits for a stop; no client.
const THREADS: usize = 3;

impl Arena {
    fn new() -> Arena {
        let dir = tempfile::tempdir().unwrap();
        plant(&dir.path().join("canary"));
        fs::create_dir(dir.path().join("server")).unwrap();
        let server = Server::in_folder(&dir.path().join("server"), &["--stall-timeout", "1"]);
        let descriptors = server.descriptors();
        // Nothing that a stream can say logs in as the neighbour.
        let password = sha256(dir.path().as_os_str().as_encoded_bytes());
        server.connect().expect(&format!("register neighbour {password}"), 230);
        plant(&server.real("neighbour"));
        plant(&server.real("canary"));
        let mut arena = Arena { server, dir, password, untouched: String::new(), descriptors };
        arena.untouched = arena.look_around();
        arena
    }

    /// All that the streams' accounts have no business with.
    fn look_around(&self) -> String {
        let mut told = String::new();
        for path in ["canary", "server/workdir/canary", "server/workdir/neighbour"] {
            snapshot(&self.dir.path().join(path), &mut told);
        }
        let beside =
            fs::read_dir(self.dir.path()).unwrap().chain(fs::read_dir(self.server.dir()).unwrap());
        let mut names: Vec<_> = beside.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        writeln!(told, "{names:?}").unwrap();
        told
    }

    /// An account of this role and quota with some files and the worst of links.
    fn account(&self, name: &str, role_and_quota: &str) {
        self.server.connect().expect(&format!("register {name} password"), 230);
        let home = self.server.real(name);
        fs::create_dir_all(home.join("d/d/d")).unwrap();
        fs::write(home.join("a"), noise(3000, 7)).unwrap();
        fs::write(home.join("d/e.txt"), "one\r\ntwo\nthree\r226 x\r\n").unwrap();
        fs::write(home.join("c"), "").unwrap();
        symlink(self.dir.path().join("canary"), home.join("link")).unwrap();
        symlink("../neighbour", home.join("out")).unwrap();
        symlink("../../../../canary/secret", home.join("d/secret")).unwrap();
        symlink("/proc/self/root", home.join("d/d/out")).unwrap();
        let (line, changed) = (format!("{name}:user:-:"), format!("{name}:{role_and_quota}:"));
        assert!(self.server.users().contains(&line));
        fs::write(self.server.dir().join("users"), self.server.users().replace(&line, &changed))
            .unwrap();
    }

    /// Whether what each account is said to take is what is there.
    fn check_space(&self) -> Result<(), String> {
        let users = self.server.users();
        let names = || {
            users
                .lines()
                .filter(|line| !line.starts_with('#'))
                .filter_map(|line| line.split(':').next())
        };
        let neighbour = users.lines().find(|line| line.starts_with("neighbour:")).unwrap();
        let hash = neighbour.rsplit(':').next().unwrap();
        // Whatever a stream has made of them: now all have one password.
        let opened: String = names().map(|name| format!("{name}:user:1G:{hash}\n")).collect();
        fs::write(self.server.dir().join("users"), opened).unwrap();
        for name in names() {
            let mut client = self.server.connect();
            client.expect(&format!("login {name} {}", self.password), 230);
            let held = client.expect(&format!("ALLO {}", 1_u64 << 40), 552);
            let counted = client.expect("free", 211);
            let number = |reply: &str, before: &str| {
                reply
                    .split_once(before)
                    .and_then(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok())
            };
            let (held, counted) = (number(&held, "used up: "), number(&counted, "211 "));
            if held.is_none() || held != counted {
                return Err(format!("{name}: {held:?} bytes are held, and {counted:?} are there"));
            }
        }
        Ok(())
    }

    /// What must hold after any stream.
    fn check(&self, fresh: &str) -> Result<(), String> {
        let mut client = self.server.registered(fresh);
        let stored = client.put("f", b"fresh");
        if !stored.starts_with("226 ") || client.download(Way::Epsv, "RETR f") != b"fresh" {
            return Err(format!("a fresh client was not served: {stored}"));
        }
        client.expect("unregister password", 250);
        client.expect(&format!("login neighbour {}", self.password), 230);
        if client.get("secret") != Ok(b"secret\n".to_vec()) {
            return Err("the neighbour does not find the secret".to_string());
        }
        client.expect("quit", 221);
        client.rest();
        drop(client);
        let since = Instant::now();
        while (self.server.descriptors(), self.server.threads()) != (self.descriptors, THREADS) {
            if since.elapsed() > PATIENCE {
                let now = (self.server.descriptors(), self.server.threads());
                return Err(format!(
                    "descriptors and threads: {now:?}, at first {:?}",
                    (self.descriptors, THREADS)
                ));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.check_space()?;
        let around = self.look_around();
        if around != self.untouched {
            return Err(format!(
                "something outside was touched:\n{}\nbefore:\n{}",
                around, self.untouched
            ));
        }
        let left = self.server.temporaries();
        if !left.is_empty() {
            return Err(format!("temporaries are left: {left:?}"));
        }
        let log = self.server.log();
        if let Some(line) = log.lines().find(|line| line.contains(" event=panic")) {
            return Err(line.to_string());
        }
        if let Some(line) =
            log.lines().find(|line| !line.starts_with("20") || !line.contains("Z event="))
        {
            return Err(format!("a forged or torn line of the log: {line:?}"));
        }
        let users = self.server.users();
        let accounts = users.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let accounts: BTreeSet<String> =
            accounts.filter_map(|line| line.split(':').next()).map(str::to_string).collect();
        let homes = self.server.homes().into_iter();
        let folders: BTreeSet<String> = homes.filter(|name| name != "canary").collect();
        if accounts != folders {
            return Err(format!("accounts: {accounts:?}, folders: {folders:?}"));
        }
        Ok(())
    }

    /// The accounts of a round, away again.
    fn clean(&self) {
        let users = self.server.users();
        let stays = |line: &&str| {
            line.starts_with('#') || line.is_empty() || line.starts_with("neighbour:")
        };
        for line in users.lines().filter(|line| !stays(line)) {
            fs::remove_dir_all(self.server.real(line.split(':').next().unwrap())).unwrap();
        }
        let kept: Vec<_> = users.lines().filter(stays).collect();
        fs::write(self.server.dir().join("users"), kept.join("\n") + "\n").unwrap();
        fs::write(self.server.dir().join("log.txt"), "").unwrap();
    }
}

/// Ends the sink when it is dropped, also if an assertion has failed.
struct End<'s> {
    stop: &'s AtomicBool,
    port: u16,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn no_stream_of_commands_breaks_the_server_or_gets_out() {
    let first = number("PLAINFTPD_FUZZ_SEED", SEED);
    let lasts = Duration::from_secs(number("PLAINFTPD_FUZZ_SECONDS", 5));
    let arena = Arena::new();
    let spellings = arena.server.connect().spellings();
    let verbs: Vec<_> = spellings.iter().map(String::as_str).collect();
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = sink.local_addr().unwrap().port();
    let stop = AtomicBool::new(false);
    let since = Instant::now();
    let (mut rounds, mut sent, mut heard) = (0, 0, 0);
    let failure = std::thread::scope(|scope| {
        let (sink, stop) = (&sink, &stop);
        scope.spawn(move || {
            for (n, stream) in sink.incoming().enumerate() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let stream = stream.unwrap();
                scope.spawn(move || serve_data(stream, n as u64));
            }
        });
        let end = End { stop, port };
        let mut failure = None;
        while failure.is_none() && (rounds == 0 || since.elapsed() < lasts) {
            let seed = first.wrapping_add(rounds);
            // No administrator, because an administrator may touch everything.
            let third = ["readonly:-", "drop:200K", "user:200K"][(seed % 3) as usize];
            for (account, role_and_quota) in ["user:200K", "user:-", third].into_iter().enumerate()
            {
                arena.account(&format!("f{}x{account}", seed % 10_000), role_and_quota);
            }
            let streams: Vec<_> = (0u64..)
                .zip(CLIENTS)
                .map(|(client, account)| {
                    let dice =
                        Dice::new(seed.wrapping_mul(CLIENTS.len() as u64).wrapping_add(client));
                    let name = format!("f{}x{account}", seed % 10_000);
                    Generator {
                        verbs: &verbs,
                        dice,
                        name,
                        sink: port,
                        copies: 0,
                        stream: Vec::new(),
                    }
                    .stream()
                })
                .collect();
            let results: Vec<_> = std::thread::scope(|clients| {
                let threads: Vec<_> = (0u64..)
                    .zip(&streams)
                    .map(|(n, stream)| {
                        let address = arena.server.address();
                        clients.spawn(move || {
                            converse(address, stream, seed.wrapping_add(n << 32), clients)
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            rounds += 1;
            let talked = results.into_iter().collect::<Result<Vec<_>, _>>();
            match talked
                .and_then(|counts| arena.check(&format!("fresh{}", seed % 10_000)).map(|()| counts))
            {
                Ok(counts) => heard += counts.iter().sum::<usize>(),
                Err(why) => failure = Some((seed, why, streams.clone())),
            }
            sent += streams.iter().map(Vec::len).sum::<usize>();
            if failure.is_none() {
                arena.clean();
            }
        }
        drop(end);
        failure
    });
    if let Some((seed, why, streams)) = failure {
        let told: Vec<_> =
            streams.iter().map(|stream| format!("b\"{}\"", stream.escape_ascii())).collect();
        panic!(
            "PLAINFTPD_FUZZ_SEED={seed} (sink at {port}): {why}\nThe streams:\n{}",
            told.join("\n")
        );
    }
    println!(
        "fuzz: {} s, {rounds} rounds, {sent} bytes sent, {heard} replies",
        since.elapsed().as_secs()
    );
    assert!(heard > 100, "too little was said: {heard} replies");
}
