//! The largest file that this process may write: RLIMIT_FSIZE, as `ulimit -f` and `LimitFSIZE=` set
//! it.
//!
//! The system answers a write beyond it with a signal, SIGXFSZ, which ends the process and which
//! std cannot ignore. So the code that makes a file longer asks here first.

use std::fs;
use std::io::{self, ErrorKind};
use std::sync::OnceLock;

static LIMIT: OnceLock<Option<u64>> = OnceLock::new();

/// The limit in bytes, if there is one. It is read once.
pub fn limit() -> Option<u64> {
    *LIMIT.get_or_init(|| parse(&fs::read_to_string("/proc/self/limits").ok()?))
}

/// Fails with [`ErrorKind::FileTooLarge`] if a file may not have so many bytes.
pub fn check(length: u64) -> io::Result<()> {
    match limit() {
        Some(limit) if length > limit => {
            let text = format!("too large: a file may have {limit} bytes at most here");
            Err(io::Error::new(ErrorKind::FileTooLarge, text))
        }
        _ => Ok(()),
    }
}

/// The soft limit in what Linux tells; elsewhere there is nothing to read.
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
                "Limit  Soft Limit  Hard Limit  Units\nMax cpu time  1  2  seconds\nMax file size  {soft}  9999  bytes\n"
            )
        };
        assert_eq!(parse(&limits("4096")), Some(4096));
        assert_eq!(parse(&limits("unlimited")), None);
        assert_eq!(parse(""), None);
    }
}
