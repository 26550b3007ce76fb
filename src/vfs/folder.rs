//! Real folders, entered one component at a time, never through a symbolic link.
//!
//! Checking a path and then opening it loses to whoever swaps a folder for a link in between. So
//! on Linux a folder is a handle: entering a child opens it relative to that handle with
//! `O_NOFOLLOW | O_DIRECTORY` (the effect of openat(2), reached in safe std through
//! `/proc/self/fd/N/name`), and whatever is done to a name is done in the folder that was really
//! entered. Elsewhere a folder is a path whose every component was looked at; that holds against
//! links that stand there, not against one that is swapped in during the call.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::refused;

#[cfg(not(target_os = "linux"))]
pub use checked::Folder;
#[cfg(target_os = "linux")]
pub use handle::{Folder, chdir_to_proc_fd, check_proc_fd};

/// There are no handles to be near to.
#[cfg(not(target_os = "linux"))]
pub fn chdir_to_proc_fd() {}

/// There are no handles to look for.
#[cfg(not(target_os = "linux"))]
pub fn check_proc_fd() -> io::Result<()> {
    Ok(())
}

/// What makes a folder the same one under another name: device and inode.
pub type Id = (u64, u64);

/// The identity that metadata tell.
pub fn id_of(metadata: &Metadata) -> Id {
    (metadata.dev(), metadata.ino())
}

/// The operations that both kinds of folder share, given where a name in it really is. No call
/// below follows a link in the last component.
impl Folder {
    /// The metadata of what bears `name`; of a link itself.
    pub fn stat(&self, name: &[u8]) -> io::Result<Metadata> {
        fs::symlink_metadata(self.proc_path(name))
    }

    /// What [`Folder::stat`] tells, or `None` where nothing bears the name.
    pub fn find(&self, name: &[u8]) -> io::Result<Option<Metadata>> {
        match self.stat(name) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a regular file; a link, a device, a FIFO or a folder is refused without blocking.
    pub fn open_file(
        &self,
        name: &[u8],
        options: &mut OpenOptions,
    ) -> io::Result<(File, Metadata)> {
        let file = match self.open_unfollowed(name, options) {
            Ok(file) => file,
            Err(error) => return Err(self.why_not_opened(name, error)),
        };
        let metadata = file.metadata()?;
        check_regular(&metadata)?;
        Ok((file, metadata))
    }

    /// Makes a file with these permission bits, less the umask, where nothing bears the name.
    pub fn create_file(&self, name: &[u8], mode: u32) -> io::Result<File> {
        self.open_unfollowed(name, OpenOptions::new().write(true).create_new(true).mode(mode))
    }

    /// The errno for a link or a FIFO (ELOOP, ENXIO) says little; what bears the name says more.
    fn why_not_opened(&self, name: &[u8], error: io::Error) -> io::Error {
        match self.stat(name) {
            Ok(metadata) => check_regular(&metadata).err().unwrap_or(error),
            Err(_) => error,
        }
    }

    /// Whether it is the folder `top` or below it.
    pub fn is_within(&self, top: Id) -> io::Result<bool> {
        let mut here = self.try_clone()?;
        let mut id = here.id()?;
        while id != top {
            here = here.above()?;
            let above = here.id()?;
            if above == id {
                return Ok(false); // the root of the file system is its own parent
            }
            id = above;
        }
        Ok(true)
    }

    /// Where a link points to; it is not followed.
    pub fn read_link(&self, name: &[u8]) -> io::Result<PathBuf> {
        fs::read_link(self.proc_path(name))
    }

    /// Makes a link that points there.
    pub fn make_link(&self, name: &[u8], to: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(to, self.proc_path(name))
    }

    /// Makes a folder with these permission bits, less the umask.
    pub fn make_folder(&self, name: &[u8], mode: u32) -> io::Result<()> {
        DirBuilder::new().mode(mode).create(self.proc_path(name))
    }

    /// Removes a file or a link.
    pub fn remove_file(&self, name: &[u8]) -> io::Result<()> {
        fs::remove_file(self.proc_path(name))
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, name: &[u8]) -> io::Result<()> {
        fs::remove_dir(self.proc_path(name))
    }

    /// Gives what bears `name` another name, in this folder or another, and replaces what bears
    /// that one as rename(2) does.
    pub fn rename(&self, name: &[u8], to: &Folder, new: &[u8]) -> io::Result<()> {
        fs::rename(self.proc_path(name), to.proc_path(new))
    }
}

/// An error that says what else it is, where it is no regular file.
pub fn check_regular(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_file() {
        Ok(())
    } else if kind.is_dir() {
        Err(ErrorKind::IsADirectory.into())
    } else if kind.is_symlink() {
        Err(refused(ErrorKind::InvalidInput, "a symbolic link, which is never followed"))
    } else {
        Err(refused(ErrorKind::InvalidInput, "not a regular file"))
    }
}

/// The tree was changed under a walk.
pub fn changed_during_walk() -> io::Error {
    refused(ErrorKind::ResourceBusy, "a folder was moved while it was being read")
}

#[cfg(target_os = "linux")]
mod handle {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::sync::atomic::{AtomicBool, Ordering};

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

