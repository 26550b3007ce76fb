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
