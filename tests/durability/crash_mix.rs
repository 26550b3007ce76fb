//! kill -9, SIGTERM and `plainftpd stop`, a hundred times, under a mix of everything that changes
//! something: all that was acknowledged is there, and of what was not, either all or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::{
    Dice, Peer, Server, Tree, copied, gone, is_below, lengths, moved, noise, read_tree, without,
};

/// How many servers are killed side by side. They are several because a round mostly waits for the
/// disk.
const SERVERS: u64 = 4;
/// The least number of rounds of one server. More follow until all servers together have tried
/// enough of everything, which is a matter of chance.
const ROUNDS: u64 = 100 / SERVERS;
const MOST_ROUNDS: u64 = 500 / SERVERS;
const WORKERS: u64 = 3;
/// More names than this a worker does not use, so that most of its changes meet something.
const NAMES: usize = 6;

/// A change that is one command.
#[derive(Debug, Clone)]
enum Change {
    Put { path: String, content: Arc<Vec<u8>> },
    Store { path: String, content: Arc<Vec<u8>> },
    Append { path: String, text: Arc<Vec<u8>> },
    AppendByData { path: String, text: Arc<Vec<u8>> },
    Restart { path: String, offset: usize, content: Arc<Vec<u8>> },
    Move { from: String, to: String },
    RenameTo { from: String, to: String },
    Copy { from: String, to: String },
    RemoveTree { path: String },
    MakeFolder { path: String },
}

impl Change {
    /// Something that can be done to `tree`.
    fn draw(tree: &Tree, dice: &mut Dice) -> Change {
        let names = |kind: fn(&Option<Arc<Vec<u8>>>) -> bool| -> Vec<&String> {
            tree.iter().filter(|(_, content)| kind(content)).map(|(path, _)| path).collect()
        };
        let (files, folders) = (names(Option::is_some), names(Option::is_none));
        let free: Vec<String> =
            (0..3).map(|n| format!("d{n}")).filter(|name| !tree.contains_key(name)).collect();
        let free: Vec<&String> = free.iter().collect();
        loop {
            // A file's name, at the top or in a folder, taken or not.
            let mut path = format!("f{}", dice.below(NAMES));
            if let Some(folder) = dice.pick_any(&folders).filter(|_| dice.below(2) == 0) {
                path = format!("{folder}/{path}");
            }
            let bound = if dice.below(4) == 0 { 100_000 } else { 6_000 };
            let length = dice.below(bound);
            let seed = dice.next();
            let content = move || Arc::new(noise(length, seed));
            let change = match dice.below(11) {
                0 | 1 => Some(Change::Put { path, content: content() }),
                2 => Some(Change::Store { path, content: content() }),
                3 => {
                    let text = format!("line {seed}").repeat(1 + length % 40) + "\n";
                    Some(Change::Append { path, text: Arc::new(text.into_bytes()) })
                }
                4 => Some(Change::AppendByData { path, text: content() }),
                5 => match (
                    dice.below(4),
                    dice.pick_any(&folders),
                    dice.pick_any(&free),
                    dice.pick_any(&files),
                ) {
                    (0, Some(from), Some(to), _) => {
                        Some(Change::Move { from: from.clone(), to: to.clone() })
                    }
                    (_, _, _, Some(from)) if *from != path => {
                        Some(Change::Move { from: from.clone(), to: path })
                    }
                    _ => None,
                },
                6 => match (
                    dice.below(4),
                    dice.pick_any(&folders),
                    dice.pick_any(&free),
                    dice.pick_any(&files),
                ) {
                    (0, Some(from), Some(to), _) => {
                        Some(Change::RenameTo { from: from.clone(), to: to.clone() })
                    }
                    (_, _, _, Some(from)) if *from != path => {
                        Some(Change::RenameTo { from: from.clone(), to: path })
                    }
                    _ => None,
                },
                7 => match (
                    dice.below(2),
                    dice.pick_any(&folders),
                    dice.pick_any(&free),
                    dice.pick_any(&files),
                ) {
                    (0, Some(from), Some(to), _) => {
                        Some(Change::Copy { from: from.clone(), to: to.clone() })
                    }
                    (_, _, _, Some(from)) if *from != path => {
                        Some(Change::Copy { from: from.clone(), to: path })
                    }
                    _ => None,
                },
                9 => dice.pick_any(&files).map(|path| {
                    let offset = dice.below(former(tree, path).len() + 1);
                    Change::Restart { path: path.clone(), offset, content: content() }
                }),
                // A folder is worth more with something in it.
                8 => dice
                    .pick_any(&folders)
                    .filter(|folder| tree.keys().filter(|path| is_below(path, folder)).count() > 1)
                    .map(|path| Change::RemoveTree { path: path.clone() }),
                _ => dice.pick_any(&free).map(|path| Change::MakeFolder { path: path.clone() }),
            };
            if let Some(change) = change {
                return change;
            }
        }
    }

