//! Walks over whole trees: counting, copying, sweeping.
//!
//! None of them is recursive, and none holds a handle for each level: a tree may be as deep as the
//! disk allows.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{DirEntry, File, FileTimes, Metadata, OpenOptions, Permissions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::folder::{Folder, Id, changed_during_walk, check_regular, id_of};
use super::quota::{Quota, Reservation, Sizes, blocks};
use super::removal;
use super::staging::{Staging, Standing, Temporary, Use, is_reserved};
use super::upload::copy_content;
use super::workdir::Workdir;
use super::{into_itself, refused};

/// What a walk meets, in order.
trait Visitor {
    /// Something in `folder` that is no folder.
    fn leaf(&mut self, folder: &Folder, name: &OsStr, metadata: &Metadata) -> io::Result<()>;
    /// A folder, and next what is in it.
    fn enter(&mut self, name: &OsStr, metadata: &Metadata) -> io::Result<()>;
    /// The end of the folder entered last.
    fn leave(&mut self) -> io::Result<()>;
    /// Something that cannot be read: `name` in the folder entered last, or that folder itself. The
    /// walk goes on without it if this succeeds.
    fn unreadable(&mut self, name: Option<&OsStr>, error: io::Error) -> io::Result<()>;
    /// A temporary: for most walks there is none.
    fn temporary(&mut self, _folder: &Folder, _entry: &DirEntry) {}
    /// Whether it wants to see leaves, which costs a look at each.
    fn wants_leaves(&self) -> bool {
        true
    }
}

/// A folder on the way down to where a walk is.
#[derive(Default)]
struct Level {
    id: Id,
    /// Its next folders to be entered, the last one first.
    waiting: Vec<Vec<u8>>,
    /// More folders than these, whose names come after this one.
    more_after: Option<Vec<u8>>,
    /// The one that was entered last.
    entered: Vec<u8>,
}

/// So many names of folders are held for each level; for more, the folder is read again.
const HELD: usize = 1000;
/// So many are held for all levels together. Beyond it the upper ones forget theirs, and are read
/// again when the walk comes back to them.
const HELD_IN_ALL: usize = 4 * HELD;

/// Makes upper levels forget the names that they hold while there are too many; says how many are
/// held then.
fn shed(levels: &mut [Level], mut held: usize) -> usize {
    let Some((_, upper)) = levels.split_last_mut() else { return held };
    for level in upper.iter_mut().filter(|level| !level.waiting.is_empty()) {
        if held <= HELD_IN_ALL {
            break;
        }
        held -= std::mem::take(&mut level.waiting).len();
        level.more_after = Some(level.entered.clone());
    }
    held
}

/// Visits all that is in `top`, depth first.
fn walk(top: &Folder, visitor: &mut dyn Visitor) -> io::Result<()> {
    let mut here = top.try_clone()?;
    let mut levels = vec![scan(&here, None, visitor)?];
    let mut held = levels.iter().map(|level| level.waiting.len()).sum();
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.waiting.pop() {
            held -= 1;
            let child = here
                .child(&name)
                .and_then(|child| child.metadata().map(|metadata| (child, metadata)));
            let (child, metadata) = match child {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => {
                    visitor.unreadable(Some(OsStr::from_bytes(&name)), error)?;
                    continue;
                }
                Ok(child) => child,
            };
            visitor.enter(OsStr::from_bytes(&name), &metadata)?;
            here = child;
            level.entered = name;
            let next = scan(&here, None, visitor)?;
            held += next.waiting.len();
            levels.push(next);
            if held > HELD_IN_ALL {
                held = shed(&mut levels, held);
            }
        } else if let Some(after) = level.more_after.take() {
            *level = scan(&here, Some(&after), visitor)?;
            held += level.waiting.len();
        } else {
            levels.pop();
            if let Some(above) = levels.last() {
                here = match here.parent(above.id) {
                    // A folder that cannot be entered cannot be left either.
                    Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                        descend(top, &levels)?
                    }
                    parent => parent?,
                };
                visitor.leave()?;
            }
        }
    }
    Ok(())
}

