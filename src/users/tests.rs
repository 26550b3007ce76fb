use crate::config::Rotation;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::TryLockError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::file::HEADER;
use super::hash::WORK;
use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    fn new() -> Folder {
        Folder { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("users")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log.txt")).unwrap()
    }

    fn users(&self) -> Users {
        self.users_with(Config::default())
    }

    fn users_with(&self, config: Config) -> Users {
        let config = Config { hash_iterations: 2, ..config };
        let log =
            Arc::new(Log::open(&self.dir.path().join("log.txt"), Rotation::default()).unwrap());
        Users::open(&self.path(), &config, log).unwrap()
    }
}

/// Waits until other threads of a test have made `is_so` true. Fails after 30 seconds.
pub(super) fn wait_until(mut is_so: impl FnMut() -> bool) {
    let since = std::time::Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(30), "it did not happen");
        thread::yield_now();
    }
}

fn password(text: &str) -> Password {
    Password(text.as_bytes().to_vec())
}

fn register(users: &Users, name: &str, secret: &str) -> Result<Record, Refusal> {
    users
        .register(name.as_bytes(), &password(secret), None, HERE, |_| Ok(Some(())))
        .map(|(record, ())| record)
}

fn line(name: &str, secret: &str) -> String {
    format!("{name}:user:-:{}\n", PasswordHash::new(&password(secret), 2).unwrap())
}

fn logs_in(users: &Users, name: &str, secret: &str) -> Option<String> {
    match users.log_in(name.as_bytes(), &password(secret), HERE, |_| ()) {
        Ok((record, ())) => Some(record.name),
        Err(Refusal::WrongPassword) => None,
        Err(refused) => panic!("{refused:?}"),
    }
}

#[test]
fn a_new_account_logs_in_by_its_name_in_any_case() {
    let folder = Folder::new();
    let users = folder.users();
    register(&users, "Alice", "wonderland").unwrap();
    assert_eq!(logs_in(&users, "aLICE", "wonderland").as_deref(), Some("Alice"));
    assert_eq!(logs_in(&users, "alice", "Wonderland"), None);
    assert_eq!(logs_in(&users, "alic", "wonderland"), None);
    assert!(matches!(register(&users, "ALICE", "other"), Err(Refusal::NameTaken)));
    assert_eq!(logs_in(&folder.users(), "alice", "wonderland").as_deref(), Some("Alice"));
}

#[test]
fn the_file_is_private_explains_itself_and_holds_no_password() {
    let folder = Folder::new();
    register(&folder.users(), "alice", "wonderland").unwrap();
    let text = folder.text();
    assert_eq!(folder.path().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(text.starts_with(HEADER));
    assert!(text[HEADER.len()..].starts_with("alice:user:-:pbkdf2-sha256$2$"));
    assert!(!text.contains("wonderland"));
}

#[test]
fn comments_unknown_lines_and_the_mode_survive_every_change() {
    let folder = Folder::new();
    let odd = b"# first\n\nsomething else entirely\n\xff\xfe\n#last, without an end";
    fs::write(folder.path(), odd).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o640)).unwrap();
    let users = folder.users();
    register(&users, "alice", "wonderland").unwrap();
    register(&users, "bob", "builder").unwrap();
    users
        .change_password("alice", &password("wonderland"), &password("looking-glass"), HERE)
        .unwrap();
    users.unregister("bob", &password("builder"), HERE, |_| ()).unwrap();
    let text = fs::read(folder.path()).unwrap();
    let alice = text.strip_prefix(&odd[..]).unwrap();
    assert!(alice.starts_with(b"\nalice:user:-:"));
    assert_eq!(alice.iter().filter(|byte| **byte == b'\n').count(), 2);
    assert_eq!(logs_in(&users, "alice", "looking-glass").as_deref(), Some("alice"));
    assert_eq!(folder.path().metadata().unwrap().permissions().mode() & 0o777, 0o640);
    assert!(!folder.dir.path().join(".users.plainftpd-new").exists());
}

#[test]
fn an_edit_of_the_file_counts_at_the_next_login() {
    let folder = Folder::new();
    let users = folder.users();
    assert_eq!(logs_in(&users, "carol", "singing"), None);
    // Editors write a file in folder or rename a new one over it.
    fs::write(folder.path(), line("carol", "singing")).unwrap();
    assert_eq!(logs_in(&users, "carol", "singing").as_deref(), Some("carol"));
    fs::write(folder.dir.path().join("other"), line("carol", "dancing")).unwrap();
    fs::rename(folder.dir.path().join("other"), folder.path()).unwrap();
    assert_eq!(logs_in(&users, "carol", "singing"), None);
    assert_eq!(logs_in(&users, "carol", "dancing").as_deref(), Some("carol"));
}

