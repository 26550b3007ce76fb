//! Several servers that share one folder. `tests/cluster/run` does this on a cluster file system.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Client, Delayed, Mount, Server, Way, has_program, noise, output, until};

fn node(dir: &Path, name: &str, flags: &[&str]) -> Server {
    Server::in_folder(dir, &[&["--node", name], flags].concat())
}

/// Two nodes on one folder.
struct Nodes {
    dir: tempfile::TempDir,
    a: Server,
    b: Server,
}

impl Nodes {
    fn start(flags: &[&str]) -> Nodes {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (node(dir.path(), "a", flags), node(dir.path(), "b", flags));
        Nodes { dir, a, b }
    }

    /// An account with a session on each node.
    fn registered(&self, name: &str) -> (Client, Client) {
        (self.a.registered(name), self.b.logged_in(name))
    }
}

/// Runs the program. Returns its exit code, and what it prints.
fn run(dir: &Path, args: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plainftpd"));
    let Output { status, stdout, stderr } =
        output(command.args(args.split(' ')).arg("--dir").arg(dir));
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[test]
fn each_node_has_its_own_log_and_control_file_and_no_other_server_starts_beside_it() {
    let Nodes { dir, a, mut b } = Nodes::start(&[]);
    let (dir, files) = (dir.path(), "control.a control.b log.a.txt log.b.txt users workdir");
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.join(" "), files);
    let refused =
        format!("plainftpd: {}: another plainftpd uses it\n", dir.join("workdir").display());
    for args in ["--listen 127.0.0.1:0", "--listen 127.0.0.1:0 --node a"] {
        assert_eq!(run(dir, args), (Some(1), refused.clone()), "{args}");
    }
    let alice = a.registered("alice");
    let address = alice.stream().local_addr().unwrap();
    assert_eq!(run(dir, "who --node a"), (Some(0), format!("1 alice {address} idle\n")));
    assert_eq!(run(dir, "who --node b"), (Some(0), String::new()));
    assert_eq!(run(dir, "stop --node b"), (Some(0), String::new()));
    assert_eq!(b.exit_code(), Some(0));
    assert_eq!(run(dir, "who --node a"), (Some(0), format!("1 alice {address} idle\n")));
    assert!(fs::read_to_string(dir.join("log.a.txt")).unwrap().contains(" word=register "));
    assert!(fs::read_to_string(dir.join("log.b.txt")).unwrap().ends_with(" event=stop\n"));
    drop(a);
    Server::in_folder(dir, &[]);
}

#[test]
fn an_account_is_known_to_each_node_and_a_change_counts_at_the_next_login_at_another() {
    let nodes = Nodes::start(&[]);
    let (mut on_a, _) = nodes.registered("alice");
    on_a.expect("passwd password wonderland", 200);
    nodes.b.connect().expect("login alice password", 530);
    nodes.b.connect().expect("login alice wonderland", 230);
    nodes.b.connect().expect("register alice password", 553);
    on_a.expect("unregister wonderland", 250);
    nodes.b.connect().expect("login alice wonderland", 530);
    nodes.b.registered("alice");
}

#[test]
fn accounts_that_are_registered_and_changed_through_two_nodes_at_once_are_all_kept() {
    let nodes = Nodes::start(&[]);
    let count = 50;
    std::thread::scope(|scope| {
        for (server, name) in [(&nodes.a, "a"), (&nodes.b, "b")] {
            scope.spawn(move || {
                for number in 0..count {
                    let mut client = server.registered(&format!("{name}{number}"));
                    client.expect("passwd password wonderland", 200);
                }
            });
        }
    });
    for (server, name) in [(&nodes.b, "a"), (&nodes.a, "b")] {
        for number in 0..count {
            server.connect().expect(&format!("login {name}{number} wonderland"), 230);
        }
    }
}

#[test]
fn a_file_that_one_node_replaces_is_the_old_or_the_new_one_through_the_other() {
    let nodes = Nodes::start(&[]);
    let (mut on_a, mut on_b) = nodes.registered("alice");
    let contents = [noise(300_000, 1), noise(300_000, 2)];
    on_a.put("f", &contents[0]);
    let mut data = on_b.begin(Way::Epsv, "RETR f");
    for content in contents.iter().cycle().skip(1).take(21) {
        on_a.put("f", content);
        assert!(nodes.b.logged_in("alice").get("f").unwrap() == *content);
    }
    let mut whole = Vec::new();
    data.read_to_end(&mut whole).unwrap();
    assert!(whole == contents[0], "a download goes on with the file that it began");
    assert!(on_b.reply().starts_with("226 "));
}

