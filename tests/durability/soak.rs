//! A soak: whole sessions under faults and kill -9, with every byte accounted for.
//!
//! The long form is
//! `PLAINFTPD_SOAK_SECONDS=3600 cargo test --release --test durability soak:: -- --nocapture`.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::{
    Dice, Peer, Server, Tree, Way, copied, gone, is_within, moved, noise, read_tree, sha256, with,
    without,
};

const WORKERS: u64 = 6;
/// Only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// What one account may hold before things are removed again.
const MOST_BYTES: usize = 12 << 20;
const MOST_NODES: usize = 40;
/// More than all buffers between two ends of a connection together.
const LARGE: u64 = 64 << 20;
const STALL: &str = "5";

/// The end of the connection is an error.
type Told<T> = std::io::Result<T>;

/// The content of a file: mostly short, now and then long.
fn content(dice: &mut Dice) -> Arc<Vec<u8>> {
    let most = match dice.below(40) {
        0 => 3 << 20,
        1..6 => 400_000,
        _ => 30_000,
    };
    Arc::new(dice.bytes(most - 1))
}

#[derive(Default)]
struct Totals {
    sessions: AtomicU64,
    transfers: AtomicU64,
    bytes: AtomicU64,
    faults: AtomicU64,
    checked: AtomicU64,
    losses: AtomicU64,
}

impl Totals {
    fn transfer(&self, bytes: usize) {
        self.transfers.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    fn lose(&self, what: &str) {
        eprintln!("LOST: {what}");
        self.losses.fetch_add(1, Ordering::Relaxed);
    }

    fn told(&self, seconds: u64, kills: u64) -> String {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        format!(
            "{seconds} s, {} sessions, {} transfers, {} bytes, {} faults injected, \
             {kills} kills, {} things checked after them, {} losses",
            of(&self.sessions),
            of(&self.transfers),
            of(&self.bytes),
            of(&self.faults),
            of(&self.checked),
            of(&self.losses),
        )
    }
}

/// What must be under a name.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Folder,
    File(Arc<Vec<u8>>),
    /// `base` and a part of `more`. If there was no base, the file may be missing.
    Grown {
        base: Option<Arc<Vec<u8>>>,
        more: Arc<Vec<u8>>,
    },
    /// `base` with a part of `patch` written over it from `offset` on.
    Patched {
        base: Arc<Vec<u8>>,
        offset: usize,
        patch: Arc<Vec<u8>>,
    },
}

/// An account's files, by their paths.
type World = Tree<Node>;

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn fits_node(wanted: &Node, found: Option<&Node>) -> bool {
    match (wanted, found) {
        (Node::File(wanted), Some(Node::File(found))) => {
            wanted.len() == found.len() && sha256(wanted) == sha256(found)
        }
        (Node::Grown { base: None, .. }, None) => true,
        (Node::Grown { base, more }, Some(Node::File(found))) => {
            let base: &[u8] = base.as_ref().map_or(&[], |base| base);
            found.strip_prefix(base).is_some_and(|rest| more.starts_with(rest))
        }
        (Node::Patched { base, offset, patch }, Some(Node::File(found))) => {
            let Some((before, after)) = found.split_at_checked(*offset) else { return false };
            let done = common(after, patch);
            before == &base[..*offset] && after[done..] == base[base.len().min(offset + done)..]
        }
        (wanted, found) => Some(wanted) == found,
    }
}

/// What does not fit, if anything.
fn misfit(wanted: &World, found: &World) -> Option<String> {
    let wrong = wanted.iter().find(|(path, node)| !fits_node(node, found.get(*path)));
    let length = |node: Option<&Node>| match node {
        None => "nothing".to_string(),
        Some(Node::File(content)) => format!("{} bytes", content.len()),
        Some(other) => format!("{other:.20?}"),
    };
    match wrong {
        Some((path, node)) => Some(format!(
            "{path}: wanted {}, found {}",
            length(Some(node)),
            length(found.get(path))
        )),
        None => found
            .keys()
            .find(|path| !wanted.contains_key(*path))
            .map(|path| format!("{path}: too much")),
    }
}

