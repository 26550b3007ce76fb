//! The file of a server in the working directory: it tells whose a temporary is, and who runs.
//!
//! It holds a random number, which is part of the names of the server's temporaries. The server
//! locks the file (flock) while it runs. The lock is on a file because a cluster file system may
//! not show a lock on a folder to other machines. It is opened for writing because NFS refuses an
//! exclusive lock on a file that is open for reading only.
//!
//! Servers that share the working directory (`--node`) have a file each. They also hold a shared
//! lock on the file of a server without a name, so that such a server cannot start beside them.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::thread;
use std::time::{Duration, Instant};

use crate::file_size_limit;
use crate::random::random;

use super::folder::Folder;

/// The name of the file. The file of a node has a dot and the node's name behind it.
const NAME: &str = ".plainftpd-server";
/// How many hexadecimal digits a number has.
const DIGITS: usize = 16;
/// How long a start waits for the lock, because others may try it for a moment.
const LOCK_WAIT: Duration = Duration::from_millis(500);
/// The time between two tries, because std cannot wait for a lock with a limit.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The file of this server.
#[derive(Debug)]
pub struct ServerFile {
    number: String,
    /// The name of the node, after a dot; empty for a server without a name.
    suffix: String,
    /// `None` only for a check, if the file is missing.
    file: Option<File>,
    /// The file that a node locks shared.
    shared: Option<File>,
}

impl ServerFile {
    /// Opens the file in `workdir`, and creates it if it is missing.
    pub fn open(workdir: &Folder, node: Option<&str>) -> io::Result<ServerFile> {
        ServerFile::open_or_create(workdir, node, true)
    }

    /// Fails as [`ServerFile::lock`] would, and changes nothing.
    pub fn check(workdir: &Folder, node: Option<&str>) -> io::Result<()> {
        Ok(ServerFile::open_or_create(workdir, node, false)?.try_lock()?)
    }

    fn open_or_create(
        workdir: &Folder,
        node: Option<&str>,
        create: bool,
    ) -> io::Result<ServerFile> {
        let suffix = node.map_or(String::new(), |node| format!(".{node}"));
        let mut file = open(workdir, &suffix, create)?;
        let shared = node.map(|_| open(workdir, "", create)).transpose()?.flatten();
        let number = file.as_mut().and_then(read_number).map_or_else(draw_number, Ok)?;
        Ok(ServerFile { number, suffix, file, shared })
    }

    /// Locks the file until this is dropped, and stores the number, which stays the same for all
    /// starts. If it cannot be stored, because the disk is read-only or full, the next start has
    /// another one, and what a kill leaves until then stays. Fails with
    /// [`ErrorKind::WouldBlock`] if another server holds the lock.
    pub fn lock(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + LOCK_WAIT;
        while let Err(error) = self.try_lock() {
            if !matches!(error, TryLockError::WouldBlock) || Instant::now() >= deadline {
                return Err(error.into());
            }
            thread::sleep(LOCK_PAUSE);
        }
        if let Some(file) = self.file.as_mut()
            && read_number(file).as_ref() != Some(&self.number)
        {
            let _ = write_number(file, &self.number);
        }
        Ok(())
    }

    /// Takes the locks, or takes them again. Fails if another server has taken one.
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        self.shared.as_ref().map_or(Ok(()), File::try_lock_shared)?;
        self.file.as_ref().map_or(Ok(()), File::try_lock)
    }

    /// What tells this server from all others in the name of a temporary: `NUMBER` or
    /// `NUMBER.NODE`.
    pub fn id(&self) -> String {
        format!("{}{}", self.number, self.suffix)
    }
}

/// Whether another server with this id has used the working directory, and still runs. `None` if
/// this cannot be found out: then the server has another working directory.
pub fn is_running(workdir: &Folder, id: &str) -> Option<bool> {
    let (number, suffix) = id.split_at_checked(DIGITS)?;
    let name = format!("{NAME}{suffix}").into_bytes();
    let (mut file, _) = workdir.open_file(&name, OpenOptions::new().read(true)).ok()?;
    if read_number(&mut file).as_deref() != Some(number) {
        return None;
    }
    match file.try_lock_shared() {
        Ok(()) => Some(false),
        Err(TryLockError::WouldBlock) => Some(true),
        Err(TryLockError::Error(_)) => None,
    }
}

