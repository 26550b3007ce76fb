//! The real programs: each transfers files both ways, and both sides are compared by SHA-256.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Server, has_program, noise, sha256};

/// A server with the account of alice, and a folder for the client's side.
struct Scene {
    server: Server,
    here: tempfile::TempDir,
}

impl Scene {
    /// `None`, with a message, where the program is missing on a developer's machine.
    fn with(program: &str) -> Option<Scene> {
        if !has_program(program) {
            return None;
        }
        let server = Server::with(&["--listen", "127.0.0.1:0", "--listen", "[::1]:0"]);
        server.registered("alice");
        Some(Scene { server, here: tempfile::tempdir().unwrap() })
    }

    fn port(&self) -> String {
        self.server.address().port().to_string()
    }

    fn url(&self, path: &str) -> String {
        format!("ftp://alice:password@127.0.0.1:{}/{path}", self.port())
    }

    fn url6(&self, path: &str) -> String {
        format!("ftp://alice:password@[::1]:{}/{path}", self.server.addresses[1].port())
    }

    /// Runs a program on the client's side, which must succeed; returns what it printed.
    #[track_caller]
    fn run(&self, program: &str, args: &[&str]) -> Vec<u8> {
        self.run_with_input(program, args, b"")
    }

    #[track_caller]
    fn run_with_input(&self, program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("timeout")
            .args(["240", program])
            .args(args)
            .current_dir(self.here.path())
            .env("HOME", self.here.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{program} {args:?}: {}\n{}\n{}\n{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr),
            self.server.log()
        );
        output.stdout
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.here.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.here.path().join(name)).unwrap()
    }

    fn stored(&self, name: &str) -> Vec<u8> {
        fs::read(self.server.real("alice").join(name)).unwrap()
    }

    /// The client's folder `local` holds just what the server's folder `remote` does.
    #[track_caller]
    fn same_tree(&self, local: &str, remote: &str) -> usize {
        let ours = tree(&self.here.path().join(local));
        assert_eq!(ours, tree(&self.server.real("alice").join(remote)));
        ours.len()
    }
}

/// Paths below a folder, with the SHA-256 of files.
fn tree(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![dir.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_string();
            if path.is_dir() {
                found.insert(name, "folder".to_string());
                waiting.push(path);
            } else {
                found.insert(name, sha256(&fs::read(&path).unwrap()));
            }
        }
    }
    found
}

const ODD_NAMES: [&str; 12] = [
    "with space",
    "Привет мир",
    "emoji 🙂🎉",
    "hash#mark",
    "per%cent%20",
    "star*",
    "[bracket]",
    "que?stion",
    "quote\"s'",
    ".hidden",
    "-dash",
    "semi;colon&amp",
];

