//! The accounts: who may log in, register and change a password.
//!
//! The accounts are in the users file, one line per account. The owner of the server may edit it at
//! any time: an edit counts at the next login. When the server changes the file itself, comments
//! and lines that mean nothing to it stay.
//!
//! If something is wrong with the file, the server denies access. An account whose line is
//! malformed, or that has two lines, exists but cannot log in. If the server cannot read the file
//! at all, no login succeeds.
//!
//! A login takes three steps, and each has a module:
//!
//! 1. `throttle`: if this source has failed too often, the attempt waits or is refused.
//! 2. `hash`: the password is compared with the hash in the account's record. `hash_queue` limits
//!    how many hashes run at once, and `password_cache` saves the work if the same password was
//!    right before.
//! 3. Under the account lock, the record is read again, because the account may have been removed
//!    or changed while the password was hashed. Still under the lock, the caller opens the folder.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::config::{Config, Registration};
use crate::lock::lock;
use crate::log::Log;

mod hash;
mod record;
mod index;
mod file;
mod hash_queue;
mod password_cache;
mod throttle;

pub use hash::{Password, PasswordHash, constant_time_eq};
pub use index::Index;
pub use record::{QUOTA, QuotaSetting, ROLE, Record, Role, is_valid_name};
pub use throttle::network_of;

use file::UsersFile;
use hash_queue::HashQueue;
use password_cache::PasswordCache;
use throttle::Throttle;

/// Why a login, or a change of an account, is refused.
#[derive(Debug)]
pub enum Refusal {
    /// The owner of the server lets no client register.
    Closed,
    /// Registering needs a code, and none was given.
    NoCode,
    WrongCode,
    /// The name is too long, or has a character that no name may have.
    BadName,
    NameTaken,
    /// The owner of the server named an account that is not there, or whose line is malformed.
    NoAccount,
    /// What was given cannot be, because of this.
    Invalid(&'static str),
    /// The folder of this other account lies in the account's own.
    FolderInUse(String),
    /// The password has fewer characters than this.
    ShortPassword(usize),
    /// The password is wrong, or there is no such account.
    WrongPassword,
    /// Too many attempts of this source are waiting. This one was not made.
    TooManyAttempts,
    /// The users file could not be read or written.
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Io(error)
    }
}

impl Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Closed => "registration is closed; the owner of this server creates accounts",
            Refusal::NoCode | Refusal::WrongCode => {
                "registering needs the right code: register NAME PASSWORD CODE \
                 (quote a password that has spaces)"
            }
            Refusal::BadName => {
                "a name has letters a to z, digits, \".\", \"_\" and \"-\": 1 to 32 of them, \
                 a letter or digit first"
            }
            Refusal::NameTaken => "that name is taken",
            Refusal::NoAccount => "there is no such account, or its line is malformed",
            Refusal::Invalid(why) => why,
            Refusal::FolderInUse(other) => {
                return write!(f, "the folder of {other} lies in its folder");
            }
            Refusal::ShortPassword(least) => {
                return write!(f, "a password has at least {least} characters");
            }
            Refusal::WrongPassword => "wrong password",
            Refusal::TooManyAttempts => "too many failed tries lately; try again in a minute",
            Refusal::Io(error) => return write!(f, "the users file: {error}"),
        })
    }
}

/// The users file, and the rules about who may log in and register.
#[derive(Debug)]
pub struct Users {
    registration: Registration,
    min_password: usize,
    iterations: usize,
    file: UsersFile,
    hash_queue: HashQueue,
    throttle: Throttle,
    password_cache: PasswordCache,
    /// The account lock: held while an account is added, changed or removed, and while a login
    /// opens its folder. A change locks the file first, because another program may hold that lock
    /// for any time. A login never locks the file, so it does not wait for that program.
    account_lock: Mutex<()>,
}

impl Users {
    /// Opens the users file at `path`. If it is missing, creates it (mode 0600) with a header that
    /// explains its form. Warns of malformed lines.
    pub fn open(path: &Path, config: &Config, log: Arc<Log>) -> io::Result<Users> {
        Ok(Users {
            registration: config.registration.clone(),
            min_password: config.min_password,
            iterations: config.hash_iterations,
            file: UsersFile::open(path, config.node.is_some(), log)?,
            hash_queue: HashQueue::new(thread::available_parallelism().map_or(1, usize::from)),
            throttle: Throttle::new(config.max_failures),
            password_cache: PasswordCache::new()?,
            account_lock: Mutex::new(()),
        })
    }

    /// Reads the file at `path` and changes nothing.
    pub fn check(path: &Path) -> io::Result<Index> {
        Index::parse(&fs::read(path)?)
    }

    /// Verifies a login. `ftp` means `anonymous`, unless it is an account. Returns the record and
    /// the result of `then`, which runs with the account lock held: the account cannot be removed
    /// in between.
    pub fn log_in<T>(
        &self,
        name: &[u8],
        password: &Password,
        from: IpAddr,
        then: impl FnOnce(&Record) -> T,
    ) -> Result<(Record, T), Refusal> {
        let verified = self.verify(name, password, from)?;
        let _lock = lock(&self.account_lock);
        let look = || {
            let record = self.file.query(|index| {
                let record = index.find(index.meant_by(name)).filter(|record| **record == verified);
                record.map(|record| index.spelled(record.clone()))
            })?;
            record.ok_or(Refusal::WrongPassword)
        };
        let record = look()?;
        let done = then(&record);
        if self.file.is_shared {
            look()?; // another server may have removed it, and given its name and folder away
        }
        Ok((record, done))
    }

