use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, TryRecvError};

use super::*;
use crate::log::Log;

mod accounting;

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
        String::from_utf8(self.workdir.storage().staging.stale_name()).unwrap()
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
    Workdir::open(&dir.join("workdir"), KEEPING, Arc::new(Log::open(&dir.join("log.txt")).unwrap()))
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
fn a_name_that_was_taken_meanwhile_is_not_overwritten_against_the_callers_will() {
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
fn links_planted_anywhere_lead_nowhere() {
    let house = House::new();
    let outside = house.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "outside").unwrap();
    symlink(&outside, house.real("folder-link")).unwrap();
    symlink(outside.join("file"), house.real("file-link")).unwrap();
    symlink("../../secret", house.real("relative-link")).unwrap();
    symlink(outside.join("new"), house.real("dangling")).unwrap();
    house.write("mine", b"mine").unwrap();

    for through in ["folder-link/file", "folder-link/new", "folder-link/sub/x"] {
        let through = path(through);
        assert!(house.files.open(&through).is_err());
        assert!(house.files.entry(&through).is_err());
        assert!(house.files.create(&through, Existing::Replace).is_err());
        assert!(house.files.write_on(&through, WriteStart::End).is_err());
        assert!(house.files.touch(&through).is_err());
        assert!(house.files.make_folder(&through).is_err());
        assert!(house.files.remove_file(&through).is_err());
        assert!(house.files.remove_folder(&through).is_err());
        assert!(house.files.remove_tree(&through).is_err());
        assert!(house.files.check_dir(&through).is_err());
        assert!(house.files.rename(&through, &path("x"), Existing::Replace).is_err());
        assert!(house.files.rename(&path("mine"), &through, Existing::Replace).is_err());
        assert!(house.files.copy(&through, &path("x"), Existing::Replace, &mut |_| false).is_err());
        assert!(
            house.files.copy(&path("mine"), &through, Existing::Replace, &mut |_| false).is_err()
        );
    }
    for link in ["folder-link", "file-link", "relative-link", "dangling"] {
        let link = path(link);
        assert_eq!(house.files.entry(&link).unwrap().kind, Kind::Link);
        assert!(house.files.open(&link).is_err());
        assert!(house.files.create(&link, Existing::Replace).is_err());
        assert!(house.files.write_on(&link, WriteStart::Offset(0)).is_err());
        assert!(house.files.touch(&link).is_err());
        assert!(house.files.set_modified(&link, SystemTime::UNIX_EPOCH).is_err());
        assert!(house.files.set_mode(&link, 0o777).is_err());
        assert!(house.files.check_dir(&link).is_err());
        assert!(house.files.entries(&link).is_err());
        assert!(house.files.copy(&link, &path("x"), Existing::Replace, &mut |_| false).is_err());
        assert!(house.files.copy(&path("mine"), &link, Existing::Replace, &mut |_| false).is_err());
    }
    // A link can be moved and removed as itself.
    house.files.rename(&path("file-link"), &path("moved"), Existing::Keep).unwrap();
    house.files.remove_file(&path("moved")).unwrap();
    house.files.remove_tree(&path("folder-link")).unwrap();
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "outside");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn removing_a_tree_removes_links_in_it_and_not_their_targets() {
    let house = House::new();
    house.files.make_folder(&path("d")).unwrap();
    symlink(house.dir.path(), house.real("d/out")).unwrap();
    house.files.remove_tree(&path("d")).unwrap();
    assert!(house.dir.path().join("secret").exists());
    assert_eq!(house.staged(), 0);
}

