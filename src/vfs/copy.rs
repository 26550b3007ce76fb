//! Copies of whole trees.

use std::fs::{DirEntry, File, FileTimes, Metadata, OpenOptions, Permissions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;

use super::folder::{Folder, Id, busy, check_regular, id_of};
use super::location::{Existing, Location, into_itself};
use super::quota::{Reservation, Usage, blocks};
use super::removal::{self, in_it};
use super::staging::{Staging, Standing, Temporary, Use, is_reserved};
use super::storage::Storage;
use super::upload::copy_content;
use super::walk::{Visitor, walk};

/// A copy beside the name that it will take. If it is dropped before, it is removed.
#[derive(Debug)]
pub struct Copy {
    storage: Arc<Storage>,
    folder: Arc<Folder>,
    temporary: Temporary,
    is_folder: bool,
    is_kept: bool,
    reservation: Reservation,
    /// For a move: what was copied.
    seen: Option<Fingerprint>,
}

impl Copy {
    /// Copies the entry `source` to a temporary in `folder`. A move keeps times, permissions and
    /// links; otherwise a link is an error. `stop` gets the bytes copied so far; if it returns
    /// true, this fails with [`ErrorKind::Interrupted`].
    pub fn new(
        storage: &Arc<Storage>,
        source: &Location<'_>,
        metadata: &Metadata,
        folder: &Arc<Folder>,
        reservation: Reservation,
        is_move: bool,
        stop: &mut dyn FnMut(u64) -> bool,
    ) -> io::Result<Copy> {
        let mut copy = Copy {
            storage: Arc::clone(storage),
            folder: Arc::clone(folder),
            temporary: storage.staging.take(Use::Content),
            is_folder: metadata.is_dir(),
            is_kept: false,
            reservation,
            seen: is_move.then(|| Fingerprint::new(&storage.staging)),
        };
        let name = copy.temporary.name();
        let mut copier = Copier {
            sync: storage.policy.sync,
            into: folder.id()?,
            moved: copy.seen.as_mut(),
            reservation: &mut copy.reservation,
            copied: 0,
            stop,
            there: folder.try_clone()?,
            above: Vec::new(),
        };
        if metadata.is_dir() {
            copier.begin_folder(source.name, metadata, name)?;
            walk(&source.folder.child(source.name)?, &mut copier)?;
            copier.end_folder()?;
        } else {
            copier.file(&source.folder, source.name, metadata, name)?;
        }
        Ok(copy)
    }

    /// Gives the copy its final name. [`Copy::keep`] or [`Copy::give_name_back`] must follow.
    pub fn take_name(&self, name: &[u8], existing: Existing) -> io::Result<()> {
        self.temporary.check_live()?;
        let is_new = existing == Existing::Keep && !self.is_folder;
        let rename = self.storage.rename(is_new);
        rename(&self.folder, self.temporary.name(), &self.folder, name)
    }

    /// Undoes [`Copy::take_name`].
    pub fn give_name_back(&self, name: &[u8]) -> io::Result<()> {
        self.folder.rename(name, &self.folder, self.temporary.name())
    }

    /// Ends the copy: it stays and counts as stored. `usage` is the locked quota.
    pub fn keep(&mut self, usage: &mut Usage) {
        self.is_kept = true;
        self.reservation.keep(usage);
    }

    /// Whether the source of a move is unchanged since it was copied. `written` are the files that
    /// are being written in place.
    pub fn is_of(&self, source: &Location<'_>, written: Vec<Id>) -> io::Result<bool> {
        let Some(seen) = &self.seen else { return Ok(true) };
        let mut now = Fingerprint { sum: 0, written, ..seen.clone() };
        now.add(source.name, &source.folder.stat(source.name)?);
        if self.is_folder {
            walk(&source.folder.child(source.name)?, &mut now)?;
        }
        Ok(now.sum == seen.sum)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let name = self.temporary.name();
        // What cannot be removed is stale from now on. The reservation is released.
        let _ = if self.is_folder {
            removal::remove(&self.storage, &self.folder, name, None)
        } else {
            self.folder.remove_file(name)
        };
    }
}

/// Copies a file, or the tree that a walk goes through.
struct Copier<'c> {
    /// Whether all is synced to the disk.
    sync: bool,
    /// The folder that will hold the copy. It may be mounted inside the source, which no path
    /// shows.
    into: Id,
    /// For a move, which keeps times, permissions and links: the sum over what was copied.
    moved: Option<&'c mut Fingerprint>,
    reservation: &'c mut Reservation,
    copied: u64,
    /// Asks whether to give up.
    stop: &'c mut dyn FnMut(u64) -> bool,
    /// The folder that gets the next copy.
    there: Folder,
    /// For each folder of the copy from the top down to `there`: the folder above it, and the facts
    /// about what it is a copy of.
    above: Vec<(Id, Metadata)>,
}