/// Walks down again to the innermost of these levels.
fn descend(top: &Folder, levels: &[Level]) -> io::Result<Folder> {
    let mut here = top.try_clone()?;
    for (above, level) in levels.iter().zip(levels.iter().skip(1)) {
        here = here.child(&above.entered)?;
        if here.id()? != level.id {
            return Err(changed_during_walk());
        }
    }
    Ok(here)
}

/// Reads one folder: visits its leaves, unless that was done, and collects the first of its
/// folders, in the order of their names, that come `after` the ones before.
fn scan(folder: &Folder, after: Option<&[u8]>, visitor: &mut dyn Visitor) -> io::Result<Level> {
    let mut folders = BTreeSet::new();
    let mut more_after = None;
    let entries = match folder.entries() {
        Ok(entries) => Some(entries),
        Err(error) => visitor.unreadable(None, error).map(|()| None)?,
    };
    for entry in entries.into_iter().flatten() {
        let (entry, kind) =
            match entry.and_then(|entry| entry.file_type().map(|kind| (entry, kind))) {
                Err(error) => {
                    visitor.unreadable(None, error)?;
                    continue;
                }
                Ok(entry) => entry,
            };
        let name = entry.file_name();
        if is_reserved(name.as_bytes()) {
            if after.is_none() {
                visitor.temporary(folder, &entry);
            }
        } else if kind.is_dir() {
            if after.is_none_or(|after| name.as_bytes() > after) {
                folders.insert(name.into_vec());
            }
            if folders.len() > HELD {
                folders.pop_last();
                more_after = Some(());
            }
        } else if after.is_none() && visitor.wants_leaves() {
            match entry.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => {} // gone since it was listed
                Err(error) => visitor.unreadable(Some(&name), error)?,
                Ok(metadata) => visitor.leaf(folder, &name, &metadata)?,
            }
        }
    }
    let more_after = more_after.and_then(|()| folders.last().cloned());
    let waiting = folders.into_iter().rev().collect();
    Ok(Level { id: folder.id()?, waiting, more_after, ..Level::default() })
}

/// The space that a tree takes.
#[derive(Debug, Default)]
pub struct Count {
    /// All that could be read, in bytes.
    pub bytes: u64,
    /// What could not be read, and counts as nothing.
    pub unreadable: Option<Unreadable>,
}

/// Places in a tree that cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    /// The path of the first one.
    pub path: Vec<u8>,
    /// Why it cannot be read.
    pub error: io::Error,
    /// How many others there are.
    pub others: u64,
}

/// Counts the space that all in `top` takes. What the server cannot read counts as nothing: one
/// such folder must not keep an account's owner from the account.
pub fn count(top: &Folder, sizes: &mut Sizes) -> io::Result<Count> {
    let mut counter = Counter { count: Count::default(), path: Vec::new(), sizes };
    walk(top, &mut counter)?;
    Ok(counter.count)
}

struct Counter<'s> {
    count: Count,
    /// The path of the folder that was entered last.
    path: Vec<u8>,
    sizes: &'s mut Sizes,
}

/// Whether an error says that the server is short of something, and nothing about the folder:
/// EMFILE, ENFILE, ENOMEM. What a moment later could be read must not count as nothing.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), None | Some(24 | 23 | 12))
}

impl Visitor for Counter<'_> {
    fn leaf(&mut self, _: &Folder, _: &OsStr, metadata: &Metadata) -> io::Result<()> {
        self.count.bytes = self.count.bytes.saturating_add(self.sizes.of(metadata));
        Ok(())
    }

    fn enter(&mut self, name: &OsStr, _: &Metadata) -> io::Result<()> {
        self.count.bytes = self.count.bytes.saturating_add(blocks(0));
        self.path.push(b'/');
        self.path.extend_from_slice(name.as_bytes());
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        self.path.truncate(self.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
        Ok(())
    }

    fn unreadable(&mut self, name: Option<&OsStr>, error: io::Error) -> io::Result<()> {
        if is_shortage(&error) {
            return Err(error);
        }
        match &mut self.count.unreadable {
            Some(unreadable) => unreadable.others = unreadable.others.saturating_add(1),
            none => {
                let mut path = self.path.clone();
                if path.is_empty() || name.is_some() {
                    path.push(b'/');
                    path.extend_from_slice(name.map_or(&[], OsStr::as_bytes));
                }
                *none = Some(Unreadable { path, error, others: 0 });
            }
        }
        Ok(())
    }
}

