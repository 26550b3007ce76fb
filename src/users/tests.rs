use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::TryLockError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::file::HEADER;
use super::hash::WORK;
use super::hash_queue::wait_until;
use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
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
        let log = Arc::new(Log::open(&self.dir.path().join("log.txt")).unwrap());
        Users::open(&self.path(), &config, log).unwrap()
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

fn signs_in(users: &Users, name: &str, secret: &str) -> Option<String> {
    match users.log_in(name.as_bytes(), &password(secret), HERE, |_| ()) {
        Ok((record, ())) => Some(record.name),
        Err(Refusal::WrongPassword) => None,
        Err(refused) => panic!("{refused:?}"),
    }
}

#[test]
fn a_new_account_logs_in_by_its_name_in_any_case() {
    let place = Place::new();
    let users = place.users();
    register(&users, "Alice", "wonderland").unwrap();
    assert_eq!(signs_in(&users, "aLICE", "wonderland").as_deref(), Some("Alice"));
    assert_eq!(signs_in(&users, "alice", "Wonderland"), None);
    assert_eq!(signs_in(&users, "alic", "wonderland"), None);
    assert!(matches!(register(&users, "ALICE", "other"), Err(Refusal::NameTaken)));
    assert_eq!(signs_in(&place.users(), "alice", "wonderland").as_deref(), Some("Alice"));
}

#[test]
fn the_file_is_private_explains_itself_and_holds_no_password() {
    let place = Place::new();
    register(&place.users(), "alice", "wonderland").unwrap();
    let text = place.text();
    assert_eq!(place.path().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(text.starts_with(HEADER));
    assert!(text[HEADER.len()..].starts_with("alice:user:-:pbkdf2-sha256$2$"));
    assert!(!text.contains("wonderland"));
}

#[test]
fn comments_unknown_lines_and_the_mode_survive_every_change() {
    let place = Place::new();
    let odd = b"# first\n\nsomething else entirely\n\xff\xfe\n#last, without an end";
    fs::write(place.path(), odd).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o640)).unwrap();
    let users = place.users();
    register(&users, "alice", "wonderland").unwrap();
    register(&users, "bob", "builder").unwrap();
    users
        .change_password("alice", &password("wonderland"), &password("looking-glass"), HERE)
        .unwrap();
    users.unregister("bob", &password("builder"), HERE, || ()).unwrap();
    let text = fs::read(place.path()).unwrap();
    let alice = text.strip_prefix(&odd[..]).unwrap();
    assert!(alice.starts_with(b"\nalice:user:-:"));
    assert_eq!(alice.iter().filter(|byte| **byte == b'\n').count(), 2);
    assert_eq!(signs_in(&users, "alice", "looking-glass").as_deref(), Some("alice"));
    assert_eq!(place.path().metadata().unwrap().permissions().mode() & 0o777, 0o640);
    assert!(!place.dir.path().join(".users.plainftpd-new").exists());
}

#[test]
fn an_edit_of_the_file_counts_at_the_next_login() {
    let place = Place::new();
    let users = place.users();
    assert_eq!(signs_in(&users, "carol", "singing"), None);
    // In place and by a rename, as editors do.
    fs::write(place.path(), line("carol", "singing")).unwrap();
    assert_eq!(signs_in(&users, "carol", "singing").as_deref(), Some("carol"));
    fs::write(place.dir.path().join("other"), line("carol", "dancing")).unwrap();
    fs::rename(place.dir.path().join("other"), place.path()).unwrap();
    assert_eq!(signs_in(&users, "carol", "singing"), None);
    assert_eq!(signs_in(&users, "carol", "dancing").as_deref(), Some("carol"));
}

