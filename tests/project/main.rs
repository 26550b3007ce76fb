//! What holds for the project itself: its source, its documents and its promises.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

mod deploy;
mod documents;
mod layers;
mod manifest;
mod measures;
mod promises;
mod prose;
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

/// The top folder of the repository.
fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Markdown files of the repository.
fn markdown() -> Vec<PathBuf> {
    let mut files = Vec::new();
    files_below(&top().join("docs"), &mut files);
    files.extend(fs::read_dir(top()).unwrap().map(|entry| entry.unwrap().path()));
    files.retain(|file| file.extension().is_some_and(|end| end == "md"));
    files.sort();
    files
}
