//! The accounts: who may log in, register, and change a password.
//!
//! An editor's change of the users file counts at the next login. Comments and lines that mean
//! nothing to the server survive its own changes.
//!
//! The file fails closed: an account whose line is malformed, or that has two lines, exists but
//! cannot log in, and if the file as a whole cannot be read, there is no login at all.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::config::{Config, Registration};
use crate::log::Log;

mod hash;
mod record;
mod index;
mod file;
mod hash_queue;
mod password_cache;
mod throttle;

pub use hash::{Password, PasswordHash};
pub use record::{QuotaSetting, Record, Role, is_valid_name};
pub use throttle::network_of;

use file::UsersFile;
use hash_queue::HashQueue;
use password_cache::PasswordCache;
use throttle::{Attempt, Throttle};

/// Why an account was not created or changed.
#[derive(Debug)]
pub enum Refusal {
    /// The owner does not let people register.
    Closed,
    /// The registration code is missing or wrong.
    WrongCode,
    /// The name has other characters than it may, or too many.
    BadName,
    /// An account of this name exists.
    NameTaken,
    /// The password has fewer characters than this.
    ShortPassword(usize),
    /// The password is wrong, or there is no such account (any more).
    WrongPassword,
    /// Too many attempts of this source wait already; this one was not made.
    TooManyTries,
    /// The file could not be read or written.
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Io(error)
    }
}

/// The users file and the policy around it.
#[derive(Debug)]
pub struct Users {
    registration: Registration,
    min_password: usize,
    iterations: usize,
    file: UsersFile,
    hash_queue: HashQueue,
    throttle: Throttle,
    password_cache: PasswordCache,
    /// Held while an account appears or goes, and while a login opens its folder. It is taken after
    /// the lock of the file, because other programs may hold that one for as long as they like.
    entry: Mutex<()>,
}

impl Users {
    /// Opens the file at `path`, and creates it with a header that explains it (mode 0600) if it is
    /// missing. Warns of malformed lines.
    pub fn open(path: &Path, config: &Config, log: Arc<Log>) -> io::Result<Users> {
        Ok(Users {
            registration: config.registration.clone(),
            min_password: config.min_password,
            iterations: config.hash_iterations,
            file: UsersFile::open(path, log)?,
            hash_queue: HashQueue::new(thread::available_parallelism().map_or(1, usize::from)),
            throttle: Throttle::new(config.max_failures),
            password_cache: PasswordCache::new()?,
            entry: Mutex::new(()),
        })
    }

    /// Verifies a login; returns the record and the result of `then`. Unknown names cost the same
    /// work and give the same error as wrong passwords. `then` runs under a lock under which no
    /// account goes, so it sees what belongs to this account: hashing takes long, and the account
    /// may go while it does.
    pub fn log_in<T>(
        &self,
        name: &[u8],
        password: &Password,
        from: IpAddr,
        then: impl FnOnce(&Record) -> T,
    ) -> Result<(Record, T), Refusal> {
        // Before what is remembered is asked: or a guess that is refused a turn would still tell,
        // at no cost, that it is not the password.
        let attempt = self.throttle.begin(from).ok_or(Refusal::TooManyTries)?;
        let entry = self.entry();
        let record = self.file.look(|index| index.find(name).cloned())?;
        if let Some(record) = record.filter(|record| self.is_known(record, password)) {
            let done = then(&record);
            return Ok((record, done));
        }
        drop(entry);
        let verified = self.verify_by(attempt, name, password)?;
        let _entry = self.entry();
        let record = self.file.look(|index| index.find(name).cloned())?;
        let record = record.filter(|record| *record == verified).ok_or(Refusal::WrongPassword)?;
        let done = then(&record);
        Ok((record, done))
    }

    /// The account whose password it is, after the same work for an unknown name, and a longer wait
    /// after each failure from this source.
    fn verify(&self, name: &[u8], password: &Password, from: IpAddr) -> Result<Record, Refusal> {
        let attempt = self.throttle.begin(from).ok_or(Refusal::TooManyTries)?;
        self.verify_by(attempt, name, password)
    }

    fn verify_by(
        &self,
        attempt: Attempt<'_>,
        name: &[u8],
        password: &Password,
    ) -> Result<Record, Refusal> {
        let found = self.file.look(|index| (index.find(name).cloned(), index.iterations()))?;
        let (record, iterations) = found;
        let record = record.filter(|record| record.role != Role::Disabled);
        let decoy = PasswordHash::decoy(iterations.unwrap_or(self.iterations));
        let is_right = self.is_right(record.as_ref(), &decoy, password);
        match record.filter(|_| is_right) {
            Some(record) => {
                self.password_cache.insert(&record, password);
                Ok(record)
            }
            None => {
                attempt.failed();
                Err(Refusal::WrongPassword)
            }
        }
    }

    /// Whether the password was right before, and the account may log in.
    fn is_known(&self, record: &Record, password: &Password) -> bool {
        record.role != Role::Disabled && self.password_cache.contains(record, password)
    }

    /// Whether it is the record's password, with the work of hashing unless that is known already.
    fn is_right(&self, record: Option<&Record>, decoy: &PasswordHash, password: &Password) -> bool {
        let is_known = || record.is_some_and(|record| self.is_known(record, password));
        if is_known() {
            return true;
        }
        let _turn = self.hash_queue.acquire();
        // Of many connections of one client the first may have been right while this one waited.
        is_known() || record.map_or(decoy, |record| &record.hash).matches(password)
    }

