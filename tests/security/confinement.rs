//! No client gets out of its own folder, by any command, in any spelling.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, TryRecvError};

use crate::support::{Client, Server, Way, sha256, snapshot};

/// Every command that takes a path, with `{}` for the path, and with content if it needs some.
const WORDS: &[&str] = &[
    "cd {}",
    "CWD {}",
    "ls {}",
    "ls {}/*",
    "dir -la {}",
    "mkdir {}/new",
    "mkdir -p {}/new/newer",
    "MKD {}/new",
    "rmdir {}",
    "RMD {}",
    "rm {}",
    "rm -r {}",
    "DELE {}",
    "touch {}",
    "touch {}/new",
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
    "MFMT 20200101000000 {}",
    "XSHA256 {}/secret",
    "MLST {}",
    "STAT {}",
    "SITE CHMOD 777 {}",
    "SITE CPFR {}\r\nSITE CPTO loot",
    "SITE CPFR mine\r\nSITE CPTO {}/new",
    "SITE COPY {}/secret loot",
    "SITE RMDIR {}",
];

/// The same for those that need a data connection.
const DATA_WORDS: &[&str] = &[
    "LIST {}",
    "NLST {}/*",
    "MLSD {}",
    "RETR {}",
    "RETR {}/secret",
    "STOR {}",
    "STOR {}/new",
    "APPE {}",
    "STOU {}/new",
];

#[test]
fn every_word_that_takes_a_path_is_tried() {
    let server = Server::start();
    let mut client = server.connect();
    let pages = [client.expect("help", 214), client.expect("help ftp", 214)].join("\n");
    let usages = pages.lines().filter_map(|line| line.strip_prefix(' ')?.split("  ").next());
    let takes_a_path =
        |usage: &&str| ["DIR", "FILE", "PATH", "FROM"].iter().any(|name| usage.contains(name));
    // STOU's name is a path, too.
    let usages: Vec<_> = usages.filter(takes_a_path).chain(["STOU [NAME]"]).collect();
    for usage in &usages {
        let is_part = |word: &&str| word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let words = if usage.starts_with("SITE ") { 2 } else { 1 };
        let verb = usage.split(' ').take(words).filter(is_part).collect::<Vec<_>>().join(" ");
        let tried = WORDS.iter().chain(DATA_WORDS).flat_map(|line| line.split("\r\n"));
        assert!(tried.into_iter().any(|line| line.starts_with(&format!("{verb} "))), "{verb}");
    }
    assert!(usages.len() > 35, "{usages:?}");
}

struct Scene {
    server: Server,
    outside: PathBuf,
    /// The folder of alice, inside the working directory.
    home: &'static str,
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
    Scene { server, outside, home: "alice", _dir: dir }
}

/// Looks around and ends the session; all that the server said.
fn leave(client: &mut Client) -> String {
    client.send_line("cat loot\r\nls\r\npwd\r\nquit");
    let rest = client.rest();
    assert!(rest.ends_with("\r\n221 Goodbye.\r\n"), "{rest}");
    rest
}

/// Removes all in a folder, and follows no link.
fn empty(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => fs::remove_dir_all(entry.path()).unwrap(),
            false => fs::remove_file(entry.path()).unwrap(),
        }
    }
}

impl Scene {
    /// A new session and a new content of the folder for each word, so that none spoils the scene
    /// for the next.
    fn newcomer(&self, prepare: impl Fn(&Path)) -> Client {
        let alice = self.server.real(self.home);
        let client = self.server.logged_in("alice");
        empty(&alice);
        fs::create_dir(alice.join("folder")).unwrap();
        fs::write(alice.join("folder/in"), "in").unwrap();
        fs::write(alice.join("mine"), "mine").unwrap();
        prepare(&alice);
        client
    }

    /// Tries every word on every path; returns all that the server said.
    fn try_all(&self, paths: &[String], prepare: impl Fn(&Path)) -> String {
        let mut said = String::new();
        for path in paths {
            // Not for each word, because a change of an account waits for the disk.
            if self.home == "alice" {
                self.server.registered("alice");
            }
            for word in WORDS {
                let mut client = self.newcomer(&prepare);
                client.send_line(&word.replace("{}", path));
                said.push_str(&leave(&mut client));
            }
            for word in DATA_WORDS {
                let mut client = self.newcomer(&prepare);
                let data = client.data(Way::Epsv);
                let reply = client.ask(&word.replace("{}", path));
                if reply.starts_with("150 ") {
                    let mut stream = data.stream();
                    let mut content = Vec::new();
                    match ["STOR", "APPE", "STOU"].contains(&&word[..4]) {
                        true => stream.write_all(b"PWNED").unwrap(),
                        false => drop(stream.read_to_end(&mut content).unwrap()),
                    }
                    drop(stream);
                    said.push_str(&String::from_utf8_lossy(&content));
                    said.push_str(&client.reply());
                }
                said.push_str(&reply);
                said.push_str(&leave(&mut client));
            }
            if self.home == "alice" {
                self.newcomer(&prepare).expect("unregister password", 250);
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
fn no_word_leads_out_of_a_folder_that_lies_in_the_folder_of_another_account() {
    let mut scene = scene();
    scene.home = "bob/deep/alice";
    scene.server.add_account("alice:user:-:HASH:bob/deep/alice");
    scene.server.logged_in("bob").put("deep/secret", b"TOP-SECRET");
    // What of bob's is not alice's.
    let bob = |scene: &Scene| {
        let mut all = snapshot(&scene.server.real("bob"));
        all.retain(|line| !line.contains("bob/deep/alice"));
        all
    };
    scene.server.logged_in("alice");
    let (out, before) = (snapshot(&scene.outside), bob(&scene));
    let paths =
        ["..", "../..", "/..", "folder/../../", "../../../bob", "/bob/deep", "link", "link/deep"];
    let paths: Vec<_> = paths.iter().map(|path| path.to_string()).collect();
    let said = scene.try_all(&paths, |alice| {
        symlink("../..", alice.join("link")).unwrap();
    });
    assert!(!said.contains("TOP-SECRET"), "a secret was read");
    assert!(!said.contains("deep/alice"), "the path was told");
    assert_eq!(snapshot(&scene.outside), out);
    assert_eq!(bob(&scene), before);
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
    fs::write(at("mine"), "mine").unwrap();
    let out = snapshot(&scene.outside);
    let secret = sha256(b"TOP-SECRET");
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
            if client.ask("append d/log x").starts_with("150 ") {
                client.reply();
            }
            if client.ask("cp d/secret loot").starts_with("250 ") {
                assert_eq!(client.get("loot").unwrap(), b"harmless");
                copied += 1;
            }
            for word in [
                "ls d",
                "rm loot",
                "rm d/new",
                "rm -r d/secret2",
                "mkdir d/x",
                "touch d/touched",
                "mv mine d/mine",
                "mv d/mine mine",
                "MFMT 20200101000000 d/secret",
                "SITE CHMOD 777 d/secret",
                "SITE RMDIR d/folder",
                "cp d tree",
                "rm -r tree",
            ] {
                client.ask(word);
            }
            for word in ["info d/secret", "hash d/secret"] {
                let reply = client.ask(word);
                assert!(!reply.contains(&secret), "{reply}");
            }
        }
        inside + refused
    });
    assert!(rounds >= 200);
    assert_eq!(snapshot(&scene.outside), out);
}