    /// What becomes of `tree`.
    fn applied_to(&self, tree: &Tree) -> Tree {
        let mut after = tree.clone();
        match self {
            Change::Put { path, content } | Change::Store { path, content } => {
                after.insert(path.clone(), Some(Arc::clone(content)));
            }
            Change::Append { path, text } | Change::AppendByData { path, text } => {
                after.insert(path.clone(), Some(Arc::new([former(tree, path), text].concat())));
            }
            Change::Restart { path, offset, content } => {
                // REST 0 is a STOR as any other.
                let whole = match offset {
                    0 => content.to_vec(),
                    _ => written_over(former(tree, path), *offset, content),
                };
                after.insert(path.clone(), Some(Arc::new(whole)));
            }
            Change::Move { from, to } | Change::RenameTo { from, to } => {
                after = moved(tree, from, to);
            }
            Change::Copy { from, to } => after = copied(tree, from, to),
            Change::RemoveTree { path: folder } => {
                after = without(tree, folder);
            }
            Change::MakeFolder { path } => {
                after.insert(path.clone(), None);
            }
        }
        after
    }

    /// Whether a kill in the middle of it may leave `found`, which is neither what was before nor
    /// what was to come after: only what works in place may, and STOR under a new name. What stood
    /// before the place where the writing began is there, then what has come, and behind that what
    /// was there before.
    fn may_leave(&self, before: &Tree, found: &Tree) -> bool {
        let (path, start, came) = match self {
            Change::Store { path, content } if !before.contains_key(path) => (path, 0, content),
            Change::Append { path, text } | Change::AppendByData { path, text } => {
                (path, former(before, path).len(), text)
            }
            Change::Restart { path, offset, content } if *offset > 0 => (path, *offset, content),
            _ => return false,
        };
        let Some(Some(there)) = found.get(path) else { return false };
        let mut others = found.clone();
        match before.get(path) {
            Some(content) => others.insert(path.clone(), content.clone()),
            None => others.remove(path),
        };
        let new = there.get(start..).unwrap_or_default();
        let has_come = new.iter().zip(came.iter()).take_while(|(new, came)| new == came).count();
        let begun = **there == written_over(former(before, path), start, &came[..has_come]);
        others == *before && begun
    }

