//! What a user's files take, and how much they may take.
//!
//! Space is counted as a disk does, in blocks of 4 KiB; an empty file counts as one block, so that
//! a quota also bounds how many files there are. Space is reserved before bytes are written and
//! becomes stored when the file takes its name. The same lock orders all changes of names in one
//! user's tree, so that "is the name free?" and "take it" are one step.

use std::collections::HashMap;
use std::fmt;
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::lock::lock;

use super::folder::{Folder, Id, busy, id_of};

const BLOCK: u64 = 4096;

/// What a file of `size` bytes or a folder (0) counts for, in bytes.
pub fn blocks(size: u64) -> u64 {
    size.max(1).checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

/// Knows how many bytes each account may store.
pub trait QuotaSource: fmt::Debug + Send + Sync {
    /// The most bytes that the account that owns the folder of this name may store. `None` means no
    /// limit.
    fn quota_of(&self, folder: &[u8]) -> io::Result<Option<u64>>;
}

/// The space that one account uses and may use, shared by all its sessions.
#[derive(Debug, Default)]
pub struct Quota {
    /// The name of the account's folder.
    account: Vec<u8>,
    usage: Mutex<Usage>,
    has_warned: AtomicBool,
}

/// The numbers behind a [`Quota`], and the lock on all changes of names in the account's tree.
#[derive(Debug, Default)]
pub struct Usage {
    limit: Option<u64>,
    stored: u64,
    reserved: u64,
    /// Whether `stored` is what the tree holds. Without a limit it need not be known.
    counted: bool,
    /// Grows with every change of the tree, so that a count during which it has grown is not used.
    changes: u64,
    /// The number of trees that are being removed.
    removals: u32,
    /// The files that are written in place, each by one writer, and the bytes of each that `stored`
    /// includes.
    written: HashMap<Id, u64>,
    /// Whether a move to another disk is in progress. Its content exists twice until the move ends.
    is_moving: bool,
    /// The folder that has moved to another disk and whose source is being removed.
    moved: Option<Id>,
}

/// What was removed from a tree.
#[derive(Debug, Clone, Copy)]
pub enum Removed<'m> {
    Folder,
    /// A file, or another entry that is not a folder.
    Leaf(&'m Metadata),
}

impl Quota {
    /// The quota of the account whose folder has this name.
    pub fn of(account: &[u8]) -> Quota {
        Quota { account: account.to_vec(), ..Quota::default() }
    }

    pub fn account(&self) -> &[u8] {
        &self.account
    }

    /// Returns true for the first call only, because a client can cause this warning as often as it
    /// likes, and the log should have it once.
    pub fn may_warn(&self) -> bool {
        !self.has_warned.swap(true, Ordering::Relaxed)
    }

    /// Locks the numbers. The caller may change names in the tree until it drops the guard.
    pub fn lock(&self) -> MutexGuard<'_, Usage> {
        lock(&self.usage)
    }

    /// Locks the numbers to change names in `folder`. Fails with [`ErrorKind::ResourceBusy`] if the
    /// folder has moved to another disk since it was opened.
    pub fn lock_for(&self, folder: &Folder) -> io::Result<MutexGuard<'_, Usage>> {
        let usage = self.lock();
        usage.check_stays(folder)?;
        Ok(usage)
    }

    /// Sets the limit. If the usage is unknown, computes it with `count` first, under the lock; if
    /// that fails, the limit is not set. A file that is written in place counts with its former
    /// length, because its writer's reservation holds the rest.
    pub fn set_limit(
        &self,
        limit: Option<u64>,
        count: impl FnOnce(&mut Sizes) -> io::Result<u64>,
    ) -> io::Result<()> {
        let mut usage = self.lock();
        if limit.is_some() && !usage.counted {
            let mut sizes = Sizes { written: usage.written.clone(), met: HashMap::new() };
            usage.stored = count(&mut sizes)?;
            // A file that the count did not meet is in a tree that is being removed.
            let stored = |file: &Id| sizes.met.get(file).copied().unwrap_or(0);
            usage.written.iter_mut().for_each(|(file, bytes)| *bytes = stored(file));
            usage.counted = true;
            usage.changes += 1;
        }
        usage.limit = limit;
        Ok(())
    }

    /// Counts the tree again without holding the lock. If the tree changed during the count, or a
    /// change is in progress, the known usage stays. Returns the bytes that the files take, and the
    /// limit.
    pub fn recount(
        &self,
        count: impl FnOnce(&mut Sizes) -> io::Result<u64>,
    ) -> io::Result<(u64, Option<u64>)> {
        let before = self.lock().changes;
        let stored = count(&mut Sizes::default())?;
        let mut usage = self.lock();
        let is_changing = usage.removals > 0 || !usage.written.is_empty();
        if !is_changing && usage.changes == before {
            usage.stored = stored;
            usage.counted = true;
        }
        Ok((if usage.counted { usage.stored } else { stored }, usage.limit))
    }

    /// Begins the removal of a tree that has just lost its name. `usage` is the locked quota.
    pub fn begin_removal(self: &Arc<Quota>, usage: &mut Usage) -> Removal {
        usage.changes += 1;
        usage.removals += 1;
        Removal { quota: Arc::clone(self), counted: usage.counted }
    }
}