    /// Returns the record of an account that may log in, if this is its password. An unknown name
    /// costs the same time and gives the same error as a wrong password. An account that accepts
    /// every password costs no hash.
    fn verify(&self, name: &[u8], password: &Password, from: IpAddr) -> Result<Record, Refusal> {
        // The throttle comes before the cache. Otherwise an attempt that must wait would still
        // tell a guesser, without any delay, whether the password is right.
        let attempt = self.throttle.begin(from).ok_or(Refusal::TooManyAttempts)?;
        let (record, iterations) = self
            .file
            .query(|index| (index.find(index.meant_by(name)).cloned(), index.iterations()))?;
        let record = record.filter(|record| record.role != Role::Disabled);
        // Without an account, the comparison is as slow, with a hash that no password has.
        let decoy = PasswordHash::decoy(iterations.unwrap_or(self.iterations));
        let hash = record.as_ref().map_or(&decoy, |record| &record.hash);
        let is_cached =
            || record.as_ref().is_some_and(|record| self.password_cache.contains(record, password));
        let is_right = *hash == PasswordHash::Any || is_cached() || {
            let _slot = self.hash_queue.acquire();
            // If a client opens many connections at once, the first one may have filled the cache
            // while this one waited.
            is_cached() || hash.matches(password)
        };
        // An attempt that does not call `failed` leaves the failures of its source as they are.
        let Some(record) = record.filter(|_| is_right) else {
            attempt.failed();
            return Err(Refusal::WrongPassword);
        };
        self.password_cache.insert(&record, password);
        Ok(record)
    }

    /// Calls `ask` with the accounts that the file has now.
    pub fn query<T>(&self, ask: impl FnOnce(&Index) -> T) -> io::Result<T> {
        self.file.query(ask)
    }

    /// Creates an account. `create_home` creates and opens its folder, or returns `None` if the
    /// folder's name is not free. It runs with the account lock held and before the account is in
    /// the file, so nothing can happen to the account before its first session holds its folder. If
    /// it cannot be added, the result of `create_home` is dropped under that lock, with the folder.
    ///
    /// Of a registration, only the code goes through the throttle. To limit the rest, the hash
    /// queue runs one registration per source at a time, and usually lets logins go first.
    pub fn register<H>(
        &self,
        name: &[u8],
        password: &Password,
        code: Option<&[u8]>,
        from: IpAddr,
        create_home: impl FnOnce(&str) -> io::Result<Option<H>>,
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
        self.check_name_is_free(&name)?;
        self.check_length(password)?;
        let slot = self.hash_queue.acquire_for_registration(network_of(from));
        let hash = PasswordHash::new(password, self.iterations)?;
        drop(slot);
        let (role, quota) = (Role::User, QuotaSetting::Usual);
        let record = Record { name, role, quota, hash, folder: None };
        let mut change = self.file.change()?;
        let _lock = lock(&self.account_lock);
        self.check_name_is_free(&record.name)?;
        let home = create_home(&record.name)?.ok_or(Refusal::NameTaken)?;
        change.append(&record)?;
        self.password_cache.insert(&record, password);
        Ok((record, home))
    }

    /// Fails if the name is taken, or means another account, or if the folder of another account
    /// lies in the folder of this name. The quick query may miss an edit of this very moment. That
    /// is safe: if the edit adds the same name, the name has two lines, and neither can log in.
    fn check_name_is_free(&self, name: &str) -> Result<(), Refusal> {
        let name = name.as_bytes();
        let is_taken = self.file.query_quickly(|index| {
            index.has(index.meant_by(name)) || index.guest_of(name).is_some()
        })?;
        if is_taken { Err(Refusal::NameTaken) } else { Ok(()) }
    }

    /// Fails if the registration code is wrong. Guesses wait like guesses at a password.
    fn check_code(&self, given: Option<&[u8]>, secret: &str, from: IpAddr) -> Result<(), Refusal> {
        let given = given.ok_or(Refusal::NoCode)?;
        let attempt = self.throttle.begin(from).ok_or(Refusal::TooManyAttempts)?;
        if constant_time_eq(given, secret.as_bytes()) {
            return Ok(());
        }
        attempt.failed();
        Err(Refusal::WrongCode)
    }

    /// Gives an account the password `new`, if `old` is its present one.
    pub fn change_password(
        &self,
        name: &str,
        old: &Password,
        new: &Password,
        from: IpAddr,
    ) -> Result<(), Refusal> {
        let verified = self.verify(name.as_bytes(), old, from)?;
        let hash = self.hash(new)?;
        let record =
            self.change(name, |now| Ok(Record { hash, ..still_verified(now, &verified)? }))?;
        self.password_cache.insert(&record, new);
        Ok(())
    }