/// Opens a file to lock it. Returns `None` if it is missing and may not be created. A server
/// without a name locks the working directory itself if the disk is read-only.
fn open(workdir: &Folder, suffix: &str, create: bool) -> io::Result<Option<File>> {
    let name = format!("{NAME}{suffix}").into_bytes();
    if create && workdir.stat(&name).is_ok_and(|metadata| metadata.is_symlink()) {
        let _ = workdir.remove_file(&name); // the link goes, and not what it names
    }
    let mut options = OpenOptions::new();
    match workdir.open_file(&name, options.read(true).write(true).create(create).mode(0o600)) {
        Ok((file, facts)) => {
            // If root runs a command before the first start, the server must be able to open it.
            if create && facts.len() == 0 && facts.nlink() == 1 {
                let folder = workdir.metadata()?;
                let _ = fchown(&file, Some(folder.uid()), Some(folder.gid()));
            }
            Ok(Some(file))
        }
        Err(error) if error.kind() == ErrorKind::NotFound && !create => Ok(None),
        // Another server may have locked it, which a lock of the working directory would not show.
        Err(error)
            if error.kind() == ErrorKind::PermissionDenied && workdir.stat(&name).is_ok() =>
        {
            let text = format!("{NAME}{suffix} in it cannot be opened: {error}");
            Err(io::Error::new(error.kind(), text))
        }
        Err(_) if suffix.is_empty() => workdir.open_for_sync().map(Some),
        Err(error) => Err(error),
    }
}

fn write_number(file: &mut File, number: &str) -> io::Result<()> {
    file_size_limit::check(DIGITS as u64 + 1)?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{number}\n").as_bytes())?;
    file.sync_all()
}

fn read_number(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(2 * DIGITS as u64).read_to_string(&mut text).ok()?;
    let number = text.strip_suffix('\n')?;
    let is_number = number.len() == DIGITS && number.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_number.then(|| number.to_string())
}

/// A random number as text.
pub fn draw_number() -> io::Result<String> {
    Ok(hex::encode(random::<{ DIGITS / 2 }>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn start(workdir: &Path, node: Option<&str>) -> io::Result<ServerFile> {
        let mut file = ServerFile::open(&Folder::open(workdir)?, node)?;
        file.lock().map(|()| file)
    }

    #[test]
    fn nodes_of_different_names_run_beside_one_another_and_a_server_without_a_name_alone() {
        let workdir = tempfile::tempdir().unwrap();
        let (folder, path) = (Folder::open(workdir.path()).unwrap(), workdir.path());
        let is_refused = |node: Option<&str>| {
            let check = ServerFile::check(&folder, node).map_err(|error| error.kind());
            let started = start(path, node).map(drop).map_err(|error| error.kind());
            assert_eq!(check, started);
            started == Err(ErrorKind::WouldBlock)
        };
        ServerFile::check(&folder, None).unwrap();
        ServerFile::check(&folder, Some("a")).unwrap();
        assert_eq!(fs::read_dir(path).unwrap().count(), 0, "a check changes nothing");
        let alone = start(path, None).unwrap();
        assert!(is_refused(None) && is_refused(Some("a")));
        drop(alone);
        let nodes = [start(path, Some("a")).unwrap(), start(path, Some("b")).unwrap()];
        assert!(is_refused(None) && is_refused(Some("a")) && is_refused(Some("b")));
        assert!(!is_refused(Some("c")));
        assert_ne!(nodes[0].id(), nodes[1].id());
        drop(nodes);
        assert!(!is_refused(None) && !is_refused(Some("a")));
    }

    #[test]
    fn a_look_at_the_lock_does_not_keep_a_server_from_starting() {
        let workdir = tempfile::tempdir().unwrap();
        let id = start(workdir.path(), Some("a")).unwrap().id();
        let folder = Folder::open(workdir.path()).unwrap();
        thread::scope(|scope| {
            let looking = scope.spawn(|| {
                (0..500).for_each(|_| assert_ne!(is_running(&folder, &id), None));
            });
            for _ in 0..20 {
                drop(start(workdir.path(), Some("a")).unwrap());
            }
            looking.join().unwrap();
        });
    }

    #[test]
    fn a_damaged_number_is_drawn_again_and_kept() {
        let workdir = tempfile::tempdir().unwrap();
        let file = workdir.path().join(NAME);
        let number = || start(workdir.path(), None).unwrap().id();
        for damaged in ["", "0123456789abcdef", "0123456789abcdeg\n", "0123456789abcdef0\n", "-\n"]
        {
            fs::write(&file, damaged).unwrap();
            let drawn = number();
            assert_eq!(fs::read_to_string(&file).unwrap(), format!("{drawn}\n"), "{damaged:?}");
            assert_eq!(number(), drawn);
        }
        // Of a link of the owner's the link goes, and not what it names.
        let elsewhere = workdir.path().join("elsewhere");
        fs::write(&elsewhere, "0123456789abcdef\n").unwrap();
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
        assert_ne!(number(), "0123456789abcdef");
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "0123456789abcdef\n");
    }

    #[test]
    fn the_file_belongs_to_the_owner_of_the_working_directory() {
        let workdir = tempfile::tempdir().unwrap();
        // As if root had made the folder for the server. Others may not give it away.
        let _ = std::os::unix::fs::chown(workdir.path(), Some(65534), Some(65534));
        drop(start(workdir.path(), Some("a")).unwrap());
        let owner = |path: &Path| fs::metadata(path).map(|it| (it.uid(), it.gid())).unwrap();
        for entry in fs::read_dir(workdir.path()).unwrap() {
            assert_eq!(owner(&entry.unwrap().path()), owner(workdir.path()));
        }
    }
}
