//! A module uses only the modules above it in `main.rs`: no circles, no arrow upwards.

use std::fs;
use std::path::{Path, PathBuf};

use super::files_below;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The rooms, in the order in which `main.rs` declares them.
fn rooms() -> Vec<String> {
    let main = fs::read_to_string(source().join("main.rs")).unwrap();
    let name = |line: &str| Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_string());
    main.lines().filter_map(name).collect()
}

/// The rooms that a text names by `crate::`.
fn used(text: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.chars().take_while(|c| is_name(*c)).collect())
        .collect()
}

#[test]
fn no_module_uses_one_below_it() {
    let rooms = rooms();
    assert!(rooms.len() >= 13 && rooms.last().unwrap() == "thread_pool", "{rooms:?}");
    let mut files = Vec::new();
    files_below(&source(), &mut files);
    let mut arrows = 0;
    for file in files {
        let inside = file.strip_prefix(source()).unwrap();
        let first = inside.iter().next().unwrap().to_str().unwrap();
        let room = first.trim_end_matches(".rs");
        let Some(floor) = rooms.iter().position(|name| name == room) else {
            assert_eq!(room, "main", "a file that main.rs does not declare");
            continue;
        };
        for target in used(&fs::read_to_string(&file).unwrap()) {
            let above = rooms.iter().position(|name| *name == target);
            let above =
                above.unwrap_or_else(|| panic!("{room} uses crate::{target}, which is no room"));
            assert!(above < floor, "{} uses {target}, which is not above it", inside.display());
            arrows += 1;
        }
    }
    assert!(arrows > 30, "the arrows were not found: {arrows}");
}

#[test]
fn the_finder_of_arrows_finds_them() {
    assert_eq!(
        used("use crate::vfs::Store;\n// crate::nothing\nlet x = crate::text::trim(crate::log());"),
        ["vfs", "text", "log"]
    );
}
