//! The working directory: the users' folders, the lock that keeps a second server away, and the
//! names of temporaries.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use crate::log::{Log, LogLine};

use super::folder::{Folder, Id, id_of, refused};
use super::quota::{Quota, Sizes};
use super::removal::{self, HiddenFolder};
use super::staging::Staging;
use super::storage::{Storage, UploadPolicy};
use super::walk::{self, Unreadable};

/// How often the sweep begins before it gives up until the next start, and how long it waits in
/// between.
const SWEEPS: u32 = 100;
const SWEEP_PAUSE: Duration = Duration::from_millis(500);

/// The open folder of an account, and its space.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) root: Arc<Folder>,
    pub(super) quota: Arc<Quota>,
}

/// What is known of an account's folder. It belongs to that very folder and not to its name: if the
/// name goes to another folder, that one begins with a space of its own.
#[derive(Debug)]
struct Known {
    id: Id,
    /// The folder, while a session has it open.
    root: Weak<Folder>,
    quota: Arc<Quota>,
}

/// The open working directory. One server at a time has it.
#[derive(Debug)]
pub struct Workdir {
    workdir: Arc<Folder>,
    storage: Arc<Storage>,
    /// By the names of the folders.
    homes: Mutex<HashMap<Vec<u8>, Known>>,
    /// The space of the files beside the accounts' folders, without a limit.
    beside: Arc<Quota>,
    _locked: File,
}

impl Workdir {
    /// Opens `path`, which is made if it is missing. Fails with [`ErrorKind::ResourceBusy`] while
    /// another server has it.
    pub fn open(path: &Path, policy: UploadPolicy, log: Arc<Log>) -> io::Result<Workdir> {
        make(path, 0o755)?;
        let workdir = Arc::new(Folder::open(path)?);
        let locked = workdir.open_for_sync()?;
        take_lock(&locked)?;
        let staging = Arc::new(Staging::new(&workdir)?);
        let storage = Arc::new(Storage { staging, policy, log });
        let (homes, beside) = (Mutex::default(), Arc::default());
        Ok(Workdir { workdir, storage, homes, beside, _locked: locked })
    }

    /// Removes what an earlier start left unfinished. That may take long, and begins again if a
    /// client moves a folder away under it.
    pub fn sweep(&self) {
        let mut removed = 0;
        let mut swept = Ok(());
        for _ in 0..SWEEPS {
            swept = removal::sweep(&self.storage, &self.workdir, &mut removed);
            match &swept {
                Err(error) if error.kind() == ErrorKind::ResourceBusy => thread::sleep(SWEEP_PAUSE),
                _ => break,
            }
        }
        if removed > 0 {
            self.storage.log.write(LogLine::new("swept").number("files", removed));
        }
        if let Err(error) = swept {
            self.storage
                .log
                .warn(&format!("what broken transfers left was not all found: {error}"));
        }
    }

    /// What changes in an account need.
    pub(super) fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    /// The folder that holds the accounts' folders.
    pub(super) fn folder(&self) -> &Arc<Folder> {
        &self.workdir
    }

    /// Counts the files below `root`, which `quota` belongs to, by what `change` does with the
    /// function that counts. What could not be read counts as nothing, and the log says so.
    pub(super) fn counting<T>(
        &self,
        quota: &Quota,
        root: &Folder,
        change: impl FnOnce(&mut dyn FnMut(&mut Sizes) -> io::Result<u64>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut unreadable = None;
        let changed = change(&mut |sizes| {
            let count = walk::count(root, sizes)?;
            unreadable = count.unreadable;
            Ok(count.bytes)
        });
        // After the count, which may have held the lock of the space.
        if let Some(unreadable) = unreadable
            && quota.may_warn()
        {
            self.warn_unreadable(quota.account(), &unreadable);
        }
        changed
    }

    fn warn_unreadable(&self, account: &[u8], unreadable: &Unreadable) {
        const SHOWN: usize = 200;
        let Unreadable { path, error, others } = unreadable;
        let more = if path.len() > SHOWN { "…" } else { "" };
        let path = String::from_utf8_lossy(path.get(..SHOWN).unwrap_or(path));
        let whose = match account {
            b"" => String::new(),
            account => format!(" in the folder of {}", String::from_utf8_lossy(account)),
        };
        let others = match others {
            0 => String::new(),
            others => format!("; so do {others} more"),
        };
        self.storage.log.warn(&format!(
            "{path}{more}{whose} cannot be read and counts as nothing: {error}{others}"
        ));
    }

    /// The folder of an account, which is created if it is missing.
    pub(super) fn open_or_create_home(&self, name: &str) -> io::Result<Home> {
        match self.open_home(name.as_bytes()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.workdir.make_folder(name.as_bytes(), 0o755)?;
                self.storage.sync_dir(&self.workdir)?;
                self.open_home(name.as_bytes())
            }
            opened => opened,
        }
    }

