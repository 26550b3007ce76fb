//! Temporary files and folders, and the one rule about their names.
//!
//! Three things are temporaries: the file of an upload in progress, a copy of a folder, and a
//! folder that is being removed. A temporary lies beside the name that it will get or had. So it is
//! on the same file system, the rename needs no lock of the whole file system, and a new file gets
//! the group of its folder. Its name begins with [`PREFIX`], followed by the server that made it,
//! the start of that server, and a number. For clients a name with that prefix does not exist and
//! cannot be created. It is never counted or copied.
//!
//! A temporary is live while its upload, copy or removal is in progress. If this server made it and
//! it is not live, it is stale: a kill or a power failure left it, and any command that meets it
//! may remove it. Two servers may have the same disk mounted in their accounts. So each server has
//! a number, which it keeps in its working directory, and removes only what it made itself, or what
//! another server of the same working directory made that does not run any more.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::config::RESERVED_PREFIX as PREFIX;
use crate::lock::lock;

use super::folder::{Folder, refused};
use super::server_file::{self, draw_number};

/// Whether a name is reserved for the server, in upper or lower case, because a USB stick may not
/// distinguish them.
pub fn is_reserved(name: &[u8]) -> bool {
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX.as_bytes()))
}

/// What a temporary is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Content of an upload or copy. A reservation counts it.
    Content,
    /// A folder that is being removed. Its content counts until it is removed.
    Removal,
}

/// What a reserved name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In use.
    Live(Use),
    /// Left by an upload, a copy or a removal that ended without removing it.
    Stale,
    /// Not made by this server, which therefore leaves it alone.
    Foreign,
}

/// Gives out names for temporaries, and knows which of them are live.
#[derive(Debug)]
pub struct Staging {
    /// Tells this server from all others.
    server: String,
    workdir: Arc<Folder>,
    /// Tells this start of the server from all others.
    start: String,
    next: AtomicU64,
    live: Mutex<HashMap<u64, Use>>,
}

impl Staging {
    /// Draws the number of this start. `server` is the id of the server in its file in `workdir`.
    pub fn new(workdir: &Arc<Folder>, server: String) -> io::Result<Staging> {
        let (workdir, start) = (Arc::clone(workdir), draw_number()?);
        Ok(Staging { server, workdir, start, next: AtomicU64::new(0), live: Mutex::default() })
    }

    /// Makes the name of a temporary, which is live until the returned value is dropped.
    pub fn take(self: &Arc<Staging>, purpose: Use) -> Temporary {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.live).insert(number, purpose);
        let name = format!("{PREFIX}{}-{}-{number}", self.server, self.start).into_bytes();
        Temporary { staging: Arc::clone(self), number, name }
    }

    /// Makes the name of a temporary that is stale at once.
    #[cfg(test)]
    pub fn stale_name(self: &Arc<Staging>) -> Vec<u8> {
        self.take(Use::Content).name().to_vec()
    }

    pub fn standing(&self, name: &[u8]) -> Standing {
        let Some((server, start, number)) = parts(name) else { return Standing::Foreign };
        if server != self.server {
            // A start has another number each time, so what is stale stays so.
            return match server_file::is_running(&self.workdir, server) {
                None => Standing::Foreign,
                Some(true) => Standing::Live(Use::Content),
                Some(false) => Standing::Stale,
            };
        }
        match lock(&self.live).get(&number) {
            Some(purpose) if start == self.start => Standing::Live(*purpose),
            _ => Standing::Stale,
        }
    }

    /// Ends a live temporary because its folder is being removed. A copy in progress then fails in
    /// place of getting its name with a part missing.
    pub fn revoke(&self, name: &[u8]) {
        if let Some((server, start, number)) = parts(name)
            && (server, start) == (&*self.server, &*self.start)
        {
            lock(&self.live).remove(&number);
        }
    }
}

/// The server, the start and the number of a temporary's name.
fn parts(name: &[u8]) -> Option<(&str, &str, u64)> {
    let (rest, number) = str::from_utf8(name).ok()?.strip_prefix(PREFIX)?.rsplit_once('-')?;
    let (server, start) = rest.rsplit_once('-')?; // the name of a node may have a dash
    Some((server, start, number.parse().ok()?))
}

