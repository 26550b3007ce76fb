//! The server is no library, so that nothing of it is public that need not be. A target takes a copy of
//! its source as its own crate, with a function appended that reaches what is private.

use std::path::Path;
use std::{env, fs};

/// For `parse`: a line of whatever shape has one answer, and content after it is never forgotten.
const COMMANDS: &str = r#"
pub fn fuzz(line: &[u8]) {
    let verb = verb_and_rest(line).0.to_ascii_lowercase();
    match parse(line) {
        Ok(_) => {}
        Err(reply) => {
            assert!((500..=599).contains(&reply.code) || reply.code == 202);
            let bytes = reply.encode();
            let text = bytes.strip_suffix(b"\r\n").unwrap();
            assert!(!text.iter().any(u8::is_ascii_control), "{}", bytes.escape_ascii());
            let content = [&b"put"[..], b"upload", b"send", b"write", b"append"];
            assert!(!content.contains(&verb.as_slice()), "its content would be run as commands");
        }
    }
    let _ = (is_http(line), note::word_of(line), too_long(line));
}
"#;

/// For the reader of the users file: every line that is no comment claims its name, a doubled name is
/// nobody's, and a record that is read is the one that would be written.
const USERS: &str = r#"
pub fn fuzz(text: &[u8]) {
    let (index, warnings) = Index::parse(text);
    let mut claimed = std::collections::HashMap::new();
    let unmarked = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    for line in unmarked.split(|byte| *byte == b'\n') {
        if let Some(name) = Record::claimed_name(line) {
            *claimed.entry(name).or_insert(0) += 1;
        }
    }
    for (name, times) in &claimed {
        let record = index.records.get(name).expect("a line claims its name");
        assert!(*times == 1 || record.is_none(), "a doubled name");
    }
    for (name, record) in &index.records {
        assert!(claimed.contains_key(name), "a name out of nowhere");
        if let Some(record) = record {
            assert_eq!(record.name.to_ascii_lowercase(), *name);
            assert!(super::is_valid_name(record.name.as_bytes()));
            assert_eq!(Record::parse(record.to_string().as_bytes()).as_ref(), Ok(record));
        }
    }
    assert!(warnings.iter().all(|warning| !warning.contains('\n')));
    let _ = (why_unreadable(text), is_ended(text));
    for (name, record) in &index.records {
        let found = record_of(text, name);
        assert_eq!(found.as_ref(), record.as_ref());
        let left = with_line_replaced(text, name, None);
        assert!(record.is_none() || !Index::parse(&left).0.has(name.as_bytes()));
    }
}
"#;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            let mut text = fs::read_to_string(entry.path()).unwrap();
            match entry.file_name().to_str() {
                // A file that is included has no documentation of its own.
                Some("main.rs") => text = text.replace("\n//!", "\n//").replacen("//!", "//", 1),
                Some("commands.rs") => text.push_str(COMMANDS),
                Some("users.rs") => text.push_str("pub use index::fuzz;"),
                Some("index.rs") => text.push_str(USERS),
                _ => {}
            }
            fs::write(target, text).unwrap();
        }
    }
}

fn main() {
    println!("cargo:rerun-if-changed=../src");
    println!("cargo:rerun-if-changed=build.rs");
    let copied = Path::new(&env::var_os("OUT_DIR").unwrap()).join("server");
    let _ = fs::remove_dir_all(&copied);
    copy(Path::new("../src"), &copied);
}
