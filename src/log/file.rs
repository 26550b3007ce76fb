//! The log file on the disk: rotation by size, and a file that another program has moved away.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::append::{append_whole, is_torn};
use crate::config::Rotation;

/// The time between two looks whether the name still means the file that is open. So a line that is
/// written a second after the file was moved away is in the new one.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The file to which lines are appended.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    id: (u64, u64),
    size: u64,
    /// When the name was last looked up.
    looked: Instant,
    /// The last try to begin a new file has failed.
    has_failed: bool,
    /// Whether a power failure has torn the last line. The next line then ends it first.
    is_torn: bool,
}

impl LogFile {
    /// Opens `path` for appending, and creates it (mode 0640) if it is missing.
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<LogFile> {
        let file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
        let metadata = file.metadata()?;
        Ok(LogFile {
            path: path.to_path_buf(),
            rotation,
            id: id_of(&metadata),
            size: metadata.len(),
            looked: Instant::now(),
            has_failed: false,
            is_torn: is_torn(&file)?,
            file,
        })
    }

    /// Appends a line, which has its line end.
    pub fn append(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        if self.is_torn {
            line.insert(0, b'\n');
        }
        append_whole(&mut self.file, &line, |_| Ok(()))?;
        self.is_torn = false;
        self.size = self.size.saturating_add(line.len() as u64);
        Ok(())
    }

    /// Begins a new file if `more` bytes would make this one too large, or if its name means
    /// another file now. After a failure, lines can still be appended to the old file.
    pub fn renew(&mut self, more: u64) -> io::Result<()> {
        let most = self.rotation.size.unwrap_or(u64::MAX);
        let is_full = |size: u64| size > 0 && size.saturating_add(more) > most;
        let is_due = self.looked.elapsed() >= LOOK_INTERVAL;
        // After a failure the next try waits for the next look.
        if !is_due && (self.has_failed || !is_full(self.size)) {
            return Ok(());
        }
        self.looked = Instant::now();
        let renewed = self.look(is_full);
        self.has_failed = renewed.is_err();
        renewed
    }

    fn look(&mut self, is_full: impl Fn(u64) -> bool) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(named) if id_of(&named) == self.id => {
                // Another program may have shortened it (logrotate's copytruncate).
                self.size = named.len();
                if !is_full(self.size) {
                    return Ok(());
                }
                self.rotate()?;
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        *self = LogFile::open(&self.path, self.rotation)?;
        Ok(())
    }

    /// Gives the old files the next numbers, and the file the number 1.
    fn rotate(&self) -> io::Result<()> {
        let path = fs::canonicalize(&self.path)?; // a link stays
        let old = |number: usize| {
            let mut name = path.clone().into_os_string();
            name.push(format!(".{number}"));
            name
        };
        for number in (1..self.rotation.keep).rev() {
            match fs::rename(old(number), old(number + 1)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&path, old(1))
    }
}

fn id_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROTATION: Rotation = Rotation { size: Some(10), keep: 3 };

    /// Appends lines of 5 bytes; returns why no new file could be begun.
    fn append(file: &mut LogFile, lines: std::ops::Range<u32>) -> Vec<String> {
        let mut complaints = Vec::new();
        for n in lines {
            complaints.extend(file.renew(5).err().map(|error| error.to_string()));
            file.append(format!("{n:04}\n").into_bytes()).unwrap();
        }
        complaints
    }

    #[test]
    fn the_file_is_rotated_before_it_is_too_large_and_only_so_many_old_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        // The path is a link to another folder, which the owner made.
        let folder = dir.path().join("disk");
        fs::create_dir(&folder).unwrap();
        let path = dir.path().join("log.txt");
        std::os::unix::fs::symlink(folder.join("log"), &path).unwrap();
        let mut file = LogFile::open(&path, ROTATION).unwrap();
        assert_eq!(append(&mut file, 0..11), [""; 0]);
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(text("log"), "0010\n");
        assert_eq!(
            [text("log.1"), text("log.2"), text("log.3")].concat(),
            "0008\n0009\n0006\n0007\n0004\n0005\n"
        );
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 4);
        // A line that is longer than a whole file is written, too.
        file.renew(30).unwrap();
        file.append(vec![b'x'; 30]).unwrap();
        assert_eq!((text("log").len(), text("log.1")), (30, "0010\n".to_string()));
    }

    #[test]
    fn if_a_rotation_fails_the_lines_go_on_in_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.txt");
        // A folder and a file in the places of old files.
        fs::create_dir_all(dir.path().join("log.txt.2/x")).unwrap();
        fs::write(dir.path().join("log.txt.3"), "").unwrap();
        let mut file = LogFile::open(&path, ROTATION).unwrap();
        let complaints = append(&mut file, 0..6);
        assert_eq!(complaints.len(), 1, "one try until the next look: {complaints:?}");
        assert_eq!(fs::read_to_string(&path).unwrap().len(), 30);
        fs::remove_file(dir.path().join("log.txt.3")).unwrap();
        file.looked -= LOOK_INTERVAL;
        assert_eq!(append(&mut file, 6..7), [""; 0]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "0006\n");
        assert_eq!(fs::read_to_string(dir.path().join("log.txt.1")).unwrap().len(), 30);
    }

    #[test]
    fn a_file_that_was_moved_removed_or_shortened_is_noticed_at_the_next_look() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("log.txt"), dir.path().join("moved"));
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        let mut file = LogFile::open(&path, Rotation { size: None, ..ROTATION }).unwrap();
        append(&mut file, 0..1);
        fs::rename(&path, &moved).unwrap();
        append(&mut file, 1..2);
        file.looked -= LOOK_INTERVAL;
        append(&mut file, 2..3);
        assert_eq!((text(&moved), text(&path)), ("0000\n0001\n".to_string(), "0002\n".to_string()));
        // The program that moves it may make a new one.
        fs::rename(&path, &moved).unwrap();
        fs::write(&path, "new\n").unwrap();
        file.looked -= LOOK_INTERVAL;
        append(&mut file, 3..4);
        assert_eq!(text(&path), "new\n0003\n");
        fs::remove_file(&path).unwrap();
        file.looked -= LOOK_INTERVAL;
        append(&mut file, 4..5);
        assert_eq!(text(&path), "0004\n");
        // logrotate's copytruncate: the next line begins at the start of the file.
        fs::write(&path, "").unwrap();
        append(&mut file, 5..6);
        assert_eq!(text(&path), "0005\n");
        // Shortened, it has room again.
        let mut file = LogFile::open(&path, ROTATION).unwrap();
        append(&mut file, 6..7);
        fs::write(&path, "").unwrap();
        append(&mut file, 7..8);
        assert_eq!(text(&path), "0007\n");
        assert!(!dir.path().join("log.txt.1").exists());
    }
}
