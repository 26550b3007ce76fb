//! Random bytes from the system.

use std::io;

use rand::TryRng;
use rand::rngs::SysRng;

/// Returns `N` random bytes. Fails if the system gives none.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}
