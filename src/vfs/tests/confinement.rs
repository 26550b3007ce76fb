//! No path, link or race leads out of the root.

use proptest::prelude::*;

use super::*;
use crate::users::Record;

proptest! {
    #[test]
    fn a_folder_that_the_users_file_may_name_is_the_path_that_it_says(
        names in prop::collection::vec("\\.|\\.\\.|\\.plainftpd-|[./aA~\\\\ é\r\0-]{0,4}", 1..4),
    ) {
        let folder = names.join("/");
        if let Ok(record) = Record::parse(format!("one:drop:-:any:{folder}").as_bytes()) {
            let path = VirtualPath::root().join(record.home().as_bytes()).unwrap();
            prop_assert_eq!(path.bytes(), [b"/", folder.as_bytes()].concat());
            prop_assert!(!is_hidden(&path));
            prop_assert!(path.names().next() == Some(record.top().as_bytes()));
        }
    }
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
fn a_folder_that_is_swapped_for_a_link_all_the_time_lets_no_path_out() {
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