/// The sizes of files during a count.
#[derive(Debug, Default)]
pub struct Sizes {
    written: HashMap<Id, u64>,
    /// Those of `written` that the count has met.
    met: HashMap<Id, u64>,
}

impl Sizes {
    /// The bytes that a file counts for.
    pub fn of(&mut self, metadata: &Metadata) -> u64 {
        let id = id_of(metadata);
        match self.written.get(&id) {
            Some(stored) => {
                self.met.insert(id, *stored);
                *stored
            }
            None => blocks(metadata.len()),
        }
    }
}

/// The removal of a tree that has lost its name. Each removed entry frees space, unless a count in
/// between did not see it any more.
#[derive(Debug)]
pub struct Removal {
    quota: Arc<Quota>,
    /// Whether the usage was known when the removal began. If it became known later, the count did
    /// not see what is removed now.
    counted: bool,
}

impl Removal {
    /// Locks the quota, so that no writer of a file begins or ends while the file is removed.
    pub fn lock(&self) -> MutexGuard<'_, Usage> {
        self.quota.lock()
    }

    /// Records a removed entry. `usage` is the locked quota.
    pub fn removed(&self, usage: &mut Usage, gone: Removed<'_>) {
        if usage.counted == self.counted {
            usage.removed(gone);
        }
    }

    /// Records that `bytes` of the tree could not be removed. `is_back` says that they are in the
    /// account's tree again; otherwise they lie under a hidden name, which is not counted.
    pub fn remains(&self, usage: &mut Usage, bytes: u64, is_back: bool) {
        match (usage.counted == self.counted, is_back) {
            (true, false) => usage.subtract(bytes),
            (false, true) => usage.added(bytes),
            _ => {}
        }
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        let mut usage = self.quota.lock();
        usage.changes += 1;
        usage.removals = usage.removals.saturating_sub(1);
    }
}

impl Usage {
    /// Fails with [`ErrorKind::QuotaExceeded`] if `bytes` more would not fit.
    pub fn check(&self, bytes: u64) -> io::Result<()> {
        let Some(limit) = self.limit else { return Ok(()) };
        let used = self.stored.saturating_add(self.reserved);
        if used.checked_add(bytes).is_some_and(|sum| sum <= limit) {
            return Ok(());
        }
        let text = format!("the quota is used up: {used} of {limit} bytes are taken");
        Err(io::Error::new(ErrorKind::QuotaExceeded, text))
    }

    /// Fails with [`ErrorKind::ResourceBusy`] if `folder` is in a tree that has moved to another
    /// disk and is being removed here: a change in it would be acknowledged and lost.
    pub fn check_stays(&self, folder: &Folder) -> io::Result<()> {
        match self.moved {
            Some(moved) if folder.is_within(moved)? => {
                Err(busy("its folder has just moved to another disk; try again"))
            }
            _ => Ok(()),
        }
    }

    /// Records that the folder `source` has moved to another disk, until the reservation of
    /// [`Reservation::for_move`] is dropped.
    pub fn mark_moved(&mut self, source: Id) {
        self.moved = Some(source);
    }

