//! Appending to a file so that it holds all of the new bytes or none of them.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, Write};
use std::os::unix::fs::FileExt;

use crate::file_size_limit;

/// Appends `bytes` to `file` in one write, and then calls `finish`. If the disk takes only a part
/// of the bytes, or if `finish` fails, what was written is removed again. `file` must have been
/// opened for appending.
pub fn append_whole(
    file: &mut File,
    bytes: &[u8],
    finish: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    if file_size_limit::limit().is_some() {
        file_size_limit::check(file.metadata()?.len().saturating_add(bytes.len() as u64))?;
    }
    let written = file.write(bytes)?;
    let done =
        if written == bytes.len() { finish(file) } else { Err(ErrorKind::StorageFull.into()) };
    if done.is_err() {
        let end = file.stream_position()?;
        // Not if another program has appended more since then.
        if file.metadata()?.len() == end {
            file.set_len(end.saturating_sub(written as u64))?;
        }
    }
    done
}

/// Whether the last line of a file has no line end.
pub fn is_torn(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, OpenOptions};

    #[test]
    fn appended_bytes_are_removed_after_a_failure_only_while_nothing_follows_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "first\n").unwrap();
        let open = |path| OpenOptions::new().append(true).open(path).unwrap();
        let (mut ours, mut other) = (open(path.to_str().unwrap()), open(path.to_str().unwrap()));
        let failure = || Err(io::Error::other("not synced"));
        append_whole(&mut ours, b"lost", |_| failure()).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\n");
        append_whole(&mut ours, b"half a li", |_| other.write_all(b"second\n").and(failure()))
            .unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\nhalf a lisecond\n");
        let error = append_whole(&mut open("/dev/full"), b"x", |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}
