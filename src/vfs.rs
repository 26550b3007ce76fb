//! The users' files: virtual paths in, real files out.
//!
//! This is the only room that turns a virtual path into a real one. A [`VirtualPath`] cannot say
//! "up and out", and the walk to the real folder enters one component at a time and never follows
//! a symbolic link (`vfs/folder.rs`), so there is no path, link or race that leads out of the
//! user's root. Errors are [`io::Error`]s; one with a text of its own was made here, and its text
//! names no path of the host.

use std::fmt;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::time::SystemTime;

use crate::random::random;

mod folder;
mod cross_device;
mod names;
mod path;
mod removal;
mod quota;
mod staging;
mod workdir;
mod tree;
mod upload;

use folder::{Folder, check_regular, id_of};
pub use folder::{chdir_to_proc_fd, check_proc_fd};
use names::Names;
pub use path::VirtualPath;
use quota::{Quota, Removed, Sizes, blocks};
use removal::HiddenFolder;
use staging::is_reserved;
pub use upload::{Existing, Upload, WriteStart, check_restart};
pub use workdir::{UploadPolicy, Workdir};

/// An error whose text is ours, fit for a reply.
fn refused(kind: ErrorKind, text: &'static str) -> io::Error {
    io::Error::new(kind, text)
}

/// What bears a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link: shown, moved and removed as itself, never followed.
    Link,
    /// A device, a FIFO, a socket: shown and left alone.
    Other,
}

/// A name and the facts about what bears it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The last component; of the root, `/`.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Its size in bytes; of a folder, what the file system says.
    pub size: u64,
    /// When its content last changed.
    pub modified: SystemTime,
    /// The nine permission bits.
    pub mode: u32,
    /// How many names it has.
    pub links: u64,
    /// What tells it from all others: device and inode.
    pub id: (u64, u64),
}

impl Entry {
    fn new(name: Vec<u8>, metadata: &fs::Metadata) -> Entry {
        let kind = match metadata.file_type() {
            t if t.is_file() => Kind::File,
            t if t.is_dir() => Kind::Folder,
            t if t.is_symlink() => Kind::Link,
            _ => Kind::Other,
        };
        Entry {
            name,
            kind,
            size: metadata.len(),
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            mode: metadata.permissions().mode() & 0o777,
            links: metadata.nlink(),
            id: id_of(metadata),
        }
    }
}

/// One user's files, as seen by one session. The root is held open: should the account and its
/// folder go, nothing that later bears the same name is reached by this session.
#[derive(Debug)]
pub struct Vfs {
    root: Arc<Folder>,
    workdir: Arc<Workdir>,
    scope: Scope,
}

/// Scope files they are.
#[derive(Debug)]
enum Scope {
    /// One user's.
    User(Arc<Quota>),
    /// All users': the root holds a folder for each, and what is changed in it is accounted there.
    Admin(QuotaOf),
}

/// Asks how many bytes an account may store, by the name of its folder.
pub struct QuotaOf(Box<Ask>);

type Ask = dyn Fn(&[u8]) -> io::Result<Option<u64>> + Send + Sync;

impl QuotaOf {
    /// `ask` answers with the quota that the owner set, or `None` if there is none.
    pub fn new(ask: impl Fn(&[u8]) -> io::Result<Option<u64>> + Send + Sync + 'static) -> QuotaOf {
        QuotaOf(Box::new(ask))
    }
}

impl fmt::Debug for QuotaOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QuotaOf")
    }
}

/// Where a change is made: the folder, the name in it, and the space that it counts in.
struct Target<'p> {
    folder: Arc<Folder>,
    name: &'p [u8],
    quota: Arc<Quota>,
}

/// Walks down from a folder, one handle per component.
fn walk<'n>(from: &Arc<Folder>, names: impl Iterator<Item = &'n [u8]>) -> io::Result<Arc<Folder>> {
    let mut here = Arc::clone(from);
    for name in names {
        here = Arc::new(here.child(name)?);
    }
    Ok(here)
}