#[test]
fn a_folder_that_is_swapped_for_a_link_all_the_time_never_lets_one_out() {
    let house = House::new();
    let outside = house.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "outside").unwrap();
    fs::create_dir(house.real("real")).unwrap();
    fs::write(house.real("real/file"), "inside").unwrap();
    symlink(&outside, house.real("link")).unwrap();
    std::thread::scope(|scope| {
        // Dropped in the end, and when an assertion fails, too.
        let (_goes_on, stop) = mpsc::channel::<()>();
        let at = |name: &str| house.real(name);
        scope.spawn(move || {
            while stop.try_recv() == Err(TryRecvError::Empty) {
                for (from, to) in [("real", "d"), ("d", "real"), ("link", "d"), ("d", "link")] {
                    let _ = fs::rename(at(from), at(to));
                }
            }
        });
        let (mut inside, mut refused) = (0, 0);
        for round in 0..200_000 {
            match house.read("d/file") {
                Ok(content) => {
                    assert_eq!(content, b"inside");
                    inside += 1;
                }
                Err(_) => refused += 1,
            }
            if round % 16 == 0 {
                let _ = house.write("d/new", b"new");
            }
            if round > 2_000 && inside > 50 && refused > 50 {
                break;
            }
        }
        assert!(inside > 50 && refused > 50, "the race did not take place: {inside}, {refused}");
    });
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn devices_and_fifos_neither_block_nor_open() {
    let house = House::new();
    let fifo = house.real("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    fails(house.files.open(&path("fifo")), ErrorKind::InvalidInput);
    fails(house.files.write_on(&path("fifo"), WriteStart::End), ErrorKind::InvalidInput);
    fails(house.files.create(&path("fifo"), Existing::Replace), ErrorKind::InvalidInput);
    fails(
        house.files.copy(&path("fifo"), &path("x"), Existing::Keep, &mut |_| false),
        ErrorKind::InvalidInput,
    );
    assert_eq!(house.files.entry(&path("fifo")).unwrap().kind, Kind::Other);
}

#[test]
fn the_root_itself_is_beyond_every_change() {
    let house = House::new();
    let root = VirtualPath::root();
    house.files.make_folder(&path("d")).unwrap();
    fails(house.files.make_folder(&root), ErrorKind::AlreadyExists);
    fails(house.files.remove_folder(&root), ErrorKind::InvalidInput);
    fails(house.files.remove_tree(&root), ErrorKind::InvalidInput);
    fails(house.files.remove_file(&root), ErrorKind::IsADirectory);
    fails(house.files.rename(&root, &path("d/x"), Existing::Replace), ErrorKind::InvalidInput);
    fails(house.files.rename(&path("d"), &root, Existing::Replace), ErrorKind::InvalidInput);
    fails(
        house.files.copy(&root, &path("d/x"), Existing::Replace, &mut |_| false),
        ErrorKind::InvalidInput,
    );
    fails(house.files.open(&root), ErrorKind::IsADirectory);
    fails(house.files.create(&root, Existing::Replace), ErrorKind::IsADirectory);
    fails(house.files.write_on(&root, WriteStart::End), ErrorKind::IsADirectory);
    assert!(house.real("d").is_dir());
}

#[test]
fn folders_cannot_go_into_themselves_and_taken_names_stay() {
    let house = House::new();
    for folder in ["d", "d/e", "full", "empty"] {
        house.files.make_folder(&path(folder)).unwrap();
    }
    house.write("f", b"f").unwrap();
    house.write("g", b"g").unwrap();
    house.write("full/x", b"x").unwrap();
    let rename =
        |from: &str, to: &str, existing| house.files.rename(&path(from), &path(to), existing);
    let copy = |from: &str, to: &str, existing| {
        house.files.copy(&path(from), &path(to), existing, &mut |_| false)
    };
    fails(rename("d", "d/e/x", Existing::Replace), ErrorKind::InvalidInput);
    fails(copy("d", "d/e/x", Existing::Replace), ErrorKind::InvalidInput);
    fails(copy("f", "f", Existing::Replace), ErrorKind::InvalidInput);
    fails(rename("f", "g", Existing::Keep), ErrorKind::AlreadyExists);
    fails(copy("f", "g", Existing::Keep), ErrorKind::AlreadyExists);
    for existing in [Existing::Keep, Existing::Replace] {
        fails(rename("f", "empty", existing), ErrorKind::AlreadyExists);
        fails(rename("d", "empty", existing), ErrorKind::AlreadyExists);
        fails(rename("d", "f", existing), ErrorKind::AlreadyExists);
        fails(copy("d", "empty", existing), ErrorKind::AlreadyExists);
        fails(rename("nothing", "f", existing), ErrorKind::NotFound);
    }
    rename("f", "f", Existing::Keep).unwrap();
    rename("f", "g", Existing::Replace).unwrap();
    assert_eq!(house.read("g").unwrap(), b"f");
    copy("full/x", "g", Existing::Replace).unwrap();
    assert_eq!(house.read("g").unwrap(), b"x");
    assert_eq!(house.staged(), 0);
}

#[test]
fn a_folder_is_copied_whole_with_its_permissions_or_not_at_all() {
    let house = House::new();
    for folder in ["d", "d/sub", "d/sub/deep", "d/empty"] {
        house.files.make_folder(&path(folder)).unwrap();
    }
    house.write("d/a", b"a").unwrap();
    house.write("d/sub/deep/b", &[7; 300_000]).unwrap();
    fs::set_permissions(house.real("d/a"), fs::Permissions::from_mode(0o640)).unwrap();
    house.files.copy(&path("d"), &path("copy"), Existing::Keep, &mut |_| false).unwrap();
    assert_eq!(house.read("copy/a").unwrap(), b"a");
    assert_eq!(house.read("copy/sub/deep/b").unwrap(), [7; 300_000]);
    assert!(house.real("copy/empty").is_dir());
    assert_eq!(house.files.entry(&path("copy/a")).unwrap().mode, 0o640);

    symlink("a", house.real("d/sub/link")).unwrap();
    let error =
        house.files.copy(&path("d"), &path("second"), Existing::Keep, &mut |_| false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"link\" in it cannot be copied: a symbolic link, which is never followed"
    );
    assert!(!house.real("second").exists());
    assert_eq!(house.staged(), 0);
}

#[test]
fn a_tree_5000_deep_is_counted_copied_and_removed() {
    let house = House::new();
    // Made from the bottom up: no path of the host is longer than the system allows.
    house.files.make_folder(&path("top")).unwrap();
    house.write("top/file", b"bottom").unwrap();
    for _ in 0..4_999 {
        fs::create_dir(house.real("next")).unwrap();
        fs::rename(house.real("top"), house.real("next/d")).unwrap();
        fs::rename(house.real("next"), house.real("top")).unwrap();
    }
    // Deeper than a path may be, so it is looked at by handles.
    let read_bottom = |top: &str| {
        let below = std::iter::repeat_n(&b"d"[..], 4_999);
        let bottom = walk(&house.files.root, [top.as_bytes()].into_iter().chain(below)).unwrap();
        let mut content = Vec::new();
        let (mut file, _) = bottom.open_file(b"file", OpenOptions::new().read(true)).unwrap();
        file.read_to_end(&mut content).unwrap();
        content
    };
    assert_eq!(read_bottom("top"), b"bottom");
    assert_eq!(house.files.usage().unwrap().0, 5_001 * 4096);
    house.files.copy(&path("top"), &path("copy"), Existing::Keep, &mut |_| false).unwrap();
    assert_eq!(read_bottom("copy"), b"bottom");
    house.files.remove_tree(&path("top")).unwrap();
    house.files.remove_tree(&path("copy")).unwrap();
    assert_eq!(house.files.usage().unwrap().0, 0);
    assert_eq!(house.staged(), 0);
}

#[test]
fn a_folder_of_more_folders_than_a_walk_holds_is_counted_copied_and_removed() {
    let house = House::new();
    house.files.make_folder(&path("d")).unwrap();
    for n in 0..2_500 {
        fs::create_dir(house.real(&format!("d/{n}"))).unwrap();
    }
    house.write("d/2499/f", b"last").unwrap();
    house.write("d/7/f", b"first").unwrap();
    assert_eq!(house.used(), 2_503 * 4096);
    house.files.copy(&path("d"), &path("e"), Existing::Keep, &mut |_| false).unwrap();
    assert_eq!(house.used(), 2 * 2_503 * 4096);
    assert_eq!(house.read("e/2499/f").unwrap(), b"last");
    house.files.remove_tree(&path("d")).unwrap();
    house.files.remove_tree(&path("e")).unwrap();
    assert_eq!((house.used(), house.staged()), (0, 0));
}

#[test]
fn what_an_earlier_server_left_is_swept_at_start() {
    let house = House::new();
    fs::create_dir_all(house.real("d/e")).unwrap();
    for folder in ["", "d", "d/e"] {
        let [file, tree] = [house.stale_name(), house.stale_name()];
        let tree = house.real(folder).join(tree);
        fs::write(house.real(folder).join(&file), "half").unwrap();
        fs::create_dir_all(tree.join("0/1/2")).unwrap();
        fs::write(tree.join("0/1/file"), "x").unwrap();
        fs::write(tree.join(file), "x").unwrap();
    }
    // What is live, and what others made, stays.
    let mut live = house.files.create(&path("d/new"), Existing::Keep).unwrap();
    live.write_all(b"new").unwrap();
    fs::write(house.real("d/.plainftpd-other"), "x").unwrap();
    fs::write(house.real("d/.plainftpd-1-0123-1"), "x").unwrap();
    assert_eq!(house.staged(), 9);
    house.workdir.sweep();
    assert_eq!(house.staged(), 3);
    live.commit().unwrap();
    assert_eq!(house.read("d/new").unwrap(), b"new");
    let log = fs::read_to_string(house.dir.path().join("log.txt")).unwrap();
    assert!(log.contains(" event=swept files=6\n"), "{log}");
}

#[test]
fn a_sweep_begins_again_when_folders_move_under_it() {
    let house = House::new();
    for n in 0..40 {
        fs::create_dir_all(house.real(&format!("d/{n}"))).unwrap();
        fs::write(house.real(&format!("d/{n}")).join(house.stale_name()), "half").unwrap();
    }
    fs::create_dir(house.real("e")).unwrap();
    let rename =
        |from: &str, to: &str| house.files.rename(&path(from), &path(to), Existing::Keep).unwrap();
    std::thread::scope(|scope| {
        let sweep = scope.spawn(|| house.workdir.sweep());
        // In the midst of it, all that is left moves to where it has not been, folder by folder.
        while house.staged() > 30 {}
        for n in 0..40 {
            rename(&format!("d/{n}"), &format!("e/{n}"));
        }
        sweep.join().unwrap();
    });
    assert_eq!(house.staged(), 0);
    let log = fs::read_to_string(house.dir.path().join("log.txt")).unwrap();
    assert!(log.contains(" event=swept files=40\n") && !log.contains("event=warning"), "{log}");
}

#[test]
fn a_session_keeps_its_own_root_when_the_name_goes_to_somebody_else() {
    let house = House::new();
    house.write("a", b"first alice").unwrap();
    assert!(Vfs::create_home(&house.workdir, "alice").unwrap().is_none());
    house.workdir.detach_home("alice").unwrap()();
    let (second, home) = Vfs::create_home(&house.workdir, "alice").unwrap().unwrap();
    home.keep();
    second.create(&path("b"), Existing::Keep).unwrap().commit().unwrap();
    fails(house.read("b"), ErrorKind::NotFound);
    assert!(house.write("c", b"x").is_err());
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
fn an_empty_folder_is_not_handed_on_but_made_anew() {
    let house = House::new();
    // Its account was removed by an editor while a session has it open.
    let (second, home) = Vfs::create_home(&house.workdir, "alice").unwrap().unwrap();
    home.keep();
    second.make_folder(&path("secret")).unwrap();
    fails(house.files.entry(&path("secret")), ErrorKind::NotFound);
    assert!(house.files.make_folder(&path("mine")).is_err());
}

#[test]
fn a_new_account_begins_with_a_count_of_its_own() {
    for session_goes_on in [true, false] {
        let house = House::with_quota(Some(100_000));
        house.write("a", &[1; 50_000]).unwrap();
        let House { dir, workdir, files } = house;
        let former = session_goes_on.then_some(files);
        // The owner of the server removes the folder by hand. Without the session, the new one may
        // get its inode.
        fs::rename(dir.path().join("workdir/alice/a"), dir.path().join("saved")).unwrap();
        fs::remove_dir(dir.path().join("workdir/alice")).unwrap();
        let (second, home) = Vfs::create_home(&workdir, "alice").unwrap().unwrap();
        home.keep();
        second.set_quota(Some(100_000)).unwrap();
        // `usage` would count again; this asks what is known.
        second.check_room(80_000).unwrap();
        drop(former);
    }
}

#[test]
fn a_folder_of_an_account_that_was_not_created_goes_again() {
    let house = House::new();
    let (files, home) = Vfs::create_home(&house.workdir, "bob").unwrap().unwrap();
    drop(home);
    assert!(!house.dir.path().join("workdir/bob").exists());
    fails(files.make_folder(&path("d")), ErrorKind::NotFound);
}

#[test]
fn an_append_to_a_file_that_was_replaced_meanwhile_is_not_acknowledged() {
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
fn two_sessions_that_remove_the_same_trees_leave_nothing_staged() {
    let house = House::new();
    for _ in 0..100 {
        for folder in ["d", "d/e0", "d/e1", "d/e2", "d/e3", "d/e0/f", "d/e2/f"] {
            house.files.make_folder(&path(folder)).unwrap();
        }
        std::thread::scope(|scope| {
            scope.spawn(|| house.files.remove_tree(&path("d")));
            for folder in ["d/e0", "d/e1", "d/e2", "d/e3"] {
                let _ = house.files.remove_tree(&path(folder));
            }
        });
        assert_eq!(house.staged(), 0);
        assert_eq!(house.used(), 0);
    }
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
