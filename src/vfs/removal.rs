//! Removing whole folders.
//!
//! The removal needs no memory for the depth of the tree and creates nothing, because the disk may
//! be full. It moves each folder that it meets up into the top folder, by one rename, until the top
//! folder is empty. Nothing can move up from another disk that is mounted below, so the folders of
//! that disk are emptied in place.

use std::ffi::OsStr;
use std::fs::{DirEntry, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::thread;
use std::time::Duration;

use super::folder::{Folder, refused};
use super::quota::{Removal, Removed, Sizes};
use super::staging::{Standing, Temporary, Use, is_reserved};
use super::storage::Storage;
use super::walk::{self, Visitor};

/// The most passes in a row that remove nothing. Another session of the user that has a folder open
/// may be adding files to it.
const FRUITLESS: u32 = 100;
/// The most disks that may be mounted in one another.
const DISKS: u32 = 8;
/// The most stale entries that one `rmdir` removes, so that its work is bounded.
const STALE_AT_ONCE: u64 = 1000;

/// A folder that is hidden from clients and that will be removed.
#[derive(Debug)]
pub struct HiddenFolder(Option<Temporary>);

impl HiddenFolder {
    /// Hides a folder by one rename. A mounted disk cannot be renamed, so it stays visible and is
    /// emptied in place.
    pub fn new(storage: &Storage, parent: &Folder, name: &[u8]) -> io::Result<HiddenFolder> {
        let temporary = storage.staging.take(Use::Removal);
        match parent.rename(name, parent, temporary.name()) {
            Ok(()) => Ok(HiddenFolder(Some(temporary))),
            Err(error) if error.kind() == ErrorKind::ResourceBusy => Ok(HiddenFolder(None)),
            Err(error) => Err(error),
        }
    }

    /// Removes it with all in it, and frees what it took. What cannot be removed gets the name
    /// `name` back, so that its user sees it, and the error says why.
    pub fn remove(
        self,
        storage: &Storage,
        parent: &Folder,
        name: &[u8],
        removal: &Removal,
    ) -> io::Result<()> {
        remove(storage, parent, self.name(name), Some(removal))
            .or_else(|error| self.put_back(storage, parent, name, &error, removal))
    }

    fn put_back(
        self,
        storage: &Storage,
        parent: &Folder,
        name: &[u8],
        error: &io::Error,
        removal: &Removal,
    ) -> io::Result<()> {
        let Some(temporary) = self.0 else {
            if parent.child(name)?.entries()?.next().is_some() {
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
            parent.find(name)?.is_none() && parent.rename(temporary.name(), parent, name).is_ok();
        removal.remains(&mut usage, count.bytes, is_back);
        drop(usage);
        if !is_back {
            storage.warn_of_remains(error);
        }
        let text = format!("{}; what could not be removed is left", text_of(error));
        Err(io::Error::new(error.kind(), text))
    }

    /// The present name of the folder, whose former name was `name`.
    pub fn name<'n>(&'n self, name: &'n [u8]) -> &'n [u8] {
        self.0.as_ref().map_or(name, Temporary::name)
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
    Remover { storage, left: u64::MAX, done: 0, disks: 0 }.folder(parent, name, removal)
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
        Some(ErrorKind::ResourceBusy) => {
            refused(ErrorKind::InvalidInput, "a disk is mounted there, which stays")
        }
        _ => error,
    }
}

/// Removes the stale temporaries in a folder. Fails if it holds anything else.
fn remove_stale_in(storage: &Storage, folder: &Folder) -> io::Result<()> {
    let mut clearing = Remover { storage, left: STALE_AT_ONCE, done: 0, disks: 0 };
    for entry in folder.entries()? {
        let entry = entry?;
        let name = entry.file_name().into_vec();
        match is_reserved(&name).then(|| storage.staging.standing(&name)) {
            None => return Err(ErrorKind::DirectoryNotEmpty.into()),
            Some(Standing::Live(Use::Content)) => {
                return Err(refused(
                    ErrorKind::ResourceBusy,
                    "an upload into it is in progress; try again",
                ));
            }
            Some(Standing::Live(Use::Removal)) => {
                let why = "a folder that was in it is still being removed; try again";
                return Err(refused(ErrorKind::ResourceBusy, why));
            }
            Some(Standing::Foreign) => {
                let why = "it holds a hidden file that this server did not make";
                return Err(refused(ErrorKind::DirectoryNotEmpty, why));
            }
            Some(Standing::Stale) => clearing.stale(folder, &name, &entry)?,
        }
    }
    Ok(())
}

/// Removes a stale temporary, without a limit on the work.
pub fn remove_stale(storage: &Storage, folder: &Folder, entry: &DirEntry) -> io::Result<()> {
    let mut clearing = Remover { storage, left: u64::MAX, done: 0, disks: 0 };
    clearing.stale(folder, &entry.file_name().into_vec(), entry)
}

/// The work of removing.
struct Remover<'s> {
    storage: &'s Storage,
    /// The number of entries that may still be removed.
    left: u64,
    /// The number of entries that were removed or moved up.
    done: u64,
    /// The number of folders inside one another that are being emptied as top folders.
    disks: u32,
}

impl Remover<'_> {
    fn spend(&mut self) -> io::Result<()> {
        let why = "what broken transfers left in it is being removed; try again";
        self.left =
            self.left.checked_sub(1).ok_or_else(|| refused(ErrorKind::ResourceBusy, why))?;
        Ok(())
    }

    fn stale(&mut self, folder: &Folder, name: &[u8], entry: &DirEntry) -> io::Result<()> {
        self.spend()?;
        if entry.file_type()?.is_dir() {
            self.folder(folder, name, None)
        } else {
            folder.remove_file(name)
        }
    }

    /// Removes a folder as a top folder.
    fn folder(
        &mut self,
        parent: &Folder,
        name: &[u8],
        removal: Option<&Removal>,
    ) -> io::Result<()> {
        if self.disks > 2 * DISKS {
            return Err(refused(
                ErrorKind::InvalidInput,
                "too many disks are mounted in one another",
            ));
        }
        let top = match parent.child(name) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            top => top?,
        };
        self.disks += 1;
        let removed = self.passes(parent, name, &top, removal);
        self.disks -= 1;
        removed
    }

    fn passes(
        &mut self,
        parent: &Folder,
        name: &[u8],
        top: &Folder,
        removal: Option<&Removal>,
    ) -> io::Result<()> {
        let mut fruitless = 0;
        loop {
            let before = self.done;
            let emptied = self.pass(top, None, removal);
            let Err(error) = self.remove_emptied(parent, name, removal) else { return Ok(()) };
            let might_succeed = error.kind() == ErrorKind::DirectoryNotEmpty
                && emptied
                    .as_ref()
                    .err()
                    .is_none_or(|error| error.kind() == ErrorKind::DirectoryNotEmpty);
            if self.left > 0 && self.done != before {
                fruitless = 0;
            } else if self.left > 0 && might_succeed && fruitless < FRUITLESS {
                fruitless += 1;
            } else {
                return emptied.and(Err(error));
            }
        }
    }

    /// Removes the content of a folder. Its folders move up into `top`; if `top` is `None`, this is
    /// the top folder, and they are emptied and removed. Goes on after errors and returns the
    /// first.
    fn pass(
        &mut self,
        folder: &Folder,
        top: Option<&Folder>,
        removal: Option<&Removal>,
    ) -> io::Result<()> {
        let mut first_error = Ok(());
        for entry in folder.entries()? {
            match entry.and_then(|entry| self.entry(folder, top, &entry, removal)) {
                // Another session of the user, which has the folder open, was faster.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if self.left == 0 => return Err(error),
                done => first_error = first_error.and(done),
            }
        }
        first_error
    }

    fn entry(
        &mut self,
        folder: &Folder,
        top: Option<&Folder>,
        entry: &DirEntry,
        removal: Option<&Removal>,
    ) -> io::Result<()> {
        let name = entry.file_name().into_vec();
        self.spend()?;
        // Temporaries do not count here, because a reservation counts those that are live.
        let standing = is_reserved(&name).then(|| self.storage.staging.standing(&name));
        if standing == Some(Standing::Live(Use::Content)) {
            // Under the lock, because the copy takes its name under it and would lack what is
            // removed here.
            let _no_commit = removal.map(Removal::lock);
            self.storage.staging.revoke(&name);
        }
        let removal =
            removal.filter(|_| matches!(standing, None | Some(Standing::Live(Use::Removal))));
        if !entry.file_type()?.is_dir() {
            self.leaf(folder, &name, entry, removal)
        } else if standing.is_some() && removal.is_none() {
            self.folder(folder, &name, None)
        } else if let Some(top) = top {
            match self.move_up(folder, &name, top) {
                // A disk is mounted there, or the folder is on one.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ResourceBusy | ErrorKind::CrossesDevices
                    ) =>
                {
                    self.folder(folder, &name, removal)
                }
                moved => moved,
            }
        } else {
            let emptied = self.pass(&folder.child(&name)?, Some(folder), removal);
            self.remove_emptied(folder, &name, removal).or_else(|error| emptied.and(Err(error)))
        }
    }

    fn leaf(
        &mut self,
        folder: &Folder,
        name: &[u8],
        entry: &DirEntry,
        removal: Option<&Removal>,
    ) -> io::Result<()> {
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

    fn remove_emptied(
        &mut self,
        parent: &Folder,
        name: &[u8],
        removal: Option<&Removal>,
    ) -> io::Result<()> {
        match parent.remove_folder(name) {
            // Another session was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(staying(name, error)),
            Ok(()) => {
                if let Some(removal) = removal {
                    removal.removed(&mut removal.lock(), Removed::Folder);
                }
                self.done += 1;
                Ok(())
            }
        }
    }

    /// Moves a folder into the top folder and gives it a free number for a name. The user's own
    /// names may be numbers, too.
    fn move_up(&mut self, folder: &Folder, name: &[u8], top: &Folder) -> io::Result<()> {
        loop {
            let number = self.storage.staging.next_number().to_string().into_bytes();
            if top.find(&number)?.is_none() {
                folder.rename(name, top, &number)?;
                self.done += 1;
                return Ok(());
            }
        }
    }
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
    fn leaf(&mut self, _: &Folder, _: &OsStr, _: &Metadata) -> io::Result<()> {
        Ok(())
    }

    fn enter(&mut self, _: &OsStr, _: &Metadata) -> io::Result<()> {
        thread::sleep(REST);
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn temporary(&mut self, folder: &Folder, entry: &DirEntry) {
        let is_stale =
            self.storage.staging.standing(entry.file_name().as_bytes()) == Standing::Stale;
        if is_stale && remove_stale(self.storage, folder, entry).is_ok() {
            *self.removed += 1;
        }
    }

    fn wants_leaves(&self) -> bool {
        false
    }

    fn unreadable(&mut self, _: Option<&OsStr>, _: io::Error) -> io::Result<()> {
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
    let shown = || String::from_utf8_lossy(name).replace(char::is_control, "?");
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty => error,
        _ if is_reserved(name) => error,
        ErrorKind::ResourceBusy => {
            let text = format!("a disk is mounted at \"{}\" in it, which stays", shown());
            io::Error::new(ErrorKind::InvalidInput, text)
        }
        kind => io::Error::new(
            kind,
            format!("\"{}\" in it cannot be removed: {}", shown(), text_of(&error)),
        ),
    }
}
