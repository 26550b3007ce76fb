//! Large files: the speed, and the server's processor time.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Recorder, Setting};
use crate::client::{Client, connect, discard, send_file};
use crate::load::{Work, work};
use crate::places::Places;
use crate::servers::{Role, Server};
use crate::sheet::Figure;

const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

/// Lets each client transfer its file once.
const ONCE: Duration = Duration::ZERO;

pub fn download(setting: &Setting, server: &Server, recorder: &mut Recorder) -> Result<()> {
    let work = fetch(server, 1, Places::BULK, setting.scale.bulk)?;
    record(recorder, "download, 1 client", &work);
    Ok(())
}

pub fn download_by_four(setting: &Setting, server: &Server, recorder: &mut Recorder) -> Result<()> {
    let work = fetch(server, 4, Places::SHARED, setting.scale.shared)?;
    record(recorder, "download, 4 clients", &work);
    Ok(())
}

pub fn upload(setting: &Setting, server: &Server, recorder: &mut Recorder) -> Result<()> {
    let work = send(setting, server, 1, setting.scale.bulk)?;
    record(recorder, "upload, 1 client", &work);
    Ok(())
}

pub fn upload_by_four(setting: &Setting, server: &Server, recorder: &mut Recorder) -> Result<()> {
    let work = send(setting, server, 4, setting.scale.shared)?;
    record(recorder, "upload, 4 clients", &work);
    Ok(())
}

fn record(recorder: &mut Recorder, title: &str, work: &Work) {
    recorder.record(Figure::higher(title, "MiB/s"), work.rate() / MIB);
    recorder.record(
        Figure::lower(format!("{title}: server CPU"), "s/GiB"),
        work.cpu / (work.units as f64 / GIB),
    );
}

fn fetch(server: &Server, clients: usize, name: &str, length: u64) -> Result<Work> {
    let complete = |count: u64| {
        ensure!(count == length, "{count} bytes of {length} came");
        Ok(count)
    };
    if let Role::Limit(_) = server.role() {
        return work(server, vec![(); clients], ONCE, |()| {
            let mut stream = connect(server.address)?;
            stream.write_all(&length.to_le_bytes())?;
            complete(discard(&stream)?)
        });
    }
    work(server, logged_in(server, clients)?, ONCE, |(_, client)| {
        complete(client.retrieve_bulk(name)?)
    })
}

fn send(setting: &Setting, server: &Server, clients: usize, length: u64) -> Result<Work> {
    let file = File::open(setting.places.content(Places::BULK))?;
    if let Role::Limit(_) = server.role() {
        return work(server, vec![(); clients], ONCE, |()| {
            let mut stream = connect(server.address)?;
            send_file(&stream, &file, length)?;
            stream.read_exact(&mut [0])?;
            Ok(length)
        });
    }
    let work = work(server, logged_in(server, clients)?, ONCE, |(number, client)| {
        client.store_bulk(&format!("sent-{number}"), &file, length)?;
        Ok(length)
    })?;
    for number in 0..clients {
        let sent = server.home.join(format!("sent-{number}"));
        ensure!(fs::metadata(&sent)?.len() == length, "an upload is incomplete");
        // Before the file must be on the disk.
        fs::remove_file(sent)?;
    }
    Ok(work)
}

fn logged_in(server: &Server, clients: usize) -> Result<Vec<(usize, Client)>> {
    (0..clients).map(|number| Ok((number, Client::logged_in(server.address)?))).collect()
}
