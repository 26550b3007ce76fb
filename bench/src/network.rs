//! A loopback interface of the benchmark's own (network_namespaces(7)), with few connections in
//! TIME-WAIT: ports that are not free again for a minute would make every server that comes later
//! search for one, and a real server sees its clients come from many addresses.

use std::convert::Infallible;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::servers::run;

/// How many connections may be in TIME-WAIT.
const TIME_WAIT: &str = "1000";

/// Starts this program anew, in a network namespace, with one more flag; returns only where that
/// cannot be.
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

/// Makes the new namespace usable.
pub fn set_up() -> Result<()> {
    run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", TIME_WAIT).context("cannot bound TIME-WAIT")
}
