//! The peers from Debian packages: vsftpd, Pure-FTPd and ProFTPD. Each runs in the foreground, with
//! hashed passwords and its transfer log on. Its limits are raised so far that all rows can run.
//! All other settings are the defaults.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::packages::{debian, run};
use super::user::{SERVICE, SHA512CRYPT};
use super::{Owner, Program, Role};
use crate::client::NAME;

/// The most idle clients of these servers. The logins of ten thousand would take minutes of
/// hashing, and the memory per client is the same with fewer.
const SLOW_TO_LOG_IN: (usize, &str) =
    (1_000, "one or two processes per client and one hash per login: measured up to 1,000");

/// Writes the configuration into the first folder, for an account in the second.
type Configure = Box<dyn Fn(&Path, &Path) -> Result<()> + Sync>;

/// The settings that the three servers have in common.
struct Daemon {
    name: &'static str,
    binary: PathBuf,
    owner: Owner,
    configure: Configure,
    command: fn(&Path, &Path, u16) -> Command,
}

impl Program for Daemon {
    fn name(&self) -> &'static str {
        self.name
    }

    fn role(&self) -> Role {
        Role::Peer
    }

    fn owner(&self) -> Option<Owner> {
        Some(self.owner)
    }

    fn prepare(&self, dir: &Path) -> Result<()> {
        (self.configure)(dir, &self.home(dir))
    }

    fn command(&self, dir: &Path, port: u16) -> Command {
        (self.command)(&self.binary, dir, port)
    }

    fn binary(&self) -> Option<&Path> {
        Some(&self.binary)
    }

    fn idle_limit(&self) -> Option<(usize, &'static str)> {
        Some(SLOW_TO_LOG_IN)
    }
}

/// vsftpd, which logs in by PAM and has two processes per client, one of them without privileges.
pub fn vsftpd(owner: Owner) -> Result<Box<dyn Program>> {
    Ok(Box::new(Daemon {
        name: "vsftpd",
        binary: debian("vsftpd", "usr/sbin/vsftpd")?.join("usr/sbin/vsftpd"),
        owner,
        configure: Box::new(configure_vsftpd),
        command: |binary, dir, port| {
            let mut command = Command::new(binary);
            command.arg(dir.join("vsftpd.conf")).arg(format!("-olisten_port={port}"));
            command
        },
    }))
}

fn configure_vsftpd(dir: &Path, home: &Path) -> Result<()> {
    let empty = dir.join("empty");
    fs::create_dir(&empty)?;
    let (dir, home, empty) = (dir.display(), home.display(), empty.display());
    let text = format!(
        "listen=YES\nlisten_address=127.0.0.1\nbackground=NO\nanonymous_enable=NO\n\
         local_enable=YES\nwrite_enable=YES\nchroot_local_user=YES\n\
         allow_writeable_chroot=YES\nlocal_root={home}\npam_service_name={SERVICE}\n\
         secure_chroot_dir={empty}\nxferlog_enable=YES\nvsftpd_log_file={dir}/transfers.log\n\
         max_clients=0\nmax_per_ip=0\nidle_session_timeout=86400\n"
    );
    Ok(fs::write(dir.to_string() + "/vsftpd.conf", text)?)
}

/// Pure-FTPd, which logs in by its own database of accounts.
pub fn pure_ftpd(owner: Owner) -> Result<Box<dyn Program>> {
    let tool = debian("pure-ftpd", "usr/bin/pure-pw")?;
    Ok(Box::new(Daemon {
        name: "Pure-FTPd",
        binary: debian("pure-ftpd", "usr/sbin/pure-ftpd")?.join("usr/sbin/pure-ftpd"),
        owner,
        configure: Box::new(move |dir, home| {
            configure_pure_ftpd(&tool.join("usr/bin/pure-pw"), owner, dir, home)
        }),
        command: |binary, dir, port| {
            let mut command = Command::new(binary);
            command.args(["-S", &format!("127.0.0.1,{port}"), "-A", "-E", "-H", "-I", "1440"]);
            command.args(["-c", "15000", "-C", "15000", "-L", "1000000:5"]);
            command.arg("-l").arg(format!("puredb:{}", dir.join("accounts.pdb").display()));
            command.arg("-O").arg(format!("clf:{}", dir.join("transfers.log").display()));
            command.arg("-g").arg(dir.join("pid"));
            command
        },
    }))
}

fn configure_pure_ftpd(tool: &Path, (user, group): Owner, dir: &Path, home: &Path) -> Result<()> {
    let accounts = dir.join("accounts");
    // Twelve empty fields mean no quotas, no limits and no ratios.
    fs::write(
        &accounts,
        format!("{NAME}:{SHA512CRYPT}:{user}:{group}::{}/./::::::::::::\n", home.display()),
    )?;
    run(Command::new(tool).arg("mkdb").arg(dir.join("accounts.pdb")).arg("-f").arg(accounts))?;
    Ok(())
}

/// ProFTPD, which logs in by a file of accounts.
pub fn proftpd(owner: Owner) -> Result<Box<dyn Program>> {
    Ok(Box::new(Daemon {
        name: "ProFTPD",
        binary: debian("proftpd-core", "usr/sbin/proftpd")?.join("usr/sbin/proftpd"),
        owner,
        configure: Box::new(move |dir, home| configure_proftpd(owner, dir, home)),
        command: |binary, dir, port| {
            let mut command = Command::new(binary);
            command.arg("-n").arg("-c").arg(dir.join("proftpd.conf")).env("PORT", port.to_string());
            command
        },
    }))
}

fn configure_proftpd((user, group): Owner, dir: &Path, home: &Path) -> Result<()> {
    for (file, text) in [
        ("accounts", format!("{NAME}:{SHA512CRYPT}:{user}:{group}::{}:/bin/sh\n", home.display())),
        ("groups", format!("{NAME}:x:{group}:{NAME}\n")),
    ] {
        fs::write(dir.join(file), text)?;
        // ProFTPD refuses a file of accounts that other users may read.
        fs::set_permissions(dir.join(file), fs::Permissions::from_mode(0o600))?;
    }
    // mod_delay makes each login as slow as the slowest. Without it, the peer shows its best.
    let text = format!(
        "ServerType standalone\nDefaultAddress 127.0.0.1\nPort %{{env:PORT}}\nUseIPv6 off\n\
         UseReverseDNS off\nUser {NAME}\nGroup {NAME}\nMaxInstances none\n\
         AuthOrder mod_auth_file.c\nAuthUserFile {dir}/accounts\n\
         AuthGroupFile {dir}/groups\nRequireValidShell off\nDefaultRoot ~\n\
         AllowOverwrite on\nTransferLog {dir}/transfers.log\nSystemLog {dir}/system.log\n\
         WtmpLog off\nScoreboardFile {dir}/scoreboard\nPidFile {dir}/pid\n\
         TimeoutIdle 0\nTimeoutNoTransfer 0\n<IfModule mod_delay.c>\nDelayEngine off\n\
         </IfModule>\n",
        dir = dir.display()
    );
    Ok(fs::write(dir.join("proftpd.conf"), text)?)
}