#[test]
fn a_malformed_or_second_line_locks_its_account_and_brings_one_warning() {
    let place = Place::new();
    let text = format!(
        "mallory:user:-:\n{}eve\n{}{}{}",
        line("carol", "singing"),
        line("dave", "dave1"),
        line("Dave", "dave2"),
        line("disabled", "disabled").replace(":user:", ":disabled:"),
    );
    fs::write(place.path(), &text).unwrap();
    let users = place.users();
    for (name, secret) in [
        ("mallory", ""),
        ("eve", ""),
        ("dave", "dave1"),
        ("dave", "dave2"),
        ("disabled", "disabled"),
    ] {
        assert_eq!(signs_in(&users, name, secret), None, "{name}");
        assert!(matches!(register(&users, name, "secret"), Err(Refusal::NameTaken)), "{name}");
    }
    assert_eq!(signs_in(&users, "carol", "singing").as_deref(), Some("carol"));
    let log = place.log();
    let warnings: Vec<_> = log.lines().map(|line| &line[24..]).collect();
    assert_eq!(
        warnings,
        [
            " event=warning text=\"users file, line 1: the hash is not of the form pbkdf2-sha256$ITERATIONS$SALT$HASH\"",
            " event=warning text=\"users file, line 3: not of the form NAME:ROLE:QUOTA:HASH\"",
            " event=warning text=\"users file, line 5: another line has the same name; neither can log in\"",
        ]
    );
}

#[test]
fn registration_follows_the_owners_policy() {
    let place = Place::new();
    let closed =
        place.users_with(Config { registration: Registration::Closed, ..Config::default() });
    assert!(matches!(register(&closed, "alice", "wonderland"), Err(Refusal::Closed)));
    let code = Registration::Code("sesame".to_string());
    let coded = place.users_with(Config { registration: code, ..Config::default() });
    let with = |code: Option<&[u8]>| {
        coded.register(b"alice", &password("wonderland"), code, HERE, |_| Ok(Some(())))
    };
    assert!(matches!(with(None), Err(Refusal::WrongCode)));
    assert!(matches!(with(Some(b"sesamE")), Err(Refusal::WrongCode)));
    assert!(matches!(with(Some(b"")), Err(Refusal::WrongCode)));
    assert!(with(Some(b"sesame")).is_ok());
}

#[test]
fn bad_names_short_passwords_and_taken_folders_are_refused() {
    let place = Place::new();
    let users = place.users();
    assert!(matches!(register(&users, "../x", "wonderland"), Err(Refusal::BadName)));
    assert!(matches!(register(&users, "alice", "abc"), Err(Refusal::ShortPassword(4))));
    assert!(matches!(register(&users, "alice", "äöü"), Err(Refusal::ShortPassword(4))));
    let occupied =
        users.register(b"alice", &password("wonderland"), None, HERE, |_| Ok(None::<()>));
    assert!(matches!(occupied, Err(Refusal::NameTaken)));
    assert_eq!(place.text(), HEADER);
}

#[test]
fn the_old_password_is_needed_for_a_change() {
    let place = Place::new();
    let users = place.users();
    register(&users, "alice", "wonderland").unwrap();
    let change = |old, new| users.change_password("alice", &password(old), &password(new), HERE);
    assert!(matches!(change("wrong", "looking-glass"), Err(Refusal::WrongPassword)));
    assert!(matches!(change("wonderland", "abc"), Err(Refusal::ShortPassword(4))));
    assert!(matches!(
        users.unregister("alice", &password("wrong"), HERE, || ()),
        Err(Refusal::WrongPassword)
    ));
    assert_eq!(signs_in(&users, "alice", "wonderland").as_deref(), Some("alice"));
    users.unregister("alice", &password("wonderland"), HERE, || ()).unwrap();
    assert_eq!(place.text(), HEADER);
}

#[test]
fn registrations_at_once_from_two_servers_lose_none_and_double_none() {
    let place = Place::new();
    let (one, two) = (place.users(), place.users());
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
    let text = place.text();
    let names: Vec<_> = text.lines().filter_map(|line| line.split_once(":user:")).collect();
    assert_eq!(names.len(), 41);
}

#[test]
fn a_right_password_is_not_hashed_again_until_its_record_changes() {
    let place = Place::new();
    let record =
        |users: &Users| users.file.look(|index| index.find(b"alice").unwrap().clone()).unwrap();
    let contains =
        |users: &Users, secret| users.password_cache.contains(&record(users), &password(secret));
    let users = place.users();
    register(&users, "alice", "wonderland").unwrap();
    assert!(contains(&users, "wonderland"));
    // A server that starts anew knows nothing.
    let users = place.users();
    assert!(signs_in(&users, "alice", "wonderland").is_some());
    // With every turn at hashing taken, only what is remembered can log in.
    let turns = users.hash_queue.close();
    let logged_in = thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let users = &users;
        scope.spawn(move || tell.send(signs_in(users, "ALICE", "wonderland")));
        // Hashing waits for the turns: without a limit, a test that fails would wait for ever.
        let logged_in = told.recv_timeout(Duration::from_secs(10));
        drop(turns);
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
    assert_eq!(signs_in(&users, "alice", "wonderland"), None);
}

