//! What people type, and what they are answered.

use crate::support::Server;

#[test]
fn folders_that_mkdir_p_makes_count_and_what_it_made_before_a_failure_stays() {
    let server = Server::with(&["--quota", "12K"]);
    let mut client = server.registered("alice");
    client.expect("mkdir a", 257);
    assert_eq!(
        client.ask("mkdir -p a/b/c/d/e"),
        "552 /a/b/c/d: the quota is used up: 12288 of 12288 bytes are taken."
    );
    assert_eq!(client.ask("free"), "211 12288 of 12288 bytes used; 0 left.");
    assert_eq!(client.ask("mkdir -p a/b/c"), "257 \"/a/b/c\" exists already.");
    assert_eq!(client.ask("rmdir a/b/c"), "250 /a/b/c removed.");
    assert_eq!(client.ask("mkdir -p a/b/d"), "257 \"/a/b/d\" created.");
    let log = server.log();
    let refused = log.lines().find(|line| line.contains(" code=552 ")).unwrap();
    assert!(refused.contains(" word=mkdir "), "{refused}");
    assert!(log.contains(" word=mkdir path=/a/b/d code=257 "), "{log}");
}

#[test]
fn text_that_was_begun_by_mistake_is_not_stored_if_the_connection_closes() {
    let server = Server::start();
    server.registered("alice").put("old", b"old");
    let mut sessions = 1;
    for word in ["upload", "put", "write", "append"] {
        for name in ["new", "old"] {
            // As nc does on Ctrl-C, and as a pipe that ends does.
            for is_abrupt in [true, false] {
                let mut client = server.connect();
                client.expect("login alice password", 230);
                client.send_line(&format!("{word} {name}"));
                assert!(client.reply().starts_with("150 What you type now "));
                client.send_line("ls");
                if !is_abrupt {
                    client.half_close();
                    assert!(client.rest().starts_with("426 "), "{word} {name}");
                }
                drop(client);
                sessions += 1;
                server.wait_for_ended(sessions);
                assert_eq!(
                    std::fs::read(server.real("alice/old")).unwrap(),
                    b"old",
                    "{word} {name}"
                );
                assert!(!server.real("alice/new").exists(), "{word} {name}");
            }
        }
    }
}
