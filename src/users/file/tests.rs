use crate::config::Rotation;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::super::hash::{Password, PasswordHash};
use super::*;

struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    fn new(text: impl AsRef<[u8]>) -> Folder {
        let folder = Folder { dir: tempfile::tempdir().unwrap() };
        fs::write(folder.path(), text).unwrap();
        folder
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("users")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn inode(&self) -> u64 {
        fs::metadata(self.path()).unwrap().ino()
    }

    fn append(&self, bytes: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().append(true).open(self.path()).unwrap();
        file.write_all(bytes.as_ref()).unwrap();
    }

    fn users(&self) -> UsersFile {
        UsersFile::open(&self.path(), false, Arc::new(self.log())).unwrap()
    }

    fn log(&self) -> Log {
        Log::open(&self.dir.path().join("log.txt"), Rotation::default()).unwrap()
    }

    fn warnings(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.path().join("log.txt")).unwrap();
        let text = |line: &str| {
            Some(line.split_once("event=warning text=")?.1.trim_matches('"').to_string())
        };
        log.lines().filter_map(text).collect()
    }
}

fn record(name: &str) -> Record {
    let hash = PasswordHash::new(&Password(name.into()), 1).unwrap();
    Record::parse(format!("{name}:user:-:{hash}").as_bytes()).unwrap()
}

fn line(name: &str) -> String {
    format!("{}\n", record(name))
}

fn has(users: &UsersFile, name: &str) -> bool {
    users.query(|index| index.find(name.as_bytes()).is_some()).unwrap()
}

fn append(users: &UsersFile, name: &str) -> io::Result<()> {
    users.change()?.append(&record(name))
}

fn remove(users: &UsersFile, name: &str) {
    let mut change = users.change().unwrap();
    let (text, _) = change.find(name).unwrap();
    change.replace(&text, name, None).unwrap();
}

/// How often the file was read, and parsed.
fn counts(users: &UsersFile) -> (usize, usize) {
    let cache = lock(&users.cache);
    (cache.reads, cache.parses)
}

#[test]
fn a_settled_file_is_read_again_only_after_a_change() {
    let folder = Folder::new(line("carol"));
    let users = folder.users();
    // As if it had changed long ago: only the stamp can tell.
    lock(&users.cache).is_settled = true;
    let reads = lock(&users.cache).reads;
    assert!(has(&users, "carol") && !has(&users, "derek"));
    assert_eq!(lock(&users.cache).reads, reads);
    fs::write(folder.path(), line("derek")).unwrap();
    assert!(has(&users, "derek") && !has(&users, "carol"));
}

#[test]
fn within_a_tick_of_the_clock_a_look_reads_the_file_and_parses_it_only_if_the_text_differs() {
    let folder = Folder::new(line("carol"));
    let users = folder.users();
    let (reads, parses) = counts(&users);
    for _ in 0..2 {
        lock(&users.cache).is_settled = false; // as if it had changed just now
        assert!(has(&users, "carol"));
    }
    lock(&users.cache).is_settled = false;
    assert!(users.query_quickly(|index| index.has(b"carol")).unwrap());
    assert_eq!(counts(&users), (reads + 2, parses));
}

#[test]
fn a_version_settles_after_a_tick_of_its_file_systems_clock() {
    let stamp = Stamp::of(&fs::metadata(Folder::new(line("carol")).path()).unwrap());
    for (nanoseconds, tick) in
        [(0, COARSE_TICK), (30_000_000, COARSE_TICK), (4_000_000, FINE_TICK), (1, FINE_TICK)]
    {
        let stamp = Stamp { changed: (1_000, nanoseconds), ..stamp };
        let changed = SystemTime::UNIX_EPOCH + Duration::new(1_000, nanoseconds as u32);
        assert!(!stamp.is_settled(changed - tick), "{nanoseconds}");
        assert!(!stamp.is_settled(changed + tick), "{nanoseconds}");
        assert!(stamp.is_settled(changed + tick + Duration::from_nanos(1)), "{nanoseconds}");
    }
}