/// What a folder really holds.
fn read_world(root: &Path) -> World {
    let node = |content: Option<_>| content.map_or(Node::Folder, Node::File);
    read_tree(root).into_iter().map(|(path, content)| (path, node(content))).collect()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Registering,
    Registered,
    Unregistering,
}

/// What is known of an account.
struct Account {
    name: String,
    passwords: Vec<String>,
    stage: Stage,
    world: World,
    /// What the world will be once the present command is acknowledged.
    next: Option<World>,
}

impl Account {
    fn files(&self) -> Vec<String> {
        let is_file = |(_, node): &(_, &Node)| matches!(node, Node::File(_));
        self.world.iter().filter(is_file).map(|(path, _)| path.clone()).collect()
    }

    fn folders(&self) -> Vec<String> {
        let is_folder = |(_, node): &(_, &Node)| matches!(node, Node::Folder);
        self.world.iter().filter(is_folder).map(|(path, _)| path.clone()).collect()
    }

    fn content(&self, path: &str) -> Arc<Vec<u8>> {
        match &self.world[path] {
            Node::File(content) => Arc::clone(content),
            other => panic!("{path}: {other:?}"),
        }
    }

    fn bytes(&self) -> usize {
        let size = |node: &Node| if let Node::File(content) = node { content.len() } else { 0 };
        self.world.values().map(size).sum()
    }
}

/// Someone who works with an account.
struct Worker<'a> {
    address: SocketAddr,
    totals: &'a Totals,
    /// The account that has the large file.
    large: &'a str,
    patient: bool,
    dice: Dice,
    account: Account,
    peer: Peer,
    fresh: u64,
}