/// Removes the temporaries that a kill left in the working directory. It takes its time, and holds
/// no client up. Counts them in `removed`.
pub fn sweep(workdir: &Workdir, top: &Folder, removed: &mut u64) -> io::Result<()> {
    walk(top, &mut Sweeper { workdir, removed })
}

struct Sweeper<'s> {
    workdir: &'s Workdir,
    removed: &'s mut u64,
}

/// A rest after each folder, so that the disk is there for others.
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
            self.workdir.staging().standing(entry.file_name().as_bytes()) == Standing::Stale;
        if is_stale && removal::remove_stale(self.workdir, folder, entry).is_ok() {
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

/// A copy of a whole folder beside the name that it will take, which becomes visible in one rename.
/// Dropped before, it is removed.
#[derive(Debug)]
pub struct TreeCopy {
    workdir: Arc<Workdir>,
    folder: Arc<Folder>,
    temporary: Option<Temporary>,
    reservation: Reservation,
}

impl TreeCopy {
    /// Copies all in `source` into a temporary in `folder`; links and other things that are no
    /// files make it fail.
    pub fn new(
        workdir: &Arc<Workdir>,
        quota: &Arc<Quota>,
        source: &Folder,
        folder: Arc<Folder>,
        stop: &mut dyn FnMut(u64) -> bool,
    ) -> io::Result<TreeCopy> {
        let temporary = workdir.staging().take(Use::Content);
        let reservation = Reservation::new(Arc::clone(quota));
        let mut copy =
            TreeCopy { workdir: Arc::clone(workdir), folder, temporary: None, reservation };
        let temporary = copy.temporary.insert(temporary);
        let reservation = &mut copy.reservation;
        reservation.grow(blocks(0))?;
        copy.folder.make_folder(temporary.name(), writable(&source.metadata()?))?;
        let there = copy.folder.child(temporary.name())?;
        let (sync, into) = (workdir.policy().sync, copy.folder.id()?);
        let mut copying = Copying { sync, into, moved: None, reservation, copied: 0, stop };
        copying.tree(source, there, &source.metadata()?)?;
        Ok(copy)
    }

    /// The copy takes the name `name` in its folder, which nothing may bear.
    pub fn commit(mut self, name: &[u8]) -> io::Result<()> {
        let quota = self.reservation.quota();
        let mut usage = quota.lock_for(&self.folder)?;
        if self.folder.find(name)?.is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if let Some(temporary) = &self.temporary {
            temporary.check_live()?;
            self.folder.rename(temporary.name(), &self.folder, name)?;
            self.temporary = None;
        }
        self.reservation.keep(&mut usage);
        drop(usage);
        if self.workdir.policy().sync { self.folder.open_for_sync()?.sync_all() } else { Ok(()) }
    }
}

impl Drop for TreeCopy {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // What is left is swept at the next start; the reservation is given back whole.
            let _ = removal::remove(&self.workdir, &self.folder, temporary.name(), None);
        }
    }
}

/// The work of copying.
pub struct Copying<'c> {
    /// Whether all is synced to the disk.
    pub sync: bool,
    /// The folder that will hold the copy. It may be mounted in what is copied, where no path
    /// tells.
    pub into: Id,
    /// For a move: what was copied, of which times, permissions and links are kept, too.
    pub moved: Option<&'c mut Fingerprint>,
    /// The space for it.
    pub reservation: &'c mut Reservation,
    /// How many bytes have been copied.
    pub copied: u64,
    /// Asks whether to give up.
    pub stop: &'c mut dyn FnMut(u64) -> bool,
}

