//! 200 clients at once, each with a whole session.

use std::collections::BTreeMap;
use std::sync::Barrier;

use crate::support::{Server, noise};

#[test]
fn two_hundred_clients_at_once_are_all_served_right_with_a_log_line_for_each_change() {
    const CLIENTS: usize = 200;
    let server = Server::start();
    let barrier = Barrier::new(CLIENTS);
    std::thread::scope(|scope| {
        for n in 0..CLIENTS {
            let (server, barrier) = (&server, &barrier);
            scope.spawn(move || {
                let mut client = server.connect();
                barrier.wait(); // all are connected before any goes on
                client.expect(&format!("register user{n} password"), 230);
                client.expect("mkdir docs", 257);
                let content = noise(10_000 + n, n as u64);
                assert!(client.put("docs/a", &content).starts_with("226 "));
                client.expect("cp docs/a b", 250);
                client.expect("mv b c", 250);
                assert_eq!(client.get("c").unwrap(), content);
                assert_eq!(client.ask("ls").lines().count(), 4);
                client.expect("rm c", 250);
                client.expect("rm -r docs", 250);
                client.expect("logout", 220);
                client.expect(&format!("login user{n} password"), 230);
                assert_eq!(client.ask("ls"), "212-/:\n212 Empty.");
                client.expect("quit", 221);
            });
        }
    });
    let log = server.log();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains("event=command")) {
        let word = line.split(" word=").nth(1).unwrap().split(' ').next().unwrap();
        *counts.entry(word).or_default() += 1;
    }
    let expected: BTreeMap<_, _> = [
        ("register", 1),
        ("mkdir", 1),
        ("put", 1),
        ("cp", 1),
        ("mv", 1),
        ("get", 1),
        ("rm", 2),
        ("logout", 1),
        ("login", 1),
    ]
    .into_iter()
    .map(|(word, count)| (word, count * CLIENTS))
    .collect();
    assert_eq!(counts, expected);
}
