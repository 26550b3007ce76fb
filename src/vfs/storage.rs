//! What all changes on the disk share: the names of temporaries, the owner's choices, and the log.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::log::Log;

use super::folder::{Folder, Id, id_of};
use super::staging::{Staging, Use};

/// How files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadPolicy {
    /// A file and its folder are synced before the change is acknowledged.
    pub sync: bool,
    /// A new file is kept if its upload breaks off.
    pub partial: bool,
}

/// What uploads, copies and removals need beside the folder that they work in.
#[derive(Debug)]
pub struct Storage {
    /// Gives names to temporaries.
    pub staging: Arc<Staging>,
    /// How files are kept.
    pub policy: UploadPolicy,
    /// Other servers change the same files.
    pub is_shared: bool,
    /// Warnings for the owner of the server go here.
    pub log: Arc<Log>,
}

impl Storage {
    /// The rename of a temporary file to a name that is free, if `is_new`, as far as this server
    /// knows.
    pub fn rename(&self, is_new: bool) -> fn(&Folder, &[u8], &Folder, &[u8]) -> io::Result<()> {
        if self.is_shared && is_new { Folder::rename_to_free } else { Folder::rename }
    }

    /// Removes a file or link that had this id a moment ago. If another node has stored a file
    /// under its name since then, that one stays.
    pub fn remove_file(&self, folder: &Folder, name: &[u8], id: Id) -> io::Result<()> {
        if !self.is_shared {
            return folder.remove_file(name); // the quota is locked
        }
        let hidden = self.staging.take(Use::Content);
        folder.rename(name, folder, hidden.name())?;
        if id_of(&folder.stat(hidden.name())?) != id {
            folder.link(hidden.name(), folder, name).or_else(|error| match error.kind() {
                ErrorKind::AlreadyExists => Ok(()), // a newer one
                _ => Err(error),
            })?;
        }
        folder.remove_file(hidden.name())
    }

    /// Syncs the names in a folder to the disk, if the owner wants that.
    pub fn sync_dir(&self, folder: &Folder) -> io::Result<()> {
        if self.policy.sync { folder.open_for_sync()?.sync_all() } else { Ok(()) }
    }

    /// Warns the owner of the server that a folder could not be removed.
    pub fn warn_of_remains(&self, error: &io::Error) {
        self.log.warn(&format!("a removed folder is left, under a hidden name: {error}"));
    }
}
