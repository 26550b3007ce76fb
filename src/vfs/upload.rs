//! An upload in progress.
//!
//! The content goes to a temporary file beside the final name. When it is complete, one rename
//! gives it the final name: readers see the old file or the new one, never half of it. Only APPE,
//! `append` and REST+STOR write to the file in place.

use std::fs::{File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use crate::file_size_limit;
use crate::text;

use super::folder::{Folder, Id, busy, check_regular, id_of, refused};
use super::location::{Existing, Location};
use super::quota::{Removed, Reservation, blocks, is_written};
use super::staging::{Temporary, Use};
use super::storage::Storage;

/// The byte at which writing in place begins. A byte beyond the end of the file fails with
/// [`ErrorKind::NotSeekable`], because the file would get a hole that the client does not know
/// about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteStart {
    /// At the end of the file.
    End,
    /// At the end of the file, which must have at least this many bytes.
    EndAtLeast(u64),
    /// At this byte of the file.
    Offset(u64),
}

impl WriteStart {
    /// The least length of the file, in bytes.
    fn least(self) -> u64 {
        match self {
            WriteStart::End => 0,
            WriteStart::EndAtLeast(offset) | WriteStart::Offset(offset) => offset,
        }
    }
}

/// Fails with [`ErrorKind::NotSeekable`] if `offset` is beyond the end of a file of `size` bytes.
pub fn check_restart(offset: u64, size: u64) -> io::Result<()> {
    if offset <= size {
        return Ok(());
    }
    let why =
        format!("REST {offset} is beyond the end of the file, which has {}", text::bytes(size));
    Err(io::Error::new(ErrorKind::NotSeekable, why))
}

/// An upload in progress. If it is dropped before [`Upload::commit`], it leaves nothing behind: the
/// temporary file is removed, and a file that was written in place is truncated to its former
/// length.
#[derive(Debug)]
pub struct Upload {
    storage: Arc<Storage>,
    /// The folder that holds the file, or will hold it.
    folder: Arc<Folder>,
    name: Vec<u8>,
    file: File,
    /// The offset of the next byte.
    position: u64,
    /// The length of the file.
    length: u64,
    /// The bytes that the file counts for. `reservation` holds those of them that were not stored
    /// before.
    counted: u64,
    reservation: Reservation,
    kind: UploadKind,
    is_committed: bool,
}

#[derive(Debug)]
enum UploadKind {
    /// To a temporary file, which takes the name in the end.
    Temporary {
        temporary: Temporary,
        existing: Existing,
        /// The permission bits of the file that it replaces.
        mode: Option<u32>,
    },
    /// To the file that has the name.
    InPlace {
        id: Id,
        /// The length of the file before the upload.
        before: u64,
        created: bool,
    },
}

impl Upload {
    /// Begins a file that takes its name in the end. A new one gets the permission bits `mode`,
    /// less the umask.
    pub(super) fn new(
        storage: &Arc<Storage>,
        at: Location<'_>,
        existing: Existing,
        mode: u32,
    ) -> io::Result<Upload> {
        let before = at.folder.find(at.name)?;
        may_take(before.as_ref(), existing)?;
        let kept = before.as_ref().map(mode_of);
        let temporary = storage.staging.take(Use::Content);
        // Never more open than the file that it replaces.
        let mode = kept.map_or(mode, |kept| kept & 0o600);
        let file = at.folder.create_file(temporary.name(), mode)?;
        let kind = UploadKind::Temporary { temporary, existing, mode: kept };
        Ok(Upload {
            storage: Arc::clone(storage),
            reservation: Reservation::new(at.quota),
            folder: at.folder,
            name: at.name.to_vec(),
            file,
            position: 0,
            length: 0,
            counted: 0,
            kind,
            is_committed: false,
        })
    }

