//! Real folders, entered one component at a time, never through a symbolic link.
//!
//! Checking a path and then opening it loses to whoever swaps a folder for a link in between. So
//! on Linux a folder is a handle: entering a child opens it relative to that handle with
//! `O_NOFOLLOW | O_DIRECTORY` (the effect of openat(2), reached in safe std through
//! `/proc/self/fd/N/name`), and whatever is done to a name is done in the folder that was really
//! entered. Elsewhere a folder is a path whose every component was looked at; that holds against
//! links that stand there, not against one that is swapped in during the call.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(test, not(target_os = "linux")))]
mod portable;

#[cfg(target_os = "linux")]
pub use linux::{Folder, chdir_to_proc_fd, check_proc_fd};
#[cfg(not(target_os = "linux"))]
pub use portable::{Folder, chdir_to_proc_fd, check_proc_fd};

/// An error with a text of this server's own, which a reply may show.
pub fn refused(kind: ErrorKind, text: &'static str) -> io::Error {
    io::Error::new(kind, text)
}

/// What makes a folder the same one under another name: device and inode.
pub type Id = (u64, u64);

/// The identity that metadata tell.
pub fn id_of(metadata: &Metadata) -> Id {
    (metadata.dev(), metadata.ino())
}

/// The operations that both kinds of folder share, given where a name in it really is. No call
/// below follows a link in the last component.
impl Folder {
    /// The metadata of what bears `name`; of a link itself.
    pub fn stat(&self, name: &[u8]) -> io::Result<Metadata> {
        fs::symlink_metadata(self.entry_path(name))
    }

    /// What [`Folder::stat`] tells, or `None` where nothing bears the name.
    pub fn find(&self, name: &[u8]) -> io::Result<Option<Metadata>> {
        match self.stat(name) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a regular file; a link, a device, a FIFO or a folder is refused without blocking.
    pub fn open_file(
        &self,
        name: &[u8],
        options: &mut OpenOptions,
    ) -> io::Result<(File, Metadata)> {
        let file = match self.open_unfollowed(name, options) {
            Ok(file) => file,
            Err(error) => return Err(self.why_not_opened(name, error)),
        };
        let metadata = file.metadata()?;
        check_regular(&metadata)?;
        Ok((file, metadata))
    }

    /// Makes a file with these permission bits, less the umask, where nothing bears the name.
    pub fn create_file(&self, name: &[u8], mode: u32) -> io::Result<File> {
        self.open_unfollowed(name, OpenOptions::new().write(true).create_new(true).mode(mode))
    }

    /// The errno for a link or a FIFO (ELOOP, ENXIO) says little; what bears the name says more.
    fn why_not_opened(&self, name: &[u8], error: io::Error) -> io::Error {
        match self.stat(name) {
            Ok(metadata) => check_regular(&metadata).err().unwrap_or(error),
            Err(_) => error,
        }
    }

    /// Whether it is the folder `top` or below it.
    pub fn is_within(&self, top: Id) -> io::Result<bool> {
        let mut here = self.try_clone()?;
        let mut id = here.id()?;
        while id != top {
            here = here.above()?;
            let above = here.id()?;
            if above == id {
                return Ok(false); // the root of the file system is its own parent
            }
            id = above;
        }
        Ok(true)
    }

    /// Where a link points to; it is not followed.
    pub fn read_link(&self, name: &[u8]) -> io::Result<PathBuf> {
        fs::read_link(self.entry_path(name))
    }

    /// Makes a link that points there.
    pub fn make_link(&self, name: &[u8], to: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(to, self.entry_path(name))
    }

    /// Makes a folder with these permission bits, less the umask.
    pub fn make_folder(&self, name: &[u8], mode: u32) -> io::Result<()> {
        DirBuilder::new().mode(mode).create(self.entry_path(name))
    }

    /// Removes a file or a link.
    pub fn remove_file(&self, name: &[u8]) -> io::Result<()> {
        fs::remove_file(self.entry_path(name))
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, name: &[u8]) -> io::Result<()> {
        fs::remove_dir(self.entry_path(name))
    }

    /// Gives what bears `name` another name, in this folder or another, and replaces what bears
    /// that one as rename(2) does.
    pub fn rename(&self, name: &[u8], to: &Folder, new: &[u8]) -> io::Result<()> {
        fs::rename(self.entry_path(name), to.entry_path(new))
    }
}

/// An error that says what else it is, where it is no regular file.
pub fn check_regular(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_file() {
        Ok(())
    } else if kind.is_dir() {
        Err(ErrorKind::IsADirectory.into())
    } else if kind.is_symlink() {
        Err(refused(ErrorKind::InvalidInput, "a symbolic link, which is never followed"))
    } else {
        Err(refused(ErrorKind::InvalidInput, "not a regular file"))
    }
}

/// The tree was changed under a walk.
pub fn changed_during_walk() -> io::Error {
    refused(ErrorKind::ResourceBusy, "a folder was moved while it was being read")
}
