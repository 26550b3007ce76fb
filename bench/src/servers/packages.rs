//! How peers are fetched. Debian packages are unpacked side by side, because they conflict, and
//! only the libraries that are missing are installed. Python packages go into a virtual
//! environment. A package that is there already is not fetched again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::places::kept;

/// Runs a program to its end, and returns its output. If it fails, the error holds its messages.
pub fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed: {}", errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The folder of an unpacked Debian package, whose `program` can find its libraries.
pub fn debian(package: &str, program: &str) -> Result<PathBuf> {
    let unpacked = kept()?.join("debian").join(package);
    if !unpacked.exists() {
        unpack(package, &unpacked)?;
    }
    let missing = |program: &Path| -> Result<bool> {
        Ok(run(Command::new("ldd").arg(program))?.contains("not found"))
    };
    let program = unpacked.join(program);
    if missing(&program)? {
        let depends = run(Command::new("apt-cache").args(["depends", "--important", package]))?;
        let mut install = Command::new("apt-get");
        install.args(["install", "-y", "-q", "--no-install-recommends"]).args(libraries(&depends));
        run(install.env("DEBIAN_FRONTEND", "noninteractive"))?;
        ensure!(!missing(&program)?, "{package} still lacks a library");
    }
    Ok(unpacked)
}

fn unpack(package: &str, unpacked: &Path) -> Result<()> {
    let parent = unpacked.parent().context("a folder without a parent")?;
    fs::create_dir_all(parent)?;
    // The next run must not take half a package for a whole one.
    let work = tempfile::tempdir_in(parent)?;
    let download = |work: &Path| {
        run(Command::new("apt-get").args(["download", "-q", package]).current_dir(work))
    };
    if download(work.path()).is_err() {
        run(Command::new("apt-get").args(["update", "-q"]))?;
        download(work.path())?;
    }
    let file = fs::read_dir(work.path())?.next().context("nothing was downloaded")??.path();
    let content = work.path().join("content");
    run(Command::new("dpkg").arg("-x").arg(file).arg(&content))?;
    Ok(fs::rename(content, unpacked)?)
}

/// The libraries in the output of `apt-cache depends`, without the C library, which every system
/// has.
fn libraries(depends: &str) -> Vec<&str> {
    let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.filter(|name| name.starts_with("lib") && *name != "libc6").collect()
}

/// The path of a Python that has this package.
pub fn python(package: &str) -> Result<PathBuf> {
    let environment = kept()?.join(package);
    let python = environment.join("bin/python");
    if !environment.join("complete").exists() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
        run(Command::new(&python).args(["-m", "pip", "install", "-q", package]))?;
        fs::write(environment.join("complete"), "")?;
    }
    Ok(python)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_a_package_are_separated_from_its_other_dependencies() {
        let depends = "vsftpd\n |Depends: debconf\n  Depends: libc6\n  Depends: libcap2\n  \
                       Depends: netbase\n";
        assert_eq!(libraries(depends), ["libcap2"]);
    }
}
