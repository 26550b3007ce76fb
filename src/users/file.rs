//! The users file on the disk: how the server reads it, and how it changes it safely.
//!
//! Reading: each look opens the file by its name, so that it follows a link which the owner points
//! elsewhere. The content is kept in memory, and is read again only if the file has changed.
//!
//! Changing: a new account is one line, appended in one write. To change or remove an account, the
//! server writes a temporary file, syncs it, renames it and syncs the folder. So after a crash the
//! file is the old one or the new one. Each change holds an exclusive lock (flock) on the file,
//! because other programs may change it too. The server waits a few seconds at most for that lock,
//! and a look does not wait for it.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};

use crate::append::{append_whole, is_torn};
use crate::cluster;
use crate::file_size_limit;
use crate::lock::lock;
use crate::log::Log;

use super::index::{self, Index};
use super::record::Record;

/// The longest wait for the lock of the file, which another thread or program may hold.
const LOCK_WAIT: Duration = Duration::from_secs(3);
/// The time between two tries to lock the file, because std cannot wait for a lock with a limit.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// Two versions of a file that are written within this time may have the same times: the system
/// counts time in ticks, which can be late on a busy machine.
const FINE_TICK: Duration = Duration::from_millis(250);
/// The same for a file system that stores times in units of 10 ms (exFAT), 1 s or 2 s (FAT).
const COARSE_TICK: Duration = Duration::from_secs(3);
/// A time in nanoseconds that is no multiple of this is of a file system with a fine clock.
const COARSE_UNIT: i64 = 10_000_000;
/// How often the file is read again if its last line is not complete.
const READ_AGAIN: u32 = 3;
/// The time before the file is read again.
const READ_PAUSE: Duration = Duration::from_millis(20);
/// The time for another program that has opened the old file to write its line there. On a busy
/// machine with a slow disk, 10 ms were once too short for one line of 3,000.
const APPEND_GRACE: Duration = Duration::from_millis(30);

pub(super) const HEADER: &str = "\
# The accounts of plainftpd, one line per account: NAME:ROLE:QUOTA:HASH or
# NAME:ROLE:QUOTA:HASH:FOLDER
#
# NAME   up to 32 letters, digits, \".\", \"_\" and \"-\"; compared without case;
#        without FOLDER, the account's folder is workdir/NAME
# ROLE   user; readonly; drop (may upload new files and see nothing);
#        admin (may use all folders); disabled
# QUOTA  the most bytes that the account may store, such as 500M (K, M, G, T);
#        - for the value of --quota; none for no limit
# HASH   pbkdf2-sha256$ITERATIONS$SALT$HASH; \"plainftpd --hash-password\" makes one;
#        any (for readonly and drop only) accepts every password
# FOLDER the path of the account's folder in workdir, such as family/scans; what it
#        holds counts for the account family; a login makes it if it is missing
#
# A change counts at the next login. A line of any other form locks its account.
";

/// The users file.
#[derive(Debug)]
pub struct UsersFile {
    /// The path from the configuration, which may be a link.
    path: PathBuf,
    /// Other machines may change the file.
    pub(super) is_shared: bool,
    log: Arc<Log>,
    cache: Mutex<Cache>,
}

/// The content of the file when it was last read.
#[derive(Debug, Default)]
struct Cache {
    /// The version that was read; `None` if the file must be read again.
    stamp: Option<Stamp>,
    /// Whether any later change is certain to have another stamp.
    is_settled: bool,
    /// The digest of the text, to which appended text can be added. To read the file and compare
    /// the digest is much cheaper than to index the text.
    digest: Sha256,
    index: Index,
    /// Why the text is unreadable, if it is. Then the index means nothing.
    unreadable: Option<String>,
    #[cfg(test)]
    reads: usize,
    #[cfg(test)]
    parses: usize,
}

