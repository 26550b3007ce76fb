//! What a cluster file system shows to one machine while another one changes a file.

use std::io::{self, ErrorKind};

/// Whether a file that exists may be missing for this moment only, because another machine has just
/// replaced it: between the look at its name and its opening (measured with GlusterFS).
pub fn may_be_replaced(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::StaleNetworkFileHandle)
}