impl Worker<'_> {
    fn done(&mut self) {
        if let Some(next) = self.account.next.take() {
            self.account.world = next;
        }
    }

    fn fresh_name(&mut self) -> String {
        self.fresh += 1;
        let folder = match self.dice.below(3) {
            0 => self.dice.pick_any(&self.account.folders()),
            _ => None,
        };
        match folder.filter(|folder| folder.matches('/').count() < 3) {
            Some(folder) => format!("{folder}/n{}", self.fresh),
            None => format!("n{}", self.fresh),
        }
    }

    /// A file that is there, or a new name.
    fn target(&mut self) -> String {
        match self.dice.below(2) {
            0 => self.dice.pick_any(&self.account.files()),
            _ => None,
        }
        .unwrap_or_else(|| self.fresh_name())
    }

    fn check(&self, path: &str, found: &[u8], wanted: &[u8]) {
        self.totals.transfer(found.len());
        if sha256(found) != sha256(wanted) {
            self.totals.lose(&format!(
                "{}/{path}: {} bytes wanted, {} heard",
                self.account.name,
                wanted.len(),
                found.len()
            ));
        }
    }

    fn log_in_again(&mut self) -> Told<()> {
        self.peer = Peer::connect(self.address)?;
        self.totals.sessions.fetch_add(1, Ordering::Relaxed);
        let line = format!("login {} {}", self.account.name, self.account.passwords[0]);
        self.peer.expect(&line, 230).map(drop)
    }

    /// One thing that people and programs do.
    fn step(&mut self) -> Told<()> {
        if self.account.bytes() > MOST_BYTES || self.account.world.len() > MOST_NODES {
            return self.remove();
        }
        match self.dice.below(100) {
            0..12 => self.put(),
            12..30 => self.store(),
            30..38 => self.append(),
            38..44 => self.patch(),
            44..54 => self.fetch(),
            54..60 => self.list(),
            60..66 => self.make_folder(),
            66..72 => self.copy(),
            72..80 => self.rename(),
            80..84 => self.remove(),
            84..86 => self.change_password(),
            86..88 => self.write_line(),
            _ => {
                self.totals.fault();
                self.fault()
            }
        }
    }

    fn put(&mut self) -> Told<()> {
        let (path, content) = (self.target(), content(&mut self.dice));
        self.account.next =
            Some(with(&self.account.world, &path, Node::File(Arc::clone(&content))));
        self.peer.put(&path, &content)?;
        self.totals.transfer(content.len());
        self.done();
        Ok(())
    }

    fn write_line(&mut self) -> Told<()> {
        let path = self.target();
        self.account.next =
            Some(with(&self.account.world, &path, Node::File(Arc::new(b"a line\n".to_vec()))));
        self.peer.expect(&format!("write {path} a line"), 150)?;
        self.peer.hear(226, "write")?;
        self.totals.transfer(7);
        self.done();
        Ok(())
    }

    fn store(&mut self) -> Told<()> {
        let (path, content, way) = (self.target(), content(&mut self.dice), self.dice.way());
        self.account.next =
            Some(with(&self.account.world, &path, Node::File(Arc::clone(&content))));
        self.peer.upload(way, 0, &format!("STOR {path}"), &content)?;
        self.totals.transfer(content.len());
        self.done();
        Ok(())
    }

    fn append(&mut self) -> Told<()> {
        let (path, more, way) = (self.target(), content(&mut self.dice), self.dice.way());
        let base = self.account.world.contains_key(&path).then(|| self.account.content(&path));
        let whole = [base.as_ref().map_or(&[][..], |base| base), &more[..]].concat();
        let growing = Node::Grown { base, more: Arc::clone(&more) };
        self.account.next = Some(with(&self.account.world, &path, growing));
        self.peer.upload(way, 0, &format!("APPE {path}"), &more)?;
        self.totals.transfer(more.len());
        self.account.next = Some(with(&self.account.world, &path, Node::File(Arc::new(whole))));
        self.done();
        Ok(())
    }

    fn patch(&mut self) -> Told<()> {
        let Some(path) = self.dice.pick_any(&self.account.files()) else { return self.store() };
        let (base, patch, way) =
            (self.account.content(&path), content(&mut self.dice), self.dice.way());
        let offset = self.dice.below(base.len() + 1);
        if offset == 0 {
            return self.store();
        }
        let after = base.get(offset + patch.len()..).unwrap_or_default();
        let whole = [&base[..offset], &patch[..], after].concat();
        let patched = Node::Patched { base, offset, patch: Arc::clone(&patch) };
        self.account.next = Some(with(&self.account.world, &path, patched));
        self.peer.upload(way, offset, &format!("STOR {path}"), &patch)?;
        self.totals.transfer(patch.len());
        self.account.next = Some(with(&self.account.world, &path, Node::File(Arc::new(whole))));
        self.done();
        Ok(())
    }

    fn fetch(&mut self) -> Told<()> {
        let Some(path) = self.dice.pick_any(&self.account.files()) else { return Ok(()) };
        let (wanted, way) = (self.account.content(&path), self.dice.way());
        match self.dice.below(4) {
            0 => {
                let found = self.peer.get(&path)?;
                self.check(&path, &found, &wanted);
            }
            1 => {
                let offset = self.dice.below(wanted.len() + 1);
                let found = self.peer.download(way, offset, &format!("RETR {path}"))?;
                self.check(&path, &found, &wanted[offset..]);
            }
            2 => {
                let reply = self.peer.expect(&format!("XSHA256 {path}"), 250)?;
                if reply != format!("250 {}", sha256(&wanted)) {
                    self.totals.lose(&format!("{}/{path}: {reply}", self.account.name));
                }
            }
            _ => {
                let found = self.peer.download(way, 0, &format!("RETR {path}"))?;
                self.check(&path, &found, &wanted);
            }
        }
        Ok(())
    }

    fn list(&mut self) -> Told<()> {
        let way = self.dice.way();
        let folder =
            self.dice.pick_any(&self.account.folders()).filter(|_| self.dice.below(2) == 0);
        let folder = folder.unwrap_or_default();
        let word = ["LIST", "MLSD", "NLST"][self.dice.below(3)];
        let text = self.peer.download(way, 0, format!("{word} {folder}").trim_end())?;
        self.totals.transfer(text.len());
        let text = String::from_utf8(text).unwrap();
        let mut found: Vec<&str> =
            text.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
        let found_all = found.clone();
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        for (path, node) in &self.account.world {
            let Some(name) = path.strip_prefix(&prefix).filter(|name| !name.contains('/')) else {
                continue;
            };
            let index = found.iter().position(|found| {
                let found = found.rsplit('/').next().unwrap();
                found == name
            });
            match index {
                Some(index) => drop(found.swap_remove(index)),
                None => assert!(
                    matches!(node, Node::Grown { base: None, .. }),
                    "{word} {folder}: {name} is missing in {found_all:?}"
                ),
            }
        }
        assert!(
            found.iter().all(|name| [".", ".."].contains(name)),
            "{word} {folder}: also {found:?}"
        );
        Ok(())
    }

    fn make_folder(&mut self) -> Told<()> {
        let path = self.fresh_name();
        self.account.next = Some(with(&self.account.world, &path, Node::Folder));
        let word = ["mkdir", "MKD"][self.dice.below(2)];
        self.peer.expect(&format!("{word} {path}"), 257)?;
        self.done();
        Ok(())
    }

    /// Something that is there and surely stays as it is.
    fn any(&mut self) -> Option<String> {
        let all = [self.account.files(), self.account.folders()].concat();
        self.dice.pick_any(&all)
    }

    fn copy(&mut self) -> Told<()> {
        let Some(from) = self.any() else { return Ok(()) };
        let to = self.fresh_name();
        if is_within(&to, &from) {
            return self.peer.expect(&format!("cp {from} {to}"), 550).map(drop);
        }
        self.account.next = Some(copied(&self.account.world, &from, &to));
        if self.dice.below(2) == 0 {
            self.peer.expect(&format!("cp {from} {to}"), 250)?;
        } else {
            self.peer.expect(&format!("SITE CPFR {from}"), 350)?;
            self.peer.expect(&format!("SITE CPTO {to}"), 250)?;
        }
        self.done();
        Ok(())
    }

    fn rename(&mut self) -> Told<()> {
        let Some(from) = self.any() else { return Ok(()) };
        let by_hand = self.dice.below(2) == 0;
        // RNTO replaces a file.
        let is_file = matches!(self.account.world[&from], Node::File(_));
        let over =
            if !by_hand && is_file { self.dice.pick_any(&self.account.files()) } else { None };
        let to = over.filter(|over| *over != from).unwrap_or_else(|| self.fresh_name());
        if is_within(&to, &from) {
            return self.peer.expect(&format!("mv {from} {to}"), 550).map(drop);
        }
        self.account.next = Some(moved(&self.account.world, &from, &to));
        if by_hand {
            self.peer.expect(&format!("mv {from} {to}"), 250)?;
        } else {
            self.peer.expect(&format!("RNFR {from}"), 350)?;
            self.peer.expect(&format!("RNTO {to}"), 250)?;
        }
        self.done();
        Ok(())
    }

    fn remove(&mut self) -> Told<()> {
        let Some(path) = self.any() else { return Ok(()) };
        self.account.next = Some(without(&self.account.world, &path));
        let word = match (&self.account.world[&path], self.dice.below(2)) {
            (Node::File(_), 0) => "DELE",
            (Node::File(_), _) => "rm",
            (_, 0) => "SITE RMDIR",
            (_, _) => "rm -r",
        };
        self.peer.expect(&format!("{word} {path}"), 250)?;
        self.done();
        Ok(())
    }

    fn change_password(&mut self) -> Told<()> {
        let new = format!("password{}", self.dice.next());
        let old = self.account.passwords[0].clone();
        self.account.passwords.push(new.clone());
        self.peer.expect(&format!("passwd {old} {new}"), 200)?;
        self.account.passwords = vec![new];
        Ok(())
    }

    fn fault(&mut self) -> Told<()> {
        match self.dice.below(11) {
            0 => self.vanish_in_put(),
            1 => self.vanish_in_store(),
            2 => self.vanish_in_append(),
            3 => self.vanish_in_download(),
            4 => self.vanish_in_a_line(),
            5 => self.abort_over_a_file(),
            6 => self.abort_a_new_file(),
            7 => self.abort_without_a_data_connection(),
            8 => self.garbage_line(),
            9 => self.garbage_connection(),
            _ => self.stalled_reader(),
        }
    }

    /// Content that broke off is not stored, by hand; what was there stays.
    fn vanish_in_put(&mut self) -> Told<()> {
        let (path, content) = (self.target(), content(&mut self.dice));
        let sent = self.dice.below(content.len() + 1);
        self.peer.send(format!("put {path} {}\r\n", content.len() + 1).as_bytes())?;
        self.peer.send(&content[..sent])?;
        self.log_in_again()
    }

    /// The end of a data connection is the end of the file, so a part may be stored. The name is
    /// not used again, because the part may be stored at any later moment.
    fn vanish_in_store(&mut self) -> Told<()> {
        self.fresh += 1;
        let (path, more, way) =
            (format!("v{}", self.fresh), content(&mut self.dice), self.dice.way());
        let sent = self.dice.below(more.len() + 1);
        let node = Node::Grown { base: None, more: Arc::clone(&more) };
        self.account.world.insert(path.clone(), node);
        self.peer.begin(way, 0, &format!("STOR {path}"))?.write_all(&more[..sent]).map_err(gone)?;
        self.log_in_again()
    }

    fn vanish_in_append(&mut self) -> Told<()> {
        let top = |path: &String| !path.contains('/');
        let files: Vec<String> = self.account.files().into_iter().filter(top).collect();
        let Some(path) = self.dice.pick_any(&files) else { return self.vanish_in_store() };
        let (more, way) = (content(&mut self.dice), self.dice.way());
        let sent = self.dice.below(more.len() + 1);
        let node = Node::Grown { base: Some(self.account.content(&path)), more: Arc::clone(&more) };
        self.account.world.insert(path.clone(), node);
        self.peer.begin(way, 0, &format!("APPE {path}"))?.write_all(&more[..sent]).map_err(gone)?;
        self.log_in_again()
    }

    fn large_reader(&mut self) -> Told<Peer> {
        let mut peer = Peer::connect(self.address)?;
        self.totals.sessions.fetch_add(1, Ordering::Relaxed);
        peer.expect(&format!("login {} password", self.large), 230)?;
        Ok(peer)
    }

    fn vanish_in_download(&mut self) -> Told<()> {
        let way = self.dice.way();
        let mut peer = self.large_reader()?;
        if self.dice.below(2) == 0 {
            peer.send(b"get large\r\n")?;
            peer.hear(150, "get")?;
            peer.read_exact(100_000).map(drop)
        } else {
            let mut stream = peer.begin(way, 0, "RETR large")?;
            stream.read_exact(&mut vec![1; 100_000]).map_err(gone)
        }
    }

    /// An unfinished line is not run.
    fn vanish_in_a_line(&mut self) -> Told<()> {
        let Some(path) = self.any() else { return Ok(()) };
        self.peer.send(format!("rm -r {path}").as_bytes())?;
        self.peer.half_close()?;
        let rest = self.peer.rest()?;
        assert_eq!(String::from_utf8_lossy(&rest), "");
        self.log_in_again()
    }

    /// The old file stays.
    fn abort_over_a_file(&mut self) -> Told<()> {
        let Some(path) = self.dice.pick_any(&self.account.files()) else { return Ok(()) };
        let (content, way) = (content(&mut self.dice), self.dice.way());
        let mut stream = self.peer.begin(way, 0, &format!("STOR {path}"))?;
        stream.write_all(&content).map_err(gone)?;
        self.peer.abort()?;
        drop(stream);
        let wanted = self.account.content(&path);
        let found = self.peer.get(&path)?;
        self.check(&path, &found, &wanted);
        Ok(())
    }

    /// What came is kept under a new name, and can be gone on from.
    fn abort_a_new_file(&mut self) -> Told<()> {
        let (path, content, way) = (self.fresh_name(), content(&mut self.dice), self.dice.way());
        let sent = self.dice.below(content.len() + 1);
        let half = Node::Grown { base: None, more: Arc::clone(&content) };
        self.account.next = Some(with(&self.account.world, &path, half));
        let mut stream = self.peer.begin(way, 0, &format!("STOR {path}"))?;
        stream.write_all(&content[..sent]).map_err(gone)?;
        self.peer.abort()?;
        drop(stream);
        let size = self.peer.ask(&format!("SIZE {path}"))?;
        let kept = match size.strip_prefix("213 ") {
            Some(kept) => kept.parse::<usize>().unwrap(),
            None => {
                assert!(size.starts_with("550 "), "{size}");
                0
            }
        };
        assert!(kept <= sent, "{kept} of {sent} bytes kept");
        // Now the whole of it.
        self.peer.upload(way, kept, &format!("STOR {path}"), &content[kept..])?;
        self.totals.transfer(content.len());
        self.account.next =
            Some(with(&self.account.world, &path, Node::File(Arc::clone(&content))));
        self.done();
        let found = self.peer.get(&path)?;
        self.check(&path, &found, &content);
        Ok(())
    }

    fn abort_without_a_data_connection(&mut self) -> Told<()> {
        let path = self.target();
        self.peer.expect("EPSV", 229)?;
        self.peer.send(format!("STOR {path}\r\n").as_bytes())?;
        self.peer.abort()
    }

    fn garbage_line(&mut self) -> Told<()> {
        let length = 1 + self.dice.below(300);
        let bytes = noise(length, self.dice.next()).into_iter();
        let mut line: Vec<u8> =
            bytes.map(|byte| if matches!(byte, b'\r' | b'\n') { b'#' } else { byte }).collect();
        line.insert(0, 1);
        // BS and DEL may have erased all before it.
        line.extend_from_slice(b"#\r\n");
        self.peer.send(&line)?;
        self.peer.hear(500, "garbage").map(drop)
    }

    fn garbage_connection(&mut self) -> Told<()> {
        let mut peer = Peer::connect(self.address)?;
        self.totals.sessions.fetch_add(1, Ordering::Relaxed);
        let length = self.dice.below(40_000);
        peer.send(noise(length, self.dice.next()))?;
        peer.half_close()?;
        let rest = peer.rest()?;
        assert!(rest.is_empty() || rest.ends_with(b"\r\n"), "{}", String::from_utf8_lossy(&rest));
        Ok(())
    }

    /// A client asks for a large file and does not read it. It aborts, disconnects, or hears 426.
    fn stalled_reader(&mut self) -> Told<()> {
        let way = self.dice.way();
        let mut peer = self.large_reader()?;
        let stream = peer.begin(way, 0, "RETR large")?;
        match self.dice.below(4) {
            0 if self.patient => {
                peer.hear(426, "a stalled reader")?;
                peer.expect("NOOP", 200)?;
            }
            1 => {}
            _ => {
                peer.abort()?;
                peer.expect("NOOP", 200)?;
            }
        }
        drop(stream);
        Ok(())
    }

    /// All files of the account as the server gives them.
    fn check_all(&mut self) -> Told<()> {
        for path in self.account.files() {
            let wanted = self.account.content(&path);
            let found = self.peer.get(&path)?;
            self.check(&path, &found, &wanted);
        }
        Ok(())
    }

    fn register(&mut self) -> Told<()> {
        self.totals.sessions.fetch_add(1, Ordering::Relaxed);
        let line = format!("register {} {}", self.account.name, self.account.passwords[0]);
        self.peer.expect(&line, 230)?;
        self.account.stage = Stage::Registered;
        Ok(())
    }

    fn unregister(&mut self) -> Told<()> {
        self.account.stage = Stage::Unregistering;
        let line = format!("unregister {}", self.account.passwords[0]);
        self.peer.expect(&line, 250).map(drop)
    }

    fn leave(&mut self) -> Told<()> {
        self.peer.expect("quit", 221)?;
        self.peer.rest()?;
        Ok(())
    }
}

