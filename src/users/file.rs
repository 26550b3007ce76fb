//! The users file on the disk: what it says now, and how this server changes it.
//!
//! Each look finds the file by its name, so that a link which is pointed elsewhere counts at once,
//! and reads it if it has changed. A new account is one line, appended in one write. A change or a
//! removal makes a new file: a temporary one, `fsync`, `rename` and `fsync` of the folder, so that
//! after a crash the file is the old one or the new one. Both happen under an exclusive lock on the
//! file, for which this server waits a few seconds at most, and no look waits for that lock.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};

use crate::append::append_whole;
use crate::file_size_limit;
use crate::log::Log;

use super::index::{self, Index};
use super::record::Record;

/// The longest wait for other changes, and for other programs that hold the lock of the file.
const LOCK_WAIT: Duration = Duration::from_secs(3);
/// The time between two tries to lock the file: std has no wait for a lock that ends by itself.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// The clocks of file systems are coarse: within this time two versions may have the same times.
const CLOCK_TICK: Duration = Duration::from_secs(3);
/// How often a file is read again whose last line is not complete, and the time before each.
const READ_AGAIN: u32 = 3;
const READ_PAUSE: Duration = Duration::from_millis(20);
/// The time that a program which opened the old file to append a line is given to write it.
const APPEND_GRACE: Duration = Duration::from_millis(10);

pub(super) const HEADER: &str = "\
# The accounts of plainftpd, a line each: NAME:ROLE:QUOTA:HASH
#
# NAME   letters, digits, \".\", \"_\" and \"-\", up to 32; compared without case; its folder is workdir/NAME
# ROLE   user; readonly; drop (may put new files there and see nothing); admin (all folders); disabled
# QUOTA  most bytes its folder may take, such as 500M (K, M, G, T); - for what --quota says; none for no limit
# HASH   pbkdf2-sha256$ITERATIONS$SALT$HASH; \"plainftpd --hash-password\" makes one
#
# A change counts at the next login. A line that is not of this form locks its account.
";

/// The users file.
#[derive(Debug)]
pub struct UsersFile {
    /// As the owner named it: it may be a link.
    path: PathBuf,
    log: Arc<Log>,
    cache: Mutex<Cache>,
}

/// What the file said when it was last read.
#[derive(Debug)]
struct Cache {
    /// `None` if the file has to be read again.
    stamp: Option<Stamp>,
    /// Whether any later change is sure to have another stamp.
    is_settled: bool,
    /// The digest of the text, to which more can be added. To read the file and to find it the same
    /// takes much less than to index it.
    digest: Sha256,
    /// What the text says, or why it cannot be read.
    index: Result<Index, &'static str>,
    warned: Vec<String>,
    #[cfg(test)]
    reads: usize,
    #[cfg(test)]
    parses: usize,
}