/// The names in a folder that are shown to the client and `wanted`.
fn dir_entries(
    folder: &Folder,
    wanted: impl Fn(&[u8]) -> bool + 'static,
) -> io::Result<DirEntries> {
    let is_shown = move |name: &[u8]| !is_reserved(name) && wanted(name);
    let entries = folder.entries()?;
    Ok(Box::new(entries.filter(move |entry| {
        entry.as_ref().map_or(true, |entry| is_shown(entry.file_name().as_bytes()))
    })))
}

/// Whether a temporary would be entered, which does not exist for any command.
fn is_hidden(path: &VirtualPath) -> bool {
    path.names().any(is_reserved)
}

/// Whether something may take a name that `before` has now: a file that of a file, if it may
/// replace it.
fn check_free(
    before: Option<&fs::Metadata>,
    existing: Existing,
    new: &fs::Metadata,
) -> io::Result<()> {
    match before {
        Some(before) if existing == Existing::Keep || !before.is_file() || new.is_dir() => {
            Err(ErrorKind::AlreadyExists.into())
        }
        _ => Ok(()),
    }
}

/// The last component, of what can be changed.
fn name_of(path: &VirtualPath) -> io::Result<&[u8]> {
    path.name().ok_or_else(|| refused(ErrorKind::InvalidInput, "that is your own top folder"))
}

fn into_itself() -> io::Error {
    refused(ErrorKind::InvalidInput, "a folder cannot go into itself")
}

/// Why the folder that should hold a name cannot be entered.
fn no_parent(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::NotFound => refused(ErrorKind::NotFound, "no such folder to hold it"),
        ErrorKind::NotADirectory => {
            refused(ErrorKind::NotADirectory, "what should hold it is not a folder")
        }
        _ => error,
    }
}

/// A free name is looked for this many times. All but the first few are chosen at random, so a name
/// that is taken after that many is a broken random source.
const UNIQUE_ATTEMPTS: u32 = 16;
/// This many numbers are tried before names at random: trying every number in a folder of 100,000
/// such names takes half a second.
const NUMBERED: u32 = 4;

fn unique_suffix(attempt: u32) -> io::Result<String> {
    Ok(match attempt {
        0 => String::new(),
        1..=NUMBERED => format!(".{attempt}"),
        _ => format!(".{}", hex::encode(random::<4>()?)),
    })
}

/// The entries of a folder, one after another.
pub type Entries = Box<dyn Iterator<Item = io::Result<Entry>>>;
type DirEntries = Box<dyn Iterator<Item = io::Result<fs::DirEntry>>>;

/// The entries with their facts. What vanishes meanwhile is left out.
fn with_facts(entries: DirEntries) -> Entries {
    Box::new(entries.filter_map(|entry| {
        let found = entry.and_then(|entry| Ok((entry.metadata()?, entry.file_name().into_vec())));
        match found {
            Ok((metadata, name)) => Some(Ok(Entry::new(name, &metadata))),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => Some(Err(error)),
        }
    }))
}

impl Vfs {
    fn new(root: Arc<Folder>, workdir: Arc<Workdir>, scope: Scope) -> Vfs {
        Vfs { root, workdir, scope }
    }

    /// Walks to a folder, a handle a component.
    fn folder(&self, path: &VirtualPath) -> io::Result<Arc<Folder>> {
        if is_hidden(path) {
            return Err(ErrorKind::NotFound.into());
        }
        walk(&self.root, path.names())
    }