/// The phase that the workers are in.
struct Phase {
    address: SocketAddr,
    large: String,
    patient: bool,
    stop: AtomicBool,
    killing: AtomicBool,
}

/// The life of an account: it registers, works in several sessions, and unregisters.
fn live(phase: &Phase, totals: &Totals, name: String, seed: u64) -> (Account, Told<bool>) {
    let account = Account {
        name,
        passwords: vec!["password".to_string()],
        stage: Stage::Registering,
        world: World::new(),
        next: None,
    };
    let peer = match Peer::connect(phase.address) {
        Ok(peer) => peer,
        Err(error) => return (account, Err(error)),
    };
    let mut worker = Worker {
        address: phase.address,
        totals,
        large: &phase.large,
        patient: phase.patient,
        dice: Dice::new(seed),
        account,
        peer,
        fresh: 0,
    };
    let mut run = || {
        worker.register()?;
        for _ in 0..worker.dice.below(3) + 1 {
            for _ in 0..worker.dice.below(40) + 5 {
                if phase.stop.load(Ordering::SeqCst) {
                    break;
                }
                worker.step()?;
            }
            if worker.dice.below(2) == 0 {
                worker.leave()?;
            }
            worker.log_in_again()?;
        }
        worker.check_all()?;
        // One in four stays, to be found after the next kill.
        let stays = worker.dice.below(4) == 0;
        if !stays {
            worker.unregister()?;
        }
        worker.leave()?;
        Ok(stays)
    };
    let end = run();
    (worker.account, end)
}

