//! Data connections over IPv6 link-local addresses, which mean nothing without their interface.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::support::{Server, has_program, noise};

/// A network namespace that lives as long as a process in it.
struct Namespace(Child);

impl Namespace {
    fn new() -> Namespace {
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo; exec sleep 1000"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        Namespace(child)
    }

    /// A command that will run in it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.0.id().to_string(), program]);
        command
    }

    fn ip(&self, arguments: &str) {
        let done = self.command("ip").args(arguments.split(' ')).status().unwrap();
        assert!(done.success(), "ip {arguments}");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two namespaces that are joined by a pair of interfaces with the same name and addresses fe80::1
/// and fe80::2. `None` if this machine has no namespaces; in CI it must.
fn joined() -> Option<(Namespace, Namespace)> {
    if !["unshare", "nsenter", "ip", "curl", "nc", "python3"]
        .iter()
        .all(|program| has_program(program))
    {
        return None;
    }
    let mut works = Command::new("unshare");
    works.args(["--net", "ip", "link", "add", "link0", "type", "veth", "peer", "name", "link1"]);
    if !works.stderr(Stdio::null()).status().unwrap().success() {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must be able to make network namespaces with a veth pair"
        );
        eprintln!("SKIPPED: no network namespace with a veth pair can be made here");
        return None;
    }
    let (one, two) = (Namespace::new(), Namespace::new());
    one.ip("link add link0 type veth peer name link1");
    one.ip(&format!("link set link1 netns {}", two.0.id()));
    for (space, name, address) in [(&one, "link0", "fe80::1"), (&two, "link1", "fe80::2")] {
        space.ip(&format!("link set {name} addrgenmode none"));
        space.ip(&format!("link set {name} up"));
        space.ip(&format!("-6 address add {address}/64 dev {name} nodad"));
    }
    Some((one, two))
}

#[test]
fn passive_and_active_transfers_work_over_link_local_addresses() {
    let Some((here, there)) = joined() else { return };
    let dir = tempfile::tempdir().unwrap();
    let command = here.command(env!("CARGO_BIN_EXE_plainftpd"));
    let server = Server::spawn(command, dir.path(), &["--listen", "[::]:0"]);
    let port = server.address().port();
    let (local, back) = (dir.path().join("local"), dir.path().join("back"));
    fs::write(&local, noise(100_000, 1)).unwrap();
    let curl = |arguments: &[&str], name: &str| {
        let mut command = there.command("curl");
        command
            .args(["--silent", "--show-error", "--globoff", "--user", "alice:password"])
            .args(arguments);
        let output =
            command.arg(format!("ftp://[fe80::1%25link1]:{port}/{name}")).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            server.log()
        );
    };
    // There is no account yet, so curl has the server make one before it logs in.
    let mut register = there.command("nc");
    register
        .args(["-N", "fe80::1%link1", &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut register = register.spawn().unwrap();
    std::io::Write::write_all(register.stdin.as_mut().unwrap(), b"register alice password\n")
        .unwrap();
    drop(register.stdin.take());
    assert!(register.wait().unwrap().success());
    curl(&["--upload-file", local.to_str().unwrap()], "passive");
    assert_eq!(fs::read(server.real("alice/passive")).unwrap(), noise(100_000, 1));
    curl(&["--output", back.to_str().unwrap()], "passive");
    assert_eq!(fs::read(&back).unwrap(), noise(100_000, 1));
    curl(&["--output", back.to_str().unwrap()], "");
    // curl binds without the scope for EPRT, and fails; ftplib sends the scope in it.
    let script = "\
import ftplib, sys
client = ftplib.FTP()
client.connect('fe80::1%link1', int(sys.argv[1]))
client.login('alice', 'password')
client.set_pasv(False)
client.storbinary('STOR active', open(sys.argv[2], 'rb'))
client.retrbinary('RETR active', open(sys.argv[3], 'wb').write)
client.quit()
";
    let mut python = there.command("python3");
    python.args(["-c", script, &port.to_string()]).args([&local, &back]);
    assert!(python.status().unwrap().success(), "{}", server.log());
    assert_eq!(fs::read(server.real("alice/active")).unwrap(), noise(100_000, 1));
    assert_eq!(fs::read(&back).unwrap(), noise(100_000, 1));
    let log = server.log();
    assert!(log.contains(" peer=[fe80::2%") && !log.contains("code=4"), "{log}");
}
