//! Moves: a rename, or between two disks a copy and a removal, because rename(2) does not cross
//! disks.
//!
//! Between disks the file or folder is copied to a temporary beside its new name, with its times
//! and permissions. Then the copy gets that name, and the source is removed. The source stays as it
//! was if anything fails before the copy has its name. A kill after that leaves both, whole.

use std::io::{self, ErrorKind};
use std::sync::{Arc, MutexGuard};

use super::copy::Copy;
use super::folder::{busy, id_of};
use super::location::{Existing, Location, check_free};
use super::quota::{Removed, Reservation, Usage};
use super::removal::{self, HiddenFolder, is_mounted, text_of};
use super::storage::Storage;

/// Renames `source` to `target`, under the lock of their common quota. Fails with
/// [`ErrorKind::CrossesDevices`] if they are on different disks.
pub fn rename(
    storage: &Storage,
    source: &Location<'_>,
    target: &Location<'_>,
    existing: Existing,
    mut usage: MutexGuard<'_, Usage>,
) -> io::Result<()> {
    let metadata = source.folder.stat(source.name)?;
    let before = target.folder.find(target.name)?;
    check_free(before.as_ref(), existing, &metadata)?;
    let rename = storage.policy.rename(existing == Existing::Keep && metadata.is_file());
    let mut renamed = rename(&source.folder, source.name, &target.folder, target.name);
    // The same folder may be mounted twice. A copy followed by a removal would lose the file.
    if crosses_devices(&renamed) && source.folder.id()? == target.folder.id()? {
        renamed = rename(&source.folder, source.name, &source.folder, target.name);
    }
    renamed.map_err(removal::of_mounted)?;
    match before {
        // If both are names of one file, rename(2) removes neither.
        Some(before) if id_of(&before) != id_of(&metadata) => usage.removed(Removed::Leaf(&before)),
        _ => usage.renamed(),
    }
    Ok(())
}

/// Whether a rename failed because the names are on different disks.
pub fn crosses_devices(renamed: &io::Result<()>) -> bool {
    renamed.as_ref().is_err_and(|error| error.kind() == ErrorKind::CrossesDevices)
}

/// Moves a file, a link or a folder to another disk.
pub fn move_across(
    storage: &Arc<Storage>,
    source: &Location<'_>,
    target: &Location<'_>,
    existing: Existing,
    stop: &mut dyn FnMut(u64) -> bool,
) -> io::Result<()> {
    let metadata = source.folder.stat(source.name)?;
    if metadata.is_dir() && id_of(&metadata).0 != source.folder.id()?.0 {
        return Err(is_mounted());
    }
    let reservation = Reservation::for_move(&source.quota)?;
    let mut copy = Copy::new(storage, source, &metadata, &target.folder, reservation, true, stop)?;
    let mut usage = source.quota.lock();
    if !copy.is_of(source, usage.written_files())? {
        let why = "it is being changed while it moves to another disk; try again";
        return Err(busy(why));
    }
    let before = target.folder.find(target.name)?;
    check_free(before.as_ref(), existing, &metadata)?;
    copy.take_name(target.name)?;
    let left = storage.sync_dir(&target.folder).and_then(|()| {
        if metadata.is_dir() {
            HiddenFolder::new(storage, &source.folder, source.name).map(Some)
        } else {
            source.folder.remove_file(source.name).map(|()| None)
        }
    });
    if left.is_err() && before.is_none() && copy.give_name_back(target.name).is_ok() {
        return left.map(drop); // the source stays, and the copy goes
    }
    copy.keep(&mut usage);
    if let Some(before) = &before {
        usage.removed(Removed::Leaf(before));
    }
    // The copy has replaced a file, which cannot be undone.
    let stays_too = |error: io::Error| {
        let why = text_of(&error);
        let text = format!("it is copied there, but its source could not be removed: {why}");
        io::Error::new(error.kind(), text)
    };
    let Some(hidden) = left.map_err(stays_too)? else {
        usage.removed(Removed::Leaf(&metadata));
        return Ok(());
    };
    usage.mark_moved(id_of(&metadata));
    let removal = source.quota.begin_removal(&mut usage);
    drop(usage);
    hidden.remove(&removal)
}