/// Lives one after the other until the phase ends; returns the accounts that are still there.
fn work(phase: &Phase, totals: &Totals, worker: u64, round: u64) -> Vec<Account> {
    const KEPT: usize = 3;
    let mut kept = Vec::new();
    for n in 0.. {
        if phase.stop.load(Ordering::SeqCst) {
            break;
        }
        let seed = (round * 1000 + worker) * 1_000_000 + n;
        let (account, end) = live(phase, totals, format!("s{round}-{worker}-{n}"), seed);
        match end {
            Ok(false) => {}
            Ok(true) => kept.push(account),
            Err(why) => {
                assert!(phase.killing.load(Ordering::SeqCst), "{}: lost: {why}", account.name);
                kept.push(account);
                break;
            }
        }
        if kept.len() > KEPT {
            let account = kept.remove(0);
            if remove(phase.address, &account).is_err() {
                assert!(phase.killing.load(Ordering::SeqCst), "{}: lost", account.name);
                kept.push(Account { stage: Stage::Unregistering, ..account });
                break;
            }
        }
    }
    kept
}

fn remove(address: SocketAddr, account: &Account) -> Told<()> {
    let mut peer = Peer::connect(address)?;
    peer.expect(&format!("login {} {}", account.name, account.passwords[0]), 230)?;
    peer.expect(&format!("unregister {}", account.passwords[0]), 250).map(drop)
}