    /// A folder that is held open, whatever happens to its name.
    #[derive(Debug)]
    pub struct Folder(File);

    impl Folder {
        /// Opens a folder that the owner named; links on the way to it are the owner's.
        pub fn open(path: &Path) -> io::Result<Folder> {
            let flags = O_PATH | O_DIRECTORY;
            Ok(Folder(OpenOptions::new().read(true).custom_flags(flags).open(path)?))
        }

        /// Enters a child; a link is [`ErrorKind::NotADirectory`].
        pub fn child(&self, name: &[u8]) -> io::Result<Folder> {
            let flags = O_PATH | O_DIRECTORY | O_NOFOLLOW;
            Ok(Folder(
                OpenOptions::new().read(true).custom_flags(flags).open(self.proc_path(name))?,
            ))
        }

        /// The folder above.
        pub(super) fn above(&self) -> io::Result<Folder> {
            self.child(b"..")
        }

        /// Leaves for the folder above, which must be `expected`.
        pub fn parent(&self, expected: Id) -> io::Result<Folder> {
            let parent = self.above()?;
            if parent.id()? == expected { Ok(parent) } else { Err(changed_during_walk()) }
        }

        /// The same folder once more.
        pub fn try_clone(&self) -> io::Result<Folder> {
            Ok(Folder(self.0.try_clone()?))
        }

        /// Its own metadata.
        pub fn metadata(&self) -> io::Result<Metadata> {
            self.0.metadata()
        }

        /// Its identity.
        pub fn id(&self) -> io::Result<Id> {
            Ok(id_of(&self.metadata()?))
        }

        /// What it holds.
        pub fn entries(&self) -> io::Result<fs::ReadDir> {
            fs::read_dir(self.own_proc_path())
        }

        /// The folder itself, open for reading, to lock it, sync it or set its time.
        pub fn open_for_sync(&self) -> io::Result<File> {
            File::open(self.own_proc_path())
        }

        pub(super) fn proc_path(&self, name: &[u8]) -> PathBuf {
            let mut path = self.own_proc_path();
            path.push(OsStr::from_bytes(name));
            path
        }

        pub(super) fn open_unfollowed(
            &self,
            name: &[u8],
            options: &mut OpenOptions,
        ) -> io::Result<File> {
            // O_NONBLOCK: a FIFO that nobody writes to must not hold the thread (and means nothing
            // to a regular file).
            options.custom_flags(O_NOFOLLOW | O_NONBLOCK).open(self.proc_path(name))
        }

        fn own_proc_path(&self) -> PathBuf {
            let handles = if IS_CWD_PROC_FD.load(Ordering::Relaxed) { "" } else { PROC_FD };
            PathBuf::from(format!("{handles}{}", self.0.as_raw_fd()))
        }
    }

    /// Where this process's handles are named by their numbers.
    const PROC_FD: &str = "/proc/self/fd/";
    /// That is the current folder, so that the numbers alone are paths.
    static IS_CWD_PROC_FD: AtomicBool = AtomicBool::new(false);

    /// Whether the handles have names: in a chroot or a container `/proc` may be missing.
    pub fn check_proc_fd() -> io::Result<()> {
        fs::metadata(PROC_FD).map(drop)
    }

