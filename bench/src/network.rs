//! A loopback interface of the benchmark's own (network_namespaces(7)) that keeps few connections
//! in TIME-WAIT. Otherwise many ports would stay in use for a minute, and each later server would
//! have to search for a free one. A real server has clients from many addresses instead.

use std::convert::Infallible;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::servers::run;

/// The most connections in TIME-WAIT.
const TIME_WAIT: &str = "1000";

/// Starts this program again in a network namespace, with one more flag. Returns only if that is
/// impossible.
pub fn isolate(flag: &str) -> Result<Infallible> {
    let mut rights = vec!["--net"];
    if !rustix::process::geteuid().is_root() {
        rights.push("--map-root-user");
    }
    run(Command::new("unshare").args(&rights).arg("true"))?;
    let mut again = Command::new("unshare");
    again.args(&rights).arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).arg(flag);
    Err(again.exec().into())
}

/// Sets up the loopback interface of the new namespace.
pub fn set_up() -> Result<()> {
    run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", TIME_WAIT).context("cannot bound TIME-WAIT")
}