impl Copier<'_> {
    /// Copies an entry that is not a folder to a new name.
    fn file(
        &mut self,
        from: &Folder,
        name: &[u8],
        metadata: &Metadata,
        new: &[u8],
    ) -> io::Result<()> {
        let is_move = self.moved.is_some();
        if let Some(seen) = &mut self.moved {
            seen.add(name, metadata);
        }
        if is_move && metadata.is_symlink() {
            self.reservation.grow(blocks(metadata.len()))?;
            return self.there.make_link(new, &from.read_link(name)?);
        }
        check_regular(metadata)?;
        self.reservation.grow(blocks(metadata.len()))?;
        let (mut source, _) = from.open_file(name, OpenOptions::new().read(true))?;
        let mode = if is_move { 0o600 } else { writable(metadata) };
        let mut file = self.there.create_file(new, mode)?;
        let before = self.copied;
        let stop = &mut |copied| (self.stop)(before.saturating_add(copied));
        let copied = copy_content(&mut source, &mut file, metadata.len(), stop)?;
        self.copied = before.saturating_add(copied);
        // It may have been replaced by a shorter one since it was listed.
        self.reservation.shrink_by(blocks(metadata.len()).saturating_sub(blocks(copied)));
        if is_move {
            take_over(&file, metadata)?;
        }
        if self.sync { file.sync_all() } else { Ok(()) }
    }

    /// Creates the copy of a folder, whose content is copied next.
    fn begin_folder(&mut self, name: &[u8], metadata: &Metadata, new: &[u8]) -> io::Result<()> {
        if (self.stop)(self.copied) {
            return Err(ErrorKind::Interrupted.into()); // of many folders without a file
        }
        if id_of(metadata) == self.into {
            return Err(into_itself());
        }
        if let Some(seen) = &mut self.moved {
            seen.add(name, metadata);
        }
        self.reservation.grow(blocks(0))?;
        self.there
            .make_folder(new, if self.moved.is_some() { 0o700 } else { writable(metadata) })?;
        self.above.push((self.there.id()?, metadata.clone()));
        self.there = self.there.child(new)?;
        Ok(())
    }

    /// Gives a folder whose content is complete its times, and syncs it.
    fn end_folder(&mut self) -> io::Result<()> {
        let Some((above, metadata)) = self.above.pop() else { return Ok(()) };
        if self.sync || self.moved.is_some() {
            let folder = self.there.open_for_sync()?;
            if self.moved.is_some() {
                take_over(&folder, &metadata)?;
            }
            if self.sync {
                folder.sync_all()?;
            }
        }
        self.there = self.there.parent(above)?;
        Ok(())
    }
}

/// Gives the copy the times and permissions of the source. A file system without permissions (a USB
/// stick's) refuses them; that is no error, because the user wants the file there.
fn take_over(file: &File, metadata: &Metadata) -> io::Result<()> {
    let given = file.metadata()?.permissions().mode() & 0o7000; // by a set-group-ID folder
    let bits =
        if metadata.is_dir() { writable(metadata) } else { metadata.permissions().mode() & 0o777 };
    let _ = file.set_permissions(Permissions::from_mode(given | bits));
    let times =
        FileTimes::new().set_modified(metadata.modified()?).set_accessed(metadata.accessed()?);
    file.set_times(times)
}

impl Visitor for Copier<'_> {
    fn leaf(&mut self, folder: &Folder, name: &[u8], metadata: &Metadata) -> io::Result<()> {
        if self.moved.is_none() || !metadata.is_symlink() {
            check_regular(metadata).map_err(|error| in_it(name, "copied", &error))?;
        }
        self.file(folder, name, metadata, name)
    }

    fn enter(&mut self, name: &[u8], metadata: &Metadata) -> io::Result<()> {
        self.begin_folder(name, metadata, name)
    }

    fn leave(&mut self, _: &Folder, _: &[u8]) -> io::Result<()> {
        self.end_folder()
    }

    fn unreadable(&mut self, name: Option<&[u8]>, error: io::Error) -> io::Result<()> {
        Err(match name {
            Some(name) => in_it(name, "copied", &error),
            None => error,
        })
    }
}

/// A sum over names, times and sizes, which shows whether a source has changed since it was copied.
#[derive(Debug, Clone)]
struct Fingerprint {
    staging: Arc<Staging>,
    keys: RandomState,
    sum: u64,
    /// Files that are being written in place. Each counts as a change.
    written: Vec<Id>,
}

impl Fingerprint {
    fn new(staging: &Arc<Staging>) -> Fingerprint {
        let (staging, keys) = (Arc::clone(staging), RandomState::new());
        Fingerprint { staging, keys, sum: 0, written: Vec::new() }
    }

    fn add(&mut self, name: &[u8], metadata: &Metadata) {
        let id = id_of(metadata);
        let content = (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        let content = if metadata.is_dir() { None } else { Some(content) };
        let is_written = self.written.contains(&id);
        let hash = self.keys.hash_one((name, id, content, metadata.mode(), is_written));
        self.sum = self.sum.wrapping_add(hash);
    }
}

/// Adds all in a folder. Fails with [`ErrorKind::ResourceBusy`] if an upload into it is in
/// progress, because the move would remove its temporary file.
impl Visitor for Fingerprint {
    fn meet(&mut self, _: &Folder, entry: &DirEntry, _: bool) -> io::Result<bool> {
        let name = entry.file_name();
        if !is_reserved(name.as_bytes()) {
            return Ok(true);
        }
        if self.staging.standing(name.as_bytes()) == Standing::Live(Use::Content) {
            let why = "an upload into that folder is in progress; try again";
            return Err(busy(why));
        }
        Ok(false)
    }

    fn leaf(&mut self, _: &Folder, name: &[u8], metadata: &Metadata) -> io::Result<()> {
        self.add(name, metadata);
        Ok(())
    }

    fn enter(&mut self, name: &[u8], metadata: &Metadata) -> io::Result<()> {
        self.add(name, metadata);
        Ok(())
    }

    fn unreadable(&mut self, _: Option<&[u8]>, error: io::Error) -> io::Result<()> {
        Err(error)
    }
}

/// The nine permission bits, always with the server's own access. Without it, a copy of a read-only
/// folder could be neither filled nor removed.
pub fn writable(metadata: &Metadata) -> u32 {
    let owner = if metadata.is_dir() { 0o700 } else { 0o600 };
    metadata.permissions().mode() & 0o777 | owner
}
