//! plainftpd itself, and the stubs for the physical limits.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Program, Role};
use crate::client::{NAME, PASSWORD};
use crate::places::Places;
use crate::stub::Kind;

/// plainftpd with one account, whose password is hashed with the default iterations.
pub struct Plainftpd {
    binary: PathBuf,
    role: Role,
    hash: String,
}

impl Plainftpd {
    pub fn new(binary: &Path, role: Role) -> Result<Plainftpd> {
        let mut child = Command::new(binary)
            .arg("--hash-password")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        child
            .stdin
            .take()
            .context("no standard input")?
            .write_all(format!("{PASSWORD}\n").as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "--hash-password failed");
        let hash = String::from_utf8(output.stdout)?.trim().to_string();
        Ok(Plainftpd { binary: binary.to_path_buf(), role, hash })
    }
}

impl Program for Plainftpd {
    fn name(&self) -> &'static str {
        if self.role == Role::Subject { "plainftpd" } else { "baseline" }
    }

    fn role(&self) -> Role {
        self.role
    }

    fn home(&self, dir: &Path) -> PathBuf {
        dir.join("workdir").join(NAME)
    }

    fn prepare(&self, dir: &Path) -> Result<()> {
        let lines: String =
            self.names().iter().map(|name| format!("{name}:user:-:{}\n", self.hash)).collect();
        Ok(fs::write(dir.join("users"), lines)?)
    }

    /// One account has at most half of the slots.
    fn names(&self) -> &'static [&'static str] {
        &[NAME, "another"]
    }

    fn command(&self, dir: &Path, port: u16) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--dir").arg(dir).args(["--listen", &format!("127.0.0.1:{port}")]);
        command.args([
            "--max-clients",
            "15000",
            "--max-per-address",
            "15000",
            "--idle-timeout",
            "86400",
        ]);
        command
    }

    fn binary(&self) -> Option<&Path> {
        Some(&self.binary)
    }
}

/// A stub: this program in another role.
pub struct Limit {
    kind: Kind,
    program: PathBuf,
    file: PathBuf,
}

impl Limit {
    pub fn new(kind: Kind, places: &Places) -> Result<Limit> {
        Ok(Limit { kind, program: std::env::current_exe()?, file: places.content(Places::BULK) })
    }
}

impl Program for Limit {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Sendfile => "bare sendfile",
            Kind::Copy => "bare read/write",
            Kind::Receive => "bare receiver",
            Kind::Ftp => "stub",
        }
    }

    fn role(&self) -> Role {
        Role::Limit(self.kind)
    }

    fn prepare(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }

    fn command(&self, dir: &Path, port: u16) -> Command {
        let mut command = Command::new(&self.program);
        let kind = clap::ValueEnum::to_possible_value(&self.kind)
            .map(|value| value.get_name().to_string());
        command.arg("stub").args(kind).args(["--port", &port.to_string()]);
        command.arg("--file").arg(&self.file);
        command.arg("--dir").arg(self.home(dir));
        command
    }

    fn binary(&self) -> Option<&Path> {
        None
    }
}
