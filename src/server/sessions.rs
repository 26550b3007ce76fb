//! The sessions in progress: who the clients are, what they do, and how the server ends a session.
//!
//! A session is ended by a mark that its own thread meets: before its next command, or, if it must
//! end now, at the next tick of its transfer. A session that waits for a command is woken: the
//! server ends the reading half of its connection, so it can still say why it leaves.

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::lock::lock;

/// How long a session that must end now may take to notice it, before its connection is closed.
const NOTICE: Duration = Duration::from_secs(1);

/// The size of the buffer for a path that an idle session keeps, in bytes.
const KEPT: usize = 64;

/// The sessions in progress.
#[derive(Debug, Default)]
pub struct Sessions {
    entries: Mutex<Entries>,
    /// A session has ended, or the server must stop.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Entries {
    by_number: BTreeMap<u64, Arc<Entry>>,
    /// By when the server must stop.
    stop_by: Option<Instant>,
    /// The mark of the clients' sessions that begin from now on.
    mark: Option<Mark>,
}

impl Entries {
    /// Marks all sessions of this door, also those that begin from now on.
    fn mark(&mut self, door: Door, mark: Mark) {
        if door == Door::Public {
            self.mark = Some(mark);
        }
        self.at(door).for_each(|entry| entry.mark(mark));
    }

    fn at(&self, door: Door) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_number.values().filter(move |entry| entry.door == door)
    }
}

/// The listener that the client has connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// One of `--listen`.
    Public,
    /// The owner's, on loopback.
    Owner,
}

/// That a session must end, and the reason, which its client gets.
#[derive(Debug, Clone, Copy)]
struct Mark {
    why: &'static str,
    /// Whether the command in progress must end too.
    now: bool,
}

#[derive(Debug)]
struct Entry {
    door: Door,
    peer: SocketAddr,
    stream: Arc<TcpStream>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    account: Option<String>,
    /// The word of the command in progress; `None` if the session waits for one.
    word: Option<&'static str>,
    /// The path of that command, if it has one.
    path: Vec<u8>,
    mark: Option<Mark>,
}

/// What a session does.
#[derive(Debug)]
pub struct Activity {
    pub session: u64,
    pub peer: SocketAddr,
    /// The account that the client is logged in to.
    pub account: Option<String>,
    /// The word of the command in progress, and its path, which is empty if it has none.
    pub command: Option<(&'static str, Vec<u8>)>,
}

impl Sessions {
    /// Adds a session. It is in the list until the returned value is dropped.
    pub fn add(
        self: &Arc<Sessions>,
        session: u64,
        door: Door,
        peer: SocketAddr,
        stream: &Arc<TcpStream>,
    ) -> Presence {
        let mut entries = self.entries();
        let mark = entries.mark.filter(|_| door == Door::Public);
        let state = Mutex::new(State { mark, ..State::default() });
        let entry = Arc::new(Entry { door, peer, stream: Arc::clone(stream), state });
        entries.by_number.insert(session, Arc::clone(&entry));
        Presence { sessions: Arc::clone(self), session, entry }
    }

    /// What each client's session does, by the number of the session.
    pub fn list(&self) -> Vec<Activity> {
        let of = |(session, entry): (&u64, &Arc<Entry>)| {
            let state = lock(&entry.state);
            let command = state.word.map(|word| (word, state.path.clone()));
            Activity {
                session: *session,
                peer: entry.peer,
                account: state.account.clone(),
                command,
            }
        };
        let entries = self.entries();
        let clients = entries.by_number.iter().filter(|(_, entry)| entry.door == Door::Public);
        clients.map(of).collect()
    }

    /// Ends a client's session, also its transfer. The client gets `why`. Waits up to two seconds
    /// for the end, and returns whether it has come. `None` means that there is no such session.
    pub fn end(&self, session: u64, why: &'static str) -> Option<bool> {
        let entry = self.entries().by_number.get(&session).cloned();
        let entry = entry.filter(|entry| entry.door == Door::Public)?;
        let is_gone = |entries: &Entries| !entries.by_number.contains_key(&session);
        entry.mark(Mark { why, now: true });
        let has_noticed = self.wait_until(NOTICE, is_gone);
        if !has_noticed {
            entry.close();
        }
        Some(has_noticed || self.wait_until(NOTICE, is_gone))
    }