/// Holds an account against the disk and the server; then it is removed.
fn check_account(server: &Server, totals: &Totals, account: &Account) -> Told<()> {
    let name = &account.name;
    let mut peer = Peer::connect(server.address())?;
    let mut password = None;
    for candidate in &account.passwords {
        if peer.ask(&format!("login {name} {candidate}"))?.starts_with("230 ") {
            password = Some(candidate);
            break;
        }
    }
    let Some(password) = password else {
        match account.stage {
            Stage::Registered => totals.lose(&format!("the account {name}")),
            // What is left of its folder belongs to no account now.
            _ => drop(fs::remove_dir_all(server.real(name))),
        }
        return Ok(());
    };
    totals.checked.fetch_add(1, Ordering::Relaxed);
    let found = read_world(&server.real(name));
    let next = account.next.as_ref();
    if let Some(wrong) = misfit(&account.world, &found) {
        let next = next
            .map_or(Some("no command was in progress".to_string()), |next| misfit(next, &found));
        if let Some(also) = next.filter(|_| account.stage == Stage::Registered) {
            totals.lose(&format!("{name}: {wrong}; {also}"));
        }
    }
    for (path, node) in &found {
        let Node::File(content) = node else { continue };
        totals.checked.fetch_add(1, Ordering::Relaxed);
        let reply = peer.expect(&format!("XSHA256 {path}"), 250)?;
        if reply != format!("250 {}", sha256(content)) {
            totals.lose(&format!("{name}/{path} through the server: {reply}"));
        }
    }
    peer.expect(&format!("unregister {password}"), 250).map(drop)
}

