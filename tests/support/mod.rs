//! What the integration tests share: a server of their own in a temporary folder, a client that
//! types at it, and transcripts.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]
#![allow(missing_docs, reason = "the names say it")]

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

mod client;
mod limits;
mod random;
mod tree;

pub use client::{Client, Data, Peer, Way, connect, gone, listen};
pub use limits::{finished, output, until, with_limit};
pub use random::{Dice, noise};
pub use tree::{
    Tree, copied, is_below, is_within, lengths, moved, read_tree, read_tree_without, with, without,
};

/// Where the server keeps the number that tells its temporaries from those of other servers. The
/// files of nodes begin with this.
const SERVER_FILE: &str = ".plainftpd-server";
/// Long enough for a busy machine; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub addresses: Vec<SocketAddr>,
    dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Server {
    pub fn start() -> Server {
        Server::with(&[])
    }

    /// A server with further flags, in a temporary folder of its own.
    pub fn with(flags: &[&str]) -> Server {
        let temporary = tempfile::tempdir().unwrap();
        let mut server = Server::in_folder(temporary.path(), flags);
        server._temporary = Some(temporary);
        server
    }

    /// A server in this folder, which stays when the server goes.
    pub fn in_folder(dir: &Path, flags: &[&str]) -> Server {
        Server::spawn(Command::new(env!("CARGO_BIN_EXE_plainftpd")), dir, flags)
    }

    /// A server in this folder that has no rights beyond its own files, also if the test runs as
    /// root, whom no permission bits stop.
    pub fn without_rights(dir: &Path, flags: &[&str]) -> Server {
        const NOBODY: u32 = 65534;
        let program = dir.join("plainftpd");
        if !program.exists() {
            copy_program(&program);
        }
        let mut command = Command::new(program);
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            std::os::unix::fs::chown(dir, Some(NOBODY), Some(NOBODY)).unwrap();
            command.uid(NOBODY).gid(NOBODY);
        }
        Server::spawn(command, dir, flags)
    }

    /// A server that `command` starts, given its flags. Only a test that fails prints what it
    /// writes to standard error.
    pub fn spawn(command: Command, dir: &Path, flags: &[&str]) -> Server {
        let (reader, writer) = std::io::pipe().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                eprintln!("{line}");
            }
        });
        Server::spawn_with_stderr(command, writer.into(), dir, flags)
    }

    /// Like [`Server::spawn`], with another standard error.
    pub fn spawn_with_stderr(
        mut command: Command,
        stderr: Stdio,
        dir: &Path,
        flags: &[&str],
    ) -> Server {
        command.arg("--dir").arg(dir).args(["--hash-iterations", "1"]).args(flags);
        let listens = flags.iter().filter(|flag| **flag == "--listen").count();
        if listens == 0 {
            command.args(["--listen", &format!("{}:0", own_address())]);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut addresses = Vec::new();
        for _ in 0..listens.max(1) {
            let mut line = String::new();
            with_limit(child.id(), || stdout.read_line(&mut line).unwrap());
            let address = line.trim_end().strip_prefix("listening on ");
            let address = address.unwrap_or_else(|| panic!("the server does not start: {line:?}"));
            addresses.push(address.parse().unwrap());
        }
        Server { child, stdout, addresses, dir: dir.to_path_buf(), _temporary: None }
    }

    /// Waits until the server has ended, and returns its exit code.
    pub fn exit_code(&mut self) -> Option<i32> {
        with_limit(self.pid(), || self.child.wait().unwrap().code())
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A server whose memory can be counted exactly by [`Server::pages`]: the allocator maps each
    /// allocation by itself and gives it back when it is freed, and keeps no stacks of threads that
    /// have ended. What it holds otherwise depends on which thread freed what in which order.
    pub fn with_exact_memory(flags: &[&str]) -> Server {
        let temporary = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_plainftpd"));
        let tunables =
            ["malloc.mmap_threshold=0", "malloc.arena_max=1", "pthread.stack_cache_size=0"];
        command.env("GLIBC_TUNABLES", tunables.map(|tunable| format!("glibc.{tunable}")).join(":"));
        let mut server = Server::spawn(command, temporary.path(), flags);
        server._temporary = Some(temporary);
        server
    }

    /// How many pages of memory the server has mapped. In a server
    /// [`with_exact_memory`](Server::with_exact_memory) each allocation is one page at least.
    pub fn pages(&self) -> u64 {
        self.status("VmSize") / 4
    }

    /// A figure of `/proc/PID/status`.
    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Waits until the sessions of all clients that have disconnected are over, and the threads
    /// that served them have ended.
    pub fn settle(&self) {
        // The server greets a client after it has accepted all earlier ones.
        self.connect().expect("quit", 221);
        until("the clients' threads end", || {
            let names = self.thread_names();
            let count = |wanted: &str| names.iter().filter(|name| *name == wanted).count();
            // A new thread has the name of the one that started it until it sets its own.
            count("client") == 0 && count("accept") <= self.addresses.len()
        });
    }

    /// The names of all threads. The system may leave some out of the folder while others end, so
    /// this reads again until the number is right.
    fn thread_names(&self) -> Vec<String> {
        loop {
            let count = self.status("Threads");
            let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
            let name = |task: std::io::Result<fs::DirEntry>| {
                fs::read_to_string(task.ok()?.path().join("comm")).ok()
            };
            let names: Vec<_> =
                tasks.filter_map(name).map(|name| name.trim_end().to_string()).collect();
            if names.len() as u64 == count && self.status("Threads") == count {
                return names;
            }
        }
    }

    /// Waits until the thread that sweeps after the start has ended, which holds descriptors. A
    /// thread has the name of the program until it gives itself its own.
    pub fn wait_for_sweeper(&self) {
        until("the sweep ends", || {
            let names = self.thread_names();
            let count = |wanted: &str| names.iter().filter(|name| *name == wanted).count();
            count("accept") > 0 && count("plainftpd") <= 1 && count("sweep") == 0
        });
    }

    /// How many descriptors the server has open.
    pub fn descriptors(&self) -> usize {
        self.wait_for_sweeper();
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// How many threads the server has, without the one that writes to standard error.
    pub fn threads(&self) -> usize {
        self.wait_for_sweeper();
        self.thread_names().iter().filter(|name| *name != "stderr").count()
    }

    /// The most memory that it has had in use at once, in KiB.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM")
    }

    /// The real path of a file of a user.
    pub fn real(&self, name: &str) -> PathBuf {
        self.dir.join("workdir").join(name)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log.txt")).unwrap()
    }

    pub fn users(&self) -> String {
        fs::read_to_string(self.dir.join("users")).unwrap()
    }

    /// Gives an account another role and quota, as the owner does with an editor.
    pub fn edit_account(&self, name: &str, role_and_quota: &str) {
        let line = |line: &str| match line.strip_prefix(&format!("{name}:")) {
            Some(rest) => {
                format!("{name}:{role_and_quota}:{}\n", rest.splitn(3, ':').nth(2).unwrap())
            }
            None => format!("{line}\n"),
        };
        let users: String = self.users().lines().map(line).collect();
        fs::write(self.dir.join("users"), users).unwrap();
    }

    /// Adds a line to the users file, as the owner does with an editor. `HASH` in it stands for the
    /// hash of `password`.
    pub fn add_account(&self, line: &str) {
        let hash = "pbkdf2-sha256$1$0011223344556677$\
                    b86187d781fcbbc1fb2146f778f63e64dec7ff17ba18ad803f161325f610cd6a";
        let users = self.users() + &line.replace("HASH", hash) + "\n";
        fs::write(self.dir.join("users"), users).unwrap();
    }

    /// Removes the line of an account from the users file.
    pub fn remove_account(&self, name: &str) {
        let keeps = |line: &&str| !line.starts_with(&format!("{name}:"));
        let users: String =
            self.users().lines().filter(keeps).map(|line| format!("{line}\n")).collect();
        fs::write(self.dir.join("users"), users).unwrap();
    }

    pub fn next_line_of_output(&mut self) -> String {
        let mut line = String::new();
        with_limit(self.pid(), || self.stdout.read_line(&mut line).unwrap());
        line
    }

    /// The names of the accounts' folders.
    pub fn homes(&self) -> Vec<String> {
        let entries = fs::read_dir(self.real("")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with(SERVER_FILE)).collect();
        names.sort();
        names
    }

    /// A name as an earlier start of this server gave it to a temporary.
    pub fn stale_name(&self, number: u64) -> String {
        let server = fs::read_to_string(self.real(SERVER_FILE)).unwrap();
        format!(".plainftpd-{}-00c0ffee-{number}", server.trim_end())
    }

    /// The temporaries that lie in the accounts' folders, live and stale ones.
    pub fn temporaries(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut waiting = vec![self.real("")];
        while let Some(folder) = waiting.pop() {
            // A folder may go while this goes on.
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                let name = entry.file_name();
                if name.as_encoded_bytes().starts_with(SERVER_FILE.as_bytes()) {
                    continue;
                }
                if name.as_encoded_bytes().starts_with(b".plainftpd-") {
                    found.push(path.strip_prefix(self.real("")).unwrap().display().to_string());
                } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    waiting.push(path);
                }
            }
        }
        found
    }

    /// After a start, what a kill left is removed beside all else.
    pub fn wait_until_swept(&self) {
        self.wait_for_sweeper();
        until("the temporaries are swept", || self.temporaries().is_empty());
    }

    /// Waits until the log has a line about the end of `count` sessions.
    #[track_caller]
    pub fn wait_for_ended(&self, count: usize) {
        until("the sessions end", || self.log().matches(" event=end ").count() >= count);
    }

    /// Waits until a thread is held up by [`Delayed`].
    pub fn wait_until_it_stands_still(&self) {
        let stands = || {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
            let stats = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("stat")));
            std::thread::sleep(Duration::from_millis(1));
            stats.flatten().any(|stat| stat.contains(") t "))
        };
        until("a thread stands still", || (0..10).all(|_| stands()));
    }

    /// SIGTERM, as the system sends it when it shuts down.
    pub fn terminate(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        let _ = self.exit_code();
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A client that has read its greeting.
    pub fn connect(&self) -> Client {
        let mut client = Client::to(self.address());
        assert!(client.reply().starts_with("220 "), "a greeting");
        client
    }

    /// A client that has logged in to an account that `registered` made.
    pub fn logged_in(&self, name: &str) -> Client {
        let mut client = self.connect();
        let reply = client.ask(&format!("login {name} password"));
        assert!(reply.starts_with("230 "), "{reply}");
        client
    }

    /// A client that has just registered.
    pub fn registered(&self, name: &str) -> Client {
        let mut client = self.connect();
        let reply = client.ask(&format!("register {name} password"));
        assert!(reply.starts_with("230 "), "{reply}");
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Copies the server's program. Not by `fs::copy`: a process that another thread forks at that
/// moment inherits the descriptor that is open for writing, and then the copy cannot run (ETXTBSY).
pub fn copy_program(to: &Path) {
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_plainftpd")).arg(to).status();
    assert!(copied.unwrap().success());
}

/// An address of this machine for one server alone. Ports are few and are used again: at an address
/// that all share, a client of another test that connects to a port that was its server's a moment
/// ago is now and then the first one at a data port of this one.
pub fn own_address() -> Ipv4Addr {
    let [a, b, c, ..] = RandomState::new().hash_one(0).to_be_bytes();
    Ipv4Addr::new(127, a.clamp(1, 254), b.clamp(1, 254), c.clamp(1, 254))
}

/// A server whose system calls `strace` writes down.
pub struct Traced {
    pub server: Server,
    trace: PathBuf,
}

impl Traced {
    pub fn start(dir: &Path, options: &[&str], flags: &[&str]) -> Traced {
        let trace = dir.join("trace");
        let mut command = Command::new("strace");
        // -D: the process that is started is the server, and strace ends with it.
        command
            .args(["-D", "-f", "-o"])
            .arg(&trace)
            .args(options)
            .arg(env!("CARGO_BIN_EXE_plainftpd"));
        Traced { server: Server::spawn(command, dir, flags), trace }
    }

    /// Ends the server; all that was written down.
    pub fn end(mut self) -> String {
        self.server.kill();
        let mut trace = String::new();
        until("strace writes the end", || {
            trace = fs::read_to_string(&self.trace).unwrap();
            trace.contains("+++ killed by SIGKILL +++")
        });
        trace
    }
}

/// `strace`, which delays some system calls, or lets them fail, of one thread of a server for as
/// long as it lives.
pub struct Delayed(Child);

impl Delayed {
    /// The thread that was started last: that of the client which connected last to a new server.
    pub fn last_thread(server: &Server, options: &[&str]) -> Delayed {
        let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        let ids =
            tasks.map(|task| task.unwrap().file_name().to_str().unwrap().parse::<u32>().unwrap());
        let mut strace = Command::new("strace")
            .args(["-p", &ids.max().unwrap().to_string()])
            .args(options)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(strace.stderr.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert!(line.contains(" attached"), "{line}");
        // What it writes later must not block it.
        std::thread::spawn(move || said.lines().count());
        Delayed(strace)
    }
}

impl Drop for Delayed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether `line` is as `pattern` has it, in which `…` stands for anything.
pub fn matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let mut last = "";
    let mut wild = false;
    for part in parts {
        wild = true;
        last = part;
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    if wild { line.ends_with(last) } else { rest.is_empty() }
}

/// A step of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The client types a line.
    Line(String),
    /// The client sends bytes as they are.
    Raw(Vec<u8>),
    /// The server says this, `…` standing for anything.
    Answer(String),
}

/// Reads a transcript: `> ` a line typed, `>= ` raw bytes with `\n`, `\r`, `\\` and `\xNN`, `< ` a
/// line of the server; other lines are comments.
pub fn transcript(text: &str) -> Vec<Step> {
    let step = |line: &str| {
        if let Some(raw) = line.strip_prefix(">= ") {
            Some(Step::Raw(unescape(raw)))
        } else if let Some(typed) = line.strip_prefix("> ") {
            Some(Step::Line(typed.to_string()))
        } else {
            line.strip_prefix("<")
                .map(|said| Step::Answer(said.strip_prefix(' ').unwrap_or(said).to_string()))
        }
    };
    text.lines().filter_map(step).collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match (byte, if byte == b'\\' { rest.next() } else { None }) {
            (b'\\', Some(b'n')) => bytes.push(b'\n'),
            (b'\\', Some(b'r')) => bytes.push(b'\r'),
            (b'\\', Some(b'x')) => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                bytes.extend(hex::decode(digits).unwrap());
            }
            (b'\\', other) => bytes.extend(other),
            _ => bytes.push(byte),
        }
    }
    bytes
}