impl Copying<'_> {
    /// Copies all in `source` into the folder `there`, which is new. `metadata` are those of the
    /// source.
    pub fn tree(&mut self, source: &Folder, there: Folder, metadata: &Metadata) -> io::Result<()> {
        self.check_outside(metadata)?;
        let mut copier = Copier { work: self, there, here: metadata.clone(), above: Vec::new() };
        walk(source, &mut copier)?;
        copier.leave() // the top, too, gets its times and is synced
    }

    /// Fails if this folder, which is copied, is the one that will hold the copy.
    fn check_outside(&self, metadata: &Metadata) -> io::Result<()> {
        if id_of(metadata) == self.into { Err(into_itself()) } else { Ok(()) }
    }

    /// Copies what is no folder to a new name.
    pub fn leaf(
        &mut self,
        from: &Folder,
        name: &[u8],
        metadata: &Metadata,
        to: &Folder,
        new: &[u8],
    ) -> io::Result<()> {
        let is_move = self.moved.is_some();
        if let Some(seen) = &mut self.moved {
            seen.add(name, metadata);
        }
        if is_move && metadata.is_symlink() {
            self.reservation.grow(blocks(metadata.len()))?;
            return to.make_link(new, &from.read_link(name)?);
        }
        check_regular(metadata)?;
        self.reservation.grow(blocks(metadata.len()))?;
        let (mut source, _) = from.open_file(name, OpenOptions::new().read(true))?;
        let mut file = to.create_file(new, if is_move { 0o600 } else { writable(metadata) })?;
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
}

/// Gives what was moved the times and permissions of what it was. A file system that keeps no
/// permissions (a USB stick's) refuses them, and is where its user wants the file.
fn take_over(file: &File, metadata: &Metadata) -> io::Result<()> {
    let given = file.metadata()?.permissions().mode() & 0o7000; // by a set-group-ID folder
    let bits =
        if metadata.is_dir() { writable(metadata) } else { metadata.permissions().mode() & 0o777 };
    let _ = file.set_permissions(Permissions::from_mode(given | bits));
    let times =
        FileTimes::new().set_modified(metadata.modified()?).set_accessed(metadata.accessed()?);
    file.set_times(times)
}

struct Copier<'c, 'w> {
    work: &'w mut Copying<'c>,
    there: Folder,
    /// The facts about what `there` is a copy of.
    here: Metadata,
    above: Vec<(Id, Metadata)>,
}

impl Visitor for Copier<'_, '_> {
    fn leaf(&mut self, folder: &Folder, name: &OsStr, metadata: &Metadata) -> io::Result<()> {
        let bytes = name.as_bytes();
        if self.work.moved.is_none() || !metadata.is_symlink() {
            check_regular(metadata).map_err(|error| cannot_copy(name, &error))?;
        }
        self.work.leaf(folder, bytes, metadata, &self.there, bytes)
    }

    fn enter(&mut self, name: &OsStr, metadata: &Metadata) -> io::Result<()> {
        if (self.work.stop)(self.work.copied) {
            return Err(ErrorKind::Interrupted.into()); // of many folders without a file
        }
        self.work.check_outside(metadata)?;
        if let Some(seen) = &mut self.work.moved {
            seen.add(name.as_bytes(), metadata);
        }
        self.work.reservation.grow(blocks(0))?;
        self.there.make_folder(name.as_bytes(), writable(metadata))?;
        let former = std::mem::replace(&mut self.here, metadata.clone());
        self.above.push((self.there.id()?, former));
        self.there = self.there.child(name.as_bytes())?;
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        if self.work.sync || self.work.moved.is_some() {
            let folder = self.there.open_for_sync()?;
            if self.work.moved.is_some() {
                take_over(&folder, &self.here)?;
            }
            if self.work.sync {
                folder.sync_all()?;
            }
        }
        if let Some((above, here)) = self.above.pop() {
            self.there = self.there.parent(above)?;
            self.here = here;
        }
        Ok(())
    }

    fn unreadable(&mut self, name: Option<&OsStr>, error: io::Error) -> io::Result<()> {
        Err(match name {
            Some(name) => cannot_copy(name, &error),
            None => error,
        })
    }
}

