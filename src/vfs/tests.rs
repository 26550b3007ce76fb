use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, TryRecvError};

use super::*;
use crate::config::Rotation;
use crate::log::Log;

mod accounting;
mod confinement;
mod homes;
mod trees;

const KEEPING: UploadPolicy = UploadPolicy { sync: false, partial: true };

/// A working directory with the folder of `alice`, beside a secret that belongs to no account.
struct House {
    dir: tempfile::TempDir,
    workdir: Arc<Workdir>,
    files: Vfs,
}

impl House {
    fn new() -> House {
        House::with_quota(None)
    }

    fn with_quota(quota: Option<u64>) -> House {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        let workdir = Arc::new(open_store(dir.path()).unwrap());
        let files = Vfs::home(&workdir, "alice").unwrap();
        files.set_quota(quota).unwrap();
        House { dir, workdir, files }
    }

    fn real(&self, name: &str) -> PathBuf {
        self.dir.path().join("workdir/alice").join(name)
    }

    /// A name that a temporary had which is not live any more.
    fn stale_name(&self) -> String {
        String::from_utf8(self.workdir.storage.staging.stale_name()).unwrap()
    }

    fn staged(&self) -> usize {
        let mut count = 0;
        let mut waiting = vec![self.dir.path().join("workdir")];
        while let Some(folder) = waiting.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let name = entry.file_name();
                if is_reserved(name.as_bytes()) {
                    count += usize::from(name != ".plainftpd-server");
                } else if entry.file_type().unwrap().is_dir() {
                    waiting.push(entry.path());
                }
            }
        }
        count
    }

    fn quota(&self) -> Arc<Quota> {
        self.files.locate(&path("x"), Purpose::Change).unwrap().quota
    }

    fn used(&self) -> u64 {
        self.files.usage().unwrap().0
    }

    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut upload = self.files.create(&path(name), Existing::Replace)?;
        upload.write_all(content)?;
        upload.commit()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.files.open(&path(name))?.0.read_to_end(&mut content)?;
        Ok(content)
    }
}

fn open_store(dir: &std::path::Path) -> io::Result<Workdir> {
    Workdir::open(
        &dir.join("workdir"),
        None,
        KEEPING,
        Arc::new(Log::open(&dir.join("log.txt"), Rotation::default()).unwrap()),
    )
}

fn path(text: &str) -> VirtualPath {
    VirtualPath::root().join(text.as_bytes()).unwrap()
}

impl Vfs {
    fn rename(&self, from: &VirtualPath, to: &VirtualPath, existing: Existing) -> io::Result<()> {
        self.move_to(from, to, existing, &mut |_| false)
    }
}

#[track_caller]
fn fails<T>(result: io::Result<T>, kind: ErrorKind) {
    assert_eq!(result.err().map(|error| error.kind()), Some(kind));
}

#[test]
fn an_upload_shows_itself_only_when_it_is_committed() {
    let house = House::new();
    house.write("a", b"old").unwrap();
    let mut upload = house.files.create(&path("a"), Existing::Replace).unwrap();
    upload.write_all(b"new content").unwrap();
    assert_eq!(house.read("a").unwrap(), b"old");
    upload.commit().unwrap();
    assert_eq!(house.read("a").unwrap(), b"new content");
    let mut upload = house.files.create(&path("b"), Existing::Replace).unwrap();
    upload.write_all(b"half").unwrap();
    drop(upload);
    fails(house.read("b"), ErrorKind::NotFound);
    assert_eq!(house.staged(), 0);
}

#[test]
fn a_name_that_is_taken_during_an_upload_is_not_overwritten() {
    let house = House::new();
    let upload = house.files.create(&path("a"), Existing::Keep).unwrap();
    house.write("a", b"other").unwrap();
    fails(upload.commit(), ErrorKind::AlreadyExists);
    assert_eq!(house.read("a").unwrap(), b"other");
    let upload = house.files.create(&path("b"), Existing::Replace).unwrap();
    house.files.make_folder(&path("b")).unwrap();
    fails(upload.commit(), ErrorKind::IsADirectory);
    assert_eq!(house.staged(), 0);
}