    /// Makes the server stop. Its clients' transfers may go on for `wait`. A later request may
    /// shorten that.
    pub fn request_stop(&self, wait: Duration) {
        let by = Instant::now() + wait;
        let mut entries = self.entries();
        entries.stop_by = Some(entries.stop_by.map_or(by, |earlier| earlier.min(by)));
        drop(entries);
        self.changed.notify_all();
    }

    /// Waits for a request to stop, and then ends all sessions: idle ones at once, the others after
    /// their command, but when the time is over at the latest. Their clients get `why`. The
    /// sessions of the owner end after those of the clients. Returns when all have ended, or two
    /// seconds after the time.
    pub fn run_until_stopped(&self, why: &'static str) {
        let is_running = |entries: &mut Entries| entries.stop_by.is_none();
        let mut entries = self
            .changed
            .wait_while(self.entries(), is_running)
            .unwrap_or_else(PoisonError::into_inner);
        entries.mark(Door::Public, Mark { why, now: false });
        while let Some(left) =
            entries.stop_by.and_then(|by| by.checked_duration_since(Instant::now()))
        {
            if left.is_zero() || entries.at(Door::Public).next().is_none() {
                break;
            }
            let waited = self.changed.wait_timeout(entries, left);
            entries = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        for door in [Door::Public, Door::Owner] {
            entries.mark(door, Mark { why, now: true });
        }
        drop(entries);
        let is_empty = |entries: &Entries| entries.by_number.is_empty();
        if !self.wait_until(NOTICE, is_empty) {
            self.entries().by_number.values().for_each(|entry| entry.close());
            self.wait_until(NOTICE, is_empty);
        }
    }

    /// Waits until `is_done`, and returns whether it was so within `most`.
    fn wait_until(&self, most: Duration, is_done: impl Fn(&Entries) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.entries(), most, |all| !is_done(all));
        is_done(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        lock(&self.entries)
    }
}

impl Entry {
    fn mark(&self, mark: Mark) {
        let mut state = lock(&self.state);
        state.mark = Some(mark);
        if state.word.is_none() {
            let _ = self.stream.shutdown(Shutdown::Read); // wakes the thread
        }
    }

    fn close(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// A session's place in the list of sessions.
#[derive(Debug)]
pub struct Presence {
    sessions: Arc<Sessions>,
    session: u64,
    entry: Arc<Entry>,
}

impl Presence {
    /// Notes that a command begins. If the session must end, fails and says why.
    pub fn begin(&self, word: &'static str) -> Result<(), &'static str> {
        let mut state = lock(&self.entry.state);
        match state.mark {
            Some(mark) => Err(mark.why),
            None => {
                state.word = Some(word);
                Ok(())
            }
        }
    }

    /// Notes the path of the command in progress.
    pub fn set_path(&self, path: &[u8]) {
        let mut state = lock(&self.entry.state);
        state.path.clear();
        state.path.extend_from_slice(path);
    }

    /// Notes that the command has ended. If the session must end, returns why.
    pub fn finish(&self) -> Option<&'static str> {
        let mut state = lock(&self.entry.state);
        state.word = None;
        // An idle session keeps no long path.
        state.path.clear();
        state.path.shrink_to(KEPT);
        state.mark.map(|mark| mark.why)
    }

    /// Notes the account that the client is logged in to.
    pub fn set_account(&self, account: Option<&str>) {
        lock(&self.entry.state).account = account.map(str::to_string);
    }

    /// Why the session must end, if it must.
    pub fn why_ending(&self) -> Option<&'static str> {
        lock(&self.entry.state).mark.map(|mark| mark.why)
    }

    /// What a transfer asks in order to end in time.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.entry))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.sessions.entries().by_number.remove(&self.session);
        self.sessions.changed.notify_all();
    }
}

/// Says whether a command in progress must end.
#[derive(Debug)]
pub struct Watch(Arc<Entry>);

impl Watch {
    /// Why the command must end now, if it must.
    pub fn why_now(&self) -> Option<&'static str> {
        lock(&self.0.state).mark.filter(|mark| mark.now).map(|mark| mark.why)
    }
}
