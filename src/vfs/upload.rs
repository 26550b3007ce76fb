//! A file in the making.
//!
//! Content goes to a temporary file outside every user's tree, on the same file system, and takes
//! its name in one rename when it is complete: readers see the old file or the new one, never
//! half. Only appending works in place.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use super::folder::{Folder, check_regular};
use super::refused;
use super::space::{Reservation, Space, blocks};
use super::store::Store;

/// What to do where the new name is taken by a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// The new file takes its place.
    Replace,
    /// Nothing is done; the error is [`ErrorKind::AlreadyExists`].
    Keep,
}

/// Content on its way to a name. Dropped before [`Upload::commit`], it leaves nothing behind (or,
/// appended in place, what has arrived).
#[derive(Debug)]
pub struct Upload {
    file: File,
    /// Where the next byte goes, and so how long the file is.
    length: u64,
    /// What the file counts for so far, of which `reservation` holds what was not stored before.
    counted: u64,
    reservation: Reservation,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Temporary { store: Arc<Store>, temporary: Vec<u8>, folder: Folder, name: Vec<u8>, existing: Existing },
    InPlace,
    Done,
}

impl Upload {
    pub(super) fn new(
        store: &Arc<Store>,
        space: &Arc<Space>,
        folder: Folder,
        name: &[u8],
        existing: Existing,
        mode: u32,
    ) -> io::Result<Upload> {
        may_take(folder.find(name)?.as_ref(), existing)?;
        let mut reservation = Reservation::new(Arc::clone(space));
        reservation.grow(blocks(0))?;
        let temporary = store.fresh_name();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let file = store.staging().open_file(&temporary, &mut options)?;
        let (store, name) = (Arc::clone(store), name.to_vec());
        let target = Target::Temporary { store, temporary, folder, name, existing };
        Ok(Upload { file, length: 0, counted: blocks(0), reservation, target })
    }

    pub(super) fn append(space: &Arc<Space>, folder: &Folder, name: &[u8]) -> io::Result<Upload> {
        let file = folder.open_file(name, OpenOptions::new().append(true))?;
        let length = file.metadata()?.len();
        let reservation = Reservation::new(Arc::clone(space));
        Ok(Upload { file, length, counted: blocks(length), reservation, target: Target::InPlace })
    }

    /// Holds space for `bytes` more, so that content that cannot fit is refused before it is read.
    pub fn expect(&mut self, bytes: u64) -> io::Result<()> {
        let counted = blocks(self.length.saturating_add(bytes));
        self.reservation.grow(counted.saturating_sub(self.counted))?;
        self.counted = counted.max(self.counted);
        Ok(())
    }

    /// Copies all of `source` behind what was written so far, inside the kernel where it can.
    pub(super) fn copy_from(&mut self, source: &mut File) -> io::Result<u64> {
        let size = source.metadata()?.len();
        self.expect(size)?;
        let copied = io::copy(&mut Read::take(source, size), &mut self.file)?;
        self.length = self.length.saturating_add(copied);
        Ok(copied)
    }

    /// The file takes its name.
    pub fn commit(mut self) -> io::Result<()> {
        self.settle();
        let space = self.reservation.space();
        let mut state = space.lock();
        if let Target::Temporary { store, temporary, folder, name, existing } = &self.target {
            let before = folder.find(name)?;
            may_take(before.as_ref(), *existing)?;
            store.staging().rename(temporary, folder, name)?;
            if let Some(before) = before {
                state.removed(blocks(before.len()));
            }
        }
        self.target = Target::Done;
        self.reservation.keep(&mut state);
        Ok(())
    }

    /// Gives back what was held for bytes that never came.
    fn settle(&mut self) {
        let unused = self.counted.saturating_sub(blocks(self.length));
        self.counted -= unused;
        self.reservation.shrink_by(unused);
    }
}

impl Write for Upload {
    /// Space is reserved before a byte is written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.expect(bytes.len() as u64)?;
        let written = self.file.write(bytes)?;
        self.length = self.length.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        match &self.target {
            Target::Temporary { store, temporary, .. } => {
                // What cannot be removed now is swept at the next start.
                let _ = store.staging().remove_file(temporary);
            }
            Target::InPlace => {
                self.settle();
                let space = self.reservation.space();
                self.reservation.keep(&mut space.lock());
            }
            Target::Done => {}
        }
    }
}

/// Whether a file may take a name that `before` bears.
fn may_take(before: Option<&Metadata>, existing: Existing) -> io::Result<()> {
    let Some(metadata) = before else { return Ok(()) };
    check_regular(metadata)?;
    match existing {
        Existing::Replace => Ok(()),
        Existing::Keep => Err(refused(ErrorKind::AlreadyExists, "exists already")),
    }
}
