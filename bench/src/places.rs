//! The folders of the benchmark: fetched programs stay below `target/bench`, and the folder of a
//! run is removed at its end.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::scale::Scale;
use crate::stub::SMALL;

/// The folder of the run, so that a signal can remove it.
static RUN: OnceLock<PathBuf> = OnceLock::new();

/// Removes all files that the run has written so far.
pub fn remove_run() {
    if let Some(run) = RUN.get() {
        let _ = fs::remove_dir_all(run);
    }
}

/// The folders of the benchmark.
pub struct Places {
    run: TempDir,
    next: Cell<u32>,
}

impl Places {
    /// The file for the rows with one client.
    pub const BULK: &'static str = "bulk";
    /// The file for the rows with four clients.
    pub const SHARED: &'static str = "shared";
    /// The small file.
    pub const SMALL: &'static str = "small";

    /// Creates the folder of the run, in `parent` or below Cargo's target, and the files to
    /// download.
    pub fn new(scale: &Scale, parent: Option<&Path>) -> Result<Places> {
        let runs = match parent {
            Some(parent) => parent.to_path_buf(),
            None => kept()?.join("run"),
        };
        fs::create_dir_all(&runs)?;
        let run = tempfile::Builder::new().permissions(open_to_all()).tempdir_in(runs)?;
        RUN.get_or_init(|| run.path().to_path_buf());
        let places = Places { run, next: Cell::new(0) };
        for (name, length) in [
            (Places::BULK, scale.bulk),
            (Places::SHARED, scale.shared),
            (Places::SMALL, SMALL as u64),
        ] {
            write_content(&places.content(name), length)?;
        }
        Ok(places)
    }

    /// Creates a file that each server has in the folder of its account.
    pub fn content(&self, name: &str) -> PathBuf {
        self.run.path().join(name)
    }

    /// Creates the folder of a server in this run.
    pub fn new_folder(&self, name: &str) -> Result<PathBuf> {
        let number = self.next.replace(self.next.get() + 1);
        let dir = self.run.path().join(format!("{number}-{}", name.replace(['/', ' '], "-")));
        fs::create_dir(&dir)?;
        Ok(dir)
    }
}

/// The target folder of Cargo: this program is in `target/PROFILE`.
pub fn target() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program
        .parent()
        .and_then(Path::parent)
        .context("not started from Cargo's target folder")?
        .to_path_buf())
}

/// The folder for fetched programs, which are kept.
pub fn kept() -> Result<PathBuf> {
    Ok(target()?.join("bench"))
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn open_to_all() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}

/// Bytes that do not repeat, so that lost or doubled bytes are noticed.
fn write_content(path: &Path, length: u64) -> Result<()> {
    let mut file = BufWriter::with_capacity(1024 * 1024, File::create(path)?);
    for word in 0..length / 8 {
        file.write_all(&word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())?;
    }
    Ok(file.flush()?)
}