#[test]
fn a_malformed_or_second_line_locks_its_account_and_brings_one_warning() {
    let folder = Folder::new();
    let text = format!(
        "mallory:user:-:\n{}eve\n{}{}{}",
        line("carol", "singing"),
        line("dave", "dave1"),
        line("Dave", "dave2"),
        line("disabled", "disabled").replace(":user:", ":disabled:"),
    );
    fs::write(folder.path(), &text).unwrap();
    let users = folder.users();
    for (name, secret) in [
        ("mallory", ""),
        ("eve", ""),
        ("dave", "dave1"),
        ("dave", "dave2"),
        ("disabled", "disabled"),
    ] {
        assert_eq!(logs_in(&users, name, secret), None, "{name}");
        assert!(matches!(register(&users, name, "secret"), Err(Refusal::NameTaken)), "{name}");
    }
    assert_eq!(logs_in(&users, "carol", "singing").as_deref(), Some("carol"));
    let log = folder.log();
    let warnings: Vec<_> = log.lines().map(|line| &line[24..]).collect();
    assert_eq!(
        warnings,
        [
            " event=warning text=\"users file, line 1: the hash is not of the form \
             pbkdf2-sha256$ITERATIONS$SALT$HASH\"",
            " event=warning text=\"users file, line 3: not of the form NAME:ROLE:QUOTA:HASH or \
             NAME:ROLE:QUOTA:HASH:FOLDER\"",
            " event=warning text=\"users file, line 5: another line has the same name; \
             neither can log in\"",
        ]
    );
}

#[test]
fn registration_follows_the_owners_policy() {
    let folder = Folder::new();
    let closed =
        folder.users_with(Config { registration: Registration::Closed, ..Config::default() });
    assert!(matches!(register(&closed, "alice", "wonderland"), Err(Refusal::Closed)));
    let code = Registration::Code("sesame".to_string());
    let coded = folder.users_with(Config { registration: code, ..Config::default() });
    let with = |code: Option<&[u8]>| {
        coded.register(b"alice", &password("wonderland"), code, HERE, |_| Ok(Some(())))
    };
    assert!(matches!(with(None), Err(Refusal::NoCode)));
    assert!(matches!(with(Some(b"sesamE")), Err(Refusal::WrongCode)));
    assert!(matches!(with(Some(b"")), Err(Refusal::WrongCode)));
    assert!(with(Some(b"sesame")).is_ok());
}

#[test]
fn bad_names_short_passwords_and_taken_folders_are_refused() {
    let folder = Folder::new();
    let users = folder.users();
    assert!(matches!(register(&users, "../x", "wonderland"), Err(Refusal::BadName)));
    assert!(matches!(register(&users, "alice", "abc"), Err(Refusal::ShortPassword(4))));
    assert!(matches!(register(&users, "alice", "äöü"), Err(Refusal::ShortPassword(4))));
    let occupied =
        users.register(b"alice", &password("wonderland"), None, HERE, |_| Ok(None::<()>));
    assert!(matches!(occupied, Err(Refusal::NameTaken)));
    assert_eq!(folder.text(), HEADER);
}

#[test]
fn the_old_password_is_needed_for_a_change() {
    let folder = Folder::new();
    let users = folder.users();
    register(&users, "alice", "wonderland").unwrap();
    let change = |old, new| users.change_password("alice", &password(old), &password(new), HERE);
    assert!(matches!(change("wrong", "looking-glass"), Err(Refusal::WrongPassword)));
    assert!(matches!(change("wonderland", "abc"), Err(Refusal::ShortPassword(4))));
    assert!(matches!(
        users.unregister("alice", &password("wrong"), HERE, |_| ()),
        Err(Refusal::WrongPassword)
    ));
    assert_eq!(logs_in(&users, "alice", "wonderland").as_deref(), Some("alice"));
    users.unregister("alice", &password("wonderland"), HERE, |_| ()).unwrap();
    assert_eq!(folder.text(), HEADER);
}

