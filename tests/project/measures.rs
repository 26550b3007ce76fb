//! How large the source may be. Each test prints what it measures (`-- --nocapture`) and holds it
//! to a limit. A change that needs more raises the limit and says why.

use std::fs;
use std::path::{Path, PathBuf};

use super::{files_below, top};

/// Lines of `src/` without unit tests, comments and blank lines included.
const LINES: usize = 14_490;
/// The longest file of `src/`, without its unit tests, comments and blank lines included.
const LONGEST_FILE: usize = 520;
const LONGEST_FUNCTION: usize = 60;
/// Longer functions, each with its file and its own limit. This one is the dispatcher: one line per
/// command.
const LONGER_FUNCTIONS: [(&str, &str, usize); 1] = [("src/commands.rs", "run", 80)];
/// The most binaries of tests. Each is linked by itself, and they run one after another.
const BINARIES: usize = 8;
/// The longest file of `docs/`.
const LONGEST_DOCUMENT: usize = 320;
/// The widest line of code and of Markdown, in characters.
const WIDTH: usize = 100;
/// Wider lines of code, all of which hold a text that would be hard to read in pieces.
const WIDE_LINES_OF_CODE: usize = 2;
/// Wider lines of Markdown, apart from tables.
const WIDE_LINES_OF_MARKDOWN: usize = 2;

/// The Rust files of these folders.
fn code_in(folders: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in folders {
        files_below(&top().join(folder), &mut files);
    }
    files.retain(|file| {
        let inside = file.strip_prefix(top()).unwrap();
        inside.extension().is_some_and(|end| end == "rs")
            && inside.iter().all(|part| part != "target")
    });
    files.sort();
    files
}

/// The name of a file from the top of the repository.
fn shown(file: &Path) -> String {
    file.strip_prefix(top()).unwrap().display().to_string()
}

/// Whether a file holds nothing but unit tests.
fn is_test(file: &Path) -> bool {
    file.strip_prefix(top()).unwrap().iter().any(|part| part == "tests" || part == "tests.rs")
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The lines of a file without what `#[cfg(test)]` marks.
fn without_tests(text: &str) -> Vec<&str> {
    let mut kept = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push(line);
            continue;
        }
        let mut item = lines.by_ref().skip_while(|line| line.trim_start().starts_with("#["));
        let first = item.next().unwrap_or_default();
        let is_end = |next: &&str| {
            indentation(next) == indentation(first) && next.trim_start().starts_with(['}', ')'])
        };
        if !first.ends_with([';', ',', '}']) {
            item.find(is_end);
        }
    }
    kept
}

fn is_code(line: &&&str) -> bool {
    !line.trim().is_empty() && !line.trim_start().starts_with("//")
}

#[test]
fn the_source_does_not_grow_beyond_its_limit() {
    let (mut code, mut all) = (0, 0);
    for file in code_in(&["src"]).iter().filter(|file| !is_test(file)) {
        let text = fs::read_to_string(file).unwrap();
        let lines = without_tests(&text);
        all += lines.len();
        code += lines.iter().filter(is_code).count();
    }
    println!("src/ without unit tests: {all} lines of {LINES}; {code} are code");
    assert!(code > 1000 && all <= LINES, "src/ has {all} lines; the limit is {LINES}");
}

#[test]
fn no_file_is_too_long_to_read_at_one_sitting() {
    let mut lengths = Vec::new();
    for file in code_in(&["src"]).iter().filter(|file| !is_test(file)) {
        let text = fs::read_to_string(file).unwrap();
        lengths.push((without_tests(&text).len(), shown(file)));
    }
    lengths.sort();
    let (length, longest) = lengths.last().unwrap();
    println!("longest file: {longest}, {length} lines of {LONGEST_FILE}");
    for (length, file) in &lengths {
        assert!(*length <= LONGEST_FILE, "{file} has {length} lines; the limit is {LONGEST_FILE}");
    }
}

/// The names of all functions and the number of their lines.
fn functions<'a>(lines: &[&'a str]) -> Vec<(&'a str, usize)> {
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let words = ["pub ", "pub(crate) ", "pub(super) ", "const "];
        let mut rest = line.trim_start();
        while let Some(word) = words.iter().find(|word| rest.starts_with(**word)) {
            rest = &rest[word.len()..];
        }
        let Some(rest) = rest.strip_prefix("fn ") else { continue };
        let name = rest.split(['(', '<']).next().unwrap();
        let is_end = |next: &&str| {
            indentation(next) == indentation(line)
                && (next.trim_start().starts_with('}') || next.ends_with([';', '}']))
        };
        let length = lines[start..].iter().position(is_end).unwrap() + 1;
        found.push((name, length));
    }
    found
}