fn fresh_client(server: &Server, name: &str) {
    let mut client = server.registered(name);
    assert!(client.put("f", b"fresh").starts_with("226 "));
    assert_eq!(client.get("f").unwrap(), b"fresh");
    assert_eq!(client.download(Way::Pasv, "RETR f"), b"fresh");
    client.expect("unregister password", 250);
    client.expect("quit", 221);
    client.rest();
}

/// Descriptors and threads.
fn holds(server: &Server) -> (usize, usize) {
    (server.descriptors(), server.threads())
}

/// Two threads that accept, one of them for the owner, and one that waits for a stop; no client.
const THREADS: usize = 3;

fn back_to_base(server: &Server, descriptors: usize) {
    let since = Instant::now();
    while holds(server) != (descriptors, THREADS) {
        assert!(
            since.elapsed() < PATIENCE,
            "descriptors and threads: {:?}, at first {:?}",
            holds(server),
            (descriptors, THREADS)
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Checks that the log has whole lines and tells of no panic. Then empties it, because it must not
/// fill the disk.
fn check_log(dir: &Path) {
    let log = fs::read_to_string(dir.join("log.txt")).unwrap();
    for line in log.lines() {
        assert!(line.starts_with("20") && line.contains("Z event="), "a torn line: {line}");
        assert!(!line.contains(" event=panic"), "{line}");
    }
    fs::write(dir.join("log.txt"), "").unwrap();
}

/// Runs the workers for a while, and then `end`.
fn phase(
    server: &mut Server,
    totals: &Totals,
    round: u64,
    lasts: Duration,
    patient: bool,
    kill: bool,
) -> Vec<Account> {
    let phase = Phase {
        address: server.address(),
        large: format!("large{round}"),
        patient,
        stop: AtomicBool::new(false),
        killing: AtomicBool::new(false),
    };
    let mut client = server.registered(&phase.large);
    let large = fs::File::create(server.real(&phase.large).join("large")).unwrap();
    large.set_len(LARGE).unwrap();
    let mut accounts = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let phase = &phase;
                scope.spawn(move || work(phase, totals, worker, round))
            })
            .collect();
        let since = Instant::now();
        while since.elapsed() < lasts
            && !workers.iter().any(std::thread::ScopedJoinHandle::is_finished)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        if kill {
            phase.killing.store(true, Ordering::SeqCst);
            server.kill();
        }
        phase.stop.store(true, Ordering::SeqCst);
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    if !kill {
        // What is to stay is looked at by the one who looks after the kill.
        client.expect("unregister password", 250);
        accounts.iter().for_each(|account| assert_eq!(account.stage, Stage::Registered));
    } else {
        accounts.push(Account {
            name: phase.large.clone(),
            passwords: vec!["password".to_string()],
            stage: Stage::Unregistering,
            world: World::new(),
            next: None,
        });
    }
    accounts
}

#[test]
fn a_soak_under_faults_and_kills_loses_nothing() {
    let wanted =
        std::env::var("PLAINFTPD_SOAK_SECONDS").map_or(3, |seconds| seconds.parse().unwrap());
    let long = wanted >= 20;
    let whole = Duration::from_secs(wanted);
    let dir = tempfile::tempdir().unwrap();
    let totals = Totals::default();
    let mut dice = Dice::new(wanted);
    let flags = ["--stall-timeout", STALL];
    let since = Instant::now();
    let mut kills = 0;
    let mut server = Server::in_folder(dir.path(), &flags);
    while kills == 0 || since.elapsed() < whole {
        let (descriptors, _) = holds(&server);
        let left = whole.saturating_sub(since.elapsed());
        let half = if long {
            Duration::from_millis(8000 + dice.next() % 5000).min(left / 2)
        } else {
            left / 2
        };

        // Until all have left, and nothing of them stays.
        let mut accounts = phase(&mut server, &totals, kills * 2, half, long, false);
        fresh_client(&server, &format!("fresh{kills}"));
        back_to_base(&server, descriptors);

        // Until it is killed at some moment.
        accounts.extend(phase(&mut server, &totals, kills * 2 + 1, half, long, true));
        kills += 1;
        totals.fault();
        check_log(dir.path());

        server = Server::in_folder(dir.path(), &flags);
        let (descriptors, _) = holds(&server);
        server.wait_until_swept();
        for account in &accounts {
            if let Err(why) = check_account(&server, &totals, account) {
                panic!("{}: lost: {why}", account.name);
            }
        }
        fresh_client(&server, &format!("again{kills}"));
        back_to_base(&server, descriptors);
        assert_eq!(server.homes(), [""; 0], "every account was removed");
        if wanted >= 60 {
            eprintln!("so far: {}", totals.told(since.elapsed().as_secs(), kills));
        }
    }
    check_log(dir.path());
    println!("soak: {}", totals.told(since.elapsed().as_secs(), kills));
    let enough = |number: &AtomicU64, least: u64| number.load(Ordering::Relaxed) >= least;
    assert!(enough(&totals.transfers, 100) && enough(&totals.faults, 10), "too little was tried");
    assert!(enough(&totals.checked, 10), "too little was there after the kills");
    assert_eq!(totals.losses.load(Ordering::Relaxed), 0);
}