/// Metadata that identifies a version of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl UsersFile {
    /// Opens the file at `path`. If it is missing, creates it (mode 0600) with a header that
    /// explains its form. Warns of lines that it cannot read. `is_shared` says that other machines
    /// may change the file.
    pub fn open(path: &Path, is_shared: bool, log: Arc<Log>) -> io::Result<UsersFile> {
        if !path.exists() {
            file_size_limit::check(HEADER.len() as u64)?;
        }
        // Another server may append an account before the header is written.
        match OpenOptions::new().append(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => {
                // If root runs the command before the first start, the server must read the file.
                let folder = fs::metadata(path.parent().unwrap_or(Path::new(".")))?;
                let _ = fchown(&file, Some(folder.uid()), Some(folder.gid()));
                file.write_all(HEADER.as_bytes())?;
                file.sync_all()?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let (path, cache) = (path.to_path_buf(), Mutex::new(Cache::default()));
        let users = UsersFile { path, is_shared, log, cache };
        // What a kill during a change left, unless a change is being made now.
        if let Ok(change) = users.change_within(Duration::ZERO) {
            let _ = fs::remove_file(temporary_of(&change.path));
        }
        lock(&users.cache).renew(&users.path, &users.log, || thread::sleep(READ_PAUSE))?;
        Ok(users)
    }

    /// Calls `ask` with the present content of the file.
    pub fn query<T>(&self, ask: impl FnOnce(&Index) -> T) -> io::Result<T> {
        self.ask(false, ask)
    }

    /// Like [`UsersFile::query`], but does not read a file again whose size and times are the same.
    /// It is faster just after a change, and can miss another program's change within the same tick
    /// of the file system's clock. The caller must be safe if that happens.
    pub fn query_quickly<T>(&self, ask: impl FnOnce(&Index) -> T) -> io::Result<T> {
        self.ask(true, ask)
    }

    fn ask<T>(&self, quickly: bool, ask: impl FnOnce(&Index) -> T) -> io::Result<T> {
        let mut cache = lock(&self.cache);
        self.patiently(LOCK_WAIT, || {
            let is_same = cache.stamp == Some(Stamp::of(&fs::metadata(&self.path)?));
            if is_same && (quickly || cache.is_settled) {
                return Ok(());
            }
            cache.renew(&self.path, &self.log, || thread::sleep(READ_PAUSE))
        })?;
        match &cache.unreadable {
            None => Ok(ask(&cache.index)),
            Some(why) => Err(io::Error::new(ErrorKind::InvalidData, why.clone())),
        }
    }

    /// Locks the file for a change. Fails with [`ErrorKind::TimedOut`] if another program, or
    /// another thread of this server, holds the lock for too long. `flock` excludes threads too,
    /// because each call opens the file for itself.
    pub fn change(&self) -> io::Result<Change<'_>> {
        self.change_within(LOCK_WAIT)
    }

    fn change_within(&self, wait: Duration) -> io::Result<Change<'_>> {
        self.patiently(wait, || self.try_change()).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => is_locked(),
            _ => error,
        })
    }

    /// Fails with [`ErrorKind::WouldBlock`] if the file is locked or was just replaced.
    fn try_change(&self) -> io::Result<Change<'_>> {
        let path = fs::canonicalize(&self.path)?;
        // For writing, because NFS gives no exclusive lock otherwise.
        let locked = match OpenOptions::new().read(true).write(true).open(&path) {
            // A file that is read-only can still be replaced.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => File::open(&path)?,
            opened => opened?,
        };
        locked.try_lock()?;
        // The file may have been replaced between the opening and the lock.
        if id_of(&locked.metadata()?) != id_of(&fs::metadata(&self.path)?) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(Change { users: self, path, locked, replaced: None })
    }

    /// Does `work` again for up to `wait` if the file is locked, or if another machine may just
    /// have replaced it.
    fn patiently<T>(
        &self,
        wait: Duration,
        mut work: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        let deadline = Instant::now() + wait;
        let may_pass = |error: &io::Error| {
            error.kind() == ErrorKind::WouldBlock
                || self.is_shared && cluster::may_be_replaced(error)
        };
        loop {
            match work() {
                Err(error) if may_pass(&error) && Instant::now() < deadline => {
                    thread::sleep(LOCK_PAUSE);
                }
                done => return done,
            }
        }
    }
}

fn is_locked() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "another program holds the lock of the accounts; try again")
}

fn id_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The path of the temporary file for a new version. It is written only under the lock, so one name
/// is enough.
fn temporary_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.plainftpd-new"))
}

/// A change of the users file, which stays locked until this is dropped.
#[derive(Debug)]
pub struct Change<'f> {
    users: &'f UsersFile,
    /// The path of the file itself, with all links followed.
    path: PathBuf,
    locked: File,
    /// Set when the file was replaced: how many bytes of the old file the new one was made from,
    /// and the new one, which is locked, too.
    replaced: Option<(u64, File)>,
}

