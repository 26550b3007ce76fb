//! The sessions in progress: who the clients are, what they do, and how the server ends a session.
//!
//! A session is ended by a mark that its own thread meets: before its next command, or, if it must
//! end now, at the next tick of its transfer. A session that waits for its client is woken: the
//! server ends the reading half of its connection, so it can still say why it leaves.

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::RangeBounds;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::lock::lock;

/// How long a session that must end now may take to notice it, before its connection is closed.
const NOTICE: Duration = Duration::from_secs(1);

/// The size of the buffer for a path that an idle session keeps, in bytes.
const KEPT: usize = 64;

/// The sessions in progress.
#[derive(Debug, Default)]
pub struct Sessions {
    all: Mutex<All>,
    /// A session has ended, or the server must stop.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct All {
    by_number: BTreeMap<u64, Arc<Mutex<Activity>>>,
    /// By when the server must stop.
    stop_by: Option<Instant>,
    /// The mark of the sessions that begin from now on.
    mark: Option<Mark>,
}

impl All {
    /// Marks each session that the mark is for, also those that begin from now on.
    fn mark(&mut self, mark: Mark) {
        self.mark = Some(mark);
        for activity in self.by_number.values() {
            let mut activity = lock(activity);
            if mark.is_for(activity.door) {
                activity.mark(mark);
            }
        }
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

impl Mark {
    /// The owner can look on until the last moment.
    fn is_for(&self, door: Door) -> bool {
        door == Door::Public || self.now
    }
}

/// What a session does, and whether it must end.
#[derive(Debug)]
pub struct Activity {
    door: Door,
    pub peer: SocketAddr,
    stream: Arc<TcpStream>,
    /// The account that the client is logged in to.
    pub account: Option<String>,
    /// The word of the command in progress; `None` if the session waits for one.
    pub word: Option<&'static str>,
    /// The path of that command, if it has one.
    pub path: Vec<u8>,
    mark: Option<Mark>,
}

impl Activity {
    fn mark(&mut self, mark: Mark) {
        self.mark = Some(mark);
        if mark.now || self.word.is_none() {
            let _ = self.stream.shutdown(Shutdown::Read); // wakes the thread
        }
    }
}

impl Sessions {
    /// Adds a session. It is in the list until the returned value is dropped.
    pub fn add(
        self: &Arc<Sessions>,
        session: u64,
        door: Door,
        peer: SocketAddr,
        stream: Arc<TcpStream>,
    ) -> Presence {
        let mut all = lock(&self.all);
        let mark = all.mark.filter(|mark| mark.is_for(door));
        let (account, word, path) = (None, None, Vec::new());
        let activity = Activity { door, peer, stream, account, word, path, mark };
        let activity = Arc::new(Mutex::new(activity));
        all.by_number.insert(session, Arc::clone(&activity));
        Presence { sessions: Arc::clone(self), session, activity }
    }

    /// Describes each client's session, by its number.
    pub fn list<T>(&self, describe: impl Fn(u64, &Activity) -> T) -> Vec<T> {
        let all = lock(&self.all);
        let describe = |(session, activity): (&u64, &Arc<Mutex<Activity>>)| {
            let activity = lock(activity);
            (activity.door == Door::Public).then(|| describe(*session, &activity))
        };
        all.by_number.iter().filter_map(describe).collect()
    }

    /// Ends a client's session, also its transfer. The client gets `why`. Waits up to two seconds
    /// for the end, and returns whether it has come. `None` means that there is no such session.
    pub fn end(&self, session: u64, why: &'static str) -> Option<bool> {
        let activity = lock(&self.all).by_number.get(&session).cloned()?;
        let mut activity = lock(&activity);
        if activity.door == Door::Owner {
            return None;
        }
        activity.mark(Mark { why, now: true });
        drop(activity);
        Some(self.wait_for_end(session..=session))
    }

    /// Makes the server stop. Its clients' transfers may go on for `wait`. A later request may
    /// shorten that.
    pub fn request_stop(&self, wait: Duration) {
        let by = Instant::now() + wait;
        let mut all = lock(&self.all);
        all.stop_by = Some(all.stop_by.map_or(by, |earlier| earlier.min(by)));
        self.changed.notify_all();
    }

    /// Waits for a request to stop, and then ends all sessions: idle ones at once, the others after
    /// their command, but when the time is over at the latest. Their clients get `why`. The
    /// sessions of the owner end after those of the clients. Returns when all have ended, or two
    /// seconds after the time.
    pub fn run_until_stopped(&self, why: &'static str) {
        let is_running = |all: &mut All| all.stop_by.is_none();
        let stopping = self.changed.wait_while(lock(&self.all), is_running);
        let mut all = stopping.unwrap_or_else(PoisonError::into_inner);
        all.mark(Mark { why, now: false });
        let left = |all: &All| all.stop_by?.checked_duration_since(Instant::now());
        while let Some(left) = left(&all) {
            if all.by_number.values().all(|activity| lock(activity).door == Door::Owner) {
                break;
            }
            let waited = self.changed.wait_timeout(all, left);
            all = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        all.mark(Mark { why, now: true });
        drop(all);
        self.wait_for_end(..);
    }

    /// Waits until the sessions with these numbers have ended. Closes their connections if that
    /// takes long. Returns whether they have ended within two seconds.
    fn wait_for_end(&self, numbers: impl RangeBounds<u64> + Clone) -> bool {
        let last = |all: &mut All| all.by_number.range(numbers.clone()).next().is_some();
        for _ in 0..2 {
            let waited = self.changed.wait_timeout_while(lock(&self.all), NOTICE, last);
            let (all, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            if !waited.timed_out() {
                return true;
            }
            for activity in all.by_number.range(numbers.clone()).map(|(_, activity)| activity) {
                let _ = lock(activity).stream.shutdown(Shutdown::Both);
            }
        }
        false
    }
}

/// A session's place in the list of sessions.
#[derive(Debug)]
pub struct Presence {
    sessions: Arc<Sessions>,
    session: u64,
    activity: Arc<Mutex<Activity>>,
}

impl Presence {
    /// Notes that a command begins. If the session must end, fails and says why.
    pub fn begin(&self, word: &'static str) -> Result<(), &'static str> {
        let mut activity = lock(&self.activity);
        if let Some(mark) = activity.mark {
            return Err(mark.why);
        }
        activity.word = Some(word);
        Ok(())
    }

    /// Notes the path of the command in progress.
    pub fn set_path(&self, path: &[u8]) {
        let mut activity = lock(&self.activity);
        activity.path.clear();
        activity.path.extend_from_slice(path);
    }

    /// Notes that the command has ended. If the session must end, returns why.
    pub fn finish(&self) -> Option<&'static str> {
        let mut activity = lock(&self.activity);
        activity.word = None;
        // An idle session keeps no long path.
        activity.path.clear();
        activity.path.shrink_to(KEPT);
        activity.mark.map(|mark| mark.why)
    }

    /// Notes the account that the client is logged in to.
    pub fn set_account(&self, account: Option<&str>) {
        lock(&self.activity).account = account.map(str::to_string);
    }

    /// Why the session must end, if it must.
    pub fn why_ending(&self) -> Option<&'static str> {
        lock(&self.activity).mark.map(|mark| mark.why)
    }

    /// Why the command in progress must end, if it must.
    pub fn why_now(&self) -> Option<&'static str> {
        lock(&self.activity).mark.filter(|mark| mark.now).map(|mark| mark.why)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        lock(&self.sessions.all).by_number.remove(&self.session);
        self.sessions.changed.notify_all();
    }
}
