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
//! a number, which it keeps in its working directory, and removes only what it made itself.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::config::RESERVED_PREFIX as PREFIX;
use crate::file_size_limit;
use crate::lock::lock;
use crate::random::random;

use super::folder::{Folder, refused};

/// The file in the working directory that holds the server's number.
const SERVER_FILE: &str = ".plainftpd-server";
/// How many hexadecimal digits the number of a server or of a start has.
const DIGITS: usize = 16;

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
    /// Tells this start of the server from all others.
    start: String,
    next: AtomicU64,
    live: Mutex<HashMap<u64, Use>>,
}

impl Staging {
    /// Draws the number of this start; the number of the server is kept in `workdir`.
    pub fn new(workdir: &Folder) -> io::Result<Staging> {
        let (server, start) = (server_number(workdir)?, draw_number()?);
        Ok(Staging { server, start, next: AtomicU64::new(0), live: Mutex::default() })
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
            return Standing::Foreign;
        }
        match lock(&self.live).get(&number) {
            Some(purpose) if start == self.start => Standing::Live(*purpose),
            _ => Standing::Stale,
        }
    }

    /// Ends a live temporary because its folder is being removed. A copy in progress then fails in
    /// place of getting its name with a part missing.
    pub fn revoke(&self, name: &[u8]) {
        if let Some((_, _, number)) = parts(name) {
            lock(&self.live).remove(&number);
        }
    }
}

/// The random number that the server got at its first start in this working directory. If it cannot
/// be stored, because the disk is read-only or full, the next start has another one, and what a
/// kill leaves until then stays.
fn server_number(workdir: &Folder) -> io::Result<String> {
    if let Some(number) = kept_number(workdir) {
        return Ok(number);
    }
    let number = draw_number()?;
    let _ = keep_number(workdir, &number);
    Ok(number)
}

fn kept_number(workdir: &Folder) -> Option<String> {
    let (file, _) =
        workdir.open_file(SERVER_FILE.as_bytes(), OpenOptions::new().read(true)).ok()?;
    let mut text = String::new();
    file.take(2 * DIGITS as u64).read_to_string(&mut text).ok()?;
    let number = text.strip_suffix('\n')?;
    let is_number = number.len() == DIGITS && number.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_number.then(|| number.to_string())
}

fn keep_number(workdir: &Folder, number: &str) -> io::Result<()> {
    file_size_limit::check(DIGITS as u64 + 1)?;
    let _ = workdir.remove_file(SERVER_FILE.as_bytes()); // a damaged one, or a link
    let mut file = workdir.create_file(SERVER_FILE.as_bytes(), 0o600)?;
    file.write_all(format!("{number}\n").as_bytes())?;
    file.sync_all()
}

fn draw_number() -> io::Result<String> {
    Ok(hex::encode(random::<{ DIGITS / 2 }>()?))
}

/// The server, the start and the number of a temporary's name.
fn parts(name: &[u8]) -> Option<(&str, &str, u64)> {
    let (server, rest) = str::from_utf8(name).ok()?.strip_prefix(PREFIX)?.split_once('-')?;
    let (start, number) = rest.split_once('-')?;
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
    use super::*;
    use std::fs;
    use std::path::Path;

    /// A start of the server whose working directory this is.
    fn start(workdir: &Path) -> Arc<Staging> {
        Arc::new(Staging::new(&Folder::open(workdir).unwrap()).unwrap())
    }

    #[test]
    fn a_temporary_is_live_until_it_is_dropped_and_then_stale() {
        let workdir = tempfile::tempdir().unwrap();
        let staging = start(workdir.path());
        let (file, folder) = (staging.take(Use::Content), staging.take(Use::Removal));
        assert!(is_reserved(file.name()) && file.name() != folder.name());
        assert_eq!(staging.standing(file.name()), Standing::Live(Use::Content));
        assert_eq!(staging.standing(folder.name()), Standing::Live(Use::Removal));
        let name = file.name().to_vec();
        drop(file);
        assert_eq!(staging.standing(&name), Standing::Stale);
        assert_eq!(staging.standing(&staging.stale_name()), Standing::Stale);
        // For another start of the same server all of them are.
        assert_eq!(start(workdir.path()).standing(folder.name()), Standing::Stale);
    }

    #[test]
    fn what_another_server_made_is_not_judged() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let live = start(theirs.path()).take(Use::Content);
        assert_eq!(start(ours.path()).standing(live.name()), Standing::Foreign);
    }

    #[test]
    fn a_damaged_number_of_the_server_is_drawn_again_and_kept() {
        let workdir = tempfile::tempdir().unwrap();
        let file = workdir.path().join(SERVER_FILE);
        for damaged in ["", "0123456789abcdef", "0123456789abcdeg\n", "0123456789abcdef0\n", "-\n"]
        {
            fs::write(&file, damaged).unwrap();
            let number = start(workdir.path()).server.clone();
            assert_eq!(fs::read_to_string(&file).unwrap(), format!("{number}\n"), "{damaged:?}");
            assert_eq!(start(workdir.path()).server, number);
        }
        // Of a link of the owner's the link goes, and not what it names.
        let elsewhere = workdir.path().join("elsewhere");
        fs::write(&elsewhere, "0123456789abcdef\n").unwrap();
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
        assert_ne!(start(workdir.path()).server, "0123456789abcdef");
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "0123456789abcdef\n");
    }

    #[test]
    fn what_is_no_name_of_a_temporary_is_not_judged_and_what_is_not_reserved_is_not_meant() {
        let workdir = tempfile::tempdir().unwrap();
        let staging = start(workdir.path());
        let own = staging.server.clone();
        let upper = format!(".PLAINFTPD-{own}-0123-0");
        for name in [
            ".plainftpd-x",
            ".plainftpd-",
            SERVER_FILE,
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
