//! The file `control`, or `control.NODE`, by which the owner reaches the server from the shell.
//!
//! It holds the address of a listener on loopback and a token. Both are new at each start. The file
//! has mode 0600, so who may read it may control the server (as with the cookie of Tor's control
//! port). A server that is killed leaves the file, and the next start replaces it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::file_size_limit;
use crate::random::random;

/// What `DIR/control` says.
#[derive(Debug, PartialEq, Eq)]
pub struct ControlFile {
    /// The address of the listener.
    pub address: SocketAddr,
    /// 64 hexadecimal digits.
    pub token: String,
}

impl ControlFile {
    /// The path of the file of a server with these settings, whose folder is `dir`.
    pub fn path(dir: &Path, config: &Config) -> PathBuf {
        dir.join(config.own_name("control"))
    }

    /// Draws a token, and writes the file at `path` in place of an older one.
    pub fn create(path: &Path, address: SocketAddr) -> io::Result<ControlFile> {
        let token = hex::encode(random::<32>()?);
        let text = format!("{address} {token}\n");
        file_size_limit::check(text.len() as u64)?;
        let name = path.file_name().unwrap_or_default().display();
        let new = path.with_file_name(format!(".{name}.plainftpd-new"));
        let _ = fs::remove_file(&new); // what a kill left
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&new, path)?;
        Ok(ControlFile { address, token })
    }

    /// Reads the file at `path`.
    pub fn read(path: &Path) -> io::Result<ControlFile> {
        let text = fs::read_to_string(path)?;
        let fields = text.strip_suffix('\n').and_then(|line| line.split_once(' '));
        let read = fields
            .and_then(|(address, token)| Some((address.parse().ok()?, token.to_string())))
            .map(|(address, token)| ControlFile { address, token });
        read.ok_or_else(|| io::Error::other("it is damaged"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_is_for_its_owner_only_and_its_token_is_new_at_each_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        assert!(ControlFile::read(&path).is_err());
        // A file of any mode, and a link, are replaced and not written through.
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "kept").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        let address = "127.0.0.1:7".parse().unwrap();
        let first = ControlFile::create(&path, address).unwrap();
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert!(metadata.is_file());
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
        assert_eq!(ControlFile::read(&path).unwrap(), first);
        let second = ControlFile::create(&path, address).unwrap();
        assert!(first.token != second.token && second.token.len() == 64);
        assert_eq!(ControlFile::read(&path).unwrap(), second);
        fs::remove_file(&path).unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "kept");
        for damaged in ["", "127.0.0.1:7\n", "127.0.0.1 x\n", "127.0.0.1:7 x"] {
            fs::write(&path, damaged).unwrap();
            assert!(ControlFile::read(&path).is_err(), "{damaged:?}");
        }
    }
}