    /// Opens a file to write in place from `start` on, or creates it.
    pub(super) fn in_place(
        storage: &Arc<Storage>,
        at: Location<'_>,
        start: WriteStart,
    ) -> io::Result<Upload> {
        let Location { folder, name, quota } = at;
        let mut options = OpenOptions::new();
        match start {
            WriteStart::End | WriteStart::EndAtLeast(_) => options.append(true),
            WriteStart::Offset(_) => options.write(true),
        };
        // Under the lock from the opening on: a session that removes the file must know how much of
        // it is stored, and a former writer must have ended before its length is read.
        let mut usage = quota.lock_for(&folder)?;
        let (file, mut metadata, created) = match folder.open_file(name, &mut options) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                usage.check(blocks(0))?;
                check_restart(start.least(), 0)?;
                let created = folder.open_file(name, options.create_new(true));
                let (file, metadata) = created.map_err(|error| match error.kind() {
                    ErrorKind::AlreadyExists => is_written(), // another server was faster
                    _ => error,
                })?;
                usage.added(blocks(0)); // it is there, whatever becomes of what is written to it
                (file, metadata, true)
            }
            opened => opened.map(|(file, metadata)| (file, metadata, false))?,
        };
        if storage.is_shared {
            file.try_lock().map_err(|error| match error {
                TryLockError::WouldBlock => is_written(),
                TryLockError::Error(error) => error,
            })?;
            metadata = file.metadata()?; // another server may have written until now
        }
        let (id, before) = (id_of(&metadata), metadata.len());
        check_restart(start.least(), before)?;
        usage.write_in_place(id, blocks(before))?;
        drop(usage);
        let mut upload = Upload {
            storage: Arc::clone(storage),
            folder,
            name: name.to_vec(),
            file,
            position: before,
            length: before,
            counted: blocks(before),
            reservation: Reservation::new(quota),
            kind: UploadKind::InPlace { id, before, created },
            is_committed: false,
        };
        if let WriteStart::Offset(offset) = start {
            upload.position = upload.file.seek(SeekFrom::Start(offset))?;
        }
        Ok(upload)
    }

    /// Whether the upload replaces a file that existed when it began.
    pub fn replaces(&self) -> bool {
        matches!(&self.kind, UploadKind::Temporary { mode: Some(_), .. })
    }

    /// Reserves space for `bytes` more, so that content that cannot fit is refused before it is
    /// read.
    pub fn expect(&mut self, bytes: u64) -> io::Result<()> {
        let end = self.position.saturating_add(bytes);
        file_size_limit::check(end)?;
        let counted = blocks(end.max(self.length));
        self.reservation.grow(counted.saturating_sub(self.counted))?;
        self.counted = counted.max(self.counted);
        Ok(())
    }

    /// Appends the `size` bytes of `source` to what was written so far. Returns the bytes copied.
    pub(super) fn copy_from(
        &mut self,
        source: &mut File,
        size: u64,
        stop: &mut dyn FnMut(u64) -> bool,
    ) -> io::Result<u64> {
        self.expect(size)?;
        let copied = copy_content(source, &mut self.file, size, stop)?;
        self.advance(copied);
        Ok(copied)
    }

    /// Completes the upload: the temporary file gets the final name. A file that was written in
    /// place must still have its name; otherwise it was replaced, and the content is not in the new
    /// file.
    pub fn commit(self) -> io::Result<()> {
        self.commit_if(&mut || true).map(drop)
    }

    /// Completes the upload. If that would replace a file, asks `may_replace` first, under the
    /// lock. Returns false and changes nothing if the answer is no.
    pub fn commit_if(mut self, may_replace: &mut dyn FnMut() -> bool) -> io::Result<bool> {
        self.expect(0)?; // an empty file counts, too
        // What was reserved for bytes that never came is given back.
        let unused = self.counted.saturating_sub(blocks(self.length));
        self.reservation.shrink_by(unused);
        if let UploadKind::Temporary { mode: Some(mode), .. } = &self.kind {
            set_mode(&self.file, *mode)?;
        }
        if self.storage.policy.sync {
            self.file.sync_all()?;
        }
        let quota = self.reservation.quota();
        let mut usage = quota.lock_for(&self.folder)?;
        match &self.kind {
            UploadKind::Temporary { temporary, existing, mode } => {
                let before = self.folder.find(&self.name)?;
                may_take(before.as_ref(), *existing)?;
                if before.is_some() && !may_replace() {
                    return Ok(false);
                }
                // The file may have come, or got another mode, only now.
                if let Some(now) = before.as_ref().map(mode_of).filter(|now| Some(*now) != *mode) {
                    set_mode(&self.file, now)?;
                }
                let rename = self.storage.rename(*existing == Existing::Keep);
                rename(&self.folder, temporary.name(), &self.folder, &self.name)?;
                if let Some(before) = before {
                    usage.removed(Removed::Leaf(&before));
                }
            }
            UploadKind::InPlace { id, .. } => {
                if self.folder.find(&self.name)?.map(|metadata| id_of(&metadata)) != Some(*id) {
                    let why = "it was replaced or removed during the upload";
                    return Err(busy(why));
                }
                usage.written(*id);
                if self.storage.is_shared {
                    let _ = self.file.unlock(); // GlusterFS ends it only a moment after the close
                }
            }
        }
        self.is_committed = true;
        self.reservation.keep(&mut usage);
        drop(usage);
        self.storage.sync_dir(&self.folder)?;
        Ok(true)
    }

    /// The content broke off. Under a new name what has come is kept, so that the client can
    /// resume; over an existing file it is dropped. In place it is there anyway. Returns whether
    /// something was kept.
    pub fn keep_partial(mut self) -> bool {
        let is_new = match &mut self.kind {
            UploadKind::Temporary { existing, .. } => {
                *existing = Existing::Keep;
                true
            }
            UploadKind::InPlace { created, .. } => *created,
        };
        if is_new && (self.length == 0 || !self.storage.policy.partial) {
            return false;
        }
        self.commit().is_ok()
    }

    fn advance(&mut self, bytes: u64) {
        self.position = self.position.saturating_add(bytes);
        self.length = self.length.max(self.position);
    }
}

