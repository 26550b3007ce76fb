//! The largest file that this process may write: RLIMIT_FSIZE, which `ulimit -f` and `LimitFSIZE=`
//! set.
//!
//! A write beyond it brings the signal SIGXFSZ, which ends the process and which std cannot ignore.
//! So all code that makes a file longer asks here first.

use std::fs;
use std::io::{self, ErrorKind};
use std::sync::OnceLock;

static LIMIT: OnceLock<Option<u64>> = OnceLock::new();

/// The limit in bytes, if there is one. It is read once per process.
pub fn limit() -> Option<u64> {
    *LIMIT.get_or_init(|| parse(&fs::read_to_string("/proc/self/limits").ok()?))
}

/// Fails with [`ErrorKind::FileTooLarge`] if a file may not have this length.
pub fn check(length: u64) -> io::Result<()> {
    match limit() {
        Some(limit) if length > limit => {
            let text = format!("too large: a file may have {limit} bytes at most here");
            Err(io::Error::new(ErrorKind::FileTooLarge, text))
        }
        _ => Ok(()),
    }
}

/// Fails with [`ErrorKind::FileTooLarge`] if standard output (1) or standard error (2) is a file
/// that may not become `more` bytes longer.
pub fn check_stream(descriptor: u8, more: u64) -> io::Result<()> {
    let stream = limit().and_then(|_| fs::metadata(format!("/proc/self/fd/{descriptor}")).ok());
    let file = stream.filter(fs::Metadata::is_file);
    file.map_or(Ok(()), |file| check(file.len().saturating_add(more)))
}

/// The soft limit in the text of /proc/self/limits, which only Linux has.
fn parse(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max file size"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_read_and_unlimited_is_none() {
        let limits = |soft: &str| {
            format!(
                "Limit  Soft Limit  Hard Limit  Units\n\
                 Max cpu time  1  2  seconds\n\
                 Max file size  {soft}  9999  bytes\n"
            )
        };
        assert_eq!(parse(&limits("4096")), Some(4096));
        assert_eq!(parse(&limits("unlimited")), None);
        assert_eq!(parse(""), None);
    }
}
