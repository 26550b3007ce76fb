//! Removing whole folders.
//!
//! A walk removes each entry that it meets, and each folder when it leaves it. Others may change
//! the tree during the walk, so it begins again until the top folder is empty. It creates nothing,
//! because the disk may be full. A disk that is mounted below is emptied like any other folder.

use std::fs::{DirEntry, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::thread;
use std::time::Duration;

use super::folder::{Folder, busy, refused};
use super::quota::{Removal, Removed, Sizes};
use super::staging::{Standing, Temporary, Use, is_reserved};
use super::storage::Storage;
use super::walk::{self, Visitor};

/// The most walks in a row that remove nothing. Another session of the user that has a folder open
/// may be adding files to it.
const FRUITLESS: u32 = 100;
/// The most stale entries that one `rmdir` removes, so that its work is bounded.
const STALE_AT_ONCE: u64 = 1000;

/// A folder that is hidden from clients and that will be removed.
#[derive(Debug)]
pub struct HiddenFolder<'f> {
    storage: &'f Storage,
    parent: &'f Folder,
    /// The former name of the folder.
    name: Vec<u8>,
    /// The present name. `None` for a mounted disk, which keeps its name.
    temporary: Option<Temporary>,
}

impl<'f> HiddenFolder<'f> {
    /// Hides a folder by one rename. A mounted disk cannot be renamed, so it stays visible and is
    /// emptied in place.
    pub fn new(storage: &'f Storage, parent: &'f Folder, name: &[u8]) -> io::Result<Self> {
        let temporary = storage.staging.take(Use::Removal);
        let temporary = match parent.rename(name, parent, temporary.name()) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => None,
            renamed => renamed.map(|()| Some(temporary))?,
        };
        Ok(HiddenFolder { storage, parent, name: name.to_vec(), temporary })
    }

    /// Removes it with all in it, and frees what it took. What cannot be removed gets its former
    /// name back, so that its user sees it, and the error says why.
    pub fn remove(self, removal: &Removal) -> io::Result<()> {
        remove(self.storage, self.parent, self.name(), Some(removal))
            .or_else(|error| self.put_back(&error, removal))
    }

    fn put_back(self, error: &io::Error, removal: &Removal) -> io::Result<()> {
        let HiddenFolder { storage, parent, name, temporary } = self;
        let Some(temporary) = temporary else {
            if parent.child(&name)?.entries()?.next().is_some() {
                return Err(io::Error::new(error.kind(), text_of(error)));
            }
            let why = "a disk is mounted there, which stays; all in it is removed";
            return Err(refused(ErrorKind::InvalidInput, why));
        };
        // The name comes back also if the rest cannot be counted, for example for lack of file
        // descriptors.
        let left = parent.child(temporary.name());
        let count =
            left.and_then(|left| walk::count(&left, &mut Sizes::default())).unwrap_or_default();
        let mut usage = removal.lock();
        let is_back =
            parent.find(&name)?.is_none() && parent.rename(temporary.name(), parent, &name).is_ok();
        removal.remains(&mut usage, count.bytes, is_back);
        drop(usage);
        if !is_back {
            storage.warn_of_remains(error);
        }
        let text = format!("{}; what could not be removed is left", text_of(error));
        Err(io::Error::new(error.kind(), text))
    }

    /// The present name of the folder.
    pub fn name(&self) -> &[u8] {
        self.temporary.as_ref().map_or(&self.name, Temporary::name)
    }
}

/// Removes the folder `name` with all in it. `removal` frees the space that it counted for, if any.
/// Goes on if an entry cannot be removed, and returns the first error.
pub fn remove(
    storage: &Storage,
    parent: &Folder,
    name: &[u8],
    removal: Option<&Removal>,
) -> io::Result<()> {
    Remover::new(storage, removal, u64::MAX).tree(parent, name)
}

/// Removes a folder that is empty, or that holds stale temporaries only.
pub fn remove_empty(storage: &Storage, parent: &Folder, name: &[u8]) -> io::Result<()> {
    let removed = match parent.remove_folder(name) {
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
            remove_stale_in(storage, &parent.child(name)?)?;
            parent.remove_folder(name)
        }
        removed => removed,
    };
    removed.map_err(of_mounted)
}

/// Says that a disk is mounted, in place of the system's "busy".
pub fn of_mounted(error: io::Error) -> io::Error {
    match error.raw_os_error().map(|_| error.kind()) {
        Some(ErrorKind::ResourceBusy) => is_mounted(),
        _ => error,
    }
}

