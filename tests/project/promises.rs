//! The table of promises: each row names its tests, and each test that it names exists. And what
//! the tests need to run at all.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::files_below;

#[test]
fn every_promise_names_tests_that_are_there() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = ["docs/promises.md", "SECURITY.md"].map(|name| top.join(name));
    let place = places.iter().find(|path| path.exists()).unwrap();
    let text = fs::read_to_string(place).unwrap();
    let table = text.split("| --- | --- | --- |\n").nth(1).unwrap();
    let rows: Vec<_> = table.lines().take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 40, "{}", rows.len());
    for row in rows {
        let columns: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(columns.len(), 3, "{row}");
        let tests: Vec<_> = columns[2].split(", ").map(|test| test.trim_matches('`')).collect();
        for test in tests {
            let (file, name) = test.split_once("::").unwrap_or_else(|| panic!("{row}"));
            let code = fs::read_to_string(top.join(file))
                .unwrap_or_else(|_| panic!("{file} is not there"));
            let (before, _) = code
                .split_once(&format!("fn {name}("))
                .unwrap_or_else(|| panic!("{test} is not there"));
            // Its attributes and comments begin behind what stands before it.
            let above = before.rsplit(['}', ';']).next().unwrap_or_default();
            assert!(
                above.contains("#[test]") && !above.contains("#[ignore"),
                "{test} is no test that runs"
            );
        }
    }
}

/// A program that is missing lets its test pass on a developer's machine; in the gate it must be
/// there.
#[test]
fn every_program_that_a_test_drives_is_installed_by_the_gate() {
    // Debian cannot be without them.
    const ESSENTIAL: [&str; 5] = ["sh", "cp", "mkfifo", "nohup", "timeout"];
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let gate = fs::read_to_string(top.join(".ci/run")).unwrap();
    let mut programs = BTreeSet::new();
    let mut files = Vec::new();
    files_below(&top.join("tests"), &mut files);
    for path in files.iter().filter(|path| path.extension().is_some_and(|end| end == "rs")) {
        let code = fs::read_to_string(path).unwrap();
        for call in ["has_program(\"", "Command::new(\""] {
            let names = code.split(call).skip(1).filter_map(|rest| rest.split('"').next());
            programs.extend(names.filter(|name| !name.contains('{')).map(str::to_string));
        }
    }
    for program in programs.iter().filter(|name| !ESSENTIAL.contains(&name.as_str())) {
        // In this file the calls are texts.
        let is_name =
            program.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        assert!(
            !is_name || gate.contains(&format!("\nneed {program} ")),
            "{program} is not in .ci/run"
        );
    }
    assert!(programs.len() > 15, "{programs:?}");
}

/// A server that hangs must make its test fail, so every wait of a test has a limit. A connection
/// has its own where `support::connect` makes it.
#[test]
fn every_connection_of_a_test_has_its_timeouts() {
    let mut files = Vec::new();
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["tests/protocol", "tests/security"]
        .iter()
        .for_each(|it| files_below(&top.join(it), &mut files));
    let bare = |file: &&PathBuf| {
        fs::read_to_string(file).is_ok_and(|code| code.contains("TcpStream::connect("))
    };
    let found: Vec<_> = files.iter().filter(bare).collect();
    assert!(files.len() > 25 && found.is_empty(), "use support::connect in {found:?}");
}