/// The name of a live temporary.
#[derive(Debug)]
pub struct Temporary {
    staging: Arc<Staging>,
    number: u64,
    name: Vec<u8>,
}

impl Temporary {
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Fails if [`Staging::revoke`] ended it. The caller holds the lock of the quota.
    pub fn check_live(&self) -> io::Result<()> {
        if lock(&self.staging.live).contains_key(&self.number) {
            return Ok(());
        }
        Err(refused(ErrorKind::NotFound, "its folder was removed"))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        lock(&self.staging.live).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::super::server_file::ServerFile;
    use super::*;
    use std::path::Path;

    /// A running server of this working directory.
    fn start(workdir: &Path, node: Option<&str>) -> (ServerFile, Arc<Staging>) {
        let folder = Arc::new(Folder::open(workdir).unwrap());
        let mut server_file = ServerFile::open(&folder, node).unwrap();
        server_file.lock().unwrap();
        let staging = Staging::new(&folder, server_file.id()).unwrap();
        (server_file, Arc::new(staging))
    }

    #[test]
    fn a_temporary_is_live_until_it_is_dropped_and_then_stale() {
        let workdir = tempfile::tempdir().unwrap();
        let (server_file, staging) = start(workdir.path(), None);
        let (file, folder) = (staging.take(Use::Content), staging.take(Use::Removal));
        assert!(is_reserved(file.name()) && file.name() != folder.name());
        assert_eq!(staging.standing(file.name()), Standing::Live(Use::Content));
        assert_eq!(staging.standing(folder.name()), Standing::Live(Use::Removal));
        let name = file.name().to_vec();
        drop(file);
        assert_eq!(staging.standing(&name), Standing::Stale);
        assert_eq!(staging.standing(&staging.stale_name()), Standing::Stale);
        // For another start of the same server all of them are.
        drop(server_file);
        assert_eq!(start(workdir.path(), None).1.standing(folder.name()), Standing::Stale);
    }

    #[test]
    fn what_another_server_made_is_not_judged() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for node in [None, Some("a")] {
            let (_server_file, staging) = start(ours.path(), node);
            for node in [None, Some("a"), Some("b")] {
                let live = start(theirs.path(), node).1.take(Use::Content);
                assert_eq!(staging.standing(live.name()), Standing::Foreign, "{node:?}");
            }
        }
    }

    #[test]
    fn what_another_node_made_is_live_while_the_node_runs_and_then_stale() {
        let workdir = tempfile::tempdir().unwrap();
        let (alone_file, alone) = start(workdir.path(), None);
        let of_alone = alone.take(Use::Content);
        drop(alone_file);
        let (a_file, a) = start(workdir.path(), Some("a"));
        let (b_file, b) = start(workdir.path(), Some("node-b"));
        let (of_a, of_b) = (a.take(Use::Removal), b.take(Use::Content));
        assert_eq!(a.standing(of_b.name()), Standing::Live(Use::Content));
        assert_eq!(b.standing(of_a.name()), Standing::Live(Use::Content));
        b.revoke(of_a.name());
        assert!(of_b.check_live().is_ok(), "a node revoked its own temporary of the same number");
        assert_eq!(a.standing(of_alone.name()), Standing::Stale);
        drop(b_file);
        assert_eq!(a.standing(of_b.name()), Standing::Stale);
        drop(a_file);
        let (_alone_file, alone) = start(workdir.path(), None);
        assert_eq!(alone.standing(of_a.name()), Standing::Stale);
    }

    #[test]
    fn what_is_no_name_of_a_temporary_is_not_judged_and_what_is_not_reserved_is_not_meant() {
        let workdir = tempfile::tempdir().unwrap();
        let (_server_file, staging) = start(workdir.path(), None);
        let own = staging.server.clone();
        let upper = format!(".PLAINFTPD-{own}-0123-0");
        for name in [
            ".plainftpd-x",
            ".plainftpd-",
            ".plainftpd-server",
            &format!(".plainftpd-{own}-0123"),
            &format!(".plainftpd-{own}-0123-x"),
            &format!(".plainftpd-{own}-0123-0-0"),
            &upper,
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