impl Write for Upload {
    /// Quota is reserved before a byte is written.
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
    /// What cannot be undone here is swept at the next start, or found by the next count.
    fn drop(&mut self) {
        if self.is_committed {
            return;
        }
        match &self.kind {
            UploadKind::Temporary { temporary, .. } => {
                let _ = self.folder.remove_file(temporary.name());
            }
            UploadKind::InPlace { id, before, created } => {
                let quota = self.reservation.quota();
                let mut usage = quota.lock();
                // If others made it shorter, it must not grow: that would be a hole.
                if self.file.metadata().is_ok_and(|metadata| metadata.len() > *before) {
                    let _ = self.file.set_len(*before);
                }
                let is_ours = |metadata: &Metadata| id_of(metadata) == *id && metadata.len() == 0;
                if *created
                    && let Ok(metadata) = self.folder.stat(&self.name)
                    && is_ours(&metadata)
                    && self.storage.remove_file(&self.folder, &self.name, *id).is_ok()
                {
                    usage.removed(Removed::Leaf(&metadata));
                }
                usage.written(*id);
            }
        }
    }
}

/// The bytes that are copied between two calls of `stop`.
const COPIED_AT_ONCE: u64 = 16 * 1024 * 1024;

/// Copies the first `size` bytes of a file, or less if the file is shorter, inside the kernel if
/// the file system can. Calls `stop` with the bytes copied so far; if it returns true, fails with
/// [`ErrorKind::Interrupted`]. Returns the bytes copied.
#[inline(never)]
#[expect(clippy::disallowed_methods, reason = "the only call that copies inside the kernel")]
pub(super) fn copy_content(
    from: &mut File,
    to: &mut File,
    size: u64,
    stop: &mut dyn FnMut(u64) -> bool,
) -> io::Result<u64> {
    file_size_limit::check(size)?;
    let mut copied = 0;
    while copied < size {
        if stop(copied) {
            return Err(ErrorKind::Interrupted.into());
        }
        match io::copy(&mut Read::take(&mut *from, COPIED_AT_ONCE.min(size - copied)), to)? {
            0 => break,
            more => copied += more,
        }
    }
    Ok(copied)
}

/// The nine permission bits.
fn mode_of(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & 0o777
}

/// Sets the permission bits. A file system without permissions (a USB stick's) may refuse; that is
/// no error if the file has these bits all the same.
fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    match file.set_permissions(Permissions::from_mode(mode)) {
        Err(error) if mode_of(&file.metadata()?) != mode => Err(error),
        _ => Ok(()),
    }
}

/// Fails if an upload may not take the name of `before`.
fn may_take(before: Option<&Metadata>, existing: Existing) -> io::Result<()> {
    let Some(metadata) = before else { return Ok(()) };
    check_regular(metadata)?;
    if existing == Existing::Keep {
        return Err(refused(ErrorKind::AlreadyExists, "exists already"));
    }
    Ok(())
}