#[test]
fn a_new_account_is_appended_without_reading_or_parsing_the_file() {
    let folder = Folder::new(String::from_iter((0..1000).map(|n| line(&format!("user{n}")))));
    let users = folder.users();
    let (before, inode) = (folder.text(), folder.inode());
    let (reads, parses) = counts(&users);
    for n in 0..10 {
        let name = format!("new{n}");
        assert!(!users.query_quickly(|index| index.has(name.as_bytes())).unwrap());
        append(&users, &name).unwrap();
        assert!(users.query_quickly(|index| index.find(name.as_bytes()).is_some()).unwrap());
    }
    assert_eq!(counts(&users), (reads, parses));
    // What a login reads is what was known already.
    assert!(has(&users, "new9") && has(&users, "user0"));
    assert_eq!(counts(&users), (reads + 2, parses));
    assert_eq!(folder.inode(), inode);
    assert_eq!(folder.text().strip_prefix(&before).unwrap().lines().count(), 10);
}

#[test]
fn a_line_that_another_program_adds_before_or_during_an_append_is_noticed() {
    let folder = Folder::new("");
    let users = folder.users();
    append(&users, "alice").unwrap();
    folder.append(line("carol"));
    append(&users, "bob").unwrap();
    assert!(has(&users, "alice") && has(&users, "carol") && has(&users, "bob"));
    let before = fs::metadata(folder.path()).unwrap();
    let own = line("dave");
    folder.append(line("erin"));
    folder.append(&own);
    lock(&users.cache).has_grown(&before, own.as_bytes(), &fs::metadata(folder.path()).unwrap());
    assert!(has(&users, "dave") && has(&users, "erin"));
}

#[test]
fn a_new_account_does_not_continue_a_line_without_an_end() {
    let folder = Folder::new(format!("{}guest:user:-:", line("carol")));
    let users = folder.users();
    append(&users, "alice").unwrap();
    append(&users, "bob").unwrap();
    assert!(has(&users, "alice") && has(&users, "bob") && !has(&users, "guest"));
    assert!(folder.text().contains("\nguest:user:-:\nalice:user:-:"));
    assert!(!folder.text().contains("\n\n"));
    assert!(has(&folder.users(), "alice"));
}

#[test]
fn a_line_that_another_program_is_writing_is_read_again_before_a_warning() {
    let folder = Folder::new("");
    let (log, whole) = (folder.log(), line("carol"));
    let (first, second) = whole.split_at(20);
    let mut cache = Cache::default();
    folder.append(first);
    let mut pauses = 0;
    let mut finish = || {
        pauses += 1;
        if pauses == 2 {
            folder.append(second);
        }
    };
    cache.renew(&folder.path(), &log, &mut finish).unwrap();
    assert!(cache.index.find(b"carol").is_some());
    assert_eq!((pauses, folder.warnings().len(), cache.reads, cache.parses), (2, 0, 3, 1));
    // One that stays so is warned of once, and not waited for again.
    folder.append("guest:user:-:");
    let mut pauses = 0;
    for _ in 0..2 {
        cache.renew(&folder.path(), &log, || pauses += 1).unwrap();
    }
    assert_eq!((pauses, folder.warnings().len()), (READ_AGAIN, 1));
    assert!(cache.index.find(b"guest").is_none());
}

