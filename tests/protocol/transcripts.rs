//! Golden transcripts: whole conversations, to the byte, over every line end, step by step and in
//! one piece.

use std::path::PathBuf;

use crate::support::{Client, Server, Step, play, play_pipelined, transcript};

/// In an FTP verb's argument CR NUL ends no line, so such lines end with CRLF.
fn end_ftp_verbs(steps: &[Step]) -> Vec<Step> {
    let is_ftp_verb =
        |word: &str| word == word.to_ascii_uppercase() || ["hash", "type"].contains(&word);
    let ended = |step: &Step| match step {
        Step::Line(line) if line.split_once(' ').is_some_and(|(word, _)| is_ftp_verb(word)) => {
            Step::Raw(format!("{line}\r\n").into_bytes())
        }
        step => step.clone(),
    };
    steps.iter().map(ended).collect()
}

fn holds(path: PathBuf) {
    let steps = transcript(&std::fs::read_to_string(&path).unwrap());
    for end in ["\n", "\r\n", "\r\0"] {
        for player in [play, play_pipelined] {
            eprintln!("{} with {end:?}", path.display());
            let server = Server::start();
            let mut client = Client::to(server.address());
            let steps = if end == "\r\0" { end_ftp_verbs(&steps) } else { steps.clone() };
            player(&mut client, &steps, end);
            assert_eq!(client.rest(), "", "nothing after the goodbye");
        }
    }
}

#[test]
fn every_transcript_holds_over_every_line_end_and_way_of_sending() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
    let entries = std::fs::read_dir(folder).unwrap();
    let paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    assert!(paths.len() >= 5, "the transcripts were not found");
    // At once, because accounts that change wait for the disk.
    std::thread::scope(|scope| {
        for path in paths {
            scope.spawn(|| holds(path));
        }
    });
}