#[test]
fn a_file_is_written_in_place_through_one_node_at_a_time() {
    let nodes = Nodes::start(&[]);
    let (mut on_a, mut on_b) = nodes.registered("alice");
    on_a.put("f", b"one ");
    let mut data = on_a.begin(Way::Epsv, "APPE f");
    data.write_all(b"two ").unwrap();
    on_a.wait_for_bytes(4);
    let busy = "450 /f: another upload is writing to it; try again.";
    assert_eq!(on_b.ask("append f three"), busy);
    drop(data);
    assert!(on_a.reply().starts_with("226 "));
    on_b.expect("append f three", 150);
    assert!(on_b.reply().starts_with("226 "));
    assert_eq!(on_a.get("f").unwrap(), b"one two three\n");
}

#[test]
fn a_file_that_another_node_creates_at_the_last_moment_is_busy() {
    if !has_program("strace") {
        return;
    }
    let nodes = Nodes::start(&[]);
    let mut on_a = nodes.a.registered("alice");
    // The second call is the one that creates the file.
    let options = ["-e", "trace=openat", "-e", "inject=openat:error=EEXIST:when=2"];
    let _refused = Delayed::last_thread(&nodes.a, &options);
    let _data = on_a.data(Way::Epsv);
    let busy = "450 /f: another upload is writing to it; try again.";
    assert_eq!(on_a.ask("APPE f"), busy);
}

#[test]
fn a_name_that_another_node_takes_at_the_last_moment_stays_with_it() {
    if !has_program("strace") {
        return;
    }
    let calls = "rename,renameat,renameat2,link,linkat";
    for command in ["STOR f", "mv g f"] {
        let nodes = Nodes::start(&[]);
        let mut on_b = nodes.b.registered("alice");
        on_b.put("g", b"a");
        nodes.b.add_account("box:drop:none:HASH:alice");
        let mut on_a = nodes.a.logged_in(if command == "STOR f" { "box" } else { "alice" });
        let trace = format!("trace={calls}");
        let delay = format!("inject={calls}:delay_enter=1000000");
        let _slowed = Delayed::last_thread(&nodes.a, &["-e", &trace, "-e", &delay]);
        if command == "STOR f" {
            on_a.begin(Way::Epsv, command).write_all(b"a").unwrap();
        } else {
            on_a.send_line(command);
        }
        // After it has seen that the name is free.
        nodes.a.wait_until_it_stands_still();
        assert!(on_b.put("f", b"b").starts_with("226 "));
        assert_eq!(on_a.reply(), "550 /f: exists already.", "{command}");
        assert_eq!(
            (on_b.get("f").unwrap(), on_b.get("g").unwrap()),
            (b"b".to_vec(), b"a".to_vec())
        );
        assert!(nodes.a.temporaries().is_empty());
    }
}

#[test]
fn a_move_to_another_disk_takes_no_name_that_another_node_has_just_taken() {
    if !has_program("strace") {
        return;
    }
    let nodes = Nodes::start(&[]);
    let (mut on_b, mut on_a) = (nodes.b.registered("alice"), nodes.a.logged_in("alice"));
    on_b.put("f", b"a");
    on_b.expect("mkdir disk", 257);
    let disk = nodes.a.real("alice/disk");
    let Some(_disk) = Mount::tmpfs(&disk, "size=4m") else { return };
    let calls = "rename,renameat,renameat2,link,linkat";
    let trace = format!("trace={calls}");
    let delay = format!("inject={calls}:delay_enter=1000000");
    let _slowed = Delayed::last_thread(&nodes.a, &["-e", &trace, "-e", &delay]);
    on_a.send_line("mv f disk/f");
    until("the copy is there", || fs::read_dir(&disk).unwrap().count() == 1);
    nodes.a.wait_until_it_stands_still();
    assert!(on_b.put("disk/f", b"b").starts_with("226 "));
    assert_eq!(on_a.reply(), "550 /disk/f: exists already.");
    assert_eq!((on_b.get("disk/f"), on_b.get("f")), (Ok(b"b".to_vec()), Ok(b"a".to_vec())));
    assert!(nodes.a.temporaries().is_empty());
}

#[test]
fn a_file_that_another_node_stores_while_its_name_is_given_up_stays() {
    if !has_program("strace") {
        return;
    }
    let calls = "rename,renameat,renameat2,unlink,unlinkat";
    for command in ["mv f g", "APPE f"] {
        let nodes = Nodes::start(&[]);
        let mut on_b = nodes.b.registered("alice");
        let mut on_a = nodes.a.logged_in("alice");
        let data = (command == "APPE f").then(|| on_a.begin(Way::Epsv, command));
        if data.is_none() {
            on_b.put("f", b"a");
        }
        let trace = format!("trace={calls}");
        let delay = format!("inject={calls}:delay_enter=1000000");
        let _slowed = Delayed::last_thread(&nodes.a, &["-e", &trace, "-e", &delay]);
        on_a.send_line(if data.is_some() { "ABOR" } else { command });
        // It gives up the name after one more call.
        nodes.a.wait_until_it_stands_still();
        assert!(on_b.put("f", b"b").starts_with("226 "));
        let codes: &[&str] = if data.is_some() { &["426 ", "226 "] } else { &["250 "] };
        codes.iter().for_each(|code| assert!(on_a.reply().starts_with(code)));
        assert_eq!(on_b.get("f"), Ok(b"b".to_vec()), "{command}");
        assert!(nodes.a.temporaries().is_empty());
    }
}

