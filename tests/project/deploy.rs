//! What `deploy/` holds fits the program, and the tools that read it accept it.

use std::fs;
use std::process::Command;

use super::support::has_program;
use super::{files_below, top};

const PROGRAM: &str = env!("CARGO_BIN_EXE_plainftpd");
const EXAMPLE: &str = include_str!("../../deploy/plainftpd.conf");

#[test]
fn the_manual_page_is_clean() {
    if has_program("mandoc") {
        let page = top().join("deploy/man/plainftpd.8");
        let lint = Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(page).output();
        let lint = lint.unwrap();
        assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));
    }
}

#[test]
fn the_example_configuration_is_accepted_also_without_its_comment_signs() {
    let dir = tempfile::tempdir().unwrap();
    let all: String = EXAMPLE
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .map(|line| line.replace("/var/lib/plainftpd", dir.path().to_str().unwrap()) + "\n")
        .collect();
    for (text, more) in [(EXAMPLE, ""), (all.as_str(), ""), (all.as_str(), "nonsense = 1\n")] {
        let path = dir.path().join("plainftpd.conf");
        fs::write(&path, format!("{text}{more}")).unwrap();
        let dir = dir.path().to_str().unwrap();
        let output = Command::new(PROGRAM)
            .args(["user", "list", "--dir", dir, "--config", path.to_str().unwrap()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), more.is_empty(), "{said}");
    }
}

/// The units of `deploy/systemd/`.
fn units() -> Vec<(String, String)> {
    let mut files = Vec::new();
    files_below(&top().join("deploy/systemd"), &mut files);
    files.sort();
    let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_string();
    files.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn systemd_accepts_the_units() {
    if !has_program("systemd-analyze") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let verify = |text_of: &dyn Fn(&str) -> String| {
        let mut files = Vec::new();
        for (name, text) in units() {
            files.push(dir.path().join(name));
            fs::write(files.last().unwrap(), text_of(&text)).unwrap();
        }
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .args(files)
            .env("SYSTEMD_UNIT_PATH", format!("{}:", dir.path().display()))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        said.lines().filter(|line| line.contains("plainftpd")).map(str::to_string).collect()
    };
    let said: Vec<String> = verify(&|text| text.replace("/usr/bin/plainftpd", PROGRAM));
    assert_eq!(said, [""; 0]);
    let said = verify(&|text| text.replace("LimitNOFILE=", "LimitNOFIEL="));
    assert!(said.iter().any(|line| line.contains("LimitNOFIEL")), "{said:?}");
}
