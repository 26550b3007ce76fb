//! The restricted user that vsftpd logs in through PAM, and that owns the files of vsftpd,
//! Pure-FTPd and ProFTPD. It is removed when the run ends.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use super::Owner;
use super::packages::run;
use crate::client::NAME;

/// `secretpw` by sha512crypt with its default rounds, as Debian hashes passwords.
pub const SHA512CRYPT: &str = "$6$plainftpdbench$xR5t.NT2oJvWPyHEjDxV9lJ1joRgBztfe/\
                              wP6.fMQPBfKnVtetBHwZ/r1SDZVLZNxKT3jPKh2hcJN0cC5QXxs0";

/// The name of the PAM service.
pub const SERVICE: &str = "plainftpd-bench";
const SERVICE_FILE: &str = "/etc/pam.d/plainftpd-bench";

/// Whether this program has created the user, and must remove it.
static CREATED: AtomicBool = AtomicBool::new(false);

/// A system user without a shell and without a home folder, and its PAM service.
pub struct SystemUser {
    pub owner: Owner,
    /// Locked while the user is needed, so that a second run cannot remove it.
    _service: File,
}

impl SystemUser {
    /// Creates the user and the PAM service. Needs root.
    pub fn create() -> Result<SystemUser> {
        let mut service = File::options().create(true).append(true).open(SERVICE_FILE)?;
        service.try_lock().context("another run is under way")?;
        // Removes a user that a killed run has left behind.
        let _ = run(Command::new("userdel").arg(NAME));
        service.set_len(0)?;
        CREATED.store(true, Ordering::Relaxed);
        service.write_all(
            b"auth required pam_unix.so\naccount required pam_unix.so\n\
              session required pam_permit.so\n",
        )?;
        let mut create = Command::new("useradd");
        create.args(["--system", "--user-group", "--no-create-home", "--home-dir", "/"]);
        run(create.args(["--shell", "/usr/sbin/nologin", "--password", SHA512CRYPT, NAME]))?;
        Ok(SystemUser { owner: (id("-u")?, id("-g")?), _service: service })
    }
}

impl Drop for SystemUser {
    fn drop(&mut self) {
        remove();
    }
}

/// Removes what [`SystemUser::create`] has created, if it was called.
pub fn remove() {
    if CREATED.load(Ordering::Relaxed) {
        let _ = run(Command::new("userdel").arg(NAME));
        let _ = fs::remove_file(SERVICE_FILE);
    }
}

fn id(which: &str) -> Result<u32> {
    Ok(run(Command::new("id").args([which, NAME]))?.trim().parse()?)
}
