//! Walks over whole trees: counting, copying, removing.
//!
//! None of them is recursive, and none holds a handle for each level: a tree may be as deep as the
//! disk allows.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::folder::{Folder, Id, check_regular};
use super::space::{Reservation, Space, blocks};
use super::store::Store;

/// What a walk meets, in order.
trait Visitor {
    /// Something in `folder` that is no folder.
    fn leaf(&mut self, folder: &Folder, name: &OsStr, metadata: &Metadata) -> io::Result<()>;
    /// A folder, and next what is in it.
    fn enter(&mut self, name: &OsStr, metadata: &Metadata) -> io::Result<()>;
    /// The end of the folder entered last.
    fn leave(&mut self) -> io::Result<()>;
}

/// A folder on the way down to where a walk is.
struct Level {
    id: Id,
    /// Its folders that are still to be entered.
    waiting: Vec<Vec<u8>>,
}

/// Visits all that is in `top`, depth first.
fn walk(top: &Folder, visitor: &mut dyn Visitor) -> io::Result<()> {
    let mut here = top.again()?;
    let mut levels = vec![Level { id: here.id()?, waiting: scan(&here, visitor)? }];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.waiting.pop() {
            here = match here.child(&name) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                child => child?,
            };
            visitor.enter(OsStr::from_bytes(&name), &here.metadata()?)?;
            levels.push(Level { id: here.id()?, waiting: scan(&here, visitor)? });
        } else {
            levels.pop();
            if let Some(above) = levels.last() {
                here = here.parent(above.id)?;
                visitor.leave()?;
            }
        }
    }
    Ok(())
}

/// Visits the leaves of one folder; returns the names of its folders.
fn scan(folder: &Folder, visitor: &mut dyn Visitor) -> io::Result<Vec<Vec<u8>>> {
    let mut folders = Vec::new();
    for entry in folder.entries()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.file_name().into_vec());
            continue;
        }
        match entry.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => {} // gone since it was listed
            metadata => visitor.leaf(folder, &entry.file_name(), &metadata?)?,
        }
    }
    Ok(folders)
}

/// The space that all in `top` counts for, in bytes.
pub fn count(top: &Folder) -> io::Result<u64> {
    let mut counter = Counter(0);
    walk(top, &mut counter)?;
    Ok(counter.0)
}

struct Counter(u64);

impl Visitor for Counter {
    fn leaf(&mut self, _: &Folder, _: &OsStr, metadata: &Metadata) -> io::Result<()> {
        self.0 = self.0.saturating_add(blocks(metadata.len()));
        Ok(())
    }

    fn enter(&mut self, _: &OsStr, _: &Metadata) -> io::Result<()> {
        self.0 = self.0.saturating_add(blocks(0));
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A copy of a whole folder in the staging area, which becomes visible in one rename. Dropped
/// before, it is removed.
#[derive(Debug)]
pub struct TreeCopy {
    store: Arc<Store>,
    temporary: Option<Vec<u8>>,
    reservation: Reservation,
}

impl TreeCopy {
    /// Copies all in `source`; links and other things that are no files make it fail.
    pub fn new(store: &Arc<Store>, space: &Arc<Space>, source: &Folder) -> io::Result<TreeCopy> {
        let temporary = store.fresh_name();
        let mut reservation = Reservation::new(Arc::clone(space));
        reservation.grow(blocks(0))?;
        store.staging().make_folder(&temporary, writable(&source.metadata()?))?;
        let there = store.staging().child(&temporary)?;
        let mut copy = TreeCopy { store: Arc::clone(store), temporary: Some(temporary), reservation };
        let mut copier = Copier {
            sync: store.keeping().sync,
            there,
            above: Vec::new(),
            reservation: &mut copy.reservation,
        };
        walk(source, &mut copier)?;
        copier.leave()?; // the top, too, is synced where that is wanted
        Ok(copy)
    }

    /// The copy takes the name `name` in `folder`, which nothing may bear.
    pub fn commit(mut self, folder: &Folder, name: &[u8]) -> io::Result<()> {
        let space = self.reservation.space();
        let mut state = space.lock();
        if folder.find(name)?.is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if let Some(temporary) = &self.temporary {
            self.store.staging().rename(temporary, folder, name)?;
            self.temporary = None;
        }
        self.reservation.keep(&mut state);
        drop(state);
        if self.store.keeping().sync { folder.open_itself()?.sync_all() } else { Ok(()) }
    }
}

impl Drop for TreeCopy {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // What is left is swept at the next start; the reservation is given back whole.
            let _ = empty(&self.store, temporary, &mut |_| {});
        }
    }
}

