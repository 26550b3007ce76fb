//! Moves between two disks, which rename(2) does not do.
//!
//! The file or folder is copied to a temporary beside its new name, with its times and its
//! permissions; the copy takes that name; then the source goes. Until the copy has its name the
//! source is as it was, and it stays if anything fails. A kill right after that leaves both, whole.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::sync::{Arc, MutexGuard};

use super::folder::{Folder, id_of};
use super::quota::{Removed, Reservation, Usage, blocks};
use super::removal::{self, HiddenFolder, text_of};
use super::staging::{Temporary, Use};
use super::tree::{Copying, Fingerprint};
use super::upload::Existing;
use super::workdir::Workdir;
use super::{Target, check_free, refused};

/// How often the source is compared again because something in the account has changed.
const LOOKS: u32 = 10;

/// Moves a file, a link or a folder to another disk.
pub fn move_across(
    workdir: &Arc<Workdir>,
    source: &Target<'_>,
    target: &Target<'_>,
    existing: Existing,
    stop: &mut dyn FnMut(u64) -> bool,
) -> io::Result<()> {
    let metadata = source.folder.stat(source.name)?;
    check_removable(source, &metadata)?;
    let copy = Copy::new(workdir, source, target, metadata, stop)?;
    for _ in 0..LOOKS {
        let before = source.quota.lock().snapshot();
        if !copy.is_of(source, &before.written)? {
            break;
        }
        let usage = source.quota.lock();
        if usage.is_as_in(&before) {
            return copy.take_the_place(source, target, existing, usage);
        }
    }
    Err(refused(
        ErrorKind::ResourceBusy,
        "it is being changed while it moves to another disk; try again",
    ))
}

/// The copy has replaced a file, which nothing can undo, and the source is still there.
fn stays_too(error: &io::Error) -> io::Error {
    let text =
        format!("it is copied there, but its source could not be removed: {}", text_of(error));
    io::Error::new(error.kind(), text)
}

/// Finds out beforehand whether the source can be removed in the end. The wrong call for what it is
/// changes nothing and needs no space, and the system asks for the rights to it first.
fn check_removable(source: &Target<'_>, metadata: &Metadata) -> io::Result<()> {
    if metadata.is_dir() && id_of(metadata).0 != source.folder.id()?.0 {
        return Err(refused(ErrorKind::InvalidInput, "a disk is mounted there, which stays"));
    }
    let _no_change = source.quota.lock();
    let refusal = match metadata.is_dir() {
        true if !cfg!(target_os = "linux") => return Ok(()), // others refuse it with EPERM
        true => source.folder.remove_file(source.name),
        false => source.folder.remove_folder(source.name),
    };
    match refusal.map_err(|error| error.kind()) {
        Err(ErrorKind::IsADirectory | ErrorKind::NotADirectory) => Ok(()),
        Err(kind) => Err(kind.into()),
        Ok(()) => Err(ErrorKind::NotFound.into()), // it was exchanged from outside
    }
}

/// A copy of what moves. Dropped before it has its place, it is removed.
struct Copy {
    workdir: Arc<Workdir>,
    folder: Arc<Folder>,
    temporary: Option<Temporary>,
    /// The facts about the source.
    metadata: Metadata,
    /// What was copied.
    seen: Fingerprint,
    reservation: Reservation,
}

impl Copy {
    fn new(
        workdir: &Arc<Workdir>,
        source: &Target<'_>,
        target: &Target<'_>,
        metadata: Metadata,
        stop: &mut dyn FnMut(u64) -> bool,
    ) -> io::Result<Copy> {
        let mut copy = Copy {
            workdir: Arc::clone(workdir),
            folder: Arc::clone(&target.folder),
            temporary: None,
            metadata,
            seen: Fingerprint::default(),
            reservation: Reservation::for_move(&source.quota)?,
        };
        let temporary = copy.temporary.insert(workdir.staging().take(Use::Content));
        let mut copying = Copying {
            sync: workdir.policy().sync,
            into: target.folder.id()?,
            moved: Some(&mut copy.seen),
            reservation: &mut copy.reservation,
            copied: 0,
            stop,
        };
        if copy.metadata.is_dir() {
            copying.reservation.grow(blocks(0))?;
            copy.folder.make_folder(temporary.name(), 0o700)?;
            let there = copy.folder.child(temporary.name())?;
            copying.tree(&source.folder.child(source.name)?, there, &copy.metadata)?;
        } else {
            copying.leaf(
                &source.folder,
                source.name,
                &copy.metadata,
                &copy.folder,
                temporary.name(),
            )?;
        }
        Ok(copy)
    }

    /// Whether the source is still what was copied, and not being written to.
    fn is_of(&self, source: &Target<'_>, written: &[super::folder::Id]) -> io::Result<bool> {
        let mut now = self.seen.again(written);
        if self.metadata.is_dir() {
            now.add_tree(&source.folder.child(source.name)?, self.workdir.staging())?;
        } else {
            now.add(source.name, &source.folder.stat(source.name)?);
        }
        Ok(now == self.seen)
    }

    /// The copy takes its name, and the source goes. `usage` is the locked space of both.
    fn take_the_place(
        mut self,
        source: &Target<'_>,
        target: &Target<'_>,
        existing: Existing,
        mut usage: MutexGuard<'_, Usage>,
    ) -> io::Result<()> {
        let before = target.folder.find(target.name)?;
        check_free(before.as_ref(), existing, &self.metadata)?;
        let Some(temporary) = &self.temporary else { return Ok(()) };
        temporary.check_live()?;
        self.folder.rename(temporary.name(), &self.folder, target.name)?;
        let left = self.sync().and_then(|()| match self.metadata.is_dir() {
            true => HiddenFolder::new(&self.workdir, &source.folder, source.name).map(Some),
            false => source.folder.remove_file(source.name).map(|()| None),
        });
        if let (Err(_), None) = (&left, &before)
            && self.folder.rename(target.name, &self.folder, temporary.name()).is_ok()
        {
            return left.map(drop); // the source stays, and the copy goes
        }
        self.temporary = None;
        self.reservation.keep(&mut usage);
        if let Some(before) = &before {
            usage.removed(Removed::Leaf(before));
        }
        let Some(hidden) = left.map_err(|error| stays_too(&error))? else {
            usage.removed(Removed::Leaf(&self.metadata));
            return Ok(());
        };
        usage.mark_moved(id_of(&self.metadata));
        let removal = source.quota.begin_removal(&mut usage);
        drop(usage);
        let removed = removal::remove(
            &self.workdir,
            &source.folder,
            hidden.name(source.name),
            Some(&removal),
        );
        removed.or_else(|error| {
            hidden.put_back(&self.workdir, &source.folder, source.name, &error, Some(&removal))
        })
    }

    /// Syncs the target's folder before the source goes, if the owner wants that.
    fn sync(&self) -> io::Result<()> {
        if self.workdir.policy().sync { self.folder.open_for_sync()?.sync_all() } else { Ok(()) }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // What cannot be removed is stale from now on.
        let _ = match self.temporary.take() {
            None => Ok(()),
            Some(temporary) if self.metadata.is_dir() => {
                removal::remove(&self.workdir, &self.folder, temporary.name(), None)
            }
            Some(temporary) => self.folder.remove_file(temporary.name()),
        };
    }
}
