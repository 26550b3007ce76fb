//! The working directory: the accounts' folders, and the lock that keeps a second server away.

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use crate::lock::lock;
use crate::log::{Log, LogLine};

use super::folder::{Folder, Id};
use super::quota::{Quota, Sizes, blocks};
use super::removal::{self, HiddenFolder};
use super::server_file::ServerFile;
use super::staging::Staging;
use super::storage::{Storage, UploadPolicy};
use super::walk::{self, Unreadable};

/// The most attempts of the sweep after a start, and the pause between two of them.
const SWEEPS: u32 = 100;
const SWEEP_PAUSE: Duration = Duration::from_millis(500);

/// The time between two times that the locks are taken again.
const LOCK_AGAIN: Duration = Duration::from_secs(5);

/// The open folder of an account, and its quota.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) root: Arc<Folder>,
    pub(super) quota: Arc<Quota>,
}

/// What the server knows about an account's folder. It belongs to the folder and not to the name:
/// another folder of that name begins with a usage of zero.
#[derive(Debug)]
struct Known {
    id: Id,
    /// The folder, while a session has it open.
    root: Weak<Folder>,
    quota: Arc<Quota>,
}

/// The open working directory. One server at a time locks it.
#[derive(Debug)]
pub struct Workdir {
    /// The folder that holds the accounts' folders.
    pub(super) folder: Arc<Folder>,
    pub(super) storage: Arc<Storage>,
    /// By the names of the folders.
    homes: Mutex<HashMap<Vec<u8>, Known>>,
    /// The quota of files beside the accounts' folders, which has no limit.
    pub(super) quota_beside: Arc<Quota>,
    /// The file that this server locks.
    server_file: ServerFile,
}

impl Workdir {
    /// Opens `path`, and creates it if it is missing. `node` is the name of this server, if others
    /// share the working directory.
    pub fn open(
        path: &Path,
        node: Option<&str>,
        policy: UploadPolicy,
        log: Arc<Log>,
    ) -> io::Result<Workdir> {
        DirBuilder::new().recursive(true).mode(0o755).create(path)?;
        let folder = Arc::new(Folder::open(path)?);
        let server_file = ServerFile::open(&folder, node)?;
        let staging = Arc::new(Staging::new(&folder, server_file.id())?);
        let storage = Arc::new(Storage { staging, policy, is_shared: node.is_some(), log });
        let (homes, quota_beside) = (Mutex::default(), Arc::default());
        Ok(Workdir { folder, storage, homes, quota_beside, server_file })
    }

    /// Fails with [`ErrorKind::WouldBlock`] if another server uses the working directory, unless
    /// both are nodes of different names.
    pub fn lock(mut self) -> io::Result<Workdir> {
        self.server_file.lock()?;
        Ok(self)
    }

    /// Fails as [`Workdir::open`] and [`Workdir::lock`] would, and changes nothing.
    pub fn check(path: &Path, node: Option<&str>) -> io::Result<()> {
        ServerFile::check(&Folder::open(path)?, node)
    }

    /// Takes the locks again and again, because a cluster file system may forget them. GlusterFS
    /// did so when its bricks were restarted one after the other.
    pub fn keep_locked(&self) {
        let mut has_warned = false;
        loop {
            thread::sleep(LOCK_AGAIN);
            if let Err(error) = self.server_file.try_lock()
                && !std::mem::replace(&mut has_warned, true)
            {
                self.storage.log.warn(&format!("the lock of this node is lost: {error}"));
            }
        }
    }

    /// Removes the stale temporaries of earlier starts. This may take long. It begins again if a
    /// client moves a folder away during the walk.
    pub fn sweep(&self) {
        let (log, mut removed, mut swept) = (&self.storage.log, 0, Ok(()));
        for _ in 0..SWEEPS {
            swept = removal::sweep(&self.storage, &self.folder, &mut removed);
            match &swept {
                Err(error) if error.kind() == ErrorKind::ResourceBusy => thread::sleep(SWEEP_PAUSE),
                _ => break,
            }
        }
        if removed > 0 {
            log.write(LogLine::new("swept").number("files", removed));
        }
        if let Err(error) = swept {
            log.warn(&format!("what broken transfers left was not all found: {error}"));
        }
    }

    /// Counts the bytes that all below `root`, the folder of `quota`, takes. What cannot be read
    /// counts as nothing, and the log has one warning about it.
    pub(super) fn count(&self, quota: &Quota, root: &Folder, sizes: &mut Sizes) -> io::Result<u64> {
        let count = walk::count(root, sizes)?;
        if let Some(unreadable) = count.unreadable
            && quota.may_warn()
        {
            self.warn_unreadable(quota.account(), &unreadable);
        }
        Ok(count.bytes)
    }

    fn warn_unreadable(&self, account: &[u8], unreadable: &Unreadable) {
        let Unreadable { path, error, others } = unreadable;
        let path = String::from_utf8_lossy(path);
        let whose = match account {
            b"" => String::new(),
            account => format!(" in the folder of {}", String::from_utf8_lossy(account)),
        };
        let others = match others {
            0 => String::new(),
            others => format!("; so do {others} more"),
        };
        self.storage
            .log
            .warn(&format!("{path}{whose} cannot be read and counts as nothing: {error}{others}"));
    }

