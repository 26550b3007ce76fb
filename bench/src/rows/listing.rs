//! Folders of many files: the time of a listing, of its first byte, and the memory that it takes.

use std::fs::{self, File};
use std::io::Read;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::{Recorder, Setting};
use crate::client::Client;
use crate::report::number;
use crate::servers::Server;
use crate::sheet::Figure;

const MIB: f64 = 1024.0 * 1024.0;

pub fn many(setting: &Setting, server: &Server, recorder: &mut Recorder) -> Result<()> {
    let count = *setting.scale.files.last().context("no folder to list")?;
    fill(server, count)?;
    for word in ["LIST", "MLSD"] {
        let listing = Listing::take(server, word, count)?;
        let title = format!("{word} of {} files", number(count as f64));
        recorder.record(Figure::lower(&title, "s"), listing.seconds);
        recorder.record(Figure::lower(format!("{title}: first byte"), "ms"), listing.first * 1e3);
        recorder.record(Figure::lower(format!("{title}: added memory"), "MiB"), listing.memory);
    }
    Ok(())
}

/// What a listing took.
pub struct Listing {
    pub seconds: f64,
    first: f64,
    memory: f64,
}

impl Listing {
    /// Lists the folder that [`fill`] made.
    pub fn take(server: &Server, word: &str, count: usize) -> Result<Listing> {
        let mut client = Client::signed_in(server.address)?;
        client.ask(&format!("CWD {}", folder(count)), 250)?;
        let mut data = client.passive()?;
        server.process.forget_peak();
        let before = server.process.resident();
        let mut buffer = vec![0; 256 * 1024];
        let began = Instant::now();
        client.announce(word)?;
        let (mut first, mut lines) = (None, 0);
        loop {
            let length = data.read(&mut buffer)?;
            first.get_or_insert_with(|| began.elapsed().as_secs_f64());
            let Some(chunk) = buffer.get(..length).filter(|chunk| !chunk.is_empty()) else { break };
            lines += chunk.iter().filter(|byte| **byte == b'\n').count();
        }
        let seconds = began.elapsed().as_secs_f64();
        drop(data);
        client.end()?;
        let memory = server.process.peak().saturating_sub(before) as f64 / MIB;
        // Some servers list "." and ".." too, and some say a total.
        ensure!((count..=count + 3).contains(&lines), "{word} told {lines} of {count} files");
        Ok(Listing { seconds, first: first.unwrap_or(seconds), memory })
    }
}

/// Makes a folder of so many empty files, unless it is there.
pub fn fill(server: &Server, count: usize) -> Result<()> {
    let dir = server.home.join(folder(count));
    if !dir.exists() {
        fs::create_dir(&dir)?;
        server.give(&dir)?;
        for number in 0..count {
            File::create(dir.join(format!("file-{number:06}.txt")))?;
        }
    }
    Ok(())
}

fn folder(count: usize) -> String {
    format!("files-{count}")
}
