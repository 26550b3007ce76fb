//! A file in the making.
//!
//! Content goes to a temporary file outside every user's tree, on the same file system, and takes
//! its name in one rename when it is complete: readers see the old file or the new one, never
//! half. Only appending works in place.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
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

/// Where writing on in place begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the end, wherever that is by then.
    End,
    /// At this byte, which may be beyond the end.
    At(u64),
}

/// Content on its way to a name. Dropped before [`Upload::commit`], it leaves nothing behind (or,
/// appended in place, what has arrived).
#[derive(Debug)]
pub struct Upload {
    file: File,
    /// Where the next byte goes.
    position: u64,
    /// How long the file is.
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
        Ok(Upload { file, position: 0, length: 0, counted: blocks(0), reservation, target })
    }

    pub(super) fn in_place(
        space: &Arc<Space>,
        folder: &Folder,
        name: &[u8],
        place: Place,
    ) -> io::Result<Upload> {
        let mut options = OpenOptions::new();
        match place {
            Place::End => options.append(true),
            Place::At(_) => options.write(true),
        };
        let file = folder.open_file(name, &mut options)?;
        let length = file.metadata()?.len();
        let (counted, reservation) = (blocks(length), Reservation::new(Arc::clone(space)));
        let mut upload =
            Upload { file, position: length, length, counted, reservation, target: Target::InPlace };
        upload.seek(place)?;
        Ok(upload)
    }

    pub(super) fn seek(&mut self, place: Place) -> io::Result<()> {
        if let Place::At(offset) = place {
            self.position = self.file.seek(SeekFrom::Start(offset))?;
        }
        Ok(())
    }

    /// Holds space for `bytes` more, so that content that cannot fit is refused before it is read.
    pub fn expect(&mut self, bytes: u64) -> io::Result<()> {
        let end = self.position.saturating_add(bytes);
        let counted = blocks(end.max(self.length));
        self.reservation.grow(counted.saturating_sub(self.counted))?;
        self.counted = counted.max(self.counted);
        Ok(())
    }

    /// Copies all of `source` behind what was written so far, inside the kernel where it can.
    pub(super) fn copy_from(&mut self, source: &mut File) -> io::Result<u64> {
        let size = source.metadata()?.len();
        self.expect(size)?;
        let copied = io::copy(&mut Read::take(source, size), &mut self.file)?;
        self.advance(copied);
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

    /// The content broke off. Under a new name what has come is kept, so that the client can go on
    /// from there; over an existing file it is dropped. In place it is there anyway. Says whether
    /// something was kept.
    pub fn keep_partial(mut self) -> bool {
        match &mut self.target {
            Target::Temporary { existing, .. } if self.length > 0 => {
                *existing = Existing::Keep;
                self.commit().is_ok()
            }
            Target::Temporary { .. } => false,
            Target::InPlace | Target::Done => true,
        }
    }

    /// Whether what is written is there at once, and not only when it is committed.
    pub fn is_in_place(&self) -> bool {
        matches!(self.target, Target::InPlace)
    }

    fn advance(&mut self, bytes: u64) {
        self.position = self.position.saturating_add(bytes);
        self.length = self.length.max(self.position);
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
        self.advance(written as u64);
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
