//! The probe against a real plainftpd, against a server that misbehaves, and against none.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

const PROBE: &str = env!("CARGO_BIN_EXE_plainftpd-probe");

/// Runs the probe with a password in its environment.
fn probe(arguments: &[&str]) -> Output {
    let mut command = Command::new(PROBE);
    command.args(arguments).env("PLAINFTPD_PROBE_PASSWORD", "wonderland").stdin(Stdio::null());
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A plainftpd in a folder of its own.
struct Server {
    child: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Server {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(Path::new(PROBE).with_file_name("plainftpd"));
        command.args(["--listen", "127.0.0.1:0", "--hash-iterations", "1"]);
        command.arg("--dir").arg(folder.path());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on ").unwrap().to_string();
        Server { child, address, folder }
    }

    /// What is in the folder of accounts.
    fn accounts(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path().join("workdir")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.starts_with('.')).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Builds the server of this workspace beside the probe.
fn build_server() {
    let programs = Path::new(PROBE).parent().unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--locked", "--quiet", "--package", "plainftpd", "--target-dir"]);
    build.arg(programs.parent().unwrap()).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if programs.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success());
}

#[test]
fn plainftpd_passes_every_step_and_nothing_stays() {
    build_server();
    let server = Server::start();
    let output = probe(&[&server.address]);
    let report = text(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert!(!report.contains("FAIL") && report.contains(" 0 failed, 0 not offered"), "{report}");
    let ok = report.lines().filter(|line| line.ends_with("  ok")).count();
    assert!(ok > 60, "{ok} steps\n{report}");
    assert_eq!(server.accounts(), [""; 0]);

    // An account that exists, and the health check with and without one.
    let mut control = TcpStream::connect(&server.address).unwrap();
    control.write_all(b"register alice wonderland\nwrite kept.txt kept\nquit\n").unwrap();
    control.read_to_string(&mut String::new()).unwrap();
    for arguments in [&["--user", "alice"][..], &["--user", "alice", "--quick"], &["--quick"]] {
        let output = probe(&[&[server.address.as_str()], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert!(text(&output).contains(" 0 failed, 0 not offered"), "{}", text(&output));
    }
    let files = std::fs::read_dir(server.folder.path().join("workdir/alice")).unwrap();
    let files: Vec<_> = files.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["kept.txt"]);

    // A name that cannot log in.
    let output = probe(&[&server.address, "--user", "bob"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("expected 230"), "{}", text(&output));
    let output = probe(&[&server.address, "--user", "bob", "--quick"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}

#[test]
fn an_interrupted_probe_removes_what_it_made() {
    build_server();
    let server = Server::start();
    let mut command = Command::new(PROBE);
    command.arg(&server.address).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut probe = command.spawn().unwrap();
    // The first lines show that the account is there and that steps run.
    let mut report = BufReader::new(probe.stdout.take().unwrap()).lines();
    assert_eq!(report.next().unwrap().unwrap(), "By hand");
    assert_eq!(server.accounts().len(), 1);
    let kill = Command::new("kill").args(["-INT", &probe.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let rest: Vec<_> = report.map_while(Result::ok).collect();
    assert_eq!(probe.wait().unwrap().code(), Some(2), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("the account is removed")));
    assert_eq!(server.accounts(), [""; 0]);
}

#[test]
fn a_wrong_byte_is_reported_with_what_was_expected() {
    let address = misbehaving_server();
    let output = probe(&[&address, "--user", "alice", "--quick"]);
    let report = text(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(
        report.contains("it comes back unchanged                                         FAIL")
    );
    assert!(report.contains("expected: 1040 bytes; byte 3 is 0x69"), "{report}");
    assert!(report.contains("got:      1040 bytes; byte 3 is 0x68"), "{report}");
    assert!(report.contains("1 failed"), "{report}");

    let output = probe(&[&address, "--user", "alice", "--timeout", "1"]);
    let report = text(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("expected: 8388608 bytes; byte 3 is 0x"), "{report}");
    assert!(report.contains("steps skipped, because this server has no hand words"), "{report}");
    assert!(report.contains("not offered (FEAT has no MFMT)"), "{report}");
}

#[test]
fn a_server_that_is_not_there_is_exit_code_2() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    assert_eq!(probe(&[&free, "--user", "alice"]).status.code(), Some(2));
    assert_eq!(probe(&[&free]).status.code(), Some(2));
    let output = probe(&[&free, "--quick"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("refused"), "{}", text(&output));
}

/// A small FTP server that changes the fourth byte of each file.
fn misbehaving_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

fn serve(stream: TcpStream) {
    let mut files: HashMap<String, Vec<u8>> = HashMap::new();
    let passive = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = passive.local_addr().unwrap().port();
    let say = |text: &str| {
        let _ = (&stream).write_all(format!("{text}\r\n").as_bytes());
    };
    say("220 Ready.");
    for line in BufReader::new(&stream).split(b'\n') {
        let Ok(line) = line else { return };
        let line = String::from_utf8_lossy(&line).trim_end().to_string();
        let (verb, name) = line.split_once(' ').unwrap_or((&line, ""));
        match verb {
            "USER" => say("331 Password?"),
            "PASS" => say("230 Welcome."),
            "TYPE" | "NOOP" => say("200 Fine."),
            "CWD" | "CDUP" | "DELE" | "RMD" => say("250 Done."),
            "MKD" | "PWD" => say("257 \"/folder\""),
            "PASV" => say(&format!("227 Passive (127,0,0,1,{},{})", port >> 8, port & 255)),
            "LIST" | "NLST" | "RETR" => {
                say("150 Content follows.");
                let mut content = files.get(name).cloned().unwrap_or_default();
                content.iter_mut().skip(3).take(1).for_each(|byte| *byte ^= 1);
                let _ = passive.accept().unwrap().0.write_all(&content);
                say("226 Sent.");
            }
            "STOR" => {
                say("150 Send it.");
                let mut content = Vec::new();
                let _ = passive.accept().unwrap().0.read_to_end(&mut content);
                files.insert(name.to_string(), content);
                say("226 Stored.");
            }
            "QUIT" => return say("221 Goodbye."),
            _ => say("502 Not here."),
        }
    }
}