/// Every byte but plain ones as %XX.
fn encoded(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_/".contains(byte);
    name.bytes()
        .map(|byte| if plain(&byte) { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// 500 files with odd names in a few folders.
fn many_files(scene: &Scene, top: &str) {
    for n in 0..500 {
        let odd = ODD_NAMES[n % ODD_NAMES.len()];
        // rclone and lftp make folders of `a/b`, so names hold no slash.
        scene.write(&format!("{top}/d{}/{odd} {n}", n % 7), &noise(n * 37 % 5000, n as u64));
    }
    fs::create_dir_all(scene.here.path().join(top).join("empty folder")).unwrap();
}

#[test]
fn curl_uploads_downloads_resumes_and_takes_ranges() {
    let Some(scene) = Scene::with("curl") else { return };
    let content = noise(3_000_000, 1);
    scene.write("local", &content);
    for (flags, url) in [
        (&[][..], scene.url("a")),
        (&["--disable-epsv"], scene.url("b")),
        (&["-P", "-"], scene.url("c")),
        (&["-P", "-", "--disable-eprt"], scene.url("d")),
        (&[], scene.url6("e")),
        (&["-P", "-"], scene.url6("f")),
        (&["--ftp-create-dirs"], scene.url("new/deep/er/g")),
        (&["--ftp-method", "nocwd"], scene.url("new/h")),
        (&["--ftp-method", "singlecwd"], scene.url("new/i")),
    ] {
        let upload = [&["-gsS", "-T", "local"][..], flags, &[&url]].concat();
        scene.run("curl", &upload);
        let name = url.rsplit_once(":").unwrap().1.split_once('/').unwrap().1;
        assert_eq!(sha256(&scene.stored(name)), sha256(&content), "{url}");
        let download = [&["-gsS"][..], flags, &[&url]].concat();
        assert_eq!(sha256(&scene.run("curl", &download)), sha256(&content), "{url}");
    }
    // Ranges, over one connection.
    let (a, b) = (scene.url("a"), scene.url("b"));
    assert_eq!(scene.run("curl", &["-sS", "-r", "100-199", &a]), &content[100..200]);
    assert_eq!(scene.run("curl", &["-sS", "-r", "2999000-", &a]), &content[2_999_000..]);
    let two = scene.run("curl", &["-sS", "-r", "0-9", &a, &b]);
    assert_eq!(two, [&content[..10], &content[..10]].concat());
    // Resume both ways.
    scene.write("half", &content[..1_234_567]);
    scene.run("curl", &["-sS", "-C", "-", "-o", "half", &a]);
    assert_eq!(sha256(&scene.read("half")), sha256(&content));
    fs::write(scene.server.real("alice/part"), &content[..765_432]).unwrap();
    scene.run("curl", &["-sS", "-C", "-", "-T", "local", &scene.url("part")]);
    assert_eq!(sha256(&scene.stored("part")), sha256(&content));
    // Text, a listing, commands, an empty file, appending.
    scene.write("lines", b"one\ntwo\n");
    // Which makes CRLFs of them.
    scene.run("curl", &["-sS", "-B", "-T", "lines", &scene.url("lines")]);
    assert_eq!(scene.stored("lines"), b"one\ntwo\n");
    assert_eq!(scene.run("curl", &["-sS", "-B", &scene.url("lines")]), b"one\ntwo\n");
    scene.write("empty", b"");
    scene.run("curl", &["-sS", "-T", "empty", &scene.url("empty")]);
    assert_eq!(scene.stored("empty"), b"");
    assert_eq!(scene.run("curl", &["-sS", &scene.url("empty")]), b"");
    scene.run("curl", &["-sS", "-a", "-T", "lines", &scene.url("lines")]);
    assert_eq!(scene.stored("lines"), b"one\ntwo\none\ntwo\n");
    let listing = String::from_utf8(scene.run("curl", &["-sS", "-l", &scene.url("new/")])).unwrap();
    let mut names: Vec<_> = listing.lines().collect();
    names.sort();
    assert_eq!(names, ["deep", "h", "i"]);
    scene.run("curl", &["-sS", "-Q", "-RNFR lines", "-Q", "-RNTO renamed", &scene.url("")]);
    assert!(scene.server.real("alice/renamed").exists());
    let head = String::from_utf8(scene.run("curl", &["-sSI", &a])).unwrap();
    assert!(head.contains("Content-Length: 3000000\r\n"), "{head}");
}

#[test]
fn curl_takes_odd_names_both_ways() {
    let Some(scene) = Scene::with("curl") else { return };
    for (n, name) in ODD_NAMES.iter().enumerate() {
        let content = noise(1000 + n, n as u64);
        scene.write("local", &content);
        let url = scene.url(&encoded(name));
        scene.run("curl", &["-gsS", "-T", "local", &url]);
        assert_eq!(scene.stored(name), content, "{name}");
        assert_eq!(scene.run("curl", &["-gsS", &url]), content, "{name}");
    }
}

#[test]
fn a_file_of_1_gib_goes_both_ways() {
    let Some(scene) = Scene::with("curl") else { return };
    const MIB: usize = 1024 * 1024;
    let noise = noise(MIB, 9);
    let block = |n: u32| [&n.to_le_bytes()[..], &noise[4..]].concat();
    // Generated and compared on the fly, so that only the server stores it.
    let url = scene.url("large");
    let mut curl = Command::new("curl");
    let mut upload = curl.args(["-sS", "-T", "-", &url]).stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = upload.stdin.take().unwrap();
    (0..1024).for_each(|n| pipe.write_all(&block(n)).unwrap());
    drop(pipe);
    assert!(upload.wait().unwrap().success());
    let is_same = |file: &mut dyn Read| {
        let mut read = vec![0; MIB];
        for n in 0..1024 {
            file.read_exact(&mut read).unwrap();
            assert!(read == block(n), "block {n}");
        }
        assert_eq!(file.read(&mut read).unwrap(), 0, "more than was sent");
    };
    is_same(&mut fs::File::open(scene.server.real("alice/large")).unwrap());
    let mut curl = Command::new("curl");
    let mut download = curl.args(["-sS", &url]).stdout(Stdio::piped()).spawn().unwrap();
    is_same(download.stdout.as_mut().unwrap());
    assert!(download.wait().unwrap().success());
}

#[test]
fn lftp_mirrors_both_ways_and_does_the_rest_of_its_work() {
    let Some(scene) = Scene::with("lftp") else { return };
    many_files(&scene, "out");
    let content = noise(5_000_000, 2);
    scene.write("big", &content);
    let lftp = |commands: &str| {
        let open = "set net:max-retries 2; set net:timeout 20; set cmd:fail-exit yes; \
                    set ftp:ssl-allow no;";
        let open =
            format!("{open} open -u alice,password 127.0.0.1 -p {}; {commands}", scene.port());
        String::from_utf8(scene.run("lftp", &["-c", &open])).unwrap()
    };
    lftp("mirror -R --parallel=4 out up");
    assert!(scene.same_tree("out", "up") > 500);
    lftp("mirror --parallel=4 up in");
    assert!(scene.same_tree("in", "up") > 500);
    // Nothing to do when nothing changed: times and sizes are as they were.
    assert_eq!(lftp("mirror -R --verbose out up"), "");
    lftp("put big; pget -n 4 big -o big2");
    assert_eq!(sha256(&scene.read("big2")), sha256(&content));
    scene.write("part", &content[..2_000_000]);
    lftp("get -c big -o part");
    assert_eq!(sha256(&scene.read("part")), sha256(&content));
    fs::write(scene.server.real("alice/rest"), &content[..3_000_000]).unwrap();
    lftp("put -c big -o rest");
    assert_eq!(sha256(&scene.stored("rest")), sha256(&content));
    lftp("mv big 'moved [1] *'; mkdir -p x/y/z; chmod 600 rest; rm -r up; mrm re*; cls -1");
    assert!(
        scene.server.real("alice/moved [1] *").exists()
            && scene.server.real("alice/x/y/z").exists()
    );
    assert!(!scene.server.real("alice/up").exists() && !scene.server.real("alice/rest").exists());
}

#[test]
fn tnftp_works_as_a_user_types_at_it() {
    let Some(scene) = Scene::with("tnftp") else { return };
    scene.write("a b", &noise(100_000, 4));
    scene.write("one.txt", b"one\n");
    scene.write("two.txt", b"two\n");
    let script = format!(
        "open 127.0.0.1 {}\nuser alice password\nprompt off\nbinary\nput \"a b\"\nmkdir docs\n\
         cd docs\nmput *.txt\nls\n\
         cd ..\nget \"a b\" back\nrename \"a b\" \"c d\"\nsize \"c d\"\nmodtime \"c d\"\n\
         lcd sub\ncd docs\nmget *.txt\n\
         passive\nget one.txt active.txt\ncd ..\nreget \"c d\" again\n\
         mdelete docs/*\nrmdir docs\nsystem\nremotehelp\nfeatures\nbye\n",
        scene.port()
    );
    fs::create_dir(scene.here.path().join("sub")).unwrap();
    scene.run_with_input("tnftp", &["-n", "-i"], script.as_bytes());
    assert_eq!(sha256(&scene.read("back")), sha256(&scene.read("a b")));
    assert_eq!(sha256(&scene.stored("c d")), sha256(&scene.read("a b")));
    for (name, content) in [("one.txt", "one\n"), ("two.txt", "two\n"), ("active.txt", "one\n")] {
        assert_eq!(scene.read(&format!("sub/{name}")), content.as_bytes(), "{name}");
    }
    assert_eq!(sha256(&scene.read("sub/again")), sha256(&scene.read("a b")));
    assert!(!scene.server.real("alice/docs").exists());
}

#[test]
fn ncftp_copies_whole_folders_both_ways() {
    let Some(scene) = Scene::with("ncftpput") else { return };
    // It reads listings line by line and takes no pattern characters in names.
    for n in 0..60 {
        scene.write(&format!("out/d{}/file {n}", n % 5), &noise(n * 100, n as u64));
    }
    let port = scene.port();
    let login = ["-u", "alice", "-p", "password", "-P", &port, "-V"];
    scene.run("ncftpput", &[&login[..], &["-R", "-m", "127.0.0.1", "/up", "out"]].concat());
    assert_eq!(scene.same_tree("out", "up/out"), 65);
    fs::create_dir(scene.here.path().join("in")).unwrap();
    scene.run("ncftpget", &[&login[..], &["-R", "127.0.0.1", "in", "/up/out"]].concat());
    assert_eq!(scene.same_tree("in/out", "up/out"), 65);
    let listing =
        String::from_utf8(scene.run("ncftpls", &[&login[..6], &[&scene.url("up/out/")]].concat()))
            .unwrap();
    assert!(listing.contains("d0") && listing.contains("d4"), "{listing}");
}

#[test]
fn wget_fetches_a_whole_tree() {
    let Some(scene) = Scene::with("wget") else { return };
    for (n, name) in ["d/with space", "d/Привет", "d/sub/hash#mark", "d/sub/[bracket]", "d/plain"]
        .iter()
        .enumerate()
    {
        let path = scene.server.real("alice").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, noise(10_000 + n, n as u64)).unwrap();
    }
    for flags in [&[][..], &["--no-passive-ftp"]] {
        let url = scene.url("d/");
        let args =
            ["-q", "-r", "-nH", "--restrict-file-names=nocontrol", "--tries=2", "--timeout=20"];
        scene.run("wget", &[&args[..], flags, &[&url]].concat());
        assert_eq!(scene.same_tree("d", "d"), 6);
        fs::remove_dir_all(scene.here.path().join("d")).unwrap();
    }
    let one = scene.url("d/plain");
    fs::write(scene.here.path().join("plain"), &scene.stored("d/plain")[..5000]).unwrap();
    scene.run("wget", &["-q", "-c", &one]);
    assert_eq!(sha256(&scene.read("plain")), sha256(&scene.stored("d/plain")));
}

#[test]
fn rclone_copies_checks_syncs_and_moves() {
    let Some(scene) = Scene::with("rclone") else { return };
    many_files(&scene, "out");
    let obscured = String::from_utf8(scene.run("rclone", &["obscure", "password"])).unwrap();
    let port = scene.port();
    let flags = [
        "--ftp-host=127.0.0.1",
        &format!("--ftp-port={port}"),
        "--ftp-user=alice",
        &format!("--ftp-pass={}", obscured.trim()),
        "--retries=1",
        "--low-level-retries=2",
        "--config=",
    ];
    let rclone = |args: &[&str]| {
        String::from_utf8(scene.run("rclone", &[args, &flags[..]].concat())).unwrap()
    };
    rclone(&["copy", "--create-empty-src-dirs", "out", ":ftp:up"]);
    assert!(scene.same_tree("out", "up") > 500);
    rclone(&["check", "--download", "out", ":ftp:up"]);
    // Precise times: nothing is copied a second time.
    let quiet = rclone(&["copy", "--dry-run", "-v", "out", ":ftp:up"]);
    assert!(!quiet.contains("Skipped copy"), "{quiet}");
    let time = |path: std::path::PathBuf| {
        let modified = fs::metadata(path).unwrap().modified().unwrap();
        modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    };
    let name = "d0/with space 0";
    assert_eq!(
        time(scene.here.path().join("out").join(name)),
        time(scene.server.real("alice/up").join(name))
    );
    fs::remove_file(scene.here.path().join("out").join(name)).unwrap();
    scene.write("out/d1/changed", b"changed");
    rclone(&["sync", "--create-empty-src-dirs", "out", ":ftp:up"]);
    assert!(scene.same_tree("out", "up") > 500);
    rclone(&["copy", "--create-empty-src-dirs", ":ftp:up", "in"]);
    assert!(scene.same_tree("in", "up") > 500);
    rclone(&["moveto", ":ftp:up/d1/changed", ":ftp:elsewhere/new name"]);
    assert_eq!(scene.stored("elsewhere/new name"), b"changed");
    assert!(!scene.server.real("alice/up/d1/changed").exists());
    rclone(&["purge", ":ftp:up"]);
    assert!(!scene.server.real("alice/up").exists());
}

#[test]
fn every_method_of_ftplib_works_over_both_families() {
    let Some(scene) = Scene::with("python3") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/ftplib_all.py");
    for address in &scene.server.addresses {
        scene.run("python3", &[script, &address.ip().to_string(), &address.port().to_string()]);
    }
}

#[test]
fn busybox_puts_and_gets_and_needs_exactly_226() {
    let Some(scene) = Scene::with("busybox") else { return };
    let content = noise(200_000, 5);
    scene.write("local", &content);
    let port = scene.port();
    let login = ["-u", "alice", "-p", "password", "-P", &port, "127.0.0.1"];
    scene.run("busybox", &[&["ftpput"][..], &login, &["remote file", "local"]].concat());
    assert_eq!(sha256(&scene.stored("remote file")), sha256(&content));
    scene.run("busybox", &[&["ftpget"][..], &login, &["back", "remote file"]].concat());
    assert_eq!(sha256(&scene.read("back")), sha256(&content));
    scene.write("part", &content[..50_000]);
    scene.run("busybox", &[&["ftpget", "-c"][..], &login, &["part", "remote file"]].concat());
    assert_eq!(sha256(&scene.read("part")), sha256(&content));
}
