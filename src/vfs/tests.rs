use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, TryRecvError};

use super::*;
use crate::log::Log;

const KEEPING: Keeping = Keeping { sync: false, partial: true };

/// A working directory with the folder of `alice`, beside a secret that is nobody's.
struct House {
    dir: tempfile::TempDir,
    store: Arc<Store>,
    files: Vfs,
}

impl House {
    fn new() -> House {
        House::with_quota(None)
    }

    fn with_quota(quota: Option<u64>) -> House {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        let store = Arc::new(open_store(dir.path()).unwrap());
        let files = store.home("alice", false).unwrap();
        files.set_quota(quota).unwrap();
        House { dir, store, files }
    }

    fn real(&self, name: &str) -> PathBuf {
        self.dir.path().join("workdir/alice").join(name)
    }

    fn staged(&self) -> usize {
        fs::read_dir(self.dir.path().join("workdir/.staging")).unwrap().count()
    }

    fn space(&self) -> Arc<Space> {
        self.files.space(&path("x"))
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

fn open_store(dir: &std::path::Path) -> io::Result<Store> {
    Store::open(&dir.join("workdir"), KEEPING, Arc::new(Log::open(&dir.join("log.txt")).unwrap()))
}

fn path(text: &str) -> VirtualPath {
    VirtualPath::root().join(text.as_bytes()).unwrap()
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
        assert!(house.files.write_on(&through, Place::End).is_err());
        assert!(house.files.touch(&through).is_err());
        assert!(house.files.make_folder(&through).is_err());
        assert!(house.files.remove_file(&through).is_err());
        assert!(house.files.remove_folder(&through).is_err());
        assert!(house.files.remove_tree(&through).is_err());
        assert!(house.files.enter(&through).is_err());
        assert!(house.files.rename(&through, &path("x"), Existing::Replace).is_err());
        assert!(house.files.rename(&path("mine"), &through, Existing::Replace).is_err());
        assert!(house.files.copy(&through, &path("x"), Existing::Replace, &mut |_| false).is_err());
        assert!(house.files.copy(&path("mine"), &through, Existing::Replace, &mut |_| false).is_err());
    }
    for link in ["folder-link", "file-link", "relative-link", "dangling"] {
        let link = path(link);
        assert_eq!(house.files.entry(&link).unwrap().kind, Kind::Link);
        assert!(house.files.open(&link).is_err());
        assert!(house.files.create(&link, Existing::Replace).is_err());
        assert!(house.files.write_on(&link, Place::At(0)).is_err());
        assert!(house.files.touch(&link).is_err());
        assert!(house.files.set_modified(&link, SystemTime::UNIX_EPOCH).is_err());
        assert!(house.files.set_mode(&link, 0o777).is_err());
        assert!(house.files.enter(&link).is_err());
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
    fails(house.files.write_on(&path("fifo"), Place::End), ErrorKind::InvalidInput);
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
    fails(house.files.copy(&root, &path("d/x"), Existing::Replace, &mut |_| false), ErrorKind::InvalidInput);
    fails(house.files.open(&root), ErrorKind::IsADirectory);
    fails(house.files.create(&root, Existing::Replace), ErrorKind::IsADirectory);
    fails(house.files.write_on(&root, Place::End), ErrorKind::IsADirectory);
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
    let rename = |from: &str, to: &str, existing| house.files.rename(&path(from), &path(to), existing);
    let copy =
        |from: &str, to: &str, existing| house.files.copy(&path(from), &path(to), existing, &mut |_| false);
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
    let error = house.files.copy(&path("d"), &path("second"), Existing::Keep, &mut |_| false).unwrap_err();
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
    let bottom = format!("top/{}file", "d/".repeat(4_999));
    assert_eq!(house.read(&bottom).unwrap(), b"bottom");
    assert_eq!(house.files.usage().unwrap().0, 5_001 * 4096);
    house.files.copy(&path("top"), &path("copy"), Existing::Keep, &mut |_| false).unwrap();
    assert_eq!(house.read(&bottom.replace("top", "copy")).unwrap(), b"bottom");
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
    let dir = house.dir.path().to_path_buf();
    let staging = dir.join("workdir/.staging");
    fs::create_dir_all(staging.join("0/1/2")).unwrap();
    fs::write(staging.join("0/1/file"), "x").unwrap();
    fs::write(staging.join("1"), "half").unwrap();
    fails(open_store(&dir), ErrorKind::ResourceBusy);
    let House { dir: kept, store, files } = house;
    drop((store, files));
    open_store(&dir).unwrap();
    assert_eq!(fs::read_dir(staging).unwrap().count(), 0);
    drop(kept);
}

#[test]
fn a_session_keeps_its_own_root_when_the_name_goes_to_somebody_else() {
    let house = House::new();
    house.write("a", b"first alice").unwrap();
    assert!(!house.store.found_home("alice").unwrap());
    house.store.close_home("alice").unwrap()();
    assert!(house.store.found_home("alice").unwrap());
    let second = house.store.home("alice", false).unwrap();
    second.create(&path("b"), Existing::Keep).unwrap().commit().unwrap();
    fails(house.read("b"), ErrorKind::NotFound);
    assert!(house.write("c", b"x").is_err());
    assert_eq!(house.staged(), 0);
}

#[test]
fn a_quota_is_kept_by_every_way_to_grow() {
    let house = House::with_quota(Some(5 * 4096));
    house.write("a", &[1; 4096]).unwrap();
    house.write("b", &[1; 4097]).unwrap();
    assert_eq!(house.used(), 3 * 4096);
    fails(house.write("c", &[1; 2 * 4096 + 1]), ErrorKind::QuotaExceeded);
    assert_eq!(house.staged(), 0);
    house.files.make_folder(&path("d")).unwrap();
    house.files.copy(&path("a"), &path("d/a"), Existing::Keep, &mut |_| false).unwrap();
    fails(house.files.make_folder(&path("e")), ErrorKind::QuotaExceeded);
    fails(house.files.touch(&path("e")), ErrorKind::QuotaExceeded);
    fails(house.files.copy(&path("d"), &path("e"), Existing::Keep, &mut |_| false), ErrorKind::QuotaExceeded);
    let mut append = house.files.write_on(&path("b"), Place::End).unwrap();
    append.write_all(&[1; 4095]).unwrap();
    fails(append.write_all(&[1]), ErrorKind::QuotaExceeded);
    append.commit().unwrap();
    let counted = house.space().lock().check(0).is_ok();
    assert!(counted && house.space().lock().check(1).is_err());
    assert_eq!(house.staged(), 0);
    house.files.remove_tree(&path("d")).unwrap();
    assert!(house.space().lock().check(2 * 4096).is_ok());
    assert!(house.space().lock().check(2 * 4096 + 1).is_err());
    assert_eq!(house.used(), 3 * 4096);
}

#[test]
fn writing_on_in_place_at_an_offset_counts_what_the_file_grows_by() {
    let house = House::with_quota(Some(4 * 4096));
    house.write("a", &[1; 5000]).unwrap();
    let mut upload = house.files.write_on(&path("a"), Place::At(4990)).unwrap();
    upload.write_all(&[2; 10]).unwrap();
    upload.write_all(&[3; 3192]).unwrap();
    upload.commit().unwrap();
    let content = house.read("a").unwrap();
    assert_eq!((content.len(), content[4989], content[4990], content[5000]), (8192, 1, 2, 3));
    assert!(house.space().lock().check(2 * 4096).is_ok());
    assert!(house.space().lock().check(2 * 4096 + 1).is_err());
    // A hole counts as the file's length says.
    let mut upload = house.files.write_on(&path("b"), Place::At(4096)).unwrap();
    upload.write_all(b"x").unwrap();
    upload.commit().unwrap();
    assert!(house.space().lock().check(0).is_ok());
    assert!(house.space().lock().check(1).is_err());
    assert_eq!(house.read("b").unwrap(), [&[0; 4096][..], b"x"].concat());
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
    assert!(house.store.found_home("alice").unwrap());
    let second = house.store.home("alice", false).unwrap();
    second.make_folder(&path("secret")).unwrap();
    fails(house.files.entry(&path("secret")), ErrorKind::NotFound);
    assert!(house.files.make_folder(&path("mine")).is_err());
}

/// The room that is left must be what `limit` leaves beside what is really there.
#[track_caller]
fn holds_to_the_byte(house: &House, limit: u64) {
    let left = limit - tree::count(&house.files.root).unwrap();
    assert!(house.space().lock().check(left).is_ok(), "counted too much");
    assert!(house.space().lock().check(left + 1).is_err(), "counted too little");
}

#[test]
fn the_account_of_space_stays_exact_through_every_change() {
    const LIMIT: u64 = 64 * 4096;
    let house = House::with_quota(Some(LIMIT));
    house.write("a", &[1; 10_000]).unwrap();
    house.write("a", &[1; 20_000]).unwrap();
    holds_to_the_byte(&house, LIMIT);
    house.write("a", &[1; 5]).unwrap();
    holds_to_the_byte(&house, LIMIT);
    house.files.make_folder(&path("d")).unwrap();
    assert!(house.files.make_folder(&path("d")).is_err());
    house.write("d/b", &[1; 9_000]).unwrap();
    house.files.copy(&path("d"), &path("e"), Existing::Keep, &mut |_| false).unwrap();
    holds_to_the_byte(&house, LIMIT);
    house.files.copy(&path("a"), &path("d/b"), Existing::Replace, &mut |_| false).unwrap();
    holds_to_the_byte(&house, LIMIT);
    house.files.rename(&path("e/b"), &path("d/b"), Existing::Replace).unwrap();
    holds_to_the_byte(&house, LIMIT);
    house.files.remove_folder(&path("e")).unwrap();
    house.files.touch(&path("empty")).unwrap();
    holds_to_the_byte(&house, LIMIT);
    drop(house.files.create(&path("x"), Existing::Keep).map(|mut upload| upload.write_all(&[1; 9_000])));
    holds_to_the_byte(&house, LIMIT);
    let mut partial = house.files.create(&path("partial"), Existing::Replace).unwrap();
    partial.write_all(&[1; 5_000]).unwrap();
    assert!(partial.keep_partial());
    holds_to_the_byte(&house, LIMIT);
    house.files.remove_file(&path("partial")).unwrap();
    let too_much = house.write("x", &[1; LIMIT as usize]);
    fails(too_much, ErrorKind::QuotaExceeded);
    holds_to_the_byte(&house, LIMIT);
    house.files.remove_tree(&path("d")).unwrap();
    house.files.remove_file(&path("a")).unwrap();
    holds_to_the_byte(&house, LIMIT);
    assert_eq!(house.used(), 4096);
}

#[test]
fn a_count_during_an_append_counts_nothing_twice() {
    const LIMIT: u64 = 64 * 4096;
    let house = House::with_quota(Some(LIMIT));
    let mut upload = house.files.write_on(&path("a"), Place::End).unwrap();
    upload.write_all(&[1; 100_000]).unwrap();
    house.files.usage().unwrap();
    upload.write_all(&[1; 50_000]).unwrap();
    upload.commit().unwrap();
    holds_to_the_byte(&house, LIMIT);
}

#[test]
fn a_new_file_that_is_written_in_place_counts_wherever_it_is_moved() {
    const LIMIT: u64 = 64 * 4096;
    let house = House::with_quota(Some(LIMIT));
    house.write("other", &[1; 50_000]).unwrap();
    for breaks_off in [true, false] {
        let mut upload = house.files.write_on(&path("a"), Place::End).unwrap();
        upload.write_all(&[1; 9_000]).unwrap();
        house.files.rename(&path("a"), &path("b"), Existing::Keep).unwrap();
        if breaks_off {
            drop(upload);
        } else {
            fails(upload.commit(), ErrorKind::ResourceBusy);
        }
        holds_to_the_byte(&house, LIMIT);
        house.files.remove_file(&path("b")).unwrap();
        holds_to_the_byte(&house, LIMIT);
    }
}

#[test]
fn a_file_is_written_in_place_by_one_at_a_time_and_cut_back_when_that_fails() {
    const LIMIT: u64 = 64 * 4096;
    let house = House::with_quota(Some(LIMIT));
    house.write("a", b"old").unwrap();
    let mut first = house.files.write_on(&path("a"), Place::End).unwrap();
    first.write_all(&[1; 9_000]).unwrap();
    fails(house.files.write_on(&path("a"), Place::End), ErrorKind::ResourceBusy);
    drop(first);
    assert_eq!(house.read("a").unwrap(), b"old");
    holds_to_the_byte(&house, LIMIT);
    let mut second = house.files.write_on(&path("a"), Place::End).unwrap();
    second.write_all(b" and new").unwrap();
    second.commit().unwrap();
    assert_eq!(house.read("a").unwrap(), b"old and new");
    // One that it made itself goes again.
    drop(house.files.write_on(&path("b"), Place::End).unwrap());
    fails(house.read("b"), ErrorKind::NotFound);
    holds_to_the_byte(&house, LIMIT);
}

#[test]
fn an_append_to_a_file_that_was_replaced_meanwhile_is_not_acknowledged() {
    let house = House::new();
    house.write("a", b"old").unwrap();
    let mut upload = house.files.write_on(&path("a"), Place::End).unwrap();
    upload.write_all(b"lost").unwrap();
    house.write("a", b"new").unwrap();
    fails(upload.commit(), ErrorKind::ResourceBusy);
    assert_eq!(house.read("a").unwrap(), b"new");
}

#[test]
fn a_file_that_is_written_in_place_stays_with_its_account() {
    const LIMIT: u64 = 64 * 4096;
    let house = House::with_quota(Some(LIMIT));
    let admin = house.store.home("root", true).unwrap();
    house.store.home("bob", false).unwrap();
    let mut upload = house.files.write_on(&path("a"), Place::End).unwrap();
    upload.write_all(&[1; 9_000]).unwrap();
    let to_bob = || admin.rename(&path("alice/a"), &path("bob/a"), Existing::Keep);
    let whole = |from, to| admin.rename(&path(from), &path(to), Existing::Keep);
    fails(to_bob(), ErrorKind::ResourceBusy);
    fails(whole("alice", "elsewhere"), ErrorKind::ResourceBusy);
    upload.commit().unwrap();
    to_bob().unwrap();
    holds_to_the_byte(&house, LIMIT);
    whole("alice", "elsewhere").unwrap();
    whole("elsewhere", "alice").unwrap();
    // A user's whole folder into another's, and out again.
    whole("alice", "bob/alice").unwrap();
    whole("bob/alice", "alice").unwrap();
}

#[test]
fn moves_between_two_accounts_in_both_directions_do_not_wait_for_each_other() {
    let house = House::with_quota(Some(64 * 4096));
    house.store.home("bob", false).unwrap();
    house.write("a", &[1; 9_000]).unwrap();
    fs::write(house.real("../bob/b"), [1; 9_000]).unwrap();
    let back_and_forth = |here: &'static str, there: &'static str| {
        let admin = house.store.home("root", true).unwrap();
        move || {
            for _ in 0..500 {
                admin.rename(&path(here), &path(there), Existing::Keep).unwrap();
                admin.rename(&path(there), &path(here), Existing::Keep).unwrap();
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(back_and_forth("alice/a", "bob/a"));
        scope.spawn(back_and_forth("bob/b", "alice/b"));
    });
    holds_to_the_byte(&house, 64 * 4096);
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
fn removing_a_file_that_is_written_in_place_frees_only_what_it_had() {
    const LIMIT: u64 = 64 * 4096;
    let house = House::with_quota(Some(LIMIT));
    house.write("other", &[1; 50_000]).unwrap();
    for existing in [false, true] {
        if existing {
            house.write("a", &[1; 9_000]).unwrap();
        }
        let mut upload = house.files.write_on(&path("a"), Place::End).unwrap();
        upload.write_all(&[1; 40_000]).unwrap();
        house.files.remove_file(&path("a")).unwrap();
        fails(upload.commit(), ErrorKind::ResourceBusy);
        holds_to_the_byte(&house, LIMIT);
    }
}

#[test]
fn removing_a_tree_with_a_file_that_is_appended_to_frees_only_what_it_had() {
    let house = House::with_quota(Some(100_000));
    house.files.make_folder(&path("d")).unwrap();
    house.write("d/f", &[1; 5_000]).unwrap();
    let mut append = house.files.write_on(&path("d/f"), Place::End).unwrap();
    append.write_all(&[1; 20_000]).unwrap();
    house.files.remove_tree(&path("d")).unwrap();
    // Nothing is stored, and what the append holds is held until it ends.
    holds_to_the_byte(&house, 100_000 - (blocks(25_000) - blocks(5_000)));
    assert!(append.commit().is_err());
    holds_to_the_byte(&house, 100_000);
}

#[test]
fn a_folder_that_an_administrator_moves_away_and_back_stays_one_account_of_space() {
    let house = House::with_quota(Some(20_000));
    house.write("f", &[1; 4096]).unwrap();
    let admin = house.store.home("root", true).unwrap();
    admin.rename(&path("alice"), &path("elsewhere"), Existing::Keep).unwrap();
    admin.rename(&path("elsewhere"), &path("alice"), Existing::Keep).unwrap();
    let later = house.store.home("alice", false).unwrap();
    later.set_quota(Some(20_000)).unwrap();
    house.write("g", &[1; 8192]).unwrap();
    assert!(later.check_room(20_000 - 4096 - 8192 - 3616).is_ok());
    assert!(later.check_room(20_000 - 4096 - 8192).is_err(), "both sessions count together");
}

#[test]
fn two_unique_names_at_one_moment_differ() {
    let house = House::new();
    let (first, one) = house.files.create_unique(&path("f")).unwrap();
    let (second, two) = house.files.create_unique(&path("f")).unwrap();
    assert_eq!((first.bytes(), second.bytes()), (b"/f".to_vec(), b"/f.1".to_vec()));
    drop(one);
    assert_eq!(house.files.create_unique(&path("f")).unwrap().0.bytes(), b"/f", "it was given back");
    two.commit().unwrap();
    assert!(house.files.entry(&second).is_ok());
}

/// Appends a block to the file over and over, while others remove it all the time.
fn append_under_removal(house: &House, rounds: usize) {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    let _ = house.files.remove_file(&path("f"));
                }
            });
        }
        for _ in 0..rounds {
            if let Ok(mut upload) = house.files.write_on(&path("f"), Place::End) {
                let _ = upload.write_all(&[1; 4096]);
                let _ = upload.commit();
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
}

#[test]
fn files_that_are_removed_while_they_are_appended_to_stay_accounted() {
    const LIMIT: u64 = 1000 * 4096;
    let house = House::with_quota(Some(LIMIT));
    append_under_removal(&house, 10_000);
    holds_to_the_byte(&house, LIMIT);
}
