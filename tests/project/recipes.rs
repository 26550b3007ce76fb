//! The recipes of docs/testing.md run as they stand, with the program of this build in the PATH.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::support::has_program;

const TESTING: &str = include_str!("../../docs/testing.md");

/// The only block of docs/testing.md in this language.
fn recipe(language: &str) -> &'static str {
    let fence = format!("```{language}\n");
    assert_eq!(TESTING.matches(&fence).count(), 1, "{language}");
    TESTING.split(&fence).nth(1).unwrap().split("```").next().unwrap()
}

/// Runs a command that finds `plainftpd` in its PATH. It must succeed.
#[track_caller]
fn run(command: &mut Command) {
    let program = Path::new(env!("CARGO_BIN_EXE_plainftpd")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let said = tempfile::NamedTempFile::new().unwrap();
    let output = said.reopen().unwrap();
    let mut child = command
        .env("PATH", format!("{}:{path}", program.display()))
        .process_group(0)
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let status = child.wait().unwrap();
    // A recipe that fails leaves its server behind.
    let group = format!("-{}", child.id());
    Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{}", fs::read_to_string(said.path()).unwrap());
}

#[test]
fn a_recipe_has_ten_lines_below_its_imports() {
    for language in ["rust", "python", "js"] {
        let is_import = |line: &&str| line.starts_with("use ") || line.starts_with("import ");
        let lines = recipe(language).lines().filter(|line| !line.is_empty() && !is_import(line));
        let lines: Vec<_> = lines.collect();
        assert!(lines.len() <= 10, "{language}: {} lines", lines.len());
        for line in lines {
            assert!(!line.contains("; ") && line.len() <= 100, "{language}: {line}");
        }
    }
}

#[test]
fn the_recipe_for_rust_compiles_and_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (source, program) = (dir.path().join("recipe.rs"), dir.path().join("recipe"));
    let body = recipe("rust");
    fs::write(&source, format!("fn main() -> std::io::Result<()> {{{body}Ok(())}}")).unwrap();
    // Cargo, which runs this test, comes with the compiler.
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_string());
    run(Command::new(rustc)
        .args(["--edition", "2024", "-D", "warnings", "-o"])
        .args([&program, &source]));
    run(Command::new(program).current_dir(dir.path()));
}

#[test]
fn the_recipe_for_python_runs() {
    if has_program("python3") {
        run(Command::new("python3").args(["-c", recipe("python")]));
    }
}

#[test]
fn the_recipe_for_node_runs() {
    if has_program("node") {
        run(Command::new("node").args(["--input-type=module", "-e", recipe("js")]));
    }
}
