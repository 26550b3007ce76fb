//! Where a change of names is made.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::folder::{Folder, refused};
use super::quota::Quota;

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
    match before {
        Some(before) if existing == Existing::Keep || !before.is_file() || new.is_dir() => {
            Err(ErrorKind::AlreadyExists.into())
        }
        _ => Ok(()),
    }
}

/// The error for a folder that would be copied or moved into itself.
pub fn into_itself() -> io::Error {
    refused(ErrorKind::InvalidInput, "a folder cannot go into itself")
}
