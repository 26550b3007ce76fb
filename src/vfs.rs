//! The users' files: virtual paths in, real files out.
//!
//! Only this module turns a virtual path into a real one. A [`VirtualPath`] cannot name anything
//! above the user's root. The walk to the real folder opens one component at a time and never
//! follows a symbolic link (`vfs/folder.rs`). So no path, link or race leads out of the root.
//!
//! [`Vfs::locate`] turns a path into a [`Location`]: an open folder, a name in it and a quota.
//! There is one quota per account. A change of names locks it, checks again what it depends on,
//! changes the names, drops the lock and syncs the folder. Content is written without the lock,
//! most of it to a temporary file or folder, which a rename under the lock gives its name.
//! Errors are [`io::Error`]s. If an error has a text of its own, this module made it, and the text
//! names no path of the host.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, MutexGuard};
use std::time::SystemTime;

use crate::random::random;

mod folder;
mod path;
mod quota;
mod server_file;
mod staging;
mod entry;
mod location;
mod storage;
mod walk;
mod removal;
mod upload;
mod copy;
mod moves;
mod workdir;

use copy::Copy;
pub use entry::{Entries, Entry, Kind};
use entry::{sorted, unsorted};
use folder::{Folder, check_regular, refused};
pub use folder::{chdir_to_proc_fd, check_can_create, check_proc_fd};
pub use location::Existing;
use location::{Location, into_itself, is_hidden, no_parent, walk};
pub use path::VirtualPath;
pub use quota::QuotaSource;
use quota::{Quota, Removed, Reservation, Sizes, Usage, blocks};
use removal::HiddenFolder;
use staging::is_reserved;
pub use storage::UploadPolicy;
pub use upload::{Upload, WriteStart, check_restart};
use workdir::Home;
pub use workdir::{NewHome, Workdir};

/// The files that one session works with. The root is held open: if the account and its folder are
/// removed, the session does not reach a later folder of the same name.
#[derive(Debug)]
pub struct Vfs {
    root: Arc<Folder>,
    workdir: Arc<Workdir>,
    scope: Scope,
}

/// Whose files a [`Vfs`] holds.
#[derive(Debug)]
enum Scope {
    /// The files of one account. The root is in this top folder, which the quota counts.
    User(Home),
    /// The files of all accounts: the root holds one folder per account, and a change in it counts
    /// towards that account.
    Admin(Arc<dyn QuotaSource>),
}

/// What a command does with the name that [`Vfs::locate`] finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Looks at it, or reads it.
    Look,
    /// Changes or removes it.
    Change,
    /// Gives the name to something new.
    Create,
}

/// Returns `path` for an operation on files. Fails with [`ErrorKind::IsADirectory`] for the root.
fn not_root(path: &VirtualPath) -> io::Result<&VirtualPath> {
    if path.is_root() { Err(ErrorKind::IsADirectory.into()) } else { Ok(path) }
}

impl Vfs {
    /// Opens a folder of the working directory, which is the top folder of an account. Creates it
    /// if it is missing. The caller must call [`Vfs::set_quota`] before it uses the files: that
    /// sets the limit and counts what is stored.
    pub fn home(workdir: &Arc<Workdir>, top: &str) -> io::Result<Vfs> {
        Ok(Vfs::of_user(workdir, workdir.open_or_create_home(top)?))
    }

    /// Makes the folder at `path` the root. The path begins with the name of the top folder.
    pub fn enter(mut self, path: &str) -> io::Result<Vfs> {
        if let Scope::User(top) = &self.scope {
            self.root = self.workdir.open_below(top, path)?;
        }
        Ok(self)
    }

    /// Creates the folder of a new account and opens it. Returns `None` if a folder of that name
    /// exists and is not empty, because its content belonged to another account. An empty one is
    /// removed and created again, because a session of its former owner may have it open. Its usage
    /// begins at zero.
    pub fn create_home(workdir: &Arc<Workdir>, name: &str) -> io::Result<Option<(Vfs, NewHome)>> {
        let created = workdir.create_home(name)?;
        Ok(created.map(|(home, new)| (Vfs::of_user(workdir, home), new)))
    }