/// The error for a folder that cannot go because a disk is mounted at it.
pub fn is_mounted() -> io::Error {
    refused(ErrorKind::InvalidInput, "a disk is mounted there, which stays")
}

/// Removes the stale temporaries in a folder. Fails if it holds anything else.
fn remove_stale_in(storage: &Storage, folder: &Folder) -> io::Result<()> {
    let mut clearing = Remover::new(storage, None, STALE_AT_ONCE);
    for entry in folder.entries()? {
        let entry = entry?;
        let name = entry.file_name().into_vec();
        match is_reserved(&name).then(|| storage.staging.standing(&name)) {
            None => return Err(ErrorKind::DirectoryNotEmpty.into()),
            Some(Standing::Live(Use::Content)) => {
                return Err(busy("an upload into it is in progress; try again"));
            }
            Some(Standing::Live(Use::Removal)) => {
                let why = "a folder that was in it is still being removed; try again";
                return Err(busy(why));
            }
            Some(Standing::Foreign) => {
                let why = "it holds a hidden file that this server did not make";
                return Err(refused(ErrorKind::DirectoryNotEmpty, why));
            }
            Some(Standing::Stale) => clearing.stale(folder, &entry)?,
        }
    }
    Ok(())
}

/// Removes what a walk meets, and each folder when the walk leaves it. Goes on after errors.
struct Remover<'r> {
    storage: &'r Storage,
    /// Frees the space that the tree counted for, if any.
    removal: Option<&'r Removal>,
    /// The number of entries that may still be removed.
    left: u64,
    /// The number of entries that were removed.
    done: u64,
    /// How many folders below one another the walk has entered since it entered a temporary. To
    /// remove them frees nothing: a reservation counts a live one, and a stale one does not count.
    uncounted: u32,
    /// The first error of a walk that was not caused by another session that was faster.
    first_error: io::Result<()>,
}

impl<'r> Remover<'r> {
    fn new(storage: &'r Storage, removal: Option<&'r Removal>, left: u64) -> Remover<'r> {
        Remover { storage, removal, left, done: 0, uncounted: 0, first_error: Ok(()) }
    }

    fn spend(&mut self) -> io::Result<()> {
        let why = "what broken transfers left in it is being removed; try again";
        self.left = self.left.checked_sub(1).ok_or_else(|| busy(why))?;
        Ok(())
    }

    fn stale(&mut self, folder: &Folder, entry: &DirEntry) -> io::Result<()> {
        self.spend()?;
        let name = entry.file_name().into_vec();
        if entry.file_type()?.is_dir() {
            self.tree(folder, &name)
        } else {
            folder.remove_file(&name)
        }
    }

    /// Removes a folder with all in it. Walks again if others change the tree during the walk.
    fn tree(&mut self, parent: &Folder, name: &[u8]) -> io::Result<()> {
        let top = match parent.child(name) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            top => top?,
        };
        let mut fruitless = 0;
        loop {
            let before = self.done;
            let walked = walk::walk(&top, self);
            self.uncounted = 0; // also if the walk broke off
            if self.left == 0 && walked.is_err() {
                return walked;
            }
            let emptied = std::mem::replace(&mut self.first_error, Ok(())).and(walked);
            let Err(error) = self.emptied(parent, name) else { return Ok(()) };
            if self.done != before {
                fruitless = 0;
            } else if fruitless < FRUITLESS
                && emptied.as_ref().err().is_none_or(may_pass)
                && may_pass(&error)
            {
                fruitless += 1;
            } else {
                return emptied.and(Err(error));
            }
        }
    }

    fn leaf(&mut self, folder: &Folder, name: &[u8], entry: &DirEntry) -> io::Result<()> {
        let removal = self.removal.filter(|_| self.uncounted == 0 && self.counts(name));
        // Under the lock, because no writer in place begins or ends under it.
        let mut usage = removal.map(Removal::lock);
        let metadata = entry.metadata()?;
        folder.remove_file(name).map_err(|error| staying(name, error))?;
        if let (Some(removal), Some(usage)) = (removal, &mut usage) {
            removal.removed(usage, Removed::Leaf(&metadata));
        }
        self.done += 1;
        Ok(())
    }

    /// Removes a folder whose content is removed.
    fn emptied(&mut self, parent: &Folder, name: &[u8]) -> io::Result<()> {
        match parent.remove_folder(name) {
            // Another session was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            removed => removed.map_err(|error| staying(name, error))?,
        }
        if let Some(removal) = self.removal.filter(|_| self.uncounted == 0) {
            removal.removed(&mut removal.lock(), Removed::Folder);
        }
        self.done += 1;
        Ok(())
    }

    /// Whether an entry counts towards the quota. Of the temporaries, only a folder that another
    /// session is removing does.
    fn counts(&self, name: &[u8]) -> bool {
        !is_reserved(name) || self.storage.staging.standing(name) == Standing::Live(Use::Removal)
    }

    /// Notes an error, unless another session of the user was faster.
    fn note(&mut self, removed: io::Result<()>) {
        let is_gone = removed.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
        if self.first_error.is_ok() && !is_gone {
            self.first_error = removed;
        }
    }
}

