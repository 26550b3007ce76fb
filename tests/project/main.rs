//! What holds for the project itself: its source, its documents and its promises.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

mod layers;
mod manifest;
mod promises;
mod readme;
mod recipes;
mod system_calls;

#[path = "../support/mod.rs"]
mod support;

fn files_below(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, files) } else { files.push(path) }
    }
}