#[test]
fn an_unreadable_file_lets_no_client_in_is_not_changed_and_brings_one_warning() {
    let text = line("alice");
    let folder = Folder::new(text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
    let users = folder.users();
    let refused = |users: &UsersFile| {
        let kind = Some(ErrorKind::InvalidData);
        assert_eq!(users.query(|index| index.has(b"alice")).err().map(|error| error.kind()), kind);
        assert_eq!(
            users.query_quickly(|index| index.has(b"alice")).err().map(|error| error.kind()),
            kind
        );
        let found = users.change().unwrap().find("alice");
        assert_eq!(found.err().map(|error| error.kind()), kind);
    };
    refused(&users);
    assert_eq!(
        folder.warnings(),
        ["users file: it is in UTF-16; save it as UTF-8; until then no account can log in"]
    );
    fs::write(folder.path(), (line("carol") + &text).replace('\n', "\r")).unwrap();
    refused(&users);
    fs::write(folder.path(), (line("dave") + &text).replace('\n', "\r")).unwrap();
    refused(&users);
    assert_eq!(folder.warnings().len(), 3, "each version once: {:?}", folder.warnings());
    fs::write(folder.path(), text).unwrap();
    assert!(has(&users, "alice"));
}

#[test]
fn a_byte_order_mark_hides_no_account() {
    let folder = Folder::new(format!("\u{feff}{}", line("carol")));
    let users = folder.users();
    assert!(has(&users, "carol"));
    remove(&users, "carol");
    assert_eq!(folder.text(), "");
}

#[test]
fn a_link_that_is_pointed_elsewhere_counts_at_once_for_looks_and_for_changes() {
    let folder = Folder::new("");
    let at = |name: &str| folder.dir.path().join(name);
    let point_to = |name: &str| {
        let _ = fs::remove_file(folder.path());
        symlink(name, folder.path()).unwrap();
    };
    fs::write(at("one"), line("alice")).unwrap();
    fs::write(at("two"), line("bobby")).unwrap();
    point_to("one");
    let users = folder.users();
    lock(&users.cache).is_settled = true;
    assert!(has(&users, "alice"));
    point_to("two");
    assert!(has(&users, "bobby") && !has(&users, "alice"));
    append(&users, "carol").unwrap();
    remove(&users, "bobby");
    assert!(fs::symlink_metadata(folder.path()).unwrap().is_symlink());
    assert!(fs::read_to_string(at("two")).unwrap().starts_with("carol:"));
    assert_eq!(fs::read_to_string(at("one")).unwrap().lines().count(), 1);
}

#[test]
fn a_line_appended_to_the_old_file_during_a_change_is_carried_over() {
    let folder = Folder::new(line("alice") + &line("bob"));
    let users = folder.users();
    let mut old = OpenOptions::new().append(true).open(folder.path()).unwrap();
    let mut change = users.change().unwrap();
    let (text, _) = change.find("alice").unwrap();
    change.replace(&text, "alice", None).unwrap();
    assert_eq!(folder.text().lines().count(), 1);
    old.write_all(line("carol").as_bytes()).unwrap();
    drop(change);
    assert!(has(&users, "bob") && has(&users, "carol") && !has(&users, "alice"));
}

#[test]
fn a_change_keeps_mode_and_owner_and_leaves_no_temporary_file() {
    let folder = Folder::new(line("alice") + &line("bob"));
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o640)).unwrap();
    // Only the superuser may give a file away.
    let is_given = std::os::unix::fs::chown(folder.path(), Some(12345), Some(23456)).is_ok();
    let users = folder.users();
    remove(&users, "alice");
    let metadata = fs::metadata(folder.path()).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o640);
    assert!(!is_given || (metadata.uid(), metadata.gid()) == (12345, 23456));
    assert!(!temporary_of(&folder.path()).exists());
}

#[test]
fn a_change_of_a_doubled_or_malformed_line_finds_no_record() {
    let folder = Folder::new(line("alice") + &line("Alice") + "bob:user:-:x\n" + &line("carol"));
    let users = folder.users();
    for name in ["alice", "ALICE", "bob", "nobody"] {
        assert_eq!(users.change().unwrap().find(name).unwrap().1, None, "{name}");
    }
    remove(&users, "CAROL");
    assert_eq!(folder.text().lines().count(), 3);
}

#[test]
fn a_change_waits_a_limited_time_for_the_lock_of_another_program_and_a_look_does_not() {
    let folder = Folder::new(line("alice"));
    let users = folder.users();
    let foreign = File::open(folder.path()).unwrap();
    foreign.lock().unwrap();
    thread::scope(|scope| {
        let changes: Vec<_> = (0..3)
            .map(|n| {
                let users = &users;
                scope.spawn(move || append(users, &format!("new{n}")))
            })
            .collect();
        assert!(has(&users, "alice"));
        for change in changes {
            assert_eq!(change.join().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        }
    });
    foreign.unlock().unwrap();
    append(&users, "new").unwrap();
    // One that lets go in time is waited for.
    foreign.lock().unwrap();
    thread::scope(|scope| {
        let change = scope.spawn(|| append(&users, "newer"));
        thread::sleep(10 * LOCK_PAUSE);
        assert!(!change.is_finished());
        foreign.unlock().unwrap();
        change.join().unwrap().unwrap();
    });
    assert!(has(&users, "newer"));
}
