//! A folder as a path, for systems without handles to folders that std can reach.

use super::*;

/// A folder by its path, every component below the first one looked at.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Opens a folder that the owner of the server named. Links in that path are followed, because
    /// they are the owner's.
    pub fn open(path: &Path) -> io::Result<Folder> {
        let path = fs::canonicalize(path)?;
        if path.is_dir() { Ok(Folder(path)) } else { Err(ErrorKind::NotADirectory.into()) }
    }

    /// Enters a child; a link is [`ErrorKind::NotADirectory`].
    pub fn child(&self, name: &[u8]) -> io::Result<Folder> {
        let path = self.entry_path(name);
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

    /// Returns a second value for this folder.
    pub fn try_clone(&self) -> io::Result<Folder> {
        Ok(Folder(self.0.clone()))
    }

    pub fn metadata(&self) -> io::Result<Metadata> {
        fs::symlink_metadata(&self.0)
    }

    /// The entries of this folder, in no order.
    pub fn entries(&self) -> io::Result<fs::ReadDir> {
        fs::read_dir(&self.0)
    }

    /// Opens this folder for reading, to lock it, sync it or set its times.
    pub fn open_for_sync(&self) -> io::Result<File> {
        File::open(&self.0)
    }

    pub(super) fn entry_path(&self, name: &[u8]) -> PathBuf {
        self.0.join(OsStr::from_bytes(name))
    }

    pub(super) fn open_unfollowed(
        &self,
        name: &[u8],
        options: &mut OpenOptions,
    ) -> io::Result<File> {
        let path = self.entry_path(name);
        let before = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            found => Some(found?),
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

/// There is no `/proc/self/fd` on these systems.
#[cfg(not(target_os = "linux"))]
pub fn chdir_to_proc_fd() {}

/// There is no `/proc/self/fd` on these systems, so nothing can be missing.
#[cfg(not(target_os = "linux"))]
pub fn check_proc_fd() -> io::Result<()> {
    Ok(())
}

/// Fails if the folder at `path` is for reading only.
#[cfg(not(target_os = "linux"))]
pub fn check_can_create(path: &Path) -> io::Result<()> {
    let is_readonly = fs::metadata(path)?.permissions().readonly();
    if is_readonly { Err(ErrorKind::PermissionDenied.into()) } else { Ok(()) }
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
        let id = |folder: &Folder| id_of(&folder.metadata().unwrap());
        assert_eq!(id(&folder.above().unwrap()), id(&top));
        assert_eq!(id(&folder.try_clone().unwrap()), id(&folder));
        assert_eq!(folder.entries().unwrap().count(), 1);
        assert!(folder.open_for_sync().is_ok());
    }
}
