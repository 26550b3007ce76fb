//! Where things are: what is fetched and kept below `target/bench`, and the folder of a run, which
//! goes with it.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::scale::Scale;
use crate::stub::SMALL;

/// The folder of the run, for its end by a signal.
static RUN: OnceLock<PathBuf> = OnceLock::new();

/// Removes what the run has written so far.
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
    /// The file of the rows of one client.
    pub const BULK: &'static str = "bulk";
    /// The file of the rows of four clients.
    pub const SHARED: &'static str = "shared";
    /// The small file.
    pub const SMALL: &'static str = "small";

    /// Makes the run's folder, in `parent` or below Cargo's target, and the files that are fetched.
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

    /// A file that every server has in its account's folder.
    pub fn content(&self, name: &str) -> PathBuf {
        self.run.path().join(name)
    }

    /// A folder of a server's own, in this run.
    pub fn new_folder(&self, name: &str) -> Result<PathBuf> {
        let number = self.next.replace(self.next.get() + 1);
        let dir = self.run.path().join(format!("{number}-{}", name.replace(['/', ' '], "-")));
        fs::create_dir(&dir)?;
        Ok(dir)
    }
}

/// Where Cargo puts what it builds: this program is in `target/PROFILE`.
pub fn target() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program
        .parent()
        .and_then(Path::parent)
        .context("not started from Cargo's target folder")?
        .to_path_buf())
}

/// Where what is fetched stays.
pub fn kept() -> Result<PathBuf> {
    Ok(target()?.join("bench"))
}

/// The top of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn open_to_all() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}

/// Bytes in which no two places are alike, so that lost or doubled ones would show.
fn write_content(path: &Path, length: u64) -> Result<()> {
    let mut file = BufWriter::with_capacity(1024 * 1024, File::create(path)?);
    for word in 0..length / 8 {
        file.write_all(&word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())?;
    }
    Ok(file.flush()?)
}
