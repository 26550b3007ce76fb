//! What people type, and what they are answered.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use support::Server;

#[test]
fn folders_that_mkdir_p_makes_count_and_what_it_made_before_a_failure_stays() {
    let server = Server::with(&["--quota", "12K"]);
    let mut client = server.registered("alice");
    client.expect("mkdir a", 257);
    assert_eq!(
        client.ask("mkdir -p a/b/c/d/e"),
        "552 /a/b/c/d: the quota is used up: 12288 of 12288 bytes are taken"
    );
    assert_eq!(client.ask("free"), "211 12288 of 12288 bytes used; 0 left.");
    assert_eq!(client.ask("mkdir -p a/b/c"), "257 \"/a/b/c\" exists already.");
    assert_eq!(client.ask("rmdir a/b/c"), "250 /a/b/c removed.");
    assert_eq!(client.ask("mkdir -p a/b/d"), "257 \"/a/b/d\" created.");
    let log = server.log();
    assert!(log.contains(" word=mkdir code=552 "), "{log}");
    assert!(log.contains(" word=mkdir path=/a/b/d code=257 "), "{log}");
}
