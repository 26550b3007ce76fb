//! Moves: a rename, or between two disks a copy and a removal, because rename(2) does not cross
//! disks.
//!
//! Between disks the file or folder is copied to a temporary beside its new name, with its times
//! and permissions. Then the copy gets that name, and the source is removed. The source stays as it
//! was if anything fails before the copy has its name. A kill after that leaves both, whole.

use std::io::{self, ErrorKind};
use std::sync::{Arc, MutexGuard};

use super::copy::Copy;
use super::folder::{Folder, busy, id_of};
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
    let is_link = storage.is_shared && existing == Existing::Keep && metadata.is_file();
    let rename = |to: &Folder| match is_link {
        true => rename_to_free(storage, source, to, target.name),
        false => source.folder.rename(source.name, to, target.name),
    };
    let mut renamed = rename(&target.folder);
    // The same folder may be mounted twice. A copy followed by a removal would lose the file.
    if crosses_devices(&renamed) && source.folder.id()? == target.folder.id()? {
        renamed = rename(&source.folder);
    }
    renamed.map_err(removal::of_mounted)?;
    match before {
        // If both are names of one file, rename(2) removes neither.
        Some(before) if id_of(&before) != id_of(&metadata) => usage.removed(Removed::Leaf(&before)),
        _ => usage.renamed(),
    }
    Ok(())
}

/// Renames a file to a name that is free, also if another node takes the new name, or stores a new
/// file at the old one, at this moment.
fn rename_to_free(
    storage: &Storage,
    source: &Location<'_>,
    to: &Folder,
    new: &[u8],
) -> io::Result<()> {
    source.folder.link(source.name, to, new)?;
    storage.remove_file(&source.folder, source.name, id_of(&to.stat(new)?))
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
    copy.take_name(target.name, existing)?;
    let left = storage.sync_dir(&target.folder).and_then(|()| {
        if metadata.is_dir() {
            HiddenFolder::new(storage, &source.folder, source.name).map(Some)
        } else {
            storage.remove_file(&source.folder, source.name, id_of(&metadata)).map(|()| None)
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