    fn kind(&self, before: &Tree) -> &'static str {
        let is_folder = |path: &String| before[path].is_none();
        match self {
            Change::Put { path, .. } if before.contains_key(path) => "put over",
            Change::Put { .. } => "put",
            Change::Store { path, .. } if before.contains_key(path) => "STOR over",
            Change::Store { .. } => "STOR",
            Change::Append { .. } => "append",
            Change::AppendByData { .. } => "APPE",
            Change::Restart { .. } => "REST and STOR",
            Change::Move { from, .. } if is_folder(from) => "mv of a folder",
            Change::Move { to, .. } if before.contains_key(to) => "mv over",
            Change::Move { .. } => "mv",
            Change::RenameTo { to, .. } if before.contains_key(to) => "RNTO over",
            Change::RenameTo { .. } => "RNTO",
            Change::Copy { from, .. } if is_folder(from) => "cp of a folder",
            Change::Copy { to, .. } if before.contains_key(to) => "cp over",
            Change::Copy { .. } => "cp",
            Change::RemoveTree { .. } => "rm -r",
            Change::MakeFolder { .. } => "mkdir",
        }
    }

    /// Does it at the server, whose answer must be that it is done.
    fn make(&self, typist: &mut Typist<'_>) -> io::Result<()> {
        match self {
            Change::Put { path, content } => {
                typist.line(&format!("put {path} {}", content.len()))?;
                typist.content(content)?;
                typist.reply(150)?;
                typist.reply(226).map(drop)
            }
            Change::Store { path, content } => typist.upload(&format!("STOR {path}"), content),
            Change::Append { path, text } => {
                typist
                    .line(&format!("append {path} {}", String::from_utf8_lossy(text).trim_end()))?;
                typist.reply(150)?;
                typist.reply(226).map(drop)
            }
            Change::AppendByData { path, text } => typist.upload(&format!("APPE {path}"), text),
            Change::Restart { path, offset, content } => {
                typist.ask(&format!("REST {offset}"), 350)?;
                typist.upload(&format!("STOR {path}"), content)
            }
            Change::Move { from, to } => typist.ask(&format!("mv -f {from} {to}"), 250),
            Change::RenameTo { from, to } => {
                typist.ask(&format!("RNFR {from}"), 350)?;
                typist.ask(&format!("RNTO {to}"), 250)
            }
            Change::Copy { from, to } => typist.ask(&format!("cp -f {from} {to}"), 250),
            Change::RemoveTree { path } => typist.ask(&format!("rm -r {path}"), 250),
            Change::MakeFolder { path } => typist.ask(&format!("mkdir {path}"), 257),
        }
    }
}

fn former<'t>(tree: &'t Tree, path: &str) -> &'t [u8] {
    tree.get(path).and_then(Option::as_ref).map_or(&[], |content| content)
}

/// `former` with `new` from `offset` on.
fn written_over(former: &[u8], offset: usize, new: &[u8]) -> Vec<u8> {
    let rest = former.get(offset + new.len()..).unwrap_or_default();
    [&former[..offset], new, rest].concat()
}

/// Counts what the clients have got done, step by step, and kills the server at the step that the
/// round has drawn: in the middle of what that client does, and wherever the others are.
struct Fate {
    steps: AtomicUsize,
    last: usize,
    server: Mutex<Server>,
    ending: Ending,
    /// Only the steps of this kind of client count, if it is one. Accounts change more slowly than
    /// files, as slowly as the disk syncs: most rounds would end before many have changed.
    only: Option<Doing>,
}

/// How the server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Kill,
    Terminate,
    /// At once, so that transfers break off.
    Stop,
}

/// What a client of the test does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Files,
    Accounts,
}

impl Fate {
    fn step(&self, doing: Doing) {
        if self.only.is_some_and(|only| only != doing) {
            return;
        }
        if self.steps.fetch_add(1, Ordering::SeqCst) + 1 == self.last {
            let mut server = self.server.lock().unwrap();
            match self.ending {
                Ending::Kill => server.kill(),
                Ending::Terminate => server.terminate(),
                Ending::Stop => stop(&mut server),
            }
        }
    }
}

fn stop(server: &mut Server) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plainftpd"));
    command.args(["stop", "--wait", "0", "--dir"]).arg(server.dir());
    assert!(command.status().unwrap().success());
    assert_eq!(server.exit_code(), Some(0));
    assert!(server.log().ends_with("Z event=stop\n"), "{}", server.log());
    assert!(!server.dir().join("control").exists());
}

/// A client that takes the end of the server as an error, and any other answer than the wanted one
/// as a failure of the test.
struct Typist<'f> {
    peer: Peer,
    fate: &'f Fate,
    doing: Doing,
}