struct Copier<'r> {
    sync: bool,
    there: Folder,
    above: Vec<Id>,
    reservation: &'r mut Reservation,
}

impl Visitor for Copier<'_> {
    fn leaf(&mut self, folder: &Folder, name: &OsStr, metadata: &Metadata) -> io::Result<()> {
        let named = |error: io::Error| {
            let name = String::from_utf8_lossy(name.as_bytes()).replace(char::is_control, "?");
            io::Error::new(error.kind(), format!("\"{name}\" in it cannot be copied: {error}"))
        };
        check_regular(metadata).map_err(named)?;
        self.reservation.grow(blocks(metadata.len()))?;
        let mut from = folder.open_file(name.as_bytes(), OpenOptions::new().read(true))?;
        let mut to = create(&self.there, name.as_bytes(), metadata)?;
        io::copy(&mut io::Read::take(&mut from, metadata.len()), &mut to)?;
        if self.sync { to.sync_all() } else { Ok(()) }
    }

    fn enter(&mut self, name: &OsStr, metadata: &Metadata) -> io::Result<()> {
        self.reservation.grow(blocks(0))?;
        self.there.make_folder(name.as_bytes(), writable(metadata))?;
        self.above.push(self.there.id()?);
        self.there = self.there.child(name.as_bytes())?;
        Ok(())
    }

    fn leave(&mut self) -> io::Result<()> {
        if self.sync {
            self.there.open_itself()?.sync_all()?;
        }
        if let Some(above) = self.above.pop() {
            self.there = self.there.parent(above)?;
        }
        Ok(())
    }
}

fn create(folder: &Folder, name: &[u8], like: &Metadata) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    folder.open_file(name, options.write(true).create_new(true).mode(writable(like)))
}

/// The nine permission bits, the owner's own access always among them: a copy of a read-only
/// folder could not be filled, nor ever removed.
pub fn writable(metadata: &Metadata) -> u32 {
    let owner = if metadata.is_dir() { 0o700 } else { 0o600 };
    metadata.permissions().mode() & 0o777 | owner
}

/// Reading a folder while it shrinks may pass names over, so it is read again; but not for ever, for
/// another session of the user may still be putting files into it.
const READS: u32 = 100;

/// Removes the folder `name` of the staging area with all in it, telling `removed` the space of
/// each thing that went. It does not descend: folders move up into the staging area, one rename
/// each, and are emptied there in their turn. Goes on past what cannot be removed, and returns the
/// first error.
pub fn empty(store: &Store, name: Vec<u8>, removed: &mut dyn FnMut(u64)) -> io::Result<()> {
    let mut first_error = Ok(());
    let mut waiting = vec![name];
    while let Some(name) = waiting.pop() {
        let mut emptied = Err(ErrorKind::DirectoryNotEmpty.into());
        for _ in 0..READS {
            emptied = uproot_all(store, &name, &mut waiting, removed)
                .and_then(|()| store.staging().remove_folder(&name));
            match &emptied {
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
                _ => break,
            }
        }
        match emptied {
            Ok(()) => removed(blocks(0)),
            // Another session of the user, that still has it open, was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => first_error = first_error.and(Err(error)),
        }
    }
    first_error
}

/// Removes all leaves of a staged folder, and moves its folders up.
fn uproot_all(
    store: &Store,
    name: &[u8],
    waiting: &mut Vec<Vec<u8>>,
    removed: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let folder = store.staging().child(name)?;
    let mut first_error = Ok(());
    for entry in folder.entries()? {
        match entry.and_then(|entry| uproot(store, &folder, &entry, waiting, removed)) {
            Err(error) if error.kind() != ErrorKind::NotFound => first_error = first_error.and(Err(error)),
            _ => {}
        }
    }
    first_error
}

fn uproot(
    store: &Store,
    folder: &Folder,
    entry: &std::fs::DirEntry,
    waiting: &mut Vec<Vec<u8>>,
    removed: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let name = entry.file_name();
    if entry.file_type()?.is_dir() {
        let fresh = store.fresh_name();
        folder.rename(name.as_bytes(), store.staging(), &fresh)?;
        waiting.push(fresh);
    } else {
        let size = entry.metadata()?.len();
        folder.remove_file(name.as_bytes())?;
        removed(blocks(size));
    }
    Ok(())
}