    /// Walks to the folder that holds `path`. The root is in none.
    fn open_parent<'p>(&self, path: &'p VirtualPath) -> io::Result<(Arc<Folder>, &'p [u8])> {
        let name = name_of(path)?;
        if is_reserved(name) {
            return Err(ErrorKind::NotFound.into());
        }
        Ok((self.folder(&path.parent()).map_err(no_parent)?, name))
    }

    /// Like [`Vfs::parent`], for what only a file can be done to.
    fn open_parent_of_file<'p>(
        &self,
        path: &'p VirtualPath,
    ) -> io::Result<(Arc<Folder>, &'p [u8])> {
        if path.is_root() { Err(ErrorKind::IsADirectory.into()) } else { self.open_parent(path) }
    }

    /// Walks to the folder that holds `path`, to change something there. What an administrator
    /// changes in an account's folder counts for that account, so the walk begins at the folder
    /// that the space belongs to.
    fn target<'p>(&self, path: &'p VirtualPath) -> io::Result<Target<'p>> {
        let name = name_of(path)?;
        if is_reserved(name) {
            return Err(ErrorKind::NotFound.into());
        }
        let parent = path.parent();
        if is_hidden(&parent) {
            return Err(no_parent(ErrorKind::NotFound.into()));
        }
        let mut names = parent.names();
        let (start, quota) = match &self.scope {
            Scope::User(quota) => (Arc::clone(&self.root), Arc::clone(quota)),
            Scope::Admin(quota_of) => match names.next() {
                None => (Arc::clone(&self.root), self.workdir.quota_of_root()),
                Some(account) => {
                    let home = self.workdir.open_home(account).map_err(no_parent)?;
                    let quota = (quota_of.0)(account)?;
                    self.workdir.counting(&home.quota, &home.root, |count| {
                        home.quota.set_limit(quota, count)
                    })?;
                    (home.root, home.quota)
                }
            },
        };
        let folder = walk(&start, names).map_err(no_parent)?;
        Ok(Target { folder, name, quota })
    }

    /// Like [`Vfs::target`], for what only a file can be done to.
    fn target_file<'p>(&self, path: &'p VirtualPath) -> io::Result<Target<'p>> {
        if path.is_root() { Err(ErrorKind::IsADirectory.into()) } else { self.target(path) }
    }

    /// Like [`Vfs::target`], for a name that may be new.
    fn new_target<'p>(&self, path: &'p VirtualPath) -> io::Result<Target<'p>> {
        if path.name().is_some_and(is_reserved) && !is_hidden(&path.parent()) {
            let why = "names that begin with \".plainftpd-\" are the server's own";
            return Err(refused(ErrorKind::InvalidFilename, why));
        }
        self.target(path)
    }

    /// Like [`Vfs::new_target`], for what only a file can be done to.
    fn new_target_file<'p>(&self, path: &'p VirtualPath) -> io::Result<Target<'p>> {
        if path.is_root() { Err(ErrorKind::IsADirectory.into()) } else { self.new_target(path) }
    }

    /// Whether a folder at `path` is the whole folder of an account.
    fn is_top(&self, path: &VirtualPath) -> bool {
        matches!(self.scope, Scope::Admin(_)) && path.parent().is_root()
    }

    /// The facts about what bears the name.
    pub fn entry(&self, path: &VirtualPath) -> io::Result<Entry> {
        if path.is_root() {
            return Ok(Entry::new(b"/".to_vec(), &self.root.metadata()?));
        }
        let (parent, name) = self.open_parent(path)?;
        Ok(Entry::new(name.to_vec(), &parent.stat(name)?))
    }

    /// Whether a folder bears the name; a missing name is no error.
    pub fn is_folder(&self, path: &VirtualPath) -> bool {
        self.entry(path).is_ok_and(|entry| entry.kind == Kind::Folder)
    }

    /// Whether one may go there.
    pub fn check_dir(&self, path: &VirtualPath) -> io::Result<()> {
        // A handle alone needs no right to look into it; reading it does.
        self.folder(path)?.entries().map(drop)
    }

    /// What a folder holds, as the disk has it. What vanishes meanwhile is left out.
    pub fn entries(&self, path: &VirtualPath) -> io::Result<Entries> {
        Ok(with_facts(dir_entries(&*self.folder(path)?, |_| true)?))
    }

    /// What a folder holds of the names that are `wanted`, sorted by name up to a bound. Beyond it,
    /// the rest follows as the disk has it. The facts about an entry are looked up when it is its
    /// turn, so that the first one comes at once.
    pub fn sorted_entries(
        &self,
        path: &VirtualPath,
        wanted: impl Fn(&[u8]) -> bool + 'static,
    ) -> io::Result<Entries> {
        let folder = self.folder(path)?;
        let mut rest = Some(dir_entries(&folder, wanted)?);
        let mut names = Names::default();
        while let Some(entries) = rest.as_mut().filter(|_| !names.is_full()) {
            match entries.next().transpose()? {
                Some(entry) => names.push(entry.file_name().as_bytes()),
                None => rest = None, // closes it
            }
        }
        names.sort();
        let facts = move |index| {
            let name = names.get(index)?;
            let entry = |metadata| Entry::new(name.to_vec(), &metadata);
            Some(folder.find(name).map(|found| found.map(entry)).transpose())
        };
        let sorted = (0..).map_while(facts).flatten();
        Ok(Box::new(sorted.chain(rest.map(with_facts).into_iter().flatten())))
    }

    /// Opens a regular file to read it; also tells its size.
    pub fn open(&self, path: &VirtualPath) -> io::Result<(File, u64)> {
        let (parent, name) = self.open_parent_of_file(path)?;
        let (file, metadata) = parent.open_file(name, OpenOptions::new().read(true))?;
        Ok((file, metadata.len()))
    }

    /// Begins a file that takes its name when it is committed.
    pub fn create(&self, path: &VirtualPath, existing: Existing) -> io::Result<Upload> {
        self.create_with_mode(path, existing, 0o666)
    }

    /// Begins a file under a name that is free and that no other such file will take: `wanted`, or
    /// that with a suffix.
    pub fn create_unique(&self, wanted: &VirtualPath) -> io::Result<(VirtualPath, Upload)> {
        let Target { folder: parent, name: base, quota } = self.new_target_file(wanted)?;
        let folder = parent.id()?;
        for attempt in 0..UNIQUE_ATTEMPTS {
            let name = [base, unique_suffix(attempt)?.as_bytes()].concat();
            let is_taken = || Ok(parent.find(&name)?.is_some());
            if let Some(claim) = quota.claim(folder, &name, is_taken)? {
                let path = wanted.parent().join(&name)?;
                let upload = self.create(&path, Existing::Keep)?;
                return Ok((path, upload.with_claim(claim)));
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    fn create_with_mode(
        &self,
        path: &VirtualPath,
        existing: Existing,
        mode: u32,
    ) -> io::Result<Upload> {
        let Target { folder, name, quota } = self.new_target_file(path)?;
        Upload::new(&self.workdir, &quota, folder, name, existing, mode)
    }

    /// Opens a file to write on in place, at its end or at an offset; where there is none, makes
    /// it. One upload at a time may do so.
    pub fn write_on(&self, path: &VirtualPath, place: WriteStart) -> io::Result<Upload> {
        let Target { folder, name, quota } = self.new_target_file(path)?;
        Upload::in_place(&self.workdir, &quota, folder, name, place)
    }

    /// Sets the times of a file or folder to now; if there is none, creates an empty file. Says
    /// whether it did.
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

    /// Gives a file or folder its nine permission bits; the owner's own access always stays.
    /// Returns what was set.
    pub fn set_mode(&self, path: &VirtualPath, mode: u32) -> io::Result<u32> {
        let file = self.open_any(path)?;
        let owner = if file.metadata()?.is_dir() { 0o700 } else { 0o600 };
        let mode = mode & 0o777 | owner;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        Ok(mode)
    }

    fn open_any(&self, path: &VirtualPath) -> io::Result<File> {
        if self.is_folder(path) {
            self.folder(path)?.open_for_sync()
        } else {
            self.open(path).map(|(file, _)| file)
        }
    }

    /// Makes a folder.
    pub fn make_folder(&self, path: &VirtualPath) -> io::Result<()> {
        if path.is_root() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let Target { folder, name, quota } = self.new_target(path)?;
        let mut reservation = quota::Reservation::new(Arc::clone(&quota));
        reservation.grow(blocks(0))?;
        let mut usage = quota.lock_for(&folder)?;
        let made = folder.make_folder(name, 0o777);
        if made.is_ok() {
            reservation.keep(&mut usage);
        }
        drop(usage); // the reservation gives back under the same lock
        made.and_then(|()| self.sync_dir(&folder))
    }

    /// Makes a change of names in a folder last, where the owner wants that.
    fn sync_dir(&self, folder: &Folder) -> io::Result<()> {
        if self.workdir.policy().sync { folder.open_for_sync()?.sync_all() } else { Ok(()) }
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, path: &VirtualPath) -> io::Result<()> {
        let Target { folder, name, quota } = self.target(path)?;
        let mut usage = quota.lock_for(&folder)?;
        removal::remove_empty(&self.workdir, &folder, name)?;
        usage.removed(Removed::Folder);
        drop(usage);
        self.sync_dir(&folder)
    }

    /// Removes a file, or a link itself.
    pub fn remove_file(&self, path: &VirtualPath) -> io::Result<()> {
        let Target { folder, name, quota } = self.target_file(path)?;
        let mut usage = quota.lock_for(&folder)?;
        let metadata = folder.stat(name)?;
        if metadata.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        folder.remove_file(name)?;
        usage.removed(Removed::Leaf(&metadata));
        drop(usage);
        self.sync_dir(&folder)
    }

    /// Removes a file, or a folder with all in it. The folder leaves the user's sight in one step,
    /// before it is taken apart.
    pub fn remove_tree(&self, path: &VirtualPath) -> io::Result<()> {
        let Target { folder, name, quota } = self.target(path)?;
        let mut usage = quota.lock_for(&folder)?;
        let metadata = folder.stat(name)?;
        if !metadata.is_dir() {
            folder.remove_file(name)?;
            usage.removed(Removed::Leaf(&metadata));
            drop(usage);
            return self.sync_dir(&folder);
        }
        // What is in the whole folder of an account counts there, also if it cannot be removed.
        let account = self.is_top(path).then(|| self.workdir.open_home(name)).transpose()?;
        let mut counted = account.as_ref().map(|home| home.quota.lock());
        let hidden = HiddenFolder::new(&self.workdir, &folder, name)?;
        let removal = match (&account, &mut counted) {
            (Some(home), Some(counted)) => home.quota.begin_removal(counted),
            _ => quota.begin_removal(&mut usage),
        };
        drop((usage, counted));
        let removed = removal::remove(&self.workdir, &folder, hidden.name(name), Some(&removal));
        removed.or_else(|error| {
            hidden.put_back(&self.workdir, &folder, name, &error, Some(&removal))
        })?;
        self.sync_dir(&folder)
    }

    /// Gives a file or folder another name. It stays within its account, because open sessions and
    /// what is counted go with an account's folder. To another disk it is copied, which `stop` can
    /// stop.
    pub fn move_to(
        &self,
        from: &VirtualPath,
        to: &VirtualPath,
        existing: Existing,
        stop: &mut dyn FnMut(u64) -> bool,
    ) -> io::Result<()> {
        let (source, target) = (self.target(from)?, self.new_target(to)?);
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
        let mut usage = target.quota.lock_for(&target.folder)?;
        usage.check_stays(&source.folder)?;
        // Looked at again under the lock: a file at the top could give way to the folder of an
        // account, and another session could have moved what was there to this very target.
        let metadata = source.folder.stat(source.name)?;
        if self.is_top(from) && metadata.is_dir() {
            let why = "the whole folder of an account is not moved; copy it, then remove it";
            return Err(refused(ErrorKind::InvalidInput, why));
        }
        let before = target.folder.find(target.name)?;
        check_free(before.as_ref(), existing, &metadata)?;
        let mut renamed = source.folder.rename(source.name, &target.folder, target.name);
        let crosses = |renamed: &io::Result<()>| {
            renamed.as_ref().is_err_and(|error| error.kind() == ErrorKind::CrossesDevices)
        };
        // One folder in two places: what is copied there and then removed here would be lost.
        if crosses(&renamed) && source.folder.id()? == target.folder.id()? {
            renamed = source.folder.rename(source.name, &source.folder, target.name);
        }
        match renamed {
            renamed if crosses(&renamed) => {
                drop(usage);
                cross_device::move_across(&self.workdir, &source, &target, existing, stop)?;
                return self.sync_dir(&target.folder).and_then(|()| self.sync_dir(&source.folder));
            }
            renamed => renamed.map_err(removal::of_mounted)?,
        }
        match before {
            // Of two names of one file rename(2) takes none away.
            Some(before) if id_of(&before) != id_of(&metadata) => {
                usage.removed(Removed::Leaf(&before))
            }
            _ => usage.renamed(),
        }
        drop(usage);
        self.sync_dir(&target.folder).and_then(|()| self.sync_dir(&source.folder))
    }

    /// Copies a file, or a folder with all in it; the copy appears whole or not at all. `stop` is
    /// told how many bytes have been copied, and asked whether to give up. Returns the bytes of a
    /// file.
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
        let (parent, name) = if from.is_root() {
            return Err(into_itself());
        } else {
            self.open_parent(from)?
        };
        let metadata = parent.stat(name)?;
        if metadata.is_dir() {
            if to.is_within(from) {
                return Err(into_itself());
            }
            let target = self.new_target(to)?;
            if target.folder.find(target.name)?.is_some() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let quota = self.quota_of_copy(to, target.quota)?;
            let copy = tree::TreeCopy::new(
                &self.workdir,
                &quota,
                &parent.child(name)?,
                target.folder,
                stop,
            )?;
            return copy.commit(target.name).map(|()| None);
        }
        check_regular(&metadata)?;
        let (mut source, metadata) = parent.open_file(name, OpenOptions::new().read(true))?;
        let mut upload = self.create_with_mode(to, existing, tree::writable(&metadata))?;
        let bytes = upload.copy_from(&mut source, metadata.len(), stop)?;
        upload.commit().map(|()| Some(bytes))
    }

    /// The space that the copy of a folder must fit into. If it becomes the whole folder of an
    /// account, nothing is counted there yet.
    fn quota_of_copy(&self, to: &VirtualPath, quota: Arc<Quota>) -> io::Result<Arc<Quota>> {
        match (&self.scope, to.name()) {
            (Scope::Admin(quota_of), Some(account)) if to.parent().is_root() => {
                let quota = (quota_of.0)(account)?;
                let empty: Arc<Quota> = Arc::default();
                // The folder itself counts for the copy and not for the account.
                empty.set_limit(quota.map(|quota| quota.saturating_add(blocks(0))), |_| Ok(0))?;
                Ok(empty)
            }
            _ => Ok(quota),
        }
    }

    /// Fails with [`ErrorKind::QuotaExceeded`] where a new file of `bytes` would not fit.
    pub fn check_room(&self, bytes: u64) -> io::Result<()> {
        match &self.scope {
            Scope::User(quota) => quota.lock().check(blocks(bytes)),
            Scope::Admin(_) => Ok(()),
        }
    }

    /// Sets the most bytes that the files may take, and counts them where nobody has yet.
    pub fn set_quota(&self, limit: Option<u64>) -> io::Result<()> {
        match &self.scope {
            Scope::User(quota) => {
                self.workdir.counting(quota, &self.root, |count| quota.set_limit(limit, count))
            }
            Scope::Admin(_) => Ok(()),
        }
    }

    /// The bytes that the files take, counted anew, and the quota.
    pub fn usage(&self) -> io::Result<(u64, Option<u64>)> {
        match &self.scope {
            Scope::User(quota) => {
                self.workdir.counting(quota, &self.root, |count| quota.recount(count))
            }
            Scope::Admin(_) => {
                let beside = self.workdir.quota_of_root();
                let counted = |count: &mut dyn FnMut(&mut Sizes) -> _| count(&mut Sizes::default());
                Ok((self.workdir.counting(&beside, &self.root, counted)?, None))
            }
        }
    }
}

#[cfg(test)]
mod tests;
