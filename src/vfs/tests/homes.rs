//! The folders of accounts: each belongs to one account, and to no later one of its name.

use super::*;

#[test]
fn a_session_keeps_its_own_root_when_another_account_gets_the_name() {
    let house = House::new();
    house.write("a", b"first alice").unwrap();
    assert!(Vfs::create_home(&house.workdir, "alice").unwrap().is_none());
    house.workdir.detach_home("alice").unwrap()().unwrap();
    let (second, home) = Vfs::create_home(&house.workdir, "alice").unwrap().unwrap();
    home.keep();
    second.create(&path("b"), Existing::Keep).unwrap().commit().unwrap();
    fails(house.read("b"), ErrorKind::NotFound);
    assert!(house.write("c", b"x").is_err());
    assert_eq!(house.staged(), 0);
}

#[test]
fn an_empty_folder_is_not_handed_on_but_created_again() {
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
    for (session_goes_on, is_registered) in
        [(true, true), (false, true), (true, false), (false, false)]
    {
        let house = House::with_quota(Some(100_000));
        house.write("a", &[1; 50_000]).unwrap();
        let House { dir, workdir, files } = house;
        let former = session_goes_on.then_some(files);
        // The owner of the server removes the folder by hand. Without the session, the new one may
        // get its inode.
        fs::rename(dir.path().join("workdir/alice/a"), dir.path().join("saved")).unwrap();
        fs::remove_dir(dir.path().join("workdir/alice")).unwrap();
        let second = if is_registered {
            let (second, home) = Vfs::create_home(&workdir, "alice").unwrap().unwrap();
            home.keep();
            second
        } else {
            // The owner added the account again, and its login creates the folder.
            Vfs::home(&workdir, "alice").unwrap()
        };
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