/// What tells one version of the file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl UsersFile {
    /// Opens the file at `path`, and creates it with a header that explains it (mode 0600) if it is
    /// missing. Warns of what cannot be read.
    pub fn open(path: &Path, log: Arc<Log>) -> io::Result<UsersFile> {
        if !path.exists() {
            file_size_limit::check(HEADER.len() as u64)?;
        }
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => {
                file.write_all(HEADER.as_bytes())?;
                file.sync_all()?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        match fs::remove_file(temporary_of(&fs::canonicalize(path)?)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let users =
            UsersFile { path: path.to_path_buf(), log, cache: Mutex::new(Cache::default()) };
        users.cache().renew(&users.path, &users.log, || thread::sleep(READ_PAUSE))?;
        Ok(users)
    }

    /// Asks what the file says now.
    pub fn look<T>(&self, ask: impl FnOnce(&Index) -> T) -> io::Result<T> {
        self.ask(|cache, stamp| cache.is_settled && cache.stamp == Some(stamp), ask)
    }

    /// Like [`UsersFile::look`], but takes a file with the same size and times for unchanged, also
    /// if it changed a moment ago. Then another program's change in the same tick of the clock may
    /// be missed, which must do no harm.
    pub fn glance<T>(&self, ask: impl FnOnce(&Index) -> T) -> io::Result<T> {
        self.ask(|cache, stamp| cache.stamp == Some(stamp), ask)
    }

    fn ask<T>(
        &self,
        is_current: impl FnOnce(&Cache, Stamp) -> bool,
        ask: impl FnOnce(&Index) -> T,
    ) -> io::Result<T> {
        let mut cache = self.cache();
        if !is_current(&cache, Stamp::of(&fs::metadata(&self.path)?)) {
            cache.renew(&self.path, &self.log, || thread::sleep(READ_PAUSE))?;
        }
        match &cache.index {
            Ok(index) => Ok(ask(index)),
            Err(why) => Err(io::Error::new(ErrorKind::InvalidData, *why)),
        }
    }

    /// Begins a change of the file: locks it. Fails with [`ErrorKind::TimedOut`] if another program
    /// does not let go of its lock.
    pub fn change(&self) -> io::Result<Change<'_>> {
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            let path = fs::canonicalize(&self.path)?;
            let locked = File::open(&path)?;
            match locked.try_lock() {
                // It may have been replaced before it was locked.
                Ok(()) if id_of(&locked.metadata()?) == id_of(&fs::metadata(&self.path)?) => {
                    return Ok(Change { users: self, path, locked, replaced: None });
                }
                Ok(()) | Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(is_locked());
                }
                Ok(()) | Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_locked() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "another program holds the lock of the accounts; try again")
}

fn id_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Where a new version of the file is written; only under its lock, so one name is enough.
fn temporary_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.plainftpd-new"))
}

/// A change of the file, which is locked until this is dropped.
#[derive(Debug)]
pub struct Change<'f> {
    users: &'f UsersFile,
    /// With no link in it.
    path: PathBuf,
    locked: File,
    /// After the file was replaced: how many bytes of the old one the new one was made from.
    replaced: Option<u64>,
}

impl Change<'_> {
    /// Adds the line of a new account, and makes it last before it returns. The cost does not
    /// depend on the number of accounts.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let mut cache = self.users.cache();
        let mut file = self.open_to_append()?;
        let before = file.metadata()?;
        if id_of(&before) != id_of(&self.locked.metadata()?) {
            return Err(is_locked());
        }
        let mut last = [b'\n'];
        if let Some(at) = before.size().checked_sub(1) {
            file.read_exact_at(&mut last, at)?;
        }
        let line_end = if last == *b"\n" { "" } else { "\n" };
        let bytes = format!("{line_end}{record}\n").into_bytes();
        append_whole(&mut file, &bytes, File::sync_all)?;
        cache.has_grown(&before, &bytes, &file.metadata()?);
        Ok(())
    }

    /// Puts what `change` makes of the record of `name`, or nothing, in place of its line, and
    /// makes that last before it returns.
    pub fn replace<E: From<io::Error>>(
        &mut self,
        name: &str,
        change: impl FnOnce(Option<Record>) -> Result<Option<Record>, E>,
    ) -> Result<(), E> {
        let mut text = Vec::new();
        self.locked.read_to_end(&mut text)?;
        if let Some(why) = index::why_unreadable(&text) {
            return Err(io::Error::new(ErrorKind::InvalidData, why).into());
        }
        let record = change(index::record_of(&text, name))?;
        let text_now = index::with_line_replaced(&text, name, record.as_ref());
        let temporary = temporary_of(&self.path);
        let renamed =
            self.write_new(&temporary, &text_now).and_then(|()| fs::rename(&temporary, &self.path));
        if let Err(error) = renamed {
            let _ = fs::remove_file(&temporary);
            return Err(error.into());
        }
        self.replaced = Some(text.len() as u64);
        self.users.cache().stamp = None;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        Ok(File::open(folder)?.sync_all()?)
    }

    /// Writes a new version, which belongs to whom the present one belongs to, as far as this
    /// server may give it away.
    fn write_new(&self, temporary: &Path, text: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(temporary)?;
        let (old, new) = (self.locked.metadata()?, file.metadata()?);
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
        }
        file.set_permissions(old.permissions())?;
        file_size_limit::check(text.len() as u64)?;
        file.write_all(text)?;
        file.sync_all()
    }

    fn open_to_append(&self) -> io::Result<File> {
        OpenOptions::new().read(true).append(true).open(&self.path)
    }

    /// Appends to the new file what was appended to the old one by a program that opened it before
    /// it was replaced.
    fn carry_over(&mut self, from: u64) -> io::Result<()> {
        let mut late = Vec::new();
        self.locked.seek(SeekFrom::Start(from))?;
        self.locked.read_to_end(&mut late)?;
        if late.is_empty() {
            return Ok(());
        }
        self.users.cache().stamp = None;
        append_whole(&mut self.open_to_append()?, &late, File::sync_all)
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let Some(from) = self.replaced else { return };
        thread::sleep(APPEND_GRACE);
        if let Err(error) = self.carry_over(from) {
            let text = format!(
                "what was appended to the users file while it was replaced is lost: {error}"
            );
            self.users.log.warn(&text);
        }
    }
}