    /// Makes the handles' folder the process's current one, for good. That spares the kernel four
    /// names in each path, and small uploads a tenth of their time (docs/benchmarks.md).
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
        fn o_nonblock_is_honoured() {
            let dir = tempfile::tempdir().unwrap();
            let fifo = dir.path().join("fifo");
            assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
            // Without the flag this would wait for a writer for ever.
            assert!(OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(&fifo).is_ok());
        }
    }
}

#[cfg(any(test, not(target_os = "linux")))]
mod checked {
    use super::*;

    /// A folder by its path, every component below the first one looked at.
    #[derive(Debug)]
    pub struct Folder(PathBuf);

    impl Folder {
        /// Opens a folder that the owner named; links on the way to it are the owner's.
        pub fn open(path: &Path) -> io::Result<Folder> {
            let path = fs::canonicalize(path)?;
            if path.is_dir() { Ok(Folder(path)) } else { Err(ErrorKind::NotADirectory.into()) }
        }

        /// Enters a child; a link is [`ErrorKind::NotADirectory`].
        pub fn child(&self, name: &[u8]) -> io::Result<Folder> {
            let path = self.proc_path(name);
            if fs::symlink_metadata(&path)?.is_dir() {
                Ok(Folder(path))
            } else {
                Err(ErrorKind::NotADirectory.into())
            }
        }

        /// The folder above; of the root, itself.
        pub(super) fn above(&self) -> io::Result<Folder> {
            Ok(Folder(self.0.parent().unwrap_or(&self.0).to_path_buf()))
        }

        /// Leaves for the folder above, which must be `expected`.
        pub fn parent(&self, expected: Id) -> io::Result<Folder> {
            let parent = self.above()?;
            if parent.id()? == expected { Ok(parent) } else { Err(changed_during_walk()) }
        }

        /// The same folder once more.
        pub fn try_clone(&self) -> io::Result<Folder> {
            Ok(Folder(self.0.clone()))
        }

        /// Its own metadata.
        pub fn metadata(&self) -> io::Result<Metadata> {
            fs::symlink_metadata(&self.0)
        }

        /// Its identity.
        pub fn id(&self) -> io::Result<Id> {
            Ok(id_of(&self.metadata()?))
        }

        /// What it holds.
        pub fn entries(&self) -> io::Result<fs::ReadDir> {
            fs::read_dir(&self.0)
        }

        /// The folder itself, open for reading, to lock it, sync it or set its time.
        pub fn open_for_sync(&self) -> io::Result<File> {
            File::open(&self.0)
        }

        pub(super) fn proc_path(&self, name: &[u8]) -> PathBuf {
            self.0.join(OsStr::from_bytes(name))
        }

        pub(super) fn open_unfollowed(
            &self,
            name: &[u8],
            options: &mut OpenOptions,
        ) -> io::Result<File> {
            let path = self.proc_path(name);
            let before = match fs::symlink_metadata(&path) {
                Ok(metadata) => Some(metadata),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            before.as_ref().map_or(Ok(()), check_regular)?;
            let file = options.open(&path)?;
            match before {
                Some(before) if id_of(&before) != id_of(&file.metadata()?) => {
                    Err(changed_during_walk())
                }
                _ => Ok(file),
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::os::unix::fs::symlink;

        #[test]
        fn links_are_neither_entered_nor_opened() {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name);
            fs::create_dir(at("folder")).unwrap();
            fs::write(at("folder/file"), "x").unwrap();
            symlink(at("folder"), at("to-folder")).unwrap();
            symlink(at("folder/file"), at("to-file")).unwrap();
            let top = Folder::open(dir.path()).unwrap();
            let mut read = OpenOptions::new();
            read.read(true);
            assert_eq!(top.child(b"to-folder").unwrap_err().kind(), ErrorKind::NotADirectory);
            assert!(top.open_unfollowed(b"to-file", &mut read).is_err());
            let folder = top.child(b"folder").unwrap();
            assert!(folder.open_unfollowed(b"file", &mut read).is_ok());
            assert!(folder.parent(top.id().unwrap()).is_ok());
            assert!(folder.parent(folder.id().unwrap()).is_err());
            assert_eq!(folder.try_clone().unwrap().id().unwrap(), folder.id().unwrap());
            assert_eq!(folder.entries().unwrap().count(), 1);
            assert!(folder.open_for_sync().is_ok());
        }
    }
}