#[test]
fn temporaries_of_a_node_are_left_alone_while_it_runs_and_then_go() {
    let mut nodes = Nodes::start(&[]);
    let (mut on_a, mut on_b) = nodes.registered("alice");
    on_a.expect("mkdir d", 257);
    let mut data = on_b.begin(Way::Epsv, "STOR d/f");
    data.write_all(b"half").unwrap();
    on_b.wait_for_bytes(4);
    let busy = "450 /d: an upload into it is in progress; try again.";
    assert_eq!(on_a.ask("rmdir d"), busy);
    // A start sweeps, but not this.
    nodes.a.kill();
    nodes.a = node(nodes.dir.path(), "a", &[]);
    nodes.a.wait_for_sweeper();
    assert_eq!(nodes.a.temporaries().len(), 1);
    assert_eq!(nodes.a.logged_in("alice").ask("rmdir d"), busy);
    // A killed node leaves it to the others.
    nodes.b.kill();
    nodes.a.logged_in("alice").expect("rmdir d", 250);
    assert!(!nodes.a.real("alice/d").exists());
    // The start of another node, or of a server without a name, sweeps.
    for name in ["a", ""] {
        nodes.b = node(nodes.dir.path(), "b", &[]);
        let mut on_b = nodes.b.logged_in("alice");
        let mut data = on_b.begin(Way::Epsv, "STOR f");
        data.write_all(b"half").unwrap();
        on_b.wait_for_bytes(4);
        nodes.b.kill();
        nodes.a.kill();
        assert_eq!(nodes.a.temporaries().len(), 1);
        nodes.a = match name {
            "" => Server::in_folder(nodes.dir.path(), &[]),
            name => node(nodes.dir.path(), name, &[]),
        };
        nodes.a.wait_until_swept();
    }
}

#[test]
fn through_two_nodes_an_account_stores_at_most_its_quota_twice() {
    const MIB: usize = 1024 * 1024;
    let nodes = Nodes::start(&["--quota", "4M"]);
    let (mut on_a, mut on_b) = nodes.registered("alice");
    on_a.put("a1", &noise(MIB, 1)); // the node b has counted nothing of this
    let fill = |client: &mut Client, name: &str| {
        (0..20)
            .take_while(|n| client.put(&format!("{name}{n}"), &noise(MIB, 2)).starts_with("226 "))
            .count()
    };
    // Each node lets in what it has counted room for: 3 MiB and 4 MiB.
    assert_eq!((fill(&mut on_a, "x"), fill(&mut on_b, "y")), (3, 4));
    let removed = "552 /z: the quota is used up";
    // Files that the other node has stored give no more room than they took.
    on_a.expect("rm y0", 250);
    assert_eq!(fill(&mut on_a, "z"), 1);
    assert_eq!(fill(&mut on_b, "v"), 0);
    assert!(on_a.put("z", b"1").starts_with(removed));
    let stored = |client: &mut Client| client.ask("free");
    assert!(stored(&mut on_a).starts_with("211 8388608 of 4194304 "));
    // When its last session on a node has ended, the next one there counts again.
    let leave = |mut client: Client| {
        client.expect("quit", 221);
        client.rest();
    };
    leave(on_b);
    for name in ["x0", "x1", "x2", "a1", "z0"] {
        on_a.expect(&format!("rm {name}"), 250);
    }
    leave(on_a);
    for server in [&nodes.b, &nodes.a] {
        let mut client = server.logged_in("alice");
        assert_eq!(fill(&mut client, "w"), 1, "3 MiB are left of the quota");
        client.expect("rm w0", 250);
    }
}

#[test]
fn what_an_administrator_is_still_sending_counts_for_the_account_at_once() {
    const MIB: usize = 1024 * 1024;
    let nodes = Nodes::start(&["--quota", "4M"]);
    let mut bob = nodes.a.registered("bob");
    bob.expect("mkdir d", 257);
    bob.expect("quit", 221);
    bob.rest();
    nodes.a.add_account("root:admin:none:HASH");
    let mut first = nodes.a.logged_in("root");
    let mut data = first.begin(Way::Epsv, "STOR bob/d/1");
    data.write_all(&noise(3 * MIB, 1)).unwrap();
    first.wait_for_bytes(3 * MIB);
    let full = "the quota is used up";
    let mut second = nodes.a.logged_in("root");
    assert!(second.put("bob/d/2", &noise(3 * MIB, 2)).contains(full));
    assert!(nodes.a.logged_in("bob").put("3", &noise(3 * MIB, 3)).contains(full));
    drop(data);
    assert!(first.reply().starts_with("226 "));
}