impl Default for Cache {
    fn default() -> Cache {
        Cache {
            stamp: None,
            is_settled: false,
            digest: Sha256::new(),
            index: Ok(Index::default()),
            warned: Vec::new(),
            #[cfg(test)]
            reads: 0,
            #[cfg(test)]
            parses: 0,
        }
    }
}

impl Cache {
    /// Reads the file, and indexes it if its text has changed. If its last line is not complete,
    /// another program may be writing it: after a pause it is read again.
    #[inline(never)] // its frame is no part of every login's
    fn renew(&mut self, path: &Path, log: &Log, mut pause: impl FnMut()) -> io::Result<()> {
        let mut again = READ_AGAIN;
        loop {
            let mut text = Vec::new();
            let mut file = File::open(path)?;
            // Before the content, so that a change during the reading is noticed next time.
            let stamp = Stamp::of(&file.metadata()?);
            let is_settled = stamp.is_settled(SystemTime::now());
            file.read_to_end(&mut text)?;
            #[cfg(test)]
            (self.reads += 1);
            let digest = Sha256::new_with_prefix(&text);
            if self.digest.clone().finalize() != digest.clone().finalize() {
                if again > 0 && !is_settled && !index::is_ended(&text) {
                    again -= 1;
                    pause();
                    continue;
                }
                self.parse(&text, log);
                self.digest = digest;
            }
            (self.stamp, self.is_settled) = (Some(stamp), is_settled);
            return Ok(());
        }
    }

    /// Indexes the text, and warns of what was not warned of before.
    fn parse(&mut self, text: &[u8], log: &Log) {
        let (index, warnings) = match index::why_unreadable(text) {
            Some(why) => {
                log.warn(&format!("users file: {why}; until then no account can log in"));
                (Err(why), Vec::new())
            }
            None => {
                let (index, warnings) = Index::parse(text);
                (Ok(index), warnings)
            }
        };
        warnings
            .iter()
            .filter(|warning| !self.warned.contains(warning))
            .for_each(|warning| log.warn(warning));
        (self.index, self.warned) = (index, warnings);
        #[cfg(test)]
        (self.parses += 1);
    }

    /// This server appended `bytes` to the file. If nothing else happened to it, what it says now
    /// is known without reading it.
    fn has_grown(&mut self, before: &Metadata, bytes: &[u8], after: &Metadata) {
        let is_all = after.size() == before.size() + bytes.len() as u64;
        match &mut self.index {
            Ok(index) if is_all && self.stamp == Some(Stamp::of(before)) => {
                let line = bytes.trim_ascii();
                if index.add(line).is_ok() {
                    self.digest.update(bytes);
                    (self.stamp, self.is_settled) = (Some(Stamp::of(after)), false);
                    return;
                }
            }
            _ => {}
        }
        self.stamp = None;
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a later change is sure to have another time: a file system's clock ticks every few
    /// milliseconds, on some every two seconds.
    fn is_settled(&self, now: SystemTime) -> bool {
        let changed = Duration::from_secs(u64::try_from(self.changed.0).unwrap_or(0));
        now.duration_since(SystemTime::UNIX_EPOCH + changed).is_ok_and(|age| age > CLOCK_TICK)
    }
}

#[cfg(test)]
mod tests;