impl Typist<'_> {
    fn new(address: SocketAddr, fate: &Fate, doing: Doing) -> io::Result<Typist<'_>> {
        let mut typist = Typist { peer: Peer::to(address)?, fate, doing };
        typist.reply(220)?;
        Ok(typist)
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        self.peer.send_line(line)?;
        self.fate.step(self.doing);
        Ok(())
    }

    fn content(&mut self, content: &[u8]) -> io::Result<()> {
        let mut stream = self.peer.stream();
        write_by_halves(&mut stream, content, self.fate)
    }

    fn reply(&mut self, code: u16) -> io::Result<String> {
        let reply = self.peer.reply()?;
        if reply.starts_with("421 The server stops") {
            return Err(io::Error::other(reply));
        }
        assert!(reply.starts_with(&code.to_string()), "wanted {code}, heard {reply}");
        self.fate.step(self.doing);
        Ok(reply)
    }

    fn ask(&mut self, line: &str, code: u16) -> io::Result<()> {
        self.line(line)?;
        self.reply(code).map(drop)
    }

    fn upload(&mut self, line: &str, content: &[u8]) -> io::Result<()> {
        self.line("EPSV")?;
        let port = self.reply(229)?.split('|').nth(3).unwrap().parse().unwrap();
        let mut data = self.peer.connect_to(port)?;
        self.ask(line, 150)?;
        write_by_halves(&mut data, content, self.fate)?;
        drop(data);
        self.reply(226).map(drop)
    }
}

fn write_by_halves(stream: &mut impl Write, content: &[u8], fate: &Fate) -> io::Result<()> {
    let (one, two) = content.split_at(content.len() / 2);
    stream.write_all(one).map_err(gone)?;
    fate.step(Doing::Files);
    stream.write_all(two).map_err(gone)?;
    fate.step(Doing::Files);
    Ok(())
}

/// What a worker got done.
struct Worked {
    account: String,
    /// Whether registering was acknowledged.
    registered: bool,
    before: Tree,
    pending: Option<Change>,
    done: Vec<&'static str>,
}

fn work(address: SocketAddr, fate: &Fate, account: String, mut dice: Dice) -> Worked {
    let mut worked =
        Worked { account, registered: false, before: Tree::new(), pending: None, done: Vec::new() };
    let line = format!("register {} password", worked.account);
    let typist = Typist::new(address, fate, Doing::Files)
        .and_then(|mut typist| typist.ask(&line, 230).map(|()| typist));
    let Ok(mut typist) = typist else { return worked };
    worked.registered = true;
    loop {
        let change = worked.pending.insert(Change::draw(&worked.before, &mut dice));
        if change.make(&mut typist).is_err() {
            return worked;
        }
        worked.done.push(change.kind(&worked.before));
        worked.before = change.applied_to(&worked.before);
        worked.pending = None;
    }
}

/// Names with the passwords one of which must log in, and the name whose account may be there.
#[derive(Default)]
struct Enrolled {
    accounts: Vec<(String, Vec<String>)>,
    registering: Option<String>,
    unregistered: Vec<String>,
    /// The account that may or may not be there any more, with its password.
    unregistering: Option<(String, String)>,
    changes: usize,
}

/// Registers, and changes the new account's password or removes it once in a while.
fn enrol(address: SocketAddr, fate: &Fate, round: u64, mut dice: Dice) -> Enrolled {
    let mut enrolled = Enrolled::default();
    let _ = Typist::new(address, fate, Doing::Accounts).and_then(|mut typist| {
        for n in 0.. {
            let name = format!("r{round}-{n}");
            enrolled.registering = Some(name.clone());
            typist.ask(&format!("register {name} first"), 230)?;
            enrolled.registering = None;
            enrolled.accounts.push((name, vec!["first".to_string()]));
            for change in 0..dice.below(3) {
                let (_, passwords) = enrolled.accounts.last_mut().unwrap();
                let (old, new) = (passwords[0].clone(), format!("changed{change}"));
                passwords.push(new.clone());
                typist.ask(&format!("passwd {old} {new}"), 200)?;
                // Now it is the only one.
                passwords.remove(0);
                enrolled.changes += 1;
            }
            if dice.below(4) == 0 {
                typist.ask("mkdir d", 257)?;
                let (name, mut passwords) = enrolled.accounts.pop().unwrap();
                let line = format!("unregister {}", passwords[0]);
                enrolled.unregistering = Some((name.clone(), passwords.remove(0)));
                typist.ask(&line, 250)?;
                enrolled.unregistering = None;
                enrolled.unregistered.push(name);
            }
        }
        Ok(())
    });
    enrolled
}

