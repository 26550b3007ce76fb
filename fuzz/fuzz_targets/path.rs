//! No argument leads out of the root.

#![no_main]
#![allow(dead_code, unused_imports, missing_docs)]

include!(concat!(env!("OUT_DIR"), "/server/main.rs"));

use libfuzzer_sys::fuzz_target;

use vfs::VirtualPath;

fuzz_target!(|arguments: &[u8]| {
    // What stands before the first line end is the folder that the client is in.
    let (base, argument) = match arguments.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&arguments[..end], &arguments[end + 1..]),
        None => (&arguments[..0], arguments),
    };
    let Ok(base) = VirtualPath::root().join(base) else { return };
    let Ok(path) = base.join(argument) else { return };
    for name in path.names() {
        assert!(!matches!(name, b"" | b"." | b".."));
        assert!(!name.contains(&b'/') && !name.contains(&0));
    }
    assert!(path.bytes().starts_with(b"/"));
    assert_eq!(VirtualPath::root().join(path.bytes()).unwrap(), path);
    assert!(path.is_within(&path.parent()));
});