    /// Records an entry that was removed from the tree. A file that is written in place frees its
    /// former length only, because its writer's reservation holds the rest.
    pub fn removed(&mut self, gone: Removed<'_>) {
        self.subtract(match gone {
            Removed::Folder => blocks(0),
            Removed::Leaf(metadata) => {
                let before = self.written.get(&id_of(metadata)).copied();
                before.unwrap_or_else(|| blocks(metadata.len()))
            }
        });
    }

    /// Records `bytes` that were added to the tree.
    pub fn added(&mut self, bytes: u64) {
        self.changes += 1;
        self.stored = self.stored.saturating_add(bytes);
    }

    /// Records that an entry of the tree was renamed.
    pub fn renamed(&mut self) {
        self.changes += 1;
    }

    fn subtract(&mut self, bytes: u64) {
        self.changes += 1;
        self.stored = self.stored.saturating_sub(bytes);
    }

    /// Begins writing a file in place; `stored` is what the file counts for now. Ends with
    /// [`Usage::written`]. Fails with [`ErrorKind::ResourceBusy`] if another upload is writing it.
    pub fn write_in_place(&mut self, file: Id, stored: u64) -> io::Result<()> {
        if self.written.contains_key(&file) {
            return Err(is_written());
        }
        self.written.insert(file, stored);
        self.changes += 1;
        Ok(())
    }

    pub fn written_files(&self) -> Vec<Id> {
        self.written.keys().copied().collect()
    }

    /// Ends what [`Usage::write_in_place`] began.
    pub fn written(&mut self, file: Id) {
        self.written.remove(&file);
        self.changes += 1;
    }
}

/// The error for a file that another upload writes in place.
pub fn is_written() -> io::Error {
    busy("another upload is writing to it; try again")
}

/// Space that is reserved for an upload or a copy in progress, and released when dropped.
#[derive(Debug)]
pub struct Reservation {
    quota: Arc<Quota>,
    bytes: u64,
    is_move: bool,
}

impl Reservation {
    /// A reservation of no bytes.
    pub fn new(quota: Arc<Quota>) -> Reservation {
        Reservation { quota, bytes: 0, is_move: false }
    }

    /// A reservation for a move to another disk, which ignores the limit, because the content will
    /// not be stored twice in the end. Fails with [`ErrorKind::ResourceBusy`] if another such move
    /// is in progress, so that all moves together never reserve more than is stored.
    pub fn for_move(quota: &Arc<Quota>) -> io::Result<Reservation> {
        let mut usage = quota.lock();
        if usage.is_moving {
            return Err(busy("another move between disks is in progress; try again"));
        }
        usage.is_moving = true;
        Ok(Reservation { quota: Arc::clone(quota), bytes: 0, is_move: true })
    }

