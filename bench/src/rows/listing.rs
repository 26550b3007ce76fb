//! Folders with many files: the time until the first byte and the end of a listing, and its memory.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::{Recorder, Setting};
use crate::client::Client;
use crate::places::Places;
use crate::report::number;
use crate::servers::Server;
use crate::sheet::Figure;

const MIB: f64 = 1024.0 * 1024.0;

pub fn list(setting: &Setting, server: &Server, recorder: &mut Recorder) -> Result<()> {
    many(setting, server, recorder, "LIST")
}

pub fn mlsd(setting: &Setting, server: &Server, recorder: &mut Recorder) -> Result<()> {
    many(setting, server, recorder, "MLSD")
}

fn many(setting: &Setting, server: &Server, recorder: &mut Recorder, word: &str) -> Result<()> {
    let count = *setting.scale.files.last().context("no folder to list")?;
    let listing = Listing::take(setting, server, word, count)?;
    let title = format!("{word} of {} files", number(count as f64));
    recorder.record(Figure::lower(&title, "s"), listing.seconds);
    recorder.record(Figure::lower(format!("{title}: first byte"), "ms"), listing.first * 1e3);
    recorder.record(Figure::lower(format!("{title}: added memory"), "MiB"), listing.memory);
    Ok(())
}

/// The time and the memory of a listing.
pub struct Listing {
    pub seconds: f64,
    first: f64,
    memory: f64,
}

impl Listing {
    /// Lists a folder of `files` files.
    pub fn take(setting: &Setting, server: &Server, word: &str, count: usize) -> Result<Listing> {
        let _lent = Lent::to(server, setting.places, count)?;
        let mut client = Client::logged_in(server.address)?;
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
        // Some servers also list "." and "..", and some begin with a total.
        ensure!((count..=count + 3).contains(&lines), "{word} listed {lines} of {count} files");
        Ok(Listing { seconds, first: first.unwrap_or(seconds), memory })
    }
}

/// A folder of empty files. It is created once, and moved to each server that lists it.
struct Lent {
    ours: PathBuf,
    theirs: PathBuf,
}

impl Lent {
    fn to(server: &Server, places: &Places, count: usize) -> Result<Lent> {
        let ours = places.content(&folder(count));
        if !ours.exists() {
            fs::create_dir(&ours)?;
            for number in 0..count {
                File::create(ours.join(format!("file-{number:06}.txt")))?;
            }
        }
        let theirs = server.home.join(folder(count));
        fs::rename(&ours, &theirs)?;
        Ok(Lent { ours, theirs })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // If the folder cannot be moved back, it is created again for the next server.
        let _ = fs::rename(&self.theirs, &self.ours);
    }
}

fn folder(count: usize) -> String {
    format!("files-{count}")
}
