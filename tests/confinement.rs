//! Nobody gets out of their own folder, by any word, in any spelling.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, TryRecvError};

use support::{Server, snapshot};

/// Every word that takes a path, with `{}` where it goes; content follows where it must.
const WORDS: &[&str] = &[
    "cd {}",
    "CWD {}",
    "XCWD {}",
    "ls {}",
    "ls {}/*",
    "dir -la {}",
    "mkdir {}/new",
    "MKD {}/new",
    "XMKD {}/new",
    "rmdir {}",
    "RMD {}",
    "XRMD {}",
    "rm {}",
    "del {}",
    "DELE {}",
    "rm -r {}",
    "touch {}",
    "touch {}/new",
    "create {}/new",
    "write {} text",
    "write {}/new text",
    "append {} text",
    "append {}/new text",
    "put {} 4\r\ntext",
    "put {}/new 4\r\ntext",
    "put {}\r\ntext\r\n.",
    "get {}",
    "cat {}/secret",
    "cp {} loot",
    "cp {}/secret loot",
    "cp mine {}/new",
    "cp -f mine {}",
    "cp folder {}/new",
    "mv {} loot",
    "mv {}/secret loot",
    "mv mine {}/new",
    "mv -f mine {}",
    "RNFR {}\r\nRNTO loot",
    "RNFR {}/secret\r\nRNTO loot",
    "RNFR mine\r\nRNTO {}/new",
    "info {}",
    "info {}/secret",
    "hash {}",
    "hash {}/secret",
    "SIZE {}/secret",
    "MDTM {}/secret",
];

struct Scene {
    server: Server,
    outside: PathBuf,
    _dir: tempfile::TempDir,
}

/// A server whose folder stands beside a folder of secrets, and a neighbour with a secret.
fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir_all(outside.join("folder")).unwrap();
    fs::write(outside.join("secret"), "TOP-SECRET").unwrap();
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    let server = Server::in_folder(&home, &[]);
    let mut bob = server.registered("bob");
    bob.put("secret", b"TOP-SECRET");
    Scene { server, outside, _dir: dir }
}

impl Scene {
    /// Tries every word on every path; returns all that the server said.
    fn try_all(&self, paths: &[String], prepare: impl Fn(&Path)) -> String {
        let mut said = String::new();
        let alice = self.server.real("alice");
        for path in paths {
            for word in WORDS {
                // Signed up anew for each, so that no word spoils the scene for the next.
                let mut client = self.server.registered("alice");
                fs::create_dir(alice.join("folder")).unwrap();
                fs::write(alice.join("folder/in"), "in").unwrap();
                fs::write(alice.join("mine"), "mine").unwrap();
                prepare(&alice);
                client.send_line(&word.replace("{}", path));
                client.send_line("cat loot\r\nls\r\npwd\r\nunregister password\r\nquit");
                let rest = client.rest();
                assert!(
                    rest.ends_with("250 Account alice and its folder are gone.\r\n221 Goodbye.\r\n"),
                    "{rest}"
                );
                said.push_str(&rest);
            }
        }
        said
    }
}

#[test]
fn no_word_and_no_spelling_leads_out() {
    let scene = scene();
    let (out, home) = (snapshot(&scene.outside), scene.server.dir().display().to_string());
    let bob = snapshot(&scene.server.real("bob"));
    let outside = scene.outside.display().to_string();
    let paths: Vec<String> = [
        "..",
        "../bob",
        "../../outside",
        "/../bob",
        "/..//../bob/.",
        "folder/../../bob",
        "folder/../../../../outside",
        "./.././../outside",
        "../.plainftpd-x",
        "/.plainftpd-x",
        "../../users",
        "../../log.txt",
        "~bob",
        "..\\bob",
        "%2e%2e/bob",
        "\u{ff0e}\u{ff0e}/bob",
        "/proc/self/root",
        "/proc/self/cwd",
    ]
    .into_iter()
    .map(str::to_string)
    .chain([outside, home.clone(), format!("{home}/workdir/bob")])
    .collect();
    let said = scene.try_all(&paths, |_| {});
    assert!(!said.contains("TOP-SECRET"), "a secret was read");
    // What the client typed may come back; what it did not know may not.
    let typed = format!("{home}/workdir");
    let told = said.replace(&typed, "").replace(&home, "");
    assert!(!told.contains("workdir"), "a path of the host was told");
    assert_eq!(snapshot(&scene.outside), out);
    assert_eq!(snapshot(&scene.server.real("bob")), bob);
    assert!(scene.server.users().contains("\nbob:user:"));
}