#[test]
fn registrations_at_once_from_two_servers_lose_none_and_double_none() {
    let folder = Folder::new();
    let (one, two) = (folder.users(), folder.users());
    let won = AtomicUsize::new(0);
    thread::scope(|scope| {
        for n in 0..40 {
            let (users, won) = (if n % 2 == 0 { &one } else { &two }, &won);
            scope.spawn(move || {
                register(users, &format!("user{n}"), "secret").unwrap();
                if register(users, "same", "secret").is_ok() {
                    won.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(won.into_inner(), 1);
    let text = folder.text();
    let names: Vec<_> = text.lines().filter_map(|line| line.split_once(":user:")).collect();
    assert_eq!(names.len(), 41);
}

#[test]
fn a_right_password_is_not_hashed_again_until_its_record_changes() {
    let folder = Folder::new();
    let record =
        |users: &Users| users.file.query(|index| index.find(b"alice").unwrap().clone()).unwrap();
    let contains =
        |users: &Users, secret| users.password_cache.contains(&record(users), &password(secret));
    let users = folder.users();
    register(&users, "alice", "wonderland").unwrap();
    assert!(contains(&users, "wonderland"));
    // A restarted server has an empty cache.
    let users = folder.users();
    assert!(logs_in(&users, "alice", "wonderland").is_some());
    // While all hash slots are taken, only a cached password can log in.
    let slots = users.hash_queue.close();
    let logged_in = thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let users = &users;
        scope.spawn(move || tell.send(logs_in(users, "ALICE", "wonderland")));
        // A hash would wait for the slots. Without a limit, a failing test would wait for ever.
        let logged_in = told.recv_timeout(Duration::from_secs(10));
        drop(slots);
        logged_in
    });
    assert_eq!(logged_in, Ok(Some("alice".to_string())));
    assert!(!contains(&users, "wonderlanD") && !contains(&users, ""));
    let changed = Record { quota: QuotaSetting::Bytes(1), ..record(&users) };
    assert!(!users.password_cache.contains(&changed, &password("wonderland")));
    users
        .change_password("alice", &password("wonderland"), &password("looking-glass"), HERE)
        .unwrap();
    assert!(contains(&users, "looking-glass") && !contains(&users, "wonderland"));
    assert_eq!(logs_in(&users, "alice", "wonderland"), None);
}

/// Logs in while `edit` changes the file, after the record was read and before the password is
/// hashed.
fn logs_in_while_edited(folder: &Folder, edit: impl FnOnce()) -> Option<String> {
    let users = folder.users();
    thread::scope(|scope| {
        let slots = users.hash_queue.close();
        let login = scope.spawn(|| logs_in(&users, "carol", "singing"));
        users.hash_queue.wait_for(1, 0);
        edit();
        drop(slots);
        login.join().unwrap()
    })
}

#[test]
fn a_login_fails_if_its_account_changes_while_the_password_is_hashed() {
    let folder = Folder::new();
    let (before, successor) = (line("carol", "singing"), line("carol", "dancing"));
    let disabled = before.replace(":user:", ":disabled:");
    let reduced = before.replace(":user:", ":readonly:");
    for after in ["", &successor, &disabled, &reduced] {
        fs::write(folder.path(), &before).unwrap();
        assert_eq!(
            logs_in_while_edited(&folder, || fs::write(folder.path(), after).unwrap()),
            None,
            "{after}"
        );
    }
    fs::write(folder.path(), &before).unwrap();
    let other = line("dave", "dancing") + &before;
    let logged_in = logs_in_while_edited(&folder, || fs::write(folder.path(), other).unwrap());
    assert_eq!(logged_in.as_deref(), Some("carol"), "an edit of another line changes nothing");
}

#[test]
fn a_home_folder_is_created_opened_and_detached_under_the_account_lock() {
    let folder = Folder::new();
    let users = folder.users();
    let is_locked = || matches!(users.account_lock.try_lock(), Err(TryLockError::WouldBlock));
    let found = |name: &str| {
        assert!(is_locked());
        assert!(!folder.text().contains(name), "the account is in the file before it has a folder");
        Ok(Some(()))
    };
    users.register(b"alice", &password("wonderland"), None, HERE, found).unwrap();
    for _ in 0..2 {
        // The first login hashes the password, the second one finds it in the cache.
        let users = folder.users();
        let is_locked =
            |_: &Record| matches!(users.account_lock.try_lock(), Err(TryLockError::WouldBlock));
        assert!(users.log_in(b"alice", &password("wonderland"), HERE, is_locked).unwrap().1);
        assert!(users.log_in(b"alice", &password("wonderland"), HERE, is_locked).unwrap().1);
    }
    let closed = users.unregister("alice", &password("wonderland"), HERE, |_| {
        assert!(!folder.text().contains("\nalice:"), "the account is in the file without a folder");
        is_locked()
    });
    assert_eq!(closed.unwrap(), Some(true));
    assert!(!is_locked());
}

#[test]
fn the_folder_of_an_account_that_cannot_be_added_is_dropped_under_the_account_lock() {
    struct Home<'u>(&'u Users, &'u AtomicUsize);
    impl Drop for Home<'_> {
        fn drop(&mut self) {
            assert!(matches!(self.0.account_lock.try_lock(), Err(TryLockError::WouldBlock)));
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
    let folder = Folder::new();
    let (users, dropped) = (folder.users(), AtomicUsize::new(0));
    let found = |_: &str| {
        fs::remove_file(folder.path()).unwrap();
        Ok(Some(Home(&users, &dropped)))
    };
    let refused = users.register(b"alice", &password("wonderland"), None, HERE, found);
    assert!(matches!(refused, Err(Refusal::Io(_))));
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn an_unknown_name_costs_exactly_as_many_iterations_as_a_wrong_password() {
    let folder = Folder::new();
    let accounts = line("a", "aaaa") + &line("b", "bbbb") + &line("disabled", "secret");
    fs::write(folder.path(), accounts.replace("disabled:user", "disabled:disabled")).unwrap();
    let users = folder.users_with(Config { max_failures: 1000, ..Config::default() });
    for (name, secret) in [("a", "wrong"), ("nobody", "wrong"), ("disabled", "secret"), ("", "")] {
        let before = WORK.get();
        assert_eq!(logs_in(&users, name, secret), None);
        assert_eq!(WORK.get() - before, 2, "{name:?}: iterations");
    }
    // If there is no account, the cost is that of a new hash.
    let folder = Folder::new();
    let users = folder.users();
    let before = WORK.get();
    assert_eq!(logs_in(&users, "nobody", "wrong"), None);
    assert_eq!(WORK.get() - before, 2);
}

#[test]
fn failures_of_every_kind_spend_the_budget_of_their_source_and_successes_do_not() {
    let folder = Folder::new();
    let registration = Registration::Code("sesame".to_string());
    let users = folder.users_with(Config { registration, max_failures: 1000, ..Config::default() });
    let failures = || users.throttle.failures(HERE);
    let register = |name: &str, code: &str| {
        let (name, code) = (name.as_bytes(), Some(code.as_bytes()));
        users.register(name, &password("wonderland"), code, HERE, |_| Ok(Some(()))).is_ok()
    };
    assert!(register("alice", "sesame") && !register("alice", "sesame"));
    assert!(logs_in(&users, "alice", "wonderland").is_some());
    assert_eq!((failures(), users.throttle.known()), (0, 0), "a success leaves nothing behind");
    assert!(!register("bob", "guess"));
    assert_eq!(failures(), 1);
    assert!(logs_in(&users, "alice", "guess").is_none());
    assert!(logs_in(&users, "nobody", "guess").is_none());
    assert_eq!(failures(), 3);
    let (guess, right) = (password("guess"), password("wonderland"));
    assert!(users.change_password("alice", &guess, &password("guessed"), HERE).is_err());
    assert!(users.unregister("alice", &guess, HERE, |_| ()).is_err());
    assert_eq!(failures(), 5);
    // No kind of success gives anything back.
    assert!(logs_in(&users, "alice", "wonderland").is_some());
    assert!(register("carol", "sesame"));
    users.change_password("alice", &right, &right, HERE).unwrap();
    users.unregister("alice", &right, HERE, |_| ()).unwrap();
    assert_eq!(failures(), 5);
}

#[test]
fn an_account_that_accepts_every_password_costs_no_hash_and_no_failure() {
    let folder = Folder::new();
    fs::write(folder.path(), line("a", "aaaa") + "anonymous:readonly:-:any:public\n").unwrap();
    let users = folder.users_with(Config { max_failures: 1000, ..Config::default() });
    let slots = users.hash_queue.close();
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let users = &users;
        scope.spawn(move || {
            for (name, secret) in [("anonymous", ""), ("ANONYMOUS", "x"), ("ftp", "me@example")] {
                tell.send((logs_in(users, name, secret), WORK.get())).unwrap();
            }
        });
        // A hash would wait for the slots. Without a limit, a failing test would wait for ever.
        let answers = (0..3).map(|_| told.recv_timeout(Duration::from_secs(10)).ok());
        let answers: Vec<_> = answers.collect();
        drop(slots);
        assert_eq!(answers, vec![Some((Some("anonymous".to_string()), 0)); 3]);
    });
    assert_eq!(users.throttle.failures(HERE), 0);
    // It has no iterations that an unknown name would cost.
    let before = WORK.get();
    assert_eq!(logs_in(&users, "nobody", "wrong"), None);
    assert_eq!(WORK.get() - before, 2);
}

#[test]
fn a_cached_password_waits_for_the_throttle_like_a_guess() {
    let folder = Folder::new();
    let users = folder.users_with(Config { max_failures: 1, ..Config::default() });
    register(&users, "alice", "wonderland").unwrap();
    // One attempt is under way, as many as the free failures allow.
    let attempt = users.throttle.begin(HERE).unwrap();
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let users = &users;
        scope.spawn(move || tell.send(logs_in(users, "alice", "wonderland")));
        wait_until(|| users.throttle.waiting(HERE) > 0);
        assert!(told.try_recv().is_err());
        drop(attempt);
        assert_eq!(told.recv().unwrap().as_deref(), Some("alice"));
    });
}

#[test]
fn a_class_that_registers_from_one_address_costs_one_hash_each_and_delays_no_login() {
    let folder = Folder::new();
    fs::write(folder.path(), line("teacher", "blackboard")).unwrap();
    let users = folder.users();
    let work = AtomicUsize::new(0);
    thread::scope(|scope| {
        let slots = users.hash_queue.close();
        for n in 0..30 {
            let (users, work) = (&users, &work);
            scope.spawn(move || {
                register(users, &format!("pupil{n}"), "secret").unwrap();
                work.fetch_add(WORK.get() as usize, Ordering::Relaxed);
            });
        }
        users.hash_queue.wait_for(0, 30);
        let teacher = scope.spawn(|| logs_in(&users, "teacher", "blackboard"));
        users.hash_queue.wait_for(1, 30);
        drop(slots);
        assert!(teacher.join().unwrap().is_some());
    });
    assert_eq!(work.into_inner(), 30 * 2, "iterations");
    assert_eq!(users.throttle.known(), 0);
}

#[test]
fn the_lock_of_the_file_is_taken_before_the_account_lock() {
    let folder = Folder::new();
    fs::write(folder.path(), line("carol", "singing") + &line("dave", "dancing")).unwrap();
    let users = folder.users();
    let is_locked = || {
        let file = fs::File::open(folder.path()).unwrap();
        matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
    };
    let changes: [&(dyn Fn() + Sync); 3] = [
        &|| drop(register(&users, "alice", "wonderland").unwrap()),
        &|| {
            users
                .change_password("carol", &password("singing"), &password("humming"), HERE)
                .unwrap()
        },
        &|| users.unregister("dave", &password("dancing"), HERE, |_| ()).unwrap().unwrap(),
    ];
    for change in changes {
        thread::scope(|scope| {
            // While a login holds the account lock, the change takes the lock of the file and then
            // waits.
            let lock = lock(&users.account_lock);
            scope.spawn(change);
            wait_until(is_locked);
            drop(lock);
        });
    }
}

#[test]
fn another_server_cannot_change_the_accounts_before_a_removed_ones_folder_is_hidden() {
    let folder = Folder::new();
    fs::write(folder.path(), line("carol", "singing")).unwrap();
    let users = folder.users();
    let is_locked = |_: &str| {
        let file = fs::File::open(folder.path()).unwrap();
        matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
    };
    let removed = users.unregister("carol", &password("singing"), HERE, is_locked).unwrap();
    assert_eq!(removed, Some(true));
    assert!(!is_locked(""));
}

#[test]
fn a_login_fails_if_another_server_gives_the_name_away_while_the_folder_is_opened() {
    let folder = Folder::new();
    let node = |name: &str| {
        folder.users_with(Config { node: Some(name.to_string()), ..Config::default() })
    };
    let (ours, theirs) = (node("a"), node("b"));
    register(&theirs, "carol", "singing").unwrap();
    let give_away = |record: &Record| {
        theirs.remove(&record.name, None, |_| ()).unwrap();
        register(&theirs, "carol", "humming").unwrap();
    };
    let refused = ours.log_in(b"carol", &password("singing"), HERE, give_away).unwrap_err();
    assert!(matches!(refused, Refusal::WrongPassword), "{refused:?}");
    assert_eq!(logs_in(&ours, "carol", "humming").as_deref(), Some("carol"));
}