    /// Like [`Users::remove`], if `password` is the account's present one.
    pub fn unregister<T>(
        &self,
        name: &str,
        password: &Password,
        from: IpAddr,
        then: impl FnOnce(&str) -> T,
    ) -> Result<Option<T>, Refusal> {
        let verified = self.verify(name.as_bytes(), password, from)?;
        self.remove(name, Some(&verified), then)
    }

    /// Adds an account, as the owner of the server or an administrator does. A folder of that name,
    /// with the files in it, becomes its folder. Asks for the `password` if all else is right.
    pub fn add(
        &self,
        [name, role, quota]: [&str; 3],
        folder: Option<&str>,
        password: impl FnOnce() -> Result<Password, Refusal>,
    ) -> Result<(), Refusal> {
        let decoy = PasswordHash::decoy(1).to_string();
        let fields: Vec<_> = [name, role, quota, &decoy].into_iter().chain(folder).collect();
        let record = Record::of(&fields).map_err(Refusal::Invalid)?;
        self.check_account(name, false)?;
        let record = Record { hash: self.hash(&password()?)?, ..record };
        let mut change = self.file.change()?;
        let _lock = lock(&self.account_lock);
        self.check_account(name, false)?;
        Ok(change.append(&record)?)
    }

    /// Gives an account another password, without knowing the present one.
    pub fn set_password(
        &self,
        name: &str,
        password: impl FnOnce() -> Result<Password, Refusal>,
    ) -> Result<(), Refusal> {
        self.check_account(name, true)?;
        let hash = self.hash(&password()?)?;
        self.change(name, |record| Ok(Record { hash, ..record })).map(drop)
    }

    /// Changes a field of an account: [`ROLE`], or [`QUOTA`].
    pub fn set(&self, name: &str, field: usize, value: &str) -> Result<(), Refusal> {
        let change = |record: Record| {
            let line = record.to_string();
            let mut fields: Vec<_> = line.split(':').collect();
            fields.splice(field..=field, [value]);
            Record::of(&fields).map_err(Refusal::Invalid)
        };
        self.change(name, change).map(drop)
    }

    /// Replaces the record of an account that is not locked, and returns the new one.
    fn change(
        &self,
        name: &str,
        change: impl FnOnce(Record) -> Result<Record, Refusal>,
    ) -> Result<Record, Refusal> {
        let mut file = self.file.change()?;
        let _lock = lock(&self.account_lock);
        let (text, record) = file.find(name)?;
        let record = change(record.ok_or(Refusal::NoAccount)?)?;
        file.replace(&text, name, Some(&record))?;
        Ok(record)
    }

    /// Removes an account, also one that is locked, if no other account's folder lies in its own.
    /// If `verified` is given, the account must still be that one. Returns the result of `then`,
    /// which hides the folder under the account lock, before the name can be registered again.
    /// `then` is given the name as the file spells it. `None`: the files stay, because they may be
    /// in a folder of another name: the account's line says so, or is malformed.
    pub fn remove<T>(
        &self,
        name: &str,
        verified: Option<&Record>,
        then: impl FnOnce(&str) -> T,
    ) -> Result<Option<T>, Refusal> {
        let mut change = self.file.change()?;
        let _lock = lock(&self.account_lock);
        self.check_account(name, true)?;
        let guest = self.file.query(|index| index.guest_of(name.as_bytes()).map(str::to_string))?;
        if let Some(guest) = guest {
            return Err(Refusal::FolderInUse(guest));
        }
        let (text, record) = change.find(name)?;
        if let Some(verified) = verified {
            still_verified(record.clone().ok_or(Refusal::NoAccount)?, verified)?;
        }
        change.replace(&text, name, None)?;
        Ok(record.filter(|record| record.folder.is_none()).map(|record| then(&record.name)))
    }

    fn check_account(&self, name: &str, exists: bool) -> Result<(), Refusal> {
        match self.file.query_quickly(|index| index.has(name.as_bytes()))? {
            has if has == exists => Ok(()),
            true => Err(Refusal::NameTaken),
            false => Err(Refusal::NoAccount),
        }
    }

    /// Hashes a new password that is not too short.
    fn hash(&self, password: &Password) -> Result<PasswordHash, Refusal> {
        self.check_length(password)?;
        let _slot = self.hash_queue.acquire();
        Ok(PasswordHash::new(password, self.iterations)?)
    }

    fn check_length(&self, password: &Password) -> Result<(), Refusal> {
        let is_short = password.characters() < self.min_password;
        if is_short { Err(Refusal::ShortPassword(self.min_password)) } else { Ok(()) }
    }
}

/// Returns the record `now`, whose role may be new, if its password is the one that was verified,
/// and its folder is the same. If every password is right, nothing was verified.
fn still_verified(now: Record, verified: &Record) -> Result<Record, Refusal> {
    let is_same = (&now.hash, &now.folder) == (&verified.hash, &verified.folder);
    if is_same && now.hash != PasswordHash::Any { Ok(now) } else { Err(Refusal::WrongPassword) }
}

#[cfg(test)]
mod tests;
