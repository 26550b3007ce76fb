//! The working directory: the users' folders, and the staging area where files are made and
//! trees are taken apart.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::log::Log;

use super::folder::{Folder, id_of};
use super::space::Space;
use super::{Vfs, Whose, refused, tree};

/// No account's name begins with a dot, so nobody's folder is this.
pub(super) const STAGING: &str = ".staging";

/// How files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// A file and its folder are synced before the change is acknowledged.
    pub sync: bool,
    /// An upload under a new name that breaks off keeps what has come.
    pub partial: bool,
}

/// What all sessions of one account share.
#[derive(Debug, Default)]
struct Home {
    space: Arc<Space>,
    /// The folder, while a session has it open.
    root: Weak<Folder>,
}

/// The open working directory. One server at a time has it.
#[derive(Debug)]
pub struct Store {
    workdir: Arc<Folder>,
    staging: Folder,
    next: AtomicU64,
    homes: Mutex<HashMap<String, Home>>,
    moves: Mutex<()>,
    keeping: Keeping,
    log: Arc<Log>,
    _locked: File,
}

impl Store {
    /// Opens `path`, which is made where it is missing, and sweeps what an earlier server left in
    /// the staging area. Fails with [`ErrorKind::ResourceBusy`] while another server has it.
    pub fn open(path: &Path, keeping: Keeping, log: Arc<Log>) -> io::Result<Store> {
        make(path, 0o755)?;
        make(&path.join(STAGING), 0o700)?;
        let workdir = Arc::new(Folder::open(path)?);
        let staging = workdir.child(STAGING.as_bytes())?;
        let locked = staging.open_itself()?;
        match locked.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ErrorKind::ResourceBusy.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let store = Store {
            workdir,
            staging,
            next: AtomicU64::new(0),
            homes: Mutex::default(),
            moves: Mutex::default(),
            keeping,
            log,
            _locked: locked,
        };
        store.sweep()?;
        Ok(store)
    }

    fn sweep(&self) -> io::Result<()> {
        let left = self.staging.entries()?.collect::<io::Result<Vec<_>>>()?;
        for entry in left {
            let name = entry.file_name().into_vec();
            if entry.file_type()?.is_dir() {
                // Under a name of this server, which no name inside it can be taken for.
                let fresh = self.fresh_name();
                self.staging.rename(&name, &self.staging, &fresh)?;
                self.remove_staged(fresh, None);
            } else {
                self.staging.remove_file(&name)?;
            }
        }
        Ok(())
    }

    pub(super) fn keeping(&self) -> Keeping {
        self.keeping
    }

    pub(super) fn staging(&self) -> &Folder {
        &self.staging
    }

    /// A name that no other call was given; after the sweep, nothing in the staging area bears it.
    pub(super) fn next_name(&self) -> Vec<u8> {
        self.next.fetch_add(1, Ordering::Relaxed).to_string().into_bytes()
    }

    /// A name that nothing in the staging area bears, also where the sweep had to leave something.
    pub(super) fn fresh_name(&self) -> Vec<u8> {
        loop {
            let name = self.next_name();
            if matches!(self.staging.find(&name), Ok(None) | Err(_)) {
                return name;
            }
        }
    }

    /// Takes a tree of the staging area apart, which took of `space` where it was somebody's. Nobody
    /// sees it any more, so what cannot be removed is the owner's concern.
    pub(super) fn remove_staged(&self, name: Vec<u8>, space: Option<&Space>) {
        if let Err(error) = tree::empty(self, &name, space) {
            self.log.warn(&format!("a removed folder is left in workdir/{STAGING}: {error}"));
        }
    }

    /// The folder of an account, made where it is missing. Before the files can be used under a
    /// quota, [`Vfs::set_quota`] must have counted them.
    ///
    /// An administrator's is the working directory itself, with everybody's folders in it.
    pub fn home(self: &Arc<Store>, name: &str, is_admin: bool) -> io::Result<Vfs> {
        if is_admin {
            return Ok(Vfs::new(Arc::clone(&self.workdir), Arc::clone(self), Whose::Everybodys));
        }
        let root = self.root_of(name)?;
        Ok(Vfs::new(root, Arc::clone(self), Whose::One(self.space_of(name))))
    }

    /// The open folder of an account: the one that another session of it has open, where it still
    /// bears the name, so that many sessions take one descriptor.
    fn root_of(&self, name: &str) -> io::Result<Arc<Folder>> {
        let bytes = name.as_bytes();
        let shared = self.homes().get(name).and_then(|home| home.root.upgrade());
        if let Some(root) = shared
            && self.workdir.find(bytes)?.map(|metadata| id_of(&metadata)) == Some(root.id()?)
        {
            return Ok(root);
        }
        let root = match self.workdir.child(bytes) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.workdir.make_folder(bytes, 0o755)?;
                self.settle()?;
                self.workdir.child(bytes)
            }
            entered => entered,
        };
        let root = Arc::new(root?);
        self.homes().entry(name.to_string()).or_default().root = Arc::downgrade(&root);
        Ok(root)
    }

    /// The account of space of one user.
    pub(super) fn space_of(&self, name: &str) -> Arc<Space> {
        Arc::clone(&self.homes().entry(name.to_string()).or_default().space)
    }

    /// Makes the folder of a new account. False where one stands there with something in it: that
    /// belonged to somebody. An empty one is not taken over but made anew, for a session of its
    /// former owner may still have it open.
    pub fn found_home(&self, name: &str) -> io::Result<bool> {
        let bytes = name.as_bytes();
        match self.workdir.remove_folder(bytes) {
            Ok(()) => {}
            Err(error) => match error.kind() {
                ErrorKind::NotFound => {}
                ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory => return Ok(false),
                _ => return Err(error),
            },
        }
        self.homes().remove(name);
        self.workdir.make_folder(bytes, 0o755)?;
        self.settle()?;
        Ok(true)
    }

    /// Makes what was changed among the users' folders last, where the owner wants that.
    fn settle(&self) -> io::Result<()> {
        if self.keeping.sync { self.workdir.open_itself()?.sync_all() } else { Ok(()) }
    }

    /// Takes the folder of an account that is no more out of sight; what is returned removes it,
    /// with all in it.
    pub fn close_home(&self, name: &str) -> io::Result<impl FnOnce() + use<'_>> {
        let fresh = self.fresh_name();
        self.workdir.child(name.as_bytes())?;
        self.workdir.rename(name.as_bytes(), &self.staging, &fresh)?;
        self.homes().remove(name);
        self.settle()?;
        Ok(move || self.remove_staged(fresh, None))
    }

    /// Forgets what was counted for one user; the next sign-in counts anew. The space stays the one
    /// that the user's open sessions share.
    pub(super) fn forget_count(&self, name: &str) {
        // A count may hold the space's lock for long, and nobody could sign in meanwhile.
        let space = self.homes().get(name).map(|home| Arc::clone(&home.space));
        if let Some(space) = space {
            space.forget_count();
        }
    }

    /// Moves between accounts hold two spaces; two in opposite directions would wait for each other.
    pub(super) fn one_move_between_accounts(&self) -> MutexGuard<'_, ()> {
        self.moves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn homes(&self) -> MutexGuard<'_, HashMap<String, Home>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
