//! kill -9 in the middle of uploads and registrations: everything acknowledged is there and whole.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{Server, noise};

const ROUNDS: usize = 20;
const UPLOADERS: usize = 4;

/// Types at the server until it dies; returns what was acknowledged.
fn type_until_death(
    address: SocketAddr,
    acknowledged: &AtomicUsize,
    mut steps: impl FnMut(usize) -> (String, Vec<u8>, &'static str),
) -> usize {
    let Ok(stream) = TcpStream::connect(address) else { return 0 };
    let mut replies = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    for n in 0.. {
        let (line, content, wanted) = steps(n);
        if stream.write_all(&[line.as_bytes(), b"\r\n", &content].concat()).is_err() {
            return n;
        }
        loop {
            let mut reply = String::new();
            if !matches!(replies.read_line(&mut reply), Ok(1..)) || !reply.ends_with('\n') {
                return n;
            }
            if reply.starts_with(wanted) {
                break;
            }
            assert!(reply.starts_with("220 ") || reply.starts_with("150 "), "{reply}");
        }
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    unreachable!()
}

fn content(round: usize, uploader: usize, n: usize) -> Vec<u8> {
    noise(1 + (n * 7919) % 60_000, (round * 100 + uploader) as u64 * 1_000_003 + n as u64)
}

#[test]
fn twenty_kills_lose_no_acknowledged_file_or_account() {
    let dir = tempfile::tempdir().unwrap();
    let (mut files, mut accounts) = (0, 0);
    for round in 0..ROUNDS {
        let mut server = Server::in_folder(dir.path(), &[]);
        let address = server.address();
        let (acknowledged, enrolled) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (uploaded, registered) = std::thread::scope(|scope| {
            let (acknowledged, enrolled) = (&acknowledged, &enrolled);
            let uploaders: Vec<_> = (0..UPLOADERS)
                .map(|uploader| {
                    scope.spawn(move || {
                        type_until_death(address, acknowledged, |n| match n {
                            0 => {
                                (format!("register up{round}-{uploader} password"), vec![], "230 ")
                            }
                            _ => {
                                // Every third one over the same name.
                                let name =
                                    if n % 3 == 0 { "same".to_string() } else { format!("f{n}") };
                                let content = content(round, uploader, n);
                                (format!("put {name} {}", content.len()), content, "226 ")
                            }
                        })
                    })
                })
                .collect();
            let registrar = scope.spawn(move || {
                type_until_death(address, enrolled, |n| {
                    (format!("register r{round}-{n} password"), vec![], "230 ")
                })
            });
            // The moment differs from round to round, and comes after work of each kind.
            while acknowledged.load(Ordering::SeqCst) < 30 + round * 17
                || enrolled.load(Ordering::SeqCst) < 6
            {
                std::thread::yield_now();
            }
            server.kill();
            let uploaded: Vec<_> =
                uploaders.into_iter().map(|thread| thread.join().unwrap()).collect();
            (uploaded, registrar.join().unwrap())
        });

        let server = Server::in_folder(dir.path(), &[]);
        for (uploader, done) in uploaded.into_iter().enumerate() {
            let folder = server.real(&format!("up{round}-{uploader}"));
            for n in (1..done).filter(|n| n % 3 != 0) {
                assert_eq!(
                    fs::read(folder.join(format!("f{n}"))).unwrap(),
                    content(round, uploader, n)
                );
                files += 1;
            }
            // The last acknowledged one, or the one whose acknowledgement was cut off.
            if let Some(last) = (1..done).rfind(|n| n % 3 == 0) {
                let same = fs::read(folder.join("same")).unwrap();
                let whole = [last, last + 3].iter().any(|n| same == content(round, uploader, *n));
                assert!(whole, "round {round}, uploader {uploader}: half a file");
            }
        }
        let mut client = server.connect();
        for n in 0..registered {
            client.expect(&format!("login r{round}-{n} password"), 230);
            accounts += 1;
        }
        server.wait_until_swept();
        assert!(!server.log().contains("event=warning"), "a line of the users file was torn");
    }
    assert!(
        files > 100 && accounts > 100,
        "too little was tried: {files} files, {accounts} accounts"
    );
    let log = fs::read_to_string(dir.path().join("log.txt")).unwrap();
    assert!(log.lines().all(|line| line.starts_with("20") && line.contains("Z event=")));
}