#[test]
fn a_broken_upload_is_kept_under_a_new_name_and_dropped_over_an_old_one() {
    let house = House::new();
    house.write("old", b"old").unwrap();
    for (name, kept) in [("old", false), ("new", true)] {
        let mut upload = house.files.create(&path(name), Existing::Replace).unwrap();
        upload.write_all(b"half").unwrap();
        assert_eq!(upload.keep_partial(), kept);
    }
    assert_eq!(house.read("old").unwrap(), b"old");
    assert_eq!(house.read("new").unwrap(), b"half");
    let nothing = house.files.create(&path("nothing"), Existing::Replace).unwrap();
    assert!(!nothing.keep_partial());
    fails(house.read("nothing"), ErrorKind::NotFound);
    // So it is with what is written in place.
    assert!(!house.files.write_on(&path("nothing"), WriteStart::End).unwrap().keep_partial());
    fails(house.read("nothing"), ErrorKind::NotFound);
    let mut append = house.files.write_on(&path("new"), WriteStart::End).unwrap();
    append.write_all(b" more").unwrap();
    assert!(append.keep_partial());
    assert_eq!(house.read("new").unwrap(), b"half more");
    assert_eq!(house.staged(), 0);
}

#[test]
fn permission_bits_are_set_but_the_owners_own_access_stays() {
    let house = House::new();
    house.write("f", b"x").unwrap();
    house.files.make_folder(&path("d")).unwrap();
    assert_eq!(house.files.set_mode(&path("f"), 0o7077).unwrap(), 0o677);
    assert_eq!(house.files.set_mode(&path("d"), 0).unwrap(), 0o700);
    assert_eq!(house.files.entry(&path("f")).unwrap().mode, 0o677);
    house.files.set_modified(&path("d"), SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(house.files.entry(&path("d")).unwrap().modified, SystemTime::UNIX_EPOCH);
}

#[test]
fn an_append_to_a_file_that_was_replaced_is_not_acknowledged() {
    let house = House::new();
    house.write("a", b"old").unwrap();
    let mut upload = house.files.write_on(&path("a"), WriteStart::End).unwrap();
    upload.write_all(b"lost").unwrap();
    house.write("a", b"new").unwrap();
    fails(upload.commit(), ErrorKind::ResourceBusy);
    assert_eq!(house.read("a").unwrap(), b"new");
}

#[test]
fn nothing_is_acknowledged_in_a_folder_that_has_moved_to_another_disk() {
    let house = House::new();
    for folder in ["d", "d/e", "other"] {
        house.files.make_folder(&path(folder)).unwrap();
    }
    house.write("d/e/old", b"old").unwrap();
    let begin = || {
        let mut new = house.files.create(&path("d/e/new"), Existing::Keep).unwrap();
        new.write_all(b"new").unwrap();
        let mut longer = house.files.write_on(&path("d/e/old"), WriteStart::End).unwrap();
        longer.write_all(b"er").unwrap();
        (new, longer)
    };
    let (new, longer) = begin();
    let quota = house.quota();
    let moving = quota::Reservation::for_move(&quota).unwrap();
    quota.lock().mark_moved(house.files.open_folder(&path("d")).unwrap().id().unwrap());
    let is_busy =
        |done: io::Result<()>| assert_eq!(done.unwrap_err().kind(), ErrorKind::ResourceBusy);
    is_busy(new.commit());
    is_busy(longer.commit());
    is_busy(house.files.write_on(&path("d/e/old"), WriteStart::End).map(drop));
    is_busy(house.files.make_folder(&path("d/x")));
    is_busy(house.files.remove_file(&path("d/e/old")));
    is_busy(house.files.remove_folder(&path("d/e")));
    is_busy(house.files.remove_tree(&path("d/e")));
    is_busy(house.files.move_to(&path("d/e"), &path("e"), Existing::Keep, &mut |_| false));
    is_busy(
        house.files.move_to(&path("other"), &path("d/e/other"), Existing::Keep, &mut |_| false),
    );
    is_busy(
        house.files.copy(&path("other"), &path("d/copy"), Existing::Keep, &mut |_| false).map(drop),
    );
    house.write("other/f", b"f").unwrap();
    drop(moving);
    let (new, longer) = begin();
    new.commit().unwrap();
    longer.commit().unwrap();
    assert_eq!(
        (house.read("d/e/new").unwrap(), house.read("d/e/old").unwrap()),
        (b"new".to_vec(), b"older".to_vec())
    );
}

#[test]
fn two_unique_names_differ_and_end_at_random() {
    let house = House::new();
    let (first, one) = house.files.create_unique(&path("f")).unwrap();
    let (second, two) = house.files.create_unique(&path("f")).unwrap();
    assert_ne!(first.bytes(), second.bytes());
    for (name, upload) in [(first, one), (second, two)] {
        let suffix = name.bytes().strip_prefix(b"/f.").unwrap();
        assert!(suffix.len() == 8 && suffix.iter().all(u8::is_ascii_hexdigit), "{name:?}");
        upload.commit().unwrap();
        assert!(house.files.entry(&name).is_ok());
    }
}
