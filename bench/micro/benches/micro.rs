//! What the server does for every line, name and entry: parsing, path resolution, a listing's line, a log's line.

#![allow(dead_code, unused_imports, reason = "the server's modules, of which this uses a few")]

include!(concat!(env!("OUT_DIR"), "/server/modules.rs"));

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};

use listing::{Allowed, FactChoice};
use log::{Line, Log};
use vfs::{Entry, Kind, VirtualPath};

fn parse(criterion: &mut Criterion) {
    for line in
        ["NOOP", "RETR docs/report of the year.pdf", "put photo.jpg 4096", "cp \"my file.txt\" 'a copy'"]
    {
        criterion.bench_function(&format!("parse {line}"), |bencher| {
            bencher.iter(|| commands::parses(black_box(line.as_bytes())));
        });
    }
}

fn path(criterion: &mut Criterion) {
    let folder = VirtualPath::root().join(b"/docs/2026").expect("a path");
    for argument in ["notes.txt", "../../photos/./summer//sea.jpg"] {
        criterion.bench_function(&format!("resolve {argument}"), |bencher| {
            bencher.iter(|| folder.join(black_box(argument.as_bytes())));
        });
    }
}

fn listing_line(criterion: &mut Criterion) {
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_465_140);
    let name = b"report of the year.pdf".to_vec();
    let entry = Entry { name, kind: Kind::File, size: 123_456, modified, mode: 0o644, links: 1, id: (1, 42) };
    let mut line = Vec::new();
    criterion.bench_function("a line of LIST", |bencher| {
        bencher.iter(|| {
            line.clear();
            listing::push_list_line(&mut line, black_box(&entry), modified);
        });
    });
    let facts = FactChoice::default();
    let allowed = Allowed { read: true, add: true, change: true, rename_folders: true };
    criterion.bench_function("a line of MLSD", |bencher| {
        bencher.iter(|| {
            line.clear();
            facts.push_line(&mut line, black_box(&entry), &entry.name, allowed);
        });
    });
}

fn log_line(criterion: &mut Criterion) {
    let line = || {
        let line = Line::new("command").number("session", 42).with("user", "alice").with("word", "get");
        line.with("path", "/docs/my notes.txt").number("bytes", 4096).number("code", 226)
    };
    criterion.bench_function("a line of the log, made", |bencher| bencher.iter(|| black_box(line())));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = Log::open(&folder.path().join("log.txt")).expect("a log");
    criterion.bench_function("a line of the log, written", |bencher| bencher.iter(|| log.write(line())));
}

criterion_group!(benches, parse, path, listing_line, log_line);
criterion_main!(benches);
