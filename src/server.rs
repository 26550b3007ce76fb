//! What all sessions share: the settings, the log, the accounts, the working directory, and who is
//! connected.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::config::Config;
use crate::log::Log;
use crate::users::Users;
use crate::vfs::Store;

/// The state that lives as long as the server does.
#[derive(Debug)]
pub struct Server {
    /// What the owner set.
    pub config: Config,
    /// The log.
    pub log: Arc<Log>,
    /// The accounts.
    pub users: Users,
    /// The users' folders.
    pub store: Arc<Store>,
    /// Where all of it is, for the owner's eyes.
    pub dir: PathBuf,
    clients: AtomicUsize,
    sessions: AtomicU64,
}

/// Why the server cannot start, in one line for its owner.
#[derive(Debug)]
pub struct CannotStart(String);

impl fmt::Display for CannotStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl CannotStart {
    /// `what` failed with `error`.
    pub fn new(what: impl fmt::Display, error: &io::Error) -> CannotStart {
        CannotStart(format!("{what}: {error}"))
    }
}

impl Server {
    /// Opens everything in the configured folder, which must exist.
    pub fn open(config: Config) -> Result<Server, CannotStart> {
        let dir = fs::canonicalize(&config.dir)
            .map_err(|error| CannotStart::new(format!("the folder {}", config.dir.display()), &error))?;
        let at = |name: &str| dir.join(name);
        let failed = |name: &str| {
            let place = at(name).display().to_string();
            move |error: io::Error| match error.kind() {
                ErrorKind::ResourceBusy => CannotStart(format!("{place}: another plainftpd uses it")),
                _ => CannotStart::new(place, &error),
            }
        };
        let log = Arc::new(Log::open(&at("log.txt")).map_err(failed("log.txt"))?);
        let store = Store::open(&at("workdir"), Arc::clone(&log)).map_err(failed("workdir"))?;
        let users = Users::open(&at("users"), &config, Arc::clone(&log)).map_err(failed("users"))?;
        Ok(Server {
            config,
            log,
            users,
            store: Arc::new(store),
            dir,
            clients: AtomicUsize::new(0),
            sessions: AtomicU64::new(0),
        })
    }

    /// A place for one more client, or `None` where all are taken.
    pub fn admit(self: &Arc<Server>) -> Option<Place> {
        let most = self.config.max_clients;
        self.clients
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < most).then_some(n + 1))
            .ok()?;
        let session = self.sessions.fetch_add(1, Ordering::SeqCst) + 1;
        Some(Place { server: Arc::clone(self), session })
    }
}

/// A client's place among `--max-clients`, free again when dropped.
#[derive(Debug)]
pub struct Place {
    /// The server that it is a place at.
    pub server: Arc<Server>,
    /// The number that the log knows this session by.
    pub session: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.clients.fetch_sub(1, Ordering::SeqCst);
    }
}
