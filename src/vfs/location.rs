//! Where a change of names is made.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::folder::{Folder, refused};
use super::path::VirtualPath;
use super::quota::Quota;
use super::staging::is_reserved;

/// A name in an open folder, and the quota that it counts towards.
#[derive(Debug)]
pub struct Location<'p> {
    /// The folder that holds the name, or will hold it.
    pub folder: Arc<Folder>,
    /// The last component of the path.
    pub name: &'p [u8],
    /// The quota of the account that the folder belongs to.
    pub quota: Arc<Quota>,
}

/// What to do if a file has the new name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// The new file replaces it.
    Replace,
    /// Nothing is done; the error is [`ErrorKind::AlreadyExists`].
    Keep,
}

/// Fails with [`ErrorKind::AlreadyExists`] if `new` may not take the name that `before` has: only a
/// file replaces a file, and only if `existing` says so.
pub fn check_free(before: Option<&Metadata>, existing: Existing, new: &Metadata) -> io::Result<()> {
    let stays = |before: &Metadata| existing == Existing::Keep || !before.is_file() || new.is_dir();
    if before.is_some_and(stays) { Err(ErrorKind::AlreadyExists.into()) } else { Ok(()) }
}

/// The error for a folder that would be copied or moved into itself.
pub fn into_itself() -> io::Error {
    refused(ErrorKind::InvalidInput, "a folder cannot go into itself")
}

/// Walks down from a folder and opens each component.
pub fn walk<'n>(
    from: &Arc<Folder>,
    mut names: impl Iterator<Item = &'n [u8]>,
) -> io::Result<Arc<Folder>> {
    names.try_fold(Arc::clone(from), |here, name| Ok(Arc::new(here.child(name)?)))
}

/// Whether a component is the name of a temporary, which does not exist for clients.
pub fn is_hidden(path: &VirtualPath) -> bool {
    path.names().any(is_reserved)
}

/// Turns the error of a walk into one about the folder that should hold the name.
pub fn no_parent(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::NotFound => refused(ErrorKind::NotFound, "no such folder to hold it"),
        ErrorKind::NotADirectory => refused(ErrorKind::NotADirectory, "its parent is not a folder"),
        _ => error,
    }
}
