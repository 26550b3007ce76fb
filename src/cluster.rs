//! What a cluster file system shows to one machine while another one changes a file.
//!
//! The machine keeps the facts about a file, such as its length, for about a second, and does not
//! ask for them again when it gets a lock. Between the look at a name and the opening of the file,
//! the file may be replaced; then the opening fails. All this was measured with GlusterFS.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};

/// Locks a file exclusively until it is closed. The file must be open for writing, because NFS
/// gives no such lock otherwise. With `is_shared`, the facts about the file are fresh afterwards.
pub fn try_lock(file: &File, is_shared: bool) -> Result<(), TryLockError> {
    file.try_lock()?;
    if is_shared {
        // The answer to a change of any fact brings them all. This fails if the file belongs to
        // another user; then they may be a second old.
        let _ = file.metadata().and_then(|facts| file.set_permissions(facts.permissions()));
    }
    Ok(())
}

/// Whether a file that exists may be missing for this moment only, because another machine has just
/// replaced it.
pub fn may_be_replaced(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::StaleNetworkFileHandle)
}