/// Plays a conversation step by step, each line ended by `end`.
pub fn play(client: &mut Client, steps: &[Step], end: &str) {
    for step in steps {
        match step {
            Step::Line(line) => client.send(format!("{line}{end}")),
            Step::Raw(bytes) => client.send(bytes),
            Step::Answer(pattern) => check(client, pattern),
        }
    }
}

/// Sends all that the client says in one piece, then reads all that the server says.
pub fn play_pipelined(client: &mut Client, steps: &[Step], end: &str) {
    let mut bytes = Vec::new();
    for step in steps {
        match step {
            Step::Line(line) => bytes.extend_from_slice(format!("{line}{end}").as_bytes()),
            Step::Raw(raw) => bytes.extend_from_slice(raw),
            Step::Answer(_) => {}
        }
    }
    client.send(bytes);
    for step in steps {
        if let Step::Answer(pattern) = step {
            check(client, pattern);
        }
    }
}

fn check(client: &mut Client, pattern: &str) {
    // File content is not made of CRLF lines.
    let line = String::from_utf8(client.read_piece()).unwrap();
    let line =
        line.strip_suffix('\n').map_or(&*line, |line| line.strip_suffix('\r').unwrap_or(line));
    assert!(matches(pattern, line), "expected {pattern:?}, heard {line:?}");
}

