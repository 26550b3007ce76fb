//! A module uses only modules that are declared above it: in `main.rs`, and inside each folder. So
//! there is no cycle.

use std::fs;
use std::path::{Path, PathBuf};

use super::files_below;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules that a file declares, in its order, without those for tests.
fn declared(text: &str) -> Vec<String> {
    let name = |line: &str| Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_string());
    text.lines().filter_map(name).filter(|name| name != "tests").collect()
}

/// The modules in the order in which `main.rs` declares them.
fn rooms() -> Vec<String> {
    declared(&fs::read_to_string(source().join("main.rs")).unwrap())
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

/// The text without comments and without unit tests.
fn code(text: &str) -> String {
    let (code, _) = text.split_once("\n#[cfg(test)]\nmod tests").unwrap_or((text, ""));
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    code.lines().filter(is_code).map(|line| format!("{line}\n")).collect()
}

/// The name at the start of `text`.
fn first_name(text: &str) -> String {
    let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    text.trim_start().chars().take_while(is_name).collect()
}

/// The first names of the paths that follow `prefix` in `code`: of `super::a::b` the `a`, and of
/// `super::{a::b, c}` the `a` and the `c`.
fn names_after(prefix: &str, code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in code.split(prefix).skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            names.push(first_name(rest));
            continue;
        };
        let mut depth = 0;
        names.push(first_name(list));
        for (index, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => names.push(first_name(&list[index + 1..])),
                _ => {}
            }
        }
    }
    names.retain(|name| !name.is_empty() && name != "self");
    names
}

/// The names that a file imports from its own modules, each with the module.
fn imported(code: &str, modules: &[String]) -> Vec<(String, String)> {
    let mut imports = Vec::new();
    for module in modules {
        let names = names_after(&format!("use {module}::"), code);
        imports.extend(names.into_iter().map(|name| (name, module.clone())));
    }
    imports
}

/// The names of siblings that a file uses, directly or by what its parent imports from them.
fn siblings_used(code: &str, modules: &[String], imports: &[(String, String)]) -> Vec<String> {
    let sibling = |name: String| match modules.contains(&name) {
        true => Some(name),
        false => imports.iter().find(|(import, _)| *import == name).map(|(_, from)| from.clone()),
    };
    names_after("super::", code).into_iter().filter_map(sibling).collect()
}

#[test]
fn no_file_inside_a_folder_uses_one_that_its_parent_declares_below_it() {
    let mut files = Vec::new();
    files_below(&source(), &mut files);
    let mut arrows = 0;
    for parent in &files {
        let text = code(&fs::read_to_string(parent).unwrap());
        let modules = declared(&text);
        let imports = imported(&text, &modules);
        let folder = parent.with_extension("");
        if !folder.is_dir() {
            continue;
        }
        for (floor, name) in modules.iter().enumerate() {
            let text = fs::read_to_string(folder.join(format!("{name}.rs"))).unwrap();
            for target in siblings_used(&code(&text), &modules, &imports) {
                let above = modules.iter().position(|name| *name == target).unwrap();
                assert!(above < floor, "{}: {name} uses {target}", folder.display());
                arrows += 1;
            }
        }
    }
    assert!(arrows > 20, "the arrows were not found: {arrows}");
}

#[test]
fn the_finder_of_siblings_finds_them() {
    let modules = ["a", "b", "c"].map(str::to_string);
    let imports = imported("pub use a::{One, Two};\nuse b::Three;\n", &modules);
    let text = "use super::{Own, b::{X, Y}, c};\nuse super::Two;\n// super::b\nsuper::Own(1)\n\
        \n#[cfg(test)]\nmod tests { use super::c; }\n";
    assert_eq!(siblings_used(&code(text), &modules, &imports), ["b", "c", "a"]);
}

#[test]
fn the_finder_of_arrows_finds_them() {
    assert_eq!(
        used("use crate::vfs::Store;\n// crate::nothing\nlet x = crate::text::trim(crate::log());"),
        ["vfs", "text", "log"]
    );
}