fn cannot_copy(name: &OsStr, error: &io::Error) -> io::Error {
    let name = String::from_utf8_lossy(name.as_bytes()).replace(char::is_control, "?");
    // Only texts of our own are shown.
    let why = if error.raw_os_error().is_none() { format!(": {error}") } else { String::new() };
    io::Error::new(error.kind(), format!("\"{name}\" in it cannot be copied{why}"))
}

/// A sum over names, times and sizes, so that a change of what was copied is noticed.
#[derive(Debug, Default, Clone)]
pub struct Fingerprint {
    keys: RandomState,
    sum: u64,
    /// Files that are being written to. One of them is a change.
    written: Vec<Id>,
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Fingerprint) -> bool {
        self.sum == other.sum
    }
}

impl Fingerprint {
    /// An empty one to be held against this one, while `written` are written to.
    pub fn again(&self, written: &[Id]) -> Fingerprint {
        Fingerprint { keys: self.keys.clone(), sum: 0, written: written.to_vec() }
    }

    /// Adds a file or a folder.
    pub fn add(&mut self, name: &[u8], metadata: &Metadata) {
        let id = id_of(metadata);
        let content = (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        let content = if metadata.is_dir() { None } else { Some(content) };
        let is_written = self.written.contains(&id);
        let hash = self.keys.hash_one((name, id, content, metadata.mode(), is_written));
        self.sum = self.sum.wrapping_add(hash);
    }

    /// Adds all in a folder. Fails with [`ErrorKind::ResourceBusy`] if a file is on its way into
    /// it, which would go with what moves.
    pub fn add_tree(&mut self, top: &Folder, staging: &Staging) -> io::Result<()> {
        let mut look = Look { fingerprint: self, staging, is_awaited: false };
        walk(top, &mut look)?;
        match look.is_awaited {
            true => Err(refused(
                ErrorKind::ResourceBusy,
                "a file is on its way into the folder that moves; try again",
            )),
            false => Ok(()),
        }
    }
}

struct Look<'f> {
    fingerprint: &'f mut Fingerprint,
    staging: &'f Staging,
    /// Whether a file is on its way into the tree.
    is_awaited: bool,
}

impl Visitor for Look<'_> {
    fn leaf(&mut self, _: &Folder, name: &OsStr, metadata: &Metadata) -> io::Result<()> {
        self.fingerprint.add(name.as_bytes(), metadata);
        Ok(())
    }

    fn enter(&mut self, name: &OsStr, metadata: &Metadata) -> io::Result<()> {
        self.fingerprint.add(name.as_bytes(), metadata);
        Ok(())
    }

    fn temporary(&mut self, _: &Folder, entry: &DirEntry) {
        self.is_awaited |=
            self.staging.standing(entry.file_name().as_bytes()) == Standing::Live(Use::Content);
    }

    fn leave(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn unreadable(&mut self, _: Option<&OsStr>, error: io::Error) -> io::Result<()> {
        Err(error)
    }
}

/// The nine permission bits, the owner's own access always among them: a copy of a read-only
/// folder could not be filled, nor ever removed.
pub fn writable(metadata: &Metadata) -> u32 {
    let owner = if metadata.is_dir() { 0o700 } else { 0o600 };
    metadata.permissions().mode() & 0o777 | owner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_fails_if_the_server_is_short_of_something_and_goes_on_past_what_it_cannot_read() {
        let mut sizes = Sizes::default();
        let mut counter =
            Counter { count: Count::default(), path: b"/d".to_vec(), sizes: &mut sizes };
        for shortage in [12, 23, 24] {
            let error = io::Error::from_raw_os_error(shortage);
            assert!(counter.unreadable(None, error).is_err(), "{shortage}");
        }
        assert!(counter.unreadable(None, changed_during_walk()).is_err());
        assert!(counter.count.unreadable.is_none());
        // EIO, EACCES, ESTALE.
        for unreadable in [5, 13, 116] {
            counter
                .unreadable(Some(OsStr::new("f")), io::Error::from_raw_os_error(unreadable))
                .unwrap();
        }
        let unreadable = counter.count.unreadable.unwrap();
        assert_eq!((unreadable.path, unreadable.others), (b"/d/f".to_vec(), 2));
        assert_eq!(unreadable.error.raw_os_error(), Some(5));
    }
}