    /// Reserves `bytes` more, or fails with [`ErrorKind::QuotaExceeded`] and changes nothing.
    pub fn grow(&mut self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let mut usage = self.quota.lock();
        if !self.is_move {
            usage.check(bytes)?;
        }
        usage.reserved = usage.reserved.saturating_add(bytes);
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Releases `bytes` of the reservation.
    pub fn shrink_by(&mut self, bytes: u64) {
        let back = bytes.min(self.bytes);
        if back > 0 {
            self.bytes -= back;
            let mut usage = self.quota.lock();
            usage.reserved = usage.reserved.saturating_sub(back);
        }
    }

    pub fn quota(&self) -> Arc<Quota> {
        Arc::clone(&self.quota)
    }

    /// Turns the reserved bytes into stored ones. `usage` is the locked quota.
    pub fn keep(&mut self, usage: &mut Usage) {
        usage.reserved = usage.reserved.saturating_sub(self.bytes);
        usage.added(std::mem::take(&mut self.bytes));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_by(self.bytes);
        if self.is_move {
            let mut usage = self.quota.lock();
            (usage.is_moving, usage.moved) = (false, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(limit: u64) -> Arc<Quota> {
        let quota = Arc::new(Quota::default());
        quota.set_limit(Some(limit), |_| Ok(0)).unwrap();
        quota
    }

    #[test]
    fn sizes_round_up_to_blocks() {
        for (size, counted) in
            [(0, 4096), (1, 4096), (4096, 4096), (4097, 8192), (u64::MAX, u64::MAX)]
        {
            assert_eq!(blocks(size), counted);
        }
    }

    #[test]
    fn what_is_held_counts_until_it_is_given_back_or_kept() {
        let quota = quota(10_000);
        let mut one = Reservation::new(Arc::clone(&quota));
        let mut two = Reservation::new(Arc::clone(&quota));
        one.grow(6_000).unwrap();
        assert_eq!(two.grow(4_001).unwrap_err().kind(), ErrorKind::QuotaExceeded);
        two.grow(4_000).unwrap();
        two.shrink_by(3_000);
        assert!(quota.lock().check(3_000).is_ok() && quota.lock().check(3_001).is_err());
        drop(two);
        one.keep(&mut quota.lock());
        drop(one);
        assert!(quota.lock().check(4_000).is_ok() && quota.lock().check(4_001).is_err());
        quota.lock().subtract(6_000);
        assert!(quota.lock().check(10_000).is_ok());
    }

    #[test]
    fn a_count_while_a_tree_is_being_removed_is_not_taken() {
        let quota = quota(10_000);
        assert_eq!(quota.recount(|_| Ok(5_000)).unwrap(), (5_000, Some(10_000)));
        let removal = quota.begin_removal(&mut quota.lock());
        assert_eq!(quota.recount(|_| Ok(1_000)).unwrap(), (5_000, Some(10_000)));
        quota.lock().subtract(4_000);
        drop(removal);
        assert_eq!(quota.recount(|_| Ok(1_000)).unwrap(), (1_000, Some(10_000)));
    }

    #[test]
    fn a_recount_is_not_used_if_a_change_was_undone_during_it() {
        let quota = quota(10_000);
        quota.recount(|_| Ok(5_000)).unwrap();
        quota.lock().write_in_place((1, 1), 5_000).unwrap();
        let during = Arc::clone(&quota);
        let count = |_: &mut Sizes| {
            during.lock().written((1, 1)); // and cut back to what it was
            Ok(9_000)
        };
        assert_eq!(quota.recount(count).unwrap(), (5_000, Some(10_000)));
    }

    #[test]
    fn a_recount_delays_no_client_and_a_change_during_it_is_not_lost() {
        let quota = quota(10_000);
        let during = Arc::clone(&quota);
        let count = |_: &mut Sizes| {
            // Would wait for ever, did the count hold the lock.
            let mut reservation = Reservation::new(Arc::clone(&during));
            reservation.grow(3_000)?;
            reservation.keep(&mut during.lock());
            Ok(0)
        };
        assert_eq!(quota.recount(count).unwrap(), (3_000, Some(10_000)));
    }

    #[test]
    fn a_first_count_that_fails_lets_no_client_in_until_it_succeeds() {
        let quota = Quota::default();
        assert!(
            quota.set_limit(Some(10_000), |_| Err(ErrorKind::PermissionDenied.into())).is_err()
        );
        assert!(
            quota.set_limit(Some(10_000), |_| Err(ErrorKind::PermissionDenied.into())).is_err()
        );
        quota.set_limit(Some(10_000), |_| Ok(9_000)).unwrap();
        assert!(quota.lock().check(1_001).is_err());
        // Counted once, it is not counted again.
        quota.set_limit(Some(20_000), |_| Ok(0)).unwrap();
        assert!(quota.lock().check(11_001).is_err());
    }

    #[test]
    fn a_file_has_one_writer_in_place() {
        let quota = quota(10_000);
        quota.lock().write_in_place((1, 2), 0).unwrap();
        assert_eq!(
            quota.lock().write_in_place((1, 2), 0).unwrap_err().kind(),
            ErrorKind::ResourceBusy
        );
        quota.lock().write_in_place((1, 3), 0).unwrap();
        quota.lock().written((1, 2));
        quota.lock().write_in_place((1, 2), 0).unwrap();
    }

    #[test]
    fn sums_do_not_overflow_into_room() {
        let quota = quota(u64::MAX);
        let mut one = Reservation::new(Arc::clone(&quota));
        one.grow(u64::MAX).unwrap();
        assert!(quota.lock().check(1).is_err());
    }
}