/// The names in the users file, each of whose lines must be whole.
fn names_in(users: &str) -> BTreeSet<String> {
    assert!(users.ends_with('\n'), "a torn end: {users}");
    let mut names = BTreeSet::new();
    for line in users.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.split(':').collect();
        let [name, "user", "-", hash] = fields[..] else { panic!("no line of an account: {line}") };
        let hash: Vec<_> = hash.split('$').collect();
        let ["pbkdf2-sha256", "1", salt, key] = hash[..] else { panic!("no hash: {line}") };
        assert!(salt.len() >= 16 && key.len() == 64, "a short hash: {line}");
        assert!(names.insert(name.to_string()), "twice: {line}");
    }
    names
}

/// A line that a kill tore stands alone, the next thing being that the server started.
fn check_log(log: &str, rounds: u64) {
    let lines: Vec<_> = log.lines().collect();
    let is_whole = |line: &str| {
        line.starts_with("20") && line.get(23..).is_some_and(|l| l.starts_with("Z event="))
    };
    let mut torn = 0;
    for pair in lines.windows(2) {
        if !is_whole(pair[0]) {
            assert!(
                is_whole(pair[1]) && pair[1].contains(" event=start "),
                "torn in the middle: {pair:?}"
            );
            torn += 1;
        }
    }
    assert!(lines.last().is_some_and(|line| is_whole(line)) && log.ends_with('\n'), "a torn end");
    assert_eq!(log.matches(" event=start ").count() as u64, rounds + 1);
    assert!(torn <= rounds);
}

/// What rounds have shown: one, or all together.
#[derive(Default)]
struct Tally {
    done: BTreeMap<&'static str, usize>,
    /// Cut off by a kill: left undone, done all the same, and begun.
    cut_off: BTreeMap<&'static str, [usize; 3]>,
    registered: usize,
    changed: usize,
    /// A change of password was cut off: the old one holds, the new one does.
    passwords_cut_off: [usize; 2],
    unregistered: usize,
    /// Removing an account was cut off: it is there, or gone, perhaps but for its folder.
    unregistering_cut_off: [usize; 2],
}