#[test]
fn no_planted_link_leads_out_at_any_position() {
    let scene = scene();
    let (out, bob) = (snapshot(&scene.outside), snapshot(&scene.server.real("bob")));
    let outside = scene.outside.clone();
    let paths: Vec<String> =
        ["link", "link/folder", "folder/link", "file", "relative", "up", "up/bob", "loop"]
            .into_iter()
            .map(str::to_string)
            .collect();
    let said = scene.try_all(&paths, |alice| {
        symlink(&outside, alice.join("link")).unwrap();
        symlink(&outside, alice.join("folder/link")).unwrap();
        symlink(outside.join("secret"), alice.join("file")).unwrap();
        symlink("../bob/secret", alice.join("relative")).unwrap();
        symlink("..", alice.join("up")).unwrap();
        symlink("loop", alice.join("loop")).unwrap();
    });
    assert!(!said.contains("TOP-SECRET"), "a secret was read");
    assert!(!said.contains(&*outside.to_string_lossy()), "a link's target was told");
    assert_eq!(snapshot(&scene.outside), out);
    assert_eq!(snapshot(&scene.server.real("bob")), bob);
}

#[test]
fn a_home_that_was_swapped_for_a_link_is_not_entered() {
    let scene = scene();
    let mut client = scene.server.registered("alice");
    fs::remove_dir(scene.server.real("alice")).unwrap();
    symlink(&scene.outside, scene.server.real("alice")).unwrap();
    assert!(client.get("secret").is_err());
    client.expect("login alice password", 451);
    client.expect("ls", 530);
}

#[test]
fn folders_swapped_for_links_during_the_words_lead_nowhere() {
    let scene = scene();
    let mut client = scene.server.registered("alice");
    let at = |name: &str| scene.server.real("alice").join(name);
    fs::create_dir(at("real")).unwrap();
    fs::write(at("real/secret"), "harmless").unwrap();
    symlink(&scene.outside, at("link")).unwrap();
    let out = snapshot(&scene.outside);
    let rounds = std::thread::scope(|scope| {
        // Dropped in the end, and when an assertion fails, too.
        let (_goes_on, stop) = mpsc::channel::<()>();
        scope.spawn(move || {
            while stop.try_recv() == Err(TryRecvError::Empty) {
                for (from, to) in [("real", "d"), ("d", "real"), ("link", "d"), ("d", "link")] {
                    let _ = fs::rename(at(from), at(to));
                }
            }
        });
        let (mut inside, mut refused, mut copied) = (0, 0, 0);
        while inside < 100 || refused < 100 || copied < 20 {
            match client.get("d/secret") {
                Ok(content) => {
                    assert_eq!(content, b"harmless");
                    inside += 1;
                }
                Err(reply) => {
                    assert!(reply.starts_with("550 "), "{reply}");
                    refused += 1;
                }
            }
            client.put("d/new", b"new");
            if client.ask("cp d/secret loot").starts_with("250 ") {
                assert_eq!(client.get("loot").unwrap(), b"harmless");
                copied += 1;
            }
            for word in ["ls d", "rm loot", "rm d/new", "rm -r d/secret2", "mkdir d/x"] {
                client.ask(word);
            }
        }
        inside + refused
    });
    assert!(rounds >= 200);
    assert_eq!(snapshot(&scene.outside), out);
}