    /// The folder of an account: the one that another session has open, if it still has the name,
    /// so that many sessions take one descriptor.
    pub(super) fn open_home(&self, name: &[u8]) -> io::Result<Home> {
        let shared = self.homes().get(name).and_then(|known| {
            known.root.upgrade().map(|root| (known.id, root, Arc::clone(&known.quota)))
        });
        if let Some((id, root, quota)) = shared
            && self.workdir.find(name)?.map(|metadata| id_of(&metadata)) == Some(id)
        {
            return Ok(Home { root, quota });
        }
        let root = Arc::new(self.workdir.child(name)?);
        let id = root.id()?;
        let mut homes = self.homes();
        match homes.get_mut(name) {
            Some(known) if known.id == id => {
                let root = known.root.upgrade().unwrap_or(root); // another session was faster
                known.root = Arc::downgrade(&root);
                Ok(Home { root, quota: Arc::clone(&known.quota) })
            }
            _ => {
                let quota = Arc::new(Quota::of(name));
                let known = Known { id, root: Arc::downgrade(&root), quota: Arc::clone(&quota) };
                homes.insert(name.to_vec(), known);
                Ok(Home { root, quota })
            }
        }
    }

    /// The space of the files beside the accounts' folders.
    pub(super) fn quota_of_root(&self) -> Arc<Quota> {
        Arc::clone(&self.beside)
    }

    /// Makes the folder of a new account and opens it; `None` if a folder of that name has
    /// something in it, because that belonged to another account. An empty one is not taken over
    /// but made again: a session of its former owner may have it open. Nor is what was counted for
    /// the name.
    pub(super) fn create_home(
        self: &Arc<Workdir>,
        name: &str,
    ) -> io::Result<Option<(Home, NewHome)>> {
        let bytes = name.as_bytes();
        match removal::remove_empty(&self.storage, &self.workdir, bytes) {
            Ok(()) => {}
            Err(error) => match error.kind() {
                ErrorKind::NotFound => {}
                ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory => return Ok(None),
                // A disk of the owner's.
                ErrorKind::InvalidInput => return Ok(None),
                _ => return Err(error),
            },
        }
        // Its inode may be that of the former one, which the owner of the server may have removed.
        self.homes().remove(bytes);
        self.workdir.make_folder(bytes, 0o755)?;
        let home = NewHome { workdir: Arc::clone(self), name: name.to_string(), is_kept: false };
        self.storage.sync_dir(&self.workdir)?;
        Ok(Some((self.open_home(bytes)?, home)))
    }

    /// Takes the folder of an account that is no more out of sight; what is returned removes it,
    /// with all in it.
    pub fn detach_home(&self, name: &str) -> io::Result<impl FnOnce() + use<'_>> {
        let bytes = name.as_bytes().to_vec();
        self.workdir.child(&bytes)?; // or it is no folder, and not to be removed
        let hidden = HiddenFolder::new(&self.storage, &self.workdir, &bytes)?;
        self.homes().remove(&bytes);
        self.storage.sync_dir(&self.workdir)?;
        Ok(move || {
            let name = hidden.name(&bytes);
            if let Err(error) = removal::remove(&self.storage, &self.workdir, name, None) {
                self.storage.warn_of_remains(&error);
            }
        })
    }

    fn homes(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Known>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folder of an account that is being created. It is removed again if this is dropped without
/// [`NewHome::keep`], which must happen before another account can take the name.
#[derive(Debug)]
pub struct NewHome {
    workdir: Arc<Workdir>,
    name: String,
    is_kept: bool,
}

impl NewHome {
    /// The account exists now, and so the folder stays.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for NewHome {
    fn drop(&mut self) {
        if !self.is_kept {
            self.workdir.homes().remove(self.name.as_bytes());
            // It is empty. If it stays all the same, the next account of this name replaces it.
            let _ = self.workdir.workdir.remove_folder(self.name.as_bytes());
        }
    }
}

fn take_lock(file: &File) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => ErrorKind::ResourceBusy.into(),
        TryLockError::Error(error) => error,
    })
}

fn make(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if fs::metadata(path)?.is_dir() {
                Ok(())
            } else {
                Err(refused(ErrorKind::NotADirectory, "not a folder"))
            }
        }
        made => made,
    }
}