/// Accounts and files of a server's former rounds, a few of all, that must stay as they are.
#[derive(Default)]
struct Kept {
    files: Vec<(String, Tree)>,
    accounts: Vec<(String, String)>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        for (kind, times) in other.done {
            *self.done.entry(kind).or_default() += times;
        }
        for (kind, times) in other.cut_off {
            add_each(self.cut_off.entry(kind).or_default(), times);
        }
        self.registered += other.registered;
        self.changed += other.changed;
        self.unregistered += other.unregistered;
        add_each(&mut self.passwords_cut_off, other.passwords_cut_off);
        add_each(&mut self.unregistering_cut_off, other.unregistering_cut_off);
    }

    fn check_worker(
        &mut self,
        server: &Server,
        names: &BTreeSet<String>,
        worked: Worked,
        kept: Option<&mut Kept>,
    ) {
        for kind in worked.done {
            *self.done.entry(kind).or_default() += 1;
        }
        let folder = server.real(&worked.account);
        if !worked.registered {
            assert!(!folder.exists() || read_tree(&folder).is_empty());
            return;
        }
        assert!(names.contains(&worked.account), "{} is lost", worked.account);
        let found = read_tree(&folder);
        let before = &worked.before;
        if let Some(change) = &worked.pending {
            let outcome = if found == *before {
                0
            } else if found == change.applied_to(before) {
                1
            } else if change.may_leave(before, &found) {
                2
            } else {
                panic!(
                    "{}: {} left something else.\nbefore: {:?}\nafter: {:?}\nfound: {:?}",
                    worked.account,
                    change.kind(before),
                    lengths(before),
                    lengths(&change.applied_to(before)),
                    lengths(&found)
                );
            };
            self.cut_off.entry(change.kind(before)).or_default()[outcome] += 1;
        } else {
            assert!(
                found == *before,
                "{}: {:?} {:?}",
                worked.account,
                lengths(before),
                lengths(&found)
            );
        }
        match kept {
            Some(kept) => kept.files.push((worked.account, found)),
            None => fs::remove_dir_all(folder).unwrap(),
        }
    }

    fn check_enrolled(
        &mut self,
        server: &Server,
        names: &BTreeSet<String>,
        enrolled: Enrolled,
        kept: &mut Kept,
    ) {
        self.changed += enrolled.changes;
        let mut client = server.connect();
        for (name, passwords) in enrolled.accounts {
            self.registered += 1;
            let works: Vec<_> = passwords
                .iter()
                .map(|password| client.ask(&format!("login {name} {password}")).starts_with("230 "))
                .collect();
            let holds = works.iter().position(|works| *works);
            let holds =
                holds.unwrap_or_else(|| panic!("{name} cannot log in with any of {passwords:?}"));
            if passwords.len() > 1 {
                assert!(works != [true, true], "{name}: both passwords hold");
                self.passwords_cut_off[holds] += 1;
            }
            kept.accounts.push((name, passwords[holds].clone()));
        }
        for name in enrolled.unregistered {
            self.registered += 1;
            self.unregistered += 1;
            assert!(
                !names.contains(&name) && !server.real(&name).exists(),
                "{name} is there again"
            );
        }
        if let Some((name, password)) = enrolled.unregistering {
            if names.contains(&name) {
                client.expect(&format!("login {name} {password}"), 230);
                client.expect("rmdir d", 250);
                self.unregistering_cut_off[0] += 1;
                kept.accounts.push((name, password));
            } else {
                // No account gets what is left of it until the owner has looked at it.
                let code = if server.real(&name).exists() { 553 } else { 230 };
                client.expect(&format!("register {name} password"), code);
                self.unregistering_cut_off[1] += 1;
            }
        }
        if let Some(name) = enrolled.registering.filter(|name| names.contains(name)) {
            client.expect(&format!("login {name} first"), 230);
        }
    }

    /// What was tried too seldom, if anything.
    fn lacks(&self) -> Option<String> {
        const KINDS: [&str; 17] = [
            "put",
            "put over",
            "STOR",
            "STOR over",
            "append",
            "APPE",
            "REST and STOR",
            "mv",
            "mv over",
            "mv of a folder",
            "RNTO",
            "RNTO over",
            "cp",
            "cp over",
            "cp of a folder",
            "rm -r",
            "mkdir",
        ];
        let done = |kind: &str| self.done.get(kind).copied().unwrap_or(0);
        let tried = KINDS.map(|kind| (kind, done(kind), 20));
        let accounts = [
            ("register", self.registered, 100),
            ("passwd", self.changed, 50),
            ("unregister", self.unregistered, 10),
        ];
        let mut all = tried.into_iter().chain(accounts);
        all.find(|(_, done, least)| done < least)
            .map(|(kind, done, least)| format!("{kind}: {done} of {least}"))
    }
}

impl Kept {
    /// A sample of what was there before.
    fn check(&self, server: &Server, names: &BTreeSet<String>, dice: &mut Dice) {
        for (name, _) in &self.accounts {
            assert!(names.contains(name), "{name} is lost");
        }
        let mut client = server.connect();
        for _ in 0..3.min(self.accounts.len()) {
            let (name, password) = &self.accounts[dice.below(self.accounts.len())];
            client.expect(&format!("login {name} {password}"), 230);
        }
        if !self.files.is_empty() {
            let (name, tree) = &self.files[dice.below(self.files.len())];
            assert!(read_tree(&server.real(name)) == *tree, "{name} has changed");
        }
    }
}

