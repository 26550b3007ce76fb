//! What the documents name exists: tests, files, and the lengths of files.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::{files_below, markdown, top};

/// The Rust files below these folders.
fn code_in(folders: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    folders.iter().for_each(|folder| files_below(&top().join(folder), &mut files));
    files.retain(|file| file.extension().is_some_and(|end| end == "rs"));
    files
}

/// The names of all tests in `src/` and `tests/`.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in code_in(&["src", "tests"]) {
        let text = fs::read_to_string(file).unwrap();
        for rest in text.split("#[test]").skip(1) {
            let name = rest.split_once("fn ").and_then(|(_, rest)| rest.split('(').next());
            names.extend(name.map(str::to_string));
        }
    }
    names
}

/// The texts between backticks in a paragraph.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn each_decision_names_tests_that_exist() {
    let design = fs::read_to_string(top().join("DESIGN.md")).unwrap();
    let decisions = design.split("## Decisions").nth(1).unwrap();
    let tests = tests();
    let mut named = 0;
    for decision in decisions.split("\n- ").skip(1) {
        let decision = decision.split("\n\n").next().unwrap();
        let Some((_, names)) = decision.split_once("Test") else { continue };
        for name in quoted(names) {
            let exists = tests.contains(name) || top().join(name).is_file();
            assert!(exists, "{name} does not exist, which DESIGN.md names:\n{decision}");
            named += 1;
        }
    }
    assert!(named > 40, "{named}");
}

#[test]
fn every_source_file_that_a_document_names_exists() {
    let mut named = 0;
    for document in markdown() {
        let text = fs::read_to_string(&document).unwrap();
        // Blocks of code have backticks of their own.
        let text: String = text.split("```").step_by(2).collect();
        for name in quoted(&text) {
            let name = name.split("::").next().unwrap();
            let is_path = ["src/", "tests/", "docs/", "bench/", "probe/"]
                .iter()
                .any(|top| name.starts_with(top));
            if is_path && name.contains('.') && !name.contains(' ') {
                assert!(top().join(name).is_file(), "{}: {name}", document.display());
                named += 1;
            }
        }
    }
    assert!(named > 100, "{named}");
}

#[test]
fn design_lists_every_module_in_the_order_of_main() {
    let design = fs::read_to_string(top().join("DESIGN.md")).unwrap();
    let main = fs::read_to_string(top().join("src/main.rs")).unwrap();
    let modules = main.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    let rows = design.lines().filter_map(|line| line.strip_prefix("| `")?.split(".rs`").next());
    let rows: Vec<_> = rows.filter(|row| *row != "main").collect();
    assert_eq!(rows, modules.collect::<Vec<_>>());
    for file in code_in(&["src"]) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let is_test =
            file.components().any(|part| part.as_os_str() == "tests") || name == "tests.rs";
        assert!(is_test || design.contains(name), "DESIGN.md does not name {}", file.display());
    }
}

#[test]
fn reading_names_files_with_about_their_lengths() {
    let reading = fs::read_to_string(top().join("docs/reading.md")).unwrap();
    let mut rows = 0;
    for row in reading.lines().filter(|line| line.starts_with("| ") && line.contains("| `src/")) {
        let columns: Vec<_> = row.split('|').map(str::trim).collect();
        let file = columns[3].trim_matches('`');
        let told: usize = columns[4].parse().unwrap();
        let length = fs::read_to_string(top().join(file)).unwrap().lines().count();
        assert!(told.abs_diff(length) * 4 <= length, "{file} has {length} lines, not {told}");
        rows += 1;
    }
    assert!(rows > 12, "{rows}");
}

#[test]
fn no_file_in_docs_is_longer_than_320_lines() {
    for entry in fs::read_dir(top().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 320, "{} has {lines} lines", path.display());
    }
}
