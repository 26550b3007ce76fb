use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

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
    match users.sign_in(name.as_bytes(), &password(secret), HERE, |_| ()) {
        Ok((record, ())) => Some(record.name),
        Err(Refusal::WrongPassword) => None,
        Err(refused) => panic!("{refused:?}"),
    }
}

#[test]
fn a_new_account_signs_in_by_its_name_in_any_case() {
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
    users.change_password("alice", &password("wonderland"), &password("looking-glass"), HERE).unwrap();
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
fn an_editors_change_counts_at_the_next_sign_in() {
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
fn a_settled_file_is_not_read_again_and_its_change_is_noticed() {
    let place = Place::new();
    fs::write(place.path(), line("carol", "singing")).unwrap();
    let old = SystemTime::now() - Duration::from_secs(100);
    File::open(place.path()).unwrap().set_modified(old).unwrap();
    let users = place.users();
    assert_eq!(signs_in(&users, "carol", "singing").as_deref(), Some("carol"));
    // As if it had been read long ago: only the stamp can tell.
    users.cache.lock().unwrap().stamp = Some(Stamp::of(&place.path().metadata().unwrap()));
    assert!(Arc::ptr_eq(&users.index().unwrap(), &users.index().unwrap()));
    let same_size = line("carol", "dancing");
    fs::write(place.path(), same_size).unwrap();
    assert_eq!(signs_in(&users, "carol", "dancing").as_deref(), Some("carol"));
}

#[test]
fn malformed_and_doubled_lines_lock_their_account_with_one_warning_each() {
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
    for (name, secret) in
        [("mallory", ""), ("eve", ""), ("dave", "dave1"), ("dave", "dave2"), ("disabled", "disabled")]
    {
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
            " event=warning text=\"users file, line 5: another line has the same name; neither can sign in\"",
        ]
    );
}

#[test]
fn registration_follows_the_owners_policy() {
    let place = Place::new();
    let closed = place.users_with(Config { registration: Registration::Closed, ..Config::default() });
    assert!(matches!(register(&closed, "alice", "wonderland"), Err(Refusal::Closed)));
    let code = Registration::Code("sesame".to_string());
    let coded = place.users_with(Config { registration: code, ..Config::default() });
    let with =
        |code: Option<&[u8]>| coded.register(b"alice", &password("wonderland"), code, HERE, |_| Ok(Some(())));
    assert!(matches!(with(None), Err(Refusal::WrongCode)));
    assert!(matches!(with(Some(b"sesamE")), Err(Refusal::WrongCode)));
    assert!(matches!(with(Some(b"")), Err(Refusal::WrongCode)));
    assert!(with(Some(b"sesame")).is_ok());
}

#[test]
fn guesses_at_the_registration_code_wait_like_those_at_a_password() {
    let place = Place::new();
    let registration = Registration::Code("sesame".to_string());
    let coded = place.users_with(Config { registration, max_failures: 1, ..Config::default() });
    let guess = || coded.register(b"alice", &password("wonderland"), Some(b"guess"), HERE, |_| Ok(Some(())));
    assert!(matches!(guess(), Err(Refusal::WrongCode)));
    let since = std::time::Instant::now();
    assert!(matches!(guess(), Err(Refusal::WrongCode)));
    assert!(since.elapsed() >= Duration::from_millis(200));
    // Of many at once a few wait, and the rest is refused.
    let since = std::time::Instant::now();
    let refused = thread::scope(|scope| {
        let guesses: Vec<_> = (0..20).map(|_| scope.spawn(guess)).collect();
        let results = guesses.into_iter().map(|guess| guess.join().unwrap());
        results.filter(|result| matches!(result, Err(Refusal::TooManyTries))).count()
    });
    let made = 20 - refused as u32;
    assert!(made <= 8, "{made}");
    assert!(since.elapsed() >= Duration::from_millis(400) * (made - 1));
}

#[test]
fn bad_names_short_passwords_and_taken_folders_are_refused() {
    let place = Place::new();
    let users = place.users();
    assert!(matches!(register(&users, "../x", "wonderland"), Err(Refusal::BadName)));
    assert!(matches!(register(&users, "alice", "abc"), Err(Refusal::ShortPassword(4))));
    assert!(matches!(register(&users, "alice", "äöü"), Err(Refusal::ShortPassword(4))));
    let occupied = users.register(b"alice", &password("wonderland"), None, HERE, |_| Ok(None::<()>));
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
fn no_more_enter_the_gate_than_it_has_places() {
    let gate = Gate::new(2);
    let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let _turn = gate.enter();
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert!(most.into_inner() <= 2);
}

#[test]
fn a_byte_order_mark_hides_no_account() {
    let place = Place::new();
    fs::write(place.path(), format!("\u{feff}{}", line("carol", "singing"))).unwrap();
    let users = place.users();
    assert!(matches!(register(&users, "carol", "dancing"), Err(Refusal::NameTaken)));
    assert_eq!(signs_in(&users, "carol", "singing").as_deref(), Some("carol"));
    users.unregister("carol", &password("singing"), HERE, || ()).unwrap();
    assert_eq!(place.text(), "");
}

#[test]
fn an_account_that_goes_while_its_password_is_hashed_is_not_entered() {
    let place = Place::new();
    let users = place.users_with(Config::default());
    // Many iterations for one account, so that the removal is sure to come first.
    let slow = PasswordHash::new(&password("singing"), 300_000).unwrap();
    fs::write(place.path(), format!("carol:user:-:{slow}\n")).unwrap();
    let entered = thread::scope(|scope| {
        // All turns are taken until the account is gone.
        let places = *users.gate.free.lock().unwrap();
        let turns: Vec<_> = (0..places).map(|_| users.gate.enter()).collect();
        let signing_in = scope.spawn(|| signs_in(&users, "carol", "singing"));
        while users.cache.lock().unwrap().index.find(b"carol").is_none() {
            thread::yield_now();
        }
        fs::write(place.path(), "").unwrap();
        drop(turns);
        signing_in.join().unwrap()
    });
    assert_eq!(entered, None);
}

#[test]
fn a_password_that_was_right_needs_no_second_hashing_until_its_record_changes() {
    let place = Place::new();
    let knows = |users: &Users, secret| {
        users.memory.knows(users.index().unwrap().find(b"alice").unwrap(), &password(secret))
    };
    let users = place.users();
    register(&users, "alice", "wonderland").unwrap();
    assert!(knows(&users, "wonderland"));
    // A server that starts anew knows nothing.
    let users = place.users();
    assert!(signs_in(&users, "alice", "wonderland").is_some());
    // With every turn at hashing taken, only what is remembered can sign in.
    let places = *users.gate.free.lock().unwrap();
    let turns: Vec<_> = (0..places).map(|_| users.gate.enter()).collect();
    let signed_in = thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let users = &users;
        scope.spawn(move || tell.send(signs_in(users, "ALICE", "wonderland")));
        // Hashing waits for the turns: without a limit, a test that fails would wait for ever.
        let signed_in = told.recv_timeout(Duration::from_secs(10));
        drop(turns);
        signed_in
    });
    assert_eq!(signed_in, Ok(Some("alice".to_string())));
    let index = users.index().unwrap();
    let record = index.find(b"alice").unwrap();
    assert!(!knows(&users, "wonderlanD") && !knows(&users, ""));
    let changed = Record { quota: Quota::Bytes(1), ..record.clone() };
    assert!(!users.memory.knows(&changed, &password("wonderland")));
    users.change_password("alice", &password("wonderland"), &password("looking-glass"), HERE).unwrap();
    assert!(knows(&users, "looking-glass") && !knows(&users, "wonderland"));
    assert_eq!(signs_in(&users, "alice", "wonderland"), None);
}

#[test]
fn an_unknown_name_costs_the_iterations_that_accounts_have() {
    let place = Place::new();
    fs::write(
        place.path(),
        line("a", "aaaa") + &line("b", "bbbb") + &line("c", "cccc").replace("$2$", "$7$"),
    )
    .unwrap();
    assert_eq!(place.users().index().unwrap().iterations, Some(2));
    assert_eq!(most_common([3, 9, 3, 9].into_iter()), Some(9));
}