    /// The folder of an account, which is created if it is missing.
    pub(super) fn open_or_create_home(&self, name: &str) -> io::Result<Home> {
        match self.open_home(name.as_bytes()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // The new folder may get the inode of one that the owner of the server removed.
                lock(&self.homes).remove(name.as_bytes());
                self.folder.make_folder(name.as_bytes(), 0o755)?;
                self.storage.sync_dir(&self.folder)?;
                self.open_home(name.as_bytes())
            }
            opened => opened,
        }
    }

    /// Opens the folder at `path`, which begins with the name of `top`. Like any walk, this follows
    /// no link. Creates what is missing, even beyond the quota, because the owner of the server
    /// wants it.
    pub(super) fn open_below(&self, top: &Home, path: &str) -> io::Result<Arc<Folder>> {
        let mut here = Arc::clone(&top.root);
        for name in path.split('/').skip(1).map(str::as_bytes) {
            let mut usage = top.quota.lock_for(&here)?;
            if here.find(name)?.is_none() {
                here.make_folder(name, 0o755)?;
                usage.added(blocks(0));
                self.storage.sync_dir(&here)?;
            }
            drop(usage);
            here = Arc::new(here.child(name)?);
        }
        Ok(here)
    }

    /// The folder of an account. All sessions that have the same folder open share one file
    /// descriptor. If other servers change the same files, what is known of an account's usage is
    /// forgotten when its last session here has ended.
    pub(super) fn open_home(&self, name: &[u8]) -> io::Result<Home> {
        let opened = Arc::new(self.folder.child(name)?);
        let id = opened.id()?;
        let mut homes = lock(&self.homes);
        let is_used = |known: &Known| {
            // An administrator's upload or removal holds the quota without the folder.
            known.root.strong_count() > 0 || Arc::strong_count(&known.quota) > 1
        };
        let is_kept = |known: &&Known| !self.storage.is_shared || is_used(known);
        let known = homes.get(name).filter(|known| known.id == id).filter(is_kept);
        let root = known.and_then(|known| known.root.upgrade()).unwrap_or(Arc::clone(&opened));
        let quota =
            known.map_or_else(|| Arc::new(Quota::of(name)), |known| Arc::clone(&known.quota));
        let known = Known { id, root: Arc::downgrade(&root), quota: Arc::clone(&quota) };
        homes.insert(name.to_vec(), known);
        drop(homes); // `opened` may be slow to close
        Ok(Home { root, quota })
    }

    /// Like [`super::Vfs::create_home`], but returns the folder and the quota.
    pub(super) fn create_home(
        self: &Arc<Workdir>,
        name: &str,
    ) -> io::Result<Option<(Home, NewHome)>> {
        let bytes = name.as_bytes();
        if let Err(error) = removal::remove_empty(&self.storage, &self.folder, bytes) {
            match error.kind() {
                ErrorKind::NotFound => {}
                ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory => return Ok(None),
                // A disk that the owner of the server mounted.
                ErrorKind::InvalidInput => return Ok(None),
                _ => return Err(error),
            }
        }
        // The new folder may get the inode of a former one that the owner of the server removed.
        lock(&self.homes).remove(bytes);
        self.folder.make_folder(bytes, 0o755)?;
        let home = NewHome { workdir: Arc::clone(self), name: name.to_string(), is_kept: false };
        self.storage.sync_dir(&self.folder)?;
        Ok(Some((self.open_home(bytes)?, home)))
    }

    /// Hides the folder of a removed account. The returned function removes it with all in it.
    pub fn detach_home(&self, name: &str) -> io::Result<impl FnOnce() -> io::Result<()> + use<'_>> {
        let name = name.as_bytes();
        self.folder.child(name)?; // fails if it is not a folder, which is then not removed
        let hidden = HiddenFolder::new(&self.storage, &self.folder, name)?;
        lock(&self.homes).remove(name);
        self.storage.sync_dir(&self.folder)?;
        Ok(move || {
            removal::remove(&self.storage, &self.folder, hidden.name(), None)
                .inspect_err(|error| self.storage.warn_of_remains(error))
        })
    }
}

/// The folder of an account that is being created. If this is dropped without [`NewHome::keep`],
/// the folder is removed. That must happen before another account can get the name.
#[derive(Debug)]
pub struct NewHome {
    workdir: Arc<Workdir>,
    name: String,
    is_kept: bool,
}

impl NewHome {
    /// Keeps the folder, because the account exists now.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for NewHome {
    fn drop(&mut self) {
        if !self.is_kept {
            lock(&self.workdir.homes).remove(self.name.as_bytes());
            // The folder is empty. If it cannot be removed, the next account of this name replaces
            // it.
            let _ = self.workdir.folder.remove_folder(self.name.as_bytes());
        }
    }
}
