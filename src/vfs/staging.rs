//! Temporary files and folders, and the one rule about their names.
//!
//! A file that is on its way, a copy of a folder, and a folder that is being removed lie beside the
//! name that they will take or had: so they are always on the same file system, a rename needs no
//! lock of the whole file system, and a new file belongs to the group that its folder gives. Their
//! names begin with [`PREFIX`]; then come the server that made them, its start, and a number. A
//! name with that prefix does not exist for any command, is never counted or copied, and cannot be
//! created.
//!
//! A temporary is live while the upload, copy or removal goes on that made it. One that this server
//! made and that is not live is stale: a kill or a power failure left it, and any command that
//! meets it may remove it.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::TryRng;
use rand::rngs::SysRng;

/// What all reserved names begin with.
const PREFIX: &str = ".plainftpd-";
/// Which server it is that made a temporary, should several ever share a folder.
const SERVER: &str = "0";

/// Whether a name is the server's own. In any case of letters: a USB stick may know no difference.
pub fn is_reserved(name: &[u8]) -> bool {
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX.as_bytes()))
}

/// What a temporary is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Content on its way, which a reservation counts.
    Content,
    /// A folder that is being removed. What is in it counts until it is gone.
    Removal,
}

/// What a reserved name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In use.
    Live(Use),
    /// Left by an upload, a copy or a removal that ended without removing it.
    Stale,
    /// Not made by this server, so not this server's to judge.
    Foreign,
}

/// Gives out names for temporaries, and knows which of them are live.
#[derive(Debug)]
pub struct Staging {
    /// Tells this start of the server from all others.
    start: String,
    next: AtomicU64,
    live: Mutex<HashMap<u64, Use>>,
}

impl Staging {
    /// Draws the number of this start.
    pub fn new() -> io::Result<Staging> {
        let mut start = [0; 8];
        SysRng.try_fill_bytes(&mut start).map_err(io::Error::other)?;
        Ok(Staging { start: hex::encode(start), next: AtomicU64::new(0), live: Mutex::default() })
    }

    /// A number that no other call was given.
    pub fn next_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A name for a temporary, which is live until what is returned is dropped.
    pub fn take(self: &Arc<Staging>, purpose: Use) -> Temporary {
        let number = self.next_number();
        self.live().insert(number, purpose);
        let name = format!("{PREFIX}{SERVER}-{}-{number}", self.start).into_bytes();
        Temporary { staging: Arc::clone(self), number, name }
    }

    /// A name for something that is stale at once.
    pub fn stale_name(&self) -> Vec<u8> {
        format!("{PREFIX}{SERVER}-{}-{}", self.start, self.next_number()).into_bytes()
    }

    /// What a reserved name is.
    pub fn standing(&self, name: &[u8]) -> Standing {
        let Some((server, start, number)) = parts(name) else { return Standing::Foreign };
        if server != SERVER {
            return Standing::Foreign;
        }
        let live = || self.live().get(&number).copied();
        match (start == self.start).then(live).flatten() {
            Some(purpose) => Standing::Live(purpose),
            None => Standing::Stale,
        }
    }

    fn live(&self) -> MutexGuard<'_, HashMap<u64, Use>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server, the start and the number of a temporary's name.
fn parts(name: &[u8]) -> Option<(&str, &str, u64)> {
    let mut parts = str::from_utf8(name).ok()?.strip_prefix(PREFIX)?.split('-');
    let (server, start, number) = (parts.next()?, parts.next()?, parts.next()?);
    match parts.next() {
        None => Some((server, start, number.parse().ok()?)),
        Some(_) => None,
    }
}

/// The name of a live temporary.
#[derive(Debug)]
pub struct Temporary {
    staging: Arc<Staging>,
    number: u64,
    name: Vec<u8>,
}

impl Temporary {
    /// The name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.staging.live().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_is_live_until_it_is_dropped_and_then_stale() {
        let staging = Arc::new(Staging::new().unwrap());
        let (file, folder) = (staging.take(Use::Content), staging.take(Use::Removal));
        assert!(is_reserved(file.name()) && file.name() != folder.name());
        assert_eq!(staging.standing(file.name()), Standing::Live(Use::Content));
        assert_eq!(staging.standing(folder.name()), Standing::Live(Use::Removal));
        let name = file.name().to_vec();
        drop(file);
        assert_eq!(staging.standing(&name), Standing::Stale);
        assert_eq!(staging.standing(&staging.stale_name()), Standing::Stale);
        // For another start all of them are.
        assert_eq!(Staging::new().unwrap().standing(folder.name()), Standing::Stale);
    }

    #[test]
    fn what_others_made_is_not_judged_and_what_is_not_reserved_is_not_meant() {
        let staging = Staging::new().unwrap();
        for name in [
            ".plainftpd-x",
            ".plainftpd-",
            ".plainftpd-1-0123-0",
            ".plainftpd-0-0123",
            ".plainftpd-0-0123-x",
            ".plainftpd-0-0123-0-0",
            ".PLAINFTPD-0-0123-0",
        ] {
            assert!(is_reserved(name.as_bytes()), "{name}");
            assert_eq!(staging.standing(name.as_bytes()), Standing::Foreign, "{name}");
        }
        assert_eq!(staging.standing(b".plainftpd-\xff"), Standing::Foreign);
        for name in ["plainftpd-0-0-0", ".plainftpd", ".plainftp-0", "x.plainftpd-0", ""] {
            assert!(!is_reserved(name.as_bytes()), "{name}");
        }
    }
}
