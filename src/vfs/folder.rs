//! Real folders, entered one component at a time, never through a symbolic link.
//!
//! If a program checks a path and then opens it, an attacker can replace a folder by a link in
//! between. So on Linux a folder is an open handle (`linux.rs`): a child is opened relative to it
//! with `O_NOFOLLOW | O_DIRECTORY`. This is openat(2), which safe std reaches through
//! `/proc/self/fd/N/name`. Each operation on a name then acts in the folder that was opened. On
//! other systems a folder is a path whose components were each checked (`portable.rs`). That is
//! safe against links that exist, but not against a link that is swapped in during the call.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::cluster::may_be_replaced;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(test, not(target_os = "linux")))]
mod portable;

#[cfg(target_os = "linux")]
pub use linux::{Folder, chdir_to_proc_fd, check_can_create, check_proc_fd};
#[cfg(not(target_os = "linux"))]
pub use portable::{Folder, chdir_to_proc_fd, check_can_create, check_proc_fd};

/// An error with a text of this server's own, which a reply may show.
pub fn refused(kind: ErrorKind, text: &'static str) -> io::Error {
    io::Error::new(kind, text)
}

/// An error for what may succeed a moment later.
pub fn busy(text: &'static str) -> io::Error {
    refused(ErrorKind::ResourceBusy, text)
}

/// How often a file is opened again if it was replaced while it was being opened.
const REOPENINGS: u32 = 20;

/// Device and inode, which identify a file or folder whatever its name is.
pub type Id = (u64, u64);

/// The identity of the file or folder that has this metadata.
pub fn id_of(metadata: &Metadata) -> Id {
    (metadata.dev(), metadata.ino())
}

/// The operations that both kinds of folder share. No call below follows a link in the last
/// component.
impl Folder {
    pub fn id(&self) -> io::Result<Id> {
        Ok(id_of(&self.metadata()?))
    }

    /// The folder above. Fails if it is not `expected`, because the folder was moved.
    pub fn parent(&self, expected: Id) -> io::Result<Folder> {
        let parent = self.above()?;
        if parent.id()? == expected { Ok(parent) } else { Err(changed_during_walk()) }
    }

    /// The metadata of the entry `name`. A link is not followed.
    pub fn stat(&self, name: &[u8]) -> io::Result<Metadata> {
        fs::symlink_metadata(self.entry_path(name))
    }

    /// The metadata of the entry `name`, or `None` if there is no such entry.
    pub fn find(&self, name: &[u8]) -> io::Result<Option<Metadata>> {
        match self.stat(name) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// Opens a regular file. A link, a device, a FIFO or a folder is an error, and none of them
    /// blocks.
    pub fn open_file(
        &self,
        name: &[u8],
        options: &mut OpenOptions,
    ) -> io::Result<(File, Metadata)> {
        let mut left = REOPENINGS;
        loop {
            let opened = self.open_unfollowed(name, options);
            let error = match opened.and_then(|file| Ok((file.metadata()?, file))) {
                Ok((metadata, file)) => return check_regular(&metadata).map(|()| (file, metadata)),
                Err(error) => error,
            };
            match self.stat(name) {
                Ok(metadata) if metadata.is_file() && may_be_replaced(&error) && left > 0 => {
                    left -= 1
                }
                // The errno for a link or a FIFO (ELOOP, ENXIO) says little; the type says more.
                Ok(metadata) => return Err(check_regular(&metadata).err().unwrap_or(error)),
                Err(_) => return Err(error),
            }
        }
    }

    /// Creates a file with these permission bits, less the umask. Fails if the name is taken.
    pub fn create_file(&self, name: &[u8], mode: u32) -> io::Result<File> {
        self.open_unfollowed(name, OpenOptions::new().write(true).create_new(true).mode(mode))
    }

    /// Whether this folder is `top` or lies below it.
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

    pub fn read_link(&self, name: &[u8]) -> io::Result<PathBuf> {
        fs::read_link(self.entry_path(name))
    }

    /// Creates a link that holds the path `to`.
    pub fn make_link(&self, name: &[u8], to: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(to, self.entry_path(name))
    }

    /// Creates a folder with these permission bits, less the umask.
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

    /// Renames the entry `name` to `new` in the folder `to`. Replaces an existing entry as
    /// rename(2) does.
    pub fn rename(&self, name: &[u8], to: &Folder, new: &[u8]) -> io::Result<()> {
        fs::rename(self.entry_path(name), to.entry_path(new))
    }

    /// Renames a file whose name only this server uses. Fails with [`ErrorKind::AlreadyExists`] if
    /// the new name is taken, also if another machine takes it at this moment.
    pub fn rename_to_free(&self, name: &[u8], to: &Folder, new: &[u8]) -> io::Result<()> {
        self.link(name, to, new)?;
        self.remove_file(name)
    }

    /// Gives a second name to a file. Fails like [`Folder::rename_to_free`].
    pub fn link(&self, name: &[u8], to: &Folder, new: &[u8]) -> io::Result<()> {
        fs::hard_link(self.entry_path(name), to.entry_path(new))
    }
}

/// Fails unless this is a regular file. The error says what it is instead.
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

/// The error for a tree that another session or program changes during a walk.
pub fn changed_during_walk() -> io::Error {
    busy("a folder was moved while it was being read")
}
