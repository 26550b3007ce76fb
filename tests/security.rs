//! SECURITY.md's table of promises: no row without a test, and every test that it names is there.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::path::Path;

#[test]
fn every_promise_names_tests_that_are_there() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(top.join("SECURITY.md")).unwrap();
    let table = text.split("| --- | --- | --- |\n").nth(1).unwrap();
    let rows: Vec<_> = table.lines().take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 40, "{}", rows.len());
    for row in rows {
        let columns: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(columns.len(), 3, "{row}");
        let tests: Vec<_> = columns[2].split(", ").map(|test| test.trim_matches('`')).collect();
        for test in tests {
            let (file, name) = test.split_once("::").unwrap_or_else(|| panic!("{row}"));
            let code = fs::read_to_string(top.join(file)).unwrap_or_else(|_| panic!("{file} is not there"));
            let (before, _) =
                code.split_once(&format!("fn {name}(")).unwrap_or_else(|| panic!("{test} is not there"));
            // Its attributes and comments begin behind what stands before it.
            let above = before.rsplit(['}', ';']).next().unwrap_or_default();
            assert!(above.contains("#[test]") && !above.contains("#[ignore"), "{test} is no test that runs");
        }
    }
}
