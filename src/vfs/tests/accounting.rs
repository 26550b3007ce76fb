//! What is counted towards a quota, to the byte.

use super::*;

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
    fails(
        house.files.copy(&path("d"), &path("e"), Existing::Keep, &mut |_| false),
        ErrorKind::QuotaExceeded,
    );
    let mut append = house.files.write_on(&path("b"), WriteStart::End).unwrap();
    append.write_all(&[1; 4095]).unwrap();
    fails(append.write_all(&[1]), ErrorKind::QuotaExceeded);
    append.commit().unwrap();
    let counted = house.quota().lock().check(0).is_ok();
    assert!(counted && house.quota().lock().check(1).is_err());
    assert_eq!(house.staged(), 0);
    house.files.remove_tree(&path("d")).unwrap();
    assert!(house.quota().lock().check(2 * 4096).is_ok());
    assert!(house.quota().lock().check(2 * 4096 + 1).is_err());
    assert_eq!(house.used(), 3 * 4096);
}

#[test]
fn writing_on_in_place_at_an_offset_counts_what_the_file_grows_by() {
    let house = House::with_quota(Some(4 * 4096));
    house.write("a", &[1; 5000]).unwrap();
    let mut upload = house.files.write_on(&path("a"), WriteStart::Offset(4990)).unwrap();
    upload.write_all(&[2; 10]).unwrap();
    upload.write_all(&[3; 3192]).unwrap();
    upload.commit().unwrap();
    let content = house.read("a").unwrap();
    assert_eq!((content.len(), content[4989], content[4990], content[5000]), (8192, 1, 2, 3));
    assert!(house.quota().lock().check(2 * 4096).is_ok());
    assert!(house.quota().lock().check(2 * 4096 + 1).is_err());
    // Beyond the end nothing is made, and nothing held.
    fails(house.files.write_on(&path("a"), WriteStart::Offset(8193)), ErrorKind::NotSeekable);
    fails(house.files.write_on(&path("b"), WriteStart::Offset(1)), ErrorKind::NotSeekable);
    fails(house.read("b"), ErrorKind::NotFound);
    holds_to_the_byte(&house, 4 * 4096);
}

/// What the files really take, counted to the byte.
fn counted(files: &Vfs) -> u64 {
    walk::count(&files.root, &mut Sizes::default()).unwrap().bytes
}

