//! Flags, their mistakes, and a start that fails.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use crate::support::{Client, Server, finished, has_program, is_root, output, until};

/// Exit code, standard output, standard error.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let output = output(Command::new(env!("CARGO_BIN_EXE_plainftpd")).args(args));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn help_and_version_go_to_standard_output() {
    let (code, out, error) = run(&["--help"]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert!(out.starts_with("plainftpd: a file server"));
    let (code, out, _) = run(&["--version"]);
    assert_eq!((code, out), (Some(0), format!("plainftpd {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn unknown_flags_and_bad_values_are_one_line_and_exit_2() {
    for args in [
        &["--nonsense"][..],
        &["--max-clients", "none"],
        &["--listen", "here"],
        &["x"],
        &["--config", "/nowhere"],
    ] {
        let (code, out, error) = run(args);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.starts_with("plainftpd: "), "{error}");
    }
}

#[test]
fn an_argument_that_is_not_utf_8_is_a_mistake_and_no_panic() {
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"/x\xff");
    let output = output(Command::new(env!("CARGO_BIN_EXE_plainftpd")).arg("--dir").arg(odd));
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stderr, "plainftpd: not UTF-8: /x\u{fffd}\n".as_bytes());
}

#[test]
fn a_busy_port_or_an_unusable_folder_is_one_line_and_exit_1() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let occupied = tempfile::tempdir().unwrap();
    fs::write(occupied.path().join("workdir"), "").unwrap();
    for (args, words) in [
        (
            vec!["--dir", path, "--listen", &address],
            format!("plainftpd: cannot listen on {address}: "),
        ),
        (vec!["--dir", "/nowhere/at/all"], "plainftpd: the folder /nowhere/at/all: ".to_string()),
        (vec!["--dir", file.to_str().unwrap()], format!("plainftpd: {}/log.txt: ", file.display())),
        // Not even root may write here.
        (vec!["--dir", "/proc"], "plainftpd: /proc/log.txt: ".to_string()),
        (
            vec!["--dir", occupied.path().to_str().unwrap()],
            format!("plainftpd: {}/workdir: not a folder", occupied.path().display()),
        ),
    ] {
        let (code, out, error) = run(&args);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{args:?}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.starts_with(&words), "{error}");
    }
}

#[test]
fn a_second_server_on_the_same_folder_is_refused() {
    let server = Server::start();
    let dir = server.dir().to_str().unwrap();
    let (code, _, error) = run(&["--dir", dir, "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(1));
    assert_eq!(error, format!("plainftpd: {dir}/workdir: another plainftpd uses it\n"));
}

#[test]
fn a_server_that_may_not_open_the_locked_file_of_another_one_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    drop(Server::without_rights(path, &[])); // the file and the program are there now
    let file = path.join("workdir/.plainftpd-server");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = Command::new(path.join("plainftpd"));
    if is_root() {
        std::os::unix::fs::chown(&file, Some(0), Some(0)).unwrap();
        command.uid(65534).gid(65534);
    }
    let dir = path.to_str().unwrap();
    let Output { status, stderr, .. } =
        output(command.args(["--dir", dir, "--listen", "127.0.0.1:0"]));
    let why = format!("plainftpd: {dir}/workdir: .plainftpd-server in it cannot be opened: ");
    let error = String::from_utf8(stderr).unwrap();
    assert!(error.starts_with(&why) && status.code() == Some(1), "{error}");
}

#[test]
fn an_account_that_is_added_while_another_process_makes_the_users_file_is_kept() {
    if !has_program("strace") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users");
    // It stands still for a second after it has made the empty file.
    let delay = ["-qq", "-e", "trace=fchown", "-e", "inject=fchown:delay_enter=1000000"];
    let mut command = Command::new("strace");
    let program = env!("CARGO_BIN_EXE_plainftpd");
    command.args(delay).args([program, "user", "list", "--dir"]).arg(dir.path());
    let first = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    until("the file is there", || users.exists());
    let line = "alice:readonly:none:any\n";
    fs::OpenOptions::new().append(true).open(&users).unwrap().write_all(line.as_bytes()).unwrap();
    assert!(finished(first).stdout.starts_with(b"alice "));
    assert!(fs::read_to_string(&users).unwrap().starts_with(line));
}

#[test]
fn it_listens_on_several_addresses_ipv6_too_and_says_where_its_files_are() {
    let mut server = Server::with(&["--listen", "127.0.0.1:0", "--listen", "[::1]:0"]);
    let dir = server.dir().display().to_string();
    assert_eq!(
        server.next_line_of_output(),
        format!("files are in {dir} (users, log.txt, workdir/)\n")
    );
    for address in server.addresses.clone() {
        assert!(Client::to(address).reply().starts_with("220 "));
    }
    assert!(server.addresses[1].is_ipv6());
}

#[test]
fn the_configuration_file_has_the_names_of_the_flags() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plainftpd.conf");
    fs::write(&file, "# mine\nregistration = closed\nmin-password = 8\n").unwrap();
    let home = tempfile::tempdir().unwrap();
    let flags = ["--config", file.to_str().unwrap(), "--registration", "open"];
    let server = Server::in_folder(home.path(), &flags);
    let mut client = server.connect();
    assert_eq!(client.ask("register alice 1234567"), "501 A password has at least 8 characters.");
    client.expect("register alice 12345678", 230);
}