/// Everything below a folder: names, kinds, times, permissions, content.
pub fn snapshot(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let kind = metadata.file_type();
            let content = if kind.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let (modified, mode) = (metadata.modified().unwrap(), metadata.permissions());
            found.push(format!("{} {kind:?} {modified:?} {mode:?} {content:?}", path.display()));
            if kind.is_dir() {
                waiting.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Something that is mounted at a folder, until this is dropped.
pub struct Mount(PathBuf, String);

impl Mount {
    /// A small disk. `None` if nothing can be mounted, which fails in CI.
    pub fn tmpfs(at: &Path, options: &str) -> Option<Mount> {
        Mount::new(&["-t", "tmpfs", "-o", options, "tmpfs"], at)
    }

    /// Another folder of the host.
    pub fn bind(what: &Path, at: &Path) -> Option<Mount> {
        Mount::new(&["--bind", what.to_str().unwrap()], at)
    }

    fn new(arguments: &[&str], at: &Path) -> Option<Mount> {
        let mounted =
            Command::new("mount").args(arguments).arg(at).status().is_ok_and(|s| s.success());
        if !mounted {
            assert!(std::env::var_os("CI").is_none(), "CI must be able to mount");
            eprintln!("SKIPPED: nothing can be mounted here");
            return None;
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let at = fs::canonicalize(at).unwrap();
        let line = mounts.lines().rfind(|line| line.split(' ').nth(4) == at.to_str()).unwrap();
        Some(Mount(at, line.split(' ').next().unwrap().to_string()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A mount moves along with the folder that holds it.
        let id = &self.1;
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.split(' ').next() == Some(id));
        let at = line.and_then(|line| line.split(' ').nth(4)).map_or(self.0.clone(), PathBuf::from);
        let unmounted = Command::new("umount").arg("-l").arg(at).status();
        if !std::thread::panicking() {
            assert!(unmounted.unwrap().success());
        }
    }
}

/// What all below a folder counts for towards a quota, but for temporaries.
pub fn bytes_used(top: &Path) -> u64 {
    let mut bytes = 0;
    let mut waiting = vec![top.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_name().as_encoded_bytes().starts_with(b".plainftpd-") {
                continue;
            }
            let metadata = entry.metadata().unwrap();
            let size = if metadata.is_dir() { 0 } else { metadata.len() };
            bytes += size.max(1).next_multiple_of(4096);
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    bytes
}

/// Whether the tests have the rights of root, and so can give files to other users. In CI they
/// must.
pub fn is_root() -> bool {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root {
        assert!(std::env::var_os("CI").is_none(), "CI must run the tests as root");
        eprintln!("SKIPPED: only root can give files to another user");
    }
    is_root
}

/// Whether a program is there. In CI it must be.
pub fn has_program(name: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()));
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing, and CI must have it");
        eprintln!("SKIPPED: {name} is not installed here");
    }
    found
}

pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(bytes))
}