/// Logs in while `edit` changes the file: after the record was read, before the password is hashed.
fn logs_in_while_edited(place: &Place, edit: impl FnOnce()) -> Option<String> {
    let users = place.users();
    thread::scope(|scope| {
        let turns = users.hash_queue.close();
        let signing_in = scope.spawn(|| signs_in(&users, "carol", "singing"));
        users.hash_queue.wait_for(1, 0);
        edit();
        drop(turns);
        signing_in.join().unwrap()
    })
}

#[test]
fn a_login_fails_if_its_account_changes_while_the_password_is_hashed() {
    let place = Place::new();
    let (before, successor) = (line("carol", "singing"), line("carol", "dancing"));
    let disabled = before.replace(":user:", ":disabled:");
    let reduced = before.replace(":user:", ":readonly:");
    for after in ["", &successor, &disabled, &reduced] {
        fs::write(place.path(), &before).unwrap();
        assert_eq!(
            logs_in_while_edited(&place, || fs::write(place.path(), after).unwrap()),
            None,
            "{after}"
        );
    }
    fs::write(place.path(), &before).unwrap();
    let other = line("dave", "dancing") + &before;
    let entered = logs_in_while_edited(&place, || fs::write(place.path(), other).unwrap());
    assert_eq!(entered.as_deref(), Some("carol"), "another line is another account's");
}

#[test]
fn a_home_folder_is_created_opened_and_detached_under_the_account_lock() {
    let place = Place::new();
    let users = place.users();
    let is_locked = || matches!(users.account_lock.try_lock(), Err(TryLockError::WouldBlock));
    let found = |name: &str| {
        assert!(is_locked());
        assert!(!place.text().contains(name), "it is there before it has a folder");
        Ok(Some(()))
    };
    users.register(b"alice", &password("wonderland"), None, HERE, found).unwrap();
    for _ in 0..2 {
        // Once with hashing, once remembered.
        let users = place.users();
        let is_locked =
            |_: &Record| matches!(users.account_lock.try_lock(), Err(TryLockError::WouldBlock));
        assert!(users.log_in(b"alice", &password("wonderland"), HERE, is_locked).unwrap().1);
        assert!(users.log_in(b"alice", &password("wonderland"), HERE, is_locked).unwrap().1);
    }
    let closed = users.unregister("alice", &password("wonderland"), HERE, || {
        assert!(!place.text().contains("\nalice:"), "it is there without a folder");
        is_locked()
    });
    assert!(closed.unwrap());
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
    let place = Place::new();
    let (users, dropped) = (place.users(), AtomicUsize::new(0));
    let found = |_: &str| {
        fs::remove_file(place.path()).unwrap();
        Ok(Some(Home(&users, &dropped)))
    };
    let refused = users.register(b"alice", &password("wonderland"), None, HERE, found);
    assert!(matches!(refused, Err(Refusal::Io(_))));
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn an_unknown_name_costs_exactly_as_many_iterations_as_a_wrong_password() {
    let place = Place::new();
    let accounts = line("a", "aaaa") + &line("b", "bbbb") + &line("disabled", "secret");
    fs::write(place.path(), accounts.replace("disabled:user", "disabled:disabled")).unwrap();
    let users = place.users_with(Config { max_failures: 1000, ..Config::default() });
    for (name, secret) in [("a", "wrong"), ("nobody", "wrong"), ("disabled", "secret"), ("", "")] {
        let before = WORK.get();
        assert_eq!(signs_in(&users, name, secret), None);
        assert_eq!(WORK.get() - before, 2, "{name:?}: iterations");
    }
    // Without any account, what new hashes get.
    let place = Place::new();
    let users = place.users();
    let before = WORK.get();
    assert_eq!(signs_in(&users, "nobody", "wrong"), None);
    assert_eq!(WORK.get() - before, 2);
}

#[test]
fn failures_of_every_kind_spend_the_budget_of_their_source_and_successes_do_not() {
    let place = Place::new();
    let registration = Registration::Code("sesame".to_string());
    let users = place.users_with(Config { registration, max_failures: 1000, ..Config::default() });
    let failures = || users.throttle.failures(HERE);
    let register = |name: &str, code: &str| {
        let (name, code) = (name.as_bytes(), Some(code.as_bytes()));
        users.register(name, &password("wonderland"), code, HERE, |_| Ok(Some(()))).is_ok()
    };
    assert!(register("alice", "sesame") && !register("alice", "sesame"));
    assert!(signs_in(&users, "alice", "wonderland").is_some());
    assert_eq!(
        (failures(), users.throttle.known()),
        (0, 0),
        "what goes well leaves nothing behind"
    );
    assert!(!register("bob", "guess"));
    assert_eq!(failures(), 1);
    assert!(signs_in(&users, "alice", "guess").is_none());
    assert!(signs_in(&users, "nobody", "guess").is_none());
    assert_eq!(failures(), 3);
    let (guess, right) = (password("guess"), password("wonderland"));
    assert!(users.change_password("alice", &guess, &password("guessed"), HERE).is_err());
    assert!(users.unregister("alice", &guess, HERE, || ()).is_err());
    assert_eq!(failures(), 5);
    // A success of whichever kind gives nothing back.
    assert!(signs_in(&users, "alice", "wonderland").is_some());
    assert!(register("carol", "sesame"));
    users.change_password("alice", &right, &right, HERE).unwrap();
    users.unregister("alice", &right, HERE, || ()).unwrap();
    assert_eq!(failures(), 5);
}

#[test]
fn a_cached_password_waits_for_the_throttle_like_a_guess() {
    let place = Place::new();
    let users = place.users_with(Config { max_failures: 1, ..Config::default() });
    register(&users, "alice", "wonderland").unwrap();
    // One attempt is under way for a free failure.
    let attempt = users.throttle.begin(HERE).unwrap();
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let users = &users;
        scope.spawn(move || tell.send(signs_in(users, "alice", "wonderland")));
        wait_until(|| users.throttle.waiting(HERE) > 0);
        assert!(told.try_recv().is_err());
        drop(attempt);
        assert_eq!(told.recv().unwrap().as_deref(), Some("alice"));
    });
}

