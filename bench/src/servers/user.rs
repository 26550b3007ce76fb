//! The locked-down user that vsftpd signs in through PAM, and that the files of vsftpd, Pure-FTPd and ProFTPD belong
//! to. It goes when the run ends.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::Owner;
use super::packages::run;
use crate::client::NAME;

/// `secretpw` by sha512crypt with its default rounds, as Debian hashes passwords.
pub const SHA512CRYPT: &str = "$6$plainftpdbench$xR5t.NT2oJvWPyHEjDxV9lJ1joRgBztfe/wP6.fMQPBfKnVtetBHwZ/r1SDZVLZNxKT3jPKh2hcJN0cC5QXxs0";

/// The name of the PAM service.
pub const SERVICE: &str = "plainftpd-bench";
const SERVICE_FILE: &str = "/etc/pam.d/plainftpd-bench";

/// A system user without a shell and without a home, and its PAM service.
pub struct SystemUser {
    pub owner: Owner,
}

impl SystemUser {
    /// Needs root.
    pub fn create() -> Result<SystemUser> {
        // One that a killed run left over.
        remove();
        let mut create = Command::new("useradd");
        create.args(["--system", "--user-group", "--no-create-home", "--home-dir", "/"]);
        run(create.args(["--shell", "/usr/sbin/nologin", "--password", SHA512CRYPT, NAME]))?;
        let created = SystemUser { owner: (id("-u")?, id("-g")?) };
        let service =
            "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n";
        fs::write(SERVICE_FILE, service).with_context(|| format!("cannot write {SERVICE_FILE}"))?;
        Ok(created)
    }
}

impl Drop for SystemUser {
    fn drop(&mut self) {
        remove();
    }
}

/// Removes what [`SystemUser::create`] made, where it is there.
pub fn remove() {
    let _ = run(Command::new("userdel").arg(NAME));
    let _ = fs::remove_file(SERVICE_FILE);
}

fn id(which: &str) -> Result<u32> {
    Ok(run(Command::new("id").args([which, NAME]))?.trim().parse()?)
}