/// The room that is left must be what `limit` leaves beside what is really there.
#[track_caller]
fn holds_to_the_byte(house: &House, limit: u64) {
    let left = limit - counted(&house.files);
    assert!(house.quota().lock().check(left).is_ok(), "counted too much");
    assert!(house.quota().lock().check(left + 1).is_err(), "counted too little");
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
    drop(
        house
            .files
            .create(&path("x"), Existing::Keep)
            .map(|mut upload| upload.write_all(&[1; 9_000])),
    );
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
fn a_folder_whose_file_gets_shorter_while_it_is_copied_counts_what_is_there() {
    let house = House::with_quota(Some(100_000));
    house.files.make_folder(&path("d")).unwrap();
    house.write("d/f", &[b'x'; 20_000]).unwrap();
    let resize = |length| {
        File::options().write(true).open(house.real("d/f")).unwrap().set_len(length).unwrap()
    };
    let mut shorten = |_| {
        resize(5_000);
        false
    };
    house.files.copy(&path("d"), &path("e"), Existing::Keep, &mut shorten).unwrap();
    resize(20_000);
    assert_eq!(fs::metadata(house.real("e/f")).unwrap().len(), 5_000);
    holds_to_the_byte(&house, 100_000);
}

#[test]
fn a_copy_into_a_folder_that_is_being_removed_counts_whole_or_not_at_all() {
    let house = House::with_quota(Some(10_000_000));
    house.files.make_folder(&path("d")).unwrap();
    for n in 0..40 {
        house.write(&format!("d/{n}"), b"x").unwrap();
    }
    for _ in 0..50 {
        house.files.make_folder(&path("other")).unwrap();
        let (copying, begun) = mpsc::channel();
        std::thread::scope(|scope| {
            let copy = |copying: mpsc::Sender<()>| {
                let mut tell = |_| copying.send(()).is_err();
                let _ = house.files.copy(&path("d"), &path("other/e"), Existing::Keep, &mut tell);
            };
            let copy = scope.spawn(move || copy(copying));
            begun.recv().unwrap();
            house.files.remove_tree(&path("other")).unwrap();
            while begun.recv().is_ok() {}
            copy.join().unwrap();
        });
        holds_to_the_byte(&house, 10_000_000);
    }
}

#[test]
fn a_count_during_an_append_counts_nothing_twice() {
    const LIMIT: u64 = 64 * 4096;
    let house = House::with_quota(Some(LIMIT));
    let mut upload = house.files.write_on(&path("a"), WriteStart::End).unwrap();
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
        let mut upload = house.files.write_on(&path("a"), WriteStart::End).unwrap();
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
    let mut first = house.files.write_on(&path("a"), WriteStart::End).unwrap();
    first.write_all(&[1; 9_000]).unwrap();
    fails(house.files.write_on(&path("a"), WriteStart::End), ErrorKind::ResourceBusy);
    drop(first);
    assert_eq!(house.read("a").unwrap(), b"old");
    holds_to_the_byte(&house, LIMIT);
    let mut second = house.files.write_on(&path("a"), WriteStart::End).unwrap();
    second.write_all(b" and new").unwrap();
    second.commit().unwrap();
    assert_eq!(house.read("a").unwrap(), b"old and new");
    // One that it made itself goes again.
    drop(house.files.write_on(&path("b"), WriteStart::End).unwrap());
    fails(house.read("b"), ErrorKind::NotFound);
    holds_to_the_byte(&house, LIMIT);
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
        let mut upload = house.files.write_on(&path("a"), WriteStart::End).unwrap();
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
    let mut append = house.files.write_on(&path("d/f"), WriteStart::End).unwrap();
    append.write_all(&[1; 20_000]).unwrap();
    house.files.remove_tree(&path("d")).unwrap();
    // Nothing is stored, and what the append holds is held until it ends.
    holds_to_the_byte(&house, 100_000 - (blocks(25_000) - blocks(5_000)));
    assert!(append.commit().is_err());
    holds_to_the_byte(&house, 100_000);
}

/// The quota of all accounts, or `None` if it cannot be read.
#[derive(Debug)]
struct SameQuota(Option<u64>);

impl QuotaSource for SameQuota {
    fn quota_of(&self, _: &[u8]) -> io::Result<Option<u64>> {
        self.0.map(Some).ok_or(io::Error::other("unreadable"))
    }
}

/// An administrator's files, if every account has this quota.
fn admin(house: &House, quota: u64) -> Vfs {
    Vfs::home_of_admin(&house.workdir, Arc::new(SameQuota(Some(quota))))
}

/// An administrator's files, and another account beside `alice`.
fn admin_and_bob(house: &House) -> (Vfs, Vfs) {
    let bob = Vfs::home(&house.workdir, "bob").unwrap();
    bob.set_quota(Some(64 * 4096)).unwrap();
    (admin(house, 64 * 4096), bob)
}

#[test]
fn nothing_moves_between_accounts() {
    const LIMIT: u64 = 64 * 4096;
    let house = House::with_quota(Some(LIMIT));
    let (admin, bob) = admin_and_bob(&house);
    house.write("f", &[1; 9_000]).unwrap();
    house.files.make_folder(&path("d")).unwrap();
    bob.make_folder(&path("d")).unwrap();
    admin.create(&path("beside"), Existing::Keep).unwrap().commit().unwrap();
    admin.make_folder(&path("empty")).unwrap();
    for (from, to) in [
        ("alice", "new"),
        ("alice", "bob/alice"),
        ("alice", "bob"),
        ("empty", "new"),
        ("empty", "alice/new"),
        ("alice/f", "bob/f"),
        ("alice/f", "bob/d/f"),
        ("alice/d", "bob/new"),
        ("alice/d", "new"),
        ("alice/f", "new"),
        ("beside", "alice/new"),
        ("beside", "alice/d/new"),
    ] {
        for existing in [Existing::Keep, Existing::Replace] {
            let moved = admin.rename(&path(from), &path(to), existing);
            fails(moved, ErrorKind::InvalidInput);
        }
    }
    assert!(admin.rename(&path("beside"), &path("alice"), Existing::Replace).is_err());
    // Within one account, and among the files beside them, an administrator does move things.
    admin.rename(&path("alice/f"), &path("alice/d/g"), Existing::Keep).unwrap();
    admin.rename(&path("beside"), &path("besides"), Existing::Keep).unwrap();
    holds_to_the_byte(&house, LIMIT);
    assert_eq!(house.read("d/g").unwrap(), [1; 9_000]);
    assert_eq!(bob.entries(&VirtualPath::root()).unwrap().count(), 1);
}

#[test]
fn what_an_administrator_copies_into_an_account_counts_there() {
    const LIMIT: u64 = 64 * 4096;
    let house = House::with_quota(Some(LIMIT));
    let (admin, bob) = admin_and_bob(&house);
    bob.make_folder(&path("d")).unwrap();
    bob.create(&path("d/f"), Existing::Keep).unwrap().commit().unwrap();
    let copy = |from, to| admin.copy(&path(from), &path(to), Existing::Keep, &mut |_| false);
    copy("bob/d/f", "alice/f").unwrap();
    copy("bob/d", "alice/d").unwrap();
    copy("bob", "alice/bob").unwrap();
    holds_to_the_byte(&house, LIMIT);
    assert_eq!(house.used(), 6 * 4096);
    house.write("large", &[1; 57 * 4096]).unwrap();
    fails(copy("bob/d", "alice/e"), ErrorKind::QuotaExceeded);
    holds_to_the_byte(&house, LIMIT);
}

#[test]
fn a_quota_holds_for_an_administrator_before_the_account_has_logged_in() {
    let house = House::new();
    fs::create_dir_all(house.real("../carol/d")).unwrap();
    fs::write(house.real("../carol/d/old"), [1; 9_000]).unwrap();
    let admin = admin(&house, 5 * 4096);
    let write = |name: &str, bytes: usize| {
        let mut upload = admin.create(&path(name), Existing::Replace)?;
        upload.write_all(&vec![1; bytes])?;
        upload.commit()
    };
    fails(write("carol/f", 4097), ErrorKind::QuotaExceeded);
    write("carol/f", 4096).unwrap();
    fails(write("carol/g", 1), ErrorKind::QuotaExceeded);
    fails(admin.make_folder(&path("carol/e")), ErrorKind::QuotaExceeded);
    // The copy of a whole folder becomes an account's whole folder.
    house.write("large", &[1; 6 * 4096]).unwrap();
    let copy = |from, to| admin.copy(&path(from), &path(to), Existing::Keep, &mut |_| false);
    fails(copy("alice", "dave"), ErrorKind::QuotaExceeded);
    copy("carol", "dave").unwrap();
    let carol = Vfs::home(&house.workdir, "carol").unwrap();
    carol.set_quota(Some(5 * 4096)).unwrap();
    assert!(carol.check_room(0).is_err());
    carol.remove_file(&path("f")).unwrap();
    assert!(carol.check_room(4096).is_ok() && carol.check_room(4097).is_err());
    assert_eq!(carol.usage().unwrap(), (4 * 4096, Some(5 * 4096)));
}

#[test]
fn an_administrator_changes_nothing_while_the_quotas_cannot_be_read() {
    let house = House::with_quota(Some(64 * 4096));
    house.write("f", &[1; 9_000]).unwrap();
    let admin = Vfs::home_of_admin(&house.workdir, Arc::new(SameQuota(None)));
    fails(admin.create(&path("alice/new"), Existing::Keep).map(drop), ErrorKind::Other);
    fails(
        admin.copy(&path("alice"), &path("new"), Existing::Keep, &mut |_| false),
        ErrorKind::Other,
    );
    assert!(admin.open(&path("alice/f")).is_ok());
}

#[test]
fn a_new_quota_is_counted_beside_files_that_are_written_in_place_and_trees_that_go() {
    const LIMIT: u64 = 64 * 4096;
    let house = House::new();
    house.files.make_folder(&path("d")).unwrap();
    for (name, size) in [("a", 5_000), ("d/b", 9_000), ("gone", 9_000), ("other", 50_000)] {
        house.write(name, &vec![1; size]).unwrap();
    }
    let append = |name: &str| {
        let mut upload = house.files.write_on(&path(name), WriteStart::End).unwrap();
        upload.write_all(&[1; 30_000]).unwrap();
        upload
    };
    let (ends, breaks_off, removed) = (append("a"), append("d/b"), append("gone"));
    let new = append("new");
    house.files.remove_file(&path("gone")).unwrap();
    // A tree that was moved away to be removed, with a file in it that is still written to.
    house.files.make_folder(&path("tree")).unwrap();
    house.write("tree/f", &[1; 9_000]).unwrap();
    let in_tree = append("tree/f");
    let quota = house.quota();
    let removal = quota.begin_removal(&mut quota.lock());
    let hidden = HiddenFolder::new(&house.workdir.storage, &house.files.root, b"tree").unwrap();

    house.files.set_quota(Some(LIMIT)).unwrap();

    removal::remove(&house.workdir.storage, &house.files.root, hidden.name(), Some(&removal))
        .unwrap();
    drop(removal);
    ends.commit().unwrap();
    new.commit().unwrap();
    drop(breaks_off);
    fails(removed.commit(), ErrorKind::ResourceBusy);
    assert!(in_tree.commit().is_err());
    holds_to_the_byte(&house, LIMIT);
    assert_eq!(
        counted(&house.files),
        blocks(35_000) + blocks(0) + blocks(9_000) + blocks(30_000) + blocks(50_000)
    );
}

/// Every way in which an administrator can make a name at the top lead to another folder.
#[test]
fn an_open_session_stays_with_its_folder_whatever_an_administrator_does_to_the_name() {
    const LIMIT: u64 = 64 * 4096;
    type Change = fn(&Vfs);
    let changes: [Change; 3] = [
        |admin| {
            admin.remove_tree(&path("alice")).unwrap();
            admin.make_folder(&path("alice")).unwrap();
        },
        |admin| {
            admin.remove_tree(&path("alice")).unwrap();
            admin
                .copy(&path("bob"), &path("alice"), Existing::Keep, &mut |_| false)
                .map(drop)
                .unwrap();
        },
        |admin| {
            admin.remove_file(&path("alice/f")).unwrap();
            // Not while an upload into it goes on.
            fails(admin.remove_folder(&path("alice")), ErrorKind::ResourceBusy);
            admin.remove_tree(&path("alice")).unwrap();
            admin.make_folder(&path("alice")).unwrap();
        },
    ];
    for change in changes {
        let house = House::with_quota(Some(LIMIT));
        let (admin, bob) = admin_and_bob(&house);
        house.write("f", &[1; 9_000]).unwrap();
        bob.create(&path("bobs"), Existing::Keep).unwrap().commit().unwrap();
        let mut under_way = house.files.create(&path("late"), Existing::Keep).unwrap();
        under_way.write_all(&[1; 5_000]).unwrap();
        change(&admin);
        let later = Vfs::home(&house.workdir, "alice").unwrap();
        later.set_quota(Some(LIMIT)).unwrap();
        later.create(&path("mine"), Existing::Keep).unwrap().commit().unwrap();
        for name in ["mine", "bobs", "f"] {
            assert!(house.files.open(&path(name)).is_err(), "{name}");
            assert!(house.files.remove_file(&path(name)).is_err(), "{name}");
        }
        assert!(under_way.commit().is_err() && house.write("g", b"lost").is_err());
        let taken = counted(&later);
        assert!(later.check_room(LIMIT - taken).is_ok(), "counted too much");
        assert!(later.check_room(LIMIT - taken + 1).is_err(), "counted too little");
        // An administrator's upload counts there, too.
        admin.copy(&path("bob/bobs"), &path("alice/copy"), Existing::Keep, &mut |_| false).unwrap();
        assert!(later.check_room(LIMIT - taken - 4096 + 1).is_err());
        assert_eq!(house.staged(), 0);
    }
}

#[test]
fn a_file_that_is_renamed_onto_another_name_of_itself_keeps_both_as_posix_says() {
    const LIMIT: u64 = 64 * 4096;
    let house = House::with_quota(Some(LIMIT));
    house.write("a", &[1; 9_000]).unwrap();
    fs::hard_link(house.real("a"), house.real("b")).unwrap();
    house.files.usage().unwrap();
    holds_to_the_byte(&house, LIMIT);
    house.files.rename(&path("a"), &path("b"), Existing::Replace).unwrap();
    assert_eq!((house.read("a").unwrap().len(), house.read("b").unwrap().len()), (9_000, 9_000));
    holds_to_the_byte(&house, LIMIT);
    house.files.rename(&path("a"), &path("a"), Existing::Replace).unwrap();
    fails(house.files.rename(&path("a"), &path("b"), Existing::Keep), ErrorKind::AlreadyExists);
    holds_to_the_byte(&house, LIMIT);
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
            if let Ok(mut upload) = house.files.write_on(&path("f"), WriteStart::End) {
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