#[test]
fn a_class_that_registers_from_one_address_costs_one_hash_each_and_delays_no_login() {
    let place = Place::new();
    fs::write(place.path(), line("teacher", "blackboard")).unwrap();
    let users = place.users();
    let work = AtomicUsize::new(0);
    thread::scope(|scope| {
        let turns = users.hash_queue.close();
        for n in 0..30 {
            let (users, work) = (&users, &work);
            scope.spawn(move || {
                register(users, &format!("pupil{n}"), "secret").unwrap();
                work.fetch_add(WORK.get() as usize, Ordering::Relaxed);
            });
        }
        users.hash_queue.wait_for(0, 30);
        let teacher = scope.spawn(|| signs_in(&users, "teacher", "blackboard"));
        users.hash_queue.wait_for(1, 30);
        drop(turns);
        assert!(teacher.join().unwrap().is_some());
    });
    assert_eq!(work.into_inner(), 30 * 2, "iterations");
    assert_eq!(users.throttle.known(), 0);
}

#[test]
fn the_lock_of_the_file_is_taken_before_the_account_lock() {
    let place = Place::new();
    fs::write(place.path(), line("carol", "singing") + &line("dave", "dancing")).unwrap();
    let users = place.users();
    let is_locked = || {
        let file = fs::File::open(place.path()).unwrap();
        matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
    };
    let changes: [&(dyn Fn() + Sync); 3] = [
        &|| drop(register(&users, "alice", "wonderland").unwrap()),
        &|| {
            users
                .change_password("carol", &password("singing"), &password("humming"), HERE)
                .unwrap()
        },
        &|| users.unregister("dave", &password("dancing"), HERE, || ()).unwrap(),
    ];
    for change in changes {
        thread::scope(|scope| {
            // As a login does: the change goes on to the other lock, and waits there.
            let lock = users.lock_accounts();
            scope.spawn(change);
            wait_until(is_locked);
            drop(lock);
        });
    }
}
