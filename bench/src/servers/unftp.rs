//! libunftp: the smallest server that can be built with it, with the password in plain text.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::packages::run;
use super::{Program, Role};
use crate::client::{NAME, PASSWORD};
use crate::places::{kept, repository};

struct Unftp {
    binary: PathBuf,
}

/// Builds the server with its own lock file.
pub fn unftp() -> Result<Box<dyn Program>> {
    let target = kept()?.join("unftp");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    build.args(["build", "--release", "--locked", "--manifest-path"]);
    run(build.arg(repository().join("bench/unftp/Cargo.toml")).arg("--target-dir").arg(&target))?;
    Ok(Box::new(Unftp { binary: target.join("release/plainftpd-bench-unftp") }))
}

impl Program for Unftp {
    fn name(&self) -> &'static str {
        "unftp"
    }

    fn role(&self) -> Role {
        Role::Peer
    }

    fn prepare(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }

    fn command(&self, dir: &Path, port: u16) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg(format!("127.0.0.1:{port}")).arg(self.home(dir)).arg(dir.join("transfers.log"));
        command.args([NAME, PASSWORD]);
        command
    }

    fn binary(&self) -> Option<&Path> {
        Some(&self.binary)
    }
}