#[test]
fn no_function_is_longer_than_a_screen_but_for_the_dispatcher() {
    let mut longest = ("", 0, String::new());
    let mut count = 0;
    for file in code_in(&["src"]).iter().filter(|file| !is_test(file)) {
        let text = fs::read_to_string(file).unwrap();
        let text: &'static str = text.leak();
        for (name, length) in functions(&without_tests(text)) {
            count += 1;
            let place = shown(file);
            let is_it = |own: &&(&str, &str, usize)| (own.0, own.1) == (place.as_str(), name);
            let own = LONGER_FUNCTIONS.iter().find(is_it);
            let limit = own.map_or(LONGEST_FUNCTION, |(_, _, limit)| *limit);
            assert!(length <= limit, "{place}: {name} has {length} lines; the limit is {limit}");
            if own.is_none() && length > longest.1 {
                longest = (name, length, place);
            }
        }
    }
    let (name, length, place) = longest;
    println!("longest function of {count}: {name}, {length} lines of {LONGEST_FUNCTION}, {place}");
    for (place, name, limit) in LONGER_FUNCTIONS {
        println!("longer by exception: {place}, {name}, up to {limit} lines");
    }
    assert!(count > 300, "the functions were not found: {count}");
}

#[test]
fn the_tests_are_few_binaries() {
    let entries = fs::read_dir(top().join("tests")).unwrap().map(|entry| entry.unwrap().path());
    let is_binary = |path: &PathBuf| {
        path.join("main.rs").exists() || path.extension().is_some_and(|end| end == "rs")
    };
    let count = entries.filter(is_binary).count();
    println!("binaries of tests: {count} of {BINARIES}");
    assert!((1..=BINARIES).contains(&count), "{count} binaries; the limit is {BINARIES}");
}

#[test]
fn no_document_is_too_long() {
    let mut files = Vec::new();
    files_below(&top().join("docs"), &mut files);
    let length = |file: &PathBuf| fs::read_to_string(file).unwrap().lines().count();
    let longest = files.iter().max_by_key(|file| length(file)).unwrap();
    println!("longest document: {}, {} lines", shown(longest), length(longest));
    for file in &files {
        let length = length(file);
        let place = shown(file);
        assert!(length <= LONGEST_DOCUMENT, "{place}: {length} lines of {LONGEST_DOCUMENT}");
    }
}

fn check_width(kind: &str, files: &[PathBuf], limit: usize, is_free: fn(&str) -> bool) {
    let mut wide = Vec::new();
    for file in files {
        for (number, line) in fs::read_to_string(file).unwrap().lines().enumerate() {
            let width = line.chars().count();
            if width > WIDTH && !is_free(line) {
                wide.push(format!("{}:{}: {width}", shown(file), number + 1));
            }
        }
    }
    println!("lines of {kind} over {WIDTH} columns: {} of {limit}", wide.len());
    assert!(wide.len() <= limit, "{kind}: {} over {limit}:\n{}", wide.len(), wide.join("\n"));
}

#[test]
fn code_fits_into_100_columns() {
    let files = code_in(&["src", "tests", "bench", "probe"]);
    check_width("code", &files, WIDE_LINES_OF_CODE, |_| false);
}

#[test]
fn markdown_fits_into_100_columns_but_for_tables() {
    let is_row = |line: &str| line.starts_with('|');
    check_width("Markdown", &super::markdown(), WIDE_LINES_OF_MARKDOWN, is_row);
}

#[test]
fn the_measures_see_what_they_measure() {
    let text = "fn a() {\n    b();\n}\n\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn c() {}\n}\n\
                struct D {\n    #[cfg(test)]\n    e: u8,\n    f: u8,\n}\n\
                #[cfg(test)]\nmod tests;\n";
    let lines = without_tests(text);
    assert_eq!(lines, ["fn a() {", "    b();", "}", "", "struct D {", "    f: u8,", "}"]);
    assert_eq!(lines.iter().filter(is_code).count(), 6);
    let code = [
        "pub fn one() {}",
        "impl A {",
        "    pub(super) const fn two(",
        "        a: u8,",
        "    ) -> u8 {",
        "        a",
        "    }",
        "}",
    ];
    assert_eq!(functions(&code), [("one", 1), ("two", 5)]);
}
