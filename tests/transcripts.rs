//! Golden transcripts: whole conversations, to the byte, over every line end, step by step and in
//! one piece.

mod support;

use support::{Client, Server, play, play_pipelined, transcript};

#[test]
fn every_transcript_holds_over_every_line_end_and_way_of_sending() {
    let mut count = 0;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let steps = transcript(&std::fs::read_to_string(&path).unwrap());
        for end in ["\n", "\r\n", "\r"] {
            for player in [play, play_pipelined] {
                eprintln!("{} with {end:?}", path.display());
                let server = Server::start();
                let mut client = Client::to(server.address());
                player(&mut client, &steps, end);
                assert_eq!(client.rest(), "", "nothing after the goodbye");
                count += 1;
            }
        }
    }
    assert!(count >= 5 * 6, "the transcripts were not found");
}
