//! pyftpdlib: its asynchronous server, with the password in plain text.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::packages::python;
use super::{Program, Role};
use crate::client::{NAME, PASSWORD};
use crate::places::repository;

struct Pyftpdlib {
    python: PathBuf,
}

/// Fetches pyftpdlib.
pub fn pyftpdlib() -> Result<Box<dyn Program>> {
    Ok(Box::new(Pyftpdlib { python: python("pyftpdlib")? }))
}

impl Program for Pyftpdlib {
    fn name(&self) -> &'static str {
        "pyftpdlib"
    }

    fn role(&self) -> Role {
        Role::Peer
    }

    fn prepare(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }

    fn command(&self, dir: &Path, port: u16) -> Command {
        let mut command = Command::new(&self.python);
        command
            .arg(repository().join("bench/peers/pyftpdlib_server.py"))
            .args(["127.0.0.1", &port.to_string()]);
        command.arg(self.home(dir)).arg(dir.join("transfers.log")).args([NAME, PASSWORD]);
        command
    }

    fn binary(&self) -> Option<&Path> {
        // The size of an interpreter and its libraries is not comparable.
        None
    }
}
