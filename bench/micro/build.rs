//! The server is no library, so the benchmarks take a copy of its modules as their own, with a function appended that
//! reaches what is private.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

const SOURCE: &str = "../../src";

const REACH: &str = "
/// Whether a line is a command.
pub fn parses(line: &[u8]) -> bool {
    parse(line).is_ok()
}
";

fn main() {
    println!("cargo:rerun-if-changed={SOURCE}");
    println!("cargo:rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").expect("Cargo sets it");
    let copied = Path::new(&out).join("server");
    // Where it is there already, cp would copy into it.
    let _ = fs::remove_dir_all(&copied);
    let done = Command::new("cp").arg("-r").arg(SOURCE).arg(&copied).status();
    assert!(done.expect("cp is there").success());
    let commands = copied.join("commands.rs");
    let text = fs::read_to_string(&commands).expect("the language") + REACH;
    fs::write(commands, text).expect("room for a copy");
    let root = fs::read_to_string(copied.join("main.rs")).expect("the root");
    let modules: Vec<&str> =
        root.lines().filter(|line| line.starts_with("mod ") && line.ends_with(';')).collect();
    fs::write(copied.join("modules.rs"), modules.join("\n")).expect("room for a list");
}
