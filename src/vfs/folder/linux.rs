//! A folder as an open handle, reached through `/proc/self/fd`.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

// <asm-generic/fcntl.h>; these processors' own headers have other values for two of them.
const O_NONBLOCK: i32 = 0o4_000;
const O_PATH: i32 = 0o10_000_000;
#[cfg(any(
    target_arch = "x86",
    target_arch = "x86_64",
    target_arch = "riscv32",
    target_arch = "riscv64",
    target_arch = "loongarch64",
    target_arch = "s390x"
))]
const O_DIRECTORY_O_NOFOLLOW: (i32, i32) = (0o200_000, 0o400_000);
#[cfg(any(
    target_arch = "arm",
    target_arch = "aarch64",
    target_arch = "powerpc",
    target_arch = "powerpc64"
))]
const O_DIRECTORY_O_NOFOLLOW: (i32, i32) = (0o40_000, 0o100_000);
// Another processor ends here with an error: a wrong value would silently protect nothing.
const O_DIRECTORY: i32 = O_DIRECTORY_O_NOFOLLOW.0;
const O_NOFOLLOW: i32 = O_DIRECTORY_O_NOFOLLOW.1;
const O_TMPFILE: i32 = 0o20_000_000 | O_DIRECTORY;

/// An open folder. It stays the same one, whatever happens to its name.
#[derive(Debug)]
pub struct Folder(File);

impl Folder {
    /// Opens a folder that the owner of the server named. Links in that path are followed, because
    /// they are the owner's.
    pub fn open(path: &Path) -> io::Result<Folder> {
        let flags = O_PATH | O_DIRECTORY;
        Ok(Folder(OpenOptions::new().read(true).custom_flags(flags).open(path)?))
    }

    /// Enters a child; a link is [`ErrorKind::NotADirectory`].
    pub fn child(&self, name: &[u8]) -> io::Result<Folder> {
        let flags = O_PATH | O_DIRECTORY | O_NOFOLLOW;
        Ok(Folder(OpenOptions::new().read(true).custom_flags(flags).open(self.entry_path(name))?))
    }

    /// The folder above.
    pub(super) fn above(&self) -> io::Result<Folder> {
        self.child(b"..")
    }

    /// Duplicates the handle of this folder.
    pub fn try_clone(&self) -> io::Result<Folder> {
        Ok(Folder(self.0.try_clone()?))
    }

    pub fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }

    /// The entries of this folder, in no order.
    pub fn entries(&self) -> io::Result<fs::ReadDir> {
        fs::read_dir(self.own_path())
    }

    /// Opens this folder for reading, to lock it, sync it or set its times.
    pub fn open_for_sync(&self) -> io::Result<File> {
        File::open(self.own_path())
    }

    pub(super) fn entry_path(&self, name: &[u8]) -> PathBuf {
        self.own_path().join(OsStr::from_bytes(name))
    }

    pub(super) fn open_unfollowed(
        &self,
        name: &[u8],
        options: &mut OpenOptions,
    ) -> io::Result<File> {
        // O_NONBLOCK: a FIFO without a writer must not block the thread. For a regular file it
        // changes nothing.
        options.custom_flags(O_NOFOLLOW | O_NONBLOCK).open(self.entry_path(name))
    }

    fn own_path(&self) -> PathBuf {
        let handles = if IS_CWD_PROC_FD.load(Ordering::Relaxed) { "" } else { PROC_FD };
        PathBuf::from(format!("{handles}{}", self.0.as_raw_fd()))
    }
}

/// The folder in which each open file of this process has its number for a name.
const PROC_FD: &str = "/proc/self/fd/";
/// Whether [`PROC_FD`] is the current folder of the process, so that a number alone is a path.
static IS_CWD_PROC_FD: AtomicBool = AtomicBool::new(false);

/// Fails if `/proc/self/fd` is missing, as in a chroot or container without `/proc`.
pub fn check_proc_fd() -> io::Result<()> {
    fs::metadata(PROC_FD).map(drop)
}

/// Fails if this process may not create files in the folder at `path`. Opens a file without a name
/// to find that out, which goes when it is closed, so that nothing in the folder changes.
pub fn check_can_create(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).mode(0o600).custom_flags(O_TMPFILE).open(path) {
        // The kernel looks at the rights first, so only the file system lacks this.
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
        opened => opened.map(drop),
    }
}

/// Makes `/proc/self/fd` the current folder of the process, for good. Each path then has four names
/// less for the kernel to look up, which saves a tenth of the time of small uploads
/// (docs/benchmarks.md).
pub fn chdir_to_proc_fd() {
    if std::env::set_current_dir(PROC_FD).is_ok() {
        IS_CWD_PROC_FD.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    // A wrong value would be ignored by open(2), so each flag must show its effect here.

    #[test]
    fn o_nofollow_is_honoured() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/etc/passwd", dir.path().join("link")).unwrap();
        let mut options = OpenOptions::new();
        options.read(true);
        assert!(options.open(dir.path().join("link")).is_ok());
        assert!(options.custom_flags(O_NOFOLLOW).open(dir.path().join("link")).is_err());
    }

    #[test]
    fn o_directory_is_honoured() {
        let error = OpenOptions::new()
            .read(true)
            .custom_flags(O_DIRECTORY)
            .open("/etc/passwd")
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotADirectory);
    }

    #[test]
    fn o_path_is_honoured() {
        use std::io::Read;
        let mut file =
            OpenOptions::new().read(true).custom_flags(O_PATH).open("/etc/passwd").unwrap();
        assert!(file.read(&mut [0]).is_err());
    }

    #[test]
    fn o_tmpfile_is_honoured() {
        let dir = tempfile::tempdir().unwrap();
        check_can_create(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        for folder in ["/etc/passwd", "/nowhere"] {
            assert!(check_can_create(Path::new(folder)).is_err(), "{folder}");
        }
    }

    #[test]
    fn o_nonblock_is_honoured() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        // Without the flag this would wait for a writer for ever.
        assert!(OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(&fifo).is_ok());
    }
}