    /// Whether there is an account of this name, able to log in or not.
    pub fn exists(&self, name: &[u8]) -> io::Result<bool> {
        self.file.look(|index| index.has(name))
    }

    /// What the file says of the quota of the account whose folder has this name; `None` if there
    /// is no such account. An account that is locked, because its line is malformed, has the usual
    /// one.
    pub fn quota_of(&self, folder: &[u8]) -> io::Result<Option<QuotaSetting>> {
        self.file.look(|index| match index.find(folder) {
            None => index.has(folder).then_some(QuotaSetting::Usual),
            Some(record) => (record.name.as_bytes() == folder).then_some(record.quota),
        })
    }

    /// Creates an account. `found` makes its folder and opens it, and returns `None` if the name's
    /// folder is not free. It runs under the lock under which the account appears, before it does:
    /// nothing can happen to the account before its first session holds its folder. If the account
    /// does not appear after all, what `found` returned is dropped under that lock.
    ///
    /// A registration spends nothing of what its source may fail, unless it guesses at the code.
    /// But of each source one registration at a time is hashed, when no login waits.
    pub fn register<H>(
        &self,
        name: &[u8],
        password: &Password,
        code: Option<&[u8]>,
        from: IpAddr,
        found: impl FnOnce(&str) -> io::Result<Option<H>>,
    ) -> Result<(Record, H), Refusal> {
        match &self.registration {
            Registration::Open => {}
            Registration::Closed => return Err(Refusal::Closed),
            Registration::Code(secret) => self.check_code(code, secret, from)?,
        }
        if !is_valid_name(name) {
            return Err(Refusal::BadName);
        }
        let name = String::from_utf8_lossy(name).into_owned();
        self.is_free(&name)?;
        self.check_length(password)?;
        let turn = self.hash_queue.acquire_for_registration(network_of(from));
        let hash = PasswordHash::new(password, self.iterations)?;
        drop(turn);
        let record = Record { name, role: Role::User, quota: QuotaSetting::Usual, hash };
        let mut change = self.file.change()?;
        let _entry = self.entry();
        self.is_free(&record.name)?;
        let home = found(&record.name)?.ok_or(Refusal::NameTaken)?;
        change.append(&record)?;
        self.password_cache.insert(&record, password);
        Ok((record, home))
    }

    /// Fails if the name is taken. A glance is enough: if it misses the line of an editor that
    /// saves in this very moment, the name has two lines, and neither can log in.
    fn is_free(&self, name: &str) -> Result<(), Refusal> {
        let is_taken = self.file.glance(|index| index.has(name.as_bytes()))?;
        if is_taken { Err(Refusal::NameTaken) } else { Ok(()) }
    }

    /// Guesses at the code wait as those at a password do.
    fn check_code(&self, given: Option<&[u8]>, secret: &str, from: IpAddr) -> Result<(), Refusal> {
        let given = given.ok_or(Refusal::WrongCode)?;
        let attempt = self.throttle.begin(from).ok_or(Refusal::TooManyTries)?;
        if constant_time_eq(given, secret) {
            Ok(())
        } else {
            attempt.failed();
            Err(Refusal::WrongCode)
        }
    }

    /// Gives an account a new password, if `old` is its present one.
    pub fn change_password(
        &self,
        name: &str,
        old: &Password,
        new: &Password,
        from: IpAddr,
    ) -> Result<(), Refusal> {
        let known = self.verify(name.as_bytes(), old, from)?;
        self.check_length(new)?;
        let turn = self.hash_queue.acquire();
        let hash = PasswordHash::new(new, self.iterations)?;
        drop(turn);
        let mut changed = None;
        let mut change = self.file.change()?;
        let _entry = self.entry();
        change.replace(name, |record| {
            let record = changed.insert(Record { hash, ..unchanged(record, &known)? });
            Ok(Some(record.clone()))
        })?;
        if let Some(record) = changed {
            self.password_cache.insert(&record, new);
        }
        Ok(())
    }

    /// Removes an account, if `password` is its present one; returns the result of `then`, which
    /// runs under the lock under which accounts appear and go, before the name can be registered
    /// again.
    pub fn unregister<T>(
        &self,
        name: &str,
        password: &Password,
        from: IpAddr,
        then: impl FnOnce() -> T,
    ) -> Result<T, Refusal> {
        let known = self.verify(name.as_bytes(), password, from)?;
        let mut change = self.file.change()?;
        let _entry = self.entry();
        change.replace(name, |record| unchanged(record, &known).map(|_| None))?;
        Ok(then())
    }

    fn check_length(&self, password: &Password) -> Result<(), Refusal> {
        let is_short = password.characters() < self.min_password;
        if is_short { Err(Refusal::ShortPassword(self.min_password)) } else { Ok(()) }
    }

    fn entry(&self) -> MutexGuard<'_, ()> {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The present record, if its password is the one that was verified.
fn unchanged(present: Option<Record>, known: &Record) -> Result<Record, Refusal> {
    present.filter(|record| record.hash == known.hash).ok_or(Refusal::WrongPassword)
}

/// Compares two secrets in a time that tells nothing but their lengths.
fn constant_time_eq(given: &[u8], secret: &str) -> bool {
    let secret = secret.as_bytes();
    given.len() == secret.len()
        && given.iter().zip(secret).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests;
