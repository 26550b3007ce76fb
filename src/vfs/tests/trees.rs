//! Whole trees: copied, counted, removed and swept.

use super::*;

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
fn a_folder_of_many_folders_is_counted_copied_and_removed() {
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