    /// The files of an administrator: the working directory itself, with all accounts' folders in
    /// it. `quotas` says what each account may store, because an administrator may be the first
    /// to put something there.
    pub fn home_of_admin(workdir: &Arc<Workdir>, quotas: Arc<dyn QuotaSource>) -> Vfs {
        let root = Arc::clone(&workdir.folder);
        Vfs { root, workdir: Arc::clone(workdir), scope: Scope::Admin(quotas) }
    }

    fn of_user(workdir: &Arc<Workdir>, home: Home) -> Vfs {
        let root = Arc::clone(&home.root);
        Vfs { root, workdir: Arc::clone(workdir), scope: Scope::User(home) }
    }

    /// Opens a folder. The walk to it opens one component after the other.
    fn open_folder(&self, path: &VirtualPath) -> io::Result<Arc<Folder>> {
        if is_hidden(path) {
            return Err(ErrorKind::NotFound.into());
        }
        walk(&self.root, path.names())
    }

    /// Opens the folder that holds `path`. Fails for the root, which is in no folder. What an
    /// administrator changes in an account's folder counts for that account: for such a change, the
    /// walk begins at that folder, and the location has its quota.
    fn locate<'p>(&self, path: &'p VirtualPath, purpose: Purpose) -> io::Result<Location<'p>> {
        let own_top = || refused(ErrorKind::InvalidInput, "that is your own top folder");
        let (name, parent) = (path.name().ok_or_else(own_top)?, path.parent());
        if is_hidden(&parent) {
            return Err(no_parent(ErrorKind::NotFound.into()));
        }
        if is_reserved(name) {
            let why = "names that begin with \".plainftpd-\" are the server's own";
            return Err(match purpose {
                Purpose::Create => refused(ErrorKind::InvalidFilename, why),
                Purpose::Look | Purpose::Change => ErrorKind::NotFound.into(),
            });
        }
        let mut names = parent.names();
        let (start, quota) = match &self.scope {
            Scope::User(top) => (Arc::clone(&self.root), Arc::clone(&top.quota)),
            Scope::Admin(quotas) if purpose != Purpose::Look => match names.next() {
                Some(account) => self.home_to_change(account, quotas.as_ref())?,
                None => (Arc::clone(&self.root), Arc::clone(&self.workdir.quota_beside)),
            },
            // The quota is not used.
            Scope::Admin(_) => (Arc::clone(&self.root), Arc::clone(&self.workdir.quota_beside)),
        };
        let folder = walk(&start, names).map_err(no_parent)?;
        Ok(Location { folder, name, quota })
    }

    /// Opens an account's folder for a change. Sets its quota's limit. Counts the usage if unknown.
    fn home_to_change(
        &self,
        account: &[u8],
        quotas: &dyn QuotaSource,
    ) -> io::Result<(Arc<Folder>, Arc<Quota>)> {
        let Home { root, quota } = self.workdir.open_home(account).map_err(no_parent)?;
        let limit = quotas.quota_of(account)?;
        quota.set_limit(limit, |sizes| self.workdir.count(&quota, &root, sizes))?;
        Ok((root, quota))
    }

    /// Whether a folder at `path` is the whole folder of an account. Only administrators see one.
    fn is_home(&self, path: &VirtualPath) -> bool {
        matches!(self.scope, Scope::Admin(_)) && path.parent().is_root()
    }

    pub fn entry(&self, path: &VirtualPath) -> io::Result<Entry> {
        if path.is_root() {
            return Ok(Entry::new(b"/".to_vec(), &self.root.metadata()?));
        }
        let at = self.locate(path, Purpose::Look)?;
        Ok(Entry::new(at.name.to_vec(), &at.folder.stat(at.name)?))
    }

    /// Whether this is a folder. If there is nothing, it is not.
    pub fn is_folder(&self, path: &VirtualPath) -> bool {
        self.entry(path).is_ok_and(|entry| entry.kind == Kind::Folder)
    }

    /// Fails unless this is a folder that the server can read.
    pub fn check_dir(&self, path: &VirtualPath) -> io::Result<()> {
        // The right to open a folder is not the right to read its entries.
        self.open_folder(path)?.entries().map(drop)
    }

    /// The entries of a folder, in no order, without those that are removed during the listing.
    pub fn entries(&self, path: &VirtualPath) -> io::Result<Entries> {
        unsorted(&*self.open_folder(path)?)
    }

    /// The entries of a folder whose names are `wanted`, sorted by name. In a large folder the
    /// entries beyond a bound follow unsorted. The size and other facts of an entry are looked up
    /// when its turn comes, so that the first entry comes at once.
    pub fn sorted_entries(
        &self,
        path: &VirtualPath,
        wanted: impl Fn(&[u8]) -> bool + 'static,
    ) -> io::Result<Entries> {
        sorted(self.open_folder(path)?, wanted)
    }

    /// Opens a regular file for reading. Returns its size, too.
    pub fn open(&self, path: &VirtualPath) -> io::Result<(File, u64)> {
        let at = self.locate(not_root(path)?, Purpose::Look)?;
        let (file, metadata) = at.folder.open_file(at.name, OpenOptions::new().read(true))?;
        Ok((file, metadata.len()))
    }

    /// Begins an upload of a whole file, which gets its name when it is committed.
    pub fn create(&self, path: &VirtualPath, existing: Existing) -> io::Result<Upload> {
        let at = self.locate(not_root(path)?, Purpose::Create)?;
        Upload::new(&self.workdir.storage, at, existing, 0o666)
    }

    /// Begins an upload of a file whose name is `wanted` and a random suffix, so that it is new.
    pub fn create_unique(&self, wanted: &VirtualPath) -> io::Result<(VirtualPath, Upload)> {
        let name = wanted.name().unwrap_or_default();
        let name = [name, format!(".{}", hex::encode(random::<4>()?)).as_bytes()].concat();
        let path = wanted.parent().join(&name)?;
        let upload = self.create(&path, Existing::Keep)?;
        Ok((path, upload))
    }

    /// Begins an upload that writes to a file in place, at its end or at an offset. Creates the
    /// file if it is missing. Fails with [`ErrorKind::ResourceBusy`] if another upload is writing
    /// to it.
    pub fn write_on(&self, path: &VirtualPath, start: WriteStart) -> io::Result<Upload> {
        let at = self.locate(not_root(path)?, Purpose::Create)?;
        Upload::in_place(&self.workdir.storage, at, start)
    }

    /// Sets the times of a file or folder to now. If it is missing, creates an empty file and
    /// returns true.
    pub fn touch(&self, path: &VirtualPath) -> io::Result<bool> {
        let now = SystemTime::now();
        match self.open_any(path) {
            Ok(file) => {
                file.set_times(FileTimes::new().set_accessed(now).set_modified(now)).map(|()| false)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.create(path, Existing::Keep)?.commit().map(|()| true)
            }
            Err(error) => Err(error),
        }
    }

    /// Sets the modification time of a file or folder. Returns the time that the disk stored, which
    /// may differ.
    pub fn set_modified(&self, path: &VirtualPath, time: SystemTime) -> io::Result<SystemTime> {
        let file = self.open_any(path)?;
        file.set_times(FileTimes::new().set_modified(time))?;
        file.metadata()?.modified()
    }

    /// Sets the nine permission bits of a file or folder. The server's own access always stays.
    /// Returns the bits that were set.
    pub fn set_mode(&self, path: &VirtualPath, mode: u32) -> io::Result<u32> {
        let file = self.open_any(path)?;
        let owner = if file.metadata()?.is_dir() { 0o700 } else { 0o600 };
        let mode = mode & 0o777 | owner;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        Ok(mode)
    }

    fn open_any(&self, path: &VirtualPath) -> io::Result<File> {
        if self.is_folder(path) {
            self.open_folder(path)?.open_for_sync()
        } else {
            self.open(path).map(|(file, _)| file)
        }
    }

    pub fn make_folder(&self, path: &VirtualPath) -> io::Result<()> {
        if path.is_root() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let Location { folder, name, quota } = self.locate(path, Purpose::Create)?;
        let mut usage = quota.lock_for(&folder)?;
        usage.check(blocks(0))?;
        folder.make_folder(name, 0o777)?;
        usage.added(blocks(0));
        drop(usage);
        self.workdir.storage.sync_dir(&folder)
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, path: &VirtualPath) -> io::Result<()> {
        let Location { folder, name, quota } = self.locate(path, Purpose::Change)?;
        let mut usage = quota.lock_for(&folder)?;
        removal::remove_empty(&self.workdir.storage, &folder, name)?;
        usage.removed(Removed::Folder);
        drop(usage);
        self.workdir.storage.sync_dir(&folder)
    }

    /// Removes a file. If it is a symbolic link, removes the link and not its target.
    pub fn remove_file(&self, path: &VirtualPath) -> io::Result<()> {
        let at = self.locate(not_root(path)?, Purpose::Change)?;
        let usage = at.quota.lock_for(&at.folder)?;
        let metadata = at.folder.stat(at.name)?;
        if metadata.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        self.remove_leaf(&at, &metadata, usage)
    }

    /// Removes an entry that is not a folder. `usage` is the locked quota.
    fn remove_leaf(
        &self,
        at: &Location<'_>,
        metadata: &fs::Metadata,
        mut usage: MutexGuard<'_, Usage>,
    ) -> io::Result<()> {
        at.folder.remove_file(at.name)?;
        usage.removed(Removed::Leaf(metadata));
        drop(usage);
        self.workdir.storage.sync_dir(&at.folder)
    }

    /// Removes a file, or a folder with all in it. One rename hides the folder before its content
    /// is removed.
    pub fn remove_tree(&self, path: &VirtualPath) -> io::Result<()> {
        let at = self.locate(path, Purpose::Change)?;
        let mut usage = at.quota.lock_for(&at.folder)?;
        let metadata = at.folder.stat(at.name)?;
        if !metadata.is_dir() {
            return self.remove_leaf(&at, &metadata, usage);
        }
        // If this is the whole folder of an account, its content counts towards that account, and
        // not towards the quota at `at`. Then both quotas are locked.
        let account = self.is_home(path).then(|| self.workdir.open_home(at.name)).transpose()?;
        let mut account_usage = account.as_ref().map(|home| home.quota.lock());
        let storage = &self.workdir.storage;
        let hidden = HiddenFolder::new(storage, &at.folder, at.name)?;
        let removal = match (&account, &mut account_usage) {
            (Some(home), Some(usage)) => home.quota.begin_removal(usage),
            _ => at.quota.begin_removal(&mut usage),
        };
        drop((usage, account_usage));
        hidden.remove(&removal)?;
        self.workdir.storage.sync_dir(&at.folder)
    }

    /// Renames a file or folder, or moves it within its account: open sessions and quotas belong to
    /// an account's folder. Between disks, copies it and removes the source. If `stop` returns true
    /// during the copy, the move fails with [`ErrorKind::Interrupted`] and changes nothing.
    pub fn move_to(
        &self,
        from: &VirtualPath,
        to: &VirtualPath,
        existing: Existing,
        stop: &mut dyn FnMut(u64) -> bool,
    ) -> io::Result<()> {
        let source = self.locate(from, Purpose::Change)?;
        let target = self.locate(to, Purpose::Create)?;
        let metadata = source.folder.stat(source.name)?;
        if from == to {
            return Ok(());
        }
        if to.is_within(from) && metadata.is_dir() {
            return Err(into_itself());
        }
        if !Arc::ptr_eq(&source.quota, &target.quota) {
            let why = "nothing moves from one account to another; copy it, then remove it";
            return Err(refused(ErrorKind::InvalidInput, why));
        }
        let usage = target.quota.lock_for(&target.folder)?;
        usage.check_stays(&source.folder)?; // `lock_for` has checked the target's folder
        // Under the lock, because the folder of an account may have taken the name of a file.
        if self.is_home(from) && source.folder.stat(source.name)?.is_dir() {
            let why = "the whole folder of an account is not moved; copy it, then remove it";
            return Err(refused(ErrorKind::InvalidInput, why));
        }
        // This drops the lock: a copy to another disk may take long, and locks it at its end.
        let storage = &self.workdir.storage;
        let renamed = moves::rename(storage, &source, &target, existing, usage);
        if moves::crosses_devices(&renamed) {
            moves::move_across(storage, &source, &target, existing, stop)?;
        } else {
            renamed?;
        }
        storage.sync_dir(&target.folder).and_then(|()| storage.sync_dir(&source.folder))
    }

    /// Copies a file, or a folder with all in it. The copy appears whole or not at all. `stop` gets
    /// the bytes copied so far; if it returns true, the copy fails with [`ErrorKind::Interrupted`].
    /// Returns the bytes copied if it is a file.
    pub fn copy(
        &self,
        from: &VirtualPath,
        to: &VirtualPath,
        existing: Existing,
        stop: &mut dyn FnMut(u64) -> bool,
    ) -> io::Result<Option<u64>> {
        if from == to {
            return Err(refused(ErrorKind::InvalidInput, "it cannot be copied onto itself"));
        }
        if from.is_root() {
            return Err(into_itself());
        }
        let source = self.locate(from, Purpose::Look)?;
        let metadata = source.folder.stat(source.name)?;
        if metadata.is_dir() {
            return self.copy_folder(&source, &metadata, from, to, stop).map(|()| None);
        }
        check_regular(&metadata)?;
        let (mut file, metadata) =
            source.folder.open_file(source.name, OpenOptions::new().read(true))?;
        let target = self.locate(not_root(to)?, Purpose::Create)?;
        let storage = &self.workdir.storage;
        let mut upload = Upload::new(storage, target, existing, copy::writable(&metadata))?;
        let bytes = upload.copy_from(&mut file, metadata.len(), stop)?;
        upload.commit().map(|()| Some(bytes))
    }

    fn copy_folder(
        &self,
        source: &Location<'_>,
        metadata: &fs::Metadata,
        from: &VirtualPath,
        to: &VirtualPath,
        stop: &mut dyn FnMut(u64) -> bool,
    ) -> io::Result<()> {
        if to.is_within(from) {
            return Err(into_itself());
        }
        let target = self.locate(to, Purpose::Create)?;
        if target.folder.find(target.name)?.is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let quota = self.quota_of_copy(to, target.quota)?;
        let reservation = Reservation::new(Arc::clone(&quota));
        let (storage, is_move) = (&self.workdir.storage, false);
        let mut copy =
            Copy::new(storage, source, metadata, &target.folder, reservation, is_move, stop)?;
        let mut usage = quota.lock_for(&target.folder)?;
        if target.folder.find(target.name)?.is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        copy.take_name(target.name, Existing::Keep)?;
        copy.keep(&mut usage);
        drop(usage);
        self.workdir.storage.sync_dir(&target.folder)
    }

    /// The quota that the copy of a folder must fit into. If the copy becomes the whole folder of
    /// an account, that account stores nothing yet. Then this is a new quota with the same limit.
    fn quota_of_copy(&self, to: &VirtualPath, quota: Arc<Quota>) -> io::Result<Arc<Quota>> {
        match (&self.scope, to.name()) {
            (Scope::Admin(quotas), Some(account)) if to.parent().is_root() => {
                let quota = quotas.quota_of(account)?;
                let empty: Arc<Quota> = Arc::default();
                // The folder itself counts for the copy and not for the account.
                empty.set_limit(quota.map(|quota| quota.saturating_add(blocks(0))), |_| Ok(0))?;
                Ok(empty)
            }
            _ => Ok(quota),
        }
    }

    /// Fails with [`ErrorKind::QuotaExceeded`] if a new file of `bytes` would not fit.
    pub fn check_room(&self, bytes: u64) -> io::Result<()> {
        let Scope::User(top) = &self.scope else { return Ok(()) };
        top.quota.lock().check(blocks(bytes))
    }

    /// Sets the quota in bytes. If the usage is unknown, counts the files first, and fails if the
    /// count fails. An administrator has no quota.
    pub fn set_quota(&self, limit: Option<u64>) -> io::Result<()> {
        let Scope::User(Home { root, quota }) = &self.scope else { return Ok(()) };
        quota.set_limit(limit, |sizes| self.workdir.count(quota, root, sizes))
    }

    /// Counts the files. Returns the bytes that they take, and the quota.
    pub fn usage(&self) -> io::Result<(u64, Option<u64>)> {
        match &self.scope {
            Scope::User(Home { root, quota }) => {
                quota.recount(|sizes| self.workdir.count(quota, root, sizes))
            }
            Scope::Admin(_) => {
                let quota = Arc::clone(&self.workdir.quota_beside);
                Ok((self.workdir.count(&quota, &self.root, &mut Sizes::default())?, None))
            }
        }
    }
}

#[cfg(test)]
mod tests;