impl Visitor for Remover<'_> {
    fn meet(&mut self, folder: &Folder, entry: &DirEntry, is_folder: bool) -> io::Result<bool> {
        self.spend()?;
        let name = entry.file_name().into_vec();
        if is_reserved(&name)
            && self.storage.staging.standing(&name) == Standing::Live(Use::Content)
        {
            // Under the lock, because the copy takes its name under it and would lack what is
            // removed here.
            let _no_commit = self.removal.map(Removal::lock);
            self.storage.staging.revoke(&name);
        }
        if !is_folder {
            let removed = self.leaf(folder, &name, entry);
            self.note(removed);
        }
        Ok(is_folder)
    }

    fn enter(&mut self, name: &[u8], _: &Metadata) -> io::Result<()> {
        if self.uncounted > 0 || !self.counts(name) {
            self.uncounted += 1;
        }
        Ok(())
    }

    fn leave(&mut self, parent: &Folder, name: &[u8]) -> io::Result<()> {
        let removed = self.emptied(parent, name);
        self.note(removed);
        self.uncounted = self.uncounted.saturating_sub(1);
        Ok(())
    }

    fn unreadable(&mut self, name: Option<&[u8]>, error: io::Error) -> io::Result<()> {
        self.note(Err(match name {
            Some(name) => staying(name, error),
            None => error,
        }));
        Ok(())
    }
}

/// Whether an error may be gone in the next walk, because another session caused it.
fn may_pass(error: &io::Error) -> bool {
    use ErrorKind::{DirectoryNotEmpty, NotFound, ResourceBusy};
    matches!(error.kind(), DirectoryNotEmpty | NotFound | ResourceBusy)
}

/// Removes the stale temporaries in the working directory, slowly, so that no client waits for the
/// disk. Counts them in `removed`.
pub fn sweep(storage: &Storage, top: &Folder, removed: &mut u64) -> io::Result<()> {
    walk::walk(top, &mut Sweeper { storage, removed })
}

struct Sweeper<'s> {
    storage: &'s Storage,
    removed: &'s mut u64,
}

/// The pause after each folder, so that clients can use the disk.
const REST: Duration = Duration::from_millis(1);

impl Visitor for Sweeper<'_> {
    fn meet(&mut self, folder: &Folder, entry: &DirEntry, is_folder: bool) -> io::Result<bool> {
        let name = entry.file_name();
        if !is_reserved(name.as_bytes()) {
            return Ok(is_folder);
        }
        let is_stale = self.storage.staging.standing(name.as_bytes()) == Standing::Stale;
        if is_stale && Remover::new(self.storage, None, u64::MAX).stale(folder, entry).is_ok() {
            *self.removed += 1;
        }
        Ok(false)
    }

    fn enter(&mut self, _: &[u8], _: &Metadata) -> io::Result<()> {
        thread::sleep(REST);
        Ok(())
    }

    fn unreadable(&mut self, _: Option<&[u8]>, _: io::Error) -> io::Result<()> {
        Ok(())
    }
}

/// The text of an error, without names of the host.
pub fn text_of(error: &io::Error) -> String {
    error.get_ref().map_or_else(|| error.kind().to_string(), ToString::to_string)
}

/// The error for an entry that cannot be removed. An error that another session may still change
/// keeps its kind and text.
fn staying(name: &[u8], error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty => error,
        _ if is_reserved(name) => error,
        ErrorKind::ResourceBusy => {
            let text = format!("a disk is mounted at \"{}\" in it, which stays", shown(name));
            io::Error::new(ErrorKind::InvalidInput, text)
        }
        _ => in_it(name, "removed", &error),
    }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).replace(char::is_control, "?")
}

/// The error for an entry of a tree that cannot be copied or removed.
pub fn in_it(name: &[u8], done: &str, error: &io::Error) -> io::Error {
    let text = format!("\"{}\" in it cannot be {done}: {}", shown(name), text_of(error));
    io::Error::new(error.kind(), text)
}