fn add_each<const N: usize>(sums: &mut [usize; N], others: [usize; N]) {
    sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
}

#[test]
fn a_hundred_kills_leave_every_change_done_or_undone() {
    let tally = Mutex::new(Tally::default());
    let rounds: u64 = std::thread::scope(|scope| {
        let tally = &tally;
        let servers: Vec<_> =
            (0..SERVERS).map(|n| scope.spawn(move || kill_again_and_again(4 + n, tally))).collect();
        servers.into_iter().map(|server| server.join().unwrap()).sum()
    });
    let tally = tally.into_inner().unwrap();
    println!("done: {:?}\ncut off: {:?}", tally.done, tally.cut_off);
    println!("accounts: {}, changed: {}", tally.registered, tally.changed);
    println!("changes of passwords cut off: {:?}", tally.passwords_cut_off);
    println!("unregistered: {}, cut off: {:?}", tally.unregistered, tally.unregistering_cut_off);
    assert_eq!(tally.lacks(), None, "too little was tried in {rounds} rounds");
    // The kills came in the middle of things, and not only of uploads.
    let cut_off: usize = tally.cut_off.values().flatten().sum();
    assert!(cut_off >= 100 && tally.cut_off.len() >= 10, "{:?}", tally.cut_off);
}

/// Kills one server in each of its rounds, and checks what is left. How many rounds there were.
fn kill_again_and_again(seed: u64, all: &Mutex<Tally>) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let mut dice = Dice::new(seed);
    let mut kept = Kept::default();
    let mut server = Server::in_folder(dir.path(), &[]);
    let mut rounds = 0;
    while rounds < ROUNDS || (all.lock().unwrap().lacks().is_some() && rounds < MOST_ROUNDS) {
        let round = rounds;
        rounds += 1;
        let address = server.address();
        let (only, most) = if round % 4 == 3 { (Some(Doing::Accounts), 60) } else { (None, 400) };
        let last = 1 + dice.below(most);
        let ending = match round % 6 {
            1 | 4 => Ending::Terminate,
            2 => Ending::Stop,
            _ => Ending::Kill,
        };
        let steps = AtomicUsize::new(0);
        let fate = Fate { steps, last, server: Mutex::new(server), ending, only };
        let (worked, enrolled) = std::thread::scope(|scope| {
            let fate = &fate;
            let workers: Vec<_> = (0..WORKERS)
                .map(|worker| {
                    let seed = Dice::new(dice.next());
                    scope.spawn(move || work(address, fate, format!("w{round}-{worker}"), seed))
                })
                .collect();
            let seed = Dice::new(dice.next());
            let enroller = scope.spawn(move || enrol(address, fate, round, seed));
            let worked: Vec<_> = workers.into_iter().map(|thread| thread.join().unwrap()).collect();
            (worked, enroller.join().unwrap())
        });
        drop(fate);

        let flags = if round % 10 == 0 { &["--sync"][..] } else { &[] };
        server = Server::in_folder(dir.path(), flags);
        server.wait_until_swept();
        let mut there: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        there.sort();
        assert_eq!(there, ["control", "log.txt", "users", "workdir"], "round {round}");
        let names = names_in(&server.users());
        kept.check(&server, &names, &mut dice);
        let mut tally = Tally::default();
        for (n, worked) in worked.into_iter().enumerate() {
            let keeper = (n == 0 && round % 10 == 0).then_some(&mut kept);
            tally.check_worker(&server, &names, worked, keeper);
        }
        tally.check_enrolled(&server, &names, enrolled, &mut kept);
        all.lock().unwrap().add(tally);
    }
    for (name, tree) in &kept.files {
        assert!(read_tree(&server.real(name)) == *tree, "{name} has changed");
    }
    check_log(&server.log(), rounds);
    assert!(!server.log().contains("event=warning") && !server.log().contains("event=panic"));
    rounds
}