impl Change<'_> {
    /// Appends the line of a new account and syncs the file. The cost does not depend on the number
    /// of accounts.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let mut cache = lock(&self.users.cache);
        let mut file = self.open_to_append()?;
        let before = file.metadata()?;
        if id_of(&before) != id_of(&self.locked.metadata()?) {
            return Err(is_locked());
        }
        let line_end = if is_torn(&file)? { "\n" } else { "" };
        let bytes = format!("{line_end}{record}\n").into_bytes();
        append_whole(&mut file, &bytes, File::sync_all)?;
        cache.has_grown(&before, &bytes, &file.metadata()?);
        Ok(())
    }

    /// The text of the file, and the record of an account in it.
    pub fn find(&mut self, name: &str) -> io::Result<(Vec<u8>, Option<Record>)> {
        let mut text = Vec::new();
        self.locked.read_to_end(&mut text)?;
        let record = Index::parse(&text)?.find(name.as_bytes()).cloned();
        Ok((text, record))
    }

    /// Replaces the line of `name` in the `text` of the file by `record`; `None` removes the line.
    /// The new file is synced before this returns.
    pub fn replace(&mut self, text: &[u8], name: &str, record: Option<&Record>) -> io::Result<()> {
        let text_now = index::with_line_replaced(text, name, record);
        let temporary = temporary_of(&self.path);
        let renamed = self
            .write_new(&temporary, &text_now)
            .and_then(|new| fs::rename(&temporary, &self.path).map(|()| new))
            .inspect_err(|_| drop(fs::remove_file(&temporary)));
        self.replaced = Some((text.len() as u64, renamed?));
        lock(&self.users.cache).stamp = None;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }

    /// Writes a new version to the temporary file and locks it, because what belongs to the change
    /// may follow when it has its name: an account's folder goes after its line. It gets the mode
    /// of the present file, and its owner and group if the server has the right to set them.
    fn write_new(&self, temporary: &Path, text: &[u8]) -> io::Result<File> {
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
        file.try_lock()?;
        file.sync_all().map(|()| file)
    }

    fn open_to_append(&self) -> io::Result<File> {
        OpenOptions::new().read(true).append(true).open(&self.path)
    }

    /// Appends to the new file what another program has appended to the old one, which it had
    /// opened before the server replaced it.
    fn carry_over(&mut self, from: u64) -> io::Result<()> {
        let mut late = Vec::new();
        self.locked.seek(SeekFrom::Start(from))?;
        self.locked.read_to_end(&mut late)?;
        if late.is_empty() {
            return Ok(());
        }
        lock(&self.users.cache).stamp = None;
        append_whole(&mut self.open_to_append()?, &late, File::sync_all)
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let Some((from, _new)) = self.replaced.take() else { return };
        thread::sleep(APPEND_GRACE);
        if let Err(error) = self.carry_over(from) {
            self.users.log.warn(&format!(
                "a line that was appended to the users file during a change is lost: {error}"
            ));
        }
    }
}

impl Cache {
    /// Reads the file, and indexes it if its text has changed. If its last line is not complete,
    /// another program may be writing it: after a pause the file is read again.
    #[inline(never)] // keeps its stack frame out of every login
    fn renew(&mut self, path: &Path, log: &Log, mut pause: impl FnMut()) -> io::Result<()> {
        let mut again = READ_AGAIN;
        loop {
            let mut text = Vec::new();
            let mut file = File::open(path)?;
            // Taken before the content, so that a change during the reading is noticed next time.
            let stamp = Stamp::of(&file.metadata()?);
            let is_settled = stamp.is_settled(SystemTime::now());
            file.read_to_end(&mut text)?;
            #[cfg(test)]
            (self.reads += 1);
            let digest = Sha256::new_with_prefix(&text);
            if self.digest.clone().finalize() != digest.clone().finalize() {
                if again > 0 && !is_settled && !index::is_complete(&text) {
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

    /// Indexes the text, and gives the warnings that were not given before.
    fn parse(&mut self, text: &[u8], log: &Log) {
        let index = Index::parse(text);
        self.unreadable = index.as_ref().err().map(io::Error::to_string);
        if let Some(why) = &self.unreadable {
            log.warn(&format!("users file: {why}; until then no account can log in"));
        }
        let index = index.unwrap_or_default();
        let new = index.locked.iter().filter(|warning| !self.index.locked.contains(warning));
        new.for_each(|warning| log.warn(warning));
        self.index = index;
        #[cfg(test)]
        (self.parses += 1);
    }

    /// Takes over `bytes` that this server has appended, without reading the file again if nothing
    /// else has changed it.
    fn has_grown(&mut self, before: &Metadata, bytes: &[u8], after: &Metadata) {
        let is_ours_alone = after.size() == before.size() + bytes.len() as u64
            && self.stamp == Some(Stamp::of(before))
            && self.unreadable.is_none();
        if is_ours_alone && self.index.add(bytes.trim_ascii()).is_ok() {
            self.digest.update(bytes);
            (self.stamp, self.is_settled) = (Some(Stamp::of(after)), false);
        } else {
            self.stamp = None;
        }
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

    /// Whether a later change is certain to have another time.
    fn is_settled(&self, now: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let is_fine = nanoseconds % COARSE_UNIT != 0;
        let changed = Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
            + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
        let tick = if is_fine { FINE_TICK } else { COARSE_TICK };
        now.duration_since(SystemTime::UNIX_EPOCH + changed).is_ok_and(|age| age > tick)
    }
}

#[cfg(test)]
mod tests;
