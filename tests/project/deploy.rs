//! What `deploy/` holds fits the program: the units, the example configuration and the manual page
//! name what `--help` names.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::support::{Server, has_program};
use super::{files_below, top};

const PROGRAM: &str = env!("CARGO_BIN_EXE_plainftpd");
const MANUAL: &str = include_str!("../../deploy/man/plainftpd.8");
const EXAMPLE: &str = include_str!("../../deploy/plainftpd.conf");

fn help() -> String {
    let output = Command::new(PROGRAM).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The flags that a text names, without their dashes.
fn flags(text: &str) -> BTreeSet<String> {
    let is_end = |c: char| !c.is_ascii_lowercase() && c != '-';
    let words = text.split("--").skip(1).map(|rest| rest.split(is_end).next().unwrap());
    words.filter(|word| !word.is_empty()).map(str::to_string).collect()
}

/// The flags with a default in `--help`, each with it: the settings.
fn settings(help: &str) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut name = "";
    for line in help.lines() {
        if let Some(flag) = line.strip_prefix("  --") {
            name = flag.split([' ', ',']).next().unwrap();
        } else if let Some((_, default)) = line.trim_end_matches(']').rsplit_once(" [")
            && line.ends_with(']')
            && line.starts_with("        ")
        {
            settings.push((name.to_string(), default.to_string()));
        }
    }
    settings
}

/// The commands of the shell that `--help` names: the words of a line before the first argument.
fn commands(help: &str) -> BTreeSet<String> {
    let (_, commands) = help.split_once("\nCommands").unwrap();
    let lines = commands.lines().filter_map(|line| line.strip_prefix("  "));
    let lines = lines.filter(|line| !line.starts_with(' '));
    lines.flat_map(|line| line.split("; ")).map(words_before_arguments).collect()
}

fn words_before_arguments(text: &str) -> String {
    let is_word = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase());
    text.split_whitespace().take_while(is_word).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_manual_page_names_the_flags_and_commands_of_help() {
    let help = help();
    let spelled = MANUAL.replace("Fl -", "--");
    assert_eq!(flags(&spelled.replace("--name", "")), flags(&help));
    let items = MANUAL.lines().filter_map(|line| line.strip_prefix(".It "));
    let manual: BTreeSet<_> =
        items.filter_map(|item| item.strip_prefix("Cm ")).map(words_before_arguments).collect();
    assert_eq!(manual, commands(&help));
    for (name, default) in settings(&help) {
        let item = spelled.split(&format!("\n.It --{name} ")).nth(1);
        let item = item.unwrap_or_else(|| panic!("{name}")).split("\n.It ").next().unwrap();
        let is_told = default.contains(' ') || item.contains(&format!("Default: {default}."));
        assert!(is_told && item.contains("Default: "), "{name}: {item}");
    }
}

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
fn the_example_configuration_has_every_setting_with_its_default() {
    let help = help();
    let lines = EXAMPLE.lines().map(|line| line.trim_start_matches('#'));
    let lines: Vec<_> = lines.filter_map(|line| line.split_once(" = ")).collect();
    let is_name = |name: &str| !name.contains(' ');
    let given: BTreeSet<_> = lines.iter().map(|(name, _)| *name).filter(|n| is_name(n)).collect();
    let settings = settings(&help);
    assert_eq!(given, settings.iter().map(|(name, _)| name.as_str()).collect());
    for (name, default) in &settings {
        let values: Vec<_> = lines.iter().filter(|(given, _)| given == name).collect();
        assert_eq!(values.len(), 1, "{name}");
        let is_comment = EXAMPLE.contains(&format!("\n#{name} = "));
        assert!(values[0].1 == default || default.contains(' ') || !is_comment, "{name}");
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
fn the_units_start_and_stop_what_help_names() {
    let help = help();
    let mut lines = 0;
    for (name, text) in units() {
        for line in text.lines().filter(|line| line.starts_with("Exec")) {
            let (_, command) = line.split_once("/usr/bin/plainftpd ").unwrap();
            let word = words_before_arguments(command);
            assert!(word.is_empty() || commands(&help).contains(&word), "{name}: {line}");
            assert!(flags(command).is_subset(&flags(&help)), "{name}: {line}");
            lines += 1;
        }
    }
    assert_eq!(lines, 4);
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

#[test]
fn logrotate_moves_the_log_of_a_running_server_and_loses_no_line() {
    if !has_program("logrotate") {
        return;
    }
    let file = fs::read_to_string(top().join("deploy/logrotate/plainftpd")).unwrap();
    for way in ["nocreate", "copytruncate"] {
        let server = Server::start();
        let log = server.dir().join("log.txt");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plainftpd");
        // The files of a test have no owner of that name.
        let text = file
            .replace("/var/lib/plainftpd/log.txt", log.to_str().unwrap())
            .replace("    su plainftpd plainftpd\n", "")
            .replace("nocreate", way);
        assert!(text.contains(way) && !text.contains("/var/lib"), "{text}");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        server.connect().expect("register alice wonderland", 230);
        let output = Command::new("logrotate")
            .args(["--force", "--state", dir.path().join("state").to_str().unwrap()])
            .arg(path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let old = fs::read_to_string(log.with_extension("txt.1")).unwrap();
        assert!(old.contains("word=register"), "{way}: {old}");
        thread::sleep(Duration::from_secs(1));
        server.connect().expect("login alice wonderland", 230);
        let new = fs::read_to_string(&log).unwrap();
        assert!(new.contains("word=login") && !new.contains("register"), "{way}: {new}");
    }
}

#[test]
fn the_package_for_debian_holds_all_of_deploy_but_the_image() {
    let manifest: toml::Table =
        fs::read_to_string(top().join("Cargo.toml")).unwrap().parse().unwrap();
    let package = &manifest["package"]["metadata"]["deb"];
    let assets = package["assets"].as_array().unwrap().iter();
    let assets: Vec<_> = assets.map(|asset| asset[0].as_str().unwrap()).collect();
    let mut files = Vec::new();
    files_below(&top().join("deploy"), &mut files);
    let names: Vec<_> =
        files.iter().map(|file| file.strip_prefix(top()).unwrap().to_str().unwrap()).collect();
    let scripts = package["maintainer-scripts"].as_str().unwrap();
    for name in &names {
        let folder = name.rsplit_once('/').unwrap().0;
        let is_there = assets.contains(name) || assets.contains(&format!("{folder}/*").as_str());
        assert!(is_there || name.starts_with(scripts) || *name == "deploy/Dockerfile", "{name}");
    }
    for asset in assets.iter().filter(|asset| !asset.contains('*') && !asset.starts_with("target"))
    {
        assert!(top().join(asset).is_file(), "{asset}");
    }
    for script in names.iter().filter(|name| name.starts_with(scripts)) {
        let check = Command::new("sh").arg("-n").arg(top().join(script)).status().unwrap();
        assert!(check.success(), "{script}");
    }
}
